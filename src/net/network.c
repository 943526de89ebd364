/* SPDX-License-Identifier: MIT */
#include "net/network.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/check.h"
#include "net/reply.h"

enum {
    IDLE_MAX = 4,
    REST_MS = 100, /* doubles with each failure */
    REST_MAX_MS = 5000,
    RETRY_AFTER_MAX_MS = 20000,
    STEP_BYTES = 64 << 10 /* so much is progress: failures are counted anew */
};

/* ---- connections --------------------------------------------------------------------- */

static void take_out(lx_client **list, lx_client *client)
{
    while (*list && *list != client)
        list = lx_client_next(*list);
    if (*list)
        *list = *lx_client_next(client);
}

static void put_in(lx_client **list, lx_client *client)
{
    *lx_client_next(client) = *list;
    *list = client;
}

static lx_client *borrow(lx_network *n)
{
    pthread_mutex_lock(&n->lock);
    lx_client *client = n->idle;
    if (client) {
        take_out(&n->idle, client);
        n->idle_count--;
        put_in(&n->busy, client);
    }
    pthread_mutex_unlock(&n->lock);
    if (client)
        return client;
    client = lx_client_create(&n->settings, &n->is_cancelled, n->memory);
    if (client) {
        pthread_mutex_lock(&n->lock);
        put_in(&n->busy, client);
        pthread_mutex_unlock(&n->lock);
    }
    return client;
}

static void give_back(lx_network *n, lx_client *client)
{
    pthread_mutex_lock(&n->lock);
    take_out(&n->busy, client);
    const bool is_kept = n->idle_count < IDLE_MAX;
    if (is_kept) {
        put_in(&n->idle, client);
        n->idle_count++;
    }
    pthread_mutex_unlock(&n->lock);
    if (!is_kept)
        lx_client_destroy(client);
}

void lx_network_wake(lx_network *network)
{
    pthread_mutex_lock(&network->lock);
    for (lx_client *c = network->busy; c; c = *lx_client_next(c))
        lx_client_wake(c);
    pthread_mutex_unlock(&network->lock);
}

lynx_status lx_network_init(lx_network *network, const lynx_allocator *memory)
{
    network->memory = memory;
    atomic_init(&network->is_cancelled, false);
    return pthread_mutex_init(&network->lock, NULL) == 0 ? LYNX_OK : LYNX_ERR_MEMORY;
}

void lx_network_fini(lx_network *network)
{
    while (network->idle) {
        lx_client *client = network->idle;
        take_out(&network->idle, client);
        lx_client_destroy(client);
    }
    pthread_mutex_destroy(&network->lock);
    explicit_bzero(&network->settings, sizeof(network->settings));
}

/* ---- answers that are no success ----------------------------------------------------- */

static bool is_of_the_moment(long status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
           status == 504;
}

static bool is_success(const lx_reply *reply)
{
    return reply->status >= 200 && reply->status < 300;
}

lynx_status lx_network_refuse(const lx_network *network, const lx_reply *reply,
                              const char *shown, const char *verb, lx_text said)
{
    char code[64] = "", words[72] = "";
    lx_reply_code(reply, code, sizeof(code));
    if (code[0])
        snprintf(words, sizeof(words), ", %s", code);
    switch (reply->status) {
    case 401:
    case 403:
        return lx_tell(said, LYNX_ERR_DENIED,
                       "'%.255s' may not be %s (%ld%s); give credentials in %s", shown, verb,
                       reply->status, words,
                       network->settings.is_s3 ? "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                                               : "a netrc file or LYNX_HTTP_TOKEN");
    case 405:
    case 501:
        return lx_tell(said, LYNX_ERR_UNSUPPORTED,
                       "'%.255s' cannot be %s: the server does not do that (%ld%s)", shown,
                       verb, reply->status, words);
    case 413:
    case 507:
        return lx_tell(said, LYNX_ERR_LIMIT,
                       "'%.255s' cannot be %s: the server has no room for it (%ld%s)", shown,
                       verb, reply->status, words);
    case 301:
    case 302:
    case 307:
    case 308:
        return lx_tell(said, LYNX_ERR_SYSTEM,
                       "'%.255s' is elsewhere (%ld%s); set AWS_REGION or AWS_ENDPOINT_URL to "
                       "where the bucket is",
                       shown, reply->status, words);
    default:
        return lx_tell(said, LYNX_ERR_SYSTEM,
                       "'%.255s' cannot be %s: the server answered %ld%s%s", shown, verb,
                       reply->status, words,
                       is_of_the_moment(reply->status) ? "; try again later" : "");
    }
}

/* ---- trying again -------------------------------------------------------------------- */

typedef struct attempts {
    lx_network *network;
    lx_client *client;
    const atomic_bool *is_stopped;
    uint32_t failures;
} attempts;

static uint32_t jitter(uint32_t most)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)(now.tv_nsec / 1000) % (most + 1);
}

static bool is_stopped(const attempts *a)
{
    return atomic_load(&a->network->is_cancelled) ||
           (a->is_stopped && atomic_load(a->is_stopped));
}

static int64_t now_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait before the next attempt; false: no more of them. */
static bool may_try_again(attempts *a, uint32_t retry_after_s)
{
    if (a->failures++ >= a->network->settings.retries)
        return false;
    const uint32_t shift = a->failures < 8 ? a->failures - 1 : 7;
    uint32_t rest_ms = (uint32_t)REST_MS << shift;
    rest_ms = rest_ms < REST_MAX_MS ? rest_ms : REST_MAX_MS;
    rest_ms += jitter(rest_ms / 4);
    const uint64_t asked_ms = (uint64_t)retry_after_s * 1000;
    if (asked_ms > rest_ms)
        rest_ms = asked_ms < RETRY_AFTER_MAX_MS ? (uint32_t)asked_ms : RETRY_AFTER_MAX_MS;
    const int64_t end_ms = now_ms() + rest_ms;
    for (int64_t left = rest_ms; left > 0 && !is_stopped(a); left = end_ms - now_ms())
        lx_client_rest(a->client, (uint32_t)left);
    return !is_stopped(a);
}

/* Put the name of what it is about before what the client said. */
static lynx_status name_it(lynx_status status, const char *shown, lx_text said)
{
    char why[LYNX_PLACE_TEXT_MAX];
    if (status == LYNX_OK || status == LYNX_ERR_CANCELLED || said.size == 0)
        return status;
    snprintf(why, sizeof(why), "%s", said.data[0] ? said.data : lynx_status_text(status));
    return lx_tell(said, status, "'%.255s': %s", shown, why);
}

static lynx_status do_it(attempts *a, const lx_request *request, void (*rewind)(void *user),
                         lx_reply *reply)
{
    for (;;) {
        bool again = false;
        if (request->said.size > 0)
            request->said.data[0] = '\0';
        const lynx_status status = lx_client_exchange(a->client, request, reply, &again);
        const bool is_done = status == LYNX_OK && !is_of_the_moment(reply->status);
        if (is_done || (status != LYNX_OK && !again))
            return status;
        if (!may_try_again(a, status == LYNX_OK ? reply->retry_after_s : 0))
            return is_stopped(a) ? LYNX_ERR_CANCELLED : status;
        if (rewind)
            rewind(request->user);
    }
}

lynx_status lx_network_do(lx_network *network, const lx_request *request, const char *shown,
                          void (*rewind)(void *user), lx_reply *reply)
{
    attempts a = {network, borrow(network), request->is_stopped, 0};
    LX_REQUIRE(a.client, LYNX_ERR_MEMORY);
    const lynx_status status = do_it(&a, request, rewind, reply);
    give_back(network, a.client);
    return name_it(status, shown, request->said);
}

/* ---- bytes of an object -------------------------------------------------------------- */

typedef struct getting {
    const lx_get *get;
    uint64_t done;   /* bytes that were taken */
    uint64_t answer; /* bytes that this answer may still bring */
} getting;

static bool is_same_version(const lx_version *version, const lx_reply *reply)
{
    if (version->etag[0] && reply->etag[0])
        return strcmp(version->etag, reply->etag) == 0;
    return strcmp(version->modified, reply->modified) == 0;
}

static lynx_status tell_changed(const lx_get *get)
{
    return lx_tell(get->said, LYNX_ERR_CORRUPT,
                   "it changed on the server while it was read; read it again");
}

/* The head of an answer with bytes. Some servers answer a range by 200 and Content-Range. */
static lynx_status check_answer(void *user, const lx_reply *reply)
{
    getting *g = user;
    const lx_get *get = g->get;
    const uint64_t first = get->first + g->done, end = get->first + get->size;
    const bool is_part = reply->has_range;
    if (is_part && (reply->first != first || reply->last >= end))
        return lx_tell(get->said, LYNX_ERR_SYSTEM,
                       "the server sent other bytes than those that were asked for");
    if (is_part && reply->has_length && reply->length != reply->last - reply->first + 1)
        return lx_tell(get->said, LYNX_ERR_SYSTEM, "the server says two lengths of one answer");
    if (!is_part && (reply->status == 206 || get->version))
        return lx_tell(get->said, LYNX_ERR_SYSTEM,
                       "the server does not answer range requests as it should");
    if (get->version &&
        (reply->total != get->version->total || !is_same_version(get->version, reply)))
        return tell_changed(get);
    g->answer = is_part ? reply->last - reply->first + 1 : UINT64_MAX;
    return get->begin ? get->begin(get->user, reply) : LYNX_OK;
}

static lynx_status take_bytes(void *user, const uint8_t *data, size_t size)
{
    getting *g = user;
    if (size > g->answer)
        return lx_tell(g->get->said, LYNX_ERR_SYSTEM, "the server sent more than it announced");
    LX_TRY(g->get->take(g->get->user, data, size));
    g->answer -= g->answer == UINT64_MAX ? 0 : size;
    g->done += size;
    return LYNX_OK;
}

/* One answer is over, well or badly. '*goes_on': ask for the rest. */
static lynx_status judge(attempts *a, getting *g, lynx_status status, bool again,
                         const lx_reply *reply, uint64_t before, bool *goes_on)
{
    const lx_get *get = g->get;
    const bool is_opening = !get->version;
    if (g->done - before >= STEP_BYTES || (status == LYNX_OK && g->done > before))
        a->failures = 0;
    if (status == LYNX_OK && is_success(reply)) {
        *goes_on = !is_opening && g->done < get->size;
        if (*goes_on && g->done == before && !may_try_again(a, 0))
            return is_stopped(a)
                       ? LYNX_ERR_CANCELLED
                       : lx_tell(get->said, LYNX_ERR_SYSTEM, "the server sends no bytes of it");
        return LYNX_OK;
    }
    if (status == LYNX_OK && !is_opening &&
        (reply->status == 404 || reply->status == 410 || reply->status == 412 ||
         reply->status == 416))
        return tell_changed(get);
    const bool may_again = status == LYNX_OK ? is_of_the_moment(reply->status) : again;
    if (may_again && may_try_again(a, status == LYNX_OK ? reply->retry_after_s : 0)) {
        *goes_on = true;
        return LYNX_OK;
    }
    return is_stopped(a) ? LYNX_ERR_CANCELLED : status;
}

static lynx_status get_all(attempts *a, getting *g, lx_reply *reply)
{
    const lx_get *get = g->get;
    const lx_version *version = get->version;
    const bool is_strong = version && version->etag[0] == '"';
    bool goes_on = true;
    while (goes_on) {
        const uint64_t before = g->done;
        bool again = false;
        if (!version) /* it begins anew */
            g->done = 0;
        const lx_request request = {.method = "GET",
                                    .url = get->url,
                                    .first = get->first + g->done,
                                    .size = get->size - g->done,
                                    .if_match = is_strong ? version->etag : NULL,
                                    .is_stopped = get->is_stopped,
                                    .begin = check_answer,
                                    .take = take_bytes,
                                    .user = g,
                                    .said = get->said};
        if (get->said.size > 0)
            get->said.data[0] = '\0';
        goes_on = false;
        const lynx_status status = lx_client_exchange(a->client, &request, reply, &again);
        LX_TRY(judge(a, g, status, again, reply, version ? before : g->done, &goes_on));
    }
    return LYNX_OK;
}

lynx_status lx_network_get(lx_network *network, const lx_get *get, lx_reply *reply)
{
    attempts a = {network, borrow(network), get->is_stopped, 0};
    getting g = {.get = get};
    LX_REQUIRE(a.client, LYNX_ERR_MEMORY);
    lynx_status status = get_all(&a, &g, reply);
    give_back(network, a.client);
    if (status == LYNX_OK && !is_success(reply) && get->version)
        return lx_network_refuse(network, reply, get->shown, "read", get->said);
    return name_it(status, get->shown, get->said);
}
