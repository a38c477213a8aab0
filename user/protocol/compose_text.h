/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compose_text - replies of memcached's text protocol.
 *
 * Does      writes each reply byte for byte as memcached 1.6.18 does.
 * Source    memcached doc/protocol.txt; the texts of errors were taken from a running 1.6.18
 *           (tests/protocol/ compares them again).
 */
#ifndef XC_PROTOCOL_COMPOSE_TEXT_H
#define XC_PROTOCOL_COMPOSE_TEXT_H

#include "protocol/compose.h"

extern const struct compose compose_text;

/* The words of a status, without the line end. */
const char *compose_text_status(enum request_status status);

#endif
