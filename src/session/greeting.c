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
#include "session/lane.h"

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

void lx_greeting_fill(const lx_identity *identity, lx_hello *hello)
{
    *hello = (lx_hello){
        .role = identity->role,
        .element = (uint8_t)identity->shape.element,
        .version_minor = LX_WIRE_VERSION_MINOR,
        .page_tokens = identity->shape.page_tokens,
        .layer_count = identity->shape.layer_count,
        .fingerprint = identity->fingerprint,
        .model_name = {(const uint8_t *)identity->model_name, strlen(identity->model_name)},
    };
    digest_shape(&identity->shape, hello->shape_digest);
}

/* What differs beyond repair; NULL when nothing does. */
static const char *difference(const lx_identity *us, const lx_hello *hello)
{
    uint8_t digest[16];
    const lynx_fingerprint *ours = &us->fingerprint;
    const lynx_fingerprint *theirs = &hello->fingerprint;
    if (memcmp(ours->structure, theirs->structure, 16) != 0)
        return "architecture or hyperparameters";
    if (memcmp(ours->tokenizer, theirs->tokenizer, 16) != 0)
        return "tokenizer";
    if (hello->element != (uint8_t)us->shape.element)
        return "type of the cache (--cache-type)";
    if (hello->page_tokens != us->shape.page_tokens)
        return "tokens of a page";
    digest_shape(&us->shape, digest);
    if (hello->layer_count != us->shape.layer_count ||
        memcmp(digest, hello->shape_digest, 16) != 0)
        return "shape of the cache";
    return NULL;
}

lynx_status lx_greeting_check(lx_lane *lane, const lx_hello *hello)
{
    const lx_identity *us = lane->identity;
    if (hello->role == us->role)
        return lx_lane_explain(lane, LYNX_ERR_PROTOCOL, "both ends are %s nodes",
                               hello->role == LX_ROLE_SENDER ? "prefill" : "decode");
    const bool is_sender = us->role == LX_ROLE_SENDER;
    const char *prefill = is_sender ? us->model_name : lane->peer_model;
    const char *decode = is_sender ? lane->peer_model : us->model_name;
    const char *what = difference(us, hello);
    if (what)
        return lx_lane_explain(lane, LYNX_ERR_MODEL,
                               "the prefill node has '%.120s', the decode node '%.120s': they "
                               "differ in %s; give both the same model file and cache options",
                               prefill, decode, what);
    if (lynx_shape_has_window(&us->shape) && hello->version_minor < LX_MINOR_OF_WINDOWS)
        return lx_lane_explain(lane, LYNX_ERR_VERSION,
                               "this end speaks version %d.%d of the wire format, the peer "
                               "%d.%u, which sends other pages of a model with sliding "
                               "windows; use the same version of Lynx on both",
                               LX_WIRE_VERSION, LX_WIRE_VERSION_MINOR, LX_WIRE_VERSION,
                               hello->version_minor);
    if (memcmp(us->fingerprint.weights, hello->fingerprint.weights, 16) != 0 &&
        !us->allow_other_weights)
        return lx_lane_explain(lane, LYNX_ERR_MODEL,
                               "the prefill node has '%.120s', the decode node '%.120s': the "
                               "same model in other weights; give both the same file, or pass "
                               "--allow-other-weights to both (answers may then differ)",
                               prefill, decode);
    return LYNX_OK;
}
