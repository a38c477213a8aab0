/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/command.h"

#include <stdio.h>
#include <stdlib.h>

/* The daemon prints its configuration, and its cluster, as JSON text; control knows neither. */
static json_t *read_printed(const struct control_sources *sources,
			    void (*print)(void *ctx, FILE *out))
{
	char *text = NULL;
	size_t len = 0;
	json_t *result = NULL;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	print(sources->ctx, out);
	if (fclose(out) == 0)
		result = json_loadb(text, len, 0, NULL);
	free(text);
	return result;
}

json_t *answer_config(const struct control_sources *sources, const json_t *request,
		      char error[CONTROL_ERROR_MAX])
{
	(void)request;
	if (sources->config)
		return read_printed(sources, sources->config);
	snprintf(error, CONTROL_ERROR_MAX, "this daemon does not show its configuration");
	return NULL;
}

json_t *answer_cluster(const struct control_sources *sources, const json_t *request,
		       char error[CONTROL_ERROR_MAX])
{
	(void)request;
	if (sources->cluster)
		return read_printed(sources, sources->cluster);
	snprintf(error, CONTROL_ERROR_MAX,
		 "this daemon is no node of a cluster; docs/cluster.md says how it becomes one");
	return NULL;
}
