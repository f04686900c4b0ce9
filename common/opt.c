/* SPDX-License-Identifier: Apache-2.0 */
/* opt.c - see opt.h. Values pass through one parser a type; numbers of all types
 * share scan_number(), which knows units and refuses what does not fit. */
#include "common/opt.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"

#define NAME_MAX_BYTES 64  /* longer names cannot be a misspelling of ours */
#define ID_MAX 4294967294U /* (uid_t)-1 means "unset" to the kernel */

struct unit {
	const char *suffix;
	uint64_t factor;
};

/* Smallest first; the first row's factor is that of the format without loss. */
static const struct unit size_units[] = {
	{ "", 1 },           { "k", 1ULL << 10 }, { "m", 1ULL << 20 },
	{ "g", 1ULL << 30 }, { "t", 1ULL << 40 }, { NULL, 0 },
};
static const struct unit time_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { NULL, 0 },
};
static const struct unit plain_units[] = { { "", 1 }, { NULL, 0 } };
static const struct unit percent_units[] = { { "", 1 }, { "%", 1 }, { NULL, 0 } };

static const char *const yes_words[] = { "yes", "true", "on", "1", NULL };
static const char *const no_words[] = { "no", "false", "off", "0", NULL };

static void *member(const struct opt_def *def, void *base)
{
	return (char *)base + def->offset;
}

static const void *member_const(const struct opt_def *def, const void *base)
{
	return (const char *)base + def->offset;
}

static int index_of(const char *const *words, const char *text)
{
	for (int i = 0; words && words[i]; i++)
		if (!strcasecmp(words[i], text))
			return i;
	return -1;
}

static const struct unit *units_of(enum opt_type type)
{
	switch (type) {
	case OPT_SIZE:
		return size_units;
	case OPT_TIME:
		return time_units;
	case OPT_PERCENT:
		return percent_units;
	default:
		return plain_units;
	}
}

static uint64_t max_of(const struct opt_def *def)
{
	uint64_t natural = def->type == OPT_PERCENT ? 100 :
			   def->type == OPT_ID      ? ID_MAX :
						      UINT64_MAX;

	return def->max && def->max < natural ? def->max : natural;
}

/* --- text to value --------------------------------------------------------- */

/* digits[.digits]; the fraction in billionths. */
static int scan_decimal(const char **text, uint64_t *whole, uint64_t *billionths)
{
	const char *s = *text;
	uint64_t scale = 100000000;

	*whole = *billionths = 0;
	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(*whole, 10, whole) ||
		    __builtin_add_overflow(*whole, (uint64_t)(*s - '0'), whole))
			return -ERANGE;
	if (*s == '.') {
		if (!isdigit((unsigned char)s[1]))
			return -EINVAL;
		for (s++; isdigit((unsigned char)*s); s++, scale /= 10)
			*billionths += (uint64_t)(*s - '0') * scale;
	}
	*text = s;
	return 0;
}

static int scan_number(const struct opt_def *def, const char *text, uint64_t *out)
{
	const struct unit *u = units_of(def->type);
	uint64_t whole, billionths, v;
	int rc = scan_decimal(&text, &whole, &billionths);

	if (rc)
		return rc;
	if (billionths && def->type != OPT_TIME)
		return -EINVAL;
	if (def->type == OPT_TIME && !*text)
		text = "s";
	while (u->suffix && strcasecmp(u->suffix, text))
		u++;
	if (!u->suffix)
		return -EINVAL;
	if (__builtin_mul_overflow(whole, u->factor, &v) ||
	    __builtin_add_overflow(v, billionths * u->factor / 1000000000, &v))
		return -ERANGE;
	if (v < def->min || v > max_of(def))
		return -ERANGE;
	*out = v;
	return 0;
}

static int set_number(const struct opt_def *def, void *at, const char *text)
{
	uint64_t v = 0;
	int rc;

	if (def->type == OPT_ID && !strcmp(text, "-1")) {
		*(int64_t *)at = -1;
		return 0;
	}
	rc = scan_number(def, text, &v);
	if (rc)
		return rc;
	if (def->type == OPT_PERCENT)
		*(uint32_t *)at = (uint32_t)v;
	else if (def->type == OPT_ID)
		*(int64_t *)at = (int64_t)v;
	else
		*(uint64_t *)at = v;
	return 0;
}

static int set_bool(void *at, const char *text)
{
	bool yes = index_of(yes_words, text) >= 0;

	if (!yes && index_of(no_words, text) < 0)
		return -EINVAL;
	*(bool *)at = yes;
	return 0;
}

static int set_enum(const struct opt_def *def, void *at, const char *text)
{
	int i = index_of(def->choices, text);

	if (i < 0)
		return -EINVAL;
	*(unsigned *)at = (unsigned)i;
	return 0;
}

static int set_string(void *at, const char *text)
{
	char *copy = NULL;

	if (*text) {
		copy = strdup(text);
		if (!copy)
			return -ENOMEM;
	}
	free(*(char **)at);
	*(char **)at = copy;
	return 0;
}

static int set_member(const struct opt_def *def, void *base, const char *text)
{
	void *at = member(def, base);

	if (strlen(text) > OPT_VALUE_MAX)
		return -E2BIG;
	switch (def->type) {
	case OPT_BOOL:
		return set_bool(at, text);
	case OPT_ENUM:
		return set_enum(def, at, text);
	case OPT_STRING:
		return set_string(at, text);
	default:
		return set_number(def, at, text);
	}
}

/* --- value to text --------------------------------------------------------- */

/* The largest unit that loses nothing: 1536k, 90s. */
static int format_units(const struct unit *u, uint64_t v, char *buf, size_t cap)
{
	const struct unit *best = u;

	for (; v && u->suffix; u++)
		if (v % u->factor == 0)
			best = u;
	return snprintf(buf, cap, "%" PRIu64 "%s", v / best->factor, best->suffix);
}

static int format_number(const struct opt_def *def, uint64_t v, char *buf, size_t cap)
{
	switch (def->type) {
	case OPT_SIZE:
	case OPT_TIME:
		return format_units(units_of(def->type), v, buf, cap);
	case OPT_PERCENT:
		return snprintf(buf, cap, "%" PRIu64 "%%", v);
	default:
		return snprintf(buf, cap, "%" PRIu64, v);
	}
}

int opt_format(const struct opt_def *def, const void *base, char *buf, size_t cap)
{
	const void *at = member_const(def, base);
	const char *s;
	int n;

	switch (def->type) {
	case OPT_BOOL:
		n = snprintf(buf, cap, "%s", *(const bool *)at ? "yes" : "no");
		break;
	case OPT_ENUM:
		n = snprintf(buf, cap, "%s", def->choices[*(const unsigned *)at]);
		break;
	case OPT_STRING:
		s = *(char *const *)at;
		n = snprintf(buf, cap, "%s", s ? s : "");
		break;
	case OPT_ID:
		n = snprintf(buf, cap, "%" PRId64, *(const int64_t *)at);
		break;
	case OPT_PERCENT:
		n = format_number(def, *(const uint32_t *)at, buf, cap);
		break;
	default:
		n = format_number(def, *(const uint64_t *)at, buf, cap);
	}
	return n >= 0 && (size_t)n < cap ? 0 : -ENOSPC;
}

/* --- what is wanted, in words ---------------------------------------------- */

static void describe_choices(const char *const *choices, char *buf, size_t cap)
{
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; choices[i] && n < cap; i++) {
		int k = snprintf(buf + n, cap - n, "%s%s",
				 !i             ? "" :
				 choices[i + 1] ? ", " :
						  " or ",
				 choices[i]);

		n += k > 0 ? (size_t)k : 0;
	}
}

static void describe_range(const struct opt_def *def, char *buf, size_t cap)
{
	static const char *const nouns[] = { [OPT_SIZE] = "a size",
					     [OPT_UINT] = "a number",
					     [OPT_PERCENT] = "a percentage",
					     [OPT_TIME] = "a time",
					     [OPT_ID] = "an id" };
	char lo[32], hi[32];

	format_number(def, def->min, lo, sizeof lo);
	format_number(def, max_of(def), hi, sizeof hi);
	if (max_of(def) == UINT64_MAX)
		snprintf(buf, cap, "%s, at least %s", nouns[def->type], lo);
	else
		snprintf(buf, cap, "%s from %s to %s", nouns[def->type], lo, hi);
}

static void describe(const struct opt_def *def, char *buf, size_t cap)
{
	if (def->type == OPT_BOOL)
		snprintf(buf, cap, "yes or no");
	else if (def->type == OPT_ENUM)
		describe_choices(def->choices, buf, cap);
	else if (def->type == OPT_STRING)
		snprintf(buf, cap, "a text of at most %d bytes", OPT_VALUE_MAX);
	else
		describe_range(def, buf, cap);
}

/* A copy for a message: cut, and without control characters. */
static const char *printable(const char *text, char *buf, size_t cap)
{
	size_t n = 0;

	for (; text[n] && n + 1 < cap; n++)
		buf[n] = iscntrl((unsigned char)text[n]) ? '?' : text[n];
	buf[n] = '\0';
	return buf;
}

static int refuse(const struct opt_def *def, const char *value, struct err *err)
{
	char wanted[256], shown[80];

	describe(def, wanted, sizeof wanted);
	return err_set(err, -EINVAL, "option '%s=%s': want %s", def->name,
		       printable(value, shown, sizeof shown), wanted);
}

/* --- names ----------------------------------------------------------------- */

/* Single-character edits between two names (Levenshtein, one row). */
static size_t name_distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_BYTES + 1], la = strlen(a), lb = strlen(b);

	if (la > NAME_MAX_BYTES || lb > NAME_MAX_BYTES)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);
			size_t insert = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = change < insert ? change : insert;
		}
	}
	return row[lb];
}

static int unknown(const struct opt_def *table, const char *name, struct err *err)
{
	const char *close_match = NULL;
	size_t best = strlen(name) / 3 + 2; /* farther away is another word */
	char shown[80];

	for (const struct opt_def *d = table; d->name; d++) {
		size_t dist = name_distance(name, d->name);

		if (dist < best) {
			best = dist;
			close_match = d->name;
		}
	}
	printable(name, shown, sizeof shown);
	if (close_match)
		return err_set(err, -EINVAL, "unknown option '%s' (did you mean '%s'?)", shown,
			       close_match);
	return err_set(err, -EINVAL, "unknown option '%s'", shown);
}

const struct opt_def *opt_find(const struct opt_def *table, const char *name)
{
	for (; table->name; table++)
		if (!strcmp(table->name, name))
			return table;
	return NULL;
}

int opt_set(const struct opt_def *table, void *base, const char *name, const char *value,
	    struct err *err)
{
	const struct opt_def *def = opt_find(table, name);
	int rc;

	if (!def && !value && !strncmp(name, "no", 2)) {
		def = opt_find(table, name + 2);
		if (def && def->type != OPT_BOOL)
			def = NULL;
		value = "no";
	}
	if (!def)
		return unknown(table, name, err);
	if (!value && def->type == OPT_BOOL)
		value = "yes";
	if (!value)
		return err_set(err, -EINVAL, "option '%s' needs a value", name);
	rc = set_member(def, base, value);
	if (rc == -ENOMEM)
		return err_set(err, rc, "out of memory");
	return rc ? refuse(def, value, err) : 0;
}

/* Cuts one item off *rest, unescaped in place; NULL at the end. */
static char *next_item(char **rest)
{
	char *item = *rest, *to = item, *s = item;

	if (!item)
		return NULL;
	for (; *s && *s != ','; s++) {
		if (*s == '\\' && (s[1] == ',' || s[1] == '\\'))
			s++;
		*to++ = *s;
	}
	*rest = *s ? s + 1 : NULL;
	*to = '\0';
	return item;
}

int opt_parse(const struct opt_def *table, void *base, const char *text, struct err *err)
{
	AUTO_FREE char *copy = NULL;
	char *rest, *item;

	if (strlen(text) > OPT_LIST_MAX)
		return err_set(err, -EINVAL, "options are longer than %d bytes", OPT_LIST_MAX);
	rest = copy = strdup(text);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	while ((item = next_item(&rest))) {
		char *eq = strchr(item, '=');
		int rc;

		if (!*item)
			continue;
		if (eq)
			*eq++ = '\0';
		rc = opt_set(table, base, item, eq, err);
		if (rc)
			return rc;
	}
	return 0;
}

/* --- tables ---------------------------------------------------------------- */

static size_t member_size(enum opt_type type)
{
	static const size_t sizes[] = {
		[OPT_SIZE] = sizeof(uint64_t),    [OPT_UINT] = sizeof(uint64_t),
		[OPT_PERCENT] = sizeof(uint32_t), [OPT_TIME] = sizeof(uint64_t),
		[OPT_BOOL] = sizeof(bool),        [OPT_ENUM] = sizeof(unsigned),
		[OPT_ID] = sizeof(int64_t),       [OPT_STRING] = sizeof(char *),
	};

	return sizes[type];
}

static void member_clear(const struct opt_def *def, void *base)
{
	memset(member(def, base), 0, member_size(def->type));
	if (def->type == OPT_ID)
		*(int64_t *)member(def, base) = -1;
}

int opt_defaults(const struct opt_def *table, void *base)
{
	for (const struct opt_def *d = table; d->name; d++)
		member_clear(d, base);
	for (const struct opt_def *d = table; d->name; d++) {
		int rc = d->dflt ? set_member(d, base, d->dflt) : 0;

		assert(rc == 0 || rc == -ENOMEM);
		if (rc) {
			opt_done(table, base);
			return rc;
		}
	}
	return 0;
}

void opt_done(const struct opt_def *table, void *base)
{
	for (; table->name; table++) {
		if (table->type != OPT_STRING)
			continue;
		free(*(char **)member(table, base));
		*(char **)member(table, base) = NULL;
	}
}

static void print_value_kind(const struct opt_def *d, char *buf, size_t cap)
{
	static const char *const kinds[] = {
		[OPT_SIZE] = "SIZE", [OPT_UINT] = "N", [OPT_PERCENT] = "N%", [OPT_TIME] = "TIME",
		[OPT_ENUM] = "WORD", [OPT_ID] = "ID",  [OPT_STRING] = "TEXT"
	};

	if (d->type == OPT_BOOL)
		snprintf(buf, cap, "[no]%s", d->name);
	else
		snprintf(buf, cap, "%s=%s", d->name, kinds[d->type]);
}

void opt_print_help(const struct opt_def *table, FILE *out)
{
	for (; table->name; table++) {
		char left[96], wanted[256];

		print_value_kind(table, left, sizeof left);
		fprintf(out, "  %-26s %s\n", left, table->help ? table->help : "");
		fprintf(out, "  %-26s ", "");
		if (table->type != OPT_BOOL && table->type != OPT_STRING) {
			describe(table, wanted, sizeof wanted);
			fprintf(out, "%s; ", wanted);
		}
		if (table->unit)
			fprintf(out, "in %s; ", table->unit);
		fprintf(out, "default %s%s\n", table->dflt ? table->dflt : "unset",
			table->runtime ? "; can be tuned" : "");
	}
}

void opt_print_names(const struct opt_def *table, FILE *out)
{
	for (; table->name; table++) {
		if (table->type == OPT_BOOL)
			fprintf(out, "%s\nno%s\n", table->name, table->name);
		else
			fprintf(out, "%s=\n", table->name);
	}
}
