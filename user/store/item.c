/* SPDX-License-Identifier: BSD-2-Clause */
#include "store/item.h"

#include <xxhash.h>

uint32_t item_check(struct item_header *item)
{
	struct item_shape shape = item_shape(item);
	size_t len = item_options_len(shape.bits) + shape.key_len + shape.value_len;
	/* Lengths and shape seed the hash: a header that lies about them fails the check too. */
	uint64_t seed = (uint64_t)(shape.bits & ITEM_SHAPE_BITS) << 32 |
			(uint64_t)shape.key_len << 32 | shape.value_len;

	return (uint32_t)XXH3_64bits_withSeed(item_options(item), len, seed) & 0xffffff;
}
