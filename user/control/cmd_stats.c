/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats: {fastpath, daemon, store, memory, latency, hot, routes[]}. `daemon` and `routes` count
 * what this process answered itself since its start; `fastpath` what the kernel did since the maps
 * were made, which may be longer: they outlive daemons. The GETs of a daemon and its fast path
 * together are fastpath.hits + daemon.get_hits (found) and daemon.get_misses (absent);
 * fastpath.misses went on to the daemon and are among those.
 */
#include "control/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "command/command.h"
#include "control/stats.h"
#include "promote/promoter.h"
#include "route/routes.h"
#include "store/store.h"

static void set_number(json_t *object, const char *name, uint64_t number)
{
	json_object_set_new(object, name, json_integer((json_int_t)number));
}

static void add_process(json_t *daemon, const struct control_sources *sources)
{
	uint64_t up_ns = clock_now_ns(sources->clock) - sources->start_ns;

	json_object_set_new(daemon, "version", json_string(XC_VERSION));
	set_number(daemon, "pid", (uint64_t)getpid());
	set_number(daemon, "uptime_sec", up_ns / NSEC_PER_SEC);
	set_number(daemon, "threads", sources->thread_cnt);
}

static void add_commands(json_t *daemon, const struct control_sources *sources)
{
	struct command_counts c = { 0 };

	if (!sources->command)
		return;
	sources->command(sources->ctx, &c);
#define X(field) set_number(daemon, #field, c.field);
	COMMAND_COUNTS(X)
#undef X
	set_number(daemon, "connections", c.conn_opened - c.conn_closed);
}

/* The store's numbers under its own names, and memcached's few under daemon. */
static json_t *store_json(json_t *daemon, const struct control_sources *sources)
{
	struct store_counts s = { 0 };
	json_t *store = json_object();

	sources->store(sources->ctx, &s);
	set_number(daemon, "items", s.item_cnt);
	set_number(daemon, "bytes", s.item_bytes);
	set_number(daemon, "evictions", s.evicted_cnt);
	set_number(daemon, "expired", s.expired_cnt);
	set_number(store, "items", s.item_cnt);
	set_number(store, "item_bytes", s.item_bytes);
	set_number(store, "key_value_bytes", s.key_value_bytes);
	set_number(store, "log_bytes", s.log_bytes);
	set_number(store, "log_free_bytes", s.log_free_bytes);
	set_number(store, "index_bytes", s.index_bytes);
	/* Of live items: header, options, padding and their share of the index; rounded up. */
	set_number(store, "overhead_bytes_per_item",
		   s.item_cnt ? (s.item_bytes - s.key_value_bytes + s.index_bytes + s.item_cnt -
				 1) / s.item_cnt
			      : 0);
	set_number(store, "total_items", s.total_items);
	set_number(store, "evicted", s.evicted_cnt);
	set_number(store, "expired", s.expired_cnt);
	set_number(store, "reclaimed_segments", s.reclaimed_segment_cnt);
	set_number(store, "moved_items", s.moved_cnt);
	set_number(store, "recovered_items", s.recovered_cnt);
	set_number(store, "dropped_items", s.dropped_cnt);
	set_number(store, "segment_bytes", s.segment_bytes);
	set_number(store, "segments", s.segment_cnt);
	json_object_set_new(store, "eviction", json_string(s.eviction ? s.eviction : ""));
	return store;
}

/* The parts under their own names, and the sum that -m or cache_memlimit allows under daemon. */
static json_t *memory_json(json_t *daemon, const struct control_sources *sources)
{
	struct command_memory memory;
	json_t *object = json_object();

	sources->memory(sources->ctx, &memory);
	set_number(daemon, "limit_bytes", memory.limit);
#define X(part) set_number(object, #part "_bytes", memory.part);
	COMMAND_MEMORY(X)
#undef X
	return object;
}

/* In the order of the configuration; since the daemon's start, `stats reset` or not. */
static json_t *routes_json(const struct control_sources *sources)
{
	static const char *const names[] = {
#define X(name, text) text,
		TALLY_EVENTS(X)
#undef X
	};
	struct swap_item *held = NULL;
	json_t *array = json_array();
	struct routes *routes;

	swap_pick(sources->routes, &held);
	routes = routes_of(held);
	for (uint32_t i = 0; routes && i < routes->cnt; i++) {
		json_t *row = json_object();
		struct tally total;
		struct span prefix;

		routes_total(routes, &routes->all[i], &total);
		prefix = routes->all[i].rule.prefix; /* UTF-8: config takes no other */
		json_object_set_new(row, "prefix",
				    json_stringn((const char *)prefix.ptr, prefix.len));
		for (int event = 0; event < TALLY_EVENT_CNT; event++)
			set_number(row, names[event], total.cnt[event]);
		json_array_append_new(array, row);
	}
	swap_drop(sources->routes, &held);
	return array;
}

static json_t *hot_json(const struct control_sources *sources)
{
	struct promoter_row *rows = alloc_zero(CONTROL_HOT_MAX, sizeof(*rows));
	uint32_t resident_cnt = 0, pinned_cnt = 0, cnt;
	json_t *hot;

	if (!rows)
		return NULL;
	cnt = promoter_list(sources->promoter, rows, CONTROL_HOT_MAX);
	for (uint32_t i = 0; i < cnt; i++) {
		resident_cnt += rows[i].resident;
		pinned_cnt += rows[i].pinned;
	}
	alloc_free(rows);
	hot = json_object();
	set_number(hot, "listed", cnt); /* the hottest, CONTROL_HOT_MAX at most; of those: */
	set_number(hot, "resident", resident_cnt);
	set_number(hot, "pinned", pinned_cnt);
	if (sources->samples_dropped)
		set_number(hot, "samples_dropped", sources->samples_dropped(sources->ctx));
	return hot;
}

/* Of the daemon's turns, from the wake-up to the last reply: turns[i] took at most ends_ns[i]. */
static json_t *latency_json(const struct control_sources *sources)
{
	uint64_t ends_ns[CONTROL_TIMES_MAX], cnts[CONTROL_TIMES_MAX];
	uint32_t cnt = sources->times(sources->ctx, ends_ns, cnts, CONTROL_TIMES_MAX);
	json_t *ends = json_array(), *turns = json_array();

	for (uint32_t i = 0; i < cnt; i++) {
		json_array_append_new(ends, json_integer((json_int_t)ends_ns[i]));
		json_array_append_new(turns, json_integer((json_int_t)cnts[i]));
	}
	return json_pack("{s:o, s:o}", "ends_ns", ends, "turns", turns);
}

/* A daemon without a fast path says so in the same shape. */
static json_t *fastpath_json(const struct control_sources *sources, char error[CONTROL_ERROR_MAX])
{
	struct control_fastpath fp = { 0 };
	int rc = sources->fastpath ? sources->fastpath(sources->ctx, &fp) : 0;

	if (rc) {
		snprintf(error, CONTROL_ERROR_MAX, "the fast path's counters cannot be read: %s",
			 strerror(-rc));
		return NULL;
	}
	return stats_fastpath_json(&fp, clock_now_ns(sources->clock));
}

json_t *answer_stats(const struct control_sources *sources, const json_t *request,
		     char error[CONTROL_ERROR_MAX])
{
	json_t *fastpath = fastpath_json(sources, error);
	json_t *root, *daemon;

	(void)request;
	if (!fastpath)
		return NULL;
	root = json_object();
	daemon = json_object();
	json_object_set_new(root, "fastpath", fastpath);
	json_object_set_new(root, "daemon", daemon);
	add_process(daemon, sources);
	add_commands(daemon, sources);
	if (sources->store)
		json_object_set_new(root, "store", store_json(daemon, sources));
	if (sources->memory)
		json_object_set_new(root, "memory", memory_json(daemon, sources));
	if (sources->times)
		json_object_set_new(root, "latency", latency_json(sources));
	if (sources->promoter)
		json_object_set_new(root, "hot", hot_json(sources));
	if (sources->routes)
		json_object_set_new(root, "routes", routes_json(sources));
	return root;
}
