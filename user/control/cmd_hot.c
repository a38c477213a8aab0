/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hot keys. JSON strings are UTF-8 and keys are any bytes above ' ': a key that is not UTF-8 is
 * shown with its odd bytes as \xNN, and exactly in "key_hex", which requests take instead of "key".
 */
#include "control/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "abi/limits.h"
#include "base/alloc.h"
#include "promote/promoter.h"

static void hex_of(const char *key, uint32_t len, char ret[2 * XC_KEY_MAX + 1])
{
	for (uint32_t i = 0; i < len; i++)
		snprintf(ret + 2 * i, 3, "%02x", (unsigned char)key[i]);
	ret[2 * len] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Bytes of a hexadecimal text; 0: it is none, or too long. */
static uint32_t bytes_of(const char *hex, char ret[XC_KEY_MAX])
{
	size_t len = strlen(hex);

	if (len % 2 || len > 2 * XC_KEY_MAX)
		return 0;
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);

		if (high < 0 || low < 0)
			return 0;
		ret[i / 2] = (char)(high << 4 | low);
	}
	return (uint32_t)(len / 2);
}

static void set_key(json_t *row, const char *key, uint32_t len)
{
	json_t *text = json_stringn(key, len);
	char shown[4 * XC_KEY_MAX + 1], hex[2 * XC_KEY_MAX + 1];
	size_t at = 0;

	if (text) {
		json_object_set_new(row, "key", text);
		return;
	}
	for (uint32_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)key[i];

		at += (size_t)snprintf(shown + at, sizeof(shown) - at,
				       c > ' ' && c < 0x7f ? "%c" : "\\x%02x", c);
	}
	hex_of(key, len, hex);
	json_object_set_new(row, "key", json_string(shown));
	json_object_set_new(row, "key_hex", json_string(hex));
}

static void set_reason(json_t *object, enum policy_reason reason)
{
	json_object_set_new(object, "reason", json_string(policy_name(reason)));
	json_object_set_new(object, "why", json_string(policy_text(reason)));
}

static json_t *row_json(const struct promoter_row *r)
{
	json_t *row = json_object();

	set_key(row, r->key, r->key_len);
	json_object_set_new(row, "reads_sec", json_integer((json_int_t)(r->read_rate + 0.5)));
	json_object_set_new(row, "writes_sec", json_integer((json_int_t)(r->write_rate + 0.5)));
	json_object_set_new(row, "kernel_reads_sec",
			    json_integer((json_int_t)(r->kernel_rate + 0.5)));
	json_object_set_new(row, "value_bytes", json_integer((json_int_t)r->value_len));
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
	const json_t *max_json = json_object_get(request, "max");
	json_int_t max = max_json ? json_integer_value(max_json) : 100;
	struct promoter_row *rows;
	json_t *list;
	uint32_t cnt;

	if (no_promoter(sources, error))
		return NULL;
	if (max < 1 || max > CONTROL_HOT_MAX) {
		snprintf(error, CONTROL_ERROR_MAX, "\"max\" is not a number from 1 to %d",
			 CONTROL_HOT_MAX);
		return NULL;
	}
	rows = alloc_zero((size_t)max, sizeof(*rows));
	if (!rows)
		return NULL;
	cnt = promoter_list(sources->promoter, rows, (uint32_t)max);
	list = json_array();
	for (uint32_t i = 0; i < cnt; i++)
		json_array_append_new(list, row_json(&rows[i]));
	alloc_free(rows);
	return json_pack("{s:o}", "keys", list);
}

/* The key a request names. */
static bool key_of(const json_t *request, char key[XC_KEY_MAX], struct span *ret,
		   char error[CONTROL_ERROR_MAX])
{
	const json_t *text = json_object_get(request, "key");
	const char *hex = json_string_value(json_object_get(request, "key_hex"));
	size_t len = json_string_length(text);

	if (hex) {
		len = bytes_of(hex, key);
	} else if (len <= XC_KEY_MAX) {
		memcpy(key, len ? json_string_value(text) : "", len);
	}
	if (len == 0 || len > XC_KEY_MAX) {
		snprintf(error, CONTROL_ERROR_MAX,
			 "\"key\" is not a key: 1 to %d bytes are expected", XC_KEY_MAX);
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)key[i] <= ' ' || key[i] == 0x7f) {
			snprintf(error, CONTROL_ERROR_MAX,
				 "a key holds no blanks and no control characters");
			return false;
		}
	}
	*ret = span_of(key, len);
	return true;
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

	if (no_promoter(sources, error) || !key_of(request, bytes, &key, error))
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

	if (no_promoter(sources, error) || !key_of(request, bytes, &key, error))
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
	return result;
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
