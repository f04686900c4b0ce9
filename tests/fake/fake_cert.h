/* SPDX-License-Identifier: Apache-2.0 */
/* fake_cert.h - an authority, and a server certificate for 127.0.0.1 that it signs; made anew at each call */
#ifndef TESTS_FAKE_CERT_H
#define TESTS_FAKE_CERT_H

struct fake_cert {
	char *ca, *cert, *key; /* PEM, owned */
	char ca_file[64];      /* with ca */
};

/* Aborts on failure. */
void fake_cert_make(struct fake_cert *c);
void fake_cert_done(struct fake_cert *c); /* the file goes, too */

#endif
