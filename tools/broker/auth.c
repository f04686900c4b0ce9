/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/auth.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define SCHEME "Basic "

int auth_init(struct auth *a)
{
	if (sodium_init() < 0)
		return -EIO;
	memset(a, 0, sizeof *a);
	randombytes_buf(a->key, sizeof a->key);
	mutex_init(&a->hashing, LOCK_broker_hashing);
	mutex_init(&a->lock, LOCK_broker_auth);
	return 0;
}

void auth_done(struct auth *a)
{
	mutex_done(&a->hashing);
	mutex_done(&a->lock);
	explicit_bzero(a, sizeof *a);
}

bool auth_hash(const char *password, char out[crypto_pwhash_STRBYTES])
{
	return !crypto_pwhash_str(out, password, strlen(password),
				  crypto_pwhash_OPSLIMIT_INTERACTIVE,
				  crypto_pwhash_MEMLIMIT_INTERACTIVE);
}

/* Of texts with their ends, so that no two lists of texts are alike. */
static void mac(const struct auth *a, unsigned char out[AUTH_MAC], const char *const *texts,
		size_t n)
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, a->key, sizeof a->key, AUTH_MAC);
	for (size_t i = 0; i < n; i++)
		crypto_generichash_update(&st, (const unsigned char *)texts[i],
					  strlen(texts[i]) + 1);
	crypto_generichash_final(&st, out, AUTH_MAC);
}

static bool is_remembered(struct auth *a, const unsigned char m[AUTH_MAC])
{
	bool found = false;

	mutex_lock(&a->lock);
	for (size_t i = 0; i < AUTH_REMEMBERED; i++)
		found |= !sodium_memcmp(a->remembered[i], m, AUTH_MAC);
	mutex_unlock(&a->lock);
	return found;
}

static void remember(struct auth *a, const unsigned char m[AUTH_MAC])
{
	mutex_lock(&a->lock);
	memcpy(a->remembered[a->next], m, AUTH_MAC);
	a->next = (a->next + 1) % AUTH_REMEMBERED;
	mutex_unlock(&a->lock);
}

static bool is_hash_of(struct auth *a, const char *hash, const char *user, const char *password)
{
	const char *texts[] = { user, password, hash };
	unsigned char m[AUTH_MAC];
	bool good;

	mac(a, m, texts, 3);
	if (is_remembered(a, m))
		return true;
	mutex_lock(&a->hashing);
	a->hashes++;
	good = !crypto_pwhash_str_verify(hash, password, strlen(password));
	mutex_unlock(&a->hashing);
	if (good)
		remember(a, m);
	return good;
}

static bool is_equal(const struct auth *a, const char *x, const char *y)
{
	unsigned char mx[AUTH_MAC], my[AUTH_MAC];

	mac(a, mx, &x, 1);
	mac(a, my, &y, 1);
	return !sodium_memcmp(mx, my, AUTH_MAC);
}

/* All users are looked at, and an unknown one costs what a known one does. */
static const char *check_pair(struct auth *a, const struct bconfig *c, const char *user,
			      const char *password)
{
	const struct bconfig_user *known = NULL;
	const char *hash = NULL;

	for (size_t i = 0; i < c->nusers; i++) {
		if (c->users[i].hash)
			hash = c->users[i].hash;
		if (is_equal(a, c->users[i].name, user))
			known = &c->users[i];
	}
	if (known && known->hash)
		return is_hash_of(a, known->hash, user, password) ? known->name : NULL;
	if (!known && hash)
		is_hash_of(a, hash, user, password);
	if (!is_equal(a, known ? known->password : "", password) || !known)
		return NULL;
	return known->name;
}

const char *auth_check(struct auth *a, const struct bconfig *c, const char *header)
{
	char pair[AUTH_HEADER_MAX], *colon;
	const char *name = NULL;
	size_t len;

	if (!header || strncasecmp(header, SCHEME, strlen(SCHEME)) ||
	    sodium_base642bin((unsigned char *)pair, sizeof pair - 1, header + strlen(SCHEME),
			      strlen(header + strlen(SCHEME)), " ", &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL))
		return NULL;
	pair[len] = '\0';
	colon = strlen(pair) == len ? strchr(pair, ':') : NULL;
	if (colon) {
		*colon = '\0';
		name = check_pair(a, c, pair, colon + 1);
	}
	explicit_bzero(pair, sizeof pair);
	return name;
}
