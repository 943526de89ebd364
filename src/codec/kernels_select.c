/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "codec/kernels.h"

static bool runs_always(void)
{
    return true;
}

#if defined(__x86_64__)
static bool runs_avx2(void)
{
    /* Every CPU with AVX2 has F16C, whose name older compilers do not know here. */
    return __builtin_cpu_supports("avx2");
}

static bool runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("gfni");
}
#endif

static const struct {
    const lx_kernels *table;
    bool (*runs)(void);
} tables[] = {
#if defined(__x86_64__)
    {&lx_kernels_avx512, runs_avx512},
    {&lx_kernels_avx2, runs_avx2},
#elif defined(__aarch64__) && defined(__AARCH64EL__)
    {&lx_kernels_neon, runs_always},
#endif
    {&lx_kernels_reference, runs_always},
};

const lx_kernels *lx_kernels_at(size_t index)
{
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
        if (tables[i].runs() && index-- == 0)
            return tables[i].table;
    return NULL;
}

const lx_kernels *lx_kernels_named(const char *name)
{
    for (size_t i = 0; lx_kernels_at(i); i++)
        if (!name || strcmp(lx_kernels_at(i)->name, name) == 0)
            return lx_kernels_at(i);
    return NULL;
}
