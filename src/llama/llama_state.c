/* SPDX-License-Identifier: MIT */
/*
 * llama_state.c - the blob of llama_state_seq_get_data; docs/llama.md, section State.
 *
 *   u32 magic, i32 sequence, then parts to the end:
 *   u32 streams, for each stream u32 cells; of the sequence's own stream, after its count:
 *   cells x { i32 position, u32 1, i32 sequence }, u32 transposed, u32 layers,
 *   layers x { i32 type, u64 row bytes, cells x row },                    keys
 *   layers x the same, or { i32 type, u32 value bytes, u32 channels, ... } values
 *
 * The format is not promised by llama.cpp, so nothing here is taken for granted: the probe
 * parses a real blob to its last byte, rebuilds it, and compares.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/cursor.h"
#include "llama/llama_internal.h"

enum { HEADER_BYTES = 8, CELL_BYTES = 12, SKELETON_USES = 16 };
static const uint32_t MAGIC = 0xaf143cd8u;

/* 'count' streams without cells. */
static bool parse_empty_streams(lx_reader *reader, uint32_t count)
{
    bool is_empty = true;
    for (uint32_t i = 0; i < count; i++)
        is_empty = lx_read_u32(reader) == 0 && is_empty;
    return is_empty;
}

static bool parse_cells(const lx_slot *s, lx_reader *reader, lx_state_part *part)
{
    if (lx_read_u32(reader) != s->shared->slot_count || !parse_empty_streams(reader, s->index))
        return false;
    part->cell_count = lx_read_u32(reader);
    if (part->cell_count > LYNX_PROMPT_TOKENS_MAX)
        return false;
    for (uint32_t i = 0; i < part->cell_count; i++) {
        const int32_t position = (int32_t)lx_read_u32(reader);
        if (i == 0)
            part->first_position = position;
        if (lx_read_u32(reader) != 1 || position != part->first_position + (int32_t)i)
            return false;
        (void)lx_read_u32(reader); /* sequence */
    }
    return !reader->ran_out && part->cell_count > 0;
}

static bool parse_side(lx_reader *reader, uint32_t cells, bool is_transposed,
                       lx_state_side *side)
{
    uint64_t bytes;
    side->type = (int32_t)lx_read_u32(reader);
    side->is_transposed = is_transposed;
    if (is_transposed) {
        side->row_bytes = lx_read_u32(reader);
        side->channels = lx_read_u32(reader);
        bytes = side->row_bytes * side->channels;
    } else {
        side->row_bytes = lx_read_u64(reader);
        bytes = side->row_bytes;
    }
    if (reader->ran_out || bytes > (1u << 24))
        return false;
    side->offset = reader->offset;
    return lx_read_view(reader, (size_t)(bytes * cells)) != NULL;
}

static bool parse_part(const lx_slot *s, lx_reader *reader, lx_state_part *part)
{
    if (!parse_cells(s, reader, part))
        return false;
    const uint32_t transposed = lx_read_u32(reader);
    part->layer_count = lx_read_u32(reader);
    if (reader->ran_out || transposed > 1 || part->layer_count < 1 ||
        part->layer_count > LYNX_LAYERS_MAX)
        return false;
    part->sides =
        lx_alloc_zeroed(s->shared->memory, part->layer_count, 2 * sizeof(*part->sides));
    if (!part->sides)
        return false;
    for (uint32_t i = 0; i < part->layer_count; i++)
        if (!parse_side(reader, part->cell_count, false, &part->sides[2 * i]))
            return false;
    /* None with latent attention (MLA). */
    const uint32_t later = s->shared->slot_count - 1 - s->index;
    part->has_values = lx_reader_left(reader) > later * sizeof(uint32_t);
    for (uint32_t i = 0; part->has_values && i < part->layer_count; i++)
        if (!parse_side(reader, part->cell_count, transposed == 1, &part->sides[2 * i + 1]))
            return false;
    return parse_empty_streams(reader, later);
}

lynx_status lx_state_parse(lx_slot *s, const uint8_t *blob, size_t size, lx_state *state)
{
    lx_reader reader = lx_reader_of(blob, size);
    *state = (lx_state){0};
    bool is_known = lx_read_u32(&reader) == MAGIC;
    (void)lx_read_u32(&reader);
    while (is_known && lx_reader_left(&reader) > 0) {
        is_known = state->part_count < LX_PARTS_MAX &&
                   parse_part(s, &reader, &state->parts[state->part_count]);
        state->part_count++;
    }
    if (is_known && state->part_count > 0)
        return LYNX_OK;
    if (state->part_count > LX_PARTS_MAX)
        state->part_count = LX_PARTS_MAX;
    lx_state_fini(s->shared, state);
    return lx_llama_fail(
        s->error, LYNX_ERR_UNSUPPORTED,
        "the cache of '%s' has a layout that this version of Lynx does not know "
        "(llama.cpp %s)",
        s->shared->architecture, llama_version());
}

void lx_state_fini(const lx_llama *e, lx_state *state)
{
    for (uint32_t i = 0; i < state->part_count; i++)
        lx_free(e->memory, state->parts[i].sides, state->parts[i].layer_count,
                2 * sizeof(*state->parts[i].sides));
    *state = (lx_state){0};
}

static size_t side_bytes(const lx_state_side *side, uint32_t cells)
{
    const size_t header = 12;
    return header +
           (size_t)side->row_bytes * (side->is_transposed ? side->channels : 1) * cells;
}

uint32_t lx_state_first_cell(const lx_llama *e, uint32_t part, uint32_t tokens)
{
    const lynx_shape *shape = &e->description.shape;
    uint32_t layer = 0, page = 0;
    while (layer + 1 < e->layer_count && e->part_of[layer] != part)
        layer++;
    while (page + 1 < lynx_shape_page_count(shape, tokens) &&
           !lynx_page_is_needed(shape, (lynx_page_id){page, (uint16_t)layer, LYNX_SIDE_KEYS},
                                tokens))
        page++;
    return lynx_page_span_of(shape, (lynx_page_id){page, (uint16_t)layer, LYNX_SIDE_KEYS},
                             tokens)
        .first_token;
}

static void build_part(const lx_slot *slot, lx_writer *writer, const lx_state_part *part,
                       uint32_t first, uint32_t tokens)
{
    lx_write_u32(writer, slot->shared->slot_count);
    for (uint32_t i = 0; i < slot->index; i++)
        lx_write_u32(writer, 0);
    lx_write_u32(writer, tokens - first);
    for (uint32_t i = first; i < tokens; i++) {
        lx_write_u32(writer, i);
        lx_write_u32(writer, 1);
        lx_write_u32(writer, slot->index);
    }
    lx_write_u32(writer, part->has_values && part->sides[1].is_transposed);
    lx_write_u32(writer, part->layer_count);
    for (uint32_t side = 0; side < (part->has_values ? 2u : 1u); side++)
        for (uint32_t i = 0; i < part->layer_count; i++) {
            const lx_state_side *s = &part->sides[2 * i + side];
            lx_write_u32(writer, (uint32_t)s->type);
            if (s->is_transposed) {
                lx_write_u32(writer, (uint32_t)s->row_bytes);
                lx_write_u32(writer, s->channels);
            } else {
                lx_write_u64(writer, s->row_bytes);
            }
            writer->offset += side_bytes(s, tokens - first) - 12;
        }
    for (uint32_t i = slot->index + 1; i < slot->shared->slot_count; i++)
        lx_write_u32(writer, 0);
}

/* llama.cpp reads all of it: have the system map its zeros at once, not by a fault for each
 * page. */
static void map_zeros(uint8_t *data, size_t size)
{
#ifdef MADV_POPULATE_READ
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t)data + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)data + size) / page * page;
    if (end > first)
        (void)madvise((void *)first, end - first, MADV_POPULATE_READ);
#else
    (void)data;
    (void)size;
#endif
}

/* Of a blob with cells for what each part needs of 'tokens' tokens. */
static size_t built_bytes(const lx_slot *s, uint32_t tokens)
{
    const lx_state *like = &s->shared->layout;
    size_t bytes = HEADER_BYTES;
    for (uint32_t i = 0; i < like->part_count; i++) {
        const lx_state_part *part = &like->parts[i];
        const uint32_t cells = tokens - lx_state_first_cell(s->shared, i, tokens);
        bytes += 12 + sizeof(uint32_t) * s->shared->slot_count + (size_t)cells * CELL_BYTES;
        for (uint32_t side = 0; side < (part->has_values ? 2u : 1u); side++)
            for (uint32_t layer = 0; layer < part->layer_count; layer++)
                bytes += side_bytes(&part->sides[2 * layer + side], cells);
    }
    return bytes;
}

/* Around whatever values are in 'data'. */
static void build(const lx_slot *s, uint32_t tokens, uint8_t *data, size_t size)
{
    const lx_state *like = &s->shared->layout;
    lx_writer writer = lx_writer_of(data, size);
    lx_write_u32(&writer, MAGIC);
    lx_write_u32(&writer, s->index);
    for (uint32_t i = 0; i < like->part_count; i++)
        build_part(s, &writer, &like->parts[i], lx_state_first_cell(s->shared, i, tokens),
                   tokens);
}

lynx_status lx_state_build(const lx_slot *s, uint32_t tokens, uint8_t **blob, size_t *size)
{
    const size_t bytes = built_bytes(s, tokens);
    uint8_t *data = calloc(bytes, 1);
    LX_REQUIRE(data, LYNX_ERR_MEMORY);
    build(s, tokens, data, bytes);
    *blob = data;
    *size = bytes;
    return LYNX_OK;
}

typedef struct state_bytes {
    uint8_t *data;
    const uint8_t *source;
    size_t size;
} state_bytes;

static lynx_status get_state(lx_slot *s, void *user)
{
    state_bytes *bytes = user;
    const llama_seq_id sequence = (llama_seq_id)s->index;
    bytes->size = llama_state_seq_get_size(s->shared->context, sequence);
    LX_REQUIRE(bytes->size > 0, LYNX_ERR_ENGINE);
    bytes->data = malloc(bytes->size);
    LX_REQUIRE(bytes->data, LYNX_ERR_MEMORY);
    if (llama_state_seq_get_data(s->shared->context, bytes->data, bytes->size, sequence) ==
        bytes->size)
        return LYNX_OK;
    free(bytes->data);
    return lx_llama_fail(s->error, LYNX_ERR_ENGINE, "llama.cpp could not give the cache");
}

lynx_status lx_state_get(lx_slot *s, uint8_t **blob, size_t *size)
{
    state_bytes bytes = {0};
    LX_TRY(lx_slot_run(s, get_state, &bytes));
    *blob = bytes.data;
    *size = bytes.size;
    return LYNX_OK;
}

static lynx_status set_state(lx_slot *s, void *user)
{
    const state_bytes *bytes = user;
    const llama_seq_id sequence = (llama_seq_id)s->index;
    (void)llama_memory_seq_rm(llama_get_memory(s->shared->context), sequence, -1, -1);
    if (llama_state_seq_set_data(s->shared->context, bytes->source, bytes->size, sequence) !=
        bytes->size)
        return lx_llama_fail(s->error, LYNX_ERR_ENGINE, "llama.cpp did not accept the cache");
    return LYNX_OK;
}

lynx_status lx_state_set(lx_slot *s, const uint8_t *blob, size_t size)
{
    state_bytes bytes = {.source = blob, .size = size};
    return lx_slot_run(s, set_state, &bytes);
}

void lx_state_drop_skeleton(lx_slot *s)
{
    if (s->skeleton)
        (void)munmap(s->skeleton, s->skeleton_size);
    s->skeleton = NULL;
    s->skeleton_size = 0;
}

/* Straight from the system: its pages of zeros are one page until they are written, where
 * calloc writes zeros once memory was used before. Mapping them takes as long as llama.cpp's
 * copy of them, so they are kept, until what describes the cells has made too many pages of
 * their own. */
static lynx_status make_skeleton(lx_slot *s, size_t size)
{
    lx_state_drop_skeleton(s);
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    LX_REQUIRE(data != MAP_FAILED, LYNX_ERR_MEMORY);
    map_zeros(data, size);
    s->skeleton = data;
    s->skeleton_size = size;
    s->skeleton_uses = 0;
    return LYNX_OK;
}

lynx_status lx_state_set_undefined(lx_slot *s, uint32_t tokens)
{
    const size_t size = built_bytes(s, tokens);
    if (size > s->skeleton_size || s->skeleton_uses == SKELETON_USES)
        LX_TRY(make_skeleton(s, size));
    s->skeleton_uses++;
    build(s, tokens, s->skeleton, size);
    return lx_state_set(s, s->skeleton, size);
}
