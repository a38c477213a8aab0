/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model - what memcached's protocol text says a server must answer, as a plain dictionary.
 *
 * Does      carries out one command at a time and writes the reply it must get. Shares no code with
 *           the daemon: a byte array a key, times as windows, decimal by printf.
 * Shape     keys by number, set up once. Expiry happens at a moment only known to lie between two:
 *           a command that fell into that window leaves the key unknown until a command settles it.
 * Units     boot-time ns; exptime as the client wrote it.
 * Owner     the caller; texts are written to the caller's memory, MODEL_TEXT_MAX bytes of it.
 * Threads   one.
 * Source    memcached doc/protocol.txt; memcached 1.6 where that is silent (decr pads with spaces,
 *           incr wraps at 2^64).
 */
#ifndef XC_TESTS_MODEL_H
#define XC_TESTS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"
#include "base/span.h"

#define MODEL_KEY_MAX 250
#define MODEL_VALUE_MAX 8192
#define MODEL_TEXT_MAX (MODEL_VALUE_MAX + 512)

enum model_verb {
	MODEL_SET,
	MODEL_ADD,
	MODEL_REPLACE,
	MODEL_APPEND,
	MODEL_PREPEND,
	MODEL_CAS,
	MODEL_INCR,
	MODEL_DECR,
	MODEL_TOUCH,
	MODEL_GAT,
	MODEL_DELETE,
	MODEL_FLUSH,
	MODEL_VERB_CNT,
};

struct model_op {
	enum model_verb verb;
	uint32_t key;
	uint32_t flags;
	int64_t exptime;
	uint64_t number; /* delta, or cas unique */
	uint32_t value_len;
	uint8_t value[MODEL_VALUE_MAX];
};

enum model_state {
	MODEL_DEAD,
	MODEL_ALIVE,
	MODEL_EITHER, /* its time is running out right now */
	MODEL_UNKNOWN,
};

struct model_key {
	uint8_t key[MODEL_KEY_MAX];
	uint8_t key_len;
	bool live;    /* was stored and not deleted; may have expired */
	bool unknown; /* a command met its last moment */
	bool cas_known;
	uint64_t cas;
	uint64_t cas_before; /* of the version before, 0: not seen */
	uint32_t flags;
	uint64_t dies_from_ns, dies_until_ns; /* 0: never */
	uint32_t value_len;
	uint8_t value[MODEL_VALUE_MAX];
};

struct model {
	struct model_key *keys;
	uint32_t key_cnt;
	int64_t wall_ahead_ns; /* Unix time less boot time */
};

/* key_cnt different random keys, 1 to 250 bytes of everything a key may hold. */
void model_init(struct model *model, uint32_t key_cnt, struct rand *r);
void model_fini(struct model *model);

/* The command as a client writes it. */
size_t model_text(const struct model *model, const struct model_op *op, char *ret);
/* "get KEY" or "gets KEY" */
size_t model_get_text(const struct model *model, uint32_t key, bool gets, char *ret);

/*
 * Carries the command out, which happened between t0 and t1. Returns the length of the reply it
 * must have had, 0 when either of two was right (the key is unknown from here).
 */
size_t model_apply(struct model *model, const struct model_op *op, uint64_t t0_ns, uint64_t t1_ns,
		   char *ret);

enum model_state model_state(const struct model *model, uint32_t key, uint64_t t0_ns,
			     uint64_t t1_ns);
/*
 * True if the reply to get or gets of a living key is right. The cas unique of a gets must be the
 * one seen before of this version, or else a new one, which is then noted.
 */
bool model_check_value(struct model *model, uint32_t key, bool gets, struct span reply);

#endif
