#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 04_model.sh - random operations on the mount and on a plain folder agree,
# remounts in between included, from one process and from four
fits="dir memory nfs nfsmem"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# What a target cannot do, and so is not asked for.
without() {
	local nfs3=punch,fallocate,zero_range,xattr,tmpfile,exchange,noreplace,dirtimes,rmdir_open,dirhandle,linktimes
	case $target in
	plain | dir | memory) echo none ;;
	# NFSv3 has none of these; a silly rename moves its folder's times late and
	# keeps it from being removed; a removed folder is gone, open or not; ganesha
	# takes times of symbolic links and drops them
	nfs) echo $nfs3 ;;
	# and its memory file system dies of LINK, renames over no file, keeps data
	# beyond a smaller end, moves no times, counts no links of folders, knows no
	# length of symbolic links and no setgid folder
	nfsmem) echo $nfs3,link,rename,unlink_open,truncate,times,dirnlink,symlink,setgid ;;
	esac
}

run_model() { # NAME OPS PROCESSES
	local ref=$work/refs/$1 args=()
	mkdir "$ref" "$mnt/$1"
	[ "$target" != nfsmem ] || args+=(--max-size 300000)
	! is_lasting || args+=(--remount "$(remount_command)")
	"$model" --seed "$SEED" --ops "$2" --processes "$3" --without "$(without)" \
		"${args[@]}" "$mnt/$1" "$ref"
	[ -z "$(target_backing)" ] || diff -r --no-dereference "$ref" "$(target_backing)/$1"
}

scenario() {
	local ops
	model=$(tool model)
	fast_folder "$work/refs" 3072
	target_mount
	case $target in
	nfsmem) ops=$(scaled 12000 200000 4000) ;;
	nfs) ops=$(scaled 50000 1000000 8000) ;;
	*) ops=$(scaled 100000 1000000 12000) ;;
	esac
	run_model one "$ops" 1
	run_model four $((ops / 3)) 4
	target_umount
}

run_scenario "$@"
