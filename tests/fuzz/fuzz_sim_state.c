/* SPDX-License-Identifier: Apache-2.0 */
/* State files of the simulated ScaleIO gateway: what is taken is written again as an equal state,
 * and no name in it leads out of the folder. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sim/scaleio_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct scaleio *array_new(void)
{
	struct scaleio *s = calloc(1, sizeof *s);

	assert(s);
	mutex_init(&s->lock, LOCK_sim_array);
	return s;
}

static void array_free(struct scaleio *s)
{
	for (size_t i = 0; i < s->nvolumes; i++)
		sio_free_volume(s->volumes[i]);
	free(s->volumes);
	mutex_done(&s->lock);
	free(s);
}

static json_t *saved(struct scaleio *s)
{
	json_t *o;

	mutex_lock(&s->lock);
	o = sio_saved(s);
	mutex_unlock(&s->lock);
	return o;
}

static void take_again(const json_t *state)
{
	struct scaleio *s = array_new();
	struct err err;
	json_t *again;

	assert(!sio_load(s, state, &err));
	again = saved(s);
	assert(json_equal(state, again));
	json_decref(again);
	array_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	json_t *state = json_loadb((const char *)data, len, JSON_DECODE_ANY, NULL), *out;
	struct scaleio *s = array_new();
	struct err err = { "" };

	if (sio_load(s, state, &err)) {
		assert(*err.text);
	} else {
		for (size_t i = 0; i < s->nsdcs; i++)
			assert(!strpbrk(s->sdcs[i].guid, "/."));
		out = saved(s);
		assert(out);
		take_again(out);
		json_decref(out);
	}
	json_decref(state);
	array_free(s);
	return 0;
}
