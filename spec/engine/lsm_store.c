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
