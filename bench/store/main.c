/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store - operations a second of the store alone, and how long single ones take: no network, no
 * protocol.
 *
 * Loads --items items of 16-byte keys and --value bytes, all of which fit, then measures GET,
 * SET and nine GETs to one SET ("mix") with one thread and with --threads, keys uniform and
 * Zipf (0.99, as YCSB's; ranks spread over the keys), for --ms each. Which keys is decided
 * beforehand, so that drawing costs no time in the run. A GET hashes the key, finds the item
 * and reads the value's first and last byte; a thread is quiescent every 16 operations, as a
 * worker is once a turn. "one by one" is a request at a time; "batches" are 16 keys known
 * beforehand, prefetched as a multi-get does.
 *
 * "apart" gives each thread a store of its own with its share of the items: what the threads
 * would do if they shared nothing but the machine. Each run is repeated --rounds times,
 * interleaved with the others; the median is shown, with the lowest and highest, and of a run
 * with its twin "apart", which follows it at once, the median of the rounds' ratios.
 *
 * How long single operations take, while the table grows, in the loaded store, and while a full
 * one evicts: latency.c.
 *
 * Prints a table, with --json one object; memory an item beside key and value as well. How far it
 * is is shown on a terminal only.
 */
#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rand.h"
#include "bench.h"

#define BATCH 16
#define DRAWS (1U << 20)
#define ZIPF_THETA 0.99
#define THREADS_MAX 64
#define ROUNDS_MAX 32
#define RUNS_MAX 36
#define MIX_PERIOD 10 /* every tenth is a SET */

enum op {
	OP_GET,
	OP_SET,
	OP_MIX,
	OP_CNT,
};

static const char *const op_names[OP_CNT] = { "get", "set", "mix" };

enum how {
	ONE_BY_ONE,
	IN_BATCHES,
};

/* What is measured. */
struct run {
	enum op op;
	bool zipf, apart;
	enum how how;
	uint32_t threads;
	double rate[ROUNDS_MAX]; /* operations a second of all threads together */
};

struct bench {
	struct bench_config config;
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

static void one(struct worker *w, struct store_thread *t, uint32_t at, struct bench_put *put)
{
	bool set = w->run->op == OP_SET || (w->run->op == OP_MIX && at % MIX_PERIOD == 0);

	w->misses += !(set ? bench_set(t, put) : bench_get(t, put->key, put->hash));
}

static void one_batch(struct worker *w, struct store_thread *t, uint32_t at, struct span value)
{
	const uint32_t *draws = w->bench->draws[w->run->zipf];
	uint8_t key_buf[BATCH][BENCH_KEY_LEN];
	struct bench_put puts[BATCH];

	for (uint32_t i = 0; i < BATCH; i++) {
		puts[i].key = bench_key(key_buf[i], draws[(at + i) & (DRAWS - 1)] % w->items);
		puts[i].hash = store_hash(w->store, puts[i].key);
		puts[i].value = value;
		if (w->run->how == IN_BATCHES)
			store_prefetch_slot(w->store, puts[i].hash);
		else
			one(w, t, at + i, &puts[i]);
	}
	for (uint32_t i = 0; i < BATCH && w->run->how == IN_BATCHES; i++)
		store_prefetch_item(w->store, puts[i].hash);
	for (uint32_t i = 0; i < BATCH && w->run->how == IN_BATCHES; i++)
		one(w, t, at + i, &puts[i]);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct store_thread *t = store_thread_new(w->store);
	uint32_t value_len = w->bench->config.value_len, at = w->from;
	uint8_t *value = calloc(1, value_len);
	uint64_t start = bench_now_ns();

	if (!t || !value)
		abort();
	/* At least once: on a busy machine its time may be over before it has begun. */
	do {
		one_batch(w, t, at, span_of(value, value_len));
		at += BATCH;
		w->ops += BATCH;
		store_quiesce(t);
	} while (!atomic_load_explicit(&w->bench->stop, memory_order_relaxed));
	w->sec = (double)(bench_now_ns() - start) / 1e9;
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
		if (workers[i].misses)
			rate = -1e18;
	}
	return rate;
}

/* --- the stores --- */

struct store *bench_store_new(const struct bench_config *config, uint64_t items, bool full)
{
	uint64_t item_bytes = bench_item_bytes(config);
	uint64_t log_bytes = full ? items * item_bytes / BENCH_EXTENT * BENCH_EXTENT
				  : (items * item_bytes * 3 / 2 / BENCH_EXTENT + 4) * BENCH_EXTENT;
	struct store_options options = {
		.index_bytes_max = items * 32 + (1 << 20),
		.item_max = 1 << 20,
		.thread_max = config->threads + 2,
		.clock = clock_system(),
	};
	struct memory memory;
	struct store *store = NULL;
	int err;

	options.log.bytes = log_bytes;
	err = memory_new("bench-store", options.log.bytes, &memory);
	options.log.base = err ? NULL : memory.base;
	if (!err)
		store = store_new(&options, &err);
	if (!store || store_reclaim_start(store))
		abort();
	return store;
}

/* With every item; tells the histograms what the loading took. */
static struct store *load(const struct bench_config *config, uint64_t items,
			  struct bench_latency *latency)
{
	struct store *store = bench_store_new(config, items, false);

	if (!bench_grow(store, config, items, latency))
		abort();
	return store;
}

/* --- the runs --- */

static int compare_double(const void *a, const void *b)
{
	const double *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static double median(double *numbers, uint32_t cnt)
{
	qsort(numbers, cnt, sizeof(*numbers), compare_double);
	return cnt % 2 ? numbers[cnt / 2] : (numbers[cnt / 2 - 1] + numbers[cnt / 2]) / 2;
}

/* Of a run and its twin, which is next; 0: it has none. */
static double ratio_to_twin(const struct run *run, uint32_t rounds)
{
	double ratios[ROUNDS_MAX];

	if (run->threads == 1 || run->apart)
		return 0;
	for (uint32_t round = 0; round < rounds; round++)
		ratios[round] = run->rate[round] / run[1].rate[round];
	return median(ratios, rounds);
}

static void show(const struct bench_config *config, struct run *run, bool first)
{
	double ratio = ratio_to_twin(run, config->rounds);
	double middle = median(run->rate, config->rounds);
	double low = run->rate[0], high = run->rate[config->rounds - 1];

	if (config->json) {
		printf("%s{\"op\":\"%s\",\"keys\":\"%s\",\"batch\":%d,\"threads\":%u,"
		       "\"apart\":%s,\"ops_sec\":%.0f,\"ops_sec_min\":%.0f,\"ops_sec_max\":%.0f",
		       first ? "" : ",", op_names[run->op], run->zipf ? "zipf" : "uniform",
		       run->how == IN_BATCHES ? BATCH : 1, run->threads,
		       run->apart ? "true" : "false", middle, low, high);
		if (ratio > 0)
			printf(",\"ratio_to_apart\":%.3f", ratio);
		printf("}");
		return;
	}
	printf("  %s %-7s  %-10s  %2u thread%s %-5s  %6.2f M/s  (%.2f to %.2f) %6.0f ns",
	       op_names[run->op], run->zipf ? "zipf" : "uniform",
	       run->how == IN_BATCHES ? "batches" : "one by one", run->threads,
	       run->threads == 1 ? " " : "s", run->apart ? "apart" : "", middle / 1e6, low / 1e6,
	       high / 1e6, 1e9 * run->threads / middle);
	if (ratio > 0)
		printf("  %.2f of apart", ratio);
	printf("\n");
}

/* Every combination, those with a twin before it; the number of them. */
static uint32_t plan(const struct bench_config *config, struct run runs[RUNS_MAX])
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < RUNS_MAX; i++) {
		uint32_t threads = i % 3, rest = i / 3;
		struct run run = { .apart = threads == 2,
				   .threads = threads ? config->threads : 1,
				   .op = (enum op)(rest % OP_CNT),
				   .zipf = rest / OP_CNT & 1,
				   .how = rest / OP_CNT & 2 ? IN_BATCHES : ONE_BY_ONE };

		if (threads == 0 || config->threads > 1)
			runs[cnt++] = run;
	}
	return cnt;
}

static int measure(struct bench *bench)
{
	static struct run runs[RUNS_MAX];
	uint32_t cnt = plan(&bench->config, runs), all = cnt * bench->config.rounds;

	for (uint32_t done = 0; done < all; done++) {
		struct run *run = &runs[done % cnt];
		double rate = measure_once(bench, run);

		run->rate[done / cnt] = rate;
		if (rate < 0) {
			fprintf(stderr, "an item was missing\n");
			return 1;
		}
		bench_progress("runs", done + 1, all);
	}
	for (uint32_t i = 0; i < cnt; i++)
		show(&bench->config, &runs[i], i == 0);
	return 0;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: store [--items N] [--value BYTES] [--threads N] [--ms MS] "
		    "[--rounds N] [--json]\n");
	return to == stdout ? 0 : 2;
}

static int options_read(int argc, char **argv, struct bench_config *config)
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

static void show_head(const struct bench *bench, double load_sec)
{
	struct store_counts counts;
	double overhead;

	store_counts(bench->whole, &counts);
	overhead = (double)(counts.item_bytes - counts.key_value_bytes + counts.index_bytes) /
		   (double)counts.item_cnt;
	printf(bench->config.json
		       ? "{\"items\":%llu,\"value_bytes\":%u,\"load_sec\":%.2f,"
			 "\"overhead_bytes_per_item\":%.1f,\"runs\":["
		       : "%llu items of %u bytes, loaded in %.2f s; %.1f bytes an item beside key "
			 "and value\n",
	       (unsigned long long)counts.item_cnt, bench->config.value_len, load_sec, overhead);
}

static int run_all(struct bench *bench)
{
	const struct bench_config *config = &bench->config;
	struct bench_latency *latency = bench_latency_new();
	uint64_t start = bench_now_ns();
	int status;

	bench->whole = load(config, config->items, latency);
	show_head(bench, (double)(bench_now_ns() - start) / 1e9);
	bench_steady(bench->whole, config, latency);
	bench_full(config, latency);
	for (uint32_t i = 0; i < config->threads && config->threads > 1; i++)
		bench->apart[i] = load(config, config->items / config->threads, NULL);
	status = measure(bench);
	if (config->json)
		printf("],\"latency\":[");
	bench_latency_show(latency, config->json);
	if (config->json)
		printf("]}\n");
	bench_latency_free(latency);
	return status;
}

int main(int argc, char **argv)
{
	struct bench bench = { .config = { .items = 1000000,
					   .value_len = 100,
					   .threads = 2,
					   .ms = 500,
					   .rounds = 3 } };
	const struct bench_config *config = &bench.config;
	int status;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout);
	if (options_read(argc, argv, &bench.config))
		return usage(stderr);
	bench.draws[0] = draw_uniform(config->items, 1);
	bench.draws[1] = draw_zipf(config->items, 2);
	if (!bench.draws[0] || !bench.draws[1])
		abort();
	status = run_all(&bench);
	store_free(bench.whole);
	for (uint32_t i = 0; i < config->threads; i++)
		store_free(bench.apart[i]);
	free(bench.draws[0]);
	free(bench.draws[1]);
	return status;
}
