/* SPDX-License-Identifier: MIT */
/* open: how long an open takes, with the first get and the close, against the size of the store,
 * for both engines and their peers.
 *
 *   open [--rounds N] [--folder PATH] [--strace PROGRAM] [--only opens|scripts] [--records N]
 *   open --once STORE FOLDER TABLE_KIB
 *
 * A store is filled in random order and settled, and closed; then opened again and again, all of
 * the same size in turns. Log-structured stores are filled twice, with few and with many tables
 * (LevelDB only with few: its tables have at least 1 MiB). Logs are empty: what recovery costs is
 * the log's length, not the store's. With --strace the system calls of one open, get and close are
 * counted, those of a program that does nothing else taken off. --records is the largest size.
 *
 * And what a short script costs: open, one durable write, close, again and again, in turns.
 */
#include "kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH = 1000, ROUNDS = 5, OPENS = 5, KINDS = 5, SCRIPTS = 20, SCRIPT_RECORDS = 1000 };

static const uint32_t sizes[] = { 10000, 100000, 1000000 };

struct settings {
    unsigned long records;                        /* of the largest store */
    const char *folder, *strace, *program, *only; /* NULL = all */
    size_t rounds;
};

/* A size and a kind. */
struct place {
    struct bench_store store;
    uint32_t records;
    size_t table_bytes;
    double seconds[ROUNDS_MAX];
};

static void fill(struct bench_store *store, uint32_t count)
{
    uint32_t *order = data_order(count, 1);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[KEY_BYTES];
        if (i % BATCH == 0)
            store->kind->write_begin(store->session);
        data_key(order[i], key);
        store->kind->put(store->session, key, data_value(order[i], 0), false);
        if (i % BATCH == BATCH - 1)
            store->kind->write_commit(store->session);
    }
    free(order);
    if (store->kind->settle)
        store->kind->settle(store->store);
    store_close(store);
}

static void open_once(const struct store_kind *kind, const char *folder)
{
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    void *store = kind->open(folder, false), *session = kind->session_open(store);
    data_key(4711, key);
    kind->read_begin(session);
    if (!kind->get(session, key, value))
        die("%s: a key is missing", kind->name);
    kind->read_end(session);
    kind->session_close(session);
    kind->close(store);
}

static double open_seconds(const struct place *place)
{
    tuning.table_bytes = place->table_bytes;
    double begun = wall_s();
    for (int i = 0; i < OPENS; i++)
        open_once(place->store.kind, place->store.folder);
    return (wall_s() - begun) / OPENS;
}

/* ---- system calls ------------------------------------------------------------------------ */

/* Of this program with `arguments`, and its threads. */
static unsigned long calls_of(const struct settings *settings, const char *arguments)
{
    char command[1200], line[400];
    unsigned long calls = 0;
    snprintf(command, sizeof command, "'%s' -f -o '|wc -l' '%s' %s 2>&1", settings->strace,
             settings->program, arguments);
    FILE *pipe = popen(command, "r");
    while (pipe && fgets(line, sizeof line, pipe))
        calls = strtoul(line, NULL, 10);
    if (!pipe || pclose(pipe))
        die("%s failed", settings->strace);
    return calls;
}

static unsigned long open_calls(const struct settings *settings, const struct place *place)
{
    char arguments[500];
    if (!settings->strace)
        return 0;
    snprintf(arguments, sizeof arguments, "--once %s '%s' %zu", place->store.kind->name,
             place->store.folder, place->table_bytes / KiB);
    unsigned long calls = calls_of(settings, arguments);
    unsigned long nothing = calls_of(settings, "--once nothing . 0");
    return calls > nothing ? calls - nothing : 0;
}

/* ---- the table --------------------------------------------------------------------------- */

static void place_print(const struct settings *settings, struct place *place)
{
    char calls[32] = "";
    unsigned long count = open_calls(settings, place);
    if (count)
        snprintf(calls, sizeof calls, "%lu", count);
    double middle = median(place->seconds, settings->rounds); /* sorts */
    double spread = (place->seconds[settings->rounds - 1] - place->seconds[0]) / 2 / middle;
    printf("| %-10s | %8" PRIu32 " | %6zu | %9.1f | %8.3f ±%3.0f%% | %5s |\n",
           place->store.kind->name, place->records, store_file_count(&place->store),
           (double)store_file_bytes(&place->store) / 1e6, middle * 1e3, spread * 100, calls);
    fflush(stdout);
}

static void size_run(const struct settings *settings, const struct store_kind *const *kinds,
                     uint32_t records, uint32_t tables)
{
    struct place places[KINDS];
    size_t count = 0;
    for (size_t i = 0; i < KINDS; i++) {
        if (!kinds[i] || (tables && (!kinds[i]->settle || kinds[i] == &kind_leveldb)))
            continue;
        struct place *place = &places[count++];
        *place = (struct place){ .records = records };
        if (tables)
            place->table_bytes = (size_t)records * (KEY_BYTES + VALUE_BYTES) / tables;
        tuning.table_bytes = place->table_bytes;
        store_open(&place->store, kinds[i], settings->folder, false);
        fill(&place->store, records);
    }
    for (size_t round = 0; round < settings->rounds; round++)
        for (size_t i = 0; i < count; i++)
            places[i].seconds[round] = open_seconds(&places[i]);
    for (size_t i = 0; i < count; i++) {
        place_print(settings, &places[i]);
        store_delete(&places[i].store);
    }
}

static void opens_run(const struct settings *settings, const struct store_kind *const *kinds)
{
    printf("| store      |  records |  files |  disk, MB | open, get, close, ms | system calls |\n"
           "|---|--:|--:|--:|--:|--:|\n");
    uint32_t largest = sizes[0];
    for (size_t i = 0; i < COUNT_OF(sizes) && sizes[i] <= settings->records; i++) {
        largest = sizes[i];
        size_run(settings, kinds, largest, 0);
    }
    size_run(settings, kinds, largest, largest / 1000);
}

/* ---- scripts ----------------------------------------------------------------------------- */

static void script_run(const struct bench_store *place, uint32_t number)
{
    const struct store_kind *kind = place->kind;
    uint8_t key[KEY_BYTES];
    void *store = kind->open(place->folder, true), *session = kind->session_open(store);
    data_key(number % SCRIPT_RECORDS, key);
    kind->write_begin(session);
    kind->put(session, key, data_value(number % SCRIPT_RECORDS, number), false);
    kind->write_commit(session);
    kind->session_close(session);
    kind->close(store);
}

static void scripts_run(const struct settings *settings)
{
    static const struct store_kind *const kinds[] = { &kind_sombra, &kind_lmdb, &kind_sqlite,
                                                      &kind_lsm };
    struct place places[COUNT_OF(kinds)];
    tuning.table_bytes = 0;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        places[i] = (struct place){ .records = SCRIPT_RECORDS };
        store_open(&places[i].store, kinds[i], settings->folder, false);
        fill(&places[i].store, SCRIPT_RECORDS);
    }
    uint32_t number = 0;
    for (size_t round = 0; round < settings->rounds; round++)
        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
            double begun = wall_s();
            for (int n = 0; n < SCRIPTS; n++)
                script_run(&places[i].store, ++number);
            places[i].seconds[round] = (wall_s() - begun) / SCRIPTS;
        }
    printf("\n| store      | open, one durable write, close, ms |\n|---|--:|\n");
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        double middle = median(places[i].seconds, settings->rounds); /* sorts */
        double spread = places[i].seconds[settings->rounds - 1] - places[i].seconds[0];
        printf("| %-10s | %8.3f ±%3.0f%% |\n", kinds[i]->name, middle * 1e3,
               spread / 2 / middle * 100);
        store_delete(&places[i].store);
    }
}

/* What the parent counts the system calls of. */
static int once(const struct store_kind *const *kinds, char **argv)
{
    tuning.table_bytes = strtoul(argv[4], NULL, 10) * KiB;
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i] && strcmp(kinds[i]->name, argv[2]) == 0)
            open_once(kinds[i], argv[3]);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct store_kind *const kinds[KINDS] = { &kind_sombra, &kind_lmdb, &kind_lsm,
                                                           &kind_leveldb, &kind_rocksdb };
    struct settings settings = {
        .records = UINT32_MAX, .folder = ".", .rounds = ROUNDS, .program = argv[0]
    };
    bool is_known = argc % 2 == 1;
    if (argc == 5 && strcmp(argv[1], "--once") == 0)
        return once(kinds, argv);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--folder") == 0)
            settings.folder = argv[i + 1];
        else if (strcmp(argv[i], "--strace") == 0)
            settings.strace = argv[i + 1];
        else if (strcmp(argv[i], "--only") == 0)
            settings.only = argv[i + 1];
        else if (strcmp(argv[i], "--rounds") == 0)
            settings.rounds = strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--records") == 0)
            settings.records = strtoul(argv[i + 1], NULL, 10);
        else
            is_known = false;
    }
    if (settings.only && strcmp(settings.only, "opens") != 0 &&
        strcmp(settings.only, "scripts") != 0)
        is_known = false;
    if (!is_known || settings.rounds < 1 || settings.rounds > ROUNDS_MAX ||
        settings.records < sizes[0])
        die("usage: open [--rounds N] [--folder PATH] [--strace PROGRAM] [--only opens|scripts]\n"
            "            [--records N >= 10000]");
    data_init();
    if (!settings.only || strcmp(settings.only, "opens") == 0)
        opens_run(&settings, kinds);
    if (!settings.only || strcmp(settings.only, "scripts") == 0)
        scripts_run(&settings);
    return 0;
}
