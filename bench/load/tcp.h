/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tcp - the clients' connections.
 *
 * Does      keeps a number of connections open, pipelines requests, and hands replies back in
 *           order.
 * Errors    a broken connection (closed, reset, a reply that breaks the protocol) is told to
 *           `broken`, which may have it opened again.
 * Threads   the loop's.
 */
#ifndef XC_LOAD_TCP_H
#define XC_LOAD_TCP_H

#include "base/loop.h"
#include "options.h"
#include "text.h"

struct tcp_faces {
	void (*reply)(void *ctx, uint32_t op_idx, const struct text_reply *reply);
	/*
	 * A connection is gone. True: it is to be opened again; once it is, `resend` is called for
	 * each operation that waits for a reply on it, in order. reason NULL: the server has not
	 * come back in half a minute.
	 */
	bool (*broken)(void *ctx, const char *reason);
	void (*resend)(void *ctx, uint32_t op_idx);
	void *ctx;
};

struct tcp;

/* Connects all; each connection can have op_cnt requests on their way. */
int tcp_open(const struct options *options, struct loop *loop, const struct tcp_faces *faces,
	     uint32_t op_cnt, struct tcp **ret);
void tcp_close(struct tcp *tcp); /* NULL-safe */

/*
 * Room for a request of len bytes at the end of connection op_idx % conn_cnt's output; to be
 * filled before the next call. NULL: no memory.
 */
uint8_t *tcp_send(struct tcp *tcp, uint32_t op_idx, enum text_request request, uint32_t len);
void tcp_flush(struct tcp *tcp);
/* Opens broken connections again; to be called every few milliseconds. */
void tcp_tick(struct tcp *tcp, uint64_t now_ns);

#endif
