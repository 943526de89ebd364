/* SPDX-License-Identifier: MIT */
/*
 * greeting.c - HELLO: who we are, and whether the peer is who we need.
 *
 * Each end judges for itself, and texts name the ends by role, so that they read the same on
 * both.
 */
#include <string.h>

#include "base/check.h"
#include "base/digest.h"
#include "session/channel.h"

/* Digest of all layers. A chain of digests needs no room for all of them. */
static void digest_shape(const lynx_shape *shape, uint8_t digest[16])
{
    uint8_t bytes[16 + LX_SHAPE_BYTES] = {0};
    for (uint32_t layer = 0; layer < shape->layer_count; layer++) {
        lx_shape_encode(shape, layer, bytes + 16);
        lx_digest128(bytes, sizeof(bytes), bytes);
    }
    memcpy(digest, bytes, 16);
}

lynx_status lx_greeting_send(lx_channel *channel)
{
    uint8_t payload[LX_HELLO_BYTES_MAX];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_hello hello = {
        .role = channel->role,
        .element = (uint8_t)channel->shape.element,
        .version_minor = LX_WIRE_VERSION_MINOR,
        .page_tokens = channel->shape.page_tokens,
        .layer_count = channel->shape.layer_count,
        .fingerprint = channel->fingerprint,
        .model_name = {(const uint8_t *)channel->model_name, strlen(channel->model_name)},
    };
    digest_shape(&channel->shape, hello.shape_digest);
    lx_hello_encode(&writer, &hello);
    return lx_channel_send(channel, LX_MESSAGE_HELLO, 0, payload, writer.offset);
}

/* What differs beyond repair; NULL when nothing does. */
static const char *difference(const lx_channel *channel, const lx_hello *hello)
{
    uint8_t digest[16];
    const lynx_fingerprint *ours = &channel->fingerprint;
    const lynx_fingerprint *theirs = &hello->fingerprint;
    if (memcmp(ours->structure, theirs->structure, 16) != 0)
        return "architecture or hyperparameters";
    if (memcmp(ours->tokenizer, theirs->tokenizer, 16) != 0)
        return "tokenizer";
    if (hello->element != (uint8_t)channel->shape.element)
        return "type of the cache (--cache-type)";
    if (hello->page_tokens != channel->shape.page_tokens)
        return "tokens of a page";
    digest_shape(&channel->shape, digest);
    if (hello->layer_count != channel->shape.layer_count ||
        memcmp(digest, hello->shape_digest, 16) != 0)
        return "shape of the cache";
    return NULL;
}

lynx_status lx_greeting_check(lx_channel *channel, lynx_bytes payload,
                              char name[LX_TEXT_BYTES_MAX + 1])
{
    lx_hello hello;
    LX_TRY(lx_hello_decode(payload, &hello));
    if (hello.role == channel->role)
        return lx_channel_explain(channel, LYNX_ERR_PROTOCOL, "both ends are %s nodes",
                                  hello.role == LX_ROLE_SENDER ? "prefill" : "decode");
    lx_channel_copy_text(name, hello.model_name);
    const bool is_sender = channel->role == LX_ROLE_SENDER;
    const char *prefill = is_sender ? channel->model_name : name;
    const char *decode = is_sender ? name : channel->model_name;
    const char *what = difference(channel, &hello);
    if (what)
        return lx_channel_explain(
            channel, LYNX_ERR_MODEL,
            "the prefill node has '%.120s', the decode node '%.120s': they "
            "differ in %s; give both the same model file and cache options",
            prefill, decode, what);
    if (memcmp(channel->fingerprint.weights, hello.fingerprint.weights, 16) != 0 &&
        !channel->allow_other_weights)
        return lx_channel_explain(
            channel, LYNX_ERR_MODEL,
            "the prefill node has '%.120s', the decode node '%.120s': the "
            "same model in other weights; give both the same file, or pass "
            "--allow-other-weights to both (answers may then differ)",
            prefill, decode);
    return LYNX_OK;
}
