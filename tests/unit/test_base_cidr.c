/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: cidr_parse takes what is an address or a clean prefix of either family and nothing
 * else; cidr_contains is true for exactly the addresses that share the prefix's bits, and never
 * lets a prefix of IPv6 hold an IPv4 address. Method: tables; random prefixes and addresses against
 * a comparison bit by bit. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/cidr.h"
#include "base/rand.h"
#include "lib/runopts.h"

static struct cidr parsed(const char *text)
{
	struct cidr cidr;

	if (cidr_parse(text, &cidr))
		fail_msg("\"%s\" was refused", text);
	return cidr;
}

static void addr_of(const char *text, uint8_t ret[16])
{
	struct cidr cidr = parsed(text);

	memcpy(ret, cidr.addr, 16);
}

static void cidr_parse_good_text_gives_bits(void **state)
{
	static const struct {
		const char *text;
		uint8_t prefix_len;
		uint8_t addr[16];
	} rows[] = {
		{ "10.0.0.0/8", 104, { [10] = 255, [11] = 255, [12] = 10 } },
		{ "192.0.2.7", 128, { [10] = 255, [11] = 255, [12] = 192, 0, 2, 7 } },
		{ "192.0.2.6/31", 127, { [10] = 255, [11] = 255, [12] = 192, 0, 2, 6 } },
		{ "0.0.0.0/0", 96, { [10] = 255, [11] = 255 } },
		{ "::/0", 0, { 0 } },
		{ "::1", 128, { [15] = 1 } },
		{ "2001:db8::/32", 32, { 0x20, 0x01, 0x0d, 0xb8 } },
		{ "fe80::/10", 10, { 0xfe, 0x80 } },
		{ "2001:db8::8/125", 125, { 0x20, 0x01, 0x0d, 0xb8, [15] = 8 } },
		{ "::ffff:10.0.0.0/104", 104, { [10] = 255, [11] = 255, [12] = 10 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cidr cidr = parsed(rows[i].text);

		assert_int_equal(cidr.prefix_len, rows[i].prefix_len);
		assert_memory_equal(cidr.addr, rows[i].addr, 16);
	}
}

static void cidr_parse_bad_text_is_refused_and_writes_nothing(void **state)
{
	static const char *const rows[] = {
		"",
		"/",
		"/8",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/+8",
		"10.0.0.0/8x",
		"10.0.0.0/ 8",
		"10.0.0.0/08/1",
		"10.0.0",
		"10.0.0.256",
		"10.1.0.0/8",
		"10.0.0.1/31",
		" 10.0.0.0/8",
		"10.0.0.0 /8",
		"::/129",
		"::1/127",
		"2001:db8::1/64",
		"fe80::1%eth0",
		"localhost",
		"*",
		"1:2:3:4:5:6:7:8:9",
		"10.0.0.0/18446744073709551624",
		"10.0.0.0/99999999999999999999999",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa/8",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cidr cidr, before;

		memset(&cidr, 0x5a, sizeof(cidr));
		before = cidr;
		if (cidr_parse(rows[i], &cidr) == 0)
			fail_msg("\"%s\" was taken", rows[i]);
		assert_memory_equal(&cidr, &before, sizeof(cidr));
	}
}

static bool bit(const uint8_t *bytes, uint32_t at)
{
	return bytes[at / 8] >> (7 - at % 8) & 1;
}

static bool contains_bitwise(const struct cidr *cidr, const uint8_t addr[16])
{
	for (uint32_t at = 0; at < cidr->prefix_len; at++) {
		if (bit(cidr->addr, at) != bit(addr, at))
			return false;
	}
	return true;
}

/* Near misses count: the address differs from the prefix in one bit, anywhere. */
static void cidr_contains_random_equals_bitwise(void **state)
{
	struct rand r;
	uint32_t inside = 0;

	(void)state;
	rand_init(&r, runopts_seed());
	for (int i = 0; i < 200000; i++) {
		struct cidr cidr = { .prefix_len = (uint8_t)rand_below(&r, 129) };
		uint32_t flip = (uint32_t)rand_below(&r, 128);
		uint8_t addr[16];

		for (uint32_t at = 0; at < 16; at++)
			cidr.addr[at] = (uint8_t)rand_next(&r);
		cidr.addr[0] |= 0x20; /* not where mapped IPv4 lies */
		memcpy(addr, cidr.addr, 16);
		addr[flip / 8] ^= (uint8_t)(0x80 >> flip % 8);
		addr[0] |= 0x20;
		assert_int_equal(cidr_contains(&cidr, addr), contains_bitwise(&cidr, addr));
		inside += cidr_contains(&cidr, addr);
	}
	assert_in_range(inside, 50000, 150000); /* both answers were asked for */
}

static void cidr_contains_ipv6_prefix_holds_no_ipv4(void **state)
{
	struct cidr any6 = parsed("::/0"), any4 = parsed("0.0.0.0/0"), low6 = parsed("::/80");
	uint8_t v4[16], v6[16], loop6[16];

	(void)state;
	addr_of("192.0.2.7", v4);
	addr_of("2001:db8::1", v6);
	addr_of("::1", loop6);
	assert_false(cidr_contains(&any6, v4));
	assert_false(cidr_contains(&low6, v4));
	assert_true(cidr_contains(&any6, v6));
	assert_true(cidr_contains(&low6, loop6));
	assert_true(cidr_contains(&any4, v4));
	assert_false(cidr_contains(&any4, v6));
}

static void cidr_addr_of_families_are_mapped_or_refused(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr local = { .sa_family = AF_UNIX };
	uint8_t want[16], got[16];

	(void)state;
	inet_pton(AF_INET, "192.0.2.7", &sin.sin_addr);
	addr_of("192.0.2.7", want);
	assert_true(cidr_addr_of((struct sockaddr *)&sin, got));
	assert_memory_equal(got, want, 16);
	addr_of("::1", want);
	assert_true(cidr_addr_of((struct sockaddr *)&sin6, got));
	assert_memory_equal(got, want, 16);
	assert_false(cidr_addr_of(&local, got));
}

static void cidr_is_loopback_knows_both_families(void **state)
{
	static const struct {
		const char *text;
		bool loopback;
	} rows[] = {
		{ "127.0.0.0", true },	  { "127.255.255.255", true },
		{ "::1", true },	  { "126.255.255.255", false },
		{ "128.0.0.0", false },	  { "::2", false },
		{ "::", false },	  { "::127.0.0.1", false },
		{ "2001:db8::1", false },
	};
	uint8_t addr[16];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		addr_of(rows[i].text, addr);
		if (cidr_is_loopback(addr) != rows[i].loopback)
			fail_msg("%s", rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cidr_parse_good_text_gives_bits),
		cmocka_unit_test(cidr_parse_bad_text_is_refused_and_writes_nothing),
		cmocka_unit_test(cidr_contains_random_equals_bitwise),
		cmocka_unit_test(cidr_contains_ipv6_prefix_holds_no_ipv4),
		cmocka_unit_test(cidr_addr_of_families_are_mapped_or_refused),
		cmocka_unit_test(cidr_is_loopback_knows_both_families),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
