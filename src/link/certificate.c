/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/check.h"
#include "link/certificate.h"
#include "link/explain.h"
#include "lynx/keys.h"

enum {
    SKEW_S = 300,
    DAY_S = 86400,
    SERIAL_BITS = 127,
    NAME_BYTES_MOST = LYNX_KEYS_NAME_MAX - 1
};

/* What issuing one certificate needs; released together, whatever is there. */
typedef struct issue {
    X509 *certificate;
    EVP_PKEY *key;
    X509 *issuer; /* of an authority: its own certificate */
    EVP_PKEY *issuer_key;
} issue;

void lynx_keys_options_init(lynx_keys_options *options, const char *name, uint32_t days)
{
    const int64_t now = (int64_t)time(NULL);
    *options = (lynx_keys_options){
        .struct_size = sizeof(*options),
        .name = name,
        .starts_unix_s = now - SKEW_S,
        .ends_unix_s = now + (int64_t)days * DAY_S,
    };
}

bool lynx_keys_name_is_valid(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char all[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const size_t length = strlen(name);
    return length >= 1 && length <= NAME_BYTES_MOST && strspn(name, all) == length &&
           strchr(letters, name[0]) != NULL;
}

void lynx_keys_wipe(void *secret, size_t size)
{
    OPENSSL_cleanse(secret, size);
}

lynx_status lynx_keys_make_secret(uint8_t *secret, size_t size)
{
    LX_REQUIRE(size <= INT_MAX && RAND_priv_bytes(secret, (int)size) == 1, LYNX_ERR_SYSTEM);
    return LYNX_OK;
}

/* ---- issue --------------------------------------------------------------------------- */

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    const bool is_set =
        number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
        BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return is_set;
}

static bool set_subject(X509 *certificate, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name,
                                      -1, -1, 0) == 1;
}

static bool add_extension(const issue *i, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, i->issuer, i->certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    const bool is_added = extension && X509_add_ext(i->certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

static bool add_extensions(const issue *i, const char *node_name)
{
    char alternative[LYNX_KEYS_NAME_MAX + 8];
    if (!node_name)
        return add_extension(i, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
               add_extension(i, NID_key_usage, "critical,keyCertSign,cRLSign") &&
               add_extension(i, NID_subject_key_identifier, "hash");
    snprintf(alternative, sizeof(alternative), "DNS:%s", node_name);
    return add_extension(i, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(i, NID_key_usage, "critical,digitalSignature") &&
           add_extension(i, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_extension(i, NID_subject_alt_name, alternative) &&
           add_extension(i, NID_subject_key_identifier, "hash") &&
           add_extension(i, NID_authority_key_identifier, "keyid");
}

/* Fill and sign; 'node_name' is NULL for an authority, which signs itself. */
static bool fill(issue *i, const lynx_keys_options *options, const char *subject,
                 const char *node_name)
{
    i->certificate = X509_new();
    i->key = EVP_EC_gen("P-256");
    if (!i->certificate || !i->key)
        return false;
    if (!node_name) {
        i->issuer = i->certificate;
        i->issuer_key = i->key;
    }
    X509 *x = i->certificate;
    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
           ASN1_TIME_set(X509_getm_notBefore(x), (time_t)options->starts_unix_s) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x), (time_t)options->ends_unix_s) != NULL &&
           set_subject(x, subject) &&
           X509_set_issuer_name(x, X509_get_subject_name(i->issuer)) == 1 &&
           X509_set_pubkey(x, i->key) == 1 && add_extensions(i, node_name) &&
           X509_sign(x, i->issuer_key, EVP_sha256()) > 0;
}

static bool copy_out(BIO *bio, char target[LYNX_KEYS_PEM_MAX])
{
    const int size = BIO_read(bio, target, LYNX_KEYS_PEM_MAX - 1);
    if (size <= 0)
        return false;
    target[size] = '\0';
    return true;
}

static bool write_pair(const issue *i, lynx_keys_pair *pair)
{
    BIO *certificate = BIO_new(BIO_s_mem());
    BIO *key = BIO_new(BIO_s_secmem());
    const bool is_written =
        certificate && key && PEM_write_bio_X509(certificate, i->certificate) == 1 &&
        PEM_write_bio_PKCS8PrivateKey(key, i->key, NULL, NULL, 0, NULL, NULL) == 1 &&
        copy_out(certificate, pair->certificate) && copy_out(key, pair->key);
    BIO_free(certificate);
    BIO_free(key);
    return is_written;
}

static lynx_status check_options(const lynx_keys_options *options, char *text, size_t text_size)
{
    LX_REQUIRE(options->name && lynx_keys_name_is_valid(options->name),
               lx_explain(text, text_size, LYNX_ERR_ARGUMENT,
                          "'%s' is not a name: letters, digits, '.', '-' and '_', at most %d, "
                          "a letter or digit first",
                          options->name ? options->name : "", NAME_BYTES_MOST));
    LX_REQUIRE(options->starts_unix_s >= 0 && options->ends_unix_s > options->starts_unix_s,
               lx_explain(text, text_size, LYNX_ERR_ARGUMENT,
                          "a certificate must end after it begins"));
    return LYNX_OK;
}

static lynx_status explain_openssl(char *text, size_t text_size)
{
    char reason[160];
    ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
    return lx_explain(text, text_size, LYNX_ERR_SYSTEM,
                      "OpenSSL could not make the certificate: %s", reason);
}

lynx_status lynx_keys_make_authority(const lynx_keys_options *options,
                                     lynx_keys_pair *authority, char *text, size_t text_size)
{
    LX_TRY(check_options(options, text, text_size));
    ERR_clear_error();
    uint32_t appendix = 0;
    LX_TRY(lynx_keys_make_secret((uint8_t *)&appendix, sizeof(appendix)));
    char subject[LYNX_KEYS_NAME_MAX];
    snprintf(subject, sizeof(subject), "%.50s %08x", options->name, appendix);
    issue i = {0};
    const bool is_made = fill(&i, options, subject, NULL) && write_pair(&i, authority);
    X509_free(i.certificate);
    EVP_PKEY_free(i.key);
    return is_made ? LYNX_OK : explain_openssl(text, text_size);
}

/* ---- read ---------------------------------------------------------------------------- */

X509 *lx_certificate_next(BIO *bio)
{
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    ERR_clear_error();
    return certificate;
}

static X509 *first_certificate(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio ? lx_certificate_next(bio) : NULL;
    BIO_free(bio);
    return certificate;
}

/* A key without pass phrase: no prompt on a terminal. */
static int no_pass_phrase(char *buffer, int size, int is_writing, void *user)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)user;
    return -1;
}

EVP_PKEY *lx_certificate_key(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    return key;
}

static void copy_common_name(const X509_NAME *from, char *name, size_t size)
{
    name[0] = '\0';
    X509_NAME_get_text_by_NID((X509_NAME *)(uintptr_t)from, NID_commonName, name, (int)size);
}

bool lx_certificate_name(const X509 *certificate, char name[LYNX_KEYS_NAME_MAX])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool is_found = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !is_found; i++) {
        const GENERAL_NAME *entry = sk_GENERAL_NAME_value(names, i);
        if (entry->type != GEN_DNS)
            continue;
        const int size = ASN1_STRING_length(entry->d.dNSName);
        if (size < 1 || size >= LYNX_KEYS_NAME_MAX)
            break;
        memcpy(name, ASN1_STRING_get0_data(entry->d.dNSName), (size_t)size);
        name[size] = '\0';
        /* A zero inside would make the name shorter than what the authority signed. */
        is_found = strlen(name) == (size_t)size && lynx_keys_name_is_valid(name);
        if (!is_found)
            break;
    }
    GENERAL_NAMES_free(names);
    return is_found;
}

int64_t lx_certificate_seconds(const ASN1_TIME *when)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0;
    int seconds = 0;
    if (epoch)
        (void)!ASN1_TIME_diff(&days, &seconds, epoch, when);
    ASN1_TIME_free(epoch);
    return (int64_t)days * DAY_S + seconds;
}

static void copy_fingerprint(const X509 *certificate, char text[96])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    text[0] = '\0';
    if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1)
        return;
    for (unsigned i = 0; i < size && i < 32; i++)
        snprintf(text + (size_t)i * 3, 4, "%02X%s", digest[i], i + 1 < size ? ":" : "");
}

lynx_status lynx_keys_read(const char *pem, lynx_keys_certificate *certificate)
{
    X509 *x = first_certificate(pem);
    LX_REQUIRE(x, LYNX_ERR_ARGUMENT);
    *certificate = (lynx_keys_certificate){.is_authority = X509_check_ca(x) == 1};
    if (!lx_certificate_name(x, certificate->name))
        copy_common_name(X509_get_subject_name(x), certificate->name,
                         sizeof(certificate->name));
    copy_common_name(X509_get_issuer_name(x), certificate->issuer, sizeof(certificate->issuer));
    copy_fingerprint(x, certificate->fingerprint);
    certificate->starts_unix_s = lx_certificate_seconds(X509_get0_notBefore(x));
    certificate->ends_unix_s = lx_certificate_seconds(X509_get0_notAfter(x));
    X509_free(x);
    return LYNX_OK;
}

bool lynx_keys_is_signed_by(const char *pem, const char *authority)
{
    X509 *x = first_certificate(pem);
    X509 *issuer = first_certificate(authority);
    const bool is_signed = x && issuer && X509_check_issued(issuer, x) == X509_V_OK &&
                           X509_verify(x, X509_get0_pubkey(issuer)) == 1;
    X509_free(x);
    X509_free(issuer);
    ERR_clear_error();
    return is_signed;
}

lynx_status lynx_keys_make_node(const lynx_keys_options *options,
                                const lynx_keys_pair *authority, lynx_keys_pair *node,
                                char *text, size_t text_size)
{
    LX_TRY(check_options(options, text, text_size));
    ERR_clear_error();
    issue i = {.issuer = first_certificate(authority->certificate),
               .issuer_key = lx_certificate_key(authority->key)};
    lynx_status status = LYNX_OK;
    if (!i.issuer || !i.issuer_key || X509_check_ca(i.issuer) != 1 ||
        X509_check_private_key(i.issuer, i.issuer_key) != 1)
        status = lx_explain(text, text_size, LYNX_ERR_ARGUMENT,
                            "the authority's certificate and key do not belong together");
    else if (!fill(&i, options, options->name, options->name) || !write_pair(&i, node))
        status = explain_openssl(text, text_size);
    X509_free(i.issuer);
    EVP_PKEY_free(i.issuer_key);
    X509_free(i.certificate);
    EVP_PKEY_free(i.key);
    return status;
}
