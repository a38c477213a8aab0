/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * response - a reply being put together.
 *
 * Does      collects composed text and borrowed runs of bytes, in order, as an iovec to send.
 * Shape     text is copied into a fixed arena and, past it, into heap blocks; short runs are copied
 *           too, since one more iovec costs more than a copy; long runs are only pointed to.
 * Units     bytes.
 * Errors    out of memory sets `failed`; the reply is then not fit to be sent.
 * Owner     arena and blocks are its own. Borrowed runs belong to whoever lent them and must stay
 *           until the reply is sent or response_detach has copied them.
 * Threads   one thread.
 */
#ifndef XC_PROTOCOL_RESPONSE_H
#define XC_PROTOCOL_RESPONSE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/span.h"

/* Runs up to this long are copied. */
#define RESPONSE_COPY_MAX 1024

struct response_block;

struct response {
	struct iovec *iov;
	uint32_t iov_cnt;
	uint32_t iov_max;
	uint8_t *arena; /* first text block, kept */
	uint32_t arena_max;
	uint8_t *text; /* where text goes now */
	uint32_t text_len;
	uint32_t text_max;
	uint64_t bytes;	     /* of the whole reply */
	uint64_t bytes_full; /* from here on response_full */
	struct response_block *blocks;
	bool borrows;
	bool failed;
};

int response_init(struct response *resp, uint32_t arena_max, uint64_t bytes_full);
void response_fini(struct response *resp);
/* Empty again; whatever was borrowed is let go. */
void response_reset(struct response *resp);

/* Room for len bytes of text; use them with response_commit. NULL: out of memory, failed is set. */
uint8_t *response_reserve(struct response *resp, uint32_t len);
void response_commit(struct response *resp, uint32_t len);
/* Copies. */
void response_put(struct response *resp, const void *bytes, size_t len);
/* Copies when short, else borrows. */
void response_lend(struct response *resp, struct span bytes);
/* True if run i is borrowed. */
bool response_lends(const struct response *resp, uint32_t i);
/* Takes over what is borrowed, so that its owner may reuse it. False: out of memory. */
bool response_detach(struct response *resp);

/* Time to send before composing more. */
static inline bool response_full(const struct response *resp)
{
	return resp->bytes >= resp->bytes_full || resp->failed;
}

/* Cuts the reply back to its first `bytes` bytes, which a caller noted before. */
void response_truncate(struct response *resp, uint64_t bytes);

#endif
