/* SPDX-License-Identifier: Apache-2.0 */
/* confine.h - the way of a worker into its sandbox, and its backend's helpers there
 *
 * Opens what has a path, tells the supervisor of what will be its business, enters the sandbox.
 * Afterwards the worker gets things by errand (errand.h) or not at all.
 *
 * Threads: confine() while there is only one; the helpers on any. */
#ifndef FUSEFS_CONFINE_H
#define FUSEFS_CONFINE_H

#include "backends/backend.h"
#include "common/err.h"
#include "fusefs/errand.h"

struct volume;

/* v: uri and options are there; gets ->sandbox and ->owner. c: borrowed, outlives the backend. env:
 * gets prepared (= p, the caller's), the helpers and self, which the caller puts. */
int confine(struct volume *v, const struct errand_client *c, struct be_env *env,
	    struct be_prepared *p, struct err *err);

#endif
