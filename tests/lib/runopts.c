/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/runopts.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"

#define BUDGET_DEFAULT_SEC 300

uint64_t runopts_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

uint64_t runopts_seed(void)
{
	static uint64_t seed;
	static bool known;

	if (!known) {
		if (rand_secret(&seed, sizeof(seed)))
			abort();
		seed = runopts_number("XC_TEST_SEED", seed);
		known = true;
		printf("XC_TEST_SEED=%llu\n", (unsigned long long)seed);
		fflush(stdout);
	}
	return seed;
}

bool runopts_long(void)
{
	return runopts_number("XC_TEST_LONG", 0) != 0;
}

uint32_t runopts_budget_sec(uint32_t short_sec)
{
	if (!runopts_long())
		return short_sec;
	return (uint32_t)runopts_number("XC_TEST_BUDGET_SEC", BUDGET_DEFAULT_SEC);
}
