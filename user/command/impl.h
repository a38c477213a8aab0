/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * impl - what the files of this room share and no other room sees.
 *
 * Does      the server's and the worker's structs, and the handlers that dispatch calls.
 * Threads   struct command_worker: its thread, but for its counters, which others read.
 *           struct command: flush_at_ns is read by all; lock guards the rest that changes.
 */
#ifndef XC_COMMAND_IMPL_H
#define XC_COMMAND_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/rand.h"
#include "command/command.h"
#include "protocol/base64.h"
#include "protocol/compose.h"
#include "route/prefixes.h"

/* What a thread uses of what can be replaced while the server runs. */
struct command_view {
	struct swap_item *routes;
	struct swap_item *prefixes;
};

struct command {
	struct command_options options;
	uint64_t start_ns;
	_Atomic uint64_t flush_at_ns;	   /* a delayed flush_all; 0: none */
	_Atomic uint64_t memory_bytes;	   /* -m, or the last cache_memlimit */
	_Atomic uint64_t upload_bytes;	   /* held by values under way: see upload.c */
	_Atomic uint64_t upload_wanted_ns; /* when one last found no room among them; 0: never */
	_Atomic uint32_t verbosity;
	_Atomic bool detail;	    /* `stats detail on` */
	struct swap prefixes;	    /* for it; none before its first time */
	struct command_view kernel; /* command_kernel_hits' */
	pthread_mutex_t lock;
	struct command_counts base; /* totals at the last `stats reset` */
	struct command_counts gone; /* of workers that have ended */
	struct command_worker *workers[];
};

/* A key that was lately asked to be refreshed: not again so soon. Places by hash. */
#define COMMAND_REFRESH_CNT 256

struct refresh {
	uint64_t hash;
	uint64_t until_ns;
};

struct command_worker {
	struct command *command;
	struct store *store;
	struct store_thread *thread;
	struct tracker_ring *ring; /* NULL: not tracked */
	uint64_t now_ns;
	uint64_t turn_ns;	   /* when the turn began */
	uint64_t replied_ns;	   /* the last command_replied of this turn; 0: none */
	uint64_t wait_left_ns;	   /* of this turn: see command_wait */
	void (*let_go)(void *ctx); /* see command_hold; NULL: nobody holds */
	void *let_go_ctx;
	struct command_view view; /* of this turn */
	struct rand rand;
	uint32_t idx;
	uint32_t unreplied[COMMAND_OP_CNT];
	bool has_unreplied;
	struct histogram *durations;   /* COMMAND_OP_CNT; others read them */
	struct command_client *client; /* command_set_client; NULL: nobody that is known */
	struct waits waits;
	struct refresh refreshes[COMMAND_REFRESH_CNT];
	struct wait *spent; /* whose values this turn's replies may borrow, or those held */
	bool holds;	    /* see command_hold */
	/* Read by other threads: off the line that the worker works on. */
	_Alignas(64) struct command_counts counts;
};

/*
 * A command for which the store has no room now: waits a little; false when it, or all commands of
 * this turn together, have waited enough: the worker's other clients wait too.
 */
bool command_wait(struct command_worker *w, struct response *resp, uint32_t tries);
/*
 * The store's expiry for a client's exptime, with the jitter and the window of the key's route;
 * NULL: none.
 */
uint64_t command_expire_ns(struct command_worker *w, const struct route *route, int64_t exptime);
/* … of an item without a value, which nobody is to be served when its time is over. */
uint64_t command_vivify_ns(struct command_worker *w, const struct route *route, int64_t exptime);
/* Carries out a delayed flush whose time has come. */
void command_flush_due(struct command_worker *w);
/* Adds a worker's counters up; its thread may be writing them. */
void command_add_counts(struct command_counts *sum, const struct command_counts *part);
/* What was counted so far is left out from now on; not from command_own_counts. */
void command_reset_counts(struct command *command);

struct histogram *command_durations_new(void); /* NULL: out of memory */
/* A request of this verb is carried out; command_replied says when its reply was sent. */
void command_note_request(struct command_worker *w, enum request_verb verb);

enum command_next command_read(struct command_worker *w, struct request *req,
			       struct response *resp);
void command_write(struct command_worker *w, const struct request *req, struct response *resp);
bool command_is_append(const struct request *req);
struct store_put command_put_of(struct command_worker *w, const struct request *req);
/*
 * Counts and answers; stored is what is there on STORE_OK, else what would have been. A set that
 * could not be kept takes the value it was to replace along.
 */
void command_write_answer(struct command_worker *w, const struct request *req,
			  struct response *resp, enum store_status status,
			  const struct store_stored *stored);
void command_arith(struct command_worker *w, const struct request *req, struct response *resp);
void command_remove(struct command_worker *w, const struct request *req, struct response *resp);
void command_touch(struct command_worker *w, const struct request *req, struct response *resp);
/* The value's bytes, most of them borrowed. */
void command_put_value(struct command_worker *w, struct response *resp,
		       const struct item_view *view);
void command_count_miss(struct command_worker *w);
void command_count_arith(struct command_worker *w, bool decr, bool hit);
/* Counts and answers arithmetic that came to nothing. */
void command_arith_failed(struct command_worker *w, const struct request *req,
			  struct response *resp, bool decr, enum store_status status);
void command_meta_get(struct command_worker *w, const struct request *req, struct response *resp);
void command_meta_delete(struct command_worker *w, const struct request *req,
			 struct response *resp);
void command_meta_arith(struct command_worker *w, const struct request *req, struct response *resp);
void command_meta_debug(struct command_worker *w, const struct request *req, struct response *resp);
void command_flush_all(struct command_worker *w, const struct request *req, struct response *resp);
void command_verbosity(struct command_worker *w, const struct request *req, struct response *resp);
void command_refresh_certs(struct command_worker *w, const struct request *req,
			   struct response *resp);
void command_memlimit(struct command_worker *w, const struct request *req, struct response *resp);
enum command_next command_shutdown(struct command_worker *w, const struct request *req,
				   struct response *resp);
/* The class that all items are of to those who ask for slabs. */
#define COMMAND_CLASS 1
#define COMMAND_CLASS_MAX 63 /* memcached's */
/* all, or class numbers apart by commas; ret_has_items: one of them is COMMAND_CLASS. */
bool command_read_classes(struct span text, bool *ret_has_items);

enum command_next command_dump(struct command_worker *w, struct request *req,
			       struct response *resp);
enum command_next command_cachedump(struct command_worker *w, struct request *req, struct span args,
				    struct response *resp);
enum command_next command_crawler_dump(struct command_worker *w, struct request *req,
				       struct span classes, enum request_dump form,
				       struct response *resp);

void command_lru(const struct request *req, struct response *resp);
void command_slabs(const struct request *req, struct response *resp);
enum command_next command_lru_crawler(struct command_worker *w, struct request *req,
				      struct response *resp);
enum command_next command_watch(struct command_worker *w, struct request *req,
				struct response *resp);

/* --- answers from elsewhere (seek.c) --- */

enum command_seek {
	SEEK_NOTHING, /* carry the request out */
	SEEK_WAITS,
	SEEK_AWAY,   /* one of its keys' nodes was not reached */
	SEEK_FAILED, /* an origin cannot say what one of its keys has */
};

enum command_seek command_seek(struct command_worker *w, const struct request *req);
/* The client's request waits, this long at least. False: too many do. */
bool command_wait_until(struct command_worker *w, uint64_t deadline_ns);
void command_spend_wait(struct command_worker *w);
void command_drop_spent(struct command_worker *w);

/* --- keys of other nodes (forward.c) --- */

enum command_forward {
	FORWARD_NOTHING, /* carry the request out */
	FORWARD_WAITS,
	FORWARD_DONE, /* it is answered */
};

struct forward_ask;

bool command_is_elsewhere(const struct command_worker *w, struct span key);
/* A request of one key. */
enum command_forward command_forward(struct command_worker *w, const struct request *req,
				     struct response *resp);
/*
 * A request of one key, which is elsewhere, whose value comes in pieces: room for all of it, with
 * its line in place and its value's end after it. NULL: it is answered already.
 */
struct forward_ask *command_forward_start(struct command_worker *w, const struct request *req,
					  struct response *resp);
/* It is whole, and goes. False: it is freed, and answered. */
bool command_forward_send(struct command_worker *w, struct forward_ask *ask,
			  const struct request *req, struct response *resp);
/* The other node's reply to the request that was waiting, or that there is none. */
void command_forward_answer(struct command_worker *w, const struct request *req,
			    struct response *resp);
/* One of a list, which is elsewhere: asks for it. False: it cannot be said what it has. */
bool command_forward_key(struct command_worker *w, const struct request *req, struct span key);
/* What the request under way has asked for this key of a list; NULL: nothing. */
const struct forward_ask *command_forwarded(const struct command_worker *w, struct span key);
/* Its part of the reply; false: it is an error, and nothing may follow. */
bool command_put_forwarded(const struct forward_ask *ask, struct response *resp);

/* --- keys that an origin has (origin.c) --- */

/* One that is here: asks for it if it is missing. False: it cannot be said what it has. */
bool command_seek_key(struct command_worker *w, struct span key);
/* What the request under way has asked for this key; NULL: nothing. */
const struct flight_ask *command_sought(const struct command_worker *w, struct span key,
					uint64_t hash);
/* The value that came for the key, as an item that is not in the store. */
bool command_sought_view(const struct command_worker *w, struct span key, uint64_t hash,
			 struct item_view *ret);

/* --- changes that an origin is told of (through.c) --- */

enum command_through {
	THROUGH_NOTHING, /* carry the request out; it may be made already */
	THROUGH_WAITS,
	THROUGH_DONE, /* it is answered */
};

/* True: command_through is for it. */
bool command_goes_through(const struct command_worker *w, const struct request *req);
enum command_through command_through(struct command_worker *w, const struct request *req,
				     struct response *resp);
/* The request under way has been carried out by an origin's thread, and how; NULL: it has not. */
const struct write_ask *command_made(const struct command_worker *w);
/* What a ma comes to. */
void command_meta_preview(struct command_worker *w, const struct request *req,
			  struct store_preview *ret);

static inline int command_client_fd(const struct command_worker *w)
{
	return w->client ? w->client->fd : 0;
}

/* --- what watchers are told; nothing when there are none --- */

/* item NULL: the last store_find of this worker missed. */
void command_log_fetch(struct command_worker *w, struct span key, const struct item_view *item);
/* Looks the key up for them, as memcached does before it changes an item. */
void command_log_lookup(struct command_worker *w, struct span key);
/* expire_ns: the item's, with its jitter. */
void command_log_store(struct command_worker *w, const struct request *req,
		       enum store_status status, uint64_t expire_ns);
void command_log_delete(struct command_worker *w, struct span key);

enum command_next command_stats(struct command_worker *w, struct request *req,
				struct response *resp);

/* The key's own bytes; raw has room for XC_KEY_MAX. */
static inline struct span command_key(const struct request *req, uint8_t *raw)
{
	if (!req->key_base64)
		return req->key;
	base64_decode(req->key, raw);
	return span_of(raw, base64_decoded_len(req->key));
}

/* Looks for newer routes and prefixes; what was found in the old ones ends. */
void command_view_pick(struct command *command, struct command_view *view);
void command_view_drop(struct command *command, struct command_view *view);
/* The counting of `stats detail`. */
void command_detail_count(struct command *command, struct command_view *view, uint32_t slot,
			  struct span key, enum tally_event event, uint64_t n);
int command_detail_start(struct command *command);
void command_detail_clear(struct command *command);
/* stats detail */
void command_detail(struct command_worker *w, const struct request *req, struct span mode,
		    struct response *resp);

/* The route of a key; NULL: none has a prefix of it. */
static inline const struct route *command_route(const struct command_worker *w, struct span key)
{
	return w->view.routes ? routes_find(routes_of(w->view.routes), key) : NULL;
}

/* Counts a request for the key's route, and for its prefix if that is asked for. */
static inline void command_tally(struct command_worker *w, const struct route *route,
				 struct span key, enum tally_event event)
{
	if (route)
		tally_add(&route->tally[w->idx], event, 1);
	if (atomic_load_explicit(&w->command->detail, memory_order_relaxed))
		command_detail_count(w->command, &w->view, w->idx, key, event, 1);
}

static inline void command_sample_read(struct command_worker *w, struct span key, uint64_t hash)
{
	if (w->ring)
		tracker_sample_read(w->ring, key, hash);
}

static inline void command_sample_write(struct command_worker *w, struct span key, uint64_t hash)
{
	if (w->ring)
		tracker_sample_write(w->ring, key, hash);
}

#endif
