/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

void audit_init(struct audit *a)
{
	mutex_init(&a->lock, LOCK_broker_audit);
	a->fd = -1;
}

int audit_open(struct audit *a, const char *path, struct err *err)
{
	int fd = -1, old;

	if (path)
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (path && fd < 0)
		return err_set(err, -errno, "audit_log '%.200s': %s", path, strerror(errno));
	mutex_lock(&a->lock);
	old = a->fd;
	a->fd = fd;
	mutex_unlock(&a->lock);
	if (old >= 0)
		close(old);
	return 0;
}

void audit_done(struct audit *a)
{
	if (a->fd >= 0)
		close(a->fd);
	mutex_done(&a->lock);
}

json_t *audit_who(const char *identity)
{
	const char *space = identity ? strchr(identity, ' ') : NULL;
	AUTO_FREE char *bin = NULL;
	json_t *platform, *object;
	size_t len;

	if (!space || strlen(identity) > AUDIT_IDENTITY_MAX)
		return json_null();
	bin = malloc(AUDIT_IDENTITY_MAX);
	if (!bin ||
	    sodium_base642bin((unsigned char *)bin, AUDIT_IDENTITY_MAX, space + 1,
			      strlen(space + 1), " ", &len, NULL, sodium_base64_VARIANT_ORIGINAL))
		return json_null();
	object = json_loadb(bin, len, 0, NULL);
	platform = json_stringn(identity, (size_t)(space - identity));
	if (!json_is_object(object) || !platform) {
		json_decref(object);
		json_decref(platform);
		return json_null();
	}
	return json_pack("{s:o, s:o}", "platform", platform, "identity", object);
}

static void put(json_t *j, const char *key, const char *text)
{
	if (text)
		json_object_set_new(j, key, json_string(text));
}

static char *line_of(const struct audit_line *l)
{
	json_t *j = json_object();
	time_t now = time(NULL);
	struct tm tm;
	char stamp[32], *text;

	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	put(j, "time", stamp);
	json_object_set_new(j, "who", audit_who(l->identity));
	put(j, "user", l->user);
	put(j, "request", l->request);
	put(j, "what", l->what);
	put(j, "instance", l->instance);
	put(j, "binding", l->binding);
	put(j, "service", l->service);
	put(j, "plan", l->plan);
	if (l->status)
		json_object_set_new(j, "status", json_integer(l->status));
	put(j, "outcome", l->outcome);
	text = json_dumps(j, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(j);
	return text;
}

void audit_write(struct audit *a, const struct audit_line *l)
{
	AUTO_FREE char *text = NULL, *line = NULL;
	int n;

	mutex_lock(&a->lock);
	if (a->fd >= 0) {
		text = line_of(l);
		n = text ? asprintf(&line, "%s\n", text) : -1;
		if (n < 0 || write(a->fd, line, (size_t)n) != n)
			log_error("broker: a line of the audit log is lost: %s %s", l->what,
				  l->instance ? l->instance : "");
	}
	mutex_unlock(&a->lock);
}
