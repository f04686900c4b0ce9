/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - messages for the operator, one line each
 *
 * Any thread. Goes to stderr, or to the log daemon after log_to_syslog(), which nobody
 * waits for: what it has no room for is lost. Messages carry facts:
 * "writeback: file=12 off=65536 err=EIO, kept dirty". */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERROR, /* someone must act */
	LOG_LEVEL_WARN,  /* we coped */
	LOG_LEVEL_INFO,  /* start, stop, state */
	LOG_LEVEL_DEBUG, /* off by default */
};

extern _Atomic enum log_level log_level; /* messages above it are dropped */

/* Connects at once; ident is borrowed. Before other threads run, as the next. */
void log_to_syslog(const char *ident);
/* How a log daemon is connected to that was restarted, in a process that opens no paths:
 * open_log() returns a socket as log_connect() does. It must not log. */
void log_reopen_by(int (*open_log)(void *arg), void *arg);
/* From here on a lost daemon stays lost: what open_log() uses goes away. */
void log_reopen_stop(void);
/* A socket of the log daemon at path (NULL: the system's) that never waits. -errno. */
int log_connect(const char *path);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)                                           \
	do {                                                    \
		if (log_level >= LOG_LEVEL_INFO)                \
			log_write(LOG_LEVEL_INFO, __VA_ARGS__); \
	} while (0)
#define log_debug(...)                                           \
	do {                                                     \
		if (log_level >= LOG_LEVEL_DEBUG)                \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)

#endif
