/* SPDX-License-Identifier: MIT */
/* timeline.h - what travelled when and what was drafted, verified and corrected, as an SVG. */
#ifndef TIMELINE_H
#define TIMELINE_H

#include <stdbool.h>
#include <stddef.h>

#include "lynx/runtime.h"

typedef struct timeline {
    lynx_moment *moments;
    size_t count, capacity;
} timeline;

void timeline_add(timeline *line, const lynx_moment *moment);
void timeline_clear(timeline *line);
void timeline_fini(timeline *line);

/* Write 'title' and the timeline to 'path'; false when that fails. */
bool timeline_write_svg(const timeline *line, const char *title, const char *path);

#endif
