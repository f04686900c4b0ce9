/* SPDX-License-Identifier: Apache-2.0 */
/* Devices by their ScaleIO volumes: images and links of the simulated array, opened as the kernel's would be. */
#include "tests/unit/tools/sim_scaleio.h"

#include "backends/block/exclusive.h"
#include "backends/block/sdc.h"
#include "common/log.h"

#define GIB ((uint64_t)1 << 30)
#define VOLUME_BYTES (8 * GIB)
#define VOLUME "4f1c20a900000003"
#define BLOCK 4096u

static struct err err;

static int up(void **state)
{
	log_level = LOG_LEVEL_ERROR;
	err.text[0] = '\0';
	return setup_backed(state);
}

static const char *links_of(const char *guid)
{
	static char path[160];

	snprintf(path, sizeof path, "%s/sdc/%s/dev/disk/by-id", fx.root, guid);
	return path;
}

/* The volume's URI on the machine of that SDC, which has no drv_cfg; more: further parameters. */
static const char *uri_of(const char *guid, const char *id, const char *more)
{
	static char uri[512];

	snprintf(uri, sizeof uri, "scaleio:" SYSTEM "/%s?dir=%s&drv_cfg=/nonexistent%s%s", id,
		 links_of(guid), *more ? "&" : "", more);
	return uri;
}

/* By threads: valgrind stands still while a thread waits in a ring. */
static int open_uri(const char *uri, struct bd **out)
{
	const struct bd_env env = { .engine = BD_THREADS, .busy_ms = 50 };

	return bd_open(uri, NULL, &env, out, &err);
}

static struct bd *opened(const char *uri)
{
	struct bd *dev = NULL;

	if (open_uri(uri, &dev))
		fail_msg("%s", err.text);
	return dev;
}

static void refuses(const char *uri, int rc, const char *text)
{
	struct bd *dev = NULL;

	assert_int_equal(open_uri(uri, &dev), rc);
	assert_null(dev);
	if (!strstr(err.text, text))
		fail_msg("'%s' does not say '%s'", err.text, text);
}

static void put_block(struct bd *dev, uint64_t off, char fill)
{
	AUTO_FREE char *buf = aligned_alloc(BLOCK, BLOCK);

	memset(buf, fill, BLOCK);
	assert_int_equal(bd_write(dev, buf, BLOCK, off, 0), 0);
	assert_int_equal(bd_flush(dev), 0);
}

static char block_at(struct bd *dev, uint64_t off)
{
	AUTO_FREE char *buf = aligned_alloc(BLOCK, BLOCK);

	assert_int_equal(bd_read(dev, buf, BLOCK, off), 0);
	return buf[BLOCK - 1];
}

/* ---- names ------------------------------------------------------------- */

static int parse(const char *text, struct bd_sdc *out)
{
	static struct uri u;

	assert_int_equal(uri_parse(text, &u, &err), 0);
	return bd_sdc_parse(&u, out, &err);
}

static void a_uri_is_read(void **state)
{
	struct bd_sdc v;

	(void)state;
	assert_int_equal(parse("scaleio:5E8D0C3A7B91F20F/" VOLUME "?size=8589934592&dir=/d&wait=7"
			       "&drv_cfg=/x/drv_cfg&engine=threads",
			       &v),
			 0);
	assert_string_equal(v.id.system, SYSTEM);
	assert_string_equal(v.id.volume, VOLUME);
	assert_string_equal(v.dir, "/d");
	assert_string_equal(v.host.drv_cfg, "/x/drv_cfg");
	assert_int_equal(v.size, VOLUME_BYTES);
	assert_int_equal(v.wait_ms, 7000);
	assert_int_equal(parse("scaleio:" SYSTEM "/" VOLUME, &v), 0);
	assert_null(v.dir);
	assert_int_equal(v.size, 0);
	assert_int_equal(v.wait_ms, BD_SDC_WAIT_S * 1000);
}

static void a_uri_that_names_no_volume_is_refused(void **state)
{
	static const char *const bad[] = {
		"scaleio:",
		"scaleio:" SYSTEM,
		"scaleio:" SYSTEM "/",
		"scaleio:/" VOLUME,
		"scaleio://" SYSTEM "/" VOLUME,
		"scaleio:" SYSTEM "/" VOLUME "/x",
		"scaleio:" SYSTEM "/../../../../dev/sda1",
		"scaleio:" SYSTEM "/4f1c20a90000000g",
		"scaleio:" SYSTEM "0/" VOLUME,
		"scaleio:" SYSTEM "/" VOLUME "?size=8g",
		"scaleio:" SYSTEM "/" VOLUME "?size=-1",
		"scaleio:" SYSTEM "/" VOLUME "?wait=3601",
		"scaleio:" SYSTEM "/" VOLUME "?dir=by-id",
		"scaleio:" SYSTEM "/" VOLUME "?drv_cfg=drv_cfg",
	};
	struct bd_sdc v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		err.text[0] = '\0';
		if (parse(bad[i], &v) != -EINVAL)
			fail_msg("%s is taken", bad[i]);
		assert_true(err.text[0]);
	}
}

/* ---- devices ----------------------------------------------------------- */

static void a_mapped_volume_is_a_device_of_one(void **state)
{
	char size[64];
	struct bd *dev;
	id_text id;

	(void)state;
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	snprintf(size, sizeof size, "size=%" PRIu64, VOLUME_BYTES);
	dev = opened(uri_of(GUID1, id, size));
	assert_int_equal(atomic_load(&dev->size), VOLUME_BYTES);
	put_block(dev, VOLUME_BYTES - BLOCK, 'x');
	refuses(uri_of(GUID1, id, ""), -EBUSY, "in use");
	bd_close(dev);
	dev = opened(uri_of(GUID1, id, ""));
	assert_int_equal(block_at(dev, VOLUME_BYTES - BLOCK), 'x');
	bd_close(dev);
	succeeds(unmap_guid(id, GUID1));
}

static void a_device_is_waited_for(void **state)
{
	struct bd *dev;
	id_text id;

	(void)state;
	restart("device_delay_ms=150", NULL);
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	dev = opened(uri_of(GUID1, id, "wait=20"));
	bd_close(dev);
}

static void a_device_smaller_than_the_array_says_is_refused(void **state)
{
	struct bd *dev;
	id_text id;

	(void)state;
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	refuses(uri_of(GUID1, id, "size=17179869184"), -EIO, "8589934592");
	assert_non_null(strstr(err.text, "17179869184"));
	succeeds(act(id, "setVolumeSize", "{\"sizeInGB\":\"16\"}"));
	dev = opened(uri_of(GUID1, id, "size=17179869184"));
	bd_close(dev);
}

static void an_open_device_grows(void **state)
{
	struct bd *dev;
	id_text id;

	(void)state;
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	dev = opened(uri_of(GUID1, id, ""));
	succeeds(act(id, "setVolumeSize", "{\"sizeInGB\":\"16\"}"));
	assert_int_equal(bd_resize(dev), 0);
	assert_int_equal(atomic_load(&dev->size), 2 * VOLUME_BYTES);
	put_block(dev, 2 * VOLUME_BYTES - BLOCK, 'y');
	bd_close(dev);
}

/* ---- what is missing --------------------------------------------------- */

static void script(const char *path, const char *text)
{
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	fprintf(out, "#!/bin/sh\n%s\n", text);
	fclose(out);
	chmod(path, 0755);
}

static void one_that_does_not_come_is_explained(void **state)
{
	char program[128], more[160], text[160], link[256], uri[640];
	id_text id;

	(void)state;
	make("a", id);
	refuses(uri_of(GUID1, id, "wait=0"), -ETIMEDOUT, "did not appear within 0 seconds");
	snprintf(program, sizeof program, "%s/drv_cfg", fx.dir);
	snprintf(uri, sizeof uri, "scaleio:" SYSTEM "/%s?dir=%s&wait=0&drv_cfg=%s", id,
		 links_of(GUID1), program);
	script(program, "echo Retrieved 0 volume\\(s\\)");
	refuses(uri, -ETIMEDOUT, "is it mapped to this host?");
	snprintf(text, sizeof text, "echo VOL-ID %s MDM-ID " SYSTEM, id);
	script(program, text);
	refuses(uri, -ETIMEDOUT, "the SDC has the volume");
	/* A container that got the link, and not the device. */
	succeeds(map_guid(id, GUID1, "FALSE"));
	snprintf(link, sizeof link, "%s/emc-vol-" SYSTEM "-%s", links_of(GUID1), id);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("/nonexistent/scinia", link), 0);
	snprintf(more, sizeof more, "wait=0");
	refuses(uri_of(GUID1, id, more), -ETIMEDOUT, "leads to nothing");
}

static void a_link_to_something_else_is_refused(void **state)
{
	char link[256];
	id_text id;

	(void)state;
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	snprintf(link, sizeof link, "%s/emc-vol-" SYSTEM "-%s", links_of(GUID1), id);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("/dev/null", link), 0);
	refuses(uri_of(GUID1, id, ""), -ENOTBLK, "neither a block device nor a file");
}

static void parameters_of_others_are_the_file_transports(void **state)
{
	struct bd *dev;
	id_text id;

	(void)state;
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	dev = opened(uri_of(GUID1, id, "engine=threads"));
	bd_close(dev);
	refuses(uri_of(GUID1, id, "engine=steam"), -EINVAL, "steam");
	refuses(uri_of(GUID1, id, "nonsense=1"), -EINVAL, "nonsense");
}

/* ---- by number --------------------------------------------------------- */

struct opener {
	char path[256];
	unsigned calls, number;
};

/* As a mount's opener: of what it was configured with. */
static int open_configured(void *arg, unsigned n, uint32_t limit_ms, struct err *e)
{
	struct opener *o = arg;

	o->calls++;
	o->number = n;
	return bd_exclusive_open(o->path, 0, limit_ms, e);
}

static void who_opens_nothing_has_it_opened(void **state)
{
	struct opener o = { .calls = 0 };
	struct bd_env env = {
		.open_device = open_configured, .open_arg = &o, .engine = BD_THREADS, .busy_ms = 50
	};
	struct bd_sdc v = { .wait_ms = 5000 };
	struct bd *dev = NULL;
	id_text id;

	(void)state;
	make("a", id);
	succeeds(map_guid(id, GUID1, "FALSE"));
	assert_true(sdc_volume_make(SYSTEM, id, &v.id));
	v.dir = links_of(GUID1);
	assert_int_equal(bd_sdc_find(&v, NULL, o.path, sizeof o.path, &err), 0);
	if (bd_open(uri_of(GUID1, id, "size=8589934592"), NULL, &env, &dev, &err))
		fail_msg("%s", err.text);
	assert_int_equal(o.calls, 1);
	assert_int_equal(o.number, 0);
	put_block(dev, 0, 'z');
	bd_close(dev);
	assert_int_equal(bd_open(uri_of(GUID1, id, "size=8589934593"), NULL, &env, &dev, &err),
			 -EIO);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_uri_is_read),
		TEST(a_uri_that_names_no_volume_is_refused),
		TEST(a_mapped_volume_is_a_device_of_one),
		TEST(a_device_is_waited_for),
		TEST(a_device_smaller_than_the_array_says_is_refused),
		TEST(an_open_device_grows),
		TEST(one_that_does_not_come_is_explained),
		TEST(a_link_to_something_else_is_refused),
		TEST(parameters_of_others_are_the_file_transports),
		TEST(who_opens_nothing_has_it_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
