/* SPDX-License-Identifier: Apache-2.0 */
/* safefd.h - descriptors of the machine's files, for a process that is not trusted with them
 *
 * Whoever has root's rights and a descriptor of a file changes its owner and its mode, whatever the
 * descriptor was opened for. Not so when it was opened in a read-only mount.
 *
 * Any thread. */
#ifndef COMMON_SAFEFD_H
#define COMMON_SAFEFD_H

/* The file of fd opened anew (for a device: another instance of it), in a read-only mount of it alone.
 * oflags: O_RDWR for devices only. -errno: not for who may not mount, nor for what has no path. */
int safefd_open(int fd, int oflags);
/* The same in place of *fd, which stays as it is where that cannot be had. */
void safefd_replace(int *fd, int oflags);

#endif
