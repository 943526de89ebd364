/* SPDX-License-Identifier: MIT */
/*
 * cache_fetch.c - a cache file from anywhere to a local disk.
 *
 *     path.part     what has arrived; the next fetch goes on behind it
 *     path          all of it, compared with its digests
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "store/cache_file.h"
#include "store/disk.h"

enum {
    PATH_ROOM = 4096,
    PIECE_BYTES = 1 << 20,
    BEGINNING_BYTES = 1 << 16, /* two files that agree so far have the same digests of planes */
    WHAT_ROOM = 192
};

typedef struct fetch {
    lynx_place *place;
    lynx_object *object;
    const char *name, *path;
    char draft[PATH_ROOM];
    int descriptor; /* of the draft */
    const uint8_t *key;
    lynx_copy_progress *progress;
    void *user;
    uint8_t *piece;   /* PIECE_BYTES */
    uint64_t arrived; /* in the draft */
    uint64_t kept;    /* of them, from an earlier call */
    char fault[WHAT_ROOM];
    lx_text text;
} fetch;

static lynx_status explain(const fetch *f, const char *what)
{
    return lx_disk_explain(f->text, errno, what, f->draft);
}

/* ---- the draft ----------------------------------------------------------------------- */

static lynx_status open_draft(fetch *f)
{
    const int size = snprintf(f->draft, sizeof(f->draft), "%s.part", f->path);
    if (size < 0 || (size_t)size >= sizeof(f->draft))
        return lx_tell(f->text, LYNX_ERR_ARGUMENT, "the name of the file is too long");
    f->descriptor = open(f->draft, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f->descriptor < 0)
        return explain(f, "write");
    if (flock(f->descriptor, LOCK_EX | LOCK_NB) == 0)
        return LYNX_OK;
    return errno == EWOULDBLOCK
               ? lx_tell(f->text, LYNX_ERR_STATE, "another process writes '%s' now", f->draft)
               : explain(f, "lock");
}

static bool has_size(const fetch *f, off_t *size)
{
    struct stat found;
    const bool is_known = fstat(f->descriptor, &found) == 0 && found.st_size >= 0;
    *size = is_known ? found.st_size : 0;
    return is_known && (uint64_t)found.st_size <= f->object->size;
}

/* How much of the draft is the beginning of the object, as far as headers tell. */
static lynx_status find_kept(fetch *f)
{
    off_t size = 0;
    uint8_t *theirs = f->piece, *ours = f->piece + BEGINNING_BYTES;
    f->kept = 0;
    if (!has_size(f, &size) || size == 0)
        return LYNX_OK;
    const size_t count = size < BEGINNING_BYTES ? (size_t)size : BEGINNING_BYTES;
    LX_TRY(
        f->place->ops->read(f->place, f->object, 0, theirs, count, f->text.data, f->text.size));
    if (pread(f->descriptor, ours, count, 0) == (ssize_t)count &&
        memcmp(ours, theirs, count) == 0)
        f->kept = (uint64_t)size;
    return LYNX_OK;
}

/* ---- bytes --------------------------------------------------------------------------- */

static lynx_status tell_progress(const fetch *f)
{
    return !f->progress || f->progress(f->user, f->arrived, f->object->size)
               ? LYNX_OK
               : LYNX_ERR_CANCELLED;
}

static lynx_status take_piece(fetch *f)
{
    const uint64_t left = f->object->size - f->arrived;
    const size_t size = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
    LX_TRY(f->place->ops->read(f->place, f->object, f->arrived, f->piece, size, f->text.data,
                               f->text.size));
    if (!lx_disk_put(f->descriptor, (lynx_bytes){f->piece, size}, f->arrived))
        return explain(f, "write");
    f->arrived += size;
    return tell_progress(f);
}

static lynx_status take_rest(fetch *f)
{
    f->arrived = f->kept;
    if (ftruncate(f->descriptor, (off_t)f->kept) != 0)
        return explain(f, "write");
    const lynx_range rest = {f->object, f->arrived, f->object->size - f->arrived};
    if (f->place->ops->expect && rest.size > 0)
        f->place->ops->expect(f->place, &rest, 1);
    LX_TRY(tell_progress(f));
    while (f->arrived < f->object->size)
        LX_TRY(take_piece(f));
    return fsync(f->descriptor) == 0 ? LYNX_OK : explain(f, "write");
}

/* ---- comparing ----------------------------------------------------------------------- */

static bool note_fault(void *user, const char *object, const char *what)
{
    (void)object;
    fetch *f = user;
    snprintf(f->fault, sizeof(f->fault), "%s", what);
    return false;
}

/* 'fault' is what is wrong with the draft; "": nothing. A sealed file without its key: its
 * first header agrees with its digest. */
static lynx_status check_draft(fetch *f)
{
    lynx_place *files = NULL;
    lynx_cache_file *file = NULL;
    f->fault[0] = '\0';
    LX_TRY(lynx_place_files(&files, NULL));
    lynx_status status =
        lynx_cache_file_open(&file, files, f->draft, f->key, NULL, f->text.data, f->text.size);
    if (file)
        status = lynx_cache_file_verify(file, note_fault, f, f->text.data, f->text.size);
    lynx_cache_file_close(file);
    lynx_place_destroy(files);
    if (status == LYNX_ERR_PROTOCOL || status == LYNX_ERR_CORRUPT) {
        snprintf(f->fault, sizeof(f->fault), "%s", lx_front_why(status));
        return LYNX_OK;
    }
    return status == LYNX_ERR_DENIED && !f->key ? LYNX_OK : status;
}

/* Bytes that came earlier, or on the way, may be wrong: once more from the beginning. */
static lynx_status take_all(fetch *f)
{
    LX_TRY(find_kept(f));
    for (int n = 0; n < 2; n++) {
        LX_TRY(take_rest(f));
        LX_TRY(check_draft(f));
        if (!f->fault[0])
            return LYNX_OK;
        f->kept = 0;
    }
    (void)!unlink(f->draft);
    return lx_tell(f->text, LYNX_ERR_CORRUPT, "'%s' is broken where it comes from: %s", f->name,
                   f->fault);
}

static lynx_status fetch_object(fetch *f)
{
    LX_TRY(open_draft(f));
    f->piece = lx_alloc(lx_allocator_or_default(NULL), PIECE_BYTES, 1);
    LX_REQUIRE(f->piece, LYNX_ERR_MEMORY);
    LX_TRY(take_all(f));
    if (rename(f->draft, f->path) != 0 || !lx_disk_sync_folder(f->path))
        return explain(f, "give its name to");
    return LYNX_OK;
}

lynx_status lynx_cache_file_fetch(lynx_place *place, const char *name, const char *path,
                                  const uint8_t key[LYNX_STORE_KEY_BYTES],
                                  lynx_copy_progress *progress, void *user,
                                  lynx_file_fetched *fetched, char *text, size_t text_size)
{
    fetch f = {.place = place,
               .name = name,
               .path = path,
               .descriptor = -1,
               .key = key,
               .progress = progress,
               .user = user,
               .text = {text, text_size}};
    *fetched = (lynx_file_fetched){0};
    LX_TRY(place->ops->open(place, name, &f.object, text, text_size));
    if (!f.object)
        return LYNX_OK;
    const lynx_status status = fetch_object(&f);
    if (status == LYNX_OK)
        *fetched = (lynx_file_fetched){.bytes = f.object->size, .bytes_kept = f.kept};
    if (f.descriptor >= 0)
        close(f.descriptor);
    lx_free(lx_allocator_or_default(NULL), f.piece, PIECE_BYTES, 1);
    place->ops->close(place, f.object);
    return status == LYNX_ERR_CANCELLED || status == LYNX_ERR_MEMORY
               ? lx_tell(f.text, status, "%s", lynx_status_text(status))
               : status;
}
