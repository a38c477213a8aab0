/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/*
 * How far the server's idea of a moment may be from ours. Early: the kernel program's clock runs up
 * to a tick (10 ms) ahead. Late: an item keeps its last moment in tenths of a second, rounded up.
 */
#define EARLY_NS (25 * NSEC_PER_MSEC)
#define LATE_NS (125 * NSEC_PER_MSEC)
#define RELATIVE_MAX_SEC (60 * 60 * 24 * 30)

static const char *const verbs[] = {
	[MODEL_SET] = "set",	   [MODEL_ADD] = "add",		[MODEL_REPLACE] = "replace",
	[MODEL_APPEND] = "append", [MODEL_PREPEND] = "prepend", [MODEL_CAS] = "cas",
	[MODEL_INCR] = "incr",	   [MODEL_DECR] = "decr",	[MODEL_TOUCH] = "touch",
	[MODEL_GAT] = "gat",	   [MODEL_DELETE] = "delete",	[MODEL_FLUSH] = "flush_all",
};

static bool is_known(const struct model *model, const struct model_key *key)
{
	for (uint32_t i = 0; i < model->key_cnt; i++) {
		const struct model_key *other = &model->keys[i];

		if (other != key && other->key_len == key->key_len &&
		    memcmp(other->key, key->key, key->key_len) == 0)
			return true;
	}
	return false;
}

static void random_key(struct model_key *key, struct rand *r)
{
	/* short and long ones oftener than their share */
	switch (rand_below(r, 4)) {
	case 0:
		key->key_len = (uint8_t)(1 + rand_below(r, 8));
		break;
	case 1:
		key->key_len = (uint8_t)(MODEL_KEY_MAX - rand_below(r, 8));
		break;
	default:
		key->key_len = (uint8_t)(1 + rand_below(r, MODEL_KEY_MAX));
	}
	for (uint32_t i = 0; i < key->key_len; i++) {
		do {
			key->key[i] = (uint8_t)(0x21 + rand_below(r, 0xdf));
		} while (key->key[i] == 0x7f);
	}
}

void model_init(struct model *model, uint32_t key_cnt, struct rand *r)
{
	const struct clock *clock = clock_system();

	model->keys = calloc(key_cnt, sizeof(*model->keys));
	if (!model->keys)
		abort();
	model->key_cnt = key_cnt;
	model->wall_ahead_ns = (int64_t)(clock_wall_ns(clock) - clock_now_ns(clock));
	for (uint32_t i = 0; i < key_cnt; i++) {
		do {
			random_key(&model->keys[i], r);
		} while (is_known(model, &model->keys[i]));
	}
}

void model_fini(struct model *model)
{
	free(model->keys);
	model->keys = NULL;
}

/* --- commands as text --- */

static size_t put(char *to, size_t at, const void *bytes, size_t len)
{
	memcpy(to + at, bytes, len);
	return at + len;
}

static size_t put_str(char *to, size_t at, const char *text)
{
	return put(to, at, text, strlen(text));
}

size_t model_text(const struct model *model, const struct model_op *op, char *ret)
{
	const struct model_key *key = &model->keys[op->key];
	size_t at = put_str(ret, 0, verbs[op->verb]);

	ret[at++] = ' ';
	switch (op->verb) {
	case MODEL_FLUSH:
		return put_str(ret, at - 1, "\r\n");
	case MODEL_GAT:
		at += (size_t)sprintf(ret + at, "%" PRId64 " ", op->exptime);
		at = put(ret, at, key->key, key->key_len);
		return put_str(ret, at, "\r\n");
	default:
		at = put(ret, at, key->key, key->key_len);
	}
	switch (op->verb) {
	case MODEL_INCR:
	case MODEL_DECR:
		at += (size_t)sprintf(ret + at, " %" PRIu64, op->number);
		break;
	case MODEL_TOUCH:
		at += (size_t)sprintf(ret + at, " %" PRId64, op->exptime);
		break;
	case MODEL_DELETE:
		break;
	default:
		at += (size_t)sprintf(ret + at, " %" PRIu32 " %" PRId64 " %" PRIu32, op->flags,
				      op->exptime, op->value_len);
		if (op->verb == MODEL_CAS)
			at += (size_t)sprintf(ret + at, " %" PRIu64, op->number);
		at = put_str(ret, at, "\r\n");
		at = put(ret, at, op->value, op->value_len);
	}
	return put_str(ret, at, "\r\n");
}

size_t model_get_text(const struct model *model, uint32_t key, bool gets, char *ret)
{
	size_t at = put_str(ret, 0, gets ? "gets " : "get ");

	at = put(ret, at, model->keys[key].key, model->keys[key].key_len);
	return put_str(ret, at, "\r\n");
}

/* --- time --- */

static void set_expiry(const struct model *model, struct model_key *key, int64_t exptime,
		       uint64_t t0_ns, uint64_t t1_ns)
{
	key->dies_from_ns = key->dies_until_ns = 0;
	if (exptime == 0)
		return;
	if (exptime < 0) {
		key->dies_from_ns = key->dies_until_ns = 1;
	} else if (exptime <= RELATIVE_MAX_SEC) {
		key->dies_from_ns = t0_ns + (uint64_t)exptime * NSEC_PER_SEC - EARLY_NS;
		key->dies_until_ns = t1_ns + (uint64_t)exptime * NSEC_PER_SEC + LATE_NS;
	} else {
		int64_t at_ns = exptime * (int64_t)NSEC_PER_SEC - model->wall_ahead_ns;

		key->dies_from_ns = at_ns > (int64_t)EARLY_NS ? (uint64_t)at_ns - EARLY_NS : 1;
		key->dies_until_ns = at_ns > 0 ? (uint64_t)at_ns + LATE_NS : 1;
	}
}

enum model_state model_state(const struct model *model, uint32_t number, uint64_t t0_ns,
			     uint64_t t1_ns)
{
	const struct model_key *key = &model->keys[number];

	if (key->unknown)
		return MODEL_UNKNOWN;
	if (!key->live)
		return MODEL_DEAD;
	if (key->dies_until_ns && t0_ns >= key->dies_until_ns)
		return MODEL_DEAD;
	if (key->dies_from_ns && t1_ns >= key->dies_from_ns)
		return MODEL_EITHER;
	return MODEL_ALIVE;
}

/* --- carrying out --- */

static void new_version(struct model_key *key)
{
	if (key->cas_known)
		key->cas_before = key->cas;
	key->cas_known = false;
}

static void store(struct model *model, const struct model_op *op, uint64_t t0_ns, uint64_t t1_ns)
{
	struct model_key *key = &model->keys[op->key];

	new_version(key);
	key->live = true;
	key->unknown = false;
	key->flags = op->flags;
	key->value_len = op->value_len;
	memcpy(key->value, op->value, op->value_len);
	set_expiry(model, key, op->exptime, t0_ns, t1_ns);
}

/* Longer than anybody tests: the reply is not known then, nor the item. */
static size_t join(struct model_key *key, const struct model_op *op, char *ret)
{
	if (key->value_len + op->value_len > MODEL_VALUE_MAX) {
		key->unknown = true;
		return 0;
	}
	new_version(key);
	if (op->verb == MODEL_APPEND) {
		memcpy(key->value + key->value_len, op->value, op->value_len);
	} else {
		memmove(key->value + op->value_len, key->value, key->value_len);
		memcpy(key->value, op->value, op->value_len);
	}
	key->value_len += op->value_len;
	return put_str(ret, 0, "STORED\r\n");
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * What strtoull makes of it, and what memcached accepts of that: blanks, a sign, digits; then the
 * end, a blank or a NUL, and anything.
 */
static bool number_of(const struct model_key *key, uint64_t *ret)
{
	unsigned __int128 number = 0;
	uint32_t at = 0, first;
	bool minus = false;

	while (at < key->value_len && is_blank(key->value[at]))
		at++;
	if (at < key->value_len && (key->value[at] == '+' || key->value[at] == '-'))
		minus = key->value[at++] == '-';
	first = at;
	for (; at < key->value_len && key->value[at] >= '0' && key->value[at] <= '9'; at++) {
		number = number * 10 + (key->value[at] - '0');
		if (number > UINT64_MAX)
			return false;
	}
	if (at == first)
		return false;
	if (at < key->value_len && key->value[at] && !is_blank(key->value[at]))
		return false;
	*ret = minus ? -(uint64_t)number : (uint64_t)number;
	return !minus || *ret >> 63 == 0;
}

static size_t arith(struct model_key *key, const struct model_op *op, char *ret)
{
	uint64_t number;
	uint32_t len;
	char text[24];

	if (!number_of(key, &number))
		return put_str(ret, 0,
			       "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
	if (op->verb == MODEL_INCR)
		number += op->number;
	else
		number = number > op->number ? number - op->number : 0;
	len = (uint32_t)sprintf(text, "%" PRIu64, number);
	new_version(key);
	if (len < key->value_len)
		memset(key->value + len, ' ', key->value_len - len);
	else
		key->value_len = len;
	memcpy(key->value, text, len);
	len = (uint32_t)put(ret, 0, text, len);
	return put_str(ret, len, "\r\n");
}

static size_t value_reply(const struct model_key *key, char *ret)
{
	size_t at = put_str(ret, 0, "VALUE ");

	at = put(ret, at, key->key, key->key_len);
	at += (size_t)sprintf(ret + at, " %" PRIu32 " %" PRIu32 "\r\n", key->flags, key->value_len);
	at = put(ret, at, key->value, key->value_len);
	return put_str(ret, at, "\r\nEND\r\n");
}

static size_t apply_absent(struct model *model, const struct model_op *op, uint64_t t0_ns,
			   uint64_t t1_ns, char *ret)
{
	switch (op->verb) {
	case MODEL_ADD:
		store(model, op, t0_ns, t1_ns);
		return put_str(ret, 0, "STORED\r\n");
	case MODEL_REPLACE:
	case MODEL_APPEND:
	case MODEL_PREPEND:
		return put_str(ret, 0, "NOT_STORED\r\n");
	case MODEL_GAT:
		return put_str(ret, 0, "END\r\n");
	default:
		return put_str(ret, 0, "NOT_FOUND\r\n");
	}
}

static size_t apply_present(struct model *model, const struct model_op *op, uint64_t t0_ns,
			    uint64_t t1_ns, char *ret)
{
	struct model_key *key = &model->keys[op->key];

	switch (op->verb) {
	case MODEL_ADD:
		return put_str(ret, 0, "NOT_STORED\r\n");
	case MODEL_REPLACE:
		store(model, op, t0_ns, t1_ns);
		return put_str(ret, 0, "STORED\r\n");
	case MODEL_APPEND:
	case MODEL_PREPEND:
		return join(key, op, ret);
	case MODEL_CAS:
		if (!key->cas_known || op->number != key->cas)
			return put_str(ret, 0, "EXISTS\r\n");
		store(model, op, t0_ns, t1_ns);
		return put_str(ret, 0, "STORED\r\n");
	case MODEL_INCR:
	case MODEL_DECR:
		return arith(key, op, ret);
	case MODEL_TOUCH:
		set_expiry(model, key, op->exptime, t0_ns, t1_ns);
		return put_str(ret, 0, "TOUCHED\r\n");
	case MODEL_GAT:
		set_expiry(model, key, op->exptime, t0_ns, t1_ns);
		return value_reply(key, ret);
	default:
		key->live = false;
		return put_str(ret, 0, "DELETED\r\n");
	}
}

static size_t apply_flush(struct model *model, char *ret)
{
	for (uint32_t i = 0; i < model->key_cnt; i++)
		model->keys[i].live = model->keys[i].unknown = false;
	return put_str(ret, 0, "OK\r\n");
}

size_t model_apply(struct model *model, const struct model_op *op, uint64_t t0_ns, uint64_t t1_ns,
		   char *ret)
{
	struct model_key *key = &model->keys[op->key];

	if (op->verb == MODEL_FLUSH)
		return apply_flush(model, ret);
	if (op->verb == MODEL_SET) {
		store(model, op, t0_ns, t1_ns);
		return put_str(ret, 0, "STORED\r\n");
	}
	switch (model_state(model, op->key, t0_ns, t1_ns)) {
	case MODEL_DEAD:
		return apply_absent(model, op, t0_ns, t1_ns, ret);
	case MODEL_ALIVE:
		return apply_present(model, op, t0_ns, t1_ns, ret);
	default:
		/* DELETED or NOT_FOUND: gone either way */
		key->unknown = op->verb != MODEL_DELETE;
		key->live = key->unknown;
		return 0;
	}
}

bool model_check_value(struct model *model, uint32_t number, bool gets, struct span reply)
{
	struct model_key *key = &model->keys[number];
	char want[MODEL_TEXT_MAX];
	size_t len = value_reply(key, want);
	const uint8_t *line_end = memmem(reply.ptr, reply.len, "\r\n", 2);
	size_t head = (size_t)((const char *)memmem(want, len, "\r\n", 2) - want);
	uint64_t cas;

	if (!gets)
		return span_equal(reply, span_of(want, len));
	/* the same but for " cas" at the end of the first line */
	if (!line_end || (size_t)(line_end - reply.ptr) < head + 2 ||
	    memcmp(reply.ptr, want, head) != 0 || reply.ptr[head] != ' ' ||
	    !span_equal(span_of(line_end, reply.len - (size_t)(line_end - reply.ptr)),
			span_of(want + head, len - head)))
		return false;
	cas = strtoull((const char *)reply.ptr + head + 1, NULL, 10);
	if (key->cas_known)
		return cas == key->cas;
	key->cas = cas;
	key->cas_known = true;
	return cas != key->cas_before && cas != 0;
}
