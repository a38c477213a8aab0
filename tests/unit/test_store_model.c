/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: any sequence of operations answers as a plain dictionary does, at every length from
 * nothing to several segments and at every edge of a TTL. Without pressure nothing is ever absent
 * that should be there; under pressure exactly what a watcher was told of is. The events of a key
 * form one chain: each names as old what the one before named as new, and every end is told. Bytes
 * under a view never change while it is held.
 * Method: one thread of random operations beside the store's own reclaimer, time set by hand. The
 * watcher runs in either thread, so the dictionary has a lock. Seeded; XC_TEST_OPS operations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"
#include "store/item.h"

#define KEYS 240U
#define BLOCK 2024U /* of a segment of 16 KiB: what a block holds of a value */
#define KEY_MAX 250U
#define SEGMENT 16384U
#define VALUE_MAX (5 * SEGMENT)
#define GROW_MAX (VALUE_MAX + 64 * 1024)
#define OPS_DEFAULT 60000
#define HELD_MAX 8U

/* What the events say of a key. */
struct told {
	bool there;
	bool absent; /* a note, no item */
	uint64_t loc, cas;
	uint64_t evicted_cas; /* of the version evicted last */
	bool evicted;
};

struct entry {
	uint8_t key[KEY_MAX];
	uint32_t key_len;
	bool there; /* written and not deleted or flushed; may have expired or been evicted */
	uint32_t flags, expire_ds;
	uint64_t cas;
	uint32_t len;
	uint8_t *value;
	struct told told; /* model.lock */
};

/* A view kept across other operations. */
struct held {
	struct item_view view;
	uint8_t *copy;
};

struct model {
	struct store_rig rig;
	struct rand rand;
	struct entry entry[KEYS];
	pthread_mutex_t lock;
	uint64_t evicted_cnt, expired_cnt, flushed_cnt, moved_cnt;
	const char *broken; /* found by the watcher, which must not jump out of the store */
	uint8_t *bytes;	    /* random, the source of values */
	uint8_t *got;
	struct held held[HELD_MAX];
	uint32_t held_cnt;
};

static struct span key_of(const struct entry *e)
{
	return span_of(e->key, e->key_len);
}

static struct entry *entry_of(struct model *m, struct span key)
{
	return &m->entry[key.ptr[0] - '0' + 10 * (key.ptr[1] - '0') + 100 * (key.ptr[2] - '0')];
}

/* --- the watcher --- */

static const char *event_fault(struct model *m, const struct told *told,
			       const struct store_event *event)
{
	const struct item_view *old_item = event->old_item, *new_item = event->new_item;
	uint64_t now_ns = m->rig.time.boot_ns;

	if ((old_item != NULL) != told->there)
		return "an event's old item is not what the last event left";
	if (old_item && (old_item->loc != told->loc || old_item->cas != told->cas))
		return "an event's old item is another one than the last event's new item";
	if ((event->change == STORE_CHANGE_WRITE) > (new_item != NULL))
		return "a write without a new item";
	if ((event->change == STORE_CHANGE_MOVE) && (!old_item || !new_item))
		return "a move from or to nowhere";
	if (event->change == STORE_CHANGE_MOVE &&
	    (old_item->cas != new_item->cas || old_item->value_len != new_item->value_len ||
	     old_item->expire_ns != new_item->expire_ns || old_item->flags != new_item->flags))
		return "a move changed the item";
	if (event->change == STORE_CHANGE_EXPIRE && !old_item->absent &&
	    (old_item->expire_ns == 0 || old_item->expire_ns > now_ns))
		return "an item expired before its time";
	if (event->change != STORE_CHANGE_WRITE && event->change != STORE_CHANGE_MOVE && new_item)
		return "a removal with a new item";
	if (old_item && old_item->absent != told->absent)
		return "an event's old item is a note, or is none, other than the last event said";
	if (old_item && old_item->absent &&
	    (event->change == STORE_CHANGE_MOVE || event->change == STORE_CHANGE_EVICT))
		return "a note was treated as an item";
	return NULL;
}

static void on_change(void *ctx, struct store_event *event)
{
	const struct item_view *any = event->new_item ? event->new_item : event->old_item;
	struct model *m = ctx;
	const char *fault;
	struct told *told;

	pthread_mutex_lock(&m->lock);
	told = &entry_of(m, any->key)->told;
	fault = event_fault(m, told, event);
	if (fault && !m->broken)
		m->broken = fault;
	if (event->change == STORE_CHANGE_EVICT) {
		told->evicted = true;
		told->evicted_cas = told->cas;
		m->evicted_cnt++;
	}
	m->expired_cnt += event->change == STORE_CHANGE_EXPIRE && !event->old_item->absent;
	m->moved_cnt += event->change == STORE_CHANGE_MOVE;
	told->there = event->new_item != NULL;
	told->absent = event->new_item && event->new_item->absent;
	if (event->new_item) {
		told->loc = event->new_item->loc;
		told->cas = event->new_item->cas;
	}
	pthread_mutex_unlock(&m->lock);
}

static void on_flush(void *ctx, uint32_t flush_gen)
{
	struct model *m = ctx;

	(void)flush_gen;
	m->flushed_cnt++;
}

/* This very version was evicted. */
static bool was_evicted(struct model *m, struct entry *e)
{
	bool evicted;

	pthread_mutex_lock(&m->lock);
	evicted = e->told.evicted && e->told.evicted_cas == e->cas;
	pthread_mutex_unlock(&m->lock);
	return evicted;
}

/* --- the dictionary --- */

static bool is_expired(struct model *m, const struct entry *e)
{
	return e->expire_ds && m->rig.time.boot_ns >= e->expire_ds * ITEM_DS_NS;
}

/* As the store must answer now, leaving eviction aside. */
static bool should_be(struct model *m, struct entry *e)
{
	return e->there && !is_expired(m, e);
}

static void note_value(struct entry *e, struct span head, struct span tail)
{
	uint8_t *value = malloc(head.len + tail.len + 1);

	assert_non_null(value);
	memcpy(value, head.ptr, head.len);
	memcpy(value + head.len, tail.ptr, tail.len);
	free(e->value);
	e->value = value;
	e->len = (uint32_t)(head.len + tail.len);
}

static uint32_t random_len(struct model *m)
{
	switch (rand_below(&m->rand, 20)) {
	case 0:
		return 0;
	case 1:
		return (uint32_t)rand_below(&m->rand, VALUE_MAX + 1);
	case 2: /* round about the length from which values are chained */
		return BLOCK - 64 + (uint32_t)rand_below(&m->rand, 96);
	case 3: /* exactly whole segments, or a byte off */
		return (SEGMENT - 64) * (uint32_t)(1 + rand_below(&m->rand, 4)) - 1 +
		       (uint32_t)rand_below(&m->rand, 3);
	case 4:
	case 5:
		return (uint32_t)rand_below(&m->rand, 4096);
	default:
		return (uint32_t)rand_below(&m->rand, 200);
	}
}

static uint64_t random_expiry(struct model *m)
{
	static const uint64_t ttl_ns[] = { 1,
					   50 * NSEC_PER_MSEC,
					   100 * NSEC_PER_MSEC,
					   NSEC_PER_SEC,
					   10 * NSEC_PER_SEC,
					   3600 * NSEC_PER_SEC,
					   30 * 86400 * NSEC_PER_SEC };
	uint64_t pick = rand_below(&m->rand, 20);

	if (pick == 0)
		return 1; /* long past */
	return pick < 8 ? m->rig.time.boot_ns + ttl_ns[pick - 1] : 0;
}

static struct span random_bytes(struct model *m, uint32_t len)
{
	return span_of(m->bytes + rand_below(&m->rand, 4096), len);
}

/* --- checks --- */

static void check_parts(struct model *m, const struct item_view *view, const uint8_t *want)
{
	for (uint64_t at = 0; at < view->value_len;) {
		struct span part = store_value_part(m->rig.store, view, at);

		assert_true(part.len > 0 && at + part.len <= view->value_len);
		assert_memory_equal(part.ptr, want + at, part.len);
		at += part.len;
	}
}

static void check_key(struct model *m, struct entry *e)
{
	uint64_t hash = store_hash(m->rig.store, key_of(e));
	bool evicted_before = was_evicted(m, e);
	struct item_view view;
	bool found = rand_below(&m->rand, 2) ? store_find(m->rig.t, key_of(e), hash, &view)
					     : store_peek(m->rig.t, key_of(e), hash, &view);

	assert_null(m->broken);
	if (!found) {
		assert_true(!should_be(m, e) || was_evicted(m, e));
		return;
	}
	assert_true(should_be(m, e) && !evicted_before);
	assert_int_equal(view.key.len, e->key_len);
	assert_memory_equal(view.key.ptr, e->key, e->key_len);
	assert_int_equal(view.value_len, e->len);
	assert_int_equal(view.flags, e->flags);
	assert_int_equal(view.cas, e->cas);
	assert_int_equal(view.expire_ns, e->expire_ds * ITEM_DS_NS);
	check_parts(m, &view, e->value);
}

static void release_held(struct model *m)
{
	while (m->held_cnt > 0) {
		struct held *held = &m->held[--m->held_cnt];

		check_parts(m, &held->view, held->copy);
		free(held->copy);
	}
}

static void hold(struct model *m, struct entry *e)
{
	struct held *held = &m->held[m->held_cnt];

	if (m->held_cnt == HELD_MAX || !store_rig_get(&m->rig, key_of(e), m->got, &held->view))
		return;
	held->copy = malloc(held->view.value_len + 1);
	assert_non_null(held->copy);
	memcpy(held->copy, m->got, held->view.value_len);
	m->held_cnt++;
}

/* Waits if the store says so; views end. True: try again. */
static bool again(struct model *m, enum store_status status, uint32_t *tries)
{
	if (status != STORE_AGAIN)
		return false;
	release_held(m);
	store_rig_wait(m->rig.t, tries);
	return true;
}

/* --- operations --- */

/* An absent item may always be the evicted one: then the answer for absence is right too. */
static bool answered_absent(struct model *m, struct entry *e)
{
	if (!should_be(m, e))
		return true;
	if (!was_evicted(m, e))
		return false;
	e->there = false;
	return true;
}

static void note_stored(struct entry *e, const struct store_put *put, uint64_t cas)
{
	assert_int_not_equal(cas, 0);
	e->there = true;
	e->flags = put->flags;
	e->expire_ds = item_ds_from_ns(put->expire_ns);
	e->cas = cas;
}

static void check_put(struct model *m, struct entry *e, const struct store_put *put,
		      struct span value, enum store_status status, uint64_t cas)
{
	bool absent_answer = status == STORE_NOT_FOUND ||
			     (status == STORE_NOT_STORED && put->mode == STORE_REPLACE) ||
			     (status == STORE_OK && put->mode == STORE_ADD);

	if (put->mode != STORE_SET)
		assert_true(absent_answer ? answered_absent(m, e) : should_be(m, e));
	switch (put->mode) {
	case STORE_SET:
		assert_int_equal(status, STORE_OK);
		break;
	case STORE_ADD:
		assert_true(status == STORE_OK || status == STORE_NOT_STORED);
		break;
	case STORE_REPLACE:
		assert_true(status == STORE_OK || status == STORE_NOT_STORED);
		break;
	case STORE_CAS:
		if (!absent_answer)
			assert_int_equal(status, put->cas == e->cas ? STORE_OK : STORE_EXISTS);
		break;
	}
	if (status != STORE_OK)
		return;
	assert_int_not_equal(cas, e->cas);
	note_stored(e, put, cas);
	note_value(e, value, span_of("", 0));
}

static enum store_status put_in_pieces(struct model *m, const struct store_put *put,
				       struct span value, uint64_t *ret_cas, bool *ret_abandoned)
{
	struct store_pending pending;
	enum store_status status = store_reserve(m->rig.t, put, &pending);

	*ret_abandoned = false;
	if (status != STORE_OK)
		return status;
	for (uint64_t at = 0; at < value.len;) {
		uint64_t len = 1 + rand_below(&m->rand, value.len - at);

		store_fill(m->rig.t, &pending, span_of(value.ptr + at, len));
		at += len;
		if (rand_below(&m->rand, 40) == 0) {
			store_abandon(m->rig.t, &pending);
			*ret_abandoned = true;
			return STORE_OK;
		}
		/* What others do between the pieces. */
		if (rand_below(&m->rand, 40) == 0)
			fake_clock_add(&m->rig.time, 50 * NSEC_PER_MSEC);
		check_key(m, &m->entry[rand_below(&m->rand, KEYS)]);
	}
	return store_commit(m->rig.t, &pending, ret_cas);
}

static void op_put(struct model *m, struct entry *e)
{
	struct span value = random_bytes(m, random_len(m));
	struct store_put put = { .key = key_of(e),
				 .hash = store_hash(m->rig.store, key_of(e)),
				 .flags = (uint32_t)(rand_next(&m->rand) & rand_next(&m->rand) &
						     0xffff),
				 .expire_ns = random_expiry(m),
				 .value_len = value.len,
				 .mode = (enum store_mode)rand_below(&m->rand, 4) };
	bool pieces = rand_below(&m->rand, 3) == 0;
	enum store_status status;
	uint32_t tries = 0;
	uint64_t cas = 0;
	bool abandoned;

	if (rand_below(&m->rand, 2))
		put.mode = STORE_SET;
	if (put.mode == STORE_CAS)
		put.cas = rand_below(&m->rand, 2) ? e->cas : e->cas + 1;
	do {
		abandoned = false;
		status = pieces ? put_in_pieces(m, &put, value, &cas, &abandoned)
				: store_put(m->rig.t, &put, value, &cas);
	} while (again(m, status, &tries));
	if (!abandoned)
		check_put(m, e, &put, value, status, cas);
}

static void op_join(struct model *m, struct entry *e)
{
	struct span data = random_bytes(m, random_len(m) / 4);
	uint64_t hash = store_hash(m->rig.store, key_of(e));
	bool prepend = rand_below(&m->rand, 2);
	uint64_t cas = rand_below(&m->rand, 3) ? 0 : e->cas + rand_below(&m->rand, 2);
	struct span own;
	enum store_status status;
	uint32_t tries = 0;
	uint64_t new_cas = 0;

	if (e->len + data.len > GROW_MAX)
		return;
	do {
		status = prepend ? store_prepend(m->rig.t, key_of(e), hash, data, cas, &new_cas)
				 : store_append(m->rig.t, key_of(e), hash, data, cas, &new_cas);
	} while (again(m, status, &tries));
	if (status == STORE_NOT_STORED || status == STORE_NOT_FOUND) {
		assert_int_equal(status, cas ? STORE_NOT_FOUND : STORE_NOT_STORED);
		assert_true(answered_absent(m, e));
		return;
	}
	assert_true(should_be(m, e));
	if (status == STORE_EXISTS) {
		assert_true(cas != 0 && cas != e->cas);
		return;
	}
	assert_int_equal(status, STORE_OK);
	assert_true(cas == 0 || cas == e->cas);
	assert_int_not_equal(new_cas, e->cas);
	e->cas = new_cas;
	own = span_of(e->value, e->len);
	note_value(e, prepend ? data : own, prepend ? own : data);
}

/* As strtoull reads it, but nothing below zero, however long the value goes on behind it. */
static bool number_of(const struct entry *e, uint64_t *ret)
{
	char text[64], *end;
	uint32_t len = e->len < sizeof(text) ? e->len : sizeof(text) - 1;

	memcpy(text, e->value, len);
	text[len] = '\0';
	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (memchr(text, '-', (size_t)(end - text)) && (int64_t)*ret < 0)
		return false;
	return end > text && errno == 0 &&
	       (end == text + e->len || *end == '\0' || isspace((uint8_t)*end));
}

static void op_number(struct model *m, struct entry *e)
{
	uint64_t hash = store_hash(m->rig.store, key_of(e));
	static const uint64_t deltas[] = { 0, 1, 9, 99999, UINT64_MAX };
	uint64_t delta = deltas[rand_below(&m->rand, 5)];
	bool decr = rand_below(&m->rand, 2);
	uint64_t number = 0, want = 0, cas = 0;
	enum store_status status;
	uint32_t tries = 0;
	char text[32];
	int len;

	do {
		status = store_arith(m->rig.t, key_of(e), hash, delta, decr, 0, &number, &cas);
	} while (again(m, status, &tries));
	if (status == STORE_NOT_FOUND) {
		assert_true(answered_absent(m, e));
		return;
	}
	assert_true(should_be(m, e));
	if (!number_of(e, &want)) {
		assert_int_equal(status, STORE_NOT_NUMBER);
		return;
	}
	assert_int_equal(status, STORE_OK);
	if (decr)
		want = delta > want ? 0 : want - delta;
	else
		want += delta;
	assert_int_equal(number, want);
	len = snprintf(text, sizeof(text), "%" PRIu64, want);
	memset(m->got, ' ', e->len);
	note_value(e, span_of(text, (size_t)len),
		   span_of(m->got, e->len > (uint32_t)len ? e->len - (uint32_t)len : 0));
	assert_int_not_equal(cas, e->cas);
	e->cas = cas;
}

static void op_set_number(struct model *m, struct entry *e)
{
	struct store_put put = { .key = key_of(e), .hash = store_hash(m->rig.store, key_of(e)) };
	uint32_t tries = 0;
	uint64_t cas = 0;
	char text[32];
	int len = snprintf(text, sizeof(text), "%" PRIu64,
			   rand_next(&m->rand) >> rand_below(&m->rand, 64));
	struct span value = span_of(text, (size_t)len);
	enum store_status status;

	do {
		status = store_put(m->rig.t, &put, value, &cas);
	} while (again(m, status, &tries));
	check_put(m, e, &put, value, status, cas);
}

static void op_touch(struct model *m, struct entry *e)
{
	uint64_t hash = store_hash(m->rig.store, key_of(e));
	uint64_t expire_ns = random_expiry(m);
	enum store_status status;
	struct item_view view;
	uint32_t tries = 0;

	do {
		status = store_touch(m->rig.t, key_of(e), hash, expire_ns, &view);
	} while (again(m, status, &tries));
	if (status == STORE_NOT_FOUND) {
		assert_true(answered_absent(m, e));
		return;
	}
	assert_int_equal(status, STORE_OK);
	assert_true(should_be(m, e));
	assert_int_equal(view.cas, e->cas);
	assert_int_equal(view.value_len, e->len);
	check_parts(m, &view, e->value);
	e->expire_ds = item_ds_from_ns(expire_ns);
}

static void op_remove(struct model *m, struct entry *e)
{
	uint64_t hash = store_hash(m->rig.store, key_of(e));
	uint64_t cas = rand_below(&m->rand, 3) ? 0 : e->cas + rand_below(&m->rand, 2);
	enum store_status status = store_remove(m->rig.t, key_of(e), hash, cas);

	if (status == STORE_NOT_FOUND) {
		assert_true(answered_absent(m, e));
		return;
	}
	assert_true(should_be(m, e));
	if (cas && cas != e->cas) {
		assert_int_equal(status, STORE_EXISTS);
		return;
	}
	assert_int_equal(status, STORE_OK);
	e->there = false;
}

/* Whatever comes of it, no reader and no writer can tell. */
static void op_note_absent(struct model *m, struct entry *e)
{
	uint64_t hash = store_hash(m->rig.store, key_of(e)), expire_ns = random_expiry(m);
	enum store_status status;
	uint32_t tries = 0;

	do
		status = store_note_absent(m->rig.t, key_of(e), hash, expire_ns);
	while (again(m, status, &tries));
	assert_true(status == STORE_OK ? answered_absent(m, e)
				       : status == STORE_NOT_STORED && should_be(m, e));
}

static void op_flush(struct model *m)
{
	uint32_t gen = store_flush_gen(m->rig.store);

	store_flush(m->rig.t);
	assert_int_equal(store_flush_gen(m->rig.store), gen + 1);
	for (uint32_t i = 0; i < KEYS; i++)
		m->entry[i].there = false;
}

static void op_time(struct model *m)
{
	static const uint64_t steps_ns[] = { 1, 49 * NSEC_PER_MSEC, 100 * NSEC_PER_MSEC,
					     NSEC_PER_SEC, 7 * NSEC_PER_SEC };

	fake_clock_add(&m->rig.time, steps_ns[rand_below(&m->rand, 5)]);
}

static void one_op(struct model *m)
{
	struct entry *e = &m->entry[rand_below(&m->rand, KEYS)];
	uint64_t pick = rand_below(&m->rand, 1000);

	if (pick < 400)
		op_put(m, e);
	else if (pick < 520)
		op_join(m, e);
	else if (pick < 560)
		op_set_number(m, e);
	else if (pick < 620)
		op_number(m, e);
	else if (pick < 700)
		op_touch(m, e);
	else if (pick < 780)
		op_remove(m, e);
	else if (pick < 783)
		op_flush(m);
	else if (pick < 850)
		op_time(m);
	else if (pick < 900)
		hold(m, e);
	else if (pick < 960)
		op_note_absent(m, e);
	check_key(m, e);
	check_key(m, &m->entry[rand_below(&m->rand, KEYS)]);
	if (rand_below(&m->rand, 16) == 0) {
		release_held(m);
		store_quiesce(m->rig.t);
	}
}

/* --- whole runs --- */

static void model_init(struct model *m, const struct store_options *options, uint64_t seed)
{
	struct store_watcher watcher = { .on_change = on_change, .on_flush = on_flush, .ctx = m };

	rand_init(&m->rand, seed);
	pthread_mutex_init(&m->lock, NULL);
	m->bytes = malloc(GROW_MAX + 4096);
	m->got = malloc(GROW_MAX);
	assert_true(m->bytes && m->got);
	for (uint32_t i = 0; i < GROW_MAX + 4096; i++)
		m->bytes[i] = (uint8_t)rand_next(&m->rand);
	for (uint32_t i = 0; i < KEYS; i++) {
		struct entry *e = &m->entry[i];

		e->key_len = 3 + (uint32_t)(rand_below(&m->rand, 4) ? rand_below(&m->rand, 30)
								    : rand_below(&m->rand, 248));
		for (uint32_t k = 3; k < e->key_len; k++)
			e->key[k] = (uint8_t)('!' + rand_below(&m->rand, 90));
		e->key[0] = (uint8_t)('0' + i % 10);
		e->key[1] = (uint8_t)('0' + i / 10 % 10);
		e->key[2] = (uint8_t)('0' + i / 100);
		note_value(e, span_of("", 0), span_of("", 0));
	}
	store_rig_open(&m->rig, options);
	assert_int_equal(store_watch(m->rig.store, &watcher), 0);
	store_rig_start(&m->rig);
}

static bool count_one(void *ctx, const struct item_view *item)
{
	struct model *m = ctx;
	struct entry *e = entry_of(m, item->key);

	assert_true(should_be(m, e));
	e->there = false; /* seen: not a second time */
	return true;
}

/* Still, with the reclaimer stopped: the walk, the counters and the events agree. */
static void check_end(struct model *m)
{
	uint64_t there = 0, key_value = 0, cursor = 0;
	struct store_counts counts;

	store_reclaim_stop(m->rig.store);
	store_counts(m->rig.store, &counts);
	assert_int_equal(counts.evicted_cnt, m->evicted_cnt);
	assert_int_equal(counts.expired_cnt, m->expired_cnt);
	assert_int_equal(counts.moved_cnt, m->moved_cnt);
	for (uint32_t i = 0; i < KEYS; i++) {
		struct entry *e = &m->entry[i];

		there += e->told.there && !e->told.absent;
		if (!should_be(m, e) || was_evicted(m, e))
			e->there = false;
		/* What was told as there but is not lies flushed or expired, not unlinked yet. */
		assert_true(e->told.there || !e->there);
		key_value += e->there ? e->key_len + e->len : 0;
	}
	assert_int_equal(counts.item_cnt, there);
	assert_true(counts.key_value_bytes >= key_value);
	while (store_walk(m->rig.t, &cursor, count_one, m))
		;
	for (uint32_t i = 0; i < KEYS; i++)
		assert_false(m->entry[i].there);
}

static void run(const struct store_options *options, uint64_t salt, struct store_counts *ret)
{
	uint64_t ops = runopts_number("XC_TEST_OPS", OPS_DEFAULT);
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	model_init(m, options, runopts_seed() ^ salt);
	for (uint64_t i = 0; i < ops; i++)
		one_op(m);
	release_held(m);
	for (uint32_t i = 0; i < KEYS; i++)
		check_key(m, &m->entry[i]);
	assert_true(m->expired_cnt > 0 && m->flushed_cnt > 0);
	store_counts(m->rig.store, ret);
	check_end(m);
	store_rig_fini(&m->rig);
	for (uint32_t i = 0; i < KEYS; i++)
		free(m->entry[i].value);
	pthread_mutex_destroy(&m->lock);
	free(m->bytes);
	free(m->got);
	free(m);
}

static void store_without_pressure_matches_dictionary(void **state)
{
	struct store_options options = { .log.bytes = 16ULL << 20, .item_max = GROW_MAX };
	struct store_counts counts;

	(void)state;
	run(&options, 1, &counts);
	assert_int_equal(counts.segment_bytes, SEGMENT);
	assert_int_equal(counts.evicted_cnt, 0);
}

static void store_under_pressure_loses_only_what_it_tells(void **state)
{
	struct store_options options = { .log.bytes = 1ULL << 20, .item_max = GROW_MAX };
	struct store_counts counts;

	(void)state;
	run(&options, 2, &counts);
	assert_true(counts.evicted_cnt > 0 && counts.moved_cnt > 0);
}

static void store_fifo_under_pressure_loses_only_what_it_tells(void **state)
{
	struct store_options options = { .log.bytes = 1ULL << 20,
					 .item_max = GROW_MAX,
					 .eviction = "fifo" };
	struct store_counts counts;

	(void)state;
	run(&options, 3, &counts);
	assert_true(counts.evicted_cnt > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_without_pressure_matches_dictionary),
		cmocka_unit_test(store_under_pressure_loses_only_what_it_tells),
		cmocka_unit_test(store_fifo_under_pressure_loses_only_what_it_tells),
	};

	return cmocka_run_group_tests_name("store_model", tests, NULL, NULL);
}
