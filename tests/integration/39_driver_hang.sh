#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 39_driver_hang.sh - stores that do not answer: the driver goes on answering, its own
# limits hold, nothing is left behind, and no byte is lost
fits="nfsfault"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/driver.sh
. "${BASH_SOURCE%/*}/lib/driver.sh"

limits='"mount_timeout": 4, "unmount_wait": 1, "evacuate_timeout": 6'
silent_pid='' silent_port='' silent='' writer=''

# A server that takes connections and says nothing.
silent_start() {
	silent_port=$(free_port)
	python3 -c 'import socket, sys, time
s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=500)
time.sleep(1000)' "$silent_port" </dev/null >>"$work/log/silent" 2>&1 &
	silent_pid=$!
	wait_until 10 server_listens "$silent_port" || fail "no silent server"
	silent="nfs://127.0.0.1/export?nfsport=$silent_port&mountport=$silent_port"
}

create() { # NAME SOURCE
	ok Create "{\"Name\":\"$1\",\"Opts\":{\"source\":\"$2\"}}"
}

in_time() { # SECONDS COMMAND...
	local begun=$SECONDS limit=$1
	shift
	"$@" || fail "$*: status $?"
	[ $((SECONDS - begun)) -le $((limit + $(scaled 2 2 10))) ] || fail "$((SECONDS - begun)) s instead of $limit: $*"
}

ask_quietly() { ask "$@" >/dev/null; }

is_mounting() { ask Get '{"Name":"hung"}' | grep -q '"state":"mounting"'; }
is_known() { ask Get '{"Name":"hung"}' | grep -q '"state":"known"'; }

hung_mount_holds_up_nobody() {
	local mount
	create hung "$silent"
	ask Mount '{"Name":"hung"}' >"$work/hung" &
	mount=$!
	wait_until 10 is_mounting || fail "not mounting"
	in_time 1 ask_quietly Activate
	in_time 1 ask_quietly Capabilities
	in_time 1 ask_quietly List
	in_time 1 ok Get '{"Name":"hung"}'
	in_time 1 errs Path '{"Name":"hung"}' 'not mounted'
	in_time 1 create other "$source"
	in_time 1 mounts_at other
	in_time 2 ok Unmount '{"Name":"other"}'
	is_mounting || fail "the Mount did not hang"
	wait "$mount"
	grep -q 'SafeDescription.*did not become usable within 4 seconds' "$work/hung" || fail "R12: $(cat "$work/hung")"
	nothing_of_hung
}

nothing_of_hung() {
	[ ! -e "$root_dir/hung" ] || fail "R12: a folder is left"
	! grep -qF " $root_dir/hung " /proc/self/mounts || fail "R12: a mount is left"
	wait_until 20 no_persifs_runs || fail "R12: left: $(ps -o pid,stat,args -p "$(persifs_pids | paste -sd,)")"
}

client_hangs_up() {
	! curl -s --max-time 1 -X POST --unix-socket "$socket" -d '{"Name":"hung"}' http://x/VolumeDriver.Mount ||
		fail "the Mount did not hang"
	wait_until 3 is_known || fail "R12: still mounting though the client has gone"
	nothing_of_hung
}

sigterm_during_a_mount() {
	ask Mount '{"Name":"hung"}' >/dev/null 2>&1 &
	wait_until 10 is_mounting || fail "not mounting"
	in_time 3 driver_stop
	driver_start "$limits"
	is_known || fail "$(ask Get '{"Name":"hung"}')"
	nothing_of_hung
}

# SIGKILL leaves its child alive; the next driver resolves that.
sigkill_during_a_mount() {
	ask Mount '{"Name":"hung"}' >/dev/null 2>&1 &
	wait_until 10 is_mounting || fail "not mounting"
	driver_kill
	driver_start "$limits"
	is_known || fail "$(ask Get '{"Name":"hung"}')"
	[ ! -e "$root_dir/hung" ] || fail "R12: a folder is left"
	end_orphans
}

# Orphans of the killed driver; each waits for the silent server, and for nobody else.
end_orphans() {
	local p
	for p in $(persifs_pids); do kill -KILL "$p" 2>/dev/null || true; done
	wait_until 10 no_persifs_runs || fail "still running"
}

# Writes into a file and keeps it open, for a close would wait for the server.
write_and_keep() { # FILE TEXT
	rm -f "$work/written" "$work/go"
	mkfifo "$work/go"
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
print("open", flush=True)
open(sys.argv[3]).read()
os.write(fd, sys.argv[2].encode() + b"\n")
print("written", flush=True)
open(sys.argv[3]).read()' "$1" "$2" "$work/go" </dev/null >"$work/written" &
	writer=$!
	wait_until 10 grep -q open "$work/written" || fail "the writer opens nothing"
	# shellcheck disable=SC2154 # server.sh sets it
	kill -STOP "$server_pid"
	: >"$work/go"
	wait_until 10 grep -q written "$work/written" || fail "the writer cannot write"
}

# The server goes on, and the writer closes.
writer_ends() {
	kill -CONT "$server_pid"
	: >"$work/go"
	wait "$writer" || fail "the writer ended with status $?"
}

stored_is() { [ "$(server_say "cat $1" 2>/dev/null)" = "$2" ]; }

unmount_while_the_server_is_silent() {
	create dirty "$source"
	mounts_at dirty
	echo dirty >"$root_dir/dirty/early"
	sync "$root_dir/dirty/early"
	write_and_keep "$root_dir/dirty/early" other
	in_time 2 ok Unmount '{"Name":"dirty"}'
	[ ! -e "$root_dir/dirty" ] || fail "the folder is left"
	writer_ends
	wait_until 20 stored_is /early other || fail "R13: lost: $(server_say 'cat /early')"
	wait_until 30 no_persifs_runs || fail "the daemon does not end"
}

# What an Unmount did not wait for is waited for at the end of all, and told.
evacuate_what_was_unmounted_before() {
	local answer
	create left "$source"
	mounts_at left
	echo over >"$root_dir/left/over"
	sync "$root_dir/left/over"
	write_and_keep "$root_dir/left/over" kept
	in_time 2 ok Unmount '{"Name":"left"}'
	in_time 6 curl -s --max-time 30 -o "$work/answer" "$admin/evacuate"
	answer=$(cat "$work/answer")
	[[ $answer == *'volumes with data left to write: nfs-'*'"Failed":[]'* ]] || fail "evacuate: $answer"
	wait_until 10 process_is_gone "$driver_pid" || fail "the driver does not end"
	driver_pid=''
	writer_ends
	wait_until 20 stored_is /over kept || fail "lost: $(server_say 'cat /over')"
	wait_until 30 no_persifs_runs || fail "the daemon does not end"
	driver_start "$limits"
}

evacuate_while_the_server_is_silent() {
	local answer
	create full "$source"
	mounts_at full
	echo evac >"$root_dir/full/evac"
	sync "$root_dir/full/evac"
	write_and_keep "$root_dir/full/evac" kept
	in_time 6 curl -s --max-time 30 -o "$work/answer" "$admin/evacuate"
	answer=$(cat "$work/answer")
	[[ $answer == *'volumes with data left to write: full'*'"Dirty":["full"]'* ]] || fail "evacuate: $answer"
	wait_until 10 process_is_gone "$driver_pid" || fail "the driver does not end"
	driver_pid=''
	# The names that were never mounted are still known.
	[ "$(ls -A "$root_dir")" = driver-state.json ] || fail "left: $(ls -A "$root_dir")"
	writer_ends
	wait_until 20 stored_is /evac kept || fail "lost: $(server_say 'cat /evac')"
	wait_until 30 no_persifs_runs || fail "the daemon does not end"
}

# Senders of a byte now and then, and those who say nothing.
slow_clients() {
	python3 - "$socket" <<-'PY' >"$work/slow" || fail "$(tail -n 1 "$work/slow")"
		import socket, sys, time
		def dial():
		    s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1]); return s
		idle = [dial() for _ in range(1000)]
		for s in idle[::2]: s.sendall(b"POST /VolumeDriver.Li")
		for s in idle[1::4]: s.sendall(b"POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n{")
		s = dial(); begun = time.time()
		s.sendall(b"POST /VolumeDriver.List HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		assert b'"Err":""' in s.recv(4096), "no answer beside 1000 idle connections"
		assert time.time() - begun < 5, "slow beside 1000 idle connections"
	PY
	[ "$(awk '/VmRSS/ { print $2 }' "/proc/$driver_pid/status")" -lt "$(scaled 100000 100000 1000000)" ] || fail "memory"
}

scenario() {
	driver_prepare
	need python3
	silent_start
	driver_start "$limits"
	slow_clients
	hung_mount_holds_up_nobody
	client_hangs_up
	sigterm_during_a_mount
	sigkill_during_a_mount
	unmount_while_the_server_is_silent
	evacuate_what_was_unmounted_before
	evacuate_while_the_server_is_silent
	end_process "$silent_pid"
	no_sanitizer_reports
}

run_scenario "$@"
