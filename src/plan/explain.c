/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lynx/plan.h"
#include "plan/choose.h"

/* A method that takes less than so much more is hardly slower. */
static const double near = 1.05;

/* A text that grows to LYNX_PLAN_TEXT_MAX bytes. */
static void add(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(char *text, const char *format, ...)
{
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + used, LYNX_PLAN_TEXT_MAX - used, format, arguments);
    va_end(arguments);
}

/* What a method does, behind "to ...". */
static const char *const acts[LYNX_PLAN_METHOD_COUNT] = {
    [LYNX_PLAN_LYNX] = "draft on the anchor",
    [LYNX_PLAN_WAIT] = "wait for all planes",
    [LYNX_PLAN_F16] = "send the cache as it is after the prefill",
    [LYNX_PLAN_F16_STREAMED] = "stream the cache as it is",
    [LYNX_PLAN_INT8] = "stream it in 8 bits",
    [LYNX_PLAN_INT4] = "stream it in 4 bits",
    [LYNX_PLAN_RECOMPUTE] = "compute the prompt on the decode node",
    [LYNX_PLAN_TOKENS] = "let the prefill node decode and send tokens",
    [LYNX_PLAN_CARRY] = "let the prefill node decode on until the cache is here",
};

static void add_rate(char *text, double bytes_per_s)
{
    const double mbps = bytes_per_s * 8 / 1e6;
    if (mbps >= 1000)
        add(text, "%.3g Gbit/s", mbps / 1000);
    else
        add(text, "%.3g Mbit/s", mbps);
}

static void use_lynx(char *text, const lynx_plan_request *r, const lynx_plan_choice *choice,
                     uint32_t token)
{
    lynx_plan_times t;
    lynx_plan_predict(r, LYNX_PLAN_LYNX, &t);
    add(text, "Use Lynx: over ");
    add_rate(text, r->link.bytes_per_s * r->link.share);
    add(text, " the anchor is here after %.2f s and the whole cache after %.2f s; ", t.anchor_s,
        t.complete_s);
    if (t.drafted > 0)
        add(text, "of %.0f drafts meanwhile %.1f should stand. ", t.drafted, t.accepted);
    else
        add(text, "there is no time to draft, and nothing is lost by it. ");
    add(text, "Token %u comes after %.2f s", token, choice->expected_s);
    const double gain = choice->other_s - choice->expected_s;
    if (choice->other == choice->method)
        add(text, ".");
    else if (gain >= 0)
        add(text, ", %.2f s before the next best, to %s.", gain, acts[choice->other]);
    else
        add(text, ", within the margin of the best, to %s (%.2f s).", acts[choice->other],
            choice->other_s);
    const double plain_s = lynx_plan_token_s(r, LYNX_PLAN_F16_STREAMED, token);
    if (choice->other != LYNX_PLAN_F16_STREAMED && plain_s < choice->expected_s * near)
        add(text, " The cache as it is, streamed, loses nothing and is hardly later: %.2f s.",
            plain_s);
}

/* Why the method that was chosen beats Lynx. */
static void add_reason(char *text, const lynx_plan_request *r, const lynx_plan_options *o,
                       const lynx_plan_choice *choice)
{
    lynx_plan_times t;
    lynx_plan_predict(r, LYNX_PLAN_LYNX, &t);
    if (!t.is_possible) {
        add(text, "a node cannot do what it needs");
    } else if (!(o->methods & LYNX_PLAN_BIT(LYNX_PLAN_LYNX))) {
        add(text, "it may not be chosen");
    } else if (choice->lynx_s < choice->expected_s) {
        add(text, "it gains %.2f s, within the margin, and its drafts are seen hardly sooner",
            choice->expected_s - choice->lynx_s);
    } else if (choice->method == LYNX_PLAN_RECOMPUTE) {
        lynx_plan_times own;
        lynx_plan_predict(r, LYNX_PLAN_RECOMPUTE, &own);
        add(text,
            "the decode node computes the prompt itself in %.2f s, while the anchor needs "
            "%.2f s and the whole cache %.2f s",
            own.ttft_s, t.anchor_s, t.complete_s);
    } else if (choice->method == LYNX_PLAN_TOKENS || choice->method == LYNX_PLAN_CARRY) {
        add(text, "the prefill node has the cache and can decode while the anchor needs %.2f s",
            t.anchor_s);
    } else if (t.complete_s - t.anchor_s < 2 * r->decode.step_s) {
        add(text,
            "the whole cache is here %.3f s after the anchor, so there is nothing to "
            "gain by drafting",
            t.complete_s - t.anchor_s);
    } else if (t.accepted < 2) {
        add(text, "of %.0f drafts only %.1f should stand", t.drafted, t.accepted);
    } else {
        add(text,
            "its steps and its pass (%.2f s for %.0f drafts, %.1f of which should stand) "
            "cost more than the %.2f s between anchor and whole cache give",
            t.verify_s, t.drafted, t.accepted, t.complete_s - t.anchor_s);
    }
}

void lynx_plan_explain(const lynx_plan_request *request, const lynx_plan_options *options,
                       const lynx_plan_choice *choice, char *text)
{
    const uint32_t token = lx_counted_token(request, options);
    text[0] = '\0';
    if (choice->method == LYNX_PLAN_LYNX) {
        use_lynx(text, request, choice, token);
        return;
    }
    add(text, "Do not use Lynx here, because ");
    add_reason(text, request, options, choice);
    add(text, ". It is best to %s: token %u comes after %.2f s", acts[choice->method], token,
        choice->expected_s);
    if (isfinite(choice->lynx_s))
        add(text, " instead of %.2f s", choice->lynx_s);
    add(text, ".");
}
