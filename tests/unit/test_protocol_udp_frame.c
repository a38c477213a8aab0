/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frame headers are read and written as doc/protocol.txt says, and every reply up to the bound is
 * numbered without a gap. Method: datagrams cut at every byte, right-aligned to an unmapped page.
 */
#include "protocol/udp_frame.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/guard_page.h"

static const uint8_t request[] = {
	0x12, 0x34, 0, 0, 0, 1, 0, 0, 'g', 'e', 't', ' ', 'a', '\r', '\n'
};
static struct guard_page guard;

static void udp_frame_parse_request_gives_id_and_body(void **state)
{
	struct udp_frame frame;
	struct span body;

	(void)state;
	assert_int_equal(
		udp_frame_parse(guard_page_put(&guard, request, sizeof(request)), &frame, &body),
		0);
	assert_int_equal(frame.request_id, 0x1234);
	assert_int_equal(frame.seq, 0);
	assert_int_equal(frame.total, 1);
	assert_int_equal(body.len, 7);
	assert_memory_equal(body.ptr, "get a\r\n", 7);
}

static void udp_frame_parse_cut_short_is_bad_message(void **state)
{
	struct udp_frame frame = { .request_id = 99 };
	struct span body;

	(void)state;
	for (size_t len = 0; len <= UDP_FRAME_LEN; len++)
		assert_int_equal(
			udp_frame_parse(guard_page_put(&guard, request, len), &frame, &body),
			-EBADMSG);
	assert_int_equal(frame.request_id, 99);
	assert_int_equal(
		udp_frame_parse(guard_page_put(&guard, request, UDP_FRAME_LEN + 1), &frame, &body),
		0);
	assert_int_equal(body.len, 1);
}

static void udp_frame_parse_part_of_many_is_not_supported(void **state)
{
	uint8_t bytes[sizeof(request)];
	struct udp_frame frame;
	struct span body;

	(void)state;
	memcpy(bytes, request, sizeof(bytes));
	bytes[3] = 2;
	bytes[5] = 3;
	assert_int_equal(
		udp_frame_parse(guard_page_put(&guard, bytes, sizeof(bytes)), &frame, &body),
		-ENOTSUP);
	assert_int_equal(frame.seq, 2);
	assert_int_equal(frame.total, 3);
	assert_int_equal(frame.request_id, 0x1234);
	/* no datagram at all, and 257 of them: both bytes of the count matter */
	bytes[5] = 0;
	assert_int_equal(
		udp_frame_parse(guard_page_put(&guard, bytes, sizeof(bytes)), &frame, &body),
		-ENOTSUP);
	bytes[4] = 1;
	bytes[5] = 1;
	assert_int_equal(
		udp_frame_parse(guard_page_put(&guard, bytes, sizeof(bytes)), &frame, &body),
		-ENOTSUP);
}

static void udp_frame_put_is_network_order(void **state)
{
	const struct udp_frame frame = { .request_id = 0x1234, .seq = 0x0102, .total = 0x0304 };
	static const uint8_t want[] = { 0x12, 0x34, 1, 2, 3, 4, 0, 0 };
	uint8_t got[UDP_FRAME_LEN];

	(void)state;
	udp_frame_put(got, &frame);
	assert_memory_equal(got, want, sizeof(want));
}

static void udp_frame_total_covers_every_byte(void **state)
{
	const uint32_t room = UDP_SPLIT_MAX - (uint32_t)UDP_FRAME_LEN;

	(void)state;
	for (uint64_t len = 1; len <= UDP_REPLY_MAX; len += len < 5000 ? 1 : 997) {
		uint64_t total = udp_frame_total(len, UDP_SPLIT_MAX);

		assert_true(total * room >= len && (total - 1) * room < len);
	}
	assert_int_equal(udp_frame_total(room, UDP_SPLIT_MAX), 1);
	assert_int_equal(udp_frame_total(room + 1, UDP_SPLIT_MAX), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_frame_parse_request_gives_id_and_body),
		cmocka_unit_test(udp_frame_parse_cut_short_is_bad_message),
		cmocka_unit_test(udp_frame_parse_part_of_many_is_not_supported),
		cmocka_unit_test(udp_frame_put_is_network_order),
		cmocka_unit_test(udp_frame_total_covers_every_byte),
	};

	guard_page_init(&guard, 4096);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
