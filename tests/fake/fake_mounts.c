/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_NS 2000000 /* between two looks at whether a held mount is still wanted */

void fake_mounts_init(struct fake_mounts *m)
{
	memset(m, 0, sizeof *m);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
}

static int find(const struct fake_mounts *m, const char *point)
{
	for (int i = 0; i < FAKE_POINTS_MAX; i++)
		if (m->points[i] && !strcmp(m->points[i], point))
			return i;
	return -1;
}

static void drop(struct fake_mounts *m, int i)
{
	free(m->points[i]);
	m->points[i] = NULL;
	m->dead[i] = false;
}

void fake_mounts_done(struct fake_mounts *m)
{
	for (int i = 0; i < FAKE_POINTS_MAX; i++)
		drop(m, i);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
}

bool fake_mounts_has(struct fake_mounts *m, const char *point)
{
	bool has;

	pthread_mutex_lock(&m->lock);
	has = find(m, point) >= 0;
	pthread_mutex_unlock(&m->lock);
	return has;
}

unsigned fake_mounts_count(struct fake_mounts *m)
{
	unsigned n = 0;

	pthread_mutex_lock(&m->lock);
	for (int i = 0; i < FAKE_POINTS_MAX; i++)
		n += m->points[i] != NULL;
	pthread_mutex_unlock(&m->lock);
	return n;
}

void fake_mounts_vanish(struct fake_mounts *m, const char *point)
{
	pthread_mutex_lock(&m->lock);
	if (find(m, point) >= 0)
		drop(m, find(m, point));
	pthread_mutex_unlock(&m->lock);
}

void fake_mounts_kill(struct fake_mounts *m, const char *point)
{
	pthread_mutex_lock(&m->lock);
	if (find(m, point) >= 0)
		m->dead[find(m, point)] = true;
	pthread_mutex_unlock(&m->lock);
}

void fake_mounts_hold(struct fake_mounts *m, bool hold)
{
	pthread_mutex_lock(&m->lock);
	m->hold = hold;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

void fake_mounts_wait_holding(struct fake_mounts *m, unsigned n)
{
	pthread_mutex_lock(&m->lock);
	while (m->holding < n)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

/* 0 when *hold is over, -ECANCELED when nobody wants it. */
static int hold_locked(struct fake_mounts *m, const struct cancel *cancel, const bool *hold)
{
	const struct timespec look = { .tv_nsec = LOOK_NS };
	int rc = 0;

	m->holding++;
	pthread_cond_broadcast(&m->changed);
	while (*hold && !rc) {
		pthread_mutex_unlock(&m->lock);
		if (!cancel->wanted(cancel->arg))
			rc = -ECANCELED;
		nanosleep(&look, NULL);
		pthread_mutex_lock(&m->lock);
	}
	m->holding--;
	return rc;
}

static int fake_mount(void *arg, const struct mount_spec *spec, const struct cancel *cancel,
		      struct failure *f)
{
	struct fake_mounts *m = arg;
	int rc = 0, i = 0;

	pthread_mutex_lock(&m->lock);
	m->mounts++;
	snprintf(m->uri, sizeof m->uri, "%s", spec->uri);
	snprintf(m->options, sizeof m->options, "%s", spec->options);
	if (m->hold)
		rc = hold_locked(m, cancel, &m->hold);
	if (!rc)
		rc = m->mount_fails;
	if (!rc && find(m, spec->point) >= 0)
		rc = -EEXIST;
	while (!rc && i < FAKE_POINTS_MAX && m->points[i])
		i++;
	if (!rc)
		m->points[i] = strdup(spec->point);
	pthread_mutex_unlock(&m->lock);
	return rc ? failure_set_safe(f, rc, "the fake mount fails") : 0;
}

static int fake_unmount(void *arg, const char *point, unsigned drain_ms,
			const struct cancel *cancel, bool *dirty, struct failure *f)
{
	struct fake_mounts *m = arg;
	bool held = false;
	int rc, i;

	pthread_mutex_lock(&m->lock);
	m->unmounts++;
	m->drain_ms = drain_ms;
	if (m->hold_unmount && drain_ms)
		held = hold_locked(m, cancel, &m->hold_unmount) != 0;
	i = find(m, point);
	rc = m->unmount_fails ? m->unmount_fails : i < 0 ? -ENOENT : 0;
	if (!rc)
		drop(m, i);
	if (dirty)
		*dirty = m->leaves_dirty || held;
	pthread_mutex_unlock(&m->lock);
	return rc ? failure_set(f, rc, "the fake unmount fails") : 0;
}

static bool fake_is_mounted(void *arg, const char *point)
{
	struct fake_mounts *m = arg;

	pthread_mutex_lock(&m->lock);
	m->looks++;
	pthread_mutex_unlock(&m->lock);
	return fake_mounts_has(arg, point);
}

static bool fake_is_alive(void *arg, const char *point)
{
	struct fake_mounts *m = arg;
	bool alive;
	int i;

	pthread_mutex_lock(&m->lock);
	i = find(m, point);
	alive = i >= 0 && !m->dead[i];
	pthread_mutex_unlock(&m->lock);
	return alive;
}

static int fake_below(void *arg, const char *root, void (*found)(void *arg, const char *name),
		      void *found_arg)
{
	struct fake_mounts *m = arg;
	size_t n = strlen(root);

	pthread_mutex_lock(&m->lock);
	m->looks++;
	for (int i = 0; i < FAKE_POINTS_MAX; i++)
		if (m->points[i] && !strncmp(m->points[i], root, n) && m->points[i][n] == '/')
			found(found_arg, m->points[i] + n + 1);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

const struct mounts_ops fake_mounts_ops = {
	.mount = fake_mount,
	.unmount = fake_unmount,
	.is_mounted = fake_is_mounted,
	.is_alive = fake_is_alive,
	.below = fake_below,
};
