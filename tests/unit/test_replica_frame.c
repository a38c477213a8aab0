/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: what is composed is parsed back; a frame that is not all there yet asks for more,
 * never reads behind what is there; any changed byte is refused, as are other versions and sizes;
 * entries come out of a body as they went in, and a body that is cut is noticed. Method: frames at
 * the end of a mapped page, every split point, every single-byte change; seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "lib/guard_page.h"
#include "lib/runopts.h"
#include "replica/frame.h"

#define FRAME_ROOM (FRAME_HEADER_LEN + 300)

static struct frame random_frame(struct rand *r, uint8_t *body, size_t len)
{
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)rand_next(r);
	return (struct frame){
		.type = (enum frame_type)(1 + rand_below(r, FRAME_TYPE_END - 1)),
		.flags = (uint16_t)rand_below(r, FRAME_FLAGS + 1),
		.arc = (uint32_t)rand_next(r),
		.epoch = rand_next(r),
		.at = { .epoch = rand_next(r), .seq = rand_next(r) },
		.commit = rand_next(r),
		.end = rand_next(r),
		.cursor = rand_next(r),
		.body = span_of(body, len),
	};
}

static size_t bytes_of(const struct frame *frame, uint8_t ret[FRAME_ROOM])
{
	frame_compose(frame, ret);
	memcpy(ret + FRAME_HEADER_LEN, frame->body.ptr, frame->body.len);
	return FRAME_HEADER_LEN + frame->body.len;
}

static void expect_equal(const struct frame *a, const struct frame *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->arc, b->arc);
	assert_true(a->epoch == b->epoch && position_equal(a->at, b->at));
	assert_true(a->commit == b->commit && a->end == b->end && a->cursor == b->cursor);
	assert_true(span_equal(a->body, b->body));
}

static void frame_parse_composed_comes_back_at_every_split(void **state)
{
	uint8_t body[300], bytes[FRAME_ROOM];
	struct guard_page guard;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	guard_page_init(&guard, FRAME_ROOM);
	for (int i = 0; i < 60; i++) {
		struct frame frame = random_frame(&r, body, i == 0 ? 0 : rand_below(&r, 300));
		size_t len = bytes_of(&frame, bytes);
		struct frame read = { .arc = 77 };

		for (size_t part = 0; part < len; part++) {
			struct span in = guard_page_put(&guard, bytes, part);

			assert_int_equal(frame_parse(in, &read), -EAGAIN);
			assert_int_equal(read.arc, 77);
		}
		assert_int_equal(frame_parse(guard_page_put(&guard, bytes, len), &read), len);
		expect_equal(&frame, &read);
	}
	guard_page_fini(&guard);
}

static void frame_parse_changed_byte_is_refused(void **state)
{
	uint8_t body[300], bytes[FRAME_ROOM];
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (int i = 0; i < 40; i++) {
		struct frame frame = random_frame(&r, body, rand_below(&r, 300)), read;
		size_t len = bytes_of(&frame, bytes);

		for (size_t at = 0; at < len; at++) {
			uint8_t change = (uint8_t)(1 + rand_below(&r, 255));
			ssize_t got;

			bytes[at] ^= change;
			got = frame_parse(span_of(bytes, len), &read);
			/* a longer body is waited for; it is refused when it is there */
			assert_true(got == -EBADMSG || got == -EPROTO || got == -EMSGSIZE ||
				    (got == -EAGAIN && at >= 8 && at < 12));
			bytes[at] ^= change;
		}
	}
}

static void frame_parse_bounds_are_refused_before_the_body_comes(void **state)
{
	uint8_t bytes[FRAME_HEADER_LEN];
	struct frame frame = { .type = FRAME_PULL }, read;

	(void)state;
	frame_compose(&frame, bytes);
	bytes[4] = FRAME_VERSION + 1;
	assert_int_equal(frame_parse(span_of(bytes, 5), &read), -EPROTO);
	frame_compose(&frame, bytes);
	bytes[5] = FRAME_TYPE_END;
	assert_int_equal(frame_parse(span_of(bytes, 6), &read), -EBADMSG);
	frame_compose(&frame, bytes);
	bytes[8 + 2] = FRAME_BODY_MAX >> 16;
	assert_int_equal(frame_parse(span_of(bytes, 12), &read), -EAGAIN);
	bytes[8] = 1;
	assert_int_equal(frame_parse(span_of(bytes, 12), &read), -EMSGSIZE);
	assert_int_equal(frame_parse(span_str("GET / HTTP"), &read), -EBADMSG);
}

static void frame_take_entry_gives_what_was_added(void **state)
{
	uint8_t body[4096], record[200];
	uint64_t epochs[64];
	size_t lens[64], len = 0;
	int cnt = 0;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	memset(record, 0xa5, sizeof(record));
	do {
		epochs[cnt] = rand_next(&r);
		lens[cnt] = rand_below(&r, sizeof(record));
	} while (frame_add_entry(body, sizeof(body), &len, epochs[cnt],
				 span_of(record, lens[cnt])) &&
		 ++cnt < 64);
	assert_true(cnt > 15 && len <= sizeof(body));
	for (size_t cut = 0; cut <= len; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);
		struct span rest = span_of(memcpy(copy, body, cut), cut), got;
		uint64_t epoch;
		int i = 0, rc;

		while ((rc = frame_take_entry(&rest, &epoch, &got)) == 1) {
			assert_true(epoch == epochs[i] && got.len == lens[i]);
			assert_memory_equal(got.ptr, record, got.len);
			i++;
		}
		assert_true(rc == (rest.len ? -EBADMSG : 0));
		assert_true(cut < len || (rc == 0 && i == cnt));
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame_parse_composed_comes_back_at_every_split),
		cmocka_unit_test(frame_parse_changed_byte_is_refused),
		cmocka_unit_test(frame_parse_bounds_are_refused_before_the_body_comes),
		cmocka_unit_test(frame_take_entry_gives_what_was_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
