/* SPDX-License-Identifier: MIT */
/* The tree of a memtable: one writer, readers without locks.
 *
 * What is published is never changed, but for three kinds of atomic words: a node's order, which
 * only grows (a slot is filled first, then the order that has it is stored); an inner node's
 * children; the links of leaves.
 *
 * A node that is full is REPLACED: two new ones get its slots and the new one, then the parent is
 * changed, then the neighbours' links. The old node stays as it was: dead, but intact. Between
 * those steps the writer adds nothing, so old and new say the same to every reader.
 *
 * A full leaf whose next key comes behind all that it has stays, as it is: a new one takes what of
 * its share begins with that key, in which it had none. So ordered writes fill each leaf once. A
 * reader that finds the old leaf where it should find the new one loaded a word before that was
 * stored, and misses only keys that were put in later. What is said below of nodes that were
 * replaced holds.
 *
 * Why a descent comes to the right child: a parent first gets the slot of the right half, by its
 * order; then the left half takes the child word of the old node. Between, keys of the right half
 * find it, the others find the old node, and both are complete. A reader that took a slot by the
 * old order but sees the left half in its child word could miss keys of the right half; the child
 * word was stored after the order, so that reader, who loads the order again, finds it changed, and
 * looks again. So each node that a descent comes to has had the key in its share of the key space,
 * which never grows; this is also why all keys compared in a node share its `skip` first bytes.
 *
 * Why readers miss nothing, in both directions. Let t be the time when a snapshot was taken. All
 * that it may see was put in before t. Claim: every node a reader comes to was live (reachable from
 * the root by the writer) at t or later.
 *   - The root word: live when loaded. A child word of a live node: the child is live, or was just
 *     replaced. A child word of a dead node keeps what it had when the node died, live at that
 * time.
 *   - A link likewise: a live leaf's links lead to its neighbours, or to what was just replaced; a
 *     dead leaf's to the neighbours it had when it died.
 * A leaf that was live at t or later holds every key of its share that was put in before t: live,
 * it gets all; dead, it keeps all. And the share of the leaf that a link leads to begins where that
 * of the leaf it comes from ends, since the neighbour was that when the link was stored, and as
 * long as the neighbour is replaced by others the link of a live leaf follows. A dead neighbour's
 * share is the union of the shares of those that replaced it, so going on from it skips none. Keys
 * put in after t may be seen or not: their versions are newer than the snapshot. So a chain of
 * links, followed to either side, passes every key the snapshot may see, once and in order. The
 * writer itself is the reader only between its own calls, and finds the live leaf of a key by a
 * descent.
 *
 * When a dead node is used again: by the claim a reader whose snapshot was taken after the node's
 * death does not come to it. So it waits until all readers are gone that began before the commit
 * behind its death (memtable_reuse_nodes), which is known between transactions only: the writer's
 * own cursors have no snapshot that would tell.
 */
#include "memtable_internal.h"

enum { CACHE_LINE_BYTES = 64, HITS_MAX = 8 };

static const size_t leaf_bytes = sizeof(struct tree_leaf);
static const size_t inner_bytes =
    (sizeof(struct tree_inner) + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;

static uint64_t order_identity(unsigned count)
{
    const uint64_t identity = UINT64_C(0xEDCBA9876543210);
    assert(count <= 15);
    return (identity & ((UINT64_C(1) << (4 * count)) - 1)) << 4 | count;
}

static uint64_t order_with(uint64_t order, unsigned rank, unsigned slot)
{
    uint64_t slots = order >> 4;
    uint64_t below = slots & ((UINT64_C(1) << (4 * rank)) - 1);
    uint64_t above = slots >> (4 * rank) << (4 * rank);
    assert(rank <= order_count(order) && order_count(order) < 15);
    return (above << 4 | (uint64_t)slot << (4 * rank) | below) << 4 | (order_count(order) + 1);
}

static inline uint64_t load_order(const struct tree_node *node)
{
    return atomic_load_explicit(&node->order, memory_order_acquire);
}

static inline struct tree_inner *inner_of(const struct tree_node *node)
{
    assert(node->level > 0);
    return container_of(node, struct tree_inner, node);
}
static inline struct tree_leaf *leaf_of(const struct tree_node *node)
{
    assert(node->level == 0);
    return container_of(node, struct tree_leaf, node);
}

/* The lines of the node that a descent goes to next, all at once. */
static inline void prefetch_node(const struct tree_node *node)
{
    const char *at = (const char *)node;
    for (size_t offset = 0; offset < sizeof(struct tree_leaf); offset += CACHE_LINE_BYTES)
        __builtin_prefetch(at + offset);
}

/* ---- search ------------------------------------------------------------------------------ */

/* 8 bytes from `skip` on, padded with zeros: order of heads is order of keys, but for ties. */
static inline uint64_t key_head(sombra_slice key, size_t skip)
{
    const uint8_t *at = (const uint8_t *)key.data + skip;
    if (LIKELY(key.bytes >= skip + 8))
        return get_be64(at);
    uint64_t head = 0;
    for (size_t i = skip; i < key.bytes; i++)
        head |= (uint64_t)*at++ << (56 - 8 * (i - skip));
    return head;
}

static inline int compare_behind(const struct memtable_entry *entry, sombra_slice key, size_t skip)
{
    assert(entry->key_bytes >= skip && key.bytes >= skip);
    return slice_compare(slice_from(entry_key(entry), skip), slice_from(key, skip));
}

/* Counts the heads below and equal to `head`. Without branches: which heads those are is not
 * predictable. */
static inline unsigned count_heads(const uint64_t *heads, unsigned count, uint64_t head,
                                   unsigned *out_equal)
{
    unsigned below = 0, equal = 0;
    for (unsigned i = 0; i < count; i++) {
        below += heads[i] < head;
        equal += heads[i] == head;
    }
    *out_equal = equal;
    return below;
}

/* Number of entries < key; *out_entry is that of the key, or NULL. */
static inline unsigned leaf_rank(const struct tree_leaf *leaf, uint64_t order, sombra_slice key,
                                 struct memtable_entry **out_entry)
{
    size_t skip = leaf->node.skip;
    unsigned equal;
    unsigned low = count_heads(leaf->heads, order_count(order), key_head(key, skip), &equal);
    unsigned high = low + equal;
    *out_entry = NULL;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        struct memtable_entry *entry = leaf->entries[order_slot(order, middle)];
        int compared = compare_behind(entry, key, skip);
        if (compared == 0) {
            *out_entry = entry;
            return middle;
        }
        if (compared < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Rank of the child that has `key`. */
static inline unsigned inner_rank(const struct tree_inner *inner, uint64_t order, sombra_slice key)
{
    size_t skip = inner->node.skip;
    unsigned equal;
    unsigned below = count_heads(inner->heads, order_count(order), key_head(key, skip), &equal);
    unsigned low = below > 0 ? below : 1, high = below + equal;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (compare_behind(inner->entries[order_slot(order, middle)], key, skip) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

static const struct tree_leaf *descend(const struct memtable_tree *tree, sombra_slice key)
{
    const struct tree_node *node = atomic_load_explicit(&tree->root, memory_order_acquire);
    while (node->level > 0) {
        const struct tree_inner *inner = inner_of(node);
        uint64_t order = load_order(node);
        unsigned slot = order_slot(order, inner_rank(inner, order, key));
        const struct tree_node *child =
            atomic_load_explicit(&inner->children[slot], memory_order_acquire);
        if (UNLIKELY(atomic_load_explicit(&node->order, memory_order_relaxed) != order))
            continue; /* the child may be the left half of what `order` had */
        prefetch_node(child);
        node = child;
    }
    return leaf_of(node);
}

struct memtable_entry *memtable_tree_find(const struct memtable_tree *tree, sombra_slice key)
{
    const struct tree_leaf *leaf = descend(tree, key);
    struct memtable_entry *entry;
    leaf_rank(leaf, load_order(&leaf->node), key, &entry);
    return entry;
}

double memtable_tree_fraction(const struct memtable_tree *tree, sombra_slice key)
{
    const struct tree_node *node = atomic_load_explicit(&tree->root, memory_order_acquire);
    double fraction = 0, width = 1;
    while (node->level > 0) {
        const struct tree_inner *inner = inner_of(node);
        uint64_t order = load_order(node);
        unsigned rank = inner_rank(inner, order, key);
        width /= order_count(order);
        fraction += rank * width;
        node =
            atomic_load_explicit(&inner->children[order_slot(order, rank)], memory_order_acquire);
        if (load_order(&inner->node) != order) { /* as in descend; begin anew */
            node = atomic_load_explicit(&tree->root, memory_order_acquire);
            fraction = 0;
            width = 1;
        }
    }
    struct memtable_entry *entry;
    uint64_t order = load_order(node);
    unsigned rank = leaf_rank(leaf_of(node), order, key, &entry);
    return order_count(order) ? fraction + rank * width / order_count(order) : 0;
}

/* What it takes to put the entry into a table: besides its bytes, which are compressed, as much as
 * for so many more. */
static uint64_t entry_weight(const struct memtable_entry *entry)
{
    enum { MORE_BYTES = 100 };
    const struct version_record *record =
        atomic_load_explicit(&entry->newest, memory_order_relaxed);
    return MORE_BYTES + entry->key_bytes + (record ? record_value(record).bytes : 0);
}

/* The weights of the entries that part the nodes of level `level - 1` below `node`, up to the one
 * that makes them more than `weight_max`: *out_entry. */
static uint64_t weigh(const struct tree_node *node, uint32_t level, uint64_t weight_max,
                      const struct memtable_entry **out_entry)
{
    const struct tree_inner *inner = inner_of(node);
    uint64_t order = load_order(node), weight = 0;
    assert(level > 0 && level <= node->level);
    for (unsigned rank = 0; rank < order_count(order) && weight <= weight_max; rank++) {
        unsigned slot = order_slot(order, rank);
        if (node->level > level) {
            weight += weigh(atomic_load_explicit(&inner->children[slot], memory_order_acquire),
                            level, weight_max - weight, out_entry);
            continue;
        }
        weight += entry_weight(inner->entries[slot]);
        if (weight > weight_max)
            *out_entry = inner->entries[slot];
    }
    return weight;
}

/* Nodes of one level have about as many entries each, so an entry of each stands for them: some
 * hundred nodes, three levels below the root. */
const struct memtable_entry *memtable_tree_middle(const struct memtable_tree *tree)
{
    const struct tree_node *root = atomic_load_explicit(&tree->root, memory_order_acquire);
    const struct memtable_entry *middle = NULL;
    if (root->level == 0)
        return NULL;
    uint32_t level = root->level > 2 ? root->level - 2 : 1;
    uint64_t weight = weigh(root, level, UINT64_MAX, &middle);
    weigh(root, level, weight / 2, &middle);
    return middle;
}

/* ---- cursors ----------------------------------------------------------------------------- */

static struct tree_cursor cursor_at(const struct memtable_tree *tree, sombra_slice key,
                                    struct memtable_entry **out_entry)
{
    struct tree_cursor cursor = { .leaf = descend(tree, key) };
    cursor.order = load_order(&cursor.leaf->node);
    cursor.rank = leaf_rank(cursor.leaf, cursor.order, key, out_entry);
    return cursor;
}

struct tree_cursor memtable_tree_seek_ge(const struct memtable_tree *tree, sombra_slice key)
{
    struct memtable_entry *entry;
    struct tree_cursor cursor = cursor_at(tree, key, &entry);
    if (cursor.rank == order_count(cursor.order))
        memtable_tree_next_leaf(&cursor);
    return cursor;
}

struct tree_cursor memtable_tree_seek_le(const struct memtable_tree *tree, sombra_slice key)
{
    struct memtable_entry *entry;
    struct tree_cursor cursor = cursor_at(tree, key, &entry);
    if (!entry)
        memtable_tree_previous(&cursor);
    return cursor;
}

struct tree_cursor memtable_tree_seek_lt(const struct memtable_tree *tree, sombra_slice key)
{
    struct memtable_entry *entry;
    struct tree_cursor cursor = cursor_at(tree, key, &entry);
    memtable_tree_previous(&cursor);
    return cursor;
}

/* Only a tree without entries has an empty leaf. */
void memtable_tree_next_leaf(struct tree_cursor *cursor)
{
    cursor->leaf = atomic_load_explicit(&cursor->leaf->next, memory_order_acquire);
    cursor->rank = 0;
    if (!cursor->leaf)
        return;
    cursor->order = load_order(&cursor->leaf->node);
    assert(order_count(cursor->order) > 0);
}

void memtable_tree_previous_leaf(struct tree_cursor *cursor)
{
    cursor->leaf = atomic_load_explicit(&cursor->leaf->previous, memory_order_acquire);
    if (!cursor->leaf)
        return;
    cursor->order = load_order(&cursor->leaf->node);
    assert(order_count(cursor->order) > 0);
    cursor->rank = order_count(cursor->order) - 1;
}

/* ---- the writer's way -------------------------------------------------------------------- */

static void path_descend(struct memtable_tree *tree, struct tree_path *path, sombra_slice key)
{
    struct tree_node *node = atomic_load_explicit(&tree->root, memory_order_relaxed);
    const struct memtable_entry *low = NULL, *high = NULL;
    assert(node->level < TREE_LEVELS_MAX);
    path->levels = node->level + 1;
    for (;;) {
        unsigned level = node->level;
        path->at[level].node = node;
        path->at[level].low = low;
        path->at[level].high = high;
        if (level == 0)
            return;
        struct tree_inner *inner = inner_of(node);
        uint64_t order = load_order(node);
        unsigned rank = inner_rank(inner, order, key);
        node =
            atomic_load_explicit(&inner->children[order_slot(order, rank)], memory_order_relaxed);
        prefetch_node(node);
        path->at[level].rank = rank;
        if (rank > 0)
            low = inner->entries[order_slot(order, rank)];
        if (rank + 1 < order_count(order))
            high = inner->entries[order_slot(order, rank + 1)];
    }
}

static bool finger_has(const struct memtable_tree *tree, sombra_slice key)
{
    const struct tree_path *finger = &tree->finger;
    if (tree->hits == 0 || finger->levels == 0)
        return false;
    return (!finger->at[0].low || slice_compare(entry_key(finger->at[0].low), key) <= 0) &&
           (!finger->at[0].high || slice_compare(key, entry_key(finger->at[0].high)) < 0);
}

/* The bounds of the finger's leaf are far apart in memory: where writes are scattered, looking at
 * them is worth less than it costs. Whether it would have helped shows after the descent. */
static void finger_move(struct memtable_tree *tree, sombra_slice key)
{
    const struct tree_node *was = tree->finger.levels ? tree->finger.at[0].node : NULL;
    bool was_tried = tree->hits > 0 && was;
    path_descend(tree, &tree->finger, key);
    if (tree->finger.at[0].node == was)
        tree->hits = HITS_MAX;
    else if (was_tried)
        tree->hits--;
}

struct memtable_entry *memtable_tree_locate(struct memtable_tree *tree, sombra_slice key,
                                            unsigned *out_rank)
{
    if (!finger_has(tree, key))
        finger_move(tree, key);
    const struct tree_leaf *leaf = leaf_of(tree->finger.at[0].node);
    struct memtable_entry *entry;
    *out_rank = leaf_rank(leaf, load_order(&leaf->node), key, &entry);
    tree->rank = *out_rank;
    return entry;
}

struct memtable_entry *memtable_tree_locate_next(struct memtable_tree *tree, sombra_slice key,
                                                 unsigned *out_rank)
{
    const struct tree_path *finger = &tree->finger;
    if (finger->levels > 0) {
        unsigned count = order_count(load_order(finger->at[0].node));
        const struct memtable_entry *high = finger->at[0].high;
        if (tree->rank + 1 == count && (!high || slice_compare(key, entry_key(high)) < 0)) {
            *out_rank = tree->rank = count;
            return NULL;
        }
    }
    return memtable_tree_locate(tree, key, out_rank);
}

/* ---- nodes ------------------------------------------------------------------------------- */

static struct tree_leaf *leaf_new(struct memtable_nodes *nodes)
{
    struct tree_leaf *leaf = memtable_nodes_alloc(nodes, true, leaf_bytes);
    if (!leaf)
        return NULL;
    leaf->node.level = 0;
    leaf->node.skip = 0;
    atomic_init(&leaf->node.order, 0);
    atomic_init(&leaf->next, NULL);
    atomic_init(&leaf->previous, NULL);
    return leaf;
}

sombra_err memtable_tree_init(struct memtable_tree *tree, struct memtable_nodes *nodes)
{
    struct tree_leaf *leaf = leaf_new(nodes);
    if (!leaf)
        return diag_nomem("a memtable's root", leaf_bytes);
    tree->nodes = nodes;
    tree->finger.levels = 0;
    tree->hits = HITS_MAX;
    atomic_init(&tree->root, &leaf->node);
    return SOMBRA_OK;
}

static uint32_t shared_bytes(const struct memtable_entry *low, const struct memtable_entry *high)
{
    return low && high ? (uint32_t)slice_common_prefix(entry_key(low), entry_key(high)) : 0;
}

/* Entries in order, and their heads behind `skip` bytes. */
struct leaf_content {
    struct memtable_entry *entries[LEAF_SLOTS + 1];
    uint64_t heads[LEAF_SLOTS + 1];
    uint32_t skip;
};

/* Heads that still tell keys apart by half of their bytes are good for longer: looking at the keys
 * of a leaf, which lie anywhere, costs more than all else of a split. */
static bool heads_are_worn(const struct leaf_content *content, unsigned first, unsigned count)
{
    const unsigned half_bits = 32;
    uint64_t differs = content->heads[first] ^ content->heads[first + count - 1];
    return differs >> half_bits == 0;
}

/* A leaf of `count` of the entries, whose keys are from `low` up to `high`. */
static struct tree_leaf *leaf_fill(struct memtable_nodes *nodes, const struct leaf_content *content,
                                   unsigned first, unsigned count, const struct memtable_entry *low,
                                   const struct memtable_entry *high)
{
    struct tree_leaf *leaf = leaf_new(nodes);
    assert(leaf && count > 0 && count <= LEAF_SLOTS);
    uint32_t skip = content->skip;
    if (heads_are_worn(content, first, count))
        skip = shared_bytes(low, high);
    assert(skip >= content->skip);
    leaf->node.skip = skip;
    for (unsigned i = 0; i < count; i++) {
        leaf->entries[i] = content->entries[first + i];
        leaf->heads[i] = skip == content->skip ? content->heads[first + i]
                                               : key_head(entry_key(leaf->entries[i]), skip);
    }
    atomic_init(&leaf->node.order, order_identity(count));
    return leaf;
}

/* A separator and the node behind it. */
struct child {
    struct memtable_entry *entry;
    struct tree_node *node;
};

static struct tree_inner *inner_fill(struct memtable_nodes *nodes, uint32_t level,
                                     const struct child *children, unsigned count, uint32_t skip)
{
    struct tree_inner *inner = memtable_nodes_alloc(nodes, false, inner_bytes);
    assert(inner && count > 0 && count <= INNER_SLOTS);
    inner->node.level = level;
    inner->node.skip = skip;
    for (unsigned i = 0; i < count; i++) {
        inner->entries[i] = children[i].entry;
        inner->heads[i] = i == 0 ? 0 : key_head(entry_key(children[i].entry), skip);
        atomic_init(&inner->children[i], children[i].node);
    }
    atomic_init(&inner->node.order, order_identity(count));
    return inner;
}

/* ---- insert ------------------------------------------------------------------------------ */

/* Ascending entries come in before others: the last two that did are right before `rank`. */
static bool is_run(uint64_t order, unsigned rank)
{
    unsigned count = order_count(order);
    return rank >= 2 && order_slot(order, rank - 1) == count - 1 &&
           order_slot(order, rank - 2) == count - 2;
}

/* How many of `total` = count + 1 go left. Slots are filled in order of arrival, so the newest is
 * the last slot: where it was put in at one end, and this one comes to the same end, more will
 * follow, and the full side stays full. So it does in the middle of others: what follows this one
 * then comes to the left half's end. */
static unsigned split_at(uint64_t order, unsigned rank)
{
    unsigned count = order_count(order);
    if (rank == count && order_slot(order, count - 1) == count - 1)
        return count;
    if (rank == 0 && order_slot(order, 0) == count - 1)
        return 1;
    if (rank < count && is_run(order, rank))
        return rank + 1;
    return (count + 1) / 2;
}

static void leaf_link(struct tree_leaf *old, struct tree_leaf *left, struct tree_leaf *right)
{
    struct tree_leaf *next = atomic_load_explicit(&old->next, memory_order_relaxed);
    struct tree_leaf *previous = atomic_load_explicit(&old->previous, memory_order_relaxed);
    atomic_init(&left->previous, previous);
    atomic_init(&left->next, right);
    atomic_init(&right->previous, left);
    atomic_init(&right->next, next);
}

/* After the parent: whoever comes from a neighbour finds what a descent finds. */
static void leaf_link_neighbours(struct tree_leaf *left, struct tree_leaf *right)
{
    struct tree_leaf *next = atomic_load_explicit(&right->next, memory_order_relaxed);
    struct tree_leaf *previous = atomic_load_explicit(&left->previous, memory_order_relaxed);
    if (previous)
        atomic_store_explicit(&previous->next, left, memory_order_release);
    if (next)
        atomic_store_explicit(&next->previous, right, memory_order_release);
}

/* Puts `left` into the place of the child that the path took at `level`, and `right` behind it.
 * True when that replaced a full node by two: *left and *right are those now. */
static bool inner_replace(struct memtable_tree *tree, unsigned level, struct child *left,
                          struct child *right)
{
    struct tree_inner *inner = inner_of(tree->finger.at[level].node);
    unsigned taken = tree->finger.at[level].rank, count = 0;
    uint64_t order = load_order(&inner->node);
    unsigned total = order_count(order);
    if (total < INNER_SLOTS) {
        inner->heads[total] = key_head(entry_key(right->entry), inner->node.skip);
        inner->entries[total] = right->entry;
        atomic_init(&inner->children[total], right->node);
        atomic_store_explicit(&inner->node.order, order_with(order, taken + 1, total),
                              memory_order_release);
        atomic_store_explicit(&inner->children[order_slot(order, taken)], left->node,
                              memory_order_release);
        return false;
    }
    struct child children[INNER_SLOTS + 1];
    for (unsigned rank = 0; rank < total; rank++) {
        unsigned slot = order_slot(order, rank);
        children[count].entry = inner->entries[slot];
        children[count++].node =
            rank == taken ? left->node
                          : atomic_load_explicit(&inner->children[slot], memory_order_relaxed);
        if (rank == taken)
            children[count++] = *right;
    }
    unsigned at = split_at(order, taken + 1);
    struct memtable_entry *middle = children[at].entry;
    left->node = &inner_fill(tree->nodes, level, children, at,
                             shared_bytes(tree->finger.at[level].low, middle))
                      ->node;
    right->entry = middle;
    right->node = &inner_fill(tree->nodes, level, children + at, count - at,
                              shared_bytes(middle, tree->finger.at[level].high))
                       ->node;
    memtable_nodes_retire(tree->nodes, &inner->node);
    return true;
}

static void root_grow(struct memtable_tree *tree, unsigned level, struct child left,
                      struct child right)
{
    struct child children[2] = { left, right };
    struct tree_inner *root = inner_fill(tree->nodes, level, children, 2, 0);
    atomic_store_explicit(&tree->root, &root->node, memory_order_release);
}

/* Puts both in the place of the child that the path took, up to where there is room for one more.
 * True if nothing was replaced on the way. */
static bool parents_replace(struct memtable_tree *tree, struct child left, struct child right)
{
    unsigned level = 1, levels = tree->finger.levels;
    while (level < levels && inner_replace(tree, level, &left, &right))
        level++;
    if (level == levels)
        root_grow(tree, level, left, right);
    return level == 1 && levels > 1;
}

static sombra_err leaf_split(struct memtable_tree *tree, unsigned rank,
                             struct memtable_entry *entry)
{
    struct tree_leaf *old = leaf_of(tree->finger.at[0].node);
    uint64_t order = load_order(&old->node);
    unsigned levels = tree->finger.levels, count = order_count(order);
    struct leaf_content content = { .skip = old->node.skip };
    sombra_err err = memtable_arena_reserve(&tree->nodes->arena,
                                            2 * leaf_bytes + (2 * levels + 1) * inner_bytes);
    if (err)
        return err;
    for (unsigned i = 0; i < count; i++) {
        unsigned slot = order_slot(order, i);
        content.entries[i + (i >= rank)] = old->entries[slot];
        content.heads[i + (i >= rank)] = old->heads[slot];
    }
    content.entries[rank] = entry;
    content.heads[rank] = key_head(entry_key(entry), content.skip);
    unsigned at = split_at(order, rank);
    struct memtable_entry *middle = content.entries[at];
    struct tree_leaf *left =
        leaf_fill(tree->nodes, &content, 0, at, tree->finger.at[0].low, middle);
    struct tree_leaf *right =
        leaf_fill(tree->nodes, &content, at, count + 1 - at, middle, tree->finger.at[0].high);
    leaf_link(old, left, right);
    parents_replace(tree, (struct child){ content.entries[0], &left->node },
                    (struct child){ middle, &right->node });
    leaf_link_neighbours(left, right);
    memtable_nodes_retire(tree->nodes, &old->node);
    tree->finger.levels = 0;
    return SOMBRA_OK;
}

/* The finger's leaf is full, and `entry` comes behind all that it has: a leaf of its own. */
static sombra_err leaf_follow(struct memtable_tree *tree, struct memtable_entry *entry)
{
    struct tree_path *finger = &tree->finger;
    struct tree_leaf *leaf = leaf_of(finger->at[0].node);
    uint64_t order = load_order(&leaf->node);
    struct leaf_content content = { .entries = { entry }, .skip = leaf->node.skip };
    sombra_err err = memtable_arena_reserve(&tree->nodes->arena,
                                            leaf_bytes + (2 * finger->levels + 1) * inner_bytes);
    if (err)
        return err;
    content.heads[0] = key_head(entry_key(entry), content.skip);
    struct tree_leaf *fresh = leaf_fill(tree->nodes, &content, 0, 1, entry, finger->at[0].high);
    struct tree_leaf *next = atomic_load_explicit(&leaf->next, memory_order_relaxed);
    atomic_init(&fresh->previous, leaf);
    atomic_init(&fresh->next, next);
    bool is_simple =
        parents_replace(tree, (struct child){ leaf->entries[order_slot(order, 0)], &leaf->node },
                        (struct child){ entry, &fresh->node });
    atomic_store_explicit(&leaf->next, fresh, memory_order_release);
    if (next)
        atomic_store_explicit(&next->previous, fresh, memory_order_release);
    if (!is_simple) {
        finger->levels = 0;
        return SOMBRA_OK;
    }
    finger->at[0].node = &fresh->node;
    finger->at[0].low = entry;
    finger->at[1].rank++;
    tree->rank = 0;
    return SOMBRA_OK;
}

sombra_err memtable_tree_insert(struct memtable_tree *tree, unsigned rank,
                                struct memtable_entry *entry)
{
    struct tree_leaf *leaf = leaf_of(tree->finger.at[0].node);
    uint64_t order = load_order(&leaf->node);
    unsigned slot = order_count(order);
    assert(tree->finger.levels > 0 && rank <= slot);
    if (UNLIKELY(slot == LEAF_SLOTS))
        return rank == slot && split_at(order, rank) == slot ? leaf_follow(tree, entry)
                                                             : leaf_split(tree, rank, entry);
    leaf->heads[slot] = key_head(entry_key(entry), leaf->node.skip);
    leaf->entries[slot] = entry;
    atomic_store_explicit(&leaf->node.order, order_with(order, rank, slot), memory_order_release);
    return SOMBRA_OK;
}
