/* SPDX-License-Identifier: BSD-2-Clause */
#include "cluster/forward.h"

#include "base/alloc.h"

struct forward_ask *forward_ask_new(uint16_t to, size_t request_max)
{
	struct forward_ask *ask = alloc_zero(1, sizeof(*ask) + request_max);

	if (!ask)
		return NULL;
	ask->part.free = forward_ask_free;
	ask->to = to;
	return ask;
}

void forward_ask_free(struct wait_part *part)
{
	struct forward_ask *ask = (struct forward_ask *)part;

	alloc_free(ask->reply);
	alloc_free(ask);
}
