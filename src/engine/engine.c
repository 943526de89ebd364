/* SPDX-License-Identifier: MIT */
#include "lynx/engine.h"

#include <math.h>

#include "grammar/grammar.h"

void lynx_engine_destroy(lynx_engine *engine)
{
    if (engine)
        engine->ops->destroy(engine);
}

void lynx_sampling_init(lynx_sampling *sampling)
{
    *sampling = (lynx_sampling){
        .top_p = 1.0f,
        .repeat_penalty = 1.0f,
        .penalty_tokens = 64,
    };
}

static bool is_within(float value, float least, float most)
{
    return isfinite(value) && value >= least && value <= most;
}

static bool biases_are_valid(const lynx_sampling *s)
{
    if (s->bias_count > LYNX_BIASES_MAX || (s->bias_count && !s->biases))
        return false;
    for (uint32_t i = 0; i < s->bias_count; i++)
        if (s->biases[i].token < 0 || !is_within(s->biases[i].bias, -100.0f, 100.0f) ||
            (i > 0 && s->biases[i].token <= s->biases[i - 1].token))
            return false;
    return true;
}

lynx_status lynx_sampling_check(const lynx_sampling *sampling)
{
    const bool is_valid =
        is_within(sampling->temperature, 0.0f, 100.0f) && sampling->top_k >= 0 &&
        is_within(sampling->top_p, 0.0f, 1.0f) && sampling->top_p > 0.0f &&
        is_within(sampling->min_p, 0.0f, 1.0f) && sampling->min_p < 1.0f &&
        is_within(sampling->repeat_penalty, 0.0f, 10.0f) && sampling->repeat_penalty > 0.0f &&
        is_within(sampling->frequency_penalty, -2.0f, 2.0f) &&
        is_within(sampling->presence_penalty, -2.0f, 2.0f) && sampling->penalty_tokens >= 0 &&
        sampling->penalty_tokens <= 4096 && biases_are_valid(sampling) &&
        sampling->grammar_bytes <= LYNX_GRAMMAR_BYTES_MAX &&
        !(sampling->grammar && sampling->allowed);
    return is_valid ? LYNX_OK : LYNX_ERR_ARGUMENT;
}

_Static_assert((int)LYNX_GRAMMAR_BYTES_MAX == (int)LX_GRAMMAR_BYTES_MAX, "size of a grammar");
_Static_assert((int)LYNX_GRAMMAR_TEXT_MAX == (int)LX_GRAMMAR_ERROR_BYTES, "text limit");

lynx_status lynx_grammar_check(const char *grammar, size_t size, char *text)
{
    lx_grammar *read = NULL;
    const lynx_status status = lx_grammar_create(&read, grammar, size, NULL, text);
    if (status == LYNX_OK)
        lx_grammar_destroy(read);
    return status;
}

/* Put a token where it belongs among the first 'top_count'. */
static void rank(lynx_logprobs *logprobs, uint32_t top_count, lynx_token_logprob newest)
{
    uint32_t at = logprobs->top_count;
    if (at == top_count && (at == 0 || newest.logprob <= logprobs->top[at - 1].logprob))
        return;
    if (at < top_count)
        logprobs->top_count++;
    else
        at--;
    for (; at > 0 && newest.logprob > logprobs->top[at - 1].logprob; at--)
        logprobs->top[at] = logprobs->top[at - 1];
    logprobs->top[at] = newest;
}

void lynx_logprobs_of(const float *logits, uint32_t vocabulary, lynx_token token,
                      uint32_t top_count, lynx_logprobs *logprobs)
{
    float most = -INFINITY;
    double sum = 0;
    *logprobs = (lynx_logprobs){0};
    top_count = top_count < LYNX_TOP_LOGPROBS_MAX ? top_count : LYNX_TOP_LOGPROBS_MAX;
    for (uint32_t i = 0; i < vocabulary; i++)
        most = logits[i] > most ? logits[i] : most;
    for (uint32_t i = 0; i < vocabulary; i++) {
        sum += exp((double)logits[i] - (double)most);
        rank(logprobs, top_count, (lynx_token_logprob){(lynx_token)i, logits[i]});
    }
    const double base = (double)most + log(sum);
    for (uint32_t i = 0; i < logprobs->top_count; i++)
        logprobs->top[i].logprob = (float)((double)logprobs->top[i].logprob - base);
    logprobs->logprob = (float)((double)logits[token] - base);
}
