/* SPDX-License-Identifier: MIT */
/*
 * filler.h - the store of a server: what is asked of it, and a thread that fills it behind the
 * answers.
 *
 *     slot --reserve--> run --gathered pages--> push --> queue --> thread --> store
 *
 * A store that fails is left alone for a second, after each further failure for twice as long,
 * at most a minute: reading and writing apart. So a server or disk that is gone costs no
 * request more than its first attempt.
 *
 * Threads: any, but for create and destroy.
 */
#ifndef LX_SERVE_FILLER_H
#define LX_SERVE_FILLER_H

#include "lynx/gather.h"
#include "serve/service.h"

typedef struct lx_filler lx_filler;

/* For the store of the service's options. LYNX_ERR_MEMORY or LYNX_ERR_SYSTEM. */
lynx_status lx_filler_create(lx_filler **filler, lx_service *service);
/* What is being written is finished, what waits is dropped. NULL is allowed. */
void lx_filler_destroy(lx_filler *filler);

/* May it be asked for a prefix or a document? */
bool lx_filler_may_read(lx_filler *filler);
/* How a question to it ended; a failure is logged and counted. */
void lx_filler_note_read(lx_filler *filler, lx_store_failure what, lynx_status status,
                         const char *text);

/* Room for about 'bytes' that will be pushed, or given back. False: too much waits, or writing
 * failed a moment ago. */
bool lx_filler_reserve(lx_filler *filler, uint64_t bytes);
void lx_filler_give_back(lx_filler *filler, uint64_t bytes);

/* Write 'gather', which is whole, and end it; 'bytes' were reserved for it. */
void lx_filler_push(lx_filler *filler, lynx_gather *gather, uint64_t bytes);

/* Nothing waits or is being written. */
bool lx_filler_is_idle(lx_filler *filler);

#endif
