/* SPDX-License-Identifier: MIT */
#include "answer_view.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

void answer_view_init(answer_view *view, FILE *stream, lynx_engine *engine)
{
    struct winsize window = {0};
    *view = (answer_view){.stream = stream, .engine = engine, .columns = 80};
    view->is_terminal = cli_has_color(stream);
    if (view->is_terminal && ioctl(fileno(stream), TIOCGWINSZ, &window) == 0 && window.ws_col)
        view->columns = window.ws_col;
}

static void clear_progress(answer_view *view)
{
    if (view->has_progress)
        fputs("\r\x1b[K", view->stream);
    view->has_progress = false;
}

static void put_progress(answer_view *view, const char *what, uint32_t percent)
{
    if (!view->is_terminal)
        return;
    char line[64];
    snprintf(line, sizeof(line), "%s %3u %%  %.1f MB", what, percent,
             (double)view->bytes / 1e6);
    /* A line that wraps could not be cleared. */
    fprintf(view->stream, "\r\x1b[K%.*s", (int)view->columns - 1, line);
    view->has_progress = true;
    fflush(view->stream);
}

/* Write a token and follow the cursor, so that drafts can be taken back. */
static void put_token(answer_view *view, lynx_token token)
{
    char text[512];
    size_t size = 0;
    if (view->engine->ops->token_text(view->engine, token, text, sizeof(text), &size) !=
        LYNX_OK)
        return;
    fwrite(text, 1, size, view->stream);
    for (size_t i = 0; i < size; i++) {
        const bool continues_character = ((uint8_t)text[i] & 0xC0) == 0x80;
        if (text[i] == '\n' || view->column == view->columns) {
            view->drafts_lines += view->has_drafts;
            view->column = 0;
        }
        if (text[i] != '\n' && !continues_character)
            view->column++;
    }
}

/* Remember a draft, so that it can be written again; without memory it is not shown. */
static bool add_draft(answer_view *view, lynx_token token)
{
    if (view->draft_count == view->draft_room) {
        const size_t room = view->draft_room ? 2 * view->draft_room : 64;
        lynx_token *grown = realloc(view->drafts, room * sizeof(*grown));
        if (!grown)
            return false;
        view->drafts = grown;
        view->draft_room = room;
    }
    view->drafts[view->draft_count++] = token;
    return true;
}

static void put_draft(answer_view *view, lynx_token token)
{
    if (!view->is_terminal || !add_draft(view, token))
        return;
    if (!view->has_drafts) {
        /* Behind the last column there is no place to come back to. */
        if (view->column == view->columns) {
            fputc('\n', view->stream);
            view->column = 0;
        }
        view->has_drafts = true;
        view->drafts_column = view->column;
        view->drafts_lines = 0;
    }
    fputs("\x1b[2m", view->stream);
    put_token(view, token);
    fputs("\x1b[22m", view->stream);
    fflush(view->stream);
}

static void take_drafts_back(answer_view *view)
{
    view->draft_count = 0;
    if (!view->has_drafts)
        return;
    if (view->drafts_lines)
        fprintf(view->stream, "\x1b[%uA", view->drafts_lines);
    fputc('\r', view->stream);
    if (view->drafts_column)
        fprintf(view->stream, "\x1b[%uC", view->drafts_column);
    fputs("\x1b[J", view->stream);
    view->column = view->drafts_column;
    view->has_drafts = false;
}

/* The first 'count' drafts stay. */
static void withdraw_from(answer_view *view, size_t count)
{
    if (count >= view->draft_count)
        return;
    take_drafts_back(view);
    for (size_t i = 0; i < count; i++)
        put_draft(view, view->drafts[i]); /* where it stood, or before */
    fflush(view->stream);
}

void answer_view_moment(answer_view *view, const lynx_moment *moment)
{
    switch (moment->type) {
    case LYNX_MOMENT_PREFILL:
        if (moment->count < moment->total)
            put_progress(view, "prefill", 100 * moment->count / moment->total);
        break;
    case LYNX_MOMENT_PLANE:
        view->bytes += moment->bytes;
        if (moment->plane == 0 && !view->has_drafts && view->column == 0)
            put_progress(view, "prefill", 100);
        break;
    case LYNX_MOMENT_DRAFT:
        clear_progress(view);
        put_draft(view, moment->token);
        break;
    case LYNX_MOMENT_REVIEWED:
        withdraw_from(view, moment->count);
        break;
    case LYNX_MOMENT_VERIFIED:
    case LYNX_MOMENT_LOST:
        clear_progress(view);
        take_drafts_back(view);
        break;
    case LYNX_MOMENT_TOKEN:
        clear_progress(view);
        view->has_answer = true;
        if (!view->engine->ops->token_is_end(view->engine, moment->token))
            put_token(view, moment->token);
        fflush(view->stream);
        break;
    case LYNX_MOMENT_READY:
    case LYNX_MOMENT_REQUEST:
    case LYNX_MOMENT_ANCHOR:
    case LYNX_MOMENT_COMPLETE:
    case LYNX_MOMENT_REVIEW:
    case LYNX_MOMENT_VERIFY:
    case LYNX_MOMENT_YIELD:
    case LYNX_MOMENT_HANDOVER:
        break;
    }
}

void answer_view_end(answer_view *view)
{
    clear_progress(view);
    take_drafts_back(view);
    if (view->has_answer)
        fputc('\n', view->stream);
    fflush(view->stream);
    free(view->drafts);
    view->drafts = NULL;
    view->draft_room = 0;
}
