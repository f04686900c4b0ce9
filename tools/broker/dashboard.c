/* SPDX-License-Identifier: Apache-2.0 */
/* dashboard.c - one page about one instance, for whoever has its link
 *
 * The link is signed and lives for a while; it opens this page and nothing else. The page is whole in itself (no script, no
 * image, one style sheet inside), and everything that comes from elsewhere is escaped. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "tools/broker/osb_impl.h"
#include "tools/broker/probe.h"

#define BINDINGS_SHOWN 50
#define TEXT_SHOWN 200 /* bytes of a text that is somebody else's */
#define HTML "text/html; charset=utf-8"

static const char head[] =
	"<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
	"<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
	"<meta name=\"robots\" content=\"noindex\"><title>Volume</title><style>"
	":root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#c62828;--mid:#b26a00}"
	"body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:44rem;padding:1rem}"
	"h1{font-size:1.4rem;margin:.2rem 0;overflow-wrap:anywhere}"
	"h2{font-size:1.05rem;margin:1.6rem 0 .4rem}"
	"dl{display:grid;grid-template-columns:minmax(6rem,30%) 1fr;gap:.35rem .8rem;margin:0}"
	"dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}"
	".good{color:var(--good)}.bad{color:var(--bad)}.mid{color:var(--mid)}"
	".tag{font-weight:600}meter{width:100%;height:1.2rem}"
	"ul{list-style:none;padding:0;margin:0}"
	"li{border-top:1px solid var(--line);padding:.5rem 0;overflow-wrap:anywhere}"
	"small{opacity:.7}footer{margin-top:2rem;opacity:.7;font-size:.85rem}"
	"</style></head><body>";

static const char tail[] = "</body></html>";

/* --- text ------------------------------------------------------------------ */

/* Escaped for text and for attributes; cut, and not within a character. */
static void put(FILE *out, const char *s)
{
	size_t n = strlen(s);

	if (n > TEXT_SHOWN)
		for (n = TEXT_SHOWN; n && ((unsigned char)s[n] & 0xc0) == 0x80; n--)
			;
	for (size_t i = 0; i < n; i++)
		switch (s[i]) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		case '\'':
			fputs("&#39;", out);
			break;
		default:
			fputc((unsigned char)s[i] < ' ' ? ' ' : s[i], out);
		}
	if (s[n])
		fputs("…", out);
}

static void row(FILE *out, const char *name, const char *value)
{
	fprintf(out, "<dt>%s</dt><dd>", name);
	put(out, value);
	fputs("</dd>", out);
}

static void put_size(FILE *out, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1024 && u + 1 < ARRAY_LEN(units)) {
		v /= 1024;
		u++;
	}
	fprintf(out, v < 10 && u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

static void put_time(FILE *out, uint64_t ms)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	char text[40];

	if (!gmtime_r(&t, &tm))
		return;
	strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &tm);
	fprintf(out, "<time>%s</time>", text);
}

/* --- parts of the page ----------------------------------------------------- */

static const char *context_text(const json_t *context, const char *key)
{
	return json_string_value(json_object_get(context, key));
}

static void print_title(FILE *out, const struct osb *o, const struct instance *i)
{
	static const char *const states[] = { "being created", "ready",  "being changed",
					      "being deleted", "failed", "deleted" };
	static const char *const looks[] = { "mid", "good", "mid", "mid", "bad", "bad" };
	const struct bplan *plan = bconfig_plan(o->c, i->plan);
	const char *name = context_text(i->context, "instance_name");
	const char *space = context_text(i->context, "space_name");
	const char *org = context_text(i->context, "organization_name");

	fputs("<h1>", out);
	put(out, name ? name : i->id);
	fprintf(out, "</h1><p class=\"tag %s\">%s</p><dl>", looks[i->state], states[i->state]);
	if (plan) {
		row(out, "Service", plan->service->name);
		row(out, "Plan", plan->name);
		row(out, "About", plan->description);
	}
	if (space)
		row(out, "Space", space);
	if (org)
		row(out, "Organization", org);
	row(out, "Instance", i->id);
	if (i->created_ms) {
		fputs("<dt>Created</dt><dd>", out);
		put_time(out, i->created_ms);
		fputs("</dd>", out);
	}
	fputs("</dl>", out);
}

static void print_use(FILE *out, const struct instance *i, const struct probe_answer *a)
{
	bool known = a->answered && !a->volume_rc;
	uint64_t size = known && a->volume.size && a->volume.size != PROVIDER_UNKNOWN ?
				a->volume.size :
				i->size;
	bool used = known && a->volume.used != PROVIDER_UNKNOWN;

	fputs("<h2>Size and use</h2><dl><dt>Size</dt><dd>", out);
	if (size)
		put_size(out, size);
	else
		fputs("no limit", out);
	fputs("</dd><dt>Used</dt><dd>", out);
	if (used)
		put_size(out, a->volume.used);
	else
		fputs("not known", out);
	if (used && size)
		fprintf(out,
			" (%.0f %%)<br><meter min=\"0\" max=\"100\" high=\"90\" value=\"%.1f\"></meter>",
			100.0 * (double)a->volume.used / (double)size,
			100.0 * (double)a->volume.used / (double)size);
	fputs("</dd>", out);
	if (known && a->volume.nhosts)
		fprintf(out, "<dt>In use</dt><dd>on %u machine%s</dd>", a->volume.nhosts,
			a->volume.nhosts == 1 ? "" : "s");
	fputs("</dl>", out);
}

static void print_health(FILE *out, const struct instance *i, const struct probe_answer *a)
{
	fputs("<h2>Storage</h2><dl>", out);
	row(out, "System", i->provider);
	fputs("<dt>Health</dt><dd>", out);
	if (!a->answered)
		fputs("<span class=\"mid\">does not answer now</span>", out);
	else if (a->health_rc)
		fputs("<span class=\"bad\">not well</span>", out);
	else
		fputs("<span class=\"good\">well</span>", out);
	fputs("</dd>", out);
	if (a->answered && a->health_rc)
		row(out, "Says", a->health_err.text);
	if (a->answered && a->volume_rc && i->state == INSTANCE_READY)
		row(out, "Volume", a->volume_err.text);
	fputs("</dl>", out);
}

static void print_binding(FILE *out, const struct binding *b)
{
	const json_t *mount = json_array_get(json_object_get(b->answer, "volume_mounts"), 0);
	const char *dir = context_text(mount, "container_dir");
	const char *mode = context_text(mount, "mode");

	fputs("<li>app ", out);
	put(out, b->app);
	if (dir) {
		fputs("<br>", out);
		put(out, dir);
	}
	fprintf(out, " <small>%s, since ",
		mode && !strcmp(mode, "r") ? "read-only" : "read and write");
	put_time(out, b->created_ms);
	fputs("</small></li>", out);
}

static void print_bindings(FILE *out, struct osb *o, const char *id)
{
	AUTO_FREE struct binding *b = calloc(BINDINGS_SHOWN + 1, sizeof *b);
	struct err err = { "" };
	unsigned n = 0, shown = 0;

	fputs("<h2>Bindings</h2><ul>", out);
	if (!b || store_bindings(o->b->store, id, "", BINDINGS_SHOWN + 1, b, &n, &err))
		fputs("<li>not known now</li>", out);
	for (unsigned k = 0; k < n; k++) {
		if (!b[k].deleted && k < BINDINGS_SHOWN) {
			print_binding(out, &b[k]);
			shown++;
		}
		binding_done(&b[k]);
	}
	if (b && !shown)
		fputs("<li>none</li>", out);
	if (n > BINDINGS_SHOWN)
		fputs("<li>and more</li>", out);
	fputs("</ul>", out);
}

static void print_operation(FILE *out, const struct operation *op)
{
	static const char *const kinds[] = { "", "creation", "update", "deletion" };
	static const char *const states[] = { "in progress", "succeeded", "failed" };
	static const char *const looks[] = { "mid", "good", "bad" };

	if (op->kind == OP_NONE)
		return;
	fprintf(out, "<h2>Last operation</h2><dl><dt>%s</dt><dd class=\"%s\">%s</dd>",
		kinds[op->kind], looks[op->state], states[op->state]);
	if (*op->description)
		row(out, "Says", op->description);
	fputs("<dt>Begun</dt><dd>", out);
	put_time(out, op->begun_ms);
	fputs("</dd></dl>", out);
}

/* --- the answer ------------------------------------------------------------ */

static void reply_page(struct osb *o, unsigned status, FILE *out, char **text)
{
	fputs(tail, out);
	if (fclose(out)) {
		free(*text);
		*text = NULL;
	}
	o->out->status = status;
	o->out->type = HTML;
	o->out->text = *text;
}

static FILE *begin(char **text, size_t *len)
{
	FILE *out = open_memstream(text, len);

	if (out)
		fputs(head, out);
	return out;
}

static void note(struct osb *o, unsigned status, const char *title, const char *what)
{
	char *text = NULL;
	size_t len;
	FILE *out = begin(&text, &len);

	if (!out)
		return;
	fprintf(out, "<h1>%s</h1><p>%s</p>", title, what);
	reply_page(o, status, out, &text);
}

static bool may_see(struct osb *o)
{
	AUTO_FREE char *what = NULL;

	return o->q->token && asprintf(&what, "dashboard %s", o->id) > 0 &&
	       seal_check(o->b->seal, what, o->q->token, broker_now_ms() / 1000);
}

static void page(struct osb *o, const struct instance *i)
{
	struct probe_answer a;
	char *text = NULL;
	size_t len;
	FILE *out;

	probe(o->c, i, &a);
	out = begin(&text, &len);
	if (!out)
		return;
	print_title(out, o, i);
	print_use(out, i, &a);
	print_health(out, i, &a);
	print_bindings(out, o, i->id);
	print_operation(out, &i->op);
	fputs("<footer>As of ", out);
	put_time(out, broker_now_ms());
	fputs(". This link ends after a while; <code>cf service NAME</code> shows a new one.</footer>",
	      out);
	reply_page(o, STATUS_OK, out, &text);
}

void osb_dashboard(struct osb *o)
{
	struct instance i;
	struct err err = { "" };
	int rc;

	if (!o->c->dashboard_url || !may_see(o)) {
		note(o, STATUS_FORBIDDEN, "This link has expired",
		     "Links to this page hold for a while only. Get a new one with "
		     "<code>cf service NAME</code>, or from whoever sent it to you.");
		return;
	}
	rc = store_get(o->b->store, o->id, &i, &err);
	if (rc && rc != -ENOENT) {
		note(o, STATUS_UNAVAILABLE, "Not now", "The broker cannot look it up; try again.");
		return;
	}
	if (rc || i.state == INSTANCE_DELETED)
		note(o, STATUS_NOT_FOUND, "No such volume", "It has been deleted.");
	else
		page(o, &i);
	if (!rc)
		instance_done(&i);
}
