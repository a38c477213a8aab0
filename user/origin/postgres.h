/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * postgres - an origin that is a PostgreSQL database.
 *
 * Does      runs prepared statements with parameters over a small pool of connections, many on
 *           their way in each; brings lost connections back.
 * Shape     connection: down --(its pause)--> connecting --> preparing --> ready --(lost)--> down.
 *           Every statement is prepared once a connection, before it takes queries; each query is a
 *           transaction of its own, in pipeline mode behind those before it.
 *           Parameters and values are bytes: as text, where the server says that a parameter or a
 *           column is bytea as they are.
 * Units     moments in ns of the clock.
 * Errors    postgres_new: -ENOMEM, -EINVAL the connection string is none. What becomes of a query
 *           is its answer: FAILED what another try may mend (not connected, lost, past its
 *           deadline, deadlock, out of resources), REFUSED what none will (a constraint, a table
 *           that is not there).
 * Owner     queries are the caller's and stay where they are until done was called. Nothing is done
 *           by itself: the caller's loop tells of sockets, postgres_turn of time.
 * Threads   the origin's thread alone. Looking up a host name waits for the name server: an address
 *           (hostaddr) or a socket's path does not.
 * Invariant done is called once for each query, not from within postgres_ask, at the latest in the
 *           first postgres_turn after its deadline. The server gives up on what it still does then
 *           by its own statement_timeout; a connection that gives no sign by GRACE after that is
 *           closed.
 * Source    PostgreSQL 15: "Pipeline Mode", "Asynchronous Command Processing", appendix A.
 */
#ifndef XC_ORIGIN_POSTGRES_H
#define XC_ORIGIN_POSTGRES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/loop.h"
#include "origin/origin.h"

#define POSTGRES_CONNECTION_MAX 64

/* What an operator's origin of kind "postgresql" is: target is a connection string. */
extern const struct origin_ops postgres_ops;

struct postgres;

struct postgres_conf {
	const char *conninfo;
	const struct origin_statement *statements; /* they outlive the origin */
	uint32_t statement_cnt;
	uint32_t connection_cnt;
	uint32_t pipeline_max; /* queries on their way in one connection */
	uint32_t waiting_max;  /* … and before one is ready */
	uint32_t connect_ms;   /* a connection that is not ready by then is tried anew */
	uint32_t timeout_ms;   /* the server gives up on a statement; no deadline should be later */
	uint32_t pause_ms;     /* before a lost connection is tried again … */
	uint32_t pause_max_ms; /* … doubled each time, up to this */
	const struct clock *clock;
	uint64_t seed; /* spreads the pauses */
};

int postgres_new(const struct postgres_conf *conf, struct loop *loop, struct postgres **ret);
/* Answers what is still asked with FAILED. NULL-safe. */
void postgres_free(struct postgres *postgres);

/*
 * The query was not taken with -EAGAIN: as many as may be are on their way or waiting; -ENOTCONN:
 * no connection is there and none is being made.
 */
int postgres_ask(struct postgres *postgres, struct origin_query *query);

/* Lets time take effect. */
void postgres_turn(struct postgres *postgres);
/* When to call it at the latest; UINT64_MAX: never, as it is. */
uint64_t postgres_next_ns(const struct postgres *postgres);
/* Connections that take queries. */
uint32_t postgres_ready_cnt(const struct postgres *postgres);
/* Why the last connection was lost or not made; "": none was. */
const char *postgres_error(const struct postgres *postgres);

#endif
