/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * value - what a key holds at a version, computable by whoever checks it.
 *
 * Does      writes the value and flags of (run, key, version, length), and says of bytes received
 *           whether they are that value, or whose they are.
 * Shape     32 bytes and more: version, key hash, run, checksum of all but itself (8 bytes each,
 *           little-endian), then pseudo-random bytes. Shorter ones are pseudo-random bytes whose
 *           start is the version scrambled one to one, so that n bytes (n < 8) tell 2^8n
 *           successive versions apart. Every byte value occurs, line ends too.
 * Owner     pure functions.
 */
#ifndef XC_LOAD_VALUE_H
#define XC_LOAD_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define VALUE_HEADER_LEN 32

struct value_id {
	uint64_t run; /* random per run: another run's values are foreign */
	uint64_t key_hash;
	uint32_t version;
};

void value_compose(uint8_t *to, uint32_t len, const struct value_id *id);
uint32_t value_flags(const struct value_id *id);
/* The length a version has, given the key's own: versions differ, so that a mix-up shows. */
uint32_t value_len(uint32_t key_len, uint32_t len_max, uint32_t version);
/* The bytes are exactly what value_compose writes. */
bool value_equal(struct span bytes, const struct value_id *id);
/* The identity a value claims. False: too short to claim one, or its checksum does not hold. */
bool value_identify(struct span bytes, struct value_id *ret);

#endif
