/* SPDX-License-Identifier: MIT */
/*
 * Foreign bytes as a cache file: opened, verified, and read for a prompt that begins with its
 * own tokens. The first byte chooses whether the digests of the first header are made right, so
 * that what is behind them is reached.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/digest.h"
#include "lynx/store.h"
#include "store/header.h"

/* A place whose only object is the input. */
typedef struct input_place {
    lynx_place base;
    lynx_object object;
    const uint8_t *data;
} input_place;

static input_place *of(lynx_place *place)
{
    return (input_place *)(void *)place;
}

static void place_destroy(lynx_place *place)
{
    (void)place;
}

static const char *place_description(const lynx_place *place)
{
    (void)place;
    return "input";
}

static lynx_status place_open(lynx_place *place, const char *name, lynx_object **object,
                              char *text, size_t text_size)
{
    (void)name;
    (void)text;
    (void)text_size;
    *object = &of(place)->object;
    return LYNX_OK;
}

static void place_close(lynx_place *place, lynx_object *object)
{
    (void)place;
    (void)object;
}

static lynx_status place_read(lynx_place *place, lynx_object *object, uint64_t offset,
                              void *data, size_t size, char *text, size_t text_size)
{
    (void)text;
    (void)text_size;
    if (offset > object->size || size > object->size - offset)
        abort(); /* a reader must not ask for it */
    memcpy(data, of(place)->data + offset, size);
    return LYNX_OK;
}

static const lynx_place_ops operations = {
    .destroy = place_destroy,
    .description = place_description,
    .open = place_open,
    .close = place_close,
    .read = place_read,
};

static bool on_fault(void *user, const char *object, const char *what)
{
    (void)user;
    return object[0] && what[0];
}

static void read_source(lynx_source *source)
{
    lynx_source_plane plane;
    volatile uint8_t last = 0;
    while (source->ops->next(source, &plane) == LYNX_OK) {
        if (plane.bytes.size)
            last = plane.bytes.data[plane.bytes.size - 1];
        source->ops->release(source, &plane);
    }
    (void)last;
    (void)source->ops->error_text(source);
    lynx_source_destroy(source);
}

/* Prompts that go on behind the file, and that stop inside it. */
static void read_prompts(lynx_cache_file *file)
{
    const lynx_stored_model *stored = lynx_cache_file_model(file);
    const lynx_model model = {.name = stored->name,
                              .shape = stored->shape,
                              .fingerprint = stored->fingerprint,
                              .vocabulary = UINT32_MAX};
    uint32_t count = 0;
    char text[LYNX_PLACE_TEXT_MAX];
    const lynx_token *tokens = lynx_cache_file_tokens(file, &count);
    lynx_token *prompt = calloc((size_t)count + 1, sizeof(*prompt));
    if (!prompt)
        abort();
    memcpy(prompt, tokens, count * sizeof(*tokens));
    for (uint32_t length = count + 1; length > 0; length /= 2) {
        lynx_source *source = NULL;
        if (lynx_cache_file_source(file, &model, prompt, length, &source, text, sizeof(text)) ==
                LYNX_OK &&
            source)
            read_source(source);
    }
    free(prompt);
}

static void redigest(uint8_t *data, size_t size)
{
    if (size < LX_PREAMBLE_BYTES)
        return;
    lx_reader reader = lx_reader_of(data + 16, 4);
    const size_t block = lx_read_u32(&reader);
    if (block <= size - LX_PREAMBLE_BYTES)
        lx_digest128(data + LX_PREAMBLE_BYTES, block, data + 64);
    lx_writer writer = lx_writer_of(data + 80, 8);
    lx_write_u64(&writer, lx_digest64(data, 80));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    char text[LYNX_PLACE_TEXT_MAX];
    static const uint8_t key[LYNX_STORE_KEY_BYTES] = {9};
    if (size < 1)
        return 0;
    uint8_t *data = malloc(size); /* of its exact size, so that reads behind it are seen */
    if (!data)
        abort();
    memcpy(data, input + 1, size - 1);
    if (input[0] & 1)
        redigest(data, size - 1);
    input_place place = {{&operations}, {size - 1}, data};
    lynx_cache_file *file = NULL;
    if (lynx_cache_file_open(&file, &place.base, "input", input[0] & 2 ? key : NULL, NULL, text,
                             sizeof(text)) == LYNX_OK) {
        for (size_t i = 0; i < lynx_cache_file_segment_count(file); i++)
            (void)lynx_cache_file_segment(file, i);
        (void)!lynx_cache_file_verify(file, on_fault, NULL, text, sizeof(text));
        read_prompts(file);
    }
    lynx_cache_file_close(file);
    free(data);
    return 0;
}
