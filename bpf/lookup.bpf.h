/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lookup - the key's entry, read whole, and its item in the log.
 *
 * Does      digest -> can it be resident -> entry number -> a copy of the entry that no writer
 *           touched -> may it be served now -> the item in the log, whose key must equal the
 *           packet's, byte for byte.
 * Errors    pass_miss, pass_vacant, pass_busy, pass_flushed, pass_expired, pass_log,
 *           pass_other_key; never writes. pass_absent: all that holds, and the key has no item.
 * Invariant what the copy names stays as it is until the program returns: log bytes are reused only
 *           after an RCU grace period, and programs run inside RCU read sections.
 * Source    include/abi/entry.h (reading), docs/coherence.md.
 */
#ifndef XC_BPF_LOOKUP_H
#define XC_BPF_LOOKUP_H

#include "ctx.bpf.h"
#include "maps.bpf.h"
#include "parse_packet.bpf.h"

#define ENTRY_WORDS (sizeof(struct xc_entry) / 8)

/*
 * The entry that this digest led to last time, without a walk through xc_hot (25 to 40 ns, and two
 * cache lines more). At tc the hand-over mark has said it. True if there is one to try.
 */
static __always_inline bool lookup_hint(struct xc_ctx *c)
{
	__u32 slot = c->digest_low >> 48;
	__u64 *hint;

	_Static_assert(XC_HINT_CNT == 1 << 16, "slot is the digest's top 16 bits");
	if (c->tc)
		return true;
	hint = bpf_map_lookup_elem(&xc_hint, &slot);
	c->hint = hint;
	if (!hint || (__u32)read_once(*hint) != (__u32)c->digest_low)
		return false;
	c->entry_idx = read_once(*hint) >> 32;
	return true;
}

/* Most keys that are not resident are known for that without xc_hot and the digest's other half. */
static __always_inline bool lookup_filter(const struct xc_ctx *c)
{
	__u32 word = xc_filter_word(c->digest_low);
	const __u64 *bits = bpf_map_lookup_elem(&xc_filter, &word);

	return bits && (read_once(*bits) & xc_filter_bit(c->digest_low));
}

static __always_inline enum xc_outcome lookup_hot(struct xc_ctx *c)
{
	struct xc_digest digest = { .lo = c->digest_low };
	const __u32 *idx;

	if (!lookup_filter(c))
		return XC_pass_miss;
	digest.hi = xc_sip_high(&c->sip, XC_SIP_D);
	idx = bpf_map_lookup_elem(&xc_hot, &digest);
	if (!idx)
		return XC_pass_miss;
	c->entry_idx = read_once(*idx);
	if (c->hint)
		*c->hint = (__u64)c->entry_idx << 32 | (__u32)c->digest_low;
	return XC_NEXT;
}

/* Copies the entry between two equal, even reads of its sequence word. */
static __always_inline enum xc_outcome lookup_entry(struct xc_ctx *c)
{
	__u32 idx = c->entry_idx;
	const struct xc_entry *entry = bpf_map_lookup_elem(&xc_entry, &idx);
	const __u64 *from = (const void *)entry;
	__u64 *to = (void *)&c->entry;
	__u32 seq;

	if (!entry)
		return XC_pass_vacant;
	seq = read_once(entry->seq);
	read_barrier();
#pragma unroll
	for (__u32 i = 0; i < ENTRY_WORDS; i++)
		to[i] = read_once(from[i]);
	read_barrier();
	if ((seq & 1) || read_once(entry->seq) != seq)
		return XC_pass_busy;
	return XC_NEXT;
}

static __always_inline enum xc_outcome lookup_fresh(const struct xc_ctx *c)
{
	const struct xc_entry *e = &c->entry;
	__u64 flush_at_ns = read_once(c->conf->flush_at_ns);

	if (e->kind != XC_ENTRY_VALUE && e->kind != XC_ENTRY_ABSENT)
		return XC_pass_vacant;
	if (e->flush_gen != read_once(c->conf->flush_gen) ||
	    (flush_at_ns && c->now_ns >= flush_at_ns))
		return XC_pass_flushed;
	if (e->expire_ns && c->now_ns >= e->expire_ns)
		return XC_pass_expired;
	return XC_NEXT;
}

/* The item's place in the log, proven to lie inside a block that exists. */
static __always_inline enum xc_outcome lookup_log(struct xc_ctx *c)
{
	__u64 extent = c->entry.key_loc >> XC_EXTENT_SHIFT;
	__u32 block = (c->entry.key_loc >> XC_BLOCK_SHIFT) & (XC_EXTENT_BLOCKS - 1);
	__u32 extent_idx = extent;
	const __u8 *bytes;
	__u64 lead;
	void *blocks;

	if (extent >= XC_EXTENT_MAX || c->entry.value_len > XC_VALUE_MAX ||
	    c->entry.suffix_len > XC_SUFFIX_MAX || c->entry.suffix_len < XC_SUFFIX_MIN)
		return XC_pass_log;
	blocks = bpf_map_lookup_elem(&xc_seg, &extent_idx);
	if (!blocks)
		return XC_pass_log;
	bytes = bpf_map_lookup_elem(blocks, &block);
	if (!bytes)
		return XC_pass_log;
	/* Bounded last: kept on the stack over a call it would lose its bound (6.1). */
	lead = (c->entry.key_loc & (XC_BLOCK_SIZE - 1)) - XC_KEY_LEAD;
	opaque(lead);
	if (lead >= XC_BLOCK_SIZE - XC_BLOCK_TAIL)
		return XC_pass_log;
	c->log_key = bytes + lead + XC_KEY_LEAD;
	return XC_NEXT;
}

/*
 * Whole words, then the 8 bytes that end with the key: in the log too something readable precedes a
 * short key (XC_KEY_LEAD), which is shifted out.
 */
static __always_inline enum xc_outcome lookup_same_key(const struct xc_ctx *c, const void *key)
{
	const __u8 *log = c->log_key;
	__u64 word_cnt = words_in(c->key_len);
	__u64 differ;

	if (c->entry.key_len != c->key_len)
		return XC_pass_other_key;
	differ = load64(log + c->key_len - 8) ^ c->key_tail;
	if (c->key_len < 8)
		differ >>= 64 - 8 * c->key_len;
	if (differ)
		return XC_pass_other_key;
	for (__u64 i = 0; i < XC_KEY_MAX / 8; i++) {
		if (i >= word_cnt)
			break;
		opaque(key);
		if (!c->batch && key + 8 > c->data_end)
			return XC_pass_length;
		if (load64(key) != load64(log))
			return XC_pass_other_key;
		key += 8;
		log += 8;
	}
	return XC_NEXT;
}

static __always_inline enum xc_outcome lookup_at(struct xc_ctx *c)
{
	const void *key = c->batch ? c->key : c->data + c->key_off;
	enum xc_outcome outcome;

	outcome = lookup_entry(c);
	if (outcome == XC_NEXT)
		outcome = lookup_fresh(c);
	if (outcome == XC_NEXT)
		outcome = lookup_log(c);
	if (outcome == XC_NEXT)
		outcome = lookup_same_key(c, key);
	if (outcome == XC_NEXT && c->entry.kind == XC_ENTRY_ABSENT)
		return XC_pass_absent;
	return outcome;
}

static __always_inline enum xc_outcome lookup(struct xc_ctx *c)
{
	enum xc_outcome outcome = XC_NEXT;
	bool hinted = lookup_hint(c);

	/* Twice at most: what a hint leads to is either a hit or no answer at all. */
#pragma nounroll
	for (__u32 i = 0; i < 2; i++) {
		if (!hinted)
			outcome = lookup_hot(c);
		if (outcome == XC_NEXT)
			outcome = lookup_at(c);
		if (outcome == XC_NEXT || outcome == XC_pass_absent || !hinted || c->tc)
			break;
		outcome = XC_NEXT;
		hinted = false;
	}
	return outcome;
}

#endif
