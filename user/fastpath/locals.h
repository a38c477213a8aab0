/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * locals - keeps xc_local in step with the host's interfaces and addresses.
 *
 * Does      writes one element for each address that the fast path may answer at: those of the
 *           served interfaces and of VLAN devices above them, all or only the ones listened on.
 * Shape     struct xc_local_key -> struct xc_local (abi/conf.h).
 * Errors    negative errno.
 * Owner     sole writer of xc_local.
 * Threads   main.
 * Source    rtnetlink(7).
 */
#ifndef XC_FASTPATH_LOCALS_H
#define XC_FASTPATH_LOCALS_H

#include <stdint.h>

#include "fastpath/loader.h"

#define LOCALS_ONLY_MAX 64

struct locals;

/* only: listened-on addresses (IPv4 mapped); none: all of the interfaces' own. Copied. */
int locals_open(const struct fastpath *fp, const uint8_t (*only)[16], uint32_t only_cnt,
		struct locals **ret);
void locals_close(struct locals *locals); /* NULL-safe; the map stays */
/* Readable when something changed; then call locals_drain. */
int locals_fd(const struct locals *locals);
/* Takes the notifications and writes the map anew if there were any. */
int locals_drain(struct locals *locals);
/* Writes the map anew: also when other interfaces are attached to than before. */
int locals_sync(struct locals *locals);

#endif
