/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parse_text - command lines of memcached's text protocol.
 *
 * Does      turns one line into a struct request. The value of a storage command is not its affair:
 *           it says how long it is, the caller takes it from behind the line.
 * Shape     stateless; spans of the request point into the caller's buffer.
 * Errors    > 0 bytes consumed, -EAGAIN the line has no end yet, -EMSGSIZE it is too long to be a
 *           command, -EBADMSG not memcached at all (HTTP): close. The request is unchanged then.
 *           A line that is complete but wrong is consumed, as REQUEST_INVALID with its error.
 * Invariant each byte is looked at a bounded number of times however it arrives: `scanned` names
 *           the bytes that an earlier call saw.
 * Source    memcached doc/protocol.txt; where that is silent, memcached 1.6.18's behaviour.
 *           docs/protocol.md lists where we differ, and why.
 */
#ifndef XC_PROTOCOL_PARSE_TEXT_H
#define XC_PROTOCOL_PARSE_TEXT_H

#include <sys/types.h>

#include "protocol/request.h"

/* A line that is not a retrieval must end within this. */
#define PARSE_TEXT_LINE_MAX 2048
/* A retrieval's line is handed out in pieces of at most this (request.more). */
#define PARSE_TEXT_WINDOW 16384

ssize_t parse_text(struct span in, size_t scanned, struct request *ret);
/*
 * The first word is a command's name. No reply begins with one, so that over UDP, where what comes
 * in may be another server's reply, only what begins so is answered.
 */
bool parse_text_is_command(struct span in);
/*
 * The next piece of a retrieval's line, `in` starting where the last one ended (or at the first key
 * not yet answered). *req is the request so far; its keys and more are set anew. A key that is too
 * long makes it REQUEST_INVALID; if more is still set then, the rest of the line is to be skipped.
 */
ssize_t parse_text_more(struct span in, size_t scanned, struct request *req);

#endif
