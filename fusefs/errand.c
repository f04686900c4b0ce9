/* SPDX-License-Identifier: Apache-2.0 */
/* errand.c - see errand.h */
#include "fusefs/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fdpass.h"
#include "common/log.h"
#include "common/runtime.h"
#include "common/siphash.h"

#define CONTROL_BACKLOG 16
#define TAG_BYTES sizeof(uint64_t)

static const char *const task_file[] = {
	[ERRAND_TASK_STATUS] = "status", [ERRAND_TASK_STAT] = "stat"
};

static int open_task(enum errand_kind kind, pid_t pid)
{
	char path[64];
	int fd;

	if (pid <= 0)
		return -ENOENT;
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, task_file[kind]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- handles --------------------------------------------------------- */

union handle_buf {
	struct file_handle fh;
	char room[sizeof(struct file_handle) + BE_HANDLE_MAX];
};

/* What goes into the tag: type, length and bytes. */
static uint64_t tag_of(const struct errands *e, const struct file_handle *fh)
{
	unsigned char buf[8 + BE_HANDLE_MAX];
	uint32_t head[2] = { (uint32_t)fh->handle_type, fh->handle_bytes };

	memcpy(buf, head, sizeof head);
	memcpy(buf + sizeof head, fh->f_handle, fh->handle_bytes);
	return siphash(e->key, buf, sizeof head + fh->handle_bytes);
}

static uint64_t mount_of(int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) ||
	    !(stx.stx_mask & STATX_MNT_ID))
		return 0;
	return stx.stx_mnt_id;
}

/* fd: of any object that the worker has open. Handles of other file systems must not get a tag:
 * here they would be somebody else's. */
static int handle_get(const struct errands *e, int fd, struct be_handle *out)
{
	union handle_buf u = { .fh = { .handle_bytes = BE_HANDLE_MAX - TAG_BYTES } };
	uint64_t tag, mount = mount_of(e->folder_fd);
	int mount_id;

	if (!mount || mount_of(fd) != mount)
		return -EXDEV;
	if (name_to_handle_at(fd, "", &u.fh, &mount_id, AT_EMPTY_PATH))
		return -errno;
	tag = tag_of(e, &u.fh);
	out->type = u.fh.handle_type;
	out->len = u.fh.handle_bytes + (unsigned)TAG_BYTES;
	memcpy(out->bytes, u.fh.f_handle, u.fh.handle_bytes);
	memcpy(out->bytes + u.fh.handle_bytes, &tag, TAG_BYTES);
	return 0;
}

static int handle_open(const struct errands *e, const struct be_handle *h)
{
	union handle_buf u;
	uint64_t tag;
	int fd;

	if (h->len <= TAG_BYTES || h->len > BE_HANDLE_MAX)
		return -EINVAL;
	u.fh.handle_type = h->type;
	u.fh.handle_bytes = h->len - (unsigned)TAG_BYTES;
	memcpy(u.fh.f_handle, h->bytes, u.fh.handle_bytes);
	memcpy(&tag, h->bytes + u.fh.handle_bytes, TAG_BYTES);
	if (tag != tag_of(e, &u.fh))
		return -EPERM;
	fd = open_by_handle_at(e->folder_fd, &u.fh, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- files of the mount ---------------------------------------------- */

/* Hexadecimal digits and a suffix: no way out of the runtime folder. */
static int keep_run_file(struct errands *e, const char *name)
{
	size_t len = strnlen(name, ERRAND_NAME_MAX);

	if (*e->run_file || !len || len == ERRAND_NAME_MAX ||
	    strspn(name, "0123456789abcdef.nfs") != len || name[0] == '.')
		return -EINVAL;
	memcpy(e->run_file, name, len + 1);
	return 0;
}

static int unlink_run_file(struct errands *e)
{
	char dir[PATH_MAX], path[PATH_MAX + ERRAND_NAME_MAX + 1];

	if (!*e->run_file || runtime_dir(dir, sizeof dir, NULL))
		return -ENOENT;
	snprintf(path, sizeof path, "%s/%s", dir, e->run_file);
	e->run_file[0] = '\0';
	return unlink(path) ? -errno : 0;
}

/* The kernel gives a device number to another mount as soon as this one is gone, and that one's
 * socket has this path: only what was made here is removed. */
static int unlink_control(struct errands *e)
{
	struct stat st;
	int rc = 0;

	if (!*e->control_path)
		return -ENOENT;
	if (lstat(e->control_path, &st))
		rc = -errno;
	else if (st.st_dev == e->control_dev && st.st_ino == e->control_ino)
		rc = unlink(e->control_path) ? -errno : 0;
	e->control_path[0] = '\0';
	return rc;
}

/* 0 or -errno; *made: what is at path then. */
static int bind_at(int fd, const char *path, struct stat *made)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	mode_t mask = umask(0177); /* nobody else may connect between bind and listen */
	int rc = 0;

	memcpy(sa.sun_path, path, strlen(path) + 1);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof sa) || lstat(path, made) ||
	    listen(fd, CONTROL_BACKLOG))
		rc = -errno;
	umask(mask);
	return rc;
}

int errands_listen(struct errands *e, const char *path, struct err *err)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st = { .st_ino = 0 };
	int rc = fd < 0 ? -errno : 0;

	if (!rc && strlen(path) >= sizeof e->control_path)
		rc = -ENAMETOOLONG;
	if (!rc)
		rc = bind_at(fd, path, &st);
	if (rc)
		return err_set(err, rc, "control socket '%s': %s", path, strerror(-rc));
	strcpy(e->control_path, path);
	e->control_dev = st.st_dev;
	e->control_ino = st.st_ino;
	e->control_fd = take_fd(&fd);
	return 0;
}

/* ---- serving --------------------------------------------------------- */

int errands_init(struct errands *e)
{
	*e = (struct errands)ERRANDS_NONE;
	return getrandom(e->key, sizeof e->key, 0) == sizeof e->key ? 0 : -EIO;
}

void errands_done(struct errands *e, bool unused)
{
	unlink_control(e);
	if (unused)
		unlink_run_file(e);
	cleanup_fd(&e->folder_fd);
	cleanup_fd(&e->control_fd);
	cleanup_fd(&e->device_fd);
	e->folder_fd = e->control_fd = e->device_fd = -1;
}

static int give(int *fd)
{
	return *fd < 0 ? -ENOENT : take_fd(fd);
}

/* Those that tell of things. fd: what came with it, taken where it is kept. */
static int told(struct errands *e, const struct errand *req, int *fd)
{
	if (e->sealed)
		return -EPERM;
	switch (req->kind) {
	case ERRAND_FOLDER:
		if (e->folder_fd >= 0 || *fd < 0)
			return -EINVAL;
		e->folder_fd = take_fd(fd);
		return 0;
	case ERRAND_RUN_FILE:
		return keep_run_file(e, req->name);
	default:
		e->sealed = true;
		return 0;
	}
}

/* 0 or -errno, with *out_fd or *handle. in: the descriptor that came with it, or -1. */
static int serve(struct errands *e, const struct errand *req, int *in, int *out_fd,
		 struct be_handle *handle)
{
	int fd = 0;

	switch (req->kind) {
	case ERRAND_TASK_STATUS:
	case ERRAND_TASK_STAT:
		fd = open_task((enum errand_kind)req->kind, req->pid);
		break;
	case ERRAND_LOG:
		fd = log_connect(NULL);
		break;
	case ERRAND_CONTROL:
		fd = give(&e->control_fd);
		break;
	case ERRAND_DEVICE:
		fd = give(&e->device_fd);
		break;
	case ERRAND_HANDLE_OPEN:
		fd = e->folder_fd < 0 ? -EPERM : handle_open(e, &req->handle);
		break;
	case ERRAND_HANDLE_GET:
		return e->folder_fd < 0 || *in < 0 ? -EPERM : handle_get(e, *in, handle);
	case ERRAND_UNLINK_CONTROL:
		return unlink_control(e);
	case ERRAND_UNLINK_RUN_FILE:
		return unlink_run_file(e);
	case ERRAND_FOLDER:
	case ERRAND_RUN_FILE:
	case ERRAND_SEAL:
		return told(e, req, in);
	default:
		return -EINVAL;
	}
	if (fd < 0)
		return fd;
	*out_fd = fd;
	return 0;
}

void errands_serve(struct errands *e, const struct errand *req, int sock)
{
	struct errand_answer a = { .rc = -EINVAL };
	AUTO_FD int in = -1;
	AUTO_FD int out = -1;
	char byte;

	/* A descriptor that goes along was put into sock before. */
	(void)fd_recv(sock, &byte, 1, &in, MSG_DONTWAIT);
	if (req->magic == ERRAND_MAGIC)
		a.rc = serve(e, req, &in, &out, &a.handle);
	/* Nobody there, or no room: the worker sees the end of the socket instead. */
	(void)fd_send(sock, &a, sizeof a, out, MSG_DONTWAIT);
}

/* ---- the worker ------------------------------------------------------ */

static int send_errand(const struct errand_client *c, struct errand *req, int fd, int *ours)
{
	AUTO_FD int theirs = -1;
	int sv[2], rc = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	*ours = sv[0];
	theirs = sv[1];
	if (fd >= 0)
		rc = fd_send(*ours, "", 1, fd, MSG_DONTWAIT);
	return rc ? rc : fd_send(c->fd, req, sizeof *req, theirs, MSG_DONTWAIT);
}

int errand_run(const struct errand_client *c, struct errand *req, int fd, struct be_handle *handle,
	       int *out_fd)
{
	AUTO_FD int ours = -1;
	AUTO_FD int got = -1;
	struct errand_answer a;
	struct pollfd p;
	ssize_t n;
	int rc;

	req->magic = ERRAND_MAGIC;
	rc = send_errand(c, req, fd, &ours);
	if (rc)
		return rc;
	p = (struct pollfd){ .fd = ours, .events = POLLIN };
	do
		rc = poll(&p, 1, ERRAND_WAIT_MS);
	while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return rc ? -errno : -ETIMEDOUT;
	n = fd_recv(ours, &a, sizeof a, &got, MSG_DONTWAIT | MSG_TRUNC);
	if (n == 0 || n == -ECONNRESET)
		return -EPIPE;
	if (n != sizeof a || a.rc > 0)
		return -EPROTO;
	if (a.rc)
		return a.rc;
	if (handle)
		*handle = a.handle;
	if (out_fd)
		*out_fd = take_fd(&got);
	return 0;
}

int errand_plain(const struct errand_client *c, enum errand_kind kind)
{
	struct errand req = { .kind = kind };
	int fd = -1, rc = errand_run(c, &req, -1, NULL, &fd);

	if (rc)
		return rc;
	if (fd >= 0)
		return fd;
	return kind == ERRAND_LOG || kind == ERRAND_CONTROL || kind == ERRAND_DEVICE ? -EPROTO : 0;
}

int errand_task(const struct errand_client *c, enum errand_kind kind, pid_t pid)
{
	struct errand req = { .kind = kind, .pid = pid };
	int fd = -1, rc;

	if (!c)
		return open_task(kind, pid);
	rc = errand_run(c, &req, -1, NULL, &fd);
	if (rc)
		return rc;
	return fd < 0 ? -EPROTO : fd;
}
