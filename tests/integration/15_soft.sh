#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 15_soft.sh - a soft mount of a server that is gone: errors after the limit, data kept
# and written when the server is back; drain and unmount end with a report (D5, D7, D8)
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

limit=2 # seconds

# in_time COMMAND...: open, fsync and close may each take the limit, on a busy machine some more
in_time() {
	local start=$SECONDS status=0
	"$@" 2>>"$work/log/errors" || status=$?
	log "$((SECONDS - start)) s: $* ($status)"
	[ $((SECONDS - start)) -le $((limit * 3 + 10)) ] || fail "$((SECONDS - start)) s, limit $limit: $*"
	return $status
}
fails_in_time() { ! in_time "$@" || fail "no error without a server: $*"; }

has_open() { [ -n "$(find "/proc/$1/fd" -lname "$2")" ]; } # PID FILE
sync_file() { sync "$mnt/$1"; }

scenario() {
	local writer
	target_mount "soft,timeout=$limit,rpc_timeout=1"
	head -c 3000000 /dev/urandom >"$work/first"
	head -c 400000 /dev/urandom >"$work/more"
	cp "$work/first" "$mnt/f"
	sync_file f
	mkfifo "$work/go"
	(read -r _ <"$work/go" && exec cat "$work/more") 1<>"$mnt/f" 2>>"$work/log/errors" &
	writer=$!
	wait_until 10 has_open "$writer" "$mnt/f" || fail "the writer opens nothing"
	server_kill
	echo go >"$work/go"
	fails_in_time wait "$writer" # written into the cache, an error when it closes
	fails_in_time sync_file f
	fails_in_time stat "$mnt/never_seen"
	fails_in_time "$PERSIFS_CTL" drain "$mnt"
	fails_in_time "$PERSIFS" umount "$mnt"
	mountpoint -q "$mnt" || fail "unmounted, though data is not written"
	[ "$(stat_of dirty_bytes)" -gt 0 ] || fail "the data was given up"

	server_run
	wait_until 60 sync_file f || fail "the data is not written though the server is back"
	{ cat "$work/more" && tail -c +400001 "$work/first"; } | cmp - "$store/f" ||
		fail "other data than was written"
	target_umount
}

run_scenario "$@"
