/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hot keys: who they are, what operators wish of them, and the limits. "save":true in a request has
 * what is in force then outlive the daemon.
 */
#include "control/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/limits.h"
#include "base/alloc.h"
#include "control/key.h"
#include "promote/promoter.h"

static void set_reason(json_t *object, enum policy_reason reason)
{
	json_object_set_new(object, "reason", json_string(policy_name(reason)));
	json_object_set_new(object, "why", json_string(policy_text(reason)));
}

/* Of values, a second, whoever sends them. */
static double byte_rate(const struct promoter_row *r)
{
	return (r->read_rate + r->kernel_rate) * (double)r->value_len;
}

static int most_bytes_first(const void *a, const void *b)
{
	double left = byte_rate(a), right = byte_rate(b);

	return (left < right) - (left > right);
}

static json_t *row_json(const struct promoter_row *r)
{
	json_t *row = json_object();

	control_set_key(row, r->key, r->key_len);
	json_object_set_new(row, "reads_sec", json_integer((json_int_t)(r->read_rate + 0.5)));
	json_object_set_new(row, "writes_sec", json_integer((json_int_t)(r->write_rate + 0.5)));
	json_object_set_new(row, "kernel_reads_sec",
			    json_integer((json_int_t)(r->kernel_rate + 0.5)));
	json_object_set_new(row, "value_bytes", json_integer((json_int_t)r->value_len));
	json_object_set_new(row, "bytes_sec", json_integer((json_int_t)(byte_rate(r) + 0.5)));
	if (r->ttl_ms)
		json_object_set_new(row, "ttl_ms", json_integer((json_int_t)r->ttl_ms));
	json_object_set_new(row, "resident", json_boolean(r->resident));
	json_object_set_new(row, "absent", json_boolean(r->absent));
	json_object_set_new(row, "pinned", json_boolean(r->pinned));
	json_object_set_new(row, "banned", json_boolean(r->banned));
	set_reason(row, r->reason);
	return row;
}

static bool no_promoter(const struct control_sources *sources, char error[CONTROL_ERROR_MAX])
{
	if (!sources->promoter)
		snprintf(error, CONTROL_ERROR_MAX, "this daemon keeps no hot keys");
	return !sources->promoter;
}

json_t *answer_hot_list(const struct control_sources *sources, const json_t *request,
			char error[CONTROL_ERROR_MAX])
{
	const json_t *max_json = json_object_get(request, "max"),
		     *by = json_object_get(request, "by");
	json_int_t max = max_json ? json_integer_value(max_json) : 100;
	struct promoter_row *rows;
	json_t *list;
	uint32_t cnt;
	bool bytes;

	if (no_promoter(sources, error))
		return NULL;
	if (max < 1 || max > CONTROL_HOT_MAX) {
		snprintf(error, CONTROL_ERROR_MAX, "\"max\" is not a number from 1 to %d",
			 CONTROL_HOT_MAX);
		return NULL;
	}
	bytes = by && json_is_string(by) && !strcmp(json_string_value(by), "bytes");
	if (by && !bytes) {
		snprintf(error, CONTROL_ERROR_MAX, "\"by\" is not \"bytes\"");
		return NULL;
	}
	rows = alloc_zero(CONTROL_HOT_MAX, sizeof(*rows));
	if (!rows)
		return NULL;
	cnt = promoter_list(sources->promoter, rows, bytes ? CONTROL_HOT_MAX : (uint32_t)max);
	if (bytes)
		qsort(rows, cnt, sizeof(*rows), most_bytes_first);
	list = json_array();
	for (uint32_t i = 0; i < cnt && i < max; i++)
		json_array_append_new(list, row_json(&rows[i]));
	alloc_free(rows);
	return json_pack("{s:o}", "keys", list);
}

/* --- one key --- */

json_t *answer_hot_explain(const struct control_sources *sources, const json_t *request,
			   char error[CONTROL_ERROR_MAX])
{
	struct promoter_budget budget;
	char bytes[XC_KEY_MAX];
	struct promoter_row row;
	struct span key;
	json_t *result;

	if (no_promoter(sources, error) || !control_key(request, bytes, &key, error))
		return NULL;
	if (promoter_explain(sources->promoter, key, &row)) {
		snprintf(error, CONTROL_ERROR_MAX,
			 "the promoter did not answer in time; try again");
		return NULL;
	}
	promoter_budget(sources->promoter, &budget);
	result = row_json(&row);
	json_object_set_new(result, "advice", json_string(policy_advice(row.reason)));
	json_object_set_new(result, "value_max_bytes", json_integer(XC_VALUE_MAX));
	json_object_set_new(result, "threshold", json_integer(budget.threshold));
	json_object_set_new(result, "entries", json_integer(budget.resident_cnt));
	json_object_set_new(result, "entries_budget", json_integer(budget.entry_max));
	return result;
}

/* --- wishes --- */

/* False: it was asked for in vain, and error says why. */
static bool save_if_asked(const struct control_sources *sources, const json_t *request,
			  json_t *result, char error[CONTROL_ERROR_MAX])
{
	char why[CONTROL_WHY_MAX];

	if (!json_is_true(json_object_get(request, "save")))
		return true;
	if (!sources->hot_save) {
		snprintf(error, CONTROL_ERROR_MAX, "done, but this daemon saves nothing");
		return false;
	}
	if (sources->hot_save(sources->ctx, why)) {
		snprintf(error, CONTROL_ERROR_MAX, "done, but not saved: %s", why);
		return false;
	}
	json_object_set_new(result, "saved", json_true());
	return true;
}

/* The answer, unless what it was to be saved as is not. */
static json_t *saved_or_not(const struct control_sources *sources, const json_t *request,
			    json_t *result, char error[CONTROL_ERROR_MAX])
{
	if (save_if_asked(sources, request, result, error))
		return result;
	json_decref(result);
	return NULL;
}

enum wish_verb { PIN, UNPIN, BAN, UNBAN };

static int wish(struct promoter *promoter, enum wish_verb verb, struct span key,
		enum policy_reason *ret_reason)
{
	switch (verb) {
	case PIN:
		return promoter_pin(promoter, key, ret_reason);
	case UNPIN:
		return promoter_unpin(promoter, key);
	case BAN:
		return promoter_ban(promoter, key);
	default:
		return promoter_unban(promoter, key);
	}
}

static json_t *answer_wish(const struct control_sources *sources, const json_t *request,
			   enum wish_verb verb, char error[CONTROL_ERROR_MAX])
{
	enum policy_reason reason = POLICY_BANNED;
	char bytes[XC_KEY_MAX];
	struct span key;
	json_t *result;
	int rc;

	if (no_promoter(sources, error) || !control_key(request, bytes, &key, error))
		return NULL;
	rc = wish(sources->promoter, verb, key, &reason);
	if (rc == -ENOSPC)
		snprintf(error, CONTROL_ERROR_MAX,
			 "too many keys are pinned or banned, %d; undo one first "
			 "(`xdpcache hot list`)",
			 PROMOTER_WISH_MAX);
	else if (rc == -ENOENT)
		snprintf(error, CONTROL_ERROR_MAX, "this key is not %s",
			 verb == UNPIN ? "pinned" : "banned");
	else if (rc)
		snprintf(error, CONTROL_ERROR_MAX, "%s", strerror(-rc));
	if (rc)
		return NULL;
	result = json_pack("{s:b}", verb == PIN || verb == UNPIN ? "pinned" : "banned",
			   verb == PIN || verb == BAN);
	if (verb == PIN)
		json_object_set_new(result, "resident", json_boolean(policy_deserves(reason)));
	if (verb == PIN || verb == BAN)
		set_reason(result, reason);
	return saved_or_not(sources, request, result, error);
}

json_t *answer_hot_pin(const struct control_sources *sources, const json_t *request,
		       char error[CONTROL_ERROR_MAX])
{
	return answer_wish(sources, request, PIN, error);
}

json_t *answer_hot_unpin(const struct control_sources *sources, const json_t *request,
			 char error[CONTROL_ERROR_MAX])
{
	return answer_wish(sources, request, UNPIN, error);
}

json_t *answer_hot_ban(const struct control_sources *sources, const json_t *request,
		       char error[CONTROL_ERROR_MAX])
{
	return answer_wish(sources, request, BAN, error);
}

json_t *answer_hot_unban(const struct control_sources *sources, const json_t *request,
			 char error[CONTROL_ERROR_MAX])
{
	return answer_wish(sources, request, UNBAN, error);
}

/* --- limits --- */

static json_t *limits_json(const struct promoter_budget *b)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "threshold",
			 (json_int_t)b->threshold, "threshold_start",
			 (json_int_t)b->threshold_start, "entries_budget", (json_int_t)b->entry_max,
			 "entries_set", (json_int_t)b->set.entry_max, "entries_start",
			 (json_int_t)b->entry_start, "bytes_set", (json_int_t)b->set.byte_max,
			 "entries", (json_int_t)b->resident_cnt, "entries_max",
			 (json_int_t)b->place_cnt, "entry_bytes", (json_int_t)b->place_bytes,
			 "pinned", (json_int_t)b->pin_cnt, "banned", (json_int_t)b->ban_cnt);
}

/* A number of the request, if it is there; false: it is no such number. */
static bool take_limit(const json_t *request, const char *name, json_int_t max, uint64_t *ret,
		       char error[CONTROL_ERROR_MAX])
{
	const json_t *number = json_object_get(request, name);

	if (!number)
		return true;
	if (!json_is_integer(number) || json_integer_value(number) < 0 ||
	    json_integer_value(number) > max) {
		snprintf(error, CONTROL_ERROR_MAX,
			 "\"%s\" is not a number from 0 (as at the start) to %lld", name,
			 (long long)max);
		return false;
	}
	*ret = (uint64_t)json_integer_value(number);
	return true;
}

json_t *answer_hot_limits(const struct control_sources *sources, const json_t *request,
			  char error[CONTROL_ERROR_MAX])
{
	struct promoter_budget budget;
	uint64_t threshold, entries, bytes;
	struct promoter_limits wanted;

	if (no_promoter(sources, error))
		return NULL;
	promoter_budget(sources->promoter, &budget);
	threshold = budget.set.threshold;
	entries = budget.set.entry_max;
	bytes = budget.set.byte_max;
	if (!take_limit(request, "threshold", PROMOTER_THRESHOLD_MAX, &threshold, error) ||
	    !take_limit(request, "entries", UINT32_MAX, &entries, error) ||
	    !take_limit(request, "bytes", INT64_MAX, &bytes, error))
		return NULL;
	wanted = (struct promoter_limits){ .threshold = (uint32_t)threshold,
					   .entry_max = (uint32_t)entries,
					   .byte_max = bytes };
	if (memcmp(&wanted, &budget.set, sizeof(wanted)) &&
	    promoter_set_limits(sources->promoter, &wanted)) {
		snprintf(error, CONTROL_ERROR_MAX,
			 "the kernel's maps have %u places, made at the start (--hot-max), and one "
			 "takes %u bytes: ask for no more places, and no fewer bytes",
			 budget.place_cnt, budget.place_bytes);
		return NULL;
	}
	promoter_budget(sources->promoter, &budget);
	return saved_or_not(sources, request, limits_json(&budget), error);
}

/* --- comings and goings --- */

static json_t *move_json(const struct promoter_move *move, uint64_t now_ns)
{
	json_t *row = json_object();

	control_set_key(row, move->key, move->key_len);
	json_object_set_new(row, "in", json_boolean(move->in));
	set_reason(row, move->reason);
	json_object_set_new(row, "reads_sec", json_integer((json_int_t)(move->rate + 0.5)));
	json_object_set_new(row, "age_ms",
			    json_integer((json_int_t)((now_ns - move->at_ns) / NSEC_PER_MSEC)));
	return row;
}

/* "since": the "next" of the answer before; without: from now on. */
json_t *answer_hot_moves(const struct control_sources *sources, const json_t *request,
			 char error[CONTROL_ERROR_MAX])
{
	const json_t *since_json = json_object_get(request, "since");
	uint64_t since = since_json ? (uint64_t)json_integer_value(since_json) : UINT64_MAX;
	uint64_t missed, now_ns;
	struct promoter_move *moves;
	json_t *list;
	uint32_t cnt;

	if (no_promoter(sources, error))
		return NULL;
	moves = alloc_zero(PROMOTER_MOVE_MAX, sizeof(*moves));
	if (!moves)
		return NULL;
	cnt = promoter_moves(sources->promoter, &since, moves, PROMOTER_MOVE_MAX, &missed);
	now_ns = clock_now_ns(sources->clock);
	list = json_array();
	for (uint32_t i = 0; i < cnt; i++)
		json_array_append_new(list, move_json(&moves[i], now_ns));
	alloc_free(moves);
	return json_pack("{s:o, s:I, s:I}", "moves", list, "next", (json_int_t)since, "missed",
			 (json_int_t)missed);
}
