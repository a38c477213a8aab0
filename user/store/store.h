/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store - every item of this node: the face of the storage engine.
 *
 * Does      keeps items in a log of segments behind a hash index; expires, evicts, and tells
 *           watchers of every change.
 * Shape     key (1..250 bytes) -> value (0..item_max bytes), client flags, exact expiry, cas.
 * Units     times in boot-time ns (base/clock); expire_ns 0 means never; sizes in bytes.
 * Errors    what a client can see is enum store_status; negative errno only where said.
 * Owner     the log's memory is the caller's (store_log); everything else is the store's.
 * Threads   every calling thread first takes a struct store_thread and passes it in. Reads and
 *           writes may run in any number of threads. One background thread
 *           (store_reclaim_start) evicts, expires and cleans.
 * Views     a struct item_view and the bytes it points to stay valid until the same thread calls
 *           store_quiesce(), store_offline() or store_wait(). Call store_quiesce() once per turn
 *           of the event loop; a thread that blocks elsewhere (epoll_wait) calls store_offline()
 *           before and store_online() after.
 * Invariant an acknowledged write is seen by every later read; watchers have run, under the
 *           key's lock, before the writing call returns. Log bytes named by the index or by a
 *           kernel entry never change.
 * Source    Segcache (Yang, Yue, Rashmi: NSDI'21) for the segment log with TTL classes;
 *           docs/architecture.md.
 */
#ifndef XC_STORE_STORE_H
#define XC_STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/span.h"

struct store;
struct store_thread;

/* Places above this share the index's link mark. */
#define STORE_LOG_MAX (15ULL << 34)

/* Memory that holds items: a run of whole extents (abi/limits.h). Addresses are mapped once for the
 * life of the process, memory behind them comes and goes at the end. */
struct store_log {
	uint8_t *base;
	uint64_t bytes; /* of address space: the most it can grow to */
	/* Memory is there for so many of them; 0: for all. An adopted log may use less. */
	uint64_t ready_bytes;
	/* holds what an earlier process wrote: take it over instead of starting empty */
	bool adopted;
	/*
	 * Tells logs apart that must not be taken for each other, such as those of two boots, whose
	 * clocks differ. A log that was begun under another identity is not taken over.
	 */
	uint32_t identity;
	/*
	 * Returns when no kernel program that started before the call still runs (an RCU grace
	 * period); NULL when no kernel program reads this log. Reclaim thread only.
	 */
	void (*grace)(void *ctx);
	/* No item lies at or behind `end` any more: that memory may go back, unless the limit rises
	 * again (store_set_limit). NULL: it stays. Reclaim thread only. */
	void (*trim)(void *ctx, uint64_t end);
	/*
	 * Asks for memory behind `from`, as far as `end` at most or a step on the way there.
	 * Returns how far it reaches then; not beyond `from`: none can be had now. NULL: all of it
	 * is there, also after it was trimmed. Reclaim thread only.
	 */
	uint64_t (*grow)(void *ctx, uint64_t from, uint64_t end);
	void *ctx;
};

/* Where a graceful stop leaves what the next start would have to find out: the end of a file. */
struct store_state {
	int fd;
	uint64_t offset; /* the state is all that follows */
};

struct store_options {
	struct store_log log;
	/* what store_save left of this log; NULL: nothing. May be gone or damaged. Used during
	 * store_new alone */
	const struct store_state *state;
	uint64_t index_bytes_max; /* the index stops growing here; then items are evicted instead */
	uint64_t item_max;	  /* -I: largest value */
	uint32_t thread_max;	  /* store_thread_new calls that may be live at once */
	bool no_evict;		  /* -M: refuse writes when full */
	const char *eviction;	  /* policy name; NULL: the default */
	/* benchmarks: the same hash in every run; 0: a secret one */
	uint64_t hash_seed;
	uint32_t segment_shift; /* benchmarks: log2 of a segment's size; 0: by the log's */
	const struct clock *clock;
};

/* An item, as the index knew it at one moment. */
struct item_view {
	struct span key;
	uint64_t value_len;
	const uint8_t *value; /* NULL when the value lies in several parts: store_value_part() */
	uint32_t flags;
	uint64_t expire_ns;
	uint64_t cas;
	uint64_t loc;	    /* offset of the item in the log */
	uint32_t flush_gen; /* of the store, read before the item was judged live */
	uint64_t access_ns; /* the last, in whole seconds; its writing counts */
	bool fetched;	    /* since it was written */
	bool resident;	    /* a kernel entry names this item */
	/* Either keeps it out of the kernel: whoever asks for it must be told. */
	bool stale;  /* store_invalidate */
	bool won;    /* store_fetch told a client to bring a new value */
	bool binary; /* store_put.binary */
	bool absent; /* no item, but store_note_absent's note: seen by watchers alone */
};

enum store_status {
	STORE_OK,	  /* STORED, DELETED, TOUCHED, or a number */
	STORE_NOT_STORED, /* add found it, replace / append did not */
	STORE_EXISTS,	  /* cas differs */
	STORE_NOT_FOUND,
	STORE_TOO_LARGE,
	STORE_NOT_NUMBER,
	STORE_AGAIN,	 /* no free segment now: release views, store_wait(), try again */
	STORE_NO_MEMORY, /* -M: full, and nothing to clean */
};

enum store_mode {
	STORE_SET,
	STORE_ADD,
	STORE_REPLACE,
	STORE_CAS, /* put.cas must equal the item's */
};

struct store_put {
	struct span key;
	uint64_t hash; /* store_hash(key) */
	uint32_t flags;
	uint64_t expire_ns;
	uint64_t value_len;
	enum store_mode mode;
	uint64_t cas;	  /* STORE_CAS; store_join: 0 any */
	uint64_t new_cas; /* of the new item; 0: the store's choice */
	bool prepend;	  /* store_join: in front of the value, not behind it */
	bool binary;	  /* the client gave the key in base64 */
	bool absent;	  /* see store_note_absent */
	/* Fetched from elsewhere: STORE_NOT_STORED if the token is void. */
	const struct store_token *token;
	/*
	 * STORE_CAS: over an item of a higher cas, too; the new item is stale then, keeps that
	 * one's expiry and, if a client has won it, that.
	 */
	bool allow_stale;
	bool stale; /* born so, and so the next two */
	bool won;
	bool fetched;
	bool keep_state; /* stale, won and fetched stay as they are: the same item, changed a bit */
};

/* What a write left there. */
struct store_stored {
	uint64_t cas;
	uint64_t value_len;
	uint64_t expire_ns;
};

/* Room taken for a value that is being written. Belongs to the thread that reserved it. */
struct store_pending {
	struct store_put put;  /* key still borrowed from the caller */
	uint64_t loc;	       /* of the item in the log */
	uint64_t filled;       /* value bytes written so far */
	uint32_t chain;	       /* first piece of a large value; 0: none */
	uint32_t chain_at;     /* the one being filled */
	uint32_t piece_filled; /* bytes of it */
	uint64_t check;	       /* of the pieces before it */
};

/* Names of all eviction policies, default first, NULL-terminated. */
const char *const *store_eviction_names(void);

/* True if the log holds a store that store_new would take over; false: store_new would write over
 * it, so that whoever reads it (kernel entries) must have been stopped first. */
bool store_log_holds_items(const struct store_log *log);

struct store *store_new(const struct store_options *options, int *ret_error);
/*
 * Saves the state: after it nothing may be written. Every thread has been freed; ends the
 * reclaimer.
 * On failure (negative errno) the next start rebuilds from the log.
 */
int store_save(struct store *store, const struct store_state *to);
void store_free(struct store *store);
/*
 * How many of the log's bytes may be used from now on; rounded down to whole segments, at least 64
 * of them, at most all. Takes effect in the background: what no longer fits is evicted, and what
 * lacks memory is asked for (store_log.grow), once a call. Any thread, one at a time.
 */
void store_set_limit(struct store *store, uint64_t log_bytes);
int store_reclaim_start(struct store *store);
void store_reclaim_stop(struct store *store);
/* In place of store_reclaim_start, for runs that must come out the same each time: does, in the
 * calling thread, what the background thread has been asked for. No thread may be online. */
void store_reclaim_turn(struct store *store);

struct store_thread *store_thread_new(struct store *store);
void store_thread_free(struct store_thread *t);
void store_quiesce(struct store_thread *t);
void store_offline(struct store_thread *t);
void store_online(struct store_thread *t);
/* The views of this turn stay valid until store_let_go, whatever comes meanwhile. As long no memory
 * is freed: let go soon, and at once when somebody waits for it, or before store_wait. */
void store_hold(struct store_thread *t);
void store_let_go(struct store_thread *t);
bool store_hold_is_waited_for(const struct store_thread *t);
/* After STORE_AGAIN: waits, at most timeout_ns of real time, for the room that was lacking; false
 * on time-out. All of the thread's views end. */
bool store_wait(struct store_thread *t, uint64_t timeout_ns);

/* Keyed with a secret of this process, so that clients cannot aim at one bucket. */
uint64_t store_hash(const struct store *store, struct span key);
/* The flush generation that kernel entries made now carry. */
uint32_t store_flush_gen(const struct store *store);

/* Borrowed view of a live item; false when absent, expired or flushed. Counts as an access for
 * eviction. */
bool store_find(struct store_thread *t, struct span key, uint64_t hash, struct item_view *ret);
/* Why the thread's last store_find found nothing. */
enum store_miss {
	STORE_MISS_ABSENT,
	STORE_MISS_EXPIRED,
	STORE_MISS_FLUSHED,
};
enum store_miss store_miss(const struct store_thread *t);
/* The same without counting as an access: for listings. */
bool store_peek(struct store_thread *t, struct span key, uint64_t hash, struct item_view *ret);
/*
 * For a batch of keys: asks the memory for what store_find and the writes will touch, so that the
 * waits of many keys overlap. First every key's step 1, then every key's step 2, then the calls
 * themselves. Changes nothing; worth it from two keys on.
 */
void store_prefetch_slot(const struct store *store, uint64_t hash); /* step 1 */
void store_prefetch_item(const struct store *store, uint64_t hash); /* step 2 */
/* Of the log that the item takes. */
uint64_t store_item_bytes(const struct store *store, const struct item_view *view);
/* The part of a value that holds byte `offset` (< value_len), up to the part's end. */
struct span store_value_part(const struct store *store, const struct item_view *view,
			     uint64_t offset);

/*
 * Write in three steps, so that a value may arrive in pieces: reserve room, fill it, commit.
 * Between reserve and commit the item is invisible. Each reserve ends in exactly one commit or
 * abandon, by the same thread. mode and cas are judged at commit. ret_cas may be NULL.
 */
enum store_status store_reserve(struct store_thread *t, const struct store_put *put,
				struct store_pending *ret);
/* Bytes of the log that nothing else can use while a value of this length is being written. */
uint64_t store_pending_bytes(const struct store *store, uint64_t value_len);
/* The log's bytes that may be used now: store_set_limit. */
uint64_t store_log_bytes(const struct store *store);
void store_fill(struct store_thread *t, struct store_pending *pending, struct span bytes);
enum store_status store_commit(struct store_thread *t, struct store_pending *pending,
			       uint64_t *ret_cas);
void store_abandon(struct store_thread *t, struct store_pending *pending);

/* reserve + fill + commit; value.len is the value's length (put->value_len is ignored). */
enum store_status store_put(struct store_thread *t, const struct store_put *put, struct span value,
			    uint64_t *ret_cas);

/* Item keeps flags and expiry. cas 0: any. */
enum store_status store_append(struct store_thread *t, struct span key, uint64_t hash,
			       struct span data, uint64_t cas, uint64_t *ret_cas);
enum store_status store_prepend(struct store_thread *t, struct span key, uint64_t hash,
				struct span data, uint64_t cas, uint64_t *ret_cas);
/* Either, whatever put.mode, flags and expire_ns say. ret may be NULL. */
enum store_status store_join(struct store_thread *t, const struct store_put *put, struct span data,
			     struct store_stored *ret);
/* memcached's arithmetic: incr wraps at 2^64, decr stops at 0 and keeps the old width, padded with
 * spaces. */
enum store_status store_arith(struct store_thread *t, struct span key, uint64_t hash,
			      uint64_t delta, bool decr, uint64_t cas, uint64_t *ret_number,
			      uint64_t *ret_cas);

struct store_delta {
	struct span key;
	uint64_t hash;
	uint64_t delta;
	bool decr;
	bool touch;	  /* give it expire_ns */
	uint64_t cas;	  /* 0: any */
	uint64_t new_cas; /* 0: the store's choice */
	uint64_t expire_ns;
};

struct store_number {
	uint64_t number;
	uint64_t cas;
	uint64_t expire_before_ns;
};

enum store_status store_change_number(struct store_thread *t, const struct store_delta *delta,
				      struct store_number *ret);
/*
 * What a write would leave, for whoever has to tell somebody else before it is made: judged by the
 * item as it is now. Changes nothing. STORE_OK: store_put of ret->put and ret->bytes, which the
 * caller frees (alloc_free), makes it, over whatever is there by then.
 */
struct store_preview {
	enum {
		STORE_PREVIEW_PUT,
		STORE_PREVIEW_JOIN,
		STORE_PREVIEW_NUMBER,
	} kind;
	struct store_put put; /* PUT, JOIN, and what is made new */
	struct span data;     /* PUT, JOIN */
	struct store_delta delta;
	bool make; /* JOIN, NUMBER: where there is nothing, */
	uint64_t make_expire_ns;
	uint64_t initial; /* a number with this */
};

struct store_previewed {
	struct store_put put;
	uint8_t *bytes;
	uint64_t len;
	uint64_t number;
	uint64_t expire_before_ns;
	bool made; /* new, where there was nothing */
};

enum store_status store_preview(struct store_thread *t, const struct store_preview *how,
				struct store_previewed *ret);
/* New expiry; cas unique stays. ret (may be NULL) is the touched item. */
enum store_status store_touch(struct store_thread *t, struct span key, uint64_t hash,
			      uint64_t expire_ns, struct item_view *ret);
/*
 * Notes that the key has no item, so that the note can be made resident and the kernel says so in
 * the daemon's place. To readers and writers nothing is there; whoever creates the item replaces
 * the note under the key's lock, as it would an older item. It is no item to store_counts, walks
 * and eviction either: reclaim and a crash forget it. STORE_NOT_STORED: there is an item.
 */
enum store_status store_note_absent(struct store_thread *t, struct span key, uint64_t hash,
				    uint64_t expire_ns);
/* There is no item, and a note says so. */
bool store_is_noted(struct store_thread *t, struct span key, uint64_t hash);
/*
 * A value that is fetched from elsewhere must not come in place of what was written meanwhile, nor
 * bring back what was removed or flushed. Whoever fetches takes a token before it asks and puts the
 * value (store_put.token), or the note that there is none, with it: any write, removal,
 * invalidation or flush of the key in between, also where there is no item, has made it void. The
 * key stays where it is until the token is dropped, by any thread.
 */
struct store_token {
	struct span key;
	uint64_t hash;
	uint32_t flush_gen;
	_Atomic bool is_void; /* but for a flush: ask store_token_is_void */
	struct store_token *next;
};

void store_token_take(struct store_thread *t, struct store_token *token, struct span key,
		      uint64_t hash);
void store_token_drop(struct store *store, struct store_token *token);
/* Once true it stays so. Any thread. */
bool store_token_is_void(const struct store *store, const struct store_token *token);
/* Makes void every token of a key with this prefix; whoever removes such items does it first. */
void store_void_tokens(struct store *store, struct span prefix);
/* cas 0: any. */
enum store_status store_remove(struct store_thread *t, struct span key, uint64_t hash,
			       uint64_t cas);
/* A read that may change what it reads, all under the key's lock. */
struct store_fetch {
	struct span key;
	uint64_t hash;
	bool unseen; /* is no access: for eviction, `fetched` and the last access' time */
	bool binary; /* of an item made here */
	bool touch;  /* give it expire_ns */
	uint64_t expire_ns;
	bool may_win;	      /* the client can be told: an item that is stale is won, */
	uint64_t recache_ns;  /* and one that expires at or before this moment; 0: none */
	bool recache_touched; /* judged by its new expiry */
	bool vivify;	      /* absent: make one without a value, won, */
	uint64_t vivify_ns;   /* that expires then, */
	uint64_t new_cas;     /* with this cas; 0: the store's choice */
};

struct store_fetched {
	struct item_view item; /* as it is now; one made here has no place */
	uint64_t expire_before_ns;
	uint64_t access_ns; /* of the last access before this one, in whole seconds */
	bool fetched;	    /* by anyone before, since it was written */
	bool won_before;    /* by someone else */
	bool won_now;	    /* stale or near its end, and the caller is the first to be told */
	bool made;
};

enum store_status store_fetch(struct store_thread *t, const struct store_fetch *how,
			      struct store_fetched *ret);

/* In place of removing: the item stays, and the next who fetches it wins. */
struct store_invalidate {
	struct span key;
	uint64_t hash;
	uint64_t cas;	  /* 0: any */
	uint64_t new_cas; /* 0: a stale one gets one higher than it had, another keeps it */
	bool stale;
	bool drop_value; /* its value is empty from now on */
	bool touch;	 /* stale: give it expire_ns */
	uint64_t expire_ns;
};

enum store_status store_invalidate(struct store_thread *t, const struct store_invalidate *how);
/* Everything written before the call is gone when it returns. O(1); memory comes back in the
 * background. */
void store_flush(struct store_thread *t);
/* Keeps a delayed flush in the log, for a process that comes after this one; 0: none any more. */
void store_promise_flush(struct store *store, uint64_t at_ns);
/* What was promised when the store was opened; 1 (long due) where that cannot be read any more. */
uint64_t store_promised_flush(const struct store *store);

/* --- watchers: see store/watch.c; called under the key's lock, in version order; must not call the
 * store --- */

enum store_change {
	STORE_CHANGE_WRITE,  /* new item, old or not */
	STORE_CHANGE_REMOVE, /* deleted by a client */
	STORE_CHANGE_EXPIRE, /* TTL ran out and the item was unlinked; a note may go before */
	STORE_CHANGE_EVICT,
	STORE_CHANGE_MOVE, /* same version, other place in the log */
	STORE_CHANGE_WON,  /* same version and place: old_item and new_item are one */
};

struct store_event {
	enum store_change change;
	uint64_t hash;
	const struct item_view *old_item; /* NULL: there was none */
	const struct item_view *new_item; /* NULL: none now */
	/* set by the watcher that switched the kernel entry to new_item */
	bool keep_resident;
};

struct store_watcher {
	void (*on_change)(void *ctx, struct store_event *event);
	void (*on_flush)(void *ctx, uint32_t flush_gen); /* before store_flush returns */
	/* When the kernel last answered with the resident item that this key has; 0: not yet. */
	uint64_t (*last_hit_ns)(void *ctx, struct span key, uint64_t hash);
	void *ctx;
};

#define STORE_WATCHER_MAX 4
/* before any thread runs */
int store_watch(struct store *store, const struct store_watcher *watcher);

/*
 * Runs fn under the key's lock with the live item, or the note that there is none; fn returning
 * true marks it resident (it has switched a kernel entry to it). -ENOENT: neither, -EAGAIN: fn said
 * no. Promoter thread.
 */
int store_make_resident(struct store_thread *t, struct span key, uint64_t hash,
			bool (*fn)(void *ctx, const struct item_view *item), void *ctx);
/* Undoes the mark if the key's item still has it; fn runs under the key's lock and vacates the
 * entry. */
void store_drop_resident(struct store_thread *t, struct span key, uint64_t hash,
			 void (*fn)(void *ctx), void *ctx);
/* Feeds accesses that the kernel answered into eviction. */
void store_note_hits(struct store_thread *t, struct span key, uint64_t hash, uint32_t hits);

/*
 * Walks live items, in no order, a few a call: those of the bucket that *cursor names, which it
 * moves on; 0 is the first. False: there is none any more. fn runs under the bucket's lock; when it
 * returns false the bucket's other items are left out. An item that is there during the whole walk
 * comes; while others write, it may come twice.
 */
bool store_walk(struct store_thread *t, uint64_t *cursor,
		bool (*fn)(void *ctx, const struct item_view *item), void *ctx);

struct store_counts {
	uint64_t item_cnt;
	uint64_t item_bytes;	  /* live items: header, key and value */
	uint64_t key_value_bytes; /* of those, what the clients gave us */
	uint64_t log_bytes;	  /* segments that may be used */
	uint64_t log_free_bytes;
	uint64_t index_bytes;
	uint64_t total_items; /* ever stored */
	uint64_t evicted_cnt;
	uint64_t evicted_unfetched_cnt; /* of those, nobody had read */
	uint64_t evicted_expiring_cnt;	/* … with a TTL */
	uint64_t expired_cnt;		/* unlinked because their TTL ran out */
	uint64_t expired_unfetched_cnt;
	uint32_t evicted_idle_sec; /* what the last one had not been accessed for */
	uint64_t reclaimed_segment_cnt;
	uint64_t moved_cnt;	/* items copied to survive reclaim */
	uint64_t moved_bytes;	/* of the log, in those copies */
	uint64_t recovered_cnt; /* items taken over from an earlier process */
	uint64_t dropped_cnt;	/* items of an earlier process that are not proven whole */
	uint32_t segment_bytes;
	uint32_t segment_cnt;
	const char *eviction;
};

void store_counts(struct store *store, struct store_counts *ret);
/*
 * Since the oldest segment with live items was opened, or this process began: how long the log
 * takes to turn round. Items that outlived a reclaim are as old as their new segment. 0: none.
 */
uint32_t store_age_sec(struct store *store);

#endif
