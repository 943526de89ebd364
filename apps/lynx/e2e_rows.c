/* SPDX-License-Identifier: MIT */
#include "e2e_rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "numbers.h"

static const char command[] = "lynx bench e2e";

/* What a row is of; then what was measured. The first three and the method are words. */
static const char *const key_columns[] = {"model",       "document", "scenario",
                                          "link_mbps",   "delay_ms", "prompt_limit",
                                          "concurrency", "method",   "round",
                                          "request"};
static const char *const value_columns[] = {"prompt_tokens", "bytes_before_first_draft",
                                            "bytes_total",   "prefill_s",
                                            "stall_s",       "ttft_s",
                                            "tt2t_s",        "tt16t_s",
                                            "tt32t_s",       "tt64t_s",
                                            "drafted",       "accepted",
                                            "branches",      "branch_accepted",
                                            "verify_ms"};
enum {
    KEYS = sizeof(key_columns) / sizeof(*key_columns),
    VALUES = sizeof(value_columns) / sizeof(*value_columns),
    COLUMNS = KEYS + VALUES + 1, /* and tokens_equal_target */
    CONCURRENCY_COLUMN = 6,
    REQUEST_COLUMN = KEYS - 1,
    LINE_MAX_BYTES = 1024
};

static void put_header(FILE *file)
{
    for (size_t i = 0; i < KEYS; i++)
        fprintf(file, "%s,", key_columns[i]);
    for (size_t i = 0; i < VALUES; i++)
        fprintf(file, "%s,", value_columns[i]);
    fputs("tokens_equal_target\n", file);
}

/* A name in a field without quotes: commas would need them. */
static void copy_word(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
    for (char *p = to; *p; p++)
        if (*p == ',' || *p == '"' || (unsigned char)*p < ' ')
            *p = ' ';
}

/* Of all rows of a point. */
static void key_of(const e2e_point *p, char *key, size_t size)
{
    char model[128];
    char document[256];
    copy_word(model, sizeof(model), p->model);
    copy_word(document, sizeof(document), p->document);
    snprintf(key, size, "%s,%s,%s,%g,%g,%u,%u,%s,%u,", model, document,
             p->is_stored ? "stored" : "cold", p->link_mbps, p->delay_ms, p->prompt_tokens,
             p->concurrency, p->method, p->round);
}

static bool is_row(const char *line)
{
    size_t commas = 0;
    for (const char *p = line; *p; p++)
        commas += *p == ',';
    return commas == COLUMNS - 1;
}

static unsigned long number_of(const char *line, size_t column)
{
    for (; column > 0; column--)
        line += strcspn(line, ",") + 1;
    return strtoul(line, NULL, 10);
}

/* Of the last request of its point. */
static bool is_last(const char *line)
{
    return number_of(line, REQUEST_COLUMN) == number_of(line, CONCURRENCY_COLUMN);
}

static bool has_header(const char *line)
{
    char *header = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&header, &size);
    if (!stream)
        return false;
    put_header(stream);
    fclose(stream);
    const bool is_same = strcmp(line, header) == 0;
    free(header);
    return is_same;
}

/* Lines of points that are whole; '*kept' is where the last of them ends. */
static int read_lines(e2e_rows *rows, FILE *file, long *kept)
{
    char line[LINE_MAX_BYTES];
    uint32_t number = 0;
    size_t whole = 0; /* of 'lines' */
    while (fgets(line, sizeof(line), file)) {
        char *end = strchr(line, '\n');
        if (!end)
            break; /* torn */
        const bool is_header = number++ == 0;
        if (is_header && !has_header(line))
            return cli_error(command,
                             "'%s' is no table of this command and version; name another file",
                             rows->path);
        *end = '\0';
        if (!is_header && !is_row(line))
            return cli_error(command, "line %u of '%s' is no row of this table", number,
                             rows->path);
        if (!is_header)
            json_array_append_new(rows->lines, json_string(line));
        if (!is_header && !is_last(line))
            continue;
        whole = json_array_size(rows->lines);
        *kept = ftell(file);
    }
    while (json_array_size(rows->lines) > whole)
        json_array_remove(rows->lines, whole);
    return CLI_OK;
}

int e2e_rows_open(e2e_rows *rows, const char *path)
{
    *rows = (e2e_rows){.path = strdup(path), .lines = json_array()};
    if (!rows->path || !rows->lines)
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    FILE *file = fopen(path, "r");
    long kept = 0;
    int code = CLI_OK;
    if (file) {
        code = read_lines(rows, file, &kept);
        fclose(file);
    } else if (errno != ENOENT) {
        return cli_error(command, "cannot read '%s': %s", path, strerror(errno));
    }
    if (code != CLI_OK)
        return code;
    if (file && truncate(path, kept) != 0)
        return cli_error(command, "cannot write '%s': %s", path, strerror(errno));
    if (kept > 0)
        return CLI_OK;
    file = fopen(path, "w");
    if (file)
        put_header(file);
    return file && fclose(file) == 0
               ? CLI_OK
               : cli_error(command, "cannot write '%s': %s", path, strerror(errno));
}

void e2e_rows_close(e2e_rows *rows)
{
    free(rows->path);
    json_decref(rows->lines);
}

bool e2e_rows_has(const e2e_rows *rows, const e2e_point *point)
{
    char key[LINE_MAX_BYTES / 2];
    size_t i;
    json_t *line;
    key_of(point, key, sizeof(key));
    json_array_foreach(rows->lines, i, line)
    {
        if (strncmp(json_string_value(line), key, strlen(key)) == 0)
            return true;
    }
    return false;
}

static void put_row(FILE *stream, const char *key, uint32_t request, const json_t *row)
{
    fprintf(stream, "%s%u,", key, request);
    for (size_t c = 0; c < VALUES; c++) {
        const json_t *value = json_object_get(row, value_columns[c]);
        if (json_is_number(value))
            fprintf(stream, "%.10g", json_number_value(value));
        fputc(',', stream);
    }
    fputs(json_is_true(json_object_get(row, "tokens_equal_target")) ? "True" : "False", stream);
}

int e2e_rows_add(e2e_rows *rows, const e2e_point *point, json_t *const requests[],
                 uint32_t count)
{
    char key[LINE_MAX_BYTES / 2];
    FILE *file = fopen(rows->path, "a");
    key_of(point, key, sizeof(key));
    bool is_written = file != NULL;
    for (uint32_t i = 0; i < count; i++) {
        char *line = NULL;
        size_t size = 0;
        FILE *stream = open_memstream(&line, &size);
        if (stream) {
            put_row(stream, key, i + 1, requests[i]);
            fclose(stream);
        }
        is_written = is_written && line && fprintf(file, "%s\n", line) > 0;
        json_array_append_new(rows->lines, json_string(line ? line : ""));
        free(line);
    }
    const bool is_closed = file && fclose(file) == 0;
    return is_written && is_closed
               ? CLI_OK
               : cli_error(command, "cannot write '%s': %s", rows->path, strerror(errno));
}

/* ---- what they say together ---------------------------------------------------------- */

/* One field; a number where it is one. */
static json_t *field(const char *text, size_t size)
{
    char word[LINE_MAX_BYTES];
    char *end;
    snprintf(word, sizeof(word), "%.*s", (int)size, text);
    if (word[0] == '\0')
        return json_null();
    if (strcmp(word, "True") == 0 || strcmp(word, "False") == 0)
        return json_boolean(word[0] == 'T');
    const double number = strtod(word, &end);
    return *end == '\0' ? json_real(number) : json_string(word);
}

static const char *column_name(size_t index)
{
    if (index < KEYS)
        return key_columns[index];
    return index < KEYS + VALUES ? value_columns[index - KEYS] : "tokens_equal_target";
}

json_t *e2e_rows_json(const e2e_rows *rows)
{
    json_t *all = json_array();
    size_t i;
    json_t *line;
    json_array_foreach(rows->lines, i, line)
    {
        json_t *row = json_object();
        const char *text = json_string_value(line);
        for (size_t c = 0; c < COLUMNS; c++) {
            const size_t size = strcspn(text, ",");
            json_object_set_new(row, column_name(c), field(text, size));
            text += size + (text[size] == ',');
        }
        json_array_append_new(all, row);
    }
    return all;
}

/* Rows that are one line of the table: all of one point and way, whatever round and document.
 */
static bool is_same_line(const json_t *a, const json_t *b, bool with_method)
{
    static const char *const columns[] = {"model",    "scenario",     "link_mbps",
                                          "delay_ms", "prompt_limit", "concurrency"};
    for (size_t i = 0; i < sizeof(columns) / sizeof(*columns); i++)
        if (!json_equal(json_object_get(a, columns[i]), json_object_get(b, columns[i])))
            return false;
    return !with_method ||
           json_equal(json_object_get(a, "method"), json_object_get(b, "method"));
}

static bool is_first_of(json_t *all, size_t index, bool with_method)
{
    for (size_t i = 0; i < index; i++)
        if (is_same_line(json_array_get(all, i), json_array_get(all, index), with_method))
            return false;
    return true;
}

static void put_column(json_t *all, const json_t *row, const char *column, double divisor,
                       int width, int digits)
{
    double *values = malloc((json_array_size(all) + 1) * sizeof(*values));
    size_t count = 0;
    size_t i;
    json_t *other;
    json_array_foreach(all, i, other)
    {
        const json_t *value = json_object_get(other, column);
        if (values && is_same_line(row, other, true) && json_is_number(value))
            values[count++] = json_number_value(value);
    }
    if (count == 0)
        printf("%*s", width, "-");
    else
        printf("%*.*f", width, digits, numbers_median(values, count) / divisor);
    free(values);
}

static bool are_all_equal(json_t *all, const json_t *row)
{
    size_t i;
    json_t *other;
    json_array_foreach(all, i, other)
    {
        if (is_same_line(row, other, true) &&
            !json_is_true(json_object_get(other, "tokens_equal_target")))
            return false;
    }
    return true;
}

static void put_line(json_t *all, const json_t *row)
{
    static const char *const seconds[] = {"stall_s", "ttft_s",  "tt2t_s",
                                          "tt16t_s", "tt32t_s", "tt64t_s"};
    printf("%-13s", json_string_value(json_object_get(row, "method")));
    for (size_t i = 0; i < sizeof(seconds) / sizeof(*seconds); i++)
        put_column(all, row, seconds[i], 1, 8, 2);
    put_column(all, row, "bytes_total", 1e6, 9, 2);
    put_column(all, row, "drafted", 1, 8, 0);
    put_column(all, row, "accepted", 1, 9, 0);
    printf("  %s\n", are_all_equal(all, row) ? "yes" : "no");
}

void e2e_rows_put(const e2e_rows *rows)
{
    json_t *all = e2e_rows_json(rows);
    size_t i;
    size_t j;
    json_t *row;
    json_t *other;
    json_array_foreach(all, i, row)
    {
        if (!is_first_of(all, i, false))
            continue;
        printf("%s%s, %s, %g Mbit/s, %g ms, %g prompt tokens, %g at once, seconds (medians)\n",
               i ? "\n" : "", json_string_value(json_object_get(row, "model")),
               json_string_value(json_object_get(row, "scenario")),
               json_number_value(json_object_get(row, "link_mbps")),
               json_number_value(json_object_get(row, "delay_ms")),
               json_number_value(json_object_get(row, "prompt_limit")),
               json_number_value(json_object_get(row, "concurrency")));
        printf("%-13s%8s%8s%8s%8s%8s%8s%9s%8s%9s  %s\n", "method", "stall", "TTFT", "TT2T",
               "TT16T", "TT32T", "TT64T", "MB", "drafted", "accepted", "right tokens");
        json_array_foreach(all, j, other)
        {
            if (is_same_line(row, other, false) && is_first_of(all, j, true))
                put_line(all, other);
        }
    }
    json_decref(all);
}
