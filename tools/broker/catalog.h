/* SPDX-License-Identifier: Apache-2.0 */
/* catalog.h - the answer of GET /v2/catalog, made once for a configuration */
#ifndef TOOLS_BROKER_CATALOG_H
#define TOOLS_BROKER_CATALOG_H

#include <jansson.h>

#include "tools/broker/config.h"

/* A new object; NULL: no memory. The plans have their schemas already. */
json_t *catalog_make(const struct bconfig *c);

#endif
