/* SPDX-License-Identifier: MIT */
/* Every link keeps one contract; the pacer keeps its rate and delay, in virtual time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lynx/link.h"
#include "lynx/runtime.h"
#include "lynx/tls.h"
#include "support/cmocka_all.h"
#include "support/rng.h"
#include "support/test_keys.h"

static const lynx_time_ns second = 1000000000ull;

typedef enum kind { MEMORY, TCP, UNIX, TLS, TLS_LOCAL, PACED, KINDS } kind;

static void make_sockets(const char *listen_address, lynx_link *ends[2])
{
    char text[256];
    char address[64];
    int listener = -1;
    uint16_t port = 0;
    assert_int_equal(lynx_tcp_listen(listen_address, &listener, &port, text, sizeof(text)),
                     LYNX_OK);
    snprintf(address, sizeof(address), "%s", listen_address);
    if (port)
        snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    assert_int_equal(lynx_tcp_connect(address, 5 * second, NULL, &ends[0], text, sizeof(text),
                                      NULL),
                     LYNX_OK);
    assert_int_equal(lynx_tcp_accept(listener, 5 * second, NULL, &ends[1], text, sizeof(text),
                                     NULL),
                     LYNX_OK);
    close(listener);
}

static void make_tls(lynx_link *ends[2])
{
    static lynx_keys_pair authority;
    if (!authority.key[0])
        test_authority(&authority);
    lynx_credentials *credentials = test_credentials(&authority, "node", NULL, 0);
    for (int i = 0; i < 2; i++) {
        lynx_link *inner = ends[i];
        lynx_tls_options options;
        lynx_tls_options_init(&options);
        options.role = i == 0 ? LYNX_TLS_CLIENT : LYNX_TLS_SERVER;
        assert_int_equal(lynx_link_tls(&ends[i], inner, credentials, &options, NULL), LYNX_OK);
    }
    lynx_credentials_destroy(credentials);
    for (int i = 0; i < 2000 && !ends[1]->ops->peer_name(ends[1]); i++) {
        lynx_time_ns next;
        assert_int_equal(ends[i % 2]->ops->flush(ends[i % 2], lynx_clock_now(), &next),
                         LYNX_OK);
    }
    assert_string_equal(ends[1]->ops->peer_name(ends[1]), "node");
}

static bool is_real_time(kind which)
{
    return which == TCP || which == UNIX || which == TLS || which == TLS_LOCAL;
}

static void make(kind which, lynx_link *ends[2])
{
    if (is_real_time(which)) {
        const bool is_local = which == UNIX || which == TLS_LOCAL;
        make_sockets(is_local ? "unix:link_test.socket" : "127.0.0.1:0", ends);
        if (which == TLS || which == TLS_LOCAL)
            make_tls(ends);
        return;
    }
    assert_int_equal(lynx_link_memory_pair(ends, 5000, NULL), LYNX_OK);
    if (which == MEMORY)
        return;
    lynx_pacer_options options;
    lynx_pacer_options_init(&options);
    options.rate_bits_per_s = 100000000000ull;
    options.delay_ns = 1000;
    for (int i = 0; i < 2; i++) {
        lynx_link *inner = ends[i];
        assert_int_equal(lynx_link_paced(&ends[i], inner, &options, NULL), LYNX_OK);
    }
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8));
}

static void bytes_arrive_once_and_in_order(void **state)
{
    (void)state;
    enum { TOTAL = 300000 };
    for (kind which = 0; which < KINDS; which++) {
        lynx_link *ends[2];
        test_rng rng = test_rng_of(which);
        size_t sent = 0;
        size_t received = 0;
        lynx_time_ns now = lynx_clock_now();
        const lynx_time_ns limit = now + 20 * second;
        make(which, ends);
        while (received < TOTAL && now < limit) {
            uint8_t data[7000];
            uint8_t taken[3000];
            size_t size = 0;
            const size_t first = test_rng_below(&rng, 3000);
            size_t count = first + test_rng_below(&rng, 4000);
            if (count > TOTAL - sent)
                count = TOTAL - sent;
            for (size_t i = 0; i < count; i++)
                data[i] = byte_at(sent + i);
            const size_t cut = first < count ? first : count;
            const lynx_bytes parts[2] = {{data, cut}, {data + cut, count - cut}};
            lynx_status status = LYNX_BLOCKED;
            if (count)
                status = ends[0]->ops->send(ends[0], now, parts, 2, &size);
            assert_true(status == LYNX_OK || status == LYNX_BLOCKED);
            assert_true(size <= count && (status == LYNX_OK || size == 0));
            sent += size;
            lynx_time_ns next;
            assert_false(lynx_failed(ends[0]->ops->flush(ends[0], now, &next)));
            status = ends[1]->ops->receive(ends[1], now, taken, 1 + test_rng_below(&rng, 2999),
                                           &size);
            assert_true(status == LYNX_OK || status == LYNX_BLOCKED);
            if (status == LYNX_BLOCKED)
                size = 0;
            for (size_t i = 0; i < size; i++)
                assert_int_equal(taken[i], byte_at(received + i));
            received += size;
            now = is_real_time(which) ? lynx_clock_now() : now + 1000;
        }
        assert_int_equal(received, TOTAL);
        lynx_link_destroy(ends[0]);
        lynx_link_destroy(ends[1]);
    }
}

static void a_full_link_blocks_and_a_lost_peer_closes(void **state)
{
    (void)state;
    for (kind which = 0; which < KINDS; which++) {
        lynx_link *ends[2];
        static uint8_t data[1 << 20];
        const lynx_bytes part = {data, sizeof(data)};
        const lynx_time_ns now = lynx_clock_now();
        lynx_status status = LYNX_OK;
        size_t size = 0;
        make(which, ends);
        for (int i = 0; i < 1000 && status == LYNX_OK; i++)
            status = ends[0]->ops->send(ends[0], now, &part, 1, &size);
        assert_int_equal(status, LYNX_BLOCKED);
        assert_int_equal(size, 0);
        lynx_link_destroy(ends[0]);
        for (int i = 0; i < 1000000; i++) {
            status = ends[1]->ops->receive(ends[1], now, data, sizeof(data), &size);
            if (status != LYNX_OK && status != LYNX_BLOCKED)
                break;
        }
        assert_int_equal(status, LYNX_ERR_CLOSED);
        lynx_link_destroy(ends[1]);
    }
}

/* Send as fast as the pacer lets us, waking only when it asks, and late now and then; returns
 * the time at which the last byte came out. */
static double seconds_for(uint64_t rate, uint64_t delay_ns, size_t total, lynx_time_ns late)
{
    lynx_link *ends[2];
    lynx_pacer_options options;
    lynx_pacer_options_init(&options);
    options.rate_bits_per_s = rate;
    options.delay_ns = delay_ns;
    assert_int_equal(lynx_link_memory_pair(ends, 1 << 24, NULL), LYNX_OK);
    lynx_link *inner = ends[0];
    assert_int_equal(lynx_link_paced(&ends[0], inner, &options, NULL), LYNX_OK);
    uint8_t *data = calloc(1, 65536);
    assert_non_null(data);
    test_rng rng = test_rng_of(rate);
    const lynx_time_ns start = 1000 * second;
    lynx_time_ns now = start;
    size_t sent = 0;
    size_t received = 0;
    while (received < total) {
        size_t size = 0;
        lynx_time_ns next = LYNX_TIME_NEVER;
        lynx_status status = LYNX_OK;
        while (sent < total && status == LYNX_OK) {
            const size_t left = total - sent;
            const lynx_bytes part = {data, left < 65536 ? left : 65536};
            status = ends[0]->ops->send(ends[0], now, &part, 1, &size);
            assert_false(lynx_failed(status));
            sent += size;
        }
        assert_false(lynx_failed(ends[0]->ops->flush(ends[0], now, &next)));
        while (ends[1]->ops->receive(ends[1], now, data, 65536, &size) == LYNX_OK && size > 0)
            received += size;
        if (received < total) {
            assert_true(next != LYNX_TIME_NEVER && next > now);
            now = next + (late ? test_rng_below(&rng, late) : 0);
        }
    }
    free(data);
    lynx_link_destroy(ends[0]);
    lynx_link_destroy(ends[1]);
    return (double)(now - start) / 1e9;
}

static void the_pacer_holds_rate_and_delay(void **state)
{
    (void)state;
    static const uint64_t rates[] = {50000,     1000000,    13000000,
                                     100000000, 1000000000, 10000000000ull};
    for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++)
        for (uint64_t late = 0; late <= 4000000; late += 4000000) {
            const size_t total = (size_t)(rates[i] / 8 * 3); /* three seconds */
            const size_t most = (size_t)30 << 20;
            const size_t bytes = total < most ? total : most;
            const double want = (double)bytes * 8 / (double)rates[i];
            const double got = seconds_for(rates[i], 0, bytes, late);
            /* A late last wake-up is not the rate's fault. */
            assert_true(got >= want * 0.97);
            assert_true(got <= want * 1.03 + (double)late / 1e9);
        }
    const double got = seconds_for(8000000, 250000000, 1000000, 0);
    assert_true(got >= 1.25 * 0.97 && got <= 1.25 * 1.03);
}

/* Who has nothing to send is woken for what is due and for nothing else. */
static void the_pacer_wakes_nobody_without_reason(void **state)
{
    (void)state;
    static uint8_t bytes[100000];
    lynx_link *ends[2];
    lynx_pacer_options options;
    lynx_time_ns next;
    size_t size = 0;
    lynx_pacer_options_init(&options);
    options.rate_bits_per_s = 8000000; /* a byte a microsecond */
    assert_int_equal(lynx_link_memory_pair(ends, sizeof(bytes), NULL), LYNX_OK);
    lynx_link *inner = ends[0];
    assert_int_equal(lynx_link_paced(&ends[0], inner, &options, NULL), LYNX_OK);
    const lynx_bytes few = {bytes, 1000}, many = {bytes, sizeof(bytes)};
    assert_int_equal(ends[0]->ops->send(ends[0], second, &few, 1, &size), LYNX_OK);
    assert_int_equal(size, 1000);
    assert_int_equal(ends[0]->ops->flush(ends[0], second, &next), LYNX_OK);
    assert_int_equal(next, second + 1000000);
    assert_int_equal(ends[0]->ops->flush(ends[0], next, &next), LYNX_OK);
    assert_int_equal(next, LYNX_TIME_NEVER);
    /* Of more than it takes at once the rest is asked for before the wire is idle. */
    const lynx_time_ns later = 2 * second;
    assert_int_equal(ends[0]->ops->send(ends[0], later, &many, 1, &size), LYNX_OK);
    assert_true(size < sizeof(bytes));
    assert_int_equal(ends[0]->ops->flush(ends[0], later, &next), LYNX_OK);
    assert_true(next > later && next < later + 1000 * size);
    for (int i = 0; i < 2; i++)
        lynx_link_destroy(ends[i]);
}

static void a_link_without_authentication_has_no_peer_name(void **state)
{
    (void)state;
    for (kind which = 0; which < KINDS; which++) {
        lynx_link *ends[2];
        make(which, ends);
        for (int i = 0; i < 2; i++) {
            const char *name = ends[i]->ops->peer_name(ends[i]);
            assert_true((name != NULL) == (which == TLS || which == TLS_LOCAL));
            lynx_link_destroy(ends[i]);
        }
    }
}

static void socket_options_are_set(void **state)
{
    (void)state;
    char text[256] = "";
    char address[32];
    char congestion[16] = "";
    int listener = -1;
    uint16_t port = 0;
    lynx_link *link = NULL;
    lynx_tcp_options options;
    lynx_tcp_options_init(&options);
    assert_int_equal(lynx_tcp_listen("127.0.0.1:0", &listener, &port, text, sizeof(text)),
                     LYNX_OK);
    snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    options.congestion = "reno"; /* each kernel has it */
    options.dscp = 46;
    options.pacing_bits_per_s = 80000000;
    options.user_timeout_ms = 1234;
    options.notsent_bytes = 65536;
    assert_int_equal(lynx_tcp_connect(address, second, &options, &link, text, sizeof(text),
                                      NULL),
                     LYNX_OK);
    const int d = link->ops->descriptor(link);
    int value = 0;
    uint64_t rate = 0;
    socklen_t size = sizeof(congestion);
    assert_int_equal(getsockopt(d, IPPROTO_TCP, TCP_CONGESTION, congestion, &size), 0);
    assert_string_equal(congestion, "reno");
    size = sizeof(value);
    assert_int_equal(getsockopt(d, IPPROTO_IP, IP_TOS, &value, &size), 0);
    assert_int_equal(value, 46 << 2);
    assert_int_equal(getsockopt(d, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
    assert_int_equal(value, 1234);
    assert_int_equal(getsockopt(d, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &size), 0);
    assert_int_equal(value, 65536);
    size = sizeof(rate);
    assert_int_equal(getsockopt(d, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &size), 0);
    assert_int_equal(rate, 10000000);
    lynx_link_destroy(link);

    options.congestion = "no-such-thing";
    assert_int_equal(lynx_tcp_connect(address, second, &options, &link, text, sizeof(text),
                                      NULL),
                     LYNX_ERR_ARGUMENT);
    assert_non_null(strstr(text, "no-such-thing"));
    lynx_tcp_options_init(&options);
    options.dscp = 64;
    assert_int_equal(lynx_tcp_connect(address, second, &options, &link, text, sizeof(text),
                                      NULL),
                     LYNX_ERR_ARGUMENT);
    close(listener);
}

static void a_local_socket_is_this_user_s_and_is_replaced(void **state)
{
    (void)state;
    char text[256] = "";
    char deep[200];
    int first = -1;
    int next = -1;
    uint16_t port = 1;
    struct stat found;
    static const char address[] = "unix:link_test.socket";
    unlink(address + 5);
    assert_true(lynx_tcp_is_loopback(address));
    assert_int_equal(lynx_tcp_listen(address, &first, &port, text, sizeof(text)), LYNX_OK);
    assert_int_equal(port, 0);
    assert_int_equal(stat(address + 5, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    /* While somebody listens it is his. */
    assert_int_equal(lynx_tcp_listen(address, &next, &port, text, sizeof(text)),
                     LYNX_ERR_SYSTEM);
    close(first);
    assert_int_equal(lynx_tcp_listen(address, &next, &port, text, sizeof(text)), LYNX_OK);
    close(next);
    unlink(address + 5);
    memset(deep, 'a', sizeof(deep));
    memcpy(deep, "unix:", 5);
    deep[sizeof(deep) - 1] = '\0';
    assert_int_equal(lynx_tcp_listen(deep, &next, &port, text, sizeof(text)),
                     LYNX_ERR_ARGUMENT);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    char text[256] = "";
    lynx_link *ends[2];
    lynx_link *paced = NULL;
    lynx_pacer_options options;
    int descriptor = -1;
    uint16_t port = 0;
    lynx_pacer_options_init(&options);
    assert_int_equal(lynx_link_memory_pair(ends, 100, NULL), LYNX_OK);
    options.rate_bits_per_s = 9999;
    assert_int_equal(lynx_link_paced(&paced, ends[0], &options, NULL), LYNX_ERR_ARGUMENT);
    options.rate_bits_per_s = 0;
    options.delay_ns = 11 * second;
    assert_int_equal(lynx_link_paced(&paced, ends[0], &options, NULL), LYNX_ERR_ARGUMENT);
    lynx_link_destroy(ends[0]);
    lynx_link_destroy(ends[1]);
    static const char *const addresses[] = {
        "", "nonsense", "127.0.0.1:99999", "127.0.0.1:-1", "[::1:80", "unix:"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
        text[0] = '\0';
        assert_true(
            lynx_failed(lynx_tcp_listen(addresses[i], &descriptor, &port, text, sizeof(text))));
        assert_true(text[0] != '\0');
        text[0] = '\0';
        assert_true(lynx_failed(
            lynx_tcp_connect(addresses[i], second, NULL, &paced, text, sizeof(text), NULL)));
        assert_true(text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_once_and_in_order),
        cmocka_unit_test(a_full_link_blocks_and_a_lost_peer_closes),
        cmocka_unit_test(the_pacer_holds_rate_and_delay),
        cmocka_unit_test(the_pacer_wakes_nobody_without_reason),
        cmocka_unit_test(a_link_without_authentication_has_no_peer_name),
        cmocka_unit_test(socket_options_are_set),
        cmocka_unit_test(a_local_socket_is_this_user_s_and_is_replaced),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
