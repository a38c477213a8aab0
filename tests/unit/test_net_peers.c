/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: frames come in the order in which they were sent, whole and once, whatever their
 * size; a node that has gone is reached again when it is back; who does not read bounds what is
 * kept for it and nobody else; strangers get nothing in. Method: three nodes in this process, on
 * real connections over loopback addresses of their own, plain and under TLS; seeded.
 */
#include "net/peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rand.h"
#include "lib/runopts.h"
#include "net/tls.h"

#define NODE_CNT 3
#define RING_SUM 4711

struct node {
	struct loop loop;
	struct peers *peers; /* NULL: dead */
	int listen_fd;
	uint16_t idx;
	bool asleep;
	uint64_t next[NODE_CNT]; /* the number of the frame that is to come */
	uint64_t received[NODE_CNT];
	uint64_t sums[NODE_CNT];
	uint32_t lost_cnt;
};

static struct node nodes[NODE_CNT];
static struct sock_addr addrs[NODE_CNT];
static struct tls *tls;
static uint8_t body[FRAME_BODY_MAX];

static uint64_t now_ns(void)
{
	return clock_now_ns(clock_system());
}

static uint64_t sum_of(struct span bytes)
{
	uint64_t sum = bytes.len;

	for (size_t i = 0; i < bytes.len; i += 1 + bytes.len / 64)
		sum = sum * 31 + bytes.ptr[i];
	return sum;
}

static void receive(void *ctx, uint16_t from, const struct frame *frame)
{
	struct node *node = ctx;

	assert_int_equal(frame->type, FRAME_SUPPLY);
	/* None twice and none in between left out. */
	assert_true(frame->cursor == node->next[from]);
	assert_true(frame->end == sum_of(frame->body));
	node->next[from]++;
	node->received[from]++;
}

static void lost(void *ctx, uint16_t to)
{
	struct node *node = ctx;

	(void)to;
	node->lost_cnt++;
}

static void node_start(uint16_t idx)
{
	struct node *node = &nodes[idx];
	struct peers_conf conf = { .self = idx,
				   .cnt = NODE_CNT,
				   .addrs = addrs,
				   .ring_sum = RING_SUM,
				   .tls = tls,
				   .record_bytes = 16 << 10,
				   .clock = clock_system(),
				   .ctx = node,
				   .receive = receive,
				   .lost = lost };

	*node = (struct node){ .idx = idx };
	assert_int_equal(loop_init(&node->loop), 0);
	node->listen_fd = sock_listen_tcp(&addrs[idx], 16);
	assert_true(node->listen_fd >= 0);
	/* The first time the system chooses. */
	if (sock_port(&addrs[idx]) == 0)
		assert_int_equal(sock_local(node->listen_fd, &addrs[idx]), 0);
	assert_int_equal(peers_new(&conf, node->listen_fd, &node->loop, &node->peers), 0);
}

static void node_stop(uint16_t idx)
{
	struct node *node = &nodes[idx];

	if (!node->peers)
		return;
	peers_free(node->peers);
	close(node->listen_fd);
	loop_fini(&node->loop);
	node->peers = NULL;
}

static void turn_all(void)
{
	for (uint32_t i = 0; i < NODE_CNT; i++) {
		if (!nodes[i].peers || nodes[i].asleep)
			continue;
		assert_true(loop_wait(&nodes[i].loop, 1) >= 0);
		loop_drain(&nodes[i].loop);
		peers_turn(nodes[i].peers);
	}
}

static bool connected(uint16_t from, uint16_t to)
{
	struct peers_status status;

	peers_status(nodes[from].peers, to, &status);
	return status.connected;
}

static void await_connected(void)
{
	uint64_t end_ns = now_ns() + 10 * NSEC_PER_SEC;

	for (uint16_t i = 0; i < NODE_CNT; i++) {
		for (uint16_t j = 0; j < NODE_CNT; j++) {
			while (i != j && nodes[i].peers && nodes[j].peers && !connected(i, j)) {
				assert_true(now_ns() < end_ns);
				turn_all();
			}
		}
	}
}

static void go_on_for(uint64_t ms)
{
	uint64_t end_ns = now_ns() + ms * NSEC_PER_MSEC;

	while (now_ns() < end_ns)
		turn_all();
}

static int send_one(uint16_t from, uint16_t to, uint64_t number, size_t len)
{
	struct frame frame = { .type = FRAME_SUPPLY, .cursor = number };

	frame.body = span_of(body + number % 97, len > 97 ? len - 97 : len);
	frame.end = sum_of(frame.body);
	return peers_send(nodes[from].peers, to, &frame);
}

static void await_received(uint16_t at, uint16_t from, uint64_t cnt)
{
	uint64_t end_ns = now_ns() + 20 * NSEC_PER_SEC;

	while (nodes[at].received[from] < cnt) {
		assert_true(now_ns() < end_ns);
		turn_all();
	}
	assert_int_equal(nodes[at].received[from], cnt);
}

static int setup(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)rand_next(&r);
	for (uint16_t i = 0; i < NODE_CNT; i++) {
		char text[32];

		snprintf(text, sizeof(text), "127.0.91.%u", 1 + i);
		assert_int_equal(sock_resolve(text, 0, &addrs[i], 1, NULL), 1);
		node_start(i);
	}
	await_connected();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < NODE_CNT; i++)
		node_stop(i);
	return 0;
}

static void frames_come_in_order_whole_and_once(void **state)
{
	uint64_t sent[NODE_CNT][NODE_CNT] = { 0 };
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (int i = 0; i < 3000; i++) {
		uint16_t from = (uint16_t)rand_below(&r, NODE_CNT);
		uint16_t to = (uint16_t)((from + 1 + rand_below(&r, NODE_CNT - 1)) % NODE_CNT);
		size_t len = rand_below(&r, 100) ? rand_below(&r, 2000)
						 : rand_below(&r, FRAME_BODY_MAX + 1);
		int rc = send_one(from, to, sent[from][to], len);

		if (rc == 0)
			sent[from][to]++;
		else
			assert_int_equal(rc, -ENOBUFS);
		if (rc || rand_below(&r, 20) == 0)
			turn_all();
	}
	for (uint16_t i = 0; i < NODE_CNT; i++) {
		for (uint16_t j = 0; j < NODE_CNT; j++) {
			struct peers_status status;

			if (i == j)
				continue;
			await_received(j, i, sent[i][j]);
			peers_status(nodes[i].peers, j, &status);
			assert_int_equal(status.lost_cnt, 0);
			assert_int_equal(status.waiting_bytes, 0);
			/* and its HELLO */
			assert_int_equal(status.sent_frames, sent[i][j] + 1);
		}
	}
}

static void node_that_comes_back_is_reached_again(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(send_one(0, 1, i, 100), 0);
	await_received(1, 0, 10);
	node_stop(1);
	go_on_for(300);
	assert_int_equal(nodes[0].lost_cnt, 1);
	assert_false(connected(0, 1));
	assert_int_equal(send_one(0, 1, 10, 100), -ENOTCONN);
	/* The others are as they were. */
	assert_int_equal(send_one(0, 2, 0, 100), 0);
	await_received(2, 0, 1);
	node_start(1);
	await_connected();
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(send_one(0, 1, i, 100), 0);
	await_received(1, 0, 10);
	assert_int_equal(send_one(1, 0, 0, 100), 0);
	await_received(0, 1, 1);
}

static void node_that_does_not_read_is_sent_a_bounded_lot(void **state)
{
	uint64_t sent = 0, bytes = 0;
	struct peers_status status;
	int rc = 0;

	(void)state;
	nodes[1].asleep = true;
	for (int full = 0; full < 20;) {
		rc = send_one(0, 1, sent, 100000);
		if (rc == 0) {
			sent++;
			bytes += 100000;
			continue;
		}
		assert_int_equal(rc, -ENOBUFS);
		full++;
		go_on_for(5);
	}
	peers_status(nodes[0].peers, 1, &status);
	assert_true(status.waiting_bytes <= PEERS_OUT_MAX);
	assert_true(status.waiting_bytes > PEERS_OUT_MAX - 200000);
	assert_true(bytes > PEERS_OUT_MAX);
	assert_int_equal(send_one(0, 2, 0, 1000), 0);
	await_received(2, 0, 1);
	nodes[1].asleep = false;
	await_received(1, 0, sent);
	assert_int_equal(nodes[0].lost_cnt, 0);
}

/* From an address of its own; -1: it could not be said. */
static int call_node(const char *own, uint16_t node)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, own, &from.sin_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addrs[node].storage, addrs[node].len), 0);
	return fd;
}

/* The node ends the connection, without a word, and has taken nothing. */
static void expect_refused(int fd, uint64_t ms)
{
	uint64_t end_ns = now_ns() + ms * NSEC_PER_MSEC;
	char byte;
	ssize_t n;

	while ((n = recv(fd, &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN) {
		assert_true(now_ns() < end_ns);
		turn_all();
	}
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
	for (uint16_t i = 0; i < NODE_CNT; i++)
		assert_int_equal(nodes[0].received[i], 0);
}

static void say(int fd, uint16_t idx, uint64_t ring_sum, enum frame_type type)
{
	struct frame hello = { .type = type, .arc = idx, .epoch = ring_sum };
	struct frame supply = { .type = FRAME_SUPPLY };
	uint8_t bytes[2 * FRAME_HEADER_LEN];

	frame_compose(&hello, bytes);
	frame_compose(&supply, bytes + FRAME_HEADER_LEN);
	assert_int_equal(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
}

static void stranger_is_refused(void **state)
{
	static const char garbage[] = "get key\r\n";
	int fd;

	(void)state;
	fd = call_node("127.0.91.2", 0);
	say(fd, 1, RING_SUM + 1, FRAME_HELLO);
	expect_refused(fd, 1000);
	fd = call_node("127.0.91.9", 0); /* no node's address */
	say(fd, 1, RING_SUM, FRAME_HELLO);
	expect_refused(fd, 1000);
	fd = call_node("127.0.91.3", 0); /* another node's */
	say(fd, 1, RING_SUM, FRAME_HELLO);
	expect_refused(fd, 1000);
	fd = call_node("127.0.91.2", 0);
	say(fd, NODE_CNT, RING_SUM, FRAME_HELLO);
	expect_refused(fd, 1000);
	fd = call_node("127.0.91.1", 0); /* itself */
	say(fd, 0, RING_SUM, FRAME_HELLO);
	expect_refused(fd, 1000);
	fd = call_node("127.0.91.2", 0);
	say(fd, 1, RING_SUM, FRAME_SUPPLY);
	expect_refused(fd, 1000);
	fd = call_node("127.0.91.2", 0);
	assert_int_equal(send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL), sizeof(garbage));
	expect_refused(fd, 1000);
	fd = call_node("127.0.91.2", 0);
	expect_refused(fd, 4000); /* says nothing */
	/* Who has a place there is heard all the while. */
	assert_int_equal(send_one(1, 0, 0, 100), 0);
	await_received(0, 1, 1);
}

static void strangers_do_not_take_all_places(void **state)
{
	int fds[40];

	(void)state;
	for (int i = 0; i < 40; i++) {
		fds[i] = call_node("127.0.91.9", 0);
		turn_all();
	}
	go_on_for(2500);
	node_stop(1);
	node_start(1);
	await_connected();
	assert_int_equal(send_one(1, 0, 0, 100), 0);
	await_received(0, 1, 1);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
}

/* --- TLS --- */

static char dir[] = "/tmp/xcpeers.XXXXXX";

static void run(const char *command)
{
	char line[512];

	snprintf(line, sizeof(line), "cd %s && { %s; } >/dev/null 2>&1", dir, command);
	assert_int_equal(system(line), 0);
}

static int setup_tls(void **state)
{
	static char cert[64], key[64], ca[64];
	static struct command_tls options = {
		.enabled = true, .verify_mode = 3, .min_version = 3, .wbuf_kib = 16
	};

	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key "
	    "-out ca.pem -subj /CN=cluster -days 2");
	run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem "
	    "-out req.pem -subj /CN=node");
	run("openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem "
	    "-days 2");
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	snprintf(key, sizeof(key), "%s/key.pem", dir);
	snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
	options.chain_cert = cert;
	options.key = key;
	options.ca_cert = ca;
	assert_int_equal(tls_open(&options, clock_system(), &tls), 0);
	return setup(state);
}

static int teardown_tls(void **state)
{
	char command[64];

	teardown(state);
	tls_close(tls);
	tls = NULL;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void stranger_without_certificate_is_refused(void **state)
{
	char command[256];
	int fd;

	(void)state;
	fd = call_node("127.0.91.2", 0);
	say(fd, 1, RING_SUM, FRAME_HELLO);
	expect_refused(fd, 1000);
	/* It shakes hands, and shows nobody's certificate. */
	snprintf(command, sizeof(command),
		 "sleep 0.7 | timeout 5 openssl s_client -connect 127.0.91.1:%u -CAfile "
		 "%s/ca.pem >%s/out 2>&1 &",
		 sock_port(&addrs[0]), dir, dir);
	assert_int_equal(system(command), 0);
	go_on_for(1000);
	run("grep -q 'certificate required\\|handshake failure\\|alert' out");
	assert_int_equal(send_one(1, 0, 0, 100), 0);
	await_received(0, 1, 1);
}

#define PLAIN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define WITH_TLS(test)                                                                             \
	{                                                                                          \
#test " (TLS)", test, setup_tls, teardown_tls, NULL                                \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAIN(frames_come_in_order_whole_and_once),
		PLAIN(node_that_comes_back_is_reached_again),
		PLAIN(node_that_does_not_read_is_sent_a_bounded_lot),
		PLAIN(stranger_is_refused),
		PLAIN(strangers_do_not_take_all_places),
		WITH_TLS(frames_come_in_order_whole_and_once),
		WITH_TLS(node_that_comes_back_is_reached_again),
		WITH_TLS(node_that_does_not_read_is_sent_a_bounded_lot),
		WITH_TLS(stranger_without_certificate_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
