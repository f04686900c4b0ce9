/* SPDX-License-Identifier: Apache-2.0 */
/* auth.h - who may ask: basic authentication
 *
 * Passwords are hashes (argon2id) or clear text in the configuration; comparing takes the same time
 * whatever is wrong. A hash costs a tenth of a second and memory, so a pair that was right is remembered, as a keyed
 * hash, until the configuration has another hash for the user; and one hash is computed at a time.
 * Threads: any. */
#ifndef TOOLS_BROKER_AUTH_H
#define TOOLS_BROKER_AUTH_H

#include <sodium.h>
#include <stdbool.h>

#include "common/lock.h"
#include "tools/broker/config.h"

#define AUTH_REMEMBERED 64
#define AUTH_MAC 32
#define AUTH_HEADER_MAX 2048

struct auth {
	unsigned char key[AUTH_MAC]; /* random, of this process */
	struct mutex hashing;        /* held while a hash is computed */
	struct mutex lock;
	/* guarded by lock */
	unsigned char remembered[AUTH_REMEMBERED][AUTH_MAC];
	unsigned next;
	unsigned long hashes; /* computed so far */
};

int auth_init(struct auth *a);
void auth_done(struct auth *a);
/* The user's name in c, or NULL. header: the value of Authorization, or NULL. */
const char *auth_check(struct auth *a, const struct bconfig *c, const char *header);
/* A hash for password_hash; false: no memory. */
bool auth_hash(const char *password, char out[crypto_pwhash_STRBYTES]);

#endif
