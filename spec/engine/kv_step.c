/* SPDX-License-Identifier: MIT */
#include "kv_step.h"

#include "child.h"
#include "kv_check.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

enum {
    KEYS = 3000, /* several leaves */
    OPS_MAX = 24,
    VALUE_MAX = 60,
    FORBIDDEN = 77, /* a child's status: it may not be traced */
};

/* What a commit is made of: each kind takes another way through an engine. */
#define KINDS(X)                               \
    X(REPLACE, "a value by one as long")       \
    X(RESIZE, "a value by one of other bytes") \
    X(INSERT, "a key that was not there")      \
    X(DELETE, "a key")                         \
    X(SWEEP, "keys in a row")                  \
    X(SCATTER, "keys here and there")          \
    X(MIXED, "puts and deletes")

enum kind {
#define KIND_ENUM(name, text) name,
    KINDS(KIND_ENUM)
#undef KIND_ENUM
        KIND_COUNT
};

static const char *const kind_texts[] = {
#define KIND_TEXT(name, text) text,
    KINDS(KIND_TEXT)
#undef KIND_TEXT
};

/* Number 0 deletes. */
struct op {
    uint32_t key;
    uint64_t number;
};

struct round {
    enum kind kind;
    struct op before[OPS_MAX]; /* committed first, so that pages are copied already */
    struct op ops[OPS_MAX];    /* of the commit that is stepped through; keys differ */
    size_t count;
};

struct steps {
    const struct kv_step_driver *driver;
    char directory[32], path[48];
    struct random random;
    uint64_t next;                                     /* number of a value */
    uint64_t numbers[KEYS];                            /* what each key has; 0 = it is not there */
    uint64_t lengths[KIND_COUNT], longest[KIND_COUNT]; /* the last that was not killed; of all */
    uint64_t outcomes[KIND_COUNT][2]; /* kills: nothing of it was there, all of it */
};

static uint64_t seed_of_test;

/* ---- content ----------------------------------------------------------------------------- */

/* As long as its number says: the low bits are 8 classes of lengths. */
static sombra_slice value_of(uint64_t number, uint8_t to[VALUE_MAX])
{
    size_t bytes = 12 + number % 8 * 6;
    memset(to, (int)(hash_u64(number) & 0xff), bytes);
    put_le64(to, number);
    return slice_of(to, bytes);
}

static sombra_err op_apply(struct kv_txn *txn, const struct op *op)
{
    uint8_t key[8], value[VALUE_MAX];
    return op->number ? kv_put(txn, kv_number_key(op->key, key), value_of(op->number, value))
                      : kv_delete(txn, kv_number_key(op->key, key));
}

static sombra_err ops_begin(struct kv *kv, const struct op *ops, size_t count,
                            struct kv_txn **out_txn)
{
    sombra_err err = kv_begin(kv, &(struct kv_begin_options){ .is_write = true }, out_txn);
    for (size_t i = 0; i < count && !err; i++)
        err = op_apply(*out_txn, &ops[i]);
    return err;
}

static void ops_note(struct steps *steps, const struct op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        steps->numbers[ops[i].key] = ops[i].number;
}

static struct kv *steps_open(const struct steps *steps)
{
    struct kv *kv = NULL;
    expect_ok(steps->driver->open(os_posix(), steps->path, steps->driver->options, &kv));
    return kv;
}

static bool has_number(struct kv_txn *txn, uint32_t key, uint64_t number)
{
    uint8_t bytes[8], value[VALUE_MAX];
    sombra_slice found = { 0 };
    sombra_err err = kv_get(txn, kv_number_key(key, bytes), &found);
    if (err != SOMBRA_NOT_FOUND)
        expect_ok(err);
    return number ? !err && slice_equal(found, value_of(number, value)) : err == SOMBRA_NOT_FOUND;
}

/* All or nothing of the round's commit, and everything else; true = all. */
static bool round_expect(struct steps *steps, const struct round *round, bool is_acknowledged)
{
    struct kv *kv = steps_open(steps);
    struct kv_txn *txn = kv_begin_read(kv);
    bool is_there = has_number(txn, round->ops[0].key, round->ops[0].number);
    assert_true(is_there || !is_acknowledged);
    if (is_there)
        ops_note(steps, round->ops, round->count);
    uint64_t present = 0, counted = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        present += steps->numbers[key] != 0;
        if (!has_number(txn, key, steps->numbers[key]))
            fail_msg("%s, %s: key %u is not number %" PRIu64, steps->driver->name,
                     kind_texts[round->kind], key, steps->numbers[key]);
    }
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &counted));
    assert_int_equal(counted, present);
    kv_abort(txn);
    kv_expect_sound(kv);
    expect_ok(kv_close(kv));
    return is_there;
}

/* ---- rounds ------------------------------------------------------------------------------ */

static uint32_t some_key(struct steps *steps, bool is_there, const struct round *round)
{
    uint32_t key = (uint32_t)random_below(&steps->random, KEYS);
    for (;; key = (key + 1) % KEYS) {
        bool is_taken = (steps->numbers[key] != 0) != is_there;
        for (size_t i = 0; i < round->count; i++)
            is_taken |= round->ops[i].key == key;
        if (!is_taken)
            return key;
    }
}

/* A number of the same class of lengths as `like`, or of another one. */
static uint64_t some_number(struct steps *steps, uint64_t like, bool is_same)
{
    steps->next++;
    uint64_t class = is_same ? like % 8 : (like + 1 + random_below(&steps->random, 7)) % 8;
    return steps->next * 8 + class;
}

static void round_add(struct steps *steps, struct round *round, uint32_t key, bool is_delete,
                      bool is_same)
{
    uint64_t before = some_number(steps, steps->numbers[key], true);
    round->before[round->count] = (struct op){ key, before };
    round->ops[round->count] =
        (struct op){ key, is_delete ? 0 : some_number(steps, before, is_same) };
    round->count++;
}

static struct round round_make(struct steps *steps, enum kind kind)
{
    struct round round = { .kind = kind };
    uint32_t first = some_key(steps, true, &round);
    bool deletes = kind == DELETE || kind == SWEEP || kind == SCATTER;
    size_t count = kind < SWEEP ? 1 : 2 + random_below(&steps->random, OPS_MAX - 1);
    if (kind == INSERT) { /* the pages on its path are copied for a neighbour of it */
        round.before[0] = (struct op){ first, some_number(steps, 0, false) };
        round.ops[0] = (struct op){ some_key(steps, false, &round), some_number(steps, 0, false) };
        round.count = 1;
        return round;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t key = kind == SWEEP ? (first + (uint32_t)i) % KEYS
                       : i == 0      ? first
                                     : some_key(steps, true, &round);
        if (steps->numbers[key])
            round_add(steps, &round, key, deletes || (kind == MIXED && i % 3 == 0),
                      kind == REPLACE);
    }
    return round;
}

/* ---- the process that is killed ---------------------------------------------------------- */

static _Noreturn void child_main(const struct steps *steps, const struct round *round)
{
    struct kv *kv;
    struct kv_txn *txn;
    must(steps->driver->open(os_posix(), steps->path, steps->driver->options, &kv));
    must(ops_begin(kv, round->before, round->count, &txn));
    must(kv_commit(txn, KV_OFF));
    must(ops_begin(kv, round->ops, round->count, &txn));
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(FORBIDDEN);
    raise(SIGSTOP);
    sombra_err err = kv_commit(txn, KV_OFF);
    raise(err ? SIGABRT : SIGSTOP); /* acknowledged */
    _exit(1);
}

/* Waits until it has stopped; the signal, or -1 if it has ended, with its status. */
static int child_stop(pid_t child, int *out_status)
{
    while (waitpid(child, out_status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFSTOPPED(*out_status) ? WSTOPSIG(*out_status) : -1;
}

/* Kills it behind `kill_at` instructions, or when it has committed; *out_steps := instructions it
 * took. False = tracing is forbidden. */
static bool child_run(const struct steps *steps, const struct round *round, uint64_t kill_at,
                      uint64_t *out_steps, bool *out_is_acknowledged)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        child_main(steps, round);
    assert_true(child > 0);
    int signal = child_stop(child, &status);
    if (signal < 0 && WIFEXITED(status) && WEXITSTATUS(status) == FORBIDDEN)
        return false;
    assert_int_equal(signal, SIGSTOP);
    *out_steps = 0;
    signal = SIGTRAP;
    while (signal == SIGTRAP && *out_steps < kill_at) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        signal = child_stop(child, &status);
        ++*out_steps;
    }
    if (signal != SIGTRAP && signal != SIGSTOP)
        fail_msg("%s, %s: the commit ended with status %x", steps->driver->name,
                 kind_texts[round->kind], (unsigned)status);
    *out_is_acknowledged = signal == SIGSTOP;
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(child_stop(child, &status), -1);
    return true;
}

/* ---- tests ------------------------------------------------------------------------------- */

static int path_remove(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void steps_begin(struct steps *steps)
{
    snprintf(steps->directory, sizeof steps->directory, "kv_step.XXXXXX");
    assert_non_null(mkdtemp(steps->directory));
    snprintf(steps->path, sizeof steps->path, "%s/store", steps->directory);
    random_seed(&steps->random, seed_of_test);
    struct kv *kv = steps_open(steps);
    struct kv_txn *txn = kv_begin_write(kv);
    for (uint32_t key = 0; key < KEYS; key++) {
        const struct op op = { key, key % 3 ? some_number(steps, 0, false) : 0 };
        if (op.number)
            expect_ok(op_apply(txn, &op));
        ops_note(steps, &op, 1);
    }
    expect_ok(kv_commit(txn, KV_OFF));
    expect_ok(kv_close(kv));
}

/* False = tracing is forbidden. */
static bool round_run(struct steps *steps, enum kind kind, uint64_t kill_at)
{
    struct round round = round_make(steps, kind);
    uint64_t length = 0;
    bool is_acknowledged = false;
    if (!child_run(steps, &round, kill_at, &length, &is_acknowledged))
        return false;
    ops_note(steps, round.before, round.count);
    bool is_there = round_expect(steps, &round, is_acknowledged);
    if (!is_acknowledged) {
        steps->outcomes[kind][is_there]++;
        return true;
    }
    steps->lengths[kind] = length;
    steps->longest[kind] = u64_max(steps->longest[kind], length);
    return true;
}

static void test_step__kill_at_any_instruction_leaves_whole_commits(void **state)
{
    static struct steps steps;
    const uint64_t kills = kv_test_number("SOMBRA_KILLS", getenv("SOMBRA_LONG") ? 3000 : 12);
    steps = (struct steps){ .driver = *state };
    steps_begin(&steps);
    bool is_allowed = true;
    for (unsigned kind = 0; kind < KIND_COUNT && is_allowed; kind++) {
        is_allowed = round_run(&steps, kind, UINT64_MAX);
        for (uint64_t i = 0; i < kills && is_allowed; i++) {
            /* One commit in many is several times as long: most kills would come too late. */
            uint64_t length = i % 3 ? steps.lengths[kind] : steps.longest[kind];
            is_allowed = round_run(&steps, kind, random_below(&steps.random, length));
        }
        print_message("%s, %s: %" PRIu64 " instructions, %" PRIu64 " kills before, %" PRIu64
                      " behind\n",
                      steps.driver->name, kind_texts[kind], steps.longest[kind],
                      steps.outcomes[kind][0], steps.outcomes[kind][1]);
        assert_true(!is_allowed || steps.outcomes[kind][0] + steps.outcomes[kind][1] > kills / 3);
    }
    nftw(steps.directory, path_remove, 8, FTW_DEPTH | FTW_PHYS);
    if (!is_allowed) {
        print_message("the machine forbids tracing\n");
        skip();
    }
}

int kv_step_main(const char *engine, const struct kv_step_driver *drivers, size_t count)
{
    enum { DRIVERS_MAX = 8 };
    struct CMUnitTest tests[DRIVERS_MAX];
    assert(count <= DRIVERS_MAX);
    seed_of_test = kv_test_seed(engine);
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){
            .name = drivers[i].name,
            .test_func = test_step__kill_at_any_instruction_leaves_whole_commits,
            .initial_state = (void *)(uintptr_t)&drivers[i],
        };
    return _cmocka_run_group_tests(engine, tests, count, NULL, NULL);
}
