/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transfers - HTTP without waiting: libcurl's multi interface on an event loop.
 *
 * Does      carries out any number of transfers at once; keeps and shares their connections.
 * Shape     a transfer is a libcurl handle that its owner has set up, and what is to be called when
 *           it ends. The loop tells of sockets, transfers_turn of time.
 * Units     moments in ns of the clock.
 * Errors    -ENOMEM. What became of a transfer is its CURLcode.
 * Owner     handles and struct transfer are the caller's and stay until done was called, or until
 *           transfers_cancel. libcurl's private pointer of the handle is ours.
 * Threads   the loop's; libcurl looks up host names in threads of its own.
 * Invariant done is called once for each transfer that was added and not cancelled, never from
 *           within transfers_add. It may add and cancel others and free the handle.
 * Source    libcurl's curl_multi_socket_action(3).
 */
#ifndef XC_BASE_TRANSFERS_H
#define XC_BASE_TRANSFERS_H

#include <stdint.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "base/loop.h"

struct transfers;

struct transfer {
	CURL *easy;
	void (*done)(struct transfer *transfer, CURLcode code);
	/* transfers.c's */
	struct transfers *home;
	struct transfer *next, *prev;
};

/* connection_max: to one server; what is more waits for one of them. */
int transfers_new(const struct clock *clock, struct loop *loop, uint32_t connection_max,
		  struct transfers **ret);
/* Ends what is under way with CURLE_ABORTED_BY_CALLBACK. NULL-safe. */
void transfers_free(struct transfers *transfers);
int transfers_add(struct transfers *transfers, struct transfer *transfer);
/* done is not called. */
void transfers_cancel(struct transfer *transfer);
/* Lets time take effect. */
void transfers_turn(struct transfers *transfers);
/* When to call it at the latest; UINT64_MAX: never, as it is. */
uint64_t transfers_next_ns(const struct transfers *transfers);

#endif
