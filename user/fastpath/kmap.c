/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A place goes round: free -> (kmap_insert) linked in xc_hot, vacant -> (kmap_switch) serving <->
 * (kmap_vacate) vacant -> (kmap_remove) unlinked -> grace period -> (kmap_release) free.
 *
 * Writers find the place of a key by its store hash in a table of chains with a few locks; only
 * keys marked resident in the store ever look. An entry has one writer at a time: whoever holds
 * the key's lock in the store.
 */
#include "fastpath/kmap.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/csum.h"
#include "base/log.h"

#define SHARDS 64
#define NO_PLACE UINT32_MAX
#define DELETE_TRIES 10000 /* of an element in a bucket that is busy */

enum place_state {
	PLACE_FREE,
	PLACE_LINKED,
	PLACE_UNLINKED, /* no writer finds it, xc_hot still names it */
	PLACE_REMOVED,
};

struct place {
	uint64_t hash;
	uint64_t early_ns; /* atomic */
	uint8_t *key;
	uint32_t next; /* chain, free list or removed list */
	uint8_t key_len;
	uint8_t state;
};

struct kmap {
	struct kmap_options options;
	struct place *places;
	uint8_t *filter_cnts; /* keys behind each bit of the filter */
	uint32_t *chains;     /* heads, chain_mask + 1 of them */
	uint32_t chain_mask;
	pthread_mutex_t shards[SHARDS];
	uint32_t free_head;
	uint32_t removed_head, removed_tail;
	uint32_t removed_cnt;  /* ever */
	uint32_t released_cnt; /* ever */
	bool delete_failed;    /* said once */
	_Atomic uint32_t used_cnt;
	_Atomic uint32_t vacant_cnt; /* linked, and nothing to serve */
};

static pthread_mutex_t *shard_of(struct kmap *kmap, uint64_t hash)
{
	return &kmap->shards[(hash & kmap->chain_mask) % SHARDS];
}

static void free_push(struct kmap *kmap, uint32_t idx)
{
	kmap->places[idx].state = PLACE_FREE;
	kmap->places[idx].next = kmap->free_head;
	kmap->free_head = idx;
}

int kmap_new(const struct kmap_options *options, struct kmap **ret)
{
	struct kmap *kmap = alloc_zero(1, sizeof(*kmap));
	uint32_t chains = 1024;

	if (!kmap)
		return -ENOMEM;
	while (chains < options->entry_cnt)
		chains *= 2;
	kmap->options = *options;
	if (!kmap->options.ready_bytes)
		kmap->options.ready_bytes = options->log_bytes;
	kmap->chain_mask = chains - 1;
	kmap->places = alloc_zero(options->entry_cnt, sizeof(*kmap->places));
	kmap->chains = alloc_zero(chains, sizeof(*kmap->chains));
	kmap->filter_cnts = alloc_zero(XC_FILTER_WORDS, 64);
	if (!kmap->places || !kmap->chains || !kmap->filter_cnts) {
		alloc_free(kmap->places);
		alloc_free(kmap->chains);
		alloc_free(kmap->filter_cnts);
		alloc_free(kmap);
		return -ENOMEM;
	}
	memset(kmap->chains, 0xff, chains * sizeof(*kmap->chains)); /* NO_PLACE */
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&kmap->shards[i], NULL);
	kmap->free_head = kmap->removed_head = kmap->removed_tail = NO_PLACE;
	for (uint32_t i = options->entry_cnt; i > 0; i--)
		free_push(kmap, i - 1);
	*ret = kmap;
	return 0;
}

void kmap_free(struct kmap *kmap)
{
	if (!kmap)
		return;
	for (uint32_t i = 0; i < kmap->options.entry_cnt; i++)
		alloc_free(kmap->places[i].key);
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_destroy(&kmap->shards[i]);
	alloc_free(kmap->places);
	alloc_free(kmap->chains);
	alloc_free(kmap->filter_cnts);
	alloc_free(kmap);
}

/* --- digests --- */

static struct xc_digest digest_of(const struct kmap *kmap, struct span key)
{
	struct xc_digest digest;
	struct xc_sip sip;
	uint64_t word = 0;
	size_t pos = 0;

	xc_sip_init(&sip, kmap->options.conf->digest_key);
	for (; pos + 8 <= key.len; pos += 8) {
		memcpy(&word, key.ptr + pos, 8);
		xc_sip_word(&sip, word, XC_SIP_C);
	}
	word = 0;
	memcpy(&word, key.ptr + pos, key.len - pos);
	xc_sip_final(&sip, word, (uint32_t)key.len, XC_SIP_C, XC_SIP_D, &digest);
	return digest;
}

/* --- the filter --- */

static uint8_t *filter_cnt(struct kmap *kmap, const struct xc_digest *digest)
{
	return &kmap->filter_cnts[xc_filter_word(digest->lo) * 64 +
				  (uint32_t)__builtin_ctzll(xc_filter_bit(digest->lo))];
}

static void filter_add(struct kmap *kmap, const struct xc_digest *digest)
{
	uint64_t *word = &kmap->options.filter[xc_filter_word(digest->lo)];
	uint8_t *cnt = filter_cnt(kmap, digest);

	if (*cnt < UINT8_MAX)
		++*cnt;
	__atomic_store_n(word, *word | xc_filter_bit(digest->lo), __ATOMIC_RELAXED);
}

/* A count that was full once is not known any more: its bit stays. */
static void filter_remove(struct kmap *kmap, const struct xc_digest *digest)
{
	uint64_t *word = &kmap->options.filter[xc_filter_word(digest->lo)];
	uint8_t *cnt = filter_cnt(kmap, digest);

	if (*cnt < UINT8_MAX && --*cnt == 0)
		__atomic_store_n(word, *word & ~xc_filter_bit(digest->lo), __ATOMIC_RELAXED);
}

/* After adoption: bits of keys that are gone go. Those of the others were never off. */
static void filter_tidy(struct kmap *kmap)
{
	for (uint32_t i = 0; i < XC_FILTER_WORDS; i++) {
		uint64_t bits = 0;

		for (uint32_t bit = 0; bit < 64; bit++)
			bits |= (uint64_t)(kmap->filter_cnts[i * 64 + bit] > 0) << bit;
		__atomic_store_n(&kmap->options.filter[i], bits, __ATOMIC_RELAXED);
	}
}

/* --- the table of places --- */

static uint32_t chain_find(const struct kmap *kmap, struct span key, uint64_t hash)
{
	uint32_t idx = kmap->chains[hash & kmap->chain_mask];

	for (; idx != NO_PLACE; idx = kmap->places[idx].next) {
		const struct place *place = &kmap->places[idx];

		if (place->hash == hash && span_equal(key, span_of(place->key, place->key_len)))
			return idx;
	}
	return NO_PLACE;
}

bool kmap_find(struct kmap *kmap, struct span key, uint64_t hash, uint32_t *ret_idx)
{
	pthread_mutex_t *shard = shard_of(kmap, hash);
	uint32_t idx;

	pthread_mutex_lock(shard);
	idx = chain_find(kmap, key, hash);
	pthread_mutex_unlock(shard);
	if (idx == NO_PLACE)
		return false;
	*ret_idx = idx;
	return true;
}

static int place_link(struct kmap *kmap, uint32_t idx, struct span key, uint64_t hash)
{
	struct place *place = &kmap->places[idx];
	pthread_mutex_t *shard = shard_of(kmap, hash);

	place->key = alloc_zero(1, key.len);
	if (!place->key)
		return -ENOMEM;
	memcpy(place->key, key.ptr, key.len);
	place->key_len = (uint8_t)key.len;
	place->hash = hash;
	place->state = PLACE_LINKED;
	pthread_mutex_lock(shard);
	place->next = kmap->chains[hash & kmap->chain_mask];
	kmap->chains[hash & kmap->chain_mask] = idx;
	pthread_mutex_unlock(shard);
	atomic_fetch_add(&kmap->used_cnt, 1);
	return 0;
}

static void place_unlink(struct kmap *kmap, uint32_t idx)
{
	struct place *place = &kmap->places[idx];
	pthread_mutex_t *shard = shard_of(kmap, place->hash);
	uint32_t *link = &kmap->chains[place->hash & kmap->chain_mask];

	pthread_mutex_lock(shard);
	while (*link != idx)
		link = &kmap->places[*link].next;
	*link = place->next;
	pthread_mutex_unlock(shard);
	place->state = PLACE_UNLINKED;
	atomic_fetch_sub(&kmap->used_cnt, 1);
}

static void place_forget(struct kmap *kmap, uint32_t idx)
{
	alloc_free(kmap->places[idx].key);
	kmap->places[idx].key = NULL;
	kmap->places[idx].key_len = 0;
}

static void removed_push(struct kmap *kmap, uint32_t idx)
{
	kmap->places[idx].state = PLACE_REMOVED;
	kmap->places[idx].next = NO_PLACE;
	if (kmap->removed_tail == NO_PLACE)
		kmap->removed_head = idx;
	else
		kmap->places[kmap->removed_tail].next = idx;
	kmap->removed_tail = idx;
	kmap->removed_cnt++;
}

/* --- entries --- */

static void entry_begin(struct xc_entry *entry)
{
	__atomic_store_n(&entry->seq, entry->seq + 1, __ATOMIC_RELAXED);
	/* The odd number is seen before any field changes. */
	atomic_thread_fence(memory_order_seq_cst);
}

static void entry_end(struct xc_entry *entry)
{
	__atomic_store_n(&entry->seq, entry->seq + 1, __ATOMIC_RELEASE);
	/* Seen by every CPU before whoever waits for this write is told: docs/coherence.md. */
	atomic_thread_fence(memory_order_seq_cst);
}

/* The promoter looks at it without the key's lock: kmap_state. */
static void set_kind(struct xc_entry *entry, uint8_t kind)
{
	__atomic_store_n(&entry->kind, kind, __ATOMIC_RELAXED);
}

static bool key_is_plain(struct span key)
{
	for (size_t i = 0; i < key.len; i++) {
		if (key.ptr[i] <= ' ' || key.ptr[i] == 0x7f)
			return false;
	}
	return true;
}

bool kmap_fits(const struct kmap *kmap, const struct kmap_item *item)
{
	uint64_t loc = (uint64_t)(item->key.ptr - kmap->options.log_base);

	return item->key.len > 0 && item->key.len <= XC_KEY_MAX &&
	       item->value.ptr == item->key.ptr + item->key.len &&
	       item->value.len <= XC_VALUE_MAX && loc < kmap->options.log_bytes &&
	       (loc & (XC_BLOCK_SIZE - 1)) <= XC_BLOCK_SIZE - XC_BLOCK_TAIL &&
	       key_is_plain(item->key);
}

void kmap_switch(struct kmap *kmap, uint32_t idx, const struct kmap_item *item)
{
	struct xc_entry *entry = &kmap->options.entries[idx];
	char head[XC_HEAD_LEN + XC_KEY_MAX + XC_SUFFIX_MAX];
	char suffix[XC_SUFFIX_MAX + 1] = { 0 };
	int suffix_len = snprintf(suffix, sizeof(suffix), " %u %zu", item->flags, item->value.len);
	uint16_t value_csum = csum_of(item->value.ptr, item->value.len);
	uint64_t early_ns = __atomic_load_n(&kmap->places[idx].early_ns, __ATOMIC_RELAXED);
	uint64_t expire_ns = item->expire_ns;

	if (expire_ns && !item->absent)
		expire_ns = expire_ns > early_ns ? expire_ns - early_ns : 1;
	memcpy(head, "VALUE ", XC_HEAD_LEN);
	memcpy(head + XC_HEAD_LEN, item->key.ptr, item->key.len);
	memcpy(head + XC_HEAD_LEN + item->key.len, suffix, (size_t)suffix_len);

	if (entry->kind == XC_ENTRY_VACANT)
		atomic_fetch_sub(&kmap->vacant_cnt, 1);
	entry_begin(entry);
	set_kind(entry, item->absent ? XC_ENTRY_ABSENT : XC_ENTRY_VALUE);
	entry->key_len = (uint8_t)item->key.len;
	entry->value_len = (uint16_t)item->value.len;
	entry->key_loc = (uint64_t)(item->key.ptr - kmap->options.log_base);
	__atomic_store_n(&entry->expire_ns, expire_ns, __ATOMIC_RELAXED);
	entry->cas = item->cas;
	__atomic_store_n(&entry->flush_gen, item->flush_gen, __ATOMIC_RELAXED);
	entry->flags = item->flags;
	entry->head_csum = csum_of(head, XC_HEAD_LEN + item->key.len + (size_t)suffix_len);
	entry->value_csum = value_csum;
	entry->suffix_len = (uint8_t)suffix_len;
	memcpy(entry->suffix, suffix, XC_SUFFIX_MAX);
	/* After the odd number, before the even one: no hit of this version is forgotten. */
	__atomic_store_n(&kmap->options.uses[idx].stamp, 0, __ATOMIC_RELAXED);
	entry_end(entry);
}

void kmap_set_route(struct kmap *kmap, uint32_t idx, uint32_t route)
{
	__atomic_store_n(&kmap->options.entries[idx].route, (uint16_t)route, __ATOMIC_RELAXED);
}

bool kmap_set_early(struct kmap *kmap, uint32_t idx, uint64_t early_ns)
{
	uint64_t *early = &kmap->places[idx].early_ns;
	bool is_other = *early != early_ns;

	__atomic_store_n(early, early_ns, __ATOMIC_RELAXED);
	return is_other;
}

uint64_t kmap_expire_ns(const struct kmap *kmap, uint32_t idx)
{
	return __atomic_load_n(&kmap->options.entries[idx].expire_ns, __ATOMIC_RELAXED);
}

void kmap_vacate(struct kmap *kmap, uint32_t idx)
{
	struct xc_entry *entry = &kmap->options.entries[idx];

	if (entry->kind == XC_ENTRY_VACANT)
		return;
	atomic_fetch_add(&kmap->vacant_cnt, 1);
	entry_begin(entry);
	set_kind(entry, XC_ENTRY_VACANT);
	entry_end(entry);
}

void kmap_flush(struct kmap *kmap, uint32_t flush_gen)
{
	__atomic_store_n(&kmap->options.conf->flush_gen, flush_gen, __ATOMIC_SEQ_CST);
}

/* --- places --- */

/*
 * A held descriptor's delete fails for a missing element, or for a moment (bucket busy). Whatever
 * else: an element that stays names a place whose entry is vacant or another key's, which the
 * program compares; only its key cannot become resident again.
 */
static void hot_delete(struct kmap *kmap, const struct xc_digest *digest)
{
	int err = 0;

	for (int i = 0; i < DELETE_TRIES; i++) {
		if (bpf_map_delete_elem(kmap->options.hot_fd, digest) == 0 || errno == ENOENT)
			return;
		err = errno;
		if (err != EBUSY && err != EAGAIN && err != EINTR)
			break;
		sched_yield();
	}
	if (!kmap->delete_failed)
		log_line(
			LOG_ERROR, "kmap",
			"cannot take a key out of xc_hot: %s; it stays out of the kernel until the "
			"next start",
			strerror(err));
	kmap->delete_failed = true;
}

int kmap_insert(struct kmap *kmap, struct span key, uint64_t hash, uint32_t *ret_idx)
{
	struct xc_digest digest = digest_of(kmap, key);
	uint32_t idx = kmap->free_head;
	int err;

	if (idx == NO_PLACE)
		return -ENOSPC;
	kmap->free_head = kmap->places[idx].next;
	__atomic_store_n(&kmap->options.uses[idx].hits, 0, __ATOMIC_RELAXED);
	/*
	 * xc_hot first: no writer finds the place, and so switches its entry, before it is whole.
	 */
	if (bpf_map_update_elem(kmap->options.hot_fd, &digest, &idx, BPF_NOEXIST)) {
		err = -errno;
		free_push(kmap, idx); /* never in xc_hot: no grace period needed */
		return err;
	}
	atomic_fetch_add(&kmap->vacant_cnt, 1);
	err = place_link(kmap, idx, key, hash);
	if (err) {
		atomic_fetch_sub(&kmap->vacant_cnt, 1);
		hot_delete(kmap, &digest);
		removed_push(kmap, idx);
		return err;
	}
	filter_add(kmap, &digest);
	*ret_idx = idx;
	return 0;
}

void kmap_unlink(struct kmap *kmap, uint32_t idx)
{
	kmap_vacate(kmap, idx);
	atomic_fetch_sub(&kmap->vacant_cnt, 1);
	place_unlink(kmap, idx);
}

void kmap_remove(struct kmap *kmap, uint32_t idx)
{
	const struct place *place = &kmap->places[idx];
	struct xc_digest digest = digest_of(kmap, span_of(place->key, place->key_len));

	hot_delete(kmap, &digest);
	filter_remove(kmap, &digest);
	place_forget(kmap, idx);
	removed_push(kmap, idx);
}

uint32_t kmap_removed_cnt(const struct kmap *kmap)
{
	return kmap->removed_cnt;
}

uint32_t kmap_release(struct kmap *kmap, uint32_t removed_before)
{
	uint32_t cnt = 0;

	while (kmap->removed_head != NO_PLACE && kmap->released_cnt != removed_before) {
		uint32_t idx = kmap->removed_head;

		kmap->removed_head = kmap->places[idx].next;
		if (kmap->removed_head == NO_PLACE)
			kmap->removed_tail = NO_PLACE;
		free_push(kmap, idx);
		kmap->released_cnt++;
		cnt++;
	}
	return cnt;
}

/* --- adoption --- */

/* The key an entry names, if the entry can be believed. */
static bool entry_key(const struct kmap *kmap, const struct xc_entry *entry, struct span *ret)
{
	uint64_t item_len = (uint64_t)entry->key_len + entry->value_len;

	if ((entry->seq & 1) || entry->kind != XC_ENTRY_VALUE || entry->key_len == 0 ||
	    entry->key_len > XC_KEY_MAX || entry->value_len > XC_VALUE_MAX)
		return false;
	/* key_loc is any number: a sum with it may wrap. */
	if (entry->key_loc > kmap->options.ready_bytes ||
	    item_len > kmap->options.ready_bytes - entry->key_loc)
		return false;
	*ret = span_of(kmap->options.log_base + entry->key_loc, entry->key_len);
	return true;
}

static void adopt_entries(struct kmap *kmap,
			  bool (*keep)(void *, struct span, const struct xc_entry *, uint64_t *),
			  void *ctx)
{
	kmap->free_head = NO_PLACE;
	for (uint32_t i = kmap->options.entry_cnt; i > 0; i--) {
		uint32_t idx = i - 1;
		struct xc_entry *entry = &kmap->options.entries[idx];
		struct span key;
		uint64_t hash;

		/* One place a key: a write must find the one that is served. */
		if (entry_key(kmap, entry, &key) && keep(ctx, key, entry, &hash) &&
		    chain_find(kmap, key, hash) == NO_PLACE &&
		    place_link(kmap, idx, key, hash) == 0)
			continue;
		if (entry->seq & 1)
			entry->seq++; /* its writer died half way */
		if (entry->kind != XC_ENTRY_VACANT || entry->seq != 0) {
			entry_begin(entry);
			set_kind(entry, XC_ENTRY_VACANT);
			entry_end(entry);
			removed_push(kmap, idx); /* a reader may still be at it */
		} else {
			free_push(kmap, idx);
		}
	}
}

/* True if the element of xc_hot names a kept place under its right digest. */
static bool element_holds(const struct kmap *kmap, const struct xc_digest *digest, uint32_t idx)
{
	struct xc_digest want;
	const struct place *place;

	if (idx >= kmap->options.entry_cnt || kmap->places[idx].state != PLACE_LINKED)
		return false;
	place = &kmap->places[idx];
	want = digest_of(kmap, span_of(place->key, place->key_len));
	return want.lo == digest->lo && want.hi == digest->hi;
}

int kmap_adopt(struct kmap *kmap,
	       bool (*keep)(void *ctx, struct span key, const struct xc_entry *entry,
			    uint64_t *ret_hash),
	       void *ctx)
{
	struct xc_digest digest, next;
	struct xc_digest *at = NULL;
	uint32_t idx;
	bool more;

	adopt_entries(kmap, keep, ctx);
	more = bpf_map_get_next_key(kmap->options.hot_fd, NULL, &next) == 0;
	while (more) {
		digest = next;
		at = &digest;
		more = bpf_map_get_next_key(kmap->options.hot_fd, at, &next) == 0;
		if (bpf_map_lookup_elem(kmap->options.hot_fd, &digest, &idx) == 0 &&
		    !element_holds(kmap, &digest, idx) &&
		    bpf_map_delete_elem(kmap->options.hot_fd, &digest) && errno != ENOENT)
			return -errno;
	}
	for (idx = 0; idx < kmap->options.entry_cnt; idx++) {
		const struct place *place = &kmap->places[idx];

		if (place->state != PLACE_LINKED)
			continue;
		digest = digest_of(kmap, span_of(place->key, place->key_len));
		if (bpf_map_update_elem(kmap->options.hot_fd, &digest, &idx, BPF_ANY))
			return -errno;
		filter_add(kmap, &digest);
	}
	filter_tidy(kmap);
	return 0;
}

/* --- looking --- */

uint32_t kmap_used_cnt(const struct kmap *kmap)
{
	return atomic_load(&kmap->used_cnt);
}

uint32_t kmap_vacant_cnt(const struct kmap *kmap)
{
	return atomic_load_explicit(&kmap->vacant_cnt, memory_order_relaxed);
}

uint32_t kmap_entry_cnt(const struct kmap *kmap)
{
	return kmap->options.entry_cnt;
}

enum kmap_state kmap_state(const struct kmap *kmap, uint32_t idx, struct span *ret_key,
			   uint64_t *ret_hash)
{
	const struct xc_entry *entry = &kmap->options.entries[idx];
	const struct place *place = &kmap->places[idx];

	if (place->state != PLACE_LINKED)
		return KMAP_FREE;
	*ret_key = span_of(place->key, place->key_len);
	*ret_hash = place->hash;
	if (__atomic_load_n(&entry->flush_gen, __ATOMIC_RELAXED) !=
	    __atomic_load_n(&kmap->options.conf->flush_gen, __ATOMIC_RELAXED))
		return KMAP_VACANT;
	switch (__atomic_load_n(&entry->kind, __ATOMIC_RELAXED)) {
	case XC_ENTRY_VACANT:
		return KMAP_VACANT;
	case XC_ENTRY_ABSENT:
		return KMAP_ABSENT;
	default:
		return KMAP_SERVING;
	}
}

uint32_t kmap_hits(const struct kmap *kmap, uint32_t idx)
{
	return __atomic_load_n(&kmap->options.uses[idx].hits, __ATOMIC_RELAXED);
}

uint64_t kmap_last_hit_ns(const struct kmap *kmap, uint32_t idx)
{
	uint64_t stamp = __atomic_load_n(&kmap->options.uses[idx].stamp, __ATOMIC_RELAXED);

	return stamp << XC_STAMP_SHIFT;
}
