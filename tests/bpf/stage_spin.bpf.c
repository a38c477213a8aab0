/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program that runs as long as it is told: a packet's run that a grace period waits for. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define STEPS_MAX (1U << 23) /* the most that bpf_loop takes */

__u64 spin_ns;
__u32 spin_started;
__u32 spin_ended;

static long spin_step(__u32 step, __u64 *until_ns)
{
	(void)step;
	return bpf_ktime_get_ns() >= *until_ns;
}

SEC("xdp")
int spin(struct xdp_md *xdp)
{
	__u64 until_ns = bpf_ktime_get_ns() + spin_ns;

	(void)xdp;
	*(volatile __u32 *)&spin_started = 1;
	bpf_loop(STEPS_MAX, spin_step, &until_ns, 0);
	*(volatile __u32 *)&spin_ended = 1;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
