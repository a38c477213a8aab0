/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever arrives, a packet that is not answered leaves as it came, byte for byte, one counter
 * moves, and what is answered is a whole and correct reply to a resident key.
 *
 * Method: correct requests cut at every byte, in the frame and in the text, then mutated by a
 * seeded generator: bytes set, flipped, inserted, removed, lengths rewritten to agree again.
 * Replies are taken apart here, with sums of our own, and not compared with anything the fast path
 * computed. XC_TEST_COUNT=N mutations (default 100000), XC_TEST_SEED=N repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <linux/bpf.h>

#include "base/rand.h"
#include "fastpath.skel.h"
#include "lib/fastrig.h"

#define COUNT_DEFAULT 100000
#define SEED_DEFAULT 20261122

static struct fastpath_bpf *product;
static struct fastrig rig;
static uint64_t hit_cnt;

static const char *const keys[] = { "a", "seven77", "eight888", "nine99999",
				    "a-longer-key:of-32-bytes:01234567" };
#define KEY_CNT (sizeof(keys) / sizeof(keys[0]))
#define CAS 4242
#define FLAGS 3

static struct span value_of(size_t key)
{
	static const char text[] = "one value for all keys, cut to another length for each";

	return span_of(text, 9 * key);
}

/* Requests to start from; {text, ip6, tags}. */
static const struct pktgen_request seeds[] = {
	{ .text = { (const uint8_t *)"get a\r\n", 7 } },
	{ .text = { (const uint8_t *)"get seven77\r\n", 13 }, .ip6 = true },
	{ .text = { (const uint8_t *)"gets eight888\r\n", 15 }, .tags = { 0x8100 } },
	{ .text = { (const uint8_t *)"gets nine99999\r\n", 16 },
	  .ip6 = true,
	  .tags = { 0x88a8, 0x8100 } },
	{ .text = { (const uint8_t *)"get a-longer-key:of-32-bytes:01234567\r\n", 39 },
	  .trailer = 6 },
	{ .text = { (const uint8_t *)"get a seven77\r\n", 15 } },
	{ .text = { (const uint8_t
			     *)"gets eight888 a a nine99999 a-longer-key:of-32-bytes:01234567\r\n",
		    63 },
	  .tags = { 0x8100 } },
	{ .text = { (const uint8_t *)"mg nine99999 v f k Oab t c s q\r\n", 32 } },
	{ .text = { (const uint8_t *)"\x80\x0d\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0"
				     "a"
				     "\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
		    49 },
	  .ip6 = true },
	{ .text = { (const uint8_t *)"get a a a a a a a a a a a a a a a a\r\n", 37 }, .ip6 = true },
	{ .text = { (const uint8_t *)"set a 0 0 1\r\nx\r\n", 16 } },
};
#define SEED_CNT (sizeof(seeds) / sizeof(seeds[0]))

static uint64_t moved_once(const struct xc_stats *before, const struct xc_stats *after)
{
	uint64_t which = XC_OUTCOME_CNT, sum = 0;

	for (uint64_t i = 0; i < XC_OUTCOME_CNT; i++) {
		uint64_t moved = ((const uint64_t *)after)[i] - ((const uint64_t *)before)[i];

		sum += moved;
		if (moved)
			which = i;
	}
	assert_int_equal(sum, 1);
	return which;
}

static uint16_t be16_at(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static size_t put_value(struct span key, bool gets, uint8_t *ret, size_t max)
{
	for (size_t i = 0; i < KEY_CNT; i++) {
		struct pktgen_value value = {
			.key = span_str(keys[i]),
			.value = value_of(i),
			.flags = FLAGS,
			.gets = gets,
			.cas = CAS,
		};

		if (span_equal(key, value.key))
			return pktgen_value_text(&value, ret, max);
	}
	fail_msg("answered, but not resident: %.*s", (int)key.len, (const char *)key.ptr);
	return 0;
}

/* An answered text is get or gets, keys with one blank before each, and the line's end. */
static void check_reply_text(struct span asked, struct span got)
{
	bool gets = asked.len > 3 && asked.ptr[3] == 's';
	const uint8_t *at = asked.ptr + 3 + gets, *end = asked.ptr + asked.len - 2;
	uint8_t want[PKTGEN_MAX];
	size_t len = 0;

	/* What those must say is test_batch_meta's and test_batch_binary's. */
	if (memcmp(asked.ptr, "mg ", 3) == 0 || asked.ptr[0] == 0x80) {
		assert_true(memcmp(got.ptr, "VA ", 3) == 0 || memcmp(got.ptr, "HD", 2) == 0 ||
			    (got.ptr[0] == 0x81 && got.len >= 24));
		return;
	}
	assert_true(asked.len >= 7 && memcmp(asked.ptr, "get", 3) == 0 &&
		    memcmp(end, "\r\n", 2) == 0);
	while (at < end) {
		const uint8_t *key = at + 1;

		assert_int_equal(*at, ' ');
		for (at = key; at < end && *at != ' '; at++)
			;
		len += put_value(span_of(key, at - key), gets, want + len, sizeof(want) - len);
	}
	memcpy(want + len, "END\r\n", 5);
	assert_int_equal(got.len, len + 5);
	assert_memory_equal(got.ptr, want, got.len);
}

/* Pseudo header, header and payload must add up to all ones. */
static void check_reply_sum(const uint8_t *addrs, size_t addrs_len, const uint8_t *udp, size_t len)
{
	uint8_t all[PKTGEN_MAX + 64] = { 0 };

	memcpy(all, addrs, addrs_len);
	all[addrs_len + 1] = 17;
	all[addrs_len + 2] = len >> 8;
	all[addrs_len + 3] = len;
	memcpy(all + addrs_len + 4, udp, len);
	assert_int_equal(pktgen_sum(all, addrs_len + 4 + len), 0xffff);
	assert_true(udp[6] || udp[7]);
}

static void check_reply(const struct pktgen_packet *in, const struct pktgen_packet *out)
{
	uint32_t l3 = 14;
	const uint8_t *ip, *udp, *asked;
	size_t ip_len;

	while (be16_at(out->bytes + l3 - 2) == 0x8100 || be16_at(out->bytes + l3 - 2) == 0x88a8)
		l3 += 4;
	ip = out->bytes + l3;
	assert_memory_equal(out->bytes, in->bytes + 6, 6);
	assert_memory_equal(out->bytes + 6, in->bytes, 6);
	assert_memory_equal(out->bytes + 12, in->bytes + 12, l3 - 12);
	if (be16_at(ip - 2) == 0x0800) {
		ip_len = be16_at(ip + 2);
		udp = ip + 20;
		assert_int_equal(pktgen_sum(ip, 20), 0xffff);
		assert_memory_equal(ip + 12, in->bytes + l3 + 16, 4);
		assert_memory_equal(ip + 16, in->bytes + l3 + 12, 4);
		check_reply_sum(ip + 12, 8, udp, ip_len - 20);
	} else {
		assert_int_equal(be16_at(ip - 2), 0x86dd);
		ip_len = 40 + be16_at(ip + 4);
		udp = ip + 40;
		assert_memory_equal(ip + 8, in->bytes + l3 + 24, 16);
		assert_memory_equal(ip + 24, in->bytes + l3 + 8, 16);
		check_reply_sum(ip + 8, 32, udp, ip_len - 40);
	}
	assert_int_equal(out->len, l3 + ip_len);
	assert_int_equal(be16_at(udp + 4), ip + ip_len - udp);
	assert_memory_equal(udp, in->bytes + (udp - out->bytes) + 2, 2);
	assert_memory_equal(udp + 2, in->bytes + (udp - out->bytes), 2);
	assert_memory_equal(udp + 8, in->bytes + (udp + 8 - out->bytes), 8);
	asked = in->bytes + (udp - out->bytes);
	check_reply_text(span_of(asked + 16, be16_at(asked + 4) - 16),
			 span_of(udp + 16, ip + ip_len - udp - 16));
}

static void check_packet(const struct pktgen_packet *in)
{
	struct xc_stats before, after;
	struct rig_run got;
	uint64_t outcome;

	if (in->len < 14)
		return; /* a test run refuses less than an Ethernet header */
	fastrig_stats(&rig, &before);
	assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, in, &got), 0);
	fastrig_stats(&rig, &after);
	outcome = moved_once(&before, &after);
	switch (got.action) {
	case XDP_TX:
		assert_in_range(outcome, XC_hit_tail, XC_hit_head);
		hit_cnt++;
		check_reply(in, &got.out);
		return;
	case XDP_DROP:
		assert_int_equal(outcome, XC_drop_not_allowed);
		break;
	default:
		assert_int_equal(got.action, XDP_PASS);
		assert_in_range(outcome, XC_pass_not_local, XC_OUTCOME_CNT - 1);
	}
	assert_int_equal(got.out.len, in->len);
	assert_memory_equal(got.out.bytes, in->bytes, in->len);
}

static void frame_cut_at_every_byte_passes_untouched(void **state)
{
	struct pktgen_packet in;

	(void)state;
	for (size_t i = 0; i < SEED_CNT; i++) {
		pktgen_request(&seeds[i], &in);
		for (uint32_t len = in.len; len >= 14; len--) {
			in.len = len;
			check_packet(&in);
		}
	}
}

/* The datagram ends at every byte of the request, and all lengths say so. */
static void text_cut_at_every_byte_passes_untouched(void **state)
{
	struct xc_stats before, after;
	struct pktgen_packet in;

	(void)state;
	for (size_t i = 0; i < SEED_CNT; i++) {
		struct pktgen_request request = seeds[i];

		while (request.text.len--) {
			if (request.text.ptr[0] == 0x80 && request.text.len == 25)
				continue; /* its first request is whole */
			pktgen_request(&request, &in);
			fastrig_stats(&rig, &before);
			check_packet(&in);
			fastrig_stats(&rig, &after);
			assert_int_equal(before.hit_head, after.hit_head);
		}
	}
}

/* After bytes were inserted or removed: lengths that agree with the frame again. */
static void mend_lengths(struct pktgen_packet *p)
{
	uint32_t l3 = 14;

	while (l3 < 26 &&
	       (be16_at(p->bytes + l3 - 2) == 0x8100 || be16_at(p->bytes + l3 - 2) == 0x88a8))
		l3 += 4;
	if (be16_at(p->bytes + l3 - 2) == 0x0800 && p->len >= l3 + 28) {
		p->bytes[l3 + 2] = (p->len - l3) >> 8;
		p->bytes[l3 + 3] = p->len - l3;
		p->bytes[l3 + 24] = (p->len - l3 - 20) >> 8;
		p->bytes[l3 + 25] = p->len - l3 - 20;
	} else if (be16_at(p->bytes + l3 - 2) == 0x86dd && p->len >= l3 + 48) {
		p->bytes[l3 + 4] = (p->len - l3 - 40) >> 8;
		p->bytes[l3 + 5] = p->len - l3 - 40;
		memcpy(p->bytes + l3 + 44, p->bytes + l3 + 4, 2);
	}
}

static void mutate(struct pktgen_packet *p, struct rand *r)
{
	static const uint8_t sharp[] = { 0, 1, 0x20, 0x21, 0x7f, 0x80, 0xff, '\r', '\n', 8, 6, 17 };
	uint32_t at = rand_below(r, p->len);

	switch (rand_below(r, 5)) {
	case 0:
		p->bytes[at] = rand_next(r);
		break;
	case 1:
		p->bytes[at] ^= 1 << rand_below(r, 8);
		break;
	case 2:
		p->bytes[at] = sharp[rand_below(r, sizeof(sharp))];
		break;
	case 3:
		if (p->len > 60) {
			memmove(p->bytes + at, p->bytes + at + 1, p->len - at - 1);
			p->len--;
		}
		break;
	default:
		memmove(p->bytes + at + 1, p->bytes + at, p->len - at);
		p->bytes[at] = sharp[rand_below(r, sizeof(sharp))];
		p->len++;
	}
}

static uint64_t env_number(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : fallback;
}

static void mutated_requests_pass_untouched_or_get_a_right_reply(void **state)
{
	uint64_t count = env_number("XC_TEST_COUNT", COUNT_DEFAULT);
	uint64_t seed = env_number("XC_TEST_SEED", SEED_DEFAULT);
	struct pktgen_packet in;
	struct rand r;

	(void)state;
	printf("seed %llu, %llu packets\n", (unsigned long long)seed, (unsigned long long)count);
	rand_init(&r, seed);
	for (uint64_t i = 0; i < count; i++) {
		pktgen_request(&seeds[rand_below(&r, SEED_CNT)], &in);
		for (uint64_t n = 1 + rand_below(&r, 3); n; n--)
			mutate(&in, &r);
		if (rand_below(&r, 2))
			mend_lengths(&in);
		check_packet(&in);
	}
	/* Both ways out were taken. */
	assert_in_range(hit_cnt, count / 100, count / 2);
}

static int open_object(void **state)
{
	(void)state;
	product = fastpath_bpf__open_and_load();
	if (!product || fastrig_open(&rig, product->obj))
		return -1;
	fastrig_configure(&rig);
	for (size_t i = 0; i < KEY_CNT; i++) {
		struct rig_item item = {
			.key = span_str(keys[i]),
			.value = value_of(i),
			.flags = FLAGS,
			.cas = CAS,
		};

		fastrig_insert(&rig, &item);
	}
	return 0;
}

static int close_object(void **state)
{
	(void)state;
	fastrig_close(&rig);
	fastpath_bpf__destroy(product);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame_cut_at_every_byte_passes_untouched),
		cmocka_unit_test(text_cut_at_every_byte_passes_untouched),
		cmocka_unit_test(mutated_requests_pass_untouched_or_get_a_right_reply),
	};

	return cmocka_run_group_tests(tests, open_object, close_object);
}
