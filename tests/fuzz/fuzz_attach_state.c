/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's file of what arrays gave to this cell, written by anybody: it is read or put aside, and
 * what was read is written so that it reads the same again. */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tests/fake/fake_array.h"
#include "tests/fake/fake_mounts.h"
#include "tools/driver/attach_impl.h"
#include "tools/driver/state.h"

static char path[64];

static void remove_files(void)
{
	char bad[96];

	snprintf(bad, sizeof bad, "%s" STATE_BAD_TAIL, path);
	unlink(bad);
	unlink(path);
}

static struct attach *restored(void)
{
	static json_t *providers;
	struct attach_config c = { .device_dir = "/nonexistent",
				   .mkfs = "false",
				   .state = path,
				   .poll_ms = 1,
				   .open = fake_array_open,
				   .below = &fake_mounts_ops };
	struct attach *a = NULL;
	struct err err;

	if (!providers)
		providers = json_pack("{s:{s:s}, s:{s:s}}", "gold", "type", "scaleio", "isi",
				      "type", "onefs");
	c.providers = providers;
	if (attach_new(&c, &a, &err) || attach_restore(a, &err))
		abort();
	return a;
}

static char *written(struct attach *a)
{
	json_t *state = NULL;
	struct err err;
	char *text;

	assert(!attach_save(a, &err));
	assert(!state_read(path, &state, &err));
	text = state ? json_dumps(state, JSON_SORT_KEYS) : strdup("");
	json_decref(state);
	attach_free(a);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *first = NULL;
	AUTO_FREE char *second = NULL;
	FILE *out;

	log_level = LOG_LEVEL_ERROR;
	snprintf(path, sizeof path, "/tmp/persifs-fuzz-state.%d", getpid());
	out = fopen(path, "we");
	if (!out)
		return 0;
	fwrite(data, 1, size, out);
	fclose(out);
	first = written(restored());
	second = written(restored());
	assert(first && second && !strcmp(first, second));
	remove_files();
	return 0;
}
