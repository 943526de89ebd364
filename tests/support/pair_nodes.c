/* SPDX-License-Identifier: MIT */
#include "support/pair_nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void test_require(bool condition)
{
    if (!condition)
        abort();
}

/* Tokens of an answer follow from the request and their place. */
static lynx_token token_of(uint32_t request, uint32_t index)
{
    return (lynx_token)(1000 * request + index);
}

lynx_request test_pair_request(uint32_t token_count)
{
    static const lynx_token tokens[4096] = {1, 2, 3, 4, 5, 6, 7};
    lynx_request request = {.answer_tokens = 1, .token_count = token_count, .tokens = tokens};
    const lynx_status status = lynx_codec_spec_named(&request.spec, "range");
    test_require(status == LYNX_OK);
    lynx_sampling_init(&request.sampling);
    return request;
}

lynx_request test_pair_held_request(uint32_t token_count, uint32_t held_tokens)
{
    lynx_request request = test_pair_request(token_count);
    request.held_tokens = held_tokens;
    const lynx_status status = lynx_codec_spec_named(&request.held_spec, "int8");
    test_require(status == LYNX_OK);
    memset(request.held_name, 0x4E, LYNX_NAME_BYTES);
    return request;
}

/* The ticket names the record, so that both ends' names of a request can be joined. */
lynx_status test_pair_ask(test_pair *pair, uint32_t peer, const lynx_request *request,
                          uint32_t *index)
{
    test_require(pair->request_count < TEST_REQUESTS);
    test_request *r = &pair->requests[pair->request_count];
    *r = (test_request){.peer = peer, .request = *request};
    memset(r->request.ticket, 0x5A, LYNX_ID_BYTES);
    r->request.ticket[0] = (uint8_t)pair->request_count;
    const lynx_status status =
        lynx_receiver_request(pair->peers[peer].receiver, &r->request, &r->id);
    if (status == LYNX_OK)
        *index = pair->request_count++;
    return status;
}

/* ---- the prefill node ---------------------------------------------------------------- */

static void on_release(void *user, uint8_t *data, size_t size)
{
    test_plane *plane = user;
    plane->releases++;
    test_require(data == plane->data && size == plane->size);
    free(data);
    plane->data = NULL;
}

static void make_plane(test_pair *pair, uint32_t request, lynx_page_id id, uint32_t plane)
{
    const lynx_request *r = &pair->requests[request].request;
    const size_t channels = pair->layers[id.layer].sides[id.side].channels;
    const size_t tokens = lynx_page_span_of(&pair->model.shape, id, r->token_count).token_count;
    const size_t rows =
        lynx_codec_spec_plane_rows(&r->spec, id.side, plane, (uint32_t)channels);
    const size_t limit = plane ? rows * ((tokens + 7) / 8) : tokens * channels * 2;
    test_plane *p = &pair->planes[pair->plane_count++];
    test_require(pair->plane_count <= TEST_PLANES_TOP);
    *p = (test_plane){.request = request, .page = id, .plane = plane};
    /* One in eight has no bytes, as those of raw pages; one in eight may have several chunks.
     */
    const uint64_t kind = test_rng_below(&pair->rng, 8);
    const bool is_large = kind == 7 && !pair->has_small_planes;
    if (kind > 0)
        p->size = (size_t)test_rng_below(&pair->rng, is_large || limit < 90 ? limit + 1 : 90);
    p->data = malloc(p->size + 1);
    p->copy = malloc(p->size + 1);
    test_require(p->data && p->copy);
    test_rng_fill(&pair->rng, p->data, p->size);
    memcpy(p->copy, p->data, p->size);
}

static void shuffle_planes(test_pair *pair, uint32_t first)
{
    for (uint32_t i = first; i + 1 < pair->plane_count; i++) {
        const uint32_t other = i + (uint32_t)test_rng_below(&pair->rng, pair->plane_count - i);
        const test_plane swap = pair->planes[i];
        pair->planes[i] = pair->planes[other];
        pair->planes[other] = swap;
    }
}

static void make_planes(test_pair *pair, uint32_t request)
{
    const lynx_shape *shape = &pair->model.shape;
    test_request *r = &pair->requests[request];
    r->first_plane = pair->plane_count;
    const bool has_pages = !(r->request.flags & LYNX_REQUEST_NO_PAGES);
    const uint32_t pages = lynx_shape_page_count(shape, r->request.token_count);
    const uint32_t first = r->left_out / shape->page_tokens;
    for (uint32_t page = first; has_pages && page < pages; page++)
        for (uint32_t layer = 0; layer < TEST_LAYERS; layer++)
            for (uint32_t side = 0; side < 2; side++) {
                const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
                if (!lynx_page_is_needed(shape, id, r->request.token_count))
                    continue;
                for (uint32_t i = 0; i < lynx_codec_spec_plane_count(&r->request.spec); i++)
                    make_plane(pair, request, id, i);
            }
    r->plane_count = pair->plane_count - r->first_plane;
    if (!pair->is_in_order)
        shuffle_planes(pair, r->first_plane);
}

/* The same planes once more, for a sender that began anew. */
static void make_planes_again(test_pair *pair, const test_request *request)
{
    for (uint32_t i = 0; i < request->plane_count; i++) {
        test_plane *p = &pair->planes[request->first_plane + i];
        if (!p->data) {
            p->data = malloc(p->size + 1);
            test_require(p->data);
            memcpy(p->data, p->copy, p->size);
        }
        p->is_added = p->is_begun = p->is_sent = false;
    }
}

static void on_request(test_pair *pair, const lynx_event *event)
{
    const uint32_t index = event->request->ticket[0];
    pair->last_request = *event;
    test_require(index < pair->request_count);
    test_request *r = &pair->requests[index];
    test_require(event->request->token_count == r->request.token_count &&
                 event->request->tokens[0] == r->request.tokens[0]);
    r->key = event->request_id;
    r->tokens_told = r->progress_told = 0;
    r->tokens_most = r->request.answer_tokens;
    if (r->request.flags & LYNX_REQUEST_CARRY_ON)
        r->tokens_most = 1 + (uint32_t)test_rng_below(&pair->rng, r->request.answer_tokens);
    r->is_finished_there = r->is_failing_there = false;
    if (pair->is_manual)
        return;
    r->left_out = pair->refuses_held ? 0 : r->request.held_tokens;
    const lynx_status status = lynx_sender_accept(pair->sender, r->key, r->left_out);
    r->is_failing_there = status == LYNX_ERR_MEMORY; /* ERR_STATE: it ended meanwhile */
    if (status != LYNX_OK)
        return;
    if (r->plane_count == 0)
        make_planes(pair, index);
    else
        make_planes_again(pair, r);
}

void test_prefill_event(test_pair *pair, const lynx_event *event)
{
    if (event->type == LYNX_EVENT_REQUEST)
        on_request(pair, event);
    pair->cancels += event->type == LYNX_EVENT_CANCEL;
    pair->delivered += event->type == LYNX_EVENT_DELIVERED;
    if (event->type != LYNX_EVENT_CANCEL && event->type != LYNX_EVENT_DELIVERED)
        return;
    for (uint32_t i = 0; i < pair->request_count; i++)
        if (pair->requests[i].key == event->request_id)
            pair->requests[i].key = 0;
}

void test_pair_refuse(test_pair *pair, test_request *request, lynx_status status,
                      const char *text)
{
    if (request->key && lynx_sender_refuse(pair->sender, request->key, status, text) == LYNX_OK)
        request->key = 0;
}

/* After no memory the request is given up, as soon as there is memory to say so. */
static void give_up(test_pair *pair, test_request *r)
{
    const lynx_status status =
        lynx_sender_refuse(pair->sender, r->key, LYNX_ERR_MEMORY, "no memory");
    if (status == LYNX_ERR_MEMORY && pair->memory.keeps_failing)
        return;
    r->is_failing_there = status == LYNX_ERR_MEMORY;
    if (status == LYNX_OK)
        r->key = 0;
}

static bool add_plane(test_pair *pair, test_request *r)
{
    for (uint32_t i = r->first_plane; i < r->first_plane + r->plane_count; i++) {
        test_plane *p = &pair->planes[i];
        if (p->is_added)
            continue;
        const lynx_status status = lynx_sender_plane(pair->sender, pair->now, r->key, p->page,
                                                     p->plane, p->data, p->size, on_release, p);
        p->is_added = status == LYNX_OK;
        p->adds += status == LYNX_OK;
        r->is_failing_there = status == LYNX_ERR_MEMORY;
        return true;
    }
    return false;
}

static void tell_more(test_pair *pair, test_request *r, uint32_t index)
{
    lynx_status status;
    if (r->progress_told < r->request.token_count) {
        r->progress_told += 1 + (r->request.token_count - r->progress_told) / 2;
        if (r->progress_told > r->request.token_count)
            r->progress_told = r->request.token_count;
        status = lynx_sender_progress(pair->sender, r->key, r->progress_told);
    } else {
        static const lynx_logprobs told = {.logprob = -0.5f,
                                           .top_count = 2,
                                           .top = {{5, -0.25f}, {6, -0.5f}}};
        status = lynx_sender_token(pair->sender, r->key, token_of(index, r->tokens_told),
                                   r->request.wants_logprobs ? &told : NULL);
        r->tokens_told += status == LYNX_OK;
    }
    r->is_failing_there = status == LYNX_ERR_MEMORY;
}

static bool work_on(test_pair *pair, uint32_t index)
{
    test_request *r = &pair->requests[index];
    const bool has_more = r->tokens_told < r->tokens_most;
    if (r->is_failing_there) {
        give_up(pair, r);
        return !r->is_failing_there;
    }
    if (has_more && test_rng_below(&pair->rng, 8) == 0)
        tell_more(pair, r, index);
    else if (!add_plane(pair, r) && has_more)
        tell_more(pair, r, index);
    else if (!has_more && !r->is_failing_there) {
        const lynx_status status = lynx_sender_finish(pair->sender, r->key);
        r->is_finished_there = status == LYNX_OK;
        r->is_failing_there = status == LYNX_ERR_MEMORY;
    }
    return true;
}

bool test_pair_work(test_pair *pair)
{
    for (uint32_t i = 0; i < pair->request_count; i++) {
        const test_request *r = &pair->requests[i];
        if (!pair->is_manual && r->key && !r->is_finished_there && work_on(pair, i))
            return true;
    }
    return false;
}

/* ---- the decode node ----------------------------------------------------------------- */

static bool is_page(lynx_page_id a, lynx_page_id b)
{
    return a.page == b.page && a.layer == b.layer && a.side == b.side;
}

static uint32_t plane_index(const test_pair *pair, uint32_t request, lynx_page_id page,
                            uint32_t plane)
{
    const test_request *r = &pair->requests[request];
    for (uint32_t i = r->first_plane; i < r->first_plane + r->plane_count; i++)
        if (is_page(pair->planes[i].page, page) && pair->planes[i].plane == plane)
            return i;
    return TEST_PLANES_TOP;
}

static uint64_t little_endian(const uint8_t *data, uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = bytes; i-- > 0;)
        value = value << 8 | data[i];
    return value;
}

uint32_t test_plane_of_frame(const test_pair *pair, uint32_t peer,
                             const uint8_t head[TEST_HEAD_BYTES])
{
    const lynx_page_id page = {(uint32_t)little_endian(head + 40, 4),
                               (uint16_t)little_endian(head + 44, 2), head[46]};
    for (uint32_t i = 0; i < pair->request_count; i++)
        if (pair->requests[i].peer == peer &&
            pair->requests[i].id == little_endian(head + 8, 8))
            return plane_index(pair, i, page, head[47]);
    return TEST_PLANES_TOP;
}

/* Planes of the page that is at hand, against what was added. */
static bool is_page_right(const test_pair *pair, uint32_t request, lynx_page_id page,
                          bool *is_complete)
{
    const test_request *r = &pair->requests[request];
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count = 0;
    *is_complete = false;
    if (lynx_receiver_planes(pair->peers[r->peer].receiver, r->id, page, planes, &count) !=
        LYNX_OK)
        return true; /* plane 0 is not here yet, or released */
    for (uint32_t plane = 0; plane < count; plane++) {
        const uint32_t index = plane_index(pair, request, page, plane);
        if (index == TEST_PLANES_TOP)
            return false;
        const test_plane *p = &pair->planes[index];
        if (p->size != planes[plane].size ||
            (p->size && memcmp(p->copy, planes[plane].data, p->size) != 0))
            return false;
    }
    *is_complete = count == lynx_codec_spec_plane_count(&r->request.spec);
    return true;
}

static void on_plane(test_pair *pair, test_request *r, const lynx_event *event)
{
    const uint32_t request = (uint32_t)(r - pair->requests);
    const uint32_t index = plane_index(pair, request, event->page, event->plane);
    const lynx_page_map *map = lynx_receiver_map(pair->peers[r->peer].receiver, r->id);
    bool is_complete;
    pair->plane_events++;
    r->planes_here++;
    if (index < TEST_PLANES_TOP)
        pair->planes[index].events++;
    const bool is_right = index < TEST_PLANES_TOP && pair->planes[index].events == 1 &&
                          lynx_page_map_has(map, event->page, event->plane) &&
                          is_page_right(pair, request, event->page, &is_complete);
    pair->content_errors += !is_right;
}

static void on_over(test_pair *pair, test_request *r, const lynx_event *event)
{
    const bool has_all =
        r->planes_here == r->plane_count &&
        r->tokens_here == (r->has_yielded ? r->tokens_most : r->request.answer_tokens);
    pair->content_errors += r->is_finished || r->is_refused;
    if (event->type == LYNX_EVENT_FINISH) {
        pair->finishes++;
        r->is_finished = true;
        pair->content_errors += !has_all;
        return;
    }
    pair->refuses++;
    r->is_refused = true;
    r->status = event->status;
    pair->content_errors += !lynx_failed(event->status) || event->text[0] == '\0';
    pair->receiver_status = event->status;
    snprintf(pair->receiver_text, sizeof(pair->receiver_text), "%s", event->text);
}

/* Whole pages in front are in the map, though nothing of them came. */
static bool is_left_out(const test_pair *pair, const test_request *r)
{
    const lynx_page_map *map = lynx_receiver_map(pair->peers[r->peer].receiver, r->id);
    for (uint32_t page = 0; page < r->left_out / pair->model.shape.page_tokens; page++)
        for (uint32_t layer = 0; layer < TEST_LAYERS; layer++)
            for (uint32_t plane = 0; plane < 2; plane++) {
                const lynx_page_id id = {page, (uint16_t)layer, LYNX_SIDE_VALUES};
                if (lynx_page_is_needed(&pair->model.shape, id, r->request.token_count) &&
                    !lynx_page_map_has(map, id, plane))
                    return false;
            }
    return true;
}

void test_decode_event(test_pair *pair, test_request *r, const lynx_event *event)
{
    const uint32_t request = (uint32_t)(r - pair->requests);
    switch ((int)event->type) {
    case LYNX_EVENT_ACCEPT:
        pair->accepts++;
        pair->content_errors += r->is_accepted || (!pair->is_manual && !is_left_out(pair, r)) ||
                                (!pair->is_manual && event->count != r->left_out);
        r->is_accepted = true;
        break;
    case LYNX_EVENT_PROGRESS:
        pair->content_errors += event->count < r->progress_here || !r->is_accepted;
        r->progress_here = event->count;
        break;
    case LYNX_EVENT_YIELD:
        pair->content_errors += r->has_yielded || event->count != r->tokens_here ||
                                (!pair->is_manual && event->count != r->tokens_most) ||
                                !(r->request.flags & LYNX_REQUEST_CARRY_ON);
        r->has_yielded = true;
        pair->yields++;
        break;
    case LYNX_EVENT_TOKEN:
        pair->has_logprobs = event->logprobs != NULL;
        if (event->logprobs)
            pair->logprobs = *event->logprobs;
        pair->content_errors +=
            event->count != r->tokens_here ||
            (!pair->is_manual && event->token != token_of(request, r->tokens_here));
        r->tokens_here++;
        break;
    case LYNX_EVENT_READY:
        pair->content_errors += r->is_ready;
        r->is_ready = true;
        break;
    case LYNX_EVENT_PLANE:
        on_plane(pair, r, event);
        break;
    default:
        on_over(pair, r, event);
    }
}

/* Release one page that is complete. */
static void release_page(test_pair *pair, test_request *r)
{
    const uint32_t request = (uint32_t)(r - pair->requests);
    lynx_receiver *receiver = pair->peers[r->peer].receiver;
    for (uint32_t i = r->first_plane; i < r->first_plane + r->plane_count; i++) {
        bool is_complete;
        pair->content_errors +=
            !is_page_right(pair, request, pair->planes[i].page, &is_complete);
        if (!is_complete)
            continue;
        lynx_receiver_release_page(receiver, r->id, pair->planes[i].page);
        return;
    }
}

void test_decode_work(test_pair *pair, test_request *r)
{
    lynx_receiver *receiver = pair->peers[r->peer].receiver;
    const bool is_over = r->is_finished || r->is_refused;
    const bool holds = (r->request.flags & LYNX_REQUEST_HOLD) && !r->is_started;
    if (pair->releases_pages && !is_over &&
        test_rng_below(&pair->rng, pair->slow_reader ? pair->slow_reader : 1) == 0)
        release_page(pair, r);
    if (pair->starts && holds && !is_over &&
        (r->is_ready || test_rng_below(&pair->rng, 200) == 0))
        r->is_started = lynx_receiver_start(receiver, r->id) == LYNX_OK;
    if (pair->ends && is_over && test_rng_below(&pair->rng, 4) == 0)
        r->is_ended = lynx_receiver_end(receiver, r->id) == LYNX_OK;
}

uint32_t test_pair_wrong_planes(const test_pair *pair)
{
    uint32_t wrong = 0;
    bool is_complete;
    for (uint32_t i = 0; i < pair->plane_count; i++) {
        const test_plane *p = &pair->planes[i];
        const test_request *r = &pair->requests[p->request];
        const lynx_page_map *map = lynx_receiver_map(pair->peers[r->peer].receiver, r->id);
        wrong += map && lynx_page_map_has(map, p->page, p->plane) != (p->events == 1);
        wrong += map && !is_page_right(pair, p->request, p->page, &is_complete);
    }
    return wrong;
}
