/* SPDX-License-Identifier: MIT */
/* What a dense leaf must be, before any other call reads its bytes. */
#include "dense_internal.h"

/* The first bytes of an entry that begins with DENSE_UNUSUAL, in a page that has a usual length;
 * *at moves behind them. */
static const char *unusual_check(const uint8_t **at, const uint8_t *end, struct dense_entry *out)
{
    const uint8_t *unusual = *at;
    if (end - unusual < 2 || unusual[0] > DENSE_VALUE_BYTES_MAX)
        return "an entry's value length is out of bounds";
    if (unusual[0] == out->value_bytes)
        return "an entry tells the usual value length";
    out->value_bytes = unusual[0];
    out->shared = unusual[1] >> 4;
    out->suffix_bytes = unusual[1] & 15;
    *at = unusual + 2;
    return NULL;
}

/* Like dense_parse, within [at, end); a text says what is wrong. */
static inline const char *entry_check(const uint8_t *page, const uint8_t *at, const uint8_t *end,
                                      unsigned flags, struct dense_entry *out)
{
    size_t more;
    size_t key_bytes_max = KV_KEY_BYTES_MAX - cells_prefix_bytes(page);
    if (at >= end)
        return "a run ends before its last entry";
    const size_t form = *at++;
    out->value_bytes = dense_usual_bytes(flags);
    out->shared = form >> 4;
    out->suffix_bytes = form & 15;
    if (UNLIKELY(out->shared == DENSE_NIBBLE_MAX)) {
        if (form == DENSE_UNUSUAL && flags > DENSE_VALUES) {
            const char *wrong = unusual_check(&at, end, out);
            if (wrong)
                return wrong;
        }
        if (out->shared == DENSE_NIBBLE_MAX) {
            at = length_get_checked(at, end, &more);
            if (!at)
                return "an entry's shared length is not well formed";
            out->shared += more;
        }
    }
    if (UNLIKELY(out->suffix_bytes == DENSE_NIBBLE_MAX)) {
        at = length_get_checked(at, end, &more);
        if (!at)
            return "an entry's suffix length is not well formed";
        out->suffix_bytes += more;
    }
    if (flags == DENSE_VALUES) {
        if (at >= end || *at > DENSE_VALUE_BYTES_MAX)
            return "an entry's value length is out of bounds";
        out->value_bytes = *at++;
    }
    if (out->shared + out->suffix_bytes > key_bytes_max)
        return "a key is longer than 1024 bytes";
    if (out->suffix_bytes + out->value_bytes > (size_t)(end - at))
        return "an entry reaches past its run";
    out->suffix = at;
    out->value = at + out->suffix_bytes;
    return NULL;
}

/* The entry follows `before` in its run: greater, and not one byte more could be shared. */
static inline const char *order_check(const struct dense_entry *entry,
                                      const struct dense_key *before)
{
    if (entry->shared > before->bytes)
        return "an entry shares more than the key before it has";
    if (entry->suffix_bytes == 0)
        return "keys are not in ascending order";
    if (entry->shared < before->bytes && entry->suffix[0] <= before->data[entry->shared])
        return "keys are not in ascending order, or an entry shares less than it could";
    return NULL;
}

static const char *first_check(const uint8_t *page, unsigned run, const struct dense_entry *entry,
                               const struct dense_key *before)
{
    if (entry->shared != 0)
        return "the first entry of a run shares bytes";
    if (head_at(page + CELLS_HEADS, run) != head_of(entry->suffix, entry->suffix_bytes))
        return "a head differs from its key";
    if (run == 0 && entry->suffix_bytes + cells_prefix_bytes(page) == 0)
        return "a key of no bytes";
    if (run > 0 &&
        slice_compare(dense_key_slice(before), slice_of(entry->suffix, entry->suffix_bytes)) >= 0)
        return "runs are not in ascending order";
    return NULL;
}

static sombra_err run_validate(const uint8_t *page, size_t page_bytes, unsigned run,
                               struct dense_key *key)
{
    unsigned runs = dense_runs(page);
    unsigned first = dense_ordinal(page, runs, run);
    unsigned last = dense_run_last(page, runs, run);
    const uint8_t *at = page + slot_at(page, runs, run);
    const uint8_t *end = page + dense_run_end(page, page_bytes, runs, run);
    const unsigned flags = dense_flags(page);
    for (unsigned i = first; i < last; i++) {
        struct dense_entry entry;
        const char *wrong = entry_check(page, at, end, flags, &entry);
        if (!wrong)
            wrong = i == first ? first_check(page, run, &entry, key) : order_check(&entry, key);
        if (wrong)
            return page_corrupt(page, (size_t)(at - page), wrong);
        if (LIKELY(entry.suffix_bytes <= 16 && page + page_bytes - entry.suffix >= 16 &&
                   entry.shared <= sizeof key->data - 16)) {
            copy_16(key->data + entry.shared, entry.suffix);
            key->bytes = entry.shared + entry.suffix_bytes;
        } else {
            dense_key_apply(key, &entry);
        }
        at = entry.value + entry.value_bytes;
    }
    if (at != end)
        return page_corrupt(page, (size_t)(at - page), "a run is longer than its entries");
    return SOMBRA_OK;
}

/* Offsets fall, ordinals rise, and runs are as long as they may be. */
static sombra_err runs_validate(const uint8_t *page, size_t page_bytes)
{
    unsigned runs = dense_runs(page);
    unsigned count = cells_count(page);
    size_t end = cells_top(page, page_bytes);
    if ((runs == 0) != (count == 0) || runs > count)
        return page_corrupt(page, DENSE_RUNS, "runs do not go with the number of entries");
    for (unsigned run = 0; run < runs; run++) {
        size_t offset = slot_at(page, runs, run);
        unsigned first = dense_ordinal(page, runs, run);
        unsigned last = dense_run_last(page, runs, run);
        size_t slot = CELLS_HEADS + 4 * (size_t)runs + 2 * (size_t)run;
        if (offset >= end || offset < cells_low(page))
            return page_corrupt(page, slot, "a run is out of its place");
        if ((run == 0 && first != 0) || last <= first || last > count ||
            last - first > 2 * DENSE_INTERVAL)
            return page_corrupt(page, slot + 2 * (size_t)runs, "a run's ordinal is out of bounds");
        end = offset;
    }
    if (end != cells_low(page) || cells_holes(page) != 0)
        return page_corrupt(page, CELLS_LOW, "the runs do not fill their area");
    return SOMBRA_OK;
}

sombra_err dense_validate(const uint8_t *page, size_t page_bytes)
{
    sombra_err err = cells_validate_area(page, page_bytes, dense_arrays_end(page));
    if (!err && dense_flags(page) != 0 && !dense_has_values(page))
        err = page_corrupt(page, DENSE_FLAGS, "unknown flags");
    if (!err)
        err = runs_validate(page, page_bytes);
    struct dense_key key;
    key.bytes = 0;
    for (unsigned run = 0; !err && run < dense_runs(page); run++)
        err = run_validate(page, page_bytes, run, &key);
    return err;
}
