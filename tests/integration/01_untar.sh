#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 01_untar.sh - a tree untarred into the mount is the same there, after a
# remount, and in the server's own folder: data, owners, modes, times, links
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# Files of this machine, and beside them what they seldom hold.
make_source() { # DIR FILES
	local list=$work/list d=$1/odd
	mkdir -p "$1/tree" "$d/deep/er/than/most" "$d/empty"
	(cd / && find usr/include usr/share/doc -type f -o -type l | sort >"$list")
	awk -v want="$2" -v have="$(wc -l <"$list")" \
		'int(NR * want / have) != int((NR - 1) * want / have)' "$list" >"$list.some"
	tar -C / -cf - --hard-dereference -T "$list.some" | tar -C "$1/tree" -xpf -
	: >"$d/empty-file"
	printf 'x' >"$d/$(printf 'n%.0s' {1..255})"
	printf 'x' >"$d/new"$'\n'"line, caf\xc3\xa9, \xff"
	ln -s deep/er "$d/link-to-folder"
	ln -s /nowhere/at/all "$d/dangling"
	echo one >"$d/name1"
	ln "$d/name1" "$d/name2"
	ln "$d/name1" "$d/deep/name3"
	head -c 3000000 /dev/urandom >"$d/large"
	truncate -s 5G "$d/sparse"
	printf 'middle' | dd of="$d/sparse" bs=1 seek=3000000000 conv=notrunc status=none
	truncate -s 20M "$d/sparse" # what stays is one hole
	printf 'end' | dd of="$d/sparse" bs=1 seek=19999990 conv=notrunc status=none
	make_odd_modes "$d"
}

make_odd_modes() {
	local d=$1 m
	for m in 0000 0400 0777 1644 2755 4755 6711; do
		echo "$m" >"$d/mode-$m"
		chmod "$m" "$d/mode-$m"
	done
	mkdir -m 1777 "$d/sticky"
	mkdir "$d/setgid" && chown 0:2100 "$d/setgid" && chmod 2775 "$d/setgid"
	echo x >"$d/owned" && chown 2001:2002 "$d/owned"
	ln -s x "$d/owned-link" && chown -h 65534:4000000000 "$d/owned-link"
	touch -d '2001-02-03 04:05:06.123456789' "$d/old"
	touch -d '2037-12-31 23:59:59.5' "$d/future"
	touch -h -d '1999-12-31' "$d/dangling"
	touch -d '1985-01-01' "$d/deep" "$d/empty"
}

# All that a program can see of a tree but sizes of folders. ganesha takes times
# of symbolic links and drops them.
listing() {
	local time=%T@
	[ "$target" != nfs ] || time=-
	(cd "$1" && find . -mindepth 1 \( -type d -printf '%P|%y|%m|%U:%G|%T@|%n\n' \) -o \
		\( -type l -printf "%P|%y|%m|%U:%G|$time|%n|%s|%l\n" \) -o \
		-printf '%P|%y|%m|%U:%G|%T@|%n|%s\n' | LC_ALL=C sort)
}

same_tree() { # WANT GOT WHERE
	diff -r --no-dereference "$1" "$2" | head -n 20 >"$work/diff" || true
	[ ! -s "$work/diff" ] || fail "data differs $3: $(cat "$work/diff")"
	listing "$1" >"$work/want"
	listing "$2" >"$work/got"
	diff "$work/want" "$work/got" | head -n 20 >"$work/diff" || true
	[ ! -s "$work/diff" ] || fail "metadata differs $3: $(cat "$work/diff")"
	log "same $3: $(wc -l <"$work/want") names"
}

scenario() {
	local src=$work/src/top dst=$mnt/top
	fast_folder "$work/src" 2048
	mkdir "$src"
	make_source "$src" "$(scaled 2000 11000 500)"
	tar -C "$src" --format=posix --sparse --numeric-owner -cf "$work/src/tree.tar" .
	target_mount
	mkdir "$dst"
	log "untar"
	tar -C "$dst" --warning=no-timestamp --same-owner --numeric-owner -xpf "$work/src/tree.tar"
	same_tree "$src" "$dst" "in the mount"
	if is_lasting; then
		target_umount
		[ -z "$(target_backing)" ] || same_tree "$src" "$(target_backing)/top" "behind the mount"
		target_mount
		same_tree "$src" "$dst" "after a remount"
	fi
	log "remove"
	rm -rf "$dst"
	[ -z "$(ls -A "$mnt")" ] || fail "left after rm -rf: $(ls -A "$mnt")"
	target_umount
	[ -z "$(target_backing)" ] || [ -z "$(ls -A "$(target_backing)")" ] || fail "left behind the mount"
}

run_scenario "$@"
