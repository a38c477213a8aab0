/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon - a real xdpcached with the fast path on lo, for C tests.
 *
 * Does      moves the test into a network namespace of its own, starts build/xdpcached there with
 *           generic XDP on lo and pins of its own, waits until the kernel serves, and afterwards
 *           stops it, unloads, and checks that nothing is left.
 * Shape     control requests are JSON lines; kernel runs are BPF_PROG_TEST_RUN of the very program
 *           that is attached to lo.
 * Errors    what should not happen in a test prints and aborts; abort takes the daemon with it.
 * Owner     the test; one daemon at a time.
 * Threads   main; daemon_kernel_get may be called by several threads.
 */
#ifndef XC_TESTS_DAEMON_H
#define XC_TESTS_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

#include "abi/conf.h"
#include "abi/outcome.h"
#include "base/span.h"

#define DAEMON_PORT 11211
#define DAEMON_HOST "127.0.0.1"
#define DAEMON_ARGS_MAX 32

struct daemon {
	pid_t pid;
	int prog_fd, stats_fd;
	char pin_root[64];
	char dir[80]; /* control socket, log file */
};

/* more: further arguments, NULL at the end; later ones win. */
void daemon_start(struct daemon *daemon, const char *const *more);
/* Ends it with SIGTERM, unloads; false (and says so) if anything is left or it ended badly. */
bool daemon_stop(struct daemon *daemon);

/* Keeps the key in the kernel; returns when it is there. The key must exist. */
void daemon_pin(struct daemon *daemon, struct span key);
/* The same without asking the kernel for it. */
void daemon_pin_unseen(struct daemon *daemon, struct span key);
void daemon_unpin(struct daemon *daemon, struct span key);

/* Sum over CPUs. */
void daemon_stats(const struct daemon *daemon, struct xc_stats *ret);
uint64_t daemon_hits(const struct daemon *daemon);

#define DAEMON_REPLY_MAX 4608 /* more than a program writes */

/*
 * Asks the attached program with one test run of "text" in a datagram from lo. True when it
 * answered: ret_reply is the reply's UDP payload, frame header included, in caller's memory.
 */
bool daemon_kernel_get(const struct daemon *daemon, uint16_t id, struct span text,
		       uint8_t ret_reply[DAEMON_REPLY_MAX], size_t *ret_len);

#endif
