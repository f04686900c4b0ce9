/* SPDX-License-Identifier: Apache-2.0 */
/* The SDC, with scripts in drv_cfg's place and a file in that of its node: a file takes no ioctl. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/sdc.h"

#define GUID "2B7E1C90-4D55-4E0B-9A61-0F3C8D1172AA"
#define SYSTEM "5e8d0c3a7b91f20f"
#define VOLUME "4f1c20a900000003"
#define NOWHERE "/nonexistent/drv_cfg"

static char dir[64], program[96], node[96], link_path[96], asked[96];
static struct sdc_host host;
static struct err err;

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
	chmod(path, mode);
}

static void drv_cfg_is(const char *script)
{
	char text[600];

	snprintf(text, sizeof text, "#!/bin/sh\necho \"$*\" >>%s\n%s\n", asked, script);
	write_file(program, text, 0755);
	host.drv_cfg = program;
}

static int up(void **state)
{
	(void)state;
	log_level = LOG_LEVEL_ERROR;
	err.text[0] = '\0';
	strcpy(dir, "/tmp/persifs-sdc.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(program, sizeof program, "%s/drv_cfg", dir);
	snprintf(node, sizeof node, "%s/scini", dir);
	snprintf(link_path, sizeof link_path, "%s/link", dir);
	snprintf(asked, sizeof asked, "%s/asked", dir);
	host = (struct sdc_host){ .drv_cfg = NOWHERE, .node = "/nonexistent/scini" };
	return 0;
}

static int down(void **state)
{
	(void)state;
	unlink(program);
	unlink(node);
	unlink(link_path);
	unlink(asked);
	return rmdir(dir);
}

/* ---- answers ----------------------------------------------------------- */

static void guid_is_found_in_text(void **state)
{
	static const struct {
		const char *text, *guid;
	} cases[] = {
		{ GUID "\n", GUID },
		{ "About to query: " GUID, GUID },
		{ "2b7e1c90-4d55-4e0b-9a61-0f3c8d1172aa", "2b7e1c90-4d55-4e0b-9a61-0f3c8d1172aa" },
		{ GUID "B", NULL },
		{ "A" GUID, NULL },
		{ "2B7E1C904-D55-4E0B-9A61-0F3C8D1172AA", NULL },
		{ "------------------------------------", NULL },
		{ "2B7E1C90-4D55-4E0B-9A61-0F3C8D1172A", NULL },
		{ "", NULL },
	};
	char out[SDC_GUID_LEN + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		strcpy(out, "untouched");
		assert_int_equal(sdc_guid_of_text(cases[i].text, out), cases[i].guid != NULL);
		assert_string_equal(out, cases[i].guid ? cases[i].guid : "untouched");
	}
}

static void guid_is_read_from_bytes(void **state)
{
	uint8_t b[32] = { 65,   0,    0,    0,    0,    0,    0,    0,    0x2b, 0x7e, 0x1c, 0x90,
			  0x4d, 0x55, 0x4e, 0x0b, 0x9a, 0x61, 0x0f, 0x3c, 0x8d, 0x11, 0x72, 0xaa };
	char out[SDC_GUID_LEN + 1] = "untouched";

	(void)state;
	for (size_t len = 0; len < 24; len++)
		assert_false(sdc_guid_of_bytes(b, len, out));
	assert_true(sdc_guid_of_bytes(b, 24, out));
	assert_string_equal(out, GUID);
	assert_true(sdc_guid_of_bytes(b, sizeof b, out));
	b[0] = 66;
	assert_false(sdc_guid_of_bytes(b, sizeof b, out));
	assert_false(sdc_done_of_bytes(b, sizeof b));
	b[0] = 65;
	assert_true(sdc_done_of_bytes(b, 1));
	assert_false(sdc_done_of_bytes(b, 0));
	memset(b + 8, 0, 16);
	assert_false(sdc_guid_of_bytes(b, sizeof b, out));
}

static void volumes_are_read_from_text(void **state)
{
	static const char text[] = "Retrieved 2 volume(s)\nVOL-ID " VOLUME " MDM-ID " SYSTEM "\n"
				   "VOL-ID 4F1C20A900000004 MDM-ID 5E8D0C3A7B91F20F \n";
	static const char *const bad[] = {
		"",
		"VOL-ID",
		"VOL-ID " VOLUME,
		"VOL-ID " VOLUME " MDM-ID",
		"VOL-ID " VOLUME " MDM-ID 5e8d0c3a7b91f20", /* cut */
		"VOL-ID " VOLUME "0 MDM-ID " SYSTEM,        /* too long */
		"VOL-ID g f1c20a900000003 MDM-ID " SYSTEM,
		"XVOL-ID " VOLUME " MDM-ID " SYSTEM,
		"VOL-ID " VOLUME " SDC-ID " SYSTEM,
	};
	struct sdc_volume v[4];

	(void)state;
	assert_int_equal(sdc_volumes_of_text(text, v, 4), 2);
	assert_string_equal(v[0].volume, VOLUME);
	assert_string_equal(v[0].system, SYSTEM);
	assert_string_equal(v[1].volume, "4f1c20a900000004");
	assert_string_equal(v[1].system, SYSTEM);
	assert_int_equal(sdc_volumes_of_text(text, v, 1), 1);
	assert_int_equal(sdc_volumes_of_text(text, v, 0), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(sdc_volumes_of_text(bad[i], v, 4), 0);
	/* What is wrong in one hides no other. */
	assert_int_equal(sdc_volumes_of_text("VOL-ID VOL-ID " VOLUME " MDM-ID " SYSTEM, v, 4), 1);
}

static void names_become_paths(void **state)
{
	struct sdc_volume v;
	char buf[64], link[96];

	(void)state;
	assert_int_equal(sdc_path("/d", "/dev/disk/by-id/emc-vol-1-2", buf, sizeof buf), 0);
	assert_string_equal(buf, "/d/emc-vol-1-2");
	assert_int_equal(sdc_path("/d", "emc-vol-1-2", buf, sizeof buf), 0);
	assert_string_equal(buf, "/d/emc-vol-1-2");
	assert_int_equal(sdc_path("/d", "/srv/x.img", buf, sizeof buf), 0);
	assert_string_equal(buf, "/srv/x.img");
	assert_int_equal(sdc_path("/d", "x", buf, 4), -ENAMETOOLONG);
	assert_true(sdc_volume_make("5E8D0C3A7B91F20F", VOLUME, &v));
	assert_int_equal(sdc_link(NULL, &v, link, sizeof link), 0);
	assert_string_equal(link, "/dev/disk/by-id/emc-vol-" SYSTEM "-" VOLUME);
	assert_int_equal(sdc_link("/d", &v, link, sizeof link), 0);
	assert_string_equal(link, "/d/emc-vol-" SYSTEM "-" VOLUME);
	assert_false(sdc_volume_make("../../etc/passwd", VOLUME, &v));
	assert_false(sdc_volume_make(SYSTEM, "", &v));
	assert_false(sdc_volume_make(SYSTEM "0", VOLUME, &v));
}

/* ---- asking ------------------------------------------------------------ */

static void nobody_to_ask_is_said(void **state)
{
	char out[SDC_GUID_LEN + 1];
	struct sdc_volume v;

	(void)state;
	assert_true(sdc_volume_make(SYSTEM, VOLUME, &v));
	assert_int_equal(sdc_guid(&host, NULL, out, &err), -ENOENT);
	assert_true(err.text[0]);
	assert_int_equal(sdc_rescan(&host, NULL, &err), -ENOENT);
	assert_int_equal(sdc_has_volume(&host, &v, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, NOWHERE));
}

static void drv_cfg_is_asked(void **state)
{
	char out[SDC_GUID_LEN + 1], line[64] = "";
	struct sdc_volume v;
	FILE *in;

	(void)state;
	assert_true(sdc_volume_make(SYSTEM, VOLUME, &v));
	drv_cfg_is("[ \"$1\" != --query_guid ] || echo " GUID "\n"
		   "[ \"$1\" != --query_vols ] || printf 'Retrieved 1 volume(s)\\nVOL-ID " VOLUME
		   " MDM-ID " SYSTEM "\\n'");
	assert_int_equal(sdc_guid(&host, NULL, out, &err), 0);
	assert_string_equal(out, GUID);
	assert_int_equal(sdc_has_volume(&host, &v, NULL, &err), 1);
	assert_true(sdc_volume_make(SYSTEM, "4f1c20a900000004", &v));
	assert_int_equal(sdc_has_volume(&host, &v, NULL, &err), 0);
	unlink(asked);
	assert_int_equal(sdc_rescan(&host, NULL, &err), 0);
	in = fopen(asked, "re");
	assert_non_null(in);
	assert_non_null(fgets(line, sizeof line, in));
	fclose(in);
	assert_string_equal(line, "--rescan\n");
}

static void failures_have_sentences(void **state)
{
	char out[SDC_GUID_LEN + 1];

	(void)state;
	drv_cfg_is("echo no connection; exit 3");
	assert_int_equal(sdc_guid(&host, NULL, out, &err), -EIO);
	assert_non_null(strstr(err.text, "no connection"));
	assert_non_null(strstr(err.text, "status 3"));
	assert_int_equal(sdc_rescan(&host, NULL, &err), -EIO);
	drv_cfg_is("echo nothing of use");
	assert_int_equal(sdc_guid(&host, NULL, out, &err), -EPROTO);
	assert_non_null(strstr(err.text, "nothing of use"));
}

/* The node alone, which is what a container has. */
static void the_node_is_asked_where_there_is_no_program(void **state)
{
	char out[SDC_GUID_LEN + 1];

	(void)state;
	write_file(node, "", 0600);
	host.node = node;
	assert_int_equal(sdc_guid(&host, NULL, out, &err), -ENOTTY);
	assert_non_null(strstr(err.text, node));
	assert_int_equal(sdc_rescan(&host, NULL, &err), -ENOTTY);
	/* A program that fails is told of, not the node that was asked for want of it. */
	drv_cfg_is("exit 3");
	assert_int_equal(sdc_rescan(&host, NULL, &err), -EIO);
	assert_non_null(strstr(err.text, program));
}

static void a_device_that_does_not_come_is_asked_for(void **state)
{
	char script[200];
	uint64_t start = clock_us();

	(void)state;
	snprintf(script, sizeof script, "[ \"$1\" != --rescan ] || ln -s %s %s", dir, link_path);
	drv_cfg_is(script);
	host.rescan_ms = 100;
	assert_int_equal(sdc_wait(&host, link_path, 50, NULL), -ETIMEDOUT);
	assert_int_equal(access(asked, F_OK), -1);
	assert_int_equal(sdc_wait(&host, link_path, 60000, NULL), 0);
	assert_true(clock_us() - start < 30000000);
	assert_int_equal(sdc_wait(&host, link_path, 0, NULL), 0);
}

static bool nobody_waits(void *arg)
{
	(void)arg;
	return false;
}

static void who_is_not_waited_for_ends(void **state)
{
	const struct cancel cancel = { nobody_waits, NULL };

	(void)state;
	assert_int_equal(sdc_wait(&host, link_path, 600000, &cancel), -ECANCELED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(guid_is_found_in_text),
		TEST(guid_is_read_from_bytes),
		TEST(volumes_are_read_from_text),
		TEST(names_become_paths),
		TEST(nobody_to_ask_is_said),
		TEST(drv_cfg_is_asked),
		TEST(failures_have_sentences),
		TEST(the_node_is_asked_where_there_is_no_program),
		TEST(a_device_that_does_not_come_is_asked_for),
		TEST(who_is_not_waited_for_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
