#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 23_opener.sh - connections are opened by the supervisor's children: the worker
# makes no socket and asks no name service; a name service that hangs, and an
# address that swallows, hold up nothing else; a reserved port that is not to be had
# fails with a sentence
fits="nfsfault"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

FILES=24

# A server whose listening queue is full: it never answers a SYN.
swallow() { # ADDRESS PORT
	python3 - "$1" "$2" >"$work/swallow.out" 2>&1 <<-'PY' &
		import socket, sys, time
		at = (sys.argv[1], int(sys.argv[2]))
		s = socket.socket()
		s.bind(at)
		s.listen(0)
		held = []
		for _ in range(8):
		    c = socket.socket()
		    c.setblocking(False)
		    c.connect_ex(at)
		    held.append(c)
		time.sleep(0.2)
		print("full", flush=True)
		time.sleep(600)
	PY
	swallower=$!
	wait_until 10 grep -qx full "$work/swallow.out" || fail "no address that swallows"
}

names() { printf '127.0.0.1 localhost\n' >"$work/hosts" && printf '%s nas.test\n' "$@" >>"$work/hosts"; }
name_service_hangs() { mount --bind "$work/fifo" /etc/hosts; }
name_service_is_back() { umount -l /etc/hosts; } # openers still read it

# Files that are open, so that no path has to be walked: for each line, a number of
# seconds, all are read at the server, and the number of those that came is told.
start_reader() {
	cat >"$work/reader.py" <<-'PY'
		import os, sys, threading, time

		fds = [os.open(p, os.O_RDONLY) for p in sys.argv[1:]]
		for line in sys.stdin:
		    got = []
		    for fd in fds:
		        threading.Thread(target=lambda fd=fd: got.append(os.pread(fd, 100, 0)), daemon=True).start()
		    end = time.monotonic() + float(line)
		    while len(got) < len(fds) and time.monotonic() < end:
		        time.sleep(0.01)
		    print(len(got), flush=True)
	PY
	coproc READER { exec python3 "$work/reader.py" "$@" 2>"$work/log/reader"; }
	# shellcheck disable=SC2153 # coproc sets it
	reader=$READER_PID
}
ask_all() { # SECONDS
	echo "$1" >&"${READER[1]}"
	read -r got <&"${READER[0]}" || fail "the reader ended"
}
end_reader() {
	kill -KILL "$reader"
	wait "$reader" 2>/dev/null || true
}

lose_one_connection() { # PROCEDURE
	server_say "fault cut count=1 at=0 proc=$1" >/dev/null
}
opener_runs() { grep -qsx persifs-opener /proc/[0-9]*/comm; }

open_files() {
	local i paths=()
	target_mount nconnect=4,consistency=strict
	for ((i = 0; i < FILES; i++)); do
		echo "$i" >"$mnt/f$i"
		paths+=("$mnt/f$i")
	done
	start_reader "${paths[@]}"
	ask_all 20
	[ "$got" = "$FILES" ] || fail "not all files can be read: $got"
}

hanging_name_service_stops_nobody_else() {
	local got start=$SECONDS
	open_files
	name_service_hangs
	lose_one_connection READ
	ask_all 3
	opener_runs || fail "no opener waits for the name service"
	[ "$got" -gt 0 ] || fail "one lost connection stopped all"
	log "$got of $FILES files answer while a connection waits for the name service"
	"$PERSIFS_CTL" stat "$mnt" >/dev/null || fail "stat does not answer"
	name_service_is_back
	ask_all 30
	[ "$got" = "$FILES" ] || fail "not all files are back with the name service: $got"
	name_service_hangs
	lose_one_connection READ
	ask_all 1
	end_reader
	start=$SECONDS
	target_umount
	[ $((SECONDS - start)) -lt 15 ] || fail "umount waited for the name service: $((SECONDS - start)) s"
	log "umount took $((SECONDS - start)) s"
	start=$SECONDS
	fails_with "name service" timeout 60 "$PERSIFS" mount "$uri" "$mnt"
	log "a mount that gets no name gives up after $((SECONDS - start)) s"
	nothing_is_left
	name_service_is_back
}

# The resolver puts 127.0.0.1 first, as the nearer one.
dead_address_costs_little() {
	local port start took
	server_stop
	rm "$work/fault.ready"
	server_start_fault --address 127.0.0.3
	uri=${server_uri/127.0.0.1/nas.test}
	port=${uri#*nfsport=}
	swallow 127.0.0.1 "${port%%&*}"
	names 127.0.0.1 127.0.0.3
	start=$(date +%s%N)
	target_mount
	took=$((($(date +%s%N) - start) / 1000000))
	echo data >"$mnt/late"
	target_umount
	[ "$took" -ge 400 ] || fail "the dead address was not tried"
	[ "$took" -le 8000 ] || fail "a dead address costs $took ms"
	log "mounted past a dead address in $took ms"
	end_process "$swallower"
	names 127.0.0.3
}

reserved_port() {
	local port low
	target_mount resvport
	port=${uri#*nfsport=}
	low=$(ss -Htn state established dst "127.0.0.3:${port%%&*}" | awk '{ n = split($3, a, ":"); if (a[n] + 0 < 1024) print a[n] }')
	[ -n "$low" ] || fail "no connection from a port below 1024"
	target_umount
	# A user who is root only in a namespace of his own may not.
	fails_with "option resvport" unshare --user --map-root-user --mount \
		timeout 60 "$PERSIFS" mount -o resvport "$uri" "$mnt"
	nothing_is_left
}

# The first words of a line of the trace are a thread and its call.
worker_makes_no_socket() {
	local super bad openers
	# Leaks cannot be looked for under a tracer.
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -qq -o "$work/trace" -e trace=socket,connect,open,openat,clone,clone3,fork,vfork \
		"$PERSIFS" mount -f -o attr_timeout=0,consistency=strict "$uri" "$mnt" </dev/null >>"$work/log/mount" 2>&1 &
	wait_until "$STEP_SECONDS" is_mounted || fail "no mount under strace: $(tail -n 3 "$work/log/mount")"
	wait_until 20 "$PERSIFS_CTL" stat "$mnt" >/dev/null 2>&1 || fail "no answer under strace"
	super=$(stat_of supervisor_pid)
	echo data >"$mnt/traced"
	lose_one_connection READ
	timeout 30 cat "$mnt/traced" >/dev/null || fail "cannot read after a lost connection"
	target_umount
	# Processes that the supervisor forked, the worker aside: it is the first.
	openers=$(awk -v s="$super" '$1 == s && /clone|fork/ && $NF ~ /^[0-9]+$/ { print $NF }' "$work/trace" | tail -n +2)
	[ "$(wc -w <<<"$openers")" -ge 4 ] || fail "not for mount, connection, reconnection and unmount: $openers"
	grep -E '^[0-9]+ +socket\(AF_INET' "$work/trace" >"$work/inet" || fail "the trace shows no socket at all"
	bad=$(awk -v list="$openers" 'BEGIN { n = split(list, a); for (i = 1; i <= n; i++) is_opener[a[i]] = 1 }
		!($1 in is_opener) && /AF_INET|\/etc\/(hosts|resolv.conf|nsswitch.conf)/' "$work/trace")
	[ -z "$bad" ] || fail "not by an opener: $(head -n 5 <<<"$bad")"
	log "$(wc -l <"$work/inet") sockets, all made by $(wc -w <<<"$openers") openers"
}

scenario() {
	need python3 ss
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "/etc/hosts is not ours to change"
	mkfifo "$work/fifo"
	names 127.0.0.1
	mount --bind "$work/hosts" /etc/hosts
	uri=${uri/127.0.0.1/nas.test}
	target_save
	hanging_name_service_stops_nobody_else
	dead_address_costs_little
	reserved_port
	command -v strace >/dev/null || skip "no strace on this machine for the rest"
	worker_makes_no_socket
}

run_scenario "$@"
