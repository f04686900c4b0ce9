/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

#include "tools/driver/metrics.h"

/* A mount of a daemon with two sessions, another mount of the same, and one that is unmounted. */
static char *scrape(json_t *stat)
{
	static char name[] = "a\"b\\c", point[] = "/root/x", none[] = "", other[] = "other";
	const struct volume_info infos[3] = {
		{ .name = name, .point = point, .state = VOLUME_MOUNTED },
		{ .name = other, .point = point, .state = VOLUME_MOUNTED },
		{ .name = none, .point = none },
	};
	const struct census_entry entries[3] = { { point, "0:51", stat }, { point, "0:52", stat } };
	static struct metrics m;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	memset(&m, 0, sizeof m);
	metrics_count(&m, OP_MOUNT, false, 30000);
	metrics_count(&m, OP_MOUNT, true, 500000000);
	metrics_print(out, &m, infos, entries, 3);
	fclose(out);
	return text;
}

static void metrics_are_prometheus_text(void **state)
{
	json_t *stat = json_pack("{s:s, s:i, s:{s:i, s:s, s:i}}", "volume", "key", "dirty_bytes", 5,
				 "counters", "fuse_read", 7, "bad", "x", "evil} 1\n", 3);
	char *text = scrape(stat);

	(void)state;
	assert_non_null(strstr(text, "persifs_driver_requests_total{route=\"mount\"} 2\n"));
	assert_non_null(strstr(text, "persifs_driver_errors_total{route=\"mount\"} 1\n"));
	assert_non_null(strstr(text, "mount_duration_seconds_bucket{le=\"0.02\"} 0\n"));
	assert_non_null(strstr(text, "mount_duration_seconds_bucket{le=\"0.05\"} 1\n"));
	assert_non_null(strstr(text, "mount_duration_seconds_bucket{le=\"+Inf\"} 2\n"));
	assert_non_null(strstr(text, "mount_duration_seconds_count 2\n"));
	assert_non_null(strstr(text, "persifs_up{mount=\"a\\\"b\\\\c\"} 1\n"));
	assert_non_null(strstr(text, "persifs_fuse_read_total{volume=\"key\"} 7\n"));
	assert_non_null(strstr(text, "persifs_dirty_bytes{volume=\"key\"} 5\n"));
	assert_null(strstr(text, "evil"));
	free(text);
	json_decref(stat);
}

static void a_daemon_with_two_mounts_is_told_once(void **state)
{
	json_t *stat = json_pack("{s:s, s:i, s:{s:i}}", "volume", "key", "dirty_bytes", 5,
				 "counters", "fuse_read", 7);
	char *text = scrape(stat), *one = strstr(text, "persifs_dirty_bytes{");

	(void)state;
	assert_non_null(one);
	assert_null(strstr(one + 1, "persifs_dirty_bytes{"));
	one = strstr(text, "persifs_fuse_read_total{");
	assert_non_null(one);
	assert_null(strstr(one + 1, "persifs_fuse_read_total{"));
	free(text);
	json_decref(stat);
}

static void each_session_has_its_own_and_each_mount_leads_to_one(void **state)
{
	json_t *stat =
		json_pack("{s:s, s:[{s:s, s:i, s:i, s:i, s:i, s:i}, {s:s, s:i, s:i, s:s}, i]}",
			  "volume", "key", "sessions", "device", "0:51", "uid", 1000, "gid", 100,
			  "requests", 9, "read_bytes", 8, "write_bytes", 7, "device", "0:52", "uid",
			  -1, "requests", 6, "read_bytes", "no number", 5);
	char *text = scrape(stat);

	(void)state;
	assert_non_null(strstr(text, "persifs_session_requests_total{volume=\"key\",session="
				     "\"0:51\",uid=\"1000\",gid=\"100\"} 9\n"));
	assert_non_null(strstr(text, "persifs_session_read_bytes_total{volume=\"key\",session="
				     "\"0:51\",uid=\"1000\",gid=\"100\"} 8\n"));
	assert_non_null(strstr(text, "persifs_session_write_bytes_total{volume=\"key\",session="
				     "\"0:51\",uid=\"1000\",gid=\"100\"} 7\n"));
	assert_non_null(strstr(text, "persifs_session_requests_total{volume=\"key\",session="
				     "\"0:52\",uid=\"\",gid=\"0\"} 6\n"));
	assert_null(strstr(text, "no number"));
	assert_non_null(strstr(
		text, "persifs_mount_info{mount=\"other\",volume=\"key\",session=\"0:52\"} 1\n"));
	free(text);
	json_decref(stat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metrics_are_prometheus_text),
		cmocka_unit_test(a_daemon_with_two_mounts_is_told_once),
		cmocka_unit_test(each_session_has_its_own_and_each_mount_leads_to_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
