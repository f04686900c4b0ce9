/* SPDX-License-Identifier: Apache-2.0 */
/* service.h - the driver's two HTTP services: the plugin protocol and the admin port */
#ifndef TOOLS_DRIVER_SERVICE_H
#define TOOLS_DRIVER_SERVICE_H

#include "common/httpd.h"
#include "tools/driver/admin.h"
#include "tools/driver/api.h"
#include "tools/driver/config.h"

struct service {
	/* set before service_start() */
	struct api api;
	struct admin admin;
	int end_fd; /* an eventfd, written to when an evacuation is over */
	/* the service's */
	struct httpd *plugin, *admin_http;
	unsigned tcp_port;        /* of the first TCP listener */
	_Atomic unsigned undoing; /* threads that take a Mount back */
};

/* Opens all listeners and answers. -errno with a sentence. */
int service_start(struct service *s, const struct config *c, struct err *err);
/* Removes the sockets' files and stops. False: something still runs, the process should end. */
bool service_stop(struct service *s, const struct config *c, unsigned limit_ms);

#endif
