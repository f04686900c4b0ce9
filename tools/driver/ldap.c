/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/ldap.h"

#include <errno.h>
#include <fcntl.h>
#include <ldap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

#define PASSWORD_MAX 1024
#define ID_MAX 4294967294UL

int directory_filter(const char *attr, const char *user, char *buf, size_t cap)
{
	size_t n = (size_t)snprintf(buf, cap, "(%s=", attr);

	for (; *user; user++) {
		unsigned char c = (unsigned char)*user;

		if (n + 5 >= cap)
			return -ENAMETOOLONG;
		if (strchr("*()\\", c) || c < 0x20 || c >= 0x7f)
			n += (size_t)snprintf(buf + n, cap - n, "\\%02x", c);
		else
			buf[n++] = (char)c;
	}
	if (n + 2 > cap)
		return -ENAMETOOLONG;
	buf[n++] = ')';
	buf[n] = '\0';
	return 0;
}

static int broken(struct failure *f, const char *what, int rc)
{
	log_error("driver: directory: %s: %s", what, ldap_err2string(rc));
	return failure_set_safe(f, -EIO, "the directory of users does not answer as it should");
}

static int wrong(struct failure *f)
{
	return failure_set_safe(f, -EACCES, "username or password is wrong");
}

static int connect_to(const struct directory *d, LDAP **out, struct failure *f)
{
	const struct timeval limit = { .tv_sec = DIRECTORY_LIMIT_S };
	int version = LDAP_VERSION3, demand = LDAP_OPT_X_TLS_DEMAND, server = 0;
	LDAP *ld = NULL;
	int rc = ldap_initialize(&ld, d->uri);

	if (rc)
		return broken(f, d->uri, rc);
	ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &limit);
	ldap_set_option(ld, LDAP_OPT_TIMEOUT, &limit);
	ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
	if (d->ca)
		ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, d->ca);
	ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &server);
	rc = d->start_tls ? ldap_start_tls_s(ld, NULL, NULL) : 0;
	if (rc) {
		ldap_unbind_ext_s(ld, NULL, NULL);
		return broken(f, "start_tls", rc);
	}
	*out = ld;
	return 0;
}

static int bind_as(LDAP *ld, const char *dn, const char *password)
{
	char *copy = strdup(password);
	struct berval cred = { .bv_val = copy, .bv_len = strlen(password) };
	int rc = copy ? ldap_sasl_bind_s(ld, dn, LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL) :
			LDAP_NO_MEMORY;

	if (copy)
		explicit_bzero(copy, strlen(copy));
	free(copy);
	return rc;
}

static int read_password(const char *path, char *buf, size_t cap)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, cap - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	buf[strcspn(buf, "\r\n")] = '\0';
	return 0;
}

static int bind_searcher(LDAP *ld, const struct directory *d, struct failure *f)
{
	char password[PASSWORD_MAX];
	int rc;

	if (!d->bind_dn)
		return 0;
	rc = read_password(d->bind_password_file, password, sizeof password);
	if (rc) {
		log_error("driver: directory: '%s': %s", d->bind_password_file, strerror(-rc));
		return failure_set_safe(f, rc, "the directory of users cannot be asked");
	}
	rc = bind_as(ld, d->bind_dn, password);
	explicit_bzero(password, sizeof password);
	return rc ? broken(f, d->bind_dn, rc) : 0;
}

/* A number above 0 of the entry's attribute. */
static int read_id(LDAP *ld, LDAPMessage *entry, const char *attr, uint32_t *out)
{
	struct berval **values = ldap_get_values_len(ld, entry, attr);
	char text[16] = "", *end = text;
	unsigned long v = 0;

	if (values && values[0] && values[0]->bv_len < sizeof text) {
		memcpy(text, values[0]->bv_val, values[0]->bv_len);
		v = strtoul(text, &end, 10);
	}
	if (values)
		ldap_value_free_len(values);
	if (!*text || *end || v < 1 || v > ID_MAX)
		return -EINVAL;
	*out = (uint32_t)v;
	return 0;
}

static int take_entry(LDAP *ld, LDAPMessage *found, char **dn, uint32_t *uid, uint32_t *gid,
		      struct failure *f)
{
	LDAPMessage *entry = ldap_first_entry(ld, found);

	if (!entry || ldap_next_entry(ld, entry))
		return wrong(f); /* nobody, or not one only */
	if (read_id(ld, entry, "uidNumber", uid) || read_id(ld, entry, "gidNumber", gid)) {
		log_error("driver: directory: an entry has no uidNumber and gidNumber above 0");
		return failure_set_safe(f, -EINVAL, "the user has no uid and gid in the directory");
	}
	*dn = ldap_get_dn(ld, entry);
	return *dn ? 0 : broken(f, "entry", LDAP_NO_MEMORY);
}

static int search(LDAP *ld, const struct directory *d, const char *user, char **dn, uint32_t *uid,
		  uint32_t *gid, struct failure *f)
{
	char uid_attr[] = "uidNumber", gid_attr[] = "gidNumber";
	char *attrs[] = { uid_attr, gid_attr, NULL };
	struct timeval limit = { .tv_sec = DIRECTORY_LIMIT_S };
	char filter[DIRECTORY_USER_MAX * 3 + 128];
	LDAPMessage *found = NULL;
	int rc;

	if (directory_filter(d->user_attr, user, filter, sizeof filter))
		return wrong(f);
	rc = ldap_search_ext_s(ld, d->base, LDAP_SCOPE_SUBTREE, filter, attrs, 0, NULL, NULL,
			       &limit, 2, &found);
	if (rc == LDAP_SUCCESS)
		rc = take_entry(ld, found, dn, uid, gid, f);
	else
		rc = rc == LDAP_SIZELIMIT_EXCEEDED ? wrong(f) : broken(f, "search", rc);
	ldap_msgfree(found);
	return rc;
}

int directory_identify(void *arg, const char *user, const char *password, uint32_t *uid,
		       uint32_t *gid, struct failure *f)
{
	const struct directory *d = arg;
	LDAP *ld = NULL;
	char *dn = NULL;
	int rc;

	/* An empty password would be an anonymous bind, which succeeds for anybody. */
	if (!*user || !*password || strlen(user) > DIRECTORY_USER_MAX ||
	    strlen(password) > PASSWORD_MAX)
		return wrong(f);
	rc = connect_to(d, &ld, f);
	if (rc)
		return rc;
	rc = bind_searcher(ld, d, f);
	if (!rc)
		rc = search(ld, d, user, &dn, uid, gid, f);
	if (!rc) {
		int bound = bind_as(ld, dn, password);

		if (bound == LDAP_INVALID_CREDENTIALS)
			rc = wrong(f);
		else if (bound)
			rc = broken(f, "bind", bound);
	}
	ldap_memfree(dn);
	ldap_unbind_ext_s(ld, NULL, NULL);
	return rc;
}
