/* SPDX-License-Identifier: BSD-2-Clause */
/* flush_all, verbosity, cache_memlimit, refresh_certs, shutdown. */
#include "command/impl.h"

#include "base/log.h"

#define MEMLIMIT_MIN_MIB 8
#define MEMLIMIT_MAX_MIB 1000000000
#define VERBOSITY_MAX 2 /* as memcached shows it */

static void tell_kernel(struct command *command, uint64_t at_ns)
{
	const struct command_hooks *hooks = &command->options.hooks;

	if (hooks->flush_at)
		hooks->flush_at(hooks->ctx, at_ns);
}

/* Caller holds the lock. The time is cleared last: until then other workers wait for the lock. */
static void flush_now(struct command_worker *w)
{
	struct command *command = w->command;
	bool scheduled = atomic_load(&command->flush_at_ns) != 0;

	store_flush(w->thread);
	atomic_store(&command->flush_at_ns, 0);
	if (scheduled)
		tell_kernel(command, 0);
}

void command_flush_due(struct command_worker *w)
{
	struct command *command = w->command;
	uint64_t at_ns = atomic_load(&command->flush_at_ns);

	if (at_ns == 0 || clock_now_ns(command->options.clock) < at_ns)
		return;
	pthread_mutex_lock(&command->lock);
	at_ns = atomic_load(&command->flush_at_ns);
	if (at_ns != 0 && clock_now_ns(command->options.clock) >= at_ns)
		flush_now(w);
	pthread_mutex_unlock(&command->lock);
}

void command_flush_all(struct command_worker *w, const struct request *req, struct response *resp)
{
	struct command *command = w->command;
	bool at_once = !req->has_exptime || req->exptime <= 0;
	uint64_t at_ns = 0;

	command_count(&w->counts.cmd_flush, 1);
	if (command->options.settings.no_flush) {
		req->compose->status(resp, req, STATUS_FLUSH_REFUSED);
		return;
	}
	if (!at_once)
		at_ns = command_expire_ns(w, NULL, req->exptime);
	pthread_mutex_lock(&command->lock);
	if (!at_once && (at_ns == 0 || at_ns > w->now_ns)) {
		/*
		 * The last one wins, as in memcached, also one that is never due (0). The kernel
		 * first: it must not lag behind us.
		 */
		tell_kernel(command, at_ns);
		atomic_store(&command->flush_at_ns, at_ns);
	} else {
		flush_now(w);
	}
	pthread_mutex_unlock(&command->lock);
	req->compose->status(resp, req, STATUS_OK);
}

void command_verbosity(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint32_t level = req->number > VERBOSITY_MAX ? VERBOSITY_MAX : (uint32_t)req->number;

	atomic_store(&w->command->verbosity, level);
	log_set_level(level > 0 ? LOG_DEBUG : LOG_INFO);
	req->compose->status(resp, req, STATUS_OK);
}

void command_memlimit(struct command_worker *w, const struct request *req, struct response *resp)
{
	const struct command_hooks *hooks = &w->command->options.hooks;
	enum request_status status = STATUS_OK;
	uint64_t bytes;

	if (req->number < MEMLIMIT_MIN_MIB) {
		status = STATUS_MEMLIMIT_SMALL;
	} else if (req->number > MEMLIMIT_MAX_MIB) {
		status = STATUS_MEMLIMIT_UNIT;
	} else {
		bytes = req->number << 20;
		if (hooks->set_memory && hooks->set_memory(hooks->ctx, bytes) == 0)
			atomic_store(&w->command->memory_bytes, bytes);
		else
			status = STATUS_MEMLIMIT_FAILED;
	}
	req->compose->status(resp, req, status);
}

void command_refresh_certs(struct command_worker *w, const struct request *req,
			   struct response *resp)
{
	const struct command_conns *conns = &w->command->options.conns;
	enum request_status status = STATUS_OK;
	char why[COMMAND_WHY_MAX];

	if (!w->command->options.settings.tls.enabled || !conns->tls_reload)
		status = STATUS_TLS_OFF;
	else if (conns->tls_reload(conns->ctx, why))
		status = STATUS_CERTS_STAY;
	req->compose->status(resp, req, status);
}

enum command_next command_shutdown(struct command_worker *w, const struct request *req,
				   struct response *resp)
{
	const struct command_hooks *hooks = &w->command->options.hooks;
	struct span args = req->args;
	struct span mode = request_word(&args);
	bool graceful = span_equal(mode, span_str("graceful"));

	if (!w->command->options.settings.allow_shutdown || !hooks->shutdown) {
		req->compose->status(resp, req, STATUS_SHUTDOWN_REFUSED);
		return COMMAND_DONE;
	}
	if ((mode.len && !graceful) || request_word(&args).len) {
		req->compose->status(resp, req, STATUS_SHUTDOWN_MODE);
		return COMMAND_DONE;
	}
	hooks->shutdown(hooks->ctx, graceful);
	return COMMAND_CLOSE;
}
