/* SPDX-License-Identifier: MIT */
#include "plan/transfer.h"

#include <math.h>

lx_source lx_source_of(const lynx_plan_request *request, double encode_s)
{
    const double order = request->link.round_trip_s / 2 + request->prefill.wait_s;
    lx_source source = {.begin = order,
                        .end = order,
                        .first_piece = order,
                        .last_part = 1,
                        .late_piece = order,
                        .late_part = 1};
    if (request->is_stored)
        return source;
    const uint32_t tokens = request->prompt_tokens;
    const uint32_t piece = request->piece_tokens < tokens ? request->piece_tokens : tokens;
    const uint32_t rest = tokens % piece;
    const double prefill_s = tokens / request->prefill.prefill_tokens_per_s + encode_s;
    source.end = order + prefill_s;
    source.first_piece = order + prefill_s * piece / tokens;
    source.last_part = (double)(rest ? rest : piece) / tokens;
    source.late_piece = order + prefill_s * (tokens - rest) / tokens;
    source.late_part = (double)(rest + piece) / tokens;
    return source;
}

static double rate(const lynx_plan_request *request)
{
    return request->link.bytes_per_s * request->link.share;
}

/* The link is free for these bytes and the first of them are made. */
static double departure(const lynx_plan_request *request, const lx_source *source, double ahead)
{
    return fmax(source->first_piece, request->link.round_trip_s / 2 + ahead / rate(request));
}

/* The link is busy to the end from the moment on at which it last waited for a piece. Full
 * pieces are made evenly, so that was for the first of them, for the last of them, or for the
 * short piece behind. */
double lx_arrival(const lynx_plan_request *request, const lx_source *source, double bytes,
                  double ahead)
{
    const double whole_s = bytes / rate(request);
    const double first = departure(request, source, ahead) + whole_s;
    const double late = source->late_piece + whole_s * source->late_part;
    const double last = source->end + whole_s * source->last_part;
    return fmax(first, fmax(late, last)) + request->link.round_trip_s / 2;
}

double lx_first_arrival(const lynx_plan_request *request, const lx_source *source, double ahead)
{
    return departure(request, source, ahead) + request->link.round_trip_s / 2;
}
