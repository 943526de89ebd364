/* SPDX-License-Identifier: MIT */
/* kernels_neon.c - what every 64-bit ARM CPU has; see kernels.h. Built without contraction: a
 * multiplication and an addition are two roundings. */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "codec/kernels.h"
#include "codec/rope_block.h"
#include "codec/spread.h"

/* Arrays of registers stay registers only where they are inlined. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

static lynx_tile tile_at(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    lynx_tile part = *tile;
    part.data = (uint8_t *)tile->data + token * tile->token_stride_bytes +
                channel * tile->channel_stride_bytes;
    return part;
}

static ALWAYS_INLINE uint8_t *row_at(const lynx_tile *rows, uint32_t channel)
{
    return (uint8_t *)rows->data + channel * rows->channel_stride_bytes;
}

static ALWAYS_INLINE uint16x8_t get_halves(const uint8_t *at)
{
    return vreinterpretq_u16_u8(vld1q_u8(at));
}

/* ---- transpose: patches of 8 x 8 halves -------------------------------------------------- */

enum { PATCH = 8 };

static ALWAYS_INLINE void transpose_patch(const uint8_t *from, size_t from_stride, uint8_t *to,
                                          size_t to_stride)
{
    uint16x8_t r[8];
    uint32x4_t a[8];
    uint64x2_t b[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = get_halves(from + i * from_stride);
    for (int i = 0; i < 4; i++) {
        a[2 * i] = vreinterpretq_u32_u16(vtrn1q_u16(r[2 * i], r[2 * i + 1]));
        a[2 * i + 1] = vreinterpretq_u32_u16(vtrn2q_u16(r[2 * i], r[2 * i + 1]));
    }
    for (int i = 0; i < 8; i += 4)
        for (int k = 0; k < 2; k++) {
            b[i + k] = vreinterpretq_u64_u32(vtrn1q_u32(a[i + k], a[i + k + 2]));
            b[i + k + 2] = vreinterpretq_u64_u32(vtrn2q_u32(a[i + k], a[i + k + 2]));
        }
    for (size_t i = 0; i < 4; i++) {
        vst1q_u8(to + i * to_stride, vreinterpretq_u8_u64(vtrn1q_u64(b[i], b[i + 4])));
        vst1q_u8(to + (i + 4) * to_stride, vreinterpretq_u8_u64(vtrn2q_u64(b[i], b[i + 4])));
    }
}

static void transpose(const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                      uint32_t channels)
{
    const bool is_wide = from->element == LYNX_ELEMENT_F32;
    const bool is_to_rows = to->token_stride_bytes == 2;
    const uint32_t whole = is_wide || channels % PATCH ? 0 : tokens / PATCH * PATCH;
    for (uint32_t t = 0; t < whole; t += PATCH)
        for (uint32_t c = 0; c < channels; c += PATCH) {
            const lynx_tile a = tile_at(from, t, c);
            const lynx_tile b = tile_at(to, t, c);
            transpose_patch(a.data, is_to_rows ? a.token_stride_bytes : a.channel_stride_bytes,
                            b.data, is_to_rows ? b.channel_stride_bytes : b.token_stride_bytes);
        }
    const lynx_tile a = tile_at(from, whole, 0);
    const lynx_tile b = tile_at(to, whole, 0);
    lx_kernels_reference.transpose(&a, &b, tokens - whole, channels);
}

/* ---- rows of halves or floats and floats ------------------------------------------------- */

static ALWAYS_INLINE void get_8(const uint8_t *row, bool is_half, uint32_t t, float32x4_t x[2])
{
    if (is_half) {
        const float16x8_t halves = vreinterpretq_f16_u16(get_halves(row + 2 * (size_t)t));
        x[0] = vcvt_f32_f16(vget_low_f16(halves));
        x[1] = vcvt_high_f32_f16(halves);
        return;
    }
    x[0] = vreinterpretq_f32_u8(vld1q_u8(row + 4 * (size_t)t));
    x[1] = vreinterpretq_f32_u8(vld1q_u8(row + 4 * (size_t)t + 16));
}

static ALWAYS_INLINE void put_8(uint8_t *row, bool is_half, uint32_t t, const float32x4_t x[2])
{
    if (is_half) {
        const float16x8_t halves = vcvt_high_f16_f32(vcvt_f16_f32(x[0]), x[1]);
        vst1q_u8(row + 2 * (size_t)t, vreinterpretq_u8_f16(halves));
        return;
    }
    vst1q_u8(row + 4 * (size_t)t, vreinterpretq_u8_f32(x[0]));
    vst1q_u8(row + 4 * (size_t)t + 16, vreinterpretq_u8_f32(x[1]));
}

static ALWAYS_INLINE void turn_8(float32x4_t x[2], float32x4_t y[2], const lx_pair *pair,
                                 uint32_t t, bool is_back)
{
    for (uint32_t i = 0; i < 2; i++) {
        const float32x4_t c = vld1q_f32(pair->cosines + t + 4 * i);
        const float32x4_t s = vld1q_f32(pair->sines + t + 4 * i);
        const float32x4_t xc = vmulq_f32(x[i], c);
        const float32x4_t ys = vmulq_f32(y[i], s);
        const float32x4_t xs = vmulq_f32(x[i], s);
        const float32x4_t yc = vmulq_f32(y[i], c);
        x[i] = is_back ? vaddq_f32(xc, ys) : vsubq_f32(xc, ys);
        y[i] = is_back ? vsubq_f32(yc, xs) : vaddq_f32(yc, xs);
    }
}

/* What is behind the last eight tokens goes the reference's way. */
static lx_pair rest_of(const lx_pair *pair, uint32_t whole)
{
    lx_pair rest = *pair;
    if (pair->cosines) {
        rest.cosines += whole;
        rest.sines += whole;
    }
    return rest;
}

static void load(const lynx_tile *rows, const lx_pair *pair, uint32_t count, float *a, float *b)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const uint32_t whole = count / 8 * 8;
    for (uint32_t t = 0; t < whole; t += 8) {
        float32x4_t x[2];
        float32x4_t y[2];
        get_8(row_at(rows, pair->a), is_half, t, x);
        if (pair->cosines) {
            get_8(row_at(rows, pair->b), is_half, t, y);
            turn_8(x, y, pair, t, true);
            put_8((uint8_t *)b, false, t, y);
        }
        put_8((uint8_t *)a, false, t, x);
    }
    const lynx_tile left = tile_at(rows, whole, 0);
    const lx_pair rest = rest_of(pair, whole);
    lx_kernels_reference.load(&left, &rest, count - whole, a + whole, b + whole);
}

static void store(const float *a, const float *b, const lx_pair *pair, uint32_t count,
                  const lynx_tile *rows)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const uint32_t whole = count / 8 * 8;
    for (uint32_t t = 0; t < whole; t += 8) {
        float32x4_t x[2];
        float32x4_t y[2];
        get_8((const uint8_t *)a, false, t, x);
        if (pair->cosines) {
            get_8((const uint8_t *)b, false, t, y);
            turn_8(x, y, pair, t, false);
            put_8(row_at(rows, pair->b), is_half, t, y);
        }
        put_8(row_at(rows, pair->a), is_half, t, x);
    }
    const lynx_tile left = tile_at(rows, whole, 0);
    const lx_pair rest = rest_of(pair, whole);
    lx_kernels_reference.store(a + whole, b + whole, &rest, count - whole, &left);
}

/* ---- extents ------------------------------------------------------------------------------
 */

/* Of one channel: smallest, largest, and bits that are set where one was not finite. */
typedef struct found {
    float32x4_t low, high;
    uint32x4_t odd;
} found;

static ALWAYS_INLINE void find(found *f, const float32x4_t x[2])
{
    for (int i = 0; i < 2; i++) {
        const float32x4_t difference = vsubq_f32(x[i], x[i]); /* NaN unless finite */
        f->odd = vorrq_u32(f->odd, vmvnq_u32(vceqq_f32(difference, difference)));
        f->low = vminq_f32(f->low, x[i]);
        f->high = vmaxq_f32(f->high, x[i]);
    }
}

static ALWAYS_INLINE bool end_of(const found *f, lx_extent *extent)
{
    *extent = (lx_extent){vminvq_f32(f->low) + 0.0f, vmaxvq_f32(f->high) + 0.0f};
    return vmaxvq_u32(f->odd) == 0;
}

static bool extents_of_floats(const lynx_tile *rows, const lx_pair *pair, uint32_t count,
                              lx_extent *a, lx_extent *b)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const found none = {vdupq_n_f32(INFINITY), vdupq_n_f32(-INFINITY), vdupq_n_u32(0)};
    found of_a = none;
    found of_b = none;
    for (uint32_t t = 0; t < count; t += 8) {
        float32x4_t x[2];
        float32x4_t y[2];
        get_8(row_at(rows, pair->a), is_half, t, x);
        if (pair->cosines) {
            get_8(row_at(rows, pair->b), is_half, t, y);
            turn_8(x, y, pair, t, true);
            find(&of_b, y);
        }
        find(&of_a, x);
    }
    const bool is_finite = end_of(&of_a, a);
    return pair->cosines ? end_of(&of_b, b) && is_finite : is_finite;
}

static float half_at(int16_t number)
{
    const uint16_t half = (uint16_t)(number < 0 ? number ^ 0x7FFF : number);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0) + 0.0f;
}

/* Halves as whole numbers in the same order: those below zero have their other bits turned
 * over. */
static bool extent_of_halves(const uint8_t *row, uint32_t count, lx_extent *extent)
{
    int16x8_t low = vdupq_n_s16(INT16_MAX);
    int16x8_t high = vdupq_n_s16(INT16_MIN);
    for (uint32_t t = 0; t < count; t += 8) {
        const int16x8_t x = vreinterpretq_s16_u16(get_halves(row + 2 * (size_t)t));
        const uint16x8_t below = vshrq_n_u16(vreinterpretq_u16_s16(vshrq_n_s16(x, 15)), 1);
        const int16x8_t number = veorq_s16(x, vreinterpretq_s16_u16(below));
        low = vminq_s16(low, number);
        high = vmaxq_s16(high, number);
    }
    const int16_t least = vminvq_s16(low);
    const int16_t most = vmaxvq_s16(high);
    *extent = (lx_extent){half_at(least), half_at(most)};
    return least >= -0x7C00 && most < 0x7C00;
}

static lx_extent both_extents(lx_extent a, lx_extent b)
{
    return (lx_extent){a.least < b.least ? a.least : b.least,
                       a.most > b.most ? a.most : b.most};
}

static bool extents(const lynx_tile *rows, const lx_pair *pair, uint32_t count, lx_extent *a,
                    lx_extent *b)
{
    const uint32_t whole = count / 8 * 8;
    if (whole == 0)
        return lx_kernels_reference.extents(rows, pair, count, a, b);
    bool is_finite = rows->element == LYNX_ELEMENT_F16 && !pair->cosines
                         ? extent_of_halves(row_at(rows, pair->a), whole, a)
                         : extents_of_floats(rows, pair, whole, a, b);
    if (whole == count)
        return is_finite;
    const lynx_tile left = tile_at(rows, whole, 0);
    const lx_pair rest = rest_of(pair, whole);
    lx_extent x;
    lx_extent y;
    is_finite = lx_kernels_reference.extents(&left, &rest, count - whole, &x, &y) && is_finite;
    *a = both_extents(*a, x);
    if (pair->cosines)
        *b = both_extents(*b, y);
    return is_finite;
}

/* ---- codes and bits: blocks of up to 128 tokens -------------------------------------------
 */

/* A block is two strips, 16 bytes of each row. Register k has bit k of all its codes, token
 * 8 i + j at bit j of byte i. Turning the eight bits of byte i of eight registers gives whole
 * codes: register j has token 8 i + j at byte i. */
enum { BLOCK_STRIPS = 2, BLOCK_BYTES = 16, BLOCK_TOKENS = 128 };

/* Swap the bits of 'mask' in 'b' with those 'shift' higher in 'a'. */
#define SWAP_BITS(a, b, shift, mask)                                                           \
    do {                                                                                       \
        const uint8x16_t both = vandq_u8(veorq_u8(vshrq_n_u8(a, shift), b), vdupq_n_u8(mask)); \
        b = veorq_u8(b, both);                                                                 \
        a = veorq_u8(a, vshlq_n_u8(both, shift));                                              \
    } while (0)

static ALWAYS_INLINE void turn_bits(uint8x16_t r[8])
{
    for (int i = 0; i < 4; i++)
        SWAP_BITS(r[i], r[i + 4], 4, 0x0F);
    for (int i = 0; i < 8; i += 4) {
        SWAP_BITS(r[i], r[i + 2], 2, 0x33);
        SWAP_BITS(r[i + 1], r[i + 3], 2, 0x33);
        SWAP_BITS(r[i], r[i + 1], 1, 0x55);
        SWAP_BITS(r[i + 2], r[i + 3], 1, 0x55);
    }
}

/* Byte i of register j to byte 8 i + j: tokens in order, from 16 k on in register k. */
static ALWAYS_INLINE void interleave(uint8x16_t r[8])
{
    for (int round = 0; round < 3; round++) {
        uint8x16_t a[8];
        for (int i = 0; i < 4; i++) {
            a[2 * i] = vzip1q_u8(r[i], r[i + 4]);
            a[2 * i + 1] = vzip2q_u8(r[i], r[i + 4]);
        }
        memcpy(r, a, sizeof(a));
    }
}

/* And back. */
static ALWAYS_INLINE void separate(uint8x16_t r[8])
{
    for (int round = 0; round < 3; round++) {
        uint8x16_t a[8];
        for (int i = 0; i < 4; i++) {
            a[i] = vuzp1q_u8(r[2 * i], r[2 * i + 1]);
            a[i + 4] = vuzp2q_u8(r[2 * i], r[2 * i + 1]);
        }
        memcpy(r, a, sizeof(a));
    }
}

static uint32_t strips_at(const lx_area *area, uint32_t strip)
{
    return area->strips - strip < BLOCK_STRIPS ? area->strips - strip : BLOCK_STRIPS;
}

/* Codes of a block, of up to eight bits. */
static ALWAYS_INLINE void get_codes(const lx_area *area, const lx_channel *channel,
                                    uint32_t strip, uint32_t code_bits, uint8x16_t r[8])
{
    static const uint8_t zeros[BLOCK_BYTES];
    const bool is_whole = strips_at(area, strip) == BLOCK_STRIPS;
    for (uint32_t k = 0; k < 8; k++) {
        const uint32_t row = code_bits - 1 - k; /* beyond all rows where there is none */
        const uint8_t *at =
            row < channel->bits ? channel->row[row] + (size_t)strip * LX_STRIP_BYTES : zeros;
        r[k] = is_whole ? vld1q_u8(at) : vcombine_u8(vld1_u8(at), vdup_n_u8(0));
    }
    turn_bits(r);
    interleave(r);
}

static ALWAYS_INLINE void put_codes(uint8x16_t r[8], const lx_area *area,
                                    const lx_channel *channel, uint32_t strip,
                                    uint32_t code_bits)
{
    const bool is_whole = strips_at(area, strip) == BLOCK_STRIPS;
    separate(r);
    turn_bits(r);
    for (uint32_t k = 0; k < 8; k++) {
        if (k >= code_bits || code_bits - 1 - k >= channel->bits)
            continue;
        uint8_t *at = channel->row[code_bits - 1 - k] + (size_t)strip * LX_STRIP_BYTES;
        if (is_whole)
            vst1q_u8(at, r[k]);
        else
            vst1_u8(at, vget_low_u8(r[k]));
    }
}

static void pack(const uint8_t *codes, const lx_area *area)
{
    for (uint32_t s = 0; s < area->strips; s += BLOCK_STRIPS) {
        const uint32_t tokens = strips_at(area, s) * LX_KERNEL_TOKENS;
        uint8x16_t r[8];
        for (uint32_t k = 0; k < 8; k++)
            r[k] = 16 * k < tokens ? vld1q_u8(codes + (size_t)s * LX_KERNEL_TOKENS + 16 * k)
                                   : vdupq_n_u8(0);
        put_codes(r, area, &area->a, s, area->code_bits);
    }
}

static void unpack(const lx_area *area, uint8_t *codes)
{
    for (uint32_t s = 0; s < area->strips; s += BLOCK_STRIPS) {
        const uint32_t tokens = strips_at(area, s) * LX_KERNEL_TOKENS;
        uint8x16_t r[8];
        get_codes(area, &area->a, s, area->code_bits, r);
        for (uint32_t k = 0; 16 * k < tokens; k++)
            vst1q_u8(codes + (size_t)s * LX_KERNEL_TOKENS + 16 * k, r[k]);
    }
}

static ALWAYS_INLINE lx_grid grid_at(const lx_area *area, const lx_channel *channel,
                                     uint32_t token)
{
    return channel->grids[(size_t)(token / LX_CHUNK_TOKENS) * area->grid_step];
}

/* Rows of fine codes behind the first eight: their bits are the upper ones of bytes. */
static lx_channel fine_rows(const lx_channel *channel)
{
    return (lx_channel){channel->row + 8, channel->bits > 8 ? channel->bits - 8 : 0,
                        channel->grids};
}

static ALWAYS_INLINE float32x4_t bent_steps(float32x4_t u)
{
    const float32x4_t size = vmulq_f32(vdupq_n_f32(LX_BEND_WIDTH), vabsq_f32(u));
    const float32x4_t under = vaddq_f32(vdupq_n_f32(LX_BEND_SQUARE), size);
    const float32x4_t e = vsubq_f32(vsqrtq_f32(under), vdupq_n_f32(LX_BEND_ROOT));
    const float32x4_t middle = vdupq_n_f32(LX_BEND_MIDDLE);
    return vbslq_f32(vcltzq_f32(u), vsubq_f32(middle, e), vaddq_f32(middle, e));
}

static ALWAYS_INLINE int16x4_t quantize_4(float32x4_t x, lx_grid grid, bool is_fine,
                                          bool is_bent)
{
    const float32x4_t above = vsubq_f32(x, vdupq_n_f32(grid.low));
    const float32x4_t scaled = vmulq_f32(above, vdupq_n_f32(grid.scale));
    const float32x4_t steps = is_bent ? bent_steps(scaled) : scaled;
    return vqmovn_s32(
        vcvtnq_s32_f32(is_fine ? vmulq_f32(steps, vdupq_n_f32((float)LX_FINE_PARTS)) : steps));
}

/* Codes of some channel's tokens; of fine codes the first eight bits, and the others. */
typedef struct block_codes {
    uint8_t whole[BLOCK_TOKENS], parts[BLOCK_TOKENS];
} block_codes;

/* Narrowing clamps to 0 .. 255. */
static ALWAYS_INLINE void quantize_8(const float32x4_t x[2], lx_grid grid, uint32_t code_bits,
                                     bool is_bent, block_codes *to, uint32_t i)
{
    const bool is_fine = code_bits == LX_FINE_BITS;
    const int16x8_t codes = vcombine_s16(quantize_4(x[0], grid, is_fine, is_bent),
                                         quantize_4(x[1], grid, is_fine, is_bent));
    if (!is_fine) {
        const uint8x8_t most = vdup_n_u8((uint8_t)((1u << code_bits) - 1));
        vst1_u8(to->whole + i, vmin_u8(vqmovun_s16(codes), most));
        return;
    }
    const int16x8_t above = vmaxq_s16(codes, vdupq_n_s16(0));
    const uint16x8_t fine =
        vreinterpretq_u16_s16(vminq_s16(above, vdupq_n_s16((1 << LX_FINE_BITS) - 1)));
    vst1_u8(to->whole + i, vshrn_n_u16(fine, 4));
    vst1_u8(to->parts + i, vmovn_u16(vshlq_n_u16(fine, 4)));
}

static void put_block(const uint8_t codes[BLOCK_TOKENS], const lx_area *area,
                      const lx_channel *channel, uint32_t strip, uint32_t code_bits)
{
    uint8x16_t r[8];
    for (uint32_t k = 0; k < 8; k++)
        r[k] = vld1q_u8(codes + 16 * (size_t)k);
    put_codes(r, area, channel, strip, code_bits);
}

static void quantize(const lynx_tile *rows, const lx_pair *pair, const lx_area *area)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const bool is_fine = area->code_bits == LX_FINE_BITS;
    for (uint32_t s = 0; s < area->strips; s += BLOCK_STRIPS) {
        const uint32_t tokens = strips_at(area, s) * LX_KERNEL_TOKENS;
        block_codes codes[2] = {{{0}, {0}}};
        for (uint32_t i = 0; i < tokens; i += 8) {
            const uint32_t t = s * LX_KERNEL_TOKENS + i;
            float32x4_t x[2];
            float32x4_t y[2];
            get_8(row_at(rows, pair->a), is_half, t, x);
            if (pair->cosines) {
                get_8(row_at(rows, pair->b), is_half, t, y);
                turn_8(x, y, pair, t, true);
                quantize_8(y, grid_at(area, &area->b, t), area->code_bits, false, &codes[1], i);
            }
            quantize_8(x, grid_at(area, &area->a, t), area->code_bits, area->is_bent, &codes[0],
                       i);
        }
        for (uint32_t side = 0; side < (pair->cosines ? 2 : 1); side++) {
            const lx_channel *channel = side ? &area->b : &area->a;
            put_block(codes[side].whole, area, channel, s, is_fine ? 8 : area->code_bits);
            if (is_fine && channel->bits > 8) {
                const lx_channel fine = fine_rows(channel);
                put_block(codes[side].parts, area, &fine, s, 8);
            }
        }
    }
}

static ALWAYS_INLINE void floats_of(uint8x16_t codes, float32x4_t x[4])
{
    const uint16x8_t low = vmovl_u8(vget_low_u8(codes));
    const uint16x8_t high = vmovl_u8(vget_high_u8(codes));
    x[0] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(low)));
    x[1] = vcvtq_f32_u32(vmovl_u16(vget_high_u16(low)));
    x[2] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(high)));
    x[3] = vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)));
}

static ALWAYS_INLINE float32x4_t dequantize_4(float32x4_t steps, lx_grid grid, bool is_bent)
{
    if (is_bent) {
        const float32x4_t d = vaddq_f32(steps, vdupq_n_f32(grid.shift));
        const float32x4_t more = vmulq_f32(vabsq_f32(d), vdupq_n_f32(grid.bend));
        const float32x4_t slope = vaddq_f32(vdupq_n_f32(grid.scale), more);
        return vaddq_f32(vdupq_n_f32(grid.low), vmulq_f32(d, slope));
    }
    return vaddq_f32(vdupq_n_f32(grid.low), vmulq_f32(steps, vdupq_n_f32(grid.scale)));
}

/* Rows of a block; of fine codes those behind the first eight, too. */
typedef struct block_rows {
    uint8x16_t whole[8], parts[8];
} block_rows;

static ALWAYS_INLINE void get_block(const lx_area *area, const lx_channel *channel,
                                    uint32_t strip, bool is_fine, block_rows *rows)
{
    /* Up to eight bits a fine code is one of eight. */
    const uint32_t code_bits = area->code_bits < 8 ? area->code_bits : 8;
    get_codes(area, channel, strip, code_bits, rows->whole);
    if (is_fine) {
        const lx_channel fine = fine_rows(channel);
        get_codes(area, &fine, strip, 8, rows->parts);
    }
}

static ALWAYS_INLINE void dequantize_16(const block_rows *rows, uint32_t k, lx_grid grid,
                                        bool is_fine, bool is_bent, float32x4_t x[4])
{
    floats_of(rows->whole[k], x);
    if (is_fine) {
        float32x4_t parts[4];
        floats_of(rows->parts[k], parts);
        for (uint32_t i = 0; i < 4; i++)
            x[i] = vaddq_f32(x[i], vmulq_f32(parts[i], vdupq_n_f32(0x1p-8f)));
    }
    for (uint32_t i = 0; i < 4; i++)
        x[i] = dequantize_4(x[i], grid, is_bent);
}

static void dequantize(const lx_area *area, const lx_pair *pair, const lynx_tile *rows)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const bool is_fine = area->a.bits > 8 || (pair->cosines && area->b.bits > 8);
    for (uint32_t s = 0; s < area->strips; s += BLOCK_STRIPS) {
        const uint32_t tokens = strips_at(area, s) * LX_KERNEL_TOKENS;
        block_rows a;
        block_rows b;
        get_block(area, &area->a, s, is_fine, &a);
        if (pair->cosines)
            get_block(area, &area->b, s, is_fine, &b);
        for (uint32_t k = 0; 16 * k < tokens; k++) {
            const uint32_t t = s * LX_KERNEL_TOKENS + 16 * k;
            float32x4_t x[4];
            float32x4_t y[4];
            dequantize_16(&a, k, grid_at(area, &area->a, t), is_fine, area->is_bent, x);
            if (pair->cosines) {
                dequantize_16(&b, k, grid_at(area, &area->b, t), is_fine, false, y);
                turn_8(x, y, pair, t, false);
                turn_8(x + 2, y + 2, pair, t + 8, false);
                put_8(row_at(rows, pair->b), is_half, t, y);
                put_8(row_at(rows, pair->b), is_half, t + 8, y + 2);
            }
            put_8(row_at(rows, pair->a), is_half, t, x);
            put_8(row_at(rows, pair->a), is_half, t + 8, x + 2);
        }
    }
}

const lx_kernels lx_kernels_neon = {
    .name = "neon",
    .floats = lx_floats_of_halves,
    .spread = lx_spread_bits,
    .transpose = transpose,
    .turn = lx_rope_block,
    .load = load,
    .store = store,
    .extents = extents,
    .quantize = quantize,
    .dequantize = dequantize,
    .pack = pack,
    .unpack = unpack,
};
