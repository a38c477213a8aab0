/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hash table with open addressing, at most a quarter full, of numbers into an array of entries.
 * Entries are only added: under the lock, and visible once their number is in the table. So finding
 * one that is there takes no lock. The hash has a secret seed: clients cannot make it degenerate.
 */
#include "route/prefixes.h"

#include <xxhash.h>

#include "abi/limits.h"
#include "base/alloc.h"
#include "base/rand.h"

#define SLOTS (4 * PREFIX_MAX)

struct entry {
	uint8_t len;
	uint8_t text[XC_KEY_MAX];
};

struct prefixes {
	struct swap_item item;
	pthread_mutex_t lock;
	uint64_t seed;
	uint32_t slot_cnt;
	_Atomic uint32_t cnt;
	_Atomic uint64_t overflow_cnt;
	struct entry *entries;
	struct tally *tallies;	       /* slot_cnt for each entry */
	_Atomic uint16_t table[SLOTS]; /* entry + 1; 0: free */
};

static void free_prefixes(struct swap_item *item)
{
	struct prefixes *p = prefixes_of(item);

	pthread_mutex_destroy(&p->lock);
	alloc_free(p->entries);
	alloc_free(p->tallies);
	alloc_free(p);
}

struct prefixes *prefixes_new(uint32_t slot_cnt)
{
	struct prefixes *p = alloc_zero(1, sizeof(*p));

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	p->item.free = free_prefixes;
	p->slot_cnt = slot_cnt;
	p->entries = alloc_zero(PREFIX_MAX, sizeof(*p->entries));
	p->tallies = alloc_aligned(64, (size_t)PREFIX_MAX * slot_cnt * sizeof(*p->tallies));
	if (!p->entries || !p->tallies || rand_secret(&p->seed, sizeof(p->seed))) {
		free_prefixes(&p->item);
		return NULL;
	}
	return p;
}

static struct span entry_text(const struct prefixes *p, uint32_t idx)
{
	return span_of(p->entries[idx].text, p->entries[idx].len);
}

/* The prefix's number + 1, or 0; *ret_at is its place in the table, or the first free one. */
static uint32_t probe(const struct prefixes *p, struct span prefix, uint64_t hash, uint32_t *ret_at)
{
	for (uint32_t at = hash % SLOTS;; at = (at + 1) % SLOTS) {
		uint32_t number = atomic_load_explicit(&p->table[at], memory_order_acquire);

		if (number == 0 || span_equal(prefix, entry_text(p, number - 1))) {
			*ret_at = at;
			return number;
		}
	}
}

static bool printable(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] <= ' ' || text.ptr[i] == 0x7f)
			return false;
	}
	return true;
}

static uint32_t insert(struct prefixes *p, struct span prefix, uint64_t hash)
{
	uint32_t number, at, cnt;

	pthread_mutex_lock(&p->lock);
	number = probe(p, prefix, hash, &at);
	cnt = atomic_load_explicit(&p->cnt, memory_order_relaxed);
	if (number == 0 && cnt < PREFIX_MAX) {
		p->entries[cnt].len = (uint8_t)prefix.len;
		memcpy(p->entries[cnt].text, prefix.ptr, prefix.len);
		number = cnt + 1;
		atomic_store_explicit(&p->cnt, number, memory_order_release);
		atomic_store_explicit(&p->table[at], (uint16_t)number, memory_order_release);
	}
	pthread_mutex_unlock(&p->lock);
	return number;
}

struct tally *prefixes_find(struct prefixes *p, uint32_t slot, struct span key, uint8_t delimiter)
{
	const uint8_t *end = memchr(key.ptr, delimiter, key.len);
	struct span prefix;
	uint32_t number, at;
	uint64_t hash;

	if (!end)
		return NULL;
	prefix = span_of(key.ptr, (size_t)(end - key.ptr));
	hash = XXH3_64bits_withSeed(prefix.ptr, prefix.len, p->seed);
	number = probe(p, prefix, hash, &at);
	if (number == 0) {
		if (!printable(prefix))
			return NULL;
		if (atomic_load_explicit(&p->cnt, memory_order_relaxed) < PREFIX_MAX)
			number = insert(p, prefix, hash);
	}
	if (number == 0) {
		atomic_fetch_add_explicit(&p->overflow_cnt, 1, memory_order_relaxed);
		return NULL;
	}
	return &p->tallies[(size_t)(number - 1) * p->slot_cnt + slot];
}

void prefixes_walk(struct prefixes *p,
		   void (*each)(void *ctx, struct span prefix, const struct tally *sum), void *ctx)
{
	uint32_t cnt = atomic_load_explicit(&p->cnt, memory_order_acquire);

	for (uint32_t i = 0; i < cnt; i++) {
		struct tally sum = tally_sum(&p->tallies[(size_t)i * p->slot_cnt], p->slot_cnt);

		each(ctx, entry_text(p, i), &sum);
	}
}

uint64_t prefixes_overflow_cnt(const struct prefixes *p)
{
	return atomic_load_explicit(&p->overflow_cnt, memory_order_relaxed);
}
