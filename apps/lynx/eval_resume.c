/* SPDX-License-Identifier: MIT */
/*
 * eval_resume.c - a file of samples, a JSON object a line, so that a measurement that was
 * broken off goes on where it was. The first line says what they are samples of.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "eval.h"

static json_t *setting_json(const eval_setting *s)
{
    return json_pack("{s:s,s:i,s:i,s:i,s:i}", "weights", s->weights, "tokens", (int)s->tokens,
                     "positions", (int)s->positions, "prompts", (int)s->prompts, "draft",
                     EVAL_DRAFT);
}

static json_t *sample_json(const char *text, const eval_method *m, const eval_sample *s)
{
    return json_pack("{s:s,s:i,s:I,s:s,s:i,s:i,s:i,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "text",
                     text, "prompt", (int)s->prompt, "digest", (json_int_t)s->digest, "codec",
                     m->name, "planes", (int)m->planes, "positions", (int)s->positions, "top1",
                     (int)s->top1, "accepted", (int)s->accepted, "bits", s->bits, "kl", s->kl,
                     "loss", s->loss, "loss_f16", s->loss_f16, "vnmse_k", s->vnmse_k, "vnmse_v",
                     s->vnmse_v, "vnmse_attention", s->vnmse_attention);
}

static bool read_sample(json_t *object, const char **text, const char **codec, int *planes,
                        eval_sample *s)
{
    int prompt, positions, top1, accepted;
    json_int_t digest;
    if (json_unpack(object, "{s:s,s:i,s:I,s:s,s:i,s:i,s:i,s:i,s:F,s:F,s:F,s:F,s:F,s:F,s:F}",
                    "text", text, "prompt", &prompt, "digest", &digest, "codec", codec,
                    "planes", planes, "positions", &positions, "top1", &top1, "accepted",
                    &accepted, "bits", &s->bits, "kl", &s->kl, "loss", &s->loss, "loss_f16",
                    &s->loss_f16, "vnmse_k", &s->vnmse_k, "vnmse_v", &s->vnmse_v,
                    "vnmse_attention", &s->vnmse_attention) != 0 ||
        prompt < 0 || positions <= 0 || top1 < 0 || accepted < 0)
        return false;
    s->prompt = (uint32_t)prompt;
    s->digest = (uint64_t)digest;
    s->positions = (uint32_t)positions;
    s->top1 = (uint32_t)top1;
    s->accepted = (uint32_t)accepted;
    return true;
}

/* The file may know texts and codecs that nobody asked for now. */
static lynx_status take_sample(json_t *object, char *const texts[], uint32_t text_count,
                               eval_row rows[], uint32_t count)
{
    const char *text, *codec;
    int planes;
    eval_sample sample = {0};
    if (!read_sample(object, &text, &codec, &planes, &sample))
        return LYNX_ERR_CORRUPT;
    while (sample.text < text_count && strcmp(texts[sample.text], text) != 0)
        sample.text++;
    for (uint32_t i = 0; i < count && sample.text < text_count; i++)
        if (strcmp(rows[i].method->name, codec) == 0 &&
            rows[i].method->planes == (uint32_t)planes &&
            !eval_row_has(&rows[i], sample.text, sample.prompt, sample.digest))
            return eval_row_add(&rows[i], &sample);
    return LYNX_OK;
}

/* Lines of 'file'; a last one without its end was broken off, and '*end' is before it. */
static int read_lines(const char *command, const char *path, FILE *file, json_t *setting,
                      char *const texts[], uint32_t text_count, eval_row rows[], uint32_t count,
                      long *end)
{
    char *line = NULL;
    size_t room = 0;
    int code = CLI_OK;
    ssize_t length;
    for (uint32_t number = 1; code == CLI_OK && (length = getline(&line, &room, file)) > 0;
         number++) {
        if (line[length - 1] != '\n')
            break;
        json_t *object = json_loads(line, 0, NULL);
        if (!object)
            code = cli_usage(command, "line %u of '%s' is no sample; name another file", number,
                             path);
        else if (number == 1 && !json_equal(object, setting))
            code = cli_usage(command,
                             "'%s' has samples of another model, or of other --tokens, "
                             "--positions or --prompts; name another file",
                             path);
        else if (number > 1 && take_sample(object, texts, text_count, rows, count) != LYNX_OK)
            code = cli_usage(command, "line %u of '%s' is no sample; name another file", number,
                             path);
        json_decref(object);
        *end = ftell(file);
    }
    free(line);
    return code;
}

static bool put_line(FILE *file, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    const bool is_put = text && fprintf(file, "%s\n", text) > 0 && fflush(file) == 0;
    free(text);
    json_decref(object);
    return is_put;
}

int eval_resume_open(const char *command, const char *path, const eval_setting *setting,
                     char *const texts[], uint32_t text_count, eval_row rows[], uint32_t count,
                     FILE **file)
{
    json_t *expected = setting_json(setting);
    long end = 0;
    int code = expected ? CLI_OK : cli_fail(command, LYNX_ERR_MEMORY, NULL);
    FILE *opened = fopen(path, "a+");
    if (!opened)
        code = cli_error(command, "cannot open '%s': %s", path, strerror(errno));
    else
        rewind(opened);
    if (code == CLI_OK)
        code =
            read_lines(command, path, opened, expected, texts, text_count, rows, count, &end);
    if (code == CLI_OK &&
        (ftruncate(fileno(opened), end) != 0 || fseek(opened, 0, SEEK_END) != 0 ||
         (end == 0 && !put_line(opened, json_incref(expected)))))
        code = cli_error(command, "cannot write '%s': %s", path, strerror(errno));
    json_decref(expected);
    if (code != CLI_OK && opened)
        fclose(opened);
    else
        *file = opened;
    return code;
}

bool eval_resume_add(FILE *file, const char *text, const eval_method *method,
                     const eval_sample *sample)
{
    return put_line(file, sample_json(text, method, sample));
}
