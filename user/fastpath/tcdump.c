/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/tcdump.h"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "fastpath/rtnl.h"

static int count_one(const struct nlmsghdr *nlh, void *ctx)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);
	uint32_t *cnt = ctx;

	if (nlh->nlmsg_type == RTM_NEWTFILTER && tc->tcm_handle != 0)
		(*cnt)++;
	return MNL_CB_OK;
}

uint32_t tcdump_filter_cnt(uint32_t ifindex)
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
