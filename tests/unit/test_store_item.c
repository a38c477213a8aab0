/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: every combination of optional fields reads back what was written; an item's check
 * notices any flipped bit of its options, key, value, lengths and shape; expiry rounds up, never
 * by more than a tenth of a second.
 * Method: items built by hand at the end of an exact allocation, so that a byte read too far is a
 * sanitizer error; all bits flipped in turn. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/rand.h"
#include "lib/runopts.h"
#include "store/item.h"

#define EXPIRE_DS 0x01020304U
#define FLAGS 0xa1b2c3d4U
#define CAS 0x1122334455667788ULL

/* An item of exactly its own bytes, sealed. */
static struct item_header *build(const struct item_shape *shape, struct rand *r)
{
	uint32_t bytes = item_shape_bytes(shape);
	struct item_header *item = aligned_alloc(ITEM_ALIGN, bytes);
	const uint32_t expire_ds = EXPIRE_DS, flags = FLAGS;
	const uint64_t cas = CAS;
	uint8_t *pos;

	assert_non_null(item);
	atomic_store(&item->word0, shape->bits | shape->value_len | ITEM_COMMITTED);
	item->word1 = shape->key_len;
	pos = item_options(item);
	if (shape->bits & ITEM_HAS_EXPIRE)
		memcpy(pos, &expire_ds, 4), pos += 4;
	if (shape->bits & ITEM_HAS_FLAGS)
		memcpy(pos, &flags, 4), pos += 4;
	if (shape->bits & ITEM_HAS_CAS)
		memcpy(pos, &cas, 8), pos += 8;
	for (uint32_t i = 0; i < shape->key_len + shape->value_len; i++)
		*pos++ = (uint8_t)rand_next(r);
	item->word1 |= item_check(item) << 8;
	return item;
}

static bool check_holds(struct item_header *item)
{
	return item->word1 >> 8 == item_check(item);
}

static void item_every_shape_reads_back(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (uint32_t combination = 0; combination < 8; combination++) {
		for (uint32_t len = 0; len < 9; len++) {
			struct item_shape shape = {
				.bits = combination * ITEM_HAS_EXPIRE,
				.key_len = (uint8_t)(1 + rand_below(&r, XC_KEY_MAX)),
				.value_len = len,
			};
			struct item_header *item = build(&shape, &r);
			struct item_shape seen = item_shape(item);

			assert_int_equal(item_bytes(item), item_shape_bytes(&shape));
			assert_int_equal(item_bytes(item) % ITEM_ALIGN, 0);
			assert_int_equal(seen.key_len, shape.key_len);
			assert_int_equal(seen.value_len, len);
			assert_int_equal(item_expire_ds(item),
					 shape.bits & ITEM_HAS_EXPIRE ? EXPIRE_DS : 0);
			assert_int_equal(item_flags(item), shape.bits & ITEM_HAS_FLAGS ? FLAGS : 0);
			assert_int_equal(item_cas(item), shape.bits & ITEM_HAS_CAS ? CAS : 0);
			assert_ptr_equal(item_value(item), item_key(item) + shape.key_len);
			assert_true(item_value(item) + len <= (uint8_t *)item + item_bytes(item));
			assert_true(check_holds(item));
			free(item);
		}
	}
}

static void item_plain_takes_twelve_bytes(void **state)
{
	struct item_shape shape = { .key_len = 20, .value_len = 100 };

	(void)state;
	assert_int_equal(item_shape_bytes(&shape), 12 + 20 + 100);
	shape.bits = ITEM_HAS_EXPIRE;
	assert_int_equal(item_shape_bytes(&shape), 16 + 20 + 100);
}

/* 24 bits of check miss one flip in 16 million: of a few thousand, at most one may be missed. */
#define MISS_MAX 1U

static void item_check_any_body_bit_flipped_fails(void **state)
{
	uint32_t missed = 0;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 1);
	for (uint32_t combination = 0; combination < 8; combination++) {
		struct item_shape shape = { .bits = combination * ITEM_HAS_EXPIRE,
					    .key_len = 7,
					    .value_len = 30 };
		struct item_header *item = build(&shape, &r);
		uint32_t body = item_options_len(shape.bits) + shape.key_len + shape.value_len;

		for (uint32_t bit = 0; bit < body * 8; bit++) {
			item_options(item)[bit / 8] ^= (uint8_t)(1U << bit % 8);
			missed += check_holds(item);
			item_options(item)[bit / 8] ^= (uint8_t)(1U << bit % 8);
		}
		assert_true(check_holds(item));
		free(item);
	}
	assert_true(missed <= MISS_MAX);
}

/* Room behind the item, as in a segment: a header that lies makes the check read on. */
static void item_check_any_header_bit_flipped_fails(void **state)
{
	const uint32_t judged = ITEM_VALUE_MAX | ITEM_SHAPE_BITS;
	struct item_shape shape = { .bits = ITEM_HAS_FLAGS, .key_len = 9, .value_len = 40 };
	struct item_header *item, *wide;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 2);
	item = build(&shape, &r);
	wide = calloc(1, 2 * ITEM_VALUE_MAX);
	assert_non_null(wide);
	memcpy(wide, item, item_bytes(item));
	for (uint32_t bit = 0; bit < 32; bit++) {
		if (!(judged & 1U << bit))
			continue;
		atomic_fetch_xor(&wide->word0, 1U << bit);
		assert_false(check_holds(wide));
		atomic_fetch_xor(&wide->word0, 1U << bit);
	}
	for (uint32_t bit = 0; bit < 32; bit++) {
		wide->word1 ^= 1U << bit;
		assert_false(check_holds(wide));
		wide->word1 ^= 1U << bit;
	}
	assert_true(check_holds(wide));
	free(wide);
	free(item);
}

static void item_dead_one_bit_flipped_stays_dead(void **state)
{
	(void)state;
	assert_int_equal(__builtin_popcount(ITEM_DEAD), 2);
	for (uint32_t bit = 0; bit < 32; bit++)
		assert_int_not_equal((ITEM_DEAD ^ 1U << bit) & ITEM_DEAD, 0);
}

static void item_expiry_rounds_up_within_a_tenth(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() ^ 3);
	assert_int_equal(item_ds_from_ns(0), 0);
	assert_int_equal(item_ds_from_ns(1), 1);
	assert_int_equal(item_ds_from_ns(ITEM_DS_NS), 1);
	assert_int_equal(item_ds_from_ns(ITEM_DS_NS + 1), 2);
	for (int i = 0; i < 10000; i++) {
		uint64_t ns = 1 + rand_below(&r, UINT32_MAX * ITEM_DS_NS);
		uint64_t seen = item_ns_from_ds(item_ds_from_ns(ns));

		assert_true(seen >= ns && seen - ns < ITEM_DS_NS);
	}
	/* What does not fit lives for ever rather than not at all. */
	assert_int_equal(item_ds_from_ns(UINT32_MAX * ITEM_DS_NS + 1), 0);
	assert_int_equal(item_ds_from_ns(UINT64_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(item_every_shape_reads_back),
		cmocka_unit_test(item_plain_takes_twelve_bytes),
		cmocka_unit_test(item_check_any_body_bit_flipped_fails),
		cmocka_unit_test(item_check_any_header_bit_flipped_fails),
		cmocka_unit_test(item_dead_one_bit_flipped_stays_dead),
		cmocka_unit_test(item_expiry_rounds_up_within_a_tenth),
	};

	return cmocka_run_group_tests_name("store_item", tests, NULL, NULL);
}
