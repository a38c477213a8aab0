/* SPDX-License-Identifier: BSD-2-Clause */
#include "store/evict.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

static const struct evict_policy *const policies[] = {
	&evict_policy_s3fifo,
	&evict_policy_fifo,
};

#define POLICY_CNT (sizeof(policies) / sizeof(policies[0]))

int evict_init(struct evict *evict, const char *name, uint64_t ghost_cnt)
{
	uint64_t entries = 1024;

	memset(evict, 0, sizeof(*evict));
	for (size_t i = 0; i < POLICY_CNT; i++) {
		if (!name || strcmp(name, policies[i]->name) == 0) {
			evict->policy = policies[i];
			break;
		}
	}
	if (!evict->policy)
		return -EINVAL;
	if (evict->policy->queue_cnt < 2)
		return 0;
	while (entries < ghost_cnt && entries < 1U << 30)
		entries *= 2;
	evict->ghost = alloc_zero(entries, sizeof(*evict->ghost));
	if (!evict->ghost)
		return -ENOMEM;
	evict->ghost_mask = (uint32_t)entries - 1;
	return 0;
}

void evict_fini(struct evict *evict)
{
	alloc_free(evict->ghost);
	evict->ghost = NULL;
}

const char *const *evict_names(void)
{
	static const char *names[POLICY_CNT + 1];

	for (size_t i = 0; i < POLICY_CNT; i++)
		names[i] = policies[i]->name;
	return names;
}
