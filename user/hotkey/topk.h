/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * topk - the K keys asked for most, with exponential decay.
 *
 * Does      Space-Saving: counts up to K keys; a new key takes the place of the least counted one
 *           and inherits its count as its possible error.
 * Shape     forward decay: an event at time t weighs 2^(t / half_life), so that scores of
 *           different ages compare without touching them; everything is scaled down when weights
 *           grow large.
 * Owner     one thread.
 * Source    Metwally, Agrawal, El Abbadi, ICDT'05; Cormode et al., "Forward decay", ICDE'09.
 */
#ifndef XC_HOTKEY_TOPK_H
#define XC_HOTKEY_TOPK_H

#include <stdint.h>

#include "base/span.h"
#include "hotkey/tracker.h"

struct topk;

struct topk *topk_new(uint32_t key_cnt, uint32_t half_life_ms);
void topk_free(struct topk *topk); /* NULL-safe */

/* weight: events this one stands for. */
void topk_add_read(struct topk *topk, struct span key, uint64_t hash, double weight,
		   uint64_t now_ns);
/* Counted only for keys that are already there: writes alone make nothing hot. */
void topk_add_write(struct topk *topk, struct span key, uint64_t hash, double weight,
		    uint64_t now_ns);
/*
 * Hottest first by what is sure of their rates: without the inherited error, which is taken off,
 * and without the doubt.
 */
uint32_t topk_list(struct topk *topk, uint64_t now_ns, struct hot_key *ret, uint32_t max);

#endif
