/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn - one client on a stream: TCP or a unix socket.
 *
 * Does      its life, its input and output; serve.h has its requests.
 * Shape     a connection is in exactly one of the states that serve.c draws; an idle one owns no
 *           buffer.
 * Errors    whatever cannot be answered closes the connection.
 * Threads   its worker's. `state` and `last_ns` are read by `stats conns` of others.
 */
#ifndef XC_NET_CONN_H
#define XC_NET_CONN_H

#include "net/worker.h"
#include "protocol/request.h"

struct conn {
	struct loop_source source;
	struct command_client client;
	struct worker *worker;
	struct conn *prev; /* worker->conns */
	struct conn *next;
	struct conn *link;     /* ready, dead or spare list */
	struct conn *out_prev; /* worker->writers */
	struct conn *out_next;
	struct conn *watch_prev; /* worker->watchers */
	struct conn *watch_next;
	const struct worker_socket *from;
	struct tls_conn *tls; /* NULL: plain */
	uint32_t waits_for;   /* events in the loop */

	struct buffer in;	       /* bytes that wait for more, or for their turn */
	struct buffer out;	       /* reply bytes the socket did not take */
	struct backlog_copy *copy;     /* they are still being copied; NULL: all are there */
	uint64_t out_ns;	       /* since when it has not */
	uint64_t need;		       /* no request is whole before this many bytes are there */
	uint64_t scanned;	       /* bytes of `in` known to hold no line end */
	uint64_t skip;		       /* bytes of a refused value to throw away */
	struct command_upload *upload; /* a large value on its way into the store */
	uint64_t upload_left;	       /* of it, with its line end */
	uint64_t parked_ns; /* since when its large value waits for room; 0: it does not */
	uint8_t upload_end[2];
	struct request line;		/* the retrieval or the list that is being answered */
	uint64_t line_len;		/* of the list's line; 0: there is no list */
	struct eventlog_stream *events; /* a watcher: takes no requests any more */
	const char *end_reason;		/* for watchers */
	enum command_protocol protocol; /* AUTO: its first byte will tell */
	bool authenticated;		/* where somebody must be */
	bool in_line;
	bool skip_line; /* throw away up to the next line end */
	bool closing;	/* once `out` is sent */
	bool refused;	/* closing with input unread: linger, or the reason is lost with it */
	bool lingering; /* said everything; throws away what still comes */
	bool queued;	/* in the worker's ready or parked list */
	bool dead;
	bool writing;	  /* waits for the socket to take more */
	bool handshaking; /* TLS is not up yet; last_ns is when it began */
	uint8_t state;	  /* index of conn_states */
	uint64_t last_ns;
};

/* Takes over fd. */
void conn_open(struct worker *w, const struct worker_socket *from, int fd);
void conn_close(struct conn *c);
/* Goes on with requests left over from the last turn. */
void conn_resume(struct conn *c);
/* Closes it if it is idle for longer than the settings allow, lingering or shaking hands for too
 * long, or an upload that others wait for and that does not come. */
void conn_close_overdue(struct conn *c, uint64_t now_ns);
/* For a worker that stops: takes what has arrived, answers it. True: nothing is left to do. */
bool conn_drain(struct conn *c);
/* It has a stream of events from here on. */
void conn_watch(struct conn *c, struct eventlog_stream *events);
/* Sends a watcher what has happened. */
void conn_send_events(struct conn *c);
/* Frees what conn_close took out of use. End of turn. */
void conn_reap(struct worker *w);
const char *conn_state(const struct conn *c);

#endif
