/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hitratio - the miss ratio of a trace of requests in the store itself.
 *
 * Each request looks its key up; a miss is followed by a set, as a read-through cache does it. The
 * store is the daemon's, in this process; only its background thread is replaced: what it would do
 * is done in between, at the moment it is asked for, so that the same trace gives the same result.
 *
 * Capacity. --objects N: every object takes the same room, and the log is as large as N of them
 * need; --bytes N: an object takes the size that the trace says, keys included, and the log holds N
 * bytes of objects. What else the log needs - headers, the reserve of free segments, segments not
 * yet full, room kept by evicted objects - comes on top. How much that is depends on the policy, so
 * it is measured: "capacity" is the mean of what is alive from the first eviction on, and the log's
 * size is corrected and the trace run again until capacity is N as nearly as whole segments allow.
 *
 * A log has about a thousand segments, as the daemon's have, so the policies see segments as coarse
 * as they will in service, whatever N. Below about 2,000 objects a segment holds two.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "protocol/decimal.h"
#include "store/impl.h"
#include "trace.h"

#define HASH_SEED 0x5eed
#define SEGMENTS_WANTED 1000
/* Objects below which each takes whole segments: a log has at least SEGMENT_CNT_MIN. */
#define OBJECTS_FEW 128
#define TRIES_MAX 8
#define TOLERANCE 0.0005
#define OBJECT_BYTES_MIN 64
/* A log that holds more than this much more than was asked for answers another question. */
#define OVER_MAX 0.1
#define TTL_EPOCH_SEC 1000

struct config {
	const char *trace, *policy;
	uint64_t objects, bytes;
	bool json;
};

struct result {
	uint64_t requests, misses, bytes, missed_bytes, refused;
	double capacity; /* objects or bytes */
	double most;	 /* alive at any time */
	double off;	 /* of what was asked for: 0.1 is a tenth too much */
	double copied;	 /* bytes copied per byte written */
	uint64_t sample_cnt, written_bytes;
	struct store_counts counts;
};

struct run {
	const struct config *config;
	struct store *store;
	struct store_thread *t;
	struct clock clock;
	uint64_t now_ns, first_sec;
	uint64_t item_bytes; /* --objects: of the log, each */
	struct result result;
};

static uint64_t run_now_ns(const struct clock *self)
{
	const struct run *run =
		(const struct run *)((const char *)self - offsetof(struct run, clock));

	return run->now_ns;
}

/* --- one request --- */

static uint64_t value_len(const struct run *run, const struct trace_request *request)
{
	uint64_t len = run->config->bytes ? request->size : run->item_bytes;

	/* A copy that reclaim makes is larger by the cas it carries. */
	if (!run->config->bytes)
		len -= ITEM_HEADER + 8;
	return len > request->key.len ? len - request->key.len : 0;
}

static void sample_capacity(struct run *run)
{
	struct store_counts counts;
	struct result *result = &run->result;
	double now;

	store_counts(run->store, &counts);
	now = (double)(run->config->bytes ? counts.key_value_bytes : counts.item_cnt);
	if (now > result->most)
		result->most = now;
	if (counts.evicted_cnt == 0)
		return;
	result->sample_cnt++;
	result->capacity += (now - result->capacity) / (double)result->sample_cnt;
}

static int put(struct run *run, const struct trace_request *request, uint64_t hash)
{
	uint64_t len = value_len(run, request);
	struct store_put put = { .key = request->key, .hash = hash, .value_len = len };
	struct store_pending pending;
	enum store_status status;

	if (request->ttl_sec)
		put.expire_ns = run->now_ns + request->ttl_sec * NSEC_PER_SEC;
	for (int tries = 0; tries < 100; tries++) {
		status = store_reserve(run->t, &put, &pending);
		/* Nobody looks at values: they stay what the log held there. */
		if (status == STORE_OK)
			status = store_commit(run->t, &pending, NULL);
		if (status == STORE_AGAIN)
			store_wake_reclaimer(run->store);
		store_offline(run->t);
		store_reclaim_turn(run->store);
		store_online(run->t);
		if (status != STORE_AGAIN)
			break;
		store_seal_open(run->t, false);
	}
	if (status == STORE_OK)
		run->result.written_bytes += ITEM_HEADER + request->key.len + len;
	else if (status == STORE_TOO_LARGE)
		run->result.refused++;
	else
		return -ENOSPC;
	sample_capacity(run);
	return 0;
}

static int one_request(struct run *run, const struct trace_request *request)
{
	struct result *result = &run->result;
	uint64_t hash = store_hash(run->store, request->key);
	struct item_view view;

	if (run->config->bytes && !request->has_size)
		return -EBADMSG;
	if (result->requests == 0)
		run->first_sec = request->time_sec;
	if (request->time_sec > run->first_sec)
		run->now_ns = (TTL_EPOCH_SEC + request->time_sec - run->first_sec) * NSEC_PER_SEC;
	result->requests++;
	result->bytes += request->size;
	if (store_find(run->t, request->key, hash, &view))
		return 0;
	result->misses++;
	result->missed_bytes += request->size;
	return put(run, request, hash);
}

/* --- the whole trace --- */

static int run_requests(struct run *run)
{
	struct trace_request request;
	struct trace trace;
	int err = trace_open(&trace, run->config->trace), close_err;

	if (err)
		return err;
	while ((err = trace_next(&trace, &request)) > 0) {
		err = one_request(run, &request);
		if (err)
			break;
	}
	close_err = trace_close(&trace);
	return err ? err : close_err;
}

static void *map_anonymous(uint64_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return base == MAP_FAILED ? NULL : base;
}

/* The log of one run. */
struct layout {
	uint64_t log_bytes;
	uint64_t item_bytes; /* --objects: of the log, each */
	uint32_t shift;
};

static int run_trace(const struct config *config, const struct layout *layout, struct result *ret)
{
	uint64_t log_bytes = layout->log_bytes;

	struct run run = { .config = config,
			   .clock = { .now_ns = run_now_ns, .wall_ns = run_now_ns },
			   .now_ns = TTL_EPOCH_SEC * NSEC_PER_SEC,
			   .item_bytes = layout->item_bytes };
	struct store_options options = {
		.log.bytes = log_bytes,
		.log.base = map_anonymous(log_bytes),
		.index_bytes_max = log_bytes / 2 + (1 << 20),
		.item_max = log_bytes,
		.thread_max = 1,
		.eviction = config->policy,
		.hash_seed = HASH_SEED,
		.segment_shift = layout->shift,
		.clock = &run.clock,
	};
	int err = -ENOMEM;

	if (options.log.base)
		run.store = store_new(&options, &err);
	if (run.store) {
		run.t = store_thread_new(run.store);
		err = run_requests(&run);
		store_counts(run.store, &run.result.counts);
		run.result.copied = run.result.written_bytes
					    ? (double)run.result.counts.moved_bytes /
						      (double)run.result.written_bytes
					    : 0;
		*ret = run.result;
		store_thread_free(run.t);
		store_free(run.store);
	}
	if (options.log.base)
		munmap(options.log.base, log_bytes);
	return err;
}

/* --- how large the log is --- */

/* Of the log, an object; such that a thousand segments or a few more hold them all. */
static uint64_t object_bytes(uint64_t objects, uint32_t shift)
{
	uint64_t payload = (1ULL << shift) - sizeof(struct segment_header);
	uint64_t per_segment = objects / SEGMENTS_WANTED;

	if (objects < OBJECTS_FEW)
		return (1 + SEGMENT_CNT_MIN / objects) * payload + payload / 4;
	if (per_segment < 2)
		per_segment = 2;
	payload = payload / per_segment / ITEM_ALIGN * ITEM_ALIGN;
	/* More objects than segments of the largest kind have room for: more segments. */
	return shift == SEGMENT_SHIFT_MAX && payload < OBJECT_BYTES_MIN ? OBJECT_BYTES_MIN
									: payload;
}

static void lay_out(const struct config *config, struct layout *ret)
{
	double live_bytes = (double)config->bytes, segments;

	ret->shift = SEGMENT_SHIFT_MIN;
	if (config->bytes) {
		while (ret->shift < SEGMENT_SHIFT_MAX &&
		       config->bytes >> (ret->shift + 1) >= SEGMENTS_WANTED)
			ret->shift++;
	} else {
		/* Small objects still have room for their keys. */
		while (ret->shift < SEGMENT_SHIFT_MAX &&
		       object_bytes(config->objects, ret->shift) < OBJECT_BYTES_MIN)
			ret->shift++;
		ret->item_bytes = object_bytes(config->objects, ret->shift);
		live_bytes = (double)config->objects * (double)ret->item_bytes;
	}
	segments = live_bytes / (double)((1U << ret->shift) - sizeof(struct segment_header));
	/* The reserve is kept twice, and each is 1/64 of all. */
	segments = (segments + 6) / (1 - 2.0 / 64);
	if (segments < SEGMENT_CNT_MIN)
		segments = SEGMENT_CNT_MIN;
	ret->log_bytes = (uint64_t)segments << ret->shift;
}

/*
 * The log's next size, from what it held this time; false: it will not get better. Capacity grows
 * with it, nearly in proportion, so what was found too small and too large encloses the answer.
 */
static bool correct(struct layout *layout, double off, uint64_t *too_small, uint64_t *too_large)
{
	uint32_t shift = layout->shift;
	uint64_t now = layout->log_bytes, next;

	if (off < 0 && now > *too_small)
		*too_small = now;
	if (off > 0 && now < *too_large)
		*too_large = now;
	next = (uint64_t)((double)now / (1 + off)) >> shift << shift;
	if (next <= *too_small)
		next = *too_small + (1ULL << shift);
	if (next >= *too_large)
		next = *too_large - (1ULL << shift);
	if (next >> shift < SEGMENT_CNT_MIN)
		next = (uint64_t)SEGMENT_CNT_MIN << shift;
	layout->log_bytes = next;
	return next != now && next > *too_small && next < *too_large;
}

static int run_calibrated(const struct config *config, struct result *ret)
{
	double wanted = (double)(config->bytes ? config->bytes : config->objects);
	uint64_t too_small = 0, too_large = UINT64_MAX;
	double best_off = INFINITY;
	struct layout layout = { 0 };

	lay_out(config, &layout);
	for (int tries = 0; tries < TRIES_MAX; tries++) {
		struct result result = { 0 };
		int err = run_trace(config, &layout, &result);
		double off = result.capacity / wanted - 1;

		if (err)
			return err;
		/* Nothing was evicted: all of it fits, or the log is too large. */
		if (result.sample_cnt == 0)
			off = result.most > wanted ? result.most / wanted - 1 : 0;
		if (result.requests == 0)
			return -ENODATA;
		result.off = off;
		if (fabs(off) < best_off) {
			best_off = fabs(off);
			*ret = result;
		}
		if (best_off < TOLERANCE || !correct(&layout, off, &too_small, &too_large))
			break;
	}
	return ret->off > OVER_MAX ? -ERANGE : 0;
}

/* --- the command line --- */

static void show(const struct config *config, const struct result *r)
{
	double ratio = r->requests ? (double)r->misses / (double)r->requests : 0;
	double byte_ratio = r->bytes ? (double)r->missed_bytes / (double)r->bytes : 0;

	if (!config->json) {
		printf("%s: %" PRIu64 " requests, %" PRIu64 " misses, miss ratio %.4f",
		       config->policy ? config->policy : store_eviction_names()[0], r->requests,
		       r->misses, ratio);
		if (config->bytes)
			printf(", of bytes %.4f", byte_ratio);
		printf("\n  capacity %.0f, %u segments of %u bytes, %.2f bytes copied per byte "
		       "written\n",
		       r->capacity, r->counts.segment_cnt, r->counts.segment_bytes, r->copied);
		return;
	}
	printf("{\"policy\":\"%s\",\"requests\":%" PRIu64 ",\"misses\":%" PRIu64
	       ",\"miss_ratio\":%.6f,",
	       config->policy ? config->policy : store_eviction_names()[0], r->requests, r->misses,
	       ratio);
	if (config->bytes)
		printf("\"byte_miss_ratio\":%.6f,", byte_ratio);
	printf("\"capacity\":%.0f,\"log_bytes\":%" PRIu64
	       ",\"segments\":%u,\"segment_bytes\":%u,\"refused\":%" PRIu64 ",\"evicted\":%" PRIu64
	       ",\"copied_per_written\":%.4f}\n",
	       r->capacity, r->counts.log_bytes, r->counts.segment_cnt, r->counts.segment_bytes,
	       r->refused, r->counts.evicted_cnt, r->copied);
}

static int usage(FILE *to)
{
	fprintf(to, "usage: hitratio --trace FILE --objects N|--bytes N [--policy NAME] [--json]\n"
		    "policies:");
	for (const char *const *name = store_eviction_names(); *name; name++)
		fprintf(to, " %s", *name);
	fprintf(to, "\n");
	return to == stdout ? 0 : 2;
}

static int size_read(const char *text, uint64_t *ret)
{
	return decimal_parse_u64(span_of(text, strlen(text)), ret) && *ret ? 0 : -1;
}

static int options_read(int argc, char **argv, struct config *config)
{
	static const struct option options[] = { { "trace", required_argument, NULL, 't' },
						 { "policy", required_argument, NULL, 'p' },
						 { "objects", required_argument, NULL, 'o' },
						 { "bytes", required_argument, NULL, 'b' },
						 { "json", no_argument, NULL, 'j' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 't':
			config->trace = optarg;
			break;
		case 'p':
			config->policy = optarg;
			break;
		case 'o':
			if (size_read(optarg, &config->objects))
				return -1;
			break;
		case 'b':
			if (size_read(optarg, &config->bytes))
				return -1;
			break;
		case 'j':
			config->json = true;
			break;
		default:
			return -1;
		}
	}
	if (optind != argc || !config->trace || !config->objects == !config->bytes)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct config config = { 0 };
	struct result result = { 0 };
	int err;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout);
	if (options_read(argc, argv, &config))
		return usage(stderr);
	err = run_calibrated(&config, &result);
	if (err == -ERANGE)
		fprintf(stderr,
			"hitratio: the smallest log holds more than that: give a larger size\n");
	else if (err == -ENODATA)
		fprintf(stderr, "hitratio: %s: no request in it\n", config.trace);
	else if (err)
		fprintf(stderr, "hitratio: %s: %s\n", config.trace, strerror(-err));
	if (err)
		return 1;
	show(&config, &result);
	return 0;
}
