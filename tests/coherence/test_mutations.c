/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: after a write is acknowledged, whatever the command and the path, the next GET in the
 * kernel sees the new state: the new value, or nothing (the program passes, and the daemon says
 * what is true; or it knows already that there is no such item, and says so).
 *
 * Method: a real daemon with the program on lo. For every mutation: a known value, its key pinned
 * and seen to be answered by the kernel (the hit counter moves), the mutation, its
 * acknowledgement, and at once one test run of the attached program and one GET over UDP. Over
 * TCP, over UDP, and over TCP cut in two at every byte. So no mutation passes by never having met
 * a resident key.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/client.h"
#include "lib/daemon.h"

#define KEY "mutated"
#define ROUNDS 40
#define TEXT_MAX 4096

static struct daemon server;
static struct client client;

/* What a GET is to say afterwards. */
enum after {
	AFTER_VALUE, /* the given text */
	AFTER_NOTHING,
	AFTER_LATER,	 /* the old value still, and nothing once expire_ms have passed */
	AFTER_ELSEWHERE, /* the given text, but not from the kernel */
};

struct mutation {
	const char *name;
	const char *before;  /* how the key comes into being */
	const char *request; /* %s: the old version's cas unique */
	const char *reply;
	enum after after;
	const char *value; /* "<flags> <bytes>\r\n<data>", AFTER_VALUE */
	uint32_t wait_ms;  /* AFTER_LATER */
};

#define OLD "set " KEY " 5 0 3\r\nold\r\n"
#define NUMBER "set " KEY " 5 0 2\r\n41\r\n"

static const struct mutation mutations[] = {
	{ "set", OLD, "set " KEY " 6 0 5\r\nnewer\r\n", "STORED\r\n", AFTER_VALUE, "6 5\r\nnewer",
	  0 },
	{ "set_same_bytes_other_flags", OLD, "set " KEY " 9 0 3\r\nold\r\n", "STORED\r\n",
	  AFTER_VALUE, "9 3\r\nold", 0 },
	{ "set_empty", OLD, "set " KEY " 0 0 0\r\n\r\n", "STORED\r\n", AFTER_VALUE, "0 0\r\n", 0 },
	{ "set_already_expired", OLD, "set " KEY " 0 -1 5\r\nnewer\r\n", "STORED\r\n",
	  AFTER_NOTHING, NULL, 0 },
	{ "set_with_ttl", OLD, "set " KEY " 6 1 5\r\nnewer\r\n", "STORED\r\n", AFTER_LATER,
	  "6 5\r\nnewer", 1000 },
	{ "add_present", OLD, "add " KEY " 6 0 5\r\nnewer\r\n", "NOT_STORED\r\n", AFTER_VALUE,
	  "5 3\r\nold", 0 },
	{ "replace", OLD, "replace " KEY " 6 0 5\r\nnewer\r\n", "STORED\r\n", AFTER_VALUE,
	  "6 5\r\nnewer", 0 },
	{ "append", OLD, "append " KEY " 0 0 5\r\n+tail\r\n", "STORED\r\n", AFTER_VALUE,
	  "5 8\r\nold+tail", 0 },
	{ "prepend", OLD, "prepend " KEY " 0 0 5\r\nhead+\r\n", "STORED\r\n", AFTER_VALUE,
	  "5 8\r\nhead+old", 0 },
	{ "cas", OLD, "cas " KEY " 6 0 5 %s\r\nnewer\r\n", "STORED\r\n", AFTER_VALUE,
	  "6 5\r\nnewer", 0 },
	{ "cas_refused", OLD, "cas " KEY " 6 0 5 1%s\r\nnewer\r\n", "EXISTS\r\n", AFTER_VALUE,
	  "5 3\r\nold", 0 },
	{ "incr", NUMBER, "incr " KEY " 1\r\n", "42\r\n", AFTER_VALUE, "5 2\r\n42", 0 },
	{ "incr_longer", NUMBER, "incr " KEY " 1000000\r\n", "1000041\r\n", AFTER_VALUE,
	  "5 7\r\n1000041", 0 },
	{ "decr", NUMBER, "decr " KEY " 40\r\n", "1\r\n", AFTER_VALUE, "5 2\r\n1 ", 0 },
	{ "touch", OLD, "touch " KEY " 1\r\n", "TOUCHED\r\n", AFTER_LATER, "5 3\r\nold", 1000 },
	{ "touch_past", OLD, "touch " KEY " -1\r\n", "TOUCHED\r\n", AFTER_NOTHING, NULL, 0 },
	{ "touch_longer", "set " KEY " 5 1 3\r\nold\r\n", "touch " KEY " 100\r\n", "TOUCHED\r\n",
	  AFTER_VALUE, "5 3\r\nold", 0 },
	{ "gat", OLD, "gat 1 " KEY "\r\n", "VALUE " KEY " 5 3\r\nold\r\nEND\r\n", AFTER_LATER,
	  "5 3\r\nold", 1000 },
	{ "gat_past", OLD, "gat -1 " KEY "\r\n", "VALUE " KEY " 5 3\r\nold\r\nEND\r\n",
	  AFTER_NOTHING, NULL, 0 },
	{ "delete", OLD, "delete " KEY "\r\n", "DELETED\r\n", AFTER_NOTHING, NULL, 0 },
	{ "ms", OLD, "ms " KEY " 5 F6\r\nnewer\r\n", "HD\r\n", AFTER_VALUE, "6 5\r\nnewer", 0 },
	{ "ms_already_expired", OLD, "ms " KEY " 5 T-1\r\nnewer\r\n", "HD\r\n", AFTER_NOTHING, NULL,
	  0 },
	{ "ms_append", OLD, "ms " KEY " 5 MA k\r\n+tail\r\n", "HD k" KEY "\r\n", AFTER_VALUE,
	  "5 8\r\nold+tail", 0 },
	{ "ms_cas", OLD, "ms " KEY " 5 C%s\r\nnewer\r\n", "HD\r\n", AFTER_VALUE, "0 5\r\nnewer",
	  0 },
	{ "ms_stale", OLD, "ms " KEY " 5 I C1\r\nnewer\r\n", "HD\r\n", AFTER_ELSEWHERE,
	  "0 5\r\nnewer", 0 },
	{ "md", OLD, "md " KEY " C%s\r\n", "HD\r\n", AFTER_NOTHING, NULL, 0 },
	{ "md_stale", OLD, "md " KEY " I\r\n", "HD\r\n", AFTER_ELSEWHERE, "5 3\r\nold", 0 },
	{ "md_value", OLD, "md " KEY " x\r\n", "HD\r\n", AFTER_VALUE, "5 0\r\n", 0 },
	{ "ma", NUMBER, "ma " KEY " D1000000\r\n", "HD\r\n", AFTER_VALUE, "5 7\r\n1000041", 0 },
	{ "mg", OLD, "mg " KEY " s f N30\r\n", "HD s3 f5\r\n", AFTER_VALUE, "5 3\r\nold", 0 },
	{ "mg_touch", OLD, "mg " KEY " T1\r\n", "HD\r\n", AFTER_LATER, "5 3\r\nold", 1000 },
	{ "mg_touch_past", OLD, "mg " KEY " T-1\r\n", "HD\r\n", AFTER_NOTHING, NULL, 0 },
	{ "mg_win", "set " KEY " 5 100 3\r\nold\r\n", "mg " KEY " R200\r\n", "HD W\r\n",
	  AFTER_ELSEWHERE, "5 3\r\nold", 0 },
	{ "flush_all", OLD, "flush_all\r\n", "OK\r\n", AFTER_NOTHING, NULL, 0 },
	{ "flush_all_0", OLD, "flush_all 0\r\n", "OK\r\n", AFTER_NOTHING, NULL, 0 },
	{ "flush_all_later", OLD, "flush_all 1\r\n", "OK\r\n", AFTER_LATER, "5 3\r\nold", 1000 },
};

#define MUTATION_CNT (sizeof(mutations) / sizeof(mutations[0]))

/* --- steps --- */

static const struct mutation *current;
static const char *current_path;

static void must_equal(const char *step, struct span got, const char *want)
{
	if (span_equal(got, span_str(want)))
		return;
	fail_msg("%s over %s, %s: got \"%.*s\", wanted \"%s\"", current->name, current_path, step,
		 (int)(got.len < 200 ? got.len : 200), (const char *)got.ptr, want);
}

static bool kernel_get(struct span *ret)
{
	static uint8_t reply[DAEMON_REPLY_MAX];
	size_t len;

	if (!daemon_kernel_get(&server, 1, span_str("get " KEY "\r\n"), reply, &len))
		return false;
	*ret = span_of(reply + 8, len - 8);
	return true;
}

static void must_be_resident(void)
{
	uint64_t end_ns = clock_now_ns(clock_system()) + 5 * NSEC_PER_SEC;
	struct span reply;
	uint64_t hits;

	/* a key that was gone for a while lost its place, and the pin brings it back */
	while (!kernel_get(&reply) || span_equal(reply, span_str("END\r\n"))) {
		if (clock_now_ns(clock_system()) > end_ns)
			fail_msg("%s: the kernel does not answer the pinned key", current->name);
		usleep(1000);
	}
	hits = daemon_hits(&server);
	client_udp(&client, span_str("get " KEY "\r\n"));
	assert_int_equal(daemon_hits(&server), hits + 1);
}

/* The reply to get: value is "<flags> <bytes>\r\n<data>". */
static void value_text(char ret[TEXT_MAX], const char *value)
{
	snprintf(ret, TEXT_MAX, "VALUE " KEY " %s\r\nEND\r\n", value);
}

/* Both ways to ask the kernel, straight after the acknowledgement. */
static void judge_now(const struct mutation *m, bool may_have_gone)
{
	char want[TEXT_MAX] = "END\r\n";
	struct span reply;
	bool answered = kernel_get(&reply);

	if (m->after != AFTER_NOTHING)
		value_text(want, m->value);
	if (answered) {
		if (m->after == AFTER_ELSEWHERE)
			fail_msg("%s over %s: the kernel answered a key that is not its", m->name,
				 current_path);
		must_equal("kernel", reply, want);
	} else if (m->after != AFTER_NOTHING && m->after != AFTER_ELSEWHERE && !may_have_gone) {
		/* the new version serves with the write, without another promotion */
		fail_msg("%s over %s: the kernel passes a version that fits", m->name,
			 current_path);
	}
	must_equal("GET over UDP", client_udp(&client, span_str("get " KEY "\r\n")), want);
}

static void judge_later(const struct mutation *m, uint64_t acked_ns)
{
	uint64_t gone_ns = acked_ns + m->wait_ms * NSEC_PER_MSEC + 150 * NSEC_PER_MSEC;
	uint64_t now_ns = clock_now_ns(clock_system());
	struct span reply;

	if (gone_ns > now_ns)
		usleep((useconds_t)((gone_ns - now_ns) / 1000));
	if (kernel_get(&reply))
		must_equal("kernel, after its time", reply, "END\r\n");
	must_equal("after its time", client_udp(&client, span_str("get " KEY "\r\n")), "END\r\n");
}

static size_t request_text(const struct mutation *m, char ret[TEXT_MAX])
{
	struct span gets = client_tcp(&client, span_str("gets " KEY "\r\n"));
	char cas[32] = { 0 };
	const char *at = (const char *)gets.ptr + strlen("VALUE " KEY " 5 ");

	at = strchr(at, ' ') + 1;
	memcpy(cas, at, strcspn(at, "\r"));
	return (size_t)snprintf(ret, TEXT_MAX, strstr(m->request, "%s") ? m->request : "%s",
				strstr(m->request, "%s") ? cas : m->request);
}

enum path {
	PATH_TCP,
	PATH_UDP,
	PATH_CUT, /* TCP, in two segments */
};

static void play(const struct mutation *m, enum path path, size_t cut, bool wait)
{
	char request[TEXT_MAX];
	uint64_t acked_ns;
	struct span reply;
	size_t len;

	current = m;
	must_equal("before", client_tcp(&client, span_str(m->before)), "STORED\r\n");
	must_be_resident();
	len = request_text(m, request);
	if (path == PATH_UDP)
		reply = client_udp(&client, span_of(request, len));
	else if (path == PATH_CUT && cut > 0 && cut < len)
		reply = client_tcp_cut(&client, span_of(request, len), cut);
	else
		reply = client_tcp(&client, span_of(request, len));
	acked_ns = clock_now_ns(clock_system());
	must_equal("acknowledgement", reply, m->reply);
	judge_now(m, false);
	if (m->after == AFTER_LATER && wait)
		judge_later(m, acked_ns);
	if (m->after == AFTER_LATER && !wait && strstr(m->request, "flush_all"))
		must_equal("no flush", client_tcp(&client, span_str("flush_all\r\n")), "OK\r\n");
}

/* --- tests --- */

static void pin_key(void)
{
	current = &mutations[0];
	current_path = "TCP";
	must_equal("set", client_tcp(&client, span_str(OLD)), "STORED\r\n");
	daemon_pin(&server, span_str(KEY));
}

static void play_all(enum path path, const char *name)
{
	current_path = name;
	for (size_t i = 0; i < MUTATION_CNT; i++) {
		for (int round = 0; round < ROUNDS; round++)
			play(&mutations[i], path, 0, round == 0);
	}
}

static void mutation_over_tcp_kernel_sees_new_state(void **state)
{
	(void)state;
	pin_key();
	play_all(PATH_TCP, "TCP");
}

static void mutation_over_udp_kernel_sees_new_state(void **state)
{
	(void)state;
	pin_key();
	play_all(PATH_UDP, "UDP");
}

static void mutation_cut_at_every_byte_kernel_sees_new_state(void **state)
{
	(void)state;
	pin_key();
	current_path = "TCP, cut";
	for (size_t i = 0; i < MUTATION_CNT; i++) {
		size_t len = strlen(mutations[i].request) + 24; /* a cas unique is longer than %s */

		for (size_t cut = 1; cut < len; cut++)
			play(&mutations[i], PATH_CUT, cut, false);
	}
}

/* Until the second segment is there nothing has happened. */
static void mutation_half_arrived_kernel_serves_old_version(void **state)
{
	static const char request[] = "set " KEY " 6 0 5\r\nnewer\r\n";
	struct span reply;

	(void)state;
	pin_key();
	for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
		must_equal("before", client_tcp(&client, span_str(OLD)), "STORED\r\n");
		must_be_resident();
		client_tcp_send(&client, span_of(request, cut));
		usleep(500);
		assert_true(kernel_get(&reply));
		must_equal("half way", reply, "VALUE " KEY " 5 3\r\nold\r\nEND\r\n");
		client_tcp_send(&client, span_of(request + cut, sizeof(request) - 1 - cut));
		must_equal("whole", client_tcp_take(&client), "STORED\r\n");
		assert_true(kernel_get(&reply));
		must_equal("after", reply, "VALUE " KEY " 6 5\r\nnewer\r\nEND\r\n");
	}
}

/* Larger than any datagram: the kernel must let go of it, and take it back when it has shrunk. */
static void mutation_outgrows_datagram_kernel_passes(void **state)
{
	static char request[20000], want[20000];
	struct span reply;

	(void)state;
	pin_key();
	for (size_t len = 1300; len < 16000; len += len < 1600 ? 7 : 1371) {
		int head = snprintf(request, sizeof(request), "set " KEY " 1 0 %zu\r\n", len);
		int want_head = snprintf(want, sizeof(want), "VALUE " KEY " 1 %zu\r\n", len);

		for (size_t i = 0; i < len; i++)
			request[(size_t)head + i] = want[(size_t)want_head + i] =
				(char)('a' + (i * 7 + len) % 26);
		memcpy(request + head + len, "\r\n", 3);
		memcpy(want + want_head + len, "\r\nEND\r\n", 8);
		must_equal("before", client_tcp(&client, span_str(OLD)), "STORED\r\n");
		must_be_resident();
		must_equal("large", client_tcp(&client, span_str(request)), "STORED\r\n");
		if (kernel_get(&reply))
			must_equal("kernel", reply, want);
		must_equal("TCP", client_tcp(&client, span_str("get " KEY "\r\n")), want);
		must_equal("UDP", client_udp(&client, span_str("get " KEY "\r\n")), want);
	}
}

/* Deleted, and added again by the acknowledgement's reader: old, nothing, new, in this order. */
static void mutation_delete_then_add_kernel_follows(void **state)
{
	struct span reply;

	(void)state;
	pin_key();
	for (int round = 0; round < 200; round++) {
		char add[64], want[64];

		current_path = "TCP";
		must_be_resident();
		must_equal("delete", client_tcp(&client, span_str("delete " KEY "\r\n")),
			   "DELETED\r\n");
		if (kernel_get(&reply))
			must_equal("kernel", reply, "END\r\n");
		snprintf(add, sizeof(add), "add " KEY " 3 0 6\r\n%06d\r\n", round);
		snprintf(want, sizeof(want), "VALUE " KEY " 3 6\r\n%06d\r\nEND\r\n", round);
		must_equal("add", client_tcp(&client, span_str(add)), "STORED\r\n");
		if (kernel_get(&reply))
			must_equal("kernel", reply, want);
		must_equal("UDP", client_udp(&client, span_str("get " KEY "\r\n")), want);
	}
}

static int start(void **state)
{
	(void)state;
	daemon_start(&server, NULL);
	client_open(&client, DAEMON_HOST, DAEMON_PORT);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	client_close(&client);
	return daemon_stop(&server) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mutation_over_tcp_kernel_sees_new_state),
		cmocka_unit_test(mutation_over_udp_kernel_sees_new_state),
		cmocka_unit_test(mutation_cut_at_every_byte_kernel_sees_new_state),
		cmocka_unit_test(mutation_half_arrived_kernel_serves_old_version),
		cmocka_unit_test(mutation_outgrows_datagram_kernel_passes),
		cmocka_unit_test(mutation_delete_then_add_kernel_follows),
	};

	return cmocka_run_group_tests_name("coherence/mutations", tests, start, stop);
}
