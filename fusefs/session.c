/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - receivers: read, decode, run, answer; and how sessions come and go.
 * See session.h. */
#include "fusefs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/stats.h"
#include "common/tsan.h"
#include "fusefs/interrupt.h"
#include "fusefs/notify.h"
#include "fusefs/ops.h"
#include "fusefs/receiver.h"

#define RECEIVERS_AUTO_MIN 2 /* one may be away from its CPU while awake */
#define RECEIVERS_AUTO_MAX 8
#define LONG_BYTES (128u << 10)
#define INIT_WAIT_MS 20000 /* for the kernel's first message */
#define LEAVE_TICK_MS 2
#define LEAVE_GRACE_MS 200 /* before the requests of a session that is over are told so */

op_fn *op_raw(uint32_t opcode)
{
	static op_fn *const table[] = {
		[FUSE_LOOKUP] = op_lookup,
		[FUSE_FORGET] = op_forget,
		[FUSE_GETATTR] = op_getattr,
		[FUSE_SETATTR] = op_setattr,
		[FUSE_OPEN] = op_open,
		[FUSE_READ] = op_read,
		[FUSE_WRITE] = op_write,
		[FUSE_RELEASE] = op_release,
		[FUSE_FLUSH] = op_flush,
		[FUSE_CREATE] = op_create,
		[FUSE_INTERRUPT] = op_interrupt,
		[FUSE_BATCH_FORGET] = op_batch_forget,
		[FUSE_TMPFILE] = op_tmpfile,
		[PFUSE_STATX] = op_statx,
		[PFUSE_COPY_FILE_RANGE_64] = op_copy_file_range_64,
	};

	return opcode < ARRAY_LEN(table) ? table[opcode] : NULL;
}

bool session_dispatch(struct request *rq)
{
	op_fn *op = op_raw(rq->hdr->opcode);
	int rc = op ? op(rq) : decoder_run(rq);

	switch (rc) {
	case OP_PARKED:
		stats_inc(STAT_fuse_parked);
		return false;
	case OP_PUNT:
		offload_submit(rq);
		return false;
	default:
		if (rc < 0 && !rq->answered)
			reply_err(rq, rc);
		break;
	}
	if (!rq->registered) {
		stats_inc(STAT_fuse_inline);
		return true;
	}
	request_end(rq);
	return false;
}

/* Moves so much data that others should not wait for it. */
static bool is_long(struct request *rq)
{
	const struct fuse_read_in *arg =
		rq->hdr->opcode == FUSE_READ ? request_arg(rq, sizeof *arg) : NULL;

	return rq->len >= LONG_BYTES || (arg && arg->size >= LONG_BYTES);
}

/* A message into rq; 0, or -errno when the session is over. */
static int receive(struct receiver *r, struct request *rq, bool awake)
{
	size_t cap = ARENA_SLOT_LARGE - (4096 - 80);
	ssize_t n = receiver_read(r, rq->msg, cap, awake ? (unsigned)rq->v->busy_poll : 0);

	if (n < 0)
		return (int)n;
	if (n < (ssize_t)sizeof *rq->hdr)
		return -EIO;
	rq->len = (size_t)n;
	TSAN_ACQUIRE(&rq->s->fuse_fd);
	if (is_long(rq))
		receiver_busy(r);
	return 0;
}

static void receive_loop(struct session *s, struct receiver *r)
{
	struct request *rq = request_new(s);
	int rc = rq ? 0 : -ENOMEM;
	bool answered = false;

	while (!rc) {
		/* What others will answer brings no next request soon. */
		rc = receive(r, rq, answered);
		if (rc)
			break;
		stats_inc(STAT_fuse_requests);
		s->calls++;
		answered = session_dispatch(rq);
		if (answered) {
			request_reset(rq);
			continue;
		}
		while (!(rq = request_new(s)))
			usleep(10000); /* out of memory: others will free some */
	}
	if (rq)
		request_free(rq);
	if (rc != -ENODEV && rc != -ECONNABORTED && !s->unmounted)
		log_error("fuse: receiving failed: %s", strerror(-rc));
	s->unmounted = true;
}

struct start {
	struct session *s;
	int cpu;
};

static void *receiver_main(void *arg)
{
	struct start *st = arg;
	struct session *s = st->s;
	struct receiver receiver;
	cpu_set_t set;
	char name[16];

	snprintf(name, sizeof name, "receiver-%d", st->cpu);
	prctl(PR_SET_NAME, name);
	if (s->v->opt.pin && st->cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET((size_t)st->cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set))
			log_info("fuse: %s cannot be pinned: %s", name, strerror(errno));
	}
	free(st);
	receiver_init(&receiver, &s->receivers);
	receive_loop(s, &receiver);
	receivers_end(&s->receivers);
	return NULL;
}

static int start_receiver(struct session *s, int cpu)
{
	struct start *st = malloc(sizeof *st);
	int rc = st ? 0 : -ENOMEM;

	if (!rc) {
		st->s = s;
		st->cpu = cpu;
		rc = -pthread_create(&s->receiver_ids[s->nreceivers], NULL, receiver_main, st);
	}
	if (rc)
		free(st);
	else
		s->nreceivers++;
	return rc;
}

/* The n-th CPU that we may run on, round and round. */
static int nth_cpu(const cpu_set_t *set, unsigned n)
{
	unsigned count = (unsigned)CPU_COUNT(set);

	n %= count ? count : 1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, set) && !n--)
			return cpu;
	return -1;
}

static int start_receivers(struct session *s, struct err *err)
{
	unsigned n = (unsigned)s->v->opt.receivers;
	cpu_set_t set;
	int rc = 0;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof set, &set);
	if (!n)
		n = (unsigned)CPU_COUNT(&set);
	if (!s->v->opt.receivers && n < RECEIVERS_AUTO_MIN)
		n = RECEIVERS_AUTO_MIN;
	if (!s->v->opt.receivers && n > RECEIVERS_AUTO_MAX)
		n = RECEIVERS_AUTO_MAX;
	if (fcntl(s->fuse_fd, F_SETFL, O_NONBLOCK))
		return err_set(err, -errno, "/dev/fuse: %s", strerror(errno));
	receivers_init(&s->receivers, s->fuse_fd);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = start_receiver(s, nth_cpu(&set, i));
	/* One is enough to serve; none is an error. */
	if (rc && !s->nreceivers)
		return err_set(err, rc, "cannot start a receiver: %s", strerror(-rc));
	return 0;
}

/* ---- coming ---- */

void session_options_of(const struct mount_options *o, struct session_options *out)
{
	*out = (struct session_options){ .uid = o->uid,
					 .gid = o->gid,
					 .owner_uid = o->owner_uid,
					 .owner_gid = o->owner_gid,
					 .allow_other = o->allow_other,
					 .default_permissions = o->default_permissions,
					 .xattr = o->xattr,
					 .attr_timeout = o->attr_timeout,
					 .entry_timeout = o->entry_timeout,
					 .negative_timeout = o->negative_timeout };
}

bool session_options_equal(const struct session_options *a, const struct session_options *b)
{
	bool same_owner = a->uid < 0 ||
			  (a->owner_uid == b->owner_uid && a->owner_gid == b->owner_gid);

	return a->uid == b->uid && a->gid == b->gid && same_owner &&
	       a->allow_other == b->allow_other &&
	       a->default_permissions == b->default_permissions && a->xattr == b->xattr &&
	       a->attr_timeout == b->attr_timeout && a->entry_timeout == b->entry_timeout &&
	       a->negative_timeout == b->negative_timeout;
}

static void set_timeouts(struct session *s)
{
	s->attr_ms = s->opt.attr_timeout;
	s->entry_ms = s->opt.entry_timeout;
	s->negative_ms = s->opt.negative_timeout;
}

void sessions_set_timeouts(struct volume *v, uint64_t attr, uint64_t entry, uint64_t negative)
{
	mutex_lock(&v->sessions_lock);
	for (unsigned i = 0; i < SESSIONS_MAX; i++) {
		struct session *s = v->sessions[i];

		if (!s)
			continue;
		s->opt.attr_timeout = attr;
		s->opt.entry_timeout = entry;
		s->opt.negative_timeout = negative;
		set_timeouts(s);
	}
	mutex_unlock(&v->sessions_lock);
}

bool session_find(struct volume *v, const struct inode *root, const struct session_options *opt,
		  int *fd)
{
	bool found = false;

	mutex_lock(&v->sessions_lock);
	for (unsigned i = 0; i < SESSIONS_MAX && !found; i++) {
		struct session *s = v->sessions[i];

		if (!s || s->unmounted || !s->ready || s->root != root ||
		    !session_options_equal(&s->opt, opt))
			continue;
		*fd = fcntl(s->fuse_fd, F_DUPFD_CLOEXEC, 3);
		found = *fd >= 0;
	}
	mutex_unlock(&v->sessions_lock);
	return found;
}

bool sessions_serve(struct volume *v)
{
	bool any = false;

	mutex_lock(&v->sessions_lock);
	for (unsigned i = 0; i < SESSIONS_MAX && !v->ending && !any; i++)
		any = v->sessions[i] && !v->sessions[i]->unmounted;
	mutex_unlock(&v->sessions_lock);
	return any;
}

bool session_has_left(struct volume *v, unsigned maj, unsigned min)
{
	bool found = false, others = false;

	mutex_lock(&v->sessions_lock);
	for (unsigned i = 0; i < SESSIONS_MAX; i++) {
		const struct session *s = v->sessions[i];

		if (s && s->maj == maj && s->min == min)
			found = true;
		else if (s)
			others = true;
	}
	mutex_unlock(&v->sessions_lock);
	return others && !found;
}

static int take_slot(struct session *s)
{
	struct volume *v = s->v;
	int rc = -EBUSY;

	mutex_lock(&v->sessions_lock);
	if (v->ending)
		rc = -ESHUTDOWN;
	mutex_lock(&v->inode_lock);
	for (unsigned i = 0; i < SESSIONS_MAX && rc == -EBUSY; i++) {
		if (v->sessions[i])
			continue;
		s->slot = i;
		v->sessions[i] = s;
		v->nsessions++;
		rc = 0;
	}
	mutex_unlock(&v->inode_lock);
	mutex_unlock(&v->sessions_lock);
	return rc;
}

static void hide(struct session *s)
{
	struct volume *v = s->v;

	mutex_lock(&v->sessions_lock);
	mutex_lock(&v->inode_lock);
	v->sessions[s->slot] = NULL;
	mutex_unlock(&v->inode_lock);
	mutex_unlock(&v->sessions_lock);
}

static int set_up(struct session *s, struct be_entry *root, struct err *err)
{
	if (decoder_init(s, err))
		return -ENOMEM;
	/* First the notifier: as soon as the session knows an inode, others tell it of changes. What
	 * it says of the root before the number is known harms nobody, as the kernel knows nothing yet. */
	s->notify = notifier_new(s);
	s->root = s->notify ? inode_enter(s, root) : NULL;
	if (!s->root)
		return err_set(err, -ENOMEM, "out of memory");
	s->root_id = s->root->nodeid;
	return 0;
}

static void tear_down(struct session *s)
{
	struct volume *v = s->v;

	hide(s); /* nobody tells it anything any more */
	notifier_free(s->notify);
	if (s->se)
		decoder_done(s);
	else
		close(s->fuse_fd);
	free(s);
	mutex_lock(&v->sessions_lock);
	v->nsessions--;
	cond_broadcast(&v->sessions_cond);
	mutex_unlock(&v->sessions_lock); /* the volume may go */
}

static int refused(int rc, struct err *err)
{
	return rc == -EBUSY ? err_set(err, rc, "the volume has %d sessions already", SESSIONS_MAX) :
			      err_set(err, rc, "the volume is ending");
}

int session_new(struct volume *v, int fd_take, const struct session_options *opt,
		struct be_entry *root_take, struct session **out, struct err *err)
{
	struct session *s = calloc(1, sizeof *s);
	int rc = -ENOMEM;

	if (s) {
		s->v = v;
		s->fuse_fd = fd_take;
		s->opt = *opt;
		set_timeouts(s);
		rc = take_slot(s);
	}
	if (!s || rc) {
		close(fd_take);
		be_node_put(root_take->node);
		if (!s)
			return err_set(err, rc, "out of memory");
		free(s);
		return refused(rc, err);
	}
	rc = set_up(s, root_take, err);
	be_node_put(root_take->node); /* where it was not taken */
	root_take->node = NULL;
	if (rc)
		session_drop(s);
	else
		*out = s;
	return rc;
}

void session_drop(struct session *s)
{
	inodes_leave(s);
	tear_down(s);
}

/* ---- leaving ---- */

/* The kernel has ended the connection: who still waits for an answer is told so. */
static void end_requests(struct session *s)
{
	uint64_t patience = clock_ms() + LEAVE_GRACE_MS;

	while (s->nrequests) {
		if (clock_ms() > patience)
			interrupt_all(s);
		usleep(LEAVE_TICK_MS * 1000);
	}
}

static void *session_main(void *arg)
{
	struct session *s = arg;
	struct volume *v = s->v;

	prctl(PR_SET_NAME, "session");
	for (unsigned i = 0; i < s->nreceivers; i++)
		pthread_join(s->receiver_ids[i], NULL);
	receivers_done(&s->receivers);
	while (s->starting)
		usleep(LEAVE_TICK_MS * 1000);
	end_requests(s);
	handles_leave(s);
	inodes_leave(s);
	if (v->left)
		v->left(v, s->maj, s->min);
	tear_down(s);
	return NULL;
}

static int wait_init(struct session *s, struct err *err)
{
	uint64_t limit = clock_ms() + INIT_WAIT_MS;

	while (!s->ready) {
		if (s->unmounted || clock_ms() > limit)
			return err_set(err, -ETIMEDOUT, "the kernel does not speak on /dev/fuse");
		usleep(500);
	}
	return 0;
}

/* What the others' kernels were promised of names before this one came is promised no more.
 * Kernels that do not know the message (-EINVAL) believe it for entry_timeout. */
static void forget_names(const struct session *newcomer)
{
	struct volume *v = newcomer->v;
	const struct fuse_out_header out = { .len = sizeof out, .error = PFUSE_NOTIFY_INC_EPOCH };

	mutex_lock(&v->sessions_lock);
	for (unsigned i = 0; i < SESSIONS_MAX; i++) {
		const struct session *s = v->sessions[i];

		if (s && s != newcomer && s->ready && write(s->fuse_fd, &out, sizeof out) > 0)
			stats_inc(STAT_notify_inval);
	}
	mutex_unlock(&v->sessions_lock);
}

int session_start(struct session *s, struct err *err)
{
	pthread_attr_t attr;
	pthread_t t;
	int rc = start_receivers(s, err);

	if (rc) {
		session_drop(s);
		return rc;
	}
	s->starting = true;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = -pthread_create(&t, &attr, session_main, s);
	pthread_attr_destroy(&attr);
	/* Receivers without anybody to end them: the process cannot go on. */
	if (rc)
		return err_set(err, rc, "cannot start a thread");
	rc = wait_init(s, err);
	if (!rc)
		forget_names(s);
	if (!rc && s->v->came)
		s->v->came(s->v, s->maj, s->min);
	s->starting = false; /* last: the session may go */
	return rc;
}

void sessions_join(struct volume *v)
{
	mutex_lock(&v->sessions_lock);
	while (v->nsessions)
		cond_wait(&v->sessions_cond, &v->sessions_lock);
	v->ending = true;
	mutex_unlock(&v->sessions_lock);
}

/* ---- what others ask of it ---- */

uint64_t session_nodeid(const struct session *s, uint64_t nodeid)
{
	return s->root_id == nodeid ? FUSE_ROOT_ID : nodeid;
}

uint64_t session_lock_owner(const struct session *s, uint64_t owner)
{
	return s->slot ? hash_u64(owner ^ ((uint64_t)s->slot << 56)) : owner;
}

static void drop(struct session *s, const struct inode *in, int64_t off)
{
	struct fuse_notify_inval_inode_out body = { .ino = session_nodeid(s, in->nodeid),
						    .off = off };
	struct fuse_out_header out = { .len = sizeof out + sizeof body,
				       .error = FUSE_NOTIFY_INVAL_INODE };
	struct iovec iov[2] = { { &out, sizeof out }, { &body, sizeof body } };

	if (writev(s->fuse_fd, iov, 2) > 0)
		stats_inc(STAT_notify_inval);
}

void session_drop_pages(struct session *s, const struct inode *in)
{
	drop(s, in, 0);
}

void session_drop_attr(struct session *s, const struct inode *in)
{
	drop(s, in, -1);
}
