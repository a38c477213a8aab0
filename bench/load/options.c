/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/limits.h"
#include "abi/wire.h"
#include "etc.h"
#include "keys.h"

enum option_type {
	OPTION_FLAG,
	OPTION_U32,
	OPTION_U64,
	OPTION_REAL,
	OPTION_TEXT,
};

struct option_row {
	const char *name;
	const char *arg;
	enum option_type type;
	size_t at;
	double min, max;
	const char *help;
};

#define FIELD(field) offsetof(struct options, field)
#define WRITE_SHARE_DEFAULT (100.0 / (ETC_GETS_PER_SET + 1))

static const struct option_row rows[] = {
	{ "server-udp", "ADDR:PORT", OPTION_TEXT, FIELD(server_udp_text), 0, 0,
	  "read over UDP from here; without it over TCP" },
	{ "server-tcp", "ADDR:PORT", OPTION_TEXT, FIELD(server_tcp_text), 0, 0,
	  "write (and fill after misses) over TCP to here; required" },
	{ "trace", "FILE", OPTION_TEXT, FIELD(trace), 0, 0,
	  "replay: lines KEY, or TIME,KEY,SIZE[,TTL]; .xz is unpacked" },
	{ "check", NULL, OPTION_FLAG, FIELD(check), 0, 0,
	  "only read the trace, and say what is wrong with it" },
	{ "repeat", NULL, OPTION_FLAG, FIELD(repeat), 0, 0, "start the trace again when it ends" },
	{ "seed", "N", OPTION_U64, FIELD(seed), 0, 0, "of everything that is drawn (20120611)" },
	{ "duration", "SEC", OPTION_REAL, FIELD(duration_sec), 0, 1e6,
	  "stop after this time (10; 0: no bound)" },
	{ "requests", "N", OPTION_U64, FIELD(request_max), 0, 0, "stop after so many requests" },
	{ "keys", "N", OPTION_U32, FIELD(key_cnt), 1, KEYS_MAX, "generated keys (100000)" },
	{ "key-size", "N", OPTION_U32, FIELD(key_len), 1, XC_KEY_MAX,
	  "their length (default: drawn from ETC)" },
	{ "value-size", "N", OPTION_U32, FIELD(value_len), 0, OPTIONS_VALUE_MAX,
	  "length of generated values, varied a little from 64 on (default: drawn from ETC)" },
	{ "value-max", "N", OPTION_U32, FIELD(value_max), 0, OPTIONS_VALUE_MAX,
	  "longer values, drawn or from a trace, are cut to this (4096)" },
	{ "zipf", "S", OPTION_REAL, FIELD(zipf_exponent), 0, 8,
	  "popularity of generated keys (default: as ETC's; 0: uniform)" },
	{ "writes", "PERCENT", OPTION_REAL, FIELD(write_share), 0, 100,
	  "requests that write (3.2: ETC's 30 GETs a SET)" },
	{ "deletes", "PERCENT", OPTION_REAL, FIELD(delete_share), 0, 100,
	  "writes that delete (20)" },
	{ "ttl-share", "PERCENT", OPTION_REAL, FIELD(ttl_share), 0, 100,
	  "sets that carry a TTL (0)" },
	{ "ttl-max", "SEC", OPTION_U32, FIELD(ttl_max_sec), 1, 86400,
	  "TTLs are drawn from 1 to this (10)" },
	{ "prefill", NULL, OPTION_FLAG, FIELD(prefill), 0, 0, "set every key once before" },
	{ "flush", NULL, OPTION_FLAG, FIELD(flush), 0, 0, "empty the server before (flush_all)" },
	{ "outstanding", "N", OPTION_U32, FIELD(outstanding), 1, OPTIONS_OUTSTANDING_MAX,
	  "requests on their way: in all over UDP, a connection over TCP (64; TCP 1)" },
	{ "sockets", "N", OPTION_U32, FIELD(socket_cnt), 1, OPTIONS_SOCKET_MAX,
	  "UDP sockets, each with a port of its own (4)" },
	{ "conns", "N", OPTION_U32, FIELD(conn_cnt), 1, OPTIONS_CONN_MAX, "TCP connections (4)" },
	{ "timeout", "MS", OPTION_U32, FIELD(timeout_ms), 1, 60000,
	  "a UDP request is sent again after this, doubling each time (100)" },
	{ "retries", "N", OPTION_U32, FIELD(retry_max), 0, 16,
	  "then it is lost after so many (5)" },
	{ "lost-max", "N", OPTION_U64, FIELD(lost_max), 0, 0,
	  "more lost requests are a failure (0)" },
	{ "reconnects", "N", OPTION_U32, FIELD(reconnect_max), 0, 100000,
	  "TCP connections that may break and be opened again (0)" },
	{ "kernel-ttl", "N", OPTION_U32, FIELD(kernel_ttl), 1, 255,
	  "UDP replies whose IP TTL is N are the fast path's (it always sends 64; give the "
	  "server's host another one)" },
	{ "stats-cmd", "COMMAND", OPTION_TEXT, FIELD(stats_cmd), 0, 0,
	  "prints the server's counters as JSON (xdpcache stats --json)" },
	{ "json", NULL, OPTION_FLAG, FIELD(json), 0, 0, "the summary as JSON on stdout" },
	{ "quiet", NULL, OPTION_FLAG, FIELD(quiet), 0, 0, "no progress line" },
};

#define ROW_CNT (sizeof(rows) / sizeof(rows[0]))

static void help_print(void)
{
	printf("usage: load --server-tcp ADDR:PORT [--server-udp ADDR:PORT] [OPTION]...\n"
	       "Plays memcached clients with a cache-aside loader and verifies every reply.\n");
	for (uint32_t i = 0; i < ROW_CNT; i++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].arg ? " " : "",
			 rows[i].arg ? rows[i].arg : "");
		printf("  %-24s %s\n", left, rows[i].help);
	}
	printf("Exit status: 0 every reply was right, 1 not, 2 bad arguments, 3 could not run.\n");
}

static int value_refuse(const struct option_row *row, const char *text)
{
	fprintf(stderr, "load: --%s %s: not a valid %s\n", row->name, text, row->arg);
	return -EINVAL;
}

static int value_set(struct options *options, const struct option_row *row, const char *text)
{
	void *field = (uint8_t *)options + row->at;
	char *end = NULL;
	double real;

	switch (row->type) {
	case OPTION_FLAG:
		*(bool *)field = true;
		return 0;
	case OPTION_TEXT:
		*(const char **)field = text;
		return 0;
	case OPTION_U64:
		errno = 0;
		*(uint64_t *)field = strtoull(text, &end, 0);
		if (errno || end == text || *end || text[0] == '-')
			return value_refuse(row, text);
		return 0;
	case OPTION_U32:
	case OPTION_REAL:
		break;
	}
	real = strtod(text, &end);
	if (end == text || *end || !(real >= row->min && real <= row->max))
		return value_refuse(row, text);
	if (row->type == OPTION_REAL)
		*(double *)field = real;
	else if (real != (double)(uint32_t)real)
		return value_refuse(row, text);
	else
		*(uint32_t *)field = (uint32_t)real;
	return 0;
}

static int address_set(const char *name, const char *text, struct sock_addr *ret)
{
	int cnt = sock_resolve(text, XC_PORT_DEFAULT, ret, 1, NULL);

	if (cnt > 0)
		return 0;
	fprintf(stderr, "load: --%s %s: no such address\n", name, text);
	return -EINVAL;
}

static int finish(struct options *options)
{
	int error;

	if (options->check)
		return 0;
	if (!options->server_tcp_text) {
		fprintf(stderr, "load: --server-tcp is required (--help lists the options)\n");
		return -EINVAL;
	}
	error = address_set("server-tcp", options->server_tcp_text, &options->server_tcp);
	if (!error && options->server_udp_text)
		error = address_set("server-udp", options->server_udp_text, &options->server_udp);
	if (error)
		return error;
	if (!options->outstanding)
		options->outstanding = options->server_udp_text ? 64 : 1;
	if (!options->server_udp_text &&
	    options->outstanding * options->conn_cnt > OPTIONS_OUTSTANDING_MAX) {
		fprintf(stderr, "load: connections times outstanding is more than %u\n",
			OPTIONS_OUTSTANDING_MAX);
		return -EINVAL;
	}
	if (options->value_len_given && options->value_len > options->value_max)
		options->value_max = options->value_len;
	options->progress = !options->quiet && isatty(STDERR_FILENO);
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret, bool *ret_exit)
{
	struct option longs[ROW_CNT + 2] = { 0 };
	int idx, got;

	*ret = (struct options){
		.seed = 20120611,
		.duration_sec = 10,
		.key_cnt = 100000,
		.value_max = 4096,
		.zipf_exponent = -1,
		.write_share = WRITE_SHARE_DEFAULT,
		.delete_share = 20,
		.ttl_max_sec = 10,
		.socket_cnt = 4,
		.conn_cnt = 4,
		.timeout_ms = 100,
		.retry_max = 5,
	};
	*ret_exit = false;
	for (uint32_t i = 0; i < ROW_CNT; i++) {
		longs[i].name = rows[i].name;
		longs[i].has_arg = rows[i].arg ? required_argument : no_argument;
	}
	longs[ROW_CNT] = (struct option){ .name = "help", .val = 'h' };
	while ((got = getopt_long(argc, argv, "h", longs, &idx)) != -1) {
		if (got == 'h') {
			help_print();
			*ret_exit = true;
			return 0;
		}
		if (got != 0 || value_set(ret, &rows[idx], optarg))
			return -EINVAL;
		if (rows[idx].at == FIELD(value_len))
			ret->value_len_given = true;
	}
	if (optind < argc) {
		fprintf(stderr, "load: what is \"%s\"?\n", argv[optind]);
		return -EINVAL;
	}
	return finish(ret);
}
