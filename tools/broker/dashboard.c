/* SPDX-License-Identifier: Apache-2.0 */
/* dashboard.c - one page about one instance, for whoever has its link
 *
 * The link is signed and lives for a while; it opens this page and nothing else. The page is whole in itself (no script, no
 * image, one style sheet inside, allowed by its hash), and everything that comes from elsewhere is escaped. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "tools/broker/osb_impl.h"
#include "tools/broker/probe.h"

#define BINDINGS_SHOWN 50
#define BINDINGS_PAGE 50
#define BINDINGS_PAGES_MAX 20 /* tombstones lie between those that live */
#define TEXT_SHOWN 200        /* bytes of a text that is somebody else's */
#define ID_SHOWN 8            /* characters of an app's id */
#define SHARE_WARN 75         /* percent of the size in use, from which the bar changes colour */
#define SHARE_FULL 90
#define HTML "text/html; charset=utf-8"

#define STYLE                                                                                                                   \
	":root{color-scheme:light dark;--page:#f3f4f6;--card:#fff;--text:#1b1f24;--soft:#596069;"                               \
	"--line:#d9dde2;--good:#1a7f37;--mid:#8f5b00;--bad:#b3261e;--rest:#e3e6ea}"                                             \
	"@media(prefers-color-scheme:dark){:root{--page:#0f1216;--card:#191d23;--text:#e6e9ed;"                                 \
	"--soft:#9aa3ad;--line:#2e343c;--good:#4cc26b;--mid:#e0a030;--bad:#ff7b72;--rest:#2e343c}}"                             \
	"*{box-sizing:border-box}"                                                                                              \
	"body{margin:0 auto;max-width:62rem;padding:1.2rem 1rem 2rem;background:var(--page);"                                   \
	"color:var(--text);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"                                 \
	"h1{font-size:1.5rem;line-height:1.25;margin:0}"                                                                        \
	"h2{font-size:.8rem;letter-spacing:.06em;text-transform:uppercase;color:var(--soft);"                                   \
	"margin:0 0 .6rem}"                                                                                                     \
	"h1,p,dd,li,bdi{overflow-wrap:anywhere;unicode-bidi:isolate}"                                                           \
	"time{white-space:nowrap}p{margin:.4rem 0}header{margin:0 0 1.2rem}"                                                    \
	"main,main>div{display:grid;gap:1rem;grid-template-columns:minmax(0,1fr)}"                                              \
	"@media(min-width:52rem){main{grid-template-columns:repeat(2,minmax(0,1fr));"                                           \
	"align-items:start}}"                                                                                                   \
	"section{background:var(--card);border:1px solid var(--line);border-radius:.7rem;"                                      \
	"padding:1rem 1.1rem}"                                                                                                  \
	"dl{display:grid;grid-template-columns:minmax(7rem,28%) minmax(0,1fr);"                                                 \
	"gap:.4rem .8rem;margin:0}dt{color:var(--soft)}dd{margin:0}"                                                            \
	"svg+dl{margin-top:.9rem}.past{border-top:1px solid var(--line);margin-top:.8rem;padding-top:.6rem}section>p{margin:0}" \
	".good{color:var(--good)}.mid{color:var(--mid)}.bad{color:var(--bad)}"                                                  \
	".soft,small,footer{color:var(--soft)}small{font-size:.875rem}"                                                         \
	".tag{display:inline-block;font-weight:600;border:1px solid;border-radius:2rem;"                                        \
	"padding:.05rem .75rem;margin:.5rem 0 0}"                                                                               \
	"section>.big{font-size:1.35rem;font-weight:600;line-height:1.3;margin:0 0 .5rem}"                                      \
	"svg{display:block;width:100%;height:.8rem;border-radius:.4rem;fill:currentColor}"                                      \
	".rest{fill:var(--rest)}code{font:.875em ui-monospace,Consolas,monospace}"                                              \
	"ul{list-style:none;padding:0;margin:0}li+li{border-top:1px solid var(--line);"                                         \
	"margin-top:.6rem;padding-top:.6rem}"                                                                                   \
	"footer{font-size:.85rem;margin:1.2rem 0 0}"

static const char style[] = STYLE;
static const char head[] =
	"<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
	"<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
	"<meta name=\"robots\" content=\"noindex\"><title>Volume</title><style>" STYLE
	"</style></head><body>";

static const char tail[] = "</body></html>";

/* Nothing is loaded, run or sent; of style sheets only ours, by its hash. */
static void set_policy(struct osb_reply *out)
{
	unsigned char bin[crypto_hash_sha256_BYTES];
	char text[sodium_base64_ENCODED_LEN(sizeof bin, sodium_base64_VARIANT_ORIGINAL)];

	crypto_hash_sha256(bin, (const unsigned char *)style, strlen(style));
	sodium_bin2base64(text, sizeof text, bin, sizeof bin, sodium_base64_VARIANT_ORIGINAL);
	snprintf(out->policy, sizeof out->policy,
		 "default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; "
		 "frame-ancestors 'none'",
		 text);
}

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

	while (v >= 1023.5 && u + 1 < ARRAY_LEN(units)) {
		v /= 1024;
		u++;
	}
	/* "1.5 GiB", but "1 GiB" and "23 MiB" */
	fprintf(out, v < 9.95 && v - (double)(uint64_t)v >= 0.05 ? "%.1f %s" : "%.0f %s", v,
		units[u]);
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

static void row_time(FILE *out, const char *name, uint64_t ms)
{
	if (!ms)
		return;
	fprintf(out, "<dt>%s</dt><dd>", name);
	put_time(out, ms);
	fputs("</dd>", out);
}

/* --- parts of the page ----------------------------------------------------- */

static const char *context_text(const json_t *context, const char *key)
{
	return json_string_value(json_object_get(context, key));
}

/* In plain words, and how good that is. */
static const char *state_words(const struct instance *i, const char **look)
{
	static const char *const states[] = { "being created", "ready",  "being changed",
					      "being deleted", "failed", "deleted" };
	static const char *const looks[] = { "mid", "good", "mid", "mid", "bad", "bad" };

	*look = looks[i->state];
	if (i->state == INSTANCE_FAILED)
		return i->op.kind == OP_DELETE ? "could not be deleted" : "could not be created";
	return states[i->state];
}

static void print_title(FILE *out, const struct osb *o, const struct instance *i)
{
	const struct bplan *plan = bconfig_plan(o->c, i->plan);
	const char *name = context_text(i->context, "instance_name");
	const char *look, *words = state_words(i, &look);

	fputs("<header><h1>", out);
	put(out, name && *name ? name : i->id);
	fputs("</h1>", out);
	if (plan) {
		fputs("<p class=\"soft\">", out);
		put(out, plan->service->name);
		fputs(" · ", out);
		put(out, plan->name);
		fputs("</p>", out);
	}
	fprintf(out, "<p class=\"tag %s\">%s</p></header><main>", look, words);
}

/* The bar is drawn without a style of its own, which the policy would not let through. */
static void print_bar(FILE *out, uint64_t used, uint64_t size)
{
	double share = 100.0 * (double)used / (double)size;
	double width = share > 100 ? 100 : share > 0 && share < 0.5 ? 0.5 : share;
	const char *look = share >= SHARE_FULL ? "bad" : share >= SHARE_WARN ? "mid" : "good";

	fprintf(out, "<p class=\"big\">%.0f %% used</p>", share);
	fprintf(out,
		"<svg viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" role=\"img\" "
		"aria-label=\"%.0f percent used\"><rect class=\"rest\" width=\"100\" height=\"4\"/>"
		"<rect class=\"%s\" width=\"%.1f\" height=\"4\"/></svg>",
		share, look, width);
}

static bool is_existing(const struct osb *o, const struct instance *i)
{
	const struct provider *p = bconfig_provider(o->c, i->provider);

	return p && p->ops->kind == PROVIDER_EXISTING;
}

static void print_use(FILE *out, const struct osb *o, const struct instance *i,
		      const struct probe_answer *a)
{
	bool known = a->answered && !a->volume_rc;
	uint64_t size = known && a->volume.size && a->volume.size != PROVIDER_UNKNOWN ?
				a->volume.size :
				i->size;
	bool used = known && a->volume.used != PROVIDER_UNKNOWN;

	fputs("<section><h2>Size and use</h2>", out);
	if (used && size)
		print_bar(out, a->volume.used, size);
	fputs("<dl><dt>Size</dt><dd>", out);
	if (size)
		put_size(out, size);
	else
		fputs(is_existing(o, i) ? "that of the share" : "no limit", out);
	fputs("</dd><dt>Used</dt><dd>", out);
	if (used)
		put_size(out, a->volume.used);
	else
		fputs("not known", out);
	fputs("</dd>", out);
	if (known && a->volume.nhosts)
		fprintf(out, "<dt>In use</dt><dd>on %u machine%s</dd>", a->volume.nhosts,
			a->volume.nhosts == 1 ? "" : "s");
	fputs("</dl></section>", out);
}

static void print_health(FILE *out, const struct osb *o, const struct instance *i,
			 const struct probe_answer *a)
{
	fputs("<section><h2>Storage</h2><dl>", out);
	row(out, "System", i->provider);
	fputs("<dt>Health</dt><dd>", out);
	if (is_existing(o, i))
		fputs("<span class=\"soft\">not watched: the share is not the broker's</span>",
		      out);
	else if (!a->answered)
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
	fputs("</dl></section>", out);
}

/* --- bindings -------------------------------------------------------------- */

/* Its beginning, as people tell them apart; the whole for whoever points at it. */
static void put_app(FILE *out, const char *app)
{
	char shown[ID_SHOWN + 1];
	size_t n = strlen(app);

	fputs("App <code title=\"", out);
	put(out, app);
	fputs("\">", out);
	if (n > 2 * ID_SHOWN) {
		for (n = ID_SHOWN; n && ((unsigned char)app[n] & 0xc0) == 0x80; n--)
			;
		memcpy(shown, app, n);
		shown[n] = '\0';
		put(out, shown);
		fputs("…", out);
	} else {
		put(out, app);
	}
	fputs("</code>", out);
}

static void print_binding(FILE *out, const struct binding *b)
{
	const json_t *mount = json_array_get(json_object_get(b->answer, "volume_mounts"), 0);
	const char *dir = context_text(mount, "container_dir");
	const char *mode = context_text(mount, "mode");

	fputs("<li>", out);
	put_app(out, b->app);
	fprintf(out, " · %s<br>", mode && !strcmp(mode, "r") ? "read-only" : "read and write");
	if (dir) {
		fputs("<small><code>", out);
		put(out, dir);
		fputs("</code></small><br>", out);
	}
	fputs("<small>since ", out);
	put_time(out, b->created_ms);
	fputs("</small></li>", out);
}

struct shown {
	FILE *out;
	char after[STORE_ID_MAX]; /* where the next page begins */
	unsigned n;
	bool more;
};

/* One page of rows; false: it was the last, or enough is shown. */
static bool print_page(struct shown *s, struct osb *o, struct binding *b, int *rc)
{
	struct err err = { "" };
	unsigned n = 0;

	*rc = store_bindings(o->b->store, o->id, s->after, BINDINGS_PAGE, b, &n, &err);
	if (*rc)
		return false;
	for (unsigned k = 0; k < n; k++) {
		if (!b[k].deleted && s->n < BINDINGS_SHOWN) {
			print_binding(s->out, &b[k]);
			s->n++;
		} else {
			s->more |= !b[k].deleted;
		}
		if (k + 1 == n)
			snprintf(s->after, sizeof s->after, "%s", b[k].id);
		binding_done(&b[k]);
	}
	return n == BINDINGS_PAGE && !s->more;
}

static void print_bindings(FILE *out, struct osb *o)
{
	AUTO_FREE struct binding *b = calloc(BINDINGS_PAGE, sizeof *b);
	struct shown s = { .out = out };
	int rc = b ? 0 : -ENOMEM;
	unsigned pages = 0;

	fputs("<section><h2>Bindings</h2><ul>", out);
	while (b && print_page(&s, o, b, &rc) && !s.more)
		s.more = ++pages == BINDINGS_PAGES_MAX;
	fputs("</ul>", out);
	if (rc)
		fputs("<p class=\"mid\">not known now</p>", out);
	else if (s.more)
		fputs("<p class=\"soft\">and more</p>", out);
	else if (!s.n)
		fputs("<p class=\"soft\">None: no app uses this volume.</p>", out);
	fputs("</section>", out);
}

/* --- the operation, and what does not change -------------------------------- */

static const char *const kinds[] = { "", "Creation", "Update", "Deletion" };
static const char *const looks[] = { "mid", "good", "bad" };

/* What came before the last one, a line each. */
static void print_past(FILE *out, struct osb *o)
{
	static const char *const states[] = { "was stopped", "succeeded", "failed" };
	struct operation past[STORE_PAST_MAX];
	struct err err = { "" };
	unsigned n = 0;

	if (store_past(o->b->store, o->id, past, &n, &err) || !n)
		return;
	fputs("<ul class=\"past\">", out);
	for (unsigned k = 0; k < n; k++) {
		fprintf(out, "<li>%s <span class=\"%s\">%s</span> <small>", kinds[past[k].kind],
			looks[past[k].state], states[past[k].state]);
		put_time(out, past[k].changed_ms);
		if (past[k].state == OP_FAILED) {
			fputs("<br>", out);
			put(out, past[k].description);
		}
		fputs("</small></li>", out);
	}
	fputs("</ul>", out);
}

static void print_operation(FILE *out, struct osb *o, const struct operation *op)
{
	static const char *const states[] = { "in progress", "succeeded", "failed" };

	if (op->kind == OP_NONE)
		return;
	fprintf(out, "<section><h2>Last operations</h2><dl><dt>%s</dt><dd class=\"%s\">%s</dd>",
		kinds[op->kind], looks[op->state], states[op->state]);
	if (*op->description)
		row(out, "Says", op->description);
	row_time(out, "Begun", op->begun_ms);
	if (op->state != OP_IN_PROGRESS) {
		row_time(out, "Ended", op->changed_ms);
	} else if (op->tries > 1) {
		fprintf(out, "<dt>Tries</dt><dd>%u</dd>", op->tries);
		row_time(out, "Next try", op->next_try_ms);
	}
	fputs("</dl>", out);
	print_past(out, o);
	fputs("</section>", out);
}

static void print_about(FILE *out, const struct osb *o, const struct instance *i)
{
	const struct bplan *plan = bconfig_plan(o->c, i->plan);
	const char *space = context_text(i->context, "space_name");
	const char *org = context_text(i->context, "organization_name");

	fputs("<section><h2>About</h2><dl>", out);
	if (plan)
		row(out, "Plan", plan->description);
	if (space)
		row(out, "Space", space);
	if (org)
		row(out, "Organization", org);
	row(out, "Instance", i->id);
	row_time(out, "Created", i->created_ms);
	fputs("</dl></section>", out);
}

/* --- the answer ------------------------------------------------------------ */

static void reply_page(struct osb *o, unsigned status, FILE *out, char **text)
{
	bool ok = !ferror(out) && fputs(tail, out) >= 0;

	if (fclose(out) || !ok) {
		free(*text);
		return; /* "out of memory" instead */
	}
	o->out->status = status;
	o->out->type = HTML;
	o->out->text = *text;
	set_policy(o->out);
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
	fprintf(out, "<header><h1>%s</h1></header><section><p>%s</p></section>", title, what);
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
	fputs("<div>", out);
	print_use(out, o, i, &a);
	print_health(out, o, i, &a);
	print_operation(out, o, &i->op);
	fputs("</div><div>", out);
	print_bindings(out, o);
	print_about(out, o, i);
	fputs("</div></main><footer>As of ", out);
	put_time(out, broker_now_ms());
	fputs(". This link holds until ", out);
	put_time(out, strtoull(o->q->token, NULL, 10) * 1000); /* checked: it begins so */
	fputs("; <code>cf service NAME</code> shows a new one.</footer>", out);
	reply_page(o, STATUS_OK, out, &text);
}

void osb_dashboard_unknown(struct osb *o)
{
	note(o, STATUS_NOT_FOUND, "There is no such page",
	     "Links to the page of a volume are shown by <code>cf service NAME</code>.");
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
