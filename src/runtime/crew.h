/* SPDX-License-Identifier: MIT */
/*
 * crew.h - threads that share the items of a list with the one that has it.
 *
 *     lx_crew_run:  item 0, 1, 2 ...  -->  the caller and the threads, each the next that is
 * left
 *
 * Chance decides which of them gets which item: an item must give the same wherever it is done.
 * One list at a time.
 */
#ifndef LX_RUNTIME_CREW_H
#define LX_RUNTIME_CREW_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/memory.h"
#include "lynx/status.h"

enum { LX_CREW_MEMBERS_MAX = 32 };

typedef struct lx_crew lx_crew;

/* 'member' is below that of lx_crew_create and does one item at a time; 0 is the caller. */
typedef void lx_crew_item(void *user, uint32_t member, size_t index);

/* 'members' in [1, LX_CREW_MEMBERS_MAX], the caller counted. A thread that the system does not
 * give is done without. LYNX_ERR_MEMORY, LYNX_ERR_SYSTEM. */
lynx_status lx_crew_create(lx_crew **crew, uint32_t members, const lynx_allocator *memory);
/* NULL is allowed. */
void lx_crew_destroy(lx_crew *crew);

/* Do the items 0 .. 'count' - 1; returns when all are done. */
void lx_crew_run(lx_crew *crew, size_t count, lx_crew_item *item, void *user);

#endif
