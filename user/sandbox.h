/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox - the system calls that a serving daemon may make.
 *
 * Does      installs a seccomp filter: what serving needs is allowed, of bpf(2) only reading and
 *           writing maps. Anything else fails with EPERM, and is named in the log once.
 * Errors    negative errno after one log line. A kernel without seccomp: a warning, and 0.
 * Threads   main, after privileges were dropped and before other threads exist: they inherit it.
 * Source    seccomp(2); the list was found by tracing the tests.
 */
#ifndef XC_SANDBOX_H
#define XC_SANDBOX_H

int sandbox_enter(void);

#endif
