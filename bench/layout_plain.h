/* SPDX-License-Identifier: MIT */
/* layout_plain: the layout that the page formats are measured against: LMDB's. u16 slots, whole
 * keys in the cells, binary search by memcmp; a branch cell holds key and child. Benchmark only.
 */
#ifndef BENCH_LAYOUT_PLAIN_H
#define BENCH_LAYOUT_PLAIN_H

#include "base/base.h"

void plain_init(uint8_t *page, size_t page_bytes);
size_t plain_used(const uint8_t *page, size_t page_bytes);
unsigned plain_count(const uint8_t *page);
/* True and the index of `key`, or false and where it would stand. */
bool plain_find(const uint8_t *page, sombra_slice key, unsigned *out_index);
sombra_slice plain_key(const uint8_t *page, unsigned index);
sombra_slice plain_value(const uint8_t *page, unsigned index);
bool plain_insert(uint8_t *page, unsigned index, sombra_slice key, sombra_slice value);
/* Entries of `page` with one more at `index`, the first `cut` to `left`, the others to `right`. */
void plain_split(const uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                 sombra_slice value, unsigned cut, uint8_t *left, uint8_t *right);

#endif
