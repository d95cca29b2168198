/* SPDX-License-Identifier: MIT */
/* The tree as far as it goes, and the leaves that nothing leads to any more (the rule: salvage.c).
 */
#include "salvage_internal.h"

#include "overflow_format.h"

#include <stdlib.h>

/* ---- lost ranges ------------------------------------------------------------------------- */

static sombra_err range_add(struct salvage *salvage, size_t index, struct kv_range keys,
                            const uint64_t *entries)
{
    assert(index <= salvage->range_count);
    if (salvage->range_count == salvage->range_capacity) {
        size_t capacity = salvage->range_capacity ? salvage->range_capacity * 2 : 16;
        struct lost_range *grown = mem_realloc(salvage->ranges, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("lost ranges", capacity * sizeof *grown);
        salvage->ranges = grown;
        salvage->range_capacity = capacity;
    }
    struct lost_range range = { .low_bytes = keys.low.bytes, .high_bytes = keys.high.bytes };
    range.keys = mem_alloc(keys.low.bytes + keys.high.bytes);
    if (!range.keys)
        return diag_nomem("a lost range", keys.low.bytes + keys.high.bytes);
    if (keys.low.bytes)
        memcpy(range.keys, keys.low.data, keys.low.bytes);
    if (keys.high.bytes)
        memcpy(range.keys + keys.low.bytes, keys.high.data, keys.high.bytes);
    range.is_counted = entries != NULL;
    range.entries = entries ? *entries : 0;
    memmove(salvage->ranges + index + 1, salvage->ranges + index,
            (salvage->range_count - index) * sizeof range);
    salvage->ranges[index] = range;
    salvage->range_count++;
    return SOMBRA_OK;
}

static sombra_slice range_low(const struct lost_range *range)
{
    return slice_of(range->keys, range->low_bytes);
}
static sombra_slice range_high(const struct lost_range *range)
{
    return slice_of(range->keys + range->low_bytes, range->high_bytes);
}

/* The lost range that the key is in and another leaf may fill, or NULL. */
static struct lost_range *range_find(struct salvage *salvage, sombra_slice key)
{
    size_t low = 0, high = salvage->range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(range_low(&salvage->ranges[middle]), key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    struct lost_range *range = low ? &salvage->ranges[low - 1] : NULL;
    if (!range || range->is_closed ||
        (range->high_bytes && slice_compare(key, range_high(range)) >= 0))
        return NULL;
    return range;
}

/* ---- entries ----------------------------------------------------------------------------- */

/* The value's run, proved. One newer than the leaf that names it belongs to something else. */
static sombra_err value_read(struct salvage *salvage, const struct leaf_value *value,
                             uint64_t leaf_txn, sombra_slice *out)
{
    page_id id = value->overflow;
    uint64_t bytes = value->overflow_bytes;
    if (bytes > KV_VALUE_BYTES_MAX || id < salvage->first_page || id >= salvage->page_count ||
        OVERFLOW_AT + bytes > (salvage->page_count - id) * salvage->page_bytes)
        return diag_fail(SOMBRA_CORRUPT,
                         "a value of %" PRIu64 " bytes at page %" PRIu64
                         " reaches beyond the file's end",
                         bytes, id);
    buf_reset(&salvage->value);
    uint8_t *run;
    sombra_err err = buf_extend(&salvage->value, OVERFLOW_AT + (size_t)bytes, &run);
    if (!err)
        err = os_read(salvage->file, id * salvage->page_bytes, run, OVERFLOW_AT + (size_t)bytes);
    if (err)
        return err;
    if (page_number(run) != id || run[PAGE_KIND] != PAGE_OVERFLOW || page_txn(run) > leaf_txn ||
        get_le32(run + PAGE_SEAL) != PAGE_SEALED || get_le64(run + OVERFLOW_VALUE_BYTES) != bytes)
        return diag_fail(SOMBRA_CORRUPT,
                         "page %" PRIu64 ": not the head of a value of %" PRIu64 " bytes", id,
                         bytes);
    uint32_t crc = crc32_update(0, run + PAGE_NUMBER, OVERFLOW_AT - PAGE_NUMBER + (size_t)bytes);
    if (crc != get_le32(run + PAGE_CRC))
        return diag_fail(SOMBRA_CORRUPT,
                         "page %" PRIu64 ": checksum of the value is %08" PRIx32
                         ", stored is %08" PRIx32,
                         id, crc, get_le32(run + PAGE_CRC));
    *out = slice_of(run + OVERFLOW_AT, (size_t)bytes);
    return SOMBRA_OK;
}

/* *out_is_written false: its value is damaged, and the entry is left out. */
static sombra_err entry_write(struct salvage *salvage, sombra_slice key,
                              const struct leaf_value *value, uint64_t leaf_txn,
                              bool *out_is_written)
{
    sombra_slice bytes = value->bytes;
    *out_is_written = false;
    if (key.bytes == 0) {
        (void)diag_fail(SOMBRA_CORRUPT, "an entry without a key");
        salvage_problem(salvage, SOMBRA_CORRUPT, 0);
        return SOMBRA_OK;
    }
    if (value->overflow) {
        sombra_err err = value_read(salvage, value, leaf_txn, &bytes);
        if (err && !salvage_is_damage(err))
            return err;
        if (err) {
            salvage->report.values_lost++;
            salvage_problem(salvage, err, value->overflow);
            return SOMBRA_OK;
        }
    }
    sombra_err err = target_put(&salvage->target, key, bytes);
    if (err)
        return err;
    salvage->report.entries++;
    *out_is_written = true;
    return SOMBRA_OK;
}

/* ---- the walk ---------------------------------------------------------------------------- */

/* What a page must be for its parent, or for the meta record. */
struct expected {
    page_id id;
    unsigned level;
    uint64_t txn_max;
    uint64_t entries;
    bool is_counted;
    struct kv_range keys;
};

static sombra_err leaf_walk(struct salvage *salvage, const uint8_t *page,
                            const struct expected *expected)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    unsigned count = page_count(page);
    if (expected->is_counted && count != expected->entries) {
        (void)diag_fail(SOMBRA_CORRUPT, "page %" PRIu64 " has %u entries, counted as %" PRIu64,
                        expected->id, count, expected->entries);
        salvage_problem(salvage, SOMBRA_CORRUPT, expected->id);
    }
    for (unsigned i = 0; i < count && !salvage->is_trial; i++) {
        struct leaf_value value;
        bool is_written;
        size_t bytes = leaf_key_at(page, salvage->page_bytes, i, key);
        if (!salvage->first_bytes) {
            memcpy(salvage->first, key, bytes);
            salvage->first_bytes = bytes;
        }
        if (i + 1 == count) {
            memcpy(salvage->last, key, bytes);
            salvage->last_bytes = bytes;
        }
        leaf_value_at(page, salvage->page_bytes, i, &value);
        sombra_err err =
            entry_write(salvage, slice_of(key, bytes), &value, page_txn(page), &is_written);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

static sombra_err page_walk(struct salvage *salvage, const struct expected *expected);

static sombra_err branch_walk(struct salvage *salvage, const uint8_t *page,
                              const struct expected *expected)
{
    uint8_t bounds[2][KV_KEY_BYTES_MAX];
    size_t page_bytes = salvage->page_bytes;
    unsigned count = page_count(page);
    struct expected child = { .level = expected->level - 1,
                              .txn_max = page_txn(page),
                              .is_counted = true };
    child.keys.low = expected->keys.low;
    for (unsigned i = 0; i < count; i++) {
        child.keys.high = expected->keys.high;
        if (i + 1 < count)
            child.keys.high =
                slice_of(bounds[i % 2], branch_separator(page, page_bytes, i + 1, bounds[i % 2]));
        child.id = branch_child(page, page_bytes, i);
        child.entries = branch_entries(page, page_bytes, i);
        sombra_err err = page_walk(salvage, &child);
        if (err)
            return err;
        child.keys.low = child.keys.high;
    }
    return SOMBRA_OK;
}

/* The page in the image of its level, if it is what it must be. */
static sombra_err page_take(struct salvage *salvage, const struct expected *expected)
{
    uint8_t *page = salvage_image(salvage, expected->level);
    page_id id = expected->id;
    sombra_err err = salvage_read_tree(salvage, id, page);
    if (err)
        return err;
    if (page_level(page) != expected->level || page_txn(page) > expected->txn_max)
        return diag_fail(SOMBRA_CORRUPT,
                         "page %" PRIu64 " is of level %u and txn %" PRIu64
                         ", expected level %u and at most txn %" PRIu64,
                         id, page_level(page), page_txn(page), expected->level, expected->txn_max);
    if (salvage->facts[id].is_seen)
        return diag_fail(SOMBRA_CORRUPT, "page %" PRIu64 " is in use twice", id);
    salvage->facts[id].is_seen = true;
    return SOMBRA_OK;
}

static sombra_err page_walk(struct salvage *salvage, const struct expected *expected)
{
    sombra_err err = salvage_progress(salvage);
    if (err)
        return err;
    err = page_take(salvage, expected);
    if (err && !salvage_is_damage(err))
        return err;
    if (err) {
        salvage_problem(salvage, err, expected->id);
        if (salvage->is_trial)
            return SOMBRA_OK;
        err = range_add(salvage, salvage->range_count, expected->keys,
                        expected->is_counted ? &expected->entries : NULL);
        if (!err)
            salvage->ranges[salvage->range_count - 1].is_closed = expected->level == 0;
        return err;
    }
    const uint8_t *page = salvage_image(salvage, expected->level);
    return expected->level ? branch_walk(salvage, page, expected)
                           : leaf_walk(salvage, page, expected);
}

/* A guessed root may be a part of the tree: what lies before and behind it may be lost too. */
static sombra_err edges_add(struct salvage *salvage)
{
    sombra_slice first = slice_of(salvage->first, salvage->first_bytes);
    sombra_slice none = { 0 };
    bool has_low = salvage->range_count && !salvage->ranges[0].low_bytes;
    bool has_high = salvage->range_count && !salvage->ranges[salvage->range_count - 1].high_bytes;
    sombra_err err = SOMBRA_OK;
    if (!salvage->first_bytes)
        return has_low && has_high && salvage->range_count == 1
                   ? SOMBRA_OK
                   : range_add(salvage, 0, (struct kv_range){ none, none }, NULL);
    if (!has_low)
        err = range_add(salvage, 0, (struct kv_range){ none, first }, NULL);
    if (err || has_high || salvage->last_bytes == KV_KEY_BYTES_MAX)
        return err;
    /* The key right behind the last. */
    salvage->last[salvage->last_bytes] = 0;
    sombra_slice behind = slice_of(salvage->last, salvage->last_bytes + 1);
    return range_add(salvage, salvage->range_count, (struct kv_range){ behind, none }, NULL);
}

sombra_err salvage_walk(struct salvage *salvage)
{
    const struct salvage_state *state = &salvage->state;
    if (!state->root && !state->is_guess)
        return SOMBRA_OK; /* it was empty */
    if (!state->root) {
        (void)diag_fail(SOMBRA_CORRUPT, "no page of a tree can be read");
        salvage_problem(salvage, SOMBRA_CORRUPT, 0);
        return SOMBRA_OK;
    }
    const struct expected root = { .id = state->root,
                                   .level = state->level,
                                   .txn_max = state->txn,
                                   .entries = state->entries,
                                   .is_counted = !state->is_guess };
    sombra_err err = page_walk(salvage, &root);
    return !err && state->is_guess ? edges_add(salvage) : err;
}

sombra_err salvage_try(struct salvage *salvage, const struct salvage_state *state,
                       bool *out_is_whole)
{
    uint64_t done = salvage->done;
    salvage->state = *state;
    salvage->is_trial = true;
    salvage->trial_damage = 0;
    sombra_err err = salvage_walk(salvage);
    salvage->is_trial = false;
    salvage->done = done;
    for (page_id id = 0; id < salvage->page_count; id++)
        salvage->facts[id].is_seen = false;
    if (!err)
        *out_is_whole = salvage->trial_damage == 0;
    return err;
}

/* ---- leaves that nothing leads to -------------------------------------------------------- */

/* The keys that leaves looked at before answer for: a store in memory, first key to last key, no
 * two of which overlap. */
struct claims {
    struct kv *kv;
    struct kv_txn *txn;
    struct kv_cursor *cursor;
};

static sombra_err claims_init(struct claims *claims)
{
    *claims = (struct claims){ .kv = NULL };
    const struct btree_options options = { .no_background = true };
    const struct kv_begin_options begin = { .is_write = true };
    sombra_err err = btree_open(os_posix(), BTREE_MEMORY, &options, &claims->kv);
    if (!err)
        err = kv_begin(claims->kv, &begin, &claims->txn);
    if (!err)
        err = kv_cursor_open(claims->txn, (struct kv_range){ 0 }, &claims->cursor);
    return err;
}

static void claims_release(struct claims *claims)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    kv_cursor_close(claims->cursor);
    if (claims->txn)
        kv_abort(claims->txn);
    if (claims->kv) {
        sombra_err ignored = kv_close(claims->kv);
        (void)ignored; /* it has no file */
    }
    diag_restore(text);
}

static sombra_err claims_cover(struct claims *claims, sombra_slice key, bool *out_is_covered)
{
    bool found;
    sombra_err err = kv_cursor_move(claims->cursor, KV_SEEK_LE, key, &found);
    if (!err)
        *out_is_covered = found && slice_compare(key, claims->cursor->entry.value) <= 0;
    return err;
}

/* Adds [low, high] and joins what it touches. */
static sombra_err claims_add(struct claims *claims, sombra_slice low, sombra_slice high)
{
    uint8_t low_key[KV_KEY_BYTES_MAX], high_key[KV_KEY_BYTES_MAX], at[KV_KEY_BYTES_MAX];
    size_t low_bytes = low.bytes, high_bytes = high.bytes;
    memcpy(low_key, low.data, low_bytes);
    memcpy(high_key, high.data, high_bytes);
    bool found;
    sombra_err err = kv_cursor_move(claims->cursor, KV_SEEK_LE, low, &found);
    if (!err && found && slice_compare(low, claims->cursor->entry.value) <= 0) {
        low_bytes = claims->cursor->entry.key.bytes;
        memcpy(low_key, claims->cursor->entry.key.data, low_bytes);
    }
    for (;;) {
        if (!err)
            err = kv_cursor_move(claims->cursor, KV_SEEK_GE, slice_of(low_key, low_bytes), &found);
        if (err || !found)
            break;
        sombra_slice key = claims->cursor->entry.key, value = claims->cursor->entry.value;
        if (slice_compare(key, slice_of(high_key, high_bytes)) > 0)
            break;
        if (slice_compare(value, slice_of(high_key, high_bytes)) > 0) {
            high_bytes = value.bytes;
            memcpy(high_key, value.data, high_bytes);
        }
        size_t at_bytes = key.bytes;
        memcpy(at, key.data, at_bytes);
        err = kv_delete(claims->txn, slice_of(at, at_bytes));
    }
    return err ? err
               : kv_put(claims->txn, slice_of(low_key, low_bytes), slice_of(high_key, high_bytes));
}

static sombra_err leaf_recover(struct salvage *salvage, struct claims *claims, page_id id)
{
    uint8_t *page = salvage_image(salvage, 0);
    uint8_t key[KV_KEY_BYTES_MAX], last[KV_KEY_BYTES_MAX];
    sombra_err err = salvage_read_tree(salvage, id, page);
    if (err)
        return salvage_is_damage(err) ? SOMBRA_OK : err;
    unsigned count = page_count(page);
    for (unsigned i = 0; i < count; i++) {
        sombra_slice at = slice_of(key, leaf_key_at(page, salvage->page_bytes, i, key));
        struct lost_range *range = range_find(salvage, at);
        bool is_covered = false, is_written = false;
        struct leaf_value value;
        if (range)
            err = claims_cover(claims, at, &is_covered);
        if (err)
            return err;
        if (!range || is_covered)
            continue;
        leaf_value_at(page, salvage->page_bytes, i, &value);
        err = entry_write(salvage, at, &value, page_txn(page), &is_written);
        if (err)
            return err;
        range->found++; /* the key; a value that is lost is counted as such */
        salvage->report.entries_unreached += is_written;
        if (salvage->facts[id].use == USE_UNKNOWN)
            salvage->report.entries_uncertain += is_written;
    }
    if (count == 0)
        return SOMBRA_OK;
    size_t first_bytes = leaf_key_at(page, salvage->page_bytes, 0, key);
    size_t last_bytes = leaf_key_at(page, salvage->page_bytes, count - 1, last);
    return claims_add(claims, slice_of(key, first_bytes), slice_of(last, last_bytes));
}

struct unreached {
    page_id id;
    uint64_t txn;
    bool is_certain;
};

/* Leaves that the maps call used, then the newest. */
static int unreached_compare(const void *a, const void *b)
{
    const struct unreached *left = a, *right = b;
    if (left->is_certain != right->is_certain)
        return left->is_certain ? -1 : 1;
    if (left->txn != right->txn)
        return left->txn > right->txn ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

static bool is_candidate(const struct salvage *salvage, page_id id)
{
    const struct page_fact *fact = &salvage->facts[id];
    return (fact->kind == PAGE_LEAF || fact->kind == PAGE_DENSE) && !fact->is_seen &&
           fact->use != USE_NO && fact->txn <= salvage->state.txn;
}

static sombra_err leaves_recover(struct salvage *salvage, const struct unreached *leaves,
                                 size_t count)
{
    struct claims claims;
    sombra_err err = claims_init(&claims);
    for (size_t i = 0; i < count && !err; i++) {
        err = salvage_progress(salvage);
        if (!err)
            err = leaf_recover(salvage, &claims, leaves[i].id);
    }
    claims_release(&claims);
    return err;
}

sombra_err salvage_unreached(struct salvage *salvage)
{
    size_t count = 0;
    if (salvage->range_count == 0)
        return SOMBRA_OK;
    for (page_id id = salvage->first_page; id < salvage->page_count; id++)
        count += is_candidate(salvage, id);
    if (count == 0)
        return SOMBRA_OK;
    struct unreached *leaves = mem_alloc(count * sizeof *leaves);
    if (!leaves)
        return diag_nomem("unreached leaves", count * sizeof *leaves);
    size_t at = 0;
    for (page_id id = salvage->first_page; id < salvage->page_count; id++)
        if (is_candidate(salvage, id))
            leaves[at++] = (struct unreached){ .id = id,
                                               .txn = salvage->facts[id].txn,
                                               .is_certain = salvage->facts[id].use == USE_YES };
    qsort(leaves, count, sizeof *leaves, unreached_compare);
    sombra_err err = leaves_recover(salvage, leaves, count);
    mem_free(leaves);
    return err;
}
