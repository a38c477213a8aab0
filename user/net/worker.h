/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker - one thread of the server.
 *
 * Does      runs a loop: waits, ends the last turn's views, serves what is ready, goes on with
 *           connections that had more than their share of a turn.
 * Shape     one reply and one input buffer for all connections, which is cache-warm and enough:
 *           what a connection leaves unfinished moves to buffers of its own.
 * Owner     its connections, sockets and buffers.
 * Threads   everything belongs to the worker's thread, but `conns` (changed and walked by others
 *           under `lock`) and `stop`.
 */
#ifndef XC_NET_WORKER_H
#define XC_NET_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/cidr.h"
#include "base/loop.h"
#include "base/sock.h"
#include "command/command.h"
#include "net/pool.h"
#include "observe/eventlog.h"

struct conn;
struct tls;
struct udp_io;

/* Addresses times transports of one worker. */
#define WORKER_SOCKET_MAX 32

struct worker;

enum worker_socket_kind { WORKER_TCP, WORKER_UDP, WORKER_UNIX };

struct worker_socket {
	struct loop_source source;
	struct worker *worker;
	enum worker_socket_kind kind;
	bool tls; /* its connections shake hands first */
	struct sock_addr addr;
};

/* Times of turns, from 1 us: each bucket ends at 1.41 times its predecessor, the last has the
 * rest. */
#define WORKER_TIME_CNT 40

/* What all workers share; constant while they run, but conn_cnt. */
struct worker_shared {
	const struct command_settings *settings;
	const struct clock *clock;
	const struct cidr *allow;
	uint32_t allow_cnt;
	uint16_t udp_port;
	bool goes_on; /* another process has the sockets, too: what waits there is its */
	struct eventlog *events;
	struct swap *users;   /* NULL: nobody has to authenticate */
	struct tls *tls;      /* NULL: off */
	uint64_t backlog_max; /* unread reply bytes a worker keeps for its clients */
	_Atomic uint32_t conn_cnt;
};

struct worker {
	struct worker_shared *shared;
	struct command_worker *command;
	struct command_counts *counts;
	struct loop loop;
	struct pool pool;
	struct buffer scratch; /* input of the connection being served */
	struct response resp;
	uint8_t *tls_record; /* what is put together to be encrypted; NULL: no TLS */
	struct udp_io *udp;  /* NULL: no UDP */
	struct worker_socket sockets[WORKER_SOCKET_MAX];
	uint32_t socket_cnt;
	int spare_fd; /* let go of to refuse a connection when there is no other descriptor */

	pthread_mutex_t lock;
	struct conn *conns;	  /* all of this worker's */
	struct conn *ready_first; /* have requests left over from their last turn */
	struct conn *ready_last;
	struct conn *parked; /* wait for room for a large value */
	struct conn *dead;   /* closed in this turn; freed at its end */
	struct conn *spare;  /* kept for reuse */
	uint32_t spare_cnt;
	struct conn *watchers; /* have a stream of events */
	struct conn *writers;  /* hold reply bytes; the one that has for longest first */
	struct conn *writers_last;
	uint64_t backlog_bytes;
	struct backlog_copy *copies; /* see backlog.h */
	uint64_t idle_check_ns;
	uint64_t unpark_ns; /* when those that wait for room tried last */
	uint32_t linger_cnt;
	uint32_t handshake_cnt;
	uint32_t handshake_steps; /* taken in this turn */
	uint32_t upload_cnt;

	/* Turns that served somebody, by how long they took; others read them. */
	_Atomic uint64_t times[WORKER_TIME_CNT];

	uint32_t idx;
	pthread_t thread;
	bool started;
	_Atomic bool stop;
};

/* Where a bucket of times ends. */
uint64_t worker_time_end_ns(uint32_t bucket);
int worker_init(struct worker *w, struct worker_shared *shared, struct command *command,
		uint32_t idx);
void worker_fini(struct worker *w);
/* Takes over fd, also on failure. tls: of a TCP socket; the others have none. */
int worker_add_socket(struct worker *w, int fd, enum worker_socket_kind kind, bool tls,
		      const struct sock_addr *addr);
int worker_start(struct worker *w);
/* Asks; worker_join waits. */
void worker_stop(struct worker *w);
void worker_join(struct worker *w);
/* What listens, and who is connected. Any thread. */
void worker_walk_sockets(struct worker *w, void (*emit)(void *ctx, const struct command_conn *conn),
			 void *ctx);
void worker_walk_conns(struct worker *w, uint64_t now_ns,
		       void (*emit)(void *ctx, const struct command_conn *conn), void *ctx);

#endif
