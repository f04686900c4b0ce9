/* SPDX-License-Identifier: Apache-2.0 */
/* Supervisor and worker in one process: a thread serves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fusefs/opener.h"

static struct {
	struct openers openers;
	struct errands errands;
	struct errand_client client;
	pthread_t server;
	pthread_mutex_t turn; /* the supervisor has one thread for all of it */
	char dir[64], path[96];
	int fds; /* open descriptors before */
} t;

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void *serve(void *arg)
{
	struct pollfd p = { .fd = t.openers.fd, .events = POLLIN };
	bool more = true;

	while (more) {
		poll(&p, 1, -1);
		pthread_mutex_lock(&t.turn);
		more = openers_serve(&t.openers);
		pthread_mutex_unlock(&t.turn);
	}
	return arg;
}

static int listen_in_turn(void)
{
	struct err err;
	int rc;

	pthread_mutex_lock(&t.turn);
	rc = errands_listen(&t.errands, t.path, &err);
	pthread_mutex_unlock(&t.turn);
	return rc;
}

static int up(void **state)
{
	struct opener_conf conf = { .host = "", .errands = &t.errands };

	(void)state;
	pthread_mutex_init(&t.turn, NULL);
	t.fds = count_fds();
	snprintf(t.dir, sizeof t.dir, "/tmp/persifs-errand.XXXXXX");
	if (!mkdtemp(t.dir) || errands_init(&t.errands))
		return -1;
	setenv("PERSIFS_RUNTIME_DIR", t.dir, 1);
	snprintf(t.path, sizeof t.path, "%s/k.sock", t.dir);
	openers_init(&t.openers, &conf);
	t.client.fd = openers_start(&t.openers);
	return t.client.fd < 0 || pthread_create(&t.server, NULL, serve, NULL);
}

static int down(void **state)
{
	(void)state;
	close(t.client.fd);
	pthread_join(t.server, NULL);
	openers_end(&t.openers);
	errands_done(&t.errands, true);
	return rmdir(t.dir) || count_fds() != t.fds;
}

static int name_file(const char *name)
{
	struct errand req = { .kind = ERRAND_RUN_FILE };

	snprintf(req.name, sizeof req.name, "%s", name);
	return errand_run(&t.client, &req, -1, NULL, NULL);
}

static void a_task_is_shown_and_one_that_is_not_there_is_told_so(void **state)
{
	char text[64] = "", want[32];
	int fd = errand_task(&t.client, ERRAND_TASK_STAT, getpid());

	(void)state;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(read(fd, text, sizeof text - 1) > 0);
	snprintf(want, sizeof want, "%d (", (int)getpid());
	assert_memory_equal(text, want, strlen(want));
	close(fd);
	fd = errand_task(&t.client, ERRAND_TASK_STATUS, getpid());
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(errand_task(&t.client, ERRAND_TASK_STAT, INT32_MAX), -ENOENT);
	assert_int_equal(errand_task(&t.client, ERRAND_TASK_STAT, -1), -ENOENT);
	assert_int_equal(errand_task(&t.client, ERRAND_TASK_STAT, 0), -ENOENT);
}

static void nonsense_is_refused(void **state)
{
	struct errand req = { .kind = ERRAND_KINDS };

	(void)state;
	assert_int_equal(errand_run(&t.client, &req, -1, NULL, NULL), -EINVAL);
	req.kind = UINT32_MAX;
	assert_int_equal(errand_run(&t.client, &req, -1, NULL, NULL), -EINVAL);
}

static void the_control_socket_is_given_once_and_its_path_goes_when_asked(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(errand_plain(&t.client, ERRAND_CONTROL), -ENOENT);
	assert_int_equal(listen_in_turn(), 0);
	assert_int_equal(stat(t.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	fd = errand_plain(&t.client, ERRAND_CONTROL);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(errand_plain(&t.client, ERRAND_CONTROL), -ENOENT);
	assert_int_equal(errand_plain(&t.client, ERRAND_UNLINK_CONTROL), 0);
	assert_int_equal(stat(t.path, &st), -1);
	assert_int_equal(errand_plain(&t.client, ERRAND_UNLINK_CONTROL), -ENOENT);
}

/* Its device number was given to another mount. */
static void a_socket_that_another_made_there_stays(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(listen_in_turn(), 0);
	assert_int_equal(rename(t.path, "/tmp/persifs-errand-moved"), 0);
	fd = open(t.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(errand_plain(&t.client, ERRAND_UNLINK_CONTROL), 0);
	assert_int_equal(stat(t.path, &st), 0);
	unlink(t.path);
	unlink("/tmp/persifs-errand-moved");
}

static void a_run_file_is_one_of_the_runtime_folder_told_before_the_seal(void **state)
{
	static const char *const bad[] = { "../x", "/etc/passwd", "", ".nfs", "a/b.nfs", "x.sock" };
	struct stat st;
	int fd;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(name_file(bad[i]), -EINVAL);
	snprintf(t.path, sizeof t.path, "%s/0123456789abcdef.nfs", t.dir);
	fd = open(t.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(name_file("0123456789abcdef.nfs"), 0);
	assert_int_equal(name_file("fedcba9876543210.nfs"), -EINVAL);
	assert_int_equal(errand_plain(&t.client, ERRAND_SEAL), 0);
	assert_int_equal(errand_plain(&t.client, ERRAND_UNLINK_RUN_FILE), 0);
	assert_int_equal(stat(t.path, &st), -1);
	assert_int_equal(errand_plain(&t.client, ERRAND_UNLINK_RUN_FILE), -ENOENT);
	assert_int_equal(name_file("0123456789abcdef.nfs"), -EPERM);
}

static int get(int fd, struct be_handle *out)
{
	struct errand req = { .kind = ERRAND_HANDLE_GET };

	return errand_run(&t.client, &req, fd, out, NULL);
}

static int back(const struct be_handle *h, int *fd)
{
	struct errand req = { .kind = ERRAND_HANDLE_OPEN, .handle = *h };

	*fd = -1;
	return errand_run(&t.client, &req, -1, NULL, fd);
}

/* The temporary folder, as dir's. Skips where its file system has no handles. */
static int open_folder(void)
{
	struct errand req = { .kind = ERRAND_FOLDER };
	int fd = open(t.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct be_handle h;

	assert_true(fd >= 0);
	assert_int_equal(errand_run(&t.client, &req, fd, NULL, NULL), 0);
	assert_int_equal(errand_run(&t.client, &req, fd, NULL, NULL), -EINVAL);
	if (!get(fd, &h))
		return fd;
	close(fd);
	skip();
	return -1;
}

static void a_handle_leads_back_to_what_was_open(void **state)
{
	int folder = open_folder(), fd;
	struct stat a, b;
	struct be_handle h;

	(void)state;
	assert_int_equal(get(folder, &h), 0);
	assert_int_equal(back(&h, &fd), 0);
	assert_int_equal(fstat(folder, &a), 0);
	assert_int_equal(fstat(fd, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_true(fcntl(fd, F_GETFL) & O_PATH);
	close(fd);
	close(folder);
}

static void a_changed_or_invented_handle_leads_nowhere(void **state)
{
	int folder = open_folder(), fd;
	struct be_handle h, bad;

	(void)state;
	assert_int_equal(get(folder, &h), 0);
	for (unsigned i = 0; i < h.len; i++) {
		bad = h;
		bad.bytes[i] ^= 1;
		assert_int_equal(back(&bad, &fd), -EPERM);
	}
	bad = h;
	bad.type ^= 1;
	assert_int_equal(back(&bad, &fd), -EPERM);
	for (unsigned len = 0; len < h.len; len++) {
		bad = h;
		bad.len = len;
		assert_true(back(&bad, &fd) < 0);
	}
	bad.len = UINT32_MAX;
	assert_int_equal(back(&bad, &fd), -EINVAL);
	close(folder);
}

/* Its bytes could be those of something in the folder's. */
static void an_object_of_another_file_system_gets_none(void **state)
{
	int folder = open_folder(), other = memfd_create("other", MFD_CLOEXEC);
	struct be_handle h;

	(void)state;
	assert_true(other >= 0);
	assert_int_equal(get(other, &h), -EXDEV);
	close(other);
	close(folder);
}

static void without_a_folder_there_are_no_handles(void **state)
{
	struct be_handle h = { .len = 16 };
	int fd = -1;

	(void)state;
	assert_int_equal(get(0, &h), -EPERM);
	assert_int_equal(back(&h, &fd), -EPERM);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_task_is_shown_and_one_that_is_not_there_is_told_so),
		TEST(nonsense_is_refused),
		TEST(the_control_socket_is_given_once_and_its_path_goes_when_asked),
		TEST(a_socket_that_another_made_there_stays),
		TEST(a_run_file_is_one_of_the_runtime_folder_told_before_the_seal),
		TEST(a_handle_leads_back_to_what_was_open),
		TEST(a_changed_or_invented_handle_leads_nowhere),
		TEST(an_object_of_another_file_system_gets_none),
		TEST(without_a_folder_there_are_no_handles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
