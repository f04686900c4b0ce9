/* SPDX-License-Identifier: Apache-2.0 */
/* broker_test.h - a broker with the fake provider, fresh for each test */
#ifndef TESTS_UNIT_TOOLS_BROKER_TEST_H
#define TESTS_UNIT_TOOLS_BROKER_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/fake/fake_broker.h"
#include "tests/fake/fake_provider.h"

#define I "/v2/service_instances/"
#define ASYNC "?accepts_incomplete=true"

static struct fake_broker f;

static inline int start(void **state)
{
	(void)state;
	/* One provider of made volumes, or each would find what the other has. */
	return fake_broker_start(&f, NULL);
}

static inline int stop(void **state)
{
	(void)state;
	fake_broker_stop(&f);
	return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

#endif
