/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a worker, who could be subverted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fusefs/supervisor.h"

static struct {
	int sv[2]; /* the supervisor's, the worker's */
	struct line_in in;
} t;

static int up(void **state)
{
	(void)state;
	t.in.n = 0;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, t.sv);
}

static int down(void **state)
{
	(void)state;
	close(t.sv[0]);
	if (t.sv[1] >= 0)
		close(t.sv[1]);
	return 0;
}

static void say(const char *text)
{
	assert_int_equal(write(t.sv[1], text, strlen(text)), strlen(text));
}

static void half_a_line_holds_nobody_up(void **state)
{
	char line[LINE_BYTES_MAX];

	(void)state;
	assert_int_equal(line_take(&t.in, t.sv[0], line), -EAGAIN);
	say("sess");
	assert_int_equal(line_take(&t.in, t.sv[0], line), -EAGAIN);
	say("ion 0 5\nleft 0 5\nrea");
	assert_int_equal(line_take(&t.in, t.sv[0], line), 0);
	assert_string_equal(line, "session 0 5");
	assert_int_equal(line_take(&t.in, t.sv[0], line), 0);
	assert_string_equal(line, "left 0 5");
	assert_int_equal(line_take(&t.in, t.sv[0], line), -EAGAIN);
	close(t.sv[1]);
	t.sv[1] = -1;
	assert_int_equal(line_take(&t.in, t.sv[0], line), -EPIPE);
}

static void a_line_has_an_end(void **state)
{
	char line[LINE_BYTES_MAX], longest[LINE_BYTES_MAX + 1];

	(void)state;
	memset(longest, 'x', sizeof longest);
	longest[LINE_BYTES_MAX - 1] = '\n';
	longest[LINE_BYTES_MAX] = '\0';
	say(longest);
	assert_int_equal(line_take(&t.in, t.sv[0], line), 0);
	assert_int_equal(strlen(line), LINE_BYTES_MAX - 1);
	longest[LINE_BYTES_MAX - 1] = 'x';
	say(longest);
	assert_int_equal(line_take(&t.in, t.sv[0], line), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(half_a_line_holds_nobody_up, up, down),
		cmocka_unit_test_setup_teardown(a_line_has_an_end, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
