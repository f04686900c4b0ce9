/* SPDX-License-Identifier: Apache-2.0 */
/* broker.h - what all parts of the broker share
 *
 * Threads: any. The configuration of a request or operation is the one that held when it began. */
#ifndef TOOLS_BROKER_BROKER_H
#define TOOLS_BROKER_BROKER_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "common/lock.h"
#include "tools/broker/audit.h"
#include "tools/broker/auth.h"
#include "tools/broker/config.h"
#include "tools/broker/seal.h"
#include "tools/broker/store.h"
#include "tools/broker/worker.h"

#define BROKER_ROUTES 12
#define BROKER_BUCKETS 8

/* Counters of requests; read any time. */
struct broker_metrics {
	struct {
		_Atomic uint64_t requests, errors, us, bucket[BROKER_BUCKETS];
	} of[BROKER_ROUTES];
};

struct broker {
	/* set before anything is answered; borrowed */
	struct store *store;
	struct seal *seal;
	struct workers *workers;
	/* its own */
	struct auth auth;
	struct audit audit;
	struct broker_metrics metrics;
	struct mutex lock;
	struct bconfig *config; /* guarded by lock; a reference */
};

/* Takes the caller's reference of c. */
int broker_init(struct broker *b, struct bconfig *c, struct err *err);
void broker_done(struct broker *b);
/* A reference for the caller. */
struct bconfig *broker_config(struct broker *b);
/* From here on c holds; takes the caller's reference. */
void broker_set_config(struct broker *b, struct bconfig *c);

/* Wall time in milliseconds, as rows have it. */
static inline uint64_t broker_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

#endif
