/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle - what a cache may answer, given what it has acknowledged.
 *
 * Does      judges every reply: its bytes belong to the key asked for, were written in this run,
 *           are whole, and are not older than anything acknowledged or seen before the request
 *           left.
 * Shape     every write of a key (set or delete) takes the key's next version; a key has at most
 *           one write on its way. A read notes the key's floor when it leaves; its reply must have
 *           a version from there up to the last one issued. What a read shows raises the floor for
 *           reads that leave later: acknowledged writes, versions seen, and misses (what was gone
 *           cannot come back). That is linearizability for one register, as far as one client that
 *           is the only writer can see it.
 *           A miss is never wrong by itself, since caches evict; a miss of a key whose last write
 *           is an acknowledged set with no cause to be gone is ORACLE_FALSE_MISS, wrong only if
 *           the server evicted nothing.
 * Limits    a value of n < 8 bytes hides staleness of a multiple of 2^8n versions; TTLs are checked
 *           with ORACLE_TTL_SLACK_NS on either side, because memcached counts them in seconds.
 * Owner     the caller's keys.
 */
#ifndef XC_LOAD_ORACLE_H
#define XC_LOAD_ORACLE_H

#include "keys.h"
#include "text.h"

#define ORACLE_TTL_SLACK_NS 1500000000ULL

enum oracle_verdict {
	ORACLE_HIT,
	ORACLE_MISS,
	ORACLE_FALSE_MISS,
	/* wrong: */
	ORACLE_STALE,	  /* older than an acknowledged write, or than what was seen before */
	ORACLE_EXPIRED,	  /* its TTL had run out */
	ORACLE_FOREIGN,	  /* another key's, or another run's */
	ORACLE_UNWRITTEN, /* a version that nobody wrote */
	ORACLE_CORRUPT,	  /* no value at all */
	ORACLE_FLAGS,	  /* right value, wrong flags */
};

#define ORACLE_WRONG_FIRST ORACLE_STALE
#define ORACLE_VERDICT_CNT (ORACLE_FLAGS + 1)

extern const char *const oracle_names[ORACLE_VERDICT_CNT];

struct oracle {
	struct keys *keys;
	uint64_t run;
	uint32_t value_max;
};

/* A read on its way. */
struct oracle_read {
	uint64_t issue_ns;
	uint32_t effective;
	uint32_t floor;
	uint32_t live_version;
};

struct oracle_write {
	uint32_t version;
	uint32_t ttl_sec; /* 0: none */
	bool remove;
};

void oracle_read_start(const struct oracle *oracle, uint32_t key_idx, uint64_t now_ns,
		       struct oracle_read *ret);
/* Judges a TEXT_VALUE or TEXT_MISS; *ret_version: what the value claims, 0 if nothing. */
enum oracle_verdict oracle_read_end(struct oracle *oracle, uint32_t key_idx,
				    const struct oracle_read *read, const struct text_reply *reply,
				    uint32_t *ret_version);

/* False: the key has a write on its way already. */
bool oracle_write_start(struct oracle *oracle, uint32_t key_idx, bool remove, uint32_t ttl_sec,
			struct oracle_write *ret);
/* done: the server acknowledged. Else nothing is known of it: it may or may not have happened. */
void oracle_write_end(struct oracle *oracle, uint32_t key_idx, const struct oracle_write *write,
		      bool done, uint64_t now_ns);

/* Length, flags and bytes of a version. */
uint32_t oracle_value_len(const struct oracle *oracle, uint32_t key_idx, uint32_t version);
uint32_t oracle_value_flags(const struct oracle *oracle, uint32_t key_idx, uint32_t version);
void oracle_value_compose(const struct oracle *oracle, uint32_t key_idx, uint32_t version,
			  uint8_t *to);

#endif
