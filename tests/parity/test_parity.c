/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: a GET has one answer. Whenever the kernel answers, its bytes are the daemon's bytes for
 * the same request, and both are what a plain dictionary says (lib/model.h); when the kernel must
 * not know a key any more, it passes.
 *
 * Method: one daemon, one store, the program attached to lo. Rounds of random commands over TCP
 * (every storage command, arithmetic, touch, gat, delete, flush_all; keys of 1 to 250 bytes of
 * anything, values of 0 to 2000 bytes of anything, odd expiry times), then random reads, each asked
 * of both:
 *   kernel   one BPF_PROG_TEST_RUN of the attached program, on its live maps;
 *   daemon   the same request over TCP, which no kernel program sees.
 * One read in SAMPLE goes over real sockets instead: the request as it is (the kernel's), and with
 * a blank before its line end, which the kernel passes and the daemon reads as the same request.
 * Datagrams are compared whole. Gets of several keys are the kernel's for all keys or for none.
 *
 * XC_OPS commands (default 10^6; with XC_TEST_LONG 10^7 or until the budget is used). Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rand.h"
#include "lib/client.h"
#include "lib/daemon.h"
#include "lib/model.h"
#include "lib/runopts.h"

#define KEYS 400
#define ROUND_WRITES 24
#define ROUND_READS 40
#define SAMPLE 16
#define OPS_SHORT 1000000
#define OPS_LONG 10000000
#define SHORT_SEC 200
#define WARM_SEC 3 /* until keys that are read often have come into the kernel */
/* Of the reads of living keys that fit, this share at least must have come from the kernel. */
#define KERNEL_SHARE_MIN 0.7
#define FITS_MAX 1100 /* with the longest key, flags and cas below the largest reply */

static struct daemon server;
static struct client client;
static struct model model;
static struct rand r;

static struct {
	uint64_t ops, reads, kernel, fitting, kernel_fitting, sockets, sockets_kernel, either;
	uint64_t kernel_end; /* keys that it knew to be absent */
	uint64_t batches, batches_kernel;
} seen;

static uint64_t now_ns(void)
{
	return clock_now_ns(clock_system());
}

/* --- commands --- */

static uint32_t random_len(void)
{
	switch (rand_below(&r, 8)) {
	case 0:
		return 0;
	case 1:
		return (uint32_t)rand_below(&r, 2001);
	case 2:
		return (uint32_t)rand_below(&r, 1441);
	default:
		return (uint32_t)rand_below(&r, 120);
	}
}

static int64_t random_exptime(void)
{
	int64_t unix_sec = clock_wall_sec(clock_system());

	switch (rand_below(&r, 24)) {
	case 0:
		return 1;
	case 1:
		return 2;
	case 2:
		return -1 - (int64_t)rand_below(&r, 100);
	case 3:
		return 60 * 60 * 24 * 30; /* the last relative one */
	case 4:
		return 60 * 60 * 24 * 30 + 1; /* the first absolute one: long past */
	case 5:
		return unix_sec + 1 + (int64_t)rand_below(&r, 3);
	case 6:
		return unix_sec + 100000;
	case 7:
		return unix_sec - (int64_t)rand_below(&r, 100);
	default:
		return 0;
	}
}

static void random_value(struct model_op *op)
{
	uint64_t word = 0;

	if (rand_below(&r, 5) == 0) {
		op->value_len = (uint32_t)sprintf(
			(char *)op->value, "%llu",
			(unsigned long long)(rand_next(&r) >> rand_below(&r, 64)));
		return;
	}
	op->value_len = random_len();
	for (uint32_t i = 0; i < op->value_len; i++) {
		if (i % 8 == 0)
			word = rand_next(&r);
		op->value[i] = (uint8_t)(word >> i % 8 * 8);
	}
	/* what a parser could trip over */
	if (op->value_len > 20 && rand_below(&r, 4) == 0)
		memcpy(op->value + rand_below(&r, op->value_len - 19), "\r\nEND\r\nget a\r\n", 14);
}

static void random_op(struct model_op *op)
{
	const struct model_key *key;

	*op = (struct model_op){ .key = (uint32_t)rand_below(&r, KEYS) };
	key = &model.keys[op->key];
	/* half of all are sets, so that most keys are there */
	op->verb = rand_below(&r, 2) ? MODEL_SET : (enum model_verb)rand_below(&r, MODEL_FLUSH);
	if (op->verb == MODEL_DELETE && rand_below(&r, 2))
		op->verb = MODEL_SET;
	if (rand_below(&r, 20000) == 0)
		op->verb = MODEL_FLUSH;
	op->flags = (uint32_t)(rand_next(&r) >> rand_below(&r, 64));
	op->exptime = random_exptime();
	op->number = rand_next(&r) >> rand_below(&r, 64);
	if (op->verb == MODEL_CAS && key->cas_known && rand_below(&r, 3))
		op->number = key->cas;
	random_value(op);
	if ((op->verb == MODEL_APPEND || op->verb == MODEL_PREPEND) && key->value_len > 1400)
		op->verb = MODEL_REPLACE;
}

static void show(const char *what, struct span bytes)
{
	printf("%s, %zu bytes: ", what, bytes.len);
	for (size_t i = 0; i < bytes.len && i < 400; i++) {
		uint8_t c = bytes.ptr[i];

		printf(c >= ' ' && c < 0x7f && c != '\\' ? "%c" : "\\x%02x", c);
	}
	printf("\n");
}

static void show_op(const struct model_op *op)
{
	char text[MODEL_TEXT_MAX];

	show("command", span_of(text, model_text(&model, op, text)));
}

static void write_round(void)
{
	static struct model_op ops[ROUND_WRITES];
	static char text[ROUND_WRITES * MODEL_TEXT_MAX], want[MODEL_TEXT_MAX];
	struct span replies[ROUND_WRITES];
	uint64_t t0, t1;
	size_t at = 0;

	for (int i = 0; i < ROUND_WRITES; i++) {
		random_op(&ops[i]);
		at += model_text(&model, &ops[i], text + at);
	}
	t0 = now_ns();
	client_tcp_send(&client, span_of(text, at));
	/* replies stay where they are until the next read from the socket */
	at = 0;
	for (int i = 0; i < ROUND_WRITES; i++) {
		struct span reply = client_tcp_take(&client);

		memcpy(text + at, reply.ptr, reply.len);
		replies[i] = span_of(text + at, reply.len);
		at += reply.len;
	}
	t1 = now_ns();
	for (int i = 0; i < ROUND_WRITES; i++) {
		size_t len = model_apply(&model, &ops[i], t0, t1, want);

		if (len && !span_equal(replies[i], span_of(want, len))) {
			show_op(&ops[i]);
			show("got", replies[i]);
			show("wanted", span_of(want, len));
			fail_msg("wrong reply");
		}
	}
	seen.ops += ROUND_WRITES;
}

/* --- reads --- */

struct read {
	uint32_t key;
	bool gets;
	uint64_t t0, t1;
	bool kernel; /* it answered */
	size_t kernel_len;
	uint8_t kernel_reply[DAEMON_REPLY_MAX];
};

static bool is_end(struct span reply)
{
	return span_equal(reply, span_str("END\r\n"));
}

/* One answer against the dictionary; end: "END" is an answer (the daemon's), not silence. */
static void judge(const struct read *read, struct span reply, const char *who)
{
	enum model_state state = model_state(&model, read->key, read->t0, read->t1);
	bool right = false;

	switch (state) {
	case MODEL_UNKNOWN:
		right = true;
		break;
	case MODEL_DEAD:
		right = is_end(reply);
		break;
	case MODEL_EITHER:
		right = is_end(reply) || model_check_value(&model, read->key, read->gets, reply);
		seen.either++;
		break;
	case MODEL_ALIVE:
		right = model_check_value(&model, read->key, read->gets, reply);
		break;
	}
	if (!right) {
		show("reply", reply);
		fail_msg("%s: key %u of %u bytes, state %d, gets %d, value of %u bytes", who,
			 read->key, model.keys[read->key].key_len, state, read->gets,
			 model.keys[read->key].value_len);
	}
}

static void compare(const struct read *read, struct span daemon_reply)
{
	static const uint8_t frame[8] = { 0x12, 0x34, 0, 0, 0, 1, 0, 0 };
	struct span text = span_of(read->kernel_reply + 8, read->kernel_len - 8);
	enum model_state state = model_state(&model, read->key, read->t0, read->t1);
	const struct model_key *key = &model.keys[read->key];

	judge(read, daemon_reply, "daemon");
	seen.reads++;
	if (state == MODEL_ALIVE && key->value_len <= FITS_MAX) {
		seen.fitting++;
		seen.kernel_fitting += read->kernel;
	}
	if (!read->kernel)
		return;
	seen.kernel++;
	assert_memory_equal(read->kernel_reply, frame, sizeof(frame));
	seen.kernel_end += is_end(text);
	judge(read, text, "kernel");
	/* its time may have run out between the two questions */
	if (state != MODEL_EITHER && !span_equal(text, daemon_reply)) {
		show("kernel", text);
		show("daemon", daemon_reply);
		fail_msg("key %u: two answers", read->key);
	}
}

static void read_round(void)
{
	static struct read reads[ROUND_READS];
	static char text[ROUND_READS * MODEL_TEXT_MAX];
	size_t at = 0;

	for (int i = 0; i < ROUND_READS; i++) {
		struct read *read = &reads[i];
		size_t len;

		read->key = (uint32_t)rand_below(&r, KEYS);
		read->gets = rand_below(&r, 2);
		len = model_get_text(&model, read->key, read->gets, text + at);
		read->t0 = now_ns();
		read->kernel = daemon_kernel_get(&server, 0x1234, span_of(text + at, len),
						 read->kernel_reply, &read->kernel_len);
		at += len;
	}
	client_tcp_send(&client, span_of(text, at));
	for (int i = 0; i < ROUND_READS; i++) {
		struct span reply = client_tcp_take(&client);

		reads[i].t1 = now_ns();
		compare(&reads[i], reply);
	}
	seen.ops += ROUND_READS;
}

/* --- several keys at once --- */

#define BATCH_MAX 5
#define ROUND_BATCHES 4

/* What the daemon says of each key, one after the other, as the reply for all; t1 is set. */
static size_t batch_wanted(struct read *reads, uint32_t cnt, uint8_t *ret)
{
	char text[BATCH_MAX * MODEL_TEXT_MAX];
	size_t at = 0, len = 0;

	for (uint32_t i = 0; i < cnt; i++)
		at += model_get_text(&model, reads[i].key, reads[i].gets, text + at);
	client_tcp_send(&client, span_of(text, at));
	for (uint32_t i = 0; i < cnt; i++) {
		struct span reply = client_tcp_take(&client);

		reads[i].t1 = now_ns();
		judge(&reads[i], reply, "daemon");
		memcpy(ret + len, reply.ptr, reply.len - 5);
		len += reply.len - 5;
	}
	memcpy(ret + len, "END\r\n", 5);
	return len + 5;
}

/* The kernel answers for all keys, with what the daemon says of them, or for none. */
static void batch_read(void)
{
	static struct read reads[BATCH_MAX];
	static uint8_t reply[DAEMON_REPLY_MAX], want[BATCH_MAX * MODEL_TEXT_MAX];
	uint32_t cnt = 2 + (uint32_t)rand_below(&r, BATCH_MAX - 1);
	bool gets = rand_below(&r, 2), answered, in_doubt = false;
	size_t at, len, want_len;
	char text[BATCH_MAX * MODEL_TEXT_MAX];

	at = (size_t)sprintf(text, "get%s", gets ? "s" : "");
	for (uint32_t i = 0; i < cnt; i++) {
		const struct model_key *key;

		reads[i].key = (uint32_t)rand_below(&r, KEYS);
		reads[i].gets = gets;
		reads[i].t0 = now_ns();
		key = &model.keys[reads[i].key];
		text[at++] = ' ';
		memcpy(text + at, key->key, key->key_len);
		at += key->key_len;
	}
	memcpy(text + at, "\r\n", 2);
	answered = daemon_kernel_get(&server, 0x1234, span_of(text, at + 2), reply, &len);
	want_len = batch_wanted(reads, cnt, want);
	seen.batches++;
	for (uint32_t i = 0; i < cnt; i++) {
		enum model_state state =
			model_state(&model, reads[i].key, reads[i].t0, reads[i].t1);

		in_doubt |= state == MODEL_EITHER;
	}
	if (!answered)
		return;
	seen.batches_kernel++;
	if (in_doubt || span_equal(span_of(reply + 8, len - 8), span_of(want, want_len)))
		return;
	show("request", span_of(text, at));
	show("kernel", span_of(reply + 8, len - 8));
	show("daemon", span_of(want, want_len));
	fail_msg("%u keys: two answers", cnt);
}

/* --- real sockets --- */

static void socket_read(void)
{
	static struct read read;
	static uint8_t first[4096];
	static char request[8 + MODEL_TEXT_MAX];
	uint64_t hits = daemon_hits(&server);
	struct span reply;
	size_t len;

	read.key = (uint32_t)rand_below(&r, KEYS);
	read.gets = rand_below(&r, 2);
	read.t0 = now_ns();
	client.id++;
	memcpy(request, (uint8_t[8]){ client.id >> 8, client.id & 0xff, 0, 0, 0, 1, 0, 0 }, 8);
	len = 8 + model_get_text(&model, read.key, read.gets, request + 8);
	reply = client_udp_raw(&client, span_of(request, len));
	seen.sockets++;
	assert_in_range(reply.len, 9, sizeof(first));
	if (daemon_hits(&server) == hits) {
		/* the daemon's, perhaps the first of several datagrams: asked again, by itself */
		reply = client_udp(&client, span_of(request + 8, len - 8));
		read.t1 = now_ns();
		judge(&read, reply, "daemon over UDP");
		return;
	}
	seen.sockets_kernel++;
	memcpy(first, reply.ptr, reply.len);
	read.kernel_len = reply.len;
	/* "... KEY \r\n" */
	memcpy(request + len - 2, " \r\n", 3);
	reply = client_udp(&client, span_of(request + 8, len + 1 - 8));
	read.t1 = now_ns();
	assert_int_equal(daemon_hits(&server), hits + 1);
	judge(&read, reply, "daemon over UDP");
	judge(&read, span_of(first + 8, read.kernel_len - 8), "kernel over UDP");
	assert_memory_equal(first, request, 8); /* same id, datagram 0 of 1 */
	if (model_state(&model, read.key, read.t0, read.t1) != MODEL_EITHER)
		assert_true(span_equal(reply, span_of(first + 8, read.kernel_len - 8)));
}

/* --- the run --- */

static void play_round(void)
{
	write_round();
	read_round();
	for (int i = 0; i < ROUND_BATCHES; i++)
		batch_read();
	for (int i = 0; i < ROUND_READS / SAMPLE; i++)
		socket_read();
}

/* Judged as the rest is, but not counted. */
static void warm_up(void)
{
	uint64_t end_ns = now_ns() + WARM_SEC * NSEC_PER_SEC;

	while (now_ns() < end_ns)
		play_round();
	memset(&seen, 0, sizeof(seen));
}

static void report(uint64_t started_ns)
{
	double sec = (double)(now_ns() - started_ns) / NSEC_PER_SEC;

	printf("%llu commands in %.1f s; of %llu reads the kernel answered %llu (%.1f %% of those "
	       "that fit; %llu of absent keys), %llu of %llu for several keys; over sockets %llu "
	       "of "
	       "%llu; %llu in their last moment\n",
	       (unsigned long long)seen.ops, sec, (unsigned long long)seen.reads,
	       (unsigned long long)seen.kernel,
	       100.0 * (double)seen.kernel_fitting / (double)(seen.fitting ? seen.fitting : 1),
	       (unsigned long long)seen.kernel_end, (unsigned long long)seen.batches_kernel,
	       (unsigned long long)seen.batches, (unsigned long long)seen.sockets_kernel,
	       (unsigned long long)seen.sockets, (unsigned long long)seen.either);
	fflush(stdout);
}

static void parity_random_commands_one_answer(void **state)
{
	bool is_long = runopts_long();
	uint64_t ops = runopts_number("XC_OPS", is_long ? OPS_LONG : OPS_SHORT);
	uint64_t next_report = ops / 10, started_ns, end_ns;

	(void)state;
	warm_up();
	started_ns = now_ns();
	end_ns = started_ns + runopts_budget_sec(SHORT_SEC) * NSEC_PER_SEC;
	while (seen.ops < ops && !(is_long && now_ns() > end_ns)) {
		play_round();
		if (seen.ops >= next_report) {
			report(started_ns);
			next_report += ops / 10;
		}
	}
	assert_true(seen.kernel_fitting >= KERNEL_SHARE_MIN * (double)seen.fitting);
	assert_true(seen.kernel_end > seen.reads / 1000);
	assert_true(seen.sockets_kernel * 4 >= seen.sockets);
	assert_true(seen.batches_kernel * 10 >= seen.batches);
	assert_true(seen.fitting * 4 >= seen.reads);
}

/* The same key in both hands: what goes wrong first would go wrong here. */
static void parity_key_appears_and_goes(void **state)
{
	uint8_t reply[DAEMON_REPLY_MAX];
	struct span get = span_str("get here\r\n");
	size_t len;

	(void)state;
	assert_false(daemon_kernel_get(&server, 1, get, reply, &len));
	assert_true(span_equal(client_tcp(&client, span_str("set here 7 0 5\r\nhello\r\n")),
			       span_str("STORED\r\n")));
	daemon_pin(&server, span_str("here"));
	assert_true(daemon_kernel_get(&server, 1, get, reply, &len));
	assert_true(span_equal(span_of(reply + 8, len - 8),
			       span_str("VALUE here 7 5\r\nhello\r\nEND\r\n")));
	assert_true(span_equal(client_tcp(&client, span_str("delete here\r\n")),
			       span_str("DELETED\r\n")));
	assert_false(daemon_kernel_get(&server, 1, get, reply, &len));
	daemon_unpin(&server, span_str("here"));
}

/* What seems to come from a server's port: neither says a word, and the kernel counts it. */
static void parity_server_port_is_answered_by_neither(void **state)
{
	const struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_port = htons(DAEMON_PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1),
	};
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(DAEMON_PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	static const char request[] = "\x12\x34\0\0\0\1\0\0get here\r\n";
	struct xc_stats before, after;
	struct pollfd wait = { .fd = socket(AF_INET, SOCK_DGRAM, 0), .events = POLLIN };

	(void)state;
	client_tcp(&client, span_str("set here 7 0 5\r\nhello\r\n"));
	daemon_pin(&server, span_str("here"));
	assert_int_equal(bind(wait.fd, (const struct sockaddr *)&from, sizeof(from)), 0);
	daemon_stats(&server, &before);
	assert_int_equal(sendto(wait.fd, request, sizeof(request) - 1, 0,
				(const struct sockaddr *)&to, sizeof(to)),
			 sizeof(request) - 1);
	assert_int_equal(poll(&wait, 1, 200), 0);
	daemon_stats(&server, &after);
	assert_int_equal(after.pass_source, before.pass_source + 1);
	close(wait.fd);
	daemon_unpin(&server, span_str("here"));
}

static int start(void **state)
{
	static const char *const more[] = { "--hot-threshold", "1", NULL };

	(void)state;
	rand_init(&r, runopts_seed());
	model_init(&model, KEYS, &r);
	daemon_start(&server, more);
	client_open(&client, DAEMON_HOST, DAEMON_PORT);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	client_close(&client);
	model_fini(&model);
	return daemon_stop(&server) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parity_key_appears_and_goes),
		cmocka_unit_test(parity_server_port_is_answered_by_neither),
		cmocka_unit_test(parity_random_commands_one_answer),
	};

	return cmocka_run_group_tests_name("parity", tests, start, stop);
}
