/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arithmetic, removal and flush: what changes an item without the client sending a value. Touch is
 * in fetch.c.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "store/impl.h"

/* Written at a time behind a number that got shorter. */
#define SPACES_MAX 256U

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

static void fill_spaces(struct store_thread *t, struct store_pending *pending, uint64_t len)
{
	char spaces[SPACES_MAX];

	memset(spaces, ' ', sizeof(spaces));
	while (len > 0) {
		uint64_t n = len < sizeof(spaces) ? len : sizeof(spaces);

		store_fill(t, pending, span_of(spaces, n));
		len -= n;
	}
}

enum store_status store_number_after(struct store *store, const struct store_delta *how,
				     const struct item_view *old_item, uint64_t *ret)
{
	uint64_t number;
	struct span first;

	/* In memcached's order. */
	if (old_item->value_len == 0)
		return STORE_NOT_NUMBER;
	if (how->cas && how->cas != old_item->cas)
		return STORE_EXISTS;
	/* A number ends within a value's first part, however long what follows it is. */
	first = store_value_part(store, old_item, 0);
	if (!number_parse(first.ptr, first.len, &number))
		return STORE_NOT_NUMBER;
	if (how->decr)
		*ret = how->delta > number ? 0 : number - how->delta;
	else
		*ret = number + how->delta;
	return STORE_OK;
}

void store_put_number_over(const struct store_delta *how, const struct item_view *old_item,
			   uint64_t text_len, struct store_put *ret)
{
	bool fits = text_len <= old_item->value_len;

	*ret = (struct store_put){
		.key = how->key,
		.hash = how->hash,
		.flags = old_item->flags,
		.expire_ns = how->touch ? how->expire_ns : old_item->expire_ns,
		.value_len = fits ? old_item->value_len : text_len,
		.new_cas = how->new_cas,
		.binary = old_item->binary,
		.stale = fits && old_item->stale,
		.keep_state = fits,
	};
}

enum store_status store_change_number(struct store_thread *t, const struct store_delta *how,
				      struct store_number *ret)
{
	for (;;) {
		char text[STORE_NUMBER_MAX + 1];
		struct item_view old_item;
		struct store_put put;
		uint64_t number, len, cas;
		struct store_pending pending;
		enum store_status status;
		bool raced;

		if (!store_peek(t, how->key, how->hash, &old_item))
			return STORE_NOT_FOUND;
		status = store_number_after(t->store, how, &old_item, &number);
		if (status != STORE_OK)
			return status;
		len = (uint64_t)snprintf(text, sizeof(text), "%" PRIu64, number);
		store_put_number_over(how, &old_item, len, &put);
		status = store_reserve(t, &put, &pending);
		if (status != STORE_OK)
			return status;
		store_fill(t, &pending, span_of(text, len));
		/* A shorter number keeps the old width, padded with spaces, as memcached's in-place
		 * update does. */
		fill_spaces(t, &pending, put.value_len - len);
		/* Not by cas: a touch in between keeps the cas, and its expiry must stay. */
		status = store_commit_over(t, &pending, old_item.loc, &cas, &raced);
		if (status == STORE_OK)
			*ret = (struct store_number){ .number = number,
						      .cas = cas,
						      .expire_before_ns = old_item.expire_ns };
		if (!raced || status != STORE_NOT_STORED)
			return status;
	}
}

enum store_status store_arith(struct store_thread *t, struct span key, uint64_t hash,
			      uint64_t delta, bool decr, uint64_t cas, uint64_t *ret_number,
			      uint64_t *ret_cas)
{
	const struct store_delta how = {
		.key = key, .hash = hash, .delta = delta, .decr = decr, .cas = cas
	};
	struct store_number number;
	enum store_status status = store_change_number(t, &how, &number);

	if (status != STORE_OK)
		return status;
	*ret_number = number.number;
	if (ret_cas)
		*ret_cas = number.cas;
	return STORE_OK;
}

enum store_status store_remove(struct store_thread *t, struct span key, uint64_t hash, uint64_t cas)
{
	struct store *store = t->store;
	enum store_status status = STORE_NOT_FOUND;
	struct index_lock lock = index_lock(&store->index, hash);
	struct index_slot slot;

	token_void(store, key, hash);
	if (store_find_slot(store, &lock, key, &slot)) {
		uint64_t loc = index_slot_loc(&slot);
		struct item_view view;

		item_view_fill(store, loc, 0, &view);
		if (item_is_flushed(store, loc)) {
			store_unlink(t, &lock, &slot, STORE_CHANGE_REMOVE);
		} else if (store_is_noted_absent(store, loc)) {
			status = STORE_NOT_FOUND;
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
