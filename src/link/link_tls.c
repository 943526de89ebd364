/* SPDX-License-Identifier: MIT */
/*
 * link_tls.c - TLS over any link.
 *
 * OpenSSL reads and writes through a BIO of ours on the inner link, so it never sees a socket:
 * no SIGPIPE, and the inner link may be anything.
 *
 *     parts --> records (<= 16 KiB) --> SSL_write --> BIO --> backlog --> inner->send
 *
 * The BIO takes whatever OpenSSL writes. Records of one call gather in the backlog, four to a
 * call of the inner link: one by one they cost 0.6 s of CPU for each GB more on a link of
 * 1 Gbit/s. What the inner link has no room for waits there, and nothing is encrypted
 * meanwhile. So SSL_write never has to be repeated with the same bytes, which callers of a link
 * could not promise, and a link holds back at most four records and a few messages of TLS
 * itself.
 */
#include <stdio.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/alloc.h"
#include "base/check.h"
#include "link/certificate.h"
#include "link/credentials.h"
#include "link/explain.h"
#include "link/tls_explain.h"
#include "lynx/tls.h"

enum {
    RECORD_BYTES = 16 << 10,                   /* the most that one record of TLS carries */
    GATHER_BYTES = 64 << 10,                   /* of encrypted records, then they leave */
    BACKLOG_BYTES = GATHER_BYTES + (48 << 10), /* and one more record, and messages of TLS */
    UNREAD_TURNS = 64,
    TEXT_BYTES = 384
};

typedef struct tls_link {
    lynx_link base;
    const lynx_allocator *memory;
    lynx_link *inner;
    lx_key_set *keys;
    lynx_tls_options options;
    BIO_METHOD *method;
    SSL *ssl;
    lynx_time_ns now;      /* of the call in progress */
    lynx_time_ns deadline; /* of the handshake; 0: not begun */
    uint32_t records;      /* sent since the last change of keys */
    bool is_established;
    bool is_gathering;       /* the BIO keeps records for the inner link's next call */
    bool has_more;           /* receive may find bytes that no poll shows */
    lynx_status failure;     /* LYNX_OK, or what every further call returns */
    lynx_status send_status; /* of the inner link */
    lynx_status receive_status;
    size_t backlog_start, backlog_end;
    lx_tls_refusal refusal;
    char peer[LYNX_TLS_NAME_MAX];
    char expected[LYNX_TLS_NAME_MAX];
    char own[LYNX_TLS_NAME_MAX];
    char text[TEXT_BYTES];
    uint8_t gathered[RECORD_BYTES];
    uint8_t backlog[BACKLOG_BYTES];
} tls_link;

static tls_link *tls_of(lynx_link *link)
{
    return (tls_link *)(void *)link;
}

static const tls_link *tls_of_const(const lynx_link *link)
{
    return (const tls_link *)(const void *)link;
}

/* ---- the inner link ------------------------------------------------------------------ */

/* Send until the inner link is full; how much it took. */
static size_t push(tls_link *t, const uint8_t *data, size_t size)
{
    size_t sent = 0;
    while (sent < size && t->send_status == LYNX_OK) {
        size_t taken = 0;
        const lynx_bytes part = {data + sent, size - sent};
        const lynx_status status = t->inner->ops->send(t->inner, t->now, &part, 1, &taken);
        if (status == LYNX_BLOCKED)
            break;
        t->send_status = status;
        sent += taken;
    }
    return sent;
}

static void push_backlog(tls_link *t)
{
    t->backlog_start +=
        push(t, t->backlog + t->backlog_start, t->backlog_end - t->backlog_start);
    if (t->backlog_start == t->backlog_end)
        t->backlog_start = t->backlog_end = 0;
}

static bool has_backlog(const tls_link *t)
{
    return t->backlog_end > 0;
}

static int bio_write(BIO *bio, const char *data, int size)
{
    tls_link *t = BIO_get_data(bio);
    const size_t wanted = (size_t)size;
    size_t taken = 0;
    BIO_clear_retry_flags(bio);
    if (!has_backlog(t) && !t->is_gathering)
        taken = push(t, (const uint8_t *)data, wanted);
    const size_t room = sizeof(t->backlog) - t->backlog_end;
    const size_t kept = wanted - taken < room ? wanted - taken : room;
    if (t->send_status == LYNX_OK && kept > 0) {
        memcpy(t->backlog + t->backlog_end, data + taken, kept);
        t->backlog_end += kept;
        taken += kept;
    }
    if (taken > 0)
        return (int)taken;
    if (t->send_status == LYNX_OK)
        BIO_set_retry_write(bio);
    return -1;
}

static int bio_read(BIO *bio, char *data, int size)
{
    tls_link *t = BIO_get_data(bio);
    size_t got = 0;
    BIO_clear_retry_flags(bio);
    if (t->receive_status != LYNX_OK)
        return -1;
    const lynx_status status =
        t->inner->ops->receive(t->inner, t->now, (uint8_t *)data, (size_t)size, &got);
    if (status == LYNX_BLOCKED) {
        BIO_set_retry_read(bio);
        return -1;
    }
    t->receive_status = status;
    return status == LYNX_OK ? (int)got : -1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* ---- failures ------------------------------------------------------------------------ */

static lynx_status fail_inner(tls_link *t, lynx_status status)
{
    t->failure = status;
    if (t->is_established || status != LYNX_ERR_CLOSED)
        snprintf(t->text, sizeof(t->text), "%s", t->inner->ops->error_text(t->inner));
    else
        snprintf(t->text, sizeof(t->text),
                 "the peer closed the connection during the TLS handshake; does it use TLS? "
                 "(%s)",
                 t->inner->ops->error_text(t->inner));
    return status;
}

static lynx_status fail_tls(tls_link *t)
{
    const lx_tls_trouble trouble = {
        .is_psk = t->keys->state.is_psk,
        .is_server = t->options.role == LYNX_TLS_SERVER,
        .is_established = t->is_established,
        .refusal = t->refusal,
        .peer = t->peer,
        .expected = t->expected,
        .own = t->own,
        .verify_result = SSL_get_verify_result(t->ssl),
        .error = ERR_peek_error(),
    };
    t->failure = lx_tls_explain(&trouble, t->text, sizeof(t->text));
    push_backlog(t); /* the alert */
    return t->failure;
}

/* The inner link sends no more. The peer may have said why just before it closed. */
static lynx_status fail_send(tls_link *t)
{
    uint8_t byte;
    size_t size = 0;
    ERR_clear_error();
    const int result = SSL_peek_ex(t->ssl, &byte, 1, &size);
    if (result != 1 && SSL_get_error(t->ssl, result) == SSL_ERROR_SSL &&
        t->receive_status == LYNX_OK)
        return fail_tls(t);
    return fail_inner(t, t->send_status);
}

/* What a call of OpenSSL that returned no success means. */
static lynx_status outcome(tls_link *t, int result)
{
    const int error = SSL_get_error(t->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return LYNX_BLOCKED;
    if (error == SSL_ERROR_ZERO_RETURN) {
        snprintf(t->text, sizeof(t->text), "the peer closed the connection");
        return t->failure = LYNX_ERR_CLOSED;
    }
    /* What the inner link says goes before what OpenSSL makes of it. */
    if (t->receive_status != LYNX_OK)
        return fail_inner(t, t->receive_status);
    if (t->send_status != LYNX_OK)
        return fail_send(t);
    return fail_tls(t);
}

/* ---- who the peer is ----------------------------------------------------------------- */

static bool accepts_name(tls_link *t)
{
    if (t->expected[0] && strcmp(t->expected, t->peer) != 0)
        t->refusal = LX_TLS_OTHER_NAME;
    else if (!lx_key_set_allows(t->keys, t->peer))
        t->refusal = LX_TLS_NOT_ALLOWED;
    return t->refusal == LX_TLS_NO_REFUSAL;
}

/* Called for each certificate of the chain; names are checked here and not after the handshake,
 * so that the peer is told by an alert. */
static int on_verify(int is_verified, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    tls_link *t = SSL_get_app_data(ssl);
    const bool is_leaf = X509_STORE_CTX_get_error_depth(store) == 0;
    const bool is_named =
        is_leaf && lx_certificate_name(X509_STORE_CTX_get_current_cert(store), t->peer);
    if (t->keys->state.is_psk)
        t->refusal = LX_TLS_CERTIFICATE;
    else if (!is_verified || !is_leaf)
        return is_verified;
    else if (!is_named)
        t->refusal = LX_TLS_NAMELESS;
    else if (accepts_name(t))
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED); /* its alert: bad certificate */
    return 0;
}

/* A session that stands for a secret; OpenSSL takes it. NULL: no memory. */
static SSL_SESSION *session_of(SSL *ssl, const lx_secret *secret)
{
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01}; /* RFC 8446, B.4 */
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
    SSL_SESSION *session = SSL_SESSION_new();
    if (cipher && session &&
        SSL_SESSION_set1_master_key(session, secret->bytes, secret->size) &&
        SSL_SESSION_set_cipher(session, cipher) &&
        SSL_SESSION_set1_id_context(session, (const uint8_t *)lx_tls_context,
                                    (unsigned)strlen(lx_tls_context)) &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

/* The client's secret. 'digest' is given after a second hello: a secret goes with SHA-256. */
static int on_use_secret(SSL *ssl, const EVP_MD *digest, const unsigned char **id, size_t *size,
                         SSL_SESSION **session)
{
    tls_link *t = SSL_get_app_data(ssl);
    *session = NULL;
    if (digest && EVP_MD_get_type(digest) != NID_sha256)
        return 1;
    const lx_secret *secret = lx_key_set_secret(t->keys, t->own, strlen(t->own));
    *session = session_of(ssl, secret);
    *id = (const unsigned char *)t->own;
    *size = strlen(t->own);
    return *session != NULL;
}

/* The server's secret of an id; without one the handshake goes on to certificates, of which
 * there are none. */
static int on_find_secret(SSL *ssl, const unsigned char *id, size_t size, SSL_SESSION **session)
{
    tls_link *t = SSL_get_app_data(ssl);
    const lx_secret *secret = lx_key_set_secret(t->keys, id, size);
    *session = NULL;
    snprintf(t->peer, sizeof(t->peer), "%s", secret ? secret->id : "");
    if (!secret) {
        t->refusal = LX_TLS_UNKNOWN_ID;
        /* The id is the peer's: only what could be a name is repeated. */
        if (size < sizeof(t->peer)) {
            memcpy(t->peer, id, size);
            t->peer[size] = '\0';
        }
        if (!lynx_keys_name_is_valid(t->peer))
            t->peer[0] = '\0';
        return 1;
    }
    t->refusal = LX_TLS_NO_REFUSAL; /* a peer may offer several ids */
    if (!accepts_name(t))
        return 1;
    memcpy(t->own, secret->id, sizeof(t->own));
    *session = session_of(ssl, secret);
    return *session != NULL;
}

/* What must hold of every finished handshake, whatever led to it. */
static bool is_authenticated(tls_link *t)
{
    const bool is_resumed = SSL_session_reused(t->ssl) == 1;
    const bool has_certificate = SSL_get0_peer_certificate(t->ssl) != NULL;
    if (t->keys->state.is_psk && t->options.role == LYNX_TLS_CLIENT)
        memcpy(t->peer, t->own, sizeof(t->peer));
    if (SSL_version(t->ssl) != TLS1_3_VERSION || !t->peer[0])
        return false;
    if (t->keys->state.is_psk)
        return is_resumed && !has_certificate;
    return !is_resumed && has_certificate && SSL_get_verify_result(t->ssl) == X509_V_OK;
}

/* ---- the handshake ------------------------------------------------------------------- */

/* LYNX_OK once the peer is authenticated, LYNX_BLOCKED until then. */
static lynx_status advance(tls_link *t, lynx_time_ns now)
{
    t->now = now;
    LX_REQUIRE(t->failure == LYNX_OK, t->failure);
    ERR_clear_error(); /* of other users of this thread */
    if (t->is_established)
        return LYNX_OK;
    if (t->deadline == 0)
        t->deadline = now + t->options.handshake_timeout_ns;
    push_backlog(t);
    const int result = SSL_do_handshake(t->ssl);
    if (result == 1) {
        if (!is_authenticated(t)) {
            snprintf(t->text, sizeof(t->text), "the peer did not authenticate itself");
            return t->failure = LYNX_ERR_DENIED;
        }
        t->is_established = true;
        t->has_more = SSL_has_pending(t->ssl) == 1; /* came along with the last flight */
        return LYNX_OK;
    }
    const lynx_status status = outcome(t, result);
    if (status != LYNX_BLOCKED || now < t->deadline)
        return status;
    snprintf(t->text, sizeof(t->text),
             "no TLS handshake within %.1f s; does the peer use TLS, or is it overloaded?",
             (double)t->options.handshake_timeout_ns / 1e9);
    return t->failure = LYNX_ERR_TIMEOUT;
}

/* ---- send ---------------------------------------------------------------------------- */

/* Where in the parts of one send we are. */
typedef struct place {
    const lynx_bytes *parts;
    uint32_t count, index;
    size_t offset;
} place;

static void pass_empty(place *p)
{
    while (p->index < p->count && p->offset == p->parts[p->index].size) {
        p->index++;
        p->offset = 0;
    }
}

/* The next record's bytes. Large parts are encrypted from where they lie; small ones, such as
 * headers, are gathered with what follows, for a record costs more than a copy of 16 KiB. */
static lynx_bytes next_record(tls_link *t, place *p)
{
    pass_empty(p);
    if (p->index == p->count)
        return (lynx_bytes){NULL, 0};
    const lynx_bytes part = p->parts[p->index];
    const size_t left = part.size - p->offset;
    if (left >= RECORD_BYTES || p->index + 1 == p->count) {
        const size_t size = left < RECORD_BYTES ? left : RECORD_BYTES;
        const lynx_bytes record = {part.data + p->offset, size};
        p->offset += size;
        return record;
    }
    size_t fill = 0;
    while (fill < RECORD_BYTES && p->index < p->count) {
        const lynx_bytes *from = &p->parts[p->index];
        const size_t rest = from->size - p->offset;
        const size_t size = rest < RECORD_BYTES - fill ? rest : RECORD_BYTES - fill;
        memcpy(t->gathered + fill, from->data + p->offset, size);
        fill += size;
        p->offset += size;
        pass_empty(p);
    }
    return (lynx_bytes){t->gathered, fill};
}

static lynx_status send_record(tls_link *t, lynx_bytes record)
{
    size_t written = 0;
    if (t->records == t->options.rekey_records) {
        if (SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
            return fail_tls(t);
        t->records = 0;
    }
    t->is_gathering = true;
    const int result = SSL_write_ex(t->ssl, record.data, record.size, &written);
    t->is_gathering = false;
    if (result != 1)
        return outcome(t, result);
    t->records++;
    return LYNX_OK;
}

static lynx_status tls_send(lynx_link *link, lynx_time_ns now, const lynx_bytes *parts,
                            uint32_t part_count, size_t *size)
{
    tls_link *t = tls_of(link);
    place at = {.parts = parts, .count = part_count};
    lynx_status status = LYNX_OK; /* also when there is nothing to send */
    *size = 0;
    LX_TRY(advance(t, now));
    do {
        if (*size == 0 || t->backlog_end >= GATHER_BYTES)
            push_backlog(t);
        if (t->send_status != LYNX_OK)
            status = fail_send(t);
        else if (has_backlog(t) && (*size == 0 || t->backlog_end >= GATHER_BYTES))
            status = LYNX_BLOCKED;
        else {
            const lynx_bytes record = next_record(t, &at);
            if (record.size == 0)
                break;
            status = send_record(t, record);
            *size += status == LYNX_OK ? record.size : 0;
        }
    } while (status == LYNX_OK);
    push_backlog(t);
    /* A failure after some bytes is found again by the next call. */
    return *size > 0 ? LYNX_OK : status == LYNX_OK ? LYNX_BLOCKED : status;
}

/* ---- the other calls ----------------------------------------------------------------- */

static lynx_status tls_receive(lynx_link *link, lynx_time_ns now, uint8_t *data,
                               size_t capacity, size_t *size)
{
    tls_link *t = tls_of(link);
    lynx_status status = LYNX_OK;
    *size = 0;
    LX_TRY(advance(t, now));
    while (*size < capacity && status == LYNX_OK) {
        size_t got = 0;
        const int result = SSL_read_ex(t->ssl, data + *size, capacity - *size, &got);
        if (result != 1)
            status = outcome(t, result);
        *size += got;
    }
    t->has_more = *size == capacity && SSL_has_pending(t->ssl) == 1;
    return *size > 0 ? LYNX_OK : status;
}

static lynx_status tls_flush(lynx_link *link, lynx_time_ns now, lynx_time_ns *next)
{
    tls_link *t = tls_of(link);
    *next = LYNX_TIME_NEVER;
    const lynx_status status = advance(t, now);
    LX_REQUIRE(!lynx_failed(status), status);
    push_backlog(t);
    lynx_status flushed = LYNX_OK;
    if (t->send_status == LYNX_OK)
        flushed = t->inner->ops->flush(t->inner, now, next);
    if (lynx_failed(flushed))
        t->send_status = flushed;
    LX_REQUIRE(t->send_status == LYNX_OK, fail_send(t));
    if (!t->is_established && t->deadline < *next)
        *next = t->deadline;
    if (t->has_more)
        *next = now;
    return LYNX_OK;
}

static bool tls_is_draining(const lynx_link *link)
{
    const tls_link *t = tls_of_const(link);
    return has_backlog(t) || t->inner->ops->is_draining(t->inner);
}

static int tls_descriptor(const lynx_link *link)
{
    const lynx_link *inner = tls_of_const(link)->inner;
    return inner->ops->descriptor(inner);
}

static bool tls_wants_writable(const lynx_link *link)
{
    const tls_link *t = tls_of_const(link);
    return has_backlog(t) && t->inner->ops->wants_writable(t->inner);
}

static const char *tls_error_text(const lynx_link *link)
{
    const tls_link *t = tls_of_const(link);
    return t->text[0] ? t->text : t->inner->ops->error_text(t->inner);
}

static const char *tls_peer_name(const lynx_link *link)
{
    const tls_link *t = tls_of_const(link);
    return t->is_established ? t->peer : NULL;
}

/* ---- life ---------------------------------------------------------------------------- */

/* Closing a socket with unread bytes resets the connection, and the peer would lose the alert
 * that tells it why. */
static void read_away(tls_link *t)
{
    lynx_status status = t->receive_status;
    for (int i = 0; i < UNREAD_TURNS && status == LYNX_OK; i++) {
        size_t size = 0;
        status = t->inner->ops->receive(t->inner, t->now, t->gathered, RECORD_BYTES, &size);
    }
}

static void free_link(tls_link *t)
{
    const lynx_allocator *memory = t->memory;
    SSL_free(t->ssl);
    BIO_meth_free(t->method);
    lx_key_set_release(t->keys);
    OPENSSL_cleanse(t->gathered, sizeof(t->gathered));
    lx_free(memory, t, 1, sizeof(*t));
}

static void tls_destroy(lynx_link *link)
{
    tls_link *t = tls_of(link);
    ERR_clear_error();
    push_backlog(t);
    if (t->is_established && (t->failure == LYNX_OK || t->failure == LYNX_ERR_CLOSED))
        (void)!SSL_shutdown(t->ssl);
    if (t->failure == LYNX_ERR_DENIED)
        read_away(t);
    lynx_link_destroy(t->inner);
    ERR_clear_error();
    free_link(t);
}

static const lynx_link_ops tls_ops = {
    .send = tls_send,
    .receive = tls_receive,
    .flush = tls_flush,
    .is_draining = tls_is_draining,
    .descriptor = tls_descriptor,
    .wants_writable = tls_wants_writable,
    .error_text = tls_error_text,
    .peer_name = tls_peer_name,
    .destroy = tls_destroy,
};

void lynx_tls_options_init(lynx_tls_options *options)
{
    *options = (lynx_tls_options){
        .struct_size = sizeof(*options),
        .role = LYNX_TLS_CLIENT,
        .handshake_timeout_ns = 5000000000ull,
        .rekey_records = 1u << 22,
    };
}

static BIO *make_bio(tls_link *t)
{
    t->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "lynx_link");
    if (!t->method || !BIO_meth_set_write(t->method, bio_write) ||
        !BIO_meth_set_read(t->method, bio_read) || !BIO_meth_set_ctrl(t->method, bio_control))
        return NULL;
    BIO *bio = BIO_new(t->method);
    if (bio) {
        BIO_set_data(bio, t);
        BIO_set_init(bio, 1);
    }
    return bio;
}

static lynx_status open_session(tls_link *t)
{
    t->ssl = SSL_new(t->keys->context);
    LX_REQUIRE(t->ssl && SSL_set_app_data(t->ssl, t) == 1, LYNX_ERR_MEMORY);
    BIO *bio = make_bio(t);
    LX_REQUIRE(bio, LYNX_ERR_MEMORY);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_verify(t->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    if (t->keys->state.is_psk) {
        SSL_set_psk_use_session_callback(t->ssl, on_use_secret);
        SSL_set_psk_find_session_callback(t->ssl, on_find_secret);
    }
    if (t->options.role == LYNX_TLS_SERVER)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    return LYNX_OK;
}

static lynx_status set_names(tls_link *t)
{
    const char *peer = t->options.peer_name;
    t->options.peer_name = NULL; /* the caller's */
    memcpy(t->own, t->keys->state.name, sizeof(t->own));
    LX_REQUIRE(peer, LYNX_OK);
    LX_REQUIRE(lynx_keys_name_is_valid(peer), LYNX_ERR_ARGUMENT);
    memcpy(t->expected, peer, strlen(peer) + 1);
    LX_REQUIRE(t->keys->state.is_psk, LYNX_OK);
    LX_REQUIRE(lx_key_set_secret(t->keys, peer, strlen(peer)), LYNX_ERR_ARGUMENT);
    memcpy(t->own, t->expected, sizeof(t->own));
    return LYNX_OK;
}

lynx_status lynx_link_tls(lynx_link **link, lynx_link *inner, lynx_credentials *credentials,
                          const lynx_tls_options *options, const lynx_allocator *memory)
{
    LX_REQUIRE(options->rekey_records >= 1 && options->rekey_records <= 1u << 23,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(options->handshake_timeout_ns >= 1, LYNX_ERR_ARGUMENT);
    memory = lx_allocator_or_default(memory);
    tls_link *t = lx_alloc_zeroed(memory, 1, sizeof(*t));
    LX_REQUIRE(t, LYNX_ERR_MEMORY);
    t->base.ops = &tls_ops;
    t->memory = memory;
    t->inner = inner;
    t->options = *options;
    t->keys = lx_key_set_acquire(credentials);
    lynx_status status = set_names(t);
    if (status == LYNX_OK)
        status = open_session(t);
    ERR_clear_error();
    if (status != LYNX_OK) {
        free_link(t);
        return status;
    }
    *link = &t->base;
    return LYNX_OK;
}
