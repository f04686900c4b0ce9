#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 05_posix.sh - POSIX corners: every sub-test of tests/tools/posix_*.c
# ONLY="name ..." runs the named sub-tests.
fits="dir memory nfs nfsmem"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# What a target cannot do. Anything not named here must work.
without() {
	local nfs3=xattr,trusted_xattr,fallocate,punch,zero_range,tmpfile,exchange,noreplace,btime,seek_hole,deadlk,linktimes
	case $target in
	plain) echo none ;;
	# The sandbox leaves the daemon no right to trusted attributes.
	dir) echo atime,trusted_xattr ;;
	memory) echo atime ;;
	# ganesha drops times of symbolic links. An open file is a name to NFSv3: its folder stays, the server checks each
	# write anew, and times before 1970 cannot be told.
	nfs) echo "$nfs3,atime,neg_time,rmdir_open,open_keeps_access" ;;
	nfsmem) echo "$nfs3,atime,neg_time,rmdir_open,open_keeps_access,large,sparse,mknod" ;;
	esac
}

# What ganesha's memory file system gets wrong: it dies of LINK, renames over no
# file, keeps data beyond a smaller end, counts folders' links and sizes of links
# wrong, has no free blocks, moves no times, knows no setgid folder.
server_faults() {
	[ "$target" != nfsmem ] || tr -s ' \n\t' ',' <<-'NAMES'
		name_of_255_bytes_works symlink_target_is_kept_to_the_byte
		link_count_follows_every_name link_count_of_a_folder_counts_subfolders
		rename_replaces_only_what_fits rename_of_hard_links_to_one_file_keeps_both
		rename_over_a_name_is_atomic_for_others file_opened_while_it_is_replaced_is_whole replaced_file_lives_while_open
		folder_needs_write_and_search_to_change_names sticky_folder_protects_names_of_others
		statfs_is_sane truncate_across_borders_leaves_zeros
		mapping_beyond_the_end_is_zero_then_sigbus write_moves_mtime_and_ctime_only
		metadata_changes_move_ctime_only names_move_the_times_of_their_folder
		utimes_set_exactly_what_is_asked setgid_folder_hands_its_group_down
	NAMES
}

scenario() {
	local failed=0 prog entries only=()
	case $target in
	nfs*) entries=$(scaled 5000 50000 2000) ;;
	dir) entries=$(scaled 20000 50000 4000) ;;
	*) entries=$(scaled 50000 50000 5000) ;;
	esac
	target_mount
	mkdir "$mnt/posix"
	chmod 755 "$mnt" "$mnt/posix"
	for prog in posix_name posix_dir posix_race posix_data posix_time posix_perm posix_lock; do
		# shellcheck disable=SC2207 # words on purpose
		only=($(comm -12 <("$(tool $prog)" --list | sort) <(tr ' ' '\n' <<<"${ONLY:-}" | sort)))
		[ -z "${ONLY:-}" ] || [ ${#only[@]} -gt 0 ] || continue
		"$(tool $prog)" --without "$(without)" --skip "$(server_faults)" --entries "$entries" "$mnt/posix" "${only[@]}" || failed=1
	done
	[ "$failed" = 0 ] || fail "sub-tests failed"
	rmdir "$mnt/posix"
	target_umount
}

run_scenario "$@"
