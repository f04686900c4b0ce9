/* SPDX-License-Identifier: Apache-2.0 */
/* seal.c - see seal.h. A key's id is a hash of it, so that a sealed text finds its key whatever order the
 * file has. The key that signs is derived from the one that seals: what is learned of one
 * tells nothing of the other. */
#include "tools/broker/seal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define KEYS_MAX 16          /* of a file */
#define FILE_BYTES_MAX 65536 /* of a key file */
#define KEY_BYTES crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define MAC_BYTES 32
#define ID_BYTES 8 /* of a key; twice as many digits */
#define PREFIX "v1:"
#define HEAD_LEN (sizeof PREFIX - 1 + ID_BYTES * 2 + 1) /* "v1:KEYID:" */
#define BASE64 sodium_base64_VARIANT_URLSAFE_NO_PADDING
#define SEALED_MAX (64u << 20) /* of a text that is opened */

struct seal_key {
	unsigned char key[KEY_BYTES], sign[KEY_BYTES];
	char id[ID_BYTES * 2 + 1];
};

struct seal {
	struct seal_key keys[KEYS_MAX];
	unsigned nkeys;
};

/* --- the key file ------------------------------------------------------------------ */

static void derive(unsigned char *out, size_t len, const struct seal_key *k, const char *label)
{
	crypto_generichash(out, len, (const unsigned char *)label, strlen(label), k->key,
			   sizeof k->key);
}

static void key_complete(struct seal_key *k)
{
	unsigned char id[crypto_generichash_BYTES_MIN];

	derive(id, sizeof id, k, "persifs key id");
	sodium_bin2hex(k->id, sizeof k->id, id, ID_BYTES);
	derive(k->sign, sizeof k->sign, k, "persifs link");
}

static int add_key(struct seal *s, const char *file, unsigned line, const char *text, size_t len,
		   struct err *err)
{
	struct seal_key *k = &s->keys[s->nkeys];
	size_t got;

	if (s->nkeys == KEYS_MAX)
		return err_set(err, -EINVAL, "key file '%s', line %u: more than %d keys", file,
			       line, KEYS_MAX);
	if (len != KEY_BYTES * 2 ||
	    sodium_hex2bin(k->key, sizeof k->key, text, len, NULL, &got, NULL) || got != KEY_BYTES)
		return err_set(err, -EINVAL,
			       "key file '%s', line %u: %d hexadecimal digits are wanted", file,
			       line, (int)KEY_BYTES * 2);
	key_complete(k);
	for (unsigned i = 0; i < s->nkeys; i++)
		if (!sodium_memcmp(s->keys[i].key, k->key, KEY_BYTES))
			return err_set(err, -EINVAL, "key file '%s', line %u: a key twice", file,
				       line);
	s->nkeys++;
	return 0;
}

static int add_keys(struct seal *s, const char *file, const char *text, struct err *err)
{
	unsigned line = 1;

	for (const char *p = text; *p; line++) {
		size_t len = strcspn(p, "\n");
		const char *start = p, *end;
		int rc;

		p += len + (p[len] == '\n');
		end = start + strcspn(start, "#\n");
		while (start < end && isspace((unsigned char)*start))
			start++;
		while (end > start && isspace((unsigned char)end[-1]))
			end--;
		if (start == end)
			continue;
		rc = add_key(s, file, line, start, (size_t)(end - start), err);
		if (rc)
			return rc;
	}
	return s->nkeys ? 0 : err_set(err, -EINVAL, "key file '%s' has no key", file);
}

static int check_file(int fd, const char *file, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_set(err, -EIO, "key file '%s': %s", file, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX)
		return err_set(err, -EINVAL, "key file '%s' is none: not a file, or too long",
			       file);
	if (st.st_uid != geteuid())
		return err_set(err, -EACCES, "key file '%s' belongs to uid %u, not to us (%u)",
			       file, (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 077)
		return err_set(err, -EACCES,
			       "key file '%s' has mode %03o: group and others must have no access",
			       file, (unsigned)st.st_mode & 0777);
	return 0;
}

static int read_file(const char *file, char *buf, struct err *err)
{
	AUTO_FD int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t done = 0;
	int rc;

	if (fd < 0)
		return err_set(err, errno == EACCES ? -EACCES : -EINVAL, "key file '%s': %s", file,
			       strerror(errno));
	rc = check_file(fd, file, err);
	if (rc)
		return rc;
	while (done < FILE_BYTES_MAX) {
		ssize_t n = read(fd, buf + done, FILE_BYTES_MAX - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, -EIO, "key file '%s': %s", file, strerror(errno));
		if (!n)
			break;
		done += (size_t)n;
	}
	if (memchr(buf, '\0', done))
		return err_set(err, -EINVAL, "key file '%s' is no text", file);
	buf[done] = '\0';
	return 0;
}

/* All that is in the file, in s, which nobody may write any more. */
static int load(struct seal *s, const char *key_file, char *buf, struct err *err)
{
	int rc;

	memset(s, 0, sizeof *s);
	rc = read_file(key_file, buf, err);
	if (!rc)
		rc = add_keys(s, key_file, buf, err);
	if (!rc && sodium_mprotect_readonly(s))
		rc = err_set(err, -ENOMEM, "key file '%s': no memory", key_file);
	return rc;
}

int seal_open(const char *key_file, struct seal **out, struct err *err)
{
	struct seal *s;
	char *buf;
	int rc;

	if (sodium_init() < 0)
		return err_set(err, -EIO, "libsodium does not start");
	s = sodium_malloc(sizeof *s);
	buf = sodium_malloc(FILE_BYTES_MAX + 1);
	if (s && buf) {
		*buf = '\0';
		rc = load(s, key_file, buf, err);
	} else {
		rc = err_set(err, -ENOMEM, "key file '%s': no memory", key_file);
	}
	sodium_free(buf);
	if (rc)
		seal_close(s);
	else
		*out = s;
	return rc;
}

void seal_close(struct seal *s)
{
	sodium_free(s); /* wipes */
}

static int write_key(int fd, struct err *err, const char *file)
{
	unsigned char key[KEY_BYTES];
	char line[KEY_BYTES * 2 + 2];
	ssize_t n;

	randombytes_buf(key, sizeof key);
	sodium_bin2hex(line, sizeof line, key, sizeof key);
	strcat(line, "\n");
	n = write(fd, line, strlen(line));
	sodium_memzero(key, sizeof key);
	sodium_memzero(line, sizeof line);
	if (n != KEY_BYTES * 2 + 1 || fsync(fd))
		return err_set(err, -EIO, "key file '%s': %s", file,
			       n < 0 ? strerror(errno) : "cannot be written");
	return 0;
}

int seal_make_key(const char *key_file, struct err *err)
{
	AUTO_FD int fd = -1;
	int rc;

	if (sodium_init() < 0)
		return err_set(err, -EIO, "libsodium does not start");
	fd = open(key_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "key file '%s': %s", key_file, strerror(errno));
	rc = write_key(fd, err, key_file);
	if (rc)
		unlink(key_file);
	return rc;
}

/* The bytes of a base64 text, or false. libsodium 1.0.18 takes some bytes above 127 for digits, and a
 * changed text must not pass for the one that it was. */
static bool decode(const char *text, unsigned char *buf, size_t cap, size_t *got)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t len = strlen(text);

	return strspn(text, digits) == len &&
	       !sodium_base642bin(buf, cap, text, len, NULL, got, NULL, BASE64);
}

/* --- texts -------------------------------------------------------------------------- */

char *seal_text(const struct seal *s, const char *text, const char *belongs)
{
	const struct seal_key *k = &s->keys[0];
	size_t len = strlen(text), bytes = NONCE_BYTES + len + TAG_BYTES;
	size_t cap = HEAD_LEN + sodium_base64_ENCODED_LEN(bytes, BASE64);
	AUTO_FREE unsigned char *box = malloc(bytes);
	AUTO_FREE char *out = malloc(cap);

	if (!box || !out)
		return NULL;
	snprintf(out, cap, PREFIX "%s:", k->id);
	randombytes_buf(box, NONCE_BYTES);
	crypto_aead_xchacha20poly1305_ietf_encrypt(box + NONCE_BYTES, NULL,
						   (const unsigned char *)text, len,
						   (const unsigned char *)belongs, strlen(belongs),
						   NULL, box, k->key);
	sodium_bin2base64(out + HEAD_LEN, cap - HEAD_LEN, box, bytes, BASE64);
	return take_ptr(&out);
}

/* The key that a sealed text names, or NULL. */
static const struct seal_key *key_of(const struct seal *s, const char *sealed)
{
	size_t at = sizeof PREFIX - 1;

	if (strncmp(sealed, PREFIX, at))
		return NULL;
	for (unsigned i = 0; i < s->nkeys; i++)
		if (!strncmp(sealed + at, s->keys[i].id, ID_BYTES * 2) &&
		    sealed[at + ID_BYTES * 2] == ':')
			return &s->keys[i];
	return NULL;
}

char *seal_open_text(const struct seal *s, const char *sealed, const char *belongs)
{
	const struct seal_key *k = key_of(s, sealed);
	size_t len = k ? strlen(sealed + HEAD_LEN) : 0, bytes;
	AUTO_FREE unsigned char *box = NULL;
	AUTO_FREE char *out = NULL;

	if (!k || len > SEALED_MAX)
		return NULL;
	box = malloc(len + 1);
	if (!box || !decode(sealed + HEAD_LEN, box, len + 1, &bytes) ||
	    bytes < NONCE_BYTES + TAG_BYTES)
		return NULL;
	len = bytes - NONCE_BYTES - TAG_BYTES;
	out = malloc(len + 1);
	if (!out ||
	    crypto_aead_xchacha20poly1305_ietf_decrypt(
		    (unsigned char *)out, NULL, NULL, box + NONCE_BYTES, bytes - NONCE_BYTES,
		    (const unsigned char *)belongs, strlen(belongs), box, k->key))
		return NULL;
	out[len] = '\0';
	return take_ptr(&out);
}

bool seal_is_current(const struct seal *s, const char *sealed)
{
	return key_of(s, sealed) == &s->keys[0];
}

/* --- links -------------------------------------------------------------------------- */

static void mac_of(const struct seal_key *k, const char *what, uint64_t expires_s,
		   unsigned char mac[MAC_BYTES])
{
	crypto_generichash_state st;
	char head[32];

	/* The point ends the number: no other pair has the same bytes. */
	snprintf(head, sizeof head, "%" PRIu64 ".", expires_s);
	crypto_generichash_init(&st, k->sign, sizeof k->sign, MAC_BYTES);
	crypto_generichash_update(&st, (const unsigned char *)head, strlen(head));
	crypto_generichash_update(&st, (const unsigned char *)what, strlen(what));
	crypto_generichash_final(&st, mac, MAC_BYTES);
}

char *seal_sign(const struct seal *s, const char *what, uint64_t expires_s)
{
	unsigned char mac[MAC_BYTES];
	char text[sodium_base64_ENCODED_LEN(MAC_BYTES, BASE64)];
	char *out;

	mac_of(&s->keys[0], what, expires_s, mac);
	sodium_bin2base64(text, sizeof text, mac, sizeof mac, BASE64);
	return asprintf(&out, "%" PRIu64 ".%s", expires_s, text) < 0 ? NULL : out;
}

/* Digits as seal_sign() writes them: no sign, no space, no zero before others. */
static bool read_expiry(const char *token, uint64_t *out, const char **rest)
{
	size_t n = strspn(token, "0123456789");

	if (!n || n > 20 || token[n] != '.' || (*token == '0' && n > 1))
		return false;
	errno = 0;
	*out = strtoull(token, NULL, 10);
	*rest = token + n + 1;
	return !errno;
}

bool seal_check(const struct seal *s, const char *what, const char *token, uint64_t now_s)
{
	unsigned char mac[MAC_BYTES], given[MAC_BYTES];
	const char *rest;
	uint64_t expires_s;
	bool ok = false;
	size_t got;

	if (!read_expiry(token, &expires_s, &rest) || now_s >= expires_s)
		return false;
	if (!decode(rest, given, sizeof given, &got) || got != sizeof given)
		return false;
	for (unsigned i = 0; i < s->nkeys; i++) {
		mac_of(&s->keys[i], what, expires_s, mac);
		if (!sodium_memcmp(mac, given, sizeof mac))
			ok = true;
	}
	return ok;
}
