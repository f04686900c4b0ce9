/* SPDX-License-Identifier: Apache-2.0 */
/* Writes with FUA at a transport that has it: what their failure means, and what is out beside them (device.h, B3). */
#include "backends/block/ledger.h"
#include "common/cleanup.h"
#include "tests/unit/backends/device_keep_test.h"

/* Whatever the number: servers make one of many, and any of them may be that of older writes. */
static void test_a_write_with_fua_that_fails_fails_the_device(void **state)
{
	static const int errors[] = { -EIO, -ENOSPC, -EROFS, -EINVAL, -ENOMEM, -ENOTSUP };
	struct fake_device_conf conf = { .limits = { .fua = true, .max_transfer = 512 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		open_with(conf, (struct bd_env){ 0 });
		fake_device_fail(t.f, BD_WRITE, 1, 2, errors[i]);
		assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 512, 1)), errors[i]);
		assert_int_equal(bd_failed(t.dev), 0);
		/* The second part of it succeeds. */
		assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 1024, 1)),
				 errors[i]);
		assert_int_equal(bd_failed(t.dev), errors[i]);
		assert_int_equal(refusal(t.dev, BD_FLUSH, 0, 0, 0), errors[i]);
		assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, 0, 512, 0)), 0);
	}
}

/* Else a flush could succeed after the write took its error, and before anybody knew of that; as could another write
 * whose data went down with the first one's flush. */
static void test_writes_with_fua_and_flushes_are_out_one_at_a_time(void **state)
{
	struct treq *fua[2], *flush, *plain;

	(void)state;
	open_with((struct fake_device_conf){ .limits = { .fua = true, .max_transfer = 512 } },
		  (struct bd_env){ 0 });
	fake_device_hold(t.f, true);
	fua[0] = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 1024, 1);
	fua[1] = treq_submit(t.dev, BD_WRITE, BD_FUA, 4096, 512, 1);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	plain = treq_submit(t.dev, BD_WRITE, 0, 8192, 512, 1);
	fake_device_wait(t.f, 3);
	assert_int_equal(fake_device_held(t.f), 3); /* the two of the first, and the plain one */
	assert_int_equal(fake_device_at(t.f, 2).off, 8192);
	fake_device_release(t.f, 2);
	assert_int_equal(treq_end(plain), 0);
	fake_device_release(t.f, 0);
	assert_int_equal(fake_device_held(t.f), 1);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(fua[0]), 0);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_at(t.f, 0).op, BD_FLUSH);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(flush), 0);
	fake_device_wait(t.f, 1);
	/* One that fails, and those that wait for it. */
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fua[0] = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1);
	fake_device_fail(t.f, BD_WRITE, 1, 1, -EIO);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(fua[1]), -EIO);
	assert_int_equal(treq_end(flush), -EIO);
	assert_int_equal(treq_end(fua[0]), -EIO);
	assert_int_equal(fake_device_held(t.f), 0);
}

/* The only one that is inside is of this kind, and ends. */
static void end_one(enum bd_op op, struct treq *r)
{
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_at(t.f, 0).op, op);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(r), 0);
}

/* Neither kind keeps the other away. */
static void test_writes_with_fua_and_flushes_take_turns(void **state)
{
	struct treq *fua[3], *flush;

	(void)state;
	open_with((struct fake_device_conf){ .limits = { .fua = true } }, (struct bd_env){ 0 });
	fake_device_hold(t.f, true);
	for (unsigned i = 0; i < 3; i++)
		fua[i] = treq_submit(t.dev, BD_WRITE, BD_FUA, i * 512ull, 512, 1);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		struct treq *out = flush;

		end_one(BD_WRITE, fua[i]);
		fake_device_wait(t.f, 1);
		flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
		end_one(BD_FLUSH, out);
	}
	end_one(BD_FLUSH, flush);
}

/* Whose turn it is goes before one that now has a record, or those that come without end keep it away for ever. */
static void test_who_had_no_record_passes_nobody(void **state)
{
	static _Alignas(64)
		uint8_t mem[sizeof(struct bd_ledger) + 4 * sizeof(struct bd_ledger_record)];
	struct treq *fua[4], *flush;

	(void)state;
	open_with((struct fake_device_conf){ .limits = { .fua = true, .depth = 2 } },
		  (struct bd_env){ .ledger = bd_ledger_init(mem, sizeof mem) });
	fake_device_hold(t.f, true);
	for (unsigned i = 0; i < 4; i++)
		fua[i] = treq_submit(t.dev, BD_WRITE, BD_FUA, i * 512ull, 512, 1);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	end_one(BD_WRITE, fua[0]);
	end_one(BD_FLUSH, flush);
	for (unsigned i = 1; i < 4; i++) {
		fake_device_wait(t.f, 1);
		assert_int_equal(fake_device_at(t.f, 0).off, i * 512);
		end_one(BD_WRITE, fua[i]);
	}
	bd_close(t.dev);
	t.dev = NULL;
}

/* Nothing of it is a flush's. */
static void test_without_a_volatile_cache_a_write_with_fua_fails_alone(void **state)
{
	(void)state;
	open_with((struct fake_device_conf){ .limits = { .fua = true }, .write_through = true },
		  (struct bd_env){ 0 });
	fake_device_fail(t.f, BD_WRITE, 1, 1, -EIO);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1)), -EIO);
	assert_int_equal(bd_failed(t.dev), 0);
}

static void test_a_cancelled_write_with_fua_fails_no_device(void **state)
{
	struct treq *r;

	(void)state;
	open_with((struct fake_device_conf){ .limits = { .fua = true } }, (struct bd_env){ 0 });
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1);
	fake_device_wait(t.f, 1);
	bd_cancel(t.dev);
	assert_int_equal(treq_end(r), -ECANCELED);
	assert_int_equal(bd_failed(t.dev), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_write_with_fua_that_fails_fails_the_device),
		T(test_writes_with_fua_and_flushes_are_out_one_at_a_time),
		T(test_writes_with_fua_and_flushes_take_turns),
		T(test_who_had_no_record_passes_nobody),
		T(test_without_a_volatile_cache_a_write_with_fua_fails_alone),
		T(test_a_cancelled_write_with_fua_fails_no_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
