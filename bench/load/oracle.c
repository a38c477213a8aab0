/* SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

#include <assert.h>

#include "base/clock.h"
#include "value.h"

/* How far below the floor a short value is searched, to tell stale from corrupt. */
#define SEARCH_MAX 4096

const char *const oracle_names[ORACLE_VERDICT_CNT] = {
	[ORACLE_HIT] = "hit",
	[ORACLE_MISS] = "miss",
	[ORACLE_FALSE_MISS] = "false miss",
	[ORACLE_STALE] = "stale",
	[ORACLE_EXPIRED] = "expired",
	[ORACLE_FOREIGN] = "foreign",
	[ORACLE_UNWRITTEN] = "never written",
	[ORACLE_CORRUPT] = "corrupt",
	[ORACLE_FLAGS] = "wrong flags",
};

static struct value_id id_of(const struct oracle *oracle, uint32_t key_idx, uint32_t version)
{
	return (struct value_id){
		.run = oracle->run,
		.key_hash = oracle->keys->list[key_idx].hash,
		.version = version,
	};
}

uint32_t oracle_value_len(const struct oracle *oracle, uint32_t key_idx, uint32_t version)
{
	return value_len(oracle->keys->list[key_idx].value_len, oracle->value_max, version);
}

uint32_t oracle_value_flags(const struct oracle *oracle, uint32_t key_idx, uint32_t version)
{
	struct value_id id = id_of(oracle, key_idx, version);

	return value_flags(&id);
}

void oracle_value_compose(const struct oracle *oracle, uint32_t key_idx, uint32_t version,
			  uint8_t *to)
{
	struct value_id id = id_of(oracle, key_idx, version);

	value_compose(to, oracle_value_len(oracle, key_idx, version), &id);
}

void oracle_read_start(const struct oracle *oracle, uint32_t key_idx, uint64_t now_ns,
		       struct oracle_read *ret)
{
	const struct key *key = keys_at(oracle->keys, key_idx);

	ret->issue_ns = now_ns;
	ret->effective = key->effective;
	ret->floor = key->floor;
	ret->live_version = key->busy ? 0 : key->live_version;
}

static bool is_version(const struct oracle *oracle, uint32_t key_idx, struct span value,
		       uint32_t version)
{
	struct value_id id = id_of(oracle, key_idx, version);

	return value.len == oracle_value_len(oracle, key_idx, version) && value_equal(value, &id);
}

/*
 * The version whose bytes these are. Short values repeat, and empty ones are told apart by their
 * flags alone, so there may be several: the oldest that is allowed claims least. Else an older one
 * (which is stale), else any with other flags, else 0.
 */
static uint32_t version_search(const struct oracle *oracle, uint32_t key_idx,
			       const struct text_reply *reply, uint32_t floor)
{
	uint32_t issued = keys_at(oracle->keys, key_idx)->issued;
	uint32_t first = floor ? floor : 1;
	uint32_t lowest = first > SEARCH_MAX ? first - SEARCH_MAX : 1;
	uint32_t other_flags = 0;
	uint32_t version = first;

	while (version >= lowest) {
		if (version <= issued && is_version(oracle, key_idx, reply->value, version)) {
			if (oracle_value_flags(oracle, key_idx, version) == reply->flags)
				return version;
			other_flags = other_flags ? other_flags : version;
		}
		/* up to the last one issued, then down from the floor */
		if (version >= first)
			version = version < issued ? version + 1 : first - 1;
		else
			version--;
	}
	return other_flags;
}

/* Finds whose bytes a value is; *ret_version is 0 unless they are this key's of this run. */
static enum oracle_verdict identify(const struct oracle *oracle, uint32_t key_idx,
				    const struct text_reply *reply, uint32_t floor,
				    uint32_t *ret_version)
{
	struct span value = reply->value;
	struct value_id claimed;
	struct value_id own = id_of(oracle, key_idx, 0);

	*ret_version = 0;
	if (value.len < VALUE_HEADER_LEN) {
		*ret_version = version_search(oracle, key_idx, reply, floor);
		return *ret_version ? ORACLE_HIT : ORACLE_CORRUPT;
	}
	if (!value_identify(value, &claimed))
		return ORACLE_CORRUPT;
	if (claimed.run != own.run || claimed.key_hash != own.key_hash)
		return ORACLE_FOREIGN;
	if (claimed.version == 0 || claimed.version > keys_at(oracle->keys, key_idx)->issued)
		return ORACLE_UNWRITTEN;
	if (!is_version(oracle, key_idx, value, claimed.version))
		return ORACLE_CORRUPT;
	*ret_version = claimed.version;
	return ORACLE_HIT;
}

/* The version has happened. */
static void happen(struct key *key, uint32_t version)
{
	if (key->effective < version)
		key->effective = version;
	if (key->floor < version)
		key->floor = version;
}

static enum oracle_verdict judge_value(struct oracle *oracle, uint32_t key_idx,
				       const struct oracle_read *read,
				       const struct text_reply *reply, uint32_t *ret_version)
{
	struct key *key = keys_at(oracle->keys, key_idx);
	enum oracle_verdict verdict;

	if (!span_equal(reply->key, keys_text(oracle->keys, key_idx)))
		return ORACLE_FOREIGN;
	verdict = identify(oracle, key_idx, reply, read->floor, ret_version);
	if (verdict != ORACLE_HIT)
		return verdict;
	if (*ret_version < read->floor)
		return ORACLE_STALE;
	if (reply->flags != oracle_value_flags(oracle, key_idx, *ret_version))
		return ORACLE_FLAGS;
	/* With a newer one on its way, a short value might be that one's. */
	if (*ret_version == key->live_version && *ret_version == key->issued && key->expire_ns &&
	    read->issue_ns > key->expire_ns)
		return ORACLE_EXPIRED;
	happen(key, *ret_version);
	return ORACLE_HIT;
}

static enum oracle_verdict judge_miss(struct oracle *oracle, uint32_t key_idx,
				      const struct oracle_read *read)
{
	struct key *key = keys_at(oracle->keys, key_idx);
	/* The same acknowledged set from before the read left until now, and no write since. */
	bool expected = read->live_version && key->live_version == read->live_version &&
			key->issued == read->live_version;

	if (expected && key->expire_ns && clock_now_ns(clock_system()) >= key->expire_from_ns)
		expected = false;
	/* Gone is gone: only a write that was not acknowledged when the read left may show now. */
	if (key->floor <= read->effective)
		key->floor = read->effective + 1;
	if (key->live_version && key->live_version <= read->effective)
		key->live_version = 0;
	return expected ? ORACLE_FALSE_MISS : ORACLE_MISS;
}

enum oracle_verdict oracle_read_end(struct oracle *oracle, uint32_t key_idx,
				    const struct oracle_read *read, const struct text_reply *reply,
				    uint32_t *ret_version)
{
	assert(reply->kind == TEXT_VALUE || reply->kind == TEXT_MISS);
	*ret_version = 0;
	if (reply->kind == TEXT_MISS)
		return judge_miss(oracle, key_idx, read);
	return judge_value(oracle, key_idx, read, reply, ret_version);
}

bool oracle_write_start(struct oracle *oracle, uint32_t key_idx, bool remove, uint32_t ttl_sec,
			struct oracle_write *ret)
{
	struct key *key = keys_at(oracle->keys, key_idx);

	if (key->busy)
		return false;
	key->busy = true;
	*ret = (struct oracle_write){
		.version = ++key->issued,
		.ttl_sec = remove ? 0 : ttl_sec,
		.remove = remove,
	};
	return true;
}

void oracle_write_end(struct oracle *oracle, uint32_t key_idx, const struct oracle_write *write,
		      bool done, uint64_t now_ns)
{
	struct key *key = keys_at(oracle->keys, key_idx);
	uint64_t ttl_ns = write->ttl_sec * NSEC_PER_SEC;

	assert(key->busy && key->issued == write->version);
	key->busy = false;
	key->live_version = 0;
	if (!done)
		return;
	happen(key, write->version);
	/* A read may have found it gone before its acknowledgement came: then it is not live. */
	if (!write->remove && key->floor == write->version)
		key->live_version = write->version;
	key->expire_ns = ttl_ns ? now_ns + ttl_ns + ORACLE_TTL_SLACK_NS : 0;
	key->expire_from_ns = 0;
	if (ttl_ns > ORACLE_TTL_SLACK_NS)
		key->expire_from_ns = now_ns + ttl_ns - ORACLE_TTL_SLACK_NS;
}
