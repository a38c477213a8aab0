/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arithmetic, touch, removal and flush: what changes an item without the client sending a value.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "store/impl.h"

/* Longest number as text. */
#define NUMBER_MAX 20

/*
 * memcached's reading of a number, which is strtoull's: leading space, a sign, digits, then the
 * end, white space or a NUL. A minus is refused unless the result, wrapped, is below 2^63 ("-0").
 */
static bool number_parse(const uint8_t *text, uint64_t len, uint64_t *ret)
{
	uint64_t value = 0, pos = 0, digits = 0;
	bool negative;

	while (pos < len && isspace(text[pos]))
		pos++;
	negative = pos < len && text[pos] == '-';
	if (negative || (pos < len && text[pos] == '+'))
		pos++;
	for (; pos < len && isdigit(text[pos]); pos++, digits++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(text[pos] - '0'), &value))
			return false;
	}
	if (digits == 0 || (pos < len && !isspace(text[pos]) && text[pos] != '\0'))
		return false;
	if (negative && (int64_t)(value = -value) < 0)
		return false;
	*ret = value;
	return true;
}

enum store_status store_arith(struct store_thread *t, struct span key, uint64_t hash,
			      uint64_t delta, bool decr, uint64_t cas, uint64_t *ret_number,
			      uint64_t *ret_cas)
{
	for (;;) {
		char text[NUMBER_MAX + 1];
		struct span first;
		struct item_view old_item;
		struct store_put put = { .key = key, .hash = hash };
		uint64_t number, len;
		struct store_pending pending;
		enum store_status status;
		bool raced;

		if (!store_find(t, key, hash, &old_item))
			return STORE_NOT_FOUND;
		if (cas && cas != old_item.cas)
			return STORE_EXISTS;
		/* A number ends within a value's first part, however long what follows it is. */
		first = old_item.value_len ? store_value_part(t->store, &old_item, 0)
					   : span_of(NULL, 0);
		if (!number_parse(first.ptr, first.len, &number))
			return STORE_NOT_NUMBER;
		if (decr)
			number = delta > number ? 0 : number - delta;
		else
			number += delta;
		len = (uint64_t)snprintf(text, sizeof(text), "%" PRIu64, number);
		/* A shorter number keeps the old width, padded with spaces, as memcached's in-place
		 * update does. */
		put.value_len = len > old_item.value_len ? len : old_item.value_len;
		put.flags = old_item.flags;
		put.expire_ns = old_item.expire_ns;
		status = store_reserve(t, &put, &pending);
		if (status != STORE_OK)
			return status;
		store_fill(t, &pending, span_of(text, len));
		for (; len < put.value_len; len++)
			store_fill(t, &pending, span_of(" ", 1));
		/* Not by cas: a touch in between keeps the cas, and its expiry must stay. */
		status = store_commit_over(t, &pending, old_item.loc, ret_cas, &raced);
		if (status == STORE_OK)
			*ret_number = number;
		if (!raced || status != STORE_NOT_STORED)
			return status;
	}
}

enum store_status store_touch(struct store_thread *t, struct span key, uint64_t hash,
			      uint64_t expire_ns, struct item_view *ret)
{
	struct store *store = t->store;
	enum store_status status = STORE_NOT_FOUND;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	struct index_lock lock = index_lock(&store->index, hash);
	struct index_slot slot;

	if (store_find_slot(store, &lock, key, &slot)) {
		uint64_t loc = index_slot_loc(&slot), new_loc;
		uint8_t queue = store->pool.segments[segment_of(&store->pool, loc)].queue;

		if (!item_is_live(store, loc))
			goto out;
		store_note_access(t, &slot, 1);
		new_loc = store_copy_item(t, loc, item_ds_from_ns(expire_ns), queue);
		status = STORE_AGAIN;
		if (!new_loc)
			goto out;
		if (item_is_flushed(store, loc)) {
			/* The copy may lie in a segment younger than the flush: it must not outlive
			 * it. */
			store_drop_copy(t, new_loc);
			status = STORE_NOT_FOUND;
			goto out;
		}
		store_switch(t, &slot, hash, new_loc, flush_gen, STORE_CHANGE_WRITE, true);
		store_item_done(store, new_loc);
		if (ret)
			item_view_fill(store, new_loc, flush_gen, ret);
		status = STORE_OK;
	}
out:
	index_unlock(&lock);
	return status;
}

enum store_status store_remove(struct store_thread *t, struct span key, uint64_t hash, uint64_t cas)
{
	struct store *store = t->store;
	enum store_status status = STORE_NOT_FOUND;
	struct index_lock lock = index_lock(&store->index, hash);
	struct index_slot slot;

	if (store_find_slot(store, &lock, key, &slot)) {
		uint64_t loc = index_slot_loc(&slot);
		struct item_view view;

		item_view_fill(store, loc, 0, &view);
		if (item_is_flushed(store, loc)) {
			store_unlink(t, &lock, &slot, STORE_CHANGE_REMOVE);
		} else if (item_is_expired(item_at(store->pool.base, loc),
					   clock_now_ns(store->options.clock))) {
			store_unlink(t, &lock, &slot, STORE_CHANGE_EXPIRE);
		} else if (cas && cas != view.cas) {
			status = STORE_EXISTS;
		} else {
			store_unlink(t, &lock, &slot, STORE_CHANGE_REMOVE);
			status = STORE_OK;
		}
	}
	index_unlock(&lock);
	return status;
}

void store_flush(struct store_thread *t)
{
	struct store *store = t->store;
	uint64_t seq;
	uint32_t gen;

	pthread_mutex_lock(&store->flush_lock);
	gen = atomic_load(&store->flush_gen) + 1;
	/*
	 * A segment taken after this one's number was read has a higher number, and whoever took it
	 * sees the flush: so a flushed item that is being copied there is noticed (touch, append,
	 * move). The log learns it first: a crash after the acknowledgement must not bring anything
	 * back.
	 */
	pthread_mutex_lock(&store->pool.lock);
	seq = store->pool.seq;
	store_note_flush(store, seq, gen);
	atomic_store(&store->flush_pending, true);
	atomic_store(&store->flush_seq, seq);
	pthread_mutex_unlock(&store->pool.lock);
	/*
	 * A reader takes flush_gen, then looks at flush_pending and flush_seq; so a reader that
	 * takes the new generation also sees the new flush_seq, and one that took the old
	 * generation can only make kernel entries of the old generation, which the kernel no longer
	 * serves.
	 */
	atomic_store(&store->flush_gen, gen);
	watch_flush(store, gen);
	pthread_mutex_unlock(&store->flush_lock);
	store_wake_reclaimer(store);
}
