/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Programs on interfaces: native, else generic, else not at all.
 *
 * By a bpf_link, pinned at …/if/<interface>/xdp: a later daemon updates the link, which swaps the
 * program in one step. A program of this instance that somebody attached by netlink (bpftool, ip)
 * is recognised by the maps it uses and left as it is. A foreign program is never touched. A pinned
 * link says on which interface number it is, not in which network namespace; so a link counts only
 * if this namespace's interface carries the link's very program. Where native mode attaches but its
 * replies are lost (a veth whose peer has no program) auto means generic.
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
#include "fastpath/probe.h"

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

/* --- why not --- */

/* libbpf tells the kernel's own words only by printing them. Main thread, during one call. */
static char *heard;

static int hear(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char text[IMPL_WHY_MAX + 32];
	const char *words;

	(void)level;
	vsnprintf(text, sizeof(text), fmt, args);
	words = strstr(text, "Kernel error message: ");
	if (words) {
		snprintf(heard, IMPL_WHY_MAX, "%.*s", (int)strcspn(words + 22, "\n"), words + 22);
	}
	return 0;
}

void attach_explain(uint32_t ifindex, int prog_fd, uint32_t flags, int err,
		    char ret_why[IMPL_WHY_MAX])
{
	libbpf_print_fn_t before = libbpf_set_print(hear);
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts, .old_prog_fd = prog_fd);

	snprintf(ret_why, IMPL_WHY_MAX, "%s", strerror(-err));
	heard = ret_why;
	if (bpf_xdp_attach((int)ifindex, prog_fd, flags | XDP_FLAGS_UPDATE_IF_NOEXIST, NULL) == 0)
		bpf_xdp_detach((int)ifindex, flags, &opts);
	heard = NULL;
	libbpf_set_print(before);
}

/* --- XDP --- */

static uint32_t mode_flag(enum xdp_mode mode)
{
	return mode == XDP_MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
}

/* Our pinned link if it is the one on this interface; -ENOENT: there is none. */
static int link_open(const struct pins *pins, const char *ifname, uint32_t ifindex)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	enum xdp_mode mode;
	char path[PATH_MAX];
	int fd;

	pins_interface_path(pins, path, ifname, "xdp");
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -ENOENT;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.xdp.ifindex == ifindex &&
	    info.prog_id == attach_query(ifindex, &mode))
		return fd;
	close(fd);
	/* The interface it was on is gone (0), so nothing hangs on it any more; else it is used. */
	if (info.xdp.ifindex != 0)
		return -EADDRINUSE;
	unlink(path);
	return -ENOENT;
}

/*
 * A link that runs in the mode asked for gets the new program. One in another mode ends here, and
 * the packets of the moment in between go to the daemon. *ret_before: the mode it had.
 */
static int link_update(struct fastpath *fp, const struct fastpath_interface *iface,
		       enum xdp_mode wanted, enum xdp_mode *ret_before)
{
	int fd = link_open(&fp->pins, iface->name, iface->ifindex);
	char path[PATH_MAX];
	int err = 0;

	*ret_before = XDP_MODE_OFF;
	if (fd < 0)
		return fd;
	attach_query(iface->ifindex, ret_before);
	if (wanted != XDP_MODE_AUTO && wanted != *ret_before) {
		log_line(LOG_INFO, "fastpath", "%s: leaving %s mode", iface->name,
			 mode_names[*ret_before]);
		pins_interface_path(&fp->pins, path, iface->name, "xdp");
		if (bpf_link_detach(fd) || unlink(path))
			err = -errno;
		else
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
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = mode_flag(mode));
	int fd = bpf_link_create(fp->xdp_fd, (int)iface->ifindex, BPF_XDP, &opts);
	char path[PATH_MAX];
	int err;

	if (fd < 0)
		return -errno;
	err = pins_make_interface(&fp->pins, iface->name);
	pins_interface_path(&fp->pins, path, iface->name, "xdp");
	if (!err && bpf_obj_pin(fd, path))
		err = -errno;
	close(fd); /* the pin keeps it, or nothing does and it detaches */
	return err;
}

/* The seam for other ways to attach: puts the program on an interface that carries none. */
static int attach_new(struct fastpath *fp, struct fastpath_interface *iface, enum xdp_mode wanted)
{
	char why[IMPL_WHY_MAX];
	int err;

	if (wanted != XDP_MODE_GENERIC) {
		err = link_make(fp, iface, XDP_MODE_NATIVE);
		if (!err)
			return 0;
		attach_explain(iface->ifindex, fp->xdp_fd, XDP_FLAGS_DRV_MODE, err, why);
		snprintf(iface->reason, sizeof(iface->reason), "native: %.110s", why);
		if (wanted == XDP_MODE_NATIVE)
			return err;
		log_line(LOG_WARN, "fastpath", "%s: native XDP refused (%s), trying generic",
			 iface->name, why);
	}
	err = link_make(fp, iface, XDP_MODE_GENERIC);
	if (err) {
		attach_explain(iface->ifindex, fp->xdp_fd, XDP_FLAGS_SKB_MODE, err, why);
		snprintf(iface->reason, sizeof(iface->reason), "generic: %.110s", why);
	}
	return err;
}

static int refuse_foreign(struct fastpath_interface *iface, uint32_t prog_id)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(prog_id);

	if (fd >= 0) {
		bpf_obj_get_info_by_fd(fd, &info, &len);
		close(fd);
	}
	snprintf(iface->reason, sizeof(iface->reason),
		 "another XDP program is attached: \"%.16s\", id %u", info.name, prog_id);
	log_line(LOG_WARN, "fastpath",
		 "%s: %s; it stays. To use the fast path here detach it with what attached it, "
		 "or: ip link set dev %s xdp off",
		 iface->name, iface->reason, iface->name);
	return -EBUSY;
}

/* wanted: the option, or what auto means here. */
static int attach_xdp(struct fastpath *fp, struct fastpath_interface *iface, enum xdp_mode wanted,
		      bool *ret_attached)
{
	enum xdp_mode asked = fp->options.xdp_mode, mode, before;
	uint32_t prog_id;
	int err = link_update(fp, iface, wanted, &before);

	if (err != -ENOENT) {
		iface->by_link = true;
		if (err == -EADDRINUSE)
			snprintf(iface->reason, sizeof(iface->reason),
				 "the pinned link serves another interface (another network "
				 "namespace?); use another --instance");
		return err;
	}
	prog_id = attach_query(iface->ifindex, &mode);
	if (prog_id && !attach_prog_is_ours(prog_id, map_id_of(fp->maps.conf_fd)))
		return refuse_foreign(iface, prog_id);
	if (prog_id && fp->incomplete) {
		snprintf(iface->reason, sizeof(iface->reason),
			 "the program attached (bpftool, ip) uses a map that is not pinned any "
			 "more; run: xdpcache unload");
		return -EBUSY;
	}
	if (prog_id && asked != XDP_MODE_AUTO && asked != mode) {
		snprintf(iface->reason, sizeof(iface->reason),
			 "attached in %s mode without us (bpftool, ip); detach it first",
			 mode_names[mode]);
		return -EBUSY;
	}
	if (prog_id)
		return 0;
	err = attach_new(fp, iface, wanted);
	iface->by_link = true;
	*ret_attached = err == 0 && before == XDP_MODE_OFF;
	if (err && before != XDP_MODE_OFF && link_make(fp, iface, before) == 0)
		log_line(LOG_INFO, "fastpath", "%s: back in %s mode", iface->name,
			 mode_names[before]);
	return err;
}

/* Says what probe_loses_replies found, once it is known what was made of it. */
static void tell_lost_replies(struct fastpath_interface *iface, const char *why)
{
	snprintf(iface->reason, sizeof(iface->reason), "%.127s", why);
	if (iface->mode == XDP_MODE_NATIVE)
		log_line(LOG_WARN, "fastpath",
			 "%s: %s; attach an XDP program to the peer, or use generic mode here",
			 iface->name, why);
	else
		log_line(LOG_WARN, "fastpath", "%s: generic, not native: %s", iface->name, why);
}

int attach_one(struct fastpath *fp, const char *ifname, struct fastpath_interface *ret,
	       bool *ret_attached)
{
	enum xdp_mode wanted = fp->options.xdp_mode;
	char why[PROBE_WHY_MAX] = "";
	int err;

	*ret_attached = false;
	memset(ret, 0, sizeof(*ret));
	snprintf(ret->name, sizeof(ret->name), "%s", ifname);
	ret->mode = XDP_MODE_OFF;
	ret->ifindex = if_nametoindex(ifname);
	if (!ret->ifindex) {
		snprintf(ret->reason, sizeof(ret->reason), "no such interface; see: ip -br link");
		return -ENODEV;
	}
	if (fp->options.xdp_mode == XDP_MODE_OFF) {
		snprintf(ret->reason, sizeof(ret->reason), "--xdp-mode off");
		return 0;
	}
	if (wanted != XDP_MODE_GENERIC && probe_loses_replies(ifname, why) &&
	    wanted == XDP_MODE_AUTO)
		wanted = XDP_MODE_GENERIC;
	err = attach_xdp(fp, ret, wanted, ret_attached);
	if (err) {
		if (!ret->reason[0])
			snprintf(ret->reason, sizeof(ret->reason), "%s", strerror(-err));
		return err;
	}
	ret->prog_id = attach_query(ret->ifindex, &ret->mode);
	if (why[0])
		tell_lost_replies(ret, why);
	err = tchook_insert(&fp->pins, ret->name, ret->ifindex, fp->tc_fd,
			    map_id_of(fp->maps.conf_fd));
	ret->tc = err == 0;
	log_line(LOG_INFO, "fastpath", "%s: %s program=%u %s%s%s", ret->name, mode_names[ret->mode],
		 ret->prog_id, ret->by_link ? "link" : "netlink",
		 ret->tc ? " tc" : " no tc: ", ret->tc ? "" : strerror(-err));
	return 0;
}

/* Tells the program whether every interface that has it has the tc hook, too. */
static void set_options(struct fastpath *fp)
{
	uint32_t served = 0, with_tc = 0;
	uint32_t *options = &fp->maps.conf->options;

	for (uint32_t i = 0; i < fp->interface_cnt; i++) {
		served += fp->interfaces[i].mode != XDP_MODE_OFF;
		with_tc += fp->interfaces[i].tc;
	}
	if (served > 0 && with_tc == served)
		__atomic_or_fetch(options, XC_OPT_TC, __ATOMIC_SEQ_CST);
	else
		__atomic_and_fetch(options, ~XC_OPT_TC, __ATOMIC_SEQ_CST);
}

void attach_set_interfaces(struct fastpath *fp, const struct fastpath_interface *all)
{
	pthread_mutex_lock(&fp->interfaces_lock);
	memcpy(fp->interfaces, all, fp->interface_cnt * sizeof(*all));
	set_options(fp);
	pthread_mutex_unlock(&fp->interfaces_lock);
}

/* A start that fails leaves interfaces and pins as it found them. */
static void undo(struct fastpath *fp, const bool *attached)
{
	for (uint32_t i = 0; i < fp->interface_cnt; i++) {
		if (attached[i])
			attach_remove_one(&fp->pins, fp->interfaces[i].name,
					  fp->interfaces[i].ifindex, map_id_of(fp->maps.conf_fd));
	}
	if (fp->fresh)
		pins_remove(&fp->pins);
}

int fastpath_attach(struct fastpath *fp)
{
	bool attached[FASTPATH_INTERFACE_MAX];
	uint32_t served = 0;
	int err;

	fp->interface_cnt = 0;
	for (uint32_t i = 0; i < fp->options.interface_cnt; i++) {
		struct fastpath_interface *iface = &fp->interfaces[i];

		err = attach_one(fp, fp->options.interfaces[i], iface, &attached[i]);
		fp->interface_cnt++;
		served += iface->mode != XDP_MODE_OFF;
		if (!err)
			continue;
		/* A name that is not there is a mistake in any mode. */
		if (fp->options.xdp_mode != XDP_MODE_AUTO || err == -ENODEV) {
			log_line(LOG_ERROR, "fastpath", "%s: cannot attach in %s mode: %s%s",
				 iface->name, mode_names[fp->options.xdp_mode], iface->reason,
				 err == -ENODEV ? ""
						: "; try --xdp-mode auto, or see: xdpcache doctor");
			undo(fp, attached);
			return err;
		}
		log_line(LOG_WARN, "fastpath", "%s: off: %s", iface->name, iface->reason);
	}
	if (served == 0 && fp->options.xdp_mode != XDP_MODE_OFF)
		log_line(LOG_WARN, "fastpath", "no interface carries it; the daemon serves alone");
	set_options(fp);
	return 0;
}

int fastpath_interfaces(const struct fastpath *fp, struct fastpath_interface *ret, uint32_t max)
{
	uint32_t cnt = fp->interface_cnt < max ? fp->interface_cnt : max;

	pthread_mutex_lock((pthread_mutex_t *)&fp->interfaces_lock);
	memcpy(ret, fp->interfaces, cnt * sizeof(*ret));
	pthread_mutex_unlock((pthread_mutex_t *)&fp->interfaces_lock);
	return (int)cnt;
}

/* --- removal --- */

static int remove_xdp(const struct pins *pins, const char *ifname, uint32_t ifindex,
		      uint32_t conf_map_id)
{
	enum xdp_mode mode;
	uint32_t prog_id;
	char path[PATH_MAX];
	int fd = link_open(pins, ifname, ifindex);

	if (fd >= 0) {
		pins_interface_path(pins, path, ifname, "xdp");
		bpf_link_detach(fd);
		close(fd);
		unlink(path);
	}
	prog_id = attach_query(ifindex, &mode);
	if (!prog_id || !attach_prog_is_ours(prog_id, conf_map_id))
		return 0;
	return bpf_xdp_detach((int)ifindex, mode_flag(mode), NULL);
}

int attach_remove_one(const struct pins *pins, const char *ifname, uint32_t ifindex,
		      uint32_t conf_map_id)
{
	int err = remove_xdp(pins, ifname, ifindex, conf_map_id);

	if (err)
		log_line(LOG_ERROR, "fastpath", "%s: cannot detach: %s", ifname, strerror(-err));
	tchook_remove(pins, ifname, ifindex, conf_map_id);
	return err;
}

/* Links of interfaces that are not here: of other network namespaces, or gone with them. */
static void remove_far_links(const struct pins *pins)
{
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *dir;
	int fd;

	pins_path(pins, path, "if", NULL, NULL);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		pins_interface_path(pins, path, entry->d_name, "xdp");
		fd = bpf_obj_get(path);
		if (fd < 0)
			continue;
		bpf_link_detach(fd);
		close(fd);
	}
	if (dir)
		closedir(dir);
}

int attach_remove_all(const struct pins *pins, uint32_t conf_map_id)
{
	struct if_nameindex *all = if_nameindex();
	int err = 0;

	if (!all)
		return -errno;
	for (const struct if_nameindex *at = all; at->if_index != 0; at++) {
		int one = attach_remove_one(pins, at->if_name, at->if_index, conf_map_id);

		if (one)
			err = one;
	}
	if_freenameindex(all);
	remove_far_links(pins);
	return err;
}
