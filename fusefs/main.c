/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the command line of persifs, also called as mount.fuse.persifs and
 * umount.fuse.persifs by mount(8) and umount(8). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/runtime.h"
#include "common/uri.h"
#include "fusefs/claim.h"
#include "fusefs/join.h"
#include "fusefs/mounting.h"
#include "fusefs/supervisor.h"
#include "fusefs/umount.h"

#define EXIT_USAGE 1
#define EXIT_FAILED 32 /* as mount(8): nothing was mounted */

static void usage(FILE *out)
{
	fputs("usage: persifs mount [-f] [-o OPTION[,OPTION=VALUE...]] URI DIR\n"
	      "       persifs mount ... URI /dev/fd/N\n"
	      "       persifs umount DIR\n"
	      "       persifs --help | --version\n"
	      "\n"
	      "Mounts a folder, an NFS export or memory through a write-back page cache.\n"
	      "\n"
	      "  dir:/abs/folder              a folder of this machine\n"
	      "  nfs://host/export/path       an NFSv3 export; ?nfsport=N&mountport=N&version=3\n"
	      "  memory:                      memory that is gone after umount; ?size=BYTES\n"
	      "\n"
	      "persifs mount --help lists the options; persifs-ctl speaks to a running mount.\n",
	      out);
}

static void mount_usage(FILE *out)
{
	fputs("usage: persifs mount [-f] [-o OPTION[,OPTION=VALUE...]] URI DIR\n"
	      "\n"
	      "  -f, --foreground             stay in the foreground, messages to stderr\n"
	      "  -o, --options LIST           options, separated by commas\n"
	      "  -h, --help                   this help\n"
	      "      --list-options           names of the options, for completion\n"
	      "\n"
	      "Returns 0 when the mount is usable. Options:\n",
	      out);
	opt_print_help(mount_option_table, out);
}

static int complain(int status, const char *text)
{
	fprintf(stderr, "persifs: %s\n", text);
	return status;
}

/* Absolute, without symbolic links; the folder must be one that can be mounted on. */
static int check_dir(const char *dir, char *abs, struct err *err)
{
	struct stat st, up;
	char parent[PATH_MAX];

	if (!realpath(dir, abs))
		return err_set(err, -errno, "mount point '%s': %s", dir, strerror(errno));
	if (stat(abs, &st))
		return err_set(err, -errno, "mount point '%s': %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "mount point '%s': not a directory", dir);
	snprintf(parent, sizeof parent, "%s", abs);
	if (!stat(dirname(parent), &up) && (up.st_dev != st.st_dev || up.st_ino == st.st_ino))
		return err_set(err, -EBUSY, "mount point '%s': busy, something is mounted there",
			       dir);
	return 0;
}

/* /dev/fd/N: a descriptor of /dev/fuse that somebody has mounted. *out: it, moved above the standard
 * ones and close-on-exec, or -1 when dir is no such name. */
static int adopt(const char *dir, int *out, struct err *err)
{
	struct stat st, fuse;
	int fd;
	char end;

	*out = -1;
	if (sscanf(dir, "/dev/fd/%d%c", &fd, &end) != 1)
		return 0;
	if (fd < 0 || fstat(fd, &st))
		return err_set(err, -EBADF, "'%s': no descriptor is open there", dir);
	if (!S_ISCHR(st.st_mode) || (!stat("/dev/fuse", &fuse) && fuse.st_rdev != st.st_rdev))
		return err_set(err, -EINVAL, "'%s': is not /dev/fuse", dir);
	*out = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (*out < 0)
		return err_set(err, -errno, "'%s': %s", dir, strerror(errno));
	close(fd);
	return 0;
}

static bool is_scheme(const char *scheme)
{
	static const char *const known[] = { "dir", "memory", "nfs" };

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!strcmp(scheme, known[i]))
			return true;
	return false;
}

static int check_uri(const char *text, struct err *err)
{
	struct uri *uri = malloc(sizeof *uri);
	int rc = uri ? uri_parse(text, uri, err) : -ENOMEM;

	if (!rc && !strcmp(uri->scheme, "ext4"))
		rc = err_set(err, -EINVAL, "URI '%.200s': ext4 is not supported yet", text);
	else if (!rc && !is_scheme(uri->scheme))
		rc = err_set(err, -EINVAL,
			     "URI '%.200s': scheme '%.50s' is not known (dir, memory, nfs)", text,
			     uri->scheme);
	free(uri);
	return rc;
}

/* The child's word on the mount: its exit status for us. */
static int wait_mounted(int fd)
{
	char text[LINE_BYTES_MAX + 1];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof text - 1 && (n = read(fd, text + len, sizeof text - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	if (len && text[0] == '\0')
		return 0;
	return complain(EXIT_FAILED, len > 1 ? text + 1 : "the daemon ended before it was ready");
}

/* keep, also: the only descriptors that are ours, at least 3 (also: or -1); what our caller happened
 * to have open must not stay so for as long as the mount. */
static void to_background(int keep, int also)
{
	int low = keep < also ? keep : also, high = keep < also ? also : keep, null;

	if (low < 0)
		low = high;
	if (low > 3)
		close_range(3, (unsigned)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned)low + 1, (unsigned)high - 1, 0);
	close_range((unsigned)high + 1, ~0U, 0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	setsid();
	if (chdir("/"))
		log_warn("cannot change to /: %s", strerror(errno));
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	log_to_syslog("persifs");
}

/* In the foreground, without a daemon of one's own: until the mount is gone, or a signal
 * says that it is to go. */
static int stay(const struct mount_request *m)
{
	sigset_t set;
	int sig = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	while (!sig && mounting_is_at(m->dir)) {
		const struct timespec look = { .tv_sec = 1 };

		sig = sigtimedwait(&set, NULL, &look) > 0;
	}
	return sig ? umount_dir(m->dir, false, false) : 0;
}

/* A URI whose volume has a daemon needs no process of its own. 1: none; else the outcome. */
static int try_join(const struct mount_request *m)
{
	char key[BE_KEY_BYTES], now[BE_KEY_BYTES];
	struct err err;
	int rc;

	/* The hint may be of what was there before: the daemon has no paths to look at. */
	if (!claim_of_uri(m->uri, key) || (!backend_uri_key(m->uri, now) && strcmp(key, now) != 0))
		return 1;
	rc = join_volume(m, key, &err);
	if (rc == -ECONNREFUSED || rc == -ESHUTDOWN || rc == -ECONNRESET || rc == -EXDEV)
		return 1;
	return rc ? complain(EXIT_FAILED, err.text) : m->foreground ? stay(m) : 0;
}

static int run(const struct mount_request *m)
{
	int fds[2], rc = try_join(m);
	pid_t pid;

	if (rc != 1)
		return rc;
	if (m->foreground) {
		rc = supervisor_run(m, -1);
		return rc == SUPERVISOR_JOINED ? stay(m) : rc;
	}
	if (pipe2(fds, O_CLOEXEC))
		return complain(EXIT_FAILED, strerror(errno));
	pid = fork();
	if (pid < 0)
		return complain(EXIT_FAILED, strerror(errno));
	if (!pid) {
		close(fds[0]);
		to_background(fds[1], m->adopted_fd);
		rc = supervisor_run(m, fds[1]);
		_exit(rc == SUPERVISOR_JOINED ? 0 : rc);
	}
	close(fds[1]);
	return wait_mounted(fds[0]);
}

struct cmdline {
	struct mount_options opt;
	bool foreground, sloppy;
	const char *uri, *dir;
};

enum { OPT_LIST_OPTIONS = 256 };

/* 0: go on; else the exit status + 1. */
static int parse(int argc, char **argv, struct cmdline *c)
{
	static const struct option longs[] = { { "foreground", no_argument, NULL, 'f' },
					       { "options", required_argument, NULL, 'o' },
					       { "help", no_argument, NULL, 'h' },
					       { "list-options", no_argument, NULL,
						 OPT_LIST_OPTIONS },
					       { 0 } };
	struct err err;
	int ch;

	while ((ch = getopt_long(argc, argv, "fho:snvwt:N:r", longs, NULL)) >= 0) {
		switch (ch) {
		case 'f':
			c->foreground = true;
			break;
		case 'o':
			if (options_parse(&c->opt, optarg, &err))
				return 1 + complain(EXIT_USAGE, err.text);
			break;
		case 'r':
			c->opt.ro = true;
			break;
		case 'h':
			mount_usage(stdout);
			return 1;
		case OPT_LIST_OPTIONS:
			opt_print_names(mount_option_table, stdout);
			return 1;
		case 's': /* what mount(8) passes on and means nothing here */
		case 'n':
		case 'v':
		case 'w':
		case 't':
		case 'N':
			break;
		default:
			return 1 + EXIT_USAGE /* getopt has said it */;
		}
	}
	if (argc - optind != 2)
		return 1 +
		       complain(
			       EXIT_USAGE,
			       "usage: persifs mount [-f] [-o OPTIONS] URI DIR; see 'persifs mount --help'");
	c->uri = argv[optind];
	c->dir = argv[optind + 1];
	return 0;
}

static int mount_main(int argc, char **argv)
{
	struct cmdline c = { 0 };
	struct mount_request m;
	char abs[PATH_MAX];
	int adopted = -1, rc;
	struct err err;

	if (options_defaults(&c.opt))
		return complain(EXIT_FAILED, "out of memory");
	rc = parse(argc, argv, &c);
	if (!rc && (options_check(&c.opt, &err) || check_uri(c.uri, &err)))
		rc = 1 + complain(EXIT_USAGE, err.text);
	if (!rc && (adopt(c.dir, &adopted, &err) || (adopted < 0 && check_dir(c.dir, abs, &err))))
		rc = 1 + complain(EXIT_FAILED, err.text);
	if (rc) {
		options_done(&c.opt);
		return rc - 1;
	}
	log_level = (enum log_level)c.opt.log_level;
	m = (struct mount_request){ .uri = c.uri,
				    .dir = adopted < 0 ? abs : c.dir,
				    .adopted_fd = adopted,
				    .opt = &c.opt,
				    .foreground = c.foreground };
	rc = run(&m);
	options_done(&c.opt);
	return rc;
}

int main(int argc, char **argv)
{
	const char *self = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];

	if (!strcmp(self, "mount.fuse.persifs") || !strcmp(self, "mount.persifs"))
		return mount_main(argc, argv);
	if (!strcmp(self, "umount.fuse.persifs") || !strcmp(self, "umount.persifs"))
		return umount_main(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "--worker"))
		return worker_main(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "mount"))
		return mount_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "umount"))
		return umount_main(argc - 1, argv + 1);
	if (argc > 1 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
		puts("persifs " PERSIFS_VERSION);
		return 0;
	}
	if (argc > 1 &&
	    (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
		usage(stdout);
		return 0;
	}
	if (argc > 1)
		fprintf(stderr, "persifs: unknown command '%s'; try 'persifs --help'\n", argv[1]);
	else
		fputs("persifs: usage: persifs mount|umount ...; see 'persifs --help'\n", stderr);
	return EXIT_USAGE;
}
