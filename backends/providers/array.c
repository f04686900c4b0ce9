/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/providers/array_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/jsonconf.h"
#include "common/log.h"

#define HOUR_MS 3600000
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789-"

#define AT(member) offsetof(struct array_config, member)

static const struct opt_def table[] = {
	{ "url", OPT_STRING, NULL, AT(url), 0, 0, NULL, NULL, "where the array answers", false },
	{ "user", OPT_STRING, NULL, AT(user), 0, 0, NULL, NULL, "who logs in", false },
	{ "password", OPT_STRING, NULL, AT(password), 0, 0, NULL, NULL, "its password", false },
	{ "password_file", OPT_STRING, NULL, AT(password_file), 0, 0, NULL, NULL,
	  "file with the password", false },
	{ "ca_file", OPT_STRING, NULL, AT(ca_file), 0, 0, NULL, NULL,
	  "certificates (PEM) that the array's is checked with", false },
	{ "insecure", OPT_BOOL, NULL, AT(insecure), 0, 0, "no", NULL, "accept any certificate",
	  false },
	{ "connect_timeout", OPT_TIME, "seconds", AT(connect_ms), 100, HOUR_MS, "10", NULL,
	  "limit for a connection", false },
	{ "timeout", OPT_TIME, "seconds", AT(total_ms), 100, HOUR_MS, "60", NULL,
	  "limit for an answer", false },
	{ "parallel", OPT_UINT, NULL, AT(parallel), 1, REST_PARALLEL_MAX, "8", NULL,
	  "calls at a time", false },
	{ "name_prefix", OPT_STRING, NULL, AT(name_prefix), 0, 0, "cf-", NULL,
	  "what names of volumes begin with", false },
	{ 0 },
};

void array_config_done(struct array_config *c)
{
	for (size_t i = 0; i < c->nurls; i++)
		free(c->urls[i]);
	if (c->password)
		explicit_bzero(c->password, strlen(c->password));
	opt_done(table, c);
	memset(c, 0, sizeof *c);
}

static bool listed(const char *const *names, const char *key)
{
	for (size_t i = 0; names && names[i]; i++)
		if (!strcmp(names[i], key))
			return true;
	return false;
}

static int read_urls(const char *who, const json_t *list, struct array_config *c, struct err *err)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list) || !n || n > REST_URLS_MAX)
		return jsonconf_bad(err, who, "urls", "want a list of 1 to 8 strings");
	for (size_t i = 0; i < n; i++) {
		const char *url = json_string_value(json_array_get(list, i));

		if (!url)
			return jsonconf_bad(err, who, "urls", "want a list of strings");
		c->urls[c->nurls] = strdup(url);
		if (!c->urls[c->nurls])
			return err_set(err, -ENOMEM, "out of memory");
		c->nurls++;
	}
	return 0;
}

/* The sentence of an option table shows the value: not that of a password. */
static int read_password_key(const char *who, const json_t *value, struct array_config *c,
			     struct err *err)
{
	const char *text = json_string_value(value);

	if (!text || !*text || strlen(text) >= ARRAY_PASSWORD_MAX)
		return jsonconf_bad(err, who, "password", "want a text of 1 to 1023 bytes");
	free(c->password);
	c->password = strdup(text);
	return c->password ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int read_key(const char *who, const char *key, const json_t *value,
		    const struct opt_def *own, void *base, struct array_config *c, struct err *err)
{
	if (!strcmp(key, "urls"))
		return read_urls(who, value, c, err);
	if (!strcmp(key, "password"))
		return read_password_key(who, value, c, err);
	if (!strcmp(key, "url") && json_is_string(value) && strchr(json_string_value(value), '@'))
		return jsonconf_bad(err, who, "url", "user and password have keys of their own");
	if (own && opt_find(own, key))
		return jsonconf_scalar(own, base, key, value, who, key, err);
	return jsonconf_scalar(table, c, key, value, who, key, err);
}

static int check_url(const char *who, struct array_config *c, struct err *err)
{
	if (c->url && c->nurls)
		return jsonconf_bad(err, who, "url", "not together with \"urls\"");
	if (c->url)
		c->urls[c->nurls++] = take_ptr(&c->url);
	if (!c->nurls)
		return jsonconf_bad(err, who, "url", "is missing");
	for (size_t i = 0; i < c->nurls; i++)
		if (!strncmp(c->urls[i], "http://", 7) && !strstr(c->urls[i], "//127.0.0.1"))
			log_warn("%s: url is not https: the password can be read on its way", who);
	return 0;
}

static int check(const char *who, struct array_config *c, struct err *err)
{
	size_t n = c->name_prefix ? strlen(c->name_prefix) : 0;

	if (!c->user)
		return jsonconf_bad(err, who, "user", "is missing");
	if (!c->password == !c->password_file)
		return jsonconf_bad(err, who, "password", "want either this or \"password_file\"");
	if (c->insecure && c->ca_file)
		return jsonconf_bad(err, who, "insecure", "not together with \"ca_file\"");
	if (c->ca_file && access(c->ca_file, R_OK))
		return jsonconf_bad(err, who, "ca_file", strerror(errno));
	if (!n || n >= ARRAY_PREFIX_MAX || strspn(c->name_prefix, NAME_CHARS) != n)
		return jsonconf_bad(err, who, "name_prefix",
				    "want 1 to 15 small letters, digits and \"-\"");
	return check_url(who, c, err);
}

int array_config_read(const char *name, const json_t *config, const struct opt_def *own, void *base,
		      const char *const *lists, struct array_config *out, struct err *err)
{
	struct array_config c = { 0 };
	char who[80], password[ARRAY_PASSWORD_MAX];
	const char *key;
	json_t *value;
	int rc = opt_defaults(table, &c);

	snprintf(who, sizeof who, "provider %.64s", name);
	if (rc)
		err_set(err, rc, "out of memory");
	json_object_foreach((json_t *)config, key, value) {
		if (rc)
			break;
		if (strcmp(key, "type") != 0 && !listed(lists, key))
			rc = read_key(who, key, value, own, base, &c, err);
	}
	rc = rc ? rc : check(who, &c, err);
	if (!rc && array_password(&c, password, err))
		rc = -EINVAL; /* a file that is missing is found at start */
	explicit_bzero(password, sizeof password);
	if (rc)
		array_config_done(&c);
	*out = c;
	return rc;
}

int array_password(const struct array_config *c, char buf[ARRAY_PASSWORD_MAX], struct err *err)
{
	ssize_t n;

	if (c->password) {
		snprintf(buf, ARRAY_PASSWORD_MAX, "%s", c->password);
		return 0;
	}
	{
		AUTO_FD int fd = open(c->password_file, O_RDONLY | O_CLOEXEC);

		n = fd < 0 ? -1 : read(fd, buf, ARRAY_PASSWORD_MAX - 1);
	}
	if (n < 0)
		return err_set(err, -EACCES, "password_file '%.200s': %s", c->password_file,
			       strerror(errno));
	buf[n] = '\0';
	buf[strcspn(buf, "\r\n")] = '\0';
	if (!*buf)
		return err_set(err, -EACCES, "password_file '%.200s': its first line is empty",
			       c->password_file);
	return 0;
}

int array_rest_new(const struct array_config *c, struct rest **out, struct err *err)
{
	const struct rest_config cfg = { .urls = (const char *const *)c->urls,
					 .nurls = c->nurls,
					 .ca_file = c->ca_file,
					 .insecure = c->insecure,
					 .connect_ms = c->connect_ms,
					 .total_ms = c->total_ms,
					 .parallel = (unsigned)c->parallel };

	return rest_new(&cfg, out, err);
}
