/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fill - how much of the log values of one length can fill, by the length.
 *
 * For each length a store of its own: a log of a thousand segments takes twice as much as it holds,
 * without eviction of anything but the oldest (fifo). Shown is what keys and values then take of
 * the log; what is missing is headers, ends of segments and blocks too short for another item, and
 * the segments that are kept free. Lengths are shares of a segment, --steps to each doubling.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "store/store.h"

#define SEGMENTS 1024
#define SEGMENT_FIRST (1.0 / 64) /* lengths, in segments */
#define SEGMENT_LAST 4.0
#define WAIT_NS (5 * NSEC_PER_SEC)

struct options {
	uint32_t shift;
	uint32_t steps;
	bool json;
};

static int fill(struct store *store, uint64_t len, uint64_t bytes, const uint8_t *value)
{
	struct store_thread *t = store_thread_new(store);
	char key[24];

	for (uint64_t n = 0; t && n < 2 * bytes / len; n++) {
		size_t key_len =
			(size_t)snprintf(key, sizeof(key), "key-%012llu", (unsigned long long)n);
		struct store_put put = { .key = span_of(key, key_len) };

		put.hash = store_hash(store, put.key);
		while (store_put(t, &put, span_of(value, len), NULL) != STORE_OK) {
			if (!store_wait(t, WAIT_NS))
				return -1;
		}
		store_quiesce(t);
	}
	store_thread_free(t);
	return t ? 0 : -1;
}

/* What keys and values take of the log, 0 to 1; negative: it could not be filled. */
static double share_of(const struct options *options, uint64_t len, uint8_t *log,
		       const uint8_t *value)
{
	struct store_options wish = {
		.log = { .base = log, .bytes = (uint64_t)SEGMENTS << options->shift },
		.index_bytes_max = 64 << 20,
		.item_max = 1 << 30,
		.thread_max = 1,
		.eviction = "fifo",
		.segment_shift = options->shift,
		.clock = clock_system(),
	};
	struct store_counts counts;
	int err;
	struct store *store = store_new(&wish, &err);
	double share = -1;

	if (!store || store_reclaim_start(store) || fill(store, len, wish.log.bytes, value))
		goto out;
	store_counts(store, &counts);
	share = (double)counts.key_value_bytes / (double)wish.log.bytes;
out:
	store_free(store);
	return share;
}

static int run(const struct options *options)
{
	size_t bytes = (size_t)SEGMENTS << options->shift;
	uint8_t *log =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *value = calloc(8, 1UL << options->shift);
	double worst = 1, at = 0;

	if (log == MAP_FAILED || !value) {
		fprintf(stderr, "fill: out of memory: %zu bytes are needed\n", bytes);
		return EXIT_FAILURE;
	}
	if (!options->json)
		printf("%10s  %10s  %s\n", "segments", "bytes", "of the log");
	for (double part = SEGMENT_FIRST; part <= SEGMENT_LAST;
	     part *= pow(2, 1.0 / options->steps)) {
		uint64_t len = (uint64_t)(part * (double)(1U << options->shift));
		double share = share_of(options, len, log, value);

		if (share < 0) {
			fprintf(stderr, "fill: the store takes no values of %llu bytes\n",
				(unsigned long long)len);
			return EXIT_FAILURE;
		}
		printf(options->json ? "{\"segments\":%.4f,\"bytes\":%llu,\"share\":%.4f}\n"
				     : "%10.4f  %10llu  %.3f\n",
		       part, (unsigned long long)len, share);
		if (share < worst) {
			worst = share;
			at = part;
		}
	}
	if (!options->json)
		printf("least: %.3f, at %.4f of a segment\n", worst, at);
	free(value);
	munmap(log, bytes);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = { { "segment-shift", required_argument, 0,
							's' },
						      { "steps", required_argument, 0, 'n' },
						      { "json", no_argument, 0, 'j' },
						      { 0 } };
	struct options options = { .shift = 16, .steps = 8 };
	int c;

	while ((c = getopt_long(argc, argv, "s:n:j", long_options, NULL)) != -1) {
		if (c == 's')
			options.shift = (uint32_t)atoi(optarg);
		else if (c == 'n')
			options.steps = (uint32_t)atoi(optarg);
		else if (c == 'j')
			options.json = true;
		else
			return EXIT_FAILURE;
	}
	if (options.shift < 14 || options.shift > 20 || options.steps < 1 || options.steps > 64) {
		fprintf(stderr, "fill: --segment-shift is 14 to 20, --steps 1 to 64\n");
		return EXIT_FAILURE;
	}
	return run(&options);
}
