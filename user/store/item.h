/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * item - one item as it lies in the log.
 *
 * Does      draws the item and reads and writes its fields.
 * Shape     4-byte aligned; optional fields are there only if their bit is set:
 *
 *           0        4        8        12         16        20         28
 *           +--------+--------+--------+----------+---------+----------+-----+-------+-----+
 *           | word0  | word1  | access | [expire] | [flags] | [cas]    | key | value | pad |
 *           +--------+--------+--------+----------+---------+----------+-----+-------+-----+
 *           word0  bits 0-19 stored value length, 20-31 ITEM_* bits
 *           word1  bits 0-7 key length, 8-31 check (low 24 bits of XXH3 over the options, key and
 *                  value)
 *           access bit 0 fetched since it was written; 1-31 seconds of boot time of the last access
 *           expire tenths of a second of boot time; cas only where it is not the place's own
 *
 *           So 12 bytes an item without TTL and flags, 16 with a TTL, plus 0 to 3 of padding. There
 *           is no CRLF behind the value: both repliers write it with the words that follow it
 *           anyway.
 * Owner     written by the thread that reserved it until committed; after that only DEAD, RESIDENT,
 *           WON and access change, under the key's bucket lock.
 * Invariant ITEM_COMMITTED is the last store of a write, so after a crash a committed item is
 *           whole.
 */
#ifndef XC_STORE_ITEM_H
#define XC_STORE_ITEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "abi/limits.h"
#include "base/clock.h"

#define ITEM_VALUE_BITS 20 /* an item lies within one segment */
#define ITEM_VALUE_MAX ((1U << ITEM_VALUE_BITS) - 1)

/* Nobody's item, but the note that the key has none: store_note_absent. */
#define ITEM_ABSENT (1U << 20)
#define ITEM_BINARY (1U << 21) /* its key was given in base64, and is told so */
#define ITEM_COMMITTED (1U << 22)
/* Two bits, set together; either says dead: one flipped bit brings nothing back. */
#define ITEM_DEAD (1U << 23 | 1U << 29)
#define ITEM_RESIDENT (1U << 24)
#define ITEM_HAS_EXPIRE (1U << 25)
#define ITEM_HAS_FLAGS (1U << 26)
#define ITEM_HAS_CAS (1U << 27)
#define ITEM_CHAINED                                                                               \
	(1U << 28) /* the stored value is a struct item_chain and the value's last bytes */
#define ITEM_STALE (1U << 30) /* a client said that it needs a new value */
#define ITEM_WON (1U << 31)   /* one client has been told to bring that */
/* Never change from reserve on; the check covers them. */
#define ITEM_SHAPE_BITS                                                                            \
	(ITEM_ABSENT | ITEM_HAS_EXPIRE | ITEM_HAS_FLAGS | ITEM_HAS_CAS | ITEM_CHAINED |            \
	 ITEM_BINARY | ITEM_STALE)

#define ITEM_ALIGN 4U
#define ITEM_HEADER 12U
#define ITEM_OPTIONS_MAX 16U

_Static_assert(ITEM_HEADER >= XC_KEY_LEAD, "the kernel may read the 8 bytes before a key");

struct item_header {
	_Atomic uint32_t word0;
	uint32_t word1;
	_Atomic uint32_t access;
};

/* A large value: whole segments, then blocks, then the rest behind this in the item itself. */
struct item_chain {
	uint64_t value_len;
	uint64_t check; /* XXH3 of the bytes in the pieces */
	uint32_t first_piece;
	uint32_t piece_cnt;
};

/* What an item is made from. */
struct item_shape {
	uint32_t bits; /* of ITEM_SHAPE_BITS */
	uint8_t key_len;
	uint32_t value_len; /* stored */
};

static inline struct item_header *item_at(uint8_t *base, uint64_t loc)
{
	return (struct item_header *)(base + loc);
}

static inline uint32_t item_word0(struct item_header *item)
{
	return atomic_load_explicit(&item->word0, memory_order_acquire);
}

static inline uint32_t item_options_len(uint32_t bits)
{
	return (bits & ITEM_HAS_EXPIRE ? 4 : 0) + (bits & ITEM_HAS_FLAGS ? 4 : 0) +
	       (bits & ITEM_HAS_CAS ? 8 : 0);
}

static inline uint32_t item_shape_bytes(const struct item_shape *shape)
{
	uint32_t len =
		ITEM_HEADER + item_options_len(shape->bits) + shape->key_len + shape->value_len;

	return (len + ITEM_ALIGN - 1) & ~(ITEM_ALIGN - 1);
}

static inline struct item_shape item_shape(struct item_header *item)
{
	uint32_t word0 = item_word0(item);

	return (struct item_shape){ .bits = word0 & ~ITEM_VALUE_MAX,
				    .key_len = (uint8_t)item->word1,
				    .value_len = word0 & ITEM_VALUE_MAX };
}

static inline uint32_t item_bytes(struct item_header *item)
{
	struct item_shape shape = item_shape(item);

	return item_shape_bytes(&shape);
}

static inline bool item_is_absent(struct item_header *item)
{
	return item_word0(item) & ITEM_ABSENT;
}

static inline uint8_t *item_options(struct item_header *item)
{
	return (uint8_t *)item + ITEM_HEADER;
}

static inline uint8_t *item_key(struct item_header *item)
{
	return item_options(item) + item_options_len(item_word0(item));
}

static inline uint8_t item_key_len(const struct item_header *item)
{
	return (uint8_t)item->word1;
}

static inline uint8_t *item_value(struct item_header *item)
{
	return item_key(item) + item_key_len(item);
}

/* Tenths of a second of boot time, 0: never. */
static inline uint32_t item_expire_ds(struct item_header *item)
{
	uint32_t expire = 0;

	if (item_word0(item) & ITEM_HAS_EXPIRE)
		memcpy(&expire, item_options(item), 4);
	return expire;
}

static inline uint32_t item_flags(struct item_header *item)
{
	uint32_t bits = item_word0(item);
	uint32_t flags = 0;

	if (bits & ITEM_HAS_FLAGS)
		memcpy(&flags, item_options(item) + (bits & ITEM_HAS_EXPIRE ? 4 : 0), 4);
	return flags;
}

/* The explicit cas unique; 0: the place in the log is the cas. */
static inline uint64_t item_cas(struct item_header *item)
{
	uint32_t bits = item_word0(item);
	uint64_t cas = 0;

	if (bits & ITEM_HAS_CAS)
		memcpy(&cas, item_options(item) + item_options_len(bits & ~ITEM_HAS_CAS), 8);
	return cas;
}

#define ITEM_DS_NS (NSEC_PER_SEC / 10)

/* Rounds up, so that an item lives its whole TTL and at most a tenth of a second more. */
static inline uint32_t item_ds_from_ns(uint64_t expire_ns)
{
	uint64_t ds;

	if (expire_ns == 0)
		return 0;
	ds = (expire_ns + ITEM_DS_NS - 1) / ITEM_DS_NS;
	return ds > UINT32_MAX ? 0 : (uint32_t)ds; /* beyond 13 years of uptime: never */
}

static inline uint64_t item_ns_from_ds(uint32_t expire_ds)
{
	return expire_ds * (uint64_t)ITEM_DS_NS;
}

#define ITEM_FETCHED 1U

static inline uint32_t item_access(struct item_header *item)
{
	return atomic_load_explicit(&item->access, memory_order_relaxed);
}

/* Writes only what changes: readers of a hot item share its line. */
static inline void item_set_access(struct item_header *item, uint32_t access)
{
	if (item_access(item) != access)
		atomic_store_explicit(&item->access, access, memory_order_relaxed);
}

static inline uint32_t item_access_at(uint64_t at_ns, bool fetched)
{
	return (uint32_t)(at_ns / NSEC_PER_SEC) << 1 | (fetched ? ITEM_FETCHED : 0);
}

static inline uint64_t item_access_ns(uint32_t access)
{
	return (access >> 1) * NSEC_PER_SEC;
}

/* Low 24 bits of a hash over options, key and stored value. */
uint32_t item_check(struct item_header *item);

#endif
