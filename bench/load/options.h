/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options - what to run against what.
 *
 * Does      one table -> command line and --help.
 * Errors    -EINVAL after a line on stderr.
 * Owner     strings are argv's.
 */
#ifndef XC_LOAD_OPTIONS_H
#define XC_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sock.h"

#define OPTIONS_OUTSTANDING_MAX 4096U
#define OPTIONS_SOCKET_MAX 64
#define OPTIONS_CONN_MAX 1024
#define OPTIONS_VALUE_MAX (1U << 20)

struct options {
	const char *server_udp_text;
	const char *server_tcp_text;
	struct sock_addr server_udp; /* len 0: reads go over TCP */
	struct sock_addr server_tcp;

	const char *trace; /* NULL: generated */
	bool check;	   /* read the trace, no more */
	bool repeat;
	uint64_t seed;
	double duration_sec;  /* 0: no bound */
	uint64_t request_max; /* 0: no bound */
	uint32_t key_cnt;
	uint32_t key_len; /* 0: ETC */
	uint32_t value_len;
	bool value_len_given; /* else ETC, or the trace's */
	uint32_t value_max;
	double zipf_exponent; /* negative: from the ETC popularity */
	double write_share;   /* percent of requests */
	double delete_share;  /* percent of writes */
	double ttl_share;     /* percent of sets that carry a TTL */
	uint32_t ttl_max_sec;
	bool prefill;
	bool flush;

	uint32_t outstanding; /* UDP: requests on their way; TCP: a connection's */
	uint32_t socket_cnt;
	uint32_t conn_cnt;
	uint32_t timeout_ms; /* of the first try; doubles */
	uint32_t retry_max;
	uint64_t lost_max;
	uint32_t reconnect_max;
	uint32_t kernel_ttl; /* IP TTL of the fast path's replies; 0: not told apart */

	const char *stats_cmd;
	bool json;
	bool quiet;
	bool progress;
};

/* *ret_exit: --help was asked and answered. */
int options_parse(int argc, char **argv, struct options *ret, bool *ret_exit);

#endif
