/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * udp - memcached's UDP protocol.
 *
 * Does      takes datagrams in batches, answers each request with one message of one or more
 *           datagrams, and answers nobody who is not in the allowlist.
 * Shape     a reply that fits the path's MTU is one datagram, byte for byte what the kernel program
 *           sends; a longer one is split into datagrams of UDP_SPLIT_MAX.
 *           A request that waits for an answer from elsewhere (command.h) is copied and gone on
 *           with when that has come; others overtake it. It is dropped when the worker stops.
 * Errors    what cannot be answered is dropped and counted by reason (command_counts.udp_*).
 * Owner     buffers for one batch in and one batch out, a worker's own.
 * Threads   its worker's.
 * Source    memcached doc/protocol.txt, "UDP protocol".
 */
#ifndef XC_NET_UDP_H
#define XC_NET_UDP_H

#include "net/worker.h"

int udp_new(struct udp_io **ret);
/* Goes on with requests whose answers have come from elsewhere. End of turn. */
void udp_resume(struct worker *w);
void udp_free(struct udp_io *io); /* NULL-safe */
void udp_ready(struct loop_source *source, uint32_t events);

#endif
