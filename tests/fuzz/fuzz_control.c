/* SPDX-License-Identifier: Apache-2.0 */
/* Any JSON on the control socket: each request gets an object for an answer, and
 * whatever it tuned still fits together. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "fusefs/control.h"
#include "fusefs/volume.h"

static struct volume *volume_new(void)
{
	struct volume *v = calloc(1, sizeof *v);
	struct be_env env = { 0 };
	struct cache_config cfg = { 0 };
	struct err err;
	int fd;

	if (!v || options_defaults(&v->opt) ||
	    backend_open("memory:?size=1m", NULL, &env, &v->be, &err))
		abort();
	mutex_init(&v->opt_lock, LOCK_options);
	mutex_init(&v->sessions_lock, LOCK_sessions);
	v->uri = "memory:";
	v->mountpoint = "/nowhere";
	v->cache_max = v->opt.cache_size;
	options_tunables(&v->opt, &cfg.tun);
	if (arena_create(65536, 64, &fd) || arena_attach(fd, &v->arena, &err) ||
	    cache_new(&cfg, v->arena, v->be, &v->cache))
		abort();
	return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct volume *v;
	json_t *request = json_loadb((const char *)data, size, 0, NULL), *answer;
	struct err err;

	if (!v)
		v = volume_new();
	log_level = LOG_LEVEL_ERROR;
	if (!request)
		return 0;
	answer = control_answer(v, request);
	assert(json_is_object(answer) && json_is_boolean(json_object_get(answer, "ok")));
	assert(!options_check(&v->opt, &err));
	assert(v->opt.cache_size <= v->cache_max);
	json_decref(answer);
	json_decref(request);
	return 0;
}
