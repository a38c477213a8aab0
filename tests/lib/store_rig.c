/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/store_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#define LOG_BYTES_DEFAULT (8ULL << 20)
#define WAIT_STEP_NS (100 * NSEC_PER_MSEC)
#define WAIT_STEPS 100U
#define AWAIT_POLL_NS (5 * (long)NSEC_PER_MSEC)
#define AWAIT_POLLS 1000

uint8_t *store_rig_map(uint64_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(base != MAP_FAILED);
	return base;
}

void store_rig_open(struct store_rig *rig, const struct store_options *wish)
{
	struct store_options *options = &rig->options;
	int error = 0;

	if (!rig->time.boot_ns)
		fake_clock_init(&rig->time, STORE_RIG_BOOT_NS, STORE_RIG_BOOT_NS);
	*options = *wish;
	if (!options->log.bytes)
		options->log.bytes = LOG_BYTES_DEFAULT;
	if (!options->log.base)
		options->log.base = store_rig_map(options->log.bytes);
	if (!options->index_bytes_max)
		options->index_bytes_max = options->log.bytes;
	if (!options->item_max)
		options->item_max = options->log.bytes;
	if (!options->thread_max)
		options->thread_max = STORE_RIG_THREADS;
	if (!options->clock)
		options->clock = &rig->time.clock;
	rig->store = store_new(options, &error);
	assert_int_equal(error, 0);
	assert_non_null(rig->store);
}

void store_rig_start(struct store_rig *rig)
{
	assert_int_equal(store_reclaim_start(rig->store), 0);
	rig->t = store_thread_new(rig->store);
	assert_non_null(rig->t);
}

void store_rig_init(struct store_rig *rig, const struct store_options *wish)
{
	memset(rig, 0, sizeof(*rig));
	store_rig_open(rig, wish);
	store_rig_start(rig);
}

void store_rig_stop(struct store_rig *rig)
{
	store_thread_free(rig->t);
	store_free(rig->store);
	rig->t = NULL;
	rig->store = NULL;
}

void store_rig_fini(struct store_rig *rig)
{
	store_rig_stop(rig);
	munmap(rig->options.log.base, rig->options.log.bytes);
}

void store_rig_wait(struct store_thread *t, uint32_t *tries)
{
	const struct timespec more = { .tv_nsec = (long)NSEC_PER_MSEC };

	assert_true(*tries < WAIT_STEPS);
	/* Room that others took first costs no try. */
	if (!store_wait(t, WAIT_STEP_NS))
		++*tries;
	else
		nanosleep(&more, NULL);
}

enum store_status store_rig_put(struct store_thread *t, const struct store_put *put,
				struct span value, uint64_t *ret_cas)
{
	uint32_t tries = 0;

	for (;;) {
		enum store_status status = store_put(t, put, value, ret_cas);

		if (status != STORE_AGAIN)
			return status;
		store_rig_wait(t, &tries);
	}
}

enum store_status store_rig_set(struct store_rig *rig, struct span key, struct span value,
				uint64_t expire_ns)
{
	struct store_put put = { .key = key,
				 .hash = store_hash(rig->store, key),
				 .expire_ns = expire_ns };

	return store_rig_put(rig->t, &put, value, NULL);
}

bool store_rig_get(struct store_rig *rig, struct span key, uint8_t *to, struct item_view *ret)
{
	if (!store_find(rig->t, key, store_hash(rig->store, key), ret))
		return false;
	for (uint64_t at = 0; at < ret->value_len;) {
		struct span part = store_value_part(rig->store, ret, at);

		memcpy(to + at, part.ptr, part.len);
		at += part.len;
	}
	return true;
}

bool store_rig_await_free(struct store_rig *rig, uint64_t free_bytes)
{
	const struct timespec poll = { .tv_nsec = AWAIT_POLL_NS };

	for (int i = 0; i < AWAIT_POLLS; i++) {
		struct store_counts counts;

		store_counts(rig->store, &counts);
		if (counts.log_free_bytes >= free_bytes)
			return true;
		store_quiesce(rig->t);
		nanosleep(&poll, NULL);
	}
	return false;
}
