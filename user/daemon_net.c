/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What speaks to the outside: sockets, interfaces, the control socket; and what their rooms ask of
 * the others.
 */
#include "daemon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/sock.h"
#include "control/server.h"
#include "fastpath/allow.h"
#include "fastpath/counters.h"
#include "fastpath/kmap.h"
#include "fastpath/lease.h"
#include "fastpath/loader.h"
#include "fastpath/locals.h"
#include "fastpath/rate.h"
#include "hotkey/tracker.h"
#include "net/net.h"
#include "net/node.h"
#include "net/tls.h"
#include "process.h"
#include "store/store.h"

/* --- sockets --- */

static void kernel_counts(void *ctx, struct command_kernel_counts *ret)
{
	const struct daemon *d = ctx;
	struct xc_stats stats;

	if (counters_read(fastpath_maps(d->fp)->stats_fd, &stats))
		return;
	ret->hits = counters_hits(&stats);
	ret->absent = counters_absent(&stats);
	ret->reply_bytes = stats.reply_bytes;
}

static void flush_at(void *ctx, uint64_t at_ns)
{
	const struct daemon *d = ctx;

	if (d->fp)
		__atomic_store_n(&fastpath_maps(d->fp)->conf->flush_at_ns, at_ns, __ATOMIC_SEQ_CST);
	store_promise_flush(d->store, at_ns);
}

/* One that the kernel was told of and the store not yet counts, too. */
static uint64_t flush_due(const struct daemon *d)
{
	uint64_t due_ns = store_promised_flush(d->store);

	return due_ns == 0 && d->fp ? fastpath_maps(d->fp)->conf->flush_at_ns : due_ns;
}

static void memory_parts(void *ctx, struct command_memory *ret)
{
	const struct daemon *d = ctx;
	struct budget_parts parts;
	struct store_counts store;

	budget_parts(&d->budget, &parts);
	store_counts(d->store, &store);
	*ret = (struct command_memory){
		.limit = parts.limit_bytes,
		.log = store.log_bytes,
		.log_free = store.log_free_bytes,
		.index = store.index_bytes,
		.heap = parts.process_bytes > store.index_bytes
				? parts.process_bytes - store.index_bytes
				: 0,
		.tls = tls_heap_bytes(),
		.program = parts.program_bytes,
		.kernel = parts.map_bytes,
		.total = store.log_bytes + parts.process_bytes + parts.program_bytes +
			 parts.map_bytes,
	};
}

/* Either way in the background; up as far as addresses were set aside for at the start. */
static int set_memory(void *ctx, uint64_t bytes)
{
	struct daemon *d = ctx;

	if (bytes > d->memory_max) {
		log_line(LOG_WARN, "main",
			 "cache_memlimit: %llu MiB is more than can be had now; restart with -m",
			 (unsigned long long)(bytes >> 20));
		return -ENOMEM;
	}
	budget_set_limit(&d->budget, bytes);
	return 0;
}

static void on_shutdown(void *ctx, bool graceful)
{
	(void)ctx;
	kill(getpid(), graceful ? SIGUSR1 : SIGTERM);
}

int daemon_open_net(struct daemon *d)
{
	const struct config *c = &d->config;
	struct net_options options = {
		.settings = {
			.memory_bytes = c->memory_bytes, .item_max = c->item_max,
			.conn_max = c->conn_max, .thread_cnt = c->thread_cnt,
			.tcp_port = c->tcp_port, .udp_port = c->udp_port,
			.udp_reply_max = c->udp_reply_max,
			.listen = c->listen.cnt ? c->listen.items[0] : NULL,
			.unix_path = c->unix_path, .unix_mode = c->unix_mode,
			.memory_file = c->memory_file,
			.backlog = c->backlog, .requests_per_event = c->requests_per_event,
			.idle_timeout_sec = c->idle_timeout_sec, .verbosity = c->verbosity,
			.no_evict = c->no_evict, .no_flush = c->no_flush,
			.allow_shutdown = c->allow_shutdown,
			.no_dump = c->no_dump, .no_watch = c->no_watch,
			.protocol = config_protocol(c),
			.sasl = c->sasl, .auth_file = c->auth_file,
			.prefix_delimiter =
				c->prefix_delimiter ? (uint8_t)c->prefix_delimiter[0] : 0,
			.tls = c->tls,
		},
		.listen = c->listen.items, .listen_cnt = c->listen.cnt,
		.allow = c->allow.items, .allow_cnt = c->allow.cnt,
		.store = d->store, .tracker = d->tracker, .events = d->events,
		.routes = &d->routes,
		.forward = d->cluster.node ? node_forward(d->cluster.node) : NULL,
		.origins = d->origins, .clock = d->clock,
		.users = c->sasl || c->auth_file ? &d->users : NULL,
		.hooks = { .ctx = d, .memory = memory_parts, .set_memory = set_memory,
			   .flush_at = flush_at, .flush_due_ns = flush_due(d),
			   .shutdown = on_shutdown },
		.inherited = d->warm.sockets, .inherited_cnt = d->warm.socket_cnt,
	};
	int err;

	if (d->fp)
		options.hooks.kernel_counts = kernel_counts;
	err = net_open(&options, &d->net);
	warm_drop_unused(&d->warm);
	return err;
}

void daemon_write_ports(const struct daemon *d)
{
	const char *path = getenv("MEMCACHED_PORT_FILENAME");
	char unfinished[PATH_MAX];
	bool written = false;
	FILE *file;

	if (!path || !*path || d->config.unix_path)
		return;
	/* Whoever waits for the file reads it as soon as it is there. */
	snprintf(unfinished, sizeof(unfinished), "%s.lck", path);
	file = fopen(unfinished, "we");
	if (file) {
		net_print_ports(d->net, file);
		written = fclose(file) == 0;
	}
	if (!written || rename(unfinished, path))
		log_line(LOG_WARN, "main", "the ports are not written to %s: %s", path,
			 strerror(errno));
}

/* The -l addresses, for xc_local; a wildcard among them means all, as none at all does. */
static uint32_t listen_addresses(const struct config *c, uint8_t ret[][16], uint32_t max)
{
	static const uint8_t any4[16] = { [10] = 0xff, [11] = 0xff }, any6[16];
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < c->listen.cnt && cnt < max; i++) {
		struct sock_addr addrs[LOCALS_ONLY_MAX];
		const char *item = net_listen_address(c->listen.items[i], NULL);
		int found = sock_resolve(item, 0, addrs, max - cnt, NULL);

		for (int a = 0; a < found; a++) {
			const struct sockaddr *sa = (const struct sockaddr *)&addrs[a].storage;

			if (!cidr_addr_of(sa, ret[cnt]))
				continue;
			if (memcmp(ret[cnt], any4, 16) == 0 || memcmp(ret[cnt], any6, 16) == 0)
				return 0;
			cnt++;
		}
	}
	return cnt;
}

/* What a connection is not asked in, a datagram is not either. */
static void set_protocols(struct xc_conf *conf, enum command_protocol protocol)
{
	uint32_t refused = protocol == COMMAND_PROTOCOL_BINARY ? XC_OPT_NO_TEXT
			   : protocol == COMMAND_PROTOCOL_TEXT ? XC_OPT_NO_BINARY
							       : 0;

	__atomic_and_fetch(&conf->options, ~(XC_OPT_NO_TEXT | XC_OPT_NO_BINARY), __ATOMIC_SEQ_CST);
	__atomic_or_fetch(&conf->options, refused, __ATOMIC_SEQ_CST);
}

void daemon_reload_rate(struct daemon *d, const struct config *fresh)
{
	if (d->fp && rate_apply(fastpath_maps(d->fp), fresh->rate_limit, fresh->rate_burst))
		return;
	pthread_mutex_lock(&d->config_lock);
	d->config.rate_limit = fresh->rate_limit;
	d->config.rate_burst = fresh->rate_burst;
	pthread_mutex_unlock(&d->config_lock);
}

int daemon_attach(struct daemon *d)
{
	const struct fastpath_maps *maps = fastpath_maps(d->fp);
	uint8_t only[LOCALS_ONLY_MAX][16];
	uint32_t only_cnt = listen_addresses(&d->config, only, LOCALS_ONLY_MAX);
	int err = allow_apply(maps, d->config.allow.items, d->config.allow.cnt);

	if (!err)
		err = lease_init(&d->lease, d->fp, d->config.lease_ms);
	if (!err)
		err = rate_apply(maps, d->config.rate_limit, d->config.rate_burst);
	if (!err)
		err = fastpath_attach(d->fp);
	if (!err)
		err = locals_open(d->fp, only, only_cnt, &d->locals);
	if (!err)
		set_protocols(maps->conf, config_protocol(&d->config));
	if (!err)
		maps->conf->port_be = htons(net_udp_port(d->net));
	return err;
}

/* --- control --- */

static void source_store(void *ctx, struct store_counts *ret)
{
	store_counts(((struct daemon *)ctx)->store, ret);
}

static void source_command(void *ctx, struct command_counts *ret)
{
	command_own_counts(net_command(((struct daemon *)ctx)->net), ret);
}

static int source_fastpath(void *ctx, struct control_fastpath *ret)
{
	const struct daemon *d = ctx;
	const struct fastpath_maps *maps = fastpath_maps(d->fp);
	int cnt = fastpath_interfaces(d->fp, ret->interfaces, FASTPATH_INTERFACE_MAX);

	ret->interface_cnt = cnt > 0 ? (uint32_t)cnt : 0;
	ret->entry_cnt = kmap_used_cnt(d->kmap);
	ret->entry_max = maps->entry_cnt;
	ret->lease_ms = d->config.lease_ms;
	ret->serve_until_ns = __atomic_load_n(&maps->conf->serve_until_ns, __ATOMIC_RELAXED);
	ret->owner_epoch = __atomic_load_n(&maps->conf->owner_epoch, __ATOMIC_RELAXED);
	return counters_read(maps->stats_fd, &ret->stats);
}

static uint32_t source_times(void *ctx, uint64_t *ret_ends_ns, uint64_t *ret_cnts, uint32_t max)
{
	return net_times(((struct daemon *)ctx)->net, ret_ends_ns, ret_cnts, max);
}

static void source_durations(void *ctx, uint32_t op, struct histogram *ret)
{
	command_durations(net_command(((struct daemon *)ctx)->net), op, ret);
}

static uint64_t source_samples_dropped(void *ctx)
{
	return tracker_dropped_cnt(((struct daemon *)ctx)->tracker);
}

static void source_config(void *ctx, FILE *out)
{
	struct daemon *d = ctx;

	pthread_mutex_lock(&d->config_lock);
	config_print(&d->config, out, true);
	pthread_mutex_unlock(&d->config_lock);
}

static bool source_handover(void *ctx, int fd)
{
	struct daemon *d = ctx;

	if (!warm_ask_successor(&d->warm, fd))
		return false;
	kill(getpid(), SIGUSR1);
	return true;
}

struct control_sources daemon_sources(struct daemon *d)
{
	return (struct control_sources){
		.ctx = d,
		.store = source_store,
		.command = source_command,
		.fastpath = d->fp ? source_fastpath : NULL,
		.memory = memory_parts,
		.times = source_times,
		.durations = source_durations,
		.samples_dropped = source_samples_dropped,
		.config = source_config,
		.cluster = d->cluster.node ? daemon_print_cluster : NULL,
		.hot_save = daemon_save_hot,
		.handover = source_handover,
		.promoter = d->promoter,
		.routes = &d->routes,
		.clock = d->clock,
		.start_ns = d->start_ns,
		.thread_cnt = d->config.thread_cnt,
	};
}

int daemon_open_control(struct daemon *d)
{
	struct control_options options = {
		.path = d->config.control_path,
		.dispensable = !d->config.control_given,
		.sources = daemon_sources(d),
	};

	return control_open(&options, &d->control);
}
