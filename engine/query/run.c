/* SPDX-License-Identifier: MIT */
/* What all operators of a query share: its bounds, and the tracks that lead to its rows. */
#include "query_internal.h"

enum { MEMORY_DEFAULT = 256 << 20 };

void run_release(struct query_run *run)
{
    arena_release(&run->arena);
    mem_free(run->marks.of_ids);
    sombra_value_builder_free(run->values);
    run->marks = (struct marks){ .of_ids = NULL };
    run->values = NULL;
}

/* ---- bounds ------------------------------------------------------------------------------ */

sombra_err run_charge(struct query_run *run, int64_t bytes)
{
    if (bytes <= 0) {
        assert((uint64_t)-bytes <= run->memory_used);
        run->memory_used -= (size_t)-bytes;
        return SOMBRA_OK;
    }
    size_t max = run->options.memory_max ? run->options.memory_max : (size_t)MEMORY_DEFAULT;
    if ((uint64_t)bytes > max || run->memory_used > max - (size_t)bytes)
        return diag_fail(SOMBRA_LIMIT,
                         "the query needs more than %zu bytes; raise memory_max or bound it", max);
    size_t used = run->memory_used + (size_t)bytes;
    if (run->options.memory && used > run->memory_asked) {
        sombra_err err = run->options.memory(run->options.context, used - run->memory_asked);
        if (err)
            return err;
        run->memory_asked = used;
    }
    run->memory_used = used;
    return SOMBRA_OK;
}

sombra_err run_tick_slow(struct query_run *run)
{
    if (UNLIKELY(atomic_load_explicit(run->environment.is_cancelled, memory_order_relaxed)))
        return diag_fail(SOMBRA_CANCELLED, "the query was cancelled");
    if (run->options.poll) {
        sombra_err err = run->options.poll(run->options.context);
        if (err)
            return err;
    }
    if (run->deadline_ns && run->environment.now_ns() >= run->deadline_ns)
        return diag_fail(SOMBRA_LIMIT, "the query ran longer than %" PRIu64 " ms",
                         run->options.time_max_ms);
    return SOMBRA_OK;
}

sombra_err run_grow(struct query_run *run, void **memory, size_t *capacity, size_t item_bytes,
                    const char *what)
{
    size_t more = size_max(64, *capacity * 2);
    sombra_err err = run_charge(run, (int64_t)((more - *capacity) * item_bytes));
    if (err)
        return err;
    void *grown = mem_realloc(*memory, more * item_bytes);
    if (!grown) {
        run_refund(run, (more - *capacity) * item_bytes);
        return diag_nomem(what, more * item_bytes);
    }
    *memory = grown;
    *capacity = more;
    return SOMBRA_OK;
}

void run_refund(struct query_run *run, size_t bytes)
{
    assert(bytes <= run->memory_used);
    run->memory_used -= bytes;
}

sombra_err run_copy(struct query_run *run, struct arena *arena, sombra_slice *bytes)
{
    size_t before = arena->bytes_total;
    if (bytes->bytes == 0)
        return SOMBRA_OK;
    sombra_slice copy = arena_copy(arena, *bytes);
    if (!copy.data)
        return diag_nomem("a row", bytes->bytes);
    *bytes = copy;
    return run_charge(run, (int64_t)(arena->bytes_total - before));
}

/* ---- tracks ------------------------------------------------------------------------------ */

sombra_err run_track(struct query_run *run, uint32_t parent, uint64_t node, uint64_t edge,
                     uint32_t *out_track)
{
    assert(parent == TRACK_NONE || parent < run->track_count);
    if (run->track_count == 0)
        run->track_count = 1;
    if (run->track_count >= run->track_capacity) {
        if (run->track_count >= UINT32_MAX / 2)
            return diag_fail(SOMBRA_LIMIT, "more than %u steps of paths", UINT32_MAX / 2);
        void *tracks = run->tracks;
        sombra_err err = run_grow(run, &tracks, &run->track_capacity, sizeof *run->tracks, "paths");
        if (err)
            return err;
        run->tracks = tracks;
    }
    run->tracks[run->track_count] = (struct track){ .parent = parent, .node = node, .edge = edge };
    *out_track = (uint32_t)run->track_count++;
    return SOMBRA_OK;
}

sombra_err run_track_path(struct query_run *run, uint32_t track, struct buf *out_path)
{
    sombra_value_builder *builder;
    sombra_slice encoded;
    size_t count = 0;
    assert(track != TRACK_NONE && track < run->track_count);
    for (uint32_t at = track; at != TRACK_NONE; at = run->tracks[at].parent)
        count++;
    struct track *steps = mem_alloc(count * sizeof *steps);
    if (!steps)
        return diag_nomem("a path", count * sizeof *steps);
    sombra_err err = sombra_value_builder_new(&builder);
    if (err) {
        mem_free(steps);
        return err;
    }
    for (uint32_t at = track; at != TRACK_NONE; at = run->tracks[at].parent)
        steps[--count] = run->tracks[at];
    (void)sombra_value_begin_list(builder);
    for (uint32_t at = track; at != TRACK_NONE; at = run->tracks[at].parent, count++) {
        if (count > 0)
            (void)sombra_value_push_integer(builder, (int64_t)steps[count].edge);
        (void)sombra_value_push_integer(builder, (int64_t)steps[count].node);
    }
    (void)sombra_value_end_list(builder);
    err = sombra_value_finish(builder, &encoded); /* failures of the pushes stick */
    if (!err)
        err = buf_append_slice(out_path, encoded);
    sombra_value_builder_free(builder);
    mem_free(steps);
    return err;
}
