/* SPDX-License-Identifier: MIT */
/*
 * status.h - the result of every call that can fail.
 *
 * Zero is success, positive says what to do next, negative is an error. The values are
 * pinned for ever; they also travel in CLOSE and REFUSE messages (docs/format.md). The
 * scope of an error is the largest thing that can no longer be used, so it is the
 * policy of what to try next: CALL - mend the arguments; PAGE - ask for the page again;
 * STREAM - connect anew; SESSION - recompute the prompt; PROCESS - stop.
 *
 * Threads: everything here is a pure function.
 */
#ifndef LYNX_STATUS_H
#define LYNX_STATUS_H

#include <stdbool.h>

#include "lynx/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* name, value, scope, text */
#define LYNX_STATUS_LIST(X)                                                                    \
    X(OK, 0, NONE, "success")                                                                  \
    X(MORE, 1, NONE, "more input is needed")                                                   \
    X(BLOCKED, 2, NONE, "no room now; try again after draining")                               \
    X(ERR_ARGUMENT, -1, CALL, "an argument is outside its documented range")                   \
    X(ERR_MEMORY, -2, CALL, "out of memory")                                                   \
    X(ERR_UNSUPPORTED, -3, CALL, "valid, but not built or not implemented here")               \
    X(ERR_LIMIT, -4, CALL, "a configured limit would be exceeded")                             \
    X(ERR_STATE, -5, CALL, "the call does not fit the state of the object")                    \
    X(ERR_CORRUPT, -10, PAGE, "page payload does not match its checksum")                      \
    X(ERR_PROTOCOL, -20, STREAM, "peer broke the wire format")                                 \
    X(ERR_CLOSED, -21, STREAM, "peer closed the stream")                                       \
    X(ERR_TIMEOUT, -22, STREAM, "peer did not answer in time")                                 \
    X(ERR_VERSION, -23, STREAM, "peer speaks another version of the wire format")              \
    X(ERR_SYSTEM, -24, STREAM, "the operating system refused an operation")                    \
    X(ERR_DENIED, -25, STREAM, "the peer is not who it must be")                               \
    X(ERR_MODEL, -30, SESSION, "peer holds the cache of another model")                        \
    X(ERR_ENGINE, -31, SESSION, "the inference engine failed")                                 \
    X(ERR_CANCELLED, -32, SESSION, "the request was cancelled")

typedef enum lynx_status {
#define LYNX_STATUS_VALUE(name, value, scope, text) LYNX_##name = (value),
    LYNX_STATUS_LIST(LYNX_STATUS_VALUE)
#undef LYNX_STATUS_VALUE
} lynx_status;

/* The largest thing that an error makes unusable. */
typedef enum lynx_scope {
    LYNX_SCOPE_NONE,
    LYNX_SCOPE_CALL,
    LYNX_SCOPE_PAGE,
    LYNX_SCOPE_STREAM,
    LYNX_SCOPE_SESSION,
    LYNX_SCOPE_PROCESS
} lynx_scope;

/* True for errors, false for success and for MORE and BLOCKED. */
LYNX_API bool lynx_failed(lynx_status status);

/* A short English sentence; "unknown status" for a value that is not in the list. */
LYNX_API const char *lynx_status_text(lynx_status status);

/* The name of the enumerator without prefix, such as "ERR_CORRUPT". */
LYNX_API const char *lynx_status_name(lynx_status status);

/* The scope of 'status'; LYNX_SCOPE_PROCESS for a value that is not in the list. */
LYNX_API lynx_scope lynx_status_scope(lynx_status status);

#ifdef __cplusplus
}
#endif

#endif
