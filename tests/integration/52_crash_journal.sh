#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 52_crash_journal.sh - the journal before every power cut
#
#   states   what a cut can leave of random transactions is recovered by us, by e2fsck and by the kernel to the same
#            bytes, which hold all that was acknowledged: 5,000 states; SCALE=long 200,000
#   mutants  each rule of the journal is broken once, and the harness has to see it: a table of how soon
#
# docs/testing.md tells how to judge one state again. KEEP=1 keeps a run that failed.
fits="states mutants"
# shellcheck disable=SC2034 # for target.sh
own_targets=yes without_persifs=yes
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# crash OPTION...: with a folder in memory, where it can be
crash() {
	local mem=$work/mem
	if ! [ -d "$mem" ]; then
		mkdir "$mem"
		[ "${PERSIFS_TEST_NS:-}" != 1 ] || mount -t tmpfs tmpfs "$mem"
	fi
	"$program" --work "$mem" "$@"
}

# What is needed to look for the cause: the state, and the writes before it. With KEEP=1 all of the run.
show_run() {
	local about point
	for about in "$work"/mem/*/worker-*/run-*/about.txt; do
		[ -e "$about" ] || continue
		cat "$about"
		point=$(sed -n '2s/\..*//p' "$about")
		[ -z "$point" ] || head -n "$point" "${about%/*}/writes.txt" | tail -n 60
	done
	cp -r "$work"/mem/* "$work/log/" && log "kept in $work/log while KEEP=1"
}

states() {
	crash --self-test || fail "the harness does not see what it has to see"
	crash --states "$(scaled 5000 200000)" --per-run "$(scaled 500 2500)" --seed "$SEED" --jobs 4 \
		--judges 'own,e2fsck,kernel?,oracle' --keep-failed || {
		show_run
		fail "a state is wrong"
	}
}

# The third run from seed 4 on meets a forged transaction, which most runs do not.
mutants() {
	crash --mutant all --states "$(scaled 10000 40000)" --per-run 300 --seed "$(scaled 4 "$SEED")" --jobs 4 \
		--judges 'own,e2fsck,kernel?,oracle' || fail "a broken rule was not seen"
}

scenario() {
	[ "$(id -u)" = 0 ] || skip "root is needed"
	need mke2fs e2fsck debugfs
	program=$(tool crashjournal) || fail "crashjournal cannot be built"
	"$target"
}

run_scenario "$@"
