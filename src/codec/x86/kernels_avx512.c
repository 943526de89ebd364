/* SPDX-License-Identifier: MIT */
/* kernels_avx512.c - built with -mavx512f -mavx512bw -mavx512vl -mavx512dq; see kernels.h. */
#include <immintrin.h>
#include <string.h>

#include "codec/kernels.h"

/* Arrays of registers stay registers only where they are inlined. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { ROUND_EVEN = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };

/* Transpose 8 x 8 values of 16 bits in each 128-bit lane. */
static ALWAYS_INLINE void transpose8(__m512i r[8])
{
    __m512i a[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm512_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
    __m512i b[8];
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm512_unpacklo_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi32(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi32(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        r[2 * i] = _mm512_unpacklo_epi64(b[i], b[4 + i]);
        r[2 * i + 1] = _mm512_unpackhi_epi64(b[i], b[4 + i]);
    }
}

/* A patch of token-major halves is up to 16 tokens x 32 channels: one line of each token. */
enum { PATCH_TOKENS = 16, PATCH_CHANNELS = 32 };

static ALWAYS_INLINE __mmask32 first_channels(uint32_t channels)
{
    return channels == PATCH_CHANNELS ? 0xFFFFFFFFu : (1u << channels) - 1;
}

static ALWAYS_INLINE void put_row(float *block, size_t row_floats, uint32_t c,
                                  uint32_t channels, __m256i halves)
{
    if (c < channels)
        _mm512_storeu_ps(block + c * row_floats, _mm512_cvtph_ps(halves));
}

/* Missing tokens repeat the last. */
static ALWAYS_INLINE void load_patch(float *block, size_t row_floats, const uint8_t *at,
                                     size_t stride, uint32_t tokens, uint32_t channels)
{
    const __mmask32 mask = first_channels(channels);
    const uint32_t last = tokens - 1;
    __m512i a[8];
    __m512i b[8];
    for (uint32_t i = 0; i < 8; i++) {
        a[i] = _mm512_maskz_loadu_epi16(mask, at + (i < last ? i : last) * stride);
        b[i] = _mm512_maskz_loadu_epi16(mask, at + (i + 8 < last ? i + 8 : last) * stride);
    }
    transpose8(a);
    transpose8(b);
    /* Lane g of a[i] and b[i] is channel 8 g + i of the first and the last eight tokens. */
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (uint32_t i = 0; i < 8; i++) {
        const __m512i x = _mm512_permutex2var_epi64(a[i], low, b[i]);
        const __m512i y = _mm512_permutex2var_epi64(a[i], high, b[i]);
        put_row(block, row_floats, i, channels, _mm512_castsi512_si256(x));
        put_row(block, row_floats, i + 8, channels, _mm512_extracti64x4_epi64(x, 1));
        put_row(block, row_floats, i + 16, channels, _mm512_castsi512_si256(y));
        put_row(block, row_floats, i + 24, channels, _mm512_extracti64x4_epi64(y, 1));
    }
}

static void load_half_row(float *row, const uint8_t *at, uint32_t tokens)
{
    uint32_t t = 0;
    for (; t + 16 <= tokens; t += 16)
        _mm512_storeu_ps(row + t, _mm512_cvtph_ps(_mm256_loadu_si256(
                                      (const __m256i *)(const void *)(at + 2 * t))));
    if (t < tokens) {
        const __mmask16 mask = (__mmask16)((1u << (tokens - t)) - 1);
        const __m256i halves = _mm256_maskz_loadu_epi16(mask, at + 2 * t);
        _mm512_mask_storeu_ps(row + t, mask, _mm512_cvtph_ps(halves));
    }
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void load(float *block, size_t row_floats, const lynx_tile *tile, uint32_t tokens,
                 uint32_t channels)
{
    const uint8_t *data = tile->data;
    const bool is_half = tile->element == LYNX_ELEMENT_F16;
    if (is_half && tile->token_stride_bytes == 2) {
        for (uint32_t c = 0; c < channels; c++)
            load_half_row(block + c * row_floats, data + c * tile->channel_stride_bytes,
                          tokens);
        return;
    }
    if (!is_half || tile->channel_stride_bytes != 2) {
        lx_kernels_reference.load(block, row_floats, tile, tokens, channels);
        return;
    }
    const size_t stride = tile->token_stride_bytes;
    for (uint32_t t = 0; t < tokens; t += PATCH_TOKENS)
        for (uint32_t c = 0; c < channels; c += PATCH_CHANNELS) {
            const uint32_t height = least(tokens - t, PATCH_TOKENS);
            const uint32_t width = least(channels - c, PATCH_CHANNELS);
            const uint8_t *at = data + t * stride + 2 * (size_t)c;
            float *to = block + c * row_floats + t;
            if (height == PATCH_TOKENS && width == PATCH_CHANNELS) /* unrolled */
                load_patch(to, row_floats, at, stride, PATCH_TOKENS, PATCH_CHANNELS);
            else
                load_patch(to, row_floats, at, stride, height, width);
        }
}

static ALWAYS_INLINE __m512i get_rows(const float *block, size_t row_floats, uint32_t c,
                                      uint32_t channels)
{
    __m256i low = _mm256_setzero_si256();
    __m256i high = low;
    if (c < channels)
        low = _mm512_cvtps_ph(_mm512_loadu_ps(block + c * row_floats), ROUND_EVEN);
    if (c + 8 < channels)
        high = _mm512_cvtps_ph(_mm512_loadu_ps(block + (c + 8) * row_floats), ROUND_EVEN);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

static ALWAYS_INLINE void store_patch(const float *block, size_t row_floats, uint8_t *at,
                                      size_t stride, uint32_t tokens, uint32_t channels)
{
    const __mmask32 mask = first_channels(channels);
    const __m512i first = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
    const __m512i last = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
    __m512i a[8];
    __m512i b[8];
    for (uint32_t i = 0; i < 8; i++) {
        const __m512i x = get_rows(block, row_floats, i, channels);
        const __m512i y = get_rows(block, row_floats, i + 16, channels);
        a[i] = _mm512_permutex2var_epi64(x, first, y);
        b[i] = _mm512_permutex2var_epi64(x, last, y);
    }
    transpose8(a);
    transpose8(b);
    for (uint32_t i = 0; i < 8; i++) {
        if (i < tokens)
            _mm512_mask_storeu_epi16(at + i * stride, mask, a[i]);
        if (i + 8 < tokens)
            _mm512_mask_storeu_epi16(at + (i + 8) * stride, mask, b[i]);
    }
}

static void store_half_row(const float *row, uint8_t *at, uint32_t tokens)
{
    uint32_t t = 0;
    for (; t + 16 <= tokens; t += 16)
        _mm256_storeu_si256((__m256i *)(void *)(at + 2 * t),
                            _mm512_cvtps_ph(_mm512_loadu_ps(row + t), ROUND_EVEN));
    if (t < tokens) {
        const __mmask16 mask = (__mmask16)((1u << (tokens - t)) - 1);
        const __m512 values = _mm512_maskz_loadu_ps(mask, row + t);
        _mm256_mask_storeu_epi16(at + 2 * t, mask, _mm512_cvtps_ph(values, ROUND_EVEN));
    }
}

static void store(const float *block, size_t row_floats, const lynx_tile *tile, uint32_t tokens,
                  uint32_t channels)
{
    uint8_t *data = tile->data;
    const bool is_half = tile->element == LYNX_ELEMENT_F16;
    if (is_half && tile->token_stride_bytes == 2) {
        for (uint32_t c = 0; c < channels; c++)
            store_half_row(block + c * row_floats, data + c * tile->channel_stride_bytes,
                           tokens);
        return;
    }
    if (!is_half || tile->channel_stride_bytes != 2) {
        lx_kernels_reference.store(block, row_floats, tile, tokens, channels);
        return;
    }
    const size_t stride = tile->token_stride_bytes;
    for (uint32_t t = 0; t < tokens; t += PATCH_TOKENS)
        for (uint32_t c = 0; c < channels; c += PATCH_CHANNELS) {
            const uint32_t height = least(tokens - t, PATCH_TOKENS);
            const uint32_t width = least(channels - c, PATCH_CHANNELS);
            uint8_t *at = data + t * stride + 2 * (size_t)c;
            const float *from = block + c * row_floats + t;
            if (height == PATCH_TOKENS && width == PATCH_CHANNELS) /* unrolled */
                store_patch(from, row_floats, at, stride, PATCH_TOKENS, PATCH_CHANNELS);
            else
                store_patch(from, row_floats, at, stride, height, width);
        }
}

static bool range(const float *values, uint32_t count, float *lowest, float *most)
{
    __m512 low = _mm512_loadu_ps(values);
    __m512 high = low;
    __mmask16 odd = 0;
    for (uint32_t i = 0; i < count; i += 16) {
        const __m512 x = _mm512_loadu_ps(values + i);
        /* 0x99: quiet or signalling NaN, plus or minus infinity. */
        odd |= _mm512_fpclass_ps_mask(x, 0x99);
        low = _mm512_min_ps(low, x);
        high = _mm512_max_ps(high, x);
    }
    *lowest = _mm512_reduce_min_ps(low) + 0.0f;
    *most = _mm512_reduce_max_ps(high) + 0.0f;
    return odd == 0;
}

/* The row's eight bytes of one strip. */
static inline uint8_t *strip_at(const lx_area *area, uint32_t row, uint32_t channel,
                                uint32_t strip)
{
    return area->row[row] + channel * area->channel_bytes[row] + (size_t)strip * LX_STRIP_BYTES;
}

static inline void pack_strip(__m512i codes, uint32_t code_bits, const lx_area *area,
                              uint32_t channel, uint32_t strip)
{
    for (uint32_t row = 0; row < code_bits; row++) {
        const __m512i bit = _mm512_set1_epi8((char)(1u << (code_bits - 1 - row)));
        const __mmask64 mask = _mm512_test_epi8_mask(codes, bit);
        memcpy(strip_at(area, row, channel, strip), &mask, sizeof(mask));
    }
}

static inline __m512i unpack_strip(const lx_area *area, uint32_t channel, uint32_t strip,
                                   uint32_t bits, uint32_t code_bits)
{
    __m512i codes = _mm512_setzero_si512();
    for (uint32_t row = 0; row < bits; row++) {
        const __m512i bit = _mm512_set1_epi8((char)(1u << (code_bits - 1 - row)));
        __mmask64 mask;
        memcpy(&mask, strip_at(area, row, channel, strip), sizeof(mask));
        codes = _mm512_mask_add_epi8(codes, mask, codes, bit);
    }
    return codes;
}

static void pack(const uint8_t *codes, uint32_t code_bits, const lx_area *area)
{
    for (uint32_t c = 0; c < area->channels; c++)
        for (uint32_t s = 0; s < area->strips; s++) {
            const uint8_t *at = codes + c * area->pitch + (size_t)s * LX_KERNEL_TOKENS;
            pack_strip(_mm512_loadu_si512(at), code_bits, area, c, s);
        }
}

static void unpack(const lx_area *area, uint32_t bits, uint32_t code_bits, uint8_t *codes)
{
    for (uint32_t c = 0; c < area->channels; c++)
        for (uint32_t s = 0; s < area->strips; s++) {
            uint8_t *at = codes + c * area->pitch + (size_t)s * LX_KERNEL_TOKENS;
            _mm512_storeu_si512(at, unpack_strip(area, c, s, bits, code_bits));
        }
}

static inline __m128i quantize_16(const float *values, lx_grid grid, __m512i most)
{
    const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(values), _mm512_set1_ps(grid.low));
    const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(grid.scale)));
    return _mm512_cvtepi32_epi8(
        _mm512_min_epi32(_mm512_max_epi32(code, _mm512_setzero_si512()), most));
}

static inline void quantize_area(const float *values, const lx_grid *grids, uint32_t code_bits,
                                 const lx_area *area)
{
    const __m512i most = _mm512_set1_epi32((1 << code_bits) - 1);
    for (uint32_t c = 0; c < area->channels; c++)
        for (uint32_t s = 0; s < area->strips; s++) {
            const float *at = values + c * area->pitch + (size_t)s * LX_KERNEL_TOKENS;
            const lx_grid *grid = grids + c * area->grid_pitch + 2 * (size_t)s;
            __m512i codes = _mm512_castsi128_si512(quantize_16(at, grid[0], most));
            codes = _mm512_inserti32x4(codes, quantize_16(at + 16, grid[0], most), 1);
            codes = _mm512_inserti32x4(codes, quantize_16(at + 32, grid[1], most), 2);
            codes = _mm512_inserti32x4(codes, quantize_16(at + 48, grid[1], most), 3);
            pack_strip(codes, code_bits, area, c, s);
        }
}

static void quantize(const float *values, const lx_grid *grids, uint32_t code_bits,
                     const lx_area *area)
{
    if (code_bits == 8) /* unrolled */
        quantize_area(values, grids, 8, area);
    else
        quantize_area(values, grids, code_bits, area);
}

static inline void dequantize_16(__m128i codes, lx_grid grid, float *values)
{
    const __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
    const __m512 scaled = _mm512_mul_ps(x, _mm512_set1_ps(grid.scale));
    _mm512_storeu_ps(values, _mm512_add_ps(_mm512_set1_ps(grid.low), scaled));
}

static inline void dequantize_area(const lx_area *area, uint32_t bits, uint32_t code_bits,
                                   const lx_grid *grids, float *values)
{
    for (uint32_t c = 0; c < area->channels; c++)
        for (uint32_t s = 0; s < area->strips; s++) {
            const __m512i codes = unpack_strip(area, c, s, bits, code_bits);
            const lx_grid *grid = grids + c * area->grid_pitch + 2 * (size_t)s;
            float *at = values + c * area->pitch + (size_t)s * LX_KERNEL_TOKENS;
            dequantize_16(_mm512_castsi512_si128(codes), grid[0], at);
            dequantize_16(_mm512_extracti32x4_epi32(codes, 1), grid[0], at + 16);
            dequantize_16(_mm512_extracti32x4_epi32(codes, 2), grid[1], at + 32);
            dequantize_16(_mm512_extracti32x4_epi32(codes, 3), grid[1], at + 48);
        }
}

static void dequantize(const lx_area *area, uint32_t bits, uint32_t code_bits,
                       const lx_grid *grids, float *values)
{
    if (code_bits == 8 && bits == 8) /* unrolled */
        dequantize_area(area, 8, 8, grids, values);
    else if (code_bits == 8 && bits == 5)
        dequantize_area(area, 5, 8, grids, values);
    else if (code_bits == 8 && bits == 4)
        dequantize_area(area, 4, 8, grids, values);
    else
        dequantize_area(area, bits, code_bits, grids, values);
}

static void rotate(float *a, float *b, size_t pitch, const float *cosines, const float *sines,
                   size_t table_pitch, uint32_t pairs, uint32_t count)
{
    for (uint32_t pair = 0; pair < pairs; pair++) {
        for (uint32_t i = 0; i < count; i += 16) {
            const __m512 x = _mm512_loadu_ps(a + i);
            const __m512 y = _mm512_loadu_ps(b + i);
            const __m512 c = _mm512_loadu_ps(cosines + i);
            const __m512 s = _mm512_loadu_ps(sines + i);
            _mm512_storeu_ps(a + i, _mm512_sub_ps(_mm512_mul_ps(x, c), _mm512_mul_ps(y, s)));
            _mm512_storeu_ps(b + i, _mm512_add_ps(_mm512_mul_ps(x, s), _mm512_mul_ps(y, c)));
        }
        a += pitch;
        b += pitch;
        cosines += table_pitch;
        sines += table_pitch;
    }
}

const lx_kernels lx_kernels_avx512 = {
    .name = "avx512",
    .load = load,
    .store = store,
    .range = range,
    .quantize = quantize,
    .dequantize = dequantize,
    .pack = pack,
    .unpack = unpack,
    .rotate = rotate,
};
