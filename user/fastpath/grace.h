/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grace - waits until no kernel program that could see old state still runs.
 *
 * Does      one RCU grace period. XDP and tc programs run inside RCU read-side sections, so every
 *           run that began before the call has ended when it returns.
 * Shape     membarrier(MEMBARRIER_CMD_GLOBAL), which is one synchronize_rcu() (8 to 28 ms
 *           measured); where that is not to be had, an update of an array-of-maps slot, after
 *           which the kernel waits the same.
 * Errors    grace_open: -ENOTSUP when neither works: nothing may be reused then, so the fast path
 *           stays off.
 * Threads   any.
 * Source    membarrier(2); kernel maybe_wait_bpf_programs().
 */
#ifndef XC_FASTPATH_GRACE_H
#define XC_FASTPATH_GRACE_H

/*
 * Probes the methods and logs which one is used. seg_fd: xc_seg, whose slot 0 is rewritten with
 * the map it holds.
 */
int grace_open(int seg_fd);
void grace_wait(void);

#endif
