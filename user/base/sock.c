/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HOST_MAX 256
#define UDP_ROOM_BYTES (8 << 20)

/* Splits text into host and port. A bare IPv6 address has more than one colon and no port. */
static int split(const char *text, char host[HOST_MAX], uint16_t *port, bool *ret_had_port)
{
	const char *colon = strrchr(text, ':');
	const char *end = text + strlen(text);
	const char *port_text = NULL;

	*ret_had_port = false;
	if (text[0] == '[') {
		end = strchr(++text, ']');
		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		if (end[1])
			port_text = end + 2;
	} else if (colon && strchr(text, ':') == colon) {
		end = colon;
		port_text = colon + 1;
	}
	if (end - text >= HOST_MAX)
		return -EINVAL;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	if (port_text) {
		char *rest;
		long number = strtol(port_text, &rest, 10);

		if (*rest || rest == port_text || number < 0 || number > 65535)
			return -EINVAL;
		*port = (uint16_t)number;
		*ret_had_port = true;
	}
	return 0;
}

static int lookup(const char *host, uint16_t port, struct addrinfo **ret)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	switch (getaddrinfo(host, service, &hints, ret)) {
	case 0:
		return 0;
	case EAI_MEMORY:
		return -ENOMEM;
	default:
		return -EINVAL;
	}
}

int sock_resolve(const char *text, uint16_t port, struct sock_addr *ret, uint32_t max,
		 bool *ret_had_port)
{
	struct addrinfo *list;
	char host[HOST_MAX] = "";
	bool had_port = false;
	uint32_t cnt = 0;
	int error;

	if (text) {
		error = split(text, host, &port, &had_port);
		if (error)
			return error;
	}
	error = lookup(host[0] && strcmp(host, "*") ? host : NULL, port, &list);
	if (error)
		return error;
	/* IPv6 first: with its wildcard bound v6-only, the order does not matter to the kernel,
	 * only to the log. */
	for (int family = AF_INET6;; family = AF_INET) {
		for (struct addrinfo *a = list; a && cnt < max; a = a->ai_next) {
			if (a->ai_family != family || a->ai_addrlen > sizeof(ret->storage))
				continue;
			memset(&ret[cnt], 0, sizeof(ret[cnt]));
			memcpy(&ret[cnt].storage, a->ai_addr, a->ai_addrlen);
			ret[cnt++].len = a->ai_addrlen;
		}
		if (family == AF_INET)
			break;
	}
	freeaddrinfo(list);
	if (ret_had_port)
		*ret_had_port = had_port;
	return cnt ? (int)cnt : -EINVAL;
}

uint16_t sock_port(const struct sock_addr *addr)
{
	switch (addr->storage.ss_family) {
	case AF_INET:
		return ntohs(((const struct sockaddr_in *)&addr->storage)->sin_port);
	case AF_INET6:
		return ntohs(((const struct sockaddr_in6 *)&addr->storage)->sin6_port);
	default:
		return 0;
	}
}

void sock_set_port(struct sock_addr *addr, uint16_t port)
{
	if (addr->storage.ss_family == AF_INET)
		((struct sockaddr_in *)&addr->storage)->sin_port = htons(port);
	else if (addr->storage.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&addr->storage)->sin6_port = htons(port);
}

void sock_host_text(const struct sock_addr *addr, char ret[SOCK_TEXT_MAX])
{
	switch (addr->storage.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &((const struct sockaddr_in *)&addr->storage)->sin_addr, ret,
			  SOCK_TEXT_MAX);
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&addr->storage)->sin6_addr, ret,
			  SOCK_TEXT_MAX);
		break;
	case AF_UNIX:
		snprintf(ret, SOCK_TEXT_MAX, "%.107s",
			 ((const struct sockaddr_un *)&addr->storage)->sun_path);
		break;
	default:
		snprintf(ret, SOCK_TEXT_MAX, "<family %d>", addr->storage.ss_family);
	}
}

void sock_text(const struct sock_addr *addr, char ret[SOCK_TEXT_MAX])
{
	char host[SOCK_TEXT_MAX];

	sock_host_text(addr, host);
	if (addr->storage.ss_family == AF_INET)
		snprintf(ret, SOCK_TEXT_MAX, "%.*s:%u", INET_ADDRSTRLEN, host, sock_port(addr));
	else if (addr->storage.ss_family == AF_INET6)
		snprintf(ret, SOCK_TEXT_MAX, "[%.*s]:%u", INET6_ADDRSTRLEN, host, sock_port(addr));
	else
		memcpy(ret, host, sizeof(host));
}

int sock_local(int fd, struct sock_addr *ret)
{
	struct sock_addr addr = { .len = sizeof(addr.storage) };

	if (getsockname(fd, (struct sockaddr *)&addr.storage, &addr.len) < 0)
		return -errno;
	*ret = addr;
	return 0;
}

static int open_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int set_option(int fd, int level, int name)
{
	int one = 1;

	return setsockopt(fd, level, name, &one, sizeof(one)) < 0 ? -errno : 0;
}

/* Own address family only: the IPv4 wildcard has its own socket. */
static int bind_to(int fd, const struct sock_addr *addr)
{
	int error;

	if (addr->storage.ss_family == AF_INET6) {
		error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
		if (error)
			return error;
	}
	return bind(fd, (const struct sockaddr *)&addr->storage, addr->len) < 0 ? -errno : 0;
}

int sock_listen_tcp(const struct sock_addr *addr, uint32_t backlog)
{
	int fd = open_socket(addr->storage.ss_family, SOCK_STREAM);
	int error;

	if (fd < 0)
		return fd;
	/* Accepted sockets inherit both TCP options: no system call for each connection. */
	error = set_option(fd, SOL_SOCKET, SO_REUSEADDR);
	if (!error)
		error = set_option(fd, SOL_SOCKET, SO_REUSEPORT);
	if (!error)
		error = set_option(fd, SOL_SOCKET, SO_KEEPALIVE);
	if (!error)
		error = set_option(fd, IPPROTO_TCP, TCP_NODELAY);
	if (!error)
		error = bind_to(fd, addr);
	if (!error && listen(fd, (int)backlog) < 0)
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

/*
 * What comes while a daemon is replaced waits here, as does a burst. More than the system's limit
 * takes a privilege.
 */
static void make_room(int fd)
{
	int bytes = UDP_ROOM_BYTES;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

int sock_connect_tcp(const struct sock_addr *addr, const struct sock_addr *from)
{
	int fd = open_socket(addr->storage.ss_family, SOCK_STREAM);
	struct sock_addr source = *from;
	int error;

	if (fd < 0)
		return fd;
	sock_set_port(&source, 0);
	error = set_option(fd, SOL_SOCKET, SO_KEEPALIVE);
	if (!error)
		error = set_option(fd, IPPROTO_TCP, TCP_NODELAY);
	if (!error)
		error = bind_to(fd, &source);
	if (!error && connect(fd, (const struct sockaddr *)&addr->storage, addr->len) < 0 &&
	    errno != EINPROGRESS)
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

/* An address as 16 bytes of IPv6; false: it is of another family. */
static bool host_bytes(const struct sock_addr *addr, uint8_t ret[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, 0xff };
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&addr->storage;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&addr->storage;

	if (addr->storage.ss_family == AF_INET6) {
		memcpy(ret, &v6->sin6_addr, 16);
		return true;
	}
	memcpy(ret, mapped, sizeof(mapped));
	memcpy(ret + sizeof(mapped), &v4->sin_addr, 4);
	return addr->storage.ss_family == AF_INET;
}

bool sock_same_host(const struct sock_addr *one, const struct sock_addr *other)
{
	uint8_t a[16], b[16];

	return host_bytes(one, a) && host_bytes(other, b) && memcmp(a, b, sizeof(a)) == 0;
}

int sock_bind_udp(const struct sock_addr *addr)
{
	int fd = open_socket(addr->storage.ss_family, SOCK_DGRAM);
	bool v6 = addr->storage.ss_family == AF_INET6;
	int error;

	if (fd < 0)
		return fd;
	make_room(fd);
	error = set_option(fd, SOL_SOCKET, SO_REUSEPORT);
	/* Replies must leave from the address that was asked, also when bound to all of them. */
	if (!error)
		error = set_option(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
				   v6 ? IPV6_RECVPKTINFO : IP_PKTINFO);
	if (!error)
		error = bind_to(fd, addr);
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

int sock_probe(const struct sock_addr *addr, int type)
{
	int fd = open_socket(addr->storage.ss_family, type);
	int error = 0;

	if (fd < 0)
		return fd;
	/* TCP: closed connections that linger are no other server. */
	if (type == SOCK_STREAM)
		error = set_option(fd, SOL_SOCKET, SO_REUSEADDR);
	if (!error)
		error = bind_to(fd, addr);
	close(fd);
	return error;
}

bool sock_is(int fd, int type, const struct sock_addr *addr)
{
	struct sock_addr local;
	socklen_t len = sizeof(int);
	int found = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &found, &len) || found != type ||
	    sock_local(fd, &local) || local.storage.ss_family != addr->storage.ss_family)
		return false;
	if (addr->storage.ss_family == AF_UNIX)
		return strcmp(((const struct sockaddr_un *)&local.storage)->sun_path,
			      ((const struct sockaddr_un *)&addr->storage)->sun_path) == 0;
	if (sock_port(addr) == 0)
		sock_set_port(&local, 0);
	return local.len == addr->len && memcmp(&local.storage, &addr->storage, addr->len) == 0;
}

int sock_connect_unix(const char *path, uint32_t wait_ms)
{
	const struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd, err;

	if (strlen(path) >= sizeof(name.sun_path))
		return -ENAMETOOLONG;
	strcpy(name.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if ((!wait_ms || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0) &&
	    connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0)
		return fd;
	err = errno == EAGAIN ? -ETIMEDOUT : -errno;
	close(fd);
	return err;
}

union fd_control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int sock_send_message(int sock, const void *bytes, size_t len, int fd)
{
	union fd_control control = { 0 };
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;
	ssize_t sent;

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
	if (sent < 0)
		return -errno;
	return (size_t)sent == len ? 0 : -EPROTO;
}

int sock_receive_message(int sock, void *bytes, size_t len, int *ret_fd)
{
	union fd_control control = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t got = recvmsg(sock, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg = got > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	*ret_fd = -1;
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(*ret_fd));
	if (got < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (got == 0)
		return -EPIPE;
	return (size_t)got == len ? 0 : -EPROTO;
}

/* A path left by a server that is gone may be replaced; one that answers, or that is no socket, may
 * not. */
static int unix_clear(const struct sockaddr_un *name)
{
	struct stat st;
	int error = 0;
	int fd;

	if (lstat(name->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = open_socket(AF_UNIX, SOCK_STREAM);
	if (fd < 0)
		return fd;
	/* Any other answer comes from somebody: it takes no more, no streams, or not us. */
	if (connect(fd, (const struct sockaddr *)name, sizeof(*name)) == 0 || errno != ECONNREFUSED)
		error = -EADDRINUSE;
	else if (unlink(name->sun_path) < 0)
		error = -errno;
	close(fd);
	return error;
}

static int file_of(const char *path, struct sock_file *ret)
{
	struct stat st;

	if (lstat(path, &st))
		return -errno;
	*ret = (struct sock_file){ .dev = st.st_dev, .ino = st.st_ino };
	return 0;
}

int sock_remove_unix(const char *path, const struct sock_file *file)
{
	struct sock_file there;

	if (file->ino == 0 || file_of(path, &there) || there.dev != file->dev ||
	    there.ino != file->ino)
		return 0;
	return unlink(path) ? -errno : 0;
}

int sock_listen_unix(const char *path, uint32_t mode, uint32_t backlog, struct sock_file *ret_file)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	mode_t mask;
	int error;
	int fd;

	if (strlen(path) >= sizeof(name.sun_path))
		return -ENAMETOOLONG;
	strcpy(name.sun_path, path);
	error = unix_clear(&name);
	if (error)
		return error;
	fd = open_socket(AF_UNIX, SOCK_STREAM);
	if (fd < 0)
		return fd;
	/* The mask, not a later chmod: the file never exists with wider rights. */
	mask = umask(~mode & 0777);
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		error = -errno;
	umask(mask);
	if (!error && listen(fd, (int)backlog) < 0)
		error = -errno;
	if (!error && ret_file)
		error = file_of(path, ret_file);
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}
