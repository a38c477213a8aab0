/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/allow.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/cidr.h"
#include "base/log.h"

#define LIST_MAX 1024
#define ALLOWED 1U

static bool listed(const struct cidr *list, uint32_t cnt, const struct xc_allow_key *key)
{
	for (uint32_t i = 0; i < cnt; i++) {
		if (list[i].prefix_len == key->prefix_len &&
		    memcmp(list[i].addr, key->addr, sizeof(key->addr)) == 0)
			return true;
	}
	return false;
}

static void remove_stale(int fd, const struct cidr *list, uint32_t cnt)
{
	struct xc_allow_key key, next;
	struct xc_allow_key *at = NULL;

	while (bpf_map_get_next_key(fd, at, &next) == 0) {
		key = next;
		at = &key;
		if (!listed(list, cnt, &key)) {
			bpf_map_delete_elem(fd, &key);
			at = NULL; /* a trie's next key after a removed one starts over anyway */
		}
	}
}

/* Every IPv4 address, as a prefix of mapped ones. */
static const struct cidr all_v4 = { .addr = { [10] = 0xff, [11] = 0xff }, .prefix_len = 96 };

/*
 * ::/0 and the like also cover the mapped IPv4 addresses, which is not what they say. A longer
 * prefix with no flag set keeps those out; prefixes of IPv4 are longer still.
 */
static bool covers_v4(const struct cidr *list, uint32_t cnt)
{
	bool covers = false;

	for (uint32_t i = 0; i < cnt; i++) {
		const struct cidr whole = { .prefix_len = list[i].prefix_len };

		if (memcmp(&list[i], &all_v4, sizeof(all_v4)) == 0)
			return false; /* 0.0.0.0/0 itself is asked for */
		covers |= list[i].prefix_len <= 80 && memcmp(list[i].addr, whole.addr, 16) == 0;
	}
	return covers;
}

static int write_one(int fd, const struct cidr *cidr, uint32_t flags)
{
	struct xc_allow_key key = { .prefix_len = cidr->prefix_len };

	memcpy(key.addr, cidr->addr, sizeof(key.addr));
	return bpf_map_update_elem(fd, &key, &flags, BPF_ANY) ? -errno : 0;
}

int allow_apply(const struct fastpath_maps *maps, const char *const *texts, uint32_t cnt)
{
	struct cidr list[LIST_MAX + 1];
	bool keep_v4_out;
	int err = 0;

	if (cnt == 0) {
		texts = cidr_loopback;
		cnt = CIDR_LOOPBACK_CNT;
	}
	if (cnt > LIST_MAX) {
		log_line(LOG_ERROR, "allow", "more than %d --allow prefixes", LIST_MAX);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < cnt; i++) {
		if (cidr_parse(texts[i], &list[i])) {
			log_line(LOG_ERROR, "allow",
				 "\"%s\" is not an address or prefix such as 10.0.0.0/8 or "
				 "2001:db8::/32",
				 texts[i]);
			return -EINVAL;
		}
	}
	/*
	 * New ones first: an earlier daemon's lease may still run, and a source on both lists must
	 * not be dropped in between.
	 */
	keep_v4_out = covers_v4(list, cnt);
	if (keep_v4_out) {
		list[cnt] = all_v4;
		err = write_one(maps->allow_fd, &all_v4, 0);
	}
	for (uint32_t i = 0; i < cnt && !err; i++)
		err = write_one(maps->allow_fd, &list[i], ALLOWED);
	if (!err)
		remove_stale(maps->allow_fd, list, cnt + keep_v4_out);
	__atomic_add_fetch(&maps->conf->guard_gen, 1, __ATOMIC_SEQ_CST);
	if (err)
		log_line(LOG_ERROR, "allow", "cannot write xc_allow: %s", strerror(-err));
	return err;
}
