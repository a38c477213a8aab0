/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever a client sends, in whatever pieces, over a stream or in datagrams, the server answers or
 * closes, goes on serving others, and touches no memory that is not its own. Method: libFuzzer
 * feeds a whole server in this process, network to store, over a unix socket and UDP on loopback.
 * Byte 0 of an input says how it travels: bit 7 datagrams, each as long as the byte before it says,
 * else one stream cut after every 1 + (byte 0 & 127) * 8 bytes. A value kept before must be there
 * afterwards, unless the input could have changed it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "net/net.h"
#include "store/store.h"

#define LOG_BYTES (16U << 20)
#define REPLY_MS 10000 /* below the interval of libFuzzer's timer, half of -timeout */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct net *net;
static char path[64];

static void require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "fuzz_session: %s: %s\n", what, strerror(errno));
	abort();
}

static void stop(void)
{
	net_stop(net);
	net_close(net);
}

static void start(void)
{
	struct store_options store = {
		.log = { .base = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			 .bytes = LOG_BYTES },
		.index_bytes_max = 1 << 20,
		.item_max = 1 << 20,
		.thread_max = 4,
		.clock = clock_system(),
	};
	struct net_options options = {
		.settings = { .memory_bytes = LOG_BYTES,
			      .item_max = 1 << 20,
			      .conn_max = 64,
			      .thread_cnt = 1,
			      .udp_port = -1,
			      .udp_reply_max = 65536,
			      .unix_mode = 0700,
			      .backlog = 64,
			      .requests_per_event = 20 },
		.clock = clock_system(),
	};
	int error;

	log_set_level(LOG_ERROR);
	snprintf(path, sizeof(path), "/tmp/xc-fuzz-%d.sock", (int)getpid());
	options.settings.unix_path = path;
	options.store = store_new(&store, &error);
	require(options.store != NULL, "store_new");
	require(store_reclaim_start(options.store) == 0, "store_reclaim_start");
	require(net_open(&options, &net) == 0 && net_start(net) == 0, "net");
	atexit(stop);
}

static int dial(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	require(fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0, "connect");
	return fd;
}

/* Takes what there is, waiting for the first of it; 0: the end. */
static ssize_t take(int fd, int wait_ms, char *to, size_t len)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	int ready;

	/* libFuzzer's timer interrupts it at times; the wait starts anew, which costs nothing. */
	do
		ready = poll(&poll_fd, 1, wait_ms);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return -ETIMEDOUT;
	return recv(fd, to, len, MSG_DONTWAIT);
}

static void send_stream(const uint8_t *data, size_t size, size_t piece)
{
	static char reply[65536];
	int fd = dial();
	size_t pos = 0;
	ssize_t n = 1;

	while (pos < size) {
		size_t len = size - pos < piece ? size - pos : piece;

		n = send(fd, data + pos, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			break;
		pos += n > 0 ? (size_t)n : 0;
		while (take(fd, 0, reply, sizeof(reply)) > 0)
			;
	}
	shutdown(fd, SHUT_WR);
	do
		n = take(fd, REPLY_MS, reply, sizeof(reply));
	while (n > 0);
	require(n != -ETIMEDOUT, "the server neither answers nor closes");
	close(fd);
}

static void send_datagrams(const uint8_t *data, size_t size)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(net_udp_port(net)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char reply[2048];

	require(fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0, "udp");
	while (size > 1) {
		size_t len = data[0] < size - 1 ? data[0] : size - 1;

		send(fd, data + 1, len, 0);
		data += 1 + len;
		size -= 1 + len;
	}
	while (take(fd, 0, reply, sizeof(reply)) > 0)
		;
	close(fd);
}

static const char *ask(int fd, const char *request, char *reply, size_t max)
{
	size_t got = 0, len = strlen(request);

	require(send(fd, request, len, MSG_NOSIGNAL) == (ssize_t)len, "send");
	do {
		ssize_t n = take(fd, REPLY_MS, reply + got, max - 1 - got);

		require(n > 0, "another client is not served");
		got += (size_t)n;
		reply[got] = '\0';
	} while (!strchr(reply, '\n') || (reply[0] == 'V' && !strstr(reply, "END\r\n")));
	return reply;
}

static bool holds(const uint8_t *data, size_t size, const char *word)
{
	return memmem(data, size, word, strlen(word)) != NULL;
}

/* The key as it is and in base64, whatever reaches every key, and every binary request. */
static bool may_change_it(const uint8_t *data, size_t size)
{
	return holds(data, size, "canary") || holds(data, size, "Y2FuYXJ5") ||
	       holds(data, size, "flush") || holds(data, size, "memlimit") ||
	       holds(data, size, "\x80");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool flush_is_due;
	char reply[256];
	int other;

	if (!net)
		start();
	/* These end the server, or make its log fill this terminal. */
	if (size < 2 || holds(data, size, "shutdown") || holds(data, size, "verbosity"))
		return 0;
	other = dial();
	/* One with a delay, of an input before, ends with one that has none. */
	if (flush_is_due)
		require(!strcmp(ask(other, "flush_all\r\n", reply, sizeof(reply)), "OK\r\n"),
			"flush_all");
	flush_is_due = holds(data, size, "flush") || holds(data, size, "\x80");
	require(!strcmp(ask(other, "set canary 7 0 6\r\nsinger\r\n", reply, sizeof(reply)),
			"STORED\r\n"),
		"canary is not stored");
	if (data[0] & 0x80)
		send_datagrams(data + 1, size - 1);
	else
		send_stream(data + 1, size - 1, 1 + (size_t)(data[0] & 0x7f) * 8);
	ask(other, "get canary\r\n", reply, sizeof(reply));
	if (!may_change_it(data, size))
		require(!strcmp(reply, "VALUE canary 7 6\r\nsinger\r\nEND\r\n"),
			"another client's value has changed");
	close(other);
	return 0;
}
