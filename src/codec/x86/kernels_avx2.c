/* SPDX-License-Identifier: MIT */
/* kernels_avx2.c - built with -mavx2 -mf16c; see kernels.h. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "codec/kernels.h"
#include "codec/rope_block.h"
#include "codec/spread.h"

/* Arrays of registers stay registers only where they are inlined. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { ROUND_EVEN = _MM_FROUND_TO_NEAREST_INT };

/* Transpose 8 x 8 values of 16 bits in each 128-bit lane. */
static ALWAYS_INLINE void transpose8(__m256i r[8])
{
    __m256i a[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
    __m256i b[8];
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_unpacklo_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi32(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi32(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        r[2 * i] = _mm256_unpacklo_epi64(b[i], b[4 + i]);
        r[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[4 + i]);
    }
}

static __m256i row_of_lanes(const uint8_t *at, size_t stride)
{
    const __m128i x0 = _mm_loadu_si128((const __m128i *)(const void *)at);
    const __m128i x1 = _mm_loadu_si128((const __m128i *)(const void *)(at + 8 * stride));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(x0), x1, 1);
}

/* ---- transpose: patches of 16 tokens x 8 channels ------------------------------------- */

static void patch_to_rows(const uint8_t *at, size_t stride, uint8_t *rows, size_t pitch)
{
    __m256i r[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = row_of_lanes(at + i * stride, stride);
    transpose8(r);
    for (size_t c = 0; c < 8; c++)
        _mm256_storeu_si256((__m256i *)(void *)(rows + c * pitch), r[c]);
}

static void patch_of_rows(const uint8_t *rows, size_t pitch, uint8_t *at, size_t stride)
{
    __m256i r[8];
    for (size_t c = 0; c < 8; c++)
        r[c] = _mm256_loadu_si256((const __m256i *)(const void *)(rows + c * pitch));
    transpose8(r);
    for (size_t i = 0; i < 8; i++) {
        uint8_t *to = at + i * stride;
        _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(r[i]));
        _mm_storeu_si128((__m128i *)(void *)(to + 8 * stride),
                         _mm256_extracti128_si256(r[i], 1));
    }
}

static lynx_tile tile_at(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    lynx_tile part = *tile;
    part.data = (uint8_t *)tile->data + token * tile->token_stride_bytes +
                channel * tile->channel_stride_bytes;
    return part;
}

/* A line of 32 channels of each of 16 tokens, patch by patch. */
enum { PATCH_TOKENS = 16, PATCH_CHANNELS = 8, LINE_CHANNELS = 32, LINE_BYTES = 64 };

static void lines_to_rows(const uint8_t *lines, size_t stride, uint8_t *rows, size_t pitch,
                          uint32_t channels, uint32_t tokens_left)
{
    /* Lines two patches on, to the second level: the hardware does not foresee this walk. */
    for (uint32_t i = 2 * PATCH_TOKENS; i < 3 * PATCH_TOKENS && i < tokens_left; i++)
        __builtin_prefetch(lines + i * stride, 0, 2);
    for (uint32_t c = 0; c < channels; c += PATCH_CHANNELS)
        patch_to_rows(lines + 2 * (size_t)c, stride, rows + c * pitch, pitch);
}

static void lines_of_rows(const uint8_t *rows, size_t pitch, uint8_t *lines, size_t stride,
                          uint32_t channels)
{
    if (channels < LINE_CHANNELS || ((uintptr_t)lines | stride) % LINE_BYTES) {
        for (uint32_t c = 0; c < channels; c += PATCH_CHANNELS)
            patch_of_rows(rows + c * pitch, pitch, lines + 2 * (size_t)c, stride);
        return;
    }
    /* Whole lines that nobody here reads again go past the caches. */
    __m256i room[PATCH_TOKENS][2];
    for (uint32_t c = 0; c < LINE_CHANNELS; c += PATCH_CHANNELS)
        patch_of_rows(rows + c * pitch, pitch, (uint8_t *)room + 2 * (size_t)c, LINE_BYTES);
    for (uint32_t i = 0; i < PATCH_TOKENS; i++) {
        __m256i *line = (__m256i *)(void *)(lines + i * stride);
        _mm256_stream_si256(line, room[i][0]);
        _mm256_stream_si256(line + 1, room[i][1]);
    }
}

static void transpose(const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                      uint32_t channels)
{
    const bool is_wide = from->element == LYNX_ELEMENT_F32;
    const uint32_t whole = is_wide || channels % PATCH_CHANNELS ? 0 : tokens / 16 * 16;
    for (uint32_t t = 0; t < whole; t += PATCH_TOKENS)
        for (uint32_t c = 0; c < channels; c += LINE_CHANNELS) {
            const uint32_t width = channels - c < LINE_CHANNELS ? channels - c : LINE_CHANNELS;
            const lynx_tile a = tile_at(from, t, c);
            const lynx_tile b = tile_at(to, t, c);
            if (to->token_stride_bytes == 2)
                lines_to_rows(a.data, a.token_stride_bytes, b.data, b.channel_stride_bytes,
                              width, whole - t);
            else
                lines_of_rows(a.data, a.channel_stride_bytes, b.data, b.token_stride_bytes,
                              width);
        }
    const lynx_tile a = tile_at(from, whole, 0);
    const lynx_tile b = tile_at(to, whole, 0);
    lx_kernels_reference.transpose(&a, &b, tokens - whole, channels);
}

/* ---- rows of halves or floats and floats --------------------------------------------- */

static ALWAYS_INLINE uint8_t *row_at(const lynx_tile *rows, uint32_t channel)
{
    return (uint8_t *)rows->data + channel * rows->channel_stride_bytes;
}

static ALWAYS_INLINE __m256 get_8(const uint8_t *row, bool is_half, uint32_t t)
{
    return is_half
               ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)row + t / 8))
               : _mm256_loadu_ps((const float *)(const void *)row + t);
}

static ALWAYS_INLINE void put_8(uint8_t *row, bool is_half, uint32_t t, __m256 x)
{
    if (is_half)
        _mm_storeu_si128((__m128i *)(void *)row + t / 8, _mm256_cvtps_ph(x, ROUND_EVEN));
    else
        _mm256_storeu_ps((float *)(void *)row + t, x);
}

static ALWAYS_INLINE void turn(__m256 *x, __m256 *y, const lx_pair *pair, uint32_t t,
                               bool is_back)
{
    const __m256 c = _mm256_loadu_ps(pair->cosines + t);
    const __m256 s = _mm256_loadu_ps(pair->sines + t);
    const __m256 xc = _mm256_mul_ps(*x, c);
    const __m256 ys = _mm256_mul_ps(*y, s);
    const __m256 xs = _mm256_mul_ps(*x, s);
    const __m256 yc = _mm256_mul_ps(*y, c);
    *x = is_back ? _mm256_add_ps(xc, ys) : _mm256_sub_ps(xc, ys);
    *y = is_back ? _mm256_sub_ps(yc, xs) : _mm256_add_ps(yc, xs);
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

/* A row soon to come: rows of a channel-major tile lie apart. Behind the last this may be any
 * address, which is allowed. */
static ALWAYS_INLINE void prefetch_row(uintptr_t row, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += LINE_BYTES)
        _mm_prefetch((const void *)(row + i), _MM_HINT_T0);
}

static ALWAYS_INLINE void load_whole(const uint8_t *restrict from_a,
                                     const uint8_t *restrict from_b, const lx_pair pair,
                                     bool is_half, bool is_turned, uint32_t whole,
                                     float *restrict a, float *restrict b)
{
    for (uint32_t t = 0; t < whole; t += 8) {
        __m256 x = get_8(from_a, is_half, t);
        if (is_turned) {
            __m256 y = get_8(from_b, is_half, t);
            turn(&x, &y, &pair, t, true);
            _mm256_storeu_ps(b + t, y);
        }
        _mm256_storeu_ps(a + t, x);
    }
}

static void load(const lynx_tile *rows, const lx_pair *pair, uint32_t count, float *a, float *b)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const uint32_t whole = count / 8 * 8;
    const uint8_t *from_a = row_at(rows, pair->a);
    const uint8_t *from_b = row_at(rows, pair->b);
    prefetch_row((uintptr_t)from_a + 2 * rows->channel_stride_bytes,
                 count * rows->token_stride_bytes);
    if (is_half && pair->cosines)
        load_whole(from_a, from_b, *pair, true, true, whole, a, b);
    else if (is_half)
        load_whole(from_a, from_b, *pair, true, false, whole, a, b);
    else
        load_whole(from_a, from_b, *pair, false, pair->cosines != NULL, whole, a, b);
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
        __m256 x = _mm256_loadu_ps(a + t);
        if (pair->cosines) {
            __m256 y = _mm256_loadu_ps(b + t);
            turn(&x, &y, pair, t, false);
            put_8(row_at(rows, pair->b), is_half, t, y);
        }
        put_8(row_at(rows, pair->a), is_half, t, x);
    }
    const lynx_tile left = tile_at(rows, whole, 0);
    const lx_pair rest = rest_of(pair, whole);
    lx_kernels_reference.store(a + whole, b + whole, &rest, count - whole, &left);
}

static float least_of(__m256 x)
{
    __m128 y = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_min_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_min_ss(y, _mm_movehdup_ps(y)));
}

static float most_of(__m256 x)
{
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* Extents of 'count' values, a multiple of 8, that are turned or floats. */
static ALWAYS_INLINE bool extents_of_floats(const uint8_t *from_a, const uint8_t *from_b,
                                            const lx_pair pair, bool is_half, bool is_turned,
                                            uint32_t count, lx_extent *a, lx_extent *b)
{
    const __m256 huge = _mm256_set1_ps(INFINITY);
    const __m256 tiny = _mm256_set1_ps(-INFINITY);
    __m256 low[2] = {huge, huge};
    __m256 high[2] = {tiny, tiny};
    /* x - x is zero for finite x and NaN for all others. */
    __m256 differences = _mm256_setzero_ps();
    for (uint32_t t = 0; t < count; t += 8) {
        __m256 x = get_8(from_a, is_half, t);
        if (is_turned) {
            __m256 y = get_8(from_b, is_half, t);
            turn(&x, &y, &pair, t, true);
            differences = _mm256_or_ps(differences, _mm256_sub_ps(y, y));
            low[1] = _mm256_min_ps(low[1], y);
            high[1] = _mm256_max_ps(high[1], y);
        }
        differences = _mm256_or_ps(differences, _mm256_sub_ps(x, x));
        low[0] = _mm256_min_ps(low[0], x);
        high[0] = _mm256_max_ps(high[0], x);
    }
    *a = (lx_extent){least_of(low[0]) + 0.0f, most_of(high[0]) + 0.0f};
    if (is_turned)
        *b = (lx_extent){least_of(low[1]) + 0.0f, most_of(high[1]) + 0.0f};
    const __m256 odd = _mm256_cmp_ps(differences, differences, _CMP_UNORD_Q);
    return _mm256_movemask_ps(odd) == 0;
}

static float float_of_half(uint32_t half)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128((int)half)));
}

/* Halves as whole numbers in the same order: those below zero have their other bits turned
 * over. */
static bool extent_of_halves(const uint8_t *row, uint32_t count, lx_extent *extent)
{
    __m256i low = _mm256_set1_epi16(INT16_MAX);
    __m256i high = _mm256_set1_epi16(INT16_MIN);
    for (uint32_t t = 0; t < count; t += 16) {
        const __m256i x =
            _mm256_loadu_si256((const __m256i *)(const void *)(row + 2 * (size_t)t));
        const __m256i below = _mm256_srli_epi16(_mm256_srai_epi16(x, 15), 1);
        const __m256i number = _mm256_xor_si256(x, below);
        low = _mm256_min_epi16(low, number);
        high = _mm256_max_epi16(high, number);
    }
    const __m128i least =
        _mm_min_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    const __m128i most =
        _mm_max_epi16(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    /* minpos finds the least of numbers without a sign. */
    const uint32_t first = (uint32_t)_mm_cvtsi128_si32(
        _mm_minpos_epu16(_mm_xor_si128(least, _mm_set1_epi16(INT16_MIN))));
    const uint32_t last = (uint32_t)_mm_cvtsi128_si32(
        _mm_minpos_epu16(_mm_xor_si128(most, _mm_set1_epi16(INT16_MAX))));
    const int16_t from = (int16_t)((first & 0xFFFF) ^ 0x8000);
    const int16_t to = (int16_t)((last & 0xFFFF) ^ 0x7FFF);
    extent->least = float_of_half((uint16_t)(from < 0 ? from ^ 0x7FFF : from)) + 0.0f;
    extent->most = float_of_half((uint16_t)(to < 0 ? to ^ 0x7FFF : to)) + 0.0f;
    return from >= -0x7C00 && to < 0x7C00;
}

static lx_extent both_extents(lx_extent a, lx_extent b)
{
    return (lx_extent){a.least < b.least ? a.least : b.least,
                       a.most > b.most ? a.most : b.most};
}

static bool extents(const lynx_tile *rows, const lx_pair *pair, uint32_t count, lx_extent *a,
                    lx_extent *b)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const uint8_t *from_a = row_at(rows, pair->a);
    const uint8_t *from_b = row_at(rows, pair->b);
    const uint32_t whole = count / 16 * 16;
    if (whole == 0)
        return lx_kernels_reference.extents(rows, pair, count, a, b);
    prefetch_row((uintptr_t)from_a + 2 * rows->channel_stride_bytes,
                 count * rows->token_stride_bytes);
    bool is_finite;
    if (is_half && !pair->cosines)
        is_finite = extent_of_halves(from_a, whole, a);
    else if (is_half)
        is_finite = extents_of_floats(from_a, from_b, *pair, true, true, whole, a, b);
    else
        is_finite =
            extents_of_floats(from_a, from_b, *pair, false, pair->cosines != NULL, whole, a, b);
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

/* ---- codes and bits: blocks of up to 256 tokens ---------------------------------------- */

/* A block is four strips, 32 bytes of each row. Register k has bit k of all its codes, token
 * 8 i + j at bit j of byte i. Turning the eight bits of byte i of eight registers gives whole
 * codes: register j has token 8 i + j at byte i. */
enum { BLOCK_STRIPS = 4, BLOCK_BYTES = 32, BLOCK_TOKENS = 256 };

/* Swap the bits of 'mask' in 'b' with those 'shift' higher in 'a'. */
#define SWAP_BITS(a, b, shift, mask)                                                           \
    do {                                                                                       \
        const __m256i both =                                                                   \
            _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi16(a, shift), b), mask);          \
        b = _mm256_xor_si256(b, both);                                                         \
        a = _mm256_xor_si256(a, _mm256_slli_epi16(both, shift));                               \
    } while (0)

/* Turn the bits of each byte of four registers, in its halves. */
static ALWAYS_INLINE void turn_bits4(__m256i r[4])
{
    const __m256i twos = _mm256_set1_epi8(0x33);
    const __m256i ones = _mm256_set1_epi8(0x55);
    SWAP_BITS(r[0], r[2], 2, twos);
    SWAP_BITS(r[1], r[3], 2, twos);
    SWAP_BITS(r[0], r[1], 1, ones);
    SWAP_BITS(r[2], r[3], 1, ones);
}

static ALWAYS_INLINE void turn_bits8(__m256i r[8])
{
    const __m256i fours = _mm256_set1_epi8(0x0F);
    for (int i = 0; i < 4; i++)
        SWAP_BITS(r[i], r[i + 4], 4, fours);
    turn_bits4(r);
    turn_bits4(r + 4);
}

/* Bytes of register j and place i to place j of register i / 2, in each 128-bit lane: tokens in
 * order, from 16 k and from 128 + 16 k on in register k. */
static ALWAYS_INLINE void interleave(__m256i r[8])
{
    __m256i a[8];
    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_unpacklo_epi8(r[2 * i], r[2 * i + 1]);
        a[4 + i] = _mm256_unpackhi_epi8(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        __m256i *x = a + 4 * i;
        const __m256i b0 = _mm256_unpacklo_epi16(x[0], x[1]);
        const __m256i b1 = _mm256_unpacklo_epi16(x[2], x[3]);
        const __m256i b2 = _mm256_unpackhi_epi16(x[0], x[1]);
        const __m256i b3 = _mm256_unpackhi_epi16(x[2], x[3]);
        r[4 * i] = _mm256_unpacklo_epi32(b0, b1);
        r[4 * i + 1] = _mm256_unpackhi_epi32(b0, b1);
        r[4 * i + 2] = _mm256_unpacklo_epi32(b2, b3);
        r[4 * i + 3] = _mm256_unpackhi_epi32(b2, b3);
    }
}

static uint32_t strips_at(const lx_area *area, uint32_t strip)
{
    return area->strips - strip < BLOCK_STRIPS ? area->strips - strip : BLOCK_STRIPS;
}

/* Registers 0 .. count - 1 of a block: register 0 has row 'last', register 1 the one before it;
 * rows that are not here are zero, as are strips behind the end. 'bits' rows are here. */
static ALWAYS_INLINE void get_rows(uint8_t *const *rows, uint32_t bits, uint32_t strip,
                                   uint32_t strips, uint32_t last, uint32_t count, __m256i r[8])
{
    static const uint8_t zeros[BLOCK_BYTES];
    static const int32_t masks[2 * BLOCK_STRIPS + BLOCK_BYTES / 4] = {-1, -1, -1, -1,
                                                                      -1, -1, -1, -1};
    const __m256i mask = _mm256_loadu_si256(
        (const __m256i *)(const void *)(masks + 2 * (size_t)(BLOCK_STRIPS - strips)));
    for (uint32_t k = 0; k < count; k++) {
        const uint32_t row = last - k; /* beyond all rows where there is none */
        const uint8_t *at = row < bits ? rows[row] + (size_t)strip * LX_STRIP_BYTES : zeros;
        r[k] = strips == BLOCK_STRIPS
                   ? _mm256_loadu_si256((const __m256i *)(const void *)at)
                   : _mm256_maskload_epi32((const int *)(const void *)at, mask);
    }
}

/* Rows from 'last' on up, four of them, as numbers below 16. */
static ALWAYS_INLINE void get_fours(uint8_t *const *rows, uint32_t bits, uint32_t strip,
                                    uint32_t strips, uint32_t last, __m256i r[8])
{
    const __m256i fours = _mm256_set1_epi8(0x0F);
    get_rows(rows, bits, strip, strips, last, 4, r);
    turn_bits4(r);
    for (int k = 0; k < 4; k++) {
        r[4 + k] = _mm256_and_si256(_mm256_srli_epi16(r[k], 4), fours);
        r[k] = _mm256_and_si256(r[k], fours);
    }
}

/* Codes of a block: register j has token 8 i + j at byte i. */
static ALWAYS_INLINE void get_codes(const lx_channel *channel, uint32_t strip, uint32_t strips,
                                    uint32_t code_bits, __m256i r[8])
{
    const uint32_t bits = channel->bits < code_bits ? channel->bits : code_bits;
    if (bits > 4) {
        get_rows(channel->row, bits, strip, strips, code_bits - 1, 8, r);
        turn_bits8(r);
        return;
    }
    const __m128i up = _mm_cvtsi32_si128((int)(code_bits - bits));
    get_fours(channel->row, bits, strip, strips, bits - 1, r);
    for (int k = 0; k < 8; k++)
        r[k] = _mm256_sll_epi16(r[k], up);
}

static void unpack(const lx_area *area, uint8_t *codes)
{
    for (uint32_t s = 0; s < area->strips; s += BLOCK_STRIPS) {
        uint8_t block[BLOCK_TOKENS];
        __m256i r[8];
        get_codes(&area->a, s, strips_at(area, s), area->code_bits, r);
        interleave(r);
        for (int k = 0; k < 8; k++) {
            __m128i *at = (__m128i *)(void *)block + k;
            _mm_storeu_si128(at, _mm256_castsi256_si128(r[k]));
            _mm_storeu_si128(at + 8, _mm256_extracti128_si256(r[k], 1));
        }
        memcpy(codes + (size_t)s * LX_KERNEL_TOKENS, block,
               (size_t)strips_at(area, s) * LX_KERNEL_TOKENS);
    }
}

/* Codes to the rows of a block. In r[k], lane 0 has tokens 32 k + 8 i + 0 .. 3 at its bytes 4 i
 * and lane 1 those four behind: what packs leave of 32 tokens. */
static ALWAYS_INLINE void pack_block(__m256i r[8], const lx_area *area,
                                     const lx_channel *channel, uint32_t strip,
                                     uint32_t code_bits)
{
    const __m256i turn4 =
        _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1,
                         5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    /* Register k, 32-bit place j: token 8 i + j of four i; then those of register j. */
    __m256i a[8];
    __m256i b[8];
    for (int k = 0; k < 8; k++)
        r[k] = _mm256_shuffle_epi8(r[k], turn4);
    for (int k = 0; k < 4; k++) {
        a[2 * k] = _mm256_unpacklo_epi32(r[2 * k], r[2 * k + 1]);
        a[2 * k + 1] = _mm256_unpackhi_epi32(r[2 * k], r[2 * k + 1]);
    }
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 2; i++) {
            b[4 * k + 2 * i] = _mm256_unpacklo_epi64(a[4 * k + i], a[4 * k + 2 + i]);
            b[4 * k + 2 * i + 1] = _mm256_unpackhi_epi64(a[4 * k + i], a[4 * k + 2 + i]);
        }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2x128_si256(b[i], b[4 + i], 0x20);
        r[4 + i] = _mm256_permute2x128_si256(b[i], b[4 + i], 0x31);
    }
    turn_bits8(r);
    const size_t bytes = (size_t)strips_at(area, strip) * LX_STRIP_BYTES;
    for (uint32_t k = 0; k < 8; k++) {
        if (k >= code_bits || code_bits - 1 - k >= channel->bits)
            continue;
        uint8_t *at = channel->row[code_bits - 1 - k] + (size_t)strip * LX_STRIP_BYTES;
        if (bytes == BLOCK_BYTES)
            _mm256_storeu_si256((__m256i *)(void *)at, r[k]);
        else
            memcpy(at, &r[k], bytes);
    }
}

static void pack(const uint8_t *codes, const lx_area *area)
{
    for (uint32_t s = 0; s < area->strips; s += BLOCK_STRIPS) {
        const uint32_t chunks = 2 * strips_at(area, s);
        __m256i r[8];
        for (uint32_t k = 0; k < 8; k++) {
            const uint8_t *at =
                codes + (size_t)s * LX_KERNEL_TOKENS + (size_t)k * LX_CHUNK_TOKENS;
            r[k] = _mm256_setzero_si256();
            if (k < chunks)
                r[k] = _mm256_permutevar8x32_epi32(_mm256_loadu_si256(
                                                       (const __m256i *)(const void *)at),
                                                   _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
        }
        pack_block(r, area, &area->a, s, area->code_bits);
    }
}

static ALWAYS_INLINE lx_grid grid_at(const lx_area *area, const lx_channel *channel,
                                     uint32_t chunk)
{
    return channel->grids[(size_t)chunk * area->grid_step];
}

static ALWAYS_INLINE __m256 bent_steps(__m256 u)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256 size = _mm256_mul_ps(_mm256_set1_ps(LX_BEND_WIDTH), _mm256_andnot_ps(sign, u));
    const __m256 under = _mm256_add_ps(_mm256_set1_ps(LX_BEND_SQUARE), size);
    const __m256 e = _mm256_sub_ps(_mm256_sqrt_ps(under), _mm256_set1_ps(LX_BEND_ROOT));
    return _mm256_add_ps(_mm256_set1_ps(LX_BEND_MIDDLE),
                         _mm256_or_ps(e, _mm256_and_ps(sign, u)));
}

/* Rows of fine codes behind the first eight: their bits are the upper ones of bytes. */
static ALWAYS_INLINE lx_channel fine_rows(const lx_channel *channel)
{
    return (lx_channel){channel->row + 8, channel->bits > 8 ? channel->bits - 8 : 0,
                        channel->grids};
}

static ALWAYS_INLINE __m256i quantize_8(__m256 x, lx_grid grid, bool is_fine, bool is_bent)
{
    const __m256 above = _mm256_sub_ps(x, _mm256_set1_ps(grid.low));
    const __m256 scaled = _mm256_mul_ps(above, _mm256_set1_ps(grid.scale));
    const __m256 steps = is_bent ? bent_steps(scaled) : scaled;
    return _mm256_cvtps_epi32(
        is_fine ? _mm256_mul_ps(steps, _mm256_set1_ps((float)LX_FINE_PARTS)) : steps);
}

static ALWAYS_INLINE __m256i clamp_fine(__m256i codes)
{
    return _mm256_min_epi16(_mm256_max_epi16(codes, _mm256_setzero_si256()),
                            _mm256_set1_epi16((1 << LX_FINE_BITS) - 1));
}

/* The packs clamp to 0 .. 255, and leave tokens as pack_block takes them. Of fine codes the
 * lower four bits go to the upper ones of '*fine'. */
static ALWAYS_INLINE __m256i quantize_32(const __m256 x[4], lx_grid grid, __m256i most,
                                         bool is_fine, bool is_bent, __m256i *fine)
{
    __m256i low = _mm256_packs_epi32(quantize_8(x[0], grid, is_fine, is_bent),
                                     quantize_8(x[1], grid, is_fine, is_bent));
    __m256i high = _mm256_packs_epi32(quantize_8(x[2], grid, is_fine, is_bent),
                                      quantize_8(x[3], grid, is_fine, is_bent));
    if (!is_fine)
        return _mm256_min_epu8(_mm256_packus_epi16(low, high), most);
    const __m256i bytes = _mm256_set1_epi16(0xF0);
    low = clamp_fine(low);
    high = clamp_fine(high);
    *fine = _mm256_packus_epi16(_mm256_and_si256(_mm256_slli_epi16(low, 4), bytes),
                                _mm256_and_si256(_mm256_slli_epi16(high, 4), bytes));
    return _mm256_packus_epi16(_mm256_srli_epi16(low, 4), _mm256_srli_epi16(high, 4));
}

static ALWAYS_INLINE void put_block(__m256i codes[8], __m256i parts[8], const lx_area *area,
                                    const lx_channel *channel, uint32_t strip, bool is_fine)
{
    pack_block(codes, area, channel, strip, is_fine ? 8 : area->code_bits);
    if (is_fine && channel->bits > 8) {
        const lx_channel fine = fine_rows(channel);
        pack_block(parts, area, &fine, strip, 8);
    }
}

/* Four strips, or fewer where the run ends. */
static ALWAYS_INLINE void quantize_block(const uint8_t *from_a, const uint8_t *from_b,
                                         const lx_pair *pair, const lx_area *area,
                                         uint32_t strip, uint32_t chunks, bool is_fine,
                                         bool is_half, bool is_turned, bool is_bent)
{
    const __m256i most = _mm256_set1_epi8((char)((1u << area->code_bits) - 1));
    __m256i a[8];
    __m256i b[8];
    __m256i fine_a[8];
    __m256i fine_b[8];
    for (uint32_t k = 0; k < 8; k++) {
        a[k] = b[k] = fine_a[k] = fine_b[k] = _mm256_setzero_si256();
        if (k >= chunks)
            continue;
        __m256 x[4];
        __m256 y[4];
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t t = strip * LX_KERNEL_TOKENS + k * LX_CHUNK_TOKENS + 8 * i;
            x[i] = get_8(from_a, is_half, t);
            if (is_turned) {
                y[i] = get_8(from_b, is_half, t);
                turn(&x[i], &y[i], pair, t, true);
            }
        }
        a[k] = quantize_32(x, grid_at(area, &area->a, 2 * strip + k), most, is_fine, is_bent,
                           &fine_a[k]);
        if (is_turned)
            b[k] = quantize_32(y, grid_at(area, &area->b, 2 * strip + k), most, is_fine, false,
                               &fine_b[k]);
    }
    put_block(a, fine_a, area, &area->a, strip, is_fine);
    if (is_turned)
        put_block(b, fine_b, area, &area->b, strip, is_fine);
}

static void quantize(const lynx_tile *rows, const lx_pair *pair, const lx_area *area)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const bool is_turned = pair->cosines != NULL;
    const bool is_fine = area->code_bits == LX_FINE_BITS;
    const uint8_t *a = row_at(rows, pair->a);
    const uint8_t *b = row_at(rows, pair->b);
    prefetch_row((uintptr_t)a + 2 * rows->channel_stride_bytes,
                 (size_t)area->strips * LX_KERNEL_TOKENS * rows->token_stride_bytes);
    for (uint32_t s = 0; s < area->strips; s += BLOCK_STRIPS) {
        const uint32_t chunks = 2 * strips_at(area, s);
        if (chunks == 8 && is_fine && is_half && is_turned) /* unrolled */
            quantize_block(a, b, pair, area, s, 8, true, true, true, false);
        else if (chunks == 8 && is_fine && is_half && area->is_bent)
            quantize_block(a, b, pair, area, s, 8, true, true, false, true);
        else if (chunks == 8 && !is_fine && is_half && is_turned)
            quantize_block(a, b, pair, area, s, 8, false, true, true, false);
        else if (chunks == 8 && !is_fine && is_half)
            quantize_block(a, b, pair, area, s, 8, false, true, false, false);
        else
            quantize_block(a, b, pair, area, s, chunks, is_fine, is_half, is_turned,
                           area->is_bent);
    }
}

/* ---- codes to values ------------------------------------------------------------------- */

/* A float of this size counts its last bits in 2^-8: below these upper bits are two bytes, of
 * steps and of their 256th parts. */
#define STEPS_BASE 0x1p15f

/* A grid in registers. */
typedef struct wide_grid {
    __m256 low, scale, shift, bend;
} wide_grid;

static ALWAYS_INLINE wide_grid wide_grid_of(const lx_grid *grid)
{
    return (wide_grid){_mm256_set1_ps(grid->low), _mm256_set1_ps(grid->scale),
                       _mm256_set1_ps(grid->shift - STEPS_BASE), _mm256_set1_ps(grid->bend)};
}

/* Of 'x', STEPS_BASE + steps. */
static ALWAYS_INLINE __m256 dequantize_8(__m256 x, wide_grid grid, bool is_bent)
{
    if (is_bent) {
        /* Exact: a shift is a whole number of 32nd parts. */
        const __m256 d = _mm256_add_ps(x, grid.shift);
        const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), d);
        const __m256 slope = _mm256_add_ps(grid.scale, _mm256_mul_ps(size, grid.bend));
        return _mm256_add_ps(grid.low, _mm256_mul_ps(d, slope));
    }
    const __m256 steps = _mm256_sub_ps(x, _mm256_set1_ps(STEPS_BASE));
    return _mm256_add_ps(grid.low, _mm256_mul_ps(steps, grid.scale));
}

/* Codes of a block: register g has those of tokens 32 g + 8 i + 0 .. 3 at the bytes 4 i of lane
 * 0, and those of the four tokens behind in lane 1. Of fine codes 'whole' are the first eight
 * bits, 'parts' the others as upper bits. */
typedef struct block_codes {
    __m256i whole[8], parts[8];
} block_codes;

static ALWAYS_INLINE void part_lanes(const __m256i r[8], __m256i codes[8])
{
    __m256i x[8];
    for (int j = 0; j < 4; j++) {
        x[j] = _mm256_permute2x128_si256(r[j], r[4 + j], 0x20);
        x[4 + j] = _mm256_permute2x128_si256(r[j], r[4 + j], 0x31);
    }
    for (int i = 0; i < 8; i += 4) {
        const __m256i a0 = _mm256_unpacklo_epi8(x[i], x[i + 1]);
        const __m256i a1 = _mm256_unpackhi_epi8(x[i], x[i + 1]);
        const __m256i b0 = _mm256_unpacklo_epi8(x[i + 2], x[i + 3]);
        const __m256i b1 = _mm256_unpackhi_epi8(x[i + 2], x[i + 3]);
        codes[i] = _mm256_unpacklo_epi16(a0, b0);
        codes[i + 1] = _mm256_unpackhi_epi16(a0, b0);
        codes[i + 2] = _mm256_unpacklo_epi16(a1, b1);
        codes[i + 3] = _mm256_unpackhi_epi16(a1, b1);
    }
}

static ALWAYS_INLINE void get_block(const lx_area *area, const lx_channel *channel,
                                    uint32_t strip, uint32_t strips, bool is_fine,
                                    block_codes *codes)
{
    __m256i r[8];
    get_codes(channel, strip, strips, is_fine ? 8 : area->code_bits, r);
    part_lanes(r, codes->whole);
    if (!is_fine)
        return;
    get_fours(channel->row, channel->bits, strip, strips, LX_FINE_BITS - 1, r);
    part_lanes(r, codes->parts);
    for (int g = 0; g < 8; g++)
        codes->parts[g] = _mm256_slli_epi16(codes->parts[g], 4);
}

/* STEPS_BASE + steps of 32 tokens, in order. */
static ALWAYS_INLINE void steps_of(const block_codes *codes, uint32_t g, bool is_fine,
                                   __m256 x[4])
{
    const __m256i base = _mm256_set1_epi16(0x4700);
    const __m256i parts = is_fine ? codes->parts[g] : _mm256_setzero_si256();
    const __m256i low = _mm256_unpacklo_epi8(parts, codes->whole[g]);
    const __m256i high = _mm256_unpackhi_epi8(parts, codes->whole[g]);
    x[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low, base));
    x[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low, base));
    x[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(high, base));
    x[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(high, base));
}

/* What a function is made for, so that it holds no more than it needs. */
typedef struct shape {
    bool is_fine, is_half, is_bent;
    bool has_chunks; /* grids of their own */
    bool is_final;   /* whole lines go past the caches */
} shape;

static ALWAYS_INLINE wide_grid grid_of_chunk(const lx_channel *channel, uint32_t chunk, shape k)
{
    return wide_grid_of(channel->grids + (k.has_chunks ? chunk : 0));
}

static ALWAYS_INLINE void stream_16(__m256i *to, __m256 a, __m256 b)
{
    const __m256i low = _mm256_castsi128_si256(_mm256_cvtps_ph(a, ROUND_EVEN));
    _mm256_stream_si256(to, _mm256_inserti128_si256(low, _mm256_cvtps_ph(b, ROUND_EVEN), 1));
}

static ALWAYS_INLINE void dequantize_one(const lx_area *area, uint32_t strip, uint32_t strips,
                                         uint8_t *to, shape k)
{
    block_codes codes;
    get_block(area, &area->a, strip, strips, k.is_fine, &codes);
    wide_grid grid = grid_of_chunk(&area->a, 0, k);
    for (uint32_t g = 0; g < 2 * strips; g++) {
        __m256 x[4];
        if (k.has_chunks)
            grid = grid_of_chunk(&area->a, 2 * strip + g, k);
        const uint32_t t = strip * LX_KERNEL_TOKENS + g * LX_CHUNK_TOKENS;
        steps_of(&codes, g, k.is_fine, x);
        for (uint32_t i = 0; i < 4; i++)
            x[i] = dequantize_8(x[i], grid, k.is_bent);
        for (uint32_t i = 0; i < 4; i += 2)
            if (k.is_final) {
                stream_16((__m256i *)(void *)(to + 2 * (size_t)t) + i / 2, x[i], x[i + 1]);
            } else {
                put_8(to, k.is_half, t + 8 * i, x[i]);
                put_8(to, k.is_half, t + 8 * i + 8, x[i + 1]);
            }
    }
}

static ALWAYS_INLINE void dequantize_two(const lx_area *area, const lx_pair *pair,
                                         uint32_t strip, uint32_t strips, uint8_t *to_a,
                                         uint8_t *to_b, shape k)
{
    block_codes a;
    block_codes b;
    get_block(area, &area->a, strip, strips, k.is_fine, &a);
    get_block(area, &area->b, strip, strips, k.is_fine, &b);
    wide_grid grid_a = grid_of_chunk(&area->a, 0, k);
    wide_grid grid_b = grid_of_chunk(&area->b, 0, k);
    for (uint32_t g = 0; g < 2 * strips; g++) {
        __m256 x[4];
        __m256 y[4];
        if (k.has_chunks) {
            grid_a = grid_of_chunk(&area->a, 2 * strip + g, k);
            grid_b = grid_of_chunk(&area->b, 2 * strip + g, k);
        }
        steps_of(&a, g, k.is_fine, x);
        steps_of(&b, g, k.is_fine, y);
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t t = strip * LX_KERNEL_TOKENS + g * LX_CHUNK_TOKENS + 8 * i;
            __m256 u = dequantize_8(x[i], grid_a, false);
            __m256 v = dequantize_8(y[i], grid_b, false);
            turn(&u, &v, pair, t, false);
            put_8(to_a, k.is_half, t, u);
            put_8(to_b, k.is_half, t, v);
        }
    }
}

static ALWAYS_INLINE void put_16(__m256i *to, __m256i halves, bool is_final)
{
    if (is_final)
        _mm256_stream_si256(to, halves);
    else
        _mm256_storeu_si256(to, halves);
}

/* Up to 16 different halves: their bytes are looked up. */
static ALWAYS_INLINE void dequantize_few(const lx_area *area, uint32_t strip, uint32_t strips,
                                         uint8_t *row, bool is_final)
{
    const lx_channel *channel = &area->a;
    const wide_grid grid = wide_grid_of(channel->grids);
    const float step = (float)(1u << (area->code_bits - channel->bits));
    const __m256 base = _mm256_set1_ps(STEPS_BASE);
    const __m256 eight = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 wide = _mm256_set1_ps(step);
    const __m256 low_steps = _mm256_add_ps(base, _mm256_mul_ps(eight, wide));
    const __m256 high_steps = _mm256_add_ps(low_steps, _mm256_set1_ps(8 * step));
    const __m128i first =
        _mm256_cvtps_ph(dequantize_8(low_steps, grid, area->is_bent), ROUND_EVEN);
    const __m128i last =
        _mm256_cvtps_ph(dequantize_8(high_steps, grid, area->is_bent), ROUND_EVEN);
    const __m128i bytes = _mm_set1_epi16(0xFF);
    const __m256i low = _mm256_broadcastsi128_si256(
        _mm_packus_epi16(_mm_and_si128(first, bytes), _mm_and_si128(last, bytes)));
    const __m256i high = _mm256_broadcastsi128_si256(
        _mm_packus_epi16(_mm_srli_epi16(first, 8), _mm_srli_epi16(last, 8)));
    __m256i r[8];
    get_fours(channel->row, channel->bits, strip, strips, channel->bits - 1, r);
    interleave(r);
    const uint32_t end = strips * LX_KERNEL_TOKENS;
    __m256i *to = (__m256i *)(void *)(row + 2 * (size_t)strip * LX_KERNEL_TOKENS);
    for (uint32_t k = 0; k < 8; k++) {
        const __m256i x = _mm256_shuffle_epi8(low, r[k]);
        const __m256i y = _mm256_shuffle_epi8(high, r[k]);
        const __m256i a = _mm256_unpacklo_epi8(x, y);
        const __m256i b = _mm256_unpackhi_epi8(x, y);
        if (16 * k < end)
            put_16(to + k, _mm256_permute2x128_si256(a, b, 0x20), is_final);
        if (128 + 16 * k < end)
            put_16(to + 8 + k, _mm256_permute2x128_si256(a, b, 0x31), is_final);
    }
}

static ALWAYS_INLINE void dequantize_strips(const lx_area *area, const lx_pair *pair,
                                            const lynx_tile *rows, uint32_t strip,
                                            uint32_t strips, bool is_fine)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const bool is_bent = area->is_bent && !pair->cosines;
    const bool has_chunks = area->grid_step != 0;
    uint8_t *a = row_at(rows, pair->a);
    uint8_t *b = row_at(rows, pair->b);
    const bool is_final = area->is_final && (uintptr_t)a % LINE_BYTES == 0;
    if (pair->cosines && is_half && !has_chunks)
        dequantize_two(area, pair, strip, strips, a, b,
                       (shape){is_fine, true, false, false, false});
    else if (pair->cosines)
        dequantize_two(area, pair, strip, strips, a, b,
                       (shape){is_fine, is_half, false, has_chunks, false});
    else if (is_half && area->a.bits <= 4 && !has_chunks)
        dequantize_few(area, strip, strips, a, is_final);
    else if (is_half && is_bent && is_final)
        dequantize_one(area, strip, strips, a, (shape){is_fine, true, true, false, true});
    else if (is_half && is_bent)
        dequantize_one(area, strip, strips, a, (shape){is_fine, true, true, false, false});
    else if (is_half && !has_chunks)
        dequantize_one(area, strip, strips, a, (shape){is_fine, true, false, false, false});
    else
        dequantize_one(area, strip, strips, a,
                       (shape){is_fine, is_half, is_bent, has_chunks, false});
}

static ALWAYS_INLINE void dequantize_blocks(const lx_area *area, const lx_pair *pair,
                                            const lynx_tile *rows, bool is_fine)
{
    uint32_t s = 0;
    for (; s + BLOCK_STRIPS <= area->strips; s += BLOCK_STRIPS)
        dequantize_strips(area, pair, rows, s, BLOCK_STRIPS, is_fine);
    if (s < area->strips)
        dequantize_strips(area, pair, rows, s, area->strips - s, is_fine);
}

static void dequantize(const lx_area *area, const lx_pair *pair, const lynx_tile *rows)
{
    if (area->a.bits > 8 || (pair->cosines && area->b.bits > 8)) {
        dequantize_blocks(area, pair, rows, true);
        return;
    }
    /* Up to eight bits a fine code is one of eight. */
    lx_area whole = *area;
    whole.code_bits = area->code_bits < 8 ? area->code_bits : 8;
    dequantize_blocks(&whole, pair, rows, false);
}

static void settle(void)
{
    _mm_sfence();
}

static void floats(const uint16_t *halves, uint32_t count, float *all)
{
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(all + i, _mm256_cvtph_ps(_mm_loadu_si128(
                                      (const __m128i *)(const void *)(halves + i))));
    lx_floats_of_halves(halves + i, count - i, all + i);
}

const lx_kernels lx_kernels_avx2 = {
    .name = "avx2",
    .floats = floats,
    .spread = lx_spread_bits,
    .transpose = transpose,
    .turn = lx_rope_block,
    .load = load,
    .store = store,
    .extents = extents,
    .quantize = quantize,
    .dequantize = dequantize,
    .settle = settle,
    .pack = pack,
    .unpack = unpack,
};
