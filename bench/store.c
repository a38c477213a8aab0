/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store - operations a second of the store alone: no network, no protocol.
 *
 * Loads --items items of 16-byte keys and --value bytes, all of which fit, then measures GET and
 * SET with one thread and with --threads, keys uniform and Zipf (0.99, as YCSB's; ranks spread
 * over the keys), for --ms each. Which keys is decided beforehand, so that drawing costs no time
 * in the run. A GET hashes the key, finds the item and reads the value's first and last byte; a
 * thread is quiescent every 16 operations, as a worker is once a turn.
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
#define EXTENT (16ULL << 20)

struct config {
	uint64_t items;
	uint32_t value_len, threads, ms;
	bool json;
};

struct bench {
	struct config config;
	struct store *store;
	_Atomic bool stop;
	bool set; /* else get */
	const uint32_t *draws;
};

struct worker {
	struct bench *bench;
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

static void *work(void *arg)
{
	uint8_t key_buf[KEY_LEN] = "bench-00";
	struct worker *w = arg;
	struct bench *bench = w->bench;
	struct store_thread *t = store_thread_new(bench->store);
	uint8_t *value = calloc(1, bench->config.value_len);
	uint32_t at = w->from;
	double start = now_sec();

	while (t && value && !atomic_load_explicit(&bench->stop, memory_order_relaxed)) {
		for (uint32_t i = 0; i < BATCH; i++, at++) {
			struct span key = key_of(key_buf, bench->draws[at & (DRAWS - 1)]);
			uint64_t hash = store_hash(bench->store, key);

			if (bench->set)
				set_one(w, t, key, hash, span_of(value, bench->config.value_len));
			else
				get_one(w, t, key, hash);
		}
		w->ops += BATCH;
		store_quiesce(t);
	}
	w->sec = now_sec() - start;
	free(value);
	store_thread_free(t);
	return NULL;
}

/* Operations a second of all threads together; negative: something went wrong. */
static double run(struct bench *bench, uint32_t threads)
{
	const struct timespec pause = { .tv_sec = bench->config.ms / 1000,
					.tv_nsec = (long)(bench->config.ms % 1000) * 1000000 };
	static struct worker workers[THREADS_MAX];
	double rate = 0;

	atomic_store(&bench->stop, false);
	for (uint32_t i = 0; i < threads; i++) {
		workers[i] = (struct worker){ .bench = bench, .from = i * (DRAWS / threads) };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			abort();
	}
	nanosleep(&pause, NULL);
	atomic_store(&bench->stop, true);
	for (uint32_t i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		rate += (double)workers[i].ops / workers[i].sec;
		if (workers[i].misses || workers[i].ops == 0)
			return -1;
	}
	return rate;
}

/* --- the store --- */

static int load(struct bench *bench)
{
	uint64_t item_bytes = KEY_LEN + bench->config.value_len + 24;
	uint64_t log_bytes = (bench->config.items * item_bytes * 3 / 2 / EXTENT + 4) * EXTENT;
	struct store_options options = {
		.log.bytes = log_bytes,
		.index_bytes_max = bench->config.items * 32 + (1 << 20),
		.item_max = 1 << 20,
		.thread_max = bench->config.threads + 2,
		.clock = clock_system(),
	};
	uint8_t key_buf[KEY_LEN] = "bench-00";
	uint8_t *value = calloc(1, bench->config.value_len);
	struct worker w = { .bench = bench };
	struct store_thread *t;
	int err = memory_map("bench-store", log_bytes, &options.log.base);

	if (!err && value)
		bench->store = store_new(&options, &err);
	if (!bench->store) {
		free(value);
		return err ? err : -1;
	}
	err = store_reclaim_start(bench->store);
	t = store_thread_new(bench->store);
	for (uint64_t n = 0; !err && n < bench->config.items; n++) {
		struct span key = key_of(key_buf, (uint32_t)n);

		set_one(&w, t, key, store_hash(bench->store, key),
			span_of(value, bench->config.value_len));
		if (n % BATCH == 0)
			store_quiesce(t);
	}
	store_thread_free(t);
	free(value);
	return err ? err : w.misses ? -1 : 0;
}

static void show(const struct bench *bench, const char *name, uint32_t threads, double rate,
		 bool *first)
{
	if (bench->config.json)
		printf("%s{\"run\":\"%s\",\"threads\":%u,\"ops_sec\":%.0f}", *first ? "" : ",",
		       name, threads, rate);
	else
		printf("  %-14s %2u thread%s %8.2f M/s %7.0f ns\n", name, threads,
		       threads == 1 ? " " : "s", rate / 1e6, 1e9 * threads / rate);
	fflush(stdout);
	*first = false;
}

static int measure(struct bench *bench)
{
	static const char *const names[2][2] = { { "get uniform", "get zipf" },
						 { "set uniform", "set zipf" } };
	uint32_t *draws[2] = { draw_uniform(bench->config.items, 1),
			       draw_zipf(bench->config.items, 2) };
	bool first = true;

	for (int set = 0; set < 2; set++) {
		for (int zipf = 0; zipf < 2; zipf++) {
			for (uint32_t n = 1; n <= bench->config.threads;
			     n = n < bench->config.threads ? bench->config.threads : n + 1) {
				double rate;

				bench->set = set;
				bench->draws = draws[zipf];
				rate = draws[zipf] ? run(bench, n) : -1;
				if (rate < 0) {
					fprintf(stderr, "%s: an item was missing\n",
						names[set][zipf]);
					return 1;
				}
				show(bench, names[set][zipf], n, rate, &first);
			}
		}
	}
	free(draws[0]);
	free(draws[1]);
	return 0;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: store [--items N] [--value BYTES] [--threads N] [--ms MS] [--json]\n");
	return to == stdout ? 0 : 2;
}

static int options_read(int argc, char **argv, struct config *config)
{
	static const struct option options[] = { { "items", required_argument, NULL, 'i' },
						 { "value", required_argument, NULL, 'v' },
						 { "threads", required_argument, NULL, 't' },
						 { "ms", required_argument, NULL, 'm' },
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
		case 'j':
			config->json = true;
			break;
		default:
			return -1;
		}
	}
	if (optind != argc || config->items < 2 || config->items > UINT32_MAX ||
	    config->value_len == 0 || config->value_len > 4096 || config->threads == 0 ||
	    config->threads > THREADS_MAX || config->ms == 0)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct bench bench = {
		.config = { .items = 1000000, .value_len = 100, .threads = 2, .ms = 1000 }
	};
	struct store_counts counts;
	double start = now_sec();
	int status;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout);
	if (options_read(argc, argv, &bench.config))
		return usage(stderr);
	if (load(&bench)) {
		fprintf(stderr, "cannot load the store: too little memory?\n");
		return 1;
	}
	store_counts(bench.store, &counts);
	if (bench.config.json)
		printf("{\"items\":%llu,\"value_bytes\":%u,\"load_sec\":%.2f,"
		       "\"overhead_bytes_per_item\":%.1f,\"runs\":[",
		       (unsigned long long)counts.item_cnt, bench.config.value_len,
		       now_sec() - start,
		       (double)(counts.item_bytes - counts.key_value_bytes + counts.index_bytes) /
			       (double)counts.item_cnt);
	else
		printf("%llu items of %u bytes, loaded in %.2f s; %.1f bytes an item beside key "
		       "and value\n",
		       (unsigned long long)counts.item_cnt, bench.config.value_len,
		       now_sec() - start,
		       (double)(counts.item_bytes - counts.key_value_bytes + counts.index_bytes) /
			       (double)counts.item_cnt);
	status = measure(&bench);
	if (bench.config.json)
		printf("]}\n");
	store_free(bench.store);
	return status;
}
