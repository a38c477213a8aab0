/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: every option of memcached 1.6.18 is judged (works, warned about once, or refused);
 * layers override each other in order; every wrong value is refused with what to write instead;
 * what config_print writes, config_load reads back to the same values. Method: command lines and
 * files in a scratch directory; standard error is captured and counted.
 * Long, because the tables of memcached's options and of wrong values are its substance.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "lib/config_rig.h"

/* --- defaults -------------------------------------------------------------------------------- */

static void config_load_no_flags_gives_defaults(void **state)
{
	struct outcome o;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	(void)state;
	expect_fine(&o, "");
	assert_string_equal(o.said, "");
	assert_false(o.leave);
	assert_int_equal(o.config.tcp_port, 11211);
	assert_int_equal(o.config.udp_port, 0);
	assert_int_equal(o.config.listen.cnt, 0);
	assert_null(o.config.unix_path);
	assert_int_equal(o.config.unix_mode, 0700);
	assert_int_equal(o.config.memory_bytes, 64 << 20);
	assert_int_equal(o.config.conn_max, 1024);
	assert_int_equal(o.config.thread_cnt, cpus > 128 ? 128 : cpus);
	assert_int_equal(o.config.item_max, 1 << 20);
	assert_int_equal(o.config.udp_reply_max, 64 << 10);
	assert_int_equal(o.config.backlog, 1024);
	assert_int_equal(o.config.requests_per_event, 20);
	assert_int_equal(o.config.idle_timeout_sec, 0);
	assert_false(o.config.fastpath);
	assert_int_equal(o.config.xdp_mode, XDP_MODE_AUTO);
	assert_int_equal(o.config.allow.cnt, 0);
	assert_int_equal(o.config.rate_limit, 0);
	assert_int_equal(o.config.rate_burst, 0);
	assert_int_equal(o.config.lease_ms, 1000);
	assert_null(o.config.cluster_file);
	assert_int_equal(o.config.forward_ms, 1000);
	assert_null(o.config.eviction);
	assert_string_equal(o.config.pin_root, "/sys/fs/bpf/xdpcache");
	assert_string_equal(o.config.instance, "default");
	assert_string_equal(o.config.control_path, "/run/xdpcache/control.sock");
	assert_int_equal(o.config.log_level, LOG_INFO);
	assert_string_equal(o.config.log_format, "text");
	config_fini(&o.config);
}

/* --- memcached's flags ------------------------------------------------------------------------ */

enum judgement { WORKS, WARNS, REFUSED, LEAVES };

struct memcached_flag {
	const char *flag;
	const char *long_name; /* NULL: memcached has none */
	const char *value;     /* NULL: takes none */
	enum judgement judgement;
};

/* `memcached -h` of version 1.6.18, from top to bottom. */
static const struct memcached_flag memcached_flags[] = {
	{ "-p", "--port", "11311", WORKS },
	{ "-U", "--udp-port", "11311", WORKS },
	{ "-s", "--unix-socket", "/tmp/m.sock", WORKS },
	{ "-a", "--unix-mask", "770", WORKS },
	{ "-A", "--enable-shutdown", NULL, WORKS },
	{ "-l", "--listen", "127.0.0.1", WORKS },
	{ "-d", "--daemon", NULL, WORKS },
	{ "-r", "--enable-coredumps", NULL, WARNS },
	{ "-u", "--user", "nobody", WORKS },
	{ "-m", "--memory-limit", "128", WORKS },
	{ "-M", "--disable-evictions", NULL, WORKS },
	{ "-c", "--conn-limit", "99", WORKS },
	{ "-k", "--lock-memory", NULL, WARNS },
	{ "-v", "--verbose", NULL, WORKS },
	{ "-vv", NULL, NULL, WORKS },
	{ "-vvv", NULL, NULL, WORKS },
	{ "-h", "--help", NULL, LEAVES },
	{ "-i", "--license", NULL, LEAVES },
	{ "-V", "--version", NULL, LEAVES },
	{ "-P", "--pidfile", "/tmp/m.pid", WORKS },
	{ "-f", "--slab-growth-factor", "1.5", WARNS },
	{ "-n", "--slab-min-size", "48", WARNS },
	{ "-L", "--enable-largepages", NULL, WARNS },
	{ "-D", "--prefix-delimiter", ":", WORKS },
	{ "-t", "--threads", "3", WORKS },
	{ "-R", "--max-reqs-per-event", "10", WORKS },
	{ "-C", "--disable-cas", NULL, WARNS },
	{ "-b", "--listen-backlog", "50", WORKS },
	{ "-B", "--protocol", "ascii", WORKS },
	{ "-I", "--max-item-size", "2m", WORKS },
	{ "-S", "--enable-sasl", NULL, REFUSED },
	{ "-F", "--disable-flush-all", NULL, WORKS },
	{ "-X", "--disable-dumping", NULL, WORKS },
	{ "-W", "--disable-watch", NULL, WORKS },
	{ "-Y", "--auth-file", "/tmp/auth", WORKS },
	{ "-e", "--memory-file", "/tmp/memory", WORKS },
	{ "-Z", "--enable-ssl", NULL, REFUSED },
	{ "-o", "--extended", "idle_timeout=60", WORKS },
	{ "-N", "--napi_ids", "2", WARNS },
};

static void judge(const char *line, enum judgement judgement)
{
	struct outcome o;

	load(&o, line);
	if (judgement == REFUSED) {
		if (o.rc != -EINVAL || !strstr(o.said, "refusing to start"))
			fail_msg("\"%s\" was not refused: %s", line, o.said);
		return;
	}
	if (o.rc)
		fail_msg("\"%s\" was refused: %s", line, o.said);
	if (o.leave != (judgement == LEAVES))
		fail_msg("\"%s\": leave is %d", line, o.leave);
	if (judgement == WARNS && !strstr(o.said, "has no effect here"))
		fail_msg("\"%s\": no warning: %s", line, o.said);
	if (lines_of(o.said, "warn") != (judgement == WARNS))
		fail_msg("\"%s\": not one warning: %s", line, o.said);
	config_fini(&o.config);
}

static void config_load_every_memcached_flag_is_judged(void **state)
{
	char line[256];

	(void)state;
	for (size_t i = 0; i < sizeof(memcached_flags) / sizeof(memcached_flags[0]); i++) {
		const struct memcached_flag *f = &memcached_flags[i];

		snprintf(line, sizeof(line), "%s%s%s", f->flag, f->value ? " " : "",
			 f->value ? f->value : "");
		judge(line, f->judgement);
		if (f->value) {
			snprintf(line, sizeof(line), "%s%s", f->flag, f->value);
			judge(line, f->judgement);
		}
		if (!f->long_name)
			continue;
		snprintf(line, sizeof(line), "%s%s%s", f->long_name, f->value ? "=" : "",
			 f->value ? f->value : "");
		judge(line, f->judgement);
	}
}

/* Also of `memcached -h`: what -o takes. */
static const char *const memcached_suboptions[] = {
	"maxconns_fast",
	"no_maxconns_fast",
	"hashpower=20",
	"tail_repair_time=10",
	"hash_algorithm=xxh3",
	"no_lru_crawler",
	"lru_crawler_sleep=1",
	"lru_crawler_tocrawl=5",
	"read_buf_mem_limit=0",
	"no_lru_maintainer",
	"hot_lru_pct=20",
	"warm_lru_pct=40",
	"hot_max_factor=0.2",
	"warm_max_factor=2",
	"temporary_ttl=61",
	"slab_chunk_max=512",
	"watcher_logbuf_size=256",
	"worker_logbuf_size=64",
	"track_sizes",
	"no_hashexpand",
	"modern",
	"no_modern",
	"sock_cookie_id=1",
	"ext_path=/mnt/x:1G",
	"ext_page_size=64",
	"ext_wbuf_size=4",
	"ext_threads=1",
	"ext_item_size=512",
	"ext_item_age=10",
	"ext_low_ttl=0",
	"ext_drop_unread",
	"ext_recache_rate=2000",
	"ext_compact_under=1",
	"ext_drop_under=1",
	"ext_max_frag=0.8",
	"ext_max_sleep=1000",
	"slab_automove_freeratio=0.01",
	"slab_reassign",
	"slab_automove=1",
};

static const char *const memcached_tls_suboptions[] = {
	"ssl_chain_cert=/x", "ssl_key=/x",	  "ssl_keyformat=PEM", "ssl_verify_mode=2",
	"ssl_ciphers=x",     "ssl_ca_cert=/x",	  "ssl_wbuf_size=16",  "ssl_session_cache",
	"ssl_kernel_tls",    "ssl_min_version=3",
};

static void config_load_every_memcached_suboption_is_judged(void **state)
{
	char line[256];

	(void)state;
	for (size_t i = 0; i < sizeof(memcached_suboptions) / sizeof(memcached_suboptions[0]);
	     i++) {
		snprintf(line, sizeof(line), "-o %s,%s", memcached_suboptions[i],
			 memcached_suboptions[i]);
		judge(line, WARNS);
	}
	for (size_t i = 0; i < sizeof(memcached_tls_suboptions) / sizeof(char *); i++) {
		snprintf(line, sizeof(line), "-Z -o ssl_chain_cert=/x,ssl_ca_cert=/x,%s",
			 memcached_tls_suboptions[i]);
		judge(line, WORKS);
	}
}

static void config_load_flags_set_their_fields(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "-p 1 -a 660 -m 2g -c 7 -t 3 -I 8m -vv -u bob -P /p -d -M -b 9 -R 5 -F "
			"-o idle_timeout=30,modern -l 10.0.0.1,10.0.0.2:99 -l ::1 -l [::1]:5 -l *");
	assert_int_equal(o.config.tcp_port, 1);
	assert_int_equal(o.config.unix_mode, 0660);
	assert_int_equal(o.config.memory_bytes, 2ULL << 30);
	assert_int_equal(o.config.conn_max, 7);
	assert_int_equal(o.config.thread_cnt, 3);
	assert_int_equal(o.config.item_max, 8 << 20);
	assert_int_equal(o.config.verbosity, 2);
	assert_int_equal(o.config.log_level, LOG_DEBUG);
	assert_string_equal(o.config.user, "bob");
	assert_string_equal(o.config.pid_file, "/p");
	assert_true(o.config.daemonize && o.config.no_evict && o.config.no_flush);
	assert_int_equal(o.config.backlog, 9);
	assert_int_equal(o.config.requests_per_event, 5);
	assert_int_equal(o.config.idle_timeout_sec, 30);
	assert_int_equal(o.config.listen.cnt, 5);
	assert_string_equal(o.config.listen.items[0], "10.0.0.1");
	assert_string_equal(o.config.listen.items[1], "10.0.0.2:99");
	assert_string_equal(o.config.listen.items[2], "[::1]");
	assert_string_equal(o.config.listen.items[3], "[::1]:5");
	assert_string_equal(o.config.listen.items[4], "*");
	config_fini(&o.config);
}

static void config_load_tls_options_set_their_fields(void **state)
{
	const struct command_tls *tls;
	struct outcome o;

	(void)state;
	expect_fine(&o,
		    "-Z -o ssl_chain_cert=/c,ssl_key=/k,ssl_keyformat=DER,ssl_verify_mode=3 "
		    "-o ssl_ca_cert=/a,ssl_ciphers=HIGH:!aNULL,ssl_min_version=3,ssl_wbuf_size=8 "
		    "-o ssl_session_cache,ssl_kernel_tls,ssl_handshake_timeout=4 "
		    "-l notls:10.0.0.1,10.0.0.1,notls:[::1]:5");
	tls = &o.config.tls;
	assert_true(tls->enabled && tls->session_cache && tls->kernel_tls && command_tls_der(tls));
	assert_string_equal(tls->chain_cert, "/c");
	assert_string_equal(tls->key, "/k");
	assert_string_equal(tls->ca_cert, "/a");
	assert_string_equal(tls->ciphers, "HIGH:!aNULL");
	assert_int_equal(tls->verify_mode, 3);
	assert_int_equal(tls->min_version, 3);
	assert_int_equal(tls->wbuf_kib, 8);
	assert_int_equal(tls->handshake_timeout_sec, 4);
	assert_int_equal(o.config.listen.cnt, 3);
	assert_string_equal(o.config.listen.items[0], "notls:10.0.0.1");
	assert_string_equal(o.config.listen.items[1], "10.0.0.1");
	assert_string_equal(o.config.listen.items[2], "notls:[::1]:5");
	config_fini(&o.config);
	expect_fine(&o, "-Z --ssl-chain-cert=/c -o ssl_session_cache,no_ssl_session_cache");
	assert_false(o.config.tls.session_cache || command_tls_der(&o.config.tls));
	assert_int_equal(o.config.tls.min_version, 2);
	config_fini(&o.config);
}

static void config_load_tls_that_protects_nothing_warns(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "-o ssl_chain_cert=/c,ssl_key=/k");
	assert_int_equal(lines_of(o.said, "warn"), 1);
	assert_non_null(strstr(o.said, "without -Z"));
	config_fini(&o.config);
	expect_fine(&o, "-Z -o ssl_chain_cert=/c -U 11211");
	assert_int_equal(lines_of(o.said, "warn"), 1);
	assert_non_null(strstr(o.said, "UDP port 11211 is not encrypted"));
	config_fini(&o.config);
}

static void config_load_udp_port_alone_moves_tcp_too(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "-U 12345");
	assert_int_equal(o.config.tcp_port, 12345);
	assert_int_equal(o.config.udp_port, 12345);
	config_fini(&o.config);
	expect_fine(&o, "-U 12345 -p 11211");
	assert_int_equal(o.config.tcp_port, 11211);
	config_fini(&o.config);
	expect_fine(&o, "-p 12345");
	assert_int_equal(o.config.udp_port, 0);
	config_fini(&o.config);
}

static void config_load_port_minus_one_is_any(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "-p -1");
	assert_int_equal(o.config.tcp_port, -1);
	assert_int_equal(o.config.udp_port, 0);
	config_fini(&o.config);
	expect_fine(&o, "-U -1");
	assert_int_equal(o.config.tcp_port, -1);
	assert_int_equal(o.config.udp_port, -1);
	config_fini(&o.config);
	expect_fine(&o, "--interface xca0 -p 12000 -U -1");
	assert_int_equal(o.config.udp_port, -1);
	config_fini(&o.config);
	expect_refused("-Y /u -U -1", "datagrams prove nothing");
}

static void config_load_unix_socket_turns_network_off(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "-s /tmp/x.sock -p 11211 -U 11211");
	assert_int_equal(o.config.tcp_port, 0);
	assert_int_equal(o.config.udp_port, 0);
	config_fini(&o.config);
	expect_refused("-s /tmp/x.sock --interface eth9", "leave out one of them");
}

/* --- ours --------------------------------------------------------------------------------------
 */

static void config_load_interface_turns_udp_on(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "--interface xca0 --interface=xcb0 -p 12000");
	assert_true(o.config.fastpath);
	assert_int_equal(o.config.udp_port, 12000);
	assert_int_equal(o.config.interfaces.cnt, 2);
	assert_int_equal(lines_of(o.said, "info"), 1);
	assert_non_null(strstr(o.said, "answers loopback only"));
	config_fini(&o.config);
	expect_fine(&o, "--interface xca0 --no-fastpath");
	assert_false(o.config.fastpath);
	assert_int_equal(o.config.udp_port, 0);
	config_fini(&o.config);
}

static void config_load_our_flags_set_their_fields(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o,
		    "--interface xca0 --xdp-mode generic --allow 10.0.0.0/8,192.0.2.1 "
		    "--allow 2001:db8::/32 --hot-max 5 --hot-threshold 9 --lease_ms 500 "
		    "--eviction fifo --pin-root /sys/fs/bpf/x --instance two "
		    "--control /tmp/c.sock --log-level warn -v --rate-limit 900 --rate-burst 80 "
		    "--log-format json "
		    "--cluster /etc/x/cluster.conf --node b --forward-timeout-ms 250 "
		    "--cluster-cert /c --cluster-key /k --cluster-ca /a");
	assert_string_equal(o.config.cluster_cert, "/c");
	assert_string_equal(o.config.cluster_key, "/k");
	assert_string_equal(o.config.cluster_ca, "/a");
	assert_string_equal(o.config.cluster_file, "/etc/x/cluster.conf");
	assert_string_equal(o.config.node, "b");
	assert_int_equal(o.config.forward_ms, 250);
	assert_int_equal(o.config.xdp_mode, XDP_MODE_GENERIC);
	assert_int_equal(o.config.allow.cnt, 3);
	assert_string_equal(o.config.allow.items[2], "2001:db8::/32");
	assert_int_equal(o.config.rate_limit, 900);
	assert_int_equal(o.config.rate_burst, 80);
	assert_int_equal(o.config.hot_max, 5);
	assert_int_equal(o.config.hot_threshold, 9);
	assert_int_equal(o.config.lease_ms, 500);
	assert_string_equal(o.config.eviction, "fifo");
	assert_string_equal(o.config.pin_root, "/sys/fs/bpf/x");
	assert_string_equal(o.config.instance, "two");
	assert_string_equal(o.config.control_path, "/tmp/c.sock");
	assert_int_equal(o.config.log_level, LOG_WARN);
	assert_string_equal(o.config.log_format, "json");
	assert_string_equal(o.said, "");
	config_fini(&o.config);
}

static void config_load_rate_without_effect_warns(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "--rate-limit 900");
	assert_non_null(strstr(o.said, "--rate-limit has no effect without the fast path"));
	config_fini(&o.config);
	expect_fine(&o, "--interface xca0 --rate-burst 9");
	assert_non_null(strstr(o.said, "--rate-burst has no effect without --rate-limit"));
	config_fini(&o.config);
}

static void config_load_udp_open_to_all_warns(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "-U 11211 --allow 0.0.0.0/0");
	assert_int_equal(lines_of(o.said, "warn"), 1);
	config_fini(&o.config);
}

/* --- wrong values --------------------------------------------------------------------------------
 */

static const char *const wrong[][2] = {
	{ "-p 70000", "from -1 to 65535" },
	{ "-p -2", "from -1 to 65535" },
	{ "-p", "its value is missing" },
	{ "--port", "its value is missing" },
	{ "-p 11211x", "not a number" },
	{ "-U -10", "not a number" },
	{ "-p 0", "nothing to listen on" },
	{ "-m 0", "from 1 to 262144 MiB; write for example 64" },
	{ "-m x", "not a number" },
	{ "-m 99999999999999999999", "not a number" },
	{ "-m 9223372036854775807", "not a number" },
	{ "-m 300000", "from 1 to 262144" },
	{ "-I 512", "from 1024 to" },
	{ "-I 2000m -m 8000", "from 1024 to" },
	{ "-I 64m", "more than half of -m 64: write -m 128" },
	{ "-t 1000", "from 0 to 128" },
	{ "-c 0", "from 1 to" },
	{ "-R 0", "from 1 to" },
	{ "-a 999", "octal" },
	{ "-a 1777", "octal" },
	{ "-B foo", "one of ascii" },
	{ "-o foo", "no such extended option" },
	{ "-o idel_timeout=3", "did you mean idle_timeout" },
	{ "-o idle_timeout", "its value is missing" },
	{ "-o idle_timeout=x", "not a number" },
	{ "-Z -o ssl_chain_cert=/c,ssl_verify_mode=4", "from 0 to 3" },
	{ "-Z -o ssl_chain_cert=/c,ssl_verify_mode=2", "write -o ssl_ca_cert=<file>" },
	{ "-Z -o ssl_chain_cert=/c,ssl_keyformat=ENGINE", "engine" },
	{ "-Z -o ssl_chain_cert=/c,ssl_min_version=4", "from 0 to 3" },
	{ "-Z -o ssl_chain_cert=/c,ssl_wbuf_size=0", "from 1 to 1024" },
	{ "-Z -o ssl_chain_cert", "its value is missing" },
	{ "-Z -o ssl_key=/k", "write -o ssl_chain_cert=<file>" },
	{ "-Z -o ssl_chain_cert=/c -s /tmp/x.sock", "encrypts TCP, which is off" },
	{ "-l notls:1.2.3.4:x", "port" },
	{ "-l 1.2.3.4:x", "port" },
	{ "-l 1.2.3.4:0", "port" },
	{ "-l [::1", "not an address" },
	{ "-l [1.2.3.4]:5", "not an IPv6 address" },
	{ "-l 1.2.3.4/8", "neither an address nor a host name" },
	{ "-l lo", "names an interface" },
	{ "--allow 10.0.0.0/33", "address range" },
	{ "--allow everyone", "address range" },
	{ "--allow 10.1.2.3/8", "bits set behind its prefix" },
	{ "--interface 0123456789abcdef", "network interface" },
	{ "--interface a/b", "network interface" },
	{ "--interface xca0 -U 0", "never answer" },
	{ "--interface xca0 -p 0", "write -U 11211" },
	{ "--xdp-mode fast", "none of auto, native, generic, off" },
	{ "--log-level loud", "none of error" },
	{ "--log-format xml", "write text or json" },
	{ "--lease-ms 5", "from 100 to 60000" },
	{ "--cluster relative --node a", "absolute" },
	{ "--cluster-cert /c --cluster-key /k", "write all three, or none" },
	{ "--cluster-ca ca.pem", "absolute" },
	{ "--cluster /etc/x/cluster.conf", "--cluster needs --node" },
	{ "--forward-timeout-ms 1", "from 10 to 60000" },
	{ "--instance a/b", "letters" },
	{ "--pin-root relative", "absolute" },
	{ "--control relative", "absolute" },
	{ "--eviction No/Such",
	  "no such policy; write one of s3fifo lru lfu random sieve fifo tinylfu" },
	{ "--verbose=9", "from 0 to 3" },
	{ "--no-such-flag", "no such option" },
	{ "--prt=1", "did you mean --port" },
	{ "--daemon=yes", "takes no value" },
	{ "-Q", "-Q: no such flag" },
	{ "stray", "\"stray\" is not a flag" },
	{ "--config /nonexistent/x.conf", "cannot be read" },
};

static void config_load_wrong_value_says_what_to_write(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect_refused(wrong[i][0], wrong[i][1]);
}

static void config_load_long_socket_path_is_refused(void **state)
{
	char line[256] = "-s /";

	(void)state;
	memset(line + 4, 'a', 107);
	expect_refused(line, "107 bytes");
	line[4 + 106] = '\0';
	judge(line, WORKS);
}

static void config_load_all_mistakes_are_reported(void **state)
{
	struct outcome o;

	(void)state;
	load(&o, "-p x -m y -S");
	assert_int_equal(o.rc, -EINVAL);
	assert_int_equal(lines_of(o.said, "error"), 3);
}

static void config_load_more_items_than_a_list_holds_is_refused(void **state)
{
	char line[4096] = "--allow ";
	size_t len = strlen(line);

	(void)state;
	for (int i = 0; i < CONFIG_LIST_MAX + 1; i++)
		len += (size_t)snprintf(line + len, sizeof(line) - len, "10.0.0.%d,", i);
	expect_refused(line, "more than 64 items");
}

/* --- files
 * ----------------------------------------------------------------------------------------- */

static void config_load_flags_override_the_file(void **state)
{
	struct outcome o;
	char line[512];

	(void)state;
	snprintf(line, sizeof(line), "-m 256 --allow 10.3.0.0/16 --config %s",
		 write_file("a.conf",
			    "network: { port = 1000; conn_limit = 5; };\n"
			    "memory: { memory_limit = \"512m\"; };\n"
			    "fastpath: { allow = [ \"10.1.0.0/16\", \"10.2.0.0/16\" ]; };\n"));
	expect_fine(&o, line);
	assert_int_equal(o.config.tcp_port, 1000);
	assert_int_equal(o.config.conn_max, 5);
	assert_int_equal(o.config.memory_bytes, 256 << 20);
	assert_int_equal(o.config.allow.cnt, 1);
	assert_string_equal(o.config.allow.items[0], "10.3.0.0/16");
	config_fini(&o.config);
}

static void config_load_conf_d_merges_in_order(void **state)
{
	struct outcome o;
	char line[512];

	(void)state;
	mkdir(path_of("d"), 0700);
	mkdir(path_of("d/conf.d"), 0700);
	write_file("d/conf.d/20-b.conf", "network: { port = 2; };\n");
	write_file("d/conf.d/10-a.conf", "network: { port = 1; conn_limit = 77; };\n"
					 "fastpath: { allow = []; };\n");
	write_file("d/conf.d/30-c.conf.disabled", "network: { port = 3; };\n");
	snprintf(line, sizeof(line), "--config=%s",
		 write_file("d/main.conf", "network: { port = 9; listen_backlog = 3; };\n"
					   "fastpath: { allow = \"10.0.0.0/8\"; };\n"));
	expect_fine(&o, line);
	assert_int_equal(o.config.tcp_port, 2);
	assert_int_equal(o.config.conn_max, 77);
	assert_int_equal(o.config.backlog, 3);
	assert_int_equal(o.config.allow.cnt, 0);
	config_fini(&o.config);
	unlink(path_of("d/conf.d/20-b.conf"));
	unlink(path_of("d/conf.d/10-a.conf"));
	unlink(path_of("d/conf.d/30-c.conf.disabled"));
	unlink(path_of("d/main.conf"));
	rmdir(path_of("d/conf.d"));
	rmdir(path_of("d"));
}

static void config_load_file_mistake_names_its_line(void **state)
{
	static const char *const files[][2] = {
		{ "network: { port = 99999; };", ":1: network.port: \"99999\" is not a number" },
		{ "\nnetwork: { prot = 1; };",
		  ":2: network.prot: no such option; did you mean port" },
		{ "network: { memory_limit = 1; };",
		  "write it as memory_limit in the section memory" },
		{ "port = 1;", "write it in its section, network: { port" },
		{ "nosuch: { };", "not a section; the sections are network" },
		{ "network = 5;", "not a section" },
		{ "network: { port = [ 1, 2 ]; };", "one value is expected" },
		{ "network: { port = 1.5; };", "one value is expected" },
		{ "network: { listen = [ 1.5 ]; };", "write a list of strings" },
		{ "network: { listen = { a = 1; }; };", "one value is expected" },
		{ "network: { con_limit = 1; };", "did you mean conn_limit?" },
		{ "network: {", "syntax error here or just before; a section is written" },
		{ "-p x", ":1: -p: \"x\" is not a number" },
		{ "-p 1\n\n-q", ":3: -q: no such flag" },
		{ "-p 1\n--config /x", "belongs on the command line" },
		{ "-p 1\nbogus x", ":2: \"bogus x\" is not a flag" },
	};
	char line[512];

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(line, sizeof(line), "--config %s", write_file("b.conf", files[i][0]));
		expect_refused(line, files[i][1]);
	}
}

/* What Debian 12's memcached package installs, without its comments' text. */
static const char debian_conf[] = "# memcached default config file\n"
				  "\n"
				  "# Run memcached as a daemon.\n"
				  "-d\n"
				  "\n"
				  "logfile /var/log/memcached.log\n"
				  "\n"
				  "# -v\n"
				  "-m 64\n"
				  "-p 11211\n"
				  "-u memcache\n"
				  "-l 127.0.0.1   # a comment behind a flag\n"
				  "# -c 1024\n"
				  "-P /var/run/memcached/memcached.pid\n";

static void expect_debian(struct outcome *o)
{
	assert_int_equal(o->config.tcp_port, 11211);
	assert_int_equal(o->config.udp_port, 0);
	assert_int_equal(o->config.memory_bytes, 64 << 20);
	assert_string_equal(o->config.user, "memcache");
	assert_int_equal(o->config.listen.cnt, 1);
	assert_string_equal(o->config.listen.items[0], "127.0.0.1");
	assert_string_equal(o->config.pid_file, "/var/run/memcached/memcached.pid");
	assert_false(o->config.daemonize);
	config_fini(&o->config);
}

static void config_load_debian_memcached_conf_as_file(void **state)
{
	struct outcome o;
	char line[512];

	(void)state;
	snprintf(line, sizeof(line), "--config %s", write_file("memcached.conf", debian_conf));
	expect_fine(&o, line);
	expect_debian(&o);
	if (access("/etc/memcached.conf", R_OK) == 0) {
		expect_fine(&o, "--config /etc/memcached.conf");
		config_fini(&o.config);
	}
}

/* systemd-memcached-wrapper joins the lines and leaves out -d and what is no flag. */
static void config_load_debian_memcached_conf_as_flags(void **state)
{
	struct outcome o;

	(void)state;
	expect_fine(&o, "-m 64 -p 11211 -u memcache -l 127.0.0.1 "
			"-P /var/run/memcached/memcached.pid");
	expect_debian(&o);
}

/* --- routes --- */

static void config_load_routes_of_all_files_add_up(void **state)
{
	struct outcome o;
	char line[512];

	(void)state;
	mkdir(path_of("d"), 0700);
	mkdir(path_of("d/conf.d"), 0700);
	write_file("d/conf.d/10-a.conf", "routes = ( { prefix = \"b:\"; promote = false; } );\n");
	snprintf(line, sizeof(line), "--config=%s",
		 write_file("d/main.conf", "routes = (\n"
					   "  { prefix = \"\"; ttl_jitter = 7; },\n"
					   "  { prefix = \"a \\x01\\\\\\\"\"; } );\n"));
	expect_fine(&o, line);
	assert_int_equal(o.config.routes.cnt, 3);
	assert_int_equal(o.config.routes.rules[0].prefix.len, 0);
	assert_int_equal(o.config.routes.rules[0].ttl_jitter_sec, 7);
	assert_true(o.config.routes.rules[0].promote);
	assert_false(o.config.routes.rules[0].auth);
	assert_true(span_equal(o.config.routes.rules[1].prefix, span_str("a \x01\\\"")));
	assert_int_equal(o.config.routes.rules[1].ttl_jitter_sec, 0);
	assert_true(span_equal(o.config.routes.rules[2].prefix, span_str("b:")));
	assert_false(o.config.routes.rules[2].promote);
	assert_non_null(strstr(o.config.routes.sources[1], "d/main.conf:3"));
	assert_non_null(strstr(o.config.routes.sources[2], "10-a.conf:1"));
	config_fini(&o.config);
	write_file("d/conf.d/10-a.conf", "\nroutes = ( { prefix = \"\"; } );\n");
	expect_refused(line, "10-a.conf:2: routes: \"\" is a route already, at ");
	expect_refused(line, "d/main.conf:2: write both as one, or remove one");
	unlink(path_of("d/conf.d/10-a.conf"));
	unlink(path_of("d/main.conf"));
	rmdir(path_of("d/conf.d"));
	rmdir(path_of("d"));
}

static void config_load_route_mistake_names_its_line(void **state)
{
	static const char *const files[][2] = {
		{ "\nroutes = 5;", ":2: routes: write a list, routes = (" },
		{ "routes: { };", ":1: routes: write a list, routes = (" },
		{ "routes = (\n 5 );", ": routes: write each as { prefix = " },
		{ "routes = (\n { ttl_jitter = 5; } );", ":2: routes: a route without a prefix" },
		{ "routes = (\n { prefix = 5; } );", ":2: routes: a route without a prefix" },
		{ "routes = ( { prefix = \"a\";\n ttl_jiter = 5; } );",
		  ":2: routes.ttl_jiter: no such option; a route has prefix, ttl_jitter, "
		  "negative_ttl, "
		  "promote" },
		{ "routes = ( { prefix = \"a\";\n ttl_jitter = -1; } );",
		  ":2: routes.ttl_jitter: \"-1\" is not a number from 0 to 2592000" },
		{ "routes = ( { prefix = \"a\";\n ttl_jitter = 2592001; } );",
		  ":2: routes.ttl_jitter: \"2592001\" is not a number from 0 to 2592000" },
		{ "routes = ( { prefix = \"a\";\n promote = 5; } );",
		  ":2: routes.promote: \"5\" is neither true nor false" },
		{ "routes = ( { prefix = \"a\";\n auth = [ true ]; } );",
		  ":2: routes.auth: one value is expected" },
		{ "routes = ( { prefix = \"a\"; },\n { prefix = \"b\"; },\n { prefix = \"a\"; } );",
		  ":3: routes: \"a\" is a route already, at " },
		{ "routes = ( { prefix = \"a\"; auth = true; promote = true; } );",
		  ":1: routes: \"a\" cannot have both auth and promote; remove one" },
		{ "routes = ( { prefix = \"\\xff\"; } );", ":1: routes: the prefix is not UTF-8" },
		{ "nosuch: { };", "fastpath; and routes" },
	};
	static char longest[512] = "routes = ( { prefix = \"";
	size_t start = strlen(longest);
	struct outcome o;
	char line[512];

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(line, sizeof(line), "--config %s", write_file("b.conf", files[i][0]));
		expect_refused(line, files[i][1]);
	}
	memset(longest + start, 'k', 251);
	strcpy(longest + start + 251, "\"; } );");
	snprintf(line, sizeof(line), "--config %s", write_file("b.conf", longest));
	expect_refused(line, ":1: routes: the prefix is longer than the 250 bytes of a key");
	strcpy(longest + start + 250, "\"; } );");
	write_file("b.conf", longest);
	expect_fine(&o, line);
	config_fini(&o.config);
}

static void config_load_auth_route_warns(void **state)
{
	struct outcome o;
	char line[512];

	(void)state;
	snprintf(line, sizeof(line), "--config %s",
		 write_file("b.conf", "routes = ( { prefix = \"s:\"; auth = true; } );"));
	expect_fine(&o, line);
	assert_int_equal(lines_of(o.said, "warn"), 1);
	assert_non_null(strstr(o.said, "auth keeps \"s:\" out of the kernel"));
	assert_true(o.config.routes.rules[0].auth);
	config_fini(&o.config);
}

static void config_warn_changed_names_what_needs_a_restart(void **state)
{
	struct outcome before, after;
	char line[512];

	(void)state;
	snprintf(line, sizeof(line), "--config %s",
		 write_file("b.conf", "routes = ( { prefix = \"a\"; } ); network: { port = 5; };"));
	expect_fine(&before, line);
	expect_fine(&after, line);
	assert_false(config_warn_changed(&before.config, &after.config));
	config_fini(&after.config);
	write_file("b.conf", "routes = ( { prefix = \"b\"; } ); network: { port = 6; };");
	expect_fine(&after, line);
	assert_true(config_warn_changed(&before.config, &after.config));
	config_fini(&after.config);
	write_file("b.conf", "network: { port = 5; };");
	expect_fine(&after, line);
	assert_false(config_warn_changed(&before.config, &after.config));
	config_fini(&after.config);
	config_fini(&before.config);
}

/* --- printing
 * --------------------------------------------------------------------------------------- */

static void print_to(const struct config *config, const char *name, bool json)
{
	FILE *out = fopen(path_of(name), "w");

	assert_non_null(out);
	config_print(config, out, json);
	fclose(out);
}

static void slurp(const char *name, char *buf, size_t size)
{
	int fd = open(path_of(name), O_RDONLY);

	assert_true(fd >= 0);
	read_back(fd, buf, size);
	close(fd);
}

/* Cuts the comments, which say where a value came from. */
static void cut_comments(char *text)
{
	char *to = text;
	bool comment = false;

	for (; *text; text++) {
		comment = *text == '\n' ? false : comment || *text == '#';
		if (!comment && *text != '\t')
			*to++ = *text;
	}
	*to = '\0';
}

static void config_print_text_loads_back_to_the_same(void **state)
{
	static char routed[300];
	static const char *const lines[] = {
		"",
		"-s /tmp/x\"y\\.sock -a 660",
		"--interface xca0 --allow 10.0.0.0/8 --allow ::1 -l 127.0.0.1:5,[::1] -I 3000 -m "
		"1000 "
		"-vvv -d -M -F --eviction lfu -t 5",
		"-U 11211 -o idle_timeout=5 -I 100k -c 3 --no-fastpath --interface xca0",
		routed,
	};
	static char first[8192], second[8192];
	struct outcome o;
	char line[512];

	(void)state;
	write_file("a.conf", "routes = ( { prefix = \"a\\x01\\\"\"; ttl_jitter = 3; auth = true; },"
			     " { prefix = \"\"; promote = false; } );");
	snprintf(routed, sizeof(routed), "--config %s", path_of("a.conf"));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		expect_fine(&o, lines[i]);
		print_to(&o.config, "first.conf", false);
		config_fini(&o.config);
		snprintf(line, sizeof(line), "--config %s", path_of("first.conf"));
		expect_fine(&o, line);
		print_to(&o.config, "second.conf", false);
		config_fini(&o.config);
		slurp("first.conf", first, sizeof(first));
		slurp("second.conf", second, sizeof(second));
		cut_comments(first);
		cut_comments(second);
		assert_string_equal(first, second);
	}
}

static void config_print_json_names_values_and_sources(void **state)
{
	static char text[8192];
	struct outcome o;
	char line[512];

	(void)state;
	expect_fine(&o, "-m 128 -l 127.0.0.1");
	print_to(&o.config, "out.json", true);
	config_fini(&o.config);
	slurp("out.json", text, sizeof(text));
	assert_non_null(strstr(text, "\"memory_limit\": 128"));
	assert_non_null(strstr(text, "\"memory.memory_limit\": \"command line\""));
	assert_non_null(strstr(text, "\"max_item_size\": 1048576"));
	assert_null(strstr(text, "\"network.port\""));
	assert_non_null(strstr(text, "\"routes\": []"));
	write_file("a.conf", "routes = ( { prefix = \"u:\"; ttl_jitter = 3; } );");
	snprintf(line, sizeof(line), "--config %s", path_of("a.conf"));
	expect_fine(&o, line);
	print_to(&o.config, "out.json", true);
	config_fini(&o.config);
	slurp("out.json", text, sizeof(text));
	assert_non_null(strstr(text, "\"prefix\": \"u:\",\n      \"ttl_jitter\": 3,\n"
				     "      \"negative_ttl\": 30,\n"
				     "      \"promote\": true,\n      \"auth\": false"));
	snprintf(line, sizeof(line), "\"routes.0\": \"%s:1\"", path_of("a.conf"));
	assert_non_null(strstr(text, line));
}

static void config_load_help_names_every_memcached_flag(void **state)
{
	struct outcome o;
	char needle[16];

	(void)state;
	load(&o, "--help");
	assert_true(o.leave);
	for (size_t i = 0; i < sizeof(memcached_flags) / sizeof(memcached_flags[0]); i++) {
		if (strlen(memcached_flags[i].flag) != 2)
			continue;
		snprintf(needle, sizeof(needle), "  %s", memcached_flags[i].flag);
		if (!strstr(o.said, needle))
			fail_msg("--help does not name %s", needle);
	}
	load(&o, "-V");
	assert_string_equal(o.said, "xdpcached " XC_VERSION "\n");
}

/* --- checking
 * ----------------------------------------------------------------------------------------- */

static void count_line(void *ctx, enum log_level level, const char *line)
{
	uint32_t *counts = ctx;

	(void)line;
	counts[level]++;
}

static void config_check_reports_every_mistake(void **state)
{
	uint32_t counts[4] = { 0 };
	const struct config_sink sink = { .line = count_line, .ctx = counts };
	struct config config = { .tcp_port = 42 };

	(void)state;
	write_file("c.conf", "network: { port = 1; conn_limit = 0; bogus = 1; };\nx = 1;\n");
	assert_int_equal(config_check(path_of("c.conf"), &sink, &config), -EINVAL);
	assert_int_equal(counts[LOG_ERROR], 3);
	assert_int_equal(config.tcp_port, 42);
	write_file("c.conf", "network: { port = 1; };\n");
	assert_int_equal(config_check(path_of("c.conf"), &sink, &config), 0);
	assert_int_equal(counts[LOG_ERROR], 3);
	assert_int_equal(config.tcp_port, 1);
	config_fini(&config);
	config_fini(&config);
}

/* The sample file with every option's line uncommented must load, and equal the defaults. */
static void sample_file_uncommented_equals_defaults(void **state)
{
	static char text[16384], defaults[8192], sample[8192];
	const char *name = "tools/packaging/xdpcached.conf";
	int fd = open(name, O_RDONLY);
	struct outcome o;
	char line[512];
	char *at;

	(void)state;
	if (fd < 0) {
		print_message("SKIP: %s is found from the source folder only\n", name);
		skip();
	}
	read_back(fd, text, sizeof(text));
	close(fd);
	/* "#name = value;" is an option; prose has a blank behind its '#'. */
	for (at = text; (at = strchr(at, '#')); at++) {
		if (at[1] != ' ' && at[1] != '\n')
			*at = ' ';
	}
	snprintf(line, sizeof(line), "--config %s", write_file("sample.conf", text));
	expect_fine(&o, line);
	assert_string_equal(o.said, "");
	print_to(&o.config, "sample-effective.conf", false);
	config_fini(&o.config);
	slurp("sample-effective.conf", sample, sizeof(sample));
	/* Every option must come from the sample, so that none is missing there. */
	for (at = sample; (at = strstr(at, " = ")); at++) {
		if (!memchr(at, '#', strcspn(at, "\n")))
			fail_msg("the sample lacks the option of this line: %.60s", at - 20);
	}
	expect_fine(&o, "");
	print_to(&o.config, "defaults.conf", false);
	config_fini(&o.config);
	slurp("defaults.conf", defaults, sizeof(defaults));
	cut_comments(sample);
	cut_comments(defaults);
	assert_string_equal(sample, defaults);
}

/* --- memory
 * --------------------------------------------------------------------------------------------- */

static uint32_t refuse_at;

static bool refuse_nth(size_t bytes)
{
	(void)bytes;
	return refuse_at && --refuse_at == 0;
}

static void config_load_out_of_memory_fails_cleanly(void **state)
{
	struct outcome o;
	uint32_t n = 1;
	char line[512];
	int rc;

	(void)state;
	write_file("a.conf", "routes = ( { prefix = \"a\"; }, { prefix = \"b\"; } );");
	snprintf(line, sizeof(line),
		 "-p 5 --interface xca0 -l 127.0.0.1 --allow 10.0.0.0/8 --config %s",
		 path_of("a.conf"));
	alloc_refuse = refuse_nth;
	do {
		refuse_at = n++;
		load(&o, line);
		rc = o.rc;
		if (rc == 0)
			config_fini(&o.config);
		assert_true(n < 200);
	} while (rc);
	alloc_refuse = NULL;
	assert_true(n > 10);
}

static int remove_scratch(void **state)
{
	static const char *const names[] = { "a.conf",	      "b.conf",
					     "c.conf",	      "first.conf",
					     "second.conf",   "out.json",
					     "sample.conf",   "sample-effective.conf",
					     "defaults.conf", "memcached.conf" };

	(void)state;
	return config_rig_remove(names, sizeof(names) / sizeof(names[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_load_no_flags_gives_defaults),
		cmocka_unit_test(config_load_every_memcached_flag_is_judged),
		cmocka_unit_test(config_load_every_memcached_suboption_is_judged),
		cmocka_unit_test(config_load_flags_set_their_fields),
		cmocka_unit_test(config_load_tls_options_set_their_fields),
		cmocka_unit_test(config_load_tls_that_protects_nothing_warns),
		cmocka_unit_test(config_load_udp_port_alone_moves_tcp_too),
		cmocka_unit_test(config_load_port_minus_one_is_any),
		cmocka_unit_test(config_load_unix_socket_turns_network_off),
		cmocka_unit_test(config_load_interface_turns_udp_on),
		cmocka_unit_test(config_load_our_flags_set_their_fields),
		cmocka_unit_test(config_load_rate_without_effect_warns),
		cmocka_unit_test(config_load_udp_open_to_all_warns),
		cmocka_unit_test(config_load_wrong_value_says_what_to_write),
		cmocka_unit_test(config_load_long_socket_path_is_refused),
		cmocka_unit_test(config_load_all_mistakes_are_reported),
		cmocka_unit_test(config_load_more_items_than_a_list_holds_is_refused),
		cmocka_unit_test(config_load_flags_override_the_file),
		cmocka_unit_test(config_load_conf_d_merges_in_order),
		cmocka_unit_test(config_load_file_mistake_names_its_line),
		cmocka_unit_test(config_load_debian_memcached_conf_as_file),
		cmocka_unit_test(config_load_debian_memcached_conf_as_flags),
		cmocka_unit_test(config_load_routes_of_all_files_add_up),
		cmocka_unit_test(config_load_route_mistake_names_its_line),
		cmocka_unit_test(config_load_auth_route_warns),
		cmocka_unit_test(config_warn_changed_names_what_needs_a_restart),
		cmocka_unit_test(config_print_text_loads_back_to_the_same),
		cmocka_unit_test(config_print_json_names_values_and_sources),
		cmocka_unit_test(config_load_help_names_every_memcached_flag),
		cmocka_unit_test(config_check_reports_every_mistake),
		cmocka_unit_test(sample_file_uncommented_equals_defaults),
		cmocka_unit_test(config_load_out_of_memory_fails_cleanly),
	};

	unsetenv("JOURNAL_STREAM");
	return cmocka_run_group_tests(tests, config_rig_make, remove_scratch);
}
