/* SPDX-License-Identifier: MIT */
/* A schedule is a row of steps, made one after the other; each begins with its session's digit:
 *   1w   begins to write           1w?  begins to wait for its turn    1.   has got it
 *   1w!  is refused with BUSY      1r   begins to read                 1d   the same, durable
 *   1c   commits                   1a   aborts
 *   1x=7 puts                      1x~  deletes                        1x#  puts, which is READONLY
 *   1x:7 gets 7                    1x:- finds nothing
 *   1%3:xy  the keys whose value 3 divides, by a scan, are x and y
 *   1+10    adds 10 to every value 1/20  deletes every key whose value is 20
 * The store holds x = 10 and y = 20 at the beginning.
 */
#include "kv_isolation.h"
#include "kv_check.h"
#include "os/os.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

enum { SESSIONS = 4, STEP_BYTES = 32 };

struct schedule {
    const char *name, *steps;
};

static const struct schedule schedules[] = {
    { "G0, write cycles", "1w 2w? 1x=11 1y=21 1c 2. 2x=12 2y=22 2c 3r 3x:12 3y:22 3c" },
    { "G0, and the second does not wait", "1w 1x=11 2w! 1y=21 1c 2w 2x=12 2y=22 2c 3r 3x:12 3c" },
    { "G1a, aborted reads", "1w 1x=101 2r 2x:10 2y:20 1a 2x:10 2c 3r 3x:10 3c" },
    { "G1a, by a predicate", "1w 1z=30 2r 2%3: 1a 2%3: 2c 3r 3z:- 3c" },
    { "G1a, by a writer", "1w 1x=101 1z=5 2w? 1a 2. 2x:10 2z:- 2%1:xy 2c" },
    { "G1b, intermediate reads", "1w 1x=101 2r 2x:10 1x=11 1c 2x:10 2c 3r 3x:11 3c" },
    { "G1b, by a predicate", "1w 1z=30 2r 2%3: 1z=31 1c 2%3: 2c 3r 3%3: 3z:31 3c" },
    { "G1c, circular information flow", "1w 2w? 1x=11 1y:20 1c 2. 2y=22 2x:11 2c 3r 3y:22 3c" },
    { "OTV, observed transaction vanishes",
      "1w 2w? 1x=11 1y=19 1c 2. 3r 3x:11 2x=12 3y:19 2y=18 3y:19 2c 3y:19 3x:11 3c 4r 4x:12 4y:18 "
      "4c" },
    { "PMP, predicate with many preceders", "1r 1%30: 2w 2z=30 2c 1%3: 1c 3r 3%3:z 3c" },
    { "PMP, write predicates", "1w 2w? 1+10 1c 2. 2/20 2%1:y 2y:30 2c" },
    { "PMP, write predicates, aborted", "1w 1+10 2w? 1a 2. 2/20 2%1:x 2x:10 2c" },
    { "P4, lost update", "1w 1x:10 2w? 1x=11 1c 2. 2x:11 2x=12 2c 3r 3x:12 3c" },
    { "P4, a stale reader cannot write", "1r 1x:10 2w 2x=11 2c 1x# 1x:10 1c 3r 3x:11 3c" },
    { "G-single, read skew", "1r 1x:10 2w 2x:10 2y:20 2x=12 2y=18 2c 1y:20 1x:10 1c" },
    { "G-single, by predicates", "1r 1%5:xy 2w 2x=12 2c 1%3: 1%5:xy 1c" },
    { "G-single, write predicate", "1w 1x:10 2w? 1/20 1c 2. 2x:10 2y:- 2x=12 2y=18 2c" },
    { "G2-item, write skew", "1w 1x:10 1y:20 2w? 1x=11 1c 2. 2x:11 2y:20 2y=21 2c" },
    { "G2, anti-dependency cycle", "1w 1%3: 2w? 1z=30 1c 2. 2%3:z 2u=42 2c 3r 3%3:uz 3c" },
    { "G2, with a reader between (Fekete)",
      "1r 1x:10 1y:20 2w 2y=25 2c 3r 3x:10 3y:25 3c 1x:10 1y:20 1x# 1c" },
    { "phantoms by delete and insert",
      "1r 1%1:xy 2w 2x~ 2z=7 2c 1%1:xy 1x:10 1z:- 1c 3r 3%1:yz 3c" },
    { "phantoms by a range delete", "1r 2w 2/10 2/20 2c 1%1:xy 1c 3r 3%1: 3c" },
    { "a durable reader sees what was committed", "1w 1x=11 1c 2d 2x:11 1w 1x=12 1c 2x:11 2c" },
    { "three wait and none is forgotten",
      "1w 2w? 1x=11 1c 2. 3w? 2x:11 2x=12 2c 3. 4w? 3x:12 3x=13 3a 4. 4x:12 4c" },
};

/* ---- sessions ---------------------------------------------------------------------------- */

struct session {
    struct kv *kv;
    struct kv_txn *txn;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    char step[STEP_BYTES]; /* to be made; empty = none */
    bool is_done, is_over;
    char said[200]; /* what was wrong; empty = nothing */
};

static void say(struct session *session, const char *what, sombra_err err)
{
    snprintf(session->said, sizeof session->said, "%s: %s %.120s", what, sombra_err_name(err),
             err ? sombra_err_message() : "");
}

static void expect(struct session *session, const char *what, sombra_err got, sombra_err wanted)
{
    if (got != wanted)
        say(session, what, got);
}

static void begin(struct session *session, const char *step)
{
    bool is_write = step[0] == 'w';
    bool is_refused = step[1] == '!';
    struct kv_begin_options options = { .is_write = is_write,
                                        .needs_durable = step[0] == 'd',
                                        .busy_timeout_ms = is_refused ? 0 : 20000 };
    sombra_err err = kv_begin(session->kv, &options, &session->txn); /* NULL until it is there */
    expect(session, "begin", err, is_refused ? SOMBRA_BUSY : SOMBRA_OK);
}

static sombra_err put(struct session *session, char key, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    return kv_put(session->txn, slice_of(&key, 1), slice_str(text));
}

static uint64_t number_of(sombra_slice value)
{
    char text[24] = "";
    memcpy(text, value.data, size_min(value.bytes, sizeof text - 1));
    return strtoull(text, NULL, 10);
}

static void get(struct session *session, char key, const char *wanted)
{
    sombra_slice value;
    sombra_err err = kv_get(session->txn, slice_of(&key, 1), &value);
    if (strcmp(wanted, "-") == 0) {
        expect(session, "a get of what is not there", err, SOMBRA_NOT_FOUND);
    } else if (err) {
        say(session, "get", err);
    } else if (number_of(value) != strtoull(wanted, NULL, 10)) {
        snprintf(session->said, sizeof session->said, "%c is %" PRIu64, key, number_of(value));
    }
}

/* Calls `each` for every entry of the store. */
static void scan(struct session *session,
                 void (*each)(struct session *session, char key, uint64_t value, void *context),
                 void *context)
{
    struct kv_cursor *cursor;
    bool found = true;
    sombra_err err = kv_cursor_open(session->txn, (struct kv_range){ 0 }, &cursor);
    if (err) {
        say(session, "open a cursor", err);
        return;
    }
    while (!err && found) {
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (!err && found)
            each(session, *(const char *)cursor->entry.key.data, number_of(cursor->entry.value),
                 context);
    }
    kv_cursor_close(cursor);
    if (err)
        say(session, "scan", err);
}

struct divisible {
    uint64_t by;
    char keys[16];
    size_t count;
};

static void note_divisible(struct session *session, char key, uint64_t value, void *context)
{
    (void)session;
    struct divisible *divisible = context;
    if (value % divisible->by == 0 && divisible->count + 1 < sizeof divisible->keys)
        divisible->keys[divisible->count++] = key;
}

static void divisible_check(struct session *session, const char *step)
{
    char *wanted;
    struct divisible divisible = { .by = strtoull(step + 1, &wanted, 10) };
    scan(session, note_divisible, &divisible);
    if (strcmp(divisible.keys, wanted + 1) != 0)
        snprintf(session->said, sizeof session->said, "the keys are '%s'", divisible.keys);
}

static void add_to_each(struct session *session, char key, uint64_t value, void *context)
{
    expect(session, "put", put(session, key, value + *(uint64_t *)context), SOMBRA_OK);
}

static void delete_equal(struct session *session, char key, uint64_t value, void *context)
{
    if (value == *(uint64_t *)context)
        expect(session, "delete", kv_delete(session->txn, slice_of(&key, 1)), SOMBRA_OK);
}

static void key_step(struct session *session, const char *step)
{
    char key = step[0];
    uint64_t number = strtoull(step + 2, NULL, 10);
    if (step[1] == ':')
        get(session, key, step + 2);
    else if (step[1] == '=')
        expect(session, "put", put(session, key, number), SOMBRA_OK);
    else if (step[1] == '#')
        expect(session, "put", put(session, key, 0), SOMBRA_READONLY);
    else
        expect(session, "delete", kv_delete(session->txn, slice_of(&key, 1)), SOMBRA_OK);
}

static void step_make(struct session *session, const char *step)
{
    uint64_t number = strtoull(step + 1, NULL, 10);
    switch (step[0]) {
    case 'w':
    case 'r':
    case 'd':
        begin(session, step);
        break;
    case 'c':
        expect(session, "commit", kv_commit(session->txn, KV_NORMAL), SOMBRA_OK);
        session->txn = NULL;
        break;
    case 'a':
        kv_abort(session->txn);
        session->txn = NULL;
        break;
    case '%':
        divisible_check(session, step);
        break;
    case '+':
        scan(session, add_to_each, &number);
        break;
    case '/':
        scan(session, delete_equal, &number);
        break;
    default:
        key_step(session, step);
    }
}

static void *session_main(void *argument)
{
    struct session *session = argument;
    pthread_mutex_lock(&session->mutex);
    while (!session->is_over) {
        if (!session->step[0]) {
            pthread_cond_wait(&session->changed, &session->mutex);
            continue;
        }
        char step[STEP_BYTES];
        memcpy(step, session->step, sizeof step);
        pthread_mutex_unlock(&session->mutex);
        step_make(session, step);
        pthread_mutex_lock(&session->mutex);
        session->step[0] = 0;
        session->is_done = true;
        pthread_cond_broadcast(&session->changed);
    }
    pthread_mutex_unlock(&session->mutex);
    return NULL;
}

static void session_give(struct session *session, const char *step)
{
    pthread_mutex_lock(&session->mutex);
    snprintf(session->step, sizeof session->step, "%s", step);
    session->is_done = false;
    pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->mutex);
}

static void session_wait(struct session *session)
{
    pthread_mutex_lock(&session->mutex);
    while (!session->is_done)
        pthread_cond_wait(&session->changed, &session->mutex);
    pthread_mutex_unlock(&session->mutex);
}

static bool session_is_done(struct session *session)
{
    pthread_mutex_lock(&session->mutex);
    bool is_done = session->is_done;
    pthread_mutex_unlock(&session->mutex);
    return is_done;
}

/* ---- schedules --------------------------------------------------------------------------- */

static void sessions_start(struct session *sessions, struct kv *kvs[2])
{
    for (size_t i = 0; i < SESSIONS; i++) {
        sessions[i] = (struct session){ .kv = kvs[i % 2], .is_done = true };
        pthread_mutex_init(&sessions[i].mutex, NULL);
        pthread_cond_init(&sessions[i].changed, NULL);
        if (pthread_create(&sessions[i].thread, NULL, session_main, &sessions[i]) != 0)
            abort();
    }
}

/* After a failed step: who waits gets its turn when the others are through. */
static void sessions_abort(struct session *sessions)
{
    for (size_t through = 0; through < SESSIONS;) {
        through = 0;
        for (size_t i = 0; i < SESSIONS; i++) {
            if (!session_is_done(&sessions[i]))
                continue;
            through++;
            if (sessions[i].txn) {
                session_give(&sessions[i], "a");
                session_wait(&sessions[i]);
            }
        }
        os_sleep_us(os_posix(), 1000);
    }
}

static void sessions_stop(struct session *sessions)
{
    for (size_t i = 0; i < SESSIONS; i++) {
        pthread_mutex_lock(&sessions[i].mutex);
        sessions[i].is_over = true;
        pthread_cond_broadcast(&sessions[i].changed);
        pthread_mutex_unlock(&sessions[i].mutex);
        pthread_join(sessions[i].thread, NULL);
        pthread_cond_destroy(&sessions[i].changed);
        pthread_mutex_destroy(&sessions[i].mutex);
    }
}

/* What is wrong with the step, or NULL. */
static const char *step_run(struct session *session, const char *step)
{
    if (strcmp(step, ".") != 0) {
        session_give(session, step);
        if (strcmp(step, "w?") == 0) {
            os_sleep_us(os_posix(), 2000);
            return session_is_done(session) ? "it did not wait" : NULL;
        }
    }
    session_wait(session);
    return session->said[0] ? session->said : NULL;
}

bool kv_isolation_run(struct kv *kvs[2], const char *schedule, char *report, size_t report_bytes)
{
    struct session sessions[SESSIONS];
    sessions_start(sessions, kvs);
    const char *wrong = NULL, *at = schedule;
    while (*at && !wrong) {
        char step[STEP_BYTES] = "";
        size_t bytes = strcspn(at, " ");
        memcpy(step, at, size_min(bytes, sizeof step - 1));
        wrong = step_run(&sessions[step[0] - '1'], step + 1);
        if (wrong)
            snprintf(report, report_bytes, "step %s: %s", step, wrong);
        at += bytes + (at[bytes] == ' ');
    }
    if (wrong)
        sessions_abort(sessions);
    sessions_stop(sessions);
    return !wrong;
}

void kv_isolation_check(const struct kv_isolation_driver *driver)
{
    for (size_t i = 0; i < COUNT_OF(schedules); i++) {
        struct kv *kvs[2];
        driver->open(driver->context, kvs);
        struct kv_txn *txn = kv_begin_write(kvs[0]);
        kv_put_text(txn, "x", "10");
        kv_put_text(txn, "y", "20");
        kv_commit_ok(txn);
        char report[300];
        if (!kv_isolation_run(kvs, schedules[i].steps, report, sizeof report))
            fail_msg("%s, %s: %s", driver->name, schedules[i].name, report);
        driver->close(driver->context, kvs);
    }
}
