/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files of the broker: taken as a whole, or refused with a sentence that names the file. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tests/fake/fake_provider.h"
#include "tools/broker/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *all = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL), *catalog;
	struct bconfig *c;
	struct err err = { "" };
	int rc;

	if (!json_is_object(all)) {
		json_decref(all);
		return 0;
	}
	log_level = LOG_LEVEL_ERROR;
	c = bconfig_new();
	c->open_provider = fake_provider_open;
	rc = bconfig_take(c, all, "fuzz.json", &err);
	if (!rc)
		rc = bconfig_check(c, &err);
	if (rc && !*err.text)
		abort();
	if (!rc) {
		catalog = json_loads(c->catalog, 0, NULL);
		if (!catalog)
			abort();
		json_decref(catalog);
	}
	bconfig_put(c);
	json_decref(all);
	return 0;
}
