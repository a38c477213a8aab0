/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The server, its workers, and the way from a request's verb to its handler.
 *
 * A delayed flush_all is one time, flush_at_ns. Every worker looks at it before each request; the
 * first that finds it due flushes under the lock and only then clears it, so that no other worker
 * can serve or store anything in between: it either sees the time and waits for the lock, or sees
 * that the flush is done. The kernel knows the same time through the hook and serves nothing from
 * then on, until the flush has moved its entries' generation on.
 */
#include "command/impl.h"

#include <errno.h>
#include <time.h>

#include "base/alloc.h"

#define RELATIVE_MAX_SEC (60 * 60 * 24 * 30)
/* A time that has passed, and is not "never". */
#define EXPIRED_NS 1

/*
 * Many times what a round of the reclaimer takes, its kernel grace period included: a limit that
 * shrinks takes a dozen, and they may have to share a core. Who is refused all the same had nothing
 * to evict.
 */
#define WAIT_MAX_NS (2 * NSEC_PER_SEC)
#define WAIT_STEP_NS (4 * NSEC_PER_MSEC)
#define WAIT_MORE_NS (1 * NSEC_PER_MSEC)
/* Of one worker, for answers from elsewhere; the next is refused. */
#define CLIENTS_WAITING_MAX 16384

int command_new(const struct command_options *options, struct command **ret)
{
	struct command *command;
	int err;

	command = alloc_zero(1, sizeof(*command) +
					options->worker_cnt * sizeof(struct command_worker *));
	if (!command)
		return -ENOMEM;
	command->options = *options;
	command->start_ns = clock_now_ns(options->clock);
	atomic_init(&command->flush_at_ns, options->hooks.flush_due_ns);
	atomic_init(&command->memory_bytes, options->settings.memory_bytes);
	atomic_init(&command->verbosity, options->settings.verbosity);
	pthread_mutex_init(&command->lock, NULL);
	swap_init(&command->prefixes);
	err = options->settings.prefix_delimiter ? command_detail_start(command) : 0;
	if (err) {
		command_free(command);
		return err;
	}
	*ret = command;
	return 0;
}

void command_free(struct command *command)
{
	if (!command)
		return;
	command_view_drop(command, &command->kernel);
	swap_fini(&command->prefixes);
	pthread_mutex_destroy(&command->lock);
	alloc_free(command);
}

static int seed(struct command_worker *w)
{
	uint64_t seed = w->command->options.rand_seed + w->idx;

	if (w->command->options.rand_seed == 0) {
		int err = rand_secret(&seed, sizeof(seed));

		if (err)
			return err;
	}
	rand_init(&w->rand, seed);
	return 0;
}

int command_worker_new(struct command *command, uint32_t idx, struct command_worker **ret)
{
	struct command_worker *w = alloc_aligned(64, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->command = command;
	w->idx = idx;
	w->store = command->options.store;
	err = seed(w);
	if (err) {
		alloc_free(w);
		return err;
	}
	w->durations = command_durations_new();
	w->thread = w->durations ? store_thread_new(w->store) : NULL;
	if (!w->thread) {
		alloc_free(w->durations);
		alloc_free(w);
		return -ENOMEM;
	}
	if (command->options.tracker)
		w->ring = tracker_ring(command->options.tracker, idx);
	w->now_ns = clock_now_ns(command->options.clock);
	w->turn_ns = w->now_ns;
	w->wait_left_ns = WAIT_MAX_NS;
	waits_init(&w->waits, NULL, CLIENTS_WAITING_MAX);
	command_view_pick(command, &w->view);
	pthread_mutex_lock(&command->lock);
	command->workers[idx] = w;
	pthread_mutex_unlock(&command->lock);
	*ret = w;
	return 0;
}

void command_worker_free(struct command_worker *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->command->lock);
	w->command->workers[w->idx] = NULL;
	command_add_counts(&w->command->gone, &w->counts);
	pthread_mutex_unlock(&w->command->lock);
	command_view_drop(w->command, &w->view);
	command_drop_spent(w);
	waits_fini(&w->waits);
	store_thread_free(w->thread);
	alloc_free(w->durations);
	alloc_free(w);
}

void command_view_pick(struct command *command, struct command_view *view)
{
	if (command->options.routes)
		swap_pick(command->options.routes, &view->routes);
	swap_pick(&command->prefixes, &view->prefixes);
}

void command_view_drop(struct command *command, struct command_view *view)
{
	if (command->options.routes)
		swap_drop(command->options.routes, &view->routes);
	swap_drop(&command->prefixes, &view->prefixes);
}

void command_kernel_hits(struct command *command, struct span key, uint64_t hits, bool absent)
{
	const enum tally_event event = absent ? TALLY_KERNEL_ABSENT : TALLY_KERNEL_HIT;
	struct command_view *view = &command->kernel;

	command_view_pick(command, view);
	if (atomic_load_explicit(&command->detail, memory_order_relaxed))
		command_detail_count(command, view, command->options.worker_cnt, key, event, hits);
}

void command_kernel_route(struct command *command, const struct route *route, uint64_t hits,
			  uint64_t absent)
{
	struct tally *tally = &route->tally[command->options.worker_cnt];

	tally_add(tally, TALLY_KERNEL_HIT, hits);
	tally_add(tally, TALLY_KERNEL_ABSENT, absent);
}

void command_turn(struct command_worker *w)
{
	store_quiesce(w->thread);
	command_view_pick(w->command, &w->view);
	w->now_ns = clock_now_ns(w->command->options.clock);
	w->turn_ns = w->now_ns;
	w->replied_ns = 0;
	w->wait_left_ns = WAIT_MAX_NS;
	command_flush_due(w);
	waits_turn(&w->waits, w->now_ns);
	if (!w->holds)
		command_drop_spent(w);
}

void command_sleep(struct command_worker *w)
{
	store_offline(w->thread);
}

void command_wake(struct command_worker *w)
{
	store_online(w->thread);
}

void command_hold(struct command_worker *w)
{
	store_hold(w->thread);
	w->holds = true;
}

void command_let_go(struct command_worker *w)
{
	store_let_go(w->thread);
	w->holds = false;
}

bool command_hold_is_waited_for(const struct command_worker *w)
{
	return store_hold_is_waited_for(w->thread);
}

void command_set_let_go(struct command_worker *w, void (*let_go)(void *ctx), void *ctx)
{
	w->let_go = let_go;
	w->let_go_ctx = ctx;
}

uint64_t command_now_ns(const struct command_worker *w)
{
	return w->now_ns;
}

uint64_t command_flush_at_ns(const struct command_worker *w)
{
	return atomic_load_explicit(&w->command->flush_at_ns, memory_order_relaxed);
}

void command_set_client(struct command_worker *w, struct command_client *client)
{
	w->client = client;
}

void command_use_loop(struct command_worker *w, struct loop *loop)
{
	w->waits.box.loop = loop;
}

uint64_t command_waits_next_ns(const struct command_worker *w)
{
	return waits_next_ns(&w->waits);
}

struct command_counts *command_counts(struct command_worker *w)
{
	return &w->counts;
}

/* When what a client gives so long a life is no longer what it wrote; 0: never. */
static uint64_t end_ns(struct command_worker *w, const struct route *route, int64_t exptime)
{
	uint64_t wall_ns, at_ns, ttl_ns;

	if (exptime == 0)
		return 0;
	if (exptime < 0)
		return EXPIRED_NS;
	/* The turn may have begun long ago, and no item may end before its time. */
	w->now_ns = clock_now_ns(w->command->options.clock);
	if (exptime <= RELATIVE_MAX_SEC) {
		ttl_ns = (uint64_t)exptime * NSEC_PER_SEC;
	} else {
		if (__builtin_mul_overflow((uint64_t)exptime, NSEC_PER_SEC, &at_ns))
			return 0; /* beyond the year 2500: never */
		wall_ns = clock_wall_ns(w->command->options.clock);
		if (at_ns <= wall_ns)
			return EXPIRED_NS;
		ttl_ns = at_ns - wall_ns;
	}
	if (route)
		ttl_ns = route_spread_ns(&route->rule, &w->rand, ttl_ns);
	return w->now_ns + ttl_ns;
}

uint64_t command_expire_ns(struct command_worker *w, const struct route *route, int64_t exptime)
{
	uint64_t ns = end_ns(w, route, exptime);

	return ns > EXPIRED_NS && route ? ns + route_window_ns(&route->rule) : ns;
}

uint64_t command_vivify_ns(struct command_worker *w, const struct route *route, int64_t exptime)
{
	return end_ns(w, route, exptime);
}

bool command_wait(struct command_worker *w, struct response *resp, uint32_t tries)
{
	const struct timespec more = { .tv_nsec = WAIT_MORE_NS };
	uint64_t start_ns = clock_mono_ns(), spent_ns;

	/* Waiting ends every view; what the reply has borrowed so far must outlive that. */
	if (w->wait_left_ns == 0 || !response_detach(resp))
		return false;
	/* What we hold ourselves nobody can free for us. */
	if (w->let_go)
		w->let_go(w->let_go_ctx);
	if (store_wait(w->thread, WAIT_STEP_NS) && tries > 0) {
		/* There is a free segment, but the write needs more of them: let reclaim get on. */
		store_offline(w->thread);
		nanosleep(&more, NULL);
		store_online(w->thread);
	}
	spent_ns = clock_mono_ns() - start_ns;
	w->wait_left_ns = spent_ns < w->wait_left_ns ? w->wait_left_ns - spent_ns : 0;
	return true;
}

bool command_fits_udp(const struct request *req)
{
	switch (req->verb) {
	case REQUEST_STATS:
	case REQUEST_SHUTDOWN:
	case REQUEST_MEMLIMIT:
	case REQUEST_REFRESH_CERTS:
	case REQUEST_VERBOSITY:
	case REQUEST_LRU:
	case REQUEST_LRU_CRAWLER:
	case REQUEST_SLABS:
	case REQUEST_WATCH:
		return false;
	default:
		return true;
	}
}

static void apply_meta(struct command_worker *w, const struct request *req, struct response *resp)
{
	switch (req->verb) {
	case REQUEST_META_GET:
		command_meta_get(w, req, resp);
		break;
	case REQUEST_META_DELETE:
		command_meta_delete(w, req, resp);
		break;
	case REQUEST_META_ARITH:
		command_meta_arith(w, req, resp);
		break;
	case REQUEST_META_DEBUG:
		command_meta_debug(w, req, resp);
		break;
	default: /* REQUEST_META_NOOP */
		req->compose->status(resp, req, STATUS_OK);
		break;
	}
}

static void apply_tuning(struct command_worker *w, const struct request *req, struct response *resp)
{
	switch (req->verb) {
	case REQUEST_VERBOSITY:
		command_verbosity(w, req, resp);
		break;
	case REQUEST_MEMLIMIT:
		command_memlimit(w, req, resp);
		break;
	case REQUEST_REFRESH_CERTS:
		command_refresh_certs(w, req, resp);
		break;
	case REQUEST_LRU:
		command_lru(req, resp);
		break;
	default: /* REQUEST_SLABS */
		command_slabs(req, resp);
		break;
	}
}

static enum command_next apply(struct command_worker *w, struct request *req, struct response *resp)
{
	switch (req->verb) {
	case REQUEST_GET:
	case REQUEST_GETS:
	case REQUEST_GAT:
	case REQUEST_GATS:
		return command_read(w, req, resp);
	case REQUEST_SET:
	case REQUEST_ADD:
	case REQUEST_REPLACE:
	case REQUEST_APPEND:
	case REQUEST_PREPEND:
	case REQUEST_CAS:
		command_write(w, req, resp);
		break;
	case REQUEST_DELETE:
		command_remove(w, req, resp);
		break;
	case REQUEST_INCR:
	case REQUEST_DECR:
		command_arith(w, req, resp);
		break;
	case REQUEST_TOUCH:
		command_touch(w, req, resp);
		break;
	case REQUEST_META_GET:
	case REQUEST_META_DELETE:
	case REQUEST_META_ARITH:
	case REQUEST_META_NOOP:
	case REQUEST_META_DEBUG:
		apply_meta(w, req, resp);
		break;
	case REQUEST_FLUSH_ALL:
		command_flush_all(w, req, resp);
		break;
	case REQUEST_VERSION:
		req->compose->version(resp, req, COMMAND_VERSION);
		break;
	case REQUEST_STATS:
		return command_stats(w, req, resp);
	case REQUEST_VERBOSITY:
	case REQUEST_MEMLIMIT:
	case REQUEST_REFRESH_CERTS:
	case REQUEST_LRU:
	case REQUEST_SLABS:
		apply_tuning(w, req, resp);
		break;
	case REQUEST_LRU_CRAWLER:
		return command_lru_crawler(w, req, resp);
	case REQUEST_DUMP:
		return command_dump(w, req, resp);
	case REQUEST_WATCH:
		return command_watch(w, req, resp);
	case REQUEST_SHUTDOWN:
		return command_shutdown(w, req, resp);
	case REQUEST_QUIT:
		req->compose->bye(resp, req);
		return COMMAND_CLOSE;
	case REQUEST_INVALID:
	case REQUEST_VERB_CNT:
		req->compose->status(resp, req, req->error);
		break;
	}
	return COMMAND_DONE;
}

/*
 * Keys that may be another node's, or that an origin may have to answer for. A client that asked to
 * make the item itself does.
 */
static bool may_seek(const struct command_worker *w, const struct request *req)
{
	if (w->command->options.forward && req->keys.len)
		return true;
	if (!w->view.routes || !routes_of(w->view.routes)->has_source)
		return false;
	return request_is_retrieval(req) ||
	       (req->verb == REQUEST_META_GET && !request_asks(req, 'N'));
}

static enum command_next seek_and_apply(struct command_worker *w, struct request *req,
					struct response *resp)
{
	const enum command_seek seek = command_seek(w, req);
	enum command_next next = COMMAND_DONE;

	switch (seek) {
	case SEEK_WAITS:
		return COMMAND_WAITS;
	case SEEK_AWAY:
	case SEEK_FAILED:
		req->compose->status(resp, req,
				     seek == SEEK_AWAY ? STATUS_NODE_AWAY : STATUS_ORIGIN_FAILED);
		if (req->more)
			req->verb = REQUEST_INVALID;
		break;
	case SEEK_NOTHING:
		next = apply(w, req, resp);
		break;
	}
	/* The rest of the keys was asked for together with those that have been answered. */
	if (w->client && w->client->wait && next != COMMAND_MORE)
		command_spend_wait(w);
	return next;
}

enum command_next command_apply(struct command_worker *w, struct request *req,
				struct response *resp)
{
	const enum request_verb verb = req->verb; /* a handler may change it */
	uint8_t raw[XC_KEY_MAX];
	enum command_next next;

	if (command_flush_at_ns(w))
		command_flush_due(w);
	if (req->key_base64)
		req->key = command_key(req, raw);
	switch (command_forward(w, req, resp)) {
	case FORWARD_WAITS:
		return COMMAND_WAITS;
	case FORWARD_DONE:
		command_note_request(w, verb);
		return COMMAND_DONE;
	case FORWARD_NOTHING:
		break;
	}
	switch (command_through(w, req, resp)) {
	case THROUGH_WAITS:
		return COMMAND_WAITS;
	case THROUGH_DONE:
		command_note_request(w, verb);
		return COMMAND_DONE;
	case THROUGH_NOTHING:
		break;
	}
	next = may_seek(w, req) ? seek_and_apply(w, req, resp) : apply(w, req, resp);
	if (command_made(w))
		command_spend_wait(w);
	/* One that goes on, or waits, counts when it has come to its end. */
	if (next != COMMAND_MORE && next != COMMAND_WAITS && !req->more)
		command_note_request(w, verb);
	return next;
}
