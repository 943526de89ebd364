/* SPDX-License-Identifier: MIT */
/*
 * toy_engine.h - an engine without a model, for tests of everything around an engine.
 *
 * Keys and values are pseudo-random functions of token, position and channel; logits are sums
 * of products over the whole cache, so that a coarser cache changes some tokens and an exact
 * one none. A step and a batch give the same bits, a draft step others. One byte is one token;
 * token 0 ends a text.
 */
#ifndef LX_ENGINE_TOY_ENGINE_H
#define LX_ENGINE_TOY_ENGINE_H

#include "lynx/engine.h"

typedef struct lx_toy_options {
    uint32_t layer_count;    /* [1, 8] */
    uint32_t channels;       /* multiple of 16 */
    uint32_t page_tokens;    /* as in lynx_shape */
    uint32_t window_tokens;  /* sliding window of the odd layers; 0 = none */
    uint32_t context_tokens; /* most tokens */
    uint32_t piece_tokens;   /* of one prefill piece */
    uint32_t piece_ns;       /* time that a piece takes; 0 = none */
    uint32_t step_ns;        /* time that a step takes; 0 = none */
    uint32_t row_ns;         /* and that one more token in a batch takes; 0 = none */
    uint32_t draft_step_ns;  /* time that a draft step takes; 0 = as a step */
    uint32_t step_tokens;    /* as in lynx_model */
    uint32_t page_threads;   /* as in lynx_model */
    bool pads_drafts;        /* a draft step takes along what comes behind its token */
    bool can_refine, can_await_layers;
    lynx_element element;
    uint8_t
        weights; /* goes in the fingerprint: two engines that differ here are other models */
} lx_toy_options;

void lx_toy_options_init(lx_toy_options *options);
lynx_status lx_toy_create(lynx_engine **engine, const lx_toy_options *options,
                          const lynx_allocator *memory);

#endif
