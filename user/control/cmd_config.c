/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/command.h"

#include <stdio.h>
#include <stdlib.h>

/* The daemon prints its configuration as JSON text; control itself knows no option. */
json_t *answer_config(const struct control_sources *sources, const json_t *request,
		      char error[CONTROL_ERROR_MAX])
{
	char *text = NULL;
	size_t len = 0;
	json_t *result = NULL;
	FILE *out;

	(void)request;
	if (!sources->config) {
		snprintf(error, CONTROL_ERROR_MAX, "this daemon does not show its configuration");
		return NULL;
	}
	out = open_memstream(&text, &len);
	if (!out)
		return NULL;
	sources->config(sources->ctx, out);
	if (fclose(out) == 0)
		result = json_loadb(text, len, 0, NULL);
	free(text);
	return result;
}
