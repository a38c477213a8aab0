/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool - a worker's buffers for unfinished input and output.
 *
 * Does      hands out buffers of two sizes and keeps a bounded number of returned ones.
 * Owner     whoever took a buffer, until it is put back.
 * Threads   one thread.
 */
#ifndef XC_NET_POOL_H
#define XC_NET_POOL_H

#include <stdint.h>

#include "base/span.h"

#define BUFFER_SMALL 4096U
#define BUFFER_LARGE 65536U

struct buffer {
	uint8_t *bytes; /* NULL: none */
	uint64_t cap;
	uint64_t start; /* first byte not yet taken */
	uint64_t end;	/* behind the last byte */
};

struct pool_node;

struct pool {
	struct pool_node *small;
	struct pool_node *large;
	uint32_t small_cnt;
	uint32_t large_cnt;
};

void pool_fini(struct pool *pool);
/*
 * An empty buffer of at least len bytes; larger than BUFFER_LARGE: from the heap. False: no memory.
 */
bool pool_take(struct pool *pool, uint64_t len, struct buffer *ret);
/* Empties *buffer. Takes one without bytes, too. */
void pool_give(struct pool *pool, struct buffer *buffer);

static inline uint64_t buffer_len(const struct buffer *buffer)
{
	return buffer->end - buffer->start;
}

static inline struct span buffer_span(const struct buffer *buffer)
{
	return span_of(buffer->bytes + buffer->start, buffer_len(buffer));
}

#endif
