/* SPDX-License-Identifier: Apache-2.0 */
/* Any answer of a daemon, or of who pretends to be one: the caller ends with an
 * answer it can use or a sentence, and never hangs. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ctlsock.h"

#define INPUT_MAX 65536 /* what a socket takes without a reader */

static void on_progress(void *arg, const json_t *p)
{
	(void)arg;
	assert(json_is_object(p));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *request = json_pack("{s:s}", "cmd", "ping"), *reply = NULL;
	struct err err = { "" };
	int fds[2], rc;

	if (size > INPUT_MAX)
		return 0;
	if (!request || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		abort();
	if (send(fds[1], data, size, MSG_DONTWAIT) != (ssize_t)size)
		abort();
	shutdown(fds[1], SHUT_WR);
	rc = ctlsock_call(fds[0], request, on_progress, NULL, &reply, &err);
	if (rc)
		assert(rc < 0 && !reply);
	else
		assert(json_is_object(reply));
	json_decref(reply);
	json_decref(request);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
