/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fastrig - a loaded fast path with maps that a test fills by hand.
 *
 * Does      maps the shared arrays, gives the log its extents, writes conf, addresses, allowlist
 *           and items as the daemon would, runs one packet, and reads the counters.
 * Shape     extents 0 and RIG_FAR_EXTENT of the log exist. Time stands still at RIG_NOW_NS until
 *           the test moves it: tick_ns is 0.
 * Errors    0 or negative errno; whatever should not happen in a test asserts.
 * Owner     the rig owns its mappings; the object stays the caller's. Needs root.
 * Threads   one.
 */
#ifndef XC_TESTS_FASTRIG_H
#define XC_TESTS_FASTRIG_H

#include <bpf/libbpf.h>

#include "abi/conf.h"
#include "abi/entry.h"
#include "abi/outcome.h"
#include "lib/pktgen.h"

#define RIG_NOW_NS 1000000000000ULL
#define RIG_IFINDEX 1 /* test runs arrive by lo unless told otherwise */
#define RIG_MTU 1500
#define RIG_FAR_EXTENT 3

struct fastrig {
	struct bpf_object *object;
	struct xc_conf *conf;
	struct xc_entry *entries;
	struct xc_use *uses;
	uint64_t *filter;
	void *rates; /* xc_rate */
	uint32_t entry_cnt;
	uint32_t ifindex; /* whose addresses fastrig_local writes; RIG_IFINDEX unless changed */
	uint8_t *log[2];  /* extents 0 and RIG_FAR_EXTENT */
	uint32_t entry_next;
	uint64_t log_next; /* in extent 0 */
	int cpu_cnt;
	int hot_fd, stats_fd, local_fd, allow_fd;
};

struct rig_item {
	struct span key;
	struct span value;
	uint32_t flags;
	uint64_t expire_ns;
	uint64_t cas;
	uint64_t key_loc; /* 0: the next free place */
	bool absent;	  /* the key has no item */
};

struct rig_run {
	int action;
	struct pktgen_packet out;
};

int fastrig_open(struct fastrig *rig, struct bpf_object *object);
void fastrig_close(struct fastrig *rig);

/* Serving, clock at RIG_NOW_NS, server local, client allowed; remembered verdicts are forgotten,
 * no source has used anything of a rate. */
void fastrig_configure(struct fastrig *rig);
/* Adds an address of rig->ifindex: 4 or 16 bytes. */
void fastrig_local(struct fastrig *rig, struct span addr, const struct xc_local *local);
void fastrig_allow(struct fastrig *rig, struct span addr, bool allowed);
/*
 * Puts key and value into the log, an entry over them, the digest into xc_hot; returns the entry.
 */
uint32_t fastrig_insert(struct fastrig *rig, const struct rig_item *item);
/* Entry fields alone; for an entry that is to point somewhere else. */
void fastrig_entry(struct fastrig *rig, uint32_t idx, const struct rig_item *item,
		   uint64_t key_loc);
void fastrig_hot(struct fastrig *rig, struct span key, uint32_t idx);
void fastrig_clear(struct fastrig *rig); /* no key is resident, the log is empty */
uint8_t *fastrig_log(const struct fastrig *rig, uint64_t loc);

void fastrig_stats(const struct fastrig *rig, struct xc_stats *ret);
/* Runs an XDP program, or a tc program with skb->mark, over the packet. */
int fastrig_xdp(struct bpf_program *program, const struct pktgen_packet *in, struct rig_run *ret);
int fastrig_tc(struct bpf_program *program, const struct pktgen_packet *in, uint32_t mark,
	       struct rig_run *ret);

extern const char *const fastrig_outcome_names[XC_OUTCOME_CNT];

#endif
