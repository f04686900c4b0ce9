/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_image.c - what backs the volumes:
 *
 *   ROOT/volumes/ID.img                                            sparse
 *   ROOT/sdc/GUID/dev/disk/by-id/emc-vol-SYSTEM-ID -> the image    while it is mapped there
 *
 * A link comes after device_delay_ms, by a thread of its own, and goes at once. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/paths.h"
#include "tools/sim/scaleio_impl.h"

#define COPY_BYTES (1 << 20)
#define IDLE_MS 3600000 /* between looks of a thread that nobody wakes */

static const char *root_of(const struct scaleio *s)
{
	return sim_settings(s->sim)->root;
}

static int complain(const char *path, int rc)
{
	log_error("sim: '%s': %s", path, strerror(-rc));
	return rc;
}

static void image_path(const struct scaleio *s, const struct sio_volume *v, char *out)
{
	snprintf(out, PATH_MAX, "%.3900s/volumes/%016" PRIx64 ".img", root_of(s), v->id);
}

static int resize(const struct scaleio *s, const struct sio_volume *v, int flags)
{
	char path[PATH_MAX];
	AUTO_FD int fd = -1;

	if (!root_of(s))
		return 0;
	image_path(s, v, path);
	fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)(v->kib * 1024)))
		return complain(path, -errno);
	return 0;
}

/* What a simulator that was killed left under the same id is not the content of a new volume. */
int sio_image_make(struct scaleio *s, const struct sio_volume *v)
{
	return resize(s, v, O_TRUNC);
}

int sio_image_grow(struct scaleio *s, const struct sio_volume *v)
{
	return resize(s, v, 0);
}

void sio_image_remove(struct scaleio *s, const struct sio_volume *v)
{
	char path[PATH_MAX];

	if (!root_of(s))
		return;
	image_path(s, v, path);
	unlink(path);
}

uint64_t sio_image_used_kib(const struct scaleio *s, const struct sio_volume *v)
{
	char path[PATH_MAX];
	struct stat st;

	if (!root_of(s))
		return 0;
	image_path(s, v, path);
	return stat(path, &st) ? 0 : (uint64_t)st.st_blocks / 2;
}

/* --- copies ---------------------------------------------------------------- */

static int copy_range(int in, int out, off_t at, off_t end, char *buf)
{
	while (at < end) {
		size_t want = end - at < COPY_BYTES ? (size_t)(end - at) : COPY_BYTES;
		ssize_t n = pread(in, buf, want, at);

		if (n <= 0)
			return n ? -errno : -EIO;
		if (pwrite(out, buf, (size_t)n, at) != n)
			return errno ? -errno : -ENOSPC;
		at += n;
	}
	return 0;
}

static int copy_data(int in, int out)
{
	AUTO_FREE char *buf = malloc(COPY_BYTES);
	off_t data = 0, hole;
	int rc = buf ? 0 : -ENOMEM;

	while (!rc && (data = lseek(in, data, SEEK_DATA)) >= 0) {
		hole = lseek(in, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		rc = copy_range(in, out, data, hole, buf);
		data = hole;
	}
	return rc ? rc : errno == ENXIO ? 0 : -errno;
}

int sio_image_copy(struct scaleio *s, const struct sio_volume *from, const struct sio_volume *to)
{
	char source[PATH_MAX], path[PATH_MAX];
	AUTO_FD int in = -1, out = -1;
	int rc;

	if (!root_of(s))
		return 0;
	image_path(s, from, source);
	image_path(s, to, path);
	in = open(source, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0)
		return complain(source, -errno);
	out = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0 || ftruncate(out, 0))
		return complain(path, -errno);
	rc = copy_data(in, out);
	if (!rc && ftruncate(out, (off_t)(to->kib * 1024)))
		rc = -errno;
	return rc ? complain(path, rc) : 0;
}

/* --- links ----------------------------------------------------------------- */

static bool link_path(struct scaleio *s, const struct sio_volume *v, const struct sio_map *m,
		      char *out)
{
	const struct sio_sdc *h = sio_find_sdc(s, m->sdc);

	if (!root_of(s) || !h || !*h->guid)
		return false;
	snprintf(out, PATH_MAX, "%.3800s/sdc/%s/dev/disk/by-id/emc-vol-%016" PRIx64 "-%016" PRIx64,
		 root_of(s), h->guid, s->system, v->id);
	return true;
}

void sio_link_make(struct scaleio *s, const struct sio_volume *v, struct sio_map *m)
{
	char path[PATH_MAX], image[PATH_MAX], target[PATH_MAX];
	struct err err;

	m->linked = true;
	if (!link_path(s, v, m, path))
		return;
	image_path(s, v, image);
	if (paths_make_parents(path, &err)) {
		log_error("sim: %s", err.text);
		return;
	}
	if (!realpath(image, target)) {
		complain(image, -errno);
		return;
	}
	unlink(path);
	if (symlink(target, path))
		complain(path, -errno);
}

void sio_link_remove(struct scaleio *s, const struct sio_volume *v, struct sio_map *m)
{
	char path[PATH_MAX];

	if (m->linked && link_path(s, v, m, path))
		unlink(path);
	m->linked = false;
}

void sio_link_soon(struct scaleio *s, const struct sio_volume *v, struct sio_map *m)
{
	mutex_assert_held(&s->lock);
	if (!s->opt->device_delay_ms) {
		sio_link_make(s, v, m);
		return;
	}
	m->due_ms = clock_ms() + s->opt->device_delay_ms;
	cond_signal(&s->wake);
}

/* Makes what is due; the time when the next one is. */
static uint64_t make_due_locked(struct scaleio *s, uint64_t now)
{
	uint64_t next = now + IDLE_MS;

	mutex_assert_held(&s->lock);
	for (size_t i = 0; i < s->nvolumes; i++) {
		struct sio_volume *v = s->volumes[i];

		for (size_t j = 0; j < v->nmaps; j++) {
			struct sio_map *m = &v->maps[j];

			if (m->linked)
				continue;
			if (m->due_ms <= now)
				sio_link_make(s, v, m);
			else if (m->due_ms < next)
				next = m->due_ms;
		}
	}
	return next;
}

void *sio_link_main(void *arg)
{
	struct scaleio *s = arg;

	pthread_setname_np(pthread_self(), "sim-devices");
	mutex_lock(&s->lock);
	while (!s->stopping)
		cond_wait_until(&s->wake, &s->lock, make_due_locked(s, clock_ms()));
	mutex_unlock(&s->lock);
	return NULL;
}

/* --- start ----------------------------------------------------------------- */

/* Links that stayed behind when a simulator was killed. */
static void clear_links_of(const struct scaleio *s, const char *guid)
{
	char dir[PATH_MAX], prefix[64];
	DIR *d;

	snprintf(dir, sizeof dir, "%.3500s/sdc/%.255s/dev/disk/by-id", root_of(s), guid);
	snprintf(prefix, sizeof prefix, "emc-vol-%016" PRIx64 "-", s->system);
	d = opendir(dir);
	if (!d)
		return;
	for (const struct dirent *e = readdir(d); e; e = readdir(d))
		if (!strncmp(e->d_name, prefix, strlen(prefix)))
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

static void clear_links(const struct scaleio *s)
{
	char dir[PATH_MAX];
	DIR *d;

	snprintf(dir, sizeof dir, "%.3900s/sdc", root_of(s));
	d = opendir(dir);
	if (!d)
		return;
	for (const struct dirent *e = readdir(d); e; e = readdir(d))
		if (e->d_name[0] != '.')
			clear_links_of(s, e->d_name);
	closedir(d);
}

int sio_image_open(struct scaleio *s, struct err *err)
{
	char dir[PATH_MAX];
	int rc;

	if (!root_of(s))
		return 0;
	if (strlen(root_of(s)) > 2048)
		return err_set(err, -ENAMETOOLONG, "root '%.100s...' is too long", root_of(s));
	snprintf(dir, sizeof dir, "%.3900s/volumes", root_of(s));
	rc = paths_make_folder(dir, err);
	if (rc)
		return rc;
	clear_links(s);
	for (size_t i = 0; i < s->nvolumes; i++) {
		struct sio_volume *v = s->volumes[i];

		if (sio_image_grow(s, v)) /* made when it is not there */
			return err_set(err, -EIO, "root '%s': no image for a volume", root_of(s));
		for (size_t j = 0; j < v->nmaps; j++)
			sio_link_make(s, v, &v->maps[j]);
	}
	return 0;
}
