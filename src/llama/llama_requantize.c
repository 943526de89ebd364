/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "llama/llama_internal.h"

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
        snprintf(text, text_size, "cannot read '%s'", source_path);
        return LYNX_ERR_ARGUMENT;
    }
    llama_backend_init();
    if (llama_model_quantize(source_path, target_path, &params) != 0) {
        (void)remove(target_path);
        snprintf(text, text_size, "llama.cpp could not requantise '%s'", source_path);
        return LYNX_ERR_ENGINE;
    }
    return LYNX_OK;
}
