/* SPDX-License-Identifier: Apache-2.0 */
/* ctl.h - what the commands of persifs-ctl share
 *
 * Each command takes its own argv, argv[0] being its name, prints one line on
 * stderr when it fails, and returns the exit status: 0, 1 failed, 2 usage. */
#ifndef TOOLS_CTL_CTL_H
#define TOOLS_CTL_CTL_H

#include <jansson.h>

#define CTL_FAILED 1
#define CTL_USAGE 2

int cmd_stat(int argc, char **argv);
int cmd_top(int argc, char **argv);

/* Connects to the mount at dir, sends the request (taken) and waits for the
 * answer: 0 with *reply (may be NULL), else CTL_FAILED after complaining. */
int ctl_ask_take(const char *dir, json_t *request, json_t **reply);
/* "persifs-ctl: sentence" on stderr; returns CTL_FAILED. */
int ctl_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "try --help" on stderr; returns CTL_USAGE. */
int ctl_usage(void);

/* Asks for the statistics: 0 with the "stat" object (the caller's), or CTL_FAILED. */
int ctl_get_stat(const char *dir, json_t **stat);
/* 1536 -> "1.5 KiB". */
const char *ctl_human_bytes(json_int_t n, char *buf, size_t cap);

#endif
