/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_fixture.h - a simulated target with a host (nvme_host.h), for its tests; after cmocka.h */
#ifndef TESTS_UNIT_TOOLS_NVME_FIXTURE_H
#define TESTS_UNIT_TOOLS_NVME_FIXTURE_H

#include "common/clock.h"
#include "tests/unit/tools/nvme_host.h"

#define BYTES (256u << 10)

static struct nvme_fixture {
	struct nvme_target *t;
	unsigned port;
	struct host a, io;
	uint8_t in[BYTES], out[BYTES], page[4096];
} fx;

static inline void up(const struct nvme_target_config *cfg)
{
	struct err err = { "" };

	if (nvme_target_start(cfg, &fx.t, &err))
		fail_msg("%s", err.text);
	fx.port = nvme_target_port(fx.t, 0);
}

/* A target, an admin queue and one I/O queue. */
static inline void both(const struct nvme_target_config *cfg, unsigned digests, uint32_t maxr2t,
			bool flow)
{
	up(cfg);
	assert_true(host_admin(&fx.a, fx.port, digests, 0));
	assert_true(host_io(&fx.io, fx.port, fx.a.cntlid, 1, digests, maxr2t, flow));
}

static inline void fault(const char *text)
{
	struct err err = { "" };

	if (nvme_target_fault(fx.t, text, &err))
		fail_msg("%s", err.text);
}

static inline struct nvme_target_counts counts(void)
{
	struct nvme_target_counts n;

	nvme_target_counts(fx.t, &n);
	return n;
}

static inline int setup(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	fx.a.fd = fx.io.fd = -1;
	for (uint32_t i = 0; i < BYTES; i++)
		fx.out[i] = (uint8_t)(i * 7 + i / 251);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	host_close(&fx.a);
	host_close(&fx.io);
	nvme_target_stop(fx.t);
	clock_skew_ms = 0;
	return 0;
}

static const struct nvme_target_config plain = { .size = 4 << 20 };

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
