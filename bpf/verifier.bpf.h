/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * verifier - idioms that make the verifier, the compiler and the CPU agree with us.
 *
 * Does      hides values from the compiler, orders two reads, and says which kernel rule each
 *           needs.
 * Source    kernel/bpf/verifier.c of 6.1, the oldest kernel served; docs/decisions/0005 for
 *           figures.
 */
#ifndef XC_BPF_VERIFIER_H
#define XC_BPF_VERIFIER_H

#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fixed words of abi/wire.h are little-endian images"
#endif

/*
 * The compiler must forget what it knows about x: else it moves, merges or drops the very compare
 * that shows the verifier a bound (6.1 learns from < and >, never from !=). Likewise a pointer must
 * be opaque between its sum and its compare: computed a second time it is another pointer,
 * unchecked.
 */
#define opaque(x) asm volatile("" : "+r"(x))

/* One load of exactly this width, not moved or repeated; for words that others write meanwhile. */
#define read_once(x) (*(const volatile typeof(x) *)&(x))

/* Packets and the log are read in words at any byte address: every JIT we load on allows that. */
#define load16(p) (*(const __u16 *)(p))
#define load32(p) (*(const __u32 *)(p))
#define load64(p) (*(const __u64 *)(p))
#define store16(p, x) (*(__u16 *)(p) = (x))
#define store32(p, x) (*(__u32 *)(p) = (x))
#define store64(p, x) (*(__u64 *)(p) = (x))

/*
 * x, which a compare has shown to be within the mask already. The mask shows it again where the
 * value is used: 6.1 does not carry a bound to a copy that was put on the stack before the compare.
 */
static __always_inline __u64 masked(__u64 x, __u64 mask)
{
	opaque(x);
	return x & mask;
}

/*
 * Whole 8-byte words in len bytes (len + 7: words that hold them), as a number of its own. A loop
 * over a length is bounded by this: compared itself, the length would leave the loop with another
 * range for each number of turns, and the verifier would follow each through all that comes later.
 */
static __always_inline __u64 words_in(__u64 len)
{
	opaque(len);
	len >>= 3;
	opaque(len);
	return len;
}

/*
 * Orders reads before it against reads after it. x86 does not reorder loads, so there the compiler
 * alone is held back. Elsewhere an atomic that fetches is a full barrier in every JIT (arm64:
 * LDADDAL, or a loop with DMB ISH); its result must be used, or clang makes the form without fetch,
 * which orders nothing. BPF has no load-acquire before 6.15. The build names the target.
 */
static __always_inline void read_barrier(void)
{
#ifdef __TARGET_ARCH_x86
	asm volatile("" ::: "memory");
#else
	__u64 word = 0;
	__u64 old = __sync_fetch_and_add(&word, 1);

	asm volatile("" ::"r"(old) : "memory");
#endif
}

/*
 * 1 if x is 0, else 0, for x below 2^32. Branch-free, and a range [0, 1] rather than two known
 * constants to the verifier: offsets built from it keep one state where a branch would double them.
 */
static __always_inline __u64 is_zero(__u64 x)
{
	x -= 1;
	opaque(x);
	return x >> 63;
}

#endif
