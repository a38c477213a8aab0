/* SPDX-License-Identifier: BSD-2-Clause */
#include "value.h"

#include <assert.h>
#include <endian.h>
#include <string.h>
#include <xxhash.h>

#include "base/rand.h"

#define CHECKSUM_AT 24
#define SCRAMBLE 0x9e3779b1U /* odd: one to one modulo any power of two */
#define JITTER_FROM 64

static void put64(uint8_t *to, uint64_t number)
{
	number = htole64(number);
	memcpy(to, &number, sizeof(number));
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t number;

	memcpy(&number, from, sizeof(number));
	return le64toh(number);
}

static uint64_t body_seed(const struct value_id *id)
{
	struct rand r;

	rand_init(&r, id->run ^ id->key_hash * 3 ^ (uint64_t)id->version << 17);
	return rand_next(&r);
}

static void body_compose(uint8_t *to, uint32_t len, const struct value_id *id)
{
	struct rand r;

	rand_init(&r, body_seed(id));
	for (; len >= 8; to += 8, len -= 8)
		put64(to, rand_next(&r));
	if (len) {
		uint64_t last = htole64(rand_next(&r));

		memcpy(to, &last, len);
	}
}

static bool body_equal(const uint8_t *from, uint32_t len, const struct value_id *id)
{
	struct rand r;
	uint64_t last;

	rand_init(&r, body_seed(id));
	for (; len >= 8; from += 8, len -= 8) {
		if (get64(from) != rand_next(&r))
			return false;
	}
	last = htole64(rand_next(&r));
	return memcmp(from, &last, len) == 0;
}

static uint64_t checksum(const uint8_t *bytes, uint64_t len)
{
	return XXH3_64bits_withSeed(bytes + VALUE_HEADER_LEN, len - VALUE_HEADER_LEN,
				    XXH3_64bits_withSeed(bytes, CHECKSUM_AT, len));
}

static void short_start(uint8_t to[8], const struct value_id *id)
{
	put64(to, (uint64_t)id->version * SCRAMBLE + (id->key_hash ^ id->run));
}

void value_compose(uint8_t *to, uint32_t len, const struct value_id *id)
{
	uint8_t start[8];

	if (len < VALUE_HEADER_LEN) {
		body_compose(to, len, id);
		short_start(start, id);
		memcpy(to, start, len < 8 ? len : 8);
		return;
	}
	put64(to, id->version);
	put64(to + 8, id->key_hash);
	put64(to + 16, id->run);
	body_compose(to + VALUE_HEADER_LEN, len - VALUE_HEADER_LEN, id);
	put64(to + CHECKSUM_AT, checksum(to, len));
}

uint32_t value_flags(const struct value_id *id)
{
	/* Most applications use few flags; all 32 bits must survive. */
	switch (id->version % 8) {
	case 0:
		return (uint32_t)id->key_hash;
	case 1:
		return id->version;
	default:
		return 0;
	}
}

uint32_t value_len(uint32_t key_len, uint32_t len_max, uint32_t version)
{
	uint32_t mixed = version * SCRAMBLE >> 16;
	uint32_t len = key_len;

	if (key_len >= JITTER_FROM)
		len = mixed % 16 == 0 ? key_len / 2 : key_len - 8 + mixed / 16 % 17;
	return len > len_max ? len_max : len;
}

bool value_equal(struct span bytes, const struct value_id *id)
{
	uint8_t expected[VALUE_HEADER_LEN];
	struct value_id claimed;

	if (bytes.len < VALUE_HEADER_LEN) {
		value_compose(expected, (uint32_t)bytes.len, id);
		return memcmp(bytes.ptr, expected, bytes.len) == 0;
	}
	if (!value_identify(bytes, &claimed))
		return false;
	return claimed.version == id->version && claimed.key_hash == id->key_hash &&
	       claimed.run == id->run &&
	       body_equal(bytes.ptr + VALUE_HEADER_LEN, (uint32_t)bytes.len - VALUE_HEADER_LEN, id);
}

bool value_identify(struct span bytes, struct value_id *ret)
{
	if (bytes.len < VALUE_HEADER_LEN || get64(bytes.ptr) > UINT32_MAX ||
	    get64(bytes.ptr + CHECKSUM_AT) != checksum(bytes.ptr, bytes.len))
		return false;
	ret->version = (uint32_t)get64(bytes.ptr);
	ret->key_hash = get64(bytes.ptr + 8);
	ret->run = get64(bytes.ptr + 16);
	return true;
}
