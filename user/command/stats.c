/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats, under memcached's names, so that exporters and dashboards read us unchanged. A name that
 * speaks of a mechanism we do not have (slab moves, LRU maintainer) is shown with the 0 it truly
 * has; one whose number we do not know is left out.
 */
#include "command/impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define VALUE_MAX 256

struct printer {
	const struct command_worker *w;
	struct response *resp;
	const struct request *req;
};

__attribute__((format(printf, 3, 4))) static void stat(const struct printer *p, const char *name,
						       const char *fmt, ...)
{
	char value[VALUE_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);
	p->req->compose->stat(p->resp, p->req, name, value);
}

static void stat_u64(const struct printer *p, const char *name, uint64_t value)
{
	stat(p, name, "%" PRIu64, value);
}

static void stats_reset(struct command *command, struct command_view *view)
{
	command_reset_counts(command);
	command_detail_clear(command);
	command_view_pick(command, view);
	if (view->routes)
		routes_reset(routes_of(view->routes));
}

static void print_process(const struct printer *p, struct command *command)
{
	const struct clock *clock = command->options.clock;
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	stat(p, "pid", "%ld", (long)getpid());
	stat_u64(p, "uptime", (clock_now_ns(clock) - command->start_ns) / NSEC_PER_SEC);
	stat(p, "time", "%" PRId64, clock_wall_sec(clock));
	stat(p, "version", "%s", COMMAND_VERSION);
	stat_u64(p, "pointer_size", 8 * sizeof(void *));
	stat(p, "rusage_user", "%ld.%06ld", (long)usage.ru_utime.tv_sec,
	     (long)usage.ru_utime.tv_usec);
	stat(p, "rusage_system", "%ld.%06ld", (long)usage.ru_stime.tv_sec,
	     (long)usage.ru_stime.tv_usec);
}

static void print_connections(const struct printer *p, struct command *command,
			      const struct command_counts *c)
{
	stat_u64(p, "max_connections", command->options.settings.conn_max);
	stat_u64(p, "curr_connections", command_conn_cnt(command));
	stat_u64(p, "total_connections", c->conn_opened);
	stat_u64(p, "rejected_connections", c->conn_rejected);
	stat_u64(p, "connection_structures", command_conn_cnt(command));
	stat_u64(p, "response_obj_oom", 0); /* one response a thread, for ever */
	stat_u64(p, "read_buf_oom", c->conn_no_memory);
}

static void print_commands(const struct printer *p, const struct command_counts *c)
{
	stat_u64(p, "cmd_get", c->cmd_get);
	stat_u64(p, "cmd_set", c->cmd_set);
	stat_u64(p, "cmd_flush", c->cmd_flush);
	stat_u64(p, "cmd_touch", c->cmd_touch);
	stat_u64(p, "cmd_meta", c->cmd_meta);
	stat_u64(p, "get_hits", c->get_hits);
	stat_u64(p, "get_misses", c->get_misses);
	stat_u64(p, "get_expired", c->get_expired);
	stat_u64(p, "get_flushed", c->get_flushed);
	stat_u64(p, "delete_misses", c->delete_misses);
	stat_u64(p, "delete_hits", c->delete_hits);
	stat_u64(p, "incr_misses", c->incr_misses);
	stat_u64(p, "incr_hits", c->incr_hits);
	stat_u64(p, "decr_misses", c->decr_misses);
	stat_u64(p, "decr_hits", c->decr_hits);
	stat_u64(p, "cas_misses", c->cas_misses);
	stat_u64(p, "cas_hits", c->cas_hits);
	stat_u64(p, "cas_badval", c->cas_badval);
	stat_u64(p, "touch_hits", c->touch_hits);
	stat_u64(p, "touch_misses", c->touch_misses);
	stat_u64(p, "store_too_large", c->store_too_large);
	stat_u64(p, "store_no_memory", c->store_no_memory);
	stat_u64(p, "auth_cmds", c->auth_cmds);
	stat_u64(p, "auth_errors", c->auth_errors);
}

static void print_tls(const struct printer *p, struct command *command,
		      const struct command_counts *c)
{
	const struct command_tls *settings = &command->options.settings.tls;
	const struct command_conns *conns = &command->options.conns;
	struct command_tls_status status = { 0 };

	if (!settings->enabled)
		return;
	if (conns->tls_status)
		conns->tls_status(conns->ctx, &status);
	stat_u64(p, "ssl_handshake_errors", c->ssl_handshake_errors);
	stat_u64(p, "ssl_handshake_timeouts", c->ssl_handshake_timeouts);
	stat_u64(p, "ssl_proto_errors", c->ssl_proto_errors);
	if (settings->session_cache)
		stat_u64(p, "ssl_new_sessions", status.new_sessions);
	stat_u64(p, "time_since_server_cert_refresh", status.since_refresh_sec);
}

static void print_server(const struct printer *p, struct command *command,
			 const struct command_counts *c)
{
	if (command->options.settings.idle_timeout_sec)
		stat_u64(p, "idle_kicks", c->idle_kicks);
	stat_u64(p, "bytes_read", c->bytes_read);
	stat_u64(p, "bytes_written", c->bytes_written);
	stat_u64(p, "limit_maxbytes", atomic_load(&command->memory_bytes));
	stat_u64(p, "accepting_conns", 1);
	stat_u64(p, "listen_disabled_num", c->listen_disabled);
	stat_u64(p, "time_in_listen_disabled_us", 0); /* others go on being accepted */
	stat_u64(p, "threads", command->options.settings.thread_cnt);
	stat_u64(p, "conn_yields", c->conn_yields);
	print_tls(p, command, c);
	stat_u64(p, "upload_waits", c->upload_waits);
	stat_u64(p, "upload_stalled", c->upload_stalled);
	stat_u64(p, "conn_no_memory", c->conn_no_memory);
	stat_u64(p, "udp_requests", c->udp_requests);
	stat_u64(p, "udp_refused", c->udp_refused);
	stat_u64(p, "udp_malformed", c->udp_malformed);
	stat_u64(p, "udp_unknown", c->udp_unknown);
	stat_u64(p, "udp_multi_packet", c->udp_multi_packet);
	stat_u64(p, "udp_send_dropped", c->udp_send_dropped);
	if (p->w->view.prefixes)
		stat_u64(p, "prefix_overflow",
			 prefixes_overflow_cnt(prefixes_of(p->w->view.prefixes)));
}

/* Mechanisms of memcached that have no counterpart here: what they count never happens. */
static const char *const never[] = {
	"slab_reassign_rescues",
	"slab_reassign_chunk_rescues",
	"slab_reassign_evictions_nomem",
	"slab_reassign_inline_reclaim",
	"slab_reassign_busy_items",
	"slab_reassign_busy_deletes",
	"slab_reassign_running",
	"lru_crawler_running",
	"lru_crawler_starts",
	"lru_maintainer_juggles",
	"unexpected_napi_ids",
	"round_robin_fallback",
	"crawler_reclaimed",
	"crawler_items_checked",
	"lrutail_reflocked",
	"moves_to_cold",
	"moves_to_warm",
	"direct_reclaims", /* a worker never reclaims */
	"lru_bumps_dropped",
};

static void print_events(const struct printer *p, struct eventlog *events)
{
	struct eventlog_counts counts = { 0 };

	if (events)
		eventlog_counts(events, &counts);
	stat_u64(p, "log_worker_dropped", 0); /* a line goes to its watchers at once */
	stat_u64(p, "log_worker_written", counts.written);
	stat_u64(p, "log_watcher_skipped", counts.skipped);
	stat_u64(p, "log_watcher_sent", counts.sent);
	stat_u64(p, "log_watchers", counts.stream_cnt);
}

static void print_store(const struct printer *p, struct command *command)
{
	struct store_counts s;

	store_counts(command->options.store, &s);
	stat_u64(p, "hash_power_level", 63 - (uint64_t)__builtin_clzll(s.index_bytes | 1));
	stat_u64(p, "hash_bytes", s.index_bytes);
	stat_u64(p, "hash_is_expanding", 0); /* it grows by a bucket at a time */
	stat_u64(p, "slabs_moved", s.reclaimed_segment_cnt);
	stat_u64(p, "slab_global_page_pool", s.log_free_bytes / s.segment_bytes);
	stat_u64(p, "bytes", s.item_bytes);
	stat_u64(p, "curr_items", s.item_cnt);
	stat_u64(p, "total_items", s.total_items);
	stat_u64(p, "total_malloced", s.log_bytes);
	stat_u64(p, "expired_unfetched", s.expired_unfetched_cnt);
	stat_u64(p, "evicted_unfetched", s.evicted_unfetched_cnt);
	stat_u64(p, "evictions", s.evicted_cnt);
	/* Memory of items whose TTL ran out, given back for new ones. */
	stat_u64(p, "reclaimed", s.expired_cnt);
	stat_u64(p, "moves_within_lru", s.moved_cnt);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		stat_u64(p, never[i], 0);
}

static void print_general(const struct printer *p, struct command *command)
{
	const struct command_hooks *hooks = &command->options.hooks;
	struct command_kernel_counts kernel = { 0 };
	struct command_counts counts;

	command_totals(command, &counts);
	print_process(p, command);
	print_connections(p, command, &counts);
	print_commands(p, &counts);
	if (hooks->kernel_counts)
		hooks->kernel_counts(hooks->ctx, &kernel);
	stat_u64(p, "kernel_hits", kernel.hits);
	stat_u64(p, "kernel_absent", kernel.absent);
	print_server(p, command, &counts);
	print_events(p, command->options.events);
	print_store(p, command);
}

static const char *yes_no(bool yes)
{
	return yes ? "yes" : "no";
}

static const char *or_null(const char *text)
{
	return text ? text : "NULL";
}

static void print_tls_settings(const struct printer *p, const struct command_tls *s)
{
	static const char *const versions[] = { "tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3" };

	stat(p, "ssl_enabled", "%s", yes_no(s->enabled));
	stat(p, "ssl_chain_cert", "%s", or_null(s->chain_cert));
	stat(p, "ssl_key", "%s", or_null(s->key));
	stat_u64(p, "ssl_verify_mode", s->verify_mode);
	/* OpenSSL's numbers, which memcached shows. */
	stat_u64(p, "ssl_keyformat", command_tls_der(s) ? 2 : 1);
	stat(p, "ssl_ciphers", "%s", or_null(s->ciphers));
	stat(p, "ssl_ca_cert", "%s", or_null(s->ca_cert));
	stat_u64(p, "ssl_wbuf_size", (uint64_t)s->wbuf_kib << 10);
	stat_u64(p, "ssl_handshake_timeout", s->handshake_timeout_sec);
	stat(p, "ssl_session_cache", "%s", yes_no(s->session_cache));
	stat(p, "ssl_kernel_tls", "%s", yes_no(s->kernel_tls));
	stat(p, "ssl_min_version", "%s", versions[s->min_version]);
}

static void print_settings(const struct printer *p, struct command *command)
{
	static const char *const protocols[] = { "auto-negotiate", "ascii", "binary" };
	static const char *const off[] = { "slab_reassign", "lru_crawler", "lru_maintainer_thread",
					   "lru_segmented", "temp_lru" };
	const struct command_settings *s = &command->options.settings;
	struct store_counts counts;

	store_counts(command->options.store, &counts);
	stat_u64(p, "maxbytes", atomic_load(&command->memory_bytes));
	stat_u64(p, "maxconns", s->conn_max);
	stat(p, "tcpport", "%d", s->tcp_port);
	stat(p, "udpport", "%d", s->udp_port);
	stat_u64(p, "udp_reply_max", s->udp_reply_max);
	stat(p, "inter", "%s", or_null(s->listen));
	stat_u64(p, "verbosity", atomic_load(&command->verbosity));
	stat(p, "evictions", "%s", s->no_evict ? "off" : "on");
	stat(p, "domain_socket", "%s", or_null(s->unix_path));
	stat(p, "umask", "%o", s->unix_mode);
	stat(p, "shutdown_command", "%s", yes_no(s->allow_shutdown));
	stat_u64(p, "num_threads", s->thread_cnt);
	stat_u64(p, "num_threads_per_udp", s->udp_port != 0 ? s->thread_cnt : 0);
	stat(p, "detail_enabled", "%s", yes_no(atomic_load(&command->detail)));
	stat_u64(p, "reqs_per_event", s->requests_per_event);
	stat(p, "cas_enabled", "yes");
	stat_u64(p, "tcp_backlog", s->backlog);
	stat(p, "binding_protocol", "%s", protocols[s->protocol]);
	stat(p, "auth_enabled_sasl", "%s", yes_no(s->sasl));
	stat(p, "auth_enabled_ascii", "%s", s->auth_file ? s->auth_file : "no");
	stat_u64(p, "item_size_max", s->item_max);
	stat(p, "maxconns_fast", "yes");
	stat(p, "flush_enabled", "%s", yes_no(!s->no_flush));
	stat(p, "dump_enabled", "%s", yes_no(!s->no_dump));
	/* As memcached says it of an LRU of one piece that only writes look after. */
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		stat(p, off[i], "no");
	stat(p, "memory_file", "%s", s->memory_file ? s->memory_file : "(null)");
	stat(p, "eviction_policy", "%s", counts.eviction);
	stat_u64(p, "segment_size", counts.segment_bytes);
	stat_u64(p, "idle_timeout", s->idle_timeout_sec);
	stat(p, "track_sizes", "no");
	stat(p, "inline_ascii_response", "no");
	print_tls_settings(p, &s->tls);
}

/* Of the class that all items are of. */
static void stat_item(const struct printer *p, const char *field, uint64_t value)
{
	char name[64];

	snprintf(name, sizeof(name), "items:%d:%s", COMMAND_CLASS, field);
	stat_u64(p, name, value);
}

/*
 * The log is one class to memcached's eyes, number 1; and its one LRU is the cold one, as there
 * when it is not segmented.
 */
static void print_items(const struct printer *p, struct command *command)
{
	struct command_counts c;
	struct store_counts s;

	store_counts(command->options.store, &s);
	if (s.item_cnt == 0)
		return;
	command_totals(command, &c);
	stat_item(p, "number", s.item_cnt);
	stat_item(p, "number_hot", 0);
	stat_item(p, "number_warm", 0);
	stat_item(p, "number_cold", s.item_cnt);
	stat_item(p, "number_temp", 0);
	stat_item(p, "age_hot", 0);
	stat_item(p, "age_warm", 0);
	stat_item(p, "age", store_age_sec(command->options.store));
	stat_item(p, "mem_requested", s.item_bytes);
	stat_item(p, "evicted", s.evicted_cnt);
	stat_item(p, "evicted_nonzero", s.evicted_expiring_cnt);
	stat_item(p, "evicted_time", s.evicted_idle_sec);
	stat_item(p, "outofmemory", c.store_no_memory);
	stat_item(p, "tailrepairs", 0);
	stat_item(p, "reclaimed", s.expired_cnt);
	stat_item(p, "expired_unfetched", s.expired_unfetched_cnt);
	stat_item(p, "evicted_unfetched", s.evicted_unfetched_cnt);
	stat_item(p, "crawler_reclaimed", 0);
	stat_item(p, "crawler_items_checked", 0);
	stat_item(p, "lrutail_reflocked", 0);
	stat_item(p, "moves_to_cold", 0);
	stat_item(p, "moves_to_warm", 0);
	stat_item(p, "moves_within_lru", s.moved_cnt);
	stat_item(p, "direct_reclaims", 0);
	stat_item(p, "hits_to_hot", 0);
	stat_item(p, "hits_to_warm", 0);
	stat_item(p, "hits_to_cold", c.get_hits);
	stat_item(p, "hits_to_temp", 0);
}

/* A chunk is an item of average size. */
static void print_slabs(const struct printer *p, struct command *command)
{
	uint64_t item_bytes, free_cnt;
	struct command_counts c;
	struct store_counts s;

	store_counts(command->options.store, &s);
	command_totals(command, &c);
	if (s.item_cnt > 0) {
		item_bytes = (s.item_bytes + s.item_cnt - 1) / s.item_cnt;
		free_cnt = s.log_free_bytes / item_bytes;
		stat_u64(p, "1:chunk_size", item_bytes);
		stat_u64(p, "1:chunks_per_page", s.segment_bytes / item_bytes);
		stat_u64(p, "1:total_pages", s.segment_cnt - s.log_free_bytes / s.segment_bytes);
		stat_u64(p, "1:total_chunks", s.item_cnt + free_cnt);
		stat_u64(p, "1:used_chunks", s.item_cnt);
		stat_u64(p, "1:free_chunks", free_cnt);
		stat_u64(p, "1:free_chunks_end", 0);
		stat_u64(p, "1:mem_requested", s.item_bytes);
		stat_u64(p, "1:get_hits", c.get_hits);
		stat_u64(p, "1:cmd_set", c.cmd_set);
		stat_u64(p, "1:delete_hits", c.delete_hits);
		stat_u64(p, "1:incr_hits", c.incr_hits);
		stat_u64(p, "1:decr_hits", c.decr_hits);
		stat_u64(p, "1:cas_hits", c.cas_hits);
		stat_u64(p, "1:cas_badval", c.cas_badval);
		stat_u64(p, "1:touch_hits", c.touch_hits);
	}
	stat_u64(p, "active_slabs", s.item_cnt > 0);
	stat_u64(p, "total_malloced", s.log_bytes);
}

static void print_memory(struct printer *p, const struct command_hooks *hooks)
{
	struct command_memory memory;

	hooks->memory(hooks->ctx, &memory);
#define X(part) stat_u64(p, #part "_bytes", memory.part);
	COMMAND_MEMORY(X)
#undef X
}

/* Numbered in the order of the file, under names like those of items. */
static void print_routes(const struct printer *p)
{
	static const char *const names[] = {
#define X(name, text) text,
		TALLY_EVENTS(X)
#undef X
	};
	const struct routes *routes = routes_of(p->w->view.routes);
	char name[64];

	for (uint32_t i = 0; routes && i < routes->cnt; i++) {
		const struct route *route = &routes->all[i];
		struct tally sum;

		routes_sum(routes, route, &sum);
		snprintf(name, sizeof(name), "routes:%u:prefix", i + 1);
		stat(p, name, "%s", (const char *)route->rule.prefix.ptr);
		for (int event = 0; event < TALLY_EVENT_CNT; event++) {
			snprintf(name, sizeof(name), "routes:%u:%s", i + 1, names[event]);
			stat_u64(p, name, sum.cnt[event]);
		}
	}
}

static void print_origins(const struct printer *p, const struct origins *origins)
{
	for (uint32_t i = 0; origins && i < origins_cnt(origins); i++) {
		const struct flight_counts *counts = origins_counts(origins, i);
		const struct write_counts *writes = origins_write_counts(origins, i);
		struct journal_stats journal;
		char name[96];

#define X(field)                                                                                   \
	snprintf(name, sizeof(name), "origins:%.60s:" #field, origins_name(origins, i));           \
	stat_u64(p, name, atomic_load_explicit(&counts->field, memory_order_relaxed));
		FLIGHT_COUNTS(X)
#undef X
#define X(field)                                                                                   \
	snprintf(name, sizeof(name), "origins:%.60s:" #field, origins_name(origins, i));           \
	stat_u64(p, name, atomic_load_explicit(&writes->field, memory_order_relaxed));
		WRITE_COUNTS(X)
#undef X
		if (!origins_journal_stats(origins, i, &journal))
			continue;
		snprintf(name, sizeof(name), "origins:%.60s:journal_pending",
			 origins_name(origins, i));
		stat_u64(p, name, journal.pending_cnt);
		snprintf(name, sizeof(name), "origins:%.60s:journal_dead",
			 origins_name(origins, i));
		stat_u64(p, name, journal.dead_cnt);
	}
}

static void print_conn(void *ctx, const struct command_conn *conn)
{
	const struct printer *p = ctx;
	char name[64];

	snprintf(name, sizeof(name), "%d:addr", conn->fd);
	stat(p, name, "%s:%s", conn->transport, conn->addr);
	if (conn->listen_addr) {
		snprintf(name, sizeof(name), "%d:listen_addr", conn->fd);
		stat(p, name, "%s:%s", conn->transport, conn->listen_addr);
	}
	snprintf(name, sizeof(name), "%d:state", conn->fd);
	stat(p, name, "%s", conn->state);
	snprintf(name, sizeof(name), "%d:secs_since_last_cmd", conn->fd);
	stat_u64(p, name, conn->idle_sec);
}

/* False: no such kind. */
static bool print_kind(struct printer *p, struct command *command, struct span kind)
{
	const struct command_conns *conns = &command->options.conns;

	if (kind.len == 0)
		print_general(p, command);
	else if (span_equal(kind, span_str("settings")))
		print_settings(p, command);
	else if (span_equal(kind, span_str("items")))
		print_items(p, command);
	else if (span_equal(kind, span_str("slabs")))
		print_slabs(p, command);
	else if (span_equal(kind, span_str("sizes")))
		stat(p, "sizes_status", "disabled");
	else if (span_equal(kind, span_str("routes")))
		print_routes(p);
	else if (span_equal(kind, span_str("origins")))
		print_origins(p, command->options.origins);
	else if (span_equal(kind, span_str("memory")) && command->options.hooks.memory)
		print_memory(p, &command->options.hooks);
	else if (span_equal(kind, span_str("conns")) && conns->walk)
		conns->walk(conns->ctx, print_conn, p);
	else
		return false;
	return true;
}

enum command_next command_stats(struct command_worker *w, struct request *req,
				struct response *resp)
{
	struct printer p = { .w = w, .resp = resp, .req = req };
	struct span args = req->args;
	struct span kind = request_word(&args);

	if (span_equal(kind, span_str("reset"))) {
		stats_reset(w->command, &w->view);
		req->compose->status(resp, req, STATUS_RESET);
	} else if (span_equal(kind, span_str("cachedump")) && req->compose->lists) {
		return command_cachedump(w, req, args, resp);
	} else if (span_equal(kind, span_str("detail"))) {
		command_detail(w, req, request_word(&args), resp);
	} else if (print_kind(&p, w->command, kind)) {
		req->compose->end(resp, req);
	} else {
		req->compose->status(resp, req, STATUS_UNKNOWN_COMMAND);
	}
	return COMMAND_DONE;
}
