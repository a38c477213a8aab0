/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * OpenSSL reads the socket into a buffer of its own, as much as there is (read_ahead), and hands
 * out one record at a time. So what is ready to be read is known to it and not to epoll: `drained`
 * says that OpenSSL has asked the socket for more and there was none, which makes epoll the one to
 * wait for again. Buffers are let go of when they are empty (SSL_MODE_RELEASE_BUFFERS), so that an
 * idle connection costs OpenSSL's state alone.
 *
 * Writing, small pieces are put together in the worker's record buffer; a piece as large as that is
 * encrypted from where it lies. A record that the socket takes in part is OpenSSL's: it is counted
 * as taken only when the rest is out, and SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER lets its bytes move
 * to the connection's buffer meanwhile.
 */
#include "net/tls.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/loop.h"

/* Sessions that -o ssl_session_cache keeps: 1 to 2 KiB each without a client's certificate. */
#define SESSION_MAX 4096

struct tls {
	const struct command_tls *options;
	const struct clock *clock;
	pthread_mutex_t lock;	/* context */
	pthread_mutex_t reload; /* one at a time */
	SSL_CTX *context;
	_Atomic uint64_t loaded_ns;
	_Atomic uint64_t new_sessions;
};

struct tls_conn {
	SSL *ssl;
	uint8_t *record;
	uint64_t record_cap;
	int64_t held; /* what tls_read says next: an end or an error behind bytes */
	bool holds;   /* `held` counts */
	bool drained; /* OpenSSL has found the socket empty */
	bool read_wants_write;
	bool write_wants_read;
	bool shaken;
	bool broken; /* OpenSSL must not be called again */
	bool said;
};

/* Of this process, as OpenSSL's allocator is. */
static _Atomic uint64_t heap_bytes;

/* --- memory ----------------------------------------------------------------------------------- */

static void *heap_note(void *ptr)
{
	if (ptr)
		atomic_fetch_add_explicit(&heap_bytes, malloc_usable_size(ptr),
					  memory_order_relaxed);
	return ptr;
}

static void heap_forget(void *ptr)
{
	if (ptr)
		atomic_fetch_sub_explicit(&heap_bytes, malloc_usable_size(ptr),
					  memory_order_relaxed);
}

static void *heap_take(size_t bytes, const char *file, int line)
{
	(void)file;
	(void)line;
	return heap_note(alloc_resize(NULL, bytes));
}

static void *heap_resize(void *old, size_t bytes, const char *file, int line)
{
	void *ptr;

	(void)file;
	(void)line;
	heap_forget(old);
	ptr = alloc_resize(old, bytes);
	heap_note(ptr ? ptr : old);
	return ptr;
}

static void heap_give(void *ptr, const char *file, int line)
{
	(void)file;
	(void)line;
	heap_forget(ptr);
	alloc_free(ptr);
}

uint64_t tls_heap_bytes(void)
{
	return atomic_load_explicit(&heap_bytes, memory_order_relaxed);
}

/* --- certificates ----------------------------------------------------------------------------- */

static const char *reason(void)
{
	unsigned long code = ERR_peek_error();
	const char *text = ERR_reason_error_string(code);

	if (ERR_SYSTEM_ERROR(code))
		return strerror(ERR_GET_REASON(code));
	return text ? text : "no reason given";
}

static int give_up(char why[TLS_WHY_MAX], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, TLS_WHY_MAX, fmt, args);
	va_end(args);
	ERR_clear_error();
	return -EINVAL;
}

/* Asking on a terminal would hold up the start, and a daemon has none. */
static int no_password(char *buf, int size, int writing, void *ctx)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)ctx;
	return -1;
}

static int count_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	(void)session;
	atomic_fetch_add(&tls->new_sessions, 1);
	return 0;
}

static int readable(const char *what, const char *path, char why[TLS_WHY_MAX])
{
	if (access(path, R_OK) == 0)
		return 0;
	return give_up(why, "%s %s cannot be read: %s; %s", what, path, strerror(errno),
		       errno == EACCES ? "let the user of -u read it and its folder"
				       : "check the path");
}

static const char *key_file(const struct command_tls *o)
{
	return o->key ? o->key : o->chain_cert;
}

static int load_certificate(SSL_CTX *context, const struct command_tls *o, char why[TLS_WHY_MAX])
{
	int type = command_tls_der(o) ? SSL_FILETYPE_ASN1 : SSL_FILETYPE_PEM;
	int error = readable("ssl_chain_cert", o->chain_cert, why);

	if (!error)
		error = readable("ssl_key", key_file(o), why);
	if (error)
		return error;
	if (SSL_CTX_use_certificate_chain_file(context, o->chain_cert) != 1)
		return give_up(why,
			       "ssl_chain_cert %s: %s; it must hold the server's certificate and "
			       "those above it, in PEM",
			       o->chain_cert, reason());
	if (SSL_CTX_use_PrivateKey_file(context, key_file(o), type) == 1 &&
	    SSL_CTX_check_private_key(context) == 1)
		return 0;
	if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
		return give_up(why,
			       "ssl_key %s is not the key of ssl_chain_cert %s; name the two "
			       "that were made together",
			       key_file(o), o->chain_cert);
	return give_up(why,
		       "ssl_key %s: %s; it must hold the private key, without a password, in %s "
		       "(ssl_keyformat)",
		       key_file(o), reason(), o->key_format);
}

static int load_authorities(SSL_CTX *context, const struct command_tls *o, char why[TLS_WHY_MAX])
{
	static const int modes[] = {
		SSL_VERIFY_NONE,
		SSL_VERIFY_PEER,
		SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
		SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT | SSL_VERIFY_CLIENT_ONCE,
	};
	STACK_OF(X509_NAME) * names;
	int error;

	SSL_CTX_set_verify(context, modes[o->verify_mode], NULL);
	if (!o->ca_cert)
		return 0;
	error = readable("ssl_ca_cert", o->ca_cert, why);
	if (error)
		return error;
	names = SSL_load_client_CA_file(o->ca_cert);
	SSL_CTX_set_client_CA_list(context, names);
	if (!names || SSL_CTX_load_verify_locations(context, o->ca_cert, NULL) != 1)
		return give_up(why,
			       "ssl_ca_cert %s: %s; it must hold, in PEM, the authorities whose "
			       "clients are let in",
			       o->ca_cert, reason());
	return 0;
}

static int set_up(SSL_CTX *context, const struct command_tls *o, char why[TLS_WHY_MAX])
{
	static const int versions[] = { TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION,
					TLS1_3_VERSION };
	static const unsigned char id[] = "xdpcached";
	int error;

	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_RELEASE_BUFFERS);
	/* A client that just closes, as most do, has cut nothing off: a request says its length. */
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF |
					     SSL_OP_NO_COMPRESSION);
	if (o->kernel_tls)
		SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
	SSL_CTX_set_read_ahead(context, 1);
	SSL_CTX_set_default_passwd_cb(context, no_password);
	SSL_CTX_set_session_id_context(context, id, sizeof(id) - 1);
	SSL_CTX_set_session_cache_mode(context, o->session_cache ? SSL_SESS_CACHE_SERVER
								 : SSL_SESS_CACHE_OFF);
	SSL_CTX_sess_set_cache_size(context, SESSION_MAX);
	if (o->session_cache)
		SSL_CTX_sess_set_new_cb(context, count_session);
	SSL_CTX_set_min_proto_version(context, versions[o->min_version]);
	if (o->ciphers && SSL_CTX_set_cipher_list(context, o->ciphers) != 1)
		return give_up(why, "ssl_ciphers %s: %s; `openssl ciphers` lists them", o->ciphers,
			       reason());
	error = load_certificate(context, o, why);
	return error ? error : load_authorities(context, o, why);
}

int tls_reload(struct tls *tls, char why[TLS_WHY_MAX])
{
	SSL_CTX *old, *context;
	int error;

	pthread_mutex_lock(&tls->reload);
	ERR_clear_error();
	context = SSL_CTX_new(TLS_method());
	if (context)
		SSL_CTX_set_app_data(context, tls);
	error = context ? set_up(context, tls->options, why)
			: give_up(why, "no memory for certificates");
	if (error) {
		SSL_CTX_free(context);
	} else {
		pthread_mutex_lock(&tls->lock);
		old = tls->context;
		tls->context = context;
		pthread_mutex_unlock(&tls->lock);
		SSL_CTX_free(old); /* when its last connection is gone */
		atomic_store(&tls->loaded_ns, clock_now_ns(tls->clock));
	}
	pthread_mutex_unlock(&tls->reload);
	return error;
}

void tls_check_files(const struct tls *tls)
{
	const struct command_tls *o = tls->options;
	char why[TLS_WHY_MAX];

	if (readable("ssl_chain_cert", o->chain_cert, why) ||
	    readable("ssl_key", key_file(o), why) ||
	    (o->ca_cert && readable("ssl_ca_cert", o->ca_cert, why)))
		log_line(LOG_WARN, "tls", "%s, or certificates cannot be refreshed", why);
}

void tls_status(struct tls *tls, struct command_tls_status *ret)
{
	uint64_t now_ns = clock_now_ns(tls->clock), loaded_ns = atomic_load(&tls->loaded_ns);

	ret->since_refresh_sec = now_ns > loaded_ns ? (now_ns - loaded_ns) / NSEC_PER_SEC : 0;
	ret->new_sessions = atomic_load(&tls->new_sessions);
}

int tls_open(const struct command_tls *options, const struct clock *clock, struct tls **ret)
{
	struct tls *tls = alloc_zero(1, sizeof(*tls));
	char why[TLS_WHY_MAX];
	int error;

	if (!tls)
		return -ENOMEM;
	/* Refused once OpenSSL has allocated; then it was this very call that came before. */
	CRYPTO_set_mem_functions(heap_take, heap_resize, heap_give);
	tls->options = options;
	tls->clock = clock;
	pthread_mutex_init(&tls->lock, NULL);
	pthread_mutex_init(&tls->reload, NULL);
	error = tls_reload(tls, why);
	if (error) {
		log_line(LOG_ERROR, "tls", "%s", why);
		tls_close(tls);
		return error;
	}
	*ret = tls;
	return 0;
}

void tls_close(struct tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->context);
	pthread_mutex_destroy(&tls->lock);
	pthread_mutex_destroy(&tls->reload);
	alloc_free(tls);
}

/* --- connections ------------------------------------------------------------------------------ */

static struct tls_conn *conn_new(struct tls *tls, int fd, uint8_t *record)
{
	struct tls_conn *conn = alloc_zero(1, sizeof(*conn));

	if (!conn)
		return NULL;
	pthread_mutex_lock(&tls->lock);
	conn->ssl = SSL_new(tls->context);
	pthread_mutex_unlock(&tls->lock);
	if (!conn->ssl || SSL_set_fd(conn->ssl, fd) != 1) {
		ERR_clear_error();
		tls_free(conn);
		return NULL;
	}
	conn->record = record;
	conn->record_cap = tls->options->wbuf_kib << 10;
	return conn;
}

struct tls_conn *tls_accept(struct tls *tls, int fd, uint8_t *record)
{
	struct tls_conn *conn = conn_new(tls, fd, record);

	if (conn)
		SSL_set_accept_state(conn->ssl);
	return conn;
}

struct tls_conn *tls_connect(struct tls *tls, int fd, uint8_t *record)
{
	struct tls_conn *conn = conn_new(tls, fd, record);

	if (conn)
		SSL_set_connect_state(conn->ssl);
	return conn;
}

void tls_free(struct tls_conn *conn)
{
	if (!conn)
		return;
	SSL_free(conn->ssl);
	alloc_free(conn);
}

/* What OpenSSL's answer n means; *ret_crossed: the other direction is waited for. */
static int64_t outcome(struct tls_conn *conn, int n, int other, bool *ret_crossed)
{
	int code = SSL_get_error(conn->ssl, n);
	int error = errno;

	*ret_crossed = code == other;
	if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	if (code == SSL_ERROR_ZERO_RETURN)
		return 0;
	conn->broken = true;
	ERR_clear_error();
	return code == SSL_ERROR_SYSCALL && error ? -error : -EPROTO;
}

int tls_handshake(struct tls_conn *conn)
{
	int64_t error;
	int n;

	ERR_clear_error();
	errno = 0;
	n = SSL_do_handshake(conn->ssl);
	if (n == 1) {
		conn->shaken = true;
		conn->read_wants_write = false;
		return 0;
	}
	/* The one that waits is the reader, whatever for. */
	error = outcome(conn, n, SSL_ERROR_WANT_WRITE, &conn->read_wants_write);
	return error ? (int)error : -EPROTO;
}

static int64_t hold(struct tls_conn *conn, int64_t result, int64_t total)
{
	if (total == 0)
		return result;
	conn->held = result;
	conn->holds = true;
	return total;
}

int64_t tls_read(struct tls_conn *conn, void *bytes, size_t cap)
{
	int64_t total = 0;

	if (conn->holds || conn->broken)
		return conn->holds ? conn->held : -EPROTO;
	conn->drained = false;
	conn->read_wants_write = false;
	while ((size_t)total < cap) {
		size_t room = cap - (size_t)total;
		int64_t result;
		int n;

		ERR_clear_error();
		errno = 0;
		n = SSL_read(conn->ssl, (uint8_t *)bytes + total,
			     room > INT32_MAX ? INT32_MAX : (int)room);
		if (n > 0) {
			total += n;
			if (!SSL_has_pending(conn->ssl))
				break; /* all that has come was read: epoll tells of more */
			continue;
		}
		result = outcome(conn, n, SSL_ERROR_WANT_WRITE, &conn->read_wants_write);
		if (result != -EAGAIN)
			return hold(conn, result, total);
		conn->drained = true;
		return total ? total : -EAGAIN;
	}
	return total;
}

bool tls_has_input(const struct tls_conn *conn)
{
	return conn->holds || (!conn->drained && !conn->broken && SSL_has_pending(conn->ssl));
}

/*
 * The next bytes to encrypt, from byte `skip` of the pieces on: where they lie, if the first piece
 * is large, else put together.
 */
static struct span next_record(const struct tls_conn *conn, const struct iovec *iov, uint32_t cnt,
			       size_t skip)
{
	uint64_t len = 0;

	if (cnt == 1 || iov->iov_len - skip >= conn->record_cap)
		return span_of((uint8_t *)iov->iov_base + skip, iov->iov_len - skip);
	for (uint32_t i = 0; i < cnt && len < conn->record_cap; i++) {
		size_t part = iov[i].iov_len - skip;

		if (part > conn->record_cap - len)
			part = conn->record_cap - len;
		memcpy(conn->record + len, (uint8_t *)iov[i].iov_base + skip, part);
		len += part;
		skip = 0;
	}
	return span_of(conn->record, len);
}

int64_t tls_write(struct tls_conn *conn, const struct iovec *iov, uint32_t iov_cnt)
{
	int64_t total = 0;
	size_t skip = 0;

	if (conn->broken)
		return -EPROTO;
	conn->write_wants_read = false;
	while (iov_cnt > 0) {
		struct span next;
		int64_t result;
		int n;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			iov_cnt--;
			continue;
		}
		next = next_record(conn, iov, iov_cnt, skip);
		if (next.len > conn->record_cap)
			next.len = conn->record_cap;
		ERR_clear_error();
		errno = 0;
		n = SSL_write(conn->ssl, next.ptr, (int)next.len);
		if (n <= 0) {
			result = outcome(conn, n, SSL_ERROR_WANT_READ, &conn->write_wants_read);
			if (result == 0)
				return -EPIPE;
			return result == -EAGAIN ? total : result;
		}
		total += n;
		skip += (size_t)n;
	}
	return total;
}

uint32_t tls_events(const struct tls_conn *conn, bool writing)
{
	if (writing)
		return conn->write_wants_read ? LOOP_READ : LOOP_WRITE;
	return conn->read_wants_write ? LOOP_WRITE : LOOP_READ;
}

void tls_say_end(struct tls_conn *conn)
{
	if (conn->said || conn->broken || !conn->shaken)
		return;
	conn->said = true;
	ERR_clear_error();
	if (SSL_shutdown(conn->ssl) < 0)
		conn->broken = true;
	ERR_clear_error();
}
