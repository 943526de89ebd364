/* SPDX-License-Identifier: MIT */
/*
 * bench_transfer_plain.c - what Lynx is compared with: blocking sockets as the system makes
 * them, or OpenSSL on one, and nothing that decides what leaves.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench_transfer.h"
#include "lynx/keys.h"
#include "lynx/runtime.h"

enum { ANCHORS, RESIDUALS, CONNECTIONS };

/* One connection, with TLS or without. */
typedef struct plain {
    transfer_state *state;
    int socket;
    SSL *ssl; /* NULL: none */
} plain;

/* ---- connections --------------------------------------------------------------------- */

static uint32_t connections_of(const transfer_state *state)
{
    return state->task.kind == TRANSFER_BARE ? 1 : CONNECTIONS;
}

static void set_options(const transfer_state *state, int socket)
{
    const char *congestion = state->task.congestion;
    if (congestion)
        (void)!setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, congestion,
                          (socklen_t)strlen(congestion));
}

static struct sockaddr_in address_of(const transfer_state *state)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atomic_load(&state->port))};
    inet_pton(AF_INET, state->task.space ? net_space_address : "127.0.0.1", &in.sin_addr);
    return in;
}

static bool accept_all(transfer_state *state, plain *ends)
{
    struct sockaddr_in in = address_of(state);
    socklen_t size = sizeof(in);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&in, sizeof(in)) != 0 || listen(listener, 2) != 0 ||
        getsockname(listener, (struct sockaddr *)&in, &size) != 0)
        return transfer_fail(state, 0, "listen", "no socket");
    atomic_store(&state->port, ntohs(in.sin_port));
    for (uint32_t i = 0; i < connections_of(state); i++) {
        ends[i] = (plain){.state = state, .socket = accept(listener, NULL, NULL)};
        if (ends[i].socket < 0)
            return transfer_fail(state, 0, "accept", "no connection");
        set_options(state, ends[i].socket);
    }
    close(listener);
    return true;
}

static bool connect_all(transfer_state *state, plain *ends)
{
    const struct timespec pause = {0, 2000000};
    while (atomic_load(&state->port) == 0)
        nanosleep(&pause, NULL);
    const struct sockaddr_in in = address_of(state);
    for (uint32_t i = 0; i < connections_of(state); i++) {
        ends[i] = (plain){.state = state, .socket = socket(AF_INET, SOCK_STREAM, 0)};
        set_options(state, ends[i].socket);
        if (connect(ends[i].socket, (const struct sockaddr *)&in, sizeof(in)) != 0)
            return transfer_fail(state, 1, "connect", "no connection");
    }
    return true;
}

/* A key made for this run. */
static bool use_new_key(SSL_CTX *context)
{
    static lynx_keys_pair pair;
    char text[512];
    lynx_keys_options options;
    lynx_keys_options_init(&options, "bench", 1);
    if (lynx_keys_make_authority(&options, &pair, text, sizeof(text)) != LYNX_OK)
        return false;
    BIO *certificate_bio = BIO_new_mem_buf(pair.certificate, -1);
    BIO *key_bio = BIO_new_mem_buf(pair.key, -1);
    X509 *certificate = PEM_read_bio_X509(certificate_bio, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    const bool is_good = SSL_CTX_use_certificate(context, certificate) == 1 &&
                         SSL_CTX_use_PrivateKey(context, key) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    BIO_free(certificate_bio);
    BIO_free(key_bio);
    return is_good;
}

/* The cipher that Lynx prefers, and nobody is authenticated: speed is all that counts here. */
static bool start_tls(plain *end, int side)
{
    if (!end->state->task.credentials)
        return true;
    SSL_CTX *context = SSL_CTX_new(side == 0 ? TLS_server_method() : TLS_client_method());
    const bool is_good =
        context && SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1 &&
        (side == 1 || use_new_key(context)) && (end->ssl = SSL_new(context)) != NULL &&
        SSL_set_fd(end->ssl, end->socket) == 1 &&
        (side == 0 ? SSL_accept(end->ssl) : SSL_connect(end->ssl)) == 1;
    SSL_CTX_free(context);
    return is_good || transfer_fail(end->state, side, "TLS", "no handshake");
}

/* ---- bytes --------------------------------------------------------------------------- */

static bool send_all(const plain *end, const uint8_t *data, size_t size)
{
    while (size > 0) {
        const size_t chunk = size < TRANSFER_CHUNK_BYTES ? size : TRANSFER_CHUNK_BYTES;
        const ssize_t sent = end->ssl ? SSL_write(end->ssl, data, (int)chunk)
                                      : send(end->socket, data, chunk, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static bool receive_all(const plain *end, uint8_t *data, size_t size)
{
    while (size > 0) {
        const size_t chunk = size < TRANSFER_CHUNK_BYTES ? size : TRANSFER_CHUNK_BYTES;
        const ssize_t got =
            end->ssl ? SSL_read(end->ssl, data, (int)chunk) : recv(end->socket, data, chunk, 0);
        if (got <= 0)
            return false;
        atomic_fetch_add(&end->state->bytes, (unsigned long long)got);
        data += got;
        size -= (size_t)got;
    }
    return true;
}

/* ---- the sending process ------------------------------------------------------------- */

static void *send_residuals(void *user)
{
    const plain *end = user;
    const size_t size = end->state->task.page_bytes;
    uint8_t *data = calloc(1, size);
    while (data && !atomic_load(&end->state->is_over) && send_all(end, data, size))
        ;
    free(data);
    return NULL;
}

/* Anchors at their times; 'data' is a page. */
static bool send_anchors(transfer_state *state, const plain *end, uint8_t *data)
{
    const struct timespec pause = {0, 100000};
    transfer_plan plan;
    transfer_plan_start(&plan, state);
    while (true) {
        const lynx_time_ns now = lynx_clock_now();
        if (transfer_plan_takes_anchor(&plan, state, now)) {
            memcpy(data, &now, sizeof(now));
            if (!send_all(end, data, state->task.page_bytes))
                return false;
        }
        if (transfer_plan_look(&plan, state, now))
            return true;
        nanosleep(&pause, NULL);
    }
}

bool transfer_plain_send(transfer_state *state)
{
    static plain ends[CONNECTIONS]; /* the thread has it when this function returns */
    pthread_t thread;
    uint8_t *data = calloc(1, state->task.page_bytes);
    if (!data || !accept_all(state, ends) || !start_tls(&ends[0], 0))
        return false;
    if (pthread_create(&thread, NULL, send_residuals, &ends[connections_of(state) - 1]) != 0)
        return transfer_fail(state, 0, "thread", "none to be had");
    const bool is_good = send_anchors(state, &ends[ANCHORS], data);
    return is_good || atomic_load(&state->is_over);
}

/* ---- the receiving process ----------------------------------------------------------- */

static void *receive_residuals(void *user)
{
    const plain *end = user;
    const size_t size = end->state->task.page_bytes;
    uint8_t *data = malloc(size);
    while (data && !atomic_load(&end->state->is_over) && receive_all(end, data, size))
        ;
    free(data);
    return NULL;
}

static void *receive_anchors(void *user)
{
    const plain *end = user;
    const size_t size = end->state->task.page_bytes;
    uint8_t *data = malloc(size);
    while (data && receive_all(end, data, size))
        transfer_note_anchor(end->state, data);
    free(data);
    return NULL;
}

bool transfer_plain_receive(transfer_state *state)
{
    const struct timespec pause = {0, 1000000};
    static plain ends[CONNECTIONS]; /* as above */
    pthread_t threads[CONNECTIONS];
    transfer_meter meter = {0};
    if (!connect_all(state, ends) || !start_tls(&ends[0], 1))
        return false;
    const uint32_t count = connections_of(state);
    for (uint32_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL,
                           i == count - 1 ? receive_residuals : receive_anchors, &ends[i]) != 0)
            return transfer_fail(state, 1, "thread", "none to be had");
    while (!transfer_meter_look(&meter, state))
        nanosleep(&pause, NULL);
    return true; /* the process ends, and its threads with it */
}
