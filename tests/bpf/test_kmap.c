/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: what kmap writes the loaded program reads as meant (same digest, same entry, same
 * sums); a place goes free -> vacant -> serving -> removed -> free and never skips a step; adoption
 * keeps exactly what keep() recognises and leaves no way to anything else.
 * Method: the product's object and its own maps; after each step a request is run through
 * xc_fastpath and the counter that moved, and the reply's every byte, are judged. The last test
 * takes random steps beside a plain model. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rand.h"
#include "fastpath.skel.h"
#include "fastpath/kmap.h"
#include "lib/fastrig.h"
#include "lib/runopts.h"

#define PLACES 16
#define HIT XC_hit_tail /* whichever way the reply found room */
#define KEY_HASH(number) ((number)*0x9e3779b97f4a7c15ULL)

static struct fastpath_bpf *product;
static struct fastrig rig;
static struct kmap *kmap;
static uint64_t log_next;

/* --- items and questions --- */

static struct span key_text(char buf[XC_KEY_MAX], uint32_t number)
{
	return span_of(buf, (size_t)snprintf(buf, XC_KEY_MAX, "key-%u", number));
}

/* Puts key and value where nothing was. */
static struct kmap_item log_item(struct span key, struct span value)
{
	uint64_t need = XC_KEY_LEAD + key.len + value.len + 16;
	uint8_t *at;

	if ((log_next & (XC_BLOCK_SIZE - 1)) + need > XC_BLOCK_SIZE - XC_BLOCK_TAIL)
		log_next = (log_next | (XC_BLOCK_SIZE - 1)) + 1;
	assert_true(log_next + need <= XC_EXTENT_SIZE);
	at = rig.log[0] + log_next + XC_KEY_LEAD;
	memset(at - XC_KEY_LEAD, 0xee, XC_KEY_LEAD);
	memcpy(at, key.ptr, key.len);
	if (value.len)
		memcpy(at + key.len, value.ptr, value.len);
	log_next += need;
	return (struct kmap_item){ .key = span_of(at, key.len),
				   .value = span_of(at + key.len, value.len),
				   .cas = log_next,
				   .flags = (uint32_t)log_next * 77,
				   .flush_gen = rig.conf->flush_gen };
}

/* Runs "get KEY" and returns which counter moved. A hit must be the item's reply to the byte. */
static enum xc_outcome ask(struct span key, const struct kmap_item *want)
{
	uint8_t text[XC_KEY_MAX + 16];
	struct pktgen_request request = { .text = { text, key.len + 6 } };
	struct pktgen_packet in, reply;
	struct xc_stats before, after;
	static struct rig_run run;

	memcpy(text, "get ", 4);
	memcpy(text + 4, key.ptr, key.len);
	memcpy(text + 4 + key.len, "\r\n", 2);
	pktgen_request(&request, &in);
	fastrig_stats(&rig, &before);
	assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, &in, &run), 0);
	fastrig_stats(&rig, &after);
	for (int o = 0; o < XC_OUTCOME_CNT; o++) {
		if (((__u64 *)&after)[o] == ((__u64 *)&before)[o])
			continue;
		if (run.action == XDP_TX) {
			struct pktgen_value value = { .key = key,
						      .value = want ? want->value : key,
						      .flags = want ? want->flags : 0 };

			assert_non_null(want); /* else: answered what must not be */
			pktgen_reply(&request, &value, &reply);
			assert_int_equal(run.out.len, reply.len);
			assert_memory_equal(run.out.bytes, reply.bytes, reply.len);
		}
		return o <= XC_hit_tc ? HIT : o;
	}
	fail_msg("no counter moved");
	return XC_OUTCOME_CNT;
}

static enum xc_outcome ask_number(uint32_t number, const struct kmap_item *want)
{
	char buf[XC_KEY_MAX];

	return ask(key_text(buf, number), want);
}

static uint32_t insert_number(uint32_t number)
{
	char buf[XC_KEY_MAX];
	uint32_t idx = UINT32_MAX;

	assert_int_equal(kmap_insert(kmap, key_text(buf, number), KEY_HASH(number), &idx), 0);
	assert_true(idx < PLACES);
	return idx;
}

static struct kmap_item item_number(uint32_t number, const char *value)
{
	char buf[XC_KEY_MAX];

	return log_item(key_text(buf, number), span_str(value));
}

static void take_out(uint32_t idx)
{
	kmap_unlink(kmap, idx);
	kmap_remove(kmap, idx);
}

static uint32_t hot_cnt(void)
{
	struct xc_digest key, next;
	void *at = NULL;
	uint32_t cnt = 0;

	for (; bpf_map_get_next_key(rig.hot_fd, at, &next) == 0; cnt++) {
		key = next;
		at = &key;
	}
	return cnt;
}

static struct kmap *kmap_for(uint32_t places)
{
	struct kmap_options options = { .hot_fd = rig.hot_fd,
					.entries = rig.entries,
					.uses = rig.uses,
					.filter = rig.filter,
					.conf = rig.conf,
					.entry_cnt = places,
					.log_base = rig.log[0],
					.log_bytes = XC_EXTENT_SIZE };
	struct kmap *ret = NULL;

	assert_int_equal(kmap_new(&options, &ret), 0);
	return ret;
}

/* --- one place --- */

static void kmap_every_key_length_is_found_and_answered(void **state)
{
	(void)state;
	for (uint32_t len = 1; len <= XC_KEY_MAX; len++) {
		uint8_t key[XC_KEY_MAX];
		struct kmap_item item;
		uint32_t idx, found = UINT32_MAX;

		for (uint32_t i = 0; i < len; i++)
			key[i] = (uint8_t)('!' + (i * 7 + len) % 94);
		if (len > 2)
			key[len / 2] = 0xc3; /* bytes above 127 are legal */
		item = log_item(span_of(key, len), span_str("value"));
		assert_true(kmap_fits(kmap, &item));
		assert_int_equal(kmap_insert(kmap, item.key, len, &idx), 0);
		kmap_switch(kmap, idx, &item);
		assert_int_equal(ask(span_of(key, len), &item), HIT);
		assert_true(kmap_find(kmap, span_of(key, len), len, &found));
		assert_int_equal(found, idx);
		take_out(idx);
		assert_false(kmap_find(kmap, span_of(key, len), len, &found));
		assert_int_equal(kmap_release(kmap, kmap_removed_cnt(kmap)), 1);
	}
}

static void kmap_place_goes_round_each_step_is_seen(void **state)
{
	struct kmap_item first = item_number(1, "first"), second = item_number(1, "the second");
	uint32_t idx, seq, found;
	struct span key;
	uint64_t hash;

	(void)state;
	assert_int_equal(ask_number(1, NULL), XC_pass_miss);
	idx = insert_number(1);
	assert_int_equal(kmap_state(kmap, idx, &key, &hash), KMAP_VACANT);
	assert_int_equal(ask_number(1, NULL), XC_pass_vacant);
	seq = rig.entries[idx].seq;
	kmap_switch(kmap, idx, &first);
	assert_int_equal(rig.entries[idx].seq, seq + 2);
	assert_int_equal(kmap_state(kmap, idx, &key, &hash), KMAP_SERVING);
	assert_true(span_equal(key, first.key));
	assert_int_equal(hash, KEY_HASH(1));
	assert_int_equal(ask_number(1, &first), HIT);
	kmap_switch(kmap, idx, &second);
	assert_int_equal(ask_number(1, &second), HIT);
	kmap_vacate(kmap, idx);
	assert_int_equal(ask_number(1, NULL), XC_pass_vacant);
	kmap_switch(kmap, idx, &first);
	assert_int_equal(ask_number(1, &first), HIT);
	kmap_unlink(kmap, idx);
	assert_false(kmap_find(kmap, first.key, KEY_HASH(1), &found));
	assert_int_equal(ask_number(1, NULL), XC_pass_vacant);
	kmap_remove(kmap, idx);
	assert_int_equal(ask_number(1, NULL), XC_pass_miss);
	assert_int_equal(kmap_state(kmap, idx, &key, &hash), KMAP_FREE);
	assert_int_equal(kmap_used_cnt(kmap), 0);
	assert_int_equal(hot_cnt(), 0);
}

static void kmap_switch_every_value_length_sums_right(void **state)
{
	uint8_t value[XC_VALUE_MAX];
	uint32_t idx = insert_number(3);
	char buf[XC_KEY_MAX];
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = (uint8_t)rand_next(&r);
	/* 1500 less IPv4, UDP, frame header, "VALUE key-3 4294967295 1400" and the tail */
	for (uint32_t len = 0; len <= 1400; len += len < 64 ? 1 : 1 + rand_below(&r, 23)) {
		struct kmap_item item = log_item(key_text(buf, 3), span_of(value, len));

		kmap_switch(kmap, idx, &item);
		assert_int_equal(ask_number(3, &item), HIT);
	}
}

static void kmap_expired_and_flushed_items_pass(void **state)
{
	struct kmap_item item = item_number(1, "value");
	uint32_t idx = insert_number(1);

	(void)state;
	item.expire_ns = RIG_NOW_NS + 1;
	kmap_switch(kmap, idx, &item);
	assert_int_equal(ask_number(1, &item), HIT);
	item.expire_ns = RIG_NOW_NS;
	kmap_switch(kmap, idx, &item);
	assert_int_equal(ask_number(1, NULL), XC_pass_expired);
	item.expire_ns = 0;
	kmap_switch(kmap, idx, &item);
	assert_int_equal(ask_number(1, &item), HIT);
	kmap_flush(kmap, item.flush_gen + 1);
	assert_int_equal(ask_number(1, NULL), XC_pass_flushed);
	/* a promotion that judged the item before the flush publishes it after: still flushed */
	kmap_switch(kmap, idx, &item);
	assert_int_equal(ask_number(1, NULL), XC_pass_flushed);
	item.flush_gen++;
	kmap_switch(kmap, idx, &item);
	assert_int_equal(ask_number(1, &item), HIT);
}

static void kmap_fits_refuses_what_the_kernel_cannot_serve(void **state)
{
	static uint8_t big[XC_VALUE_MAX + 1];
	struct kmap_item item = log_item(span_str("k"), span_of(big, XC_VALUE_MAX));
	uint8_t *tail = rig.log[0] + XC_BLOCK_SIZE - XC_BLOCK_TAIL;
	char key[XC_KEY_MAX + 1];

	(void)state;
	assert_true(kmap_fits(kmap, &item));
	item = log_item(span_str("k"), span_of(big, XC_VALUE_MAX + 1));
	assert_false(kmap_fits(kmap, &item));
	item = log_item(span_str("k"), span_str(""));
	assert_true(kmap_fits(kmap, &item));
	item.value.ptr++; /* value not right behind the key */
	assert_false(kmap_fits(kmap, &item));
	item = log_item(span_str("a b"), span_str("v"));
	assert_false(kmap_fits(kmap, &item));
	item = log_item(span_str("a\x7f"), span_str("v"));
	assert_false(kmap_fits(kmap, &item));
	memset(key, 'k', sizeof(key));
	item = log_item(span_of(key, XC_KEY_MAX), span_str("v"));
	assert_true(kmap_fits(kmap, &item));
	item = log_item(span_of(key, XC_KEY_MAX + 1), span_str("v"));
	assert_false(kmap_fits(kmap, &item));
	item = log_item(span_str(""), span_str("v"));
	assert_false(kmap_fits(kmap, &item));
	memset(tail, 'k', 2);
	item = (struct kmap_item){ .key = span_of(tail, 1), .value = span_of(tail + 1, 1) };
	assert_true(kmap_fits(kmap, &item));
	item = (struct kmap_item){ .key = span_of(tail + 1, 1), .value = span_of(tail + 2, 1) };
	assert_false(kmap_fits(kmap, &item));
	item = (struct kmap_item){ .key = span_str("k"), .value = span_str("") };
	item.value.ptr = item.key.ptr + 1; /* not in the log at all */
	assert_false(kmap_fits(kmap, &item));
}

static void kmap_hits_are_counted_per_place(void **state)
{
	struct kmap_item item = item_number(1, "value"), other = item_number(2, "value");
	uint32_t idx = insert_number(1), other_idx = insert_number(2);
	char buf[XC_KEY_MAX];

	(void)state;
	kmap_switch(kmap, idx, &item);
	kmap_switch(kmap, other_idx, &other);
	for (int i = 0; i < 8000; i++)
		assert_int_equal(ask_number(1, &item), HIT);
	/* 500 expected; five standard deviations of a fair 1-in-16 sample are 108 */
	assert_in_range(kmap_hits(kmap, idx), 392, 608);
	assert_int_equal(kmap_hits(kmap, other_idx), 0);
	take_out(idx);
	kmap_release(kmap, kmap_removed_cnt(kmap));
	/* the next key of the place starts at nothing */
	assert_int_equal(kmap_insert(kmap, key_text(buf, 9), 9, &idx), 0);
	assert_int_equal(kmap_hits(kmap, idx), 0);
}

/* --- the table --- */

static void kmap_full_table_waits_for_release(void **state)
{
	char buf[XC_KEY_MAX];
	uint32_t idx[PLACES], again;

	(void)state;
	for (uint32_t i = 0; i < PLACES; i++) {
		idx[i] = insert_number(i);
		for (uint32_t j = 0; j < i; j++)
			assert_int_not_equal(idx[i], idx[j]);
	}
	assert_int_equal(kmap_insert(kmap, key_text(buf, 99), 99, &again), -ENOSPC);
	take_out(idx[3]);
	take_out(idx[5]);
	/* a reader may still be at them */
	assert_int_equal(kmap_insert(kmap, key_text(buf, 99), 99, &again), -ENOSPC);
	/* a grace period that began after the first removal only */
	assert_int_equal(kmap_removed_cnt(kmap), 2);
	assert_int_equal(kmap_release(kmap, 1), 1);
	assert_int_equal(kmap_insert(kmap, key_text(buf, 99), 99, &again), 0);
	assert_int_equal(again, idx[3]);
	assert_int_equal(kmap_insert(kmap, key_text(buf, 98), 98, &again), -ENOSPC);
	assert_int_equal(kmap_release(kmap, 2), 1);
	assert_int_equal(kmap_release(kmap, 2), 0);
	assert_int_equal(kmap_insert(kmap, key_text(buf, 98), 98, &again), 0);
	assert_int_equal(again, idx[5]);
	assert_int_equal(kmap_used_cnt(kmap), PLACES);
	assert_int_equal(hot_cnt(), PLACES);
}

static void kmap_insert_twice_is_refused_and_leaves_nothing(void **state)
{
	struct kmap_item item = item_number(1, "value");
	uint32_t idx = insert_number(1), again = 12345;

	(void)state;
	kmap_switch(kmap, idx, &item);
	assert_int_equal(kmap_insert(kmap, item.key, KEY_HASH(1), &again), -EEXIST);
	assert_int_equal(again, 12345);
	assert_int_equal(kmap_used_cnt(kmap), 1);
	assert_true(kmap_find(kmap, item.key, KEY_HASH(1), &again));
	assert_int_equal(again, idx);
	assert_int_equal(ask_number(1, &item), HIT);
	for (uint32_t i = 2; i <= PLACES; i++) /* the place was not lost */
		insert_number(i);
}

static void kmap_one_hash_many_keys_are_told_apart(void **state)
{
	char buf[XC_KEY_MAX];
	uint32_t idx[PLACES], found;

	(void)state;
	for (uint32_t i = 0; i < PLACES; i++)
		assert_int_equal(kmap_insert(kmap, key_text(buf, i), 7, &idx[i]), 0);
	for (uint32_t gone = 0; gone < PLACES; gone += 3)
		take_out(idx[gone]);
	for (uint32_t i = 0; i < PLACES; i++) {
		bool there = kmap_find(kmap, key_text(buf, i), 7, &found);

		assert_int_equal(there, i % 3 != 0);
		if (there)
			assert_int_equal(found, idx[i]);
	}
	assert_false(kmap_find(kmap, key_text(buf, 1), 8, &found));
}

/* The map is gone under it: the place goes its way all the same. */
static void kmap_remove_delete_fails_goes_on(void **state)
{
	struct kmap *other = NULL;
	struct kmap_options options = { .hot_fd = dup(rig.hot_fd),
					.entries = rig.entries,
					.uses = rig.uses,
					.filter = rig.filter,
					.conf = rig.conf,
					.entry_cnt = PLACES,
					.log_base = rig.log[0],
					.log_bytes = XC_EXTENT_SIZE };
	char buf[XC_KEY_MAX];
	uint32_t idx;

	(void)state;
	assert_int_equal(kmap_new(&options, &other), 0);
	assert_int_equal(kmap_insert(other, key_text(buf, 1), KEY_HASH(1), &idx), 0);
	close(options.hot_fd);
	alarm(20); /* it must not try for ever */
	kmap_unlink(other, idx);
	kmap_remove(other, idx);
	alarm(0);
	assert_int_equal(kmap_removed_cnt(other), 1);
	assert_int_equal(kmap_release(other, 1), 1);
	/* The element is still there; nobody looks for it any more. */
	assert_int_equal(ask_number(1, NULL), XC_pass_miss);
	kmap_free(other);
}

/* --- the filter --- */

static uint32_t filter_bits(void)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < XC_FILTER_WORDS; i++)
		cnt += (uint32_t)__builtin_popcountll(rig.filter[i]);
	return cnt;
}

/*
 * Keys of one bit share it: it stays until the last of them goes. As many keys as it takes for two
 * to meet, and then the bits' number says who shares.
 */
static void kmap_filter_bit_stays_for_the_last_of_its_keys(void **state)
{
	enum { KEYS = 6000 };
	struct kmap *wide = kmap_for(KEYS);
	struct kmap_item item;
	char buf[XC_KEY_MAX];
	uint32_t last = 0, idx;

	(void)state;
	for (; last < KEYS && filter_bits() == last; last++)
		assert_int_equal(kmap_insert(wide, key_text(buf, last), KEY_HASH(last), &idx), 0);
	assert_in_range(last, 2, KEYS - 1);
	assert_int_equal(filter_bits(), last - 1);
	/* All but the last; one of them is the one that it shares with. */
	for (uint32_t number = 0; number < last - 1; number++) {
		assert_true(kmap_find(wide, key_text(buf, number), KEY_HASH(number), &idx));
		kmap_unlink(wide, idx);
		kmap_remove(wide, idx);
	}
	assert_int_equal(filter_bits(), 1);
	item = item_number(last - 1, "still here");
	assert_true(kmap_find(wide, key_text(buf, last - 1), KEY_HASH(last - 1), &idx));
	kmap_switch(wide, idx, &item);
	assert_int_equal(ask_number(last - 1, &item), XC_hit_tail);
	kmap_unlink(wide, idx);
	kmap_remove(wide, idx);
	assert_int_equal(filter_bits(), 0);
	kmap_free(wide);
}

/* --- adoption --- */

/* Key numbers of what an earlier process left. */
enum leftover {
	LEFT_WHOLE,   /* entry and element as they should be */
	LEFT_LOST,    /* entry whole, its element missing */
	LEFT_TORN,    /* its writer died half way */
	LEFT_OUTSIDE, /* names bytes beyond the log */
	LEFT_WRAPPED, /* so far beyond that the end wraps round to the log's beginning */
	LEFT_LAST,    /* the key is in the log, the value goes beyond it */
	LEFT_LARGE,   /* more than any reply holds */
	LEFT_UNKNOWN, /* whole, but keep() does not know it */
	LEFT_VACANT,
	LEFT_MISLED, /* whole, its element names another place */
	LEFT_CNT,
};

static bool keep_known(void *ctx, struct span key, const struct xc_entry *entry, uint64_t *ret_hash)
{
	char buf[XC_KEY_MAX];

	(void)ctx;
	assert_int_equal(entry->seq % 2, 0);
	assert_int_equal(entry->key_len, key.len);
	for (uint32_t number = 0; number < LEFT_CNT; number++) {
		if (!span_equal(key, key_text(buf, number)))
			continue;
		*ret_hash = KEY_HASH(number);
		return number != LEFT_UNKNOWN;
	}
	fail_msg("asked about a key that no entry may name");
	return false;
}

static void kmap_adopt_leaves_no_bit_of_a_key_that_is_gone(void **state)
{
	struct kmap_item item = item_number(1, "left behind");
	uint32_t idx = insert_number(1);

	(void)state;
	kmap_switch(kmap, idx, &item);
	memset(rig.filter, 0xff, XC_FILTER_WORDS * sizeof(*rig.filter));
	kmap_free(kmap);
	kmap = kmap_for(PLACES);
	assert_int_equal(kmap_adopt(kmap, keep_known, NULL), 0);
	assert_int_equal(filter_bits(), 1);
	assert_int_equal(ask_number(1, &item), XC_hit_tail);
}

/* The elements as the program finds them, so that the test needs no digest of its own. */
static void hot_take(uint32_t idx_wanted, struct xc_digest *ret)
{
	struct xc_digest key, next;
	void *at = NULL;

	while (bpf_map_get_next_key(rig.hot_fd, at, &next) == 0) {
		uint32_t idx;

		key = next;
		at = &key;
		assert_int_equal(bpf_map_lookup_elem(rig.hot_fd, &key, &idx), 0);
		if (idx == idx_wanted) {
			*ret = key;
			return;
		}
	}
	fail_msg("place %u has no element", idx_wanted);
}

static void leave_behind(struct kmap_item items[LEFT_CNT], uint32_t idx[LEFT_CNT])
{
	struct xc_digest digest, foreign = { 0x1122334455667788ULL, 42 };
	uint32_t beyond = PLACES + 1000;

	for (uint32_t number = 0; number < LEFT_CNT; number++) {
		items[number] = item_number(number, number == LEFT_TORN ? "torn" : "left behind");
		idx[number] = insert_number(number);
		if (number != LEFT_VACANT)
			kmap_switch(kmap, idx[number], &items[number]);
	}
	rig.entries[idx[LEFT_TORN]].seq++;
	rig.entries[idx[LEFT_OUTSIDE]].key_loc = XC_EXTENT_SIZE - 3;
	rig.entries[idx[LEFT_WRAPPED]].key_loc = UINT64_MAX - 2;
	rig.entries[idx[LEFT_LAST]].key_loc =
		XC_EXTENT_SIZE - rig.entries[idx[LEFT_LAST]].key_len - 1;
	rig.entries[idx[LEFT_LARGE]].value_len = XC_VALUE_MAX + 1;
	hot_take(idx[LEFT_LOST], &digest);
	assert_int_equal(bpf_map_delete_elem(rig.hot_fd, &digest), 0);
	hot_take(idx[LEFT_MISLED], &digest);
	assert_int_equal(bpf_map_update_elem(rig.hot_fd, &digest, &idx[LEFT_WHOLE], BPF_ANY), 0);
	/* somebody else's elements: to a good place, to none, to a place beyond the array */
	assert_int_equal(bpf_map_update_elem(rig.hot_fd, &foreign, &idx[LEFT_WHOLE], BPF_ANY), 0);
	foreign.hi++;
	assert_int_equal(
		bpf_map_update_elem(rig.hot_fd, &foreign, &(uint32_t){ PLACES - 1 }, BPF_ANY), 0);
	foreign.hi++;
	assert_int_equal(bpf_map_update_elem(rig.hot_fd, &foreign, &beyond, BPF_ANY), 0);
}

static void kmap_adopt_keeps_what_is_known_and_nothing_else(void **state)
{
	struct kmap_item items[LEFT_CNT];
	uint32_t idx[LEFT_CNT], place;
	char buf[XC_KEY_MAX];
	uint32_t freed;

	(void)state;
	leave_behind(items, idx);
	kmap_free(kmap);
	kmap = kmap_for(PLACES);
	assert_int_equal(kmap_adopt(kmap, keep_known, NULL), 0);
	assert_int_equal(kmap_used_cnt(kmap), 3);
	assert_int_equal(hot_cnt(), 3);
	for (uint32_t number = 0; number < LEFT_CNT; number++) {
		bool kept = number == LEFT_WHOLE || number == LEFT_LOST || number == LEFT_MISLED;

		assert_int_equal(ask_number(number, kept ? &items[number] : NULL),
				 kept ? HIT : XC_pass_miss);
		assert_int_equal(kmap_find(kmap, key_text(buf, number), KEY_HASH(number), &place),
				 kept);
		if (kept)
			assert_int_equal(place, idx[number]);
		assert_int_equal(rig.entries[idx[number]].seq % 2, 0);
	}
	/* what was in use waits for its grace period; after it every place serves again */
	for (freed = 0; kmap_insert(kmap, key_text(buf, 100 + freed), freed, &place) == 0; freed++)
		;
	/* a place that never served has nobody to wait for */
	assert_int_equal(freed, PLACES - LEFT_CNT + 1);
	kmap_release(kmap, kmap_removed_cnt(kmap));
	for (; kmap_insert(kmap, key_text(buf, 100 + freed), freed, &place) == 0; freed++)
		;
	assert_int_equal(freed, PLACES - 3);
}

/* An entry that keep() believes in takes writes as before. */
static void kmap_adopt_then_switch_serves_new_version(void **state)
{
	struct kmap_item items[LEFT_CNT], newer;
	uint32_t idx[LEFT_CNT];

	(void)state;
	leave_behind(items, idx);
	kmap_free(kmap);
	kmap = kmap_for(PLACES);
	assert_int_equal(kmap_adopt(kmap, keep_known, NULL), 0);
	newer = item_number(LEFT_LOST, "newer");
	kmap_switch(kmap, idx[LEFT_LOST], &newer);
	assert_int_equal(ask_number(LEFT_LOST, &newer), HIT);
	take_out(idx[LEFT_LOST]);
	assert_int_equal(ask_number(LEFT_LOST, NULL), XC_pass_miss);
}

/* Two entries of one key: a write finds one of them, and that must be the one that is served. */
static void kmap_adopt_keeps_one_place_a_key(void **state)
{
	struct kmap_item item = item_number(1, "left twice"), newer;
	uint32_t one = insert_number(1), other = insert_number(2), place;
	char buf[XC_KEY_MAX];

	(void)state;
	kmap_switch(kmap, one, &item);
	rig.entries[other] = rig.entries[one];
	kmap_free(kmap);
	kmap = kmap_for(PLACES);
	assert_int_equal(kmap_adopt(kmap, keep_known, NULL), 0);
	assert_int_equal(kmap_used_cnt(kmap), 1);
	assert_true(kmap_find(kmap, key_text(buf, 1), KEY_HASH(1), &place));
	newer = item_number(1, "newer");
	kmap_switch(kmap, place, &newer);
	assert_int_equal(ask_number(1, &newer), HIT);
}

/* --- random steps beside a model --- */

#define MODEL_KEYS 24

struct model_key {
	enum { ABSENT, VACANT, SERVING } state;
	uint32_t idx;
	struct kmap_item item;
};

static struct model_key model[MODEL_KEYS];
static uint32_t model_used, model_removed, model_released;

static void step_insert(uint32_t number)
{
	char buf[XC_KEY_MAX];
	struct model_key *m = &model[number];
	bool room = model_used + (model_removed - model_released) < PLACES;
	int want = m->state != ABSENT && room ? -EEXIST : room ? 0 : -ENOSPC;

	assert_int_equal(kmap_insert(kmap, key_text(buf, number), KEY_HASH(number), &m->idx), want);
	if (want)
		return;
	m->state = VACANT;
	model_used++;
}

static void step_switch(struct rand *r, uint32_t number)
{
	static uint8_t value[1200];
	struct model_key *m = &model[number];
	char buf[XC_KEY_MAX];
	uint32_t len = (uint32_t)rand_below(r, 1 + rand_below(r, sizeof(value)));

	if (m->state == ABSENT)
		return;
	for (uint32_t i = 0; i < len; i++)
		value[i] = (uint8_t)rand_next(r);
	if (log_next > XC_EXTENT_SIZE - XC_BLOCK_SIZE) {
		/* Only this test's own entries name the log; empty those, and begin anew. */
		for (uint32_t other = 0; other < MODEL_KEYS; other++) {
			if (model[other].state == SERVING) {
				kmap_vacate(kmap, model[other].idx);
				model[other].state = VACANT;
			}
		}
		log_next = 64;
	}
	m->item = log_item(key_text(buf, number), span_of(value, len));
	kmap_switch(kmap, m->idx, &m->item);
	m->state = SERVING;
}

static void step_leave(uint32_t number, bool remove)
{
	struct model_key *m = &model[number];

	if (m->state == ABSENT)
		return;
	kmap_vacate(kmap, m->idx);
	m->state = VACANT;
	if (!remove)
		return;
	take_out(m->idx);
	m->state = ABSENT;
	model_used--;
	model_removed++;
}

static uint32_t model_vacant(void)
{
	uint32_t cnt = 0;

	for (uint32_t number = 0; number < MODEL_KEYS; number++)
		cnt += model[number].state == VACANT;
	return cnt;
}

static void step_judge(uint32_t number)
{
	static const enum xc_outcome outcomes[] = {
		[ABSENT] = XC_pass_miss, [VACANT] = XC_pass_vacant, [SERVING] = HIT
	};
	struct model_key *m = &model[number];

	assert_int_equal(ask_number(number, m->state == SERVING ? &m->item : NULL),
			 outcomes[m->state]);
	assert_int_equal(kmap_used_cnt(kmap), model_used);
	assert_int_equal(kmap_vacant_cnt(kmap), model_vacant());
	assert_int_equal(kmap_removed_cnt(kmap), model_removed);
}

static void kmap_random_steps_equal_the_model(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 1);
	memset(model, 0, sizeof(model));
	model_used = model_removed = model_released = 0;
	for (int i = 0; i < 30000; i++) {
		uint32_t number = (uint32_t)rand_below(&r, MODEL_KEYS);

		switch (rand_below(&r, 8)) {
		case 0:
		case 1:
			step_insert(number);
			break;
		case 2:
		case 3:
		case 4:
			step_switch(&r, number);
			break;
		case 5:
			step_leave(number, false);
			break;
		case 6:
			step_leave(number, true);
			break;
		default:
			kmap_release(kmap, model_removed);
			model_released = model_removed;
			break;
		}
		/* the key that was changed, and one that was not */
		step_judge(number);
		step_judge((uint32_t)rand_below(&r, MODEL_KEYS));
	}
	assert_int_equal(hot_cnt(), model_used);
}

/* --- set-up --- */

static int open_object(void **state)
{
	(void)state;
	product = fastpath_bpf__open_and_load();
	if (!product)
		return -1;
	return fastrig_open(&rig, product->obj);
}

static int close_object(void **state)
{
	(void)state;
	fastrig_close(&rig);
	fastpath_bpf__destroy(product);
	return 0;
}

static int fresh_kmap(void **state)
{
	(void)state;
	fastrig_clear(&rig);
	fastrig_configure(&rig);
	memset(rig.uses, 0xff, PLACES * sizeof(*rig.uses));
	memset(rig.uses, 0, PLACES * sizeof(*rig.uses) / 2);
	log_next = 64;
	kmap = kmap_for(PLACES);
	return 0;
}

static int free_kmap(void **state)
{
	(void)state;
	kmap_free(kmap);
	kmap = NULL;
	return 0;
}

#define KMAP_TEST(f) cmocka_unit_test_setup_teardown(f, fresh_kmap, free_kmap)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KMAP_TEST(kmap_every_key_length_is_found_and_answered),
		KMAP_TEST(kmap_place_goes_round_each_step_is_seen),
		KMAP_TEST(kmap_switch_every_value_length_sums_right),
		KMAP_TEST(kmap_expired_and_flushed_items_pass),
		KMAP_TEST(kmap_fits_refuses_what_the_kernel_cannot_serve),
		KMAP_TEST(kmap_hits_are_counted_per_place),
		KMAP_TEST(kmap_full_table_waits_for_release),
		KMAP_TEST(kmap_insert_twice_is_refused_and_leaves_nothing),
		KMAP_TEST(kmap_one_hash_many_keys_are_told_apart),
		KMAP_TEST(kmap_remove_delete_fails_goes_on),
		KMAP_TEST(kmap_filter_bit_stays_for_the_last_of_its_keys),
		KMAP_TEST(kmap_adopt_leaves_no_bit_of_a_key_that_is_gone),
		KMAP_TEST(kmap_adopt_keeps_what_is_known_and_nothing_else),
		KMAP_TEST(kmap_adopt_then_switch_serves_new_version),
		KMAP_TEST(kmap_adopt_keeps_one_place_a_key),
		KMAP_TEST(kmap_random_steps_equal_the_model),
	};

	return cmocka_run_group_tests_name("fastpath/kmap", tests, open_object, close_object);
}
