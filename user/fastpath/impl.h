/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * impl - what loader.c, unload.c, attach.c, tchook.c and warden.c share.
 *
 * Does      the struct behind the loader's face, and the attach half of it.
 * Threads   main.
 */
#ifndef XC_FASTPATH_IMPL_H
#define XC_FASTPATH_IMPL_H

#include <pthread.h>

#include "fastpath.skel.h"
#include "fastpath/loader.h"
#include "fastpath/pins.h"

#define IMPL_WHY_MAX sizeof(((struct fastpath_interface *)0)->reason)

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
	bool incomplete; /* a map was not pinned: programs from before use another, or none */
	bool fresh;	 /* nothing was pinned before: a start that fails takes its pins along */
	uint64_t entries_bytes; /* mapped */
	uint64_t hits_bytes;
	pthread_mutex_t interfaces_lock; /* main changes them, others ask */
	struct fastpath_interface interfaces[FASTPATH_INTERFACE_MAX];
	uint32_t interface_cnt;
};

/* libbpf speaks through our log, one level lower. */
int loader_log_libbpf(enum libbpf_print_level level, const char *fmt, va_list args);
/* A mmapable map's values, shared with the kernel; NULL: errno says why. */
void *loader_map(int fd, uint64_t bytes);
void loader_unmap(void *ptr, uint64_t bytes); /* NULL-safe */

uint32_t map_id_of(int map_fd);
/* True if the program uses the map with this id: it is one of this instance's. */
bool attach_prog_is_ours(uint32_t prog_id, uint32_t conf_map_id);
/*
 * A link that is refused (err) says no more than an errno; the same over netlink comes with the
 * driver's own words, such as that the MTU is too large. Should it work all of a sudden it is
 * undone.
 */
void attach_explain(uint32_t ifindex, int prog_fd, uint32_t flags, int err,
		    char ret_why[IMPL_WHY_MAX]);
/* 0: none attached. *ret_mode is the mode it runs in. */
uint32_t attach_query(uint32_t ifindex, enum xdp_mode *ret_mode);
/*
 * One interface, by name: program and tc hook. Fills *ret in any case. *ret_attached: the program
 * was not there before. An interface that another program holds: -EBUSY.
 */
int attach_one(struct fastpath *fp, const char *ifname, struct fastpath_interface *ret,
	       bool *ret_attached);
/* Takes everything of the instance off one interface of this network namespace. */
int attach_remove_one(const struct pins *pins, const char *ifname, uint32_t ifindex,
		      uint32_t conf_map_id);
/* … off every interface. */
int attach_remove_all(const struct pins *pins, uint32_t conf_map_id);
/* What is attached where has changed; all interfaces, in the options' order. */
void attach_set_interfaces(struct fastpath *fp, const struct fastpath_interface *all);

bool tchook_present(uint32_t ifindex, uint32_t conf_map_id);
/* -EEXIST: somebody else's filter sits in our place, and stays. */
int tchook_insert(const struct pins *pins, const char *ifname, uint32_t ifindex, int prog_fd,
		  uint32_t conf_map_id);
void tchook_remove(const struct pins *pins, const char *ifname, uint32_t ifindex,
		   uint32_t conf_map_id);

/* One extent of the log; the descriptor, open. -ENOENT: it is not there. */
int extent_open(int seg_fd, uint32_t number);
/* One more. */
int extent_make(int seg_fd, uint32_t number);
/* Puts it in its place among the log's addresses. */
int extent_map(const struct fastpath_maps *maps, uint32_t number, int fd);

#endif
