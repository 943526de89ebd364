/* SPDX-License-Identifier: MIT */
#include "run_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

json_t *run_seconds_to(const lynx_run_result *result, uint32_t count)
{
    if (count == 0 || count > result->token_count)
        return json_null();
    return json_real((double)result->times[count - 1] / 1e9);
}

json_t *run_text(lynx_engine *engine, const lynx_run_result *result)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return json_null();
    for (uint32_t i = 0; i < result->token_count; i++) {
        char piece[512];
        size_t piece_size = 0;
        if (!engine->ops->token_is_end(engine, result->tokens[i]) &&
            engine->ops->token_text(engine, result->tokens[i], piece, sizeof(piece),
                                    &piece_size) == LYNX_OK)
            fwrite(piece, 1, piece_size, stream);
    }
    fclose(stream);
    json_t *string = NULL;
    /* An answer may be cut inside a character: drop up to three bytes. */
    for (size_t cut = 0; !string && cut < 4 && cut <= size; cut++)
        string = json_stringn(text, size - cut);
    free(text);
    return string ? string : json_null();
}

static const char *exactness_name(const lynx_engine *engine)
{
    return engine->ops->model(engine)->exactness == LYNX_EXACT ? "exact" : "up to rounding";
}

json_t *run_report(lynx_engine *engine, const lynx_run_options *options,
                   const lynx_run_result *result)
{
    json_t *tokens = json_array();
    for (uint32_t i = 0; i < result->token_count; i++)
        json_array_append_new(tokens, json_integer(result->tokens[i]));
    json_t *report = json_object();
    json_object_set_new(report, "model", json_string(engine->ops->model(engine)->name));
    json_object_set_new(report, "exactness", json_string(exactness_name(engine)));
    json_object_set_new(report, "prompt_tokens", json_integer(options->prompt_tokens));
    json_object_set_new(report, "computed_tokens", json_integer(result->computed_tokens));
    json_object_set_new(report, "held_tokens", json_integer(result->held_tokens));
    json_object_set_new(report, "cache_bytes", json_integer((json_int_t)result->cache_bytes));
    json_object_set_new(report, "bytes_before_first_draft",
                        json_integer((json_int_t)result->bytes_before_first_draft));
    json_object_set_new(report, "bytes_total", json_integer((json_int_t)result->bytes_total));
    json_object_set_new(report, "prefill_s", json_real((double)result->prefill_ns / 1e9));
    json_object_set_new(report, "anchor_s", json_real((double)result->anchor_ns / 1e9));
    json_object_set_new(report, "complete_s", json_real((double)result->complete_ns / 1e9));
    json_object_set_new(report, "first_own_token_s",
                        json_real((double)result->first_own_ns / 1e9));
    json_object_set_new(report, "ttft_s", run_seconds_to(result, 1));
    json_object_set_new(report, "tt2t_s", run_seconds_to(result, 2));
    json_object_set_new(report, "tt16t_s", run_seconds_to(result, 16));
    json_object_set_new(report, "tt32t_s", run_seconds_to(result, 32));
    json_object_set_new(report, "tt64t_s", run_seconds_to(result, 64));
    json_object_set_new(report, "drafted", json_integer(result->drafted));
    json_object_set_new(report, "accepted", json_integer(result->accepted));
    json_object_set_new(report, "branches", json_integer(result->branches));
    json_object_set_new(report, "branch_drafted", json_integer(result->branch_drafted));
    json_object_set_new(report, "branch_accepted", json_integer(result->branch_accepted));
    json_object_set_new(report, "reviews", json_integer(result->reviews));
    json_object_set_new(report, "withdrawn", json_integer(result->withdrawn));
    json_object_set_new(report, "steps", json_integer(result->steps));
    json_object_set_new(report, "guessed", json_integer(result->guessed));
    json_object_set_new(report, "guessed_right", json_integer(result->guessed_right));
    json_object_set_new(report, "carried", json_integer(result->carried));
    json_object_set_new(report, "carried_other", json_integer(result->carried_other));
    json_object_set_new(report, "verify_ms", json_real((double)result->verify_ns / 1e6));
    json_object_set_new(report, "codec_ms", json_real((double)result->decode_cache_ns / 1e6));
    if (options->digest_cache) {
        char digest[17];
        snprintf(digest, sizeof(digest), "%016" PRIx64, result->cache_digest);
        json_object_set_new(report, "cache_digest", json_string(digest));
    }
    json_object_set_new(report, "is_recomputed", json_boolean(result->is_recomputed));
    json_object_set_new(report, "is_verified", json_boolean(!result->is_unverified));
    json_object_set_new(report, "has_ended", json_boolean(result->has_ended));
    json_object_set_new(report, "tokens", tokens);
    return report;
}

void run_summary(lynx_engine *engine, const lynx_run_options *options,
                 const lynx_run_result *result)
{
    const double last =
        result->token_count ? (double)result->times[result->token_count - 1] / 1e9 : 0;
    fprintf(stderr, "%u prompt tokens, %u tokens in %.2f s", options->prompt_tokens,
            result->token_count, last);
    if (result->computed_tokens && result->computed_tokens < options->prompt_tokens)
        fprintf(stderr, ", %u of them computed", result->computed_tokens);
    if (result->held_tokens)
        fprintf(stderr, ", pages of %u of them were here", result->held_tokens);
    if (result->bytes_total)
        fprintf(stderr, ", %.1f MB received of a cache of %.1f MB",
                (double)result->bytes_total / 1e6, (double)result->cache_bytes / 1e6);
    if (result->drafted)
        fprintf(stderr, ", drafted %u, accepted %u, verified in %.0f ms", result->drafted,
                result->accepted, (double)result->verify_ns / 1e6);
    if (result->branch_drafted)
        fprintf(stderr, ", of %u behind second choices %u", result->branch_drafted,
                result->branch_accepted);
    if (result->carried)
        fprintf(stderr, ", %u carried on by the prefill node", result->carried);
    if (result->is_recomputed)
        fputs(", recomputed here", stderr);
    if (result->is_unverified)
        fputs(", UNVERIFIED: the tokens are drafts on the anchor", stderr);
    if (options->digest_cache)
        fprintf(stderr, ", cache %016" PRIx64, result->cache_digest);
    fprintf(stderr, " (%s)\n", exactness_name(engine));
}
