/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox_mounts.c - an empty mount namespace, and dir's folder as a mount of its own
 *
 * The folder and /proc/self/fd are cloned as detached mounts before everything else goes: there ".."
 * of the root is the root, whatever the process may. The folder comes with what is mounted in it,
 * so that the backend sees mount points and refuses them, instead of what lies below. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/safefd.h"
#include "fusefs/sandbox_impl.h"

/* Errors are -errno, the place where they came from is told by *at. */
static int empty_root(const char **at)
{
	AUTO_FD int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	AUTO_FD int mnt = -1;

	*at = "tmpfs";
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "4096", 0) ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -errno;
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	*at = "move_mount";
	if (mnt < 0 || move_mount(mnt, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) || fchdir(mnt))
		return -errno;
	/* The old root lands on top of the new one, and goes from there. */
	*at = "pivot_root";
	if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return -errno;
	return 0;
}

/* A mount of the folder alone; its descriptor keeps the mounts in it together, so it stays open. Devices
 * in it cannot be opened, for dir may make some. (noexec would change what access() says.) */
static int clone_folder(struct be_prepared *p)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID };
	int tree = open_tree(p->folder_fd, "",
			     AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int fd = -1;

	if (tree >= 0 && !mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr))
		fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int rc = -errno;

		if (tree >= 0)
			close(tree);
		return rc;
	}
	close(p->folder_fd);
	p->folder_fd = fd;
	return 0;
}

/* /dev/null as a rule, or a terminal: not to be changed for others. */
static void guard_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int flags = fcntl(fd, F_GETFL), fresh;
		struct stat st;

		if (flags < 0 || fstat(fd, &st) || !S_ISCHR(st.st_mode))
			continue;
		fresh = safefd_open(fd, flags & (O_ACCMODE | O_APPEND));
		if (fresh < 0)
			continue;
		dup2(fresh, fd);
		close(fresh);
	}
}

static int clone_proc(struct be_prepared *p)
{
	p->proc_fd = open_tree(AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return p->proc_fd < 0 ? -errno : 0;
}

static int all(const struct sandbox *s, struct be_prepared *p, const char **at)
{
	int rc;

	/* First: only mounts of the present namespace can be cloned. */
	guard_standard();
	*at = "clone of the folder";
	rc = s->folder ? clone_folder(p) : 0;
	if (rc)
		return rc;
	*at = "clone of /proc/self/fd";
	rc = s->folder ? clone_proc(p) : 0;
	if (rc)
		return rc;
	*at = "unshare";
	if (unshare(CLONE_NEWNS))
		return -errno;
	*at = "private mounts";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	return empty_root(at);
}

void sandbox_mounts(struct sandbox *s, struct be_prepared *p)
{
	const char *at = "";
	int rc = all(s, p, &at);

	if (rc) {
		/* The clone of /proc is of use only where nothing else of it is to be had. */
		cleanup_fd(&p->proc_fd);
		p->proc_fd = s->folder ? open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC) :
					 -1;
		sandbox_lacks(s, SANDBOX_PART_MOUNTS, "%s: %s", at,
			      rc == -EPERM ? "the caller may not mount" : strerror(-rc));
		return;
	}
	if (s->folder && !fchdir(p->proc_fd))
		p->proc_is_cwd = true;
	sandbox_said(s, SANDBOX_PART_MOUNTS, s->folder ? "the folder, own descriptors" : "none");
}
