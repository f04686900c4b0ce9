#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 02_git_sqlite_make.sh - git, SQLite and a parallel build work in the mount and
# find their data whole after a remount
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.org GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.org

# ---- git ----------------------------------------------------------------------

make_repository() { # DIR FILES COMMITS
	local i
	mkdir -p "$1"
	git -C "$1" init -q -b main
	find /usr/include -maxdepth 2 -name '*.h' | sort | awk -v n="$2" 'NR <= n' >"$work/headers"
	tar -C / -cf - -T "$work/headers" 2>/dev/null | tar -C "$1" -xf -
	find "$1/usr" -name 'a*.h' -exec chmod 755 {} +
	for ((i = 1; i <= $3; i++)); do
		find "$1/usr" -name "*$((i % 10))*.h" -exec sh -c 'for f; do echo "/* change */" >>"$f"; done' _ {} +
		echo "$i" >"$1/number"
		ln -sfn "usr/include/stdio.h" "$1/link$i"
		git -C "$1" add -A
		git -C "$1" commit -q -m "change $i"
		[ "$i" != 2 ] || git -C "$1" branch old
	done
}

git_is_clean() {
	[ -z "$(git -C "$1" status --porcelain)" ] || fail "git status: $(git -C "$1" status --porcelain | head)"
	git -C "$1" fsck --full --strict >"$work/fsck" 2>&1 || fail "git fsck: $(cat "$work/fsck")"
}

git_works() {
	local head
	make_repository "$work/repo" "$(scaled 150 2000 40)" 5
	git clone -q "file://$work/repo" "$mnt/clone"
	git_is_clean "$mnt/clone"
	head=$(git -C "$work/repo" rev-parse HEAD)
	[ "$(git -C "$mnt/clone" rev-parse HEAD)" = "$head" ] || fail "clone has another head"
	git -C "$mnt/clone" checkout -q -b work origin/old
	git -C "$mnt/clone" checkout -q main
	echo more >>"$mnt/clone/number"
	[ "$(git -C "$mnt/clone" status --porcelain)" = " M number" ] || fail "git does not see a change"
	git -C "$mnt/clone" commit -q -a -m "in the mount"
	git -C "$mnt/clone" gc -q --prune=now
	git_is_clean "$mnt/clone"
	diff -r --no-dereference --exclude=.git --exclude=number "$work/repo" "$mnt/clone" >/dev/null || fail "work trees differ"
}

# ---- SQLite -------------------------------------------------------------------

sqlite_writer() { # DB WHO ROWS
	local i
	for ((i = 0; i < $3; i += 10)); do
		echo "BEGIN IMMEDIATE;"
		printf 'INSERT INTO t(who, v) VALUES (%d, randomblob(300));\n' "$2" "$2" "$2" "$2" "$2" "$2" "$2" "$2" "$2" "$2"
		echo "UPDATE t SET v = randomblob(1500) WHERE id = (SELECT max(id) FROM t WHERE who = $2);"
		echo "COMMIT;"
	done | sqlite3 -bail -cmd '.timeout 30000' "$1"
}

sqlite_check() { # DB ROWS
	[ "$(sqlite3 "$1" 'PRAGMA integrity_check')" = ok ] || fail "$1: integrity_check"
	[ "$(sqlite3 "$1" 'SELECT count(*) FROM t')" = "$2" ] || fail "$1: rows are missing"
}

sqlite_works() { # MODE
	local db=$mnt/$1.db p pids=()
	rows=$(scaled 200 3000 60)
	sqlite3 "$db" "PRAGMA journal_mode=$1; CREATE TABLE t(id INTEGER PRIMARY KEY, who INT, v BLOB); CREATE INDEX w ON t(who, v);" |
		grep -qix "$1" || fail "SQLite refused the mode $1"
	for p in 1 2 3; do
		sqlite_writer "$db" "$p" "$rows" &
		pids+=($!)
	done
	for p in "${pids[@]}"; do wait "$p" || fail "a writer in mode $1 failed"; done
	sqlite_check "$db" $((3 * rows))
	sqlite3 "$db" "DELETE FROM t WHERE id % 3 = 0; VACUUM;"
	sqlite_check "$db" $((2 * rows))
}

# ---- make ---------------------------------------------------------------------

make_project() { # DIR FILES
	local i
	mkdir "$1"
	echo 'int total(void);' >"$1/all.h"
	for ((i = 1; i <= $2; i++)); do
		printf '#include <stdio.h>\n#include "all.h"\nint f%d(void);\nint f%d(void) { return %d; }\n' "$i" "$i" "$i" >"$1/f$i.c"
	done
	{
		echo '#include <stdio.h>'
		echo '#include "all.h"'
		for ((i = 1; i <= $2; i++)); do echo "int f$i(void);"; done
		echo 'int main(void) { int n = 0;'
		for ((i = 1; i <= $2; i++)); do echo "n += f$i();"; done
		printf '%s\n' 'printf("%d\n", n); return 0; }'
	} >"$1/main.c"
	cat >"$1/Makefile" <<-'MAKE'
		OBJS := $(patsubst %.c,%.o,$(wildcard *.c))
		prog: $(OBJS) ; $(CC) -o $@ $^
		%.o: %.c all.h ; $(CC) -O1 -c -o $@ $<
	MAKE
}

build_works() {
	local n dir=$mnt/project want
	n=$(scaled 30 200 10)
	want=$((n * (n + 1) / 2))
	make_project "$dir" "$n"
	make -s -C "$dir" -j4
	[ "$("$dir/prog")" = "$want" ] || fail "the program built in the mount is wrong"
	make -q -C "$dir" prog || fail "make wants to build again: times are wrong"
	echo 'int f1(void); int f1(void) { return 1001; }' >"$dir/f1.c"
	[ "$(make -C "$dir" -j4 | grep -c -- ' -c ')" = 1 ] || fail "make did not rebuild just one file"
	[ "$("$dir/prog")" = $((want + 1000)) ] || fail "the program was not rebuilt"
}

scenario() {
	need git sqlite3 make gcc
	target_mount
	log git && git_works
	log "SQLite" && sqlite_works wal && sqlite_works delete
	log make && build_works
	if is_lasting; then
		log remount && target_remount
		git_is_clean "$mnt/clone"
		sqlite_check "$mnt/wal.db" $((2 * rows))
		sqlite_check "$mnt/delete.db" $((2 * rows))
		make -q -C "$mnt/project" prog || fail "times moved with the remount"
	fi
	target_umount
}

run_scenario "$@"
