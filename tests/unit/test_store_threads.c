/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: with writers, readers, the reclaimer and flushes all at once no read is torn, belongs
 * to another key, or is older than a write that was acknowledged before the read began; concurrent
 * increments are neither lost nor doubled.
 * Method: values that describe themselves (key, version, length, filler from both). Each key has
 * one writing thread, which publishes the version it had acknowledged; readers note that first.
 * The log is a fraction of the data, so that everything moves all the time. Real clock for the
 * length of the run; seeded. The same program runs under the thread sanitizer (make check-tsan).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/rand.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"

#define THREADS 4U
#define KEYS_EACH 1000U
#define KEYS (THREADS * KEYS_EACH)
#define BATCH 32U
#define SHORT_SEC 3U
#define LARGE_LEN 60000U
#define COUNTER_ADDS 20000U

struct value_head {
	uint32_t key, len;
	uint64_t version;
};

struct shared {
	struct store_rig rig;
	_Atomic uint64_t acked[KEYS]; /* version; bit 0: deleted after it */
	_Atomic bool stop;
	_Atomic uint64_t reads, hits, writes, flushes;
	_Atomic(const char *) fault;
};

struct worker {
	struct shared *shared;
	struct store_thread *t;
	uint32_t number;
	struct rand rand;
	uint64_t version; /* of its last write, over all its keys */
	uint8_t buf[LARGE_LEN + 64];
	pthread_t thread;
};

static void fault(struct shared *shared, const char *what)
{
	const char *none = NULL;

	atomic_compare_exchange_strong(&shared->fault, &none, what);
	atomic_store(&shared->stop, true);
}

static struct span key_text(char buf[24], uint32_t key)
{
	return span_of(buf, (size_t)snprintf(buf, 24, "key:%u", key));
}

static uint8_t filler(const struct value_head *head, uint32_t at)
{
	return (uint8_t)(head->key * 31 + head->version * 7 + at);
}

static struct span value_make(struct worker *w, uint32_t key)
{
	struct value_head head = { .key = key, .version = ++w->version };

	head.len = (uint32_t)(sizeof(head) + rand_below(&w->rand, 600));
	if (rand_below(&w->rand, 200) == 0)
		head.len = (uint32_t)(sizeof(head) + rand_below(&w->rand, LARGE_LEN));
	memcpy(w->buf, &head, sizeof(head));
	for (uint32_t i = sizeof(head); i < head.len; i++)
		w->buf[i] = filler(&head, i);
	return span_of(w->buf, head.len);
}

/* NULL: whole and its own. */
static const char *value_fault(const struct store *store, const struct item_view *view,
			       uint32_t key, uint64_t *ret_version)
{
	struct value_head head;
	uint32_t at = 0;

	if (view->value_len < sizeof(head))
		return "a value shorter than any that was written";
	memcpy(&head, store_value_part(store, view, 0).ptr, sizeof(head));
	if (head.key != key)
		return "another key's value";
	if (head.len != view->value_len)
		return "a value of another length than it says";
	while (at < head.len) {
		struct span part = store_value_part(store, view, at);

		for (size_t i = 0; i < part.len; i++, at++) {
			if (at >= sizeof(head) && part.ptr[i] != filler(&head, at))
				return "a torn value";
		}
	}
	*ret_version = head.version;
	return NULL;
}

struct held {
	struct item_view view;
	uint32_t key;
};

static const char *read_one(struct worker *w, struct held *held, bool *ret_found)
{
	struct shared *shared = w->shared;
	uint32_t key = (uint32_t)rand_below(&w->rand, KEYS);
	uint64_t acked = atomic_load(&shared->acked[key]), version = 0;
	char text[24];
	struct span span = key_text(text, key);
	const char *what;

	atomic_fetch_add_explicit(&shared->reads, 1, memory_order_relaxed);
	held->key = key;
	*ret_found = store_find(w->t, span, store_hash(shared->rig.store, span), &held->view);
	if (!*ret_found)
		return NULL;
	atomic_fetch_add_explicit(&shared->hits, 1, memory_order_relaxed);
	what = value_fault(shared->rig.store, &held->view, key, &version);
	if (what)
		return what;
	if (version < acked >> 1)
		return "an older version than was acknowledged";
	if (version == acked >> 1 && (acked & 1))
		return "a deleted version";
	return NULL;
}

static void write_one(struct worker *w)
{
	struct shared *shared = w->shared;
	uint32_t key = w->number * KEYS_EACH + (uint32_t)rand_below(&w->rand, KEYS_EACH);
	char text[24];
	struct span span = key_text(text, key);
	uint64_t hash = store_hash(shared->rig.store, span);
	struct store_put put = { .key = span, .hash = hash };
	enum store_status status;
	struct span value;

	atomic_fetch_add_explicit(&shared->writes, 1, memory_order_relaxed);
	if (rand_below(&w->rand, 12) == 0) {
		store_remove(w->t, span, hash, 0);
		atomic_fetch_or(&shared->acked[key], 1);
		return;
	}
	if (rand_below(&w->rand, 12) == 0) {
		store_touch(w->t, span, hash, 0, NULL);
		return;
	}
	if (rand_below(&w->rand, 4) == 0)
		put.expire_ns = clock_now_ns(&shared->rig.time.clock) + NSEC_PER_SEC;
	value = value_make(w, key);
	do {
		status = store_put(w->t, &put, value, NULL);
	} while (status == STORE_AGAIN && store_wait(w->t, 10 * NSEC_PER_SEC));
	if (status != STORE_OK)
		fault(shared, "a write found no room");
	atomic_store(&shared->acked[key], w->version << 1);
}

static void *work(void *arg)
{
	struct held held[BATCH];
	struct worker *w = arg;
	struct shared *shared = w->shared;

	while (!atomic_load(&shared->stop)) {
		const char *what = NULL;
		uint32_t cnt = 0;
		uint64_t version;
		bool found;

		for (uint32_t i = 0; i < BATCH && !what; i++) {
			what = read_one(w, &held[cnt], &found);
			cnt += found;
		}
		/* All the batch's views are still whole: nobody reuses what they show. */
		for (uint32_t i = 0; i < cnt && !what; i++)
			what = value_fault(shared->rig.store, &held[i].view, held[i].key, &version);
		if (what)
			fault(shared, what);
		store_quiesce(w->t);
		for (uint32_t i = 0; i < BATCH / 4; i++)
			write_one(w);
		if (w->number == 0 && rand_below(&w->rand, 400) == 0) {
			store_flush(w->t);
			atomic_fetch_add(&shared->flushes, 1);
		}
		if (rand_below(&w->rand, 64) == 0) {
			store_offline(w->t);
			sched_yield();
			store_online(w->t);
		}
		store_quiesce(w->t);
	}
	store_offline(w->t);
	return NULL;
}

static void sleep_ms(uint64_t ms)
{
	const struct timespec pause = { .tv_sec = (time_t)(ms / 1000),
					.tv_nsec = (long)(ms % 1000 * NSEC_PER_MSEC) };

	nanosleep(&pause, NULL);
}

/* One of `runs` that share the time. */
static void run(const struct store_options *options, uint32_t runs, struct store_counts *ret)
{
	uint64_t ms = 1000 * runopts_budget_sec(SHORT_SEC) / runs;
	struct shared *shared = calloc(1, sizeof(*shared));
	struct worker *workers = calloc(THREADS, sizeof(*workers));

	assert_true(shared && workers);
	store_rig_init(&shared->rig, options);
	store_offline(shared->rig.t);
	for (uint32_t i = 0; i < THREADS; i++) {
		workers[i].shared = shared;
		workers[i].number = i;
		workers[i].t = store_thread_new(shared->rig.store);
		assert_non_null(workers[i].t);
		rand_init(&workers[i].rand, runopts_seed() + i);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (uint64_t at = 0; at < ms && !atomic_load(&shared->stop); at += 10) {
		sleep_ms(10);
		fake_clock_add(&shared->rig.time, 20 * NSEC_PER_MSEC);
	}
	atomic_store(&shared->stop, true);
	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		store_thread_free(workers[i].t);
	}
	if (atomic_load(&shared->fault))
		fail_msg("%s", atomic_load(&shared->fault));
	store_online(shared->rig.t);
	store_counts(shared->rig.store, ret);
	printf("reads=%llu hits=%llu writes=%llu evicted=%llu moved=%llu flushes=%llu\n",
	       (unsigned long long)shared->reads, (unsigned long long)shared->hits,
	       (unsigned long long)shared->writes, (unsigned long long)ret->evicted_cnt,
	       (unsigned long long)ret->moved_cnt, (unsigned long long)shared->flushes);
	assert_true(shared->hits > 0 && shared->writes > 0);
	store_rig_fini(&shared->rig);
	free(workers);
	free(shared);
}

static void threads_under_eviction_never_read_torn_or_stale(void **state)
{
	struct store_options options = { .log.bytes = 1ULL << 20 };
	struct store_counts counts;

	(void)state;
	run(&options, 1, &counts);
	assert_true(counts.evicted_cnt > 0 && counts.moved_cnt > 0);
}

/* Each keeps its own state beside the items: eras, sketch, ghost. */
static void threads_under_every_policy_never_read_torn_or_stale(void **state)
{
	(void)state;
	for (const char *const *name = store_eviction_names(); *name; name++) {
		struct store_options options = { .log.bytes = 1ULL << 20, .eviction = *name };
		struct store_counts counts;

		run(&options, 4, &counts);
		assert_true(counts.evicted_cnt > 0);
	}
}

/* A moving index cap: splits, overflow and full chains beside everything else. */
static void threads_with_full_index_never_read_torn_or_stale(void **state)
{
	struct store_options options = { .log.bytes = 2ULL << 20, .index_bytes_max = 1 };
	struct store_counts counts;

	(void)state;
	run(&options, 1, &counts);
	assert_true(counts.evicted_cnt > 0);
}

struct adder {
	struct store_rig *rig;
	struct store_thread *t;
	uint32_t number;
	pthread_t thread;
	bool failed;
};

static void *add(void *arg)
{
	struct adder *a = arg;
	struct span counter = span_str("counter"), text = span_str("text");
	uint64_t counter_hash = store_hash(a->rig->store, counter);
	uint64_t text_hash = store_hash(a->rig->store, text);
	uint8_t letter = (uint8_t)('a' + a->number);
	uint64_t number;

	for (uint32_t i = 0; i < COUNTER_ADDS && !a->failed; i++) {
		enum store_status status;

		do {
			status = store_arith(a->t, counter, counter_hash, 1, false, 0, &number,
					     NULL);
		} while (status == STORE_AGAIN && store_wait(a->t, 10 * NSEC_PER_SEC));
		a->failed |= status != STORE_OK;
		do {
			status = i % 100 ? STORE_OK
					 : store_append(a->t, text, text_hash, span_of(&letter, 1),
							0, NULL);
		} while (status == STORE_AGAIN && store_wait(a->t, 10 * NSEC_PER_SEC));
		a->failed |= status != STORE_OK;
		/* Its touch keeps the cas unique: no increment in flight may undo it. */
		if (i % 50 == 0)
			store_touch(a->t, counter, counter_hash, 0, NULL);
		store_quiesce(a->t);
	}
	store_offline(a->t);
	return NULL;
}

static void threads_adding_to_one_key_lose_nothing(void **state)
{
	struct store_options options = { .log.bytes = 4ULL << 20 };
	uint32_t letters[THREADS] = { 0 };
	struct adder adders[THREADS];
	struct item_view view;
	struct store_rig rig;
	char want[24];

	(void)state;
	store_rig_init(&rig, &options);
	assert_int_equal(store_rig_set(&rig, span_str("counter"), span_str("0"), 0), STORE_OK);
	assert_int_equal(store_rig_set(&rig, span_str("text"), span_str("-"), 0), STORE_OK);
	store_offline(rig.t);
	for (uint32_t i = 0; i < THREADS; i++) {
		adders[i] = (struct adder){ .rig = &rig,
					    .t = store_thread_new(rig.store),
					    .number = i };
		assert_int_equal(pthread_create(&adders[i].thread, NULL, add, &adders[i]), 0);
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_join(adders[i].thread, NULL);
		assert_false(adders[i].failed);
		store_thread_free(adders[i].t);
	}
	store_online(rig.t);
	snprintf(want, sizeof(want), "%u", THREADS * COUNTER_ADDS);
	assert_true(store_find(rig.t, span_str("counter"),
			       store_hash(rig.store, span_str("counter")), &view));
	assert_int_equal(view.value_len, strlen(want));
	assert_memory_equal(view.value, want, view.value_len);
	assert_true(store_find(rig.t, span_str("text"), store_hash(rig.store, span_str("text")),
			       &view));
	assert_int_equal(view.value_len, 1 + THREADS * COUNTER_ADDS / 100);
	for (uint64_t i = 1; i < view.value_len; i++)
		letters[view.value[i] - 'a']++;
	for (uint32_t i = 0; i < THREADS; i++)
		assert_int_equal(letters[i], COUNTER_ADDS / 100);
	store_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_under_eviction_never_read_torn_or_stale),
		cmocka_unit_test(threads_under_every_policy_never_read_torn_or_stale),
		cmocka_unit_test(threads_with_full_index_never_read_torn_or_stale),
		cmocka_unit_test(threads_adding_to_one_key_lose_nothing),
	};

	return cmocka_run_group_tests_name("store_threads", tests, NULL, NULL);
}
