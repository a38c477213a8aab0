/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon - the rooms of one running xdpcached, and how each is set up.
 *
 * Does      holds every room; main.c says in which order they come and go, daemon_store.c what
 *           holds items, daemon_hot.c who is in the kernel, daemon_net.c what speaks to the
 *           outside, daemon_admin.c what operators see over HTTP.
 * Errors    negative errno; what went wrong and what to do about it is in the log.
 * Owner     main.
 * Threads   main, but for the functions that rooms call back, which say so where they are given.
 */
#ifndef XC_DAEMON_H
#define XC_DAEMON_H

#include "base/clock.h"
#include "base/loop.h"
#include "base/sock.h"
#include "base/swap.h"
#include "budget.h"
#include "config.h"
#include "control/metrics.h"
#include "control/server.h"
#include "fastpath/lease.h"
#include "hot_file.h"
#include "observe/http.h"
#include "observe/page.h"
#include "warm.h"

/* Over HTTP; see daemon_admin.c. */
#define DAEMON_PAGE_CNT (3 + PAGE_FILE_CNT)

struct daemon_cluster {
	struct config_cluster nodes;
	struct ring *ring;
	struct sock_addr *addrs; /* of each, for the others */
	uint16_t self;
	struct node *node; /* NULL: alone */
	struct command_tls tls_options;
	struct tls *tls; /* between nodes; NULL: plain */
};

struct daemon {
	struct config config;
	pthread_mutex_t config_lock; /* for what a reload changes in it: routes, rate */
	int argc;
	char **argv;
	struct swap routes;
	struct swap users; /* empty: nobody has to authenticate */
	const struct clock *clock;
	uint64_t start_ns;
	struct fastpath *fp; /* NULL: no fast path */
	struct warden *warden;
	struct budget budget;
	struct warm warm;
	uint64_t memory_max; /* -m and what cache_memlimit may make of it */
	struct store *store;
	struct kmap *kmap;
	struct tracker *tracker;
	struct hot_choices hot; /* until the promoter has them */
	struct eventlog *events;
	struct promoter *promoter;
	struct net *net;
	struct daemon_cluster cluster;
	struct origins *origins; /* NULL: there is none */
	struct control *control;
	struct locals *locals;
	struct metrics *metrics;	/* NULL: no HTTP */
	struct http *http;		/* the same, or its address was taken */
	struct control_sources sources; /* what metrics are made of */
	struct control_metrics numbers;
	struct http_page pages[DAEMON_PAGE_CNT];
	_Atomic uint64_t alive_ns; /* the main loop's last round */
	struct lease lease;
	struct loop loop;
	struct loop_source on_signal, on_timer, on_address;
	bool stopping;
	_Atomic bool serving; /* set up whole: what is in the store is worth keeping */
	bool deposed;	      /* another process has the maps */
	bool growth_failed;   /* and was told of; the reclaimer's */
};

/* Log, with or without a fast path, and the store in it, with what an earlier process left. */
int daemon_open_store(struct daemon *d);
/* An RCU grace period. Any thread. */
void daemon_grace(void *ctx);
/* Kernel entries that the store vouches for; from here on it keeps them right. */
int daemon_adopt_entries(struct daemon *d);
int daemon_open_tracker(struct daemon *d);
int daemon_open_events(struct daemon *d);
/* What operators saved; where there is nothing, or nothing sound, the configuration counts. */
int daemon_load_hot(struct daemon *d);
int daemon_start_promoter(struct daemon *d);
/* For the control server: its thread. */
int daemon_save_hot(void *ctx, char *why);
/* Binds; nothing is answered yet. */
int daemon_open_net(struct daemon *d);
/* Into the file that MEMCACHED_PORT_FILENAME names, if it does: what is listened on. */
void daemon_write_ports(const struct daemon *d);
/* The limit of each source, where a reload says another. */
void daemon_reload_rate(struct daemon *d, const struct config *fresh);
/* The program on its interfaces, guards and addresses in its maps; no lease yet. */
int daemon_attach(struct daemon *d);
int daemon_open_control(struct daemon *d);
/* What this daemon knows, for whoever shows it. */
struct control_sources daemon_sources(struct daemon *d);
/* Metrics, health and readiness over HTTP: binds; then, in the sandbox, answers. */
int daemon_open_admin(struct daemon *d);
int daemon_start_admin(struct daemon *d);
void daemon_stop_admin(struct daemon *d);

/* This daemon's place in the cluster, if it is of one; after the store, before what counts workers.
 */
int daemon_open_cluster(struct daemon *d);
int daemon_start_cluster(struct daemon *d);
/* The key is this node's, or there is no cluster. Any thread. */
bool daemon_answers_for(const struct daemon *d, struct span key);
/* SIGHUP: certificates. */
void daemon_reload_cluster(struct daemon *d);
/* For the control server: its thread. */
void daemon_print_cluster(void *ctx, FILE *out);
/* After net: its commands end first. */
void daemon_close_cluster(struct daemon *d);
/* Command workers: net's threads, and the node's. */
static inline uint32_t daemon_worker_cnt(const struct daemon *d)
{
	return d->config.thread_cnt + (d->config.cluster_file ? 1 : 0);
}

/* The origins that routes name; after the store, before the routes. */
int daemon_open_origins(struct daemon *d);
int daemon_start_origins(struct daemon *d);
/* A source of metrics; ctx is the daemon. */
void daemon_origin_metrics(void *ctx, struct metrics_page *page);
/* The table of the configuration's routes, for the rooms to pick up. */
int daemon_open_routes(struct daemon *d);
/* The users of -S or -Y; after a mistake those there are stay. Also for a reload. */
int daemon_open_users(struct daemon *d);
/*
 * SIGHUP: reads the configuration and the users again and applies routes, rate and users; on a
 * mistake nothing changes.
 */
void daemon_reload(struct daemon *d);
/* The key's route lets it into the kernel. Main thread. */
bool daemon_promotes(const struct daemon *d, struct span key);
/* route_window_ns of its route. */
uint64_t daemon_window_ns(const struct daemon *d, struct span key);

#endif
