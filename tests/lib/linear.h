/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * linear - were these answers possible if every operation had happened at one moment?
 *
 * Does      judges the history of one key, as clients saw it: whether there is an order of its
 *           writes and reads in which each read gives the last value written, and no operation
 *           comes before one that was over when it began.
 * Shape     every write writes another value; 0 is what the key has before the first.
 * Units     time in any unit; the same moment counts as at once.
 * Threads   any; no state.
 * Source    Gibbons, Korach: "Testing Shared Memories", SIAM J. Comput. 26(4), 1997: with values
 *           that are written once, zones of values decide it.
 */
#ifndef XC_TESTS_LINEAR_H
#define XC_TESTS_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINEAR_NEVER UINT64_MAX

struct linear_op {
	uint64_t start,
		end; /* end LINEAR_NEVER: no answer came; a write may or may not have been */
	uint64_t value;
	bool write;
};

/* Sorts ops. False: ret_value is one that cannot have been read, or written, when it was. */
bool linear_check(struct linear_op *ops, size_t cnt, uint64_t *ret_value);

#endif
