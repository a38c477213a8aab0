/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: csum_of is the Internet checksum's sum (RFC 1071), whatever length and alignment, and
 * parts summed apart join to the sum of the whole, swapped where a part begins at an odd byte.
 * Method: random bytes at every length up to 300 and every alignment, against a sum made byte by
 * byte; the RFC's own example. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/csum.h"
#include "base/rand.h"
#include "lib/runopts.h"

#define LEN_MAX 300

/* Big-endian words by hand, as the RFC writes them; then back to memory order. */
static uint16_t sum_bytewise(const uint8_t *bytes, size_t len)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint64_t)bytes[i] << 8;
	while (sum > 0xffff)
		sum = sum % 0x10000 + sum / 0x10000;
	return (uint16_t)(sum << 8 | sum >> 8);
}

static void fill(struct rand *r, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rand_next(r);
}

static void csum_of_every_length_equals_bytewise(void **state)
{
	struct rand r;
	/* A heap block that ends with the bytes, so that one byte too many is caught. */
	uint8_t *block;

	(void)state;
	rand_init(&r, runopts_seed());
	for (size_t len = 0; len <= LEN_MAX; len++) {
		for (size_t skip = 0; skip < 8; skip++) {
			block = malloc(len + skip ? len + skip : 1);
			assert_non_null(block);
			fill(&r, block, len + skip);
			assert_int_equal(csum_of(block + skip, len),
					 sum_bytewise(block + skip, len));
			free(block);
		}
	}
}

static void csum_of_all_ones_stays_all_ones(void **state)
{
	uint8_t ones[LEN_MAX];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	for (size_t len = 2; len <= LEN_MAX; len += 2)
		assert_int_equal(csum_of(ones, len), 0xffff);
	assert_int_equal(csum_of(ones, 0), 0);
}

static void csum_of_rfc1071_example_matches(void **state)
{
	static const uint8_t example[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	static const uint8_t sum[] = { 0xdd, 0xf2 };
	uint16_t got = csum_of(example, sizeof(example));

	(void)state;
	assert_memory_equal(&got, sum, 2);
}

static void csum_fold_carries_are_added_back(void **state)
{
	(void)state;
	assert_int_equal(csum_fold(0), 0);
	assert_int_equal(csum_fold(0xffff), 0xffff);
	assert_int_equal(csum_fold(0x10000), 1);
	assert_int_equal(csum_fold(0x1ffff), 1);
	assert_int_equal(csum_fold(0x1fffe), 0xffff);
	assert_int_equal(csum_fold(UINT64_MAX), 0xffff);
}

/* Equal as one's complement numbers: 0 and 0xffff are both nothing. */
static void assert_same_sum(uint16_t a, uint16_t b)
{
	assert_int_equal(a % 0xffff, b % 0xffff);
}

static void csum_swap_odd_part_joins(void **state)
{
	uint8_t bytes[LEN_MAX];
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 1);
	for (int round = 0; round < 2000; round++) {
		size_t len = rand_below(&r, LEN_MAX + 1);
		size_t cut = rand_below(&r, len + 1);
		uint16_t tail;

		fill(&r, bytes, len);
		tail = csum_of(bytes + cut, len - cut);
		if (cut % 2)
			tail = csum_swap(tail);
		assert_same_sum(csum_fold((uint64_t)csum_of(bytes, cut) + tail),
				csum_of(bytes, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(csum_of_every_length_equals_bytewise),
		cmocka_unit_test(csum_of_all_ones_stays_all_ones),
		cmocka_unit_test(csum_of_rfc1071_example_matches),
		cmocka_unit_test(csum_fold_carries_are_added_back),
		cmocka_unit_test(csum_swap_odd_part_joins),
	};

	return cmocka_run_group_tests_name("base/csum", tests, NULL, NULL);
}
