/* SPDX-License-Identifier: Apache-2.0 */
/* State files of the simulated OneFS, and the paths in them: what is taken has no path that leads out of
 * /ifs, and the tables that are made of it count each path as often as it is exported. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sim/onefs_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void try_path(const char *path)
{
	if (!onefs_path_ok(path))
		return;
	assert(strlen(path) < ONEFS_PATH_MAX && onefs_path_below(path, "/ifs"));
	for (const char *p = path; (p = strchr(p, '/')); p++)
		assert(p[1] && p[1] != '/' && strncmp(p, "/../", 4) != 0 && strcmp(p, "/..") != 0);
}

static json_int_t counted(const json_t *paths)
{
	json_int_t n = 0;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)paths, key, v) {
		assert(strstr(key, ":/ifs"));
		n += json_integer_value(v);
	}
	return n;
}

static json_int_t exported(const json_t *state)
{
	json_int_t n = 0;
	const char *key;
	json_t *e;

	json_object_foreach(json_object_get(state, "exports"), key, e) {
		n += (json_int_t)json_array_size(json_object_get(e, "paths"));
	}
	return n;
}

static void try_state(json_t *state)
{
	struct onefs o = { .state = state, .paths = json_object(), .ifs = -1 };
	const char *key;
	json_t *s;

	mutex_init(&o.lock, LOCK_sim_array);
	onefs_index_exports(&o);
	assert(counted(o.paths) == exported(state));
	onefs_snap_load(&o);
	json_object_foreach(json_object_get(state, "snapshots"), key, s) {
		assert(!strcmp(json_string_value(json_object_get(s, "state")), "active"));
	}
	mutex_lock(&o.lock);
	assert(onefs_has_quota(&o, "/ifs", true) ==
	       (json_object_size(json_object_get(state, "quotas")) > 0));
	mutex_unlock(&o.lock);
	mutex_done(&o.lock);
	json_decref(o.paths);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	json_t *state = json_loadb((const char *)data, len, JSON_DECODE_ANY, NULL);
	char *text = malloc(len + 1);

	assert(text);
	memcpy(text, data, len);
	text[len] = '\0';
	try_path(text);
	if (state && onefs_state_ok(state))
		try_state(state);
	json_decref(state);
	free(text);
	return 0;
}
