/* SPDX-License-Identifier: MIT */
/* http_routes.c - what is at which path, and who may ask for it; see http.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/api_answer.h"
#include "serve/http.h"
#include "serve/page.h"

static const char models_path[] = "/v1/models/";

typedef struct route_row {
    const char *path;
    lx_route route;
    unsigned allowed;
    bool is_open; /* without a key, too */
} route_row;

static const route_row rows[] = {
    {"/", LX_ROUTE_PAGE, LX_GET, true},
    {"/health", LX_ROUTE_HEALTH, LX_GET, true},
    {"/health/ready", LX_ROUTE_HEALTH, LX_GET, true},
    {"/health/live", LX_ROUTE_HEALTH, LX_GET, true},
    {"/metrics", LX_ROUTE_METRICS, LX_GET, false},
    {"/v1/models", LX_ROUTE_MODELS, LX_GET, false},
    {"/v1/chat/completions", LX_ROUTE_CHAT, LX_POST, false},
    {"/v1/completions", LX_ROUTE_COMPLETIONS, LX_POST, false},
    {"/tokenize", LX_ROUTE_TOKENIZE, LX_POST, false},
};

static route_row find_route(const char *path)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (strcmp(path, rows[i].path) == 0)
            return rows[i];
    if (strncmp(path, models_path, sizeof(models_path) - 1) == 0)
        return (route_row){path, LX_ROUTE_MODELS, LX_GET, false};
    return (route_row){path, LX_ROUTE_NONE, 0, false};
}

/* ---- who may ask --------------------------------------------------------------------- */

static const char *header(const lx_exchange *e, const char *name)
{
    return MHD_lookup_connection_value(e->connection, MHD_HEADER_KIND, name);
}

/* In a time that depends on what was given alone. */
static bool is_same_secret(const char *given, const char *secret)
{
    const size_t size = strlen(given), secret_size = strlen(secret);
    volatile uint8_t difference = size != secret_size || secret_size == 0;
    for (size_t i = 0; i < size && secret_size; i++)
        difference |= (uint8_t)(given[i] ^ secret[i % secret_size]);
    return difference == 0;
}

/* No key is asked for, or the request has one. */
static bool has_key(const lx_exchange *e)
{
    static const char scheme[] = "Bearer ";
    lynx_serve *s = e->serve;
    const lynx_serve_secrets *secrets = &s->service.options.secrets;
    const char *given = header(e, "Authorization");
    const bool is_given = given && strncasecmp(given, scheme, sizeof(scheme) - 1) == 0;
    pthread_mutex_lock(&s->lock); /* they may be changed */
    bool is_right = secrets->api_key_count == 0;
    for (uint32_t i = 0; is_given && i < secrets->api_key_count; i++)
        is_right |= is_same_secret(given + sizeof(scheme) - 1, secrets->api_keys[i]);
    pthread_mutex_unlock(&s->lock);
    return is_right;
}

/* A page of another site must not make a browser ask us: it cannot read the answer, but it
 * would be computed. */
static bool is_own_origin(const lx_exchange *e)
{
    const char *origin = header(e, "Origin");
    const char *host = header(e, "Host");
    const char *cors = e->serve->service.options.cors_origin;
    if (!origin || (cors && (strcmp(cors, "*") == 0 || strcmp(cors, origin) == 0)))
        return true;
    const char *authority = strstr(origin, "://");
    return authority && host && strcasecmp(authority + 3, host) == 0;
}

static bool is_method_allowed(const route_row *row, const char *method)
{
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return row->allowed & LX_GET;
    return strcmp(method, "POST") == 0 && (row->allowed & LX_POST);
}

static bool is_preflight(const lx_exchange *e, const char *method)
{
    return e->serve->service.options.cors_origin && strcmp(method, "OPTIONS") == 0;
}

void lx_http_check(lx_exchange *e, const char *path, const char *method)
{
    const route_row row = find_route(path);
    e->route = row.route;
    e->allowed = row.allowed;
    if (row.route == LX_ROUTE_NONE) {
        lx_api_fault_set(&e->fault, 404, "not_found", "there is nothing at '%.200s'", path);
    } else if (is_preflight(e, method)) {
        return; /* carries no key */
    } else if (!is_method_allowed(&row, method)) {
        lx_api_fault_set(&e->fault, 405, "method_not_allowed", "'%.200s' takes %s", path,
                         row.allowed == LX_POST ? "POST" : "GET and HEAD");
    } else if (!is_own_origin(e)) {
        lx_api_fault_set(&e->fault, 403, "forbidden_origin",
                         "pages of other origins may not ask this server (--cors-origin)");
    } else if (!row.is_open && !has_key(e)) {
        e->outcome = LX_OUTCOME_DENIED;
        lx_api_fault_set(&e->fault, 401, "invalid_api_key",
                         "no or a wrong API key; send 'Authorization: Bearer KEY'");
    }
}

/* ---- answers ------------------------------------------------------------------------- */

static enum MHD_Result answer_models(lx_exchange *e, const char *path)
{
    const lynx_serve *s = e->serve;
    const lynx_engine *engine = s->service.options.engines[0];
    const bool is_list = strncmp(path, models_path, sizeof(models_path) - 1) != 0;
    if (!is_list && strcmp(path + sizeof(models_path) - 1, s->service.options.model_id) != 0) {
        lx_api_fault_set(&e->fault, 404, "model_not_found", "there is no model '%.200s'",
                         path + sizeof(models_path) - 1);
        return lx_http_send_fault(e);
    }
    return lx_http_send_json(e, 200,
                             lx_api_model(s->service.options.model_id,
                                          engine->ops->model(engine), s->started, is_list));
}

static enum MHD_Result answer_health(lx_exchange *e, const char *path)
{
    static const char good[] = "{\"status\":\"ok\"}", stopping[] = "{\"status\":\"stopping\"}";
    const bool is_good =
        strcmp(path, "/health/live") == 0 || !lx_slots_is_closed(e->serve->slots);
    const char *text = is_good ? good : stopping;
    return lx_http_send(e, is_good ? 200 : 503, "application/json", text, strlen(text));
}

static enum MHD_Result answer_metrics(lx_exchange *e)
{
    lynx_serve *s = e->serve;
    const lynx_serve_options *o = &s->service.options;
    lx_buffer text = {0};
    lx_metrics_write(&s->service.metrics, &s->service.policy, &text);
    lx_metrics_write_store(&s->service.metrics, o->store, &text);
    lx_metrics_write_peers(o->remotes, o->remote_names, o->remote_count, &text);
    const enum MHD_Result result =
        text.has_failed
            ? MHD_NO
            : lx_http_send(e, 200, "text/plain; version=0.0.4", text.data, text.size);
    lx_buffer_fini(&text);
    return result;
}

static enum MHD_Result answer_preflight(lx_exchange *e)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Access-Control-Allow-Origin",
                            e->serve->service.options.cors_origin);
    MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST");
    MHD_add_response_header(response, "Access-Control-Allow-Headers",
                            "Authorization, Content-Type");
    MHD_add_response_header(response, "Access-Control-Max-Age", "600");
    MHD_add_response_header(response, "Vary", "Origin");
    const enum MHD_Result result = MHD_queue_response(e->connection, 204, response);
    MHD_destroy_response(response);
    return result;
}

/* The model that a request names must be ours. */
static bool has_our_model(lx_exchange *e, const lx_api_request *request)
{
    const char *id = e->serve->service.options.model_id;
    if (!request->model || strcmp(request->model, id) == 0)
        return true;
    lx_api_fault_set(&e->fault, 404, "model_not_found",
                     "there is no model '%.200s'; this server has '%.200s'", request->model,
                     id);
    snprintf(e->fault.param, sizeof(e->fault.param), "model");
    return false;
}

static enum MHD_Result answer_post(lx_exchange *e)
{
    lx_api_request request;
    const lx_api_kind kind = e->route == LX_ROUTE_CHAT          ? LX_API_CHAT
                             : e->route == LX_ROUTE_COMPLETIONS ? LX_API_COMPLETION
                                                                : LX_API_TOKENIZE;
    const lynx_status status =
        lx_api_request_parse(&request, kind, e->body.data, e->body.size, &e->fault);
    lx_buffer_fini(&e->body);
    if (status == LYNX_ERR_MEMORY)
        lx_api_fault_set(&e->fault, 500, NULL, "%s", lynx_status_text(status));
    if (status == LYNX_OK && has_our_model(e, &request))
        return lx_http_submit(e, &request);
    lx_api_request_fini(&request);
    return lx_http_send_fault(e);
}

enum MHD_Result lx_http_answer(lx_exchange *e, const char *path, const char *method)
{
    if (is_preflight(e, method))
        return answer_preflight(e);
    switch (e->route) {
    case LX_ROUTE_CHAT:
    case LX_ROUTE_COMPLETIONS:
    case LX_ROUTE_TOKENIZE:
        return answer_post(e);
    case LX_ROUTE_MODELS:
        return answer_models(e, path);
    case LX_ROUTE_HEALTH:
        return answer_health(e, path);
    case LX_ROUTE_METRICS:
        return answer_metrics(e);
    case LX_ROUTE_PAGE:
        return lx_http_send(e, 200, "text/html; charset=utf-8", (const char *)lx_page,
                            lx_page_size);
    case LX_ROUTE_NONE:
    case LX_ROUTE_COUNT:
        break;
    }
    return MHD_NO;
}
