/* SPDX-License-Identifier: BSD-2-Clause */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sock.h"
#include "control/server.h"

static int send_all(int fd, const char *text, size_t len)
{
	ssize_t n;

	while (len > 0) {
		n = send(fd, text, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Waits for input until the deadline. */
static int wait_input(int fd, uint64_t deadline_ns)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	uint64_t now = clock_now_ns(clock_system());
	int n;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	n = poll(&wait, 1, (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n > 0 ? 0 : -ETIMEDOUT;
}

/* The reply line, without its line feed; the caller frees it. */
static int take_line(int fd, char **ret)
{
	uint64_t deadline_ns =
		clock_now_ns(clock_system()) + (uint64_t)CLIENT_WAIT_MS * NSEC_PER_MSEC;
	size_t size = 1 << 16, len = 0;
	char *line = alloc_zero(1, size);
	char *grown;
	ssize_t n;
	int rc = line ? 0 : -ENOMEM;

	while (!rc) {
		if (len == size) {
			grown = size < 2 * CONTROL_REPLY_MAX ? alloc_resize(line, 2 * size) : NULL;
			if (!grown) {
				rc = -ENOMEM;
				break;
			}
			line = grown;
			size *= 2;
		}
		n = recv(fd, line + len, size - len, MSG_DONTWAIT);
		if (n > 0 && line[len + (size_t)n - 1] == '\n') {
			line[len + (size_t)n - 1] = '\0';
			*ret = line;
			return 0;
		}
		if (n > 0)
			len += (size_t)n;
		else if (n == 0)
			rc = -ECONNRESET;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			rc = wait_input(fd, deadline_ns);
		else if (errno != EINTR)
			rc = -errno;
	}
	alloc_free(line);
	return rc;
}

static int unpack(const char *line, json_t **ret_result, char ret_error[CLIENT_ERROR_MAX])
{
	json_t *reply = json_loads(line, 0, NULL);
	json_t *result = json_object_get(reply, "result");
	const char *refusal = json_string_value(json_object_get(reply, "error"));
	int rc = 0;

	if (json_is_true(json_object_get(reply, "ok")) && result) {
		*ret_result = json_incref(result);
	} else {
		snprintf(ret_error, CLIENT_ERROR_MAX, "the daemon says: %s",
			 refusal ? refusal : "nothing that can be understood");
		rc = -EREMOTEIO;
	}
	json_decref(reply);
	return rc;
}

static void explain(const char *path, int error, char ret_error[CLIENT_ERROR_MAX])
{
	switch (error) {
	case -ENOENT:
	case -ECONNREFUSED:
		snprintf(ret_error, CLIENT_ERROR_MAX,
			 "no daemon answers on %s: start it (systemctl start xdpcached), or name "
			 "its "
			 "socket with --control",
			 path);
		break;
	case -EACCES:
	case -EPERM:
		snprintf(ret_error, CLIENT_ERROR_MAX,
			 "%s may be used by root and the socket's group only: try sudo", path);
		break;
	case -ETIMEDOUT:
		snprintf(ret_error, CLIENT_ERROR_MAX,
			 "the daemon on %s does not reply within %d s: is it stopped? (its process "
			 "state is T in `ps -C xdpcached -o pid,stat`)",
			 path, CLIENT_WAIT_MS / 1000);
		break;
	default:
		snprintf(ret_error, CLIENT_ERROR_MAX, "%s: %s", path, strerror(-error));
	}
}

int client_ask(const char *path, json_t *request, json_t **ret_result,
	       char ret_error[CLIENT_ERROR_MAX])
{
	char *text = json_dumps(request, JSON_COMPACT);
	char *line = NULL;
	int fd = -1;
	int rc = text ? 0 : -ENOMEM;

	json_decref(request);
	if (!rc) {
		/* A stopped daemon with a full backlog would hold connect for ever. */
		fd = sock_connect_unix(path, CLIENT_WAIT_MS);
		rc = fd < 0 ? fd : send_all(fd, text, strlen(text));
	}
	if (!rc)
		rc = send_all(fd, "\n", 1);
	if (!rc)
		rc = take_line(fd, &line);
	if (rc)
		explain(path, rc, ret_error);
	else
		rc = unpack(line, ret_result, ret_error);
	alloc_free(line);
	free(text);
	if (fd >= 0)
		close(fd);
	return rc;
}

bool client_is_away(int error)
{
	return client_no_daemon(error) || error == -ETIMEDOUT || error == -ECONNRESET ||
	       error == -EPIPE;
}

bool client_no_daemon(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED;
}
