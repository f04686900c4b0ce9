/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

#define DRAFT "http://json-schema.org/draft-04/schema#"
#define SIZE_MIN (1 << 20) /* a plain number is bytes: "10" is surely meant otherwise */
#define OPTION_PREFIX "persifs."
#define LIST_MAX 300 /* bytes of names in a sentence */

/* What each option of a bind may be, as JSON schema. */
static const struct {
	const char *name, *schema;
} options[] = {
	{ "uid", "{\"type\":[\"integer\",\"string\"],\"minimum\":1,\"maximum\":4294967294,"
		 "\"minLength\":1,\"maxLength\":10,"
		 "\"description\":\"whose the files are on the server; wants gid\"}" },
	{ "gid", "{\"type\":[\"integer\",\"string\"],\"minimum\":1,\"maximum\":4294967294,"
		 "\"minLength\":1,\"maxLength\":10,\"description\":\"group of the files\"}" },
	{ "username", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":256,"
		      "\"description\":\"LDAP user, instead of uid and gid\"}" },
	{ "password", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":1024,"
		      "\"description\":\"of the LDAP user\"}" },
	{ "mount", "{\"type\":\"string\",\"minLength\":2,\"maxLength\":1024,"
		   "\"description\":\"absolute path in the container\"}" },
	{ "readonly", "{\"enum\":[true,\"true\"],\"description\":\"mounted read-only\"}" },
	{ "version", "{\"enum\":[\"3\",\"3.0\",\"4\",\"4.0\",\"4.1\",\"4.2\",3,4,4.1,4.2],"
		     "\"description\":\"NFS protocol\"}" },
	{ "cache", "{\"enum\":[true,false,\"true\",\"false\"],"
		   "\"description\":\"keep attributes and names\"}" },
};

static const char tuning[] =
	"{\"type\":[\"string\",\"integer\",\"number\",\"boolean\"],\"maxLength\":64,"
	"\"description\":\"option of the mount\"}";

/* --- making ---------------------------------------------------------------- */

static const char *option_schema(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (!strcmp(options[i].name, name))
			return options[i].schema;
	return strncmp(name, OPTION_PREFIX, strlen(OPTION_PREFIX)) ? NULL : tuning;
}

bool schema_knows_option(const char *name)
{
	return option_schema(name) != NULL;
}

static void add_options(const struct bplan *plan, json_t *properties)
{
	for (size_t i = 0; i < json_array_size(plan->bind_options); i++) {
		const char *name = json_string_value(json_array_get(plan->bind_options, i));
		const char *text = option_schema(name);

		if (text)
			json_object_set_new(properties, name, json_loads(text, 0, NULL));
	}
}

static void add_size(const struct bplan *plan, json_t *properties)
{
	if (!plan->max_size)
		return;
	json_object_set_new(
		properties, "size",
		json_pack("{s:[ss], s:i, s:I, s:i, s:i, s:s}", "type", "string", "integer",
			  "minimum", SIZE_MIN, "maximum", (json_int_t)plan->max_size, "minLength",
			  1, "maxLength", 24, "description",
			  "of the volume: bytes, or a number with k, m, g or t, as \"10g\""));
}

/* A share that is there: by parameter, or, where the plan names it, a folder below. */
static void add_share(const struct bplan *plan, json_t *properties, json_t *required)
{
	bool fixed = json_object_get(plan->object, "share") != NULL;
	bool free = json_is_true(json_object_get(plan->object, "allow_share"));

	if (!fixed || free)
		json_object_set_new(properties, "share",
				    json_pack("{s:s, s:i, s:i, s:s}", "type", "string", "minLength",
					      3, "maxLength", 1000, "description",
					      "server/path of the share, without a colon"));
	if (!fixed)
		json_array_append_new(required, json_string("share"));
	if (fixed)
		json_object_set_new(properties, "subdirectory",
				    json_pack("{s:s, s:i, s:i, s:s}", "type", "string", "minLength",
					      1, "maxLength", 512, "description",
					      "folder below the share of the plan"));
}

json_t *schema_make(const struct bplan *plan, enum schema_of of)
{
	json_t *properties = json_object(), *required = json_array(), *schema;

	if (of == SCHEMA_CREATE && plan->p->ops->kind == PROVIDER_EXISTING)
		add_share(plan, properties, required);
	if (of != SCHEMA_BIND && plan->p->ops->kind != PROVIDER_EXISTING)
		add_size(plan, properties);
	add_options(plan, properties);
	schema = json_pack("{s:s, s:s, s:o, s:b}", "$schema", DRAFT, "type", "object", "properties",
			   properties, "additionalProperties", 0);
	if (schema && json_array_size(required))
		json_object_set(schema, "required", required);
	json_decref(required);
	return schema;
}

/* --- checking -------------------------------------------------------------- */

static bool is_of(const char *type, const json_t *v)
{
	if (!strcmp(type, "string"))
		return json_is_string(v);
	if (!strcmp(type, "integer"))
		return json_is_integer(v);
	if (!strcmp(type, "number"))
		return json_is_number(v);
	if (!strcmp(type, "boolean"))
		return json_is_boolean(v);
	if (!strcmp(type, "object"))
		return json_is_object(v);
	return !strcmp(type, "array") && json_is_array(v);
}

/* "string or integer" */
static void type_names(const json_t *types, char *buf, size_t cap)
{
	size_t used = 0;

	if (json_is_string(types))
		snprintf(buf, cap, "%s", json_string_value(types));
	for (size_t i = 0; i < json_array_size(types) && used < cap; i++)
		used += (size_t)snprintf(buf + used, cap - used, "%s%s", i ? " or " : "",
					 json_string_value(json_array_get(types, i)));
}

static int check_type(const json_t *types, const json_t *v, const char *name, struct err *err)
{
	bool fits = json_is_string(types) && is_of(json_string_value(types), v);
	char buf[64] = "";

	for (size_t i = 0; i < json_array_size(types); i++)
		fits |= is_of(json_string_value(json_array_get(types, i)), v);
	if (fits || !types)
		return 0;
	type_names(types, buf, sizeof buf);
	return err_set(err, -EINVAL, "parameter %s: want %s", name, buf);
}

static int check_enum(const json_t *choices, const json_t *v, const char *name, struct err *err)
{
	char list[LIST_MAX] = "";
	size_t used = 0;

	if (!choices)
		return 0;
	for (size_t i = 0; i < json_array_size(choices); i++) {
		const json_t *c = json_array_get(choices, i);
		AUTO_FREE char *text = json_dumps(c, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));

		if (json_equal(c, v))
			return 0;
		if (text && used < sizeof list)
			used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
						 i ? ", " : "", text);
	}
	return err_set(err, -EINVAL, "parameter %s: want %s%s", name,
		       json_array_size(choices) > 1 ? "one of " : "", list);
}

static int check_range(const json_t *schema, const json_t *v, const char *name, struct err *err)
{
	const json_t *min = json_object_get(schema, "minimum");
	const json_t *max = json_object_get(schema, "maximum");
	const json_t *shortest = json_object_get(schema, "minLength");
	const json_t *longest = json_object_get(schema, "maxLength");
	json_int_t len = (json_int_t)json_string_length(v);

	if (json_is_number(v) && min && json_number_value(v) < json_number_value(min))
		return err_set(err, -EINVAL, "parameter %s: want %" JSON_INTEGER_FORMAT " or more",
			       name, json_integer_value(min));
	if (json_is_number(v) && max && json_number_value(v) > json_number_value(max))
		return err_set(err, -EINVAL, "parameter %s: want %" JSON_INTEGER_FORMAT " or less",
			       name, json_integer_value(max));
	if (json_is_string(v) && shortest && len < json_integer_value(shortest))
		return err_set(err, -EINVAL,
			       "parameter %s: want %" JSON_INTEGER_FORMAT " characters or more",
			       name, json_integer_value(shortest));
	if (json_is_string(v) && longest && len > json_integer_value(longest))
		return err_set(err, -EINVAL,
			       "parameter %s: want %" JSON_INTEGER_FORMAT " characters or fewer",
			       name, json_integer_value(longest));
	return 0;
}

static int check_value(const json_t *schema, const json_t *v, const char *name, struct err *err)
{
	int rc = check_type(json_object_get(schema, "type"), v, name, err);

	if (!rc)
		rc = check_enum(json_object_get(schema, "enum"), v, name, err);
	return rc ? rc : check_range(schema, v, name, err);
}

static int refuse_unknown(json_t *properties, const char *name, struct err *err)
{
	char list[LIST_MAX] = "";
	size_t used = 0;
	const char *key;
	json_t *unused;

	json_object_foreach(properties, key, unused) {
		(void)unused;
		if (used < sizeof list)
			used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
						 used ? ", " : "", key);
	}
	return err_set(err, -EINVAL, "parameter %.64s is not allowed; this plan takes %s", name,
		       *list ? list : "none");
}

static int check_required(const json_t *required, const json_t *value, struct err *err)
{
	for (size_t i = 0; i < json_array_size(required); i++) {
		const char *name = json_string_value(json_array_get(required, i));

		if (!json_object_get(value, name))
			return err_set(err, -EINVAL, "parameter %s is required", name);
	}
	return 0;
}

int schema_check(const json_t *schema, const json_t *value, struct err *err)
{
	json_t *properties = json_object_get(schema, "properties"), *v;
	const char *name;
	int rc = 0;

	if (value && !json_is_object(value))
		return err_set(err, -EINVAL, "parameters: want an object");
	json_object_foreach((json_t *)value, name, v) {
		const json_t *of = json_object_get(properties, name);

		if (of)
			rc = check_value(of, v, name, err);
		else if (json_is_false(json_object_get(schema, "additionalProperties")))
			rc = refuse_unknown(properties, name, err);
		if (rc)
			return rc;
	}
	return check_required(json_object_get(schema, "required"), value, err);
}
