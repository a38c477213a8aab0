/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a note that a key has no item is nothing to readers, writers, counts, walks and
 * eviction; it can be resident, and then whoever creates the item, and whatever ends the note, is
 * told to the kernel map; it is never over an item, and no restart brings it back. Method: each
 * command of the store over a note, beside the same without one; a watcher in the kernel map's
 * place. Random orders: test_store_model.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "lib/store_rig.h"

#define TTL_NS (10 * NSEC_PER_SEC)

static const struct span key = { (const uint8_t *)"k", 1 };

/* What the kernel map's watcher was told last. */
static struct {
	uint32_t event_cnt;
	enum store_change change;
	bool was_resident, was_absent, is_item;
} told;

static void on_change(void *ctx, struct store_event *event)
{
	(void)ctx;
	told.event_cnt++;
	told.change = event->change;
	told.was_resident = event->old_item && event->old_item->resident;
	told.was_absent = event->old_item && event->old_item->absent;
	told.is_item = event->new_item && !event->new_item->absent;
	event->keep_resident = told.was_resident && event->new_item;
}

static void open_rig(struct store_rig *rig)
{
	struct store_options options = { 0 };
	const struct store_watcher watcher = { .on_change = on_change };

	memset(rig, 0, sizeof(*rig));
	store_rig_open(rig, &options);
	assert_int_equal(store_watch(rig->store, &watcher), 0);
	store_rig_start(rig);
}

static enum store_status note(struct store_rig *rig)
{
	return store_note_absent(rig->t, key, store_hash(rig->store, key),
				 rig->time.boot_ns + TTL_NS);
}

static bool is_note(void *ctx, const struct item_view *view)
{
	(void)ctx;
	assert_true(view->absent && view->value_len == 0);
	assert_int_equal(view->key.len, 1);
	return true;
}

static int make_resident(struct store_rig *rig)
{
	return store_make_resident(rig->t, key, store_hash(rig->store, key), is_note, NULL);
}

static void note_resident(struct store_rig *rig)
{
	assert_int_equal(note(rig), STORE_OK);
	assert_int_equal(make_resident(rig), 0);
	memset(&told, 0, sizeof(told));
}

static bool is_there(struct store_rig *rig)
{
	struct item_view view;

	return store_find(rig->t, key, store_hash(rig->store, key), &view);
}

static void note_is_nothing_to_clients(void **state)
{
	struct store_fetch fetch = { .key = key, .touch = true };
	struct store_invalidate invalidate = { .key = key, .stale = true };
	struct store_put put = { .key = key, .mode = STORE_REPLACE };
	struct store_counts before, after;
	struct store_fetched fetched;
	struct store_rig rig;
	uint64_t number, cursor = 0, hash;
	struct item_view view;

	(void)state;
	open_rig(&rig);
	store_counts(rig.store, &before);
	note_resident(&rig);
	hash = fetch.hash = invalidate.hash = put.hash = store_hash(rig.store, key);
	assert_false(is_there(&rig));
	assert_int_equal(store_miss(rig.t), STORE_MISS_ABSENT);
	assert_false(store_peek(rig.t, key, hash, &view));
	assert_int_equal(store_fetch(rig.t, &fetch, &fetched), STORE_NOT_FOUND);
	assert_int_equal(store_invalidate(rig.t, &invalidate), STORE_NOT_FOUND);
	assert_int_equal(store_remove(rig.t, key, hash, 0), STORE_NOT_FOUND);
	assert_int_equal(store_put(rig.t, &put, span_str("v"), NULL), STORE_NOT_STORED);
	put.mode = STORE_CAS;
	put.cas = 1;
	assert_int_equal(store_put(rig.t, &put, span_str("v"), NULL), STORE_NOT_FOUND);
	assert_int_equal(store_append(rig.t, key, hash, span_str("v"), 0, NULL), STORE_NOT_STORED);
	assert_int_equal(store_arith(rig.t, key, hash, 1, false, 0, &number, NULL),
			 STORE_NOT_FOUND);
	while (store_walk(rig.t, &cursor, is_note, NULL))
		;
	store_counts(rig.store, &after);
	assert_int_equal(after.item_cnt, before.item_cnt);
	assert_int_equal(after.item_bytes, before.item_bytes);
	assert_int_equal(after.total_items, before.total_items);
	/* None of it ended the note. */
	assert_int_equal(told.event_cnt, 0);
	assert_int_equal(make_resident(&rig), 0);
	store_rig_fini(&rig);
}

static void whoever_creates_the_item_replaces_the_note(void **state)
{
	const enum store_mode modes[] = { STORE_SET, STORE_ADD };
	struct store_counts counts;
	struct store_rig rig;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct store_put put = { .key = key, .mode = modes[i] };

		open_rig(&rig);
		note_resident(&rig);
		put.hash = store_hash(rig.store, key);
		assert_int_equal(store_put(rig.t, &put, span_str("v"), NULL), STORE_OK);
		assert_int_equal(told.event_cnt, 1);
		assert_true(told.was_resident && told.was_absent && told.is_item);
		assert_true(is_there(&rig));
		assert_int_equal(note(&rig), STORE_NOT_STORED);
		assert_true(is_there(&rig));
		store_counts(rig.store, &counts);
		assert_int_equal(counts.item_cnt, 1);
		assert_int_equal(counts.total_items, 1);
		store_rig_fini(&rig);
	}
}

static void note_ends_and_the_kernel_is_told(void **state)
{
	struct store_counts counts;
	struct store_rig rig;

	(void)state;
	open_rig(&rig);
	note_resident(&rig);
	fake_clock_add(&rig.time, TTL_NS - 1);
	store_quiesce(rig.t);
	assert_int_equal(make_resident(&rig), 0);
	fake_clock_add(&rig.time, NSEC_PER_SEC);
	store_quiesce(rig.t);
	assert_int_equal(make_resident(&rig), -ENOENT);
	assert_false(is_there(&rig));
	assert_int_equal(store_miss(rig.t), STORE_MISS_ABSENT);
	assert_int_equal(told.event_cnt, 1);
	assert_true(told.was_resident && told.change == STORE_CHANGE_EXPIRE);
	store_counts(rig.store, &counts);
	assert_int_equal(counts.expired_cnt, 0);
	/* Again, and flushed. */
	assert_int_equal(note(&rig), STORE_OK);
	store_flush(rig.t);
	assert_int_equal(make_resident(&rig), -ENOENT);
	assert_false(is_there(&rig));
	store_rig_fini(&rig);
}

static void note_over_what_has_expired(void **state)
{
	struct store_rig rig;

	(void)state;
	open_rig(&rig);
	assert_int_equal(store_rig_set(&rig, key, span_str("v"), rig.time.boot_ns + TTL_NS),
			 STORE_OK);
	assert_int_equal(note(&rig), STORE_NOT_STORED);
	fake_clock_add(&rig.time, TTL_NS + NSEC_PER_SEC);
	store_quiesce(rig.t);
	assert_int_equal(note(&rig), STORE_OK);
	assert_false(is_there(&rig));
	assert_int_equal(make_resident(&rig), 0);
	store_rig_fini(&rig);
}

static void crash_forgets_notes(void **state)
{
	struct store_options adopted;
	struct store_counts counts;
	struct store_rig rig;

	(void)state;
	open_rig(&rig);
	note_resident(&rig);
	store_rig_stop(&rig);
	adopted = rig.options;
	adopted.log.adopted = true;
	store_rig_init(&rig, &adopted);
	assert_int_equal(make_resident(&rig), -ENOENT);
	store_counts(rig.store, &counts);
	assert_int_equal(counts.item_cnt, 0);
	assert_int_equal(counts.recovered_cnt, 0);
	assert_int_equal(counts.dropped_cnt, 0);
	store_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(note_is_nothing_to_clients),
		cmocka_unit_test(whoever_creates_the_item_replaces_the_note),
		cmocka_unit_test(note_ends_and_the_kernel_is_told),
		cmocka_unit_test(note_over_what_has_expired),
		cmocka_unit_test(crash_forgets_notes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
