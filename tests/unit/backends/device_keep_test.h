/* SPDX-License-Identifier: Apache-2.0 */
/* device_keep_test.h - a device whose server may lose what it answered, for the tests of that */
#ifndef TESTS_UNIT_BACKENDS_DEVICE_KEEP_TEST_H
#define TESTS_UNIT_BACKENDS_DEVICE_KEEP_TEST_H

#include "tests/unit/backends/device_test.h"

static struct {
	struct bd *dev;
	struct fake_device *f;
} t;

static inline void open_with(struct fake_device_conf conf, struct bd_env env)
{
	bd_close(t.dev);
	conf.limits.keeps = true;
	t.dev = fake_device_open(&conf, &env, &t.f);
}

static inline int up(void **state)
{
	(void)state;
	open_with((struct fake_device_conf){ .size = 0 }, (struct bd_env){ 0 });
	return 0;
}

static inline int down(void **state)
{
	(void)state;
	bd_close(t.dev);
	t.dev = NULL;
	return 0;
}

static inline struct bd_counts counts(void)
{
	struct bd_counts c;

	bd_counts(t.dev, &c);
	return c;
}

static inline void write_at(uint64_t off, uint64_t len, int fill, unsigned flags)
{
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, flags, off, len, fill)), 0);
}

/* The server dies with its cache, and comes back. */
static inline void restart(void)
{
	fake_device_disconnect(t.f);
	fake_device_lose(t.f);
	fake_device_clear(t.f);
	fake_device_connect(t.f);
}

static inline void settled(void)
{
	assert_true(bd_idle(t.dev, clock_ms() + TEST_WAIT_MS));
}

static inline void bytes_are(uint64_t off, uint64_t len, int value)
{
	assert_true(all_are(fake_device_bytes(t.f) + off, len, value));
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

#endif
