/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "llama/llama_internal.h"

enum { LOG_TEXT_BYTES = 300 };

/* Keep the last error of llama.cpp, without its end of line. */
static void keep_error(enum ggml_log_level level, const char *line, void *user)
{
    if (level == GGML_LOG_LEVEL_ERROR)
        snprintf(user, LOG_TEXT_BYTES, "%.*s", (int)strcspn(line, "\n"), line);
}

lynx_status lynx_llama_requantize(const char *source_path, const char *target_path,
                                  const char *type, char *text, size_t text_size)
{
    struct llama_model_quantize_params params = llama_model_quantize_default_params();
    const bool is_f16 = strcmp(type, "f16") == 0;
    if (!is_f16 && strcmp(type, "q8_0") != 0) {
        snprintf(text, text_size, "'%s' is not a weight type; use f16 or q8_0", type);
        return LYNX_ERR_ARGUMENT;
    }
    params.ftype = is_f16 ? LLAMA_FTYPE_MOSTLY_F16 : LLAMA_FTYPE_MOSTLY_Q8_0;
    params.allow_requantize = true;
    if (access(source_path, R_OK) != 0) {
        snprintf(text, text_size, "cannot read '%s'; check the path", source_path);
        return LYNX_ERR_ENGINE;
    }
    char reason[LOG_TEXT_BYTES] = "no reason given";
    llama_log_set(keep_error, reason);
    llama_backend_init();
    const bool is_written = llama_model_quantize(source_path, target_path, &params) == 0;
    llama_log_set(NULL, NULL);
    if (is_written)
        return LYNX_OK;
    (void)remove(target_path);
    snprintf(text, text_size, "llama.cpp could not requantise '%s': %s", source_path, reason);
    return LYNX_ERR_ENGINE;
}
