/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * packet - nanoseconds a packet costs in the kernel fast path.
 *
 * Method    BPF_PROG_TEST_RUN with repeat. A rig program (packet_rig.bpf.c) undoes what the last
 *           run did to the packet, writes the next request and jumps to the program measured; the
 *           same through an empty XDP_PASS program is taken away. All rows are measured in turn,
 *           round after round, so that what else the machine does falls on all of them.
 * Figures   median, smallest and largest of the rounds' differences; and "quiet", the difference
 *           between the quietest twentieth of either: what a packet costs when the machine does
 *           nothing else.
 * Keys      32 bytes, asked for in a shuffled order; 64 of them (everything in cache) and 10000.
 * Live      BPF_F_TEST_XDP_LIVE_FRAMES over a veth pair in a namespace of its own, replies counted
 *           by the peer's XDP program; against a program that swaps MACs and sends back. The rig's
 *           work is in both.
 * Needs     root. One core's worth of quiet helps: the spread says how quiet it was.
 */
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/if_link.h>

#include "base/rand.h"
#include "bench/packet_rig.skel.h"
#include "lib/fastrig.h"

#define ROUNDS_DEFAULT 51
#define ROUNDS_MAX 1000
#define ROUNDS_LIVE_MAX 15 /* these take 100 ms each */
#define RUNS 10000	   /* of one sample: about 3 ms, short enough to fall into a quiet moment */
#define RUNS_LIVE 200000   /* setting a live run up takes 20 ms: not seen among these */
#define KEY_LEN 32
#define REQUEST_LEN 88	  /* with one key */
#define REQUEST_LEN_8 320 /* with eight, and a byte of padding: lengths are whole words */
#define FEW 64
#define MANY 10000
#define SLOT_REQUEST 320 /* sizeof(struct rig_request) */

/* Slots of rig_jump. */
enum target {
	TARGET_EMPTY,
	TARGET_FASTPATH,
	TARGET_NONE,
	TARGET_LOCAL,
	TARGET_LEASE,
	TARGET_ALLOW,
	TARGET_ECHO,
	/* with --rate-limit */
	TARGET_RATED, /* the product's program */
	TARGET_RATE,
	TARGET_LRU,
	TARGET_CNT,
};

/* Requests that are asked in turn. */
enum set {
	SET_FEW_32,
	SET_FEW_1000,
	SET_FEW_8_KEYS,
	SET_FEW_ABSENT,
	SET_MANY_32,
	SET_MANY_1000,
	SET_MISS_FEW,
	SET_MISS_MANY,
	SET_OTHER_PORT,
	SET_CNT,
};

static const struct {
	uint32_t key_cnt;
	uint32_t value_len;
	bool resident;
	int port;
	uint32_t asked; /* keys of a request; 0: one */
	bool absent;	/* known to have no item */
} sets[SET_CNT] = {
	[SET_FEW_32] = { FEW, 32, true, 0 },
	[SET_FEW_1000] = { FEW, 1000, true, 0 },
	[SET_MANY_32] = { MANY, 32, true, 0 },
	[SET_MANY_1000] = { MANY, 1000, true, 0 },
	[SET_MISS_FEW] = { FEW, 0, false, 0 },
	[SET_MISS_MANY] = { MANY, 0, false, 0 },
	[SET_OTHER_PORT] = { FEW, 0, false, 53 },
	[SET_FEW_8_KEYS] = { FEW, 32, true, 0, 8 },
	[SET_FEW_ABSENT] = { FEW, 0, true, 0, 0, true },
};

static const struct row {
	const char *id;
	const char *name;
	enum target target;
	enum set set;
} rows[] = {
	{ "hit_32_few", "hit, 32 B, 64 keys", TARGET_FASTPATH, SET_FEW_32 },
	{ "hit_1000_few", "hit, 1000 B, 64 keys", TARGET_FASTPATH, SET_FEW_1000 },
	{ "hit_32_8_keys", "hit, 32 B, 8 of 64 keys at once", TARGET_FASTPATH, SET_FEW_8_KEYS },
	{ "absent_few", "known absent, 64 keys", TARGET_FASTPATH, SET_FEW_ABSENT },
	{ "hit_32_many", "hit, 32 B, 10 k keys", TARGET_FASTPATH, SET_MANY_32 },
	{ "hit_1000_many", "hit, 1000 B, 10 k keys", TARGET_FASTPATH, SET_MANY_1000 },
	{ "miss_few", "pass: miss, 64 keys", TARGET_FASTPATH, SET_MISS_FEW },
	{ "miss_many", "pass: miss, 10 k keys", TARGET_FASTPATH, SET_MISS_MANY },
	{ "other_port", "pass: another port", TARGET_FASTPATH, SET_OTHER_PORT },
	{ "guards_none_32", "hit without guards, 32 B", TARGET_NONE, SET_FEW_32 },
	{ "guards_none_1000", "hit without guards, 1000 B", TARGET_NONE, SET_FEW_1000 },
	{ "guards_local", " + local address, looked up", TARGET_LOCAL, SET_FEW_32 },
	{ "guards_lease", " + honest source and lease", TARGET_LEASE, SET_FEW_32 },
	{ "guards_allow", " + allowlist, looked up", TARGET_ALLOW, SET_FEW_32 },
	{ "guards_rate", "no guard but the rate", TARGET_RATE, SET_FEW_32 },
	{ "guards_rate_lru", "the same in an LRU hash map", TARGET_LRU, SET_FEW_32 },
	{ "hit_32_few_rate", "hit with a rate limit, 32 B", TARGET_RATED, SET_FEW_32 },
};
#define ROW_CNT (sizeof(rows) / sizeof(rows[0]))

static const struct row live_rows[] = {
	{ "live_echo", "XDP_TX echo", TARGET_ECHO, SET_FEW_32 },
	{ "live_hit_32", "hit, 32 B, 64 keys", TARGET_FASTPATH, SET_FEW_32 },
	{ "live_hit_1000", "hit, 1000 B, 64 keys", TARGET_FASTPATH, SET_FEW_1000 },
};
#define LIVE_CNT (sizeof(live_rows) / sizeof(live_rows[0]))

struct bench {
	struct packet_rig_bpf *skel;
	struct fastrig rig;
	uint32_t first[SET_CNT]; /* of its requests in rig_requests */
	int rounds;
	bool json;
	bool live;
	double ns[ROW_CNT][ROUNDS_MAX];	      /* rig and program */
	double empty_ns[ROW_CNT][ROUNDS_MAX]; /* rig and empty program, right before */
	double live_ns[LIVE_CNT][ROUNDS_MAX];
	int live_rounds;
};

struct figure {
	double median, min, max, quiet;
};

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct figure figure_of(const double *samples, int cnt)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, samples, cnt * sizeof(*sorted));
	qsort(sorted, cnt, sizeof(*sorted), compare_doubles);
	return (struct figure){
		.median = cnt % 2 ? sorted[cnt / 2] : (sorted[cnt / 2 - 1] + sorted[cnt / 2]) / 2,
		.min = sorted[0],
		.max = sorted[cnt - 1],
		.quiet = sorted[cnt / 20],
	};
}

static struct figure figure_of_difference(const double *with, const double *without, int cnt)
{
	double differences[ROUNDS_MAX];
	struct figure f;

	for (int i = 0; i < cnt; i++)
		differences[i] = with[i] - without[i];
	f = figure_of(differences, cnt);
	f.quiet = figure_of(with, cnt).quiet - figure_of(without, cnt).quiet;
	return f;
}

/* "key:<set>:<number>", filled up to 32 bytes. */
static void key_of(enum set set, uint32_t n, char ret[KEY_LEN + 1])
{
	snprintf(ret, KEY_LEN + 1, "key:%d:%026u", set, n);
}

static void add_item(struct bench *b, enum set set, uint32_t n)
{
	static uint8_t value[1000];
	char key[KEY_LEN + 1];
	struct rig_item item = {
		.key = span_of(key, KEY_LEN),
		.value = span_of(value, sets[set].value_len),
		.cas = n,
		.absent = sets[set].absent,
	};

	key_of(set, n, key);
	memset(value, 'a' + n % 26, sizeof(value));
	fastrig_insert(&b->rig, &item);
}

static uint32_t request_len(enum set set)
{
	return sets[set].asked ? REQUEST_LEN_8 : REQUEST_LEN;
}

/* For the n-th key of the order, and those that follow if several are asked for at once. */
static int add_request(struct bench *b, enum set set, const uint32_t *order, uint32_t n,
		       uint32_t slot)
{
	struct pktgen_request request = { .id = n, .to_port = sets[set].port };
	uint32_t asked = sets[set].asked ? sets[set].asked : 1;
	char key[KEY_LEN + 1], text[SLOT_REQUEST] = "get";
	uint8_t bytes[SLOT_REQUEST] = { 0 };
	struct pktgen_packet packet;
	size_t len = 3;

	for (uint32_t i = 0; i < asked; i++) {
		key_of(set, order[(n + i) % sets[set].key_cnt], key);
		len += snprintf(text + len, sizeof(text) - len, " %s", key);
	}
	len += snprintf(text + len, sizeof(text) - len, "\r\n");
	request.text = span_of(text, len);
	request.trailer = asked > 1;
	pktgen_request(&request, &packet);
	if (packet.len != request_len(set))
		return -EINVAL;
	memcpy(bytes, packet.bytes, packet.len);
	return bpf_map_update_elem(bpf_map__fd(b->skel->maps.rig_requests), &slot, bytes, BPF_ANY);
}

/* Items in order, requests for them shuffled, so that no prefetcher sees the log coming. */
static int fill_set(struct bench *b, enum set set, uint32_t first, struct rand *r)
{
	uint32_t cnt = sets[set].key_cnt;
	uint32_t *order = calloc(cnt, sizeof(*order));
	int err = order ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < cnt; i++) {
		uint32_t other = rand_below(r, i + 1);

		order[i] = order[other];
		order[other] = i;
		if (sets[set].resident)
			add_item(b, set, i);
	}
	for (uint32_t i = 0; !err && i < cnt; i++)
		err = add_request(b, set, order, i, first + i);
	b->first[set] = first;
	free(order);
	return err;
}

static int fill(struct bench *b)
{
	uint32_t first = 0;
	struct rand r;
	int err = 0;

	rand_init(&r, 42);
	for (enum set set = 0; !err && set < SET_CNT; set++) {
		err = fill_set(b, set, first, &r);
		first += sets[set].key_cnt;
	}
	return err;
}

static int open_rig(struct bench *b)
{
	struct bpf_program *targets[TARGET_CNT];
	int err;

	b->skel = packet_rig_bpf__open_and_load();
	if (!b->skel)
		return -errno;
	targets[TARGET_EMPTY] = b->skel->progs.rig_empty;
	targets[TARGET_FASTPATH] = b->skel->progs.xc_fastpath;
	targets[TARGET_NONE] = b->skel->progs.rig_guard_none;
	targets[TARGET_LOCAL] = b->skel->progs.rig_guard_local;
	targets[TARGET_LEASE] = b->skel->progs.rig_guard_lease;
	targets[TARGET_ALLOW] = b->skel->progs.rig_guard_allow;
	targets[TARGET_RATED] = b->skel->progs.xc_fastpath;
	targets[TARGET_RATE] = b->skel->progs.rig_guard_rate;
	targets[TARGET_LRU] = b->skel->progs.rig_guard_lru;
	targets[TARGET_ECHO] = b->skel->progs.rig_echo;
	for (uint32_t i = 0; i < TARGET_CNT; i++) {
		int fd = bpf_program__fd(targets[i]);

		err = bpf_map_update_elem(bpf_map__fd(b->skel->maps.rig_jump), &i, &fd, BPF_ANY);
		if (err)
			return err;
	}
	err = fastrig_open(&b->rig, b->skel->obj);
	if (err)
		return err;
	fastrig_configure(&b->rig);
	return fill(b);
}

static void aim(struct bench *b, const struct row *row, bool live)
{
	/* Never refused, never full: each request adds to its bucket. */
	b->rig.conf->rate_burst_ns = INT64_MAX;
	b->rig.conf->rate_cost_ns = row->target >= TARGET_RATED;
	/* Live frames come with both ends put back. */
	b->skel->bss->rig_front = !live && sets[row->set].value_len == 32 && !sets[row->set].asked;
	b->skel->bss->rig_len = request_len(row->set);
	b->skel->bss->rig_target = row->target;
	b->skel->bss->rig_request_first = b->first[row->set];
	b->skel->bss->rig_request_end = b->first[row->set] + sets[row->set].key_cnt;
	b->skel->bss->rig_at = b->first[row->set];
}

/* Whole cost of a run, rig included. Negative: errno. */
static double sample(struct bench *b, const struct row *row, uint32_t ifindex)
{
	uint32_t len = request_len(row->set);
	struct xdp_md ctx = { .data_end = len, .ingress_ifindex = ifindex };
	uint8_t packet[SLOT_REQUEST] = { 0 }, out[PKTGEN_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = len,
		    .repeat = ifindex ? RUNS_LIVE : RUNS);
	int err;

	if (ifindex) {
		opts.ctx_in = &ctx;
		opts.ctx_size_in = sizeof(ctx);
		opts.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
	} else {
		opts.data_out = out;
		opts.data_size_out = sizeof(out);
	}
	aim(b, row, ifindex != 0);
	err = bpf_prog_test_run_opts(bpf_program__fd(b->skel->progs.rig_enter), &opts);
	return err ? (double)err : (double)opts.duration;
}

static uint64_t counter_sum(const struct bench *b, enum xc_outcome from, enum xc_outcome to)
{
	struct xc_stats stats;
	uint64_t sum = 0;

	fastrig_stats(&b->rig, &stats);
	for (enum xc_outcome i = from; i <= to; i++)
		sum += ((uint64_t *)&stats)[i];
	return sum;
}

/* A figure for something that did not happen would be worse than none. */
static int check_row(struct bench *b, const struct row *row, uint32_t ifindex)
{
	uint64_t runs = ifindex ? RUNS_LIVE : RUNS;
	uint64_t want = row->target != TARGET_ECHO && sets[row->set].resident ? runs : 0;
	uint64_t was = counter_sum(b, XC_hit_tail, XC_hit_head);
	uint64_t hits, received;

	b->skel->bss->rig_received = 0;
	if (sample(b, row, ifindex) < 0)
		return -EIO;
	hits = counter_sum(b, XC_hit_tail, XC_hit_head) - was;
	if (hits != want) {
		fprintf(stderr, "%s: %llu hits in %llu runs\n", row->name, (unsigned long long)hits,
			(unsigned long long)runs);
		return -EIO;
	}
	usleep(10000); /* the last frames are on their way */
	received = b->skel->bss->rig_received;
	/* A few more is right: the link's own frames arrive too. */
	if (ifindex && received < runs) {
		fprintf(stderr, "%s: %llu of %llu frames arrived\n", row->name,
			(unsigned long long)received, (unsigned long long)runs);
		return -EIO;
	}
	return 0;
}

static void progress(const char *what, int round, int rounds)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%s: round %d of %d \033[K%s", what, round + 1, rounds,
			round + 1 == rounds ? "\r\033[K" : "");
}

static int measure(struct bench *b)
{
	int err;

	for (size_t i = 0; i < ROW_CNT; i++) {
		err = check_row(b, &rows[i], 0);
		if (err)
			return err;
	}
	for (int round = 0; round < b->rounds; round++) {
		progress("test runs", round, b->rounds);
		for (size_t i = 0; i < ROW_CNT; i++) {
			/* The same requests, so that fetching them is in both. */
			const struct row empty = { .target = TARGET_EMPTY, .set = rows[i].set };

			b->empty_ns[i][round] = sample(b, &empty, 0);
			b->ns[i][round] = sample(b, &rows[i], 0);
		}
	}
	return 0;
}

/* --- live frames --- */

/* A namespace that ends with this process, two ends of a wire in it, the far end counting. */
static int wire_up(struct bench *b, uint32_t *ret_ifindex)
{
	struct xc_local local = { .mtu = 1500 };
	struct xc_local_key key = { 0 };
	uint32_t near, far;

	if (unshare(CLONE_NEWNET))
		return -errno;
	if (system("ip link add xcbench0 type veth peer name xcbench1 && "
		   "ip link set xcbench0 up && ip link set xcbench1 up"))
		return -EIO;
	near = if_nametoindex("xcbench0");
	far = if_nametoindex("xcbench1");
	if (bpf_xdp_attach(far, bpf_program__fd(b->skel->progs.rig_count), XDP_FLAGS_DRV_MODE,
			   NULL))
		return -EIO;
	key.ifindex = near;
	memset(key.addr + 10, 0xff, 2);
	memcpy(key.addr + 12, pktgen_server.ip4, 4);
	memcpy(local.mac, pktgen_server.mac, 6);
	if (bpf_map_update_elem(b->rig.local_fd, &key, &local, BPF_ANY))
		return -EIO;
	*ret_ifindex = near;
	return 0;
}

static int measure_live(struct bench *b)
{
	uint32_t ifindex = 0;
	int err = wire_up(b, &ifindex);

	for (size_t i = 0; !err && i < LIVE_CNT; i++)
		err = check_row(b, &live_rows[i], ifindex);
	for (int round = 0; !err && round < b->live_rounds; round++) {
		progress("live frames", round, b->live_rounds);
		for (size_t i = 0; i < LIVE_CNT; i++)
			b->live_ns[i][round] = sample(b, &live_rows[i], ifindex);
	}
	return err;
}

/* --- results --- */

static void print_table(const struct bench *b)
{
	printf("%-32s %8s %8s %8s %8s\n", "net ns a packet (test runs)", "quiet", "median", "min",
	       "max");
	for (size_t i = 0; i < ROW_CNT; i++) {
		struct figure f = figure_of_difference(b->ns[i], b->empty_ns[i], b->rounds);

		printf("%-32s %8.0f %8.0f %8.0f %8.0f\n", rows[i].name, f.quiet, f.median, f.min,
		       f.max);
	}
	if (!b->live)
		return;
	printf("\n%-32s %8s %8s %8s %8s\n", "live frames over veth", "k/s", "min", "max",
	       "of echo");
	for (size_t i = 0; i < LIVE_CNT; i++) {
		struct figure f = figure_of(b->live_ns[i], b->live_rounds);
		double ratio[ROUNDS_MAX];

		for (int round = 0; round < b->live_rounds; round++)
			ratio[round] = b->live_ns[0][round] / b->live_ns[i][round];
		printf("%-32s %8.0f %8.0f %8.0f %8.2f\n", live_rows[i].name, 1e6 / f.median,
		       1e6 / f.max, 1e6 / f.min, figure_of(ratio, b->live_rounds).median);
	}
}

static void print_json_row(const char *id, struct figure f, bool last)
{
	printf("    \"%s\": { \"quiet\": %.1f, \"median\": %.1f, ", id, f.quiet, f.median);
	printf("\"min\": %.1f, \"max\": %.1f }%s\n", f.min, f.max, last ? "" : ",");
}

static void print_json(const struct bench *b)
{
	printf("{\n  \"rounds\": %d,\n  \"net_ns\": {\n", b->rounds);
	for (size_t i = 0; i < ROW_CNT; i++)
		print_json_row(rows[i].id,
			       figure_of_difference(b->ns[i], b->empty_ns[i], b->rounds),
			       i + 1 == ROW_CNT);
	printf("  }");
	if (b->live) {
		printf(",\n  \"live_rounds\": %d,\n  \"live_ns\": {\n", b->live_rounds);
		for (size_t i = 0; i < LIVE_CNT; i++)
			print_json_row(live_rows[i].id, figure_of(b->live_ns[i], b->live_rounds),
				       i + 1 == LIVE_CNT);
		printf("  }");
	}
	printf("\n}\n");
}

static void usage(void)
{
	puts("packet [--rounds N] [--no-live] [--json]\n"
	     "Measures the fast path's cost a packet with kernel test runs; needs root.");
}

static int options(struct bench *b, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "no-live", no_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (opt) {
		case 'r':
			b->rounds = atoi(optarg);
			break;
		case 'n':
			b->live = false;
			break;
		case 'j':
			b->json = true;
			break;
		case 'h':
			usage();
			exit(0);
		default:
			return -EINVAL;
		}
	}
	b->live_rounds = b->rounds < ROUNDS_LIVE_MAX ? b->rounds : ROUNDS_LIVE_MAX;
	return b->rounds < 1 || b->rounds > ROUNDS_MAX ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
	static struct bench b = { .rounds = ROUNDS_DEFAULT, .live = true };
	int err = options(&b, argc, argv);

	if (err) {
		usage();
		return 2;
	}
	err = open_rig(&b);
	if (!err)
		err = measure(&b);
	if (!err && b.live)
		err = measure_live(&b);
	if (!err && b.json)
		print_json(&b);
	else if (!err)
		print_table(&b);
	else
		fprintf(stderr, "packet: %s (root is needed)\n", strerror(-err));
	fastrig_close(&b.rig);
	packet_rig_bpf__destroy(b.skel);
	return err ? 1 : 0;
}
