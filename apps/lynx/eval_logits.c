/* SPDX-License-Identifier: MIT */
/* eval_logits.c - how far logits and attention outputs are from those of the cache as it is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

/* What lies so far below the top adds nothing to a sum of floats. */
static const float NEGLIGIBLE = -40.0f;

lynx_token eval_largest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return (lynx_token)best;
}

double eval_log_sum(const float *logits, uint32_t count)
{
    const float top = logits[eval_largest(logits, count)];
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        if (logits[i] - top > NEGLIGIBLE)
            sum += (double)expf(logits[i] - top);
    return (double)top + log(sum);
}

double eval_divergence(const float *reference, double reference_sum, const float *logits,
                       double sum, uint32_t count)
{
    const float shift = (float)reference_sum;
    double kl = sum - reference_sum;
    for (uint32_t i = 0; i < count; i++)
        if (reference[i] - shift > NEGLIGIBLE)
            kl += exp((double)reference[i] - reference_sum) *
                  ((double)reference[i] - (double)logits[i]);
    return kl;
}

lynx_status eval_attention_open(eval_attention *a, uint32_t layers, uint32_t positions)
{
    *a = (eval_attention){.layers = layers, .positions = positions};
    a->reference = calloc(layers, sizeof(*a->reference));
    a->channels = calloc(layers, sizeof(*a->channels));
    a->error = calloc(layers, sizeof(*a->error));
    a->square = calloc(layers, sizeof(*a->square));
    return a->reference && a->channels && a->error && a->square ? LYNX_OK : LYNX_ERR_MEMORY;
}

void eval_attention_close(eval_attention *a)
{
    for (uint32_t i = 0; a->reference && i < a->layers; i++)
        free(a->reference[i]);
    free(a->reference);
    free(a->channels);
    free(a->error);
    free(a->square);
    *a = (eval_attention){0};
}

void eval_attention_begin(eval_attention *a, bool is_reference)
{
    a->is_reference = is_reference;
    a->count = 0;
    for (uint32_t i = 0; i < a->layers; i++)
        a->error[i] = a->square[i] = 0;
}

/* Room of a layer, when it is seen first. */
static bool has_room(eval_attention *a, uint32_t layer, uint32_t channels)
{
    if (!a->reference[layer]) {
        a->reference[layer] = calloc((size_t)a->positions * channels, sizeof(float));
        a->channels[layer] = channels;
    }
    a->is_lost = a->is_lost || !a->reference[layer] || a->channels[layer] != channels;
    return !a->is_lost;
}

void eval_attention_watch(void *user, uint32_t layer, const float *values, uint32_t channels,
                          uint32_t tokens)
{
    eval_attention *a = user;
    /* Layers behind the last need may see fewer tokens. */
    const uint32_t seen = tokens < a->count ? tokens : a->count;
    if (!seen || layer >= a->layers || !has_room(a, layer, channels))
        return;
    float *reference = a->reference[layer] + (size_t)a->first * channels;
    const size_t count = (size_t)seen * channels;
    if (a->is_reference) {
        memcpy(reference, values, count * sizeof(float));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const double error = (double)values[i] - (double)reference[i];
        a->error[layer] += error * error;
        a->square[layer] += (double)reference[i] * (double)reference[i];
    }
}

double eval_attention_vnmse(const eval_attention *a)
{
    double sum = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->layers; i++)
        if (a->square[i] > 0) {
            sum += a->error[i] / a->square[i];
            count++;
        }
    return count ? sum / count : 0;
}
