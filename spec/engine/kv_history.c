/* SPDX-License-Identifier: MIT */
#include "kv_history_internal.h"
#include "kv_check.h"
#include "kv_model.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    SHRINK_RUNS = 300,
    SHRINK_SECONDS = 60,
};

/* ---- the log ----------------------------------------------------------------------------- */

static struct history *current; /* for the signal handler */

void history_log(struct history *h, const char *format, ...)
{
    char *line = h->log[h->logged++ % LOG_LINES];
    int used = snprintf(line, LOG_BYTES, "#%" PRIu64 " ", h->op);
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, LOG_BYTES - (size_t)used, format, args);
    va_end(args);
}

static void log_print(const struct history *h, FILE *report)
{
    fprintf(report, "history of %s, SOMBRA_SEED=%" PRIu64 ", operation %" PRIu64 ", the last:\n",
            h->driver->name, h->seed, h->op);
    uint64_t first = h->logged > LOG_LINES ? h->logged - LOG_LINES : 0;
    for (uint64_t i = first; i < h->logged; i++)
        fprintf(report, "  %s\n", h->log[i % LOG_LINES]);
}

/* A store that dies takes the history with it: print it on the way out. */
static void log_print_and_die(int number)
{
    if (current)
        log_print(current, stderr);
    signal(number, SIG_DFL);
    raise(number);
}

bool history_differs(struct history *h, const char *format, ...)
{
    char text[LOG_BYTES - 24];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    history_log(h, "DIFFERS: %s", text);
    h->has_failed = true;
    return false;
}

/* ---- a run ------------------------------------------------------------------------------- */

/* Runs it into *h, which keeps log and outcome; everything else is released. */
static bool run(struct history *h, const struct kv_driver *driver, uint64_t seed, uint64_t ops,
                const bool *is_skipped)
{
    memset(h, 0, sizeof *h);
    h->driver = driver;
    h->seed = seed;
    h->ops = ops;
    h->is_skipped = is_skipped;
    if (kv_model_open(NULL, &h->model) != SOMBRA_OK)
        abort();
    sombra_err err = driver->open(driver->context, &h->store);
    if (err)
        history_differs(h, "open: %s (%s)", sombra_err_name(err), sombra_err_message());
    current = h;
    for (h->op = 0; h->op < ops && !h->has_failed; h->op++) {
        if (is_skipped && is_skipped[h->op])
            continue;
        h->has_failed = !history_step(h);
        if (h->has_failed)
            break;
    }
    history_end(h);
    current = NULL;
    return !h->has_failed;
}

/* Leaves out ever smaller pieces of the history while it still fails. */
static void shrink(struct history *h, FILE *report)
{
    const struct kv_driver *driver = h->driver;
    uint64_t seed = h->seed, ops = u64_min(h->op + 1, h->ops);
    bool *is_skipped = calloc(ops, 1), *attempt = calloc(ops, 1);
    time_t until = time(NULL) + SHRINK_SECONDS;
    unsigned runs = 0;
    if (!is_skipped || !attempt)
        abort();
    for (uint64_t width = ops / 2; width > 0; width /= 2)
        for (uint64_t from = 0; from < ops && runs < SHRINK_RUNS && time(NULL) < until;
             from += width, runs++) {
            uint64_t bytes = u64_min(width, ops - from);
            memcpy(attempt, is_skipped, ops);
            memset(attempt + from, 1, bytes);
            if (run(h, driver, seed, ops, attempt))
                continue;
            memcpy(is_skipped, attempt, ops);
            ops = u64_min(h->op + 1, ops);
        }
    uint64_t left = 0;
    bool still_agrees = run(h, driver, seed, ops, is_skipped);
    for (uint64_t i = 0; i < ops; i++)
        left += !is_skipped[i];
    fprintf(report, "shortened to %" PRIu64 " operations in %u runs%s\n", left, runs,
            still_agrees ? "; it does not fail every time" : "");
    free(is_skipped);
    free(attempt);
}

bool kv_history_run(const struct kv_driver *driver, uint64_t seed, uint64_t ops, FILE *report)
{
    struct history *h = calloc(1, sizeof *h);
    if (!h)
        return false;
    void (*former_abort)(int) = signal(SIGABRT, log_print_and_die);
    void (*former_segv)(int) = signal(SIGSEGV, log_print_and_die);
    bool agrees = run(h, driver, seed, ops, NULL);
    if (!agrees) {
        log_print(h, report);
        if (kv_test_number("SOMBRA_SHRINK", 1)) {
            shrink(h, report);
            log_print(h, report);
        }
    }
    fprintf(report, "%s: %" PRIu64 " operations, %" PRIu64 " commits, up to %" PRIu64 " entries\n",
            driver->name, h->op, h->commits, h->most_entries);
    signal(SIGABRT, former_abort);
    signal(SIGSEGV, former_segv);
    free(h);
    return agrees;
}

/* ---- facts ------------------------------------------------------------------------------- */

static void test_kv__random_histories_agree_with_the_model(void **state)
{
    struct kv_contract *contract = *state;
    /* The driver has room for one store at a time. */
    expect_ok(kv_close(contract->kv));
    contract->kv = NULL;
    if (contract->driver->remove)
        contract->driver->remove(contract->driver->context);
    uint64_t seed = kv_test_seed(contract->driver->name);
    uint64_t ops = kv_test_number("SOMBRA_OPS", contract->history_ops);
    assert_true(kv_history_run(contract->driver, seed, ops, stderr));
}

const struct kv_fact kv_contract_histories[] = {
    KV_FACT(test_kv__random_histories_agree_with_the_model),
    { .name = NULL },
};
