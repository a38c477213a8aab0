/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config - every option of the daemon.
 *
 * Does      one table of options -> command line, configuration file, --help and `config show`.
 *           memcached's flags keep memcached's meaning.
 * Units     as the field names say; sizes in bytes.
 * Errors    config_load prints what is wrong, where, and what to write instead, and returns
 *           -EINVAL.
 * Owner     immutable after start; a reload builds a new one.
 */
#ifndef XC_CONFIG_H
#define XC_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "fastpath/loader.h"

#define CONFIG_LIST_MAX 64

struct config_list {
	const char *items[CONFIG_LIST_MAX];
	uint32_t cnt;
};

struct config {
	/* memcached's */
	int32_t tcp_port;	  /* -p, 0: off */
	/* -U; -1: unset (off, or tcp_port when an interface is given); 0: off */
	int32_t udp_port;
	const char *unix_path;	  /* -s */
	uint32_t unix_mode;	  /* -a, octal */
	struct config_list listen; /* -l, repeatable and comma separated; empty: all addresses */
	uint64_t memory_bytes;	  /* -m, given in MiB */
	uint32_t conn_max;	  /* -c */
	uint32_t thread_cnt;	  /* -t; default: one per online CPU */
	uint64_t item_max;	  /* -I, with k and m suffixes */
	uint32_t verbosity;	  /* -v, repeatable */
	const char *user;	  /* -u */
	const char *pid_file;	  /* -P */
	bool daemonize;		  /* -d */
	bool no_evict;		  /* -M */
	uint32_t backlog;	  /* -b */
	uint32_t requests_per_event; /* -R */
	bool no_flush;		  /* -F */
	uint32_t idle_timeout_sec; /* -o idle_timeout, 0: never */

	/* ours */
	bool fastpath;		  /* --no-fastpath clears; also false without --interface */
	struct config_list interfaces; /* --interface */
	enum xdp_mode xdp_mode;	  /* --xdp-mode */
	struct config_list allow; /* --allow CIDR; empty: loopback only */
	uint32_t hot_max;	  /* --hot-max; 0: from the hot budget */
	/* --hot-threshold: estimated reads a second that make a key hot */
	uint32_t hot_threshold;
	uint32_t lease_ms;	  /* --lease-ms */
	const char *eviction;	  /* --eviction */
	const char *pin_root;	  /* --pin-root */
	const char *instance;	  /* --instance */
	const char *control_path; /* --control */
	const char *config_file;  /* --config */
	enum log_level log_level;
};

/*
 * Builds the configuration from defaults, then the file (--config), then argv. *ret_exit: --help or
 * --version was asked and answered; leave with status 0.
 */
int config_load(int argc, char **argv, struct config *ret, bool *ret_exit);
void config_fini(struct config *config);

#endif
