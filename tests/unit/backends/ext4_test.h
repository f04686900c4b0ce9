/* SPDX-License-Identifier: Apache-2.0 */
/* ext4_test.h - what the tests of superblock, journal and recovery share: images made by mke2fs, devices that hold them,
 * a journal above, and e2fsck as the second opinion. Without e2fsprogs such tests skip. */
#ifndef TESTS_UNIT_EXT4_TEST_H
#define TESTS_UNIT_EXT4_TEST_H

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these above it */
#include <cmocka.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/block/device.h"
#include "backends/block/ext4/jbd2.h"
#include "backends/block/ext4/journal.h"
#include "backends/block/ext4/super.h"
#include "common/cleanup.h"
#include "tests/fake/fake_device.h"

#define MIB ((size_t)1 << 20)
#define SMALL_1K "-b 1024 -J size=1"
#define SMALL_4K "-b 4096 -J size=4"

struct image {
	uint8_t *bytes; /* owned */
	size_t size;
};

/* ---- programs ------------------------------------------------------------- */

/* Runs a line of words; its exit status, 127: there is no such program. */
static inline int run_words(const char *line)
{
	static char path[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
	char words[512], program[128], *argv[32], *save = NULL, *env[] = { path, NULL };
	posix_spawn_file_actions_t fa;
	int argc = 0, status, rc;
	pid_t pid;

	snprintf(words, sizeof words, "%s", line);
	for (char *w = strtok_r(words, " ", &save); w && argc < 31; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	snprintf(program, sizeof program, "/usr/sbin/%s", argv[0]);
	if (access(program, X_OK))
		snprintf(program, sizeof program, "/sbin/%s", argv[0]);
	posix_spawn_file_actions_init(&fa);
	for (int fd = 0; fd < 3; fd++)
		posix_spawn_file_actions_addopen(&fa, fd, "/dev/null", O_RDWR, 0);
	rc = posix_spawn(&pid, program, &fa, NULL, argv, env);
	posix_spawn_file_actions_destroy(&fa);
	if (rc)
		return 127;
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static inline int temp_file(char *path, size_t n)
{
	const char *dir = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm"; /* tools sync */
	int fd;

	snprintf(path, n, "%s/persifs-ext4-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline struct image image_read(int fd)
{
	struct image im;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	im.size = (size_t)st.st_size;
	im.bytes = malloc(im.size);
	assert_non_null(im.bytes);
	for (size_t at = 0; at < im.size;) {
		ssize_t n = pread(fd, im.bytes + at, im.size - at, (off_t)at);

		assert_true(n > 0);
		at += (size_t)n;
	}
	return im;
}

/* A file system made by mke2fs with these options. */
static inline struct image image_make(const char *options, size_t mib)
{
	char path[256], line[512];
	AUTO_FD int fd = temp_file(path, sizeof path);
	struct image im;
	int rc;

	snprintf(line, sizeof line,
		 "mke2fs -q -F -t ext4 -U 01234567-89ab-cdef-0123-456789abcdef "
		 "-E lazy_itable_init=1,nodiscard %s %s %zuM",
		 options, path, mib);
	rc = run_words(line);
	if (rc == 127) {
		unlink(path);
		skip();
	}
	assert_int_equal(rc, 0);
	im = image_read(fd);
	unlink(path);
	return im;
}

static inline struct image image_copy_of(const uint8_t *bytes, size_t size)
{
	struct image im = { malloc(size), size };

	assert_non_null(im.bytes);
	memcpy(im.bytes, bytes, size);
	return im;
}

static inline void image_done(struct image *im)
{
	free(im->bytes);
	im->bytes = NULL;
}

/* Lets e2fsck work on the image; its exit status. */
static inline int image_e2fsck(struct image *im, const char *options)
{
	char path[256], line[512];
	AUTO_FD int fd = temp_file(path, sizeof path);
	int rc;

	assert_int_equal(pwrite(fd, im->bytes, im->size, 0), (ssize_t)im->size);
	snprintf(line, sizeof line, "e2fsck %s %s", options, path);
	rc = run_words(line);
	if (rc == 127) {
		unlink(path);
		skip();
	}
	image_done(im);
	*im = image_read(fd);
	unlink(path);
	return rc;
}

/* ---- devices ---------------------------------------------------------------- */

static inline struct bd *device_with(const struct image *im, const struct fake_device_conf *conf,
				     struct fake_device **f)
{
	struct fake_device_conf c = conf ? *conf : (struct fake_device_conf){ .limits.fua = true };
	struct bd *dev;

	c.size = im->size;
	dev = fake_device_open(&c, NULL, f);
	assert_int_equal(bd_write(dev, im->bytes, im->size, 0, 0), 0);
	assert_int_equal(bd_flush(dev), 0);
	fake_device_clear(*f);
	return dev;
}

/* ---- looking into images ------------------------------------------------------ */

static inline uint64_t log_block_at(const struct ext4_super *s, uint32_t log)
{
	for (unsigned i = 0; i < s->njournal; i++)
		if (log - s->journal[i].log < s->journal[i].len)
			return s->journal[i].phys + (log - s->journal[i].log);
	fail();
	return 0;
}

/* A block of the journal file in the bytes of a device. */
static inline uint8_t *log_at(uint8_t *bytes, const struct ext4_super *s, uint32_t log)
{
	return bytes + log_block_at(s, log) * s->block_size;
}

/* Are they equal but for both superblocks, in which tools write times and counters of their own? */
static inline bool same_files(const struct image *a, const struct image *b,
			      const struct ext4_super *s)
{
	uint64_t journal = log_block_at(s, 0) * s->block_size;

	assert_int_equal(a->size, b->size);
	for (size_t at = 0; at < a->size; at += 1024)
		if (at != EXT4_SUPER_OFFSET && at != journal &&
		    memcmp(a->bytes + at, b->bytes + at, 1024))
			return false;
	return true;
}

/* ---- a journal ------------------------------------------------------------------ */

struct fixture {
	struct image im;
	struct bd *dev;
	struct fake_device *f;
	struct ext4_super super;
	struct bufs *bs;
	struct jrn *j;
	uint64_t payload; /* first of many free blocks at the end */
	struct jrn_conf conf;
};

#define PAYLOAD 1500u
#define PLAIN ((struct buf_owner){ .type = BUF_PLAIN })

static inline void fixture_device(struct fixture *x, const char *options, size_t mib,
				  const struct fake_device_conf *conf)
{
	struct err err = { "" };

	*x = (struct fixture){ .im = image_make(options, mib) };
	x->dev = device_with(&x->im, conf, &x->f);
	if (ext4_super_read(x->dev, &x->super, &err))
		fail_msg("%s", err.text);
	x->payload = x->super.blocks - PAYLOAD;
}

/* memory: of clean buffers. */
static inline void fixture_open(struct fixture *x, size_t memory)
{
	struct bufs_conf bc = {
		.dev = x->dev,
		.block_size = x->super.block_size,
		.blocks = x->super.blocks,
		.memory = memory,
	};
	struct err err = { "" };

	assert_int_equal(bufs_new(&bc, &x->bs), 0);
	x->conf.dev = x->dev;
	x->conf.bufs = x->bs;
	x->conf.super = &x->super;
	if (jrn_open(&x->conf, &x->j, &err))
		fail_msg("%s", err.text);
}

static inline int fixture_close(struct fixture *x)
{
	int rc = jrn_close(x->j);

	x->j = NULL;
	bufs_free(x->bs);
	x->bs = NULL;
	return rc;
}

static inline void fixture_abandon(struct fixture *x)
{
	jrn_abandon(x->j);
	x->j = NULL;
	bufs_free(x->bs);
	x->bs = NULL;
}

static inline void fixture_done(struct fixture *x)
{
	if (x->j)
		fixture_abandon(x);
	bd_close(x->dev);
	ext4_super_done(&x->super);
	image_done(&x->im);
}

/* Fills block n of the payload in an open handle. */
static inline void put_block(struct fixture *x, struct txn *t, unsigned n, int fill)
{
	struct buf *b;

	assert_int_equal(buf_get(x->bs, x->payload + n, PLAIN, &b), 0);
	buf_lock(b);
	memset(buf_change(t, b, 0, x->super.block_size), fill, x->super.block_size);
	buf_unlock(b);
	buf_put(b);
}

/* A transaction's share of one handle: n blocks from `first` on. */
static inline uint32_t put_blocks(struct fixture *x, unsigned first, unsigned n, int fill)
{
	struct txn t;

	assert_int_equal(txn_begin(x->j, n, &t), 0);
	for (unsigned i = 0; i < n; i++)
		put_block(x, &t, first + i, fill);
	return txn_end(&t);
}

static inline bool block_is(const struct fixture *x, const uint8_t *bytes, unsigned n, int fill)
{
	const uint8_t *p = bytes + (x->payload + n) * x->super.block_size;

	for (size_t i = 0; i < x->super.block_size; i++)
		if (p[i] != (uint8_t)fill)
			return false;
	return true;
}

/* What would be left if the power went now. */
static inline struct image fixture_durable(const struct fixture *x)
{
	struct image im;

	fake_device_hold(x->f, true); /* images may be on their way home */
	im = image_copy_of(fake_device_durable(x->f), x->im.size);
	fake_device_hold(x->f, false);
	return im;
}

/* Our recovery on an image; its result. */
static inline int image_recover(struct image *im, struct jrn_recovered *out, struct err *err)
{
	struct fake_device *f;
	struct bd *dev = device_with(im, NULL, &f);
	struct ext4_super s;
	int rc = ext4_super_read(dev, &s, err);

	if (!rc) {
		rc = jrn_recover(dev, &s, out, err);
		ext4_super_done(&s);
	}
	memcpy(im->bytes, fake_device_durable(f), im->size);
	bd_close(dev);
	return rc;
}

#endif
