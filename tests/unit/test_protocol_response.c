/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reply is the bytes given to it, in order, whatever their sizes; detaching it from what it
 * borrowed changes nothing but whose bytes they are; without memory it fails and says so. Method:
 * random runs against a flat copy; allocations refused one by one.
 */
#include "protocol/response.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rand.h"

#define FLAT_MAX (4U << 20)

static uint8_t flat[FLAT_MAX];
static uint8_t lent[FLAT_MAX];

static size_t gather(const struct response *resp, uint8_t *to)
{
	size_t len = 0;

	for (uint32_t i = 0; i < resp->iov_cnt; i++) {
		memcpy(to + len, resp->iov[i].iov_base, resp->iov[i].iov_len);
		len += resp->iov[i].iov_len;
	}
	assert_int_equal(len, resp->bytes);
	return len;
}

static void assert_is(const struct response *resp, const uint8_t *want, size_t len)
{
	uint8_t *got = malloc(FLAT_MAX);

	assert_int_equal(gather(resp, got), len);
	assert_memory_equal(got, want, len);
	free(got);
}

/* Random runs, put and lent, into resp and flat; returns how many bytes. */
static size_t fill(struct response *resp, struct rand *r)
{
	size_t len = 0, lent_len = 0;

	while (len < FLAT_MAX / 4) {
		uint32_t n =
			(uint32_t)(rand_below(r, 2) ? rand_below(r, 100) : rand_below(r, 20000));

		for (uint32_t i = 0; i < n; i++)
			flat[len + i] = (uint8_t)rand_next(r);
		if (rand_below(r, 2)) {
			response_put(resp, flat + len, n);
		} else {
			memcpy(lent + lent_len, flat + len, n);
			response_lend(resp, span_of(lent + lent_len, n));
			lent_len += n + 1;
		}
		len += n;
	}
	return len;
}

static void response_random_runs_come_out_in_order(void **state)
{
	const char *text = getenv("XC_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 7;
	struct response resp;
	struct rand r;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	rand_init(&r, seed);
	assert_int_equal(response_init(&resp, 4096, 1000), 0);
	for (uint32_t i = 0; i < 20; i++) {
		size_t len = fill(&resp, &r);

		assert_true(resp.borrows);
		assert_true(response_full(&resp));
		for (uint32_t run = 0; run < resp.iov_cnt; run++) {
			const uint8_t *at = resp.iov[run].iov_base;

			assert_int_equal(response_lends(&resp, run),
					 at >= lent && at < lent + sizeof(lent));
		}
		assert_is(&resp, flat, len);
		assert_true(response_detach(&resp));
		assert_false(resp.borrows);
		assert_false(response_lends(&resp, 0));
		memset(lent, 0xee, sizeof(lent));
		assert_is(&resp, flat, len);
		response_put(&resp, "more", 4);
		memcpy(flat + len, "more", 4);
		assert_is(&resp, flat, len + 4);
		response_reset(&resp);
		assert_int_equal(resp.bytes, 0);
		assert_false(response_full(&resp));
	}
	response_fini(&resp);
}

static void response_truncate_any_length_keeps_the_front(void **state)
{
	struct response resp;
	struct rand r;

	(void)state;
	rand_init(&r, 3);
	assert_int_equal(response_init(&resp, 4096, 1000), 0);
	for (uint32_t i = 0; i < 20; i++) {
		size_t len = fill(&resp, &r);
		size_t cut = rand_below(&r, len + 1);

		response_truncate(&resp, cut);
		assert_is(&resp, flat, cut);
		response_put(&resp, "tail", 4);
		memcpy(flat + cut, "tail", 4);
		assert_is(&resp, flat, cut + 4);
		response_reset(&resp);
	}
	response_fini(&resp);
}

static void response_text_up_to_the_arena_takes_no_memory(void **state)
{
	struct response resp;

	(void)state;
	assert_int_equal(response_init(&resp, 4096, 10000), 0);
	for (uint32_t i = 0; i < 4096; i++)
		response_put(&resp, "x", 1);
	assert_int_equal(resp.iov_cnt, 1);
	assert_null(resp.blocks);
	response_put(&resp, "x", 1);
	assert_non_null(resp.blocks);
	assert_int_equal(resp.bytes, 4097);
	response_fini(&resp);
}

static uint32_t refuse_from;
static uint32_t asked;

static bool refuse(size_t bytes)
{
	(void)bytes;
	return asked++ >= refuse_from;
}

static void response_without_memory_fails_and_recovers(void **state)
{
	struct response resp;
	struct rand r;

	(void)state;
	alloc_refuse = refuse;
	refuse_from = 0;
	asked = 0;
	assert_int_equal(response_init(&resp, 4096, 1000), -ENOMEM);
	refuse_from = 1;
	asked = 0;
	assert_int_equal(response_init(&resp, 4096, 1000), -ENOMEM);
	alloc_refuse = NULL;
	assert_int_equal(response_init(&resp, 4096, 1000), 0);
	for (refuse_from = 0; refuse_from < 6; refuse_from++) {
		rand_init(&r, 5);
		asked = 0;
		alloc_refuse = refuse;
		fill(&resp, &r);
		alloc_refuse = NULL;
		assert_true(resp.failed);
		assert_true(response_full(&resp));
		response_reset(&resp);
		assert_false(resp.failed);
	}
	response_lend(&resp, span_of(lent, RESPONSE_COPY_MAX + 1));
	refuse_from = 0;
	alloc_refuse = refuse;
	assert_false(response_detach(&resp));
	alloc_refuse = NULL;
	assert_true(resp.failed);
	response_fini(&resp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(response_random_runs_come_out_in_order),
		cmocka_unit_test(response_truncate_any_length_keeps_the_front),
		cmocka_unit_test(response_text_up_to_the_arena_takes_no_memory),
		cmocka_unit_test(response_without_memory_fails_and_recovers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
