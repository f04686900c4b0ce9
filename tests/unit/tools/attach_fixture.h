/* SPDX-License-Identifier: Apache-2.0 */
/* attach_fixture.h - what the tests of attach.h share: a fake array whose volume is an image file, and fake mounts. A
 * driver that is killed is a child of ours; array and mounts are in memory that it shares with us. */
#ifndef TESTS_UNIT_TOOLS_ATTACH_FIXTURE_H
#define TESTS_UNIT_TOOLS_ATTACH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/fake/fake_array.h"
#include "tools/driver/attach.h"
#include "tools/driver/device.h"

#define POINTS 8
#define PATIENCE_MS 20000 /* of a busy machine */
#define DATA "what the app wrote"
#define DATA_AT 65536

/* What a kill does not undo. */
struct world {
	bool mounted[POINTS];
	int mount_fails, unmount_fails;
	unsigned denied; /* mounts that find no access yet */
	bool data_was_there;
	char uri[PATH_MAX];
	pthread_mutex_t lock;
};

static struct fixture {
	struct fake_array *array;
	struct world *world;
	char dir[64], mkfs[96], state[96];
	json_t *providers;
	struct attach_config config;
	struct attach *attach;
	struct failure f;
} fx;

/* --- mounts below ---------------------------------------------------------- */

static const char *const points[POINTS] = { "/v/0", "/v/1", "/v/2", "/v/3",
					    "/v/4", "/v/5", "/v/6", "/v/7" };

/* As an app does, on a device that is mounted; the kernel notes the time of the mount. */
static inline void use_device(struct world *w, const char *uri)
{
	char data[sizeof DATA] = "";
	AUTO_FD int fd = open(uri + strlen("ext4:"), O_RDWR | O_CLOEXEC);

	if (fd < 0 || pread(fd, data, sizeof data, DATA_AT) < 0)
		abort();
	w->data_was_there = !strcmp(data, DATA);
	if (pwrite(fd, DATA, sizeof DATA, DATA_AT) < 0 || pwrite(fd, "\1", 1, 1024 + 44) != 1)
		abort();
}

static inline int below_mount(void *arg, const struct mount_spec *m, const struct cancel *cancel,
			      struct failure *f)
{
	struct world *w = arg;
	int rc;

	(void)cancel;
	fake_array_step(fx.array, "mount");
	pthread_mutex_lock(&w->lock);
	snprintf(w->uri, sizeof w->uri, "%s", m->uri);
	rc = w->denied ? -EACCES : w->mount_fails;
	w->denied -= w->denied > 0;
	if (!rc && !strncmp(m->uri, "ext4:", 5))
		use_device(w, m->uri);
	if (!rc)
		w->mounted[m->point[3] - '0'] = true;
	pthread_mutex_unlock(&w->lock);
	fake_array_step(fx.array, NULL);
	return rc ? failure_set_safe(f, rc, "the fake mount fails") : 0;
}

static inline int below_unmount(void *arg, const char *point, unsigned drain_ms,
				const struct cancel *cancel, bool *dirty, struct failure *f)
{
	struct world *w = arg;
	bool was;

	(void)drain_ms;
	(void)cancel;
	fake_array_step(fx.array, "unmount");
	pthread_mutex_lock(&w->lock);
	was = w->mounted[point[3] - '0'];
	if (!w->unmount_fails)
		w->mounted[point[3] - '0'] = false;
	pthread_mutex_unlock(&w->lock);
	fake_array_step(fx.array, NULL);
	if (dirty)
		*dirty = false;
	return w->unmount_fails ? failure_set(f, w->unmount_fails, "the fake unmount fails") :
	       was              ? 0 :
				  -ENOENT;
}

static inline bool below_is_mounted(void *arg, const char *point)
{
	struct world *w = arg;
	bool is;

	pthread_mutex_lock(&w->lock);
	is = w->mounted[point[3] - '0'];
	pthread_mutex_unlock(&w->lock);
	return is;
}

static const struct mounts_ops below = { .mount = below_mount,
					 .unmount = below_unmount,
					 .is_mounted = below_is_mounted,
					 .is_alive = below_is_mounted };

/* --- the fixture ----------------------------------------------------------- */

/* It leaves an ext4 superblock that was never mounted, no data, and the word that it ran. */
static inline void write_mkfs(const char *more)
{
	FILE *out = fopen(fx.mkfs, "we");

	assert_non_null(out);
	fprintf(out,
		"#!/bin/sh\necho \"$*\" >>'%s.log'\nfor d; do :; done\n%s\n"
		"dd if=/dev/zero of=\"$d\" bs=65536 count=2 conv=notrunc 2>/dev/null\n"
		"printf 'S\\357' | dd of=\"$d\" bs=1 seek=1080 conv=notrunc 2>/dev/null\n",
		fx.mkfs, more);
	fclose(out);
	chmod(fx.mkfs, 0755);
}

static inline unsigned formats(void)
{
	char path[128], line[512];
	unsigned n = 0;
	FILE *in;

	snprintf(path, sizeof path, "%s.log", fx.mkfs);
	in = fopen(path, "re");
	while (in && fgets(line, sizeof line, in))
		n++;
	if (in)
		fclose(in);
	return n;
}

static inline void forget_formats(void)
{
	char path[128];

	snprintf(path, sizeof path, "%s.log", fx.mkfs);
	unlink(path);
}

static inline void start_driver(void)
{
	struct err err = { "" };

	assert_int_equal(attach_new(&fx.config, &fx.attach, &err), 0);
	assert_int_equal(attach_restore(fx.attach, &err), 0);
	assert_int_equal(attach_start(fx.attach), 0);
}

static inline void stop_driver(void)
{
	if (fx.attach)
		assert_true(attach_stop(fx.attach, PATIENCE_MS));
	attach_free(fx.attach);
	fx.attach = NULL;
}

static inline int fresh(void **state)
{
	pthread_mutexattr_t attr;

	(void)state;
	memset(&fx, 0, sizeof fx);
	log_level = LOG_LEVEL_ERROR;
	fx.array = fake_array_new();
	fx.world = mmap(NULL, sizeof *fx.world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (!fx.array || fx.world == MAP_FAILED)
		return -1;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&fx.world->lock, &attr);
	strcpy(fx.dir, "/tmp/persifs-attach.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	snprintf(fx.mkfs, sizeof fx.mkfs, "%s/mkfs", fx.dir);
	snprintf(fx.state, sizeof fx.state, "%s/state.arrays", fx.dir);
	write_mkfs("");
	fx.providers = json_pack("{s:{s:s, s:s}, s:{s:s}, s:{s:s}}", "gold", "type", "scaleio",
				 "password", "hunter2", "isi", "type", "onefs", "here", "type",
				 "local");
	fx.config = (struct attach_config){
		.providers = fx.providers,
		.device_dir = fx.array->dir,
		.mkfs = fx.mkfs,
		.state = fx.state,
		.cell = { .sdc_guid = "cell-a", .nqn = "nqn.x", .address = "10.0.0.1" },
		.block_wait_ms = PATIENCE_MS,
		.device_wait_ms = 300,
		.poll_ms = 5,
		.open = fake_array_open,
		.below = &below,
		.below_arg = fx.world
	};
	start_driver();
	return 0;
}

static inline int finish(void **state)
{
	char path[128];

	(void)state;
	log_level = LOG_LEVEL_ERROR;
	stop_driver();
	forget_formats();
	unlink(fx.mkfs);
	unlink(fx.state);
	snprintf(path, sizeof path, "%s.bad", fx.state);
	unlink(path);
	rmdir(fx.dir);
	munmap(fx.world, sizeof *fx.world);
	fake_array_free(fx.array);
	json_decref(fx.providers);
	return 0;
}

/* --- helpers --------------------------------------------------------------- */

static inline int mount_with(const char *uri, json_t *volume, unsigned point,
			     const struct cancel *cancel)
{
	const struct mount_spec m = {
		.uri = uri, .options = "locks=daemon", .point = points[point], .volume = volume
	};

	fx.f.err.text[0] = '\0';
	return attach_ops.mount(fx.attach, &m, cancel, &fx.f);
}

static inline int mount_at(unsigned point)
{
	return mount_with("scaleio://gold/one", NULL, point, NULL);
}

static inline int unmount_at(unsigned point)
{
	return attach_ops.unmount(fx.attach, points[point], 0, NULL, NULL, &fx.f);
}

static inline void calls_are(const char *want)
{
	AUTO_FREE char *calls = fake_array_calls(fx.array);

	assert_string_equal(calls, want);
}

static inline void held_by(const char *guid)
{
	assert_true(fake_array_is_held_by(fx.array, guid));
}

static inline void comes_to_be_held_by(const char *guid)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (!fake_array_is_held_by(fx.array, guid) && clock_ms() < end)
		usleep(2000);
	held_by(guid);
}

static inline bool file_is_there(const char *path)
{
	return !access(path, F_OK);
}

static inline void state_goes(void)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (file_is_there(fx.state) && clock_ms() < end)
		usleep(2000);
	assert_false(file_is_there(fx.state));
}

static inline void poke(uint64_t off, const char *bytes, size_t n)
{
	char path[PATH_MAX];
	AUTO_FD int fd = -1;

	snprintf(path, sizeof path, "%s/IMAGE", fx.array->dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, bytes, n, (off_t)off), n);
}

static inline void restart_with(void (*change)(struct attach_config *c))
{
	stop_driver();
	change(&fx.config);
	start_driver();
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, finish)

#endif
