/* SPDX-License-Identifier: Apache-2.0 */
/* ldap.h - who a user is: from name and password to uid and gid, by an LDAP directory
 *
 * Any thread. No password is kept, logged or told. */
#ifndef TOOLS_DRIVER_LDAP_H
#define TOOLS_DRIVER_LDAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/driver/failure.h"

#define DIRECTORY_LIMIT_S 10 /* for connecting, and for each answer */
#define DIRECTORY_USER_MAX 256

struct directory {
	const char *uri, *base, *user_attr;       /* all borrowed */
	const char *bind_dn, *bind_password_file; /* who searches; NULL: anonymous */
	const char *ca;                           /* PEM file; NULL: the system's */
	bool start_tls;
};

/* Searches the user, proves the password by a bind as that entry, and reads uidNumber and
 * gidNumber. arg: struct directory. -EACCES, safe, when name or password is wrong; what
 * is wrong with the directory is the operator's to read in the log. */
int directory_identify(void *arg, const char *user, const char *password, uint32_t *uid,
		       uint32_t *gid, struct failure *f);

/* "(attr=user)" with what RFC 4515 wants escaped; -ENAMETOOLONG. */
int directory_filter(const char *attr, const char *user, char *buf, size_t cap);

#endif
