/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache status: read from the pins, so it says the same whether a daemon answers or not. A
 * daemon that holds a live lease is asked for what no pin knows: why an interface is not native.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli.h"
#include "client.h"
#include "control/stats.h"
#include "fastpath/counters.h"
#include "stats_pins.h"
#include "table.h"

static uint64_t lease_left_ms(const struct inspect *state, uint64_t now_ns)
{
	return state->conf.serve_until_ns > now_ns
		       ? (state->conf.serve_until_ns - now_ns) / NSEC_PER_MSEC
		       : 0;
}

/* The daemon's word on an interface: reasons, and those that carry no program. */
static void learn_interface(struct inspect *state, const json_t *told)
{
	const char *name = json_string_value(json_object_get(told, "name"));
	const char *reason = json_string_value(json_object_get(told, "reason"));
	struct fastpath_interface *iface = state->interfaces;
	uint32_t i = 0;

	while (name && i < state->interface_cnt && strcmp(iface[i].name, name) != 0)
		i++;
	if (!name || !reason || i == FASTPATH_INTERFACE_MAX)
		return;
	if (i == state->interface_cnt) {
		state->interface_cnt++;
		memset(&iface[i], 0, sizeof(iface[i]));
		snprintf(iface[i].name, sizeof(iface[i].name), "%s", name);
		iface[i].mode = XDP_MODE_OFF;
	}
	/* what was seen just now is newer than what the daemon saw when it attached */
	if (!iface[i].reason[0])
		snprintf(iface[i].reason, sizeof(iface[i].reason), "%s", reason);
}

static void learn_reasons(const struct cli *cli, struct inspect *state)
{
	char error[CLIENT_ERROR_MAX];
	json_t *reply = NULL, *told;
	size_t i;

	if (client_ask(cli->control, json_pack("{s:s}", "cmd", "stats"), &reply, error))
		return;
	json_array_foreach(json_object_get(json_object_get(reply, "fastpath"), "interfaces"), i,
			   told) learn_interface(state, told);
	json_decref(reply);
}

static uint64_t sum_of(const struct xc_stats *stats, const char *prefix)
{
	const __u64 *counters = (const __u64 *)stats;
	uint64_t sum = 0;

	for (int i = 0; i < XC_OUTCOME_CNT; i++) {
		if (strncmp(counters_name((enum xc_outcome)i), prefix, strlen(prefix)) == 0)
			sum += counters[i];
	}
	return sum;
}

static void print_json(const struct inspect *state, const char *word, uint64_t now_ns)
{
	json_t *object = json_pack(
		"{s:b, s:s, s:s, s:o, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:I, s:I, s:I, s:I}",
		"loaded", 1, "state", word, "pins", state->dir, "interfaces",
		stats_interfaces_json(state->interfaces, state->interface_cnt), "daemon_pid",
		(json_int_t)state->owner, "configured", state->configured, "abi_version",
		(json_int_t)state->conf.version, "owner_epoch", (json_int_t)state->conf.owner_epoch,
		"udp_port", (json_int_t)ntohs(state->conf.port_be), "lease_left_ms",
		(json_int_t)lease_left_ms(state, now_ns), "entries", (json_int_t)state->entry_cnt,
		"entries_max", (json_int_t)state->entry_max, "log_bytes",
		(json_int_t)state->extent_cnt * XC_EXTENT_SIZE, "hits",
		(json_int_t)counters_hits(&state->stats), "absent",
		(json_int_t)counters_absent(&state->stats), "misses",
		(json_int_t)stats_misses(&state->stats), "passed",
		(json_int_t)sum_of(&state->stats, "pass_"), "dropped",
		(json_int_t)sum_of(&state->stats, "drop_"), "addresses",
		(json_int_t)state->local_cnt, "sources_allowed", (json_int_t)state->allow_cnt);

	json_dumpf(object, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(object);
}

static void print_text(const struct inspect *state, const char *word, uint64_t now_ns)
{
	char a[TABLE_TEXT_MAX], b[TABLE_TEXT_MAX];

	printf("state       %s\n", word);
	printf("pins        %s\n", state->dir);
	if (state->owner)
		printf("daemon      pid %d, epoch %" PRIu64 "\n", state->owner,
		       (uint64_t)state->conf.owner_epoch);
	else
		printf("daemon      none%s\n", state->configured ? "" : ", and none has run yet");
	if (state->configured)
		printf("lease       %" PRIu64 " ms left\n", lease_left_ms(state, now_ns));
	printf("UDP port    %u\n", ntohs(state->conf.port_be));
	printf("keys        %s of %s\n", table_count(a, state->entry_cnt),
	       table_count(b, state->entry_max));
	printf("log         %s\n", table_bytes(a, (uint64_t)state->extent_cnt * XC_EXTENT_SIZE));
	printf("addresses   %u served, %u source prefix%s allowed\n", state->local_cnt,
	       state->allow_cnt, state->allow_cnt == 1 ? "" : "es");
	printf("ABI         version %u\n",
	       state->configured ? state->conf.version : XC_ABI_VERSION);
	printf("answered    %s GETs", table_count(a, counters_hits(&state->stats)));
	printf(", %s of keys known absent; missed %s\n",
	       table_count(a, counters_absent(&state->stats)),
	       table_count(b, stats_misses(&state->stats)));
	printf("other       %s packets passed, ",
	       table_count(a, sum_of(&state->stats, "pass_") - stats_misses(&state->stats)));
	printf("%s dropped\n", table_count(a, sum_of(&state->stats, "drop_")));
	for (uint32_t i = 0; i < state->interface_cnt; i++) {
		const struct fastpath_interface *iface = &state->interfaces[i];

		printf("interface   %s: %s", iface->name, stats_mode_name(iface->mode));
		if (iface->mode != XDP_MODE_OFF)
			printf(", program %u, %s%s", iface->prog_id,
			       iface->by_link ? "pinned link" : "attached by netlink",
			       iface->tc ? ", tc hook" : ", no tc hook");
		printf("%s%s%s\n", iface->reason[0] ? " (" : "", iface->reason,
		       iface->reason[0] ? ")" : "");
	}
	if (state->interface_cnt == 0)
		printf("interface   none in this network namespace\n");
}

int cmd_status(const struct cli *cli, int argc, char **argv)
{
	uint64_t now_ns = clock_now_ns(clock_system());
	struct control_fastpath fp;
	struct inspect state;
	const char *word;
	int err;

	if (argc > 1) {
		fprintf(stderr,
			"xdpcache status: \"%s\" is none of its options; see: xdpcache status "
			"--help\n",
			argv[1]);
		return CLI_USAGE;
	}
	err = inspect_pins(cli->pin_root, cli->instance, &state);
	if (err == -ENOENT) {
		if (cli->json)
			printf("{\"loaded\": false, \"state\": \"off\", \"interfaces\": []}\n");
		else
			printf("nothing is loaded; start xdpcached with --interface, or run: "
			       "xdpcache load\n");
		return CLI_DONE;
	}
	if (err) {
		fprintf(stderr, "xdpcache status: %s: %s%s\n", cli->pin_root, strerror(-err),
			err == -EPERM || err == -EACCES ? "; run it as root" : "");
		return CLI_FAILED;
	}
	if (state.owner && state.conf.serve_until_ns > now_ns)
		learn_reasons(cli, &state);
	fp = stats_pins_control(&state);
	word = stats_fastpath_state(&fp, now_ns);
	if (cli->json)
		print_json(&state, word, now_ns);
	else
		print_text(&state, word, now_ns);
	return CLI_DONE;
}
