/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/etcdserver.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "/usr/bin/etcd"
#define TRIES 1000
#define TRY_US 20000

static void die(const char *what, const char *why)
{
	fprintf(stderr, "etcdserver: %s: %s\n", what, why);
	abort();
}

bool etcdserver_installed(void)
{
	return access(PROGRAM, X_OK) == 0;
}

static uint16_t free_port(int *ret_fd)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);

	*ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*ret_fd < 0 || bind(*ret_fd, (struct sockaddr *)&addr, len) ||
	    getsockname(*ret_fd, (struct sockaddr *)&addr, &len))
		die("no port", "bind");
	return ntohs(addr.sin_port);
}

static void quiet_output(const struct etcdserver *server, uint32_t member)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/log%u", server->dir, member);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
}

static void exec_member(const struct etcdserver *server, uint32_t member, pid_t parent)
{
	char name[16], data[64], peer[40], cluster[256] = "";
	size_t len = 0;

	snprintf(name, sizeof(name), "m%u", member);
	snprintf(data, sizeof(data), "%s/m%u", server->dir, member);
	snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", server->peer_ports[member]);
	for (uint32_t i = 0; i < server->cnt; i++)
		len += (size_t)snprintf(cluster + len, sizeof(cluster) - len,
					"%sm%u=http://127.0.0.1:%u", i ? "," : "", i,
					server->peer_ports[i]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	quiet_output(server, member);
	/* One thread that works: it shares the machine with what is being tested. */
	setenv("GOMAXPROCS", "1", 1);
	execl(PROGRAM, "etcd", "--name", name, "--data-dir", data, "--listen-client-urls",
	      server->urls[member], "--advertise-client-urls", server->urls[member],
	      "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
	      "--initial-cluster", cluster, "--log-level", "warn", (char *)NULL);
	_exit(127);
}

void etcdserver_start(struct etcdserver *server, uint32_t member)
{
	pid_t parent = getpid();

	server->pids[member] = fork();
	if (server->pids[member] == 0)
		exec_member(server, member, parent);
}

void etcdserver_init(struct etcdserver *server, uint32_t cnt)
{
	int fds[2 * ETCDSERVER_MAX];

	*server = (struct etcdserver){ .dir = "/tmp/xcetcd.XXXXXX", .cnt = cnt };
	if (!mkdtemp(server->dir))
		die("mkdtemp", server->dir);
	for (uint32_t i = 0; i < cnt; i++) {
		server->ports[i] = free_port(&fds[2 * i]);
		server->peer_ports[i] = free_port(&fds[2 * i + 1]);
		snprintf(server->urls[i], sizeof(server->urls[i]), "http://127.0.0.1:%u",
			 server->ports[i]);
	}
	for (uint32_t i = 0; i < 2 * cnt; i++)
		close(fds[i]);
	for (uint32_t i = 0; i < cnt; i++)
		etcdserver_start(server, i);
	etcdserver_leader(server);
}

void etcdserver_kill(struct etcdserver *server, uint32_t member)
{
	if (!server->pids[member])
		return;
	kill(server->pids[member], SIGKILL);
	waitpid(server->pids[member], NULL, 0);
	server->pids[member] = 0;
}

void etcdserver_fini(struct etcdserver *server)
{
	char command[64];

	for (uint32_t i = 0; i < server->cnt; i++)
		etcdserver_kill(server, i);
	if (!server->dir[0])
		return;
	snprintf(command, sizeof(command), "rm -rf '%s'", server->dir);
	if (system(command))
		die(command, "failed");
	server->dir[0] = '\0';
}

void etcdserver_freeze(const struct etcdserver *server, uint32_t member)
{
	kill(server->pids[member], SIGSTOP);
}

void etcdserver_thaw(const struct etcdserver *server, uint32_t member)
{
	kill(server->pids[member], SIGCONT);
}

static size_t keep(char *bytes, size_t size, size_t cnt, void *arg)
{
	char *text = arg;
	size_t len = strlen(text);

	if (len + size * cnt < 4096)
		memcpy(text + len, bytes, size * cnt);
	return size * cnt;
}

/* It is the leader, says it itself. */
static bool is_leader(const struct etcdserver *server, uint32_t member)
{
	char url[96], text[4096] = "";
	CURL *easy = curl_easy_init();
	const char *id, *leader;
	json_t *root;
	bool is;

	snprintf(url, sizeof(url), "%s/v3/maintenance/status", server->urls[member]);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "{}");
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 300L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, text);
	curl_easy_perform(easy);
	curl_easy_cleanup(easy);
	root = json_loads(text, 0, NULL);
	id = json_string_value(json_object_get(json_object_get(root, "header"), "member_id"));
	leader = json_string_value(json_object_get(root, "leader"));
	is = id && leader && strcmp(id, leader) == 0;
	json_decref(root);
	return is;
}

uint32_t etcdserver_leader(const struct etcdserver *server)
{
	for (int i = 0; i < TRIES; i++) {
		for (uint32_t member = 0; member < server->cnt; member++) {
			if (server->pids[member] && is_leader(server, member))
				return member;
		}
		usleep(TRY_US);
	}
	die("no leader", server->dir);
	return 0;
}
