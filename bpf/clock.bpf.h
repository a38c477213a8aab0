/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * clock - boot time, one tick fine.
 *
 * Does      turns jiffies into boot-time nanoseconds with the pair that the daemon calibrated.
 * Units     ns of CLOCK_BOOTTIME, up to one tick ahead of it (abi/conf.h, struct xc_clock_sample).
 * Source    bpf_jiffies64() is one load (3 ns); bpf_ktime_get_boot_ns() reads the counter (29 ns).
 */
#ifndef XC_BPF_CLOCK_H
#define XC_BPF_CLOCK_H

#include "abi/conf.h"
#include "verifier.bpf.h"

static __always_inline __u64 clock_now_ns(const struct xc_conf *conf)
{
	return read_once(conf->clock_base_ns) + bpf_jiffies64() * read_once(conf->tick_ns);
}

#endif
