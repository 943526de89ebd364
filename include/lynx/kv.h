/* SPDX-License-Identifier: MIT */
/*
 * kv.h - the shape of a key/value cache, the name of a page, and the page map.
 *
 * A cache holds, for each token of a prompt and each layer, a row of keys and a row of
 * values (the two sides). Rows of 'page_tokens' consecutive tokens of one layer and side
 * form a page: page p covers tokens [p * page_tokens, (p + 1) * page_tokens), as far as the
 * cache has them. A page travels as planes: plane 0 is the anchor, which is enough to draft
 * with; the others (residuals) bring it to full precision.
 *
 * The page map says which planes of which page are here. It is the only thing that the
 * transfer and the decoding share.
 *
 * Layers with a sliding window need only the pages that reach into the window of the next
 * token: a page whose last token is older than 'window_tokens' is not part of the cache, and of
 * the page in which the window begins only what lies in it (lynx_page_span_of).
 *
 * Threads: objects are used by one thread at a time. Nothing here touches the system.
 */
#ifndef LYNX_KV_H
#define LYNX_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/export.h"
#include "lynx/memory.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Limits that a decoder of foreign bytes checks before it allocates or loops. */
enum {
    LYNX_LAYERS_MAX = 1024,
    LYNX_CHANNELS_MAX = 65536,
    LYNX_PAGE_TOKENS_MAX = 4096,
    LYNX_PROMPT_TOKENS_MAX = 1 << 24,
    LYNX_PLANES_MAX = 8,
    LYNX_WINDOW_GRAIN = 32, /* tokens; what pages at the beginning of a window are cut in */
    LYNX_REQUESTS_MAX = 16, /* live requests of one session */
    LYNX_LANES_MAX = 8,     /* connections of one session */
    LYNX_ID_BYTES = 16,     /* of the random name of a session, of a request's ticket */
    LYNX_NAME_BYTES = 32    /* of the name of a prefix: model, codec and tokens */
};

typedef enum lynx_side { LYNX_SIDE_KEYS = 0, LYNX_SIDE_VALUES = 1 } lynx_side;

/* Type of one value in the cache; the numbers travel. */
typedef enum lynx_element {
    LYNX_ELEMENT_F32 = 0,
    LYNX_ELEMENT_F16 = 1,
    LYNX_ELEMENT_BF16 = 2
} lynx_element;

/* Bytes of one value: 4, 2 or 2. */
LYNX_API size_t lynx_element_bytes(lynx_element element);

/* How rotary position embedding pairs the channels of a head. */
typedef enum lynx_rope_pairing {
    LYNX_ROPE_NONE = 0,       /* no rotation, or one that the codec should not undo */
    LYNX_ROPE_NEIGHBOURS = 1, /* (0,1) (2,3) ...: llama, SmolLM2 */
    LYNX_ROPE_HALVES = 2      /* (0,n/2) (1,n/2+1) ...: Gemma, Qwen */
} lynx_rope_pairing;

/* Rotation of the keys: pair i of a head turns by position * scale * base^(-2i/dims).
 * Wrong parameters cost bits, never correctness: both ends undo and redo the same turn. */
typedef struct lynx_rope {
    lynx_rope_pairing pairing;
    uint32_t dims; /* rotated channels of each head, even, <= head_channels; 0 with NONE */
    float base;    /* > 1; such as 10000 */
    float scale;   /* > 0; 1 unless the model was trained with linear scaling */
} lynx_rope;

/* One side of one layer. */
typedef struct lynx_side_shape {
    uint32_t channels; /* values of a token: KV heads x head_channels. 0: side absent (MLA) */
    uint32_t head_channels; /* divides 'channels' */
    lynx_rope rope;         /* pairing NONE on the value side */
} lynx_side_shape;

typedef struct lynx_layer_shape {
    lynx_side_shape sides[2]; /* by lynx_side */
    uint32_t window_tokens;   /* sliding window; 0: every token is seen */
} lynx_layer_shape;

/* Shape of the cache of a model. Borrowed by whoever is given a pointer to it. */
typedef struct lynx_shape {
    uint32_t layer_count;           /* in [1, LYNX_LAYERS_MAX] */
    uint32_t page_tokens;           /* a multiple of 32, in [32, LYNX_PAGE_TOKENS_MAX]; 256 */
    lynx_element element;           /* type of the values in the engine's cache */
    const lynx_layer_shape *layers; /* 'layer_count' of them */
} lynx_shape;

/* LYNX_OK, or LYNX_ERR_ARGUMENT when a field is out of its range. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_shape_check(const lynx_shape *shape);

/* True when a layer has a sliding window. */
LYNX_API bool lynx_shape_has_window(const lynx_shape *shape);

/* Pages that 'prompt_tokens' tokens span, those outside a window included. */
LYNX_API uint32_t lynx_shape_page_count(const lynx_shape *shape, uint32_t prompt_tokens);

/* Bytes of the keys and values of 'prompt_tokens' tokens in the engine's own element type,
 * counting only pages that are needed. */
LYNX_API uint64_t lynx_shape_cache_bytes(const lynx_shape *shape, uint32_t prompt_tokens);

/* Name of a page. */
typedef struct lynx_page_id {
    uint32_t page;  /* index along the tokens */
    uint16_t layer; /* index of the layer */
    uint8_t side;   /* lynx_side */
} lynx_page_id;

/* Where a page lies in its prompt. */
typedef struct lynx_page_span {
    uint32_t first_token;   /* position of its first token */
    uint32_t token_count;   /* in [1, page_tokens]; 0: not in the prompt */
    uint32_t prompt_tokens; /* tokens of the whole prompt */
} lynx_page_span;

/* Tokens of page 'id' that belong to the cache of 'prompt_tokens' tokens: up to the end of the
 * prompt, and in a layer with a window from the first position on that the token behind the
 * prompt sees, down to a multiple of LYNX_WINDOW_GRAIN. 'id.layer' lies in the shape. */
LYNX_API lynx_page_span lynx_page_span_of(const lynx_shape *shape, lynx_page_id id,
                                          uint32_t prompt_tokens);

/* The same with what lies before the window, as if the layer had none. */
LYNX_API lynx_page_span lynx_page_span_whole(const lynx_shape *shape, lynx_page_id id,
                                             uint32_t prompt_tokens);

/* True when 'id' lies in the shape and prompt, its side exists, and the page reaches into
 * the window of the token at position 'prompt_tokens'. */
LYNX_API bool lynx_page_is_needed(const lynx_shape *shape, lynx_page_id id,
                                  uint32_t prompt_tokens);

/* Goes through the pages that are needed, column by column, in it by layers, keys first. A walk
 * may begin later ('next') and end earlier ('page_end') than the prompt does. */
typedef struct lynx_page_walk {
    const lynx_shape *shape; /* borrowed */
    uint32_t prompt_tokens;
    lynx_page_id next; /* the first that was not looked at */
    uint32_t page_end; /* behind the last column */
} lynx_page_walk;

LYNX_API lynx_page_walk lynx_page_walk_of(const lynx_shape *shape, uint32_t prompt_tokens);

/* False when there are no more. */
LYNX_API bool lynx_page_walk_next(lynx_page_walk *walk, lynx_page_id *page);

/* ---- page map ------------------------------------------------------------------------ */

/* One bit for each (page, layer, side, plane) of one prompt, and counts of what is here. */
typedef struct lynx_page_map lynx_page_map;

/*
 * Create an empty map. 'shape' and its layers are read during the call; the map keeps what
 * it needs. 'plane_count' in [1, LYNX_PLANES_MAX]; 'prompt_tokens' in
 * [1, LYNX_PROMPT_TOKENS_MAX]. 'memory' may be NULL.
 *
 * Returns LYNX_OK, LYNX_ERR_ARGUMENT or LYNX_ERR_MEMORY.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_page_map_create(lynx_page_map **map,
                                                          const lynx_shape *shape,
                                                          uint32_t prompt_tokens,
                                                          uint32_t plane_count,
                                                          const lynx_allocator *memory);

LYNX_API void lynx_page_map_destroy(lynx_page_map *map);

/* Set the bit of a needed page. True when it was clear before; false when it was set, or
 * when the page is not needed or the plane not in range (then nothing changes). */
LYNX_API bool lynx_page_map_mark(lynx_page_map *map, lynx_page_id id, uint32_t plane);

LYNX_API bool lynx_page_map_has(const lynx_page_map *map, lynx_page_id id, uint32_t plane);

/* Pages needed in all, and how many of them have plane 'plane'. */
LYNX_API uint64_t lynx_page_map_needed(const lynx_page_map *map);
LYNX_API uint64_t lynx_page_map_present(const lynx_page_map *map, uint32_t plane);

/* True when every needed page has planes 0..plane. */
LYNX_API bool lynx_page_map_is_complete(const lynx_page_map *map, uint32_t plane);

#ifdef __cplusplus
}
#endif

#endif
