/* SPDX-License-Identifier: MIT */
#include "net/listing.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"

enum { VALUE_MAX = LX_TOKEN_MAX, SECOND_NS = 1000000000, DEPTH_MAX = 16 };

typedef struct reader {
    XML_Parser parser;
    lx_listing *listing;
    lynx_place_visit *visit;
    void *user;
    unsigned depth;
    bool is_contents; /* inside one */
    bool is_bad, is_over;
    char value[VALUE_MAX]; /* text of the innermost element */
    size_t value_size;
    char key[VALUE_MAX];
    bool has_size, has_time;
    uint64_t size;
    int64_t used_ns;
} reader;

static void refuse(reader *r)
{
    r->is_bad = true;
    XML_StopParser(r->parser, XML_FALSE);
}

/* ---- values -------------------------------------------------------------------------- */

static bool read_size(const char *text, uint64_t *size)
{
    *size = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (*size > (INT64_MAX - 9) / 10)
            return false;
        *size = *size * 10 + (uint64_t)(*text - '0');
    }
    return !*text;
}

static bool read_digits(const char **at, int count, int *value)
{
    *value = 0;
    for (; count > 0; count--, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        *value = *value * 10 + (**at - '0');
    }
    return true;
}

/* "2026-11-25T09:11:15.498Z" */
static bool read_time(const char *at, int64_t *ns)
{
    static const char marks[] = "--T::";
    int values[6], digit = 0;
    for (int i = 0; i < 6; i++)
        if (!read_digits(&at, i == 0 ? 4 : 2, &values[i]) || (i < 5 && *at++ != marks[i]))
            return false;
    int64_t fraction = 0, unit = SECOND_NS / 10;
    if (*at == '.')
        for (at++; read_digits(&at, 1, &digit); unit /= 10)
            fraction += digit * unit;
    if (values[0] < 1970 || values[0] > 2200 || strcmp(at, "Z") != 0)
        return false;
    struct tm time = {.tm_year = values[0] - 1900,
                      .tm_mon = values[1] - 1,
                      .tm_mday = values[2],
                      .tm_hour = values[3],
                      .tm_min = values[4],
                      .tm_sec = values[5]};
    *ns = (int64_t)timegm(&time) * SECOND_NS + fraction;
    return true;
}

/* ---- elements ------------------------------------------------------------------------ */

static void XMLCALL on_start(void *user, const XML_Char *name, const XML_Char **attributes)
{
    reader *r = user;
    (void)attributes;
    r->value_size = 0;
    r->value[0] = '\0';
    if (++r->depth > DEPTH_MAX || (r->depth == 1 && strcmp(name, "ListBucketResult") != 0)) {
        refuse(r);
        return;
    }
    if (r->depth == 2 && strcmp(name, "Contents") == 0) {
        r->is_contents = true;
        r->key[0] = '\0';
        r->has_size = r->has_time = false;
    }
}

static void XMLCALL on_text(void *user, const XML_Char *text, int size)
{
    reader *r = user;
    if (r->value_size + (size_t)size >= sizeof(r->value)) {
        refuse(r);
        return;
    }
    memcpy(r->value + r->value_size, text, (size_t)size);
    r->value_size += (size_t)size;
    r->value[r->value_size] = '\0';
}

static void end_of_contents(reader *r)
{
    const lynx_place_entry entry = {r->key, r->size, r->used_ns};
    r->is_contents = false;
    if (!r->key[0] || !r->has_size || !r->has_time) {
        refuse(r);
    } else if (!r->visit(r->user, &entry)) {
        r->is_over = true;
        XML_StopParser(r->parser, XML_FALSE);
    }
}

static void field_of_contents(reader *r, const char *name)
{
    if (strcmp(name, "Key") == 0) {
        memcpy(r->key, r->value, r->value_size + 1);
    } else if (strcmp(name, "Size") == 0) {
        r->has_size = r->value_size > 0 && read_size(r->value, &r->size);
    } else if (strcmp(name, "LastModified") == 0) {
        r->has_time = read_time(r->value, &r->used_ns);
    }
}

static void field_of_list(reader *r, const char *name)
{
    if (strcmp(name, "IsTruncated") == 0)
        r->listing->is_truncated = strcmp(r->value, "true") == 0;
    if (strcmp(name, "NextContinuationToken") == 0)
        memcpy(r->listing->token, r->value, r->value_size + 1);
}

static void XMLCALL on_end(void *user, const XML_Char *name)
{
    reader *r = user;
    if (r->depth == 2 && r->is_contents)
        end_of_contents(r);
    else if (r->depth == 2)
        field_of_list(r, name);
    else if (r->depth == 3 && r->is_contents)
        field_of_contents(r, name);
    r->depth--;
    r->value_size = 0;
    r->value[0] = '\0';
}

/* The page has no need of one, and entities come with it. */
static void XMLCALL on_doctype(void *user, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int has_internal)
{
    (void)name, (void)system, (void)public, (void)has_internal;
    refuse(user);
}

lynx_status lx_listing_read(lx_listing *listing, const char *data, size_t size,
                            lynx_place_visit *visit, void *user, bool *goes_on)
{
    reader r = {.listing = listing, .visit = visit, .user = user};
    memset(listing, 0, sizeof(*listing));
    LX_REQUIRE(size <= INT32_MAX, LYNX_ERR_CORRUPT);
    r.parser = XML_ParserCreate("UTF-8");
    LX_REQUIRE(r.parser, LYNX_ERR_MEMORY);
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    const bool is_read = XML_Parse(r.parser, data, (int)size, 1) == XML_STATUS_OK;
    const bool is_memory = XML_GetErrorCode(r.parser) == XML_ERROR_NO_MEMORY;
    XML_ParserFree(r.parser);
    *goes_on = !r.is_over;
    if (r.is_over)
        return LYNX_OK;
    LX_REQUIRE(!is_memory, LYNX_ERR_MEMORY);
    return is_read && !r.is_bad && (!listing->is_truncated || listing->token[0])
               ? LYNX_OK
               : LYNX_ERR_CORRUPT;
}
