#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 16_two_cells.sh - two cells, each with a network of its own, on one export: what one
# closed the other reads when it opens; and one of them cut off for a while (D1, D2)
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# The server that every scenario has, with the lock service; rpcbind tells its port.
eval "$(declare -f server_conf | sed 's/Enable_NLM = false/Enable_NLM = true; NSM_Use_Caller_Name = true/')"

# The server is at 10.9.N.1, cell N at 10.9.N.2.
cell_up() { # N
	local dir=$work/cell$1
	mkdir -p "$dir/mnt" "$dir/run"
	unshare --net sleep infinity &
	echo $! >"$dir/pid"
	wait_until 5 has_own_net "$1" || fail "no network namespace for cell $1"
	ip link add "cell$1" type veth peer name eth0 netns "$(cat "$dir/pid")" || skip "no veth devices"
	ip addr add "10.9.$1.1/24" dev "cell$1"
	ip link set "cell$1" up
	in_cell "$1" ip addr add "10.9.$1.2/24" dev eth0
	in_cell "$1" ip link set eth0 up
	in_cell "$1" env PERSIFS_RUNTIME_DIR="$dir/run" timeout 30 "$PERSIFS" mount -o rpc_timeout=5,nlm \
		"${uri/127.0.0.1/10.9.$1.1}" "$dir/mnt" </dev/null >>"$work/log/mount" 2>&1 ||
		fail "cell $1: $(tail -n 2 "$work/log/mount")"
}
has_own_net() { [ "$(readlink "/proc/$(cat "$work/cell$1/pid")/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
in_cell() { nsenter --net="/proc/$(cat "$work/cell$1/pid")/ns/net" "${@:2}"; }

cell_down() { # N
	PERSIFS_RUNTIME_DIR=$work/cell$1/run timeout 30 "$PERSIFS" umount "$work/cell$1/mnt" ||
		fail "cell $1: umount: status $?"
	kill "$(cat "$work/cell$1/pid")"
}

# shellcheck disable=SC2154 # server_pid is server.sh's
server_for_all() {
	end_process "$server_pid"
	sed -i 's/Bind_addr = [0-9.]*/Bind_addr = 0.0.0.0/' "$work/ganesha.conf"
	server_run
	wait_until 20 server_listens "$(sed -n 's/.*NFS_Port = \([0-9]*\).*/\1/p' "$work/ganesha.conf")" ||
		fail "ganesha does not listen"
}

reads() { # FILE WANT
	local got
	got=$(cat "$1")
	[ "$got" = "$2" ] || fail "$1 holds '${got:0:60}', want '${2:0:60}'"
}

what_is_closed_is_read() {
	local i from to
	for ((i = 0; i < $1; i++)); do
		from=$((1 + i % 2)) to=$((2 - i % 2))
		echo "round $i" >"$work/cell$from/mnt/file"
		reads "$work/cell$to/mnt/file" "round $i"
	done
}

# The length may stay the same, and the name is replaced under a reader's feet.
a_replaced_file_is_the_new_one() {
	local i a=$work/cell1/mnt b=$work/cell2/mnt
	for ((i = 1000; i < 1000 + $1; i++)); do
		echo "$i" >"$a/conf.new"
		mv "$a/conf.new" "$a/conf"
		reads "$b/conf" "$i"
	done
}

turns_at_a_log_keep_every_line() {
	local i want=''
	for ((i = 0; i < $1; i++)); do
		echo "line $i" >>"$work/cell$((1 + i % 2))/mnt/log.txt"
		want+="line $i"$'\n'
		reads "$work/cell$((2 - i % 2))/mnt/log.txt" "${want%$'\n'}"
	done
}

a_growing_file_is_seen_to_grow() {
	local i a=$work/cell1/mnt/grow b=$work/cell2/mnt/grow
	for ((i = 1; i <= $1; i++)); do
		head -c 70000 /dev/zero | tr '\0' "$((i % 10))" >>"$a"
		[ "$(wc -c <"$b")" = $((i * 70000)) ] || fail "$(wc -c <"$b") bytes seen of $((i * 70000))"
		[ "$(tail -c 1 "$b")" = $((i % 10)) ] || fail "the end of the growing file is old"
	done
}

# Each step locks the file, reads, adds one, writes, unlocks: none may be lost.
both_count() { # STEPS
	local cell pids=()
	cat >"$work/count.py" <<-'PY'
		import fcntl, os, sys
		fd = os.open(sys.argv[1], os.O_RDWR)
		for _ in range(int(sys.argv[2])):
		    fcntl.lockf(fd, fcntl.LOCK_EX)
		    n = int(os.pread(fd, 16, 0))
		    os.pwrite(fd, b"%15d\n" % (n + 1), 0)
		    fcntl.lockf(fd, fcntl.LOCK_UN)
	PY
	printf '%15d\n' 0 >"$work/cell1/mnt/counter"
	for cell in 1 2; do
		timeout 1200 python3 "$work/count.py" "$work/cell$cell/mnt/counter" "$1" &
		pids+=($!)
	done
	wait "${pids[0]}" || fail "cell 1 could not count"
	wait "${pids[1]}" || fail "cell 2 could not count"
	reads "$work/cell1/mnt/counter" "$(printf '%15d' $((2 * $1)))"
	log "both cells counted to $((2 * $1)) under one lock"
}

a_cut_cell_goes_on_afterwards() { # SECONDS
	local b=$work/cell2/mnt writer
	head -c $((24 << 20)) /dev/urandom >"$work/data"
	dd if="$work/data" of="$b/cut" bs=1M conv=fsync status=none &
	writer=$!
	sleep 0.1
	ip link set cell2 down
	sleep "$1"
	echo other >"$work/cell1/mnt/meanwhile"
	ip link set cell2 up
	wait "$writer" || fail "a cut of $1 s was an error"
	cmp "$work/data" "$b/cut"
	cmp "$work/data" "$work/cell1/mnt/cut"
	reads "$b/meanwhile" other
}

scenario() {
	need ip nsenter unshare python3
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "no network of its own"
	server_for_all
	cell_up 1
	cell_up 2
	what_is_closed_is_read "$(scaled 100 5000 40)"
	a_replaced_file_is_the_new_one "$(scaled 50 2000 20)"
	turns_at_a_log_keep_every_line "$(scaled 40 400 20)"
	a_growing_file_is_seen_to_grow "$(scaled 30 300 10)"
	both_count "$(scaled 100 10000 30)"
	a_cut_cell_goes_on_afterwards "$(scaled 3 60 3)"
	cell_down 1
	cell_down 2
	cmp "$work/data" "$store/cut"
}

run_scenario "$@"
