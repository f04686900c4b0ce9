/* SPDX-License-Identifier: Apache-2.0 */
/* control_answer.c - what a control command is answered: stat, tune, ping. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/stats.h"
#include "fusefs/control.h"
#include "fusefs/session.h"

#ifdef PERSIFS_SANDBOX_TEST
/* tests/sandbox/try.c: what somebody would try who has taken this process over. */
json_t *sandbox_try(pid_t other);
#endif

static json_t *counters(void)
{
	json_t *all = json_object();

	for (int i = 0; i < STAT_COUNT; i++)
		json_object_set_new(all, stat_info[i].name,
				    json_integer((json_int_t)stats_get((enum stat_id)i)));
	return all;
}

static json_t *counter_help(void)
{
	json_t *all = json_object();

	for (int i = 0; i < STAT_COUNT; i++)
		json_object_set_new(all, stat_info[i].name,
				    json_pack("{s:s,s:s}", "unit", stat_info[i].unit, "help",
					      stat_info[i].help));
	return all;
}

static json_t *option_values(struct volume *v)
{
	json_t *all = json_object();
	char text[OPT_VALUE_MAX];

	mutex_lock(&v->opt_lock);
	for (const struct opt_def *d = mount_option_table; d->name; d++)
		if (!opt_format(d, &v->opt, text, sizeof text))
			json_object_set_new(all, d->name, json_string(text));
	mutex_unlock(&v->opt_lock);
	return all;
}

static json_t *sessions(struct volume *v)
{
	json_t *all = json_array();
	char device[32];

	mutex_lock(&v->sessions_lock);
	for (unsigned i = 0; i < SESSIONS_MAX; i++) {
		const struct session *s = v->sessions[i];

		if (!s)
			continue;
		snprintf(device, sizeof device, "%u:%u", s->maj, s->min);
		json_array_append_new(all, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "device",
						     device, "uid", (json_int_t)s->opt.uid, "gid",
						     (json_int_t)s->opt.gid, "requests",
						     (json_int_t)s->calls, "read_bytes",
						     (json_int_t)s->read_bytes, "write_bytes",
						     (json_int_t)s->write_bytes));
	}
	mutex_unlock(&v->sessions_lock);
	return all;
}

static json_t *sandbox_parts(const struct sandbox *s)
{
	json_t *all = json_pack("{s:s}", "state", sandbox_state(s));

	for (int i = 0; i < SANDBOX_PARTS && s->mode != SANDBOX_OFF; i++)
		json_object_set_new(all, sandbox_part_name((enum sandbox_part)i),
				    json_sprintf("%s%s", s->part[i].missing ? "no: " : "",
						 s->part[i].said));
	return all;
}

json_t *control_stat(struct volume *v)
{
	struct cache_usage u;

	cache_usage(v->cache, &u);
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:o, s:i, s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}",
		"uri", v->uri, "mountpoint", v->mountpoint, "version", PERSIFS_VERSION, "volume",
		v->key, "sessions", sessions(v), "supervisor_pid", (int)v->supervisor_pid,
		"worker_pid", (int)getpid(), "survive", "no", "dirty_bytes",
		(json_int_t)u.dirty_bytes, "unstable_bytes", (json_int_t)u.unstable_bytes,
		"page_size", (json_int_t)u.page_size, "frames", (json_int_t)u.frames, "frames_used",
		(json_int_t)u.frames_used, "frames_held", (json_int_t)u.held_frames,
		"writers_waiting", (json_int_t)u.writers_held, "files_failing",
		(json_int_t)u.files_failing, "inodes", (json_int_t)v->ninodes, "open_handles",
		(json_int_t)v->nhandles, "counters", counters(), "counter_help", counter_help(),
		"options", option_values(v), "sandbox", sandbox_parts(&v->sandbox));
}

static json_t *refuse(int err, const char *sentence)
{
	return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", sentence, "errno", -err);
}

void control_apply(struct volume *v)
{
	struct cache_tunables tun;

	v->busy_poll = v->opt.busy_poll;
	log_level = (enum log_level)v->opt.log_level;
	options_tunables(&v->opt, &tun);
	if (v->cache)
		cache_tune(v->cache, &tun);
}

static json_t *tune_locked(struct volume *v, const char *name, const char *value)
{
	const struct opt_def *def = opt_find(mount_option_table, name);
	struct mount_options next = v->opt;
	struct err err;

	if (def && !def->runtime) {
		err_set(&err, 0, "option %s cannot change while mounted", def->name);
		return refuse(-EINVAL, err.text);
	}
	/* No runtime option is a string: the copy shares none that could be freed. */
	if (opt_set(mount_option_table, &next, name, value, &err) || options_check(&next, &err))
		return refuse(-EINVAL, err.text);
	if (next.cache_size > v->cache_max) {
		err_set(&err, 0, "option cache_size=%.100s: at most %llu, fixed when mounted",
			value, (unsigned long long)v->cache_max);
		return refuse(-EINVAL, err.text);
	}
	/* Only this member is written: the others are read without the lock. */
	opt_set(mount_option_table, &v->opt, name, value, NULL);
	if (strstr(name, "_timeout"))
		sessions_set_timeouts(v, v->opt.attr_timeout, v->opt.entry_timeout,
				      v->opt.negative_timeout);
	log_info("tune: %s=%s", name, value);
	return json_pack("{s:b}", "ok", 1);
}

static json_t *tune(struct volume *v, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "option"));
	const char *value = json_string_value(json_object_get(request, "value"));
	json_t *answer;

	if (!name || !value)
		return refuse(-EINVAL, "tune wants an option and a value");
	mutex_lock(&v->opt_lock);
	answer = tune_locked(v, name, value);
	control_apply(v);
	mutex_unlock(&v->opt_lock);
	return answer;
}

json_t *control_answer(struct volume *v, const json_t *request)
{
	const char *cmd = json_string_value(json_object_get(request, "cmd"));

	if (!cmd)
		return refuse(-EINVAL, "no \"cmd\" in the request");
	if (!strcmp(cmd, "ping"))
		return json_pack("{s:b}", "ok", 1);
	if (!strcmp(cmd, "stat"))
		return json_pack("{s:b,s:o}", "ok", 1, "stat", control_stat(v));
	if (!strcmp(cmd, "tune"))
		return tune(v, request);
#ifdef PERSIFS_SANDBOX_TEST
	if (!strcmp(cmd, "try"))
		return sandbox_try(v->supervisor_pid);
#endif
	return refuse(-ENOTSUP, "unknown command");
}
