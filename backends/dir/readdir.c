/* SPDX-License-Identifier: Apache-2.0 */
/* readdir.c - listing a directory by getdents64
 *
 * The file system's own d_off are the cookies. A stream keeps the block of
 * entries that it read last, and goes on inside it when a listing continues
 * where it stopped. emit() runs without locks; a second listing on the same
 * stream waits for the first. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/dir/dir_impl.h"

#define BLOCK_BYTES 32768

struct linux_dirent64 { /* as the kernel fills it */
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

struct be_dir {
	struct dnode *node; /* counted */
	int fd;
	struct mutex lock;
	struct cond idle;
	/* guarded by lock */
	bool busy;
	/* the busy one's */
	uint64_t at;     /* cookie of the next entry in block */
	size_t pos, len; /* of block: the next entry, the end */
	_Alignas(8) char block[BLOCK_BYTES];
};

int dir_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
		struct be_dir **out)
{
	struct dir *d = dir_of(be);
	struct dnode *n = dnode_of(dir);
	struct be_dir *s;
	int path_fd = dnode_pin_as(d, n, call->cred), fd;

	if (path_fd < 0)
		return path_fd;
	do
		fd = dir_reopen(d, path_fd, O_RDONLY | O_DIRECTORY);
	while (fd < 0 && dir_fds_shrink(d, fd));
	dnode_unpin(n);
	if (fd < 0)
		return fd;
	s = malloc(sizeof *s);
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	be_node_get(dir);
	s->node = n;
	s->fd = fd;
	s->busy = false;
	s->at = s->pos = s->len = 0;
	mutex_init(&s->lock, LOCK_be_queue);
	cond_init(&s->idle);
	*out = s;
	return 0;
}

void dir_closedir(struct backend *be, struct be_dir *s)
{
	(void)be;
	close(s->fd);
	be_node_put(&s->node->node);
	cond_done(&s->idle);
	mutex_done(&s->lock);
	free(s);
}

static void stream_enter(struct be_dir *s)
{
	mutex_lock(&s->lock);
	while (s->busy)
		cond_wait(&s->idle, &s->lock);
	s->busy = true;
	mutex_unlock(&s->lock);
}

static void stream_leave(struct be_dir *s)
{
	mutex_lock(&s->lock);
	s->busy = false;
	cond_signal(&s->idle);
	mutex_unlock(&s->lock);
}

/* 0, or -errno. Cookie 0 always reads anew: that is a rewind. */
static int stream_seek(struct be_dir *s, uint64_t cookie)
{
	if (cookie && cookie == s->at && s->pos < s->len)
		return 0;
	s->pos = s->len = 0;
	s->at = cookie;
	return lseek(s->fd, (off_t)cookie, SEEK_SET) < 0 ? -errno : 0;
}

/* The next entry, or NULL at the end with *rc 0 or -errno. */
static struct linux_dirent64 *stream_next(struct be_dir *s, int *rc)
{
	long n;

	*rc = 0;
	if (s->pos >= s->len) {
		n = syscall(SYS_getdents64, s->fd, s->block, sizeof s->block);
		s->pos = 0;
		s->len = n > 0 ? (size_t)n : 0;
		/* A removed directory has nothing, which is no error to one who lists it. */
		if (n < 0 && errno != ENOENT)
			*rc = -errno;
		if (n <= 0)
			return NULL;
	}
	return (struct linux_dirent64 *)(void *)(s->block + s->pos);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* The attributes of an entry as the caller may see them; else just its name. */
static bool emit_entry(struct dir *d, const struct be_dir *s, const struct linux_dirent64 *e,
		       int path_fd, be_emit *emit, void *arg)
{
	struct be_dirent ent = { .name = e->d_name,
				 .name_len = strlen(e->d_name),
				 .ino = e->d_ino,
				 .type = (mode_t)e->d_type << 12,
				 .cookie = (uint64_t)e->d_off };
	struct be_entry found = { .node = NULL };
	bool room;

	if (is_dots(e->d_name) && e->d_name[1] && s->node == d->root)
		ent.ino = d->root->node.ino; /* what is above the folder is nobody's business */
	if (path_fd >= 0 && !is_dots(e->d_name) &&
	    dir_lookup_at(d, path_fd, e->d_name, !dnode_likely_known(d, e->d_ino), &found) == 0) {
		ent.node = found.node;
		ent.attr = &found.attr;
		ent.ino = found.attr.ino;
		ent.type = found.node->type;
	}
	room = emit(arg, &ent);
	be_node_put(found.node);
	return room;
}

static int list(struct dir *d, struct be_dir *s, int path_fd, be_emit *emit, void *arg)
{
	struct linux_dirent64 *e;
	int rc;

	while ((e = stream_next(s, &rc))) {
		if (!emit_entry(d, s, e, path_fd, emit, arg))
			return 0;
		s->at = (uint64_t)e->d_off;
		s->pos += e->d_reclen;
	}
	return rc;
}

int dir_readdir(struct backend *be, const struct be_call *call, struct be_dir *s, uint64_t cookie,
		bool plus, be_emit *emit, void *arg)
{
	struct dir *d = dir_of(be);
	int path_fd = plus ? dnode_pin_as(d, s->node, call->cred) : -1, rc;

	stream_enter(s);
	rc = stream_seek(s, cookie);
	if (!rc)
		rc = list(d, s, path_fd, emit, arg);
	stream_leave(s);
	if (path_fd >= 0)
		dnode_unpin(s->node);
	return rc;
}

int dir_fsyncdir(struct backend *be, const struct be_call *call, struct be_node *dir)
{
	struct dir *d = dir_of(be);
	struct dnode *n = dnode_of(dir);
	AUTO_FD int fd = -1;
	int path_fd = dnode_pin(d, n);

	(void)call;
	if (path_fd < 0)
		return path_fd;
	who_become_daemon();
	fd = dir_reopen(d, path_fd, O_RDONLY | O_DIRECTORY);
	dnode_unpin(n);
	if (fd < 0)
		return fd;
	return fsync(fd) ? -errno : 0;
}
