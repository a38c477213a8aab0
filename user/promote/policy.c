/* SPDX-License-Identifier: BSD-2-Clause */
#include "promote/policy.h"

_Static_assert(POLICY_HOT == 0, "zeroed means that nothing is against a key");

/* The coldest residents that may leave, coldest first; a short list kept by insertion. */
struct coldest {
	uint32_t idx[POLICY_CHURN_MAX];
	uint32_t cnt;
};

static void coldest_add(struct coldest *cold, const struct policy_resident *residents, uint32_t idx)
{
	uint32_t at = cold->cnt;

	if (at == POLICY_CHURN_MAX) {
		if (residents[cold->idx[at - 1]].rate <= residents[idx].rate)
			return;
		at--;
	} else {
		cold->cnt++;
	}
	for (; at > 0 && residents[cold->idx[at - 1]].rate > residents[idx].rate; at--)
		cold->idx[at] = cold->idx[at - 1];
	cold->idx[at] = idx;
}

enum policy_reason policy_judge(const struct policy_key *key, double threshold)
{
	if (key->rule != POLICY_HOT)
		return key->rule;
	if (key->banned)
		return POLICY_BANNED;
	if (key->item != POLICY_HOT)
		return key->item;
	if (key->pinned)
		return key->absent ? POLICY_PINNED_ABSENT : POLICY_PINNED;
	if (key->read_rate < threshold)
		return key->absent ? POLICY_ABSENT : POLICY_COLD;
	if (key->read_rate - key->read_doubt < threshold)
		return POLICY_UNSURE;
	if (key->write_rate > key->read_rate)
		return POLICY_WRITES;
	if (key->ttl_ms && key->ttl_ms < POLICY_TTL_MIN_MS)
		return POLICY_ENDS_SOON;
	return key->absent ? POLICY_HOT_ABSENT : POLICY_HOT;
}

bool policy_deserves(enum policy_reason reason)
{
	return reason <= POLICY_PINNED_ABSENT;
}

enum policy_reason policy_judge_resident(const struct policy_key *key, double threshold)
{
	enum policy_reason reason = policy_judge(key, threshold);

	switch (reason) {
	case POLICY_COLD:
	case POLICY_UNSURE:
	case POLICY_WRITES:
	case POLICY_ENDS_SOON:
		return POLICY_KEPT;
	case POLICY_ABSENT:
		return POLICY_RETURNING;
	default:
		return reason;
	}
}

/* Those who may leave are looked for only if somebody has to. */
static void gather_coldest(const struct policy_input *input, struct coldest *ret)
{
	for (uint32_t i = 0; i < input->resident_cnt; i++) {
		const struct policy_resident *resident = &input->residents[i];

		if (!resident->pinned && resident->stay_ms >= POLICY_STAY_MS)
			coldest_add(ret, input->residents, i);
	}
}

void policy_pick(const struct policy_input *input, struct policy_actions *ret)
{
	uint32_t room =
		input->entry_max > input->resident_cnt ? input->entry_max - input->resident_cnt : 0;
	uint32_t excess =
		input->resident_cnt > input->entry_max ? input->resident_cnt - input->entry_max : 0;
	struct coldest cold = { .cnt = 0 };
	bool full = false;

	ret->promote_cnt = 0;
	ret->demote_cnt = 0;
	if (excess > 0 || room < input->candidate_cnt)
		gather_coldest(input, &cold);
	for (; ret->demote_cnt < excess && ret->demote_cnt < cold.cnt; ret->demote_cnt++)
		ret->demote[ret->demote_cnt] = cold.idx[ret->demote_cnt];
	ret->excess_cnt = ret->demote_cnt;
	for (uint32_t i = 0; i < input->candidate_cnt; i++) {
		const struct policy_key *candidate = &input->candidates[i];
		enum policy_reason *reason = &ret->reasons[i];

		*reason = policy_judge(candidate, input->threshold);
		if (!policy_deserves(*reason))
			continue;
		if (room > 0 && ret->promote_cnt < POLICY_CHURN_MAX) {
			ret->promote[ret->promote_cnt++] = i;
			room--;
		} else if (room > 0) {
			*reason = POLICY_SOON;
			room--;
		} else if (!full && ret->demote_cnt < cold.cnt &&
			   candidate->read_rate - candidate->read_doubt >=
				   POLICY_MARGIN *
					   input->residents[cold.idx[ret->demote_cnt]].rate) {
			ret->demote[ret->demote_cnt] = cold.idx[ret->demote_cnt];
			ret->demote_cnt++;
			*reason = POLICY_SOON;
		} else {
			full = true;
			*reason = POLICY_NO_ROOM;
		}
	}
}

/* --- in words --- */

static const struct {
	const char *name, *text, *advice;
} words[POLICY_REASON_CNT] = {
#define X(constant, name, text, advice) { name, text, advice },
	POLICY_REASONS(X)
#undef X
};

const char *policy_name(enum policy_reason reason)
{
	return words[reason].name;
}

const char *policy_text(enum policy_reason reason)
{
	return words[reason].text;
}

const char *policy_advice(enum policy_reason reason)
{
	return words[reason].advice;
}
