/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * batch_item - what the requests that batch knows have in common: places in xc_scratch, finding a
 * key's item, putting bytes into the reply.
 *
 * Does      bounds every place, finds a key's item, copies and sums bytes.
 * Units     places and lengths in bytes, from the start of `in` or `out`.
 * Rule      places are masked wherever they are used: they come from xc_scratch, of whose content
 *           the verifier knows nothing. Whether something fits is asked before, by numbers.
 */
#ifndef XC_BPF_BATCH_ITEM_H
#define XC_BPF_BATCH_ITEM_H

#include "csum.bpf.h"
#include "ctx.bpf.h"
#include "lookup.bpf.h"
#include "maps.bpf.h"
#include "parse_text.bpf.h"

/* A place in the text; what is asked for lies inside, the mask shows it. */
static __always_inline __u8 *batch_in(struct xc_scratch *s, __u64 pos)
{
	return s->in + masked(pos, XC_TEXT_IN_MAX - 1);
}

static __always_inline __u8 *batch_out(struct xc_scratch *s, __u64 pos)
{
	return s->out + masked(pos, XC_TEXT_OUT_MAX - 1);
}

/*
 * Bytes of the log, in words; up to 7 more are read, which it has, and written, where a later piece
 * follows.
 */
static __always_inline void batch_copy(struct xc_scratch *s, __u64 at, const void *from, __u64 len,
				       __u64 max)
{
	__u64 word_cnt = words_in(len + 7);

#pragma nounroll
	for (__u32 i = 0; i < (max + 7) / 8; i++) {
		if (i >= word_cnt)
			break;
		store64(batch_out(s, at), load64(from));
		at += 8;
		from += 8;
	}
}

/* Wide sum of bytes in `out`, as if they began at an even place. */
static __always_inline __u64 batch_sum(struct xc_scratch *s, __u64 at, __u64 len, __u64 max)
{
	__u64 word_cnt = words_in(len), sum = 0, word;

#pragma nounroll
	for (__u32 i = 0; i < max / 8; i++) {
		if (i >= word_cnt)
			break;
		word = load64(batch_out(s, at));
		sum += (__u32)word + (word >> 32);
		at += 8;
	}
	word = load64(batch_out(s, at)) & ((1ULL << 8 * (len & 7)) - 1);
	return sum + (__u32)word + (word >> 32);
}

/* One more key is answered. */
static __always_inline enum xc_outcome batch_used(struct xc_scratch *s, const struct xc_ctx *c)
{
	if (s->key_cnt >= XC_KEYS_MAX)
		return XC_pass_keys;
	s->used[s->key_cnt & (XC_KEYS_MAX - 1)] = c->entry_idx;
	s->key_cnt++;
	return XC_NEXT;
}

/*
 * The item of the key that lies whole in xc_scratch, at c->key; behind it and in front of it there
 * are 8 readable bytes. pass_absent: the key is counted as answered, its reply is the caller's.
 */
static __always_inline enum xc_outcome batch_find(struct xc_scratch *s, struct xc_ctx *c)
{
	enum xc_outcome outcome;
	__u32 zero = 0;

	c->conf = bpf_map_lookup_elem(&xc_conf, &zero);
	if (!c->conf)
		return XC_pass_unconfigured;
	c->now_ns = s->now_ns;
	outcome = parse_text_digest(c, c->key);
	if (outcome == XC_NEXT)
		outcome = lookup(c);
	if (outcome != XC_pass_absent)
		return outcome;
	s->absent_cnt++;
	outcome = batch_used(s, c);
	return outcome == XC_NEXT ? XC_pass_absent : outcome;
}

/* c->key_len from a length that must be a key's. */
static __always_inline enum xc_outcome batch_key_len(struct xc_ctx *c, __u64 len)
{
	len -= 1;
	opaque(len);
	if (len >= XC_KEY_MAX)
		return XC_pass_key_len;
	c->key_len = masked(len, 0xff) + 1;
	return XC_NEXT;
}

#endif
