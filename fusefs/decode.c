/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c - libfuse as decoder: it negotiates INIT and takes the less frequent
 * operations apart. Its answers are not used: each callback frees libfuse's
 * request at once and runs ours, which the thread keeps in `current`.
 *
 * INIT: libfuse 3.14 drops PARALLEL_DIROPS from its reply and does not know
 * HANDLE_KILLPRIV_V2 and others; they are put in when the reply passes through
 * our writev. The raw message and the reply sent are kept in the arena: whoever
 * takes the session over must replay just these. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/tsan.h"
#include "fusefs/ops.h"
#include "fusefs/session.h"

#define MAX_BACKGROUND 256

static __thread struct request *current;
/* Not in the request: one that was parked may be answered, and be another, by now. */
static __thread int result;

static void set_result(fuse_req_t req, int rc)
{
	(void)req;
	result = rc;
}

/* Frees libfuse's request, then runs ours: arguments stay in the slot. */
#define RUN(call)                         \
	do {                              \
		fuse_reply_none(req);     \
		set_result(NULL, (call)); \
	} while (0)

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	struct session *s = userdata;
	struct volume *v = s->v;
	unsigned locks =
		v->opt.locks == LOCKS_DAEMON ? FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS : 0;

	conn->max_write = ARENA_PAYLOAD_MAX;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	conn->time_gran = 1;
	conn->want &=
		~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE |
			    FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->want |= conn->capable &
		      (FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO |
		       FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA |
		       FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | locks);
	conn->want &= ~(locks ^ (unsigned)(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS));
	if (!(v->be->limits.caps & BE_CAP_READDIRPLUS))
		conn->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
}

static void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
	(void)ino;
	RUN(op_readlink(current));
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	(void)dir;
	RUN(op_symlink(current, target, name));
}

static void on_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	(void)dir;
	RUN(op_mknod(current, name, mode, rdev));
}

static void on_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	(void)dir;
	RUN(op_mkdir(current, name, mode));
}

static void on_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	(void)dir;
	RUN(op_unlink(current, name));
}

static void on_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	(void)dir;
	RUN(op_rmdir(current, name));
}

static void on_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t newdir,
		      const char *newname, unsigned flags)
{
	(void)dir;
	RUN(op_rename(current, name, newdir, newname, flags));
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	RUN(op_link(current, ino, dir, name));
}

static void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	RUN(op_opendir(current));
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)ino;
	RUN(op_readdir(current, fi->fh, size, (uint64_t)off, false));
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)ino;
	RUN(op_readdir(current, fi->fh, size, (uint64_t)off, true));
}

static void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	RUN(op_releasedir(current, fi->fh));
}

static void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	RUN(op_fsyncdir(current));
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	RUN(op_fsync(current, fi->fh, datasync));
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
	(void)ino;
	RUN(op_statfs(current));
}

static void on_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	(void)ino;
	RUN(op_access(current, mask));
}

static void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	(void)ino;
	RUN(op_getxattr(current, name, size));
}

static void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			size_t size, int flags)
{
	(void)ino;
	RUN(op_setxattr(current, name, value, size, flags));
}

static void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	(void)ino;
	RUN(op_listxattr(current, size));
}

static void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino;
	RUN(op_removexattr(current, name));
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	RUN(op_fallocate(current, mode, (uint64_t)off, (uint64_t)len));
}

static void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	RUN(op_lseek(current, (uint64_t)off, whence));
}

static void on_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in,
			       struct fuse_file_info *fi, fuse_ino_t out, off_t off_out,
			       struct fuse_file_info *fo, size_t len, int flags)
{
	(void)in;
	(void)fi;
	(void)fo;
	(void)flags;
	RUN(op_copy_file_range(current, (uint64_t)off_in, out, (uint64_t)off_out, len, false));
}

/* Locks: libfuse turns the range into a struct flock; the message says it better. */
static const struct fuse_lk_in *lk_arg(void)
{
	return request_arg(current, sizeof(struct fuse_lk_in));
}

static void on_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	const struct fuse_lk_in *arg = lk_arg();

	(void)ino;
	(void)fi;
	(void)lock;
	RUN(arg ? op_getlk(current, arg->owner, &arg->lk) : -EINVAL);
}

static void on_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		     int sleep)
{
	const struct fuse_lk_in *arg = lk_arg();

	(void)ino;
	(void)fi;
	(void)lock;
	RUN(arg ? op_setlk(current, arg, false, sleep) : -EINVAL);
}

static void on_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	const struct fuse_lk_in *arg = lk_arg();

	(void)ino;
	(void)fi;
	(void)op;
	RUN(arg ? op_setlk(current, arg, true, current->hdr->opcode == FUSE_SETLKW) : -EINVAL);
}

static void on_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
		     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		     size_t out_size)
{
	(void)ino;
	(void)cmd;
	(void)arg;
	(void)fi;
	(void)flags;
	(void)in;
	(void)in_size;
	(void)out_size;
	RUN(-ENOTTY);
}

static const struct fuse_lowlevel_ops table = {
	.init = on_init,
	.readlink = on_readlink,
	.symlink = on_symlink,
	.mknod = on_mknod,
	.mkdir = on_mkdir,
	.unlink = on_unlink,
	.rmdir = on_rmdir,
	.rename = on_rename,
	.link = on_link,
	.opendir = on_opendir,
	.readdir = on_readdir,
	.readdirplus = on_readdirplus,
	.releasedir = on_releasedir,
	.fsyncdir = on_fsyncdir,
	.fsync = on_fsync,
	.statfs = on_statfs,
	.access = on_access,
	.getxattr = on_getxattr,
	.setxattr = on_setxattr,
	.listxattr = on_listxattr,
	.removexattr = on_removexattr,
	.fallocate = on_fallocate,
	.lseek = on_lseek,
	.copy_file_range = on_copy_file_range,
	.getlk = on_getlk,
	.setlk = on_setlk,
	.flock = on_flock,
	.ioctl = on_ioctl,
};

/* ---- what libfuse sends by itself ---- */

static void patch_init(struct session *s, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	uint32_t flags2 = in->flags & FUSE_INIT_EXT ? in->flags2 : 0;

	out->flags |= in->flags &
		      (PFUSE_PARALLEL_DIROPS | PFUSE_ABORT_ERROR | PFUSE_HANDLE_KILLPRIV_V2);
	out->flags2 |= flags2 & PFUSE_DIRECT_IO_ALLOW_MMAP;
	log_debug("fuse: kernel %u.%u offers %08x %08x, answer %08x %08x, max_write %u", in->major,
		  in->minor, in->flags, flags2, out->flags, out->flags2, out->max_write);
	s->direct_mmap = out->flags2 & PFUSE_DIRECT_IO_ALLOW_MMAP;
}

/* Keeps both halves of INIT for a successor. */
static void save_init(struct session *s, const struct iovec *iov, int count)
{
	struct arena_header *h = s->v->arena->hdr;
	uint32_t at = 0;

	if (h->init_len)
		return; /* the first session's is there */
	h->init_len =
		(uint32_t)(current->len < sizeof h->init_msg ? current->len : sizeof h->init_msg);
	memcpy(h->init_msg, current->msg, h->init_len);
	for (int i = 0; i < count && at + iov[i].iov_len <= sizeof h->init_reply; i++) {
		memcpy(h->init_reply + at, iov[i].iov_base, iov[i].iov_len);
		at += (uint32_t)iov[i].iov_len;
	}
	h->init_reply_len = at;
}

static ssize_t on_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct session *s = userdata;
	bool init = current && current->hdr->opcode == FUSE_INIT && count == 2 &&
		    iov[1].iov_len >= sizeof(struct fuse_init_out);
	ssize_t n;

	if (init) {
		patch_init(s, request_arg(current, sizeof(struct fuse_init_in)), iov[1].iov_base);
		save_init(s, iov, count);
	}
	if (current)
		current->answered = true;
	TSAN_RELEASE(&s->fuse_fd);
	n = writev(fd, iov, count);
	if (init && n > 0)
		s->ready = true; /* others may come: what is kept of this one is whole */
	return n;
}

static ssize_t on_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

int decoder_init(struct session *s, struct err *err)
{
	const struct fuse_custom_io io = { .writev = on_writev, .read = on_read };
	char *argv[] = { (char[]){ "persifs" }, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);

	s->se = fuse_session_new(&args, &table, sizeof table, s);
	fuse_opt_free_args(&args);
	if (!s->se)
		return err_set(err, -ENOMEM, "libfuse refuses to make a session");
	if (fuse_session_custom_io(s->se, &io, s->fuse_fd)) {
		fuse_session_destroy(s->se);
		s->se = NULL;
		return err_set(err, -EINVAL, "libfuse refuses our input and output");
	}
	return 0;
}

/* libfuse closes the descriptor. */
void decoder_done(struct session *s)
{
	if (s->se)
		fuse_session_destroy(s->se);
	s->se = NULL;
}

int decoder_run(struct request *rq)
{
	struct fuse_buf buf = { .mem = rq->msg, .size = rq->len };

	current = rq;
	result = 0; /* what libfuse answers by itself is answered */
	fuse_session_process_buf(rq->s->se, &buf);
	current = NULL;
	return result;
}
