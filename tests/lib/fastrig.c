/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/fastrig.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

const char *const fastrig_outcome_names[XC_OUTCOME_CNT] = {
#define X(name, meaning) #name,
	XC_OUTCOMES(X)
#undef X
};

static const uint64_t digest_key[2] = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };

static void must(int err)
{
	if (err) {
		fprintf(stderr, "fastrig: %s\n", strerror(-err));
		abort();
	}
}

static int map_fd(const struct fastrig *rig, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(rig->object, name);

	assert(fd >= 0);
	return fd;
}

static uint64_t map_bytes(const struct fastrig *rig, const char *name)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(rig->object, name);
	uint64_t page = sysconf(_SC_PAGESIZE);
	uint64_t bytes = (uint64_t)bpf_map__value_size(map) * bpf_map__max_entries(map);

	return (bytes + page - 1) / page * page;
}

static void *map_shared(int fd, uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Makes an extent, puts it into the log and maps it. */
static uint8_t *extent_new(const struct fastrig *rig, uint32_t idx)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "xc_extent", 4, XC_BLOCK_SIZE, XC_EXTENT_BLOCKS,
				&opts);
	uint8_t *bytes = NULL;

	if (fd < 0)
		return NULL;
	if (bpf_map_update_elem(map_fd(rig, XC_MAP_SEG), &idx, &fd, BPF_ANY) == 0)
		bytes = map_shared(fd, XC_EXTENT_SIZE);
	close(fd);
	return bytes;
}

int fastrig_open(struct fastrig *rig, struct bpf_object *object)
{
	*rig = (struct fastrig){
		.object = object,
		.ifindex = RIG_IFINDEX,
		.cpu_cnt = libbpf_num_possible_cpus(),
	};
	rig->hot_fd = map_fd(rig, XC_MAP_HOT);
	rig->stats_fd = map_fd(rig, XC_MAP_STATS);
	rig->local_fd = map_fd(rig, XC_MAP_LOCAL);
	rig->allow_fd = map_fd(rig, XC_MAP_ALLOW);
	rig->entry_cnt = bpf_map__max_entries(bpf_object__find_map_by_name(object, XC_MAP_ENTRY));
	rig->conf = map_shared(map_fd(rig, XC_MAP_CONF), map_bytes(rig, XC_MAP_CONF));
	rig->entries = map_shared(map_fd(rig, XC_MAP_ENTRY), map_bytes(rig, XC_MAP_ENTRY));
	rig->uses = map_shared(map_fd(rig, XC_MAP_HITS), map_bytes(rig, XC_MAP_HITS));
	rig->filter = map_shared(map_fd(rig, XC_MAP_FILTER), map_bytes(rig, XC_MAP_FILTER));
	rig->rates = map_shared(map_fd(rig, XC_MAP_RATE), map_bytes(rig, XC_MAP_RATE));
	rig->log[0] = extent_new(rig, 0);
	rig->log[1] = extent_new(rig, RIG_FAR_EXTENT);
	if (!rig->conf || !rig->entries || !rig->uses || !rig->filter || !rig->rates ||
	    !rig->log[0] || !rig->log[1]) {
		fastrig_close(rig);
		return -ENOMEM;
	}
	fastrig_clear(rig);
	return 0;
}

void fastrig_close(struct fastrig *rig)
{
	if (rig->conf)
		munmap(rig->conf, map_bytes(rig, XC_MAP_CONF));
	if (rig->entries)
		munmap(rig->entries, map_bytes(rig, XC_MAP_ENTRY));
	if (rig->uses)
		munmap(rig->uses, map_bytes(rig, XC_MAP_HITS));
	if (rig->filter)
		munmap(rig->filter, map_bytes(rig, XC_MAP_FILTER));
	if (rig->rates)
		munmap(rig->rates, map_bytes(rig, XC_MAP_RATE));
	for (int i = 0; i < 2; i++)
		if (rig->log[i])
			munmap(rig->log[i], XC_EXTENT_SIZE);
	*rig = (struct fastrig){ 0 };
}

static void addr_mapped(struct span addr, uint8_t ret[16])
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	assert(addr.len == 4 || addr.len == 16);
	memcpy(ret, prefix, sizeof(prefix));
	memcpy(ret + 16 - addr.len, addr.ptr, addr.len);
}

void fastrig_local(struct fastrig *rig, struct span addr, const struct xc_local *local)
{
	struct xc_local_key key = { .ifindex = rig->ifindex };

	addr_mapped(addr, key.addr);
	must(bpf_map_update_elem(rig->local_fd, &key, local, BPF_ANY));
	rig->conf->guard_gen++;
}

void fastrig_allow(struct fastrig *rig, struct span addr, bool allowed)
{
	struct xc_allow_key key = { .prefix_len = 128 };
	uint32_t value = allowed;

	addr_mapped(addr, key.addr);
	must(bpf_map_update_elem(rig->allow_fd, &key, &value, BPF_ANY));
	rig->conf->guard_gen++;
}

static void map_clear(int fd, size_t key_size)
{
	uint8_t key[32];

	assert(key_size <= sizeof(key));
	while (bpf_map_get_next_key(fd, NULL, key) == 0)
		must(bpf_map_delete_elem(fd, key));
}

void fastrig_configure(struct fastrig *rig)
{
	struct xc_local local = { .mtu = RIG_MTU };
	uint32_t guard_gen = rig->conf->guard_gen;

	map_clear(rig->local_fd, sizeof(struct xc_local_key));
	map_clear(rig->allow_fd, sizeof(struct xc_allow_key));
	*rig->conf = (struct xc_conf){
		.magic = XC_ABI_MAGIC,
		.version = XC_ABI_VERSION,
		.serve_until_ns = RIG_NOW_NS + 1,
		.clock_base_ns = RIG_NOW_NS,
		.port_be = htobe16(PKTGEN_SERVER_PORT),
		.digest_key = { digest_key[0], digest_key[1] },
		.flush_gen = 7,
		.guard_gen = guard_gen,
	};
	memset(rig->rates, 0, map_bytes(rig, XC_MAP_RATE));
	memcpy(local.mac, pktgen_server.mac, 6);
	fastrig_local(rig, span_of(pktgen_server.ip4, 4), &local);
	fastrig_local(rig, span_of(pktgen_server.ip6, 16), &local);
	fastrig_allow(rig, span_of(pktgen_client.ip4, 4), true);
	fastrig_allow(rig, span_of(pktgen_client.ip6, 16), true);
}

void fastrig_clear(struct fastrig *rig)
{
	map_clear(rig->hot_fd, sizeof(struct xc_digest));
	memset(rig->entries, 0, rig->entry_cnt * sizeof(*rig->entries));
	memset(rig->filter, 0, map_bytes(rig, XC_MAP_FILTER));
	rig->entry_next = 0;
	rig->log_next = 64;
}

uint8_t *fastrig_log(const struct fastrig *rig, uint64_t loc)
{
	uint64_t extent = loc >> XC_EXTENT_SHIFT;

	assert(extent == 0 || extent == RIG_FAR_EXTENT);
	return rig->log[extent != 0] + (loc & (XC_EXTENT_SIZE - 1));
}

static void digest_of(struct span key, struct xc_digest *ret)
{
	uint64_t word = 0;
	struct xc_sip sip;
	size_t at;

	xc_sip_init(&sip, (const __u64 *)digest_key);
	for (at = 0; at + 8 <= key.len; at += 8) {
		memcpy(&word, key.ptr + at, 8);
		xc_sip_word(&sip, word, XC_SIP_C);
	}
	word = 0;
	memcpy(&word, key.ptr + at, key.len - at);
	xc_sip_final(&sip, word, key.len, XC_SIP_C, XC_SIP_D, ret);
}

void fastrig_hot(struct fastrig *rig, struct span key, uint32_t idx)
{
	struct xc_digest digest;
	uint32_t old;

	digest_of(key, &digest);
	/*
	 * An entry that xc_hot no longer names must be vacant: the program may remember its number.
	 */
	if (bpf_map_lookup_elem(rig->hot_fd, &digest, &old) == 0 && old < rig->entry_cnt)
		rig->entries[old].kind = XC_ENTRY_VACANT;
	must(bpf_map_update_elem(rig->hot_fd, &digest, &idx, BPF_ANY));
	rig->filter[xc_filter_word(digest.lo)] |= xc_filter_bit(digest.lo);
}

void fastrig_entry(struct fastrig *rig, uint32_t idx, const struct rig_item *item, uint64_t key_loc)
{
	struct xc_entry entry = {
		.kind = item->absent ? XC_ENTRY_ABSENT : XC_ENTRY_VALUE,
		.key_len = item->key.len,
		.value_len = item->value.len,
		.key_loc = key_loc,
		.expire_ns = item->expire_ns,
		.cas = item->cas,
		.flush_gen = rig->conf->flush_gen,
		.flags = item->flags,
	};
	char head[6 + XC_KEY_MAX + XC_SUFFIX_MAX + 1];
	char suffix[XC_SUFFIX_MAX + 1];
	int len;

	len = snprintf(suffix, sizeof(suffix), " %u %zu", item->flags, item->value.len);
	assert(len > 0 && len <= XC_SUFFIX_MAX);
	memcpy(entry.suffix, suffix, len);
	entry.suffix_len = len;
	memcpy(head, "VALUE ", 6);
	memcpy(head + 6, item->key.ptr, item->key.len);
	memcpy(head + 6 + item->key.len, suffix, len);
	entry.head_csum = pktgen_sum(head, 6 + item->key.len + len);
	entry.value_csum = pktgen_sum(item->value.ptr, item->value.len);
	rig->entries[idx] = entry;
}

uint32_t fastrig_insert(struct fastrig *rig, const struct rig_item *item)
{
	uint32_t idx = rig->entry_next++;
	uint64_t loc = item->key_loc;

	assert(idx < rig->entry_cnt);
	if (!loc) {
		/*
		 * Items start anywhere but in a block's tail; with 13 between, at all alignments.
		 */
		if (XC_BLOCK_SIZE - rig->log_next % XC_BLOCK_SIZE <= XC_BLOCK_TAIL)
			rig->log_next = (rig->log_next / XC_BLOCK_SIZE + 1) * XC_BLOCK_SIZE + 64;
		loc = rig->log_next;
		rig->log_next += item->key.len + item->value.len + XC_KEY_LEAD + 13;
		assert(rig->log_next <= XC_EXTENT_SIZE);
	}
	memset(fastrig_log(rig, loc) - XC_KEY_LEAD, 0xee, XC_KEY_LEAD);
	memcpy(fastrig_log(rig, loc), item->key.ptr, item->key.len);
	memcpy(fastrig_log(rig, loc) + item->key.len, item->value.ptr, item->value.len);
	fastrig_entry(rig, idx, item, loc);
	fastrig_hot(rig, item->key, idx);
	return idx;
}

void fastrig_stats(const struct fastrig *rig, struct xc_stats *ret)
{
	struct xc_stats *per_cpu = calloc(rig->cpu_cnt, sizeof(*per_cpu));
	uint64_t *sum = (uint64_t *)ret;
	uint32_t zero = 0;

	assert(per_cpu);
	must(bpf_map_lookup_elem(rig->stats_fd, &zero, per_cpu));
	*ret = (struct xc_stats){ 0 };
	for (int cpu = 0; cpu < rig->cpu_cnt; cpu++)
		for (size_t i = 0; i < sizeof(*ret) / 8; i++)
			sum[i] += ((uint64_t *)&per_cpu[cpu])[i];
	free(per_cpu);
}

int fastrig_xdp(struct bpf_program *program, const struct pktgen_packet *in, struct rig_run *ret)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->bytes, .data_size_in = in->len,
		    .data_out = ret->out.bytes, .data_size_out = sizeof(ret->out.bytes),
		    .repeat = 1);
	int err = bpf_prog_test_run_opts(bpf_program__fd(program), &opts);

	ret->action = opts.retval;
	ret->out.len = opts.data_size_out;
	return err;
}

int fastrig_tc(struct bpf_program *program, const struct pktgen_packet *in, uint32_t mark,
	       struct rig_run *ret)
{
	struct __sk_buff skb = { .mark = mark };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->bytes, .data_size_in = in->len,
		    .data_out = ret->out.bytes, .data_size_out = sizeof(ret->out.bytes),
		    .ctx_in = &skb, .ctx_size_in = sizeof(skb), .repeat = 1);
	int err = bpf_prog_test_run_opts(bpf_program__fd(program), &opts);

	ret->action = opts.retval;
	ret->out.len = opts.data_size_out;
	return err;
}
