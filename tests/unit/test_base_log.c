/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: a line of the log as JSON is one object in one line, whatever the message holds; its
 * details are members that cannot be taken for the log's own. Method: standard error is a file
 * whose lines are read back with a parser of JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static char text[32768];

/* What the log wrote about this message. */
static const char *written(enum log_format format, const char *message)
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	size_t len;

	assert_non_null(file);
	assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
	log_set_format(format);
	log_line(LOG_WARN, "test", "%s", message);
	log_set_format(LOG_TEXT);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	rewind(file);
	len = fread(text, 1, sizeof(text) - 1, file);
	text[len] = '\0';
	fclose(file);
	/* one line, whole */
	assert_true(len > 1);
	assert_ptr_equal(strchr(text, '\n'), text + len - 1);
	return text;
}

static json_t *object_of(const char *message)
{
	json_error_t where;
	json_t *object = json_loads(written(LOG_JSON, message), JSON_REJECT_DUPLICATES, &where);

	if (!object)
		fail_msg("%s: %s", where.text, text);
	return object;
}

static const char *string_of(json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	assert_non_null(value);
	return value;
}

static void log_text_line_is_level_module_message(void **state)
{
	(void)state;
	assert_string_equal(written(LOG_TEXT, "ready: tcp=11211\n"),
			    "warn test: ready: tcp=11211\n");
}

static void log_json_details_are_members(void **state)
{
	json_t *object = object_of("ready: tcp=11211 name=veth0 zero=0 long=1234567890123456 "
				   "empty= lead=007 --flag=3");

	(void)state;
	assert_string_equal(string_of(object, "level"), "warn");
	assert_string_equal(string_of(object, "module"), "test");
	assert_int_equal(strncmp(string_of(object, "message"), "ready: tcp=11211 name=", 22), 0);
	assert_int_equal(json_integer_value(json_object_get(object, "tcp")), 11211);
	assert_true(json_is_integer(json_object_get(object, "zero")));
	assert_string_equal(string_of(object, "name"), "veth0");
	assert_string_equal(string_of(object, "long"), "1234567890123456");
	assert_string_equal(string_of(object, "empty"), "");
	assert_string_equal(string_of(object, "lead"), "007");
	/* and no more of them: ts, level, module, message */
	assert_int_equal(json_object_size(object), 4 + 6);
	json_decref(object);
}

static void log_json_time_is_utc_to_the_microsecond(void **state)
{
	json_t *object = object_of("x");
	int parts[7], end = 0;

	(void)state;
	assert_int_equal(sscanf(string_of(object, "ts"), "%4d-%2d-%2dT%2d:%2d:%2d.%6dZ%n",
				&parts[0], &parts[1], &parts[2], &parts[3], &parts[4], &parts[5],
				&parts[6], &end),
			 7);
	assert_int_equal(end, 27);
	assert_true(parts[0] >= 2024);
	json_decref(object);
}

static void log_json_detail_cannot_pose_as_the_logs_own(void **state)
{
	json_t *object = object_of("level=info module=x message=y ts=0 a=1 a=2");

	(void)state;
	assert_string_equal(string_of(object, "level"), "warn");
	assert_string_equal(string_of(object, "module"), "test");
	assert_int_equal(json_integer_value(json_object_get(object, "a")), 1);
	json_decref(object);
}

static void log_json_any_bytes_are_one_line_of_text(void **state)
{
	json_t *object = object_of("say \"hi\" \\ \t\x01\x1b[2J\xff key=\xc3\xbc\"\xe2\x82\n\n");

	(void)state;
	assert_string_equal(string_of(object, "message"),
			    "say \"hi\" \\ \t\x01\x1b[2J\u00ff key=\u00fc\"\u00e2\xc2\x82");
	assert_string_equal(string_of(object, "key"), "\u00fc\"\u00e2\xc2\x82");
	json_decref(object);
}

static void log_json_long_message_is_cut_and_whole(void **state)
{
	char message[5000];

	(void)state;
	for (int detail = 0; detail < 2; detail++) {
		json_t *object;

		memset(message, 0x01, sizeof(message) - 1);
		message[sizeof(message) - 1] = '\0';
		if (detail)
			memcpy(message, "a=", 2);
		object = object_of(message);
		assert_in_range(strlen(string_of(object, "message")), 900, 1000);
		json_decref(object);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_text_line_is_level_module_message),
		cmocka_unit_test(log_json_details_are_members),
		cmocka_unit_test(log_json_time_is_utc_to_the_microsecond),
		cmocka_unit_test(log_json_detail_cannot_pose_as_the_logs_own),
		cmocka_unit_test(log_json_any_bytes_are_one_line_of_text),
		cmocka_unit_test(log_json_long_message_is_cut_and_whole),
	};

	unsetenv("JOURNAL_STREAM");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
