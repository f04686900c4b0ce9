#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 37_session_storm.sh - two sessions of one volume under everything at once: the model in
# both, appends, locks and renames across them; nothing hangs, nothing is lost
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

WITHOUT=punch,fallocate,zero_range,xattr,tmpfile,exchange,noreplace,dirtimes,rmdir_open,dirhandle,linktimes
SECONDS_LONG=600

# The model against a reference of its own, again and again until the time is over.
models() { # MOUNT NAME END
	local n=0
	while [ "$(date +%s)" -lt "$3" ]; do
		n=$((n + 1))
		mkdir -p "$1/$2.$n" "$work/refs/$2.$n"
		"$model" --seed "$((SEED + n))" --ops "$(scaled 2000 20000 600)" --processes 4 --rounds 1 \
			--without "$WITHOUT" "$1/$2.$n" "$work/refs/$2.$n" >"$work/log/model.$2" 2>&1 || return 1
		rm -rf "$work/refs/$2.$n"
	done
}

# One process of the others: appends lines, counts under a lock, replaces a name. Its last
# line of output says how often.
write_storm() {
	cat >"$work/storm.py" <<-'EOF'
		import errno, fcntl, os, sys, time
		root, me, end = sys.argv[1], sys.argv[2], float(sys.argv[3])

		# Replaced between look-up and open, on a server that keeps no open files, and again
		# when the kernel has looked it up anew: as with any NFS client.
		def current(path):
		    while True:
		        try:
		            return open(path).read()
		        except OSError as e:
		            if e.errno != errno.ESTALE:
		                raise

		log = os.open(root + "/log", os.O_WRONLY | os.O_APPEND)
		counter = os.open(root + "/counter", os.O_RDWR)
		n = 0
		while time.time() < end:
		    os.write(log, b"%s %08d\n" % (me.encode(), n))
		    fcntl.lockf(counter, fcntl.LOCK_EX)
		    value = int(os.pread(counter, 32, 0)) + 1
		    os.pwrite(counter, b"%d\n" % value, 0)
		    fcntl.lockf(counter, fcntl.LOCK_UN)
		    new = f"{root}/conf.{me}"
		    with open(new, "w") as f:
		        f.write(f"{me} {n:08d}\n" * 100)
		    os.rename(new, root + "/conf")
		    lines = current(root + "/conf").splitlines()
		    assert len(lines) == 100 and len(set(lines)) == 1, f"half a replaced file: {lines[:3]}"
		    n += 1
		print(n)
	EOF
	# Looks at both sessions all the time: an answer that takes too long is a hang.
	cat >"$work/watchdog.py" <<-'EOF'
		import os, signal, sys, time
		LIMIT = 20
		end, roots = float(sys.argv[1]), sys.argv[2:]
		worst = 0
		signal.signal(signal.SIGALRM, lambda *_: (print("no answer for", LIMIT, "s"), os._exit(1)))
		while time.time() < end:
		    for root in roots:
		        began = time.monotonic()
		        signal.alarm(LIMIT)
		        os.stat(root + "/log")
		        os.listdir(root)
		        with open(root + "/watch", "w") as f:
		            f.write("x")
		        signal.alarm(0)
		        worst = max(worst, time.monotonic() - began)
		    time.sleep(0.2)
		print(f"the longest answer took {worst:.2f} s")
	EOF
}

wait_all() { # WHAT PID...
	local p
	for p in "${@:2}"; do wait "$p" || fail "$1: $(tail -n 3 "$work"/log/{model.,storm.,watchdog}* 2>/dev/null)"; done
}

# Which lines of a process are not there, and what stands between its neighbours.
show_lost() { # PROCESS LINES
	python3 - "$store/log" "$@" <<-'EOF'
		import sys
		lines = open(sys.argv[1], "rb").read().split(b"\n")
		me, n = sys.argv[2].encode(), int(sys.argv[3])
		at = {line: i for i, line in enumerate(lines)}
		for i in [i for i in range(n) if b"%s %08d" % (me, i) not in at][:3]:
		    before = at.get(b"%s %08d" % (me, i - 1), 0)
		    print("lost:", i, "behind line", before, "of", len(lines), lines[before:before + 6])
		print("odd lines:", [line for line in lines if len(line) not in (0, 10)][:5])
	EOF
}

check_storm() {
	local i n sum=0
	for i in 1 2 3 4; do
		n=$(tail -n 1 "$work/log/storm.$i")
		sum=$((sum + n))
		[ "$(grep -c "^$i " "$mnt/log")" = "$n" ] || show_lost "$i" "$n" >&2
		[ "$(grep -c "^$i " "$mnt/log")" = "$n" ] ||
			fail "process $i appended $n lines, $(grep -c "^$i " "$mnt/log") are there, $(grep -c "^$i " "$work/second/log") in the other session, $(grep -c "^$i " "$store/log") behind"
	done
	[ "$(sort -u "$mnt/log" | wc -l)" = "$sum" ] || fail "lines are double, or torn"
	cmp "$mnt/log" "$work/second/log" || fail "the sessions see different logs"
	[ "$(cat "$mnt/counter")" = "$sum" ] || fail "counted to $(cat "$mnt/counter"), not $sum"
	log "$sum appends, counts and renames"
}

scenario() {
	local end i models=() storm=() watch
	model=$(tool model)
	fast_folder "$work/refs" 2048
	target_mount
	mkdir "$work/second"
	timeout 30 "$PERSIFS" mount -o attr_timeout=1,entry_timeout=1 "$uri" "$work/second" || fail "second session"
	[ "$(stat -c %d "$mnt")" != "$(stat -c %d "$work/second")" ] || fail "not two sessions"
	write_storm
	: >"$mnt/log" && echo 0 >"$mnt/counter"
	end=$(($(date +%s) + $(scaled 8 "$SECONDS_LONG" 8)))
	models "$mnt" a "$end" & models+=($!)
	models "$work/second" b "$end" & models+=($!)
	for i in 1 2 3 4; do
		python3 "$work/storm.py" "$([ $((i % 2)) = 0 ] && echo "$mnt" || echo "$work/second")" "$i" "$end" \
			>"$work/log/storm.$i" 2>&1 &
		storm+=($!)
	done
	python3 "$work/watchdog.py" "$end" "$mnt" "$work/second" >"$work/log/watchdog" 2>&1 &
	watch=$!
	wait_all "a process of the storm" "${storm[@]}"
	wait_all "the model" "${models[@]}"
	wait_all "the watchdog" "$watch"
	cat "$work/log/watchdog"
	check_storm
	timeout 60 "$PERSIFS" umount "$work/second" || fail "umount of the second session"
	target_umount
}

run_scenario "$@"
