/* SPDX-License-Identifier: MIT */
/*
 * cache_append.c - a cache file on a local disk that is made, or grows by a segment.
 *
 * Behind the old content first the planes are written and synchronised, then the header: what
 * a crash leaves before is a tail without a header, which nobody reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "store/cache_file.h"
#include "store/disk.h"
#include "store/segment.h"

typedef struct append {
    const char *path;
    int descriptor;
    uint64_t end;      /* of the old content */
    uint64_t old_size; /* of the file */
    lx_text text;
} append;

/* The old tail goes first: its bytes must not stand where the header will be. */
static bool put_segment(const append *a, const lynx_bytes *parts, size_t count)
{
    uint64_t offset = a->end + parts[0].size;
    bool is_done = a->old_size == a->end || ftruncate(a->descriptor, (off_t)a->end) == 0;
    for (size_t i = 1; i < count && is_done; i++) {
        is_done = lx_disk_put(a->descriptor, parts[i], offset);
        offset += parts[i].size;
    }
    return is_done && fsync(a->descriptor) == 0 &&
           lx_disk_put(a->descriptor, parts[0], a->end) && fsync(a->descriptor) == 0;
}

static lynx_status append_locked(append *a, const lynx_bytes *parts, size_t count)
{
    if (put_segment(a, parts, count))
        return LYNX_OK;
    const int error = errno;
    (void)!ftruncate(a->descriptor, (off_t)a->end);
    return lx_disk_explain(a->text, error, "write", a->path);
}

/* The prompt of the segment begins as the file does. */
static bool has_same_beginning(const lynx_cache_file *file, const lynx_segment *segment)
{
    const uint32_t count = lx_segment_header(segment)->first_token;
    return lx_cache_file_first(file) == 0 &&
           memcmp(file->tokens, lx_segment_tokens(segment), count * sizeof(lynx_token)) == 0;
}

/* Where the content of the file ends, once it is known that the segment goes on from it. */
static lynx_status find_end(append *a, lynx_place *place, const lynx_segment *segment)
{
    const lx_header *next = lx_segment_header(segment);
    lynx_cache_file *file = NULL;
    LX_TRY(lynx_cache_file_open(&file, place, a->path, lx_segment_key(segment), next->memory,
                                a->text.data, a->text.size));
    if (!file)
        return lx_tell(a->text, LYNX_ERR_STATE, "'%s' went away meanwhile", a->path);
    const lynx_stored_model *model = lynx_cache_file_model(file);
    lynx_status status = LYNX_OK;
    if (!lx_models_agree(model, &next->model))
        status = lx_tell(a->text, LYNX_ERR_MODEL, "'%s' is of another model or codec (%s)",
                         a->path, model->name);
    else if (file->parts[0].object->size < file->end)
        status = lx_tell(a->text, LYNX_ERR_STATE,
                         "'%s' is cut off: nothing can be appended to it", a->path);
    else if (!lx_cache_file_goes_on(file, next) || !has_same_beginning(file, segment))
        status = lx_tell(a->text, LYNX_ERR_STATE, "the tokens do not go on from those of '%s'",
                         a->path);
    a->end = file->end;
    a->old_size = file->object->size;
    lynx_cache_file_close(file);
    return status;
}

static lynx_status append_to_file(append *a, lynx_place *place, const lynx_segment *segment,
                                  const lynx_bytes *parts, size_t count)
{
    while (flock(a->descriptor, LOCK_EX) != 0)
        if (errno != EINTR)
            return lx_disk_explain(a->text, errno, "lock", a->path);
    LX_TRY(find_end(a, place, segment));
    return append_locked(a, parts, count);
}

lynx_status lynx_cache_file_append(const char *path, lynx_segment *segment, char *text,
                                   size_t text_size)
{
    append a = {.path = path, .descriptor = -1, .text = {text, text_size}};
    const lynx_bytes *parts = NULL;
    size_t count = 0;
    lynx_place *place = NULL;
    lynx_status status = lynx_segment_finish(segment, &parts, &count);
    if (status == LYNX_OK)
        status = lynx_place_files(&place, lx_segment_header(segment)->memory);
    if (status != LYNX_OK)
        return lx_tell(a.text, status, "cannot write '%s': %s", path, lynx_status_text(status));
    a.descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (a.descriptor >= 0)
        status = append_to_file(&a, place, segment, parts, count);
    else if (errno == ENOENT && lx_segment_header(segment)->first_token == 0)
        status = place->ops->write(place, path, parts, count, text, text_size);
    else
        status = lx_disk_explain(a.text, errno, "open", a.path);
    if (a.descriptor >= 0)
        close(a.descriptor);
    lynx_place_destroy(place);
    return status;
}
