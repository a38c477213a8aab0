/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All operations of one value lie side by side in the order that is looked for: its write, then its
 * reads. The value's zone is what lies between the first of them that ends and the last that
 * begins. Where the end comes first (a forward zone) the value must be there all through the zone;
 * else (a backward zone) some moment within the zone will do for all of them. So two forward zones
 * must not overlap, and no backward zone may lie inside a forward one.
 */
#include "lib/linear.h"

#include <stdlib.h>

struct zone {
	uint64_t value;
	uint64_t first_end, last_start;
	bool forward;
};

static int compare(const void *left, const void *right)
{
	const struct linear_op *a = left, *b = right;

	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	return (int)b->write - (int)a->write;
}

/* The zone of the value at ops[0]; returns how many operations it has. 0: it cannot be. */
static size_t zone_of(const struct linear_op *ops, size_t cnt, struct zone *ret)
{
	bool initial = ops[0].value == 0;
	uint64_t written_from = initial ? 0 : ops[0].start;
	size_t i;

	if (!initial && !ops[0].write)
		return 0;
	*ret = (struct zone){ .value = ops[0].value,
			      .first_end = initial ? 0 : LINEAR_NEVER,
			      .last_start = 0 };
	for (i = 0; i < cnt && ops[i].value == ret->value; i++) {
		if (ops[i].end < written_from || (ops[i].write && (initial || i > 0)))
			return 0;
		if (ops[i].end < ret->first_end)
			ret->first_end = ops[i].end;
		if (ops[i].start > ret->last_start)
			ret->last_start = ops[i].start;
	}
	ret->forward = ret->first_end < ret->last_start;
	return i;
}

/*
 * a has to be there while b has to, too (b forward), or at every moment that would do for b. Both
 * are the same comparison, since a zone's ends change sides with its kind.
 */
static bool collide(const struct zone *a, const struct zone *b)
{
	return a->forward && a->first_end < b->last_start && b->first_end < a->last_start;
}

bool linear_check(struct linear_op *ops, size_t cnt, uint64_t *ret_value)
{
	struct zone *zones = calloc(cnt + 1, sizeof(*zones));
	size_t zone_cnt = 0, len;
	bool fine = true;

	if (!zones)
		abort();
	qsort(ops, cnt, sizeof(*ops), compare);
	for (size_t i = 0; i < cnt && fine; i += len) {
		len = zone_of(ops + i, cnt - i, &zones[zone_cnt]);
		fine = len > 0;
		*ret_value = ops[i].value;
		/* nobody read what was never answered: it need not have been */
		zone_cnt += fine && zones[zone_cnt].first_end != LINEAR_NEVER;
	}
	for (size_t i = 0; i < zone_cnt && fine; i++) {
		for (size_t j = 0; j < zone_cnt && fine; j++) {
			fine = i == j || !collide(&zones[i], &zones[j]);
			*ret_value = zones[j].value;
		}
	}
	free(zones);
	return fine;
}
