/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_order.c - the simulated NVMe target by itself: time, and orders that are done at once */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tools/sim/nvme_impl.h"

uint64_t nt_now_us(void)
{
	/* Tests move clock_skew_ms. */
	return clock_us() + 1000 * atomic_load_explicit(&clock_skew_ms, memory_order_relaxed);
}

void nt_job_add(struct nvme_target *t, struct nt_job *job, uint64_t after_ms,
		void (*run)(struct nvme_target *t, struct nt_job *job))
{
	job->at_us = nt_now_us() + after_ms * 1000;
	job->run = run;
	list_del(&job->link);
	list_push_back(&t->jobs, &job->link);
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Taken out one by one: a job may end others. */
static struct nt_job *due(struct nvme_target *t, uint64_t now, uint64_t *next)
{
	*next = UINT64_MAX;
	list_for_each(it, &t->jobs) {
		struct nt_job *job = list_entry(it, struct nt_job, link);

		if (job->at_us <= now)
			return job;
		*next = min(*next, job->at_us);
	}
	return NULL;
}

static uint64_t silences(struct nvme_target *t, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	list_for_each_safe(it, tmp, &t->ctrls) {
		struct nt_ctrl *ctrl = list_entry(it, struct nt_ctrl, link);

		if (!ctrl->kato_us || nt_rule_while(t, NTF_NOKATO, ctrl->path))
			continue;
		/* It may be heard later than now: by a job that ran since, or after a freeze. */
		if (now > ctrl->heard_us + ctrl->kato_us) {
			t->n.kato++;
			nt_ctrl_free(ctrl);
			continue;
		}
		next = min(next, ctrl->heard_us + ctrl->kato_us + 1);
	}
	return next;
}

static uint64_t ends(struct nvme_target *t, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	list_for_each(it, &t->conns) {
		struct nt_conn *c = list_entry(it, struct nt_conn, link);

		if (c->state != NTS_ENDING)
			continue;
		if (c->end_us <= now)
			nt_conn_reset(c);
		else
			next = min(next, c->end_us);
	}
	return next;
}

uint64_t nt_tick(struct nvme_target *t)
{
	uint64_t now = nt_now_us(), next;
	struct nt_job *job;

	if (t->frozen_us > now)
		return t->frozen_us;
	while ((job = due(t, now, &next))) {
		list_del(&job->link);
		job->run(t, job);
	}
	next = min(next, silences(t, now));
	return min(next, ends(t, now));
}

/* ---- orders ----------------------------------------------------------- */

int nt_order_check(const struct nvme_target *t, const struct nt_rule *r, struct err *err)
{
	unsigned ns = r->v[NTK_NS] ? r->v[NTK_NS] : 1;

	if (r->path != NT_ANY && r->path >= (int)t->npaths)
		return err_set(err, -EINVAL, "path=%d: there are %u paths", r->path, t->npaths);
	if (ns > t->cfg.namespaces || r->v[NTK_GROUP] > t->cfg.namespaces)
		return err_set(err, -EINVAL,
			       "there are %u namespaces, in as many groups, at most %d",
			       t->cfg.namespaces, NVME_TARGET_GROUPS_MAX);
	if (r->fault == NTF_SIZE && r->v[NTK_BLOCKS] > t->store.stride / t->store.block)
		return err_set(err, -EINVAL,
			       "blocks=%u: a namespace grows to %llu blocks at the most",
			       r->v[NTK_BLOCKS],
			       (unsigned long long)(t->store.stride / t->store.block));
	return 0;
}

static bool on_path(const struct nt_rule *r, unsigned path)
{
	return r->path == NT_ANY || r->path == (int)path;
}

/* To the hosts of the rule's paths; nsid: which changed, 0: none. */
static void notice(struct nvme_target *t, const struct nt_rule *r, enum nvme_notice n,
		   uint32_t nsid)
{
	list_for_each_safe(it, tmp, &t->ctrls) {
		struct nt_ctrl *ctrl = list_entry(it, struct nt_ctrl, link);

		if (ctrl->discovery || !on_path(r, ctrl->path))
			continue;
		if (nsid)
			ctrl->changed[nsid - 1] = true;
		nt_notice(t, ctrl, n);
	}
}

static void order_ana(struct nvme_target *t, const struct nt_rule *r)
{
	for (unsigned p = 0; p < t->npaths; p++)
		for (unsigned g = 1; g <= NVME_TARGET_GROUPS_MAX && on_path(r, p); g++)
			if (!r->v[NTK_GROUP] || r->v[NTK_GROUP] == g)
				t->paths[p].ana[g - 1] = (uint8_t)r->v[NTK_STATE];
	t->ana_changes++;
	notice(t, r, NVME_NOTICE_ANA, 0);
}

static void order_namespace(struct nvme_target *t, const struct nt_rule *r)
{
	unsigned i = r->v[NTK_NS] ? r->v[NTK_NS] - 1 : 0;

	if (r->fault == NTF_SIZE)
		t->ns[i].blocks = r->v[NTK_BLOCKS];
	else
		t->ns[i].identity++;
	notice(t, r, NVME_NOTICE_NS_CHANGED, i + 1);
}

static void order_freeze(struct nvme_target *t, uint64_t ms)
{
	t->frozen_us = nt_now_us() + ms * 1000;
	/* Hosts that speak meanwhile are heard afterwards. */
	list_for_each(it, &t->ctrls)
		list_entry(it, struct nt_ctrl, link)->heard_us += ms * 1000;
}

static void order_fatal(struct nvme_target *t, const struct nt_rule *r)
{
	list_for_each(it, &t->ctrls) {
		struct nt_ctrl *ctrl = list_entry(it, struct nt_ctrl, link);

		if (on_path(r, ctrl->path))
			nt_ctrl_fatal(ctrl);
	}
}

static void order_ports(struct nvme_target *t, const struct nt_rule *r)
{
	for (unsigned p = 0; p < t->npaths && r->fault != NTF_RESET; p++) {
		if (!on_path(r, p))
			continue;
		t->generation++;
		if (r->fault == NTF_UP)
			(void)nt_path_up(t, p, NULL);
		else
			nt_path_down(t, p);
	}
	if (r->fault == NTF_UP)
		return;
	list_for_each(it, &t->conns) {
		struct nt_conn *c = list_entry(it, struct nt_conn, link);

		if (on_path(r, c->path))
			nt_conn_reset(c);
	}
}

void nt_order(struct nvme_target *t, const struct nt_rule *r)
{
	switch (r->fault) {
	case NTF_ANA:
		order_ana(t, r);
		break;
	case NTF_SIZE:
	case NTF_IDENTITY:
		order_namespace(t, r);
		break;
	case NTF_FREEZE:
		order_freeze(t, r->v[NTK_MS]);
		break;
	case NTF_FATAL:
		order_fatal(t, r);
		break;
	case NTF_CLEAR:
		nt_rules_clear(t);
		t->frozen_us = 0;
		break;
	default:
		order_ports(t, r);
	}
}
