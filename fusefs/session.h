/* SPDX-License-Identifier: Apache-2.0 */
/* session.h - one superblock of the kernel: its descriptor, receivers, identity mapping
 *
 *   session_new --session_start--> SERVING --unmounted everywhere--> LEAVING --> freed
 *
 * A volume has one session or several. All share backend, cache, inodes, handles and
 * locks; each has its own caches in the kernel, timeouts and mapping of identities.
 * A receiver thread for each CPU the worker may use (receiver.h) reads a message into
 * its request's slot, decodes it and runs the operation. Threads of the pool, made at
 * need, run what may wait.
 *
 * Coherence: see docs/driver.md, S1 to S7. inode_changed() and name_changed() tell
 * the other sessions. Nobody waits for a notification, so replies go first.
 *
 * A session ends by itself, on a thread of its own, when the kernel has ended the
 * connection: its requests end, its handles, locks and lookups are given back. */
#ifndef FUSEFS_SESSION_H
#define FUSEFS_SESSION_H

#include "common/err.h"
#include "fusefs/request.h"
#include "fusefs/volume.h"

#define SHARED_TIMEOUT_MS \
	100 /* what the kernel may believe, at most, while sessions share a volume */

/* What is a session's own of the mount options. */
struct session_options {
	int64_t uid, gid, owner_uid, owner_gid; /* -1: not mapped */
	bool allow_other, default_permissions, xattr;
	uint64_t attr_timeout, entry_timeout, negative_timeout; /* ms */
};

struct session {
	struct volume *v;
	unsigned slot; /* in v->sessions */
	_Atomic unsigned maj, min;
	struct session_options opt;
	_Atomic uint64_t attr_ms, entry_ms, negative_ms; /* of opt, changeable */
	int fuse_fd;                                     /* closed with se */
	struct fuse_session *se;
	struct inode *root;       /* nodeid 1 here; one lookup is the session's */
	_Atomic uint64_t root_id; /* its nodeid in the volume's table */
	struct notifier *notify;  /* what is old */
	struct receivers receivers;
	unsigned nreceivers;
	pthread_t receiver_ids[64];
	_Atomic bool starting;      /* session_start() still needs it */
	_Atomic bool unmounted;     /* the kernel said so */
	_Atomic bool ready;         /* INIT was answered */
	_Atomic bool direct_mmap;   /* files opened with DIRECT_IO can be mapped */
	_Atomic uint32_t nrequests; /* taken and not freed */
	_Atomic uint64_t calls, read_bytes, write_bytes;
};

/* What of o is a session's. */
void session_options_of(const struct mount_options *o, struct session_options *out);
bool session_options_equal(const struct session_options *a, const struct session_options *b);
static inline bool session_mapped(const struct session *s)
{
	return s->opt.uid >= 0;
}

/* A session over a mounted descriptor of /dev/fuse; fd_take is closed also when this
 * fails. -EBUSY when the volume has SESSIONS_MAX, -ESHUTDOWN when it is ending. */
int session_new(struct volume *v, int fd_take, const struct session_options *opt,
		struct be_entry *root_take, struct session **out, struct err *err);
/* Starts the receivers, waits for INIT, tells v->came. The session may be gone when this
 * returns; when it fails it ends by itself. */
int session_start(struct session *s, struct err *err);
/* Never started: frees it. */
void session_drop(struct session *s);
/* Waits until the last session is gone; none can come after that. */
void sessions_join(struct volume *v);
/* True when there is a session of this root and these options: a duplicate of its
 * descriptor, by which it can be mounted once more, is in *fd. */
bool session_find(struct volume *v, const struct inode *root, const struct session_options *opt,
		  int *fd);
/* True while a session can be joined: one that the kernel has not ended. */
bool sessions_serve(struct volume *v);
/* True when the session of that device is over, and others serve. */
bool session_has_left(struct volume *v, unsigned maj, unsigned min);
/* New timeouts for all sessions. */
void sessions_set_timeouts(struct volume *v, uint64_t attr, uint64_t entry, uint64_t negative);
/* What may be promised to the kernel now. */
static inline uint64_t session_ms(const struct session *s, uint64_t ms)
{
	return s->v->nsessions > 1 && ms > SHARED_TIMEOUT_MS ? SHARED_TIMEOUT_MS : ms;
}
/* The nodeid by which this session's kernel knows what has nodeid in the volume's table. */
uint64_t session_nodeid(const struct session *s, uint64_t nodeid);
/* Owners of locks of different sessions are different. */
uint64_t session_lock_owner(const struct session *s, uint64_t owner);
/* Pages of the inode leave this session's kernel before this returns. It may ask for
 * reads and writes of the file meanwhile, which receivers and connections answer: not
 * for their threads, nor with a lock held. */
void session_drop_pages(struct session *s, const struct inode *in);
/* The kernel asks for the inode's attributes anew. Does not wait for anything. */
void session_drop_attr(struct session *s, const struct inode *in);

/* decode.c: libfuse as decoder of what op_raw() does not take. */
int decoder_init(struct session *s, struct err *err);
/* Closes the descriptor. */
void decoder_done(struct session *s);
/* As an operation: 0, -errno, OP_PUNT, OP_PARKED. */
int decoder_run(struct request *rq);

/* offload.c */
int offload_init(struct volume *v);
/* Takes the request; some thread will run it with may_block set. */
void offload_submit(struct request *rq);
/* Waits for what is queued and running, ends the threads. */
void offload_done(struct volume *v);

/* Runs a request to its end or hands it on; true when rq is still the caller's. */
bool session_dispatch(struct request *rq);

#endif
