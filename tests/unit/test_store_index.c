/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: whatever is inserted is found until it is removed, and nothing else is, while the
 * table splits bucket after bucket; chains give their overflow buckets back; at its cap the index
 * refuses and takes again after a removal; threads that insert while it grows lose nothing; made
 * for a number of items it is as large as if it had grown.
 * Method: a model that knows each place's hash and whether it is in. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "base/alloc.h"
#include "base/rand.h"
#include "lib/runopts.h"
#include "store/index.h"

#define PLACES 60000U
#define OPS_DEFAULT 400000

struct rig {
	struct index index;
	uint64_t hash[PLACES];
	bool in[PLACES];
	uint64_t in_cnt;
};

/* Spread over all 36 bits that a place may have. */
static uint64_t place_of(uint32_t n)
{
	uint64_t high = n % 15;

	return high << 34 | (uint64_t)(n + 1) << 2;
}

static uint32_t number_at(uint64_t loc)
{
	return (uint32_t)(loc >> 2) - 1;
}

static uint64_t hash_of(void *ctx, uint64_t loc)
{
	struct rig *rig = ctx;

	return rig->hash[number_at(loc)];
}

static struct rig *rig_new(uint64_t bytes_max, uint64_t seed)
{
	struct rig *rig = alloc_aligned(64, sizeof(*rig));
	struct rand r;

	assert_non_null(rig);
	assert_int_equal(index_init(&rig->index, bytes_max), 0);
	rand_init(&r, seed);
	for (uint32_t i = 0; i < PLACES; i++)
		rig->hash[i] = rand_next(&r);
	return rig;
}

static void rig_free(struct rig *rig)
{
	index_fini(&rig->index);
	alloc_free(rig);
}

static int put(struct rig *rig, uint32_t n)
{
	struct index_lock lock = index_lock(&rig->index, rig->hash[n]);
	int err = index_insert(&rig->index, &lock, place_of(n), n % (INDEX_USE_MAX + 1));

	index_unlock(&lock);
	if (err)
		return err;
	rig->in[n] = true;
	rig->in_cnt++;
	while (index_wants_growth(&rig->index))
		index_grow(&rig->index, hash_of, rig);
	return 0;
}

static void take(struct rig *rig, uint32_t n)
{
	struct index_lock lock = index_lock(&rig->index, rig->hash[n]);
	struct index_slot slot;

	assert_true(index_find_place(&rig->index, &lock, place_of(n), &slot));
	index_remove(&rig->index, &lock, &slot);
	index_unlock(&lock);
	rig->in[n] = false;
	rig->in_cnt--;
}

static void check_one(struct rig *rig, uint32_t n)
{
	struct index_lock lock = index_lock(&rig->index, rig->hash[n]);
	struct index_slot slot;
	bool found = index_find_place(&rig->index, &lock, place_of(n), &slot);

	assert_int_equal(found, rig->in[n]);
	if (found) {
		assert_int_equal(index_slot_loc(&slot), place_of(n));
		assert_int_equal(index_slot_use(&slot), n % (INDEX_USE_MAX + 1));
	}
	index_unlock(&lock);
}

/* Every bucket holds only what belongs there, and all together exactly what the model says. */
static void check_all(struct rig *rig)
{
	uint64_t seen = 0;

	for (uint32_t b = 0; b < atomic_load(&rig->index.bucket_cnt); b++) {
		struct index_lock lock = index_lock_bucket(&rig->index, b);
		struct index_slot slot = { 0 };

		while (index_next_any(&rig->index, &lock, &slot)) {
			assert_true(rig->in[number_at(index_slot_loc(&slot))]);
			seen++;
		}
		index_unlock(&lock);
	}
	assert_int_equal(seen, rig->in_cnt);
	assert_int_equal(atomic_load(&rig->index.item_cnt), rig->in_cnt);
	for (uint32_t n = 0; n < PLACES; n++)
		check_one(rig, n);
}

static void index_random_changes_match_model(void **state)
{
	uint64_t ops = runopts_number("XC_TEST_OPS", OPS_DEFAULT);
	struct rig *rig = rig_new(64ULL << 20, runopts_seed());
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 1);
	for (uint64_t i = 0; i < ops; i++) {
		/* Waves: mostly in, then mostly out. */
		bool in = rand_below(&r, 100) < (i / (PLACES * 2) % 2 ? 30 : 70);
		uint32_t n = (uint32_t)rand_below(&r, PLACES);

		if (in && !rig->in[n])
			assert_int_equal(put(rig, n), 0);
		else if (!in && rig->in[n])
			take(rig, n);
		check_one(rig, (uint32_t)rand_below(&r, PLACES));
		if (i % 100000 == 0)
			check_all(rig);
	}
	check_all(rig);
	assert_true(atomic_load(&rig->index.bucket_cnt) > 256);
	for (uint32_t n = 0; n < PLACES; n++) {
		if (rig->in[n])
			take(rig, n);
	}
	check_all(rig);
	assert_int_equal(rig->index.overflow_used, rig->index.overflow_free_cnt);
	rig_free(rig);
}

static void index_slot_replaced_keeps_tag_and_count(void **state)
{
	struct rig *rig = rig_new(1U << 20, runopts_seed());
	struct index_lock lock;
	struct index_slot slot;

	(void)state;
	put(rig, 3);
	lock = index_lock(&rig->index, rig->hash[3]);
	assert_true(index_find_place(&rig->index, &lock, place_of(3), &slot));
	index_slot_set_use(&slot, 2);
	index_slot_replace(&slot, place_of(9));
	assert_true(index_find_place(&rig->index, &lock, place_of(9), &slot));
	assert_int_equal(index_slot_use(&slot), 2);
	assert_false(index_find_place(&rig->index, &lock, place_of(3), &slot));
	index_unlock(&lock);
	rig_free(rig);
}

/* All hashes end in the same bits: one chain of many overflow buckets. */
static void index_one_chain_grows_and_shrinks(void **state)
{
	struct rig *rig = rig_new(64ULL << 20, runopts_seed());
	uint32_t order[500], cnt = 500;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 2);
	for (uint32_t n = 0; n < cnt; n++) {
		rig->hash[n] = rig->hash[n] << 24 | 17;
		order[n] = n;
		assert_int_equal(put(rig, n), 0);
	}
	check_all(rig);
	/* 10 in the bucket itself, then 9 more with each link. */
	assert_int_equal(rig->index.overflow_used, (cnt - INDEX_SLOTS + 8) / 9);
	while (cnt > 0) {
		uint32_t at = (uint32_t)rand_below(&r, cnt);
		uint32_t links = cnt > INDEX_SLOTS ? (cnt - INDEX_SLOTS + 8) / 9 : 0;

		assert_int_equal(rig->index.overflow_used - rig->index.overflow_free_cnt, links);
		take(rig, order[at]);
		order[at] = order[--cnt];
		for (uint32_t i = 0; i < cnt; i++)
			check_one(rig, order[i]);
	}
	check_all(rig);
	rig_free(rig);
}

static void index_split_of_chain_keeps_all(void **state)
{
	struct rig *rig = rig_new(64ULL << 20, runopts_seed());

	(void)state;
	/* 1500 of them in one bucket of the first table: a chain of 167 links, divided in two. */
	for (uint32_t n = 0; n < 40000; n++) {
		if (n < 1500)
			rig->hash[n] &= ~0xffULL;
		assert_int_equal(put(rig, n), 0);
		if (n % 5000 == 0)
			check_all(rig);
	}
	check_all(rig);
	rig_free(rig);
}

static void index_at_cap_refuses_until_removal(void **state)
{
	struct rig *rig = rig_new(1, runopts_seed()); /* the smallest there is: 256 + 64 buckets */
	uint32_t n = 0, refused = 0;

	(void)state;
	for (; refused == 0 && n < PLACES; n++) {
		if (put(rig, n)) {
			refused = n;
			break;
		}
	}
	assert_true(refused > 256 * INDEX_SLOTS / 2);
	assert_int_equal(index_bytes(&rig->index), (256 + 64) * 64);
	check_all(rig);
	/* Whatever leaves the same bucket makes room. */
	for (n = 0; n < refused; n++) {
		if ((rig->hash[n] & 0xff) == (rig->hash[refused] & 0xff)) {
			take(rig, n);
			assert_int_equal(put(rig, refused), 0);
			break;
		}
	}
	assert_true(n < refused);
	check_all(rig);
	/* Emptied, it takes as much again. */
	for (n = 0; n <= refused; n++) {
		if (rig->in[n])
			take(rig, n);
	}
	assert_int_equal(rig->index.overflow_used, rig->index.overflow_free_cnt);
	for (n = 0; n < refused; n++)
		assert_int_equal(put(rig, n), 0);
	check_all(rig);
	rig_free(rig);
}

struct inserter {
	struct rig *rig;
	uint32_t from, to;
};

/* Made as large at once as it would have become. */
static void index_expected_items_find_it_grown(void **state)
{
	static const uint32_t cnts[] = { 0, 1, 1792, 1793, 20000, PLACES };

	(void)state;
	for (uint32_t i = 0; i < sizeof(cnts) / sizeof(cnts[0]); i++) {
		struct rig *grown = rig_new(16 << 20, runopts_seed());
		struct rig *rig = rig_new(16 << 20, runopts_seed());
		uint32_t bucket_cnt;

		index_expect(&rig->index, cnts[i]);
		bucket_cnt = rig->index.bucket_cnt;
		for (uint32_t n = 0; n < cnts[i]; n++) {
			assert_int_equal(put(grown, n), 0);
			assert_int_equal(put(rig, n), 0);
		}
		assert_int_equal(bucket_cnt, grown->index.bucket_cnt);
		assert_int_equal(bucket_cnt, rig->index.bucket_cnt);
		check_all(rig);
		/* It goes on from there. */
		for (uint32_t n = cnts[i]; n < PLACES; n++)
			assert_int_equal(put(rig, n), 0);
		check_all(rig);
		rig_free(grown);
		rig_free(rig);
	}
}

static void index_expected_items_beyond_its_cap_change_nothing(void **state)
{
	struct rig *rig = rig_new(1 << 20, runopts_seed());

	(void)state;
	index_expect(&rig->index, UINT64_MAX / 200);
	assert_int_equal(rig->index.bucket_cnt, rig->index.bucket_max);
	index_expect(&rig->index, 0);
	assert_int_equal(rig->index.bucket_cnt, rig->index.bucket_max);
	for (uint32_t n = 0; n < 10000; n++)
		assert_int_equal(put(rig, n), 0);
	check_all(rig);
	rig_free(rig);
}

static void *insert_range(void *arg)
{
	struct inserter *in = arg;

	for (uint32_t n = in->from; n < in->to; n++) {
		struct index_lock lock = index_lock(&in->rig->index, in->rig->hash[n]);
		int err =
			index_insert(&in->rig->index, &lock, place_of(n), n % (INDEX_USE_MAX + 1));

		index_unlock(&lock);
		if (err)
			return in;
		in->rig->in[n] = true;
		if (index_wants_growth(&in->rig->index))
			index_grow(&in->rig->index, hash_of, in->rig);
	}
	return NULL;
}

static void index_growth_under_threads_loses_nothing(void **state)
{
	struct rig *rig = rig_new(64ULL << 20, runopts_seed());
	struct inserter in[3];
	pthread_t thread[3];

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		in[i] = (struct inserter){ .rig = rig,
					   .from = i * (PLACES / 3),
					   .to = (i + 1) * (PLACES / 3) };
		assert_int_equal(pthread_create(&thread[i], NULL, insert_range, &in[i]), 0);
	}
	for (uint32_t i = 0; i < 3; i++) {
		void *failed;

		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	for (uint32_t n = 0; n < PLACES; n++)
		rig->in_cnt += rig->in[n];
	check_all(rig);
	rig_free(rig);
}

/* Nearly always right, or a batch would wait for each item after all; never from outside. */
static void index_guess_names_the_item(void **state)
{
	struct rig *rig = rig_new(16 << 20, runopts_seed());
	uint32_t right = 0;

	(void)state;
	assert_int_equal(index_guess(&rig->index, rig->hash[0]), 0);
	for (uint32_t n = 0; n < PLACES; n++)
		assert_int_equal(put(rig, n), 0);
	for (uint32_t n = 0; n < PLACES; n++) {
		uint64_t loc = index_guess(&rig->index, rig->hash[n]);

		assert_true(loc == 0 || number_at(loc) < PLACES);
		right += loc == place_of(n);
	}
	assert_in_range(right, PLACES / 100 * 90, PLACES);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index_random_changes_match_model),
		cmocka_unit_test(index_slot_replaced_keeps_tag_and_count),
		cmocka_unit_test(index_one_chain_grows_and_shrinks),
		cmocka_unit_test(index_split_of_chain_keeps_all),
		cmocka_unit_test(index_at_cap_refuses_until_removal),
		cmocka_unit_test(index_expected_items_find_it_grown),
		cmocka_unit_test(index_expected_items_beyond_its_cap_change_nothing),
		cmocka_unit_test(index_growth_under_threads_loses_nothing),
		cmocka_unit_test(index_guess_names_the_item),
	};

	return cmocka_run_group_tests_name("store_index", tests, NULL, NULL);
}
