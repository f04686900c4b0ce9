/* SPDX-License-Identifier: Apache-2.0 */
/* audit.h - who changed what: one line of JSON for each mutation, in a file of its own
 *
 * {"time", "who": {platform, identity}, "user", "request", "what", "instance", "binding", "service", "plan", "status", "outcome"}.
 * No parameter, context or credential is ever in it. A line is one write() to a file opened for appending; after
 * SIGHUP the file is opened anew, for log rotation. Threads: any. */
#ifndef TOOLS_BROKER_AUDIT_H
#define TOOLS_BROKER_AUDIT_H

#include <jansson.h>

#include "common/err.h"
#include "common/lock.h"

#define AUDIT_IDENTITY_MAX 4096 /* bytes of the header that are looked at */

struct audit {
	struct mutex lock;
	int fd; /* guarded by lock; -1: none */
};

struct audit_line {
	const char *identity; /* X-Broker-API-Originating-Identity, or NULL */
	const char *user, *request, *what, *instance, *binding, *service, *plan; /* or NULL */
	unsigned status;     /* of HTTP; 0: not of a request */
	const char *outcome; /* sentence, or NULL */
};

void audit_init(struct audit *a);
/* path NULL: none is written. The old one stays on failure. */
int audit_open(struct audit *a, const char *path, struct err *err);
void audit_done(struct audit *a);
void audit_write(struct audit *a, const struct audit_line *l);
/* {"platform", "identity"}, the caller's; null when the header is none. */
json_t *audit_who(const char *identity);

#endif
