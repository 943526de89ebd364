/* SPDX-License-Identifier: MIT */
/* numbers.h - measured numbers in order; each function sorts 'values'. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <stddef.h>

void numbers_sort(double *values, size_t count);

/* One of them, the upper of two in the middle; 0 when there are none. */
double numbers_middle(double *values, size_t count);

/* The mean of two in the middle; 'count' >= 1. */
double numbers_median(double *values, size_t count);

#endif
