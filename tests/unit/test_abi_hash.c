/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: abi/hash.h is SipHash-c-d with 128 bits, as others compute it; its halves made apart
 * are the whole. That the kernel program makes the same digests shows in tests/bpf/test_reply.c:
 * keys of every length are found under the digests made here.
 *
 * Method: digests of the bytes 0, 1, 2, ... under the key 00 01 ... 0f, made by OpenSSL 3.0.19; for
 * SipHash-C-D of N bytes with
 *
 *   python3 -c 'import os; os.write(1, bytes(range(N)))' | openssl mac -macopt \
 *       hexkey:000102030405060708090a0b0c0d0e0f -macopt c-rounds:C -macopt d-rounds:D \
 *       -macopt size:16 -in /dev/stdin SIPHASH
 *
 * Those of SipHash-2-4 are also the reference implementation's.
 */
#include "abi/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "abi/limits.h"

static const struct vector {
	int c, d;
	uint32_t len;
	const char *digest;
} vectors[] = {
	{ 1, 3, 0, "e77ebcb22788a5befd62db6add303001" },
	{ 1, 3, 1, "fc6f370460d3eda85e0573cc2b2ff063" },
	{ 1, 3, 2, "75787f090569839b855bc9548c6aea95" },
	{ 1, 3, 3, "6bc5ccfa1edcf79f4823187712ebd743" },
	{ 1, 3, 4, "0c784e71ac2b285a9f8e92e78fbf2c25" },
	{ 1, 3, 5, "f328db89345b620c795229a42695843e" },
	{ 1, 3, 6, "dcd03d29f743e7100951b0e83985a6f8" },
	{ 1, 3, 7, "1084b923f2aae0c3a62f2ec80848ab77" },
	{ 1, 3, 8, "aa12fee1d5e3dab4724f16ab35f9c799" },
	{ 1, 3, 9, "81ddb8042cf33994f4720e0094137c42" },
	{ 1, 3, 15, "c17e5505b2bd526c2921cdec1e7e0109" },
	{ 1, 3, 16, "d0a8d95715518eebb513b0f83d9e1793" },
	{ 1, 3, 17, "234126f93fbb668d975112e8febdf7ec" },
	{ 1, 3, 31, "42ea961c5b3c858b17c3e550dfa79010" },
	{ 1, 3, 32, "406c44dee67857b2943160f30c7417d3" },
	{ 1, 3, 33, "c5f57bae1320fcf4b4e868e71d56c66b" },
	{ 1, 3, 63, "4c5800e34efe426f079f6b0aa75260ad" },
	{ 1, 3, 64, "1253def24b4aa5364ec8a759ba6a66c2" },
	{ 1, 3, 127, "3a46c3a048447a4f27256f2f1d862f86" },
	{ 1, 3, 128, "0af7085d4fc3d62f75a3cef6b8ec8e9f" },
	{ 1, 3, 249, "9a4d87e47afec5b1c7ee28cbaf0753b3" },
	{ 1, 3, 250, "332b072b69a09743890685684688ff88" },
	{ 2, 4, 0, "a3817f04ba25a8e66df67214c7550293" },
	{ 2, 4, 1, "da87c1d86b99af44347659119b22fc45" },
	{ 2, 4, 7, "a1f1ebbed8dbc153c0b84aa61ff08239" },
	{ 2, 4, 8, "3b62a9ba6258f5610f83e264f31497b4" },
	{ 2, 4, 15, "5493e99933b0a8117e08ec0f97cfc3d9" },
	{ 2, 4, 16, "6ee2a4ca67b054bbfd3315bf85230577" },
	{ 2, 4, 63, "5150d1772f50834a503e069a973fbd7c" },
	{ 2, 4, 250, "e4d81532408c6ec3da636da6ec879f61" },
};

/* The key of the digests, 00 01 ... 0f, as words in memory order. */
static const __u64 key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };

/* Feeds whole words; returns the bytes left over, zero padded. */
static __u64 feed(struct xc_sip *sip, const uint8_t *bytes, uint32_t len, int c)
{
	__u64 word;

	xc_sip_init(sip, key);
	for (; len >= 8; bytes += 8, len -= 8) {
		memcpy(&word, bytes, 8);
		xc_sip_word(sip, word, c);
	}
	word = 0;
	memcpy(&word, bytes, len);
	return word;
}

static void text_of(const struct xc_digest *digest, char ret[33])
{
	const uint8_t *bytes = (const uint8_t *)digest;

	for (size_t i = 0; i < sizeof(*digest); i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

static void sip_digests_are_those_of_others(void **state)
{
	uint8_t bytes[XC_KEY_MAX];
	struct xc_digest digest;
	struct xc_sip sip;
	char text[33];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const struct vector *v = &vectors[i];

		xc_sip_final(&sip, feed(&sip, bytes, v->len, v->c), v->len, v->c, v->d, &digest);
		text_of(&digest, text);
		if (strcmp(text, v->digest))
			fail_msg("SipHash-%d-%d of %u bytes: %s, wanted %s", v->c, v->d, v->len,
				 text, v->digest);
	}
}

/* As the kernel program does it: the low word at once, the high one only if it is wanted. */
static void sip_halves_made_apart_are_the_digest(void **state)
{
	static const uint8_t bytes[] = "a key of some 30 bytes, or more";
	struct xc_sip whole, apart;
	struct xc_digest digest;
	__u64 rest;

	(void)state;
	for (uint32_t len = 0; len < sizeof(bytes); len++) {
		rest = feed(&whole, bytes, len, XC_SIP_C);
		xc_sip_final(&whole, rest, len, XC_SIP_C, XC_SIP_D, &digest);
		rest = feed(&apart, bytes, len, XC_SIP_C);
		assert_true(xc_sip_low(&apart, rest, len, XC_SIP_C, XC_SIP_D) == digest.lo);
		assert_true(xc_sip_high(&apart, XC_SIP_D) == digest.hi);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sip_digests_are_those_of_others),
		cmocka_unit_test(sip_halves_made_apart_are_the_digest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
