/* SPDX-License-Identifier: MIT */
#include "run_cache.h"

#include <stdlib.h>
#include <string.h>

void run_cache_init(run_cache *c, const char *command)
{
    *c = (run_cache){0};
    cache_options_init(&c->options, command);
    c->options.has_front = true;
}

static int open_file(run_cache *c)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    const lynx_status status = cache_open_file(&c->options, c->name, &c->place, &c->file, text);
    if (status != LYNX_OK)
        return cache_fail(&c->options, status, text);
    if (!c->file)
        return cli_error(c->options.command, "there is no cache file '%s'",
                         cache_shown(c->place, c->name));
    c->tokens = lynx_cache_file_tokens(c->file, &c->token_count);
    c->spec = lynx_cache_file_model(c->file)->spec;
    return CLI_OK;
}

static int open_document(run_cache *c)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    const int code = cache_open(&c->options, 0, &c->store);
    if (code != CLI_OK || !c->name)
        return code;
    const lynx_status status =
        lynx_store_get_document(c->store, c->name, &c->document, text, sizeof(text));
    if (status != LYNX_OK)
        return cache_fail(&c->options, status, text);
    if (!c->document)
        return cli_error(c->options.command,
                         "there is no document '%s' in '%s'; 'lynx cache ls' lists them, 'lynx "
                         "cache add' makes one",
                         c->name, c->options.folder);
    c->tokens = c->document->tokens;
    c->token_count = c->document->token_count;
    c->spec = c->document->model.spec;
    return CLI_OK;
}

/* A document that was stored for a chat begins as a chat does. */
static bool is_chat(run_cache *c, lynx_engine *engine)
{
    const cli_document how = {.template_name = c->template_name};
    lynx_token *start = NULL;
    uint32_t count = 0;
    const bool is_known = cli_document_tokens(engine, &how, "", &start, &count) == LYNX_OK;
    const bool is_same = is_known && count <= c->token_count &&
                         memcmp(start, c->tokens, count * sizeof(*start)) == 0;
    free(start);
    return is_same;
}

int run_cache_open(run_cache *c, lynx_engine *engine)
{
    const lynx_fingerprint *own = &engine->ops->model(engine)->fingerprint;
    int code = cache_read_key(&c->options);
    if (code == CLI_OK)
        code = c->name && cache_is_path(c->name) ? open_file(c) : open_document(c);
    if (code != CLI_OK || !c->name)
        return code;
    const lynx_fingerprint *stored = c->file ? &lynx_cache_file_model(c->file)->fingerprint
                                             : &c->document->model.fingerprint;
    if (memcmp(stored, own, sizeof(*own)) != 0)
        return cli_fail(c->options.command, LYNX_ERR_MODEL,
                        "the stored cache is of another model; 'lynx cache show' tells which");
    if (c->token_count == 0)
        return cli_error(c->options.command, "'%s' has no tokens", c->name);
    c->is_raw = c->is_raw || !is_chat(c, engine);
    return CLI_OK;
}

int run_cache_prompt(run_cache *c, lynx_engine *engine, const char *question,
                     lynx_token **tokens, uint32_t *count)
{
    const cli_document how = {.template_name = c->template_name, .is_raw = c->is_raw};
    lynx_token *asked = NULL;
    uint32_t asked_count = 0;
    lynx_status status = cli_question_tokens(engine, &how, question, &asked, &asked_count);
    *count = c->token_count + asked_count;
    *tokens = status == LYNX_OK ? malloc(*count * sizeof(**tokens)) : NULL;
    if (*tokens) {
        memcpy(*tokens, c->tokens, c->token_count * sizeof(**tokens));
        memcpy(*tokens + c->token_count, asked, asked_count * sizeof(**tokens));
    } else if (status == LYNX_OK) {
        status = LYNX_ERR_MEMORY;
    }
    free(asked);
    return status == LYNX_OK
               ? CLI_OK
               : cli_fail(c->options.command, status, engine->ops->error_text(engine));
}

int run_cache_use(run_cache *c, lynx_run_options *run, bool has_remote)
{
    const lynx_model *model = run->engine->ops->model(run->engine);
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_status status = LYNX_OK;
    if (c->name) {
        run->spec = c->spec;
    } else { /* what is stored ends nowhere */
        c->spec = lynx_codec_spec_storable(run->spec);
    }
    if (run->method == LYNX_METHOD_LOCAL_FULL) { /* --plain: nothing is loaded */
        run->cached_tokens = c->token_count;
        return CLI_OK;
    }
    if (c->file)
        status = lynx_cache_file_source(c->file, model, run->prompt, run->prompt_tokens,
                                        &c->source, text, sizeof(text));
    else if (c->document)
        status = lynx_store_find_document(c->store, model, c->document, run->prompt,
                                          run->prompt_tokens, &c->source, text, sizeof(text));
    else
        status = lynx_store_find(c->store, model, &c->spec, run->prompt, run->prompt_tokens,
                                 &c->source, text, sizeof(text));
    if (status != LYNX_OK)
        return cache_fail(&c->options, status, text);
    run->source = c->source;
    if (!c->source && !has_remote) {
        cli_say(c->options.command, CLI_LEVEL_WARNING,
                "nothing of '%s' is stored any more: computing it", c->name);
        run->method = LYNX_METHOD_LOCAL_FULL;
        run->cached_tokens = c->token_count;
    }
    return CLI_OK;
}

void run_cache_close(run_cache *c)
{
    lynx_source_destroy(c->source);
    lynx_document_destroy(c->document);
    lynx_cache_file_close(c->file);
    lynx_store_destroy(c->store);
    lynx_place_destroy(c->place);
}
