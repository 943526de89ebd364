/* SPDX-License-Identifier: MIT */
/* store_bed.h - a store in a folder of its own, and a toy engine whose cache goes into it. */
#ifndef TEST_SUPPORT_STORE_BED_H
#define TEST_SUPPORT_STORE_BED_H

#include "engine/toy_engine.h"
#include "lynx/keep.h"

enum { STORE_BED_TOKENS = 512 };

typedef struct store_bed {
    char folder[64];
    lynx_store *store;
    lynx_engine *engine;
    lynx_codec_spec spec;
    lynx_token tokens[STORE_BED_TOKENS];
} store_bed;

void store_bed_begin(store_bed *bed, const lx_toy_options *toy, const char *codec,
                     const uint8_t *key);
void store_bed_end(store_bed *bed);

/* The same folder or engine anew. */
void store_bed_open(store_bed *bed, const uint8_t *key, uint64_t limit_bytes);
void store_bed_engine(store_bed *bed, const lx_toy_options *toy);

/* Keep the first 'count' tokens. */
void store_bed_keep(store_bed *bed, uint32_t count, lynx_keep_result *result);
/* The same in a file of its own. */
void store_bed_keep_file(store_bed *bed, uint32_t count, const char *path, const uint8_t *key,
                         lynx_keep_result *result);
/* Load the stored prefix of the first 'count' tokens into the engine; how many tokens it has.
 */
uint32_t store_bed_read(store_bed *bed, uint32_t count);
/* The engine's cache is what the codec makes of a prompt of 'count' tokens. */
void store_bed_compare(store_bed *bed, uint32_t count);
uint32_t store_bed_length(store_bed *bed, uint32_t count);

/* Faults that verify tells; objects with this prefix; bytes of all. */
uint32_t store_bed_verify(store_bed *bed);
uint32_t store_bed_count(store_bed *bed, const char *prefix);
uint64_t store_bed_bytes(store_bed *bed);

#endif
