#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh - runs tests, one line each
#
#   tests/run.sh [-j JOBS] [-l SECONDS] TEST...
#
# A TEST is a program or script: exit 0 passes, 77 skips, anything else fails. A
# scenario (a script with a line fits="...") runs once for each target in it, or
# for those of $TARGETS among them; SCRIPT:TARGET is one of these.
# Output goes to build/$VARIANT/logs; a failed test shows the end of its own.
# A test that lasts longer than the limit is ended by its pid and has failed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VARIANT=${VARIANT:-release}
SCALE=${SCALE:-ci}
export VARIANT SCALE
logs=$root/build/$VARIANT/logs
jobs=$(nproc)
if [ "$SCALE" = long ]; then limit=3600; else limit=150; fi

usage() {
	echo "usage: tests/run.sh [-j JOBS] [-l SECONDS] TEST[:TARGET]..." >&2
	exit 2
}

while getopts j:l: opt; do
	case $opt in
	j) jobs=$OPTARG ;;
	l) limit=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
mkdir -p "$logs"

# fits_of SCRIPT: its targets, a line each, nothing for what is no scenario
fits_of() {
	case $1 in
	*.sh) sed -n 's/^fits="\(.*\)"$/\1/p' "$1" | tr ' ' '\n' ;;
	esac
}

wanted() { [ -z "${TARGETS:-}" ] || case " $TARGETS " in *" $1 "*) ;; *) false ;; esac }

# Each test as "path target", target empty for what has none.
expand() {
	local t fits target
	for t; do
		case $t in
		*:*)
			echo "${t%:*} ${t##*:}"
			continue
			;;
		esac
		fits=$(fits_of "$t")
		if [ -z "$fits" ]; then
			echo "$t "
			continue
		fi
		for target in $fits; do
			! wanted "$target" || echo "$t $target"
		done
	done
}

# last_words LOG: the lines that name a failure, with what stands before them, and the end
last_words() {
	grep -n -B 4 'FAIL' "$1" | head -n 25
	echo "..."
	tail -n 15 "$1"
}

# run_one PATH TARGET RESULT: writes one line to RESULT and to the screen
run_one() {
	local path=$1 target=$2 name rc=0 start end word note=''
	name=$(basename "$path" .sh)${target:+ $target}
	local log=$logs/${name// /.}.log
	start=$(date +%s%N)
	# shellcheck disable=SC2086 # no target: no argument
	timeout -k 10 "$limit" "$path" $target </dev/null >"$log" 2>&1 || rc=$?
	end=$(date +%s%N)
	case $rc in
	0) word=PASS ;;
	77)
		word=SKIP
		note=$(grep -i skip "$log" | tail -n 1 | sed 's/.*[Ss]kipped: //')
		;;
	124 | 137) word=FAIL note="after the limit of $limit s" ;;
	*) word=FAIL note="status $rc" ;;
	esac
	printf '%s  %-36s %6.1f s%s\n' "$word" "$name" "$(((end - start) / 1000000))e-3" "${note:+  ($note)}" >"$3"
	if [ "$word" = FAIL ]; then
		printf '%s\n' "$(cat "$3")" "$(last_words "$log" | cut -c 1-300 | sed 's/^/    /')" "    whole log: $log"
	else
		cat "$3"
	fi
}

results=$(mktemp -d)
pids=()
finish() {
	local p
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	rm -rf "$results"
}
trap finish EXIT
trap 'exit 130' INT TERM

n=0
while read -r path target; do
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
	n=$((n + 1))
	case $path in */*) ;; *) path=./$path ;; esac
	run_one "$path" "$target" "$results/$n" &
	pids+=($!)
done < <(expand "$@")
wait

count() { cat "$results"/* 2>/dev/null | grep -c "^$1" || true; }
failed=$(count FAIL)
[ "$failed" = 0 ] || cat "$results"/* | grep '^FAIL'
echo "$(count PASS) passed, $failed failed, $(count SKIP) skipped"
[ "$failed" = 0 ] && [ "$n" -gt 0 ] && [ "$(find "$results" -type f | wc -l)" = "$n" ]
