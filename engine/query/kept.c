/* SPDX-License-Identifier: MIT */
/* Steps that a query keeps when it is closed, for the next one. */
#include "plan_internal.h"

enum { KEPT_STEP_BYTES_MAX = 8 << 10, MORE_BYTES = 32 };

/* Is it the same in another query, whatever its options? Steps that call functions are checked
 * against them, steps within steps may be such. */
static bool step_lasts(const struct step *step)
{
    switch (step->kind) {
    case STEP_OTHER_SOURCE:
        return step->as.source.pair != NULL;
    case STEP_FILTER:
    case STEP_UNION:
    case STEP_OPTIONAL:
    case STEP_REPEAT:
    case STEP_AFTER:
        return false;
    default:
        return true;
    }
}

/* The one argument behind the name of a step, if the bytes around it are those of the other; the
 * argument itself is not proved. */
static bool argument_of(sombra_slice encoded, sombra_slice other, sombra_slice *out_argument)
{
    const uint8_t *bytes = encoded.data, *same = other.data;
    if (encoded.bytes < VALUE_HEAD_1 + 2 || other.bytes < VALUE_HEAD_1 + 2 ||
        bytes[0] != VALUE_LIST_1 || same[0] != VALUE_LIST_1 || bytes[2] != 2 || same[2] != 2 ||
        encoded.bytes != VALUE_HEAD_1 + (size_t)bytes[1])
        return false;
    const size_t head =
        VALUE_HEAD_1 + value_length(same + VALUE_HEAD_1, other.bytes - VALUE_HEAD_1);
    if (encoded.bytes <= head ||
        memcmp(bytes + VALUE_HEAD_1, same + VALUE_HEAD_1, head - VALUE_HEAD_1) != 0)
        return false;
    *out_argument = slice_from(encoded, head);
    return true;
}

/* Do the bytes of the list hold one id? */
static bool one_id(sombra_slice list, uint64_t *out_id)
{
    const uint8_t *bytes = list.data;
    sombra_value id;
    if (list.bytes <= VALUE_HEAD_1 || bytes[0] != VALUE_LIST_1 || bytes[2] != 1 ||
        list.bytes != VALUE_HEAD_1 + (size_t)bytes[1] ||
        sombra_value_decode(slice_from(list, VALUE_HEAD_1), &id) || id.kind != SOMBRA_INTEGER ||
        id.as.integer <= 0)
        return false;
    *out_id = (uint64_t)id.as.integer;
    return true;
}

/* The same for a where of one equality: all but the constant is proved by the bytes that were. */
static bool rebind_constant(struct kept_step *kept, const struct step_given *given)
{
    const uint8_t *bytes = given->encoded.data;
    uint8_t *own = kept->own;
    const size_t at = kept->constant, count = given->encoded.bytes;
    const size_t map = kept->map;
    if (count <= at || count > kept->own_bytes || bytes[1] != count - VALUE_HEAD_1 ||
        bytes[map + 1] != count - map - VALUE_HEAD_1 || bytes[0] != own[0] ||
        memcmp(bytes + 2, own + 2, map - 1) != 0 ||
        memcmp(bytes + map + 2, own + map + 2, at - map - 2) != 0 ||
        !predicate_rebind(kept->step->as.predicate, slice_from(given->encoded, at), own + at))
        return false;
    own[1] = bytes[1];
    own[map + 1] = bytes[map + 1];
    kept->bytes.bytes = count;
    return true;
}

/* The step that is kept becomes the one given, if they differ in constants only. If it did not, it
 * must be made anew. */
static bool rebind(struct kept_step *kept, const struct step_given *given)
{
    struct step *step = kept->step;
    sombra_slice argument;
    uint64_t id = 0;
    bool is_bound;
    const bool is_ids = step->kind == STEP_IDS || step->kind == STEP_EDGE_IDS;
    const bool is_pair = step->kind == STEP_OTHER_SOURCE;
    if (kept->constant)
        return kept->from == given->from && rebind_constant(kept, given);
    if (!(is_ids || is_pair || step->kind == STEP_WHERE) || kept->from != given->from ||
        given->encoded.bytes > kept->own_bytes ||
        !argument_of(given->encoded, kept->bytes, &argument))
        return false;
    const size_t head = given->encoded.bytes - argument.bytes;
    if (is_pair)
        is_bound = paths_pair_rebind(step->as.source.pair, slice_from(kept->bytes, head), argument);
    else
        is_bound = is_ids ? step->as.ids.count == 1 && one_id(argument, &id)
                          : predicate_fits(step->as.predicate, argument);
    if (!is_bound)
        return false;
    memcpy(kept->own, given->encoded.data, given->encoded.bytes);
    kept->bytes.bytes = given->encoded.bytes;
    argument = slice_from(kept->bytes, head);
    if (is_pair)
        return sombra_value_decode(argument, &step->as.source.options) == SOMBRA_OK;
    if (is_ids)
        step->as.ids.items[0] = id;
    else
        predicate_bind(step->as.predicate, argument);
    return true;
}

static void forget(struct kept_step *kept)
{
    steps_release(kept->all);
    arena_reset(&kept->arena);
    *kept = (struct kept_step){ .arena = kept->arena };
}

/* Checks and parses a copy that lies in `arena`, with room for `more` bytes behind it. */
static sombra_err parse_copy(struct query_run *run, struct arena *arena,
                             const struct step_given *given, size_t more, struct step **all,
                             uint8_t **out_copy, struct step **out_step)
{
    struct step_given own = *given;
    const size_t bytes = given->encoded.bytes;
    if (sombra_value_validate(given->encoded))
        return diag_fail(SOMBRA_INVALID, "steps: %s", diag_text());
    uint8_t *copy = *out_copy = arena_alloc(arena, bytes + more);
    if (!copy)
        return diag_nomem("the steps of a query", bytes + more);
    memcpy(copy, given->encoded.data, bytes);
    own.encoded = slice_of(copy, bytes);
    return step_parse(run, arena, &own, all, out_step);
}

/* Lists and maps of short heads only. */
static void find_constant(struct kept_step *kept)
{
    sombra_slice constant, argument;
    if (kept->step->kind != STEP_WHERE ||
        !predicate_constant(kept->step->as.predicate, &constant) ||
        !argument_of(kept->bytes, kept->bytes, &argument) ||
        *(const uint8_t *)argument.data != VALUE_MAP_1)
        return;
    kept->map = kept->bytes.bytes - argument.bytes;
    kept->constant = (size_t)((const uint8_t *)constant.data - kept->own);
}

static sombra_err make(struct kept_step *kept, uint64_t number, struct query_run *run,
                       const struct step_given *given)
{
    const struct graph_txn *txn = run->txn;
    const uint64_t missed = txn->names_missed;
    forget(kept);
    sombra_err err =
        parse_copy(run, &kept->arena, given, MORE_BYTES, &kept->all, &kept->own, &kept->step);
    if (err)
        return err;
    kept->bytes = slice_of(kept->own, given->encoded.bytes);
    kept->own_bytes = given->encoded.bytes + MORE_BYTES;
    kept->from = given->from;
    kept->number = number;
    find_constant(kept);
    kept->lasts = step_lasts(kept->step) && txn->made.count == 0 && txn->names_missed == missed;
    return SOMBRA_OK;
}

/* A step of this query only: there may be very many, and a place takes kilobytes. */
static sombra_err make_once(struct kept_steps *kept, struct query_run *run,
                            const struct step_given *given, struct step **out_step)
{
    uint8_t *copy;
    return parse_copy(run, &run->arena, given, 0, &kept->others, &copy, out_step);
}

static sombra_err make_room(struct kept_steps *kept, size_t count)
{
    if (count <= kept->made)
        return SOMBRA_OK;
    struct kept_place *grown = mem_realloc(kept->places, count * sizeof *grown);
    if (!grown)
        return diag_nomem("the steps of a query", count * sizeof *grown);
    memset(grown + kept->made, 0, (count - kept->made) * sizeof *grown);
    kept->places = grown;
    kept->made = count;
    return SOMBRA_OK;
}

/* The step given becomes the one of its place: the very same, one that takes its constants, or one
 * made now. */
static sombra_err take(struct kept_place *place, uint64_t *makings, struct query_run *run,
                       const struct step_given *given)
{
    struct kept_step *spare = NULL;
    for (size_t i = 0; i < KEPT_WAYS; i++) {
        struct kept_step *at = &place->ways[i];
        place->now = at;
        if (at->bytes.data && at->from == given->from && slice_equal(at->bytes, given->encoded))
            return SOMBRA_OK;
        if (!at->bytes.data)
            spare = at;
    }
    for (size_t i = 0; i < KEPT_WAYS; i++) {
        place->now = &place->ways[i];
        if (place->now->bytes.data && rebind(place->now, given))
            return SOMBRA_OK;
    }
    place->now = spare ? spare : &place->ways[place->oldest++ % KEPT_WAYS];
    return make(place->now, ++*makings, run, given);
}

static sombra_err read_step(struct kept_steps *kept, struct query_run *run, size_t at,
                            const struct step_given *given, struct step **out_step)
{
    if (UNLIKELY(at >= KEPT_STEPS_MAX))
        return make_once(kept, run, given, out_step);
    kept->count = at + 1;
    sombra_err err = take(&kept->places[at], &kept->makings, run, given);
    if (!err)
        *out_step = kept->places[at].now->step;
    return err;
}

sombra_err kept_steps_read(struct kept_steps *kept, struct query_run *run,
                           const sombra_slice *given, size_t count, struct step **out_first)
{
    struct step *first = NULL, **link = &first, *last = NULL;
    if (count == 0)
        return diag_fail(SOMBRA_INVALID, "there are no steps; the first is a source");
    if (UNLIKELY(kept->graph != run->txn->graph))
        kept_steps_release(kept);
    kept->graph = run->txn->graph;
    sombra_err err = make_room(kept, size_min(count, KEPT_STEPS_MAX));
    for (size_t i = 0; !err && i < count; i++) {
        const struct step_given now = { .encoded = given[i],
                                        .number = (unsigned)i + 1,
                                        .from = last ? last->to : (sombra_row_kind)0 };
        if (last && last->kind == STEP_AFTER)
            return diag_fail(SOMBRA_INVALID, "step %zu (after): it must be the last step", i);
        err = read_step(kept, run, i, &now, &last);
        if (err)
            break;
        *link = last;
        link = &last->next;
        *link = NULL;
    }
    if (!err)
        *out_first = first;
    return err;
}

void kept_steps_close(struct kept_steps *kept)
{
    for (size_t i = 0; i < kept->count; i++) {
        struct kept_step *now = kept->places[i].now;
        if (!now->lasts)
            forget(now);
        if (UNLIKELY(now->arena.bytes_total > KEPT_STEP_BYTES_MAX)) {
            forget(now);
            arena_release(&now->arena);
        }
    }
    kept->count = 0;
    steps_release(kept->others);
    kept->others = NULL;
}

void kept_steps_release(struct kept_steps *kept)
{
    assert(!kept->others);
    for (size_t i = 0; i < kept->made; i++) {
        for (size_t j = 0; j < KEPT_WAYS; j++) {
            forget(&kept->places[i].ways[j]);
            arena_release(&kept->places[i].ways[j].arena);
        }
    }
    mem_free(kept->places);
    *kept = (struct kept_steps){ .makings = kept->makings };
}
