/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loader - opens, loads, pins, adopts, attaches and detaches the kernel fast path.
 *
 * Does      makes the instance's maps (or adopts the pinned ones), maps the log and the shared
 *           arrays into this process, attaches the program to interfaces (native, generic or not at
 *           all), and undoes all of it.
 * Shape     <pin_root>/<instance>/v1/<map>, …/v1/if/<interface>/ (docs/abi.md).
 * Errors    negative errno, after one log line that says what to do next.
 * Owner     one process per instance, by an flock on /run/xdpcache/<instance>.lock.
 * Threads   all calls from the main thread, before workers start or after they stopped, except
 *           where said.
 * Source    AF_XDP and bpf_link documentation of libbpf; decisions 0003 (clock), 0004 (privileges).
 */
#ifndef XC_FASTPATH_LOADER_H
#define XC_FASTPATH_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/conf.h"
#include "abi/entry.h"
#include "abi/outcome.h"

#define FASTPATH_INTERFACE_MAX 16
#define FASTPATH_ENTRIES_MAX (64U << 20)
#define FASTPATH_ENTRY_BYTES 136 /* an entry, its element in xc_hot and its place in kmap */

enum xdp_mode {
	XDP_MODE_AUTO, /* native, else generic, else off; each step logged with its reason */
	XDP_MODE_NATIVE,
	XDP_MODE_GENERIC,
	XDP_MODE_OFF,
};

struct fastpath_options {
	const char *pin_root; /* default /sys/fs/bpf/xdpcache */
	const char *instance; /* default "default" */
	const char *interfaces[FASTPATH_INTERFACE_MAX];
	uint32_t interface_cnt;
	enum xdp_mode xdp_mode;
	/*
	 * Size of xc_hot, xc_entry and xc_hits when they are made here; adopted maps keep theirs.
	 */
	uint32_t entry_cnt;
	uint64_t
		log_bytes; /* whole extents; an adopted log has its own length, longer or shorter */
	uint64_t log_bytes_max; /* addresses for it to grow into; less than log_bytes: none */
	/* xdpcache load: make, pin and attach, but leave the configuring to a daemon */
	bool load_only;
};

/*
 * The pinned maps, open. Descriptors stay open for the life of the process; map reads and writes on
 * them need no privilege.
 */
struct fastpath_maps {
	int hot_fd;
	int entry_fd;
	int hits_fd;
	int seg_fd;
	int conf_fd;
	int stats_fd;
	int routes_fd;
	int local_fd;
	int allow_fd;
	int rate_fd;
	struct xc_conf *conf;	  /* mapped, shared with the program */
	struct xc_entry *entries; /* mapped, entry_cnt of them */
	struct xc_use *uses;	  /* mapped, one an entry */
	uint64_t *filter;	  /* mapped, XC_FILTER_WORDS */
	uint32_t entry_cnt;
	uint8_t *log_base;    /* extents, contiguous */
	uint64_t log_bytes;   /* of addresses */
	uint64_t ready_bytes; /* of these there are extents for, from the start on */
	/* an earlier process configured these maps: entries and log hold its items */
	bool adopted;
};

struct fastpath;

/* The extents that fit into -m; the log gives some back as other things need memory. */
uint64_t fastpath_log_bytes(uint64_t memory_bytes);
/* Places for keys, for which -m has a twentieth, unless another number is asked for. */
uint32_t fastpath_entry_cnt(uint64_t memory_bytes);
/* Gives the extents that lie at or above `end` back to the kernel; the programs must have stopped
 * reading them. The thread that grows the log, too. */
void fastpath_trim_log(struct fastpath *fp, uint64_t end);
/* Kernel memory of the instance's maps without the log's extents. */
uint64_t fastpath_map_bytes(const struct fastpath *fp);

/* Opens or makes the instance: takes the lock, adopts or creates and pins every map, makes and maps
 * the log. */
int fastpath_open(const struct fastpath_options *options, struct fastpath **ret);
const struct fastpath_maps *fastpath_maps(const struct fastpath *fp);
/*
 * The file that a stop leaves something in for the next start, for the caller to close; it goes
 * with the pins. Negative errno.
 */
int fastpath_state_open(const struct fastpath *fp);
/* Unmaps, closes, drops the lock. Pins and attachments stay: unload removes them. NULL-safe. */
void fastpath_close(struct fastpath *fp);

/*
 * Attaches to every interface of the options that does not carry our program yet, and adds the tc
 * hook. On failure what this call attached is detached again, and maps that fastpath_open made are
 * unpinned.
 */
int fastpath_attach(struct fastpath *fp);
/*
 * Removes our program, hooks and pins from every interface, then the instance's pins. Safe to
 * repeat. -EBUSY: a daemon owns the instance; with force it is taken from under it, and the daemon
 * stops at its next renewal.
 */
int fastpath_unload(const char *pin_root, const char *instance, bool force);
/*
 * For a daemon that serves without a fast path: from the return on the kernel answers nothing that
 * a dead daemon of the instance left, and no later daemon takes its contents over: they would be
 * older than what this one acknowledges. Where the maps cannot be written it sleeps until the lease
 * is over (lease_ms if not even that can be read). A living daemon's instance is left alone.
 */
int fastpath_retire(const char *pin_root, const char *instance, uint32_t lease_ms);

/* What is attached where; also for `xdpcache status` without a daemon. */
struct fastpath_interface {
	char name[16];
	uint32_t ifindex;
	uint32_t prog_id;
	enum xdp_mode mode; /* OFF: not attached */
	bool tc;
	bool by_link;	  /* false: attached by netlink (bpftool, ip link) */
	char reason[128]; /* why not native, or why not at all */
};

/* Any thread. */
int fastpath_interfaces(const struct fastpath *fp, struct fastpath_interface *ret, uint32_t max);

#endif
