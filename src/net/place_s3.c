/* SPDX-License-Identifier: MIT */
/*
 * place_s3.c - a bucket. libcurl signs: we give it the queries as they are to be signed, sorted
 * and with everything but unreserved characters escaped, and the hash of the body in a header.
 */
#include <curl/curl.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "net/body.h"
#include "net/listing.h"
#include "net/place_net.h"

enum { PAGE_MAX = 8 << 20, QUERY_ROOM = 3 * (LX_TOKEN_MAX + LYNX_NET_URL_MAX) + 128 };

/* ---- lists --------------------------------------------------------------------------- */

typedef struct page {
    lx_body body;
    lx_text said;
} page;

static lynx_status take_page(void *user, const uint8_t *data, size_t size)
{
    page *g = user;
    if (g->body.size + size > PAGE_MAX)
        return lx_tell(g->said, LYNX_ERR_SYSTEM, "the server's list has no end");
    return lx_body_append(&g->body, data, size);
}

static void forget_page(void *user)
{
    page *g = user;
    g->body.size = 0;
}

typedef struct list_call {
    const lx_net_place *place;
    const char *prefix; /* of names */
    lynx_place_visit *visit;
    void *user;
} list_call;

/* A key becomes a name. */
static bool visit_key(void *user, const lynx_place_entry *entry)
{
    const list_call *call = user;
    const size_t skip = strlen(call->place->prefix);
    if (strncmp(entry->name, call->place->prefix, skip) != 0)
        return true;
    const lynx_place_entry named = {entry->name + skip, entry->size, entry->used_ns};
    if (!lynx_place_name_is_legal(named.name) ||
        strncmp(named.name, call->prefix, strlen(call->prefix)) != 0)
        return true;
    return call->visit(call->user, &named);
}

static bool list_url(const lx_net_place *p, const char *prefix, const char *token, char *url,
                     size_t size)
{
    char whole[LYNX_NET_URL_MAX + LYNX_PLACE_NAME_MAX + 1];
    snprintf(whole, sizeof(whole), "%s%s", p->prefix, prefix);
    char *safe_prefix = curl_easy_escape(NULL, whole, 0);
    char *safe_token = curl_easy_escape(NULL, token, 0);
    int used = -1;
    if (safe_prefix && safe_token)
        used = snprintf(url, size, "%s?%s%s%slist-type=2&max-keys=1000&prefix=%s",
                        p->bucket_url, token[0] ? "continuation-token=" : "",
                        token[0] ? safe_token : "", token[0] ? "&" : "", safe_prefix);
    curl_free(safe_prefix);
    curl_free(safe_token);
    return used > 0 && (size_t)used < size;
}

static lynx_status get_page(lx_net_place *p, const char *url, page *g, lx_text said)
{
    lx_reply reply = {0};
    const lx_request request = {
        .method = "GET", .url = url, .take = take_page, .user = g, .said = said};
    g->body.size = 0;
    LX_TRY(lx_network_do(&p->network, &request, p->shown, forget_page, &reply));
    return reply.status == 200
               ? LYNX_OK
               : lx_network_refuse(&p->network, &reply, p->shown, "listed", said);
}

static lynx_status list_pages(lx_net_place *p, const list_call *call, page *g, lx_text said)
{
    char url[LYNX_NET_URL_MAX + QUERY_ROOM], before[LX_TOKEN_MAX];
    lx_listing listing = {.is_truncated = true};
    bool goes_on = true;
    while (listing.is_truncated && goes_on) {
        LX_REQUIRE(list_url(p, call->prefix, listing.token, url, sizeof(url)), LYNX_ERR_MEMORY);
        LX_TRY(get_page(p, url, g, said));
        memcpy(before, listing.token, sizeof(before));
        const lynx_status status =
            lx_listing_read(&listing, g->body.size > 0 ? (const char *)g->body.data : "",
                            g->body.size, visit_key, (void *)(uintptr_t)call, &goes_on);
        if (status == LYNX_ERR_CORRUPT ||
            (goes_on && listing.is_truncated && strcmp(before, listing.token) == 0))
            return lx_tell(said, LYNX_ERR_SYSTEM,
                           "'%.255s' cannot be listed: the answer is no list of S3", p->shown);
        LX_TRY(status);
    }
    return LYNX_OK;
}

static lynx_status s3_list(lynx_place *place, const char *prefix, lynx_place_visit *visit,
                           void *user, char *text, size_t text_size)
{
    lx_net_place *p = (lx_net_place *)(void *)place;
    const lx_text said = {text, text_size};
    const list_call call = {p, prefix, visit, user};
    page g = {.body.memory = p->network.memory, .said = said};
    LX_REQUIRE(strlen(prefix) <= LYNX_PLACE_NAME_MAX, LYNX_ERR_ARGUMENT);
    const lynx_status status = list_pages(p, &call, &g, said);
    lx_body_fini(&g.body);
    return status;
}

/* ---- the address --------------------------------------------------------------------- */

static const char *setting(const char *first, const char *second, const char *otherwise)
{
    const char *value = getenv(first);
    if ((!value || !value[0]) && second)
        value = getenv(second);
    return value && value[0] ? value : otherwise;
}

static bool is_bucket(const char *name, size_t size)
{
    bool is_good = size >= 1 && size <= 63 && name[0] != '.' && name[0] != '-';
    for (size_t i = 0; i < size && is_good; i++)
        is_good = isalnum((unsigned char)name[i]) || strchr(".-_", name[i]);
    return is_good;
}

static bool is_word(const char *word)
{
    for (; *word; word++)
        if (!isalnum((unsigned char)*word) && *word != '-')
            return false;
    return true;
}

/* "s3://bucket/prefix" into bucket, prefix and the URLs of both. */
static lynx_status take_address(lx_net_place *p, const char *typed, const char *region,
                                lx_text said)
{
    char standard[128], prefix[LYNX_NET_URL_MAX];
    lx_url *u = &p->network.settings.url;
    const char *bucket = strncasecmp(typed, "s3://", 5) == 0 ? typed + 5 : "";
    const size_t bucket_size = strcspn(bucket, "/");
    const char *rest = bucket[bucket_size] ? bucket + bucket_size + 1 : "";
    size_t size = strlen(rest);
    while (size > 0 && rest[size - 1] == '/')
        size--;
    snprintf(prefix, sizeof(prefix), "%.*s", (int)size, rest);
    if (strlen(typed) >= LYNX_NET_URL_MAX / 2 || !is_bucket(bucket, bucket_size) ||
        (size > 0 && !lynx_place_name_is_legal(prefix)))
        return lx_tell(said, LYNX_ERR_ARGUMENT,
                       "this is no address of a bucket; write s3://BUCKET or "
                       "s3://BUCKET/PREFIX, of letters, digits, '.', '_' and '-'");
    snprintf(standard, sizeof(standard), "https://s3.%.40s.amazonaws.com", region);
    if (lx_url_parse(u, setting("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", standard), said) !=
            LYNX_OK ||
        u->user[0] || u->query[0] || strlen(u->address) >= LYNX_NET_URL_MAX / 2)
        return lx_tell(said, LYNX_ERR_ARGUMENT,
                       "AWS_ENDPOINT_URL is no address of a server; write https://HOST");
    const size_t base = strlen(u->address);
    snprintf(u->address + base, sizeof(u->address) - base, "/%.*s", (int)bucket_size, bucket);
    snprintf(p->bucket_url, sizeof(p->bucket_url), "%s", u->address);
    if (size == 0) {
        snprintf(p->shown, sizeof(p->shown), "s3://%.*s", (int)bucket_size, bucket);
        return LYNX_OK;
    }
    const size_t base_now = strlen(u->address);
    snprintf(u->address + base_now, sizeof(u->address) - base_now, "/%s", prefix);
    snprintf(p->prefix, sizeof(p->prefix), "%.*s/", (int)size, rest);
    snprintf(p->shown, sizeof(p->shown), "s3://%.*s/%.*s", (int)bucket_size, bucket, (int)size,
             rest);
    return LYNX_OK;
}

static lynx_status take_keys(lx_settings *s, const char *region, lx_text said)
{
    const char *id = setting("AWS_ACCESS_KEY_ID", NULL, "");
    const char *secret = setting("AWS_SECRET_ACCESS_KEY", NULL, "");
    const char *session = setting("AWS_SESSION_TOKEN", NULL, "");
    if (!id[0] && !secret[0])
        return LYNX_OK;
    const bool is_good = id[0] && secret[0] && strlen(id) < sizeof(s->url.user) &&
                         strlen(secret) < sizeof(s->url.password) &&
                         strlen(session) + 32 < sizeof(s->session) && !strpbrk(session, "\r\n");
    if (!is_good)
        return lx_tell(said, LYNX_ERR_ARGUMENT,
                       "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither");
    snprintf(s->url.user, sizeof(s->url.user), "%s", id);
    snprintf(s->url.password, sizeof(s->url.password), "%s", secret);
    snprintf(s->signer, sizeof(s->signer), "aws:amz:%.40s:s3", region);
    if (session[0])
        snprintf(s->session, sizeof(s->session), "x-amz-security-token: %s", session);
    return LYNX_OK;
}

lynx_status lx_place_s3(lynx_place **place, const char *url, bool is_single,
                        const lynx_net_options *options, lx_text said)
{
    lx_net_place *p = NULL;
    const char *region = setting("AWS_REGION", "AWS_DEFAULT_REGION", "us-east-1");
    if (strlen(region) > 40 || !is_word(region))
        return lx_tell(said, LYNX_ERR_ARGUMENT, "AWS_REGION is no name of a region");
    LX_TRY(lx_net_place_create(&p, options, said));
    lynx_status status = take_address(p, url, region, said);
    if (status == LYNX_OK)
        status = take_keys(&p->network.settings, region, said);
    if (status != LYNX_OK) {
        lx_net_place_destroy(&p->base);
        return status;
    }
    p->network.settings.is_s3 = true;
    p->is_single = is_single;
    p->ops.list = s3_list;
    *place = &p->base;
    return LYNX_OK;
}

lynx_status lynx_place_s3(lynx_place **place, const char *url, const lynx_net_options *options,
                          char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    return lx_place_s3(place, url, false, options, said);
}
