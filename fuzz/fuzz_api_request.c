/* SPDX-License-Identifier: MIT */
/* Any bytes as the body of a request. The first byte chooses the kind. What is taken keeps its
 * promises; what is refused says why in text that can be sent. */
#include <stdlib.h>
#include <string.h>

#include "serve/api_answer.h"

static void must(bool is_right)
{
    if (!is_right)
        abort();
}

static void check_taken(const lx_api_request *r)
{
    must(lynx_sampling_check(&r->sampling) == LYNX_OK || r->kind == LX_API_TOKENIZE);
    must(!r->sampling.grammar || r->sampling.grammar_bytes == strlen(r->grammar));
    must(!r->top_logprobs || r->wants_logprobs);
    must(r->stop_count <= LX_API_STOPS_MAX);
    for (uint32_t i = 0; i < r->stop_count; i++)
        must(r->stops[i][0] != '\0' && strlen(r->stops[i]) <= LX_API_STOP_BYTES_MAX);
    must(!r->is_optimistic || r->is_stream);
    must(!r->includes_usage || r->is_stream);
    must((r->kind == LX_API_CHAT) == (r->turn_count > 0));
    for (size_t i = 0; i < r->turn_count; i++)
        must(r->turns[i].role && r->turns[i].text);
    for (uint32_t i = 0; i < r->token_count; i++)
        must(r->tokens[i] >= 0);
    if (r->text)
        must(strlen(r->text) == r->text_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    lx_api_request request;
    lx_api_fault fault;
    if (size == 0)
        return 0;
    /* Exactly as long as it is, so that a read behind its end is found. */
    char *body = malloc(size > 1 ? size - 1 : 1);
    must(body != NULL);
    memcpy(body, input + 1, size - 1);
    const lynx_status status =
        lx_api_request_parse(&request, (lx_api_kind)(input[0] % 3), body, size - 1, &fault);
    if (status == LYNX_OK) {
        check_taken(&request);
    } else {
        char *error = lx_api_error(&fault);
        must(status == LYNX_ERR_ARGUMENT && fault.http == 400 && fault.message[0] && error);
        free(error);
    }
    lx_api_request_fini(&request);
    free(body);
    return 0;
}
