/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/rtnl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define ANSWER_MAX 32768
#define SEQ 1

int rtnl_dump_from(int bus, uint16_t type, const void *body, size_t body_len, mnl_cb_t each,
		   void *ctx)
{
	struct mnl_socket *nl = mnl_socket_open2(bus, SOCK_CLOEXEC);
	char buf[ANSWER_MAX];
	struct nlmsghdr *nlh;
	ssize_t len;
	int err = 0;

	if (!nl)
		return -errno;
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = SEQ;
	memcpy(mnl_nlmsg_put_extra_header(nlh, body_len), body, body_len);
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		err = -errno;
	while (!err) {
		len = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (len < 0) {
			err = -errno;
			break;
		}
		len = mnl_cb_run(buf, (size_t)len, SEQ, mnl_socket_get_portid(nl), each, ctx);
		if (len < 0)
			err = -errno;
		if (len <= MNL_CB_STOP)
			break;
	}
	mnl_socket_close(nl);
	return err;
}

int rtnl_dump(uint16_t type, const void *body, size_t body_len, mnl_cb_t each, void *ctx)
{
	return rtnl_dump_from(NETLINK_ROUTE, type, body, body_len, each, ctx);
}
