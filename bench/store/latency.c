/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long single operations take, each timed by itself by one thread with the reclaimer beside it:
 *
 *   grow    items are added to an empty store, so that the index splits bucket by bucket
 *   steady  the same items are read and written over, uniformly
 *   full    new items come into a store that is full, so that each write evicts; reads go to the
 *           last quarter of what was written, and may miss
 *
 * A write that has to wait for room counts with its wait. "clock" is two readings of the clock with
 * nothing between them: what the timing adds, and what the machine itself interrupts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/histogram.h"
#include "base/rand.h"
#include "bench.h"

#define KEY_START "bench-00"
#define READ_EVERY 8 /* while growing and when full: so many writes to a read */
#define FULL_SHARE 4 /* a full store is of this part of the items */
#define FULL_TIMES 4 /* its room is written so often */
#define OPS_MAX 2000000
#define TURN 16 /* operations between two quiescent moments */

enum row {
	ROW_CLOCK,
	ROW_GROW_GET,
	ROW_GROW_SET,
	ROW_STEADY_GET,
	ROW_STEADY_SET,
	ROW_FULL_GET,
	ROW_FULL_SET,
	ROW_CNT,
};

static const char *const row_names[ROW_CNT][2] = {
	[ROW_CLOCK] = { "clock", "none" },	[ROW_GROW_GET] = { "grow", "get" },
	[ROW_GROW_SET] = { "grow", "set" },	[ROW_STEADY_GET] = { "steady", "get" },
	[ROW_STEADY_SET] = { "steady", "set" }, [ROW_FULL_GET] = { "full", "get" },
	[ROW_FULL_SET] = { "full", "set" },
};

struct bench_latency {
	struct histogram rows[ROW_CNT];
};

/* One thread at one store. */
struct client {
	struct store *store;
	struct store_thread *t;
	struct bench_put put;
	uint8_t key_buf[BENCH_KEY_LEN];
	uint8_t *value;
	struct bench_latency *latency; /* NULL: none */
	uint64_t ops;
};

uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

struct span bench_key(uint8_t buf[BENCH_KEY_LEN], uint32_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = BENCH_KEY_LEN - 1; i >= 8; i--, n >>= 4)
		buf[i] = (uint8_t)digits[n & 15];
	memcpy(buf, KEY_START, 8);
	return span_of(buf, BENCH_KEY_LEN);
}

bool bench_get(struct store_thread *t, struct span key, uint64_t hash)
{
	struct item_view view;
	volatile uint8_t seen;

	if (!store_find(t, key, hash, &view))
		return false;
	seen = view.value[0];
	seen = view.value[view.value_len - 1];
	(void)seen;
	return true;
}

bool bench_set(struct store_thread *t, const struct bench_put *put)
{
	struct store_put how = { .key = put->key, .hash = put->hash };
	enum store_status status;

	do {
		status = store_put(t, &how, put->value, NULL);
	} while (status == STORE_AGAIN && store_wait(t, NSEC_PER_SEC));
	return status == STORE_OK;
}

void bench_progress(const char *what, uint64_t done, uint64_t all)
{
	if (!isatty(STDERR_FILENO))
		return;
	if (done < all)
		fprintf(stderr, "\r%s: %3llu %%", what, (unsigned long long)(100 * done / all));
	else
		fprintf(stderr, "\r\033[K");
}

static void client_init(struct client *c, struct store *store, const struct bench_config *config,
			struct bench_latency *latency)
{
	*c = (struct client){ .store = store,
			      .t = store_thread_new(store),
			      .value = calloc(1, config->value_len),
			      .latency = latency };
	if (!c->t || !c->value)
		abort();
	c->put.value = span_of(c->value, config->value_len);
}

static void client_fini(struct client *c)
{
	store_thread_free(c->t);
	free(c->value);
}

/* GET or SET of item n into a row. */
static bool timed(struct client *c, bool set, uint64_t n, enum row row)
{
	uint64_t start = 0;
	bool done;

	c->put.key = bench_key(c->key_buf, (uint32_t)n);
	if (c->latency)
		start = bench_now_ns();
	c->put.hash = store_hash(c->store, c->put.key);
	done = set ? bench_set(c->t, &c->put) : bench_get(c->t, c->put.key, c->put.hash);
	if (c->latency)
		histogram_insert(&c->latency->rows[row], bench_now_ns() - start);
	if (++c->ops % TURN == 0)
		store_quiesce(c->t);
	return done;
}

bool bench_grow(struct store *store, const struct bench_config *config, uint64_t items,
		struct bench_latency *latency)
{
	bool good = true;
	struct client c;
	struct rand r;

	client_init(&c, store, config, latency);
	rand_init(&r, 3);
	for (uint64_t n = 0; n < items && good; n++) {
		good = timed(&c, true, n, ROW_GROW_SET);
		if (latency && n % READ_EVERY == 0)
			good = good && timed(&c, false, rand_below(&r, n + 1), ROW_GROW_GET);
		if (n % (1 << 16) == 0)
			bench_progress("loading", n, items);
	}
	bench_progress("loading", items, items);
	client_fini(&c);
	return good;
}

void bench_steady(struct store *store, const struct bench_config *config,
		  struct bench_latency *latency)
{
	uint64_t ops = config->items < OPS_MAX ? config->items : OPS_MAX;
	struct client c;
	struct rand r;

	client_init(&c, store, config, latency);
	rand_init(&r, 4);
	for (uint64_t n = 0; n < ops; n++) {
		uint64_t start = bench_now_ns();

		histogram_insert(&latency->rows[ROW_CLOCK], bench_now_ns() - start);
		if (!timed(&c, n & 1, rand_below(&r, config->items),
			   n & 1 ? ROW_STEADY_SET : ROW_STEADY_GET))
			abort();
	}
	client_fini(&c);
}

void bench_full(const struct bench_config *config, struct bench_latency *latency)
{
	uint64_t least = BENCH_EXTENT / bench_item_bytes(config) + 1;
	uint64_t room = config->items / FULL_SHARE > least ? config->items / FULL_SHARE : least;
	uint64_t last = (FULL_TIMES + 1) * room;
	struct store *store = bench_store_new(config, room, true);
	struct store_counts counts;
	struct client c;
	struct rand r;

	client_init(&c, store, config, NULL);
	rand_init(&r, 5);
	for (uint64_t n = 0; n < last; n++) {
		/* Full for certain before the timing begins. */
		if (n == room + room / 2)
			c.latency = latency;
		if (!timed(&c, true, n, ROW_FULL_SET))
			abort();
		if (c.latency && n % READ_EVERY == 0)
			timed(&c, false, n - rand_below(&r, room / 4 + 1), ROW_FULL_GET);
	}
	store_counts(store, &counts);
	if (counts.item_cnt >= last)
		abort();
	client_fini(&c);
	store_free(store);
}

struct bench_latency *bench_latency_new(void)
{
	struct bench_latency *latency = malloc(sizeof(*latency));

	if (!latency)
		abort();
	for (uint32_t row = 0; row < ROW_CNT; row++)
		histogram_init(&latency->rows[row]);
	return latency;
}

void bench_latency_free(struct bench_latency *latency)
{
	free(latency);
}

static void show_json(enum row row, const struct histogram *h)
{
	static const struct {
		const char *name;
		double quantile;
	} fields[] = { { "p50", 0.5 }, { "p99", 0.99 }, { "p999", 0.999 }, { "p9999", 0.9999 } };

	printf("%s{\"phase\":\"%s\",\"op\":\"%s\",\"cnt\":%llu", row ? "," : "", row_names[row][0],
	       row_names[row][1], (unsigned long long)h->cnt);
	for (uint32_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		printf(",\"%s_ns\":%llu", fields[i].name,
		       (unsigned long long)histogram_quantile(h, fields[i].quantile));
	printf(",\"max_ns\":%llu}", (unsigned long long)h->max);
}

static void show_line(enum row row, const struct histogram *h)
{
	printf("  %-7s %-4s %8.2f %9.2f %9.2f %9.2f %10.2f\n", row_names[row][0], row_names[row][1],
	       (double)histogram_quantile(h, 0.5) / 1e3, (double)histogram_quantile(h, 0.99) / 1e3,
	       (double)histogram_quantile(h, 0.999) / 1e3,
	       (double)histogram_quantile(h, 0.9999) / 1e3, (double)h->max / 1e3);
}

void bench_latency_show(const struct bench_latency *latency, bool json)
{
	if (!json)
		printf("one operation, us:  p50       p99     p99.9    p99.99    longest\n");
	for (enum row row = 0; row < ROW_CNT; row++) {
		if (json)
			show_json(row, &latency->rows[row]);
		else
			show_line(row, &latency->rows[row]);
	}
}
