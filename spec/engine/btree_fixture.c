/* SPDX-License-Identifier: MIT */
#include "btree_fixture.h"

#include "btree/meta_format.h"

#include <inttypes.h>
#include <unistd.h>

/* ---- stores ------------------------------------------------------------------------------ */

static void directory_make(struct store *store)
{
    const char *base = getenv("TMPDIR");
    snprintf(store->directory, sizeof store->directory, "%s/btree.XXXXXX",
             base && strlen(base) < 40 ? base : "/tmp");
    assert_non_null(mkdtemp(store->directory));
    snprintf(store->path, sizeof store->path, "%s/store", store->directory);
}

static void options_take(struct store *store, const struct btree_options *options)
{
    if (options)
        store->options = *options;
    store->options.create = true;
}

void store_init(struct store *store, const struct btree_options *options)
{
    *store = (struct store){ .os = os_posix() };
    options_take(store, options);
    directory_make(store);
    store_open(store);
}

void store_init_simulated(struct store *store, const struct btree_options *options)
{
    *store = (struct store){ .sim = os_sim_new(NULL) };
    options_take(store, options);
    store->os = os_sim_start(store->sim);
    snprintf(store->path, sizeof store->path, "store");
    store_open(store);
}

void store_file_path(const struct store *store, size_t index, char to[112])
{
    static const char *const suffixes[STORE_FILES] = { "", "-log0", "-log1" };
    assert_true(index < STORE_FILES);
    snprintf(to, 112, "%s%s", store->path, suffixes[index]);
}

void store_release(struct store *store)
{
    if (store->kv)
        store_close(store);
    for (size_t i = 0; i < STORE_FILES && !store->sim; i++) {
        char path[112];
        store_file_path(store, i, path);
        unlink(path);
    }
    if (!store->sim)
        assert_int_equal(rmdir(store->directory), 0);
    os_sim_free(store->sim);
    store->sim = NULL;
}

void store_open(struct store *store)
{
    assert_null(store->kv);
    expect_ok(btree_open(store->os, store->path, &store->options, &store->kv));
}

void store_close(struct store *store)
{
    struct kv *kv = store->kv;
    store->kv = NULL;
    expect_ok(kv_close(kv));
}

void store_reopen(struct store *store)
{
    store_close(store);
    store_open(store);
}

/* ---- files ------------------------------------------------------------------------------- */

bool file_load(const char *path, struct buf *out)
{
    struct os_file *file;
    buf_reset(out);
    sombra_err err = os_open(os_posix(), path, OS_READ, 0, &file);
    if (err == SOMBRA_NOT_FOUND)
        return false;
    expect_ok(err);
    uint64_t bytes;
    uint8_t *to;
    expect_ok(os_size(file, &bytes));
    expect_ok(buf_extend(out, (size_t)bytes, &to));
    expect_ok(os_read(file, 0, to, (size_t)bytes));
    os_close(file);
    return true;
}

void file_store(const char *path, sombra_slice bytes)
{
    struct os_file *file;
    expect_ok(os_open(os_posix(), path, OS_WRITE | OS_CREATE, 0600, &file));
    expect_ok(os_truncate(file, 0));
    expect_ok(os_write(file, 0, bytes.data, bytes.bytes));
    os_close(file);
}

void store_copy(const struct store *store, struct store *to)
{
    assert_null(store->sim);
    struct buf bytes = BUF_INIT;
    *to = (struct store){ .options = store->options, .os = os_posix() };
    directory_make(to);
    for (size_t i = 0; i < STORE_FILES; i++) {
        char path[112];
        store_file_path(store, i, path);
        if (!file_load(path, &bytes))
            continue;
        store_file_path(to, i, path);
        file_store(path, buf_slice(&bytes));
    }
    buf_release(&bytes);
}

/* ---- account ----------------------------------------------------------------------------- */

void store_use_log(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_text(txn, "~ not there", "and not after it");
    expect_ok(kv_delete(txn, slice_str("~ not there")));
    kv_commit_ok(txn);
}

struct kv_stats store_stats(struct kv *kv, bool walk)
{
    struct kv_maintenance job = { .kind = KV_STATS, .walk = walk };
    expect_ok(kv_maintain(kv, &job));
    return job.stats;
}

void store_expect_exact(struct kv *kv)
{
    kv_expect_sound(kv);
    struct kv_stats stats = store_stats(kv, true);
    uint64_t meta_pages = u64_max(1, META_AREA_BYTES / stats.page_bytes);
    uint64_t trees = stats.pages_branch + stats.pages_leaf + stats.pages_leaf_dense;
    uint64_t known =
        meta_pages + trees + stats.pages_overflow + stats.pages_free + stats.pages_pending;
    /* What is left is the space maps: two pages a chunk and the directory. */
    uint64_t chunks = stats.pages_total / ((stats.page_bytes - 32) * 8) + 1;
    assert_true(known <= stats.pages_total);
    if (stats.pages_total - known > 2 * chunks + 3)
        fail_msg("%" PRIu64 " pages: %" PRIu64 " in trees, %" PRIu64 " of values, %" PRIu64
                 " free, %" PRIu64 " pending: too many are left for the maps",
                 stats.pages_total, trees, stats.pages_overflow, stats.pages_free,
                 stats.pages_pending);
}

/* ---- content ----------------------------------------------------------------------------- */

void put_sized(struct kv_txn *txn, const char *key, uint64_t seed, size_t value_bytes)
{
    struct buf value = BUF_INIT;
    kv_pattern(&value, seed, value_bytes);
    expect_ok(kv_put(txn, slice_str(key), buf_slice(&value)));
    buf_release(&value);
}

void expect_sized(struct kv_txn *txn, const char *key, uint64_t seed, size_t value_bytes)
{
    struct buf value = BUF_INIT;
    kv_pattern(&value, seed, value_bytes);
    kv_expect_value(txn, slice_str(key), buf_slice(&value));
    buf_release(&value);
}

/* Commutes, so that both directions give the same. */
static sombra_err walk_sum(struct kv_txn *txn, enum kv_motion direction, uint64_t *out_sum,
                           uint64_t *out_entries)
{
    struct kv_cursor *cursor;
    uint64_t sum = 0, entries = 0;
    sombra_err err = kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor);
    if (err)
        return err;
    for (;;) {
        bool found = false;
        err = kv_cursor_move(cursor, direction, slice_of(NULL, 0), &found);
        if (err || !found)
            break;
        sum += kv_entry_digest(0, cursor->entry.key, cursor->entry.value);
        entries++;
    }
    kv_cursor_close(cursor);
    *out_sum = sum;
    *out_entries = entries;
    return err;
}

static sombra_err walks_compare(struct kv_txn *txn, uint64_t *out_digest)
{
    uint64_t sums[2], entries[2], counted = 0;
    sombra_err err = walk_sum(txn, KV_NEXT, &sums[0], &entries[0]);
    if (!err)
        err = walk_sum(txn, KV_PREVIOUS, &sums[1], &entries[1]);
    if (!err)
        err = kv_count(txn, (struct kv_range){ 0 }, 0, &counted);
    if (err)
        return err;
    if (sums[0] != sums[1] || entries[0] != entries[1] || entries[0] != counted)
        return diag_fail(SOMBRA_CORRUPT, CONTENT_DIFFERS);
    *out_digest = sums[0] + entries[0];
    return SOMBRA_OK;
}

sombra_err content_digest(struct kv *kv, uint64_t *out_digest)
{
    struct kv_txn *txn = kv_begin_read(kv);
    sombra_err err = walks_compare(txn, out_digest);
    kv_abort(txn);
    return err;
}

sombra_err verify_count(struct kv *kv, uint64_t *out_problems)
{
    struct kv_maintenance job = { .kind = KV_VERIFY };
    sombra_err err = kv_maintain(kv, &job);
    *out_problems = job.problems;
    return err;
}

/* ---- power cuts -------------------------------------------------------------------------- */

/* Another machine, where the power failed before the call. */
static void cut_here(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct power_cuts *cuts = context;
    (void)event;
    cuts->random = hash_u64(cuts->random + 1);
    if (cuts->random / OS_SIM_VARIANTS % 100 >= cuts->percent)
        return;
    struct store after = *cuts->store;
    after.sim =
        os_sim_crash(sim, (enum os_sim_variant)(cuts->random % OS_SIM_VARIANTS), cuts->random);
    after.os = os_sim_start(after.sim);
    after.kv = NULL;
    uint64_t digest = 0;
    store_open(&after);
    expect_ok(content_digest(after.kv, &digest));
    assert_true(digest == cuts->digest);
    store_expect_exact(after.kv);
    cuts->cuts++;
    store_release(&after);
}

void power_cuts_begin(struct power_cuts *cuts, struct store *store, uint64_t salt)
{
    *cuts = (struct power_cuts){ .store = store,
                                 .random = kv_test_number("SOMBRA_SEED", 1) + salt,
                                 .percent = test_share_percent() };
    expect_ok(content_digest(store->kv, &cuts->digest));
    os_sim_set_hook(store->sim, cut_here, cuts);
}

void power_cuts_end(struct power_cuts *cuts)
{
    os_sim_set_hook(cuts->store->sim, NULL, NULL);
    printf("%" PRIu64 " cuts\n", cuts->cuts);
    assert_true(cuts->cuts > 0);
}

uint64_t test_share_percent(void)
{
    return u64_min(100, kv_test_number("SOMBRA_SHARE", 100) * 100 / 30);
}

bool test_is_long(void)
{
    return kv_test_number("SOMBRA_LONG", 0) != 0;
}
