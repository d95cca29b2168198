/* SPDX-License-Identifier: MIT */
/* sombra: an embedded graph and key-value database. This header brings the whole C API:
 *
 *   types.h   error codes, byte slices
 *   value.h   encoded values: null, boolean, integer, float, string, list, map
 *   db.h      databases, transactions, savepoints, maintenance
 *   graph.h   nodes, edges, labels, properties, neighbours, counts
 *   index.h   indexes, constraints, find, upsert, batches
 *   bucket.h  ordered key-value buckets
 *   query.h   traversals, patterns and paths as lists of steps
 *   metrics.h counters, gauges, histograms, events
 *
 * Every function that can fail returns a sombra_err; sombra_err_message() has the text. Results
 * come last and are written only on success. A struct of options begins with `struct_bytes`, its
 * size as the caller was compiled: set it through the SOMBRA_..._INIT macro; fields a newer
 * library adds then take their defaults. Zero in any other field means the default.
 *
 * Threads: a database may be used by any thread; a transaction and what was opened from it by one
 * thread at a time, and a write transaction by the thread that began it.
 */
#ifndef SOMBRA_H
#define SOMBRA_H

#include "types.h"
#include "value.h"
#include "db.h"
#include "graph.h"
#include "index.h"
#include "bucket.h"
#include "query.h"
#include "metrics.h"

#define SOMBRA_VERSION_MAJOR 0
#define SOMBRA_VERSION_MINOR 1
#define SOMBRA_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0": of the library that runs, not of the header. */
SOMBRA_API const char *sombra_version(void);

#ifdef __cplusplus
}
#endif

#endif
