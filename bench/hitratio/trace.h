/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace - a file of requests, read one by one.
 *
 * Does      reads plain text or, by its name, .xz (through the xz program).
 * Shape     one request a line: `key` or `time,key,size[,ttl]`; a first line without a number as
 *           its size is a heading.
 * Units     time and ttl in seconds, size in bytes (key and value together).
 * Errors    negative errno; -EBADMSG a line that is neither, -EMSGSIZE a key the store cannot take.
 */
#ifndef XC_HITRATIO_TRACE_H
#define XC_HITRATIO_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/span.h"

struct trace {
	FILE *file;
	pid_t unpacker; /* 0: none */
	char *line;
	size_t line_max;
	uint64_t line_cnt;
};

struct trace_request {
	struct span key; /* until the next one is read */
	uint64_t time_sec;
	uint64_t size;
	uint64_t ttl_sec; /* 0: none */
	bool has_size;
};

int trace_open(struct trace *trace, const char *path);
/* 1: one read. 0: the end. */
int trace_next(struct trace *trace, struct trace_request *ret);
/* Negative if unpacking failed. */
int trace_close(struct trace *trace);

#endif
