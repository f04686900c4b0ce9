#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 08_warm.sh - what was read or written once is not read from the backend again
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

backend_reads() { echo "$(stat_of backend_reads) $(stat_of nfs_read)"; }

# The kernel's own copies are dropped, so that the daemon is asked.
drop_kernel_pages() {
	local f
	for f in "$mnt"/*; do dd if="$f" iflag=nocache count=0 status=none; done
}

read_all() { cat "$mnt"/* | cksum; }

no_reads_while() { # WHAT COMMAND...
	local what=$1 before after asked
	shift
	before=$(backend_reads) asked=$(stat_of fuse_read)
	[ "$("$@")" = "$sum" ] || fail "$what: other data"
	after=$(backend_reads)
	[ "$before" = "$after" ] || fail "$what: backend reads went from $before to $after"
	log "$what: $(($(stat_of fuse_read) - asked)) requests reached the daemon, none the backend"
}

# The kernel forgets the inodes too, as it does when memory is short.
drop_kernel_inodes() {
	local before
	before=$(stat_of fuse_lookup)
	sync -f "$mnt"
	echo 3 >/proc/sys/vm/drop_caches
	stat "$mnt"/f{1..5} >/dev/null # by name: listing would bring them back
	[ "$(stat_of fuse_lookup)" -gt "$before" ] || fail "the kernel has forgotten nothing"
}

scenario() {
	local i
	target_mount
	for i in 1 2 3 4 5; do head -c "$((i * 3333333))" /dev/urandom >"$mnt/f$i"; done
	sum=$(read_all)
	drop_kernel_pages
	no_reads_while "after writing" read_all
	if is_lasting; then
		target_remount
		[ "$(read_all)" = "$sum" ] || fail "other data after a remount"
		[ "$(stat_of backend_reads)" -gt 0 ] || fail "backend_reads does not count"
		drop_kernel_pages
		no_reads_while "after reading" read_all
		no_reads_while "without dropping" read_all
	fi
	drop_kernel_inodes
	no_reads_while "after the kernel forgot the files" read_all
	target_umount
}

run_scenario "$@"
