/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tcp - the lightest client that still sees what it gets, and the least server that answers.
 *
 * bench/load plays clients as they are and checks everything, which costs it more than a request
 * costs the server; to tell servers apart the client must not be what is measured. This one sends
 * --depth requests on each of --conns connections and compares the bytes that come back with those
 * that must (a wrong reply ends it). One thread, epoll, a closed loop.
 *
 *     tcp --port N [--conns N] [--depth N] [--sets PERCENT] [--udp] [--keys N] [--value N] [--ms N]
 *     tcp --serve --port N [--value N]    a server that only knows how to answer those requests
 *
 * --serve is the yardstick: one thread, epoll, one read and one write a turn, no store behind it.
 * --udp sends the gets as memcached's datagrams, --conns under way. Prints one JSON object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/histogram.h"
#include "base/rand.h"

#define KEY_LEN 32
#define VALUE_MAX 8192
#define DEPTH_MAX 64
#define CONN_MAX 4096
#define EVENT_MAX 64
#define REPLY_MAX (KEY_LEN + VALUE_MAX + 64)
#define BUFFER (DEPTH_MAX * REPLY_MAX)
#define FRAME 8
#define STORED_LEN 8
#define RESEND_NS (200 * NSEC_PER_MSEC)

struct options {
	uint32_t port, conns, depth, sets, keys, value_len, ms;
	bool serve, udp;
};

struct client {
	int fd;
	uint32_t want; /* reply bytes of what is under way */
	uint32_t got;
	uint64_t start_ns;
	uint16_t id; /* UDP */
	uint32_t keys[DEPTH_MAX];
	bool set[DEPTH_MAX];
};

static struct options opt = { .conns = 1, .depth = 1, .keys = 10000, .value_len = 32, .ms = 1000 };
static struct client *clients;
static struct histogram took;
static struct rand dice;
static uint8_t in[BUFFER], out[BUFFER], expected[BUFFER];
static uint64_t requests, resent;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "tcp: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t put_key(uint8_t *to, uint32_t key)
{
	return (uint32_t)sprintf((char *)to, "key-%0*u", KEY_LEN - 4, key);
}

static uint32_t put_value(uint8_t *to, uint32_t key)
{
	memset(to, 'a' + (int)(key % 26), opt.value_len);
	memcpy(to + opt.value_len, "\r\n", 2);
	return opt.value_len + 2;
}

static uint32_t put_set(uint8_t *to, uint32_t key)
{
	uint32_t len = (uint32_t)sprintf((char *)to, "set ");

	len += put_key(to + len, key);
	len += (uint32_t)sprintf((char *)to + len, " 0 0 %u\r\n", opt.value_len);
	return len + put_value(to + len, key);
}

static uint32_t put_get(uint8_t *to, uint32_t key)
{
	uint32_t len = (uint32_t)sprintf((char *)to, "get ");

	len += put_key(to + len, key);
	memcpy(to + len, "\r\n", 2);
	return len + 2;
}

static uint32_t put_reply(uint8_t *to, uint32_t key, bool set)
{
	uint32_t len;

	if (set) {
		memcpy(to, "STORED\r\n", STORED_LEN);
		return STORED_LEN;
	}
	len = (uint32_t)sprintf((char *)to, "VALUE ");
	len += put_key(to + len, key);
	len += (uint32_t)sprintf((char *)to + len, " 0 %u\r\n", opt.value_len);
	len += put_value(to + len, key);
	memcpy(to + len, "END\r\n", 5);
	return len + 5;
}

static struct sockaddr_in address(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)opt.port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int dial(bool udp)
{
	struct sockaddr_in addr = address();
	int fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
	int one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect");
	if (!udp)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void send_all(int fd, const uint8_t *bytes, uint32_t len)
{
	uint32_t sent = 0;

	while (sent < len) {
		ssize_t n = send(fd, bytes + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0)
			die("send");
		sent += (uint32_t)n;
	}
}

/* --- client ----------------------------------------------------------------------------------- */

static void ask(struct client *c, uint64_t now_ns)
{
	uint32_t len = 0;

	c->got = 0;
	c->want = 0;
	c->start_ns = now_ns;
	if (opt.udp) {
		uint8_t frame[FRAME] = { (uint8_t)(++c->id >> 8), (uint8_t)c->id, 0, 0, 0, 1 };

		memcpy(out, frame, FRAME);
		len = FRAME;
		c->want = FRAME;
	}
	for (uint32_t i = 0; i < opt.depth; i++) {
		c->keys[i] = (uint32_t)rand_below(&dice, opt.keys);
		c->set[i] = opt.sets && rand_below(&dice, 100) < opt.sets;
		len += c->set[i] ? put_set(out + len, c->keys[i]) : put_get(out + len, c->keys[i]);
		c->want += put_reply(expected, c->keys[i], c->set[i]);
	}
	send_all(c->fd, out, len);
}

/* False: an answer to one that was sent again. Replies may be cut anywhere. */
static bool check(const struct client *c, const uint8_t *bytes, uint32_t len)
{
	uint32_t pos = 0;

	if (opt.udp) {
		if (bytes[0] != (uint8_t)(c->id >> 8) || bytes[1] != (uint8_t)c->id)
			return false;
		pos = FRAME;
		memcpy(expected, bytes, FRAME);
	}
	for (uint32_t i = 0; i < opt.depth; i++)
		pos += put_reply(expected + pos, c->keys[i], c->set[i]);
	if (c->got + len > pos || memcmp(expected + c->got, bytes, len)) {
		fprintf(stderr, "tcp: wrong reply: %.*s\n", (int)len, bytes);
		exit(1);
	}
	return true;
}

static void take(struct client *c, uint64_t *now_ns)
{
	ssize_t n = recv(c->fd, in, sizeof(in), 0);

	if (n <= 0)
		die("recv");
	if (!check(c, in, (uint32_t)n))
		return;
	c->got += (uint32_t)n;
	if (c->got < c->want)
		return;
	*now_ns = clock_mono_ns();
	histogram_insert(&took, *now_ns - c->start_ns);
	requests += opt.depth;
	ask(c, *now_ns);
}

static void fill(void)
{
	int fd = dial(false);

	for (uint32_t key = 0; key < opt.keys; key++) {
		send_all(fd, out, put_set(out, key));
		if (recv(fd, in, sizeof(in), 0) != STORED_LEN)
			die("fill");
	}
	close(fd);
}

static void resend_lost(uint64_t now_ns)
{
	for (uint32_t i = 0; i < opt.conns; i++) {
		if (now_ns - clients[i].start_ns < RESEND_NS)
			continue;
		resent++;
		ask(&clients[i], now_ns);
	}
}

static void report(uint64_t took_ns)
{
	printf("{\"requests_per_sec\": %.1f, \"mean_us\": %.2f, \"p50_us\": %.2f, \"p99_us\": "
	       "%.2f, "
	       "\"p999_us\": %.2f, \"requests\": %llu, \"resent\": %llu}\n",
	       (double)requests * NSEC_PER_SEC / (double)took_ns, histogram_mean(&took) / 1e3,
	       (double)histogram_quantile(&took, 0.5) / 1e3,
	       (double)histogram_quantile(&took, 0.99) / 1e3,
	       (double)histogram_quantile(&took, 0.999) / 1e3, (unsigned long long)requests,
	       (unsigned long long)resent);
}

static void run_client(void)
{
	struct epoll_event events[EVENT_MAX];
	int epoll_fd = epoll_create1(0);
	uint64_t start_ns, now_ns;

	fill();
	clients = calloc(opt.conns, sizeof(*clients));
	if (!clients)
		die("calloc");
	histogram_init(&took);
	rand_init(&dice, 1);
	for (uint32_t i = 0; i < opt.conns; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &clients[i] };

		clients[i].fd = dial(opt.udp);
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, clients[i].fd, &event);
	}
	now_ns = start_ns = clock_mono_ns();
	for (uint32_t i = 0; i < opt.conns; i++)
		ask(&clients[i], now_ns);
	while (now_ns - start_ns < opt.ms * NSEC_PER_MSEC) {
		int cnt = epoll_wait(epoll_fd, events, EVENT_MAX, 100);

		for (int i = 0; i < cnt; i++)
			take(events[i].data.ptr, &now_ns);
		if (cnt == 0)
			now_ns = clock_mono_ns();
		if (cnt == 0 && opt.udp)
			resend_lost(now_ns);
	}
	report(now_ns - start_ns);
}

/* --- yardstick -------------------------------------------------------------------------------- */

/* Whole requests only: the client sends each batch in one piece. */
static void answer(int fd)
{
	ssize_t n = recv(fd, in, sizeof(in), 0);
	uint32_t len = 0;

	if (n <= 0) {
		close(fd);
		return;
	}
	for (uint8_t *line = in; line < in + n;) {
		uint8_t *end = memchr(line, '\n', (size_t)(in + n - line));
		bool set = line[0] == 's';

		if (!end)
			break;
		/* "get key-0000123" */
		len += put_reply(out + len, (uint32_t)strtoul((char *)line + 8, NULL, 10), set);
		line = end + 1 + (set ? opt.value_len + 2 : 0);
	}
	send_all(fd, out, len);
}

static void run_server(void)
{
	struct epoll_event events[EVENT_MAX];
	struct sockaddr_in addr = address();
	int listener = socket(AF_INET, SOCK_STREAM, 0), epoll_fd = epoll_create1(0), one = 1;
	struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(listener, 1024) < 0)
		die("listen");
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		int cnt = epoll_wait(epoll_fd, events, EVENT_MAX, -1);

		for (int i = 0; i < cnt; i++) {
			if (events[i].data.fd != listener) {
				answer(events[i].data.fd);
				continue;
			}
			event.data.fd = accept(listener, NULL, NULL);
			setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event);
		}
	}
}

static uint32_t number(const char *text, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value < min || value > max) {
		fprintf(stderr, "tcp: %s is not a number from %u to %u\n", text, min, max);
		exit(2);
	}
	return (uint32_t)value;
}

int main(int argc, char **argv)
{
	static const struct {
		uint32_t *to, min, max;
	} numbers[] = {
		{ &opt.port, 1, 65535 },      { &opt.conns, 1, CONN_MAX },
		{ &opt.depth, 1, DEPTH_MAX }, { &opt.sets, 0, 100 },
		{ &opt.keys, 1, 100000000 },  { &opt.value_len, 1, VALUE_MAX },
		{ &opt.ms, 1, 600000 },
	};
	static const struct option longs[] = {
		{ "port", required_argument, NULL, 0 },	 { "conns", required_argument, NULL, 1 },
		{ "depth", required_argument, NULL, 2 }, { "sets", required_argument, NULL, 3 },
		{ "keys", required_argument, NULL, 4 },	 { "value", required_argument, NULL, 5 },
		{ "ms", required_argument, NULL, 6 },	 { "serve", no_argument, NULL, 's' },
		{ "udp", no_argument, NULL, 'u' },	 { 0 },
	};
	int which;

	while ((which = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (which == 's')
			opt.serve = true;
		else if (which == 'u')
			opt.udp = true;
		else if (which < 7)
			*numbers[which].to = number(optarg, numbers[which].min, numbers[which].max);
		else
			return 2;
	}
	if (!opt.port || optind < argc || (opt.udp && (opt.depth > 1 || opt.sets))) {
		fprintf(stderr, "usage: see the head of bench/tcp.c\n");
		return 2;
	}
	if (opt.serve)
		run_server();
	run_client();
	return 0;
}
