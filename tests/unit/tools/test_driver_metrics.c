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

static void metrics_are_prometheus_text(void **state)
{
	static char name[] = "a\"b\\c", point[] = "/root/x", none[] = "";
	struct volume_info infos[2] = { { .name = name, .point = point, .state = VOLUME_MOUNTED },
					{ .name = none, .point = none } };
	json_t *stats[2] = { json_pack("{s:s, s:i, s:{s:i, s:s, s:i}}", "volume", "key",
				       "dirty_bytes", 5, "counters", "fuse_read", 7, "bad", "x",
				       "evil} 1\n", 3),
			     NULL };
	static struct metrics m;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	metrics_count(&m, OP_MOUNT, false, 30000);
	metrics_count(&m, OP_MOUNT, true, 500000000);
	metrics_print(out, &m, infos, stats, 2);
	fclose(out);
	assert_non_null(strstr(text, "persifs_driver_requests_total{route=\"mount\"} 2\n"));
	assert_non_null(strstr(text, "persifs_driver_errors_total{route=\"mount\"} 1\n"));
	assert_non_null(strstr(text, "mount_duration_seconds_bucket{le=\"0.02\"} 0\n"));
	assert_non_null(strstr(text, "mount_duration_seconds_bucket{le=\"0.05\"} 1\n"));
	assert_non_null(strstr(text, "mount_duration_seconds_bucket{le=\"+Inf\"} 2\n"));
	assert_non_null(strstr(text, "mount_duration_seconds_count 2\n"));
	assert_non_null(strstr(text, "persifs_up{mount=\"a\\\"b\\\\c\"} 1\n"));
	assert_non_null(
		strstr(text, "persifs_fuse_read_total{volume=\"key\",mount=\"a\\\"b\\\\c\"} 7\n"));
	assert_non_null(
		strstr(text, "persifs_dirty_bytes{volume=\"key\",mount=\"a\\\"b\\\\c\"} 5\n"));
	assert_null(strstr(text, "evil"));
	free(text);
	json_decref(stats[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metrics_are_prometheus_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
