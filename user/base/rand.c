/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/rand.h"

#include <errno.h>
#include <sys/random.h>

int rand_secret(void *buf, size_t len)
{
	uint8_t *pos = buf;

	while (len > 0) {
		ssize_t n = getrandom(pos, len, 0);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		pos += n;
		len -= (size_t)n;
	}
	return 0;
}
