/* SPDX-License-Identifier: MIT */
#include "lsm_manifest_fixture.h"

void chain_init(struct chain *chain, uint64_t seed)
{
    struct table_context context = { .os = NULL };
    *chain = (struct chain){ .key_bytes = 4 };
    random_seed(&chain->random, seed);
    assert_ok(table_cache_new(&context, "/store", 4, &chain->cache));
    assert_ok(version_empty(chain->cache, 7, &chain->version));
    chain->state = (struct manifest_state){ .version = 7, .next_number = 1, .next_run = 1 };
    memcpy(chain->state.identity, "the store itself", 16);
}

static void drop_keys(struct chain *chain)
{
    for (size_t i = 0; i < COUNT_OF(chain->keys); i++) {
        free(chain->keys[i]);
        chain->keys[i] = NULL;
    }
}

void chain_release(struct chain *chain)
{
    drop_keys(chain);
    version_unref(chain->next);
    version_unref(chain->version);
    table_cache_free(chain->cache);
}

static sombra_slice make_key(struct chain *chain, size_t slot, uint32_t value)
{
    uint8_t *key = calloc(1, chain->key_bytes);
    assert_non_null(key);
    put_be32(key, value);
    free(chain->keys[slot]);
    chain->keys[slot] = key;
    return slice_of(key, chain->key_bytes);
}

static void draft_added(struct chain *chain, uint64_t run)
{
    size_t i = chain->edit.added_count++;
    uint64_t number = chain->next_state.next_number++;
    struct fake_key none = fake_key_of(0);
    chain->added[i] = fake_table(0, run, number, &none, &none);
    chain->added[i].meta.low = make_key(chain, 2 * i, (uint32_t)i * 10);
    chain->added[i].meta.end = make_key(chain, 2 * i + 1, (uint32_t)i * 10 + 9);
    chain->added[i].meta.range_count = random_below(&chain->random, 3);
    chain->next_state.seq++;
}

void chain_draft(struct chain *chain)
{
    struct version *version = chain->version;
    chain->edit = (struct edit){ .added = chain->added, .removed = chain->removed };
    chain->next_state = chain->state;
    chain->next_state.version++;
    uint64_t run = chain->next_state.next_run++;
    for (uint64_t i = random_below(&chain->random, CHAIN_CHANGES_MAX + 1); i > 0; i--)
        draft_added(chain, run);
    if (version->count > 8 || (version->count > 0 && random_below(&chain->random, 2))) {
        const struct version_run *old =
            &version->runs[random_below(&chain->random, version->count)];
        for (size_t i = 0; i < old->count && i < CHAIN_CHANGES_MAX; i++)
            chain->removed[chain->edit.removed_count++] = old->tables[i]->meta.number;
    }
    if (random_below(&chain->random, 3) == 0)
        chain->next_state.log_seq = chain->edit.log_seq = chain->next_state.seq;
    chain->edit.seq = chain->next_state.seq;
    chain->next_state.is_clean = random_below(&chain->random, 4) == 0;
    assert_ok(version_apply(version, chain->cache, &chain->edit, &chain->next));
}

void chain_accept(struct chain *chain)
{
    version_unref(chain->version);
    chain->version = chain->next;
    chain->state = chain->next_state;
    chain->next = NULL;
}

void chain_reject(struct chain *chain)
{
    version_unref(chain->next);
    chain->next = NULL;
}

static uint32_t add_u64(uint32_t crc, uint64_t value)
{
    uint8_t bytes[8];
    put_le64(bytes, value);
    return crc32_update(crc, bytes, sizeof bytes);
}

uint32_t version_digest(const struct version *version, const struct manifest_state *state)
{
    uint32_t crc = add_u64(0, version->number);
    crc = add_u64(crc, state->version);
    crc = add_u64(crc, state->next_number);
    crc = add_u64(crc, state->next_run);
    crc = add_u64(crc, state->seq);
    crc = add_u64(crc, state->log_seq);
    crc = add_u64(crc, state->is_clean);
    crc = crc32_update(crc, state->identity, sizeof state->identity);
    for (size_t i = 0; i < version->count; i++) {
        crc = add_u64(crc, version->runs[i].level);
        crc = add_u64(crc, version->runs[i].number);
        for (size_t k = 0; k < version->runs[i].count; k++) {
            const struct table_meta *meta = &version->runs[i].tables[k]->meta;
            crc = add_u64(crc, meta->number);
            crc = add_u64(crc, meta->file_bytes);
            crc = add_u64(crc, meta->entries);
            crc = add_u64(crc, meta->deletes);
            crc = add_u64(crc, meta->range_count);
            crc = add_u64(crc, meta->seq_max);
            crc = crc32_update(crc, meta->low.data, meta->low.bytes);
            crc = crc32_update(crc, meta->end.data, meta->end.bytes);
        }
    }
    return crc;
}
