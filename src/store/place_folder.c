/* SPDX-License-Identifier: MIT */
/*
 * place_folder.c - objects as files of a folder.
 *
 * A file is written under a temporary name beside its own (".part-" and 16 random digits) and
 * is locked meanwhile; it gets its name when it is whole and on the disk. So what is left of a
 * writer that died can be told from what one is writing: its lock can be had.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "lynx/place.h"
#include "store/disk.h"
#include "store/seal.h"

enum {
    FOLDER_MAX = 3000,
    PATH_ROOM = FOLDER_MAX + LYNX_PLACE_NAME_MAX + 64,
    PARTS_AT_ONCE = 64,
    DEPTH_MAX = 4,    /* folders below that of the place */
    DRAFT_OLD_S = 60, /* a younger draft may be one that is not locked yet */
    WRITE_TRIES = 8,  /* a folder that became empty may go while we write into it */
    SECOND_NS = 1000000000
};

static const char draft_prefix[] = ".part-";
static const char lock_name[] = ".lock";

typedef struct folder {
    lynx_place base;
    const lynx_allocator *memory;
    char path[FOLDER_MAX]; /* "": names are paths */
    atomic_bool is_cancelled;
    atomic_int lock; /* descriptor while it is locked, else -1 */
} folder;

typedef struct file {
    lynx_object base;
    int descriptor;
    atomic_bool is_cancelled;
} file;

static folder *of(lynx_place *place)
{
    return (folder *)(void *)place;
}

static file *file_of(lynx_object *object)
{
    return (file *)(void *)object;
}

static void path_of(const folder *f, const char *name, char path[PATH_ROOM])
{
    const bool is_plain = !f->path[0] && !strchr(name, '/');
    snprintf(path, PATH_ROOM, "%s%s%s", is_plain ? "." : f->path,
             f->path[0] || is_plain ? "/" : "", name);
}

static bool is_legal(const folder *f, const char *name)
{
    return f->path[0] ? lynx_place_name_is_legal(name) : name[0] && strlen(name) < FOLDER_MAX;
}

static bool is_stopped(const folder *f)
{
    return atomic_load(&f->is_cancelled);
}

/* ---- reading ------------------------------------------------------------------------- */

static lynx_status folder_open(lynx_place *place, const char *name, lynx_object **object,
                               char *text, size_t text_size)
{
    folder *f = of(place);
    const lx_text said = {text, text_size};
    char path[PATH_ROOM];
    struct stat found;
    *object = NULL;
    LX_REQUIRE(is_legal(f, name), LYNX_ERR_ARGUMENT);
    LX_REQUIRE(!is_stopped(f), LYNX_ERR_CANCELLED);
    path_of(f, name, path);
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return errno == ENOENT || errno == ENOTDIR ? LYNX_OK
                                                   : lx_disk_explain(said, errno, "read", path);
    file *opened = lx_alloc_zeroed(f->memory, 1, sizeof(*opened));
    if (!opened || fstat(descriptor, &found) != 0 || !S_ISREG(found.st_mode)) {
        close(descriptor);
        lx_free(f->memory, opened, 1, sizeof(*opened));
        return opened ? lx_tell(said, LYNX_ERR_SYSTEM, "'%s' is not a file", path)
                      : LYNX_ERR_MEMORY;
    }
    opened->base.size = (uint64_t)found.st_size;
    opened->descriptor = descriptor;
    atomic_init(&opened->is_cancelled, false);
    *object = &opened->base;
    return LYNX_OK;
}

static void folder_close(lynx_place *place, lynx_object *object)
{
    close(file_of(object)->descriptor);
    lx_free(of(place)->memory, file_of(object), 1, sizeof(file));
}

static lynx_status folder_read(lynx_place *place, lynx_object *object, uint64_t offset,
                               void *data, size_t size, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    file *opened = file_of(object);
    size_t done = 0;
    while (done < size) {
        LX_REQUIRE(!is_stopped(of(place)) && !atomic_load(&opened->is_cancelled),
                   LYNX_ERR_CANCELLED);
        const ssize_t got = pread(opened->descriptor, (uint8_t *)data + done, size - done,
                                  (off_t)(offset + done));
        if (got < 0 && errno != EINTR)
            return lx_disk_explain(said, errno, "read a file of", of(place)->path);
        if (got == 0)
            return lx_tell(said, LYNX_ERR_CORRUPT,
                           "a file of '%s' became shorter while it was read", of(place)->path);
        done += got > 0 ? (size_t)got : 0;
    }
    return LYNX_OK;
}

/* ---- writing ------------------------------------------------------------------------- */

/* The folders above 'path', which lie at or below that of the place. */
static bool make_folders(char *path)
{
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        const bool is_there = mkdir(path, 0700) == 0 || errno == EEXIST || errno == EROFS;
        struct stat found;
        const bool is_folder = is_there || (stat(path, &found) == 0 && S_ISDIR(found.st_mode));
        *at = '/';
        if (!is_folder)
            return false;
    }
    return true;
}

static bool write_all(const folder *f, int descriptor, const lynx_bytes *parts, size_t count)
{
    struct iovec pieces[PARTS_AT_ONCE];
    size_t part = 0, skipped = 0; /* written bytes of parts[part] */
    while (part < count) {
        int used = 0;
        for (size_t i = part; i < count && used < PARTS_AT_ONCE; i++) {
            const size_t skip = i == part ? skipped : 0;
            pieces[used].iov_base = (void *)((uintptr_t)parts[i].data + skip);
            pieces[used++].iov_len = parts[i].size - skip;
        }
        if (is_stopped(f)) {
            errno = ECANCELED;
            return false;
        }
        ssize_t wrote = writev(descriptor, pieces, used);
        if (wrote < 0 && errno != EINTR)
            return false;
        for (; part < count; part++, skipped = 0) {
            const size_t left = parts[part].size - skipped;
            if (wrote < 0 || (size_t)wrote < left) {
                skipped += wrote > 0 ? (size_t)wrote : 0;
                break;
            }
            wrote -= (ssize_t)left;
        }
    }
    return true;
}

/* A new locked file beside 'path'. */
static int open_draft(const char *path, char draft[PATH_ROOM])
{
    uint64_t random = 0;
    const char *slash = strrchr(path, '/');
    if (lx_seal_random(&random, sizeof(random)) != LYNX_OK) {
        errno = EIO;
        return -1;
    }
    snprintf(draft, PATH_ROOM, "%.*s/%s%016" PRIx64, (int)(slash - path), path, draft_prefix,
             random);
    const int descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor >= 0)
        (void)flock(descriptor, LOCK_EX | LOCK_NB); /* a hint for sweep alone */
    return descriptor;
}

static lynx_status folder_write(lynx_place *place, const char *name, const lynx_bytes *parts,
                                size_t count, char *text, size_t text_size)
{
    folder *f = of(place);
    const lx_text said = {text, text_size};
    char path[PATH_ROOM], draft[PATH_ROOM];
    LX_REQUIRE(is_legal(f, name), LYNX_ERR_ARGUMENT);
    LX_REQUIRE(!is_stopped(f), LYNX_ERR_CANCELLED);
    path_of(f, name, path);
    int descriptor = -1;
    errno = ENOENT;
    for (int i = 0; i < WRITE_TRIES && descriptor < 0 && errno == ENOENT; i++) {
        if (!f->path[0] || make_folders(path))
            descriptor = open_draft(path, draft);
        else if (errno != ENOENT)
            return lx_disk_explain(said, errno, "make the folder of", path);
    }
    if (descriptor < 0)
        return lx_disk_explain(said, errno, "write", path);
    const bool is_done = write_all(f, descriptor, parts, count) && fsync(descriptor) == 0 &&
                         rename(draft, path) == 0;
    const int error = errno;
    close(descriptor);
    if (!is_done) {
        unlink(draft);
        return error == ECANCELED ? LYNX_ERR_CANCELLED
                                  : lx_disk_explain(said, error, "write", path);
    }
    return lx_disk_sync_folder(path) ? LYNX_OK : lx_disk_explain(said, errno, "write", path);
}

static lynx_status folder_remove(lynx_place *place, const char *name, char *text,
                                 size_t text_size)
{
    folder *f = of(place);
    const lx_text said = {text, text_size};
    char path[PATH_ROOM];
    LX_REQUIRE(is_legal(f, name), LYNX_ERR_ARGUMENT);
    path_of(f, name, path);
    if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR)
        return lx_disk_explain(said, errno, "remove", path);
    /* A folder that is empty now goes as well; one that is not stays. */
    char *slash = strrchr(path, '/');
    *slash = '\0';
    if (f->path[0] && strlen(path) > strlen(f->path))
        (void)!rmdir(path);
    return LYNX_OK;
}

static void folder_use(lynx_place *place, const char *name)
{
    char path[PATH_ROOM];
    path_of(of(place), name, path);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
    (void)clock_gettime(CLOCK_REALTIME, &times[1]); /* finer than the system's own stamp */
    (void)utimensat(AT_FDCWD, path, times, 0);      /* may not be ours to touch */
}

/* ---- lists --------------------------------------------------------------------------- */

/* Called for each file; a name within the place. False ends the walk. */
typedef bool walk_visit(folder *f, const char *name, const struct stat *found, void *user);

typedef struct walk {
    folder *folder;
    const char *prefix;
    walk_visit *visit;
    void *user;
    lx_text text;
    bool is_over;
} walk;

/* One entry of the folder 'name' is looked at when it agrees with the prefix as far as both
 * go. */
static bool may_match(const walk *w, const char *name)
{
    const size_t a = strlen(name), b = strlen(w->prefix);
    return strncmp(name, w->prefix, a < b ? a : b) == 0;
}

static lynx_status walk_folder(walk *w, const char *name, int depth);

static lynx_status walk_entry(walk *w, const char *name, int depth)
{
    char path[PATH_ROOM];
    struct stat found;
    path_of(w->folder, name, path);
    if (!may_match(w, name) || lstat(path, &found) != 0)
        return LYNX_OK; /* gone meanwhile */
    if (S_ISDIR(found.st_mode))
        return depth > 0 ? walk_folder(w, name, depth - 1) : LYNX_OK;
    if (S_ISREG(found.st_mode) && !w->visit(w->folder, name, &found, w->user))
        w->is_over = true;
    return LYNX_OK;
}

static lynx_status walk_folder(walk *w, const char *name, int depth)
{
    char path[PATH_ROOM], below[LYNX_PLACE_NAME_MAX + 1];
    lynx_status status = LYNX_OK;
    path_of(w->folder, name, path);
    DIR *open_folder = opendir(path);
    if (!open_folder)
        return errno == ENOENT || errno == ENOTDIR
                   ? LYNX_OK
                   : lx_disk_explain(w->text, errno, "list", path);
    for (struct dirent *entry = readdir(open_folder); entry && status == LYNX_OK && !w->is_over;
         entry = readdir(open_folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        const int size =
            snprintf(below, sizeof(below), "%s%s%s", name, *name ? "/" : "", entry->d_name);
        if (size > 0 && (size_t)size < sizeof(below))
            status = walk_entry(w, below, depth);
        if (is_stopped(w->folder))
            status = LYNX_ERR_CANCELLED;
    }
    closedir(open_folder);
    return status;
}

typedef struct list_call {
    lynx_place_visit *visit;
    void *user;
    const char *prefix;
} list_call;

static int64_t nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * SECOND_NS + time->tv_nsec;
}

static bool list_file(folder *f, const char *name, const struct stat *found, void *user)
{
    (void)f;
    const list_call *call = user;
    if (!lynx_place_name_is_legal(name) ||
        strncmp(name, call->prefix, strlen(call->prefix)) != 0)
        return true;
    const lynx_place_entry entry = {name, (uint64_t)found->st_size,
                                    nanoseconds(&found->st_mtim)};
    return call->visit(call->user, &entry);
}

static lynx_status folder_list(lynx_place *place, const char *prefix, lynx_place_visit *visit,
                               void *user, char *text, size_t text_size)
{
    list_call call = {visit, user, prefix};
    walk w = {of(place), prefix, list_file, &call, {text, text_size}, false};
    return walk_folder(&w, "", DEPTH_MAX);
}

/* ---- locks and leftovers ------------------------------------------------------------- */

static lynx_status folder_lock(lynx_place *place, char *text, size_t text_size)
{
    folder *f = of(place);
    const lx_text said = {text, text_size};
    char path[PATH_ROOM];
    path_of(f, lock_name, path);
    if (!make_folders(path))
        return lx_disk_explain(said, errno, "make the folder of", path);
    const int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0)
        return lx_disk_explain(said, errno, "lock", path);
    while (flock(descriptor, LOCK_EX) != 0)
        if (errno != EINTR) {
            const int error = errno;
            close(descriptor);
            return lx_disk_explain(said, error, "lock", path);
        }
    atomic_store(&f->lock, descriptor);
    return LYNX_OK;
}

static void folder_unlock(lynx_place *place)
{
    const int descriptor = atomic_exchange(&of(place)->lock, -1);
    if (descriptor >= 0)
        close(descriptor);
}

/* A draft whose writer is gone. */
static bool sweep_file(folder *f, const char *name, const struct stat *found, void *user)
{
    const int64_t *oldest_ns = user;
    char path[PATH_ROOM];
    const char *slash = strrchr(name, '/');
    if (strncmp(slash ? slash + 1 : name, draft_prefix, sizeof(draft_prefix) - 1) != 0 ||
        nanoseconds(&found->st_mtim) > *oldest_ns)
        return true;
    path_of(f, name, path);
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return true;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0)
        (void)!unlink(path);
    close(descriptor);
    return true;
}

static lynx_status folder_sweep(lynx_place *place, char *text, size_t text_size)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t oldest_ns = nanoseconds(&now) - (int64_t)DRAFT_OLD_S * SECOND_NS;
    walk w = {of(place), "", sweep_file, &oldest_ns, {text, text_size}, false};
    return walk_folder(&w, "", DEPTH_MAX);
}

/* ---- the place ----------------------------------------------------------------------- */

static const char *folder_description(const lynx_place *place)
{
    const folder *f = (const folder *)(const void *)place;
    return f->path[0] ? f->path : "files";
}

static void folder_cancel(lynx_place *place, lynx_object *object)
{
    if (object)
        atomic_store(&file_of(object)->is_cancelled, true);
    else
        atomic_store(&of(place)->is_cancelled, true);
}

static void folder_destroy(lynx_place *place)
{
    folder_unlock(place);
    lx_free(of(place)->memory, of(place), 1, sizeof(folder));
}

static const lynx_place_ops operations = {
    .destroy = folder_destroy,
    .description = folder_description,
    .open = folder_open,
    .close = folder_close,
    .read = folder_read,
    .write = folder_write,
    .list = folder_list,
    .remove = folder_remove,
    .use = folder_use,
    .lock = folder_lock,
    .unlock = folder_unlock,
    .sweep = folder_sweep,
    .cancel = folder_cancel,
};

static const lynx_place_ops file_operations = {
    .destroy = folder_destroy,
    .description = folder_description,
    .open = folder_open,
    .close = folder_close,
    .read = folder_read,
    .write = folder_write,
    .remove = folder_remove,
    .cancel = folder_cancel,
};

static lynx_status make_folder(lynx_place **place, const char *path, const lynx_place_ops *ops,
                               const lynx_allocator *memory)
{
    memory = lx_allocator_or_default(memory);
    folder *f = lx_alloc_zeroed(memory, 1, sizeof(*f));
    LX_REQUIRE(f, LYNX_ERR_MEMORY);
    f->base.ops = ops;
    f->memory = memory;
    snprintf(f->path, sizeof(f->path), "%s", path);
    while (strlen(f->path) > 1 && f->path[strlen(f->path) - 1] == '/')
        f->path[strlen(f->path) - 1] = '\0';
    atomic_init(&f->is_cancelled, false);
    atomic_init(&f->lock, -1);
    *place = &f->base;
    return LYNX_OK;
}

lynx_status lynx_place_folder(lynx_place **place, const char *path,
                              const lynx_allocator *memory)
{
    LX_REQUIRE(path[0] && strlen(path) < FOLDER_MAX, LYNX_ERR_ARGUMENT);
    return make_folder(place, path, &operations, memory);
}

lynx_status lynx_place_files(lynx_place **place, const lynx_allocator *memory)
{
    return make_folder(place, "", &file_operations, memory);
}
