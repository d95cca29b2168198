/* SPDX-License-Identifier: MIT */
/* log: what commits wrote that no table has yet, in files "<base_seq as 20 digits>.log".
 *
 * Each is a wal file (wal_format.h) of epoch base_seq + 1 and link 0. Its records are the commits
 * base_seq + 1, base_seq + 2, ...: a record's lsn is the number of its commit. The next log begins
 * where this one ends. After a crash no commit follows in a log that was found, but on a full disk
 * (lsm_logs_resume).
 *
 * A record's payload is one whole transaction: operations to its end, in the order they were made.
 * Operations are PUT, DELETE and DELETE_RANGE of kv_redo_format.h.
 */
#ifndef LSM_LOG_FORMAT_H
#define LSM_LOG_FORMAT_H

#include "kv/kv.h"

#endif
