/* SPDX-License-Identifier: Apache-2.0 */
/* dir.c - a folder of this machine as a store of files
 *
 * dir:/srv/data?fds=10000 - see dir_impl.h for how nodes, descriptors and
 * identities are kept. What is mounted inside the folder stays outside: such a
 * name is listed but its lookup is -EXDEV.
 *
 * With CAP_SETUID and CAP_SETGID every operation runs as the caller, and the
 * file system's own rules hold: permissions, access lists, ownership of new
 * files, sticky and setgid bits, quotas. Without, all is done as ourselves, and
 * the mount leaves permission to the kernel (no BE_CAP_CRED). The daemon has
 * set umask(0): callers' modes are final. Changing identities clears a thread's
 * parent-death signal and makes the process not dumpable: set both up anew
 * where they matter. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backends/dir/dir_impl.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/pool.h"
#include "common/uri.h"

#define FDS_MIN 16
#define FDS_MAX (1u << 24)

static int dir_root(struct backend *be, struct be_entry *out)
{
	struct dnode *n = dir_of(be)->root;
	struct statx stx;
	int rc = dir_statx_fd(n->fd, &stx);

	if (rc)
		return rc;
	out->node = be_node_get(&n->node);
	dir_attr_from(&stx, &out->attr);
	return 0;
}

/* A folder is a volume: what lies beside it is not to be reached. */
static int dir_key(struct backend *be, char *out)
{
	const struct dir *d = dir_of(be);

	snprintf(out, BE_KEY_BYTES, "dir-%llx-%llx", (unsigned long long)d->root_dev,
		 (unsigned long long)d->root->node.ino);
	return 0;
}

static int dir_uri_key(const char *text, char *out)
{
	AUTO_FREE struct uri *uri = malloc(sizeof *uri);
	struct stat st;
	int rc = uri ? uri_parse(text, uri, NULL) : -ENOMEM;

	if (!rc && stat(uri->path, &st))
		rc = -errno;
	if (!rc)
		snprintf(out, BE_KEY_BYTES, "dir-%llx-%llx", (unsigned long long)st.st_dev,
			 (unsigned long long)st.st_ino);
	return rc;
}

static int dir_folder(struct backend *be, const char *text, struct be_entry *out, struct err *err)
{
	AUTO_FREE struct uri *uri = malloc(sizeof *uri);
	const struct dir *d = dir_of(be);
	struct stat st;
	int rc;

	if (!uri)
		return err_set(err, -ENOMEM, "out of memory");
	rc = uri_parse(text, uri, err);
	if (rc)
		return rc;
	/* Where there are no paths, who asks has made sure of it by backend_uri_key(). */
	if (!d->no_paths &&
	    (stat(uri->path, &st) || st.st_dev != d->root_dev || st.st_ino != d->root->node.ino))
		return err_set(err, -EXDEV, "'%.200s' is another folder", text);
	rc = dir_root(be, out);
	return rc ? err_set(err, rc, "'%.200s': %s", text, strerror(-rc)) : 0;
}

static void dir_close(struct backend *be)
{
	struct dir *d = dir_of(be);

	pool_free(d->data_pool);
	pool_free(d->commit_pool);
	be_node_put(d->root ? &d->root->node : NULL);
	if (d->proc_fd >= 0)
		close(d->proc_fd);
	if (d->root_fd >= 0)
		close(d->root_fd);
	mutex_done(&d->table_lock);
	mutex_done(&d->fds_lock);
	free(d->buckets);
	free(d);
	who_restore();
}

static const struct backend_ops dir_ops = {
	.scheme = "dir",
	.close = dir_close,
	.node_free = dnode_free,
	.root = dir_root,
	.key = dir_key,
	.folder = dir_folder,
	.submit_read = dir_submit_read,
	.submit_write = dir_submit_write,
	.submit_commit = dir_submit_commit,
	.lookup = dir_lookup,
	.getattr = dir_getattr,
	.setattr = dir_setattr,
	.access = dir_access,
	.readlink = dir_readlink,
	.mknod = dir_mknod,
	.mkdir = dir_mkdir,
	.symlink = dir_symlink,
	.link = dir_link,
	.unlink = dir_unlink,
	.rmdir = dir_rmdir,
	.rename = dir_rename,
	.create = dir_create,
	.tmpfile = dir_tmpfile,
	.open = dir_open_node,
	.release = dir_release,
	.opendir = dir_opendir,
	.readdir = dir_readdir,
	.closedir = dir_closedir,
	.fsyncdir = dir_fsyncdir,
	.statfs = dir_statfs,
	.getxattr = dir_getxattr,
	.setxattr = dir_setxattr,
	.listxattr = dir_listxattr,
	.removexattr = dir_removexattr,
	.fallocate = dir_fallocate,
	.seek = dir_seek,
	.copy_range = dir_copy_range,
	.node_save = dir_node_save,
	.node_restore = dir_node_restore,
};

/* ---- opening --------------------------------------------------------- */

static int folder_open(const char *path, struct err *err)
{
	int fd;

	if (path[0] != '/')
		return err_set(err, -EINVAL, "dir: '%.200s' is not an absolute path", path);
	/* Not O_PATH: that would not tell that we may not, and handles want a real one. */
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
		return err_set(err, -ENOENT, "dir: folder '%.200s' does not exist", path);
	case ENOTDIR:
		return err_set(err, -ENOTDIR, "dir: '%.200s' is not a folder", path);
	case EACCES:
		return err_set(err, -EACCES, "dir: no permission to read folder '%.200s'", path);
	default:
		return err_set(err, -errno, "dir: cannot open folder '%.200s': %s", path,
			       strerror(errno));
	}
}

/* As many descriptors as the system lets us have, less some for others. */
static size_t fds_limit(uint64_t wanted)
{
	struct rlimit lim;
	size_t max = FDS_MIN;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return max;
	if (lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &lim))
			log_warn("dir: cannot raise the limit of open files: %s", strerror(errno));
		getrlimit(RLIMIT_NOFILE, &lim);
	}
	if (lim.rlim_cur > 2 * DIR_FDS_SPARE)
		max = lim.rlim_cur - DIR_FDS_SPARE;
	else if (lim.rlim_cur / 2 > max)
		max = lim.rlim_cur / 2;
	return wanted && wanted < max ? wanted : max;
}

static bool is_in_ram(int fd)
{
	struct statfs st;

	return fstatfs(fd, &st) == 0 && (st.f_type == TMPFS_MAGIC || st.f_type == RAMFS_MAGIC);
}

static bool handles_work(const struct dir *d)
{
	struct be_handle h;
	int fd;

	if (dhandle_get(d, d->root_fd, &h))
		return false;
	fd = dhandle_open(d, &h);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int root_make(struct dir *d)
{
	struct statx stx;
	int fd, rc = dir_statx_fd(d->root_fd, &stx);

	if (rc)
		return rc;
	d->root_dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	d->root_mnt = stx.stx_mask & STATX_MNT_ID ? stx.stx_mnt_id : 0;
	fd = fcntl(d->root_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	rc = dnode_intern_take(d, fd, &stx, &d->root);
	if (!rc)
		d->root->fd_users++; /* for ever: getting it back is not to fail */
	return rc;
}

static void limits_init(struct dir *d)
{
	struct be_limits *l = &d->be.limits;
	struct statvfs st;

	l->read_max = l->read_pref = DIR_IO_MAX;
	l->write_max = l->write_pref = DIR_IO_MAX;
	l->inflight_max = 2 * DIR_DATA_THREADS;
	l->name_max = fstatvfs(d->root_fd, &st) == 0 && st.f_namemax ? (uint32_t)st.f_namemax :
								       NAME_MAX;
	l->file_max = INT64_MAX;
	l->caps = BE_CAP_SLOW_COMMIT | BE_CAP_WRITE_MTIME | BE_CAP_SHARED | BE_CAP_XATTR |
		  BE_CAP_READDIRPLUS | BE_CAP_FSYNC_DIR | BE_CAP_HOST_STABLE;
	if (who_can_switch())
		l->caps |= BE_CAP_CRED;
}

/* d->root_fd is open. */
static int dir_start(struct dir *d, uint64_t fds, bool no_handles, struct err *err)
{
	int rc;

	who_init();
	who_become_daemon();
	d->in_ram = is_in_ram(d->root_fd);
	d->handles = !no_handles && handles_work(d);
	d->fds_max = fds_limit(fds);
	if (!d->handles)
		log_info("dir: no file handles here, each known file keeps a descriptor");
	limits_init(d);
	rc = root_make(d);
	if (rc)
		return err_set(err, rc, "dir: cannot look at the folder: %s", strerror(-rc));
	rc = dir_pool_new("dir-data", DIR_DATA_THREADS, &d->data_pool);
	if (!rc)
		rc = dir_pool_new("dir-commit", DIR_COMMIT_THREADS, &d->commit_pool);
	return rc ? err_set(err, rc, "dir: cannot start threads") : 0;
}

static int folder_fd_of(const char *text, struct err *err)
{
	struct uri uri;
	int rc = uri_parse(text, &uri, err);

	if (rc)
		return rc;
	if (*uri.host)
		return err_set(err, -EINVAL, "dir: is local, takes no host: '%.100s'", uri.host);
	return folder_open(uri.path, err);
}

static int dir_prepare(const char *text, const struct be_env *env, struct be_prepared *out,
		       struct err *err)
{
	int fd = folder_fd_of(text, err);

	(void)env;
	if (fd < 0)
		return fd;
	out->folder_fd = fd;
	/* The limit is raised while that needs no leave of anybody. */
	(void)fds_limit(0);
	return 0;
}

/* What others have opened for us, or we by ourselves. */
static int take_prepared(struct dir *d, const char *text, const struct be_env *env,
			 bool *no_handles, struct err *err)
{
	struct be_prepared *p = env->prepared;

	d->handle_get = env->handle_get;
	d->handle_open = env->handle_open;
	d->helper_arg = env->helper_arg;
	if (p) {
		d->root_fd = take_fd(&p->folder_fd);
		d->proc_fd = take_fd(&p->proc_fd);
		d->proc_is_cwd = p->proc_is_cwd;
		d->no_paths = env->handle_get != NULL;
		*no_handles = p->no_handles;
	}
	if (d->root_fd < 0)
		d->root_fd = folder_fd_of(text, err);
	if (d->root_fd < 0)
		return d->root_fd;
	if (d->proc_fd < 0)
		d->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (d->proc_fd < 0)
		return err_set(err, -errno, "dir: needs /proc/self/fd: %s", strerror(errno));
	return 0;
}

static struct dir *dir_alloc(void)
{
	struct dir *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->be.ops = &dir_ops;
	d->root_fd = d->proc_fd = -1;
	list_init(&d->fds);
	mutex_init(&d->table_lock, LOCK_be_table);
	mutex_init(&d->fds_lock, LOCK_be_table);
	return d;
}

static int dir_open(const char *text, const struct be_env *env, struct backend **out,
		    struct err *err)
{
	static const char *const known[] = { "fds", NULL };
	struct uri uri;
	struct dir *d;
	uint64_t fds;
	bool no_handles = false;
	int rc = uri_parse(text, &uri, err);

	if (!rc)
		rc = uri_only_params(&uri, known, err);
	if (!rc)
		rc = uri_param_u64(&uri, "fds", FDS_MIN, FDS_MAX, 0, &fds, err);
	if (rc)
		return rc;
	d = dir_alloc();
	if (!d)
		return err_set(err, -ENOMEM, "dir: out of memory");
	rc = take_prepared(d, text, env, &no_handles, err);
	if (!rc)
		rc = dir_start(d, fds, no_handles, err);
	if (rc) {
		dir_close(&d->be);
		return rc;
	}
	*out = &d->be;
	return 0;
}

const struct backend_type backend_dir = {
	.scheme = "dir",
	.uri_help = "dir:/folder?fds=10000",
	.open = dir_open,
	.prepare = dir_prepare,
	.uri_key = dir_uri_key,
};
