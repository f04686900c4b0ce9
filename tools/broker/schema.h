/* SPDX-License-Identifier: Apache-2.0 */
/* schema.h - which parameters a plan takes: as JSON schema for the catalog, and as the check of a request
 *
 * What is published is what is enforced: the same object. Of JSON schema, the part that is used here: type (one or several),
 * properties, required, additionalProperties, enum, minimum, maximum, minLength, maxLength; another
 * keyword has no effect. Sentences name the parameter and what is wanted; values are not repeated, for a password
 * may be among them. Any thread. */
#ifndef TOOLS_BROKER_SCHEMA_H
#define TOOLS_BROKER_SCHEMA_H

#include <jansson.h>

#include "common/err.h"
#include "tools/broker/config.h"

enum schema_of { SCHEMA_CREATE, SCHEMA_UPDATE, SCHEMA_BIND };

/* A new object; NULL: no memory. */
json_t *schema_make(const struct bplan *plan, enum schema_of of);
/* value NULL: an empty object. -EINVAL. */
int schema_check(const json_t *schema, const json_t *value, struct err *err);
/* An option that bind_options may name. */
bool schema_knows_option(const char *name);

#endif
