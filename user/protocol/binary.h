/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * binary - bytes of memcached's binary protocol that its parser and its writer share.
 *
 * Does      names opcodes and codes, and reads and writes numbers in network order.
 * Shape     header of 24 bytes, then extras, key and value:
 *             0 magic   1 opcode   2 key length      4 extras length   5 data type (0)
 *             6 vbucket, or status of a reply        8 length of all that follows the header
 *            12 opaque, echoed                      16 cas
 * Units     bytes.
 * Source    memcached doc/protocol-binary.txt; SASL: its wiki page "SASLAuthProtocol".
 */
#ifndef XC_PROTOCOL_BINARY_H
#define XC_PROTOCOL_BINARY_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "abi/wire.h"

/* No reply begins as a request does: two servers cannot keep each other busy over UDP. */
#define BINARY_REQUEST XC_BINARY_REQUEST
#define BINARY_REPLY XC_BINARY_REPLY
#define BINARY_HEADER_LEN XC_BINARY_HEADER_LEN

enum binary_opcode {
	BINARY_GET = XC_BINARY_GET,
	BINARY_SET = 0x01,
	BINARY_ADD = 0x02,
	BINARY_REPLACE = 0x03,
	BINARY_DELETE = 0x04,
	BINARY_INCR = 0x05,
	BINARY_DECR = 0x06,
	BINARY_QUIT = 0x07,
	BINARY_FLUSH = 0x08,
	BINARY_GETQ = XC_BINARY_GETQ,
	BINARY_NOOP = XC_BINARY_NOOP,
	BINARY_VERSION = 0x0b,
	BINARY_GETK = XC_BINARY_GETK,
	BINARY_GETKQ = XC_BINARY_GETKQ,
	BINARY_APPEND = 0x0e,
	BINARY_PREPEND = 0x0f,
	BINARY_STAT = 0x10,
	BINARY_SETQ = 0x11,
	BINARY_ADDQ = 0x12,
	BINARY_REPLACEQ = 0x13,
	BINARY_DELETEQ = 0x14,
	BINARY_INCRQ = 0x15,
	BINARY_DECRQ = 0x16,
	BINARY_QUITQ = 0x17,
	BINARY_FLUSHQ = 0x18,
	BINARY_APPENDQ = 0x19,
	BINARY_PREPENDQ = 0x1a,
	BINARY_VERBOSITY = 0x1b,
	BINARY_TOUCH = 0x1c,
	BINARY_GAT = 0x1d,
	BINARY_GATQ = 0x1e,
	BINARY_SASL_LIST = 0x20,
	BINARY_SASL_AUTH = 0x21,
	BINARY_SASL_STEP = 0x22,
	BINARY_GATK = 0x23,
	BINARY_GATKQ = 0x24,
};

enum binary_status {
	BINARY_OK = 0x00,
	BINARY_NOT_FOUND = 0x01,
	BINARY_EXISTS = 0x02,
	BINARY_TOO_LARGE = 0x03,
	BINARY_INVALID = 0x04,
	BINARY_NOT_STORED = 0x05,
	BINARY_NOT_NUMBER = 0x06,
	BINARY_AUTH_FAILURE = 0x20,
	BINARY_AUTH_CONTINUE = 0x21,
	BINARY_UNKNOWN_COMMAND = 0x81,
	BINARY_NO_MEMORY = 0x82,
	BINARY_NOT_SUPPORTED = 0x83,
	BINARY_TEMPORARY = 0x86,
};

static inline uint16_t binary_get16(const uint8_t *from)
{
	uint16_t be;

	memcpy(&be, from, sizeof(be));
	return be16toh(be);
}

static inline uint32_t binary_get32(const uint8_t *from)
{
	uint32_t be;

	memcpy(&be, from, sizeof(be));
	return be32toh(be);
}

static inline uint64_t binary_get64(const uint8_t *from)
{
	uint64_t be;

	memcpy(&be, from, sizeof(be));
	return be64toh(be);
}

static inline void binary_put16(uint8_t *to, uint16_t number)
{
	uint16_t be = htobe16(number);

	memcpy(to, &be, sizeof(be));
}

static inline void binary_put32(uint8_t *to, uint32_t number)
{
	uint32_t be = htobe32(number);

	memcpy(to, &be, sizeof(be));
}

static inline void binary_put64(uint8_t *to, uint64_t number)
{
	uint64_t be = htobe64(number);

	memcpy(to, &be, sizeof(be));
}

#endif
