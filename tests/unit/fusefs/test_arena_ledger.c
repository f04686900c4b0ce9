/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger of a device in the arena: what one worker left there, its successor reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backends/block/ledger.h"
#include "cache/arena.h"
#include "common/cleanup.h"

#define DEVICE_BYTES (1ull << 30)
#define PAGE 65536u
#define FRAMES 16u

static struct arena *attach(int fd)
{
	struct arena *a = NULL;
	struct err err = { "" };

	if (arena_attach(fd, &a, &err))
		fail_msg("%s", err.text);
	return a;
}

static void put(struct bd_ledger *l, unsigned i, uint64_t off, uint64_t stamp,
		enum bd_ledger_state state)
{
	l->records[i].off = off;
	l->records[i].len = 4096;
	l->records[i].stamp = stamp;
	l->records[i].op = BD_WRITE;
	l->records[i].state = state;
}

static void a_ledger_outlives_its_worker(void **state)
{
	struct bd_ledger_range out[4];
	struct bd_ledger *l;
	struct arena *a;
	unsigned nonsense = 0;
	int fd, other;

	(void)state;
	assert_int_equal(arena_create(PAGE, FRAMES, &fd), 0);
	other = dup(fd);
	a = attach(fd);
	l = bd_ledger_init(arena_ledger(a), ARENA_LEDGER_BYTES);
	assert_non_null(l);
	assert_true(l->nrecords >= BD_LEDGER_RECORDS);
	put(l, BD_LEDGER_RECORDS - 1, 8192, 7, BD_LEDGER_IN_FLIGHT);
	put(l, 0, 4096, 9, BD_LEDGER_UNFLUSHED);
	put(l, 1, DEVICE_BYTES, 8, BD_LEDGER_IN_FLIGHT); /* beyond the device */
	arena_free(a);

	a = attach(other);
	assert_int_equal(bd_ledger_read(arena_ledger(a), ARENA_LEDGER_BYTES, DEVICE_BYTES, out,
					ARRAY_LEN(out), &nonsense),
			 2);
	assert_int_equal(nonsense, 1);
	assert_int_equal(out[0].stamp, 7);
	assert_int_equal(out[0].off, 8192);
	assert_int_equal(out[0].state, BD_LEDGER_IN_FLIGHT);
	assert_int_equal(out[1].stamp, 9);
	assert_int_equal(out[1].state, BD_LEDGER_UNFLUSHED);
	bd_ledger_clear(arena_ledger(a));
	assert_int_equal(bd_ledger_read(arena_ledger(a), ARENA_LEDGER_BYTES, DEVICE_BYTES, out,
					ARRAY_LEN(out), &nonsense),
			 0);
	arena_free(a);
}

/* Of a mount without a block device. */
static void an_arena_without_a_ledger_has_none(void **state)
{
	struct bd_ledger_range out[1];
	unsigned nonsense = 0;
	struct arena *a;
	int fd;

	(void)state;
	assert_int_equal(arena_create(PAGE, FRAMES, &fd), 0);
	a = attach(fd);
	assert_int_equal(bd_ledger_read(arena_ledger(a), ARENA_LEDGER_BYTES, DEVICE_BYTES, out, 1,
					&nonsense),
			 -EINVAL);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ledger_outlives_its_worker),
		cmocka_unit_test(an_arena_without_a_ledger_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
