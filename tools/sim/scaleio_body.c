/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_body.c - what a request says, and how it is refused. Numbers and booleans are text in
 * requests; the gateway does not take a JSON number for one. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "tools/sim/scaleio_impl.h"

static const struct {
	unsigned code;
	const char *text;
} sentences[] = {
	{ 3, "Not found" },
	{ 7, "Already exists" },
	{ 62, "Wrong command parameters" },
	{ 64, "Parameter out of range" },
	{ 67, "Insufficient resources" },
	{ 68, "A timeout occurred" },
	{ 78, "Could not find the volume" },
	{ 79, "Could not find the volume" },
	{ 80, "Could not find the SDC" },
	{ 81, "The volume is already mapped to this SDC" },
	{ 82, "The volume is already mapped to all SDCs" },
	{ 84, "The volume is not mapped to SDC" },
	{ 86, "The volume is mapped to all SDCs" },
	{ 90, "Invalid SDC ID" },
	{ 91, "Could not find the host" },
	{ 96, "The maximum number of volumes has been reached" },
	{ 99, "Volume name already in use. Please use a different name." },
	{ 101, "More than one SDC exists for the same IP address" },
	{ 104, "Volume is mapped" },
	{ 133, "Volume capacity can only be increased" },
	{ 142, "Could not find Protection Domain" },
	{ 171, "Could not find Storage Pool" },
	{ 182, "There are too many snapshots in the VTree" },
	{ 183, "There are no volumes to delete" },
	{ 185, "There are no volumes under the group" },
	{ 188, "There is no default Storage Pool" },
	{ 190, "The volume size too large" },
	{ 197, "Storage Pool is not in the specified Protection Domain" },
	{ 198, "The volumes must be from the same V-Tree" },
	{ 212, "A volume removal operation is currently in progress" },
	{ 225, "The volume size is illegal. Volumes are allocated in 8 GB blocks" },
	{ 226, "The name exceeds the allowed length of 31 characters" },
	{ 227, "The name contains invalid characters" },
	{ 252, "The maximum number of sessions is already open" },
	{ 294, "There are too many mappings to this SDC" },
	{ 297, "This volume may not be mapped to additional SDCs" },
	{ 300, "Requested volume size exceeds the volume allocation limit" },
	{ 306, "Only a single SDC may be mapped to this volume at a time" },
	{ 322, "The SDC is not approved" },
	{ 330, "A volume cannot be overwritten by itself" },
	{ 4000, "Could not find the SDT" },
	{ 4037, "The volume is already mapped to this host" },
	{ 4039, "The volume is not mapped to this host" },
};

json_t *sio_fail(struct sio_call *c, unsigned code)
{
	c->status = 500;
	c->code = code;
	strcpy(c->message, "Unknown error");
	for (size_t i = 0; i < ARRAY_LEN(sentences); i++)
		if (sentences[i].code == code)
			snprintf(c->message, sizeof c->message, "%s", sentences[i].text);
	return NULL;
}

json_t *sio_bad(struct sio_call *c, unsigned status, unsigned code, const char *fmt, ...)
{
	va_list ap;

	c->status = status;
	c->code = code;
	va_start(ap, fmt);
	vsnprintf(c->message, sizeof c->message, fmt, ap);
	va_end(ap);
	return NULL;
}

json_t *sio_no_route(struct sio_call *c)
{
	c->status = 404;
	c->html = c->s->version >= 400 ? "no route handled" :
					 "The requested resource is not available";
	return NULL;
}

static void answer_page(const struct sio_call *c)
{
	char *text = NULL;

	if (asprintf(&text,
		     "<html><head><title>HTTP Status %u</title></head>"
		     "<body><h1>HTTP Status %u - %s</h1></body></html>",
		     c->status, c->status, c->html) < 0)
		text = NULL;
	httpd_reply_take(c->rq, c->status, text, "text/html;charset=utf-8");
}

void sio_answer_refusal(const struct sio_call *c)
{
	json_t *o;

	if (c->html) {
		answer_page(c);
	} else if (c->empty) {
		httpd_reply_take(c->rq, c->status, strdup(""), NULL);
	} else if (c->details) {
		o = json_pack("{s:s, s:i, s:i, s:[{s:s, s:i, s:s}]}", "message",
			      "Error with details", "httpStatusCode", (int)c->status, "errorCode",
			      0, "details", "error", c->details, "rc", (int)c->code, "errorMessage",
			      c->message);
		sim_reply(c->rq, c->status, o);
	} else {
		o = json_pack("{s:s, s:i, s:i}", "message", c->message, "httpStatusCode",
			      (int)c->status, "errorCode", (int)c->code);
		sim_reply(c->rq, c->status ? c->status : 500, o);
	}
}

bool sio_text(struct sio_call *c, const json_t *o, const char *key, bool required, const char **out)
{
	const json_t *v = json_object_get(o, key);

	*out = json_string_value(v);
	if (!v || json_is_null(v)) {
		if (required)
			sio_bad(c, 400, 0,
				"Request message is not valid: The following parameter(s) must be "
				"part of the request body: %s.",
				key);
		return !required;
	}
	if (!*out)
		sio_bad(c, 400, 62, "Wrong command parameters");
	return *out;
}

bool sio_number(struct sio_call *c, const char *key, bool required, uint64_t *out, bool *there)
{
	const char *text;
	char *end;

	*there = false;
	if (!sio_text(c, c->body, key, required, &text))
		return false;
	if (!text)
		return true;
	errno = 0;
	*out = strtoull(text, &end, 10);
	*there = true;
	if (errno || *end || end == text || *text < '0' || *text > '9') {
		sio_bad(c, 400, 64, "Parameter out of range");
		return false;
	}
	return true;
}

bool sio_flag(struct sio_call *c, const char *key, bool dflt, bool *out)
{
	const char *text;

	*out = dflt;
	if (!sio_text(c, c->body, key, false, &text))
		return false;
	if (!text)
		return true;
	*out = !strcasecmp(text, "TRUE");
	if (!*out && strcasecmp(text, "FALSE") != 0) {
		sio_bad(c, 400, 64, "Parameter out of range");
		return false;
	}
	return true;
}

bool sio_choice(struct sio_call *c, const json_t *o, const char *key, const char *const *names,
		unsigned dflt, unsigned *out)
{
	const char *text;

	*out = dflt;
	if (!sio_text(c, o, key, false, &text))
		return false;
	for (unsigned i = 0; text && names[i]; i++) {
		if (!strcmp(names[i], text)) {
			*out = i;
			return true;
		}
	}
	if (text)
		sio_bad(c, 400, 64, "Parameter out of range");
	return !text;
}

bool sio_id(const char *text, uint64_t *out)
{
	if (strlen(text) != 16 || strspn(text, "0123456789abcdefABCDEF") != 16)
		return false;
	*out = strtoull(text, NULL, 16);
	return true;
}

bool sio_id_key(struct sio_call *c, const json_t *o, const char *key, uint64_t *out)
{
	const char *text;

	if (!sio_text(c, o, key, true, &text))
		return false;
	if (sio_id(text, out))
		return true;
	sio_bad(c, 400, 0, "%s must be a hexadecimal number (unsigned long)", key);
	return false;
}

json_t *sio_id_text(uint64_t id)
{
	char text[17];

	snprintf(text, sizeof text, "%016" PRIx64, id);
	return json_string(text);
}

json_t *sio_text_or_null(const char *text)
{
	return *text ? json_string(text) : json_null();
}
