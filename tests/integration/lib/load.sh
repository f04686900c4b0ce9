# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # shares variables with test.sh and target.sh
# load.sh - programs that write, and that make and remove names, while something
# happens to the server: they may see a delay, but no error and no wrong byte
#
#   load_start MIB   starts both in the mount
#   load_stop        ends them; fails when one saw an error
#   load_check DIR   compares DIR, the server's folder, with what they did

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

load_start() {
	local i
	mib=$1
	mkdir "$work/data" "$mnt/names"
	for i in 0 1 2; do head -c "$((mib << 20))" /dev/urandom >"$work/data/$i"; done
	write_rounds &
	load_writer=$!
	change_names &
	load_namer=$!
}

load_stop() {
	: >"$work/stop"
	wait "$load_writer" || fail "a writer saw an error"
	wait "$load_namer" || fail "a change of names failed"
	log "$(cat "$work/wrote"), $(cat "$work/named") folders," \
		"$(stat_of writeback_rewrites) ranges written again, $(stat_of nfs_retries) calls sent again"
}

load_check() {
	local name
	for name in big0 big1; do
		[ ! -e "$work/want-$name" ] || cmp "$work/want-$name" "$1/$name" || fail "$name is wrong"
	done
	check_names "$(cat "$work/named")" "$1/names"
}
