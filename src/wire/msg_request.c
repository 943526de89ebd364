/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "wire/messages.h"

/* Bits of a specification's second, third and fourth byte. */
enum {
    SPEC_RECENT = 31, /* in steps of 8 tokens; above it chunk tokens */
    SPEC_RECENT_STEP = 8,
    SPEC_WIDE = 1,
    SPEC_SPREAD = 4,
    SPEC_BEND = 8,
    SPEC_UNKNOWN = 2,
    SPEC_UNDO_ROPE = 1,
    SPEC_UNKNOWN_FOURTH = 14,
    SPEC_KEY_QUARTERS_AT = 4, /* in both, two bits each */
    SPEC_VALUE_QUARTERS_AT = 6,
    SPEC_QUARTERS = 3
};

static unsigned join_quarters(const uint8_t quarters[2])
{
    return (unsigned)quarters[LYNX_SIDE_KEYS] << SPEC_KEY_QUARTERS_AT |
           (unsigned)quarters[LYNX_SIDE_VALUES] << SPEC_VALUE_QUARTERS_AT;
}

static void split_quarters(uint8_t byte, uint8_t quarters[2])
{
    quarters[LYNX_SIDE_KEYS] = byte >> SPEC_KEY_QUARTERS_AT & SPEC_QUARTERS;
    quarters[LYNX_SIDE_VALUES] = byte >> SPEC_VALUE_QUARTERS_AT & SPEC_QUARTERS;
}

void lx_spec_encode(lx_writer *writer, const lynx_codec_spec *spec)
{
    lx_write_u8(writer, (uint8_t)spec->profile);
    lx_write_u8(writer, (uint8_t)(spec->chunk_tokens | spec->recent_tokens / SPEC_RECENT_STEP));
    lx_write_u8(writer,
                (uint8_t)((spec->meta_wide ? SPEC_WIDE : 0) | (spec->spread ? SPEC_SPREAD : 0) |
                          (spec->bend ? SPEC_BEND : 0) | join_quarters(spec->quarter_bits)));
    lx_write_u8(writer, (uint8_t)((spec->undo_rope ? SPEC_UNDO_ROPE : 0) |
                                  join_quarters(spec->total_quarter_bits)));
    lx_write_u16(writer, spec->head_raw_tokens);
    lx_write_u16(writer, spec->tail_raw_tokens);
    lx_write_f32(writer, spec->alpha);
    lx_write_bytes(writer, spec->plane_bits, sizeof(spec->plane_bits));
}

lynx_status lx_spec_decode(lx_reader *reader, lynx_codec_spec *spec)
{
    const uint8_t profile = lx_read_u8(reader);
    const uint8_t tokens = lx_read_u8(reader);
    const uint8_t ranges = lx_read_u8(reader);
    const uint8_t sides = lx_read_u8(reader);
    spec->head_raw_tokens = lx_read_u16(reader);
    spec->tail_raw_tokens = lx_read_u16(reader);
    spec->alpha = lx_read_f32(reader);
    lx_read_bytes(reader, spec->plane_bits, sizeof(spec->plane_bits));
    LX_REQUIRE(!reader->ran_out, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(profile <= LYNX_PROFILE_TOKEN && !(ranges & SPEC_UNKNOWN) &&
                   !(sides & SPEC_UNKNOWN_FOURTH),
               LYNX_ERR_PROTOCOL);
    spec->profile = (lynx_profile)profile;
    spec->recent_tokens = (uint8_t)((tokens & SPEC_RECENT) * SPEC_RECENT_STEP);
    spec->chunk_tokens = (uint8_t)(tokens & ~SPEC_RECENT);
    spec->meta_wide = (ranges & SPEC_WIDE) != 0;
    spec->spread = (ranges & SPEC_SPREAD) != 0;
    spec->bend = (ranges & SPEC_BEND) != 0;
    split_quarters(ranges, spec->quarter_bits);
    split_quarters(sides, spec->total_quarter_bits);
    spec->undo_rope = (sides & SPEC_UNDO_ROPE) != 0;
    return LYNX_OK;
}

static void encode_sampling(lx_writer *writer, const lynx_sampling *sampling)
{
    lx_write_f32(writer, sampling->temperature);
    lx_write_u32(writer, (uint32_t)sampling->top_k);
    lx_write_f32(writer, sampling->top_p);
    lx_write_f32(writer, sampling->min_p);
    lx_write_f32(writer, sampling->repeat_penalty);
    lx_write_f32(writer, sampling->frequency_penalty);
    lx_write_f32(writer, sampling->presence_penalty);
    lx_write_u32(writer, (uint32_t)sampling->penalty_tokens);
    lx_write_u32(writer, sampling->seed);
}

static void decode_sampling(lx_reader *reader, lynx_sampling *sampling)
{
    sampling->temperature = lx_read_f32(reader);
    sampling->top_k = (int32_t)lx_read_u32(reader);
    sampling->top_p = lx_read_f32(reader);
    sampling->min_p = lx_read_f32(reader);
    sampling->repeat_penalty = lx_read_f32(reader);
    sampling->frequency_penalty = lx_read_f32(reader);
    sampling->presence_penalty = lx_read_f32(reader);
    sampling->penalty_tokens = (int32_t)lx_read_u32(reader);
    sampling->seed = lx_read_u32(reader);
}

bool lx_request_flags_agree(uint32_t flags)
{
    return (flags & ~(uint32_t)LX_REQUEST_FLAGS_KNOWN) == 0 &&
           (!(flags & LX_REQUEST_CARRY_ON) || !(flags & LX_REQUEST_NOT_CARRIED));
}

void lx_request_encode(lx_writer *writer, const lx_request_message *request)
{
    lx_spec_encode(writer, &request->spec);
    encode_sampling(writer, &request->sampling);
    lx_write_u32(writer, request->flags);
    lx_write_u32(writer, request->answer_tokens);
    lx_write_u32(writer, request->token_count);
    lx_write_bytes(writer, request->ticket, sizeof(request->ticket));
    lx_write_bytes(writer, request->tokens.data, request->tokens.size);
}

lynx_status lx_request_decode(lynx_bytes payload, lx_request_message *request)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    lx_request_message r = {0};
    LX_TRY(lx_spec_decode(&reader, &r.spec));
    decode_sampling(&reader, &r.sampling);
    r.flags = lx_read_u32(&reader);
    r.answer_tokens = lx_read_u32(&reader);
    r.token_count = lx_read_u32(&reader);
    lx_read_bytes(&reader, r.ticket, sizeof(r.ticket));

    LX_REQUIRE(!reader.ran_out, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(r.token_count >= 1 && r.token_count <= LYNX_PROMPT_TOKENS_MAX,
               LYNX_ERR_PROTOCOL);
    LX_REQUIRE(r.answer_tokens >= 1 && lx_request_flags_agree(r.flags), LYNX_ERR_PROTOCOL);
    r.tokens.size = (size_t)r.token_count * 4;
    r.tokens.data = lx_read_view(&reader, r.tokens.size);
    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    *request = r;
    return LYNX_OK;
}
