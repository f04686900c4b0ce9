/* SPDX-License-Identifier: Apache-2.0 */
/* nlm_impl.h - what the files of the lock client share
 *
 *   nlm.c       lock, unlock, test           nlm_keep.c   the connection and its keeper
 *   nlm_table.c what is held                 nlm_wire.c   bytes
 *
 *   DOWN --wanted: step_down() connects--> SETTLE
 *   SETTLE --step_settle(): no doubts, all taken again--> UP;  --a call failed--> DOWN
 *   UP --step_up(): doubts--> SETTLE;  --connection lost--> DOWN
 *
 * States change on the keeper's thread only.
 * I1 A call of an operation, with the change of the table that its answer means,
 *    runs between nlm_enter() and nlm_leave(), which needs UP.
 * I2 In SETTLE nobody has entered: table and server are the keeper's alone.
 * I3 What the server may hold and the table does not is a doubt, and in UP there
 *    is none but those that came since. */
#ifndef BACKENDS_NFS_NLM_IMPL_H
#define BACKENDS_NFS_NLM_IMPL_H

#include <pthread.h>

#include "backends/nfs/nfs_impl.h"
#include "backends/nfs/nlm.h"
#include "backends/nfs/nlm_table.h"
#include "backends/nfs/nlm_wire.h"

#define NLM_TRY_MS 1500 /* one call; then it is made again, perhaps on another connection */

enum nlm_state { NLM_DOWN, NLM_SETTLE, NLM_UP };

/* A range of which we do not know what the server has. */
struct nlm_doubt {
	struct list link;
	struct nlm_owner *owner;    /* counted */
	struct be_node *node;       /* counted */
	const struct be_cred *cred; /* counted */
	uint64_t start, end;
	bool drop; /* the owner has unlocked it */
};

struct nlm {
	/* set by open, then read only */
	struct nfs_backend *b;
	uint16_t fixed_port;             /* 0: ask each time */
	char caller[NLM_CALLER_MAX + 1]; /* this machine and this mount */
	uint8_t instance[8];             /* this mount, in every oh */
	int wake_fd;
	pthread_t keeper;

	_Atomic uint32_t cookies;
	_Atomic bool no_nm_lock; /* the server wants LOCK */
	atomic_bool stop;
	/* the keeper's; others may use conn between enter and leave */
	struct nconn *conn;
	unsigned dials; /* so that one address that fails is not always the first */
	int watch_fd;   /* a second descriptor of conn's first socket: tells when it is lost */

	struct mutex lock;
	/* guarded by lock */
	struct cond changed; /* state, active, doubts */
	enum nlm_state state;
	bool retake; /* the connection is new: take all again */
	unsigned active, waiting;
	struct list doubts;
	struct nlm_table table;
};

/* ---- nlm_keep.c ------------------------------------------------------ */

/* 0: UP, and stays until nlm_leave(). -EINTR, or -ETIMEDOUT at deadline_ms (0: never). */
int nlm_enter(struct nlm *n, const atomic_bool *interrupted, uint64_t deadline_ms);
void nlm_leave(struct nlm *n);
/* Wakes the keeper. */
void nlm_kick(struct nlm *n);

/* ---- nlm.c ----------------------------------------------------------- */

/* One call on n->conn. 0: out is set; else -errno of the transport. */
int nlm_call(struct nlm *n, enum nlm_proc proc, struct nlm_args *args, const struct be_cred *cred,
	     const atomic_bool *interrupted, uint64_t deadline_ms, struct nlm_reply *out);
/* The arguments that say who and where. */
void nlm_args_init(const struct nlm *n, struct nlm_args *args, const struct nlm_owner *owner,
		   const struct be_node *node, uint64_t start, uint64_t end);
/* LOCK or NM_LOCK, as the server likes it. */
int nlm_call_lock(struct nlm *n, struct nlm_args *args, const struct be_cred *cred,
		  const atomic_bool *interrupted, uint64_t deadline_ms, struct nlm_reply *out);
void nlm_doubt_free(struct nlm *n, struct nlm_doubt *d);

#endif
