/* SPDX-License-Identifier: Apache-2.0 */
/* jsonconf.h - a configuration file of JSON, whose scalars fill an option table (opt.h)
 *
 * Sentences name the file, the line of bad syntax, and the path of the key:
 * 'FILE: key "services[0].plans[1].size": ...'. Any thread. */
#ifndef COMMON_JSONCONF_H
#define COMMON_JSONCONF_H

#include <jansson.h>

#include "common/err.h"
#include "common/opt.h"

#define JSONCONF_PATH_MAX 256 /* bytes of a key's path, with the NUL; longer ones are cut */

#define JSONCONF_COMMENT "//"

/* The file's one object, the caller's. -EINVAL. Members whose keys begin with "//" are comments, at whatever
 * depth: they are left out, with their values. */
int jsonconf_read(const char *file, json_t **out, struct err *err);
/* -EINVAL, with file (NULL: none) and key before the reason. */
int jsonconf_bad(struct err *err, const char *file, const char *key, const char *why);
/* A string, number or boolean into the row *name*; path is what sentences call it. */
int jsonconf_scalar(const struct opt_def *table, void *base, const char *name, const json_t *value,
		    const char *file, const char *path, struct err *err);
/* Each member KEY of the object into the row "OUTER.KEY". */
int jsonconf_inner(const struct opt_def *table, void *base, const char *outer, json_t *object,
		   const char *file, struct err *err);

#endif
