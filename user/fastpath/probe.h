/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe - tries what the fast path needs, and undoes the trial.
 *
 * Does      loads the program without pinning it, asks for native XDP with a program that passes
 *           everything, looks at offloads.
 * Errors    negative errno, and one sentence in why.
 * Owner     leaves nothing behind; does not touch an interface that carries a program.
 * Threads   any.
 */
#ifndef XC_FASTPATH_PROBE_H
#define XC_FASTPATH_PROBE_H

#include <stdbool.h>

#define PROBE_WHY_MAX 200

int probe_load(char why[PROBE_WHY_MAX]);
/* 1: native XDP works. 0: it does not. -EBUSY: some program is attached, so it was not tried. */
int probe_native(const char *ifname, char why[PROBE_WHY_MAX]);
bool probe_membarrier(void);
/* The NIC strips VLAN tags before XDP sees the frame. */
bool probe_vlan_offload(const char *ifname);

#endif
