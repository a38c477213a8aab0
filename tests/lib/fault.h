/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault - memory that runs out when a test says so.
 *
 * Does      makes the n-th allocation through base/alloc fail, once; counts allocations.
 * Owner     the hook of base/alloc, one user at a time.
 * Threads   the test's own, and none that allocates beside it.
 */
#ifndef XC_TESTS_FAULT_H
#define XC_TESTS_FAULT_H

#include <stdint.h>

/* The n-th allocation from now (1: the next) fails; 0: none, only count. */
void fault_start(uint64_t nth);
/* Allocations work again. Returns how many were asked for since fault_start. */
uint64_t fault_stop(void);

#endif
