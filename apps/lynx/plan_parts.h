/* SPDX-License-Identifier: MIT */
/* plan_parts.h - what the parts of 'lynx plan' share: a model's cache, a machine's speed, a
 * task. */
#ifndef PLAN_PARTS_H
#define PLAN_PARTS_H

#include <jansson.h>

#include "cli.h"
#include "lynx/plan.h"

extern const char plan_command[];

/* Speed of one machine with one model; times grow with the length of the prompt. */
typedef struct plan_machine {
    double prefill_token_s, prefill_token2_s; /* n tokens: n * first + n * n * second */
    double step_s, step_token_s;              /* a step behind n tokens: first + n * second */
    double exact_step_s, exact_step_token_s;  /* the same for steps that agree with a pass */
    double draft_step_s, draft_step_token_s; /* and for those of drafts; 0: as the exact ones */
    double pass_s, row_s;
    uint32_t pass_tokens;
    double encode_bytes_per_s, decode_bytes_per_s;
} plan_machine;

/* The cache: of a known shape, or so many bytes of each token. */
typedef struct plan_model {
    char name[128];
    lynx_layer_shape *layers; /* NULL: the shape is not known */
    lynx_shape shape;
    double token_bytes;
} plan_model;

void plan_model_free(plan_model *model);

/* Keep a copy of an engine's shape; false without memory. */
bool plan_model_take(plan_model *model, const lynx_model *from);

/* Bytes of a prompt; CLI_OK or an exit code after the message. */
int plan_cache_of(const plan_model *model, const lynx_codec_spec *spec, uint32_t tokens,
                  lynx_plan_cache *cache);

/* The machine at a prompt of so many tokens. */
lynx_plan_node plan_node_of(const plan_machine *machine, uint32_t tokens);

/* ---- plan_profile.c: a measured model and machine as JSON ------------------------------ */

json_t *plan_profile_json(const plan_model *model, const plan_machine *machine);
/* CLI_OK or an exit code after the message. */
int plan_profile_read(const char *path, plan_model *model, plan_machine *machine);

/* ---- plan_measure.c -------------------------------------------------------------------- */

/* Time this machine with the model of 'options'. CLI_OK or an exit code after the message. */
int plan_measure(cli_options *options, const lynx_codec_spec *spec, plan_model *model,
                 plan_machine *machine);

/* ---- plan_report.c --------------------------------------------------------------------- */

/* Table or JSON of all methods, the choice and the crossovers. CLI_OK or an exit code after the
 * message. */
int plan_report(const lynx_plan_request *request, const lynx_plan_options *options,
                bool has_crossovers, bool is_json);

/* ---- plan_paper.c ---------------------------------------------------------------------- */

/* The paper's figures and what the model of time says. CLI_OK or an exit code after the
 * message.
 */
int plan_paper(bool is_json);

/* ---- plan_simulate.c ------------------------------------------------------------------- */

/* Table or JSON of a cluster by each method. CLI_OK or an exit code after the message. */
int plan_simulate(const lynx_plan_cluster *cluster, bool is_json);

/* A number, or null if it is none. */
json_t *plan_number(double value);

#endif
