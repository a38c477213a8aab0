/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: one directory has one lock however it is written; names that would leave the pin root
 * are refused; every interface name the kernel allows has a path that bpffs takes, and no two share
 * one. Method: tables; no file system is touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fastpath/pins.h"

static void pins_init_spellings_share_directory_and_lock(void **state)
{
	static const char *const roots[] = { "/sys/fs/bpf/x", "/sys/fs/bpf/x/", "//sys/fs//bpf/x",
					     "/sys/fs/bpf/x///" };
	struct pins first, pins;

	(void)state;
	assert_int_equal(pins_init(&first, roots[0], "a"), 0);
	assert_string_equal(first.dir, "/sys/fs/bpf/x/a/v1");
	assert_string_equal(first.lock, "/run/xdpcache/_sys_fs_bpf_x.a.lock");
	for (size_t i = 1; i < sizeof(roots) / sizeof(roots[0]); i++) {
		assert_int_equal(pins_init(&pins, roots[i], "a"), 0);
		assert_string_equal(pins.dir, first.dir);
		assert_string_equal(pins.lock, first.lock);
	}
}

static void pins_init_nothing_given_is_the_default(void **state)
{
	struct pins pins;

	(void)state;
	assert_int_equal(pins_init(&pins, NULL, NULL), 0);
	assert_string_equal(pins.dir, PINS_ROOT_DEFAULT "/default/v1");
}

static void pins_init_bad_names_are_refused(void **state)
{
	static const struct {
		const char *root, *instance;
	} rows[] = {
		{ "/sys/fs/bpf/x", "" },
		{ "/sys/fs/bpf/x", "." },
		{ "/sys/fs/bpf/x", ".." },
		{ "/sys/fs/bpf/x", "a/b" },
		{ "/sys/fs/bpf/x", "../b" },
		{ "relative", "a" },
		{ "", "a" },
		{ "/", "a" },
	};
	char longest[PATH_MAX];
	struct pins pins;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_true(pins_init(&pins, rows[i].root, rows[i].instance) < 0);
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	assert_true(pins_init(&pins, longest, "a") < 0);
}

static void pins_interface_path_dots_become_colons(void **state)
{
	struct pins pins;
	char path[PATH_MAX];

	(void)state;
	assert_int_equal(pins_init(&pins, "/p", "a"), 0);
	pins_interface_path(&pins, path, "eth0", "xdp");
	assert_string_equal(path, "/p/a/v1/if/eth0/xdp");
	pins_interface_path(&pins, path, "eth0.100", "xdp");
	assert_string_equal(path, "/p/a/v1/if/eth0:100/xdp");
	/* 15 characters are the kernel's limit; nothing is cut off */
	pins_interface_path(&pins, path, "a.b.c.d.e.f.g.h", NULL);
	assert_string_equal(path, "/p/a/v1/if/a:b:c:d:e:f:g:h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pins_init_spellings_share_directory_and_lock),
		cmocka_unit_test(pins_init_nothing_given_is_the_default),
		cmocka_unit_test(pins_init_bad_names_are_refused),
		cmocka_unit_test(pins_interface_path_dots_become_colons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
