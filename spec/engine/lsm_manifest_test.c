/* SPDX-License-Identifier: MIT */
/* The manifest on the simulated machine: round trips, power cuts and faults at every call, rot. */
#include "lsm_manifest_fixture.h"

#include "lsm/manifest_format.h"

#include <stdio.h>

#define DIRECTORY "/store"
#define PATH      "/store/MANIFEST"
#define NEW_PATH  "/store/MANIFEST-new"

struct rig {
    struct os_sim *sim;
    struct os *os;
    struct chain chain;
    struct manifest *manifest;
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    mem_test_fail_at(0, false);
    uint64_t seed = fake_seed();
    rig->sim = os_sim_new(&(struct os_sim_options){ .seed = seed });
    rig->os = os_sim_start(rig->sim);
    assert_ok(os_make_directory(rig->os, DIRECTORY, 0700));
    assert_ok(os_sync_directory_of(rig->os, DIRECTORY));
    chain_init(&rig->chain, seed);
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    manifest_close(rig->manifest);
    chain_release(&rig->chain);
    os_sim_free(rig->sim);
    assert_int_equal(mem_test_live(), 0);
    free(rig);
    return 0;
}

static sombra_err create(struct rig *rig)
{
    manifest_close(rig->manifest);
    rig->manifest = NULL;
    return manifest_create(rig->os, DIRECTORY, 0600, &rig->chain.state, rig->chain.version,
                           &rig->manifest);
}

static void commit(struct rig *rig)
{
    chain_draft(&rig->chain);
    assert_ok(manifest_commit(rig->manifest, &rig->chain.edit, &rig->chain.next_state));
    chain_accept(&rig->chain);
}

/* Reads it with a cache of its own. */
static sombra_err read_digest(struct os *os, uint64_t *out_version, uint32_t *out_digest)
{
    struct table_context context = { .os = NULL };
    struct table_cache *cache;
    struct version *version;
    struct manifest_state state;
    sombra_err err = table_cache_new(&context, DIRECTORY, 4, &cache);
    if (err)
        return err;
    err = manifest_read(os, DIRECTORY, cache, &state, &version);
    if (!err) {
        *out_version = state.version;
        *out_digest = version_digest(version, &state);
        version_unref(version);
    }
    table_cache_free(cache);
    return err;
}

static void expect_newest(struct rig *rig)
{
    uint64_t version = 0;
    uint32_t digest = 0;
    assert_ok(read_digest(rig->os, &version, &digest));
    assert_int_equal(version, rig->chain.state.version);
    assert_int_equal(digest, version_digest(rig->chain.version, &rig->chain.state));
}

static bool is_there(struct rig *rig, const char *path)
{
    struct os_identity identity;
    return os_identify_path(rig->os, path, &identity) == SOMBRA_OK;
}

/* ---- round trips -------------------------------------------------------------------------- */

static void test_manifest__is_read_as_it_was_written(void **state)
{
    struct rig *rig = *state;
    uint64_t version;
    uint32_t digest;
    assert_fails(SOMBRA_NOT_FOUND, read_digest(rig->os, &version, &digest));
    assert_ok(create(rig));
    expect_newest(rig);
    for (int i = 0; i < 200; i++) {
        rig->chain.key_bytes = i % 10 == 0 ? 3000 : 4 + (size_t)i % 40;
        commit(rig);
        if (i % 7 == 0)
            expect_newest(rig);
        if (i % 50 == 20)
            assert_ok(create(rig));
        if (i % 50 == 40)
            assert_ok(manifest_rewrite(rig->manifest, &rig->chain.state, rig->chain.version));
    }
    expect_newest(rig);
    assert_false(manifest_has_failed(rig->manifest));
}

static void test_manifest__new_file_replaces_that_of_a_crash(void **state)
{
    struct rig *rig = *state;
    struct os_file *file;
    assert_ok(os_open(rig->os, NEW_PATH, OS_WRITE | OS_CREATE, 0600, &file));
    assert_ok(os_write(file, 0, "rubbish", 7));
    os_close(file);
    assert_ok(create(rig));
    expect_newest(rig);
    assert_false(is_there(rig, NEW_PATH));
}

static void test_manifest__outgrows_its_version_and_is_rewritten(void **state)
{
    struct rig *rig = *state;
    assert_ok(create(rig));
    rig->chain.key_bytes = 30000;
    while (!manifest_has_outgrown(rig->manifest)) {
        commit(rig);
        assert_true(manifest_bytes(rig->manifest) < 6 * MiB);
    }
    assert_true(manifest_bytes(rig->manifest) > 4 * MiB);
    rig->chain.key_bytes = 4;
    assert_ok(manifest_rewrite(rig->manifest, &rig->chain.state, rig->chain.version));
    assert_false(manifest_has_outgrown(rig->manifest));
    commit(rig);
    expect_newest(rig);
}

/* ---- power cuts --------------------------------------------------------------------------- */

struct history {
    struct rig *rig;
    uint32_t digests[CHAIN_EDITS_MAX]; /* by version */
    uint64_t first, acknowledged, begun;
    uint64_t cuts;
};

static void cut(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct history *history = context;
    for (int variant = 0; variant < OS_SIM_VARIANTS; variant++) {
        const char *name = os_sim_variant_name((enum os_sim_variant)variant);
        struct os_sim *after = os_sim_crash(sim, (enum os_sim_variant)variant, event->number);
        uint64_t version = 0;
        uint32_t digest = 0;
        sombra_err err = read_digest(os_sim_start(after), &version, &digest);
        if (err && (err != SOMBRA_NOT_FOUND || history->acknowledged != 0))
            fail_msg("%s before %s: %s", name, os_sim_call_name(event->call), diag_text());
        if (!err && (version < history->acknowledged || version > history->begun ||
                     digest != history->digests[version]))
            fail_msg("%s before %s: version %" PRIu64 ", not %" PRIu64 " to %" PRIu64, name,
                     os_sim_call_name(event->call), version, history->acknowledged, history->begun);
        os_sim_free(after);
        history->cuts++;
    }
}

static void history_begin(struct history *history, const struct version *version,
                          const struct manifest_state *state)
{
    assert_true(state->version < CHAIN_EDITS_MAX);
    history->digests[state->version] = version_digest(version, state);
    history->begun = state->version;
}

static void test_manifest__any_power_cut_leaves_a_committed_state(void **state)
{
    struct rig *rig = *state;
    static struct history history;
    struct chain *chain = &rig->chain;
    history = (struct history){ .rig = rig };
    history_begin(&history, chain->version, &chain->state);
    os_sim_set_hook(rig->sim, cut, &history);
    for (int i = 0; i < 25; i++) {
        if (i == 0 || i == 12) {
            assert_ok(create(rig));
        } else if (i == 18) {
            assert_ok(manifest_rewrite(rig->manifest, &chain->state, chain->version));
        } else {
            chain->key_bytes = i == 6 ? 20000 : 16;
            chain_draft(chain);
            history_begin(&history, chain->next, &chain->next_state);
            assert_ok(manifest_commit(rig->manifest, &chain->edit, &chain->next_state));
            chain_accept(chain);
        }
        history.acknowledged = chain->state.version;
    }
    os_sim_set_hook(rig->sim, NULL, NULL);
    assert_true(history.cuts > 500);
}

/* ---- faults ------------------------------------------------------------------------------- */

enum { FAULTED_CALLS = 45 }; /* more than a run makes */

/* A run with a fault at its n-th call: what is on the disk afterwards is the last acknowledged
 * state, or the one after it where the manifest says that it does not know. */
static bool run_with_fault(struct rig *rig, uint64_t nth, enum os_sim_fault_kind kind)
{
    struct chain *chain = &rig->chain;
    os_sim_fail_at(rig->sim, nth, kind, false);
    bool is_made = create(rig) == SOMBRA_OK;
    for (int i = 0; is_made && i < 6; i++) {
        chain->key_bytes = i == 3 ? 30000 : 8;
        chain_draft(chain);
        uint32_t digest = version_digest(chain->next, &chain->next_state);
        sombra_err err =
            i == 4 ? manifest_rewrite(rig->manifest, &chain->state, chain->version) : SOMBRA_OK;
        if (!err)
            err = manifest_commit(rig->manifest, &chain->edit, &chain->next_state);
        if (!err) {
            chain_accept(chain);
            continue;
        }
        os_sim_fail(rig->sim, NULL);
        chain_reject(chain);
        uint64_t version;
        uint32_t found;
        assert_ok(read_digest(rig->os, &version, &found));
        if (manifest_has_failed(rig->manifest)) {
            chain_draft(chain);
            assert_fails(SOMBRA_IO,
                         manifest_commit(rig->manifest, &chain->edit, &chain->next_state));
            assert_fails(SOMBRA_IO, manifest_rewrite(rig->manifest, &chain->state, chain->version));
            chain_reject(chain);
            assert_true(found == digest || found == version_digest(chain->version, &chain->state));
            return true;
        }
        assert_int_equal(found, version_digest(chain->version, &chain->state));
    }
    bool has_struck = os_sim_faults(rig->sim) > 0;
    os_sim_fail(rig->sim, NULL);
    if (!is_made)
        assert_false(is_there(rig, NEW_PATH));
    if (is_made && !manifest_has_failed(rig->manifest)) {
        commit(rig);
        expect_newest(rig);
    }
    return has_struck;
}

static void test_manifest__fault_at_any_call_loses_no_acknowledged_edit(void **state)
{
    enum os_sim_fault_kind kinds[] = { OS_SIM_EIO, OS_SIM_ENOSPC, OS_SIM_SHORT, OS_SIM_EINTR };
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        uint64_t struck = 0;
        for (uint64_t nth = 1; nth <= FAULTED_CALLS; nth++) { /* some kinds spare some calls */
            struck += run_with_fault(*state, nth, kinds[i]);
            tear_down(state);
            set_up(state);
        }
        assert_true(struck > 10);
    }
}

static void test_manifest__full_disk_leaves_it_usable(void **state)
{
    struct rig *rig = *state;
    struct chain *chain = &rig->chain;
    assert_ok(create(rig));
    commit(rig);
    chain->key_bytes = 50000;
    do
        chain_draft(chain);
    while (chain->edit.added_count == 0 && (chain_reject(chain), true));
    struct os_sim_fault full = {
        .kind = OS_SIM_ENOSPC, .nth = 1, .is_sticky = true, .calls = 1u << OS_SIM_WRITE
    };
    os_sim_fail(rig->sim, &full);
    assert_fails(SOMBRA_LIMIT, manifest_commit(rig->manifest, &chain->edit, &chain->next_state));
    os_sim_fail(rig->sim, NULL);
    assert_false(manifest_has_failed(rig->manifest));
    expect_newest(rig);
    assert_ok(manifest_commit(rig->manifest, &chain->edit, &chain->next_state));
    chain_accept(chain);
    expect_newest(rig);
}

static void test_manifest__out_of_memory_changes_nothing(void **state)
{
    struct rig *rig = *state;
    struct chain *chain = &rig->chain;
    sombra_err err = SOMBRA_NOMEM;
    uint64_t nth;
    for (nth = 1; err == SOMBRA_NOMEM; nth++) {
        mem_test_fail_at(nth, false);
        err = create(rig);
        mem_test_fail_at(0, false);
    }
    assert_ok(err);
    assert_true(nth > 4);
    chain_draft(chain);
    for (nth = 1, err = SOMBRA_NOMEM; err == SOMBRA_NOMEM; nth++) {
        mem_test_fail_at(nth, false);
        err = manifest_commit(rig->manifest, &chain->edit, &chain->next_state);
        mem_test_fail_at(0, false);
    }
    assert_ok(err);
    chain_accept(chain);
    commit(rig);
    uint64_t live = mem_test_live(), version;
    uint32_t digest;
    for (nth = 1, err = SOMBRA_NOMEM; err == SOMBRA_NOMEM; nth++) {
        mem_test_fail_at(nth, false);
        err = read_digest(rig->os, &version, &digest);
        mem_test_fail_at(0, false);
        assert_int_equal(mem_test_live(), live);
    }
    assert_ok(err);
    assert_true(nth > 8);
    expect_newest(rig);
}

/* ---- rot ---------------------------------------------------------------------------------- */

/* Each commit's mark tells rot of the newest record from a crash's tail, too. */
static void test_manifest__flipped_byte_never_brings_an_older_state(void **state)
{
    struct rig *rig = *state;
    assert_ok(create(rig));
    for (int i = 0; i < 5; i++)
        commit(rig);
    uint64_t bytes = manifest_bytes(rig->manifest), corrupt = 0;
    uint32_t newest = version_digest(rig->chain.version, &rig->chain.state);
    for (uint64_t at = 0; at < bytes + 64; at++) {
        uint64_t version;
        uint32_t digest = 0;
        uint8_t bits = (uint8_t)(1u << at % 8);
        assert_true(os_sim_flip(rig->sim, PATH, at, bits));
        sombra_err err = read_digest(rig->os, &version, &digest);
        if (err) {
            assert_int_equal(err, SOMBRA_CORRUPT);
            assert_non_null(strstr(diag_text(), "manifest " PATH));
            corrupt++;
        } else {
            assert_int_equal(digest, newest);
        }
        assert_true(os_sim_flip(rig->sim, PATH, at, bits));
    }
    assert_true(corrupt > bytes / 2);
    expect_newest(rig);
}

/* ---- hostile records ----------------------------------------------------------------------- */

/* A file of one record with a table, changed before it is sealed. */
static sombra_err read_changed(struct rig *rig, size_t offset, uint64_t value, size_t bytes)
{
    uint8_t payload[MANIFEST_HEADER_BYTES + MANIFEST_TABLE_BYTES + 8], field[8];
    uint8_t *table = payload + MANIFEST_HEADER_BYTES;
    struct wal *wal;
    uint64_t version;
    uint32_t digest;
    memset(payload, 0, sizeof payload);
    memcpy(payload, MANIFEST_MAGIC_TEXT, 8);
    put_le32(payload + MANIFEST_FORMAT, 1);
    put_le32(payload + MANIFEST_KIND, MANIFEST_KIND_WHOLE);
    put_le64(payload + MANIFEST_VERSION, 3);
    put_le64(payload + MANIFEST_NEXT_NUMBER, 10);
    put_le64(payload + MANIFEST_NEXT_RUN, 5);
    put_le64(payload + MANIFEST_ADDED_COUNT, 1);
    put_le64(table + MANIFEST_TABLE_NUMBER, 9);
    put_le64(table + MANIFEST_TABLE_FILE_BYTES, 1000);
    put_le64(table + MANIFEST_TABLE_ENTRIES, 3);
    put_le64(table + MANIFEST_TABLE_RUN, 4);
    put_le32(table + MANIFEST_TABLE_LOW_BYTES, 4);
    put_le32(table + MANIFEST_TABLE_END_BYTES, 4);
    memcpy(table + MANIFEST_TABLE_BYTES, "aaaabbbb", 8);
    put_le64(field, value);
    memcpy(payload + offset, field, bytes);
    struct os_iovec part = { .data = payload, .bytes = sizeof payload };
    (void)!os_unlink(rig->os, PATH);
    assert_ok(wal_create(rig->os, PATH, 0600, 4096, &wal));
    assert_ok(wal_restart(wal, 77, 0));
    assert_ok(wal_reserve(wal, sizeof payload, UINT64_MAX));
    assert_ok(wal_append(wal, 1, 0, &part, 1));
    wal_close(wal);
    return read_digest(rig->os, &version, &digest);
}

static void test_manifest__hostile_record_is_corrupt(void **state)
{
    struct rig *rig = *state;
    enum { TABLE = MANIFEST_HEADER_BYTES };
    static const struct {
        size_t offset;
        uint64_t value;
        size_t bytes;
    } changes[] = {
        { MANIFEST_MAGIC, 0, 4 },
        { MANIFEST_KIND, MANIFEST_KIND_EDIT, 4 },
        { MANIFEST_KIND, 3, 4 },
        { MANIFEST_VERSION, UINT64_MAX, 8 },
        { MANIFEST_NEXT_NUMBER, 9, 8 },
        { MANIFEST_NEXT_NUMBER, UINT64_MAX, 8 },
        { MANIFEST_NEXT_RUN, 4, 8 },
        { MANIFEST_SEQ, UINT64_C(3) << 62, 8 },
        { MANIFEST_LOG_SEQ, UINT64_MAX, 8 },
        { MANIFEST_FLAGS, 2, 4 },
        { MANIFEST_ZERO, 1, 4 },
        { MANIFEST_REMOVED_COUNT, 1, 8 },
        { MANIFEST_REMOVED_COUNT, UINT64_MAX / 8, 8 },
        { MANIFEST_ADDED_COUNT, 0, 8 },
        { MANIFEST_ADDED_COUNT, 2, 8 },
        { MANIFEST_ADDED_COUNT, UINT64_MAX, 8 },
        { TABLE + MANIFEST_TABLE_NUMBER, 0, 8 },
        { TABLE + MANIFEST_TABLE_FILE_BYTES, 0, 8 },
        { TABLE + MANIFEST_TABLE_DELETES, 4, 8 },
        { TABLE + MANIFEST_TABLE_LEVEL, LSM_LEVELS, 4 },
        { TABLE + MANIFEST_TABLE_LEVEL, 1, 4 },
        { TABLE + MANIFEST_TABLE_LOW_BYTES, 5, 4 },
        { TABLE + MANIFEST_TABLE_LOW_BYTES, UINT32_MAX, 4 },
        { TABLE + MANIFEST_TABLE_END_BYTES, 3, 4 },
        { TABLE + MANIFEST_TABLE_END_BYTES, UINT32_MAX - 3, 4 },
        { TABLE + MANIFEST_TABLE_PAD, 1, 4 },
        { TABLE + MANIFEST_TABLE_BYTES, 0x62626262, 4 }, /* low = end */
    };
    assert_ok(read_changed(rig, 0, 0, 0));
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        sombra_err err = read_changed(rig, changes[i].offset, changes[i].value, changes[i].bytes);
        if (err != SOMBRA_CORRUPT)
            fail_msg("change %zu: %s", i, sombra_err_name(err));
        assert_non_null(strstr(diag_text(), "manifest " PATH));
        assert_non_null(strstr(diag_text(), "record 1"));
    }
}

static void test_manifest__newer_format_is_unsupported(void **state)
{
    struct rig *rig = *state;
    assert_fails(SOMBRA_UNSUPPORTED, read_changed(rig, MANIFEST_FORMAT, 2, 4));
    assert_non_null(strstr(diag_text(), "format 2"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_manifest__##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(is_read_as_it_was_written),
        TEST(new_file_replaces_that_of_a_crash),
        TEST(outgrows_its_version_and_is_rewritten),
        TEST(any_power_cut_leaves_a_committed_state),
        TEST(fault_at_any_call_loses_no_acknowledged_edit),
        TEST(full_disk_leaves_it_usable),
        TEST(out_of_memory_changes_nothing),
        TEST(flipped_byte_never_brings_an_older_state),
        TEST(hostile_record_is_corrupt),
        TEST(newer_format_is_unsupported),
    };
    mem_test_live(); /* counting begins */
    return cmocka_run_group_tests_name("lsm_manifest", tests, NULL, NULL);
}
