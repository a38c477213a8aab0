/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * etcd_text - what is said to etcd's JSON gateway, and what it answers.
 *
 * Does      composes the bodies of requests and reads those of answers, of the few calls that
 *           etcd.c needs.
 * Shape     keys and values are base64 in them, 64-bit numbers are strings; what is 0 is left out.
 * Units     leases' times in seconds.
 * Errors    compose: NULL out of memory. parse: -EBADMSG no such answer, -ENOMEM.
 * Owner     texts are the caller's to free(). What a range was read into is complete in itself.
 * Threads   any; no state.
 * Source    etcd 3.4, rpc.proto, by way of grpc-gateway below /v3/.
 */
#ifndef XC_CLUSTER_ETCD_TEXT_H
#define XC_CLUSTER_ETCD_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct etcd_kv {
	struct span key, value;
	uint64_t create_revision, mod_revision;
	uint64_t lease; /* 0: none */
};

struct etcd_range {
	uint64_t revision; /* of etcd's store when it was read */
	uint32_t cnt;
	struct etcd_kv *kvs;
	uint8_t *bytes; /* that keys and values lie in */
};

/* A key is to be as it was when it was read, or a write is not done. */
struct etcd_guard {
	const char *key;
	bool same_creation; /* else: the same modification */
	uint64_t revision;  /* 0: it is not there */
};

char *etcd_text_grant(uint32_t ttl_sec);
/* To renew a lease, or to give it back. */
char *etcd_text_lease(uint64_t lease);
/* lease 0: stays until it is removed. */
char *etcd_text_put(const char *key, struct span value, uint64_t lease);
char *etcd_text_put_if(const char *key, struct span value, uint64_t lease,
		       const struct etcd_guard *guards, uint32_t guard_cnt);
/* All keys that begin so; the prefix is not empty. */
char *etcd_text_range(const char *prefix);
/* … and every change of them from that revision on. */
char *etcd_text_watch(const char *prefix, uint64_t revision);

/* To a grant or a renewal; *ret_ttl_sec 0: there is no such lease. */
int etcd_text_parse_lease(struct span text, uint64_t *ret_lease, uint32_t *ret_ttl_sec);
/* Was it done? */
int etcd_text_parse_put_if(struct span text, bool *ret_done);
int etcd_text_parse_range(struct span text, struct etcd_range *ret);
void etcd_range_fini(struct etcd_range *range); /* all zero: nothing to do */

#endif
