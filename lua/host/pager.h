/* SPDX-License-Identifier: MIT */
/* Long results a screen at a time. */
#ifndef HOST_PAGER_H
#define HOST_PAGER_H

#include <stddef.h>

/* Prints to the standard output; through $PAGER (less) if that is a terminal and the text is longer
 * than it. An empty PAGER pages nothing. */
void pager_print(const char *text, size_t bytes);

#endif
