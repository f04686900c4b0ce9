/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD transport against servers of the system: geometry, every operation, TLS, errors, ends */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/block/nbd_impl.h"
#include "common/clock.h"
#include "tests/fake/fake_cert.h"
#include "tests/fake/fake_nbd.h"

#define MIB (1u << 20)
#define WAIT_MS 20000
#define CMD(...) ((const char *const[]){ __VA_ARGS__, NULL })
/* nbdkit at a unix socket; "%s" is the test's folder. */
#define NBDKIT(...) CMD("nbdkit", "-f", "-U", "%s/socket", __VA_ARGS__)

static struct fake_nbd server;
static struct bd *dev;
static uint8_t *buf; /* MIB bytes */

static int up(void **state)
{
	(void)state;
	fake_nbd_init(&server);
	dev = NULL;
	buf = calloc(1, 2 * MIB);
	return buf ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	bd_close(dev);
	fake_nbd_done(&server);
	free(buf);
	return 0;
}

static void need(const char *program)
{
	if (fake_nbd_have(program))
		return;
	print_message("skipped: no %s\n", program);
	skip();
}

static void start(const char *const *argv)
{
	need(argv[0]);
	fake_nbd_command(&server, argv);
	fake_nbd_start(&server);
}

static int open_uri(const char *text, const struct bd_env *env, struct bd **out, struct err *err)
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
static int try_open(const char *more, const struct bd_env *env, struct err *err)
{
	char text[400];

	snprintf(text, sizeof text, "nbd+unix:///?socket=%s%s", server.socket, more);
	return open_uri(text, env, &dev, err);
}

static void opened(const char *more, const struct bd_env *env)
{
	struct err err = { "" };

	if (try_open(more, env, &err))
		fail_msg("open: %s", err.text);
}

static void refused(const char *text, int rc, const char *want)
{
	struct err err = { "" };
	struct bd *none = NULL;
	int got = open_uri(text, NULL, &none, &err);

	if (got != rc || !strstr(err.text, want))
		fail_msg("%s: %d, '%s'; want %d, '%s'", text, got, err.text, rc, want);
	assert_null(none);
}

/* Lines with text in a file of the folder: "log" of the log filter, "stderr" of the server. */
static unsigned lines(const char *file, const char *text)
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

static unsigned logged(const char *text)
{
	return lines("log", text);
}

static void come_to_be(const char *file, const char *text, unsigned n)
{
	for (int ms = 0; ms < WAIT_MS && lines(file, text) < n; ms++)
		poll(NULL, 0, 1);
	assert_int_equal(lines(file, text), n);
}

static void fill(uint8_t *to, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		to[i] = (uint8_t)(seed >> 16);
	}
}

static bool is_filled(const uint8_t *at, size_t len, unsigned seed)
{
	uint8_t *want = malloc(len);
	bool is;

	assert_non_null(want);
	fill(want, len, seed);
	is = !memcmp(at, want, len);
	free(want);
	return is;
}

static bool is_zero(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i])
			return false;
	return true;
}

/* A file of that size in the folder. */
static void image(off_t size)
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

static void job_done(struct bd_req *rq)
{
	atomic_store(&((struct job *)rq->arg)->over, true);
}

static int job_start(struct job *j, enum bd_op op, uint64_t off, uint64_t len)
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

static int job_end(struct job *j)
{
	for (int ms = 0; ms < WAIT_MS && !atomic_load(&j->over); ms++)
		poll(NULL, 0, 1);
	assert_true(atomic_load(&j->over));
	return j->rq.result;
}

/* ---- geometry ----------------------------------------------------------- */

static void geometry_is_the_servers(void **state)
{
	(void)state;
	start(NBDKIT("memory", "64M"));
	opened("", NULL);
	assert_int_equal(atomic_load(&dev->size), 64 * MIB);
	assert_int_equal(dev->limits.block, 512);
	assert_int_equal(dev->limits.max_transfer, BDN_TRANSFER_MAX);
	assert_int_equal(dev->limits.depth, BDN_CONNECTIONS * BDN_DEPTH);
	assert_true(dev->limits.volatile_cache);
	assert_true(dev->limits.keeps);
	assert_true(dev->limits.fua);
	assert_true(dev->limits.zero_fast);
	assert_false(dev->limits.readonly);
	assert_false(dev->limits.rotational);
	assert_true(dev->limits.max_discard >= MIB);
	assert_true(dev->limits.max_zero >= MIB);
}

static void block_sizes_are_the_servers(void **state)
{
	(void)state;
	start(NBDKIT("--filter=blocksize-policy", "memory", "64M", "blocksize-minimum=4096",
		     "blocksize-preferred=65536", "blocksize-maximum=262144",
		     "blocksize-error-policy=error"));
	opened("", NULL);
	assert_int_equal(dev->limits.block, 4096);
	assert_int_equal(dev->limits.preferred, 65536);
	assert_int_equal(dev->limits.max_transfer, 262144);
	/* The server refuses what is larger. */
	fill(buf, MIB, 1);
	assert_int_equal(bd_write(dev, buf, MIB, 4096, 0), 0);
	memset(buf, 0, MIB);
	assert_int_equal(bd_read(dev, buf, MIB, 4096), 0);
	assert_true(is_filled(buf, MIB, 1));
	assert_int_equal(bd_read(dev, buf, 512, 0), -EINVAL);
}

static void large_blocks_are_refused(void **state)
{
	struct err err = { "" };

	(void)state;
	start(NBDKIT("--filter=blocksize-policy", "memory", "64M", "blocksize-minimum=8192",
		     "blocksize-preferred=65536", "blocksize-maximum=1M"));
	assert_int_equal(try_open("", NULL, &err), -ENODEV);
	assert_non_null(strstr(err.text, "8192"));
}

static void half_a_block_at_the_end_is_not_used(void **state)
{
	(void)state;
	start(NBDKIT("memory", "1000000"));
	opened("", NULL);
	assert_int_equal(atomic_load(&dev->size), 999936);
	assert_int_equal(bd_read(dev, buf, 512, 999936 - 512), 0);
	assert_int_equal(bd_read(dev, buf, 512, 999936), -EINVAL);
}

static void less_than_a_block_is_refused(void **state)
{
	struct err err = { "" };

	(void)state;
	start(NBDKIT("memory", "100"));
	assert_int_equal(try_open("", NULL, &err), -ENODEV);
	assert_non_null(strstr(err.text, "100 bytes"));
}

static void readonly_server_makes_a_readonly_device(void **state)
{
	(void)state;
	start(NBDKIT("-r", "memory", "1M"));
	opened("", NULL);
	assert_true(dev->limits.readonly);
	assert_int_equal(bd_write(dev, buf, 512, 0, 0), -EROFS);
	assert_int_equal(bd_read(dev, buf, 512, 0), 0);
}

static void server_without_flush_counts_as_durable(void **state)
{
	(void)state;
	start(NBDKIT("eval", "get_size=echo 1M", "pread=dd if=/dev/zero bs=$3 count=1 2>/dev/null",
		     "can_write=exit 0", "pwrite=cat >/dev/null", "can_flush=exit 3",
		     "can_fua=echo none"));
	opened("", NULL);
	assert_false(dev->limits.volatile_cache);
	assert_false(dev->limits.keeps);
	assert_int_equal(dev->limits.max_discard, 0);
	assert_int_equal(bd_discard(dev, 0, 512), -ENOTSUP);
	assert_int_equal(bd_write(dev, buf, 512, 0, BD_FUA), 0);
	assert_int_equal(bd_flush(dev), 0);
}

/* ---- operations --------------------------------------------------------- */

static void every_operation_reaches_the_server(void **state)
{
	(void)state;
	start(NBDKIT("--filter=log", "memory", "8M", "logfile=%s/log"));
	opened("", NULL);
	fill(buf, 65536, 7);
	assert_int_equal(bd_write(dev, buf, 65536, 4096, 0), 0);
	assert_int_equal(bd_write(dev, buf, 512, MIB, BD_FUA), 0);
	assert_int_equal(bd_flush(dev), 0);
	memset(buf, 0, 65536);
	assert_int_equal(bd_read(dev, buf, 65536, 4096), 0);
	assert_true(is_filled(buf, 65536, 7));
	assert_int_equal(bd_zero(dev, 4096, 4096, 0), 0);
	assert_int_equal(bd_zero(dev, 8192, 4096, BD_UNMAP), 0);
	assert_int_equal(bd_discard(dev, 2 * MIB, 65536), 0);
	assert_int_equal(bd_read(dev, buf, 8192, 4096), 0);
	assert_true(is_zero(buf, 8192));
	come_to_be("log", " Trim id=", 1);
	assert_int_equal(logged("offset=0x1000 count=0x10000 fua=0"), 1);
	assert_int_equal(logged("offset=0x100000 count=0x200 fua=1"), 1);
	assert_true(logged("Flush id=") >= 1);
	assert_int_equal(logged("offset=0x1000 count=0x1000 trim=0"), 1);
	assert_int_equal(logged("offset=0x2000 count=0x1000 trim=1"), 1);
}

/* Pieces behind one another need no copy; others are gathered and scattered. */
static void pieces_go_through_one_buffer(void **state)
{
	struct bdn_dev *d;
	struct job j = { .rq = { .op = BD_WRITE } };

	(void)state;
	start(NBDKIT("memory", "8M"));
	opened("", NULL);
	d = CONTAINER_OF(dev, struct bdn_dev, bd);
	fill(buf, 8192, 3);
	j.iov[0] = (struct iovec){ buf, 4096 };
	j.iov[1] = (struct iovec){ buf + 4096, 4096 };
	j.rq.niov = 2;
	assert_int_equal(job_start(&j, BD_WRITE, 0, 8192), 0);
	assert_int_equal(job_end(&j), 0);
	assert_int_equal(atomic_load(&d->bounces), 0);
	j.iov[0] = (struct iovec){ buf + MIB + 4096, 4096 };
	j.iov[1] = (struct iovec){ buf + MIB, 4096 };
	assert_int_equal(job_start(&j, BD_READ, 0, 8192), 0);
	assert_int_equal(job_end(&j), 0);
	assert_int_equal(atomic_load(&d->bounces), 1);
	assert_memory_equal(buf, buf + MIB + 4096, 4096);
	assert_memory_equal(buf + 4096, buf + MIB, 4096);
	assert_int_equal(job_start(&j, BD_WRITE, 65536, 8192), 0);
	assert_int_equal(job_end(&j), 0);
	assert_int_equal(atomic_load(&d->bounces), 2);
	memset(buf + MIB, 0, MIB);
	assert_int_equal(bd_read(dev, buf + MIB, 8192, 65536), 0);
	assert_true(is_filled(buf + MIB, 8192, 3));
}

/* More requests in pieces than bounce buffers may take: they wait, and none is forgotten. */
static void bounce_buffers_have_a_limit(void **state)
{
	enum { JOBS = 100 };
	struct job *jobs = calloc(JOBS, sizeof *jobs);
	struct bdn_dev *d;

	(void)state;
	assert_non_null(jobs);
	start(NBDKIT("memory", "128M"));
	opened("", NULL);
	d = CONTAINER_OF(dev, struct bdn_dev, bd);
	for (unsigned i = 0; i < JOBS; i++) {
		/* All read zeros into the same memory. */
		jobs[i].iov[0] = (struct iovec){ buf + MIB / 2, MIB / 2 };
		jobs[i].iov[1] = (struct iovec){ buf, MIB / 2 };
		jobs[i].rq.niov = 2;
		assert_int_equal(job_start(&jobs[i], BD_READ, (uint64_t)i * MIB, MIB), 0);
	}
	for (unsigned i = 0; i < JOBS; i++)
		assert_int_equal(job_end(&jobs[i]), 0);
	assert_int_equal(atomic_load(&d->bounces), JOBS);
	mutex_lock(&d->lock);
	assert_int_equal(d->bounce_bytes, 0);
	mutex_unlock(&d->lock);
	free(jobs);
}

static void connections_are_as_many_as_the_server_likes(void **state)
{
	(void)state;
	start(NBDKIT("-v", "--filter=log", "memory", "8M", "logfile=%s/log"));
	opened("&connections=3", NULL);
	assert_int_equal(dev->limits.depth, 3 * BDN_DEPTH);
	come_to_be("log", " Connect ", 3);
	bd_close(take_ptr(&dev));
	/* Each of them is left as the protocol wants it. */
	come_to_be("stderr", "client sent NBD_CMD_DISC", 3);
	fake_nbd_kill(&server);
	start(NBDKIT("--filter=log", "--filter=multi-conn", "memory", "8M", "logfile=%s/log",
		     "multi-conn-mode=disable"));
	opened("&connections=3", NULL);
	assert_int_equal(dev->limits.depth, BDN_DEPTH);
	come_to_be("log", " Connect ", 1);
}

static void servers_errors_are_told(void **state)
{
	static const struct {
		const char *arg;
		int rc;
	} cases[] = { { "error=ENOSPC", -ENOSPC },
		      { "error=EIO", -EIO },
		      { "error=ENOMEM", -ENOMEM },
		      { "error=EPERM", -EROFS },
		      { "error=EINVAL", -EINVAL } };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		start(NBDKIT("--filter=error", "memory", "8M", cases[i].arg, "error-rate=0%",
			     "error-pwrite-rate=100%"));
		opened("&connections=1", NULL);
		assert_int_equal(bd_write(dev, buf, 4096, 0, 0), cases[i].rc);
		assert_int_equal(bd_read(dev, buf, 4096, 0), 0);
		assert_int_equal(bd_failed(dev), 0);
		bd_close(take_ptr(&dev));
		fake_nbd_kill(&server);
	}
}

/* Each read fails half of the time, among many in flight: each gets its own answer. */
static void errors_find_their_request(void **state)
{
	enum { JOBS = 64 };
	struct job *jobs = calloc(JOBS, sizeof *jobs);
	unsigned bad = 0;

	(void)state;
	assert_non_null(jobs);
	start(NBDKIT("--filter=error", "memory", "8M", "error-rate=0%", "error-pread-rate=50%"));
	opened("", NULL);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < JOBS; i++) {
			jobs[i].iov[0] = (struct iovec){ buf + (size_t)i * 4096, 4096 };
			jobs[i].rq.niov = 1;
			assert_int_equal(job_start(&jobs[i], BD_READ, (uint64_t)i * 4096, 4096), 0);
		}
		for (unsigned i = 0; i < JOBS; i++) {
			int rc = job_end(&jobs[i]);

			assert_true(rc == 0 || rc == -EIO);
			bad += rc != 0;
		}
	}
	assert_in_range(bad, 1, 4 * JOBS - 1);
	free(jobs);
}

static void qemu_serves_every_operation(void **state)
{
	char text[160];

	(void)state;
	image(8 * MIB);
	start(CMD("qemu-nbd", "-t", "-f", "raw", "--discard=unmap", "-k", "%s/socket", "-x", "disk",
		  "%s/image"));
	assert_int_not_equal(try_open("", NULL, NULL), 0); /* no such export */
	snprintf(text, sizeof text, "nbd+unix:///disk?socket=%s", server.socket);
	assert_int_equal(open_uri(text, NULL, &dev, NULL), 0);
	fill(buf, MIB, 9);
	assert_int_equal(bd_write(dev, buf, MIB, MIB, 0), 0);
	assert_int_equal(bd_write(dev, buf, 512, 512, BD_FUA), 0);
	assert_int_equal(bd_flush(dev), 0);
	assert_int_equal(bd_zero(dev, MIB, 4096, 0), 0);
	assert_int_equal(bd_discard(dev, 4 * MIB, MIB), 0);
	assert_int_equal(bd_read(dev, buf + MIB, MIB, MIB), 0);
	assert_true(is_zero(buf + MIB, 4096));
	assert_memory_equal(buf + MIB + 4096, buf + 4096, MIB - 4096);
}

/* ---- ways to the server ------------------------------------------------- */

static void tcp_reaches_the_server(void **state)
{
	char text[64];

	(void)state;
	need("nbdkit");
	for (unsigned v6 = 0; v6 < 2; v6++) {
		fake_nbd_command(&server, CMD("nbdkit", "-f", "memory", "1M"));
		fake_nbd_start_tcp(&server, v6);
		snprintf(text, sizeof text, "nbd://%s:%u/", v6 ? "[::1]" : "127.0.0.1",
			 server.port);
		assert_int_equal(open_uri(text, NULL, &dev, NULL), 0);
		assert_int_equal(bd_write(dev, buf, 65536, 0, 0), 0);
		bd_close(take_ptr(&dev));
		fake_nbd_kill(&server);
		close(take_fd(&server.listener));
	}
}

static _Atomic unsigned dials;

/* Connects to the unix socket, whatever is asked for. */
static int dial(void *arg, const struct be_dial *want, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_string_equal(want->host, "far.example");
	assert_int_equal(want->port, BDN_PORT);
	assert_ptr_equal(arg, &server);
	strcpy(sa.sun_path, server.socket);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa)) {
		int rc = -errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, rc, "the dialler cannot");
	}
	atomic_fetch_add(&dials, 1);
	return fd;
}

static void connections_are_made_by_the_dialler(void **state)
{
	const struct bd_env env = { .dial = dial, .dial_arg = &server };
	struct err err = { "" };

	(void)state;
	atomic_store(&dials, 0);
	assert_int_equal(open_uri("nbd://far.example/", &env, &dev, &err), -ENOENT);
	assert_non_null(strstr(err.text, "the dialler cannot"));
	start(NBDKIT("memory", "1M"));
	assert_int_equal(open_uri("nbd://far.example/?connections=2", &env, &dev, NULL), 0);
	assert_int_equal(atomic_load(&dials), 2);
	assert_int_equal(bd_write(dev, buf, 65536, 0, 0), 0);
	/* What the dialler cannot do is said. */
	assert_int_equal(try_open("", &env, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "socket="));
}

static void write_file(const char *name, const char *text)
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

static int open_psk(const char *user, const char *file, struct err *err)
{
	char text[400];

	snprintf(text, sizeof text,
		 "nbds+unix:///?socket=%s&tls_psk=%s/%s&tls_username=%s&connections=1",
		 server.socket, server.dir, file, user);
	return open_uri(text, NULL, &dev, err);
}

static void tls_with_a_key(void **state)
{
	struct err err = { "" };
	struct job *jobs = calloc(64, sizeof *jobs);

	(void)state;
	assert_non_null(jobs);
	write_file("psk", "alice:0123456789abcdef0123456789abcdef\n");
	write_file("wrong", "alice:ffffffffffffffff0123456789abcdef\n");
	start(NBDKIT("--tls=require", "--tls-psk=%s/psk", "memory", "8M"));
	assert_int_not_equal(try_open("", NULL, &err), 0); /* without TLS */
	assert_int_not_equal(open_psk("alice", "wrong", &err), 0);
	assert_int_not_equal(open_psk("bob", "psk", &err), 0);
	assert_int_equal(open_psk("alice", "absent", &err), -ENOENT);
	assert_non_null(strstr(err.text, "tls_psk="));
	assert_int_equal(open_psk("alice", "psk", NULL), 0);
	fill(buf, MIB, 5);
	assert_int_equal(bd_write(dev, buf, MIB, 0, 0), 0);
	/* Answers that share a record must not wait for more to come. */
	for (unsigned i = 0; i < 64; i++) {
		jobs[i].iov[0] = (struct iovec){ buf + MIB + (size_t)i * 512, 512 };
		jobs[i].rq.niov = 1;
		assert_int_equal(job_start(&jobs[i], BD_READ, (uint64_t)i * 512, 512), 0);
	}
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(job_end(&jobs[i]), 0);
	assert_memory_equal(buf, buf + MIB, 64 * 512);
	free(jobs);
}

static int open_certificates(const char *host, const char *dir, struct err *err)
{
	char text[400];

	snprintf(text, sizeof text, "nbds://%s:%u/?tls_certificates=%s&connections=1", host,
		 server.port, dir);
	return open_uri(text, NULL, &dev, err);
}

static void certificates_are_verified(void **state)
{
	struct fake_cert cert, other;
	struct err err = { "" };
	char empty[128];

	(void)state;
	need("nbdkit");
	fake_cert_make(&cert);
	fake_cert_make(&other);
	write_file("ca-cert.pem", cert.ca);
	write_file("server-cert.pem", cert.cert);
	write_file("server-key.pem", cert.key);
	fake_nbd_command(&server, CMD("nbdkit", "-f", "--tls=require", "--tls-certificates=%s",
				      "memory", "8M"));
	fake_nbd_start_tcp(&server, false);
	assert_int_equal(open_certificates("127.0.0.1", server.dir, &err), 0);
	assert_int_equal(bd_write(dev, buf, 65536, 0, 0), 0);
	bd_close(take_ptr(&dev));
	/* The certificate is of 127.0.0.1. */
	assert_int_not_equal(open_certificates("localhost", server.dir, &err), 0);
	/* Without an authority libnbd would believe anybody. */
	snprintf(empty, sizeof empty, "%s/none", server.dir);
	assert_int_equal(open_certificates("127.0.0.1", empty, &err), -ENOENT);
	assert_non_null(strstr(err.text, "tls_certificates="));
	write_file("ca-cert.pem", other.ca);
	assert_int_not_equal(open_certificates("127.0.0.1", server.dir, &err), 0);
	fake_cert_done(&cert);
	fake_cert_done(&other);
}

static void bad_uris_are_refused(void **state)
{
	static const struct {
		const char *uri;
		int rc;
		const char *text;
	} cases[] = {
		{ "nbd:///disk", -EINVAL, "no host" },
		{ "nbd+unix:///disk", -EINVAL, "socket=/PATH is missing" },
		{ "nbd+unix://host/disk?socket=/x", -EINVAL, "'host'" },
		{ "nbd+unix:///?socket=", -EINVAL, "socket is empty" },
		{ "nbd+unix:///?socket=/"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  -EINVAL, "longer than 107" },
		{ "nbd://host/?socket=/x", -EINVAL, "socket=/x" },
		{ "nbd://host/?connections=0", -EINVAL, "connections=0" },
		{ "nbd://host/?connections=9", -EINVAL, "connections=9" },
		{ "nbd://host/?reply_timeout=x", -EINVAL, "reply_timeout=x" },
		{ "nbd://host/?speed=9", -EINVAL, "'speed'" },
		{ "nbd://host/?tls_psk=/x", -EINVAL, "tls_psk=/x" },
		{ "nbd://host/?tls_username=me", -EINVAL, "tls_username=me" },
		{ "nbds://host/", -EINVAL, "tls_certificates=DIR or tls_psk=FILE" },
		{ "nbds://host/?tls_psk=/x&tls_certificates=/y", -EINVAL, "either" },
		{ "nbds+unix:///?socket=/x&tls_certificates=/y", -ENOTSUP, "tls_psk" },
		{ "nbd+unix:///?socket=/nowhere/at/all", -ENOENT, "/nowhere/at/all" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
		refused(cases[i].uri, cases[i].rc, cases[i].text);
}

/* ---- time and ends ------------------------------------------------------ */

static void close_cuts_off_a_server_that_waits(void **state)
{
	struct job j = { .rq = { .niov = 1 } };
	uint64_t from;

	(void)state;
	start(NBDKIT("--filter=delay", "memory", "8M", "rdelay=60"));
	opened("", NULL);
	j.iov[0] = (struct iovec){ buf, 4096 };
	assert_int_equal(job_start(&j, BD_READ, 0, 4096), 0);
	from = clock_ms();
	bd_close(take_ptr(&dev));
	assert_true(clock_ms() - from < 20 * BDN_CANCEL_MS);
	assert_true(atomic_load(&j.over));
	assert_int_equal(j.rq.result, -ECANCELED);
}

/* What ends soon may end by itself. */
static void close_lets_a_slow_server_finish(void **state)
{
	struct job j = { .rq = { .niov = 1 } };

	(void)state;
	start(NBDKIT("-v", "--filter=delay", "memory", "8M", "wdelay=100ms"));
	opened("", NULL);
	j.iov[0] = (struct iovec){ buf, 4096 };
	assert_int_equal(job_start(&j, BD_WRITE, 0, 4096), 0);
	bd_close(take_ptr(&dev));
	assert_true(atomic_load(&j.over));
	assert_int_equal(j.rq.result, 0);
	come_to_be("stderr", "client sent NBD_CMD_DISC", BDN_CONNECTIONS);
}

/* A server that is slower than reply_timeout gets more time when it is asked again. */
static void slow_server_gets_more_time(void **state)
{
	const struct bd_env env = { .settle_ms = 1 };
	struct bd_counts counts;

	(void)state;
	start(NBDKIT("--filter=delay", "memory", "8M", "rdelay=1400ms"));
	opened("&reply_timeout=1", &env);
	assert_int_equal(bd_read(dev, buf, 4096, 0), 0);
	bd_counts(dev, &counts);
	assert_int_equal(counts.reconnects, 1);
}

static void stopped_server_is_given_up_and_found_again(void **state)
{
	const struct bd_env env = { .settle_ms = 1 };
	struct job j = { .rq = { .niov = 1 } };
	struct bd_counts counts;

	(void)state;
	start(NBDKIT("memory", "8M"));
	opened("&reply_timeout=1", &env);
	fill(buf, 4096, 2);
	assert_int_equal(bd_write(dev, buf, 4096, 0, 0), 0);
	fake_nbd_signal(&server, SIGSTOP);
	j.iov[0] = (struct iovec){ buf + MIB, 4096 };
	assert_int_equal(job_start(&j, BD_READ, 0, 4096), 0);
	for (int ms = 0; ms < WAIT_MS; ms++) {
		bd_counts(dev, &counts);
		if (counts.paused)
			break;
		poll(NULL, 0, 1);
	}
	assert_true(counts.paused);
	fake_nbd_signal(&server, SIGCONT);
	assert_int_equal(job_end(&j), 0);
	assert_true(is_filled(buf + MIB, 4096, 2));
}

static void grown_export_is_seen(void **state)
{
	(void)state;
	for (unsigned connections = 1; connections <= 2; connections++) {
		image(MIB);
		start(connections == 1 ? NBDKIT("--filter=multi-conn", "file", "%s/image",
						"multi-conn-mode=disable") :
					 NBDKIT("file", "%s/image"));
		opened("&connections=2", NULL);
		assert_int_equal(bd_write(dev, buf, 4096, 0, 0), 0);
		assert_int_equal(bd_resize(dev), 0);
		assert_int_equal(atomic_load(&dev->size), MIB);
		image(2 * MIB);
		assert_int_equal(bd_resize(dev), 0);
		assert_int_equal(atomic_load(&dev->size), 2 * MIB);
		assert_int_equal(bd_write(dev, buf, 4096, 2 * MIB - 4096, 0), 0);
		/* Devices do not shrink. */
		image(MIB);
		assert_int_not_equal(bd_resize(dev), 0);
		bd_close(take_ptr(&dev));
		fake_nbd_kill(&server);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(geometry_is_the_servers),
		T(block_sizes_are_the_servers),
		T(large_blocks_are_refused),
		T(half_a_block_at_the_end_is_not_used),
		T(less_than_a_block_is_refused),
		T(readonly_server_makes_a_readonly_device),
		T(server_without_flush_counts_as_durable),
		T(every_operation_reaches_the_server),
		T(pieces_go_through_one_buffer),
		T(bounce_buffers_have_a_limit),
		T(connections_are_as_many_as_the_server_likes),
		T(servers_errors_are_told),
		T(errors_find_their_request),
		T(qemu_serves_every_operation),
		T(tcp_reaches_the_server),
		T(connections_are_made_by_the_dialler),
		T(tls_with_a_key),
		T(certificates_are_verified),
		T(bad_uris_are_refused),
		T(close_cuts_off_a_server_that_waits),
		T(close_lets_a_slow_server_finish),
		T(slow_server_gets_more_time),
		T(stopped_server_is_given_up_and_found_again),
		T(grown_export_is_seen),
	};

	if (argc > 1) /* one of them, by name */
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
