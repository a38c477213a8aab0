/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store - operations a second of the store alone: no network, no protocol.
 *
 * Loads --items items of 16-byte keys and --value bytes, all of which fit, then measures GET and
 * SET with one thread and with --threads, keys uniform and Zipf (0.99, as YCSB's; ranks spread
 * over the keys), for --ms each. Which keys is decided beforehand, so that drawing costs no time
 * in the run. A GET hashes the key, finds the item and reads the value's first and last byte; a
 * thread is quiescent every 16 operations, as a worker is once a turn. "one by one" is a request
 * at a time; "batches" are 16 keys known beforehand, prefetched as a multi-get does.
 *
 * "apart" gives each thread a store of its own with its share of the items: what the threads would
 * do if they shared nothing but the machine. Each run is repeated --rounds times, interleaved with
 * the others; the median is shown, with the lowest and highest.
 *
 * Prints a table, with --json one object; memory an item beside key and value as well.
 */
#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/rand.h"
#include "store/store.h"

#define KEY_LEN 16
#define BATCH 16
#define DRAWS (1U << 20)
#define ZIPF_THETA 0.99
#define THREADS_MAX 64
#define ROUNDS_MAX 32
#define RUNS_MAX 32
#define KEY_START "bench-00"
#define EXTENT (16ULL << 20)

struct config {
	uint64_t items;
	uint32_t value_len, threads, ms, rounds;
	bool json;
};

enum how {
	ONE_BY_ONE,
	IN_BATCHES,
};

/* What is measured. */
struct run {
	bool set, zipf, apart;
	enum how how;
	uint32_t threads;
	double rate[ROUNDS_MAX]; /* operations a second of all threads together */
};

struct bench {
	struct config config;
	struct store *whole;
	struct store *apart[THREADS_MAX];
	uint32_t *draws[2]; /* uniform, Zipf */
	_Atomic bool stop;
};

struct worker {
	struct bench *bench;
	const struct run *run;
	struct store *store;
	uint64_t items; /* keys in its store */
	pthread_t thread;
	uint32_t from; /* where in the draws it starts */
	uint64_t ops, misses;
	double sec;
} __attribute__((aligned(128)));

static double now_sec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct span key_of(uint8_t buf[KEY_LEN], uint32_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = KEY_LEN - 1; i >= 8; i--, n >>= 4)
		buf[i] = (uint8_t)digits[n & 15];
	return span_of(buf, KEY_LEN);
}

/* --- which keys --- */

static uint32_t *draw_uniform(uint64_t items, uint64_t seed)
{
	uint32_t *draws = malloc(DRAWS * sizeof(*draws));
	struct rand r;

	rand_init(&r, seed);
	for (uint32_t i = 0; draws && i < DRAWS; i++)
		draws[i] = (uint32_t)rand_below(&r, items);
	return draws;
}

/* Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD'94. */
static uint32_t *draw_zipf(uint64_t items, uint64_t seed)
{
	uint32_t *draws = malloc(DRAWS * sizeof(*draws));
	double zeta = 0, zeta_two = 1 + pow(0.5, ZIPF_THETA), eta;
	struct rand r;

	for (uint64_t i = 1; i <= items; i++)
		zeta += pow(1.0 / (double)i, ZIPF_THETA);
	eta = (1 - pow(2.0 / (double)items, 1 - ZIPF_THETA)) / (1 - zeta_two / zeta);
	rand_init(&r, seed);
	for (uint32_t i = 0; draws && i < DRAWS; i++) {
		double u = rand_unit(&r), uz = u * zeta;
		uint64_t rank = uz < 1 ? 0
				: uz < zeta_two
					? 1
					: (uint64_t)((double)items *
						     pow(eta * u - eta + 1, 1 / (1 - ZIPF_THETA)));

		draws[i] = (uint32_t)((rank * 0x9e3779b97f4a7c15ULL >> 16) % items);
	}
	return draws;
}

/* --- one run --- */

static void get_one(struct worker *w, struct store_thread *t, struct span key, uint64_t hash)
{
	struct item_view view;
	volatile uint8_t seen;

	if (!store_find(t, key, hash, &view)) {
		w->misses++;
		return;
	}
	seen = view.value[0];
	seen = view.value[view.value_len - 1];
	(void)seen;
}

static void set_one(struct worker *w, struct store_thread *t, struct span key, uint64_t hash,
		    struct span value)
{
	struct store_put put = { .key = key, .hash = hash };
	enum store_status status;

	do {
		status = store_put(t, &put, value, NULL);
	} while (status == STORE_AGAIN && store_wait(t, NSEC_PER_SEC));
	w->misses += status != STORE_OK;
}

static void one_batch(struct worker *w, struct store_thread *t, uint32_t at, struct span value)
{
	const uint32_t *draws = w->bench->draws[w->run->zipf];
	uint8_t key_buf[BATCH][KEY_LEN];
	struct span key[BATCH];
	uint64_t hash[BATCH];

	for (uint32_t i = 0; i < BATCH; i++) {
		memcpy(key_buf[i], KEY_START, sizeof(KEY_START));
		key[i] = key_of(key_buf[i], draws[(at + i) & (DRAWS - 1)] % w->items);
		hash[i] = store_hash(w->store, key[i]);
		if (w->run->how == IN_BATCHES)
			store_prefetch_slot(w->store, hash[i]);
		else if (w->run->set)
			set_one(w, t, key[i], hash[i], value);
		else
			get_one(w, t, key[i], hash[i]);
	}
	for (uint32_t i = 0; i < BATCH && w->run->how == IN_BATCHES; i++)
		store_prefetch_item(w->store, hash[i]);
	for (uint32_t i = 0; i < BATCH && w->run->how == IN_BATCHES; i++) {
		if (w->run->set)
			set_one(w, t, key[i], hash[i], value);
		else
			get_one(w, t, key[i], hash[i]);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct store_thread *t = store_thread_new(w->store);
	uint32_t value_len = w->bench->config.value_len, at = w->from;
	uint8_t *value = calloc(1, value_len);
	double start = now_sec();

	while (t && value && !atomic_load_explicit(&w->bench->stop, memory_order_relaxed)) {
		one_batch(w, t, at, span_of(value, value_len));
		at += BATCH;
		w->ops += BATCH;
		store_quiesce(t);
	}
	w->sec = now_sec() - start;
	free(value);
	store_thread_free(t);
	return NULL;
}

/* Operations a second of all threads together; negative: something went wrong. */
static double measure_once(struct bench *bench, const struct run *run)
{
	const struct timespec pause = { .tv_sec = bench->config.ms / 1000,
					.tv_nsec = (long)(bench->config.ms % 1000) * 1000000 };
	static struct worker workers[THREADS_MAX];
	double rate = 0;

	atomic_store(&bench->stop, false);
	for (uint32_t i = 0; i < run->threads; i++) {
		struct worker *w = &workers[i];

		*w = (struct worker){ .bench = bench,
				      .run = run,
				      .store = run->apart ? bench->apart[i] : bench->whole,
				      .items =
					      bench->config.items / (run->apart ? run->threads : 1),
				      .from = i * (DRAWS / run->threads) };
		if (pthread_create(&w->thread, NULL, work, w))
			abort();
	}
	nanosleep(&pause, NULL);
	atomic_store(&bench->stop, true);
	for (uint32_t i = 0; i < run->threads; i++) {
		pthread_join(workers[i].thread, NULL);
		rate += (double)workers[i].ops / workers[i].sec;
		if (workers[i].misses || workers[i].ops == 0)
			rate = -1e18;
	}
	return rate;
}

/* --- the stores --- */

static struct store *load(const struct config *config, uint64_t items)
{
	uint64_t item_bytes = KEY_LEN + config->value_len + 24;
	uint64_t log_bytes = (items * item_bytes * 3 / 2 / EXTENT + 4) * EXTENT;
	struct store_options options = {
		.log.bytes = log_bytes,
		.index_bytes_max = items * 32 + (1 << 20),
		.item_max = 1 << 20,
		.thread_max = config->threads + 2,
		.clock = clock_system(),
	};
	uint8_t key_buf[KEY_LEN] = KEY_START;
	uint8_t *value = calloc(1, config->value_len);
	struct memory memory;
	struct worker w = { 0 };
	struct store_thread *t;
	struct store *store = NULL;
	int err = memory_new("bench-store", log_bytes, &memory);

	options.log.base = err ? NULL : memory.base;
	if (!err && value)
		store = store_new(&options, &err);
	if (!store || store_reclaim_start(store))
		abort();
	t = store_thread_new(store);
	for (uint64_t n = 0; n < items; n++) {
		struct span key = key_of(key_buf, (uint32_t)n);

		set_one(&w, t, key, store_hash(store, key), span_of(value, config->value_len));
		if (n % BATCH == 0)
			store_quiesce(t);
	}
	store_thread_free(t);
	free(value);
	if (w.misses)
		abort();
	return store;
}

/* --- the runs --- */

static int compare_double(const void *a, const void *b)
{
	const double *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static void show(const struct bench *bench, struct run *run, bool first)
{
	uint32_t rounds = bench->config.rounds;
	const double *rate = run->rate;
	double median;

	qsort(run->rate, rounds, sizeof(*rate), compare_double);
	median = rounds % 2 ? rate[rounds / 2] : (rate[rounds / 2 - 1] + rate[rounds / 2]) / 2;
	if (bench->config.json)
		printf("%s{\"op\":\"%s\",\"keys\":\"%s\",\"batch\":%d,\"threads\":%u,"
		       "\"apart\":%s,\"ops_sec\":%.0f,\"ops_sec_min\":%.0f,\"ops_sec_max\":%.0f}",
		       first ? "" : ",", run->set ? "set" : "get", run->zipf ? "zipf" : "uniform",
		       run->how == IN_BATCHES ? BATCH : 1, run->threads,
		       run->apart ? "true" : "false", median, rate[0], rate[rounds - 1]);
	else
		printf("  %s %-7s  %-10s  %2u thread%s %-5s  %6.2f M/s  (%.2f to %.2f) %6.0f ns\n",
		       run->set ? "set" : "get", run->zipf ? "zipf" : "uniform",
		       run->how == IN_BATCHES ? "batches" : "one by one", run->threads,
		       run->threads == 1 ? " " : "s", run->apart ? "apart" : "", median / 1e6,
		       rate[0] / 1e6, rate[rounds - 1] / 1e6, 1e9 * run->threads / median);
	fflush(stdout);
}

/* Every combination; the number of them. */
static uint32_t plan(const struct config *config, struct run runs[RUNS_MAX])
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < RUNS_MAX; i++) {
		struct run run = { .set = i & 1,
				   .zipf = i & 2,
				   .how = i & 4 ? IN_BATCHES : ONE_BY_ONE,
				   .apart = i & 16,
				   .threads = i & 8 ? config->threads : 1 };

		if ((i & 8 && config->threads == 1) || (run.apart && !(i & 8)))
			continue;
		runs[cnt++] = run;
	}
	return cnt;
}

static int measure(struct bench *bench)
{
	static struct run runs[RUNS_MAX];
	uint32_t cnt = plan(&bench->config, runs);

	for (uint32_t round = 0; round < bench->config.rounds; round++) {
		for (uint32_t i = 0; i < cnt; i++) {
			runs[i].rate[round] = measure_once(bench, &runs[i]);
			if (runs[i].rate[round] < 0) {
				fprintf(stderr, "an item was missing\n");
				return 1;
			}
		}
	}
	for (uint32_t i = 0; i < cnt; i++)
		show(bench, &runs[i], i == 0);
	return 0;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: store [--items N] [--value BYTES] [--threads N] [--ms MS] "
		    "[--rounds N] [--json]\n");
	return to == stdout ? 0 : 2;
}

static int options_read(int argc, char **argv, struct config *config)
{
	static const struct option options[] = { { "items", required_argument, NULL, 'i' },
						 { "value", required_argument, NULL, 'v' },
						 { "threads", required_argument, NULL, 't' },
						 { "ms", required_argument, NULL, 'm' },
						 { "rounds", required_argument, NULL, 'r' },
						 { "json", no_argument, NULL, 'j' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (c) {
		case 'i':
			config->items = number;
			break;
		case 'v':
			config->value_len = (uint32_t)number;
			break;
		case 't':
			config->threads = (uint32_t)number;
			break;
		case 'm':
			config->ms = (uint32_t)number;
			break;
		case 'r':
			config->rounds = (uint32_t)number;
			break;
		case 'j':
			config->json = true;
			break;
		default:
			return -1;
		}
	}
	if (optind != argc || config->items < 2 || config->items > UINT32_MAX ||
	    config->value_len == 0 || config->value_len > 4096 || config->threads == 0 ||
	    config->threads > THREADS_MAX || config->ms == 0 || config->rounds == 0 ||
	    config->rounds > ROUNDS_MAX)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct bench bench = { .config = { .items = 1000000,
					   .value_len = 100,
					   .threads = 2,
					   .ms = 500,
					   .rounds = 3 } };
	const struct config *config = &bench.config;
	struct store_counts counts;
	double start = now_sec(), load_sec, overhead;
	int status;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout);
	if (options_read(argc, argv, &bench.config))
		return usage(stderr);
	bench.whole = load(config, config->items);
	load_sec = now_sec() - start;
	for (uint32_t i = 0; i < config->threads && config->threads > 1; i++)
		bench.apart[i] = load(config, config->items / config->threads);
	bench.draws[0] = draw_uniform(config->items, 1);
	bench.draws[1] = draw_zipf(config->items, 2);
	if (!bench.draws[0] || !bench.draws[1])
		abort();
	store_counts(bench.whole, &counts);
	overhead = (double)(counts.item_bytes - counts.key_value_bytes + counts.index_bytes) /
		   (double)counts.item_cnt;
	printf(config->json
		       ? "{\"items\":%llu,\"value_bytes\":%u,\"load_sec\":%.2f,"
			 "\"overhead_bytes_per_item\":%.1f,\"runs\":["
		       : "%llu items of %u bytes, loaded in %.2f s; %.1f bytes an item beside key "
			 "and value\n",
	       (unsigned long long)counts.item_cnt, config->value_len, load_sec, overhead);
	status = measure(&bench);
	if (config->json)
		printf("]}\n");
	store_free(bench.whole);
	for (uint32_t i = 0; i < config->threads; i++)
		store_free(bench.apart[i]);
	free(bench.draws[0]);
	free(bench.draws[1]);
	return status;
}
