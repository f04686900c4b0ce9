/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_conn.c - one connection to an NBD server: made, looked at, ended */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/block/nbd_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"

enum {
	SLICE_MS = 100,
	GOODBYE_MS = 1000,
};

/* libnbd's last error in this thread, as -errno; those without a number are protocol errors. */
static int last_error(void)
{
	int e = nbd_get_errno();

	return e > 0 ? -e : -EPROTO;
}

static int complain(const struct bdn_target *t, int rc, const char *what, struct err *err)
{
	const char *text = nbd_get_error();

	return err_set(err, rc, "NBD server %s, export '%.100s': %s: %.200s", t->text, t->name,
		       what, text ? text : strerror(-rc));
}

/* ---- before the connection ------------------------------------------- */

/* libnbd takes the system's authorities, unverified, when its folder has none: that is refused. */
static int check_certificates(const struct bdn_target *t, struct err *err)
{
	AUTO_FREE char *file = NULL;

	if (asprintf(&file, "%s/ca-cert.pem", t->certificates) < 0)
		return err_set(err, -ENOMEM, "no memory");
	if (access(file, R_OK))
		return err_set(err, -errno, "URI parameter tls_certificates=%.100s: %.200s: %s",
			       t->certificates, file, strerror(errno));
	return 0;
}

static int set_up_tls(const struct bdn_target *t, struct nbd_handle *h, struct err *err)
{
	int rc = t->psk ? 0 : check_certificates(t, err);

	if (rc)
		return rc;
	if (t->psk && access(t->psk, R_OK))
		return err_set(err, -errno, "URI parameter tls_psk=%.200s: %s", t->psk,
			       strerror(errno));
	if (nbd_set_tls(h, LIBNBD_TLS_REQUIRE) || nbd_set_tls_verify_peer(h, true) ||
	    (t->certificates && nbd_set_tls_certificates(h, t->certificates)) ||
	    (t->psk && nbd_set_tls_psk_file(h, t->psk)) ||
	    (t->username && nbd_set_tls_username(h, t->username)))
		return complain(t, last_error(), "cannot set up TLS", err);
	return 0;
}

static int set_up(const struct bdn_target *t, struct nbd_handle *h, struct err *err)
{
	/* Its buffers are ours, and nobody looks at them after a read that failed. */
	if (nbd_set_pread_initialize(h, false) || nbd_set_export_name(h, t->name) ||
	    nbd_set_strict_mode(h, LIBNBD_STRICT_MASK) ||
	    nbd_set_request_structured_replies(h, true))
		return complain(t, last_error(), "cannot set up", err);
	return t->tls ? set_up_tls(t, h, err) : nbd_set_tls(h, LIBNBD_TLS_DISABLE);
}

/* ---- connecting ------------------------------------------------------ */

static int start_socket(struct bdn_target *t, unsigned first, uint64_t deadline_ms,
			const atomic_bool *stop, struct nbd_handle *h, struct err *err)
{
	int fd, rc;

	/* The name may stand for another node by now. */
	rc = t->sock.dial ? 0 : nsock_resolve(&t->sock, err);
	fd = rc ? rc : nsock_connect(&t->sock, first, deadline_ms, stop, err);
	if (fd < 0)
		return fd;
	if (nbd_aio_connect_socket(h, fd) < 0)
		return complain(t, last_error(), "cannot use the connection", err);
	return 0; /* the handle owns fd */
}

/* Begins the connection: the handle is connecting, or negotiates already. */
static int start(struct bdn_target *t, unsigned first, uint64_t deadline_ms,
		 const atomic_bool *stop, struct nbd_handle *h, struct err *err)
{
	char port[8];

	if (t->path)
		return nbd_aio_connect_unix(h, t->path) < 0 ?
			       complain(t, last_error(), "cannot connect", err) :
			       0;
	if (!t->certificates)
		return start_socket(t, first, deadline_ms, stop, h, err);
	/* Only so libnbd knows the name that the certificate has to carry. */
	snprintf(port, sizeof port, "%u", t->sock.port);
	if (nbd_aio_connect_tcp(h, t->sock.host, port) < 0)
		return complain(t, last_error(), "cannot connect", err);
	return 0;
}

static int negotiate(const struct bdn_target *t, struct nbd_handle *h, uint64_t deadline_ms,
		     bdn_tick *tick, void *arg, struct err *err)
{
	while (!nbd_aio_is_ready(h)) {
		if (nbd_aio_is_dead(h) || nbd_aio_is_closed(h))
			return complain(t, last_error(), "no handshake", err);
		if (tick && !tick(arg))
			return err_set(err, -ECANCELED, "cancelled");
		if (clock_ms() >= deadline_ms)
			return err_set(err, -ETIMEDOUT,
				       "NBD server %s, export '%.100s': no handshake in time",
				       t->text, t->name);
		if (nbd_poll(h, SLICE_MS) < 0)
			return complain(t, last_error(), "no handshake", err);
	}
	return 0;
}

/* ---- the export ------------------------------------------------------ */

static bool power_of_two(int64_t v)
{
	return v > 0 && !(v & (v - 1));
}

static int look_at_blocks(const struct bdn_target *t, struct nbd_handle *h, struct bdn_export *e,
			  struct err *err)
{
	int64_t min = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM);
	int64_t preferred = nbd_get_block_size(h, LIBNBD_SIZE_PREFERRED);
	int64_t max = nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM);

	if (min < (int64_t)BD_BLOCK_MIN)
		min = BD_BLOCK_MIN; /* 0: none named; 1: any */
	if (max <= 0)
		max = BDN_PAYLOAD_MAX;
	if (max > (int64_t)BDN_TRANSFER_MAX)
		max = BDN_TRANSFER_MAX;
	if (!power_of_two(min) || min > (int64_t)BD_BLOCK_MAX || max < min)
		return err_set(err, -ENODEV,
			       "NBD server %s, export '%.100s': its blocks of at least %lld and at "
			       "most %lld bytes are not supported (%u to %u)",
			       t->text, t->name, (long long)min, (long long)max, BD_BLOCK_MIN,
			       BD_BLOCK_MAX);
	e->block = (uint32_t)min;
	e->preferred = power_of_two(preferred) && preferred >= min && preferred <= max ?
			       (uint32_t)preferred :
			       0;
	e->max_transfer = (size_t)(max & ~(min - 1));
	return 0;
}

static int look(const struct bdn_target *t, struct nbd_handle *h, struct bdn_export *e,
		struct err *err)
{
	int64_t size = nbd_get_size(h);
	int rc = look_at_blocks(t, h, e, err);

	if (rc)
		return rc;
	if (size < 0)
		return complain(t, -ENODEV, "no size", err);
	e->size = (uint64_t)size & ~((uint64_t)e->block - 1);
	if (!e->size || e->size > BD_SIZE_MAX)
		return err_set(err, -ENODEV,
			       "NBD server %s, export '%.100s': a size of %lld bytes cannot be",
			       t->text, t->name, (long long)size);
	e->readonly = nbd_is_read_only(h) > 0;
	e->rotational = nbd_is_rotational(h) > 0;
	e->flush = nbd_can_flush(h) > 0;
	e->fua = nbd_can_fua(h) > 0;
	e->trim = nbd_can_trim(h) > 0;
	e->zero = nbd_can_zero(h) > 0;
	e->fast_zero = nbd_can_fast_zero(h) > 0;
	e->multi = nbd_can_multi_conn(h) > 0;
	return 0;
}

int bdn_connect(struct bdn_target *t, unsigned first, uint32_t limit_ms, bdn_tick *tick, void *arg,
		const atomic_bool *stop, struct nbd_handle **out, struct bdn_export *export,
		struct err *err)
{
	uint64_t deadline_ms = clock_ms() + limit_ms;
	struct bdn_export found = { .size = 0 };
	struct nbd_handle *h = nbd_create();
	int rc;

	if (!h)
		return complain(t, last_error(), "cannot begin", err);
	rc = set_up(t, h, err);
	if (!rc)
		rc = start(t, first, deadline_ms, stop, h, err);
	if (!rc)
		rc = negotiate(t, h, deadline_ms, tick, arg, err);
	if (!rc)
		rc = look(t, h, &found, err);
	if (rc) {
		nbd_close(h);
		return rc;
	}
	if (!t->path)
		nsock_tune(nbd_aio_get_fd(h));
	*export = found;
	*out = h;
	return 0;
}

static int differs(int rc, const char *what, struct err *err)
{
	return err_set(err, rc, "the export is another one now: %s", what);
}

int bdn_same(const struct bdn_export *was, const struct bdn_export *is, struct err *err)
{
	if (is->size < was->size)
		return err_set(err, -ENODEV,
			       "the export is another one now: it has %llu bytes and had %llu",
			       (unsigned long long)is->size, (unsigned long long)was->size);
	if (is->block > was->block)
		return differs(-ENODEV, "its blocks are larger", err);
	if (is->max_transfer < was->max_transfer)
		return differs(-ENODEV, "it takes smaller requests only", err);
	if (is->readonly && !was->readonly)
		return differs(-EROFS, "it is read-only", err);
	if (is->flush != was->flush)
		return differs(-ENODEV,
			       is->flush ? "it may lose what it answered" : "it takes no flushes",
			       err);
	if ((was->fua && !is->fua) || (was->trim && !is->trim) || (was->zero && !is->zero))
		return differs(-ENODEV, "it lacks a command that it had", err);
	return 0;
}

/* ---- the end --------------------------------------------------------- */

void bdn_goodbye(struct nbd_handle *h)
{
	uint64_t deadline_ms = clock_ms() + GOODBYE_MS;

	if (nbd_aio_is_ready(h) && !nbd_aio_disconnect(h, 0))
		while (!nbd_aio_is_dead(h) && !nbd_aio_is_closed(h) && clock_ms() < deadline_ms)
			if (nbd_poll(h, SLICE_MS) < 0)
				break;
	nbd_close(h);
}

void bdn_reset(struct nbd_handle *h, int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	nbd_close(h);
}
