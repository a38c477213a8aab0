/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: what a preview says a write would leave is what the write leaves, with the same status
 * and in the same words, and a preview changes nothing. Method: random writes to two stores with
 * one clock; to the one they are made as they are, to the other as they were previewed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rand.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"

#define KEYS 8
#define VALUE_MAX 4096

struct pair {
	struct store_rig plain, told;
	struct rand rand;
};

static struct span key_of(uint32_t i)
{
	static const char *const keys[KEYS] = { "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7" };

	return span_str(keys[i]);
}

static struct span random_value(struct pair *p, uint8_t *to)
{
	static const char *const texts[] = { "",	"0",   "9",
					     "99",	"100", "18446744073709551615",
					     "a value", " 7",  "12 x" };
	uint32_t which = (uint32_t)rand_below(&p->rand, 11);
	uint64_t len = rand_below(&p->rand, VALUE_MAX / 8);

	if (which < sizeof(texts) / sizeof(texts[0]))
		return span_str(texts[which]);
	memset(to, 'a' + (int)which, len);
	return span_of(to, len);
}

static struct store_preview random_write(struct pair *p, uint8_t *value)
{
	struct span key = key_of((uint32_t)rand_below(&p->rand, KEYS));
	struct store_preview how = { .put = { .key = key,
					      .mode = (enum store_mode)rand_below(&p->rand, 3),
					      .flags = (uint32_t)rand_below(&p->rand, 3),
					      .prepend = rand_below(&p->rand, 2) },
				     .data = random_value(p, value),
				     .make_expire_ns = STORE_RIG_BOOT_NS * 3,
				     .initial = rand_below(&p->rand, 200) };

	how.kind = rand_below(&p->rand, 3);
	if (how.kind != STORE_PREVIEW_PUT)
		how.put.mode = STORE_SET;
	how.make = how.kind != STORE_PREVIEW_PUT && rand_below(&p->rand, 2);
	how.put.expire_ns = rand_below(&p->rand, 2) * STORE_RIG_BOOT_NS * 2;
	how.delta = (struct store_delta){ .key = key,
					  .delta = rand_below(&p->rand, 120),
					  .decr = rand_below(&p->rand, 2) };
	return how;
}

static enum store_status make(struct store_rig *rig, const struct store_preview *how)
{
	struct store_put first = how->put;
	struct store_number number;
	enum store_status status;
	char text[24];

	if (how->kind == STORE_PREVIEW_PUT)
		return store_rig_put(rig->t, &how->put, how->data, NULL);
	status = how->kind == STORE_PREVIEW_JOIN
			 ? store_join(rig->t, &how->put, how->data, NULL)
			 : store_change_number(rig->t, &how->delta, &number);
	if (!how->make || (status != STORE_NOT_FOUND && status != STORE_NOT_STORED))
		return status;
	first.mode = STORE_ADD;
	first.expire_ns = how->make_expire_ns;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)how->initial);
	return store_rig_put(rig->t, &first,
			     how->kind == STORE_PREVIEW_JOIN ? how->data : span_str(text), NULL);
}

static enum store_status make_previewed(struct store_rig *rig, const struct store_preview *how)
{
	struct store_previewed to_be;
	enum store_status status = store_preview(rig->t, how, &to_be);

	if (status != STORE_OK)
		return status;
	status = store_rig_put(rig->t, &to_be.put, span_of(to_be.bytes, to_be.len), NULL);
	alloc_free(to_be.bytes);
	return status;
}

static void assert_same(struct pair *p, struct span key)
{
	static uint8_t ours[1 << 20], theirs[1 << 20];
	struct item_view a, b;
	bool found = store_rig_get(&p->plain, key, ours, &a);

	assert_int_equal(store_rig_get(&p->told, key, theirs, &b), found);
	if (!found)
		return;
	assert_int_equal(a.value_len, b.value_len);
	assert_memory_equal(ours, theirs, a.value_len);
	assert_int_equal(a.flags, b.flags);
	assert_int_equal(a.expire_ns, b.expire_ns);
}

static void remove_from_both(struct pair *p, struct span key)
{
	store_remove(p->plain.t, key, store_hash(p->plain.store, key), 0);
	store_remove(p->told.t, key, store_hash(p->told.store, key), 0);
}

static void previewed_writes_leave_what_the_writes_leave(void **state)
{
	const struct store_options options = { 0 };
	uint32_t stored_cnt = 0, refused_cnt = 0;
	struct pair p;

	(void)state;
	rand_init(&p.rand, runopts_seed());
	store_rig_init(&p.plain, &options);
	store_rig_init(&p.told, &options);
	for (uint32_t i = 0; i < 20000; i++) {
		uint8_t value[VALUE_MAX];
		struct store_preview how = random_write(&p, value);
		struct store_preview same = how;
		enum store_status status;

		how.put.hash = how.delta.hash = store_hash(p.plain.store, how.put.key);
		same.put.hash = same.delta.hash = store_hash(p.told.store, how.put.key);
		status = make(&p.plain, &how);
		assert_int_equal(make_previewed(&p.told, &same), status);
		stored_cnt += status == STORE_OK;
		refused_cnt += status != STORE_OK;
		assert_same(&p, how.put.key);
		if (rand_below(&p.rand, 10) == 0)
			remove_from_both(&p, how.put.key);
		store_quiesce(p.plain.t);
		store_quiesce(p.told.t);
	}
	assert_true(stored_cnt > 5000 && refused_cnt > 2000);
	store_rig_fini(&p.plain);
	store_rig_fini(&p.told);
}

static void preview_changes_nothing_and_judges_by_cas(void **state)
{
	const struct store_options options = { 0 };
	struct store_preview how = { .put = { .key = span_str("k"), .mode = STORE_CAS },
				     .data = span_str("new") };
	struct store_previewed to_be;
	struct item_view before, after;
	struct store_rig rig;
	uint8_t bytes[16];

	(void)state;
	store_rig_init(&rig, &options);
	how.put.hash = how.delta.hash = store_hash(rig.store, how.put.key);
	how.delta.key = how.put.key;
	assert_int_equal(store_preview(rig.t, &how, &to_be), STORE_NOT_FOUND);
	store_rig_set(&rig, how.put.key, span_str("5"), 0);
	assert_true(store_rig_get(&rig, how.put.key, bytes, &before));
	how.put.cas = before.cas + 1;
	assert_int_equal(store_preview(rig.t, &how, &to_be), STORE_EXISTS);
	how.put.cas = before.cas;
	assert_int_equal(store_preview(rig.t, &how, &to_be), STORE_OK);
	assert_memory_equal(to_be.bytes, "new", 3);
	alloc_free(to_be.bytes);
	how.kind = STORE_PREVIEW_NUMBER;
	how.delta.delta = 95;
	how.delta.cas = before.cas + 1;
	assert_int_equal(store_preview(rig.t, &how, &to_be), STORE_EXISTS);
	how.delta.cas = before.cas;
	assert_int_equal(store_preview(rig.t, &how, &to_be), STORE_OK);
	assert_int_equal(to_be.number, 100);
	alloc_free(to_be.bytes);
	assert_true(store_rig_get(&rig, how.put.key, bytes, &after));
	assert_int_equal(after.cas, before.cas);
	assert_int_equal(after.loc, before.loc);
	store_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(previewed_writes_leave_what_the_writes_leave),
		cmocka_unit_test(preview_changes_nothing_and_judges_by_cas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
