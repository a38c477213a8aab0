/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory - large shared mappings, and what of them outlives a process.
 *
 * Does      maps memory for a log that no kernel program reads (the fast path is off): from a file
 *           of the operator's on a file system in memory, from a descriptor that an earlier
 *           process handed over, or anew.
 * Shape     the file's first `bytes` are mapped, shared; what is behind them is the caller's.
 *           A memfd's pages come as they are touched, a file's are reserved before: writing to a
 *           full file system through a mapping would be the process's end.
 * Errors    negative errno. -EBUSY: another process has the file. -ENOTSUP: not a regular file.
 * Owner     the file is locked for as long as its descriptor, or one passed on, is open.
 * Threads   any.
 */
#ifndef XC_BASE_MEMORY_H
#define XC_BASE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct memory {
	uint8_t *base;
	uint64_t bytes;
	int fd;
	bool kept; /* it was there before; too short a one is all zeroes now */
};

int memory_new(const char *name, uint64_t bytes, struct memory *ret);
/* The first reserved_bytes are there for certain, in a file that is made anew. */
int memory_file(const char *path, uint64_t bytes, uint64_t reserved_bytes, struct memory *ret);
/* A memfd of an earlier process. fd stays the caller's on failure. */
int memory_adopt(int fd, uint64_t bytes, struct memory *ret);
/* Makes sure of a range's pages: -ENOSPC: the file system is full. */
int memory_reserve(const struct memory *memory, uint64_t from, uint64_t end);
/* Cuts off what is behind the mapped part. */
void memory_trim(const struct memory *memory);
/* Gives the pages of a range back; it reads as zeroes from now on. */
void memory_drop(uint8_t *base, uint64_t bytes);
void memory_free(struct memory *memory); /* safe on a zeroed one */

/* Differs from boot to boot and from size to size: which log this is. */
uint32_t memory_identity(uint64_t bytes);

#endif
