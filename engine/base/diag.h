/* SPDX-License-Identifier: MIT */
/* diag: the text that travels with an error code.
 *
 * The code is the return value; the text is put where the failure is found (`diag_fail`) and
 * lengthened on the way up (`diag_wrap`: "open table 7: read 40 bytes at 12: ..."). It sits in a
 * fixed thread-local buffer and never allocates; a text too long is cut at its end. Threads: each
 * has its own text.
 */
#ifndef BASE_DIAG_H
#define BASE_DIAG_H

#include "sombra/types.h"

enum { DIAG_TEXT_BYTES = 512 };

/* Sets the thread's text and returns `code`, so that failures read `return diag_fail(...)`. */
sombra_err diag_fail(sombra_err code, const char *format, ...) SOMBRA_PRINTF(2, 3);

/* Puts "<format>: " before the text of `err`; returns `err`. With SOMBRA_OK it does nothing. */
sombra_err diag_wrap(sombra_err err, const char *format, ...) SOMBRA_PRINTF(2, 3);

/* The thread's text, for saving across clean-up that may fail itself. */
const char *diag_text(void);
void diag_save(char out_text[DIAG_TEXT_BYTES]);
void diag_restore(const char text[DIAG_TEXT_BYTES]);

#endif
