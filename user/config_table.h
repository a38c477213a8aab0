/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config_table - the table behind config.[ch]: every option, once.
 *
 * Does      names each option, says where its value lives in struct config, and turns text into
 * that value. The command line, the file, --help and `config show` all walk this table and nothing
 * else. Shape     an option is section.name in a file and --long-name (with '_' as '-') or -x on
 * the command line. Units     in the option's unit; min and max bound the number the user writes,
 * before scaling. Errors    a wrong value is reported through build_error and counted; building
 * goes on, so that one run of `config check` shows every mistake. Threads   none: used while a
 * configuration is being built, by one thread.
 */
#ifndef XC_CONFIG_TABLE_H
#define XC_CONFIG_TABLE_H

#include <stddef.h>

#include "config.h"

enum option_type {
	OPT_BOOL,     /* the flag sets it */
	OPT_BOOL_OFF, /* the flag clears it; a file gives the value itself */
	OPT_COUNT,    /* each flag adds one */
	OPT_INT32,
	OPT_UINT32,
	OPT_OCTAL,
	OPT_MIB,  /* bytes, written in MiB or with a suffix */
	OPT_SIZE, /* bytes, written with or without a suffix */
	OPT_STRING,
	OPT_LIST, /* repeatable, comma separated */
	OPT_XDP_MODE,
	OPT_LOG_LEVEL,
	OPT_FILE, /* --config */
	/* those that set no field of their own */
	OPT_EXTENDED, /* memcached's -o */
	OPT_ACTION,   /* prints something and leaves */
	OPT_IGNORED,  /* memcached's, no effect here: one warning */
};

/* Room for one "why not" of a check. */
#define CONFIG_WHY_MAX 256

struct config_option {
	const char *section; /* group in the file and in --help; NULL: command line only */
	const char *name;    /* in the file */
	const char *long_name;
	char flag; /* 0: none */
	enum option_type type;
	size_t offset;	      /* in struct config */
	const char *fallback; /* the default, as text; NULL: 0, false or empty */
	const char *arg;      /* how --help names the argument; NULL: takes none */
	int64_t min;
	int64_t max;
	/* Further check of a string or list item; writes the reason and what to write instead. */
	bool (*check)(const char *text, char why[CONFIG_WHY_MAX]);
	const char *help; /* for ignored and refused ones: the reason */
};

extern const struct config_option config_options[];
extern const uint32_t config_option_cnt;
#define CONFIG_OPTION_MAX 128

/* What -o may hold: memcached's suboptions. */
struct config_suboption {
	const char *name;
	const char *maps_to; /* long name of the option it sets; NULL: accepted without effect */
};

extern const struct config_suboption config_suboptions[];
extern const uint32_t config_suboption_cnt;

/* Strings a configuration owns, and where each option's value came from. */
struct config_memory {
	struct config_string *strings;
	const char *source[CONFIG_OPTION_MAX]; /* NULL: the default */
	uint32_t layer[CONFIG_OPTION_MAX];     /* which layer set it last; 0: the default */
};

/* A configuration being built, layer on layer: defaults, file, conf.d files, command line. */
struct config_build {
	struct config *config;
	void *target; /* what options' offsets count from: config, or the rule of a route */
	struct config_sink sink;
	uint32_t layer;
	uint32_t error_cnt;
	const struct config_option *action; /* the first of --help, --version, --license */
	bool warned[CONFIG_OPTION_MAX];
	bool sub_warned[CONFIG_OPTION_MAX];
};

/* Where a value stands: `what` is what the user wrote ("-m", "network.port"), `source` the file and
 * line. */
struct config_where {
	const char *source;
	const char *what;
};

__attribute__((format(printf, 2, 3))) void build_error(struct config_build *b, const char *fmt,
						       ...);
__attribute__((format(printf, 2, 3))) void build_warn(struct config_build *b, const char *fmt, ...);
/* A copy that lives as long as the configuration; NULL when out of memory (reported). */
const char *build_string(struct config_build *b, const char *text);

/* Sets an option from text; text NULL when it takes none. */
void build_set(struct config_build *b, const struct config_option *option, const char *text,
	       const struct config_where *where);
/* The same without a note of where it came from: for the options of a route. */
void build_value(struct config_build *b, const struct config_option *option, const char *text,
		 const struct config_where *where);
/* The default of every option. */
void build_defaults(struct config_build *b);

/* By long name (case and '_' / '-' do not matter), by flag, by section and name; NULL: no such
 * option. */
const struct config_option *option_by_long(const char *name);
const struct config_option *option_by_flag(char flag);
const struct config_option *option_by_name(const char *section, const char *name);
/* The known name nearest to a mistyped one; NULL: none is near. Looks at long names, or at -o
 * names. */
const char *option_nearest(const char *name, bool suboption);

/* Layers: each returns after counting its mistakes in b->error_cnt. build_flags: source NULL is the
 * command line. */
void build_flags(struct config_build *b, int argc, char **argv, const char *source);
void build_file(struct config_build *b, const char *path);
struct config_setting_t;
/* One file in libconfig's syntax; its root goes to `read`. example: how such a file is written. */
void build_libconfig(struct config_build *b, const char *path, const char *example,
		     void (*read)(struct config_build *b, const struct config_setting_t *root,
				  const char *path));

/* What the entries of a list in a file may hold: { name = value; … }. */
struct config_entries {
	const char *list;  /* "routes" */
	const char *entry; /* "a route" */
	const char *key;   /* a name that is no option; NULL: none */
	const struct config_option *options;
	size_t option_cnt;
};

/* Sets the setting's option in `target`, or says what is wrong with it. */
void build_entry(struct config_build *b, const struct config_entries *entries, void *target,
		 const struct config_setting_t *setting, const char *path);
/* Sets every option of an entry to its default. */
void build_entry_defaults(struct config_build *b, const struct config_entries *entries,
			  void *target);
/* `routes = ( … );` of a file. */
void build_routes(struct config_build *b, struct config_setting_t *list, const char *path);
/* `origins = ( … );` */
void build_origins(struct config_build *b, struct config_setting_t *list, const char *path);
/* What a route says of its origin, once all origins are known. */
void build_finish_origin(struct config_build *b, const struct route_rule *rule, const char *source);
/* Adds "origins" to the object. */
void origins_json(const struct config *config, struct json_t *root);
void print_origins_help(void);
void config_routes_fini(struct config_routes *routes);
void build_finish_routes(struct config_build *b); /* once all options are known */
void build_finish(struct config_build *b, bool checking);

/* One -l item in canonical form: "host", "host:port", "[v6]", "[v6]:port" or "*", behind "notls:"
 * if it was given so. False: why says what is wrong. */
bool config_listen_parse(const char *text, char *ret, size_t ret_size, char why[CONFIG_WHY_MAX]);

/* The text of a file's scalar; NULL if it is none. And its place, "file:line". */
const char *setting_text(const struct config_setting_t *setting, char buf[64]);
void setting_source(const struct config_setting_t *setting, const char *path, char buf[512]);

/* The value of an option, counted from `target`, as the file and the JSON both say it. */
struct json_t *option_json(const void *target, const struct config_option *option);
/* As libconfig has it in quotes. */
void print_quoted(const char *text, FILE *out);
/* Adds "routes" to the object, and where they come from to `sources`. */
void routes_json(const struct config_routes *routes, struct json_t *root, struct json_t *sources);
void print_routes_help(void);

/* The answer to --help, --version or --license, on standard output. */
void config_print_action(const struct config_option *action);

#endif
