#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 22_killed_waiters.sh - a program that waits for a server that is gone ends when it is
# killed, whatever it waits in, and only then: a signal that it handles is no reason to
# fail; nothing that was acknowledged is lost, and the mount goes on when the server is back
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

limit=5 # seconds that a killed program may take to end

declare -A waiter=()

# waits NAME COMMAND...: starts it, and sees it wait
waits() {
	"${@:2}" </dev/null >/dev/null 2>>"$work/log/errors" &
	waiter[$1]=$!
}
runs() { ! process_is_gone "$1"; }

all_wait() {
	local name
	sleep 1.5
	for name in "${!waiter[@]}"; do
		runs "${waiter[$name]}" || fail "$name did not wait for the server"
	done
}

kill_one() { # NAME
	kill -KILL "${waiter[$1]}"
	wait_until "$limit" process_is_gone "${waiter[$1]}" ||
		fail "$1 still waits $limit s after SIGKILL, in $(cat "/proc/${waiter[$1]}/wchan")"
	wait "${waiter[$1]}" 2>/dev/null || true
	log "$1 ended"
}

# Builtins only: a child that ends would close the file, and wait.
pause() { read -r -t "$1" _ <>"$work/never" || true; }

keeps_dirty() { # its end closes the file
	exec 7>"$mnt/kept"
	printf %s "$text" >&7 && : >"$work/written"
	pause 1000
}
# shellcheck disable=SC2016 # the inner shell's
# The same as the first process of a namespace, as a container's is.
keeps_dirty_as_init() {
	exec unshare --pid --fork --kill-child bash -c 'exec 7>"$1/init"
		printf %s "$2" >&7 && echo $$ >"$3/init"
		read -r _ <>"$3/never"' - "$mnt" "${text:0:100000}" "$work"
}
writes_much() { # more than may be dirty: the last ones wait
	exec 7>"$mnt/many"
	: >"$work/opened"
	while [ ! -e "$work/go" ]; do pause 0.1; done
	while :; do printf %s "$text"; done >&7
}

# Gets signals all the time, and wants neither stat() nor fsync() to fail by them.
is_alarmed() {
	exec perl -MTime::HiRes=ualarm -MIO::Handle -e '
		open my $f, ">", "$ARGV[0]/alarmed" or die "open: $!";
		open my $g, ">", "$ARGV[1]/alarmed";
		select(undef, undef, undef, 0.1) while !-e "$ARGV[1]/go";
		$SIG{ALRM} = sub {};
		ualarm(50000, 50000);
		die "stat: $!" if stat("$ARGV[0]/never") || !$!{ENOENT};
		syswrite($f, "kept") == 4 && $f->sync or die "fsync: $!";' "$mnt" "$work"
}

scenario() {
	local name init alarmed
	# The kernel lets one change of a directory wait for another: each has its own.
	mkdir "$store"/{list,create,mkdir,rename}
	head -c 4000000 /dev/urandom >"$work/data"
	for name in cold cut rename/from; do cp "$work/data" "$store/$name"; done
	target_mount cache_size=16m,rpc_timeout=5
	ls -l "$mnt" >/dev/null
	text=$(seq 200000)
	mkfifo "$work/never"
	waits close keeps_dirty
	waits init keeps_dirty_as_init
	waits write writes_much
	waits alarmed is_alarmed
	wait_until 10 test -e "$work/written" -a -e "$work/opened" -a -e "$work/init" -a \
		-e "$work/alarmed" || fail "the writers do not start"
	init=$(cat "/proc/${waiter[init]}/task/${waiter[init]}/children")
	server_kill
	: >"$work/go"
	waits stat stat "$mnt/never_seen"
	waits list ls -l "$mnt/list"
	waits open cat "$mnt/cold"
	waits create touch "$mnt/create/new"
	waits mkdir mkdir "$mnt/mkdir/new"
	waits rename mv "$mnt/rename/from" "$mnt/rename/to"
	waits truncate truncate -s 100 "$mnt/cut"
	waits statfs stat -f "$mnt"
	waits fsync sync "$mnt/kept"
	all_wait
	alarmed=${waiter[alarmed]}
	unset "waiter[alarmed]"
	for name in "${!waiter[@]}"; do kill_one "$name"; done
	wait_until "$limit" process_is_gone "${init% }" || fail "a first process still waits after SIGKILL"
	[ "$(stat_of dirty_bytes)" -gt 0 ] || fail "acknowledged data is gone"

	server_run
	wait "$alarmed" || fail "a signal that a program handles made a call fail"
	[ "$(cat "$mnt/kept")" = "$text" ] || fail "what was written before the kill differs"
	echo more >"$mnt/after" || fail "the mount does not go on"
	target_umount
	[ "$(cat "$store/kept")" = "$text" ] || fail "what was written before the kill is not in the store"
	[ "$(cat "$store/after")" = more ] || fail "a later file differs"
}

run_scenario "$@"
