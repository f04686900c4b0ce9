/* SPDX-License-Identifier: Apache-2.0 */
/* interrupt.h - whose waits end when a signal arrives
 *
 * The kernel tells a FUSE file system of any signal to a program that waits. Programs
 * do not expect EINTR of stat(), open() or fsync() on a file, least of all because of a
 * timer of their own (a database takes a failed fsync for lost data). So, as with the
 * kernel's own network file systems, a request ends early only when its program is
 * being killed. The kernel does not tell twice: requests of a program that got another
 * signal are looked at again and again. F_SETLKW alone ends at any signal, as POSIX has it. */
#ifndef FUSEFS_INTERRUPT_H
#define FUSEFS_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct errand_client;
struct session;
struct volume;

int interrupts_init(struct volume *v); /* starts the thread that looks; 0 or -errno */
void interrupts_done(struct volume *v);
/* INTERRUPT for unique. False: there is no such request (yet, or any more). Any thread, no locks. */
bool interrupt_request(const struct session *s, uint64_t unique);
/* The session is over: the waits of all its requests end. */
void interrupt_all(struct session *s);
/* True when the task is being killed, or is gone. 0, a task that we cannot see, counts as killed; one that
 * the supervisor does not tell of, does not. errands NULL: /proc is read by ourselves. */
bool task_is_killed(const struct errand_client *errands, pid_t tid);

#endif
