/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * etcdserver - an etcd of the test's own.
 *
 * Does      runs up to three real members on loopback, on free ports, in a new folder below /tmp;
 *           kills, freezes and starts them again.
 * Shape     members keep etcd's default times: a heartbeat each 100 ms, an election after 1 s.
 * Errors    whatever goes wrong ends the test.
 * Owner     the test. Members end with the test's process, however that ends.
 * Threads   the test's.
 */
#ifndef XC_TESTS_ETCDSERVER_H
#define XC_TESTS_ETCDSERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ETCDSERVER_MAX 3

struct etcdserver {
	char dir[32];
	uint32_t cnt;
	uint16_t ports[ETCDSERVER_MAX], peer_ports[ETCDSERVER_MAX];
	pid_t pids[ETCDSERVER_MAX]; /* 0: does not run */
	char urls[ETCDSERVER_MAX][40];
};

/* False: a test that needs it is skipped (apt install etcd-server). */
bool etcdserver_installed(void);
/* Waits until a leader is there. */
void etcdserver_init(struct etcdserver *server, uint32_t cnt);
void etcdserver_fini(struct etcdserver *server);

void etcdserver_start(struct etcdserver *server, uint32_t member);
void etcdserver_kill(struct etcdserver *server, uint32_t member);
void etcdserver_freeze(const struct etcdserver *server, uint32_t member);
void etcdserver_thaw(const struct etcdserver *server, uint32_t member);
/* The member that the others follow; waits for one. */
uint32_t etcdserver_leader(const struct etcdserver *server);

#endif
