/* SPDX-License-Identifier: MIT */
#include "store/store_names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "store/prefix.h"

static const char segment_suffix[] = ".lynx";
static const char document_suffix[] = ".lynxdoc";

enum { HEX = 2 * LX_NAME_BYTES, LONE_COLUMNS = 4 };

uint32_t lynx_store_cut(uint32_t page_tokens, uint32_t token, uint32_t count)
{
    uint64_t columns = 1;
    const uint64_t begun = token / page_tokens; /* whole columns up to the token */
    while (columns <= begun && columns < LONE_COLUMNS)
        columns *= 2;
    if (columns <= begun)
        columns = (begun / LONE_COLUMNS + 1) * LONE_COLUMNS;
    const uint64_t end = columns * page_tokens;
    return end < count ? (uint32_t)end : count;
}

void lx_segment_folder_put(const uint8_t parent[LX_NAME_BYTES], char prefix[LX_OBJECT_NAME_MAX])
{
    char hex[LYNX_PREFIX_NAME_MAX];
    lx_name_put(parent, hex);
    snprintf(prefix, LX_OBJECT_NAME_MAX, LX_SEGMENTS "%s/", hex);
}

void lx_segment_name_put(const lx_segment_name *segment, char object[LX_OBJECT_NAME_MAX])
{
    char parent[LYNX_PREFIX_NAME_MAX], name[LYNX_PREFIX_NAME_MAX];
    lx_name_put(segment->parent, parent);
    lx_name_put(segment->name, name);
    snprintf(object, LX_OBJECT_NAME_MAX, LX_SEGMENTS "%s/%" PRIu32 "-%" PRIu32 "-%s%s", parent,
             segment->first_token, segment->end_token, name, segment_suffix);
}

/* Digits up to 'end', without a zero in front. */
static bool take_number(const char **at, char end, uint32_t *number)
{
    uint64_t value = 0;
    const char *digit = *at;
    if (digit[0] == '0' && digit[1] != end)
        return false;
    for (; *digit >= '0' && *digit <= '9' && value <= UINT32_MAX; digit++)
        value = 10 * value + (uint64_t)(*digit - '0');
    if (digit == *at || *digit != end || value > UINT32_MAX)
        return false;
    *number = (uint32_t)value;
    *at = digit + 1;
    return true;
}

bool lx_segment_name_take(const char *object, lx_segment_name *segment)
{
    const size_t head = sizeof(LX_SEGMENTS) - 1;
    if (strncmp(object, LX_SEGMENTS, head) != 0 || strlen(object) < head + HEX + 1 ||
        object[head + HEX] != '/' || !lx_name_take(object + head, segment->parent))
        return false;
    const char *at = object + head + HEX + 1;
    return take_number(&at, '-', &segment->first_token) &&
           take_number(&at, '-', &segment->end_token) &&
           segment->first_token < segment->end_token &&
           strlen(at) == HEX + sizeof(segment_suffix) - 1 && lx_name_take(at, segment->name) &&
           strcmp(at + HEX, segment_suffix) == 0;
}

bool lx_segment_is_named(const lx_header *h, const char *object)
{
    lx_segment_name name;
    return lx_segment_name_take(object, &name) && name.first_token == h->first_token &&
           name.end_token == h->end_token &&
           memcmp(name.parent, h->parent, LX_NAME_BYTES) == 0 &&
           memcmp(name.name, h->name, LX_NAME_BYTES) == 0;
}

lynx_status lx_document_name_put(const char *name, const uint8_t *key,
                                 char object[LX_OBJECT_NAME_MAX])
{
    uint8_t digest[LX_NAME_BYTES];
    char hex[LYNX_PREFIX_NAME_MAX];
    lx_hash *hash = NULL;
    if (!key) {
        snprintf(object, LX_OBJECT_NAME_MAX, LX_DOCUMENTS "%s%s", name, document_suffix);
        return LYNX_OK;
    }
    LX_TRY(lx_hash_create(&hash));
    lynx_status status = lx_hash_add(hash, name, strlen(name));
    if (status == LYNX_OK)
        status = lx_hash_get(hash, digest);
    lx_hash_destroy(hash);
    LX_TRY(status);
    LX_TRY(lx_seal_name(key, digest, digest));
    lx_name_put(digest, hex);
    snprintf(object, LX_OBJECT_NAME_MAX, LX_DOCUMENTS "%s%s", hex, document_suffix);
    return LYNX_OK;
}

bool lynx_document_name_is_legal(const char *name)
{
    return strlen(name) < LYNX_DOCUMENT_NAME_MAX && lynx_place_name_is_legal(name) &&
           !strchr(name, '/');
}

/* Further on by one segment. */
static lynx_status next_name(lx_prefix *prefix, const lynx_token *tokens, uint32_t end,
                             lx_segment_name *segment)
{
    memcpy(segment->parent, segment->name, LX_NAME_BYTES);
    segment->first_token = segment->end_token;
    segment->end_token = end;
    LX_TRY(lx_prefix_add(prefix, tokens + segment->first_token, end - segment->first_token));
    return lx_prefix_name(prefix, segment->name);
}

/* Where a segment ends that begins at 'token' of a prompt of 'count'. */
typedef uint32_t cut_after(uint32_t page_tokens, uint32_t token, uint32_t count);

static uint32_t next_column(uint32_t page_tokens, uint32_t token, uint32_t count)
{
    return count - token < page_tokens ? count : token + page_tokens;
}

static lynx_status visit_names(const lynx_stored_model *model, const uint8_t *key,
                               const lynx_token *tokens, uint32_t count, cut_after *cut,
                               lx_segment_name_visit *visit, void *user)
{
    const uint32_t page_tokens = model->shape.page_tokens;
    lx_prefix prefix;
    lx_segment_name segment = {0};
    bool goes_on = true;
    LX_TRY(lx_prefix_init(&prefix, model, key));
    lynx_status status = lx_prefix_name(&prefix, segment.name);
    while (status == LYNX_OK && goes_on && segment.end_token < count) {
        status =
            next_name(&prefix, tokens, cut(page_tokens, segment.end_token, count), &segment);
        goes_on = status == LYNX_OK && visit(user, &segment);
    }
    lx_prefix_fini(&prefix);
    return status;
}

lynx_status lx_segment_names(const lynx_stored_model *model, const uint8_t *key,
                             const lynx_token *tokens, uint32_t count,
                             lx_segment_name_visit *visit, void *user)
{
    return visit_names(model, key, tokens, count, lynx_store_cut, visit, user);
}

lynx_status lx_column_names(const lynx_stored_model *model, const uint8_t *key,
                            const lynx_token *tokens, uint32_t count,
                            lx_segment_name_visit *visit, void *user)
{
    return visit_names(model, key, tokens, count, next_column, visit, user);
}
