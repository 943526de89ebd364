/* SPDX-License-Identifier: MIT */
/* Any bytes as a grammar, and behind a zero any bytes as a text for it. What is refused says
 * why; a text goes the same way in one piece and byte by byte. */
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"

static void must(bool is_right)
{
    if (!is_right)
        abort();
}

static void check_text(lx_grammar *grammar, const char *text, size_t size)
{
    uint32_t whole, at = LX_GRAMMAR_START;
    lynx_status status = LYNX_OK;
    for (size_t i = 0; i < size && at != LX_GRAMMAR_DEAD && status == LYNX_OK; i++)
        status = lx_grammar_step(grammar, at, text + i, 1, &at);
    must(status == LYNX_OK || status == LYNX_ERR_LIMIT);
    if (status != LYNX_OK) { /* too much for it: it goes on anew */
        must(lx_grammar_reset(grammar) == LYNX_OK);
        return;
    }
    must(lx_grammar_step(grammar, LX_GRAMMAR_START, text, size, &whole) == LYNX_OK);
    must(whole == at);
    must(at != LX_GRAMMAR_DEAD || !lx_grammar_may_end(grammar, at));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    const uint8_t *zero = size ? memchr(input, 0, size) : NULL;
    const size_t text_size = zero ? (size_t)(zero - input) : size;
    char error[LX_GRAMMAR_ERROR_BYTES];
    lx_grammar *grammar = NULL;
    /* Exactly as long as it is, so that a read behind its end is found. */
    char *text = calloc(text_size ? text_size : 1, 1);
    must(text != NULL);
    if (text_size)
        memcpy(text, input, text_size);
    const lynx_status status = lx_grammar_create(&grammar, text, text_size, NULL, error);
    must(status == LYNX_OK || (status == LYNX_ERR_ARGUMENT && error[0]));
    if (status == LYNX_OK) {
        if (zero)
            check_text(grammar, (const char *)zero + 1, size - text_size - 1);
        check_text(grammar, "(((((((((((((((", 15);
        lx_grammar_destroy(grammar);
    }
    free(text);
    return 0;
}
