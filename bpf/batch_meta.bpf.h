/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * batch_meta - "mg <key> <flags>*\r\n", ending with the datagram.
 *
 * Does      answers the flags v f k O q s t c, each once at most.
 * Shape     request: "mg " key[1..250] { ' ' flag | " O" opaque[1..32] }{0..8} CR LF
 *           reply:   "VA " bytes | "HD" { ' ' flag text }* CR LF [ value CR LF ]
 *           of a key known absent "EN" CR LF
 *           flags are answered in the order in which they came; q and v say nothing.
 * Errors    pass_meta for any other flag, one that is there twice, or more blanks than one;
 *           pass_absent for q and a key known absent; what parse_text and lookup say of the key.
 * Source    memcached doc/protocol.txt, "Meta Get".
 */
#ifndef XC_BPF_BATCH_META_H
#define XC_BPF_BATCH_META_H

#include "abi/wire.h"
#include "batch_item.bpf.h"
#include "decimal.bpf.h"

#define META_OPAQUE_MAX 32

/* A flag's letter as a bit: letters are told apart by their low six bits. */
#define META_BIT(letter) (1ULL << ((letter)&63))
#define META_KNOWN                                                                                 \
	(META_BIT('v') | META_BIT('f') | META_BIT('k') | META_BIT('O') | META_BIT('q') |           \
	 META_BIT('s') | META_BIT('t') | META_BIT('c'))

/* "VA 1456" and eight flags: k with a key, O, numbers of up to 10, 4, 10 and 20 digits. */
#define META_HEAD_MAX 400

/* Bytes from pos on that may stand in a word, up to 7 beyond max; s->key_len. */
static __always_inline void batch_meta_word(struct xc_scratch *s, __u64 pos, __u64 max)
{
	__u64 at = pos, bad = 0;

#pragma nounroll
	for (__u32 i = 0; i < max / 8 + 1; i++) {
		bad = text_bad_bytes(load64(batch_in(s, at)));
		if (bad)
			break;
		at += 8;
	}
	if (bad)
		at += text_good_len(bad);
	/* To memory: the verifier forgets which turn the loop ended in. */
	*(volatile __u64 *)&s->key_len = at - pos;
}

/* The flag behind the blank at s->pos, into s->flags. */
__attribute__((noinline)) int batch_meta_flag(struct xc_scratch *s)
{
	__u64 letter, len, pos;

	if (!s)
		return XC_pass_unconfigured;
	pos = s->pos + 1;
	if (*batch_in(s, pos - 1) != ' ' || s->flag_cnt >= XC_META_FLAGS_MAX)
		return XC_pass_meta;
	letter = *batch_in(s, pos);
	batch_meta_word(s, pos, META_OPAQUE_MAX + 1);
	len = read_once(s->key_len);
	if (letter - '@' >= 64 || !(META_BIT(letter) & META_KNOWN & ~s->flag_bits))
		return XC_pass_meta;
	if (letter == 'O' ? len < 2 || len > META_OPAQUE_MAX + 1 : len != 1)
		return XC_pass_meta;
	s->flag_bits |= META_BIT(letter);
	s->flags[s->flag_cnt & (XC_META_FLAGS_MAX - 1)] = pos << 8 | len;
	s->flag_cnt++;
	s->pos = pos + len;
	return XC_NEXT;
}

/* Seconds left, as the daemon counts them; true: there is no end. */
static __always_inline bool batch_meta_ttl(const struct xc_scratch *s, __u64 *ret_sec)
{
	__u64 end_ns = s->item_expire_ns, now_ns = s->now_ns + XC_EXPIRE_LATE_NS;

	*ret_sec = end_ns > now_ns ? (end_ns - now_ns + 999999999) / 1000000000 : 0;
	return end_ns == 0;
}

static __always_inline void batch_meta_number(struct xc_scratch *s, __u64 at, __u64 letter,
					      __u64 number)
{
	__u64 words[3], len = decimal_render(number, words);

	/* Its blank gives way to the letter. */
	store64(batch_out(s, at + 1), words[0]);
	store64(batch_out(s, at + 9), words[1]);
	store64(batch_out(s, at + 17), words[2]);
	store16(batch_out(s, at), ' ' | letter << 8);
	s->out_len = at + 1 + len;
}

/* Answers the flag number s->flag_at. */
__attribute__((noinline)) int batch_meta_answer(struct xc_scratch *s)
{
	__u64 at, letter, pos, len, number = 0;

	if (!s)
		return XC_pass_unconfigured;
	at = s->out_len;
	len = s->flags[s->flag_at & (XC_META_FLAGS_MAX - 1)];
	pos = len >> 8;
	len &= 0xff;
	letter = *batch_in(s, pos);
	switch (letter) {
	case 'v':
	case 'q':
		return XC_NEXT;
	case 'k':
		store16(batch_out(s, at), ' ' | 'k' << 8);
		batch_copy(s, at + 2, batch_in(s, FRAME_LEN + 3), s->item_key_len, XC_KEY_MAX);
		s->out_len = at + 2 + s->item_key_len;
		return XC_NEXT;
	case 'O':
		*batch_out(s, at) = ' ';
		batch_copy(s, at + 1, batch_in(s, pos), len, META_OPAQUE_MAX + 1);
		s->out_len = at + 1 + len;
		return XC_NEXT;
	case 'f':
		number = s->item_flags;
		break;
	case 's':
		number = s->item_value_len;
		break;
	case 'c':
		number = s->item_cas;
		break;
	default:
		if (batch_meta_ttl(s, &number)) {
			store32(batch_out(s, at), ' ' | 't' << 8 | '-' << 16 | '1' << 24);
			s->out_len = at + 4;
			return XC_NEXT;
		}
	}
	batch_meta_number(s, at, letter, number);
	return XC_NEXT;
}

static __always_inline void batch_meta_begin(struct xc_scratch *s)
{
	__u64 words[3], len;

	if (!(s->flag_bits & META_BIT('v'))) {
		store16(batch_out(s, 0), 'H' | 'D' << 8);
		s->out_len = 2;
		return;
	}
	len = decimal_render(s->item_value_len, words);
	store16(batch_out(s, 0), 'V' | 'A' << 8);
	store64(batch_out(s, 2), words[0]);
	s->out_len = 2 + len;
}

/* Finds the item of the key, whose length s->item_key_len is, and begins the reply. */
__attribute__((noinline)) int batch_meta_item(struct xc_scratch *s)
{
	struct xc_ctx c = { .batch = true, .scratch = s };
	enum xc_outcome outcome;

	if (!s)
		return XC_pass_unconfigured;
	outcome = batch_key_len(&c, s->item_key_len);
	if (outcome != XC_NEXT)
		return outcome;
	c.key = s->in + FRAME_LEN + 3;
	c.key_tail = load64(batch_in(s, FRAME_LEN + 3 + c.key_len - 8));
	outcome = batch_find(s, &c);
	if (outcome != XC_NEXT)
		return outcome;
	s->item_expire_ns = c.entry.expire_ns;
	s->item_cas = c.entry.cas;
	s->item_flags = c.entry.flags;
	s->item_value_len = c.entry.value_len;
	s->item_value_sum = c.entry.value_csum;
	s->item_loc = c.entry.key_loc;
	batch_meta_begin(s);
	return batch_used(s, &c);
}

/*
 * The line is there; the value follows it, if it was asked for. The log keeps what the entry named
 * until this program ends.
 */
__attribute__((noinline)) int batch_meta_end(struct xc_scratch *s)
{
	struct xc_ctx c = { .entry = { .suffix_len = XC_SUFFIX_MIN } };
	enum xc_outcome outcome;
	__u64 at;

	if (!s)
		return XC_pass_unconfigured;
	at = s->out_len;
	store16(batch_out(s, at), XC_WORD_CRLF);
	at += 2;
	s->out_len = at;
	s->sum = batch_sum(s, 0, at, META_HEAD_MAX);
	if (!(s->flag_bits & META_BIT('v')))
		return XC_NEXT;
	c.entry.key_loc = s->item_loc;
	c.entry.value_len = s->item_value_len;
	outcome = lookup_log(&c);
	if (outcome != XC_NEXT)
		return outcome;
	batch_copy(s, at, c.log_key + masked(s->item_key_len, 0xff), c.entry.value_len,
		   XC_VALUE_MAX);
	s->sum += csum_at(s->item_value_sum, at);
	at += c.entry.value_len;
	store16(batch_out(s, at), XC_WORD_CRLF);
	s->sum += csum_at(XC_WORD_CRLF, at);
	s->out_len = at + 2;
	return XC_NEXT;
}

static __always_inline enum xc_outcome batch_meta_absent(struct xc_scratch *s)
{
	if (s->flag_bits & META_BIT('q'))
		return XC_pass_absent;
	store32(batch_out(s, 0), XC_WORD_EN | XC_WORD_CRLF << 16);
	s->sum = XC_WORD_EN + XC_WORD_CRLF;
	s->out_len = 4;
	return XC_NEXT;
}

static __always_inline enum xc_outcome batch_meta(struct xc_scratch *s)
{
	enum xc_outcome outcome = XC_NEXT;

	if (load16(batch_in(s, s->in_len - 2)) != XC_WORD_CRLF)
		return XC_pass_line;
	batch_meta_word(s, FRAME_LEN + 3, XC_KEY_MAX);
	s->item_key_len = read_once(s->key_len);
	s->pos = FRAME_LEN + 3 + s->item_key_len;
	s->flag_cnt = s->flag_bits = 0;
	for (__u32 i = 0; i < XC_META_FLAGS_MAX && outcome == XC_NEXT; i++) {
		if (s->pos + 2 == s->in_len)
			break;
		outcome = batch_meta_flag(s);
	}
	if (outcome == XC_NEXT)
		outcome = s->pos + 2 == s->in_len ? batch_meta_item(s) : XC_pass_meta;
	if (outcome == XC_pass_absent)
		return batch_meta_absent(s);
	for (__u32 i = 0; i < XC_META_FLAGS_MAX && outcome == XC_NEXT; i++) {
		if (i >= s->flag_cnt)
			break;
		s->flag_at = i;
		outcome = batch_meta_answer(s);
	}
	return outcome == XC_NEXT ? batch_meta_end(s) : outcome;
}

#endif
