/* SPDX-License-Identifier: MIT */
/* Many nodes, or many edges, at once. All that can be refused is found before the first write: so
 * the records are built first, and kept. Then they are written in the order of their keys, one kind
 * of key after the other, so that the store goes from page to page.
 *
 * Of columns that no rule but indexes has a say in, only entries of UNIQUE indexes can be refused:
 * then records are built where they are put, and one index takes the memory of the one before. To
 * keep all of them cost more than to build them: new memory is slow. */
#include "index_internal.h"

#include <stdlib.h>

/* ---- rules ------------------------------------------------------------------------------- */

/* What the rules of some subjects ask of each new member. */
struct batch_rules {
    const struct graph_rule **checks; /* REQUIRED, KIND, TRIGGER */
    size_t check_count;
    struct index_batch *indexes;
    size_t index_count;
};

static void rules_release_batch(struct batch_rules *rules)
{
    for (size_t i = 0; i < rules->index_count; i++)
        index_batch_release(&rules->indexes[i]);
    mem_free(rules->indexes);
    mem_free(rules->checks);
}

static sombra_err rules_gather(struct graph_txn *txn, bool is_edge, const uint32_t *subjects,
                               size_t subject_count, struct batch_rules *out_rules)
{
    size_t total = 0;
    *out_rules = (struct batch_rules){ 0 };
    for (size_t i = 0; i < subject_count; i++) {
        const struct graph_rule *rules;
        size_t count;
        rules_of(txn, is_edge, subjects[i], &rules, &count);
        total += count;
    }
    if (total == 0)
        return SOMBRA_OK;
    out_rules->checks = mem_zalloc(total * sizeof *out_rules->checks);
    out_rules->indexes = mem_zalloc(total * sizeof *out_rules->indexes);
    if (!out_rules->checks || !out_rules->indexes)
        return diag_nomem("rules of a batch", total * sizeof *out_rules->indexes);
    for (size_t i = 0; i < subject_count; i++) {
        const struct graph_rule *rules;
        size_t count;
        rules_of(txn, is_edge, subjects[i], &rules, &count);
        for (size_t j = 0; j < count; j++) {
            if (rule_is_index(&rules[j]))
                out_rules->indexes[out_rules->index_count++].rule = &rules[j];
            else
                out_rules->checks[out_rules->check_count++] = &rules[j];
        }
    }
    return SOMBRA_OK;
}

static sombra_err rules_reserve(struct batch_rules *rules, size_t members)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < rules->index_count; i++)
        err = index_batch_reserve(&rules->indexes[i], members);
    return err;
}

static sombra_err rules_check(struct graph_txn *txn, struct batch_rules *rules)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < rules->index_count; i++)
        err = index_batch_check(&rules->indexes[i], txn);
    return err;
}

/* What is built of a row when it is put: columns, and the first id. NULL: all was built before. */
struct batch_late {
    struct record_columns *columns;
    uint64_t first;
    size_t count;
};

static sombra_err index_fill_late(struct index_batch *batch, struct graph_txn *txn,
                                  const struct batch_late *late)
{
    sombra_err err = index_batch_fill(batch, late->first, late->columns, late->count);
    return err ? err : index_batch_check(batch, txn);
}

/* Before anything is written: what may be refused. */
static sombra_err rules_fill_unique(struct graph_txn *txn, struct batch_rules *rules,
                                    const struct batch_late *late)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < rules->index_count; i++)
        if (rules->indexes[i].rule->kind == SOMBRA_RULE_UNIQUE)
            err = index_fill_late(&rules->indexes[i], txn, late);
    return err;
}

static sombra_err rules_put(struct batch_rules *rules, struct put_run *run,
                            const struct batch_late *late)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < rules->index_count; i++) {
        struct index_batch *batch = &rules->indexes[i];
        if (late && batch->rule->kind != SOMBRA_RULE_UNIQUE)
            err = index_fill_late(batch, run->txn, late);
        if (!err)
            err = index_batch_put(batch, run);
        if (i + 1 < rules->index_count)
            index_batch_take_memory(batch + 1, batch);
    }
    return err;
}

/* ---- records ----------------------------------------------------------------------------- */

/* Built, one after the other, in the order they will be written; `ends` says where each ends. */
struct batch_records {
    struct buf bytes;
    size_t *ends;
    size_t count;
};

/* Room for `count` of them, and for the bytes that they are likely to take: a buffer that grows is
 * copied, and to touch new memory costs more than to fill it. */
static sombra_err records_init(struct batch_records *records, size_t count, size_t bytes_likely)
{
    size_t bytes = (count + 1) * sizeof *records->ends;
    *records = (struct batch_records){ .ends = mem_grow(NULL, 0, bytes) };
    return records->ends ? buf_reserve(&records->bytes, bytes_likely)
                         : diag_nomem("records of a batch", bytes);
}

static void records_release(struct batch_records *records)
{
    buf_release(&records->bytes);
    mem_free(records->ends);
}

/* txn->record is the next one. */
static sombra_err records_add(struct batch_records *records, const struct graph_txn *txn)
{
    sombra_err err = buf_append_slice(&records->bytes, buf_slice(&txn->record));
    if (!err)
        records->ends[records->count++] = records->bytes.bytes;
    return err;
}

static sombra_slice record_at(const struct batch_records *records, size_t at)
{
    size_t begin = at ? records->ends[at - 1] : 0, end = records->ends[at];
    return slice_of(end > begin ? records->bytes.data + begin : NULL, end - begin);
}

/* What the records are built from: a map for each, or columns. */
struct batch_rows {
    const sombra_slice *maps;       /* of nodes */
    const sombra_new_edge *edges;   /* of edges, with their ends */
    struct record_columns *columns; /* NULL = maps */
    struct record_names names;
};

/* Of the records, together: names are longer than the numbers that stand for them. Of columns it is
 * not known. */
static size_t rows_bytes_likely(const struct batch_rows *rows, size_t label_bytes, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count && !rows->columns; i++)
        bytes += label_bytes + (rows->maps ? rows->maps[i] : rows->edges[i].properties).bytes;
    return bytes;
}

/* Can the rows be built when they are put? `label_bytes` of each are labels'. */
static bool rows_may_wait(const struct batch_rules *rules, const struct batch_rows *rows,
                          size_t label_bytes)
{
    return rows->columns && rules->check_count == 0 && label_bytes <= PUT_RUN_VALUE_BYTES_MAX &&
           rows->columns->bytes_max <= PUT_RUN_VALUE_BYTES_MAX - label_bytes;
}

/* Appends row `at` to txn->record. */
static sombra_err rows_append(struct graph_txn *txn, struct batch_rows *rows, size_t at)
{
    if (rows->columns)
        return record_columns_append(txn, rows->columns, at);
    return record_append_new(txn, &rows->names,
                             rows->maps ? rows->maps[at] : rows->edges[at].properties);
}

/* What the rules ask of the new member that row `at` is; txn->record is its record. */
static sombra_err rules_add(struct graph_txn *txn, struct batch_rules *rules, uint64_t id,
                            bool is_node, const struct batch_rows *rows, size_t at)
{
    sombra_record record = { 0 };
    sombra_err err = SOMBRA_OK;
    if (rules->check_count || (rules->index_count && !rows->columns))
        err = graph_record_open(buf_slice(&txn->record), is_node, &record);
    for (size_t i = 0; !err && i < rules->check_count; i++) {
        if (rules->checks[i]->kind == SOMBRA_RULE_TRIGGER)
            err = change_note(txn, rules->checks[i], id, NULL, &record);
        else
            err = constraint_check(txn, rules->checks[i], 0, NULL, &record);
    }
    for (size_t i = 0; !err && i < rules->index_count; i++)
        err = rows->columns ? index_batch_add_row(&rules->indexes[i], id, rows->columns, at)
                            : index_batch_add(&rules->indexes[i], id, &record);
    return err;
}

/* The store is told what is to come. */
static sombra_err records_expect(struct graph_txn *txn, const struct batch_records *records,
                                 const struct batch_late *late, size_t label_bytes)
{
    size_t bytes = records->bytes.bytes;
    if (late->columns)
        bytes = late->columns->bytes_all + late->count * label_bytes;
    return kv_expect(txn->kv, bytes);
}

/* As many ids as asked for. */
static sombra_err ids_check(uint64_t next, size_t count, const char *what)
{
    if (next > INT64_MAX || count > INT64_MAX - next)
        return diag_fail(SOMBRA_LIMIT, "all ids of %s are used up", what);
    return SOMBRA_OK;
}

/* ---- nodes ------------------------------------------------------------------------------- */

struct node_batch {
    uint32_t *labels;
    size_t label_count;
    sombra_node_id first;
    size_t count;
    struct batch_records records; /* none if they wait */
    struct batch_rules rules;
    struct batch_late late; /* without columns: nothing waits */
    size_t label_bytes;     /* of each record, if they wait; txn->record begins with them */
};

static sombra_err build_nodes(struct graph_txn *txn, struct node_batch *batch,
                              struct batch_rows *rows)
{
    sombra_err err = record_begin_labels(txn, batch->labels, batch->label_count);
    const size_t label_bytes = txn->record.bytes;
    if (!err && rows_may_wait(&batch->rules, rows, label_bytes)) {
        batch->label_bytes = label_bytes;
        batch->late = (struct batch_late){ rows->columns, batch->first, batch->count };
        return rules_fill_unique(txn, &batch->rules, &batch->late);
    }
    if (!err)
        err = records_init(&batch->records, batch->count,
                           rows_bytes_likely(rows, label_bytes, batch->count));
    if (!err)
        err = rules_reserve(&batch->rules, batch->count);
    for (size_t i = 0; !err && i < batch->count; i++) {
        txn->record.bytes = label_bytes; /* the labels are those of all */
        err = txn_poll(txn, i);
        if (!err)
            err = rows_append(txn, rows, i);
        if (!err)
            err = rules_add(txn, &batch->rules, batch->first + i, true, rows, i);
        if (!err)
            err = records_add(&batch->records, txn);
        if (err)
            return diag_wrap(err, "number %zu of the batch", i + 1);
    }
    return err ? err : rules_check(txn, &batch->rules);
}

/* The records that waited. */
static sombra_err put_nodes_late(const struct node_batch *batch, struct put_run *run)
{
    sombra_err err = SOMBRA_OK;
    uint8_t *key;
    for (size_t i = 0; i < batch->count && !(err = put_run_begin(run, &key)); i++) {
        uint8_t *record = key_put_1(key, TAG_NODE, batch->first + i), *end;
        err = record_columns_write(run->txn, batch->late.columns, i, batch->label_bytes, record,
                                   &end);
        if (err)
            return err;
        put_run_end_both(run, record, end);
    }
    return err;
}

static sombra_err put_node_keys(const struct node_batch *batch, struct put_run *run)
{
    sombra_err err = SOMBRA_OK;
    uint8_t *key;
    if (batch->late.columns)
        err = put_nodes_late(batch, run);
    else
        for (size_t i = 0; i < batch->count && !(err = put_run_begin(run, &key)); i++)
            put_run_end(run, key_put_1(key, TAG_NODE, batch->first + i),
                        record_at(&batch->records, i));
    for (size_t label = 0; !err && label < batch->label_count; label++) {
        uint32_t id = batch->labels[label];
        for (size_t i = 0; i < batch->count && !(err = put_run_begin(run, &key)); i++)
            put_run_end(run, key_put_2(key, TAG_LABEL, id, batch->first + i), slice_of(NULL, 0));
    }
    return err ? err : put_run_flush(run);
}

static sombra_err put_nodes(struct graph_txn *txn, struct node_batch *batch)
{
    struct put_run run;
    txn->writes++;
    txn->counters_dirty = true;
    txn->next_node += batch->count;
    sombra_err err = put_run_init(&run, txn, batch->count);
    if (!err)
        err = records_expect(txn, &batch->records, &batch->late, batch->label_bytes);
    if (!err)
        err = put_node_keys(batch, &run);
    if (!err)
        err = rules_put(&batch->rules, &run, batch->late.columns ? &batch->late : NULL);
    put_run_release(&run);
    return err ? txn_break(txn, err) : SOMBRA_OK;
}

static sombra_err create_nodes(struct graph_txn *txn, const sombra_slice *labels,
                               size_t label_count, struct batch_rows *rows, size_t count,
                               sombra_node_id *out_first)
{
    struct node_batch batch = { .count = count };
    assert(labels || label_count == 0);
    size_t changes = changes_count(txn);
    batch.first = txn->next_node;
    batch.labels = mem_alloc((label_count + 1) * sizeof *batch.labels);
    if (!batch.labels)
        return diag_nomem("labels", label_count * sizeof *batch.labels);
    sombra_err err = ids_check(batch.first, count, "nodes");
    if (!err)
        err = node_labels(txn, labels, label_count, batch.labels, &batch.label_count);
    if (!err)
        err = rules_gather(txn, false, batch.labels, batch.label_count, &batch.rules);
    if (!err)
        err = build_nodes(txn, &batch, rows);
    if (!err)
        err = put_nodes(txn, &batch);
    records_release(&batch.records);
    rules_release_batch(&batch.rules);
    mem_free(batch.labels);
    if (err)
        changes_cut(txn, changes);
    else
        *out_first = batch.first;
    return err;
}

sombra_err graph_node_create_many(struct graph_txn *txn, const sombra_slice *labels,
                                  size_t label_count, const sombra_slice *properties, size_t count,
                                  sombra_node_id *out_first)
{
    struct batch_rows rows = { .maps = properties };
    assert(properties || count == 0);
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = create_nodes(txn, labels, label_count, &rows, count, out_first);
    return diag_wrap(err, "create nodes");
}

sombra_err graph_node_create_columns(struct graph_txn *txn, const sombra_slice *labels,
                                     size_t label_count, const sombra_columns *columns,
                                     sombra_node_id *out_first)
{
    struct record_columns set = { 0 };
    struct batch_rows rows = { .columns = &set };
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = record_columns_init(&set, txn, columns);
    if (!err)
        err = create_nodes(txn, labels, label_count, &rows, columns->count, out_first);
    record_columns_release(&set);
    return diag_wrap(err, "create nodes");
}

/* ---- edges ------------------------------------------------------------------------------- */

/* An edge as one of its adjacency keys has it. */
struct place {
    uint64_t node, other; /* source and target, or the other way round */
    size_t index;         /* in the batch */
};

static int place_order(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    if (left->node != right->node)
        return left->node < right->node ? -1 : 1;
    if (left->other != right->other)
        return left->other < right->other ? -1 : 1;
    return (left->index > right->index) - (left->index < right->index);
}

/* Sorting by digits of at most DIGIT_BITS_MAX, the lowest first: several times faster than
 * comparing, from some thousands on. */
enum { DIGIT_BITS_MAX = 13, COMPARE_BELOW = 4096 };

/* What places have above the least, as one number: that of the node before that of the other. */
struct packing {
    uint64_t node_least, other_least;
    unsigned bits, other_bits; /* of all, of the other's; more than 64: it cannot be done */
};

struct packed {
    uint64_t number;
    size_t index;
};

static unsigned bits_of(uint64_t number)
{
    return number ? 64 - (unsigned)__builtin_clzll(number) : 0;
}

static struct packing packing_of(const struct place *places, size_t count)
{
    struct place least = { .node = UINT64_MAX, .other = UINT64_MAX }, most = { 0 };
    for (size_t i = 0; i < count; i++) {
        least.node = u64_min(least.node, places[i].node);
        least.other = u64_min(least.other, places[i].other);
        most.node = u64_max(most.node, places[i].node);
        most.other = u64_max(most.other, places[i].other);
    }
    unsigned other_bits = bits_of(most.other - least.other);
    return (struct packing){ .node_least = least.node,
                             .other_least = least.other,
                             .bits = bits_of(most.node - least.node) + other_bits,
                             .other_bits = other_bits };
}

/* One digit; the order among equal ones stays. */
static void sort_digit(const struct packed *from, struct packed *to, size_t count, unsigned shift,
                       unsigned bits)
{
    uint32_t begins[1 << DIGIT_BITS_MAX], next = 0;
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    memset(begins, 0, sizeof *begins << bits);
    for (size_t i = 0; i < count; i++)
        begins[from[i].number >> shift & mask]++;
    for (size_t digit = 0; digit <= mask; digit++) {
        uint32_t equal = begins[digit];
        begins[digit] = next;
        next += equal;
    }
    for (size_t i = 0; i < count; i++)
        to[begins[from[i].number >> shift & mask]++] = from[i];
}

/* `spare` has room for all of them twice. The places are in batch order, and equal ones stay in
 * it. The digits are all of one width: fewer counters at once. */
static void sort_digits(struct place *places, size_t count, struct packing packing,
                        struct packed *spare)
{
    struct packed *from = spare, *to = spare + count;
    for (size_t i = 0; i < count; i++) {
        uint64_t node = places[i].node - packing.node_least;
        uint64_t other = places[i].other - packing.other_least;
        from[i] = (struct packed){ node << packing.other_bits | other, places[i].index };
    }
    unsigned digits = (packing.bits + DIGIT_BITS_MAX - 1) / DIGIT_BITS_MAX;
    unsigned width = (packing.bits + digits - 1) / digits;
    for (unsigned shift = 0; shift < packing.bits; shift += width) {
        sort_digit(from, to, count, shift, width);
        struct packed *sorted = to;
        to = from;
        from = sorted;
    }
    const uint64_t other_mask = (UINT64_C(1) << packing.other_bits) - 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t number = from[i].number;
        places[i] = (struct place){ .node = packing.node_least + (number >> packing.other_bits),
                                    .other = packing.other_least + (number & other_mask),
                                    .index = from[i].index };
    }
}

static void places_sort(struct place *places, size_t count)
{
    bool is_sorted = true;
    for (size_t i = 1; is_sorted && i < count; i++)
        is_sorted = place_order(&places[i - 1], &places[i]) < 0;
    if (is_sorted)
        return;
    bool can_pack = false;
    struct packing packing;
    if (count >= COMPARE_BELOW && count <= UINT32_MAX) {
        packing = packing_of(places, count);
        /* Ids are counted from 1: neither has all bits, or its shift by them would mean nothing. */
        can_pack = packing.bits <= 64 && packing.other_bits < 64;
    }
    struct packed *spare = can_pack ? mem_grow(NULL, 0, 2 * count * sizeof *spare) : NULL;
    if (spare)
        sort_digits(places, count, packing, spare);
    else
        qsort(places, count, sizeof *places, place_order);
    mem_free(spare);
}

static sombra_err nodes_exist(struct graph_txn *txn, const struct place *places, size_t count,
                              const char *end)
{
    for (size_t i = 0; i < count; i++) {
        bool exists = false;
        sombra_err err = txn_poll(txn, i);
        if (!err && i > 0 && places[i].node == places[i - 1].node)
            continue;
        if (!err)
            err = graph_node_exists(txn, places[i].node, &exists);
        if (!err && !exists)
            err = diag_fail(SOMBRA_NOT_FOUND, "the %s, node %" PRIu64 ", does not exist", end,
                            places[i].node);
        if (err)
            return diag_wrap(err, "number %zu of the batch", places[i].index + 1);
    }
    return SOMBRA_OK;
}

struct edge_batch {
    uint32_t type;
    sombra_edge_id first;
    struct batch_rows rows;
    const sombra_node_id *sources, *targets; /* if the rows have no edges */
    size_t count;
    struct place *outs, *ins;     /* sorted */
    struct batch_records records; /* in the order of `outs`; none if they wait */
    struct batch_rules rules;
    struct batch_late late; /* without columns: nothing waits */
};

static struct graph_edge ends_of(const void *context, size_t index)
{
    const struct edge_batch *batch = context;
    const sombra_new_edge *edges = batch->rows.edges;
    return (struct graph_edge){ .id = batch->first + index,
                                .src = edges ? edges[index].src : batch->sources[index],
                                .dst = edges ? edges[index].dst : batch->targets[index],
                                .type = batch->type };
}

static sombra_err places_new(const struct graph_txn *txn, const struct edge_batch *batch,
                             bool is_out, struct place **out_places)
{
    size_t bytes = (batch->count + 1) * sizeof **out_places;
    struct place *places = mem_grow(NULL, 0, bytes);
    if (!places)
        return diag_nomem("a batch of edges", bytes);
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < batch->count && !(err = txn_poll(txn, i)); i++) {
        const struct graph_edge edge = ends_of(batch, i);
        places[i] = (struct place){ .node = is_out ? edge.src : edge.dst,
                                    .other = is_out ? edge.dst : edge.src,
                                    .index = i };
    }
    if (err) {
        mem_free(places);
        return err;
    }
    places_sort(places, batch->count);
    *out_places = places;
    return SOMBRA_OK;
}

enum { PREFETCH_AHEAD = 16 };

static sombra_err build_edges(struct graph_txn *txn, struct edge_batch *batch)
{
    const sombra_new_edge *edges = batch->rows.edges;
    if (rows_may_wait(&batch->rules, &batch->rows, 0)) {
        batch->late = (struct batch_late){ batch->rows.columns, batch->first, batch->count };
        return rules_fill_unique(txn, &batch->rules, &batch->late);
    }
    sombra_err err = records_init(&batch->records, batch->count,
                                  rows_bytes_likely(&batch->rows, 0, batch->count));
    if (!err)
        err = rules_reserve(&batch->rules, batch->count);
    for (size_t i = 0; !err && i < batch->count; i++) {
        size_t index = batch->outs[i].index;
        if (edges && i + PREFETCH_AHEAD < batch->count) /* the order is not that of the batch */
            __builtin_prefetch(&edges[batch->outs[i + PREFETCH_AHEAD].index].properties);
        buf_reset(&txn->record);
        err = txn_poll(txn, i);
        if (!err)
            err = rows_append(txn, &batch->rows, index);
        if (!err)
            err = rules_add(txn, &batch->rules, batch->first + index, false, &batch->rows, index);
        if (!err)
            err = records_add(&batch->records, txn);
        if (err)
            return diag_wrap(err, "number %zu of the batch", index + 1);
    }
    return err ? err : rules_check(txn, &batch->rules);
}

static sombra_err check_edges(struct graph_txn *txn, struct edge_batch *batch)
{
    sombra_err err = ids_check(batch->first, batch->count, "edges");
    if (!err)
        err = places_new(txn, batch, true, &batch->outs);
    if (!err)
        err = places_new(txn, batch, false, &batch->ins);
    if (!err)
        err = nodes_exist(txn, batch->outs, batch->count, "source");
    if (!err)
        err = nodes_exist(txn, batch->ins, batch->count, "target");
    if (!err)
        err = rules_gather(txn, true, &batch->type, 1, &batch->rules);
    return err ? err : build_edges(txn, batch);
}

static sombra_err put_adjacency(const struct edge_batch *batch, struct put_run *run)
{
    sombra_err err = SOMBRA_OK;
    uint8_t *key;
    for (size_t i = 0; i < batch->count && !(err = put_run_begin(run, &key)); i++) {
        const struct place *at = &batch->outs[i];
        struct graph_edge edge = { batch->first + at->index, at->node, at->other, batch->type };
        uint8_t *record = key_put_out(key, &edge), *end;
        if (!batch->late.columns) {
            put_run_end(run, record, record_at(&batch->records, i));
            continue;
        }
        err = record_columns_write(run->txn, batch->late.columns, at->index, 0, record, &end);
        if (err)
            return err;
        put_run_end_both(run, record, end);
    }
    for (size_t i = 0; !err && i < batch->count && !(err = put_run_begin(run, &key)); i++) {
        const struct place *at = &batch->ins[i];
        struct graph_edge edge = { batch->first + at->index, at->other, at->node, batch->type };
        put_run_end(run, key_put_in(key, &edge), slice_of(NULL, 0));
    }
    return err;
}

static sombra_err put_edges(struct graph_txn *txn, struct edge_batch *batch)
{
    struct put_run run;
    txn->writes++;
    txn->counters_dirty = true;
    txn->next_edge += batch->count;
    sombra_err err = put_run_init(&run, txn, batch->count);
    if (!err)
        err = records_expect(txn, &batch->records, &batch->late, 0);
    if (!err)
        err = put_adjacency(batch, &run);
    if (!err)
        err = edge_ends_run(txn, &run, ends_of, batch,
                            (struct edge_range){ batch->first, batch->count });
    if (!err)
        err = put_run_flush(&run);
    if (!err)
        err = txn_type_add(txn, batch->type, (int64_t)batch->count);
    if (!err)
        err = rules_put(&batch->rules, &run, batch->late.columns ? &batch->late : NULL);
    put_run_release(&run);
    return err ? txn_break(txn, err) : SOMBRA_OK;
}

static sombra_err create_edges(struct graph_txn *txn, sombra_slice type, struct edge_batch *batch,
                               sombra_edge_id *out_first)
{
    size_t changes = changes_count(txn);
    batch->first = txn->next_edge;
    sombra_err err =
        diag_wrap(graph_name_intern(txn, SOMBRA_NAME_TYPE, type, &batch->type), "type");
    if (!err) /* what the store can do meanwhile it may begin with */
        err = kv_expect(txn->kv, rows_bytes_likely(&batch->rows, 0, batch->count));
    if (!err)
        err = check_edges(txn, batch);
    if (!err)
        err = put_edges(txn, batch);
    records_release(&batch->records);
    rules_release_batch(&batch->rules);
    mem_free(batch->outs);
    mem_free(batch->ins);
    if (err)
        changes_cut(txn, changes);
    else
        *out_first = batch->first;
    return err;
}

sombra_err graph_edge_create_many(struct graph_txn *txn, sombra_slice type,
                                  const sombra_new_edge *edges, size_t count,
                                  sombra_edge_id *out_first)
{
    struct edge_batch batch = { .rows = { .edges = edges }, .count = count };
    assert(edges || count == 0);
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = create_edges(txn, type, &batch, out_first);
    return diag_wrap(err, "create edges");
}

sombra_err graph_edge_create_columns(struct graph_txn *txn, sombra_slice type,
                                     const sombra_node_id *sources, const sombra_node_id *targets,
                                     const sombra_columns *columns, sombra_edge_id *out_first)
{
    struct record_columns set = { 0 };
    struct edge_batch batch = {
        .rows = { .columns = &set }, .sources = sources, .targets = targets, .count = columns->count
    };
    assert((sources && targets) || columns->count == 0);
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = record_columns_init(&set, txn, columns);
    if (!err)
        err = create_edges(txn, type, &batch, out_first);
    record_columns_release(&set);
    return diag_wrap(err, "create edges");
}
