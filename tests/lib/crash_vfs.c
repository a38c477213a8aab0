/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/crash_vfs.h"

#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct crash_file {
	sqlite3_file base;
	const char *path; /* SQLite's; it outlives the file */
	sqlite3_file real[];
};

static sqlite3_vfs *system_vfs;
static sqlite3_vfs crash_vfs;
static uint64_t call_cnt, kill_nth, sync_cnt;
static atomic_bool fails, holds;

static sqlite3_file *real_of(sqlite3_file *file)
{
	return ((struct crash_file *)file)->real;
}

static void step(void)
{
	if (++call_cnt == kill_nth)
		kill(getpid(), SIGKILL);
}

static void copy(const char *from, const char *to)
{
	FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
	char bytes[65536];
	size_t len;

	if (!in || !out)
		abort();
	while ((len = fread(bytes, 1, sizeof(bytes), in)) > 0) {
		if (fwrite(bytes, 1, len, out) != len)
			abort();
	}
	fclose(in);
	fclose(out);
}

static const char *durable_of(const char *path)
{
	static char name[PATH_MAX + 16];

	snprintf(name, sizeof(name), "%s.durable", path);
	return name;
}

/* --- a file's calls --- */

static int file_close(sqlite3_file *file)
{
	return real_of(file)->pMethods->xClose(real_of(file));
}

static int file_read(sqlite3_file *file, void *to, int len, sqlite3_int64 at)
{
	return real_of(file)->pMethods->xRead(real_of(file), to, len, at);
}

static int file_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
	int code;

	if (fails)
		return SQLITE_FULL;
	step();
	code = real_of(file)->pMethods->xWrite(real_of(file), bytes, len, at);
	step();
	return code;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 len)
{
	int code;

	step();
	code = real_of(file)->pMethods->xTruncate(real_of(file), len);
	step();
	return code;
}

static int file_sync(sqlite3_file *file, int flags)
{
	int code;

	if (fails)
		return SQLITE_IOERR_FSYNC;
	while (holds)
		usleep(1000);
	step();
	code = real_of(file)->pMethods->xSync(real_of(file), flags);
	copy(((struct crash_file *)file)->path, durable_of(((struct crash_file *)file)->path));
	sync_cnt++;
	step();
	return code;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret)
{
	return real_of(file)->pMethods->xFileSize(real_of(file), ret);
}

static int file_lock(sqlite3_file *file, int lock)
{
	return real_of(file)->pMethods->xLock(real_of(file), lock);
}

static int file_unlock(sqlite3_file *file, int lock)
{
	return real_of(file)->pMethods->xUnlock(real_of(file), lock);
}

static int file_check_lock(sqlite3_file *file, int *ret)
{
	return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret);
}

static int file_control(sqlite3_file *file, int what, void *arg)
{
	return real_of(file)->pMethods->xFileControl(real_of(file), what, arg);
}

static int file_sector(sqlite3_file *file)
{
	return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int file_traits(sqlite3_file *file)
{
	return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

/* Version 1: no shared memory, no mapping. */
static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_unlock,
	.xCheckReservedLock = file_check_lock,
	.xFileControl = file_control,
	.xSectorSize = file_sector,
	.xDeviceCharacteristics = file_traits,
};

/* --- the VFS --- */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
		    int *ret_flags)
{
	struct crash_file *ours = (struct crash_file *)file;
	int code;

	(void)vfs;
	ours->path = name;
	code = system_vfs->xOpen(system_vfs, name, ours->real, flags, ret_flags);
	file->pMethods = ours->real->pMethods ? &methods : NULL;
	/* What was there before the first call is on the disk. */
	if (code == SQLITE_OK && flags & SQLITE_OPEN_MAIN_DB)
		copy(name, durable_of(name));
	return code;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	(void)vfs;
	unlink(durable_of(name));
	return system_vfs->xDelete(system_vfs, name, sync);
}

void crash_vfs_start(uint64_t nth)
{
	if (!system_vfs) {
		system_vfs = sqlite3_vfs_find(NULL);
		crash_vfs = *system_vfs;
		crash_vfs.zName = "crash";
		crash_vfs.szOsFile += (int)sizeof(struct crash_file);
		crash_vfs.xOpen = vfs_open;
		crash_vfs.xDelete = vfs_delete;
		sqlite3_vfs_register(&crash_vfs, 1);
	}
	call_cnt = sync_cnt = 0;
	kill_nth = nth;
	fails = false;
}

uint64_t crash_vfs_calls(void)
{
	return call_cnt;
}

uint64_t crash_vfs_syncs(void)
{
	return sync_cnt;
}

void crash_vfs_fail(bool fail)
{
	fails = fail;
}

void crash_vfs_hold(bool hold)
{
	holds = hold;
}

void crash_vfs_cut_power(const char *path)
{
	static const char *const ends[] = { "", "-wal" };

	for (int i = 0; i < 2; i++) {
		char name[PATH_MAX];

		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		/* Never synced: nothing of it is there. */
		if (rename(durable_of(name), name))
			unlink(name);
	}
}
