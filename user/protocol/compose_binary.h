/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compose_binary - replies of memcached's binary protocol.
 *
 * Does      writes a header, its extras and key in front of each value, number or error text.
 * Rule      a quiet request keeps successes silent, and a retrieval's misses; never a hit, and
 *           never another error.
 * Source    memcached doc/protocol-binary.txt; texts and codes of memcached 1.6.18.
 */
#ifndef XC_PROTOCOL_COMPOSE_BINARY_H
#define XC_PROTOCOL_COMPOSE_BINARY_H

#include "protocol/compose.h"

extern const struct compose compose_binary;

#endif
