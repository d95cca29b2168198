/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

_Noreturn void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double wall_s(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double cpu_s(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

static int double_order(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double median(double *values, size_t count)
{
    assert(count > 0);
    qsort(values, count, sizeof *values, double_order);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

const char *amount(double value, char text[AMOUNT_BYTES])
{
    if (value >= 1e7)
        snprintf(text, AMOUNT_BYTES, "%.1fM", value / 1e6);
    else if (value >= 1e6)
        snprintf(text, AMOUNT_BYTES, "%.2fM", value / 1e6);
    else if (value >= 1e5)
        snprintf(text, AMOUNT_BYTES, "%.0fk", value / 1e3);
    else if (value >= 1e3)
        snprintf(text, AMOUNT_BYTES, "%.1fk", value / 1e3);
    else
        snprintf(text, AMOUNT_BYTES, value < 100 ? "%.2f" : "%.0f", value);
    return text;
}

bool list_has(const char *list, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *at = list; at && (at = strstr(at, name)); at += bytes)
        if ((at == list || at[-1] == ',') && (at[bytes] == ',' || at[bytes] == 0))
            return true;
    return list == NULL;
}

enum { RAW_FILE_MIB = 64 };

void raw_open(struct raw_file *file, const char *folder)
{
    static uint8_t zeros[1 << 20];
    snprintf(file->path, sizeof file->path, "%s/raw-%d", folder, (int)getpid());
    file->at = 0;
    file->fd = open(file->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < RAW_FILE_MIB; i++)
        if (file->fd < 0 || write(file->fd, zeros, sizeof zeros) != (ssize_t)sizeof zeros)
            die("%s: cannot write", file->path);
    if (fsync(file->fd))
        die("%s: cannot sync", file->path);
}

void raw_append(struct raw_file *file, size_t bytes)
{
    static uint8_t record[RAW_RECORD_BYTES_MAX];
    assert(bytes > 0 && bytes <= sizeof record);
    if (file->at + bytes > (uint64_t)RAW_FILE_MIB << 20)
        file->at = 0;
    if (record[0] == 0)
        memset(record, 'r', sizeof record);
    if (pwrite(file->fd, record, bytes, (off_t)file->at) != (ssize_t)bytes || fdatasync(file->fd))
        die("%s: cannot append", file->path);
    file->at += bytes;
}

void raw_close(struct raw_file *file)
{
    close(file->fd);
    unlink(file->path);
}
