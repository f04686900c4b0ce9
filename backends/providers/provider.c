/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/providers/provider.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

#define HASH_BYTES 16
#define HASH_CHARS 26 /* of 5 bits each; the last has 3 */

/* All kinds, one a line. */
static const struct provider_ops *const kinds[] = {
	&provider_onefs,
	&provider_scaleio,
	&provider_existing,
	&provider_local,
};

static const struct provider_ops *find_kind(const char *type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (!strcmp(kinds[i]->type, type))
			return kinds[i];
	return NULL;
}

static void list_kinds(char *buf, size_t cap)
{
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(kinds) && n < cap; i++)
		n += (size_t)snprintf(buf + n, cap - n, "%s%s", i ? ", " : "", kinds[i]->type);
}

int provider_open(const char *name, const json_t *config, struct provider **out, struct err *err)
{
	const char *type = json_string_value(json_object_get(config, "type"));
	const struct provider_ops *ops = type ? find_kind(type) : NULL;
	char known[128];

	list_kinds(known, sizeof known);
	if (!json_is_object(config))
		return err_set(err, -EINVAL, "provider %.64s: want an object", name);
	if (strlen(name) >= sizeof((struct provider *)0)->name || !*name)
		return err_set(err, -EINVAL, "provider \"%.80s\": want a name of 1 to 63 bytes",
			       name);
	if (!type)
		return err_set(err, -EINVAL, "provider %s: key \"type\": want one of %s", name,
			       known);
	if (!ops)
		return err_set(err, -EINVAL, "provider %s: key \"type\": \"%.64s\" is none of %s",
			       name, type, known);
	return ops->open(name, config, out, err);
}

void provider_close(struct provider *p)
{
	if (p)
		p->ops->close(p);
}

/* Small letters and digits without i, l, o and u: nothing is read as something else, and arrays that
 * ignore case, or keep it, agree. */
static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

void provider_make_name(const char *prefix, const char *owner, char buf[PROVIDER_NAME_MAX])
{
	unsigned char hash[HASH_BYTES];
	size_t n = strlen(prefix);
	uint32_t bits = 0;
	unsigned have = 0, at = 0;

	assert(n + HASH_CHARS < PROVIDER_NAME_MAX);
	crypto_generichash(hash, sizeof hash, (const unsigned char *)owner, strlen(owner), NULL, 0);
	memcpy(buf, prefix, n);
	for (size_t i = 0; i < HASH_CHARS; i++) {
		if (have < 5) {
			bits = bits << 8 | (at < HASH_BYTES ? hash[at] : 0);
			at++;
			have += 8;
		}
		have -= 5;
		buf[n++] = digits[bits >> have & 31];
	}
	buf[n] = '\0';
}

bool provider_is_made_name(const char *prefix, const char *name)
{
	size_t n = strlen(prefix);

	return !strncmp(name, prefix, n) && strlen(name) == n + HASH_CHARS &&
	       strspn(name + n, digits) == HASH_CHARS;
}
