/* SPDX-License-Identifier: MIT */
/* lsm_manifest_fixture: what the tests of the manifest and of edits share: a simulated machine with
 * a directory, random edits that fit, and a digest of a version. */
#ifndef LSM_MANIFEST_FIXTURE_H
#define LSM_MANIFEST_FIXTURE_H

#include "lsm_fake_table.h"

#include "lsm/manifest.h"
#include "os/os_sim.h"

enum { CHAIN_EDITS_MAX = 400, CHAIN_CHANGES_MAX = 4 };

/* A store's tables as they change: each edit adds some to a new run of level 0 or to level 1 on,
 * and removes some. Keys are as long as `key_bytes` says. */
struct chain {
    struct table_cache *cache;
    struct random random;
    size_t key_bytes; /* 4 at least */
    struct version *version;
    struct manifest_state state;
    /* of the next edit */
    struct edit edit;
    struct edit_table added[CHAIN_CHANGES_MAX];
    uint64_t removed[CHAIN_CHANGES_MAX];
    uint8_t *keys[2 * CHAIN_CHANGES_MAX];
    struct version *next;
    struct manifest_state next_state;
};
void chain_init(struct chain *chain, uint64_t seed);
void chain_release(struct chain *chain);
/* Makes edit, next and next_state. Memory of the test, not mem_*, but for the version. */
void chain_draft(struct chain *chain);
void chain_accept(struct chain *chain); /* next becomes the version */
void chain_reject(struct chain *chain);

uint32_t version_digest(const struct version *version, const struct manifest_state *state);

#endif
