/* SPDX-License-Identifier: BSD-2-Clause */
#include "warm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sock.h"

#define REQUEST "{\"cmd\":\"handover\"}\n"
/* The other process drains its connections and sums its log first. */
#define WAIT_SEC 60
/* For a stop that was under way already. */
#define END_SEC 10
#define FD_NAME "FDNAME=xdpcache"
#define PARCEL_MAGIC 0x58435031U /* no JSON text begins so */

enum parcel_kind {
	PARCEL_LOG = 1,
	PARCEL_SOCKET,
	PARCEL_END, /* without a descriptor: it has ended */
};

struct parcel {
	uint32_t magic;
	uint32_t kind;
};

void warm_init(struct warm *warm)
{
	memset(warm, 0, sizeof(*warm));
	warm->log_fd = warm->state.fd = warm->successor = -1;
}

/* Sockets are told from memory by what they are. */
static void sort_in(struct warm *warm, int fd)
{
	struct stat st;
	bool known = fstat(fd, &st) == 0;

	if (known && S_ISSOCK(st.st_mode) && warm->socket_cnt < WARM_SOCKET_MAX)
		warm->sockets[warm->socket_cnt++] = fd;
	else if (known && S_ISREG(st.st_mode) && warm->log_fd < 0)
		warm->log_fd = fd;
	else
		close(fd);
}

void warm_from_systemd(struct warm *warm)
{
	int cnt = sd_listen_fds(1);

	for (int i = 0; i < cnt; i++)
		sort_in(warm, SD_LISTEN_FDS_START + i);
	if (cnt > 0)
		log_line(LOG_INFO, "warm", "from systemd: sockets=%u log=%s", warm->socket_cnt,
			 warm->log_fd >= 0 ? "yes" : "no");
}

/* --- taking --- */

static int receive_parcel(int sock, struct parcel *ret, int *ret_fd)
{
	int err = sock_receive_message(sock, ret, sizeof(*ret), ret_fd);

	return err ? err : ret->magic == PARCEL_MAGIC ? 0 : -EPROTO;
}

static int take_all(struct warm *warm, int sock)
{
	struct parcel parcel;
	int err, fd;

	do {
		err = receive_parcel(sock, &parcel, &fd);
		if (fd >= 0)
			sort_in(warm, fd);
	} while (!err && parcel.kind != PARCEL_END);
	return err;
}

/* The process that listens, as a descriptor; -1: it cannot be told. */
static int open_peer(int sock)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -1;
	return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

/* Its connection closes a little before its locks and ports are free. */
static bool await_end(int process)
{
	struct pollfd ended = { .fd = process, .events = POLLIN };

	return process >= 0 && poll(&ended, 1, END_SEC * 1000) == 1;
}

int warm_from_daemon(struct warm *warm, const char *control_path)
{
	const struct timeval patience = { .tv_sec = WAIT_SEC };
	int sock = sock_connect_unix(control_path, WAIT_SEC * 1000);
	int process, err = 0;

	if (sock < 0) {
		log_line(LOG_INFO, "warm", "no daemon answers on %s (%s): nothing to take over",
			 control_path, strerror(-sock));
		return 0;
	}
	process = open_peer(sock);
	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    send(sock, REQUEST, strlen(REQUEST), MSG_NOSIGNAL) != (ssize_t)strlen(REQUEST))
		err = -errno;
	if (!err)
		err = take_all(warm, sock);
	close(sock);
	/* Without a word of refusal: it was killed, or stops by itself. */
	if ((err == -EPIPE || err == -ECONNRESET) && await_end(process)) {
		log_line(LOG_WARN, "warm",
			 "the daemon on %s ended before it had handed over: starting as after a "
			 "crash",
			 control_path);
		err = 0;
	}
	if (process >= 0)
		close(process);
	if (err)
		log_line(LOG_ERROR, "warm",
			 "the daemon on %s does not hand over: %s; stop it, then start this one",
			 control_path,
			 err == -EPROTO ? "it refused, or is of another version" : strerror(-err));
	else
		log_line(LOG_INFO, "warm", "taken over: sockets=%u log=%s", warm->socket_cnt,
			 warm->log_fd >= 0 ? "yes" : "no");
	return err;
}

/* --- the log --- */

static int open_named(struct warm *warm, const char *path, uint64_t bytes, uint64_t bytes_max)
{
	int err = memory_file(path, bytes_max, bytes, &warm->log);

	warm->named = !err;
	if (err == -EBUSY)
		log_line(LOG_ERROR, "warm",
			 "memory file %s: another daemon uses it; stop it, or name another file",
			 path);
	else if (err == -ENOSPC)
		log_line(LOG_ERROR, "warm",
			 "memory file %s: no room for %llu MiB; enlarge its file system, or give "
			 "a smaller -m",
			 path, (unsigned long long)(bytes >> 20));
	else if (err)
		log_line(LOG_ERROR, "warm",
			 "memory file %s: %s; name a file on a file system in memory, such as "
			 "/dev/shm",
			 path, strerror(-err));
	return err;
}

static int open_memfd(struct warm *warm, uint64_t bytes)
{
	int err = -ENOENT;

	if (warm->log_fd >= 0) {
		err = memory_adopt(warm->log_fd, bytes, &warm->log);
		if (err)
			close(warm->log_fd);
		warm->log_fd = -1;
	}
	if (err)
		err = memory_new("xdpcache-log", bytes, &warm->log);
	if (err)
		log_line(LOG_ERROR, "warm",
			 "cannot map %llu MiB for the log: %s; give a smaller -m",
			 (unsigned long long)(bytes >> 20), strerror(-err));
	return err;
}

int warm_open_log(struct warm *warm, const char *path, uint64_t bytes, uint64_t bytes_max,
		  struct store_log *ret)
{
	int err = path ? open_named(warm, path, bytes, bytes_max) : open_memfd(warm, bytes_max);

	if (err)
		return err;
	warm->state = (struct store_state){ .fd = warm->log.fd, .offset = bytes_max };
	*ret = (struct store_log){ .base = warm->log.base,
				   .bytes = bytes_max,
				   .adopted = warm->log.kept,
				   .identity = memory_identity(bytes) };
	if (store_log_holds_items(ret))
		return 0; /* it says itself how far it reaches */
	ret->ready_bytes = bytes;
	if (ret->adopted)
		log_line(LOG_WARN, "warm",
			 "the log was begun before this boot, with another -m or by another "
			 "version: starting empty");
	return 0;
}

void warm_forget_state(struct warm *warm)
{
	if (warm->log.base)
		memory_trim(&warm->log);
	else if (warm->state.fd >= 0 && ftruncate(warm->state.fd, 0))
		log_line(LOG_WARN, "warm", "the state's file stays: %s", strerror(errno));
}

/* --- keeping --- */

/* FDPOLL=0: a socket with an error pending is still ours. */
static int store_fd(int fd)
{
	return sd_pid_notify_with_fds(0, 0, "FDSTORE=1\n" FD_NAME "\nFDPOLL=0", &fd, 1);
}

void warm_keep(struct warm *warm, const int *sockets, uint32_t socket_cnt)
{
	int kept = 0;

	/* What nobody uses any more goes with the rest, and the rest is given again. */
	if (warm->unused)
		sd_notify(0, "FDSTOREREMOVE=1\n" FD_NAME);
	if (warm->log.base && !warm->named)
		kept = store_fd(warm->log.fd);
	warm->stored = kept > 0;
	for (uint32_t i = 0; i < socket_cnt && kept >= 0; i++)
		kept = store_fd(sockets[i]);
	if (kept < 0)
		log_line(LOG_WARN, "warm", "systemd does not keep descriptors: %s",
			 strerror(-kept));
}

bool warm_is_kept(const struct warm *warm)
{
	return warm->state.fd >= 0 &&
	       (!warm->log.base || warm->named || warm->stored || warm->successor >= 0);
}

/* --- giving --- */

bool warm_ask_successor(struct warm *warm, int fd)
{
	const struct timeval patience = { .tv_sec = WAIT_SEC };
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int none = -1;

	/* The socket's group may look at numbers; contents are for root and for our own user. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ||
	    (peer.uid != 0 && peer.uid != geteuid())) {
		log_line(LOG_WARN, "warm", "a hand-over was asked for without the right to it");
		return false;
	}
	if (!__atomic_compare_exchange_n(&warm->successor, &none, fd, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	/* It may have to wait until the other end has read, but not for ever. */
	fcntl(fd, F_SETFL, 0);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	log_line(LOG_INFO, "warm", "pid %d takes over", (int)peer.pid);
	sd_notifyf(0, "MAINPID=%d", (int)peer.pid);
	return true;
}

void warm_drop_unused(struct warm *warm)
{
	if (warm->log_fd >= 0) {
		close(warm->log_fd);
		warm->unused = true;
	}
	warm->log_fd = -1;
	while (warm->socket_cnt > 0) {
		int fd = warm->sockets[--warm->socket_cnt];

		if (fd < 0)
			continue;
		close(fd);
		warm->unused = true;
	}
}

static int send_parcel(int sock, enum parcel_kind kind, int fd)
{
	const struct parcel parcel = { .magic = PARCEL_MAGIC, .kind = kind };

	return sock_send_message(sock, &parcel, sizeof(parcel), fd);
}

void warm_give(struct warm *warm)
{
	int err = 0;

	/* A file is opened anew; the lock on it must be free by then. */
	if (warm->log.base && !warm->named)
		err = send_parcel(warm->successor, PARCEL_LOG, warm->log.fd);
	for (uint32_t i = 0; i < warm->socket_cnt && !err; i++)
		err = send_parcel(warm->successor, PARCEL_SOCKET, warm->sockets[i]);
	warm_fini(warm);
	if (!err)
		err = send_parcel(warm->successor, PARCEL_END, -1);
	if (err)
		log_line(LOG_ERROR, "warm", "the process that takes over is gone: %s",
			 strerror(-err));
	close(warm->successor);
	warm->successor = -1;
}

void warm_fini(struct warm *warm)
{
	if (warm->log.base)
		memory_free(&warm->log);
	else if (warm->state.fd >= 0)
		close(warm->state.fd);
	warm->state.fd = -1;
	warm_drop_unused(warm);
}
