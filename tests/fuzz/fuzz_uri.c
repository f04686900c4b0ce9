/* SPDX-License-Identifier: Apache-2.0 */
/* Any URI: no crash, every part inside the struct and ended by a NUL. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/uri.h"

static void check_part(const char *part)
{
	assert(part);
	assert(strlen(part) <= URI_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const known[] = { "nfsport", "mountport", "version", NULL };
	struct uri *u = malloc(sizeof *u);
	char *text = malloc(size + 1);
	struct err err;
	uint64_t v = 7;

	if (!u || !text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	err.text[0] = '\0';
	if (uri_parse(text, u, &err)) {
		assert(err.text[0]);
	} else {
		check_part(u->scheme);
		check_part(u->host);
		check_part(u->path);
		assert(u->nparams <= URI_PARAMS_MAX);
		for (unsigned i = 0; i < u->nparams; i++) {
			check_part(u->params[i].key);
			check_part(u->params[i].value);
		}
		uri_only_params(u, known, &err);
		if (!uri_param_u64(u, "nfsport", 1, 65535, 2049, &v, &err))
			assert(v >= 1 && v <= 65535);
	}
	free(text);
	free(u);
	return 0;
}
