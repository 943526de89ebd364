/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "wire/messages.h"

void lx_shape_encode(const lynx_shape *shape, uint32_t layer, uint8_t bytes[LX_SHAPE_BYTES])
{
    lx_writer writer = lx_writer_of(bytes, LX_SHAPE_BYTES);
    const lynx_layer_shape *l = &shape->layers[layer];
    lx_write_u32(&writer, l->window_tokens);
    for (uint32_t side = 0; side < 2; side++) {
        const lynx_side_shape *s = &l->sides[side];
        lx_write_u32(&writer, s->channels);
        lx_write_u32(&writer, s->head_channels);
        lx_write_u32(&writer, (uint32_t)s->rope.pairing);
        lx_write_u32(&writer, s->rope.dims);
        lx_write_f32(&writer, s->rope.base);
        lx_write_f32(&writer, s->rope.scale);
    }
}

lynx_status lx_shape_decode(lx_reader *reader, lynx_layer_shape *layer)
{
    layer->window_tokens = lx_read_u32(reader);
    for (uint32_t side = 0; side < 2; side++) {
        lynx_side_shape *s = &layer->sides[side];
        s->channels = lx_read_u32(reader);
        s->head_channels = lx_read_u32(reader);
        const uint32_t pairing = lx_read_u32(reader);
        s->rope.dims = lx_read_u32(reader);
        s->rope.base = lx_read_f32(reader);
        s->rope.scale = lx_read_f32(reader);
        LX_REQUIRE(pairing <= LYNX_ROPE_HALVES, LYNX_ERR_PROTOCOL);
        s->rope.pairing = (lynx_rope_pairing)pairing;
    }
    return reader->ran_out ? LYNX_ERR_PROTOCOL : LYNX_OK;
}

void lx_hello_encode(lx_writer *writer, const lx_hello *hello)
{
    lx_write_u8(writer, hello->role);
    lx_write_u8(writer, hello->element);
    lx_write_u8(writer, hello->version_minor);
    lx_write_u8(writer, hello->lane);
    lx_write_u32(writer, hello->page_tokens);
    lx_write_u32(writer, hello->layer_count);
    lx_write_bytes(writer, hello->shape_digest, sizeof(hello->shape_digest));
    lx_write_bytes(writer, hello->fingerprint.structure, 16);
    lx_write_bytes(writer, hello->fingerprint.tokenizer, 16);
    lx_write_bytes(writer, hello->fingerprint.weights, 16);
    lx_write_bytes(writer, hello->session, sizeof(hello->session));
    lx_write_u32(writer, (uint32_t)hello->model_name.size);
    lx_write_bytes(writer, hello->model_name.data, hello->model_name.size);
}

lynx_status lx_hello_decode(lynx_bytes payload, lx_hello *hello)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    lx_hello h = {0};
    h.role = lx_read_u8(&reader);
    h.element = lx_read_u8(&reader);
    h.version_minor = lx_read_u8(&reader);
    h.lane = lx_read_u8(&reader);
    h.page_tokens = lx_read_u32(&reader);
    h.layer_count = lx_read_u32(&reader);
    lx_read_bytes(&reader, h.shape_digest, sizeof(h.shape_digest));
    lx_read_bytes(&reader, h.fingerprint.structure, 16);
    lx_read_bytes(&reader, h.fingerprint.tokenizer, 16);
    lx_read_bytes(&reader, h.fingerprint.weights, 16);
    lx_read_bytes(&reader, h.session, sizeof(h.session));
    h.model_name.size = lx_read_u32(&reader);
    LX_REQUIRE(h.model_name.size <= LX_TEXT_BYTES_MAX, LYNX_ERR_PROTOCOL);
    h.model_name.data = lx_read_view(&reader, h.model_name.size);

    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(h.role <= 1 && h.lane < LYNX_LANES_MAX, LYNX_ERR_PROTOCOL);
    *hello = h;
    return LYNX_OK;
}
