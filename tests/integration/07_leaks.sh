#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 07_leaks.sh - no descriptor, memory, process or mount grows with use; unmounting
# writes all dirty data, twenty times in a row
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# One turn of everything that takes a node, a handle, a lock or a frame.
use_it() {
	local i d=$mnt/use
	mkdir "$d"
	for ((i = 0; i < $1; i++)); do
		echo "text $i" >"$d/f$i"
		mkdir "$d/d$i"
		mv "$d/f$i" "$d/d$i/g"
		[ ! -e "$d/none$i" ] || fail "a file from nowhere"
	done
	head -c 4M /dev/urandom >"$d/data"
	dd if="$d/data" of="$d/copy" bs=100k status=none
	cmp "$d/data" "$d/copy"
	truncate -s 1M "$d/copy"
	(
		flock 9
		rm "$d/copy"
		cat "$d/data" >/dev/null
	) 9>"$d/lock"
	find "$d" -type f -exec cat {} + >/dev/null
	ls -lR "$d" >/dev/null
	stat -f "$d" >/dev/null
	rm -rf "$d"
}

worker_fds() { find "/proc/$(stat_of worker_pid)/fd" -type l 2>/dev/null | wc -l; }
worker_kib() { awk '/^RssAnon/ { print $2 }' "/proc/$(stat_of worker_pid)/status"; }

use_leaves_nothing() {
	local fds kib turns=$1
	target_mount cache_size=64m
	use_it 60
	use_it 60
	sync_point
	fds=$(worker_fds) kib=$(worker_kib)
	while [ "$turns" -gt 0 ]; do
		use_it 60
		turns=$((turns - 1))
	done
	sync_point
	log "descriptors $fds -> $(worker_fds), memory $kib -> $(worker_kib) KiB"
	wait_until 10 fds_are_back "$fds" || fail "descriptors grew from $fds to $(worker_fds)"
	[ "$VARIANT" != release ] || [ "$(worker_kib)" -le $((kib + 8192)) ] || fail "memory grew from $kib to $(worker_kib) KiB"
	target_umount
}
fds_are_back() { [ "$(worker_fds)" -le "$1" ]; }
sync_point() { "$PERSIFS_CTL" drain "$mnt"; }

unmount_writes_dirty_data() {
	local backing
	backing=$(target_backing)
	[ -n "$backing" ] || return 0
	# Nothing is written before it must be; it is too short for a stream.
	head -c 12M /dev/urandom >"$work/data"
	target_mount consistency=exclusive,cache_size=128m,dirty_age=3600,dirty_background=80,dirty_limit=90
	cat "$work/data" >"$mnt/data"
	[ "$(stat_of dirty_bytes)" -gt 0 ] || fail "nothing is dirty: this proves nothing"
	log "dirty: $(stat_of dirty_bytes) bytes"
	target_umount
	cmp "$work/data" "$backing/data"
	target_mount consistency=exclusive,cache_size=128m,dirty_age=3600,dirty_background=80,dirty_limit=90
	head -c 12M /dev/urandom >"$work/data"
	cat "$work/data" >"$mnt/data"
	"$PERSIFS_CTL" drain "$mnt" || fail "persifs-ctl drain"
	[ "$(stat_of dirty_bytes)" = 0 ] || fail "dirty after drain: $(stat_of dirty_bytes)"
	cmp "$work/data" "$backing/data"
	rm "$mnt/data"
	target_umount
}

mount_and_unmount() {
	local i n=$1
	for ((i = 0; i < n; i++)); do
		target_mount
		echo "$i" >"$mnt/round"
		target_umount
		[ -z "$(target_backing)" ] || [ "$(cat "$store/round")" = "$i" ] || fail "round $i is not behind the mount"
	done
}

scenario() {
	use_leaves_nothing "$(scaled 3 50 2)"
	unmount_writes_dirty_data
	mount_and_unmount "$(scaled 20 200 5)"
	[ -z "$(find "$work/run" -name '*.sock')" ] || fail "sockets are left: $(find "$work/run")"
}

run_scenario "$@"
