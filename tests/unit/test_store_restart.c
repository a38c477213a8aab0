/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: whatever moment a process dies at, the next one finds every acknowledged write with
 * its exact value (or, under pressure, finds it evicted), at most the one key whose write was under
 * way differs, and nothing overwritten, deleted or flushed comes back. Damaged bytes are never
 * served: the item goes, or, where the log's first page is unsure, everything.
 * Method: a forked child writes to a shared log. Either it is killed at a random moment, hundreds
 * of times over the same log; or it is stepped through one operation instruction by instruction,
 * and every state the log passes through is adopted. Values describe themselves. Damage: flipped
 * bits in copies of a log. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rand.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"
#include "store/impl.h"

#define MIB (1ULL << 20)
#define KEYS 300U
#define LARGE_LEN 40000U
#define KILLS_SHORT 200U

struct value_head {
	uint32_t key, len;
	uint64_t version;
};

enum doing {
	DOING_NOTHING,
	DOING_KEY,
	DOING_FLUSH,
};

/* In shared memory: what the child had acknowledged when it died. */
struct diary {
	_Atomic uint64_t acked[KEYS]; /* version; 0: absent */
	_Atomic uint32_t doing;
	_Atomic uint32_t doing_key;
	_Atomic uint64_t doing_version; /* that the key gets; 0: it goes */
	_Atomic uint64_t version;	/* last one used */
	_Atomic uint64_t ops;
	_Atomic bool failed;
	struct fake_clock time;
};

/* Three segments of a log of 1 MiB. */
static uint8_t value_buf[3 << 14];

static void *shared_new(size_t bytes)
{
	return store_rig_map(bytes);
}

static struct span key_text(char buf[24], uint32_t key)
{
	return span_of(buf, (size_t)snprintf(buf, 24, "key:%u", key));
}

static uint8_t filler(const struct value_head *head, uint32_t at)
{
	return (uint8_t)(head->key * 31 + head->version * 7 + at);
}

static struct span value_make(uint32_t key, uint64_t version, uint32_t len)
{
	struct value_head head = { .key = key, .version = version, .len = len };

	memcpy(value_buf, &head, sizeof(head));
	for (uint32_t i = sizeof(head); i < len; i++)
		value_buf[i] = filler(&head, i);
	return span_of(value_buf, len);
}

/* The version of a whole value, 0 if it is absent. Anything else fails. */
static uint64_t version_in(struct store_rig *rig, struct store_thread *t, uint32_t key)
{
	struct value_head head;
	struct item_view view;
	char text[24];
	struct span span = key_text(text, key);
	uint32_t at = 0;

	if (!store_peek(t, span, store_hash(rig->store, span), &view))
		return 0;
	assert_true(view.value_len >= sizeof(head));
	memcpy(&head, store_value_part(rig->store, &view, 0).ptr, sizeof(head));
	assert_int_equal(head.key, key);
	assert_int_equal(head.len, view.value_len);
	while (at < head.len) {
		struct span part = store_value_part(rig->store, &view, at);

		for (size_t i = 0; i < part.len; i++, at++) {
			if (at >= sizeof(head))
				assert_int_equal(part.ptr[i], filler(&head, at));
		}
	}
	return head.version;
}

/* --- killed at random --- */

static uint32_t random_len(struct rand *r)
{
	uint32_t len = rand_below(r, 30) ? (uint32_t)rand_below(r, 400)
					 : (uint32_t)rand_below(r, LARGE_LEN - 64);

	return (uint32_t)sizeof(struct value_head) + len;
}

static bool child_put(struct store_rig *rig, struct diary *diary, uint32_t key, struct rand *r)
{
	uint64_t version = atomic_fetch_add(&diary->version, 1) + 1;
	char text[24];
	struct span span = key_text(text, key);
	struct store_put put = { .key = span,
				 .hash = store_hash(rig->store, span),
				 .flags = (uint32_t)rand_below(r, 2),
				 .mode = STORE_SET };
	struct span value = value_make(key, version, random_len(r));
	enum store_status status;

	if (rand_below(r, 4) == 0)
		put.expire_ns = STORE_RIG_BOOT_NS + 1000 * NSEC_PER_SEC;
	atomic_store(&diary->doing_key, key);
	atomic_store(&diary->doing_version, version);
	atomic_store(&diary->doing, DOING_KEY);
	do {
		status = store_put(rig->t, &put, value, NULL);
	} while (status == STORE_AGAIN && store_wait(rig->t, 5 * NSEC_PER_SEC));
	atomic_store(&diary->acked[key], version);
	atomic_store(&diary->doing, DOING_NOTHING);
	return status == STORE_OK;
}

static bool child_op(struct store_rig *rig, struct diary *diary, struct rand *r)
{
	uint32_t key = (uint32_t)rand_below(r, KEYS);
	char text[24];
	struct span span = key_text(text, key);
	uint64_t hash = store_hash(rig->store, span);
	uint64_t pick = rand_below(r, 1000);

	if (pick < 700)
		return child_put(rig, diary, key, r);
	atomic_store(&diary->doing_key, key);
	if (pick < 850) {
		atomic_store(&diary->doing_version, 0);
		atomic_store(&diary->doing, DOING_KEY);
		store_remove(rig->t, span, hash, 0);
		atomic_store(&diary->acked[key], 0);
	} else if (pick < 998) {
		atomic_store(&diary->doing_version, atomic_load(&diary->acked[key]));
		atomic_store(&diary->doing, DOING_KEY);
		store_touch(rig->t, span, hash, pick % 2 ? 0 : STORE_RIG_BOOT_NS * 2, NULL);
	} else {
		atomic_store(&diary->doing, DOING_FLUSH);
		store_flush(rig->t);
		for (uint32_t k = 0; k < KEYS; k++)
			atomic_store(&diary->acked[k], 0);
	}
	atomic_store(&diary->doing, DOING_NOTHING);
	return true;
}

static void child_open(struct store_rig *rig, const struct store_options *options)
{
	store_rig_open(rig, options);
	if (store_reclaim_start(rig->store))
		_exit(1);
	rig->t = store_thread_new(rig->store);
}

/* Stops gracefully, starts again. */
static void child_restart(struct store_rig *rig, const struct store_options *options)
{
	struct store_options again = *options;

	again.log.adopted = true;
	store_thread_free(rig->t);
	store_save(rig->store, options->state);
	store_free(rig->store);
	child_open(rig, &again);
}

static void child_main(const struct store_options *options, struct diary *diary, uint64_t seed)
{
	struct store_rig rig = { .time = diary->time };
	struct rand r;

	rand_init(&r, seed);
	child_open(&rig, options);
	for (;;) {
		if (options->state && rand_below(&r, 50) == 0)
			child_restart(&rig, options);
		if (!child_op(&rig, diary, &r)) {
			atomic_store(&diary->failed, true);
			_exit(1);
		}
		atomic_fetch_add(&diary->ops, 1);
		if (rand_below(&r, 8) == 0)
			store_quiesce(rig.t);
	}
}

static void sleep_us(uint64_t us)
{
	const struct timespec pause = { .tv_nsec = (long)us * 1000 };

	nanosleep(&pause, NULL);
}

static void kill_one(const struct store_options *options, struct diary *diary, struct rand *r)
{
	uint64_t ops = atomic_load(&diary->ops);
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child_main(options, diary, rand_next(r));
	/* Now and then while it is still adopting. */
	for (int i = 0; i < 5000 && rand_below(r, 10) && atomic_load(&diary->ops) == ops; i++)
		sleep_us(200);
	sleep_us(rand_below(r, 6000));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(atomic_load(&diary->failed));
	assert_true(WIFSIGNALED(status));
}

/* Key by key what the next process finds, against what the last one had acknowledged. */
static void check_diary(struct store_rig *rig, struct diary *diary, bool may_evict)
{
	uint32_t doing = atomic_load(&diary->doing), gone = 0, there = 0;

	for (uint32_t key = 0; key < KEYS; key++) {
		uint64_t acked = atomic_load(&diary->acked[key]);
		uint64_t found = version_in(rig, rig->t, key);

		if (doing == DOING_KEY && key == atomic_load(&diary->doing_key)) {
			assert_true(found == acked || found == 0 ||
				    found == atomic_load(&diary->doing_version));
			atomic_store(&diary->acked[key], found);
			continue;
		}
		if (doing == DOING_FLUSH && acked != 0) {
			gone += found == 0;
			there += found != 0;
			atomic_store(&diary->acked[key], found);
		}
		if (found == 0 && (may_evict || doing == DOING_FLUSH)) {
			atomic_store(&diary->acked[key], 0);
			continue;
		}
		assert_int_equal(found, acked);
	}
	if (!may_evict)
		assert_true(gone == 0 || there == 0); /* a flush is all or nothing */
	atomic_store(&diary->doing, DOING_NOTHING);
}

static void adopt_and_check(struct store_options *options, struct diary *diary, bool may_evict)
{
	struct store_rig rig = { .time = diary->time };
	struct store_counts counts;

	options->log.adopted = true;
	assert_true(store_log_holds_items(&options->log));
	store_rig_open(&rig, options);
	rig.t = store_thread_new(rig.store);
	store_counts(rig.store, &counts);
	assert_int_equal(counts.dropped_cnt, 0);
	assert_int_equal(counts.recovered_cnt, counts.item_cnt);
	check_diary(&rig, diary, may_evict);
	store_rig_stop(&rig);
}

static void run_kills(uint64_t log_bytes, bool may_evict, const struct store_state *saved,
		      uint64_t salt)
{
	struct diary *diary = shared_new(sizeof(*diary));
	struct store_options options = { .log.bytes = log_bytes, .state = saved };
	uint64_t kills = runopts_number("XC_TEST_OPS", KILLS_SHORT / 2 * (runopts_long() ? 20 : 1));
	struct store_rig rig;
	struct rand r;

	rand_init(&r, runopts_seed() ^ salt);
	memset(&rig, 0, sizeof(rig));
	store_rig_init(&rig, &options);
	options = rig.options;
	options.clock = NULL; /* each process has its own */
	diary->time = rig.time;
	store_rig_stop(&rig);
	log_set_level(saved ? LOG_ERROR : LOG_WARN);
	for (uint64_t i = 0; i < kills; i++) {
		kill_one(&options, diary, &r);
		adopt_and_check(&options, diary, may_evict);
	}
	printf("kills=%llu ops=%llu\n", (unsigned long long)kills,
	       (unsigned long long)atomic_load(&diary->ops));
	assert_true(atomic_load(&diary->ops) > kills * 10);
	/* No segment was lost on the way. */
	memset(&rig, 0, sizeof(rig));
	store_rig_init(&rig, &options);
	store_flush(rig.t);
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	store_quiesce(rig.t);
	assert_true(store_rig_await_free(&rig, options.log.bytes - 16384));
	store_rig_fini(&rig);
	munmap(diary, sizeof(*diary));
	log_set_level(LOG_INFO);
}

static void restart_killed_anywhere_keeps_what_was_acknowledged(void **state)
{
	(void)state;
	run_kills(8 * MIB, false, NULL, 1);
}

static void restart_killed_under_eviction_brings_nothing_back(void **state)
{
	(void)state;
	run_kills(1 * MIB, true, NULL, 2);
}

/* Many of the kills hit a stop that saves its state, or a start that loads it. */
static void restart_killed_among_graceful_stops_keeps_what_was_acknowledged(void **state)
{
	struct store_state saved = { .fd = memfd_create("state", MFD_CLOEXEC) };

	(void)state;
	assert_true(saved.fd >= 0);
	run_kills(8 * MIB, false, &saved, 3);
	close(saved.fd);
}

/* --- stepped through --- */

#define STEP_KEYS 4U
#define STEP_LARGE 9000U
#define STEP_SEGMENT 16384U
#define STEP_BYTES (12 * STEP_SEGMENT) /* of the log: more than any operation touches */

struct stepped {
	struct store_rig rig;
	const char *name;
	void (*op)(struct stepped *s);
	uint64_t want[STEP_KEYS]; /* versions before */
	uint32_t key;		  /* that the operation changes */
	uint64_t after;		  /* its version then */
	bool may_vanish;	  /* in between */
	bool all;		  /* a flush: every key goes at once */
};

static void step_set(struct stepped *s)
{
	char text[24];

	store_rig_set(&s->rig, key_text(text, s->key), value_make(s->key, s->after, 60), 0);
}

static void step_set_large(struct stepped *s)
{
	char text[24];

	store_rig_set(&s->rig, key_text(text, s->key), value_make(s->key, s->after, STEP_LARGE), 0);
}

static void step_remove(struct stepped *s)
{
	char text[24];
	struct span key = key_text(text, s->key);

	store_remove(s->rig.t, key, store_hash(s->rig.store, key), 0);
}

static void step_touch(struct stepped *s)
{
	char text[24];
	struct span key = key_text(text, s->key);

	store_touch(s->rig.t, key, store_hash(s->rig.store, key), STORE_RIG_BOOT_NS * 3, NULL);
}

static void step_flush(struct stepped *s)
{
	store_flush(s->rig.t);
}

/* As the reclaimer does it (reclaim.c: settle_item). */
static void step_move(struct stepped *s)
{
	struct store *store = s->rig.store;
	char text[24];
	struct span key = key_text(text, s->key);
	struct index_lock lock = index_lock(&store->index, store_hash(store, key));
	struct index_slot slot;
	uint64_t loc;

	if (!store_find_slot(store, &lock, key, &slot))
		_exit(1);
	loc = store_copy_item(s->rig.t, index_slot_loc(&slot), 0, 1);
	if (!loc)
		_exit(1);
	store_switch(s->rig.t, &slot, lock.hash, loc, 0, STORE_CHANGE_MOVE, true);
	store_item_done(store, loc);
	index_unlock(&lock);
}

static void stepped_child(struct stepped *s)
{
	struct store_options options = s->rig.options;

	memset(&s->rig, 0, sizeof(s->rig));
	options.clock = NULL;
	store_rig_open(&s->rig, &options);
	s->rig.t = store_thread_new(s->rig.store);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(77);
	raise(SIGSTOP);
	s->op(s);
	raise(SIGUSR1);
	_exit(0);
}

/* Adopts a copy of the log as it is now. */
static uint64_t check_moment(struct stepped *s, uint8_t *copy)
{
	struct store_options options = s->rig.options;
	struct store_rig rig = { 0 };
	uint64_t found[STEP_KEYS];
	uint32_t gone = 0, wanted = 0;

	memcpy(copy, options.log.base, options.log.bytes);
	options.log.base = copy;
	options.clock = NULL;
	assert_true(store_log_holds_items(&options.log));
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	assert_int_equal(rig.store->dropped_cnt, 0);
	for (uint32_t key = 0; key < STEP_KEYS; key++) {
		found[key] = version_in(&rig, rig.t, key);
		wanted += s->want[key] != 0;
		gone += s->want[key] != 0 && found[key] == 0;
		if (key == s->key && !s->all)
			assert_true(found[key] == s->want[key] || found[key] == s->after ||
				    (s->may_vanish && found[key] == 0));
		else if (!s->all || found[key])
			assert_int_equal(found[key], s->want[key]);
	}
	if (s->all)
		assert_true(gone == 0 || gone == wanted);
	store_rig_stop(&rig);
	return found[s->key];
}

static bool part_changed(const uint8_t *log, uint8_t *last, uint64_t at, uint64_t len)
{
	if (memcmp(last + at, log + at, len) == 0)
		return false;
	memcpy(last + at, log + at, len);
	return true;
}

/*
 * Something changed that may matter. A value's bytes in a chain do not before the commit; there is
 * a state for each of them.
 */
static bool log_changed(const uint8_t *log, uint8_t *last)
{
	const struct segment_pool geometry = { .shift = 14 };
	uint32_t block_bytes = segment_block_bytes(&geometry);
	bool changed = false;

	for (uint64_t at = 0; at < STEP_BYTES; at += STEP_SEGMENT) {
		const struct segment_header *header = (const struct segment_header *)(log + at);
		uint64_t first = at + sizeof(*header);

		if (at == 0 ||
		    (header->state != SEGMENT_CHAIN && header->state != SEGMENT_BLOCKS)) {
			changed |= part_changed(log, last, at, STEP_SEGMENT);
			continue;
		}
		changed |= part_changed(log, last, at, sizeof(*header));
		for (uint32_t n = 0;
		     header->state == SEGMENT_BLOCKS && n < segment_block_cnt(&geometry); n++)
			changed |= part_changed(log, last, first + n * block_bytes,
						sizeof(struct segment_link));
	}
	return changed;
}

/* Steps to the end; returns the log's states seen, 0 if there may be no tracing. */
static uint32_t step_through(struct stepped *s, uint8_t *copy, uint8_t *last)
{
	const uint8_t *log = s->rig.options.log.base;
	uint32_t moments = 0;
	uint64_t found = 0;
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		stepped_child(s);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSTOPPED(status)) {
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 77);
		return 0;
	}
	memset(last, 0xff, STEP_BYTES);
	while (!(WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1)) {
		assert_true(WIFSTOPPED(status));
		if (log_changed(log, last)) {
			found = check_moment(s, copy);
			moments++;
		}
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	/* Where it ends the operation is acknowledged, and it wrote nowhere else. */
	assert_int_equal(found, s->after);
	for (uint64_t at = STEP_BYTES; at < s->rig.options.log.bytes; at += STEP_SEGMENT)
		assert_int_equal(((const struct segment_header *)(log + at))->seq, 0);
	return moments;
}

static void restart_at_every_instruction_of_an_operation_is_whole(void **state)
{
	static const struct stepped cases[] = {
		{ .name = "set new", .op = step_set, .key = 3, .after = 9, .may_vanish = true },
		{ .name = "set over", .op = step_set, .key = 0, .after = 9, .may_vanish = true },
		{ .name = "large over small",
		  .op = step_set_large,
		  .key = 1,
		  .after = 9,
		  .may_vanish = true },
		{ .name = "small over large",
		  .op = step_set,
		  .key = 2,
		  .after = 9,
		  .may_vanish = true },
		{ .name = "remove", .op = step_remove, .key = 0, .may_vanish = true },
		{ .name = "remove large", .op = step_remove, .key = 2, .may_vanish = true },
		{ .name = "touch", .op = step_touch, .key = 0, .after = 1, .may_vanish = true },
		{ .name = "move", .op = step_move, .key = 0, .after = 1 },
		{ .name = "move large", .op = step_move, .key = 2, .after = 3 },
		{ .name = "flush", .op = step_flush, .all = true },
	};
	uint8_t *copy = store_rig_map(MIB), *last = store_rig_map(MIB);

	(void)state;
	log_set_level(LOG_WARN);
	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct store_options options = { .log.bytes = MIB, .index_bytes_max = 1 << 16 };
		struct stepped s = cases[i];
		uint32_t moments;
		char text[24];

		store_rig_init(&s.rig, &options);
		for (uint32_t key = 0; key < 3; key++) {
			s.want[key] = key + 1;
			store_rig_set(&s.rig, key_text(text, key),
				      value_make(key, key + 1, key == 2 ? STEP_LARGE : 80), 0);
		}
		s.rig.options.log.adopted = true;
		store_rig_stop(&s.rig);
		moments = step_through(&s, copy, last);
		if (moments == 0) {
			printf("SKIP: no permission to trace a child\n");
			skip();
		}
		printf("%s: %u states of the log\n", s.name, moments);
		assert_true(moments >= 2);
		munmap(s.rig.options.log.base, s.rig.options.log.bytes);
	}
	munmap(copy, MIB);
	munmap(last, MIB);
	log_set_level(LOG_INFO);
}

/* --- damage --- */

#define DAMAGE_KEYS 120U
#define DAMAGE_SEGMENTS 24U /* in use */

/* A log with live, overwritten, deleted, flushed, chained and abandoned items. */
static void damage_fill(struct store_rig *rig)
{
	struct store_options options = { .log.bytes = MIB, .index_bytes_max = 1 << 16 };
	struct store_pending pending;
	struct store_put put = { 0 };
	char text[24];

	store_rig_init(rig, &options);
	for (uint32_t key = 0; key < DAMAGE_KEYS; key++)
		store_rig_set(rig, key_text(text, key), value_make(key, 1, 100), 0);
	store_flush(rig->t);
	for (uint32_t key = 0; key < DAMAGE_KEYS; key++)
		store_rig_set(rig, key_text(text, key), value_make(key, 2, 100), 0);
	/* A third stays as it is, or large; a third overwritten; a third deleted. */
	for (uint32_t key = 0; key < DAMAGE_KEYS; key++) {
		struct span span = key_text(text, key);

		if (key % 20 == 0)
			store_rig_set(rig, span, value_make(key, 3, STEP_LARGE * 3), 0);
		else if (key % 3 == 1)
			store_rig_set(rig, span, value_make(key, 3, 150), 0);
		else if (key % 3 == 2)
			store_remove(rig->t, span, store_hash(rig->store, span), 0);
	}
	put.key = key_text(text, 2);
	put.hash = store_hash(rig->store, put.key);
	put.value_len = 100;
	put.mode = STORE_REPLACE;
	assert_int_equal(store_reserve(rig->t, &put, &pending), STORE_OK);
	store_fill(rig->t, &pending, value_make(2, 4, 100));
	assert_int_equal(store_commit(rig->t, &pending, NULL), STORE_NOT_STORED);
	rig->options.log.adopted = true;
}

static uint64_t damage_want(uint32_t key)
{
	if (key % 20 == 0)
		return 3;
	return key % 3 == 0 ? 2 : key % 3 == 1 ? 3 : 0;
}

/* Adopts a copy of the log with what `harm` did to it; returns how many keys are lost. */
static uint32_t damage_adopt(const struct store_rig *from, uint8_t *copy, struct store_counts *ret)
{
	struct store_options options = from->options;
	struct store_rig rig = { 0 };
	uint32_t lost = 0;

	options.log.base = copy;
	options.clock = NULL;
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	store_counts(rig.store, ret);
	for (uint32_t key = 0; key < DAMAGE_KEYS; key++) {
		uint64_t found = version_in(&rig, rig.t, key);

		if (found == 0)
			lost += damage_want(key) != 0;
		else
			assert_int_equal(found, damage_want(key));
	}
	store_rig_stop(&rig);
	return lost;
}

static uint64_t damage_item_loc(struct store_rig *rig, uint32_t key)
{
	struct item_view view;
	char text[24];
	struct span span = key_text(text, key);

	assert_true(store_peek(rig->t, span, store_hash(rig->store, span), &view));
	return view.loc;
}

static void restart_damaged_item_is_dropped_alone(void **state)
{
	uint8_t *copy = store_rig_map(MIB);
	struct store_counts counts;
	struct store_rig rig;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 5);
	log_set_level(LOG_WARN);
	damage_fill(&rig);
	memcpy(copy, rig.options.log.base, MIB);
	assert_int_equal(damage_adopt(&rig, copy, &counts), 0);
	assert_int_equal(counts.dropped_cnt, 0);
	for (int i = 0; i < 300; i++) {
		uint32_t key = 3 * (uint32_t)rand_below(&r, DAMAGE_KEYS / 3);
		uint64_t loc = damage_item_loc(&rig, key);
		uint32_t body = item_bytes(item_at(rig.options.log.base, loc)) - ITEM_HEADER;
		uint64_t at = loc + ITEM_HEADER + rand_below(&r, body - ITEM_ALIGN);

		memcpy(copy, rig.options.log.base, MIB);
		copy[at] ^= (uint8_t)(1U << rand_below(&r, 8));
		assert_int_equal(damage_adopt(&rig, copy, &counts), 1);
		assert_int_equal(counts.dropped_cnt, 1);
	}
	store_rig_fini(&rig);
	munmap(copy, MIB);
	log_set_level(LOG_INFO);
}

static void restart_damaged_chain_is_dropped_whole(void **state)
{
	uint8_t *copy = store_rig_map(MIB);
	struct store_counts whole, counts;
	struct store_rig rig;
	uint64_t freed;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 6);
	log_set_level(LOG_WARN);
	damage_fill(&rig);
	memcpy(copy, rig.options.log.base, MIB);
	damage_adopt(&rig, copy, &whole);
	for (int i = 0; i < 100; i++) {
		uint64_t loc = damage_item_loc(&rig, 20 * (uint32_t)rand_below(&r, 6));
		struct item_chain chain = item_chain_of(item_at(rig.options.log.base, loc));
		struct chain_shape shape = chain_shape(rig.store, chain.value_len);
		const struct segment_pool *pool = &rig.store->pool;
		uint32_t piece = chain.first_piece, len;

		assert_true(shape.segment_cnt > 0 && shape.block_cnt > 0);
		for (uint64_t n = rand_below(&r, chain.piece_cnt); n > 0; n--)
			piece = piece_next(pool, piece);
		len = piece_payload(pool, piece_is_block(piece));
		memcpy(copy, rig.options.log.base, MIB);
		copy[(uint64_t)(piece_data(pool, piece) - pool->base) + rand_below(&r, len)] ^=
			(uint8_t)(1U << rand_below(&r, 8));
		assert_int_equal(damage_adopt(&rig, copy, &counts), 1);
		assert_int_equal(counts.dropped_cnt, 1);
		/* Its pieces are free again, and perhaps what is left of their segments. */
		freed = counts.log_free_bytes - whole.log_free_bytes;
		assert_in_range(freed,
				(shape.segment_cnt << 14) +
					shape.block_cnt * segment_block_bytes(pool),
				(shape.segment_cnt << 14) +
					shape.block_cnt * (segment_block_bytes(pool) + 64));
	}
	store_rig_fini(&rig);
	munmap(copy, MIB);
	log_set_level(LOG_INFO);
}

/* A piece that says it is none is none, whatever its bytes are. */
static void restart_chain_through_another_segment_is_dropped(void **state)
{
	uint8_t *copy = store_rig_map(MIB);
	struct store_counts counts;
	struct item_chain chain;
	struct store_rig rig;

	(void)state;
	log_set_level(LOG_WARN);
	damage_fill(&rig);
	chain = item_chain_of(item_at(rig.options.log.base, damage_item_loc(&rig, 20)));
	for (uint32_t bit = 0; bit < 64; bit++) {
		struct segment_header *header =
			(struct segment_header *)(copy + ((uint64_t)piece_segment(chain.first_piece)
							  << 14));

		memcpy(copy, rig.options.log.base, MIB);
		*(bit < 32 ? &header->state : &header->magic) ^= 1U << bit % 32;
		assert_int_equal(damage_adopt(&rig, copy, &counts), 1);
		assert_int_equal(counts.dropped_cnt, 1);
	}
	store_rig_fini(&rig);
	munmap(copy, MIB);
	log_set_level(LOG_INFO);
}

/* So much longer that its pieces, counted in 32 bits, are as many as there are. */
static void restart_chain_longer_than_its_pieces_is_dropped(void **state)
{
	struct store_options options = { .log.bytes = MIB };
	struct store_counts counts;
	struct item_header *item;
	struct item_chain chain;
	struct store_rig rig;
	uint64_t payload;
	char text[24];

	(void)state;
	log_set_level(LOG_WARN);
	store_rig_init(&rig, &options);
	payload = segment_payload(&rig.store->pool);
	/* One piece, which is full. */
	store_rig_set(&rig, key_text(text, 1), value_make(1, 2, (uint32_t)payload + 100), 0);
	item = item_at(rig.options.log.base, damage_item_loc(&rig, 1));
	chain = item_chain_of(item);
	chain.value_len += payload << 32;
	memcpy(item_value(item), &chain, sizeof(chain));
	store_seal_item(item);
	options = rig.options;
	options.log.adopted = true;
	store_rig_stop(&rig);
	store_rig_open(&rig, &options);
	store_counts(rig.store, &counts);
	assert_int_equal(counts.dropped_cnt, 1);
	assert_int_equal(counts.item_cnt, 0);
	store_rig_fini(&rig);
	log_set_level(LOG_INFO);
}

static void set_in_pieces(struct store_rig *rig, uint32_t key, uint32_t len, struct rand *r)
{
	char text[24];
	struct store_put put = { .key = key_text(text, key), .value_len = len };
	struct span value = value_make(key, 1, len);
	struct store_pending pending;

	put.hash = store_hash(rig->store, put.key);
	assert_int_equal(store_reserve(rig->t, &put, &pending), STORE_OK);
	for (uint32_t at = 0; at < len;) {
		uint32_t piece = 1 + (uint32_t)rand_below(r, 9000);

		if (piece > len - at)
			piece = len - at;
		store_fill(rig->t, &pending, span_of(value.ptr + at, piece));
		at += piece;
	}
	assert_int_equal(store_commit(rig->t, &pending, NULL), STORE_OK);
}

/* What comes ends where pieces do or not; after segments come no blocks, one, many, and a rest or
 * none. */
static void restart_large_values_that_came_in_pieces_are_all_proven(void **state)
{
	struct store_options options = { .log.bytes = MIB };
	struct store_counts counts;
	struct store_rig rig;
	uint32_t payload, block, key = 0;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 9);
	store_rig_init(&rig, &options);
	payload = segment_payload(&rig.store->pool);
	block = piece_payload(&rig.store->pool, true);
	for (uint32_t whole = 1; whole <= 2; whole++) {
		const uint32_t rests[] = { 0, 1, block - 1, block, block + 1, payload - 1 };

		for (uint32_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++)
			set_in_pieces(&rig, key++, whole * payload + rests[i], &r);
	}
	options = rig.options;
	options.log.adopted = true;
	store_rig_stop(&rig);
	store_rig_open(&rig, &options);
	store_rig_start(&rig);
	store_counts(rig.store, &counts);
	assert_int_equal(counts.dropped_cnt, 0);
	assert_int_equal(counts.item_cnt, key);
	for (uint32_t n = 0; n < key; n++)
		assert_int_equal(version_in(&rig, rig.t, n), 1);
	store_rig_fini(&rig);
}

static void swap_seq(struct segment_header *a, struct segment_header *b)
{
	uint64_t seq = a->seq;

	a->seq = b->seq;
	b->seq = seq;
	a->seq_inverse = ~a->seq;
	b->seq_inverse = ~b->seq;
}

/*
 * Two live copies of one version, as a move leaves them that was cut off in the middle. The
 * reclaimer was cut off, too: to it a copy that the index does not know is garbage.
 */
static uint64_t leave_two_copies(struct store_rig *rig, uint32_t key)
{
	struct store *store = rig->store;
	uint64_t copy;

	store_reclaim_stop(store);
	copy = store_copy_item(rig->t, damage_item_loc(rig, key), 0, 1);
	assert_true(copy != 0);
	atomic_fetch_or(&item_at(store->pool.base, copy)->word0, ITEM_COMMITTED);
	store_item_done(store, copy);
	return copy;
}

static void restart_of_two_copies_keeps_the_one_in_the_younger_segment(void **state)
{
	(void)state;
	log_set_level(LOG_WARN);
	for (int turn = 0; turn < 4; turn++) {
		struct store_options options = { .log.bytes = MIB };
		uint32_t len = turn % 2 ? STEP_LARGE * 3 : 100;
		struct store_rig rig;
		uint64_t old_loc, loc;
		struct store_counts before, counts;
		char text[24];

		store_rig_init(&rig, &options);
		store_rig_set(&rig, key_text(text, 1), value_make(1, 2, len), 0);
		store_counts(rig.store, &before);
		old_loc = damage_item_loc(&rig, 1);
		loc = leave_two_copies(&rig, 1);
		/* Wherever they lie. */
		if (turn / 2) {
			uint64_t younger = old_loc;

			swap_seq(segment_header(&rig.store->pool,
						segment_of(&rig.store->pool, old_loc)),
				 segment_header(&rig.store->pool,
						segment_of(&rig.store->pool, loc)));
			old_loc = loc;
			loc = younger;
		}
		options = rig.options;
		options.log.adopted = true;
		store_rig_stop(&rig);
		store_rig_open(&rig, &options);
		assert_int_equal(rig.store->dead_chains, SEGMENT_NONE);
		rig.t = store_thread_new(rig.store);
		assert_non_null(rig.t);
		assert_int_equal(damage_item_loc(&rig, 1), loc);
		assert_int_equal(version_in(&rig, rig.t, 1), 2);
		store_counts(rig.store, &counts);
		assert_int_equal(counts.item_cnt, 1);
		assert_int_equal(counts.recovered_cnt, 1);
		assert_int_equal(counts.dropped_cnt, 0);
		assert_int_equal(counts.key_value_bytes, before.key_value_bytes);
		/* The other one is dead, and its segment is free soon. */
		assert_true(item_word0(item_at(rig.options.log.base, old_loc)) & ITEM_DEAD);
		assert_int_equal(store_reclaim_start(rig.store), 0);
		assert_true(store_rig_await_free(&rig, before.log_free_bytes));
		assert_int_equal(version_in(&rig, rig.t, 1), 2);
		store_rig_fini(&rig);
	}
	log_set_level(LOG_INFO);
}

/* As large.c's replace_first() leaves it in the middle: another first piece, the others shared. */
static void leave_copy_with_another_first_piece(struct store_rig *rig, uint32_t key)
{
	struct segment_pool *pool = &rig->store->pool;
	struct item_header *item = item_at(pool->base, leave_two_copies(rig, key));
	struct item_chain chain = item_chain_of(item);
	uint32_t first = segment_take_piece(pool, false, false);

	assert_false(piece_is_block(chain.first_piece));
	memcpy(piece_data(pool, first), piece_data(pool, chain.first_piece),
	       piece_payload(pool, false));
	piece_set_next(pool, first, piece_next(pool, chain.first_piece));
	chain.first_piece = first;
	memcpy(item_value(item), &chain, sizeof(chain));
	store_seal_item(item);
}

static void restart_of_two_copies_that_share_pieces_frees_none_of_them(void **state)
{
	struct store_options options = { .log.bytes = MIB };
	struct store_counts before;
	struct store_rig rig;
	uint32_t pieces = 0;
	char text[24];

	(void)state;
	log_set_level(LOG_WARN);
	store_rig_init(&rig, &options);
	store_rig_set(&rig, key_text(text, 1), value_make(1, 2, STEP_LARGE * 4), 0);
	store_counts(rig.store, &before);
	leave_copy_with_another_first_piece(&rig, 1);
	options = rig.options;
	options.log.adopted = true;
	store_rig_stop(&rig);
	store_rig_open(&rig, &options);
	assert_int_equal(rig.store->recovered_cnt, 1);
	assert_int_equal(rig.store->dead_chains, SEGMENT_NONE);
	for (uint32_t i = 1; i < rig.store->pool.cnt; i++)
		pieces += segment_state(&rig.store->pool.segments[i]) == SEGMENT_CHAIN;
	assert_int_equal(pieces, STEP_LARGE * 4 / segment_payload(&rig.store->pool));
	store_rig_start(&rig);
	assert_int_equal(version_in(&rig, rig.t, 1), 2);
	assert_true(store_rig_await_free(&rig, before.log_free_bytes));
	store_rig_fini(&rig);
	log_set_level(LOG_INFO);
}

/* Any bit of what is in use: headers, lengths, marks. */
static void restart_any_damage_serves_nothing_wrong(void **state)
{
	uint8_t *copy = store_rig_map(MIB);
	struct store_counts counts;
	struct store_rig rig;
	uint32_t flips = runopts_long() ? 100000 : 3000;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 7);
	log_set_level(LOG_WARN);
	damage_fill(&rig);
	/* One bit: half of them in segment headers, half in the items' first segments. */
	for (uint32_t i = 0; i < flips; i++) {
		uint64_t segment = 1 + rand_below(&r, DAMAGE_SEGMENTS);
		uint64_t at = segment << 14 |
			      rand_below(&r, i % 2 ? sizeof(struct segment_header) : 64 + 40 * 160);

		memcpy(copy, rig.options.log.base, MIB);
		copy[at] ^= (uint8_t)(1U << rand_below(&r, 8));
		damage_adopt(&rig, copy, &counts);
	}
	/* Many. */
	for (uint32_t i = 0; i < flips / 8; i++) {
		memcpy(copy, rig.options.log.base, MIB);
		for (int n = 0; n < 40; n++)
			copy[rand_below(&r, (DAMAGE_SEGMENTS + 1) << 14)] ^=
				(uint8_t)(1U << rand_below(&r, 8));
		damage_adopt(&rig, copy, &counts);
	}
	store_rig_fini(&rig);
	munmap(copy, MIB);
	log_set_level(LOG_INFO);
}

static void restart_damaged_first_page_starts_empty_or_right(void **state)
{
	const uint32_t decisive = offsetof(struct segment_super, flush);
	uint8_t *copy = store_rig_map(MIB);
	struct store_counts counts;
	struct store_rig rig;

	(void)state;
	log_set_level(LOG_WARN);
	damage_fill(&rig);
	for (uint32_t at = 0; at < sizeof(struct segment_super); at++) {
		for (uint32_t bit = 0; bit < 8; bit++) {
			memcpy(copy, rig.options.log.base, MIB);
			copy[at] ^= (uint8_t)(1U << bit);
			damage_adopt(&rig, copy, &counts);
			/* One flush record of two is enough. */
			assert_int_equal(counts.item_cnt != 0, at >= decisive);
		}
	}
	/* Both gone: what was flushed is not known any more. */
	memcpy(copy, rig.options.log.base, MIB);
	((struct segment_super *)copy)->flush[0].seq ^= 4;
	((struct segment_super *)copy)->flush[1].gen ^= 1;
	damage_adopt(&rig, copy, &counts);
	assert_int_equal(counts.item_cnt, 0);
	/* What it writes over it also works. */
	memset(copy, 0xff, MIB);
	damage_adopt(&rig, copy, &counts);
	assert_int_equal(counts.item_cnt, 0);
	damage_adopt(&rig, copy, &counts);
	assert_int_equal(counts.dropped_cnt, 0);
	store_rig_fini(&rig);
	munmap(copy, MIB);
	log_set_level(LOG_INFO);
}

static void restart_other_log_size_is_adopted_or_empty(void **state)
{
	uint8_t *wide = store_rig_map(64 * MIB);
	struct store_options options = { .log = { .base = wide, .bytes = 64 * MIB } };
	struct store_rig rig = { 0 };

	(void)state;
	log_set_level(LOG_WARN);
	store_rig_init(&rig, &options);
	assert_int_equal(store_rig_set(&rig, span_str("k"), span_str("v"), 0), STORE_OK);
	store_rig_stop(&rig);
	/* Too few of these segments: not a log that can be taken over. */
	options.log.adopted = true;
	options.log.bytes = 2 * MIB;
	assert_false(store_log_holds_items(&options.log));
	options.log.bytes = 8 * MIB;
	assert_true(store_log_holds_items(&options.log));
	memset(&rig, 0, sizeof(rig));
	store_rig_init(&rig, &options);
	assert_true(store_rig_get(&rig, span_str("k"), value_buf, &(struct item_view){ 0 }));
	store_rig_stop(&rig);
	munmap(wide, 64 * MIB);
	log_set_level(LOG_INFO);
}

struct aging {
	uint64_t last, cnt, disorder;
};

static void note_eviction(void *ctx, struct store_event *event)
{
	struct aging *aging = ctx;
	uint64_t version;

	if (event->change != STORE_CHANGE_EVICT)
		return;
	memcpy(&version, event->old_item->value + offsetof(struct value_head, version), 8);
	aging->disorder += version < aging->last;
	aging->last = version;
	aging->cnt++;
}

/* First in, first out, across a restart. */
static void restart_keeps_the_order_of_age(void **state)
{
	struct store_options options = { .log.bytes = MIB, .eviction = "fifo" };
	struct aging aging = { 0 };
	struct store_watcher watcher = { .on_change = note_eviction, .ctx = &aging };
	struct store_rig rig;
	char text[24];

	(void)state;
	log_set_level(LOG_WARN);
	store_rig_init(&rig, &options);
	/* Several times round, so that age is not the order of places. */
	for (uint32_t key = 0; key < 20000; key++)
		store_rig_set(&rig, key_text(text, key), value_make(key, key + 1, 200), 0);
	options = rig.options;
	options.clock = NULL;
	options.log.adopted = true;
	store_rig_stop(&rig);

	memset(&rig, 0, sizeof(rig));
	store_rig_open(&rig, &options);
	assert_int_equal(store_watch(rig.store, &watcher), 0);
	store_rig_start(&rig);
	for (uint32_t key = 20000; key < 28000; key++)
		store_rig_set(&rig, key_text(text, key), value_make(key, key + 1, 200), 0);
	store_reclaim_stop(rig.store);
	assert_true(aging.cnt > 5000);
	assert_int_equal(aging.disorder, 0);
	store_rig_fini(&rig);
	log_set_level(LOG_INFO);
}

#define BATCH_KEYS 4000U

/* Each segment's latest expiry, the index's size and every item are what they were. */
static void restart_rebuilt_store_is_what_it_was(void **state)
{
	struct store_options options = { .log.bytes = 4 * MIB };
	uint32_t max_ds[256], buckets;
	struct store_counts before, counts;
	struct store_rig rig;
	struct rand r;
	char text[24];

	(void)state;
	rand_init(&r, runopts_seed() ^ 8);
	log_set_level(LOG_WARN);
	store_rig_init(&rig, &options);
	for (uint32_t key = 0; key < BATCH_KEYS; key++)
		store_rig_set(&rig, key_text(text, key),
			      value_make(key, 1, 24 + (uint32_t)rand_below(&r, 200)),
			      rand_below(&r, 50)
				      ? rig.time.boot_ns +
						NSEC_PER_SEC * (2000 + rand_below(&r, 100000))
				      : 0);
	store_thread_free(rig.t);
	rig.t = NULL;
	store_reclaim_stop(rig.store);
	store_counts(rig.store, &before);
	assert_int_equal(before.item_cnt, BATCH_KEYS);
	assert_true(rig.store->pool.cnt <= 256);
	for (uint32_t i = 1; i < rig.store->pool.cnt; i++)
		max_ds[i] = atomic_load(&rig.store->pool.segments[i].expire_max_ds);
	buckets = atomic_load(&rig.store->index.bucket_cnt);
	options = rig.options;
	options.log.adopted = true;
	store_rig_stop(&rig);
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	store_counts(rig.store, &counts);
	assert_int_equal(counts.item_cnt, before.item_cnt);
	assert_int_equal(counts.recovered_cnt, before.item_cnt);
	assert_int_equal(counts.item_bytes, before.item_bytes);
	assert_int_equal(counts.log_free_bytes, before.log_free_bytes);
	assert_int_equal(atomic_load(&rig.store->index.bucket_cnt), buckets);
	for (uint32_t i = 1; i < rig.store->pool.cnt; i++) {
		if (segment_state(&rig.store->pool.segments[i]) == SEGMENT_SEALED)
			assert_int_equal(atomic_load(&rig.store->pool.segments[i].expire_max_ds),
					 max_ds[i]);
	}
	for (uint32_t key = 0; key < BATCH_KEYS; key++)
		assert_int_equal(version_in(&rig, rig.t, key), 1);
	store_rig_fini(&rig);
	log_set_level(LOG_INFO);
}

/* An index never shrinks: what has expired since gets no room in it. */
static void restart_after_items_expired_makes_no_room_for_them(void **state)
{
	struct store_options options = { .log.bytes = 4 * MIB };
	struct store_rig rig;
	uint32_t buckets, grown;
	char text[24];

	(void)state;
	log_set_level(LOG_WARN);
	store_rig_init(&rig, &options);
	buckets = atomic_load(&rig.store->index.bucket_cnt);
	for (uint32_t key = 0; key < BATCH_KEYS; key++)
		store_rig_set(&rig, key_text(text, key), value_make(key, 1, 100),
			      key ? rig.time.boot_ns + 10 * NSEC_PER_SEC : 0);
	grown = atomic_load(&rig.store->index.bucket_cnt);
	assert_true(grown > buckets);
	options = rig.options;
	options.log.adopted = true;
	store_rig_stop(&rig);
	fake_clock_add(&rig.time, 20 * NSEC_PER_SEC);
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	assert_int_equal(rig.store->recovered_cnt, 1);
	assert_int_equal(atomic_load(&rig.store->index.bucket_cnt), buckets);
	assert_int_equal(version_in(&rig, rig.t, 0), 1);
	store_rig_fini(&rig);
	log_set_level(LOG_INFO);
}

/* --- what never comes again --- */

static uint64_t cas_of_new_item(struct store_rig *rig)
{
	struct item_view view;
	struct span key = span_str("key");

	assert_int_equal(store_rig_set(rig, key, span_str("value"), 0), STORE_OK);
	assert_true(store_peek(rig->t, key, store_hash(rig->store, key), &view));
	return view.cas;
}

/* Another store on the same log, or on new memory; returns its first item's cas. */
static uint64_t cas_after_restart(struct store_rig *rig, bool adopted, bool same_memory)
{
	struct store_options options = rig->options;

	store_rig_stop(rig);
	if (!same_memory)
		memset(options.log.base, 0, options.log.bytes);
	options.log.adopted = adopted;
	store_rig_open(rig, &options);
	store_rig_start(rig);
	return cas_of_new_item(rig);
}

static void restart_cas_handed_out_before_never_comes_again(void **state)
{
	struct store_options options = { .log.bytes = 2 * MIB };
	struct store_rig rig;
	uint64_t last, next;

	(void)state;
	store_rig_init(&rig, &options);
	last = cas_of_new_item(&rig);
	/* formatted anew within the same moment: only the log knows */
	next = cas_after_restart(&rig, false, true);
	assert_true(next > last);
	last = next;
	/* and with a wall clock that was set back */
	rig.time.unix_ns -= 600 * NSEC_PER_SEC;
	next = cas_after_restart(&rig, false, true);
	assert_true(next > last);
	next = cas_after_restart(&rig, true, true);
	assert_true(next > last);
	last = next;
	/* on new memory: only the clock knows */
	fake_clock_add(&rig.time, 601 * NSEC_PER_SEC);
	next = cas_after_restart(&rig, false, false);
	assert_true(next > last);
	store_rig_fini(&rig);
}

/* Segments whose memory was given back take their numbers along: the clock is ahead of them. */
static void restart_cas_of_given_back_segments_never_comes_again(void **state)
{
	struct store_options options = { .log.bytes = 2 * MIB };
	struct store_rig rig;
	uint64_t last;

	(void)state;
	store_rig_init(&rig, &options);
	last = cas_of_new_item(&rig);
	store_thread_free(rig.t);
	rig.t = store_thread_new(rig.store);
	for (uint32_t i = 1; i < rig.store->pool.cnt; i++)
		memset(segment_header(&rig.store->pool, i), 0, sizeof(struct segment_header));
	fake_clock_add(&rig.time, NSEC_PER_SEC);
	assert_true(cas_after_restart(&rig, true, true) > last);
	store_rig_fini(&rig);
}

/* A crash between the two copies of the flush record leaves an older one in either place. */
static void restart_later_flush_record_counts_in_either_place(void **state)
{
	for (int place = 0; place < 2; place++) {
		struct store_options options = { .log.bytes = 2 * MIB };
		struct segment_super *super;
		struct segment_flush older;
		struct store_rig rig;
		uint32_t gen;

		(void)state;
		store_rig_init(&rig, &options);
		super = segment_super(&rig.store->pool);
		store_flush(rig.t);
		older = super->flush[place];
		store_flush(rig.t);
		store_flush(rig.t);
		gen = store_flush_gen(rig.store);
		assert_int_not_equal(older.gen, gen);
		super->flush[place] = older;
		cas_after_restart(&rig, true, true);
		assert_int_equal(store_flush_gen(rig.store), gen);
		/* and both are whole again */
		assert_int_equal(super->flush[place].gen, gen);
		super->flush[place] = older;
		cas_after_restart(&rig, false, true);
		assert_int_equal(store_flush_gen(rig.store), gen + 1);
		/* damaged, the other one counts */
		super->flush[place].gen = 0;
		cas_after_restart(&rig, false, true);
		assert_int_equal(store_flush_gen(rig.store), gen + 2);
		store_rig_fini(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(restart_killed_anywhere_keeps_what_was_acknowledged),
		cmocka_unit_test(restart_killed_under_eviction_brings_nothing_back),
		cmocka_unit_test(restart_killed_among_graceful_stops_keeps_what_was_acknowledged),
		cmocka_unit_test(restart_at_every_instruction_of_an_operation_is_whole),
		cmocka_unit_test(restart_damaged_item_is_dropped_alone),
		cmocka_unit_test(restart_damaged_chain_is_dropped_whole),
		cmocka_unit_test(restart_chain_through_another_segment_is_dropped),
		cmocka_unit_test(restart_chain_longer_than_its_pieces_is_dropped),
		cmocka_unit_test(restart_large_values_that_came_in_pieces_are_all_proven),
		cmocka_unit_test(restart_of_two_copies_keeps_the_one_in_the_younger_segment),
		cmocka_unit_test(restart_of_two_copies_that_share_pieces_frees_none_of_them),
		cmocka_unit_test(restart_any_damage_serves_nothing_wrong),
		cmocka_unit_test(restart_damaged_first_page_starts_empty_or_right),
		cmocka_unit_test(restart_other_log_size_is_adopted_or_empty),
		cmocka_unit_test(restart_keeps_the_order_of_age),
		cmocka_unit_test(restart_rebuilt_store_is_what_it_was),
		cmocka_unit_test(restart_after_items_expired_makes_no_room_for_them),
		cmocka_unit_test(restart_cas_handed_out_before_never_comes_again),
		cmocka_unit_test(restart_cas_of_given_back_segments_never_comes_again),
		cmocka_unit_test(restart_later_flush_record_counts_in_either_place),
	};

	return cmocka_run_group_tests_name("store_restart", tests, NULL, NULL);
}
