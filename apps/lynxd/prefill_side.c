/* SPDX-License-Identifier: MIT */
#include "prefill_side.h"

#include <poll.h>

#include "log.h"

const char lynxd_prefill_help[] =
    "      --max-sessions N     decode nodes at a time (32)\n"
    "      --max-requests N     of one decode node at a time (16)\n"
    "      --max-connects N     new connections in a second (50)\n"
    "      --max-queue MB       caches that wait for their decode nodes (4096)\n"
    "      --carry-tokens N     of an answer, when a decode node lets this node carry on "
    "while\n"
    "                           the cache travels; 0: never (1024)\n"
    "      --resume SECONDS     keep what a lost decode node asked for (60)\n"
    "      --residual-age SECONDS  let a residual that waits longer go before anchors, one at "
    "a\n"
    "                           time; 0: never (0)\n"
    "      --status SECONDS     a line about the queue so often; 0: none (0)\n";

/* ---- options ------------------------------------------------------------------------- */

void prefill_side_init(prefill_side *side, const char *command, const cli_options *shared)
{
    *side = (prefill_side){.command = command,
                           .shared = shared,
                           .connects_per_s = 50,
                           .queue_mb = 4096,
                           .carry_tokens = 1024,
                           .status_at = lynx_clock_now()};
    lynx_session_options_init(&side->session);
}

/* 1: taken, 0: wrong value, -1: not a limit. */
static int take_limit(prefill_side *s, int option, const char *value)
{
    switch (option) {
    case LYNXD_OPT_PEER_CONNECTIONS:
        return cli_parse_u32(value, 1, 4096, &s->session.connections_max);
    case LYNXD_OPT_SESSIONS:
        return cli_parse_u32(value, 1, 1024, &s->session.sessions_max);
    case LYNXD_OPT_REQUESTS:
        return cli_parse_u32(value, 1, LYNX_REQUESTS_MAX, &s->session.requests_max);
    case LYNXD_OPT_CONNECTS:
        return cli_parse_u32(value, 1, 100000, &s->connects_per_s);
    case LYNXD_OPT_PLANE_QUEUE:
        return cli_parse_u32(value, 1, 1 << 30, &s->queue_mb);
    case LYNXD_OPT_CARRY:
        return cli_parse_u32(value, 0, 1 << 24, &s->carry_tokens);
    case LYNXD_OPT_RESUME:
        return cli_parse_seconds(value, 0.1, &s->session.resume_ns);
    case LYNXD_OPT_RESIDUAL_AGE:
        return cli_parse_seconds(value, 0, &s->session.residual_age_max_ns);
    case LYNXD_OPT_STATUS:
        return cli_parse_seconds(value, 0, &s->status_ns);
    default:
        return -1;
    }
}

int prefill_side_take_option(prefill_side *s, int option, const char *value)
{
    if (option == LYNXD_OPT_LISTEN) {
        s->address = value;
        return cli_check_address(s->command, value);
    }
    if (option == LYNXD_OPT_PORT_FILE) {
        s->port_file = value;
        return CLI_OK;
    }
    const int limit = take_limit(s, option, value);
    if (limit == 0)
        return cli_usage(s->command, "'%s' is not a limit that this option takes", value);
    return limit > 0 ? CLI_OK : -1;
}

/* ---- node ---------------------------------------------------------------------------- */

int prefill_side_create(const prefill_side *s, lynx_engine *engine, lynx_prefill_node **node)
{
    lynx_prefill_options options;
    lynx_prefill_options_init(&options);
    options.engine = engine;
    options.session = s->session;
    options.session.allow_other_weights = s->shared->allow_other_weights;
    options.session.timeout_ns = s->shared->timeout_ns;
    options.connects_per_s = s->connects_per_s;
    options.queue_bytes_max = (uint64_t)s->queue_mb << 20;
    options.carry_tokens_max = s->carry_tokens;
    options.guesses = s->shared->guesses;
    options.stop = &cli_stop;
    options.is_once = s->is_once;
    options.log = lynxd_log_event;
    const lynx_status status = lynx_prefill_node_create(node, &options);
    return status == LYNX_OK ? CLI_OK : cli_fail(s->command, status, NULL);
}

void prefill_side_turn(prefill_side *s, lynx_prefill_node *node)
{
    const lynx_time_ns now = lynx_clock_now();
    if (!s->status_ns || now - s->status_at < s->status_ns)
        return;
    s->status_at = now;
    const lynx_prefill_report report = lynx_prefill_node_report(node);
    lynxd_log(CLI_LEVEL_INFO, "connections %llu, queued %llu bytes, oldest residual %.3f s",
              (unsigned long long)report.counters.connections,
              (unsigned long long)report.counters.queued_bytes,
              (double)report.residual_age_ns / 1e9);
}

void prefill_side_log_totals(lynx_prefill_node *node)
{
    const lynx_prefill_report report = lynx_prefill_node_report(node);
    const lynx_session_counters *c = &report.counters;
    lynxd_log(CLI_LEVEL_INFO,
              "requests %llu, carried on for %llu tokens, sent %llu bytes, queue at most %llu "
              "bytes, sessions %llu, resumed "
              "%llu, sent again %llu bytes",
              (unsigned long long)report.requests, (unsigned long long)report.carried,
              (unsigned long long)c->bytes_sent, (unsigned long long)c->queued_bytes_top,
              (unsigned long long)c->sessions, (unsigned long long)c->resumes,
              (unsigned long long)c->resent_bytes);
}

void prefill_side_drain(lynx_prefill_node *node, uint64_t grace_ns)
{
    lynxd_log(CLI_LEVEL_INFO, "stopping: nothing new begins; what is on its way has %.1f s",
              (double)grace_ns / 1e9);
    lynx_prefill_node_drain(node, grace_ns);
}

/* ---- door ---------------------------------------------------------------------------- */

/* A peer that is turned away sees its connection close, and may come again. */
static void let_in(const lynxd_door *d, lynx_link *link)
{
    const lynx_status status = lynx_prefill_node_connect(d->node, link);
    if (status == LYNX_OK)
        return;
    lynxd_log_event(NULL, status,
                    status == LYNX_BLOCKED ? "turned a peer away: too many connect, or are here"
                                           : lynx_status_text(status));
    lynx_link_destroy(link);
}

static void *watch_door(void *user)
{
    lynxd_door *d = user;
    char text[LYNX_TEXT_MAX];
    while (!d->must_close) {
        if (d->turn)
            d->turn(d->user);
        lynx_link *link = NULL;
        const lynx_status status =
            cli_accept(d->shared, d->descriptor, 200000000ull, &link, text, sizeof(text));
        if (status == LYNX_OK)
            let_in(d, link);
        else if (status != LYNX_BLOCKED) {
            lynxd_log_event(NULL, status, text);
            poll(NULL, 0, 100); /* without descriptors, say, which others give back */
        }
        lynxd_log_turn();
    }
    return NULL;
}

bool lynxd_door_open(lynxd_door *door)
{
    door->must_close = false;
    return pthread_create(&door->thread, NULL, watch_door, door) == 0;
}

void lynxd_door_close(lynxd_door *door)
{
    door->must_close = true;
    pthread_join(door->thread, NULL);
}
