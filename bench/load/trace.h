/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace - requests recorded elsewhere.
 *
 * Does      reads a trace file whole; its keys go into a struct keys with their value lengths.
 * Shape     a line is "key", "key size", "time key size" or "time key size ttl"; fields are parted
 *           by commas, semicolons, blanks or tabs. A first line of several fields, none a number,
 *           is a heading; lines that are empty or start with # are skipped. Files ending in .xz are
 *           read through `xz -dc`.
 * Units     size in bytes, ttl in seconds (0: none). A key keeps the first size seen; lengths are
 *           cut to size_max. Keys without a size get one drawn from the ETC workload.
 * Errors    -EINVAL (a line), -ENODATA (no request), -E2BIG (more than TRACE_MAX), errno of the
 *           file, -EIO when xz fails; each after a line on stderr that says what and where.
 * Owner     the trace owns its requests.
 */
#ifndef XC_LOAD_TRACE_H
#define XC_LOAD_TRACE_H

#include <stdint.h>

#include "keys.h"

#define TRACE_MAX (1U << 26)

struct trace_request {
	uint32_t key_idx;
	uint32_t ttl_sec;
};

struct trace {
	struct trace_request *requests;
	uint32_t cnt;
	uint32_t room;
	uint32_t cut_cnt; /* keys whose size was cut to size_max */
};

int trace_open(struct trace *trace, const char *path, uint32_t size_max, struct keys *keys);
void trace_close(struct trace *trace);

#endif
