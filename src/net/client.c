/* SPDX-License-Identifier: MIT */
/*
 * client.c - one easy handle in a multi handle of its own, which keeps the connection and can
 * be woken from another thread.
 */
#include "net/client.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"
#include "base/check.h"
#include "net/reply.h"

enum {
    REDIRECTS_MAX = 5,
    BUFFER_BYTES = 256 << 10,
    ASK_FIRST_BYTES = 1 << 20, /* larger bodies wait for "100 Continue" */
    DISCARD_MAX = 256 << 10,   /* of the body of an error */
    POLL_MS = 1000,
    MS_NS = 1000000
};

static const char empty_hash[] =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct lx_client {
    const lx_settings *settings;
    const atomic_bool *is_stopped;
    const lynx_allocator *memory;
    lx_client *next;
    CURLM *multi;
    CURL *easy;
    char error[CURL_ERROR_SIZE];
    /* of the exchange */
    const lx_request *request;
    lx_reply *reply;
    lynx_status verdict; /* of a callback */
    bool has_begun;
    uint64_t discarded;
    int64_t heard_ns;
    size_t part, part_done; /* of what is sent */
};

static int64_t now_ns(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 * MS_NS + now.tv_nsec;
}

/* ---- callbacks of libcurl ------------------------------------------------------------ */

static bool is_success(const lx_reply *reply)
{
    return reply->status >= 200 && reply->status < 300;
}

static lynx_status begin(lx_client *c)
{
    if (c->has_begun || !is_success(c->reply))
        return LYNX_OK; /* a trailer ends with a blank line, too */
    c->has_begun = true;
    if (c->reply->is_encoded)
        return lx_tell(c->request->said, LYNX_ERR_SYSTEM,
                       "the server compresses what it sends; switch that off for this address");
    return c->request->begin ? c->request->begin(c->request->user, c->reply) : LYNX_OK;
}

static bool is_blank(const char *line, size_t size)
{
    return size <= 2 && (size == 0 || line[size - 1] == '\n') && (size < 2 || line[0] == '\r');
}

/* What may not be is refused before its body comes. */
static size_t on_header(char *data, size_t one, size_t size, void *user)
{
    lx_client *c = user;
    c->heard_ns = now_ns();
    c->verdict = lx_reply_read_line(c->reply, data, one * size, c->request->said);
    if (c->verdict == LYNX_OK && is_blank(data, one * size))
        c->verdict = begin(c);
    return c->verdict == LYNX_OK ? one * size : 0;
}

static size_t on_body(char *data, size_t one, size_t size, void *user)
{
    lx_client *c = user;
    lx_reply *reply = c->reply;
    size *= one;
    if (is_success(reply) && c->request->take) {
        c->verdict = c->request->take(c->request->user, (const uint8_t *)data, size);
    } else {
        const size_t room = sizeof(reply->excuse) - 1 - reply->excuse_size;
        const size_t kept = size < room ? size : room;
        memcpy(reply->excuse + reply->excuse_size, data, kept);
        reply->excuse_size += kept;
        reply->excuse[reply->excuse_size] = '\0';
        c->discarded += size;
    }
    c->heard_ns = now_ns(); /* what was taken may have waited for room */
    return c->verdict == LYNX_OK && c->discarded <= DISCARD_MAX ? size : 0;
}

static size_t on_upload(char *data, size_t one, size_t room, void *user)
{
    lx_client *c = user;
    const lx_request *r = c->request;
    size_t done = 0;
    room *= one;
    while (done < room && c->part < r->part_count) {
        const lynx_bytes *from = &r->parts[c->part];
        const size_t left = from->size - c->part_done;
        const size_t now = left < room - done ? left : room - done;
        if (now > 0)
            memcpy(data + done, from->data + c->part_done, now);
        done += now;
        c->part_done += now;
        if (c->part_done == from->size) {
            c->part++;
            c->part_done = 0;
        }
    }
    c->heard_ns = now_ns();
    return done;
}

/* Only to the beginning: for an answer that wants the body once more. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
    lx_client *c = user;
    c->part = c->part_done = 0;
    return offset == 0 && origin == SEEK_SET ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_CANTSEEK;
}

/* ---- setting up ---------------------------------------------------------------------- */

static uint64_t total_of(const lx_request *r)
{
    uint64_t total = 0;
    for (size_t i = 0; i < r->part_count; i++)
        total += r->parts[i].size;
    return total;
}

static bool add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    *list = longer ? longer : *list;
    return longer;
}

static bool make_headers(const lx_client *c, bool with_secrets, struct curl_slist **list)
{
    char line[LX_ETAG_MAX + 96];
    const lx_request *r = c->request;
    const lx_settings *s = c->settings;
    bool is_good = add_header(list, "Accept-Encoding: identity");
    /* libcurl would sign the line that it leaves out. */
    if (r->part_count > 0 && total_of(r) < ASK_FIRST_BYTES && !s->signer[0])
        is_good = is_good && add_header(list, "Expect:");
    if (r->if_match) {
        snprintf(line, sizeof(line), "If-Match: %s", r->if_match);
        is_good = is_good && add_header(list, line);
    }
    if (s->bearer[0] && with_secrets)
        is_good = is_good && add_header(list, s->bearer);
    if (s->signer[0]) {
        snprintf(line, sizeof(line), "x-amz-content-sha256: %s",
                 r->payload_hash ? r->payload_hash : empty_hash);
        is_good = is_good && add_header(list, line);
    }
    if (s->session[0])
        is_good = is_good && add_header(list, s->session);
    return is_good;
}

static bool set_method(const lx_client *c)
{
    const lx_request *r = c->request;
    char range[64];
    bool is_good = true;
    if (strcmp(r->method, "PUT") == 0) {
        is_good = curl_easy_setopt(c->easy, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
                  curl_easy_setopt(c->easy, CURLOPT_INFILESIZE_LARGE,
                                   (curl_off_t)total_of(r)) == CURLE_OK;
    } else if (strcmp(r->method, "GET") != 0) {
        is_good = curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, r->method) == CURLE_OK;
    }
    if (r->size > 0) {
        snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, r->first,
                 r->first + r->size - 1);
        is_good = is_good && curl_easy_setopt(c->easy, CURLOPT_RANGE, range) == CURLE_OK;
    }
    return is_good;
}

static bool set_secrets(const lx_client *c, bool with_secrets)
{
    const lx_settings *s = c->settings;
    CURL *e = c->easy;
    if (!with_secrets)
        return true;
    if (s->signer[0] && curl_easy_setopt(e, CURLOPT_AWS_SIGV4, s->signer) != CURLE_OK)
        return false;
    if (s->url.user[0] || s->url.password[0])
        return curl_easy_setopt(e, CURLOPT_USERNAME, s->url.user) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_PASSWORD, s->url.password) == CURLE_OK;
    if (s->is_s3 || s->bearer[0])
        return true;
    return curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL) == CURLE_OK &&
           (!s->netrc_file[0] ||
            curl_easy_setopt(e, CURLOPT_NETRC_FILE, s->netrc_file) == CURLE_OK);
}

static bool set_common(lx_client *c, const char *url)
{
    const lx_settings *s = c->settings;
    CURL *e = c->easy;
    curl_easy_reset(e);
    return curl_easy_setopt(e, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)s->connect_timeout_ms) ==
               CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERDATA, c) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEDATA, c) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_READFUNCTION, on_upload) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_READDATA, c) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_SEEKDATA, c) == CURLE_OK &&
           (!s->ca_file[0] || curl_easy_setopt(e, CURLOPT_CAINFO, s->ca_file) == CURLE_OK);
}

/* ---- one exchange -------------------------------------------------------------------- */

static bool is_stopped(const lx_client *c)
{
    return atomic_load(c->is_stopped) ||
           (c->request->is_stopped && atomic_load(c->request->is_stopped));
}

static lynx_status tell_timeout(const lx_client *c)
{
    return lx_tell(c->request->said, LYNX_ERR_TIMEOUT,
                   "the server was silent for %" PRIu32 " ms; is it overloaded?",
                   c->settings->silence_timeout_ms);
}

/* What libcurl calls the end of a transfer, in our words. */
static lynx_status judge(lx_client *c, CURLcode code, bool *again)
{
    const lx_text said = c->request->said;
    const char *why = c->error[0] ? c->error : curl_easy_strerror(code);
    if (c->verdict != LYNX_OK)
        return c->verdict;
    if (code == CURLE_OK)
        return LYNX_OK;
    if (code == CURLE_WRITE_ERROR && !is_success(c->reply) && c->discarded > DISCARD_MAX)
        return LYNX_OK; /* an error whose words nobody needs in full */
    if (code == CURLE_OUT_OF_MEMORY)
        return LYNX_ERR_MEMORY;
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return lx_tell(said, LYNX_ERR_DENIED,
                       "the server's certificate is not accepted (%s); give the authority that "
                       "signed it",
                       why);
    *again = code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT ||
             code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
             code == CURLE_GOT_NOTHING || code == CURLE_PARTIAL_FILE ||
             code == CURLE_SEND_FAIL_REWIND || code == CURLE_SSL_CONNECT_ERROR;
    if (code == CURLE_OPERATION_TIMEDOUT)
        return lx_tell(said, LYNX_ERR_TIMEOUT, "no connection within %" PRIu32 " ms",
                       c->settings->connect_timeout_ms);
    if (*again)
        return lx_tell(said, LYNX_ERR_CLOSED, "the connection failed: %s", why);
    return lx_tell(said, LYNX_ERR_SYSTEM, "the request failed: %s", why);
}

static lynx_status transfer(lx_client *c, bool *again)
{
    const int64_t silence_ns = (int64_t)c->settings->silence_timeout_ms * MS_NS;
    int running = 1, left = 0;
    while (running > 0) {
        if (curl_multi_perform(c->multi, &running) != CURLM_OK)
            return lx_tell(c->request->said, LYNX_ERR_SYSTEM, "libcurl failed");
        if (running > 0 && is_stopped(c))
            return LYNX_ERR_CANCELLED;
        const int64_t rest_ms = (c->heard_ns + silence_ns - now_ns()) / MS_NS;
        if (running > 0 && rest_ms <= 0) {
            *again = true;
            return tell_timeout(c);
        }
        if (running > 0)
            curl_multi_poll(c->multi, NULL, 0, rest_ms < POLL_MS ? (int)rest_ms + 1 : POLL_MS,
                            NULL);
    }
    const CURLMsg *message = curl_multi_info_read(c->multi, &left);
    return judge(c, message ? message->data.result : CURLE_RECV_ERROR, again);
}

/* One request to one address. */
static lynx_status hop(lx_client *c, const char *url, bool with_secrets, bool *again)
{
    struct curl_slist *headers = NULL;
    memset(c->reply, 0, sizeof(*c->reply));
    c->verdict = LYNX_OK;
    c->has_begun = false;
    c->discarded = 0;
    c->part = c->part_done = 0;
    c->error[0] = '\0';
    c->heard_ns = now_ns();
    lynx_status status = LYNX_ERR_MEMORY;
    if (set_common(c, url) && set_method(c) && set_secrets(c, with_secrets) &&
        make_headers(c, with_secrets, &headers) &&
        curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
        curl_multi_add_handle(c->multi, c->easy) == CURLM_OK) {
        status = transfer(c, again);
        curl_multi_remove_handle(c->multi, c->easy);
    }
    curl_slist_free_all(headers);
    return status;
}

static bool is_redirect(const lx_reply *reply)
{
    return reply->status == 301 || reply->status == 302 || reply->status == 303 ||
           reply->status == 307 || reply->status == 308;
}

/* Where an answer leads; LYNX_OK with "": nowhere. */
static lynx_status find_target(lx_client *c, const char *from, char *target, size_t size)
{
    const lx_text said = c->request->said;
    char *url = NULL;
    lx_url parsed;
    target[0] = '\0';
    if (!is_redirect(c->reply) || c->settings->is_s3)
        return LYNX_OK;
    if (curl_easy_getinfo(c->easy, CURLINFO_REDIRECT_URL, &url) != CURLE_OK || !url)
        return LYNX_OK;
    if (lx_url_parse(&parsed, url, said) != LYNX_OK || parsed.user[0] || parsed.password[0] ||
        (strncasecmp(from, "https:", 6) == 0 && !parsed.is_tls))
        return lx_tell(said, LYNX_ERR_DENIED,
                       "the server redirects to an address that is not followed: another "
                       "scheme, or one with a password");
    snprintf(target, size, "%s", url);
    return LYNX_OK;
}

static lynx_status follow(lx_client *c, bool *again)
{
    char url[LX_ADDRESS_ROOM + LYNX_NET_URL_MAX], target[LYNX_NET_URL_MAX];
    bool with_secrets = true;
    snprintf(url, sizeof(url), "%s", c->request->url);
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        LX_TRY(hop(c, url, with_secrets, again));
        LX_TRY(find_target(c, url, target, sizeof(target)));
        if (!target[0])
            return LYNX_OK;
        /* Once gone, they do not come back. */
        with_secrets = with_secrets && lx_url_is_same_origin(url, target);
        snprintf(url, sizeof(url), "%s", target);
    }
    return lx_tell(c->request->said, LYNX_ERR_SYSTEM, "the server redirects without end");
}

lynx_status lx_client_exchange(lx_client *client, const lx_request *request, lx_reply *reply,
                               bool *again)
{
    const struct timespec at_once = {0};
    sigset_t pipe_only, before, pending;
    *again = false;
    client->request = request;
    client->reply = reply;
    /* OpenSSL writes to sockets that may be closed; who uses us need not know. */
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    const lynx_status status = follow(client, again);
    if (!sigismember(&pending, SIGPIPE))
        (void)sigtimedwait(&pipe_only, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* ---- life ---------------------------------------------------------------------------- */

void lx_client_rest(lx_client *client, uint32_t milliseconds)
{
    curl_multi_poll(client->multi, NULL, 0, (int)milliseconds, NULL);
}

void lx_client_wake(lx_client *client)
{
    curl_multi_wakeup(client->multi);
}

lx_client **lx_client_next(lx_client *client)
{
    return &client->next;
}

lx_client *lx_client_create(const lx_settings *settings, const atomic_bool *is_stopped,
                            const lynx_allocator *memory)
{
    lx_client *c = lx_alloc_zeroed(memory, 1, sizeof(*c));
    if (!c)
        return NULL;
    c->settings = settings;
    c->is_stopped = is_stopped;
    c->memory = memory;
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    if (c->multi && c->easy)
        return c;
    lx_client_destroy(c);
    return NULL;
}

void lx_client_destroy(lx_client *client)
{
    if (!client)
        return;
    if (client->easy)
        curl_easy_cleanup(client->easy);
    if (client->multi)
        curl_multi_cleanup(client->multi);
    lx_free(client->memory, client, 1, sizeof(*client));
}
