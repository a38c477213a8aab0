/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cidr - address prefixes.
 *
 * Does      parses "10.0.0.0/8", "fe80::/10" or a single address; tells whether an address lies
 *           inside.
 * Shape     all addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d, so that one prefix length in bits
 *           (0 to 128) serves both. A prefix shorter than 96 is IPv6's and holds no IPv4.
 * Errors    -EINVAL: not a prefix, or bits set behind it.
 * Threads   pure functions.
 */
#ifndef XC_BASE_CIDR_H
#define XC_BASE_CIDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct cidr {
	uint8_t addr[16];
	uint8_t prefix_len; /* bits of addr, mapped IPv4 counts from 96 */
};

int cidr_parse(const char *text, struct cidr *ret);
bool cidr_contains(const struct cidr *cidr, const uint8_t addr[16]);
/* The address of an AF_INET or AF_INET6 socket address; false for another family. */
bool cidr_addr_of(const struct sockaddr *sa, uint8_t ret_addr[16]);
/* 127.0.0.0/8 or ::1: the kernel lets nobody outside send from there. */
bool cidr_is_loopback(const uint8_t addr[16]);
/* What cidr_is_loopback tells, as texts for cidr_parse: who is allowed when nobody was named. */
#define CIDR_LOOPBACK_CNT 2
extern const char *const cidr_loopback[CIDR_LOOPBACK_CNT];
/* Maps four bytes of IPv4. */
void cidr_map_v4(const void *addr4, uint8_t ret_addr[16]);

#endif
