/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/udp_frame.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

int udp_frame_parse(struct span datagram, struct udp_frame *ret, struct span *ret_body)
{
	struct xc_udp_frame wire;

	/* A header with nothing behind it asks for nothing. */
	if (datagram.len <= sizeof(wire))
		return -EBADMSG;
	memcpy(&wire, datagram.ptr, sizeof(wire));
	ret->request_id = be16toh(wire.request_id);
	ret->seq = be16toh(wire.seq);
	ret->total = be16toh(wire.total);
	*ret_body = span_of(datagram.ptr + sizeof(wire), datagram.len - sizeof(wire));
	/*
	 * As memcached: the sequence number and the reserved bytes of a lone datagram do not
	 * matter.
	 */
	return ret->total == 1 ? 0 : -ENOTSUP;
}

void udp_frame_put(uint8_t to[UDP_FRAME_LEN], const struct udp_frame *frame)
{
	struct xc_udp_frame wire = {
		.request_id = htobe16(frame->request_id),
		.seq = htobe16(frame->seq),
		.total = htobe16(frame->total),
	};

	memcpy(to, &wire, sizeof(wire));
}

uint16_t udp_frame_total(uint64_t text_len, uint32_t datagram_max)
{
	uint32_t text_max = datagram_max - (uint32_t)UDP_FRAME_LEN;

	assert(datagram_max > UDP_FRAME_LEN && text_len <= UDP_REPLY_MAX);
	return (uint16_t)((text_len + text_max - 1) / text_max);
}
