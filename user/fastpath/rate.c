/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/rate.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "base/log.h"
#include "fastpath/impl.h"

#define BURST_LEAST 16
#define TICKS_LEAST 2

static uint64_t burst_ns_of(const struct xc_conf *conf, uint32_t cost_ns, uint32_t limit,
			    uint32_t burst)
{
	uint32_t wanted = burst ? burst : limit / 10;
	uint64_t ns, least_ns = (uint64_t)conf->tick_ns * TICKS_LEAST;

	if (!burst && wanted < BURST_LEAST)
		wanted = BURST_LEAST;
	ns = (uint64_t)wanted * cost_ns;
	/* One more: what is left over of a request is none. */
	if (ns < least_ns)
		ns = least_ns + cost_ns;
	return ns;
}

static int empty_buckets(int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	uint64_t bytes;
	void *buckets;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	bytes = (uint64_t)info.value_size * info.max_entries;
	buckets = loader_map(fd, bytes);
	if (!buckets)
		return -errno;
	memset(buckets, 0, bytes);
	loader_unmap(buckets, bytes);
	return 0;
}

int rate_apply(const struct fastpath_maps *maps, uint32_t limit, uint32_t burst)
{
	struct xc_conf *conf = maps->conf;
	uint32_t cost_ns = limit ? (uint32_t)(NSEC_PER_SEC / limit) : 0;
	uint64_t burst_ns = limit ? burst_ns_of(conf, cost_ns, limit, burst) : 0;
	uint32_t was_ns = conf->rate_cost_ns;
	int err;

	if (was_ns == cost_ns && conf->rate_burst_ns == burst_ns)
		return 0;
	/* Off in between, so that nobody is judged by half of each or by what was owed before. */
	__atomic_store_n(&conf->rate_cost_ns, 0, __ATOMIC_SEQ_CST);
	err = empty_buckets(maps->rate_fd);
	if (err) {
		__atomic_store_n(&conf->rate_cost_ns, was_ns, __ATOMIC_SEQ_CST);
		log_line(LOG_ERROR, "rate", "cannot empty xc_rate: %s", strerror(-err));
		return err;
	}
	__atomic_store_n(&conf->rate_burst_ns, burst_ns, __ATOMIC_SEQ_CST);
	__atomic_store_n(&conf->rate_cost_ns, cost_ns, __ATOMIC_SEQ_CST);
	if (limit)
		log_line(LOG_INFO, "rate", "limit=%u burst=%llu requests of one source", limit,
			 (unsigned long long)(burst_ns / cost_ns));
	else
		log_line(LOG_INFO, "rate", "no limit");
	return 0;
}
