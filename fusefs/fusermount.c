/* SPDX-License-Identifier: Apache-2.0 */
/* fusermount.c - see fusermount.h */
#include "fusefs/fusermount.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fdpass.h"

#define SAID_MAX 300 /* bytes of fusermount3's words that are passed on */

bool fusermount_needed(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];

	return syscall(SYS_capget, &head, caps) || !(caps[0].effective & 1u << CAP_SYS_ADMIN);
}

/* The word stands alone on its line; blanks around it do no harm. */
static bool conf_allows(const char *path, const char *word)
{
	FILE *f = fopen(path, "re");
	bool found = false;
	char line[256];

	while (f && !found && fgets(line, sizeof line, f)) {
		char *p = line + strspn(line, " \t"), *end = p + strlen(p);

		while (end > p && isspace((unsigned char)end[-1]))
			*--end = '\0';
		found = !strcmp(p, word);
	}
	if (f)
		fclose(f);
	return found;
}

int fusermount_check(const struct mount_options *o, const char *conf, struct err *err)
{
	if (o->allow_other && !conf_allows(conf, "user_allow_other"))
		return err_set(err, -EPERM,
			       "option allow_other: an ordinary user may only when %s has the line "
			       "user_allow_other",
			       conf);
	return 0;
}

/* fsname ends at a comma that no backslash protects. */
static void put_escaped(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			fputc('\\', out);
		fputc(*s, out);
	}
}

static char *format_options(const struct mount_options *o, const char *source)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fputs("subtype=persifs,fsname=", out);
	put_escaped(out, source);
	fprintf(out, "%s%s%s%s", o->ro ? ",ro" : "", o->noexec ? ",noexec" : "",
		o->allow_other ? ",allow_other" : "",
		o->default_permissions && !options_mapped(o) ? ",default_permissions" : "");
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

/* sock, err_fd: -1 when not wanted. */
static void child(char *const argv[], int sock, int err_fd) __attribute__((noreturn));
static void child(char *const argv[], int sock, int err_fd)
{
	char number[16];
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(number, sizeof number, "%d", STDERR_FILENO + 1);
	if (err_fd >= 0 && dup2(err_fd, STDERR_FILENO) < 0)
		_exit(127);
	/* A duplicate of its own number would stay close-on-exec. */
	if (sock == STDERR_FILENO + 1)
		fcntl(sock, F_SETFD, 0);
	if (sock >= 0 && (dup2(sock, STDERR_FILENO + 1) < 0 || setenv("_FUSE_COMMFD", number, 1)))
		_exit(127);
	execvp(argv[0], argv);
	fprintf(stderr, "cannot execute %s: %s", argv[0], strerror(errno));
	_exit(127);
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* What it said, as one line without its name. */
static void read_words(int fd, char *buf)
{
	ssize_t n = read(fd, buf, SAID_MAX - 1);

	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	if (!strncmp(buf, FUSERMOUNT_PROGRAM ": ", strlen(FUSERMOUNT_PROGRAM) + 2))
		memmove(buf, buf + strlen(FUSERMOUNT_PROGRAM) + 2,
			strlen(buf + strlen(FUSERMOUNT_PROGRAM) + 2) + 1);
}

static int run_mount(char *const argv[], const char *dir, struct err *err)
{
	int sv[2] = { -1, -1 }, words[2] = { -1, -1 }, fd = -1, rc = 0;
	char said[SAID_MAX] = "", byte;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) || pipe2(words, O_CLOEXEC))
		rc = -errno;
	pid = rc ? -1 : fork();
	if (!pid)
		child(argv, sv[1], words[1]);
	cleanup_fd(&sv[1]);
	cleanup_fd(&words[1]);
	if (pid > 0) {
		read_words(words[0], said); /* until it ends */
		rc = wait_for(pid);
		if (!rc && (fd_recv(sv[0], &byte, 1, &fd, MSG_DONTWAIT) < 0 || fd < 0))
			rc = -EPROTO;
	} else if (!rc) {
		rc = -errno;
	}
	cleanup_fd(&sv[0]);
	cleanup_fd(&words[0]);
	if (rc)
		return err_set(err, rc, "cannot mount at '%.200s': %s: %s", dir, FUSERMOUNT_PROGRAM,
			       *said ? said : strerror(-rc));
	return fd;
}

int fusermount_mount(const struct mount_options *o, const char *source, const char *dir,
		     struct err *err)
{
	AUTO_FREE char *opts = format_options(o, source);
	char *const argv[] = { (char *)FUSERMOUNT_PROGRAM, (char *)"-o", opts, (char *)"--",
			       (char *)(uintptr_t)dir,     NULL };

	if (!opts)
		return err_set(err, -ENOMEM, "out of memory");
	return run_mount(argv, dir, err);
}

int fusermount_umount(const char *dir, bool lazy)
{
	char *const argv[] = { (char *)FUSERMOUNT_PROGRAM, (char *)(lazy ? "-uz" : "-u"),
			       (char *)"--", (char *)(uintptr_t)dir, NULL };
	pid_t pid = fork();

	if (!pid)
		child(argv, -1, -1);
	return pid < 0 ? -errno : wait_for(pid);
}
