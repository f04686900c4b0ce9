/* SPDX-License-Identifier: Apache-2.0 */
/* source.h - which URI a "source" means, and whether the operator allows it
 *
 * The text comes from a developer. Any thread. */
#ifndef TOOLS_DRIVER_SOURCE_H
#define TOOLS_DRIVER_SOURCE_H

#include <stddef.h>

#include "tools/driver/failure.h"

#define SOURCE_MAX 4096 /* bytes of a source */

/* The URI (malloc'd, in *out) of "server:/path" or of a URI, when it lies under one of
 * the allowed prefixes: same scheme; same host and port where the prefix names them; a
 * path below the prefix's, on component borders. Of dir: URIs the real path counts, and
 * is what *out names. -EINVAL or -EACCES with a safe sentence. */
int source_resolve(const char *text, const char *const *allowed, size_t nallowed, char **out,
		   struct failure *f);

/* head ("dir:") and a path, in which what a URI would take for something else is escaped; the caller's. */
char *source_join(const char *head, const char *path);

/* A prefix that source_resolve() can compare with; -EINVAL with a sentence. */
int source_check_prefix(const char *prefix, struct err *err);

#endif
