/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD transport against servers of the system: geometry, every operation, errors, time, ends */
#include <signal.h>

#include "tests/unit/backends/nbd_test.h"

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
		/* It may be of older writes. */
		assert_int_equal(bd_write(dev, buf, 4096, 0, BD_FUA), cases[i].rc);
		assert_int_equal(bd_failed(dev), cases[i].rc);
		assert_int_equal(bd_flush(dev), cases[i].rc);
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
