/* SPDX-License-Identifier: MIT */
/* Power cuts: what each variant promises, and what all of them do. */
#include "os_fixture.h"
#include "os/os_sim.h"

#include <stdio.h>

enum { SECTOR = 512, SEEDS = 64 };

/* A machine with a synced file /a of eight sectors of '.'. */
struct scene {
    struct os_sim *sim;
    struct os *os;
    struct os_file *file;
};

static void fill(struct os_file *file, uint64_t sector, uint64_t count, char with)
{
    char bytes[SECTOR * 16];
    assert_true(count <= 16);
    memset(bytes, with, sizeof bytes);
    assert_ok(os_write(file, sector * SECTOR, bytes, count * SECTOR));
}

static struct scene scene_make(void)
{
    struct scene scene = { .sim = os_sim_new(NULL) };
    scene.os = os_sim_start(scene.sim);
    scene.file = open_file(scene.os, "/a", OS_WRITE | OS_CREATE);
    fill(scene.file, 0, 8, '.');
    assert_ok(os_sync(scene.file));
    assert_ok(os_sync_directory_of(scene.os, "/a"));
    assert_int_equal(os_sim_unsynced(scene.sim), 0);
    return scene;
}

static void scene_release(struct scene *scene)
{
    os_close(scene->file);
    os_sim_free(scene->sim);
}

/* The first byte of each sector of a file after a cut, "-" for no such file; a sector of mixed
 * bytes is '?', of zeros '0'. The result lives until the next call. */
static const char *sectors_of(struct os_sim *after, const char *path)
{
    static char text[64];
    struct os_file *file = NULL;
    if (os_open(os_sim_start(after), path, OS_READ, 0, &file))
        return "-";
    uint64_t count = size_of(file) / SECTOR;
    assert_true(count < sizeof text);
    for (uint64_t i = 0; i < count; i++) {
        char bytes[SECTOR];
        assert_ok(os_read(file, i * SECTOR, bytes, SECTOR));
        bool is_even = memcmp(bytes, bytes + 1, SECTOR - 1) == 0;
        text[i] = is_even ? (bytes[0] ? bytes[0] : '0') : '?';
    }
    text[count] = '\0';
    os_close(file);
    return text;
}

static const char *after_cut(struct os_sim *sim, enum os_sim_variant variant, uint64_t seed,
                             const char *path)
{
    struct os_sim *after = os_sim_crash(sim, variant, seed);
    const char *text = sectors_of(after, path);
    os_sim_free(after);
    return text;
}

#define assert_after(sim, variant, path, want) \
    assert_string_equal(after_cut((sim), (variant), 1, (path)), (want))

/* How many of SEEDS cuts leave the file as `want`. */
static unsigned count_of(struct os_sim *sim, enum os_sim_variant variant, const char *path,
                         const char *want)
{
    unsigned count = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        count += strcmp(after_cut(sim, variant, seed, path), want) == 0;
    return count;
}

/* ---- each variant ------------------------------------------------------------------------ */

/* Three writes in place, a growing one, a new file. */
static struct scene scene_with_changes(void)
{
    struct scene scene = scene_make();
    fill(scene.file, 0, 1, '1');
    fill(scene.file, 2, 2, '2');
    fill(scene.file, 6, 4, '3');
    struct os_file *file = open_file(scene.os, "/new", OS_WRITE | OS_CREATE);
    fill(file, 0, 2, '4');
    os_close(file);
    return scene;
}

static void test_os_sim__the_plain_variants_keep_what_they_say(void **state)
{
    (void)state;
    static const struct {
        enum os_sim_variant variant;
        const char *a, *new;
    } rows[] = {
        { OS_SIM_NOTHING, "........", "-" },           { OS_SIM_ALL, "1.22..3333", "44" },
        { OS_SIM_LAST_ONLY, "........", "-" }, /* data of a file that has no name */
        { OS_SIM_ALL_BUT_LAST, "1.22..3333", "" },     { OS_SIM_NAMES_ONLY, "........", "" },
        { OS_SIM_DATA_ONLY, "1.22..3333", "-" },       { OS_SIM_SIZES_ONLY, "........00", "00" },
        { OS_SIM_DATA_WITHOUT_SIZES, "1.22..33", "" }, { OS_SIM_NEWER_HALF, "......3333", "44" },
    };
    struct scene scene = scene_with_changes();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        print_message("%s\n", os_sim_variant_name(rows[i].variant));
        assert_after(scene.sim, rows[i].variant, "/a", rows[i].a);
        assert_after(scene.sim, rows[i].variant, "/new", rows[i].new);
    }
    scene_release(&scene);
}

static void test_os_sim__last_only_keeps_the_last_write_alone(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    fill(scene.file, 0, 1, '1');
    fill(scene.file, 3, 2, '2');
    assert_after(scene.sim, OS_SIM_LAST_ONLY, "/a", "...22...");
    assert_after(scene.sim, OS_SIM_ALL_BUT_LAST, "/a", "1.......");
    scene_release(&scene);
}

static void test_os_sim__the_last_write_tears_between_sectors(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    fill(scene.file, 0, 1, '1');
    fill(scene.file, 2, 4, '2');
    static const char *const cuts[] = { "1.......", "1.2.....", "1.22....", "1.222...",
                                        "1....2..", "1...22..", "1..222.." };
    unsigned all = 0;
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        unsigned count = count_of(scene.sim, OS_SIM_LAST_TORN, "/a", cuts[i]);
        assert_true(count > 0);
        all += count;
    }
    assert_int_equal(all, SEEDS); /* and nothing else */
    scene_release(&scene);
}

static void test_os_sim__older_part_is_a_prefix_of_the_history(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    fill(scene.file, 0, 1, '1');
    fill(scene.file, 1, 1, '2');
    fill(scene.file, 2, 1, '3');
    unsigned all = 0;
    static const char *const cuts[] = { "........", "1.......", "12......", "123....." };
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        unsigned count = count_of(scene.sim, OS_SIM_OLDER_PART, "/a", cuts[i]);
        assert_true(count > 0);
        all += count;
    }
    assert_int_equal(all, SEEDS);
    scene_release(&scene);
}

static void test_os_sim__random_writes_are_whole_and_independent(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    fill(scene.file, 0, 2, '1');
    fill(scene.file, 4, 3, '2');
    unsigned all = 0;
    static const char *const cuts[] = { "........", "11......", "....222.", "11..222." };
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        unsigned count = count_of(scene.sim, OS_SIM_RANDOM_WRITES, "/a", cuts[i]);
        assert_true(count > 0);
        all += count;
    }
    assert_int_equal(all, SEEDS);
    scene_release(&scene);
}

static void test_os_sim__random_sectors_split_a_write(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    fill(scene.file, 0, 2, '1');
    unsigned all = 0;
    static const char *const cuts[] = { "........", "1.......", ".1......", "11......" };
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        unsigned count = count_of(scene.sim, OS_SIM_RANDOM_SECTORS, "/a", cuts[i]);
        assert_true(count > 0);
        all += count;
    }
    assert_int_equal(all, SEEDS);
    scene_release(&scene);
}

static void make_synced(struct os *os, const char *path, char with)
{
    struct os_file *file = open_file(os, path, OS_WRITE | OS_CREATE);
    fill(file, 0, 1, with);
    assert_ok(os_sync(file));
    os_close(file);
}

static void test_os_sim__random_names_are_independent(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    make_synced(scene.os, "/x", 'x');
    make_synced(scene.os, "/y", 'y');
    unsigned seen[2][2] = { { 0 } };
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        bool x = strcmp(after_cut(scene.sim, OS_SIM_RANDOM_NAMES, seed, "/x"), "x") == 0;
        bool y = strcmp(after_cut(scene.sim, OS_SIM_RANDOM_NAMES, seed, "/y"), "y") == 0;
        seen[x][y]++;
    }
    assert_true(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1]);
    scene_release(&scene);
}

static void test_os_sim__random_files_keep_all_of_a_file_or_nothing(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    struct os_file *other = open_file(scene.os, "/b", OS_WRITE | OS_CREATE);
    assert_ok(os_sync_directory_of(scene.os, "/b"));
    fill(scene.file, 0, 1, '1');
    fill(other, 0, 1, '1');
    fill(scene.file, 5, 4, '2');
    unsigned seen[2][2] = { { 0 } };
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        bool has_b = strcmp(after_cut(scene.sim, OS_SIM_RANDOM_FILES, seed, "/b"), "1") == 0;
        const char *a = after_cut(scene.sim, OS_SIM_RANDOM_FILES, seed, "/a");
        bool has_a = strcmp(a, "1....2222") == 0;
        assert_true(has_a || strcmp(a, "........") == 0);
        seen[has_a][has_b]++;
    }
    assert_true(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1]);
    os_close(other);
    scene_release(&scene);
}

/* ---- syncs ------------------------------------------------------------------------------- */

static void test_os_sim__what_was_synced_survives_every_variant(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    struct os_file *file = open_file(scene.os, "/new", OS_WRITE | OS_CREATE);
    fill(file, 0, 3, '1');
    fill(scene.file, 1, 9, '2');
    assert_ok(os_sync(file));
    assert_ok(os_sync(scene.file));
    assert_ok(os_sync_directory_of(scene.os, "/new"));
    fill(file, 3, 3, '3'); /* not synced, and elsewhere */
    assert_ok(os_link(scene.os, "/new", "/second"));
    for (enum os_sim_variant v = 0; v < OS_SIM_VARIANTS; v++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            assert_string_equal(after_cut(scene.sim, v, seed, "/a"), ".222222222");
            assert_memory_equal(after_cut(scene.sim, v, seed, "/new"), "111", 3);
        }
    }
    os_close(file);
    scene_release(&scene);
}

static void test_os_sim__a_failed_sync_has_lost_the_data_for_good(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    fill(scene.file, 1, 1, '1');
    os_sim_fail_at(scene.sim, 1, OS_SIM_EIO, false);
    assert_fails(SOMBRA_IO, os_sync(scene.file));
    assert_ok(os_sync(scene.file)); /* proves nothing */
    fill(scene.file, 5, 1, '2');
    assert_ok(os_sync(scene.file));
    for (enum os_sim_variant v = 0; v < OS_SIM_VARIANTS; v++)
        assert_after(scene.sim, v, "/a", ".....2..");
    struct os_sim *cache = os_sim_clone(scene.sim); /* no power cut: the page cache has it all */
    assert_string_equal(sectors_of(cache, "/a"), ".1...2..");
    os_sim_free(cache);
    scene_release(&scene);
}

static void test_os_sim__a_failed_directory_sync_has_lost_the_names_for_good(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    make_synced(scene.os, "/new", 'n');
    os_sim_fail_at(scene.sim, 1, OS_SIM_EIO, false);
    assert_fails(SOMBRA_IO, os_sync_directory_of(scene.os, "/new"));
    assert_ok(os_sync_directory_of(scene.os, "/new"));
    assert_after(scene.sim, OS_SIM_ALL, "/new", "-");
    struct os_file *file = open_file(scene.os, "/new", OS_READ);
    assert_int_equal(size_of(file), SECTOR);
    os_close(file);
    scene_release(&scene);
}

static void test_os_sim__a_sync_may_save_half_and_fail(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    fill(scene.file, 0, 1, '1');
    fill(scene.file, 2, 1, '2');
    os_sim_fail_at(scene.sim, 1, OS_SIM_SHORT, false);
    assert_fails(SOMBRA_IO, os_sync(scene.file));
    assert_after(scene.sim, OS_SIM_ALL, "/a", "1.......");
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "1.......");
    scene_release(&scene);
}

static void test_os_sim__a_mapped_store_survives_only_when_it_was_synced(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    void *address = NULL;
    assert_ok(os_map(scene.file, 0, 64 * KiB, true, &address));
    memset((char *)address + 1 * SECTOR, 'm', SECTOR);
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "........");
    assert_after(scene.sim, OS_SIM_ALL, "/a", ".m......");
    assert_ok(os_sync(scene.file));
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", ".m......");
    memset((char *)address + 4 * SECTOR, 'n', 2 * SECTOR);
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", ".m......");
    assert_after(scene.sim, OS_SIM_LAST_ONLY, "/a", ".m..nn..");
    os_unmap(scene.file, address, 64 * KiB); /* unmapping syncs nothing and forgets nothing */
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", ".m......");
    assert_after(scene.sim, OS_SIM_ALL, "/a", ".m..nn..");
    scene_release(&scene);
}

static void test_os_sim__a_killed_process_has_stored_what_it_had_stored(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    void *address = NULL;
    assert_ok(os_map(scene.file, 0, 4096, true, &address));
    memset((char *)address + 1 * SECTOR, 'm', SECTOR);
    os_sim_kill(scene.os);
    memset((char *)address + 2 * SECTOR, 'n', SECTOR);
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "........");
    assert_after(scene.sim, OS_SIM_ALL, "/a", ".m......");
    os_unmap(scene.file, address, 4096);
    assert_after(scene.sim, OS_SIM_ALL, "/a", ".m......");
    scene_release(&scene);
}

/* ---- contents ---------------------------------------------------------------------------- */

static void test_os_sim__a_surviving_sector_brings_its_older_bytes_along(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    assert_ok(os_write(scene.file, 10, "older", 5));
    assert_ok(os_write(scene.file, 20, "newer", 5));
    struct os_sim *after = os_sim_crash(scene.sim, OS_SIM_LAST_ONLY, 0);
    struct os_file *file = open_file(os_sim_start(after), "/a", OS_READ);
    char bytes[30];
    assert_ok(os_read(file, 0, bytes, sizeof bytes));
    assert_memory_equal(bytes, "..........older.....newer.....", 30);
    os_close(file);
    os_sim_free(after);
    scene_release(&scene);
}

static void test_os_sim__an_unsynced_cut_of_the_file_comes_back(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    assert_ok(os_truncate(scene.file, 2 * SECTOR));
    assert_ok(os_truncate(scene.file, 4 * SECTOR));
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "........");
    assert_after(scene.sim, OS_SIM_ALL_BUT_LAST, "/a", "..");
    assert_after(scene.sim, OS_SIM_ALL, "/a", "..00");
    assert_ok(os_sync(scene.file));
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "..00");
    scene_release(&scene);
}

static void test_os_sim__data_that_lost_its_size_does_not_come_back(void **state)
{
    (void)state;
    struct scene scene = scene_with_changes();
    struct os_sim *after = os_sim_crash(scene.sim, OS_SIM_DATA_WITHOUT_SIZES, 0);
    struct os_file *file = open_file(os_sim_start(after), "/a", OS_WRITE);
    assert_ok(os_truncate(file, 10 * SECTOR));
    assert_ok(os_sync(file));
    assert_after(after, OS_SIM_NOTHING, "/a", "1.22..3300");
    os_close(file);
    os_sim_free(after);
    scene_release(&scene);
}

static void test_os_sim__a_punched_hole_is_an_unsynced_change(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    assert_ok(os_punch(scene.file, 2 * SECTOR, 100 * SECTOR)); /* the size stays */
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "........");
    assert_after(scene.sim, OS_SIM_ALL, "/a", "..000000");
    assert_ok(os_sync(scene.file));
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "..000000");
    scene_release(&scene);
}

/* ---- names ------------------------------------------------------------------------------- */

static void test_os_sim__an_unsynced_rename_is_lost_but_never_half_done(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    make_synced(scene.os, "/next", 'n');
    assert_ok(os_sync_directory_of(scene.os, "/next"));
    assert_ok(os_rename(scene.os, "/next", "/a"));
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "........");
    assert_after(scene.sim, OS_SIM_NOTHING, "/next", "n");
    for (enum os_sim_variant v = 0; v < OS_SIM_VARIANTS; v++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            bool is_new = strcmp(after_cut(scene.sim, v, seed, "/a"), "n") == 0;
            const char *next = after_cut(scene.sim, v, seed, "/next");
            assert_string_equal(next, is_new ? "-" : "n");
        }
    }
    assert_ok(os_sync_directory_of(scene.os, "/a"));
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "n");
    assert_after(scene.sim, OS_SIM_NOTHING, "/next", "-");
    scene_release(&scene);
}

static void test_os_sim__a_synced_file_without_a_synced_name_is_lost(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    make_synced(scene.os, "/x", 'x');
    assert_after(scene.sim, OS_SIM_NOTHING, "/x", "-");
    assert_ok(os_link(scene.os, "/x", "/y"));
    assert_ok(os_unlink(scene.os, "/x"));
    assert_ok(os_sync_directory_of(scene.os, "/y"));
    assert_after(scene.sim, OS_SIM_NOTHING, "/x", "-");
    assert_after(scene.sim, OS_SIM_NOTHING, "/y", "x");
    scene_release(&scene);
}

static void test_os_sim__an_unsynced_unlink_comes_back(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    os_close(scene.file);
    scene.file = NULL;
    assert_ok(os_unlink(scene.os, "/a"));
    make_synced(scene.os, "/a", 'x'); /* a new file of the same name */
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "........");
    assert_after(scene.sim, OS_SIM_ALL, "/a", "x");
    assert_ok(os_unlink(scene.os, "/a"));
    /* this one alone: it took the name from the new file, not from the old one */
    assert_after(scene.sim, OS_SIM_LAST_ONLY, "/a", "........");
    assert_after(scene.sim, OS_SIM_ALL, "/a", "-");
    make_synced(scene.os, "/a", 'y');
    assert_ok(os_sync_directory_of(scene.os, "/a"));
    assert_after(scene.sim, OS_SIM_NOTHING, "/a", "y");
    scene_release(&scene);
}

static void test_os_sim__a_new_directory_needs_its_parents_sync(void **state)
{
    (void)state;
    struct scene scene = scene_make();
    assert_ok(os_make_directory(scene.os, "/d", 0700));
    make_synced(scene.os, "/d/x", 'x');
    assert_ok(os_sync_directory_of(scene.os, "/d/x"));
    assert_after(scene.sim, OS_SIM_NOTHING, "/d/x", "-");
    assert_ok(os_sync_directory_of(scene.os, "/d"));
    assert_after(scene.sim, OS_SIM_NOTHING, "/d/x", "x");
    assert_ok(os_rename(scene.os, "/d/x", "/x")); /* between directories: two changes */
    assert_after(scene.sim, OS_SIM_NOTHING, "/d/x", "x");
    assert_ok(os_sync_directory_of(scene.os, "/x"));
    assert_after(scene.sim, OS_SIM_NOTHING, "/x", "x");
    assert_after(scene.sim, OS_SIM_NOTHING, "/d/x", "x");
    assert_ok(os_sync_directory_of(scene.os, "/d/x"));
    assert_after(scene.sim, OS_SIM_NOTHING, "/d/x", "-");
    scene_release(&scene);
}

/* ---- images ------------------------------------------------------------------------------ */

struct cuts {
    uint64_t count;
    char trace[256]; /* of /a, call by call, when nothing unsynced survives */
};

static void cut_here(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct cuts *cuts = context;
    struct os_sim *after = os_sim_crash(sim, OS_SIM_NOTHING, event->number);
    strcat(cuts->trace, sectors_of(after, "/a"));
    strcat(cuts->trace, " ");
    cuts->count++;
    /* a power cut during recovery: the image is a machine like any other */
    struct os_file *file = NULL;
    if (os_open(os_sim_start(after), "/a", OS_WRITE, 0, &file) == SOMBRA_OK) {
        fill(file, 0, 1, 'R');
        struct os_sim *again = os_sim_crash(after, OS_SIM_NOTHING, 0);
        assert_string_not_equal(sectors_of(again, "/a"), "R");
        os_sim_free(again);
        assert_ok(os_sync(file));
        again = os_sim_crash(after, OS_SIM_NOTHING, 0);
        assert_int_equal(sectors_of(again, "/a")[0], 'R');
        os_sim_free(again);
        os_close(file);
    }
    os_sim_free(after);
}

static void test_os_sim__one_run_is_cut_at_every_call_and_goes_on(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct cuts cuts = { .trace = "" };
    os_sim_set_hook(sim, cut_here, &cuts);
    struct os_file *file = open_file(os, "/a", OS_WRITE | OS_CREATE);
    assert_ok(os_sync_directory_of(os, "/a"));
    fill(file, 0, 1, '1');
    assert_ok(os_sync(file));
    fill(file, 1, 1, '2');
    assert_ok(os_sync(file));
    assert_ok(os_unlink(os, "/a"));
    assert_int_equal(cuts.count, os_sim_calls(sim));
    /* before: create, sync directory, write, sync, write, sync, unlink; an empty text is an empty
     * file */
    assert_string_equal(cuts.trace, "- -   1 1 12 ");
    os_sim_set_hook(sim, NULL, NULL);
    os_close(file);
    os_sim_free(sim);
}

/* ---- a random history -------------------------------------------------------------------- */

enum { HISTORY_SECTORS = 24 };

/* What a sector may hold after a cut: any version since the last sync, that one included. */
struct sector_model {
    char versions[64];
    size_t count;
};

static void model_settle(struct sector_model *model)
{
    for (size_t i = 0; i < HISTORY_SECTORS; i++) {
        model[i].versions[0] = model[i].versions[model[i].count - 1];
        model[i].count = 1;
    }
}

static void model_put(struct sector_model *model, uint64_t first, uint64_t count, char with)
{
    for (uint64_t i = first; i < first + count; i++)
        model[i].versions[model[i].count++] = with;
}

static void check_legal(const struct sector_model *model, struct os_sim *after)
{
    const char *text = sectors_of(after, "/a");
    assert_int_equal(strlen(text), HISTORY_SECTORS);
    for (size_t i = 0; i < HISTORY_SECTORS; i++)
        assert_non_null(memchr(model[i].versions, text[i], model[i].count));
}

static void test_os_sim__every_cut_of_a_random_history_is_legal(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, test_seed());
    struct scene scene = scene_make();
    fill(scene.file, 8, HISTORY_SECTORS - 8, '.');
    assert_ok(os_sync(scene.file));
    char *mapped = NULL;
    assert_ok(os_map(scene.file, 0, HISTORY_SECTORS * SECTOR, true, (void **)&mapped));
    struct sector_model model[HISTORY_SECTORS];
    for (size_t i = 0; i < HISTORY_SECTORS; i++)
        model[i] = (struct sector_model){ .versions = ".", .count = 1 };
    for (int step = 0; step < 400; step++) {
        uint64_t first = random_below(&random, HISTORY_SECTORS);
        uint64_t count = 1 + random_below(&random, u64_min(HISTORY_SECTORS - first, 8));
        char with = (char)('a' + step % 26);
        if (step % 20 == 19) {
            assert_ok(os_sync(scene.file));
            model_settle(model);
        } else if (random_below(&random, 2)) {
            memset(mapped + first * SECTOR, with, count * SECTOR);
            model_put(model, first, count, with);
        } else {
            fill(scene.file, first, count, with);
            model_put(model, first, count, with);
        }
        enum os_sim_variant variant = (enum os_sim_variant)random_below(&random, OS_SIM_VARIANTS);
        uint64_t seed = random_u64(&random);
        struct os_sim *after = os_sim_crash(scene.sim, variant, seed);
        check_legal(model, after);
        struct os_sim *same = os_sim_crash(scene.sim, variant, seed);
        char text[64];
        strcpy(text, sectors_of(after, "/a"));
        assert_string_equal(text, sectors_of(same, "/a"));
        os_sim_free(same);
        os_sim_free(after);
    }
    os_unmap(scene.file, mapped, HISTORY_SECTORS * SECTOR);
    scene_release(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os_sim__the_plain_variants_keep_what_they_say),
        cmocka_unit_test(test_os_sim__last_only_keeps_the_last_write_alone),
        cmocka_unit_test(test_os_sim__the_last_write_tears_between_sectors),
        cmocka_unit_test(test_os_sim__older_part_is_a_prefix_of_the_history),
        cmocka_unit_test(test_os_sim__random_writes_are_whole_and_independent),
        cmocka_unit_test(test_os_sim__random_sectors_split_a_write),
        cmocka_unit_test(test_os_sim__random_names_are_independent),
        cmocka_unit_test(test_os_sim__random_files_keep_all_of_a_file_or_nothing),
        cmocka_unit_test(test_os_sim__what_was_synced_survives_every_variant),
        cmocka_unit_test(test_os_sim__a_failed_sync_has_lost_the_data_for_good),
        cmocka_unit_test(test_os_sim__a_failed_directory_sync_has_lost_the_names_for_good),
        cmocka_unit_test(test_os_sim__a_sync_may_save_half_and_fail),
        cmocka_unit_test(test_os_sim__a_mapped_store_survives_only_when_it_was_synced),
        cmocka_unit_test(test_os_sim__a_killed_process_has_stored_what_it_had_stored),
        cmocka_unit_test(test_os_sim__a_surviving_sector_brings_its_older_bytes_along),
        cmocka_unit_test(test_os_sim__an_unsynced_cut_of_the_file_comes_back),
        cmocka_unit_test(test_os_sim__data_that_lost_its_size_does_not_come_back),
        cmocka_unit_test(test_os_sim__a_punched_hole_is_an_unsynced_change),
        cmocka_unit_test(test_os_sim__an_unsynced_rename_is_lost_but_never_half_done),
        cmocka_unit_test(test_os_sim__a_synced_file_without_a_synced_name_is_lost),
        cmocka_unit_test(test_os_sim__an_unsynced_unlink_comes_back),
        cmocka_unit_test(test_os_sim__a_new_directory_needs_its_parents_sync),
        cmocka_unit_test(test_os_sim__one_run_is_cut_at_every_call_and_goes_on),
        cmocka_unit_test(test_os_sim__every_cut_of_a_random_history_is_legal),
    };
    return cmocka_run_group_tests_name("os_sim_crash", tests, NULL, NULL);
}
