/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls - the TLS under a connection: OpenSSL 3, as memcached's -Z sets it up.
 *
 * Does      loads certificates and key, again when asked; shakes hands, decrypts, encrypts; never
 *           blocks.
 * Shape     struct tls, one a server; struct tls_conn, one a connection. Connections keep the
 *           certificates they began with.
 * Units     bytes.
 * Errors    -EAGAIN: nothing now, wait for tls_events; -EPROTO: the peer broke TLS. What is wrong
 *           with a file is told in words.
 * Owner     descriptors and the record buffer are borrowed. OpenSSL's memory comes from base/alloc.
 * Threads   struct tls: any. struct tls_conn: its worker's.
 * Invariant a connection holds at most a record each way, and the peer's certificates, beside
 *           OpenSSL's own state; an idle one no record.
 */
#ifndef XC_NET_TLS_H
#define XC_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "command/command.h"

#define TLS_WHY_MAX COMMAND_WHY_MAX

struct tls;
struct tls_conn;

/* options and its strings: borrowed. Failure is in the log, with what to do next. */
int tls_open(const struct command_tls *options, const struct clock *clock, struct tls **ret);
void tls_close(struct tls *tls); /* NULL-safe; after its connections */
/* Reads the files again, for connections from now on. On failure the old ones stay. */
int tls_reload(struct tls *tls, char why[TLS_WHY_MAX]);
/* Warns of files that a reload could not read as who we are now. */
void tls_check_files(const struct tls *tls);
void tls_status(struct tls *tls, struct command_tls_status *ret);
/* What OpenSSL holds of the heap in this process. */
uint64_t tls_heap_bytes(void);

/* record: wbuf_kib of the options, where small pieces are put together to be encrypted. */
struct tls_conn *tls_accept(struct tls *tls, int fd, uint8_t *record);
/* … of a connection that this side has begun; both sides show their certificates. */
struct tls_conn *tls_connect(struct tls *tls, int fd, uint8_t *record);
/* 0: done. Anything else but -EAGAIN ends the connection. */
int tls_handshake(struct tls_conn *conn);
/* Bytes; 0: the peer has said everything; or negative errno. */
int64_t tls_read(struct tls_conn *conn, void *bytes, size_t cap);
/*
 * Bytes taken, 0 when none are now. After less than all the next call must begin with the very
 * bytes that were not taken, wherever they are then.
 */
int64_t tls_write(struct tls_conn *conn, const struct iovec *iov, uint32_t iov_cnt);
/* Something is to be read that the descriptor's readiness does not tell of. */
bool tls_has_input(const struct tls_conn *conn);
/* What to wait for on the descriptor in order to read, or to write. */
uint32_t tls_events(const struct tls_conn *conn, bool writing);
/* Tells the peer that nothing more comes, once, if it can be told now. */
void tls_say_end(struct tls_conn *conn);
void tls_free(struct tls_conn *conn); /* NULL-safe */

#endif
