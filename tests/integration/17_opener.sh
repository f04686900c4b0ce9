#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 17_opener.sh - connections are opened by the supervisor's children: the worker
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
name_service_is_back() { umount /etc/hosts; }

lose_one_connection() { server_say "fault cut count=1 at=0" >/dev/null; }

# Each file is asked for at the server; which of them answer tells which
# connections are there.
ask_all() { # SECONDS
	local i pids=() got=0
	for ((i = 0; i < FILES; i++)); do
		timeout "$1" dd if="$mnt/f$i" of=/dev/null iflag=direct status=none 2>/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do if wait "$i"; then got=$((got + 1)); fi; done
	echo "$got"
}

hanging_name_service_stops_nobody_else() {
	local i got start
	target_mount nconnect=4,attr_timeout=0,entry_timeout=0,consistency=strict
	for ((i = 0; i < FILES; i++)); do echo "$i" >"$mnt/f$i"; done
	[ "$(ask_all 20)" = "$FILES" ] || fail "not all files can be read"
	name_service_hangs
	lose_one_connection
	# Whose call was cut waits, as do others of its connection.
	timeout 2 cat "$mnt"/f* >/dev/null 2>&1 || true
	got=$(ask_all 5)
	[ "$got" -gt 0 ] || fail "one lost connection stopped all"
	[ "$got" -lt "$FILES" ] || fail "no connection was lost"
	log "$got of $FILES files answer while a connection waits for the name service"
	"$PERSIFS_CTL" stat "$mnt" >/dev/null || fail "stat does not answer"
	name_service_is_back
	[ "$(ask_all 30)" = "$FILES" ] || fail "not all files are back with the name service"
	name_service_hangs
	lose_one_connection
	timeout 2 cat "$mnt"/f* >/dev/null 2>&1 || true
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

dead_address_costs_little() {
	local port start
	port=${uri#*nfsport=}
	swallow 127.0.0.3 "${port%%&*}"
	names 127.0.0.3 127.0.0.1
	start=$(date +%s%N)
	target_mount
	echo data >"$mnt/late"
	target_umount
	log "mounted past a dead address in $((($(date +%s%N) - start) / 1000000)) ms"
	names 127.0.0.1
	end_process "$swallower"
}

reserved_port() {
	local port low
	target_mount resvport
	port=${uri#*nfsport=}
	low=$(ss -Htn state established dst "127.0.0.1:${port%%&*}" | awk '{ n = split($3, a, ":"); if (a[n] + 0 < 1024) print a[n] }')
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
	strace -f -qq -o "$work/trace" -e trace=socket,connect,open,openat,clone,clone3,fork,vfork \
		"$PERSIFS" mount -f -o nconnect=2 "$uri" "$mnt" </dev/null >>"$work/log/mount" 2>&1 &
	wait_until "$STEP_SECONDS" is_mounted || fail "no mount under strace: $(tail -n 3 "$work/log/mount")"
	wait_until 20 "$PERSIFS_CTL" stat "$mnt" >/dev/null 2>&1 || fail "no answer under strace"
	super=$(stat_of supervisor_pid)
	echo data >"$mnt/traced"
	lose_one_connection
	timeout 30 cat "$mnt/traced" >/dev/null || fail "cannot read after a lost connection"
	target_umount
	# Processes that the supervisor forked, the worker aside: it is the first.
	openers=$(awk -v s="$super" '$1 == s && /clone|fork/ && $NF ~ /^[0-9]+$/ { print $NF }' "$work/trace" | tail -n +2)
	[ "$(wc -w <<<"$openers")" -ge 3 ] || fail "no openers in the trace"
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
