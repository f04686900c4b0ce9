/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/broker/broker.h"

#include <errno.h>

int broker_init(struct broker *b, struct bconfig *c, struct err *err)
{
	mutex_init(&b->lock, LOCK_broker_config);
	audit_init(&b->audit);
	b->config = c;
	if (auth_init(&b->auth))
		return err_set(err, -EIO, "cannot get random numbers");
	return audit_open(&b->audit, c->audit_log, err);
}

void broker_done(struct broker *b)
{
	bconfig_put(b->config);
	b->config = NULL;
	audit_done(&b->audit);
	auth_done(&b->auth);
	mutex_done(&b->lock);
}

struct bconfig *broker_config(struct broker *b)
{
	struct bconfig *c;

	mutex_lock(&b->lock);
	c = bconfig_get(b->config);
	mutex_unlock(&b->lock);
	return c;
}

void broker_set_config(struct broker *b, struct bconfig *c)
{
	struct bconfig *old;

	mutex_lock(&b->lock);
	old = b->config;
	b->config = c;
	mutex_unlock(&b->lock);
	bconfig_put(old);
}
