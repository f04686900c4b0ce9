/* SPDX-License-Identifier: Apache-2.0 */
/* noring.c - noring PROGRAM [ARGUMENT...]: runs it where io_uring is refused, as in many containers
 *
 * For valgrind: 3.19 runs one thread at a time, and does not know that io_uring_enter() may wait. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int refuse_rings(void)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	int rc;

	if (!f)
		return -ENOMEM;
	rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0);
	if (!rc)
		rc = seccomp_load(f);
	seccomp_release(f);
	return rc;
}

int main(int argc, char **argv)
{
	int rc;

	if (argc < 2) {
		fputs("usage: noring PROGRAM [ARGUMENT...]\n", stderr);
		return 2;
	}
	rc = refuse_rings();
	if (rc) {
		fprintf(stderr, "noring: no filter: %s\n", strerror(-rc));
		return 1;
	}
	execvp(argv[1], argv + 1);
	fprintf(stderr, "noring: %s: %s\n", argv[1], strerror(errno));
	return 1;
}
