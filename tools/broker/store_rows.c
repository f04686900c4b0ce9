/* SPDX-License-Identifier: Apache-2.0 */
/* store_rows.c - structs to rows and back
 *
 * Rows come from a database that others may write to: each cell is checked, and what makes no sense is told with
 * the row's id and the column's name, never with its content. */
#include "tools/broker/store_impl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

static const char *const instance_names[] = {
	"id",       "service",        "plan",      "provider",       "state",       "params",
	"context",  "handle",         "size",      "new_plan",       "new_params",  "new_size",
	"op_kind",  "op_state",       "op_id",     "op_description", "op_begun_ms", "op_changed_ms",
	"op_tries", "op_next_try_ms", "op_usable", "op_repeatable",  "created_ms",  "version",
};
static_assert(ARRAY_LEN(instance_names) == I_COLUMNS, "a name a column");
static const char *const binding_names[] = {
	"instance", "id",      "app",    "service",    "plan",
	"params",   "context", "answer", "created_ms", "deleted",
};
static_assert(ARRAY_LEN(binding_names) == B_COLUMNS, "a name a column");

static const char *const state_names[] = {
	"creating", "ready", "updating", "deleting", "failed", "deleted",
};
static const char *const kind_names[] = { "none", "create", "update", "delete" };
static const char *const outcome_names[] = { "in progress", "succeeded", "failed" };

static const int instance_sealed[] = { I_PARAMS, I_CONTEXT, I_NEW_PARAMS };
static const int binding_sealed[] = { B_PARAMS, B_CONTEXT, B_ANSWER };

void instance_done(struct instance *i)
{
	json_decref(i->params);
	json_decref(i->context);
	json_decref(i->handle);
	json_decref(i->new_params);
	i->params = i->context = i->handle = i->new_params = NULL;
}

void binding_done(struct binding *b)
{
	json_decref(b->params);
	json_decref(b->context);
	json_decref(b->answer);
	b->params = b->context = b->answer = NULL;
}

void row_done(struct row *r)
{
	for (int i = 0; i < I_COLUMNS; i++)
		free(r->text[i]);
	memset(r, 0, sizeof *r);
}

bool row_equal(const struct row *a, const struct row *b)
{
	for (int i = 0; i < I_COLUMNS; i++) {
		if (!a->text[i] != !b->text[i])
			return false;
		if (a->text[i] && strcmp(a->text[i], b->text[i]))
			return false;
	}
	return true;
}

/* --- text -------------------------------------------------------------------------- */

/* Bytes of the UTF-8 sequence at p, 0: none. */
static size_t utf8_len(const unsigned char *p)
{
	static const unsigned char lead[] = { 0xc2, 0xe0, 0xf0, 0xf5 };
	size_t n;

	if (*p < 0x80)
		return 1;
	if (*p < lead[0] || *p >= lead[3])
		return 0;
	n = *p < lead[1] ? 2 : *p < lead[2] ? 3 : 4;
	/* No overlong forms, surrogates, nothing above U+10FFFF. */
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

static bool is_utf8(const char *text)
{
	size_t n;

	for (const unsigned char *p = (const unsigned char *)text; *p; p += n)
		if (!(n = utf8_len(p)))
			return false;
	return true;
}

/* A sentence may have been cut within a character, or quote an array's answer. */
static char *clean(const char *text)
{
	char *out = strdup(text);
	size_t n;

	for (char *p = out; p && *p; p += n) {
		n = utf8_len((const unsigned char *)p);
		if (!n) {
			*p = '?';
			n = 1;
		}
	}
	return out;
}

int store_check_id(const char *what, const char *id, struct err *err)
{
	if (!*id || strlen(id) >= STORE_ID_MAX)
		return err_set(err, -EINVAL, "%s id: 1 to %d bytes are wanted", what,
			       STORE_ID_MAX - 1);
	return is_utf8(id) ? 0 : err_set(err, -EINVAL, "%s id: it is not UTF-8", what);
}

bool store_number(const char *text, uint64_t *out)
{
	size_t n = strspn(text, "0123456789");

	if (!n || text[n] || n > 19)
		return false;
	*out = strtoull(text, NULL, 10);
	return *out <= INT64_MAX;
}

char *row_belongs(const char *instance, const char *id, const char *column)
{
	char *out;
	int n;

	/* The length tells where the first id ends, whatever is in it. */
	if (instance)
		n = asprintf(&out, "binding %zu %s %s %s", strlen(instance), instance, id, column);
	else
		n = asprintf(&out, "instance %s %s", id, column);
	return n < 0 ? NULL : out;
}

/* --- to rows ----------------------------------------------------------------------- */

struct encoder {
	struct row *row;
	const char *const *names;
	int rc;
	struct err *err;
};

static void put_owned(struct encoder *e, int col, char *text)
{
	free(e->row->text[col]);
	e->row->text[col] = text;
	if (!text && !e->rc)
		e->rc = err_set(e->err, -ENOMEM, "store: no memory");
}

static void put_text(struct encoder *e, int col, const char *text)
{
	if (!is_utf8(text) && !e->rc)
		e->rc = err_set(e->err, -EINVAL, "store: %s: it is not UTF-8", e->names[col]);
	put_owned(e, col, strdup(text));
}

static void put_number(struct encoder *e, int col, uint64_t n)
{
	char text[24];

	if (n > INT64_MAX && !e->rc)
		e->rc = err_set(e->err, -EINVAL, "store: %s: %" PRIu64 " is too much",
				e->names[col], n);
	snprintf(text, sizeof text, "%" PRIu64, n);
	put_owned(e, col, strdup(text));
}

static void put_json(struct encoder *e, int col, const json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) :
			 strdup("");

	if (text && strlen(text) > STORE_JSON_MAX && !e->rc)
		e->rc = err_set(e->err, -EINVAL, "store: %s: more than %u bytes", e->names[col],
				STORE_JSON_MAX);
	put_owned(e, col, text);
}

static void put_name(struct encoder *e, int col, const char *const *names, size_t n, unsigned value)
{
	assert(value < n);
	put_text(e, col, names[value]);
}

static uint64_t far(uint64_t ms)
{
	return ms > INT64_MAX ? INT64_MAX : ms; /* "never" */
}

int instance_encode(const struct instance *i, struct row *out, struct err *err)
{
	struct encoder e = { NULL, instance_names, 0, err };
	const struct operation *op = &i->op;

	memset(out, 0, sizeof *out);
	e.row = out;
	put_text(&e, I_ID, i->id);
	put_text(&e, I_SERVICE, i->service);
	put_text(&e, I_PLAN, i->plan);
	put_text(&e, I_PROVIDER, i->provider);
	put_name(&e, I_STATE, state_names, ARRAY_LEN(state_names), i->state);
	put_json(&e, I_PARAMS, i->params);
	put_json(&e, I_CONTEXT, i->context);
	put_json(&e, I_HANDLE, i->handle);
	put_number(&e, I_SIZE, i->size);
	put_text(&e, I_NEW_PLAN, i->new_plan);
	put_json(&e, I_NEW_PARAMS, i->new_params);
	put_number(&e, I_NEW_SIZE, i->new_size);
	put_name(&e, I_OP_KIND, kind_names, ARRAY_LEN(kind_names), op->kind);
	put_name(&e, I_OP_STATE, outcome_names, ARRAY_LEN(outcome_names), op->state);
	put_text(&e, I_OP_ID, op->id);
	put_owned(&e, I_OP_DESCRIPTION, clean(op->description));
	put_number(&e, I_OP_BEGUN, op->begun_ms);
	put_number(&e, I_OP_CHANGED, op->changed_ms);
	put_number(&e, I_OP_TRIES, op->tries);
	put_number(&e, I_OP_NEXT_TRY, far(op->next_try_ms));
	put_number(&e, I_OP_USABLE, op->usable);
	put_number(&e, I_OP_REPEATABLE, op->repeatable);
	put_number(&e, I_CREATED, i->created_ms);
	put_number(&e, I_VERSION, i->version);
	if (e.rc)
		row_done(out);
	return e.rc;
}

int binding_encode(const struct binding *b, struct row *out, struct err *err)
{
	struct encoder e = { NULL, binding_names, 0, err };

	memset(out, 0, sizeof *out);
	e.row = out;
	put_text(&e, B_INSTANCE, b->instance);
	put_text(&e, B_ID, b->id);
	put_text(&e, B_APP, b->app);
	put_text(&e, B_SERVICE, b->service);
	put_text(&e, B_PLAN, b->plan);
	put_json(&e, B_PARAMS, b->params);
	put_json(&e, B_CONTEXT, b->context);
	put_json(&e, B_ANSWER, b->answer);
	put_number(&e, B_CREATED, b->created_ms);
	put_number(&e, B_DELETED, b->deleted);
	if (e.rc)
		row_done(out);
	return e.rc;
}

static int seal_column(const struct store *s, char **text, const char *instance, const char *id,
		       const char *column, struct err *err)
{
	AUTO_FREE char *belongs = row_belongs(instance, id, column);
	char *sealed;

	if (!**text)
		return 0;
	sealed = belongs ? seal_text(s->seal, *text, belongs) : NULL;
	if (!sealed)
		return err_set(err, -ENOMEM, "store: no memory");
	free(*text);
	*text = sealed;
	return 0;
}

int instance_seal(const struct store *s, struct row *r, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_LEN(instance_sealed); i++)
		rc = seal_column(s, &r->text[instance_sealed[i]], NULL, r->text[I_ID],
				 instance_names[instance_sealed[i]], err);
	return rc;
}

int binding_seal(const struct store *s, struct row *r, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_LEN(binding_sealed); i++)
		rc = seal_column(s, &r->text[binding_sealed[i]], r->text[B_INSTANCE], r->text[B_ID],
				 binding_names[binding_sealed[i]], err);
	return rc;
}

/* --- from rows --------------------------------------------------------------------- */

struct decoder {
	const struct store *s;
	const struct db_rows *rows;
	unsigned row;
	bool binding;
	int bad; /* the first column that makes no sense, or -1 */
};

static const char *cell(const struct decoder *d, int col)
{
	return db_cell(d->rows, d->row, (unsigned)col);
}

static void bad(struct decoder *d, int col)
{
	if (d->bad < 0)
		d->bad = col;
}

static void get_text(struct decoder *d, int col, char *buf, size_t cap)
{
	const char *text = cell(d, col);

	if (strlen(text) >= cap)
		bad(d, col);
	else
		strcpy(buf, text);
}

static uint64_t get_number(struct decoder *d, int col, uint64_t max)
{
	uint64_t n = 0;

	if (!store_number(cell(d, col), &n) || n > max)
		bad(d, col);
	return n;
}

static unsigned get_name(struct decoder *d, int col, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(cell(d, col), names[i]))
			return i;
	bad(d, col);
	return 0;
}

static json_t *get_json(struct decoder *d, int col, const char *text)
{
	json_t *j;

	if (!*text)
		return NULL;
	j = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	if (!j)
		bad(d, col);
	return j;
}

static json_t *get_sealed(struct decoder *d, int col)
{
	const char *instance = d->binding ? cell(d, B_INSTANCE) : NULL;
	const char *id = d->binding ? cell(d, B_ID) : cell(d, I_ID);
	AUTO_FREE char *text = NULL, *belongs = NULL;

	if (!*cell(d, col))
		return NULL;
	belongs = row_belongs(instance, id, d->binding ? binding_names[col] : instance_names[col]);
	if (belongs)
		text = seal_open_text(d->s->seal, cell(d, col), belongs);
	if (!text) {
		bad(d, col);
		return NULL;
	}
	return get_json(d, col, text);
}

int instance_decode(const struct store *s, const struct db_rows *rows, unsigned row,
		    struct instance *out, struct err *err)
{
	struct decoder d = { s, rows, row, false, -1 };
	struct instance *i = out;
	struct operation *op = &out->op;

	memset(out, 0, sizeof *out);
	get_text(&d, I_ID, i->id, sizeof i->id);
	get_text(&d, I_SERVICE, i->service, sizeof i->service);
	get_text(&d, I_PLAN, i->plan, sizeof i->plan);
	get_text(&d, I_PROVIDER, i->provider, sizeof i->provider);
	i->state = get_name(&d, I_STATE, state_names, ARRAY_LEN(state_names));
	i->params = get_sealed(&d, I_PARAMS);
	i->context = get_sealed(&d, I_CONTEXT);
	i->handle = get_json(&d, I_HANDLE, cell(&d, I_HANDLE));
	i->size = get_number(&d, I_SIZE, INT64_MAX);
	get_text(&d, I_NEW_PLAN, i->new_plan, sizeof i->new_plan);
	i->new_params = get_sealed(&d, I_NEW_PARAMS);
	i->new_size = get_number(&d, I_NEW_SIZE, INT64_MAX);
	op->kind = get_name(&d, I_OP_KIND, kind_names, ARRAY_LEN(kind_names));
	op->state = get_name(&d, I_OP_STATE, outcome_names, ARRAY_LEN(outcome_names));
	get_text(&d, I_OP_ID, op->id, sizeof op->id);
	get_text(&d, I_OP_DESCRIPTION, op->description, sizeof op->description);
	op->begun_ms = get_number(&d, I_OP_BEGUN, INT64_MAX);
	op->changed_ms = get_number(&d, I_OP_CHANGED, INT64_MAX);
	op->tries = (unsigned)get_number(&d, I_OP_TRIES, UINT32_MAX);
	op->next_try_ms = get_number(&d, I_OP_NEXT_TRY, INT64_MAX);
	op->usable = get_number(&d, I_OP_USABLE, 1);
	op->repeatable = get_number(&d, I_OP_REPEATABLE, 1);
	i->created_ms = get_number(&d, I_CREATED, INT64_MAX);
	i->version = get_number(&d, I_VERSION, INT64_MAX);
	if (d.bad < 0)
		return 0;
	instance_done(out);
	return err_set(err, -EPROTO, "store: instance '%.*s': its %s makes no sense", STORE_ID_MAX,
		       cell(&d, I_ID), instance_names[d.bad]);
}

int binding_decode(const struct store *s, const struct db_rows *rows, unsigned row,
		   struct binding *out, struct err *err)
{
	struct decoder d = { s, rows, row, true, -1 };

	memset(out, 0, sizeof *out);
	get_text(&d, B_INSTANCE, out->instance, sizeof out->instance);
	get_text(&d, B_ID, out->id, sizeof out->id);
	get_text(&d, B_APP, out->app, sizeof out->app);
	get_text(&d, B_SERVICE, out->service, sizeof out->service);
	get_text(&d, B_PLAN, out->plan, sizeof out->plan);
	out->params = get_sealed(&d, B_PARAMS);
	out->context = get_sealed(&d, B_CONTEXT);
	out->answer = get_sealed(&d, B_ANSWER);
	out->created_ms = get_number(&d, B_CREATED, INT64_MAX);
	out->deleted = get_number(&d, B_DELETED, 1);
	if (d.bad < 0)
		return 0;
	binding_done(out);
	return err_set(err, -EPROTO,
		       "store: binding '%.*s' of instance '%.*s': its %s makes no sense",
		       STORE_ID_MAX, cell(&d, B_ID), STORE_ID_MAX, cell(&d, B_INSTANCE),
		       binding_names[d.bad]);
}

int operation_decode(const struct db_rows *rows, unsigned row, struct operation *out,
		     struct err *err)
{
	struct decoder d = { .rows = rows, .row = row, .bad = -1 };

	memset(out, 0, sizeof *out);
	get_text(&d, 0, out->id, sizeof out->id);
	out->kind = get_name(&d, 1, kind_names, ARRAY_LEN(kind_names));
	out->state = get_name(&d, 2, outcome_names, ARRAY_LEN(outcome_names));
	get_text(&d, 3, out->description, sizeof out->description);
	out->begun_ms = get_number(&d, 4, INT64_MAX);
	out->changed_ms = get_number(&d, 5, INT64_MAX);
	return d.bad < 0 ? 0 :
			   err_set(err, -EPROTO,
				   "store: column %d of a past operation makes no sense", d.bad);
}
