/* SPDX-License-Identifier: BSD-2-Clause */
#include "cluster/etcd_text.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "protocol/base64.h"

/* --- composing --- */

static json_t *number_of(uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	return json_string(text);
}

static json_t *bytes_of(struct span bytes)
{
	size_t len = BASE64_LEN(bytes.len);
	uint8_t *text = alloc_zero(1, len + 1);
	json_t *json;

	if (!text)
		return NULL;
	base64_encode(bytes, text);
	json = json_stringn((const char *)text, len);
	alloc_free(text);
	return json;
}

/* What follows all keys that begin so. */
static json_t *end_of(const char *prefix)
{
	size_t len = strlen(prefix);
	uint8_t *end = alloc_zero(1, len + 1);
	json_t *json;

	if (!end)
		return NULL;
	memcpy(end, prefix, len);
	end[len - 1]++; /* a printable character: there is a next one */
	json = bytes_of(span_of(end, len));
	alloc_free(end);
	return json;
}

/* Takes the root; NULL where a part of it could not be made. */
static char *text_of(json_t *root)
{
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	json_decref(root);
	return text;
}

char *etcd_text_grant(uint32_t ttl_sec)
{
	return text_of(json_pack("{s:o}", "TTL", number_of(ttl_sec)));
}

char *etcd_text_lease(uint64_t lease)
{
	return text_of(json_pack("{s:o}", "ID", number_of(lease)));
}

static json_t *put_of(const char *key, struct span value, uint64_t lease)
{
	return json_pack("{s:o, s:o, s:o}", "key", bytes_of(span_str(key)), "value",
			 bytes_of(value), "lease", number_of(lease));
}

char *etcd_text_put(const char *key, struct span value, uint64_t lease)
{
	return text_of(put_of(key, value, lease));
}

char *etcd_text_put_if(const char *key, struct span value, uint64_t lease,
		       const struct etcd_guard *guards, uint32_t guard_cnt)
{
	json_t *compare = json_array();

	for (uint32_t i = 0; i < guard_cnt; i++) {
		const struct etcd_guard *guard = &guards[i];

		/* one that cannot be added must not be left out: all fails then */
		if (json_array_append_new(
			    compare,
			    json_pack("{s:s, s:s, s:o, s:o}", "result", "EQUAL", "target",
				      guard->same_creation ? "CREATE" : "MOD", "key",
				      bytes_of(span_str(guard->key)),
				      guard->same_creation ? "create_revision" : "mod_revision",
				      number_of(guard->revision)))) {
			json_decref(compare);
			return NULL;
		}
	}
	return text_of(json_pack("{s:o, s:[{s:o}]}", "compare", compare, "success", "request_put",
				 put_of(key, value, lease)));
}

char *etcd_text_range(const char *prefix)
{
	return text_of(json_pack("{s:o, s:o}", "key", bytes_of(span_str(prefix)), "range_end",
				 end_of(prefix)));
}

char *etcd_text_watch(const char *prefix, uint64_t revision)
{
	return text_of(json_pack("{s:{s:o, s:o, s:o}}", "create_request", "key",
				 bytes_of(span_str(prefix)), "range_end", end_of(prefix),
				 "start_revision", number_of(revision)));
}

/* --- reading --- */

static bool read_number(const json_t *object, const char *name, uint64_t *ret)
{
	const json_t *member = json_object_get(object, name);
	const char *text = json_string_value(member);
	char *end;

	*ret = 0;
	if (!member)
		return true;
	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

static json_t *root_of(struct span text)
{
	json_t *root = json_loadb((const char *)text.ptr, text.len, 0, NULL);

	if (root && json_is_object(root))
		return root;
	json_decref(root);
	return NULL;
}

int etcd_text_parse_lease(struct span text, uint64_t *ret_lease, uint32_t *ret_ttl_sec)
{
	json_t *root = root_of(text);
	/* a renewal's is one of a stream */
	const json_t *result = json_object_get(root, "result");
	const json_t *answer = result ? result : root;
	uint64_t lease, ttl_sec;
	int rc = -EBADMSG;

	if (root && read_number(answer, "ID", &lease) && read_number(answer, "TTL", &ttl_sec) &&
	    lease > 0 && ttl_sec <= UINT32_MAX) {
		*ret_lease = lease;
		*ret_ttl_sec = (uint32_t)ttl_sec;
		rc = 0;
	}
	json_decref(root);
	return rc;
}

int etcd_text_parse_put_if(struct span text, bool *ret_done)
{
	json_t *root = root_of(text);
	bool is_answer = json_is_object(json_object_get(root, "header"));

	if (is_answer)
		*ret_done = json_is_true(json_object_get(root, "succeeded"));
	json_decref(root);
	return is_answer ? 0 : -EBADMSG;
}

static bool read_bytes(const json_t *object, const char *name, uint8_t **at, struct span *ret)
{
	const json_t *member = json_object_get(object, name);
	struct span text = span_of(json_string_value(member), json_string_length(member));
	size_t len = base64_decoded_len(text);

	*ret = span_of(*at, len);
	if (len == 0)
		return !member || (json_is_string(member) && text.len == 0);
	base64_decode(text, *at);
	*at += len;
	return true;
}

static int read_kvs(const json_t *kvs, size_t text_len, struct etcd_range *range)
{
	size_t cnt = json_array_size(kvs);
	uint8_t *at;

	/* what base64 stands for is shorter */
	range->bytes = alloc_zero(1, text_len);
	range->kvs = alloc_zero(cnt ? cnt : 1, sizeof(*range->kvs));
	if (!range->bytes || !range->kvs)
		return -ENOMEM;
	at = range->bytes;
	for (; range->cnt < cnt; range->cnt++) {
		const json_t *from = json_array_get(kvs, range->cnt);
		struct etcd_kv *kv = &range->kvs[range->cnt];

		if (!json_is_object(from) || !read_bytes(from, "key", &at, &kv->key) ||
		    !read_bytes(from, "value", &at, &kv->value) ||
		    !read_number(from, "create_revision", &kv->create_revision) ||
		    !read_number(from, "mod_revision", &kv->mod_revision) ||
		    !read_number(from, "lease", &kv->lease))
			return -EBADMSG;
	}
	return 0;
}

int etcd_text_parse_range(struct span text, struct etcd_range *ret)
{
	json_t *root = root_of(text);
	const json_t *header = json_object_get(root, "header");
	struct etcd_range range = { 0 };
	int rc = -EBADMSG;

	if (read_number(header, "revision", &range.revision) && range.revision > 0)
		rc = read_kvs(json_object_get(root, "kvs"), text.len, &range);
	json_decref(root);
	if (rc)
		etcd_range_fini(&range);
	else
		*ret = range;
	return rc;
}

void etcd_range_fini(struct etcd_range *range)
{
	alloc_free(range->kvs);
	alloc_free(range->bytes);
	*range = (struct etcd_range){ 0 };
}
