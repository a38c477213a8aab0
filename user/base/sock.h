/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sock - sockets and addresses.
 *
 * Does      turns "host:port" text into addresses; opens listening TCP, UDP and unix sockets.
 * Units     ports in host order.
 * Errors    negative errno; sock_resolve: -EINVAL for text that names no address.
 * Owner     descriptors belong to the caller; all are non-blocking (but sock_connect_unix's) and
 *           close-on-exec.
 * Threads   any.
 */
#ifndef XC_BASE_SOCK_H
#define XC_BASE_SOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define SOCK_TEXT_MAX 160 /* a unix path or "[v6%scope]:port" */

struct sock_addr {
	struct sockaddr_storage storage;
	socklen_t len;
};

/*
 * "host", "host:port", "[v6]:port", a bare IPv6 address, or NULL for every local address. Writes up
 * to max addresses, IPv6 ones first, and returns how many. ret_had_port (may be NULL): the text
 * named a port.
 */
int sock_resolve(const char *text, uint16_t port, struct sock_addr *ret, uint32_t max,
		 bool *ret_had_port);
/* "127.0.0.1:11211", "[::1]:11211", or a unix path. */
void sock_text(const struct sock_addr *addr, char ret[SOCK_TEXT_MAX]);
/* The address alone, without port or brackets. */
void sock_host_text(const struct sock_addr *addr, char ret[SOCK_TEXT_MAX]);
uint16_t sock_port(const struct sock_addr *addr);
void sock_set_port(struct sock_addr *addr, uint16_t port);
/* The address a socket is bound to. */
int sock_local(int fd, struct sock_addr *ret);

/* With SO_REUSEPORT several sockets, one a thread, share the address. Returns the descriptor. */
int sock_listen_tcp(const struct sock_addr *addr, uint32_t backlog);
int sock_bind_udp(const struct sock_addr *addr);
/* The file of a unix socket; all zero: none. */
struct sock_file {
	dev_t dev;
	ino_t ino;
};

/*
 * Replaces a stale socket file, refuses to replace anything else or a live server's. ret_file (may
 * be NULL) is for sock_remove_unix.
 */
int sock_listen_unix(const char *path, uint32_t mode, uint32_t backlog, struct sock_file *ret_file);
/*
 * Removes the file if it is still that one. Call while the socket listens: a server that starts
 * meanwhile then refuses to replace it, so nobody else's file is removed.
 */
int sock_remove_unix(const char *path, const struct sock_file *file);
/* A socket that another process made: of this type, bound to this address (port 0: any)? */
bool sock_is(int fd, int type, const struct sock_addr *addr);
/*
 * A stream connection, blocking: to the server that listens on this path. Waits for its backlog at
 * most wait_ms (0: as long as it takes): -ETIMEDOUT.
 */
int sock_connect_unix(const char *path, uint32_t wait_ms);
/*
 * Begins a TCP connection: it is there, or has failed (SO_ERROR), once it can be written to. from:
 * whose address it is to come from, whatever its port.
 */
int sock_connect_tcp(const struct sock_addr *addr, const struct sock_addr *from);
/* Both name one host, whatever the ports. An IPv4 address is the same inside an IPv6 one. */
bool sock_same_host(const struct sock_addr *one, const struct sock_addr *other);
/* A message over a unix socket, whole, with a descriptor in it unless fd is -1. */
int sock_send_message(int sock, const void *bytes, size_t len, int fd);
/* *ret_fd (the caller's from then on): -1 when none came. -EPIPE: the other side has ended;
 * -EPROTO: less than a message came. */
int sock_receive_message(int sock, void *bytes, size_t len, int *ret_fd);
/*
 * -EADDRINUSE when another process has the address: SO_REUSEPORT alone would let two servers share
 * a port in silence.
 */
int sock_probe(const struct sock_addr *addr, int type);

#endif
