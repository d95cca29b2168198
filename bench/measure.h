/* SPDX-License-Identifier: MIT */
/* measure: clocks, medians and the form of figures, which the programs here share. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "sombra/types.h"

#include <stdbool.h>
#include <stddef.h>

/* Ends the program with its name and the text: a benchmark has nothing to recover. */
_Noreturn void die(const char *format, ...) SOMBRA_PRINTF(1, 2);

double wall_s(void);
/* Of all threads of the process. */
double cpu_s(void);

/* Sorts the values, at least one. */
double median(double *values, size_t count);

enum { AMOUNT_BYTES = 16 };
/* Three digits and a unit, into `text`, which it returns: "1.25M", "42.0k". */
const char *amount(double value, char text[AMOUNT_BYTES]);

/* Is the name one of the comma-separated list? NULL has all. */
bool list_has(const char *list, const char *name);

#endif
