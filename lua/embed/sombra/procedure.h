/* SPDX-License-Identifier: MIT */
/* procedure: stored procedures and triggers for C programs. In a library of its own, sombra-lua,
 * which stands on sombra and on Lua 5.4; the engine has no Lua in it.
 *
 *     sombra_procedures *procedures;
 *     sombra_procedure_result result = SOMBRA_PROCEDURE_RESULT_INIT;
 *     err = sombra_procedures_open(db, &procedures);
 *     if (!err)
 *         err = sombra_procedure_call(procedures, NULL, name, arguments, NULL, &result);
 *     if (err)
 *         fprintf(stderr, "%s\n", sombra_procedures_message(procedures));
 *     sombra_procedures_close(procedures);
 *
 * What a procedure is, and what it is called with, is in docs/procedures.md. Each call runs in a
 * sandbox of its own.
 *
 * Threads: one at a time; open one for each thread.
 * Ownership: it borrows the database, and is closed before that.
 * Errors: INVALID for what a procedure raised, or the error that its `code` names; LIMIT and
 * CANCELLED for one that was stopped; NOT_FOUND. The text is sombra_procedures_message.
 */
#ifndef SOMBRA_PROCEDURE_H
#define SOMBRA_PROCEDURE_H

#include "sombra/sombra.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sombra_procedures sombra_procedures;

SOMBRA_API sombra_err sombra_procedures_open(sombra_db *db,
                                             sombra_procedures **out_procedures) SOMBRA_MUST_CHECK;
SOMBRA_API void sombra_procedures_close(sombra_procedures *procedures); /* NULL is a no-op */
/* "procedure 'f': none left [stock]", of the last failure here; until the next call. Its code is in
 * the brackets: that of the error, or the one the procedure gave it. */
SOMBRA_API const char *sombra_procedures_message(const sombra_procedures *procedures);

/* Stores a unit, in a transaction of its own, or in `txn` if that is not NULL. The same text again
 * is no change; EXISTS: the version has another text. */
SOMBRA_API sombra_err sombra_procedure_define(sombra_procedures *procedures, sombra_txn *txn,
                                              sombra_slice source) SOMBRA_MUST_CHECK;

/* 0 = what the definition says. */
typedef struct sombra_procedure_options {
    size_t struct_bytes;
    uint64_t time_ms;
    uint64_t memory_bytes;
    uint64_t instructions;
} sombra_procedure_options;

#define SOMBRA_PROCEDURE_OPTIONS_INIT                    \
    {                                                    \
        .struct_bytes = sizeof(sombra_procedure_options) \
    }

typedef struct sombra_procedure_result {
    size_t struct_bytes;
    sombra_slice values; /* encoded list of what it returned; nil is null. Until the next call */
    bool is_refusal;     /* it returned nil and a reason, and what it did is undone */
} sombra_procedure_result;

#define SOMBRA_PROCEDURE_RESULT_INIT                    \
    {                                                   \
        .struct_bytes = sizeof(sombra_procedure_result) \
    }

/* Calls "name" or "name@version". `arguments` is one encoded value, a map of parameters by name or
 * a list by position, or empty. `txn` NULL: in a transaction of its own, which is committed, with
 * its triggers. Else in `txn`, where a call that fails undoes what it did, and no more. */
SOMBRA_API sombra_err sombra_procedure_call(sombra_procedures *procedures, sombra_txn *txn,
                                            sombra_slice name, sombra_slice arguments,
                                            const sombra_procedure_options *options,
                                            sombra_procedure_result *out_result) SOMBRA_MUST_CHECK;

/* Runs what the changes of the write transaction set off, and commits it. It is over then, whatever
 * this returns: what a trigger refuses (CONSTRAINT, or its own error) is rolled back. */
SOMBRA_API sombra_err sombra_procedures_commit(sombra_procedures *procedures, sombra_txn *txn,
                                               sombra_durability durability) SOMBRA_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
