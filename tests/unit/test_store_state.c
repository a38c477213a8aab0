/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: what a graceful stop saved comes back as it was, once. One wrong bit anywhere in the
 * state or in the used part of the log is noticed, and no wrong value is served; a damaged segment
 * goes whole and the others stay; a state that is cut short, of another version, of an earlier stop
 * or of another log costs nothing but time. A process killed at any system call of stop or start
 * loses nothing.
 * Method: a store with items of every kind is saved; copies of its log and state are damaged and
 * taken over, and every key is compared with what was written. Which of the two ways a store came
 * back tells its hash secret: a saved one, or a new one. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rand.h"
#include "lib/fault.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"
#include "store/impl.h"

#define MIB (1ULL << 20)
#define LOG_BYTES MIB
#define SEGMENT 16384U
#define KEYS 160U
#define LARGE_LEN 20000U
#define STATE_MAX (256U << 10)
#define FLIPS 10000U

struct expected {
	uint64_t cas;
	uint64_t expire_ns;
	uint32_t flags;
	uint32_t version; /* 0: absent */
	uint32_t len;
	uint32_t segment;
};

/* A saved store: the bytes of its log and state, and what is in it. */
struct saved {
	struct store_rig rig;
	struct store_state state; /* behind STATE_AT other bytes of its file */
	uint8_t *log;		  /* as it was saved */
	uint8_t *bytes;		  /* of the state */
	uint64_t state_len;
	uint64_t secret[STORE_SECRET_WORDS];
	struct store_counts counts;
	struct expected keys[KEYS];
};

#define STATE_AT 4096U

static uint8_t want_buf[LARGE_LEN * 4], got_buf[LARGE_LEN * 4];

static struct span key_text(char buf[24], uint32_t key)
{
	return span_of(buf, (size_t)snprintf(buf, 24, "key:%u", key));
}

static struct span value_of(uint32_t key, uint32_t version, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		want_buf[i] = (uint8_t)(key * 131 + version * 17 + i * (1 + key % 7));
	return span_of(want_buf, len);
}

static void put(struct saved *s, uint32_t key, uint32_t version, uint32_t len, uint64_t ttl_sec)
{
	struct expected *e = &s->keys[key];
	char text[24];
	struct span span = key_text(text, key);
	struct store_put how = {
		.key = span,
		.hash = store_hash(s->rig.store, span),
		.flags = key % 5,
		.expire_ns = ttl_sec ? STORE_RIG_BOOT_NS + ttl_sec * NSEC_PER_SEC : 0,
	};

	assert_int_equal(store_rig_put(s->rig.t, &how, value_of(key, version, len), &e->cas),
			 STORE_OK);
	e->flags = how.flags;
	e->expire_ns = how.expire_ns;
	e->version = version;
	e->len = len;
}

/* Small and large, replaced, touched, deleted, flushed and abandoned ones. */
static void fill(struct saved *s)
{
	struct store_pending pending;
	struct store_put how = { .value_len = LARGE_LEN };
	char text[24];

	for (uint32_t key = 0; key < KEYS; key++)
		put(s, key, 1, 50, 0);
	store_flush(s->rig.t);
	for (uint32_t key = 0; key < KEYS; key++)
		s->keys[key].version = 0;
	for (uint32_t key = 0; key < KEYS * 3 / 4; key++)
		put(s, key, 2, key % 40 ? 40 + key : LARGE_LEN, key % 3 ? 0 : 100 + key);
	for (uint32_t key = 0; key < KEYS; key += 3)
		put(s, key, 3, key % 60 ? 90 : 2 * LARGE_LEN, 0);
	for (uint32_t key = 1; key < KEYS; key += 9) {
		struct span span = key_text(text, key);

		store_remove(s->rig.t, span, store_hash(s->rig.store, span), 0);
		s->keys[key].version = 0;
	}
	how.key = key_text(text, 1);
	how.hash = store_hash(s->rig.store, how.key);
	assert_int_equal(store_reserve(s->rig.t, &how, &pending), STORE_OK);
	store_fill(s->rig.t, &pending, value_of(1, 9, LARGE_LEN));
	store_abandon(s->rig.t, &pending);
}

static void note_places(struct saved *s)
{
	struct item_view view;
	char text[24];

	for (uint32_t key = 0; key < KEYS; key++) {
		struct span span = key_text(text, key);

		if (!s->keys[key].version)
			continue;
		assert_true(store_peek(s->rig.t, span, store_hash(s->rig.store, span), &view));
		s->keys[key].segment = segment_of(&s->rig.store->pool, view.loc);
		/* A touch keeps the cas, a move the whole item. */
		assert_int_equal(view.cas, s->keys[key].cas);
	}
}

static void save(struct saved *s)
{
	store_thread_free(s->rig.t);
	s->rig.t = NULL;
	store_reclaim_stop(s->rig.store); /* it unlinks what was flushed */
	store_counts(s->rig.store, &s->counts);
	memcpy(s->secret, s->rig.store->hash_secret, sizeof(s->secret));
	assert_int_equal(store_save(s->rig.store, &s->state), 0);
	s->state_len = (uint64_t)lseek(s->state.fd, 0, SEEK_END) - s->state.offset;
	assert_true(s->state_len < STATE_MAX);
	assert_int_equal(pread(s->state.fd, s->bytes, s->state_len, (off_t)s->state.offset),
			 s->state_len);
	memcpy(s->log, s->rig.options.log.base, LOG_BYTES);
	store_free(s->rig.store);
	s->rig.store = NULL;
}

static void saved_make(struct saved *s)
{
	struct store_options options = { .log.bytes = LOG_BYTES, .index_bytes_max = 1 << 16 };

	log_set_level(LOG_ERROR);
	memset(s, 0, sizeof(*s));
	s->log = store_rig_map(LOG_BYTES);
	s->bytes = store_rig_map(STATE_MAX);
	s->state = (struct store_state){ .fd = memfd_create("state", MFD_CLOEXEC),
					 .offset = STATE_AT };
	assert_true(s->state.fd >= 0);
	assert_int_equal(pwrite(s->state.fd, "log", 3, 0), 3);
	store_rig_init(&s->rig, &options);
	fill(s);
	note_places(s);
	save(s);
	s->rig.options.log.adopted = true;
	s->rig.options.state = &s->state;
}

static void saved_free(struct saved *s)
{
	char start[4] = { 0 };

	/* What is in front of the state is not the store's. */
	assert_int_equal(pread(s->state.fd, start, 3, 0), 3);
	assert_string_equal(start, "log");
	munmap(s->rig.options.log.base, LOG_BYTES);
	munmap(s->log, LOG_BYTES);
	munmap(s->bytes, STATE_MAX);
	close(s->state.fd);
	log_set_level(LOG_INFO);
}

/* Log and state as they were saved. */
static void restore(struct saved *s)
{
	memcpy(s->rig.options.log.base, s->log, LOG_BYTES);
	assert_int_equal(ftruncate(s->state.fd, (off_t)(STATE_AT + s->state_len)), 0);
	assert_int_equal(pwrite(s->state.fd, s->bytes, s->state_len, STATE_AT), s->state_len);
}

static void reopen(struct saved *s)
{
	struct store_options options = s->rig.options;

	options.clock = NULL;
	store_rig_open(&s->rig, &options);
	s->rig.t = store_thread_new(s->rig.store);
}

/* The store came back by its state, not by reading the log. */
static bool was_loaded(const struct saved *s)
{
	return memcmp(s->secret, s->rig.store->hash_secret, sizeof(s->secret)) == 0;
}

/* Counts the keys that are gone; whatever is there must be right. */
static uint32_t count_lost(struct saved *s)
{
	uint32_t lost = 0;

	for (uint32_t key = 0; key < KEYS; key++) {
		const struct expected *e = &s->keys[key];
		struct item_view view;
		char text[24];

		if (!store_rig_get(&s->rig, key_text(text, key), got_buf, &view)) {
			lost += e->version != 0;
			continue;
		}
		assert_true(e->version != 0);
		assert_int_equal(view.value_len, e->len);
		assert_memory_equal(got_buf, value_of(key, e->version, e->len).ptr, e->len);
		assert_int_equal(view.flags, e->flags);
		assert_int_equal(view.expire_ns, e->expire_ns);
		assert_int_equal(view.cas, e->cas);
	}
	return lost;
}

static void state_saved_store_comes_back_as_it_was(void **state)
{
	struct store_counts counts;
	struct saved s;

	(void)state;
	saved_make(&s);
	reopen(&s);
	assert_true(was_loaded(&s));
	assert_int_equal(count_lost(&s), 0);
	store_counts(s.rig.store, &counts);
	assert_int_equal(counts.item_cnt, s.counts.item_cnt);
	assert_int_equal(counts.recovered_cnt, s.counts.item_cnt);
	assert_int_equal(counts.item_bytes, s.counts.item_bytes);
	assert_int_equal(counts.key_value_bytes, s.counts.key_value_bytes);
	assert_true(counts.log_free_bytes >= s.counts.log_free_bytes);
	/* It goes on: everything can be written again, and nothing is lost on the way. */
	assert_int_equal(store_reclaim_start(s.rig.store), 0);
	for (uint32_t round = 0; round < 40; round++) {
		for (uint32_t key = 0; key < KEYS; key++)
			put(&s, key, 10 + round, 60 + round, 0);
	}
	assert_int_equal(count_lost(&s), 0);
	store_flush(s.rig.t);
	fake_clock_add(&s.rig.time, 2 * NSEC_PER_SEC);
	store_quiesce(s.rig.t);
	assert_true(store_rig_await_free(&s.rig, LOG_BYTES - SEGMENT));
	store_rig_stop(&s.rig);
	saved_free(&s);
}

/* Large enough for several threads to sum it. */
static void state_large_log_comes_back_and_a_bit_of_it_is_noticed(void **state)
{
	const uint64_t bytes = 64 * MIB;
	struct store_options options = { .log.bytes = bytes };
	struct store_state where = { .fd = memfd_create("state", MFD_CLOEXEC) };
	struct store_rig rig;
	uint64_t secret;
	char text[24];

	(void)state;
	log_set_level(LOG_ERROR);
	store_rig_init(&rig, &options);
	for (uint32_t key = 0; key < 2000; key++)
		store_rig_set(&rig, key_text(text, key), value_of(key, 1, LARGE_LEN), 0);
	for (int damaged = 0; damaged < 2; damaged++) {
		secret = rig.store->hash_secret[0];
		store_thread_free(rig.t);
		assert_int_equal(store_save(rig.store, &where), 0);
		/* It changes the log no more. */
		assert_false(rig.store->reclaimer_runs);
		store_free(rig.store);
		if (damaged)
			rig.options.log.base[20 * MIB + 1000] ^= 4;
		options = rig.options;
		options.clock = NULL;
		options.log.adopted = true;
		options.state = &where;
		store_rig_open(&rig, &options);
		store_rig_start(&rig);
		assert_true((rig.store->hash_secret[0] == secret) == !damaged);
		assert_true(rig.store->recovered_cnt > (damaged ? 1990 : 1999));
		assert_true(rig.store->recovered_cnt < (damaged ? 2000 : 2001));
		for (uint32_t key = 0; key < 2000; key++) {
			struct item_view view;

			if (store_rig_get(&rig, key_text(text, key), got_buf, &view))
				assert_memory_equal(got_buf, value_of(key, 1, LARGE_LEN).ptr,
						    LARGE_LEN);
			else
				assert_true(damaged);
		}
	}
	store_rig_fini(&rig);
	close(where.fd);
	log_set_level(LOG_INFO);
}

static void state_access_counts_and_age_outlive_a_stop(void **state)
{
	struct index_slot slot;
	struct index_lock lock;
	struct item_view view;
	uint32_t oldest;
	struct saved s;
	char text[24];
	struct span span = key_text(text, 2);

	(void)state;
	saved_make(&s);
	reopen(&s);
	for (int i = 0; i < 3; i++)
		assert_true(store_find(s.rig.t, span, store_hash(s.rig.store, span), &view));
	oldest = s.rig.store->pool.queues[0].head;
	save(&s);
	reopen(&s);
	assert_true(was_loaded(&s));
	assert_int_equal(s.rig.store->pool.queues[0].head, oldest);
	lock = index_lock(&s.rig.store->index, store_hash(s.rig.store, span));
	assert_true(store_find_slot(s.rig.store, &lock, span, &slot));
	assert_int_equal(index_slot_use(&slot), 3);
	index_unlock(&lock);
	store_rig_stop(&s.rig);
	saved_free(&s);
}

/* Saved by one policy, taken over by `policy`: what the item's use and queue are then. */
static uint32_t use_under(const char *saved_by, const char *policy, uint8_t *ret_era)
{
	struct index_slot slot;
	struct index_lock lock;
	struct item_view view;
	struct saved s;
	char text[24];
	struct span span = key_text(text, 2);
	uint32_t use;

	saved_make(&s);
	s.rig.options.eviction = saved_by;
	reopen(&s);
	atomic_store(&s.rig.store->evict.lru.era, 5);
	for (int i = 0; i < 2; i++)
		assert_true(store_find(s.rig.t, span, store_hash(s.rig.store, span), &view));
	save(&s);
	s.rig.options.eviction = policy;
	reopen(&s);
	assert_true(was_loaded(&s));
	lock = index_lock(&s.rig.store->index, store_hash(s.rig.store, span));
	assert_true(store_find_slot(s.rig.store, &lock, span, &slot));
	use = index_slot_use(&slot);
	index_unlock(&lock);
	*ret_era = evict_era(&s.rig.store->evict);
	store_rig_stop(&s.rig);
	saved_free(&s);
	return use;
}

static void state_eras_outlive_a_stop_under_the_same_policy_only(void **state)
{
	uint32_t use;
	uint8_t era;

	(void)state;
	use = use_under("lru", "lru", &era);
	assert_int_equal(use, era);
	assert_in_range(era, 5, EVICT_ERAS - 1);
	assert_int_equal(use_under("lru", "lfu", &era), 0);
	assert_int_equal(era, 0);
}

/* A crash after the start: the file is still there, the log has moved on. */
static void state_is_trusted_once(void **state)
{
	struct saved s;

	(void)state;
	saved_make(&s);
	reopen(&s);
	assert_true(was_loaded(&s));
	put(&s, 2, 7, 30, 0);
	store_rig_stop(&s.rig);
	restore(&(struct saved){ .rig = s.rig,
				 .state = s.state,
				 .log = s.rig.options.log.base,
				 .bytes = s.bytes,
				 .state_len = s.state_len });
	reopen(&s);
	assert_false(was_loaded(&s));
	assert_int_equal(count_lost(&s), 0);
	store_rig_stop(&s.rig);
	/* Even if nothing was written. */
	restore(&s);
	reopen(&s);
	assert_true(was_loaded(&s));
	store_rig_stop(&s.rig);
	reopen(&s);
	assert_false(was_loaded(&s));
	store_rig_stop(&s.rig);
	saved_free(&s);
}

static uint32_t used_of(const struct saved *s, uint32_t idx)
{
	const struct segment_header *header =
		(const struct segment_header *)(s->log + (uint64_t)idx * SEGMENT);

	if (header->magic != SEGMENT_MAGIC)
		return 0;
	if (header->state == SEGMENT_CHAIN || header->state == SEGMENT_BLOCKS)
		return SEGMENT;
	return header->state == SEGMENT_SEALED ? atomic_load(&header->used) : 0;
}

/* A place where a bit counts: in the state, the log's first page or the used part of a segment. */
static uint64_t pick_place(const struct saved *s, struct rand *r, bool *ret_in_state)
{
	*ret_in_state = rand_below(r, 4) == 0;
	if (*ret_in_state)
		return rand_below(r, s->state_len);
	if (rand_below(r, 50) == 0)
		return rand_below(r, sizeof(struct segment_super));
	for (;;) {
		uint64_t at = rand_below(r, LOG_BYTES - SEGMENT) + SEGMENT;

		if (at % SEGMENT < used_of(s, (uint32_t)(at / SEGMENT)))
			return at;
	}
}

static void state_every_flipped_bit_is_noticed(void **state)
{
	uint32_t flips = runopts_long() ? FLIPS * 10 : FLIPS;
	uint32_t lost = 0, most = 0;
	struct saved s;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 11);
	saved_make(&s);
	for (uint32_t i = 0; i < flips; i++) {
		bool in_state;
		uint64_t at = pick_place(&s, &r, &in_state);
		uint8_t bit = (uint8_t)(1U << rand_below(&r, 8)), byte;
		uint32_t gone;

		restore(&s);
		if (in_state) {
			byte = s.bytes[at] ^ bit;
			assert_int_equal(pwrite(s.state.fd, &byte, 1, (off_t)(STATE_AT + at)), 1);
		} else {
			s.rig.options.log.base[at] ^= bit;
		}
		reopen(&s);
		assert_false(was_loaded(&s));
		gone = count_lost(&s);
		/* What the state alone lost the log still has. */
		if (in_state)
			assert_int_equal(gone, 0);
		if (at < sizeof(struct segment_super))
			gone = 0;
		lost += gone != 0;
		most = gone > most ? gone : most;
		store_rig_stop(&s.rig);
	}
	printf("flips=%u: all noticed, none served; %u cost items, at most %u\n", flips, lost,
	       most);
	saved_free(&s);
}

static void state_damaged_segment_is_dropped_whole_and_alone(void **state)
{
	struct saved s;

	(void)state;
	saved_make(&s);
	for (uint32_t idx = 1; idx < LOG_BYTES / SEGMENT; idx++) {
		const struct segment_header *header =
			(const struct segment_header *)(s.log + (uint64_t)idx * SEGMENT);
		uint32_t there = 0, used = used_of(&s, idx);

		if (used <= sizeof(*header))
			continue;
		for (uint32_t key = 0; key < KEYS; key++)
			there += s.keys[key].version != 0 && s.keys[key].segment == idx;
		restore(&s);
		s.rig.options.log.base[(uint64_t)idx * SEGMENT + used - 1] ^= 1;
		reopen(&s);
		/* A piece of a large value takes that one along, if its bytes were the value's. */
		if (header->state == SEGMENT_CHAIN || header->state == SEGMENT_BLOCKS)
			assert_true(count_lost(&s) <= 1);
		else
			assert_int_equal(count_lost(&s), there);
		store_rig_stop(&s.rig);
	}
	saved_free(&s);
}

static void state_cut_short_anywhere_costs_nothing(void **state)
{
	struct saved s;

	(void)state;
	saved_make(&s);
	for (uint64_t len = 0; len < s.state_len; len += len < 2048 ? 64 : 512) {
		restore(&s);
		assert_int_equal(ftruncate(s.state.fd, (off_t)(STATE_AT + len)), 0);
		reopen(&s);
		assert_false(was_loaded(&s));
		assert_int_equal(count_lost(&s), 0);
		store_rig_stop(&s.rig);
	}
	/* And too long. */
	restore(&s);
	assert_int_equal(ftruncate(s.state.fd, (off_t)(STATE_AT + s.state_len + 1)), 0);
	reopen(&s);
	assert_false(was_loaded(&s));
	assert_int_equal(count_lost(&s), 0);
	store_rig_stop(&s.rig);
	saved_free(&s);
}

static void state_shorter_than_what_was_there_is_used(void **state)
{
	struct saved s;

	(void)state;
	saved_make(&s);
	reopen(&s);
	assert_int_equal(ftruncate(s.state.fd, STATE_AT + STATE_MAX - 1), 0);
	save(&s);
	reopen(&s);
	assert_true(was_loaded(&s));
	assert_int_equal(count_lost(&s), 0);
	store_rig_stop(&s.rig);
	saved_free(&s);
}

/* The next stop after a crash. */
static void state_of_a_rebuilt_store_is_used(void **state)
{
	struct saved s;

	(void)state;
	saved_make(&s);
	assert_int_equal(ftruncate(s.state.fd, STATE_AT), 0);
	reopen(&s);
	assert_false(was_loaded(&s));
	save(&s);
	reopen(&s);
	assert_true(was_loaded(&s));
	assert_int_equal(count_lost(&s), 0);
	store_rig_stop(&s.rig);
	saved_free(&s);
}

static void state_of_another_stop_is_not_used(void **state)
{
	uint8_t *first = store_rig_map(STATE_MAX);
	uint64_t first_len;
	struct saved s;

	(void)state;
	saved_make(&s);
	memcpy(first, s.bytes, s.state_len);
	first_len = s.state_len;
	reopen(&s);
	put(&s, 2, 5, 77, 0);
	save(&s);
	memcpy(s.bytes, first, first_len);
	s.state_len = first_len;
	restore(&s);
	reopen(&s);
	assert_false(was_loaded(&s));
	assert_int_equal(count_lost(&s), 0);
	store_rig_stop(&s.rig);
	munmap(first, STATE_MAX);
	saved_free(&s);
}

static void state_of_another_boot_is_dropped_with_its_log(void **state)
{
	struct store_counts counts;
	struct saved s;

	(void)state;
	saved_make(&s);
	s.rig.options.log.identity = 7;
	assert_false(store_log_holds_items(&s.rig.options.log));
	reopen(&s);
	store_counts(s.rig.store, &counts);
	assert_int_equal(counts.item_cnt, 0);
	store_rig_stop(&s.rig);
	/* The log is the new boot's now. */
	assert_true(store_log_holds_items(&s.rig.options.log));
	s.rig.options.log.identity = 0;
	assert_false(store_log_holds_items(&s.rig.options.log));
	saved_free(&s);
}

static void state_smaller_index_is_rebuilt(void **state)
{
	struct saved s;

	(void)state;
	saved_make(&s);
	reopen(&s);
	for (uint32_t key = 0; key < 2200; key++) {
		char text[24];

		store_rig_set(&s.rig, key_text(text, 1000 + key), span_str("x"), 0);
	}
	save(&s);
	s.rig.options.index_bytes_max = 1;
	reopen(&s);
	assert_false(was_loaded(&s));
	store_rig_stop(&s.rig);
	saved_free(&s);
}

static void state_promised_flush_outlives_a_stop(void **state)
{
	struct saved s;

	(void)state;
	saved_make(&s);
	reopen(&s);
	assert_int_equal(store_promised_flush(s.rig.store), 0);
	store_promise_flush(s.rig.store, 12345);
	save(&s);
	reopen(&s);
	assert_true(was_loaded(&s));
	assert_int_equal(store_promised_flush(s.rig.store), 12345);
	store_rig_stop(&s.rig);
	/* Damaged: long due. */
	segment_super(&(struct segment_pool){ .base = s.rig.options.log.base })->promise_ns ^= 64;
	reopen(&s);
	assert_int_equal(store_promised_flush(s.rig.store), 1);
	store_rig_stop(&s.rig);
	saved_free(&s);
}

static void state_without_room_for_it_is_not_left_half(void **state)
{
	struct store_state nowhere = { .fd = -1 };
	struct saved s;

	(void)state;
	saved_make(&s);
	reopen(&s);
	store_thread_free(s.rig.t);
	assert_int_equal(store_save(s.rig.store, &nowhere), -EBADF);
	store_free(s.rig.store);
	reopen(&s);
	assert_false(was_loaded(&s));
	assert_int_equal(count_lost(&s), 0);
	store_rig_stop(&s.rig);
	saved_free(&s);
}

static int save_below(struct saved *s, uint64_t file_bytes_max)
{
	struct rlimit before, limit;
	int err;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = (struct rlimit){ .rlim_cur = file_bytes_max, .rlim_max = before.rlim_max };
	store_thread_free(s->rig.t);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	err = store_save(s->rig.store, &s->state);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	store_free(s->rig.store);
	return err;
}

/* The file may not grow beyond some byte: its file system is full, or a write is cut off. */
static void state_cut_off_at_any_byte_costs_nothing(void **state)
{
	uint32_t cut_off = 0;
	int err = -EFBIG;
	struct saved s;

	(void)state;
	saved_make(&s);
	signal(SIGXFSZ, SIG_IGN);
	for (uint64_t len = 0; err; len += 509) {
		restore(&s);
		reopen(&s);
		assert_true(was_loaded(&s));
		err = save_below(&s, STATE_AT + len);
		reopen(&s);
		assert_int_equal(was_loaded(&s), !err);
		assert_int_equal(count_lost(&s), 0);
		store_rig_stop(&s.rig);
		if (!err)
			break;
		assert_int_equal(err, -EFBIG);
		cut_off++;
	}
	signal(SIGXFSZ, SIG_DFL);
	assert_true(cut_off > 20);
	saved_free(&s);
}

static void state_no_memory_to_load_it_is_survived(void **state)
{
	struct saved s;
	uint64_t allocations;

	(void)state;
	saved_make(&s);
	fault_start(0);
	reopen(&s);
	allocations = fault_stop();
	store_rig_stop(&s.rig);
	assert_true(allocations > 3);
	for (uint64_t nth = 1; nth <= allocations; nth++) {
		struct store_options options = s.rig.options;
		struct store *store;
		int err = 0;

		restore(&s);
		fault_start(nth);
		store = store_new(&options, &err);
		fault_stop();
		if (!store)
			assert_int_equal(err, -ENOMEM);
		store_free(store);
		reopen(&s);
		assert_int_equal(count_lost(&s), 0);
		store_rig_stop(&s.rig);
	}
	saved_free(&s);
}

/* --- killed at a system call --- */

static void child_main(struct saved *s, bool stopping)
{
	if (stopping)
		reopen(s);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(77);
	raise(SIGSTOP);
	if (stopping) {
		store_thread_free(s->rig.t);
		store_save(s->rig.store, &s->state);
	} else {
		reopen(s);
	}
	_exit(0);
}

/* False once the child ends before its nth stop. *ret_able: it could be traced. */
static bool kill_at(struct saved *s, bool stopping, uint32_t nth, bool *ret_able)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child_main(s, stopping);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	*ret_able = WIFSTOPPED(status);
	for (uint32_t n = 0; n < nth && WIFSTOPPED(status); n++) {
		ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	if (!WIFSTOPPED(status))
		return false;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return true;
}

static void run_kills(bool stopping)
{
	uint32_t n = 1, loaded = 0;
	bool able = true;
	struct saved s;

	saved_make(&s);
	for (;; n++) {
		bool killed;

		restore(&s);
		killed = kill_at(&s, stopping, n, &able);
		if (!able)
			break;
		reopen(&s);
		loaded += memcmp(s.secret, s.rig.store->hash_secret, sizeof(s.secret)) == 0;
		assert_int_equal(s.rig.store->dropped_cnt, 0);
		assert_int_equal(count_lost(&s), 0);
		store_rig_stop(&s.rig);
		if (!killed)
			break;
	}
	saved_free(&s);
	if (!able) {
		printf("SKIP: no permission to trace a child\n");
		skip();
	}
	printf("killed at %u stops; the state was used %u times\n", n - 1, loaded);
	assert_true(n > 8);
	assert_true(loaded > 0 && loaded < n);
}

static void state_killed_while_saving_loses_nothing(void **state)
{
	(void)state;
	run_kills(true);
}

static void state_killed_while_loading_loses_nothing(void **state)
{
	(void)state;
	run_kills(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_saved_store_comes_back_as_it_was),
		cmocka_unit_test(state_large_log_comes_back_and_a_bit_of_it_is_noticed),
		cmocka_unit_test(state_access_counts_and_age_outlive_a_stop),
		cmocka_unit_test(state_eras_outlive_a_stop_under_the_same_policy_only),
		cmocka_unit_test(state_is_trusted_once),
		cmocka_unit_test(state_every_flipped_bit_is_noticed),
		cmocka_unit_test(state_damaged_segment_is_dropped_whole_and_alone),
		cmocka_unit_test(state_cut_short_anywhere_costs_nothing),
		cmocka_unit_test(state_shorter_than_what_was_there_is_used),
		cmocka_unit_test(state_of_a_rebuilt_store_is_used),
		cmocka_unit_test(state_of_another_stop_is_not_used),
		cmocka_unit_test(state_of_another_boot_is_dropped_with_its_log),
		cmocka_unit_test(state_smaller_index_is_rebuilt),
		cmocka_unit_test(state_promised_flush_outlives_a_stop),
		cmocka_unit_test(state_without_room_for_it_is_not_left_half),
		cmocka_unit_test(state_cut_off_at_any_byte_costs_nothing),
		cmocka_unit_test(state_no_memory_to_load_it_is_survived),
		cmocka_unit_test(state_killed_while_saving_loses_nothing),
		cmocka_unit_test(state_killed_while_loading_loses_nothing),
	};

	return cmocka_run_group_tests_name("store_state", tests, NULL, NULL);
}
