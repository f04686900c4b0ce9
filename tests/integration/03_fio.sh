#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 03_fio.sh - fio finds every block as it wrote it: random and sequential, four
# jobs, 512 B to 1 MiB, buffered, direct, mapped, synchronous, and after a remount
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

verify() { # NAME SIZE FIO-ARGUMENTS...
	local name=$1 size=$2
	shift 2
	mkdir -p "$mnt/$name"
	fio --name="$name" --directory="$mnt/$name" --numjobs=4 --size="$size" --randseed="$SEED" \
		--verify=crc32c --verify_fatal=1 --verify_dump=0 --verify_state_save=0 --fallocate=none \
		--group_reporting --minimal --thread=0 "$@" >"$work/log/fio.$name" 2>&1 ||
		fail "fio $name: $(tail -n 5 "$work/log/fio.$name")"
	rm "$work/log/fio.$name"
	log "verified $name"
}

scenario() {
	local size small
	need fio
	size=$(scaled 6m 128m 3m) small=$(scaled 1m 16m 512k)
	target_mount
	verify seq-buffered "$size" --rw=write --bsrange=512-1m --ioengine=psync --end_fsync=1
	verify rand-buffered "$size" --rw=randwrite --bsrange=512-1m --ioengine=psync --fsync_on_close=1
	verify rand-small "$small" --rw=randwrite --bsrange=512-8k --ioengine=psync --verify_backlog=64
	verify mixed "$size" --rw=randrw --rwmixread=30 --bssplit=512/20:4k/40:64k/30:1m/10 --ioengine=psync
	verify seq-direct "$size" --rw=write --direct=1 --bsrange=4k-1m --ioengine=psync
	verify rand-direct "$size" --rw=randwrite --direct=1 --bsrange=4k-256k --ioengine=libaio --iodepth=8
	verify mapped "$size" --rw=randwrite --bs=4k --ioengine=mmap
	verify sync "$small" --rw=randwrite --sync=1 --bsrange=512-64k --ioengine=psync
	if is_lasting; then
		verify kept "$size" --rw=randwrite --bsrange=512-1m --ioengine=psync --do_verify=0
		target_remount
		verify kept "$size" --rw=randwrite --bsrange=512-1m --ioengine=psync --verify_only
	fi
	target_umount
}

run_scenario "$@"
