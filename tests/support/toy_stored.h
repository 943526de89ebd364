/* SPDX-License-Identifier: MIT */
/* toy_stored.h - runs on the toy engine over a stored prefix whose residual takes its time. */
#ifndef TEST_SUPPORT_TOY_STORED_H
#define TEST_SUPPORT_TOY_STORED_H

#include "support/memory_source.h"
#include "support/toy_nodes.h"

/*
 * What 'options' must give with the cache of the first 'stored' tokens through the codec, into
 * 'plain'; then what they give over 'source', whose further planes come so many steps of this
 * machine after those before them, 20 ms or more, into 'got'. 'options' keep the source.
 */
void toy_run_stored(toy_answer *plain, toy_answer *got, lynx_engine *engine,
                    memory_source *source, uint32_t stored, uint32_t steps,
                    lynx_run_options *options);

#endif
