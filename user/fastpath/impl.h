/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * impl - what loader.c and attach.c share.
 *
 * Does      the struct behind the loader's face, and the attach half of it.
 * Threads   main.
 */
#ifndef XC_FASTPATH_IMPL_H
#define XC_FASTPATH_IMPL_H

#include "fastpath.skel.h"
#include "fastpath/loader.h"
#include "fastpath/pins.h"

struct fastpath {
	struct fastpath_options options;
	struct pins pins;
	int lock_fd;
	struct fastpath_bpf *skel;
	struct fastpath_maps maps;
	uint64_t object_id; /* of the object built in */
	bool progs_pinned;  /* by an earlier process, from the same object: not verified again */
	int xdp_fd;	    /* programs */
	int tc_fd;
	int clock_fd;
	uint64_t entries_bytes; /* mapped */
	uint64_t hits_bytes;
	struct fastpath_interface interfaces[FASTPATH_INTERFACE_MAX];
	uint32_t interface_cnt;
};

/* True if the program uses the map with this id: it is one of this instance's. */
bool attach_prog_is_ours(uint32_t prog_id, uint32_t conf_map_id);
/* 0: none attached. *ret_mode is the mode it runs in. */
uint32_t attach_query(uint32_t ifindex, enum xdp_mode *ret_mode);
/* Takes everything of the instance off every interface of this network namespace. */
int attach_remove_all(const struct pins *pins, uint32_t conf_map_id);
uint32_t map_id_of(int map_fd);
bool attach_tc_present(uint32_t ifindex, uint32_t conf_map_id);

#endif
