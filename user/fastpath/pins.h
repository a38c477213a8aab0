/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pins - the instance's place in the BPF file system, and the lock on it.
 *
 * Does      builds paths, makes directories, mounts bpffs where it is missing, takes the owner's
 *           lock, removes what is pinned.
 * Shape     <pin_root>/<instance>/v1/<map>, …/v1/if/<interface>/{xdp,clsact-<ifindex>}; the
 *           lock is a file under /run/xdpcache that holds its owner's pid.
 * Lock      of the open file (F_OFD_SETLK): it ends with the process, and who only asks for the
 *           owner takes none, not even for a moment: asking never makes a daemon's start fail.
 * Errors    negative errno after one log line. pins_lock: -EBUSY when another process owns it.
 * Threads   main.
 */
#ifndef XC_FASTPATH_PINS_H
#define XC_FASTPATH_PINS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#define PINS_ROOT_DEFAULT "/sys/fs/bpf/xdpcache"
#define PINS_RUN_DIR "/run/xdpcache"

struct pins {
	char dir[PATH_MAX / 2];	  /* …/v1 */
	char lock[PATH_MAX / 2];  /* lock file */
	char state[PATH_MAX / 2]; /* beside it: what a stop leaves for the next start */
	char hot[PATH_MAX / 2];	  /* beside it, too: what operators had saved; unload leaves it */
};

/* Only builds the paths. NULL: the default. */
int pins_init(struct pins *pins, const char *pin_root, const char *instance);
/* …/v1/<a> or …/v1/<a>/<b>/<c>; b and c may be NULL. */
void pins_path(const struct pins *pins, char ret_path[PATH_MAX], const char *a, const char *b,
	       const char *c);
/* Makes the instance's directory, 0750, and mounts bpffs first if nobody has. */
int pins_make(const struct pins *pins);
int pins_make_dir(const char *path);
/*
 * …/v1/if/<interface>[/<leaf>] (leaf may be NULL). bpffs takes no dots and interfaces no colons,
 * so eth0.5 is written eth0:5.
 */
void pins_interface_path(const struct pins *pins, char ret_path[PATH_MAX], const char *ifname,
			 const char *leaf);
int pins_make_interface(const struct pins *pins, const char *ifname);
/* Nothing is pinned, for sure: without the privilege to look it is false, too. */
bool pins_gone(const struct pins *pins);

/* *ret_owner (may be NULL) is the pid that holds it. Returns the lock's descriptor. */
int pins_lock(const struct pins *pins, pid_t *ret_owner);
/* Closes the lock (-1: nothing to do); forget removes its file, too. */
void pins_unlock(const struct pins *pins, int fd, bool forget);
/* The pid of the owner; 0: nobody. */
pid_t pins_owner(const struct pins *pins);

/* Removes every pin and directory of the instance, not its lock. Nothing there: 0. */
int pins_remove(const struct pins *pins);

#endif
