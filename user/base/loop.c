/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/loop.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void wake_ready(struct loop_source *source, uint32_t events)
{
	uint64_t count;

	(void)events;
	/* An empty counter only means that another turn has taken it. */
	if (read(source->fd, &count, sizeof(count)) < 0)
		return;
}

int loop_init(struct loop *loop)
{
	int error;

	loop->event_cnt = 0;
	loop->event_idx = 0;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return -errno;
	loop->wake.ready = wake_ready;
	loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake.fd < 0) {
		error = -errno;
		goto err_close_epoll;
	}
	error = loop_insert(loop, &loop->wake, LOOP_READ);
	if (error)
		goto err_close_wake;
	return 0;

err_close_wake:
	close(loop->wake.fd);
err_close_epoll:
	close(loop->epoll_fd);
	loop->wake.ready = NULL;
	return error;
}

void loop_fini(struct loop *loop)
{
	if (!loop->wake.ready)
		return;
	loop->wake.ready = NULL;
	close(loop->wake.fd);
	close(loop->epoll_fd);
}

static int control(struct loop *loop, int op, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(loop->epoll_fd, op, source->fd, &event) < 0 ? -errno : 0;
}

int loop_insert(struct loop *loop, struct loop_source *source, uint32_t events)
{
	return control(loop, EPOLL_CTL_ADD, source, events);
}

int loop_replace(struct loop *loop, struct loop_source *source, uint32_t events)
{
	return control(loop, EPOLL_CTL_MOD, source, events);
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	control(loop, EPOLL_CTL_DEL, source, 0);
	/* Events of this turn that are still to be handed out must not reach a source that is going
	 * away. */
	for (uint32_t i = loop->event_idx; i < loop->event_cnt; i++) {
		if (loop->events[i].data.ptr == source)
			loop->events[i].data.ptr = NULL;
	}
}

int loop_wait(struct loop *loop, int timeout_ms)
{
	int n = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENT_MAX, timeout_ms);

	loop->event_idx = 0;
	loop->event_cnt = n > 0 ? (uint32_t)n : 0;
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n;
}

void loop_drain(struct loop *loop)
{
	while (loop->event_idx < loop->event_cnt) {
		struct epoll_event *event = &loop->events[loop->event_idx++];
		struct loop_source *source = event->data.ptr;

		if (source)
			source->ready(source, event->events);
	}
	loop->event_cnt = 0;
	loop->event_idx = 0;
}

void loop_kick(struct loop *loop)
{
	uint64_t one = 1;

	/* A full counter is a wake-up that has not been taken yet. */
	if (write(loop->wake.fd, &one, sizeof(one)) < 0)
		return;
}
