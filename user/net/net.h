/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * net - the memcached server: TCP, UDP and unix sockets, one thread a core.
 *
 * Does      binds, accepts, reads requests, hands them to the commands, sends their replies.
 * Shape     each worker has its own SO_REUSEPORT listeners and serves what the kernel gives them;
 *           the unix socket is shared.
 * Units     bytes; ports in host order.
 * Errors    negative errno after one log line that says what to do next.
 * Owner     descriptors, threads, connections and the struct command are its own; store, tracker,
 *           clock and every string of the options are borrowed for its whole life.
 * Threads   all functions from the main thread.
 * Invariant memory for a connection is bounded: a client that does not read is not read from, and
 *           what it has not taken is at most one reply of item_max and a little.
 * Source    docs/protocol.md.
 */
#ifndef XC_NET_NET_H
#define XC_NET_NET_H

#include <stdio.h>

#include "command/command.h"

struct net;

struct net_options {
	/* Ports of 0 are off, of -1 any free one (net_tcp_port tells). */
	struct command_settings settings;
	/* -l: "host", "host:port", "[v6]:port", perhaps behind "notls:"; none: all addresses */
	const char *const *listen;
	uint32_t listen_cnt;
	const char *const *allow; /* UDP sources, CIDR; none: loopback only */
	uint32_t allow_cnt;
	struct store *store;
	struct tracker *tracker; /* NULL: hot keys are not tracked */
	struct eventlog *events; /* NULL: nobody can watch */
	struct swap *routes;	 /* command's; NULL: none ever */
	struct origins *origins; /* command's; NULL: none */
	struct swap *users;	 /* NULL: nobody has to authenticate */
	/* Keys of other nodes; NULL: there are none. Its thread takes one more command worker. */
	const struct forward *forward;
	const struct clock *clock;
	struct command_hooks hooks;
	/* Bound sockets of an earlier process: those that fit are used and are net's then, and -1
	 * here. The rest stays the caller's. */
	int *inherited;
	uint32_t inherited_cnt;
};

/* The address of a -l item. *ret_plain (may be NULL): it stays without TLS. */
const char *net_listen_address(const char *item, bool *ret_plain);

/* Resolves and binds every address, reads certificates: the one step that may need privileges. */
int net_open(const struct net_options *options, struct net **ret);
/* From here on requests are answered. */
int net_start(struct net *net);
/*
 * Stops accepting, answers what has arrived, waits a bounded time for it to be taken, ends threads.
 */
void net_stop(struct net *net);
void net_close(struct net *net); /* NULL-safe; after net_stop if it was started */

/*
 * Copies of every socket that listens, for a process that goes on with them: they stay open when
 * these are closed, and the unix socket keeps its path. Returns how many; after net_open.
 */
uint32_t net_share(struct net *net, int *ret_fds, uint32_t max);

/* Reads certificates again, and says in the log how that went; 0 without TLS. */
int net_reload_tls(struct net *net);

uint16_t net_tcp_port(const struct net *net); /* 0: none */
uint16_t net_udp_port(const struct net *net);
/* A line "TCP INET: 11211" for each address that is listened on: what memcached writes. */
void net_print_ports(const struct net *net, FILE *out);
/* How many turns took how long: returns the number of buckets, at most max. Any thread. */
uint32_t net_times(const struct net *net, uint64_t *ret_ends_ns, uint64_t *ret_cnts, uint32_t max);
struct command *net_command(struct net *net);

#endif
