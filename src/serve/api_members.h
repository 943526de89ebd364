/* SPDX-License-Identifier: MIT */
/* api_members.h - members of a JSON object, taken one by one with their types and ranges. */
#ifndef LX_SERVE_API_MEMBERS_H
#define LX_SERVE_API_MEMBERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "serve/api_fault.h"

/* An object under 'path' ("" for the body, else "stream_options." or "messages[3]."). */
typedef struct lx_members {
    const json_t *object;
    const char *path;
    lx_api_fault *fault;
} lx_members;

/* Say what is wrong with a member: status 400, 'param' its full name. Returns false. */
bool lx_members_refuse(const lx_members *members, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The member, or NULL when it is absent or null. */
const json_t *lx_members_get(const lx_members *members, const char *name);

/* An absent member leaves '*value' as it is. False: refused. */
bool lx_members_bool(const lx_members *members, const char *name, bool *value);
bool lx_members_u32(const lx_members *members, const char *name, uint32_t least, uint32_t most,
                    uint32_t *value);
bool lx_members_float(const lx_members *members, const char *name, double least, double most,
                      float *value);
/* Borrowed from the object. */
bool lx_members_string(const lx_members *members, const char *name, const char **value);

#endif
