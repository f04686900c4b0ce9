/* SPDX-License-Identifier: Apache-2.0 */
/* osb.h - one request of the Open Service Broker API, and its answer
 *
 * Knows nothing of sockets: service.c fills a call from HTTP and sends the reply. Credentials are checked
 * before anything else, then the version. An answer is always there, whatever fails. Threads: any;
 * a call waits for the store, and, where storage is made quickly, for a worker (bconfig.sync_wait). */
#ifndef TOOLS_BROKER_OSB_H
#define TOOLS_BROKER_OSB_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct broker;

#define OSB_RETRY_S 5 /* until the next poll of last_operation */

enum osb_route {
	OSB_CATALOG,
	OSB_CREATE,
	OSB_UPDATE,
	OSB_FETCH,
	OSB_DELETE,
	OSB_LAST,
	OSB_BIND,
	OSB_FETCH_BINDING,
	OSB_UNBIND,
	OSB_LAST_BINDING,
	OSB_DASHBOARD,
	OSB_OTHER,
	OSB_ROUTES
};
extern const char *const osb_route_names[OSB_ROUTES];

/* All borrowed; what was not sent is NULL. */
struct osb_call {
	const char *method, *path;
	const char *body; /* a NUL behind it; NULL: too long */
	size_t len;
	/* headers */
	const char *authorization, *version, *identity, *request, *content_type, *if_none_match;
	/* query */
	const char *accepts_incomplete, *service_id, *plan_id, *operation, *token;
};

struct osb_reply {
	unsigned status;
	char *text;       /* owned; NULL: out of memory */
	const char *type; /* NULL: application/json */
	enum osb_route route;
	unsigned retry_after; /* seconds; 0: no header */
	char etag[40];
	char policy[256]; /* Content-Security-Policy of a page; "": no page */
};

void osb_answer(struct broker *b, const struct osb_call *q, struct osb_reply *out);

#endif
