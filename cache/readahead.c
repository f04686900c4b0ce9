/* SPDX-License-Identifier: Apache-2.0 */
/* readahead.c - see readahead.h */
#include "cache/readahead.h"

#include <string.h>

void readahead_init(struct readahead *ra)
{
	memset(ra, 0, sizeof *ra);
	mutex_init(&ra->lock, LOCK_readahead);
}

void readahead_done(struct readahead *ra)
{
	mutex_done(&ra->lock);
}

/* A read fits when it starts at the stream's end, give or take what parallel
 * requests of one program may be reordered by. */
static bool fits(const struct ra_stream *s, uint64_t off, uint64_t len)
{
	if (!s->used)
		return off == 0;
	return off <= s->next + RA_SLACK / 4 && off + len + RA_SLACK > s->next &&
	       off + len > s->next;
}

static struct ra_stream *find(struct readahead *ra, uint64_t off, uint64_t len, bool *fit)
{
	struct ra_stream *oldest = &ra->s[0];

	*fit = true;
	for (int i = 0; i < RA_STREAMS; i++) {
		if (ra->s[i].used && fits(&ra->s[i], off, len))
			return &ra->s[i];
		if (ra->s[i].used < oldest->used)
			oldest = &ra->s[i];
	}
	*fit = off == 0 && !oldest->used;
	return oldest;
}

struct ra_advice readahead_note(struct readahead *ra, uint64_t off, uint64_t len, uint64_t max)
{
	struct ra_advice adv = { 0 };
	struct ra_stream *s;

	mutex_lock(&ra->lock);
	s = find(ra, off, len, &adv.sequential);
	s->used = ++ra->tick;
	if (!adv.sequential) {
		*s = (struct ra_stream){ .next = off + len, .ahead = off + len, .used = ra->tick };
	} else {
		s->window = s->window ? s->window * 2 : RA_START;
		if (s->window > max)
			s->window = max;
		s->next = off + len > s->next ? off + len : s->next;
		if (s->ahead < s->next)
			s->ahead = s->next;
		/* Refill when half of the window is used up: fewer, larger requests. */
		if (s->window && s->ahead - s->next <= s->window / 2) {
			adv.off = s->ahead;
			adv.len = s->next + s->window - s->ahead;
			s->ahead += adv.len;
		}
	}
	mutex_unlock(&ra->lock);
	return adv;
}
