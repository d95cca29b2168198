/* SPDX-License-Identifier: MIT */
/* view: the counted lists that snapshots read from. */
#include "lsm/lsm_internal.h"

void view_ref(struct view *view)
{
    uint32_t before = atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    assert(before > 0 && before < UINT32_MAX);
    (void)before;
}

void view_release(struct view *view)
{
    if (!view)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before > 1)
        return;
    for (size_t i = 0; i < view->count; i++)
        memtable_unref(view->memtables[i]);
    version_unref(view->version);
    mem_free(view);
}

struct view *view_acquire(struct lsm *lsm)
{
    os_mutex_lock(&lsm->mutex);
    struct view *view = lsm->view;
    view_ref(view); /* the store's own reference holds it until here */
    os_mutex_unlock(&lsm->mutex);
    return view;
}

sombra_err view_new(struct view **out_view)
{
    size_t bytes = sizeof(struct view) + VIEW_MEMTABLES_MAX * sizeof(struct memtable *);
    struct view *view = mem_zalloc(bytes);
    if (!view)
        return diag_nomem("view", bytes);
    atomic_init(&view->refs, 1);
    *out_view = view;
    return SOMBRA_OK;
}

void view_put(struct lsm *lsm, struct view *view, struct memtable *const *memtables, size_t count,
              struct version *version)
{
    assert(count <= VIEW_MEMTABLES_MAX && version);
    assert(view->count == 0 && !view->version);
    struct view *old = lsm->view;
    for (size_t i = 0; i < count; i++) {
        memtable_ref(memtables[i]);
        view->memtables[i] = memtables[i];
    }
    view->count = count;
    version_ref(version);
    view->version = version;
    view->number = old ? old->number + 1 : 1;
    lsm->view = view;
    lsm->version_number = version->number;
    atomic_store_explicit(&lsm->view_number, view->number, memory_order_release);
    view_release(old);
}

sombra_err view_publish(struct lsm *lsm, struct memtable *const *memtables, size_t count,
                        struct version *version)
{
    struct view *view = NULL;
    if (count > VIEW_MEMTABLES_MAX)
        return diag_fail(SOMBRA_LIMIT, "%zu memtables wait for their flush; at most %d", count,
                         VIEW_MEMTABLES_MAX);
    sombra_err err = view_new(&view);
    if (!err)
        view_put(lsm, view, memtables, count, version);
    return err;
}
