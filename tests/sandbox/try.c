/* SPDX-License-Identifier: Apache-2.0 */
/* try.c - see try.h. System calls are made by their numbers, as the C library's ways around a
 * refusal are not what is asked about. Each attempt returns 0 when it got what it wanted, or
 * -errno; those that would end the process if they were let through come with arguments that
 * cannot work, so that only EPERM means that they were refused. */
#include "tests/sandbox/try.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

#define FDS 1024 /* descriptors that are looked through */

static pid_t victim;

/* A result of syscall() as 0 or -errno. */
static int of(long rc)
{
	return rc < 0 ? -errno : 0;
}

/* The same for what makes a descriptor. */
static int of_fd(long fd)
{
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

#define CALL(...) of(syscall(__VA_ARGS__))
#define OPEN(...) of_fd(syscall(__VA_ARGS__))

/* ---- paths ----------------------------------------------------------- */

static int open_passwd(void)
{
	return OPEN(SYS_open, "/etc/passwd", O_RDONLY);
}
static int openat_cwd(void)
{
	return OPEN(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}
static int openat2_passwd(void)
{
	uint64_t how[3] = { O_RDONLY };

	return OPEN(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof how);
}
static int open_environ(void)
{
	return OPEN(SYS_openat, AT_FDCWD, "/proc/1/environ", O_RDONLY);
}
static int write_self(void)
{
	return OPEN(SYS_openat, AT_FDCWD, "/proc/self/comm", O_WRONLY);
}
static int make_file(void)
{
	return OPEN(SYS_openat, AT_FDCWD, "/run/persifs-try-made", O_WRONLY | O_CREAT, 0600);
}
static int stat_passwd(void)
{
	struct stat st;

	return CALL(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &st, 0);
}

static bool is_folder(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

/* From each folder that is open: the first success, else the last error. */
static int from_folders(int (*attempt)(int fd))
{
	int rc = -EPERM;

	for (int fd = 0; fd < FDS; fd++) {
		if (!is_folder(fd))
			continue;
		rc = attempt(fd);
		if (!rc)
			break;
	}
	return rc;
}

static int climb(int fd)
{
	char path[64] = "";
	int rc = -EPERM;

	for (int up = 0; up < 12; up++) {
		snprintf(path + 3 * up, sizeof path - 3 * (size_t)up, "../etc/passwd");
		rc = OPEN(SYS_openat, fd, path, O_RDONLY);
		if (!rc)
			break;
		memcpy(path + 3 * up, "../", 3);
	}
	return rc;
}
static int climb_out(void)
{
	return from_folders(climb);
}

/* A folder whose parent is another one: there is a way up. */
static int parent(int fd)
{
	struct stat st, up;

	if (fstat(fd, &st) || syscall(SYS_newfstatat, fd, "..", &up, AT_NO_AUTOMOUNT))
		return -errno;
	return st.st_ino == up.st_ino && st.st_dev == up.st_dev ? -ENOENT : 0;
}
static int see_parent(void)
{
	return from_folders(parent);
}

static int absolute(int fd)
{
	return OPEN(SYS_openat, fd, "/etc/passwd", O_RDONLY);
}
static int open_absolute(void)
{
	return from_folders(absolute);
}

static int environ_of(int fd)
{
	if (!OPEN(SYS_openat, fd, "../environ", O_RDONLY))
		return 0;
	if (!OPEN(SYS_openat, fd, "../../1/environ", O_RDONLY))
		return 0;
	return OPEN(SYS_openat, fd, "../../sys/kernel/core_pattern", O_WRONLY);
}
static int climb_proc(void)
{
	return from_folders(environ_of);
}

static int chmod_up(int fd)
{
	struct stat st;

	if (!syscall(SYS_newfstatat, fd, "../../../../../../etc/hostname", &st, 0))
		return 0;
	return CALL(SYS_fchmodat, fd, "../../../../../../etc/hostname", 0644);
}
static int change_outside(void)
{
	return from_folders(chmod_up);
}

/* A link of his own making that leads out. */
static int leading_link(int fd)
{
	int rc;

	(void)syscall(SYS_unlinkat, fd, "leads-out", 0);
	rc = CALL(SYS_symlinkat, "/etc/passwd", fd, "leads-out");
	if (!rc)
		rc = OPEN(SYS_openat, fd, "leads-out", O_RDONLY);
	(void)syscall(SYS_unlinkat, fd, "leads-out", 0);
	return rc;
}
static int follow_link(void)
{
	return from_folders(leading_link);
}

/* The root of an ext4, or of whatever takes such a handle. */
static int root_by_handle(int fd)
{
	struct {
		unsigned bytes;
		int type;
		uint32_t ino, gen;
	} h = { 8, 1, 2, 0 };

	return OPEN(SYS_open_by_handle_at, fd, &h, O_PATH);
}
/* A device of his own: /dev/zero. */
static int make_device(int fd)
{
	int rc;

	(void)syscall(SYS_unlinkat, fd, "device-by-try", 0);
	rc = CALL(SYS_mknodat, fd, "device-by-try", S_IFCHR | 0600, makedev(1, 5));
	if (!rc)
		rc = OPEN(SYS_openat, fd, "device-by-try", O_RDWR);
	(void)syscall(SYS_unlinkat, fd, "device-by-try", 0);
	return rc;
}
static int open_device(void)
{
	return from_folders(make_device);
}

static int by_handle(void)
{
	return from_folders(root_by_handle);
}

/* ---- what is open already --------------------------------------------- */

static uint64_t mount_id(int fd)
{
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) ? 0 : stx.stx_mnt_id;
}

/* A device, or a file with a name, that does not lie below a folder that is open. */
static bool is_foreign(int fd)
{
	struct stat st;

	if (fstat(fd, &st) || !(S_ISCHR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_nlink)))
		return false;
	for (int folder = 0; folder < FDS; folder++)
		if (is_folder(folder) && mount_id(folder) == mount_id(fd))
			return false;
	return true;
}

/* The first success with one that is the machine's, else the last error. */
static int with_foreign(int (*attempt)(int fd))
{
	int rc = -EPERM;

	for (int fd = 0; fd < FDS && rc; fd++)
		if (is_foreign(fd))
			rc = attempt(fd);
	return rc == -EROFS || rc == -EBADF ? -EPERM : rc;
}

static int same_mode(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -errno : CALL(SYS_fchmod, fd, st.st_mode & 07777);
}
static int change_mode(void)
{
	return with_foreign(same_mode);
}
static int same_owner(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -errno :
				CALL(SYS_fchownat, fd, "", st.st_uid, st.st_gid, AT_EMPTY_PATH);
}
static int change_owner(void)
{
	return with_foreign(same_owner);
}
/* A program could become of it. */
static int write_nothing(int fd)
{
	struct stat st;

	return fstat(fd, &st) || !S_ISREG(st.st_mode) ? -EPERM : CALL(SYS_pwrite64, fd, "", 0, 0);
}
static int write_file(void)
{
	return with_foreign(write_nothing);
}

/* ---- programs and processes ------------------------------------------ */

static int execute(void)
{
	char *const none[] = { NULL };

	return CALL(SYS_execve, "/nothing/there", none, none);
}
static int execute_at(void)
{
	char *const none[] = { NULL };

	return CALL(SYS_execveat, -1, "", none, none, AT_EMPTY_PATH);
}
static int of_child(long pid)
{
	if (!pid)
		_exit(0);
	if (pid > 0)
		waitpid((pid_t)pid, NULL, 0);
	return of(pid);
}
static int make_process(void)
{
	return of_child(syscall(SYS_fork));
}
static int clone_process(void)
{
	return of_child(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}
/* Refused by ENOSYS, so that the C library takes clone(). */
static int clone3_process(void)
{
	uint64_t args[8] = { [4] = SIGCHLD };
	int rc = of_child(syscall(SYS_clone3, args, sizeof args));

	return rc == -ENOSYS ? -EPERM : rc;
}
static int trace(void)
{
	int rc = CALL(SYS_ptrace, PTRACE_SEIZE, victim, 0, 0);

	if (!rc)
		syscall(SYS_ptrace, PTRACE_DETACH, victim, 0, 0);
	return rc;
}
static int read_memory(void)
{
	char byte;
	struct iovec to = { &byte, 1 }, from = { (void *)(uintptr_t)0x400000, 1 };

	return CALL(SYS_process_vm_readv, victim, &to, 1, &from, 1, 0);
}
static int signal_other(void)
{
	return CALL(SYS_kill, victim, 0);
}
static int signal_thread(void)
{
	return CALL(SYS_tgkill, victim, victim, 0);
}
/* Whatever happens to the descriptor is a signal to its owner. */
static int signal_by_owner(void)
{
	int rc = CALL(SYS_fcntl, 0, F_SETOWN, victim);

	(void)syscall(SYS_fcntl, 0, F_SETOWN, 0);
	return rc;
}
static int signal_of_choice(void)
{
	return CALL(SYS_fcntl, 0, F_SETSIG, 0);
}
static int process_by_fd(void)
{
	return OPEN(SYS_pidfd_open, victim, 0);
}
/* To where it runs already. */
static int pin_other(void)
{
	unsigned long cpus[128] = { 0 };

	if (syscall(SYS_sched_getaffinity, victim, sizeof cpus, cpus) < 0)
		return -errno;
	return CALL(SYS_sched_setaffinity, victim, sizeof cpus, cpus);
}
static int more_core(void)
{
	struct rlimit64 lim = { 1 << 20, 1 << 20 };

	return CALL(SYS_prlimit64, 0, RLIMIT_CORE, &lim, NULL);
}

/* ---- sockets --------------------------------------------------------- */

#define SOCKET(name, ...)                             \
	static int name(void)                         \
	{                                             \
		return OPEN(SYS_socket, __VA_ARGS__); \
	}
SOCKET(socket_inet, AF_INET, SOCK_STREAM, 0)
SOCKET(socket_inet6, AF_INET6, SOCK_DGRAM, 0)
SOCKET(socket_unix, AF_UNIX, SOCK_STREAM, 0)
SOCKET(socket_netlink, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
SOCKET(socket_packet, AF_PACKET, SOCK_RAW, 0)

static bool is_socket(int fd)
{
	int type;
	socklen_t len = sizeof type;

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
}

/* The sockets that are there, to another place: those that are connected say so without a sandbox. */
static int connect_again(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_port = htons(1),
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int rc = -EPERM;

	for (int fd = 0; fd < FDS && rc == -EPERM; fd++)
		if (is_socket(fd))
			rc = CALL(SYS_connect, fd, &sa, sizeof sa);
	return rc;
}
static int bind_again(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int rc = -EPERM;

	for (int fd = 0; fd < FDS && rc == -EPERM; fd++)
		if (is_socket(fd))
			rc = CALL(SYS_bind, fd, &sa, sizeof sa.sun_family);
	return rc;
}

/* ---- the kernel ------------------------------------------------------ */

static int mount_tmpfs(void)
{
	return CALL(SYS_mount, "none", "/nothing/there", "tmpfs", 0, NULL);
}
static int unmount(void)
{
	return CALL(SYS_umount2, "/nothing/there", MNT_DETACH);
}
static int change_root(void)
{
	return CALL(SYS_chroot, "/nothing/there");
}
static int own_namespace(void)
{
	return CALL(SYS_unshare, CLONE_NEWUSER | CLONE_NEWPID);
}
static int enter_namespace(void)
{
	return CALL(SYS_setns, 0, CLONE_NEWNET);
}
static int open_fs(void)
{
	return OPEN(SYS_fsopen, "tmpfs", 0);
}
static int clone_mounts(void)
{
	return OPEN(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE);
}
static int ring(void)
{
	struct io_uring_params p = { 0 };

	return OPEN(SYS_io_uring_setup, 4, &p);
}
static int ring_enter(void)
{
	return CALL(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0);
}
static int ring_register(void)
{
	return CALL(SYS_io_uring_register, -1, 0, NULL, 0);
}
static int load_bpf(void)
{
	return CALL(SYS_bpf, 0, NULL, 0);
}
static int watch_performance(void)
{
	return OPEN(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}
static int fault_handler(void)
{
	return OPEN(SYS_userfaultfd, 0);
}
static int add_key(void)
{
	return CALL(SYS_add_key, "user", "persifs-try", "x", 1, -3);
}
static int any_ioctl(void)
{
	return CALL(SYS_ioctl, -1, 0, NULL);
}
static int anonymous_file(void)
{
	return OPEN(SYS_memfd_create, "persifs-try", 0);
}
static int code_page(void)
{
	long p = syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == -1)
		return -errno;
	munmap((void *)p, 4096);
	return 0;
}
static int code_later(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc = p == MAP_FAILED ? -errno : CALL(SYS_mprotect, p, 4096, PROT_READ | PROT_EXEC);

	if (p != MAP_FAILED)
		munmap(p, 4096);
	return rc;
}
static int all_is_code(void)
{
	return CALL(SYS_personality, READ_IMPLIES_EXEC);
}

/* ---- rights ---------------------------------------------------------- */

static int root_again(void)
{
	return CALL(SYS_setuid, 0);
}
static int root_again_all(void)
{
	return CALL(SYS_setresuid, 0, 0, 0);
}
static int root_group(void)
{
	return CALL(SYS_setgid, 0);
}
static int all_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct all[2] = { { 1u << CAP_SYS_ADMIN, 1u << CAP_SYS_ADMIN, 0 } };

	return CALL(SYS_capset, &head, all);
}
static int dump_again(void)
{
	return CALL(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}
static int no_filter(void)
{
	return CALL(SYS_seccomp, 99, 0, NULL);
}

/* ---- dir's own ------------------------------------------------------- */

static int as_caller(void)
{
	return CALL(SYS_setfsuid, geteuid());
}
static int own_groups(void)
{
	return CALL(SYS_setgroups, 0, NULL);
}
static int list(int fd)
{
	return OPEN(SYS_openat, fd, ".", O_RDONLY | O_DIRECTORY);
}
static int open_folder(void)
{
	return from_folders(list);
}
static int make(int fd)
{
	int rc = OPEN(SYS_openat, fd, "made-by-try", O_RDWR | O_CREAT, 0600);

	(void)syscall(SYS_unlinkat, fd, "made-by-try", 0);
	return rc;
}
static int make_in_folder(void)
{
	return from_folders(make);
}

/* ---- everybody's own ------------------------------------------------- */

static void *nothing(void *arg)
{
	return arg;
}
static int make_thread(void)
{
	pthread_t t;
	int rc = pthread_create(&t, NULL, nothing, NULL);

	return rc ? -rc : -pthread_join(t, NULL);
}
static int make_pair(void)
{
	int sv[2];
	int rc = CALL(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET, 0, sv);

	if (!rc) {
		close(sv[0]);
		close(sv[1]);
	}
	return rc;
}

static const struct {
	const char *name;
	int (*attempt)(void);
} tries[] = {
#define TRY(f)        \
	{             \
#f, f \
	}
	TRY(open_passwd),
	TRY(openat_cwd),
	TRY(openat2_passwd),
	TRY(open_environ),
	TRY(write_self),
	TRY(make_file),
	TRY(stat_passwd),
	TRY(climb_out),
	TRY(see_parent),
	TRY(open_absolute),
	TRY(climb_proc),
	TRY(change_outside),
	TRY(follow_link),
	TRY(open_device),
	TRY(by_handle),
	TRY(change_mode),
	TRY(change_owner),
	TRY(write_file),
	TRY(execute),
	TRY(execute_at),
	TRY(make_process),
	TRY(clone_process),
	TRY(clone3_process),
	TRY(trace),
	TRY(read_memory),
	TRY(signal_other),
	TRY(signal_thread),
	TRY(signal_by_owner),
	TRY(signal_of_choice),
	TRY(process_by_fd),
	TRY(pin_other),
	TRY(more_core),
	TRY(socket_inet),
	TRY(socket_inet6),
	TRY(socket_unix),
	TRY(socket_netlink),
	TRY(socket_packet),
	TRY(connect_again),
	TRY(bind_again),
	TRY(mount_tmpfs),
	TRY(unmount),
	TRY(change_root),
	TRY(own_namespace),
	TRY(enter_namespace),
	TRY(open_fs),
	TRY(clone_mounts),
	TRY(ring),
	TRY(ring_enter),
	TRY(ring_register),
	TRY(load_bpf),
	TRY(watch_performance),
	TRY(fault_handler),
	TRY(add_key),
	TRY(any_ioctl),
	TRY(anonymous_file),
	TRY(code_page),
	TRY(code_later),
	TRY(all_is_code),
	TRY(root_again),
	TRY(root_again_all),
	TRY(root_group),
	TRY(all_capabilities),
	TRY(dump_again),
	TRY(no_filter),
	TRY(as_caller),
	TRY(own_groups),
	TRY(open_folder),
	TRY(make_in_folder),
	TRY(make_thread),
	TRY(make_pair),
#undef TRY
};

json_t *sandbox_try(pid_t other)
{
	json_t *all = json_object();

	victim = other;
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		int rc = tries[i].attempt();

		json_object_set_new(all, tries[i].name,
				    json_string(rc ? strerrorname_np(-rc) : "done"));
	}
	return json_pack("{s:b,s:o}", "ok", 1, "tries", all);
}
