/* SPDX-License-Identifier: MIT */
/* Values written as text, for tables of cases. Lua's constructors: {1, 2.5, "x", 'y', true, null},
 * {a = 1, ["#id"] = {ge = 2}}; {} is an empty map and [] an empty list; nan, inf, -inf. */
#ifndef VALUE_FIXTURE_H
#define VALUE_FIXTURE_H

#include "base/base.h"
#include "sombra/value.h"

/* Fails the test if the text is no value. The bytes live until values_release. */
sombra_slice value_text(const char *format, ...) SOMBRA_PRINTF(1, 2);
/* The same, decoded. */
sombra_value value_decoded(const char *format, ...) SOMBRA_PRINTF(1, 2);
/* The text of a value, in a buffer that the next call overwrites. */
const char *text_of_value(sombra_slice encoded);
void values_release(void);

#endif
