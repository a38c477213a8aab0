/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory - large shared mappings.
 *
 * Does      maps memory for a log that no kernel program reads (the fast path is off).
 * Shape     a memfd, mapped shared: pages come as they are touched and can be given back.
 * Errors    negative errno.
 * Threads   any.
 */
#ifndef XC_BASE_MEMORY_H
#define XC_BASE_MEMORY_H

#include <stdint.h>

int memory_map(const char *name, uint64_t bytes, uint8_t **ret_base);
void memory_unmap(uint8_t *base, uint64_t bytes); /* NULL-safe */
/* Gives the pages of a range back; it reads as zeroes from now on. */
void memory_drop(uint8_t *base, uint64_t bytes);

#endif
