/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One thread, one loop, a fixed table of clients. A client is either being read (out is NULL) or
 * being answered (out holds the rest of the reply); while it is being answered nothing more is
 * read from it, so that a client that does not take its replies holds back itself alone.
 *
 *   reading --line--> answering --all sent--> reading ... --end of input or idle--> closed
 */
#include "control/server.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/sock.h"
#include "control/command.h"

#define CLIENT_DEFAULT 16
#define IDLE_MS_DEFAULT 60000
#define TICK_MS 250 /* how often idle clients are looked for, at most */

struct client {
	struct loop_source source; /* fd -1: the slot is free */
	struct control *control;
	uint64_t active_ns; /* last byte either way */
	char *out;	    /* reply being sent; NULL: reading */
	size_t out_len;
	size_t out_done;
	bool ended;   /* sent all it will */
	bool closing; /* close once the reply is sent */
	size_t in_len;
	char in[CONTROL_LINE_MAX];
};

struct control {
	struct control_options options;
	struct loop loop;
	struct loop_source listener;
	pthread_t thread;
	bool running;
	atomic_bool stop;
	struct sock_file file;
	char path[108];
	struct client clients[]; /* options.client_max of them */
};

static uint64_t now_ns(const struct control *control)
{
	return clock_now_ns(control->options.sources.clock);
}

static void client_close(struct client *client)
{
	loop_remove(&client->control->loop, &client->source);
	close(client->source.fd);
	free(client->out);
	client->out = NULL;
	client->source.fd = -1;
}

/* Sends what the socket takes. False: the client is gone. */
static bool client_send(struct client *client)
{
	ssize_t n;

	while (client->out_done < client->out_len) {
		n = send(client->source.fd, client->out + client->out_done,
			 client->out_len - client->out_done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		client->out_done += (size_t)n;
		client->active_ns = now_ns(client->control);
	}
	free(client->out);
	client->out = NULL;
	return !client->closing;
}

/* Takes over the reply; NULL stands for out of memory. False: the client is to be closed. */
static bool client_reply(struct client *client, char *reply)
{
	if (reply && strlen(reply) > CONTROL_REPLY_MAX) {
		free(reply);
		reply = control_refuse("the reply is too large; ask for less");
	}
	if (!reply)
		return false;
	client->out = reply;
	client->out_len = strlen(reply);
	client->out_done = 0;
	return client_send(client);
}

/* A copy of the connection is somebody else's from here on. */
static bool client_hands_over(const struct client *client, struct span line)
{
	const struct control_sources *sources = &client->control->options.sources;
	int fd;

	if (!sources->handover || !control_is_handover(line))
		return false;
	fd = fcntl(client->source.fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0 || sources->handover(sources->ctx, fd))
		return fd >= 0;
	close(fd);
	return false;
}

/* Answers the lines that are in until a reply has to wait. False: close the client. */
static bool client_lines(struct client *client)
{
	while (!client->out && client->in_len > 0) {
		char *end = memchr(client->in, '\n', client->in_len);
		size_t len = end ? (size_t)(end - client->in) : client->in_len;
		size_t used = end ? len + 1 : len;
		bool alive = true;

		if (!end && client->in_len == sizeof(client->in)) {
			client->closing = true;
			client->in_len = 0;
			return client_reply(client, control_refuse("request line too long"));
		}
		if (!end && !client->ended)
			return true;
		if (len > 0 && client->in[len - 1] == '\r')
			len--;
		if (client_hands_over(client, span_of(client->in, len)))
			return false;
		if (len > 0)
			alive = client_reply(client,
					     control_answer(&client->control->options.sources,
							    span_of(client->in, len)));
		client->in_len -= used;
		memmove(client->in, client->in + used, client->in_len);
		if (!alive)
			return false;
	}
	return client->out || !client->ended;
}

/* False: the client is gone. */
static bool client_read(struct client *client)
{
	size_t room = sizeof(client->in) - client->in_len;
	ssize_t n;

	if (room == 0 || client->ended)
		return true;
	n = recv(client->source.fd, client->in + client->in_len, room, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	if (n == 0)
		client->ended = true;
	client->in_len += (size_t)n;
	client->active_ns = now_ns(client->control);
	return true;
}

static void client_ready(struct loop_source *source, uint32_t events)
{
	struct client *client = (struct client *)source; /* its first member */
	bool alive = !(events & LOOP_HANGUP) || (events & LOOP_READ);

	if (alive && client->out)
		alive = client_send(client);
	else if (alive)
		alive = client_read(client);
	alive = alive && client_lines(client);
	/* Input waits while a reply does: no LOOP_READ then. */
	if (!alive ||
	    loop_replace(&client->control->loop, source, client->out ? LOOP_WRITE : LOOP_READ))
		client_close(client);
}

static struct client *client_slot(struct control *control)
{
	for (uint32_t i = 0; i < control->options.client_max; i++) {
		if (control->clients[i].source.fd < 0)
			return &control->clients[i];
	}
	return NULL;
}

/* Best effort: the socket's buffer is empty, so the line fits or the client is gone. */
static void turn_away(int fd)
{
	char *reply = control_refuse("too many clients of the control socket; try again");

	if (reply && send(fd, reply, strlen(reply), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_line(LOG_DEBUG, "control", "could not turn a client away: %s", strerror(errno));
	free(reply);
	close(fd);
}

static void listener_ready(struct loop_source *source, uint32_t events)
{
	struct control *control =
		(struct control *)((char *)source - offsetof(struct control, listener));
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *client;

	(void)events;
	if (fd < 0)
		return;
	client = client_slot(control);
	if (!client) {
		turn_away(fd);
		return;
	}
	client->source = (struct loop_source){ .fd = fd, .ready = client_ready };
	client->control = control;
	client->active_ns = now_ns(control);
	client->in_len = 0;
	client->ended = false;
	client->closing = false;
	if (loop_insert(&control->loop, &client->source, LOOP_READ)) {
		close(fd);
		client->source.fd = -1;
	}
}

static void close_idle(struct control *control)
{
	uint64_t limit_ns = (uint64_t)control->options.idle_ms * NSEC_PER_MSEC;
	uint64_t now = now_ns(control);

	for (uint32_t i = 0; i < control->options.client_max; i++) {
		struct client *client = &control->clients[i];

		if (client->source.fd >= 0 && now - client->active_ns > limit_ns)
			client_close(client);
	}
}

static void *serve(void *arg)
{
	struct control *control = arg;
	int tick_ms = control->options.idle_ms < TICK_MS ? (int)control->options.idle_ms : TICK_MS;
	int rc;

	pthread_setname_np(pthread_self(), "xc-control");
	while (!atomic_load(&control->stop)) {
		rc = loop_wait(&control->loop, tick_ms);
		if (rc < 0) {
			log_line(LOG_ERROR, "control",
				 "waiting failed, the control socket is closed: %s", strerror(-rc));
			break;
		}
		loop_drain(&control->loop);
		close_idle(control);
	}
	return NULL;
}

/* The socket's own directory; what is above it must exist. The umask has no say in its mode. */
static int make_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[108];

	if (!slash || slash == path)
		return 0;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	if (mkdir(dir, 0755) == 0)
		return chmod(dir, 0755) < 0 ? -errno : 0;
	return errno == EEXIST ? 0 : -errno;
}

/* Not ours to have: a place that we may not write to, or that another daemon is at. */
static bool is_forbidden(int err)
{
	return err == -EACCES || err == -EPERM || err == -EROFS || err == -EADDRINUSE;
}

static int open_socket(struct control *control)
{
	const char *what = "make the directory of";
	int rc = make_directory(control->path);

	if (!rc) {
		what = "listen on";
		rc = sock_listen_unix(control->path, 0660, 16, &control->file);
	}
	if (rc == -EADDRINUSE && control->options.dispensable)
		log_line(LOG_WARN, "control",
			 "another daemon answers on %s: this one goes on, but the xdpcache command "
			 "cannot reach it: give it its own --control",
			 control->path);
	else if (rc == -EADDRINUSE)
		log_line(LOG_ERROR, "control",
			 "another daemon answers on %s: stop it, or give this one its "
			 "own --control and --instance",
			 control->path);
	else if (rc < 0 && control->options.dispensable && is_forbidden(rc))
		log_line(LOG_WARN, "control",
			 "cannot %s %s: %s; the daemon goes on, but the xdpcache command cannot "
			 "reach it: name another path with --control",
			 what, control->path, strerror(-rc));
	else if (rc < 0)
		log_line(LOG_ERROR, "control", "cannot %s %s: %s; name another path with --control",
			 what, control->path, strerror(-rc));
	if (rc < 0)
		return rc;
	control->listener = (struct loop_source){ .fd = rc, .ready = listener_ready };
	return 0;
}

int control_open(const struct control_options *options, struct control **ret)
{
	uint32_t client_max = options->client_max ? options->client_max : CLIENT_DEFAULT;
	struct control *control;
	int rc;

	if (client_max > CONTROL_CLIENT_MAX || strlen(options->path) >= sizeof(control->path))
		return -EINVAL;
	control = alloc_zero(1, sizeof(*control) + client_max * sizeof(struct client));
	if (!control)
		return -ENOMEM;
	control->options = *options;
	control->options.client_max = client_max;
	if (!options->idle_ms)
		control->options.idle_ms = IDLE_MS_DEFAULT;
	strcpy(control->path, options->path);
	control->options.path = control->path;
	for (uint32_t i = 0; i < client_max; i++)
		control->clients[i].source.fd = -1;
	rc = open_socket(control);
	if (rc)
		goto err_free;
	rc = loop_init(&control->loop);
	if (rc)
		goto err_close;
	rc = loop_insert(&control->loop, &control->listener, LOOP_READ);
	if (rc)
		goto err_loop;
	*ret = control;
	return 0;

err_loop:
	loop_fini(&control->loop);
err_close:
	sock_remove_unix(control->path, &control->file);
	close(control->listener.fd);
err_free:
	alloc_free(control);
	if (options->dispensable && is_forbidden(rc)) {
		*ret = NULL;
		return 0;
	}
	return rc;
}

void control_set_promoter(struct control *control, struct promoter *promoter)
{
	if (control)
		control->options.sources.promoter = promoter;
}

int control_start(struct control *control)
{
	int rc;

	if (!control)
		return 0;
	rc = -pthread_create(&control->thread, NULL, serve, control);
	if (rc)
		log_line(LOG_ERROR, "control", "cannot start its thread: %s", strerror(-rc));
	else
		control->running = true;
	return rc;
}

void control_stop(struct control *control)
{
	int rc;

	if (!control)
		return;
	if (control->running) {
		atomic_store(&control->stop, true);
		loop_kick(&control->loop);
		pthread_join(control->thread, NULL);
	}
	for (uint32_t i = 0; i < control->options.client_max; i++) {
		if (control->clients[i].source.fd >= 0)
			client_close(&control->clients[i]);
	}
	/* A daemon that took over meanwhile has its own file there. */
	rc = sock_remove_unix(control->path, &control->file);
	if (rc)
		log_line(LOG_DEBUG, "control", "%s stays: %s", control->path, strerror(-rc));
	close(control->listener.fd);
	loop_fini(&control->loop);
	alloc_free(control);
}
