/* SPDX-License-Identifier: MIT */
#include "store/header.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "wire/messages.h"

enum {
    SECTION_HEAD_BYTES = 16,
    SECTION_MODEL = 1,
    SECTION_CODEC = 2,
    SECTION_TOKENS = 3,
    SECTION_PLANES = 4,
    SECTION_DOCUMENT = 5,
    SECTION_CUT = 6,
    SECTION_LAYERS = 7,
    MODEL_FIXED_BYTES = 64,
    TOKENS_FIXED_BYTES = 8 + 2 * LX_NAME_BYTES,
    PLANES_FIXED_BYTES = 8,
    PLANE_HEAD_BYTES = 4, /* docs/format-codec.md */
    DOCUMENT_FIXED_BYTES = 36,
    MAY_SKIP = 1, /* flag of a section */
    DIGESTED_BYTES = LX_PREAMBLE_BYTES - 8,
    VERSION_OFFSET = 8
};

static const uint8_t magics[2][8] = {{'L', 'Y', 'N', 'X', 'S', 'E', 'G', '\n'},
                                     {'L', 'Y', 'N', 'X', 'D', 'O', 'C', '\n'}};

/* ---- preamble ------------------------------------------------------------------------ */

void lx_preamble_encode(const lx_preamble *p, uint8_t bytes[LX_PREAMBLE_BYTES])
{
    lx_writer writer = lx_writer_of(bytes, LX_PREAMBLE_BYTES);
    lx_write_bytes(&writer, magics[p->kind], 8);
    lx_write_u32(&writer, LX_STORE_VERSION);
    lx_write_u32(&writer, p->is_sealed);
    lx_write_u32(&writer, p->block_bytes);
    lx_write_u32(&writer, 0);
    lx_write_bytes(&writer, p->salt, sizeof(p->salt));
    lx_write_u64(&writer, p->total_bytes);
    lx_write_bytes(&writer, p->block_digest, sizeof(p->block_digest));
    lx_write_u64(&writer, lx_digest64(bytes, DIGESTED_BYTES));
}

static lynx_status read_kind(const uint8_t *bytes, lx_object_kind *kind)
{
    for (uint32_t i = 0; i < 2; i++)
        if (memcmp(bytes, magics[i], 8) == 0) {
            *kind = (lx_object_kind)i;
            return LYNX_OK;
        }
    return LYNX_ERR_PROTOCOL;
}

lynx_status lx_preamble_decode(const uint8_t bytes[LX_PREAMBLE_BYTES], lx_preamble *preamble)
{
    lx_reader reader = lx_reader_of(bytes, LX_PREAMBLE_BYTES);
    lx_preamble p = {0};
    LX_TRY(read_kind(bytes, &p.kind));
    (void)lx_read_view(&reader, VERSION_OFFSET);
    const uint32_t version = lx_read_u32(&reader);
    const uint32_t seal = lx_read_u32(&reader);
    p.block_bytes = lx_read_u32(&reader);
    const uint32_t zero = lx_read_u32(&reader);
    lx_read_bytes(&reader, p.salt, sizeof(p.salt));
    p.total_bytes = lx_read_u64(&reader);
    lx_read_bytes(&reader, p.block_digest, sizeof(p.block_digest));
    LX_REQUIRE(lx_read_u64(&reader) == lx_digest64(bytes, DIGESTED_BYTES), LYNX_ERR_CORRUPT);
    LX_REQUIRE(version == LX_STORE_VERSION, LYNX_ERR_VERSION);
    LX_REQUIRE(seal <= 1 && zero == 0, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(p.block_bytes <= LX_BLOCK_BYTES_MAX, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(p.total_bytes >= (uint64_t)LX_PREAMBLE_BYTES + p.block_bytes, LYNX_ERR_PROTOCOL);
    p.is_sealed = seal == 1;
    *preamble = p;
    return LYNX_OK;
}

/* ---- memory -------------------------------------------------------------------------- */

void lx_header_fini(lx_header *h)
{
    const size_t entries = (size_t)h->plane_count * h->page_count;
    lx_free(h->memory, (void *)(uintptr_t)h->model.name, h->name_room, 1);
    lx_free(h->memory, (void *)(uintptr_t)h->model.shape.layers, h->model.shape.layer_count,
            sizeof(lynx_layer_shape));
    lx_free(h->memory, h->tokens, h->end_token - h->first_token, sizeof(*h->tokens));
    lx_free(h->memory, h->pages, h->page_count, sizeof(*h->pages));
    lx_free(h->memory, h->entries, entries, sizeof(*h->entries));
    *h = (lx_header){.memory = h->memory};
}

/* The name is cut at what a header can have. */
static lynx_status set_model_name(lx_header *h, const void *name, size_t size)
{
    char *copy = lx_alloc_zeroed(h->memory, size + 1, 1);
    LX_REQUIRE(copy, LYNX_ERR_MEMORY);
    memcpy(copy, name, size);
    h->model.name = copy;
    h->name_room = size + 1;
    return LYNX_OK;
}

/* Both sides, where the page is needed. With 'pages' NULL they are counted alone. */
static void put_page(const lx_header *h, uint32_t page, uint32_t layer, lynx_page_id *pages,
                     uint32_t *count)
{
    for (uint32_t side = 0; side < 2; side++) {
        const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
        if (!lynx_page_is_needed(&h->model.shape, id, h->end_token))
            continue;
        if (pages)
            pages[*count] = id;
        ++*count;
    }
}

/* Pages of the segment in the order of the file; without section 7 by page, those of layers
 * without a window first. */
static uint32_t put_pages(const lx_header *h, lynx_page_id *pages)
{
    const lynx_shape *shape = &h->model.shape;
    const uint32_t first = h->first_token / shape->page_tokens;
    const uint32_t end = lynx_shape_page_count(shape, h->end_token);
    uint32_t count = 0;
    for (uint32_t layer = 0; h->is_by_layer && layer < shape->layer_count; layer++)
        for (uint32_t page = first; page < end; page++)
            put_page(h, page, layer, pages, &count);
    for (uint32_t windowed = 0; !h->is_by_layer && windowed < 2; windowed++)
        for (uint32_t page = first; page < end; page++)
            for (uint32_t layer = 0; layer < shape->layer_count; layer++)
                if ((shape->layers[layer].window_tokens != 0) == (windowed == 1))
                    put_page(h, page, layer, pages, &count);
    return count;
}

lynx_page_span lx_header_span(const lx_header *h, lynx_page_id id)
{
    return h->is_cut ? lynx_page_span_of(&h->model.shape, id, h->end_token)
                     : lynx_page_span_whole(&h->model.shape, id, h->end_token);
}

/* A window begins inside a page of the segment. */
static bool has_cut_pages(const lx_header *h)
{
    const lynx_shape *shape = &h->model.shape;
    for (uint32_t i = 0; i < h->page_count; i++)
        if (lynx_page_span_of(shape, h->pages[i], h->end_token).first_token %
            shape->page_tokens)
            return true;
    return false;
}

static lynx_status make_pages(lx_header *h)
{
    h->page_count = put_pages(h, NULL);
    h->plane_count = lynx_codec_spec_plane_count(&h->model.spec);
    if (h->page_count == 0)
        return LYNX_OK;
    h->pages = lx_alloc(h->memory, h->page_count, sizeof(*h->pages));
    h->entries =
        lx_alloc_zeroed(h->memory, (size_t)h->plane_count * h->page_count, sizeof(*h->entries));
    LX_REQUIRE(h->pages && h->entries, LYNX_ERR_MEMORY);
    (void)put_pages(h, h->pages);
    return LYNX_OK;
}

static lynx_status copy_content(lx_header *h, lx_object_kind kind,
                                const lynx_stored_model *model, const lynx_token *tokens)
{
    const size_t name_size = strnlen(model->name, LYNX_MODEL_NAME_MAX);
    const uint32_t layer_count = model->shape.layer_count;
    LX_TRY(set_model_name(h, model->name, name_size));
    lynx_layer_shape *layers = lx_alloc(h->memory, layer_count, sizeof(*layers));
    LX_REQUIRE(layers, LYNX_ERR_MEMORY);
    memcpy(layers, model->shape.layers, layer_count * sizeof(*layers));
    h->model.shape = model->shape;
    h->model.shape.layers = layers;
    h->model.fingerprint = model->fingerprint;
    h->model.spec = model->spec;
    h->tokens = lx_alloc(h->memory, h->end_token - h->first_token, sizeof(*h->tokens));
    LX_REQUIRE(h->tokens, LYNX_ERR_MEMORY);
    memcpy(h->tokens, tokens + h->first_token,
           (h->end_token - h->first_token) * sizeof(*tokens));
    if (kind != LX_OBJECT_SEGMENT)
        return LYNX_OK;
    LX_TRY(make_pages(h));
    h->is_cut = has_cut_pages(h);
    return LYNX_OK;
}

lynx_status lx_header_init(lx_header *header, lx_object_kind kind,
                           const lynx_stored_model *model, const lynx_token *tokens,
                           uint32_t first_token, uint32_t end_token,
                           const lynx_allocator *memory)
{
    lx_header h = {.memory = memory,
                   .first_token = first_token,
                   .end_token = end_token,
                   .is_by_layer = kind == LX_OBJECT_SEGMENT};
    const lynx_status status = copy_content(&h, kind, model, tokens);
    if (status != LYNX_OK)
        lx_header_fini(&h);
    *header = h;
    return status;
}

/* ---- encoding ------------------------------------------------------------------------ */

static size_t padded(size_t size)
{
    return (size + 7) / 8 * 8;
}

static size_t model_bytes(const lx_header *h)
{
    return MODEL_FIXED_BYTES + (size_t)h->model.shape.layer_count * LX_SHAPE_BYTES +
           strlen(h->model.name);
}

static size_t tokens_bytes(const lx_header *h)
{
    return TOKENS_FIXED_BYTES + (size_t)(h->end_token - h->first_token) * 4;
}

static size_t planes_bytes(const lx_header *h)
{
    return PLANES_FIXED_BYTES + (size_t)h->plane_count * h->page_count * LX_PLANE_ENTRY_BYTES;
}

static size_t document_bytes(const lx_header *h)
{
    return DOCUMENT_FIXED_BYTES + strlen(h->document);
}

size_t lx_header_bytes(const lx_header *h, lx_object_kind kind)
{
    return 4 * SECTION_HEAD_BYTES + padded(model_bytes(h)) + padded(LX_SPEC_BYTES) +
           padded(tokens_bytes(h)) + (h->is_cut ? SECTION_HEAD_BYTES : 0) +
           (h->is_by_layer ? SECTION_HEAD_BYTES : 0) +
           padded(kind == LX_OBJECT_SEGMENT ? planes_bytes(h) : document_bytes(h));
}

static void begin_section(lx_writer *writer, uint32_t type, size_t bytes)
{
    lx_write_u32(writer, type);
    lx_write_u32(writer, 0);
    lx_write_u64(writer, bytes);
}

static void end_section(lx_writer *writer)
{
    while (writer->offset % 8 != 0 && !writer->ran_out)
        lx_write_u8(writer, 0);
}

static void encode_model(const lx_header *h, lx_writer *writer)
{
    const lynx_stored_model *m = &h->model;
    uint8_t layer[LX_SHAPE_BYTES];
    begin_section(writer, SECTION_MODEL, model_bytes(h));
    lx_write_bytes(writer, m->fingerprint.structure, 16);
    lx_write_bytes(writer, m->fingerprint.tokenizer, 16);
    lx_write_bytes(writer, m->fingerprint.weights, 16);
    lx_write_u32(writer, (uint32_t)m->shape.element);
    lx_write_u32(writer, m->shape.page_tokens);
    lx_write_u32(writer, m->shape.layer_count);
    lx_write_u32(writer, (uint32_t)strlen(m->name));
    for (uint32_t i = 0; i < m->shape.layer_count; i++) {
        lx_shape_encode(&m->shape, i, layer);
        lx_write_bytes(writer, layer, sizeof(layer));
    }
    lx_write_bytes(writer, m->name, strlen(m->name));
    end_section(writer);
}

static void encode_tokens(const lx_header *h, lx_writer *writer)
{
    begin_section(writer, SECTION_TOKENS, tokens_bytes(h));
    lx_write_u32(writer, h->first_token);
    lx_write_u32(writer, h->end_token);
    lx_write_bytes(writer, h->parent, LX_NAME_BYTES);
    lx_write_bytes(writer, h->name, LX_NAME_BYTES);
    for (uint32_t i = 0; i < h->end_token - h->first_token; i++)
        lx_write_u32(writer, (uint32_t)h->tokens[i]);
    end_section(writer);
}

static void encode_planes(const lx_header *h, lx_writer *writer)
{
    begin_section(writer, SECTION_PLANES, planes_bytes(h));
    lx_write_u32(writer, h->plane_count);
    lx_write_u32(writer, h->page_count);
    for (size_t i = 0; i < (size_t)h->plane_count * h->page_count; i++) {
        lx_write_u32(writer, h->entries[i].bytes);
        lx_write_u64(writer, h->entries[i].digest);
    }
    end_section(writer);
}

static void encode_document(const lx_header *h, lx_writer *writer)
{
    begin_section(writer, SECTION_DOCUMENT, document_bytes(h));
    lx_write_bytes(writer, h->text_digest, 16);
    lx_write_u64(writer, h->text_bytes);
    lx_write_u64(writer, (uint64_t)h->made_at);
    lx_write_u32(writer, (uint32_t)strlen(h->document));
    lx_write_bytes(writer, h->document, strlen(h->document));
    end_section(writer);
}

void lx_header_encode(const lx_header *h, lx_object_kind kind, lx_writer *writer)
{
    encode_model(h, writer);
    begin_section(writer, SECTION_CODEC, LX_SPEC_BYTES);
    lx_spec_encode(writer, &h->model.spec);
    end_section(writer);
    encode_tokens(h, writer);
    if (h->is_cut)
        begin_section(writer, SECTION_CUT, 0);
    if (h->is_by_layer)
        begin_section(writer, SECTION_LAYERS, 0);
    if (kind == LX_OBJECT_SEGMENT)
        encode_planes(h, writer);
    else
        encode_document(h, writer);
}

lynx_status lx_front_encode(const lx_header *header, lx_object_kind kind, const lx_seal *seal,
                            lx_preamble *p, uint8_t *front)
{
    const size_t plain = lx_header_bytes(header, kind);
    uint8_t *block = front + LX_PREAMBLE_BYTES;
    lx_writer writer = lx_writer_of(block, plain);
    lx_header_encode(header, kind, &writer);
    LX_REQUIRE(!writer.ran_out && writer.offset == plain, LYNX_ERR_STATE);
    lx_preamble_encode(p, front); /* what a sealed block is bound to */
    LX_TRY(lx_seal_close(seal, (lx_seal_at){LX_SEAL_HEADER, 0}, front, LX_PREAMBLE_BOUND_BYTES,
                         block, plain, block));
    lx_digest128(block, p->block_bytes, p->block_digest);
    lx_preamble_encode(p, front);
    return LYNX_OK;
}

/* ---- decoding ------------------------------------------------------------------------ */

static lynx_status decode_layers(lx_header *h, uint32_t count, lx_reader *reader)
{
    LX_REQUIRE(count >= 1 && count <= LYNX_LAYERS_MAX &&
                   lx_reader_left(reader) >= (size_t)count * LX_SHAPE_BYTES,
               LYNX_ERR_PROTOCOL);
    lynx_layer_shape *layers = lx_alloc_zeroed(h->memory, count, sizeof(*layers));
    LX_REQUIRE(layers, LYNX_ERR_MEMORY);
    h->model.shape.layers = layers;
    h->model.shape.layer_count = count;
    for (uint32_t i = 0; i < count; i++)
        LX_TRY(lx_shape_decode(reader, &layers[i]));
    LX_REQUIRE(lynx_shape_check(&h->model.shape) == LYNX_OK, LYNX_ERR_PROTOCOL);
    return LYNX_OK;
}

static lynx_status decode_model(lx_header *h, lx_reader *reader)
{
    lynx_fingerprint *f = &h->model.fingerprint;
    lx_read_bytes(reader, f->structure, 16);
    lx_read_bytes(reader, f->tokenizer, 16);
    lx_read_bytes(reader, f->weights, 16);
    const uint32_t element = lx_read_u32(reader);
    h->model.shape.page_tokens = lx_read_u32(reader);
    const uint32_t layer_count = lx_read_u32(reader);
    const uint32_t name_size = lx_read_u32(reader);
    LX_REQUIRE(element <= LYNX_ELEMENT_BF16 && name_size <= LYNX_MODEL_NAME_MAX,
               LYNX_ERR_PROTOCOL);
    h->model.shape.element = (lynx_element)element;
    LX_TRY(decode_layers(h, layer_count, reader));
    const uint8_t *name = lx_read_view(reader, name_size);
    LX_REQUIRE(name && !memchr(name, '\0', name_size), LYNX_ERR_PROTOCOL);
    return set_model_name(h, name, name_size);
}

static lynx_status decode_codec(lx_header *h, lx_reader *reader)
{
    LX_TRY(lx_spec_decode(reader, &h->model.spec));
    LX_REQUIRE(lynx_codec_spec_check(&h->model.spec) == LYNX_OK &&
                   lynx_codec_spec_is_storable(&h->model.spec),
               LYNX_ERR_PROTOCOL);
    return LYNX_OK;
}

static lynx_status decode_tokens(lx_header *h, lx_reader *reader)
{
    const uint32_t first = lx_read_u32(reader), end = lx_read_u32(reader);
    lx_read_bytes(reader, h->parent, LX_NAME_BYTES);
    lx_read_bytes(reader, h->name, LX_NAME_BYTES);
    LX_REQUIRE(first < end && end <= LYNX_PROMPT_TOKENS_MAX &&
                   lx_reader_left(reader) == (size_t)(end - first) * 4,
               LYNX_ERR_PROTOCOL);
    h->tokens = lx_alloc(h->memory, end - first, sizeof(*h->tokens));
    LX_REQUIRE(h->tokens, LYNX_ERR_MEMORY);
    h->first_token = first;
    h->end_token = end;
    for (uint32_t i = 0; i < end - first; i++) {
        h->tokens[i] = (lynx_token)lx_read_u32(reader);
        LX_REQUIRE(h->tokens[i] >= 0, LYNX_ERR_PROTOCOL);
    }
    return LYNX_OK;
}

/* No plane is larger than its page travelling raw, sealed. */
static uint64_t plane_bytes_max(const lx_header *h, lynx_page_id id)
{
    const lynx_shape *shape = &h->model.shape;
    const uint64_t values = (uint64_t)lx_header_span(h, id).token_count *
                            shape->layers[id.layer].sides[id.side].channels;
    return PLANE_HEAD_BYTES + values * lynx_element_bytes(shape->element) + LX_TAG_BYTES;
}

/* Model, codec and tokens were decoded before. */
static lynx_status decode_planes(lx_header *h, lx_reader *reader)
{
    const uint32_t plane_count = lx_read_u32(reader), page_count = lx_read_u32(reader);
    LX_REQUIRE(plane_count == lynx_codec_spec_plane_count(&h->model.spec), LYNX_ERR_PROTOCOL);
    LX_REQUIRE(lx_reader_left(reader) ==
                   (uint64_t)plane_count * page_count * LX_PLANE_ENTRY_BYTES,
               LYNX_ERR_PROTOCOL);
    LX_REQUIRE(page_count == put_pages(h, NULL), LYNX_ERR_PROTOCOL);
    LX_TRY(make_pages(h));
    for (size_t i = 0; i < (size_t)plane_count * page_count; i++) {
        h->entries[i].offset = h->plane_bytes;
        h->entries[i].bytes = lx_read_u32(reader);
        h->entries[i].digest = lx_read_u64(reader);
        h->plane_bytes += h->entries[i].bytes;
        LX_REQUIRE(h->entries[i].bytes <= plane_bytes_max(h, h->pages[i % page_count]),
                   LYNX_ERR_PROTOCOL);
    }
    return LYNX_OK;
}

static lynx_status decode_document(lx_header *h, lx_reader *reader)
{
    lx_read_bytes(reader, h->text_digest, 16);
    h->text_bytes = lx_read_u64(reader);
    h->made_at = (int64_t)lx_read_u64(reader);
    const uint32_t size = lx_read_u32(reader);
    LX_REQUIRE(!reader->ran_out && size < sizeof(h->document), LYNX_ERR_PROTOCOL);
    lx_read_bytes(reader, h->document, size);
    LX_REQUIRE(!reader->ran_out && lynx_document_name_is_legal(h->document), LYNX_ERR_PROTOCOL);
    return LYNX_OK;
}

/* One section: 'type' is the one that is next. */
static lynx_status decode_section(lx_header *h, uint32_t type, lynx_bytes content)
{
    lx_reader reader = lx_reader_of(content.data, content.size);
    lynx_status status = LYNX_ERR_PROTOCOL;
    if (type == SECTION_MODEL)
        status = decode_model(h, &reader);
    else if (type == SECTION_CODEC)
        status = decode_codec(h, &reader);
    else if (type == SECTION_TOKENS)
        status = decode_tokens(h, &reader);
    else if (type == SECTION_PLANES)
        status = decode_planes(h, &reader);
    else if (type == SECTION_DOCUMENT)
        status = decode_document(h, &reader);
    LX_TRY(status);
    return reader.ran_out || lx_reader_left(&reader) != 0 ? LYNX_ERR_PROTOCOL : LYNX_OK;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

/* The next section, with what it is padded by passed over. */
static lynx_status read_section(lx_reader *reader, uint32_t *type, uint32_t *flags,
                                lynx_bytes *content)
{
    *type = lx_read_u32(reader);
    *flags = lx_read_u32(reader);
    const uint64_t bytes = lx_read_u64(reader);
    LX_REQUIRE(!reader->ran_out && (*flags & ~(uint32_t)MAY_SKIP) == 0 &&
                   bytes <= lx_reader_left(reader),
               LYNX_ERR_PROTOCOL);
    *content = (lynx_bytes){lx_read_view(reader, (size_t)bytes), (size_t)bytes};
    const size_t padding = padded((size_t)bytes) - (size_t)bytes;
    const uint8_t *zeros = lx_read_view(reader, padding);
    LX_REQUIRE(!reader->ran_out && (padding == 0 || is_zero(zeros, padding)),
               LYNX_ERR_PROTOCOL);
    return LYNX_OK;
}

/* A section without content, once, between tokens and planes. */
static lynx_status decode_mark(lx_object_kind kind, uint32_t next, uint32_t flags,
                               lynx_bytes content, bool *mark)
{
    LX_REQUIRE(kind == LX_OBJECT_SEGMENT && next == 3 && flags == 0 && content.size == 0 &&
                   !*mark,
               LYNX_ERR_PROTOCOL);
    *mark = true;
    return LYNX_OK;
}

static lynx_status decode_block(lx_header *h, lx_object_kind kind, lynx_bytes block)
{
    const uint32_t order[] = {SECTION_MODEL, SECTION_CODEC, SECTION_TOKENS,
                              kind == LX_OBJECT_SEGMENT ? SECTION_PLANES : SECTION_DOCUMENT};
    lx_reader reader = lx_reader_of(block.data, block.size);
    uint32_t next = 0;
    while (lx_reader_left(&reader) > 0) {
        uint32_t type = 0, flags = 0;
        lynx_bytes content;
        LX_TRY(read_section(&reader, &type, &flags, &content));
        if (next < 4 && type == order[next]) {
            LX_TRY(decode_section(h, type, content));
            next++;
            continue;
        }
        LX_REQUIRE(type > SECTION_DOCUMENT, LYNX_ERR_PROTOCOL);
        if (type == SECTION_CUT || type == SECTION_LAYERS) {
            LX_TRY(decode_mark(kind, next, flags, content,
                               type == SECTION_CUT ? &h->is_cut : &h->is_by_layer));
            continue;
        }
        LX_REQUIRE(flags & MAY_SKIP, LYNX_ERR_UNSUPPORTED);
    }
    LX_REQUIRE(next == 4, LYNX_ERR_PROTOCOL);
    const uint32_t page_tokens = h->model.shape.page_tokens;
    LX_REQUIRE(h->first_token % page_tokens == 0, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(kind == LX_OBJECT_SEGMENT || h->first_token == 0, LYNX_ERR_PROTOCOL);
    return LYNX_OK;
}

lynx_status lx_header_decode(lx_header *header, lx_object_kind kind, lynx_bytes block,
                             const lynx_allocator *memory)
{
    lx_header h = {.memory = memory};
    const lynx_status status = decode_block(&h, kind, block);
    if (status != LYNX_OK)
        lx_header_fini(&h);
    *header = h;
    return status;
}

bool lx_models_agree(const lynx_stored_model *a, const lynx_stored_model *b)
{
    uint8_t bytes[2][LX_SHAPE_BYTES];
    const lx_writer fresh[2] = {lx_writer_of(bytes[0], LX_SPEC_BYTES),
                                lx_writer_of(bytes[1], LX_SPEC_BYTES)};
    lx_writer writers[2] = {fresh[0], fresh[1]};
    lx_spec_encode(&writers[0], &a->spec);
    lx_spec_encode(&writers[1], &b->spec);
    if (memcmp(bytes[0], bytes[1], LX_SPEC_BYTES) != 0 ||
        memcmp(&a->fingerprint, &b->fingerprint, sizeof(a->fingerprint)) != 0 ||
        a->shape.element != b->shape.element || a->shape.page_tokens != b->shape.page_tokens ||
        a->shape.layer_count != b->shape.layer_count)
        return false;
    for (uint32_t i = 0; i < a->shape.layer_count; i++) {
        lx_shape_encode(&a->shape, i, bytes[0]);
        lx_shape_encode(&b->shape, i, bytes[1]);
        if (memcmp(bytes[0], bytes[1], LX_SHAPE_BYTES) != 0)
            return false;
    }
    return true;
}
