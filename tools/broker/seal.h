/* SPDX-License-Identifier: Apache-2.0 */
/* seal.h - secrets at rest, and links that cannot be forged (libsodium)
 *
 * The key file has one key a line, 64 hexadecimal digits, "#" comments; the first seals, all open: a new key
 * is put before the old one, `persifs-broker reseal` writes all rows anew, then the old one goes. A sealed
 * text is "v1:" KEYID ":" base64(nonce, XChaCha20-Poly1305 of the text with what it belongs
 * to as associated data): it cannot be moved to another row. Any thread. */
#ifndef TOOLS_BROKER_SEAL_H
#define TOOLS_BROKER_SEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct seal;

/* The file must belong to us and be closed to others. -EACCES, -EINVAL with file and line. */
int seal_open(const char *key_file, struct seal **out, struct err *err);
/* A file with one fresh key, 0600; -EEXIST when there is one. */
int seal_make_key(const char *key_file, struct err *err);
void seal_close(struct seal *s);

/* Owned by the caller; NULL: no memory. belongs: "instance ID params". */
char *seal_text(const struct seal *s, const char *text, const char *belongs);
/* NULL: not sealed by any of our keys, changed, or moved. */
char *seal_open_text(const struct seal *s, const char *sealed, const char *belongs);
/* Sealed by the first key. */
bool seal_is_current(const struct seal *s, const char *sealed);

/* "EXPIRES.MAC" over what and expires_s; for dashboard links. */
char *seal_sign(const struct seal *s, const char *what, uint64_t expires_s);
bool seal_check(const struct seal *s, const char *what, const char *token, uint64_t now_s);

#endif
