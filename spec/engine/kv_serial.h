/* SPDX-License-Identifier: MIT */
/* kv_serial: were these transactions serializable, and did readers see snapshots? A checker of
 * recorded histories after Elle (Kingsbury and Alvaro, 2020).
 *
 * Every key holds a list. A write appends an element that is written nowhere else, so that the list
 * which is there at the end tells the order of all versions of its key, and a read of n elements
 * which version it saw. From that follow the dependencies of the transactions on each other:
 *   ww  wrote the element in front of the other's
 *   wr  wrote the version that the other read
 *   rw  read the version that the other replaced
 *   time     was over before the other began
 *   durable  was durable before the power cut whose remains the other read
 * A cycle is a history that no order of whole transactions explains.
 *
 * A recorded read is a number of elements and a chain of hashes over them instead of a list.
 * Memory is malloc's. Threads: none of its own.
 */
#ifndef KV_SERIAL_H
#define KV_SERIAL_H

#include "base/base.h"

enum serial_op_kind {
    SERIAL_READ,
    SERIAL_APPEND,
    SERIAL_UNDO, /* rollback: the appends from operation `count` on did not happen */
};

struct serial_op {
    enum serial_op_kind kind;
    uint32_t key;
    uint64_t id;    /* of an append: the element; unique, not 0 */
    uint64_t count; /* of a read: elements seen */
    uint64_t chain; /* of a read: serial_chain over them, begun with 0 */
};

enum serial_outcome {
    SERIAL_ABORTED, /* or killed before it asked for the commit */
    SERIAL_UNKNOWN, /* asked for the commit and heard no answer */
    SERIAL_COMMITTED,
};

struct serial_txn {
    uint32_t session;
    bool is_write;
    bool is_durable; /* its commit was acknowledged as durable, or it asked to read durable data */
    bool is_after_cut; /* it reads what a power cut between begin_ns and begun_ns left */
    enum serial_outcome outcome;
    uint64_t begin_ns, begun_ns; /* before and after begin; 0 = it did not come that far */
    uint64_t commit_ns, end_ns;  /* before and after commit or abort */
    struct serial_op *ops;
    uint32_t op_count;
};

struct serial_list {
    uint64_t *ids;
    uint64_t count;
};

struct serial_history {
    struct serial_txn *txns;
    size_t count;
    struct serial_list *lists; /* what every key holds at the end */
    uint32_t keys;
};

/* X(NAME, text). The first one that is found is reported. */
#define SERIAL_ANOMALIES(X)                                                     \
    X(NONE, "none")                                                             \
    X(FOREIGN, "an element that nobody wrote, twice, or to another key")        \
    X(ABORTED_WRITE, "a write that was aborted or rolled back is there")        \
    X(LOST_APPEND, "a committed write is not there")                            \
    X(PARTIAL, "a transaction is there in part")                                \
    X(OWN_WRITES, "a transaction does not see its own writes")                  \
    X(UNREPEATABLE, "two reads of one transaction differ")                      \
    X(ABORTED_READ, "G1a: a write that was aborted or rolled back is read")     \
    X(NO_VERSION, "what is read was never there")                               \
    X(INTERMEDIATE_READ, "G1b: a transaction's work is read before it is done") \
    X(TWO_WRITERS, "two write transactions at a time")                          \
    X(G0, "G0: writes of two transactions interleave")                          \
    X(G1C, "G1c: circular information flow")                                    \
    X(G_SINGLE, "G-single: read skew or a lost update")                         \
    X(G2, "G2: write skew")                                                     \
    X(TIME, "what was over is not seen, or what had not begun is")              \
    X(LOST_DURABLE, "a power cut took what was durable")

enum serial_anomaly {
#define SERIAL_ANOMALY_ENUM(name, text) SERIAL_##name,
    SERIAL_ANOMALIES(SERIAL_ANOMALY_ENUM)
#undef SERIAL_ANOMALY_ENUM
};

struct serial_finding {
    enum serial_anomaly anomaly;
    char text[600];
};

uint64_t serial_chain(uint64_t chain, uint64_t id);
const char *serial_anomaly_text(enum serial_anomaly anomaly);

/* True when no order of the transactions is missing; else *out_finding says what is wrong. */
bool serial_check(const struct serial_history *history, struct serial_finding *out_finding);

#endif
