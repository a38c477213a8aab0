/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/lease.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "fastpath/impl.h"

#define MEASURE_EDGES 3
#define VERIFY_TRIES 5
#define MEASURE_TRIES 3
/* A tick is at most 10 ms; an edge that does not come in this time never will. */
#define EDGE_WAIT_NS (100 * NSEC_PER_MSEC)

static int sample(int prog_fd, struct xc_clock_sample *ret)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = ret, .ctx_size_in = sizeof(*ret));

	return bpf_prog_test_run_opts(prog_fd, &opts) ? -errno : 0;
}

/*
 * What the kernel advances its clock by at each jiffy is, to the nanosecond, the resolution of its
 * coarse clocks. A slope measured between two jiffies would be too rough: an error of one in 250
 * is half a minute in two hours.
 */
static uint32_t kernel_tick_ns(void)
{
	struct timespec resolution;

	clock_getres(CLOCK_MONOTONIC_COARSE, &resolution);
	return (uint32_t)resolution.tv_nsec;
}

/* The first sample after jiffies has moved on. */
static int tick_edge(int prog_fd, struct xc_clock_sample *ret)
{
	struct xc_clock_sample first = { 0 }, now = { 0 };
	int err = sample(prog_fd, &first);

	while (!err) {
		err = sample(prog_fd, &now);
		if (err || now.jiffies != first.jiffies)
			break;
		if (now.boot_ns - first.boot_ns > EDGE_WAIT_NS)
			return -ETIME;
	}
	if (!err)
		*ret = now;
	return err;
}

static int64_t suspended_ns(void)
{
	struct timespec boot, mono;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (boot.tv_sec - mono.tv_sec) * (int64_t)NSEC_PER_SEC + boot.tv_nsec - mono.tv_nsec;
}

/*
 * Right after a tick the program's clock is one tick ahead. A sample that was held up says less, so
 * several are asked.
 */
static bool is_right(const struct xc_conf *conf, int prog_fd)
{
	int64_t tick_ns = conf->tick_ns, off_ns;
	struct xc_clock_sample edge;

	for (int i = 0; i < VERIFY_TRIES; i++) {
		if (tick_edge(prog_fd, &edge))
			return false;
		off_ns = (int64_t)(conf->clock_base_ns + edge.jiffies * conf->tick_ns -
				   edge.boot_ns) -
			 tick_ns;
		if (off_ns > -tick_ns / 4 && off_ns < tick_ns / 4)
			return true;
	}
	return false;
}

/*
 * Every edge is seen a little late, the least late one is the truest. Unsigned: jiffies begin just
 * below a wrap of 32 bits, and the sum comes out right all the same.
 */
static int measure(struct xc_conf *conf, int prog_fd, uint32_t tick_ns)
{
	struct xc_clock_sample edge;
	uint64_t base = 0;

	for (int i = 0; i < MEASURE_EDGES; i++) {
		int err = tick_edge(prog_fd, &edge);
		uint64_t one = edge.boot_ns - edge.jiffies * tick_ns;

		if (err)
			return err;
		if (i == 0 || (int64_t)(one - base) < 0)
			base = one;
	}
	conf->tick_ns = tick_ns;
	/*
	 * One tick ahead: between ticks the program is never late and serves nothing past its
	 * end.
	 */
	__atomic_store_n(&conf->clock_base_ns, base + tick_ns, __ATOMIC_SEQ_CST);
	return 0;
}

/* Maps do not outlive a boot, so what an earlier daemon measured is only looked at. */
static int calibrate(struct lease *lease, int prog_fd)
{
	uint32_t tick_ns = kernel_tick_ns();
	bool kept = lease->conf->tick_ns == tick_ns && is_right(lease->conf, prog_fd);
	bool right = kept;
	int err = 0;

	lease->suspended_ns = suspended_ns();
	for (int i = 0; i < MEASURE_TRIES && !right; i++) {
		err = measure(lease->conf, prog_fd, tick_ns);
		right = !err && is_right(lease->conf, prog_fd);
	}
	if (!right) {
		err = err ? err : -ERANGE;
		log_line(LOG_ERROR, "lease", "cannot calibrate the kernel program's clock: %s",
			 strerror(-err));
		return err;
	}
	log_line(LOG_INFO, "lease", "kernel clock %s: tick_ns=%u", kept ? "kept" : "measured",
		 lease->conf->tick_ns);
	return 0;
}

int lease_init(struct lease *lease, const struct fastpath *fp, uint32_t lease_ms)
{
	*lease = (struct lease){ .conf = fp->maps.conf,
				 .length_ns = lease_ms * NSEC_PER_MSEC,
				 .epoch = fp->maps.conf->owner_epoch };
	return calibrate(lease, fp->clock_fd);
}

int lease_renew(struct lease *lease, uint64_t now_ns)
{
	int64_t slept_ns = suspended_ns() - lease->suspended_ns;

	if (__atomic_load_n(&lease->conf->owner_epoch, __ATOMIC_SEQ_CST) != lease->epoch)
		return __atomic_load_n(&lease->conf->magic, __ATOMIC_SEQ_CST) == XC_ABI_MAGIC
			       ? -ESTALE
			       : -ENODEV;
	/*
	 * Monotonic time, and so jiffies, stood still while the host was suspended. A microsecond
	 * of noise between the two reads is not a suspend.
	 */
	if (slept_ns > (int64_t)NSEC_PER_MSEC) {
		__atomic_add_fetch(&lease->conf->clock_base_ns, (uint64_t)slept_ns,
				   __ATOMIC_SEQ_CST);
		lease->suspended_ns += slept_ns;
	}
	__atomic_store_n(&lease->conf->serve_until_ns, now_ns + lease->length_ns, __ATOMIC_SEQ_CST);
	return 0;
}

void lease_revoke(struct lease *lease)
{
	if (lease->conf &&
	    __atomic_load_n(&lease->conf->owner_epoch, __ATOMIC_SEQ_CST) == lease->epoch)
		__atomic_store_n(&lease->conf->serve_until_ns, 0, __ATOMIC_SEQ_CST);
}
