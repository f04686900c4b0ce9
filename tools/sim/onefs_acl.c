/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_acl.c - mode, owner and access list of a directory
 *
 * Mode and owner are those of the real folder. An access list, and an owner that this process may not
 * give, are kept by path and told only. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

/* --- modes and owners ------------------------------------------------------- */

bool onefs_read_mode(const char *text, mode_t dflt, mode_t *out)
{
	static const struct {
		const char *name;
		mode_t mode;
	} acls[] = { { "private_read", 0550 },
		     { "private", 0770 },
		     { "public_read", 0775 },
		     { "public_read_write", 0777 },
		     { "public", 0777 } };
	char *end;
	unsigned long v;

	*out = dflt;
	if (!text)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(acls); i++)
		if (!strcmp(acls[i].name, text)) {
			*out = acls[i].mode;
			return true;
		}
	v = strtoul(text, &end, 8);
	*out = (mode_t)v;
	return *text >= '0' && *text <= '7' && !*end && v <= 07777;
}

json_t *onefs_user(uid_t uid)
{
	char buf[4096], id[24], text[16];
	struct passwd pw, *found = NULL;

	snprintf(id, sizeof id, "UID:%u", uid);
	snprintf(text, sizeof text, "%u", uid);
	if (getpwuid_r(uid, &pw, buf, sizeof buf, &found))
		found = NULL;
	return json_pack("{s:s, s:s, s:s}", "id", id, "name", found ? pw.pw_name : text, "type",
			 "user");
}

json_t *onefs_group(gid_t gid)
{
	char buf[4096], id[24], text[16];
	struct group gr, *found = NULL;

	snprintf(id, sizeof id, "GID:%u", gid);
	snprintf(text, sizeof text, "%u", gid);
	if (getgrgid_r(gid, &gr, buf, sizeof buf, &found))
		found = NULL;
	return json_pack("{s:s, s:s, s:s}", "id", id, "name", found ? gr.gr_name : text, "type",
			 "group");
}

/* "UID:7", "USER:name" or a name alone: NULL with *id, which is -1 when it is none of them, or the name to look up. */
static const char *id_or_name(const json_t *who, const char *kinds, int64_t *id)
{
	const json_t *persona = json_object_get(who, "id");
	const char *text = json_string_value(persona);

	*id = -1;
	if (!text)
		return json_string_value(json_object_get(who, "name"));
	if (!onefs_persona(persona, kinds, id)) {
		*id = -1;
		return NULL;
	}
	return *id >= 0 ? NULL : strchr(text, ':') + 1;
}

static bool user_id(const json_t *who, int64_t *id)
{
	const char *name = id_or_name(who, " UID USER ", id);
	char buf[4096];
	struct passwd pw, *found = NULL;

	if (name && !getpwnam_r(name, &pw, buf, sizeof buf, &found) && found)
		*id = pw.pw_uid;
	return *id >= 0;
}

static bool group_id(const json_t *who, int64_t *id)
{
	const char *name = id_or_name(who, " GID GROUP ", id);
	char buf[4096];
	struct group gr, *found = NULL;

	if (name && !getgrnam_r(name, &gr, buf, sizeof buf, &found) && found)
		*id = gr.gr_gid;
	return *id >= 0;
}

/* --- access control --------------------------------------------------------- */

static json_t *acls(const struct onefs_call *c)
{
	return json_object_get(c->o->state, "acls");
}

void onefs_forget_acls(struct onefs_call *c, const char *path)
{
	const char *key;
	json_t *v;
	void *tmp;

	mutex_lock(&c->o->lock);
	json_object_foreach_safe(acls(c), tmp, key, v)
	{
		if (onefs_path_below(key, path)) {
			json_object_del(acls(c), key);
			c->changed = true;
		}
	}
	mutex_unlock(&c->o->lock);
}

void onefs_get_acl(struct onefs_call *c, const char *path)
{
	char mode[8];
	struct stat st;
	json_t *kept;
	int rc = onefs_stat(c->o, path, &st);

	if (rc) {
		onefs_fail_errno(c, rc, path);
		return;
	}
	snprintf(mode, sizeof mode, "%04o", st.st_mode & 07777);
	c->answer = json_pack("{s:s, s:s, s:o, s:o}", "authoritative", "mode", "mode", mode,
			      "owner", onefs_user(st.st_uid), "group", onefs_group(st.st_gid));
	mutex_lock(&c->o->lock);
	kept = json_deep_copy(json_object_get(acls(c), path));
	mutex_unlock(&c->o->lock);
	if (kept)
		json_object_update_new(c->answer, kept);
}

static void check_ace(struct onefs_call *c, const json_t *ace)
{
	const char *access = json_string_value(json_object_get(ace, "accesstype"));
	int64_t id;

	if (!onefs_persona(json_object_get(json_object_get(ace, "trustee"), "id"),
			   " UID GID USER GROUP SID ", &id))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "acl", "trustee is no persona like UID:2000");
	if (!access || !onefs_word(" allow deny ", access))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "acl", "accesstype must be allow or deny");
	if (!json_array_size(json_object_get(ace, "accessrights")))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "acl", "accessrights must be a list");
}

/* False: an error was added. */
static bool check_acl(struct onefs_call *c, bool *by_mode, mode_t *mode, int64_t ids[2])
{
	const char *how = json_string_value(json_object_get(c->body, "authoritative"));
	const json_t *owner = json_object_get(c->body, "owner"),
		     *group = json_object_get(c->body, "group");
	const json_t *list = json_object_get(c->body, "acl");
	const char *text = json_string_value(json_object_get(c->body, "mode"));

	*by_mode = how && !strcmp(how, "mode");
	if (!how || !onefs_word(" mode acl ", how)) {
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "authoritative",
			   "authoritative must be mode or acl");
		return false;
	}
	if (*by_mode && (list || !onefs_read_mode(text, 0, mode)))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "mode", "mode must be octal, without acl");
	if (!*by_mode && !json_is_array(list))
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "acl", "acl must be a list");
	for (size_t i = 0; !*by_mode && i < json_array_size(list); i++)
		check_ace(c, json_array_get(list, i));
	if (owner && !user_id(owner, &ids[0]))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "owner", "owner is unknown");
	if (group && !group_id(group, &ids[1]))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "group", "group is unknown");
	return !c->errors;
}

/* Without root's rights the real owner stays, and the wanted one is what is told. */
static void keep_acl(struct onefs_call *c, const char *path, bool by_mode, const int64_t ids[2])
{
	json_t *kept, *list = json_object_get(c->body, "acl");

	mutex_lock(&c->o->lock);
	kept = json_deep_copy(json_object_get(acls(c), path));
	kept = kept ? kept : json_object();
	json_object_del(kept, "acl");
	json_object_del(kept, "authoritative");
	if (!by_mode) {
		json_object_set_new(kept, "authoritative", json_string("acl"));
		json_object_set_new(kept, "acl", json_deep_copy(list));
	}
	if (geteuid() && ids[0] >= 0)
		json_object_set_new(kept, "owner", onefs_user((uid_t)ids[0]));
	if (geteuid() && ids[1] >= 0)
		json_object_set_new(kept, "group", onefs_group((gid_t)ids[1]));
	if (json_object_size(kept))
		json_object_set(acls(c), path, kept);
	else
		json_object_del(acls(c), path);
	json_decref(kept);
	c->changed = true;
	mutex_unlock(&c->o->lock);
}

void onefs_put_acl(struct onefs_call *c, const char *path)
{
	int64_t ids[2] = { -1, -1 };
	mode_t mode = 0;
	struct stat st;
	bool by_mode;
	int rc = onefs_stat(c->o, path, &st);

	if (rc)
		onefs_fail_errno(c, rc, path);
	else if (!c->body)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "The body is not a JSON object");
	if (c->errors || !check_acl(c, &by_mode, &mode, ids))
		return;
	/* The owner first: a change of owner takes away set-id bits. */
	if (!geteuid() && (ids[0] >= 0 || ids[1] >= 0))
		rc = onefs_chown(c->o, path, ids[0], ids[1]);
	if (!rc && by_mode && json_object_get(c->body, "mode"))
		rc = onefs_chmod(c->o, path, mode);
	if (rc)
		onefs_fail_errno(c, rc, path);
	else
		keep_acl(c, path, by_mode, ids);
}
