/* SPDX-License-Identifier: Apache-2.0 */
/* umount.h - persifs umount DIR, also installed as umount.fuse.persifs */
#ifndef FUSEFS_UMOUNT_H
#define FUSEFS_UMOUNT_H

#include <stdbool.h>

#define UMOUNT_USAGE 1   /* exit status as in mount(8) */
#define UMOUNT_UNKNOWN 3 /* unmounted, but no daemon was there to say that all is written */
#define UMOUNT_FAILED 32 /* still mounted, or the daemon reported lost data */

/* The whole command: parses, prints one line on failure, returns the exit status.
 * 0 means that all data written before the call is on the backend (promise D7).
 * Takes mount(8)'s helper conventions: DIR [-flnrv] [-N NS] [-t TYPE]. */
int umount_main(int argc, char **argv);
/* Drains and unmounts dir; the exit status, as above. */
int umount_dir(const char *dir, bool lazy, bool verbose);

#endif
