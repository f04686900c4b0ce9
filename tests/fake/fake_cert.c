/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_cert.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DAY_S 86400

static void must(int rc)
{
	if (rc < 0) {
		fprintf(stderr, "fake certificate: %s\n", gnutls_strerror(rc));
		abort();
	}
}

static char *text_of(const gnutls_datum_t *d)
{
	char *text = strndup((const char *)d->data, d->size);

	if (!text)
		abort();
	gnutls_free(d->data);
	return text;
}

static char *cert_pem(gnutls_x509_crt_t crt)
{
	gnutls_datum_t d;

	must(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &d));
	return text_of(&d);
}

static gnutls_x509_privkey_t new_key(void)
{
	gnutls_x509_privkey_t key;

	must(gnutls_x509_privkey_init(&key));
	must(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
					  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	return key;
}

static gnutls_x509_crt_t new_crt(gnutls_x509_privkey_t key, const char *name, unsigned char serial)
{
	gnutls_x509_crt_t crt;

	must(gnutls_x509_crt_init(&crt));
	must(gnutls_x509_crt_set_version(crt, 3));
	must(gnutls_x509_crt_set_serial(crt, &serial, 1));
	must(gnutls_x509_crt_set_activation_time(crt, time(NULL) - DAY_S));
	must(gnutls_x509_crt_set_expiration_time(crt, time(NULL) + DAY_S));
	must(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
					   (unsigned)strlen(name)));
	must(gnutls_x509_crt_set_key(crt, key));
	return crt;
}

/* Without identifiers, authorities of one name are told apart by bad signatures only. */
static void set_key_ids(gnutls_x509_crt_t ca, gnutls_x509_crt_t crt)
{
	unsigned char id[64];
	size_t n = sizeof id;

	must(gnutls_x509_crt_get_key_id(ca, 0, id, &n));
	must(gnutls_x509_crt_set_subject_key_id(ca, id, n));
	must(gnutls_x509_crt_set_authority_key_id(crt, id, n));
}

void fake_cert_make(struct fake_cert *c)
{
	gnutls_x509_privkey_t ca_key = new_key(), key = new_key();
	gnutls_x509_crt_t ca = new_crt(ca_key, "authority", 1), crt = new_crt(key, "array", 2);
	in_addr_t ip = htonl(INADDR_LOOPBACK);
	gnutls_datum_t d;
	int fd;

	must(gnutls_x509_crt_set_ca_status(ca, 1));
	must(gnutls_x509_crt_set_key_usage(ca, GNUTLS_KEY_KEY_CERT_SIGN));
	set_key_ids(ca, crt);
	must(gnutls_x509_crt_sign2(ca, ca, ca_key, GNUTLS_DIG_SHA256, 0));
	must(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, &ip, sizeof ip, 0));
	must(gnutls_x509_crt_sign2(crt, ca, ca_key, GNUTLS_DIG_SHA256, 0));
	c->ca = cert_pem(ca);
	c->cert = cert_pem(crt);
	must(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &d));
	c->key = text_of(&d);
	gnutls_x509_crt_deinit(ca);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(ca_key);
	gnutls_x509_privkey_deinit(key);
	strcpy(c->ca_file, "/tmp/persifs-ca.XXXXXX");
	fd = mkstemp(c->ca_file);
	if (fd < 0 || write(fd, c->ca, strlen(c->ca)) != (ssize_t)strlen(c->ca) || close(fd))
		abort();
}

void fake_cert_done(struct fake_cert *c)
{
	if (c->ca_file[0])
		unlink(c->ca_file);
	free(c->ca);
	free(c->cert);
	free(c->key);
	memset(c, 0, sizeof *c);
}
