/* SPDX-License-Identifier: Apache-2.0 */
/* claim.h - whose a volume is: files in the runtime folder (common/runtime.h)
 *
 *   KEY.lock            locked (flock) by supervisor and worker of the volume's daemon
 *   KEY.sock            its control socket
 *   MAJOR-MINOR.sock    a link to it for each of its sessions
 *   uri-HASH            a link whose target is the key that a URI had: a hint
 *
 * A lock file that its holder gives back is removed; who waits for it looks whether
 * the file that was locked is still the one of that name. Any thread. */
#ifndef FUSEFS_CLAIM_H
#define FUSEFS_CLAIM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

/* A descriptor that holds the volume, close-on-exec; -EWOULDBLOCK: another daemon
 * has it; -errno with a sentence. Duplicates hold it too. */
int claim_take(const char *key, struct err *err);
/* Removes the files of the volume and closes fd_take. */
void claim_give(const char *key, int fd_take);
/* Path of the control socket of the volume. cap as of a socket address. */
int claim_socket(const char *key, char *buf, size_t cap, struct err *err);

/* The session's device leads to the volume's socket; an old link gives way. */
int claim_link(const char *key, unsigned maj, unsigned min, struct err *err);
void claim_unlink(unsigned maj, unsigned min);
/* True when the device's link leads to the volume's socket: who mounted has made it. */
bool claim_is_linked(const char *key, unsigned maj, unsigned min);

void claim_note_uri(const char *uri, const char *key);
/* The key noted for the URI; false: none. key: BE_KEY_BYTES. */
bool claim_of_uri(const char *uri, char *key);

#endif
