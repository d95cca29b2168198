/* SPDX-License-Identifier: MIT */
/* The simulated machine as a system: files, names, mappings, locks, faults, kills, rot. Power cuts
 * are in os_sim_crash_test.c. */
#include "os_fixture.h"
#include "os/os_sim.h"

#include <stdio.h>

static struct os *machine(struct os_sim **out_sim)
{
    *out_sim = os_sim_new(NULL);
    return os_sim_start(*out_sim);
}

static struct os_file *make_file(struct os *os, const char *path)
{
    return open_file(os, path, OS_WRITE | OS_CREATE);
}

static void assert_bytes(struct os_file *file, uint64_t offset, const char *want)
{
    char bytes[64] = "";
    assert_ok(os_read(file, offset, bytes, strlen(want)));
    assert_memory_equal(bytes, want, strlen(want));
}

/* ---- the same promises as the real system ------------------------------------------------ */

static void test_os_sim__files_work_as_on_a_real_system(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_file *file = NULL;
    assert_fails(SOMBRA_NOT_FOUND, os_open(os, "/a", OS_READ, 0, &file));
    file = make_file(os, "/a");
    struct os_file *second = NULL;
    assert_fails(SOMBRA_EXISTS,
                 os_open(os, "/a", OS_WRITE | OS_CREATE | OS_EXCLUSIVE, 0600, &second));
    struct os_iovec parts[] = { { "hello", 5 }, { ", you", 5 } };
    assert_ok(os_write_gather(file, 3, parts, 2));
    assert_int_equal(size_of(file), 13);
    assert_bytes(file, 3, "hello, you");
    char bytes[20];
    assert_fails(SOMBRA_CORRUPT, os_read(file, 0, bytes, 20));
    assert_ok(os_allocate(file, 0, 8192));
    assert_int_equal(size_of(file), 8192);
    assert_ok(os_punch(file, 4, 4));
    assert_memory_equal((os_read(file, 3, bytes, 6) ? "" : bytes), "h\0\0\0\0,", 6);
    assert_ok(os_truncate(file, 4));
    assert_int_equal(size_of(file), 4);
    assert_ok(os_truncate(file, 20));
    assert_memory_equal((os_read(file, 3, bytes, 6) ? "" : bytes), "h\0\0\0\0\0", 6);
    second = open_file(os, "/a", OS_READ);
    assert_fails(SOMBRA_IO, os_write(second, 0, "x", 1));
    assert_fails(SOMBRA_IO, os_truncate(second, 1));
    os_close(second);
    os_close(file);
    os_sim_free(sim);
}

static void test_os_sim__names_work_as_on_a_real_system(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_identity first, second;
    assert_ok(os_make_directory(os, "/d", 0700));
    assert_fails(SOMBRA_EXISTS, os_make_directory(os, "/d", 0700));
    struct os_file *file = make_file(os, "/d/a");
    assert_ok(os_identify(file, &first));
    assert_ok(os_link(os, "/d/a", "/b"));
    assert_fails(SOMBRA_EXISTS, os_link(os, "/d/a", "/b"));
    assert_ok(os_identify_path(os, "b", &second)); /* relative to the root */
    assert_int_equal(first.inode, second.inode);
    assert_int_equal(second.links, 2);
    assert_ok(os_rename(os, "/d/a", "/b")); /* two names of one file: nothing happens */
    assert_ok(os_unlink(os, "/d/a"));
    assert_fails(SOMBRA_NOT_FOUND, os_unlink(os, "/d/a"));
    os_close(make_file(os, "/c"));
    assert_ok(os_rename(os, "/c", "/b")); /* replaces the last name of the open file */
    assert_ok(os_identify(file, &second));
    assert_int_equal(second.links, 0);
    assert_ok(os_write(file, 0, "alive", 5));
    assert_bytes(file, 0, "alive");
    assert_ok(os_sync_directory_of(os, "/b"));
    assert_bytes(file, 0, "alive");
    assert_fails(SOMBRA_IO, os_rename(os, "/d", "/d/inside"));
    assert_fails(SOMBRA_IO, os_unlink(os, "/d"));
    assert_ok(os_make_directory(os, "/g", 0700));
    os_close(make_file(os, "/g/x"));
    assert_fails(SOMBRA_IO, os_remove_directory(os, "/g"));
    assert_ok(os_unlink(os, "/g/x"));
    assert_ok(os_remove_directory(os, "/g"));
    assert_fails(SOMBRA_NOT_FOUND, os_remove_directory(os, "/g"));
    assert_fails(SOMBRA_IO, os_remove_directory(os, "/b"));
    assert_ok(os_rename(os, "/d", "/e"));
    os_close(make_file(os, "/e/x"));
    assert_ok(os_make_directory(os, "/e/f", 0700));
    char *path = NULL;
    assert_ok(os_resolve(os, "e/./f/../f//new", &path));
    assert_string_equal(path, "/e/f/new");
    mem_free(path);
    assert_ok(os_resolve(os, "/e/..", &path));
    assert_string_equal(path, "/");
    mem_free(path);
    assert_fails(SOMBRA_NOT_FOUND, os_resolve(os, "/none/new", &path));
    os_close(file);
    os_sim_free(sim);
}

static sombra_err join_names(void *context, const char *name)
{
    strcat(context, name);
    strcat(context, " ");
    return strcmp(name, "stop") == 0 ? SOMBRA_CANCELLED : SOMBRA_OK;
}

static void test_os_sim__a_listing_ends_at_the_first_error(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    os_close(make_file(os, "/one"));
    os_close(make_file(os, "/two"));
    char names[64] = "";
    assert_ok(os_list_directory(os, "/", join_names, names));
    assert_string_equal(names, "one two ");
    os_close(make_file(os, "/stop"));
    os_close(make_file(os, "/more"));
    names[0] = '\0';
    assert_fails(SOMBRA_CANCELLED, os_list_directory(os, "/", join_names, names));
    assert_string_equal(names, "one two stop ");
    os_sim_free(sim);
}

static void test_os_sim__mappings_share_the_page_cache(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_file *file = make_file(os, "/a");
    assert_ok(os_write_zeros(file, 0, 8192));
    void *reading = NULL, *writing = NULL;
    size_t bytes = FAR_MAP_BYTES;
    assert_ok(os_map(file, 0, bytes, false, &reading));
    assert_ok(os_map(file, 4096, 4096, true, &writing));
    memcpy(writing, "stored", 6);
    assert_memory_equal((char *)reading + 4096, "stored", 6);
    assert_bytes(file, 4096, "stored");
    assert_ok(os_write(file, 1 * MiB, "grown", 5));
    assert_memory_equal((char *)reading + 1 * MiB, "grown", 5);
    assert_ok(os_map_populate(file, 0, reading, 8192));
    assert_true(os_can_store_mapped(file));
    os_unmap(file, writing, 4096);
    os_unmap(file, reading, bytes);
    struct os_file *second = open_file(os, "/a", OS_READ);
    assert_fails(SOMBRA_READONLY, os_map(second, 0, 4096, true, &writing));
    os_close(second);
    os_close(file);
    os_sim_free(sim);
}

static void test_os_sim__options_take_abilities_away(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(&(struct os_sim_options){
        .lacks_allocate = true, .lacks_mapped_stores = true, .lacks_populate = true });
    struct os *os = os_sim_start(sim);
    struct os_file *file = make_file(os, "/a");
    assert_ok(os_write_zeros(file, 0, 100000));
    assert_fails(SOMBRA_UNSUPPORTED, os_allocate(file, 0, 4096));
    assert_fails(SOMBRA_UNSUPPORTED, os_punch(file, 0, 4096));
    assert_false(os_can_store_mapped(file));
    void *address = NULL;
    assert_ok(os_map(file, 0, 100000, false, &address));
    assert_ok(os_map_populate(file, 0, address, 100000));
    assert_true(os_sim_break(sim, "/a", 99999, 1));
    assert_fails(SOMBRA_IO, os_map_populate(file, 0, address, 100000));
    os_unmap(file, address, 100000);
    os_close(file);
    os_sim_free(sim);
}

/* ---- locks ------------------------------------------------------------------------------- */

static void test_os_sim__locks_belong_to_the_open_file(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_file *first = make_file(os, "/a");
    struct os_file *second = make_file(os, "/a");
    bool is_held = true;
    assert_ok(os_lock(first, 10, 10, OS_LOCK_EXCLUSIVE));
    assert_ok(os_lock_is_held(first, 10, 10, OS_LOCK_EXCLUSIVE, &is_held));
    assert_false(is_held);
    assert_fails(SOMBRA_BUSY, os_lock(second, 19, 1, OS_LOCK_SHARED));
    assert_ok(os_lock(second, 20, 1, OS_LOCK_EXCLUSIVE));
    os_unlock(first, 13, 2); /* leaves 10..12 and 15..19 */
    assert_ok(os_lock(second, 13, 2, OS_LOCK_EXCLUSIVE));
    assert_fails(SOMBRA_BUSY, os_lock(second, 12, 1, OS_LOCK_SHARED));
    assert_fails(SOMBRA_BUSY, os_lock(second, 15, 1, OS_LOCK_SHARED));
    assert_ok(os_lock(first, 15, 1, OS_LOCK_SHARED)); /* weaker now, in the middle of its range */
    assert_ok(os_lock(second, 15, 1, OS_LOCK_SHARED));
    assert_fails(SOMBRA_BUSY, os_lock(first, 15, 1, OS_LOCK_EXCLUSIVE));
    assert_fails(SOMBRA_BUSY, os_lock(second, 16, 1, OS_LOCK_SHARED));
    assert_fails(SOMBRA_BUSY,
                 os_lock_wait(second, 16, 1, OS_LOCK_SHARED, 60000)); /* no real time */
    os_close(first);
    assert_ok(os_lock(second, 0, 1000, OS_LOCK_EXCLUSIVE));
    os_close(second);
    struct os_file *reader = open_file(os, "/a", OS_READ);
    assert_ok(os_lock(reader, 0, 1, OS_LOCK_SHARED));
    assert_fails(SOMBRA_IO, os_lock(reader, 0, 1, OS_LOCK_EXCLUSIVE));
    os_close(reader);
    os_sim_free(sim);
}

/* ---- kills ------------------------------------------------------------------------------- */

static void test_os_sim__a_killed_process_leaves_its_page_cache_and_no_lock(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *victim = machine(&sim);
    struct os *survivor = os_sim_start(sim);
    struct os_file *dying = make_file(victim, "/a");
    struct os_file *living = open_file(survivor, "/a", OS_WRITE);
    void *address = NULL;
    assert_ok(os_write_zeros(dying, 0, 4096));
    assert_ok(os_map(dying, 0, 4096, true, &address));
    assert_ok(os_lock(dying, 0, 1, OS_LOCK_EXCLUSIVE));
    memcpy(address, "before", 6);
    assert_fails(SOMBRA_BUSY, os_lock(living, 0, 1, OS_LOCK_SHARED));
    os_sim_kill(victim);
    memcpy(address, "after!", 6); /* its threads do not know yet */
    assert_bytes(living, 0, "before");
    assert_ok(os_lock(living, 0, 1, OS_LOCK_SHARED));
    char bytes[6];
    struct os_file *file = NULL;
    struct os_identity identity;
    assert_fails(SOMBRA_IO, os_write(dying, 0, "x", 1));
    assert_fails(SOMBRA_IO, os_read(dying, 0, bytes, 6));
    assert_fails(SOMBRA_IO, os_open(victim, "/a", OS_READ, 0, &file));
    assert_fails(SOMBRA_IO, os_open(victim, "/b", OS_WRITE | OS_CREATE, 0600, &file));
    assert_fails(SOMBRA_IO, os_sync(dying));
    assert_fails(SOMBRA_IO, os_unlink(victim, "/a"));
    assert_fails(SOMBRA_IO, os_identify(dying, &identity));
    assert_fails(SOMBRA_IO, os_sync_directory_of(victim, "/a"));
    os_unmap(dying, address, 4096);
    os_close(dying);
    assert_bytes(living, 0, "before");
    assert_ok(os_sync(living));
    os_close(living);
    os_sim_free(sim);
}

static void test_os_sim__a_process_stops_before_its_nth_call(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os *other = os_sim_start(sim);
    struct os_file *file = make_file(os, "/a");
    struct os_file *same = open_file(other, "/a", OS_WRITE);
    os_sim_stop_at(os, 2);
    assert_ok(os_write(file, 0, "1", 1));
    assert_ok(os_write(same, 1, "2", 1)); /* another's calls do not count */
    assert_bytes(file, 0, "12");          /* nor do reads */
    assert_false(os_sim_is_dead(os));
    assert_fails(SOMBRA_IO, os_write(file, 2, "3", 1));
    assert_true(os_sim_is_dead(os));
    assert_false(os_sim_is_dead(other));
    assert_int_equal(size_of(same), 2);
    os_close(file);
    os_close(same);
    os_sim_free(sim);
}

/* ---- faults ------------------------------------------------------------------------------ */

static void test_os_sim__the_nth_call_fails_once_or_for_good(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_file *file = make_file(os, "/a");
    os_sim_fail_at(sim, 2, OS_SIM_EIO, false);
    assert_ok(os_write(file, 0, "1", 1));
    assert_fails(SOMBRA_IO, os_write(file, 1, "2", 1));
    assert_int_equal(size_of(file), 1);
    assert_ok(os_write(file, 1, "3", 1));
    assert_int_equal(os_sim_faults(sim), 1);
    os_sim_fail_at(sim, 1, OS_SIM_ENOSPC, true);
    assert_fails(SOMBRA_LIMIT, os_write(file, 2, "4", 1));
    assert_fails(SOMBRA_LIMIT, os_truncate(file, 100));
    assert_fails(SOMBRA_LIMIT, os_allocate(file, 0, 100));
    assert_fails(SOMBRA_LIMIT, os_make_directory(os, "/d", 0700));
    assert_ok(os_punch(file, 0, 1)); /* gives space */
    assert_ok(os_sync_directory_of(os, "/a"));
    assert_int_equal(os_sim_faults(sim), 5);
    os_sim_fail(sim, NULL);
    assert_ok(os_write(file, 2, "4", 1));
    os_close(file);
    os_sim_free(sim);
}

static void test_os_sim__a_fault_may_choose_its_calls(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_file *file = make_file(os, "/a");
    os_sim_fail(sim, &(struct os_sim_fault){ .kind = OS_SIM_EIO,
                                             .nth = 2,
                                             .calls = 1u << OS_SIM_SYNC | 1u << OS_SIM_RENAME });
    assert_ok(os_write(file, 0, "1", 1));
    assert_ok(os_rename(os, "/a", "/b"));
    assert_ok(os_write(file, 0, "2", 1));
    assert_ok(os_link(os, "/b", "/c"));
    assert_fails(SOMBRA_IO, os_sync(file));
    assert_ok(os_rename(os, "/b", "/a"));
    os_close(file);
    os_sim_free(sim);
}

/* Writes, renames and syncs something; the same whatever is interrupted or short. */
static void run_calls(struct os *os)
{
    struct os_file *file = make_file(os, "/temporary");
    struct os_iovec parts[] = { { "hello", 5 }, { ", ", 2 }, { "sombra", 6 } };
    assert_ok(os_write_gather(file, 0, parts, 3));
    assert_ok(os_write_zeros(file, 13, 200000));
    assert_ok(os_allocate(file, 0, 300000));
    assert_ok(os_punch(file, 5, 2));
    assert_ok(os_truncate(file, 250000));
    assert_ok(os_sync(file));
    assert_ok(os_link(os, "/temporary", "/file"));
    assert_ok(os_unlink(os, "/temporary"));
    assert_ok(os_make_directory(os, "/d", 0700));
    assert_ok(os_rename(os, "/file", "/d/file"));
    assert_ok(os_sync_directory_of(os, "/d/file"));
    assert_ok(os_sync_directory_of(os, "/d"));
    os_close(file);
}

static void assert_calls_done(struct os_sim *sim)
{
    struct os *os = os_sim_start(sim);
    struct os_file *file = open_file(os, "/d/file", OS_READ);
    assert_int_equal(size_of(file), 250000);
    assert_bytes(file, 0, "hello");
    assert_bytes(file, 7, "sombra");
    os_close(file);
}

static void test_os_sim__interrupted_calls_are_invisible_through_os_h(void **state)
{
    (void)state;
    struct os_sim *sim;
    run_calls(machine(&sim));
    uint64_t calls = os_sim_calls(sim);
    assert_true(calls > 10);
    os_sim_free(sim);
    for (uint64_t nth = 1; nth <= calls; nth++) {
        struct os *os = machine(&sim);
        os_sim_fail_at(sim, nth, OS_SIM_EINTR, false);
        run_calls(os);
        assert_int_equal(os_sim_faults(sim), 1);
        struct os_sim *after = os_sim_crash(sim, OS_SIM_NOTHING, 0);
        assert_calls_done(after);
        os_sim_free(after);
        os_sim_free(sim);
    }
}

static void test_os_sim__short_writes_are_invisible_through_os_h(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    os_sim_fail(
        sim, &(struct os_sim_fault){
                 .kind = OS_SIM_SHORT, .nth = 1, .is_sticky = true, .calls = 1u << OS_SIM_WRITE });
    run_calls(os);
    assert_true(os_sim_faults(sim) > 10);
    struct os_sim *after = os_sim_crash(sim, OS_SIM_NOTHING, 0);
    assert_calls_done(after);
    os_sim_free(after);
    os_sim_free(sim);
}

/* ---- hooks ------------------------------------------------------------------------------- */

struct record {
    char text[512];
    struct os_sim *sim;
    struct os *stop;
};

static void record_call(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct record *record = context;
    assert_ptr_equal(sim, record->sim);
    assert_int_equal(event->number, os_sim_calls(sim));
    char line[64];
    (void)snprintf(line, sizeof line, "%s %s %u+%u;", os_sim_call_name(event->call), event->path,
                   (unsigned)event->offset, (unsigned)event->bytes);
    strcat(record->text, line);
    if (record->stop && event->call == OS_SIM_RENAME)
        os_sim_kill(record->stop);
}

static void test_os_sim__the_hook_sees_every_mutating_call_before_it_acts(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct record record = { .sim = sim, .stop = os };
    os_sim_set_hook(sim, record_call, &record);
    struct os_file *file = make_file(os, "/a");
    os_close(make_file(os, "/a")); /* opens only */
    assert_ok(os_write(file, 7, "abc", 3));
    assert_ok(os_truncate(file, 5));
    assert_int_equal(size_of(file), 5);
    assert_ok(os_sync(file));
    assert_ok(os_sync_directory_of(os, "/a"));
    assert_fails(SOMBRA_IO, os_rename(os, "/a", "/b")); /* the hook killed the caller */
    assert_string_equal(record.text, "create /a 0+0;write /a 7+3;truncate /a 0+5;sync /a 0+0;"
                                     "sync directory / 0+0;rename /a 0+0;");
    os_sim_set_hook(sim, NULL, NULL);
    struct os *next = os_sim_start(sim);
    assert_ok(os_unlink(next, "/a")); /* the rename did not happen */
    os_close(file);
    os_sim_free(sim);
}

/* ---- rot, clocks, clones ----------------------------------------------------------------- */

static void test_os_sim__a_flipped_bit_is_everywhere(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_file *file = make_file(os, "/a");
    assert_ok(os_write(file, 0, "aaaa", 4));
    assert_ok(os_sync(file));
    assert_ok(os_sync_directory_of(os, "/a"));
    assert_ok(os_write(file, 2, "aa", 2));
    assert_true(os_sim_flip(sim, "/a", 3, 'a' ^ 'z'));
    assert_bytes(file, 0, "aaaz");
    assert_false(os_sim_flip(sim, "/a", 4, 1));
    assert_false(os_sim_flip(sim, "/none", 0, 1));
    os_close(file);
    for (enum os_sim_variant v = 0; v < OS_SIM_VARIANTS; v++) {
        struct os_sim *after = os_sim_crash(sim, v, 7);
        file = open_file(os_sim_start(after), "/a", OS_READ);
        assert_bytes(file, 0, "aaaz");
        os_close(file);
        os_sim_free(after);
    }
    os_sim_free(sim);
}

static void test_os_sim__a_bad_range_cannot_be_read(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_file *file = make_file(os, "/a");
    assert_ok(os_write_zeros(file, 0, 3 * 4096));
    assert_true(os_sim_break(sim, "/a", 4096, 512));
    char bytes[10];
    assert_ok(os_read(file, 4086, bytes, 10));
    assert_fails(SOMBRA_IO, os_read(file, 4087, bytes, 10));
    assert_ok(os_read(file, 4096 + 512, bytes, 10));
    void *address = NULL;
    assert_ok(os_map(file, 0, 3 * 4096, false, &address));
    assert_fails(SOMBRA_IO, os_map_populate(file, 4096, (char *)address + 4096, 4096));
    assert_ok(os_map_populate(file, 8192, (char *)address + 8192, 4096));
    assert_true(os_sim_break(sim, "/a", 0, 0));
    assert_ok(os_map_populate(file, 4096, (char *)address + 4096, 4096));
    os_unmap(file, address, 3 * 4096);
    os_close(file);
    os_sim_free(sim);
}

static void test_os_sim__time_passes_only_by_calls_and_sleep(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    uint64_t start_ns = os_monotonic_ns(os);
    os_sleep_us(os, UINT64_C(3600) * 1000000); /* an hour of no real time */
    uint64_t passed_ns = os_monotonic_ns(os) - start_ns;
    assert_int_equal(passed_ns, UINT64_C(3600) * 1000000000 + 2000);
    assert_true(os_wall_ns(os) > UINT64_C(1767225600000000000));
    os_sim_free(sim);
}

static void test_os_sim__random_bytes_follow_the_seed(void **state)
{
    (void)state;
    uint8_t bytes[3][32];
    for (size_t i = 0; i < 3; i++) {
        struct os_sim *sim = os_sim_new(&(struct os_sim_options){ .seed = i / 2 });
        assert_ok(os_random(os_sim_start(sim), bytes[i], sizeof bytes[i]));
        os_sim_free(sim);
    }
    assert_memory_equal(bytes[0], bytes[1], sizeof bytes[0]);
    assert_memory_not_equal(bytes[0], bytes[2], sizeof bytes[0]);
}

static void test_os_sim__a_clone_goes_its_own_way(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct os_file *file = make_file(os, "/a");
    void *address = NULL;
    assert_ok(os_write_zeros(file, 0, 4096));
    assert_ok(os_lock(file, 0, 1, OS_LOCK_EXCLUSIVE));
    assert_ok(os_map(file, 0, 4096, true, &address));
    memcpy(address, "one", 3);
    struct os_sim *clone = os_sim_clone(sim);
    assert_int_equal(os_sim_unsynced(clone), os_sim_unsynced(sim));
    struct os_file *copy = open_file(os_sim_start(clone), "/a", OS_WRITE);
    assert_bytes(copy, 0, "one");
    assert_ok(os_lock(copy, 0, 1, OS_LOCK_EXCLUSIVE)); /* nobody else lives there */
    struct os_identity mine, theirs;
    assert_ok(os_identify(file, &mine));
    assert_ok(os_identify(copy, &theirs));
    assert_int_not_equal(mine.device, theirs.device);
    memcpy(address, "two", 3);
    assert_ok(os_write(copy, 0, "six", 3));
    assert_bytes(file, 0, "two");
    assert_bytes(copy, 0, "six");
    os_unmap(file, address, 4096);
    os_close(copy);
    os_close(file);
    os_sim_free(clone);
    os_sim_free(sim);
}

/* ---- threads ----------------------------------------------------------------------------- */

struct worker {
    struct os *os;
    unsigned number;
};

static void *work(void *argument)
{
    const struct worker *worker = argument;
    char path[16];
    (void)snprintf(path, sizeof path, "/%u", worker->number);
    for (int i = 0; i < 50; i++) {
        struct os_file *file = make_file(worker->os, path);
        assert_ok(os_write(file, (uint64_t)i * 100, path, 2));
        assert_ok(os_sync(file));
        void *address = NULL;
        assert_ok(os_map(file, 0, 4096, true, &address));
        os_unmap(file, address, 4096);
        os_close(file);
    }
    return NULL;
}

static void test_os_sim__threads_may_call_at_once(void **state)
{
    (void)state;
    struct os_sim *sim;
    struct os *os = machine(&sim);
    struct worker workers[4];
    struct os_thread threads[4];
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){ os, i };
        assert_ok(os_thread_start(&threads[i], work, &workers[i]));
    }
    for (int i = 0; i < 20; i++)
        os_sim_free(os_sim_crash(sim, OS_SIM_RANDOM_SECTORS, (uint64_t)i));
    for (unsigned i = 0; i < 4; i++)
        os_thread_join(&threads[i]);
    assert_int_equal(os_sim_calls(sim), 4 * (1 + 50 * 2));
    os_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os_sim__files_work_as_on_a_real_system),
        cmocka_unit_test(test_os_sim__names_work_as_on_a_real_system),
        cmocka_unit_test(test_os_sim__a_listing_ends_at_the_first_error),
        cmocka_unit_test(test_os_sim__mappings_share_the_page_cache),
        cmocka_unit_test(test_os_sim__options_take_abilities_away),
        cmocka_unit_test(test_os_sim__locks_belong_to_the_open_file),
        cmocka_unit_test(test_os_sim__a_killed_process_leaves_its_page_cache_and_no_lock),
        cmocka_unit_test(test_os_sim__a_process_stops_before_its_nth_call),
        cmocka_unit_test(test_os_sim__the_nth_call_fails_once_or_for_good),
        cmocka_unit_test(test_os_sim__a_fault_may_choose_its_calls),
        cmocka_unit_test(test_os_sim__interrupted_calls_are_invisible_through_os_h),
        cmocka_unit_test(test_os_sim__short_writes_are_invisible_through_os_h),
        cmocka_unit_test(test_os_sim__the_hook_sees_every_mutating_call_before_it_acts),
        cmocka_unit_test(test_os_sim__a_flipped_bit_is_everywhere),
        cmocka_unit_test(test_os_sim__a_bad_range_cannot_be_read),
        cmocka_unit_test(test_os_sim__time_passes_only_by_calls_and_sleep),
        cmocka_unit_test(test_os_sim__random_bytes_follow_the_seed),
        cmocka_unit_test(test_os_sim__a_clone_goes_its_own_way),
        cmocka_unit_test(test_os_sim__threads_may_call_at_once),
    };
    return cmocka_run_group_tests_name("os_sim", tests, NULL, NULL);
}
