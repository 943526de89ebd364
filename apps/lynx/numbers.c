/* SPDX-License-Identifier: MIT */
#include "numbers.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

void numbers_sort(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
}

double numbers_middle(double *values, size_t count)
{
    numbers_sort(values, count);
    return count ? values[count / 2] : 0;
}

double numbers_median(double *values, size_t count)
{
    numbers_sort(values, count);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}
