/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: whichever allocation fails, a server that is being opened says so and leaves nothing
 * open; one that serves answers or closes the one connection, and serves the next. Method: each
 * allocation in turn is refused, once while net_open runs, and for each of some conversations, with
 * a server of its own, in the threads that serve it; descriptors are counted, memory by the address
 * sanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "lib/fault.h"
#include "net/net.h"
#include "store/store.h"

#define LOG_BYTES (16U << 20)
#define VALUE_BYTES 600000
#define PATIENCE_MS 10000

static char path[64];
static struct store *store;
static struct eventlog *events;

static const char *const loopback[] = { "127.0.0.1" };

static const struct net_options net_options_all = {
	.settings = { .memory_bytes = LOG_BYTES,
		      .item_max = 1 << 20,
		      .conn_max = 64,
		      .thread_cnt = 2,
		      .tcp_port = -1,
		      .udp_port = -1,
		      .udp_reply_max = 65536,
		      .unix_path = path,
		      .unix_mode = 0700,
		      .backlog = 64,
		      .requests_per_event = 20 },
};

static struct net_options options_of(uint32_t thread_cnt, bool only_unix)
{
	struct net_options options = net_options_all;

	options.listen = loopback;
	options.listen_cnt = 1;
	options.store = store;
	options.events = events;
	options.clock = clock_system();
	options.settings.thread_cnt = thread_cnt;
	if (only_unix)
		options.settings.tcp_port = options.settings.udp_port = 0;
	return options;
}

static uint32_t open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t cnt = 0;

	assert_non_null(dir);
	while (readdir(dir))
		cnt++;
	closedir(dir);
	return cnt;
}

static int make_store(void **state)
{
	struct store_options options = {
		.log = { .base = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			 .bytes = LOG_BYTES },
		.index_bytes_max = 1 << 20,
		.item_max = 1 << 20,
		.thread_max = 4,
		.clock = clock_system(),
	};
	int error;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/xctest-memory%d", getpid());
	store = store_new(&options, &error);
	events = eventlog_new(options.clock);
	return !store || !events || store_reclaim_start(store);
}

static int free_store(void **state)
{
	(void)state;
	store_free(store);
	eventlog_free(events);
	unlink(path);
	return 0;
}

static void net_open_without_memory_leaves_nothing_open(void **state)
{
	struct net_options options = options_of(2, false);
	enum log_level level = log_get_level();
	uint32_t files = open_files();
	uint64_t asked = 0;
	struct net *net;

	(void)state;
	log_set_level(LOG_ERROR);
	for (uint64_t nth = 1; nth <= asked + 1; nth++) {
		int error;

		fault_start(nth);
		error = net_open(&options, &net);
		asked = fault_stop();
		if (!error)
			net_close(net);
		else
			assert_int_equal(error, -ENOMEM);
		assert_true(error || nth > asked);
		assert_int_equal(open_files(), files);
		assert_int_equal(access(path, F_OK), -1);
	}
	log_set_level(level);
	print_message("%llu allocations\n", (unsigned long long)asked);
	assert_true(asked >= 15);
}

/* --- serving --- */

static _Atomic uint64_t asked_cnt, refused_nth;
static __thread bool is_test;

static bool refuse(size_t bytes)
{
	(void)bytes;
	return !is_test && atomic_fetch_add(&asked_cnt, 1) + 1 == atomic_load(&refused_nth);
}

static int join(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void await(int fd, short events)
{
	struct pollfd ready = { .fd = fd, .events = events };

	assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1); /* it hangs */
}

/* Sends all, says that this was it, and reads to the end. Returns the last bytes of it. */
static void converse(const char *text, size_t len, char last[64])
{
	static char bytes[1 << 16];
	size_t kept = 0, sent = 0;
	int fd = join();
	ssize_t n = 1;

	while (sent < len) {
		await(fd, POLLOUT);
		n = send(fd, text + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			break; /* closed on us */
		sent += (size_t)n;
	}
	shutdown(fd, SHUT_WR);
	do {
		await(fd, POLLIN);
		n = recv(fd, bytes, sizeof(bytes), 0);
		if (n > 0) {
			kept = n < 63 ? (size_t)n : 63;
			memcpy(last, bytes + n - kept, kept);
		}
	} while (n > 0);
	last[kept] = '\0';
	close(fd);
}

/* Requests, and how the reply ends if all goes well; `#` stands for a value of VALUE_BYTES. */
static const struct conversation {
	const char *text, *end;
} conversations[] = {
	{ "set a 0 0 1\r\nx\r\nget a\r\n", "END\r\n" },
	{ "set a 0 0 600000\r\n#\r\nget a\r\nget a a a\r\n", "END\r\n" },
	{ "set a 0 0 1\r\nx\r\nappend a 0 0 600000\r\n#\r\n", "STORED\r\n" },
	{ "set a 0 0 600000\r\n#", "" },
	{ "append a 0 0 600000\r\n#", "" },
	{ "incr n 1\r\nadd n 0 0 1\r\n5\r\nincr n 1\r\n", "6\r\n" },
	{ "stats\r\nstats settings\r\nstats conns\r\nstats detail on\r\nget p:1\r\n"
	  "stats detail dump\r\nstats reset\r\n",
	  "RESET\r\n" },
	{ "set a 0 0 1\r\nx\r\nlru_crawler metadump all\r\n", "END\r\n" },
	{ "watch mutations fetchers\r\n", "OK\r\n" },
	{ "get a", "" },
	{ "ms a 20000\r\n", "" },
};

static size_t spell(const char *text, char *to)
{
	char *at = to;

	for (; *text; text++) {
		if (*text == '#') {
			memset(at, 'v', VALUE_BYTES);
			at += VALUE_BYTES;
		} else {
			*at++ = *text;
		}
	}
	return (size_t)(at - to);
}

/* Returns how many allocations serving it took. */
static uint64_t serve_without(const struct conversation *c, uint64_t nth)
{
	static char text[2 * VALUE_BYTES + 4096];
	struct net_options options = options_of(1, true);
	size_t len = spell(c->text, text), end_len = strlen(c->end), last_len;
	struct net *net;
	uint64_t asked;
	char last[64];

	assert_int_equal(net_open(&options, &net), 0);
	assert_int_equal(net_start(net), 0);
	atomic_store(&asked_cnt, 0);
	atomic_store(&refused_nth, nth);
	converse(text, len, last);
	asked = atomic_load(&asked_cnt);
	atomic_store(&refused_nth, 0);
	last_len = strlen(last);
	if (nth == 0 || nth > asked)
		assert_true(last_len >= end_len && strcmp(last + last_len - end_len, c->end) == 0);
	converse("version\r\n", 9, last);
	assert_memory_equal(last, "VERSION", 7);
	net_stop(net);
	net_close(net);
	return asked;
}

static void serving_without_memory_ends_one_connection_at_most(void **state)
{
	uint32_t files = open_files();
	uint64_t refused = 0;

	(void)state;
	is_test = true;
	alloc_refuse = refuse;
	for (size_t i = 0; i < sizeof(conversations) / sizeof(conversations[0]); i++) {
		uint64_t asked = serve_without(&conversations[i], 0);

		for (uint64_t nth = 1; nth <= asked; nth++, refused++)
			serve_without(&conversations[i], nth);
	}
	alloc_refuse = NULL;
	print_message("%llu refused\n", (unsigned long long)refused);
	assert_true(refused > 20);
	assert_int_equal(open_files(), files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(net_open_without_memory_leaves_nothing_open),
		cmocka_unit_test(serving_without_memory_ends_one_connection_at_most),
	};

	return cmocka_run_group_tests(tests, make_store, free_store);
}
