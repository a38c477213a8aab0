/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * warden - the one process that keeps privileges after the daemon gave up its own.
 *
 * Does      a child process attaches the program again when an interface was made anew (a driver
 *           reload, a re-created veth), detaches it, and makes extents of the log.
 * Shape     fixed-size requests and replies over a socket pair; an extent comes as a descriptor.
 *           The daemon stays the parent, so that signals, pid files and supervisors meet the
 *           process that serves; the child ends when the daemon does, however it ends.
 * Errors    negative errno of what was asked; -EPIPE: the warden is gone; -ETIMEDOUT: it
 *           has not answered for seconds. After that nothing waits for it again until it does.
 * Owner     the child touches only the interfaces of the options, whatever it is asked.
 * Threads   main; warden_extent and warden_grow_log: the one that grows the log. warden_start
 *           before any other thread exists: it forks.
 * Source    docs/decisions/0006.
 */
#ifndef XC_FASTPATH_WARDEN_H
#define XC_FASTPATH_WARDEN_H

#include <stdbool.h>
#include <stdint.h>

#include "fastpath/loader.h"

struct warden;

int warden_start(struct fastpath *fp, struct warden **ret);
void warden_stop(struct warden *warden); /* waits for the child, not for ever; NULL-safe */
/* A request ran out of time: call warden_refresh now and then. NULL-safe. */
bool warden_is_behind(const struct warden *warden);

/*
 * Looks at every interface of the options and attaches where one was made anew. Call when
 * rtnetlink speaks of links. Returns how many were attached.
 */
int warden_refresh(struct warden *warden, struct fastpath *fp);
/* One interface of the options; *ret is what became of it, also on failure. */
int warden_attach(struct warden *warden, const char *ifname, struct fastpath_interface *ret);
int warden_detach(struct warden *warden, const char *ifname);
/* An extent of the log, made if it is the one after the last; *ret_fd is to be closed. Nobody waits
 * long for it: -ETIMEDOUT comes earlier than for the others. */
int warden_extent(struct warden *warden, uint32_t number, int *ret_fd);
/* The log one extent longer, and mapped. -ENOMEM: no addresses are left, or no memory. */
int warden_grow_log(struct warden *warden, struct fastpath *fp);

#endif
