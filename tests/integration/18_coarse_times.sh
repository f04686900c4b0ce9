#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 18_coarse_times.sh - a server whose clock ticks once a second, and two clients: what
# one closed the other reads when it opens, though times and size tell no change (D2)
fits="nfsfault"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

TICK_NS=1000000000

other_up() {
	other=$work/other
	mkdir -p "$other" "$work/run2"
	PERSIFS_RUNTIME_DIR=$work/run2 timeout 30 "$PERSIFS" mount -o attr_timeout=0,entry_timeout=0 \
		"$uri" "$other" </dev/null >>"$work/log/mount" 2>&1 || fail "the second mount failed"
}
other_down() { PERSIFS_RUNTIME_DIR=$work/run2 timeout 30 "$PERSIFS" umount "$other"; }

# Until a tick has just begun, so that what follows lies within it.
next_tick() {
	local now
	now=$(date +%s)
	wait_until 3 tick_is_over "$now"
}
tick_is_over() { [ "$(date +%s)" != "$1" ]; }

rewrite_in_a_tick() {
	local i got want
	next_tick
	for i in 1 2 3; do
		echo "content $i" >"$mnt/file"
		want="content $i"
		got=$(cat "$other/file")
		[ "$got" = "$want" ] || fail "read '$got', closed was '$want'"
	done
	# In place, so that no truncation gives it away.
	printf 'CONTENT' | dd of="$mnt/file" conv=notrunc status=none
	got=$(cat "$other/file")
	[ "$got" = "CONTENT 3" ] || fail "read '$got' after a change in place"
	next_tick
	got=$(cat "$other/file")
	[ "$got" = "CONTENT 3" ] || fail "read '$got' a tick later"
}

# A listing that was kept must not outlive the tick as the truth.
names_in_a_tick() {
	mkdir "$mnt/d"
	next_tick
	: >"$mnt/d/a"
	[ "$(ls "$other/d")" = a ] || fail "the first name is not seen"
	: >"$mnt/d/b"
	next_tick
	[ "$(ls "$other/d")" = $'a\nb' ] || fail "a name made in the same tick is never seen"
}

# The price is paid for a tick, not for ever: later nothing is read again.
old_files_stay_cached() {
	local before
	head -c 1000000 /dev/zero >"$mnt/old"
	next_tick
	next_tick
	cat "$other/old" >/dev/null
	next_tick
	next_tick
	cat "$other/old" >/dev/null
	before=$(reads)
	cat "$other/old" "$other/old" >/dev/null
	[ "$(reads)" = "$before" ] || fail "an unchanged file was read again"
}
reads() { server_say stats | sed -n 's/^call READ //p'; }

scenario() {
	server_say "grain $TICK_NS" >/dev/null
	target_mount attr_timeout=0,entry_timeout=0
	other_up
	rewrite_in_a_tick
	names_in_a_tick
	old_files_stay_cached
	other_down
	target_umount
}

run_scenario "$@"
