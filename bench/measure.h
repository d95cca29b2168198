/* SPDX-License-Identifier: MIT */
/* measure: clocks, medians and the form of figures, which the programs here share. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "sombra/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* A file of zeros in a folder, which records are appended to with a sync each: what a log costs
 * with no store around it. */
struct raw_file {
    int fd;
    uint64_t at;
    char path[600];
};

enum { RAW_RECORD_BYTES_MAX = 64 << 10 };
void raw_open(struct raw_file *file, const char *folder);
void raw_append(struct raw_file *file, size_t bytes);
void raw_close(struct raw_file *file);

/* Is the name one of the comma-separated list? NULL has all. */
bool list_has(const char *list, const char *name);

#endif
