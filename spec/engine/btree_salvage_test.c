/* SPDX-License-Identifier: MIT */
/* What is readable of a damaged file comes back, nothing that was not there does, and the report
 * says what is missing.
 */
#include "btree_fixture.h"

#include "btree/meta_format.h"
#include "btree/page/page.h"

#include <inttypes.h>

enum { PAGE_BYTES = 4096, META_PAGES = META_AREA_BYTES / PAGE_BYTES };

static struct btree_options small_options(void)
{
    return (struct btree_options){ .page_bytes = PAGE_BYTES,
                                   .map_bytes_max = TEST_MAP_BYTES,
                                   .no_background = true };
}

/* A database on a simulated machine, closed, and what was in it. */
struct victim {
    struct store store;
    struct kv *memory; /* the content */
    struct buf bytes;  /* of the file */
};

static void copy_all(struct kv *from, struct kv *to)
{
    struct kv_txn *txn = kv_begin_read(from), *write = kv_begin_write(to);
    struct kv_cursor *cursor;
    bool found;
    expect_ok(kv_delete_range(write, (struct kv_range){ 0 }, NULL));
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (;;) {
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        if (!found)
            break;
        expect_ok(kv_put(write, cursor->entry.key, cursor->entry.value));
    }
    kv_cursor_close(cursor);
    kv_abort(txn);
    kv_commit_ok(write);
}

static void fill(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 3000, 40, 0);
    uint8_t key[9] = "d";
    for (uint64_t i = 0; i < 2000; i++) { /* dense */
        put_le64(key + 1, ENDIAN_LE(64, __builtin_bswap64(i)));
        expect_ok(kv_put(txn, slice_of(key, sizeof key), slice_of(NULL, 0)));
    }
    put_sized(txn, "value of one page", 1, 2000);
    put_sized(txn, "value of pages", 2, 3 * PAGE_BYTES);
    put_sized(txn, "value of more pages", 3, 9 * PAGE_BYTES);
    kv_commit_ok(txn);
}

static void bytes_read(struct victim *victim)
{
    struct os_file *file;
    uint64_t bytes;
    uint8_t *to;
    expect_ok(os_open(victim->store.os, victim->store.path, OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    buf_reset(&victim->bytes);
    expect_ok(buf_extend(&victim->bytes, (size_t)bytes, &to));
    expect_ok(os_read(file, 0, to, (size_t)bytes));
    os_close(file);
}

static void bytes_write(struct victim *victim)
{
    struct os_file *file;
    expect_ok(os_open(victim->store.os, victim->store.path, OS_WRITE, 0, &file));
    expect_ok(os_truncate(file, 0));
    expect_ok(os_write(file, 0, victim->bytes.data, victim->bytes.bytes));
    os_close(file);
}

static void victim_init(struct victim *victim)
{
    struct btree_options options = small_options();
    *victim = (struct victim){ .bytes = BUF_INIT };
    store_init_simulated(&victim->store, &options);
    expect_ok(btree_open(os_posix(), BTREE_MEMORY, &options, &victim->memory));
    fill(victim->store.kv);
}

/* Closes the file and remembers what is in it. */
static void victim_close(struct victim *victim)
{
    copy_all(victim->store.kv, victim->memory);
    store_close(&victim->store);
    bytes_read(victim);
}

static void victim_release(struct victim *victim)
{
    expect_ok(kv_close(victim->memory));
    store_release(&victim->store);
    buf_release(&victim->bytes);
}

static const uint8_t *page_at(const struct victim *victim, page_id id)
{
    return victim->bytes.data + id * PAGE_BYTES;
}
static uint64_t pages_of(const struct victim *victim)
{
    return victim->bytes.bytes / PAGE_BYTES;
}

static void flip(struct victim *victim, uint64_t offset)
{
    assert_true(os_sim_flip(victim->store.sim, victim->store.path, offset, 0x40));
}

/* What the newest meta record names. */
static uint64_t meta_field(const struct victim *victim, size_t field)
{
    const uint8_t *slots = victim->bytes.data;
    bool is_second =
        get_le64(slots + META_SLOT_BYTES + META_SEQUENCE) > get_le64(slots + META_SEQUENCE);
    return get_le64(slots + (is_second ? META_SLOT_BYTES : 0) + field);
}

/* ---- salvage and compare ----------------------------------------------------------------- */

static sombra_err salvage_to(struct victim *victim, const char *to,
                             struct btree_salvage_report *report)
{
    return btree_salvage(victim->store.os, victim->store.path, to, NULL, report);
}

/* Every entry of the new file was in the old one, with this value; returns how many are missing. */
static uint64_t content_compare(struct victim *victim, const char *path, const char *what)
{
    struct btree_options options = small_options();
    struct kv *kv;
    bool found;
    uint64_t common = 0, all = 0;
    expect_ok(btree_open(victim->store.os, path, &options, &kv));
    kv_expect_sound(kv);
    struct kv_txn *txn = kv_begin_read(kv), *old = kv_begin_read(victim->memory);
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (;;) {
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        if (!found)
            break;
        sombra_slice value;
        if (kv_get(old, cursor->entry.key, &value))
            fail_msg("%s: a key came out that was not there", what);
        if (!slice_equal(value, cursor->entry.value))
            fail_msg("%s: a key came out with another value", what);
        common++;
    }
    expect_ok(kv_count(old, (struct kv_range){ 0 }, 0, &all));
    kv_cursor_close(cursor);
    kv_abort(txn);
    kv_abort(old);
    expect_ok(kv_close(kv));
    return all - common;
}

static uint64_t salvage_compare(struct victim *victim, const char *what,
                                struct btree_salvage_report *report)
{
    sombra_err err = salvage_to(victim, "new", report);
    if (err)
        fail_msg("%s: %s: %s", what, sombra_err_name(err), sombra_err_message());
    uint64_t missing = content_compare(victim, "new", what);
    expect_ok(os_unlink(victim->store.os, "new"));
    if (report->is_lost_exact && !report->is_log_incomplete && report->entries_lost != missing)
        fail_msg("%s: %" PRIu64 " entries are missing, reported are %" PRIu64, what, missing,
                 report->entries_lost);
    return missing;
}

/* ---- facts ------------------------------------------------------------------------------- */

static void test_salvage__of_a_sound_file_is_a_copy(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    victim_close(&victim);
    assert_int_equal(salvage_compare(&victim, "sound", &report), 0);
    assert_int_equal(report.entries, 5003);
    assert_int_equal(report.page_bytes, PAGE_BYTES);
    assert_int_equal(report.problems + report.pages_damaged + report.ranges_lost, 0);
    assert_int_equal(report.entries_lost + report.entries_unreached + report.entries_uncertain, 0);
    assert_true(report.is_lost_exact && !report.is_log_incomplete);
    /* The source is as it was. */
    struct buf before = BUF_INIT;
    expect_ok(buf_set(&before, buf_slice(&victim.bytes)));
    bytes_read(&victim);
    assert_true(slice_equal(buf_slice(&before), buf_slice(&victim.bytes)));
    buf_release(&before);
    victim_release(&victim);
}

/* Which page a run of overflow pages begins at is in its first page only. */
static bool is_in_run(const struct victim *victim, page_id id)
{
    for (page_id at = META_PAGES; at <= id; at++) {
        const uint8_t *page = page_at(victim, at);
        if (page_kind(page) != PAGE_OVERFLOW || page_number(page) != at || !page_is_sealed(page))
            continue;
        page_id end = at + (32 + get_le64(page + 24) + PAGE_BYTES - 1) / PAGE_BYTES;
        if (id < end)
            return true;
        at = end - 1;
    }
    return false;
}

static void test_salvage__loses_no_more_than_the_damaged_page(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    victim_close(&victim);
    unsigned leaves = 0, branches = 0, runs = 0;
    for (page_id id = 0; id < pages_of(&victim); id++) {
        const uint8_t *page = page_at(&victim, id);
        bool is_run = id >= META_PAGES && is_in_run(&victim, id);
        char what[64];
        snprintf(what, sizeof what, "damaged page %" PRIu64, id);
        flip(&victim, id * PAGE_BYTES + 60);
        uint64_t missing = salvage_compare(&victim, what, &report);
        uint64_t allowed = 0;
        if (is_run)
            allowed = 1;
        else if (id >= META_PAGES && page_number(page) == id && page_is_sealed(page) &&
                 (page_kind(page) == PAGE_LEAF || page_kind(page) == PAGE_DENSE))
            allowed = page_count(page);
        bool is_branch = !is_run && id >= META_PAGES && page_number(page) == id &&
                         page_kind(page) == PAGE_BRANCH;
        if (missing > allowed)
            fail_msg("%s: %" PRIu64 " entries are lost, %" PRIu64 " stood there", what, missing,
                     allowed);
        if (missing) {
            assert_true(report.problems > 0 && report.pages_damaged > 0);
            assert_int_equal(report.values_lost, is_run);
            assert_int_equal(report.ranges_lost, !is_run);
        }
        assert_int_equal(report.entries_uncertain, 0);
        branches += is_branch && report.entries_unreached > 0;
        leaves += missing > 1;
        runs += is_run && missing == 1;
        flip(&victim, id * PAGE_BYTES + 60);
    }
    assert_true(leaves > 20 && branches > 0 && runs == 13);
    victim_release(&victim);
}

static void metas_destroy(struct victim *victim)
{
    flip(victim, 50);
    flip(victim, META_SLOT_BYTES + 50);
}

static void test_salvage__finds_the_tree_without_a_meta_record(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    /* Older generations of most pages are in the file. */
    for (uint64_t salt = 1; salt < 4; salt++) {
        struct kv_txn *txn = kv_begin_write(victim.store.kv);
        kv_put_numbers(txn, 0, 3000, 40, salt);
        kv_commit_ok(txn);
        store_reopen(&victim.store);
    }
    victim_close(&victim);
    metas_destroy(&victim);
    assert_int_equal(salvage_compare(&victim, "no meta", &report), 0);
    assert_int_equal(report.entries, 5003);
    assert_int_equal(report.entries_uncertain, 0);
    assert_true(report.problems >= 2 && !report.is_lost_exact);
    /* And the root. */
    page_id root = meta_field(&victim, META_ROOT);
    assert_int_equal(page_kind(page_at(&victim, root)), PAGE_BRANCH);
    flip(&victim, root * PAGE_BYTES + 60);
    assert_int_equal(salvage_compare(&victim, "no meta, no root", &report), 0);
    assert_true(report.entries_unreached > 0);
    victim_release(&victim);
}

static void test_salvage__finds_the_size_of_pages(void **state)
{
    (void)state;
    for (size_t page_bytes = PAGE_BYTES_MIN; page_bytes <= PAGE_BYTES_MAX; page_bytes *= 2) {
        struct victim victim;
        struct btree_salvage_report report;
        struct btree_options options = small_options();
        options.page_bytes = page_bytes;
        victim = (struct victim){ .bytes = BUF_INIT };
        store_init_simulated(&victim.store, &options);
        expect_ok(btree_open(os_posix(), BTREE_MEMORY, &options, &victim.memory));
        fill(victim.store.kv);
        victim_close(&victim);
        metas_destroy(&victim);
        assert_int_equal(salvage_compare(&victim, "no meta", &report), 0);
        assert_int_equal(report.page_bytes, page_bytes);
        victim_release(&victim);
    }
}

static void test_salvage__of_a_cut_file_has_what_is_left(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    victim_close(&victim);
    size_t whole = victim.bytes.bytes;
    uint64_t last_missing = UINT64_MAX, full = 0;
    for (size_t eighths = 1; eighths < 8; eighths++) {
        victim.bytes.bytes = whole * eighths / 8 + 100;
        bytes_write(&victim);
        uint64_t missing = salvage_compare(&victim, "cut", &report);
        assert_true(missing > 0 && missing <= last_missing);
        assert_true(report.problems > 0);
        last_missing = missing;
        full += missing == 5003;
    }
    assert_true(full < 4 && last_missing < 2500);
    victim_release(&victim);
}

static void flip_maps(struct victim *victim)
{
    for (page_id id = META_PAGES; id < pages_of(victim); id++) {
        enum page_kind kind = page_kind(page_at(victim, id));
        if (page_number(page_at(victim, id)) == id &&
            (kind == PAGE_SPACE || kind == PAGE_SPACE_MAP))
            flip(victim, id * PAGE_BYTES + 60);
    }
}

static void flip_branches(struct victim *victim)
{
    for (page_id id = META_PAGES; id < pages_of(victim); id++)
        if (page_number(page_at(victim, id)) == id && page_kind(page_at(victim, id)) == PAGE_BRANCH)
            flip(victim, id * PAGE_BYTES + 60);
}

/* Every branch of every generation is damaged: all leaves of all generations are without a parent,
 * and the space maps tell them apart; without the maps their transactions do. */
static void test_salvage__brings_no_older_generation_back(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    for (uint64_t salt = 1; salt < 5; salt++) {
        struct kv_txn *txn = kv_begin_write(victim.store.kv);
        kv_put_numbers(txn, 500 * salt, 500 * salt + 900, 40, salt);
        kv_commit_ok(txn);
        store_reopen(&victim.store);
    }
    victim_close(&victim);
    flip_branches(&victim);
    assert_int_equal(salvage_compare(&victim, "no branch", &report), 0);
    assert_int_equal(report.entries_unreached, 5003);
    assert_int_equal(report.entries_uncertain, 0);
    flip_maps(&victim);
    assert_int_equal(salvage_compare(&victim, "no branch, no map", &report), 0);
    assert_int_equal(report.entries_uncertain, 5003);
    assert_false(report.is_lost_exact);
    metas_destroy(&victim);
    assert_int_equal(salvage_compare(&victim, "nothing but leaves", &report), 0);
    victim_release(&victim);
}

static void test_salvage__brings_nothing_deleted_back_when_maps_are_sound(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    uint8_t key[8];
    victim_init(&victim);
    for (uint64_t from = 0; from < 3; from++) {
        struct kv_txn *txn = kv_begin_write(victim.store.kv);
        for (uint64_t i = from; i < 3000; i += 4)
            expect_ok(kv_delete(txn, kv_number_key(i, key)));
        kv_commit_ok(txn);
        store_reopen(&victim.store);
    }
    victim_close(&victim);
    flip_branches(&victim);
    assert_int_equal(salvage_compare(&victim, "no branch", &report), 0);
    assert_int_equal(report.entries, 750 + 2003);
    victim_release(&victim);
}

/* A damaged leaf must not be filled from its own older generations. */
static void test_salvage__leaves_the_gap_of_a_damaged_leaf(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    store_reopen(&victim.store);
    struct kv_txn *txn = kv_begin_write(victim.store.kv);
    kv_put_numbers(txn, 1000, 1010, 40, 7); /* the old leaf stays in the file, unused */
    kv_commit_ok(txn);
    victim_close(&victim);
    uint64_t newest = 0, leaf = 0;
    for (page_id id = META_PAGES; id < pages_of(&victim); id++) {
        const uint8_t *page = page_at(&victim, id);
        if (page_number(page) == id && page_is_sealed(page) && page_kind(page) == PAGE_LEAF &&
            page_txn(page) > newest) {
            newest = page_txn(page);
            leaf = id;
        }
    }
    flip(&victim, leaf * PAGE_BYTES + 60);
    uint64_t missing = salvage_compare(&victim, "newest leaf", &report);
    assert_int_equal(missing, page_count(page_at(&victim, leaf)));
    assert_int_equal(report.entries_unreached, 0);
    /* The branch names the leaf: also without the maps no other one is it. */
    flip_maps(&victim);
    assert_int_equal(salvage_compare(&victim, "newest leaf, no map", &report), missing);
    assert_int_equal(report.entries_unreached, 0);
    assert_true(report.is_lost_exact);
    victim_release(&victim);
}

/* ---- the log ----------------------------------------------------------------------------- */

/* A store that was killed: its newest commits are in the log. */
static struct os_sim *killed_machine(struct victim *victim)
{
    store_reopen(&victim->store);
    store_use_log(victim->store.kv);
    for (uint64_t salt = 1; salt <= 3; salt++) {
        uint8_t key[8];
        struct kv_txn *txn = kv_begin_write(victim->store.kv);
        kv_put_numbers(txn, 100 * salt, 100 * salt + 50, 40, salt);
        expect_ok(kv_delete(txn, kv_number_key(2000 + salt, key)));
        expect_ok(kv_delete_range(
            txn, (struct kv_range){ slice_str("value of o"), slice_str("value of o~") }, NULL));
        kv_commit_ok(txn);
    }
    copy_all(victim->store.kv, victim->memory);
    struct os_sim *machine = os_sim_crash(victim->store.sim, OS_SIM_NOTHING, 1);
    store_close(&victim->store);
    return machine;
}

static void machine_take(struct victim *victim, struct os_sim *machine)
{
    os_sim_free(victim->store.sim);
    victim->store.sim = machine;
    victim->store.os = os_sim_start(machine);
    bytes_read(victim);
}

static void test_salvage__applies_the_log(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    machine_take(&victim, killed_machine(&victim));
    assert_int_equal(salvage_compare(&victim, "killed", &report), 0);
    assert_int_equal(report.txns_replayed, 3);
    assert_false(report.is_log_incomplete);
    assert_int_equal(report.problems, 0);
    /* Deletions of what is lost are no contradiction. */
    flip_branches(&victim);
    assert_int_equal(salvage_compare(&victim, "killed, no branch", &report), 0);
    assert_int_equal(report.txns_replayed, 3);
    flip_branches(&victim);
    victim_release(&victim);
}

static void test_salvage__says_when_the_log_is_lost(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    machine_take(&victim, killed_machine(&victim));
    for (uint64_t offset = 100; offset < 5000; offset += 1200) {
        assert_true(os_sim_flip(victim.store.sim, "store-log0", offset, 4));
        expect_ok(salvage_to(&victim, "new", &report));
        expect_ok(os_unlink(victim.store.os, "new"));
        assert_true(report.is_log_incomplete || report.txns_replayed < 3);
        assert_true(os_sim_flip(victim.store.sim, "store-log0", offset, 4));
    }
    expect_ok(os_unlink(victim.store.os, "store-log0"));
    expect_ok(salvage_to(&victim, "new", &report));
    expect_ok(os_unlink(victim.store.os, "new"));
    assert_true(report.is_log_incomplete && report.problems == 1);
    assert_int_equal(report.entries, 5003);
    assert_int_equal(report.entries_lost, 0);
    victim_release(&victim);
}

/* The newest meta record of a store in use is damaged; the tree of the older one was partly
 * overwritten since. */
static void test_salvage__prefers_the_newer_checkpoint_to_the_older_meta(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    store_reopen(&victim.store);
    for (uint64_t salt = 1; salt <= 6; salt++) {
        struct kv_maintenance job = { .kind = KV_CHECKPOINT };
        struct kv_txn *txn = kv_begin_write(victim.store.kv);
        kv_put_numbers(txn, 0, 3000, 40, salt);
        kv_commit_ok(txn);
        expect_ok(kv_maintain(victim.store.kv, &job));
    }
    copy_all(victim.store.kv, victim.memory);
    struct os_sim *machine = os_sim_crash(victim.store.sim, OS_SIM_NOTHING, 1);
    store_close(&victim.store);
    machine_take(&victim, machine);
    bool is_second = get_le64(victim.bytes.data + META_SLOT_BYTES + META_SEQUENCE) >
                     get_le64(victim.bytes.data + META_SEQUENCE);
    flip(&victim, (is_second ? META_SLOT_BYTES : 0) + 50);
    expect_ok(salvage_to(&victim, "new", &report));
    uint64_t missing = content_compare(&victim, "new", "newest meta damaged");
    assert_int_equal(missing, 0);
    assert_true(report.problems >= 1);
    expect_ok(os_unlink(victim.store.os, "new"));
    victim_release(&victim);
}

/* ---- refusals ---------------------------------------------------------------------------- */

static sombra_err name_count(void *context, const char *name)
{
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        (*(unsigned *)context)++;
    return SOMBRA_OK;
}

static unsigned names_in(struct os *os)
{
    unsigned count = 0;
    expect_ok(os_list_directory(os, ".", name_count, &count));
    return count;
}

static bool cancel_at(void *context, uint64_t done, uint64_t total)
{
    uint64_t *left = context;
    assert_true(done <= total);
    return (*left)-- > 1;
}

static void test_salvage__refuses_cleanly(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    expect_err(SOMBRA_BUSY, salvage_to(&victim, "new", &report));
    victim_close(&victim);
    unsigned names = names_in(victim.store.os);
    expect_err(SOMBRA_EXISTS, salvage_to(&victim, victim.store.path, &report));
    expect_err(SOMBRA_NOT_FOUND, btree_salvage(victim.store.os, "missing", "new", NULL, &report));
    uint64_t left = 0;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        left = nth;
        const struct btree_salvage_options options = { .progress = cancel_at, .context = &left };
        expect_err(SOMBRA_CANCELLED,
                   btree_salvage(victim.store.os, victim.store.path, "new", &options, &report));
    }
    assert_int_equal(names_in(victim.store.os), names);
    memset(victim.bytes.data, 0x55, victim.bytes.bytes);
    bytes_write(&victim);
    expect_err(SOMBRA_INVALID, salvage_to(&victim, "new", &report));
    victim.bytes.bytes = 0;
    bytes_write(&victim);
    expect_err(SOMBRA_INVALID, salvage_to(&victim, "new", &report));
    assert_int_equal(names_in(victim.store.os), names);
    victim_release(&victim);
}

static void test_salvage__passes_unreadable_sectors_by(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    victim_close(&victim);
    page_id root = meta_field(&victim, META_ROOT);
    assert_true(os_sim_break(victim.store.sim, victim.store.path, root * PAGE_BYTES, 512));
    assert_int_equal(salvage_compare(&victim, "unreadable root", &report), 0);
    assert_int_equal(report.entries_unreached, 5003);
    victim_release(&victim);
}

static void test_salvage__fails_cleanly_at_every_call(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    victim_close(&victim);
    flip_branches(&victim);
    unsigned names = names_in(victim.store.os);
    uint64_t before = os_sim_calls(victim.store.sim);
    assert_int_equal(salvage_compare(&victim, "no branch", &report), 0);
    uint64_t calls = os_sim_calls(victim.store.sim) - before;
    for (uint64_t nth = 1; nth <= calls; nth++) {
        os_sim_fail_at(victim.store.sim, nth, OS_SIM_EIO, false);
        sombra_err err = salvage_to(&victim, "new", &report);
        os_sim_fail(victim.store.sim, NULL);
        if (err)
            expect_err(SOMBRA_IO, err);
        else
            assert_int_equal(content_compare(&victim, "new", "after a fault"), 0);
        sombra_err unlinked = os_unlink(victim.store.os, "new");
        assert_int_equal(unlinked, err ? SOMBRA_NOT_FOUND : SOMBRA_OK);
        /* A failed unlink leaves a name under which nobody looks. */
        assert_true(names_in(victim.store.os) <= names + nth);
    }
    victim_release(&victim);
}

static void test_salvage__survives_failing_allocations(void **state)
{
    (void)state;
    struct victim victim;
    struct btree_salvage_report report;
    (void)mem_test_live();
    victim_init(&victim);
    machine_take(&victim, killed_machine(&victim));
    flip_branches(&victim);
    uint64_t before = mem_test_allocations();
    expect_ok(salvage_to(&victim, "new", &report));
    uint64_t allocations = mem_test_allocations() - before;
    expect_ok(os_unlink(victim.store.os, "new"));
    uint64_t live = mem_test_live();
    unsigned names = names_in(victim.store.os);
    for (uint64_t nth = 1; nth <= allocations; nth++) {
        mem_test_fail_at(nth, false);
        sombra_err err = salvage_to(&victim, "new", &report);
        mem_test_fail_at(0, false);
        if (err)
            expect_err(SOMBRA_NOMEM, err);
        else
            expect_ok(os_unlink(victim.store.os, "new"));
        assert_int_equal(mem_test_live(), live);
        assert_int_equal(names_in(victim.store.os), names);
    }
    flip_branches(&victim);
    victim_release(&victim);
}

/* Whatever is overwritten: no crash, and no entry that was not there. */
static void test_salvage__of_random_damage_invents_nothing(void **state)
{
    (void)state;
    uint64_t seed = kv_test_seed("random damage");
    struct victim victim;
    struct btree_salvage_report report;
    victim_init(&victim);
    for (uint64_t salt = 1; salt < 3; salt++) {
        struct kv_txn *txn = kv_begin_write(victim.store.kv);
        kv_put_numbers(txn, 0, 3000, 40, salt);
        kv_commit_ok(txn);
        store_reopen(&victim.store);
    }
    victim_close(&victim);
    struct buf whole = BUF_INIT;
    expect_ok(buf_set(&whole, buf_slice(&victim.bytes)));
    unsigned rounds = test_is_long() ? 1000 : 60, refused = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        expect_ok(buf_set(&victim.bytes, buf_slice(&whole)));
        uint64_t wounds = 1 + hash_u64(seed + round) % 40;
        for (uint64_t i = 0; i < wounds; i++) {
            uint64_t word = hash_u64(seed * 31 + round * 64 + i);
            /* The maps and metas stay, for without them deleted edges may come back. */
            page_id id = META_PAGES + word % (pages_of(&victim) - META_PAGES);
            enum page_kind kind = page_kind(page_at(&victim, id));
            if (kind == PAGE_SPACE || kind == PAGE_SPACE_MAP)
                continue;
            size_t in_page = (word >> 32) % PAGE_BYTES, at = id * PAGE_BYTES + in_page;
            size_t bytes = size_min((word >> 50) % 600 + 1, PAGE_BYTES - in_page);
            for (size_t b = 0; b < bytes; b++)
                victim.bytes.data[at + b] = (uint8_t)hash_u64(word + b);
        }
        bytes_write(&victim);
        char what[64];
        snprintf(what, sizeof what, "seed %" PRIu64 ", round %" PRIu64, seed, round);
        sombra_err err = salvage_to(&victim, "new", &report);
        if (err)
            fail_msg("%s: %s", what, sombra_err_message());
        uint64_t missing = content_compare(&victim, "new", what);
        refused += missing > 0;
        expect_ok(os_unlink(victim.store.os, "new"));
        if (report.is_lost_exact && report.entries_lost != missing)
            fail_msg("%s: %" PRIu64 " are missing, reported %" PRIu64, what, missing,
                     report.entries_lost);
    }
    assert_true(refused > rounds / 4);
    buf_release(&whole);
    victim_release(&victim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_salvage__of_a_sound_file_is_a_copy),
        cmocka_unit_test(test_salvage__loses_no_more_than_the_damaged_page),
        cmocka_unit_test(test_salvage__finds_the_tree_without_a_meta_record),
        cmocka_unit_test(test_salvage__finds_the_size_of_pages),
        cmocka_unit_test(test_salvage__of_a_cut_file_has_what_is_left),
        cmocka_unit_test(test_salvage__brings_no_older_generation_back),
        cmocka_unit_test(test_salvage__brings_nothing_deleted_back_when_maps_are_sound),
        cmocka_unit_test(test_salvage__leaves_the_gap_of_a_damaged_leaf),
        cmocka_unit_test(test_salvage__applies_the_log),
        cmocka_unit_test(test_salvage__says_when_the_log_is_lost),
        cmocka_unit_test(test_salvage__prefers_the_newer_checkpoint_to_the_older_meta),
        cmocka_unit_test(test_salvage__refuses_cleanly),
        cmocka_unit_test(test_salvage__passes_unreadable_sectors_by),
        cmocka_unit_test(test_salvage__fails_cleanly_at_every_call),
        cmocka_unit_test(test_salvage__survives_failing_allocations),
        cmocka_unit_test(test_salvage__of_random_damage_invents_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
