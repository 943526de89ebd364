/* SPDX-License-Identifier: MIT */
/* pump_ends.c - a sender and a receiver as the pump calls them. */
#include "runtime/pump.h"
#include "session/news.h"

static lynx_status sender_connect(void *end, lynx_time_ns now, const char *peer, uint32_t *lane)
{
    return lynx_sender_connect(end, now, peer, lane);
}

static void sender_disconnect(void *end, lynx_time_ns now, uint32_t lane, lynx_status status,
                              const char *text)
{
    lynx_sender_disconnect(end, now, lane, status, text);
}

/* What comes to a sender is short. */
static void sender_room(void *end, uint32_t lane, uint8_t **target, size_t *room)
{
    (void)end;
    (void)lane;
    *target = NULL;
    *room = 0;
}

static lynx_status sender_read(void *end, uint32_t lane, lynx_time_ns now, const uint8_t *data,
                               size_t size)
{
    return lynx_sender_read(end, lane, now, data, size);
}

static lynx_status sender_write(void *end, uint32_t lane, lynx_time_ns now,
                                lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count)
{
    return lynx_sender_write(end, lane, now, parts, count);
}

static void sender_wrote(void *end, uint32_t lane, lynx_time_ns now, size_t size)
{
    lynx_sender_wrote(end, lane, now, size);
}

static lynx_time_ns sender_deadline(const void *end, uint32_t lane)
{
    return lynx_sender_deadline(end, lane);
}

static lynx_lane_state sender_lane_state(const void *end, uint32_t lane)
{
    return lynx_sender_lane_state(end, lane);
}

static bool sender_next_wake(void *end, uint32_t *lane)
{
    return lynx_sender_next_wake(end, lane);
}

static uint64_t sender_news(const void *end)
{
    return lx_sender_news(end);
}

static lynx_status receiver_connect(void *end, lynx_time_ns now, const char *peer,
                                    uint32_t *lane)
{
    (void)peer;
    return lynx_receiver_connect(end, now, *lane);
}

static void receiver_disconnect(void *end, lynx_time_ns now, uint32_t lane, lynx_status status,
                                const char *text)
{
    lynx_receiver_disconnect(end, now, lane, status, text);
}

static void receiver_room(void *end, uint32_t lane, uint8_t **target, size_t *room)
{
    lynx_receiver_room(end, lane, target, room);
}

static lynx_status receiver_read(void *end, uint32_t lane, lynx_time_ns now,
                                 const uint8_t *data, size_t size)
{
    return lynx_receiver_read(end, lane, now, data, size);
}

static lynx_status receiver_write(void *end, uint32_t lane, lynx_time_ns now,
                                  lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count)
{
    return lynx_receiver_write(end, lane, now, parts, count);
}

static void receiver_wrote(void *end, uint32_t lane, lynx_time_ns now, size_t size)
{
    lynx_receiver_wrote(end, lane, now, size);
}

static lynx_time_ns receiver_deadline(const void *end, uint32_t lane)
{
    return lynx_receiver_deadline(end, lane);
}

static lynx_lane_state receiver_lane_state(const void *end, uint32_t lane)
{
    return lynx_receiver_lane_state(end, lane);
}

static bool receiver_next_wake(void *end, uint32_t *lane)
{
    return lynx_receiver_next_wake(end, lane);
}

static uint64_t receiver_news(const void *end)
{
    return lx_receiver_news(end);
}

const lx_pump_ops lx_pump_sender = {sender_connect,  sender_disconnect, sender_room,
                                    sender_read,     sender_write,      sender_wrote,
                                    sender_deadline, sender_lane_state, sender_next_wake,
                                    sender_news};
const lx_pump_ops lx_pump_receiver = {receiver_connect,   receiver_disconnect,
                                      receiver_room,      receiver_read,
                                      receiver_write,     receiver_wrote,
                                      receiver_deadline,  receiver_lane_state,
                                      receiver_next_wake, receiver_news};
