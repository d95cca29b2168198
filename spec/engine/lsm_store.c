/* SPDX-License-Identifier: MIT */
#include "lsm_store.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

bool lsm_store_is_at(struct os *os, const char *path)
{
    bool is_there;
    expect_ok(lsm_is_at(os, path, &is_there));
    return is_there;
}

void lsm_store_remove(const char *directory)
{
    enum { DESCRIPTORS_MAX = 16 };
    nftw(directory, remove_one, DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS);
}

void lsm_store_open(struct lsm_store *store)
{
    assert_null(store->kv);
    expect_ok(lsm_open(store->os, store->path, &store->options, &store->kv));
}

void lsm_store_close(struct lsm_store *store)
{
    struct kv *kv = store->kv;
    store->kv = NULL;
    expect_ok(kv_close(kv));
}

static void store_begin(struct lsm_store *store, const struct lsm_options *options)
{
    *store = (struct lsm_store){ .options = *options };
    store->options.create = true;
}

void lsm_store_init(struct lsm_store *store, const struct lsm_options *options)
{
    store_begin(store, options);
    snprintf(store->directory, sizeof store->directory, "lsm_store.XXXXXX");
    assert_non_null(mkdtemp(store->directory));
    snprintf(store->path, sizeof store->path, "%s/data", store->directory);
    store->os = os_posix();
    lsm_store_open(store);
}

void lsm_store_init_simulated(struct lsm_store *store, const struct lsm_options *options)
{
    store_begin(store, options);
    snprintf(store->path, sizeof store->path, "data");
    store->sim = os_sim_new(NULL);
    store->os = os_sim_start(store->sim);
    lsm_store_open(store);
}

void lsm_store_release(struct lsm_store *store)
{
    if (store->kv)
        lsm_store_close(store);
    if (store->sim)
        os_sim_free(store->sim);
    else
        lsm_store_remove(store->directory);
    store->sim = NULL;
}

void lsm_store_file_make(struct os *os, const char *path, const char *text)
{
    struct os_file *file;
    expect_ok(os_open(os, path, OS_WRITE | OS_CREATE, 0600, &file));
    expect_ok(os_write(file, 0, text, strlen(text)));
    os_close(file);
}

static sombra_err name_add(void *context, const char *name)
{
    struct names *names = context;
    size_t bytes = strlen(names->text);
    snprintf(names->text + bytes, sizeof names->text - bytes, " %s", name);
    const char *dot = strrchr(name, '.');
    if (dot && strcmp(dot, ".sst") == 0)
        names->tables++;
    else if (dot && strcmp(dot, ".log") == 0)
        names->logs++;
    else
        names->others++;
    return SOMBRA_OK;
}

struct names names_of(struct os *os, const char *path)
{
    struct names names = { .tables = 0 };
    expect_ok(os_list_directory(os, path, name_add, &names));
    return names;
}

sombra_err lsm_store_try_put(struct kv *kv, uint64_t number, uint64_t timeout_ms)
{
    struct kv_txn *txn;
    sombra_err err = kv_begin(
        kv, &(struct kv_begin_options){ .is_write = true, .busy_timeout_ms = timeout_ms }, &txn);
    if (err)
        return err;
    uint8_t key[8], value[200] = { 0 };
    err = kv_put(txn, kv_number_key(number, key), slice_of(value, sizeof value));
    if (!err)
        return kv_commit(txn, KV_OFF);
    kv_abort(txn);
    return err;
}

uint64_t lsm_store_count(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_read(kv);
    uint64_t found;
    expect_ok(kv_count(txn, (struct kv_range){ { 0 }, { 0 } }, UINT64_MAX, &found));
    kv_abort(txn);
    return found;
}

enum { GATE_TRIES = 10000 };

void table_gate_hook(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct table_gate *gate = context;
    const char *dot = event->path ? strrchr(event->path, '.') : NULL;
    (void)sim;
    if (event->call != OS_SIM_CREATE || !dot || strcmp(dot, ".sst") != 0 ||
        pthread_equal(pthread_self(), gate->free_thread))
        return;
    unsigned made = atomic_fetch_add(&gate->made, 1) + 1;
    for (unsigned i = 0; i < GATE_TRIES && made > atomic_load(&gate->most); i++)
        os_sleep_us(os_posix(), 1000);
}

void table_gate_wait(const struct table_gate *gate)
{
    for (unsigned i = 0; i < GATE_TRIES && atomic_load(&gate->made) <= atomic_load(&gate->most);
         i++)
        os_sleep_us(os_posix(), 1000);
    assert_true(atomic_load(&gate->made) > atomic_load(&gate->most));
}

uint64_t lsm_store_image_digest(struct os_sim *image, const struct lsm_options *options)
{
    struct kv *kv;
    expect_ok(lsm_open(os_sim_start(image), "data", options, &kv));
    kv_expect_sound(kv);
    uint64_t digest = kv_committed_digest(kv, NULL);
    expect_ok(kv_close(kv));
    return digest;
}

void power_cut_hook(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct power_cut *cut = context;
    if (atomic_fetch_add(&cut->calls, 1) + 1 != atomic_load(&cut->at))
        return;
    cut->had_committed = atomic_load(&cut->is_committed);
    cut->image = os_sim_crash(sim, cut->variant, event->number);
}

bool power_cut_expect_whole(struct power_cut *cut, const struct lsm_options *options,
                            uint64_t before, uint64_t behind)
{
    if (!cut->image)
        return false;
    uint64_t digest = lsm_store_image_digest(cut->image, options);
    assert_true(digest == behind || (digest == before && !cut->had_committed));
    os_sim_free(cut->image);
    cut->image = NULL;
    return true;
}
