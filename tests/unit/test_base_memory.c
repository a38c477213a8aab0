/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a memory file keeps its bytes from one mapping to the next, is private, has one user
 * at a time, and is never anything but a regular file; of another size it begins as zeroes; what is
 * behind the mapped part is the caller's until it is trimmed. A memfd passes on the same way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

#define BYTES (1ULL << 20)

static char folder[64], path[128];

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/xc_memory_XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/log", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static bool is_zero(const struct memory *memory)
{
	return memory->base[0] == 0 && memcmp(memory->base, memory->base + 1, BYTES - 1) == 0;
}

static void memory_file_keeps_its_bytes_and_is_private(void **state)
{
	struct memory memory;
	struct stat st;

	(void)state;
	assert_int_equal(memory_file(path, BYTES, BYTES, &memory), 0);
	assert_false(memory.kept);
	assert_true(is_zero(&memory));
	memory.base[BYTES - 1] = 7;
	assert_int_equal(pwrite(memory.fd, "state", 5, BYTES), 5);
	memory_free(&memory);
	memory_free(&memory);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);

	assert_int_equal(memory_file(path, BYTES, BYTES, &memory), 0);
	assert_true(memory.kept);
	assert_int_equal(memory.base[BYTES - 1], 7);
	assert_int_equal(fstat(memory.fd, &st), 0);
	assert_int_equal(st.st_size, BYTES + 5);
	memory_trim(&memory);
	assert_int_equal(fstat(memory.fd, &st), 0);
	assert_int_equal(st.st_size, BYTES);
	assert_int_equal(memory.base[BYTES - 1], 7);
	memory_free(&memory);
}

static void memory_file_has_one_user(void **state)
{
	struct memory memory, second = { 0 };
	int copy;

	(void)state;
	assert_int_equal(memory_file(path, BYTES, BYTES, &memory), 0);
	assert_int_equal(memory_file(path, BYTES, BYTES, &second), -EBUSY);
	assert_null(second.base);
	/* Until the last copy of the descriptor is closed. */
	copy = dup(memory.fd);
	memory_free(&memory);
	assert_int_equal(memory_file(path, BYTES, BYTES, &second), -EBUSY);
	close(copy);
	assert_int_equal(memory_file(path, BYTES, BYTES, &second), 0);
	memory_free(&second);
}

static void memory_file_too_short_begins_as_zeroes(void **state)
{
	struct memory memory;

	(void)state;
	assert_int_equal(memory_file(path, BYTES / 2, BYTES / 2, &memory), 0);
	memset(memory.base, 9, BYTES / 2);
	memory_free(&memory);
	assert_int_equal(memory_file(path, BYTES, BYTES, &memory), 0);
	assert_true(memory.kept);
	assert_true(is_zero(&memory));
	memory_free(&memory);
}

static void memory_file_is_no_link_and_no_device(void **state)
{
	char target[160];
	struct memory memory;

	(void)state;
	snprintf(target, sizeof(target), "%s.target", path);
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(memory_file(path, BYTES, BYTES, &memory), -ELOOP);
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(memory_file("/dev/null", BYTES, BYTES, &memory), -ENOTSUP);
	assert_int_equal(memory_file(folder, BYTES, BYTES, &memory), -EISDIR);
}

static void memory_without_room_for_it_is_refused(void **state)
{
	struct memory memory = { 0 };

	(void)state;
	/* No file system has that much; a hole would be found out by a write, which ends the
	 * process. */
	assert_true(memory_file(path, 1ULL << 46, 1ULL << 46, &memory) < 0);
	assert_null(memory.base);
	/* And the next start does not take the hole for a log. */
	assert_int_equal(memory_file(path, BYTES, BYTES, &memory), 0);
	assert_false(memory.kept);
	memory_free(&memory);
}

static void memory_memfd_is_passed_on(void **state)
{
	struct memory memory, next;
	int fd;

	(void)state;
	assert_int_equal(memory_new("test", BYTES, &memory), 0);
	memory.base[5] = 5;
	fd = dup(memory.fd);
	memory_free(&memory);
	assert_int_equal(memory_adopt(fd, BYTES, &next), 0);
	assert_true(next.kept);
	assert_int_equal(next.base[5], 5);
	memory_drop(next.base, BYTES);
	assert_true(is_zero(&next));
	memory_free(&next);
}

static void memory_identity_tells_sizes_apart(void **state)
{
	(void)state;
	assert_int_equal(memory_identity(BYTES), memory_identity(BYTES));
	assert_int_not_equal(memory_identity(BYTES), memory_identity(2 * BYTES));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_file_keeps_its_bytes_and_is_private),
		TEST(memory_file_has_one_user),
		TEST(memory_file_too_short_begins_as_zeroes),
		TEST(memory_file_is_no_link_and_no_device),
		TEST(memory_without_room_for_it_is_refused),
		TEST(memory_memfd_is_passed_on),
		TEST(memory_identity_tells_sizes_apart),
	};

	return cmocka_run_group_tests_name("base_memory", tests, NULL, NULL);
}
