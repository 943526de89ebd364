/* SPDX-License-Identifier: MIT */
/*
 * serve.h - a decode node behind HTTP, for clients of OpenAI's API: requests wait in a bounded
 * queue for one of several engines (slots). What is said over HTTP: docs/http.md.
 *
 *     one thread    parses and writes, for all connections (libmicrohttpd)
 *     one thread    notices clients that left or are late, and gives signs of life
 *     each slot     has a thread that runs one request after the other (lynx_run)
 *
 * A static library of the program lynxd: not installed, and not in the shared ones.
 */
#ifndef LYNX_SERVE_H
#define LYNX_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/engine.h"
#include "lynx/runtime.h"
#include "lynx/store.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lynx_serve lynx_serve;

enum { LYNX_SERVE_REMOTES_MAX = 64 };

/* What clients need and see. */
typedef struct lynx_serve_secrets {
    const char *const *api_keys; /* any of these is asked for */
    uint32_t api_key_count;      /* 0: none is */
    const char *tls_certificate; /* PEM texts; NULL: no TLS */
    const char *tls_key;
} lynx_serve_secrets;

/* What stands behind a pointer is borrowed until lynx_serve_destroy has returned. */
typedef struct lynx_serve_options {
    size_t struct_size;
    lynx_engine *const *engines; /* one for each slot, all of the same model */
    uint32_t slot_count;         /* >= 1 */
    lynx_remote *const *remotes; /* prefill nodes: for each request the one that is expected to
                                    be done first; the others when it cannot finish */
    const char *const *remote_names;
    uint32_t remote_count;     /* at most LYNX_SERVE_REMOTES_MAX; 0: prompts are prefilled
                                  here */
    const char *model_id;      /* what clients call the model */
    const char *chat_template; /* name of one that the engine knows; NULL: the model's own */
    lynx_codec_spec spec;      /* Default "range" */
    uint32_t draft_count_max;  /* Default 62 */
    bool guesses;              /* as in lynx_run_options. Default true */
    uint32_t branch_count_max; /* as in lynx_run_options. Default 3 */

    /* Caches of prompts: what it has of a prompt's beginning is loaded, what is new is written
     * behind the answers. The codec has no raw tokens at the end then. NULL: none */
    lynx_store *store;
    uint32_t store_least_tokens;  /* less than so many are neither loaded nor written. Default
                                     256 */
    uint64_t store_waiting_bytes; /* of caches that wait to be written, about; beyond it
                                     they are not kept. Default 1 GiB */

    int descriptor;           /* listening socket; taken on success */
    uint32_t queue_max;       /* requests that may wait for a slot. Default 16 */
    uint32_t connections_max; /* Default 2048 */
    size_t body_bytes_max;    /* of a request. Default 8 MiB */
    uint64_t request_ns;      /* a request that takes longer is ended; 0: none. Default 600 s */
    uint64_t idle_ns;         /* a connection that brings no whole request header, or takes no
                                 bytes, for so long is closed. Default 60 s */
    uint64_t body_ns;         /* the same for a request's body. Default 60 s */
    lynx_serve_secrets secrets;
    const char *cors_origin; /* allowed to read answers in a browser; NULL: nobody */
    lynx_on_log *log; /* a line for each request; may be NULL. No text of prompts or answers */
    bool logs_http;   /* lines of libmicrohttpd, too. Default false */
    void *user;
} lynx_serve_options;

void lynx_serve_options_init(lynx_serve_options *options);

/* Begin to answer. 'text' (LYNX_TEXT_MAX bytes) gets one sentence on failure. */
LYNX_MUST_CHECK lynx_status lynx_serve_create(lynx_serve **serve,
                                              const lynx_serve_options *options, char *text);

/*
 * Use other secrets from now on: keys for the requests to come, the certificate for the
 * connections to come. They are borrowed instead of the old ones, which are not used any more
 * once this has returned LYNX_OK. LYNX_ERR_ARGUMENT: TLS would begin or end; LYNX_BLOCKED:
 * connections under too many certificates are open; LYNX_ERR_SYSTEM: certificate or key is
 * wrong. The old secrets stay then, and 'text' (LYNX_TEXT_MAX bytes) gets one sentence.
 * Threads: one at a time of this, drain and destroy.
 */
LYNX_MUST_CHECK lynx_status lynx_serve_renew(lynx_serve *serve,
                                             const lynx_serve_secrets *secrets, char *text);

/* Take no new requests (503); those that are here go on. Waits until they have ended, at most
 * 'grace_ns', then cancels the rest. */
void lynx_serve_drain(lynx_serve *serve, uint64_t grace_ns);

/* Cancel what is left, close all connections, join all threads. NULL is allowed. */
void lynx_serve_destroy(lynx_serve *serve);

#ifdef __cplusplus
}
#endif

#endif
