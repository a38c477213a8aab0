/* SPDX-License-Identifier: BSD-2-Clause */
#include "promote/policy.h"

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

bool policy_is_hot(const struct policy_candidate *candidate, double threshold)
{
	return !candidate->barred && candidate->read_rate >= threshold &&
	       candidate->write_rate <= candidate->read_rate;
}

void policy_pick(const struct policy_input *input, struct policy_actions *ret)
{
	uint32_t room =
		input->entry_max > input->resident_cnt ? input->entry_max - input->resident_cnt : 0;
	uint32_t excess =
		input->resident_cnt > input->entry_max ? input->resident_cnt - input->entry_max : 0;
	struct coldest cold = { .cnt = 0 };

	ret->promote_cnt = 0;
	ret->demote_cnt = 0;
	if (excess > 0 || room < input->candidate_cnt) {
		for (uint32_t i = 0; i < input->resident_cnt; i++) {
			const struct policy_resident *resident = &input->residents[i];

			if (!resident->pinned && resident->stay_ms >= POLICY_STAY_MS)
				coldest_add(&cold, input->residents, i);
		}
	}
	for (; ret->demote_cnt < excess && ret->demote_cnt < cold.cnt; ret->demote_cnt++)
		ret->demote[ret->demote_cnt] = cold.idx[ret->demote_cnt];
	for (uint32_t i = 0; i < input->candidate_cnt; i++) {
		const struct policy_candidate *candidate = &input->candidates[i];

		if (candidate->read_rate < input->threshold)
			break;
		if (!policy_is_hot(candidate, input->threshold))
			continue;
		if (room > 0 && ret->promote_cnt < POLICY_CHURN_MAX) {
			ret->promote[ret->promote_cnt++] = i;
			room--;
		} else if (ret->demote_cnt < cold.cnt &&
			   candidate->read_rate >=
				   POLICY_MARGIN *
					   input->residents[cold.idx[ret->demote_cnt]].rate) {
			ret->demote[ret->demote_cnt] = cold.idx[ret->demote_cnt];
			ret->demote_cnt++;
		} else {
			break;
		}
	}
}
