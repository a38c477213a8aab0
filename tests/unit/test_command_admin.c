/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flush_all takes effect exactly when due and the kernel is told in time; counters carry
 * memcached's names, include what the kernel answered, and start anew after `stats reset`; what is
 * not allowed is refused. Method: protocol text on a real store, a clock set by hand, hooks that
 * note their calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/command_rig.h"
#include "protocol/parse_text.h"

struct notes {
	uint64_t flush_at_ns;
	uint32_t flush_calls;
	uint64_t memory_bytes;
	uint32_t shutdowns;
	uint32_t graceful;
	struct command_kernel_counts kernel;
};

static struct command_rig rig;
static struct notes notes;

static void note_kernel(void *ctx, struct command_kernel_counts *ret)
{
	*ret = ((struct notes *)ctx)->kernel;
}

static void note_flush(void *ctx, uint64_t at_ns)
{
	struct notes *n = ctx;

	n->flush_at_ns = at_ns;
	n->flush_calls++;
}

static int note_memory(void *ctx, uint64_t bytes)
{
	struct notes *n = ctx;

	if (bytes > 100 << 20)
		return -1;
	n->memory_bytes = bytes;
	return 0;
}

static void note_shutdown(void *ctx, bool graceful)
{
	struct notes *n = ctx;

	n->shutdowns++;
	n->graceful += graceful;
}

static struct command_options with_hooks(void)
{
	return (struct command_options){
		.hooks = {
			.ctx = &notes,
			.kernel_counts = note_kernel,
			.flush_at = note_flush,
			.set_memory = note_memory,
			.shutdown = note_shutdown,
		},
	};
}

static int set_up(void **state)
{
	struct command_options options = with_hooks();

	(void)state;
	memset(&notes, 0, sizeof(notes));
	command_rig_init(&rig, &options);
	return 0;
}

static int set_up_allowing(void **state)
{
	struct command_options options = with_hooks();

	(void)state;
	memset(&notes, 0, sizeof(notes));
	options.settings.allow_shutdown = true;
	options.settings.no_flush = true;
	command_rig_init(&rig, &options);
	return 0;
}

static int set_up_bare(void **state)
{
	(void)state;
	command_rig_init(&rig, NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	command_rig_fini(&rig);
	return 0;
}

static void flush_all_delayed_takes_effect_when_due(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\n");
	assert_string_equal(command_rig_run(&rig, "flush_all 10\r\n"), "OK\r\n");
	assert_true(notes.flush_at_ns == COMMAND_RIG_BOOT_NS + 10 * NSEC_PER_SEC);
	fake_clock_add(&rig.time, 9999 * NSEC_PER_MSEC);
	assert_string_equal(command_rig_run(&rig, "set b 0 0 1\r\ny\r\nget a b\r\n"),
			    "STORED\r\nVALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nEND\r\n");
	assert_int_equal(notes.flush_calls, 1);
	fake_clock_add(&rig.time, 1 * NSEC_PER_MSEC);
	assert_string_equal(command_rig_run(&rig, "get a b\r\n"), "END\r\n");
	/* the kernel may serve again, what is stored from now on */
	assert_int_equal(notes.flush_calls, 2);
	assert_true(notes.flush_at_ns == 0);
	assert_true(command_flush_at_ns(rig.worker) == 0);
	assert_string_equal(command_rig_run(&rig, "set a 0 0 1\r\nz\r\nget a\r\n"),
			    "STORED\r\nVALUE a 0 1\r\nz\r\nEND\r\n");
}

/* Due between the turn's clock and the command: the command looks again. */
static void flush_all_due_within_a_turn_is_seen(void **state)
{
	struct request req;

	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\nflush_all 10\r\n");
	command_turn(rig.worker);
	fake_clock_add(&rig.time, 10 * NSEC_PER_SEC);
	assert_true(parse_text(span_str("get a\r\n"), 0, &req) > 0);
	assert_int_equal(command_apply(rig.worker, &req, &rig.resp), COMMAND_DONE);
	assert_int_equal(rig.resp.bytes, strlen("END\r\n"));
}

static void flush_all_last_one_wins(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\nflush_all 10\r\nflush_all 100\r\n");
	assert_true(notes.flush_at_ns == COMMAND_RIG_BOOT_NS + 100 * NSEC_PER_SEC);
	fake_clock_add(&rig.time, 50 * NSEC_PER_SEC);
	assert_string_equal(command_rig_run(&rig, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
	/* one at once cancels */
	command_rig_run(&rig, "flush_all\r\nset a 0 0 1\r\ny\r\n");
	assert_true(notes.flush_at_ns == 0);
	fake_clock_add(&rig.time, 100 * NSEC_PER_SEC);
	assert_string_equal(command_rig_run(&rig, "get a\r\n"), "VALUE a 0 1\r\ny\r\nEND\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "cmd_flush"), 3);
}

/* So far off that no clock here reaches it: that is no flush at once, and none that was due. */
static void flush_all_beyond_all_times_never_comes(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\nflush_all 10\r\nflush_all 18446744074\r\n");
	assert_true(notes.flush_at_ns == 0);
	assert_string_equal(command_rig_run(&rig, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
	fake_clock_add(&rig.time, 100 * NSEC_PER_SEC);
	assert_string_equal(command_rig_run(&rig, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
	assert_string_equal(command_rig_run(&rig, "flush_all -1\r\nget a\r\n"), "OK\r\nEND\r\n");
}

static void flush_all_at_a_unix_time_takes_effect_then(void **state)
{
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "set a 0 0 1\r\nx\r\nflush_all %llu\r\n",
		 (unsigned long long)(COMMAND_RIG_UNIX_NS / NSEC_PER_SEC + 5));
	command_rig_run(&rig, text);
	assert_true(notes.flush_at_ns == COMMAND_RIG_BOOT_NS + 4750 * NSEC_PER_MSEC);
	fake_clock_add(&rig.time, 4750 * NSEC_PER_MSEC);
	assert_string_equal(command_rig_run(&rig, "get a\r\n"), "END\r\n");
}

static void flush_all_disabled_is_refused_and_counted(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\n");
	assert_string_equal(
		command_rig_run(&rig, "flush_all\r\nflush_all 5\r\n"),
		"CLIENT_ERROR flush_all not allowed\r\nCLIENT_ERROR flush_all not allowed\r\n");
	assert_string_equal(command_rig_run(&rig, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "cmd_flush"), 2);
}

static void stats_include_what_the_kernel_answered(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\nget a\r\nget b\r\n");
	notes.kernel = (struct command_kernel_counts){ .hits = 1000, .reply_bytes = 50000 };
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "cmd_get"), 1002);
	assert_int_equal(command_rig_stat(&rig, "get_hits"), 1001);
	assert_int_equal(command_rig_stat(&rig, "get_misses"), 1);
	assert_true(command_rig_stat(&rig, "bytes_written") >= 50000);
}

static void stats_reset_starts_counters_anew(void **state)
{
	(void)state;
	notes.kernel.hits = 7;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\nget a\r\n");
	assert_string_equal(command_rig_run(&rig, "stats reset\r\n"), "RESET\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "cmd_get"), 0);
	assert_int_equal(command_rig_stat(&rig, "get_hits"), 0);
	assert_int_equal(command_rig_stat(&rig, "cmd_set"), 0);
	assert_int_equal(command_rig_stat(&rig, "curr_items"), 1);
	notes.kernel.hits = 9;
	command_rig_run(&rig, "get a\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "get_hits"), 3);
}

/* memcached_exporter takes a server for dead when one of these is missing. */
static void stats_has_every_name_that_exporters_need(void **state)
{
	static const char *const names[] = {
		"pid",
		"uptime",
		"time",
		"pointer_size",
		"max_connections",
		"curr_connections",
		"total_connections",
		"rejected_connections",
		"cmd_get",
		"cmd_set",
		"cmd_flush",
		"cmd_touch",
		"get_hits",
		"get_misses",
		"delete_hits",
		"delete_misses",
		"incr_hits",
		"incr_misses",
		"decr_hits",
		"decr_misses",
		"cas_hits",
		"cas_misses",
		"cas_badval",
		"touch_hits",
		"touch_misses",
		"bytes",
		"limit_maxbytes",
		"curr_items",
		"total_items",
		"bytes_read",
		"bytes_written",
		"conn_yields",
		"listen_disabled_num",
		"evictions",
		"reclaimed",
		"store_too_large",
		"store_no_memory",
		"direct_reclaims",
		"total_malloced",
		"lru_crawler_starts",
		"crawler_reclaimed",
		"crawler_items_checked",
		"moves_to_cold",
		"moves_to_warm",
		"moves_within_lru",
		"threads",
		"accepting_conns",
	};

	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\nstats\r\n");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		command_rig_stat(&rig, names[i]);
	assert_int_equal(command_rig_stat(&rig, "curr_items"), 1);
	assert_int_equal(command_rig_stat(&rig, "limit_maxbytes"), COMMAND_RIG_LOG_BYTES);
	assert_non_null(strstr(rig.text, "STAT version 1.6.18-xdpcache-"));
	assert_non_null(strstr(rig.text, "STAT rusage_user "));
	assert_non_null(strstr(rig.text, "STAT rusage_system "));
	command_rig_run(&rig, "stats settings\r\n");
	assert_int_equal(command_rig_stat(&rig, "item_size_max"), COMMAND_RIG_ITEM_MAX);
	command_rig_run(&rig, "stats items\r\n");
	assert_int_equal(command_rig_stat(&rig, "items:1:number"), 1);
	command_rig_run(&rig, "stats slabs\r\n");
	assert_int_equal(command_rig_stat(&rig, "1:cmd_set"), 1);
	assert_true(command_rig_stat(&rig, "total_malloced") > 0);
}

static void cache_memlimit_asks_the_hook(void **state)
{
	(void)state;
	assert_string_equal(command_rig_run(&rig, "cache_memlimit 50\r\n"), "OK\r\n");
	assert_true(notes.memory_bytes == 50 << 20);
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "limit_maxbytes"), 50 << 20);
	assert_string_equal(command_rig_run(&rig, "cache_memlimit 500\r\n"),
			    "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n");
	assert_string_equal(command_rig_run(&rig, "cache_memlimit 7 noreply\r\n"), "");
}

static int refuse_certs(void *ctx, char why[COMMAND_WHY_MAX])
{
	(void)ctx;
	snprintf(why, COMMAND_WHY_MAX, "made up");
	return -1;
}

static int take_certs(void *ctx, char why[COMMAND_WHY_MAX])
{
	(void)why;
	++*(int *)ctx;
	return 0;
}

static void tls_status_of(void *ctx, struct command_tls_status *ret)
{
	(void)ctx;
	ret->since_refresh_sec = 7;
	ret->new_sessions = 3;
}

static void refresh_certs_asks_the_server(void **state)
{
	struct command_options options = { 0 };
	int taken = 0;

	(void)state;
	assert_string_equal(command_rig_run(&rig, "refresh_certs\r\n"),
			    "Error TLS not enabled\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_null(strstr(rig.text, "ssl_handshake_errors"));
	command_rig_fini(&rig);
	options.settings.tls = (struct command_tls){ .enabled = true, .session_cache = true };
	options.conns.tls_reload = take_certs;
	options.conns.tls_status = tls_status_of;
	options.conns.ctx = &taken;
	command_rig_init(&rig, &options);
	assert_string_equal(command_rig_run(&rig, "refresh_certs\r\nrefresh_certs noreply\r\n"),
			    "OK\r\n");
	assert_int_equal(taken, 2);
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "ssl_handshake_errors"), 0);
	assert_int_equal(command_rig_stat(&rig, "ssl_new_sessions"), 3);
	assert_int_equal(command_rig_stat(&rig, "time_since_server_cert_refresh"), 7);
	command_rig_fini(&rig);
	options.conns.tls_reload = refuse_certs;
	command_rig_init(&rig, &options);
	assert_non_null(strstr(command_rig_run(&rig, "refresh_certs\r\n"), "SERVER_ERROR "));
}

static void hooks_absent_are_not_called(void **state)
{
	(void)state;
	assert_string_equal(
		command_rig_run(&rig, "flush_all 5\r\nflush_all\r\ncache_memlimit 50\r\n"
				      "shutdown\r\n"),
		"OK\r\nOK\r\nMEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"
		"ERROR: shutdown not enabled\r\n");
}

static void shutdown_is_carried_out_only_when_allowed(void **state)
{
	struct request req;

	(void)state;
	assert_string_equal(
		command_rig_run(&rig, "shutdown now\r\nshutdown graceful x\r\n"),
		"CLIENT_ERROR invalid shutdown mode\r\nCLIENT_ERROR invalid shutdown mode\r\n");
	assert_int_equal(notes.shutdowns, 0);
	assert_true(parse_text(span_str("shutdown\r\n"), 0, &req) > 0);
	assert_int_equal(command_apply(rig.worker, &req, &rig.resp), COMMAND_CLOSE);
	assert_int_equal(notes.shutdowns, 1);
	assert_true(parse_text(span_str("shutdown graceful\r\n"), 0, &req) > 0);
	assert_int_equal(command_apply(rig.worker, &req, &rig.resp), COMMAND_CLOSE);
	assert_int_equal(notes.graceful, 1);
	assert_int_equal(rig.resp.bytes, 0);
}

static void shutdown_not_allowed_is_refused(void **state)
{
	(void)state;
	assert_string_equal(command_rig_run(&rig, "shutdown\r\n"),
			    "ERROR: shutdown not enabled\r\n");
	assert_int_equal(notes.shutdowns, 0);
}

#define TEST(name, up) cmocka_unit_test_setup_teardown(name, up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flush_all_delayed_takes_effect_when_due, set_up),
		TEST(flush_all_due_within_a_turn_is_seen, set_up),
		TEST(flush_all_last_one_wins, set_up),
		TEST(flush_all_beyond_all_times_never_comes, set_up),
		TEST(flush_all_at_a_unix_time_takes_effect_then, set_up),
		TEST(flush_all_disabled_is_refused_and_counted, set_up_allowing),
		TEST(stats_include_what_the_kernel_answered, set_up),
		TEST(stats_reset_starts_counters_anew, set_up),
		TEST(stats_has_every_name_that_exporters_need, set_up_bare),
		TEST(cache_memlimit_asks_the_hook, set_up),
		TEST(refresh_certs_asks_the_server, set_up),
		TEST(hooks_absent_are_not_called, set_up_bare),
		TEST(shutdown_is_carried_out_only_when_allowed, set_up_allowing),
		TEST(shutdown_not_allowed_is_refused, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
