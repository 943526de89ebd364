/* SPDX-License-Identifier: MIT */
#include "support/session_pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "session/sender.h"
#include "support/pair_nodes.h"

enum { FRAME_BYTES = 40, TYPE_AT = 5, PAYLOAD_AT = 16, TYPE_PAGE = 9, OFFSET_AT = 52 };

/* ---- pipes --------------------------------------------------------------------------- */

static void pipe_push(test_pipe *pipe, const uint8_t *data, size_t size)
{
    if (!pipe->keeps && pipe->first == pipe->end)
        pipe->first = pipe->end = 0;
    if (pipe->end + size > pipe->capacity) {
        pipe->capacity = 2 * (pipe->end + size);
        pipe->data = realloc(pipe->data, pipe->capacity);
        test_require(pipe->data);
    }
    memcpy(pipe->data + pipe->end, data, size);
    if (pipe->flip_mask && pipe->flip_byte >= pipe->total &&
        pipe->flip_byte < pipe->total + size)
        pipe->data[pipe->end + (pipe->flip_byte - pipe->total)] ^= pipe->flip_mask;
    pipe->end += size;
    pipe->total += size;
}

static void pipe_reset(test_pipe *pipe)
{
    pipe->first = pipe->end = 0;
    pipe->total = 0;
    pipe->part_count = 0;
}

static size_t piece(test_pair *pair, size_t most)
{
    const size_t size = 1 + (size_t)test_rng_below(&pair->rng, pair->piece_top);
    return size < most ? size : most;
}

/* ---- what write() gave --------------------------------------------------------------- */

/* Of the first bytes and the last one of each part. */
static uint64_t digest_parts(const test_pipe *pipe)
{
    uint64_t digest = pipe->part_count;
    for (uint32_t i = 0; i < pipe->part_count; i++) {
        const size_t size = pipe->parts[i].size;
        const size_t first = size < 256 ? size : 256;
        digest = digest * 31 + size;
        digest = digest * 31 + lx_digest64(pipe->parts[i].data, first);
        digest = digest * 31 + pipe->parts[i].data[size - 1];
    }
    return digest;
}

static size_t bytes_of_parts(const test_pipe *pipe)
{
    size_t size = 0;
    for (uint32_t i = 0; i < pipe->part_count; i++)
        size += pipe->parts[i].size;
    return size;
}

/* Keep them until the link takes them, whatever is called meanwhile. */
static void hold_parts(test_pipe *pipe, const lynx_bytes parts[LYNX_SESSION_PARTS_MAX],
                       uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        test_require(parts[i].size);
        pipe->parts[i] = parts[i];
    }
    pipe->part_count = count;
    pipe->part_digest = digest_parts(pipe);
}

/* The link takes some bytes: they are as they were. */
static size_t take_parts(test_pair *pair, test_pipe *pipe, bool is_lost)
{
    const size_t size = bytes_of_parts(pipe);
    const size_t moved = piece(pair, size);
    size_t left = moved;
    test_require(digest_parts(pipe) == pipe->part_digest);
    for (uint32_t i = 0; i < pipe->part_count && left; i++) {
        const size_t of_part = left < pipe->parts[i].size ? left : pipe->parts[i].size;
        if (is_lost)
            pipe->total += of_part;
        else
            pipe_push(pipe, pipe->parts[i].data, of_part);
        left -= of_part;
    }
    pipe->part_count = 0;
    return moved;
}

/* ---- frames that leave the sender ---------------------------------------------------- */

/* By the records: no plane of a lower class waits at this peer's session. */
static void check_by_records(test_pair *pair, const test_connection *c, uint32_t plane)
{
    for (uint32_t i = 0; i < pair->plane_count; i++) {
        const test_plane *p = &pair->planes[i];
        const bool waits =
            p->is_added && !p->releases &&
            (!p->is_begun ||
             (!p->is_sent && p->connection == (uint32_t)(c - pair->connections)));
        if (waits && p->plane < plane && pair->requests[p->request].peer == c->peer)
            pair->order_errors++;
    }
}

static bool has_credit(const lx_sender_lane *lane, uint32_t class_index)
{
    return lane->begun[class_index > 0] < lane->limits[class_index > 0];
}

/* Could any lane of another session send an anchor now? */
static bool is_anchor_elsewhere(const test_pair *pair, const lx_session *session)
{
    const lynx_sender *s = pair->sender;
    for (uint32_t i = 0; i < s->options.connections_max; i++) {
        const lx_sender_lane *lane = &s->lanes[i];
        if (!lane->lane.is_used || !lane->session || lane->session == session ||
            lane->lane.phase != LX_PHASE_OPEN || lane->session->lanes[lane->number] != i ||
            (lane->offered_at && pair->now - lane->offered_at >= s->options.stall_ns))
            continue;
        if (lane->current[0] || (lane->session->queue.heads[0] && has_credit(lane, 0)))
            return true;
    }
    return false;
}

/* By the sender's own books, which also know of planes that go once more, and of credit. */
static void check_by_books(test_pair *pair, const test_connection *c)
{
    const lx_sender_lane *lane = &pair->sender->lanes[c->sender_lane];
    const lx_plane_entry *entry = lane->leaving;
    if (!entry || !entry->request || entry == lane->urgent)
        return;
    const uint32_t class_index = entry->queued.class_index;
    for (uint32_t i = 0; i < class_index; i++)
        pair->order_errors +=
            lane->current[i] || (lane->session->queue.heads[i] && has_credit(lane, i));
    pair->order_errors += class_index > 0 && is_anchor_elsewhere(pair, lane->session);
}

static void page_begins(test_pair *pair, test_connection *c)
{
    c->pages++;
    c->frame_plane = test_plane_of_frame(pair, c->peer, c->head);
    check_by_books(pair, c);
    if (c->frame_plane == TEST_PLANES_TOP)
        return;
    test_plane *p = &pair->planes[c->frame_plane];
    if (pair->is_plain)
        check_by_records(pair, c, p->plane);
    p->is_begun = true;
    p->connection = (uint32_t)(c - pair->connections);
    const size_t end = c->head[OFFSET_AT] | (size_t)c->head[OFFSET_AT + 1] << 8 |
                       (size_t)c->head[OFFSET_AT + 2] << 16;
    if (end + c->frame_bytes - TEST_HEAD_BYTES != p->size)
        c->frame_plane = TEST_PLANES_TOP; /* not its last chunk */
}

static void frame_begins(test_pair *pair, test_connection *c)
{
    const lynx_bytes first = c->down.parts[0];
    test_require(first.size >= FRAME_BYTES);
    memcpy(c->head, first.data, first.size < TEST_HEAD_BYTES ? first.size : TEST_HEAD_BYTES);
    c->frame_bytes =
        FRAME_BYTES + (c->head[PAYLOAD_AT] | (uint64_t)c->head[PAYLOAD_AT + 1] << 8 |
                       (uint64_t)c->head[PAYLOAD_AT + 2] << 16);
    c->frame_plane = TEST_PLANES_TOP;
    if (c->head[TYPE_AT] == TYPE_PAGE)
        page_begins(pair, c);
}

/* Change one byte of a plane that has just entered the pipe, at most twice for each plane. */
static void flip_plane(test_pair *pair, test_connection *c, size_t moved)
{
    const uint32_t index = c->head[TYPE_AT] == TYPE_PAGE
                               ? test_plane_of_frame(pair, c->peer, c->head)
                               : TEST_PLANES_TOP;
    if (!pair->flip_chance || index == TEST_PLANES_TOP || pair->planes[index].flips == 2 ||
        c->frame_at + moved <= TEST_HEAD_BYTES || test_rng_below(&pair->rng, pair->flip_chance))
        return;
    pair->planes[index].flips++;
    c->down.data[c->down.end - 1] ^= 0x40;
}

static void frame_moves(test_pair *pair, test_connection *c, size_t moved)
{
    if (c->at_receiver)
        flip_plane(pair, c, moved);
    c->frame_at += moved;
    if (c->frame_at < c->frame_bytes)
        return;
    if (c->frame_plane < TEST_PLANES_TOP)
        pair->planes[c->frame_plane].is_sent = true;
    c->frame_at = 0;
}

/* ---- connections --------------------------------------------------------------------- */

test_connection *test_pair_connection(test_pair *pair, uint32_t peer, uint32_t lane)
{
    for (uint32_t i = 0; i < TEST_CONNECTIONS; i++) {
        test_connection *c = &pair->connections[i];
        if (c->at_receiver && c->peer == peer && c->lane == lane)
            return c;
    }
    return NULL;
}

static void begin_connection(test_connection *c, uint32_t peer, uint32_t lane)
{
    pipe_reset(&c->down);
    pipe_reset(&c->up);
    c->at_sender = c->at_receiver = true;
    c->sender_ready = c->receiver_ready = true;
    c->sender_closed = c->receiver_closed = false;
    c->peer = peer;
    c->lane = lane;
    c->sender_learns_at = 0;
    c->frame_at = 0;
    c->pages = 0;
    c->room = 0;
}

lynx_status test_pair_connect(test_pair *pair, uint32_t peer, uint32_t lane)
{
    const test_peer *p = &pair->peers[peer];
    uint32_t i = 0;
    while (i < TEST_CONNECTIONS &&
           (pair->connections[i].at_sender || pair->connections[i].at_receiver))
        i++;
    test_require(i < TEST_CONNECTIONS);
    test_connection *c = &pair->connections[i];
    uint32_t sender_lane;
    lynx_status status =
        lynx_sender_connect(pair->sender, pair->now, p->name[0] ? p->name : NULL, &sender_lane);
    if (status != LYNX_OK)
        return status;
    status = lynx_receiver_connect(p->receiver, pair->now, lane);
    if (status != LYNX_OK) {
        lynx_sender_disconnect(pair->sender, pair->now, sender_lane, LYNX_ERR_CLOSED, "gone");
        return status;
    }
    begin_connection(c, peer, lane);
    c->sender_lane = sender_lane;
    return LYNX_OK;
}

static void lose_sender(test_pair *pair, test_connection *c)
{
    c->at_sender = false;
    c->down.part_count = 0;
    lynx_sender_disconnect(pair->sender, pair->now, c->sender_lane, LYNX_ERR_CLOSED, "cut");
    test_pair_events(pair);
    pair->tick_at = pair->now;
}

static void lose_receiver(test_pair *pair, test_connection *c)
{
    c->at_receiver = false;
    c->up.part_count = 0;
    lynx_receiver_disconnect(pair->peers[c->peer].receiver, pair->now, c->lane, LYNX_ERR_CLOSED,
                             "cut");
    test_pair_events(pair);
}

void test_pair_cut(test_pair *pair, uint32_t peer, uint32_t lane)
{
    test_connection *c = test_pair_connection(pair, peer, lane);
    if (!c)
        return;
    pair->is_plain = false;
    lose_receiver(pair, c);
    if (c->at_sender)
        lose_sender(pair, c);
}

void test_pair_cut_sender(test_pair *pair, uint32_t peer, uint32_t lane)
{
    test_connection *c = test_pair_connection(pair, peer, lane);
    pair->is_plain = false;
    if (c && c->at_sender)
        lose_sender(pair, c);
}

void test_pair_cut_receiver(test_pair *pair, uint32_t peer, uint32_t lane, uint64_t lag_ns)
{
    test_connection *c = test_pair_connection(pair, peer, lane);
    if (!c)
        return;
    pair->is_plain = false;
    c->sender_learns_at = pair->now + lag_ns;
    lose_receiver(pair, c);
}

/* ---- life ---------------------------------------------------------------------------- */

static void init_model(test_pair *pair)
{
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
}

void test_pair_init(test_pair *pair, uint64_t seed)
{
    memset(pair, 0, sizeof(*pair));
    pair->rng = test_rng_of(seed);
    pair->piece_top = 4096;
    pair->now = 1000000000;
    pair->turn_ns = 1000;
    pair->peer_count = 1;
    pair->is_plain = true;
    init_model(pair);
    test_allocator_init(&pair->memory);
    lynx_session_options_init(&pair->sender_options);
    pair->sender_options.model = &pair->model;
    pair->sender_options.memory = &pair->memory.allocator;
    pair->sender_options.connections_max = 2 * TEST_CONNECTIONS;
    pair->sender_options.sessions_max = 4; /* few: they are made for each seed */
    for (uint32_t i = 0; i < TEST_PEERS; i++) {
        test_peer *peer = &pair->peers[i];
        test_allocator_init(&peer->memory);
        peer->options = pair->sender_options;
        peer->options.memory = &peer->memory.allocator;
        memset(peer->options.session_id, (int)i + 1, LYNX_ID_BYTES);
    }
}

lynx_status test_pair_create(test_pair *pair)
{
    lynx_status status = lynx_sender_create(&pair->sender, &pair->sender_options, pair->now);
    for (uint32_t i = 0; i < pair->peer_count && status == LYNX_OK; i++) {
        test_peer *peer = &pair->peers[i];
        status = lynx_receiver_create(&peer->receiver, &peer->options, pair->now);
        for (uint32_t lane = 0; lane < peer->options.lanes && status == LYNX_OK; lane++)
            status = test_pair_connect(pair, i, lane);
    }
    return status;
}

void test_pair_destroy(test_pair *pair)
{
    lynx_sender_destroy(pair->sender);
    pair->sender = NULL;
    for (uint32_t i = 0; i < TEST_PEERS; i++) {
        lynx_receiver_destroy(pair->peers[i].receiver);
        pair->peers[i].receiver = NULL;
    }
    for (uint32_t i = 0; i < pair->plane_count; i++) {
        free(pair->planes[i].data);
        free(pair->planes[i].copy);
    }
    for (uint32_t i = 0; i < TEST_CONNECTIONS; i++) {
        free(pair->connections[i].down.data);
        free(pair->connections[i].up.data);
        pair->connections[i].down.data = pair->connections[i].up.data = NULL;
    }
}

lynx_status test_pair_restart_sender(test_pair *pair)
{
    for (uint32_t i = 0; i < TEST_CONNECTIONS; i++) {
        pair->connections[i].at_sender = false; /* the receivers read what is in flight */
        pair->connections[i].down.part_count = 0;
    }
    lynx_sender_destroy(pair->sender);
    pair->sender = NULL;
    pair->is_plain = false;
    for (uint32_t i = 0; i < pair->request_count; i++)
        pair->requests[i].key = 0;
    return lynx_sender_create(&pair->sender, &pair->sender_options, pair->now);
}

/* ---- events -------------------------------------------------------------------------- */

static void sender_closes(test_pair *pair, const lynx_event *event)
{
    pair->sender_closes++;
    pair->sender_status = event->status;
    snprintf(pair->sender_text, sizeof(pair->sender_text), "%s", event->text);
    for (uint32_t i = 0; i < TEST_CONNECTIONS; i++) {
        test_connection *c = &pair->connections[i];
        if (!c->at_sender || c->sender_lane != event->lane)
            continue;
        test_require(!c->sender_closed);
        c->sender_closed = c->sender_ready = true;
    }
}

static void receiver_closes(test_pair *pair, uint32_t peer, const lynx_event *event)
{
    test_connection *c = test_pair_connection(pair, peer, event->lane);
    pair->receiver_closes++;
    pair->receiver_status = event->status;
    snprintf(pair->receiver_text, sizeof(pair->receiver_text), "%s", event->text);
    if (!c)
        return;
    test_require(!c->receiver_closed);
    c->receiver_closed = c->receiver_ready = true;
}

static void receiver_events(test_pair *pair, uint32_t peer)
{
    lynx_event event;
    lynx_receiver *receiver = pair->peers[peer].receiver;
    while (receiver && lynx_receiver_next_event(receiver, 0, &event)) {
        pair->opened += event.type == LYNX_EVENT_OPENED;
        if (event.type == LYNX_EVENT_CLOSED)
            receiver_closes(pair, peer, &event);
    }
    for (uint32_t i = 0; receiver && i < pair->request_count; i++) {
        test_request *r = &pair->requests[i];
        if (r->peer != peer || r->is_ended)
            continue;
        while (lynx_receiver_next_event(receiver, r->id, &event))
            test_decode_event(pair, r, &event);
        test_decode_work(pair, r);
    }
}

void test_pair_events(test_pair *pair)
{
    lynx_event event;
    while (pair->sender && lynx_sender_next_event(pair->sender, &event)) {
        if (event.type == LYNX_EVENT_OPENED)
            pair->opened++;
        else if (event.type == LYNX_EVENT_CLOSED)
            sender_closes(pair, &event);
        else
            test_prefill_event(pair, &event);
    }
    for (uint32_t i = 0; i < pair->peer_count; i++)
        receiver_events(pair, i);
}

/* ---- bytes --------------------------------------------------------------------------- */

static void take_wakes(test_pair *pair)
{
    uint32_t lane;
    while (lynx_sender_next_wake(pair->sender, &lane))
        for (uint32_t i = 0; i < TEST_CONNECTIONS; i++)
            if (pair->connections[i].at_sender && pair->connections[i].sender_lane == lane)
                pair->connections[i].sender_ready = true;
    for (uint32_t peer = 0; peer < pair->peer_count; peer++)
        while (lynx_receiver_next_wake(pair->peers[peer].receiver, &lane)) {
            test_connection *c = test_pair_connection(pair, peer, lane);
            if (c)
                c->receiver_ready = true;
        }
}

static bool sender_leaves(test_pair *pair, test_connection *c)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 0;
    /* An error closed the lane: its reason is among the parts. */
    (void)!lynx_sender_write(pair->sender, c->sender_lane, pair->now, parts, &count);
    c->sender_ready = false;
    hold_parts(&c->down, parts, count);
    if (count && c->frame_at == 0)
        frame_begins(pair, c);
    if (!count && c->sender_closed)
        lose_sender(pair, c);
    return count > 0;
}

static bool move_sender(test_pair *pair, test_connection *c)
{
    if (c->down.part_count && c->is_stalled)
        return false;
    if (c->down.part_count) {
        const size_t moved = take_parts(pair, &c->down, !c->at_receiver);
        frame_moves(pair, c, moved);
        lynx_sender_wrote(pair->sender, c->sender_lane, pair->now, moved);
        c->sender_ready = true;
        return true;
    }
    if (c->sender_ready || pair->now >= lynx_sender_deadline(pair->sender, c->sender_lane))
        return sender_leaves(pair, c);
    return false;
}

static bool receiver_leaves(test_pair *pair, test_connection *c)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 0;
    (void)!lynx_receiver_write(pair->peers[c->peer].receiver, c->lane, pair->now, parts,
                               &count);
    c->receiver_ready = false;
    hold_parts(&c->up, parts, count);
    if (!count && c->receiver_closed)
        lose_receiver(pair, c);
    return count > 0;
}

static bool move_receiver(test_pair *pair, test_connection *c)
{
    lynx_receiver *receiver = pair->peers[c->peer].receiver;
    if (c->up.part_count) {
        const size_t moved = take_parts(pair, &c->up, !c->at_sender);
        lynx_receiver_wrote(receiver, c->lane, pair->now, moved);
        c->receiver_ready = true;
        return true;
    }
    if (c->receiver_ready || pair->now >= lynx_receiver_deadline(receiver, c->lane))
        return receiver_leaves(pair, c);
    return false;
}

/* Bytes reach the receiver; after the last one it learns that the sender's end is gone. */
static bool arrive_down(test_pair *pair, test_connection *c)
{
    test_pipe *pipe = &c->down;
    lynx_receiver *receiver = pair->peers[c->peer].receiver;
    const uint8_t *bytes = pipe->data + pipe->first;
    size_t taken = piece(pair, pipe->end - pipe->first);
    if (pipe->first == pipe->end) {
        if (!c->at_sender)
            lose_receiver(pair, c);
        return !c->at_sender;
    }
    if (c->room > 0) { /* asked for after the last read: much may have happened since */
        taken = taken < c->room ? taken : c->room;
        memcpy(c->place, bytes, taken);
        bytes = c->place;
    }
    pipe->first += taken;
    c->receiver_ready = true;
    /* Errors are events as well. */
    (void)!lynx_receiver_read(receiver, c->lane, pair->now, bytes, taken);
    lynx_receiver_room(receiver, c->lane, &c->place, &c->room);
    if (pair->now % 4 == 0) /* not everybody takes it */
        c->room = 0;
    return true;
}

static bool arrive_up(test_pair *pair, test_connection *c)
{
    test_pipe *pipe = &c->up;
    const size_t taken = piece(pair, pipe->end - pipe->first);
    if (!c->at_receiver && pair->now < c->sender_learns_at)
        return false;
    if (pipe->first == pipe->end) {
        if (!c->at_receiver)
            lose_sender(pair, c);
        return !c->at_receiver;
    }
    pipe->first += taken;
    c->sender_ready = true;
    (void)!lynx_sender_read(pair->sender, c->sender_lane, pair->now,
                            pipe->data + pipe->first - taken, taken);
    return true;
}

static bool is_due(const test_pair *pair, const test_connection *c)
{
    const bool sends = c->at_sender && !c->is_stalled;
    if (sends && pair->now >= lynx_sender_deadline(pair->sender, c->sender_lane))
        return true;
    return c->at_receiver &&
           pair->now >= lynx_receiver_deadline(pair->peers[c->peer].receiver, c->lane);
}

/* Something is in flight or to be asked for, or one end is to learn that the other has gone. */
static bool has_work(const test_pair *pair, const test_connection *c)
{
    const bool sends = c->at_sender && !c->is_stalled;
    if (c->at_sender != c->at_receiver && pair->now >= c->sender_learns_at)
        return true;
    if (c->at_receiver &&
        (c->down.first < c->down.end || c->up.part_count || c->receiver_ready))
        return true;
    return (c->at_sender && c->up.first < c->up.end && pair->now >= c->sender_learns_at) ||
           (sends && (c->down.part_count || c->sender_ready));
}

static bool move_connection(test_pair *pair, test_connection *c)
{
    bool moved = false;
    if (!c->at_sender && !c->at_receiver)
        return false;
    if (c->slowness && test_rng_below(&pair->rng, c->slowness))
        return has_work(pair, c) || is_due(pair, c);
    if (c->at_sender)
        moved |= move_sender(pair, c);
    if (c->at_receiver && test_rng_below(&pair->rng, 3))
        moved |= arrive_down(pair, c);
    else
        moved |= c->at_receiver && (c->down.first < c->down.end || !c->at_sender);
    if (c->at_receiver)
        moved |= move_receiver(pair, c);
    if (c->at_sender && test_rng_below(&pair->rng, 3))
        moved |= arrive_up(pair, c);
    else
        moved |= c->at_sender && (c->up.first < c->up.end || !c->at_receiver) &&
                 pair->now >= c->sender_learns_at;
    test_pair_events(pair);
    take_wakes(pair);
    return moved;
}

/* ---- turns --------------------------------------------------------------------------- */

static bool reconnect(test_pair *pair)
{
    bool moved = false;
    for (uint32_t peer = 0; peer < pair->peer_count; peer++)
        for (uint32_t lane = 0; lane < pair->peers[peer].options.lanes; lane++)
            if (!test_pair_connection(pair, peer, lane)) {
                moved = true;
                if (test_rng_below(&pair->rng, 8) == 0)
                    (void)!test_pair_connect(pair, peer, lane); /* memory: the next time */
            }
    return moved;
}

static bool turn(test_pair *pair)
{
    bool moved = false;
    if (pair->now >= pair->tick_at)
        lynx_sender_tick(pair->sender, pair->now, &pair->tick_at);
    take_wakes(pair);
    for (uint32_t i = 0; i < TEST_CONNECTIONS; i++)
        moved |= move_connection(pair, &pair->connections[i]);
    if (pair->reconnects)
        moved |= reconnect(pair);
    if (test_rng_below(&pair->rng, 2) || !moved)
        moved |= test_pair_work(pair);
    test_pair_events(pair);
    take_wakes(pair);
    for (uint32_t i = 0; i < TEST_CONNECTIONS; i++)
        moved |= has_work(pair, &pair->connections[i]);
    return moved || pair->tick_at <= pair->now;
}

bool test_pair_turn(test_pair *pair)
{
    const bool moved = turn(pair);
    pair->now += moved ? pair->turn_ns : 0;
    return moved;
}

void test_pair_run(test_pair *pair, uint32_t turns)
{
    uint32_t idle = 0;
    for (uint32_t i = 0; i < turns && idle < 3; i++) {
        const bool moved = test_pair_turn(pair);
        /* Quiet: let the acknowledgements' delay pass, but no ping and no time-out. */
        pair->now += moved ? 0 : 3000000;
        idle = moved ? 0 : idle + 1;
    }
}

static lynx_time_ns earlier(lynx_time_ns a, lynx_time_ns b)
{
    return a < b ? a : b;
}

static lynx_time_ns next_deadline(const test_pair *pair)
{
    lynx_time_ns next = pair->tick_at;
    for (uint32_t i = 0; i < TEST_CONNECTIONS; i++) {
        const test_connection *c = &pair->connections[i];
        if (c->at_sender && !c->down.part_count)
            next = earlier(next, lynx_sender_deadline(pair->sender, c->sender_lane));
        if (c->at_sender && !c->at_receiver)
            next = earlier(next, c->sender_learns_at);
        if (c->at_receiver && !c->up.part_count)
            next =
                earlier(next, lynx_receiver_deadline(pair->peers[c->peer].receiver, c->lane));
    }
    return next;
}

/* Nothing moved: the next thing to happen is a deadline. */
static void jump(test_pair *pair, lynx_time_ns most)
{
    const lynx_time_ns next = next_deadline(pair);
    pair->spins += next <= pair->now;
    pair->now = next <= pair->now ? pair->now + 1 : earlier(next, most);
}

static bool is_complete(const test_pair *pair)
{
    for (uint32_t i = 0; i < pair->request_count; i++) {
        const test_request *r = &pair->requests[i];
        const bool is_over = r->is_ended || (!pair->ends && (r->is_finished || r->is_refused));
        if (!is_over || r->key)
            return false;
    }
    return true;
}

bool test_pair_complete(test_pair *pair, uint64_t most_ns)
{
    const lynx_time_ns end = pair->now + most_ns;
    while (pair->now < end) {
        const bool moved = test_pair_turn(pair);
        if (!moved && is_complete(pair))
            return true;
        if (!moved)
            jump(pair, end);
    }
    return false;
}

void test_pair_pass(test_pair *pair, uint64_t span_ns)
{
    const lynx_time_ns end = pair->now + span_ns;
    while (pair->now < end)
        if (!test_pair_turn(pair))
            jump(pair, end);
}
