/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_clients.c - who may mount an export
 *
 * The server takes lists as a whole, so that two writers undo each other's change:
 *
 *     ours    read (a)            write (a, b)
 *     theirs        read (a)                    write (a, c)      b is lost
 *
 * Each therefore reads again after it has written, and begins anew until its change holds; and once more after
 * ONEFS_SETTLE_MS, by when a list that another had read before has been written. The list that is written is always
 * the one that was just read, plus or minus our own entries, and is never sent a second time by the
 * transport: a stale copy of it would undo what others have done since. So whatever vanishes by our writing
 * is an entry that its writer still watches, and puts back.
 *
 * Threads of this process take turns for each export. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"

/* Entries are added to the first; a host may also have been put into the second. */
static const char *const writable[] = { "clients", "read_write_clients" };
static const char *const lists[] = { "clients", "read_write_clients", "read_only_clients",
				     "root_clients" };

/* --- entries ------------------------------------------------------------------------------ */

static bool same_entry(const char *a, const char *b)
{
	unsigned char x[16], y[16];

	if (inet_pton(AF_INET6, a, x) == 1 && inet_pton(AF_INET6, b, y) == 1)
		return !memcmp(x, y, sizeof x);
	return !strcasecmp(a, b);
}

bool isi_clients_has(const json_t *list, const char *entry)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (text && same_entry(text, entry))
			return true;
	}
	return false;
}

static bool is_everyones(const struct onefs *o, const char *entry)
{
	return !strcasecmp(entry, ONEFS_DUMMY) || isi_clients_has(o->networks, entry);
}

unsigned isi_clients_count(const struct onefs *o, const json_t *object, char *first, size_t cap)
{
	json_t *seen = json_array();
	unsigned n;

	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		const json_t *list = json_object_get(object, lists[l]);

		for (size_t i = 0; i < json_array_size(list); i++) {
			json_t *item = json_array_get(list, i);
			const char *text = json_string_value(item);

			if (text && !is_everyones(o, text) && !isi_clients_has(seen, text))
				json_array_append(seen, item);
		}
	}
	n = (unsigned)json_array_size(seen);
	if (n && first)
		snprintf(first, cap, "%s", json_string_value(json_array_get(seen, 0)));
	json_decref(seen);
	return n;
}

/* --- turns --------------------------------------------------------------------------------- */

static bool is_held_locked(const struct onefs *o, const char *key)
{
	for (const struct isi_hold *h = o->holds; h; h = h->next)
		if (!strcmp(h->key, key))
			return true;
	return false;
}

static int hold(struct onefs *o, struct isi_hold *mine, struct err *err)
{
	uint64_t deadline = clock_ms() + ONEFS_HOLD_MS;
	int rc = 0;

	mutex_lock(&o->lock);
	while (!rc && is_held_locked(o, mine->key))
		if (!cond_wait_until(&o->changed, &o->lock, deadline))
			rc = -EAGAIN;
	if (!rc) {
		mine->next = o->holds;
		o->holds = mine;
	}
	mutex_unlock(&o->lock);
	return rc ? err_set(err, rc, "%s: change clients: another change takes too long",
			    o->base.name) :
		    0;
}

static void let_go(struct onefs *o, struct isi_hold *mine)
{
	struct isi_hold **at = &o->holds;

	mutex_lock(&o->lock);
	while (*at != mine)
		at = &(*at)->next;
	*at = mine->next;
	cond_broadcast(&o->changed);
	mutex_unlock(&o->lock);
}

/* --- one change ------------------------------------------------------------------------------- */

static bool has_anywhere(const json_t *object, const char *entry)
{
	for (size_t l = 0; l < ARRAY_LEN(writable); l++)
		if (isi_clients_has(json_object_get(object, writable[l]), entry))
			return true;
	return false;
}

/* Our change holds in what was read, and the list keeps strangers out. */
static bool holds(const json_t *object, const json_t *entries, bool add)
{
	for (size_t i = 0; i < json_array_size(entries); i++)
		if (has_anywhere(object, json_string_value(json_array_get(entries, i))) != add)
			return false;
	return isi_clients_has(json_object_get(object, "clients"), ONEFS_DUMMY);
}

/* A list with our change made; NULL: no memory. */
static json_t *changed_list(const json_t *object, const char *key, const json_t *entries, bool add)
{
	const json_t *old = json_object_get(object, key);
	json_t *list = json_array();
	bool first = !strcmp(key, writable[0]);
	int rc = list ? 0 : -1;

	for (size_t i = 0; !rc && i < json_array_size(old); i++) {
		json_t *item = json_array_get(old, i);
		const char *text = json_string_value(item);

		if (text &&
		    (add || !strcasecmp(text, ONEFS_DUMMY) || !isi_clients_has(entries, text)))
			rc = json_array_append(list, item);
	}
	if (!rc && first && !isi_clients_has(list, ONEFS_DUMMY))
		rc = json_array_append_new(list, json_string(ONEFS_DUMMY));
	for (size_t i = 0; !rc && add && first && i < json_array_size(entries); i++) {
		json_t *item = json_array_get(entries, i);

		if (!has_anywhere(object, json_string_value(item)))
			rc = json_array_append(list, item);
	}
	if (rc) {
		json_decref(list);
		return NULL;
	}
	return list;
}

/* What is to be written: the lists that change, no others. NULL: no memory. */
static json_t *change_body(const json_t *object, const json_t *entries, bool add)
{
	json_t *body = json_object();

	for (size_t l = 0; body && l < ARRAY_LEN(writable); l++) {
		json_t *list = changed_list(object, writable[l], entries, add);
		const json_t *old = json_object_get(object, writable[l]);

		if (list && l && json_array_size(list) == json_array_size(old)) {
			json_decref(list);
		} else if (!list || json_object_set_new(body, writable[l], list)) {
			json_decref(body);
			body = NULL;
		}
	}
	return body;
}

static int put_once(struct onefs *o, const struct isi_volume *v, uint64_t id, const json_t *body,
		    const char *key, struct isi_reply *a, struct err *err)
{
	AUTO_FREE char *url = NULL;
	/* Not safe: see above. */
	struct isi_call c = { .name = "change clients", .method = "PUT", .body = body };
	int rc = isi_export_url(o, v->zone, id, key, "true", &url, err);

	memset(a, 0, sizeof *a);
	if (rc)
		return rc;
	c.path = url;
	return isi_call(o, &c, a, err);
}

/* Entries of others that have no address shall not keep us from changing ours; old releases know only force. */
static int put_clients(struct onefs *o, const struct isi_volume *v, uint64_t id, const json_t *body,
		       struct err *err)
{
	bool old = atomic_load(&o->old_switches);
	const char *key = !o->set.ignore_hosts ? NULL : old ? "force" : "ignore_unresolvable_hosts";
	struct isi_reply a;
	int rc = put_once(o, v, id, body, key, &a, err);
	bool refused = rc == -EINVAL && !isi_says(&a, "bad hostname");

	isi_reply_done(&a);
	if (!refused || !key || old)
		return rc;
	rc = put_once(o, v, id, body, "force", &a, err);
	isi_reply_done(&a);
	if (!rc)
		atomic_store(&o->old_switches, true);
	return rc;
}

static void wait_ms(unsigned ms)
{
	const struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	if (ms)
		nanosleep(&ts, NULL);
}

static int write_change(struct onefs *o, const struct isi_volume *v, uint64_t id,
			const json_t *object, const json_t *entries, bool add, struct err *err)
{
	json_t *body = change_body(object, entries, add);
	int rc;

	if (!body)
		return err_set(err, -ENOMEM, "out of memory");
	rc = put_clients(o, v, id, body, err);
	json_decref(body);
	return rc;
}

/* Reads, writes, reads until the change has been seen to hold twice, some time apart. */
static int change(struct onefs *o, const struct isi_volume *v, uint64_t id, const json_t *entries,
		  bool add, bool *was, struct err *err)
{
	bool written = false, settled = false;
	struct err why = { "" };
	int rc, last = 0;

	for (unsigned try = 0; try < ONEFS_CLIENT_TRIES; try++) {
		json_t *object = NULL;
		bool good;

		rc = isi_export_read(o, v->zone, id, &object, err);
		if (rc)
			return rc;
		good = holds(object, entries, add);
		if (!try && was)
			*was = good;
		if (good && (!written || settled)) {
			json_decref(object);
			return 0;
		}
		last = 0;
		if (!good) {
			last = write_change(o, v, id, object, entries, add, &why);
			written = true;
			settled = false;
		}
		json_decref(object);
		if (last && last != -EAGAIN) {
			if (err)
				*err = why;
			return last;
		}
		if (last) { /* perhaps done: what is read next tells */
			isi_pause(o, try);
		} else if (good) {
			wait_ms(o->settle_ms);
			settled = true;
		}
	}
	if (last && err)
		*err = why;
	return last ? last :
		      err_set(err, -EAGAIN,
			      "%s: change clients of %.200s: others change them all the time",
			      o->base.name, v->path);
}

int isi_clients_change(struct onefs *o, const struct isi_volume *v, uint64_t id, json_t *entries,
		       bool add, bool *was, struct err *err)
{
	char key[ONEFS_ZONE_MAX + 24];
	struct isi_hold mine = { .key = key };
	int rc;

	snprintf(key, sizeof key, "%s/%llu", v->zone, (unsigned long long)id);
	rc = hold(o, &mine, err);
	if (rc)
		return rc;
	rc = change(o, v, id, entries, add, was, err);
	let_go(o, &mine);
	return rc;
}
