/* SPDX-License-Identifier: Apache-2.0 */
/* fake_nbd.h - NBD servers for tests: programs of the system, in a folder of their own, ended with the test */
#ifndef TESTS_FAKE_NBD_H
#define TESTS_FAKE_NBD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FAKE_NBD_ARGS 32

struct fake_nbd {
	pid_t pid; /* 0: does not run */
	char dir[64];
	char socket[96]; /* dir/socket, of a server at a unix socket */
	int listener;    /* of a server at a TCP socket, which the server gets; -1 */
	uint16_t port;
	char *argv[FAKE_NBD_ARGS + 1]; /* owned */
};

/* Whether a program is on this machine. */
bool fake_nbd_have(const char *program);
/* The power-cut plugin, beside the running test; NULL: it was not built. */
const char *fake_nbd_powercut(void);
/* Makes the folder. Aborts on failure, as all below. */
void fake_nbd_init(struct fake_nbd *s);
/* Sets the command, which is NULL-ended; "%s" in an argument becomes the folder. */
void fake_nbd_command(struct fake_nbd *s, const char *const *argv);
/* Starts the server and waits until it listens at socket. */
void fake_nbd_start(struct fake_nbd *s);
/* The same at 127.0.0.1 or, with v6, ::1; the program has to know socket activation. */
void fake_nbd_start_tcp(struct fake_nbd *s, bool v6);
/* Ends it at once, and waits for its end. */
void fake_nbd_kill(struct fake_nbd *s);
/* Sends a signal; of SIGSTOP, waits until it has stopped. */
void fake_nbd_signal(struct fake_nbd *s, int sig);
/* The server's end, and of the folder with what is in it. Of an unused struct, too. */
void fake_nbd_done(struct fake_nbd *s);

#endif
