/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rtnl - questions to rtnetlink.
 *
 * Does      runs one request, a dump or not, and hands each answer to a function.
 * Errors    negative errno.
 * Threads   any; each call opens its own socket.
 * Source    rtnetlink(7); libmnl does the framing.
 */
#ifndef XC_FASTPATH_RTNL_H
#define XC_FASTPATH_RTNL_H

#include <libmnl/libmnl.h>
#include <stdint.h>

/*
 * type: RTM_GETLINK and the like; body, body_len: the fixed header of that request, attributes
 * behind it.
 */
int rtnl_dump(uint16_t type, const void *body, size_t body_len, mnl_cb_t each, void *ctx);
/* About one object instead of all. */
int rtnl_ask(uint16_t type, const void *body, size_t body_len, mnl_cb_t each, void *ctx);
/* The same on another netlink family: NETLINK_NETFILTER. */
int rtnl_dump_from(int bus, uint16_t type, const void *body, size_t body_len, mnl_cb_t each,
		   void *ctx);

#endif
