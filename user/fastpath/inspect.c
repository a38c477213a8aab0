/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/inspect.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "fastpath/counters.h"
#include "fastpath/impl.h"
#include "fastpath/probe.h"

/* Longest key of the maps counted here. */
#define KEY_BYTES_MAX 64

static int open_pin(const struct pins *pins, const char *map)
{
	char path[PATH_MAX];
	int fd;

	pins_path(pins, path, map, NULL, NULL);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

/* Elements of a hash or trie, and its size; 0 when it cannot be opened. */
static uint32_t count_elements(const struct pins *pins, const char *map, uint32_t *ret_max)
{
	uint8_t key[KEY_BYTES_MAX], next[KEY_BYTES_MAX];
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info), cnt = 0;
	int fd = open_pin(pins, map);
	bool more;

	if (fd < 0)
		return 0;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) || info.key_size > KEY_BYTES_MAX) {
		close(fd);
		return 0;
	}
	if (ret_max)
		*ret_max = info.max_entries;
	more = bpf_map_get_next_key(fd, NULL, next) == 0;
	/* A table that others write may show an element twice: never count past its size. */
	while (more && cnt < info.max_entries) {
		cnt++;
		memcpy(key, next, sizeof(key));
		more = bpf_map_get_next_key(fd, key, next) == 0;
	}
	close(fd);
	return cnt;
}

static uint32_t count_extents(const struct pins *pins)
{
	int fd = open_pin(pins, XC_MAP_SEG);
	uint32_t number = 0, id;

	if (fd < 0)
		return 0;
	while (number < XC_EXTENT_MAX && bpf_map_lookup_elem(fd, &number, &id) == 0)
		number++;
	close(fd);
	return number;
}

static void find_interfaces(const struct pins *pins, uint32_t conf_id, struct inspect *ret)
{
	struct if_nameindex *all = if_nameindex();
	char path[PATH_MAX], why[PROBE_WHY_MAX];

	for (const struct if_nameindex *at = all; at && at->if_index != 0; at++) {
		struct fastpath_interface *iface = &ret->interfaces[ret->interface_cnt];
		enum xdp_mode mode;
		uint32_t prog_id = attach_query(at->if_index, &mode);

		if (!prog_id || !attach_prog_is_ours(prog_id, conf_id))
			continue;
		if (ret->interface_cnt == FASTPATH_INTERFACE_MAX)
			break;
		snprintf(iface->name, sizeof(iface->name), "%s", at->if_name);
		iface->ifindex = at->if_index;
		iface->prog_id = prog_id;
		iface->mode = mode;
		iface->tc = tchook_present(at->if_index, conf_id);
		if (mode == XDP_MODE_NATIVE && probe_loses_replies(at->if_name, why))
			snprintf(iface->reason, sizeof(iface->reason), "%.127s", why);
		pins_interface_path(pins, path, at->if_name, "xdp");
		iface->by_link = access(path, F_OK) == 0;
		ret->interface_cnt++;
	}
	if (all)
		if_freenameindex(all);
}

int inspect_pins(const char *pin_root, const char *instance, struct inspect *ret)
{
	struct pins pins;
	uint32_t zero = 0;
	int fd, err = pins_init(&pins, pin_root, instance);

	if (err)
		return err;
	memset(ret, 0, sizeof(*ret));
	snprintf(ret->dir, sizeof(ret->dir), "%s", pins.dir);
	ret->owner = pins_owner(&pins);
	fd = open_pin(&pins, XC_MAP_CONF);
	if (fd < 0)
		return fd;
	if (bpf_map_lookup_elem(fd, &zero, &ret->conf))
		err = -errno;
	find_interfaces(&pins, map_id_of(fd), ret);
	close(fd);
	ret->configured = ret->conf.magic == XC_ABI_MAGIC;
	if (err)
		return err;
	fd = open_pin(&pins, XC_MAP_STATS);
	if (fd >= 0) {
		err = counters_read(fd, &ret->stats);
		close(fd);
	}
	ret->entry_cnt = count_elements(&pins, XC_MAP_HOT, &ret->entry_max);
	ret->local_cnt = count_elements(&pins, XC_MAP_LOCAL, NULL);
	ret->allow_cnt = count_elements(&pins, XC_MAP_ALLOW, NULL);
	ret->extent_cnt = count_extents(&pins);
	return err;
}

uint32_t inspect_foreign_prog(const char *pin_root, const char *instance, const char *ifname)
{
	uint32_t ifindex = if_nametoindex(ifname), prog_id, conf_id = 0;
	enum xdp_mode mode;
	struct pins pins;
	int fd;

	if (!ifindex || pins_init(&pins, pin_root, instance))
		return 0;
	prog_id = attach_query(ifindex, &mode);
	fd = open_pin(&pins, XC_MAP_CONF);
	if (fd >= 0) {
		conf_id = map_id_of(fd);
		close(fd);
	}
	return prog_id && !attach_prog_is_ours(prog_id, conf_id) ? prog_id : 0;
}
