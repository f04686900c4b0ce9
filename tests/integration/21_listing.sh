#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 21_listing.sh - large folders: attributes are asked for when somebody wants them, with
# the names; not for each name by itself, and not when nobody does
fits="nfsfault"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# cost COMMAND...: READDIRPLUS, READDIR and LOOKUP calls of it, into these variables
cost() {
	local p l r
	p=$(stat_of nfs_readdirplus) r=$(stat_of nfs_readdir) l=$(stat_of nfs_lookup)
	"$@" >"$work/out"
	plus=$(($(stat_of nfs_readdirplus) - p)) plain=$(($(stat_of nfs_readdir) - r))
	lookups=$(($(stat_of nfs_lookup) - l))
	log "$* on $(wc -l <"$work/out") lines: $plus READDIRPLUS, $plain READDIR, $lookups LOOKUP"
}

make_names() { # DIR COUNT
	mkdir "$mnt/$1"
	seq -f "$mnt/$1/a-name-like-another-%06g" "$2" | xargs touch
}

names_alone() {
	target_remount
	cost ls -U "$mnt/large"
	[ "$plus" -le 2 ] || fail "$plus READDIRPLUS for names"
	[ "$plain" -ge 2 ] || fail "$plain READDIR for names"
	[ "$lookups" -le 1 ] || fail "$lookups LOOKUP for names"
	[ "$(wc -l <"$work/out")" = "$large" ] || fail "$(wc -l <"$work/out") names"
}

names_with_attributes() {
	target_remount
	cost ls -lU "$mnt/large"
	[ "$plus" -ge 10 ] || fail "$plus READDIRPLUS for ls -l"
	[ "$lookups" -le 2 ] || fail "$lookups LOOKUP for ls -l"
	[ "$(wc -l <"$work/out")" -gt "$large" ] || fail "$(wc -l <"$work/out") lines"
}

# A walker looks at what has no type. What came in the first reply has one, for all.
walk_of_a_folder_of_some_names() {
	target_remount
	cost find "$mnt/some" -name nothing
	[ "$lookups" -le 2 ] || fail "$lookups LOOKUP for names whose types were told"
}

# Of more names than that it is learned.
walks_of_a_large_folder() {
	target_remount
	cost find "$mnt/large" -name nothing
	cost find "$mnt/large" -name nothing
	[ "$lookups" -le 64 ] || fail "$lookups LOOKUP in the second walk"
}

scenario() {
	large=$(scaled 10000 100000)
	target_mount
	make_names large "$large"
	make_names some 600
	names_alone
	names_with_attributes
	walk_of_a_folder_of_some_names
	walks_of_a_large_folder
	target_umount
}

run_scenario "$@"
