/* SPDX-License-Identifier: MIT */
/* Commits of one put that change pages where they are, beside everything: threads that read,
 * checkpoints, compactions, backups, processes that come and go, kills and stops at any moment. A
 * history in memory that the processes share says what each key was as of each commit, and every
 * snapshot must be exactly that. After a kill there is every acknowledged commit, and at most one
 * more. SOMBRA_SEED repeats the choices, SOMBRA_SECONDS is how long each test takes.
 */
#include "btree_fixture.h"
#include "child.h"

#include "btree/btree_internal.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
    KEYS = 2500,
    NODES = 1 << 22,
    KEY_BYTES = 32,
    VALUE_MAX = 3100,
    OPS_MAX = 4,
    SWEEP_MAX = 24
};

/* What a commit made of a key. Node 0 is none. */
struct node {
    uint64_t version, number; /* number 0 = deleted */
    uint32_t before, key;
    bool is_last; /* of its transaction; a put */
};

/* Changed by who has the writer's turn. */
struct history {
    _Atomic uint32_t heads[KEYS], count;
    _Atomic uint64_t number;
    _Atomic uint64_t pending;       /* number of a commit that may have happened; 0 = none */
    _Atomic uint32_t pending_first; /* its nodes: from this one to `count` */
    _Atomic uint64_t pending_version;
    _Atomic uint64_t commits, edits, sweeps, batches, snapshots, attached, refused;
    _Atomic uint32_t is_over;
    struct node nodes[NODES];
};

static struct history *history;
static struct store files; /* where they are; not open */
static uint64_t seed;
static pid_t parent;

static struct btree *store_of(struct kv *kv)
{
    return container_of(kv, struct btree, kv);
}

static uint64_t dice_below(uint64_t *state, uint64_t end)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (*state * UINT64_C(0x2545f4914f6cdd1d) >> 32) % end;
}

static sombra_slice key_of(uint32_t key, char to[KEY_BYTES])
{
    int bytes = snprintf(to, KEY_BYTES, "%c/%05u%.*s", 'a' + (int)(key % 3), key, (int)(key % 9),
                         "tttttttttttt");
    return slice_of(to, (size_t)bytes);
}

static sombra_slice value_of(uint64_t number, uint8_t to[VALUE_MAX])
{
    uint64_t hash = hash_u64(number);
    size_t bytes = hash % 257 == 0 ? 3000 : 8 + hash % 60;
    memset(to, (int)(number % 251), bytes);
    put_le64(to, number);
    return slice_of(to, bytes);
}

/* ---- the history ------------------------------------------------------------------------- */

static uint32_t node_at(uint32_t key, uint64_t version)
{
    uint32_t at = atomic_load(&history->heads[key]);
    while (at && history->nodes[at].version > version)
        at = history->nodes[at].before;
    return at;
}

static bool is_value(uint64_t number, sombra_err err, sombra_slice value)
{
    uint8_t bytes[VALUE_MAX];
    if (!number || err)
        return !number && err == SOMBRA_NOT_FOUND;
    return slice_equal(value, value_of(number, bytes));
}

/* Has what a snapshot reads been so as of its commit? The history is a moment behind where a writer
 * was killed. */
static void expect_was(struct kv_txn *txn, uint32_t key, sombra_err err, sombra_slice value)
{
    enum { TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        uint32_t at = node_at(key, txn->version);
        if (is_value(history->nodes[at].number, err, value))
            return;
        os_sleep_us(os_posix(), 1000);
        if (i + 1 == TRIES && atomic_load(&history->pending) &&
            history->nodes[at].version == atomic_load(&history->pending_version) &&
            is_value(history->nodes[history->nodes[at].before].number, err, value))
            return;
    }
    uint32_t at = node_at(key, txn->version);
    fprintf(stderr,
            "key %u as of %" PRIu64 ": %s, number %" PRIu64 " of %zu bytes; in the history %" PRIu64
            " of commit %" PRIu64 ", before it %" PRIu64 "\n",
            key, txn->version, sombra_err_name(err),
            !err && value.bytes >= 8 ? get_le64(value.data) : 0, err ? 0 : value.bytes,
            history->nodes[at].number, history->nodes[at].version,
            history->nodes[history->nodes[at].before].number);
    die("a snapshot that no commit was", err);
}

/* With the turn: what another process was doing when it was killed. */
static void history_settle(struct kv_txn *txn)
{
    uint64_t pending = atomic_load(&history->pending);
    if (!pending)
        return;
    uint32_t first = atomic_load(&history->pending_first), count = atomic_load(&history->count);
    char key[KEY_BYTES];
    sombra_slice value = { 0 };
    bool is_done = false;
    if (count > first && history->nodes[count - 1].is_last) {
        const struct node *last = &history->nodes[count - 1];
        sombra_err err = kv_get(txn, key_of(last->key, key), &value);
        is_done = is_value(last->number, err, value);
    }
    for (uint32_t at = count; !is_done && at-- > first;) {
        uint32_t mine = at;
        (void)atomic_compare_exchange_strong(&history->heads[history->nodes[at].key], &mine,
                                             history->nodes[at].before);
    }
    if (!is_done)
        atomic_store(&history->count, first);
    (void)atomic_compare_exchange_strong(&history->pending, &pending, 0);
}

static void history_add(uint64_t version, uint32_t key, uint64_t number, bool is_last)
{
    uint32_t at = atomic_load(&history->count);
    must_be(at < NODES);
    history->nodes[at] = (struct node){ .version = version,
                                        .number = number,
                                        .before = atomic_load(&history->heads[key]),
                                        .key = key,
                                        .is_last = is_last };
    atomic_store(&history->count, at + 1);
    atomic_store(&history->heads[key], at);
}

/* ---- writing ----------------------------------------------------------------------------- */

struct op {
    uint32_t key;
    uint64_t number;
};

static uint64_t number_now(const struct op *ops, size_t count, uint32_t key)
{
    while (count-- > 0)
        if (ops[count].key == key)
            return ops[count].number;
    return history->nodes[node_at(key, UINT64_MAX)].number;
}

/* By one of the ways to read. */
static void expect_own(struct kv_txn *txn, uint64_t *random, const struct op *ops, size_t count)
{
    uint32_t key = ops[dice_below(random, count)].key;
    uint64_t number = number_now(ops, count, key);
    char text[KEY_BYTES];
    sombra_slice at = key_of(key, text), value = { 0 };
    sombra_err err = SOMBRA_NOT_FOUND;
    struct kv_cursor *cursor;
    bool is_found;
    switch (dice_below(random, 3)) {
    case 0:
        err = kv_get(txn, at, &value);
        break;
    case 1:
        must(kv_cursor_open(txn, (struct kv_range){ .low = at }, &cursor));
        must(kv_cursor_move(cursor, KV_FIRST, slice_of(NULL, 0), &is_found));
        if (is_found && slice_equal(cursor->entry.key, at)) {
            err = SOMBRA_OK;
            value = cursor->entry.value;
        }
        must_be(is_value(number, err, value));
        kv_cursor_close(cursor);
        return;
    default: {
        uint64_t entries = 9;
        char above[KEY_BYTES + 1];
        memcpy(above, at.data, at.bytes);
        above[at.bytes] = 0;
        must(kv_count(txn, (struct kv_range){ at, slice_of(above, at.bytes + 1) }, 0, &entries));
        must_be(entries == (number != 0));
        return;
    }
    }
    must_be(is_value(number, err, value));
}

static void op_apply(struct kv_txn *txn, const struct op *op)
{
    char key[KEY_BYTES];
    uint8_t value[VALUE_MAX];
    if (op->number) {
        must(kv_put(txn, key_of(op->key, key), value_of(op->number, value)));
        return;
    }
    sombra_err err = kv_delete(txn, key_of(op->key, key));
    must_be(!err || err == SOMBRA_NOT_FOUND);
}

/* The last is a put, or the delete of what is there. */
static void ops_commit(struct kv_txn *txn, const struct op *ops, size_t count,
                       enum kv_durability durability)
{
    uint64_t version = container_of(txn, struct btree_txn, kv)->stamp;
    uint64_t number = ops[count - 1].number;
    if (!number)
        number = atomic_fetch_add(&history->number, 1) + 1;
    atomic_store(&history->pending_first, atomic_load(&history->count));
    atomic_store(&history->pending_version, version);
    atomic_store(&history->pending, number);
    for (size_t i = 0; i < count; i++)
        history_add(version, ops[i].key, ops[i].number, i + 1 == count);
    must(kv_commit(txn, durability));
    atomic_fetch_add(&history->commits, 1);
    (void)atomic_compare_exchange_strong(&history->pending, &number, 0);
}

/* So that it happens often: commits neither copy for long after a reader has waited, nor after
 * another process has gone. */
static void edits_press(struct edits *edits, uint64_t *random)
{
    enum { LOOKS = 4096 };
    if (dice_below(random, 3) == 0)
        edits->pause = edits->pause_last = edits->many_pause = 0;
    if (dice_below(random, 50) == 0)
        edits->looks = LOOKS - 1;
}

/* Deletes and nothing else; false: there is nothing to end with. */
static bool sweep_step(struct kv_txn *txn, uint64_t *random)
{
    struct kv *kv = txn->kv;
    page_id root = container_of(txn, struct btree_txn, kv)->snapshot.root;
    struct op ops[SWEEP_MAX];
    size_t count = 1 + dice_below(random, SWEEP_MAX);
    uint32_t first = (uint32_t)dice_below(random, KEYS);
    bool is_row = dice_below(random, 2);
    for (size_t i = 0; i < count; i++) {
        uint32_t key = is_row ? (first + (uint32_t)i) % KEYS : (uint32_t)dice_below(random, KEYS);
        if (i + 1 == count)
            for (unsigned tries = 0; !number_now(ops, i, key); tries++, key = (key + 1) % KEYS)
                if (tries == KEYS)
                    return false;
        ops[i] = (struct op){ key, 0 };
        op_apply(txn, &ops[i]);
    }
    ops_commit(txn, ops, count, dice_below(random, 2) ? KV_OFF : KV_NORMAL);
    struct snapshot newest;
    head_newest(store_of(kv)->head, &newest);
    atomic_fetch_add(&history->sweeps, newest.root == root);
    return true;
}

/* Puts and nothing else, some keys twice. */
static void batch_step(struct kv_txn *txn, uint64_t *random)
{
    struct kv *kv = txn->kv;
    page_id root = container_of(txn, struct btree_txn, kv)->snapshot.root;
    struct op ops[SWEEP_MAX];
    size_t count = 2 + dice_below(random, SWEEP_MAX - 1);
    for (size_t i = 0; i < count; i++) {
        uint32_t key = i && dice_below(random, 16) == 0 ? ops[dice_below(random, i)].key
                                                        : (uint32_t)dice_below(random, KEYS);
        ops[i] = (struct op){ key, atomic_fetch_add(&history->number, 1) + 1 };
        op_apply(txn, &ops[i]);
    }
    ops_commit(txn, ops, count, dice_below(random, 2) ? KV_OFF : KV_NORMAL);
    struct snapshot newest;
    head_newest(store_of(kv)->head, &newest);
    atomic_fetch_add(&history->batches, newest.root == root);
}

/* One transaction: mostly one put. */
static void write_step(struct kv *kv, uint64_t *random)
{
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = 60000 };
    struct kv_txn *txn;
    must(kv_begin(kv, &options, &txn));
    history_settle(txn);
    edits_press(&store_of(kv)->edits, random);
    page_id root = container_of(txn, struct btree_txn, kv)->snapshot.root;
    struct op ops[OPS_MAX];
    uint64_t dice = dice_below(random, 100), mark = 0;
    if (dice < 6) {
        if (!sweep_step(txn, random))
            kv_abort(txn);
        return;
    }
    if (dice < 12) {
        batch_step(txn, random);
        return;
    }
    size_t count = dice < 94 ? 1 : 1 + dice_below(random, OPS_MAX);
    for (size_t i = 0; i < count; i++) {
        uint32_t key = (uint32_t)dice_below(random, KEYS);
        if (i && dice_below(random, 3) == 0)
            key = ops[i - 1].key;
        bool deletes = i + 1 < count && dice_below(random, 3) == 0;
        ops[i] = (struct op){ key, deletes ? 0 : atomic_fetch_add(&history->number, 1) + 1 };
        op_apply(txn, &ops[i]);
        if (dice >= 90 && dice_below(random, 2))
            expect_own(txn, random, ops, i + 1);
        if (dice == 93) { /* what is put again is nothing */
            op_apply(txn, &ops[i]);
        } else if (dice >= 98) {
            struct op other = { (uint32_t)dice_below(random, KEYS), 77 };
            must(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
            op_apply(txn, &other);
            must(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
        }
    }
    if (dice == 92) {
        kv_abort(txn);
        return;
    }
    ops_commit(txn, ops, count, dice == 91 ? KV_FULL : dice < 45 ? KV_OFF : KV_NORMAL);
    /* About: another may have written since. */
    struct snapshot newest;
    head_newest(store_of(kv)->head, &newest);
    atomic_fetch_add(&history->edits, newest.root == root);
}

/* ---- reading ----------------------------------------------------------------------------- */

static void expect_some(struct kv_txn *txn, uint64_t *random)
{
    enum { SOME = 60 };
    for (int i = 0; i < SOME; i++) {
        uint32_t key = (uint32_t)dice_below(random, KEYS);
        char text[KEY_BYTES];
        sombra_slice value = { 0 };
        sombra_err err = kv_get(txn, key_of(key, text), &value);
        expect_was(txn, key, err, value);
    }
}

static void expect_all(struct kv_txn *txn)
{
    struct kv_cursor *cursor;
    bool seen[KEYS] = { false };
    uint64_t count = 0, counted = 0;
    must(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (enum kv_motion motion = KV_FIRST;; motion = KV_NEXT) {
        bool is_found;
        must(kv_cursor_move(cursor, motion, slice_of(NULL, 0), &is_found));
        if (!is_found)
            break;
        unsigned key = KEYS;
        char text[KEY_BYTES + 1] = "", want[KEY_BYTES];
        must_be(cursor->entry.key.bytes < KEY_BYTES);
        memcpy(text, cursor->entry.key.data, cursor->entry.key.bytes);
        must_be(sscanf(text + 2, "%5u", &key) == 1 && key < KEYS && !seen[key]);
        must_be(slice_equal(key_of(key, want), cursor->entry.key));
        seen[key] = true;
        count++;
        expect_was(txn, key, SOMBRA_OK, cursor->entry.value);
    }
    kv_cursor_close(cursor);
    must(kv_count(txn, (struct kv_range){ 0 }, 0, &counted));
    must_be(counted == count);
    for (uint32_t key = 0; key < KEYS; key++)
        if (!seen[key])
            expect_was(txn, key, SOMBRA_NOT_FOUND, slice_of(NULL, 0));
}

static void read_step(struct kv *kv, uint64_t *random)
{
    struct kv_txn *txn;
    must(kv_begin(kv, &(struct kv_begin_options){ 0 }, &txn));
    if (dice_below(random, 4) == 0)
        expect_all(txn);
    else
        expect_some(txn, random);
    os_sleep_us(os_posix(), (unsigned)dice_below(random, 400));
    expect_some(txn, random);
    kv_abort(txn);
    atomic_fetch_add(&history->snapshots, 1);
}

/* ---- who does it ------------------------------------------------------------------------- */

static sombra_err try_open(bool is_readonly, bool no_background, struct kv **out_kv)
{
    struct btree_options options = { .create = !is_readonly,
                                     .is_readonly = is_readonly,
                                     .page_bytes = 4096,
                                     .no_background = no_background,
                                     .busy_timeout_ms = 10000,
                                     .checkpoint_log_bytes = 200 * KiB,
                                     .wal_bypass_bytes = 100 * KiB,
                                     .map_bytes_max = TEST_MAP_BYTES };
    return btree_open(os_posix(), files.path, &options, out_kv);
}

static struct kv *must_open(bool no_background)
{
    struct kv *kv;
    must(try_open(false, no_background, &kv));
    return kv;
}

/* The test failed: nobody would end it. */
static bool is_orphan(void)
{
    return getppid() != parent;
}

static _Noreturn void writer_main(uint64_t random)
{
    struct kv *kv = must_open(random & 1);
    while (!is_orphan())
        write_step(kv, &random);
    _exit(1);
}

/* Comes and goes; reads, and sometimes writes. */
static _Noreturn void visitor_main(uint64_t random)
{
    while (!atomic_load(&history->is_over) && !is_orphan()) {
        struct kv *kv;
        bool is_readonly = dice_below(&random, 3) == 0;
        sombra_err err = try_open(is_readonly, dice_below(&random, 2), &kv);
        if (err) {
            /* A writer was stopped in a commit; or killed, and there is something to recover. */
            must_be(err == SOMBRA_BUSY || (is_readonly && err == SOMBRA_READONLY));
            atomic_fetch_add(&history->refused, 1);
            continue;
        }
        atomic_fetch_add(&history->attached, 1);
        for (uint64_t n = dice_below(&random, 6); n > 0; n--) {
            read_step(kv, &random);
            if (!is_readonly && dice_below(&random, 3) == 0)
                write_step(kv, &random);
        }
        must(kv_close(kv));
        os_sleep_us(os_posix(), (unsigned)dice_below(&random, 20000));
    }
    _exit(0);
}

static pid_t start(void (*run)(uint64_t), uint64_t random)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run(random | 1);
    }
    assert_true(child > 0);
    return child;
}

static void expect_exit(pid_t child, int signal_allowed)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!(WIFSIGNALED(status) && WTERMSIG(status) == signal_allowed) && status != 0)
        fail_msg("process %d ended with %d", (int)child, status);
}

static int files_make(void **state)
{
    (void)state;
    history = mmap(NULL, sizeof *history, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(history != MAP_FAILED);
    atomic_store(&history->count, 1);
    store_init(&files, NULL);
    store_close(&files);
    return 0;
}

static int files_remove(void **state)
{
    (void)state;
    store_release(&files);
    munmap(history, sizeof *history);
    return 0;
}

static void expect_files(void)
{
    struct kv *kv = must_open(true);
    struct kv_txn *txn = kv_begin_write(kv);
    history_settle(txn);
    kv_abort(txn);
    txn = kv_begin_read(kv);
    expect_all(txn);
    kv_abort(txn);
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
}

static uint64_t ms_now(void)
{
    return os_monotonic_ns(os_posix()) / 1000000;
}

static uint64_t end_ms(void)
{
    return ms_now() + 1000 * kv_test_number("SOMBRA_SECONDS", test_is_long() ? 120 : 2);
}

static bool goes_on(uint64_t end)
{
    return ms_now() < end && atomic_load(&history->count) < NODES / 2;
}

static void print_history(const char *what)
{
    print_message("%s: %" PRIu64 " commits, %" PRIu64 " of them where the pages are, and %" PRIu64
                  " batches of deletes, %" PRIu64 " of puts, %" PRIu64 " snapshots, %" PRIu64
                  " visits and %" PRIu64 " refused\n",
                  what, atomic_load(&history->commits), atomic_load(&history->edits),
                  atomic_load(&history->sweeps), atomic_load(&history->batches),
                  atomic_load(&history->snapshots), atomic_load(&history->attached),
                  atomic_load(&history->refused));
}

/* ---- tests ------------------------------------------------------------------------------- */

static void *reader_thread(void *kv)
{
    uint64_t random = (seed ^ (uintptr_t)&random) | 1;
    while (!atomic_load(&history->is_over)) {
        read_step(kv, &random);
        os_sleep_us(os_posix(), (unsigned)dice_below(&random, 3000));
    }
    return NULL;
}

static void *maintain_thread(void *kv)
{
    static const enum kv_maintenance_kind kinds[] = { KV_CHECKPOINT, KV_COMPACT, KV_BACKUP,
                                                      KV_VERIFY };
    char path[120];
    uint64_t random = seed | 1;
    snprintf(path, sizeof path, "%s/copy", files.directory);
    while (!atomic_load(&history->is_over)) {
        struct kv_maintenance job = { .kind = kinds[dice_below(&random, COUNT_OF(kinds))],
                                      .path = path };
        must(kv_maintain(kv, &job));
        must_be(job.problems == 0);
        if (job.kind == KV_BACKUP)
            must_be(remove(path) == 0);
        os_sleep_us(os_posix(), (unsigned)dice_below(&random, 30000));
    }
    return NULL;
}

static void test_edit_beside__threads_and_visitors(void **state)
{
    (void)state;
    void *(*mains[])(void *) = { reader_thread, reader_thread, maintain_thread };
    pthread_t threads[COUNT_OF(mains)];
    uint64_t random = seed | 1, end = end_ms(), half = (ms_now() + end) / 2;
    pid_t visitor = start(visitor_main, seed + 1);
    struct kv *kv = must_open(false);
    for (size_t i = 0; i < COUNT_OF(mains); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, mains[i], kv), 0);
    for (bool is_stopped = false; goes_on(end);) {
        for (int i = 0; i < 100; i++)
            write_step(kv, &random);
        if (!is_stopped && ms_now() > half) { /* alone from then on */
            kill(visitor, SIGKILL);
            expect_exit(visitor, SIGKILL);
            is_stopped = true;
        }
    }
    atomic_store(&history->is_over, 1);
    for (size_t i = 0; i < COUNT_OF(mains); i++)
        pthread_join(threads[i], NULL);
    store_expect_exact(kv);
    expect_ok(kv_close(kv));
    expect_files();
    print_history("threads and visitors");
}

static void test_edit_beside__kills(void **state)
{
    (void)state;
    uint64_t random = seed | 1, rounds = 0;
    for (uint64_t end = end_ms(); goes_on(end); rounds++) {
        atomic_store(&history->is_over, 0);
        pid_t writer = start(writer_main, hash_u64(random));
        pid_t visitor = dice_below(&random, 3) ? 0 : start(visitor_main, hash_u64(~random));
        for (uint64_t stops = dice_below(&random, 3); stops > 0; stops--) {
            os_sleep_us(os_posix(), (unsigned)dice_below(&random, 4000));
            kill(writer, SIGSTOP);
            os_sleep_us(os_posix(), (unsigned)dice_below(&random, 2000));
            if (stops > 1 || dice_below(&random, 2))
                kill(writer, SIGCONT);
        }
        os_sleep_us(os_posix(), (unsigned)dice_below(&random, 12000));
        kill(writer, SIGKILL);
        if (visitor && dice_below(&random, 2))
            kill(visitor, SIGKILL);
        expect_exit(writer, SIGKILL);
        os_sleep_us(os_posix(), (unsigned)dice_below(&random, 3000));
        atomic_store(&history->is_over, 1);
        if (visitor)
            expect_exit(visitor, SIGKILL);
        expect_files();
    }
    print_message("%" PRIu64 " kills\n", rounds);
    print_history("kills");
}

int main(void)
{
    parent = getpid();
    seed = kv_test_seed("changes in place beside others");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_edit_beside__threads_and_visitors, files_make,
                                        files_remove),
        cmocka_unit_test_setup_teardown(test_edit_beside__kills, files_make, files_remove),
    };
    return cmocka_run_group_tests_name("btree, changes in place beside others", tests, NULL, NULL);
}
