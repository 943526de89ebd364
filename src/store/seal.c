/* SPDX-License-Identifier: MIT */
#include "store/seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/check.h"
#include "base/cursor.h"

enum { NONCE_BYTES = 12 };

static const char segment_label[] = "lynx segment";
static const char name_label[] = "lynx name";

/* ---- names --------------------------------------------------------------------------- */

static EVP_MD_CTX *context_of(const lx_hash *hash)
{
    return (EVP_MD_CTX *)(uintptr_t)hash;
}

lynx_status lx_hash_create(lx_hash **hash)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    LX_REQUIRE(context, LYNX_ERR_MEMORY);
    if (EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        return LYNX_ERR_MEMORY;
    }
    *hash = (lx_hash *)(void *)context;
    return LYNX_OK;
}

lynx_status lx_hash_copy(lx_hash **hash, const lx_hash *source)
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    if (!copy || EVP_MD_CTX_copy_ex(copy, context_of(source)) != 1) {
        EVP_MD_CTX_free(copy);
        return LYNX_ERR_MEMORY;
    }
    *hash = (lx_hash *)(void *)copy;
    return LYNX_OK;
}

void lx_hash_destroy(lx_hash *hash)
{
    EVP_MD_CTX_free(context_of(hash));
}

lynx_status lx_hash_add(lx_hash *hash, const void *data, size_t size)
{
    return EVP_DigestUpdate(context_of(hash), data, size) == 1 ? LYNX_OK : LYNX_ERR_MEMORY;
}

lynx_status lx_hash_get(const lx_hash *hash, uint8_t digest[LX_NAME_BYTES])
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    const bool is_done = copy && EVP_MD_CTX_copy_ex(copy, context_of(hash)) == 1 &&
                         EVP_DigestFinal_ex(copy, digest, NULL) == 1;
    EVP_MD_CTX_free(copy);
    return is_done ? LYNX_OK : LYNX_ERR_MEMORY;
}

/* HKDF with SHA-256. */
static lynx_status derive(const uint8_t key[LX_KEY_BYTES], const uint8_t *salt,
                          size_t salt_size, const char *label, uint8_t target[LX_KEY_BYTES])
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string("digest", digest, 0),
        OSSL_PARAM_construct_octet_string("key", (void *)(uintptr_t)key, LX_KEY_BYTES),
        OSSL_PARAM_construct_octet_string("salt", (void *)(uintptr_t)salt, salt_size),
        OSSL_PARAM_construct_octet_string("info", (void *)(uintptr_t)label, strlen(label)),
        OSSL_PARAM_construct_end(),
    };
    const bool is_done =
        context && EVP_KDF_derive(context, target, LX_KEY_BYTES, parameters) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return is_done ? LYNX_OK : LYNX_ERR_MEMORY;
}

lynx_status lx_seal_name(const uint8_t key[LX_KEY_BYTES], const uint8_t digest[LX_NAME_BYTES],
                         uint8_t name[LX_NAME_BYTES])
{
    static const uint8_t no_salt[LX_SALT_BYTES];
    uint8_t own[LX_KEY_BYTES];
    LX_TRY(derive(key, no_salt, sizeof(no_salt), name_label, own));
    const bool is_done =
        HMAC(EVP_sha256(), own, sizeof(own), digest, LX_NAME_BYTES, name, NULL) != NULL;
    OPENSSL_cleanse(own, sizeof(own));
    return is_done ? LYNX_OK : LYNX_ERR_MEMORY;
}

lynx_status lx_seal_random(void *target, size_t size)
{
    return RAND_bytes(target, (int)size) == 1 ? LYNX_OK : LYNX_ERR_SYSTEM;
}

/* ---- sealing ------------------------------------------------------------------------- */

lynx_status lx_seal_init(lx_seal *seal, const uint8_t key[LX_KEY_BYTES],
                         const uint8_t salt[LX_SALT_BYTES])
{
    seal->is_sealed = true;
    return derive(key, salt, LX_SALT_BYTES, segment_label, seal->key);
}

size_t lx_sealed_bytes(const lx_seal *seal, size_t size)
{
    return size + (seal->is_sealed ? LX_TAG_BYTES : 0);
}

static void put_nonce(lx_seal_at at, uint8_t nonce[NONCE_BYTES])
{
    lx_writer writer = lx_writer_of(nonce, NONCE_BYTES);
    lx_write_u32(&writer, at.run);
    lx_write_u64(&writer, at.index);
}

/* All parts are below 2 GiB: planes and headers are bounded far below. */
static bool encrypt(EVP_CIPHER_CTX *context, const lx_seal *seal, lx_seal_at at,
                    const void *bound, size_t bound_size, const uint8_t *source, size_t size,
                    uint8_t *target)
{
    uint8_t nonce[NONCE_BYTES];
    int length = 0;
    put_nonce(at, nonce);
    return EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, seal->key, nonce) == 1 &&
           (bound_size == 0 ||
            EVP_EncryptUpdate(context, NULL, &length, bound, (int)bound_size) == 1) &&
           (size == 0 || EVP_EncryptUpdate(context, target, &length, source, (int)size) == 1) &&
           EVP_EncryptFinal_ex(context, target + size, &length) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, LX_TAG_BYTES, target + size) ==
               1;
}

lynx_status lx_seal_close(const lx_seal *seal, lx_seal_at at, const void *bound,
                          size_t bound_size, const uint8_t *source, size_t size,
                          uint8_t *target)
{
    if (!seal->is_sealed) {
        if (size > 0 && target != source)
            memcpy(target, source, size);
        return LYNX_OK;
    }
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    const bool is_done =
        context && encrypt(context, seal, at, bound, bound_size, source, size, target);
    EVP_CIPHER_CTX_free(context);
    return is_done ? LYNX_OK : LYNX_ERR_MEMORY;
}

static bool decrypt(EVP_CIPHER_CTX *context, const lx_seal *seal, lx_seal_at at,
                    const void *bound, size_t bound_size, uint8_t *data, size_t size)
{
    uint8_t nonce[NONCE_BYTES];
    int length = 0;
    put_nonce(at, nonce);
    return EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, seal->key, nonce) == 1 &&
           (bound_size == 0 ||
            EVP_DecryptUpdate(context, NULL, &length, bound, (int)bound_size) == 1) &&
           (size == 0 || EVP_DecryptUpdate(context, data, &length, data, (int)size) == 1) &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, LX_TAG_BYTES, data + size) ==
               1 &&
           EVP_DecryptFinal_ex(context, data + size, &length) == 1;
}

lynx_status lx_seal_open(const lx_seal *seal, lx_seal_at at, const void *bound,
                         size_t bound_size, uint8_t *data, size_t *size)
{
    if (!seal->is_sealed)
        return LYNX_OK;
    LX_REQUIRE(*size >= LX_TAG_BYTES, LYNX_ERR_PROTOCOL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    LX_REQUIRE(context, LYNX_ERR_MEMORY);
    const size_t content = *size - LX_TAG_BYTES;
    const bool is_done = decrypt(context, seal, at, bound, bound_size, data, content);
    EVP_CIPHER_CTX_free(context);
    LX_REQUIRE(is_done, LYNX_ERR_DENIED);
    *size = content;
    return LYNX_OK;
}
