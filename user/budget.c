/* SPDX-License-Identifier: BSD-2-Clause */
#include "budget.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* The log grows again only by this share of itself at once, or by a whole extent: what connections
 * come and go with must not keep the reclaimer moving items. */
#define GROW_SHARE 64

struct residence {
	uint64_t anon_bytes;
	uint64_t shared_bytes; /* files and shared memory */
};

static int measure(const struct budget *budget, struct residence *ret)
{
	unsigned long long size, resident, shared;
	char text[128];
	ssize_t len = pread(budget->statm_fd, text, sizeof(text) - 1, 0);

	if (len < 0)
		return -errno;
	text[len] = '\0';
	if (sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3 || shared > resident)
		return -EINVAL;
	ret->anon_bytes = (resident - shared) * budget->page_bytes;
	ret->shared_bytes = shared * budget->page_bytes;
	return 0;
}

int budget_open(struct budget *budget, uint64_t limit_bytes)
{
	struct residence now;
	int err;

	*budget = (struct budget){ .statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC),
				   .page_bytes = (uint64_t)sysconf(_SC_PAGESIZE) };
	if (budget->statm_fd < 0)
		return -errno;
	err = measure(budget, &now);
	if (err) {
		budget_close(budget);
		return err;
	}
	budget->program_bytes = now.shared_bytes;
	atomic_init(&budget->limit_bytes, limit_bytes);
	return 0;
}

void budget_use_maps(struct budget *budget, uint64_t map_bytes, uint64_t extent_bytes)
{
	budget->map_bytes = map_bytes;
	budget->extent_bytes = extent_bytes;
}

void budget_keep_log(struct budget *budget, uint64_t log_bytes)
{
	atomic_store(&budget->log_bytes, log_bytes);
}

void budget_close(struct budget *budget)
{
	if (budget->statm_fd > 0)
		close(budget->statm_fd);
	budget->statm_fd = -1;
}

void budget_set_limit(struct budget *budget, uint64_t limit_bytes)
{
	atomic_store(&budget->limit_bytes, limit_bytes);
}

uint64_t budget_log_bytes(struct budget *budget)
{
	uint64_t limit = atomic_load(&budget->limit_bytes), given = atomic_load(&budget->log_bytes);
	struct residence now;
	uint64_t others, left, nearest;

	if (measure(budget, &now))
		return given;
	others = now.anon_bytes + budget->program_bytes + budget->map_bytes;
	left = limit > others ? limit - others : 0;
	if (budget->extent_bytes) {
		/* The nearest, so that what is given is half an extent off at most; but one more
		 * only where all of it fits. */
		nearest = (left + budget->extent_bytes / 2) / budget->extent_bytes *
			  budget->extent_bytes;
		left = given && nearest > given ? left / budget->extent_bytes * budget->extent_bytes
						: nearest;
	} else if (given && left > given && left - given < given / GROW_SHARE) {
		left = given;
	}
	atomic_store(&budget->log_bytes, left);
	return left;
}

void budget_parts(const struct budget *budget, struct budget_parts *ret)
{
	struct residence now = { 0 };

	measure(budget, &now);
	*ret = (struct budget_parts){ .limit_bytes = atomic_load(&budget->limit_bytes),
				      .process_bytes = now.anon_bytes,
				      .program_bytes = budget->program_bytes,
				      .map_bytes = budget->map_bytes,
				      .log_bytes = atomic_load(&budget->log_bytes) };
}
