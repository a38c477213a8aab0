/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

void cidr_map_v4(const void *addr4, uint8_t ret_addr[16])
{
	memset(ret_addr, 0, 10);
	memset(ret_addr + 10, 0xff, 2);
	memcpy(ret_addr + 12, addr4, 4);
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, uint32_t bits)
{
	uint32_t bytes = bits / 8, rest = bits % 8;
	uint8_t mask = (uint8_t)(0xff00 >> rest);

	return memcmp(a, b, bytes) == 0 && (rest == 0 || ((a[bytes] ^ b[bytes]) & mask) == 0);
}

/* No bit is set behind the prefix: "10.1.2.3/8" is more likely a mistake than a wish. */
static bool is_clean(const struct cidr *cidr)
{
	for (uint32_t bit = cidr->prefix_len; bit < 128; bit++) {
		if (cidr->addr[bit / 8] & (0x80 >> (bit % 8)))
			return false;
	}
	return true;
}

int cidr_parse(const char *text, struct cidr *ret)
{
	const char *slash = strchr(text, '/');
	size_t host_len = slash ? (size_t)(slash - text) : strlen(text);
	char host[INET6_ADDRSTRLEN];
	struct cidr cidr;
	uint8_t addr4[4];
	unsigned long len, len_max = 128, base = 0;
	char *end;

	if (host_len == 0 || host_len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, host_len);
	host[host_len] = '\0';
	if (inet_pton(AF_INET, host, addr4) == 1) {
		cidr_map_v4(addr4, cidr.addr);
		len_max = 32;
		base = 96;
	} else if (inet_pton(AF_INET6, host, cidr.addr) != 1) {
		return -EINVAL;
	}
	len = len_max;
	if (slash) {
		if (slash[1] < '0' || slash[1] > '9')
			return -EINVAL;
		len = strtoul(slash + 1, &end, 10);
		if (*end != '\0' || len > len_max)
			return -EINVAL;
	}
	cidr.prefix_len = (uint8_t)(base + len);
	if (!is_clean(&cidr))
		return -EINVAL;
	*ret = cidr;
	return 0;
}

bool cidr_contains(const struct cidr *cidr, const uint8_t addr[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	/* ::/0 means IPv6; the mapped form of IPv4 is ours, not the wire's. */
	if (cidr->prefix_len < 96 && memcmp(addr, mapped, sizeof(mapped)) == 0)
		return false;
	return bits_equal(cidr->addr, addr, cidr->prefix_len);
}

const char *const cidr_loopback[CIDR_LOOPBACK_CNT] = { "127.0.0.0/8", "::1" };

bool cidr_is_loopback(const uint8_t addr[16])
{
	static const struct cidr v4 = { .addr = { [10] = 0xff, 0xff, 127 }, .prefix_len = 96 + 8 };
	static const struct cidr v6 = { .addr = { [15] = 1 }, .prefix_len = 128 };

	return cidr_contains(&v4, addr) || cidr_contains(&v6, addr);
}

bool cidr_addr_of(const struct sockaddr *sa, uint8_t ret_addr[16])
{
	if (sa->sa_family == AF_INET) {
		cidr_map_v4(&((const struct sockaddr_in *)sa)->sin_addr, ret_addr);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		memcpy(ret_addr, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
		return true;
	}
	return false;
}
