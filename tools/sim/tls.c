/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/paths.h"
#include "tools/driver/state.h"

#define SERIAL_BYTES 8
#define COMMON_NAME "persifs-sim"

static int add_address(gnutls_x509_crt_t crt, const char *text)
{
	unsigned char bytes[16];
	unsigned n = inet_pton(AF_INET, text, bytes) == 1  ? 4 :
		     inet_pton(AF_INET6, text, bytes) == 1 ? 16 :
							     0;

	return n ? gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, bytes, n,
							GNUTLS_FSAN_APPEND) :
		   0;
}

static int add_names(gnutls_x509_crt_t crt, const char *address)
{
	int rc = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, COMMON_NAME,
					       strlen(COMMON_NAME));

	if (!rc)
		rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, "localhost", 9,
							  GNUTLS_FSAN_SET);
	if (!rc)
		rc = add_address(crt, "127.0.0.1");
	if (!rc)
		rc = add_address(crt, "::1");
	if (!rc && address && strcmp(address, "127.0.0.1") != 0 && strcmp(address, "::1") != 0)
		rc = add_address(crt, address);
	return rc;
}

static int fill(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *address)
{
	unsigned char serial[SERIAL_BYTES];
	time_t now = time(NULL);
	int rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);

	serial[0] = (serial[0] & 0x7f) | 1; /* positive, and no leading zero */
	if (!rc)
		rc = gnutls_x509_crt_set_version(crt, 3);
	if (!rc)
		rc = gnutls_x509_crt_set_serial(crt, serial, sizeof serial);
	if (!rc)
		rc = gnutls_x509_crt_set_activation_time(crt, now - 86400);
	if (!rc)
		rc = gnutls_x509_crt_set_expiration_time(crt, now + TLS_DAYS * 86400L);
	if (!rc)
		rc = gnutls_x509_crt_set_basic_constraints(crt, 1, 0);
	if (!rc)
		rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE |
								GNUTLS_KEY_KEY_CERT_SIGN);
	if (!rc)
		rc = add_names(crt, address);
	if (!rc)
		rc = gnutls_x509_crt_set_key(crt, key);
	return rc ? rc : gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

/* Takes the data. */
static char *text_of(gnutls_datum_t *d)
{
	char *text = strndup((char *)d->data, d->size);

	gnutls_free(d->data);
	d->data = NULL;
	return text;
}

static int export(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, char **cert_out, char **key_out)
{
	gnutls_datum_t c = { 0 }, k = { 0 };
	int rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &c);

	if (!rc)
		rc = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &k);
	if (!rc) {
		*cert_out = text_of(&c);
		*key_out = text_of(&k);
		if (!*cert_out || !*key_out) {
			free(*cert_out);
			free(*key_out);
			rc = GNUTLS_E_MEMORY_ERROR;
		}
	}
	gnutls_free(c.data);
	gnutls_free(k.data);
	return rc;
}

int tls_make(const char *address, char **cert, char **key, struct err *err)
{
	gnutls_x509_privkey_t k = NULL;
	gnutls_x509_crt_t crt = NULL;
	int rc = gnutls_x509_privkey_init(&k);

	if (!rc)
		rc = gnutls_x509_crt_init(&crt);
	if (!rc)
		rc = gnutls_x509_privkey_generate(
			k, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (!rc)
		rc = fill(crt, k, address);
	if (!rc)
		rc = export(crt, k, cert, key);
	if (crt)
		gnutls_x509_crt_deinit(crt);
	if (k)
		gnutls_x509_privkey_deinit(k);
	return rc ? err_set(err, -EIO, "cannot make a certificate: %s", gnutls_strerror(rc)) : 0;
}

int tls_make_files(const char *address, const char *cert_path, const char *key_path,
		   struct err *err)
{
	AUTO_FREE char *cert = NULL, *key = NULL;
	int rc;

	if (!access(cert_path, F_OK) && !access(key_path, F_OK))
		return 0;
	rc = paths_make_parents(cert_path, err);
	if (!rc)
		rc = tls_make(address, &cert, &key, err);
	if (rc)
		return rc;
	rc = state_write(key_path, key, 0600);
	if (rc)
		return err_set(err, rc, "key '%s': %s", key_path, strerror(-rc));
	rc = state_write(cert_path, cert, 0644);
	return rc ? err_set(err, rc, "certificate '%s': %s", cert_path, strerror(-rc)) : 0;
}
