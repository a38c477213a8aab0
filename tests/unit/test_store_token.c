/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a value fetched from an origin never outlives the change of its key that it does not
 * know of, and a fetch that nothing has come in between is stored. Method: two fetches and a
 * client, who changes the origin and then tells the cache, each a few steps; every order of the
 * steps is played, for every way of telling, with and without an item there before. At the end of
 * each the cache may hold what the origin holds, what the client itself wrote, or nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lib/store_rig.h"

#define FETCHES 2
#define FETCH_STEPS 3  /* take a token, ask the origin, put */
#define CLIENT_STEPS 2 /* change the origin, tell the cache */
#define STEPS (FETCHES * FETCH_STEPS + CLIENT_STEPS)

enum tell {
	TELL_DELETE,
	TELL_FLUSH,
	TELL_SET,
	TELL_STALE,
	TELL_PREFIX, /* void the tokens, then remove */
	TELL_CNT
};

struct fetch {
	struct store_token token;
	uint32_t version; /* what the origin said */
	uint32_t step;
};

struct play {
	struct store_rig *rig;
	struct span key;
	char key_text[32];
	uint64_t hash;
	enum tell tell;
	uint32_t origin; /* the version it holds */
	struct fetch fetches[FETCHES];
	uint32_t client_step;
	uint32_t stored_cnt;
};

static enum store_status put(struct play *play, uint32_t version, const struct store_token *token)
{
	const struct store_put put = { .key = play->key, .hash = play->hash, .token = token };

	return store_rig_put(play->rig->t, &put, span_of(&version, sizeof(version)), NULL);
}

static void fetch_step(struct play *play, struct fetch *fetch)
{
	switch (fetch->step++) {
	case 0:
		store_token_take(play->rig->t, &fetch->token, play->key, play->hash);
		break;
	case 1:
		fetch->version = play->origin;
		break;
	default:
		play->stored_cnt += put(play, fetch->version, &fetch->token) == STORE_OK;
		store_token_drop(play->rig->store, &fetch->token);
		break;
	}
}

static void tell(struct play *play)
{
	const struct store_invalidate stale = { .key = play->key,
						.hash = play->hash,
						.stale = true };

	switch (play->tell) {
	case TELL_FLUSH:
		store_flush(play->rig->t);
		break;
	case TELL_SET:
		assert_int_equal(put(play, play->origin, NULL), STORE_OK);
		break;
	case TELL_STALE:
		store_invalidate(play->rig->t, &stale);
		break;
	case TELL_PREFIX:
		store_void_tokens(play->rig->store, span_of(play->key.ptr, 2));
		store_remove(play->rig->t, play->key, play->hash, 0);
		break;
	default:
		store_remove(play->rig->t, play->key, play->hash, 0);
		break;
	}
}

static void client_step(struct play *play)
{
	if (play->client_step++ == 0)
		play->origin++;
	else
		tell(play);
}

static void check(struct play *play, const char *order)
{
	struct item_view view;
	uint32_t version;

	if (!store_peek(play->rig->t, play->key, play->hash, &view) || view.stale)
		return;
	memcpy(&version, view.value, sizeof(version));
	if (version != play->origin)
		fail_msg("tell %d, order %s: version %u of %u", play->tell, order, version,
			 play->origin);
}

static void begin(struct play *play, struct store_rig *rig, enum tell how, bool there,
		  uint32_t number)
{
	*play = (struct play){ .rig = rig, .tell = how, .origin = 1 };
	snprintf(play->key_text, sizeof(play->key_text), "p:%d:%d:%u", how, there, number);
	play->key = span_str(play->key_text);
	play->hash = store_hash(rig->store, play->key);
	if (there)
		assert_int_equal(put(play, play->origin, NULL), STORE_OK);
}

static void swap(char *a, char *b)
{
	char was = *a;

	*a = *b;
	*b = was;
}

/* The next order of the digits, in place; false: that was the last. */
static bool next_order(char *order)
{
	int i = STEPS - 2, j = STEPS - 1;

	while (i >= 0 && order[i] >= order[i + 1])
		i--;
	if (i < 0)
		return false;
	while (order[j] <= order[i])
		j--;
	swap(&order[i], &order[j]);
	for (i++, j = STEPS - 1; i < j; i++, j--)
		swap(&order[i], &order[j]);
	return true;
}

static uint32_t play_all(struct store_rig *rig, enum tell how, bool there, uint32_t *ret_stored)
{
	char order[] = "00111222";
	uint32_t cnt = 0;

	do {
		struct play play;

		begin(&play, rig, how, there, cnt++);
		for (int i = 0; i < STEPS; i++) {
			if (order[i] == '0')
				client_step(&play);
			else
				fetch_step(&play, &play.fetches[order[i] - '1']);
		}
		check(&play, order);
		*ret_stored += play.stored_cnt;
		store_quiesce(rig->t);
	} while (next_order(order));
	return cnt;
}

static void no_order_of_steps_leaves_an_old_value(void **state)
{
	struct store_rig rig;
	struct store_options options = { 0 };

	(void)state;
	store_rig_init(&rig, &options);
	for (int how = 0; how < TELL_CNT; how++) {
		for (int there = 0; there < 2; there++) {
			uint32_t stored = 0;

			assert_int_equal(play_all(&rig, how, there, &stored), 560);
			/* Refusing all would hold, too. */
			assert_true(stored > 200);
		}
	}
	store_rig_fini(&rig);
}

/* What is no change of the value's key leaves its token alone. */
static void others_do_not_void_a_token(void **state)
{
	const struct span key = span_str("p:a"), other = span_str("p:b");
	const struct store_options options = { 0 };
	struct store_token token;
	struct item_view view;
	struct store_rig rig;
	uint64_t hash;

	(void)state;
	store_rig_init(&rig, &options);
	hash = store_hash(rig.store, key);
	store_token_take(rig.t, &token, key, hash);
	assert_int_equal(store_rig_set(&rig, other, span_str("v"), 0), STORE_OK);
	store_remove(rig.t, other, store_hash(rig.store, other), 0);
	store_void_tokens(rig.store, span_str("p:b"));
	store_void_tokens(rig.store, span_str("p:aa"));
	assert_false(store_find(rig.t, key, hash, &view));
	assert_int_equal(store_note_absent(rig.t, key, hash, 0), STORE_OK);
	assert_false(store_token_is_void(rig.store, &token));
	store_void_tokens(rig.store, span_str("p:"));
	assert_true(store_token_is_void(rig.store, &token));
	store_token_drop(rig.store, &token);
	store_rig_fini(&rig);
}

static void touch_and_removal_of_nothing_void_a_token(void **state)
{
	const struct span key = span_str("p:a");
	const struct store_options options = { 0 };
	struct store_token token;
	struct store_rig rig;
	uint64_t hash;

	(void)state;
	store_rig_init(&rig, &options);
	hash = store_hash(rig.store, key);
	store_token_take(rig.t, &token, key, hash);
	assert_int_equal(store_remove(rig.t, key, hash, 0), STORE_NOT_FOUND);
	assert_true(store_token_is_void(rig.store, &token));
	store_token_drop(rig.store, &token);
	assert_int_equal(store_rig_set(&rig, key, span_str("v"), 0), STORE_OK);
	store_token_take(rig.t, &token, key, hash);
	assert_int_equal(store_touch(rig.t, key, hash, rig.time.boot_ns + NSEC_PER_SEC, NULL),
			 STORE_OK);
	assert_true(store_token_is_void(rig.store, &token));
	store_token_drop(rig.store, &token);
	store_rig_fini(&rig);
}

static void note_with_a_void_token_is_not_made(void **state)
{
	const struct span key = span_str("p:a");
	const struct store_options options = { 0 };
	struct store_token token;
	struct store_put note = { .key = key, .mode = STORE_ADD, .absent = true, .token = &token };
	struct store_rig rig;

	(void)state;
	store_rig_init(&rig, &options);
	note.hash = store_hash(rig.store, key);
	note.expire_ns = rig.time.boot_ns + NSEC_PER_SEC;
	store_token_take(rig.t, &token, key, note.hash);
	store_remove(rig.t, key, note.hash, 0);
	assert_int_equal(store_rig_put(rig.t, &note, span_of(NULL, 0), NULL), STORE_NOT_STORED);
	assert_false(store_is_noted(rig.t, key, note.hash));
	store_token_drop(rig.store, &token);
	store_token_take(rig.t, &token, key, note.hash);
	assert_int_equal(store_rig_put(rig.t, &note, span_of(NULL, 0), NULL), STORE_OK);
	assert_true(store_is_noted(rig.t, key, note.hash));
	store_token_drop(rig.store, &token);
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	assert_false(store_is_noted(rig.t, key, note.hash));
	store_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_order_of_steps_leaves_an_old_value),
		cmocka_unit_test(others_do_not_void_a_token),
		cmocka_unit_test(touch_and_removal_of_nothing_void_a_token),
		cmocka_unit_test(note_with_a_void_token_is_not_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
