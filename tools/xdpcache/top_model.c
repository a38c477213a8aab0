/* SPDX-License-Identifier: BSD-2-Clause */
#include "top_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

uint64_t top_number(const json_t *root, const char *section, const char *name)
{
	const json_t *object = section ? json_object_get(root, section) : root;

	return (uint64_t)json_integer_value(json_object_get(object, name));
}

int top_take(const struct cli *cli, struct top_sample *ret, char error[CLIENT_ERROR_MAX])
{
	struct top_sample sample = { 0 };
	json_t *list = NULL;
	int rc = client_ask(cli->control, json_pack("{s:s}", "cmd", "stats"), &sample.stats, error);

	sample.at_ns = clock_now_ns(clock_system());
	if (!rc)
		rc = client_ask(cli->control,
				json_pack("{s:s, s:i}", "cmd", "hot_list", "max", TOP_KEYS_MAX),
				&list, error);
	if (!rc)
		rc = client_ask(cli->control, json_pack("{s:s}", "cmd", "hot_limits"),
				&sample.limits, error);
	sample.keys = json_incref(json_object_get(list, "keys"));
	json_decref(list);
	if (rc)
		top_drop(&sample);
	else
		*ret = sample;
	return rc;
}

void top_drop(struct top_sample *sample)
{
	json_decref(sample->stats);
	json_decref(sample->keys);
	json_decref(sample->limits);
	*sample = (struct top_sample){ 0 };
}

/* --- rates --- */

static double rate(const struct top_sample *before, const struct top_sample *now,
		   const char *section, const char *name)
{
	uint64_t from = top_number(before->stats, section, name);
	uint64_t to = top_number(now->stats, section, name);
	double sec = (double)(now->at_ns - before->at_ns) / NSEC_PER_SEC;

	return to > from && sec > 0 ? (double)(to - from) / sec : 0;
}

/* Turns of the bucket since the sample before. */
static uint64_t turns_in(const struct top_sample *before, const struct top_sample *now, size_t at)
{
	const json_t *new_all = json_object_get(json_object_get(now->stats, "latency"), "turns");
	const json_t *old_all = json_object_get(json_object_get(before->stats, "latency"), "turns");
	json_int_t to = json_integer_value(json_array_get(new_all, at));
	json_int_t from = json_integer_value(json_array_get(old_all, at));

	return to > from ? (uint64_t)(to - from) : 0;
}

/* The time that a share of the turns since then did not exceed, as its bucket's end. */
static uint64_t quantile(const struct top_sample *before, const struct top_sample *now, double q)
{
	const json_t *latency = json_object_get(now->stats, "latency");
	const json_t *ends = json_object_get(latency, "ends_ns");
	uint64_t all = 0, sum = 0;

	for (size_t at = 0; at < json_array_size(ends); at++)
		all += turns_in(before, now, at);
	for (size_t at = 0; all && at < json_array_size(ends); at++) {
		sum += turns_in(before, now, at);
		if ((double)sum >= q * (double)all)
			return (uint64_t)json_integer_value(json_array_get(ends, at));
	}
	return 0;
}

void top_rates(const struct top_sample *before, const struct top_sample *now, struct top_rates *ret)
{
	*ret = (struct top_rates){ 0 };
	if (!before->stats || !now->stats ||
	    top_number(before->stats, "daemon", "pid") != top_number(now->stats, "daemon", "pid"))
		return;
	ret->known = true;
	ret->gets[TOP_KERNEL] =
		rate(before, now, "fastpath", "hits") + rate(before, now, "fastpath", "absent");
	ret->gets[TOP_DAEMON] = rate(before, now, "daemon", "get_hits");
	ret->gets[TOP_MISS] = rate(before, now, "daemon", "get_misses");
	ret->writes = rate(before, now, "daemon", "cmd_set");
	ret->evicted = rate(before, now, "daemon", "evictions");
	ret->expired = rate(before, now, "daemon", "expired");
	ret->p50_ns = quantile(before, now, 0.5);
	ret->p99_ns = quantile(before, now, 0.99);
}

void top_remember(struct top_history *history, const struct top_rates *rates)
{
	for (int line = 0; line < TOP_LINE_CNT; line++)
		history->gets[line][history->cnt % TOP_HISTORY] = rates->gets[line];
	history->cnt++;
}

/* --- keys --- */

static double weight(const json_t *row, enum top_sort sort)
{
	double kernel = (double)top_number(row, NULL, "kernel_reads_sec");
	double daemon = (double)top_number(row, NULL, "reads_sec");

	switch (sort) {
	case TOP_BY_KERNEL:
		return kernel;
	case TOP_BY_DAEMON:
		return daemon;
	case TOP_BY_WRITES:
		return (double)top_number(row, NULL, "writes_sec");
	case TOP_BY_SIZE:
		return (double)top_number(row, NULL, "value_bytes");
	case TOP_BY_BYTES:
		return (double)top_number(row, NULL, "bytes_sec");
	default:
		return kernel + daemon;
	}
}

static const char *key_of(const json_t *row)
{
	const char *key = json_string_value(json_object_get(row, "key"));

	return key ? key : "";
}

struct order {
	const json_t *keys;
	enum top_sort sort;
};

static int compare(const void *a, const void *b, void *ctx)
{
	const struct order *order = ctx;
	const json_t *left = json_array_get(order->keys, *(const uint32_t *)a);
	const json_t *right = json_array_get(order->keys, *(const uint32_t *)b);
	double l = weight(left, order->sort), r = weight(right, order->sort);

	if (order->sort == TOP_BY_KEY || l == r)
		return strcmp(key_of(left), key_of(right));
	return l < r ? 1 : -1;
}

uint32_t top_order(const struct top_sample *sample, enum top_sort sort, uint32_t ret[TOP_KEYS_MAX])
{
	struct order order = { .keys = sample->keys, .sort = sort };
	size_t cnt = json_array_size(sample->keys);

	if (cnt > TOP_KEYS_MAX)
		cnt = TOP_KEYS_MAX;
	for (uint32_t i = 0; i < cnt; i++)
		ret[i] = i;
	qsort_r(ret, cnt, sizeof(*ret), compare, &order);
	return (uint32_t)cnt;
}

int32_t top_moved(const struct top_sample *before, const json_t *row, uint32_t place)
{
	uint32_t order[TOP_KEYS_MAX];
	uint32_t cnt = top_order(before, TOP_BY_RATE, order);

	for (uint32_t i = 0; i < cnt; i++) {
		if (!strcmp(key_of(json_array_get(before->keys, order[i])), key_of(row)))
			return (int32_t)i - (int32_t)place;
	}
	return INT32_MAX;
}

const char *top_sort_name(enum top_sort sort)
{
	static const char *const names[TOP_SORT_CNT] = {
		"reads", "kernel reads", "daemon reads", "writes", "size", "bytes a second", "key",
	};

	return names[sort];
}

json_t *top_json(const struct top_sample *now, const struct top_rates *rates)
{
	return json_pack("{s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:O, s:O, s:O}", "rates",
			 "kernel", (json_int_t)(rates->gets[TOP_KERNEL] + 0.5), "daemon",
			 (json_int_t)(rates->gets[TOP_DAEMON] + 0.5), "missed",
			 (json_int_t)(rates->gets[TOP_MISS] + 0.5), "writes",
			 (json_int_t)(rates->writes + 0.5), "evicted",
			 (json_int_t)(rates->evicted + 0.5), "expired",
			 (json_int_t)(rates->expired + 0.5), "p50_ns", (json_int_t)rates->p50_ns,
			 "p99_ns", (json_int_t)rates->p99_ns, "keys", now->keys, "limits",
			 now->limits, "stats", now->stats);
}
