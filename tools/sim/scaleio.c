/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio.c - see scaleio_impl.h */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

#define FIRST_ID 3 /* the low half of ids; those before are objects of the system */

static const char *const roundings[] = { "up", "refuse", NULL };
static const char *const same_sizes[] = { "ok", "refuse", NULL };
static const char *const tokens[] = { "quoted", "bare", "newline", NULL };
static const char *const expired[] = { "401", "403", NULL };
static const char *const roles[] = { "admin", "monitor", NULL };

#define AT(member) offsetof(struct scaleio_options, member)
static const struct opt_def options[] = {
	{ .name = "version",
	  .type = OPT_STRING,
	  .offset = AT(version),
	  .dflt = "3.6",
	  .help = "release that is simulated, 1.32 to 5.0" },
	{ .name = "rounding",
	  .type = OPT_ENUM,
	  .offset = AT(rounding),
	  .dflt = "up",
	  .choices = roundings,
	  .help = "sizes between the steps of 8 GiB: the next one, or code 225" },
	{ .name = "same_size",
	  .type = OPT_ENUM,
	  .offset = AT(same_size),
	  .dflt = "ok",
	  .choices = same_sizes,
	  .help = "setVolumeSize to the present size: nothing, or code 133" },
	{ .name = "capacity",
	  .type = OPT_SIZE,
	  .offset = AT(capacity),
	  .min = 8ULL << 30,
	  .max = 1ULL << 54,
	  .dflt = "64t",
	  .help = "net capacity of each pool" },
	{ .name = "overcommit",
	  .type = OPT_UINT,
	  .offset = AT(overcommit),
	  .min = 1,
	  .max = 100,
	  .dflt = "5",
	  .help = "how many times its capacity a pool promises to thin volumes" },
	{ .name = "volumes_max",
	  .type = OPT_UINT,
	  .offset = AT(volumes_max),
	  .max = SIO_VOLUMES_MAX,
	  .dflt = "131072",
	  .help = "volumes beside snapshots; above, code 96" },
	{ .name = "sdcs",
	  .type = OPT_UINT,
	  .offset = AT(sdcs),
	  .max = SIO_HOSTS_MAX,
	  .dflt = "2",
	  .help = "hosts that are there at the first start" },
	{ .name = "restricted",
	  .type = OPT_BOOL,
	  .offset = AT(restricted),
	  .dflt = "no",
	  .help = "hosts have to be approved before they map" },
	{ .name = "device_delay_ms",
	  .type = OPT_UINT,
	  .unit = "ms",
	  .offset = AT(device_delay_ms),
	  .max = 3600000,
	  .dflt = "0",
	  .help = "from a mapping to the link that stands for its device" },
	{ .name = "remove_delay_ms",
	  .type = OPT_UINT,
	  .unit = "ms",
	  .offset = AT(remove_delay_ms),
	  .max = 3600000,
	  .dflt = "0",
	  .help = "how long a removal is in progress (code 212)" },
	{ .name = "expires_in",
	  .type = OPT_UINT,
	  .unit = "s",
	  .offset = AT(expires_in),
	  .min = 1,
	  .max = 86400,
	  .dflt = "300",
	  .help = "life of a bearer token (4.0 and later)" },
	{ .name = "token",
	  .type = OPT_ENUM,
	  .offset = AT(token),
	  .dflt = "quoted",
	  .choices = tokens,
	  .help = "how /api/login writes it: with quotes, without, with a newline" },
	{ .name = "expired",
	  .type = OPT_ENUM,
	  .offset = AT(expired),
	  .dflt = "401",
	  .choices = expired,
	  .help = "status of a call whose login has ended" },
	{ .name = "role",
	  .type = OPT_ENUM,
	  .offset = AT(role),
	  .dflt = "admin",
	  .choices = roles,
	  .help = "of the user; a monitor gets 403 for changes" },
	{ .name = "system_id",
	  .type = OPT_STRING,
	  .offset = AT(system_id),
	  .dflt = "5e8d0c3a7b91f20f",
	  .help = "16 hexadecimal digits" },
	{ .name = "system_name",
	  .type = OPT_STRING,
	  .offset = AT(system_name),
	  .help = "name of the system; without one it is null" },
	{ .name = NULL },
};

/* --- start and stop -------------------------------------------------------- */

static int read_options(struct scaleio *s, struct err *err)
{
	const char *text = s->opt->version ? s->opt->version : "";
	unsigned major, minor;
	char more;

	if (sscanf(text, "%2u.%2u%c", &major, &minor, &more) != 2 || major < 1 || major > 5)
		return err_set(err, -EINVAL, "version '%.40s' is none such as 2.6, 3.6, 4.5, 5.0",
			       text);
	s->version = major * 100 + minor;
	if (!s->opt->system_id || !sio_id(s->opt->system_id, &s->system))
		return err_set(err, -EINVAL, "system_id '%.40s' is not 16 hexadecimal digits",
			       s->opt->system_id ? s->opt->system_id : "");
	return 0;
}

/* Every second one has no name, as hosts that nobody has named. */
static void make_sdcs(struct scaleio *s)
{
	for (unsigned i = 1; i <= s->opt->sdcs; i++) {
		struct sio_sdc *h = sio_add_sdc(s);

		if (!h)
			return;
		snprintf(h->guid, sizeof h->guid, "2B7E1C90-4D55-4E0B-9A61-%012X", i);
		snprintf(h->ip, sizeof h->ip, "10.20.%u.%u", i / 250, i % 250 + 1);
		if (i % 2)
			snprintf(h->name, sizeof h->name, "diego-cell-%u", i);
	}
}

static void free_array(struct scaleio *s)
{
	if (s->threaded) {
		mutex_lock(&s->lock);
		s->stopping = true;
		cond_signal(&s->wake);
		mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	for (size_t i = 0; i < s->nvolumes; i++)
		sio_free_volume(s->volumes[i]);
	free(s->volumes);
	cond_done(&s->wake);
	mutex_done(&s->lock);
	free(s);
}

static int open_array(struct sim *sim, void *opt, const json_t *state, void **out, struct err *err)
{
	struct scaleio *s = calloc(1, sizeof *s);
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->sim = sim;
	s->opt = opt;
	s->next = FIRST_ID;
	mutex_init(&s->lock, LOCK_sim_array);
	cond_init(&s->wake);
	rc = read_options(s, err);
	if (!rc && state)
		rc = sio_load(s, state, err);
	else if (!rc)
		make_sdcs(s);
	if (!rc)
		rc = sio_image_open(s, err);
	if (!rc && s->opt->device_delay_ms) {
		s->threaded = !pthread_create(&s->thread, NULL, sio_link_main, s);
		rc = s->threaded ? 0 : err_set(err, -EAGAIN, "cannot start a thread");
	}
	if (rc) {
		free_array(s);
		return rc;
	}
	*out = s;
	return 0;
}

static void close_array(void *arg)
{
	free_array(arg);
}

static json_t *save(void *arg)
{
	struct scaleio *s = arg;
	json_t *o;

	mutex_lock(&s->lock);
	o = sio_saved(s);
	mutex_unlock(&s->lock);
	return o;
}

static void drop_tokens(void *arg)
{
	struct scaleio *s = arg;

	mutex_lock(&s->lock);
	s->nsessions = 0;
	mutex_unlock(&s->lock);
}

/* --- a request ------------------------------------------------------------- */

static bool read_body(struct sio_call *c)
{
	const char *type = httpd_header(c->rq, "Content-Type"), *text;
	size_t len;

	if (strcmp(httpd_method(c->rq), "POST") != 0)
		return true;
	text = httpd_body(c->rq, &len);
	if (!text) {
		sio_bad(c, 413, 0, "Request Entity Too Large");
		return false;
	}
	if (type && strncasecmp(type, "application/json", 16) != 0) {
		sio_bad(c, 415, 0, "Unsupported Media Type");
		return false;
	}
	c->body = len ? json_loadb(text, len, 0, NULL) : json_object();
	if (json_is_object(c->body))
		return true;
	sio_bad(c, 400, 0, "The request body is not a valid JSON object");
	return false;
}

static void answer(void *arg, struct httpd_request *rq, bool half)
{
	struct scaleio *s = arg;
	struct sio_call c = { .s = s, .rq = rq, .half = half };
	json_t *o = NULL;

	if (read_body(&c)) {
		mutex_lock(&s->lock);
		sio_reap(s);
		o = sio_dispatch(&c);
		sio_reap(s);
		mutex_unlock(&s->lock);
	}
	json_decref(c.body);
	if (o)
		sim_reply(rq, 200, o);
	else if (!c.answered)
		sio_answer_refusal(&c);
}

const struct sim_kind sim_scaleio = { .name = "scaleio",
				      .options = options,
				      .options_size = sizeof(struct scaleio_options),
				      .open = open_array,
				      .close = close_array,
				      .answer = answer,
				      .save = save,
				      .drop_tokens = drop_tokens };
