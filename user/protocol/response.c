/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/response.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"

#define IOV_FIRST 64
#define IOV_LAST (1U << 20)
#define BLOCK_MIN (64U << 10)

struct response_block {
	struct response_block *next;
	size_t len;
	uint8_t bytes[];
};

int response_init(struct response *resp, uint32_t arena_max, uint64_t bytes_full)
{
	memset(resp, 0, sizeof(*resp));
	resp->iov = alloc_zero(IOV_FIRST, sizeof(*resp->iov));
	resp->arena = alloc_zero(1, arena_max);
	if (!resp->iov || !resp->arena) {
		response_fini(resp);
		return -ENOMEM;
	}
	resp->iov_max = IOV_FIRST;
	resp->arena_max = arena_max;
	resp->bytes_full = bytes_full;
	response_reset(resp);
	return 0;
}

static void drop_blocks(struct response *resp)
{
	while (resp->blocks) {
		struct response_block *next = resp->blocks->next;

		alloc_free(resp->blocks);
		resp->blocks = next;
	}
}

void response_fini(struct response *resp)
{
	drop_blocks(resp);
	alloc_free(resp->arena);
	alloc_free(resp->iov);
	resp->arena = NULL;
	resp->iov = NULL;
}

void response_reset(struct response *resp)
{
	if (resp->blocks)
		drop_blocks(resp);
	resp->text = resp->arena;
	resp->text_max = resp->arena_max;
	resp->text_len = 0;
	resp->iov_cnt = 0;
	resp->bytes = 0;
	resp->borrows = false;
	resp->failed = false;
}

static struct response_block *new_block(struct response *resp, size_t len)
{
	struct response_block *block = alloc_resize(NULL, sizeof(*block) + len);

	if (!block) {
		resp->failed = true;
		return NULL;
	}
	block->len = len;
	block->next = resp->blocks;
	resp->blocks = block;
	return block;
}

/* Makes the run part of the reply; joins it to the last one when they touch. */
static void add_run(struct response *resp, const uint8_t *ptr, size_t len)
{
	struct iovec *last = resp->iov_cnt ? &resp->iov[resp->iov_cnt - 1] : NULL;

	if (len == 0)
		return;
	resp->bytes += len;
	if (last && (uint8_t *)last->iov_base + last->iov_len == ptr) {
		last->iov_len += len;
		return;
	}
	if (resp->iov_cnt == resp->iov_max) {
		uint32_t max = resp->iov_max * 2;
		struct iovec *iov = NULL;

		if (max <= IOV_LAST)
			iov = alloc_resize(resp->iov, max * sizeof(*iov));
		if (!iov) {
			resp->failed = true;
			return;
		}
		resp->iov = iov;
		resp->iov_max = max;
	}
	resp->iov[resp->iov_cnt++] = (struct iovec){ .iov_base = (void *)ptr, .iov_len = len };
}

uint8_t *response_reserve(struct response *resp, uint32_t len)
{
	uint32_t max = len > BLOCK_MIN ? len : BLOCK_MIN;
	struct response_block *block;

	if (resp->text_max - resp->text_len >= len)
		return resp->text + resp->text_len;
	block = new_block(resp, max);
	if (!block)
		return NULL;
	resp->text = block->bytes;
	resp->text_len = 0;
	resp->text_max = max;
	return resp->text;
}

void response_commit(struct response *resp, uint32_t len)
{
	assert(len <= resp->text_max - resp->text_len);
	add_run(resp, resp->text + resp->text_len, len);
	resp->text_len += len;
}

void response_put(struct response *resp, const void *bytes, size_t len)
{
	uint8_t *room;

	assert(len <= UINT32_MAX);
	room = response_reserve(resp, (uint32_t)len);
	if (!room)
		return;
	memcpy(room, bytes, len);
	response_commit(resp, (uint32_t)len);
}

void response_lend(struct response *resp, struct span bytes)
{
	if (bytes.len <= RESPONSE_COPY_MAX) {
		response_put(resp, bytes.ptr, bytes.len);
		return;
	}
	add_run(resp, bytes.ptr, bytes.len);
	resp->borrows = true;
}

static bool lies_in(const uint8_t *ptr, const uint8_t *from, size_t len)
{
	return ptr >= from && ptr < from + len;
}

bool response_lends(const struct response *resp, uint32_t i)
{
	const uint8_t *ptr = resp->iov[i].iov_base;

	if (!resp->borrows || lies_in(ptr, resp->arena, resp->arena_max))
		return false;
	for (const struct response_block *block = resp->blocks; block; block = block->next) {
		if (lies_in(ptr, block->bytes, block->len))
			return false;
	}
	return true;
}

bool response_detach(struct response *resp)
{
	struct response_block *block;
	size_t pos = 0;

	if (!resp->borrows)
		return true;
	/* One block for the whole reply: what is lent and what is not need not be told apart. */
	block = new_block(resp, resp->bytes);
	if (!block)
		return false;
	for (uint32_t i = 0; i < resp->iov_cnt; i++) {
		memcpy(block->bytes + pos, resp->iov[i].iov_base, resp->iov[i].iov_len);
		pos += resp->iov[i].iov_len;
	}
	resp->iov[0] = (struct iovec){ .iov_base = block->bytes, .iov_len = pos };
	resp->iov_cnt = 1;
	resp->borrows = false;
	return true;
}

void response_truncate(struct response *resp, uint64_t bytes)
{
	assert(bytes <= resp->bytes);
	while (resp->bytes > bytes) {
		struct iovec *last = &resp->iov[resp->iov_cnt - 1];
		uint64_t excess = resp->bytes - bytes;

		if (last->iov_len > excess) {
			last->iov_len -= excess;
			resp->bytes = bytes;
			return;
		}
		resp->bytes -= last->iov_len;
		resp->iov_cnt--;
	}
}
