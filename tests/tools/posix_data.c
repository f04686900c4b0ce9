/* SPDX-License-Identifier: Apache-2.0 */
/* posix_data.c - POSIX corners of reading, writing, sizes and mappings */
#include <limits.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <linux/falloc.h>

#include "tests/tools/posix.h"

#define PAGE 4096u

/* ---- reading and writing ---------------------------------------------- */

static void read_stops_at_the_end(void)
{
	char buf[100];
	int fd = new_file("f");

	EQUAL(read(fd, buf, sizeof buf), 0);
	pattern_write(fd, 0, 5000, 1);
	EQUAL(pread(fd, buf, sizeof buf, 4950), 50);
	EQUAL(pread(fd, buf, sizeof buf, 5000), 0);
	EQUAL(pread(fd, buf, sizeof buf, 1 << 20), 0);
	FAILS(pread(fd, buf, 1, -1), EINVAL);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
	EQUAL(lseek(fd, 10, SEEK_END), 5010);
	EQUAL(read(fd, buf, sizeof buf), 0);
	close(fd);
	fd = OK_INT(open("f", O_RDONLY));
	FAILS(write(fd, buf, 1), EBADF);
	FAILS(ftruncate(fd, 1), EINVAL);
	close(fd);
	fd = OK_INT(open("f", O_WRONLY));
	FAILS(read(fd, buf, 1), EBADF);
	EQUAL(pwrite(fd, "x", 1, 4999), 1);
	close(fd);
}

/* Small and large writes over each other, against a copy in memory. */
static void overlapping_writes_keep_the_last(void)
{
	static unsigned char copy[3 * FRAME], got[3 * FRAME];
	int fd = new_file("f");
	size_t size = 0;
	unsigned x = 12345;

	for (unsigned i = 0; i < 3000; i++) {
		x = x * 1103515245 + 12345;
		size_t off = (x >> 8) % (sizeof copy - 20000);

		x = x * 1103515245 + 12345;
		size_t len = 1 + (x >> 8) % (i % 10 == 0 ? 20000 : 600);

		memset(copy + off, (int)(i & 0xff), len);
		EQUAL(pwrite(fd, copy + off, len, (off_t)off), len);
		size = off + len > size ? off + len : size;
		if (i % 100 == 99)
			OK(fdatasync(fd));
	}
	EQUAL(stat_fd(fd).st_size, size);
	EQUAL(pread(fd, got, sizeof got, 0), size);
	CHECK(memcmp(got, copy, size) == 0);
	close(fd);
}

static void one_large_write_is_read_back(void)
{
	size_t len = 8u << 20;
	unsigned char *buf = malloc(len);
	int fd = new_file("f");

	CHECK(buf != NULL);
	pattern_fill(buf, len, 0, 9);
	EQUAL(write(fd, buf, len), len);
	OK(fsync(fd));
	OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	pattern_expect(fd, 0, len, 9, false);
	OK(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	pattern_expect(fd, 1234567, 1 << 20, 9, false);
	free(buf);
	close(fd);
}

static void append_records(void *arg)
{
	unsigned me = *(unsigned *)arg;
	unsigned char rec[700];
	int fd = OK_INT(open("log", O_WRONLY | O_APPEND));

	for (unsigned i = 0; i < 250; i++) {
		size_t len = 20 + (i * 37 + me * 11) % 680;

		memset(rec, (int)('A' + me), len);
		rec[0] = '<';
		rec[len - 1] = '>';
		EQUAL(write(fd, rec, len), len);
	}
	OK(close(fd));
}

static void append_from_8_processes_loses_nothing(void)
{
	unsigned me[8], count[8] = { 0 };
	off_t want = 0;
	pid_t pid[8];

	close(new_file("log"));
	for (unsigned p = 0; p < 8; p++) {
		me[p] = p;
		pid[p] = start_child(append_records, &me[p]);
		for (unsigned i = 0; i < 250; i++)
			want += 20 + (i * 37 + p * 11) % 680;
	}
	for (unsigned p = 0; p < 8; p++)
		join_child(pid[p]);
	EQUAL(stat_of("log").st_size, want);
	FILE *f = fopen("log", "r");
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;

	CHECK(f != NULL);
	while ((len = getdelim(&line, &cap, '>', f)) > 0) {
		CHECK(line[0] == '<' && line[len - 1] == '>' && len >= 20);
		for (ssize_t i = 2; i < len - 1; i++)
			CHECK(line[i] == line[1]);
		CHECK(line[1] >= 'A' && line[1] < 'A' + 8);
		count[line[1] - 'A']++;
	}
	for (unsigned p = 0; p < 8; p++)
		EQUAL(count[p], 250);
	free(line);
	fclose(f);
}

static void append_flag_beats_the_offset(void)
{
	make_file("f", "12345", 0644);
	int fd = OK_INT(open("f", O_RDWR | O_APPEND));

	OK(lseek(fd, 0, SEEK_SET));
	EQUAL(write(fd, "67", 2), 2);
	EQUAL(lseek(fd, 0, SEEK_CUR), 7);
	EQUAL(pwrite(fd, "89", 2, 0), 2); /* Linux: pwrite appends, too */
	expect_text("f", "123456789");
	OK(truncate("f", 3));
	EQUAL(write(fd, "x", 1), 1);
	expect_text("f", "123x");
	close(fd);
}

static void open_trunc_empties_and_excl_refuses(void)
{
	make_file("f", "text", 0644);
	int keep = OK_INT(open("f", O_RDWR));

	FAILS(open("f", O_CREAT | O_EXCL | O_TRUNC | O_WRONLY, 0644), EEXIST);
	expect_text("f", "text");
	int fd = OK_INT(open("f", O_WRONLY | O_TRUNC));

	EQUAL(stat_fd(keep).st_size, 0);
	EQUAL(pwrite(fd, "Z", 1, 3), 1);
	char buf[8];

	EQUAL(pread(keep, buf, sizeof buf, 0), 4);
	CHECK(memcmp(buf, "\0\0\0Z", 4) == 0);
	close(fd);
	close(keep);
	fd = OK_INT(open("f", O_CREAT | O_TRUNC | O_RDWR, 0600));
	EQUAL(stat_fd(fd).st_size, 0);
	EQUAL(stat_fd(fd).st_mode & 0777, 0644);
	close(fd);
}

static void vectors_cross_pages_and_frames(void)
{
	static unsigned char buf[1024 * 211], got[1024 * 211];
	static struct iovec iov[1025];
	int fd = new_file("f");
	size_t at = 0;

	pattern_fill(buf, sizeof buf, 0, 3);
	for (unsigned i = 0; i < 1024; i++) {
		size_t len = i % 5 == 0 ? 0 : 1 + i % 210;

		iov[i] = (struct iovec){ buf + at, len };
		at += len;
	}
	EQUAL(pwritev(fd, iov, 1024, 777), at);
	FAILS(pwritev(fd, iov, 1025, 0), EINVAL);
	EQUAL(stat_fd(fd).st_size, 777 + at);
	for (unsigned i = 0; i < 1024; i++)
		iov[i].iov_base = got + ((unsigned char *)iov[i].iov_base - buf);
	EQUAL(preadv(fd, iov, 1024, 777), at);
	CHECK(memcmp(buf, got, at) == 0);
	EQUAL(pwritev2(fd, iov, 3, 0, RWF_DSYNC), iov[0].iov_len + iov[1].iov_len + iov[2].iov_len);
	FAILS(pwritev2(fd, iov, 3, 0, 0x40000000), EOPNOTSUPP);
	close(fd);
}

static void sync_writes_are_there(void)
{
	static const int flags[] = { O_SYNC, O_DSYNC, O_SYNC | O_APPEND };
	int rd;

	close(new_file("f"));
	rd = OK_INT(open("f", O_RDONLY));
	for (unsigned i = 0; i < 3; i++) {
		int fd = OK_INT(open("f", O_WRONLY | flags[i]));

		OK(lseek(fd, 0, SEEK_END));
		uint64_t off = (uint64_t)stat_fd(rd).st_size;

		for (unsigned k = 0; k < 5; k++) {
			unsigned char buf[5000];

			pattern_fill(buf, sizeof buf, off + k * sizeof buf, 0);
			EQUAL(write(fd, buf, sizeof buf), sizeof buf);
		}
		OK(fsync(fd));
		OK(close(fd));
	}
	pattern_expect(rd, 0, 75000, 0, false);
	EQUAL(stat_fd(rd).st_size, 75000);
	close(rd);
}

static void direct_io_agrees_with_buffered(void)
{
	unsigned char *buf;
	size_t len = 1 << 20;

	NEED("direct");
	EQUAL(posix_memalign((void **)&buf, PAGE, len), 0);
	int fd = new_file("f");
	int dio = OK_INT(open("f", O_RDWR | O_DIRECT));

	pattern_write(fd, 0, len, 1); /* dirty in a cache */
	EQUAL(pread(dio, buf, len, 0), len);
	for (size_t i = 0; i < len; i++)
		CHECK(buf[i] == pattern_at(i, 1));
	for (size_t size = PAGE; size <= len; size *= 4) {
		pattern_fill(buf, size, 0, (unsigned)size);
		EQUAL(pwrite(dio, buf, size, 0), size);
		pattern_expect(fd, 0, size, (unsigned)size, false);
	}
	pattern_fill(buf, PAGE, len, 7);
	EQUAL(pwrite(dio, buf, PAGE, (off_t)len), PAGE); /* extends */
	EQUAL(stat_fd(fd).st_size, len + PAGE);
	pattern_expect(fd, len, PAGE, 7, false);
	EQUAL(pread(dio, buf, len, (off_t)len), PAGE);
	EQUAL(pread(dio, buf, PAGE, (off_t)(len + PAGE)), 0);
	pattern_write(fd, 100, 50, 2);
	EQUAL(pread(dio, buf, PAGE, 0), PAGE);
	for (size_t i = 100; i < 150; i++)
		CHECK(buf[i] == pattern_at(i, 2));
	free(buf);
	close(dio);
	close(fd);
}

static void copies_inside_the_kernel_are_right(void)
{
	int src = new_file("src"), dst = new_file("dst"), p[2];
	off_t in = 0, out = 0, at = 1000;

	pattern_write(src, 0, 300000, 4); /* dirty when copied */
	for (size_t left = 250000; left;)
		left -= (size_t)OK(copy_file_range(src, &in, dst, &out, left, 0));
	EQUAL(in, 250000);
	pattern_expect(dst, 0, 250000, 4, false);
	EQUAL(stat_fd(dst).st_size, 250000);
	in = 0;
	out = 10;
	FAILS(copy_file_range(src, &in, src, &out, 100, 0), EINVAL);
	in = 299990;
	EQUAL(copy_file_range(src, &in, dst, &out, 100, 0), 10);
	OK(ftruncate(dst, 0));
	OK(lseek(dst, 0, SEEK_SET));
	for (size_t left = 200000; left;)
		left -= (size_t)OK(sendfile(dst, src, &at, left));
	EQUAL(stat_fd(dst).st_size, 200000);
	unsigned char *buf = malloc(200000);

	CHECK(buf != NULL);
	EQUAL(pread(dst, buf, 200000, 0), 200000);
	for (size_t i = 0; i < 200000; i++)
		CHECK(buf[i] == pattern_at(i + 1000, 4));
	free(buf);
	OK(pipe(p));
	at = FRAME - 10;
	EQUAL(splice(src, &at, p[1], NULL, 20, 0), 20);
	at = 0;
	EQUAL(splice(p[0], NULL, dst, &at, 20, 0), 20);
	unsigned char b[20];

	EQUAL(pread(dst, b, 20, 0), 20);
	for (size_t i = 0; i < 20; i++)
		CHECK(b[i] == pattern_at(FRAME - 10 + i, 4));
	close(src);
	close(dst);
}

/* ---- sizes and holes -------------------------------------------------- */

static const size_t borders[] = { 1,         PAGE - 1,     PAGE,
				  PAGE + 1,  3 * PAGE,     FRAME - 1,
				  FRAME,     FRAME + 1,    FRAME + PAGE,
				  2 * FRAME, 2 * FRAME + 5 };
#define N_BORDERS (sizeof borders / sizeof *borders)

static void holes_read_as_zero(void)
{
	for (size_t i = 0; i < N_BORDERS; i++) {
		int fd = OK_INT(open("f", O_CREAT | O_TRUNC | O_RDWR, 0644));

		pattern_write(fd, borders[i], 10, 1);
		pattern_write(fd, borders[i] + 3 * FRAME, 10, 2);
		pattern_expect(fd, 0, borders[i], 0, true);
		pattern_expect(fd, borders[i], 10, 1, false);
		pattern_expect(fd, borders[i] + 10, 3 * FRAME - 10, 0, true);
		OK(fsync(fd));
		pattern_expect(fd, 0, borders[i], 0, true);
		pattern_expect(fd, borders[i] + 10, 3 * FRAME - 10, 0, true);
		pattern_expect(fd, borders[i] + 3 * FRAME, 10, 2, false);
		close(fd);
	}
}

static void truncate_at(size_t down, size_t up, bool sync)
{
	size_t full = 3 * FRAME;
	int fd = OK_INT(open("f", O_CREAT | O_TRUNC | O_RDWR, 0644));

	pattern_write(fd, 0, full, 6);
	if (sync)
		OK(fsync(fd));
	OK(ftruncate(fd, (off_t)down));
	EQUAL(stat_of("f").st_size, down);
	pattern_expect(fd, 0, down, 6, false);
	if (sync)
		OK(fdatasync(fd));
	OK(truncate("f", (off_t)up));
	EQUAL(stat_fd(fd).st_size, up);
	size_t kept = up < down ? up : down;

	pattern_expect(fd, 0, kept, 6, false);
	if (up > down)
		pattern_expect(fd, down, up - down, 0, true);
	pattern_write(fd, up + 3, 5, 8);
	pattern_expect(fd, up, 3, 0, true);
	OK(fsync(fd));
	if (up > down)
		pattern_expect(fd, down, up - down, 0, true);
	close(fd);
}

static void truncate_across_borders_leaves_zeros(void)
{
	for (size_t i = 0; i < N_BORDERS; i++)
		for (size_t k = 0; k < N_BORDERS; k++)
			truncate_at(borders[i], borders[k], (i + k) % 2);
	FAILS(truncate("f", -1), EINVAL);
	FAILS(truncate("none", 0), ENOENT);
	FAILS(truncate(".", 0), EISDIR);
}

static void file_beyond_4_gib(void)
{
	static const uint64_t at[] = { (1ull << 31) - 100, (1ull << 32) - 5000, (1ull << 33) + 1,
				       (1ull << 40) + 12345 };
	int fd = new_file("f");

	NEED("large");
	for (unsigned i = 0; i < 4; i++) {
		pattern_write(fd, at[i], 10000, i);
		EQUAL(stat_fd(fd).st_size, at[i] + 10000);
	}
	OK(fsync(fd));
	for (unsigned i = 0; i < 4; i++) {
		pattern_expect(fd, at[i], 10000, i, false);
		pattern_expect(fd, at[i] - 20000, 20000, 0, true);
	}
	OK(ftruncate(fd, (5ll << 30) + 7));
	EQUAL(lseek(fd, 0, SEEK_END), (5ll << 30) + 7);
	pattern_expect(fd, at[1], 10000, 1, false);
	if (has_feature("sparse"))
		CHECK((uint64_t)stat_fd(fd).st_blocks * 512 < 1u << 30);
	close(fd);
}

static void size_limit_gives_efbig(void)
{
	struct rlimit lim = { .rlim_cur = 100000, .rlim_max = RLIM_INFINITY };
	static char buf[20000];
	int fd = new_file("f");

	signal(SIGXFSZ, SIG_IGN);
	OK(setrlimit(RLIMIT_FSIZE, &lim));
	EQUAL(pwrite(fd, buf, sizeof buf, 90000), 10000);
	FAILS(pwrite(fd, buf, 1, 100000), EFBIG);
	FAILS(ftruncate(fd, 100001), EFBIG);
	EQUAL(stat_fd(fd).st_size, 100000);
	lim.rlim_cur = RLIM_INFINITY;
	OK(setrlimit(RLIMIT_FSIZE, &lim));
	FAILS_EITHER(pwrite(fd, buf, 100, LLONG_MAX - 10), EFBIG, EINVAL);
	if (pwrite(fd, buf, 10, LLONG_MAX - 10) < 0)
		CHECK(errno == EFBIG || errno == EINVAL || errno == ENOSPC);
	else
		OK(ftruncate(fd, 100000));
	EQUAL(stat_fd(fd).st_size, 100000);
	pattern_expect(fd, 0, 100000, 0, true);
	close(fd);
}

static void fallocate_modes_do_what_they_say(void)
{
	NEED("fallocate");
	int fd = new_file("f");

	pattern_write(fd, 0, 10000, 1);
	OK(fallocate(fd, 0, 0, 100000));
	EQUAL(stat_fd(fd).st_size, 100000);
	pattern_expect(fd, 0, 10000, 1, false);
	pattern_expect(fd, 10000, 90000, 0, true);
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 100000, 100000));
	EQUAL(stat_fd(fd).st_size, 100000);
	FAILS(fallocate(fd, 0, 0, 0), EINVAL);
	FAILS(fallocate(fd, 0, -1, 10), EINVAL);
	FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
	int ro = OK_INT(open("f", O_RDONLY));

	FAILS(fallocate(ro, 0, 0, 10), EBADF);
	close(ro);
	close(fd);
}

static void punched_hole_reads_zero_to_the_byte(void)
{
	NEED("punch");
	int fd = new_file("f");

	for (unsigned sync = 0; sync < 2; sync++) {
		pattern_write(fd, 0, 4 * FRAME, 1);
		if (sync)
			OK(fsync(fd));
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, FRAME + 777));
		pattern_expect(fd, 0, 5000, 1, false);
		pattern_expect(fd, 5000, FRAME + 777, 0, true);
		pattern_expect(fd, 5777 + FRAME, 2 * FRAME, 1, false);
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * FRAME - 10,
			     FRAME));
		EQUAL(stat_fd(fd).st_size, 4 * FRAME);
		pattern_expect(fd, 4 * FRAME - 10, 10, 0, true);
		pattern_write(fd, 6000, 10, 2);
		pattern_expect(fd, 5000, 1000, 0, true);
		pattern_expect(fd, 6000, 10, 2, false);
		OK(fsync(fd));
		pattern_expect(fd, 6010, 50000, 0, true);
	}
	close(fd);
}

static void zero_range_zeroes_and_may_extend(void)
{
	NEED("zero_range");
	int fd = new_file("f");

	pattern_write(fd, 0, FRAME, 1);
	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 100, 2 * FRAME));
	EQUAL(stat_fd(fd).st_size, FRAME);
	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 100, 2 * FRAME));
	EQUAL(stat_fd(fd).st_size, 2 * FRAME + 100);
	pattern_expect(fd, 0, 100, 1, false);
	pattern_expect(fd, 100, 2 * FRAME, 0, true);
	close(fd);
}

/* COLLAPSE and INSERT: right, or refused with the data untouched. */
static void shifting_ranges_is_right_or_refused(void)
{
	int fd = new_file("f");

	pattern_write(fd, 0, 4 * FRAME, 1);
	if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, FRAME, FRAME) == 0) {
		EQUAL(stat_fd(fd).st_size, 3 * FRAME);
		unsigned char *buf = malloc(2 * FRAME);

		CHECK(buf != NULL);
		EQUAL(pread(fd, buf, 2 * FRAME, FRAME), 2 * FRAME);
		for (size_t i = 0; i < 2 * FRAME; i++)
			CHECK(buf[i] == pattern_at(2 * FRAME + i, 1));
		free(buf);
	} else {
		CHECK(errno == EOPNOTSUPP || errno == EINVAL);
		EQUAL(stat_fd(fd).st_size, 4 * FRAME);
		pattern_expect(fd, 0, 4 * FRAME, 1, false);
	}
	close(fd);
}

static void seek_finds_data_and_holes(void)
{
	int fd = new_file("f");
	uint64_t data = 4ull << 20, size = 8ull << 20;

	pattern_write(fd, data, 3 * FRAME, 1);
	OK(ftruncate(fd, (off_t)size));
	for (unsigned sync = 0; sync < 2; sync++) {
		off_t d = OK(lseek(fd, 0, SEEK_DATA));

		CHECK(d <= (off_t)data);
		d = OK(lseek(fd, (off_t)data + 100, SEEK_DATA));
		EQUAL(d, data + 100);
		off_t h = OK(lseek(fd, (off_t)data, SEEK_HOLE));

		CHECK(h >= (off_t)(data + 3 * FRAME) && h <= (off_t)size);
		CHECK(OK(lseek(fd, 0, SEEK_HOLE)) <= (off_t)size);
		FAILS(lseek(fd, (off_t)size, SEEK_DATA), ENXIO);
		FAILS(lseek(fd, (off_t)size + 5, SEEK_HOLE), ENXIO);
		OK(fsync(fd));
	}
	if (has_feature("seek_hole"))
		CHECK(OK(lseek(fd, 0, SEEK_DATA)) > 0);
	close(fd);
}

/* ---- mappings --------------------------------------------------------- */

static unsigned char *map(int fd, size_t len, int flags)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		FAIL("mmap: %s", strerror(errno));
	return p;
}

static void check_mapped_byte(void *arg)
{
	int fd = OK_INT(open("f", O_RDONLY));
	unsigned char c;

	EQUAL(pread(fd, &c, 1, 70000), 1);
	EQUAL(c, *(unsigned char *)arg);
	close(fd);
}

static void shared_mapping_and_read_see_each_other(void)
{
	int fd = new_file("f");
	unsigned char c, x = 'M';

	pattern_write(fd, 0, 2 * FRAME, 1);
	unsigned char *m = map(fd, 2 * FRAME, MAP_SHARED);

	for (size_t i = 0; i < 2 * FRAME; i++)
		CHECK(m[i] == pattern_at(i, 1));
	m[70000] = x;
	EQUAL(pread(fd, &c, 1, 70000), 1);
	EQUAL(c, x);
	join_child(start_child(check_mapped_byte, &x));
	pattern_write(fd, 65000, 1000, 2);
	for (size_t i = 65000; i < 66000; i++)
		CHECK(m[i] == pattern_at(i, 2));
	m[0] = 'A';
	OK(msync(m, 2 * FRAME, MS_SYNC));
	OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	EQUAL(pread(fd, &c, 1, 0), 1);
	EQUAL(c, 'A');
	m[1] = 'B';
	OK(munmap(m, 2 * FRAME));
	OK(close(fd));
	fd = OK_INT(open("f", O_RDONLY));
	EQUAL(pread(fd, &c, 1, 1), 1);
	EQUAL(c, 'B');
	close(fd);
}

static void private_mapping_changes_nothing(void)
{
	int fd = new_file("f");

	pattern_write(fd, 0, FRAME, 1);
	unsigned char *m = map(fd, FRAME, MAP_PRIVATE);

	memset(m, 'x', FRAME);
	OK(munmap(m, FRAME));
	pattern_expect(fd, 0, FRAME, 1, false);
	close(fd);
}

static sigjmp_buf on_bus;

static void bus(int sig)
{
	siglongjmp(on_bus, sig);
}

static void mapping_beyond_the_end_is_zero_then_sigbus(void)
{
	int fd = new_file("f");

	pattern_write(fd, 0, 3 * PAGE, 1);
	volatile unsigned char *m = map(fd, 3 * PAGE, MAP_SHARED);

	OK(ftruncate(fd, PAGE + 100));
	for (size_t i = PAGE + 100; i < 2 * PAGE; i++)
		CHECK(m[i] == 0);
	signal(SIGBUS, bus);
	if (sigsetjmp(on_bus, 1) == 0) {
		unsigned char c = m[2 * PAGE];

		FAIL("read byte %u beyond the end", c);
	}
	if (has_feature("eof_zero"))
		m[PAGE + 200] = 'x'; /* beyond the end: must never come back */
	OK(msync((void *)m, PAGE * 2, MS_SYNC));
	OK(ftruncate(fd, 3 * PAGE));
	pattern_expect(fd, PAGE + 100, 2 * PAGE - 100, 0, true);
	CHECK(m[2 * PAGE] == 0);
	m[2 * PAGE] = 'y';
	unsigned char c;

	EQUAL(pread(fd, &c, 1, 2 * PAGE), 1);
	EQUAL(c, 'y');
	close(fd);
}

static const struct subtest tests[] = {
	SUBTEST(read_stops_at_the_end),
	SUBTEST(overlapping_writes_keep_the_last),
	SUBTEST(one_large_write_is_read_back),
	SUBTEST(append_from_8_processes_loses_nothing),
	SUBTEST(append_flag_beats_the_offset),
	SUBTEST(open_trunc_empties_and_excl_refuses),
	SUBTEST(vectors_cross_pages_and_frames),
	SUBTEST(sync_writes_are_there),
	SUBTEST(direct_io_agrees_with_buffered),
	SUBTEST(copies_inside_the_kernel_are_right),
	SUBTEST(holes_read_as_zero),
	SUBTEST(truncate_across_borders_leaves_zeros),
	SUBTEST(file_beyond_4_gib),
	SUBTEST(size_limit_gives_efbig),
	SUBTEST(fallocate_modes_do_what_they_say),
	SUBTEST(punched_hole_reads_zero_to_the_byte),
	SUBTEST(zero_range_zeroes_and_may_extend),
	SUBTEST(shifting_ranges_is_right_or_refused),
	SUBTEST(seek_finds_data_and_holes),
	SUBTEST(shared_mapping_and_read_see_each_other),
	SUBTEST(private_mapping_changes_nothing),
	SUBTEST(mapping_beyond_the_end_is_zero_then_sigbus),
};

int main(int argc, char **argv)
{
	return posix_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
