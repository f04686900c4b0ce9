/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of an open: what bd_prepare() made, bd_open() takes. What of it works behind the sandbox is
 * tests/unit/fusefs/test_sandbox.c. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <seccomp.h>

#include "backends/block/file_impl.h"
#include "common/cleanup.h"
#include "tests/unit/backends/device_test.h"

#define SIZE (1u << 20)

static struct {
	char path[64], uri[96];
	const struct bd_ops *ops; /* of the engine */
	struct bd *dev;
	struct err err;
} t;

static int up(const char *engine, const struct bd_ops *ops)
{
	int fd;

	memset(&t, 0, sizeof t);
	strcpy(t.path, "/var/tmp/persifs-prepare-XXXXXX");
	fd = mkstemp(t.path);
	if (fd < 0 || ftruncate(fd, SIZE))
		return -1;
	close(fd);
	snprintf(t.uri, sizeof t.uri, "file:%s?engine=%s", t.path, engine);
	t.ops = ops;
	return 0;
}

static int up_uring(void **state)
{
	(void)state;
	return up("uring", &file_uring_ops);
}

static int up_threads(void **state)
{
	(void)state;
	return up("threads", &file_threads_ops);
}

static int down(void **state)
{
	(void)state;
	bd_close(t.dev);
	unlink(t.path);
	return 0;
}

static unsigned threads_here(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/self/task", &st), 0);
	return (unsigned)st.st_nlink - 2;
}

static void prepared(struct bd_env *env)
{
	int rc = bd_prepare(t.uri, env, &env->prepared, &t.err);

	if (rc && strstr(t.err.text, "there is no ring"))
		skip();
	if (rc)
		fail_msg("%s", t.err.text);
}

static void it_has_no_thread_and_the_file_is_its_own(void **state)
{
	struct bd_env env = { .busy_ms = 1 }, other = { .busy_ms = 1 };
	unsigned before = threads_here();

	(void)state;
	prepared(&env);
	assert_true(threads_here() <=
		    before); /* those of an earlier test may be on their way out */
	assert_int_equal(env.prepared->size, SIZE);
	assert_int_equal(bd_prepare(t.uri, &other, &other.prepared, &t.err), -EBUSY);
	bd_close(take_ptr(&env.prepared));
	prepared(&env);
	bd_close(env.prepared);
}

static void an_open_takes_it(void **state)
{
	struct bd_env env = { .busy_ms = 1 };
	uint8_t out[4096], in[4096];

	(void)state;
	prepared(&env);
	assert_int_equal(bd_open(t.uri, NULL, &env, &t.dev, &t.err), 0);
	assert_ptr_equal(t.dev, env.prepared);
	assert_ptr_equal(t.dev->ops, t.ops);
	memset(out, 7, sizeof out);
	assert_int_equal(bd_write(t.dev, out, sizeof out, 4096, BD_FUA), 0);
	assert_int_equal(bd_read(t.dev, in, sizeof in, 4096), 0);
	assert_memory_equal(in, out, sizeof in);
}

/* Else the file would be busy at the next attempt. */
static void an_open_that_fails_has_taken_it(void **state)
{
	struct bd_env env = { .busy_ms = 1 };

	(void)state;
	prepared(&env);
	assert_int_equal(bd_open("nothing:/", NULL, &env, &t.dev, &t.err), -EINVAL);
	prepared(&env);
	assert_int_equal(bd_open(t.uri, "nothing:x=1", &env, &t.dev, &t.err), -EINVAL);
	prepared(&env);
	bd_close(env.prepared);
}

static void a_device_of_a_server_has_nothing_to_prepare(void **state)
{
	struct bd *dev = (struct bd *)&t;

	(void)state;
	assert_int_equal(bd_prepare("nbd://nowhere.invalid/x", NULL, &dev, &t.err), 0);
	assert_null(dev);
	assert_int_equal(bd_prepare("nothing:/", NULL, &dev, &t.err), -EINVAL);
}

/* In a child. 77: this cannot be tried here. */
static void behind_a_filter(enum bd_engine engine)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	struct bd_env env = { .engine = engine };
	uint8_t buf[4096];
	int rc;

	if (bd_prepare(t.path, &env, &env.prepared, &t.err) || env.prepared->ops != &file_uring_ops)
		_exit(77);
	if (!f || seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_register), 0) ||
	    seccomp_load(f))
		_exit(77);
	seccomp_release(f);
	rc = bd_open(t.path, NULL, &env, &t.dev, &t.err);
	if (engine == BD_URING)
		_exit(rc == -EPERM && strstr(t.err.text, "there is no ring") ? 0 : 1);
	if (rc || t.dev->ops != &file_threads_ops)
		_exit(2);
	memset(buf, 2, sizeof buf);
	if (bd_write(t.dev, buf, sizeof buf, 0, BD_FUA))
		_exit(3);
	bd_close(t.dev);
	_exit(0);
}

static void threads_take_over_where_a_ring_cannot_be_started(void **state)
{
	static const enum bd_engine engines[] = { BD_AUTO, BD_URING };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
		int status = 0;
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0)
			behind_a_filter(engines[i]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

#define URING(name) cmocka_unit_test_setup_teardown(name, up_uring, down)
#define THREADS(name) cmocka_unit_test_setup_teardown(name, up_threads, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		URING(it_has_no_thread_and_the_file_is_its_own),
		THREADS(it_has_no_thread_and_the_file_is_its_own),
		URING(an_open_takes_it),
		THREADS(an_open_takes_it),
		URING(an_open_that_fails_has_taken_it),
		THREADS(an_open_that_fails_has_taken_it),
		URING(a_device_of_a_server_has_nothing_to_prepare),
		URING(threads_take_over_where_a_ring_cannot_be_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
