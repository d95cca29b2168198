/* SPDX-License-Identifier: MIT */
/* page: operations on one page image; no file, no allocation of pages, no locks.
 *
 * A page image is `page_bytes` bytes (a power of two, 4 KiB to 64 KiB) at an address aligned to 8.
 * Three kinds hold the tree: general leaves, dense leaves for short alike entries, and branches.
 * Both leaf kinds answer the same calls; a leaf is made general or dense when it is built (first
 * insert, split, merge), by what takes fewer bytes, and a dense leaf that gets an entry unfit for
 * it says "does not fit" and is rebuilt by the split.
 *
 * Trust: every function but the validators believes the image. page_validate proves an image from
 * disk, once; after it no call reads or writes outside the image, whatever the bytes say.
 *
 * Threads: images are read by many; written by one thread, which nobody reads beside.
 */
#ifndef BTREE_PAGE_H
#define BTREE_PAGE_H

#include "base/base.h"
#include "kv/kv.h"
#include "page_format.h"

typedef uint64_t page_id; /* 48 bits on disk; 0 is the meta area, so it means "none" */

/* What a leaf stores for a key: the bytes, or where the overflow run that holds them begins. */
struct leaf_value {
    sombra_slice bytes;      /* inline; unused when overflow is set */
    page_id overflow;        /* first page of the run; 0 = inline */
    uint64_t overflow_bytes; /* length of the value there */
};

struct leaf_entry {
    sombra_slice key;
    struct leaf_value value;
};

/* ---- every page: the first 24 bytes (page_format.h) -------------------------------------- */

void page_init(uint8_t *page, size_t page_bytes, enum page_kind kind, unsigned level, page_id id,
               uint64_t txn);
static inline enum page_kind page_kind(const uint8_t *page)
{
    return (enum page_kind)page[PAGE_KIND];
}
static inline unsigned page_level(const uint8_t *page) /* 0 = leaf */
{
    return page[PAGE_LEVEL];
}
static inline page_id page_number(const uint8_t *page)
{
    return get_le48(page + PAGE_NUMBER);
}
static inline uint64_t page_txn(const uint8_t *page) /* that wrote it */
{
    return get_le64(page + PAGE_TXN);
}
void page_set_identity(uint8_t *page, page_id id, uint64_t txn); /* of a copy; marks it unsealed */
/* Computes the checksum and stores it with the sealed flag in one aligned 8-byte store. */
void page_seal(uint8_t *page, size_t page_bytes);
bool page_is_sealed(const uint8_t *page);
/* Copies the used bytes of a tree page only (LMDB's trick: pages are some 70 % full), leaves out
 * holes that are many, and its seal: page_set_identity follows, but where `to` is the same page. */
void page_copy(uint8_t *to, const uint8_t *from, size_t page_bytes);

/* Proves header, checksum (unless the page is unsealed and `may_be_unsealed`), bounds, order and
 * counts of a tree page. CORRUPT with page number, offset and expectation. */
sombra_err page_validate(const uint8_t *page, size_t page_bytes, page_id id,
                         bool may_be_unsealed) SOMBRA_MUST_CHECK;
/* Entries of a leaf, children of a branch. */
unsigned page_count(const uint8_t *page);
/* Of a tree page: where its cells begin, which reach to the page's end; <= page_bytes. */
size_t page_cells_low(const uint8_t *page);
/* Bytes in use, header and arrays included, holes not; <= page_bytes. */
size_t page_used(const uint8_t *page, size_t page_bytes);

/* ---- leaves ------------------------------------------------------------------------------ */

/* Values larger than this, about a quarter page, go to an overflow run. Two entries of the longest
 * key and value share the smallest page, and four children with the longest separators a branch. */
size_t leaf_inline_max(size_t page_bytes);

/* True and the index of `key`, or false and the index where it would stand. */
bool leaf_find(const uint8_t *page, size_t page_bytes, sombra_slice key, unsigned *out_index);
/* The value of `key`, if it is there. */
bool leaf_get(const uint8_t *page, size_t page_bytes, sombra_slice key, struct leaf_value *out);

/* A key, and its first 8 bytes as a number, most significant first, with zeros behind a shorter
 * one.
 */
struct page_key {
    sombra_slice bytes;
    uint64_t word;
};
/* Of 1 to KV_KEY_BYTES_MAX bytes. */
static inline struct page_key page_key_of(sombra_slice key)
{
    const uint8_t *at = key.data;
    const size_t bytes = key.bytes, middle = bytes / 2, last = bytes - 1;
    struct page_key out = { .bytes = key };
    assert(bytes >= 1 && bytes <= KV_KEY_BYTES_MAX);
    if (bytes >= 8) /* of fewer each is in its place, some of them twice */
        out.word = get_be64(at);
    else if (LIKELY(bytes >= 4))
        out.word = (uint64_t)get_be32(at) << 32 | (uint64_t)get_be32(at + bytes - 4)
                                                      << 8 * (8 - bytes);
    else
        out.word = (uint64_t)at[0] << 56 | (uint64_t)at[middle] << (56 - 8 * middle) |
                   (uint64_t)at[last] << (56 - 8 * last);
    return out;
}

/* leaf_get in three steps, for who has many keys: between them, what the next one reads is on its
 * way. The caller sets page and key. */
struct leaf_seek {
    const uint8_t *page;
    const struct page_key *key;
    const uint8_t *cell; /* of the first entry with the key's head; NULL = none */
    uint32_t head;       /* of the key behind the page's prefix */
    unsigned rest_bytes; /* behind the prefix; 0 = no head is told, and leaf_get answers */
    unsigned index;      /* where the entry may be; until leaf_seeks_fetch */
};
void leaf_seeks_begin(struct leaf_seek *seeks, size_t count, size_t page_bytes);
void leaf_seeks_fetch(struct leaf_seek *seeks, size_t count);
bool leaf_seek_end(const struct leaf_seek *seek, size_t page_bytes, struct leaf_value *out);

/* Where a search ended, for those who go on from there with the same key and the same page. */
struct leaf_place {
    unsigned index;    /* as leaf_find's */
    const uint8_t *at; /* dense: that entry, encoded; NULL = not known */
    unsigned run;      /* dense: that it is in */
    size_t matched;    /* bytes behind the page's prefix that key and entry before have in common */
};
bool leaf_find_place(const uint8_t *page, size_t page_bytes, sombra_slice key,
                     struct leaf_place *out_place);
/* The index of `high`, or where it would stand, from the place of `low`, which is below it. */
unsigned leaf_find_end(const uint8_t *page, size_t page_bytes, const struct leaf_place *place,
                       sombra_slice low, sombra_slice high);
/* True if `key` stands behind every key of the leaf; false if it does not, or if that takes more
 * than a glance. */
bool leaf_is_behind(const uint8_t *page, size_t page_bytes, sombra_slice key);
/* Inserts behind the last entry; false if the key is not seen to be behind it at a glance, or if
 * there is no room at once: then nothing changed. */
bool leaf_append(uint8_t *page, size_t page_bytes, sombra_slice key,
                 const struct leaf_value *value);
void leaf_value_at(const uint8_t *page, size_t page_bytes, unsigned index, struct leaf_value *out);
/* Copies the whole key to `to` (KV_KEY_BYTES_MAX bytes) and returns its length. */
size_t leaf_key_at(const uint8_t *page, size_t page_bytes, unsigned index, uint8_t *to);

/* Insert at the index leaf_find gave; false = does not fit (nothing changed): split. key and
 * value never point into the page. */
bool leaf_insert(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                 const struct leaf_value *value);
/* How much of the leaf's gap, which lies between its slots and its cells, leaf_insert would take,
 * or with `replaces` leaf_replace; SIZE_MAX: it may move more than slots, or does not fit. None is
 * taken by a value as long as the one it replaces: its bytes are written over. */
size_t leaf_gap_wanted(const uint8_t *page, size_t page_bytes, unsigned index, bool replaces,
                       sombra_slice key, const struct leaf_value *value);
size_t leaf_gap(const uint8_t *page); /* not of a dense one */
/* Would it fit, without moving more than slots? False may be said of what fits. */
bool leaf_has_place(const uint8_t *page, size_t page_bytes, unsigned index, bool replaces,
                    sombra_slice key, const struct leaf_value *value);
/* Other value for the same key; false = does not fit, nothing changed. */
bool leaf_replace(uint8_t *page, size_t page_bytes, unsigned index, const struct leaf_value *value);
/* Is it a leaf that loses this entry by its slot alone, and is not thin then? */
bool leaf_may_lose(const uint8_t *page, size_t page_bytes, unsigned index);
/* A page emptier than one in so many is merged with a neighbour if both fit into one. */
enum { MERGE_BELOW_DIVISOR = 3 };
/* Removes entries [first, last). */
void leaf_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last);

/* Writes the entries of `page`, with one more inserted at `index` (or replacing the one there), to
 * two fresh images `left` and `right` (headers initialised by the caller's ids later; level 0).
 * Picks the split point: at the edge when `index` is at either end of the leaf (sequential load
 * leaves full pages), behind the entry if it ends a run, else the one that balances bytes,
 * preferring a shorter separator near it. Writes the truncated separator (> every left key, <=
 * every right key) to `separator` (KV_KEY_BYTES_MAX bytes). Three pages may be needed when one big
 * entry stands in the middle: then *out_pages is 3 and `middle` is used, with separator2 between
 * middle and right. */
struct leaf_split {
    uint8_t *left, *middle, *right; /* caller's scratch images, page_bytes each; none is `page` */
    uint8_t separator[KV_KEY_BYTES_MAX]; /* between left and the next */
    size_t separator_bytes;
    uint8_t separator2[KV_KEY_BYTES_MAX]; /* between middle and right, for 3 pages */
    size_t separator2_bytes;
    bool replaces;  /* in: the entry stands for the one at `index` */
    bool ends_run;  /* in: the entry follows others put one behind the other, inside the leaf: a
                       sequential load below what is there already */
    unsigned pages; /* out: 2 or 3; or 1: rebuilt in `left` alone, it fits in the other format */
};
void leaf_split(const uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                const struct leaf_value *value, struct leaf_split *split);
/* Is an entry inserted at `index` the next of a sequential load, whose full pages stay full? */
bool leaf_splits_at_edge(const uint8_t *page, unsigned index);
/* Builds one leaf of both in `to`; false when they do not fit in one (nothing to use in `to`). */
bool leaf_merge(const uint8_t *left, const uint8_t *right, size_t page_bytes, uint8_t *to);
/* Spreads the entries of two neighbours over them evenly: fresh images and their separator. */
void leaf_balance(const uint8_t *left, const uint8_t *right, size_t page_bytes,
                  struct leaf_split *split);
/* The same in place, for leaves of large entries that stay of their kind: the plan gives how many
 * entries of both stay left, and their separator; 0 = it cannot be done so. */
unsigned leaf_balance_plan(const uint8_t *left, const uint8_t *right, size_t page_bytes,
                           struct leaf_split *split);
void leaf_balance_move(uint8_t *left, uint8_t *right, size_t page_bytes, unsigned cut);
/* Moves entries of `right` to `left` until that has about `fill_bytes`: fresh images and their
 * separator. False when there is no room for any, or `right` would be empty (nothing to use). */
bool leaf_fill(const uint8_t *left, const uint8_t *right, size_t page_bytes, size_t fill_bytes,
               struct leaf_split *split);

/* Entries out of which a row of leaves is built (leaf_pack.c): whole keys, ascending. */
struct leaf_row {
    const struct leaf_entry *entries;
    const uint16_t *shared; /* bytes that each key has in common with the one before it */
    unsigned count;
    size_t page_bytes;
};
/* What one of those leaves takes. */
struct leaf_cut {
    unsigned first, count; /* entries [first, first + count), at least one */
    size_t bytes;          /* page_used, or a little more */
    size_t prefix_bytes;
    bool is_dense;
    uint8_t dense_flags; /* then: how it tells the lengths of values */
};
/* The leaf that begins at `first`: as many entries as fit into `fill_bytes`, in the better kind. */
void leaf_row_cut(const struct leaf_row *row, unsigned first, size_t fill_bytes,
                  struct leaf_cut *out);
/* A fresh image, as leaf_split makes them. */
void leaf_row_build(const struct leaf_row *row, const struct leaf_cut *cut, uint8_t *to);
/* The leaf ends in entries that were put one behind the other. */
void leaf_mark_appended(uint8_t *page);

/* Walks a leaf, decoding as it goes. Filled by leaf_iter_seek; the page must not change
 * under it. Not to be copied: `suffix` may point into it. */
struct leaf_iter {
    const uint8_t *page;
    size_t page_bytes;
    unsigned index, count;
    sombra_slice prefix; /* of all keys of the page; in the page */
    sombra_slice suffix; /* of the current key; in the page (general) or in `decoded` (dense) */
    struct leaf_value value;
    const uint8_t *at;      /* dense: the next encoded entry */
    unsigned run, run_left; /* dense: run, entries of it behind the current one */
    uint8_t decoded[KV_KEY_BYTES_MAX];
};
/* Positions on entry `index` (< count). */
void leaf_iter_seek(struct leaf_iter *iter, const uint8_t *page, size_t page_bytes, unsigned index);
/* The same at the place of `key`, whose index is below the count. */
void leaf_iter_enter(struct leaf_iter *iter, const uint8_t *page, size_t page_bytes,
                     const struct leaf_place *place, sombra_slice key);
/* False at the end; the iterator then stays where it was. */
bool leaf_iter_next(struct leaf_iter *iter);

/* A batch: suffixes of keys behind `prefix`, and their values. */
struct leaf_batch {
    struct kv_entry *entries; /* the caller's, `capacity` of them; filled backwards from the
                                 capacity-th if `is_backward` */
    unsigned capacity;
    bool is_backward;
    const struct leaf_place *place; /* of `place_key`, for reading forward from it; or NULL */
    sombra_slice place_key;
    bool has_overflows;  /* out: values with data == NULL are in overflow runs (leaf_value_at) */
    sombra_slice prefix; /* out: of all keys of the page; in the page */
    uint8_t *room;       /* the caller's, for decoded suffixes of dense leaves (leaf_room_bytes) */
    size_t room_bytes;
};
/* Enough of it for so many entries of the usual kind, and for one of any. */
static inline size_t leaf_room_bytes(unsigned capacity)
{
    return KV_KEY_BYTES_MAX + 48 * (size_t)capacity;
}
/* Decodes entries from `index` on; returns how many. General leaves are borrowed in place; dense
 * suffixes are decoded into the room, which ends the batch early when full, but not at zero
 * entries if it has KV_KEY_BYTES_MAX bytes. */
unsigned leaf_read(const uint8_t *page, size_t page_bytes, unsigned index,
                   struct leaf_batch *batch);
/* Keys as kv_words has them. */
struct leaf_words {
    sombra_slice within;
    const struct leaf_place *place; /* of `within`: the first of them is read next; or NULL */
    sombra_slice before;            /* else the key of the entry before, unless that is none */
    uint64_t *words;
    uint8_t *bytes;
    size_t capacity;
    bool is_over; /* out: the next entry does not begin with `within` */
    bool is_long; /* out: it does, and has more than KV_WORD_BYTES behind it */
};
/* Reads from the entry `index` on, which may be the leaf's count; how many. Fewer than there is
 * room for, and neither flag set: the leaf is at its end. */
unsigned leaf_read_words(const uint8_t *page, size_t page_bytes, unsigned index,
                         struct leaf_words *words);
/* Does the leaf have suffixes to decode? Else the room is not used. */
bool leaf_read_needs_room(const uint8_t *page);

/* ---- branches ---------------------------------------------------------------------------- */

/* A branch of n children has n - 1 separators: child i holds keys k with separator[i-1] <= k <
 * separator[i]. With each child stands the number of entries below it (48 bits). */

struct branch_child {
    page_id id;
    uint64_t entries; /* below it */
};

/* The child to descend to for `key`. */
unsigned branch_find(const uint8_t *page, size_t page_bytes, sombra_slice key);
/* For many keys; `ascend`: they do, each above the one before. */
void branch_find_many(const uint8_t *page, size_t page_bytes, const struct page_key *keys,
                      size_t count, bool ascend, page_id *out_children);
page_id branch_child(const uint8_t *page, size_t page_bytes, unsigned index);
uint64_t branch_entries(const uint8_t *page, size_t page_bytes, unsigned index);
/* Sum over children [0, index). */
uint64_t branch_entries_before(const uint8_t *page, size_t page_bytes, unsigned index);
void branch_set_child(uint8_t *page, size_t page_bytes, unsigned index, page_id child,
                      uint64_t entries);
/* Adds `delta` to the entries below a child. */
void branch_add_entries(uint8_t *page, unsigned index, int64_t delta);
/* Separator left of child `index` (1 <= index < count), whole, to `to`; returns its length. */
size_t branch_separator(const uint8_t *page, size_t page_bytes, unsigned index, uint8_t *to);
/* Makes a root of two children out of an initialised empty branch page. */
void branch_build(uint8_t *page, size_t page_bytes, struct branch_child left,
                  sombra_slice separator, struct branch_child right);
/* New child behind child `index - 1`, with the separator left of it. False = does not fit. */
bool branch_insert(uint8_t *page, size_t page_bytes, unsigned index, sombra_slice separator,
                   struct branch_child child);
/* Other separator left of child `index`. False = does not fit, nothing changed. */
bool branch_replace_separator(uint8_t *page, size_t page_bytes, unsigned index,
                              sombra_slice separator);
/* Removes children [first, last); the separator left of `first` (right of `last - 1` if first is 0)
 * goes with them. At least one child stays. */
void branch_remove(uint8_t *page, size_t page_bytes, unsigned first, unsigned last);
/* Splits `page` with the child and the separator left of it inserted at `index`; like leaf_split.
 */
struct branch_split {
    uint8_t *left, *right; /* caller's scratch images, page_bytes each; none is `page` */
    uint8_t separator[KV_KEY_BYTES_MAX]; /* between them: it moves up */
    size_t separator_bytes;
};
void branch_split(const uint8_t *page, size_t page_bytes, unsigned index, sombra_slice separator,
                  struct branch_child child, struct branch_split *split);
/* Builds one branch of both, `between` the separator that stood between them above. False: no fit.
 */
bool branch_merge(const uint8_t *left, sombra_slice between, const uint8_t *right,
                  size_t page_bytes, uint8_t *to);

#endif
