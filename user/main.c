/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcached. Sets rooms up in order, connects them, waits, tears them down in reverse.
 *
 * With a fast path: maps and log -> store (which may take over what an earlier process left) ->
 * kernel entries that the store vouches for -> sockets -> attach -> lease. So nothing is served
 * that has not been proven, and nothing is lost that the kernel could still answer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/sock.h"
#include "budget.h"
#include "config.h"
#include "control/server.h"
#include "fastpath/allow.h"
#include "fastpath/counters.h"
#include "fastpath/grace.h"
#include "fastpath/kmap.h"
#include "fastpath/lease.h"
#include "fastpath/loader.h"
#include "fastpath/locals.h"
#include "fastpath/warden.h"
#include "hotkey/tracker.h"
#include "net/net.h"
#include "process.h"
#include "promote/coherence.h"
#include "promote/promoter.h"
#include "sandbox.h"
#include "store/store.h"
#include "warm.h"

#define LEASE_RENEWALS 4 /* in one lease */
#define HOT_KEYS 8192	 /* ranked at once */
#define HOT_HALF_LIFE_MS 2000
#define HOT_BUDGET_SHARE 20 /* 1/20 of -m for kernel entries */
#define HOT_ENTRY_BYTES 136 /* an entry, its element in xc_hot and its place */
#define HOT_ENTRY_MIN 1024U
#define OTHER_THREADS 3 /* of the store: promoter, adoption, one to spare */

struct daemon {
	struct config config;
	const struct clock *clock;
	uint64_t start_ns;
	struct fastpath *fp; /* NULL: no fast path */
	struct warden *warden;
	struct budget budget;
	struct warm warm;
	uint64_t log_bytes;
	struct store *store;
	struct kmap *kmap;
	struct tracker *tracker;
	struct promoter *promoter;
	struct net *net;
	struct control *control;
	struct locals *locals;
	struct lease lease;
	struct loop loop;
	struct loop_source on_signal, on_timer, on_address;
	bool stopping;
	bool serving; /* set up whole: what is in the store is worth keeping */
	bool deposed; /* another process has the maps */
};

static void grace(void *ctx)
{
	(void)ctx;
	grace_wait();
}

/* --- memory --- */

/* The index of the smallest items takes about a third; the log gives way as it grows. */
#define INDEX_SHARE_MAX 2

static void trim_extents(void *ctx, uint64_t end)
{
	fastpath_trim_log(((struct daemon *)ctx)->fp, end);
}

static void trim_pages(void *ctx, uint64_t end)
{
	struct daemon *d = ctx;

	memory_drop(d->warm.log.base + end, d->log_bytes - end);
}

static uint32_t entry_cnt_for(const struct config *config)
{
	uint64_t cnt = config->memory_bytes / HOT_BUDGET_SHARE / HOT_ENTRY_BYTES;

	if (config->hot_max)
		return config->hot_max;
	return cnt < HOT_ENTRY_MIN    ? HOT_ENTRY_MIN
	       : cnt > UINT32_MAX / 2 ? UINT32_MAX / 2
				      : (uint32_t)cnt;
}

/* --- fast path --- */

static bool show_progress(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx;
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\rmaking the log: %llu / %llu MiB%s",
			(unsigned long long)(done * XC_EXTENT_SIZE >> 20),
			(unsigned long long)(total * XC_EXTENT_SIZE >> 20),
			done == total ? "\n" : "");
	return true;
}

static int open_fastpath(struct daemon *d)
{
	struct fastpath_options options = {
		.pin_root = d->config.pin_root,
		.instance = d->config.instance,
		.interface_cnt = d->config.interfaces.cnt,
		.xdp_mode = d->config.xdp_mode,
		.entry_cnt = entry_cnt_for(&d->config),
		.log_bytes = d->log_bytes,
		.progress = show_progress,
	};
	int err;

	for (uint32_t i = 0; i < options.interface_cnt && i < FASTPATH_INTERFACE_MAX; i++)
		options.interfaces[i] = d->config.interfaces.items[i];
	if (options.interface_cnt > FASTPATH_INTERFACE_MAX) {
		log_line(LOG_ERROR, "main", "at most %d interfaces", FASTPATH_INTERFACE_MAX);
		return -E2BIG;
	}
	err = fastpath_open(&options, &d->fp);
	if (!err)
		err = grace_open(fastpath_maps(d->fp)->seg_fd);
	if (!err)
		err = warden_start(d->fp, &d->warden);
	if (err) {
		fastpath_close(d->fp);
		d->fp = NULL;
	}
	return err;
}

/* Auto mode goes on without; any other mode was asked for and must not be missing silently. */
static int setup_log(struct daemon *d, struct store_log *ret)
{
	int err;

	err = budget_open(&d->budget, d->config.memory_bytes);
	if (err) {
		log_line(LOG_ERROR, "main", "cannot measure memory: %s; is /proc mounted?",
			 strerror(-err));
		return err;
	}
	d->log_bytes = fastpath_log_bytes(d->config.memory_bytes);
	if (d->config.fastpath && d->config.xdp_mode != XDP_MODE_OFF) {
		err = open_fastpath(d);
		if (err && (err == -EBUSY || err == -EPROTO || d->config.xdp_mode != XDP_MODE_AUTO))
			return err;
		if (err)
			log_line(LOG_WARN, "main", "the fast path is off; the daemon serves alone");
	}
	if (d->fp) {
		const struct fastpath_maps *maps = fastpath_maps(d->fp);

		*ret = (struct store_log){ .base = maps->log_base,
					   .bytes = maps->log_bytes,
					   .adopted = maps->adopted,
					   .grace = grace,
					   .trim = trim_extents,
					   .ctx = d };
		budget_use_maps(&d->budget, fastpath_map_bytes(d->fp), XC_EXTENT_SIZE);
		d->warm.state.fd = fastpath_state_open(d->fp);
		if (d->config.memory_file)
			log_line(LOG_WARN, "main",
				 "the memory file is not used: with an interface items outlive a "
				 "restart in pinned maps");
		return 0;
	}
	/* The kernel may still answer for a dead daemon: not once this one takes writes. */
	err = fastpath_retire(d->config.pin_root, d->config.instance, d->config.lease_ms);
	if (err)
		return err;
	d->log_bytes = d->config.memory_bytes;
	err = warm_open_log(&d->warm, d->config.memory_file, d->log_bytes, ret);
	ret->trim = trim_pages;
	ret->ctx = d;
	return err;
}

/* --- store and kernel entries --- */

static int setup_store(struct daemon *d)
{
	struct store_options options = {
		.index_bytes_max = d->config.memory_bytes / INDEX_SHARE_MAX,
		.item_max = d->config.item_max,
		.thread_max = d->config.thread_cnt + OTHER_THREADS,
		.no_evict = d->config.no_evict,
		.eviction = d->config.eviction,
		.clock = d->clock,
	};
	int err = setup_log(d, &options.log);

	if (err)
		return err;
	if (d->warm.state.fd >= 0)
		options.state = &d->warm.state;
	if (d->fp && options.log.adopted && !store_log_holds_items(&options.log)) {
		/* About to be written over: first no kernel program may be reading it. */
		fastpath_maps(d->fp)->conf->serve_until_ns = 0;
		grace_wait();
	}
	d->store = store_new(&options, &err);
	if (!d->store)
		log_line(LOG_ERROR, "main", "cannot set the store up: %s%s", strerror(-err),
			 err == -EINVAL ? "; see -m and -I" : "");
	if (d->store) {
		warm_forget_state(&d->warm);
		store_set_limit(d->store, budget_log_bytes(&d->budget));
	}
	return err;
}

struct adoption {
	struct daemon *d;
	struct store_thread *thread;
	const struct xc_entry *entry;
	uint32_t kept;
};

/* The entry names exactly the store's current version of the key. */
static bool entry_is_current(void *ctx, const struct item_view *view)
{
	const struct adoption *a = ctx;
	uint64_t key_loc = (uint64_t)(view->key.ptr - fastpath_maps(a->d->fp)->log_base);

	return view->value && key_loc == a->entry->key_loc &&
	       view->value_len == a->entry->value_len && view->flush_gen == a->entry->flush_gen &&
	       view->cas == a->entry->cas;
}

static bool keep_entry(void *ctx, struct span key, const struct xc_entry *entry, uint64_t *ret_hash)
{
	struct adoption *a = ctx;

	a->entry = entry;
	*ret_hash = store_hash(a->d->store, key);
	if (store_make_resident(a->thread, key, *ret_hash, entry_is_current, a))
		return false;
	a->kept++;
	return true;
}

static int setup_kmap(struct daemon *d)
{
	const struct fastpath_maps *maps = fastpath_maps(d->fp);
	struct kmap_options options = {
		.hot_fd = maps->hot_fd,
		.entries = maps->entries,
		.hits = maps->hits,
		.filter = maps->filter,
		.conf = maps->conf,
		.entry_cnt = maps->entry_cnt,
		.log_base = maps->log_base,
		.log_bytes = maps->log_bytes,
	};
	struct adoption adoption = { .d = d };
	struct store_watcher watcher;
	int err = kmap_new(&options, &d->kmap);

	if (err)
		return err;
	adoption.thread = store_thread_new(d->store);
	/* The store's generation counts: it was written before any flush was acknowledged. */
	kmap_flush(d->kmap, store_flush_gen(d->store));
	if (!maps->adopted)
		maps->conf->flush_at_ns = 0;
	err = kmap_adopt(d->kmap, keep_entry, &adoption);
	store_thread_free(adoption.thread);
	if (err) {
		log_line(LOG_ERROR, "main", "cannot take the kernel entries over: %s",
			 strerror(-err));
		return err;
	}
	if (maps->adopted)
		log_line(LOG_INFO, "main", "kernel entries kept: %u of %u", adoption.kept,
			 maps->entry_cnt);
	grace_wait();
	kmap_release(d->kmap, kmap_removed_cnt(d->kmap));
	watcher = coherence_watcher(d->kmap);
	return store_watch(d->store, &watcher);
}

static int setup_tracker(struct daemon *d)
{
	struct tracker_options tracker = { .key_cnt = HOT_KEYS,
					   .ring_cnt = d->config.thread_cnt,
					   .half_life_ms = HOT_HALF_LIFE_MS,
					   .clock = d->clock };

	d->tracker = tracker_new(&tracker);
	return d->tracker ? 0 : -ENOMEM;
}

static int setup_promoter(struct daemon *d)
{
	struct promoter_options options = { .store = d->store,
					    .kmap = d->kmap,
					    .tracker = d->tracker,
					    .clock = d->clock,
					    .threshold = d->config.hot_threshold,
					    .grace = grace };
	int err;

	options.entry_max = d->kmap ? kmap_entry_cnt(d->kmap) : 0;
	if (d->config.hot_max && options.entry_max > d->config.hot_max)
		options.entry_max = d->config.hot_max;
	err = promoter_start(&options, &d->promoter);
	if (!err)
		control_set_promoter(d->control, d->promoter);
	return err;
}

/* --- sockets --- */

static void kernel_counts(void *ctx, struct command_kernel_counts *ret)
{
	const struct daemon *d = ctx;
	struct xc_stats stats;

	if (counters_read(fastpath_maps(d->fp)->stats_fd, &stats))
		return;
	ret->hits = counters_hits(&stats);
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
		.program = parts.program_bytes,
		.kernel = parts.map_bytes,
		.total = store.log_bytes + parts.process_bytes + parts.program_bytes +
			 parts.map_bytes,
	};
}

/* Down at once, in the background; up as far as memory was set aside for at the start. */
static int set_memory(void *ctx, uint64_t bytes)
{
	struct daemon *d = ctx;
	struct budget_parts now;

	budget_parts(&d->budget, &now);
	if (bytes > d->config.memory_bytes || (d->fp && bytes > now.limit_bytes)) {
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

static int setup_net(struct daemon *d)
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
			.backlog = c->backlog, .requests_per_event = c->requests_per_event,
			.idle_timeout_sec = c->idle_timeout_sec, .verbosity = c->verbosity,
			.no_evict = c->no_evict, .no_flush = c->no_flush,
			.allow_shutdown = c->allow_shutdown,
		},
		.listen = c->listen.items, .listen_cnt = c->listen.cnt,
		.allow = c->allow.items, .allow_cnt = c->allow.cnt,
		.store = d->store, .tracker = d->tracker, .clock = d->clock,
		.hooks = { .ctx = d, .memory = memory_parts, .set_memory = set_memory,
			   .flush_at = flush_at, .flush_due_ns = flush_due(d),
			   .shutdown = on_shutdown },
		.inherited = d->warm.sockets, .inherited_cnt = d->warm.socket_cnt,
	};
	int err;

	if (d->fp)
		options.hooks.kernel_counts = kernel_counts;
	err = net_open(&options, &d->net);
	warm_drop_sockets(&d->warm);
	return err;
}

/* The -l addresses, for xc_local; a wildcard among them means all, as none at all does. */
static uint32_t listen_addresses(const struct config *c, uint8_t ret[][16], uint32_t max)
{
	static const uint8_t any4[16] = { [10] = 0xff, [11] = 0xff }, any6[16];
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < c->listen.cnt && cnt < max; i++) {
		struct sock_addr addrs[LOCALS_ONLY_MAX];
		int found = sock_resolve(c->listen.items[i], 0, addrs, max - cnt, NULL);

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

static int setup_attachments(struct daemon *d)
{
	const struct fastpath_maps *maps = fastpath_maps(d->fp);
	uint8_t only[LOCALS_ONLY_MAX][16];
	uint32_t only_cnt = listen_addresses(&d->config, only, LOCALS_ONLY_MAX);
	int err = allow_apply(maps, d->config.allow.items, d->config.allow.cnt);

	if (!err)
		err = lease_init(&d->lease, d->fp, d->config.lease_ms);
	if (!err)
		err = fastpath_attach(d->fp);
	if (!err)
		err = locals_open(d->fp, only, only_cnt, &d->locals);
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
	ret->serve_until_ns = maps->conf->serve_until_ns;
	return counters_read(maps->stats_fd, &ret->stats);
}

static uint64_t source_samples_dropped(void *ctx)
{
	return tracker_dropped_cnt(((struct daemon *)ctx)->tracker);
}

static void source_config(void *ctx, FILE *out)
{
	config_print(&((struct daemon *)ctx)->config, out, true);
}

static bool source_handover(void *ctx, int fd)
{
	struct daemon *d = ctx;

	if (!warm_ask_successor(&d->warm, fd))
		return false;
	kill(getpid(), SIGUSR1);
	return true;
}

static int setup_control(struct daemon *d)
{
	struct control_options options = {
		.path = d->config.control_path,
		.dispensable = !d->config.control_given,
		.sources = {
			.ctx = d, .store = source_store, .command = source_command,
			.fastpath = d->fp ? source_fastpath : NULL,
			.memory = memory_parts,
			.samples_dropped = source_samples_dropped, .config = source_config,
			.handover = source_handover,
			.clock = d->clock, .start_ns = d->start_ns,
			.thread_cnt = d->config.thread_cnt,
		},
	};

	return control_open(&options, &d->control);
}

/* --- main loop --- */

static void on_signal(struct loop_source *source, uint32_t events)
{
	struct daemon *d = (struct daemon *)((char *)source - offsetof(struct daemon, on_signal));
	struct signalfd_siginfo info;

	(void)events;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			log_line(LOG_INFO, "main",
				 "SIGHUP: restart to apply a changed configuration");
			continue;
		}
		log_line(LOG_INFO, "main", "stopping on %s", strsignal((int)info.ssi_signo));
		d->stopping = true;
	}
}

static void on_timer(struct loop_source *source, uint32_t events)
{
	struct daemon *d = (struct daemon *)((char *)source - offsetof(struct daemon, on_timer));
	uint64_t ticks;

	(void)events;
	if (read(source->fd, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	sd_notify(0, "WATCHDOG=1");
	store_set_limit(d->store, budget_log_bytes(&d->budget));
	if (warden_is_behind(d->warden) && warden_refresh(d->warden, d->fp) > 0)
		locals_sync(d->locals);
	if (d->fp && lease_renew(&d->lease, clock_now_ns(d->clock))) {
		log_line(LOG_ERROR, "main", "another daemon owns this instance now: stopping");
		d->deposed = true;
		d->stopping = true;
	}
}

static void on_address(struct loop_source *source, uint32_t events)
{
	struct daemon *d = (struct daemon *)((char *)source - offsetof(struct daemon, on_address));

	(void)events;
	warden_refresh(d->warden, d->fp);
	locals_drain(d->locals);
}

static int setup_loop(struct daemon *d, int signal_fd)
{
	uint64_t period_ns = d->config.lease_ms * NSEC_PER_MSEC / LEASE_RENEWALS;
	struct itimerspec period = {
		.it_interval = { .tv_sec = (time_t)(period_ns / NSEC_PER_SEC),
				 .tv_nsec = (long)(period_ns % NSEC_PER_SEC) },
		.it_value = { .tv_nsec = 1 },
	};
	int err = loop_init(&d->loop);

	if (err)
		return err;
	d->on_signal = (struct loop_source){ .fd = signal_fd, .ready = on_signal };
	d->on_timer = (struct loop_source){
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), .ready = on_timer
	};
	if (d->on_timer.fd < 0 || timerfd_settime(d->on_timer.fd, 0, &period, NULL))
		return -errno;
	err = loop_insert(&d->loop, &d->on_signal, LOOP_READ);
	if (!err)
		err = loop_insert(&d->loop, &d->on_timer, LOOP_READ);
	if (!err && d->locals) {
		d->on_address =
			(struct loop_source){ .fd = locals_fd(d->locals), .ready = on_address };
		err = loop_insert(&d->loop, &d->on_address, LOOP_READ);
	}
	return err;
}

static int setup(struct daemon *d)
{
	int signal_fd = process_signal_fd();
	int err = signal_fd < 0 ? signal_fd : setup_store(d);

	if (!err && d->fp)
		err = setup_kmap(d);
	if (!err)
		err = setup_tracker(d);
	if (!err)
		err = setup_net(d);
	if (!err && d->fp)
		err = setup_attachments(d);
	if (!err)
		err = setup_control(d);
	if (!err)
		err = process_write_pid(d->config.pid_file);
	/* Capabilities are a thread's own: no other thread may exist before they are gone. */
	if (!err)
		err = process_drop_privileges(d->config.user);
	if (!err)
		err = sandbox_enter();
	if (!err)
		err = store_reclaim_start(d->store);
	if (!err)
		err = setup_promoter(d);
	if (!err)
		err = setup_loop(d, signal_fd);
	if (!err)
		err = net_start(d->net);
	if (!err)
		err = control_start(d->control);
	return err;
}

/* Systemd keeps what is needed to go on, whatever ends this process. */
static void keep(struct daemon *d)
{
	int sockets[WARM_SOCKET_MAX];
	uint32_t cnt;

	if (!getenv("NOTIFY_SOCKET"))
		return;
	cnt = net_share(d->net, sockets, WARM_SOCKET_MAX);
	warm_keep(&d->warm, sockets, cnt);
	while (cnt > 0)
		close(sockets[--cnt]);
}

static void close_net(struct daemon *d)
{
	if (!d->net)
		return;
	if (d->warm.successor >= 0)
		d->warm.socket_cnt = net_share(d->net, d->warm.sockets, WARM_SOCKET_MAX);
	net_stop(d->net);
	net_close(d->net);
}

static void close_store(struct daemon *d)
{
	if (!d->store)
		return;
	if (d->serving && !d->deposed && warm_is_kept(&d->warm))
		store_save(d->store, &d->warm.state);
	store_free(d->store);
}

static void teardown(struct daemon *d)
{
	/* Nobody writes until the next one has taken over, so the kernel may go on that long. */
	if (d->fp && d->warm.successor < 0)
		lease_revoke(&d->lease);
	control_stop(d->control);
	close_net(d);
	promoter_stop(d->promoter);
	close_store(d);
	tracker_free(d->tracker);
	kmap_free(d->kmap);
	locals_close(d->locals);
	warden_stop(d->warden);
	if (d->fp && d->warm.successor >= 0)
		lease_renew(&d->lease, clock_now_ns(d->clock));
	fastpath_close(d->fp);
	budget_close(&d->budget);
	loop_fini(&d->loop);
	process_remove_pid(d->config.pid_file);
	config_fini(&d->config);
	if (d->warm.successor >= 0)
		warm_give(&d->warm);
	else
		warm_fini(&d->warm);
}

int main(int argc, char **argv)
{
	struct daemon d = { .clock = clock_system() };
	bool exit_now = false;
	int err = config_load(argc, argv, &d.config, &exit_now);

	if (err || exit_now)
		return err ? EXIT_FAILURE : EXIT_SUCCESS;
	log_set_level(d.config.log_level);
	warm_init(&d.warm);
	d.start_ns = clock_now_ns(d.clock);
	process_raise_files(d.config.conn_max);
	warm_from_systemd(&d.warm);
	if (process_check_user(d.config.user))
		return EXIT_FAILURE;
	if (d.config.daemonize && process_daemonize())
		return EXIT_FAILURE;
	if (d.config.upgrade)
		err = warm_from_daemon(&d.warm, d.config.control_path);
	if (!err)
		err = setup(&d);
	if (!err) {
		log_line(LOG_INFO, "main",
			 "ready: tcp=%u udp=%u memory_mib=%llu threads=%u fastpath=%s",
			 net_tcp_port(d.net), net_udp_port(d.net),
			 (unsigned long long)(d.config.memory_bytes >> 20), d.config.thread_cnt,
			 d.fp ? "on" : "off");
		sd_notify(0, "READY=1");
		keep(&d);
		d.serving = true;
		while (!d.stopping) {
			loop_wait(&d.loop, -1);
			loop_drain(&d.loop);
		}
		sd_notify(0, "STOPPING=1");
	}
	teardown(&d);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
