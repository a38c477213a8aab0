/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of options. memcached's rows follow memcached 1.6.18's --help: each of its options is
 * here as one that works, one that is accepted without effect, or one that is refused because
 * ignoring it would be unsafe.
 */
#include "config_table.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "abi/limits.h"
#include "base/cidr.h"
#include "control/metrics.h"
#include "fastpath/loader.h"
#include "fastpath/rate.h"
#include "net/net.h"
#include "promote/promoter.h"
#include "protocol/udp_frame.h"
#include "store/store.h"

#define FIELD(member) offsetof(struct config, member)
#define MIB_MAX ((int64_t)XC_EXTENT_MAX * (XC_EXTENT_SIZE >> 20))

static bool check_listen(const char *text, char why[CONFIG_WHY_MAX])
{
	char canonical[320];

	return config_listen_parse(text, canonical, sizeof(canonical), why);
}

static bool check_cidr(const char *text, char why[CONFIG_WHY_MAX])
{
	struct cidr cidr;

	if (cidr_parse(text, &cidr) == 0)
		return true;
	snprintf(why, CONFIG_WHY_MAX,
		 "not an address range, or one with bits set behind its prefix; write for example "
		 "10.0.0.0/8, 192.0.2.7 or 2001:db8::/32");
	return false;
}

static bool check_interface(const char *text, char why[CONFIG_WHY_MAX])
{
	if (strlen(text) < 16 && !strpbrk(text, "/ \t") && strcmp(text, ".") && strcmp(text, ".."))
		return true;
	snprintf(why, CONFIG_WHY_MAX,
		 "not the name of a network interface; write one that `ip link` shows");
	return false;
}

static bool check_absolute(const char *text, char why[CONFIG_WHY_MAX])
{
	if (text[0] == '/')
		return true;
	snprintf(why, CONFIG_WHY_MAX, "not an absolute path; begin it with /");
	return false;
}

static bool check_absolute_or_none(const char *text, char why[CONFIG_WHY_MAX])
{
	return text[0] == '\0' || check_absolute(text, why);
}

/* sun_path holds 108 bytes with its terminator. */
static bool check_socket(const char *text, char why[CONFIG_WHY_MAX])
{
	if (strlen(text) < 108)
		return true;
	snprintf(why, CONFIG_WHY_MAX,
		 "longer than the 107 bytes a unix socket's path may have; write a shorter one");
	return false;
}

static bool check_control(const char *text, char why[CONFIG_WHY_MAX])
{
	return check_absolute(text, why) && check_socket(text, why);
}

/* The instance is a directory under bpffs and a file under /run. */
static bool check_instance(const char *text, char why[CONFIG_WHY_MAX])
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(text);

	if (len > 0 && len <= 32 && strspn(text, allowed) == len)
		return true;
	snprintf(why, CONFIG_WHY_MAX, "write 1 to 32 letters, digits, '-' or '_'");
	return false;
}

static bool check_eviction(const char *text, char why[CONFIG_WHY_MAX])
{
	int len = snprintf(why, CONFIG_WHY_MAX, "no such policy; write one of");

	for (const char *const *name = store_eviction_names(); *name; name++) {
		if (text[0] == '\0' || strcmp(text, *name) == 0)
			return true;
		if (len < CONFIG_WHY_MAX)
			len += snprintf(why + len, (size_t)(CONFIG_WHY_MAX - len), " %s", *name);
	}
	return false;
}

static bool check_log_format(const char *text, char why[CONFIG_WHY_MAX])
{
	if (!strcmp(text, "text") || !strcmp(text, "json"))
		return true;
	snprintf(why, CONFIG_WHY_MAX, "write text or json");
	return false;
}

static bool check_protocol(const char *text, char why[CONFIG_WHY_MAX])
{
	if (!strcmp(text, "auto") || !strcmp(text, "auto-negotiate") || !strcmp(text, "ascii") ||
	    !strcmp(text, "binary"))
		return true;
	snprintf(why, CONFIG_WHY_MAX, "one of ascii, binary or auto is expected");
	return false;
}

enum command_protocol config_protocol(const struct config *config)
{
	switch (config->protocol[1]) {
	case 's':
		return COMMAND_PROTOCOL_TEXT;
	case 'i':
		return COMMAND_PROTOCOL_BINARY;
	default:
		return COMMAND_PROTOCOL_AUTO;
	}
}

static bool check_key_format(const char *text, char why[CONFIG_WHY_MAX])
{
	if (!strcmp(text, "PEM") || !strcmp(text, "DER"))
		return true;
	snprintf(why, CONFIG_WHY_MAX, "write PEM or DER%s",
		 strcmp(text, "ENGINE") ? "" : "; keys in an engine's device cannot be used");
	return false;
}

static bool check_admin(const char *text, char why[CONFIG_WHY_MAX])
{
	char canonical[320];
	bool plain;

	if (text[0] == '\0')
		return true;
	net_listen_address(text, &plain);
	if (!plain && config_listen_parse(text, canonical, sizeof(canonical), why))
		return true;
	if (plain)
		snprintf(why, CONFIG_WHY_MAX, "notls: has no meaning here; leave it out");
	return false;
}

const struct config_option config_options[] = {
	/* --- network --- */
	{ "network", "port", "port", 'p', OPT_INT32, FIELD(tcp_port), "11211", "<num>", -1, 65535,
	  NULL, "TCP port; 0: none, -1: any that is free" },
	{ "network", "udp_port", "udp-port", 'U', OPT_INT32, FIELD(udp_port), "0", "<num>", -1,
	  65535, NULL,
	  "UDP port; 0: none, -1: any that is free. When not given: off, or -p's with "
	  "--interface" },
	{ "network", "udp_reply_max", "udp-reply-max", 0, OPT_SIZE, FIELD(udp_reply_max), "64k",
	  "<bytes>", UDP_REPLY_MIN, UDP_REPLY_MAX, NULL,
	  "largest reply over UDP to another host; k and m are understood" },
	{ "network", "listen", "listen", 'l', OPT_LIST, FIELD(listen), NULL, "<addr>", 0, 0,
	  check_listen,
	  "address, address:port or [IPv6]:port to listen on; repeatable, comma separated" },
	{ "network", "unix_socket", "unix-socket", 's', OPT_STRING, FIELD(unix_path), NULL,
	  "<file>", 0, 0, check_socket, "unix socket to listen on; turns TCP and UDP off" },
	{ "network", "unix_mask", "unix-mask", 'a', OPT_OCTAL, FIELD(unix_mode), "700", "<octal>",
	  0, 0777, NULL, "access mode of the unix socket" },
	{ "network", "conn_limit", "conn-limit", 'c', OPT_UINT32, FIELD(conn_max), "1024", "<num>",
	  1, 1048576, NULL, "most connections at once" },
	{ "network", "listen_backlog", "listen-backlog", 'b', OPT_UINT32, FIELD(backlog), "1024",
	  "<num>", 0, 65535, NULL, "connections that may wait to be accepted" },
	{ "network", "max_reqs_per_event", "max-reqs-per-event", 'R', OPT_UINT32,
	  FIELD(requests_per_event), "20", "<num>", 1, 1048576, NULL,
	  "requests served from one connection before the next has its turn" },
	{ "network", "idle_timeout", "idle-timeout", 0, OPT_UINT32, FIELD(idle_timeout_sec), "0",
	  "<sec>", 0, INT32_MAX, NULL,
	  "close connections idle for so long; 0: never. Also -o idle_timeout=<sec>" },
	{ "network", "protocol", "protocol", 'B', OPT_STRING, FIELD(protocol), "auto", "<name>", 0,
	  0, check_protocol, "ascii, binary, or auto: what a connection's first byte tells" },
	{ "network", "enable_sasl", "enable-sasl", 'S', OPT_BOOL, FIELD(sasl), NULL, NULL, 0, 0,
	  NULL, "clients prove who they are: SASL PLAIN, in the binary protocol only" },
	{ "network", "sasl_pwdb", "sasl-pwdb", 0, OPT_STRING, FIELD(sasl_pwdb), NULL, "<file>", 0,
	  0, NULL,
	  "lines of user:password for -S. When not given: what MEMCACHED_SASL_PWDB names" },
	{ "network", "auth_file", "auth-file", 'Y', OPT_STRING, FIELD(auth_file), NULL, "<file>", 0,
	  0, NULL,
	  "clients prove who they are with a set of \"user password\" first, in the text protocol "
	  "only; lines of user:password" },

	/* --- memory --- */
	{ "memory", "memory_limit", "memory-limit", 'm', OPT_MIB, FIELD(memory_bytes), "64",
	  "<MiB>", 1, MIB_MAX, NULL, "memory for items, a hard limit" },
	{ "memory", "max_item_size", "max-item-size", 'I', OPT_SIZE, FIELD(item_max), "1m",
	  "<bytes>", 1024, 1024LL << 20, NULL, "largest item; k and m are understood" },
	{ "memory", "disable_evictions", "disable-evictions", 'M', OPT_BOOL, FIELD(no_evict), NULL,
	  NULL, 0, 0, NULL, "return an error when memory is full instead of evicting" },
	{ "memory", "eviction", "eviction", 0, OPT_STRING, FIELD(eviction), NULL, "<name>", 0, 0,
	  check_eviction,
	  "which items make room for new ones: s3fifo (when empty), lru, lfu, random, sieve, "
	  "fifo or tinylfu" },
	{ "memory", "memory_file", "memory-file", 'e', OPT_STRING, FIELD(memory_file), NULL,
	  "<file>", 0, 0, NULL,
	  "keep the items in this file, on a file system in memory, across restarts; with an "
	  "interface they outlive it in pinned maps instead" },

	/* --- process --- */
	{ "process", "threads", "threads", 't', OPT_UINT32, FIELD(thread_cnt), "0", "<num>", 0, 128,
	  NULL, "worker threads; 0: one per online CPU" },
	{ "process", "user", "user", 'u', OPT_STRING, FIELD(user), NULL, "<name>", 0, 0, NULL,
	  "user to become once set up (only when run as root)" },
	{ "process", "daemon", "daemon", 'd', OPT_BOOL, FIELD(daemonize), NULL, NULL, 0, 0, NULL,
	  "run in the background" },
	{ "process", "pidfile", "pidfile", 'P', OPT_STRING, FIELD(pid_file), NULL, "<file>", 0, 0,
	  NULL, "write the process id there" },
	{ "process", "verbose", "verbose", 'v', OPT_COUNT, FIELD(verbosity), "0", "[=<num>]", 0, 3,
	  NULL, "log more; -vv and -vvv log still more" },
	{ "process", "log_level", "log-level", 0, OPT_LOG_LEVEL, FIELD(log_level), "info",
	  "<level>", 0, 0, NULL, "error, warn, info or debug; -v means debug" },
	{ "process", "log_format", "log-format", 0, OPT_STRING, FIELD(log_format), "text", "<name>",
	  0, 0, check_log_format, "how lines of the log are written: text or json" },
	{ "process", "instance", "instance", 0, OPT_STRING, FIELD(instance), "default", "<name>", 0,
	  0, check_instance,
	  "name of this daemon's pins and lock, for several daemons on one host" },
	{ "process", "control", "control", 0, OPT_STRING, FIELD(control_path),
	  "/run/xdpcache/control.sock", "<file>", 0, 0, check_control,
	  "unix socket that the xdpcache command talks to" },
	{ NULL, NULL, "upgrade", 0, OPT_BOOL, FIELD(upgrade), NULL, NULL, 0, 0, NULL,
	  "take sockets and items over from the daemon on --control, which then ends" },
	{ NULL, "config", "config", 0, OPT_FILE, FIELD(config_file), NULL, "<file>", 0, 0, NULL,
	  "read this file, then conf.d/*.conf beside it; flags override both" },

	/* --- commands --- */
	{ "commands", "disable_flush_all", "disable-flush-all", 'F', OPT_BOOL, FIELD(no_flush),
	  NULL, NULL, 0, 0, NULL, "refuse flush_all" },
	{ "commands", "disable_dumping", "disable-dumping", 'X', OPT_BOOL, FIELD(no_dump), NULL,
	  NULL, 0, 0, NULL, "refuse to list keys: stats cachedump, lru_crawler metadump" },
	{ "commands", "disable_watch", "disable-watch", 'W', OPT_BOOL, FIELD(no_watch), NULL, NULL,
	  0, 0, NULL, "refuse watch" },
	{ "commands", "enable_shutdown", "enable-shutdown", 'A', OPT_BOOL, FIELD(allow_shutdown),
	  NULL, NULL, 0, 0, NULL, "obey the shutdown command, from whoever reaches the port" },
	{ "commands", "prefix_delimiter", "prefix-delimiter", 'D', OPT_STRING,
	  FIELD(prefix_delimiter), NULL, "<char>", 0, 0, NULL,
	  "count requests by what keys have before this; `stats detail` shows it, and turns it on "
	  "with ':'" },

	/* --- TLS --- */
	{ "tls", "enable_ssl", "enable-ssl", 'Z', OPT_BOOL, FIELD(tls.enabled), NULL, NULL, 0, 0,
	  NULL, "TLS on TCP; -l notls:<addr> leaves one address without" },
	{ "tls", "ssl_chain_cert", "ssl-chain-cert", 0, OPT_STRING, FIELD(tls.chain_cert), NULL,
	  "<file>", 0, 0, NULL,
	  "certificate and those above it, PEM. This and the next also as -o" },
	{ "tls", "ssl_key", "ssl-key", 0, OPT_STRING, FIELD(tls.key), NULL, "<file>", 0, 0, NULL,
	  "private key; when empty it is in ssl_chain_cert's file" },
	{ "tls", "ssl_keyformat", "ssl-keyformat", 0, OPT_STRING, FIELD(tls.key_format), "PEM",
	  "<name>", 0, 0, check_key_format, "PEM or DER, of the key" },
	{ "tls", "ssl_verify_mode", "ssl-verify-mode", 0, OPT_UINT32, FIELD(tls.verify_mode), "0",
	  "<num>", 0, 3, NULL,
	  "clients' certificates: 0 not asked for, 1 checked if given, 2 or 3 required" },
	{ "tls", "ssl_ca_cert", "ssl-ca-cert", 0, OPT_STRING, FIELD(tls.ca_cert), NULL, "<file>", 0,
	  0, NULL, "authorities of clients' certificates, PEM" },
	{ "tls", "ssl_ciphers", "ssl-ciphers", 0, OPT_STRING, FIELD(tls.ciphers), NULL, "<list>", 0,
	  0, NULL, "ciphers up to TLS 1.2, in OpenSSL's words" },
	{ "tls", "ssl_min_version", "ssl-min-version", 0, OPT_UINT32, FIELD(tls.min_version), "2",
	  "<num>", 0, 3, NULL, "oldest version: 0 TLS 1.0, 1 TLS 1.1, 2 TLS 1.2, 3 TLS 1.3" },
	{ "tls", "ssl_wbuf_size", "ssl-wbuf-size", 0, OPT_UINT32, FIELD(tls.wbuf_kib), "16",
	  "<KiB>", 1, 1024, NULL, "a thread's room for what is about to be encrypted" },
	{ "tls", "ssl_session_cache", "ssl-session-cache", 0, OPT_BOOL, FIELD(tls.session_cache),
	  NULL, NULL, 0, 0, NULL, "keep sessions, for clients that resume them by number" },
	{ "tls", "ssl_kernel_tls", "ssl-kernel-tls", 0, OPT_BOOL, FIELD(tls.kernel_tls), NULL, NULL,
	  0, 0, NULL, "let the kernel encrypt where it can" },
	{ "tls", "ssl_handshake_timeout", "ssl-handshake-timeout", 0, OPT_UINT32,
	  FIELD(tls.handshake_timeout_sec), "10", "<sec>", 1, 3600, NULL,
	  "close a connection whose handshake takes longer" },

	/* --- fast path --- */
	{ "fastpath", "enabled", "no-fastpath", 0, OPT_BOOL_OFF, FIELD(fastpath), "true", NULL, 0,
	  0, NULL, "answer every request in the daemon" },
	{ "fastpath", "interface", "interface", 0, OPT_LIST, FIELD(interfaces), NULL, "<name>", 0,
	  0, check_interface, "answer GETs in the driver of this interface; repeatable" },
	{ "fastpath", "xdp_mode", "xdp-mode", 0, OPT_XDP_MODE, FIELD(xdp_mode), "auto", "<mode>", 0,
	  0, NULL, "auto (native, else generic, else off), native, generic or off" },
	{ "fastpath", "allow", "allow", 0, OPT_LIST, FIELD(allow), NULL, "<cidr>", 0, 0, check_cidr,
	  "addresses that UDP answers; repeatable. When none is given: loopback only" },
	{ "fastpath", "rate_limit", "rate-limit", 0, OPT_UINT32, FIELD(rate_limit), "0", "<num>", 0,
	  RATE_LIMIT_MAX, NULL,
	  "UDP requests a second from one IPv4 address or IPv6 /64; more are dropped. 0: no "
	  "limit" },
	{ "fastpath", "rate_burst", "rate-burst", 0, OPT_UINT32, FIELD(rate_burst), "0", "<num>", 0,
	  RATE_BURST_MAX, NULL,
	  "requests that a source may make at once; 0: a tenth of a second's worth, at least 16" },
	{ "fastpath", "hot_max", "hot-max", 0, OPT_UINT32, FIELD(hot_max), "0", "<num>", 0,
	  FASTPATH_ENTRIES_MAX, NULL,
	  "most keys resident in the kernel; 0: from the memory limit" },
	{ "fastpath", "hot_threshold", "hot-threshold", 0, OPT_UINT32, FIELD(hot_threshold), "5",
	  "<num>", 1, PROMOTER_THRESHOLD_MAX, NULL, "reads a second that make a key hot" },
	{ "fastpath", "hot_file", "hot-file", 0, OPT_STRING, FIELD(hot_file), NULL, "<file>", 0, 0,
	  check_absolute_or_none, "where `xdpcache hot` keeps what it is told to --save" },
	{ "fastpath", "negative_ttl", "negative-ttl", 0, OPT_UINT32, FIELD(negative_ttl_sec), "30",
	  "<sec>", 0, ROUTE_NEGATIVE_MAX_SEC, NULL,
	  "how long the kernel may answer at a time that a hot key has no item; 0: never" },
	{ "fastpath", "lease_ms", "lease-ms", 0, OPT_UINT32, FIELD(lease_ms), "1000", "<ms>", 100,
	  60000, NULL, "how long the kernel serves after the daemon's last sign of life" },
	{ "fastpath", "pin_root", "pin-root", 0, OPT_STRING, FIELD(pin_root),
	  "/sys/fs/bpf/xdpcache", "<dir>", 0, 0, check_absolute,
	  "where maps and programs are pinned (a bpf file system)" },

	/* --- watching it --- */
	{ "admin", "listen", "admin", 0, OPT_STRING, FIELD(admin), "127.0.0.1:9211", "<addr:port>",
	  0, 0, check_admin,
	  "metrics for Prometheus, health and readiness over HTTP; empty: none" },
	{ "admin", "allow", "admin-allow", 0, OPT_LIST, FIELD(admin_allow), NULL, "<cidr>", 0, 0,
	  check_cidr,
	  "addresses that may ask there; repeatable. When none is given: loopback only" },
	{ "admin", "token_file", "admin-token-file", 0, OPT_STRING, FIELD(admin_token), NULL,
	  "<file>", 0, 0, check_absolute_or_none,
	  "asks for the token that is this file's first line, but for health and readiness" },
	{ "admin", "hot_keys", "metrics-hot-keys", 0, OPT_UINT32, FIELD(metrics_hot_keys), "10",
	  "<num>", 0, CONTROL_METRICS_HOT_MAX, NULL, "hottest keys among the metrics; 0: none" },
	{ "admin", "hash_keys", "metrics-hash-keys", 0, OPT_BOOL, FIELD(metrics_hash_keys), NULL,
	  NULL, 0, 0, NULL, "a hash of each of them in place of the key" },
	{ "admin", "routes", "metrics-routes", 0, OPT_UINT32, FIELD(metrics_routes), "100", "<num>",
	  0, ROUTE_MAX, NULL, "routes told apart; the others are one" },

	/* --- cluster --- */
	{ "cluster", "file", "cluster", 0, OPT_STRING, FIELD(cluster_file), NULL, "<file>", 0, 0,
	  check_absolute_or_none,
	  "the nodes of a cluster, the same file on each; empty: this daemon is alone" },
	{ "cluster", "node", "node", 0, OPT_STRING, FIELD(node), NULL, "<name>", 0, 0, NULL,
	  "which of them this daemon is" },
	{ "cluster", "forward_timeout_ms", "forward-timeout-ms", 0, OPT_UINT32, FIELD(forward_ms),
	  "1000", "<ms>", 10, 60000, NULL, "how long a key's own node may take to answer" },
	{ "cluster", "cert", "cluster-cert", 0, OPT_STRING, FIELD(cluster_cert), NULL, "<file>", 0,
	  0, check_absolute_or_none,
	  "TLS between nodes: this node's certificate, PEM; with the next two" },
	{ "cluster", "key", "cluster-key", 0, OPT_STRING, FIELD(cluster_key), NULL, "<file>", 0, 0,
	  check_absolute_or_none, "its private key, PEM" },
	{ "cluster", "ca", "cluster-ca", 0, OPT_STRING, FIELD(cluster_ca), NULL, "<file>", 0, 0,
	  check_absolute_or_none,
	  "the authority that has signed the certificates of this cluster's nodes, and no others" },

	/* --- answered at once --- */
	{ NULL, NULL, "help", 'h', OPT_ACTION, 0, NULL, NULL, 0, 0, NULL, "print this and leave" },
	{ NULL, NULL, "version", 'V', OPT_ACTION, 0, NULL, NULL, 0, 0, NULL,
	  "print the version and leave" },
	{ NULL, NULL, "license", 'i', OPT_ACTION, 0, NULL, NULL, 0, 0, NULL,
	  "print the license and leave" },

	/* --- memcached's, judged one by one --- */
	{ NULL, NULL, "extended", 'o', OPT_EXTENDED, 0, NULL, "<list>", 0, 0, NULL,
	  "memcached's extended options, comma separated" },
	{ NULL, NULL, "enable-coredumps", 'r', OPT_IGNORED, 0, NULL, NULL, 0, 0, NULL,
	  "set LimitCORE= in the unit, or ulimit -c" },
	{ NULL, NULL, "lock-memory", 'k', OPT_IGNORED, 0, NULL, NULL, 0, 0, NULL,
	  "memory that the kernel reads is never paged out; set MemorySwapMax=0 in the unit for "
	  "the rest" },
	{ NULL, NULL, "slab-growth-factor", 'f', OPT_IGNORED, 0, NULL, "<num>", 0, 0, NULL,
	  "items lie in a log, there are no slabs" },
	{ NULL, NULL, "slab-min-size", 'n', OPT_IGNORED, 0, NULL, "<bytes>", 0, 0, NULL,
	  "items lie in a log, there are no slabs" },
	{ NULL, NULL, "enable-largepages", 'L', OPT_IGNORED, 0, NULL, NULL, 0, 0, NULL,
	  "the log is memory of the kernel's maps" },
	{ NULL, NULL, "disable-cas", 'C', OPT_IGNORED, 0, NULL, NULL, 0, 0, NULL,
	  "every item has its cas unique, it costs nothing more" },
	{ NULL, NULL, "napi-ids", 'N', OPT_IGNORED, 0, NULL, "<num>", 0, 0, NULL,
	  "connections are spread over threads by the kernel" },
};
const uint32_t config_option_cnt = sizeof(config_options) / sizeof(config_options[0]);
_Static_assert(sizeof(config_options) / sizeof(config_options[0]) <= CONFIG_OPTION_MAX,
	       "every option has its slot");

/* Also the ones memcached's --help does not list but memcached 1.6.18 takes. */
const struct config_suboption config_suboptions[] = {
	{ "idle_timeout", "idle-timeout" },
	{ "maxconns_fast", NULL },
	{ "hashpower", NULL },
	{ "tail_repair_time", NULL },
	{ "hash_algorithm", NULL },
	{ "lru_crawler", NULL },
	{ "lru_crawler_sleep", NULL },
	{ "lru_crawler_tocrawl", NULL },
	{ "read_buf_mem_limit", NULL },
	{ "resp_obj_mem_limit", NULL },
	{ "lru_maintainer", NULL },
	{ "hot_lru_pct", NULL },
	{ "warm_lru_pct", NULL },
	{ "hot_max_factor", NULL },
	{ "warm_max_factor", NULL },
	{ "temporary_ttl", NULL },
	{ "slab_reassign", NULL },
	{ "slab_automove", NULL },
	{ "slab_automove_ratio", NULL },
	{ "slab_automove_window", NULL },
	{ "slab_automove_freeratio", NULL },
	{ "slab_chunk_max", NULL },
	{ "slab_sizes", NULL },
	{ "chunked_items", NULL },
	{ "inline_ascii_resp", NULL },
	{ "inline_ascii_response", NULL },
	{ "watcher_logbuf_size", NULL },
	{ "worker_logbuf_size", NULL },
	{ "track_sizes", NULL },
	{ "hashexpand", NULL },
	{ "modern", NULL },
	{ "drop_privileges", NULL },
	{ "relaxed_privileges", NULL },
	{ "sock_cookie_id", NULL },
	{ "ext_path", NULL },
	{ "ext_page_size", NULL },
	{ "ext_wbuf_size", NULL },
	{ "ext_threads", NULL },
	{ "ext_io_depth", NULL },
	{ "ext_item_size", NULL },
	{ "ext_item_age", NULL },
	{ "ext_low_ttl", NULL },
	{ "ext_drop_unread", NULL },
	{ "ext_recache_rate", NULL },
	{ "ext_compact_under", NULL },
	{ "ext_drop_under", NULL },
	{ "ext_max_frag", NULL },
	{ "ext_max_sleep", NULL },
	{ "ssl_chain_cert", "ssl-chain-cert" },
	{ "ssl_key", "ssl-key" },
	{ "ssl_keyformat", "ssl-keyformat" },
	{ "ssl_verify_mode", "ssl-verify-mode" },
	{ "ssl_ciphers", "ssl-ciphers" },
	{ "ssl_ca_cert", "ssl-ca-cert" },
	{ "ssl_wbuf_size", "ssl-wbuf-size" },
	{ "ssl_session_cache", "ssl-session-cache" },
	{ "ssl_kernel_tls", "ssl-kernel-tls" },
	{ "ssl_min_version", "ssl-min-version" },
	{ "ssl_handshake_timeout", "ssl-handshake-timeout" },
};
const uint32_t config_suboption_cnt = sizeof(config_suboptions) / sizeof(config_suboptions[0]);
_Static_assert(sizeof(config_suboptions) / sizeof(config_suboptions[0]) <= CONFIG_OPTION_MAX,
	       "each has its slot");
