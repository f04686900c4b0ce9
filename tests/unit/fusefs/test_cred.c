/* SPDX-License-Identifier: Apache-2.0 */
/* Groups come from the process that asked, and from no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/backend.h"
#include "fusefs/cred.h"

enum { UID = 63001, GID = 63002, OTHER = 63003, FIRST = 63010, SECOND = 63011 };

static struct {
	struct cred_cache *cache;
	pid_t program; /* UID, GID, with two groups */
} t;

static void be_program(int ready)
{
	const gid_t groups[] = { FIRST, SECOND };

	if (setgroups(2, groups) || setgid(GID) || setuid(UID) || write(ready, "", 1) != 1)
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static int up(void **state)
{
	int fds[2];
	char byte;

	(void)state;
	t.program = 0;
	t.cache = cred_cache_new(NULL);
	if (!t.cache || pipe(fds))
		return -1;
	if (geteuid() == 0) {
		t.program = fork();
		if (!t.program)
			be_program(fds[1]);
	}
	close(fds[1]);
	if (t.program > 0 && read(fds[0], &byte, 1) != 1)
		return -1;
	close(fds[0]);
	return 0;
}

static int down(void **state)
{
	(void)state;
	cred_cache_free(t.cache);
	if (t.program > 0) {
		kill(t.program, SIGKILL);
		waitpid(t.program, NULL, 0);
	}
	return 0;
}

static unsigned groups_of(uid_t uid, gid_t gid)
{
	const struct be_cred *c = cred_for(t.cache, uid, gid, t.program, true);
	unsigned n;

	assert_non_null(c);
	n = c->ngroups;
	be_cred_put(c);
	return n;
}

static void the_groups_are_those_of_who_asked(void **state)
{
	(void)state;
	if (!t.program)
		skip();
	assert_int_equal(groups_of(UID, GID), 2);
}

static void a_number_of_somebody_else_brings_none(void **state)
{
	(void)state;
	if (!t.program)
		skip();
	assert_int_equal(groups_of(OTHER, GID), 0);
	assert_int_equal(groups_of(UID, OTHER), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_groups_are_those_of_who_asked, up, down),
		cmocka_unit_test_setup_teardown(a_number_of_somebody_else_brings_none, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
