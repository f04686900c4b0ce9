/* SPDX-License-Identifier: Apache-2.0 */
/* abortpoint.h - places where a process may be killed to see whether the next one copes
 *
 * abort_point("store: instance written") is nothing unless the tree is compiled with
 * -DPERSIFS_ABORT_POINTS. Then the process ends by SIGKILL at the point number PERSIFS_ABORT_AT=N of the
 * environment (the first is 1, counted over all threads), and appends the name of each point
 * that it passes, a line each, to the file PERSIFS_ABORT_LOG=FILE: a run without the first tells how
 * many there are. The last line of a killed process is the point where it died.
 *
 * A process that has to be made ready first is given PERSIFS_ABORT_ARM=FILE instead of N: N is what the file says (0:
 * never), and points count, and are logged, while the file is there, from 1 each time that it comes.
 * Any thread. */
#ifndef COMMON_ABORTPOINT_H
#define COMMON_ABORTPOINT_H

#ifdef PERSIFS_ABORT_POINTS
void abort_point(const char *name);
#else
static inline void abort_point(const char *name)
{
	(void)name;
}
#endif

#endif
