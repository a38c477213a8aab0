/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole picture is read each time (two dumps) and compared with the map: changes are rare,
 * and a picture cannot drift as a sum of events can.
 */
#include "fastpath/locals.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <linux/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/cidr.h"
#include "base/log.h"
#include "fastpath/rtnl.h"

#define LINKS_MAX 4096
/* VLAN devices stand at most two high: the parser walks two tags. */
#define VLAN_DEPTH XC_VLAN_MAX

struct link {
	uint32_t ifindex;
	uint32_t lower; /* a VLAN device's lower one; 0: not a VLAN device */
	uint8_t mac[6];
	uint32_t mtu;
	bool loopback;
};

struct entry {
	struct xc_local_key key;
	struct xc_local value;
};

struct locals {
	const struct fastpath *fp;
	struct mnl_socket *nl;
	uint8_t only[LOCALS_ONLY_MAX][16];
	uint32_t only_cnt;
	struct link links[LINKS_MAX];
	uint32_t link_cnt;
	struct entry entries[XC_LOCAL_MAX];
	uint32_t entry_cnt;
	bool overflow; /* told once */
};

static void read_link_info(const struct nlattr *info, struct link *link, uint32_t lower)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, info)
	{
		if (mnl_attr_get_type(attr) == IFLA_INFO_KIND &&
		    strcmp(mnl_attr_get_str(attr), "vlan") == 0)
			link->lower = lower;
	}
}

static int on_link(const struct nlmsghdr *nlh, void *ctx)
{
	struct locals *locals = ctx;
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr, *info = NULL;
	struct link *link;
	uint32_t lower = 0;

	if (locals->link_cnt == LINKS_MAX)
		return MNL_CB_OK;
	link = &locals->links[locals->link_cnt++];
	*link = (struct link){ .ifindex = (uint32_t)ifi->ifi_index,
			       .loopback = ifi->ifi_flags & IFF_LOOPBACK };
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == sizeof(link->mac))
				memcpy(link->mac, mnl_attr_get_payload(attr), sizeof(link->mac));
			break;
		case IFLA_MTU:
			link->mtu = mnl_attr_get_u32(attr);
			break;
		case IFLA_LINK:
			lower = mnl_attr_get_u32(attr);
			break;
		case IFLA_LINKINFO:
			info = attr;
			break;
		}
	}
	if (info)
		read_link_info(info, link, lower);
	return MNL_CB_OK;
}

static const struct link *link_find(const struct locals *locals, uint32_t ifindex)
{
	for (uint32_t i = 0; i < locals->link_cnt; i++) {
		if (locals->links[i].ifindex == ifindex)
			return &locals->links[i];
	}
	return NULL;
}

static bool is_served(const struct locals *locals, uint32_t ifindex)
{
	struct fastpath_interface served[FASTPATH_INTERFACE_MAX];
	int cnt = fastpath_interfaces(locals->fp, served, FASTPATH_INTERFACE_MAX);

	for (int i = 0; i < cnt; i++) {
		if (served[i].ifindex == ifindex && served[i].mode != XDP_MODE_OFF)
			return true;
	}
	return false;
}

static bool is_wanted(const struct locals *locals, const uint8_t addr[16])
{
	for (uint32_t i = 0; i < locals->only_cnt; i++) {
		if (memcmp(locals->only[i], addr, 16) == 0)
			return true;
	}
	return locals->only_cnt == 0;
}

/* top has the address; frames to it arrive by link, which is top or the device below it. */
static void entry_add(struct locals *locals, const struct link *link, const struct link *top,
		      const uint8_t addr[16])
{
	struct entry entry = { .key.ifindex = link->ifindex };
	uint32_t mtu = link->mtu < top->mtu ? link->mtu : top->mtu;

	memcpy(entry.key.addr, addr, 16);
	memcpy(entry.value.mac, top->mac, sizeof(entry.value.mac));
	entry.value.mtu = mtu > UINT16_MAX ? UINT16_MAX : (uint16_t)mtu;
	entry.value.flags =
		(link == top ? 0 : XC_LOCAL_NEEDS_TAG) | (link->loopback ? XC_LOCAL_ANY_MAC : 0);
	for (uint32_t i = 0; i < locals->entry_cnt; i++) {
		struct entry *have = &locals->entries[i];

		if (memcmp(&have->key, &entry.key, sizeof(entry.key)) == 0) {
			if (link == top) /* untagged wins */
				have->value = entry.value;
			return;
		}
	}
	if (locals->entry_cnt < XC_LOCAL_MAX) {
		locals->entries[locals->entry_cnt++] = entry;
	} else if (!locals->overflow) {
		locals->overflow = true;
		log_line(LOG_WARN, "locals",
			 "more than %u addresses: the rest is served by the "
			 "daemon alone; name the ones you want with -l",
			 XC_LOCAL_MAX);
	}
}

static int on_addr(const struct nlmsghdr *nlh, void *ctx)
{
	struct locals *locals = ctx;
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct link *top = link_find(locals, ifa->ifa_index), *link = top;
	const struct nlattr *attr, *local = NULL;
	uint8_t addr[16];

	mnl_attr_for_each(attr, nlh, sizeof(*ifa))
	{
		/*
		 * On point-to-point links IFA_ADDRESS is the peer; IFA_LOCAL is ours where given.
		 */
		if (mnl_attr_get_type(attr) == IFA_LOCAL ||
		    (mnl_attr_get_type(attr) == IFA_ADDRESS && !local))
			local = attr;
	}
	if (!local)
		return MNL_CB_OK;
	if (ifa->ifa_family == AF_INET && mnl_attr_get_payload_len(local) == 4)
		cidr_map_v4(mnl_attr_get_payload(local), addr);
	else if (ifa->ifa_family == AF_INET6 && mnl_attr_get_payload_len(local) == 16)
		memcpy(addr, mnl_attr_get_payload(local), 16);
	else
		return MNL_CB_OK;
	for (uint32_t depth = 0; link && depth <= VLAN_DEPTH && is_wanted(locals, addr); depth++) {
		if (is_served(locals, link->ifindex))
			entry_add(locals, link, top, addr);
		link = link->lower ? link_find(locals, link->lower) : NULL;
	}
	return MNL_CB_OK;
}

static bool entry_listed(const struct locals *locals, const struct xc_local_key *key)
{
	for (uint32_t i = 0; i < locals->entry_cnt; i++) {
		if (memcmp(&locals->entries[i].key, key, sizeof(*key)) == 0)
			return true;
	}
	return false;
}

/* Stale elements go first, so that an address is never answered at after it was removed. */
static int write_map(struct locals *locals)
{
	const struct fastpath_maps *maps = fastpath_maps(locals->fp);
	struct xc_local_key key, next;
	bool more = bpf_map_get_next_key(maps->local_fd, NULL, &next) == 0;
	int err = 0;

	while (more) {
		key = next;
		more = bpf_map_get_next_key(maps->local_fd, &key, &next) == 0;
		if (!entry_listed(locals, &key))
			bpf_map_delete_elem(maps->local_fd, &key);
	}
	for (uint32_t i = 0; i < locals->entry_cnt && !err; i++) {
		if (bpf_map_update_elem(maps->local_fd, &locals->entries[i].key,
					&locals->entries[i].value, BPF_ANY))
			err = -errno;
	}
	__atomic_add_fetch(&maps->conf->guard_gen, 1, __ATOMIC_SEQ_CST);
	return err;
}

int locals_sync(struct locals *locals)
{
	const struct ifinfomsg links = { .ifi_family = AF_UNSPEC };
	const struct ifaddrmsg addrs = { .ifa_family = AF_UNSPEC };
	int err;

	locals->link_cnt = 0;
	locals->entry_cnt = 0;
	err = rtnl_dump(RTM_GETLINK, &links, sizeof(links), on_link, locals);
	if (!err)
		err = rtnl_dump(RTM_GETADDR, &addrs, sizeof(addrs), on_addr, locals);
	if (!err)
		err = write_map(locals);
	if (err)
		log_line(LOG_ERROR, "locals", "cannot read the host's addresses: %s",
			 strerror(-err));
	return err;
}

int locals_open(const struct fastpath *fp, const uint8_t (*only)[16], uint32_t only_cnt,
		struct locals **ret)
{
	struct locals *locals = alloc_zero(1, sizeof(*locals));
	int err;

	if (!locals)
		return -ENOMEM;
	locals->fp = fp;
	locals->only_cnt = only_cnt < LOCALS_ONLY_MAX ? only_cnt : LOCALS_ONLY_MAX;
	memcpy(locals->only, only, locals->only_cnt * sizeof(locals->only[0]));
	locals->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!locals->nl ||
	    mnl_socket_bind(locals->nl, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
			    MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		locals_close(locals);
		return err;
	}
	err = locals_sync(locals);
	if (err) {
		locals_close(locals);
		return err;
	}
	*ret = locals;
	return 0;
}

void locals_close(struct locals *locals)
{
	if (!locals)
		return;
	if (locals->nl)
		mnl_socket_close(locals->nl);
	alloc_free(locals);
}

int locals_fd(const struct locals *locals)
{
	return mnl_socket_get_fd(locals->nl);
}

int locals_drain(struct locals *locals)
{
	char buf[32768];
	bool any = false;

	/* An overrun (-ENOBUFS) is a change like any other: the picture is read whole. */
	while (mnl_socket_recvfrom(locals->nl, buf, sizeof(buf)) >= 0 || errno == ENOBUFS)
		any = true;
	return any ? locals_sync(locals) : 0;
}
