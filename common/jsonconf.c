/* SPDX-License-Identifier: Apache-2.0 */
#include "common/jsonconf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int jsonconf_bad(struct err *err, const char *file, const char *key, const char *why)
{
	return err_set(err, -EINVAL, "%.200s%skey \"%.120s\": %.180s", file ? file : "",
		       file ? ": " : "", key, why);
}

/* As deep as the parser lets files be. */
static void drop_comments(json_t *value)
{
	const char *key;
	json_t *inner;
	void *next;

	for (size_t i = 0; i < json_array_size(value); i++)
		drop_comments(json_array_get(value, i));
	json_object_foreach_safe(value, next, key, inner)
	{
		if (!strncmp(key, JSONCONF_COMMENT, strlen(JSONCONF_COMMENT)))
			json_object_del(value, key);
		else
			drop_comments(inner);
	}
}

int jsonconf_read(const char *file, json_t **out, struct err *err)
{
	json_error_t e;
	json_t *all = json_load_file(file, JSON_REJECT_DUPLICATES, &e);

	if (!all && e.line < 0)
		return err_set(err, -EINVAL, "%.200s: %.200s", file, e.text);
	if (!all)
		return err_set(err, -EINVAL, "%.200s: line %d, column %d: %.180s", file, e.line,
			       e.column, e.text);
	if (!json_is_object(all)) {
		json_decref(all);
		return err_set(err, -EINVAL, "%.200s: line 1: want an object", file);
	}
	drop_comments(all);
	*out = all;
	return 0;
}

int jsonconf_scalar(const struct opt_def *table, void *base, const char *name, const json_t *value,
		    const char *file, const char *path, struct err *err)
{
	char number[32];
	const char *text = number;
	struct err why;

	if (!opt_find(table, name))
		return jsonconf_bad(err, file, path, "is not known");
	if (json_is_string(value))
		text = json_string_value(value);
	else if (json_is_integer(value))
		snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		snprintf(number, sizeof number, "%.3f", json_real_value(value));
	else if (json_is_boolean(value))
		text = json_is_true(value) ? "yes" : "no";
	else
		return jsonconf_bad(err, file, path, "want a string, number or boolean");
	if (opt_set(table, base, name, text, &why))
		return jsonconf_bad(err, file, path, why.text);
	return 0;
}

int jsonconf_inner(const struct opt_def *table, void *base, const char *outer, json_t *object,
		   const char *file, struct err *err)
{
	const char *inner;
	json_t *value;
	char key[JSONCONF_PATH_MAX];
	int rc = 0;

	if (!json_is_object(object))
		return jsonconf_bad(err, file, outer, "want an object");
	json_object_foreach(object, inner, value) {
		snprintf(key, sizeof key, "%s.%s", outer, inner);
		rc = jsonconf_scalar(table, base, key, value, file, key, err);
		if (rc)
			break;
	}
	return rc;
}
