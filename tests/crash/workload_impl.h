/* SPDX-License-Identifier: Apache-2.0 */
/* workload_impl.h - one run of the workload, shared by its parts
 *
 * Blocks of the payload:
 *   FREE --alloc--> META --forget--> FREEING --committed()--> FREE --write--> DATA --free in a handle--> FREEING
 * FREEING blocks may become META again in the transaction that frees them (J3). The first SHARED blocks are META for ever
 * once used, and changed by all threads; any other block is one thread's while it is busy. */
#ifndef TESTS_CRASH_WORKLOAD_IMPL_H
#define TESTS_CRASH_WORKLOAD_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "backends/block/ext4/journal.h"
#include "tests/crash/overlay.h"
#include "tests/crash/workload.h"

#define SHARED 12u
#define BUSY_MAX 64u /* blocks that one operation has for itself */

/* How the threads of a mount work. */
enum style {
	MIXED,
	STEADY, /* one, handles of one size, twice round the log */
	GREEDY, /* large handles, and images that go home slowly: the log is full */
};

enum role { FREE, META, DATA, FREEING };

struct ablock {
	enum role role;
	bool busy;
	bool untrimmed; /* FREE since its last life, and not discarded yet */
	uint32_t freeing_tid;
	uint64_t version;
	uint64_t sector[SECTORS_MAX]; /* hashes of what META and DATA hold */
};

struct run {
	const struct workload_conf *conf;
	struct history *h;
	struct overlay disk;
	struct bd *bottom; /* the device over disk; of dev */
	struct bd *dev;    /* the record layer */
	struct ext4_super super;
	struct bufs *bufs;
	struct jrn *jrn;
	struct jrn_client client;
	unsigned block_size;
	uint64_t super_block; /* of the file system, and where the superblock is in it */
	unsigned super_at;
	bool logs_super;  /* this mount changes the superblock in each transaction */
	enum style style; /* of this mount */
	unsigned steady;  /* STEADY: blocks of a handle */
	atomic_bool stop;
	pthread_mutex_t lock;
	/* guarded by lock */
	struct ablock blocks[BASE_BLOCKS];
	uint32_t batches, acked; /* ordinal */
	uint8_t *batch_acked;    /* a byte each */
	uint32_t batch_cap;
	uint32_t before; /* number of the last transaction that earlier mounts had kept */
	bool any_before, any_now;
	struct err *err; /* the first failure */
	int rc;
	int later; /* a failure that does not stop the run */
};

/* A thread, or the one that starts them. */
struct actor {
	struct run *r;
	uint64_t seq; /* of random numbers */
	unsigned busy[BUSY_MAX], nbusy;
	uint32_t forged; /* number of the transaction that it forges now */
	uint32_t tid;    /* of its last handle; valid when any */
	bool any;
	pthread_t thread;
};

/* The same, and all go on. */
void run_complain(struct run *r, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The first failure counts; all stop. Returns rc. */
int run_fail(struct run *r, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- content.c -------------------------------------------------------- */

enum flavour { PLAIN, MAGIC, FORGED_DESCRIPTOR, FORGED_COMMIT };
/* The number that a transaction will have when the log comes round to here, about. */
uint32_t content_sequence(struct actor *a);
/* Fills all of a block; forged ones are of transaction a->forged. */
void content_fill(struct actor *a, unsigned block, enum flavour flavour, uint64_t version,
		  uint8_t *out);
/* Writes who it is into the block: ranges [STAMP_AT, STAMP_AT + STAMP_BYTES) of it. */
#define STAMP_AT 64u
#define STAMP_BYTES 32u
void content_stamp(unsigned block, uint32_t tid, uint64_t version, uint8_t *stamp);
void content_hash(const struct run *r, const uint8_t *bytes, uint64_t sector[SECTORS_MAX]);

/* ---- actions.c: what a thread does, each 0 or the failure ------------- */

int act_handle(struct actor *a, unsigned blocks);
int act_forge(struct actor *a,
	      unsigned blocks); /* neighbours, with forged journal blocks in them */
int act_data(struct actor *a);
int act_trim(struct actor *a);
int act_wait(struct actor *a);
void actor_release(struct actor *a);

/* ---- data.c ----------------------------------------------------------- */

/* Marks a block with this role as a's; -1: there is none. tid: of FREEING. */
int actor_pick(struct actor *a, enum role role, uint32_t tid);
bool actor_take(struct actor *a, unsigned block, enum role role);
int run_mark_ack(struct run *r, uint32_t tid);

#endif
