/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * serve - the turn of one request.
 *
 * Does      cuts a connection's bytes into requests and values and has them carried out, one step a
 *           call; the reply grows in the worker's struct response. Reads and sends nothing.
 * Shape     a connection is in exactly one of the states that serve.c draws.
 * Errors    whatever cannot be answered ends in SERVE_CLOSE.
 * Threads   the connection's worker.
 */
#ifndef XC_NET_SERVE_H
#define XC_NET_SERVE_H

#include <stdbool.h>
#include <stdint.h>

struct buffer;
struct conn;

enum serve_step {
	SERVE_ON,    /* progress; look for more */
	SERVE_WAIT,  /* more input is needed */
	SERVE_SEND,  /* the reply is full */
	SERVE_PARK,  /* there is no room for the value now, or no answer yet */
	SERVE_CLOSE, /* after sending */
};

/* The next step of what `in` holds, which is not empty. */
enum serve_step serve_step(struct conn *c, struct buffer *in);
/* So many bytes of `in` are done with. */
void serve_take(struct conn *c, struct buffer *in, uint64_t len);
/* Gives a large value on its way up; nothing when there is none. */
void serve_drop_upload(struct conn *c);
/* Its value has come and its answer has not: serve_step goes on without more bytes. */
bool serve_upload_is_whole(const struct conn *c);

#endif
