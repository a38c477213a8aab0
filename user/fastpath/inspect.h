/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect - what the pins of an instance say, with or without a daemon.
 *
 * Does      opens the pinned maps for reading and describes the instance.
 * Units     times in boot-time ns.
 * Errors    -ENOENT: nothing is pinned there; -EPERM: not root.
 * Owner     changes nothing, keeps nothing open.
 * Threads   any.
 */
#ifndef XC_FASTPATH_INSPECT_H
#define XC_FASTPATH_INSPECT_H

#include <sys/types.h>

#include "fastpath/loader.h"

struct inspect {
	char dir[2048];	 /* …/v1 */
	pid_t owner;	 /* the daemon; 0: none runs */
	bool configured; /* a daemon has set the maps up */
	struct xc_conf conf;
	struct xc_stats stats; /* summed over CPUs */
	uint32_t entry_cnt;    /* elements of xc_hot */
	uint32_t entry_max;
	uint32_t extent_cnt; /* of the log */
	uint32_t local_cnt;
	uint32_t allow_cnt;
	struct fastpath_interface interfaces[FASTPATH_INTERFACE_MAX];
	uint32_t interface_cnt; /* of this network namespace, with our program */
};

int inspect_pins(const char *pin_root, const char *instance, struct inspect *ret);
/* Id of an XDP program on the interface that is not this instance's; 0: none. */
uint32_t inspect_foreign_prog(const char *pin_root, const char *instance, const char *ifname);

#endif
