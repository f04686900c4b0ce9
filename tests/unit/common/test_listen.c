/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/listen.h"

static struct listen_addr a;
static struct err err;

static void addresses_are_parsed(void **state)
{
	(void)state;
	assert_int_equal(listen_parse("unix:/run/x.sock", &a, &err), 0);
	assert_true(a.is_unix && a.is_loopback);
	assert_int_equal(listen_parse("tcp:127.0.0.1:7589", &a, &err), 0);
	assert_true(!a.is_unix && a.is_loopback);
	assert_int_equal(listen_parse("tcp:[::1]:7589", &a, &err), 0);
	assert_true(a.is_loopback);
	assert_int_equal(listen_parse("tcp:0.0.0.0:1", &a, &err), 0);
	assert_false(a.is_loopback);
	assert_int_equal(listen_parse("tcp:[::]:1", &a, &err), 0);
	assert_false(a.is_loopback);
}

static void nonsense_is_named(void **state)
{
	static const char *const bad[] = { "",
					   "x",
					   "unix:",
					   "unix:rel",
					   "tcp:",
					   "tcp:1",
					   "tcp:1.2.3.4",
					   "tcp:1.2.3.4:",
					   "tcp::1",
					   "tcp:localhost:1",
					   "tcp:1.2.3.4:x",
					   "tcp:[::1:1",
					   "tcp:1.2.3.4:65536",
					   "tcp:1.2.3.4:-1",
					   "tcp:1.2.3.4: 1" };
	char longest[200] = "unix:/";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(listen_parse(bad[i], &a, &err), -EINVAL);
	memset(longest + 6, 'x', 150);
	assert_int_equal(listen_parse(longest, &a, &err), -EINVAL);
}

static void socket_of_the_dead_is_replaced_and_of_the_living_is_not(void **state)
{
	char dir[] = "/tmp/persifs-listen.XXXXXX", path[96], text[128];
	struct stat st;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/in/s", dir);
	snprintf(text, sizeof text, "unix:%s", path);
	assert_int_equal(listen_parse(text, &a, &err), 0);
	fd = listen_open(&a, &err);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(listen_open(&a, &err), -EADDRINUSE);
	close(fd);
	fd = listen_open(&a, &err);
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(listen_open(&a, &err), -EEXIST); /* whatever it is, it is not ours */
	rmdir(path);
	snprintf(path, sizeof path, "%s/in", dir);
	rmdir(path);
	assert_int_equal(rmdir(dir), 0);
}

static void port_zero_is_any(void **state)
{
	AUTO_FD int fd = -1;

	(void)state;
	assert_int_equal(listen_parse("tcp:127.0.0.1:0", &a, &err), 0);
	fd = listen_open(&a, &err);
	assert_true(fd >= 0);
	assert_int_not_equal(listen_port(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_parsed),
		cmocka_unit_test(nonsense_is_named),
		cmocka_unit_test(socket_of_the_dead_is_replaced_and_of_the_living_is_not),
		cmocka_unit_test(port_zero_is_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
