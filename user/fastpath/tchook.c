/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tc half: a clsact qdisc and, at its ingress, one filter with a priority and a handle of our
 * own. …/if/<interface>/clsact marks that the qdisc is ours to remove, which happens only when
 * nobody else's filter is left in it.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <unistd.h>

#include "fastpath/impl.h"
#include "fastpath/rtnl.h"

/* Fixed, so that a later process finds the filter again. */
#define TC_HANDLE 0x5843U /* "XC" */
#define TC_PRIORITY 11211U

static struct bpf_tc_hook hook_of(uint32_t ifindex)
{
	return (struct bpf_tc_hook){ .sz = sizeof(struct bpf_tc_hook),
				     .ifindex = (int)ifindex,
				     .attach_point = BPF_TC_INGRESS };
}

/* Id of the program of the filter in our place; 0: there is none. */
static uint32_t filter_query(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY);
	struct bpf_tc_hook hook = hook_of(ifindex);
	/* No qdisc, no filter: both are answers here, not warnings. */
	libbpf_print_fn_t before = libbpf_set_print(NULL);
	int err = bpf_tc_query(&hook, &opts);

	libbpf_set_print(before);
	return err ? 0 : opts.prog_id;
}

bool tchook_present(uint32_t ifindex, uint32_t conf_map_id)
{
	uint32_t prog_id = filter_query(ifindex);

	return prog_id && attach_prog_is_ours(prog_id, conf_map_id);
}

/* The number is part of it: an interface that was made anew may have got its qdisc from others. */
static void mark_path(const struct pins *pins, const char *ifname, uint32_t ifindex,
		      char ret_path[PATH_MAX])
{
	char leaf[32];

	snprintf(leaf, sizeof(leaf), "clsact-%u", ifindex);
	pins_interface_path(pins, ret_path, ifname, leaf);
}

static int qdisc_insert(const struct pins *pins, const char *ifname, struct bpf_tc_hook *hook)
{
	libbpf_print_fn_t before = libbpf_set_print(NULL); /* it warns of a qdisc that exists */
	int err = bpf_tc_hook_create(hook);
	char path[PATH_MAX];

	libbpf_set_print(before);
	if (err)
		return err == -EEXIST ? 0 : err;
	err = pins_make_interface(pins, ifname);
	mark_path(pins, ifname, (uint32_t)hook->ifindex, path);
	return err ? err : pins_make_dir(path);
}

int tchook_insert(const struct pins *pins, const char *ifname, uint32_t ifindex, int prog_fd,
		  uint32_t conf_map_id)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY,
		    .prog_fd = prog_fd, .flags = BPF_TC_F_REPLACE);
	struct bpf_tc_hook hook = hook_of(ifindex);
	uint32_t there;
	int err = qdisc_insert(pins, ifname, &hook);

	if (err)
		return err;
	there = filter_query(ifindex);
	if (there && !attach_prog_is_ours(there, conf_map_id))
		return -EEXIST;
	return bpf_tc_attach(&hook, &opts);
}

static int count_one(const struct nlmsghdr *nlh, void *ctx)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);
	uint32_t *cnt = ctx;

	if (nlh->nlmsg_type == RTM_NEWTFILTER && tc->tcm_handle != 0)
		(*cnt)++;
	return MNL_CB_OK;
}

/* Filters of clsact, both ways; 1 when it cannot be told, so that the qdisc stays. */
static uint32_t filter_cnt(uint32_t ifindex)
{
	static const uint32_t parents[] = { TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
					    TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS) };
	uint32_t cnt = 0;

	for (int i = 0; i < 2; i++) {
		struct tcmsg body = { .tcm_family = AF_UNSPEC,
				      .tcm_ifindex = (int)ifindex,
				      .tcm_parent = parents[i] };

		if (rtnl_dump(RTM_GETTFILTER, &body, sizeof(body), count_one, &cnt))
			return 1;
	}
	return cnt;
}

void tchook_remove(const struct pins *pins, const char *ifname, uint32_t ifindex,
		   uint32_t conf_map_id)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY);
	struct bpf_tc_hook hook = hook_of(ifindex);
	char path[PATH_MAX];

	if (tchook_present(ifindex, conf_map_id))
		bpf_tc_detach(&hook, &opts);
	mark_path(pins, ifname, ifindex, path);
	if (access(path, F_OK) || filter_cnt(ifindex))
		return;
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS; /* the qdisc itself */
	bpf_tc_hook_destroy(&hook);
	rmdir(path);
}
