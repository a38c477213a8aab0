/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/net.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/tls.h"
#include "net/worker.h"

#define ADDR_MAX 16
/* Unread replies all clients together may leave with us, and the least for one worker. */
#define BACKLOG_MAX (64ULL << 20)
#define MIB (1ULL << 20)
/* Beside connections and what is open by then: clients of the control socket, files read again. */
#define FILES_TO_COME 32

struct net {
	struct net_options options;
	struct command *command;
	struct worker_shared shared;
	struct cidr *allow;
	uint16_t tcp_port;
	uint16_t udp_port;
	struct sock_file unix_file;
	uint32_t worker_cnt; /* initialised */
	struct worker workers[];
};

static void walk_conns(void *ctx, void (*emit)(void *emit_ctx, const struct command_conn *conn),
		       void *emit_ctx)
{
	struct net *net = ctx;
	uint64_t now_ns = clock_now_ns(net->options.clock);

	for (uint32_t i = 0; i < net->worker_cnt; i++)
		worker_walk_sockets(&net->workers[i], emit, emit_ctx);
	for (uint32_t i = 0; i < net->worker_cnt; i++)
		worker_walk_conns(&net->workers[i], now_ns, emit, emit_ctx);
}

static void tls_status_of(void *ctx, struct command_tls_status *ret)
{
	struct net *net = ctx;

	tls_status(net->shared.tls, ret);
}

static int reload_tls(void *ctx, char why[COMMAND_WHY_MAX])
{
	struct net *net = ctx;
	int error = tls_reload(net->shared.tls, why);

	if (error)
		log_line(LOG_ERROR, "tls", "%s; the old certificates stay", why);
	else
		log_line(LOG_INFO, "tls", "certificates are read again");
	return error;
}

int net_reload_tls(struct net *net)
{
	char why[COMMAND_WHY_MAX];

	return net->shared.tls ? reload_tls(net, why) : 0;
}

const char *net_listen_address(const char *item, bool *ret_plain)
{
	static const char prefix[] = "notls:";
	bool plain = strncmp(item, prefix, sizeof(prefix) - 1) == 0;

	if (ret_plain)
		*ret_plain = plain;
	return plain ? item + sizeof(prefix) - 1 : item;
}

static int parse_allow(struct net *net)
{
	bool any = net->options.allow_cnt > 0;
	const char *const *texts = any ? net->options.allow : cidr_loopback;
	uint32_t cnt = any ? net->options.allow_cnt : CIDR_LOOPBACK_CNT;

	net->allow = alloc_zero(cnt, sizeof(*net->allow));
	if (!net->allow)
		return -ENOMEM;
	for (uint32_t i = 0; i < cnt; i++) {
		if (cidr_parse(texts[i], &net->allow[i])) {
			log_line(LOG_ERROR, "net",
				 "allow=%s is not an address or network; write it like "
				 "10.0.0.0/8 or fd00::/8",
				 texts[i]);
			return -EINVAL;
		}
	}
	net->shared.allow = net->allow;
	net->shared.allow_cnt = cnt;
	return 0;
}

static int report(const struct sock_addr *addr, const char *what, int error)
{
	char text[SOCK_TEXT_MAX];

	sock_text(addr, text);
	if (error == -EADDRINUSE)
		log_line(LOG_ERROR, "net",
			 "%s %s is in use by another process; stop it, or choose another "
			 "port with -p",
			 what, text);
	else if (error == -EACCES)
		log_line(LOG_ERROR, "net",
			 "%s %s needs privileges: start as root, or use a port from 1024 on", what,
			 text);
	else if (error == -EADDRNOTAVAIL || error == -EAFNOSUPPORT)
		log_line(LOG_ERROR, "net",
			 "%s %s is not of this machine; `ip -br addr` lists what is: name one of "
			 "those with -l, or * for all",
			 what, text);
	else if (error == -E2BIG)
		log_line(LOG_ERROR, "net",
			 "%s %s is one too many: at most %d sockets a thread; name fewer addresses "
			 "with -l, or * for all",
			 what, text, WORKER_SOCKET_MAX);
	else
		log_line(LOG_ERROR, "net", "%s %s: %s", what, text, strerror(-error));
	return error;
}

/*
 * Sockets of an earlier process on this address, dealt out to the workers. More than one may get
 * several: one that nobody serves would swallow its share of the clients. Returns how many.
 */
static int inherit(struct net *net, struct sock_addr *addr, enum worker_socket_kind kind, bool tls)
{
	int type = kind == WORKER_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int cnt = 0;

	for (uint32_t i = 0; i < net->options.inherited_cnt; i++) {
		int fd = net->options.inherited[i], error;

		if (fd < 0 || !sock_is(fd, type, addr))
			continue;
		net->options.inherited[i] = -1;
		sock_local(fd, addr);
		if (kind != WORKER_UDP && listen(fd, (int)net->options.settings.backlog) < 0)
			log_line(LOG_WARN, "net", "the backlog stays: %s", strerror(errno));
		error = worker_add_socket(&net->workers[(uint32_t)cnt % net->worker_cnt], fd, kind,
					  tls, addr);
		if (error)
			return error;
		cnt++;
	}
	return cnt;
}

/* One socket a worker on this address; a port of 0 becomes the one the kernel picked. */
static int bind_all(struct net *net, struct sock_addr *addr, enum worker_socket_kind kind, bool tls)
{
	int type = kind == WORKER_TCP ? SOCK_STREAM : SOCK_DGRAM;
	const char *what = kind == WORKER_TCP ? "TCP" : "UDP";
	int inherited = inherit(net, addr, kind, tls);
	int error = inherited > 0 ? 0 : inherited < 0 ? inherited : sock_probe(addr, type);

	if (error)
		return error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL
			       ? error
			       : report(addr, what, error);
	for (uint32_t i = (uint32_t)inherited; i < net->worker_cnt; i++) {
		int fd = kind == WORKER_TCP ? sock_listen_tcp(addr, net->options.settings.backlog)
					    : sock_bind_udp(addr);

		if (fd < 0)
			return report(addr, what, fd);
		if (sock_port(addr) == 0)
			sock_local(fd, addr);
		error = worker_add_socket(&net->workers[i], fd, kind, tls, addr);
		if (error)
			return report(addr, what, error);
	}
	return 0;
}

/* All addresses one -l item stands for. `*port` is kept: the next address uses the picked one. */
static int bind_item(struct net *net, const char *text, enum worker_socket_kind kind,
		     uint16_t *port)
{
	struct sock_addr addrs[ADDR_MAX];
	bool plain = false;
	const char *address = text ? net_listen_address(text, &plain) : NULL;
	int cnt = sock_resolve(address, *port, addrs, ADDR_MAX, NULL);
	bool tls = kind == WORKER_TCP && net->shared.tls && !plain;
	int bound = 0;
	int error = 0;

	if (cnt < 0) {
		log_line(LOG_ERROR, "net",
			 "listen=%s is not an address of this machine; write it like "
			 "127.0.0.1, [::1]:11211 or *",
			 text);
		return cnt;
	}
	for (int i = 0; i < cnt; i++) {
		if (*port && sock_port(&addrs[i]) == 0)
			sock_set_port(&addrs[i], *port);
		error = bind_all(net, &addrs[i], kind, tls);
		/* A host without IPv6 still has its IPv4 addresses. */
		if ((error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL) && cnt > 1)
			continue;
		if (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL)
			return report(&addrs[i], "address", error);
		if (error)
			return error;
		bound++;
		if (*port == 0)
			*port = sock_port(&addrs[i]);
	}
	return bound ? 0 : report(&addrs[0], "address", error);
}

static int bind_transport(struct net *net, enum worker_socket_kind kind, int32_t wanted,
			  uint16_t *ret_port)
{
	uint16_t port = wanted > 0 ? (uint16_t)wanted : 0;
	int error = 0;

	if (wanted == 0)
		return 0;
	if (net->options.listen_cnt == 0)
		error = bind_item(net, NULL, kind, &port);
	for (uint32_t i = 0; !error && i < net->options.listen_cnt; i++)
		error = bind_item(net, net->options.listen[i], kind, &port);
	if (!error)
		*ret_port = port;
	return error;
}

/* Every worker waits on the one listener. Takes over fd. */
static int share_unix(struct net *net, int fd)
{
	struct sock_addr addr = { 0 };
	int error;

	sock_local(fd, &addr);
	for (uint32_t i = 0; i < net->worker_cnt; i++) {
		int own = i + 1 < net->worker_cnt ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : fd;

		error = own < 0 ? -errno
				: worker_add_socket(&net->workers[i], own, WORKER_UNIX, false,
						    &addr);
		if (error) {
			if (own != fd)
				close(fd);
			return error;
		}
	}
	return 0;
}

/* The earlier process's listener, if its path still leads to a socket. */
static bool inherit_unix(struct net *net, int *ret_error)
{
	struct sock_addr addr = { .storage.ss_family = AF_UNIX };
	struct sockaddr_un *name = (struct sockaddr_un *)&addr.storage;
	struct stat st;

	snprintf(name->sun_path, sizeof(name->sun_path), "%s", net->options.settings.unix_path);
	if (lstat(name->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	for (uint32_t i = 0; i < net->options.inherited_cnt; i++) {
		int fd = net->options.inherited[i];

		if (fd < 0 || !sock_is(fd, SOCK_STREAM, &addr))
			continue;
		net->options.inherited[i] = -1;
		net->unix_file = (struct sock_file){ .dev = st.st_dev, .ino = st.st_ino };
		*ret_error = share_unix(net, fd);
		return true;
	}
	return false;
}

static int bind_unix(struct net *net)
{
	const struct command_settings *s = &net->options.settings;
	int error = 0;
	int fd;

	if (!s->unix_path)
		return 0;
	if (inherit_unix(net, &error))
		return error;
	fd = sock_listen_unix(s->unix_path, s->unix_mode, s->backlog, &net->unix_file);
	if (fd < 0) {
		log_line(LOG_ERROR, "net", "unix socket %s: %s; name another path with -s",
			 s->unix_path,
			 fd == -EADDRINUSE ? "another server answers there"
			 : fd == -EEXIST   ? "a file that is no socket is in the way"
			 : fd == -ENOENT   ? "its folder is not there"
					   : strerror(-fd));
		return fd;
	}
	return share_unix(net, fd);
}

static int make_workers(struct net *net)
{
	const struct command_options options = {
		.store = net->options.store,
		.tracker = net->options.tracker,
		.events = net->options.events,
		.routes = net->options.routes,
		.origins = net->options.origins,
		.clock = net->options.clock,
		.hooks = net->options.hooks,
		.settings = net->options.settings,
		.conns = { .walk = walk_conns,
			   .tls_status = tls_status_of,
			   .tls_reload = reload_tls,
			   .ctx = net },
		.forward = net->options.forward,
		.worker_cnt = net->options.settings.thread_cnt + (net->options.forward ? 1 : 0),
	};
	uint64_t least = 2 * (net->options.settings.item_max + MIB);
	uint64_t share = BACKLOG_MAX / net->options.settings.thread_cnt;
	int error = command_new(&options, &net->command);

	if (error)
		return error;
	net->shared.settings = &net->options.settings;
	net->shared.clock = net->options.clock;
	net->shared.events = net->options.events;
	net->shared.users = net->options.users;
	net->shared.backlog_max = share > least ? share : least;
	for (uint32_t i = 0; i < net->options.settings.thread_cnt; i++) {
		error = worker_init(&net->workers[i], &net->shared, net->command, i);
		if (error)
			return error;
		net->worker_cnt++;
	}
	return 0;
}

int net_open(const struct net_options *options, struct net **ret)
{
	uint32_t cnt = options->settings.thread_cnt;
	struct net *net = alloc_aligned(64, sizeof(*net) + cnt * sizeof(struct worker));
	int error;

	if (!net)
		return -ENOMEM;
	net->options = *options;
	error = parse_allow(net);
	/* Before the first of them runs: who may not read the files later has read them by then. */
	if (!error && options->settings.tls.enabled)
		error = tls_open(&net->options.settings.tls, options->clock, &net->shared.tls);
	if (!error)
		error = make_workers(net);
	if (!error)
		error = bind_transport(net, WORKER_TCP, options->settings.tcp_port, &net->tcp_port);
	if (!error)
		error = bind_transport(net, WORKER_UDP, options->settings.udp_port, &net->udp_port);
	if (!error)
		error = bind_unix(net);
	if (error) {
		net_close(net);
		return error;
	}
	net->shared.udp_port = net->udp_port;
	*ret = net;
	return 0;
}

static uint32_t open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t cnt = 0;

	while (dir && readdir(dir))
		cnt++;
	if (dir)
		closedir(dir);
	return cnt;
}

/* Without a descriptor left nobody could be told so, but only be kept waiting. */
static int limit_conns(struct net *net)
{
	uint32_t *conn_max = &net->options.settings.conn_max, asked = *conn_max;
	uint64_t beside = open_files() + FILES_TO_COME;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= beside + asked)
		return 0;
	if (limit.rlim_cur <= beside) {
		log_line(LOG_ERROR, "net",
			 "only %llu open files are allowed, too few for one connection; raise "
			 "LimitNOFILE (ulimit -n)",
			 (unsigned long long)limit.rlim_cur);
		return -EMFILE;
	}
	*conn_max = (uint32_t)(limit.rlim_cur - beside);
	command_limit_conns(net->command, *conn_max);
	log_line(LOG_WARN, "net",
		 "only %llu open files are allowed: at most %u connections, not -c %u; raise "
		 "LimitNOFILE (ulimit -n)",
		 (unsigned long long)limit.rlim_cur, *conn_max, asked);
	return 0;
}

int net_start(struct net *net)
{
	int error = limit_conns(net);

	if (error)
		return error;
	if (net->shared.tls)
		tls_check_files(net->shared.tls);
	for (uint32_t i = 0; i < net->worker_cnt; i++) {
		error = worker_start(&net->workers[i]);
		if (error) {
			log_line(LOG_ERROR, "net", "worker %u did not start: %s", i,
				 strerror(-error));
			net_stop(net);
			return error;
		}
	}
	return 0;
}

void net_stop(struct net *net)
{
	for (uint32_t i = 0; i < net->worker_cnt; i++)
		worker_stop(&net->workers[i]);
	for (uint32_t i = 0; i < net->worker_cnt; i++)
		worker_join(&net->workers[i]);
}

void net_close(struct net *net)
{
	if (!net)
		return;
	if (net->options.settings.unix_path)
		sock_remove_unix(net->options.settings.unix_path, &net->unix_file);
	for (uint32_t i = 0; i < net->worker_cnt; i++)
		worker_fini(&net->workers[i]);
	command_free(net->command);
	tls_close(net->shared.tls);
	alloc_free(net->allow);
	alloc_free(net);
}

uint32_t net_share(struct net *net, int *ret_fds, uint32_t max)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < net->worker_cnt; i++) {
		const struct worker *w = &net->workers[i];

		for (uint32_t n = 0; n < w->socket_cnt && cnt < max; n++) {
			int fd = -1;

			if (w->sockets[n].kind != WORKER_UNIX || i == 0)
				fd = fcntl(w->sockets[n].source.fd, F_DUPFD_CLOEXEC, 0);
			if (fd >= 0)
				ret_fds[cnt++] = fd;
		}
	}
	net->unix_file = (struct sock_file){ 0 };
	net->shared.goes_on = true;
	return cnt;
}

uint16_t net_tcp_port(const struct net *net)
{
	return net->tcp_port;
}

uint16_t net_udp_port(const struct net *net)
{
	return net->udp_port;
}

void net_print_ports(const struct net *net, FILE *out)
{
	const struct worker *w = &net->workers[0]; /* every worker has a socket on each address */

	for (uint32_t i = 0; i < w->socket_cnt; i++) {
		const struct worker_socket *socket = &w->sockets[i];

		if (socket->kind != WORKER_UNIX)
			fprintf(out, "%s INET%s: %u\n", socket->kind == WORKER_UDP ? "UDP" : "TCP",
				socket->addr.storage.ss_family == AF_INET6 ? "6" : "",
				sock_port(&socket->addr));
	}
}

struct command *net_command(struct net *net)
{
	return net->command;
}

uint32_t net_times(const struct net *net, uint64_t *ret_ends_ns, uint64_t *ret_cnts, uint32_t max)
{
	uint32_t cnt = WORKER_TIME_CNT < max ? WORKER_TIME_CNT : max;

	for (uint32_t i = 0; i < cnt; i++) {
		ret_ends_ns[i] = worker_time_end_ns(i);
		ret_cnts[i] = 0;
		for (uint32_t w = 0; w < net->worker_cnt; w++)
			ret_cnts[i] += atomic_load_explicit(&net->workers[w].times[i],
							    memory_order_relaxed);
	}
	return cnt;
}
