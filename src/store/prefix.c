/* SPDX-License-Identifier: MIT */
#include "store/prefix.h"

#include <string.h>

#include "base/check.h"
#include "base/cursor.h"
#include "wire/messages.h"

static const char label[] = "lynx prefix 1";

/* The root: model, shape and codec. */
static lynx_status add_model(lx_hash *hash, const lynx_stored_model *model)
{
    uint8_t bytes[LX_SHAPE_BYTES + 64];
    const lynx_shape *shape = &model->shape;
    lx_writer writer = lx_writer_of(bytes, sizeof(bytes));
    lx_write_u8(&writer, (uint8_t)shape->element);
    lx_write_u32(&writer, shape->page_tokens);
    lx_write_u32(&writer, shape->layer_count);
    lx_spec_encode(&writer, &model->spec);
    LX_TRY(lx_hash_add(hash, label, sizeof(label)));
    LX_TRY(lx_hash_add(hash, model->fingerprint.structure, 16));
    LX_TRY(lx_hash_add(hash, model->fingerprint.tokenizer, 16));
    LX_TRY(lx_hash_add(hash, model->fingerprint.weights, 16));
    LX_TRY(lx_hash_add(hash, bytes, writer.offset));
    for (uint32_t layer = 0; layer < shape->layer_count; layer++) {
        lx_shape_encode(shape, layer, bytes);
        LX_TRY(lx_hash_add(hash, bytes, LX_SHAPE_BYTES));
    }
    return LYNX_OK;
}

lynx_status lx_prefix_init(lx_prefix *prefix, const lynx_stored_model *model,
                           const uint8_t *key)
{
    *prefix = (lx_prefix){.key = key};
    LX_TRY(lx_hash_create(&prefix->hash));
    const lynx_status status = add_model(prefix->hash, model);
    if (status != LYNX_OK)
        lx_prefix_fini(prefix);
    return status;
}

void lx_prefix_fini(lx_prefix *prefix)
{
    lx_hash_destroy(prefix->hash);
    prefix->hash = NULL;
}

lynx_status lx_prefix_add(lx_prefix *prefix, const lynx_token *tokens, uint32_t count)
{
    enum { PIECE = 256 };
    uint8_t bytes[4 * PIECE];
    for (uint32_t done = 0; done < count;) {
        const uint32_t piece = count - done < PIECE ? count - done : PIECE;
        lx_writer writer = lx_writer_of(bytes, sizeof(bytes));
        for (uint32_t i = 0; i < piece; i++)
            lx_write_u32(&writer, (uint32_t)tokens[done + i]);
        LX_TRY(lx_hash_add(prefix->hash, bytes, writer.offset));
        done += piece;
    }
    return LYNX_OK;
}

lynx_status lx_prefix_name(const lx_prefix *prefix, uint8_t name[LX_NAME_BYTES])
{
    uint8_t digest[LX_NAME_BYTES];
    LX_TRY(lx_hash_get(prefix->hash, digest));
    if (prefix->key)
        return lx_seal_name(prefix->key, digest, name);
    memcpy(name, digest, LX_NAME_BYTES);
    return LYNX_OK;
}

lynx_status lx_prefix_name_after(const lx_prefix *prefix, const lynx_token *tokens,
                                 uint32_t count, uint8_t name[LX_NAME_BYTES])
{
    lx_prefix copy = {.key = prefix->key};
    LX_TRY(lx_hash_copy(&copy.hash, prefix->hash));
    lynx_status status = lx_prefix_add(&copy, tokens, count);
    if (status == LYNX_OK)
        status = lx_prefix_name(&copy, name);
    lx_prefix_fini(&copy);
    return status;
}

void lx_name_put(const uint8_t name[LX_NAME_BYTES], char text[LYNX_PREFIX_NAME_MAX])
{
    static const char digits[] = "0123456789abcdef";
    for (uint32_t i = 0; i < LX_NAME_BYTES; i++) {
        text[2 * i] = digits[name[i] >> 4];
        text[2 * i + 1] = digits[name[i] & 15];
    }
    text[2 * LX_NAME_BYTES] = '\0';
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool lx_name_take(const char *text, uint8_t name[LX_NAME_BYTES])
{
    for (uint32_t i = 0; i < LX_NAME_BYTES; i++) {
        const int high = digit_of(text[2 * i]);
        const int low = high < 0 ? -1 : digit_of(text[2 * i + 1]);
        if (low < 0)
            return false;
        name[i] = (uint8_t)(16 * high + low);
    }
    return true;
}
