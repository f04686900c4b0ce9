/* SPDX-License-Identifier: Apache-2.0 */
/* selftest.h - does the harness itself see what it has to see? */
#ifndef TESTS_CRASH_SELFTEST_H
#define TESTS_CRASH_SELFTEST_H

/* Cuts of small logs against lists written by hand, images against bytes, an oracle that is lied to, a file system that is
 * broken. Prints what is wrong; how many things are. dir: for files. */
int selftest(const char *dir);

#endif
