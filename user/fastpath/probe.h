/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * probe - tries what the fast path needs, and undoes the trial.
 *
 * Does      loads the program without pinning it, asks for native XDP with a program that passes
 *           everything, makes an extent and a tc hook, looks at offloads and firewall chains.
 * Errors    negative errno, and one sentence in why.
 * Owner     leaves nothing behind; does not touch an interface that carries a program.
 * Threads   any.
 */
#ifndef XC_FASTPATH_PROBE_H
#define XC_FASTPATH_PROBE_H

#include <stdbool.h>

#include "fastpath/loader.h"

#define PROBE_WHY_MAX 200

int probe_load(char why[PROBE_WHY_MAX]);
/* 1: native XDP works. 0: it does not. -EBUSY: some program is attached, so it was not tried. */
int probe_native(const char *ifname, char why[PROBE_WHY_MAX]);
/* The mode of the program that is attached there; XDP_MODE_OFF: none. */
enum xdp_mode probe_mode(const char *ifname);
/*
 * Native XDP attaches, but what it sends does not arrive: a veth's other end takes it only while it
 * carries a program itself. True also when that end cannot be asked. Else why is empty.
 */
bool probe_loses_replies(const char *ifname, char why[PROBE_WHY_MAX]);
bool probe_membarrier(void);
/* One extent of the log, made and dropped. */
int probe_extent(char why[PROBE_WHY_MAX]);
/* A clsact qdisc and our tc program at it, in a network namespace of its own. */
int probe_tc(char why[PROBE_WHY_MAX]);
/* The NIC strips VLAN tags before XDP sees the frame. */
bool probe_vlan_offload(const char *ifname);
/* The NIC merges packets (LRO), which XDP does not take. */
bool probe_lro(const char *ifname);
/* Chains of nftables (iptables-nft's, too) at INPUT; negative errno: cannot tell. */
int probe_input_chains(void);
/* The allowlist lets every IPv4 or every IPv6 source in. */
bool probe_allows_all(const char *pin_root, const char *instance);

#endif
