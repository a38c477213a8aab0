/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a round found, for whoever asks: the list, and the answers to questions about single keys.
 * Reasons are the policy's own (policy.h): those it decided candidates by, and for others what it
 * says of them now.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fastpath/kmap.h"
#include "promote/impl.h"

/* --- one row --- */

static void row_of_resident(struct promoter *p, const struct resident *resident,
			    struct promoter_row *row)
{
	struct policy_key known = { .read_rate = rate_of(resident),
				    .write_rate = resident->write_rate,
				    .pinned = resident->pinned };
	struct span key = { 0 };
	uint64_t hash = 0;
	enum kmap_state state = kmap_state(p->options.kmap, resident->idx, &key, &hash);

	*row = (struct promoter_row){
		.key_len = (uint8_t)key.len,
		.read_rate = resident->read_rate,
		.write_rate = resident->write_rate,
		.kernel_rate = resident->kernel.slow.mean,
		.resident = state == KMAP_SERVING || state == KMAP_ABSENT,
		.absent = state == KMAP_ABSENT,
		.pinned = resident->pinned,
	};
	memcpy(row->key, key.ptr, key.len);
	know_key(p, key, hash, &known, &row->value_len);
	row->ttl_ms = known.ttl_ms;
	row->reason = policy_judge_resident(&known, p->threshold);
	/* A write that comes this moment may be ahead of the mending. */
	if (state == KMAP_VACANT && known.item == POLICY_HOT)
		row->reason = POLICY_RETURNING;
	else if (state == KMAP_ABSENT && row->reason == POLICY_RETURNING)
		row->reason = POLICY_KEPT;
}

/* Of one without a place; lock held. */
static void row_of_wish(struct promoter *p, const struct wish *wish, struct promoter_row *row)
{
	struct span key = span_of(wish->what.key, wish->what.key_len);
	struct policy_key known = { .banned = wish->what.ban, .pinned = !wish->what.ban };

	*row = (struct promoter_row){ .key_len = wish->what.key_len,
				      .read_rate = wish->read_rate,
				      .write_rate = wish->write_rate,
				      .pinned = !wish->what.ban,
				      .banned = wish->what.ban };
	memcpy(row->key, wish->what.key, wish->what.key_len);
	know_key(p, key, wish->hash, &known, &row->value_len);
	row->ttl_ms = known.ttl_ms;
	row->reason = wish->what.ban ? policy_judge(&known, p->threshold) : wish->reason;
}

static void row_of_candidate(const struct promoter *p, uint32_t c, struct promoter_row *row)
{
	const struct hot_key *hot = &p->hot[p->candidates[c].hot];

	*row = (struct promoter_row){
		.key_len = hot->key_len,
		.read_rate = hot->read_rate,
		.write_rate = hot->write_rate,
		.value_len = p->candidates[c].value_len,
		.ttl_ms = p->policy_keys[c].ttl_ms,
		.reason = p->candidate_reasons[c],
	};
	memcpy(row->key, hot->key, hot->key_len);
}

/* --- the list --- */

static double listed_rate(const struct promoter *p, uint32_t at)
{
	return rate_of(&p->residents[p->listed[at]]);
}

/* listed[at] to its place in a heap of `cnt` whose root is the coldest. */
static void sift_down(struct promoter *p, uint32_t at, uint32_t cnt)
{
	for (uint32_t child; (child = 2 * at + 1) < cnt; at = child) {
		uint32_t own = p->listed[at];

		child += child + 1 < cnt && listed_rate(p, child + 1) < listed_rate(p, child);
		if (listed_rate(p, at) <= listed_rate(p, child))
			return;
		p->listed[at] = p->listed[child];
		p->listed[child] = own;
	}
}

/* The hottest residents, as many as are listed, in any order. Returns how many. */
static uint32_t pick_listed(struct promoter *p)
{
	uint32_t cnt = p->resident_cnt < ROWS_MAX ? p->resident_cnt : ROWS_MAX;

	for (uint32_t r = 0; r < cnt; r++)
		p->listed[r] = r;
	if (p->resident_cnt == cnt)
		return cnt;
	for (uint32_t at = cnt / 2; at > 0; at--)
		sift_down(p, at - 1, cnt);
	for (uint32_t r = cnt; r < p->resident_cnt; r++) {
		if (rate_of(&p->residents[r]) <= listed_rate(p, 0))
			continue;
		p->listed[0] = r;
		sift_down(p, 0, cnt);
	}
	return cnt;
}

static int by_rate(const void *a, const void *b)
{
	const struct promoter_row *left = a, *right = b;
	double l = left->read_rate + left->kernel_rate, r = right->read_rate + right->kernel_rate;

	return l < r ? 1 : l > r ? -1 : 0;
}

static bool has_place(const struct promoter *p, struct span key, uint64_t hash, uint32_t *ret_idx)
{
	return p->options.kmap && kmap_find(p->options.kmap, key, hash, ret_idx);
}

/* Lock held. */
static void list_rows(struct promoter *p, uint32_t listed_cnt)
{
	uint32_t cnt = 0, idx;

	for (uint32_t at = 0; at < listed_cnt; at++)
		row_of_resident(p, &p->residents[p->listed[at]], &p->rows[cnt++]);
	for (uint32_t i = 0; i < p->wish_cnt; i++) {
		const struct wish *wish = &p->wishes[i];

		if (!has_place(p, span_of(wish->what.key, wish->what.key_len), wish->hash, &idx))
			row_of_wish(p, wish, &p->rows[cnt++]);
	}
	for (uint32_t c = 0; c < p->candidate_cnt && c < ROWS_MAX; c++) {
		const struct hot_key *hot = &p->hot[p->candidates[c].hot];
		struct span key = span_of(hot->key, hot->key_len);

		/* It may have been promoted in this round, or been wished for since. */
		if (!has_place(p, key, hot->hash, &idx) && !wish_find(p, key, hot->hash))
			row_of_candidate(p, c, &p->rows[cnt++]);
	}
	qsort(p->rows, cnt, sizeof(*p->rows), by_rate);
	p->row_cnt = cnt < ROWS_MAX ? cnt : ROWS_MAX;
}

/* --- questions --- */

/* Of a key without place or wish; hot NULL: nobody asks for it. */
static void row_of_other(const struct promoter *p, struct span key, uint64_t hash,
			 const struct hot_key *hot, struct promoter_row *row)
{
	struct policy_key known = { .read_rate = hot ? hot->read_rate : 0,
				    .read_doubt = hot ? hot->read_doubt : 0,
				    .write_rate = hot ? hot->write_rate : 0 };

	*row = (struct promoter_row){ .key_len = (uint8_t)key.len,
				      .read_rate = known.read_rate,
				      .write_rate = known.write_rate };
	memcpy(row->key, key.ptr, key.len);
	know_key(p, key, hash, &known, &row->value_len);
	row->ttl_ms = known.ttl_ms;
	row->reason = policy_judge(&known, p->threshold);
}

/* UINT32_MAX: it is none. */
static uint32_t candidate_find(const struct promoter *p, struct span key, uint64_t hash)
{
	for (uint32_t c = 0; c < p->candidate_cnt; c++) {
		const struct hot_key *hot = &p->hot[p->candidates[c].hot];

		if (hot->hash == hash && span_equal(key, span_of(hot->key, hot->key_len)))
			return c;
	}
	return UINT32_MAX;
}

/* Lock held. */
static void answer(struct promoter *p, struct question *question)
{
	struct span key = span_of(question->key, question->key_len);
	uint64_t hash = store_hash(p->options.store, key);
	const struct wish *wish = wish_find(p, key, hash);
	uint32_t c = candidate_find(p, key, hash), idx;

	if (has_place(p, key, hash, &idx))
		row_of_resident(p, &p->residents[p->resident_at[idx]], &question->row);
	else if (wish)
		row_of_wish(p, wish, &question->row);
	else if (c == UINT32_MAX)
		row_of_other(p, key, hash, NULL, &question->row);
	else if (p->candidate_reasons[c] == POLICY_COLD)
		/* Nobody has looked at its item yet, perhaps. */
		row_of_other(p, key, hash, &p->hot[p->candidates[c].hot], &question->row);
	else
		row_of_candidate(p, c, &question->row);
}

void rows_publish(struct promoter *p)
{
	uint32_t listed_cnt = pick_listed(p);

	pthread_mutex_lock(&p->lock);
	list_rows(p, listed_cnt);
	if (p->question.is_new)
		answer(p, &p->question);
	p->question.is_new = false;
	p->counted_residents = p->resident_cnt;
	p->round++;
	pthread_cond_broadcast(&p->done);
	pthread_mutex_unlock(&p->lock);
}
