/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mg with the flags that the kernel answers, in every order: byte for byte what the protocol's text
 * says, or passed on as it came.
 *
 * Method: BPF_PROG_TEST_RUN; replies are put together here. Time stands still, so that t has one
 * right answer. The random part prints its seed; XC_TEST_SEED=N repeats one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "bpf/batch_rig.h"

#define COUNT_DEFAULT 20000
#define NSEC_PER_SEC 1000000000ULL
#define LATE_NS (NSEC_PER_SEC / 10)

/* An mg in the making, and its reply's first line behind the "VA n" or "HD". */
struct ask {
	struct pktgen_request request;
	uint8_t text[PKTGEN_MAX];
	size_t len;
	char reply[PKTGEN_MAX];
	size_t reply_len;
	bool value;
	uint32_t which;
};

static const struct rig_item *item_of(const struct ask *ask)
{
	return &items[ask->which].item;
}

static void put(struct ask *ask, const void *bytes, size_t len)
{
	memcpy(ask->text + ask->len, bytes, len);
	ask->len += len;
}

static void begin(struct ask *ask, uint32_t which)
{
	ask->which = which;
	ask->len = ask->reply_len = 0;
	ask->value = false;
	put(ask, "mg ", 3);
	put(ask, items[which].item.key.ptr, items[which].item.key.len);
}

static void answer(struct ask *ask, char letter, const void *bytes, size_t len)
{
	ask->reply[ask->reply_len++] = ' ';
	ask->reply[ask->reply_len++] = letter;
	memcpy(ask->reply + ask->reply_len, bytes, len);
	ask->reply_len += len;
}

static void answer_number(struct ask *ask, char letter, int64_t number, bool is_signed)
{
	char digits[32];
	int len = is_signed ? sprintf(digits, "%lld", (long long)number)
			    : sprintf(digits, "%llu", (unsigned long long)number);

	answer(ask, letter, digits, (size_t)len);
}

/* Whole seconds left, rounded up, less what an item may live too long; -1: for ever. */
static int64_t ttl_of(const struct ask *ask)
{
	uint64_t end_ns = rig.entries[items[ask->which].idx].expire_ns;
	int64_t left_ns = (int64_t)(end_ns - RIG_NOW_NS - LATE_NS);

	if (end_ns == 0)
		return -1;
	return left_ns <= 0 ? 0 : (int64_t)((left_ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
}

static void add(struct ask *ask, char letter, const char *opaque)
{
	const struct rig_item *item = item_of(ask);

	put(ask, (char[2]){ ' ', letter }, 2);
	switch (letter) {
	case 'v':
		ask->value = true;
		break;
	case 'f':
		answer_number(ask, 'f', item->flags, false);
		break;
	case 's':
		answer_number(ask, 's', (int64_t)item->value.len, false);
		break;
	case 'c':
		answer_number(ask, 'c', (int64_t)item->cas, false);
		break;
	case 't':
		answer_number(ask, 't', ttl_of(ask), true);
		break;
	case 'k':
		answer(ask, 'k', item->key.ptr, item->key.len);
		break;
	case 'O':
		put(ask, opaque, strlen(opaque));
		answer(ask, 'O', opaque, strlen(opaque));
		break;
	}
}

/* Returns the reply's length. */
static size_t end(struct ask *ask, uint8_t ret[PKTGEN_MAX])
{
	const struct rig_item *item = item_of(ask);
	size_t len = ask->value ? (size_t)sprintf((char *)ret, "VA %zu", item->value.len)
				: (size_t)sprintf((char *)ret, "HD");

	put(ask, "\r\n", 2);
	ask->request.text = span_of(ask->text, ask->len);
	memcpy(ret + len, ask->reply, ask->reply_len);
	len += ask->reply_len;
	memcpy(ret + len, "\r\n", 2);
	len += 2;
	if (!ask->value)
		return len;
	memcpy(ret + len, item->value.ptr, item->value.len);
	len += item->value.len;
	memcpy(ret + len, "\r\n", 2);
	return len + 2;
}

static void meta_every_item_with_and_without_flags(void **state)
{
	static struct ask ask;
	uint8_t want[PKTGEN_MAX];

	(void)state;
	for (uint32_t i = 0; i < ITEMS * 4; i++) {
		begin(&ask, i / 4);
		expect_reply(&ask.request, i & 2, span_of(want, end(&ask, want)), 1);
		begin(&ask, i / 4);
		add(&ask, 'v', NULL);
		ask.request.ip6 = i & 1;
		expect_reply(&ask.request, i & 2, span_of(want, end(&ask, want)), 1);
		begin(&ask, i / 4);
		for (const char *flag = "ksvfOqct"; *flag; flag++)
			add(&ask, *flag, "opaque-7");
		expect_reply(&ask.request, i & 2, span_of(want, end(&ask, want)), 1);
	}
}

static void meta_ttl_is_the_daemon_s(void **state)
{
	static const struct {
		uint64_t left_ns; /* until the entry is not served any more */
		const char *text;
	} rows[] = {
		{ 1, "HD t0\r\n" },
		{ LATE_NS, "HD t0\r\n" },
		{ LATE_NS + 1, "HD t1\r\n" },
		{ LATE_NS + NSEC_PER_SEC, "HD t1\r\n" },
		{ LATE_NS + NSEC_PER_SEC + 1, "HD t2\r\n" },
		{ LATE_NS + 2592000 * NSEC_PER_SEC, "HD t2592000\r\n" },
		{ LATE_NS + 9999999999 * NSEC_PER_SEC, "HD t9999999999\r\n" },
	};
	static struct ask ask;
	struct xc_entry *entry = &rig.entries[items[9].idx];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		entry->expire_ns = RIG_NOW_NS + rows[i].left_ns;
		begin(&ask, 9);
		put(&ask, " t\r\n", 4);
		ask.request.text = span_of(ask.text, ask.len);
		expect_reply(&ask.request, false, span_str(rows[i].text), 1);
	}
	entry->expire_ns = 0;
}

static void meta_opaque_of_each_length_is_echoed(void **state)
{
	static struct ask ask;
	uint8_t want[PKTGEN_MAX];
	char opaque[40] = "";

	(void)state;
	for (size_t len = 1; len <= 32; len++) {
		memset(opaque, 'A' + (int)len, len);
		opaque[len] = '\0';
		begin(&ask, 11);
		add(&ask, 'O', opaque);
		add(&ask, 'v', NULL);
		expect_reply(&ask.request, false, span_of(want, end(&ask, want)), 1);
	}
	memset(opaque, 'x', 33);
	opaque[33] = '\0';
	begin(&ask, 11);
	add(&ask, 'O', opaque);
	end(&ask, want);
	expect_pass(&ask.request, false, XC_pass_meta);
}

/* Behind a resident key: what the daemon must say. */
static void meta_what_the_kernel_does_not_answer_passes(void **state)
{
	static const struct {
		const char *text;
		enum xc_outcome outcome;
	} rows[] = {
		{ " b\r\n", XC_pass_meta },	{ " h\r\n", XC_pass_meta },
		{ " l\r\n", XC_pass_meta },	{ " N30\r\n", XC_pass_meta },
		{ " R30\r\n", XC_pass_meta },	{ " T30\r\n", XC_pass_meta },
		{ " E5\r\n", XC_pass_meta },	{ " v v\r\n", XC_pass_meta },
		{ " vv\r\n", XC_pass_meta },	{ " O\r\n", XC_pass_meta },
		{ " Oa Ob\r\n", XC_pass_meta }, { " v  f\r\n", XC_pass_meta },
		{ " \r\n", XC_pass_meta },	{ " v \r\n", XC_pass_meta },
		{ " V\r\n", XC_pass_meta },	{ " \xf6\r\n", XC_pass_meta },
		{ " 6\r\n", XC_pass_meta },	{ " v f s t k c q Oa v\r\n", XC_pass_meta },
		{ "\tv\r\n", XC_pass_meta },	{ " v\r\nmn\r\n", XC_pass_meta },
		{ " v\n", XC_pass_line },	{ " v", XC_pass_line },
		{ "x\r\n", XC_pass_miss },
	};
	static struct ask ask;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(&ask, 13);
		put(&ask, rows[i].text, strlen(rows[i].text));
		ask.request.text = span_of(ask.text, ask.len);
		expect_pass(&ask.request, false, rows[i].outcome);
	}
	ask.request.text = span_str("mg \r\n");
	expect_pass(&ask.request, false, XC_NEXT);
	ask.request.text = span_str("mg  v\r\n");
	expect_pass(&ask.request, false, XC_pass_key_len);
}

static void meta_random_requests_are_right(void **state)
{
	uint64_t count = env_number("XC_TEST_COUNT", COUNT_DEFAULT), answered = 0;
	static struct ask ask;
	uint8_t want[PKTGEN_MAX];
	struct rand r;

	(void)state;
	seed_rand(&r);
	for (uint64_t n = 0; n < count; n++) {
		char letters[] = "vfkOqstc", opaque[33];
		uint64_t word = rand_next(&r);
		size_t opaque_len = 1 + rand_below(&r, 32), len;
		uint32_t flag_cnt = (uint32_t)rand_below(&r, 9);
		struct xc_entry *entry;

		ask.request = (struct pktgen_request){ .ip6 = word & 1,
						       .id = word >> 16,
						       .tags = { word & 2 ? 0x8100 : 0 } };
		begin(&ask, (uint32_t)rand_below(&r, ITEMS));
		entry = &rig.entries[items[ask.which].idx];
		entry->expire_ns = word & 8 ? 0 : RIG_NOW_NS + 1 + (rand_next(&r) >> 4);
		fill_key((uint8_t *)opaque, opaque_len, &r);
		opaque[opaque_len] = '\0';
		for (uint32_t i = 0; i < flag_cnt; i++) {
			size_t other = i + rand_below(&r, 8 - i);
			char letter = letters[other];

			letters[other] = letters[i];
			add(&ask, letter, opaque);
		}
		len = end(&ask, want);
		if (ask.request.text.len > RIG_MTU - 60 || len > RIG_MTU - 60)
			continue;
		expect_reply(&ask.request, word & 4, span_of(want, len), 1);
		answered++;
		entry->expire_ns = 0;
	}
	assert_true(answered > count / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meta_every_item_with_and_without_flags),
		cmocka_unit_test(meta_ttl_is_the_daemon_s),
		cmocka_unit_test(meta_opaque_of_each_length_is_echoed),
		cmocka_unit_test(meta_what_the_kernel_does_not_answer_passes),
		cmocka_unit_test(meta_random_requests_are_right),
	};

	return cmocka_run_group_tests(tests, open_batch, close_batch);
}
