/* SPDX-License-Identifier: MIT */
/* kernels_avx2.c - built with -mavx2 -mf16c; see kernels.h. */
#include <immintrin.h>
#include <string.h>

#include "codec/kernels.h"

enum { ROUND_EVEN = _MM_FROUND_TO_NEAREST_INT };

/* Transpose 8 x 8 values of 16 bits in each 128-bit lane. */
static void transpose8(__m256i r[8])
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

/* 8 channels x 16 tokens of token-major halves. */
static void load_patch(float *block, size_t row_floats, const uint8_t *at, size_t stride)
{
    __m256i r[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = row_of_lanes(at + i * stride, stride);
    transpose8(r);
    for (size_t c = 0; c < 8; c++) {
        float *row = block + c * row_floats;
        _mm256_storeu_ps(row, _mm256_cvtph_ps(_mm256_castsi256_si128(r[c])));
        _mm256_storeu_ps(row + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(r[c], 1)));
    }
}

static lynx_tile tile_at(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    lynx_tile part = *tile;
    part.data = (uint8_t *)tile->data + token * tile->token_stride_bytes +
                channel * tile->channel_stride_bytes;
    return part;
}

/* Tokens that whole patches (or whole vectors of a channel-major tile) cover. */
static uint32_t whole_tokens(const lynx_tile *tile, uint32_t tokens, uint32_t channels)
{
    if (tile->element != LYNX_ELEMENT_F16)
        return 0;
    if (tile->token_stride_bytes == 2)
        return tokens / 8 * 8;
    return tile->channel_stride_bytes == 2 && channels % 8 == 0 ? tokens / 16 * 16 : 0;
}

static void load(float *block, size_t row_floats, const lynx_tile *tile, uint32_t tokens,
                 uint32_t channels)
{
    const uint8_t *data = tile->data;
    const uint32_t whole = whole_tokens(tile, tokens, channels);
    if (whole && tile->token_stride_bytes == 2) {
        for (uint32_t c = 0; c < channels; c++)
            for (uint32_t t = 0; t < whole; t += 8) {
                const uint8_t *at = data + c * tile->channel_stride_bytes + 2 * (size_t)t;
                const __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)at);
                _mm256_storeu_ps(block + c * row_floats + t, _mm256_cvtph_ps(halves));
            }
    } else {
        for (uint32_t t = 0; t < whole; t += 16)
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

static void store_patch(const float *block, size_t row_floats, uint8_t *at, size_t stride)
{
    __m256i r[8];
    for (size_t c = 0; c < 8; c++) {
        const float *row = block + c * row_floats;
        const __m128i low = _mm256_cvtps_ph(_mm256_loadu_ps(row), ROUND_EVEN);
        const __m128i high = _mm256_cvtps_ph(_mm256_loadu_ps(row + 8), ROUND_EVEN);
        r[c] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
    transpose8(r);
    for (size_t i = 0; i < 8; i++) {
        uint8_t *to = at + i * stride;
        _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(r[i]));
        _mm_storeu_si128((__m128i *)(void *)(to + 8 * stride),
                         _mm256_extracti128_si256(r[i], 1));
    }
}

static void store(const float *block, size_t row_floats, const lynx_tile *tile, uint32_t tokens,
                  uint32_t channels)
{
    uint8_t *data = tile->data;
    const uint32_t whole = whole_tokens(tile, tokens, channels);
    if (whole && tile->token_stride_bytes == 2) {
        for (uint32_t c = 0; c < channels; c++)
            for (uint32_t t = 0; t < whole; t += 8) {
                uint8_t *at = data + c * tile->channel_stride_bytes + 2 * (size_t)t;
                const __m256 values = _mm256_loadu_ps(block + c * row_floats + t);
                _mm_storeu_si128((__m128i *)(void *)at, _mm256_cvtps_ph(values, ROUND_EVEN));
            }
    } else {
        for (uint32_t t = 0; t < whole; t += 16)
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
    __m256 low = _mm256_loadu_ps(values);
    __m256 high = low;
    /* x - x is zero for finite x and NaN for all others. */
    __m256 differences = _mm256_setzero_ps();
    for (uint32_t i = 0; i < count; i += 8) {
        const __m256 x = _mm256_loadu_ps(values + i);
        differences = _mm256_or_ps(differences, _mm256_sub_ps(x, x));
        low = _mm256_min_ps(low, x);
        high = _mm256_max_ps(high, x);
    }
    float lows[8];
    float highs[8];
    _mm256_storeu_ps(lows, low);
    _mm256_storeu_ps(highs, high);
    for (int i = 1; i < 8; i++) {
        lows[0] = lows[i] < lows[0] ? lows[i] : lows[0];
        highs[0] = highs[i] > highs[0] ? highs[i] : highs[0];
    }
    *least = lows[0] + 0.0f;
    *most = highs[0] + 0.0f;
    const __m256 odd = _mm256_cmp_ps(differences, differences, _CMP_UNORD_Q);
    return _mm256_movemask_ps(odd) == 0;
}

static __m256i codes_of(const float *values, __m256 lows, __m256 inverses, __m256i most)
{
    const __m256 x = _mm256_sub_ps(_mm256_loadu_ps(values), lows);
    const __m256i code = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverses));
    return _mm256_min_epi32(_mm256_max_epi32(code, _mm256_setzero_si256()), most);
}

static void quantize(const float *values, uint32_t count, float low, float inverse,
                     uint32_t code_max, uint8_t *codes)
{
    const __m256 lows = _mm256_set1_ps(low);
    const __m256 inverses = _mm256_set1_ps(inverse);
    const __m256i most = _mm256_set1_epi32((int)code_max);
    /* The packs work in 128-bit lanes; this puts the groups of four back in order. */
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (uint32_t i = 0; i < count; i += 32) {
        const __m256i a = codes_of(values + i, lows, inverses, most);
        const __m256i b = codes_of(values + i + 8, lows, inverses, most);
        const __m256i c = codes_of(values + i + 16, lows, inverses, most);
        const __m256i d = codes_of(values + i + 24, lows, inverses, most);
        const __m256i words =
            _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        _mm256_storeu_si256((__m256i *)(void *)(codes + i),
                            _mm256_permutevar8x32_epi32(words, order));
    }
}

static void dequantize(const uint8_t *codes, uint32_t count, float low, float step,
                       float *values)
{
    const __m256 lows = _mm256_set1_ps(low);
    const __m256 steps = _mm256_set1_ps(step);
    for (uint32_t i = 0; i < count; i += 8) {
        const __m128i code = _mm_loadl_epi64((const __m128i *)(const void *)(codes + i));
        const __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(code));
        _mm256_storeu_ps(values + i, _mm256_add_ps(lows, _mm256_mul_ps(x, steps)));
    }
}

static void pack(const uint8_t *codes, uint32_t count, uint32_t shift, uint32_t bits,
                 uint8_t *rows, size_t row_bytes)
{
    for (uint32_t i = 0; i < count; i += 32) {
        const __m256i code = _mm256_loadu_si256((const __m256i *)(const void *)(codes + i));
        for (uint32_t row = 0; row < bits; row++) {
            /* Bring the bit to the top of its byte; words are shifted, so no byte may matter
             * but by its top bit. */
            const __m128i count_left = _mm_cvtsi32_si128((int)(7 - (shift + bits - 1 - row)));
            const int mask = _mm256_movemask_epi8(_mm256_sll_epi16(code, count_left));
            memcpy(rows + row * row_bytes + i / 8, &mask, sizeof(mask));
        }
    }
}

static void unpack(const uint8_t *rows, size_t row_bytes, uint32_t count, uint32_t shift,
                   uint32_t bits, uint8_t *codes)
{
    /* Each byte of the four goes to eight places, of which each looks at its own bit. */
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2,
                                            2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i own = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    for (uint32_t i = 0; i < count; i += 32) {
        __m256i code = _mm256_loadu_si256((const __m256i *)(const void *)(codes + i));
        for (uint32_t row = 0; row < bits; row++) {
            int mask;
            memcpy(&mask, rows + row * row_bytes + i / 8, sizeof(mask));
            const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(mask), spread);
            const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, own), own);
            const __m256i bit = _mm256_set1_epi8((char)(1u << (shift + bits - 1 - row)));
            code = _mm256_or_si256(code, _mm256_and_si256(is_set, bit));
        }
        _mm256_storeu_si256((__m256i *)(void *)(codes + i), code);
    }
}

static void rotate(float *a, float *b, const float *cosines, const float *sines, uint32_t count)
{
    for (uint32_t i = 0; i < count; i += 8) {
        const __m256 x = _mm256_loadu_ps(a + i);
        const __m256 y = _mm256_loadu_ps(b + i);
        const __m256 c = _mm256_loadu_ps(cosines + i);
        const __m256 s = _mm256_loadu_ps(sines + i);
        _mm256_storeu_ps(a + i, _mm256_sub_ps(_mm256_mul_ps(x, c), _mm256_mul_ps(y, s)));
        _mm256_storeu_ps(b + i, _mm256_add_ps(_mm256_mul_ps(x, s), _mm256_mul_ps(y, c)));
    }
}

const lx_kernels lx_kernels_avx2 = {
    .name = "avx2",
    .load = load,
    .store = store,
    .range = range,
    .quantize = quantize,
    .dequantize = dequantize,
    .pack = pack,
    .unpack = unpack,
    .rotate = rotate,
};
