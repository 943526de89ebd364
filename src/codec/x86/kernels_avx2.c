/* SPDX-License-Identifier: MIT */
/* kernels_avx2.c - built with -mavx2 -mf16c; see kernels.h. */
#include <immintrin.h>
#include <string.h>

#include "codec/kernels.h"

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
    _mm_sfence(); /* orders the lines before what tells others of them */
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

static void load(const lynx_tile *rows, const lx_pair *pair, uint32_t count, float *a, float *b)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const uint32_t whole = count / 8 * 8;
    for (uint32_t t = 0; t < whole; t += 8) {
        __m256 x = get_8(row_at(rows, pair->a), is_half, t);
        if (pair->cosines) {
            __m256 y = get_8(row_at(rows, pair->b), is_half, t);
            turn(&x, &y, pair, t, true);
            _mm256_storeu_ps(b + t, y);
        }
        _mm256_storeu_ps(a + t, x);
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

/* ---- codes and bits ------------------------------------------------------------------ */

static __m256i quantize_8(const float *values, lx_grid grid, __m256i most)
{
    const __m256 x = _mm256_sub_ps(_mm256_loadu_ps(values), _mm256_set1_ps(grid.low));
    const __m256i code = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(grid.scale)));
    return _mm256_min_epi32(_mm256_max_epi32(code, _mm256_setzero_si256()), most);
}

static __m256i quantize_32(const float *values, lx_grid grid, __m256i most)
{
    const __m256i a = quantize_8(values, grid, most);
    const __m256i b = quantize_8(values + 8, grid, most);
    const __m256i c = quantize_8(values + 16, grid, most);
    const __m256i d = quantize_8(values + 24, grid, most);
    const __m256i words =
        _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    /* The packs work in 128-bit lanes; this puts the groups of four back in order. */
    return _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* The row's four bytes of one chunk: half a strip. */
static inline uint8_t *chunk_at(const lx_area *area, uint32_t row, uint32_t channel,
                                uint32_t chunk)
{
    return area->row[row] + channel * area->channel_bytes[row] + (size_t)chunk * 4;
}

static inline void pack_chunk(__m256i codes, uint32_t code_bits, const lx_area *area,
                              uint32_t channel, uint32_t chunk)
{
    for (uint32_t row = 0; row < code_bits; row++) {
        /* Bring the bit to the top of its byte; words are shifted, so no byte may matter but
         * by its top bit. */
        const __m128i left = _mm_cvtsi32_si128((int)(8 - code_bits + row));
        const int mask = _mm256_movemask_epi8(_mm256_sll_epi16(codes, left));
        memcpy(chunk_at(area, row, channel, chunk), &mask, sizeof(mask));
    }
}

static inline __m256i unpack_chunk(const lx_area *area, uint32_t channel, uint32_t chunk,
                                   uint32_t bits, uint32_t code_bits)
{
    /* Each byte of the four goes to eight places, of which each looks at its own bit. */
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2,
                                            2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i own = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    __m256i codes = _mm256_setzero_si256();
    for (uint32_t row = 0; row < bits; row++) {
        int mask;
        memcpy(&mask, chunk_at(area, row, channel, chunk), sizeof(mask));
        const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(mask), spread);
        const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, own), own);
        const __m256i bit = _mm256_set1_epi8((char)(1u << (code_bits - 1 - row)));
        codes = _mm256_or_si256(codes, _mm256_and_si256(is_set, bit));
    }
    return codes;
}

static void pack(const uint8_t *codes, uint32_t code_bits, const lx_area *area,
                 uint32_t channel)
{
    for (uint32_t chunk = 0; chunk < 2 * area->strips; chunk++) {
        const uint8_t *at = codes + (size_t)chunk * LX_CHUNK_TOKENS;
        pack_chunk(_mm256_loadu_si256((const __m256i *)(const void *)at), code_bits, area,
                   channel, chunk);
    }
}

static void unpack(const lx_area *area, uint32_t channel, uint32_t bits, uint32_t code_bits,
                   uint8_t *codes)
{
    for (uint32_t chunk = 0; chunk < 2 * area->strips; chunk++) {
        uint8_t *at = codes + (size_t)chunk * LX_CHUNK_TOKENS;
        _mm256_storeu_si256((__m256i *)(void *)at,
                            unpack_chunk(area, channel, chunk, bits, code_bits));
    }
}

static lx_grid grid_at(const lx_area *area, const lx_grid *grids, uint32_t channel,
                       uint32_t chunk)
{
    return grids[channel * area->grid_pitch + chunk * area->grid_step];
}

static void quantize(const float *values, const lx_grid *grids, uint32_t code_bits,
                     const lx_area *area, uint32_t channel)
{
    const __m256i most = _mm256_set1_epi32((1 << code_bits) - 1);
    for (uint32_t chunk = 0; chunk < 2 * area->strips; chunk++)
        pack_chunk(quantize_32(values + (size_t)chunk * LX_CHUNK_TOKENS,
                               grid_at(area, grids, channel, chunk), most),
                   code_bits, area, channel, chunk);
}

static ALWAYS_INLINE __m256 dequantize_8(__m128i codes, lx_grid grid)
{
    const __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
    const __m256 scaled = _mm256_mul_ps(x, _mm256_set1_ps(grid.scale));
    return _mm256_add_ps(_mm256_set1_ps(grid.low), scaled);
}

static ALWAYS_INLINE void dequantize_32(__m256i codes, lx_grid grid, __m256 x[4])
{
    const __m128i low = _mm256_castsi256_si128(codes);
    const __m128i high = _mm256_extracti128_si256(codes, 1);
    x[0] = dequantize_8(low, grid);
    x[1] = dequantize_8(_mm_srli_si128(low, 8), grid);
    x[2] = dequantize_8(high, grid);
    x[3] = dequantize_8(_mm_srli_si128(high, 8), grid);
}

static ALWAYS_INLINE void dequantize_chunk(const lx_area *area, const lx_pair *pair,
                                           uint32_t chunk, uint32_t bits, uint32_t code_bits,
                                           const lx_grid *grids, const lynx_tile *rows)
{
    const bool is_half = rows->element == LYNX_ELEMENT_F16;
    const bool is_turned = pair->cosines != NULL;
    __m256 x[4];
    __m256 y[4];
    dequantize_32(unpack_chunk(area, pair->a, chunk, bits, code_bits),
                  grid_at(area, grids, pair->a, chunk), x);
    if (is_turned)
        dequantize_32(unpack_chunk(area, pair->b, chunk, bits, code_bits),
                      grid_at(area, grids, pair->b, chunk), y);
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t t = chunk * LX_CHUNK_TOKENS + 8 * i;
        if (is_turned) {
            turn(&x[i], &y[i], pair, t, false);
            put_8(row_at(rows, pair->b), is_half, t, y[i]);
        }
        put_8(row_at(rows, pair->a), is_half, t, x[i]);
    }
}

static void dequantize(const lx_area *area, const lx_pair *pair, uint32_t bits,
                       uint32_t code_bits, const lx_grid *grids, const lynx_tile *rows)
{
    for (uint32_t chunk = 0; chunk < 2 * area->strips; chunk++)
        dequantize_chunk(area, pair, chunk, bits, code_bits, grids, rows);
}

const lx_kernels lx_kernels_avx2 = {
    .name = "avx2",
    .transpose = transpose,
    .load = load,
    .store = store,
    .range = range,
    .quantize = quantize,
    .dequantize = dequantize,
    .pack = pack,
    .unpack = unpack,
};
