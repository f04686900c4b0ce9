/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - messages for the operator, one line each
 *
 * Any thread. Goes to stderr, or to syslog after log_to_syslog(). Messages
 * carry facts: "writeback: file=12 off=65536 err=EIO, kept dirty". */
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

void log_to_syslog(const char *ident);
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
