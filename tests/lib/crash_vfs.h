/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crash_vfs - SQLite's files, and the end of a process or of its power at any of their calls.
 *
 * Does      stands between SQLite and its files as its default VFS: counts the calls that change
 *           something, kills the process at the n-th, and keeps beside each file what of it is
 *           certain to be on the disk (FILE.durable: as it was at its last sync).
 * Errors    may be made to fail, as a full disk does, or to take its time.
 * Owner     one in a process.
 * Threads   one that uses SQLite.
 */
#ifndef XC_TESTS_CRASH_VFS_H
#define XC_TESTS_CRASH_VFS_H

#include <stdbool.h>
#include <stdint.h>

/* Counts from here on; the process kills itself at call number nth (0: never). */
void crash_vfs_start(uint64_t nth);
/* Calls so far: each change counts twice, before and behind it. */
uint64_t crash_vfs_calls(void);
uint64_t crash_vfs_syncs(void);
/* While true every change fails. */
void crash_vfs_fail(bool fail);
/* While true no sync ends. */
void crash_vfs_hold(bool hold);
/* After the process's end: the power was cut. The files are what was certain to be on the disk. */
void crash_vfs_cut_power(const char *path);

#endif
