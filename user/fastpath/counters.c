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

/* Adds up the only element of a per-CPU map, which is `cnt` counters. */
static int sum_cpus(int fd, __u64 *ret, size_t cnt)
{
	int cpus = libbpf_num_possible_cpus();
	uint32_t key = 0;
	__u64 *each;
	int err = 0;

	if (cpus < 0)
		return cpus;
	each = alloc_zero((size_t)cpus * cnt, sizeof(*each));
	if (!each)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &key, each)) {
		err = -errno;
		goto out;
	}
	memset(ret, 0, cnt * sizeof(*ret));
	for (size_t i = 0; i < (size_t)cpus * cnt; i++)
		ret[i % cnt] += each[i];
out:
	alloc_free(each);
	return err;
}

int counters_read(int stats_fd, struct xc_stats *ret)
{
	int err = sum_cpus(stats_fd, (__u64 *)ret, sizeof(*ret) / sizeof(__u64));

	ret->timed = 0;
	return err;
}

int counters_routes(int routes_fd, struct xc_routes *ret)
{
	return sum_cpus(routes_fd, (__u64 *)ret, sizeof(*ret) / sizeof(__u64));
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

uint64_t counters_timed(const __u64 times[XC_TIME_BUCKETS])
{
	uint64_t cnt = 0;

	for (uint32_t b = 0; b < XC_TIME_BUCKETS; b++)
		cnt += times[b];
	return cnt;
}

uint64_t counters_time_ns(const __u64 times[XC_TIME_BUCKETS], double q)
{
	double want = q * (double)counters_timed(times);
	uint64_t cnt = 0;

	for (uint32_t b = 0; b < XC_TIME_BUCKETS; b++) {
		cnt += times[b];
		if (cnt > 0 && (double)cnt >= want)
			return xc_time_bucket_ns(b + 1);
	}
	return 0;
}

const char *counters_name(enum xc_outcome outcome)
{
	return names[outcome];
}

const char *counters_meaning(enum xc_outcome outcome)
{
	return meanings[outcome];
}
