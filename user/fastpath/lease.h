/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease - how long the kernel may go on serving without us.
 *
 * Does      calibrates the program's clock, renews xc_conf.serve_until_ns, gives it up, and notices
 *           that another process owns the maps now.
 * Units     boot-time ns.
 * Errors    lease_renew: -ESTALE when the owner epoch is no longer ours, -ENODEV when the maps are
 *           nobody's, because they were unloaded by force: stop at once in both cases.
 * Threads   one thread renews.
 * Source    docs/coherence.md; decisions 0003.
 */
#ifndef XC_FASTPATH_LEASE_H
#define XC_FASTPATH_LEASE_H

#include <stdint.h>

#include "fastpath/loader.h"

struct lease {
	struct xc_conf *conf;
	uint64_t length_ns;
	uint64_t epoch;
	int64_t suspended_ns; /* boot time ahead of monotonic time, as in clock_base_ns */
};

/* Needs the privilege to run a BPF program; the others do not. */
int lease_init(struct lease *lease, const struct fastpath *fp, uint32_t lease_ms);
int lease_renew(struct lease *lease, uint64_t now_ns);
/* From the return on every packet passes. */
void lease_revoke(struct lease *lease);

#endif
