/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alloc - heap memory that tests can refuse.
 *
 * Does      calloc-like allocation; the n-th call fails on demand (tests/lib/fault.h sets the
 *           hook).
 * Errors    NULL when out of memory, or when the hook says so.
 * Threads   any.
 */
#ifndef XC_BASE_ALLOC_H
#define XC_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Asked before each allocation; true makes it fail. NULL (the default): never. */
extern bool (*alloc_refuse)(size_t bytes);

void *alloc_zero(size_t count, size_t bytes);
void *alloc_resize(void *old, size_t bytes);
void *alloc_aligned(size_t align, size_t bytes); /* zeroed */
void alloc_free(void *ptr);			 /* NULL-safe; takes any of the above */

#endif
