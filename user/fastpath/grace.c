/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/grace.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* What the probe chose; written once, before any thread runs. */
static struct {
	int seg_fd;
	int extent_fd; /* -1: membarrier is used */
} method = { .seg_fd = -1, .extent_fd = -1 };

static int membarrier(int cmd)
{
	return (int)syscall(__NR_membarrier, cmd, 0, 0);
}

int grace_open(int seg_fd)
{
	uint32_t slot = 0, extent_id;
	int cmds = membarrier(MEMBARRIER_CMD_QUERY);

	if (cmds >= 0 && (cmds & MEMBARRIER_CMD_GLOBAL)) {
		log_line(LOG_INFO, "grace", "method=membarrier");
		return 0;
	}
	if (bpf_map_lookup_elem(seg_fd, &slot, &extent_id) == 0)
		method.extent_fd = bpf_map_get_fd_by_id(extent_id);
	if (method.extent_fd < 0) {
		log_line(LOG_ERROR, "grace",
			 "neither membarrier(2) nor a map-in-map update gives a grace period (%s); "
			 "run with --no-fastpath, or allow membarrier in the container's seccomp "
			 "profile",
			 strerror(errno));
		return -ENOTSUP;
	}
	method.seg_fd = seg_fd;
	log_line(LOG_INFO, "grace", "method=map-in-map (membarrier is not available)");
	return 0;
}

void grace_wait(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint32_t slot = 0;

	/*
	 * Neither call fails for lack of anything but memory; a grace period that did not happen
	 * must never count.
	 */
	for (;;) {
		if (method.extent_fd < 0) {
			if (membarrier(MEMBARRIER_CMD_GLOBAL) == 0)
				return;
		} else if (bpf_map_update_elem(method.seg_fd, &slot, &method.extent_fd, BPF_ANY) ==
			   0) {
			return;
		}
		nanosleep(&pause, NULL);
	}
}
