/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compose_meta - replies of memcached's meta commands.
 *
 * Does      writes the return code and, in the order in which the client asked, each flag that the
 *           reply has a value for.
 * Units     times to live in seconds, -1: never expires.
 * Rule      q keeps HD and EN silent, and nothing else. Errors are compose_text's words.
 * Source    memcached doc/protocol.txt (1.6.45).
 */
#ifndef XC_PROTOCOL_COMPOSE_META_H
#define XC_PROTOCOL_COMPOSE_META_H

#include "protocol/compose.h"

/* Of these only status and stored. */
extern const struct compose compose_meta;

/* An item that mg or ma found or made. */
struct compose_meta_item {
	struct span key;
	bool key_binary;
	bool with_value; /* the caller puts value_len bytes and a line end behind this */
	uint64_t value_len;
	uint64_t cas;
	uint32_t flags;
	uint64_t idle_sec;
	bool fetched;
	/* T and N change what a t behind them tells. */
	int64_t ttl_sec;
	int64_t touched_ttl_sec;
	int64_t vivified_ttl_sec;
	bool made;
	bool won_before;
	bool stale;
	bool won_now;
};

void compose_meta_item(struct response *resp, const struct request *req,
		       const struct compose_meta_item *item);

/* What me tells. */
struct compose_meta_debug {
	struct span key;
	bool key_binary;
	int64_t ttl_sec;
	uint64_t idle_sec;
	uint64_t cas;
	bool fetched;
	uint64_t size; /* the item's, with its header and key */
	bool stale;
	bool won;
	bool in_kernel;
};

void compose_meta_debug(struct response *resp, const struct request *req,
			const struct compose_meta_debug *item);

#endif
