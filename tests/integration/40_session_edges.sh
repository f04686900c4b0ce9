#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 40_session_edges.sh - sessions that come and go at bad moments: killed joiners and daemons,
# two first mounts at once, a volume that is ending, nonsense on the control socket
fits="dir"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

mount_at() { # DIR [OPTIONS]
	timeout 90 "$PERSIFS" mount -o "${2:-log_level=info}" "$uri" "$work/$1" </dev/null 2>"$work/log/mount.$1"
}
leave() { timeout 60 "$PERSIFS" umount "$work/$1" || fail "umount $1: status $?"; }
said_of() { "$PERSIFS_CTL" stat "$work/$1" --json | python3 -c "import json,sys; s=json.load(sys.stdin); print(eval(sys.argv[1]))" "$2"; }
device() { stat -c %d "$1"; }

# One line to the volume's socket, or several, each with a descriptor beside it or without
# ("-"); prints the answers.
write_say() {
	cat >"$work/say.py" <<-'EOF'
		import glob, os, socket, sys
		def open_it(what):
		    if what == "-":
		        return []
		    if what == "pipe":
		        return [os.pipe()[0]]
		    return [os.open(what, os.O_RDWR)]
		path = [p for p in glob.glob(sys.argv[1] + "/*.sock") if not os.path.islink(p)][0]
		for what, text in zip(sys.argv[2::2], sys.argv[3::2]):
		    text = text.replace("LONG", "1" * 1000000)
		    s = socket.socket(socket.AF_UNIX)
		    s.settimeout(40)
		    s.connect(path)
		    try:
		        socket.send_fds(s, [text[:1].encode()], open_it(what))
		        s.sendall(text[1:].encode() + b"\n")
		        print(s.recv(65536).decode().strip() or "closed", flush=True)
		    except (BrokenPipeError, ConnectionResetError):
		        print("closed", flush=True)
	EOF
}
say() { timeout 100 python3 "$work/say.py" "$work/run" "$@"; }

still_serves() {
	[ "$(stat_of worker_pid)" = "$1" ] || fail "$2: another worker"
	echo "$2" >"$mnt/serves"
	[ "$(cat "$mnt/serves")" = "$2" ] || fail "$2: does not serve"
}

nonsense_on_the_socket() {
	local pid what mounted
	pid=$(stat_of worker_pid)
	mounted="{\"cmd\":\"mounted\",\"uri\":\"$uri\",\"options\":\"uid=3000,gid=3000\",\"major\":0,\"minor\":9999}"
	echo "not a device" >"$work/regular"
	for what in - "$work/regular" /dev/null pipe /dev/fuse; do
		for _ in 1 2 3 4 5; do
			say "$what" "$mounted" | grep -q '"ok": *false' || fail "mounted with $what is not refused"
		done
		still_serves "$pid" "mounted with $what"
	done
	say - '{"cmd":"join"}' - '{"cmd":"join","uri":"nfs://elsewhere/x","options":"soft"}' \
		- '{"cmd":"mounted","uri":1,"options":[]}' - '[]' - 'nonsense' \
		- '{"cmd":"LONG"}' >"$work/log/nonsense"
	! grep -q '"ok": *true' "$work/log/nonsense" || fail "nonsense is answered with yes"
	still_serves "$pid" nonsense
	[ "$(said_of mnt 'len(s["sessions"])')" = 1 ] || fail "a session is left of nonsense"
}

# More clients than are served at a time wait; one that does not read holds nobody up.
crowds_on_the_socket() {
	local pid
	"$PERSIFS_CTL" stat "$mnt" >/dev/null
	cat >"$work/crowd.py" <<-'EOF'
		import glob, os, socket, sys, time
		path = [p for p in glob.glob(sys.argv[1] + "/*.sock") if not os.path.islink(p)][0]
		def client():
		    s = socket.socket(socket.AF_UNIX)
		    s.connect(path)
		    return s
		deaf = client()
		deaf.setblocking(False)
		try:
		    while True:
		        deaf.send(b'{"cmd":"stat"}\n')
		except BlockingIOError:
		    pass
		idle = [client() for _ in range(70)]
		open(sys.argv[1] + "/crowd", "w").close()
		time.sleep(1)
		for s in idle:
		    s.close()
		time.sleep(300)
	EOF
	python3 "$work/crowd.py" "$work/run" &
	pid=$!
	wait_until 10 test -e "$work/run/crowd" || fail "no crowd"
	timeout 20 "$PERSIFS_CTL" stat "$mnt" >/dev/null || fail "no answer beside a crowd"
	timeout 30 "$PERSIFS" umount "$mnt" || fail "umount beside a deaf client: status $?"
	wait_until 20 no_persifs_runs || fail "a client that does not read keeps the daemon"
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
}

# A file that came behind the kernel's back, which then asks to create it: what fails after the
# look-up is not counted as known to the kernel.
failed_creates_are_forgotten() {
	local i before
	target_mount "negative_timeout=60s,layers=fault:setattr=1+:EIO"
	before=$(stat_of inodes)
	for i in $(seq 20); do
		! [ -e "$mnt/late$i" ] || fail "there already"
		echo "behind" >"$store/late$i"
		fails_as "Input/output error" dd if=/dev/null of="$mnt/late$i" status=none
	done
	[ "$(stat_of inodes)" = "$before" ] || fail "$before inodes, now $(stat_of inodes)"
	target_umount
}

# What was promised to the kernel of a session that was alone is taken back.
long_promises_are_taken_back() {
	local old
	target_mount attr_timeout=60s
	echo one >"$mnt/promised"
	old=$(stat -c %z "$mnt/promised")
	mkdir -p "$work/second"
	mount_at second attr_timeout=10s || fail "second: $(cat "$work/log/mount.second")"
	python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.persifs", b"1")' "$work/second/promised"
	wait_until 2 other_time "$old" || fail "the time of change is not told"
	leave second
	target_umount
}
other_time() { [ "$(stat -c %z "$mnt/promised")" != "$1" ]; }

# Not one that was given for a mount that is elsewhere.
kernel_locks_take_no_second_session() {
	local rc=0
	target_mount consistency=exclusive
	mkdir -p "$work/adopted"
	python3 - "$PERSIFS" "$uri" "$work/adopted" <<-'EOF' >"$work/log/adopted" 2>&1 || rc=$?
		import ctypes, os, subprocess, sys
		persifs, uri, where = sys.argv[1:]
		fd = os.open("/dev/fuse", os.O_RDWR)
		libc = ctypes.CDLL(None, use_errno=True)
		opts = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
		if libc.mount(b"x", where.encode(), b"fuse.persifs", 6, opts.encode()):
		    sys.exit(99)
		os.set_inheritable(fd, True)
		minor = os.minor(int(next(l for l in open("/proc/self/mountinfo") if f" {where} " in l).split()[2].split(":")[1]))
		sys.exit(subprocess.run([persifs, "mount", "-o", f"consistency=exclusive,device=0:{minor}", uri, f"/dev/fd/{fd}"],
		    close_fds=False, timeout=60).returncode)
	EOF
	umount -l -i "$work/adopted"
	[ "$rc" = 32 ] || fail "a second session where the kernel keeps locks: status $rc: $(cat "$work/log/adopted")"
	grep -q "takes no other session" "$work/log/adopted" || fail "$(cat "$work/log/adopted")"
	target_umount
}

# The one session has ended, and the daemon not yet: no reason to refuse.
an_ending_volume_is_waited_for() {
	local i
	mkdir -p "$work/again"
	for ((i = 0; i < $(scaled 30 300 10); i++)); do
		mount_at again consistency=exclusive || fail "round $i: $(cat "$work/log/mount.again")"
		echo "$i" >"$work/again/exclusive"
		umount -i "$work/again"
	done
	wait_until 30 no_persifs_runs || fail "a daemon stays"
}

# Two first mounts at the same moment: one daemon; with equal options, one superblock.
two_at_once() { # OPTIONS
	local i pids=() p
	mkdir -p "$work/one" "$work/two"
	for ((i = 0; i < $(scaled 30 200 10); i++)); do
		pids=()
		mount_at one "$1" & pids+=($!)
		mount_at two "$1" & pids+=($!)
		for p in "${pids[@]}"; do
			wait "$p" || fail "round $i of $1: $(cat "$work/log/mount.one" "$work/log/mount.two")"
		done
		[ "$(device "$work/one")" = "$(device "$work/two")" ] || fail "round $i of $1: two superblocks"
		echo "$i" >"$work/one/at_once"
		[ "$(cat "$work/two/at_once")" = "$i" ] || fail "round $i: another volume"
		leave one
		leave two
		wait_until 30 no_persifs_runs || fail "a daemon stays"
	done
}

dead_mounts() {
	local m n=0
	while read -r m; do
		timeout 5 stat "$m" >/dev/null 2>"$work/log/dead" || { n=1 && cat "$work/log/dead"; }
	done < <(awk -v w="$work/" 'index($2, w) == 1 && $3 ~ /persifs/ { print $2 }' /proc/self/mounts)
	return "$n"
}
no_dead_mounts() { dead_mounts >/dev/null; }
one_session() { [ "$(said_of mnt 'len(s["sessions"])')" = 1 ]; }

# What a mount asks of the kernel, one by one.
CALLS="fsopen fsconfig fsmount statx move_mount sendmsg sendto recvmsg symlink rename"

killed_at() { # CALL N COMMAND...
	# The inner shell tells nobody that something was killed.
	# shellcheck disable=SC2016
	ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 bash -c 'timeout 60 strace "$@"; exit $?' - -qq -o /dev/null \
		-e "trace=$1" -e "inject=$1:signal=KILL:when=$2" "${@:3}" </dev/null 2>/dev/null
}

# A joiner that is killed leaves nothing behind, wherever it was.
killed_joiners() {
	local call n rc
	mkdir -p "$work/joiner"
	for call in $CALLS; do
		for ((n = 1, rc = 1; rc != 0; n++)); do
			rc=0
			killed_at "$call" "$n" "$PERSIFS" mount -o uid=3000,gid=3000 "$uri" "$work/joiner" || rc=$?
			[ "$rc" = 0 ] || [ "$rc" = 137 ] || fail "joiner at $call $n: status $rc"
			dead_mounts || fail "killed at $call $n: a dead mount is left"
			[ "$rc" = 0 ] || ! mountpoint -q "$work/joiner" || leave joiner
		done
		leave joiner
	done
	wait_until 20 one_session || fail "sessions are left: $(said_of mnt 's["sessions"]')"
}

# What was synced is there, and the next mount works.
next_mount_works() { # WHEN
	wait_until 5 no_dead_mounts || fail "$1: dead: $(dead_mounts)"
	umount -i "$work/first" 2>/dev/null || true
	umount -i "$work/next" 2>/dev/null || true
	wait_until 60 no_persifs_runs || fail "$1: still running: $(ps -o pid,stat,wchan,args -p "$(persifs_pids | paste -sd,)")"
	mount_at first || fail "$1: the next mount: $(cat "$work/log/mount.first")"
	[ ! -e "$work/synced" ] || cmp "$work/synced" "$work/first/synced" || fail "$1: what was synced is lost"
	echo "$1" >"$work/synced"
	dd if="$work/synced" of="$work/first/synced" conv=fsync status=none
	leave first
	wait_until 20 no_persifs_runs || fail "$1: a daemon stays"
}

killed_supervisors() {
	local call n up
	mkdir -p "$work/first" "$work/next"
	for call in $CALLS; do
		for ((n = 1, up = 0; up == 0; n++)); do
			killed_at "$call" "$n" "$PERSIFS" mount -f "$uri" "$work/first" &
			wait_until 30 up_or_dead $! || fail "at $call $n: neither mounted nor dead"
			kill -0 $! 2>/dev/null && up=1 && leave first
			wait $! || true
			next_mount_works "killed at $call $n"
		done
	done
}
up_or_dead() { mountpoint -q "$work/first" && [ "$(stat -c %i "$work/first")" ] || ! kill -0 "$1" 2>/dev/null; }

# Who asked for a mount and is dead does not get one: nobody would take it away. The last of
# these has heard of it when he dies.
killed_askers() {
	local n rc seen=0
	mkdir -p "$work/asked"
	for ((n = 1, rc = 1; rc != 0; n++)); do
		rm -f "$work"/run/uri-* # a process in the background finds out that there is a daemon
		rc=0
		killed_at read "$n" "$PERSIFS" mount "$uri" "$work/asked" || rc=$?
		wait_until 30 only_the_daemon_runs || fail "killed at read $n: a process stays"
		! mountpoint -q "$work/asked" || { seen=$((seen + 1)) && leave asked; }
	done
	[ "$seen" = 2 ] || fail "mounted $seen times, once for somebody who had not heard of it"
}
only_the_daemon_runs() { [ "$(persifs_pids | wc -l)" = 2 ]; }

# Whatever of a daemon dies, while it comes up or is joined.
killed_daemons() {
	local i p
	for ((i = 0; i < $(scaled 20 500 10); i++)); do
		mount_at first &
		mount_at next uid=3000,gid=3000 &
		python3 -c 'import sys,time; time.sleep(float(sys.argv[1]))' "0.$(printf '%04d' $((RANDOM % $(scaled 800 800 4000))))"
		# shellcheck disable=SC2046 # one of them
		p=$(shuf -n 1 -e $(persifs_pids) </dev/null)
		[ -z "$p" ] || kill -KILL "$p" 2>/dev/null || true
		wait
		next_mount_works "round $i"
	done
}

scenario() {
	need strace
	write_say
	chmod 777 "$store"
	target_mount
	nonsense_on_the_socket
	killed_joiners
	killed_askers
	crowds_on_the_socket
	failed_creates_are_forgotten
	long_promises_are_taken_back
	killed_supervisors
	killed_daemons
	kernel_locks_take_no_second_session
	an_ending_volume_is_waited_for
	two_at_once consistency=exclusive
	two_at_once log_level=info
}

run_scenario "$@"
