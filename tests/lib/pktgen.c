/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/pktgen.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct pktgen_host pktgen_client = {
	.mac = { 0x02, 0xc1, 0x1e, 0x4e, 0x70, 0x01 },
	.ip4 = { 192, 0, 2, 17 },
	.ip6 = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xc1, 0x1e, 0x47, 0x01 },
};

const struct pktgen_host pktgen_server = {
	.mac = { 0x02, 0x5e, 0x43, 0xe4, 0x90, 0x02 },
	.ip4 = { 192, 0, 2, 200 },
	.ip6 = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x5e, 0x43, 0xe4, 0x02 },
};

const struct pktgen_host pktgen_stranger = {
	.mac = { 0x02, 0xba, 0xdb, 0xad, 0xba, 0x03 },
	.ip4 = { 198, 51, 100, 66 },
	.ip6 = { 0x20, 0x01, 0x0d, 0xb8, 0xba, 0xdb, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66 },
};

/* What the IP and UDP layers of one frame say. */
struct layers {
	const uint8_t *mac_from, *mac_to;
	const uint8_t *ip_from, *ip_to;
	const uint16_t *tags;
	bool ip6;
	uint16_t ether_type;
	uint8_t ip_first, next, ttl;
	uint8_t ip4_options;
	uint16_t ip4_id, ip4_fragment;
	uint32_t flow; /* IPv6 class and flow label */
	int ip_len_add, udp_len_add;
	uint16_t from_port, to_port;
	struct span payload;
};

static void put(struct pktgen_packet *p, const void *bytes, size_t len)
{
	assert(p->len + len <= sizeof(p->bytes));
	memcpy(p->bytes + p->len, bytes, len);
	p->len += len;
}

static void put8(struct pktgen_packet *p, uint8_t x)
{
	put(p, &x, 1);
}

static void put16(struct pktgen_packet *p, uint16_t x)
{
	put8(p, x >> 8);
	put8(p, x & 0xff);
}

static void put32(struct pktgen_packet *p, uint32_t x)
{
	put16(p, x >> 16);
	put16(p, x & 0xffff);
}

/* Big-endian words added one by one, as the RFC's own text does it. */
static uint32_t sum_be(const uint8_t *bytes, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

uint16_t pktgen_sum(const void *bytes, size_t len)
{
	return ntohs(sum_be(bytes, len, 0));
}

static void put_ether(struct pktgen_packet *p, const struct layers *l)
{
	put(p, l->mac_to, 6);
	put(p, l->mac_from, 6);
	for (int i = 0; i < PKTGEN_TAG_MAX && l->tags[i]; i++) {
		put16(p, l->tags[i]);
		put16(p, 0x2000 + 100 + i); /* priority 1, VLAN 100 and up */
	}
	put16(p, l->ether_type);
}

static void put_ip4(struct pktgen_packet *p, const struct layers *l, uint16_t udp_len)
{
	uint32_t start = p->len;
	uint16_t sum;

	put8(p, l->ip_first);
	put8(p, 0);
	put16(p, 20 + l->ip4_options + udp_len + l->ip_len_add);
	put16(p, l->ip4_id);
	put16(p, l->ip4_fragment);
	put8(p, l->ttl);
	put8(p, l->next);
	put16(p, 0);
	put(p, l->ip_from, 4);
	put(p, l->ip_to, 4);
	for (int i = 0; i < l->ip4_options; i++)
		put8(p, 1); /* no operation */
	sum = ~sum_be(p->bytes + start, p->len - start, 0);
	p->bytes[start + 10] = sum >> 8;
	p->bytes[start + 11] = sum & 0xff;
}

static void put_ip6(struct pktgen_packet *p, const struct layers *l, uint16_t udp_len)
{
	put32(p, (uint32_t)l->ip_first << 24 | l->flow);
	put16(p, udp_len + l->ip_len_add);
	put8(p, l->next);
	put8(p, l->ttl);
	put(p, l->ip_from, 16);
	put(p, l->ip_to, 16);
}

static void put_udp(struct pktgen_packet *p, const struct layers *l)
{
	uint16_t len = 8 + l->payload.len + l->udp_len_add;
	uint32_t start = p->len;
	uint8_t pseudo[4] = { 0, 17, len >> 8, len & 0xff };
	uint32_t sum;

	put16(p, l->from_port);
	put16(p, l->to_port);
	put16(p, len);
	put16(p, 0);
	put(p, l->payload.ptr, l->payload.len);
	sum = sum_be(p->bytes + start, p->len - start, 0);
	sum = sum_be(l->ip_from, l->ip6 ? 16 : 4, sum);
	sum = sum_be(l->ip_to, l->ip6 ? 16 : 4, sum);
	sum = ~sum_be(pseudo, 4, sum) & 0xffff;
	if (!sum)
		sum = 0xffff;
	p->bytes[start + 6] = sum >> 8;
	p->bytes[start + 7] = sum & 0xff;
}

static void put_layers(struct pktgen_packet *p, const struct layers *l)
{
	p->len = 0;
	put_ether(p, l);
	if (l->ip6)
		put_ip6(p, l, 8 + l->payload.len);
	else
		put_ip4(p, l, 8 + l->payload.len);
	put_udp(p, l);
}

/* The ends of a request, its defaults filled in. */
static struct layers layers_of(const struct pktgen_request *r)
{
	const struct pktgen_host *from = r->from ? r->from : &pktgen_client;
	const struct pktgen_host *to = r->to ? r->to : &pktgen_server;
	struct layers l = {
		.mac_from = r->mac_from ? r->mac_from : from->mac,
		.mac_to = r->mac_to ? r->mac_to : to->mac,
		.ip_from = r->ip_from ? r->ip_from
			   : r->ip6   ? from->ip6
				      : from->ip4,
		.ip_to = r->ip_to ? r->ip_to
			 : r->ip6 ? to->ip6
				  : to->ip4,
		.tags = r->tags,
		.ip6 = r->ip6,
		.ether_type = r->ip6 ? 0x86dd : 0x0800,
		.ip_first = r->ip6 ? 0x60 : 0x45,
		.next = 17,
		.from_port = r->from_port ? r->from_port : PKTGEN_CLIENT_PORT,
		.to_port = r->to_port ? r->to_port : PKTGEN_SERVER_PORT,
	};

	if (r->from_port < 0)
		l.from_port = 0;
	return l;
}

void pktgen_request(const struct pktgen_request *r, struct pktgen_packet *ret)
{
	struct pktgen_packet payload = { .len = 0 };
	struct layers l = layers_of(r);

	put16(&payload, r->id);
	put16(&payload, r->seq);
	put16(&payload, r->total < 0 ? 0 : r->total ? r->total : 1);
	put16(&payload, r->reserved);
	put(&payload, r->text.ptr, r->text.len);

	l.payload = span_of(payload.bytes, payload.len);
	l.ether_type = r->ether_type ? r->ether_type : l.ether_type;
	l.ip_first = r->ip_first ? r->ip_first : l.ip_first;
	l.ip4_options = r->ip4_options;
	if (r->ip4_options)
		l.ip_first = 0x45 + r->ip4_options / 4;
	l.next = r->next < 0 ? 0 : r->next ? r->next : 17;
	l.ttl = 61;
	l.flow = 0x0b1234; /* class and label that a reply must not copy */
	l.ip4_id = 0x1234;
	l.ip4_fragment = r->ip4_fragment;
	l.ip_len_add = r->ip_len_add;
	l.udp_len_add = r->udp_len_add;
	put_layers(ret, &l);
	for (uint32_t i = 0; i < r->trailer; i++)
		put8(ret, 0xa5);
}

size_t pktgen_value_text(const struct pktgen_value *v, uint8_t *ret, size_t max)
{
	char numbers[64];
	size_t at = 0;
	int len;

	len = snprintf(numbers, sizeof(numbers), " %" PRIu32 " %zu", v->flags, v->value.len);
	if (v->gets)
		len += snprintf(numbers + len, sizeof(numbers) - len, " %" PRIu64, v->cas);
	assert(6 + v->key.len + len + 2 + v->value.len + 2 <= max);
	memcpy(ret, "VALUE ", 6);
	at = 6;
	memcpy(ret + at, v->key.ptr, v->key.len);
	at += v->key.len;
	memcpy(ret + at, numbers, len);
	at += len;
	memcpy(ret + at, "\r\n", 2);
	at += 2;
	if (v->value.len)
		memcpy(ret + at, v->value.ptr, v->value.len);
	at += v->value.len;
	memcpy(ret + at, "\r\n", 2);
	return at + 2;
}

size_t pktgen_reply_text(const struct pktgen_value *v, uint8_t *ret, size_t max)
{
	size_t at = pktgen_value_text(v, ret, max);

	assert(at + 5 <= max);
	memcpy(ret + at, "END\r\n", 5);
	return at + 5;
}

void pktgen_reply(const struct pktgen_request *r, const struct pktgen_value *value,
		  struct pktgen_packet *ret)
{
	uint8_t text[PKTGEN_MAX];

	pktgen_reply_of(r, span_of(text, pktgen_reply_text(value, text, sizeof(text))), ret);
}

void pktgen_reply_of(const struct pktgen_request *r, struct span text, struct pktgen_packet *ret)
{
	struct pktgen_packet payload = { .len = 0 };
	struct layers in = layers_of(r);
	struct layers out = in;

	put16(&payload, r->id);
	put16(&payload, 0);
	put16(&payload, 1);
	put16(&payload, 0);
	assert(payload.len + text.len <= PKTGEN_MAX);
	memcpy(payload.bytes + payload.len, text.ptr, text.len);
	payload.len += text.len;

	out.mac_from = in.mac_to;
	out.mac_to = in.mac_from;
	out.ip_from = in.ip_to;
	out.ip_to = in.ip_from;
	out.from_port = in.to_port;
	out.to_port = in.from_port;
	out.ttl = 64;
	out.ip4_fragment = 0x4000;
	out.payload = span_of(payload.bytes, payload.len);
	put_layers(ret, &out);
}
