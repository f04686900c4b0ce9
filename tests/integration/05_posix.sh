#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 05_posix.sh - POSIX corners: every sub-test of tests/tools/posix_*.c
# ONLY="name ..." runs the named sub-tests.
fits="dir memory nfs nfsmem"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# What a target cannot do. Anything not named here must work.
without() {
	local nfs3=xattr,fallocate,punch,zero_range,tmpfile,exchange,noreplace,btime,seek_hole,deadlk,linktimes
	case $target in
	plain) echo none ;;
	dir) echo atime ;;
	memory) echo atime ;;
	# ganesha drops times of symbolic links. An open file is a name to NFSv3: its folder stays, the server checks each
	# write anew, and times before 1970 cannot be told.
	nfs) echo "$nfs3,atime,neg_time,rmdir_open,open_keeps_access" ;;
	nfsmem) echo "$nfs3,atime,neg_time,rmdir_open,open_keeps_access,large,sparse,mknod" ;;
	esac
}

scenario() {
	local failed=0 prog entries only=()
	entries=50000
	case $target in nfs*) entries=$(scaled 8000 50000) ;; esac
	target_mount
	mkdir "$mnt/posix"
	chmod 755 "$mnt" "$mnt/posix"
	for prog in posix_name posix_data posix_perm posix_lock; do
		# shellcheck disable=SC2207 # words on purpose
		only=($(comm -12 <("$(tool $prog)" --list | sort) <(tr ' ' '\n' <<<"${ONLY:-}" | sort)))
		[ -z "${ONLY:-}" ] || [ ${#only[@]} -gt 0 ] || continue
		"$(tool $prog)" --without "$(without)" --entries "$entries" "$mnt/posix" "${only[@]}" || failed=1
	done
	[ "$failed" = 0 ] || fail "sub-tests failed"
	rmdir "$mnt/posix"
	target_umount
}

run_scenario "$@"
