/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a write would leave: the rules are those of the write itself (write.c, update.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "store/impl.h"

static enum store_status room(struct store_thread *t, uint64_t len, struct store_previewed *ret)
{
	if (len > t->store->options.item_max)
		return STORE_TOO_LARGE;
	ret->bytes = alloc_resize(NULL, len + 1);
	ret->len = len;
	return ret->bytes ? STORE_OK : STORE_NO_MEMORY;
}

static enum store_status copy(struct store_thread *t, struct span bytes,
			      struct store_previewed *ret)
{
	enum store_status status = room(t, bytes.len, ret);

	if (status == STORE_OK && bytes.len)
		memcpy(ret->bytes, bytes.ptr, bytes.len);
	return status;
}

static enum store_status join(struct store_thread *t, const struct store_preview *how,
			      const struct item_view *old_item, struct store_previewed *ret)
{
	const struct store_put *put = &how->put;
	enum store_status status;
	uint8_t *to;

	if (put->cas && put->cas != old_item->cas)
		return STORE_EXISTS;
	status = room(t, old_item->value_len + how->data.len, ret);
	if (status != STORE_OK)
		return status;
	ret->put.binary = old_item->binary;
	ret->put.flags = old_item->flags;
	ret->put.expire_ns = old_item->expire_ns;
	to = ret->bytes + (put->prepend ? how->data.len : 0);
	for (uint64_t at = 0; at < old_item->value_len;) {
		struct span part = store_value_part(t->store, old_item, at);

		memcpy(to + at, part.ptr, part.len);
		at += part.len;
	}
	to = ret->bytes + (put->prepend ? 0 : old_item->value_len);
	if (how->data.len)
		memcpy(to, how->data.ptr, how->data.len);
	return STORE_OK;
}

static enum store_status number(struct store_thread *t, const struct store_preview *how,
				const struct item_view *old_item, struct store_previewed *ret)
{
	char text[STORE_NUMBER_MAX + 1];
	enum store_status status =
		store_number_after(t->store, &how->delta, old_item, &ret->number);
	uint64_t len;

	if (status != STORE_OK)
		return status;
	len = (uint64_t)snprintf(text, sizeof(text), "%" PRIu64, ret->number);
	store_put_number_over(&how->delta, old_item, len, &ret->put);
	status = room(t, ret->put.value_len, ret);
	if (status != STORE_OK)
		return status;
	memset(ret->bytes, ' ', ret->len);
	memcpy(ret->bytes, text, len);
	return STORE_OK;
}

/* Where there is nothing to join, or no number. */
static enum store_status make(struct store_thread *t, const struct store_preview *how,
			      struct store_previewed *ret)
{
	char text[STORE_NUMBER_MAX + 1];
	struct span bytes = how->data;

	if (!how->make && how->kind == STORE_PREVIEW_NUMBER)
		return STORE_NOT_FOUND;
	if (!how->make)
		return how->put.cas ? STORE_NOT_FOUND : STORE_NOT_STORED;
	if (how->kind == STORE_PREVIEW_NUMBER)
		bytes = span_of(text,
				(uint64_t)snprintf(text, sizeof(text), "%" PRIu64, how->initial));
	ret->put.expire_ns = how->make_expire_ns;
	ret->number = how->initial;
	ret->made = true;
	return copy(t, bytes, ret);
}

enum store_status store_preview(struct store_thread *t, const struct store_preview *how,
				struct store_previewed *ret)
{
	struct item_view old_item;
	bool found = store_peek(t, how->put.key, how->put.hash, &old_item);
	enum store_status status;

	*ret = (struct store_previewed){ .put = how->put,
					 .expire_before_ns = found ? old_item.expire_ns : 0 };
	if (how->kind == STORE_PREVIEW_PUT) {
		status = store_judge(&how->put, found, found ? old_item.cas : 0);
		if (status == STORE_OK)
			status = copy(t, how->data, ret);
	} else if (!found) {
		status = make(t, how, ret);
	} else if (how->kind == STORE_PREVIEW_JOIN) {
		status = join(t, how, &old_item, ret);
	} else {
		status = number(t, how, &old_item, ret);
	}
	ret->put.mode = STORE_SET;
	ret->put.cas = 0;
	ret->put.value_len = ret->len;
	return status;
}
