/* SPDX-License-Identifier: MIT */
/* prefix: what prefix filters know of a key. */
#ifndef LSM_PREFIX_H
#define LSM_PREFIX_H

#include "base/base.h"

/* How many of a key's first bytes are the prefix that prefix filters know; 0 = this key has none. A
 * pure function: equal first bytes, equal answer. It is part of the tables' format: the name of the
 * extractor is kept in each, and the filter of another name is not asked. */
struct lsm_prefix {
    const char *name;
    size_t (*bytes)(sombra_slice key);
};

#endif
