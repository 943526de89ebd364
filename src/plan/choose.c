/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "base/check.h"
#include "lynx/plan.h"
#include "plan/choose.h"

void lynx_plan_options_init(lynx_plan_options *options)
{
    *options = (lynx_plan_options){
        .struct_size = sizeof(*options),
        .methods = LYNX_PLAN_BIT(LYNX_PLAN_LYNX) | LYNX_PLAN_BIT(LYNX_PLAN_WAIT) |
                   LYNX_PLAN_BIT(LYNX_PLAN_F16_STREAMED) | LYNX_PLAN_BIT(LYNX_PLAN_INT8) |
                   LYNX_PLAN_BIT(LYNX_PLAN_RECOMPUTE),
        .token = 32,
        .kept = LYNX_PLAN_METHOD_COUNT,
        .margin = 0.05,
    };
}

uint32_t lx_counted_token(const lynx_plan_request *request, const lynx_plan_options *options)
{
    const bool is_all = options->token == 0 || options->token > request->answer_tokens;
    return is_all ? request->answer_tokens : options->token;
}

/* The quickest of a set; the first on a tie. False if none is possible. */
static bool find_best(const double *times, uint32_t set, lynx_plan_method *best)
{
    bool is_found = false;
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++)
        if ((set & LYNX_PLAN_BIT(m)) && isfinite(times[m]) &&
            (!is_found || times[m] < times[*best])) {
            *best = (lynx_plan_method)m;
            is_found = true;
        }
    return is_found;
}

/* 'a' is later than 'b' by so little that it may be earlier. */
static bool is_near(const lynx_plan_options *o, double a, double b)
{
    return a <= b * (1 + o->margin);
}

/* Drafts that gain little by the token that counts may still be seen earlier. */
static lynx_plan_method without_kept(const lynx_plan_request *r, const lynx_plan_options *o,
                                     const double *times, lynx_plan_method best)
{
    lynx_plan_method plain;
    if (!(o->methods & LYNX_PLAN_BIT(LYNX_PLAN_LYNX)) ||
        !find_best(times, o->methods & ~LYNX_PLAN_BIT(LYNX_PLAN_LYNX), &plain) ||
        !is_near(o, times[plain], times[LYNX_PLAN_LYNX]) ||
        !is_near(o, times[LYNX_PLAN_LYNX], times[plain]))
        return best;
    const uint32_t second = r->answer_tokens < 2 ? 1 : 2;
    const double drafted = lynx_plan_token_s(r, LYNX_PLAN_LYNX, second);
    return is_near(o, lynx_plan_token_s(r, plain, second), drafted) ? plain : LYNX_PLAN_LYNX;
}

static lynx_plan_method weigh(const lynx_plan_request *r, const lynx_plan_options *o,
                              const double *times, lynx_plan_method best)
{
    if ((unsigned)o->kept >= LYNX_PLAN_METHOD_COUNT)
        return without_kept(r, o, times, best);
    const bool is_allowed = o->methods & LYNX_PLAN_BIT(o->kept);
    return is_allowed && is_near(o, times[o->kept], times[best]) ? o->kept : best;
}

lynx_status lynx_plan_choose(const lynx_plan_request *request, const lynx_plan_options *options,
                             lynx_plan_choice *choice)
{
    double times[LYNX_PLAN_METHOD_COUNT];
    const uint32_t token = lx_counted_token(request, options);
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++)
        times[m] = lynx_plan_token_s(request, (lynx_plan_method)m, token);
    lynx_plan_method best = LYNX_PLAN_LYNX;
    LX_REQUIRE(find_best(times, options->methods, &best), LYNX_ERR_UNSUPPORTED);
    best = weigh(request, options, times, best);
    *choice = (lynx_plan_choice){.method = best, .other = best};
    (void)!find_best(times, options->methods & ~LYNX_PLAN_BIT(best), &choice->other);
    choice->expected_s = times[best];
    choice->other_s = times[choice->other];
    choice->lynx_s = times[LYNX_PLAN_LYNX];
    return LYNX_OK;
}

/* ---- where the choice changes ---------------------------------------------------------- */

enum { STEPS_A_DECADE = 64 };
static const double NEAR = 1.001; /* two rates that differ by less are one */

typedef struct search {
    lynx_plan_request request;
    const lynx_plan_options *options;
} search;

static lynx_status choice_at(search *s, double rate, lynx_plan_method *method)
{
    lynx_plan_choice choice = {0};
    s->request.link.bytes_per_s = rate;
    LX_TRY(lynx_plan_choose(&s->request, s->options, &choice));
    *method = choice.method;
    return LYNX_OK;
}

/* Narrow [low, high] to one change away from 'below'; 'above' is what comes then. */
static lynx_status narrow(search *s, double *low, double *high, lynx_plan_method below,
                          lynx_plan_method *above)
{
    while (*high > *low * NEAR) {
        const double middle = sqrt(*low * *high);
        lynx_plan_method here;
        LX_TRY(choice_at(s, middle, &here));
        if (here == below) {
            *low = middle;
        } else {
            *high = middle;
            *above = here;
        }
    }
    return LYNX_OK;
}

lynx_status lynx_plan_crossovers(const lynx_plan_request *request,
                                 const lynx_plan_options *options, double least, double most,
                                 lynx_plan_crossover *crossovers, uint32_t capacity,
                                 uint32_t *count)
{
    LX_REQUIRE(isfinite(most) && least > 0 && least <= most, LYNX_ERR_ARGUMENT);
    search s = {.request = *request, .options = options};
    const double factor = pow(10, 1.0 / STEPS_A_DECADE);
    lynx_plan_method below;
    double rate = least;
    *count = 0;
    LX_TRY(choice_at(&s, rate, &below));
    while (rate < most) {
        double low = rate;
        double high = fmin(rate * factor, most);
        lynx_plan_method above;
        LX_TRY(choice_at(&s, high, &above));
        if (above == below) {
            rate = high;
            continue;
        }
        LX_TRY(narrow(&s, &low, &high, below, &above));
        if (*count < capacity)
            crossovers[*count] = (lynx_plan_crossover){high, below, above};
        (*count)++;
        below = above;
        rate = high;
    }
    return LYNX_OK;
}
