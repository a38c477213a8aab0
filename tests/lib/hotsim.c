/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/hotsim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/conf.h"
#include "base/rand.h"
#include "hotkey/tracker.h"
#include "lib/fake_clock.h"
#include "promote/policy.h"
#include "promote/rate.h"

#define START_NS (1000 * NSEC_PER_SEC)
#define CANDIDATES 4096
#define NOWHERE UINT32_MAX

struct place {
	uint32_t key;
	uint32_t sampled; /* hits, since the last round */
	uint64_t stamp, stamp_seen;
	uint64_t since_ns;
	struct rate kernel;
	double read_rate;
};

struct hotsim {
	struct hotsim_options options;
	struct fake_clock clock;
	struct rand rand;
	struct tracker *tracker;
	struct tracker_ring *ring;
	uint32_t *place_of; /* key -> index in places, or NOWHERE */
	struct place *places;
	uint32_t place_cnt;
	struct policy_resident *residents;
	struct hot_key hot[CANDIDATES];
	struct policy_key candidates[CANDIDATES];
	uint32_t candidate_keys[CANDIDATES];
	enum policy_reason reasons[CANDIDATES];
	struct hotsim_counts counts;
};

struct hotsim_options hotsim_defaults(uint32_t key_max, uint32_t entry_max, uint64_t seed)
{
	return (struct hotsim_options){ .key_max = key_max,
					.entry_max = entry_max,
					.ranked_cnt = 8192,
					.half_life_ms = 2000,
					.threshold = 5,
					.seed = seed };
}

struct hotsim *hotsim_new(const struct hotsim_options *options)
{
	struct hotsim *sim = calloc(1, sizeof(*sim));
	struct tracker_options tracker = { .key_cnt = options->ranked_cnt,
					   .ring_cnt = 1,
					   .half_life_ms = options->half_life_ms };

	if (!sim)
		return NULL;
	sim->options = *options;
	fake_clock_init(&sim->clock, START_NS, START_NS);
	rand_init(&sim->rand, options->seed);
	tracker.clock = &sim->clock.clock;
	sim->tracker = tracker_new(&tracker);
	sim->place_of = malloc(options->key_max * sizeof(*sim->place_of));
	sim->places = calloc(options->entry_max + 1, sizeof(*sim->places));
	sim->residents = calloc(options->entry_max + 1, sizeof(*sim->residents));
	if (!sim->tracker || !sim->place_of || !sim->places || !sim->residents) {
		hotsim_free(sim);
		return NULL;
	}
	sim->ring = tracker_ring(sim->tracker, 0);
	memset(sim->place_of, 0xff, options->key_max * sizeof(*sim->place_of));
	return sim;
}

void hotsim_free(struct hotsim *sim)
{
	if (!sim)
		return;
	tracker_free(sim->tracker);
	free(sim->place_of);
	free(sim->places);
	free(sim->residents);
	free(sim);
}

/* --- requests --- */

/* The bytes of the number are the key. */
static struct span key_of(const uint32_t *number)
{
	return span_of(number, sizeof(*number));
}

static uint64_t hash_of(uint32_t number)
{
	return (number + 1) * 0x9e3779b97f4a7c15ULL;
}

bool hotsim_read(struct hotsim *sim, uint32_t key)
{
	uint32_t at = sim->place_of[key];

	sim->counts.read_cnt++;
	if (at == NOWHERE) {
		tracker_sample_read(sim->ring, key_of(&key), hash_of(key));
		return false;
	}
	sim->counts.hit_cnt++;
	sim->places[at].sampled += rand_below(&sim->rand, 1 << XC_HIT_SHIFT) == 0;
	sim->places[at].stamp = sim->clock.boot_ns >> XC_STAMP_SHIFT;
	return true;
}

void hotsim_write(struct hotsim *sim, uint32_t key)
{
	tracker_sample_write(sim->ring, key_of(&key), hash_of(key));
}

/* --- a round --- */

static void note_hits(struct hotsim *sim)
{
	struct rate_step step;

	rate_step_init(&step, HOTSIM_ROUND_MS / 1000.0);
	for (uint32_t at = 0; at < sim->place_cnt; at++) {
		struct place *place = &sim->places[at];

		rate_add(&place->kernel, &step, place->sampled, place->stamp != place->stamp_seen);
		place->stamp_seen = place->stamp;
		place->sampled = 0;
		place->read_rate = 0;
	}
}

static uint32_t gather(struct hotsim *sim)
{
	uint32_t hot_cnt = tracker_top(sim->tracker, sim->hot, CANDIDATES), cnt = 0;

	for (uint32_t h = 0; h < hot_cnt; h++) {
		const struct hot_key *hot = &sim->hot[h];
		uint32_t key;

		memcpy(&key, hot->key, sizeof(key));
		if (sim->place_of[key] != NOWHERE) {
			sim->places[sim->place_of[key]].read_rate = hot->read_rate;
			continue;
		}
		sim->candidate_keys[cnt] = key;
		sim->candidates[cnt++] = (struct policy_key){ .read_rate = hot->read_rate,
							      .read_doubt = hot->read_doubt,
							      .write_rate = hot->write_rate };
	}
	return cnt;
}

static int descending(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? 1 : left > right ? -1 : 0;
}

static void apply(struct hotsim *sim, struct policy_actions *actions)
{
	qsort(actions->demote, actions->demote_cnt, sizeof(actions->demote[0]), descending);
	for (uint32_t i = 0; i < actions->demote_cnt; i++) {
		uint32_t at = actions->demote[i];

		sim->place_of[sim->places[at].key] = NOWHERE;
		sim->places[at] = sim->places[--sim->place_cnt];
		if (at < sim->place_cnt)
			sim->place_of[sim->places[at].key] = at;
	}
	for (uint32_t i = 0; i < actions->promote_cnt; i++) {
		uint32_t key = sim->candidate_keys[actions->promote[i]];

		sim->place_of[key] = sim->place_cnt;
		sim->places[sim->place_cnt++] =
			(struct place){ .key = key, .since_ns = sim->clock.boot_ns };
	}
	sim->counts.demote_cnt += actions->demote_cnt;
	sim->counts.promote_cnt += actions->promote_cnt;
}

void hotsim_round(struct hotsim *sim)
{
	struct policy_actions actions = { .reasons = sim->reasons };
	struct policy_input input = { .candidates = sim->candidates,
				      .residents = sim->residents,
				      .entry_max = sim->options.entry_max,
				      .threshold = sim->options.threshold };

	fake_clock_add(&sim->clock, HOTSIM_ROUND_MS * NSEC_PER_MSEC);
	tracker_drain(sim->tracker);
	note_hits(sim);
	input.candidate_cnt = gather(sim);
	input.resident_cnt = sim->place_cnt;
	for (uint32_t at = 0; at < sim->place_cnt; at++) {
		const struct place *place = &sim->places[at];

		sim->residents[at] = (struct policy_resident){
			.rate = rate_most(&place->kernel) + place->read_rate,
			.stay_ms = (sim->clock.boot_ns - place->since_ns) / NSEC_PER_MSEC,
		};
	}
	policy_pick(&input, &actions);
	apply(sim, &actions);
}

/* --- what came of it --- */

bool hotsim_is_resident(const struct hotsim *sim, uint32_t key)
{
	return sim->place_of[key] != NOWHERE;
}

uint32_t hotsim_resident_cnt(const struct hotsim *sim)
{
	return sim->place_cnt;
}

struct hotsim_counts hotsim_counts(const struct hotsim *sim)
{
	return sim->counts;
}
