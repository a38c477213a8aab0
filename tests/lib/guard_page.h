/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard_page - memory that ends where reading must end.
 *
 * Does      places bytes so that the first one behind them is unmapped: whoever reads on dies.
 * Units     bytes.
 * Errors    none: a test that gets no memory ends.
 * Owner     the test; one placement at a time.
 */
#ifndef XC_TESTS_GUARD_PAGE_H
#define XC_TESTS_GUARD_PAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct guard_page {
	uint8_t *map;
	size_t room; /* bytes in front of the unmapped page */
};

void guard_page_init(struct guard_page *guard, size_t len_max);
void guard_page_fini(struct guard_page *guard);
/* A copy of the bytes that ends at the unmapped page; it stays until the next call. */
struct span guard_page_put(struct guard_page *guard, const void *bytes, size_t len);

#endif
