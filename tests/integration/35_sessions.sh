#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 35_sessions.sh - several mounts of one volume: one daemon, coherent, each with its own
# options (docs/driver.md, S1 to S7)
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

OWNER=3000 # identity of the mapped session on the backend

join_at() { # DIR [OPTIONS [URI]]
	mkdir -p "$work/$1"
	timeout 30 "$PERSIFS" mount -o "${2:-log_level=info}" "${3:-$uri}" "$work/$1" \
		</dev/null 2>>"$work/log/mount" || fail "$1: $(tail -n 1 "$work/log/mount")"
}
leave() { # DIR
	timeout 30 "$PERSIFS" umount "$work/$1" || fail "umount $1: status $?"
}
said_of() { "$PERSIFS_CTL" stat "$work/$1" --json | python3 -c "import json,sys; s=json.load(sys.stdin); print(eval(sys.argv[1]))" "$2"; }
device() { stat -c %d "$1"; }

equal_options_share_a_superblock() {
	join_at same
	[ "$(device "$work/same")" = "$(device "$mnt")" ] || fail "equal options have two superblocks"
	join_at readonly ro
	[ "$(device "$work/readonly")" = "$(device "$mnt")" ] || fail "ro has a superblock of its own"
	echo one >"$mnt/one"
	[ "$(cat "$work/same/one" "$work/readonly/one")" = "one"$'\n'"one" ] || fail "not the same file"
	fails_as "Read-only file system" touch "$work/readonly/two"
	touch "$work/same/two"
	leave readonly
	leave same
	[ -e "$mnt/two" ] || fail "a file went with a mount"
}

other_semantics_are_refused() {
	mkdir -p "$work/other"
	fails_with "option consistency=strict: the volume is mounted already, with consistency=close-to-open" \
		timeout 30 "$PERSIFS" mount -o consistency=strict "$uri" "$work/other"
	fails_with "option soft=yes" timeout 30 "$PERSIFS" mount -o soft "$uri" "$work/other"
	! mountpoint -q "$work/other" || fail "mounted all the same"
}

mapped_sessions_show_their_owner() {
	join_at mapped "uid=$OWNER,gid=$OWNER"
	[ "$(device "$work/mapped")" != "$(device "$mnt")" ] || fail "one superblock for two mappings"
	[ "$(said_of mapped 's["worker_pid"]')" = "$(stat_of worker_pid)" ] || fail "two daemons"
	[ "$(said_of mapped 'len(s["sessions"])')" = 2 ] || fail "not two sessions"
	install -d -m 777 "$mnt/app"
	(umask 022 && echo theirs >"$work/mapped/app/file")
	[ "$(stat -c %u:%g "$work/mapped/app/file")" = 2000:2000 ] || fail "the app is not the owner"
	[ "$(stat -c %u:%g "$mnt/app/file")" = "$OWNER:$OWNER" ] || fail "not the mapped owner"
	[ "$(stat -c %u:%g "$store/app/file")" = "$OWNER:$OWNER" ] || fail "not the mapped owner behind"
}

# S1, for contents of the same and of other length.
what_one_closed_the_other_reads() {
	local i
	for ((i = 0; i < $(scaled 200 5000 50); i++)); do
		if [ $((i % 2)) = 0 ]; then
			echo "round $i" >"$mnt/app/turn"
			[ "$(cat "$work/mapped/app/turn")" = "round $i" ] || fail "round $i: stale in the mapped session"
			chmod 666 "$mnt/app/turn"
		else
			echo "round $i" >"$work/mapped/app/turn"
			[ "$(cat "$mnt/app/turn")" = "round $i" ] || fail "round $i: stale in the plain session"
		fi
	done
}

# The same without a moment between: nothing that is told later is needed for it.
each_open_reads_what_was_closed() {
	python3 - "$mnt/app" "$work/mapped/app" "$(scaled 500 20000 100)" <<-'EOF' || fail "an open reads what was before"
		import os, sys
		dirs, rounds = sys.argv[1:3], int(sys.argv[3])
		open(dirs[0] + "/quick", "w").close()
		os.chmod(dirs[0] + "/quick", 0o666)
		want = ""
		for i in range(rounds):
		    with open(dirs[i % 2] + "/quick", "w") as f:
		        want = str(i) * (i % 100 + 1)
		        f.write(want)
		    with open(dirs[(i + 1) % 2] + "/quick") as f:
		        got = f.read()
		    if got != want:
		        sys.exit(f"round {i}: {len(got)} bytes, {got[:20]!r}, instead of {len(want)}, {want[:20]!r}")
	EOF
}

# S2: no reopening, by read() and through a mapping. S6: names that are replaced, and come.
open_readers_see_writes() {
	python3 - "$mnt/app" "$work/mapped/app" "$(scaled 100 2000 30)" <<-'EOF' || fail "an open reader, or a name, is stale"
		import mmap, os, sys, time
		a, b, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
		LIMIT = 0.1
		worst = {}

		def until(what, want, get):
		    began = time.monotonic()
		    while get() != want:
		        if time.monotonic() - began > 2:
		            sys.exit(f"{what}: {get()!r} instead of {want!r} after 2 s")
		        time.sleep(0.001)
		    worst[what] = max(worst.get(what, 0), time.monotonic() - began)

		with open(a + "/open", "wb") as f:
		    f.write(b"%08d" % 0)
		os.chmod(a + "/open", 0o666)
		reader = os.open(b + "/open", os.O_RDONLY)
		mapped = mmap.mmap(reader, 8, prot=mmap.PROT_READ)
		assert os.pread(reader, 8, 0) == b"00000000"
		writer = os.open(a + "/open", os.O_WRONLY)
		for i in range(1, rounds):
		    want = b"%08d" % i
		    os.pwrite(writer, want, 0)
		    until("read", want, lambda: os.pread(reader, 8, 0))
		    until("mapping", want, lambda: mapped[:8])
		    with open(a + "/conf.new", "w") as f:
		        f.write(str(i))
		    os.rename(a + "/conf.new", a + "/conf")
		    until("replaced name", str(i), lambda: open(b + "/conf").read())
		    until("listing", True, lambda: f"new{i - 1}" not in os.listdir(b) and "conf" in os.listdir(b))
		    open(f"{a}/new{i}", "w").close()
		    until("new name", True, lambda: os.path.exists(f"{b}/new{i}"))
		    os.unlink(f"{a}/new{i}")
		    until("removed name", False, lambda: os.path.exists(f"{b}/new{i}"))
		print("worst, in milliseconds: " + ", ".join(f"{k} {v * 1000:.1f}" for k, v in worst.items()))
	EOF
}

# S3, S4: appends of four processes, two in each session.
appends_are_not_lost() {
	local n i lines pids=()
	n=$(scaled 500 20000 100)
	: >"$mnt/app/log" && chmod 666 "$mnt/app/log"
	for i in 1 2 3 4; do
		python3 - "$([ $((i % 2)) = 0 ] && echo "$mnt" || echo "$work/mapped")/app/log" "$i" "$n" <<-'EOF' &
			import os, sys
			fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
			for i in range(int(sys.argv[3])):
			    os.write(fd, b"%s %06d\n" % (sys.argv[2].encode(), i))
			os.close(fd)
		EOF
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail "a process failed"; done
	lines=$(sort -u "$mnt/app/log" | wc -l)
	[ "$lines" = $((4 * n)) ] || fail "$lines different lines of $((4 * n)) in the log"
	cmp "$mnt/app/log" "$work/mapped/app/log" || fail "the sessions see different logs"
	[ "$(wc -l <"$mnt/app/log")" = $((4 * n)) ] || fail "lines of the log are torn"
}

# S5
locks_exclude_across_sessions() {
	local i n pids=()
	n=$(scaled 200 5000 50)
	echo 0 >"$mnt/app/counter" && chmod 666 "$mnt/app/counter"
	for i in 1 2 3 4; do
		python3 - "$([ $((i % 2)) = 0 ] && echo "$mnt" || echo "$work/mapped")/app/counter" "$n" <<-'EOF' &
			import fcntl, os, sys
			fd = os.open(sys.argv[1], os.O_RDWR)
			for i in range(int(sys.argv[2])):
			    fcntl.lockf(fd, fcntl.LOCK_EX)
			    value = int(os.pread(fd, 32, 0)) + 1
			    os.pwrite(fd, b"%d\n" % value, 0)
			    fcntl.lockf(fd, fcntl.LOCK_UN)
		EOF
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail "a process failed"; done
	[ "$(cat "$work/mapped/app/counter")" = $((4 * n)) ] || fail "counted to $(cat "$mnt/app/counter"), not $((4 * n))"
	# shellcheck disable=SC2016 # the other shell's
	flock "$mnt/app/counter" bash -c '! flock -n "$1" true' - "$work/mapped/app/counter" || fail "flock does not exclude"
}

# S7: a session that is unmounted lazily serves its open files, then goes, with its locks.
a_session_ends_alone() {
	local pid
	python3 - "$work/mapped/app/held" <<-'EOF' &
		import fcntl, os, sys, time
		fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o666)
		os.fchmod(fd, 0o666)
		fcntl.lockf(fd, fcntl.LOCK_EX)
		os.write(fd, b"before")
		print("held", file=open(sys.argv[1] + ".ready", "w"))
		while not os.path.exists(sys.argv[1].replace("/mapped/", "/mnt/") + ".go"):
		    time.sleep(0.01)
		os.pwrite(fd, b"after!", 0)
		os.fsync(fd)
		time.sleep(300)
	EOF
	pid=$!
	wait_until 10 test -e "$mnt/app/held.ready" || fail "nobody holds the file"
	timeout 30 "$PERSIFS" umount -l "$work/mapped" || fail "umount -l: status $?"
	! mountpoint -q "$work/mapped" || fail "still mounted"
	touch "$mnt/app/held.go"
	wait_until 10 grep -q after! "$mnt/app/held" || fail "a file open in an unmounted session is not served"
	! locked_by_me "$mnt/app/held" || fail "the lock went with the mount point"
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
	wait_until 10 locked_by_me "$mnt/app/held" || fail "the lock outlives its session"
	wait_until 10 one_session || fail "the session is still there"
	echo on >"$mnt/app/on"
}
locked_by_me() {
	python3 -c 'import fcntl,os,sys; fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)' "$1" 2>/dev/null
}
one_session() { [ "$(said_of mnt 'len(s["sessions"])')" = 1 ]; }

# A folder inside the export is the root of a session in the same daemon.
subfolders_share_the_daemon() {
	[ "$target" = nfs ] || return 0
	join_at sub "log_level=info" "${uri/\?/\/app\?}"
	[ "$(said_of sub 's["worker_pid"]')" = "$(stat_of worker_pid)" ] || fail "a subfolder has a daemon of its own"
	[ "$(cat "$work/sub/on")" = on ] || fail "the subfolder is another one"
	echo inside >"$work/sub/inside"
	[ "$(cat "$mnt/app/inside")" = inside ] || fail "not seen from above"
	join_at sub2 ro "${uri/\?/\/app\?}"
	[ "$(device "$work/sub2")" = "$(device "$work/sub")" ] || fail "one folder has two superblocks"
	leave sub
	leave sub2
}

# Who joins needs nothing of the server; nor do those who ask the daemon.
a_dead_server_holds_up_nobody() {
	[ "$target" = nfs ] || return 0
	# shellcheck disable=SC2154 # of server.sh
	kill -STOP "$server_pid"
	timeout 5 "$PERSIFS" mount "$uri" "$work/same" || fail "joining waits for the server"
	timeout 5 "$PERSIFS_CTL" ping "$work/same" || fail "the daemon does not answer"
	umount -l "$work/same"
	kill -CONT "$server_pid"
}

many_come_and_go() {
	local i j pids=()
	for i in $(seq "$(scaled 3 30 2)"); do
		pids=()
		for j in 1 2 3 4 5 6; do
			(
				join_at "many$j" "uid=$((3000 + j % 3 * 10)),gid=3000"
				echo "$i" >"$work/many$j/app/many$j"
				[ "$(cat "$mnt/app/many$j")" = "$i" ] || fail "many$j is stale"
				leave "many$j"
			) &
			pids+=($!)
		done
		for j in "${pids[@]}"; do wait "$j" || fail "a mount failed among many: $(tail -n 1 "$work/log/mount")"; done
	done
	one_session || wait_until 10 one_session || fail "sessions are left"
	[ "$(grep -c "$work/many" /proc/self/mountinfo)" = 0 ] || fail "mounts are left"
}

scenario() {
	[ "$target" != nfs ] || chmod 777 "$store"
	target_mount
	[ "$target" = dir ] || chmod 777 "$mnt" || true
	equal_options_share_a_superblock
	other_semantics_are_refused
	mapped_sessions_show_their_owner
	what_one_closed_the_other_reads
	each_open_reads_what_was_closed
	open_readers_see_writes
	appends_are_not_lost
	locks_exclude_across_sessions
	a_session_ends_alone
	subfolders_share_the_daemon
	a_dead_server_holds_up_nobody
	many_come_and_go
	target_umount
}

run_scenario "$@"
