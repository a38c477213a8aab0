/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/pool.h"

#include "base/alloc.h"

#define SMALL_KEEP 256
#define LARGE_KEEP 32

/* Lies in the first bytes of a buffer that is not in use. */
struct pool_node {
	struct pool_node *next;
};

static void drop(struct pool_node *node)
{
	while (node) {
		struct pool_node *next = node->next;

		alloc_free(node);
		node = next;
	}
}

void pool_fini(struct pool *pool)
{
	drop(pool->small);
	drop(pool->large);
	*pool = (struct pool){ 0 };
}

static void *take(struct pool_node **list, uint32_t *cnt, uint64_t len)
{
	struct pool_node *node = *list;

	if (!node)
		return alloc_resize(NULL, len);
	*list = node->next;
	(*cnt)--;
	return node;
}

bool pool_take(struct pool *pool, uint64_t len, struct buffer *ret)
{
	struct buffer buffer = { 0 };

	if (len <= BUFFER_SMALL) {
		buffer.cap = BUFFER_SMALL;
		buffer.bytes = take(&pool->small, &pool->small_cnt, buffer.cap);
	} else if (len <= BUFFER_LARGE) {
		buffer.cap = BUFFER_LARGE;
		buffer.bytes = take(&pool->large, &pool->large_cnt, buffer.cap);
	} else {
		buffer.cap = len;
		buffer.bytes = alloc_resize(NULL, len);
	}
	if (!buffer.bytes)
		return false;
	*ret = buffer;
	return true;
}

static void keep(struct pool_node **list, uint32_t *cnt, void *bytes)
{
	struct pool_node *node = bytes;

	node->next = *list;
	*list = node;
	(*cnt)++;
}

void pool_give(struct pool *pool, struct buffer *buffer)
{
	if (buffer->bytes && buffer->cap == BUFFER_SMALL && pool->small_cnt < SMALL_KEEP)
		keep(&pool->small, &pool->small_cnt, buffer->bytes);
	else if (buffer->bytes && buffer->cap == BUFFER_LARGE && pool->large_cnt < LARGE_KEEP)
		keep(&pool->large, &pool->large_cnt, buffer->bytes);
	else
		alloc_free(buffer->bytes);
	*buffer = (struct buffer){ 0 };
}
