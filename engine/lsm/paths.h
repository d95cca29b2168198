/* SPDX-License-Identifier: MIT */
/* paths: what the files of a store are called; "MANIFEST" and "LOCK" have these names.
 *
 * Each gives a path from mem_alloc, or NULL when memory is out (no text is set). */
#ifndef LSM_PATHS_H
#define LSM_PATHS_H

#include "base/base.h"

char *lsm_path(const char *directory, const char *name);
char *lsm_path_of_table(const char *directory, uint64_t number);
char *lsm_path_of_log(const char *directory, uint64_t base_seq);

#endif
