/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/pgserver.h"

#include <fcntl.h>
#include <postgresql/libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIN "/usr/lib/postgresql/15/bin/"
#define NOBODY 65534
#define START_TRIES 1000
#define TRY_US 20000

static void die(const char *what, const char *why)
{
	fprintf(stderr, "pgserver: %s: %s\n", what, why);
	abort();
}

static void drop_root(void)
{
	if (geteuid() == 0 && (setgid(NOBODY) || setuid(NOBODY)))
		_exit(126);
}

static void quiet_output(const char *dir)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/log", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	fd = open("/dev/null", O_RDONLY);
	dup2(fd, STDIN_FILENO);
}

static void make_cluster(const struct pgserver *server)
{
	char data[64];
	int status;
	pid_t child = fork();

	snprintf(data, sizeof(data), "%s/data", server->dir);
	if (child == 0) {
		drop_root();
		quiet_output(server->dir);
		execl(BIN "initdb", "initdb", "-D", data, "-U", "xc", "-A", "trust", "-E", "UTF8",
		      "--locale=C", "--no-sync", "--no-instructions", (char *)NULL);
		_exit(127);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		die("initdb", server->dir);
}

bool pgserver_installed(void)
{
	return access(BIN "postgres", X_OK) == 0;
}

void pgserver_init(struct pgserver *server)
{
	*server = (struct pgserver){ .dir = "/tmp/xcpg.XXXXXX" };
	if (!mkdtemp(server->dir) || (geteuid() == 0 && chown(server->dir, NOBODY, NOBODY)))
		die("mkdtemp", server->dir);
	snprintf(server->conninfo, sizeof(server->conninfo), "host=%s dbname=postgres user=xc",
		 server->dir);
	make_cluster(server);
}

void pgserver_fini(struct pgserver *server)
{
	char command[64];

	pgserver_stop(server);
	if (!server->dir[0])
		return;
	snprintf(command, sizeof(command), "rm -rf '%s'", server->dir);
	if (system(command))
		die(command, "failed");
	server->dir[0] = '\0';
}

static void exec_server(const struct pgserver *server, const char *setting, pid_t parent)
{
	char data[64], sockets[64];

	snprintf(data, sizeof(data), "%s/data", server->dir);
	snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s", server->dir);
	drop_root();
	/* After the change of user, which would undo it. */
	prctl(PR_SET_PDEATHSIG, SIGQUIT);
	if (getppid() != parent)
		_exit(125);
	quiet_output(server->dir);
	execl(BIN "postgres", "postgres", "-D", data, "-c", "listen_addresses=", "-c", sockets,
	      "-c", "fsync=off", "-c", "shared_buffers=8MB", "-c", "max_connections=40", "-c",
	      "dynamic_shared_memory_type=mmap", "-c", setting ? setting : "autovacuum=off",
	      (char *)NULL);
	_exit(127);
}

void pgserver_start(struct pgserver *server, const char *setting)
{
	pid_t parent = getpid();

	server->pid = fork();
	if (server->pid == 0)
		exec_server(server, setting, parent);
	for (int i = 0; i < START_TRIES; i++) {
		if (PQping(server->conninfo) == PQPING_OK)
			return;
		if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
			break;
		usleep(TRY_US);
	}
	die("the server did not start", server->dir);
}

void pgserver_stop(struct pgserver *server)
{
	if (!server->pid)
		return;
	/* Immediate: what is in it is of no worth. */
	kill(server->pid, SIGQUIT);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

static void signal_all(const struct pgserver *server, int number)
{
	char path[64], line[8192];
	FILE *file;
	char *at = line;
	long child;

	/* The server first: it starts no more processes then. */
	kill(server->pid, number);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", server->pid, server->pid);
	file = fopen(path, "r");
	if (!file || !fgets(line, sizeof(line), file))
		die("no children in", path);
	fclose(file);
	while ((child = strtol(at, &at, 10)) > 0)
		kill((pid_t)child, number);
}

void pgserver_freeze(const struct pgserver *server)
{
	signal_all(server, SIGSTOP);
}

void pgserver_thaw(const struct pgserver *server)
{
	signal_all(server, SIGCONT);
}

static void ignore_notice(void *ctx, const char *text)
{
	(void)ctx;
	(void)text;
}

void pgserver_run(const struct pgserver *server, const char *text, char *ret, size_t ret_max)
{
	PGconn *pg = PQconnectdb(server->conninfo);
	ExecStatusType status;
	PGresult *result;

	PQsetNoticeProcessor(pg, ignore_notice, NULL);
	result = PQexec(pg, text);
	status = PQresultStatus(result);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die(text, PQerrorMessage(pg));
	if (ret)
		snprintf(ret, ret_max, "%s", PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	PQfinish(pg);
}
