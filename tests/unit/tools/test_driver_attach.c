/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of attach.h, on a fake array whose volume is an image file, and fake mounts. A driver that is
 * killed is a child of ours; array and mounts are in memory that it shares with us. */
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
static void use_device(struct world *w, const char *uri)
{
	char data[sizeof DATA] = "";
	AUTO_FD int fd = open(uri + strlen("ext4:"), O_RDWR | O_CLOEXEC);

	if (fd < 0 || pread(fd, data, sizeof data, DATA_AT) < 0)
		abort();
	w->data_was_there = !strcmp(data, DATA);
	if (pwrite(fd, DATA, sizeof DATA, DATA_AT) < 0 || pwrite(fd, "\1", 1, 1024 + 44) != 1)
		abort();
}

static int below_mount(void *arg, const struct mount_spec *m, const struct cancel *cancel,
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

static int below_unmount(void *arg, const char *point, unsigned drain_ms,
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

static bool below_is_mounted(void *arg, const char *point)
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
static void write_mkfs(const char *more)
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

static unsigned formats(void)
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

static void forget_formats(void)
{
	char path[128];

	snprintf(path, sizeof path, "%s.log", fx.mkfs);
	unlink(path);
}

static void start_driver(void)
{
	struct err err = { "" };

	assert_int_equal(attach_new(&fx.config, &fx.attach, &err), 0);
	assert_int_equal(attach_restore(fx.attach, &err), 0);
	assert_int_equal(attach_start(fx.attach), 0);
}

static void stop_driver(void)
{
	if (fx.attach)
		assert_true(attach_stop(fx.attach, PATIENCE_MS));
	attach_free(fx.attach);
	fx.attach = NULL;
}

static int fresh(void **state)
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

static int finish(void **state)
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

static int mount_with(const char *uri, json_t *volume, unsigned point, const struct cancel *cancel)
{
	const struct mount_spec m = {
		.uri = uri, .options = "locks=daemon", .point = points[point], .volume = volume
	};

	fx.f.err.text[0] = '\0';
	return attach_ops.mount(fx.attach, &m, cancel, &fx.f);
}

static int mount_at(unsigned point)
{
	return mount_with("scaleio://gold/one", NULL, point, NULL);
}

static int unmount_at(unsigned point)
{
	return attach_ops.unmount(fx.attach, points[point], 0, NULL, NULL, &fx.f);
}

static void calls_are(const char *want)
{
	AUTO_FREE char *calls = fake_array_calls(fx.array);

	assert_string_equal(calls, want);
}

static void held_by(const char *guid)
{
	assert_true(fake_array_is_held_by(fx.array, guid));
}

static void comes_to_be_held_by(const char *guid)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (!fake_array_is_held_by(fx.array, guid) && clock_ms() < end)
		usleep(2000);
	held_by(guid);
}

static bool file_is_there(const char *path)
{
	return !access(path, F_OK);
}

static void state_goes(void)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (file_is_there(fx.state) && clock_ms() < end)
		usleep(2000);
	assert_false(file_is_there(fx.state));
}

static void poke(uint64_t off, const char *bytes, size_t n)
{
	char path[PATH_MAX];
	AUTO_FD int fd = -1;

	snprintf(path, sizeof path, "%s/IMAGE", fx.array->dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, bytes, n, (off_t)off), n);
}

/* --- one volume ------------------------------------------------------------ */

static void other_sources_pass_through(void **state)
{
	(void)state;
	assert_int_equal(mount_with("nfs://nas/export", NULL, 0, NULL), 0);
	assert_string_equal(fx.world->uri, "nfs://nas/export");
	assert_int_equal(unmount_at(0), 0);
	calls_are("mount unmount ");
	assert_false(file_is_there(fx.state));
}

static void first_mount_maps_formats_marks_then_mounts(void **state)
{
	char want[PATH_MAX], log[128], line[512] = "";
	json_t *volume =
		json_pack("{s:s, s:{s:i, s:i}}", "owner", "two", "plan", "uid", 2000, "gid", 2001);
	FILE *in;

	(void)state;
	assert_int_equal(mount_with("scaleio://gold/4f1c", volume, 0, NULL), 0);
	json_decref(volume);
	calls_are("map get set_used mount ");
	snprintf(want, sizeof want, "ext4:%s/LINK", fx.array->dir);
	assert_string_equal(fx.world->uri, want);
	assert_int_equal(formats(), 1);
	snprintf(log, sizeof log, "%s.log", fx.mkfs);
	in = fopen(log, "re");
	assert_non_null(fgets(line, sizeof line, in));
	fclose(in);
	assert_non_null(strstr(line, "root_owner=2000:2001"));
	assert_non_null(strstr(line, "nodiscard"));
	held_by("cell-a");
	assert_true(file_is_there(fx.state));
}

static void last_unmount_gives_back(void **state)
{
	char link[PATH_MAX];

	(void)state;
	assert_int_equal(mount_at(0), 0);
	free(fake_array_calls(fx.array));
	assert_int_equal(unmount_at(0), 0);
	calls_are("unmount unmap:cell-a ");
	held_by("");
	snprintf(link, sizeof link, "%s/LINK", fx.array->dir);
	assert_false(file_is_there(link));
	assert_false(file_is_there(fx.state));
}

static void formatted_once(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mount_at(0), 0);
		assert_true(fx.world->data_was_there == (i > 0));
		assert_int_equal(unmount_at(0), 0);
	}
	assert_int_equal(formats(), 1);
}

static void names_of_a_volume_share_its_mapping(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	assert_int_equal(mount_at(1), 0);
	calls_are("map get set_used mount mount ");
	assert_int_equal(unmount_at(0), 0);
	held_by("cell-a");
	assert_int_equal(unmount_at(1), 0);
	held_by("");
	calls_are("unmount unmount unmap:cell-a ");
}

static void *mount_main(void *arg)
{
	const struct mount_spec m = { .uri = "scaleio://gold/one", .options = "", .point = arg };
	struct failure f;

	return attach_ops.mount(fx.attach, &m, NULL, &f) ? arg : NULL;
}

static void *unmount_main(void *arg)
{
	struct failure f;

	return attach_ops.unmount(fx.attach, arg, 0, NULL, NULL, &f) ? arg : NULL;
}

static void all_at_once(void *(*run)(void *arg))
{
	pthread_t threads[POINTS];
	void *failed;

	for (int i = 0; i < POINTS; i++)
		pthread_create(&threads[i], NULL, run, (void *)points[i]);
	for (int i = 0; i < POINTS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

static void parallel_mounts_map_once(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		all_at_once(mount_main);
		held_by("cell-a");
		assert_int_equal(fx.array->maps, round + 1);
		all_at_once(unmount_main);
		held_by("");
		assert_int_equal(fx.array->unmaps, round + 1);
	}
	assert_int_equal(formats(), 1);
}

static void failed_mount_gives_back(void **state)
{
	(void)state;
	fx.world->mount_fails = -EIO;
	assert_int_equal(mount_at(0), -EIO);
	held_by("");
	assert_false(file_is_there(fx.state));
}

static void failed_unmount_keeps_it(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	fx.world->unmount_fails = -EIO;
	assert_int_equal(unmount_at(0), -EIO);
	held_by("cell-a");
	fx.world->unmount_fails = 0;
	assert_int_equal(unmount_at(0), 0);
	held_by("");
}

/* --- A3: formats ----------------------------------------------------------- */

static void format_rules(void **state)
{
	static const struct {
		bool fresh;
		const char *magic, *mount_time;
		int rc;
		unsigned formats;
		const char *sentence;
	} cases[] = {
		{ true, NULL, NULL, 0, 1, "" },     /* new, blank */
		{ true, "S\357", NULL, 0, 1, "" },  /* killed before set_used(): made anew */
		{ false, "S\357", NULL, 0, 0, "" }, /* killed after it */
		{ false, "S\357", "\1", 0, 0, "" }, /* used */
		{ false, NULL, NULL, -EMEDIUMTYPE, 0, "no file system and is not new" },
		{ true, "S\357", "\1", -EMEDIUMTYPE, 0, "counts as new, but holds" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fake_array_reset(fx.array);
		forget_formats();
		fx.array->fresh = cases[i].fresh;
		if (cases[i].magic)
			poke(1080, cases[i].magic, 2);
		if (cases[i].mount_time)
			poke(1024 + 44, cases[i].mount_time, 1);
		assert_int_equal(mount_at(0), cases[i].rc);
		assert_int_equal(formats(), cases[i].formats);
		assert_true(!cases[i].rc || fx.f.safe);
		if (cases[i].rc)
			assert_non_null(strstr(fx.f.err.text, cases[i].sentence));
		else
			assert_int_equal(unmount_at(0), 0);
		held_by("");
	}
}

static void not_mounted_before_the_mark_is_gone(void **state)
{
	(void)state;
	fx.array->set_used_fails = -EIO;
	assert_int_not_equal(mount_at(0), 0);
	assert_false(fx.world->mounted[0]);
	fx.array->set_used_fails = 0;
	assert_int_equal(mount_at(0), 0);
	assert_int_equal(formats(), 2);
}

static void lost_answer_of_the_mark_formats_no_second_time(void **state)
{
	(void)state;
	fx.array->set_used_lost = true;
	assert_int_equal(mount_at(0), -EAGAIN);
	assert_true(fx.f.safe);
	held_by("");
	assert_int_equal(mount_at(0), 0);
	assert_int_equal(formats(), 1);
}

static void failing_mkfs_is_told(void **state)
{
	(void)state;
	write_mkfs("echo broken >&2; exit 3");
	assert_int_equal(mount_at(0), -EIO);
	assert_true(fx.f.safe);
	assert_true(fx.array->fresh);
	held_by("");
	write_mkfs("");
	assert_int_equal(mount_at(0), 0);
}

/* --- another cell ---------------------------------------------------------- */

static void *let_go_main(void *arg)
{
	uint64_t end = clock_ms() + PATIENCE_MS;
	unsigned polls = 0;

	while (polls < 3 && clock_ms() < end) {
		pthread_mutex_lock(&fx.array->lock);
		polls = fx.array->polls;
		pthread_mutex_unlock(&fx.array->lock);
		usleep(1000);
	}
	fake_array_hold(fx.array, "");
	return arg;
}

static void waits_until_another_cell_lets_go(void **state)
{
	pthread_t thread;

	(void)state;
	fake_array_hold(fx.array, "cell-b");
	pthread_create(&thread, NULL, let_go_main, NULL);
	assert_int_equal(mount_at(0), 0);
	pthread_join(thread, NULL);
	held_by("cell-a");
	assert_true(fx.array->polls >= 3);
}

static void restart_with(void (*change)(struct attach_config *c))
{
	stop_driver();
	change(&fx.config);
	start_driver();
}

static void wait_little(struct attach_config *c)
{
	c->block_wait_ms = 30;
}

static void names_the_holder_that_does_not_let_go(void **state)
{
	(void)state;
	restart_with(wait_little);
	fake_array_hold(fx.array, "cell-b");
	assert_int_equal(mount_at(0), -EBUSY);
	assert_true(fx.f.safe);
	assert_non_null(strstr(fx.f.err.text, "name-of-cell-b"));
	held_by("cell-b");
	assert_int_equal(fx.array->unmaps, 0);
	assert_false(file_is_there(fx.state));
	assert_int_equal(formats(), 0);
}

static bool wanted_until_polls(void *arg)
{
	unsigned polls;

	(void)arg;
	pthread_mutex_lock(&fx.array->lock);
	polls = fx.array->polls;
	pthread_mutex_unlock(&fx.array->lock);
	return polls < 3;
}

static void r12_wait_ends_when_nobody_waits(void **state)
{
	const struct cancel cancel = { wanted_until_polls, NULL };

	(void)state;
	fake_array_hold(fx.array, "cell-b");
	assert_int_equal(mount_with("scaleio://gold/one", NULL, 0, &cancel), -ECANCELED);
	held_by("cell-b");
	assert_false(file_is_there(fx.state));
}

static void fence_after_nothing(struct attach_config *c)
{
	c->block_wait_ms = 30;
	c->fence = true;
	c->fence_s = 60;
}

static void fenced_only_by_policy(void **state)
{
	static const struct {
		bool policy, connected;
		int gone_s; /* 0: the array does not tell */
		bool fenced;
	} cases[] = { { false, false, 100000, false },
		      { true, true, 100000, false },
		      { true, false, 30, false },
		      { true, false, 0, false },
		      { true, false, 90, true } };

	(void)state;
	restart_with(wait_little);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fake_array_reset(fx.array);
		if (cases[i].policy)
			restart_with(fence_after_nothing);
		fake_array_hold(fx.array, "cell-b");
		fx.array->other_connected = cases[i].connected;
		fx.array->other_since =
			cases[i].gone_s ? (uint64_t)time(NULL) - (uint64_t)cases[i].gone_s : 0;
		assert_int_equal(mount_at(0), cases[i].fenced ? 0 : -EBUSY);
		held_by(cases[i].fenced ? "cell-a" : "cell-b");
	}
	calls_are("map unmap:cell-b map get set_used mount ");
}

static void fence_after_a_second(struct attach_config *c)
{
	c->fence = true;
	c->fence_s = 1;
}

/* Where the array tells no time, the driver has to have seen it, without a break. */
static void silence_is_measured_where_the_array_tells_no_time(void **state)
{
	uint64_t begun = clock_ms();

	(void)state;
	restart_with(fence_after_a_second);
	fake_array_hold(fx.array, "cell-b");
	assert_int_equal(mount_at(0), 0);
	assert_true(clock_ms() - begun >= 990);
	held_by("cell-a");
}

static void fence_text(void **state)
{
	struct err err;
	unsigned s;
	bool on;

	(void)state;
	assert_int_equal(attach_parse_fence("never", &on, &s, &err), 0);
	assert_false(on);
	assert_int_equal(attach_parse_fence("disconnected:300", &on, &s, &err), 0);
	assert_true(on && s == 300);
	assert_int_equal(attach_parse_fence("disconnected:0", &on, &s, &err), -EINVAL);
	assert_int_equal(attach_parse_fence("disconnected:1h", &on, &s, &err), -EINVAL);
	assert_int_equal(attach_parse_fence("always", &on, &s, &err), -EINVAL);
	assert_non_null(strstr(err.text, "'always'"));
}

/* --- the array's answers --------------------------------------------------- */

static void refusals_are_told_at_once_and_leave_nothing(void **state)
{
	static const struct {
		int rc;
		const char *sentence;
	} cases[] = { { -ENOENT, "does not exist" },
		      { -EACCES, "refuses this cell" },
		      { -EINVAL, "cannot give the volume" },
		      { -EOPNOTSUPP, "cannot be mapped" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fx.array->map_fails = cases[i].rc;
		assert_int_equal(mount_at(0), cases[i].rc);
		assert_true(fx.f.safe);
		assert_non_null(strstr(fx.f.err.text, cases[i].sentence));
		assert_null(strstr(fx.f.err.text, "secret.host"));
		calls_are("map ");
		assert_false(file_is_there(fx.state));
	}
}

static void array_that_is_away_is_asked_again(void **state)
{
	(void)state;
	fx.array->map_lost = true;
	assert_int_equal(mount_at(0), 0);
	calls_are("map map get set_used mount ");
}

static void array_that_stays_away(void **state)
{
	(void)state;
	restart_with(wait_little);
	fx.array->map_fails = -EAGAIN;
	assert_int_equal(mount_at(0), -EAGAIN);
	assert_true(fx.f.safe);
	/* It may have been done all the same. */
	assert_true(fx.array->unmaps > 0);
}

static void device_that_does_not_come_or_is_short(void **state)
{
	(void)state;
	fx.array->no_device = true;
	assert_int_equal(mount_at(0), -ETIMEDOUT);
	assert_true(fx.f.safe);
	held_by("");
	fx.array->no_device = false;
	fx.array->tells_size = 2 * FAKE_ARRAY_SIZE;
	assert_int_equal(mount_at(0), -EIO);
	assert_non_null(strstr(fx.f.err.text, "smaller"));
	held_by("");
	assert_int_equal(formats(), 0);
}

static void device_that_does_not_go_is_let_be(void **state)
{
	(void)state;
	fx.array->device_stays = true;
	assert_int_equal(mount_at(0), 0);
	assert_int_equal(unmount_at(0), 0);
	held_by("");
	assert_false(file_is_there(fx.state));
}

/* --- A2: back ---------------------------------------------------------------- */

static void device_in_use_is_kept_until_it_is_free(void **state)
{
	char link[PATH_MAX];
	int fd;

	(void)state;
	snprintf(link, sizeof link, "%s/LINK", fx.array->dir);
	assert_int_equal(mount_at(0), 0);
	fd = open(link, O_RDONLY | O_CLOEXEC); /* as a daemon that still writes */
	assert_true(fd >= 0);
	assert_int_equal(unmount_at(0), 0);
	held_by("cell-a");
	assert_true(file_is_there(fx.state));
	close(fd);
	comes_to_be_held_by("");
	state_goes();
}

static void next_mount_takes_over_what_is_leaving(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	fx.array->unmap_fails = -EAGAIN;
	assert_int_equal(unmount_at(0), 0);
	held_by("cell-a");
	assert_int_equal(mount_at(1), 0);
	assert_true(fx.world->data_was_there);
	fx.array->unmap_fails = 0;
	usleep(50000);
	held_by("cell-a");
	assert_int_equal(unmount_at(1), 0);
	held_by("");
}

static void unmap_is_tried_again(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	fx.array->unmap_fails = -EAGAIN;
	assert_int_equal(unmount_at(0), 0);
	fx.array->unmap_fails = 0;
	comes_to_be_held_by("");
	state_goes();
}

static void settle_gives_back_or_names_what_is_left(void **state)
{
	json_t *left = json_array();

	(void)state;
	assert_int_equal(mount_at(0), 0);
	fx.array->unmap_fails = -EAGAIN;
	assert_int_equal(unmount_at(0), 0);
	attach_settle(fx.attach, clock_ms() + 100, left);
	assert_int_equal(json_array_size(left), 1);
	assert_string_equal(json_string_value(json_array_get(left, 0)), "scaleio://gold/one");
	json_array_clear(left);
	fx.array->unmap_fails = 0;
	attach_settle(fx.attach, clock_ms() + PATIENCE_MS, left);
	assert_int_equal(json_array_size(left), 0);
	held_by("");
	json_decref(left);
}

/* --- restarts ---------------------------------------------------------------- */

static void restart_keeps_what_is_mounted(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	stop_driver();
	start_driver();
	usleep(50000);
	held_by("cell-a");
	assert_int_equal(mount_at(1), 0); /* by what the file says: the array is not asked */
	calls_are("map get set_used mount mount ");
	assert_int_equal(unmount_at(0), 0);
	assert_int_equal(unmount_at(1), 0);
	held_by("");
}

static void restart_gives_back_what_is_not_mounted(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	stop_driver();
	fx.world->mounted[0] = false;        /* the machine was started anew */
	fx.config.cell.sdc_guid = "another"; /* and is somebody else since */
	start_driver();
	comes_to_be_held_by("");
	state_goes();
}

static void state_file_of_a_stranger(void **state)
{
	static const char twice[] =
		"{\"Version\":1,\"Volumes\":[{\"Provider\":\"gold\",\"Source\":\"x\"},"
		"{\"Provider\":\"gold\",\"Source\":\"x\"}]}";
	static const char *const texts[] = {
		"{",
		"[]",
		"{\"Version\":2,\"Volumes\":[]}",
		"{\"Version\":1,\"Volumes\":[1]}",
		"{\"Version\":1,\"Volumes\":[{\"Provider\":\"gold\",\"Source\":\"\"}]}",
		twice,
	};
	static const char odd[] =
		"{\"Version\":1,\"Volumes\":[{\"Provider\":\"gone\",\"Source\":\"x\"},"
		"{\"Provider\":\"gold\",\"Source\":\"y\",\"Owner\":9,\"Points\":7,\"Ended\":{},\"Cell\":[],"
		"\"Handle\":3,\"Device\":[],\"Uri\":{}}]}";
	char bad[128];

	(void)state;
	snprintf(bad, sizeof bad, "%s.bad", fx.state);
	for (size_t i = 0; i <= ARRAY_LEN(texts); i++) {
		FILE *out;

		stop_driver();
		unlink(bad);
		out = fopen(fx.state, "we");
		fputs(i < ARRAY_LEN(texts) ? texts[i] : odd, out);
		fclose(out);
		start_driver();
		assert_true(file_is_there(bad) == (i < ARRAY_LEN(texts)));
	}
	state_goes();
}

static void r15_state_holds_no_secret(void **state)
{
	char text[4096] = "";
	FILE *in;
	struct stat st;

	(void)state;
	assert_int_equal(mount_at(0), 0);
	in = fopen(fx.state, "re");
	assert_non_null(in);
	assert_true(fread(text, 1, sizeof text - 1, in) > 0);
	fclose(in);
	assert_null(strstr(text, "hunter2"));
	assert_non_null(strstr(text, "\"Source\": \"scaleio://gold/one\""));
	assert_int_equal(stat(fx.state, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void state_that_cannot_be_written_fails_the_mount(void **state)
{
	(void)state;
	assert_int_equal(mkdir(fx.state, 0700), 0);
	assert_int_not_equal(mount_at(0), 0);
	assert_int_equal(fx.array->maps, 0);
	rmdir(fx.state);
	assert_int_equal(mount_at(0), 0);
}

/* --- A1: killed at every step ------------------------------------------------ */

/* A driver in a child, that mounts and unmounts, and dies at that step. True when it lived to the end. */
static bool driver_that_dies_at(unsigned step)
{
	pid_t pid;
	int status;

	fx.array->steps = 0;
	fx.array->kill_at = step;
	pid = fork();
	if (!pid) {
		start_driver();
		if (mount_at(0) || unmount_at(0))
			_exit(1);
		attach_stop(fx.attach, PATIENCE_MS);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	fx.array->kill_at = 0;
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFEXITED(status);
}

static bool image_has_data(void)
{
	char path[PATH_MAX], data[sizeof DATA] = "";
	AUTO_FD int fd = -1;

	snprintf(path, sizeof path, "%s/IMAGE", fx.array->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && pread(fd, data, sizeof data, DATA_AT) == sizeof data);
	return !strcmp(data, DATA);
}

static void killed_at_any_step_the_next_driver_puts_it_right(void **state)
{
	unsigned step = 1;
	bool ended, had_data;

	(void)state;
	stop_driver();
	for (;; step++) {
		fake_array_reset(fx.array);
		memset(fx.world->mounted, 0, sizeof fx.world->mounted);
		ended = driver_that_dies_at(step);
		had_data = image_has_data();
		start_driver();
		/* As the table of volumes: what was begun is undone, what is mounted ends some time. */
		if (!ended)
			unmount_at(0);
		comes_to_be_held_by("");
		state_goes();
		assert_int_equal(mount_at(1), 0);
		assert_true(fx.world->data_was_there == had_data);
		assert_int_equal(unmount_at(1), 0);
		held_by("");
		stop_driver();
		if (ended)
			break;
	}
	assert_int_equal(step, 12); /* eleven steps, and a run that ends */
}

/* --- OneFS --------------------------------------------------------------------- */

static void share_is_opened_for_the_cell_and_closed_after_its_last_name(void **state)
{
	(void)state;
	assert_int_equal(mount_with("onefs://isi/files", NULL, 0, NULL), 0);
	assert_string_equal(fx.world->uri, "nfs://nas/export");
	assert_int_equal(mount_with("onefs://isi/files", NULL, 1, NULL), 0);
	held_by("10.0.0.1");
	calls_are("map mount mount ");
	assert_int_equal(unmount_at(1), 0);
	held_by("10.0.0.1");
	assert_int_equal(unmount_at(0), 0);
	held_by("");
	calls_are("unmount unmount unmap:10.0.0.1 ");
}

static void new_entry_that_is_not_seen_yet_is_waited_for(void **state)
{
	(void)state;
	fx.config.poll_ms = 50;
	restart_with(fence_after_a_second); /* whose policy does not matter here */
	fx.world->denied = 3;
	assert_int_equal(mount_with("onefs://isi/files", NULL, 0, NULL), 0);
	calls_are("map mount mount mount mount ");
	fx.world->denied = 1000;
	assert_int_equal(mount_with("onefs://isi/files", NULL, 1, NULL), -EACCES);
	assert_true(fx.world->denied >= 1000 - ATTACH_ACCESS_TRIES);
	held_by("10.0.0.1"); /* the other name is used */
}

/* --- sources --------------------------------------------------------------------- */

static void claims(void **state)
{
	static const struct {
		const char *uri, *volume, *sentence; /* NULL: works */
	} cases[] = {
		{ "scaleio://gold/one", NULL, NULL },
		{ "scaleio://gold/4f1c", "{\"owner\":\"one\",\"handle\":{\"id\":\"4f1c\"}}", NULL },
		{ "scaleio://gold/one", "{\"provider\":\"gold\"}", NULL },
		{ "scaleio://silver/one", NULL, "does not know" },
		{ "scaleio://isi/one", NULL, "does not know" },
		{ "onefs://gold/one", NULL, "does not know" },
		{ "scaleio://gold", NULL, "names no volume" },
		{ "scaleio://gold/", NULL, "names no volume" },
		{ "scaleio://gold/one", "{\"provider\":\"isi\"}", "different arrays" },
		{ "image:/x/y", NULL, "wants owner and plan" },
		{ "image:/x/y", "{\"owner\":\"one\"}", "wants owner and plan" },
		{ "image:/x/y", "{\"owner\":\"one\",\"plan\":{},\"provider\":\"gold\"}",
		  "does not know" },
		{ "scaleio://", NULL, "names no volume" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *volume = cases[i].volume ? json_loads(cases[i].volume, 0, NULL) : NULL;
		int rc = mount_with(cases[i].uri, volume, 0, NULL);

		json_decref(volume);
		assert_int_equal(rc, cases[i].sentence ? -EINVAL : 0);
		if (rc)
			assert_non_null(strstr(fx.f.err.text, cases[i].sentence));
		assert_true(!rc == !fake_array_is_held_by(fx.array, ""));
		if (!rc)
			assert_int_equal(unmount_at(0), 0);
	}
}

static void source_alone_or_what_the_broker_knows_names_the_volume(void **state)
{
	json_t *volume = json_pack("{s:s, s:{s:s}}", "owner", "inst", "handle", "id", "77");

	(void)state;
	assert_int_equal(mount_with("scaleio://gold/4f1c", NULL, 0, NULL), 0);
	assert_string_equal(fx.array->owner, "");
	assert_string_equal(fx.array->handle, "{\"id\": \"4f1c\"}");
	assert_int_equal(mount_with("scaleio://gold/4f1c", volume, 1, NULL), 0);
	assert_int_equal(fx.array->maps, 1); /* it is the same one */
	assert_int_equal(unmount_at(0), 0);
	assert_int_equal(unmount_at(1), 0);
	assert_int_equal(mount_with("scaleio://gold/4f1c", volume, 0, NULL), 0);
	assert_string_equal(fx.array->owner, "inst");
	assert_string_equal(fx.array->handle, "{\"id\": \"77\"}");
	assert_int_equal(unmount_at(0), 0);
	assert_int_equal(mount_with("onefs://isi/cf-x?path=/ifs/a/cf-x&zone=z", NULL, 0, NULL), 0);
	assert_string_equal(fx.array->handle,
			    "{\"name\": \"cf-x\", \"path\": \"/ifs/a/cf-x\", \"zone\": \"z\"}");
	json_decref(volume);
}

static void image_is_used_where_it_lies(void **state)
{
	json_t *volume = json_pack("{s:s, s:{s:s}, s:s}", "owner", "inst", "plan", "kind", "image",
				   "provider", "here");
	char image[PATH_MAX], want[PATH_MAX + 16];

	(void)state;
	snprintf(image, sizeof image, "%s/IMAGE", fx.array->dir);
	snprintf(want, sizeof want, "ext4:%s", image);
	assert_int_equal(mount_with("image:/srv/cf-x", volume, 0, NULL), 0);
	assert_string_equal(fx.world->uri, want);
	assert_int_equal(formats(), 1);
	assert_int_equal(unmount_at(0), 0);
	held_by("");
	assert_true(file_is_there(image));
	json_decref(volume);
}

static void sources_are_those_of_the_configuration(void **state)
{
	const char *const *sources = attach_sources(fx.attach);

	(void)state;
	assert_string_equal(sources[0], "scaleio://gold");
	assert_string_equal(sources[1], "onefs://isi");
	assert_string_equal(sources[2], "image:");
	assert_null(sources[3]);
}

static void bad_provider_stops_the_start(void **state)
{
	json_t *providers = json_pack("{s:{s:s}, s:{s:s}}", "gold", "type", "scaleio", "lead",
				      "type", "alchemy");
	struct attach_config c = fx.config;
	struct attach *a = NULL;
	struct err err = { "" };

	(void)state;
	c.providers = providers;
	assert_int_equal(attach_new(&c, &a, &err), -EINVAL);
	assert_non_null(strstr(err.text, "lead"));
	json_decref(providers);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(other_sources_pass_through),
		T(first_mount_maps_formats_marks_then_mounts),
		T(last_unmount_gives_back),
		T(formatted_once),
		T(names_of_a_volume_share_its_mapping),
		T(parallel_mounts_map_once),
		T(failed_mount_gives_back),
		T(failed_unmount_keeps_it),
		T(format_rules),
		T(not_mounted_before_the_mark_is_gone),
		T(lost_answer_of_the_mark_formats_no_second_time),
		T(failing_mkfs_is_told),
		T(waits_until_another_cell_lets_go),
		T(names_the_holder_that_does_not_let_go),
		T(r12_wait_ends_when_nobody_waits),
		T(fenced_only_by_policy),
		T(silence_is_measured_where_the_array_tells_no_time),
		T(fence_text),
		T(refusals_are_told_at_once_and_leave_nothing),
		T(array_that_is_away_is_asked_again),
		T(array_that_stays_away),
		T(device_that_does_not_come_or_is_short),
		T(device_that_does_not_go_is_let_be),
		T(device_in_use_is_kept_until_it_is_free),
		T(next_mount_takes_over_what_is_leaving),
		T(unmap_is_tried_again),
		T(settle_gives_back_or_names_what_is_left),
		T(restart_keeps_what_is_mounted),
		T(restart_gives_back_what_is_not_mounted),
		T(state_file_of_a_stranger),
		T(r15_state_holds_no_secret),
		T(state_that_cannot_be_written_fails_the_mount),
		T(killed_at_any_step_the_next_driver_puts_it_right),
		T(share_is_opened_for_the_cell_and_closed_after_its_last_name),
		T(new_entry_that_is_not_seen_yet_is_waited_for),
		T(claims),
		T(source_alone_or_what_the_broker_knows_names_the_volume),
		T(image_is_used_where_it_lies),
		T(sources_are_those_of_the_configuration),
		T(bad_provider_stops_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
