/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_array.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

static struct fake_array *the;

static void path_of(const struct fake_array *a, const char *name, char *buf)
{
	snprintf(buf, PATH_MAX, "%s/%s", a->dir, name);
}

void fake_array_reset(struct fake_array *a)
{
	char image[PATH_MAX], link[PATH_MAX], dir[sizeof a->dir];
	pthread_mutexattr_t attr;
	int fd;

	memcpy(dir, a->dir, sizeof dir);
	memset(a, 0, sizeof *a);
	memcpy(a->dir, dir, sizeof dir);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&a->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	a->fresh = true;
	path_of(a, "IMAGE", image);
	path_of(a, "LINK", link);
	unlink(link);
	fd = open(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, FAKE_ARRAY_SIZE))
		abort();
	close(fd);
}

struct fake_array *fake_array_new(void)
{
	struct fake_array *a =
		mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (a == MAP_FAILED)
		return NULL;
	strcpy(a->dir, "/tmp/persifs-array.XXXXXX");
	if (!mkdtemp(a->dir)) {
		munmap(a, sizeof *a);
		return NULL;
	}
	fake_array_reset(a);
	the = a;
	return a;
}

void fake_array_free(struct fake_array *a)
{
	char path[PATH_MAX];

	path_of(a, "IMAGE", path);
	unlink(path);
	path_of(a, "LINK", path);
	unlink(path);
	rmdir(a->dir);
	munmap(a, sizeof *a);
	the = NULL;
}

static void step_locked(struct fake_array *a, const char *name)
{
	size_t n = strlen(a->calls);

	if (name)
		snprintf(a->calls + n, sizeof a->calls - n, "%s ", name);
	a->steps++;
	if (a->steps == a->kill_at) {
		/* The lock is of the ones who live on. */
		pthread_mutex_unlock(&a->lock);
		kill(getpid(), SIGKILL);
	}
}

void fake_array_step(struct fake_array *a, const char *name)
{
	pthread_mutex_lock(&a->lock);
	step_locked(a, name);
	pthread_mutex_unlock(&a->lock);
}

char *fake_array_calls(struct fake_array *a)
{
	char *copy;

	pthread_mutex_lock(&a->lock);
	copy = strdup(a->calls);
	a->calls[0] = '\0';
	pthread_mutex_unlock(&a->lock);
	return copy;
}

void fake_array_hold(struct fake_array *a, const char *guid)
{
	pthread_mutex_lock(&a->lock);
	snprintf(a->holder, sizeof a->holder, "%s", guid);
	pthread_mutex_unlock(&a->lock);
}

bool fake_array_is_held_by(struct fake_array *a, const char *guid)
{
	bool is;

	pthread_mutex_lock(&a->lock);
	is = !strcasecmp(a->holder, guid);
	pthread_mutex_unlock(&a->lock);
	return is;
}

/* --- the table ------------------------------------------------------------- */

static const char *guid_of(const struct provider *p, const struct provider_host *host)
{
	const char *guid = strcmp(p->ops->type, "onefs") ? host->sdc_guid : host->address;

	return guid ? guid : "";
}

static void tell_holder(const struct fake_array *a, struct provider_mapping *out)
{
	snprintf(out->holder, sizeof out->holder, "name-of-%s", a->holder);
	snprintf(out->holder_guid, sizeof out->holder_guid, "%s", a->holder);
	out->holder_connected = a->other_connected;
	out->holder_since = a->other_since;
}

static void show_device(const struct fake_array *a)
{
	char image[PATH_MAX], link[PATH_MAX];

	path_of(a, "IMAGE", image);
	path_of(a, "LINK", link);
	if (!a->no_device && symlink(image, link) && errno != EEXIST)
		abort();
}

static int map_locked(struct provider *p, const char *guid, struct provider_mapping *out,
		      struct err *err)
{
	struct fake_array *a = the;

	if (a->map_fails)
		return err_set(err, a->map_fails, "the fake map of secret.host fails");
	if (!*guid)
		return err_set(err, -EINVAL, "who is this cell?");
	if (*a->holder && strcasecmp(a->holder, guid)) {
		a->polls++;
		tell_holder(a, out);
		return err_set(err, -EBUSY, "another has it");
	}
	out->was_mapped = *a->holder;
	snprintf(a->holder, sizeof a->holder, "%s", guid);
	if (!strcmp(p->ops->type, "local")) {
		snprintf(out->source, sizeof out->source, "image:%s/IMAGE", a->dir);
	} else if (p->ops->kind == PROVIDER_BLOCK) {
		show_device(a);
		snprintf(out->device, sizeof out->device, "/dev/disk/by-id/LINK");
		out->size = a->tells_size ? a->tells_size : FAKE_ARRAY_SIZE;
	} else {
		snprintf(out->source, sizeof out->source, "nfs://nas/export");
	}
	step_locked(a, NULL);
	if (!a->map_lost)
		return 0;
	a->map_lost = false;
	return err_set(err, -EAGAIN, "no answer");
}

static int fake_map(struct provider *p, const struct provider_ref *ref,
		    const struct provider_host *host, struct provider_mapping *out, struct err *err)
{
	char *handle = ref->handle ? json_dumps(ref->handle, JSON_SORT_KEYS) : NULL;
	int rc;

	pthread_mutex_lock(&the->lock);
	snprintf(the->owner, sizeof the->owner, "%s", ref->owner ? ref->owner : "");
	snprintf(the->handle, sizeof the->handle, "%s", handle ? handle : "");
	free(handle);
	the->maps++;
	step_locked(the, "map");
	rc = map_locked(p, guid_of(p, host), out, err);
	pthread_mutex_unlock(&the->lock);
	return rc;
}

static int unmap_locked(const char *guid, struct err *err)
{
	char link[PATH_MAX];

	if (the->unmap_fails)
		return err_set(err, the->unmap_fails, "the fake unmap fails");
	if (strcasecmp(the->holder, guid))
		return 0;
	the->holder[0] = '\0';
	path_of(the, "LINK", link);
	if (!the->device_stays)
		unlink(link);
	step_locked(the, NULL);
	return 0;
}

static int fake_unmap(struct provider *p, const struct provider_ref *ref,
		      const struct provider_host *host, struct err *err)
{
	char name[96];
	int rc;

	(void)ref;
	snprintf(name, sizeof name, "unmap:%s", guid_of(p, host));
	pthread_mutex_lock(&the->lock);
	the->unmaps++;
	step_locked(the, name);
	rc = unmap_locked(guid_of(p, host), err);
	pthread_mutex_unlock(&the->lock);
	return rc;
}

static int fake_get(struct provider *p, const struct provider_ref *ref, struct provider_volume *out,
		    struct err *err)
{
	int rc;

	(void)p;
	(void)ref;
	pthread_mutex_lock(&the->lock);
	step_locked(the, "get");
	*out = (struct provider_volume){ .size = FAKE_ARRAY_SIZE, .fresh = the->fresh };
	rc = the->get_fails;
	pthread_mutex_unlock(&the->lock);
	return rc ? err_set(err, rc, "the fake get fails") : 0;
}

static int fake_set_used(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	int rc;

	(void)p;
	(void)ref;
	pthread_mutex_lock(&the->lock);
	step_locked(the, "set_used");
	rc = the->set_used_fails;
	if (!rc) {
		the->fresh = false;
		step_locked(the, NULL);
	}
	if (!rc && the->set_used_lost) {
		the->set_used_lost = false;
		rc = -EAGAIN;
	}
	pthread_mutex_unlock(&the->lock);
	return rc ? err_set(err, rc, "the fake set_used fails") : 0;
}

static void fake_close(struct provider *p)
{
	free(p);
}

static const struct provider_ops fakes[] = {
	{ .type = "local",
	  .kind = PROVIDER_FILES, /* as the real one: images are but one kind of its volumes */
	  .close = fake_close,
	  .map = fake_map,
	  .unmap = fake_unmap,
	  .get = fake_get,
	  .set_used = fake_set_used },
	{ .type = "scaleio",
	  .kind = PROVIDER_BLOCK,
	  .close = fake_close,
	  .map = fake_map,
	  .unmap = fake_unmap,
	  .get = fake_get,
	  .set_used = fake_set_used },
	{ .type = "onefs",
	  .kind = PROVIDER_FILES,
	  .close = fake_close,
	  .map = fake_map,
	  .unmap = fake_unmap,
	  .get = fake_get },
};

int fake_array_open(const char *name, const json_t *config, struct provider **out, struct err *err)
{
	const char *type = json_string_value(json_object_get(config, "type"));

	for (size_t i = 0; type && i < sizeof fakes / sizeof fakes[0]; i++) {
		struct provider *p;

		if (strcmp(fakes[i].type, type))
			continue;
		p = calloc(1, sizeof *p);
		if (!p)
			return -ENOMEM;
		p->ops = &fakes[i];
		snprintf(p->name, sizeof p->name, "%s", name);
		*out = p;
		return 0;
	}
	return err_set(err, -EINVAL, "provider %s: key \"type\": is not known", name);
}
