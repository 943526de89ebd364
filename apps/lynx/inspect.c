/* SPDX-License-Identifier: MIT */
/*
 * inspect.c - a recorded exchange in words: one line for each frame.
 *
 * Reads the bytes of one direction of a connection as they were on the wire. Works from
 * docs/format.md alone, so it also shows damaged streams, up to the first frame that cannot be
 * read.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cli.h"
#include "commands.h"

enum { FRAME_BYTES = 40, PAGE_BYTES = 32, OPT_JSON = CLI_OPT_OWN };

static const char command[] = "lynx inspect";

static const char help[] =
    "Usage: lynx inspect [--json] FILE\n"
    "\n"
    "Put a recorded direction of a connection in words, a line for each frame; the first "
    "frame\n"
    "that cannot be read is told with its offset. --json: an array, an object for each frame.\n"
    "\n"
    "Example:\n"
    "  lynx run -m model.gguf --prefill 127.0.0.1:7600 -p Hello --record "
    "hello.bin\n"
    "  lynx inspect hello.bin\n"
    "\n"
    "Exit codes: 0 whole, 1 file, 2 usage, 5 damaged or empty.\n";

static const char *const type_names[] = {"?",        "HELLO", "REQUEST", "ACCEPT",  "REFUSE",
                                         "PROGRESS", "READY", "START",   "TOKEN",   "PAGE",
                                         "ACK",      "AGAIN", "END",     "CLOSE",   "PING",
                                         "RESUME",   "FLOW",  "YIELD",   "OPTIONS", "HELD"};

static uint64_t number(const uint8_t *at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* The planes that come: of each class one at a time is under way on a connection. */
typedef struct coming {
    XXH3_state_t *states[LYNX_PLANES_MAX];
} coming;

/* Does the plane that this chunk may complete match its checksum? */
static bool chunk_fits(coming *c, const uint8_t *page, size_t chunk)
{
    const uint8_t plane = page[7];
    const uint64_t offset = number(page + 12, 4);
    if (plane >= LYNX_PLANES_MAX || !c->states[plane])
        return true;
    if (offset == 0)
        (void)XXH3_64bits_reset(c->states[plane]);
    (void)XXH3_64bits_update(c->states[plane], page + PAGE_BYTES, chunk);
    return offset + chunk < number(page + 8, 4) ||
           XXH3_64bits_digest(c->states[plane]) == number(page + 16, 8);
}

/* Why the frame at 'at' cannot be read, or NULL. */
static const char *fault_of(coming *c, const uint8_t *at, size_t left)
{
    if (left < FRAME_BYTES)
        return "the stream ends inside a frame header";
    if (memcmp(at, "LYNX", 4) != 0)
        return "no frame begins here";
    if (XXH3_64bits(at, 32) != number(at + 32, 8))
        return "the header does not match its checksum";
    if (number(at + 16, 4) > left - FRAME_BYTES)
        return "the stream ends inside a payload";
    const size_t digested = at[5] == 9 ? PAGE_BYTES : (size_t)number(at + 16, 4);
    if (digested > number(at + 16, 4) ||
        XXH3_64bits(at + FRAME_BYTES, digested) != number(at + 24, 8))
        return "the payload does not match its checksum";
    if (at[5] == 9 && !chunk_fits(c, at + FRAME_BYTES, (size_t)number(at + 16, 4) - PAGE_BYTES))
        return "the plane does not match its checksum";
    return NULL;
}

static void describe_payload(json_t *row, const uint8_t *payload, size_t size, uint8_t type)
{
    if (type == 9 && size >= PAGE_BYTES) {
        json_object_set_new(row, "page", json_integer((json_int_t)number(payload, 4)));
        json_object_set_new(row, "layer", json_integer((json_int_t)number(payload + 4, 2)));
        json_object_set_new(row, "side", json_string(payload[6] ? "values" : "keys"));
        json_object_set_new(row, "plane", json_integer(payload[7]));
        json_object_set_new(row, "plane_bytes",
                            json_integer((json_int_t)number(payload + 8, 4)));
        json_object_set_new(row, "chunk_offset",
                            json_integer((json_int_t)number(payload + 12, 4)));
    } else if ((type == 4 || type == 13) && size >= 8) {
        json_object_set_new(row, "status", json_integer((int32_t)number(payload, 4)));
        json_object_set_new(row, "text", json_stringn((const char *)payload + 8, size - 8));
    } else if (type == 8 && size == 8) {
        json_object_set_new(row, "index", json_integer((json_int_t)number(payload, 4)));
        json_object_set_new(row, "token", json_integer((int32_t)number(payload + 4, 4)));
    } else if (type == 5 && size == 4) {
        json_object_set_new(row, "prefilled", json_integer((json_int_t)number(payload, 4)));
    } else if (type == 3 && size == 4) {
        json_object_set_new(row, "left_out", json_integer((json_int_t)number(payload, 4)));
    } else if (type == 17 && size == 4) {
        json_object_set_new(row, "tokens", json_integer((json_int_t)number(payload, 4)));
    } else if (type == 10) {
        json_object_set_new(row, "planes", json_integer((json_int_t)(size / 8)));
    }
}

static json_t *describe(const uint8_t *at, size_t offset)
{
    const uint8_t type = at[5];
    const size_t size = (size_t)number(at + 16, 4);
    const bool is_known = type < sizeof(type_names) / sizeof(*type_names);
    json_t *row = json_object();
    json_object_set_new(row, "offset", json_integer((json_int_t)offset));
    json_object_set_new(row, "type", json_string(is_known ? type_names[type] : "unknown"));
    json_object_set_new(row, "version", json_integer(at[4]));
    json_object_set_new(row, "request", json_integer((json_int_t)number(at + 8, 8)));
    json_object_set_new(row, "payload_bytes", json_integer((json_int_t)size));
    describe_payload(row, at + FRAME_BYTES, size, type);
    return row;
}

static void put_line(const json_t *row)
{
    const char *key;
    json_t *value;
    printf("%10lld  %-8s", (long long)json_integer_value(json_object_get(row, "offset")),
           json_string_value(json_object_get(row, "type")));
    json_object_foreach((json_t *)(uintptr_t)row, key, value)
    {
        if (strcmp(key, "offset") == 0 || strcmp(key, "type") == 0)
            continue;
        if (json_is_string(value))
            printf("  %s %s", key, json_string_value(value));
        else
            printf("  %s %lld", key, (long long)json_integer_value(value));
    }
    putchar('\n');
}

static int inspect(coming *c, const uint8_t *data, size_t size, bool is_json)
{
    json_t *rows = json_array();
    const char *fault = size ? NULL : "the recording is empty";
    size_t offset = 0;
    while (offset < size && !(fault = fault_of(c, data + offset, size - offset))) {
        json_t *row = describe(data + offset, offset);
        if (!is_json)
            put_line(row);
        json_array_append_new(rows, row);
        offset += FRAME_BYTES + (size_t)number(data + offset + 16, 4);
    }
    if (is_json) {
        json_dumpf(rows, stdout, JSON_INDENT(1));
        putchar('\n');
    }
    json_decref(rows);
    if (!fault)
        return CLI_OK;
    fprintf(stderr, "%s: byte %zu: %s\n", command, offset, fault);
    return CLI_CORRUPT;
}

int lx_command_inspect(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, OPT_JSON},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    bool is_json = false;
    int option;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return CLI_OK;
        }
        if (option != OPT_JSON)
            return cli_bad_option(command, option, argv);
        is_json = true;
    }
    if (optind + 1 != argc)
        return cli_usage(command, "one file is needed");
    size_t size = 0;
    char *data = cli_read_file(command, argv[optind], &size);
    if (!data)
        return CLI_FAILED;
    coming c;
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        c.states[i] = XXH3_createState();
    const int code = inspect(&c, (const uint8_t *)data, size, is_json);
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        XXH3_freeState(c.states[i]);
    free(data);
    return code;
}
