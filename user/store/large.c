/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Values larger than half a segment. Their bytes fill whole segments of the same pool, linked by
 * their headers; what is left over (unless it would fill more than half a segment) lies in the item
 * itself, behind its struct item_chain:
 *
 *   item in the log:  header | options | key | item_chain | last bytes of the value
 *                                               |
 *                                               v first_segment
 *   segment:          header (chain_next) | payload  ->  header (chain_next) | payload
 */
#include <xxhash.h>

#include "store/impl.h"

uint64_t chain_rest_len(const struct store *store, uint64_t value_len, uint32_t *ret_segment_cnt)
{
	uint64_t payload = segment_payload(&store->pool);
	uint64_t rest = value_len % payload;

	*ret_segment_cnt = (uint32_t)(value_len / payload);
	if (rest > store->value_inline_max) {
		*ret_segment_cnt += 1;
		rest = 0;
	}
	return rest;
}

/* Several values may be waiting: the reclaimer works for the largest. */
static void demand_raise(struct store *store, uint32_t segment_cnt)
{
	uint32_t demand = atomic_load(&store->demand);

	while (demand < segment_cnt &&
	       !atomic_compare_exchange_weak(&store->demand, &demand, segment_cnt))
		;
}

bool chain_take(struct store_thread *t, uint32_t segment_cnt, uint32_t *ret_first)
{
	struct store *store = t->store;
	uint32_t first = SEGMENT_NONE;

	/* With the item's own segment; two that each hold half of what they need would wait for
	 * each other. */
	if (segment_free_cnt(&store->pool) < store->pool.reserve + segment_cnt + 1) {
		demand_raise(store, segment_cnt);
		return false;
	}
	for (uint32_t i = 0; i < segment_cnt; i++) {
		uint32_t idx = segment_take(&store->pool, SEGMENT_CHAIN, t->privileged);

		if (idx == SEGMENT_NONE) {
			chain_release(store, first);
			demand_raise(store, segment_cnt);
			return false;
		}
		segment_header(&store->pool, idx)->chain_next = first;
		first = idx;
	}
	*ret_first = first;
	return true;
}

void chain_release(struct store *store, uint32_t first)
{
	while (first != SEGMENT_NONE) {
		uint32_t next = segment_header(&store->pool, first)->chain_next;

		segment_release(&store->pool, first);
		first = next;
	}
}

struct item_chain item_chain_of(struct item_header *item)
{
	struct item_chain chain;

	memcpy(&chain, item_value(item), sizeof(chain));
	return chain;
}

uint64_t chain_check(const struct store *store, const struct item_chain *chain)
{
	uint64_t payload = segment_payload(&store->pool);
	uint64_t left = chain->value_len, check = 0;
	uint32_t idx = chain->first_segment;

	for (uint32_t n = 0; n < chain->segment_cnt; n++) {
		const struct segment_header *header = segment_header(&store->pool, idx);
		uint64_t len = left < payload ? left : payload;

		check = XXH3_64bits_withSeed(header + 1, len, check);
		left -= len;
		idx = header->chain_next;
	}
	return check;
}

void chain_seal(const struct store *store, struct item_header *item)
{
	struct item_chain chain = item_chain_of(item);

	chain.check = chain_check(store, &chain);
	memcpy(item_value(item), &chain, sizeof(chain));
}

struct span store_value_part(const struct store *store, const struct item_view *view,
			     uint64_t offset)
{
	uint64_t payload = segment_payload(&store->pool);
	struct item_header *item;
	struct item_chain chain;
	uint64_t in_chain, len;
	uint32_t idx;

	if (view->value)
		return span_of(view->value + offset, view->value_len - offset);
	item = item_at(store->pool.base, view->loc);
	chain = item_chain_of(item);
	in_chain = chain.segment_cnt * payload;
	if (in_chain > chain.value_len)
		in_chain = chain.value_len;
	if (offset >= in_chain)
		return span_of(item_value(item) + sizeof(chain) + (offset - in_chain),
			       chain.value_len - offset);
	idx = chain.first_segment;
	for (uint64_t skip = offset / payload; skip > 0; skip--)
		idx = segment_header(&store->pool, idx)->chain_next;
	len = payload - offset % payload;
	if (len > in_chain - offset)
		len = in_chain - offset;
	return span_of(store->pool.base + segment_loc(&store->pool, idx) +
			       sizeof(struct segment_header) + offset % payload,
		       len);
}
