/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/probe.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/membarrier.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fastpath/impl.h"
#include "fastpath/rtnl.h"

static int silent(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level;
	(void)fmt;
	(void)args;
	return 0;
}

int probe_load(char why[PROBE_WHY_MAX])
{
	libbpf_print_fn_t before = libbpf_set_print(silent);
	struct fastpath_bpf *skel = fastpath_bpf__open_and_load();
	int err = skel ? 0 : -errno;

	libbpf_set_print(before);
	fastpath_bpf__destroy(skel);
	if (err)
		snprintf(why, PROBE_WHY_MAX, "%s", strerror(-err));
	return err;
}

int probe_native(const char *ifname, char why[PROBE_WHY_MAX])
{
	/* r0 = XDP_PASS; exit */
	const struct bpf_insn pass[] = {
		{ .code = 0xb7, .dst_reg = 0, .imm = XDP_PASS },
		{ .code = 0x95 },
	};
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	unsigned int ifindex = if_nametoindex(ifname);
	enum xdp_mode mode;
	int prog, link;

	if (attach_query(ifindex, &mode))
		return -EBUSY;
	prog = bpf_prog_load(BPF_PROG_TYPE_XDP, "xc_probe", "GPL", pass, 2, NULL);
	if (prog < 0) {
		snprintf(why, PROBE_WHY_MAX, "%s", strerror(errno));
		return 0;
	}
	link = bpf_link_create(prog, (int)ifindex, BPF_XDP, &opts);
	if (link < 0)
		attach_explain(ifindex, prog, XDP_FLAGS_DRV_MODE, -errno, why);
	else
		close(link); /* detaches */
	close(prog);
	return link >= 0;
}

enum xdp_mode probe_mode(const char *ifname)
{
	enum xdp_mode mode;

	attach_query(if_nametoindex(ifname), &mode);
	return mode;
}

/* --- veth --- */

struct veth {
	bool is_veth;
	bool native; /* carries a program in native mode */
	bool far;    /* the peer is in another network namespace, peer_ns by its number here */
	int32_t peer_ns;
	uint32_t peer;
};

static int read_veth(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *attr, *inner;
	struct veth *veth = ctx;

	mnl_attr_for_each(attr, nlh, sizeof(struct ifinfomsg))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFLA_LINK) {
			veth->peer = mnl_attr_get_u32(attr);
		} else if (type == IFLA_LINK_NETNSID) {
			veth->far = true;
			veth->peer_ns = (int32_t)mnl_attr_get_u32(attr);
		} else if (type == IFLA_LINKINFO) {
			mnl_attr_for_each_nested(inner, attr)
			{
				if (mnl_attr_get_type(inner) == IFLA_INFO_KIND)
					veth->is_veth =
						strcmp(mnl_attr_get_str(inner), "veth") == 0;
			}
		} else if (type == IFLA_XDP) {
			mnl_attr_for_each_nested(inner, attr)
			{
				veth->native |= mnl_attr_get_type(inner) == IFLA_XDP_DRV_PROG_ID;
			}
		}
	}
	return MNL_CB_OK;
}

/* ns: where it is, by its number here; NULL: here. */
static int ask_veth(uint32_t ifindex, const int32_t *ns, struct veth *ret)
{
	struct {
		struct ifinfomsg ifi;
		struct nlattr attr;
		int32_t ns;
	} body = { .ifi = { .ifi_index = (int)ifindex },
		   .attr = { .nla_len = sizeof(body.attr) + sizeof(body.ns),
			     .nla_type = IFLA_TARGET_NETNSID } };

	memset(ret, 0, sizeof(*ret));
	if (ns)
		body.ns = *ns;
	return rtnl_ask(RTM_GETLINK, &body, ns ? sizeof(body) : sizeof(body.ifi), read_veth, ret);
}

bool probe_loses_replies(const char *ifname, char why[PROBE_WHY_MAX])
{
	struct veth here, there;
	int err;

	why[0] = '\0';
	if (ask_veth(if_nametoindex(ifname), NULL, &here) || !here.is_veth)
		return false;
	err = here.peer ? ask_veth(here.peer, here.far ? &here.peer_ns : NULL, &there) : -ENODEV;
	if (!err && there.native)
		return false;
	if (err)
		snprintf(why, PROBE_WHY_MAX,
			 "the veth's peer cannot be asked for its XDP program (%s), without which "
			 "native replies are lost",
			 strerror(-err));
	else
		snprintf(why, PROBE_WHY_MAX,
			 "the veth's peer carries no native XDP program, without which native "
			 "replies are lost");
	return true;
}

bool probe_membarrier(void)
{
	long cmds = syscall(__NR_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return cmds >= 0 && (cmds & MEMBARRIER_CMD_GLOBAL);
}

int probe_extent(char why[PROBE_WHY_MAX])
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "xc_extent", sizeof(uint32_t), XC_BLOCK_SIZE,
				XC_EXTENT_BLOCKS, &opts);
	int err = fd < 0 ? -errno : 0;
	void *at;

	if (!err) {
		at = mmap(NULL, XC_EXTENT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		err = at == MAP_FAILED ? -errno : 0;
		if (!err)
			munmap(at, XC_EXTENT_SIZE);
		close(fd);
	}
	if (err)
		snprintf(why, PROBE_WHY_MAX, "%s", strerror(-err));
	return err;
}

/* In a child, whose network namespace ends with it. 0 or errno. */
static int try_tc(void)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = 1, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts);
	/* r0 = TC_ACT_OK; exit */
	const struct bpf_insn pass[] = { { .code = 0xb7 }, { .code = 0x95 } };
	int err;

	if (unshare(CLONE_NEWNET))
		return errno;
	opts.prog_fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "xc_probe", "GPL", pass, 2, NULL);
	if (opts.prog_fd < 0)
		return errno;
	libbpf_set_print(silent);
	err = bpf_tc_hook_create(&hook);
	if (!err)
		err = bpf_tc_attach(&hook, &opts);
	return -err;
}

int probe_tc(char why[PROBE_WHY_MAX])
{
	pid_t pid = fork();
	int status, err = EIO;

	if (pid == 0)
		_exit(try_tc());
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		err = WEXITSTATUS(status);
	if (err)
		snprintf(why, PROBE_WHY_MAX, "%s", strerror(err));
	return -err;
}

static bool ethtool_flag(const char *ifname, uint32_t flag)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GFLAGS };
	struct ifreq request = { .ifr_data = (void *)&value };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool on;

	if (fd < 0)
		return false;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", ifname);
	on = ioctl(fd, SIOCETHTOOL, &request) == 0 && (value.data & flag);
	close(fd);
	return on;
}

bool probe_vlan_offload(const char *ifname)
{
	return ethtool_flag(ifname, ETH_FLAG_RXVLAN);
}

bool probe_lro(const char *ifname)
{
	return ethtool_flag(ifname, ETH_FLAG_LRO);
}

/* --- the firewall that XDP goes past --- */

static int count_input_chain(const struct nlmsghdr *nlh, void *ctx)
{
	const struct nlattr *attr, *hook = NULL, *inner;
	int *cnt = ctx;

	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) == NFTA_CHAIN_HOOK)
			hook = attr;
	}
	if (!hook)
		return MNL_CB_OK;
	mnl_attr_for_each_nested(inner, hook)
	{
		if (mnl_attr_get_type(inner) == NFTA_HOOK_HOOKNUM)
			*cnt += ntohl(mnl_attr_get_u32(inner)) == NF_INET_LOCAL_IN;
	}
	return MNL_CB_OK;
}

int probe_input_chains(void)
{
	static const uint8_t families[] = { NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_INET };
	int cnt = 0, err = 0;

	for (size_t i = 0; i < sizeof(families) && !err; i++) {
		const struct nfgenmsg body = { .nfgen_family = families[i] };

		err = rtnl_dump_from(NETLINK_NETFILTER,
				     NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, &body,
				     sizeof(body), count_input_chain, &cnt);
	}
	return err ? err : cnt;
}

bool probe_allows_all(const char *pin_root, const char *instance)
{
	/* the longest prefix of these lengths that holds the address: /0 itself, or none */
	struct xc_allow_key keys[] = {
		{ .prefix_len = 96, .addr = { [10] = 0xff, [11] = 0xff } },
		{ .prefix_len = 0 },
	};
	char path[PATH_MAX];
	struct pins pins;
	uint32_t flags;
	bool all = false;
	int fd;

	if (pins_init(&pins, pin_root, instance))
		return false;
	pins_path(&pins, path, XC_MAP_ALLOW, NULL, NULL);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return false;
	for (int i = 0; i < 2; i++)
		all |= bpf_map_lookup_elem(fd, &keys[i], &flags) == 0 && (flags & 1);
	close(fd);
	return all;
}
