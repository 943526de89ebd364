/* SPDX-License-Identifier: MIT */
/*
 * timeline.c - three lanes over one axis of seconds:
 *
 *     cache    cumulative bytes: anchor planes, then residual planes
 *     drafts   a tick for each drafted token, filled when it stood
 *     tokens   the verification pass as a bar, valid tokens as ticks
 */
#include "timeline.h"

#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 960, LEFT = 90, RIGHT = 20, CACHE_TOP = 60, CACHE_HEIGHT = 150, LANE = 46 };

void timeline_add(timeline *line, const lynx_moment *moment)
{
    if (line->count == line->capacity) {
        const size_t capacity = line->capacity ? 2 * line->capacity : 1024;
        lynx_moment *grown = realloc(line->moments, capacity * sizeof(*grown));
        if (!grown)
            return; /* a picture with a gap is better than no run */
        line->moments = grown;
        line->capacity = capacity;
    }
    line->moments[line->count++] = *moment;
}

void timeline_clear(timeline *line)
{
    line->count = 0;
}

void timeline_fini(timeline *line)
{
    free(line->moments);
    *line = (timeline){0};
}

typedef struct frame {
    FILE *file;
    lynx_time_ns zero;
    double seconds; /* length of the axis */
    double bytes;   /* height of the cache lane */
} frame;

static double x_of(const frame *f, lynx_time_ns time)
{
    const double at = time > f->zero ? (double)(time - f->zero) / 1e9 : 0;
    return LEFT + (WIDTH - LEFT - RIGHT) * at / f->seconds;
}

static frame measure(const timeline *line, FILE *file)
{
    frame f = {.file = file, .seconds = 0.001, .bytes = 1};
    for (size_t i = 0; i < line->count; i++) {
        const lynx_moment *m = &line->moments[i];
        if (m->type == LYNX_MOMENT_REQUEST)
            f.zero = m->time;
        if (m->type == LYNX_MOMENT_PLANE)
            f.bytes += (double)m->bytes;
    }
    for (size_t i = 0; i < line->count; i++)
        if (line->moments[i].time > f.zero) {
            const double at = (double)(line->moments[i].time - f.zero) / 1e9;
            f.seconds = at > f.seconds ? at : f.seconds;
        }
    return f;
}

/* The bytes of one class of planes as a filled step curve. */
static void draw_bytes(const frame *f, const timeline *line, bool is_anchor, double *base)
{
    const double bottom = CACHE_TOP + CACHE_HEIGHT;
    double sum = *base;
    bool has_begun = false;
    double x = LEFT;
    for (size_t i = 0; i < line->count; i++) {
        const lynx_moment *m = &line->moments[i];
        if (m->type != LYNX_MOMENT_PLANE || (m->plane == 0) != is_anchor)
            continue;
        x = x_of(f, m->time);
        if (!has_begun)
            fprintf(f->file, "<path class=\"%s\" d=\"M%.1f %.1f", is_anchor ? "a" : "r", x,
                    bottom);
        fprintf(f->file, "L%.1f %.1f", x, bottom - CACHE_HEIGHT * sum / f->bytes);
        sum += (double)m->bytes;
        fprintf(f->file, "L%.1f %.1f", x, bottom - CACHE_HEIGHT * sum / f->bytes);
        has_begun = true;
    }
    if (has_begun)
        fprintf(f->file, "L%.1f %.1fZ\"/>\n", x, bottom);
    *base = sum;
}

/* The draft at 'index' stood: no review took it back, and its verification agreed. */
static bool has_stood(const timeline *line, size_t index)
{
    uint32_t place = 0; /* among those that are verified together */
    for (size_t i = index; i > 0 && line->moments[i - 1].type != LYNX_MOMENT_VERIFIED; i--)
        if (line->moments[i - 1].type == LYNX_MOMENT_DRAFT &&
            line->moments[i - 1].count + place < line->moments[index].count)
            place = line->moments[index].count - line->moments[i - 1].count;
    for (size_t i = index + 1; i < line->count; i++) {
        const lynx_moment *m = &line->moments[i];
        if (m->type == LYNX_MOMENT_VERIFIED)
            return place < m->count;
        if (m->type == LYNX_MOMENT_LOST ||
            (m->type == LYNX_MOMENT_REVIEWED && place >= m->count))
            return false;
    }
    return false;
}

/* The token of this answer index was drawn when it was drafted. */
static bool was_drafted(const timeline *line, uint32_t count)
{
    for (size_t i = 0; i < line->count; i++)
        if (line->moments[i].type == LYNX_MOMENT_DRAFT && line->moments[i].count == count &&
            has_stood(line, i))
            return true;
    return false;
}

/* A pass from 'start' to the moment that ended it; 'note': where that is told. */
static void draw_pass(const frame *f, lynx_time_ns start, const lynx_moment *end, double top,
                      double note, const char *what)
{
    const double x = x_of(f, end->time);
    fprintf(f->file,
            "<rect class=\"v\" x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"24\"/>\n"
            "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"end\">%s %u of %u</text>\n",
            x_of(f, start), top, x - x_of(f, start) + 1, x, note, what, end->count, end->total);
}

static void draw_tokens(const frame *f, const timeline *line)
{
    const double drafts = CACHE_TOP + CACHE_HEIGHT + 30;
    const double tokens = drafts + LANE;
    double note = tokens + 38;
    lynx_time_ns pass_start = 0;
    for (size_t i = 0; i < line->count; i++) {
        const lynx_moment *m = &line->moments[i];
        const double x = x_of(f, m->time);
        if (m->type == LYNX_MOMENT_DRAFT)
            fprintf(f->file,
                    "<rect class=\"%s\" x=\"%.1f\" y=\"%.0f\" width=\"2\" height=\"24\"/>\n",
                    has_stood(line, i) ? "ok" : "no", x, drafts);
        if (m->type == LYNX_MOMENT_REVIEW || m->type == LYNX_MOMENT_VERIFY)
            pass_start = m->time;
        if (m->type == LYNX_MOMENT_REVIEWED)
            draw_pass(f, pass_start, m, tokens, note, "kept");
        if (m->type == LYNX_MOMENT_VERIFIED) {
            draw_pass(f, pass_start, m, tokens, note, "verified");
            note += 13; /* more of them may come at once */
        }
        if (m->type == LYNX_MOMENT_TOKEN && !was_drafted(line, m->count))
            fprintf(f->file,
                    "<rect class=\"ok\" x=\"%.1f\" y=\"%.0f\" width=\"2\" height=\"24\"/>\n", x,
                    tokens);
        if (m->type == LYNX_MOMENT_ANCHOR || m->type == LYNX_MOMENT_COMPLETE)
            fprintf(f->file,
                    "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%.0f\"/><text x=\"%.1f\" "
                    "y=\"%d\" text-anchor=\"end\">%s</text>\n",
                    x, x, CACHE_TOP - 6, tokens + 24, x - 4, CACHE_TOP + 8,
                    m->type == LYNX_MOMENT_ANCHOR ? "anchor complete" : "cache complete");
    }
}

static void draw_axis(const frame *f, double bottom)
{
    double step = 0.1;
    while (f->seconds / step > 12)
        step *= step * 10 == 1 || f->seconds / step > 60 ? 5 : 2;
    for (double at = 0; at <= f->seconds; at += step) {
        const double x = LEFT + (WIDTH - LEFT - RIGHT) * at / f->seconds;
        fprintf(f->file,
                "<line class=\"g\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%.0f\"/>"
                "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%.3g s</text>\n",
                x, x, CACHE_TOP, bottom, x, bottom + 16, at);
    }
}

bool timeline_write_svg(const timeline *line, const char *title, const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    const frame f = measure(line, file);
    const double drafts = CACHE_TOP + CACHE_HEIGHT + 30;
    const double bottom = drafts + 2 * LANE + 8;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<style>.a{fill:#1f77b4}.r{fill:#aec7e8}.ok{fill:#2ca02c}.no{fill:#d62728}"
            ".v{fill:#ff7f0e}line{stroke:#444;stroke-dasharray:3 3}.g{stroke:#ddd;"
            "stroke-dasharray:none}text{fill:#222}</style>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
            "<text x=\"%d\" y=\"24\" font-size=\"16\">%s</text>\n",
            WIDTH, bottom + 60, LEFT, title);
    draw_axis(&f, bottom);
    double base = 0;
    draw_bytes(&f, line, true, &base);
    draw_bytes(&f, line, false, &base);
    draw_tokens(&f, line);
    fprintf(
        file,
        "<text x=\"8\" y=\"%d\">cache</text><text x=\"8\" y=\"%d\">%.1f MB</text>\n"
        "<text x=\"8\" y=\"%.0f\">drafts</text><text x=\"8\" y=\"%.0f\">tokens</text>\n"
        "<text x=\"%d\" y=\"%.0f\">blue: anchor planes, light blue: residual planes; green: "
        "tokens that are valid, red: drafts that fell, orange: verification</text>\n</svg>\n",
        CACHE_TOP + 20, CACHE_TOP + 36, f.bytes / 1e6, drafts + 16, drafts + LANE + 16, LEFT,
        bottom + 44);
    return fclose(file) == 0;
}
