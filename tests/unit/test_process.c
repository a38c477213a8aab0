/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: a pid file is removed by the daemon whose number it holds and by no other. Method: the
 * file as a successor, a stranger or nobody leaves it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "process.h"

static char folder[] = "/tmp/xc_process_XXXXXX";
static char path[64];

static void write_text(const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void remove_pid_own_number_removes_the_file(void **state)
{
	(void)state;
	assert_int_equal(process_write_pid(path), 0);
	assert_int_equal(access(path, F_OK), 0);
	process_remove_pid(path);
	assert_int_not_equal(access(path, F_OK), 0);
	process_remove_pid(path);
	process_remove_pid(NULL);
}

static void remove_pid_another_number_leaves_the_file(void **state)
{
	char successor[32];

	(void)state;
	snprintf(successor, sizeof(successor), "%d\n", getpid() + 1);
	write_text(successor);
	process_remove_pid(path);
	assert_int_equal(access(path, F_OK), 0);
	write_text("");
	process_remove_pid(path);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
}

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/pid", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(remove_pid_own_number_removes_the_file),
		cmocka_unit_test(remove_pid_another_number_leaves_the_file),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
