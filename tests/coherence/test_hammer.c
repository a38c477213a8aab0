/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties, under fire: no reply of the kernel is torn (made of two versions) or foreign (another
 * key's); and once a writer has been told that its version is stored, no kernel read that begins
 * afterwards sees an older one, nor any version after an acknowledged delete.
 *
 * Method: the daemon's own rooms in this process: store, kmap, coherence, tracker and promoter on
 * a real set of maps, the real program loaded beside them. Writers replace, delete, add
 * and touch values of every size, through places that are too few for all keys, in a log so small
 * that it is reclaimed and its items moved all the while, and flush now and then. Readers ask the
 * program by BPF_PROG_TEST_RUN, one packet a run: a repeat would feed the reply back.
 *
 * A value is [key number, length, version, words that follow from these]. A writer takes the key's
 * lock, picks the next version, writes, and publishes the version as acknowledged. A reader notes
 * what is acknowledged, asks, and judges every byte of the frame: key, sums, version.
 *
 *   writers ──► store ──► coherence ──► kmap ──► xc_entry ┐
 *               │ reclaim moves, promoter links            ├──► xc_fastpath ◄── readers
 *               └──────────────► log (xc_seg) ─────────────┘
 *
 * The short form runs for 60 s and must get XC_REPLIES_MIN replies (default 2 * 10^6; two busy
 * cores still do eight times that); with XC_TEST_LONG until 10^8 replies or the
 * budget. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/wire.h"
#include "base/clock.h"
#include "base/csum.h"
#include "base/rand.h"
#include "fastpath/allow.h"
#include "fastpath/counters.h"
#include "fastpath/grace.h"
#include "fastpath/impl.h"
#include "fastpath/kmap.h"
#include "fastpath/lease.h"
#include "hotkey/tracker.h"
#include "lib/pktgen.h"
#include "lib/runopts.h"
#include "promote/coherence.h"
#include "promote/promoter.h"
#include "store/store.h"

#define KEYS 512
#define PLACES 192 /* fewer than keys: places change hands */
#define LOG_BYTES (2ULL * XC_EXTENT_SIZE)
#define COLD_KEYS 30000 /* fill the log: segments with some life in them are cleaned, not freed */
#define WRITERS 2
#define READERS 2
#define VALUE_MAX 1900 /* some do not fit the kernel */
#define SHORT_SEC 60
#define REPLIES_LONG 100000000ULL
#define REPLIES_MIN 2000000ULL
#define HEADERS (14 + 20 + 8)

struct key {
	pthread_mutex_t lock; /* orders this key's writers, and with it its versions */
	uint64_t version;     /* the last one written */
	/* what a read that begins now may not go below; one more than the last when deleted */
	_Atomic uint64_t acked;
	uint64_t hash;
	char text[32];
	uint8_t len;
};

struct header {
	uint32_t key;
	uint32_t len;
	uint64_t version;
};

static struct key keys[KEYS];
static struct fastpath *fp;
static struct store *store;
static struct kmap *kmap;
static struct tracker *tracker;
static struct promoter *promoter;
static struct lease lease;
static char pin_root[64];

static struct pktgen_packet requests[KEYS];
static _Atomic bool stop_writing, stop_reading;
static _Atomic uint32_t popular; /* first of the keys that are hot now */
static _Atomic uint64_t reads, replies, writes, deletes, flushes, torn, foreign, stale, bad;

/* --- values --- */

static uint64_t word_of(const struct header *h, uint32_t at)
{
	uint64_t x = (h->version * KEYS + h->key) * 0x9e3779b97f4a7c15ULL + at;

	x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9ULL;
	return x ^ x >> 29;
}

/* Behind the header words, the last one cut: whoever knows the header knows every byte. */
static void value_fill(const struct header *h, uint8_t *to)
{
	memcpy(to, h, sizeof(*h));
	for (uint32_t at = sizeof(*h); at < h->len; at += 8) {
		uint64_t word = word_of(h, at);

		memcpy(to + at, &word, h->len - at < 8 ? h->len - at : 8);
	}
}

static bool value_whole(const struct header *h, const uint8_t *value)
{
	for (uint32_t at = sizeof(*h); at < h->len; at += 8) {
		uint64_t word = word_of(h, at);

		if (memcmp(value + at, &word, h->len - at < 8 ? h->len - at : 8) != 0)
			return false;
	}
	return true;
}

/* --- writers --- */

static uint32_t pick_key(struct rand *r)
{
	/* three in four go to a quarter of the keys, which is another one every few seconds */
	if (rand_below(r, 4))
		return (atomic_load_explicit(&popular, memory_order_relaxed) +
			(uint32_t)rand_below(r, KEYS / 4)) %
		       KEYS;
	return (uint32_t)rand_below(r, KEYS);
}

static uint32_t pick_len(struct rand *r)
{
	switch (rand_below(r, 8)) {
	case 0:
		return sizeof(struct header);
	case 1:
		return sizeof(struct header) +
		       (uint32_t)rand_below(r, VALUE_MAX - sizeof(struct header));
	default:
		return sizeof(struct header) + (uint32_t)rand_below(r, 400);
	}
}

/* Writes may have to wait for reclaim; nothing else may refuse them. */
static bool retry(struct store_thread *t, enum store_status status)
{
	if (status != STORE_AGAIN)
		return false;
	store_wait(t, 5 * NSEC_PER_SEC);
	return true;
}

static void write_value(struct store_thread *t, struct key *key, uint32_t number, struct rand *r)
{
	uint8_t value[VALUE_MAX];
	enum store_status status;
	struct header h = { .key = number, .version = key->version + 1, .len = pick_len(r) };
	struct store_put put = { .key = span_of(key->text, key->len),
				 .hash = key->hash,
				 .flags = number,
				 .expire_ns = rand_below(r, 3) ? 0
							       : clock_now_ns(clock_system()) +
									 3600 * NSEC_PER_SEC };
	uint32_t split;

	value_fill(&h, value);
	/* one in four as two versions, the first of which nobody is told of */
	split = rand_below(r, 4) || h.len == sizeof(h) ? 0 : (uint32_t)(h.len - sizeof(h)) / 2;
	if (split == 0) {
		while (retry(t, store_put(t, &put, span_of(value, h.len), NULL)))
			;
	} else {
		struct header part = { .key = number, .version = h.version, .len = h.len - split };
		uint64_t cas;

		value_fill(&part, value);
		while (retry(t, store_put(t, &put, span_of(value, part.len), &cas)))
			;
		part.version++;
		h.version += 2;
		value_fill(&h, value);
		put.mode = STORE_CAS;
		put.cas = cas;
		do {
			status = store_put(t, &put, span_of(value, h.len), NULL);
		} while (retry(t, status));
		/* between the two it may have been evicted or flushed; nobody else wrote */
		if (status != STORE_OK && status != STORE_NOT_FOUND)
			atomic_fetch_add(&bad, 1);
	}
	key->version = h.version;
	atomic_store(&key->acked, h.version);
}

static void remove_value(struct store_thread *t, struct key *key)
{
	store_remove(t, span_of(key->text, key->len), key->hash, 0);
	/* nothing may be seen until the next version */
	key->version++;
	atomic_store(&key->acked, key->version);
	atomic_fetch_add_explicit(&deletes, 1, memory_order_relaxed);
}

/*
 * Nobody reads these; but whatever lies in a segment with them has to move when it is reclaimed.
 */
static void write_cold(struct store_thread *t, struct rand *r)
{
	char text[32];
	struct span key = span_of(text, (size_t)snprintf(text, sizeof(text), "cold-%u",
							 (uint32_t)rand_below(r, COLD_KEYS)));
	struct store_put put = { .key = key, .hash = store_hash(store, key) };
	uint8_t value[400] = { 0 };

	while (retry(t, store_put(t, &put, span_of(value, rand_below(r, sizeof(value))), NULL)))
		;
}

/* Same version in another place of the log. */
static void touch_value(struct store_thread *t, struct key *key)
{
	while (retry(t, store_touch(t, span_of(key->text, key->len), key->hash,
				    clock_now_ns(clock_system()) + 1800 * NSEC_PER_SEC, NULL)))
		;
}

static void flush(struct store_thread *t)
{
	uint64_t before[KEYS];

	for (uint32_t i = 0; i < KEYS; i++)
		before[i] = atomic_load(&keys[i].acked);
	store_flush(t);
	/* what was there at the call is gone at the return */
	store_offline(t);
	for (uint32_t i = 0; i < KEYS; i++) {
		pthread_mutex_lock(&keys[i].lock);
		if (keys[i].version == before[i])
			atomic_store(&keys[i].acked, ++keys[i].version);
		pthread_mutex_unlock(&keys[i].lock);
	}
	store_online(t);
	atomic_fetch_add(&flushes, 1);
}

static void *writer_main(void *arg)
{
	uint32_t idx = (uint32_t)(uintptr_t)arg;
	struct store_thread *t = store_thread_new(store);
	struct tracker_ring *ring = tracker_ring(tracker, idx);
	struct rand r;

	rand_init(&r, runopts_seed() + 100 + idx);
	while (!atomic_load_explicit(&stop_writing, memory_order_relaxed)) {
		uint32_t number = pick_key(&r);
		struct key *key = &keys[number];

		/* The daemon's own reads are what makes a key hot. */
		for (int i = 0; i < 4; i++)
			tracker_sample_read(ring, span_of(key->text, key->len), key->hash);
		/* One key in four is read and hardly ever written: those are what reclaim moves. */
		if (number % 4 == 0 && rand_below(&r, 500))
			continue;
		/* The holder may wait for reclaim, and reclaim for us. */
		store_offline(t);
		pthread_mutex_lock(&key->lock);
		store_online(t);
		switch (rand_below(&r, 10)) {
		case 0:
			remove_value(t, key);
			break;
		case 1:
			touch_value(t, key);
			break;
		default:
			write_value(t, key, number, &r);
			break;
		}
		store_quiesce(t);
		pthread_mutex_unlock(&key->lock);
		if (rand_below(&r, 4) == 0)
			write_cold(t, &r);
		if (rand_below(&r, 300000) == 0)
			flush(t);
		atomic_fetch_add_explicit(&writes, 1, memory_order_relaxed);
	}
	store_thread_free(t);
	return NULL;
}

/* --- readers --- */

static void complain(_Atomic uint64_t *counter, const char *what, uint32_t number,
		     const uint8_t *frame, uint32_t len)
{
	if (atomic_fetch_add(counter, 1) > 4)
		return;
	printf("%s: key %u, frame of %u bytes:", what, number, len);
	for (uint32_t i = HEADERS; i < len && i < HEADERS + 120; i++)
		printf(frame[i] > ' ' && frame[i] < 0x7f ? "%c" : "\\x%02x", frame[i]);
	printf("\n");
	fflush(stdout);
}

/* Sum over pseudo header and datagram comes to all ones. */
static bool udp_sum_right(const uint8_t *frame, uint32_t len)
{
	uint32_t udp_len = len - 14 - 20;
	const uint8_t pseudo[4] = { 0, 17, (uint8_t)(udp_len >> 8), (uint8_t)udp_len };
	uint64_t sum = (uint64_t)csum_of(frame + 26, 8) + csum_of(pseudo, 4) +
		       csum_of(frame + 34, udp_len);

	return csum_fold(sum) == 0xffff;
}

static void judge(uint32_t number, uint64_t floor, const uint8_t *frame, uint32_t len)
{
	const struct key *key = &keys[number];
	const uint8_t *text = frame + HEADERS + sizeof(struct xc_udp_frame), *value;
	char line[96];
	struct header h;
	const uint8_t *line_end;
	int line_len;

	line_end = memmem(text, len - (uint32_t)(text - frame), "\r\n", 2);
	value = line_end ? line_end + 2 : NULL;
	if (!value || value + sizeof(h) + 7 > frame + len) {
		complain(&bad, "not a reply", number, frame, len);
		return;
	}
	memcpy(&h, value, sizeof(h));
	if (h.key != number) {
		complain(&foreign, "foreign", number, frame, len);
		return;
	}
	line_len = snprintf(line, sizeof(line), "VALUE %s %u %u", key->text, number, h.len);
	if (line_end - text != line_len || memcmp(text, line, (size_t)line_len) != 0 ||
	    value + h.len + 7 != frame + len || memcmp(value + h.len, "\r\nEND\r\n", 7) != 0 ||
	    !value_whole(&h, value) || !udp_sum_right(frame, len)) {
		complain(&torn, "torn", number, frame, len);
		return;
	}
	if (h.version < floor) {
		printf("version %llu, acknowledged before the read: %llu\n",
		       (unsigned long long)h.version, (unsigned long long)floor);
		complain(&stale, "stale", number, frame, len);
	}
}

static void *reader_main(void *arg)
{
	int prog_fd = bpf_program__fd(fp->skel->progs.xc_fastpath);
	uint8_t out[PKTGEN_MAX];
	uint64_t read_cnt = 0, reply_cnt = 0;
	struct rand r;

	rand_init(&r, runopts_seed() + 200 + (uint64_t)(uintptr_t)arg);
	while (!atomic_load_explicit(&stop_reading, memory_order_relaxed)) {
		uint32_t number = pick_key(&r);
		uint64_t floor = atomic_load(&keys[number].acked);
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = requests[number].bytes,
			    .data_size_in = requests[number].len, .data_out = out,
			    .data_size_out = sizeof(out), .repeat = 1);

		if (bpf_prog_test_run_opts(prog_fd, &opts)) {
			complain(&bad, strerror(errno), number, out, 0);
			break;
		}
		read_cnt++;
		if (opts.retval == XDP_TX) {
			reply_cnt++;
			judge(number, floor, out, opts.data_size_out);
		} else if (opts.retval != XDP_PASS) {
			complain(&bad, "dropped", number, out, opts.data_size_out);
		}
		if (read_cnt % 1024 == 0) {
			atomic_fetch_add(&reads, 1024);
			atomic_fetch_add(&replies, reply_cnt);
			reply_cnt = 0;
		}
	}
	return NULL;
}

/* --- set-up --- */

static void grace(void *ctx)
{
	(void)ctx;
	grace_wait();
}

static void setup_keys(void)
{
	static const struct pktgen_host here = { .ip4 = { 127, 0, 0, 1 } };

	for (uint32_t i = 0; i < KEYS; i++) {
		struct pktgen_request request = { .from = &here, .to = &here };
		struct key *key = &keys[i];
		char text[64];

		pthread_mutex_init(&key->lock, NULL);
		/* lengths of every remainder by eight */
		key->len = (uint8_t)snprintf(key->text, sizeof(key->text), "key-%u-%.*s", i,
					     (int)(i % 13), "abcdefghijklm");
		key->hash = store_hash(store, span_of(key->text, key->len));
		request.text = span_of(
			text, (size_t)snprintf(text, sizeof(text), "get %s\r\n", key->text));
		pktgen_request(&request, &requests[i]);
	}
}

static int setup_maps(void)
{
	struct fastpath_options options = { .pin_root = pin_root,
					    .instance = "hammer",
					    .xdp_mode = XDP_MODE_OFF,
					    .entry_cnt = PLACES,
					    .log_bytes = LOG_BYTES };
	struct xc_local_key where = { .ifindex = 1,
				      .addr = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	struct xc_local local = { .mtu = 1500, .flags = XC_LOCAL_ANY_MAC };
	int err = fastpath_open(&options, &fp);

	if (!err)
		err = grace_open(fp->maps.seg_fd);
	if (!err)
		err = allow_apply(&fp->maps, NULL, 0);
	if (!err)
		err = lease_init(&lease, fp, 10000);
	if (!err)
		err = lease_renew(&lease, clock_now_ns(clock_system()));
	if (!err)
		err = bpf_map_update_elem(fp->maps.local_fd, &where, &local, BPF_ANY);
	if (!err)
		fp->maps.conf->port_be = htons(PKTGEN_SERVER_PORT);
	return err;
}

static int setup_rooms(void)
{
	struct store_options options = {
		.log = { .base = fp->maps.log_base, .bytes = fp->maps.log_bytes, .grace = grace },
		.index_bytes_max = 4 << 20,
		.item_max = 1 << 20,
		.thread_max = WRITERS + 3,
		.clock = clock_system()
	};
	struct kmap_options places = { .hot_fd = fp->maps.hot_fd,
				       .entries = fp->maps.entries,
				       .uses = fp->maps.uses,
				       .filter = fp->maps.filter,
				       .conf = fp->maps.conf,
				       .entry_cnt = fp->maps.entry_cnt,
				       .log_base = fp->maps.log_base,
				       .log_bytes = fp->maps.log_bytes };
	struct tracker_options track = {
		.key_cnt = KEYS, .ring_cnt = WRITERS, .half_life_ms = 500, .clock = clock_system()
	};
	struct promoter_options promote = {
		.clock = clock_system(), .entry_max = PLACES, .threshold = 1, .grace = grace
	};
	struct store_watcher watcher;
	int err;

	store = store_new(&options, &err);
	if (!store)
		return err;
	err = kmap_new(&places, &kmap);
	if (err)
		return err;
	kmap_flush(kmap, store_flush_gen(store));
	watcher = coherence_watcher(kmap);
	err = store_watch(store, &watcher);
	tracker = tracker_new(&track);
	if (err || !tracker)
		return -ENOMEM;
	promote.store = store;
	promote.kmap = kmap;
	promote.tracker = tracker;
	err = promoter_start(&promote, &promoter);
	return err ? err : store_reclaim_start(store);
}

/* Pins outlive the process. */
static void on_abort(int number)
{
	fastpath_unload(pin_root, "hammer", true);
	rmdir(pin_root);
	signal(number, SIG_DFL);
	raise(number);
}

static int setup(void **state)
{
	(void)state;
	snprintf(pin_root, sizeof(pin_root), "/sys/fs/bpf/xdpcache-hammer-%d", getpid());
	signal(SIGABRT, on_abort);
	if (setup_maps() || setup_rooms())
		return -1;
	setup_keys();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	promoter_stop(promoter);
	store_free(store);
	tracker_free(tracker);
	kmap_free(kmap);
	fastpath_close(fp);
	if (fastpath_unload(pin_root, "hammer", true))
		return -1;
	return rmdir(pin_root) && errno != ENOENT ? -1 : 0;
}

/* --- the run --- */

static void report(double sec)
{
	struct store_counts counts;
	struct xc_stats stats;

	store_counts(store, &counts);
	counters_read(fp->maps.stats_fd, &stats);
	printf("%5.1f s: %llu reads, %llu replies, %llu writes, %llu deletes, %llu flushes; "
	       "%llu items moved, %llu evicted, %llu segments reclaimed, %u places given up; "
	       "passed: "
	       "vacant %llu, busy %llu, other key %llu\n",
	       sec, (unsigned long long)reads, (unsigned long long)replies,
	       (unsigned long long)writes, (unsigned long long)deletes, (unsigned long long)flushes,
	       (unsigned long long)counts.moved_cnt, (unsigned long long)counts.evicted_cnt,
	       (unsigned long long)counts.reclaimed_segment_cnt, kmap_removed_cnt(kmap),
	       (unsigned long long)stats.pass_vacant, (unsigned long long)stats.pass_busy,
	       (unsigned long long)stats.pass_other_key);
	fflush(stdout);
}

/* Renews the lease, moves popularity on, until time is up or enough was read. */
static void conduct(uint64_t replies_enough, uint64_t budget_ns)
{
	uint64_t started_ns = clock_now_ns(clock_system()), now_ns = started_ns;
	uint64_t next_report_ns = started_ns + budget_ns / 6;
	uint64_t round = 0;

	while (now_ns - started_ns < budget_ns && replies < replies_enough && !torn && !foreign &&
	       !stale && !bad) {
		usleep(100000);
		now_ns = clock_now_ns(clock_system());
		assert_int_equal(lease_renew(&lease, now_ns), 0);
		if (++round % 30 == 0)
			atomic_store(&popular, (uint32_t)(round * 17 % KEYS));
		if (now_ns >= next_report_ns) {
			report((double)(now_ns - started_ns) / NSEC_PER_SEC);
			next_report_ns += budget_ns / 6;
		}
	}
	report((double)(now_ns - started_ns) / NSEC_PER_SEC);
}

static void hammer_writers_and_reads_nothing_torn_foreign_or_stale(void **state)
{
	uint64_t budget_ns = runopts_budget_sec(SHORT_SEC) * NSEC_PER_SEC;
	uint64_t enough = runopts_long() ? REPLIES_LONG : UINT64_MAX;
	uint64_t floor = REPLIES_MIN * budget_ns / (SHORT_SEC * NSEC_PER_SEC);
	pthread_t writers[WRITERS], readers[READERS];
	struct store_counts counts;
	struct xc_stats stats;

	(void)state;
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, writer_main, (void *)i), 0);
	for (uintptr_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, reader_main, (void *)i), 0);
	conduct(enough, budget_ns);
	atomic_store(&stop_writing, true);
	atomic_store(&stop_reading, true);
	for (uint32_t i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	for (uint32_t i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(torn, 0);
	assert_int_equal(foreign, 0);
	assert_int_equal(stale, 0);
	assert_int_equal(bad, 0);
	/*
	 * An entry named bytes of another key: that would be a place or a piece of log given away
	 * before its readers were done.
	 */
	counters_read(fp->maps.stats_fd, &stats);
	assert_int_equal(stats.pass_other_key, 0);
	assert_int_equal(stats.pass_log, 0);
	/* and it was a hammer */
	store_counts(store, &counts);
	floor = floor < REPLIES_LONG ? floor : REPLIES_LONG;
	assert_true(replies >= runopts_number("XC_REPLIES_MIN", floor));
	assert_true(writes > replies / 100);
	assert_true(deletes > 1000 && flushes > 0);
	assert_true(counts.moved_cnt > 10000 && counts.reclaimed_segment_cnt > 1000);
	assert_true(kmap_removed_cnt(kmap) > PLACES / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hammer_writers_and_reads_nothing_torn_foreign_or_stale),
	};

	return cmocka_run_group_tests_name("coherence/hammer", tests, setup, teardown);
}
