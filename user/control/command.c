/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *answer_help(const struct control_sources *sources, const json_t *request,
			   char error[CONTROL_ERROR_MAX]);

static json_t *answer_version(const struct control_sources *sources, const json_t *request,
			      char error[CONTROL_ERROR_MAX])
{
	(void)sources;
	(void)request;
	(void)error;
	return json_pack("{s:s, s:i}", "version", XC_VERSION, "abi", XC_ABI_VERSION);
}

/* Whoever gets this far was refused. */
static json_t *answer_handover(const struct control_sources *sources, const json_t *request,
			       char error[CONTROL_ERROR_MAX])
{
	(void)sources;
	(void)request;
	snprintf(error, CONTROL_ERROR_MAX,
		 "root and the daemon's own user may ask for that, and one at a time");
	return NULL;
}

static const struct control_command commands[] = {
	{ "stats", "counters of fast path, daemon, store and hot keys", answer_stats },
	{ "hot_list", "hot and resident keys, hottest first; \"max\": most rows", answer_hot_list },
	{ "hot_pin", "keep \"key\" (or \"key_hex\") in the kernel; \"save\": also after a restart",
	  answer_hot_pin },
	{ "hot_unpin", "undo hot_pin", answer_hot_unpin },
	{ "hot_ban", "keep \"key\" out of the kernel", answer_hot_ban },
	{ "hot_unban", "undo hot_ban", answer_hot_unban },
	{ "hot_explain", "why \"key\" is, or is not, in the kernel", answer_hot_explain },
	{ "hot_limits",
	  "the limits; sets \"threshold\", \"entries\", \"bytes\", 0: as at the start",
	  answer_hot_limits },
	{ "hot_moves", "who came into the kernel and who left it \"since\" the last \"next\"",
	  answer_hot_moves },
	{ "config", "the configuration in effect", answer_config },
	{ "cluster", "the nodes of the cluster, as this one sees them", answer_cluster },
	{ "handover", "ends the daemon and gives sockets and items to who asks: --upgrade",
	  answer_handover },
	{ "version", "version of daemon and map layout", answer_version },
	{ "help", "this", answer_help },
};

#define COMMAND_CNT (sizeof(commands) / sizeof(commands[0]))

static json_t *answer_help(const struct control_sources *sources, const json_t *request,
			   char error[CONTROL_ERROR_MAX])
{
	json_t *result = json_object();

	(void)sources;
	(void)request;
	(void)error;
	for (size_t i = 0; i < COMMAND_CNT; i++)
		json_object_set_new(result, commands[i].name, json_string(commands[i].help));
	return result;
}

/* The reply as one line; takes over the object. */
static char *reply_line(json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	char *line = text ? realloc(text, len + 2) : NULL;

	json_decref(reply);
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + len, "\n", 2);
	return line;
}

char *control_refuse(const char *text)
{
	return reply_line(json_pack("{s:b, s:s}", "ok", 0, "error", text));
}

static json_t *run(const struct control_sources *sources, const json_t *request,
		   char error[CONTROL_ERROR_MAX])
{
	const char *name = json_string_value(json_object_get(request, "cmd"));

	if (!name) {
		snprintf(error, CONTROL_ERROR_MAX,
			 "\"cmd\" is missing; write for example {\"cmd\":\"stats\"}");
		return NULL;
	}
	for (size_t i = 0; i < COMMAND_CNT; i++) {
		if (!strcmp(commands[i].name, name))
			return commands[i].run(sources, request, error);
	}
	snprintf(error, CONTROL_ERROR_MAX,
		 "no such command: \"%.64s\"; {\"cmd\":\"help\"} lists them", name);
	return NULL;
}

bool control_is_handover(struct span line)
{
	json_t *request = json_loadb((const char *)line.ptr, line.len, 0, NULL);
	const char *name = json_string_value(json_object_get(request, "cmd"));
	bool is = name && !strcmp(name, "handover");

	json_decref(request);
	return is;
}

char *control_answer(const struct control_sources *sources, struct span line)
{
	char error[CONTROL_ERROR_MAX] = "out of memory";
	json_error_t where;
	json_t *request =
		json_loadb((const char *)line.ptr, line.len, JSON_REJECT_DUPLICATES, &where);
	json_t *result;

	if (!json_is_object(request)) {
		snprintf(error, sizeof(error), "not a JSON object: %s",
			 request ? "another JSON value" : where.text);
		json_decref(request);
		return control_refuse(error);
	}
	result = run(sources, request, error);
	json_decref(request);
	if (!result)
		return control_refuse(error);
	return reply_line(json_pack("{s:b, s:o}", "ok", 1, "result", result));
}
