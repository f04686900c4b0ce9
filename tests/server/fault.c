/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - see fault.h */
#include "tests/server/fault.h"

#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-nfs.h>

#define PERMILLE_DEFAULT 10

enum fault_class { LOSSLESS, HOSTILE };

static const struct {
	const char *name, *help;
	enum fault_class class;
	uint32_t procs;
} table[] = {
#define FAULT(name, class, procs, help) { #name, help, class, procs },
#include "tests/server/fault.def"
#undef FAULT
};

static const char *const procs[] = { "NULL",     "GETATTR", "SETATTR",     "LOOKUP", "ACCESS",
				     "READLINK", "READ",    "WRITE",       "CREATE", "MKDIR",
				     "SYMLINK",  "MKNOD",   "REMOVE",      "RMDIR",  "RENAME",
				     "LINK",     "READDIR", "READDIRPLUS", "FSSTAT", "FSINFO",
				     "PATHCONF", "COMMIT",  "ACCEPT",      "MNT" };

const char *proc_name(unsigned proc)
{
	return proc < sizeof procs / sizeof *procs ? procs[proc] : "?";
}

void faults_init(struct faults *f, uint64_t seed)
{
	*f = (struct faults){ .rng = seed * 0x9e3779b97f4a7c15ULL | 1 };
}

/* xorshift64* */
uint32_t fault_random(struct faults *f, uint32_t below)
{
	f->rng ^= f->rng >> 12;
	f->rng ^= f->rng << 25;
	f->rng ^= f->rng >> 27;
	return below ? (uint32_t)(f->rng * 0x2545f4914f6cdd1dULL >> 32) % below : 0;
}

bool fault_hit(struct faults *f, enum fault which, uint32_t proc_bit)
{
	struct fault_state *s = &f->f[which];

	if (!s->count && !s->permille)
		return false;
	if (!((s->procs ? s->procs : table[which].procs) & proc_bit))
		return false;
	if (s->count)
		s->count--;
	else if (fault_random(f, 1000) >= s->permille)
		return false;
	s->injected++;
	return true;
}

static int fault_named(const char *name, size_t len)
{
	for (int i = 0; i < F_COUNT; i++)
		if (strlen(table[i].name) == len && strncmp(table[i].name, name, len) == 0)
			return i;
	return -1;
}

static uint32_t proc_bits(const char *name)
{
	for (unsigned i = 0; i < sizeof procs / sizeof *procs; i++)
		if (strcmp(procs[i], name) == 0)
			return 1u << i;
	return 0;
}

static const char *set_word(struct fault_state *s, const char *word)
{
	const char *value = strchr(word, '=');
	uint32_t n = value ? (uint32_t)strtoul(value + 1, NULL, 0) : 0;

	if (!value)
		return "expected count=, permille=, proc= or at=";
	if (strncmp(word, "count=", 6) == 0) {
		s->count = n;
	} else if (strncmp(word, "permille=", 9) == 0) {
		s->permille = n;
	} else if (strncmp(word, "at=", 3) == 0) {
		s->at = n;
	} else if (strncmp(word, "proc=", 5) == 0) {
		s->procs |= proc_bits(value + 1);
		if (!proc_bits(value + 1))
			return "no such procedure";
	} else {
		return "unknown word";
	}
	return NULL;
}

const char *faults_set(struct faults *f, char *words)
{
	char *save = NULL, *word = strtok_r(words, " ", &save);
	int which = word ? fault_named(word, strlen(word)) : -1;
	struct fault_state *s, set = { .at = FAULT_ANYWHERE };
	const char *wrong;

	if (which < 0)
		return "no such fault";
	while ((word = strtok_r(NULL, " ", &save))) {
		wrong = set_word(&set, word);
		if (wrong)
			return wrong;
	}
	if (!set.count && !set.permille)
		set.count = 1;
	s = &f->f[which];
	set.injected = s->injected;
	*s = set;
	return NULL;
}

static void profile_fault(struct faults *f, int which, uint32_t permille)
{
	f->f[which].permille = permille;
	f->f[which].at = FAULT_ANYWHERE;
}

const char *faults_profile(struct faults *f, const char *profile)
{
	size_t len = strcspn(profile, ":");
	uint32_t permille = PERMILLE_DEFAULT;

	if (profile[len])
		permille = (uint32_t)strtoul(profile + len + 1, NULL, 0);
	if (strncmp(profile, "none", len) == 0)
		return NULL;
	if (strncmp(profile, "lossless", len) == 0 || strncmp(profile, "hostile", len) == 0) {
		for (int i = 0; i < F_COUNT; i++)
			if (table[i].class == (*profile == 'h' ? HOSTILE : LOSSLESS))
				profile_fault(f, i, permille);
		return NULL;
	}
	while (len) {
		size_t n = strcspn(profile, ",:");
		int which = fault_named(profile, n);

		if (which < 0)
			return "no such fault or profile";
		profile_fault(f, which, permille);
		n += profile[n] == ',';
		profile += n;
		len = n < len ? len - n : 0;
	}
	return NULL;
}

void faults_clear(struct faults *f)
{
	for (int i = 0; i < F_COUNT; i++)
		f->f[i] = (struct fault_state){ .injected = f->f[i].injected };
}

void faults_list(FILE *out)
{
	for (int i = 0; i < F_COUNT; i++)
		fprintf(out, "%-14s %-9s %s\n", table[i].name,
			table[i].class == LOSSLESS ? "lossless" : "hostile", table[i].help);
}

void faults_stats(const struct faults *f, FILE *out)
{
	for (int i = 0; i < F_COUNT; i++)
		if (f->f[i].injected)
			fprintf(out, "fault %s %lu\n", table[i].name, f->f[i].injected);
}
