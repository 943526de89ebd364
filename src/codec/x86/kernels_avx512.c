/* SPDX-License-Identifier: MIT */
/* kernels_avx512.c - built with -mavx512f -mavx512bw -mavx512vl -mavx512dq; see kernels.h. */
#include <immintrin.h>
#include <string.h>

#include "codec/kernels.h"

enum { ROUND_EVEN = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };

/* Transpose 8 x 8 values of 16 bits in each 128-bit lane. */
static void transpose8(__m512i r[8])
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

static __m512i row_of_lanes(const uint8_t *at, size_t stride)
{
    const __m128i x0 = _mm_loadu_si128((const __m128i *)(const void *)at);
    const __m128i x1 = _mm_loadu_si128((const __m128i *)(const void *)(at + 8 * stride));
    const __m128i x2 = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * stride));
    const __m128i x3 = _mm_loadu_si128((const __m128i *)(const void *)(at + 24 * stride));
    __m512i row = _mm512_castsi128_si512(x0);
    row = _mm512_inserti32x4(row, x1, 1);
    row = _mm512_inserti32x4(row, x2, 2);
    return _mm512_inserti32x4(row, x3, 3);
}

/* 8 channels x 32 tokens of token-major halves. */
static void load_patch(float *block, size_t row_floats, const uint8_t *at, size_t stride)
{
    __m512i r[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = row_of_lanes(at + i * stride, stride);
    transpose8(r);
    for (size_t c = 0; c < 8; c++) {
        float *row = block + c * row_floats;
        _mm512_storeu_ps(row, _mm512_cvtph_ps(_mm512_castsi512_si256(r[c])));
        _mm512_storeu_ps(row + 16, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(r[c], 1)));
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

static lynx_tile tile_at(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    lynx_tile part = *tile;
    part.data = (uint8_t *)tile->data + token * tile->token_stride_bytes +
                channel * tile->channel_stride_bytes;
    return part;
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
    uint32_t whole = 0;
    if (is_half && tile->channel_stride_bytes == 2 && channels % 8 == 0) {
        whole = tokens / 32 * 32;
        for (uint32_t t = 0; t < whole; t += 32)
            for (uint32_t c = 0; c < channels; c += 8)
                load_patch(block + c * row_floats + t, row_floats,
                           data + t * tile->token_stride_bytes + 2 * (size_t)c,
                           tile->token_stride_bytes);
    }
    if (whole < tokens) {
        const lynx_tile rest = tile_at(tile, whole, 0);
        lx_kernels_reference.load(block + whole, row_floats, &rest, tokens - whole, channels);
    }
}

static __m512i halves_of(const float *row)
{
    const __m256i low = _mm512_cvtps_ph(_mm512_loadu_ps(row), ROUND_EVEN);
    const __m256i high = _mm512_cvtps_ph(_mm512_loadu_ps(row + 16), ROUND_EVEN);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

static void store_patch(const float *block, size_t row_floats, uint8_t *at, size_t stride)
{
    __m512i r[8];
    for (size_t c = 0; c < 8; c++)
        r[c] = halves_of(block + c * row_floats);
    transpose8(r);
    for (size_t i = 0; i < 8; i++) {
        uint8_t *to = at + i * stride;
        _mm_storeu_si128((__m128i *)(void *)to, _mm512_castsi512_si128(r[i]));
        _mm_storeu_si128((__m128i *)(void *)(to + 8 * stride),
                         _mm512_extracti32x4_epi32(r[i], 1));
        _mm_storeu_si128((__m128i *)(void *)(to + 16 * stride),
                         _mm512_extracti32x4_epi32(r[i], 2));
        _mm_storeu_si128((__m128i *)(void *)(to + 24 * stride),
                         _mm512_extracti32x4_epi32(r[i], 3));
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
    uint32_t whole = 0;
    if (is_half && tile->channel_stride_bytes == 2 && channels % 8 == 0) {
        whole = tokens / 32 * 32;
        for (uint32_t t = 0; t < whole; t += 32)
            for (uint32_t c = 0; c < channels; c += 8)
                store_patch(block + c * row_floats + t, row_floats,
                            data + t * tile->token_stride_bytes + 2 * (size_t)c,
                            tile->token_stride_bytes);
    }
    if (whole < tokens) {
        const lynx_tile rest = tile_at(tile, whole, 0);
        lx_kernels_reference.store(block + whole, row_floats, &rest, tokens - whole, channels);
    }
}

static bool range(const float *values, uint32_t count, float *least, float *most)
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
    *least = _mm512_reduce_min_ps(low) + 0.0f;
    *most = _mm512_reduce_max_ps(high) + 0.0f;
    return odd == 0;
}

static void quantize(const float *values, uint32_t count, float low, float inverse,
                     uint32_t code_max, uint8_t *codes)
{
    const __m512 lows = _mm512_set1_ps(low);
    const __m512 inverses = _mm512_set1_ps(inverse);
    const __m512i most = _mm512_set1_epi32((int)code_max);
    for (uint32_t i = 0; i < count; i += 16) {
        const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(values + i), lows);
        __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverses));
        code = _mm512_min_epi32(_mm512_max_epi32(code, _mm512_setzero_si512()), most);
        _mm_storeu_si128((__m128i *)(void *)(codes + i), _mm512_cvtepi32_epi8(code));
    }
}

static void dequantize(const uint8_t *codes, uint32_t count, float low, float step,
                       float *values)
{
    const __m512 lows = _mm512_set1_ps(low);
    const __m512 steps = _mm512_set1_ps(step);
    for (uint32_t i = 0; i < count; i += 16) {
        const __m128i code = _mm_loadu_si128((const __m128i *)(const void *)(codes + i));
        const __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(code));
        _mm512_storeu_ps(values + i, _mm512_add_ps(lows, _mm512_mul_ps(x, steps)));
    }
}

static void pack(const uint8_t *codes, uint32_t count, uint32_t shift, uint32_t bits,
                 uint8_t *rows, size_t row_bytes)
{
    for (uint32_t i = 0; i < count; i += 64) {
        const __m512i code = _mm512_loadu_si512(codes + i);
        for (uint32_t row = 0; row < bits; row++) {
            const __m512i bit = _mm512_set1_epi8((char)(1u << (shift + bits - 1 - row)));
            const __mmask64 mask = _mm512_test_epi8_mask(code, bit);
            memcpy(rows + row * row_bytes + i / 8, &mask, sizeof(mask));
        }
    }
}

static void unpack(const uint8_t *rows, size_t row_bytes, uint32_t count, uint32_t shift,
                   uint32_t bits, uint8_t *codes)
{
    for (uint32_t i = 0; i < count; i += 64) {
        __m512i code = _mm512_loadu_si512(codes + i);
        for (uint32_t row = 0; row < bits; row++) {
            const __m512i bit = _mm512_set1_epi8((char)(1u << (shift + bits - 1 - row)));
            __mmask64 mask;
            memcpy(&mask, rows + row * row_bytes + i / 8, sizeof(mask));
            code = _mm512_or_si512(code, _mm512_maskz_mov_epi8(mask, bit));
        }
        _mm512_storeu_si512(codes + i, code);
    }
}

static void rotate(float *a, float *b, const float *cosines, const float *sines, uint32_t count)
{
    for (uint32_t i = 0; i < count; i += 16) {
        const __m512 x = _mm512_loadu_ps(a + i);
        const __m512 y = _mm512_loadu_ps(b + i);
        const __m512 c = _mm512_loadu_ps(cosines + i);
        const __m512 s = _mm512_loadu_ps(sines + i);
        _mm512_storeu_ps(a + i, _mm512_sub_ps(_mm512_mul_ps(x, c), _mm512_mul_ps(y, s)));
        _mm512_storeu_ps(b + i, _mm512_add_ps(_mm512_mul_ps(x, s), _mm512_mul_ps(y, c)));
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
