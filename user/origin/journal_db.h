/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * journal_db - the journal's file.
 *
 * Does      keeps pending records and dead letters in an SQLite database in WAL mode, in
 *           transactions that are on the disk when journal_db_commit returns 0.
 * Shape     application id "xcjl", user version 1:
 *           pending  seq, key (one row each), kind, flags, expiry, value, sum
 *           dead     the same, several of a key, with reason and moment
 *           sum is XXH3 over all of a row but itself: SQLite notices damage to its own structure,
 *           not to a value.
 *           A new file is made under another name and renamed when it is whole: one that is there
 *           and empty has been damaged.
 * Errors    negative errno: -EBUSY another process has it; -EBADMSG damaged, or something else;
 *           -ENOSPC, -EIO. After a failed call the transaction is to be rolled back.
 * Owner     the database is locked from open to close, by the system: a process that is killed lets
 *           go of it.
 * Threads   one at a time.
 * Source    www.sqlite.org/wal.html, /pragma.html#pragma_synchronous.
 */
#ifndef XC_ORIGIN_JOURNAL_DB_H
#define XC_ORIGIN_JOURNAL_DB_H

#include "origin/journal.h"

struct journal_db;

/* ret_error: a sentence that names the file and what to do. */
int journal_db_open(const char *path, struct journal_db **ret, char ret_error[JOURNAL_ERROR_MAX]);
/* Writes the log back into the database, which is then one file. NULL-safe. */
void journal_db_close(struct journal_db *db);
/* What the last failed call said. */
const char *journal_db_error(const struct journal_db *db);

/* Every pending record, oldest first; stops at a negative result of each, which it returns. */
int journal_db_load(struct journal_db *db, int (*each)(void *ctx, const struct journal_record *),
		    void *ctx);
int journal_db_dead_cnt(struct journal_db *db, uint64_t *ret);
/* The greatest seq of any record or letter. */
int journal_db_last_seq(struct journal_db *db, uint64_t *ret);

int journal_db_begin(struct journal_db *db);
int journal_db_commit(struct journal_db *db);
void journal_db_rollback(struct journal_db *db);

/* In a transaction. An older record of the key goes. */
int journal_db_write(struct journal_db *db, const struct journal_record *record);
/* Nothing where the key has a newer record. */
int journal_db_forget(struct journal_db *db, const struct journal_record *record);
int journal_db_bury(struct journal_db *db, const struct journal_record *record, int64_t now_sec,
		    const char *reason);
int journal_db_unbury(struct journal_db *db, uint64_t seq); /* -ENOENT */

int journal_db_walk_dead(struct journal_db *db,
			 bool (*each)(void *ctx, const struct journal_dead *), void *ctx);

#endif
