/* SPDX-License-Identifier: MIT */
/* TLS between two ends of an in-process link, in virtual time; strangers are bare OpenSSL. */
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lynx/tls.h"
#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/rng.h"
#include "support/test_keys.h"

static const lynx_time_ns second = 1000000000ull;
static const char secret_a[] =
    "a:0001020304050607080910111213141516171819202122232425262728293031\n";
static const char secret_a_other[] =
    "a:ff01020304050607080910111213141516171819202122232425262728293031\n";
static const char secret_b[] =
    "# the next one\n\nb:AABBccddeeff0607080910111213141516171819202122232425262728293031\n";

static lynx_keys_pair authority, stranger;

/* ---- two ends ------------------------------------------------------------------------ */

enum { CLIENT, SERVER };

typedef struct ends {
    lynx_link *link[2];
    lynx_status status[2]; /* the first that is neither OK nor BLOCKED */
    lynx_time_ns now;
} ends;

static lynx_link *secure(lynx_link *inner, lynx_credentials *credentials, int role,
                         const char *peer_name)
{
    lynx_link *link = NULL;
    lynx_tls_options options;
    lynx_tls_options_init(&options);
    options.role = role == SERVER ? LYNX_TLS_SERVER : LYNX_TLS_CLIENT;
    options.peer_name = peer_name;
    assert_int_equal(lynx_link_tls(&link, inner, credentials, &options, NULL), LYNX_OK);
    return link;
}

static ends open_ends(lynx_credentials *client, lynx_credentials *server, const char *peer_name,
                      size_t capacity)
{
    ends e = {.now = 1000 * second};
    lynx_link *raw[2];
    assert_int_equal(lynx_link_memory_pair(raw, capacity, NULL), LYNX_OK);
    e.link[CLIENT] = secure(raw[CLIENT], client, CLIENT, peer_name);
    e.link[SERVER] = secure(raw[SERVER], server, SERVER, NULL);
    return e;
}

static void close_ends(ends *e)
{
    lynx_link_destroy(e->link[CLIENT]);
    lynx_link_destroy(e->link[SERVER]);
}

/* One turn of one end that has nothing to say. */
static void take_turn(ends *e, int end)
{
    uint8_t byte;
    size_t size = 0;
    lynx_time_ns next;
    lynx_link *link = e->link[end];
    lynx_status status = link->ops->receive(link, e->now, &byte, 1, &size);
    assert_true(status != LYNX_OK);
    assert_int_equal(size, 0);
    if (status == LYNX_BLOCKED) {
        status = link->ops->flush(link, e->now, &next);
        if (status == LYNX_OK)
            assert_true(next > e->now);
    }
    if (lynx_failed(status) && e->status[end] == LYNX_OK)
        e->status[end] = status;
    e->now += 1000;
}

static void shake(ends *e)
{
    for (int i = 0; i < 400; i++)
        take_turn(e, i % 2);
}

static const char *said_by(const ends *e, int end)
{
    return e->link[end]->ops->error_text(e->link[end]);
}

static void assert_says(const ends *e, int end, lynx_status status, const char *words)
{
    if (e->status[end] != status || !strstr(said_by(e, end), words))
        fail_msg("%s: %s, '%s', not '%s'", end == CLIENT ? "client" : "server",
                 lynx_status_name(e->status[end]), said_by(e, end), words);
}

/* Neither end of these credentials gets on; each says why. */
static void assert_denied(lynx_credentials *client, lynx_credentials *server,
                          const char *peer_name, const char *client_words,
                          const char *server_words)
{
    ends e = open_ends(client, server, peer_name, 100000);
    shake(&e);
    assert_says(&e, CLIENT, LYNX_ERR_DENIED, client_words);
    assert_says(&e, SERVER, LYNX_ERR_DENIED, server_words);
    close_ends(&e);
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8));
}

/* Send 'total' bytes to the other end in parts of random size; check each. */
static void carry(ends *e, int from, size_t total, uint64_t seed)
{
    enum { MOST = 50000 };
    static uint8_t data[2 * MOST], taken[MOST];
    lynx_link *source = e->link[from];
    lynx_link *target = e->link[1 - from];
    test_rng rng = test_rng_of(seed);
    size_t sent = 0;
    size_t received = 0;
    for (uint64_t turns = 0; received < total && turns < 20 * total + 1000; turns++) {
        const size_t first = test_rng_below(&rng, MOST);
        size_t count = first + test_rng_below(&rng, MOST);
        count = count < total - sent ? count : total - sent;
        for (size_t i = 0; i < count; i++)
            data[i] = byte_at(sent + i); /* others than at the last try */
        const size_t cut = first < count ? first : count;
        const lynx_bytes parts[3] = {{data, cut}, {data, 0}, {data + cut, count - cut}};
        size_t size = 0;
        lynx_time_ns next;
        lynx_status status = source->ops->send(source, e->now, parts, 3, &size);
        assert_true(status == LYNX_OK ? size > 0 && size <= count
                                      : status == LYNX_BLOCKED && size == 0);
        sent += size;
        assert_int_equal(source->ops->flush(source, e->now, &next), LYNX_OK);
        size = 0;
        status = target->ops->receive(target, e->now, taken, 1 + test_rng_below(&rng, MOST - 1),
                                      &size);
        assert_true(status == LYNX_OK || status == LYNX_BLOCKED);
        assert_int_equal(target->ops->flush(target, e->now, &next), LYNX_OK);
        for (size_t i = 0; i < size; i++)
            if (taken[i] != byte_at(received + i))
                fail_msg("byte %zu is wrong", received + i);
        received += size;
        e->now += 1000;
    }
    assert_int_equal(received, total);
    assert_false(source->ops->is_draining(source));
}

/* ---- strangers ----------------------------------------------------------------------- */

typedef struct foreign {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out;
    lynx_link *raw;
} foreign;

/* A bare OpenSSL peer on 'raw', with a certificate or none, that accepts everybody. */
static foreign foreign_open(lynx_link *raw, int role, const lynx_keys_pair *pair, int version)
{
    foreign f = {.context = SSL_CTX_new(TLS_method()), .raw = raw};
    assert_true(SSL_CTX_set_min_proto_version(f.context, version));
    assert_true(SSL_CTX_set_max_proto_version(f.context, version));
    if (pair) {
        BIO *bio = BIO_new_mem_buf(pair->certificate, -1);
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        BIO_free(bio);
        bio = BIO_new_mem_buf(pair->key, -1);
        EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        assert_int_equal(SSL_CTX_use_certificate(f.context, certificate), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(f.context, key), 1);
        X509_free(certificate);
        EVP_PKEY_free(key);
    }
    f.ssl = SSL_new(f.context);
    f.in = BIO_new(BIO_s_mem());
    f.out = BIO_new(BIO_s_mem());
    SSL_set_bio(f.ssl, f.in, f.out);
    if (role == SERVER)
        SSL_set_accept_state(f.ssl);
    else
        SSL_set_connect_state(f.ssl);
    return f;
}

/* Move what both have to say. */
static void foreign_turn(foreign *f, lynx_time_ns now)
{
    uint8_t data[20000];
    size_t size = 0;
    if (f->raw->ops->receive(f->raw, now, data, sizeof(data), &size) == LYNX_OK)
        BIO_write(f->in, data, (int)size);
    (void)!SSL_read(f->ssl, data, 1);
    ERR_clear_error();
    const int count = BIO_read(f->out, data, sizeof(data));
    if (count > 0) {
        const lynx_bytes part = {data, (size_t)count};
        const lynx_status status = f->raw->ops->send(f->raw, now, &part, 1, &size);
        assert_true(status == LYNX_OK || status == LYNX_ERR_CLOSED);
    }
}

static void foreign_close(foreign *f)
{
    SSL_free(f->ssl);
    SSL_CTX_free(f->context);
    lynx_link_destroy(f->raw);
}

/* Our end of role 'role' meets a stranger with 'pair'. */
static void assert_stranger_denied(int role, const lynx_keys_pair *pair, int version,
                                   const char *words)
{
    lynx_link *raw[2];
    ends e = {.now = second};
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    assert_int_equal(lynx_link_memory_pair(raw, 100000, NULL), LYNX_OK);
    e.link[role] = secure(raw[role], own, role, NULL);
    foreign f = foreign_open(raw[1 - role], 1 - role, pair, version);
    for (int i = 0; i < 20; i++) {
        take_turn(&e, role);
        foreign_turn(&f, e.now);
    }
    assert_says(&e, role, LYNX_ERR_DENIED, words);
    assert_null(e.link[role]->ops->peer_name(e.link[role]));
    foreign_close(&f);
    lynx_link_destroy(e.link[role]);
    lynx_credentials_destroy(own);
}

/* ---- tests --------------------------------------------------------------------------- */

static void certificates_name_both_ends(void **state)
{
    (void)state;
    lynx_credentials *prefill = test_credentials(&authority, "prefill-1", NULL, 0);
    lynx_credentials *decode = test_credentials(&authority, "decode-1", NULL, 0);
    ends e = open_ends(decode, prefill, "prefill-1", 100000);
    for (int end = 0; end < 2; end++)
        assert_null(e.link[end]->ops->peer_name(e.link[end]));
    shake(&e);
    assert_int_equal(e.status[CLIENT], LYNX_OK);
    assert_int_equal(e.status[SERVER], LYNX_OK);
    assert_string_equal(e.link[CLIENT]->ops->peer_name(e.link[CLIENT]), "prefill-1");
    assert_string_equal(e.link[SERVER]->ops->peer_name(e.link[SERVER]), "decode-1");
    const lynx_credentials_state what = lynx_credentials_state_of(decode);
    assert_string_equal(what.name, "decode-1");
    assert_false(what.is_psk);
    assert_true(what.ends_unix_s > 0);
    carry(&e, CLIENT, 300000, 1);
    carry(&e, SERVER, 300000, 2);
    /* The good-bye of an end that is destroyed. */
    lynx_link_destroy(e.link[CLIENT]);
    take_turn(&e, SERVER);
    assert_says(&e, SERVER, LYNX_ERR_CLOSED, "the peer closed the connection");
    lynx_link_destroy(e.link[SERVER]);
    lynx_credentials_destroy(prefill);
    lynx_credentials_destroy(decode);
}

static void a_secret_authenticates_both_ends(void **state)
{
    (void)state;
    char both[400];
    snprintf(both, sizeof(both), "%s%s", secret_b, secret_a);
    lynx_credentials *old = test_psk(secret_a);
    lynx_credentials *rotated = test_psk(both);
    const lynx_credentials_state what = lynx_credentials_state_of(rotated);
    assert_string_equal(what.name, "b");
    assert_true(what.is_psk && what.ends_unix_s == INT64_MAX);
    ends e = open_ends(old, rotated, NULL, 100000);
    shake(&e);
    assert_says(&e, CLIENT, LYNX_OK, "");
    assert_says(&e, SERVER, LYNX_OK, "");
    assert_string_equal(e.link[CLIENT]->ops->peer_name(e.link[CLIENT]), "a");
    assert_string_equal(e.link[SERVER]->ops->peer_name(e.link[SERVER]), "a");
    carry(&e, CLIENT, 100000, 1);
    carry(&e, SERVER, 100000, 2);
    close_ends(&e);
    /* The first one connects, unless another was asked for. */
    assert_denied(rotated, old, NULL, "does not accept the PSK id 'b'", "PSK id 'b'");
    e = open_ends(rotated, old, "a", 100000);
    shake(&e);
    assert_int_equal(e.status[SERVER], LYNX_OK);
    assert_string_equal(e.link[SERVER]->ops->peer_name(e.link[SERVER]), "a");
    close_ends(&e);
    lynx_credentials_destroy(old);
    lynx_credentials_destroy(rotated);
}

static void the_wrong_peer_is_denied_and_told_why(void **state)
{
    (void)state;
    static const char *const list[] = {"someone", "friend"};
    lynx_credentials *node = test_credentials(&authority, "node", NULL, 0);
    lynx_credentials *friend = test_credentials(&authority, "friend", NULL, 0);
    lynx_credentials *picky = test_credentials(&authority, "picky", list, 2);
    lynx_credentials *other = test_credentials(&stranger, "node", NULL, 0);
    lynx_credentials *psk = test_psk(secret_a);
    lynx_credentials *psk_other = test_psk(secret_a_other);

    assert_denied(node, other, NULL, "of another authority", "does not know the authority");
    assert_denied(node, picky, "peter", "is 'picky', not 'peter'", "refuses our certificate");
    assert_denied(node, picky, NULL, "on its --allow-node list",
                  "'node' is not on this node's list");
    assert_denied(picky, node, NULL, "'node' is not on this node's list", "--allow-node list");
    assert_denied(psk, psk_other, NULL, "another secret",
                  "another secret under the PSK id 'a'");
    assert_denied(psk, node, NULL, "the peer works with certificates", "refuses");
    assert_denied(node, psk, NULL, "it works with a PSK", "offers no PSK");

    ends e = open_ends(friend, picky, "picky", 100000);
    shake(&e);
    assert_int_equal(e.status[CLIENT], LYNX_OK);
    assert_string_equal(e.link[SERVER]->ops->peer_name(e.link[SERVER]), "friend");
    close_ends(&e);
    lynx_credentials_destroy(node);
    lynx_credentials_destroy(friend);
    lynx_credentials_destroy(picky);
    lynx_credentials_destroy(other);
    lynx_credentials_destroy(psk);
    lynx_credentials_destroy(psk_other);
}

/* A certificate without a DNS name, signed by the authority. */
static void make_nameless(lynx_keys_pair *pair)
{
    test_node(&authority, "x", -60, 3600, pair);
    BIO *bio = BIO_new_mem_buf(pair->certificate, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    bio = BIO_new_mem_buf(authority.key, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    X509_EXTENSION_free(
        X509_delete_ext(certificate,
                        X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1)));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    const int size = BIO_read(bio, pair->certificate, sizeof(pair->certificate) - 1);
    pair->certificate[size] = '\0';
    BIO_free(bio);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void strangers_are_denied(void **state)
{
    (void)state;
    lynx_keys_pair pair;
    for (int role = 0; role < 2; role++) {
        test_node(&authority, "late", -7200, -3600, &pair);
        assert_stranger_denied(role, &pair, TLS1_3_VERSION, "'late' expired");
        test_node(&authority, "early", 3600, 7200, &pair);
        assert_stranger_denied(role, &pair, TLS1_3_VERSION, "'early' is not valid yet");
        test_node(&stranger, "node", -60, 3600, &pair);
        assert_stranger_denied(role, &pair, TLS1_3_VERSION, "of another authority");
        make_nameless(&pair);
        assert_stranger_denied(role, &pair, TLS1_3_VERSION, "has no DNS name");
        assert_stranger_denied(role, &authority, TLS1_3_VERSION, "is refused");
        test_node(&authority, "old", -60, 3600, &pair);
        assert_stranger_denied(role, &pair, TLS1_2_VERSION, "does not speak TLS 1.3");
    }
    assert_stranger_denied(SERVER, NULL, TLS1_3_VERSION, "the peer has no certificate");
}

static void plaintext_is_denied(void **state)
{
    (void)state;
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    for (int role = 0; role < 2; role++) {
        static const uint8_t hello[] = "LYNX\1 a greeting without TLS";
        const lynx_bytes part = {hello, sizeof(hello)};
        lynx_link *raw[2];
        ends e = {.now = second};
        size_t size = 0;
        assert_int_equal(lynx_link_memory_pair(raw, 100000, NULL), LYNX_OK);
        e.link[role] = secure(raw[role], own, role, NULL);
        assert_int_equal(raw[1 - role]->ops->send(raw[1 - role], e.now, &part, 1, &size),
                         LYNX_OK);
        take_turn(&e, role);
        assert_says(&e, role, LYNX_ERR_DENIED, "plaintext");
        /* It stays so. */
        take_turn(&e, role);
        assert_int_equal(e.link[role]->ops->send(e.link[role], e.now, &part, 1, &size),
                         LYNX_ERR_DENIED);
        lynx_link_destroy(e.link[role]);
        lynx_link_destroy(raw[1 - role]);
    }
    lynx_credentials_destroy(own);
}

static void a_peer_that_vanishes_is_noticed(void **state)
{
    (void)state;
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    for (int gone = 0; gone < 2; gone++)
        for (int turns = 0; turns < 10; turns++) {
            ends e = open_ends(own, own, NULL, 700);
            for (int i = 0; i < turns; i++)
                take_turn(&e, i % 2);
            lynx_link_destroy(e.link[gone]);
            for (int i = 0; i < 20; i++)
                take_turn(&e, 1 - gone);
            assert_says(&e, 1 - gone, LYNX_ERR_CLOSED, "");
            lynx_link_destroy(e.link[1 - gone]);
        }
    lynx_credentials_destroy(own);
}

static void a_silent_peer_is_given_up(void **state)
{
    (void)state;
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    for (int role = 0; role < 2; role++) {
        lynx_link *raw[2];
        ends e = {.now = 7 * second};
        lynx_time_ns next = 0;
        assert_int_equal(lynx_link_memory_pair(raw, 100000, NULL), LYNX_OK);
        e.link[role] = secure(raw[role], own, role, NULL);
        assert_int_equal(e.link[role]->ops->flush(e.link[role], e.now, &next), LYNX_OK);
        assert_int_equal(next, 12 * second);
        e.now = next - 1;
        take_turn(&e, role);
        assert_int_equal(e.status[role], LYNX_OK);
        assert_int_equal(e.link[role]->ops->flush(e.link[role], next, &next), LYNX_ERR_TIMEOUT);
        take_turn(&e, role);
        assert_says(&e, role, LYNX_ERR_TIMEOUT, "no TLS handshake within 5.0 s");
        lynx_link_destroy(e.link[role]);
        lynx_link_destroy(raw[1 - role]);
    }
    lynx_credentials_destroy(own);
}

/* Room for a few bytes at a time: each record is held back, and what the caller shows next has
 * other bytes at other places. */
static void a_slow_peer_gets_every_byte(void **state)
{
    (void)state;
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    static const size_t capacities[] = {1, 100, 5000, 1 << 20};
    for (size_t i = 0; i < sizeof(capacities) / sizeof(*capacities); i++) {
        ends e = open_ends(own, own, NULL, capacities[i]);
        carry(&e, SERVER, capacities[i] < 100 ? 40000 : 400000, i);
        carry(&e, CLIENT, capacities[i] < 100 ? 40000 : 400000, i);
        close_ends(&e);
    }
    lynx_credentials_destroy(own);
}

static void four_records_are_held_back(void **state)
{
    (void)state;
    static uint8_t data[100000];
    const lynx_bytes part = {data, sizeof(data)};
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    ends e = open_ends(own, own, NULL, 4000);
    shake(&e);
    lynx_link *link = e.link[CLIENT];
    size_t size = 0;
    assert_false(link->ops->is_draining(link));
    assert_int_equal(link->ops->send(link, e.now, &part, 1, &size), LYNX_OK);
    assert_int_equal(size, 4 * 16384);
    assert_true(link->ops->is_draining(link));
    assert_int_equal(link->ops->send(link, e.now, &part, 1, &size), LYNX_BLOCKED);
    assert_int_equal(size, 0);
    close_ends(&e);
    lynx_credentials_destroy(own);
}

static void buffered_bytes_are_announced(void **state)
{
    (void)state;
    uint8_t data[3000] = {1, 2, 3};
    const lynx_bytes part = {data, sizeof(data)};
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    ends e = open_ends(own, own, NULL, 100000);
    shake(&e);
    lynx_link *target = e.link[SERVER];
    size_t size = 0;
    lynx_time_ns next = 0;
    assert_int_equal(e.link[CLIENT]->ops->send(e.link[CLIENT], e.now, &part, 1, &size),
                     LYNX_OK);
    assert_int_equal(target->ops->receive(target, e.now, data, 1000, &size), LYNX_OK);
    assert_int_equal(size, 1000);
    assert_int_equal(target->ops->flush(target, e.now, &next), LYNX_OK);
    assert_int_equal(next, e.now);
    assert_int_equal(target->ops->receive(target, e.now, data, 3000, &size), LYNX_OK);
    assert_int_equal(size, 2000);
    assert_int_equal(target->ops->flush(target, e.now, &next), LYNX_OK);
    assert_true(next == LYNX_TIME_NEVER);
    close_ends(&e);
    lynx_credentials_destroy(own);
}

static void keys_are_changed_on_the_way(void **state)
{
    (void)state;
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    ends e = {.now = second};
    lynx_link *raw[2];
    assert_int_equal(lynx_link_memory_pair(raw, 50000, NULL), LYNX_OK);
    for (int role = 0; role < 2; role++) {
        lynx_tls_options options;
        lynx_tls_options_init(&options);
        options.role = role == SERVER ? LYNX_TLS_SERVER : LYNX_TLS_CLIENT;
        options.rekey_records = 3;
        assert_int_equal(lynx_link_tls(&e.link[role], raw[role], own, &options, NULL), LYNX_OK);
    }
    carry(&e, CLIENT, 1000000, 1);
    carry(&e, SERVER, 1000000, 2);
    close_ends(&e);
    lynx_credentials_destroy(own);
}

static void a_pacer_goes_on_top(void **state)
{
    (void)state;
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    ends e = open_ends(own, own, NULL, 100000);
    lynx_pacer_options options;
    lynx_pacer_options_init(&options);
    options.rate_bits_per_s = 1000000000;
    for (int end = 0; end < 2; end++) {
        lynx_link *inner = e.link[end];
        assert_int_equal(lynx_link_paced(&e.link[end], inner, &options, NULL), LYNX_OK);
    }
    carry(&e, CLIENT, 300000, 1);
    assert_string_equal(e.link[SERVER]->ops->peer_name(e.link[SERVER]), "own");
    close_ends(&e);
    lynx_credentials_destroy(own);
}

/* Bytes that somebody between the ends changes, in the handshake or after it. */
static void a_changed_byte_ends_the_link(void **state)
{
    (void)state;
    lynx_credentials *own = test_credentials(&authority, "own", NULL, 0);
    static const int turns[] = {0, 1, 2, 20};
    for (size_t k = 0; k < sizeof(turns) / sizeof(*turns); k++) {
        lynx_link *near[2];
        lynx_link *far[2];
        ends e = {.now = second};
        assert_int_equal(lynx_link_memory_pair(near, 100000, NULL), LYNX_OK);
        assert_int_equal(lynx_link_memory_pair(far, 100000, NULL), LYNX_OK);
        e.link[CLIENT] = secure(near[0], own, CLIENT, NULL);
        e.link[SERVER] = secure(far[1], own, SERVER, NULL);
        lynx_link *const between[2] = {near[1], far[0]};
        for (int i = 0; i < 60; i++) {
            uint8_t data[20000];
            size_t size = 0;
            const int from = i % 2;
            take_turn(&e, from);
            if (i == 28) { /* an application record, if there is a connection */
                const lynx_bytes word = {(const uint8_t *)"abcdef", 6};
                (void)!e.link[CLIENT]->ops->send(e.link[CLIENT], e.now, &word, 1, &size);
                size = 0;
            }
            if (between[from]->ops->receive(between[from], e.now, data, sizeof(data), &size) !=
                LYNX_OK)
                continue;
            if (i >= turns[k])
                data[size - 1] ^= 1;
            const lynx_bytes part = {data, size};
            (void)!between[1 - from]->ops->send(between[1 - from], e.now, &part, 1, &size);
        }
        if (turns[k] == 20)
            assert_says(&e, SERVER, LYNX_ERR_PROTOCOL, "did something between");
        else
            assert_says(&e, SERVER, LYNX_ERR_DENIED, "");
        close_ends(&e);
        lynx_link_destroy(near[1]);
        lynx_link_destroy(far[0]);
    }
    lynx_credentials_destroy(own);
}

static void reload_serves_new_links_and_keeps_old_ones(void **state)
{
    (void)state;
    char folder[TEST_PATH_MAX];
    char text[512] = "";
    char bundle[2 * LYNX_KEYS_PEM_MAX];
    lynx_keys_pair first, second_pair;
    lynx_credentials *credentials = NULL;
    lynx_credentials_options options;
    test_folder_make(folder);
    test_node(&authority, "first", -60, 3600, &first);
    test_keys_write(folder, authority.certificate, &first);
    lynx_credentials_options_init(&options);
    options.folder = folder;
    assert_int_equal(lynx_credentials_create(&credentials, &options, text, sizeof(text), NULL),
                     LYNX_OK);
    ends live = open_ends(credentials, credentials, "first", 100000);
    carry(&live, CLIENT, 50000, 1);

    /* Halfway copied: the old keys stay. */
    test_node(&stranger, "second", -60, 3600, &second_pair);
    test_file_write(folder, "node.pem", second_pair.certificate, 0644);
    assert_int_equal(lynx_credentials_reload(credentials, &options, text, sizeof(text)),
                     LYNX_ERR_DENIED);
    assert_string_equal(lynx_credentials_state_of(credentials).name, "first");

    /* The next authority, the old one still accepted. */
    snprintf(bundle, sizeof(bundle), "%s%s", stranger.certificate, authority.certificate);
    test_keys_write(folder, bundle, &second_pair);
    assert_int_equal(lynx_credentials_reload(credentials, &options, text, sizeof(text)),
                     LYNX_OK);
    assert_string_equal(lynx_credentials_state_of(credentials).name, "second");
    test_keys_write(folder, bundle, &first);
    lynx_credentials *other = NULL;
    assert_int_equal(lynx_credentials_create(&other, &options, text, sizeof(text), NULL),
                     LYNX_OK);
    ends fresh = open_ends(other, credentials, "second", 100000);
    carry(&fresh, SERVER, 50000, 1);
    assert_string_equal(fresh.link[SERVER]->ops->peer_name(fresh.link[SERVER]), "first");

    lynx_credentials_destroy(credentials); /* links go on without */
    lynx_credentials_destroy(other);
    carry(&live, SERVER, 50000, 1);
    carry(&fresh, CLIENT, 50000, 1);
    close_ends(&live);
    close_ends(&fresh);
    test_folder_remove(folder);
}

/* ---- credentials that are refused ---------------------------------------------------- */

static void assert_refused(const char *folder, const char *psk_file, lynx_status want,
                           const char *words)
{
    char text[512] = "";
    lynx_credentials *credentials = NULL;
    lynx_credentials_options options;
    lynx_credentials_options_init(&options);
    options.folder = folder;
    options.psk_file = psk_file;
    const lynx_status status =
        lynx_credentials_create(&credentials, &options, text, sizeof(text), NULL);
    if (status != want || !strstr(text, words))
        fail_msg("%s, '%s', not '%s'", lynx_status_name(status), text, words);
    assert_null(credentials);
}

static void bad_certificates_are_explained(void **state)
{
    (void)state;
    char folder[TEST_PATH_MAX];
    char path[TEST_PATH_MAX + 16];
    lynx_keys_pair node, other;
    test_folder_make(folder);
    test_node(&authority, "node", -60, 3600, &node);
    test_node(&authority, "other", -60, 3600, &other);
    assert_refused(NULL, NULL, LYNX_ERR_ARGUMENT, "either");
    assert_refused("a", "b", LYNX_ERR_ARGUMENT, "either");
    assert_refused(folder, NULL, LYNX_ERR_SYSTEM, "ca.pem");
    test_file_write(folder, "ca.pem", "nothing", 0644);
    assert_refused(folder, NULL, LYNX_ERR_ARGUMENT, "no certificate of an authority");
    test_file_write(folder, "ca.pem", node.certificate, 0644);
    assert_refused(folder, NULL, LYNX_ERR_ARGUMENT, "no certificate of an authority");
    test_file_write(folder, "ca.pem", authority.certificate, 0644);
    assert_refused(folder, NULL, LYNX_ERR_SYSTEM, "lynx keys node");
    test_file_write(folder, "node.pem", "nothing", 0644);
    assert_refused(folder, NULL, LYNX_ERR_ARGUMENT, "holds no certificate");
    test_file_write(folder, "node.pem", node.certificate, 0644);
    assert_refused(folder, NULL, LYNX_ERR_SYSTEM, "node.key");
    test_file_write(folder, "node.key", node.key, 0640);
    assert_refused(folder, NULL, LYNX_ERR_DENIED, "chmod 600");
    test_file_write(folder, "node.key", "nothing", 0600);
    assert_refused(folder, NULL, LYNX_ERR_ARGUMENT, "no private key");
    test_file_write(folder, "node.key", other.key, 0600);
    assert_refused(folder, NULL, LYNX_ERR_ARGUMENT, "does not belong");
    test_keys_write(folder, stranger.certificate, &node);
    assert_refused(folder, NULL, LYNX_ERR_DENIED, "not signed by the authority");
    test_node(&authority, "node", -7200, -3600, &node);
    test_keys_write(folder, authority.certificate, &node);
    assert_refused(folder, NULL, LYNX_ERR_DENIED, "expired on");
    test_node(&authority, "node", 3600, 7200, &node);
    test_keys_write(folder, authority.certificate, &node);
    assert_refused(folder, NULL, LYNX_ERR_DENIED, "is not valid before");
    make_nameless(&node);
    test_keys_write(folder, authority.certificate, &node);
    assert_refused(folder, NULL, LYNX_ERR_ARGUMENT, "has no DNS name");
    snprintf(path, sizeof(path), "%s/ca.pem", folder);
    assert_int_equal(remove(path), 0);
    test_folder_remove(folder);
}

static void bad_secrets_are_explained(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "a:00",
        "no colon",
        ":0001020304050607080910111213141516171819202122232425262728293031",
        "a b:0001020304050607080910111213141516171819202122232425262728293031",
        "a:0001020304050607080910111213141516171819202122232425262728293g31",
        "a:000102030405060708091011121314151617181920212223242526272829303"};
    char folder[TEST_PATH_MAX];
    char path[TEST_PATH_MAX + 16];
    char twice[400];
    char many[3000] = "";
    test_folder_make(folder);
    snprintf(path, sizeof(path), "%s/psk", folder);
    assert_refused(NULL, path, LYNX_ERR_SYSTEM, "lynx keys psk");
    assert_refused(NULL, folder, LYNX_ERR_SYSTEM, "is not a file");
    test_file_write(folder, "psk", secret_a, 0604);
    assert_refused(NULL, path, LYNX_ERR_DENIED, "chmod 600");
    test_file_write(folder, "psk", "# none\n", 0600);
    assert_refused(NULL, path, LYNX_ERR_ARGUMENT, "holds no secret");
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        test_file_write(folder, "psk", lines[i], 0600);
        assert_refused(NULL, path, LYNX_ERR_ARGUMENT, "line 1 of");
    }
    snprintf(twice, sizeof(twice), "%s%s", secret_a, secret_a_other);
    test_file_write(folder, "psk", twice, 0600);
    assert_refused(NULL, path, LYNX_ERR_ARGUMENT, "line 2 of");
    for (int i = 0; i <= LYNX_TLS_PSK_MAX; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "%c%s", 'a' + i, secret_a);
    test_file_write(folder, "psk", many, 0600);
    assert_refused(NULL, path, LYNX_ERR_ARGUMENT, "more than 16");
    char *large = malloc(70001);
    assert_non_null(large);
    memset(large, '\n', 70000);
    large[70000] = '\0';
    test_file_write(folder, "psk", large, 0600);
    assert_refused(NULL, path, LYNX_ERR_ARGUMENT, "too large");
    free(large);
    test_folder_remove(folder);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    char text[512];
    lynx_link *raw[2];
    lynx_link *link = NULL;
    lynx_tls_options options;
    lynx_credentials *psk = test_psk(secret_a);
    assert_int_equal(lynx_link_memory_pair(raw, 1000, NULL), LYNX_OK);
    lynx_tls_options_init(&options);
    options.rekey_records = 0;
    assert_int_equal(lynx_link_tls(&link, raw[0], psk, &options, NULL), LYNX_ERR_ARGUMENT);
    options.rekey_records = (1u << 23) + 1;
    assert_int_equal(lynx_link_tls(&link, raw[0], psk, &options, NULL), LYNX_ERR_ARGUMENT);
    lynx_tls_options_init(&options);
    options.handshake_timeout_ns = 0;
    assert_int_equal(lynx_link_tls(&link, raw[0], psk, &options, NULL), LYNX_ERR_ARGUMENT);
    lynx_tls_options_init(&options);
    options.peer_name = "no such id";
    assert_int_equal(lynx_link_tls(&link, raw[0], psk, &options, NULL), LYNX_ERR_ARGUMENT);
    options.peer_name = "b";
    assert_int_equal(lynx_link_tls(&link, raw[0], psk, &options, NULL), LYNX_ERR_ARGUMENT);
    assert_null(link);
    lynx_link_destroy(raw[0]);
    lynx_link_destroy(raw[1]);
    lynx_credentials_destroy(psk);

    static const char *const names[] = {"good", "not good"};
    lynx_credentials *credentials = NULL;
    lynx_credentials_options bad;
    lynx_credentials_options_init(&bad);
    bad.folder = "nowhere";
    bad.allowed_names = names;
    bad.allowed_count = 2;
    assert_int_equal(lynx_credentials_create(&credentials, &bad, text, sizeof(text), NULL),
                     LYNX_ERR_ARGUMENT);
    assert_non_null(strstr(text, "not good"));
    bad.allowed_count = LYNX_TLS_ALLOWED_MAX + 1;
    assert_int_equal(lynx_credentials_create(&credentials, &bad, text, sizeof(text), NULL),
                     LYNX_ERR_ARGUMENT);
    assert_null(credentials);
}

static void the_nth_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const names[] = {"own"};
    char folder[TEST_PATH_MAX];
    char text[512];
    lynx_keys_pair node;
    test_folder_make(folder);
    test_node(&authority, "own", -60, 3600, &node);
    test_keys_write(folder, authority.certificate, &node);
    test_file_write(folder, "psk", secret_a, 0600);
    char path[TEST_PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/psk", folder);
    for (int is_psk = 0; is_psk < 2; is_psk++) {
        lynx_status status = LYNX_ERR_MEMORY;
        for (uint64_t n = 1; status != LYNX_OK; n++) {
            test_allocator memory;
            test_allocator_init(&memory);
            memory.fail_at = n;
            lynx_credentials *credentials = NULL;
            lynx_link *raw[2];
            lynx_link *link = NULL;
            lynx_tls_options tls;
            lynx_credentials_options options;
            lynx_credentials_options_init(&options);
            *(is_psk ? &options.psk_file : &options.folder) = is_psk ? path : folder;
            options.allowed_names = names;
            options.allowed_count = 1;
            lynx_tls_options_init(&tls);
            assert_int_equal(lynx_link_memory_pair(raw, 1000, NULL), LYNX_OK);
            status = lynx_credentials_create(&credentials, &options, text, sizeof(text),
                                             &memory.allocator);
            if (status == LYNX_OK)
                status = lynx_credentials_reload(credentials, &options, text, sizeof(text));
            if (status == LYNX_OK)
                status = lynx_link_tls(&link, raw[0], credentials, &tls, &memory.allocator);
            assert_true(status == LYNX_OK || status == LYNX_ERR_MEMORY);
            lynx_link_destroy(status == LYNX_OK ? link : raw[0]);
            lynx_link_destroy(raw[1]);
            lynx_credentials_destroy(credentials);
            assert_int_equal(memory.live_blocks, 0);
        }
    }
    test_folder_remove(folder);
}

/* ---- keys ---------------------------------------------------------------------------- */

static void keys_are_made_and_read(void **state)
{
    (void)state;
    char text[512];
    lynx_keys_pair node, bad;
    lynx_keys_options options;
    lynx_keys_certificate what;
    test_node(&authority, "node-1.rack", -60, 3600, &node);
    assert_int_equal(lynx_keys_read(node.certificate, &what), LYNX_OK);
    assert_string_equal(what.name, "node-1.rack");
    assert_int_equal(strlen(what.fingerprint), 95);
    assert_false(what.is_authority);
    assert_int_equal(what.ends_unix_s - what.starts_unix_s, 3660);
    char issuer[sizeof(what.issuer)];
    memcpy(issuer, what.issuer, sizeof(issuer));
    assert_int_equal(lynx_keys_read(authority.certificate, &what), LYNX_OK);
    assert_true(what.is_authority);
    assert_string_equal(what.name, issuer);
    assert_true(lynx_keys_is_signed_by(node.certificate, authority.certificate));
    assert_false(lynx_keys_is_signed_by(node.certificate, stranger.certificate));
    assert_false(lynx_keys_is_signed_by("", authority.certificate));
    assert_int_equal(lynx_keys_read("nothing", &what), LYNX_ERR_ARGUMENT);

    static const char longest[] =
        "a234567890123456789012345678901234567890123456789012345678901234";
    static const char *const names[] = {"", "-a", "a b", "a/b", "../a", "a,DNS:b", longest};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        lynx_keys_options_init(&options, names[i], 1);
        assert_int_equal(lynx_keys_make_node(&options, &authority, &bad, text, sizeof(text)),
                         LYNX_ERR_ARGUMENT);
        assert_int_equal(lynx_keys_make_authority(&options, &bad, text, sizeof(text)),
                         LYNX_ERR_ARGUMENT);
    }
    lynx_keys_options_init(&options, "a", 1);
    assert_int_equal(lynx_keys_make_node(&options, &node, &bad, text, sizeof(text)),
                     LYNX_ERR_ARGUMENT);
    options.ends_unix_s = options.starts_unix_s;
    assert_int_equal(lynx_keys_make_node(&options, &authority, &bad, text, sizeof(text)),
                     LYNX_ERR_ARGUMENT);
    uint8_t secrets[2][32] = {{0}};
    for (int i = 0; i < 2; i++)
        assert_int_equal(lynx_keys_make_secret(secrets[i], sizeof(secrets[i])), LYNX_OK);
    assert_memory_not_equal(secrets[0], secrets[1], 32);
    lynx_keys_wipe(secrets, sizeof(secrets));
    assert_int_equal(secrets[1][7], 0);
}

static int make_authorities(void **state)
{
    (void)state;
    test_authority(&authority);
    test_authority(&stranger);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_name_both_ends),
        cmocka_unit_test(a_secret_authenticates_both_ends),
        cmocka_unit_test(the_wrong_peer_is_denied_and_told_why),
        cmocka_unit_test(strangers_are_denied),
        cmocka_unit_test(plaintext_is_denied),
        cmocka_unit_test(a_peer_that_vanishes_is_noticed),
        cmocka_unit_test(a_silent_peer_is_given_up),
        cmocka_unit_test(a_slow_peer_gets_every_byte),
        cmocka_unit_test(four_records_are_held_back),
        cmocka_unit_test(buffered_bytes_are_announced),
        cmocka_unit_test(keys_are_changed_on_the_way),
        cmocka_unit_test(a_pacer_goes_on_top),
        cmocka_unit_test(a_changed_byte_ends_the_link),
        cmocka_unit_test(reload_serves_new_links_and_keeps_old_ones),
        cmocka_unit_test(bad_certificates_are_explained),
        cmocka_unit_test(bad_secrets_are_explained),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(the_nth_allocation_may_fail),
        cmocka_unit_test(keys_are_made_and_read),
    };
    return cmocka_run_group_tests(tests, make_authorities, NULL);
}
