/* SPDX-License-Identifier: MIT */
#include "kv.h"

enum { NS_PER_MS = 1000000 };

struct kv_wait kv_wait_begin(const struct kv_maintenance *job, uint64_t now_ns)
{
    return (struct kv_wait){ .job = job, .begun_ns = job ? now_ns : 0 };
}

struct kv_wait kv_wait_of_txn(const struct kv_begin_options *options)
{
    return (struct kv_wait){ .begin = options->waits_on ? options : NULL };
}

uint64_t kv_wait_left_ms(const struct kv_wait *wait, uint64_t now_ns)
{
    uint64_t most_ms = wait->job ? wait->job->wait_ms_max : 0;
    if (most_ms == 0 || most_ms == UINT64_MAX)
        return UINT64_MAX;
    uint64_t waited_ms = now_ns > wait->begun_ns ? (now_ns - wait->begun_ns) / NS_PER_MS : 0;
    return most_ms - u64_min(waited_ms, most_ms);
}

uint64_t kv_wait_nap_ms(const struct kv_wait *wait, uint64_t left_ms)
{
    return wait->job || wait->begin ? u64_min(left_ms, KV_WAIT_LOOK_MS) : left_ms;
}

static bool goes_on(const struct kv_wait *wait)
{
    if (wait->begin)
        return wait->begin->waits_on(wait->begin->context);
    return !wait->job || !wait->job->progress || wait->job->progress(wait->job->context, 0, 1);
}

sombra_err kv_wait_ask(struct kv_wait *wait, uint64_t now_ns)
{
    if (wait->asked_ns && now_ns - wait->asked_ns < (uint64_t)KV_WAIT_LOOK_MS * NS_PER_MS)
        return SOMBRA_OK;
    wait->asked_ns = now_ns;
    if (goes_on(wait))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CANCELLED, "cancelled while it waited for others who write");
}
