/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/stream.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

#include "net/tls.h"

int64_t stream_read(int fd, struct tls_conn *tls, void *bytes, uint64_t cap)
{
	ssize_t n;

	if (tls)
		return tls_read(tls, bytes, cap);
	n = recv(fd, bytes, cap, 0);
	if (n >= 0)
		return n;
	return errno == EINTR ? -EAGAIN : -errno;
}

int64_t stream_write(int fd, struct tls_conn *tls, struct iovec *iov, uint32_t iov_cnt)
{
	struct msghdr msg = { 0 };
	int64_t sent = 0;
	uint32_t pos = 0;

	if (tls)
		return tls_write(tls, iov, iov_cnt);
	if (iov_cnt == 1) {
		sent = send(fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL);
		return sent >= 0 ? sent : errno == EAGAIN ? 0 : -errno;
	}
	while (pos < iov_cnt) {
		uint32_t cnt = iov_cnt - pos > IOV_MAX ? IOV_MAX : iov_cnt - pos;
		int64_t want = 0;
		ssize_t n;

		msg.msg_iov = iov + pos;
		msg.msg_iovlen = cnt;
		for (uint32_t i = 0; i < cnt; i++)
			want += (int64_t)msg.msg_iov[i].iov_len;
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? sent : -errno;
		sent += n;
		if (n < want)
			break; /* the socket is full: asking again would only say so */
		pos += cnt;
	}
	return sent;
}
