/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * -l, with memcached's meaning: an address or host name, an address with a port, an IPv6 address
 * bare or in brackets,
 * '*' for every address. Before it "notls:" leaves one listener without TLS; it stays in the
 * canonical form, which tells such a listener from the same address under TLS.
 */
#include "config_table.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_MAX 256

static const char no_tls[] = "notls:";

static bool port_valid(const char *text)
{
	char *end;
	long port = strtol(text, &end, 10);

	return isdigit((unsigned char)*text) && !*end && port >= 1 && port <= 65535;
}

static bool host_valid(const char *host)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

	return *host && strspn(host, letters) == strlen(host);
}

/* fe80::1%eth0 names its interface behind a '%'. */
static bool is_ip6(const char *host)
{
	struct in6_addr addr;
	char bare[HOST_MAX];

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(host, "%"), host);
	return inet_pton(AF_INET6, bare, &addr) == 1;
}

static bool is_ip4(const char *host)
{
	struct in_addr addr;

	return inet_pton(AF_INET, host, &addr) == 1;
}

/* Splits "host", "host:port", "v6", "[v6]" and "[v6]:port". */
static bool split(const char *text, char host[HOST_MAX], const char **ret_port)
{
	const char *colon = strchr(text, ':');
	const char *bracket;
	size_t len;

	*ret_port = NULL;
	if (text[0] == '[') {
		bracket = strchr(text, ']');
		if (!bracket || (bracket[1] && bracket[1] != ':'))
			return false;
		text++;
		len = (size_t)(bracket - text);
		*ret_port = bracket[1] ? bracket + 2 : NULL;
	} else if (colon && !strchr(colon + 1, ':')) {
		len = (size_t)(colon - text);
		*ret_port = colon + 1;
	} else {
		len = strlen(text);
	}
	if (len >= HOST_MAX)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	return true;
}

bool config_listen_parse(const char *text, char *ret, size_t ret_size, char why[CONFIG_WHY_MAX])
{
	bool plain = !strncmp(text, no_tls, sizeof(no_tls) - 1);
	char host[HOST_MAX];
	const char *port;
	bool ip6;

	if (plain)
		text += sizeof(no_tls) - 1;
	if (!split(text, host, &port)) {
		snprintf(why, CONFIG_WHY_MAX,
			 "not an address; write 192.0.2.1, 192.0.2.1:11211 or [2001:db8::1]:11211");
		return false;
	}
	if (port && !port_valid(port)) {
		snprintf(why, CONFIG_WHY_MAX, "the port is not a number from 1 to 65535");
		return false;
	}
	ip6 = is_ip6(host);
	if (text[0] == '[' && !ip6) {
		snprintf(why, CONFIG_WHY_MAX, "what is in brackets is not an IPv6 address");
		return false;
	}
	if (!ip6 && !is_ip4(host) && strcmp(host, "*")) {
		if (host_valid(host) && if_nametoindex(host) != 0) {
			snprintf(why, CONFIG_WHY_MAX,
				 "names an interface; write one of its addresses here, or "
				 "--interface %.20s for the fast path",
				 host);
			return false;
		}
		if (!host_valid(host)) {
			snprintf(why, CONFIG_WHY_MAX, "neither an address nor a host name");
			return false;
		}
	}
	snprintf(ret, ret_size, ip6 ? "%s[%s]%s%s" : "%s%s%s%s", plain ? no_tls : "", host,
		 port ? ":" : "", port ? port : "");
	return true;
}
