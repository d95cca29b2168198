/* SPDX-License-Identifier: MIT */
/* Children of fork(): whatever the parent's threads were doing, each call of a child on what it
 * inherited comes back, says so, and touches nothing of the parent's.
 */
#include "base/sanitizer.h"
#include "db/db_internal.h"
#include "db_fixture.h"
#include "kv_check.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_SECONDS_MAX = 60, WORKERS = 4, FORKS = 100, HANGS = 99 };

static const char *const engines[] = { "btree", "lsm" };
static char folder[32], store[64], beside[64];
static int folder_setup(void **state)
{
    (void)state;
    if (folder_make(folder, sizeof folder, "db_fork_test"))
        return -1;
    snprintf(store, sizeof store, "%s/store", folder);
    snprintf(beside, sizeof beside, "%s/beside", folder);
    return 0;
}

static int folder_teardown(void **state)
{
    (void)state;
    return folder_remove(folder);
}

static sombra_db *make(const char *engine)
{
    sombra_options options = SOMBRA_OPTIONS_INIT;
    sombra_db *db;
    options.engine = engine;
    options.create = true;
    options.durability = SOMBRA_DURABILITY_NORMAL;
    options.sync_interval_ms = 1;
    OK(sombra_open(store, &options, &db));
    return db;
}

static sombra_err node_add(sombra_db *db, sombra_durability durability)
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    sombra_txn *txn;
    uint64_t id;
    options.is_write = true;
    sombra_err err = sombra_txn_begin(db, &options, &txn);
    if (err)
        return err;
    sombra_slice label = slice_str("Person");
    err = sombra_node_create(txn, &label, 1, NOTHING, &id);
    if (!err)
        err = sombra_txn_commit(txn, durability);
    sombra_txn_close(txn);
    return err;
}

/* Of the child: its number says where it went wrong; 0 = nowhere. A child that hangs is killed. */
static pid_t child_begin(void)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        alarm(CHILD_SECONDS_MAX);
    return child;
}

static int child_end(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) != child)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : HANGS;
}

static bool is_refused(sombra_err err)
{
    return err == SOMBRA_INVALID && strstr(sombra_err_message(), "fork()");
}

/* What a child does with what it inherited, then with a database of its own. */
static int child_does(sombra_db *db, bool opens)
{
    static sombra_txn *txn; /* for a checker of leaks */
    sombra_txn_options writes = SOMBRA_TXN_OPTIONS_INIT;
    sombra_stats stats = SOMBRA_STATS_INIT;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    uint64_t problems;
    writes.is_write = true;
    if (!is_refused(sombra_txn_begin(db, NULL, &txn)))
        return 1;
    if (!is_refused(sombra_txn_begin(db, &writes, &txn)))
        return 2;
    if (!is_refused(sombra_db_stats(db, &stats)))
        return 3;
    if (!is_refused(sombra_db_checkpoint(db, NULL)))
        return 4;
    if (!is_refused(sombra_db_verify(db, NULL, &problems)))
        return 5;
    sombra_db_listen(db, NULL, NULL);
    if (sombra_close(db))
        return 6;
    options.create = opens;
    if (opens && sombra_open(beside, &options, &db))
        return 7;
    if (opens && (node_add(db, SOMBRA_DURABILITY_DEFAULT) || sombra_close(db)))
        return 8;
    return 0;
}

/* ---- locks that are held at the fork ------------------------------------------------------- */

struct holder {
    sombra_db *db;
    struct os_thread thread;
    atomic_bool holds, is_over;
};

/* Is in the middle of a change, with every lock of the handle. */
static void *hold(void *argument)
{
    struct holder *holder = argument;
    os_mutex_lock(&holder->db->mutex);
    pthread_mutex_lock(&holder->db->graph.mutex);
    struct sombra_txn *txns = holder->db->txns;
    holder->db->txns = (struct sombra_txn *)(uintptr_t)8; /* a list that is not finished */
    atomic_store(&holder->holds, true);
    while (!atomic_load(&holder->is_over))
        os_sleep_us(os_posix(), 1000);
    holder->db->txns = txns;
    pthread_mutex_unlock(&holder->db->graph.mutex);
    os_mutex_unlock(&holder->db->mutex);
    return NULL;
}

/* The child's transactions and iterators of before: refused, then closed in any order. */
static int child_ends(sombra_db *db, sombra_txn *reader, sombra_txn *writer, sombra_ids *ids,
                      bool closes_first)
{
    sombra_node_id id;
    uint64_t nodes;
    const uint64_t *batch;
    size_t count;
    sombra_slice label = slice_str("Person");
    if (closes_first && sombra_close(db))
        return 21;
    if (!is_refused(sombra_node_count(reader, label, &nodes)))
        return 22;
    if (!is_refused(sombra_node_create(writer, &label, 1, NOTHING, &id)))
        return 23;
    if (!is_refused(sombra_ids_next(ids, &batch, &count)))
        return 24;
    if (!is_refused(sombra_txn_commit(writer, SOMBRA_DURABILITY_DEFAULT)))
        return 25;
    if (sombra_txn_is_open(writer))
        return 26;
    sombra_txn_close(writer);
    sombra_ids_close(ids);
    sombra_txn_abort(reader);
    sombra_txn_close(reader);
    return closes_first ? 0 : child_does(db, false);
}

static void test_fork__a_lock_that_another_thread_held_holds_up_no_child(void **state)
{
    (void)state;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        sombra_db *db = make(engines[e]);
        OK(node_add(db, SOMBRA_DURABILITY_FULL));
        OK(node_add(db, SOMBRA_DURABILITY_FULL));
        sombra_txn *reader = begin(db, false), *writer = begin(db, true);
        sombra_ids *ids;
        const uint64_t *batch;
        size_t count;
        OK(sombra_nodes_open(reader, slice_str("Person"), NULL, &ids));
        OK(sombra_ids_next(ids, &batch, &count));
        struct holder holder = { .db = db };
        OK(os_thread_start(&holder.thread, hold, &holder));
        while (!atomic_load(&holder.holds))
            os_sleep_us(os_posix(), 1000);
        for (int way = 0; way < 3; way++) {
            pid_t child = child_begin();
            if (child == 0)
                _exit(way < 2 ? child_ends(db, reader, writer, ids, way) : child_does(db, false));
            assert_int_equal(child_end(child), 0);
        }
        atomic_store(&holder.is_over, true);
        os_thread_join(&holder.thread);
        /* The parent lost nothing. */
        OK(sombra_ids_next(ids, &batch, &count));
        assert_int_equal(count, 0);
        sombra_ids_close(ids);
        sombra_txn_close(reader);
        commit(writer);
        OK(sombra_close(db));
        assert_int_equal(folder_remove(store), 0);
    }
}

/* ---- forks beside busy threads ------------------------------------------------------------- */

struct worker {
    sombra_db *db;
    struct os_thread thread;
    unsigned kind;
    atomic_bool *is_over;
    sombra_err err;
};

static sombra_err names_read(sombra_db *db, uint64_t round)
{
    sombra_txn *one, *two;
    uint64_t count;
    char label[16];
    sombra_err err = sombra_txn_begin(db, NULL, &one);
    if (err)
        return err;
    err = sombra_txn_begin(db, NULL, &two); /* of two at once one is not the ready one */
    if (!err) {
        snprintf(label, sizeof label, "L%u", (unsigned)(round % 100));
        err = sombra_node_count(one, slice_str(label), &count);
        sombra_txn_close(two);
    }
    sombra_txn_close(one);
    return err;
}

static void event_ignore(void *context, const sombra_store_event *event)
{
    (void)context;
    (void)event;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (uint64_t round = 0; !worker->err && !atomic_load(worker->is_over); round++) {
        if (worker->kind == 0) {
            worker->err = node_add(worker->db, SOMBRA_DURABILITY_NORMAL);
        } else if (worker->kind == 1) {
            worker->err =
                node_add(worker->db, round % 2 ? SOMBRA_DURABILITY_GROUP : SOMBRA_DURABILITY_FULL);
        } else if (worker->kind == 2) {
            worker->err = names_read(worker->db, round);
        } else {
            sombra_db_listen(worker->db, round % 2 ? event_ignore : NULL, NULL);
            worker->err = sombra_db_checkpoint(worker->db, NULL);
        }
    }
    return NULL;
}

/* Every other child ends as a program does. */
static void child_leaves(int code, bool by_exit)
{
    if (by_exit)
        exit(code);
    _exit(code);
}

static void test_fork__children_of_a_busy_process_come_back(void **state)
{
    (void)state;
#if HAS_ADDRESS_SANITIZER /* its malloc may hold a lock for ever in a child of several threads */
    skip();
#endif
    uint64_t forks = FORKS * kv_test_number("SOMBRA_SHARE", 100) / 100;
    for (size_t e = 0; e < COUNT_OF(engines); e++) {
        static sombra_db *db;
        struct worker workers[WORKERS];
        atomic_bool is_over = false;
        uint64_t problems;
        db = make(engines[e]);
        for (unsigned i = 0; i < WORKERS; i++) {
            workers[i] = (struct worker){ .db = db, .kind = i, .is_over = &is_over };
            OK(os_thread_start(&workers[i].thread, work, &workers[i]));
        }
        int code = 0;
        for (uint64_t i = 0; i < forks && !code; i++) {
            pid_t child = child_begin();
            if (child == 0)
                child_leaves(child_does(db, i % 8 == 0), i % 2);
            code = child_end(child);
        }
        atomic_store(&is_over, true);
        for (unsigned i = 0; i < WORKERS; i++)
            os_thread_join(&workers[i].thread);
        assert_int_equal(code, 0);
        for (unsigned i = 0; i < WORKERS; i++)
            assert_int_equal(workers[i].err, SOMBRA_OK);
        OK(sombra_db_verify(db, NULL, &problems));
        assert_int_equal(problems, 0);
        OK(sombra_close(db));
        assert_int_equal(folder_remove(store), 0);
    }
}

int main(void)
{
#define FORK_TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        FORK_TEST(test_fork__a_lock_that_another_thread_held_holds_up_no_child),
        FORK_TEST(test_fork__children_of_a_busy_process_come_back),
    };
    return cmocka_run_group_tests_name("db, fork", tests, NULL, NULL);
}
