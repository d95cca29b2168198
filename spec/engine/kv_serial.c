/* SPDX-License-Identifier: MIT */
#include "kv_serial.h"
#include "kv_serial_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t serial_chain(uint64_t chain, uint64_t id)
{
    return hash_u64(chain * 31 + id);
}

const char *serial_anomaly_text(enum serial_anomaly anomaly)
{
    static const char *const texts[] = {
#define SERIAL_ANOMALY_TEXT(name, text) text,
        SERIAL_ANOMALIES(SERIAL_ANOMALY_TEXT)
#undef SERIAL_ANOMALY_TEXT
    };
    return texts[anomaly];
}

bool serial_found(struct serial_checker *checker, enum serial_anomaly anomaly, const char *format,
                  ...)
{
    if (checker->finding->anomaly)
        return false;
    va_list args;
    va_start(args, format);
    checker->finding->anomaly = anomaly;
    int used = snprintf(checker->finding->text, sizeof checker->finding->text,
                        "%s: ", serial_anomaly_text(anomaly));
    vsnprintf(checker->finding->text + used, sizeof checker->finding->text - (size_t)used, format,
              args);
    va_end(args);
    return false;
}

void *serial_alloc(size_t count, size_t bytes)
{
    void *memory = calloc(count ? count : 1, bytes);
    if (!memory)
        abort();
    return memory;
}

/* ---- elements: who wrote what ------------------------------------------------------------ */

struct element {
    uint64_t id;
    uint32_t txn, op;
    uint32_t key;
    bool is_undone;
};

static int element_order(const void *a, const void *b)
{
    const struct element *left = a, *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

/* Is the append at `op` rolled back by the time `until` operations are done? */
static bool is_undone(const struct serial_txn *txn, uint32_t op, uint32_t until)
{
    for (uint32_t i = op + 1; i < until; i++)
        if (txn->ops[i].kind == SERIAL_UNDO && txn->ops[i].count <= op)
            return true;
    return false;
}

static bool elements_collect(struct serial_checker *checker)
{
    const struct serial_history *history = checker->history;
    size_t total = 0;
    for (size_t t = 0; t < history->count; t++)
        total += history->txns[t].op_count;
    checker->elements = serial_alloc(total, sizeof *checker->elements);
    for (uint32_t t = 0; t < history->count; t++) {
        const struct serial_txn *txn = &history->txns[t];
        for (uint32_t i = 0; i < txn->op_count; i++)
            if (txn->ops[i].kind == SERIAL_APPEND)
                checker->elements[checker->element_count++] =
                    (struct element){ txn->ops[i].id, t, i, txn->ops[i].key,
                                      is_undone(txn, i, txn->op_count) };
    }
    qsort(checker->elements, checker->element_count, sizeof *checker->elements, element_order);
    for (size_t i = 1; i < checker->element_count; i++)
        if (checker->elements[i].id == checker->elements[i - 1].id)
            return serial_found(checker, SERIAL_FOREIGN, "element %" PRIu64 " is written twice",
                                checker->elements[i].id);
    return true;
}

static const struct element *element_find(const struct serial_checker *checker, uint64_t id)
{
    struct element wanted = { .id = id };
    return bsearch(&wanted, checker->elements, checker->element_count, sizeof wanted,
                   element_order);
}

/* ---- the lists at the end ---------------------------------------------------------------- */

static bool list_element_check(struct serial_checker *checker, uint32_t key, uint64_t index)
{
    uint64_t id = checker->history->lists[key].ids[index];
    const struct element *element = element_find(checker, id);
    if (!element || element->key != key || checker->is_listed[element - checker->elements])
        return serial_found(checker, SERIAL_FOREIGN, "element %" PRIu64 " at %" PRIu64 " of key %u",
                            id, index, key);
    const struct serial_txn *txn = &checker->history->txns[element->txn];
    if (txn->outcome == SERIAL_ABORTED || element->is_undone)
        return serial_found(checker, SERIAL_ABORTED_WRITE, "T%u's element %" PRIu64 " in key %u",
                            element->txn, id, key);
    checker->is_listed[element - checker->elements] = true;
    checker->has_effect[element->txn] = true;
    checker->versions[key].writers[index] = element->txn;
    return true;
}

static bool lists_check(struct serial_checker *checker)
{
    const struct serial_history *history = checker->history;
    for (uint32_t key = 0; key < history->keys; key++) {
        const struct serial_list *list = &history->lists[key];
        struct serial_versions *versions = &checker->versions[key];
        versions->count = list->count;
        versions->writers = serial_alloc(list->count, sizeof *versions->writers);
        versions->chains = serial_alloc(list->count + 1, sizeof *versions->chains);
        for (uint64_t i = 0; i < list->count; i++) {
            versions->chains[i + 1] = serial_chain(versions->chains[i], list->ids[i]);
            if (!list_element_check(checker, key, i))
                return false;
        }
    }
    for (size_t i = 0; i < checker->element_count; i++) {
        const struct element *element = &checker->elements[i];
        enum serial_outcome outcome = history->txns[element->txn].outcome;
        if (checker->is_listed[i] || element->is_undone || outcome == SERIAL_ABORTED)
            continue;
        if (checker->has_effect[element->txn])
            return serial_found(checker, SERIAL_PARTIAL, "T%u without its element %" PRIu64,
                                element->txn, element->id);
        if (outcome == SERIAL_COMMITTED)
            return serial_found(checker, SERIAL_LOST_APPEND, "T%u's element %" PRIu64 " of key %u",
                                element->txn, element->id, element->key);
    }
    return true;
}

/* ---- reads ------------------------------------------------------------------------------- */

/* Why a read fits no version: an element of a write that did not happen ends it? */
static bool no_version(struct serial_checker *checker, uint32_t t, const struct serial_op *read)
{
    const struct serial_versions *versions = &checker->versions[read->key];
    for (size_t i = 0; i < checker->element_count; i++) {
        const struct element *element = &checker->elements[i];
        bool did_not_happen = !checker->is_listed[i];
        for (uint64_t n = 0; did_not_happen && n < read->count && n <= versions->count; n++)
            if (element->txn != t && element->key == read->key &&
                serial_chain(versions->chains[n], element->id) == read->chain)
                return serial_found(checker, SERIAL_ABORTED_READ, "T%u reads T%u's in key %u", t,
                                    element->txn, read->key);
    }
    return serial_found(checker, SERIAL_NO_VERSION, "T%u reads %" PRIu64 " elements of key %u", t,
                        read->count, read->key);
}

static bool read_check(struct serial_checker *checker, uint32_t t, uint32_t op)
{
    const struct serial_txn *txn = &checker->history->txns[t];
    const struct serial_op *read = &txn->ops[op];
    const struct serial_versions *versions = &checker->versions[read->key];
    uint64_t own = 0;
    for (uint32_t i = 0; i < op; i++)
        own += txn->ops[i].kind == SERIAL_APPEND && txn->ops[i].key == read->key &&
               !is_undone(txn, i, op);
    if (read->count < own)
        return serial_found(checker, SERIAL_OWN_WRITES, "T%u in key %u", t, read->key);
    uint64_t base = read->count - own;
    for (uint32_t i = 0; i < checker->base_count; i++)
        if (checker->bases[i].key == read->key && checker->bases[i].count != base)
            return serial_found(checker, SERIAL_UNREPEATABLE,
                                "T%u reads %" PRIu64 " and %" PRIu64 " elements of key %u", t,
                                checker->bases[i].count, base, read->key);
    if (base > versions->count)
        return no_version(checker, t, read);
    uint64_t chain = versions->chains[base];
    for (uint32_t i = 0; i < op; i++)
        if (txn->ops[i].kind == SERIAL_APPEND && txn->ops[i].key == read->key &&
            !is_undone(txn, i, op))
            chain = serial_chain(chain, txn->ops[i].id);
    if (chain != read->chain)
        return no_version(checker, t, read);
    if (base > 0 && base < versions->count && versions->writers[base - 1] != t &&
        versions->writers[base - 1] == versions->writers[base])
        return serial_found(checker, SERIAL_INTERMEDIATE_READ, "T%u reads T%u's in key %u", t,
                            versions->writers[base], read->key);
    checker->bases[checker->base_count++] = (struct serial_base){ read->key, base };
    return true;
}

static bool is_node(const struct serial_checker *checker, uint32_t t)
{
    const struct serial_txn *txn = &checker->history->txns[t];
    return txn->begun_ns != 0 || checker->has_effect[t];
}

static void reads_connect(struct serial_checker *checker, uint32_t t)
{
    for (uint32_t i = 0; i < checker->base_count; i++) {
        const struct serial_base *base = &checker->bases[i];
        const struct serial_versions *versions = &checker->versions[base->key];
        if (base->count > 0)
            serial_edge(checker, versions->writers[base->count - 1], t, SERIAL_WR);
        if (base->count < versions->count)
            serial_edge(checker, t, versions->writers[base->count], SERIAL_RW);
    }
}

static bool reads_check(struct serial_checker *checker)
{
    for (uint32_t t = 0; t < checker->history->count; t++) {
        const struct serial_txn *txn = &checker->history->txns[t];
        checker->bases = serial_alloc(txn->op_count, sizeof *checker->bases);
        checker->base_count = 0;
        bool is_right = true;
        for (uint32_t i = 0; i < txn->op_count && is_right; i++)
            if (txn->ops[i].kind == SERIAL_READ)
                is_right = read_check(checker, t, i);
        if (is_right && is_node(checker, t))
            reads_connect(checker, t);
        free(checker->bases);
        checker->bases = NULL;
        if (!is_right)
            return false;
    }
    return true;
}

static void writes_connect(struct serial_checker *checker)
{
    for (uint32_t key = 0; key < checker->history->keys; key++) {
        const struct serial_versions *versions = &checker->versions[key];
        for (uint64_t i = 1; i < versions->count; i++)
            serial_edge(checker, versions->writers[i - 1], versions->writers[i], SERIAL_WW);
    }
}

/* ---- time -------------------------------------------------------------------------------- */

/* A reader's moment is in its begin, a writer's in its commit; one that came to nothing counts as
 * a reader. */
static bool has_reader_moment(const struct serial_checker *checker, uint32_t t)
{
    return !checker->history->txns[t].is_write || !checker->has_effect[t];
}

static uint64_t start_ns(const struct serial_checker *checker, uint32_t t)
{
    const struct serial_txn *txn = &checker->history->txns[t];
    return has_reader_moment(checker, t) ? txn->begin_ns : txn->commit_ns;
}

/* UINT64_MAX = nobody heard of it. So it is with what a power cut left, which may hold a commit
 * that stood in the log already but was not yet to be seen: the machine that went on, and other
 * cuts of it, need not have that. */
static uint64_t finish_ns(const struct serial_checker *checker, uint32_t t)
{
    const struct serial_txn *txn = &checker->history->txns[t];
    if (txn->is_after_cut)
        return UINT64_MAX;
    if (has_reader_moment(checker, t))
        return txn->begun_ns;
    return txn->outcome == SERIAL_COMMITTED ? txn->end_ns : UINT64_MAX;
}

struct moment {
    uint64_t ns;
    uint32_t txn;
};

static int moment_order(const void *a, const void *b)
{
    const struct moment *left = a, *right = b;
    return (left->ns > right->ns) - (left->ns < right->ns);
}

/* One node per end, each behind the one before and behind its transaction, instead of an edge from
 * each transaction to all later ones. */
static void time_connect(struct serial_checker *checker, bool is_durable)
{
    const struct serial_history *history = checker->history;
    enum serial_edge_kind kind = is_durable ? SERIAL_DURABLE_EDGE : SERIAL_TIME_EDGE;
    struct moment *ends = serial_alloc(history->count, sizeof *ends);
    size_t count = 0;
    for (uint32_t t = 0; t < history->count; t++)
        if (is_node(checker, t) && finish_ns(checker, t) != UINT64_MAX &&
            (!is_durable || history->txns[t].is_durable))
            ends[count++] = (struct moment){ finish_ns(checker, t), t };
    qsort(ends, count, sizeof *ends, moment_order);
    uint32_t first = checker->node_count;
    checker->node_count += (uint32_t)count;
    for (uint32_t i = 0; i < count; i++) {
        serial_edge(checker, ends[i].txn, first + i, kind);
        if (i > 0)
            serial_edge(checker, first + i - 1, first + i, kind);
    }
    for (uint32_t t = 0; t < history->count; t++) {
        if (!is_node(checker, t) || history->txns[t].is_after_cut != is_durable)
            continue;
        size_t low = 0, high = count; /* the ends before t's start */
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (ends[middle].ns < start_ns(checker, t))
                low = middle + 1;
            else
                high = middle;
        }
        if (low > 0)
            serial_edge(checker, first + (uint32_t)low - 1, t, kind);
    }
    free(ends);
}

/* The turn is somebody's from the moment begin returned to the moment the end is asked for. */
static bool turns_check(struct serial_checker *checker)
{
    const struct serial_history *history = checker->history;
    struct moment *turns = serial_alloc(history->count, sizeof *turns);
    size_t count = 0;
    for (uint32_t t = 0; t < history->count; t++) {
        const struct serial_txn *txn = &history->txns[t];
        if (txn->is_write && txn->begun_ns && txn->commit_ns)
            turns[count++] = (struct moment){ txn->begun_ns, t };
    }
    qsort(turns, count, sizeof *turns, moment_order);
    bool is_right = true;
    for (size_t i = 1; i < count && is_right; i++)
        if (history->txns[turns[i - 1].txn].commit_ns > turns[i].ns)
            is_right = serial_found(checker, SERIAL_TWO_WRITERS, "T%u and T%u", turns[i - 1].txn,
                                    turns[i].txn);
    free(turns);
    return is_right;
}

/* ---- all --------------------------------------------------------------------------------- */

static void checker_release(struct serial_checker *checker)
{
    for (uint32_t key = 0; key < checker->history->keys; key++) {
        free(checker->versions[key].writers);
        free(checker->versions[key].chains);
    }
    free(checker->versions);
    free(checker->elements);
    free(checker->is_listed);
    free(checker->has_effect);
    free(checker->edges);
}

bool serial_check(const struct serial_history *history, struct serial_finding *out_finding)
{
    struct serial_checker checker = { .history = history, .finding = out_finding };
    *out_finding = (struct serial_finding){ 0 };
    checker.versions = serial_alloc(history->keys, sizeof *checker.versions);
    checker.has_effect = serial_alloc(history->count, sizeof *checker.has_effect);
    checker.node_count = (uint32_t)history->count;
    bool is_right = elements_collect(&checker);
    checker.is_listed = serial_alloc(checker.element_count, sizeof *checker.is_listed);
    is_right = is_right && lists_check(&checker) && reads_check(&checker) && turns_check(&checker);
    if (is_right) {
        writes_connect(&checker);
        time_connect(&checker, false);
        time_connect(&checker, true);
        is_right = serial_cycles_check(&checker);
    }
    checker_release(&checker);
    return is_right;
}
