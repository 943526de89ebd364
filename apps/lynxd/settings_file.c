/* SPDX-License-Identifier: MIT */
/*
 * settings_file.c - an INI file by libinih.
 *
 * libinih reads a line, then calls for its key. It says neither which line a key stands in nor
 * more than the first line that is wrong, so the lines are counted where it asks for them: one
 * that should have brought a key, and did not before the next is asked for, is wrong.
 */
#include "settings_file.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    FILE *file;
    const char *path;
    const settings_file_ops *ops;
    void *user;
    unsigned line;
    bool owes_key; /* the line that was read must bring one */
    char where[4096 + 20];
} reader;

static void end_line(reader *r)
{
    if (r->owes_key)
        r->ops->problem(r->user, r->where, "this is neither '[section]' nor 'key = value'");
    r->owes_key = false;
}

/* "[name]" and nothing else but a comment. */
static void take_section(reader *r, char *line)
{
    char *end = strchr(line, ']');
    if (!end) {
        r->ops->problem(r->user, r->where, "']' is missing");
        return;
    }
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)(end - line - 1), line + 1);
    r->ops->section(r->user, name, r->where);
}

/* libinih goes on with the value of the line before where a line begins with blanks; here such
 * a line is one as the others. Returns what it is given. */
static char *take_line(reader *r, char *line)
{
    const size_t mark = r->line == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    const char *start = line + mark + strspn(line + mark, " \t\r\n");
    memmove(line, start, strlen(start) + 1);
    if (line[0] == '[')
        take_section(r, line);
    else
        r->owes_key = line[0] && line[0] != ';' && line[0] != '#';
    return line;
}

static char *read_line(char *line, int size, void *stream)
{
    reader *r = stream;
    end_line(r);
    if (!fgets(line, size, r->file))
        return NULL;
    r->line++;
    snprintf(r->where, sizeof(r->where), "%s:%u: ", r->path, r->line);
    const size_t length = strlen(line);
    if ((length == 0 || line[length - 1] != '\n') && !feof(r->file)) {
        int byte = 0;
        while (byte != EOF && byte != '\n')
            byte = fgetc(r->file);
        char text[80];
        snprintf(text, sizeof(text), "the line has a zero byte or more than %d bytes",
                 size - 2);
        r->ops->problem(r->user, r->where, text);
        line[0] = '\0';
    }
    return take_line(r, line);
}

static int on_key(void *user, const char *section, const char *key, const char *value)
{
    reader *r = user;
    r->owes_key = false;
    r->ops->key(r->user, section, key, value, r->where);
    return 1;
}

bool settings_file_read(const char *path, const settings_file_ops *ops, void *user)
{
    reader r = {.path = path, .ops = ops, .user = user, .file = fopen(path, "r")};
    snprintf(r.where, sizeof(r.where), "%s: ", path);
    if (!r.file) {
        ops->problem(user, r.where, strerror(errno));
        return false;
    }
    (void)ini_parse_stream(read_line, &r, on_key, &r);
    end_line(&r);
    if (ferror(r.file)) {
        snprintf(r.where, sizeof(r.where), "%s: ", path);
        ops->problem(user, r.where, "it cannot be read");
    }
    fclose(r.file);
    return true;
}
