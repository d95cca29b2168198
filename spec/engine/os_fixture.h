/* SPDX-License-Identifier: MIT */
/* os_fixture: what the tests of os/ share. */
#ifndef OS_FIXTURE_H
#define OS_FIXTURE_H

#include "assert_err.h"
#include "os/os.h"

#define assert_text_has(part)                                                    \
    do {                                                                         \
        if (!strstr(diag_text(), (part)))                                        \
            fail_msg("no \"%s\" in the error text \"%s\"", (part), diag_text()); \
    } while (0)

/* ThreadSanitizer leaves no terabyte of address space in one piece. */
#if HAS_THREAD_SANITIZER
#define FAR_MAP_BYTES ((size_t)1 << 36)
#else
#define FAR_MAP_BYTES ((size_t)1 << 40)
#endif

static inline struct os_file *open_file(struct os *os, const char *path, unsigned flags)
{
    struct os_file *file = NULL;
    assert_ok(os_open(os, path, flags, 0600, &file));
    return file;
}

static inline uint64_t size_of(struct os_file *file)
{
    uint64_t bytes = 0;
    assert_ok(os_size(file, &bytes));
    return bytes;
}

/* SOMBRA_SEED, or a fixed one: the run is printed so that it can be repeated. */
static inline uint64_t test_seed(void)
{
    const char *text = getenv("SOMBRA_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 20260101;
    print_message("SOMBRA_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#endif
