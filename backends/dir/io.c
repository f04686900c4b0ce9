/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - read, write and commit of open files
 *
 * A read is answered at once when the page cache has it all, else on a thread
 * of the pool. A background write goes to the page cache on the caller's
 * thread, which has nothing better to do, and so does a small one: a change of
 * threads costs more than the write (26 against 4 us for 4 KiB were seen), and
 * the system's throttling is in proportion to size. A large one that a program
 * waits for, or one that must be stable, goes to the pool. Commits have a pool
 * of their own, so that a slow disk does not hold up cached reads.
 *
 * Writes run as the credential that wrote, without the daemon's capabilities:
 * quotas and reserved blocks are the writer's affair, and a file loses its
 * set-user-id bit when somebody else writes it. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backends/dir/dir_impl.h"
#include "common/pool.h"

#define WRITE_INLINE_MAX (64u * 1024)

/* ---- threads ---------------------------------------------------------- */

struct job {
	struct list link;
	void (*work)(struct be_io *io);
	struct be_io *io; /* borrowed until work is done */
};

static void job_run(void *arg, struct list *link)
{
	struct job *job = list_entry(link, struct job, link);

	(void)arg;
	job->work(job->io);
	free(job);
}

int dir_pool_new(const char *name, unsigned threads, struct pool **out)
{
	/* All at once: one that starts later inherits a caller's identity. */
	struct pool_conf conf = {
		.name = name,
		.rank = LOCK_be_queue,
		.threads_min = threads,
		.threads_max = threads,
		.work = job_run,
	};

	return pool_new(&conf, out);
}

/* False without memory: nothing will run. */
static bool job_add(struct pool *p, void (*work)(struct be_io *io), struct be_io *io)
{
	struct job *job = malloc(sizeof *job);

	if (!job)
		return false;
	job->work = work;
	job->io = io;
	pool_add(p, &job->link);
	return true;
}

/* ---- what reads and writes share ---------------------------------------- */

static struct dfile *file_of(const struct be_io *io)
{
	return io->be_priv;
}

static struct dir *io_dir(const struct be_io *io)
{
	return dir_of(io->node->be);
}

/* len bytes from the front of the buffers are done: they become empty. */
static void iov_eat(struct be_io *io, size_t len)
{
	for (unsigned i = 0; i < io->niov && len; i++) {
		size_t n = io->iov[i].iov_len < len ? io->iov[i].iov_len : len;

		io->iov[i].iov_base = (char *)io->iov[i].iov_base + n;
		io->iov[i].iov_len -= n;
		len -= n;
	}
}

/* The buffers that are left, as many as a call takes. */
static struct iovec *iov_left(const struct be_io *io, int *n)
{
	unsigned i = 0;

	while (i < io->niov && io->iov[i].iov_len == 0)
		i++;
	*n = io->niov - i < IOV_MAX ? (int)(io->niov - i) : IOV_MAX;
	return io->iov + i;
}

static void io_end(struct be_io *io, ssize_t result)
{
	dfile_put(file_of(io));
	io->be_priv = NULL;
	io->result = result;
}

static void io_post(struct be_io *io)
{
	struct statx stx;

	io->verifier = 1; /* what is lost is lost with this process and its machine */
	io->post_valid = dir_statx_fd(file_of(io)->fd, &stx) == 0;
	if (io->post_valid)
		dir_attr_from(&stx, &io->post);
}

/* ---- read ------------------------------------------------------------ */

/* Goes on from *done. 0 at the end of file or when all is read, else -errno. */
static int read_more(struct be_io *io, size_t *done, int flags)
{
	while (*done < io->len) {
		int niov;
		struct iovec *iov = iov_left(io, &niov);
		ssize_t n = preadv2(file_of(io)->fd, iov, niov, (off_t)(io->off + *done), flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		iov_eat(io, (size_t)n);
		*done += (size_t)n;
	}
	return 0;
}

static void read_finish(struct be_io *io)
{
	size_t done = (size_t)io->result;
	int rc = read_more(io, &done, 0);

	io_end(io, rc ? rc : (ssize_t)done);
}

static void read_work(struct be_io *io)
{
	read_finish(io);
	io->done(io);
}

enum be_submit dir_submit_read(struct backend *be, struct be_io *io)
{
	struct dir *d = dir_of(be);
	struct dfile *file = NULL;
	size_t done = 0;
	int rc = dfile_get(d, dnode_of(io->node), false, &file);

	io->be_priv = file;
	if (rc) {
		io_end(io, rc);
		return BE_DONE;
	}
	if (d->in_ram)
		rc = read_more(io, &done, 0);
	else
		rc = atomic_load(&d->no_nowait) ? -EOPNOTSUPP : read_more(io, &done, RWF_NOWAIT);
	if (rc == -EOPNOTSUPP)
		atomic_store(&d->no_nowait, true);
	if (rc != -EAGAIN && rc != -EOPNOTSUPP) {
		io_end(io, rc ? rc : (ssize_t)done);
		return BE_DONE;
	}
	io->result = (ssize_t)done; /* so far */
	if (job_add(d->data_pool, read_work, io))
		return BE_QUEUED;
	read_finish(io);
	return BE_DONE;
}

/* ---- write ----------------------------------------------------------- */

static int write_all(struct be_io *io)
{
	int flags = io->want == BE_FILE_SYNC ? RWF_SYNC : io->want == BE_DATA_SYNC ? RWF_DSYNC : 0;
	size_t done = 0;

	while (done < io->len) {
		int niov;
		struct iovec *iov = iov_left(io, &niov);
		ssize_t n = pwritev2(file_of(io)->fd, iov, niov, (off_t)(io->off + done), flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		iov_eat(io, (size_t)n);
		done += (size_t)n;
	}
	return 0;
}

/* The write moved the file's time to now; the program wrote earlier. */
static void write_time(struct be_io *io)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, io->mtime };

	if (!io->mtime.tv_sec && !io->mtime.tv_nsec)
		return;
	if (!futimens(file_of(io)->fd, ts) || (errno != EPERM && errno != EACCES))
		return;
	who_become_daemon(); /* a writer need not be the owner */
	futimens(file_of(io)->fd, ts);
}

static void write_finish(struct be_io *io)
{
	int rc;

	(void)who_become(io->cred); /* fails: then as the daemon */
	rc = write_all(io);
	if (!rc)
		write_time(io);
	io->stable = io->want;
	io_post(io);
	io_end(io, rc ? rc : (ssize_t)io->len);
}

static void write_work(struct be_io *io)
{
	write_finish(io);
	io->done(io);
}

enum be_submit dir_submit_write(struct backend *be, struct be_io *io)
{
	struct dir *d = dir_of(be);
	struct dfile *file = NULL;
	int rc = dfile_get(d, dnode_of(io->node), true, &file);

	io->be_priv = file;
	if (rc) {
		io_end(io, rc);
		return BE_DONE;
	}
	if ((io->want != BE_UNSTABLE || (!io->background && io->len > WRITE_INLINE_MAX)) &&
	    job_add(d->data_pool, write_work, io))
		return BE_QUEUED;
	write_finish(io);
	return BE_DONE;
}

/* ---- commit ---------------------------------------------------------- */

static void commit_finish(struct be_io *io)
{
	struct dfile *file = NULL;
	int rc = dfile_get(io_dir(io), dnode_of(io->node), false, &file);

	io->be_priv = file;
	if (!rc) {
		rc = io->datasync ? fdatasync(file->fd) : fsync(file->fd);
		rc = rc ? -errno : 0;
		io_post(io);
	}
	io_end(io, rc);
}

static void commit_work(struct be_io *io)
{
	commit_finish(io);
	io->done(io);
}

enum be_submit dir_submit_commit(struct backend *be, struct be_io *io)
{
	if (job_add(dir_of(be)->commit_pool, commit_work, io))
		return BE_QUEUED;
	commit_finish(io);
	return BE_DONE;
}
