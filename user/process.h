/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process - what a daemon does with itself.
 *
 * Does      goes to the background, writes its pid file, raises its descriptor limit, drops its
 *           privileges, hands over signals as a descriptor.
 * Errors    negative errno after one log line that says what to do next.
 * Threads   main, before other threads run.
 */
#ifndef XC_PROCESS_H
#define XC_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

int process_daemonize(void);
/* NULL path: nothing. */
int process_write_pid(const char *path);
/* Only a file that holds our own number: a successor may have written its into it. */
void process_remove_pid(const char *path);
/* Room for that many connections and a few files more, or for as many as may be: net says so. */
void process_raise_files(uint32_t conn_max);
/* -ENOENT: root is to become a user that does not exist; to be asked before anything is made. */
int process_check_user(const char *user);
/*
 * Becomes `user` (NULL, or not root: stays who it is) and gives up every capability, now and for
 * whatever it might execute.
 */
int process_drop_privileges(const char *user);
/*
 * A SIGHUP that comes before there is anything to reload waits for process_signal_fd: a supervisor
 * sends it to who takes over as soon as it knows the pid, and its default is to end the process.
 */
int process_defer_reload(void);
/* Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1 in every thread and returns a descriptor that tells of
 * them. */
int process_signal_fd(void);

#endif
