/* SPDX-License-Identifier: MIT */
/* kernels_avx512.c - built with -mavx512f -mavx512bw -mavx512vl -mavx512dq; see kernels.h. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "codec/kernels.h"
#include "codec/rope_block.h"

/* Arrays of registers stay registers only where they are inlined. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { ROUND_EVEN = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };

/* Quiet or signalling NaN, plus or minus infinity. */
enum { ODD_CLASSES = 0x99 };

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
    _mm_sfence(); /* orders the lines before what tells others of them */
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
static void prefetch_row(uintptr_t row, size_t bytes)
{
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
    prefetch_row((uintptr_t)row_at(rows, pair->a) + 2 * rows->channel_stride_bytes,
                 count * rows->token_stride_bytes);
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

static ALWAYS_INLINE lx_extent extent_of(__m512 low, __m512 high)
{
    return (lx_extent){_mm512_reduce_min_ps(low) + 0.0f, _mm512_reduce_max_ps(high) + 0.0f};
}

static ALWAYS_INLINE bool extents_of_floats(const lynx_tile *rows, const lx_pair pair,
                                            uint32_t count, bool is_turned, lx_extent *a,
                                            lx_extent *b)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const uint8_t *from_a = row_at(rows, pair.a);
    const uint8_t *from_b = row_at(rows, pair.b);
    const __m512 huge = _mm512_set1_ps(INFINITY);
    const __m512 tiny = _mm512_set1_ps(-INFINITY);
    __m512 low[2] = {huge, huge};
    __m512 high[2] = {tiny, tiny};
    __mmask16 odd = 0;
    for (uint32_t t = 0; t < count; t += 16) {
        const __mmask16 mask = first_tokens(count - t);
        __m512 x = get_16(from_a, is_half, t, mask);
        if (is_turned) {
            __m512 y = get_16(from_b, is_half, t, mask);
            turn(&y, &x, _mm512_loadu_ps(pair.cosines + t), _mm512_loadu_ps(pair.sines + t));
            odd |= _mm512_mask_fpclass_ps_mask(mask, y, ODD_CLASSES);
            low[1] = _mm512_mask_min_ps(low[1], mask, low[1], y);
            high[1] = _mm512_mask_max_ps(high[1], mask, high[1], y);
        }
        odd |= _mm512_mask_fpclass_ps_mask(mask, x, ODD_CLASSES);
        low[0] = _mm512_mask_min_ps(low[0], mask, low[0], x);
        high[0] = _mm512_mask_max_ps(high[0], mask, high[0], x);
    }
    *a = extent_of(low[0], high[0]);
    if (is_turned)
        *b = extent_of(low[1], high[1]);
    return odd == 0;
}

/* The half whose place among whole numbers is 'number'. */
static float half_at(int32_t number)
{
    const int32_t half = number < 0 ? number ^ 0x7FFF : number;
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half & 0xFFFF))) + 0.0f;
}

/* Halves as whole numbers in the same order: those below zero have their other bits turned
 * over. */
static bool extent_of_halves(const uint8_t *row, uint32_t count, lx_extent *extent)
{
    __m512i low = _mm512_set1_epi16(INT16_MAX);
    __m512i high = _mm512_set1_epi16(INT16_MIN);
    for (uint32_t t = 0; t < count; t += 32) {
        const __mmask32 mask = count - t < 32 ? (1u << (count - t)) - 1 : 0xFFFFFFFFu;
        const __m512i x = _mm512_maskz_loadu_epi16(mask, row + 2 * (size_t)t);
        const __m512i below = _mm512_srli_epi16(_mm512_srai_epi16(x, 15), 1);
        const __m512i number = _mm512_xor_si512(x, below);
        low = _mm512_mask_min_epi16(low, mask, low, number);
        high = _mm512_mask_max_epi16(high, mask, high, number);
    }
    const __m256i lows =
        _mm256_min_epi16(_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1));
    const __m256i highs =
        _mm256_max_epi16(_mm512_castsi512_si256(high), _mm512_extracti64x4_epi64(high, 1));
    const int32_t least = _mm512_reduce_min_epi32(_mm512_cvtepi16_epi32(lows));
    const int32_t most = _mm512_reduce_max_epi32(_mm512_cvtepi16_epi32(highs));
    *extent = (lx_extent){half_at(least), half_at(most)};
    return least >= -0x7C00 && most < 0x7C00;
}

static bool extents(const lynx_tile *rows, const lx_pair *pair, uint32_t count, lx_extent *a,
                    lx_extent *b)
{
    prefetch_row((uintptr_t)row_at(rows, pair->a) + 2 * rows->channel_stride_bytes,
                 count * rows->token_stride_bytes);
    if (pair->cosines)
        return extents_of_floats(rows, *pair, count, true, a, b);
    if (rows->element == LYNX_ELEMENT_F16)
        return extent_of_halves(row_at(rows, pair->a), count, a);
    return extents_of_floats(rows, *pair, count, false, a, b);
}

/* ---- codes and bits ------------------------------------------------------------------ */

static ALWAYS_INLINE void pack_strip(__m512i codes, uint32_t code_bits,
                                     const lx_channel *channel, uint32_t strip)
{
    for (uint32_t row = 0; row < code_bits && row < channel->bits; row++) {
        const __m512i bit = _mm512_set1_epi8((char)(1u << (code_bits - 1 - row)));
        const __mmask64 mask = _mm512_test_epi8_mask(codes, bit);
        memcpy(channel->row[row] + (size_t)strip * LX_STRIP_BYTES, &mask, sizeof(mask));
    }
}

static ALWAYS_INLINE __m512i unpack_strip(uint8_t *const *rows, uint32_t strip, uint32_t bits,
                                          uint32_t code_bits)
{
    __m512i codes = _mm512_setzero_si512();
    for (uint32_t row = 0; row < bits; row++) {
        const __m512i bit = _mm512_set1_epi8((char)(1u << (code_bits - 1 - row)));
        __mmask64 mask;
        memcpy(&mask, rows[row] + (size_t)strip * LX_STRIP_BYTES, sizeof(mask));
        codes = _mm512_mask_add_epi8(codes, mask, codes, bit);
    }
    return codes;
}

/* Rows of fine codes behind the first eight: their bits are the upper ones of bytes. */
static ALWAYS_INLINE lx_channel fine_rows(const lx_channel *channel)
{
    return (lx_channel){channel->row + 8, channel->bits > 8 ? channel->bits - 8 : 0,
                        channel->grids};
}

static void pack(const uint8_t *codes, const lx_area *area)
{
    for (uint32_t s = 0; s < area->strips; s++)
        pack_strip(_mm512_loadu_si512(codes + (size_t)s * LX_KERNEL_TOKENS), area->code_bits,
                   &area->a, s);
}

static void unpack(const lx_area *area, uint8_t *codes)
{
    for (uint32_t s = 0; s < area->strips; s++)
        _mm512_storeu_si512(codes + (size_t)s * LX_KERNEL_TOKENS,
                            unpack_strip(area->a.row, s, area->a.bits, area->code_bits));
}

static ALWAYS_INLINE __m512 bent_steps(__m512 u)
{
    const __m512 size = _mm512_mul_ps(_mm512_set1_ps(LX_BEND_WIDTH), _mm512_abs_ps(u));
    const __m512 under = _mm512_add_ps(_mm512_set1_ps(LX_BEND_SQUARE), size);
    const __m512 e = _mm512_sub_ps(_mm512_sqrt_ps(under), _mm512_set1_ps(LX_BEND_ROOT));
    const __mmask16 is_below = _mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_LT_OQ);
    const __m512 middle = _mm512_set1_ps(LX_BEND_MIDDLE);
    return _mm512_mask_sub_ps(_mm512_add_ps(middle, e), is_below, middle, e);
}

static ALWAYS_INLINE __m512i quantize_16(__m512 x, lx_grid grid, bool is_fine, bool is_bent)
{
    const __m512 above = _mm512_sub_ps(x, _mm512_set1_ps(grid.low));
    const __m512 scaled = _mm512_mul_ps(above, _mm512_set1_ps(grid.scale));
    const __m512 steps = is_bent ? bent_steps(scaled) : scaled;
    return _mm512_cvtps_epi32(
        is_fine ? _mm512_mul_ps(steps, _mm512_set1_ps((float)LX_FINE_PARTS)) : steps);
}

static ALWAYS_INLINE __m512i clamp_fine(__m512i codes)
{
    return _mm512_min_epi16(_mm512_max_epi16(codes, _mm512_setzero_si512()),
                            _mm512_set1_epi16((1 << LX_FINE_BITS) - 1));
}

/* Codes of a strip to its rows. The packs clamp to 0 .. 255 and work in 128-bit lanes; 'order'
 * puts the groups of four back in order. */
static ALWAYS_INLINE void quantize_strip(const __m512 x[4], const lx_channel *channel,
                                         uint32_t strip, size_t step, uint32_t code_bits,
                                         bool is_bent)
{
    const __m512i order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const lx_grid *grid = channel->grids + 2 * strip * step;
    const bool is_fine = code_bits == LX_FINE_BITS;
    __m512i low = _mm512_packs_epi32(quantize_16(x[0], grid[0], is_fine, is_bent),
                                     quantize_16(x[1], grid[0], is_fine, is_bent));
    __m512i high = _mm512_packs_epi32(quantize_16(x[2], grid[step], is_fine, is_bent),
                                      quantize_16(x[3], grid[step], is_fine, is_bent));
    if (!is_fine) {
        const __m512i most = _mm512_set1_epi8((char)((1u << code_bits) - 1));
        const __m512i codes = _mm512_min_epu8(_mm512_packus_epi16(low, high), most);
        pack_strip(_mm512_permutexvar_epi32(order, codes), code_bits, channel, strip);
        return;
    }
    low = clamp_fine(low);
    high = clamp_fine(high);
    const __m512i upper =
        _mm512_packus_epi16(_mm512_srli_epi16(low, 4), _mm512_srli_epi16(high, 4));
    pack_strip(_mm512_permutexvar_epi32(order, upper), 8, channel, strip);
    if (channel->bits <= 8)
        return;
    const __m512i bytes = _mm512_set1_epi16(0xF0);
    const __m512i lower =
        _mm512_packus_epi16(_mm512_and_si512(_mm512_slli_epi16(low, 4), bytes),
                            _mm512_and_si512(_mm512_slli_epi16(high, 4), bytes));
    const lx_channel fine = fine_rows(channel);
    pack_strip(_mm512_permutexvar_epi32(order, lower), 8, &fine, strip);
}

static ALWAYS_INLINE void quantize_strips(const lynx_tile *rows, const lx_pair pair,
                                          const lx_area area, uint32_t code_bits, bool is_half,
                                          bool is_turned, bool is_bent)
{
    const uint8_t *from_a = row_at(rows, pair.a);
    const uint8_t *from_b = row_at(rows, pair.b);
    const size_t step = area.grid_step;
    for (uint32_t s = 0; s < area.strips; s++) {
        __m512 x[4];
        __m512 y[4];
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t t = s * LX_KERNEL_TOKENS + 16 * i;
            x[i] = get_16(from_a, is_half, t, 0xFFFF);
            y[i] = x[i];
            if (is_turned) {
                y[i] = get_16(from_b, is_half, t, 0xFFFF);
                /* Turning back is turning (b, a) forth. */
                turn(&y[i], &x[i], _mm512_loadu_ps(pair.cosines + t),
                     _mm512_loadu_ps(pair.sines + t));
            }
        }
        quantize_strip(x, &area.a, s, step, code_bits, is_bent);
        if (is_turned)
            quantize_strip(y, &area.b, s, step, code_bits, false);
    }
}

static void quantize(const lynx_tile *rows, const lx_pair *pair, const lx_area *area)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const bool is_turned = pair->cosines != NULL;
    prefetch_row((uintptr_t)row_at(rows, pair->a) + 2 * rows->channel_stride_bytes,
                 (size_t)area->strips * LX_KERNEL_TOKENS * rows->token_stride_bytes);
    if (area->code_bits == LX_FINE_BITS && is_half && is_turned) /* unrolled */
        quantize_strips(rows, *pair, *area, LX_FINE_BITS, true, true, false);
    else if (area->code_bits == LX_FINE_BITS && is_half && area->is_bent)
        quantize_strips(rows, *pair, *area, LX_FINE_BITS, true, false, true);
    else if (area->code_bits == 8 && is_half && is_turned)
        quantize_strips(rows, *pair, *area, 8, true, true, false);
    else if (area->code_bits == 8 && is_half)
        quantize_strips(rows, *pair, *area, 8, true, false, false);
    else
        quantize_strips(rows, *pair, *area, area->code_bits, is_half, is_turned, area->is_bent);
}

static ALWAYS_INLINE __m512 floats_of(__m128i bytes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

static ALWAYS_INLINE __m512 dequantize_16(__m512 steps, lx_grid grid, bool is_bent)
{
    if (is_bent) {
        const __m512 d = _mm512_add_ps(steps, _mm512_set1_ps(grid.shift));
        const __m512 more = _mm512_mul_ps(_mm512_abs_ps(d), _mm512_set1_ps(grid.bend));
        const __m512 slope = _mm512_add_ps(_mm512_set1_ps(grid.scale), more);
        return _mm512_add_ps(_mm512_set1_ps(grid.low), _mm512_mul_ps(d, slope));
    }
    const __m512 scaled = _mm512_mul_ps(steps, _mm512_set1_ps(grid.scale));
    return _mm512_add_ps(_mm512_set1_ps(grid.low), scaled);
}

static ALWAYS_INLINE void steps_of(__m512i codes, __m512 x[4])
{
    x[0] = floats_of(_mm512_castsi512_si128(codes));
    x[1] = floats_of(_mm512_extracti32x4_epi32(codes, 1));
    x[2] = floats_of(_mm512_extracti32x4_epi32(codes, 2));
    x[3] = floats_of(_mm512_extracti32x4_epi32(codes, 3));
}

/* 'bits': those of the first eight rows. */
static ALWAYS_INLINE void dequantize_strip(const lx_channel *channel, uint32_t strip,
                                           size_t step, uint32_t bits, uint32_t code_bits,
                                           bool is_fine, bool is_bent, __m512 x[4])
{
    const lx_grid *grid = channel->grids + 2 * strip * step;
    steps_of(unpack_strip(channel->row, strip, bits, code_bits), x);
    if (is_fine) {
        const lx_channel fine = fine_rows(channel);
        __m512 parts[4];
        steps_of(unpack_strip(fine.row, strip, fine.bits, 8), parts);
        for (uint32_t i = 0; i < 4; i++)
            x[i] = _mm512_add_ps(x[i], _mm512_mul_ps(parts[i], _mm512_set1_ps(0x1p-8f)));
    }
    for (uint32_t i = 0; i < 4; i++)
        x[i] = dequantize_16(x[i], grid[i / 2 * step], is_bent);
}

static ALWAYS_INLINE void dequantize_one(const lx_area area, uint8_t *restrict to,
                                         uint32_t bits, uint32_t code_bits, bool is_fine,
                                         bool is_half, bool is_bent)
{
    for (uint32_t s = 0; s < area.strips; s++) {
        __m512 x[4];
        dequantize_strip(&area.a, s, area.grid_step, bits, code_bits, is_fine, is_bent, x);
        for (uint32_t i = 0; i < 4; i++)
            put_16(to, is_half, s * LX_KERNEL_TOKENS + 16 * i, 0xFFFF, x[i]);
    }
}

static ALWAYS_INLINE void dequantize_two(const lx_area area, const lx_pair pair,
                                         uint8_t *restrict to_a, uint8_t *restrict to_b,
                                         uint32_t bits_a, uint32_t bits_b, uint32_t code_bits,
                                         bool is_fine, bool is_half)
{
    for (uint32_t s = 0; s < area.strips; s++) {
        __m512 x[4];
        __m512 y[4];
        dequantize_strip(&area.a, s, area.grid_step, bits_a, code_bits, is_fine, false, x);
        dequantize_strip(&area.b, s, area.grid_step, bits_b, code_bits, is_fine, false, y);
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t t = s * LX_KERNEL_TOKENS + 16 * i;
            turn(&x[i], &y[i], _mm512_loadu_ps(pair.cosines + t),
                 _mm512_loadu_ps(pair.sines + t));
            put_16(to_a, is_half, t, 0xFFFF, x[i]);
            put_16(to_b, is_half, t, 0xFFFF, y[i]);
        }
    }
}

static ALWAYS_INLINE void dequantize_pair(const lx_area *area, const lx_pair *pair,
                                          uint32_t bits_a, uint32_t bits_b, uint32_t code_bits,
                                          bool is_fine, const lynx_tile *rows, bool is_half)
{
    uint8_t *a = row_at(rows, pair->a);
    if (pair->cosines)
        dequantize_two(*area, *pair, a, row_at(rows, pair->b), bits_a, bits_b, code_bits,
                       is_fine, is_half);
    else if (area->is_bent)
        dequantize_one(*area, a, bits_a, code_bits, is_fine, is_half, true);
    else
        dequantize_one(*area, a, bits_a, code_bits, is_fine, is_half, false);
}

static uint32_t smaller_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void dequantize(const lx_area *area, const lx_pair *pair, const lynx_tile *rows)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const uint32_t bits = area->a.bits;
    const uint32_t other = pair->cosines ? area->b.bits : bits;
    /* Up to eight bits a fine code is one of eight. */
    const uint32_t code_bits = smaller_of(area->code_bits, 8);
    switch (is_half && bits == other && code_bits == 8 ? bits : 0) { /* unrolled */
    case 8:
        dequantize_pair(area, pair, 8, 8, 8, false, rows, true);
        break;
    case 6:
        dequantize_pair(area, pair, 6, 6, 8, false, rows, true);
        break;
    case 5:
        dequantize_pair(area, pair, 5, 5, 8, false, rows, true);
        break;
    case 4:
        dequantize_pair(area, pair, 4, 4, 8, false, rows, true);
        break;
    case 3:
        dequantize_pair(area, pair, 3, 3, 8, false, rows, true);
        break;
    default:
        if (bits > 8 || other > 8)
            dequantize_pair(area, pair, smaller_of(bits, 8), smaller_of(other, 8), 8, true,
                            rows, is_half);
        else
            dequantize_pair(area, pair, bits, other, code_bits, false, rows, is_half);
    }
}

const lx_kernels lx_kernels_avx512 = {
    .name = "avx512",
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
