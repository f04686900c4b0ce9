#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 51_journal_kernel.sh - logs of the kernel replayed by us, logs of ours by the kernel
#
#   kernel  ext4 on a loop device is shut down in the middle of a storm of names: our recovery leaves the same bytes as
#           e2fsck's on another copy
#   ours    a program is killed while our journal commits: the kernel, e2fsck and we leave the same bytes
#
# The kernel's file system stops by its own ioctl, without a flush of its log: what is on the device then
# is what a power cut could have left.
fits="kernel ours"
# shellcheck disable=SC2034 # for target.sh
own_targets=yes without_persifs=yes
. "${BASH_SOURCE%/*}/lib/test.sh"

formats=(
	"-b 1024 -J size=1"
	"-b 4096 -J size=8"
	"-b 4096 -J size=4 -O ^metadata_csum"
	"-b 1024 -J size=4 -O ^64bit,^metadata_csum"
	"-b 2048 -J size=2 -O ^64bit"
)

mem=''

# format IMAGE MIB OPTIONS
format() {
	truncate -s "$2M" "$1"
	# shellcheck disable=SC2086 # words on purpose
	mke2fs -q -F -t ext4 -O ^orphan_file -E lazy_itable_init=0,lazy_journal_init=0 $3 "$1" "$2M"
}

# recover IMAGE: by ours
recover() {
	"$crash" --recover "$1" >"$work/recovered" 2>&1 || fail "our recovery of $1: $(cat "$work/recovered")"
	log "ours: $(cat "$work/recovered")"
}

# by_e2fsck IMAGE
by_e2fsck() {
	local rc=0
	e2fsck -y -E journal_only "$1" >"$work/e2fsck" 2>&1 || rc=$?
	[ "$rc" -le 1 ] || fail "e2fsck of $1: status $rc: $(cat "$work/e2fsck")"
}

# same_bytes A B [FIRST COUNT]: but for both superblocks, in which each tool writes what it likes; or only these blocks
same_bytes() {
	local bs journal
	bs=$(dumpe2fs -h "$1" 2>/dev/null | awk '/^Block size:/ { print $3 }')
	journal=$(debugfs -R 'bmap <8> 0' "$1" 2>/dev/null)
	python3 - "$1" "$2" "$bs" "$journal" "${3:-0}" "${4:-0}" <<-'PY' || fail "$1 and $2 differ"
		import sys

		paths, (bs, journal, first, count) = sys.argv[1:3], map(int, sys.argv[3:])
		a, b = (open(p, "rb").read() for p in paths)
		if len(a) != len(b):
		    sys.exit("not of one size")
		last = first + count if count else len(a) // bs
		skip = {1024, journal * bs}
		for at in range(first * bs, last * bs, 1024):
		    if a[at:at + 1024] != b[at:at + 1024] and at not in skip:
		        sys.exit("block %d differs" % (at // bs))
	PY
}

# ---- the kernel writes ------------------------------------------------------

# storm FOLDER SECONDS SEED: names come and go; then the file system is shut down. Exits 0 when it was.
storm() {
	python3 - "$@" <<-'PY'
		import fcntl, os, random, struct, sys, time

		root, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
		rnd = random.Random(seed)
		SHUTDOWN, NO_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
		top = os.open(root, os.O_RDONLY)
		end = time.monotonic() + seconds
		made = []

		def make(path):
		    kind = rnd.randrange(4)
		    if kind == 0:
		        os.mkdir(path)
		        for i in range(rnd.randrange(60)):
		            os.symlink("x" * 200, "%s/%s%d" % (path, "name" * 20, i))
		    elif kind == 1:
		        os.symlink("to/" + "y" * rnd.randrange(20, 900), path)
		    else:
		        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
		        for i in range(rnd.randrange(30)):
		            os.pwrite(fd, b"z" * 700, i * 9000)
		        if rnd.randrange(3) == 0:
		            os.fsync(fd)
		        os.close(fd)

		def drop(path):
		    if os.path.isdir(path) and not os.path.islink(path):
		        for name in os.listdir(path):
		            os.unlink(os.path.join(path, name))
		        os.rmdir(path)
		    else:
		        os.unlink(path)

		n = 0
		while time.monotonic() < end or n < 40:
		    n += 1
		    try:
		        made.append("%s/n%d" % (root, n))
		        make(made[-1])
		        if len(made) > 20:
		            drop(made.pop(rnd.randrange(len(made))))
		        if rnd.randrange(8) == 0:
		            os.fsync(top)
		    except OSError as e:
		        if e.errno != 28:
		            raise
		        for path in made:
		            if os.path.lexists(path):
		                drop(path)
		        made.clear()
		os.fsync(top)
		fcntl.ioctl(top, SHUTDOWN, struct.pack("I", NO_FLUSH))
		os.close(top)
	PY
}

kernel_round() {
	local image=$mem/kernel-$1.img seed=$((SEED + $1)) format=${formats[$1 % ${#formats[@]}]} point=$mem/point
	mkdir -p "$point"
	format "$image" 48 "$format"
	mount -o loop,user_xattr "$image" "$point"
	storm "$point" "$(scaled 0.3 1.5)" "$seed" || fail "the storm, seed $seed"
	umount "$point"
	dumpe2fs -h "$image" 2>/dev/null | grep -q needs_recovery || fail "the log is empty: $format, seed $seed"
	cp "$image" "$image.theirs"
	recover "$image"
	by_e2fsck "$image.theirs"
	grep -qv '^0 transactions' "$work/recovered" || fail "nothing was replayed: $format, seed $seed"
	same_bytes "$image" "$image.theirs"
	log "$format, seed $seed: the same bytes"
	rm -f "$image" "$image.theirs"
}

kernel() {
	for i in $(seq 0 $(($(scaled 5 40 5) - 1))); do
		kernel_round "$i"
	done
}

# ---- we write ---------------------------------------------------------------

ours_round() {
	local image=$mem/ours-$1.img format=${formats[$1 % ${#formats[@]}]} pid blocks n=$((4 * 25)) point=$mem/point
	mkdir -p "$point"
	format "$image" 48 "$format"
	"$bench" --device "file:$image?buffered=yes" --threads 4 --blocks 25 --runtime 60 >"$work/bench" 2>&1 &
	pid=$!
	wait_until 10 log_moved "$image" || fail "no commit: $(cat "$work/bench")"
	sleep 0.0$((RANDOM % 9 + 1))
	kill -KILL "$pid" || fail "the journal ended by itself: $(cat "$work/bench")"
	wait "$pid" 2>/dev/null || true
	cp "$image" "$image.e2fsck"
	cp "$image" "$image.kernel"
	recover "$image"
	grep -qv '^0 transactions' "$work/recovered" || fail "nothing was replayed: $format"
	by_e2fsck "$image.e2fsck"
	same_bytes "$image" "$image.e2fsck"
	mount -o loop,noinit_itable "$image.kernel" "$point"
	umount "$point"
	blocks=$(dumpe2fs -h "$image" 2>/dev/null | awk '/^Block count:/ { print $3 }')
	same_bytes "$image" "$image.kernel" $((blocks - n)) "$n"
	for i in "$image" "$image.e2fsck" "$image.kernel"; do
		e2fsck -fn "$i" >"$work/e2fsck" 2>&1 || fail "$i is not clean: $(cat "$work/e2fsck")"
	done
	log "$format: the same bytes by us, e2fsck and the kernel"
	rm -f "$image" "$image.e2fsck" "$image.kernel"
}

# log_moved IMAGE: has the log's begin passed the first transactions?
log_moved() {
	local sequence
	sequence=$(dumpe2fs -h "$1" 2>/dev/null | awk '/^Journal sequence:/ { print $3 }')
	[ $((${sequence:-0})) -gt 5 ]
}

ours() {
	for i in $(seq 0 $(($(scaled 5 40 5) - 1))); do
		ours_round "$i"
	done
}

scenario() {
	need mke2fs e2fsck debugfs dumpe2fs python3
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "loop devices want namespaces of the run's own"
	[ -e /dev/loop-control ] || skip "no loop devices"
	crash=$(tool crashjournal)
	mem=$work/mem
	mkdir -p "$mem"
	mount -t tmpfs -o size=512m tmpfs "$mem"
	log "seed $SEED"
	if [ "$target" = ours ]; then
		bench=$root/build/$VARIANT/jrnbench
		make -s -C "$root" VARIANT="$VARIANT" "build/$VARIANT/jrnbench" >&2 || fail "jrnbench cannot be built"
	fi
	"$target"
	umount "$mem"
}

run_scenario "$@"
