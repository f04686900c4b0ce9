/* SPDX-License-Identifier: Apache-2.0 */
/* paths.h - folders on the way to a path, and waiting for what is to come there. Any thread. */
#ifndef COMMON_PATHS_H
#define COMMON_PATHS_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/cancel.h"
#include "common/err.h"

/* Makes the missing folders above path (mode 0755, less the umask); the last component is
 * left alone. -errno with a sentence that names the folder. */
int paths_make_parents(const char *path, struct err *err);
/* The same, and the last component too. */
int paths_make_folder(const char *path, struct err *err);

/* Waits until there is something at path, through links, or nothing any more. 0, -ETIMEDOUT, -ECANCELED. */
int paths_wait(const char *path, bool there, unsigned limit_ms, const struct cancel *cancel);

#endif
