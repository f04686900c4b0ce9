#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 41_killed_worker.sh - a worker that is killed while the kernel takes a notification from it:
# programs get an error soon, and nothing hangs that cannot be killed
fits="dir"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

is_gone() { ! kill -0 "$1" 2>/dev/null; }

# A read that is under way keeps its pages locked; a write of another session has them
# invalidated, which waits for it.
scenario() {
	local worker supervisor reader
	head -c 1M /dev/zero >"$store/file"
	chmod 666 "$store/file"
	target_mount "layers=delay:read=60s"
	mkdir "$work/second"
	timeout 30 "$PERSIFS" mount -o layers=delay:read=60s,attr_timeout=1 "$uri" "$work/second" || fail "second session"
	worker=$(stat_of worker_pid) supervisor=$(stat_of supervisor_pid)
	head -c 4096 "$mnt/file" >/dev/null 2>&1 &
	reader=$!
	wait_until 10 waits_for_an_answer "$reader" || fail "the read does not wait"
	timeout 20 dd if=/dev/zero of="$work/second/file" bs=64k count=1 seek=14 conv=notrunc status=none || fail "the write fails"
	sleep 0.5
	kill -KILL "$worker"
	wait_until 15 is_gone "$reader" || fail "the reader hangs: $(cat "/proc/$reader/wchan")"
	wait_until 15 is_gone "$supervisor" || fail "the supervisor hangs"
	is_gone "$worker" || fail "the worker is still there"
	wait "$reader" 2>/dev/null || true
	! grep -q " $mnt fuse" /proc/self/mounts || fail "a dead mount is left"
	target_mount
	[ "$(stat -c %s "$mnt/file")" = 1048576 ] || fail "not usable again"
	target_umount
}
waits_for_an_answer() { grep -q 'request_wait_answer\|folio_wait_bit' "/proc/$1/wchan"; }

run_scenario "$@"
