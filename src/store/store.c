/* SPDX-License-Identifier: MIT */
#include "store/store_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "store/part_source.h"
#include "store/prefix.h"
#include "store/segment.h"

lynx_status lx_tell_plainly(lx_text text, lynx_status status)
{
    return status == LYNX_ERR_MEMORY || status == LYNX_ERR_ARGUMENT ||
                   status == LYNX_ERR_CANCELLED || status == LYNX_ERR_STATE
               ? lx_tell(text, status, "%s", lynx_status_text(status))
               : status;
}

bool lynx_store_default_folder(char *path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int length = -1;
    if (cache && cache[0] == '/')
        length = snprintf(path, size, "%s/lynx/store", cache);
    else if (home && home[0])
        length = snprintf(path, size, "%s/.cache/lynx/store", home);
    return length > 0 && (size_t)length < size;
}

void lynx_store_options_init(lynx_store_options *options)
{
    *options = (lynx_store_options){.struct_size = sizeof(*options)};
}

lynx_status lynx_store_create(lynx_store **store, const lynx_store_options *options)
{
    LX_REQUIRE(options->struct_size == sizeof(*options) && options->place, LYNX_ERR_ARGUMENT);
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_store *s = lx_alloc_zeroed(memory, 1, sizeof(*s));
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->memory = memory;
    s->place = options->place;
    s->limit_bytes = options->limit_bytes;
    if (options->key) {
        memcpy(s->key_bytes, options->key, sizeof(s->key_bytes));
        s->key = s->key_bytes;
    }
    *store = s;
    return LYNX_OK;
}

void lynx_store_destroy(lynx_store *s)
{
    if (!s)
        return;
    lynx_place_destroy(s->place);
    memset(s->key_bytes, 0, sizeof(s->key_bytes));
    lx_free(s->memory, s, 1, sizeof(*s));
}

lynx_place *lynx_store_place(const lynx_store *store)
{
    return store->place;
}

const uint8_t *lynx_store_key(const lynx_store *store)
{
    return store->key;
}

/* ---- chains -------------------------------------------------------------------------- */

void lx_chain_close(const lynx_store *s, lx_chain *chain)
{
    lx_parts_close(s->place, chain->parts, chain->count, chain->room, s->memory);
    *chain = (lx_chain){0};
}

static lynx_status chain_add(const lynx_store *s, lx_chain *chain, const lx_part *part)
{
    if (chain->count == chain->room) {
        const size_t room = chain->room ? 2 * chain->room : 4;
        lx_part *parts = lx_alloc(s->memory, room, sizeof(*parts));
        LX_REQUIRE(parts, LYNX_ERR_MEMORY);
        if (chain->count > 0)
            memcpy(parts, chain->parts, chain->count * sizeof(*parts));
        lx_free(s->memory, chain->parts, chain->room, sizeof(*parts));
        chain->parts = parts;
        chain->room = room;
    }
    chain->parts[chain->count++] = *part;
    chain->tokens = part->front.header.end_token;
    chain->bytes += part->object->size;
    return LYNX_OK;
}

/* What a look for the chain of a prompt has at hand. */
typedef struct search {
    lynx_store *store;
    const lynx_stored_model *model;
    const lynx_token *tokens;
    uint32_t count;
    lx_prefix prefix; /* of the tokens of the chain */
    lx_chain *chain;
    lx_text text;
} search;

static bool is_right(const search *s, const lx_part *part, const lx_segment_name *name)
{
    const lx_header *h = &part->front.header;
    return h->first_token == name->first_token && h->end_token == name->end_token &&
           memcmp(h->parent, name->parent, LX_NAME_BYTES) == 0 &&
           memcmp(h->name, name->name, LX_NAME_BYTES) == 0 &&
           lx_models_agree(&h->model, s->model) && lx_part_missing(part) == 0 &&
           memcmp(h->tokens, s->tokens + h->first_token,
                  (h->end_token - h->first_token) * sizeof(*h->tokens)) == 0;
}

/* A segment that is broken is one that is not there; a place that fails is an error. */
static bool is_broken(lynx_status status)
{
    return status == LYNX_ERR_PROTOCOL || status == LYNX_ERR_CORRUPT ||
           status == LYNX_ERR_VERSION || status == LYNX_ERR_UNSUPPORTED;
}

/* '*part' is that of the segment, if it is here and right; else its object is NULL. */
static lynx_status open_segment(const search *s, const lx_segment_name *name, lx_part *part,
                                bool *is_doubtful)
{
    lynx_place *place = s->store->place;
    char object_name[LX_OBJECT_NAME_MAX];
    lynx_object *object = NULL;
    *part = (lx_part){0};
    lx_segment_name_put(name, object_name);
    LX_TRY(place->ops->open(place, object_name, &object, s->text.data, s->text.size));
    if (!object)
        return LYNX_OK;
    const lynx_status status = lx_part_read(part, place, object, object_name, 0, s->store->key,
                                            s->store->memory, s->text);
    if (status == LYNX_OK && is_right(s, part, name))
        return LYNX_OK;
    *is_doubtful = place->ops->doubt != NULL;
    if (*is_doubtful)
        (void)place->ops->doubt(place, object);
    if (status == LYNX_OK)
        lx_part_fini(part);
    *part = (lx_part){0};
    place->ops->close(place, object);
    return is_broken(status) ? LYNX_OK : status;
}

/* Put the segment at the end of the chain; '*is_here' tells whether it is here. What is
 * doubtful may be right where it came from. */
static lynx_status try_segment(search *s, const lx_segment_name *name, bool *is_here)
{
    lynx_place *place = s->store->place;
    lx_part part;
    bool is_doubtful = false;
    *is_here = false;
    LX_TRY(open_segment(s, name, &part, &is_doubtful));
    if (!part.object && is_doubtful)
        LX_TRY(open_segment(s, name, &part, &is_doubtful));
    if (!part.object)
        return LYNX_OK;
    lynx_object *object = part.object;
    const lynx_status status = chain_add(s->store, s->chain, &part);
    *is_here = status == LYNX_OK;
    if (!*is_here) {
        lx_part_fini(&part);
        place->ops->close(place, object);
    }
    return status;
}

/* The longest segment behind the chain that is no whole cut and is the prompt's. */
typedef struct tail_look {
    search *search;
    lx_segment_name best; /* end_token 0: none */
    uint32_t below;       /* it ends before this token */
    lynx_status status;
} tail_look;

static bool look_at_tail(void *user, const lynx_place_entry *entry)
{
    tail_look *look = user;
    const search *s = look->search;
    const uint32_t first = s->chain->tokens;
    lx_segment_name name;
    uint8_t right[LX_NAME_BYTES];
    if (!lx_segment_name_take(entry->name, &name) || name.first_token != first ||
        name.end_token > s->count || name.end_token >= look->below ||
        name.end_token <= look->best.end_token)
        return true;
    look->status =
        lx_prefix_name_after(&s->prefix, s->tokens + first, name.end_token - first, right);
    if (look->status == LYNX_OK && memcmp(right, name.name, sizeof(right)) == 0)
        look->best = name;
    return look->status == LYNX_OK;
}

/* The next segment that ends at 'end'. */
static lynx_status try_end(search *s, uint32_t end, bool *is_here)
{
    lx_segment_name name = {.first_token = s->chain->tokens, .end_token = end};
    const lynx_token *tokens = s->tokens + name.first_token;
    LX_TRY(lx_prefix_name(&s->prefix, name.parent));
    LX_TRY(lx_prefix_name_after(&s->prefix, tokens, end - name.first_token, name.name));
    LX_TRY(try_segment(s, &name, is_here));
    return *is_here ? lx_prefix_add(&s->prefix, tokens, end - name.first_token) : LYNX_OK;
}

/* The longest one that ends elsewhere than at a cut. */
static lynx_status try_tails(search *s, bool *is_here)
{
    lynx_place *place = s->store->place;
    tail_look look = {.search = s, .below = UINT32_MAX};
    char folder[LX_OBJECT_NAME_MAX];
    uint8_t parent[LX_NAME_BYTES];
    LX_TRY(lx_prefix_name(&s->prefix, parent));
    lx_segment_folder_put(parent, folder);
    do { /* a broken one makes room for the next longest */
        look.best = (lx_segment_name){0};
        LX_TRY(
            place->ops->list(place, folder, look_at_tail, &look, s->text.data, s->text.size));
        LX_TRY(look.status);
        look.below = look.best.end_token;
        if (look.best.end_token > 0)
            LX_TRY(try_end(s, look.best.end_token, is_here));
    } while (look.best.end_token > 0 && !*is_here);
    return LYNX_OK;
}

/* A place that cannot list has what ends at a cut, or one column further on. */
static lynx_status try_column(search *s, bool *is_here)
{
    const uint32_t end = s->chain->tokens + s->model->shape.page_tokens;
    return end < s->count ? try_end(s, end, is_here) : LYNX_OK;
}

/* What goes on from the end of the chain, which lies on a page boundary. */
static lynx_status extend_chain(search *s, bool *is_here)
{
    const uint32_t page_tokens = s->model->shape.page_tokens;
    LX_TRY(try_end(s, lynx_store_cut(page_tokens, s->chain->tokens, s->count), is_here));
    if (*is_here)
        return LYNX_OK;
    return s->store->place->ops->list ? try_tails(s, is_here) : try_column(s, is_here);
}

static lynx_status walk_chain(search *s)
{
    bool is_here = true;
    while (is_here && s->chain->tokens < s->count &&
           s->chain->tokens % s->model->shape.page_tokens == 0)
        LX_TRY(extend_chain(s, &is_here));
    return LYNX_OK;
}

lynx_status lx_store_chain(lynx_store *store, const lynx_stored_model *model,
                           const lynx_token *tokens, uint32_t count, lx_chain *chain,
                           lx_text text)
{
    search s = {.store = store,
                .model = model,
                .tokens = tokens,
                .count = count,
                .chain = chain,
                .text = text};
    *chain = (lx_chain){0};
    lynx_status status = lx_prefix_init(&s.prefix, model, store->key);
    if (status == LYNX_OK) {
        status = walk_chain(&s);
        lx_prefix_fini(&s.prefix);
    }
    if (status != LYNX_OK)
        lx_chain_close(store, chain);
    return lx_tell_plainly(text, status);
}

/* ---- finding ------------------------------------------------------------------------- */

static lynx_stored_model stored_model(const lynx_model *model, const lynx_codec_spec *spec)
{
    return (lynx_stored_model){model->name, model->fingerprint, model->shape, *spec};
}

/* The first segment is the most recently used: what it is needed for goes before it. */
static void use_chain(const lynx_store *s, const lx_chain *chain)
{
    for (size_t i = chain->count; s->place->ops->use && i-- > 0;)
        s->place->ops->use(s->place, chain->parts[i].name);
}

static lynx_status check_prompt(const lynx_codec_spec *spec, const lynx_token *tokens,
                                uint32_t count)
{
    LX_TRY(lynx_codec_spec_check(spec));
    LX_REQUIRE(lynx_codec_spec_is_storable(spec) && count >= 1 &&
                   count <= LYNX_PROMPT_TOKENS_MAX && tokens,
               LYNX_ERR_ARGUMENT);
    return LYNX_OK;
}

/* A source of 'most' tokens of the chain, which it takes; NULL: there are none. */
static lynx_status open_chain(lynx_store *store, lx_chain *chain, uint32_t most,
                              lynx_source **source, lx_text said)
{
    const uint32_t prefix = lx_part_source_prefix(chain->parts, chain->count, most);
    if (prefix == 0) {
        lx_chain_close(store, chain);
        return LYNX_OK;
    }
    use_chain(store, chain);
    const lx_part_source_options options = {
        .place = store->place,
        .parts = chain->parts,
        .part_count = chain->count,
        .part_room = chain->room,
        .owns_parts = true,
        .description = store->place->ops->description(store->place),
        .memory = store->memory,
    };
    return lx_tell_plainly(said, lx_part_source_create(source, prefix, &options));
}

lynx_status lynx_store_find(lynx_store *store, const lynx_model *model,
                            const lynx_codec_spec *spec, const lynx_token *tokens,
                            uint32_t count, lynx_source **source, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    const lynx_stored_model stored = stored_model(model, spec);
    lx_chain chain;
    *source = NULL;
    const lynx_status checked = check_prompt(spec, tokens, count);
    if (checked != LYNX_OK)
        return lx_tell_plainly(said, checked);
    LX_TRY(lx_store_chain(store, &stored, tokens, count, &chain, said));
    /* The logits of the last token are not stored. */
    const uint32_t most = chain.tokens < count ? chain.tokens : count - 1;
    return open_chain(store, &chain, most, source, said);
}

lynx_status lynx_store_find_document(lynx_store *store, const lynx_model *model,
                                     const lynx_document *document, const lynx_token *tokens,
                                     uint32_t count, lynx_source **source, char *text,
                                     size_t text_size)
{
    const lx_text said = {text, text_size};
    const lynx_codec_spec *spec = &document->model.spec;
    const uint32_t end = document->token_count;
    *source = NULL;
    if (count <= end || memcmp(tokens, document->tokens, end * sizeof(*tokens)) != 0)
        return lx_tell_plainly(said, LYNX_ERR_ARGUMENT);
    if (!store->place->ops->list) {
        const lynx_stored_model stored = stored_model(model, spec);
        lx_chain chain;
        LX_TRY(lx_store_chain(store, &stored, document->tokens, end, &chain, said));
        if (chain.tokens == end)
            return open_chain(store, &chain, end, source, said);
        lx_chain_close(store, &chain);
    }
    return lynx_store_find(store, model, spec, tokens, count, source, text, text_size);
}

lynx_status lynx_store_drop_broken(lynx_store *store, const lynx_source *source, char *text,
                                   size_t text_size)
{
    const char *name = lx_part_source_broken(source);
    if (!name)
        return LYNX_OK;
    if (!store->place->ops->remove)
        return lx_tell((lx_text){text, text_size}, LYNX_ERR_DENIED,
                       "nothing can be removed from '%s'",
                       store->place->ops->description(store->place));
    return store->place->ops->remove(store->place, name, text, text_size);
}

lynx_status lynx_store_length(lynx_store *store, const lynx_model *model,
                              const lynx_codec_spec *spec, const lynx_token *tokens,
                              uint32_t count, uint32_t *length, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    const lynx_stored_model stored = stored_model(model, spec);
    lx_chain chain;
    *length = 0;
    const lynx_status checked = check_prompt(spec, tokens, count);
    if (checked != LYNX_OK)
        return lx_tell_plainly(said, checked);
    LX_TRY(lx_store_chain(store, &stored, tokens, count, &chain, said));
    *length = lx_part_source_prefix(chain.parts, chain.count, chain.tokens);
    lx_chain_close(store, &chain);
    return LYNX_OK;
}

/* ---- putting away -------------------------------------------------------------------- */

typedef struct name_list {
    const lynx_store *store;
    lx_segment_name *names;
    size_t count, room;
} name_list;

static bool keep_name(void *user, const lx_segment_name *name)
{
    name_list *list = user;
    if (list->count < list->room)
        list->names[list->count++] = *name;
    return true;
}

/* Segments before this one were of use now: the first of them last. */
static lynx_status use_before(const lynx_store *s, const lynx_segment *segment)
{
    const lx_header *h = lx_segment_header(segment);
    const uint32_t columns = h->first_token / h->model.shape.page_tokens;
    name_list list = {.store = s, .room = columns};
    char object[LX_OBJECT_NAME_MAX];
    if (columns == 0 || !s->place->ops->use)
        return LYNX_OK;
    list.names = lx_alloc(s->memory, columns, sizeof(*list.names));
    LX_REQUIRE(list.names, LYNX_ERR_MEMORY);
    const lynx_status status = lx_segment_names(&h->model, s->key, lx_segment_tokens(segment),
                                                h->first_token, keep_name, &list);
    for (size_t i = list.count; status == LYNX_OK && i-- > 0;) {
        lx_segment_name_put(&list.names[i], object);
        s->place->ops->use(s->place, object);
    }
    lx_free(s->memory, list.names, columns, sizeof(*list.names));
    return status;
}

lynx_status lynx_store_put(lynx_store *store, lynx_segment *segment, char *text,
                           size_t text_size)
{
    const lx_text said = {text, text_size};
    const lx_header *h = lx_segment_header(segment);
    lynx_place *place = store->place;
    lx_segment_name name = {.first_token = h->first_token, .end_token = h->end_token};
    const lynx_bytes *parts = NULL;
    size_t count = 0;
    lynx_store_removed removed = {0};
    char object[LX_OBJECT_NAME_MAX];
    if (!place->ops->write)
        return lx_tell(said, LYNX_ERR_DENIED, "'%s' cannot be written",
                       place->ops->description(place));
    memcpy(name.parent, h->parent, LX_NAME_BYTES);
    memcpy(name.name, h->name, LX_NAME_BYTES);
    lynx_status status = lynx_segment_finish(segment, &parts, &count);
    if (status != LYNX_OK)
        return lx_tell_plainly(said, status);
    lx_segment_name_put(&name, object);
    status = place->ops->write(place, object, parts, count, text, text_size);
    if (status == LYNX_OK)
        status = use_before(store, segment);
    if (status == LYNX_OK && store->limit_bytes > 0)
        status = lx_store_evict(store, store->limit_bytes, &removed, said);
    return lx_tell_plainly(said, status);
}

lynx_store_counters lynx_store_counters_of(const lynx_store *s)
{
    return (lynx_store_counters){atomic_load(&s->evicted_segments),
                                 atomic_load(&s->evicted_bytes), atomic_load(&s->bytes)};
}
