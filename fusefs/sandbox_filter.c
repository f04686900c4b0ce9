/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox_filter.c - the system calls that a worker may make; all others fail with EPERM
 *
 * No list here has a call that takes a path from the root of the file system, makes a socket or a process,
 * or makes anything executable. clone3() says ENOSYS, for its flags cannot be looked at: the C library
 * then uses clone(), which is let through for threads. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fusefs/sandbox_impl.h"

static const int for_all[] = {
	/* descriptors */
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(preadv),
	SCMP_SYS(pwritev),
	SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2),
	SCMP_SYS(lseek),
	SCMP_SYS(close),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(eventfd2),
	SCMP_SYS(pipe2),
	/* sockets that are there */
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(accept4),
	/* memory */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	/* threads, time, signals to ourselves */
	SCMP_SYS(futex),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(membarrier),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	/* questions */
	SCMP_SYS(getpid),
	SCMP_SYS(getppid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getrandom),
	SCMP_SYS(uname),
	SCMP_SYS(sysinfo),
	SCMP_SYS(getrlimit),
};

/* Paths below a descriptor; nothing of the lists takes AT_FDCWD for opening. */
static const int for_folder[] = {
	SCMP_SYS(mkdirat),
	SCMP_SYS(mknodat),
	SCMP_SYS(symlinkat),
	SCMP_SYS(linkat),
	SCMP_SYS(unlinkat),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(readlinkat),
	SCMP_SYS(fchmodat),
	SCMP_SYS(fchownat),
	SCMP_SYS(utimensat),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(fchmod),
	SCMP_SYS(fchown),
	SCMP_SYS(fstatfs),
	SCMP_SYS(getdents64),
	SCMP_SYS(copy_file_range),
	/* the working folder is that of our descriptors */
	SCMP_SYS(getxattr),
	SCMP_SYS(setxattr),
	SCMP_SYS(listxattr),
	SCMP_SYS(removexattr),
	/* acting for callers */
	SCMP_SYS(setfsuid),
	SCMP_SYS(setfsgid),
	SCMP_SYS(setgroups),
	SCMP_SYS(getgroups),
	SCMP_SYS(capget),
	SCMP_SYS(capset),
};

static int allow(scmp_filter_ctx f, const int *calls, size_t n)
{
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
	return rc;
}

/* None that makes a signal of what happens to a descriptor: F_SETOWN, F_SETSIG, leases. */
static const int fcntl_commands[] = { F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,
				      F_GETFL, F_SETFL,         F_GET_SEALS, F_ADD_SEALS };

/* b: of SCMP_CMP_MASKED_EQ alone. */
static struct scmp_arg_cmp when(unsigned arg, enum scmp_compare op, scmp_datum_t a, scmp_datum_t b)
{
	return (struct scmp_arg_cmp){ .arg = arg, .op = op, .datum_a = a, .datum_b = b };
}

#define LET(f, call, cmp) seccomp_rule_add_exact(f, SCMP_ACT_ALLOW, SCMP_SYS(call), 1, cmp)

/* Those whose arguments decide. */
static int with_conditions(scmp_filter_ctx f)
{
	const scmp_datum_t new_things = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
					CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
	const scmp_datum_t thread = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND;
	int rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	if (!rc)
		rc = LET(f, clone, when(0, SCMP_CMP_MASKED_EQ, thread | new_things, thread));
	if (!rc)
		rc = LET(f, socketpair, when(0, SCMP_CMP_EQ, AF_UNIX, 0));
	if (!rc)
		rc = LET(f, mmap, when(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!rc)
		rc = LET(f, mprotect, when(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!rc)
		rc = LET(f, prctl, when(0, SCMP_CMP_EQ, PR_SET_NAME, 0));
	/* abort() */
	if (!rc)
		rc = LET(f, tgkill, when(0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
	for (size_t i = 0; i < ARRAY_LEN(fcntl_commands) && !rc; i++)
		rc = LET(f, fcntl, when(1, SCMP_CMP_EQ, (scmp_datum_t)fcntl_commands[i], 0));
	/* ourselves: root's worker would move all of root's programs */
	if (!rc)
		rc = LET(f, sched_setaffinity, when(0, SCMP_CMP_EQ, 0, 0));
	/* asking only */
	if (!rc)
		rc = LET(f, prlimit64, when(2, SCMP_CMP_EQ, 0, 0));
	return rc;
}

/* A descriptor is never above INT_MAX, and AT_FDCWD, seen as 64 bits, always is. */
static int folder_calls(scmp_filter_ctx f)
{
	int rc = allow(f, for_folder, ARRAY_LEN(for_folder));

	return rc ? rc : LET(f, openat, when(0, SCMP_CMP_LE, INT_MAX, 0));
}

/* Of the ring that was made before (backends/block/ring.h): its start and its end. */
static const unsigned ring_commands[] = { IORING_REGISTER_ENABLE_RINGS, IORING_UNREGISTER_FILES,
					  IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS };

/* It lets nothing through but reading and writing on its own device; who could make one, or change one,
 * could open files and sockets by it. */
static int block_calls(scmp_filter_ctx f)
{
	int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(io_uring_enter), 0);

	for (size_t i = 0; i < ARRAY_LEN(ring_commands) && !rc; i++)
		rc = LET(f, io_uring_register, when(1, SCMP_CMP_EQ, ring_commands[i], 0));
	if (!rc)
		rc = LET(f, ioctl, when(1, SCMP_CMP_EQ, BLKGETSIZE64, 0));
	return rc ? rc : LET(f, ioctl, when(1, SCMP_CMP_EQ, BLKDISCARD, 0));
}

static int install(const struct sandbox *s)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (!f)
		return -ENOMEM;
	/* Old kernels slow down processes with a filter, against each other's code; it is all ours. */
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
	rc = allow(f, for_all, ARRAY_LEN(for_all));
	if (!rc)
		rc = with_conditions(f);
	if (!rc && s->folder)
		rc = folder_calls(f);
	if (!rc && s->block)
		rc = block_calls(f);
	if (!rc)
		rc = seccomp_load(f);
	seccomp_release(f);
	return rc;
}

void sandbox_filter(struct sandbox *s)
{
	int rc = install(s);

	if (rc)
		sandbox_lacks(s, SANDBOX_PART_SECCOMP, "%s", strerror(-rc));
	else
		sandbox_said(s, SANDBOX_PART_SECCOMP, "%s",
			     s->folder ? "below the folder" :
			     s->block  ? "no files but the device" :
					 "no files");
}
