/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream - the bytes of a connection, plain or under TLS.
 *
 * Does      reads and writes without blocking, the same way for both.
 * Shape     tls NULL: the descriptor alone.
 * Units     bytes.
 * Errors    negative errno: the connection is of no more use, but for -EAGAIN of stream_read.
 * Owner     descriptor and tls are the connection's.
 * Threads   its worker's.
 */
#ifndef XC_NET_STREAM_H
#define XC_NET_STREAM_H

#include <stdint.h>
#include <sys/uio.h>

struct tls_conn;

/* Bytes, 0 at the stream's end, -EAGAIN: none now. */
int64_t stream_read(int fd, struct tls_conn *tls, void *bytes, uint64_t cap);
/* Bytes taken: less than all of them when there is no room for more now. */
int64_t stream_write(int fd, struct tls_conn *tls, struct iovec *iov, uint32_t iov_cnt);

#endif
