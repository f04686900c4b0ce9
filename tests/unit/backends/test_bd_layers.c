/* SPDX-License-Identifier: Apache-2.0 */
/* Layers above devices: faults and delays do what their description says, stacks close as one, and what is wrong is refused
 * with a sentence. The record and powercut layers have tests of their own. */
#include "tests/unit/backends/device_test.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/block/layers.h"

static struct {
	struct bd *dev;
	struct fake_device *f;
	uint8_t bytes[4096];
} t;

static const struct fake_device_conf conf = {
	.limits = { .fua = true, .max_zero = 1u << 20, .max_discard = 1u << 20 },
};

static void open_with(const char *spec)
{
	struct err err = { "" };

	if (bd_layers_open(spec, fake_device_open(&conf, NULL, &t.f), &t.dev, &err))
		fail_msg("%s", err.text);
}

static int write_now(uint64_t sector, unsigned flags)
{
	return bd_write(t.dev, t.bytes, 512, sector * 512, flags);
}

static int read_now(void)
{
	return bd_read(t.dev, t.bytes, 512, 0);
}

/* ---- faults ------------------------------------------------------------------ */

/* The calls of 1..6 that fail, a digit each. */
static const char *failures(int (*call)(void))
{
	static char seen[8];
	char *p = seen;

	for (int c = '1'; c <= '6'; c++) {
		int rc = call();

		if (rc)
			*p++ = (char)(rc == -EIO ? c : '?');
	}
	*p = '\0';
	return seen;
}

static int one_write(void)
{
	return write_now(1, 0);
}

static int one_fua(void)
{
	return write_now(1, BD_FUA);
}

static int one_zero(void)
{
	return bd_zero(t.dev, 0, 512, 0);
}

static int one_discard(void)
{
	return bd_discard(t.dev, 0, 512);
}

static void the_nth_fails(void **state)
{
	static const struct {
		const char *spec;
		int (*call)(void);
		const char *want;
	} rows[] = {
		{ "fault:write=3:EIO", one_write, "3" },
		{ "fault:write=3+:EIO", one_write, "3456" },
		{ "fault:write=3x2:EIO", one_write, "34" },
		{ "fault:read=1:EIO", read_now, "1" },
		{ "fault:read=1:EIO", one_write, "" },
		{ "fault:zero=2:EIO", one_zero, "2" },
		{ "fault:discard=6:EIO", one_discard, "6" },
		/* B3: after a write with FUA the others fail, too. */
		{ "fault:fua=2:EIO", one_fua, "23456" },
		{ "fault:fua=2:EIO", one_write, "" },
		{ "fault:write=2:EIO", one_fua, "23456" },
		{ "fault:all=2:EIO", one_fua, "23456" },
		{ "fault:write=*:EIO,p=1", one_write, "123456" },
		{ "fault:p=1", one_zero, "123456" },
		{ "fault:p=1", read_now, "123456" },
		{ "fault:read=*:EIO,p=1", one_write, "" },
		{ "fault:write=1:EIO,fault:write=1:EIO", one_write, "12" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		open_with(rows[i].spec);
		assert_string_equal(failures(rows[i].call), rows[i].want);
		bd_close(t.dev);
	}
}

static void what_fails_has_not_happened_but_with_after(void **state)
{
	(void)state;
	memset(t.bytes, 0x11, 512);
	open_with("fault:write=1:ENOSPC");
	assert_int_equal(write_now(0, 0), -ENOSPC);
	assert_int_equal(fake_device_count(t.f), 0);
	bd_close(t.dev);
	open_with("fault:write=1:ENOSPC,after=1");
	assert_int_equal(write_now(0, 0), -ENOSPC);
	assert_true(all_are(fake_device_bytes(t.f), 512, 0x11));
	assert_int_equal(write_now(0, 0), 0);
	bd_close(t.dev);
	open_with("fault:read=2:EIO,after=0");
	assert_string_equal(failures(read_now), "2");
	assert_int_equal(fake_device_count(t.f), 5);
	bd_close(t.dev);
}

/* B3 */
static void a_flush_that_fails_stops_the_device(void **state)
{
	(void)state;
	open_with("fault:flush=2:EIO");
	assert_int_equal(bd_flush(t.dev), 0);
	assert_int_equal(bd_flush(t.dev), -EIO);
	assert_int_equal(bd_failed(t.dev), -EIO);
	assert_int_equal(write_now(0, 0), -EIO);
	assert_int_equal(bd_flush(t.dev), -EIO);
	assert_int_equal(read_now(), 0);
	bd_close(t.dev);
}

static void chance_repeats_with_its_seed(void **state)
{
	char first[8];

	(void)state;
	open_with("fault:p=0.5,seed=11");
	strcpy(first, failures(one_write));
	bd_close(t.dev);
	open_with("fault:p=0.5,seed=11");
	assert_string_equal(failures(one_write), first);
	bd_close(t.dev);
	assert_in_range(strlen(first), 1, 5);
}

/* ---- delays ---------------------------------------------------------------------- */

static void a_delay_starts_later_and_holds_nobody(void **state)
{
	struct treq *r[20];
	uint64_t start = clock_us();

	(void)state;
	open_with("delay:write=30ms");
	for (unsigned i = 0; i < 20; i++)
		r[i] = treq_submit(t.dev, BD_WRITE, 0, i * 512, 512, 1);
	assert_int_equal(bd_read(t.dev, t.bytes, 512, 65536), 0); /* reads are not delayed */
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(treq_end(r[i]), 0);
	assert_in_range(clock_us() - start, 30000, 500000); /* in a row they would take 600 ms */
	assert_int_equal(fake_device_count_op(t.f, BD_WRITE), 20);
	bd_close(t.dev);
}

static void jitter_changes_the_order(void **state)
{
	struct treq *r[32];
	unsigned turns = 0;

	(void)state;
	open_with("delay:jitter=20ms,seed=3");
	for (unsigned i = 0; i < 32; i++)
		r[i] = treq_submit(t.dev, BD_WRITE, 0, i * 512, 512, 1);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(treq_end(r[i]), 0);
	for (unsigned i = 1; i < 32; i++)
		turns += fake_device_seen(t.f, i).off < fake_device_seen(t.f, i - 1).off;
	assert_in_range(turns, 4, 31);
	bd_close(t.dev);
}

static void fua_has_a_delay_of_its_own(void **state)
{
	uint64_t start;

	(void)state;
	open_with("delay:fua=20ms");
	start = clock_us();
	assert_int_equal(write_now(0, BD_FUA), 0);
	assert_true(clock_us() - start >= 20000);
	bd_close(t.dev);
	open_with("delay:all=10ms");
	start = clock_us();
	assert_int_equal(write_now(0, BD_FUA), 0);
	assert_int_equal(read_now(), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_true(clock_us() - start >= 30000);
	bd_close(t.dev);
}

static void a_close_does_not_wait_for_delays(void **state)
{
	uint64_t start = clock_us();
	struct treq *r[8];

	(void)state;
	open_with("delay:all=3600s");
	for (unsigned i = 0; i < 8; i++)
		r[i] = treq_submit(t.dev, i % 2 ? BD_WRITE : BD_READ, 0, i * 512, 512, 1);
	bd_close(t.dev);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(treq_end(r[i]), -ECANCELED);
	assert_true(clock_us() - start < 10000000);
}

/* ---- stacks ----------------------------------------------------------------------- */

static void layers_are_in_their_order(void **state)
{
	(void)state;
	/* The lower one loses the 1st write that reaches it, which is the 2nd of the upper one's. */
	open_with("fault:write=1:EIO,fault:write=1:ENOSPC");
	assert_int_equal(write_now(0, 0), -ENOSPC);
	assert_int_equal(write_now(0, 0), -EIO);
	assert_int_equal(write_now(0, 0), 0);
	bd_close(t.dev);
}

static void no_layers_are_the_device_itself(void **state)
{
	struct bd *below = fake_device_open(&conf, NULL, &t.f), *out = NULL;
	struct err err = { "" };

	(void)state;
	assert_int_equal(bd_layers_open(NULL, below, &out, &err), 0);
	assert_ptr_equal(out, below);
	assert_int_equal(bd_layers_open("", below, &out, &err), 0);
	assert_ptr_equal(out, below);
	bd_close(out);
}

static void limits_and_size_are_those_below(void **state)
{
	struct bd_limits *l;

	(void)state;
	open_with("fault,delay,powercut,fault");
	l = &t.dev->limits;
	assert_true(l->fua && l->volatile_cache && !l->keeps);
	assert_int_equal(l->max_transfer, 1u << 20);
	assert_int_equal(atomic_load(&t.dev->size), FAKE_DEVICE_SIZE);
	fake_device_grow(t.f, 2 * FAKE_DEVICE_SIZE);
	assert_int_equal(bd_resize(t.dev), 0);
	assert_int_equal(atomic_load(&t.dev->size), 2 * FAKE_DEVICE_SIZE);
	assert_int_equal(write_now(2 * FAKE_DEVICE_SIZE / 512 - 1, 0), 0);
	bd_close(t.dev);
}

static void requests_larger_than_the_depth_and_transfer_go_through(void **state)
{
	struct treq *r[200];

	(void)state;
	open_with("delay:write=1us,fault,powercut:seed=1");
	for (unsigned i = 0; i < 200; i++)
		r[i] = treq_submit(t.dev, BD_WRITE, 0, i * 4096ull, 4096, (int)i);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(treq_end(r[i]), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_true(all_are(fake_device_bytes(t.f) + i * 4096ull, 4096, (int)i));
	bd_close(t.dev);
}

/* The device below is failed from elsewhere: what it refuses comes back by way of the layer's thread. */
static void what_is_refused_below_ends_above(void **state)
{
	struct bd *below = fake_device_open(&conf, NULL, &t.f);
	struct err err = { "" };

	(void)state;
	assert_int_equal(bd_layers_open("delay:write=1ms,fault", below, &t.dev, &err), 0);
	bd_fail(below, -ENXIO);
	assert_int_equal(write_now(0, 0), -ENXIO);
	assert_int_equal(bd_failed(t.dev), -ENXIO);
	assert_int_equal(read_now(), 0);
	bd_close(t.dev);
}

static void wrong_descriptions_are_refused(void **state)
{
	static const struct {
		const char *spec, *why;
	} rows[] = {
		{ "nonsense", "unknown layer 'nonsense'" },
		{ "fault:write", "'write' is not OPERATION=N:ERROR" },
		{ "fault:wrote=1:EIO", "no operation 'wrote'" },
		{ "fault:write=0:EIO", "write=0:EIO" },
		{ "fault:write=1:EWRONG", "write=1:EWRONG" },
		{ "fault:p=2", "p=2" },
		{ "fault:after=2", "after=2" },
		{ "fault:seed=-1", "seed=-1" },
		{ "delay:write", "'write' is not OPERATION=TIME" },
		{ "delay:write=5", "write=5 is no time" },
		{ "delay:wrote=5ms", "no operation 'wrote'" },
		{ "delay:jitter=2h", "jitter=2h" },
		{ "delay:seed=x", "seed=x" },
		{ "powercut:seeds=1", "'seeds' is not seed=N" },
		{ "powercut:seed=1x", "seed=1x" },
		{ "record", "no file=PATH" },
		{ "record:file=", "is not file=PATH" },
		{ "record:path=/x", "'path' is not file=PATH" },
		{ "record:file=/nowhere/at/all", "/nowhere/at/all" },
		{ "fault,delay,powercut,record", "no file=PATH" },
	};
	struct bd *below = fake_device_open(&conf, NULL, &t.f), *out;

	(void)state;
	t.dev = below;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct err err = { "" };

		assert_true(bd_layers_open(rows[i].spec, below, &out, &err) < 0);
		if (!strstr(err.text, rows[i].why))
			fail_msg("%s: '%s' does not say '%s'", rows[i].spec, err.text, rows[i].why);
		assert_int_equal(read_now(), 0); /* it is still ours, and works */
	}
	bd_close(below);
}

static void a_record_layer_makes_its_log(void **state)
{
	char path[] = "/tmp/persifs-log-XXXXXX", spec[64];
	struct stat st;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	snprintf(spec, sizeof spec, "record:file=%s", path);
	open_with(spec);
	assert_int_equal(write_now(0, 0), 0);
	bd_close(t.dev);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 512 + 512 + 512);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_nth_fails),
		cmocka_unit_test(what_fails_has_not_happened_but_with_after),
		cmocka_unit_test(a_flush_that_fails_stops_the_device),
		cmocka_unit_test(chance_repeats_with_its_seed),
		cmocka_unit_test(a_delay_starts_later_and_holds_nobody),
		cmocka_unit_test(jitter_changes_the_order),
		cmocka_unit_test(fua_has_a_delay_of_its_own),
		cmocka_unit_test(a_close_does_not_wait_for_delays),
		cmocka_unit_test(layers_are_in_their_order),
		cmocka_unit_test(no_layers_are_the_device_itself),
		cmocka_unit_test(limits_and_size_are_those_below),
		cmocka_unit_test(requests_larger_than_the_depth_and_transfer_go_through),
		cmocka_unit_test(what_is_refused_below_ends_above),
		cmocka_unit_test(wrong_descriptions_are_refused),
		cmocka_unit_test(a_record_layer_makes_its_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
