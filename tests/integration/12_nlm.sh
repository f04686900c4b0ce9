#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 12_nlm.sh - locks at the server: two mounts of one export, as two cells have
# them, exclude each other, and a lock outlives the server's restart
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# The server that every scenario has, with the lock service; it registers with
# rpcbind, which is asked for its port. No statd: our locks are not watched.
eval "$(declare -f server_conf | sed 's/Enable_NLM = false/Enable_NLM = true; NSM_Use_Caller_Name = true/
	s/Graceless = true/Graceless = false; Grace_Period = 6; Lease_Lifetime = 5/')"

STEPS=$(scaled 200 10000 50)

# By a daemon of its own, as on another machine.
second_mount() {
	mnt2=$work/mnt2
	mkdir -p "$mnt2" "$work/run2"
	PERSIFS_RUNTIME_DIR=$work/run2 timeout "$STEP_SECONDS" "$PERSIFS" mount -o nlm "$uri" "$mnt2" </dev/null >>"$work/log/mount" 2>&1 ||
		fail "persifs mount: $(tail -n 3 "$work/log/mount")"
}

second_umount() { PERSIFS_RUNTIME_DIR=$work/run2 timeout "$STEP_SECONDS" "$PERSIFS" umount "$mnt2" || fail "persifs umount: status $?"; }

lock() { python3 "$work/locker.py" "$@"; }

# What the program in the background said last.
said() { grep -qx "$2" "$work/$1.out" 2>/dev/null; }
wait_said() { wait_until "${3:-20}" said "$1" "$2" || fail "$1 does not say $2: $(cat "$work/$1.out")"; }

# hold NAME ARGUMENT...: a program that keeps a lock until killed; its pid in $held
hold() {
	local name=$1
	shift
	: >"$work/$name.out"
	python3 "$work/locker.py" "$@" >"$work/$name.out" 2>&1 &
	held=$!
}

end() { # PID [SIGNAL]
	kill "-${2:-TERM}" "$1"
	wait "$1" 2>/dev/null || true
}

write_locker() {
	cat >"$work/locker.py" <<-'PY'
		import errno, fcntl, os, signal, struct, sys, time

		what, path, *rest = sys.argv[1:]

		def say(s):
		    print(s, flush=True)

		def lk(fd, kind, start=0, length=0, wait=False):
		    cmd = fcntl.F_SETLKW if wait else fcntl.F_SETLK
		    fcntl.fcntl(fd, cmd, struct.pack("hhqqi", kind, 0, start, length, 0))

		def free(fd, kind, start=0, length=0):
		    out = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi", kind, 0, start, length, 0))
		    return struct.unpack("hhqqi", out)

		def attempt(fn):
		    try:
		        fn()
		        say("got")
		        return True
		    except OSError as e:
		        say("refused" if e.errno in (errno.EAGAIN, errno.EACCES) else errno.errorcode[e.errno])
		        return False

		if what == "count":
		    for _ in range(int(rest[0])):
		        fd = os.open(path, os.O_RDWR)
		        lk(fd, fcntl.F_WRLCK, wait=True)
		        n = int(os.pread(fd, 16, 0))
		        os.pwrite(fd, b"%15d\n" % (n + 1), 0)
		        if _ % 2:
		            lk(fd, fcntl.F_UNLCK)
		        os.close(fd)
		elif what == "count_open":
		    fd = os.open(path, os.O_RDWR)
		    for _ in range(int(rest[0])):
		        lk(fd, fcntl.F_WRLCK, wait=True)
		        n = int(os.pread(fd, 16, 0))
		        os.pwrite(fd, b"%15d\n" % (n + 1), 0)
		        lk(fd, fcntl.F_UNLCK)
		elif what == "try":
		    fd = os.open(path, os.O_RDWR)
		    kind = fcntl.F_RDLCK if "shared" in rest else fcntl.F_WRLCK
		    nums = [int(r) for r in rest if r.isdigit()] or [0, 0]
		    sys.exit(0 if attempt(lambda: lk(fd, kind, *nums)) else 1)
		elif what == "tryflock":
		    fd = os.open(path, os.O_RDWR)
		    sys.exit(0 if attempt(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)) else 1)
		elif what == "get":
		    fd = os.open(path, os.O_RDWR)
		    kind, _, start, length, _ = free(fd, fcntl.F_WRLCK)
		    say({fcntl.F_UNLCK: "free", fcntl.F_RDLCK: f"shared {start} {length}",
		         fcntl.F_WRLCK: f"exclusive {start} {length}"}[kind])
		elif what == "hold":
		    fd = os.open(path, os.O_RDWR)
		    wait = "wait" in rest
		    kind = fcntl.F_RDLCK if "shared" in rest else fcntl.F_WRLCK
		    nums = [int(r) for r in rest if r.isdigit()] or [0, 0]
		    signal.signal(signal.SIGALRM, lambda *a: None)
		    if "alarm" in rest:
		        signal.signal(signal.SIGALRM, lambda *a: (_ for _ in ()).throw(InterruptedError(errno.EINTR, "")))
		        signal.setitimer(signal.ITIMER_REAL, 0.5)
		    if "later" in rest:
		        say("open")
		        while not os.path.exists(sys.argv[0] + ".go"):
		            time.sleep(0.02)
		    say("asks")
		    if attempt(lambda: lk(fd, kind, *nums, wait=wait)):
		        time.sleep(600)
		elif what == "holdflock":
		    fd = os.open(path, os.O_RDWR)
		    if attempt(lambda: fcntl.flock(fd, fcntl.LOCK_EX)):
		        time.sleep(600)
		elif what == "ranges":
		    # splits, upgrades and downgrades; then keeps [0,9]W [30,39]R
		    fd = os.open(path, os.O_RDWR)
		    lk(fd, fcntl.F_WRLCK, 0, 40)
		    lk(fd, fcntl.F_UNLCK, 10, 20)
		    lk(fd, fcntl.F_RDLCK, 30, 10)
		    say("got")
		    time.sleep(600)
	PY
}

counting_together() { # KIND
	local a b
	printf '%15d\n' 0 >"$mnt/counter"
	lock "$1" "$mnt/counter" "$STEPS" &
	a=$!
	lock "$1" "$mnt2/counter" "$STEPS" &
	b=$!
	wait "$a" || fail "the first counter failed"
	wait "$b" || fail "the second counter failed"
	[ "$(($(cat "$store/counter")))" = $((2 * STEPS)) ] || fail "$1: $(cat "$store/counter") of $((2 * STEPS)) steps"
	log "$1: $((2 * STEPS)) steps, none lost"
}

exclusion_in_both_directions() {
	local from to
	for from in "$mnt" "$mnt2"; do
		to=$mnt2
		[ "$from" = "$mnt" ] || to=$mnt
		hold first hold "$from/f"
		wait_said first got
		[ "$(lock get "$to/f")" = "exclusive 0 0" ] || fail "GETLK from $to: $(lock get "$to/f")"
		! lock try "$to/f" >"$work/try" || fail "locked twice, from $to"
		! lock tryflock "$to/f" >>"$work/try" || fail "locked twice, flock from $to"
		[ "$(sort -u "$work/try")" = refused ] || fail "not refused: $(cat "$work/try")"
		end "$held" KILL
		lock try "$to/f" >/dev/null || fail "not free after kill -9 in $from"
		hold first hold "$from/f" shared
		wait_said first got
		lock try "$to/f" shared >/dev/null || fail "shared locks exclude each other"
		! lock try "$to/f" >/dev/null || fail "exclusive beside shared"
		end "$held"
		hold first holdflock "$from/f"
		wait_said first got
		! lock tryflock "$to/f" >/dev/null || fail "flock: locked twice"
		end "$held"
		wait_until 5 lock tryflock "$to/f" >/dev/null || fail "flock: not free after close"
	done
}

ranges_are_what_the_owner_has() {
	hold ranges ranges "$mnt/f"
	wait_said ranges got
	! lock try "$mnt2/f" 0 1 >/dev/null || fail "byte 0 is free"
	! lock try "$mnt2/f" shared 9 1 >/dev/null || fail "byte 9 is not exclusive"
	lock try "$mnt2/f" 10 20 >/dev/null || fail "the hole is not free"
	lock try "$mnt2/f" shared 30 10 >/dev/null || fail "the downgraded end is exclusive"
	! lock try "$mnt2/f" 39 1 >/dev/null || fail "byte 39 is free"
	lock try "$mnt2/f" 40 0 >/dev/null || fail "behind the end is not free"
	end "$held"
	lock try "$mnt2/f" >/dev/null || fail "not free after the end"
}

waiting() {
	local first second
	hold first hold "$mnt/f"
	first=$held
	wait_said first got
	hold second hold "$mnt2/f" wait
	second=$held
	wait_said second asks
	sleep 0.3
	! said second got || fail "did not wait"
	end "$first"
	wait_said second got 10
	hold third hold "$mnt/f" wait alarm
	wait_said third EINTR 10
	wait "$held" || true
	hold third hold "$mnt/f" wait
	wait_said third asks
	sleep 0.3
	end "$held" KILL
	end "$second"
	lock try "$mnt/f" >/dev/null || fail "not free after a waiter was killed"
}

# shellcheck disable=SC2154 # server_pid is server.sh's
ganesha_restart() {
	local nfs
	end_process "$server_pid"
	server_run
	nfs=${uri#*nfsport=}
	wait_until 20 server_is_up_or_dead "${nfs%%&*}" || fail "ganesha does not listen again"
}

locks_outlive_a_restart() {
	hold first hold "$mnt/f"
	wait_said first got
	ganesha_restart
	! timeout 60 python3 "$work/locker.py" try "$mnt2/f" >"$work/try" || fail "the lock did not outlive the restart"
	[ "$(cat "$work/try")" = refused ] || fail "not refused after a restart: $(cat "$work/try")"
	echo data >"$mnt/f" || fail "cannot write under the lock that was taken again"
	end "$held"
	wait_until 10 lock try "$mnt2/f" >/dev/null || fail "not free after the restart and an unlock"
}

# A cell that sleeps through the restart and the grace period: another gets the lock.
lock_of_a_sleeper_is_lost() {
	local first worker second
	worker=$(stat_of worker_pid)
	hold first hold "$mnt/f"
	first=$held
	wait_said first got
	kill -STOP "$worker"
	ganesha_restart
	hold second hold "$mnt2/f" wait
	second=$held
	wait_said second got 30
	kill -CONT "$worker"
	wait_until 20 is_refused "$mnt/f" || fail "writing under a lost lock does not fail"
	end "$first"
	end "$second"
	wait_until 10 lock try "$mnt/f" >/dev/null || fail "not free after a lock was lost"
	dd if=/dev/zero of="$mnt/f" count=1 conv=notrunc,fsync status=none || fail "still fails after the unlock"
}
is_refused() { ! dd if=/dev/zero of="$1" count=1 conv=notrunc,fsync status=none 2>/dev/null; }

# The server is away: who asks can be killed, and the lock works when it is back.
asking_a_dead_server_can_be_killed() {
	local old=$server_pid
	hold first hold "$mnt/f" later
	wait_said first open
	kill -STOP "$old"
	: >"$work/locker.py.go"
	wait_said first asks
	sleep 0.5
	kill -KILL "$held"
	wait_until 10 process_is_gone "$held" || fail "cannot be killed while the server is silent"
	wait "$held" 2>/dev/null || true
	kill -CONT "$old"
	wait_until 20 lock try "$mnt2/f" >/dev/null || fail "the lock of a killed program stays"
}

# The same for who has the lock: its end gives the lock back, which can wait.
holder_can_be_killed_without_a_server() {
	hold first hold "$mnt/f"
	wait_said first got
	kill -STOP "$server_pid"
	kill -KILL "$held"
	wait_until 10 process_is_gone "$held" || fail "who has a lock cannot be killed while the server is silent"
	wait "$held" 2>/dev/null || true
	kill -CONT "$server_pid"
	wait_until 20 lock try "$mnt2/f" >/dev/null || fail "the lock of a killed holder stays"
}

scenario() {
	need python3
	write_locker
	fails_with "only an NFS server" timeout "$STEP_SECONDS" "$PERSIFS" mount -o nlm memory: "$mnt"
	target_mount nlm
	second_mount
	: >"$mnt/f"
	exclusion_in_both_directions
	log "exclusion in both directions"
	ranges_are_what_the_owner_has
	log "ranges are what the owner has"
	waiting
	log "waiting"
	counting_together count
	counting_together count_open
	locks_outlive_a_restart
	log "locks outlive a restart"
	asking_a_dead_server_can_be_killed
	log "asking a dead server can be killed"
	holder_can_be_killed_without_a_server
	log "who has a lock can be killed without a server"
	lock_of_a_sleeper_is_lost
	log "lock of a sleeper is lost"
	second_umount
	target_umount
}

run_scenario "$@"
