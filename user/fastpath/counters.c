/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/counters.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"

static const char *const names[XC_OUTCOME_CNT] = {
#define X(name, meaning) [XC_##name] = #name,
	XC_OUTCOMES(X)
#undef X
};

static const char *const meanings[XC_OUTCOME_CNT] = {
#define X(name, meaning) [XC_##name] = meaning,
	XC_OUTCOMES(X)
#undef X
};

#define FIELDS (sizeof(struct xc_stats) / sizeof(__u64))

int counters_read(int stats_fd, struct xc_stats *ret)
{
	int cpus = libbpf_num_possible_cpus();
	struct xc_stats *each;
	__u64 *sum = (__u64 *)ret;
	uint32_t key = 0;
	int err = 0;

	if (cpus < 0)
		return cpus;
	each = alloc_zero((size_t)cpus, sizeof(*each));
	if (!each)
		return -ENOMEM;
	if (bpf_map_lookup_elem(stats_fd, &key, each)) {
		err = -errno;
		goto out;
	}
	memset(ret, 0, sizeof(*ret));
	for (int cpu = 0; cpu < cpus; cpu++) {
		for (size_t f = 0; f < FIELDS; f++)
			sum[f] += ((const __u64 *)&each[cpu])[f];
	}
out:
	alloc_free(each);
	return err;
}

uint64_t counters_hits(const struct xc_stats *stats)
{
	return stats->hit_tail + stats->hit_head + stats->hit_tc + stats->more_keys -
	       stats->absent_keys;
}

uint64_t counters_absent(const struct xc_stats *stats)
{
	return stats->absent_keys;
}

const char *counters_name(enum xc_outcome outcome)
{
	return names[outcome];
}

const char *counters_meaning(enum xc_outcome outcome)
{
	return meanings[outcome];
}
