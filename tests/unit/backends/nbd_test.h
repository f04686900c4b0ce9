/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_test.h - an NBD device at a server of the system, in a folder of the test's own */
#ifndef TESTS_UNIT_BACKENDS_NBD_TEST_H
#define TESTS_UNIT_BACKENDS_NBD_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/block/nbd_impl.h"
#include "common/clock.h"
#include "tests/fake/fake_nbd.h"

#define MIB (1u << 20)
#define WAIT_MS 20000
#define CMD(...) ((const char *const[]){ __VA_ARGS__, NULL })
/* nbdkit at a unix socket; "%s" is the test's folder. */
#define NBDKIT(...) CMD("nbdkit", "-f", "-U", "%s/socket", __VA_ARGS__)

static struct fake_nbd server;
static struct bd *dev;
static uint8_t *buf; /* MIB bytes */

static inline int up(void **state)
{
	(void)state;
	fake_nbd_init(&server);
	dev = NULL;
	buf = calloc(1, 2 * MIB);
	return buf ? 0 : -1;
}

static inline int down(void **state)
{
	(void)state;
	bd_close(dev);
	fake_nbd_done(&server);
	free(buf);
	return 0;
}

static inline void need(const char *program)
{
	if (fake_nbd_have(program))
		return;
	print_message("skipped: no %s\n", program);
	skip();
}

static inline void start(const char *const *argv)
{
	need(argv[0]);
	fake_nbd_command(&server, argv);
	fake_nbd_start(&server);
}

static inline int open_uri(const char *text, const struct bd_env *env, struct bd **out,
			   struct err *err)
{
	struct uri *uri = malloc(sizeof *uri);
	int rc;

	assert_non_null(uri);
	rc = uri_parse(text, uri, err);
	if (!rc)
		rc = bd_nbd.open(uri, env, out, err);
	free(uri);
	return rc;
}

/* At the server's unix socket; more: "" or "&key=value...". */
static inline int try_open(const char *more, const struct bd_env *env, struct err *err)
{
	char text[400];

	snprintf(text, sizeof text, "nbd+unix:///?socket=%s%s", server.socket, more);
	return open_uri(text, env, &dev, err);
}

static inline void opened(const char *more, const struct bd_env *env)
{
	struct err err = { "" };

	if (try_open(more, env, &err))
		fail_msg("open: %s", err.text);
}

/* Lines with text in a file of the folder: "log" of the log filter, "stderr" of the server. */
static inline unsigned lines(const char *file, const char *text)
{
	char path[96], line[400];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", server.dir, file);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

static inline unsigned logged(const char *text)
{
	return lines("log", text);
}

static inline void come_to_be(const char *file, const char *text, unsigned n)
{
	for (int ms = 0; ms < WAIT_MS && lines(file, text) < n; ms++)
		poll(NULL, 0, 1);
	assert_int_equal(lines(file, text), n);
}

static inline void fill(uint8_t *to, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		to[i] = (uint8_t)(seed >> 16);
	}
}

static inline bool is_filled(const uint8_t *at, size_t len, unsigned seed)
{
	uint8_t *want = malloc(len);
	bool is;

	assert_non_null(want);
	fill(want, len, seed);
	is = !memcmp(at, want, len);
	free(want);
	return is;
}

static inline bool is_zero(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i])
			return false;
	return true;
}

static inline void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", server.dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

/* A file of that size in the folder. */
static inline void image(off_t size)
{
	char path[96];
	int fd;

	snprintf(path, sizeof path, "%s/image", server.dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

/* ---- requests in flight ------------------------------------------------- */

struct job {
	struct bd_req rq;
	struct iovec iov[BD_IOV_MAX];
	_Atomic bool over;
};

static inline void job_done(struct bd_req *rq)
{
	atomic_store(&((struct job *)rq->arg)->over, true);
}

static inline int job_start(struct job *j, enum bd_op op, uint64_t off, uint64_t len)
{
	j->rq.op = op;
	j->rq.off = off;
	j->rq.len = len;
	j->rq.iov = j->iov;
	j->rq.done = job_done;
	j->rq.arg = j;
	atomic_store(&j->over, false);
	return bd_submit(dev, &j->rq);
}

static inline int job_end(struct job *j)
{
	for (int ms = 0; ms < WAIT_MS && !atomic_load(&j->over); ms++)
		poll(NULL, 0, 1);
	assert_true(atomic_load(&j->over));
	return j->rq.result;
}

#define T(f) cmocka_unit_test_setup_teardown(f, up, down)

#endif
