/* SPDX-License-Identifier: MIT */
/* memtable: the tree of engine/lsm beside a textbook skiplist (Pugh 1990) in the form that LevelDB
 * gave it: at most 12 levels, p = 1/4, an arena, links published with release so that readers take
 * no lock, an internal key that ends in the sequence number.
 *
 * Keys of 16 bytes, values of 100. ns an operation, CPU time, median of the rounds, which take
 * turns. `random` keys are numbers in random order; `alike` ones are decimal with a common prefix.
 *
 *   memtable [records [rounds]]; the default is 1,000,000 and 5
 */
#include "lsm/memtable.h"
#include "measure.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_BYTES = 16, VALUE_BYTES = 100, ROUNDS_MAX = 31 };

/* ---- the skiplist ------------------------------------------------------------------------ */

enum { LEVELS_MAX = 12, BRANCHING = 4, BLOCK_BYTES = 1 << 20 };

struct skip_node {
    const uint8_t *record; /* key bytes, seq, key, value bytes, value */
    _Atomic(struct skip_node *) next[];
};
struct block {
    struct block *next;
};
struct skiplist {
    struct skip_node *head;
    _Atomic int height;
    struct random random;
    struct block *blocks;
    uint8_t *at, *end;
};

static void *skip_alloc(struct skiplist *list, size_t bytes)
{
    bytes = (bytes + 7) & ~(size_t)7;
    if ((size_t)(list->end - list->at) < bytes) {
        struct block *block = malloc(BLOCK_BYTES);
        if (!block)
            abort();
        block->next = list->blocks;
        list->blocks = block;
        list->at = (uint8_t *)(block + 1);
        list->end = (uint8_t *)block + BLOCK_BYTES;
    }
    void *memory = list->at;
    list->at += bytes;
    return memory;
}

static struct skip_node *skip_node_new(struct skiplist *list, const uint8_t *record, int height)
{
    struct skip_node *node = skip_alloc(list, sizeof *node + (size_t)height * sizeof node->next[0]);
    node->record = record;
    return node;
}

static struct skiplist *skip_new(void)
{
    struct skiplist *list = calloc(1, sizeof *list);
    if (!list)
        abort();
    random_seed(&list->random, 301);
    list->head = skip_node_new(list, NULL, LEVELS_MAX);
    for (int i = 0; i < LEVELS_MAX; i++)
        atomic_init(&list->head->next[i], NULL);
    atomic_init(&list->height, 1);
    return list;
}

static void skip_free(struct skiplist *list)
{
    for (struct block *block = list->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(list);
}

static sombra_slice record_key(const uint8_t *record)
{
    return slice_of(record + 12, get_le32(record));
}

/* Keys ascending, of one key the newest first. */
static int record_compare(const uint8_t *record, sombra_slice key, uint64_t seq)
{
    int order = slice_compare(record_key(record), key);
    uint64_t own = get_le64(record + 4);
    return order ? order : (own < seq) - (own > seq);
}

static struct skip_node *skip_find(const struct skiplist *list, sombra_slice key, uint64_t seq,
                                   struct skip_node **out_previous)
{
    struct skip_node *node = list->head;
    int level = atomic_load_explicit(&list->height, memory_order_relaxed) - 1;
    for (;;) {
        struct skip_node *next = atomic_load_explicit(&node->next[level], memory_order_acquire);
        if (next && record_compare(next->record, key, seq) < 0) {
            node = next;
            continue;
        }
        if (out_previous)
            out_previous[level] = node;
        if (level == 0)
            return next;
        level--;
    }
}

static void skip_put(struct skiplist *list, uint64_t seq, sombra_slice key, sombra_slice value)
{
    uint8_t *record = skip_alloc(list, 16 + key.bytes + value.bytes);
    put_le32(record, (uint32_t)key.bytes);
    put_le64(record + 4, seq);
    memcpy(record + 12, key.data, key.bytes);
    put_le32(record + 12 + key.bytes, (uint32_t)value.bytes);
    memcpy(record + 16 + key.bytes, value.data, value.bytes);
    struct skip_node *previous[LEVELS_MAX];
    skip_find(list, key, seq, previous);
    int height = 1, was = atomic_load_explicit(&list->height, memory_order_relaxed);
    while (height < LEVELS_MAX && random_u64(&list->random) % BRANCHING == 0)
        height++;
    for (int i = was; i < height; i++)
        previous[i] = list->head;
    if (height > was)
        atomic_store_explicit(&list->height, height, memory_order_relaxed);
    struct skip_node *node = skip_node_new(list, record, height);
    for (int i = 0; i < height; i++) {
        atomic_init(&node->next[i],
                    atomic_load_explicit(&previous[i]->next[i], memory_order_relaxed));
        atomic_store_explicit(&previous[i]->next[i], node, memory_order_release);
    }
}

static bool skip_get(const struct skiplist *list, uint64_t seq, sombra_slice key,
                     sombra_slice *out_value)
{
    const struct skip_node *node = skip_find(list, key, seq, NULL);
    if (!node || !slice_equal(record_key(node->record), key))
        return false;
    const uint8_t *at = node->record + 12 + key.bytes;
    *out_value = slice_of(at + 4, get_le32(at));
    return true;
}

/* ---- rounds ------------------------------------------------------------------------------ */

enum order { ORDER_SEQUENTIAL, ORDER_RANDOM, ORDER_ALIKE, ORDERS };
enum figure { FIGURE_INSERT, FIGURE_GET, FIGURE_SCAN, FIGURE_BYTES, FIGURES };

static const char *const order_names[ORDERS] = { "sequential", "random", "alike" };
static const char *const figure_names[FIGURES] = { "insert ns", "get ns", "scan ns", "bytes" };

/* [0] the memtable, [1] the skiplist */
typedef double figures[2][FIGURES][ROUNDS_MAX];

static uint8_t (*keys_make(enum order order, uint32_t count, uint64_t seed))[KEY_BYTES]
{
    uint8_t(*keys)[KEY_BYTES] = malloc((size_t)count * KEY_BYTES);
    struct random random;
    if (!keys)
        abort();
    random_seed(&random, seed);
    for (uint32_t i = 0; i < count; i++) {
        char text[KEY_BYTES + 1];
        if (order == ORDER_RANDOM) {
            put_be64(keys[i], hash_u64(i));
            put_be64(keys[i] + 8, i);
            continue;
        }
        snprintf(text, sizeof text, "%016" PRIu32, i);
        memcpy(keys[i], text, KEY_BYTES);
    }
    for (uint32_t i = count - 1; i > 0 && order != ORDER_SEQUENTIAL; i--) {
        uint8_t swap[KEY_BYTES];
        uint32_t other = (uint32_t)random_below(&random, i + 1);
        memcpy(swap, keys[i], KEY_BYTES);
        memcpy(keys[i], keys[other], KEY_BYTES);
        memcpy(keys[other], swap, KEY_BYTES);
    }
    return keys;
}

/* ns. */
static double per_record(double from_s, uint32_t count)
{
    return (cpu_s() - from_s) * 1e9 / count;
}

static void memtable_round(double out[FIGURES][ROUNDS_MAX], unsigned round, uint32_t count,
                           uint8_t (*puts)[KEY_BYTES], uint8_t (*gets)[KEY_BYTES])
{
    uint8_t value[VALUE_BYTES] = { 1 };
    struct memtable *memtable;
    struct source *source;
    if (memtable_new(&memtable))
        die("memtable_new");
    double from = cpu_s();
    for (uint32_t i = 0; i < count; i++) {
        if (memtable_put(memtable, i + 1, ENTRY_PUT, slice_of(puts[i], KEY_BYTES),
                         slice_of(value, VALUE_BYTES)))
            die("memtable_put");
        memtable_settle(memtable);
        if (memtable_has_waste(memtable))
            memtable_reuse_nodes(memtable, i + 2, UINT64_MAX);
    }
    out[FIGURE_INSERT][round] = per_record(from, count);
    from = cpu_s();
    for (uint32_t i = 0; i < count; i++) {
        sombra_slice got;
        if (memtable_get(memtable, count, slice_of(gets[i], KEY_BYTES), &got) != LOOKUP_FOUND)
            die("memtable_get");
    }
    out[FIGURE_GET][round] = per_record(from, count);
    uint32_t seen = 0;
    from = cpu_s();
    if (memtable_source(memtable, count, &source) || source->ops->seek_ge(source, slice_of("", 0)))
        die("memtable_source");
    while (source->is_valid) {
        struct lsm_entry entries[64];
        size_t got;
        if (source->ops->read(source, slice_of("", 0), entries, 64, &got))
            die("read");
        seen += (uint32_t)got;
    }
    out[FIGURE_SCAN][round] = per_record(from, count);
    if (seen != count)
        die("scan");
    source_close(source);
    out[FIGURE_BYTES][round] = (double)memtable_bytes(memtable) / count;
    memtable_unref(memtable);
}

static void skip_round(double out[FIGURES][ROUNDS_MAX], unsigned round, uint32_t count,
                       uint8_t (*puts)[KEY_BYTES], uint8_t (*gets)[KEY_BYTES])
{
    uint8_t value[VALUE_BYTES] = { 1 };
    struct skiplist *list = skip_new();
    double from = cpu_s();
    for (uint32_t i = 0; i < count; i++)
        skip_put(list, i + 1, slice_of(puts[i], KEY_BYTES), slice_of(value, VALUE_BYTES));
    out[FIGURE_INSERT][round] = per_record(from, count);
    from = cpu_s();
    for (uint32_t i = 0; i < count; i++) {
        sombra_slice got;
        if (!skip_get(list, count, slice_of(gets[i], KEY_BYTES), &got))
            die("skip_get");
    }
    out[FIGURE_GET][round] = per_record(from, count);
    uint32_t seen = 0;
    uint64_t sum = 0;
    from = cpu_s();
    struct skip_node *node = atomic_load_explicit(&list->head->next[0], memory_order_acquire);
    for (; node; node = atomic_load_explicit(&node->next[0], memory_order_acquire)) {
        sum += record_key(node->record).bytes;
        seen++;
    }
    out[FIGURE_SCAN][round] = per_record(from, count);
    if (seen != count || sum != (uint64_t)count * KEY_BYTES)
        die("scan");
    size_t bytes = 0;
    for (struct block *block = list->blocks; block; block = block->next)
        bytes += BLOCK_BYTES;
    out[FIGURE_BYTES][round] = (double)bytes / count;
    skip_free(list);
}

int main(int argc, char **argv)
{
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 5;
    static figures all[ORDERS];
    if (count == 0 || rounds == 0 || rounds > ROUNDS_MAX)
        die("memtable [records [rounds]]");
    for (enum order order = 0; order < ORDERS; order++) {
        uint8_t(*puts)[KEY_BYTES] = keys_make(order, count, 1);
        uint8_t(*gets)[KEY_BYTES] = keys_make(order, count, 2);
        for (unsigned round = 0; round < rounds; round++) {
            memtable_round(all[order][0], round, count, puts, gets);
            skip_round(all[order][1], round, count, puts, gets);
        }
        free(puts);
        free(gets);
    }
    printf("%-10s  %-9s  %8s  %8s  %s\n", "keys", "figure", "memtable", "skiplist", "times");
    for (enum order order = 0; order < ORDERS; order++)
        for (enum figure figure = 0; figure < FIGURES; figure++) {
            double own = median(all[order][0][figure], rounds);
            double other = median(all[order][1][figure], rounds);
            printf("%-10s  %-9s  %8.1f  %8.1f  %.2f\n", order_names[order], figure_names[figure],
                   own, other, other / own);
        }
    return 0;
}
