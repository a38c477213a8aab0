/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/conn.h"

#define ACCEPTS_A_TURN 64

static const char refusal[] = "ERROR Too many open connections\r\n";

static void refuse(struct worker *w, int fd, bool tls)
{
	command_count(&w->counts->conn_rejected, 1);
	/* Best effort: who is gone already needs no reason; under TLS it would be noise. */
	if (!tls && send(fd, refusal, sizeof(refusal) - 1, MSG_NOSIGNAL) < 0)
		errno = 0;
	close(fd);
}

/*
 * No descriptor is left, in the whole system: this process has as many as its connections need.
 * Without taking the connection from the queue it would wake us for ever.
 */
static void refuse_with_spare(struct worker *w, int listen_fd, bool tls)
{
	int fd;

	command_count(&w->counts->listen_disabled, 1);
	if (w->spare_fd < 0) /* somebody else was quicker, the last time */
		w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (w->spare_fd < 0)
		return;
	close(w->spare_fd);
	fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		refuse(w, fd, tls);
	w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void take(struct worker_socket *socket, uint32_t max)
{
	struct worker *w = socket->worker;

	for (uint32_t i = 0; i < max; i++) {
		int fd = accept4(socket->source.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == ECONNABORTED || errno == EINTR)
				continue;
			if (errno == EMFILE || errno == ENFILE)
				refuse_with_spare(w, socket->source.fd, socket->tls);
			return;
		}
		if (atomic_fetch_add(&w->shared->conn_cnt, 1) >= w->shared->settings->conn_max) {
			atomic_fetch_sub(&w->shared->conn_cnt, 1);
			refuse(w, fd, socket->tls);
			continue;
		}
		conn_open(w, socket, fd);
	}
}

void listener_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	take((struct worker_socket *)source, ACCEPTS_A_TURN);
}

void listener_drain(struct worker_socket *socket)
{
	/* One more than its length is what the kernel queues; who comes meanwhile is too late. */
	take(socket, socket->worker->shared->settings->backlog + 1);
}
