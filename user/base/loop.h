/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop - readiness of file descriptors, one loop a thread.
 *
 * Does      waits for events on many descriptors and hands each to its source's function; wakes
 *           from other threads.
 * Shape     level triggered: a source is told again each turn until it has dealt with the event.
 * Units     timeouts in milliseconds, -1 for ever.
 * Errors    negative errno of the system call.
 * Owner     the caller owns sources and descriptors. A source that is removed during a turn must
 *           stay in memory until that turn's loop_drain returns; the loop calls it no more.
 * Threads   all calls from the loop's thread, except loop_kick, which any thread may call.
 */
#ifndef XC_BASE_LOOP_H
#define XC_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_EVENT_MAX 128

#define LOOP_READ EPOLLIN
#define LOOP_WRITE EPOLLOUT
#define LOOP_HANGUP (EPOLLHUP | EPOLLERR)
#define LOOP_EXCLUSIVE EPOLLEXCLUSIVE /* one of the loops that share the descriptor is woken */

struct loop_source {
	int fd;
	void (*ready)(struct loop_source *source, uint32_t events);
};

struct loop {
	int epoll_fd;
	struct loop_source wake;
	uint32_t event_cnt; /* of the turn; 0 outside it */
	uint32_t event_idx; /* the next to hand out */
	struct epoll_event events[LOOP_EVENT_MAX];
};

int loop_init(struct loop *loop);
void loop_fini(struct loop *loop); /* all zero: nothing to do */

int loop_insert(struct loop *loop, struct loop_source *source, uint32_t events);
int loop_replace(struct loop *loop, struct loop_source *source, uint32_t events);
void loop_remove(struct loop *loop, struct loop_source *source);

/* Waits; returns how many events there are, 0 after the timeout or a signal. */
int loop_wait(struct loop *loop, int timeout_ms);
/* Hands out the events of the last loop_wait. */
void loop_drain(struct loop *loop);
/* Makes the present or next loop_wait return at once. */
void loop_kick(struct loop *loop);

#endif
