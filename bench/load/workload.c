/* SPDX-License-Identifier: BSD-2-Clause */
#include "workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "etc.h"

#define DIGITS "0123456789abcdefghijklmnopqrstuvwxyz"

/* The number in base 36, then a point and pseudo-random letters: distinct at any length. */
static uint32_t key_compose(uint8_t to[XC_KEY_MAX], uint32_t idx, uint32_t len, struct rand *r)
{
	uint32_t at = 0;

	do {
		to[at++] = (uint8_t)DIGITS[idx % 36];
		idx /= 36;
	} while (idx);
	if (at < len)
		to[at++] = '.';
	while (at < len)
		to[at++] = (uint8_t)DIGITS[rand_below(r, 36)];
	return at;
}

static int keys_make(struct workload *workload)
{
	const struct options *options = workload->options;

	for (uint32_t i = 0; i < options->key_cnt; i++) {
		uint32_t len = options->key_len;
		uint8_t text[XC_KEY_MAX];
		struct key *key;
		uint32_t idx;
		int error;

		if (!len)
			len = etc_key_len(&workload->rand);
		len = key_compose(text, i, len, &workload->rand);
		error = keys_insert(workload->keys, span_of(text, len), &idx);
		if (error)
			return error;
		key = keys_at(workload->keys, idx);
		if (options->value_len_given)
			key->value_len = options->value_len;
		else
			key->value_len = etc_value_len(&workload->rand, options->value_max);
	}
	return 0;
}

int workload_init(struct workload *workload, const struct options *options, struct keys *keys)
{
	double exponent = options->zipf_exponent;

	memset(workload, 0, sizeof(*workload));
	workload->options = options;
	workload->keys = keys;
	rand_init(&workload->rand, options->seed);
	if (options->trace)
		return trace_open(&workload->trace, options->trace, options->value_max, keys);
	if (exponent < 0)
		exponent = etc_zipf_exponent(options->key_cnt);
	zipf_init(&workload->zipf, options->key_cnt, exponent);
	return keys_make(workload);
}

void workload_fini(struct workload *workload)
{
	trace_close(&workload->trace);
}

static bool chance(struct workload *workload, double percent)
{
	return percent > 0 && rand_unit(&workload->rand) * 100 < percent;
}

static bool key_next(struct workload *workload, struct workload_request *ret)
{
	const struct trace *trace = &workload->trace;

	if (!trace->cnt) {
		ret->key_idx = (uint32_t)zipf_pick(&workload->zipf, &workload->rand);
		return true;
	}
	if (workload->trace_at == trace->cnt) {
		if (!workload->options->repeat)
			return false;
		workload->trace_at = 0;
		workload->lap_cnt++;
	}
	ret->key_idx = trace->requests[workload->trace_at].key_idx;
	ret->ttl_sec = trace->requests[workload->trace_at].ttl_sec;
	workload->trace_at++;
	return true;
}

bool workload_next(struct workload *workload, struct workload_request *ret)
{
	const struct options *options = workload->options;

	*ret = (struct workload_request){ .verb = WORKLOAD_GET };
	if (!key_next(workload, ret))
		return false;
	if (chance(workload, options->ttl_share))
		ret->ttl_sec = 1 + (uint32_t)rand_below(&workload->rand, options->ttl_max_sec);
	if (chance(workload, options->write_share))
		ret->verb =
			chance(workload, options->delete_share) ? WORKLOAD_DELETE : WORKLOAD_SET;
	return true;
}

void workload_describe(const struct workload *workload, char *to, uint32_t room)
{
	const struct options *options = workload->options;

	if (workload->trace.cnt) {
		const char *name = strrchr(options->trace, '/');

		snprintf(to, room, "trace %s: %u requests, %u keys (%u values cut to %u bytes)",
			 name ? name + 1 : options->trace, workload->trace.cnt, workload->keys->cnt,
			 workload->trace.cut_cnt, options->value_max);
		return;
	}
	snprintf(to, room, "generated: %u keys, Zipf exponent %.3f, seed %llu", options->key_cnt,
		 workload->zipf.exponent, (unsigned long long)options->seed);
}
