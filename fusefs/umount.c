/* SPDX-License-Identifier: Apache-2.0 */
/* umount.c - drain, then unmount
 *
 * The daemon drains and says so; only then does this process, which has the
 * right to, take the mount away and tell the daemon, whose last word decides.
 * A failure before the unmount leaves the mount as it was. */
#include "fusefs/umount.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "common/cleanup.h"
#include "common/ctlsock.h"
#include "common/runtime.h"
#include "fusefs/fusermount.h"
#include "fusefs/mounting.h"

struct umounting {
	const char *dir;
	unsigned maj, min;
	int fd;        /* control socket */
	bool lazy;
	bool tried;    /* the daemon said that it is drained */
	int umount_rc; /* 0 or -errno of taking the mount away */
};

static int complain(const char *sentence)
{
	fprintf(stderr, "persifs umount: %s\n", sentence);
	return UMOUNT_FAILED;
}

static void print_usage(FILE *out)
{
	fputs("usage: persifs umount DIR\n"
	      "Writes everything that is dirty to the backend, then unmounts.\n"
	      "  -v             tell what is done\n"
	      "  -f, -n, -r, -t TYPE   taken from umount(8), without effect: dirty data is\n"
	      "                 never dropped, however hard the unmount is asked for\n"
	      "  -l             lazily: from sight at once; files still open are served until\n"
	      "                 they are closed\n"
	      "  -h, --help     this text\n"
	      "Exit status: 0 all is written and unmounted; 1 wrong usage; 3 unmounted, but no\n"
	      "daemon was there to write anything; 32 failed.\n",
	      out);
}

/* A user whose mount was made by fusermount3 has it taken away by it, too. */
static int take_mount_away(const char *dir, bool lazy)
{
	if (umount2(dir, lazy ? MNT_DETACH : 0) == 0)
		return 0;
	return errno == EPERM ? fusermount_umount(dir, lazy) : -errno;
}

static void on_progress(void *arg, const json_t *p)
{
	const char *state = json_string_value(json_object_get(p, "state"));
	struct umounting *u = arg;
	json_t *line;

	ctlsock_show_progress(NULL, p);
	if (!state || strcmp(state, "drained") || u->tried)
		return;
	u->tried = true;
	u->umount_rc = take_mount_away(u->dir, u->lazy);
	line = u->umount_rc ? json_pack("{s:s, s:i}", "cmd", "cancel", "errno", -u->umount_rc) :
			      json_pack("{s:s, s:b}", "cmd", "unmounted", "others",
					u->lazy || mounting_count(u->maj, u->min) > 0);
	ctlsock_send(u->fd, line, NULL); /* when it breaks, so does the wait for the answer */
	json_decref(line);
}

static int umount_failed(const char *dir, int rc)
{
	struct err err;

	err_set(&err, rc, "cannot unmount '%.300s': %s%s", dir, strerror(-rc),
		rc == -EBUSY ? " (a program has a file or its working folder there)" : "");
	return complain(err.text);
}

static int umount_without_daemon(const char *dir, bool lazy, const char *why)
{
	int rc;

	fprintf(stderr, "persifs umount: %s\n", why);
	rc = take_mount_away(dir, lazy);
	if (rc)
		return umount_failed(dir, rc);
	complain("unmounted without it: what it had not written is lost");
	return UMOUNT_UNKNOWN;
}

int umount_dir(const char *dir, bool lazy, bool verbose)
{
	struct umounting u = { .dir = dir, .lazy = lazy };
	json_t *request, *reply = NULL;
	AUTO_FD int fd = -1;
	struct err err = { "" };
	int rc;

	if (runtime_mount_dev(dir, &u.maj, &u.min, NULL, 0, &err))
		return complain(err.text);
	fd = ctlsock_connect(dir, &err);
	if (fd == -ECONNREFUSED)
		return umount_without_daemon(dir, lazy, err.text);
	if (fd < 0)
		return complain(err.text);
	u.fd = fd;
	request = json_pack("{s:s, s:I, s:I}", "cmd", "umount", "major", (json_int_t)u.maj, "minor",
			    (json_int_t)u.min);
	rc = ctlsock_call(fd, request, on_progress, &u, &reply, &err);
	ctlsock_show_end();
	json_decref(request);
	json_decref(reply);
	if (u.umount_rc)
		return umount_failed(dir, u.umount_rc);
	if (rc)
		return complain(err.text);
	if (!u.tried)
		return complain("the daemon said yes but never that it was drained");
	if (verbose)
		printf("%s: all written, unmounted\n", dir);
	return 0;
}

int umount_main(int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
	bool verbose = false, lazy = false;
	int c;

	optind = 0; /* a second pass over another argv */
	while ((c = getopt_long(argc, argv, "fhlnrvN:t:", longs, NULL)) >= 0) {
		switch (c) {
		case 'h':
			print_usage(stdout);
			return 0;
		case 'v':
			verbose = true;
			break;
		case 'l':
			lazy = true;
			break;
		case 'N':
			return complain("-N is not offered: run it inside that namespace");
		case '?':
			print_usage(stderr);
			return UMOUNT_USAGE;
		default:
			break; /* f, n, r, t: nothing to do */
		}
	}
	if (argc - optind != 1) {
		print_usage(stderr);
		return UMOUNT_USAGE;
	}
	return umount_dir(argv[optind], lazy, verbose);
}
