/* SPDX-License-Identifier: MIT */
/* kernels_avx512.c - see CMakeLists.txt for the instruction sets and kernels.h. */
#include <immintrin.h>
#include <string.h>

#include "base/half.h"
#include "codec/kernels.h"
#include "codec/rope_block.h"
#include "codec/spread.h"

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

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static ALWAYS_INLINE uint8_t *row_at(const lynx_tile *rows, uint32_t channel)
{
    return (uint8_t *)rows->data + channel * rows->channel_stride_bytes;
}

/* ---- transpose: patches of up to 16 tokens x 32 channels, one line of each token ------- */

enum { PATCH_TOKENS = 16, PATCH_CHANNELS = 32 };

static ALWAYS_INLINE __mmask32 first_channels(uint32_t channels)
{
    return channels == PATCH_CHANNELS ? 0xFFFFFFFFu : (1u << channels) - 1;
}

static ALWAYS_INLINE void put_row(uint8_t *rows, size_t pitch, uint32_t c, uint32_t channels,
                                  __m256i tokens)
{
    if (c < channels)
        _mm256_storeu_si256((__m256i *)(void *)(rows + c * pitch), tokens);
}

/* From token-major to rows 'pitch' bytes apart; missing tokens repeat the last. */
static ALWAYS_INLINE void patch_to_rows(const uint8_t *at, size_t stride, uint8_t *rows,
                                        size_t pitch, uint32_t tokens, uint32_t channels)
{
    const __mmask32 mask = first_channels(channels);
    const uint32_t last = tokens - 1;
    __m512i a[8];
    __m512i b[8];
    for (uint32_t i = 0; i < 8; i++) {
        a[i] = _mm512_maskz_loadu_epi16(mask, at + least(i, last) * stride);
        b[i] = _mm512_maskz_loadu_epi16(mask, at + least(i + 8, last) * stride);
    }
    transpose8(a);
    transpose8(b);
    /* Lane g of a[i] and b[i] is channel 8 g + i of the first and the last eight tokens. */
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (uint32_t i = 0; i < 8; i++) {
        const __m512i x = _mm512_permutex2var_epi64(a[i], low, b[i]);
        const __m512i y = _mm512_permutex2var_epi64(a[i], high, b[i]);
        put_row(rows, pitch, i, channels, _mm512_castsi512_si256(x));
        put_row(rows, pitch, i + 8, channels, _mm512_extracti64x4_epi64(x, 1));
        put_row(rows, pitch, i + 16, channels, _mm512_castsi512_si256(y));
        put_row(rows, pitch, i + 24, channels, _mm512_extracti64x4_epi64(y, 1));
    }
}

/* 16 tokens of channels c and c + 8. */
static ALWAYS_INLINE __m512i get_rows(const uint8_t *rows, size_t pitch, uint32_t c,
                                      uint32_t channels)
{
    __m256i low = _mm256_setzero_si256();
    __m256i high = low;
    if (c < channels)
        low = _mm256_loadu_si256((const __m256i *)(const void *)(rows + c * pitch));
    if (c + 8 < channels)
        high = _mm256_loadu_si256((const __m256i *)(const void *)(rows + (c + 8) * pitch));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* A whole line that nobody here reads again goes past the caches: it need not be read first
 * (a page of 96 KiB to memory: 10 to 4 us). */
static ALWAYS_INLINE void put_line(uint8_t *line, __mmask32 mask, bool is_whole, __m512i values)
{
    if (is_whole)
        _mm512_stream_si512((__m512i *)(void *)line, values);
    else
        _mm512_mask_storeu_epi16(line, mask, values);
}

static ALWAYS_INLINE void patch_of_rows(const uint8_t *rows, size_t pitch, uint8_t *at,
                                        size_t stride, uint32_t tokens, uint32_t channels,
                                        bool is_whole)
{
    const __mmask32 mask = first_channels(channels);
    const __m512i first = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
    const __m512i last = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
    __m512i a[8];
    __m512i b[8];
    for (uint32_t i = 0; i < 8; i++) {
        const __m512i x = get_rows(rows, pitch, i, channels);
        const __m512i y = get_rows(rows, pitch, i + 16, channels);
        a[i] = _mm512_permutex2var_epi64(x, first, y);
        b[i] = _mm512_permutex2var_epi64(x, last, y);
    }
    transpose8(a);
    transpose8(b);
    for (uint32_t i = 0; i < 8; i++) {
        if (i < tokens)
            put_line(at + i * stride, mask, is_whole, a[i]);
        if (i + 8 < tokens)
            put_line(at + (i + 8) * stride, mask, is_whole, b[i]);
    }
}

static void to_rows(const uint8_t *lines, size_t stride, uint8_t *rows, size_t pitch,
                    uint32_t tokens, uint32_t channels)
{
    for (uint32_t t = 0; t < tokens; t += PATCH_TOKENS)
        for (uint32_t c = 0; c < channels; c += PATCH_CHANNELS) {
            const uint32_t height = least(tokens - t, PATCH_TOKENS);
            const uint32_t width = least(channels - c, PATCH_CHANNELS);
            const uint8_t *at = lines + t * stride + 2 * (size_t)c;
            uint8_t *to = rows + c * pitch + 2 * (size_t)t;
            /* Lines of a later patch, to the second level: the hardware does not foresee this
             * walk (a page of 96 KiB from memory: 12 to 7 us). */
            for (uint32_t i = 2 * PATCH_TOKENS; i < 3 * PATCH_TOKENS && t + i < tokens; i++)
                __builtin_prefetch(at + i * stride, 0, 2);
            /* Of one line after the other: the next one of each token. */
            if (channels <= PATCH_CHANNELS)
                for (uint32_t i = 0; i < PATCH_TOKENS; i++)
                    __builtin_prefetch(at + i * stride + 64, 0, 2);
            if (height == PATCH_TOKENS && width == PATCH_CHANNELS) /* unrolled */
                patch_to_rows(at, stride, to, pitch, PATCH_TOKENS, PATCH_CHANNELS);
            else
                patch_to_rows(at, stride, to, pitch, height, width);
        }
}

static void of_rows(const uint8_t *rows, size_t pitch, uint8_t *lines, size_t stride,
                    uint32_t tokens, uint32_t channels)
{
    const bool is_aligned = ((uintptr_t)lines | stride) % 64 == 0;
    for (uint32_t t = 0; t < tokens; t += PATCH_TOKENS)
        for (uint32_t c = 0; c < channels; c += PATCH_CHANNELS) {
            const uint32_t height = least(tokens - t, PATCH_TOKENS);
            const uint32_t width = least(channels - c, PATCH_CHANNELS);
            const uint8_t *from = rows + c * pitch + 2 * (size_t)t;
            uint8_t *to = lines + t * stride + 2 * (size_t)c;
            if (height < PATCH_TOKENS || width < PATCH_CHANNELS || !is_aligned)
                patch_of_rows(from, pitch, to, stride, height, width, false);
            else /* unrolled */
                patch_of_rows(from, pitch, to, stride, PATCH_TOKENS, PATCH_CHANNELS, true);
        }
}

static void transpose(const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                      uint32_t channels)
{
    if (from->element == LYNX_ELEMENT_F32)
        lx_kernels_reference.transpose(from, to, tokens, channels);
    else if (to->token_stride_bytes == 2)
        to_rows(from->data, from->token_stride_bytes, to->data, to->channel_stride_bytes,
                tokens, channels);
    else
        of_rows(from->data, from->channel_stride_bytes, to->data, to->token_stride_bytes,
                tokens, channels);
}

/* ---- rows of halves or floats and floats --------------------------------------------- */

static ALWAYS_INLINE __m512 get_16(const uint8_t *row, bool is_half, uint32_t t, __mmask16 mask)
{
    return is_half ? _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row + 2 * (size_t)t))
                   : _mm512_maskz_loadu_ps(mask, row + 4 * (size_t)t);
}

static ALWAYS_INLINE void put_16(uint8_t *row, bool is_half, uint32_t t, __mmask16 mask,
                                 __m512 x)
{
    if (is_half)
        _mm256_mask_storeu_epi16(row + 2 * (size_t)t, mask, _mm512_cvtps_ph(x, ROUND_EVEN));
    else
        _mm512_mask_storeu_ps(row + 4 * (size_t)t, mask, x);
}

static ALWAYS_INLINE __m512 get_all(const uint8_t *row, bool is_half, uint32_t t)
{
    return is_half ? _mm512_cvtph_ps(_mm256_loadu_si256(
                         (const __m256i *)(const void *)(row + 2 * (size_t)t)))
                   : _mm512_loadu_ps(row + 4 * (size_t)t);
}

static ALWAYS_INLINE __mmask16 first_tokens(uint32_t left)
{
    return (__mmask16)(left < 16 ? (1u << left) - 1 : 0xFFFF);
}

static ALWAYS_INLINE void turn(__m512 *x, __m512 *y, __m512 cosine, __m512 sine)
{
    const __m512 a = _mm512_sub_ps(_mm512_mul_ps(*x, cosine), _mm512_mul_ps(*y, sine));
    *y = _mm512_add_ps(_mm512_mul_ps(*x, sine), _mm512_mul_ps(*y, cosine));
    *x = a;
}

/* A row soon to come: rows of a channel-major tile lie apart (encoding: 23 to 20 us). Behind
 * the last this may be any address, which is allowed. */
static ALWAYS_INLINE void prefetch_row(const lynx_tile *rows, const lx_pair *pair,
                                       uint32_t count)
{
    const uint32_t ahead = pair->cosines ? 2 : 6;
    const size_t bytes = count * rows->token_stride_bytes;
    const uintptr_t row = (uintptr_t)row_at(rows, pair->a) + ahead * rows->channel_stride_bytes;
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const void *)(row + i), _MM_HINT_T0);
}

static ALWAYS_INLINE void load_16(const lynx_tile *rows, const lx_pair *pair, uint32_t t,
                                  uint32_t count, float *a, float *b)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const __mmask16 mask = first_tokens(count);
    __m512 x = get_16(row_at(rows, pair->a), is_half, t, mask);
    if (pair->cosines) {
        __m512 y = get_16(row_at(rows, pair->b), is_half, t, mask);
        /* Turning back is turning (b, a) forth. */
        turn(&y, &x, _mm512_loadu_ps(pair->cosines + t), _mm512_loadu_ps(pair->sines + t));
        _mm512_storeu_ps(b + t, y);
    }
    _mm512_storeu_ps(a + t, x);
}

static void load(const lynx_tile *rows, const lx_pair *pair, uint32_t count, float *a, float *b)
{
    const lynx_tile from = *rows; /* which no store changes, as the compiler then knows */
    const lx_pair two = *pair;
    prefetch_row(rows, pair, count);
    uint32_t t = 0;
    for (; t + 16 <= count; t += 16)
        load_16(&from, &two, t, 16, a, b);
    if (t < count)
        load_16(&from, &two, t, count - t, a, b);
}

static void store(const float *a, const float *b, const lx_pair *pair, uint32_t count,
                  const lynx_tile *rows)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    for (uint32_t t = 0; t < count; t += 16) {
        const __mmask16 mask = first_tokens(count - t);
        __m512 x = _mm512_loadu_ps(a + t);
        if (pair->cosines) {
            __m512 y = _mm512_loadu_ps(b + t);
            turn(&x, &y, _mm512_loadu_ps(pair->cosines + t), _mm512_loadu_ps(pair->sines + t));
            put_16(row_at(rows, pair->b), is_half, t, mask, y);
        }
        put_16(row_at(rows, pair->a), is_half, t, mask, x);
    }
}

/* ---- extents --------------------------------------------------------------------------- */

/* Floats (and halves) as whole numbers: signed ones order what is above zero, unsigned ones
 * what is below, by size and behind all that is above. Whole numbers are compared at twice the
 * rate of floats, and what is not finite shows as the largest. */
typedef struct span {
    __m512i most, farthest, nearest; /* signed; unsigned: largest, smallest */
} span;

static ALWAYS_INLINE span span_init(void)
{
    const __m512i ones = _mm512_set1_epi32(-1);
    return (span){_mm512_set1_epi32(INT32_MIN), _mm512_setzero_si512(), ones};
}

static ALWAYS_INLINE void span_extend(span *s, __m512 values)
{
    const __m512i x = _mm512_castps_si512(values);
    s->most = _mm512_max_epi32(s->most, x);
    s->farthest = _mm512_max_epu32(s->farthest, x);
    s->nearest = _mm512_min_epu32(s->nearest, x);
}

static ALWAYS_INLINE void span_extend_some(span *s, __mmask16 mask, __m512 values)
{
    const __m512i x = _mm512_castps_si512(values);
    s->most = _mm512_mask_max_epi32(s->most, mask, s->most, x);
    s->farthest = _mm512_mask_max_epu32(s->farthest, mask, s->farthest, x);
    s->nearest = _mm512_mask_min_epu32(s->nearest, mask, s->nearest, x);
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* False when something is not finite. */
static ALWAYS_INLINE bool span_end(const span *s, lx_extent *extent)
{
    const uint32_t most = (uint32_t)_mm512_reduce_max_epi32(s->most);
    const uint32_t farthest = _mm512_reduce_max_epu32(s->farthest);
    const uint32_t nearest = _mm512_reduce_min_epu32(s->nearest);
    *extent = (lx_extent){float_of(farthest >> 31 ? farthest : nearest) + 0.0f,
                          float_of(most >> 31 ? nearest : most) + 0.0f};
    return (most >> 31 || most < 0x7F800000) && farthest < 0xFF800000;
}

static ALWAYS_INLINE bool extents_of_floats(const lynx_tile *rows, const lx_pair pair,
                                            uint32_t count, bool is_half, bool is_turned,
                                            lx_extent *a, lx_extent *b)
{
    const uint8_t *from_a = row_at(rows, pair.a);
    const uint8_t *from_b = row_at(rows, pair.b);
    span of_a = span_init();
    span of_b = of_a;
    for (uint32_t t = 0; t < count; t += 16) {
        const bool is_whole = count - t >= 16;
        const __mmask16 mask = first_tokens(count - t);
        __m512 x = is_whole ? get_all(from_a, is_half, t) : get_16(from_a, is_half, t, mask);
        __m512 y = x;
        if (is_turned) {
            y = is_whole ? get_all(from_b, is_half, t) : get_16(from_b, is_half, t, mask);
            turn(&y, &x, _mm512_loadu_ps(pair.cosines + t), _mm512_loadu_ps(pair.sines + t));
        }
        if (is_whole) {
            span_extend(&of_a, x);
            if (is_turned)
                span_extend(&of_b, y);
        } else {
            span_extend_some(&of_a, mask, x);
            span_extend_some(&of_b, mask, y);
        }
    }
    const bool is_finite = span_end(&of_a, a);
    return (!is_turned || span_end(&of_b, b)) && is_finite;
}

static ALWAYS_INLINE float float_of_half(uint32_t half)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128((int32_t)half))) + 0.0f;
}

static bool extent_of_halves(const uint8_t *row, uint32_t count, lx_extent *extent)
{
    __m512i mosts = _mm512_set1_epi16(INT16_MIN);
    __m512i farthests = _mm512_setzero_si512();
    __m512i nearests = _mm512_set1_epi16(-1);
    uint32_t t = 0;
    for (; t + 32 <= count; t += 32) {
        const __m512i x = _mm512_loadu_si512(row + 2 * (size_t)t);
        mosts = _mm512_max_epi16(mosts, x);
        farthests = _mm512_max_epu16(farthests, x);
        nearests = _mm512_min_epu16(nearests, x);
    }
    if (t < count) {
        const __mmask32 mask = (1u << (count - t)) - 1;
        const __m512i x = _mm512_maskz_loadu_epi16(mask, row + 2 * (size_t)t);
        mosts = _mm512_mask_max_epi16(mosts, mask, mosts, x);
        farthests = _mm512_mask_max_epu16(farthests, mask, farthests, x);
        nearests = _mm512_mask_min_epu16(nearests, mask, nearests, x);
    }
    const __m256i m =
        _mm256_max_epi16(_mm512_castsi512_si256(mosts), _mm512_extracti64x4_epi64(mosts, 1));
    const __m256i f = _mm256_max_epu16(_mm512_castsi512_si256(farthests),
                                       _mm512_extracti64x4_epi64(farthests, 1));
    const __m256i n = _mm256_min_epu16(_mm512_castsi512_si256(nearests),
                                       _mm512_extracti64x4_epi64(nearests, 1));
    const int32_t most = _mm512_reduce_max_epi32(_mm512_cvtepi16_epi32(m));
    const uint32_t farthest = _mm512_reduce_max_epu32(_mm512_cvtepu16_epi32(f));
    const uint32_t nearest = _mm512_reduce_min_epu32(_mm512_cvtepu16_epi32(n));
    *extent = (lx_extent){float_of_half(farthest >> 15 ? farthest : nearest),
                          float_of_half(most < 0 ? nearest : (uint32_t)most)};
    return most < 0x7C00 && farthest < 0xFC00;
}

/* Numbers of halves in each of 32 channels, as in 'span'. */
typedef struct half_span {
    __m512i most, farthest, nearest;
} half_span;

enum { SCAN_COLUMNS = 4 }; /* of 32 channels each; that many have room in registers */

/* 'columns' of them, the last with the channels of 'mask' alone. */
static ALWAYS_INLINE void scan_lines(const uint8_t *at, size_t stride, uint32_t tokens,
                                     uint32_t columns, __mmask32 mask,
                                     half_span spans[SCAN_COLUMNS])
{
    half_span s[SCAN_COLUMNS];
    for (uint32_t i = 0; i < columns; i++)
        s[i] = (half_span){_mm512_set1_epi16(INT16_MIN), _mm512_setzero_si512(),
                           _mm512_set1_epi16(-1)};
    for (uint32_t t = 0; t < tokens; t++, at += stride)
        for (uint32_t i = 0; i < columns; i++) {
            const uint8_t *column = at + 64 * (size_t)i;
            __builtin_prefetch(column + 16 * stride, 0, 2);
            const __m512i x = i + 1 < columns ? _mm512_loadu_si512(column)
                                              : _mm512_maskz_loadu_epi16(mask, column);
            s[i].most = _mm512_max_epi16(s[i].most, x);
            s[i].farthest = _mm512_max_epu16(s[i].farthest, x);
            s[i].nearest = _mm512_min_epu16(s[i].nearest, x);
        }
    for (uint32_t i = 0; i < columns; i++)
        spans[i] = s[i];
}

static ALWAYS_INLINE void put_floats(__m512i halves, float floats[32])
{
    const __m512 zero = _mm512_setzero_ps(); /* no zero has a sign */
    _mm512_storeu_ps(floats,
                     _mm512_add_ps(_mm512_cvtph_ps(_mm512_castsi512_si256(halves)), zero));
    _mm512_storeu_ps(floats + 16,
                     _mm512_add_ps(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)),
                                   zero));
}

/* Of the first 'count' channels of a column; false when one is not finite. */
static ALWAYS_INLINE bool put_extents(const half_span *s, uint32_t count, lx_extent *extents,
                                      size_t pitch)
{
    const __mmask32 mask = first_channels(count);
    const __mmask32 has_below = _mm512_movepi16_mask(s->farthest);
    const __mmask32 has_none_above = _mm512_movepi16_mask(s->most);
    float least[32];
    float most[32];
    put_floats(_mm512_mask_mov_epi16(s->nearest, has_below, s->farthest), least);
    put_floats(_mm512_mask_mov_epi16(s->most, has_none_above, s->nearest), most);
    for (uint32_t i = 0; i < count; i++)
        extents[i * pitch] = (lx_extent){least[i], most[i]};
    const __mmask32 is_far =
        _mm512_cmpge_epi16_mask(s->most, _mm512_set1_epi16(0x7C00)) |
        _mm512_cmpge_epu16_mask(s->farthest, _mm512_set1_epi16((short)0xFC00));
    return (is_far & mask) == 0;
}

static bool line_extents(const lynx_tile *lines, uint32_t tokens, uint32_t channels,
                         lx_extent *all, size_t pitch)
{
    bool is_finite = true;
    for (uint32_t c = 0; c < channels; c += SCAN_COLUMNS * PATCH_CHANNELS) {
        half_span spans[SCAN_COLUMNS];
        const uint32_t left = least(channels - c, SCAN_COLUMNS * PATCH_CHANNELS);
        const uint32_t columns = (left + PATCH_CHANNELS - 1) / PATCH_CHANNELS;
        const __mmask32 mask = first_channels(left - (columns - 1) * PATCH_CHANNELS);
        const uint8_t *at = (const uint8_t *)lines->data + 2 * (size_t)c;
        const size_t stride = lines->token_stride_bytes;
        if (columns == 4) /* unrolled */
            scan_lines(at, stride, tokens, 4, mask, spans);
        else if (columns == 2)
            scan_lines(at, stride, tokens, 2, mask, spans);
        else
            scan_lines(at, stride, tokens, columns, mask, spans);
        for (uint32_t i = 0; i < columns; i++)
            is_finite = put_extents(&spans[i], least(left - i * PATCH_CHANNELS, PATCH_CHANNELS),
                                    all + (c + i * PATCH_CHANNELS) * pitch, pitch) &&
                        is_finite;
    }
    return is_finite;
}

static bool extents(const lynx_tile *rows, const lx_pair *pair, uint32_t count, lx_extent *a,
                    lx_extent *b)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    prefetch_row(rows, pair, count);
    if (pair->cosines && is_half) /* unrolled */
        return extents_of_floats(rows, *pair, count, true, true, a, b);
    if (pair->cosines)
        return extents_of_floats(rows, *pair, count, false, true, a, b);
    if (is_half)
        return extent_of_halves(row_at(rows, pair->a), count, a);
    return extents_of_floats(rows, *pair, count, false, false, a, b);
}

/* ---- codes and bits -------------------------------------------------------------------- */

/* Rows are read and written in blocks of four strips. */
enum { BLOCK_STRIPS = 4, BLOCK_TOKENS = BLOCK_STRIPS * LX_KERNEL_TOKENS, BYTE_ROWS = 8 };

/* In each byte of eight. */
#define EACH(x) (0x0101010101010101 * (long long)(x))

/* Where the eight rows of a byte of codes are in a block. */
typedef struct byte_rows {
    uint8_t *const *row;
    size_t offset;
} byte_rows;

/* Rows this far behind a row are soon to come. */
enum { PREFETCH_BYTES = 1024 };

/* Row 'first' of the channel is row 'skip' of the byte. */
static ALWAYS_INLINE byte_rows byte_rows_of(const lx_channel *channel, uint32_t first,
                                            uint32_t skip, uint32_t strip)
{
    return (byte_rows){channel->row + (ptrdiff_t)first - (ptrdiff_t)skip,
                       (size_t)strip * LX_STRIP_BYTES};
}

static ALWAYS_INLINE uint8_t *byte_row_at(const byte_rows *rows, uint32_t row)
{
    return rows->row[row] + rows->offset;
}

static ALWAYS_INLINE uint32_t strips_here(const lx_area *area, uint32_t strip)
{
    return least(area->strips - strip, BLOCK_STRIPS);
}

/* In each group of eight bytes: bit j of byte i is bit i of byte 7 - j. */
static ALWAYS_INLINE __m512i turn_bits(__m512i bytes)
{
    return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64((long long)0x8040201008040201),
                                         bytes, 0);
}

static ALWAYS_INLINE __m512i get_two(const byte_rows *rows, uint32_t row, __mmask8 strips)
{
    __builtin_prefetch(byte_row_at(rows, row) + PREFETCH_BYTES, 0, 3);
    __builtin_prefetch(byte_row_at(rows, row + 4) + PREFETCH_BYTES, 0, 3);
    const __m256i low = _mm256_maskz_loadu_epi64(strips, byte_row_at(rows, row));
    const __m256i high = _mm256_maskz_loadu_epi64(strips, byte_row_at(rows, row + 4));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Rows to the codes of strips, a byte for each token. */
static ALWAYS_INLINE void get_block(const byte_rows *rows, uint32_t strips,
                                    __m512i codes[BLOCK_STRIPS])
{
    const __mmask8 mask = (__mmask8)((1u << strips) - 1);
    const __m512i a = get_two(rows, 0, mask);
    const __m512i b = get_two(rows, 1, mask);
    const __m512i c = get_two(rows, 2, mask);
    const __m512i d = get_two(rows, 3, mask);
    const __m512i even[2] = {_mm512_unpacklo_epi64(a, b), _mm512_unpacklo_epi64(c, d)};
    const __m512i odd[2] = {_mm512_unpackhi_epi64(a, b), _mm512_unpackhi_epi64(c, d)};
    /* Rows 0 1 4 5 2 3 6 7 of each strip. */
    codes[0] = _mm512_shuffle_i64x2(even[0], even[1], 0x88);
    codes[1] = _mm512_shuffle_i64x2(odd[0], odd[1], 0x88);
    codes[2] = _mm512_shuffle_i64x2(even[0], even[1], 0xDD);
    codes[3] = _mm512_shuffle_i64x2(odd[0], odd[1], 0xDD);
    /* Byte i of group q from byte q of row i. */
    const __m512i order =
        _mm512_add_epi64(_mm512_set1_epi64(0x3830181028200800),
                         _mm512_setr_epi64(EACH(0), EACH(1), EACH(2), EACH(3), EACH(4), EACH(5),
                                           EACH(6), EACH(7)));
    for (uint32_t s = 0; s < BLOCK_STRIPS; s++)
        codes[s] = turn_bits(_mm512_permutexvar_epi8(order, codes[s]));
}

/* The rows of a strip, one behind the other, from codes whose bytes are in the reverse order in
 * each group of eight. */
static ALWAYS_INLINE __m512i rows_of_strip(__m512i reverse)
{
    const __m512i order =
        _mm512_add_epi64(_mm512_set1_epi64(0x3830282018100800),
                         _mm512_setr_epi64(EACH(7), EACH(6), EACH(5), EACH(4), EACH(3), EACH(2),
                                           EACH(1), EACH(0)));
    return _mm512_permutexvar_epi8(order, turn_bits(reverse));
}

static ALWAYS_INLINE void put_two(__m512i pair, const byte_rows *rows, uint32_t row,
                                  __mmask8 mask)
{
    __builtin_prefetch(byte_row_at(rows, row) + PREFETCH_BYTES, 1, 3);
    __builtin_prefetch(byte_row_at(rows, row + 2) + PREFETCH_BYTES, 1, 3);
    _mm256_mask_storeu_epi64(byte_row_at(rows, row), mask, _mm512_castsi512_si256(pair));
    _mm256_mask_storeu_epi64(byte_row_at(rows, row + 2), mask,
                             _mm512_extracti64x4_epi64(pair, 1));
}

/* What 'rows_of_strip' made to the rows. */
static ALWAYS_INLINE void put_block(const __m512i made[BLOCK_STRIPS], uint32_t strips,
                                    const byte_rows *rows)
{
    const __mmask8 mask = (__mmask8)((1u << strips) - 1);
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const __m512i even[2] = {_mm512_unpacklo_epi64(made[0], made[1]),
                             _mm512_unpacklo_epi64(made[2], made[3])};
    const __m512i odd[2] = {_mm512_unpackhi_epi64(made[0], made[1]),
                            _mm512_unpackhi_epi64(made[2], made[3])};
    put_two(_mm512_permutex2var_epi64(even[0], low, even[1]), rows, 0, mask);
    put_two(_mm512_permutex2var_epi64(odd[0], low, odd[1]), rows, 1, mask);
    put_two(_mm512_permutex2var_epi64(even[0], high, even[1]), rows, 4, mask);
    put_two(_mm512_permutex2var_epi64(odd[0], high, odd[1]), rows, 5, mask);
}

/* Codes of up to eight bits have their top row 'skip' rows below that of a byte. */
static ALWAYS_INLINE uint32_t rows_to_skip(uint32_t code_bits)
{
    return code_bits < BYTE_ROWS ? BYTE_ROWS - code_bits : 0;
}

static void pack(const uint8_t *codes, const lx_area *area)
{
    const __m512i reverse =
        _mm512_set_epi64(0x38393A3B3C3D3E3F, 0x3031323334353637, 0x28292A2B2C2D2E2F,
                         0x2021222324252627, 0x18191A1B1C1D1E1F, 0x1011121314151617,
                         0x08090A0B0C0D0E0F, 0x0001020304050607);
    for (uint32_t first = 0; first < area->strips; first += BLOCK_STRIPS) {
        const uint32_t strips = strips_here(area, first);
        __m512i made[BLOCK_STRIPS] = {_mm512_setzero_si512()};
        for (uint32_t s = 0; s < strips; s++) {
            const uint8_t *strip = codes + (size_t)(first + s) * LX_KERNEL_TOKENS;
            made[s] =
                rows_of_strip(_mm512_permutexvar_epi8(reverse, _mm512_loadu_si512(strip)));
        }
        const byte_rows rows = byte_rows_of(&area->a, 0, rows_to_skip(area->code_bits), first);
        put_block(made, strips, &rows);
    }
}

static void unpack(const lx_area *area, uint8_t *codes)
{
    for (uint32_t first = 0; first < area->strips; first += BLOCK_STRIPS) {
        const uint32_t strips = strips_here(area, first);
        const byte_rows rows = byte_rows_of(&area->a, 0, rows_to_skip(area->code_bits), first);
        __m512i strip[BLOCK_STRIPS];
        get_block(&rows, strips, strip);
        for (uint32_t s = 0; s < strips; s++)
            _mm512_storeu_si512(codes + (size_t)(first + s) * LX_KERNEL_TOKENS, strip[s]);
    }
}

/* ---- values to codes ------------------------------------------------------------------- */

/* A grid for codes instead of steps: powers of two do not change how results are rounded. */
typedef struct code_grid {
    __m512 low, scale;
} code_grid;

static ALWAYS_INLINE code_grid code_grid_of(lx_grid grid, bool is_fine, bool is_bent)
{
    const float parts = is_fine && !is_bent ? (float)LX_FINE_PARTS : 1.0f;
    return (code_grid){_mm512_set1_ps(grid.low), _mm512_set1_ps(grid.scale * parts)};
}

/* In codes, of which a step has 16; the root of 16 * 16 times as much is 16 times the root. */
static ALWAYS_INLINE __m512 bent_codes(__m512 u)
{
    const float parts = (float)LX_FINE_PARTS;
    const __m512 sign = _mm512_set1_ps(-0.0f);
    const __m512 size =
        _mm512_mul_ps(_mm512_set1_ps(parts * parts * LX_BEND_WIDTH), _mm512_andnot_ps(sign, u));
    const __m512 under = _mm512_add_ps(_mm512_set1_ps(parts * parts * LX_BEND_SQUARE), size);
    const __m512 e = _mm512_sub_ps(_mm512_sqrt_ps(under), _mm512_set1_ps(parts * LX_BEND_ROOT));
    /* e is not below zero and gets the sign of u. */
    return _mm512_add_ps(_mm512_set1_ps(parts * LX_BEND_MIDDLE),
                         _mm512_or_ps(e, _mm512_and_ps(sign, u)));
}

static ALWAYS_INLINE __m512i quantize_16(__m512 x, code_grid grid, bool is_bent)
{
    const __m512 scaled = _mm512_mul_ps(_mm512_sub_ps(x, grid.low), grid.scale);
    return _mm512_cvtps_epi32(is_bent ? bent_codes(scaled) : scaled);
}

/* Codes of a block as 'rows_of_strip' has them: the upper or only eight bits, and of fine codes
 * the lower four. */
typedef struct made_rows {
    __m512i upper[BLOCK_STRIPS], lower[BLOCK_STRIPS];
} made_rows;

/* The packs work in 128-bit lanes and leave groups of four tokens; 'order' is the reverse in
 * each group of eight tokens. */
static ALWAYS_INLINE __m512i made_of(__m512i low, __m512i high)
{
    const __m512i order =
        _mm512_add_epi64(_mm512_set1_epi64(0x0001020310111213),
                         _mm512_setr_epi64(EACH(0), EACH(32), EACH(4), EACH(36), EACH(8),
                                           EACH(40), EACH(12), EACH(44)));
    return rows_of_strip(_mm512_permutexvar_epi8(order, _mm512_packus_epi16(low, high)));
}

/* Strip 's' of a block. The pack clamps to 0 and above. */
static ALWAYS_INLINE void quantize_strip(const __m512 x[4], code_grid first, code_grid second,
                                         uint32_t code_bits, bool is_bent, bool has_lower,
                                         uint32_t s, made_rows *made)
{
    const __m512i most = _mm512_set1_epi16((short)((1u << code_bits) - 1));
    const __m512i low = _mm512_min_epu16(_mm512_packus_epi32(quantize_16(x[0], first, is_bent),
                                                             quantize_16(x[1], first, is_bent)),
                                         most);
    const __m512i high =
        _mm512_min_epu16(_mm512_packus_epi32(quantize_16(x[2], second, is_bent),
                                             quantize_16(x[3], second, is_bent)),
                         most);
    if (code_bits != LX_FINE_BITS) {
        made->upper[s] = made_of(low, high);
        return;
    }
    made->upper[s] = made_of(_mm512_srli_epi16(low, 4), _mm512_srli_epi16(high, 4));
    if (has_lower) {
        const __m512i bytes = _mm512_set1_epi16(0xF0);
        made->lower[s] = made_of(_mm512_and_si512(_mm512_slli_epi16(low, 4), bytes),
                                 _mm512_and_si512(_mm512_slli_epi16(high, 4), bytes));
    }
}

static ALWAYS_INLINE void put_made(const made_rows *made, const lx_channel *channel,
                                   uint32_t code_bits, uint32_t first, uint32_t strips)
{
    const byte_rows upper = byte_rows_of(channel, 0, rows_to_skip(code_bits), first);
    put_block(made->upper, strips, &upper);
    if (code_bits != LX_FINE_BITS || channel->bits <= BYTE_ROWS)
        return;
    const byte_rows lower = byte_rows_of(channel, BYTE_ROWS, 0, first);
    put_block(made->lower, strips, &lower);
}

/* What a function is made for, so that it holds no more than it needs. */
typedef struct shape {
    uint32_t code_bits;
    bool is_half, is_turned, is_bent;
    bool has_chunks; /* grids of their own */
    bool is_final;
} shape;

static ALWAYS_INLINE shape shape_of(const lx_area *area, const lx_pair *pair,
                                    const lynx_tile *rows)
{
    return (shape){
        .code_bits = area->code_bits,
        .is_half = rows->element == LYNX_ELEMENT_F16,
        .is_turned = pair->cosines != NULL,
        .is_bent = area->is_bent && !pair->cosines,
        .has_chunks = area->grid_step != 0,
    };
}

static bool is_fine_half(const shape *k)
{
    return k->is_half && !k->has_chunks && k->code_bits == LX_FINE_BITS;
}

/* The grids of the two chunks of a strip. */
static ALWAYS_INLINE const lx_grid *grids_at(const lx_channel *channel, uint32_t strip, shape k)
{
    return channel->grids + (k.has_chunks ? 2 * (size_t)strip : 0);
}

static ALWAYS_INLINE void quantize_channel(const __m512 x[4], const lx_channel *channel,
                                           uint32_t first, uint32_t s, shape k, made_rows *made)
{
    const bool is_fine = k.code_bits == LX_FINE_BITS;
    const lx_grid *grids = grids_at(channel, first + s, k);
    const code_grid grid = code_grid_of(grids[0], is_fine, k.is_bent);
    quantize_strip(x, grid, k.has_chunks ? code_grid_of(grids[1], is_fine, false) : grid,
                   k.code_bits, k.is_bent, channel->bits > BYTE_ROWS, s, made);
}

static ALWAYS_INLINE void quantize_block(const lynx_tile *rows, const lx_pair *pair,
                                         const lx_area *area, shape k, uint32_t first,
                                         uint32_t strips)
{
    const uint8_t *from_a = row_at(rows, pair->a);
    const uint8_t *from_b = row_at(rows, pair->b);
    made_rows a;
    made_rows b;
    for (uint32_t s = 0; s < strips; s++) {
        __m512 x[4];
        __m512 y[4];
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t t = (first + s) * LX_KERNEL_TOKENS + 16 * i;
            x[i] = get_all(from_a, k.is_half, t);
            y[i] = x[i];
            if (k.is_turned) {
                y[i] = get_all(from_b, k.is_half, t);
                /* Turning back is turning (b, a) forth. */
                turn(&y[i], &x[i], _mm512_loadu_ps(pair->cosines + t),
                     _mm512_loadu_ps(pair->sines + t));
            }
        }
        quantize_channel(x, &area->a, first, s, k, &a);
        if (k.is_turned)
            quantize_channel(y, &area->b, first, s, k, &b);
    }
    put_made(&a, &area->a, k.code_bits, first, strips);
    if (k.is_turned)
        put_made(&b, &area->b, k.code_bits, first, strips);
}

static ALWAYS_INLINE void quantize_as(const lynx_tile *rows, const lx_pair pair,
                                      const lx_area area, shape k)
{
    uint32_t first = 0;
    for (; first + BLOCK_STRIPS <= area.strips; first += BLOCK_STRIPS)
        quantize_block(rows, &pair, &area, k, first, BLOCK_STRIPS);
    if (first < area.strips)
        quantize_block(rows, &pair, &area, k, first, area.strips - first);
}

static void quantize(const lynx_tile *rows, const lx_pair *pair, const lx_area *area)
{
    const shape k = shape_of(area, pair, rows);
    prefetch_row(rows, pair, area->strips * LX_KERNEL_TOKENS);
    if (is_fine_half(&k) && k.is_turned)
        quantize_as(rows, *pair, *area, (shape){LX_FINE_BITS, true, true, false, false, false});
    else if (is_fine_half(&k) && k.is_bent)
        quantize_as(rows, *pair, *area, (shape){LX_FINE_BITS, true, false, true, false, false});
    else
        quantize_as(rows, *pair, *area, k);
}

/* ---- codes to values ------------------------------------------------------------------- */

/* A float of this size counts its last bits in 2^-8: below these four zeros are two bytes of
 * steps and their 256th parts. */
#define STEPS_BASE 0x1p15f

/* Codes of a strip as STEPS_BASE + steps. */
static ALWAYS_INLINE void steps_of(__m512i whole, __m512i parts, __m512 x[4])
{
    const __m512i order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i base = _mm512_set1_epi16(0x4700);
    whole = _mm512_permutexvar_epi32(order, whole);
    parts = _mm512_permutexvar_epi32(order, parts);
    const __m512i low = _mm512_unpacklo_epi8(parts, whole);
    const __m512i high = _mm512_unpackhi_epi8(parts, whole);
    x[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low, base));
    x[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low, base));
    x[2] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(high, base));
    x[3] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(high, base));
}

/* A grid in registers. */
typedef struct wide_grid {
    __m512 low, scale, shift, bend;
} wide_grid;

static ALWAYS_INLINE wide_grid wide_grid_of(const lx_grid *grid)
{
    return (wide_grid){_mm512_set1_ps(grid->low), _mm512_set1_ps(grid->scale),
                       _mm512_set1_ps(grid->shift - STEPS_BASE), _mm512_set1_ps(grid->bend)};
}

static ALWAYS_INLINE __m512 dequantize_16(__m512 x, wide_grid grid, bool is_bent)
{
    if (is_bent) {
        /* Exact: a shift is a whole number of 32nd parts. */
        const __m512 d = _mm512_add_ps(x, grid.shift);
        const __m512 more = _mm512_mul_ps(_mm512_abs_ps(d), grid.bend);
        const __m512 slope = _mm512_add_ps(grid.scale, more);
        return _mm512_add_ps(grid.low, _mm512_mul_ps(d, slope));
    }
    const __m512 steps = _mm512_sub_ps(x, _mm512_set1_ps(STEPS_BASE));
    return _mm512_add_ps(grid.low, _mm512_mul_ps(steps, grid.scale));
}

/* Codes of a block. */
typedef struct block {
    __m512i whole[BLOCK_STRIPS], parts[BLOCK_STRIPS];
} block;

static ALWAYS_INLINE void block_of(const lx_channel *channel, shape k, bool has_parts,
                                   uint32_t first, uint32_t strips, block *codes)
{
    const byte_rows whole = byte_rows_of(channel, 0, rows_to_skip(k.code_bits), first);
    get_block(&whole, strips, codes->whole);
    for (uint32_t s = 0; s < BLOCK_STRIPS; s++)
        codes->parts[s] = _mm512_setzero_si512();
    if (has_parts && channel->bits > BYTE_ROWS) {
        const byte_rows parts = byte_rows_of(channel, BYTE_ROWS, 0, first);
        get_block(&parts, strips, codes->parts);
    }
}

static ALWAYS_INLINE void dequantize_strip(const block *codes, const lx_channel *channel,
                                           shape k, uint32_t first, uint32_t s, __m512 x[4])
{
    const lx_grid *grids = grids_at(channel, first + s, k);
    const wide_grid grid = wide_grid_of(grids);
    const wide_grid second = k.has_chunks ? wide_grid_of(grids + 1) : grid;
    steps_of(codes->whole[s], codes->parts[s], x);
    for (uint32_t i = 0; i < 4; i++)
        x[i] = dequantize_16(x[i], i < 2 ? grid : second, k.is_bent);
}

static ALWAYS_INLINE void put_halves(uint8_t *at, __m512i halves, bool is_final)
{
    if (is_final)
        _mm512_stream_si512((__m512i *)(void *)at, halves);
    else
        _mm512_storeu_si512(at, halves);
}

static ALWAYS_INLINE __m512i halves_of(__m512 x, __m512 y)
{
    const __m512i low = _mm512_castsi256_si512(_mm512_cvtps_ph(x, ROUND_EVEN));
    return _mm512_inserti64x4(low, _mm512_cvtps_ph(y, ROUND_EVEN), 1);
}

/* 32 values. */
static ALWAYS_INLINE void put_values(uint8_t *row, shape k, uint32_t t, __m512 x, __m512 y)
{
    if (!k.is_half) {
        _mm512_storeu_ps(row + 4 * (size_t)t, x);
        _mm512_storeu_ps(row + 4 * (size_t)t + 64, y);
        return;
    }
    put_halves(row + 2 * (size_t)t, halves_of(x, y), k.is_final);
}

static ALWAYS_INLINE void dequantize_block(const lx_area *area, const lx_pair *pair,
                                           uint8_t *to_a, uint8_t *to_b, shape k,
                                           bool has_parts, uint32_t first, uint32_t strips)
{
    block a;
    block b;
    block_of(&area->a, k, has_parts, first, strips, &a);
    if (k.is_turned)
        block_of(&area->b, k, has_parts, first, strips, &b);
    for (uint32_t s = 0; s < strips; s++) {
        const uint32_t t = (first + s) * LX_KERNEL_TOKENS;
        __m512 x[4];
        __m512 y[4];
        dequantize_strip(&a, &area->a, k, first, s, x);
        if (k.is_turned) {
            dequantize_strip(&b, &area->b, k, first, s, y);
            for (uint32_t i = 0; i < 4; i++)
                turn(&x[i], &y[i], _mm512_loadu_ps(pair->cosines + t + 16 * i),
                     _mm512_loadu_ps(pair->sines + t + 16 * i));
            put_values(to_b, k, t, y[0], y[1]);
            put_values(to_b, k, t + 32, y[2], y[3]);
        }
        put_values(to_a, k, t, x[0], x[1]);
        put_values(to_a, k, t + 32, x[2], x[3]);
    }
}

static ALWAYS_INLINE void dequantize_as(const lx_area area, const lx_pair pair,
                                        const lynx_tile *rows, shape k)
{
    uint8_t *to_a = row_at(rows, pair.a);
    uint8_t *to_b = row_at(rows, pair.b);
    const bool has_parts = area.a.bits > BYTE_ROWS || (k.is_turned && area.b.bits > BYTE_ROWS);
    uint32_t first = 0;
    for (; first + BLOCK_STRIPS <= area.strips; first += BLOCK_STRIPS) {
        if (has_parts)
            dequantize_block(&area, &pair, to_a, to_b, k, true, first, BLOCK_STRIPS);
        else
            dequantize_block(&area, &pair, to_a, to_b, k, false, first, BLOCK_STRIPS);
    }
    if (first < area.strips)
        dequantize_block(&area, &pair, to_a, to_b, k, has_parts, first, area.strips - first);
}

/* Up to six bits have so few values that all of them are made, and looked up. */
enum { TABLE_BITS = 6 };

/* The halves of all codes of a channel. */
typedef struct table {
    __m512i low, high;
} table;

static ALWAYS_INLINE __m512i values_of(__m512 codes, float step, wide_grid grid)
{
    const __m512 base = _mm512_set1_ps(STEPS_BASE);
    const __m512 width = _mm512_set1_ps(step);
    const __m512 next = _mm512_add_ps(codes, _mm512_set1_ps(16.0f));
    const __m512 x = _mm512_add_ps(base, _mm512_mul_ps(codes, width));
    const __m512 y = _mm512_add_ps(base, _mm512_mul_ps(next, width));
    return halves_of(dequantize_16(x, grid, true), dequantize_16(y, grid, true));
}

static ALWAYS_INLINE table table_of(const lx_channel *channel)
{
    const __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const wide_grid grid = wide_grid_of(channel->grids);
    const float step = (float)(1u << (BYTE_ROWS - channel->bits));
    table t = {.low = values_of(codes, step, grid)};
    t.high = t.low;
    if (channel->bits == TABLE_BITS)
        t.high = values_of(_mm512_add_ps(codes, _mm512_set1_ps(32.0f)), step, grid);
    return t;
}

static ALWAYS_INLINE void look_up_block(const lx_channel *channel, const table *values,
                                        uint8_t *to, bool is_final, uint32_t first,
                                        uint32_t strips)
{
    __m512i codes[BLOCK_STRIPS];
    const byte_rows rows = byte_rows_of(channel, 0, BYTE_ROWS - channel->bits, first);
    get_block(&rows, strips, codes);
    for (uint32_t s = 0; s < strips; s++) {
        const __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(codes[s]));
        const __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(codes[s], 1));
        uint8_t *at = to + (size_t)(first + s) * LX_KERNEL_TOKENS * 2;
        put_halves(at, _mm512_permutex2var_epi16(values->low, low, values->high), is_final);
        put_halves(at + 64, _mm512_permutex2var_epi16(values->low, high, values->high),
                   is_final);
    }
}

/* A channel of halves on a bent grid. */
static ALWAYS_INLINE void look_up(const lx_area *area, uint8_t *to, bool is_final)
{
    const table values = table_of(&area->a);
    uint32_t first = 0;
    for (; first + BLOCK_STRIPS <= area->strips; first += BLOCK_STRIPS)
        look_up_block(&area->a, &values, to, is_final, first, BLOCK_STRIPS);
    if (first < area->strips)
        look_up_block(&area->a, &values, to, is_final, first, area->strips - first);
}

static void dequantize(const lx_area *area, const lx_pair *pair, const lynx_tile *rows)
{
    const shape k = shape_of(area, pair, rows);
    /* Whole lines past the caches, as above. */
    const bool is_final = area->is_final && (uintptr_t)row_at(rows, pair->a) % 64 == 0;
    if (is_fine_half(&k) && k.is_bent && area->a.bits <= TABLE_BITS && is_final)
        look_up(area, row_at(rows, pair->a), true);
    else if (is_fine_half(&k) && k.is_bent && area->a.bits <= TABLE_BITS)
        look_up(area, row_at(rows, pair->a), false);
    else if (is_fine_half(&k) && k.is_turned)
        dequantize_as(*area, *pair, rows,
                      (shape){LX_FINE_BITS, true, true, false, false, false});
    else if (is_fine_half(&k) && k.is_bent && is_final)
        dequantize_as(*area, *pair, rows,
                      (shape){LX_FINE_BITS, true, false, true, false, true});
    else if (is_fine_half(&k) && k.is_bent)
        dequantize_as(*area, *pair, rows,
                      (shape){LX_FINE_BITS, true, false, true, false, false});
    else
        dequantize_as(*area, *pair, rows, k);
}

static void settle(void)
{
    _mm_sfence();
}

static void floats(const uint16_t *halves, uint32_t count, float *all)
{
    uint32_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(all + i, _mm512_cvtph_ps(_mm256_loadu_si256(
                                      (const __m256i *)(const void *)(halves + i))));
    lx_floats_of_halves(halves + i, count - i, all + i);
}

const lx_kernels lx_kernels_avx512 = {
    .name = "avx512",
    .floats = floats,
    .spread = lx_spread_bits,
    .transpose = transpose,
    .turn = lx_rope_block,
    .load = load,
    .store = store,
    .extents = extents,
    .line_extents = line_extents,
    .quantize = quantize,
    .dequantize = dequantize,
    .settle = settle,
    .pack = pack,
    .unpack = unpack,
};
