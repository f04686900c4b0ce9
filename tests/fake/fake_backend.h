/* SPDX-License-Identifier: Apache-2.0 */
/* fake_backend.h - a backend in memory that does what a test tells it to
 *
 * Files only, no names: fake_node_new() makes one. Reads, writes and commits end
 * inside submit, on threads in any order, or when the test calls
 * fake_complete_*(). A node has two contents: what a read returns, and what is
 * left after fake_crash(), which also changes the verifier.
 *
 * Asserted by itself: two writes in flight never overlap; no write or read goes
 * beyond the limits; nothing is in flight at fake_free().
 *
 * Threads: all functions from any; the fields of struct fake are set by the test
 * while nothing is in flight. */
#ifndef TESTS_FAKE_FAKE_BACKEND_H
#define TESTS_FAKE_FAKE_BACKEND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "common/list.h"

#define FAKE_FILE_MAX (4u << 20) /* bytes of a file */
#define FAKE_LOG_MAX 65536       /* requests kept in the log */
#define FAKE_THREADS 3

enum fake_kind { FAKE_READ, FAKE_WRITE, FAKE_COMMIT, FAKE_KINDS };
enum fake_mode { FAKE_INLINE, FAKE_THREAD, FAKE_QUEUED };

struct fake_log {
	enum fake_kind kind;
	uint64_t off;
	size_t len;
	unsigned niov;
	uid_t uid;
	bool background;
};

struct fake_node {
	struct be_node node;
	struct list link;
	uint8_t *live, *durable; /* owned, FAKE_FILE_MAX bytes each */
	uint64_t size, durable_size;
	struct timespec mtime; /* of the last write, with BE_CAP_WRITE_MTIME */
};

struct fake {
	struct backend be; /* limits may be changed before the cache is made */
	enum fake_mode mode;
	enum be_stable stable; /* what a write achieves */
	bool never_sure;       /* a write is no more durable than that, whatever is wanted */
	bool post;             /* writes and commits tell the attributes after them */
	/* Called at the start of each request's completion, no locks held; may be NULL. */
	void (*hook)(struct fake *fb, enum fake_kind kind, void *arg);
	void *hook_arg;

	pthread_mutex_t lock;
	/* guarded by lock */
	pthread_cond_t cond;
	struct list queue, nodes;
	unsigned queued, running;
	uint64_t verifier, next_ino;
	unsigned calls[FAKE_KINDS];
	unsigned fail_first[FAKE_KINDS], fail_last[FAKE_KINDS]; /* numbers of calls */
	int fail_err[FAKE_KINDS];
	uid_t refused_uid; /* whose writes fail with -EACCES; 0: nobody's */
	uint32_t seed;
	bool stop;
	struct fake_log *log; /* owned */
	unsigned nlog;
	pthread_t threads[FAKE_THREADS];
};

struct fake *fake_new(enum fake_mode mode);
/* All nodes must have been put. */
void fake_free(struct fake *fb);

/* A file of size bytes, byte i being fake_byte(i); counted once for the caller. */
struct fake_node *fake_node_new(struct fake *fb, uint64_t size);
uint8_t fake_byte(uint64_t off);
/* Changes the size behind the cache's back, or for it. */
void fake_truncate(struct fake_node *n, uint64_t size);
uint64_t fake_size(struct fake_node *n);
/* Copies from what reads return (or would survive a crash). Beyond the end: zeros. */
void fake_peek(struct fake_node *n, uint64_t off, void *buf, size_t len, bool durable);

/* The calls of a kind from the nth from now on (1: the next) fail, count of them. */
void fake_fail(struct fake *fb, enum fake_kind kind, unsigned nth, unsigned count, int err);
void fake_refuse_uid(struct fake *fb, uid_t uid);
/* Everything not durable is lost; the verifier changes. */
void fake_crash(struct fake *fb);

/* FAKE_QUEUED: ends the oldest request (of a kind); false when there is none. */
bool fake_complete_next(struct fake *fb);
bool fake_complete_kind(struct fake *fb, enum fake_kind kind);
void fake_complete_all(struct fake *fb);
unsigned fake_queued(struct fake *fb);
/* Waits until n requests are queued; false after five seconds. */
bool fake_wait_queued(struct fake *fb, unsigned n);
/* Waits until n calls of the kind were made; false after five seconds. */
bool fake_wait_calls(struct fake *fb, enum fake_kind kind, unsigned n);
unsigned fake_calls(struct fake *fb, enum fake_kind kind);
/* The nth request of a kind in the log, from 0; asserts that there is one. */
struct fake_log fake_logged(struct fake *fb, enum fake_kind kind, unsigned nth);
/* Forgets log and counts; failures to come are counted from here. */
void fake_log_clear(struct fake *fb);

#endif
