/* SPDX-License-Identifier: MIT */
/*
 * place.h - where stored caches lie: a contract, and the place that is a folder.
 *
 * A place holds objects, runs of bytes under names such as "documents/report.lynxdoc". A name
 * has 1 to LYNX_PLACE_NAME_MAX bytes of letters, digits, '.', '_' and '-', in parts between
 * single '/', none of which begins with '.'. An object appears whole or not at all, and what
 * was opened stays as it was. What a place cannot do it leaves NULL.
 *
 * Threads: all operations may be called from several threads at once; one object is used by
 * one thread at a time, but for cancel. They may block.
 *
 * Errors: 'text' (>= LYNX_PLACE_TEXT_MAX bytes) gets one sentence that says what to do. It
 * names no secret: no password, key, or query of a URL.
 */
#ifndef LYNX_PLACE_H
#define LYNX_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/export.h"
#include "lynx/memory.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LYNX_PLACE_NAME_MAX = 255,
    LYNX_PLACE_TEXT_MAX = 768 /* as LYNX_TEXT_MAX */
};

typedef struct lynx_place lynx_place;

/* First member of every open object. */
typedef struct lynx_object {
    uint64_t size; /* bytes, fixed while it is open */
} lynx_object;

/* Bytes of an object that will be read. */
typedef struct lynx_range {
    lynx_object *object;
    uint64_t offset;
    uint64_t size;
} lynx_range;

/* What list() knows of an object. */
typedef struct lynx_place_entry {
    const char *name;
    uint64_t size;
    int64_t used_ns; /* since 1970: last use, or when it was written */
} lynx_place_entry;

/* False ends the list. May not call the place. */
typedef bool lynx_place_visit(void *user, const lynx_place_entry *entry);

typedef struct lynx_place_ops {
    void (*destroy)(lynx_place *place);
    /* For people: "~/.cache/lynx/store", "https://host/path"; without secrets. */
    const char *(*description)(const lynx_place *place);

    /* Open an object. LYNX_OK with '*object' NULL: there is none. LYNX_ERR_DENIED: it may not
     * be read. LYNX_ERR_SYSTEM, LYNX_ERR_TIMEOUT, LYNX_ERR_CLOSED: see text. */
    lynx_status (*open)(lynx_place *place, const char *name, lynx_object **object, char *text,
                        size_t text_size);
    void (*close)(lynx_place *place, lynx_object *object);
    /* Read exactly 'size' bytes, which lie in the object. LYNX_ERR_CORRUPT: it changed
     * meanwhile; LYNX_ERR_CANCELLED; else as open. */
    lynx_status (*read)(lynx_place *place, lynx_object *object, uint64_t offset, void *data,
                        size_t size, char *text, size_t text_size);
    /* What will be read next, in this order, in pieces of the caller's choice: a place may
     * fetch ahead. It may come to nothing. Takes the place of earlier calls. */
    void (*expect)(lynx_place *place, const lynx_range *ranges, size_t count);

    /* Write a whole object, in place of one that is there. When it fails, nothing is left
     * behind and the old one stays. LYNX_ERR_LIMIT: no room. */
    lynx_status (*write)(lynx_place *place, const char *name, const lynx_bytes *parts,
                         size_t count, char *text, size_t text_size);
    /* Every object whose name begins with 'prefix', in no order. */
    lynx_status (*list)(lynx_place *place, const char *prefix, lynx_place_visit *visit,
                        void *user, char *text, size_t text_size);
    /* LYNX_OK also when there is none. */
    lynx_status (*remove)(lynx_place *place, const char *name, char *text, size_t text_size);
    /* The object is of use now. May come to nothing. */
    void (*use)(lynx_place *place, const char *name);
    /* Keep others that lock, in any process, away until unlock. */
    lynx_status (*lock)(lynx_place *place, char *text, size_t text_size);
    void (*unlock)(lynx_place *place);
    /* Remove what writers that died left behind. */
    lynx_status (*sweep)(lynx_place *place, char *text, size_t text_size);

    /* From any thread: reads of 'object', under way and later, return LYNX_ERR_CANCELLED soon.
     * NULL: every operation of the place does. */
    void (*cancel)(lynx_place *place, lynx_object *object);
    /* What was read of 'object' is broken. A place that reads copies drops its own and has the
     * object open where it came from: true when that has as many bytes, which may be read
     * again. */
    bool (*doubt)(lynx_place *place, lynx_object *object);
} lynx_place_ops;

/* First member of every place. */
struct lynx_place {
    const lynx_place_ops *ops;
};

/* End 'place', whose objects are closed. NULL is allowed. */
LYNX_API void lynx_place_destroy(lynx_place *place);

/* True when 'name' is as said above. */
LYNX_API bool lynx_place_name_is_legal(const char *name);

/*
 * A folder. It is made, readable by its owner alone, when something is first written; a folder
 * that may not be written serves readers. Objects are files, and their modification time is
 * that of their last use. Other files in it are left alone.
 *
 * Returns LYNX_OK, LYNX_ERR_ARGUMENT (empty or too long) or LYNX_ERR_MEMORY.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_place_folder(lynx_place **place, const char *path,
                                                       const lynx_allocator *memory);

/* Files of this machine: names are their paths, whatever stands in them. For cache files that
 * people gave names to; it has no lists and no locks. Returns LYNX_OK or LYNX_ERR_MEMORY. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_place_files(lynx_place **place,
                                                      const lynx_allocator *memory);

#ifdef __cplusplus
}
#endif

#endif
