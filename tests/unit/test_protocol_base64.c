/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys in base64 come out as they went in, and nothing else is taken for base64. Method: RFC 4648's
 * vectors, every length of seeded random bytes against an unmapped page, every byte put at every
 * place of a good text.
 */
#include "protocol/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "abi/limits.h"
#include "base/rand.h"
#include "lib/guard_page.h"
#include "lib/runopts.h"

static struct guard_page guard;

static int set_up(void **state)
{
	(void)state;
	guard_page_init(&guard, 4096);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	guard_page_fini(&guard);
	return 0;
}

static void base64_vectors_both_ways(void **state)
{
	static const char *const vectors[][2] = {
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
		{ "\xff\xfe\xfb", "//77" },
		{ "\xfb\xef\xbe", "++++" },
	};
	uint8_t to[32];

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct span bytes = span_str(vectors[i][0]), text = span_str(vectors[i][1]);

		assert_int_equal(base64_encode(bytes, to), text.len);
		assert_memory_equal(to, text.ptr, text.len);
		assert_int_equal(base64_decoded_len(text), bytes.len);
		base64_decode(text, to);
		assert_memory_equal(to, bytes.ptr, bytes.len);
	}
}

static void base64_random_bytes_of_every_length_round_trip(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (size_t len = 1; len <= XC_KEY_MAX; len++) {
		uint8_t bytes[XC_KEY_MAX], text[BASE64_LEN(XC_KEY_MAX)], again[XC_KEY_MAX];
		struct span in;

		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)rand_next(&r);
		in = guard_page_put(&guard, bytes, len);
		assert_int_equal(base64_encode(in, text), BASE64_LEN(len));
		in = guard_page_put(&guard, text, BASE64_LEN(len));
		assert_int_equal(base64_decoded_len(in), len);
		base64_decode(in, again);
		assert_memory_equal(again, bytes, len);
	}
}

static void base64_other_texts_are_none(void **state)
{
	static const char *const bad[] = {
		"",	"Z",	  "Zg",	      "Zg=",   "====", "Z===",
		"=Zg=", "Zg==Zg", "Zg==Zm9v", "Zm9v=", "Zm 9", "Zm9v\n"
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct span in = guard_page_put(&guard, bad[i], strlen(bad[i]));

		assert_int_equal(base64_decoded_len(in), 0);
	}
	for (uint32_t byte = 0; byte < 256; byte++) {
		bool good = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
			    (byte >= '0' && byte <= '9') || byte == '+' || byte == '/';

		for (size_t at = 0; at < 8; at++) {
			char text[] = "AAAAAAAA";

			text[at] = (char)byte;
			assert_int_equal(base64_decoded_len(span_of(text, 8)),
					 good			  ? 6
					 : byte == '=' && at == 7 ? 5
								  : 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_vectors_both_ways),
		cmocka_unit_test(base64_random_bytes_of_every_length_round_trip),
		cmocka_unit_test(base64_other_texts_are_none),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
