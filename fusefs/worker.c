/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - the process that does the work: from the backend to the last drain */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/block/ledger.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fdpass.h"
#include "common/log.h"
#include "common/runtime.h"
#include "common/uri.h"
#include "fusefs/confine.h"
#include "fusefs/control.h"
#include "fusefs/cred.h"
#include "fusefs/errand.h"
#include "fusefs/handle.h"
#include "fusefs/interrupt.h"
#include "fusefs/inode.h"
#include "fusefs/opener.h"
#include "fusefs/session.h"
#include "fusefs/supervisor.h"

#define FINAL_DRAIN_MS 60000    /* a backend that refuses data after the unmount gets this long */
#define MALLOC_KEEP (64u << 20) /* bytes of freed memory kept for the next large request */

/* The arena has room for it, and does not know what it is. */
static_assert(BD_LEDGER_BYTES <= ARENA_LEDGER_BYTES, "ledger of a block backend");
static_assert(4096 % alignof(struct bd_ledger) == 0, "sections are page aligned");

struct worker {
	struct volume v;
	int sock; /* to the supervisor */
	int arena_fd, fuse_fd;
	int claim_fd; /* kept open: the volume is ours for as long as we live */
	struct be_entry root;
	int ended_fd; /* eventfd: the session is over */
	struct opener_client opener;
	struct errand_client errands; /* over the same socket */
	struct uri uri;               /* of v */
	pthread_t uplink;
};

static int say_error(struct worker *w, const char *text)
{
	line_send(w->sock, "error %s", text);
	return 1;
}

/* The next opendir lets the kernel read the names anew. */
static void forget_listing(struct inode *in)
{
	mutex_lock(&in->lock);
	in->dir_mtime = in->dir_ctime = (struct timespec){ 0, 0 };
	mutex_unlock(&in->lock);
}

static void on_changed(void *arg, struct be_node *node, unsigned what)
{
	struct volume *v = arg;
	struct inode *in = inode_hold(v, node);
	struct cache_file *f = in ? inode_file_peek(in) : NULL;

	if (!in)
		return;
	if (f && what & BE_CHANGED_DATA)
		cache_invalidate(f);
	if (what & BE_CHANGED_NAMES)
		forget_listing(in);
	inode_changed(in, NULL, what);
	inode_unhold(in);
}

/* Upcalls of sessions that come and go. */
static void on_came(struct volume *v, unsigned maj, unsigned min)
{
	line_send(CONTAINER_OF(v, struct worker, v)->sock, "session %u %u", maj, min);
}

static void on_left(struct volume *v, unsigned maj, unsigned min)
{
	line_send(CONTAINER_OF(v, struct worker, v)->sock, "left %u %u", maj, min);
	control_left(v->control);
}

static int open_backend(struct worker *w, struct err *err)
{
	struct volume *v = &w->v;
	const struct mount_options *o = &v->opt;
	struct be_env env = { .nconnect = (unsigned)o->nconnect,
			      .rsize = (uint32_t)o->rsize,
			      .wsize = (uint32_t)o->wsize,
			      .resvport = o->resvport,
			      .soft = o->soft || !o->hard,
			      .timeout_ms = (uint32_t)o->timeout,
			      .reply_ms = (uint32_t)o->rpc_timeout,
			      .nlm = o->nlm,
			      .dial = opener_dial,
			      .dialled = opener_dialled,
			      .dial_arg = &w->opener,
			      .changed = on_changed,
			      .changed_arg = v };
	struct be_prepared prepared = BE_PREPARED_NONE;
	char run_dir[PATH_MAX];
	int rc = uri_parse(v->uri, &w->uri, err);

	if (rc)
		return rc;
	w->opener.host = w->uri.host;
	if (!runtime_dir(run_dir, sizeof run_dir, NULL))
		env.run_dir = run_dir;
	rc = confine(v, &w->errands, &env, &prepared, err);
	if (!rc)
		rc = backend_open(v->uri, o->layers, &env, &v->be, err);
	be_prepared_done(&prepared);
	be_cred_put(env.self);
	if (!rc && o->nlm && !(v->be->limits.caps & BE_CAP_LOCKS))
		return err_set(err, -EINVAL, "option nlm: only an NFS server keeps locks");
	return rc;
}

static int open_cache(struct worker *w, struct err *err)
{
	struct volume *v = &w->v;
	struct cache_config config = { .policy = (enum policy_kind)v->opt.policy,
				       .idle = inode_idle,
				       .idle_arg = v };
	int rc = arena_attach(w->arena_fd, &v->arena, err);

	if (rc)
		return rc;
	w->arena_fd = -1;
	v->cache_max = (uint64_t)v->arena->hdr->nframes * v->arena->hdr->page_size;
	options_tunables(&v->opt, &config.tun);
	rc = cache_new(&config, v->arena, v->be, &v->cache);
	return rc ? err_set(err, rc, "cannot make the cache: %s", strerror(-rc)) : 0;
}

static int open_tables(struct volume *v, struct err *err)
{
	if (inodes_init(v) || handles_init(v) || requests_init(v))
		return err_set(err, -ENOMEM, "out of memory");
	if (interrupts_init(v) || offload_init(v))
		return err_set(err, -EAGAIN, "cannot start a thread");
	filelocks_init(&v->locks);
	v->creds = cred_cache_new(v->errands);
	return v->creds ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int open_root(struct worker *w, mode_t *mode, struct err *err)
{
	int rc = backend_root(w->v.be, &w->root);

	if (rc)
		return err_set(err, rc, "%s: root folder: %s", w->v.uri, strerror(-rc));
	*mode = w->root.attr.mode & S_IFMT;
	return 0;
}

static int bring_up(struct worker *w, mode_t *root_mode, struct err *err)
{
	struct volume *v = &w->v;
	int rc;

	mutex_init(&v->opt_lock, LOCK_options);
	mutex_init(&v->sessions_lock, LOCK_sessions);
	cond_init(&v->sessions_cond);
	mutex_init(&v->inode_lock, LOCK_inode_table);
	rc = open_backend(w, err);
	if (rc)
		return rc;
	v->inline_meta = !(v->be->limits.caps & BE_CAP_BLOCKING);
	options_resolve(&v->opt, &v->be->limits);
	control_apply(v);
	rc = open_cache(w, err);
	if (!rc)
		rc = open_tables(v, err);
	return rc ? rc : open_root(w, root_mode, err);
}

/* ---- running ---- */

/* The supervisor's requests, while the session lasts. */
static void *uplink_main(void *arg)
{
	struct worker *w = arg;
	struct pollfd p[2] = { { .fd = w->sock, .events = POLLIN },
			       { .fd = w->ended_fd, .events = POLLIN } };
	char line[LINE_BYTES_MAX];

	prctl(PR_SET_NAME, "uplink");
	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			return NULL;
		if (line_recv(w->sock, line)) {
			/* Unprotected from now on; the mount stays. */
			log_warn("the supervisor is gone");
			return NULL;
		}
		if (!strcmp(line, "drain"))
			line_send(w->sock, "drained %d", cache_drain(w->v.cache, NULL, NULL));
	}
}

/* What fusermount3 opened. */
static int take_device(struct worker *w, struct err *err)
{
	if (w->fuse_fd < 0)
		w->fuse_fd = errand_plain(&w->errands, ERRAND_DEVICE);
	return w->fuse_fd >= 0 ?
		       0 :
		       err_set(err, w->fuse_fd, "the supervisor does not give /dev/fuse: %s",
			       strerror(-w->fuse_fd));
}

static int take_control(struct worker *w, struct err *err)
{
	int rc, fd = errand_plain(&w->errands, ERRAND_CONTROL);
	struct control *c;

	if (fd < 0)
		return err_set(err, fd, "the supervisor does not give the control socket: %s",
			       strerror(-fd));
	rc = control_new(&w->v, fd, &c, err);
	if (!rc)
		w->v.control = c;
	return rc;
}

static int first_session(struct worker *w, unsigned maj, unsigned min, struct err *err)
{
	struct session_options opt;
	struct session *s;
	int rc;

	session_options_of(&w->v.opt, &opt);
	rc = session_new(&w->v, w->fuse_fd, &opt, &w->root, &s, err);
	if (rc)
		return rc;
	s->maj = maj;
	s->min = min;
	return session_start(s, err);
}

static int serve(struct worker *w, struct err *err)
{
	struct volume *v = &w->v;
	char line[LINE_BYTES_MAX];
	unsigned maj, min;
	uint64_t one = 1;
	int rc;

	if (fd_recv(w->sock, line, 1, &w->claim_fd, 0) != 1 || line_recv(w->sock, line) ||
	    sscanf(line, "mounted %u %u %95s", &maj, &min, v->key) != 3)
		return err_set(err, -EPIPE, "the supervisor ended before it mounted");
	rc = take_device(w, err);
	if (!rc)
		rc = first_session(w, maj, min, err);
	v->came = on_came;
	/* Who joins finds the first session: until then he waits to be accepted. */
	if (!rc)
		rc = take_control(w, err);
	if (rc)
		return rc;
	if (pthread_create(&w->uplink, NULL, uplink_main, w))
		return err_set(err, -EAGAIN, "cannot start a thread");
	line_send(w->sock, "ready");
	sessions_join(v);
	if (write(w->ended_fd, &one, sizeof one) != sizeof one)
		log_error("worker: cannot stop the uplink: %s", strerror(errno));
	pthread_join(w->uplink, NULL);
	return 0;
}

/* ---- the end ---- */

static int final_drain(struct volume *v, struct cache_usage *left)
{
	uint64_t limit = clock_ms() + FINAL_DRAIN_MS;
	int rc;

	while ((rc = cache_drain(v->cache, NULL, NULL)) && clock_ms() < limit) {
		log_warn("unmounted, but data cannot be written (%s): trying again", strerror(-rc));
		usleep(1000000);
	}
	cache_usage(v->cache, left);
	if (rc)
		log_error("%llu bytes of %llu files are lost: %s",
			  (unsigned long long)left->dirty_bytes,
			  (unsigned long long)left->files_dirty, strerror(-rc));
	return rc;
}

static int shut_down(struct volume *v)
{
	struct cache_usage left;
	int rc;

	offload_done(v);
	interrupts_done(v);
	filelocks_stop(&v->locks);
	rc = final_drain(v, &left);
	/* The programs that asked were killed; a store that does not answer would still hold
	 * frames and files. */
	cache_stop_reads(v->cache);
	control_free(v->control, rc, left.dirty_bytes); /* clients look at what goes now */
	handles_done(v);
	inodes_done(v);
	cache_free(v->cache);
	backend_close(v->be);
	cred_cache_free(v->creds);
	requests_done(v);
	filelocks_done(&v->locks);
	arena_free(v->arena);
	options_done(&v->opt);
	mutex_done(&v->opt_lock);
	mutex_done(&v->sessions_lock);
	cond_done(&v->sessions_cond);
	return rc;
}

static void quiet_signals(void)
{
	/* They are the supervisor's: it drains first. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

static void settle_memory(void)
{
	/* Large requests come and go: their memory is not to be mapped anew each time. */
	mallopt(M_MMAP_THRESHOLD, (int)(MALLOC_KEEP / 8));
	mallopt(M_TRIM_THRESHOLD, (int)MALLOC_KEEP);
}

int worker_main(int argc, char **argv)
{
	struct worker *w = calloc(1, sizeof *w);
	mode_t root_mode = S_IFDIR;
	char key[BE_KEY_BYTES];
	struct err err = { "" };
	int rc;

	if (argc != 10 || !w)
		return 2;
	prctl(PR_SET_NAME, "persifs");
	quiet_signals();
	settle_memory();
	w->fuse_fd = atoi(argv[2]);
	w->arena_fd = atoi(argv[3]);
	w->sock = atoi(argv[4]);
	w->opener.fd = atoi(argv[5]);
	w->v.uri = argv[8];
	w->v.mountpoint = argv[9];
	w->v.supervisor_pid = getppid();
	w->v.left = on_left;
	w->claim_fd = -1;
	w->ended_fd = eventfd(0, EFD_CLOEXEC);
	w->errands.fd = w->opener.fd;
	w->v.errands = &w->errands;
	umask(0); /* modes come from the kernel with the caller's umask applied */
	fcntl(w->fuse_fd, F_SETFD, FD_CLOEXEC);
	fcntl(w->arena_fd, F_SETFD, FD_CLOEXEC);
	fcntl(w->sock, F_SETFD, FD_CLOEXEC);
	fcntl(w->opener.fd, F_SETFD, FD_CLOEXEC);
	if (!strcmp(argv[6], "syslog"))
		log_to_syslog("persifs");
	if (options_defaults(&w->v.opt) || options_parse(&w->v.opt, argv[7], &err) ||
	    bring_up(w, &root_mode, &err))
		return say_error(w, err.text);
	if (backend_key(w->v.be, key))
		strcpy(key, "-");
	line_send(w->sock, "backend %o %s", root_mode, key);
	if (serve(w, &err))
		return say_error(w, err.text);
	rc = shut_down(&w->v);
	log_reopen_stop();
	close(w->sock);
	close(w->opener.fd);
	close(w->ended_fd);
	free(w);
	return rc ? 1 : 0;
}
