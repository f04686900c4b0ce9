/* SPDX-License-Identifier: Apache-2.0 */
/* notify.h - telling the kernel that what it keeps is old
 *
 * Messages are queued and sent by a thread of their own: the kernel may make the
 * sender wait for an answer to a request that we still owe, so no thread that
 * serves requests may send one, nor any reply wait for one. */
#ifndef FUSEFS_NOTIFY_H
#define FUSEFS_NOTIFY_H

#include <stdint.h>

#define NOTIFY_QUEUE_MAX 65536 /* messages; beyond, the oldest knowledge times out by itself */

struct volume;
struct notifier;

struct notifier *notifier_new(struct volume *v);
/* Drops what is queued, waits for the one being sent. NULL is fine. */
void notifier_free(struct notifier *n);
/* Attributes and pages of the inode. Never waits. */
void notify_inval_data(struct notifier *n, uint64_t nodeid);
/* Attributes only. */
void notify_inval_attr(struct notifier *n, uint64_t nodeid);

#endif
