/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/warden.h"

#include <bpf/bpf.h>
#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/sock.h"
#include "fastpath/impl.h"

/* As ps shows it; 15 characters are what the kernel keeps. */
#define WARDEN_NAME "xdpcache-warden"
/* Slow drivers take two seconds to make room for a program. */
#define ANSWER_MS 5000
/* Zeroing an extent takes some ten milliseconds; who waits makes room for writers. */
#define EXTENT_MS 500
#define STOP_MS 2000
#define STOP_STEP_MS 2

enum operation {
	OP_ATTACH,
	OP_DETACH,
	OP_EXTENT,
};

struct request {
	uint32_t operation;
	uint32_t extent;
	char ifname[16];
};

struct reply {
	int32_t err;
	uint32_t pad;
	struct fastpath_interface interface;
};

struct warden {
	pid_t pid;
	int fd;
	pthread_mutex_t lock;	/* one question at a time */
	_Atomic bool is_behind; /* an answer was not waited for any longer, and has not come yet */
};

/* --- the child --- */

/*
 * BPF, NET_ADMIN, PERFMON: attach. SYS_ADMIN: open programs by number, to recognise our own. A
 * daemon that was not started by root reaches its pins by DAC_OVERRIDE, or not at all.
 */
static int keep_few_capabilities(void)
{
	bool not_owner = geteuid() != 0 && capng_have_capability(CAPNG_PERMITTED, CAP_DAC_OVERRIDE);

	capng_clear(CAPNG_SELECT_BOTH);
	if (not_owner)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_DAC_OVERRIDE);
	capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, CAP_BPF,
		      CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, -1);
	/* It fails without CAP_SETPCAP; no_new_privs then makes the bounding set mean nothing. */
	capng_apply(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_CAPS) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -EPERM;
	return 0;
}

static bool is_optioned(const struct fastpath *fp, const char *ifname)
{
	for (uint32_t i = 0; i < fp->options.interface_cnt; i++) {
		if (strcmp(fp->options.interfaces[i], ifname) == 0)
			return true;
	}
	return false;
}

/*
 * The next one, within the log's addresses: the log has no holes and does not go beyond them. One
 * that is there was made when nobody waited any more.
 */
static int have_extent(const struct fastpath *fp, uint32_t number)
{
	uint32_t before = number - 1, id;
	int fd;

	if (number == 0 || number >= fp->maps.log_bytes / XC_EXTENT_SIZE ||
	    bpf_map_lookup_elem(fp->maps.seg_fd, &before, &id))
		return -EINVAL;
	fd = extent_open(fp->maps.seg_fd, number);
	return fd == -ENOENT ? extent_make(fp->maps.seg_fd, number) : fd;
}

/* *ret_fd: to be sent along, or -1. */
static int carry_out(struct fastpath *fp, const struct request *request, struct reply *reply,
		     int *ret_fd)
{
	bool attached;
	int fd;

	if (request->operation == OP_EXTENT) {
		fd = have_extent(fp, request->extent);
		*ret_fd = fd < 0 ? -1 : fd;
		return fd < 0 ? fd : 0;
	}
	if (!memchr(request->ifname, '\0', sizeof(request->ifname)) ||
	    !is_optioned(fp, request->ifname))
		return -EPERM;
	switch (request->operation) {
	case OP_ATTACH:
		return attach_one(fp, request->ifname, &reply->interface, &attached);
	case OP_DETACH:
		return attach_remove_one(&fp->pins, request->ifname,
					 if_nametoindex(request->ifname),
					 map_id_of(fp->maps.conf_fd));
	default:
		return -EINVAL;
	}
}

/*
 * What must end when the daemon lets go of it: the lock, and what came from an earlier process:
 * listeners, on which clients would wait for ever, and the memory of a log. Of the object's own
 * descriptors none is a socket or a file.
 */
static int close_inherited(int sock)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	struct stat st;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		int fd = (int)strtol(entry->d_name, NULL, 10);

		if (fd > STDERR_FILENO && fd != sock && fd != dirfd(dir) && fstat(fd, &st) == 0 &&
		    (S_ISSOCK(st.st_mode) || S_ISREG(st.st_mode)))
			close(fd);
	}
	closedir(dir);
	return 0;
}

/* It does not need the values either. */
static int let_go(struct fastpath *fp, int sock)
{
	munmap(fp->maps.log_base, fp->maps.log_bytes);
	munmap(fp->maps.entries, fp->entries_bytes);
	munmap(fp->maps.uses, fp->hits_bytes);
	return close_inherited(sock);
}

static void guard(struct fastpath *fp, int sock)
{
	struct request request;

	for (;;) {
		struct reply reply = { 0 };
		ssize_t len = recv(sock, &request, sizeof(request), 0);
		int fd = -1;

		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			return;
		reply.err = len == sizeof(request) ? carry_out(fp, &request, &reply, &fd) : -EINVAL;
		/* The daemon is gone: the next receive says so. */
		sock_send_message(sock, &reply, sizeof(reply), fd);
		if (fd >= 0)
			close(fd);
	}
}

__attribute__((noreturn)) static void child(struct fastpath *fp, int sock)
{
	sigset_t all;
	size_t room = strlen(program_invocation_name) + 1;

	/* A terminal's or a supervisor's signals go to the group; ours is to end last. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, WARDEN_NAME);
	memset(program_invocation_name, 0, room);
	snprintf(program_invocation_name, room, "%s", WARDEN_NAME);
	if (let_go(fp, sock)) {
		log_line(LOG_ERROR, "warden", "cannot read /proc/self/fd: is /proc mounted?");
		_exit(1);
	}
	if (keep_few_capabilities()) {
		log_line(LOG_ERROR, "warden", "cannot drop capabilities");
		_exit(1);
	}
	guard(fp, sock);
	_exit(0);
}

/* --- the daemon --- */

int warden_start(struct fastpath *fp, struct warden **ret)
{
	struct warden *warden = alloc_zero(1, sizeof(*warden));
	int pair[2], err;

	if (!warden)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		err = -errno;
		goto err_free;
	}
	warden->pid = fork();
	if (warden->pid < 0) {
		err = -errno;
		goto err_close;
	}
	if (warden->pid == 0) {
		close(pair[0]);
		child(fp, pair[1]);
	}
	close(pair[1]);
	warden->fd = pair[0];
	pthread_mutex_init(&warden->lock, NULL);
	*ret = warden;
	return 0;

err_close:
	close(pair[0]);
	close(pair[1]);
err_free:
	alloc_free(warden);
	log_line(LOG_ERROR, "warden", "cannot start it: %s", strerror(-err));
	return err;
}

static void sleep_ms(uint32_t ms)
{
	const struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&pause, NULL);
}

/* False: it still runs. */
static bool await_end(pid_t pid, uint32_t ms)
{
	for (uint32_t waited = 0; waited < ms; waited += STOP_STEP_MS) {
		pid_t ended = waitpid(pid, NULL, WNOHANG);

		if (ended == pid || (ended < 0 && errno != EINTR))
			return true;
		sleep_ms(STOP_STEP_MS);
	}
	return false;
}

void warden_stop(struct warden *warden)
{
	if (!warden)
		return;
	close(warden->fd);
	if (!await_end(warden->pid, STOP_MS)) {
		log_line(LOG_WARN, "warden", "pid %d does not end by itself", warden->pid);
		if (kill(warden->pid, SIGKILL) || !await_end(warden->pid, STOP_MS))
			log_line(LOG_ERROR, "warden",
				 "pid %d hangs and is left behind; it ends when it goes on",
				 warden->pid);
	}
	pthread_mutex_destroy(&warden->lock);
	alloc_free(warden);
}

/* Waits so long for an answer. *ret_fd: the descriptor that came along, or -1. */
static int receive(struct warden *warden, int timeout_ms, struct reply *ret, int *ret_fd)
{
	struct pollfd ready = { .fd = warden->fd, .events = POLLIN };
	int cnt;

	*ret_fd = -1;
	do {
		cnt = poll(&ready, 1, timeout_ms);
	} while (cnt < 0 && errno == EINTR); /* signals come as a descriptor: this is rare */
	if (cnt == 0)
		return -ETIMEDOUT;
	return sock_receive_message(warden->fd, ret, sizeof(*ret), ret_fd) ? -EPIPE : 0;
}

/* Takes the answer that was given up on, so that it is not mistaken for another request's. */
static int catch_up(struct warden *warden)
{
	struct reply late;
	int fd = -1, err = warden->is_behind ? receive(warden, 0, &late, &fd) : 0;

	if (fd >= 0)
		close(fd);
	if (err == -ETIMEDOUT)
		return err;
	if (warden->is_behind && !err)
		log_line(LOG_INFO, "warden", "answers again");
	warden->is_behind = false;
	return err;
}

static int ask_locked(struct warden *warden, const struct request *request, struct reply *ret,
		      int *ret_fd)
{
	int timeout_ms = request->operation == OP_EXTENT ? EXTENT_MS : ANSWER_MS;
	int err = catch_up(warden);

	*ret_fd = -1;
	if (err)
		return err;
	if (send(warden->fd, request, sizeof(*request), MSG_NOSIGNAL) != sizeof(*request))
		return -EPIPE;
	err = receive(warden, timeout_ms, ret, ret_fd);
	if (err == -ETIMEDOUT) {
		warden->is_behind = true;
		log_line(LOG_ERROR, "warden",
			 "pid %d has not answered for %d ms: it hangs; interfaces are attached to "
			 "when it goes on",
			 warden->pid, timeout_ms);
	}
	return err ? err : ret->err;
}

static int ask(struct warden *warden, const struct request *request, struct reply *ret, int *ret_fd)
{
	int fd, err;

	pthread_mutex_lock(&warden->lock);
	err = ask_locked(warden, request, ret, &fd);
	pthread_mutex_unlock(&warden->lock);
	if (ret_fd)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	return err;
}

bool warden_is_behind(const struct warden *warden)
{
	return warden && warden->is_behind;
}

int warden_attach(struct warden *warden, const char *ifname, struct fastpath_interface *ret)
{
	struct request request = { .operation = OP_ATTACH };
	struct reply reply = { 0 };
	int err;

	snprintf(request.ifname, sizeof(request.ifname), "%s", ifname);
	err = ask(warden, &request, &reply, NULL);
	if (err != -EPIPE && err != -ETIMEDOUT)
		*ret = reply.interface;
	return err;
}

int warden_detach(struct warden *warden, const char *ifname)
{
	struct request request = { .operation = OP_DETACH };
	struct reply reply;

	snprintf(request.ifname, sizeof(request.ifname), "%s", ifname);
	return ask(warden, &request, &reply, NULL);
}

int warden_extent(struct warden *warden, uint32_t number, int *ret_fd)
{
	const struct request request = { .operation = OP_EXTENT, .extent = number };
	struct reply reply;
	int fd = -1, err = ask(warden, &request, &reply, &fd);

	if (!err && fd < 0)
		err = -EPIPE;
	if (!err)
		*ret_fd = fd;
	return err;
}

int warden_grow_log(struct warden *warden, struct fastpath *fp)
{
	uint32_t number = (uint32_t)(fp->maps.ready_bytes / XC_EXTENT_SIZE);
	int fd, err;

	if (fp->maps.ready_bytes + XC_EXTENT_SIZE > fp->maps.log_bytes)
		return -ENOMEM;
	err = warden_extent(warden, number, &fd);
	if (err)
		return err;
	err = extent_map(&fp->maps, number, fd);
	close(fd); /* the array of maps and the mapping keep it */
	if (!err)
		fp->maps.ready_bytes += XC_EXTENT_SIZE;
	return err;
}

static bool attach_again(struct warden *warden, struct fastpath_interface *iface)
{
	int err = warden_attach(warden, iface->name, iface);

	if (err == -ETIMEDOUT)
		iface->ifindex = 0; /* not attached to, as far as we know: tried again */
	else if (err == -EPIPE)
		log_line(LOG_ERROR, "warden",
			 "%s was made anew and the warden is gone: restart to attach to it",
			 iface->name);
	else if (err)
		log_line(LOG_WARN, "warden", "%s was made anew: off: %s", iface->name,
			 iface->reason);
	return err == 0;
}

int warden_refresh(struct warden *warden, struct fastpath *fp)
{
	struct fastpath_interface all[FASTPATH_INTERFACE_MAX];
	int cnt = fastpath_interfaces(fp, all, FASTPATH_INTERFACE_MAX), attached = 0, err;
	bool changed = false;

	pthread_mutex_lock(&warden->lock);
	err = catch_up(warden);
	pthread_mutex_unlock(&warden->lock);
	if (err == -ETIMEDOUT)
		return 0;
	for (int i = 0; i < cnt; i++) {
		struct fastpath_interface *iface = &all[i];
		uint32_t ifindex = if_nametoindex(iface->name);

		if (ifindex == iface->ifindex) /* the one that we attached to */
			continue;
		changed = true;
		iface->ifindex = ifindex;
		iface->mode = XDP_MODE_OFF;
		iface->prog_id = 0;
		iface->tc = false;
		if (ifindex == 0) {
			snprintf(iface->reason, sizeof(iface->reason), "the interface is gone");
			log_line(LOG_WARN, "warden",
				 "%s is gone; it is attached to when it is back", iface->name);
			continue;
		}
		attached += attach_again(warden, iface);
	}
	if (changed)
		attach_set_interfaces(fp, all);
	return attached;
}
