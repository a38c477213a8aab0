/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/journal_pending.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"

/* --- one record --- */

struct pending *pending_new(const struct journal_change *change)
{
	size_t key_len = change->key.len, value_len = change->value.len;
	struct pending *pending =
		alloc_zero(1, offsetof(struct pending, bytes) + key_len + value_len);

	if (!pending)
		return NULL;
	atomic_init(&pending->ref_cnt, 1);
	if (key_len)
		memcpy(pending->bytes, change->key.ptr, key_len);
	if (value_len)
		memcpy(pending->bytes + key_len, change->value.ptr, value_len);
	pending->record.what = *change;
	pending->record.what.key = span_of(pending->bytes, key_len);
	pending->record.what.value = span_of(pending->bytes + key_len, value_len);
	return pending;
}

void pending_put(struct pending *pending)
{
	if (!pending || atomic_fetch_sub(&pending->ref_cnt, 1) != 1)
		return;
	alloc_free(pending->reason);
	alloc_free(pending);
}

uint64_t pending_bytes(const struct pending *pending)
{
	const struct journal_change *what = &pending->record.what;

	return offsetof(struct pending, bytes) + what->key.len + what->value.len;
}

/* --- queues --- */

static struct pending_queue *queue_of(struct pending_table *table, enum pending_state state)
{
	return state == PENDING_READY ? &table->ready : &table->later;
}

static void queue_append(struct pending_table *table, struct pending *pending,
			 enum pending_state state)
{
	struct pending_queue *queue = queue_of(table, state);

	pending->state = state;
	pending->next = NULL;
	pending->prev = queue->last;
	if (queue->last)
		queue->last->next = pending;
	else
		queue->first = pending;
	queue->last = pending;
}

static void queue_remove(struct pending_table *table, struct pending *pending)
{
	struct pending_queue *queue = queue_of(table, pending->state);

	if (pending->prev)
		pending->prev->next = pending->next;
	else
		queue->first = pending->next;
	if (pending->next)
		pending->next->prev = pending->prev;
	else
		queue->last = pending->prev;
}

/* The newer one stands where the older one stood. */
static void queue_replace(struct pending_table *table, const struct pending *old,
			  struct pending *pending)
{
	struct pending_queue *queue = queue_of(table, old->state);

	pending->next = old->next;
	pending->prev = old->prev;
	if (old->prev)
		old->prev->next = pending;
	else
		queue->first = pending;
	if (old->next)
		old->next->prev = pending;
	else
		queue->last = pending;
}

/* --- table --- */

int pending_init(struct pending_table *table, uint32_t record_max, uint64_t seed)
{
	uint64_t bucket_cnt = 64;

	while (bucket_cnt < record_max)
		bucket_cnt *= 2;
	*table = (struct pending_table){ .bucket_cnt = bucket_cnt, .seed = seed };
	table->buckets = alloc_zero(bucket_cnt, sizeof(*table->buckets));
	return table->buckets ? 0 : -ENOMEM;
}

void pending_fini(struct pending_table *table)
{
	for (uint64_t i = 0; table->buckets && i < table->bucket_cnt; i++) {
		while (table->buckets[i]) {
			struct pending *pending = table->buckets[i];

			table->buckets[i] = pending->hash_next;
			pending_put(pending);
		}
	}
	alloc_free(table->buckets);
	*table = (struct pending_table){ 0 };
}

/* Where the key's record hangs, or would. */
static struct pending **slot_of(const struct pending_table *table, struct span key, uint64_t hash)
{
	struct pending **slot = &table->buckets[hash & (table->bucket_cnt - 1)];

	while (*slot && !((*slot)->hash == hash && span_equal((*slot)->record.what.key, key)))
		slot = &(*slot)->hash_next;
	return slot;
}

static uint64_t hash_of(const struct pending_table *table, struct span key)
{
	return XXH3_64bits_withSeed(key.ptr, key.len, table->seed);
}

struct pending *pending_find(const struct pending_table *table, struct span key)
{
	return *slot_of(table, key, hash_of(table, key));
}

bool pending_insert(struct pending_table *table, struct pending *pending)
{
	struct pending **slot, *old;

	pending->hash = hash_of(table, pending->record.what.key);
	slot = slot_of(table, pending->record.what.key, pending->hash);
	old = *slot;
	*slot = pending;
	table->bytes += pending_bytes(pending);
	if (!old) {
		table->cnt++;
		queue_append(table, pending, PENDING_READY);
		return false;
	}
	assert(pending->record.seq > old->record.seq);
	pending->hash_next = old->hash_next;
	pending->state = old->state;
	pending->due_ns = old->due_ns;
	if (old->state != PENDING_TAKEN)
		queue_replace(table, old, pending);
	table->bytes -= pending_bytes(old);
	pending_put(old);
	return true;
}

struct pending *pending_take(struct pending_table *table, uint64_t now_ns, uint64_t *ret_next_ns)
{
	struct pending *pending = table->later.first;

	/* What waited is older than what is ready. */
	if (!pending || pending->due_ns > now_ns)
		pending = table->ready.first;
	if (!pending) {
		*ret_next_ns = table->later.first ? table->later.first->due_ns : UINT64_MAX;
		return NULL;
	}
	queue_remove(table, pending);
	pending->state = PENDING_TAKEN;
	atomic_fetch_add(&pending->ref_cnt, 1);
	return pending;
}

bool pending_finish(struct pending_table *table, struct pending *pending)
{
	struct pending **slot = slot_of(table, pending->record.what.key, pending->hash);
	struct pending *newest = *slot;

	assert(newest && newest->state == PENDING_TAKEN);
	if (newest != pending) {
		queue_append(table, newest, PENDING_READY);
		return false;
	}
	*slot = newest->hash_next;
	table->cnt--;
	table->bytes -= pending_bytes(newest);
	pending_put(newest);
	return true;
}

void pending_retry(struct pending_table *table, struct pending *pending, uint64_t due_ns)
{
	struct pending *newest = *slot_of(table, pending->record.what.key, pending->hash);

	assert(newest && newest->state == PENDING_TAKEN);
	newest->due_ns = due_ns;
	queue_append(table, newest, PENDING_LATER);
}
