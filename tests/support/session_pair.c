/* SPDX-License-Identifier: MIT */
#include "support/session_pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAME_BYTES = 40, TYPE_AT = 5, PAYLOAD_AT = 16, TYPE_PAGE = 9, REQUEST_AT = 8 };

/* As assert, but in release builds as well. */
static void require(bool condition)
{
    if (!condition)
        abort();
}

/* ---- pipes --------------------------------------------------------------------------- */

static void pipe_push(test_pipe *pipe, const uint8_t *data, size_t size)
{
    if (!pipe->keeps && pipe->first == pipe->end)
        pipe->first = pipe->end = 0;
    if (pipe->end + size > pipe->capacity) {
        pipe->capacity = 2 * (pipe->end + size);
        pipe->data = realloc(pipe->data, pipe->capacity);
        require(pipe->data);
    }
    memcpy(pipe->data + pipe->end, data, size);
    if (pipe->flip_mask && pipe->flip_byte >= pipe->total &&
        pipe->flip_byte < pipe->total + size)
        pipe->data[pipe->end + (pipe->flip_byte - pipe->total)] ^= pipe->flip_mask;
    pipe->end += size;
    pipe->total += size;
}

static size_t piece(test_pair *pair, size_t most)
{
    const size_t size = 1 + (size_t)test_rng_below(&pair->rng, pair->piece_top);
    return size < most ? size : most;
}

/* ---- life ---------------------------------------------------------------------------- */

void test_pair_init(test_pair *pair, uint64_t seed)
{
    memset(pair, 0, sizeof(*pair));
    pair->rng = test_rng_of(seed);
    pair->piece_top = 4096;
    pair->frame_plane = TEST_PLANES_TOP;
    for (uint32_t layer = 0; layer < TEST_LAYERS; layer++)
        for (uint32_t side = 0; side < 2; side++)
            pair->layers[layer].sides[side] =
                (lynx_side_shape){.channels = layer ? 8 : 512, .head_channels = 8};
    pair->layers[1].window_tokens = 40;
    pair->model = (lynx_model){
        .name = "test model",
        .architecture = "test",
        .shape = {.layer_count = TEST_LAYERS,
                  .page_tokens = 32,
                  .element = LYNX_ELEMENT_F16,
                  .layers = pair->layers},
        .vocabulary = 100,
        .context_tokens = 4096,
        .batch_tokens = 2,
    };
    test_allocator_init(&pair->memory);
    lynx_session_options_init(&pair->sender_options);
    pair->sender_options.model = &pair->model;
    pair->sender_options.memory = &pair->memory.allocator;
    pair->sender_options.chunk_bytes = 4096;
    pair->receiver_options = pair->sender_options;
}

lynx_status test_pair_create(test_pair *pair)
{
    const lynx_status status =
        lynx_sender_create(&pair->sender, &pair->sender_options, pair->now);
    if (status != LYNX_OK)
        return status;
    return lynx_receiver_create(&pair->receiver, &pair->receiver_options, pair->now);
}

void test_pair_destroy(test_pair *pair)
{
    lynx_sender_destroy(pair->sender);
    lynx_receiver_destroy(pair->receiver);
    for (uint32_t i = 0; i < pair->plane_count; i++) {
        if (!pair->planes[i].is_added)
            free(pair->planes[i].data);
        free(pair->planes[i].copy);
    }
    free(pair->down.data);
    free(pair->up.data);
    pair->sender = NULL;
    pair->receiver = NULL;
    pair->down.data = NULL;
    pair->up.data = NULL;
}

lynx_request test_pair_request(uint32_t token_count)
{
    static const lynx_token tokens[4096] = {1, 2, 3, 4, 5, 6, 7};
    lynx_request request = {.answer_tokens = 1, .token_count = token_count, .tokens = tokens};
    const lynx_status status = lynx_codec_spec_named(&request.spec, "range");
    require(status == LYNX_OK);
    lynx_sampling_init(&request.sampling);
    return request;
}

/* ---- the prefill node ---------------------------------------------------------------- */

static void on_release(void *user, uint8_t *data, size_t size)
{
    test_plane *plane = user;
    plane->releases++;
    require(data == plane->data && size == plane->size);
    free(data);
    plane->data = NULL;
}

static void make_plane(test_pair *pair, const lynx_request *request, lynx_page_id id,
                       uint32_t plane)
{
    const size_t channels = pair->layers[id.layer].sides[id.side].channels;
    const size_t tokens =
        lynx_page_span_of(&pair->model.shape, id, request->token_count).token_count;
    const size_t bits = request->spec.plane_bits[id.side][plane];
    const size_t limit = plane ? bits * channels * ((tokens + 7) / 8) : tokens * channels * 2;
    test_plane *p = &pair->planes[pair->plane_count++];
    require(pair->plane_count <= TEST_PLANES_TOP);
    *p = (test_plane){.request_id = pair->last_request.request_id, .page = id, .plane = plane};
    /* One in eight has no bytes, as those of raw pages; one in eight may have several chunks.
     */
    const uint64_t kind = test_rng_below(&pair->rng, 8);
    const bool is_large = kind == 7 && !pair->has_small_planes;
    if (kind > 0)
        p->size = (size_t)test_rng_below(&pair->rng, is_large || limit < 90 ? limit + 1 : 90);
    p->data = malloc(p->size + 1);
    p->copy = malloc(p->size + 1);
    require(p->data && p->copy);
    test_rng_fill(&pair->rng, p->data, p->size);
    memcpy(p->copy, p->data, p->size);
}

static void make_planes(test_pair *pair, const lynx_request *request)
{
    const lynx_shape *shape = &pair->model.shape;
    const uint32_t first = pair->plane_count;
    for (uint32_t page = 0; page < lynx_shape_page_count(shape, request->token_count); page++)
        for (uint32_t layer = 0; layer < TEST_LAYERS; layer++)
            for (uint32_t side = 0; side < 2; side++) {
                const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
                if (!lynx_page_is_needed(shape, id, request->token_count))
                    continue;
                for (uint32_t i = 0; i < lynx_codec_spec_plane_count(&request->spec); i++)
                    make_plane(pair, request, id, i);
            }
    for (uint32_t i = first; i + 1 < pair->plane_count; i++) {
        const uint32_t other = i + (uint32_t)test_rng_below(&pair->rng, pair->plane_count - i);
        const test_plane swap = pair->planes[i];
        pair->planes[i] = pair->planes[other];
        pair->planes[other] = swap;
    }
}

static void finish_if_complete(test_pair *pair, uint64_t request_id)
{
    for (uint32_t i = 0; i < pair->plane_count; i++)
        if (pair->planes[i].request_id == request_id && !pair->planes[i].is_added)
            return;
    /* Cancelled meanwhile, or out of memory: the events tell. */
    (void)!lynx_sender_finish(pair->sender, request_id);
}

bool test_pair_add_plane(test_pair *pair)
{
    for (uint32_t i = 0; i < pair->plane_count; i++) {
        test_plane *p = &pair->planes[i];
        if (p->is_added || p->size == SIZE_MAX)
            continue;
        const lynx_status status = lynx_sender_plane(pair->sender, p->request_id, p->page,
                                                     p->plane, p->data, p->size, on_release, p);
        if (status != LYNX_OK) {
            p->size = SIZE_MAX; /* it stays with us; not tried again */
            return true;
        }
        p->is_added = true;
        finish_if_complete(pair, p->request_id);
        return true;
    }
    return false;
}

/* ---- events -------------------------------------------------------------------------- */

static void sender_event(test_pair *pair, const lynx_event *event)
{
    switch ((int)event->type) {
    case LYNX_EVENT_HELLO:
        pair->hellos++;
        break;
    case LYNX_EVENT_REQUEST:
        pair->last_request = *event;
        if (!pair->is_manual && lynx_sender_accept(pair->sender, event->request_id) == LYNX_OK)
            make_planes(pair, event->request);
        break;
    case LYNX_EVENT_CANCEL:
        pair->cancels++;
        break;
    case LYNX_EVENT_DELIVERED:
        pair->delivered++;
        break;
    case LYNX_EVENT_CLOSED:
        require(!pair->sender_closed);
        pair->sender_closed = true;
        pair->sender_status = event->status;
        snprintf(pair->sender_text, sizeof(pair->sender_text), "%s", event->text);
        break;
    default:
        break;
    }
}

static void receiver_event(test_pair *pair, const lynx_event *event)
{
    switch ((int)event->type) {
    case LYNX_EVENT_HELLO:
        pair->hellos++;
        break;
    case LYNX_EVENT_ACCEPT:
        pair->accepts++;
        break;
    case LYNX_EVENT_REFUSE:
        pair->refuses++;
        pair->receiver_status = event->status;
        snprintf(pair->receiver_text, sizeof(pair->receiver_text), "%s", event->text);
        break;
    case LYNX_EVENT_PLANE:
        pair->plane_events++;
        break;
    case LYNX_EVENT_FINISH:
        pair->finishes++;
        break;
    case LYNX_EVENT_CLOSED:
        require(!pair->receiver_closed);
        pair->receiver_closed = true;
        pair->receiver_status = event->status;
        snprintf(pair->receiver_text, sizeof(pair->receiver_text), "%s", event->text);
        break;
    default:
        break;
    }
}

void test_pair_events(test_pair *pair)
{
    lynx_event event;
    while (lynx_sender_next_event(pair->sender, &event))
        sender_event(pair, &event);
    while (lynx_receiver_next_event(pair->receiver, &event))
        receiver_event(pair, &event);
}

/* ---- the wire ------------------------------------------------------------------------ */

static uint64_t little_endian(const uint8_t *data, uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = bytes; i-- > 0;)
        value = value << 8 | data[i];
    return value;
}

/* A PAGE frame begins: no plane of a lower class may be waiting. */
static void page_begins(test_pair *pair, const uint8_t *frame)
{
    const uint8_t *fixed = frame + FRAME_BYTES;
    const uint64_t id = little_endian(frame + REQUEST_AT, 8);
    pair->frame_plane = TEST_PLANES_TOP;
    for (uint32_t i = 0; i < pair->plane_count; i++) {
        test_plane *p = &pair->planes[i];
        if (!p->is_added || p->is_sent || p->releases)
            continue;
        if (p->plane < fixed[7])
            pair->order_errors++;
        if (p->request_id == id && p->page.page == little_endian(fixed, 4) &&
            p->page.layer == little_endian(fixed + 4, 2) && p->page.side == fixed[6] &&
            p->plane == fixed[7] &&
            little_endian(fixed + 12, 4) + pair->frame_left - FRAME_BYTES - 32 == p->size)
            pair->frame_plane = i;
    }
}

bool test_pair_move_down(test_pair *pair)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint8_t gathered[8192 + 128];
    uint32_t count = 0;
    size_t size = 0;
    /* An error closed the session: its reason is among the parts. */
    (void)!lynx_sender_write(pair->sender, pair->now, parts, &count);
    for (uint32_t i = 0; i < count; i++) {
        require(parts[i].size && size + parts[i].size <= sizeof(gathered));
        memcpy(gathered + size, parts[i].data, parts[i].size);
        size += parts[i].size;
    }
    if (size) {
        if (pair->frame_left == 0) {
            pair->frame_left = FRAME_BYTES + little_endian(gathered + PAYLOAD_AT, 4);
            pair->frame_plane = TEST_PLANES_TOP;
            if (gathered[TYPE_AT] == TYPE_PAGE)
                page_begins(pair, gathered);
        }
        const size_t moved = piece(pair, size);
        pipe_push(&pair->down, gathered, moved);
        pair->frame_left -= moved;
        if (pair->frame_left == 0 && pair->frame_plane < TEST_PLANES_TOP)
            pair->planes[pair->frame_plane].is_sent = true;
        lynx_sender_wrote(pair->sender, pair->now, moved);
    }
    const size_t waiting = pair->down.end - pair->down.first;
    if (waiting && test_rng_below(&pair->rng, 3)) {
        const size_t taken = piece(pair, waiting);
        pair->down.first += taken;
        /* Errors are events as well. */
        (void)!lynx_receiver_read(pair->receiver, pair->now,
                                  pair->down.data + pair->down.first - taken, taken);
    }
    return size || waiting;
}

bool test_pair_move_up(test_pair *pair)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 0;
    (void)!lynx_receiver_write(pair->receiver, pair->now, parts, &count);
    if (count) {
        const size_t moved = piece(pair, parts[0].size);
        pipe_push(&pair->up, parts[0].data, moved);
        lynx_receiver_wrote(pair->receiver, pair->now, moved);
    }
    const size_t waiting = pair->up.end - pair->up.first;
    if (waiting && test_rng_below(&pair->rng, 3)) {
        const size_t taken = piece(pair, waiting);
        pair->up.first += taken;
        (void)!lynx_sender_read(pair->sender, pair->now, pair->up.data + pair->up.first - taken,
                                taken);
    }
    return count || waiting;
}

void test_pair_run(test_pair *pair, uint32_t steps)
{
    uint32_t idle = 0;
    for (uint32_t i = 0; i < steps && idle < 3; i++) {
        bool moved = test_pair_move_down(pair);
        moved |= test_pair_move_up(pair);
        test_pair_events(pair);
        if (test_rng_below(&pair->rng, 2) || !moved)
            moved |= test_pair_add_plane(pair);
        /* Quiet: let the acknowledgements' delay pass, but no ping and no time-out. */
        pair->now += moved ? 1000 : 3000000;
        idle = moved ? 0 : idle + 1;
    }
}

uint32_t test_pair_wrong_planes(const test_pair *pair)
{
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < pair->plane_count; i++) {
        const test_plane *p = &pair->planes[i];
        const lynx_page_map *map = lynx_receiver_map(pair->receiver, p->request_id);
        lynx_bytes planes[LYNX_PLANES_MAX];
        uint32_t count = 0;
        if (!map || !lynx_page_map_has(map, p->page, p->plane))
            continue;
        if (lynx_receiver_planes(pair->receiver, p->request_id, p->page, planes, &count) !=
                LYNX_OK ||
            count <= p->plane)
            continue; /* plane 0 is not here yet */
        wrong += planes[p->plane].size != p->size ||
                 (p->size && memcmp(planes[p->plane].data, p->copy, p->size) != 0);
    }
    return wrong;
}
