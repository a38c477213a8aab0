/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * runopts - what the runner tells a test program.
 *
 * Does      gives a randomised test its seed (XC_TEST_SEED, else one of the machine's) and prints
 *           it; says whether the long form was asked for and how long that may take.
 * Units     seconds.
 * Threads   main, before others start.
 * Source    docs/testing.md.
 */
#ifndef XC_TESTS_RUNOPTS_H
#define XC_TESTS_RUNOPTS_H

#include <stdbool.h>
#include <stdint.h>

/* The same number for the life of the process; printed at the first call. */
uint64_t runopts_seed(void);
/* XC_TEST_LONG is set. */
bool runopts_long(void);
/* Seconds a long form may take; short_sec when the short form was asked for. */
uint32_t runopts_budget_sec(uint32_t short_sec);
/* A number from the environment, else the given one. */
uint64_t runopts_number(const char *name, uint64_t otherwise);

#endif
