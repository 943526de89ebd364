/* SPDX-License-Identifier: MIT */
/* parse_test.c - what comes from servers, cut and broken: lists of buckets, heads of answers.
 */
#include "net/listing.h"
#include "net/reply.h"
#include "support/cmocka_all.h"

static const char page[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
    "<Prefix>p</Prefix><IsTruncated>true</IsTruncated>"
    "<NextContinuationToken>a+b/c=&amp;</NextContinuationToken>"
    "<Contents><Key>p/&lt;one&gt;</Key><LastModified>2026-11-25T09:11:15.498Z</LastModified>"
    "<ETag>&quot;x&quot;</ETag><Size>300000</Size><Owner><ID>Key</ID></Owner></Contents>"
    "<Contents><Size>0</Size><Key>p/two</Key><LastModified>1970-01-01T00:00:01Z</LastModified>"
    "</Contents><CommonPrefixes><Prefix>p/x</Prefix></CommonPrefixes></ListBucketResult>";

typedef struct seen {
    size_t count;
    char names[2][32];
    uint64_t size;
    int64_t first_ns, last_ns;
} seen;

static bool see(void *user, const lynx_place_entry *entry)
{
    seen *s = user;
    if (s->count < 2)
        snprintf(s->names[s->count], sizeof(s->names[0]), "%s", entry->name);
    s->first_ns = s->count == 0 ? entry->used_ns : s->first_ns;
    s->last_ns = entry->used_ns;
    s->size += entry->size;
    s->count++;
    return true;
}

static lynx_status read_page(const char *data, size_t size, lx_listing *listing, seen *s)
{
    bool goes_on = false;
    memset(s, 0, sizeof(*s));
    return lx_listing_read(listing, data, size, see, s, &goes_on);
}

static void a_page_is_read(void **state)
{
    (void)state;
    lx_listing listing;
    seen s;
    assert_int_equal(read_page(page, sizeof(page) - 1, &listing, &s), LYNX_OK);
    assert_true(listing.is_truncated);
    assert_string_equal(listing.token, "a+b/c=&");
    assert_int_equal(s.count, 2);
    assert_string_equal(s.names[0], "p/<one>");
    assert_string_equal(s.names[1], "p/two");
    assert_int_equal(s.size, 300000);
    assert_int_equal(s.first_ns, 1795597875498000000);
    assert_int_equal(s.last_ns, 1000000000);
}

static void every_cut_page_is_refused(void **state)
{
    (void)state;
    lx_listing listing;
    seen s;
    for (size_t size = 0; size < sizeof(page) - 1; size++)
        assert_int_equal(read_page(page, size, &listing, &s), LYNX_ERR_CORRUPT);
}

static void what_is_no_page_is_refused(void **state)
{
    (void)state;
#define LIST(content) "<ListBucketResult>" content "</ListBucketResult>"
#define ENTRY(size, time)                                                                      \
    LIST("<Contents><Key>k</Key><Size>" size "</Size><LastModified>" time                      \
         "</LastModified></Contents>")
    static const char *const pages[] = {
        "<html></html>",
        "<Error><Code>AccessDenied</Code></Error>",
        "<!DOCTYPE ListBucketResult [<!ENTITY a \"b\">]>" LIST(""),
        LIST("<IsTruncated>true</IsTruncated>"),
        LIST("<Contents><Key>k</Key><Size>1</Size></Contents>"),
        LIST("<Contents><Size>1</Size></Contents>"),
        LIST("<Contents><Key>&a;</Key></Contents>"),
        ENTRY("-1", "2026-11-25T09:11:15Z"),
        ENTRY("", "2026-11-25T09:11:15Z"),
        ENTRY("99999999999999999999", "2026-11-25T09:11:15Z"),
        ENTRY("1", "2026-11-25"),
        ENTRY("1", "2026-11-25T09:11:15+01:00"),
        ENTRY("1", "9999-11-25T09:11:15Z"),
    };
    lx_listing listing;
    seen s;
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
        assert_int_equal(read_page(pages[i], strlen(pages[i]), &listing, &s), LYNX_ERR_CORRUPT);
    static const char good[] = ENTRY("1", "2026-11-25T09:11:15Z");
    assert_int_equal(read_page(good, sizeof(good) - 1, &listing, &s), LYNX_OK);
    char *deep = malloc(200 + 40 * 30);
    strcpy(deep, "<ListBucketResult>");
    for (int i = 0; i < 30; i++)
        strcat(deep, "<a>");
    assert_int_equal(read_page(deep, strlen(deep), &listing, &s), LYNX_ERR_CORRUPT);
    free(deep);
    char *wide = malloc(10000);
    strcpy(wide, "<ListBucketResult><Contents><Key>");
    memset(wide + strlen(wide), 'k', 9000 - strlen(wide));
    wide[9000] = '\0';
    assert_int_equal(read_page(wide, 9000, &listing, &s), LYNX_ERR_CORRUPT);
    free(wide);
}

static lynx_status read_line(lx_reply *reply, const char *line)
{
    char text[LYNX_PLACE_TEXT_MAX];
    return lx_reply_read_line(reply, line, strlen(line), (lx_text){text, sizeof(text)});
}

static void heads_are_read(void **state)
{
    (void)state;
    lx_reply r = {0};
    assert_int_equal(read_line(&r, "HTTP/1.1 100 Continue\r\n"), LYNX_OK);
    assert_int_equal(read_line(&r, "etag: \"old\"\r\n"), LYNX_OK);
    assert_int_equal(read_line(&r, "HTTP/1.1 206 Partial Content\r\n"), LYNX_OK);
    assert_string_equal(r.etag, "");
    assert_int_equal(read_line(&r, "ETag: W/\"new\"\r\n"), LYNX_OK);
    assert_int_equal(read_line(&r, "content-RANGE:bytes 5-9/10\r\n"), LYNX_OK);
    assert_int_equal(read_line(&r, "Content-Length:  5  \r\n"), LYNX_OK);
    assert_int_equal(read_line(&r, "Retry-After: 99999\r\n"), LYNX_OK);
    assert_int_equal(read_line(&r, "Retry-After: Wed, 25 Nov 2026\r\n"), LYNX_OK);
    assert_int_equal(r.status, 206);
    assert_true(r.has_range && r.has_length);
    assert_true(r.first == 5 && r.last == 9 && r.total == 10 && r.length == 5);
    assert_string_equal(r.etag, "W/\"new\"");
    assert_int_equal(r.retry_after_s, 3600);
}

static void broken_heads_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "HTTP/1.1\r\n",
        "HTTP/1.1 99 x\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 1 2\r\n",
        "Content-Range: bytes 5-4/10\r\n",
        "Content-Range: bytes 5-10/10\r\n",
        "Content-Range: bytes 5-6/*\r\n",
        "Content-Range: bytes 5-6/10x\r\n",
        "Content-Range: items 5-6/10\r\n",
        "Content-Range: bytes 5-99999999999999999999/99999999999999999999\r\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        lx_reply r = {.status = 206};
        if (read_line(&r, lines[i]) != LYNX_ERR_SYSTEM)
            fail_msg("taken: %s", lines[i]);
    }
}

static void codes_are_words(void **state)
{
    (void)state;
    char code[8];
    lx_reply r = {.excuse = "<Error><Code>NoSuch\033[1mKey</Code></Error>"};
    lx_reply_code(&r, code, sizeof(code));
    assert_string_equal(code, "NoSuch");
    strcpy(r.excuse, "<Code>NoSuchKeyAtAll");
    lx_reply_code(&r, code, sizeof(code));
    assert_string_equal(code, "NoSuchK");
    strcpy(r.excuse, "no");
    lx_reply_code(&r, code, sizeof(code));
    assert_string_equal(code, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_read),
        cmocka_unit_test(every_cut_page_is_refused),
        cmocka_unit_test(what_is_no_page_is_refused),
        cmocka_unit_test(heads_are_read),
        cmocka_unit_test(broken_heads_are_refused),
        cmocka_unit_test(codes_are_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
