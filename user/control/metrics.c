/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every sum is exact, but that the kernel's share by route comes a tenth of a second late. A
 * counter is never made from a difference of two that run on meanwhile: it could go back by one,
 * which readers take for a restart.
 */
#include "control/metrics.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "command/command.h"
#include "control/stats.h"
#include "fastpath/counters.h"
#include "promote/promoter.h"
#include "route/routes.h"
#include "store/store.h"

static double seconds(uint64_t ns)
{
	return (double)ns / (double)NSEC_PER_SEC;
}

/* The sum of counters that are read one after the other; it must not be seen to go back. */
static uint64_t counter_of(uint64_t *shown, uint64_t value)
{
	if (value > *shown)
		*shown = value;
	return *shown;
}

static void add_process(const struct control_sources *s, struct metrics_page *page)
{
	uint64_t up_ns = clock_now_ns(s->clock) - s->start_ns;

	metrics_family(page, METRICS_GAUGE, "xdpcache_build_info",
		       "Always 1; the labels say what runs.");
	metrics_u64(page, 1, "version", XC_VERSION);
	metrics_family(page, METRICS_GAUGE, "xdpcache_start_time_seconds",
		       "When this process began, Unix time.");
	metrics_double(page, seconds(clock_wall_ns(s->clock) - up_ns), NULL);
	metrics_family(page, METRICS_GAUGE, "xdpcache_threads", "Threads that serve.");
	metrics_u64(page, s->thread_cnt, NULL);
}

/* --- requests --------------------------------------------------------------------------------- */

static void request(struct metrics_page *page, const char *op, const char *tier, const char *result,
		    uint64_t cnt)
{
	metrics_u64(page, cnt, "op", op, "tier", tier, "result", result);
}

static void add_requests(struct control_metrics *m, struct metrics_page *page,
			 const struct command_counts *c, const struct control_fastpath *fp)
{
	metrics_family(page, METRICS_COUNTER, "xdpcache_requests",
		       "Requests, one for each key; result negative: answered as known absent.");
	request(page, "get", "daemon", "hit", c->get_hits);
	request(page, "get", "daemon", "miss", c->get_misses);
	request(page, "set", "daemon", "done", c->cmd_set);
	request(page, "delete", "daemon", "hit", c->delete_hits);
	request(page, "delete", "daemon", "miss", c->delete_misses);
	request(page, "incr", "daemon", "hit", c->incr_hits);
	request(page, "incr", "daemon", "miss", c->incr_misses);
	request(page, "decr", "daemon", "hit", c->decr_hits);
	request(page, "decr", "daemon", "miss", c->decr_misses);
	request(page, "touch", "daemon", "hit", c->touch_hits);
	request(page, "touch", "daemon", "miss", c->touch_misses);
	request(page, "flush", "daemon", "done", c->cmd_flush);
	if (fp) {
		request(page, "get", "kernel", "hit",
			counter_of(&m->kernel_hits, counters_hits(&fp->stats)));
		request(page, "get", "kernel", "negative", counters_absent(&fp->stats));
	}
	metrics_family(page, METRICS_COUNTER, "xdpcache_cas",
		       "Of the sets, those with a cas unique, by what became of them.");
	metrics_u64(page, c->cas_hits, "result", "stored");
	metrics_u64(page, c->cas_badval, "result", "conflict");
	metrics_u64(page, c->cas_misses, "result", "absent");
	metrics_family(page, METRICS_COUNTER, "xdpcache_store_errors", "Values that were refused.");
	metrics_u64(page, c->store_too_large, "reason", "too_large");
	metrics_u64(page, c->store_no_memory, "reason", "no_memory");
}

static void add_durations(const struct control_sources *s, struct metrics_page *page)
{
	static const char *const names[] = {
#define X(name, text) text,
		COMMAND_OPS(X)
#undef X
	};
	struct histogram *h = alloc_zero(1, sizeof(*h));

	if (!h)
		return;
	metrics_family(page, METRICS_HISTOGRAM, "xdpcache_request_duration_seconds",
		       "From the wake-up for a request to its reply, in the daemon.");
	for (uint32_t op = 0; op < COMMAND_OP_CNT; op++) {
		histogram_init(h);
		s->durations(s->ctx, op, h);
		metrics_durations(page, h, "op", names[op]);
	}
	alloc_free(h);
}

static void kernel_times(struct metrics_page *page, const __u64 times[XC_TIME_BUCKETS],
			 const char *result)
{
	/* One end for each doubling: at XC_TIME_SUB buckets each. */
	uint64_t ends_ns[XC_TIME_BUCKETS / XC_TIME_SUB - 1],
		cnts[XC_TIME_BUCKETS / XC_TIME_SUB - 1];
	struct metrics_buckets buckets = { .ends_ns = ends_ns, .cnts = cnts };

	for (uint32_t b = 0; b < XC_TIME_BUCKETS; b++) {
		if (b > 0 && b % XC_TIME_SUB == 0) {
			ends_ns[buckets.bucket_cnt] = xc_time_bucket_ns(b);
			cnts[buckets.bucket_cnt++] = buckets.cnt;
		}
		buckets.cnt += times[b];
		buckets.sum_ns += times[b] * (xc_time_bucket_ns(b) + xc_time_bucket_ns(b + 1)) / 2;
	}
	metrics_buckets(page, &buckets, "result", result);
}

static void add_kernel_times(struct metrics_page *page, const struct control_fastpath *fp)
{
	if (!fp)
		return;
	metrics_family(
		page, METRICS_HISTOGRAM, "xdpcache_kernel_program_seconds",
		"Time in the driver's program, of a sample of requests; sums are estimated.");
	kernel_times(page, fp->stats.hit_times, "answered");
	kernel_times(page, fp->stats.other_times, "other");
}

static void route_rows(struct metrics_page *page, const char *name, const struct tally *sum)
{
	static const struct {
		const char *op, *tier, *result;
	} rows[TALLY_EVENT_CNT] = {
		[TALLY_HIT] = { "get", "daemon", "hit" },
		[TALLY_MISS] = { "get", "daemon", "miss" },
		[TALLY_SET] = { "set", "daemon", "done" },
		[TALLY_DELETE] = { "delete", "daemon", "done" },
		[TALLY_KERNEL_HIT] = { "get", "kernel", "hit" },
		[TALLY_KERNEL_ABSENT] = { "get", "kernel", "negative" },
	};

	for (int event = 0; event < TALLY_EVENT_CNT; event++)
		metrics_u64(page, sum->cnt[event], "route", name, "op", rows[event].op, "tier",
			    rows[event].tier, "result", rows[event].result);
}

/* A prefix is shown with a star behind it, so that none can look like the row of the others. */
static void add_routes(const struct control_metrics *m, struct metrics_page *page)
{
	struct swap_item *held = NULL;
	struct tally others = { .cnt = { 0 } }, sum;
	const struct routes *routes;
	char name[XC_KEY_MAX + 2];

	swap_pick(m->sources->routes, &held);
	routes = routes_of(held);
	if (routes)
		metrics_family(page, METRICS_COUNTER, "xdpcache_route_requests",
			       "Requests by route, one for each key.");
	for (uint32_t i = 0; routes && i < routes->cnt; i++) {
		struct span prefix = routes->all[i].rule.prefix;

		routes_total(routes, &routes->all[i], &sum);
		if (i < m->route_max) {
			snprintf(name, sizeof(name), "%.*s*", (int)prefix.len,
				 (const char *)prefix.ptr);
			route_rows(page, name, &sum);
			continue;
		}
		for (int event = 0; event < TALLY_EVENT_CNT; event++)
			others.cnt[event] += sum.cnt[event];
	}
	if (routes && routes->cnt > m->route_max)
		route_rows(page, "(others)", &others);
	swap_drop(m->sources->routes, &held);
}

/* --- connections and refusals ----------------------------------------------------------------- */

static void add_connections(struct metrics_page *page, const struct command_counts *c,
			    const struct control_fastpath *fp)
{
	metrics_family(page, METRICS_GAUGE, "xdpcache_connections", "Connections that are open.");
	metrics_u64(page, c->conn_opened > c->conn_closed ? c->conn_opened - c->conn_closed : 0,
		    NULL);
	metrics_family(page, METRICS_COUNTER, "xdpcache_connection_events",
		       "What happened to connections.");
#define X(field, name) metrics_u64(page, c->field, "event", name);
	X(conn_opened, "opened")
	X(conn_closed, "closed")
	X(conn_rejected, "rejected")
	X(listen_disabled, "no_descriptor")
	X(idle_kicks, "idle_closed")
	X(conn_no_memory, "unread_closed")
	X(upload_stalled, "upload_closed")
	X(upload_waits, "upload_waited")
	X(conn_yields, "yielded")
	X(auth_cmds, "authenticated")
	X(auth_errors, "authentication_failed")
	X(ssl_handshake_errors, "tls_handshake_failed")
	X(ssl_handshake_timeouts, "tls_handshake_timed_out")
	X(ssl_proto_errors, "tls_broken")
#undef X
	metrics_family(page, METRICS_COUNTER, "xdpcache_network_bytes",
		       "Bytes of requests and replies; the kernel counts its replies alone.");
	metrics_u64(page, c->bytes_read, "direction", "in", "tier", "daemon");
	metrics_u64(page, c->bytes_written, "direction", "out", "tier", "daemon");
	if (fp)
		metrics_u64(page, fp->stats.reply_bytes, "direction", "out", "tier", "kernel");
	metrics_family(page, METRICS_COUNTER, "xdpcache_datagrams",
		       "Datagrams that the daemon took as requests.");
	metrics_u64(page, c->udp_requests, NULL);
}

static void add_drops(struct metrics_page *page, const struct command_counts *c,
		      const struct control_fastpath *fp)
{
	metrics_family(page, METRICS_COUNTER, "xdpcache_drops",
		       "Datagrams that ended without the reply they were for.");
#define X(field, name) metrics_u64(page, c->field, "tier", "daemon", "reason", name);
	X(udp_refused, "not_allowed")
	X(udp_malformed, "malformed")
	X(udp_unknown, "unknown_command")
	X(udp_multi_packet, "multi_packet")
	X(udp_send_dropped, "not_sent")
#undef X
	for (int i = 0; fp && i < XC_OUTCOME_CNT; i++) {
		const char *name = counters_name((enum xc_outcome)i);

		if (!strncmp(name, "drop_", 5))
			metrics_u64(page, ((const __u64 *)&fp->stats)[i], "tier", "kernel",
				    "reason", name + 5);
	}
}

/* --- items and memory ------------------------------------------------------------------------- */

static void add_items(struct metrics_page *page, const struct store_counts *s)
{
	metrics_family(page, METRICS_GAUGE, "xdpcache_items", "Items in the store.");
	metrics_u64(page, s->item_cnt, NULL);
	metrics_family(page, METRICS_GAUGE, "xdpcache_payload_bytes",
		       "Keys and values of these items.");
	metrics_u64(page, s->key_value_bytes, NULL);
	metrics_family(page, METRICS_COUNTER, "xdpcache_items_stored", "Items ever stored.");
	metrics_u64(page, s->total_items, NULL);
	metrics_family(page, METRICS_COUNTER, "xdpcache_items_removed",
		       "Items removed to make room, or since their TTL ran out.");
	metrics_u64(page, s->evicted_cnt, "reason", "evicted");
	metrics_u64(page, s->expired_cnt, "reason", "expired");
	metrics_family(page, METRICS_COUNTER, "xdpcache_items_removed_unread",
		       "Of those, items that nobody had read.");
	metrics_u64(page, s->evicted_unfetched_cnt, "reason", "evicted");
	metrics_u64(page, s->expired_unfetched_cnt, "reason", "expired");
	metrics_family(page, METRICS_COUNTER, "xdpcache_segments_reclaimed",
		       "Segments of the log that were emptied for reuse.");
	metrics_u64(page, s->reclaimed_segment_cnt, NULL);
	metrics_family(page, METRICS_COUNTER, "xdpcache_moved_bytes",
		       "Bytes of items that outlived the reclaim of their segment.");
	metrics_u64(page, s->moved_bytes, NULL);
	metrics_family(page, METRICS_GAUGE, "xdpcache_restart_items",
		       "Items of an earlier process, by what became of them at the start.");
	metrics_u64(page, s->recovered_cnt, "result", "recovered");
	metrics_u64(page, s->dropped_cnt, "result", "dropped");
}

static void memory_row(struct metrics_page *page, const char *kind, uint64_t bytes)
{
	metrics_u64(page, bytes, "kind", kind);
}

/* Kinds add up to the total. */
static void add_memory(struct metrics_page *page, const struct command_memory *m,
		       const struct store_counts *s)
{
	uint64_t used = m->log > m->log_free ? m->log - m->log_free : 0;
	uint64_t live = s->item_bytes < used ? s->item_bytes : used;

	metrics_family(page, METRICS_GAUGE, "xdpcache_memory_limit_bytes",
		       "-m, or the last cache_memlimit.");
	metrics_u64(page, m->limit, NULL);
	metrics_family(page, METRICS_GAUGE, "xdpcache_memory_bytes",
		       "Memory in use by kind; their sum is what the limit is for.");
	memory_row(page, "log_live", live);
	memory_row(page, "log_dead", used - live);
	memory_row(page, "log_free", m->log - used);
	memory_row(page, "index", m->index);
	memory_row(page, "heap", m->heap > m->tls ? m->heap - m->tls : 0);
	memory_row(page, "tls", m->tls < m->heap ? m->tls : m->heap);
	memory_row(page, "program", m->program);
	memory_row(page, "kernel_maps", m->kernel);
	metrics_family(page, METRICS_GAUGE, "xdpcache_memory_fragmentation_ratio",
		       "Of the log's bytes in segments in use, those without a live item.");
	metrics_double(page, used ? (double)(used - live) / (double)used : 0, NULL);
}

/* --- fast path -------------------------------------------------------------------------------- */

static void add_lease(const struct control_sources *s, struct metrics_page *page,
		      const struct control_fastpath *fp)
{
	static const char *const states[] = { "native", "generic", "mixed", "off", "orphaned" };
	uint64_t now_ns = clock_now_ns(s->clock);
	const char *now = stats_fastpath_state(fp, now_ns);

	metrics_family(page, METRICS_GAUGE, "xdpcache_fastpath_state",
		       "1 at the state that the kernel's program is in, 0 at the others.");
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		metrics_u64(page, !strcmp(states[i], now), "state", states[i]);
	metrics_family(page, METRICS_GAUGE, "xdpcache_fastpath_lease_seconds",
		       "How long the kernel would serve on without the daemon.");
	metrics_double(page, fp->serve_until_ns > now_ns ? seconds(fp->serve_until_ns - now_ns) : 0,
		       NULL);
	metrics_family(page, METRICS_GAUGE, "xdpcache_fastpath_owner_epoch",
		       "Daemons that the pinned maps have had.");
	metrics_u64(page, fp->owner_epoch, NULL);
	metrics_family(page, METRICS_GAUGE, "xdpcache_fastpath_interface_info",
		       "Always 1; how each interface answers.");
	for (uint32_t i = 0; i < fp->interface_cnt; i++)
		metrics_u64(page, 1, "interface", fp->interfaces[i].name, "mode",
			    stats_mode_name(fp->interfaces[i].mode), "tc",
			    fp->interfaces[i].tc ? "yes" : "no");
}

static void add_fastpath(const struct control_sources *s, struct metrics_page *page,
			 const struct control_fastpath *fp)
{
	add_lease(s, page, fp);
	metrics_family(page, METRICS_GAUGE, "xdpcache_fastpath_entries",
		       "Keys resident in the kernel.");
	metrics_u64(page, fp->entry_cnt, NULL);
	metrics_family(page, METRICS_GAUGE, "xdpcache_fastpath_entries_max",
		       "Keys that the kernel has places for.");
	metrics_u64(page, fp->entry_max, NULL);
	metrics_family(page, METRICS_COUNTER, "xdpcache_fastpath_packets",
		       "Packets that the kernel's program saw, by how it let go of them.");
	for (int i = 0; i < XC_OUTCOME_CNT; i++)
		metrics_u64(page, ((const __u64 *)&fp->stats)[i], "outcome",
			    counters_name((enum xc_outcome)i));
}

/* --- hot keys --------------------------------------------------------------------------------- */

/* Keys hold any bytes but NUL is none of a text's: what is behind it is left out, as it is rare. */
static void key_label(const struct control_metrics *m, const struct promoter_row *row,
		      char ret[XC_KEY_MAX + 1])
{
	if (m->hash_keys) {
		snprintf(ret, XC_KEY_MAX + 1, "%016llx",
			 (unsigned long long)XXH3_64bits(row->key, row->key_len));
		return;
	}
	memcpy(ret, row->key, row->key_len);
	ret[row->key_len] = '\0';
}

static void add_hot(const struct control_metrics *m, struct metrics_page *page)
{
	const struct control_sources *s = m->sources;
	struct promoter_row *rows = alloc_zero(m->hot_max, sizeof(*rows));
	struct promoter_budget budget;
	char key[XC_KEY_MAX + 1];
	uint32_t cnt;

	promoter_budget(s->promoter, &budget);
	metrics_family(page, METRICS_GAUGE, "xdpcache_hot_resident_keys",
		       "Keys that the promoter keeps in the kernel.");
	metrics_u64(page, budget.resident_cnt, NULL);
	metrics_family(page, METRICS_COUNTER, "xdpcache_hot_samples_dropped",
		       "Samples of requests that hot keys were ranked without.");
	metrics_u64(page, s->samples_dropped(s->ctx), NULL);
	if (!rows)
		return;
	cnt = promoter_list(s->promoter, rows, m->hot_max);
	metrics_family(page, METRICS_GAUGE, "xdpcache_hot_key_reads_per_second",
		       "Reads of the hottest keys, estimated from samples.");
	for (uint32_t i = 0; i < cnt; i++) {
		key_label(m, &rows[i], key);
		metrics_double(page, rows[i].read_rate, "key", key, "tier", "daemon");
		metrics_double(page, rows[i].kernel_rate, "key", key, "tier", "kernel");
	}
	alloc_free(rows);
}

void control_metrics(void *ctx, struct metrics_page *page)
{
	struct control_metrics *m = ctx;
	const struct control_sources *s = m->sources;
	struct control_fastpath state, *fp = NULL;
	struct command_counts counts = { 0 };
	struct command_memory memory;
	struct store_counts store;

	if (s->fastpath && s->fastpath(s->ctx, &state) == 0)
		fp = &state;
	s->command(s->ctx, &counts);
	s->store(s->ctx, &store);
	s->memory(s->ctx, &memory);
	add_process(s, page);
	add_requests(m, page, &counts, fp);
	add_durations(s, page);
	add_kernel_times(page, fp);
	add_routes(m, page);
	add_connections(page, &counts, fp);
	add_drops(page, &counts, fp);
	add_items(page, &store);
	add_memory(page, &memory, &store);
	if (fp)
		add_fastpath(s, page, fp);
	if (s->promoter && m->hot_max > 0)
		add_hot(m, page);
}
