/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Programs on interfaces.
 *
 * XDP by a bpf_link, pinned at …/if/<interface>/xdp: a later daemon updates the link, which swaps
 * the program in one step. A program of this instance that somebody attached by netlink (bpftool,
 * ip) is recognised by the maps it uses and left as it is. A foreign program is never touched.
 *
 * tc: a clsact qdisc and one filter with our own priority and handle. …/if/<interface>/clsact marks
 * that the qdisc is ours to remove.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fastpath/impl.h"
#include "fastpath/tcdump.h"

/* Fixed, so that a later process finds the filter again. */
#define TC_HANDLE 0x5843U /* "XC" */
#define TC_PRIORITY 11211U

static const char *const mode_names[] = {
	[XDP_MODE_AUTO] = "auto",
	[XDP_MODE_NATIVE] = "native",
	[XDP_MODE_GENERIC] = "generic",
	[XDP_MODE_OFF] = "off",
};

uint32_t map_id_of(int map_fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(map_fd, &info, &len) ? 0 : info.id;
}

bool attach_prog_is_ours(uint32_t prog_id, uint32_t conf_map_id)
{
	uint32_t ids[32], len;
	struct bpf_prog_info info = { .nr_map_ids = 32, .map_ids = (uintptr_t)ids };
	int fd = bpf_prog_get_fd_by_id(prog_id);
	bool ours = false;

	if (fd < 0)
		return false;
	len = sizeof(info);
	if (conf_map_id && bpf_obj_get_info_by_fd(fd, &info, &len) == 0) {
		for (uint32_t i = 0; i < info.nr_map_ids && i < 32; i++)
			ours |= ids[i] == conf_map_id;
	}
	close(fd);
	return ours;
}

uint32_t attach_query(uint32_t ifindex, enum xdp_mode *ret_mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	*ret_mode = XDP_MODE_OFF;
	if (bpf_xdp_query((int)ifindex, 0, &opts))
		return 0;
	if (opts.drv_prog_id) {
		*ret_mode = XDP_MODE_NATIVE;
		return opts.drv_prog_id;
	}
	if (opts.skb_prog_id)
		*ret_mode = XDP_MODE_GENERIC;
	return opts.skb_prog_id;
}

/* --- XDP --- */

static void link_path(const struct pins *pins, const char *ifname, char ret_path[PATH_MAX])
{
	pins_path(pins, ret_path, "if", ifname, "xdp");
}

/* Our pinned link on this interface, now running the new program; -ENOENT: there is none. */
static int link_update(struct fastpath *fp, const struct fastpath_interface *iface)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char path[PATH_MAX];
	int fd, err = 0;

	link_path(&fp->pins, iface->name, path);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -ENOENT;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) || info.xdp.ifindex != iface->ifindex) {
		unlink(path); /* of an interface that is gone: closing it ends it */
		err = -ENOENT;
	} else if (bpf_link_update(fd, fp->xdp_fd, NULL)) {
		err = -errno;
	}
	close(fd);
	return err;
}

static int link_make(struct fastpath *fp, const struct fastpath_interface *iface,
		     enum xdp_mode mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = mode == XDP_MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int fd = bpf_link_create(fp->xdp_fd, (int)iface->ifindex, BPF_XDP, &opts);
	char path[PATH_MAX];
	int err;

	if (fd < 0)
		return -errno;
	pins_path(&fp->pins, path, "if", NULL, NULL);
	err = pins_make_dir(path);
	pins_path(&fp->pins, path, "if", iface->name, NULL);
	if (!err)
		err = pins_make_dir(path);
	link_path(&fp->pins, iface->name, path);
	if (!err && bpf_obj_pin(fd, path))
		err = -errno;
	close(fd); /* the pin keeps it, or nothing does and it detaches */
	return err;
}

static int attach_new(struct fastpath *fp, struct fastpath_interface *iface)
{
	enum xdp_mode wanted = fp->options.xdp_mode;
	int err = -EOPNOTSUPP;

	if (wanted == XDP_MODE_AUTO || wanted == XDP_MODE_NATIVE) {
		err = link_make(fp, iface, XDP_MODE_NATIVE);
		if (!err) {
			iface->mode = XDP_MODE_NATIVE;
			return 0;
		}
		snprintf(iface->reason, sizeof(iface->reason), "native: %s", strerror(-err));
		if (wanted == XDP_MODE_NATIVE)
			return err;
		log_line(LOG_WARN, "fastpath", "%s: native XDP refused (%s), trying generic",
			 iface->name, strerror(-err));
	}
	err = link_make(fp, iface, XDP_MODE_GENERIC);
	if (!err)
		iface->mode = XDP_MODE_GENERIC;
	else
		snprintf(iface->reason, sizeof(iface->reason), "generic: %s", strerror(-err));
	return err;
}

static int attach_xdp(struct fastpath *fp, struct fastpath_interface *iface)
{
	uint32_t conf_id = map_id_of(fp->maps.conf_fd);
	enum xdp_mode mode;
	uint32_t prog_id;
	int err = link_update(fp, iface);

	if (err == 0) {
		iface->by_link = true;
	} else if (err == -ENOENT) {
		prog_id = attach_query(iface->ifindex, &mode);
		if (prog_id && attach_prog_is_ours(prog_id, conf_id)) {
			err = 0;
		} else if (prog_id) {
			snprintf(iface->reason, sizeof(iface->reason),
				 "another XDP program is attached (id %u)", prog_id);
			log_line(LOG_WARN, "fastpath",
				 "%s: %s and stays; detach it to use the fast path here: "
				 "ip link set dev %s xdp off",
				 iface->name, iface->reason, iface->name);
			return -EBUSY;
		} else {
			err = attach_new(fp, iface);
			iface->by_link = true;
		}
	}
	if (err)
		return err;
	iface->prog_id = attach_query(iface->ifindex, &iface->mode);
	return 0;
}

/* --- tc --- */

static struct bpf_tc_hook tc_hook(uint32_t ifindex)
{
	return (struct bpf_tc_hook){ .sz = sizeof(struct bpf_tc_hook),
				     .ifindex = (int)ifindex,
				     .attach_point = BPF_TC_INGRESS };
}

bool attach_tc_present(uint32_t ifindex, uint32_t conf_map_id)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY);
	struct bpf_tc_hook hook = tc_hook(ifindex);

	/* No qdisc, no filter: both are answers here, not warnings. */
	libbpf_print_fn_t before = libbpf_set_print(NULL);
	int err = bpf_tc_query(&hook, &opts);

	libbpf_set_print(before);
	return err == 0 && attach_prog_is_ours(opts.prog_id, conf_map_id);
}

static int attach_tc(struct fastpath *fp, struct fastpath_interface *iface)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY,
		    .prog_fd = fp->tc_fd, .flags = BPF_TC_F_REPLACE);
	struct bpf_tc_hook hook = tc_hook(iface->ifindex);
	libbpf_print_fn_t before;
	char path[PATH_MAX];
	int err;

	/* An existing qdisc is the usual case; libbpf would warn of it. */
	before = libbpf_set_print(NULL);
	err = bpf_tc_hook_create(&hook);
	libbpf_set_print(before);
	if (err == 0) {
		pins_path(&fp->pins, path, "if", NULL, NULL);
		pins_make_dir(path);
		pins_path(&fp->pins, path, "if", iface->name, NULL);
		pins_make_dir(path);
		pins_path(&fp->pins, path, "if", iface->name, "clsact");
		pins_make_dir(path);
	} else if (err != -EEXIST) {
		return err;
	}
	return bpf_tc_attach(&hook, &opts);
}

int fastpath_attach(struct fastpath *fp)
{
	uint32_t served = 0, with_tc = 0;
	int err;

	fp->interface_cnt = 0;
	for (uint32_t i = 0; i < fp->options.interface_cnt; i++) {
		struct fastpath_interface *iface = &fp->interfaces[fp->interface_cnt];

		memset(iface, 0, sizeof(*iface));
		snprintf(iface->name, sizeof(iface->name), "%s", fp->options.interfaces[i]);
		iface->mode = XDP_MODE_OFF;
		iface->ifindex = if_nametoindex(iface->name);
		if (!iface->ifindex) {
			log_line(LOG_ERROR, "fastpath", "no interface \"%s\"; see: ip -br link",
				 iface->name);
			return -ENODEV;
		}
		fp->interface_cnt++;
		if (fp->options.xdp_mode == XDP_MODE_OFF)
			continue;
		err = attach_xdp(fp, iface);
		if (err && fp->options.xdp_mode != XDP_MODE_AUTO) {
			log_line(LOG_ERROR, "fastpath",
				 "%s: cannot attach in %s mode: %s; try --xdp-mode auto, or see: "
				 "xdpcache doctor",
				 iface->name, mode_names[fp->options.xdp_mode],
				 iface->reason[0] ? iface->reason : strerror(-err));
			return err;
		}
		if (err) {
			log_line(LOG_WARN, "fastpath", "%s: off: %s", iface->name,
				 iface->reason[0] ? iface->reason : strerror(-err));
			iface->mode = XDP_MODE_OFF;
			continue;
		}
		served++;
		err = attach_tc(fp, iface);
		iface->tc = err == 0;
		with_tc += iface->tc;
		log_line(LOG_INFO, "fastpath", "%s: %s program=%u %s%s%s", iface->name,
			 mode_names[iface->mode], iface->prog_id,
			 iface->by_link ? "link" : "netlink",
			 iface->tc ? " tc" : " no tc: ", iface->tc ? "" : strerror(-err));
	}
	if (served > 0 && with_tc == served)
		fp->maps.conf->options |= XC_OPT_TC;
	else
		fp->maps.conf->options &= ~XC_OPT_TC;
	return 0;
}

int fastpath_interfaces(const struct fastpath *fp, struct fastpath_interface *ret, uint32_t max)
{
	uint32_t cnt = fp->interface_cnt < max ? fp->interface_cnt : max;

	memcpy(ret, fp->interfaces, cnt * sizeof(*ret));
	return (int)cnt;
}

/* --- removal --- */

static void remove_tc(const struct pins *pins, const char *ifname, uint32_t ifindex,
		      uint32_t conf_map_id)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY);
	struct bpf_tc_hook hook = tc_hook(ifindex);
	char path[PATH_MAX];

	if (attach_tc_present(ifindex, conf_map_id))
		bpf_tc_detach(&hook, &opts);
	pins_path(pins, path, "if", ifname, "clsact");
	if (access(path, F_OK) == 0 && tcdump_filter_cnt(ifindex) == 0) {
		hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS; /* the qdisc itself */
		bpf_tc_hook_destroy(&hook);
	}
}

static int remove_xdp(const struct pins *pins, const char *ifname, uint32_t ifindex,
		      uint32_t conf_map_id)
{
	enum xdp_mode mode;
	uint32_t prog_id;
	char path[PATH_MAX];
	int fd;

	link_path(pins, ifname, path);
	fd = bpf_obj_get(path);
	if (fd >= 0) {
		bpf_link_detach(fd);
		close(fd);
		unlink(path);
	}
	prog_id = attach_query(ifindex, &mode);
	if (!prog_id || !attach_prog_is_ours(prog_id, conf_map_id))
		return 0;
	return bpf_xdp_detach((int)ifindex,
			      mode == XDP_MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE,
			      NULL);
}

int attach_remove_all(const struct pins *pins, uint32_t conf_map_id)
{
	struct if_nameindex *all = if_nameindex();
	int err = 0;

	if (!all)
		return -errno;
	for (const struct if_nameindex *at = all; at->if_index != 0; at++) {
		int one = remove_xdp(pins, at->if_name, at->if_index, conf_map_id);

		if (one) {
			log_line(LOG_ERROR, "fastpath", "%s: cannot detach: %s", at->if_name,
				 strerror(-one));
			err = one;
		}
		remove_tc(pins, at->if_name, at->if_index, conf_map_id);
	}
	if_freenameindex(all);
	return err;
}
