/* SPDX-License-Identifier: BSD-2-Clause */
#include "process.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"

/* Descriptors beside connections: listeners, loops, maps, control clients. */
#define FILES_BESIDE 256

int process_daemonize(void)
{
	if (daemon(0, log_get_level() >= LOG_DEBUG)) {
		log_line(LOG_ERROR, "process", "cannot go to the background: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

int process_write_pid(const char *path)
{
	FILE *file;
	int err = 0;

	if (!path)
		return 0;
	file = fopen(path, "we");
	if (!file || fprintf(file, "%d\n", getpid()) < 0)
		err = errno ? -errno : -EIO;
	if (file && fclose(file) && !err)
		err = -errno;
	if (err)
		log_line(LOG_ERROR, "process", "cannot write the pid file %s: %s", path,
			 strerror(-err));
	return err;
}

void process_remove_pid(const char *path)
{
	FILE *file = path ? fopen(path, "re") : NULL;
	int pid = 0;

	if (!file)
		return;
	if (fscanf(file, "%d", &pid) == 1 && pid == getpid())
		unlink(path);
	fclose(file);
}

void process_raise_files(uint32_t conn_max)
{
	rlim_t wanted = (rlim_t)conn_max + FILES_BESIDE;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted;
	if (limit.rlim_max < wanted)
		limit.rlim_max = wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int process_check_user(const char *user)
{
	if (!user || geteuid() != 0 || getpwnam(user))
		return 0;
	log_line(LOG_ERROR, "process", "no user \"%s\"; create it or change -u", user);
	return -ENOENT;
}

static int become(const char *user)
{
	const struct passwd *pw = getpwnam(user);

	if (!pw) {
		process_check_user(user); /* says so */
		return -ENOENT;
	}
	if (getuid() == pw->pw_uid)
		return 0;
	if (initgroups(pw->pw_name, pw->pw_gid) || setgid(pw->pw_gid) || setuid(pw->pw_uid)) {
		log_line(LOG_ERROR, "process", "cannot become user \"%s\": %s", user,
			 strerror(errno));
		return -errno;
	}
	return 0;
}

int process_drop_privileges(const char *user)
{
	bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	int err = 0;

	capng_clear(CAPNG_SELECT_BOTH);
	/* Without CAP_SETPCAP it cannot; no_new_privs then makes the bounding set mean nothing. */
	if (may_bound && capng_apply(CAPNG_SELECT_BOUNDS)) {
		log_line(LOG_ERROR, "process", "cannot drop the capability bounding set");
		return -EPERM;
	}
	/* As memcached: -u means something only to root. */
	if (user && geteuid() == 0)
		err = become(user);
	if (err)
		return err;
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
		log_line(LOG_ERROR, "process", "cannot drop capabilities");
		return -EPERM;
	}
	return 0;
}

int process_defer_reload(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	return sigprocmask(SIG_BLOCK, &set, NULL) ? -errno : 0;
}

int process_signal_fd(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}
