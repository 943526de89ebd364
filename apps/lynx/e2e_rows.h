/* SPDX-License-Identifier: MIT */
/*
 * e2e_rows.h - rows of 'lynx bench e2e' in a CSV file that grows, and what they say together.
 *
 * A row is of one request and begins with what was measured (its key). Rows of a point count
 * when all of them are there, so a grid that broke off goes on with the points that are not.
 */
#ifndef E2E_ROWS_H
#define E2E_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* One point of the grid for one way. */
typedef struct e2e_point {
    const char *model, *document, *method;
    double link_mbps, delay_ms;
    uint32_t prompt_tokens; /* asked for */
    uint32_t concurrency, round;
    bool is_stored;
} e2e_point;

typedef struct e2e_rows {
    char *path;
    json_t *lines; /* of the file, without the header and line ends */
} e2e_rows;

/* Read what 'path' has; a torn last line is cut off, and so are the rows of a point that lacks
 * some. CLI_OK or an exit code after the message: a file that is no such table is left as it
 * is.
 */
int e2e_rows_open(e2e_rows *rows, const char *path);
void e2e_rows_close(e2e_rows *rows);

bool e2e_rows_has(const e2e_rows *rows, const e2e_point *point);

/* Append the rows of 'count' requests at once: those of way_row() with tokens_equal_target. */
int e2e_rows_add(e2e_rows *rows, const e2e_point *point, json_t *const requests[],
                 uint32_t count);

/* Every row as an array of objects; the caller frees it. */
json_t *e2e_rows_json(const e2e_rows *rows);

/* A table of medians over requests, rounds and documents for each point of the grid. */
void e2e_rows_put(const e2e_rows *rows);

#endif
