/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "lynx/codec.h"

static const struct {
    const char *name;
    lynx_codec_spec spec;
} named[] = {
    {"range",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{5, 3}, {4, 4}},
      .undo_rope = true,
      .head_raw_tokens = 4}},
    {"range44",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{4, 4}, {4, 4}},
      .undo_rope = true,
      .head_raw_tokens = 1}},
    {"range-chunk",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{4, 4}, {4, 4}},
      .chunk_tokens = 32,
      .head_raw_tokens = 4}},
    {"paper",
     {.profile = LYNX_PROFILE_PAPER,
      .plane_bits = {{4, 4}, {4, 4}},
      .chunk_tokens = 32,
      .alpha = 1.0f}},
    {"int8", {.profile = LYNX_PROFILE_RANGE, .plane_bits = {{8}, {8}}, .meta_wide = true}},
    {"int4", {.profile = LYNX_PROFILE_RANGE, .plane_bits = {{4}, {4}}, .meta_wide = true}},
    {"int4-chunk",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{4}, {4}},
      .chunk_tokens = 32,
      .meta_wide = true}},
    {"int8-token", {.profile = LYNX_PROFILE_TOKEN, .plane_bits = {{8}, {8}}}},
    {"int4-token", {.profile = LYNX_PROFILE_TOKEN, .plane_bits = {{4}, {4}}}},
    {"raw", {.profile = LYNX_PROFILE_RAW, .plane_bits = {{16}, {16}}}},
};

enum { NAMED_COUNT = sizeof(named) / sizeof(*named), RAW_TOKENS_MAX = 4096 };

lynx_status lynx_codec_spec_named(lynx_codec_spec *spec, const char *name)
{
    for (size_t i = 0; i < NAMED_COUNT; i++)
        if (strcmp(name, named[i].name) == 0) {
            *spec = named[i].spec;
            return LYNX_OK;
        }
    return LYNX_ERR_ARGUMENT;
}

const char *lynx_codec_spec_name_at(size_t index)
{
    return index < NAMED_COUNT ? named[index].name : NULL;
}

uint32_t lynx_codec_spec_plane_count(const lynx_codec_spec *spec)
{
    uint32_t count = 0;
    while (count < LYNX_PLANES_MAX && spec->plane_bits[0][count])
        count++;
    return count ? count : 1;
}

/* Sum of one side's bits; 0 when a zero stands before a bit count. */
static uint32_t code_bits(const lynx_codec_spec *spec, uint32_t side, uint32_t planes)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++) {
        if ((spec->plane_bits[side][i] != 0) != (i < planes))
            return 0;
        sum += spec->plane_bits[side][i];
    }
    return sum;
}

lynx_status lynx_codec_spec_check(const lynx_codec_spec *spec)
{
    const uint32_t planes = lynx_codec_spec_plane_count(spec);
    const uint32_t bits = code_bits(spec, 0, planes);
    LX_REQUIRE(bits == code_bits(spec, 1, planes), LYNX_ERR_ARGUMENT);
    LX_REQUIRE(spec->head_raw_tokens <= RAW_TOKENS_MAX &&
                   spec->tail_raw_tokens <= RAW_TOKENS_MAX,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(spec->chunk_tokens == 0 || spec->chunk_tokens == 32, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(!spec->meta_wide || spec->profile == LYNX_PROFILE_RANGE, LYNX_ERR_ARGUMENT);
    if (spec->profile != LYNX_PROFILE_PAPER)
        LX_REQUIRE(spec->alpha == 0.0f, LYNX_ERR_ARGUMENT);
    switch (spec->profile) {
    case LYNX_PROFILE_RAW:
        LX_REQUIRE(planes == 1 && bits == 16 && !spec->undo_rope && !spec->chunk_tokens,
                   LYNX_ERR_ARGUMENT);
        return LYNX_OK;
    case LYNX_PROFILE_RANGE:
        LX_REQUIRE(bits == 8 || bits == 4, LYNX_ERR_ARGUMENT);
        return LYNX_OK;
    case LYNX_PROFILE_PAPER:
        LX_REQUIRE(planes == 2 && bits == 8 && spec->plane_bits[0][0] == 4 &&
                       spec->plane_bits[1][0] == 4 && spec->chunk_tokens == 32,
                   LYNX_ERR_ARGUMENT);
        LX_REQUIRE(isfinite(spec->alpha) && spec->alpha > 0.0f && spec->alpha <= 255.0f,
                   LYNX_ERR_ARGUMENT);
        return LYNX_OK;
    case LYNX_PROFILE_TOKEN:
        LX_REQUIRE((bits == 8 || bits == 4) && !spec->chunk_tokens, LYNX_ERR_ARGUMENT);
        return LYNX_OK;
    }
    return LYNX_ERR_ARGUMENT;
}
