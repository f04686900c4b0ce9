/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_fault.c - sentences that make the simulated NVMe target misbehave (nvme_target.h)
 *
 * One row a fault: what it is about, which keys it wants and which it may have, and of what it is by default. One row
 * a key: its limits or its words. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/nvme_impl.h"

#define TEXT_MAX 512 /* bytes of a sentence */
#define B(key) (1u << (key))

#define SENT (B(NVME_ICRESP) | B(NVME_CAPSULE_RESP) | B(NVME_R2T) | B(NVME_C2H_DATA))
#define RECEIVED (B(NVME_ICREQ) | B(NVME_CAPSULE_CMD) | B(NVME_H2C_DATA))
#define R2T_OPS (B(NT_WRITE) | B(NT_DSM))

static const struct fault_def {
	const char *name;
	unsigned wants, may; /* keys */
	unsigned ops, pdus;  /* without a word about it */
	unsigned only;       /* commands: others are no use; PDUs: of these types */
	enum nt_key arg;     /* of a command's plan */
} defs[NT_FAULTS] = {
	[NTF_HANG] = { "hang", 0, 0, NT_OPS_IO, 0, 0, 0 },
	[NTF_STATUS] = { "status", B(NTK_CODE), B(NTK_DNR), NT_OPS_IO, 0, 0, NTK_CODE },
	[NTF_DROP] = { "drop", 0, 0, NT_OPS_IO, 0, 0, 0 },
	[NTF_LOST] = { "lost", 0, 0, NT_OPS_IO, 0, 0, 0 },
	[NTF_LATE] = { "late", B(NTK_MS), 0, B(NT_WRITE), 0, NT_OPS_CHANGE, NTK_MS },
	[NTF_DELAY] = { "delay", B(NTK_MS), 0, NT_OPS_IO, 0, 0, NTK_MS },
	[NTF_SLOW] = { "slow", B(NTK_MS), 0, NT_OPS_IO, 0, 0, NTK_MS },
	[NTF_WRONGID] = { "wrongid", 0, 0, NT_OPS_IO, 0, 0, 0 },
	[NTF_TWICE] = { "twice", 0, 0, NT_OPS_IO, 0, 0, 0 },
	[NTF_CSTS] = { "csts", 0, 0, NT_OPS_IO, 0, 0, 0 },
	[NTF_R2T_LATE] = { "r2t-late", B(NTK_MS), 0, R2T_OPS, 0, 0, NTK_MS },
	[NTF_R2T_PIECES] = { "r2t-pieces", B(NTK_PIECES), B(NTK_ORDER), R2T_OPS, 0, 0, NTK_PIECES },
	[NTF_R2T_BEYOND] = { "r2t-beyond", 0, 0, R2T_OPS, 0, 0, 0 },
	[NTF_R2T_ID] = { "r2t-id", 0, 0, R2T_OPS, 0, 0, 0 },
	[NTF_DATA_PIECES] = { "data-pieces", B(NTK_PIECES), B(NTK_ORDER), B(NT_READ), 0, 0,
			      NTK_PIECES },
	[NTF_DATA_NOLAST] = { "data-nolast", 0, 0, B(NT_READ), 0, 0, 0 },
	[NTF_DATA_NOSUCCESS] = { "data-nosuccess", 0, 0, B(NT_READ), 0, 0, 0 },
	[NTF_DATA_PAD] = { "data-pad", B(NTK_BYTES), 0, B(NT_READ), 0, 0, NTK_BYTES },
	[NTF_DATA_SHORT] = { "data-short", 0, 0, B(NT_READ), 0, 0, 0 },
	[NTF_DATA_LONG] = { "data-long", 0, 0, B(NT_READ), 0, 0, 0 },
	[NTF_DATA_BEYOND] = { "data-beyond", 0, 0, B(NT_READ), 0, 0, 0 },
	[NTF_DATA_ID] = { "data-id", 0, 0, B(NT_READ), 0, 0, 0 },
	[NTF_LOG_CHANGES] = { "log-changes", 0, 0, B(NT_LOG), 0, B(NT_LOG), 0 },
	[NTF_SPLIT] = { "split", B(NTK_BYTES), B(NTK_MS), 0, SENT, SENT, 0 },
	[NTF_HDGST] = { "header-digest", 0, 0, 0, SENT & ~B(NVME_ICRESP), SENT & ~B(NVME_ICRESP),
			0 },
	[NTF_DDGST] = { "data-digest", 0, 0, 0, B(NVME_C2H_DATA), B(NVME_C2H_DATA), 0 },
	[NTF_CUT] = { "cut", 0, B(NTK_BYTES), 0, B(NVME_CAPSULE_RESP), SENT | RECEIVED, 0 },
	[NTF_TERM] = { "term", 0, B(NTK_FES), 0, B(NVME_CAPSULE_RESP), SENT, 0 },
	[NTF_GARBAGE] = { "garbage", 0, 0, 0, B(NVME_CAPSULE_RESP), SENT, 0 },
	[NTF_LENGTH] = { "length", B(NTK_BYTES), 0, 0, B(NVME_CAPSULE_RESP), SENT, 0 },
	[NTF_MUTE] = { "mute", 0, 0, 0, 0, 0, 0 },
	[NTF_NOKATO] = { "nokato", 0, 0, 0, 0, 0, 0 },
	[NTF_READY_LATE] = { "ready-late", B(NTK_MS), 0, 0, 0, 0, 0 },
	[NTF_SHUTDOWN_NEVER] = { "shutdown-never", 0, 0, 0, 0, 0, 0 },
	[NTF_STORM] = { "storm", 0, 0, NT_OPS_IO, 0, 0, 0 },
	[NTF_ANA] = { "ana", B(NTK_STATE), B(NTK_GROUP), 0, 0, 0, 0 },
	[NTF_FATAL] = { "fatal", 0, 0, 0, 0, 0, 0 },
	[NTF_SIZE] = { "size", B(NTK_BLOCKS), B(NTK_NS), 0, 0, 0, 0 },
	[NTF_IDENTITY] = { "identity", 0, B(NTK_NS), 0, 0, 0, 0 },
	[NTF_RESET] = { "reset", 0, 0, 0, 0, 0, 0 },
	[NTF_DOWN] = { "down", 0, 0, 0, 0, 0, 0 },
	[NTF_UP] = { "up", 0, 0, 0, 0, 0, 0 },
	[NTF_FREEZE] = { "freeze", B(NTK_MS), 0, 0, 0, 0, 0 },
	[NTF_CLEAR] = { "clear", 0, 0, 0, 0, 0, 0 },
};

struct word {
	const char *name;
	unsigned value;
};
static const struct word orders[] = {
	{ "forward", NTO_FORWARD }, { "reverse", NTO_REVERSE }, { "random", NTO_RANDOM }, { 0 }
};
static const struct word states[] = { { "optimized", NVME_ANA_STATE_OPTIMIZED },
				      { "nonoptimized", NVME_ANA_STATE_NON_OPTIMIZED },
				      { "inaccessible", NVME_ANA_STATE_INACCESSIBLE },
				      { "lost", NVME_ANA_STATE_LOST },
				      { "change", NVME_ANA_STATE_CHANGE },
				      { 0 } };
static const struct word ops[] = { { "read", B(NT_READ) },
				   { "write", B(NT_WRITE) },
				   { "flush", B(NT_FLUSH) },
				   { "zero", B(NT_ZERO) },
				   { "dsm", B(NT_DSM) },
				   { "connect", B(NT_CONNECT) },
				   { "property", B(NT_PROPERTY) },
				   { "identify", B(NT_IDENTIFY) },
				   { "log", B(NT_LOG) },
				   { "set", B(NT_SET) },
				   { "get", B(NT_GET) },
				   { "aer", B(NT_AER) },
				   { "abort", B(NT_ABORT) },
				   { "keepalive", B(NT_KEEPALIVE) },
				   { "io", NT_OPS_IO },
				   { "admin", (B(NT_OPS) - 1) & ~NT_OPS_IO },
				   { "any", B(NT_OPS) - 1 },
				   { 0 } };
static const struct word pdus[] = { { "icreq", B(NVME_ICREQ) },
				    { "icresp", B(NVME_ICRESP) },
				    { "cmd", B(NVME_CAPSULE_CMD) },
				    { "resp", B(NVME_CAPSULE_RESP) },
				    { "h2c", B(NVME_H2C_DATA) },
				    { "c2h", B(NVME_C2H_DATA) },
				    { "r2t", B(NVME_R2T) },
				    { "any", SENT },
				    { 0 } };

static const struct key_def {
	const char *name;
	const struct word *words; /* NULL: a number */
	uint32_t min, max;
} keys[NT_KEYS] = {
	[NTK_MS] = { "ms", NULL, 0, NT_MS_MAX },
	[NTK_BYTES] = { "bytes", NULL, 0, UINT32_MAX },
	[NTK_PIECES] = { "pieces", NULL, 1, NT_PIECES_MAX },
	[NTK_CODE] = { "code", NULL, 1, 0x7ff },
	[NTK_FES] = { "fes", NULL, 1, UINT16_MAX },
	[NTK_BLOCKS] = { "blocks", NULL, 0, UINT32_MAX },
	[NTK_ORDER] = { "order", orders, 0, 0 },
	[NTK_STATE] = { "state", states, 0, 0 },
	[NTK_NS] = { "ns", NULL, 1, NVME_TARGET_NAMESPACES_MAX },
	[NTK_GROUP] = { "group", NULL, 1, NVME_TARGET_GROUPS_MAX },
	[NTK_DNR] = { "dnr", NULL, 1, 1 },
};

/* ---- parsing ---------------------------------------------------------- */

static bool number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 0);
	return !errno && !*end && *out <= max;
}

static bool word(const struct word *w, const char *text, unsigned *out)
{
	for (; w->name; w++)
		if (!strcmp(w->name, text)) {
			*out = w->value;
			return true;
		}
	return false;
}

/* Keys that say which; -ENOENT: it is none of these. */
static int parse_which(struct nt_rule *r, const char *key, const char *value)
{
	uint64_t n;

	if (!strcmp(key, "op"))
		return word(ops, value, &r->ops) ? 0 : -EINVAL;
	if (!strcmp(key, "pdu"))
		return word(pdus, value, &r->pdus) ? 0 : -EINVAL;
	if (!strcmp(key, "after"))
		return number(value, UINT32_MAX, &r->after) ? 0 : -EINVAL;
	if (!strcmp(key, "times"))
		return number(value, UINT32_MAX, &r->times) ? 0 : -EINVAL;
	if (!strcmp(key, "queue") && !strcmp(value, "io"))
		return r->queue = NT_QUEUE_IO, 0;
	if (strcmp(key, "queue") != 0 && strcmp(key, "path") != 0 && strcmp(key, "permille") != 0)
		return -ENOENT;
	if (!number(value,
		    *key == 'q'         ? NVME_TARGET_QUEUES_MAX :
		    strcmp(key, "path") ? 1000 :
					  NVME_TARGET_PATHS_MAX - 1,
		    &n))
		return -EINVAL;
	if (*key == 'q')
		r->queue = (int)n;
	else if (!strcmp(key, "path"))
		r->path = (int)n;
	else
		r->permille = (unsigned)n;
	return 0;
}

static int parse_value(const struct fault_def *def, struct nt_rule *r, const char *key,
		       const char *value, unsigned *given)
{
	for (unsigned k = 0; k < NT_KEYS; k++) {
		uint64_t n = 0;
		unsigned w = 0;

		if (strcmp(keys[k].name, key) != 0)
			continue;
		if (!((def->wants | def->may) & B(k)))
			return -ENOENT;
		if (keys[k].words ? !word(keys[k].words, value, &w) :
				    !number(value, keys[k].max, &n) || n < keys[k].min)
			return -EINVAL;
		r->v[k] = keys[k].words ? w : (uint32_t)n;
		*given |= B(k);
		return 0;
	}
	return -ENOENT;
}

static int parse_word(const struct fault_def *def, struct nt_rule *r, char *text, unsigned *given,
		      struct err *err)
{
	char *eq = strchr(text, '=');
	const char *value = eq ? eq + 1 : "1"; /* "dnr" */
	int rc;

	if (eq)
		*eq = '\0';
	rc = parse_which(r, text, eq ? value : "");
	if (rc == -ENOENT)
		rc = parse_value(def, r, text, value, given);
	if (rc == -ENOENT)
		return err_set(err, -EINVAL, "fault '%s': it has no key '%.60s'", def->name, text);
	if (rc)
		return err_set(err, -EINVAL,
			       "fault '%s': %s=%.60s is out of range, or no such word", def->name,
			       text, value);
	return 0;
}

static int check(const struct fault_def *def, const struct nt_rule *r, unsigned given,
		 struct err *err)
{
	unsigned missing = def->wants & ~given;

	for (unsigned k = 0; k < NT_KEYS; k++)
		if (missing & B(k))
			return err_set(err, -EINVAL, "fault '%s' wants %s=", def->name,
				       keys[k].name);
	if (r->fault < NTF_COMMANDS && r->pdus)
		return err_set(err, -EINVAL, "fault '%s' is one of commands, not of PDUs",
			       def->name);
	if (r->fault < NTF_COMMANDS && def->only && (r->ops & ~def->only))
		return err_set(err, -EINVAL, "fault '%s' is one of other commands", def->name);
	if (r->fault >= NTF_COMMANDS && r->fault < NTF_FIRST_WHILE && (r->pdus & ~def->only))
		return err_set(err, -EINVAL, "fault '%s' is one of other PDUs", def->name);
	if (r->fault == NTF_SPLIT && !r->v[NTK_BYTES])
		return err_set(err, -EINVAL, "fault 'split': bytes=0 sends nothing");
	if (r->fault == NTF_DATA_PAD && (r->v[NTK_BYTES] % 4 || r->v[NTK_BYTES] > 128))
		return err_set(err, -EINVAL,
			       "fault 'data-pad': bytes wants a multiple of 4, at most 128");
	return 0;
}

int nt_rule_parse(const char *text, struct nt_rule *out, struct err *err)
{
	struct nt_rule r = { .queue = NT_ANY, .path = NT_ANY, .times = 1, .permille = 1000 };
	char copy[TEXT_MAX], *save = NULL, *w;
	const struct fault_def *def = NULL;
	unsigned given = 0;
	int rc = 0;

	if ((size_t)snprintf(copy, sizeof copy, "%s", text) >= sizeof copy)
		return err_set(err, -EINVAL, "a fault has at most %d bytes", TEXT_MAX - 1);
	w = strtok_r(copy, " \t\n", &save);
	for (unsigned i = 0; w && i < NT_FAULTS; i++)
		if (!strcmp(defs[i].name, w)) {
			def = &defs[i];
			r.fault = (enum nt_fault)i;
		}
	if (!def)
		return err_set(err, -EINVAL, "there is no fault '%.60s'", w ? w : "");
	r.ops = def->ops;
	if (r.fault == NTF_STORM)
		r.times = 0;
	while (!rc && (w = strtok_r(NULL, " \t\n", &save)))
		rc = parse_word(def, &r, w, &given, err);
	if (!rc && r.fault >= NTF_COMMANDS && r.fault < NTF_FIRST_WHILE && !r.pdus)
		r.pdus = def->pdus;
	if (!rc)
		rc = check(def, &r, given, err);
	if (!rc)
		*out = r;
	return rc;
}

/* ---- asking ----------------------------------------------------------- */

/* xorshift64*: the same seed gives the same run. */
uint64_t nt_random(struct nvme_target *t, uint64_t below)
{
	t->rng ^= t->rng >> 12;
	t->rng ^= t->rng << 25;
	t->rng ^= t->rng >> 27;
	return below ? (t->rng * 0x2545f4914f6cdd1dull >> 16) % below : 0;
}

static bool place_fits(const struct nt_rule *r, int queue, unsigned path)
{
	return (r->path == NT_ANY || r->path == (int)path) &&
	       (r->queue == NT_ANY || r->queue == queue || (r->queue == NT_QUEUE_IO && queue > 0));
}

/* One more that the rule is about: is it hit? */
static bool hits(struct nvme_target *t, struct nt_rule *r)
{
	if (r->times && r->hits >= r->times)
		return false;
	if (r->seen < r->after) {
		r->seen++;
		return false;
	}
	if (r->permille < 1000 && nt_random(t, 1000) >= r->permille)
		return false;
	r->hits++;
	t->n.faults++;
	return true;
}

static bool is_r2t(enum nt_fault f)
{
	return f >= NTF_R2T_LATE && f <= NTF_R2T_ID;
}

static bool is_data(enum nt_fault f)
{
	return f >= NTF_DATA_PIECES && f <= NTF_DATA_ID;
}

static void plan_add(struct nt_plan *plan, enum nt_fault f, uint32_t arg, enum nt_order order,
		     bool dnr)
{
	plan->has |= B(f);
	plan->arg[f] = arg;
	plan->order[f] = (uint8_t)order;
	plan->dnr |= dnr;
}

/* A fault that loses nothing when the host is as good as it should be. */
static void storm(struct nvme_target *t, const struct nt_what *what, struct nt_plan *plan)
{
	static const struct {
		enum nt_fault fault;
		uint32_t max;
	} of_all[] = { { NTF_DELAY, 20 }, { NTF_SLOW, 20 }, { NTF_DROP, 0 }, { NTF_LOST, 0 } },
	  of_r2t[] = { { NTF_R2T_LATE, 20 }, { NTF_R2T_PIECES, 8 } },
	  of_data[] = { { NTF_DATA_PIECES, 8 },
			{ NTF_DATA_NOLAST, 0 },
			{ NTF_DATA_NOSUCCESS, 0 },
			{ NTF_DATA_PAD, 32 } },
	  *row;
	uint64_t i = nt_random(t, what->r2t || what->data ? 16 : 8);

	/* Lost connections cost the most time and are the rarest. */
	if (i < 8)
		row = &of_all[i < 4 ? 0 : i < 6 ? 1 : i - 4];
	else
		row = what->r2t ? &of_r2t[i % ARRAY_LEN(of_r2t)] : &of_data[i % ARRAY_LEN(of_data)];
	if (NT_HAS(plan, row->fault))
		return;
	i = row->max ? 1 + nt_random(t, row->max) : 0;
	plan_add(plan, row->fault, (uint32_t)(row->fault == NTF_DATA_PAD ? i * 4 : i), NTO_RANDOM,
		 false);
}

void nt_plan_make(struct nvme_target *t, const struct nt_what *what, struct nt_plan *out)
{
	memset(out, 0, sizeof *out);
	list_for_each(it, &t->rules) {
		struct nt_rule *r = list_entry(it, struct nt_rule, link);

		if (!(r->ops & B(what->op)) || !place_fits(r, what->queue, what->path))
			continue;
		if (r->fault == NTF_STORM && hits(t, r))
			storm(t, what, out);
		if (r->fault >= NTF_COMMANDS || NT_HAS(out, r->fault) ||
		    (is_r2t(r->fault) && !what->r2t) || (is_data(r->fault) && !what->data))
			continue;
		if (hits(t, r))
			plan_add(out, r->fault, r->v[defs[r->fault].arg],
				 (enum nt_order)r->v[NTK_ORDER], r->v[NTK_DNR]);
	}
}

const struct nt_rule *nt_rule_of_pdu(struct nvme_target *t, enum nt_fault fault, unsigned type,
				     int queue, unsigned path)
{
	list_for_each(it, &t->rules) {
		struct nt_rule *r = list_entry(it, struct nt_rule, link);

		if (r->fault == fault && (r->pdus & B(type)) && place_fits(r, queue, path) &&
		    hits(t, r))
			return r;
	}
	return NULL;
}

const struct nt_rule *nt_rule_while(struct nvme_target *t, enum nt_fault fault, unsigned path)
{
	list_for_each(it, &t->rules) {
		const struct nt_rule *r = list_entry(it, struct nt_rule, link);

		if (r->fault == fault && (r->path == NT_ANY || r->path == (int)path))
			return r;
	}
	return NULL;
}

void nt_rules_clear(struct nvme_target *t)
{
	struct list *l;

	while ((l = list_pop(&t->rules)))
		free(list_entry(l, struct nt_rule, link));
	t->nrules = 0;
}
