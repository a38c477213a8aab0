/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listener - takes new connections.
 *
 * Does      accepts what a listening socket has, up to a bound a turn; refuses, with memcached's
 *           words, what is over the limit (-c).
 * Errors    out of descriptors: refuses the same way with the descriptor kept for this, counted.
 * Threads   its worker's.
 */
#ifndef XC_NET_LISTENER_H
#define XC_NET_LISTENER_H

#include "net/worker.h"

void listener_ready(struct loop_source *source, uint32_t events);
/* For a worker that stops: all who wait by now. */
void listener_drain(struct worker_socket *socket);

#endif
