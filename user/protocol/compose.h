/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compose - the face of a protocol's reply writer.
 *
 * Does      lets commands answer without knowing the client's protocol: the parser names the writer
 *           in request.compose, the command calls it.
 * Shape     one constant table of functions a protocol: compose_text.c; other protocols are
 *           siblings.
 * Rule      a writer keeps silent where the request asked for no reply.
 */
#ifndef XC_PROTOCOL_COMPOSE_H
#define XC_PROTOCOL_COMPOSE_H

#include "protocol/request.h"
#include "protocol/response.h"

struct compose_item {
	struct span key;
	uint64_t value_len;
	uint64_t cas;
	uint32_t flags;
};

/* What a storage command left there. */
struct compose_stored {
	uint64_t cas;
	uint64_t value_len;
};

struct compose {
	bool lists; /* items can be listed in it: compose_dump.h */
	void (*status)(struct response *resp, const struct request *req,
		       enum request_status status);
	void (*stored)(struct response *resp, const struct request *req,
		       const struct compose_stored *stored);
	/*
	 * A hit: everything before the value's first byte; the caller adds value_len bytes, then
	 * item_end.
	 */
	void (*item)(struct response *resp, const struct request *req,
		     const struct compose_item *item);
	void (*item_end)(struct response *resp, const struct request *req);
	void (*touched)(struct response *resp, const struct request *req,
			const struct compose_item *item);
	/* After the last key. */
	void (*end)(struct response *resp, const struct request *req);
	void (*number)(struct response *resp, const struct request *req, uint64_t number,
		       uint64_t cas);
	void (*version)(struct response *resp, const struct request *req, const char *version);
	/* One line of `stats`; the list ends with end. */
	void (*stat)(struct response *resp, const struct request *req, const char *name,
		     const char *value);
	/* One line of a list that is text in every protocol; the list ends with end. */
	void (*line)(struct response *resp, const struct request *req, const char *line);
	void (*bye)(struct response *resp, const struct request *req);
};

#endif
