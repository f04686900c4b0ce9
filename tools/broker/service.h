/* SPDX-License-Identifier: Apache-2.0 */
/* service.h - the broker's two HTTP services: the API with the dashboard, and the admin port */
#ifndef TOOLS_BROKER_SERVICE_H
#define TOOLS_BROKER_SERVICE_H

#include "common/httpd.h"
#include "tools/broker/broker.h"

struct bservices {
	struct broker *b; /* borrowed; set before bservices_start() */
	/* its own */
	struct httpd *api, *admin;
	int fds[BCONFIG_LISTEN_MAX]; /* duplicates of the listening sockets, for the next certificate */
	bool tls[BCONFIG_LISTEN_MAX];
	unsigned nfds;
	unsigned port, admin_port; /* of the first TCP listener; 0: none */
	char *cert, *key;          /* contents that are in use; owned */
	_Atomic unsigned retiring; /* services of earlier certificates that still answer */
	_Atomic bool stopping;
	char *address; /* that is listened on first, with its port; owned */
};

/* -errno with a sentence. */
int bservices_start(struct bservices *s, const struct bconfig *c, struct err *err);
/* Another certificate: a new service takes over the sockets, and the old one answers what it has begun. Nothing
 * happens when the files hold what they held. On failure the old one goes on. */
int bservices_reload(struct bservices *s, const struct bconfig *c, struct err *err);
/* False: something still runs after limit_ms, and the process should end. */
bool bservices_stop(struct bservices *s, const struct bconfig *c, unsigned limit_ms);

#endif
