/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The oracle calls every wrong reply wrong and no right one. Method: one scenario a test for each
 * kind of wrong; then a model of a linearizable cache with random delays, whose replies must all be
 * right, and the same model with one fault at a time, which must be found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../bench/load/keys.c"
#include "../../bench/load/oracle.c"
#include "../../bench/load/value.c"

#define VALUE_ROOM 4096
#define NOW_NS 1000000000ULL

static struct keys keys;
static struct oracle oracle;
static uint32_t key_idx;
static uint8_t value[VALUE_ROOM];

static int set_up_len(uint32_t value_len)
{
	if (keys_init(&keys) || keys_insert(&keys, span_str("a"), &key_idx) ||
	    keys_insert(&keys, span_str("b"), &key_idx))
		return -1;
	keys.list[0].value_len = value_len;
	keys.list[1].value_len = value_len;
	oracle = (struct oracle){ .keys = &keys, .run = 77, .value_max = VALUE_ROOM };
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	return set_up_len(200);
}

static int tear_down(void **state)
{
	(void)state;
	keys_fini(&keys);
	return 0;
}

static struct text_reply value_reply(uint32_t version)
{
	oracle_value_compose(&oracle, key_idx, version, value);
	return (struct text_reply){
		.kind = TEXT_VALUE,
		.flags = oracle_value_flags(&oracle, key_idx, version),
		.key = keys_text(&keys, key_idx),
		.value = span_of(value, oracle_value_len(&oracle, key_idx, version)),
	};
}

static struct oracle_read read_start(void)
{
	struct oracle_read read;

	oracle_read_start(&oracle, key_idx, NOW_NS, &read);
	return read;
}

static enum oracle_verdict judge(const struct oracle_read *read, const struct text_reply *reply)
{
	uint32_t version;

	return oracle_read_end(&oracle, key_idx, read, reply, &version);
}

static enum oracle_verdict judge_version(const struct oracle_read *read, uint32_t version)
{
	struct text_reply reply = value_reply(version);

	return judge(read, &reply);
}

static enum oracle_verdict judge_miss_of(const struct oracle_read *read)
{
	struct text_reply reply = { .kind = TEXT_MISS };

	return judge(read, &reply);
}

static void write_done(bool remove)
{
	struct oracle_write write;

	assert_true(oracle_write_start(&oracle, key_idx, remove, 0, &write));
	oracle_write_end(&oracle, key_idx, &write, true, NOW_NS);
}

static void read_acknowledged_version_is_hit(void **state)
{
	struct oracle_read read;

	(void)state;
	write_done(false);
	read = read_start();
	assert_int_equal(judge_version(&read, 1), ORACLE_HIT);
}

static void read_older_than_acknowledged_is_stale(void **state)
{
	struct oracle_read read;

	(void)state;
	write_done(false);
	write_done(false);
	read = read_start();
	assert_int_equal(judge_version(&read, 1), ORACLE_STALE);
}

static void read_that_left_before_the_write_may_be_old(void **state)
{
	struct oracle_read read;

	(void)state;
	write_done(false);
	read = read_start();
	write_done(false);
	assert_int_equal(judge_version(&read, 1), ORACLE_HIT);
}

static void read_of_a_write_on_its_way_is_hit(void **state)
{
	struct oracle_read read = read_start();
	struct oracle_write write;

	(void)state;
	assert_true(oracle_write_start(&oracle, key_idx, false, 0, &write));
	assert_int_equal(judge_version(&read, 1), ORACLE_HIT);
}

static void read_after_a_newer_one_was_seen_is_stale(void **state)
{
	struct oracle_read first, second;
	struct oracle_write write;

	(void)state;
	write_done(false);
	assert_true(oracle_write_start(&oracle, key_idx, false, 0, &write));
	first = read_start();
	assert_int_equal(judge_version(&first, 2), ORACLE_HIT);
	second = read_start();
	assert_int_equal(judge_version(&second, 1), ORACLE_STALE);
}

static void read_after_delete_is_stale(void **state)
{
	struct oracle_read read;

	(void)state;
	write_done(false);
	write_done(true);
	read = read_start();
	assert_int_equal(judge_version(&read, 1), ORACLE_STALE);
}

static void read_of_what_was_gone_is_stale(void **state)
{
	struct oracle_read read;

	(void)state;
	write_done(false);
	read = read_start();
	judge_miss_of(&read);
	read = read_start();
	assert_int_equal(judge_version(&read, 1), ORACLE_STALE);
}

/* Two reads that miss while the fill is on its way say nothing against the fill. */
static void read_after_misses_during_a_fill_is_hit(void **state)
{
	struct oracle_read read;
	struct oracle_write write;

	(void)state;
	read = read_start();
	assert_int_equal(judge_miss_of(&read), ORACLE_MISS);
	assert_true(oracle_write_start(&oracle, key_idx, false, 0, &write));
	for (uint32_t i = 0; i < 3; i++) {
		read = read_start();
		assert_int_equal(judge_miss_of(&read), ORACLE_MISS);
	}
	oracle_write_end(&oracle, key_idx, &write, true, NOW_NS);
	read = read_start();
	assert_int_equal(judge_version(&read, 1), ORACLE_HIT);
	assert_int_equal(judge_miss_of(&read), ORACLE_FALSE_MISS);
}

static void miss_of_an_acknowledged_set_is_false(void **state)
{
	struct oracle_read read;

	(void)state;
	write_done(false);
	read = read_start();
	assert_int_equal(judge_miss_of(&read), ORACLE_FALSE_MISS);
}

static void miss_while_a_write_is_on_its_way_is_no_news(void **state)
{
	struct oracle_read read;
	struct oracle_write write;

	(void)state;
	write_done(false);
	read = read_start();
	assert_true(oracle_write_start(&oracle, key_idx, true, 0, &write));
	assert_int_equal(judge_miss_of(&read), ORACLE_MISS);
	oracle_write_end(&oracle, key_idx, &write, true, NOW_NS);
	read = read_start();
	assert_int_equal(judge_miss_of(&read), ORACLE_MISS);
}

static void read_past_its_ttl_is_expired(void **state)
{
	struct oracle_read read;
	struct oracle_write write;

	(void)state;
	assert_true(oracle_write_start(&oracle, key_idx, false, 5, &write));
	oracle_write_end(&oracle, key_idx, &write, true, NOW_NS);
	oracle_read_start(&oracle, key_idx, NOW_NS + 4 * NSEC_PER_SEC, &read);
	assert_int_equal(judge_version(&read, 1), ORACLE_HIT);
	oracle_read_start(&oracle, key_idx, NOW_NS + 7 * NSEC_PER_SEC, &read);
	assert_int_equal(judge_version(&read, 1), ORACLE_EXPIRED);
}

static void read_of_another_key_is_foreign(void **state)
{
	struct oracle_read read;
	struct text_reply reply;
	uint32_t own = key_idx;

	(void)state;
	write_done(false);
	read = read_start();
	key_idx = 0;
	reply = value_reply(1);
	key_idx = own;
	assert_int_equal(judge(&read, &reply), ORACLE_FOREIGN);
	reply.key = keys_text(&keys, own);
	assert_int_equal(judge(&read, &reply), ORACLE_FOREIGN);
}

static void read_of_another_run_is_foreign(void **state)
{
	struct oracle_read read;
	struct text_reply reply;

	(void)state;
	write_done(false);
	read = read_start();
	oracle.run++;
	reply = value_reply(1);
	oracle.run--;
	assert_int_equal(judge(&read, &reply), ORACLE_FOREIGN);
}

static void read_of_a_version_nobody_wrote_is_unwritten(void **state)
{
	struct oracle_read read;

	(void)state;
	write_done(false);
	read = read_start();
	assert_int_equal(judge_version(&read, 2), ORACLE_UNWRITTEN);
}

static void read_with_any_bit_wrong_is_no_hit(void **state)
{
	struct text_reply reply;

	(void)state;
	write_done(false);
	reply = value_reply(1);
	for (uint32_t bit = 0; bit < reply.value.len * 8; bit++) {
		struct oracle_read read = read_start();

		value[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(judge(&read, &reply), ORACLE_CORRUPT);
		value[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void read_torn_between_versions_is_corrupt(void **state)
{
	uint8_t other[VALUE_ROOM];
	struct text_reply reply;
	struct oracle_read read;
	size_t len;

	(void)state;
	read = read_start();
	write_done(false);
	write_done(false);
	reply = value_reply(1);
	memcpy(other, value, reply.value.len);
	len = reply.value.len;
	reply = value_reply(2);
	if (reply.value.len < len)
		len = reply.value.len;
	for (size_t at = 1; at < len; at++) {
		reply = value_reply(2);
		memcpy(value + at, other + at, len - at);
		reply.value.len = len;
		if (memcmp(value, other, len) != 0)
			assert_int_equal(judge(&read, &reply), ORACLE_CORRUPT);
	}
}

static void read_cut_short_is_corrupt(void **state)
{
	struct text_reply reply;
	struct oracle_read read;

	(void)state;
	write_done(false);
	read = read_start();
	reply = value_reply(1);
	while (reply.value.len-- > 0)
		assert_int_equal(judge(&read, &reply), ORACLE_CORRUPT);
}

static void read_with_other_flags_is_wrong(void **state)
{
	struct text_reply reply;
	struct oracle_read read;

	(void)state;
	write_done(false);
	read = read_start();
	reply = value_reply(1);
	reply.flags ^= 1;
	assert_int_equal(judge(&read, &reply), ORACLE_FLAGS);
}

/* Too short to name their version: staleness is found all the same, from one byte on. */
static void read_short_value_older_is_stale(void **state)
{
	(void)state;
	for (uint32_t len = 1; len < VALUE_HEADER_LEN; len++) {
		keys.list[key_idx].value_len = len;
		for (uint32_t i = 0; i < 40; i++) {
			struct oracle_read read;
			uint32_t version;

			write_done(false);
			version = keys.list[key_idx].issued;
			read = read_start();
			assert_int_equal(judge_version(&read, version), ORACLE_HIT);
			if (i > 0)
				assert_int_equal(judge_version(&read, version - 1), ORACLE_STALE);
		}
	}
}

static void write_of_a_busy_key_is_refused(void **state)
{
	struct oracle_write write;

	(void)state;
	assert_true(oracle_write_start(&oracle, key_idx, false, 0, &write));
	assert_false(oracle_write_start(&oracle, key_idx, true, 0, &write));
}

static void keys_insert_makes_texts_legal_and_distinct(void **state)
{
	char text[600];
	uint32_t idx, again, other;

	(void)state;
	assert_int_equal(keys_insert(&keys, span_of("x y\r\n\0z", 7), &idx), 0);
	assert_true(span_equal(keys_text(&keys, idx), span_str("x%20y%0D%0A%00z")));
	memset(text, 'k', sizeof(text));
	assert_int_equal(keys_insert(&keys, span_of(text, 599), &idx), 0);
	assert_int_equal(keys_insert(&keys, span_of(text, 600), &other), 0);
	assert_int_equal(keys_insert(&keys, span_of(text, 599), &again), 0);
	assert_int_not_equal(idx, other);
	assert_int_equal(idx, again);
	assert_true(keys_text(&keys, idx).len <= XC_KEY_MAX);
	assert_int_equal(keys_insert(&keys, span_of(text, 250), &idx), 0);
	assert_int_equal(keys_text(&keys, idx).len, 250);
	assert_int_equal(keys_insert(&keys, span_of("", 0), &idx), 0);
	assert_true(keys_text(&keys, idx).len > 0);
}

/* --- the model ---------------------------------------------------------------------- */

#define READ_CNT 6
#define STEP_CNT 60000

enum fault {
	FAULT_NONE,
	FAULT_LATE_APPLY, /* a write is acknowledged before it has happened */
	FAULT_COMES_BACK, /* what was evicted is served again */
	FAULT_SNAPSHOT,	  /* one reader keeps an old copy, as a stale second tier would */
};

struct model_read {
	bool active, applied;
	struct oracle_read read;
	uint32_t version; /* seen; 0: miss */
};

struct model {
	struct rand rand;
	enum fault fault;
	uint32_t stored;  /* version, 0: none */
	uint32_t evicted; /* the last version that was */
	uint32_t copy;	  /* of the stale tier */
	struct model_read reads[READ_CNT];
	bool writing, applied;
	struct oracle_write write;
	uint32_t unapplied; /* FAULT_LATE_APPLY: acknowledged, not yet there */
	uint64_t wrong;
};

static bool odds(struct model *model, uint32_t one_in)
{
	return rand_below(&model->rand, one_in) == 0;
}

static void model_read_step(struct model *model, struct model_read *read)
{
	if (!read->active) {
		read->active = true;
		read->applied = false;
		read->read = read_start();
	} else if (!read->applied) {
		read->applied = true;
		read->version = model->stored;
		if (model->fault == FAULT_SNAPSHOT && read == &model->reads[0] && model->copy)
			read->version = model->copy;
		if (model->fault == FAULT_COMES_BACK && !model->stored && odds(model, 4))
			read->version = model->evicted;
	} else {
		enum oracle_verdict verdict = read->version
						      ? judge_version(&read->read, read->version)
						      : judge_miss_of(&read->read);

		model->wrong += verdict >= ORACLE_WRONG_FIRST;
		read->active = false;
	}
}

static void model_write_step(struct model *model)
{
	if (!model->writing) {
		model->writing =
			oracle_write_start(&oracle, key_idx, odds(model, 5), 0, &model->write);
		model->applied = false;
	} else if (!model->applied && model->fault != FAULT_LATE_APPLY) {
		model->stored = model->write.remove ? 0 : model->write.version;
		if (odds(model, 3))
			model->copy = model->stored;
		model->applied = true;
	} else {
		oracle_write_end(&oracle, key_idx, &model->write, true, NOW_NS);
		model->writing = false;
		if (model->fault == FAULT_LATE_APPLY)
			model->stored = odds(model, 3) ? model->stored : model->write.version;
	}
}

static uint64_t model_run(enum fault fault, uint32_t value_len)
{
	const char *text = getenv("XC_TEST_SEED");
	struct model model = { .fault = fault };
	uint64_t seed = text ? strtoull(text, NULL, 0) : 4711;

	print_message("seed %llu\n", (unsigned long long)seed);
	keys.list[key_idx].value_len = value_len;
	rand_init(&model.rand, seed);
	for (uint32_t i = 0; i < STEP_CNT; i++) {
		uint32_t what = (uint32_t)rand_below(&model.rand, READ_CNT + 2);

		if (what < READ_CNT) {
			model_read_step(&model, &model.reads[what]);
		} else if (what == READ_CNT) {
			model_write_step(&model);
		} else if (odds(&model, 20) && model.stored) {
			model.evicted = model.stored;
			model.stored = 0;
		}
	}
	return model.wrong;
}

static void oracle_right_cache_is_never_wrong(void **state)
{
	(void)state;
	assert_int_equal(model_run(FAULT_NONE, 200), 0);
	assert_int_equal(model_run(FAULT_NONE, 2), 0);
	assert_int_equal(model_run(FAULT_NONE, 0), 0);
}

static void oracle_early_acknowledgement_is_found(void **state)
{
	(void)state;
	assert_true(model_run(FAULT_LATE_APPLY, 200) > 100);
}

static void oracle_return_of_the_evicted_is_found(void **state)
{
	(void)state;
	assert_true(model_run(FAULT_COMES_BACK, 200) > 10);
}

static void oracle_stale_second_tier_is_found(void **state)
{
	(void)state;
	assert_true(model_run(FAULT_SNAPSHOT, 200) > 100);
}

static void oracle_stale_second_tier_of_short_values_is_found(void **state)
{
	(void)state;
	assert_true(model_run(FAULT_SNAPSHOT, 2) > 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(read_acknowledged_version_is_hit),
		TEST(read_older_than_acknowledged_is_stale),
		TEST(read_that_left_before_the_write_may_be_old),
		TEST(read_of_a_write_on_its_way_is_hit),
		TEST(read_after_a_newer_one_was_seen_is_stale),
		TEST(read_after_delete_is_stale),
		TEST(read_of_what_was_gone_is_stale),
		TEST(read_after_misses_during_a_fill_is_hit),
		TEST(miss_of_an_acknowledged_set_is_false),
		TEST(miss_while_a_write_is_on_its_way_is_no_news),
		TEST(read_past_its_ttl_is_expired),
		TEST(read_of_another_key_is_foreign),
		TEST(read_of_another_run_is_foreign),
		TEST(read_of_a_version_nobody_wrote_is_unwritten),
		TEST(read_with_any_bit_wrong_is_no_hit),
		TEST(read_torn_between_versions_is_corrupt),
		TEST(read_cut_short_is_corrupt),
		TEST(read_with_other_flags_is_wrong),
		TEST(read_short_value_older_is_stale),
		TEST(write_of_a_busy_key_is_refused),
		TEST(keys_insert_makes_texts_legal_and_distinct),
		TEST(oracle_right_cache_is_never_wrong),
		TEST(oracle_early_acknowledgement_is_found),
		TEST(oracle_return_of_the_evicted_is_found),
		TEST(oracle_stale_second_tier_is_found),
		TEST(oracle_stale_second_tier_of_short_values_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
