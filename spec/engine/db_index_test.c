/* SPDX-License-Identifier: MIT */
/* Rules on files: online builds that are killed, stopped, and raced by writers; other processes. */
#include "db_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PERSONS = 20000 };

static char directory[64];
static char path[96];
static const sombra_slice person = { "Person", 6 };

static int setup(void **state)
{
    (void)state;
    if (folder_make(directory, sizeof directory, "db_index_test"))
        return -1;
    snprintf(path, sizeof path, "%s/social.sombra", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return folder_remove(directory);
}

static sombra_db *open_file(void)
{
    sombra_db *db;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    options.create = true;
    options.durability = SOMBRA_DURABILITY_OFF;
    OK(sombra_open(path, &options, &db));
    return db;
}

/* {key = number}, kept in one of a few buffers. */
static sombra_slice key_map(int64_t number)
{
    static _Thread_local uint8_t kept[4][32];
    static _Thread_local unsigned at;
    sombra_value_builder *builder;
    sombra_slice encoded;
    OK(sombra_value_builder_new(&builder));
    (void)sombra_value_begin_map(builder);
    (void)sombra_value_push_key(builder, "key", 3);
    (void)sombra_value_push_integer(builder, number);
    (void)sombra_value_end_map(builder);
    OK(sombra_value_finish(builder, &encoded));
    uint8_t *to = kept[at++ % 4];
    assert_true(encoded.bytes <= sizeof kept[0]);
    memcpy(to, encoded.data, encoded.bytes);
    encoded.data = to;
    sombra_value_builder_free(builder);
    return encoded;
}

static void make_persons(sombra_db *db)
{
    sombra_txn *txn = begin(db, true);
    for (int i = 1; i <= PERSONS; i++) {
        sombra_node_id node;
        OK(sombra_node_create(txn, &person, 1, key_map(i), &node));
        assert_int_equal(node, i);
    }
    commit(txn);
}

static sombra_rule key_rule(sombra_rule_kind kind)
{
    sombra_rule rule = SOMBRA_RULE_INIT;
    rule.kind = kind;
    rule.subject = person;
    rule.property_count = 1;
    rule.properties[0] = (sombra_slice){ "key", 3 };
    return rule;
}

static void assert_sound(sombra_db *db)
{
    uint64_t problems;
    OK(sombra_db_verify(db, NULL, &problems));
    assert_int_equal(problems, 0);
}

static sombra_rule first_rule(sombra_db *db)
{
    sombra_rule rule = SOMBRA_RULE_INIT;
    bool found;
    sombra_txn *txn = begin(db, false);
    OK(sombra_rule_next(txn, 0, &rule, &found));
    if (!found)
        rule.id = 0;
    sombra_txn_close(txn);
    return rule;
}

static sombra_node_id find(sombra_db *db, int64_t key)
{
    sombra_node_id node = 0;
    sombra_txn *txn = begin(db, false);
    sombra_err err = sombra_node_find(txn, person, key_map(key), &node);
    if (err != SOMBRA_NOT_FOUND)
        OK(err);
    sombra_txn_close(txn);
    return node;
}

static bool die_halfway(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    if (done > total / 2)
        _exit(0);
    return true;
}

/* Runs `work` in a child process, which must end well. */
static void in_process(void (*work)(void))
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        work();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void build_and_die(void)
{
    sombra_rule rule = key_rule(SOMBRA_RULE_UNIQUE);
    sombra_job job = SOMBRA_JOB_INIT;
    uint32_t id;
    job.progress = die_halfway;
    sombra_err err = sombra_rule_create_online(open_file(), &rule, &job, &id);
    _exit(err == SOMBRA_OK ? 1 : 2); /* it was to die before */
}

static void test_online__goes_on_after_its_process_was_killed(void **state)
{
    (void)state;
    sombra_db *db = open_file();
    uint32_t id;
    make_persons(db);
    OK(sombra_close(db));
    in_process(build_and_die);
    db = open_file();
    sombra_rule rule = first_rule(db);
    assert_true(rule.id && !rule.is_ready && rule.entries > 0 && rule.entries < PERSONS);
    assert_sound(db);
    sombra_txn *txn = begin(db, true);
    OK(sombra_node_set(txn, 1, key_map(-1)));
    OK(sombra_node_set(txn, PERSONS, key_map(-2)));
    ERR(sombra_node_set(txn, 2, key_map(-1)), SOMBRA_UNIQUE);
    commit(txn);
    sombra_rule again = key_rule(SOMBRA_RULE_UNIQUE);
    OK(sombra_rule_create_online(db, &again, NULL, &id));
    assert_int_equal(id, rule.id);
    rule = first_rule(db);
    assert_true(rule.is_ready);
    assert_int_equal(rule.entries, PERSONS);
    assert_int_equal(find(db, -1), 1);
    assert_int_equal(find(db, -2), PERSONS);
    assert_int_equal(find(db, 777), 777);
    assert_int_equal(find(db, 1), 0);
    assert_sound(db);
    OK(sombra_close(db));
    db = open_file();
    assert_int_equal(find(db, 9999), 9999);
    ERR(sombra_rule_create_online(db, &again, NULL, &id), SOMBRA_EXISTS);
    OK(sombra_close(db));
}

struct writer {
    sombra_db *db;
    atomic_bool is_over;
    atomic_uint writes;
};

static void *keep_writing(void *argument)
{
    struct writer *writer = argument;
    for (int i = 0; !atomic_load(&writer->is_over); i++) {
        sombra_txn *txn = begin(writer->db, true);
        for (int j = 0; j < 20; j++) {
            sombra_node_id node = 1 + (sombra_node_id)(i * 7919 + j * 1013) % PERSONS, made;
            OK(sombra_node_set(txn, node, key_map(-1 - i)));
            OK(sombra_node_create(txn, &person, 1, key_map(100000 + i), &made));
        }
        commit(txn);
        atomic_fetch_add(&writer->writes, 1);
    }
    return NULL;
}

static void test_online__is_exact_beside_a_writer(void **state)
{
    struct writer writer = { .db = open_file() };
    sombra_rule rule = key_rule(SOMBRA_RULE_INDEX);
    pthread_t thread;
    uint32_t id;
    (void)state;
    make_persons(writer.db);
    assert_int_equal(pthread_create(&thread, NULL, keep_writing, &writer), 0);
    while (atomic_load(&writer.writes) < 3)
        sched_yield();
    OK(sombra_rule_create_online(writer.db, &rule, NULL, &id));
    unsigned writes = atomic_load(&writer.writes);
    while (atomic_load(&writer.writes) < writes + 3)
        sched_yield();
    atomic_store(&writer.is_over, true);
    pthread_join(thread, NULL);
    assert_sound(writer.db);
    OK(sombra_close(writer.db));
}

static void make_unique(void)
{
    sombra_db *db = open_file();
    sombra_rule rule = key_rule(SOMBRA_RULE_UNIQUE);
    uint32_t id;
    sombra_txn *txn = begin(db, true);
    OK(sombra_rule_create(txn, &rule, NULL, &id));
    commit(txn);
    OK(sombra_close(db));
}

static void drop_unique(void)
{
    sombra_db *db = open_file();
    sombra_txn *txn = begin(db, true);
    OK(sombra_rule_drop(txn, first_rule(db).id));
    commit(txn);
    OK(sombra_close(db));
}

/* The set of rules that a handle keeps is of the version that the file has. */
static void test_rules__of_another_process_bind_the_next_transaction(void **state)
{
    sombra_node_id node;
    (void)state;
    sombra_db *db = open_file();
    sombra_txn *txn = begin(db, true);
    OK(sombra_node_create(txn, &person, 1, key_map(1), &node));
    commit(txn);
    for (int round = 0; round < 2; round++) {
        in_process(make_unique);
        txn = begin(db, true);
        ERR(sombra_node_create(txn, &person, 1, key_map(1), &node), SOMBRA_UNIQUE);
        sombra_violation violation = SOMBRA_VIOLATION_INIT;
        OK(sombra_txn_violation(txn, &violation));
        assert_int_equal(violation.id, 1);
        assert_int_equal(violation.rule, first_rule(db).id);
        assert_memory_equal(violation.subject.data, "Person", 6);
        assert_memory_equal(violation.property.data, "key", 3);
        sombra_txn_close(txn);
        in_process(drop_unique);
        txn = begin(db, true);
        OK(sombra_node_create(txn, &person, 1, key_map(1), &node));
        OK(sombra_txn_violation(txn, &violation));
        assert_int_equal(violation.rule, 0);
        sombra_txn_close(txn);
    }
    assert_sound(db);
    OK(sombra_close(db));
}

static bool stop_halfway(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    return done <= total / 2;
}

static void test_online__refused_leaves_nothing_and_cancelled_an_unready_rule(void **state)
{
    sombra_db *db = open_file();
    sombra_rule rule = key_rule(SOMBRA_RULE_UNIQUE);
    sombra_job job = SOMBRA_JOB_INIT;
    uint32_t id = 0;
    (void)state;
    job.progress = stop_halfway;
    make_persons(db);
    sombra_txn *txn = begin(db, true);
    OK(sombra_node_set(txn, PERSONS, key_map(1)));
    commit(txn);
    ERR(sombra_rule_create_online(db, &rule, NULL, &id), SOMBRA_UNIQUE);
    assert_non_null(strstr(sombra_err_message(), "node 1 has the same"));
    assert_int_equal(first_rule(db).id, 0);
    assert_sound(db);
    rule = key_rule(SOMBRA_RULE_REQUIRED);
    ERR(sombra_rule_create_online(db, &rule, &job, &id), SOMBRA_CANCELLED);
    assert_int_equal(first_rule(db).id, id);
    assert_false(first_rule(db).is_ready);
    txn = begin(db, true);
    ERR(sombra_node_replace(txn, 5, NOTHING), SOMBRA_CONSTRAINT);
    OK(sombra_rule_drop(txn, id));
    OK(sombra_node_replace(txn, 5, NOTHING));
    commit(txn);
    ERR(sombra_rule_create_online(db, &rule, NULL, &id), SOMBRA_CONSTRAINT);
    assert_int_equal(first_rule(db).id, 0);
    assert_sound(db);
    OK(sombra_close(db));
}

static void test_rules__ask_for_structs_with_their_size(void **state)
{
    sombra_db *db = open_file();
    sombra_rule rule = { .kind = SOMBRA_RULE_INDEX };
    sombra_violation violation = { 0 };
    uint32_t id;
    bool found;
    (void)state;
    sombra_txn *txn = begin(db, true);
    ERR(sombra_rule_create(txn, &rule, NULL, &id), SOMBRA_INVALID);
    ERR(sombra_rule_create(txn, NULL, NULL, &id), SOMBRA_INVALID);
    ERR(sombra_rule_find(txn, &rule, &id), SOMBRA_INVALID);
    ERR(sombra_rule_next(txn, 0, &rule, &found), SOMBRA_INVALID);
    ERR(sombra_txn_violation(txn, &violation), SOMBRA_INVALID);
    ERR(sombra_rule_create_online(db, NULL, NULL, &id), SOMBRA_INVALID);
    sombra_txn_abort(txn);
    rule = key_rule(SOMBRA_RULE_INDEX);
    ERR(sombra_rule_create(txn, &rule, NULL, &id), SOMBRA_INVALID);
    sombra_txn_close(txn);
    OK(sombra_close(db));
}

/* Who commits runs the triggers; one who cannot is told, and nothing is committed. */
static void test_trigger__a_commit_needs_its_changes_taken(void **state)
{
    sombra_change change = SOMBRA_CHANGE_INIT;
    uint32_t id;
    bool found;
    (void)state;
    sombra_db *db = open_file();
    sombra_txn *txn = begin(db, true);
    sombra_rule rule = key_rule(SOMBRA_RULE_TRIGGER);
    rule.events = SOMBRA_EVENT_CREATE;
    OK(sombra_rule_create(txn, &rule, NULL, &id));
    commit(txn);
    txn = begin(db, true);
    sombra_node_id node;
    OK(sombra_node_create(txn, &person, 1, key_map(1), &node));
    ERR(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT), SOMBRA_INVALID);
    assert_false(sombra_txn_is_open(txn));
    ERR(sombra_change_next(txn, &change, &found), SOMBRA_INVALID);
    sombra_txn_close(txn);
    txn = begin(db, true);
    uint64_t nodes = 1;
    OK(sombra_node_count(txn, person, &nodes));
    assert_int_equal(nodes, 0);
    OK(sombra_node_create(txn, &person, 1, key_map(1), &node));
    OK(sombra_change_next(txn, &change, &found));
    assert_true(found && change.id == node && change.event == SOMBRA_EVENT_CREATE);
    OK(sombra_change_next(txn, &change, &found));
    assert_false(found);
    change.struct_bytes = 0;
    ERR(sombra_change_next(txn, &change, &found), SOMBRA_INVALID);
    commit(txn);
    txn = begin(db, false);
    change = (sombra_change)SOMBRA_CHANGE_INIT;
    ERR(sombra_change_next(txn, &change, &found), SOMBRA_READONLY);
    sombra_txn_close(txn);
    assert_sound(db);
    OK(sombra_close(db));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_online__goes_on_after_its_process_was_killed),
        TEST(test_online__is_exact_beside_a_writer),
        TEST(test_online__refused_leaves_nothing_and_cancelled_an_unready_rule),
        TEST(test_rules__of_another_process_bind_the_next_transaction),
        TEST(test_rules__ask_for_structs_with_their_size),
        TEST(test_trigger__a_commit_needs_its_changes_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
