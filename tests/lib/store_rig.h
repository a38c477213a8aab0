/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store_rig - a store on memory of a test's own, with a clock set by hand.
 *
 * Does      maps a small log, makes a store in it with its reclaimer running; sets that wait as a
 *           worker does.
 * Shape     the log is shared memory: a forked child writes the same bytes.
 * Units     bytes; times in ns.
 * Errors    asserts.
 * Threads   any may use rig->store with a store_thread of its own.
 */
#ifndef XC_TESTS_STORE_RIG_H
#define XC_TESTS_STORE_RIG_H

#include "lib/fake_clock.h"
#include "store/store.h"

#define STORE_RIG_BOOT_NS (1000 * NSEC_PER_SEC)
#define STORE_RIG_THREADS 6

struct store_rig {
	struct fake_clock time;
	struct store_options options; /* as the store got them */
	struct store *store;
	struct store_thread *t; /* the test's main thread */
};

/* Fields of `wish` that are 0 get defaults; log.base NULL: a new mapping of log.bytes. */
void store_rig_init(struct store_rig *rig, const struct store_options *wish);
/* The same in two steps, for watchers and for logs to be adopted. */
void store_rig_open(struct store_rig *rig, const struct store_options *wish);
void store_rig_start(struct store_rig *rig);
/* Ends the store, keeps the log. */
void store_rig_stop(struct store_rig *rig);
void store_rig_fini(struct store_rig *rig);

uint8_t *store_rig_map(uint64_t bytes);

/* store_put that waits while it is told STORE_AGAIN; gives up (asserts) after ten seconds. */
enum store_status store_rig_put(struct store_thread *t, const struct store_put *put,
				struct span value, uint64_t *ret_cas);
/* Waits once; asserts that the ten seconds are not over. *tries starts at 0. */
void store_rig_wait(struct store_thread *t, uint32_t *tries);
enum store_status store_rig_set(struct store_rig *rig, struct span key, struct span value,
				uint64_t expire_ns);
/* Copies the whole value to `to` (room for it is there); false if absent. */
bool store_rig_get(struct store_rig *rig, struct span key, uint8_t *to, struct item_view *ret);
/* True once `free_bytes` of the log are free; false after about five seconds. */
bool store_rig_await_free(struct store_rig *rig, uint64_t free_bytes);

#endif
