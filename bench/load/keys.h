/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys - every key of a run, by number.
 *
 * Does      gives each distinct key text a number from 0 up, makes texts legal memcached keys, and
 *           holds what the oracle knows of each key.
 * Units     bytes; at most KEYS_MAX keys.
 * Errors    -ENOMEM, -E2BIG (too many keys).
 * Owner     spans and pointers returned stay valid until the next insertion.
 * Threads   one.
 */
#ifndef XC_LOAD_KEYS_H
#define XC_LOAD_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/limits.h"
#include "base/span.h"

#define KEYS_MAX (1U << 25)

struct key {
	uint64_t hash;
	uint64_t expire_ns;	 /* live_version is gone for sure after this; 0: has no TTL */
	uint64_t expire_from_ns; /* ... and may be gone from here on */
	uint64_t text_at;	 /* in the text arena */
	uint32_t value_len;	 /* versions vary around it */
	uint32_t issued;	 /* last version handed to a write */
	uint32_t effective;	 /* last version known to have happened: acknowledged, or seen */
	uint32_t floor;	       /* no later reply may be older; effective, or one more: it is gone */
	uint32_t live_version; /* acknowledged set that must still be there; 0: none */
	uint8_t text_len;
	bool busy; /* a write is on its way; there is never a second */
};

struct keys {
	struct key *list;
	uint32_t cnt;
	uint32_t room;
	uint8_t *text;
	uint64_t text_len;
	uint64_t text_room;
	uint32_t *slots;   /* open addressing: key number + 1, 0: empty */
	uint32_t slot_cnt; /* power of two */
};

int keys_init(struct keys *keys);
void keys_fini(struct keys *keys);

/*
 * The number of this text's key, new or not. Bytes that a memcached key cannot have are written as
 * %XX; a text that is too long keeps its start and ends in a hash.
 */
int keys_insert(struct keys *keys, struct span text, uint32_t *ret_idx);
/* NULL-like (len 0) when idx is out of range. */
struct span keys_text(const struct keys *keys, uint32_t idx);

static inline struct key *keys_at(struct keys *keys, uint32_t idx)
{
	return &keys->list[idx];
}

#endif
