/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: ending a loop closes what it opened and nothing else: one that was never begun, or has
 * ended already, closes no descriptor of somebody else's. Method: descriptor 0 and the loop's own
 * numbers are watched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/loop.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void fini_of_zeroed_loop_closes_nothing(void **state)
{
	struct loop loop = { 0 };
	int null = open("/dev/null", O_RDONLY);

	(void)state;
	dup2(null, 0); /* a runner may have closed it */
	loop_fini(&loop);
	assert_true(is_open(0));
	close(null);
}

static void fini_closes_its_own_once(void **state)
{
	struct loop loop;
	int epoll_fd, wake_fd, others;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	epoll_fd = loop.epoll_fd;
	wake_fd = loop.wake.fd;
	loop_fini(&loop);
	assert_false(is_open(epoll_fd) || is_open(wake_fd));
	others = open("/dev/null", O_RDONLY);
	assert_true(dup2(others, epoll_fd) == epoll_fd && dup2(others, wake_fd) == wake_fd);
	loop_fini(&loop);
	assert_true(is_open(epoll_fd) && is_open(wake_fd));
	close(epoll_fd);
	close(wake_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fini_of_zeroed_loop_closes_nothing),
		cmocka_unit_test(fini_closes_its_own_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
