/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hotset - what share of the reads the kernel answers, against the best there is.
 *
 * Plays a trace, or keys drawn by Zipf's law, at an even rate through the daemon's own detection
 * and policy on simulated time (tests/lib/hotsim.h). The best is an oracle that knows, before an
 * interval begins, how often each key will be read in it, and has the same budget: the counts of
 * the interval's most read keys, as many as there are places.
 *
 * The first intervals, until the budget could be full, are not counted in either (--warm).
 */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hitratio/trace.h"
#include "lib/hotsim.h"
#include "load/zipf.h"

/* Numbers of options, whole ones too: see take_number. */
struct config {
	const char *trace;
	double keys, places, rate, sec, warm_sec, interval_sec, shift_sec, seed;
	double zipf, threshold, ranked, half_life_ms; /* but zipf: 0 is as the daemon has it */
};

/* Requests in their order, as numbers of keys. */
struct requests {
	uint32_t *keys;
	uint64_t cnt, max;
	uint32_t key_cnt;
};

static void die(const char *what)
{
	fprintf(stderr, "hotset: %s\n", what);
	exit(1);
}

static void *need(void *memory)
{
	if (!memory)
		die("no memory");
	return memory;
}

static void request_add(struct requests *r, uint32_t key)
{
	if (r->cnt == r->max) {
		r->max = r->max ? 2 * r->max : 1 << 16;
		r->keys = need(realloc(r->keys, r->max * sizeof(*r->keys)));
	}
	r->keys[r->cnt++] = key;
}

/* --- where requests come from --- */

struct name {
	char *text;
	uint32_t len;
};

/* Open addressing; the table doubles while it is half full. */
struct names {
	struct name *names;
	uint32_t *table; /* number + 1 */
	uint32_t cnt, mask;
};

static uint64_t hash_text(const char *text, size_t len)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3ULL;
	return hash ^ hash >> 32;
}

static uint32_t *slot_of(const struct names *n, const char *text, size_t len)
{
	uint32_t at = (uint32_t)hash_text(text, len) & n->mask;

	for (; n->table[at]; at = (at + 1) & n->mask) {
		const struct name *name = &n->names[n->table[at] - 1];

		if (name->len == len && memcmp(name->text, text, len) == 0)
			break;
	}
	return &n->table[at];
}

static void names_grow(struct names *n)
{
	uint32_t slots = n->mask ? 2 * (n->mask + 1) : 1 << 12;

	free(n->table);
	n->mask = slots - 1;
	n->table = need(calloc(slots, sizeof(*n->table)));
	n->names = need(realloc(n->names, slots / 2 * sizeof(*n->names)));
	for (uint32_t i = 0; i < n->cnt; i++)
		*slot_of(n, n->names[i].text, n->names[i].len) = i + 1;
}

static uint32_t number_of(struct names *n, struct span key)
{
	const char *text = (const char *)key.ptr;
	uint32_t *slot;

	if (n->cnt >= (n->mask + 1) / 2 || !n->mask)
		names_grow(n);
	slot = slot_of(n, text, key.len);
	if (!*slot) {
		n->names[n->cnt] = (struct name){ need(malloc(key.len + 1)), (uint32_t)key.len };
		memcpy(n->names[n->cnt].text, text, key.len);
		*slot = ++n->cnt;
	}
	return *slot - 1;
}

static void read_trace(const char *path, struct requests *ret)
{
	struct names names = { 0 };
	struct trace_request request;
	struct trace trace;
	int err;

	if (trace_open(&trace, path))
		die("cannot open the trace");
	while ((err = trace_next(&trace, &request)) == 1)
		request_add(ret, number_of(&names, request.key));
	if (trace_close(&trace) || err)
		die("cannot read the trace");
	ret->key_cnt = names.cnt;
	for (uint32_t i = 0; i < names.cnt; i++)
		free(names.names[i].text);
	free(names.names);
	free(names.table);
}

/* Every shift_sec another set of keys is hot: ranks move on by more than there are places. */
static void draw_zipf(const struct config *config, struct requests *ret)
{
	uint64_t keys = (uint64_t)config->keys,
		 per_shift = (uint64_t)(config->shift_sec * config->rate);
	struct rand rand;
	struct zipf zipf;

	rand_init(&rand, (uint64_t)config->seed);
	zipf_init(&zipf, keys, config->zipf);
	for (uint64_t i = 0; i < (uint64_t)(config->rate * config->sec); i++) {
		uint64_t shifts = per_shift ? i / per_shift : 0;
		uint64_t rank = zipf_pick(&zipf, &rand) + shifts * ((uint64_t)config->places + 1);

		request_add(ret, (uint32_t)(rank % keys));
	}
	ret->key_cnt = (uint32_t)keys;
}

/* --- the best --- */

static int descending(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? 1 : left > right ? -1 : 0;
}

struct oracle {
	uint32_t *counts; /* of each key, in this interval */
	uint32_t *sorted;
	uint32_t key_cnt;
};

/* Ends an interval: how many reads of it the best places would have had. */
static uint64_t oracle_end(struct oracle *oracle, uint32_t places)
{
	uint64_t best = 0;
	uint32_t cnt = 0;

	for (uint32_t key = 0; key < oracle->key_cnt; key++) {
		if (oracle->counts[key])
			oracle->sorted[cnt++] = oracle->counts[key];
	}
	qsort(oracle->sorted, cnt, sizeof(*oracle->sorted), descending);
	for (uint32_t i = 0; i < cnt && i < places; i++)
		best += oracle->sorted[i];
	memset(oracle->counts, 0, oracle->key_cnt * sizeof(*oracle->counts));
	return best;
}

/* --- run --- */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell(const struct config *config, const struct hotsim_counts *from,
		 const struct hotsim_counts *to, uint64_t best, double sec)
{
	uint64_t read_cnt = to->read_cnt - from->read_cnt;
	double hit_cnt = (double)(to->hit_cnt - from->hit_cnt);

	printf("reads %" PRIu64 " places %.0f: kernel %.4f best %.4f share %.4f churn %.3f %%/s",
	       read_cnt, config->places, hit_cnt / (double)read_cnt,
	       (double)best / (double)read_cnt, hit_cnt / (double)best,
	       100.0 * (double)(to->promote_cnt - from->promote_cnt) / config->places / sec);
}

static void run(const struct config *config, const struct requests *requests)
{
	struct hotsim_options options = hotsim_defaults(requests->key_cnt, (uint32_t)config->places,
							(uint64_t)config->seed + 1);
	struct oracle oracle = { need(calloc(requests->key_cnt, sizeof(uint32_t))),
				 need(calloc(requests->key_cnt, sizeof(uint32_t))),
				 requests->key_cnt };
	uint64_t per_sec = 1000 / HOTSIM_ROUND_MS, per_round = (uint64_t)config->rate / per_sec;
	uint64_t warm = (uint64_t)config->warm_sec * per_sec, rounds = 0, at = 0, best = 0;
	struct hotsim_counts from = { 0 }, to;
	struct hotsim *sim;
	double rounds_sec = 0;

	if (config->threshold > 0)
		options.threshold = config->threshold;
	if (config->ranked > 0)
		options.ranked_cnt = (uint32_t)config->ranked;
	if (config->half_life_ms > 0)
		options.half_life_ms = (uint32_t)config->half_life_ms;
	sim = need(hotsim_new(&options));
	for (; at + per_round <= requests->cnt; rounds++) {
		double since;

		if (rounds == warm) {
			from = hotsim_counts(sim);
			best = 0;
		}
		for (uint64_t n = 0; n < per_round; n++, at++) {
			oracle.counts[requests->keys[at]]++;
			hotsim_read(sim, requests->keys[at]);
		}
		since = seconds();
		hotsim_round(sim);
		rounds_sec += seconds() - since;
		if ((rounds + 1) % ((uint64_t)config->interval_sec * per_sec) == 0)
			best += oracle_end(&oracle, (uint32_t)config->places);
	}
	best += oracle_end(&oracle, (uint32_t)config->places);
	if (rounds <= warm)
		die("the trace is over before --warm is: a lower --rate");
	to = hotsim_counts(sim);
	tell(config, &from, &to, best, (double)(rounds - warm) / (double)per_sec);
	printf(" round %.2f ms\n", 1000 * rounds_sec / (double)rounds);
	free(oracle.counts);
	free(oracle.sorted);
	hotsim_free(sim);
}

static const char usage[] =
	"usage: hotset [--trace FILE | --zipf S --keys N --seconds N [--shift SEC]]\n"
	"              [--places N] [--rate PER_SEC] [--interval SEC] [--warm SEC] [--seed N]\n"
	"              [--threshold PER_SEC] [--ranked N] [--half-life-ms N]\n";

static bool take_number(struct config *config, const char *name, const char *text)
{
	const struct {
		const char *name;
		double *to;
	} numbers[] = {
		{ "--zipf", &config->zipf },
		{ "--keys", &config->keys },
		{ "--seconds", &config->sec },
		{ "--shift", &config->shift_sec },
		{ "--places", &config->places },
		{ "--rate", &config->rate },
		{ "--interval", &config->interval_sec },
		{ "--warm", &config->warm_sec },
		{ "--seed", &config->seed },
		{ "--threshold", &config->threshold },
		{ "--ranked", &config->ranked },
		{ "--half-life-ms", &config->half_life_ms },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char *end;

		if (strcmp(name, numbers[i].name) != 0)
			continue;
		*numbers[i].to = strtod(text, &end);
		return end != text && *end == '\0';
	}
	return false;
}

int main(int argc, char **argv)
{
	struct config config = { .keys = 100000,
				 .places = 1000,
				 .rate = 100000,
				 .sec = 60,
				 .warm_sec = 10,
				 .interval_sec = 10,
				 .zipf = 0.99,
				 .seed = 1 };
	struct requests requests = { 0 };
	bool right = argc % 2 == 1;

	for (int i = 1; right && i < argc; i += 2) {
		if (strcmp(argv[i], "--trace") == 0)
			config.trace = argv[i + 1];
		else
			right = take_number(&config, argv[i], argv[i + 1]);
	}
	if (!right || config.rate < 1000.0 / HOTSIM_ROUND_MS || config.keys < 1 ||
	    config.places < 1 || config.interval_sec < 1 ||
	    fmod(config.warm_sec, config.interval_sec) != 0) {
		fputs(usage, stderr);
		return 2;
	}
	if (config.trace)
		read_trace(config.trace, &requests);
	else
		draw_zipf(&config, &requests);
	run(&config, &requests);
	free(requests.keys);
	return 0;
}
