/* SPDX-License-Identifier: MIT */
/*
 * store.h - caches that are kept: the cache file (".lynx"), and stores of segments.
 *
 * A segment holds the planes of tokens [first, end) of a prompt, 'first' on a page boundary,
 * for all layers and both sides; docs/format-store.md gives its bytes. A cache file is one
 * segment or several, one behind the other. A store is a place (lynx/place.h) full of segments
 * that are named by model, codec and tokens, and of documents: texts under a name that people
 * chose.
 *
 * The codec of stored pages is storable (lynx/codec.h; LYNX_ERR_ARGUMENT otherwise), so a
 * page does not depend on what follows it.
 *
 * Reading gives a lynx_source (lynx/source.h) for the longest prefix of a prompt that is here.
 * Each plane is compared with its digest before it is handed out; the tokens of each segment
 * are compared with the prompt.
 *
 * Threads: a store is used from several threads at once, every other object from one at a time
 * (a source also as lynx/source.h says). Everything that is created from a store or a cache
 * file ends before it.
 *
 * 'text' (>= LYNX_PLACE_TEXT_MAX bytes) gets one sentence on failure.
 */
#ifndef LYNX_STORE_H
#define LYNX_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/codec.h"
#include "lynx/engine.h"
#include "lynx/export.h"
#include "lynx/kv.h"
#include "lynx/memory.h"
#include "lynx/place.h"
#include "lynx/source.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LYNX_STORE_KEY_BYTES = 32,
    LYNX_PREFIX_NAME_MAX = 65,    /* 64 hexadecimal digits and the terminator */
    LYNX_DOCUMENT_NAME_MAX = 129, /* 128 bytes and the terminator */
    LYNX_MODEL_NAME_MAX = 512     /* bytes, without terminator */
};

/* Default folder: "$XDG_CACHE_HOME/lynx/store", else "$HOME/.cache/lynx/store". False when
 * there is neither or it is too long. */
LYNX_API bool lynx_store_default_folder(char *path, size_t size);

/* Read a key file: 32 bytes as 64 hexadecimal digits or as base64, one line, no access for
 * others (mode 0600). LYNX_ERR_ARGUMENT, LYNX_ERR_DENIED (its mode) or LYNX_ERR_SYSTEM. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_read_key(const char *path,
                                                         uint8_t key[LYNX_STORE_KEY_BYTES],
                                                         char *text, size_t text_size);

/* ---- what stands in headers ---------------------------------------------------------- */

/* The model and codec of a segment or document. Borrowed from the object that gave it. */
typedef struct lynx_stored_model {
    const char *name; /* of the model, terminated, for people */
    lynx_fingerprint fingerprint;
    lynx_shape shape;
    lynx_codec_spec spec;
} lynx_stored_model;

/* One segment. */
typedef struct lynx_segment_info {
    uint32_t first_token, end_token;
    uint64_t offset, bytes; /* in its object */
    uint64_t page_count;    /* pages that it holds */
    uint64_t plane_bytes[LYNX_PLANES_MAX];
    uint64_t planes_missing;         /* planes that lie behind the end of the object */
    char name[LYNX_PREFIX_NAME_MAX]; /* of the prefix that it ends */
} lynx_segment_info;

/* ---- cache files --------------------------------------------------------------------- */

/* A cache file that is open for reading. */
typedef struct lynx_cache_file lynx_cache_file;

/*
 * Open the object 'name' of 'place' (borrowed) and read its headers. 'key' (NULL: none) opens
 * an encrypted one. LYNX_OK with '*file' NULL: there is none. LYNX_ERR_PROTOCOL: no cache file,
 * or it breaks the format; LYNX_ERR_CORRUPT: a digest is wrong; LYNX_ERR_VERSION: a newer
 * version; LYNX_ERR_DENIED: another key is needed, or one at all; else as the place says.
 */
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_cache_file_open(lynx_cache_file **file, lynx_place *place, const char *name,
                     const uint8_t key[LYNX_STORE_KEY_BYTES], const lynx_allocator *memory,
                     char *text, size_t text_size);
LYNX_API void lynx_cache_file_close(lynx_cache_file *file);

LYNX_API const lynx_stored_model *lynx_cache_file_model(const lynx_cache_file *file);

/* All tokens; '*count' of them. Those of a cut last segment are among them when it is the
 * first. */
LYNX_API const lynx_token *lynx_cache_file_tokens(const lynx_cache_file *file, uint32_t *count);

LYNX_API size_t lynx_cache_file_segment_count(const lynx_cache_file *file);
LYNX_API lynx_segment_info lynx_cache_file_segment(const lynx_cache_file *file, size_t index);

/* Bytes behind the last whole segment that are no segment: a torn tail. */
LYNX_API uint64_t lynx_cache_file_tail(const lynx_cache_file *file);

/*
 * A source for the longest prefix of 'tokens', but not all of them, that the file has, at a
 * page boundary or at the end of one of its segments. LYNX_OK with '*source' NULL: nothing in
 * common, or too little. LYNX_ERR_MODEL: the file is of another model than 'model'. Where the
 * file is cut off, next() says so after all planes that are there.
 */
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_cache_file_source(lynx_cache_file *file, const lynx_model *model, const lynx_token *tokens,
                       uint32_t count, lynx_source **source, char *text, size_t text_size);

/* One thing that is wrong. 'object' is its name, 'what' a sentence. False ends the check. */
typedef bool lynx_store_fault(void *user, const char *object, const char *what);

/* Read and compare everything. LYNX_OK also when faults were told. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_cache_file_verify(lynx_cache_file *file,
                                                            lynx_store_fault *fault, void *user,
                                                            char *text, size_t text_size);

/* ---- segments that are being written ------------------------------------------------- */

/* Gathers the planes of one segment in memory. */
typedef struct lynx_segment lynx_segment;

typedef struct lynx_segment_options {
    size_t struct_size;
    const lynx_model *model; /* borrowed until destroy */
    lynx_codec_spec spec;
    const lynx_token *tokens; /* all of the prompt up to 'end_token'; borrowed until destroy */
    uint32_t first_token;     /* on a page boundary */
    uint32_t end_token;
    const uint8_t *key; /* LYNX_STORE_KEY_BYTES, read in create; NULL: not encrypted */
    const lynx_allocator *memory;
} lynx_segment_options;

LYNX_API void lynx_segment_options_init(lynx_segment_options *options);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_segment_create(lynx_segment **segment,
                                                         const lynx_segment_options *options);
LYNX_API void lynx_segment_destroy(lynx_segment *segment);

/* True when the segment has room for page 'id': it lies in its tokens, and
 * lynx_page_is_needed() for a prompt of 'end_token' tokens. */
LYNX_API bool lynx_segment_wants(const lynx_segment *segment, lynx_page_id id);

/* Take the planes of a page, as lynx_codec_encode() gives them; copied. Different pages may be
 * added by several threads at once. LYNX_ERR_STATE: it is here already. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_segment_add(lynx_segment *segment, lynx_page_id id,
                                                      const lynx_bytes *planes,
                                                      uint32_t plane_count);

/* The bytes of the segment, once all its pages are here: '*count' parts, valid until destroy.
 * LYNX_ERR_STATE: pages are missing. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_segment_finish(lynx_segment *segment,
                                                         const lynx_bytes **parts,
                                                         size_t *count);

/*
 * Append a finished segment to the file 'path' on a local disk, crash-safe: a torn tail is
 * overwritten, the old content stays valid. A file that does not exist is made, and appears
 * whole. LYNX_ERR_STATE: it does not begin where the file's pages end, or its tokens are not
 * those of the file; LYNX_ERR_MODEL; LYNX_ERR_LIMIT: no room; LYNX_ERR_SYSTEM; and as
 * lynx_cache_file_open.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_cache_file_append(const char *path,
                                                            lynx_segment *segment, char *text,
                                                            size_t text_size);

/* ---- stores -------------------------------------------------------------------------- */

typedef struct lynx_store lynx_store;

typedef struct lynx_store_options {
    size_t struct_size;
    lynx_place *place; /* taken on success */
    /* Most bytes of all objects together; beyond it the least recently used segments go after
     * a write. 0 (default): no limit. */
    uint64_t limit_bytes;
    const uint8_t *key; /* LYNX_STORE_KEY_BYTES, copied; NULL: not encrypted */
    const lynx_allocator *memory;
} lynx_store_options;

LYNX_API void lynx_store_options_init(lynx_store_options *options);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_create(lynx_store **store,
                                                       const lynx_store_options *options);
LYNX_API void lynx_store_destroy(lynx_store *store);

/* The place of the store. */
LYNX_API lynx_place *lynx_store_place(const lynx_store *store);

/* Its key, LYNX_STORE_KEY_BYTES, or NULL; borrowed. */
LYNX_API const uint8_t *lynx_store_key(const lynx_store *store);

/* Where segments of a store end: the first of 1, 2, 4, 8, 12, 16 ... page columns that lies
 * above 'token', cut at 'count' tokens. */
LYNX_API uint32_t lynx_store_cut(uint32_t page_tokens, uint32_t token, uint32_t count);

/*
 * A source for the longest stored prefix of 'tokens', but not all of them, and note its use.
 * LYNX_OK with '*source' NULL: nothing of it is here. Broken segments count as missing.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_find(lynx_store *store, const lynx_model *model,
                                                     const lynx_codec_spec *spec,
                                                     const lynx_token *tokens, uint32_t count,
                                                     lynx_source **source, char *text,
                                                     size_t text_size);

/* Remove the segment in which next() of 'source', which lynx_store_find gave, found a plane
 * that does not match its digest, so that it counts as missing from now on. LYNX_OK also when
 * there was none. The source's thread has ended. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_drop_broken(lynx_store *store,
                                                            const lynx_source *source,
                                                            char *text, size_t text_size);

/* Tokens of the longest stored prefix, without opening a source; 0: none. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_length(
    lynx_store *store, const lynx_model *model, const lynx_codec_spec *spec,
    const lynx_token *tokens, uint32_t count, uint32_t *length, char *text, size_t text_size);

/* Put a finished segment where it belongs, then evict beyond the limit. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_put(lynx_store *store, lynx_segment *segment,
                                                    char *text, size_t text_size);

/* What a store did in this process. */
typedef struct lynx_store_counters {
    uint64_t evicted_segments, evicted_bytes; /* after writes, for 'limit_bytes' */
    uint64_t bytes; /* of all objects at the last write; 0: not known, as without a limit */
} lynx_store_counters;

LYNX_API lynx_store_counters lynx_store_counters_of(const lynx_store *store);

/* ---- documents of a store ------------------------------------------------------------ */

/* 1 to 128 letters, digits, '.', '_' and '-', not beginning with '.'. */
LYNX_API bool lynx_document_name_is_legal(const char *name);

/* A text under a name. */
typedef struct lynx_document {
    char name[LYNX_DOCUMENT_NAME_MAX];
    lynx_stored_model model;
    uint8_t text_digest[16]; /* XXH3-128 of the text from which the tokens come */
    uint64_t text_bytes;
    int64_t made_at; /* seconds since 1970 */
    const lynx_token *tokens;
    uint32_t token_count;
} lynx_document;

/* Write a document, in place of one of the same name and model. LYNX_ERR_STATE: the name is
 * that of a document for another model. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_put_document(lynx_store *store,
                                                             const lynx_document *document,
                                                             char *text, size_t text_size);

/* Read a document. LYNX_OK with '*document' NULL: there is none. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_get_document(lynx_store *store,
                                                             const char *name,
                                                             lynx_document **document,
                                                             char *text, size_t text_size);
LYNX_API void lynx_document_destroy(lynx_document *document);

/*
 * As lynx_store_find, for a prompt that begins with the document's tokens. In a place without
 * lists the document's end, which may lie between two fixed cuts, is found by it alone.
 * LYNX_ERR_ARGUMENT: the prompt does not begin so, or ends there.
 */
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_store_find_document(lynx_store *store, const lynx_model *model,
                         const lynx_document *document, const lynx_token *tokens,
                         uint32_t count, lynx_source **source, char *text, size_t text_size);

/* A document or, with 'document' NULL, one that cannot be read, and what is here of it. */
typedef struct lynx_store_entry {
    const lynx_document *document;
    const char *object;   /* its name in the place */
    const char *why;      /* it cannot be read; NULL otherwise */
    uint32_t tokens_here; /* of its prefix; tokens_here == token_count: all of it */
    uint64_t bytes;       /* of its segments, shared ones included */
    uint32_t segment_count;
    int64_t used_ns; /* since 1970 */
} lynx_store_entry;

/* False ends the list. */
typedef bool lynx_store_visit(void *user, const lynx_store_entry *entry);

LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_list(lynx_store *store, lynx_store_visit *visit,
                                                     void *user, char *text, size_t text_size);

/* The same for one document; visit is not called when there is none. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_show(lynx_store *store, const char *name,
                                                     lynx_store_visit *visit, void *user,
                                                     char *text, size_t text_size);

/* One segment of the store. */
typedef bool lynx_store_segment_visit(void *user, const char *object,
                                      const lynx_segment_info *info);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_segments(lynx_store *store,
                                                         const lynx_document *document,
                                                         lynx_store_segment_visit *visit,
                                                         void *user, char *text,
                                                         size_t text_size);

/* What went. */
typedef struct lynx_store_removed {
    uint32_t objects;
    uint64_t bytes;
} lynx_store_removed;

/* Remove a document and those of its segments that no other document needs. '*removed' is zero
 * when there is none of the name. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_remove(lynx_store *store, const char *name,
                                                       lynx_store_removed *removed, char *text,
                                                       size_t text_size);

/* Remove what writers that died left behind, and the least recently used segments until
 * 'limit_bytes' (0: the store's limit) hold; with 'only_documents' also segments that no
 * document needs. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_collect(lynx_store *store, uint64_t limit_bytes,
                                                        bool only_documents,
                                                        lynx_store_removed *removed, char *text,
                                                        size_t text_size);

/* Read and compare everything in the store. 'repair' removes what is broken; what another key
 * or a newer Lynx is needed for is told and stays. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_verify(lynx_store *store, bool repair,
                                                       lynx_store_fault *fault, void *user,
                                                       char *text, size_t text_size);

/* ---- copies -------------------------------------------------------------------------- */

/* Before the first byte and after each piece, of which the largest are those that a place
 * writes: whole objects. 'done' counts what the target had already. False ends the copy
 * (LYNX_ERR_CANCELLED). */
typedef bool lynx_copy_progress(void *user, uint64_t done_bytes, uint64_t total_bytes);

/* What a fetch did. */
typedef struct lynx_file_fetched {
    uint64_t bytes;      /* of the file; 0: there is none */
    uint64_t bytes_kept; /* of them, what an earlier call had fetched */
} lynx_file_fetched;

/*
 * Copy the cache file 'name' of 'place' to the file 'path' on a local disk, which appears when
 * all of it agrees with its digests; one that is there is replaced. Until then what arrived
 * lies in "PATH.part", also when the call fails, and the same call again goes on from it. A
 * sealed file may be fetched without its 'key' (NULL): its first header is compared then.
 *
 * LYNX_ERR_CORRUPT: it is broken where it comes from; LYNX_ERR_STATE: another process fetches
 * it; LYNX_ERR_LIMIT: no room; as lynx_cache_file_open; as the place says.
 */
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_cache_file_fetch(lynx_place *place, const char *name, const char *path,
                      const uint8_t key[LYNX_STORE_KEY_BYTES], lynx_copy_progress *progress,
                      void *user, lynx_file_fetched *fetched, char *text, size_t text_size);

/* What a copy found and did; a document is an object, too. */
typedef struct lynx_store_copied {
    uint32_t objects_written, objects_present; /* present: the target had them */
    uint64_t bytes_written, bytes_present;
    uint32_t token_count, tokens_here; /* of the document, and of its prefix that was there to
                                          be copied; 0 for everything */
} lynx_store_copied;

/*
 * Copy a document and its segments, as they are, to another store; 'name' NULL: everything.
 * What the target has is not copied. All bytes are compared with their digests before they are
 * written, a second time read when they differ, and the header once more when it lies in the
 * target. The document comes last, so it is not there without its segments. What was written
 * stays when the rest fails: the same call again copies the rest. The target's limit holds at
 * the end.
 *
 * Both stores have the same key, or none. Without its key a sealed store can be copied as a
 * whole; of its planes only the number of bytes is compared.
 *
 * '*copied' is written in any case; all zero: there is no document of the name.
 * LYNX_ERR_CORRUPT: an object of the source is broken, or did not arrive whole.
 * LYNX_ERR_UNSUPPORTED: the source has no lists (everything), or the target takes no writes.
 * LYNX_ERR_STATE: the target has a document of the name for another model. LYNX_ERR_ARGUMENT:
 * the keys differ. LYNX_ERR_LIMIT, LYNX_ERR_DENIED ...: as a place says.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_store_copy(lynx_store *source, lynx_store *target,
                                                     const char *name,
                                                     lynx_copy_progress *progress, void *user,
                                                     lynx_store_copied *copied, char *text,
                                                     size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
