/* SPDX-License-Identifier: BSD-2-Clause */
#include "keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"

#define SLOT_CNT_FIRST 1024
#define HASH_TEXT_LEN 17 /* "~" and 16 hex digits */

int keys_init(struct keys *keys)
{
	memset(keys, 0, sizeof(*keys));
	keys->slot_cnt = SLOT_CNT_FIRST;
	keys->slots = alloc_zero(keys->slot_cnt, sizeof(*keys->slots));
	return keys->slots ? 0 : -ENOMEM;
}

void keys_fini(struct keys *keys)
{
	alloc_free(keys->list);
	alloc_free(keys->text);
	alloc_free(keys->slots);
	memset(keys, 0, sizeof(*keys));
}

struct span keys_text(const struct keys *keys, uint32_t idx)
{
	if (idx >= keys->cnt)
		return span_of(NULL, 0);
	return span_of(keys->text + keys->list[idx].text_at, keys->list[idx].text_len);
}

static bool legal(uint8_t byte)
{
	return byte > ' ' && byte != 0x7f;
}

/* Writes the legal form of a text; the result may be the text itself. */
static struct span escape(struct span text, uint8_t buf[XC_KEY_MAX + 1])
{
	size_t len = 0;
	bool as_is = text.len > 0 && text.len <= XC_KEY_MAX;

	for (size_t i = 0; as_is && i < text.len; i++)
		as_is = legal(text.ptr[i]);
	if (as_is)
		return text;
	for (size_t i = 0; i < text.len && len + 3 <= XC_KEY_MAX; i++) {
		if (legal(text.ptr[i]))
			buf[len++] = text.ptr[i];
		else
			len += (size_t)snprintf((char *)buf + len, 4, "%%%02X", text.ptr[i]);
	}
	/* Not told apart by what fits, nor by nothing: the hash does. */
	if (text.len == 0 || len + 3 > XC_KEY_MAX) {
		if (len > XC_KEY_MAX - HASH_TEXT_LEN)
			len = XC_KEY_MAX - HASH_TEXT_LEN;
		len += (size_t)snprintf((char *)buf + len, HASH_TEXT_LEN + 1, "~%016llx",
					(unsigned long long)XXH3_64bits(text.ptr, text.len));
	}
	return span_of(buf, len);
}

static uint32_t slot_find(const struct keys *keys, struct span text, uint64_t hash)
{
	uint32_t mask = keys->slot_cnt - 1;
	uint32_t slot = (uint32_t)hash & mask;

	while (keys->slots[slot]) {
		uint32_t idx = keys->slots[slot] - 1;

		if (keys->list[idx].hash == hash && span_equal(keys_text(keys, idx), text))
			break;
		slot = (slot + 1) & mask;
	}
	return slot;
}

static int slots_grow(struct keys *keys)
{
	uint32_t cnt = keys->slot_cnt * 2;
	uint32_t *slots = alloc_zero(cnt, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < keys->cnt; i++) {
		uint32_t slot = (uint32_t)keys->list[i].hash & (cnt - 1);

		while (slots[slot])
			slot = (slot + 1) & (cnt - 1);
		slots[slot] = i + 1;
	}
	alloc_free(keys->slots);
	keys->slots = slots;
	keys->slot_cnt = cnt;
	return 0;
}

static int room_make(struct keys *keys, size_t text_len)
{
	if (keys->cnt == KEYS_MAX)
		return -E2BIG;
	if (keys->cnt == keys->room) {
		uint32_t room = keys->room ? keys->room * 2 : SLOT_CNT_FIRST;
		struct key *list = alloc_resize(keys->list, room * sizeof(*list));

		if (!list)
			return -ENOMEM;
		keys->list = list;
		keys->room = room;
	}
	if (keys->text_len + text_len > keys->text_room) {
		uint64_t room = keys->text_room ? keys->text_room * 2 : 1 << 16;
		uint8_t *text = alloc_resize(keys->text, room);

		if (!text)
			return -ENOMEM;
		keys->text = text;
		keys->text_room = room;
	}
	return keys->cnt * 2 < keys->slot_cnt ? 0 : slots_grow(keys);
}

int keys_insert(struct keys *keys, struct span text, uint32_t *ret_idx)
{
	uint8_t buf[XC_KEY_MAX + 1];
	uint64_t hash;
	uint32_t slot;
	int error;

	text = escape(text, buf);
	hash = XXH3_64bits(text.ptr, text.len);
	slot = slot_find(keys, text, hash);
	if (keys->slots[slot]) {
		*ret_idx = keys->slots[slot] - 1;
		return 0;
	}
	error = room_make(keys, text.len);
	if (error)
		return error;
	slot = slot_find(keys, text, hash); /* growing moves it */
	keys->list[keys->cnt] = (struct key){
		.hash = hash,
		.text_at = keys->text_len,
		.text_len = (uint8_t)text.len,
	};
	memcpy(keys->text + keys->text_len, text.ptr, text.len);
	keys->text_len += text.len;
	*ret_idx = keys->cnt;
	keys->slots[slot] = ++keys->cnt;
	return 0;
}
