/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loading: the layers in order, then what follows from several options together.
 *
 * memcached's rules that are kept: -U alone moves the TCP port too; -s turns the network off; an
 * item may be half of the memory at most. Ours: --interface turns UDP on at -p's port, and UDP
 * answers loopback only until --allow.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "config_table.h"

#define LONG_BASE 256 /* getopt value of the first long option */
#define MEMORY_MIN (16ULL << 20)

/* --- the command line ----------------------------------------------------------------------------
 */

struct flag_names {
	char letters[2 * CONFIG_OPTION_MAX + 2];
	struct option longs[CONFIG_OPTION_MAX + 1];
};

static void flag_names_init(struct flag_names *names)
{
	char *letter = names->letters;
	struct option *name = names->longs;

	memset(names, 0, sizeof(*names));
	*letter++ = ':'; /* a missing argument is told apart from an unknown flag */
	for (uint32_t i = 0; i < config_option_cnt; i++) {
		const struct config_option *option = &config_options[i];
		bool counts = option->type == OPT_COUNT;

		if (option->flag) {
			*letter++ = option->flag;
			if (option->arg && !counts)
				*letter++ = ':';
		}
		if (option->long_name)
			*name++ = (struct option){
				.name = option->long_name,
				.has_arg = counts	 ? optional_argument
					   : option->arg ? required_argument
							 : no_argument,
				.val = LONG_BASE + (int)i,
			};
	}
}

/* memcached writes some long names with '_'. Copies argv with '-' in their place, up to the '='. */
static char *normal_word(struct config_build *b, const char *word)
{
	char *copy = (char *)build_string(b, word);

	if (copy && !strncmp(copy, "--", 2)) {
		for (char *c = copy; *c && *c != '='; c++) {
			if (*c == '_')
				*c = '-';
		}
	}
	return copy;
}

static void bad_flag(struct config_build *b, int found, char **argv, const char *source)
{
	const char *sep = source ? ": " : "";
	const char *word = argv[optind > 0 ? optind - 1 : 0];
	const struct config_option *option;
	char name[64];
	const char *near;

	source = source ? source : "";
	if (found == ':') {
		option = optopt >= LONG_BASE ? &config_options[optopt - LONG_BASE]
					     : option_by_flag((char)optopt);
		build_error(b, "%s%s%s: its value is missing; write %s %s", source, sep, word, word,
			    option && option->arg ? option->arg : "<value>");
	} else if (optopt >= LONG_BASE) {
		build_error(b, "%s%s%s takes no value", source, sep, word);
	} else if (optopt) {
		build_error(b, "%s%s-%c: no such flag; --help lists them", source, sep, optopt);
	} else {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
		near = option_nearest(name, false);
		build_error(b, "%s%s%s: no such option%s%s%s; --help lists them", source, sep, word,
			    near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
	}
}

/* Calls each with every flag of the words; stops after what is not one. */
static void each_flag(struct config_build *b, int argc, char **argv, const char *source,
		      void (*each)(struct config_build *b, const struct config_option *option,
				   const char *text, const struct config_where *where))
{
	struct flag_names names;
	char what[80];
	const struct config_where where = { .source = source, .what = what };
	const struct config_option *option;
	bool unknown = false;
	int found;

	flag_names_init(&names);
	opterr = 0;
	optind = 0; /* glibc: start afresh */
	while ((found = getopt_long(argc, argv, names.letters, names.longs, NULL)) != -1) {
		if (found == '?' || found == ':') {
			bad_flag(b, found, argv, source);
			unknown |= found == '?';
			continue;
		}
		option = found >= LONG_BASE ? &config_options[found - LONG_BASE]
					    : option_by_flag((char)found);
		if (found >= LONG_BASE)
			snprintf(what, sizeof(what), "--%s", option->long_name);
		else
			snprintf(what, sizeof(what), "-%c", found);
		each(b, option, optarg, &where);
	}
	/* Behind a name that is none it may be that one's value. */
	if (optind < argc && !unknown)
		build_error(b, "%s%s\"%s\" is not a flag; --help lists them", source ? source : "",
			    source ? ": " : "", argv[optind]);
}

static void apply_flag(struct config_build *b, const struct config_option *option, const char *text,
		       const struct config_where *where)
{
	if (option->type == OPT_FILE)
		return; /* read before the flags */
	build_set(b, option, text, where);
}

static void apply_file_flag(struct config_build *b, const struct config_option *option,
			    const char *text, const struct config_where *where)
{
	if (option->type == OPT_FILE || option->type == OPT_ACTION)
		build_error(b, "%s: %s belongs on the command line", where->source, where->what);
	else
		build_set(b, option, text, where);
}

void build_flags(struct config_build *b, int argc, char **argv, const char *source)
{
	char **words = alloc_zero((size_t)argc + 1, sizeof(*words));
	bool complete = words != NULL;

	for (int i = 0; complete && i < argc; i++) {
		words[i] = normal_word(b, argv[i]);
		complete = words[i] != NULL;
	}
	if (complete)
		each_flag(b, argc, words, source, source ? apply_file_flag : apply_flag);
	else
		build_error(b, "out of memory");
	alloc_free(words);
}

/* --- what follows from several options
 * ------------------------------------------------------------- */

/* The layer that set an option last; 0: it is not given. */
static uint32_t given(const struct config_build *b, const char *long_name)
{
	return b->config->memory->layer[option_by_long(long_name) - config_options];
}

static void finish_ports(struct config_build *b)
{
	struct config *c = b->config;
	const char *interface =
		c->interfaces.cnt > 0 && c->fastpath ? c->interfaces.items[0] : NULL;
	bool udp_given = given(b, "udp-port");

	if (c->unix_path) {
		if (interface)
			build_error(b,
				    "-s turns the network off, but --interface %s needs it: leave "
				    "out one of them",
				    interface);
		c->tcp_port = 0;
		c->udp_port = 0;
		return;
	}
	if (c->udp_port != 0 && !given(b, "port"))
		c->tcp_port = c->udp_port;
	if (interface && udp_given && c->udp_port == 0)
		build_error(b,
			    "-U 0 turns UDP off, so the fast path on %s would never answer: leave "
			    "out -U 0, or add "
			    "--no-fastpath",
			    interface);
	if (interface && !udp_given && c->tcp_port == 0)
		build_error(b,
			    "--interface %s needs a UDP port and -p 0 names none: write -U 11211",
			    interface);
	if (interface && !udp_given)
		c->udp_port = c->tcp_port;
	if (c->tcp_port == 0 && c->udp_port == 0 && b->error_cnt == 0)
		build_error(b, "nothing to listen on: give -p, -U or -s");
}

/* -S or -Y: one protocol, and no UDP, where there is no connection to remember a proof for. */
static void finish_auth(struct config_build *b)
{
	struct config *c = b->config;
	const char *flag = c->sasl ? "-S" : "-Y", *protocol = c->sasl ? "binary" : "ascii";
	const char *env = getenv("MEMCACHED_SASL_PWDB"); /* as memcached's own table of users */

	if (!c->sasl && !c->auth_file)
		return;
	if (c->sasl && c->auth_file)
		build_error(b, "-S is for the binary protocol, -Y for the text protocol: leave out "
			       "one of them");
	else if (given(b, "protocol") && strcmp(c->protocol, protocol))
		build_error(b,
			    "%s cannot be had with -B %s, where nobody could prove anything: "
			    "write -B %s, or leave out -B",
			    flag, c->protocol, protocol);
	if (c->udp_port != 0 && b->error_cnt == 0)
		build_error(b,
			    "%s and UDP port %d: datagrams prove nothing, so neither UDP nor the "
			    "fast path could be had; leave out -U and --interface, or %s",
			    flag, c->udp_port, flag);
	c->protocol = protocol;
	if (c->sasl && !c->sasl_pwdb && env)
		c->sasl_pwdb = build_string(b, env);
	if (c->sasl && !c->sasl_pwdb)
		build_error(b,
			    "-S needs users, refusing to start: write --sasl-pwdb <file>, with a "
			    "line user:password for each");
}

static void finish_tls(struct config_build *b)
{
	const struct command_tls *tls = &b->config->tls;

	if (!tls->enabled) {
		if (tls->chain_cert || tls->key || tls->ca_cert || tls->verify_mode)
			build_warn(b, "ssl_ options have no effect without -Z: nothing is "
				      "encrypted; add -Z");
		return;
	}
	if (!tls->chain_cert)
		build_error(b, "-Z needs the server's certificate, refusing to start: write -o "
			       "ssl_chain_cert=<file>,ssl_key=<file>");
	if (tls->verify_mode > 0 && !tls->ca_cert)
		build_error(b,
			    "ssl_verify_mode %u needs the authorities of clients' certificates: "
			    "write -o ssl_ca_cert=<file>",
			    tls->verify_mode);
	if (b->config->tcp_port == 0)
		build_error(b, "-Z encrypts TCP, which is off: give -p, leave out -s, or leave "
			       "out -Z");
	if (b->config->udp_port != 0)
		build_warn(b,
			   "UDP port %d is not encrypted, with -Z either; leave UDP out, or let "
			   "--allow name networks that may see the items",
			   b->config->udp_port);
}

static void finish_memory(struct config_build *b)
{
	struct config *c = b->config;

	c->memory_bytes &= ~((1ULL << 20) - 1);
	if (c->memory_bytes < MEMORY_MIN) {
		build_warn(b, "-m %llu is less than the log can be cut into; using -m %llu",
			   (unsigned long long)(c->memory_bytes >> 20), MEMORY_MIN >> 20);
		c->memory_bytes = MEMORY_MIN;
	}
	if (c->item_max > c->memory_bytes / 2)
		build_error(b,
			    "-I %llu is more than half of -m %llu: write -m %llu or more, or a "
			    "smaller -I",
			    (unsigned long long)c->item_max,
			    (unsigned long long)(c->memory_bytes >> 20),
			    (unsigned long long)((c->item_max * 2 + (1 << 20) - 1) >> 20));
}

/* True if the range holds every address of its family. */
static bool open_to_all(const struct config_list *allow)
{
	for (uint32_t i = 0; i < allow->cnt; i++) {
		size_t len = strlen(allow->items[i]);

		if (len > 2 && !strcmp(allow->items[i] + len - 2, "/0"))
			return true;
	}
	return false;
}

static void finish_udp(struct config_build *b, bool checking)
{
	struct config *c = b->config;
	char line[200];

	if (c->interfaces.cnt > FASTPATH_INTERFACE_MAX)
		build_error(b, "--interface: more than %d interfaces; leave some out",
			    FASTPATH_INTERFACE_MAX);
	if (c->interfaces.cnt == 0 &&
	    (c->xdp_mode == XDP_MODE_NATIVE || c->xdp_mode == XDP_MODE_GENERIC))
		build_warn(b, "--xdp-mode has no effect without --interface");
	if (c->interfaces.cnt == 0)
		c->fastpath = false;
	if (c->rate_limit != 0 && !c->fastpath)
		build_warn(b, "--rate-limit has no effect without the fast path: give --interface");
	if (c->rate_burst != 0 && c->rate_limit == 0)
		build_warn(b, "--rate-burst has no effect without --rate-limit");
	if (c->udp_port != 0 && open_to_all(&c->allow))
		build_warn(b, "--allow opens UDP to every source: forged requests can turn it "
			      "against others; "
			      "name the networks of your clients instead");
	if (c->udp_port != 0 && c->allow.cnt == 0 && !checking && b->error_cnt == 0) {
		snprintf(line, sizeof(line),
			 "UDP port %d answers loopback only: to serve other hosts, add "
			 "--allow with their network, for example --allow 10.0.0.0/8",
			 c->udp_port);
		b->sink.line(b->sink.ctx, LOG_INFO, line);
	}
}

/* An empty text in a file is none. */
static void drop_empty(const char **text)
{
	if (*text && !**text)
		*text = NULL;
}

static void finish_cluster(struct config_build *b)
{
	struct config *c = b->config;
	int tls_cnt;

	drop_empty(&c->cluster_file);
	drop_empty(&c->cluster_cert);
	drop_empty(&c->cluster_key);
	drop_empty(&c->cluster_ca);
	tls_cnt = (c->cluster_cert != NULL) + (c->cluster_key != NULL) + (c->cluster_ca != NULL);
	if (tls_cnt == 1 || tls_cnt == 2)
		build_error(b, "TLS between nodes needs --cluster-cert, --cluster-key and "
			       "--cluster-ca: write all three, or none");
	if (c->cluster_file && (!c->node || !*c->node))
		build_error(b, "--cluster needs --node: which of the nodes in the file this is");
	if (!c->cluster_file && c->node && *c->node)
		build_warn(b, "--node has no effect without --cluster: this daemon is alone");
}

void build_finish(struct config_build *b, bool checking)
{
	struct config *c = b->config;
	long cpu_cnt = sysconf(_SC_NPROCESSORS_ONLN);

	build_finish_routes(b);
	finish_ports(b);
	finish_auth(b);
	finish_tls(b);
	finish_cluster(b);
	finish_memory(b);
	finish_udp(b, checking);
	if (c->thread_cnt == 0)
		c->thread_cnt = cpu_cnt < 1 ? 1 : cpu_cnt > 128 ? 128 : (uint32_t)cpu_cnt;
	c->control_given = given(b, "control") > 0;
	c->admin_given = given(b, "admin") > 0;
	if (c->verbosity > 0 && given(b, "verbose") > given(b, "log-level"))
		c->log_level = LOG_DEBUG;
}

/* --- faces
 * ----------------------------------------------------------------------------------------- */

static int build_start(struct config_build *b, struct config *config,
		       const struct config_sink *sink)
{
	memset(b, 0, sizeof(*b));
	memset(config, 0, sizeof(*config));
	b->config = config;
	b->target = config;
	b->sink = *sink;
	config->memory = alloc_zero(1, sizeof(*config->memory));
	if (!config->memory)
		return -ENOMEM;
	build_defaults(b);
	return 0;
}

static void log_sink(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	log_line(level, "config", "%s", line);
}

/*
 * What the first look at the flags is for: the file's name, how the lines about it are to be
 * written, and the questions to answer at once.
 */
static void look_flag(struct config_build *b, const struct config_option *option, const char *text,
		      const struct config_where *where)
{
	if (option->type == OPT_FILE || option->offset == offsetof(struct config, log_format))
		build_set(b, option, text, where);
	else if (option->type == OPT_ACTION && !b->action)
		b->action = option;
}

static void look_quietly(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

static int look(struct config_build *b, int argc, char **argv)
{
	struct config_sink loud = b->sink;
	uint32_t error_cnt = b->error_cnt;
	char **words = alloc_zero((size_t)argc + 1, sizeof(*words));

	if (!words)
		return -ENOMEM;
	/* Mistakes are reported by the pass that applies the flags. */
	b->sink.line = look_quietly;
	for (int i = 0; i < argc; i++) {
		words[i] = normal_word(b, argv[i]);
		if (!words[i]) {
			alloc_free(words);
			return -ENOMEM;
		}
	}
	each_flag(b, argc, words, NULL, look_flag);
	alloc_free(words);
	b->sink = loud;
	b->error_cnt = error_cnt;
	return 0;
}

void config_use_log_format(const struct config *config)
{
	bool json = config->log_format && !strcmp(config->log_format, "json");

	log_set_format(json ? LOG_JSON : LOG_TEXT);
}

int config_load(int argc, char **argv, struct config *ret, bool *ret_exit)
{
	const struct config_sink sink = { .line = log_sink };
	struct config config;
	struct config_build b;
	int rc = build_start(&b, &config, &sink);

	*ret_exit = false;
	if (rc == 0)
		rc = look(&b, argc, argv);
	if (rc) {
		log_line(LOG_ERROR, "config", "out of memory");
		goto err;
	}
	if (b.action) {
		config_print_action(b.action);
		*ret_exit = true;
		config_fini(&config);
		return 0;
	}
	config_use_log_format(&config);
	if (config.config_file)
		build_file(&b, config.config_file);
	b.layer++;
	build_flags(&b, argc, argv, NULL);
	config_use_log_format(&config);
	build_finish(&b, false);
	rc = b.error_cnt ? -EINVAL : 0;
	if (rc)
		goto err;
	*ret = config;
	return 0;
err:
	config_fini(&config);
	return rc;
}

int config_check(const char *path, const struct config_sink *sink, struct config *ret)
{
	struct config config;
	struct config_build b;
	int rc = build_start(&b, &config, sink);

	if (rc)
		return rc;
	config.config_file = build_string(&b, path);
	build_file(&b, path);
	build_finish(&b, true);
	if (b.error_cnt) {
		config_fini(&config);
		return -EINVAL;
	}
	*ret = config;
	return 0;
}
