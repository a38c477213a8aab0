/* SPDX-License-Identifier: BSD-2-Clause */
/* How keys become parameters. Two parts are never side by side, so there is one way to split. */
#include "origin/origin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int refuse(char why[ORIGIN_WHY_MAX], const char *text, const char *what)
{
	snprintf(why, ORIGIN_WHY_MAX, "\"%.80s\": %s; write it like product:{id}", text, what);
	return -EINVAL;
}

int origin_pattern_init(struct origin_pattern *pattern, const char *text, char why[ORIGIN_WHY_MAX])
{
	const char *pos = text;
	uint32_t cnt = 0;

	if (strlen(text) > ORIGIN_PATTERN_MAX)
		return refuse(why, text, "too long for a pattern");
	while (*pos) {
		size_t len = strcspn(pos, "{}");

		if (pos[len] == '}')
			return refuse(why, text, "a } without its {");
		if (pos[len] == '\0')
			break;
		if (cnt > 0 && len == 0)
			return refuse(why, text, "two parts need something between them");
		pos += len + 1;
		len = strcspn(pos, "{}");
		if (pos[len] != '}')
			return refuse(why, text, "a { without its }");
		if (len == 0)
			return refuse(why, text, "a part has no name");
		/* One parameter is left for the value of a write. */
		if (++cnt == ORIGIN_PARAM_MAX)
			return refuse(why, text, "too many parts");
		pos += len + 1;
	}
	*pattern = (struct origin_pattern){ .text = text, .part_cnt = cnt };
	return 0;
}

bool origin_pattern_split(const struct origin_pattern *pattern, struct span key,
			  struct span ret[ORIGIN_PARAM_MAX])
{
	const char *pos = pattern->text;
	size_t len = strcspn(pos, "{");
	uint32_t cnt = 0;

	if (key.len < len || memcmp(key.ptr, pos, len) != 0)
		return false;
	key = span_of(key.ptr + len, key.len - len);
	for (pos += len; *pos; pos += len) {
		const uint8_t *end = key.ptr + key.len;

		pos = strchr(pos, '}') + 1;
		len = strcspn(pos, "{");
		/* A last part has the rest; a part in front of text ends where that begins. */
		if (*pos && key.len > 1)
			end = memmem(key.ptr + 1, key.len - 1, pos, len);
		if (key.len == 0 || !end || (*pos && end == key.ptr + key.len))
			return false;
		ret[cnt++] = span_of(key.ptr, (size_t)(end - key.ptr));
		key.len -= (size_t)(end - key.ptr) + len;
		key.ptr = end + len;
	}
	return key.len == 0;
}
