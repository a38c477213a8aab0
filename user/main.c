/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcached. Sets rooms up in order, connects them, waits, tears them down in reverse.
 *
 * With a fast path: maps and log -> store (which may take over what an earlier process left) ->
 * kernel entries that the store vouches for -> sockets -> attach -> lease. So nothing is served
 * that has not been proven, and nothing is lost that the kernel could still answer.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "control/server.h"
#include "fastpath/kmap.h"
#include "fastpath/lease.h"
#include "fastpath/loader.h"
#include "fastpath/locals.h"
#include "fastpath/warden.h"
#include "hotkey/tracker.h"
#include "net/net.h"
#include "net/node.h"
#include "observe/eventlog.h"
#include "origin/origins.h"
#include "process.h"
#include "promote/promoter.h"
#include "sandbox.h"
#include "store/store.h"
#include "daemon.h"

#define LEASE_RENEWALS 4 /* in one lease */

/* --- main loop --- */

static void on_signal(struct loop_source *source, uint32_t events)
{
	struct daemon *d = (struct daemon *)((char *)source - offsetof(struct daemon, on_signal));
	struct signalfd_siginfo info;

	(void)events;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			daemon_reload(d);
			net_reload_tls(d->net);
			daemon_reload_cluster(d);
			continue;
		}
		log_line(LOG_INFO, "main", "stopping on %s", strsignal((int)info.ssi_signo));
		d->stopping = true;
	}
}

/* Serving on would let two daemons, or one and nobody's kernel entries, go apart. */
static void renew(struct daemon *d)
{
	int err = lease_renew(&d->lease, clock_now_ns(d->clock));

	if (!err)
		return;
	if (err == -ENODEV)
		log_line(LOG_ERROR, "main",
			 "the fast path was unloaded by force (xdpcache unload --force): stopping; "
			 "start again to load it anew, or with --no-fastpath");
	else
		log_line(LOG_ERROR, "main", "another daemon owns this instance now: stopping");
	d->deposed = true;
	d->stopping = true;
}

static void on_timer(struct loop_source *source, uint32_t events)
{
	struct daemon *d = (struct daemon *)((char *)source - offsetof(struct daemon, on_timer));
	uint64_t ticks;

	(void)events;
	if (read(source->fd, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	sd_notify(0, "WATCHDOG=1");
	atomic_store(&d->alive_ns, clock_now_ns(d->clock));
	store_set_limit(d->store, budget_log_bytes(&d->budget));
	if (warden_is_behind(d->warden) && warden_refresh(d->warden, d->fp) > 0)
		locals_sync(d->locals);
	if (d->fp)
		renew(d);
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
	int err = signal_fd < 0 ? signal_fd : daemon_open_users(d);

	if (!err)
		err = daemon_open_store(d);
	if (!err)
		err = daemon_open_origins(d);
	if (!err)
		err = daemon_open_cluster(d);
	if (!err)
		err = daemon_open_routes(d);
	if (!err && d->fp)
		err = daemon_adopt_entries(d); /* of those that the routes let in */
	if (!err)
		err = daemon_open_tracker(d);
	if (!err)
		err = daemon_open_events(d);
	if (!err)
		err = daemon_open_net(d);
	if (!err && d->fp)
		err = daemon_attach(d);
	if (!err)
		err = daemon_open_control(d);
	if (!err)
		err = daemon_open_admin(d);
	if (!err)
		err = daemon_load_hot(d);
	if (!err)
		err = process_write_pid(d->config.pid_file);
	if (!err)
		daemon_write_ports(d);
	/* Capabilities are a thread's own: no other thread may exist before they are gone. */
	if (!err)
		err = process_drop_privileges(d->config.user);
	if (!err)
		err = sandbox_enter();
	if (!err)
		err = store_reclaim_start(d->store);
	if (!err)
		err = daemon_start_promoter(d);
	if (!err)
		err = setup_loop(d, signal_fd);
	if (!err && d->origins)
		err = daemon_start_origins(d);
	if (!err)
		err = daemon_start_cluster(d);
	if (!err)
		err = net_start(d->net);
	if (!err)
		err = control_start(d->control);
	if (!err)
		err = daemon_start_admin(d);
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
	/* What is still on its way to another node comes home before its home goes. */
	node_stop(d->cluster.node);
	/* What is still on its way to an origin comes home before its home goes. */
	origins_stop(d->origins);
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
	/* First: from here on it is settled whether somebody takes over. */
	control_stop(d->control);
	daemon_stop_admin(d); /* reads every other room */
	/* Nobody writes until the next one has taken over, so the kernel may go on that long. */
	if (d->fp && d->warm.successor < 0)
		lease_revoke(&d->lease);
	promoter_stop(d->promoter); /* it counts in net's */
	close_net(d);
	daemon_close_cluster(d);
	origins_free(d->origins);
	close_store(d);
	hot_choices_fini(&d->hot);
	tracker_free(d->tracker);
	eventlog_free(d->events);
	kmap_free(d->kmap);
	locals_close(d->locals);
	warden_stop(d->warden);
	if (d->fp && d->warm.successor >= 0)
		lease_renew(&d->lease, clock_now_ns(d->clock));
	fastpath_close(d->fp);
	budget_close(&d->budget);
	loop_fini(&d->loop);
	swap_fini(&d->routes);
	swap_fini(&d->users);
	process_remove_pid(d->config.pid_file);
	config_fini(&d->config);
	if (d->warm.successor >= 0)
		warm_give(&d->warm);
	else
		warm_fini(&d->warm);
}

int main(int argc, char **argv)
{
	struct daemon d = { .clock = clock_system(), .argc = argc, .argv = argv };
	bool exit_now = false;
	int err = process_defer_reload();

	if (!err)
		err = config_load(argc, argv, &d.config, &exit_now);
	if (err || exit_now)
		return err ? EXIT_FAILURE : EXIT_SUCCESS;
	log_set_level(d.config.log_level);
	warm_init(&d.warm);
	pthread_mutex_init(&d.config_lock, NULL);
	swap_init(&d.routes);
	swap_init(&d.users);
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
