/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What threads ask for is a list of jobs in the order in which they came. The journal's thread
 * takes the whole list, makes it one transaction, and only then shows its records to others:
 *
 *   append, finish ──► jobs ──► BEGIN … COMMIT (fsync) ──► table of pending records ──► done()
 *
 * While the disk works the next list grows: groups become as large as they have to be. A record
 * that the origin has taken leaves the table at once and the disk with the next group: should the
 * process end in between the origin gets it once more, before anything newer of its key.
 *
 * The bounds count what the table holds and the jobs together, so a record may be on its way to the
 * disk only if there is room for it in memory.
 */
#include "origin/journal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/rand.h"
#include "origin/journal_db.h"
#include "origin/journal_pending.h"

/* What the origin has taken may stay on the disk for so long when nobody writes. */
#define FORGET_MS 100
/* After a group that the disk did not take. */
#define DISK_RETRY_MS 200

/* Two lists, each with its own link in a record: the origin may be through with one whose writer is
 * only being told. */
enum job {
	JOB_WRITE,
	JOB_END,
};

struct job_list {
	enum job job;
	struct pending *first, **end;
};

/* Something of an operator's, done between groups; the caller waits. */
struct errand {
	int (*run)(struct journal *journal, struct errand *errand);
	bool (*each)(void *ctx, const struct journal_dead *);
	void *ctx;
	uint64_t seq;
	int result;
	bool finished;
	struct errand *next;
};

struct journal {
	struct journal_conf conf;
	struct journal_db *db; /* the thread's, but for open and close */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;	 /* the thread's */
	pthread_cond_t returned; /* errands' */
	/* Under the lock: */
	struct pending_table table;
	struct job_list writes;	 /* to be written; nobody sees them yet */
	struct job_list endings; /* out of the table; to leave the disk */
	struct errand *errands;
	uint64_t write_ns, ending_ns; /* monotonic: when the first of each list came */
	uint64_t queued_bytes;	      /* of writes, and of the group that is being written */
	uint32_t queued_cnt;
	uint64_t last_seq;
	bool stops;
	struct journal_stats stats;
	/* The thread's: */
	bool disk_fails; /* and the operator knows */
};

/* --- jobs --- */

static void jobs_init(struct job_list *list, enum job job)
{
	*list = (struct job_list){ .job = job, .end = &list->first };
}

static void jobs_append(struct job_list *list, struct pending *pending)
{
	pending->job_next[list->job] = NULL;
	*list->end = pending;
	list->end = &pending->job_next[list->job];
}

static struct pending *jobs_take(struct job_list *list)
{
	struct pending *first = list->first;

	jobs_init(list, list->job);
	return first;
}

/* --- the thread: one group --- */

static int write_group(struct journal *journal, struct pending *writes, struct pending *endings)
{
	int64_t now_sec = clock_wall_sec(journal->conf.clock);
	int error = journal_db_begin(journal->db);

	/* First what is over: a key's newer write comes after the end of its older one. */
	for (struct pending *p = endings; p && !error; p = p->job_next[JOB_END]) {
		if (p->end == JOURNAL_DEAD)
			error = journal_db_bury(journal->db, &p->record, now_sec, p->reason);
		else
			error = journal_db_forget(journal->db, &p->record);
	}
	for (struct pending *p = writes; p && !error; p = p->job_next[JOB_WRITE])
		error = journal_db_write(journal->db, &p->record);
	if (!error)
		error = journal_db_commit(journal->db);
	if (error && !journal->disk_fails)
		log_line(LOG_ERROR, "journal", "the disk takes no writes: %s path=%s",
			 journal_db_error(journal->db), journal->conf.path);
	else if (!error && journal->disk_fails)
		log_line(LOG_INFO, "journal", "the disk takes writes again path=%s",
			 journal->conf.path);
	journal->disk_fails = error;
	if (error)
		journal_db_rollback(journal->db);
	return error;
}

/* Lock held. Endings that did not get to the disk come first in the next group. */
static void give_back(struct journal *journal, struct pending *endings)
{
	struct pending *later = jobs_take(&journal->endings);

	for (struct pending *next; endings; endings = next) {
		next = endings->job_next[JOB_END];
		jobs_append(&journal->endings, endings);
	}
	for (struct pending *next; later; later = next) {
		next = later->job_next[JOB_END];
		jobs_append(&journal->endings, later);
	}
	journal->ending_ns = clock_mono_ns() + DISK_RETRY_MS * NSEC_PER_MSEC;
}

static void put_all(struct pending *list, enum job job)
{
	for (struct pending *next; list; list = next) {
		next = list->job_next[job];
		pending_put(list);
	}
}

/* Lock held. The table takes the references over, so the callers' are made here. */
static void show(struct journal *journal, struct pending *writes)
{
	for (struct pending *p = writes; p; p = p->job_next[JOB_WRITE]) {
		atomic_fetch_add(&p->ref_cnt, 1);
		journal->stats.merged_cnt += pending_insert(&journal->table, p);
		journal->stats.written_cnt++;
	}
	journal->stats.commit_cnt++;
}

static void end_group(struct journal *journal, struct pending *writes, struct pending *endings,
		      int error)
{
	bool shown = writes && !error;

	pthread_mutex_lock(&journal->lock);
	for (struct pending *p = writes; p; p = p->job_next[JOB_WRITE]) {
		journal->queued_bytes -= pending_bytes(p);
		journal->queued_cnt--;
	}
	if (error) {
		journal->stats.failed_cnt++;
		give_back(journal, endings);
		endings = NULL;
	} else {
		show(journal, writes);
	}
	pthread_mutex_unlock(&journal->lock);

	for (struct pending *p = writes; p; p = p->job_next[JOB_WRITE])
		p->done(p->ctx, p->record.seq, error);
	put_all(writes, JOB_WRITE);
	put_all(endings, JOB_END);
	if (shown && journal->conf.changed)
		journal->conf.changed(journal->conf.ctx);
}

/* --- the thread: when --- */

/* Lock held. When the next group is due; UINT64_MAX: nothing waits. */
static uint64_t due_ns(const struct journal *journal)
{
	uint64_t write_ns = UINT64_MAX, ending_ns = UINT64_MAX;

	if (journal->writes.first)
		write_ns = journal->write_ns + journal->conf.delay_ms * NSEC_PER_MSEC;
	if (journal->endings.first)
		ending_ns = journal->ending_ns + FORGET_MS * NSEC_PER_MSEC;
	if (journal->stops && (journal->writes.first || journal->endings.first))
		return 0;
	return write_ns < ending_ns ? write_ns : ending_ns;
}

/* Lock held. Sleeps until something is due; false: the journal ends and nothing is left. */
static bool wait_due(struct journal *journal)
{
	for (;;) {
		uint64_t at_ns = due_ns(journal), now_ns = clock_mono_ns();
		struct timespec at = { .tv_sec = (time_t)(at_ns / NSEC_PER_SEC),
				       .tv_nsec = (long)(at_ns % NSEC_PER_SEC) };

		if (at_ns <= now_ns || journal->errands)
			return true;
		if (journal->stops)
			return false;
		if (at_ns == UINT64_MAX)
			pthread_cond_wait(&journal->wake, &journal->lock);
		else
			pthread_cond_timedwait(&journal->wake, &journal->lock, &at);
	}
}

static void run_errands(struct journal *journal)
{
	pthread_mutex_lock(&journal->lock);
	while (journal->errands) {
		struct errand *errand = journal->errands;

		journal->errands = errand->next;
		pthread_mutex_unlock(&journal->lock);
		errand->result = errand->run(journal, errand);
		pthread_mutex_lock(&journal->lock);
		errand->finished = true;
		pthread_cond_broadcast(&journal->returned);
	}
	pthread_mutex_unlock(&journal->lock);
}

static void *main_of(void *arg)
{
	struct journal *journal = arg;
	int error = 0;

	pthread_setname_np(pthread_self(), "xc-journal");
	for (;;) {
		struct pending *writes, *endings;
		bool more;

		pthread_mutex_lock(&journal->lock);
		more = wait_due(journal);
		/* The last endings are tried once more only: the next start brings them again. */
		more = more && !(journal->stops && error && !journal->writes.first);
		writes = jobs_take(&journal->writes);
		endings = jobs_take(&journal->endings);
		pthread_mutex_unlock(&journal->lock);
		if (writes || endings) {
			error = write_group(journal, writes, endings);
			end_group(journal, writes, endings, error);
		}
		run_errands(journal);
		if (!more)
			return NULL;
	}
}

/* --- opening and closing --- */

static int load_one(void *ctx, const struct journal_record *record)
{
	struct journal *journal = ctx;
	struct pending *pending = pending_new(&record->what);

	if (!pending)
		return -ENOMEM;
	pending->record.seq = record->seq;
	pending_insert(&journal->table, pending);
	return 0;
}

static int load(struct journal *journal)
{
	int error = journal_db_load(journal->db, load_one, journal);

	if (!error)
		error = journal_db_dead_cnt(journal->db, &journal->stats.dead_cnt);
	if (!error)
		error = journal_db_last_seq(journal->db, &journal->last_seq);
	return error;
}

static void init_locks(struct journal *journal)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&journal->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&journal->wake, &attr);
	pthread_cond_init(&journal->returned, &attr);
	pthread_condattr_destroy(&attr);
}

static void destroy(struct journal *journal)
{
	put_all(journal->endings.first, JOB_END);
	journal_db_close(journal->db);
	pending_fini(&journal->table);
	pthread_cond_destroy(&journal->returned);
	pthread_cond_destroy(&journal->wake);
	pthread_mutex_destroy(&journal->lock);
	alloc_free(journal);
}

int journal_open(const struct journal_conf *conf, struct journal **ret,
		 char ret_error[JOURNAL_ERROR_MAX])
{
	struct journal *journal = alloc_zero(1, sizeof(*journal));
	uint64_t seed = 0;
	int error;

	if (!journal) {
		snprintf(ret_error, JOURNAL_ERROR_MAX, "no memory for the journal %s", conf->path);
		return -ENOMEM;
	}
	journal->conf = *conf;
	jobs_init(&journal->writes, JOB_WRITE);
	jobs_init(&journal->endings, JOB_END);
	init_locks(journal);
	error = journal_db_open(conf->path, &journal->db, ret_error);
	if (error)
		goto err_destroy;
	error = rand_secret(&seed, sizeof(seed));
	if (!error)
		error = pending_init(&journal->table, conf->record_max, seed);
	if (!error)
		error = load(journal);
	if (!error)
		error = -pthread_create(&journal->thread, NULL, main_of, journal);
	if (error) {
		snprintf(ret_error, JOURNAL_ERROR_MAX,
			 error == -EBADMSG ? "the journal %s is damaged (%s): restore it from a "
					     "copy, or move it "
					     "away and lose the writes in it"
					   : "the journal %s cannot be read: %s",
			 conf->path,
			 error == -EBADMSG ? "a record's sum is wrong" : strerror(-error));
		goto err_destroy;
	}
	*ret = journal;
	return 0;

err_destroy:
	destroy(journal);
	return error;
}

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	pthread_mutex_lock(&journal->lock);
	journal->stops = true;
	pthread_cond_signal(&journal->wake);
	pthread_mutex_unlock(&journal->lock);
	pthread_join(journal->thread, NULL);
	destroy(journal);
}

/* --- what others call --- */

/* Lock held. */
static bool has_room(const struct journal *journal, const struct pending *pending)
{
	return journal->table.cnt + journal->queued_cnt < journal->conf.record_max &&
	       journal->table.bytes + journal->queued_bytes + pending_bytes(pending) <=
		       journal->conf.bytes_max;
}

int journal_append(struct journal *journal, const struct journal_change *change,
		   void (*done)(void *ctx, uint64_t seq, int error), void *ctx)
{
	struct pending *pending = pending_new(change);

	if (!pending)
		return -ENOMEM;
	pending->done = done;
	pending->ctx = ctx;
	pthread_mutex_lock(&journal->lock);
	if (!has_room(journal, pending)) {
		journal->stats.refused_cnt++;
		pthread_mutex_unlock(&journal->lock);
		pending_put(pending);
		return -EAGAIN;
	}
	pending->record.seq = ++journal->last_seq;
	journal->queued_bytes += pending_bytes(pending);
	journal->queued_cnt++;
	if (!journal->writes.first)
		journal->write_ns = clock_mono_ns();
	jobs_append(&journal->writes, pending);
	pthread_cond_signal(&journal->wake);
	pthread_mutex_unlock(&journal->lock);
	return 0;
}

const struct journal_record *journal_get(struct journal *journal, struct span key)
{
	struct pending *pending;

	pthread_mutex_lock(&journal->lock);
	pending = pending_find(&journal->table, key);
	if (pending)
		atomic_fetch_add(&pending->ref_cnt, 1);
	pthread_mutex_unlock(&journal->lock);
	return pending ? &pending->record : NULL;
}

void journal_put(struct journal *journal, const struct journal_record *record)
{
	(void)journal;
	pending_put((struct pending *)record);
}

const struct journal_record *journal_take(struct journal *journal, uint64_t *ret_next_ns)
{
	struct pending *pending;

	pthread_mutex_lock(&journal->lock);
	pending = pending_take(&journal->table, clock_now_ns(journal->conf.clock), ret_next_ns);
	pthread_mutex_unlock(&journal->lock);
	return pending ? &pending->record : NULL;
}

/* Lock held. It stays the caller's when false: there is no room among the dead, or no memory. */
static bool bury(struct journal *journal, struct pending *pending, const char *reason)
{
	if (journal->stats.dead_cnt >= journal->conf.dead_max)
		return false;
	pending->reason = alloc_zero(1, JOURNAL_REASON_MAX);
	if (!pending->reason)
		return false;
	snprintf(pending->reason, JOURNAL_REASON_MAX, "%s", reason);
	return true;
}

void journal_finish(struct journal *journal, const struct journal_record *record,
		    enum journal_end end, const char *reason)
{
	struct pending *pending = (struct pending *)record;
	uint64_t now_ns = clock_now_ns(journal->conf.clock);

	pthread_mutex_lock(&journal->lock);
	if (end == JOURNAL_DEAD && !bury(journal, pending, reason))
		end = JOURNAL_RETRY;
	pending->end = end;
	if (end == JOURNAL_RETRY) {
		pending_retry(&journal->table, pending,
			      now_ns + journal->conf.retry_ms * NSEC_PER_MSEC);
	} else if (!pending_finish(&journal->table, pending)) {
		/* The newer one has taken its row on the disk, too. */
		journal->stats.finished_cnt += end == JOURNAL_DONE;
	} else {
		journal->stats.finished_cnt += end == JOURNAL_DONE;
		journal->stats.dead_cnt += end == JOURNAL_DEAD;
		if (!journal->endings.first)
			journal->ending_ns = clock_mono_ns();
		jobs_append(&journal->endings, pending);
		pthread_cond_signal(&journal->wake);
		pending = NULL;
	}
	pthread_mutex_unlock(&journal->lock);
	pending_put(pending);
}

void journal_stats(struct journal *journal, struct journal_stats *ret)
{
	pthread_mutex_lock(&journal->lock);
	*ret = journal->stats;
	ret->pending_cnt = journal->table.cnt;
	ret->pending_bytes = journal->table.bytes;
	ret->queued_cnt = journal->queued_cnt;
	pthread_mutex_unlock(&journal->lock);
}

/* --- dead letters --- */

static int do_errand(struct journal *journal, struct errand *errand)
{
	pthread_mutex_lock(&journal->lock);
	errand->next = journal->errands;
	journal->errands = errand;
	pthread_cond_signal(&journal->wake);
	while (!errand->finished)
		pthread_cond_wait(&journal->returned, &journal->lock);
	pthread_mutex_unlock(&journal->lock);
	return errand->result;
}

static int run_walk(struct journal *journal, struct errand *errand)
{
	return journal_db_walk_dead(journal->db, errand->each, errand->ctx);
}

int journal_dead_walk(struct journal *journal, bool (*each)(void *ctx, const struct journal_dead *),
		      void *ctx)
{
	struct errand errand = { .run = run_walk, .each = each, .ctx = ctx };

	return do_errand(journal, &errand);
}

struct search {
	uint64_t seq;
	struct pending *found;
	bool no_memory;
};

static bool copy_letter(void *ctx, const struct journal_dead *dead)
{
	struct search *search = ctx;

	if (dead->record.seq != search->seq)
		return true;
	search->found = pending_new(&dead->record.what);
	search->no_memory = !search->found;
	return false;
}

/* One transaction: the letter goes, its write (unless NULL) comes. */
static int replace_letter(struct journal *journal, uint64_t seq, const struct pending *write)
{
	int error = journal_db_begin(journal->db);

	if (!error)
		error = journal_db_unbury(journal->db, seq);
	if (!error && write)
		error = journal_db_write(journal->db, &write->record);
	if (!error)
		error = journal_db_commit(journal->db);
	if (error)
		journal_db_rollback(journal->db);
	return error;
}

static int run_drop(struct journal *journal, struct errand *errand)
{
	int error = replace_letter(journal, errand->seq, NULL);

	pthread_mutex_lock(&journal->lock);
	journal->stats.dead_cnt -= !error;
	pthread_mutex_unlock(&journal->lock);
	return error;
}

int journal_dead_drop(struct journal *journal, uint64_t seq)
{
	struct errand errand = { .run = run_drop, .seq = seq };

	return do_errand(journal, &errand);
}

/* Lock held. What is on its way to the disk is newer, too. */
static bool has_newer(const struct journal *journal, struct span key)
{
	bool found = pending_find(&journal->table, key);

	for (struct pending *p = journal->writes.first; p && !found; p = p->job_next[JOB_WRITE])
		found = span_equal(p->record.what.key, key);
	return found;
}

static int run_revive(struct journal *journal, struct errand *errand)
{
	struct search search = { .seq = errand->seq };
	int error = journal_db_walk_dead(journal->db, copy_letter, &search);
	struct pending *letter = search.found;

	if (error || !letter)
		return error ? error : search.no_memory ? -ENOMEM : -ENOENT;
	pthread_mutex_lock(&journal->lock);
	if (has_newer(journal, letter->record.what.key))
		error = -EEXIST;
	else
		letter->record.seq = ++journal->last_seq;
	pthread_mutex_unlock(&journal->lock);
	if (!error)
		error = replace_letter(journal, errand->seq, letter);
	if (error) {
		pending_put(letter);
		return error;
	}
	pthread_mutex_lock(&journal->lock);
	journal->stats.dead_cnt--;
	pending_insert(&journal->table, letter);
	pthread_mutex_unlock(&journal->lock);
	if (journal->conf.changed)
		journal->conf.changed(journal->conf.ctx);
	return 0;
}

int journal_dead_revive(struct journal *journal, uint64_t seq)
{
	struct errand errand = { .run = run_revive, .seq = seq };

	return do_errand(journal, &errand);
}
