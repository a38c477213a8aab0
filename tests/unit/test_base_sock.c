/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses are read as users write them; sockets of one server share an address, another server's
 * is noticed; a unix socket's file is replaced only when nobody answers there.
 */
#include "base/sock.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define ADDR_MAX 8

static void resolve_text_gives_address(void **state)
{
	static const struct {
		const char *text, *want;
		bool had_port;
	} rows[] = {
		{ "127.0.0.1", "127.0.0.1:11211", false }, { "127.0.0.1:80", "127.0.0.1:80", true },
		{ "127.0.0.1:0", "127.0.0.1:0", true },	   { "::1", "[::1]:11211", false },
		{ "[::1]", "[::1]:11211", false },	   { "[::1]:65535", "[::1]:65535", true },
		{ "0.0.0.0", "0.0.0.0:11211", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sock_addr addrs[ADDR_MAX];
		char text[SOCK_TEXT_MAX];
		bool had_port;

		assert_int_equal(sock_resolve(rows[i].text, 11211, addrs, ADDR_MAX, &had_port), 1);
		sock_text(&addrs[0], text);
		assert_string_equal(text, rows[i].want);
		assert_int_equal(had_port, rows[i].had_port);
	}
}

static void resolve_bad_text_is_invalid(void **state)
{
	static const char *const texts[] = {
		"127.0.0.1:65536", "127.0.0.1:", "127.0.0.1:x", "[::1",
		"[::1]80",	   "1.2.3.4.5",	 "a b",		"127.0.0.1:-1"
	};
	struct sock_addr addrs[ADDR_MAX];
	char text[600];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(sock_resolve(texts[i], 1, addrs, ADDR_MAX, NULL), -EINVAL);
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(sock_resolve(text, 1, addrs, ADDR_MAX, NULL), -EINVAL);
}

static void resolve_everything_gives_wildcards(void **state)
{
	static const char *const texts[] = { NULL, "*", "" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct sock_addr addrs[ADDR_MAX];
		int cnt = sock_resolve(texts[i], 11211, addrs, ADDR_MAX, NULL);
		char text[SOCK_TEXT_MAX];

		assert_true(cnt >= 1);
		sock_text(&addrs[cnt - 1], text);
		assert_string_equal(text, "0.0.0.0:11211");
	}
}

static void listen_tcp_is_shared_by_one_server_and_seen_by_another(void **state)
{
	struct sock_addr addr;
	int first, second;

	(void)state;
	assert_int_equal(sock_resolve("127.0.0.1:0", 0, &addr, 1, NULL), 1);
	assert_int_equal(sock_probe(&addr, SOCK_STREAM), 0);
	first = sock_listen_tcp(&addr, 8);
	assert_true(first >= 0);
	assert_int_equal(sock_local(first, &addr), 0);
	assert_true(sock_port(&addr) > 0);
	second = sock_listen_tcp(&addr, 8);
	assert_true(second >= 0);
	assert_int_equal(sock_probe(&addr, SOCK_STREAM), -EADDRINUSE);
	close(first);
	close(second);
	assert_int_equal(sock_probe(&addr, SOCK_STREAM), 0);
}

static void bind_udp_is_shared_by_one_server_and_seen_by_another(void **state)
{
	struct sock_addr addr;
	int first, second;

	(void)state;
	assert_int_equal(sock_resolve("127.0.0.1:0", 0, &addr, 1, NULL), 1);
	first = sock_bind_udp(&addr);
	assert_true(first >= 0);
	assert_int_equal(sock_local(first, &addr), 0);
	second = sock_bind_udp(&addr);
	assert_true(second >= 0);
	assert_int_equal(sock_probe(&addr, SOCK_DGRAM), -EADDRINUSE);
	close(first);
	close(second);
}

static void port_is_set_in_both_families(void **state)
{
	struct sock_addr addr;

	(void)state;
	assert_int_equal(sock_resolve("127.0.0.1", 1, &addr, 1, NULL), 1);
	sock_set_port(&addr, 5000);
	assert_int_equal(sock_port(&addr), 5000);
	assert_int_equal(sock_resolve("::1", 1, &addr, 1, NULL), 1);
	sock_set_port(&addr, 5001);
	assert_int_equal(sock_port(&addr), 5001);
}

static void listen_unix_replaces_only_what_nobody_uses(void **state)
{
	char folder[] = "/tmp/xcsock.XXXXXX";
	char path[64], too_long[200];
	struct stat st;
	FILE *file;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	fd = sock_listen_unix(path, 0640, 8, NULL);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(sock_listen_unix(path, 0640, 8, NULL), -EADDRINUSE);
	close(fd);
	/* stale: the file is there, the server is not */
	fd = sock_listen_unix(path, 0600, 8, NULL);
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(sock_listen_unix(path, 0600, 8, NULL), -EEXIST);
	assert_int_equal(unlink(path), 0);
	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	assert_int_equal(sock_listen_unix(too_long, 0600, 8, NULL), -ENAMETOOLONG);
	rmdir(folder);
}

/* A syslog daemon's socket, for one, takes no streams. */
static void listen_unix_leaves_a_living_socket_of_another_kind(void **state)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int living = socket(AF_UNIX, SOCK_DGRAM, 0), fd;

	(void)state;
	snprintf(name.sun_path, sizeof(name.sun_path), "/tmp/xctest-dgram%d", getpid());
	assert_int_equal(bind(living, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(sock_listen_unix(name.sun_path, 0600, 8, NULL), -EADDRINUSE);
	assert_int_equal(access(name.sun_path, F_OK), 0);
	close(living);
	fd = sock_listen_unix(name.sun_path, 0600, 8, NULL);
	assert_true(fd >= 0);
	close(fd);
	unlink(name.sun_path);
}

static void remove_unix_removes_only_its_own_file(void **state)
{
	char folder[] = "/tmp/xc_sock_XXXXXX", path[64];
	struct sock_file first = { 0 }, second = { 0 };
	const struct sock_file none = { 0 };
	struct stat st;
	int old, young;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	old = sock_listen_unix(path, 0600, 8, &first);
	assert_int_equal(sock_remove_unix(path, &none), 0);
	assert_int_equal(stat(path, &st), 0);
	/* somebody cleans up, another server starts, and only then the first one ends */
	assert_int_equal(unlink(path), 0);
	young = sock_listen_unix(path, 0600, 8, &second);
	assert_int_equal(sock_remove_unix(path, &first), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(sock_remove_unix(path, &second), 0);
	assert_int_not_equal(stat(path, &st), 0);
	assert_int_equal(sock_remove_unix(path, &second), 0);
	close(old);
	close(young);
	rmdir(folder);
}

static void socket_of_another_process_is_recognised(void **state)
{
	struct sock_addr addr, other;
	int tcp, udp;

	(void)state;
	assert_int_equal(sock_resolve("127.0.0.1:0", 0, &addr, 1, NULL), 1);
	tcp = sock_listen_tcp(&addr, 8);
	udp = sock_bind_udp(&addr);
	assert_true(tcp >= 0 && udp >= 0);
	/* Any port will do, */
	assert_true(sock_is(tcp, SOCK_STREAM, &addr));
	assert_false(sock_is(tcp, SOCK_DGRAM, &addr));
	assert_true(sock_is(udp, SOCK_DGRAM, &addr));
	/* or this one. */
	assert_int_equal(sock_local(tcp, &other), 0);
	assert_true(sock_is(tcp, SOCK_STREAM, &other));
	sock_set_port(&other, (uint16_t)(sock_port(&other) ^ 1));
	assert_false(sock_is(tcp, SOCK_STREAM, &other));
	assert_int_equal(sock_resolve("127.0.0.2:0", 0, &other, 1, NULL), 1);
	assert_false(sock_is(tcp, SOCK_STREAM, &other));
	assert_int_equal(sock_resolve("[::1]:0", 0, &other, 1, NULL), 1);
	assert_false(sock_is(tcp, SOCK_STREAM, &other));
	close(tcp);
	close(udp);
	assert_false(sock_is(tcp, SOCK_STREAM, &addr));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolve_text_gives_address),
		cmocka_unit_test(resolve_bad_text_is_invalid),
		cmocka_unit_test(resolve_everything_gives_wildcards),
		cmocka_unit_test(listen_tcp_is_shared_by_one_server_and_seen_by_another),
		cmocka_unit_test(bind_udp_is_shared_by_one_server_and_seen_by_another),
		cmocka_unit_test(port_is_set_in_both_families),
		cmocka_unit_test(listen_unix_replaces_only_what_nobody_uses),
		cmocka_unit_test(listen_unix_leaves_a_living_socket_of_another_kind),
		cmocka_unit_test(remove_unix_removes_only_its_own_file),
		cmocka_unit_test(socket_of_another_process_is_recognised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
