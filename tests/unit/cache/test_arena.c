/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cache/cache_test.h"

static int made(uint32_t page, uint32_t nframes)
{
	int fd = -1;

	assert_int_equal(arena_create(page, nframes, &fd), 0);
	return fd;
}

/* A copy of the header alone, in a file of any size that is not sealed. */
static int forged(const struct arena_header *h, off_t size)
{
	int fd = memfd_create("forged", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	if (size >= (off_t)sizeof *h)
		assert_int_equal(pwrite(fd, h, sizeof *h, 0), sizeof *h);
	return fd;
}

static struct arena_header header_of(uint32_t page, uint32_t nframes)
{
	struct arena_header h;
	int fd = made(page, nframes);

	assert_int_equal(pread(fd, &h, sizeof h, 0), sizeof h);
	close(fd);
	return h;
}

static void expect_refused(const struct arena_header *h, off_t size)
{
	struct arena *a = NULL;
	struct err err = { "" };
	int fd = forged(h, size);

	assert_int_equal(arena_attach(fd, &a, &err), -EINVAL);
	assert_null(a);
	assert_true(err.text[0]);
	close(fd);
}

static void create_refuses_odd_geometry(void **state)
{
	static const uint32_t bad[][2] = { { 0, 1 },    { 2048, 1 },    { 5000, 1 },
					   { 4096, 0 }, { 2 << 20, 1 }, { 12288, 64 } };
	int fd = -1;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(arena_create(bad[i][0], bad[i][1], &fd), -EINVAL);
	assert_int_equal(fd, -1);
}

static void sections_follow_each_other_and_frames_are_aligned(void **state)
{
	struct arena_header h = header_of(65536, 100);

	(void)state;
	assert_true(h.small_off >= sizeof h);
	assert_true(h.large_off >= h.small_off + (uint64_t)ARENA_SLOTS_SMALL * ARENA_SLOT_SMALL);
	assert_true(h.slot_off >= h.large_off + (uint64_t)ARENA_SLOTS_LARGE * ARENA_SLOT_LARGE);
	assert_true(h.intent_off >= h.slot_off + ARENA_SLOTS * sizeof(struct arena_slot));
	assert_true(h.inode_off >= h.intent_off + ARENA_INTENTS * sizeof(struct arena_intent));
	assert_true(h.handle_off >=
		    h.inode_off + (uint64_t)ARENA_INODES * sizeof(struct arena_inode));
	assert_true(h.ledger_off >=
		    h.handle_off + (uint64_t)ARENA_HANDLES * sizeof(struct arena_handle));
	assert_int_equal(h.ledger_bytes, ARENA_LEDGER_BYTES);
	assert_int_equal(h.ledger_off % 4096, 0);
	assert_true(h.page_off >= h.ledger_off + h.ledger_bytes);
	assert_true(h.frame_off >= h.page_off + 100 * sizeof(struct arena_page));
	assert_int_equal(h.frame_off % (2 << 20), 0);
	assert_true(h.total_bytes >= h.frame_off + 100 * 65536);
}

static void descriptor_is_close_on_exec(void **state)
{
	int fd = made(4096, 64);

	(void)state;
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

/* Exit status of a process that must not mount: 0 when all is as it should be. */
static int without_rights(void)
{
	int fd = -1;

	if (geteuid() == 0 && setresuid(65534, 65534, 65534))
		return 2;
	if (arena_create(4096, 64, &fd) || !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
		return 3;
	return ftruncate(fd, 4096) == 0 || ftruncate(fd, (off_t)1 << 40) == 0;
}

static void who_may_not_mount_gets_a_sealed_memfd(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid)
		_exit(without_rights());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Only where the machine has huge pages, and root runs the test. */
static void who_may_mount_gets_huge_pages(void **state)
{
	struct arena *a = NULL;
	struct err err;
	struct stat st;

	(void)state;
	if (geteuid() || access("/sys/kernel/mm/transparent_hugepage", F_OK))
		skip();
	assert_int_equal(arena_attach(made(65536, 64), &a, &err), 0);
	assert_true(a->huge);
	memset(arena_frame(a, 33), 1, 1);
	assert_int_equal(fstat(a->fd, &st), 0);
	/* Header and frame: a huge page each, unless memory is in pieces. */
	assert_true((uint64_t)st.st_blocks * 512 <= 2ULL * (2 << 20));
	arena_free(a);
}

static void content_outlives_a_mapping(void **state)
{
	struct err err;
	struct arena *a;
	int fd = made(4096, 64), other = dup(fd), before = count_fds();

	(void)state;
	assert_int_equal(arena_attach(fd, &a, &err), 0);
	memset(arena_frame(a, 63), 0x5a, 4096);
	a->pages[63].dirty = 1;
	memset(arena_slot_buf(a, ARENA_SLOTS - 1), 0x33, ARENA_SLOT_LARGE);
	assert_int_equal(((uint8_t *)arena_ledger(a))[ARENA_LEDGER_BYTES - 1], 0);
	memset(arena_ledger(a), 0x44, ARENA_LEDGER_BYTES);
	arena_free(a);
	assert_int_equal(count_fds(), before - 1);
	assert_int_equal(arena_attach(other, &a, &err), 0);
	assert_int_equal(arena_frame(a, 63)[4095], 0x5a);
	assert_int_equal(a->pages[63].dirty, 1);
	assert_int_equal(((uint8_t *)arena_ledger(a))[ARENA_LEDGER_BYTES - 1], 0x44);
	assert_int_equal(a->handles[ARENA_HANDLES - 1].inode, 0);
	assert_int_equal(a->pages[0].inode, 0);
	assert_int_equal(a->slots[ARENA_SLOTS - 1].state, ARENA_SLOT_FREE);
	assert_int_equal(arena_slot_buf(a, ARENA_SLOTS - 1)[ARENA_SLOT_LARGE - 1], 0x33);
	arena_free(a);
}

static void slots_do_not_overlap(void **state)
{
	struct err err;
	struct arena *a;

	(void)state;
	assert_int_equal(arena_attach(made(4096, 64), &a, &err), 0);
	for (unsigned i = 0; i + 1 < ARENA_SLOTS; i++)
		assert_true(arena_slot_buf(a, i + 1) - arena_slot_buf(a, i) >=
			    (i < ARENA_SLOTS_SMALL ? ARENA_SLOT_SMALL : ARENA_SLOT_LARGE));
	assert_true(arena_slot_buf(a, ARENA_SLOTS - 1) + ARENA_SLOT_LARGE <= (uint8_t *)a->slots);
	arena_free(a);
}

static void released_frames_read_as_zeros(void **state)
{
	struct err err;
	struct arena *a;

	(void)state;
	assert_int_equal(arena_attach(made(4096, 64), &a, &err), 0);
	memset(arena_frame(a, 0), 1, 3 * 4096);
	arena_release_frames(a, 1, 1);
	assert_int_equal(arena_frame(a, 0)[4095], 1);
	assert_int_equal(arena_frame(a, 1)[0], 0);
	assert_int_equal(arena_frame(a, 2)[0], 1);
	arena_free(a);
}

static void every_damaged_byte_of_the_layout_is_noticed(void **state)
{
	struct arena_header good = header_of(4096, 64);

	(void)state;
	for (size_t i = 0; i < offsetof(struct arena_header, init_len); i++) {
		struct arena_header h = good;

		((uint8_t *)&h)[i] ^= 0x10;
		expect_refused(&h, (off_t)good.total_bytes);
	}
}

static void other_sizes_are_refused(void **state)
{
	struct arena_header h = header_of(4096, 64);

	(void)state;
	expect_refused(&h, (off_t)h.total_bytes - 4096);
	expect_refused(&h, (off_t)h.total_bytes + 4096);
	expect_refused(&h, 100);
	expect_refused(&h, 0);
}

static void too_long_init_messages_are_refused(void **state)
{
	struct arena_header h = header_of(4096, 64);

	(void)state;
	h.init_len = sizeof h.init_msg + 1;
	expect_refused(&h, (off_t)h.total_bytes);
	h.init_len = 0;
	h.init_reply_len = UINT32_MAX;
	expect_refused(&h, (off_t)h.total_bytes);
}

static void a_bad_descriptor_is_an_error(void **state)
{
	struct arena *a;
	struct err err;

	(void)state;
	assert_int_equal(arena_attach(-1, &a, &err), -EINVAL);
	arena_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_refuses_odd_geometry),
		cmocka_unit_test(sections_follow_each_other_and_frames_are_aligned),
		cmocka_unit_test(descriptor_is_close_on_exec),
		cmocka_unit_test(who_may_not_mount_gets_a_sealed_memfd),
		cmocka_unit_test(who_may_mount_gets_huge_pages),
		cmocka_unit_test(content_outlives_a_mapping),
		cmocka_unit_test(slots_do_not_overlap),
		cmocka_unit_test(released_frames_read_as_zeros),
		cmocka_unit_test(every_damaged_byte_of_the_layout_is_noticed),
		cmocka_unit_test(other_sizes_are_refused),
		cmocka_unit_test(too_long_init_messages_are_refused),
		cmocka_unit_test(a_bad_descriptor_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
