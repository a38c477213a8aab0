/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ends of an instance: unloaded for good, or retired because a daemon without a fast path takes
 * its place.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fastpath/grace.h"
#include "fastpath/impl.h"

/* When there is no way to ask for a grace period: a packet's run takes microseconds. */
#define RUN_MAX_MS 100
/* How long a daemon that was unloaded by force may take to notice. */
#define FORCED_WAIT_MS 2000
#define POLL_MS 10

static void sleep_ns(uint64_t ns)
{
	struct timespec left = { .tv_sec = (time_t)(ns / NSEC_PER_SEC),
				 .tv_nsec = (long)(ns % NSEC_PER_SEC) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static int open_pin(const struct pins *pins, const char *map, uint32_t flags)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = flags);
	char path[PATH_MAX];
	int fd;

	pins_path(pins, path, map, NULL, NULL);
	fd = bpf_obj_get_opts(path, &opts);
	return fd < 0 ? -errno : fd;
}

/*
 * From the return on no packet is answered. A daemon that lives (unload by force) sees the epoch
 * and stops renewing.
 */
static int end_lease(int conf_fd)
{
	struct xc_conf *conf = loader_map(conf_fd, sizeof(*conf));

	if (!conf)
		return -errno;
	/* What no daemon adopts, and the program passes; before the epoch: see lease_renew. */
	__atomic_store_n(&conf->magic, 0, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&conf->owner_epoch, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&conf->serve_until_ns, 0, __ATOMIC_SEQ_CST);
	loader_unmap(conf, sizeof(*conf));
	return 0;
}

/* The id, by which our programs are known; 0: there are no maps. */
static uint32_t end_any_lease(const struct pins *pins)
{
	int fd = open_pin(pins, XC_MAP_CONF, 0);
	uint32_t id;

	if (fd < 0)
		return 0;
	end_lease(fd);
	id = map_id_of(fd);
	close(fd);
	return id;
}

/* The lock's file of a daemon that was unloaded by force goes once the daemon has let go of it. */
static void forget_lock(const struct pins *pins)
{
	for (int waited_ms = 0; waited_ms < FORCED_WAIT_MS; waited_ms += POLL_MS) {
		int fd = pins_lock(pins, NULL);

		if (fd != -EBUSY) {
			pins_unlock(pins, fd, pins_gone(pins));
			return;
		}
		sleep_ns(POLL_MS * NSEC_PER_MSEC);
	}
}

int fastpath_unload(const char *pin_root, const char *instance, bool force)
{
	struct pins pins;
	pid_t owner = 0;
	int lock_fd, err;

	libbpf_set_print(loader_log_libbpf);
	err = pins_init(&pins, pin_root, instance);
	if (err)
		return err;
	lock_fd = pins_lock(&pins, &owner);
	if (lock_fd == -EBUSY && !force) {
		log_line(LOG_ERROR, "fastpath",
			 "daemon %d is using %s; stop it first, or add --force", owner, pins.dir);
		return -EBUSY;
	}
	if (lock_fd < 0 && lock_fd != -EBUSY) {
		log_line(LOG_ERROR, "fastpath", "cannot lock %s: %s; run it as root", pins.lock,
			 strerror(-lock_fd));
		return lock_fd;
	}
	err = attach_remove_all(&pins, end_any_lease(&pins));
	if (!err)
		err = pins_remove(&pins);
	pins_unlock(&pins, lock_fd, err == 0);
	if (lock_fd == -EBUSY && !err)
		forget_lock(&pins);
	return err;
}

/* --- a daemon without a fast path --- */

/* Every program that saw the lease has ended on return. */
static void wait_grace(const struct pins *pins)
{
	int seg_fd = open_pin(pins, XC_MAP_SEG, 0);

	if (grace_open(seg_fd) == 0)
		grace_wait();
	else
		sleep_ns(RUN_MAX_MS * NSEC_PER_MSEC);
	if (seg_fd >= 0)
		close(seg_fd);
}

/* The caller has the instance's lock. */
static int void_instance(const struct pins *pins)
{
	struct xc_conf conf = { 0 };
	uint32_t zero = 0;
	int fd = open_pin(pins, XC_MAP_CONF, 0);
	int err = 0;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (bpf_map_lookup_elem(fd, &zero, &conf))
		err = -errno;
	else if (conf.magic == XC_ABI_MAGIC)
		err = end_lease(fd);
	if (!err && conf.magic == XC_ABI_MAGIC) {
		wait_grace(pins);
		log_line(LOG_INFO, "fastpath",
			 "%s: an earlier daemon's lease and contents are void now: this one serves "
			 "without them",
			 pins->dir);
	}
	close(fd);
	return err;
}

/* What is left of the lease, as far as can be known. */
static uint64_t lease_left_ns(const struct pins *pins, uint32_t lease_ms)
{
	uint64_t now_ns = clock_now_ns(clock_system());
	struct xc_conf conf = { 0 };
	uint32_t zero = 0;
	int fd = open_pin(pins, XC_MAP_CONF, BPF_F_RDONLY);
	bool known = fd >= 0 && bpf_map_lookup_elem(fd, &zero, &conf) == 0;

	if (fd >= 0)
		close(fd);
	if (fd == -ENOENT)
		return 0;
	if (!known)
		return lease_ms * NSEC_PER_MSEC;
	/* The program's clock is never behind this one (abi/conf.h). */
	return conf.serve_until_ns > now_ns ? conf.serve_until_ns - now_ns : 0;
}

int fastpath_retire(const char *pin_root, const char *instance, uint32_t lease_ms)
{
	struct pins pins;
	uint64_t left_ns;
	int lock_fd, err;

	libbpf_set_print(loader_log_libbpf);
	err = pins_init(&pins, pin_root, instance);
	if (err || pins_gone(&pins) || pins_owner(&pins))
		return err;
	lock_fd = pins_lock(&pins, NULL);
	if (lock_fd == -EBUSY) /* a daemon started meanwhile */
		return 0;
	err = lock_fd < 0 ? lock_fd : void_instance(&pins);
	pins_unlock(&pins, lock_fd, pins_gone(&pins));
	/* The lock's file stays as long as the pins: without it nothing was left behind. */
	if (!err || (lock_fd < 0 && access(pins.lock, F_OK)))
		return 0;
	left_ns = lease_left_ns(&pins, lease_ms);
	if (left_ns == 0)
		return 0;
	log_line(LOG_WARN, "fastpath",
		 "cannot revoke an earlier daemon's lease in %s: %s; waiting %llu ms until the "
		 "kernel answers nothing; as root, \"xdpcache unload\" ends it for good",
		 pins.dir, strerror(-err), (unsigned long long)(left_ns / NSEC_PER_MSEC));
	sleep_ns(left_ns);
	return 0;
}
