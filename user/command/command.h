/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command - what each request does.
 *
 * Does      carries requests out on the store and writes their replies; keeps memcached's counters;
 *           holds the delayed flush_all.
 * Shape     one struct command a server, one struct command_worker a thread.
 * Units     times in boot-time ns, sizes in bytes.
 * Errors    what a client sees is in the reply; negative errno only where said.
 * Owner     borrows store, tracker, clock and hooks for its whole life.
 * Threads   a worker's functions: its thread alone. command_totals, command_own_counts,
 *           command_durations: any thread.
 * Views     replies may borrow item bytes until command_turn or command_sleep of the same worker:
 *           send them, or response_detach, before.
 * Source    memcached doc/protocol.txt; counters: memcached 1.6.18's `stats`.
 */
#ifndef XC_COMMAND_COMMAND_H
#define XC_COMMAND_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/histogram.h"
#include "base/wait.h"
#include "cluster/forward.h"
#include "hotkey/tracker.h"
#include "observe/eventlog.h"
#include "origin/origins.h"
#include "protocol/request.h"
#include "protocol/response.h"
#include "route/routes.h"
#include "store/store.h"

/* What the server is called in `version` and `stats`: clients compare the leading number. */
#define COMMAND_VERSION "1.6.18-xdpcache-" XC_VERSION

/* X(field): counters of one worker; written by it alone, summed when read. */
#define COMMAND_COUNTS(X)                                                                          \
	X(cmd_get)                                                                                 \
	X(cmd_set)                                                                                 \
	X(cmd_flush)                                                                               \
	X(cmd_touch)                                                                               \
	X(cmd_meta)                                                                                \
	X(get_hits)                                                                                \
	X(get_misses)                                                                              \
	X(get_expired)                                                                             \
	X(get_flushed)                                                                             \
	X(delete_misses)                                                                           \
	X(delete_hits)                                                                             \
	X(incr_misses)                                                                             \
	X(incr_hits)                                                                               \
	X(decr_misses)                                                                             \
	X(decr_hits)                                                                               \
	X(cas_misses)                                                                              \
	X(cas_hits)                                                                                \
	X(cas_badval)                                                                              \
	X(touch_hits)                                                                              \
	X(touch_misses)                                                                            \
	X(store_too_large)                                                                         \
	X(store_no_memory)                                                                         \
	X(idle_kicks)                                                                              \
	X(bytes_read)                                                                              \
	X(bytes_written)                                                                           \
	X(conn_opened)                                                                             \
	X(conn_closed)                                                                             \
	X(conn_rejected)                                                                           \
	X(upload_waits)	  /* large values that had to wait for room */                             \
	X(upload_stalled) /* closed: its large value did not come, and others wanted the room */   \
	X(conn_yields)                                                                             \
	X(auth_cmds)                                                                               \
	X(auth_errors)                                                                             \
	X(ssl_handshake_errors)                                                                    \
	X(ssl_handshake_timeouts)                                                                  \
	X(ssl_proto_errors) /* closed: broke TLS after its handshake */                            \
	X(conn_no_memory)   /* closed: no memory to keep what the client does not read */          \
	X(listen_disabled)  /* no descriptor left to accept with */                                \
	X(udp_requests)                                                                            \
	X(udp_refused)	    /* source not in the allowlist, or no client's port */                 \
	X(udp_malformed)    /* no frame header, or no whole command in it */                       \
	X(udp_unknown)	    /* no command's name: perhaps another server's reply */                \
	X(udp_multi_packet) /* part of a request of several datagrams */                           \
	X(udp_send_dropped) /* the socket took no more */

struct command_counts {
#define X(field) uint64_t field;
	COMMAND_COUNTS(X)
#undef X
};

/* What the kernel answered in our place. */
struct command_kernel_counts {
	uint64_t hits;	 /* keys answered with their value */
	uint64_t absent; /* … as known absent */
	uint64_t reply_bytes;
};

/* Where the memory of -m goes; bytes. X(part) */
#define COMMAND_MEMORY(X)                                                                          \
	X(limit)    /* -m */                                                                       \
	X(log)	    /* items: what is left by the others */                                        \
	X(log_free) /* of the log: segments without items, ready for writes */                     \
	X(index)                                                                                   \
	X(heap)	   /* connections, buffers, hot-key tracking, stacks */                            \
	X(tls)	   /* of the heap: what OpenSSL holds */                                           \
	X(program) /* resident pages of the program's own files */                                 \
	X(kernel)  /* the fast path's maps, without the log */                                     \
	X(total)

struct command_memory {
#define X(part) uint64_t part;
	COMMAND_MEMORY(X)
#undef X
};

/* Kinds of requests whose durations are told apart. X(NAME, what metrics call it) */
#define COMMAND_OPS(X)                                                                             \
	X(GET, "get") /* gat and mg, too */                                                        \
	X(SET, "set") /* every command with a value */                                             \
	X(DELETE, "delete")                                                                        \
	X(ARITH, "incr")                                                                           \
	X(TOUCH, "touch")                                                                          \
	X(OTHER, "other")

enum command_op {
#define X(name, text) COMMAND_OP_##name,
	COMMAND_OPS(X)
#undef X
		COMMAND_OP_CNT,
};

/* Set by whoever connects the rooms; each function may be NULL. Called from any worker. */
struct command_hooks {
	void *ctx;
	void (*kernel_counts)(void *ctx, struct command_kernel_counts *ret);
	/*
	 * From at_ns on the kernel must serve nothing stored before it; 0: no flush is due any
	 * more.
	 */
	void (*flush_at)(void *ctx, uint64_t at_ns);
	/* A flush that an earlier process promised and did not live to carry out; 0: none. */
	uint64_t flush_due_ns;
	void (*memory)(void *ctx, struct command_memory *ret);
	/* cache_memlimit; negative errno when it cannot be done. */
	int (*set_memory)(void *ctx, uint64_t bytes);
	void (*shutdown)(void *ctx, bool graceful);
};

#define COMMAND_WHY_MAX 512

/* -Z and -o ssl_…, as memcached has them. Strings are borrowed. */
struct command_tls {
	bool enabled;
	bool session_cache;
	bool kernel_tls;
	const char *chain_cert;
	const char *key; /* NULL: it is in chain_cert */
	const char *key_format;
	const char *ciphers; /* NULL: OpenSSL's */
	const char *ca_cert;
	uint32_t verify_mode; /* 0 nobody, 1 who has a certificate, 2 and 3 all */
	uint32_t min_version; /* 0 TLS 1.0 to 3 TLS 1.3 */
	uint32_t wbuf_kib;
	uint32_t handshake_timeout_sec;
};

static inline bool command_tls_der(const struct command_tls *tls)
{
	return tls->key_format && strcmp(tls->key_format, "DER") == 0;
}

struct command_tls_status {
	uint64_t since_refresh_sec;
	uint64_t new_sessions; /* with a session cache */
};

/* Which one connections speak; -B. */
enum command_protocol { COMMAND_PROTOCOL_AUTO, COMMAND_PROTOCOL_TEXT, COMMAND_PROTOCOL_BINARY };

/* What `stats settings` shows and what commands obey. Strings are borrowed. */
struct command_settings {
	uint64_t memory_bytes;
	uint64_t item_max;
	uint32_t conn_max;
	uint32_t thread_cnt;
	int32_t tcp_port;
	int32_t udp_port;
	uint64_t udp_reply_max; /* bytes of text, to other hosts */
	const char *listen;	/* NULL: all addresses */
	const char *unix_path;
	const char *memory_file;
	uint32_t unix_mode;
	uint32_t backlog;
	uint32_t requests_per_event;
	uint32_t idle_timeout_sec;
	uint32_t verbosity;
	bool no_evict;
	bool no_flush;	     /* -F */
	bool allow_shutdown; /* -A */
	bool no_dump;	     /* -X */
	bool no_watch;	     /* -W */
	enum command_protocol protocol;
	bool sasl;	       /* -S */
	const char *auth_file; /* -Y; NULL: none */
	/* -D: what `stats detail` takes for a prefix's end; 0: ':', and it is off at the start */
	uint8_t prefix_delimiter;
	struct command_tls tls;
};

/* One connection, for `stats conns`. */
struct command_conn {
	int fd;
	const char *transport; /* "tcp", "tcp6", "udp", "udp6", "unix" */
	const char *addr;
	const char *listen_addr; /* NULL: a listening socket */
	const char *state;
	uint64_t idle_sec;
};

/* What the server knows of its connections; installed by it, called by any worker. */
struct command_conns {
	/* Walks every worker's. */
	void (*walk)(void *ctx, void (*emit)(void *emit_ctx, const struct command_conn *conn),
		     void *emit_ctx);
	void (*tls_status)(void *ctx, struct command_tls_status *ret);
	/* refresh_certs; on failure says why. */
	int (*tls_reload)(void *ctx, char why[COMMAND_WHY_MAX]);
	void *ctx;
};

struct command_options {
	struct store *store;
	struct tracker *tracker;       /* NULL: hot keys are not tracked */
	struct eventlog *events;       /* NULL: nobody can watch */
	struct swap *routes;	       /* tables of command_slot_cnt(worker_cnt); NULL: none ever */
	const struct forward *forward; /* keys of other nodes; NULL: there are none */
	struct origins *origins;       /* for routes that have a source; NULL: none has */
	const struct clock *clock;
	struct command_hooks hooks;
	struct command_settings settings;
	struct command_conns conns;
	uint32_t worker_cnt;
	uint64_t rand_seed; /* tests: the same jitter in every run; 0: a secret one */
};

/* Slots of a route's counters: a worker's is its idx, the last is command_kernel_hits'. */
static inline uint32_t command_slot_cnt(uint32_t worker_cnt)
{
	return worker_cnt + 1;
}

struct command;
struct command_worker;

int command_new(const struct command_options *options, struct command **ret);
void command_free(struct command *command); /* NULL-safe; after its workers */

/* Takes a store thread. Called by the thread that will use it, or before that thread starts. */
int command_worker_new(struct command *command, uint32_t idx, struct command_worker **ret);
void command_worker_free(struct command_worker *w); /* NULL-safe */

/* Once per turn of the loop: reads the clock, ends views, carries out a flush that is due. */
void command_turn(struct command_worker *w);
/* Around a wait for events. */
void command_sleep(struct command_worker *w);
void command_wake(struct command_worker *w);
/*
 * The replies to the requests since the last call, or the start of the turn, are with the kernel:
 * each of these requests has taken from the turn's start until now.
 */
void command_replied(struct command_worker *w);
/* From the turn's start to the last command_replied in it; 0: there was none. */
uint64_t command_turn_took_ns(const struct command_worker *w);
/* Borrowed item bytes of this turn's replies stay until command_let_go (see store_hold). let_go is
 * called where a write has to wait for room, and must make do without them. */
void command_hold(struct command_worker *w);
void command_let_go(struct command_worker *w);
bool command_hold_is_waited_for(const struct command_worker *w);
void command_set_let_go(struct command_worker *w, void (*let_go)(void *ctx), void *ctx);
/* The turn's time: its start, or later where a command had to know better. */
uint64_t command_now_ns(const struct command_worker *w);

/*
 * Whoever sends requests. One whose request needs an answer from elsewhere waits for it
 * (COMMAND_WAITS), and nobody else does: until resume is called, from command_turn, nothing more of
 * it is applied. A client that leaves calls command_leave.
 */
struct command_client {
	int fd;		   /* what watchers are told */
	bool is_node;	   /* of the cluster: its requests go no further */
	struct wait *wait; /* of the request that is next; NULL: it has none */
	/* Apply the request again; NULL: it cannot wait, and is told what is here. */
	void (*resume)(struct command_client *client);
};

/* The answers are still to come. */
static inline bool command_client_waits(const struct command_client *client)
{
	return client->wait && !client->wait->over;
}

/* Whose requests come next. */
void command_set_client(struct command_worker *w, struct command_client *client);
void command_leave(struct command_client *client);
/* The loop that sleeps between the worker's turns; before it runs. */
void command_use_loop(struct command_worker *w, struct loop *loop);
/* By then command_turn is to be called for those who wait; UINT64_MAX: nobody does. */
uint64_t command_waits_next_ns(const struct command_worker *w);
/* When the delayed flush_all is due; 0: none. */
uint64_t command_flush_at_ns(const struct command_worker *w);

/* The worker's own counters, for what only its server sees. */
struct command_counts *command_counts(struct command_worker *w);

static inline void command_count(uint64_t *counter, uint64_t n)
{
	/* One writer; readers in other threads need whole words, not order. */
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

enum command_next {
	COMMAND_DONE,
	COMMAND_MORE,  /* the reply is full: send it, then go on with the keys left in req->keys */
	COMMAND_CLOSE, /* send what there is, then close */
	/* Nothing was done: apply it again, as it was, when its client is resumed. */
	COMMAND_WAITS,
	COMMAND_WATCH, /* req->number: the kinds of events the client wants to see from now on */
};

/*
 * True if the value of a storage command is to be taken; false: it was answered, skip the value and
 * its line end.
 */
bool command_admit(struct command_worker *w, const struct request *req, struct response *resp);
/* Carries req out. Storage commands have their value in req->value. */
enum command_next command_apply(struct command_worker *w, struct request *req,
				struct response *resp);
/* False: refused over UDP: a reply far longer than its request, or a setting of the daemon. */
bool command_fits_udp(const struct request *req);

/* A value that arrives in pieces, written to its place in the store as it comes. */
struct command_upload {
	struct request req; /* key in `key` */
	struct store_pending pending;
	uint8_t *heap;		 /* append, prepend: the store wants those whole */
	struct forward_ask *ask; /* another node's key: the request that goes there, being filled */
	bool sent;		 /* it went, and is its wait's */
	uint64_t filled;	 /* bytes that have come */
	uint64_t charged;	 /* room it holds */
	uint64_t start_ns;
	uint8_t key[XC_KEY_MAX];
	uint8_t opaque[META_OPAQUE_MAX];
};

enum command_upload_state {
	COMMAND_UPLOAD_GOES,	 /* ends in exactly one finish that is done, or abandon */
	COMMAND_UPLOAD_ANSWERED, /* skip the value */
	COMMAND_UPLOAD_BUSY, /* no room now: leave the value unread and try again a little later */
};

/* last_try: never BUSY. */
enum command_upload_state command_upload_start(struct command_worker *w, const struct request *req,
					       struct command_upload *upload, bool last_try,
					       struct response *resp);
/* Others want its room, and its client (last heard of at last_ns) is silent or too slow. */
bool command_upload_is_overdue(const struct command_worker *w, const struct command_upload *upload,
			       uint64_t last_ns);
/* Never more bytes in all than the request's value_len. */
void command_upload_fill(struct command_worker *w, struct command_upload *upload,
			 struct span bytes);
/* COMMAND_WAITS: another node has it; to be called again when the client is resumed. */
enum command_next command_upload_finish(struct command_worker *w, struct command_upload *upload,
					bool bad_end, struct response *resp);
void command_upload_abandon(struct command_worker *w, struct command_upload *upload);

/* Tells the watchers of evictions; whoever has the store installs it. */
struct store_watcher command_eviction_watcher(struct eventlog *events);

/* Sums of all workers since the start, or since `stats reset`, kernel hits included. */
void command_totals(struct command *command, struct command_counts *ret);
/*
 * How long requests of one kind took, in ns, from when their worker woke up for them to when their
 * reply was given to the kernel; since the start, of workers that run. Adds to *ret.
 */
void command_durations(struct command *command, enum command_op op, struct histogram *ret);
/* What this process answered itself since its start: no kernel hits, never reset. */
void command_own_counts(struct command *command, struct command_counts *ret);
uint32_t command_conn_cnt(struct command *command);
/* Fewer connections than the settings say; before workers run. */
void command_limit_conns(struct command *command, uint32_t conn_max);

/*
 * Counts what the kernel answered: hits, or that the key has no item. For the key's prefix (stats
 * detail), as far as the kernel's sample tells; for a route of a table that the caller holds, as
 * the kernel counted. One thread for both.
 */
void command_kernel_hits(struct command *command, struct span key, uint64_t hits, bool absent);
void command_kernel_route(struct command *command, const struct route *route, uint64_t hits,
			  uint64_t absent);

#endif
