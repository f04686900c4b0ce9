/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed texts and tokens from anybody: nothing that was not sealed here opens, and what was does. The
 * first byte chooses; the rest is a text, or changes one that was sealed. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/broker/seal.h"

#define CLEAR "{\"password\":\"x\"}"

static struct seal *seal_once(void)
{
	static struct seal *s;
	char dir[] = "/tmp/persifs-fuzz.XXXXXX", file[64];

	if (s)
		return s;
	if (!mkdtemp(dir))
		abort();
	snprintf(file, sizeof file, "%s/key", dir);
	if (seal_make_key(file, NULL) || seal_open(file, &s, NULL))
		abort();
	unlink(file);
	rmdir(dir);
	return s;
}

/* The input as text: what it was sealed by cannot be in a corpus. */
static void foreign(const struct seal *s, const char *text)
{
	AUTO_FREE char *opened = seal_open_text(s, text, "instance 1 params");

	assert(!opened);
	assert(!seal_check(s, "/dashboard/1", text, 1));
	seal_is_current(s, text);
}

/* Pairs of place and value on a good text and a good token. */
static void changed(const struct seal *s, const uint8_t *data, size_t size)
{
	AUTO_FREE char *sealed = seal_text(s, CLEAR, "b");
	AUTO_FREE char *token = seal_sign(s, "w", 1000);
	AUTO_FREE char *was = sealed ? strdup(sealed) : NULL;
	AUTO_FREE char *token_was = token ? strdup(token) : NULL;
	AUTO_FREE char *opened = NULL;

	if (!was || !token_was)
		return;
	for (size_t i = 0; i + 1 < size; i += 2) {
		sealed[data[i] % strlen(was)] = (char)data[i + 1];
		token[data[i] % strlen(token_was)] = (char)data[i + 1];
	}
	opened = seal_open_text(s, sealed, "b");
	assert(!strcmp(sealed, was) ? opened && !strcmp(opened, CLEAR) : !opened);
	assert(seal_check(s, "w", token, 999) == !strcmp(token, token_was));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct seal *s = seal_once();
	AUTO_FREE char *text = malloc(size + 1);

	if (!text || !size)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (*data & 1)
		changed(s, data + 1, size - 1);
	else
		foreign(s, text);
	return 0;
}
