/* SPDX-License-Identifier: Apache-2.0 */
/* Any "-o" text: no crash, no leak, and what was set reads back the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/opt.h"

struct settings {
	uint64_t size, count, age;
	uint32_t ratio;
	bool flag;
	unsigned mode;
	int64_t uid;
	char *name;
};

static const char *const modes[] = { "one", "two", NULL };

#define AT(member) offsetof(struct settings, member)
static const struct opt_def table[] = {
	{ "size", OPT_SIZE, NULL, AT(size), 0, 0, NULL, NULL, "", true },
	{ "count", OPT_UINT, NULL, AT(count), 0, 0, NULL, NULL, "", true },
	{ "age", OPT_TIME, NULL, AT(age), 0, 0, NULL, NULL, "", true },
	{ "ratio", OPT_PERCENT, NULL, AT(ratio), 0, 0, NULL, NULL, "", true },
	{ "flag", OPT_BOOL, NULL, AT(flag), 0, 0, NULL, NULL, "", true },
	{ "mode", OPT_ENUM, NULL, AT(mode), 0, 0, NULL, modes, "", true },
	{ "uid", OPT_ID, NULL, AT(uid), 0, 0, NULL, NULL, "", true },
	{ "name", OPT_STRING, NULL, AT(name), 0, 0, NULL, NULL, "", true },
	{ .name = NULL },
};

static void check_read_back(const struct settings *s)
{
	static char first[OPT_VALUE_MAX + 1], second[OPT_VALUE_MAX + 1];
	struct settings copy;

	assert(!opt_defaults(table, &copy));
	for (const struct opt_def *d = table; d->name; d++) {
		assert(!opt_format(d, s, first, sizeof first));
		assert(!opt_set(table, &copy, d->name, first, NULL));
		assert(!opt_format(d, &copy, second, sizeof second));
		assert(!strcmp(first, second));
	}
	opt_done(table, &copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct settings s;
	struct err err;

	if (!text || opt_defaults(table, &s))
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	err.text[0] = '\0';
	if (opt_parse(table, &s, text, &err))
		assert(err.text[0]);
	check_read_back(&s);
	opt_done(table, &s);
	free(text);
	return 0;
}
