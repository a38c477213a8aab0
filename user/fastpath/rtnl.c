/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/rtnl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define ANSWER_MAX 32768
#define SEQ 1

struct question {
	int bus;
	uint16_t type;
	uint16_t flags; /* one that makes the kernel mark the end of its answers */
	const void *body;
	size_t body_len;
};

static int run(const struct question *q, mnl_cb_t each, void *ctx)
{
	struct mnl_socket *nl = mnl_socket_open2(q->bus, SOCK_CLOEXEC);
	char buf[ANSWER_MAX];
	struct nlmsghdr *nlh;
	ssize_t len;
	int err = 0;

	if (!nl)
		return -errno;
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = q->type;
	nlh->nlmsg_flags = NLM_F_REQUEST | q->flags;
	nlh->nlmsg_seq = SEQ;
	memcpy(mnl_nlmsg_put_extra_header(nlh, q->body_len), q->body, q->body_len);
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

int rtnl_dump_from(int bus, uint16_t type, const void *body, size_t body_len, mnl_cb_t each,
		   void *ctx)
{
	const struct question q = { bus, type, NLM_F_DUMP, body, body_len };

	return run(&q, each, ctx);
}

int rtnl_ask(uint16_t type, const void *body, size_t body_len, mnl_cb_t each, void *ctx)
{
	const struct question q = { NETLINK_ROUTE, type, NLM_F_ACK, body, body_len };

	return run(&q, each, ctx);
}

int rtnl_dump(uint16_t type, const void *body, size_t body_len, mnl_cb_t each, void *ctx)
{
	return rtnl_dump_from(NETLINK_ROUTE, type, body, body_len, each, ctx);
}
