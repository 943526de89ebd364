/* SPDX-License-Identifier: MIT */
/*
 * page.h - a page between a tile and its planes; private to the codec. The bytes are those of
 * docs/format-codec.md.
 *
 *   plane 0:  | mode, 3 zero bytes | raw tokens | metadata | bit rows of the top bits |
 *             | of recent tokens: bit rows of all bits |
 *   plane i:  | bit rows of the next bits |
 *
 * A page is head raw tokens, a coded run, tail raw tokens. The last tokens of the run may be
 * recent ones; they and those before them are its two parts, which share metadata. The coded
 * run is worked on as rows, a channel-major tile, channel by channel or pair by pair of turned
 * channels. A channel-major tile is its own rows; others are transposed, in halves that stay in
 * the second-level cache.
 */
#ifndef LX_CODEC_PAGE_H
#define LX_CODEC_PAGE_H

#include "codec/quantiser.h"

enum { LX_MODE_CODED = 0, LX_MODE_RAW = 1, LX_MODE_BYTES = 4, LX_ROPE_TABLES = 4 };

/* Blank rows, all that a channel can have, and blank rows. */
enum { LX_ROWS_ROOM = LX_ROWS_BLANK + LX_ROWS_MAX + LX_ROWS_BLANK };

/* Cosines and sines of one rotation at the positions of one page. */
typedef struct lx_rope_table {
    lynx_rope rope;
    uint32_t first, count;
    float *cosines, *sines; /* [pair][row_values] */
} lx_rope_table;

/* Tokens behind the last whole strip are worked on in copies. */
typedef struct lx_rest {
    uint8_t bytes[2][LX_ROWS_MAX][LX_STRIP_BYTES];
    uint8_t *rows[2][LX_ROWS_ROOM];    /* into 'bytes' */
    float values[2][LX_KERNEL_TOKENS]; /* or halves */
    lx_area area;
    lynx_tile tile;
    lx_pair pair;
    uint32_t first, tokens;
    size_t bytes_each; /* of a row that exist */
} lx_rest;

struct lynx_codec {
    const lynx_allocator *memory;
    lynx_codec_options options;
    lynx_codec_spec spec;
    const lx_kernels *kernels;
    uint32_t plane_count, code_bits;
    size_t row_values;  /* page_tokens rounded up to what kernels touch, and ROW_GAP */
    size_t block_rows;  /* TOKEN needs all channels at once, PAPER two */
    float *block;       /* [block_rows][row_values] */
    uint8_t *codes;     /* [channels_max][row_values] */
    uint8_t *rows;      /* the same, of a tile's element: see lx_rows_of */
    size_t grid_pitch;  /* of a channel: one, or row_values / LX_CHUNK_TOKENS */
    lx_grid *grids;     /* [channels_max][grid_pitch] */
    lx_extent *extents; /* as many as grids */
    lx_shared shared;
    /* By channel, squares and weights with 'spread'. */
    float *squares;
    uint16_t *weights;
    /* By plane and channel: bits with all planes up to this, and rows of the plane that lie
     * before those of the channel. */
    uint8_t *bits;
    uint32_t *rows_before;
    uint8_t *pair_rows[2][LX_ROWS_ROOM]; /* of the pair that lx_find_area was asked for */
    uint8_t *zeros, *sink;               /* blank rows: [row_values / 8] */
    lx_rope_table ropes[LX_ROPE_TABLES];
    uint32_t next_rope;
    size_t rope_floats;
    lx_paper_tables paper;
    lx_rest rest;
};

/* ---- layout.c: what is allowed, how tokens are divided and how many bytes follow ------- */

/* How the tokens of a page are divided; 'recent' are the last ones of 'coded'. */
typedef struct lx_split {
    uint32_t head, coded, tail, recent;
} lx_split;

/* Coded tokens whose bit rows lie together. */
typedef enum lx_part { LX_PART_EARLIER, LX_PART_RECENT, LX_PARTS } lx_part;

/* Everything about one page that its planes' layout depends on. */
typedef struct lx_page_view {
    const lynx_side_shape *shape;
    lynx_side side;
    const lynx_page_span *span;
    lx_split split;
    size_t element_bytes; /* on the wire */
    size_t meta_offset;   /* in plane 0 */
    size_t channel_meta, head_meta;
    size_t rows_offset; /* in plane 0 */
} lx_page_view;

/* Tokens of a part, and the bytes of a bit row of so many. */
uint32_t lx_part_tokens(const lx_page_view *v, lx_part part);
size_t lx_row_bytes(uint32_t tokens);
/* Bit rows of a plane, of all channels. */
uint32_t lx_plane_rows(const lynx_codec *codec, const lx_page_view *v, uint32_t plane);

lynx_status lx_page_check(const lynx_codec *codec, const lynx_side_shape *shape, lynx_side side,
                          const lynx_page_span *span, const lynx_tile *tile);
lx_page_view lx_page_view_of(const lynx_codec *codec, const lynx_side_shape *shape,
                             lynx_side side, const lynx_page_span *span);
size_t lx_page_raw_bytes(const lx_page_view *v);
size_t lx_page_coded_bytes(const lynx_codec *codec, const lx_page_view *v, uint32_t plane);
bool lx_page_is_worth_coding(const lynx_codec *codec, const lx_page_view *v);
/* For the whole run, or for a part of so many tokens. */
lx_quantiser lx_page_quantiser(const lynx_codec *codec, const lx_page_view *v, uint32_t tokens,
                               uint32_t missing_bits);

/* ---- tile.c: values of tiles ----------------------------------------------------------- */

lynx_tile lx_tile_at(const lynx_tile *tile, uint32_t token, uint32_t channel);
/* Raw values at 'data', as planes have them. */
lynx_tile lx_wire_tile(const lynx_codec *codec, const lx_page_view *v, void *data);

/* Copy values between tiles, bit for bit when the types are the same. */
void lx_copy_values(const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                    uint32_t channels);

/* Raw head and tail tokens between a page's tile and plane 0. */
void lx_copy_raw_tokens(const lynx_codec *codec, const lx_page_view *v, const lynx_tile *page,
                        uint8_t *plane, bool is_encoding);

/* Rows of the coded run of 'tile': its own memory, or room that it is moved to or from. */
lynx_tile lx_rows_of(const lynx_codec *codec, const lynx_tile *tile);

/* ---- turn.c: channels that turn together ----------------------------------------------- */

/* Goes through the channels of a page. Where pairs turn they come first, pair i of all heads
 * before pair i + 1 because they share a row of the table; where none does channels are in
 * their order. */
typedef struct lx_pair_walk {
    const lx_rope_table *table;
    size_t table_pitch;
    uint32_t first_token;                  /* of the coded run */
    uint32_t heads, head_channels, turned; /* 'turned' channels of a head */
    uint32_t head, channel;                /* next */
    lx_pair next;
} lx_pair_walk;

/* With the angles from token 'first' of the coded run on. */
lx_pair_walk lx_walk_pairs(lynx_codec *codec, const lx_page_view *v, uint32_t first);
/* The channels in the first head of the pair that is next. */
void lx_begin_pair(lx_pair_walk *walk);

static inline bool lx_next_pair(lx_pair_walk *walk, lx_pair *pair)
{
    if (walk->channel == walk->head_channels)
        return false;
    *pair = walk->next;
    walk->next.a += walk->head_channels;
    walk->next.b += walk->head_channels;
    if (++walk->head == walk->heads) {
        walk->head = 0;
        walk->channel += walk->channel < walk->turned ? 2 : 1;
        lx_begin_pair(walk);
    }
    return true;
}

/* ---- bits.c: where the bits of codes lie ----------------------------------------------- */

/* The planes of a part of a page that are here, to read or to write them. */
typedef struct lx_page_bits {
    lynx_codec *codec;
    const lx_page_view *view;
    lx_quantiser q;
    uint8_t *rows[LYNX_PLANES_MAX]; /* of each plane; decoding only reads */
    uint8_t *meta;                  /* in plane 0 */
    uint32_t plane_count;
    uint8_t *blank;         /* to read or to write */
    uint32_t first, tokens; /* in the coded run */
    size_t row_bytes;
} lx_page_bits;

/* 'tokens' tokens of the coded run or a part, between a tile and 'lx_rows_of' it. */
void lx_move_rows(const lx_page_bits *p, const lynx_tile *from, const lynx_tile *to,
                  uint32_t tokens);

lx_page_bits lx_bits_of(lynx_codec *codec, const lx_page_view *v, uint8_t *const planes[],
                        uint32_t plane_count, lx_part part, bool is_reading);

/* Find where each row of each channel lies; with 'spread' this reads the metadata. */
void lx_find_rows(const lx_page_bits *p);

/* The bits of a pair, until the next is asked for; 'b' only if it turns. */
void lx_find_area(const lx_page_bits *p, const lx_pair *pair, lx_area *area);

/* That of the codec, for a pair of a page that has one. 'rows' may be NULL where values are not
 * asked for. */
lx_rest *lx_rest_of(const lx_page_bits *p, const lx_area *area, const lx_pair *pair,
                    const lynx_tile *rows);
/* Bits, or values, between their places and the copies. */
void lx_rest_bits(lx_rest *rest, const lx_area *area, bool is_reading);
void lx_rest_values(lx_rest *rest, const lx_pair *pair, const lynx_tile *rows, bool is_reading);

static inline float *lx_block_row(const lynx_codec *codec, uint32_t row)
{
    return codec->block + row * codec->row_values;
}

static inline uint8_t *lx_codes_row(const lynx_codec *codec, uint32_t row)
{
    return codec->codes + row * codec->row_values;
}

static inline bool lx_has_rest(const lx_page_bits *p)
{
    return p->tokens % LX_KERNEL_TOKENS != 0;
}

static inline lx_grid *lx_grids_of(const lx_page_bits *p, uint32_t channel)
{
    return p->codec->grids + channel * p->codec->grid_pitch;
}

/* Bits of a channel with the planes 0 .. 'plane', of all channels from the first on. */
static inline uint8_t *lx_bits_with(const lynx_codec *codec, uint32_t plane)
{
    return codec->bits + plane * codec->options.channels_max;
}

#endif
