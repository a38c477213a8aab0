/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/journal_db.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"

#define APPLICATION_ID 0x78636a6c
#define USER_VERSION 1
#define CHECKPOINT_PAGES 1000

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	WRITE,
	FORGET,
	BURY,
	UNBURY,
	LOAD,
	WALK_DEAD,
	DEAD_CNT,
	LAST_SEQ,
	STATEMENT_CNT
};

static const char *const texts[STATEMENT_CNT] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[WRITE] = "INSERT OR REPLACE INTO pending (seq, key, kind, flags, expiry, value, sum)"
		  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[FORGET] = "DELETE FROM pending WHERE seq = ?1",
	[BURY] = "INSERT INTO dead (seq, key, kind, flags, expiry, value, sum, buried, reason)"
		 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	[UNBURY] = "DELETE FROM dead WHERE seq = ?1",
	[LOAD] = "SELECT seq, key, kind, flags, expiry, value, sum FROM pending ORDER BY seq",
	[WALK_DEAD] = "SELECT seq, key, kind, flags, expiry, value, sum, buried, reason FROM dead"
		      " ORDER BY seq",
	[DEAD_CNT] = "SELECT count(*) FROM dead",
	[LAST_SEQ] = "SELECT max(ifnull((SELECT max(seq) FROM pending), 0),"
		     " ifnull((SELECT max(seq) FROM dead), 0))",
};

#define COLUMNS                                                                                    \
	"(seq INTEGER PRIMARY KEY, key BLOB NOT NULL %s, kind INTEGER NOT NULL,"                   \
	" flags INTEGER NOT NULL, expiry INTEGER NOT NULL, value BLOB NOT NULL,"                   \
	" sum INTEGER NOT NULL%s)"

struct journal_db {
	sqlite3 *sql;
	sqlite3_stmt *statements[STATEMENT_CNT];
};

/* --- errors --- */

static int errno_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_ERROR: /* our own texts are right: it is not the tables we made */
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_PERM:
	case SQLITE_READONLY:
		return -EACCES;
	default:
		return -EIO;
	}
}

const char *journal_db_error(const struct journal_db *db)
{
	return sqlite3_errmsg(db->sql);
}

__attribute__((format(printf, 3, 4))) static int complain(char *ret_error, int error,
							  const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(ret_error, JOURNAL_ERROR_MAX, fmt, args);
	va_end(args);
	return error;
}

/* What SQLite's answer means to whoever starts the daemon. */
static int complain_of(sqlite3 *sql, int code, const char *path, char *ret_error)
{
	int error = errno_of(code);

	if (error == -EBUSY)
		return complain(
			ret_error, error,
			"the journal %s is in use by another process; every daemon needs one "
			"of its own",
			path);
	if (error == -EBADMSG)
		return complain(
			ret_error, error,
			"the journal %s is damaged (%s): restore it from a copy, or move it "
			"away and lose the writes in it",
			path, sqlite3_errmsg(sql));
	return complain(ret_error, error, "the journal %s cannot be used: %s (%s)", path,
			sqlite3_errmsg(sql), strerror(sqlite3_system_errno(sql)));
}

/* --- a new file --- */

static int exec(sqlite3 *sql, const char *text)
{
	return sqlite3_exec(sql, text, NULL, NULL, NULL);
}

static int make_tables(sqlite3 *sql)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "BEGIN;"
		 "CREATE TABLE pending " COLUMNS ";"
		 "CREATE TABLE dead " COLUMNS ";"
		 "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
		 "UNIQUE", "", "", ", buried INTEGER NOT NULL, reason TEXT NOT NULL",
		 APPLICATION_ID, USER_VERSION);
	return exec(sql, text);
}

static int sync_folder_of(const char *path)
{
	char copy[PATH_MAX];
	int fd, error = 0;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd))
		error = -errno;
	close(fd);
	return error;
}

static int make_file(const char *path, char *ret_error)
{
	char fresh[PATH_MAX], log[PATH_MAX];
	sqlite3 *sql = NULL;
	int code, fd;

	if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh) ||
	    snprintf(log, sizeof(log), "%s-wal", path) >= (int)sizeof(log))
		return complain(ret_error, -ENAMETOOLONG, "the journal's path is too long");
	/* SQLite would take the log of a file that is gone for the new one's. */
	if (access(log, F_OK) == 0)
		return complain(
			ret_error, -EBADMSG,
			"the journal %s is gone but its log %s is there: restore the first, or "
			"move the second away and lose the writes in it",
			path, log);
	/* SQLite gives its other files the mode of this one. */
	unlink(fresh);
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return complain(ret_error, -errno, "the journal %s cannot be made: %s", path,
				strerror(errno));
	close(fd);
	code = sqlite3_open_v2(fresh, &sql, SQLITE_OPEN_READWRITE, NULL);
	if (code == SQLITE_OK)
		code = exec(sql, "PRAGMA synchronous = FULL; PRAGMA journal_mode = MEMORY");
	if (code == SQLITE_OK)
		code = make_tables(sql);
	if (code != SQLITE_OK)
		code = complain_of(sql, code, path, ret_error);
	sqlite3_close(sql);
	if (!code && (rename(fresh, path) || sync_folder_of(path)))
		code = complain(ret_error, -errno, "the journal %s cannot be made: %s", path,
				strerror(errno));
	return code;
}

/* --- one that is there --- */

static int number(sqlite3 *sql, const char *text, int64_t *ret)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(sql, text, -1, &statement, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW)
		*ret = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return code == SQLITE_ROW ? SQLITE_OK : code;
}

/* Exclusive before anything else: there is then no file of shared memory, nor a second process. */
static int set_up(sqlite3 *sql)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
		 "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = %d;"
		 "BEGIN IMMEDIATE; COMMIT",
		 CHECKPOINT_PAGES);
	return exec(sql, text);
}

static int check(sqlite3 *sql, const char *path, char *ret_error)
{
	int64_t id = 0, version = 0;
	sqlite3_stmt *statement = NULL;
	int code = number(sql, "PRAGMA application_id", &id), error = 0;

	if (code == SQLITE_OK)
		code = number(sql, "PRAGMA user_version", &version);
	if (code == SQLITE_OK && (id != APPLICATION_ID || version != USER_VERSION))
		return complain(
			ret_error, -EBADMSG,
			"%s is not a journal of this version of xdpcached, or damaged: name "
			"another file, or move it away and lose the writes in it",
			path);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v2(sql, "PRAGMA integrity_check(1)", -1, &statement, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW &&
	    strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
		error = complain(
			ret_error, -EBADMSG,
			"the journal %s is damaged (%s): restore it from a copy, or move it "
			"away and lose the writes in it",
			path, sqlite3_column_text(statement, 0));
	else if (code != SQLITE_ROW)
		error = complain_of(sql, code, path, ret_error);
	sqlite3_finalize(statement);
	return error;
}

static int prepare(struct journal_db *db)
{
	int code = SQLITE_OK;

	for (uint32_t i = 0; i < STATEMENT_CNT && code == SQLITE_OK; i++)
		code = sqlite3_prepare_v3(db->sql, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
					  &db->statements[i], NULL);
	return code;
}

int journal_db_open(const char *path, struct journal_db **ret, char ret_error[JOURNAL_ERROR_MAX])
{
	struct journal_db *db;
	int code, error = 0;

	if (access(path, F_OK))
		error = make_file(path, ret_error);
	if (error)
		return error;
	db = alloc_zero(1, sizeof(*db));
	if (!db)
		return complain(ret_error, -ENOMEM, "no memory for the journal %s", path);
	/* One thread at a time: SQLite need not lock. */
	code = sqlite3_open_v2(path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code == SQLITE_OK)
		code = set_up(db->sql);
	if (code != SQLITE_OK)
		error = complain_of(db->sql, code, path, ret_error);
	if (!error)
		error = check(db->sql, path, ret_error);
	if (!error) {
		code = prepare(db);
		if (code != SQLITE_OK)
			error = complain_of(db->sql, code, path, ret_error);
	}
	if (error) {
		journal_db_close(db);
		return error;
	}
	*ret = db;
	return 0;
}

void journal_db_close(struct journal_db *db)
{
	if (!db)
		return;
	for (uint32_t i = 0; i < STATEMENT_CNT; i++)
		sqlite3_finalize(db->statements[i]);
	sqlite3_close(db->sql);
	alloc_free(db);
}

/* --- records --- */

static int64_t sum_of(const struct journal_record *record)
{
	const struct journal_change *what = &record->what;
	uint64_t head[] = { record->seq,     what->kind,    what->flags,
			    what->expiry_ns, what->key.len, what->value.len };
	uint64_t sum = XXH3_64bits(head, sizeof(head));

	sum = XXH3_64bits_withSeed(what->key.ptr, what->key.len, sum);
	return (int64_t)XXH3_64bits_withSeed(what->value.ptr, what->value.len, sum);
}

static void bind_blob(sqlite3_stmt *statement, int at, struct span bytes)
{
	/* A NULL pointer would be a NULL. */
	sqlite3_bind_blob64(statement, at, bytes.len ? (const void *)bytes.ptr : "", bytes.len,
			    SQLITE_STATIC);
}

static void bind_record(sqlite3_stmt *statement, const struct journal_record *record)
{
	const struct journal_change *what = &record->what;

	sqlite3_bind_int64(statement, 1, (int64_t)record->seq);
	bind_blob(statement, 2, what->key);
	sqlite3_bind_int(statement, 3, (int)what->kind);
	sqlite3_bind_int64(statement, 4, what->flags);
	sqlite3_bind_int64(statement, 5, (int64_t)what->expiry_ns);
	bind_blob(statement, 6, what->value);
	sqlite3_bind_int64(statement, 7, sum_of(record));
}

static struct span column_span(sqlite3_stmt *statement, int at)
{
	const void *bytes = sqlite3_column_blob(statement, at);

	return span_of(bytes, (size_t)sqlite3_column_bytes(statement, at));
}

/* Borrowed until the statement's next step. -EBADMSG: not what was written. */
static int column_record(sqlite3_stmt *statement, struct journal_record *ret)
{
	*ret = (struct journal_record){
		.seq = (uint64_t)sqlite3_column_int64(statement, 0),
		.what = { .key = column_span(statement, 1),
			  .kind = (enum journal_kind)sqlite3_column_int64(statement, 2),
			  .flags = (uint32_t)sqlite3_column_int64(statement, 3),
			  .expiry_ns = (uint64_t)sqlite3_column_int64(statement, 4),
			  .value = column_span(statement, 5) },
	};
	return sqlite3_column_int64(statement, 6) == sum_of(ret) ? 0 : -EBADMSG;
}

/* Runs a statement that returns no row. */
static int run(struct journal_db *db, enum statement which)
{
	sqlite3_stmt *statement = db->statements[which];
	int code = sqlite3_step(statement);

	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return errno_of(code);
}

int journal_db_load(struct journal_db *db, int (*each)(void *ctx, const struct journal_record *),
		    void *ctx)
{
	sqlite3_stmt *statement = db->statements[LOAD];
	struct journal_record record;
	int code, error = 0;

	while (!error && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		error = column_record(statement, &record);
		if (!error)
			error = each(ctx, &record);
	}
	if (!error)
		error = errno_of(code);
	sqlite3_reset(statement);
	return error;
}

static int query_number(struct journal_db *db, enum statement which, uint64_t *ret)
{
	sqlite3_stmt *statement = db->statements[which];
	int code = sqlite3_step(statement);

	if (code == SQLITE_ROW)
		*ret = (uint64_t)sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	return errno_of(code);
}

int journal_db_dead_cnt(struct journal_db *db, uint64_t *ret)
{
	return query_number(db, DEAD_CNT, ret);
}

int journal_db_last_seq(struct journal_db *db, uint64_t *ret)
{
	return query_number(db, LAST_SEQ, ret);
}

int journal_db_begin(struct journal_db *db)
{
	return run(db, BEGIN);
}

int journal_db_commit(struct journal_db *db)
{
	return run(db, COMMIT);
}

void journal_db_rollback(struct journal_db *db)
{
	/* Some errors have rolled it back already. */
	if (!sqlite3_get_autocommit(db->sql))
		run(db, ROLLBACK);
}

int journal_db_write(struct journal_db *db, const struct journal_record *record)
{
	bind_record(db->statements[WRITE], record);
	return run(db, WRITE);
}

int journal_db_forget(struct journal_db *db, const struct journal_record *record)
{
	/* A newer record of the key has another seq, and this one's row is gone then. */
	sqlite3_bind_int64(db->statements[FORGET], 1, (int64_t)record->seq);
	return run(db, FORGET);
}

int journal_db_bury(struct journal_db *db, const struct journal_record *record, int64_t now_sec,
		    const char *reason)
{
	sqlite3_stmt *statement = db->statements[BURY];
	int error = journal_db_forget(db, record);

	if (error)
		return error;
	bind_record(statement, record);
	sqlite3_bind_int64(statement, 8, now_sec);
	sqlite3_bind_text(statement, 9, reason, -1, SQLITE_STATIC);
	return run(db, BURY);
}

int journal_db_unbury(struct journal_db *db, uint64_t seq)
{
	int error;

	sqlite3_bind_int64(db->statements[UNBURY], 1, (int64_t)seq);
	error = run(db, UNBURY);
	return error ? error : sqlite3_changes(db->sql) ? 0 : -ENOENT;
}

int journal_db_walk_dead(struct journal_db *db,
			 bool (*each)(void *ctx, const struct journal_dead *), void *ctx)
{
	sqlite3_stmt *statement = db->statements[WALK_DEAD];
	bool more = true;
	int code = SQLITE_ROW, error = 0;

	while (more && !error && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		struct journal_dead dead;

		error = column_record(statement, &dead.record);
		dead.buried_sec = sqlite3_column_int64(statement, 7);
		snprintf(dead.reason, sizeof(dead.reason), "%s", sqlite3_column_text(statement, 8));
		more = !error && each(ctx, &dead);
	}
	sqlite3_reset(statement);
	return error ? error : errno_of(code);
}
