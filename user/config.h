/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config - every option of the daemon.
 *
 * Does      one table of options -> command line, configuration file, --help and `config show`.
 *           memcached's flags keep memcached's meaning.
 * Units     as the field names say; sizes in bytes.
 * Errors    config_load prints what is wrong, where, and what to write instead, and returns
 *           -EINVAL.
 * Layers    defaults, then the file (libconfig, or memcached.conf's lines of flags), then the
 *           files of conf.d/ beside it in order of name, then the command line. A list in a later
 *           layer replaces the earlier one's; routes add up instead.
 * Owner     immutable after start, but for the routes and the rate: a reload builds a new
 *           configuration and takes those out of it. Its strings live until config_fini.
 */
#ifndef XC_CONFIG_H
#define XC_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "cluster/ring.h"
#include "command/command.h"
#include "fastpath/loader.h"
#include "origin/origins.h"
#include "route/routes.h"

#define CONFIG_LIST_MAX 64

struct config_list {
	const char *items[CONFIG_LIST_MAX];
	uint32_t cnt;
};

struct config_origin {
	const char *name;
	const char *kind;
	const char *target;
	uint32_t timeout_ms;
	uint32_t waiting_max;
	uint32_t connection_cnt;
	const char *journal;
	uint32_t journal_delay_ms;
};

/* The routes of all files together: what a reload exchanges. */
struct config_routes {
	struct route_rule *rules;
	char **sources; /* file and line of each */
	uint32_t cnt;
};

/*
 * The nodes of a cluster and how many of them hold each item, from a file of their own that all
 * nodes have alike.
 */
struct config_cluster {
	struct ring_node *nodes;
	const char **peers; /* where the other nodes reach each; NULL: see config_cluster_peer */
	uint32_t node_cnt;
	uint32_t copies;
	struct config_memory *memory; /* what the nodes' strings lie in */
};

struct config {
	/* memcached's */
	int32_t tcp_port; /* -p, 0: off, -1: any free one */
	int32_t udp_port; /* -U, the same. When not given: tcp_port with an interface, else off */
	uint64_t udp_reply_max; /* --udp-reply-max, with k and m suffixes */
	const char *unix_path;	/* -s */
	uint32_t unix_mode;	/* -a, octal */
	/*
	 * -l, repeatable and comma separated; each item is "host", "host:port", "[v6]",
	 * "[v6]:port" or "*", perhaps behind "notls:". Empty: all addresses.
	 */
	struct config_list listen;
	uint64_t memory_bytes;	     /* -m, given in MiB */
	uint32_t conn_max;	     /* -c */
	uint32_t thread_cnt;	     /* -t; default: one per online CPU; never 0 once loaded */
	uint64_t item_max;	     /* -I, with k and m suffixes */
	uint32_t verbosity;	     /* -v, repeatable */
	const char *user;	     /* -u */
	const char *pid_file;	     /* -P */
	bool daemonize;		     /* -d */
	bool no_evict;		     /* -M */
	uint32_t backlog;	     /* -b */
	uint32_t requests_per_event; /* -R */
	bool no_flush;		     /* -F */
	bool allow_shutdown;	     /* -A */
	bool no_dump;		     /* -X */
	bool no_watch;		     /* -W */
	const char *protocol;	     /* -B; see config_protocol */
	bool sasl;		     /* -S */
	const char *sasl_pwdb;	     /* --sasl-pwdb; not NULL once loaded with -S */
	const char *auth_file;	     /* -Y; NULL: none */
	uint32_t idle_timeout_sec;   /* -o idle_timeout, 0: never */
	struct command_tls tls;	     /* -Z, -o ssl_… */

	/* ours */
	bool fastpath;			/* --no-fastpath clears; also false without --interface */
	struct config_list interfaces;	/* --interface */
	enum xdp_mode xdp_mode;		/* --xdp-mode */
	struct config_list allow;	/* --allow CIDR; empty: loopback only */
	struct config_list admin_allow; /* --admin-allow CIDR; empty: loopback only */
	uint32_t rate_limit;		/* --rate-limit; 0: none */
	uint32_t rate_burst;		/* --rate-burst; 0: a tenth of a second's worth */
	uint32_t hot_max;		/* --hot-max; 0: from the hot budget */
	/* --hot-threshold: estimated reads a second that make a key hot */
	uint32_t hot_threshold;
	const char *hot_file;	   /* --hot-file; NULL: beside the instance's lock */
	uint32_t negative_ttl_sec; /* --negative-ttl; of routes that say nothing, too */
	uint32_t lease_ms;	   /* --lease-ms */
	const char *eviction;	   /* --eviction; NULL: the store's default */
	const char *memory_file;   /* -e; NULL: none */
	bool upgrade;		   /* --upgrade */
	const char *pin_root;	   /* --pin-root */
	const char *instance;	   /* --instance */
	const char *control_path;  /* --control */
	const char *admin;	   /* --admin; NULL: no HTTP */
	bool admin_given;	   /* the address is the operator's choice, not the default */
	const char *admin_token;   /* --admin-token-file; NULL: none is asked for */
	uint32_t metrics_hot_keys; /* --metrics-hot-keys */
	uint32_t metrics_routes;   /* --metrics-routes */
	bool metrics_hash_keys;	   /* --metrics-hash-keys */
	bool control_given;	   /* the path is the operator's choice, not the default */
	const char *config_file;   /* --config */
	const char *cluster_file;  /* --cluster; NULL: this daemon is alone */
	const char *node;	   /* --node: which of them it is; not NULL with a cluster */
	uint32_t forward_ms;	   /* --forward-timeout-ms */
	/* Between nodes; --cluster-cert, --cluster-key, --cluster-ca: all or none of them. */
	const char *cluster_cert;
	const char *cluster_key;
	const char *cluster_ca;
	enum log_level log_level;
	const char *log_format; /* --log-format */
	/* -D, one byte of it counts; NULL: ':', and `stats detail` is off at the start */
	const char *prefix_delimiter;
	struct config_routes routes;
	struct config_origin origins[ORIGINS_MAX];
	uint32_t origin_cnt;

	struct config_memory *memory; /* config.c's own: strings, and where values came from */
};

/* Takes what building a configuration has to say, one line at a time. */
struct config_sink {
	void (*line)(void *ctx, enum log_level level, const char *line);
	void *ctx;
};

/*
 * Builds the configuration from defaults, then the file (--config), then argv. *ret_exit: --help or
 * --version was asked and answered; leave with status 0.
 */
int config_load(int argc, char **argv, struct config *ret, bool *ret_exit);
/* config_load does so itself as soon as it knows, so that what it says is written so, too. */
void config_use_log_format(const struct config *config);
/*
 * Defaults and one file with its conf.d, as the daemon would see them; every mistake goes to the
 * sink. On failure ret is untouched. For `config check` and `config show --config`.
 */
int config_check(const char *path, const struct config_sink *sink, struct config *ret);
void config_fini(struct config *config); /* safe on a zeroed one, and twice */

/* The same for a file of a cluster's nodes: what it returns makes a ring. */
int config_cluster_load(const char *path, const struct config_sink *sink,
			struct config_cluster *ret);
void config_cluster_fini(struct config_cluster *cluster); /* safe on a zeroed one, and twice */
/* "host:port" of a node, for other nodes: what the file says, else its ring_name's host. */
#define CONFIG_PEER_MAX (RING_NAME_MAX + 16)
void config_cluster_peer(const struct config_cluster *cluster, uint32_t node,
			 char ret[CONFIG_PEER_MAX]);

/*
 * What is in effect: a file that config_load reads back to the same values, with a comment where a
 * value is not the default; or one JSON object of sections.
 */
void config_print(const struct config *config, FILE *out, bool json);
enum command_protocol config_protocol(const struct config *config);
/* The routes and origins of that JSON object as the file has them; nothing when there are none. */
struct json_t;
void config_print_routes(const struct json_t *root, FILE *out);

/* The origins of both are not the same. */
bool config_origins_differ(const struct config *a, const struct config *b);
/* One warning for each option, routes apart, that a restart would change; false: there is none. */
bool config_warn_changed(const struct config *running, const struct config *fresh);

#endif
