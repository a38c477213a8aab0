/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel answered, by route. Each place says the number of its key's route, and the
 * program counts by it; the round tells the difference to the round before. A table that comes
 * keeps the numbers of the prefixes that stay, and gives the others' to new ones: so the round
 * counts by the table that it had before it picks the next one.
 */
#include <errno.h>
#include <string.h>

#include "abi/outcome.h"
#include "base/alloc.h"
#include "promote/impl.h"
#include "route/routes.h"

int routes_start(struct promoter *p)
{
	if (!p->options.read_routes)
		return 0;
	p->kernel = alloc_zero(1, sizeof(*p->kernel));
	if (!p->kernel)
		return -ENOMEM;
	/* What was counted for an earlier process is not told again. */
	return p->options.read_routes(p->options.ctx, p->kernel);
}

void routes_note(struct promoter *p)
{
	const struct routes *routes = routes_of(p->routes);
	struct xc_routes now;

	if (!routes || !p->kernel || p->options.read_routes(p->options.ctx, &now))
		return;
	for (uint32_t i = 0; i < routes->cnt; i++) {
		const struct route *route = &routes->all[i];
		const struct xc_route_use *use = &now.use[route->number];
		const struct xc_route_use *before = &p->kernel->use[route->number];

		if (use->hits != before->hits || use->absent != before->absent)
			p->options.on_route_hits(p->options.ctx, route, use->hits - before->hits,
						 use->absent - before->absent);
	}
	*p->kernel = now;
}
