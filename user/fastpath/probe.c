/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/membarrier.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fastpath/impl.h"

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
		snprintf(why, PROBE_WHY_MAX, "%s", strerror(errno));
	else
		close(link); /* detaches */
	close(prog);
	return link >= 0;
}

bool probe_membarrier(void)
{
	long cmds = syscall(__NR_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return cmds >= 0 && (cmds & MEMBARRIER_CMD_GLOBAL);
}

bool probe_vlan_offload(const char *ifname)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GFLAGS };
	struct ifreq request = { .ifr_data = (void *)&value };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool on;

	if (fd < 0)
		return false;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", ifname);
	on = ioctl(fd, SIOCETHTOOL, &request) == 0 && (value.data & ETH_FLAG_RXVLAN);
	close(fd);
	return on;
}
