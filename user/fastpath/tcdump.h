/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tcdump - how many filters a clsact qdisc carries.
 *
 * Does      asks rtnetlink for the filters at ingress and egress, so that a qdisc others use is not
 *           removed.
 * Errors    counts 1 when it cannot tell: the qdisc then stays.
 * Threads   any.
 */
#ifndef XC_FASTPATH_TCDUMP_H
#define XC_FASTPATH_TCDUMP_H

#include <stdint.h>

uint32_t tcdump_filter_cnt(uint32_t ifindex);

#endif
