/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What other threads ask of the promoter. Wishes and limits are noted under the lock and taken up
 * by the next round; whoever has to know what came of it waits for that.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "fastpath/kmap.h"
#include "promote/impl.h"

#define WAIT_SEC 2

/* A round that began after the call has ended; lock held. False: none within WAIT_SEC. */
static bool wait_round(struct promoter *p)
{
	/* The first may have been half way when the change was made. */
	uint64_t until = p->round + 2;
	struct timespec limit;

	clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += WAIT_SEC;
	while (p->round < until) {
		p->asked = true;
		pthread_cond_signal(&p->wake);
		if (pthread_cond_timedwait(&p->done, &p->lock, &limit))
			return false;
	}
	return true;
}

/* --- wishes --- */

struct wish *wish_find(struct promoter *p, struct span key, uint64_t hash)
{
	for (uint32_t i = 0; i < p->wish_cnt; i++) {
		struct wish *wish = &p->wishes[i];

		if (wish->hash == hash &&
		    span_equal(key, span_of(wish->what.key, wish->what.key_len)))
			return wish;
	}
	return NULL;
}

int wish_add(struct promoter *p, struct span key, bool ban)
{
	uint64_t hash = store_hash(p->options.store, key);
	struct wish *wish = wish_find(p, key, hash);

	if (key.len == 0 || key.len > XC_KEY_MAX)
		return -EMSGSIZE;
	if (!wish && p->wish_cnt == PROMOTER_WISH_MAX)
		return -ENOSPC;
	if (!wish)
		wish = &p->wishes[p->wish_cnt++];
	*wish = (struct wish){ .what = { .key_len = (uint8_t)key.len, .ban = ban },
			       .hash = hash,
			       .reason = POLICY_SOON };
	memcpy(wish->what.key, key.ptr, key.len);
	return 0;
}

int promoter_pin(struct promoter *p, struct span key, enum policy_reason *ret_reason)
{
	const struct wish *wish;
	int err;

	pthread_mutex_lock(&p->lock);
	err = wish_add(p, key, false);
	if (!err) {
		wait_round(p);
		/* Others may have undone it meanwhile. */
		wish = wish_find(p, key, store_hash(p->options.store, key));
		*ret_reason = wish ? wish->reason : POLICY_CHANGED;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

int promoter_ban(struct promoter *p, struct span key)
{
	int err;

	pthread_mutex_lock(&p->lock);
	err = wish_add(p, key, true);
	if (!err)
		wait_round(p);
	pthread_mutex_unlock(&p->lock);
	return err;
}

static int undo(struct promoter *p, struct span key, bool ban)
{
	struct wish *wish;
	int err = -ENOENT;

	pthread_mutex_lock(&p->lock);
	wish = wish_find(p, key, store_hash(p->options.store, key));
	if (wish && wish->what.ban == ban) {
		*wish = p->wishes[--p->wish_cnt];
		wait_round(p);
		err = 0;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

int promoter_unpin(struct promoter *p, struct span key)
{
	return undo(p, key, false);
}

int promoter_unban(struct promoter *p, struct span key)
{
	return undo(p, key, true);
}

uint32_t promoter_wishes(struct promoter *p, struct promoter_wish *ret, uint32_t max)
{
	uint32_t cnt;

	pthread_mutex_lock(&p->lock);
	cnt = p->wish_cnt;
	for (uint32_t i = 0; i < cnt && i < max; i++)
		ret[i] = p->wishes[i].what;
	pthread_mutex_unlock(&p->lock);
	return cnt;
}

/* --- what is there --- */

uint32_t promoter_list(struct promoter *p, struct promoter_row *rows, uint32_t max)
{
	uint32_t cnt;

	pthread_mutex_lock(&p->lock);
	cnt = p->row_cnt < max ? p->row_cnt : max;
	memcpy(rows, p->rows, cnt * sizeof(*rows));
	pthread_mutex_unlock(&p->lock);
	return cnt;
}

int promoter_explain(struct promoter *p, struct span key, struct promoter_row *ret)
{
	struct question *question = &p->question;
	bool answered;

	pthread_mutex_lock(&p->lock);
	while (question->taken)
		pthread_cond_wait(&p->done, &p->lock);
	question->taken = question->is_new = true;
	question->key_len = (uint8_t)key.len;
	memcpy(question->key, key.ptr, key.len);
	wait_round(p);
	answered = !question->is_new;
	*ret = question->row;
	question->taken = question->is_new = false;
	pthread_cond_broadcast(&p->done);
	pthread_mutex_unlock(&p->lock);
	return answered ? 0 : -ETIMEDOUT;
}

uint32_t promoter_moves(struct promoter *p, uint64_t *since, struct promoter_move *ret,
			uint32_t max, uint64_t *ret_missed)
{
	uint64_t oldest, from = *since;
	uint32_t cnt = 0;

	pthread_mutex_lock(&p->moves_lock);
	oldest = p->move_cnt > PROMOTER_MOVE_MAX ? p->move_cnt - PROMOTER_MOVE_MAX : 0;
	if (from > p->move_cnt)
		from = p->move_cnt;
	if (ret_missed)
		*ret_missed = from < oldest ? oldest - from : 0;
	if (from < oldest)
		from = oldest;
	for (; from < p->move_cnt && cnt < max; from++)
		ret[cnt++] = p->moves[from % PROMOTER_MOVE_MAX];
	pthread_mutex_unlock(&p->moves_lock);
	*since = from;
	return cnt;
}

/* --- limits --- */

static uint32_t place_cnt(const struct promoter *p)
{
	return p->options.kmap ? kmap_entry_cnt(p->options.kmap) : 0;
}

void limits_in_force(const struct promoter *p, uint32_t *ret_threshold, uint32_t *ret_entry_max)
{
	const struct promoter_limits *set = &p->limits;

	*ret_threshold = set->threshold ? set->threshold : p->options.threshold;
	*ret_entry_max = set->entry_max ? set->entry_max : p->options.entry_max;
	/* A file may have been written for larger maps. */
	if (*ret_entry_max > place_cnt(p))
		*ret_entry_max = place_cnt(p);
	if (set->byte_max && p->options.place_bytes &&
	    *ret_entry_max > set->byte_max / p->options.place_bytes)
		*ret_entry_max = (uint32_t)(set->byte_max / p->options.place_bytes);
}

int promoter_set_limits(struct promoter *p, const struct promoter_limits *limits)
{
	if (limits->entry_max > place_cnt(p) ||
	    (limits->byte_max && limits->byte_max < p->options.place_bytes))
		return -ERANGE;
	pthread_mutex_lock(&p->lock);
	p->limits = *limits;
	wait_round(p);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

void promoter_budget(struct promoter *p, struct promoter_budget *ret)
{
	pthread_mutex_lock(&p->lock);
	*ret = (struct promoter_budget){ .set = p->limits,
					 .threshold_start = p->options.threshold,
					 .entry_start = p->options.entry_max,
					 .place_cnt = place_cnt(p),
					 .place_bytes = p->options.place_bytes,
					 .resident_cnt = p->counted_residents };
	limits_in_force(p, &ret->threshold, &ret->entry_max);
	for (uint32_t i = 0; i < p->wish_cnt; i++) {
		ret->ban_cnt += p->wishes[i].what.ban;
		ret->pin_cnt += !p->wishes[i].what.ban;
	}
	pthread_mutex_unlock(&p->lock);
}
