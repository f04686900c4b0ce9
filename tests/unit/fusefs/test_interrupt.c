/* SPDX-License-Identifier: Apache-2.0 */
/* Whose waits end: what can be seen of a task that got a signal. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fusefs/interrupt.h"

/* A child whose name tries to look like other columns; it ends by itself, whatever happens. */
static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_NAME, ") Z 1 (x");
	alarm(20);
	for (;;)
		pause();
}

static void a_task_that_lives_is_not_killed(void **state)
{
	pid_t pid;

	(void)state;
	signal(SIGUSR1, SIG_IGN);
	pid = sleeper();
	assert_false(task_is_killed(NULL, getpid()));
	assert_false(task_is_killed(NULL, pid));
	assert_int_equal(kill(pid, SIGUSR1), 0);
	assert_false(task_is_killed(NULL, pid));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_killed_one_is_while_it_is_there_and_afterwards(void **state)
{
	siginfo_t info;
	pid_t pid = sleeper();

	(void)state;
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(task_is_killed(NULL, pid));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(task_is_killed(NULL, pid));
}

/* Stopped, it cannot take the signal: seen as pending. */
static void a_pending_kill_is_seen(void **state)
{
	pid_t pid = sleeper();
	int status;

	(void)state;
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_false(task_is_killed(NULL, pid));
	assert_int_equal(kill(pid, SIGTERM), 0); /* only pending: it may be handled yet */
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (!task_is_killed(NULL, pid))
		usleep(100);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void what_cannot_be_seen_counts_as_killed(void **state)
{
	(void)state;
	assert_true(task_is_killed(NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_that_lives_is_not_killed),
		cmocka_unit_test(a_killed_one_is_while_it_is_there_and_afterwards),
		cmocka_unit_test(a_pending_kill_is_seen),
		cmocka_unit_test(what_cannot_be_seen_counts_as_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
