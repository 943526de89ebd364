/* SPDX-License-Identifier: MIT */
#include "link/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "base/check.h"
#include "link/certificate.h"
#include "link/explain.h"

enum { FILE_BYTES_MAX = 64 << 10, PATH_BYTES_MAX = 1024, READ_AHEAD_BYTES = 64 << 10 };

static const char ciphers[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

const char lx_tls_context[] = "lynx";

struct lynx_credentials {
    const lynx_allocator *memory;
    pthread_mutex_t lock; /* over 'current' alone */
    lx_key_set *current;
};

/* Where a failure is told. */
typedef struct report {
    char *text;
    size_t size;
} report;

void lynx_credentials_options_init(lynx_credentials_options *options)
{
    *options = (lynx_credentials_options){.struct_size = sizeof(*options)};
}

/* ---- files --------------------------------------------------------------------------- */

/* The whole file into 'content' (FILE_BYTES_MAX + 1), terminated. A secret must be this user's
 * alone; the check is of the opened file, so nobody can exchange it in between. */
static lynx_status read_open(int descriptor, const char *path, bool is_secret, char *content,
                             report r)
{
    struct stat found;
    if (fstat(descriptor, &found) != 0 || !S_ISREG(found.st_mode))
        return lx_explain(r.text, r.size, LYNX_ERR_SYSTEM, "'%s' is not a file", path);
    if (is_secret && (found.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return lx_explain(r.text, r.size, LYNX_ERR_DENIED,
                          "'%s' holds a secret and can be read by others (mode %04o); make new "
                          "keys if that matters, and run: chmod 600 '%s'",
                          path, (unsigned)found.st_mode & 07777u, path);
    size_t size = 0;
    ssize_t got = 1;
    while (got > 0 && size < FILE_BYTES_MAX) {
        got = read(descriptor, content + size, FILE_BYTES_MAX - size);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            size += (size_t)got;
    }
    content[size] = '\0';
    if (got < 0)
        return lx_explain(r.text, r.size, LYNX_ERR_SYSTEM, "cannot read '%s': %s", path,
                          strerror(errno));
    if (size == FILE_BYTES_MAX)
        return lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT, "'%s' is too large", path);
    return LYNX_OK;
}

static lynx_status read_file(const char *path, bool is_secret, const char *hint, char *content,
                             report r)
{
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return lx_explain(r.text, r.size, LYNX_ERR_SYSTEM, "cannot open '%s': %s; %s", path,
                          strerror(errno), hint);
    const lynx_status status = read_open(descriptor, path, is_secret, content, r);
    close(descriptor);
    return status;
}

/* ---- certificates -------------------------------------------------------------------- */

static const char node_hint[] =
    "make it by 'lynx keys node NAME' and copy the folder to this machine";

/* Put every certificate of 'pem' in the store; how many there were. */
static uint32_t add_authorities(X509_STORE *store, const char *pem)
{
    uint32_t count = 0;
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate;
    while (bio && (certificate = lx_certificate_next(bio)) != NULL) {
        count +=
            X509_check_ca(certificate) == 1 && X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
    }
    BIO_free(bio);
    return count;
}

static lynx_status check_dates(const X509 *leaf, const char *path, report r)
{
    char when[32] = "";
    const int64_t now = (int64_t)time(NULL);
    const int64_t starts = lx_certificate_seconds(X509_get0_notBefore(leaf));
    const int64_t ends = lx_certificate_seconds(X509_get0_notAfter(leaf));
    const time_t edge = (time_t)(now < starts ? starts : ends);
    struct tm utc;
    if (gmtime_r(&edge, &utc))
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M UTC", &utc);
    if (now < starts)
        return lx_explain(
            r.text, r.size, LYNX_ERR_DENIED,
            "the certificate '%s' is not valid before %s; is this machine's clock "
            "right?",
            path, when);
    if (now > ends)
        return lx_explain(r.text, r.size, LYNX_ERR_DENIED,
                          "the certificate '%s' expired on %s; renew it by 'lynx keys rotate' "
                          "where the authority is, and copy the folder here",
                          path, when);
    return LYNX_OK;
}

/* True when an authority of the context's store signed 'leaf'. */
static bool is_of_authority(SSL_CTX *context, X509 *leaf)
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    bool is_signed = false;
    if (check && X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context), leaf, NULL) == 1)
        is_signed = X509_verify_cert(check) == 1;
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return is_signed;
}

static lynx_status use_certificate(lx_key_set *set, X509 *leaf, const char *path, report r)
{
    char group[32] = "";
    LX_REQUIRE(leaf, lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                                "'%s' holds no certificate; %s", path, node_hint));
    LX_TRY(check_dates(leaf, path, r));
    EVP_PKEY_get_group_name(X509_get0_pubkey(leaf), group, sizeof(group), NULL);
    LX_REQUIRE(strcmp(group, "prime256v1") == 0,
               lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                          "the certificate '%s' is not ECDSA on P-256; %s", path, node_hint));
    LX_REQUIRE(lx_certificate_name(leaf, set->state.name),
               lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                          "the certificate '%s' has no DNS name; %s", path, node_hint));
    LX_REQUIRE(
        is_of_authority(set->context, leaf),
        lx_explain(r.text, r.size, LYNX_ERR_DENIED,
                   "the certificate '%s' is not signed by the authority in ca.pem beside "
                   "it; %s",
                   path, node_hint));
    set->state.ends_unix_s = lx_certificate_seconds(X509_get0_notAfter(leaf));
    LX_REQUIRE(SSL_CTX_use_certificate(set->context, leaf) == 1, LYNX_ERR_MEMORY);
    return LYNX_OK;
}

static lynx_status load_certificate(lx_key_set *set, const char *path, char *content, report r)
{
    LX_TRY(read_file(path, false, node_hint, content, r));
    BIO *bio = BIO_new_mem_buf(content, -1);
    X509 *leaf = bio ? lx_certificate_next(bio) : NULL;
    const lynx_status status = use_certificate(set, leaf, path, r);
    X509_free(leaf);
    BIO_free(bio);
    return status;
}

static lynx_status load_key(lx_key_set *set, const char *path, char *content, report r)
{
    LX_TRY(read_file(path, true, node_hint, content, r));
    EVP_PKEY *key = lx_certificate_key(content);
    LX_REQUIRE(key, lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                               "'%s' holds no private key without pass phrase; %s", path,
                               node_hint));
    const bool is_used = SSL_CTX_use_PrivateKey(set->context, key) == 1;
    EVP_PKEY_free(key);
    ERR_clear_error();
    LX_REQUIRE(is_used, lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                                   "the key '%s' does not belong to the certificate beside it; "
                                   "copy the whole folder that 'lynx keys node' made",
                                   path));
    return LYNX_OK;
}

static lynx_status load_folder(lx_key_set *set, const char *folder, char *content, report r)
{
    char path[PATH_BYTES_MAX + 16];
    snprintf(path, sizeof(path), "%s/ca.pem", folder);
    LX_TRY(read_file(path, false, node_hint, content, r));
    LX_REQUIRE(add_authorities(SSL_CTX_get_cert_store(set->context), content) > 0,
               lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                          "'%s' holds no certificate of an authority; %s", path, node_hint));
    snprintf(path, sizeof(path), "%s/node.pem", folder);
    LX_TRY(load_certificate(set, path, content, r));
    snprintf(path, sizeof(path), "%s/node.key", folder);
    return load_key(set, path, content, r);
}

/* ---- PSK ----------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)((at - digits) & 15) : -1;
}

static bool parse_secret(const char *line, lx_secret *secret)
{
    const char *colon = strchr(line, ':');
    const size_t id_size = colon ? (size_t)(colon - line) : 0;
    const size_t digits = colon ? strlen(colon + 1) : 0;
    if (id_size < 1 || id_size >= sizeof(secret->id) || digits % 2 != 0 ||
        digits / 2 < LYNX_KEYS_SECRET_LEAST || digits / 2 > LYNX_KEYS_SECRET_MOST)
        return false;
    memcpy(secret->id, line, id_size);
    secret->id[id_size] = '\0';
    secret->size = digits / 2;
    for (size_t i = 0; i < secret->size; i++) {
        const int high = hex_digit(colon[1 + 2 * i]);
        const int low = hex_digit(colon[2 + 2 * i]);
        if (high < 0 || low < 0)
            return false;
        secret->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return lynx_keys_name_is_valid(secret->id);
}

static lynx_status load_secrets(lx_key_set *set, const char *path, char *content, report r)
{
    LX_TRY(read_file(path, true, "make it by 'lynx keys psk'", content, r));
    set->secrets = lx_alloc_zeroed(set->memory, LYNX_TLS_PSK_MAX, sizeof(*set->secrets));
    LX_REQUIRE(set->secrets, LYNX_ERR_MEMORY);
    char *rest = content;
    uint32_t number = 0;
    for (const char *line; (line = strsep(&rest, "\n")) != NULL;) {
        number++;
        if (line[0] == '\0' || line[0] == '#')
            continue;
        LX_REQUIRE(set->secret_count < LYNX_TLS_PSK_MAX,
                   lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                              "'%s' holds more than %d secrets; remove old ones", path,
                              LYNX_TLS_PSK_MAX));
        lx_secret *secret = &set->secrets[set->secret_count];
        LX_REQUIRE(parse_secret(line, secret) &&
                       !lx_key_set_secret(set, secret->id, strlen(secret->id)),
                   lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                              "line %u of '%s' is not ID:HEX with an id of its own and %d to "
                              "%d random bytes; 'lynx keys psk' writes such lines",
                              number, path, LYNX_KEYS_SECRET_LEAST, LYNX_KEYS_SECRET_MOST));
        set->secret_count++;
    }
    LX_REQUIRE(set->secret_count > 0,
               lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                          "'%s' holds no secret; make one by 'lynx keys psk'", path));
    memcpy(set->state.name, set->secrets[0].id, sizeof(set->state.name));
    set->state.ends_unix_s = INT64_MAX;
    return LYNX_OK;
}

const lx_secret *lx_key_set_secret(const lx_key_set *set, const void *id, size_t size)
{
    for (uint32_t i = 0; i < set->secret_count; i++)
        if (strlen(set->secrets[i].id) == size && memcmp(set->secrets[i].id, id, size) == 0)
            return &set->secrets[i];
    return NULL;
}

/* ---- key sets ------------------------------------------------------------------------ */

static SSL_CTX *make_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (!context)
        return NULL;
    const bool is_set = SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                        SSL_CTX_set_ciphersuites(context, ciphers) == 1 &&
                        SSL_CTX_set1_sigalgs_list(context, "ECDSA+SHA256") == 1 &&
                        SSL_CTX_set_num_tickets(context, 0) == 1 &&
                        SSL_CTX_set_max_early_data(context, 0) == 1 &&
                        SSL_CTX_set_session_id_context(context, (const uint8_t *)lx_tls_context,
                                                       (unsigned)strlen(lx_tls_context)) == 1;
    if (!is_set) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    /* A leaf under its authority, no authority between, and none sent along. */
    SSL_CTX_set_verify_depth(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN);
    /* Several records come with one call of the system. Buffers stay between records
     * (SSL_MODE_RELEASE_BUFFERS would take and give back 16 KiB for each). */
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_BYTES);
    return context;
}

static void free_set(lx_key_set *set)
{
    const lynx_allocator *memory = set->memory;
    SSL_CTX_free(set->context);
    if (set->secrets)
        OPENSSL_cleanse(set->secrets, LYNX_TLS_PSK_MAX * sizeof(*set->secrets));
    lx_free(memory, set->secrets, LYNX_TLS_PSK_MAX, sizeof(*set->secrets));
    lx_free(memory, set->allowed, set->allowed_count, sizeof(*set->allowed));
    lx_free(memory, set, 1, sizeof(*set));
}

void lx_key_set_release(lx_key_set *set)
{
    if (set && atomic_fetch_sub(&set->references, 1) == 1)
        free_set(set);
}

bool lx_key_set_allows(const lx_key_set *set, const char *name)
{
    for (uint32_t i = 0; i < set->allowed_count; i++)
        if (strcmp(set->allowed[i], name) == 0)
            return true;
    return set->allowed_count == 0;
}

static lynx_status copy_allowed(lx_key_set *set, const char *const *names, uint32_t count,
                                report r)
{
    LX_REQUIRE(count <= LYNX_TLS_ALLOWED_MAX,
               lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                          "more than %d names of allowed nodes", LYNX_TLS_ALLOWED_MAX));
    LX_REQUIRE(count > 0, LYNX_OK);
    set->allowed = lx_alloc_zeroed(set->memory, count, sizeof(*set->allowed));
    LX_REQUIRE(set->allowed, LYNX_ERR_MEMORY);
    set->allowed_count = count;
    for (uint32_t i = 0; i < count; i++) {
        LX_REQUIRE(lynx_keys_name_is_valid(names[i]),
                   lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT, "'%s' is no name of a node",
                              names[i]));
        memcpy(set->allowed[i], names[i], strlen(names[i]) + 1);
    }
    return LYNX_OK;
}

static lynx_status load_sources(const lynx_credentials_options *o, lx_key_set *set,
                                char *content, report r)
{
    if (o->psk_file)
        return load_secrets(set, o->psk_file, content, r);
    return load_folder(set, o->folder, content, r);
}

static lynx_status load_into(const lynx_credentials_options *o, lx_key_set *set, report r)
{
    ERR_clear_error();
    set->state.is_psk = o->psk_file != NULL;
    set->context = make_context();
    LX_REQUIRE(set->context, lx_explain(r.text, r.size, LYNX_ERR_SYSTEM,
                                        "OpenSSL does not offer TLS 1.3 with our ciphers; does "
                                        "its configuration forbid them?"));
    char *content = lx_alloc(set->memory, FILE_BYTES_MAX + 1, 1);
    LX_REQUIRE(content, LYNX_ERR_MEMORY);
    const lynx_status status = load_sources(o, set, content, r);
    OPENSSL_cleanse(content, FILE_BYTES_MAX + 1);
    lx_free(set->memory, content, FILE_BYTES_MAX + 1, 1);
    return status;
}

static lynx_status check_options(const lynx_credentials_options *o, report r)
{
    const char *source = o->folder ? o->folder : o->psk_file;
    LX_REQUIRE(!o->folder != !o->psk_file,
               lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                          "give either a folder of certificates or a PSK file"));
    LX_REQUIRE(strlen(source) < PATH_BYTES_MAX,
               lx_explain(r.text, r.size, LYNX_ERR_ARGUMENT,
                          "the path of the keys is longer than %d bytes", PATH_BYTES_MAX - 1));
    return LYNX_OK;
}

/* A new set from the files of 'options'. */
static lynx_status load(const lynx_credentials_options *options, const lynx_allocator *memory,
                        lx_key_set **set, report r)
{
    lx_explain(r.text, r.size, LYNX_OK, "%s", lynx_status_text(LYNX_ERR_MEMORY));
    LX_TRY(check_options(options, r));
    lx_key_set *s = lx_alloc_zeroed(memory, 1, sizeof(*s));
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->memory = memory;
    atomic_init(&s->references, 1);
    lynx_status status = copy_allowed(s, options->allowed_names, options->allowed_count, r);
    if (status == LYNX_OK)
        status = load_into(options, s, r);
    if (status != LYNX_OK) {
        free_set(s);
        return status;
    }
    *set = s;
    return LYNX_OK;
}

/* ---- credentials --------------------------------------------------------------------- */

lx_key_set *lx_key_set_acquire(lynx_credentials *credentials)
{
    pthread_mutex_lock(&credentials->lock);
    lx_key_set *set = credentials->current;
    atomic_fetch_add(&set->references, 1);
    pthread_mutex_unlock(&credentials->lock);
    return set;
}

lynx_credentials_state lynx_credentials_state_of(lynx_credentials *credentials)
{
    lx_key_set *set = lx_key_set_acquire(credentials);
    const lynx_credentials_state state = set->state;
    lx_key_set_release(set);
    return state;
}

lynx_status lynx_credentials_create(lynx_credentials **credentials,
                                    const lynx_credentials_options *options, char *text,
                                    size_t text_size, const lynx_allocator *memory)
{
    memory = lx_allocator_or_default(memory);
    lx_key_set *set = NULL;
    LX_TRY(load(options, memory, &set, (report){text, text_size}));
    lynx_credentials *c = lx_alloc_zeroed(memory, 1, sizeof(*c));
    if (!c || pthread_mutex_init(&c->lock, NULL) != 0) {
        lx_free(memory, c, 1, sizeof(*c));
        lx_key_set_release(set);
        return lx_explain(text, text_size, LYNX_ERR_MEMORY, "%s",
                          lynx_status_text(LYNX_ERR_MEMORY));
    }
    c->memory = memory;
    c->current = set;
    *credentials = c;
    return LYNX_OK;
}

lynx_status lynx_credentials_reload(lynx_credentials *credentials,
                                    const lynx_credentials_options *options, char *text,
                                    size_t text_size)
{
    lx_key_set *fresh = NULL;
    LX_TRY(load(options, credentials->memory, &fresh, (report){text, text_size}));
    pthread_mutex_lock(&credentials->lock);
    lx_key_set *replaced = credentials->current;
    credentials->current = fresh;
    pthread_mutex_unlock(&credentials->lock);
    lx_key_set_release(replaced);
    return LYNX_OK;
}

void lynx_credentials_destroy(lynx_credentials *credentials)
{
    if (!credentials)
        return;
    lx_key_set_release(credentials->current);
    pthread_mutex_destroy(&credentials->lock);
    lx_free(credentials->memory, credentials, 1, sizeof(*credentials));
}
