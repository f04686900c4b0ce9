#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 13_server_restart.sh - a server that is killed and started again, many times, while
# programs write and make and remove files: they see a delay, no error, no wrong byte
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# shellcheck disable=SC2154 # server_pid is server.sh's
server_kill_and_start() {
	kill -KILL "$server_pid"
	wait "$server_pid" 2>/dev/null || true
	sleep "0.$((RANDOM % 6))"
	ganesha.nfsd -F -f "$work/ganesha.conf" -p "$work/ganesha.pid" -L "$work/log/ganesha" \
		</dev/null >>"$work/log/ganesha.out" 2>&1 &
	server_pid=$!
}

# Until told to stop: each round writes the file over with other content.
write_rounds() {
	local round=0 name
	while [ ! -e "$work/stop" ]; do
		name=big$((round % 2))
		dd if="$work/data/$((round % 3))" of="$mnt/$name" bs=1M conv=fsync status=none || return 1
		cmp "$work/data/$((round % 3))" "$mnt/$name" || return 1
		cp "$work/data/$((round % 3))" "$work/want-$name"
		round=$((round + 1))
	done
	echo "$round files of $mib MiB written" >"$work/wrote"
}

# Operations that must not be done twice, nor reported as failed because they were.
change_names() {
	local i=0 d
	while [ ! -e "$work/stop" ]; do
		d=$mnt/names/$i
		mkdir "$d" || return 1
		(set -C && echo "$i" >"$d/a") || return 1
		ln "$d/a" "$d/b" || return 1
		mv "$d/a" "$d/c" || return 1
		ln -s c "$d/s" || return 1
		rm "$d/b" || return 1
		[ "$(stat -c %h "$d/c")" = 1 ] || return 1
		[ $((i % 2)) = 1 ] || rm -r "$d" || return 1
		i=$((i + 1))
	done
	echo "$i" >"$work/named"
}

check_names() { # COUNT DIR
	local i
	for ((i = 0; i < $1; i++)); do
		if [ $((i % 2)) = 0 ]; then
			[ ! -e "$2/$i" ] || fail "$i was removed, and is there"
		elif [ "$(cat "$2/$i/s")" != "$i" ] || [ "$(ls -A "$2/$i")" != $'c\ns' ]; then
			fail "$i holds '$(ls -A "$2/$i")'"
		fi
	done
}

scenario() {
	local restarts i writer namer name mib
	restarts=$(scaled 4 50 2) mib=$(scaled 48 1024 16)
	mkdir "$work/data"
	for i in 0 1 2; do head -c "$((mib << 20))" /dev/urandom >"$work/data/$i"; done
	target_mount rpc_timeout=5
	mkdir "$mnt/names"
	write_rounds &
	writer=$!
	change_names &
	namer=$!
	for ((i = 0; i < restarts; i++)); do
		sleep "$((1 + RANDOM % 2)).$((RANDOM % 10))"
		server_kill_and_start
	done
	sleep 1
	: >"$work/stop"
	wait "$writer" || fail "a writer saw an error"
	wait "$namer" || fail "a change of names failed"
	log "$(cat "$work/wrote"), $(cat "$work/named") folders, $restarts restarts," \
		"$(stat_of writeback_rewrites) ranges written again, $(stat_of nfs_retries) calls sent again"
	target_umount
	for name in big0 big1; do
		[ ! -e "$work/want-$name" ] || cmp "$work/want-$name" "$store/$name" || fail "$name is wrong"
	done
	check_names "$(cat "$work/named")" "$store/names"
}

run_scenario "$@"
