/* SPDX-License-Identifier: MIT */
/*
 * llama_fingerprint.c - who the model is: digests of structure, tokenizer and weights.
 *
 * The digest of the weights reads the whole file once; it is remembered in the cache folder
 * under path, size, time and inode.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/digest.h"
#include "llama/llama_internal.h"

enum { BLOCK_BYTES = 1 << 20, PATH_ROOM = 4096 };

/* Digest of everything that was written to a memory stream; frees it. */
static lynx_status digest_stream(FILE *stream, char **text, const size_t *size,
                                 uint8_t digest[16])
{
    const bool is_written = stream && fflush(stream) == 0;
    if (is_written)
        lx_digest128(*text, *size, digest);
    if (stream)
        fclose(stream);
    free(*text);
    return is_written ? LYNX_OK : LYNX_ERR_MEMORY;
}

static lynx_status digest_structure(lx_llama *e)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    const size_t prefix = strlen(e->architecture);
    if (stream) {
        fprintf(stream, "%s %u %d %d %d\n", e->architecture, e->layer_count,
                llama_model_n_embd(e->model), llama_model_n_head(e->model),
                llama_model_n_head_kv(e->model));
        for (int32_t i = 0; i < llama_model_meta_count(e->model); i++) {
            char key[256] = "";
            char value[256] = "";
            (void)llama_model_meta_key_by_index(e->model, i, key, sizeof(key));
            (void)llama_model_meta_val_str_by_index(e->model, i, value, sizeof(value));
            if (strncmp(key, e->architecture, prefix) == 0 && key[prefix] == '.')
                fprintf(stream, "%s=%s\n", key, value);
        }
    }
    return digest_stream(stream, &text, &size, e->description.fingerprint.structure);
}

static lynx_status digest_tokenizer(lx_llama *e)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    for (uint32_t i = 0; stream && i < e->description.vocabulary; i++) {
        const llama_token token = (llama_token)i;
        const bool has_text = llama_vocab_type(e->vocab) != LLAMA_VOCAB_TYPE_NONE;
        fprintf(stream, "%s %d\n", has_text ? llama_vocab_get_text(e->vocab, token) : "",
                has_text ? (int)llama_vocab_get_attr(e->vocab, token) : 0);
    }
    return digest_stream(stream, &text, &size, e->description.fingerprint.tokenizer);
}

/* A chain of digests over blocks: digest of (digest so far, next block). */
static lynx_status digest_file(lx_llama *e, uint8_t digest[16])
{
    FILE *file = fopen(e->options.model_path, "rb");
    uint8_t *block = malloc(16 + BLOCK_BYTES);
    lynx_status status = file && block ? LYNX_OK : LYNX_ERR_ENGINE;
    memset(digest, 0, 16);
    while (status == LYNX_OK) {
        const size_t got = fread(block + 16, 1, BLOCK_BYTES, file);
        if (got == 0)
            break;
        memcpy(block, digest, 16);
        lx_digest128(block, 16 + got, digest);
    }
    if (file && ferror(file))
        status = LYNX_ERR_ENGINE;
    if (file)
        fclose(file);
    free(block);
    return status == LYNX_OK ? LYNX_OK
                             : lx_llama_fail(e->slots[0]->error, status, "cannot read '%s'",
                                             e->options.model_path);
}

/* Path of the remembered digest; false when nothing is to be remembered. */
static bool remembered_path(const lx_llama *e, char path[PATH_ROOM])
{
    struct stat info;
    char real[PATH_ROOM];
    char key[PATH_ROOM + 128];
    uint8_t name[16];
    if (!e->options.cache_folder || stat(e->options.model_path, &info) != 0 ||
        !realpath(e->options.model_path, real))
        return false;
    snprintf(key, sizeof(key), "%s %lld %lld.%09ld %llu", real, (long long)info.st_size,
             (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec,
             (unsigned long long)info.st_ino);
    lx_digest128(key, strlen(key), name);
    const int length = snprintf(path, PATH_ROOM, "%s/weights", e->options.cache_folder);
    if (length < 0 || length + 40 > PATH_ROOM)
        return false;
    (void)mkdir(e->options.cache_folder, 0777);
    (void)mkdir(path, 0777);
    int at = length;
    path[at++] = '/';
    for (int i = 0; i < 16; i++)
        at += snprintf(path + at, 3, "%02x", name[i]);
    return true;
}

static bool recall(const char *path, uint8_t digest[16])
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    const bool is_whole = fread(digest, 1, 16, file) == 16;
    fclose(file);
    return is_whole;
}

/* Nothing depends on success: next time the file is read again. */
static void remember(const char *path, const uint8_t digest[16])
{
    char draft[PATH_ROOM + 32];
    snprintf(draft, sizeof(draft), "%s.%ld", path, (long)getpid());
    FILE *file = fopen(draft, "wb");
    if (!file)
        return;
    const bool is_written = fwrite(digest, 1, 16, file) == 16;
    if (fclose(file) != 0 || !is_written || rename(draft, path) != 0)
        (void)remove(draft);
}

lynx_status lx_llama_fingerprint(lx_llama *e)
{
    char path[PATH_ROOM];
    uint8_t *weights = e->description.fingerprint.weights;
    LX_TRY(digest_structure(e));
    LX_TRY(digest_tokenizer(e));
    const bool can_remember = remembered_path(e, path);
    if (can_remember && recall(path, weights))
        return LYNX_OK;
    LX_TRY(digest_file(e, weights));
    if (can_remember)
        remember(path, weights);
    return LYNX_OK;
}
