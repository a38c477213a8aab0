/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libcurl says through two callbacks which sockets it wants to hear of and when it wants to be
 * called at the latest; whenever it is called, transfers may have ended. A socket's source that
 * libcurl gives up is freed only in the next turn: the loop may still hold events of it.
 */
#include "base/transfers.h"

#include <errno.h>

#include "base/alloc.h"

struct transfers_socket {
	struct loop_source source; /* first */
	struct transfers *home;
	struct transfers_socket *next; /* given up */
};

struct transfers {
	const struct clock *clock;
	struct loop *loop;
	CURLM *multi;
	uint64_t timer_ns; /* UINT64_MAX: none */
	struct transfer *first;
	struct transfers_socket *given_up;
};

static void end(struct transfer *t, CURLcode code)
{
	transfers_cancel(t);
	t->done(t, code);
}

static void take_ends(struct transfers *transfers)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(transfers->multi, &left))) {
		struct transfer *t;
		CURLcode code = message->data.result;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		end(t, code);
	}
}

static void socket_ready(struct loop_source *source, uint32_t events)
{
	struct transfers *transfers = ((struct transfers_socket *)source)->home;
	int what = (events & LOOP_READ ? CURL_CSELECT_IN : 0) |
		   (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0) |
		   (events & LOOP_HANGUP ? CURL_CSELECT_ERR : 0);
	int running;

	curl_multi_socket_action(transfers->multi, source->fd, what, &running);
	take_ends(transfers);
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
	struct transfers *transfers = arg;
	struct transfers_socket *s = assigned;
	uint32_t events =
		(what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (!s)
			return 0;
		loop_remove(transfers->loop, &s->source);
		curl_multi_assign(transfers->multi, fd, NULL);
		s->next = transfers->given_up;
		transfers->given_up = s;
		return 0;
	}
	if (s) {
		loop_replace(transfers->loop, &s->source, events);
		return 0;
	}
	/* A transfer whose socket is not watched ends at its deadline; an error would end all. */
	s = alloc_zero(1, sizeof(*s));
	if (!s)
		return 0;
	*s = (struct transfers_socket){ .source = { .fd = fd, .ready = socket_ready },
					.home = transfers };
	if (loop_insert(transfers->loop, &s->source, events))
		alloc_free(s);
	else
		curl_multi_assign(transfers->multi, fd, s);
	return 0;
}

static int timer_wanted(CURLM *multi, long ms, void *arg)
{
	struct transfers *transfers = arg;

	(void)multi;
	transfers->timer_ns =
		ms < 0 ? UINT64_MAX : clock_now_ns(transfers->clock) + (uint64_t)ms * NSEC_PER_MSEC;
	return 0;
}

static void free_given_up(struct transfers *transfers)
{
	while (transfers->given_up) {
		struct transfers_socket *s = transfers->given_up;

		transfers->given_up = s->next;
		alloc_free(s);
	}
}

void transfers_turn(struct transfers *transfers)
{
	int running;

	free_given_up(transfers);
	if (clock_now_ns(transfers->clock) < transfers->timer_ns)
		return;
	transfers->timer_ns = UINT64_MAX;
	curl_multi_socket_action(transfers->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	take_ends(transfers);
}

uint64_t transfers_next_ns(const struct transfers *transfers)
{
	return transfers->timer_ns;
}

int transfers_add(struct transfers *transfers, struct transfer *t)
{
	if (curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t) != CURLE_OK ||
	    curl_multi_add_handle(transfers->multi, t->easy) != CURLM_OK)
		return -ENOMEM;
	t->home = transfers;
	t->prev = NULL;
	t->next = transfers->first;
	if (t->next)
		t->next->prev = t;
	transfers->first = t;
	/* libcurl has set its timer to now. */
	loop_kick(transfers->loop);
	return 0;
}

void transfers_cancel(struct transfer *t)
{
	curl_multi_remove_handle(t->home->multi, t->easy);
	if (t->prev)
		t->prev->next = t->next;
	else
		t->home->first = t->next;
	if (t->next)
		t->next->prev = t->prev;
}

int transfers_new(const struct clock *clock, struct loop *loop, uint32_t connection_max,
		  struct transfers **ret)
{
	struct transfers *transfers = alloc_zero(1, sizeof(*transfers));

	if (!transfers)
		return -ENOMEM;
	*transfers = (struct transfers){ .clock = clock, .loop = loop, .timer_ns = UINT64_MAX };
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		goto err_free;
	transfers->multi = curl_multi_init();
	if (!transfers->multi)
		goto err_cleanup;
	curl_multi_setopt(transfers->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
	curl_multi_setopt(transfers->multi, CURLMOPT_SOCKETDATA, transfers);
	curl_multi_setopt(transfers->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
	curl_multi_setopt(transfers->multi, CURLMOPT_TIMERDATA, transfers);
	curl_multi_setopt(transfers->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)connection_max);
	*ret = transfers;
	return 0;

err_cleanup:
	curl_global_cleanup();
err_free:
	alloc_free(transfers);
	return -ENOMEM;
}

void transfers_free(struct transfers *transfers)
{
	if (!transfers)
		return;
	while (transfers->first)
		end(transfers->first, CURLE_ABORTED_BY_CALLBACK);
	curl_multi_cleanup(transfers->multi);
	free_given_up(transfers);
	curl_global_cleanup();
	alloc_free(transfers);
}
