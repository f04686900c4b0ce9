/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the volume driver: each line of the input is a route's number and a body.
 * Whatever comes, each gets an object that says Err, nothing is mounted outside of the
 * root, and no password comes out. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tests/fake/fake_mounts.h"
#include "tools/driver/api.h"

#define ROOT "/root"
#define REQUESTS_MAX 32 /* of one input */

static const char *const paths[] = { "/VolumeDriver.Create",       "/VolumeDriver.Mount",
				     "/VolumeDriver.Unmount",      "/VolumeDriver.Remove",
				     "/VolumeDriver.Path",         "/VolumeDriver.Get",
				     "/VolumeDriver.List",         "/Plugin.Activate",
				     "/VolumeDriver.Capabilities", "/x" };

static int save(void *arg, const char *text)
{
	(void)arg;
	assert(!strstr(text, "\"password\":") && !strstr(text, "\"username\":"));
	return 0;
}

static int identify(void *arg, const char *user, const char *password, uint32_t *uid, uint32_t *gid,
		    struct failure *f)
{
	(void)arg;
	(void)user;
	(void)password;
	(void)f;
	*uid = *gid = 1000;
	return 0;
}

/* Each mountpoint is one component below the root. */
static void check_points(struct fake_mounts *m)
{
	for (int i = 0; i < FAKE_POINTS_MAX; i++) {
		const char *p = m->points[i];

		if (!p)
			continue;
		assert(!strncmp(p, ROOT "/", strlen(ROOT) + 1));
		p += strlen(ROOT) + 1;
		assert(*p && !strchr(p, '/') && strcmp(p, "..") && strcmp(p, "."));
		assert(strlen(p) <= VOLUME_NAME_MAX);
	}
	assert(!*m->uri || !strncmp(m->uri, "nfs://", 6));
}

static void ask(const struct api *api, const uint8_t *line, size_t len)
{
	const char *path = paths[line[0] % ARRAY_LEN(paths)];
	AUTO_FREE char *body = malloc(len);
	struct api_undo undo;
	json_t *answer;

	if (!body)
		return;
	memcpy(body, line + 1, len - 1);
	body[len - 1] = '\0';
	answer = api_answer(api, path, body, len - 1, NULL, NULL, &undo);
	assert(json_is_object(answer));
	assert(line[0] % ARRAY_LEN(paths) >= 7 || json_is_string(json_object_get(answer, "Err")));
	json_decref(answer);
	free(undo.mounted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const sources[] = { "nfs://" };
	static const char *const options[] = { "policy", "cache_size" };
	static struct fake_mounts mounts;
	static struct metrics metrics;
	const struct mountopts_rules rules = { .sources = sources,
					       .nsources = 1,
					       .options = options,
					       .noptions = 2,
					       .identify = identify };
	const struct volumes_env env = { .root = ROOT,
					 .mounts = &fake_mounts_ops,
					 .mounts_arg = &mounts,
					 .rules = &rules,
					 .save = save };
	struct api api = { .metrics = &metrics, .scope = "local" };

	log_level = LOG_LEVEL_ERROR;
	fake_mounts_init(&mounts);
	api.volumes = volumes_new(&env);
	if (!api.volumes)
		abort();
	for (int i = 0; i < REQUESTS_MAX && size; i++) {
		const uint8_t *nl = memchr(data, '\n', size);
		size_t len = nl ? (size_t)(nl - data) : size;

		if (len)
			ask(&api, data, len);
		check_points(&mounts);
		data += nl ? len + 1 : len;
		size -= nl ? len + 1 : len;
	}
	volumes_free(api.volumes);
	fake_mounts_done(&mounts);
	return 0;
}
