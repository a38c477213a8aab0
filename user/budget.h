/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * budget - what -m leaves for the log.
 *
 * Does      measures what everything else takes (index, connections, kernel maps, the program
 *           itself) and says how large the log may be, so that all of it together stays at -m.
 * Shape     process: anonymous memory (heap, index, stacks); program: its files' resident pages;
 *           maps: the kernel's, but the log's extents; log: the rest.
 * Units     bytes.
 * Errors    negative errno.
 * Threads   budget_log_bytes: one thread; budget_parts: any.
 */
#ifndef XC_BUDGET_H
#define XC_BUDGET_H

#include <stdatomic.h>
#include <stdint.h>

struct budget {
	int statm_fd;
	uint64_t page_bytes;
	uint64_t program_bytes;
	uint64_t map_bytes;
	uint64_t extent_bytes;
	_Atomic uint64_t limit_bytes;
	_Atomic uint64_t log_bytes;
};

struct budget_parts {
	uint64_t limit_bytes;
	uint64_t process_bytes; /* with the index */
	uint64_t program_bytes;
	uint64_t map_bytes;
	uint64_t log_bytes; /* what it may use */
};

/*
 * Before the log is mapped. map_bytes: kernel memory of all maps but the log; extent_bytes: the log
 * gives and gets memory in pieces of this size; 0: in pages.
 */
int budget_open(struct budget *budget, uint64_t limit_bytes);
void budget_use_maps(struct budget *budget, uint64_t map_bytes, uint64_t extent_bytes);
/* A log of this length was adopted: it is changed only where that is worth it. */
void budget_keep_log(struct budget *budget, uint64_t log_bytes);
void budget_close(struct budget *budget);
void budget_set_limit(struct budget *budget, uint64_t limit_bytes);
/* Measures, and says what the log may use from now on. */
uint64_t budget_log_bytes(struct budget *budget);
void budget_parts(const struct budget *budget, struct budget_parts *ret);

#endif
