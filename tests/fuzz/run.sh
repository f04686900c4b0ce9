#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh - runs fuzz targets one after another, and tells what each has done
#
#   tests/fuzz/run.sh CPU_SECONDS TARGET...     (as fuzz_uri; built in build/fuzz/fuzz)
#
# Each runs until it has used so many seconds of a processor, however busy the
# machine is. What it finds on its way stays in build/fuzz/corpus for the next
# run; an input that breaks it is written to build/fuzz/TARGET-*, its output to
# build/fuzz/TARGET.log.
set -euo pipefail

seconds=$1
shift
cd "$(dirname "$0")/../.."
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1}

# Of the processes that this shell has waited for; into $cpu, as a subshell has waited for none.
cpu_hundredths() {
	times >build/fuzz/times # second line, theirs: 1m2.345s 0m0.678s
	cpu=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); s += t[1] * 60 + t[2] }
		printf "%d", s * 100 }' build/fuzz/times)
}

stat_of() { awk -v k="stat::$2:" '$1 == k { n += $2 } END { print n + 0 }' "$1"; }

fuzz() { # TARGET
	local log=build/fuzz/$1.log before used=0 covered
	mkdir -p "build/fuzz/corpus/$1"
	: >"$log"
	cpu_hundredths
	before=$cpu
	while [ "$used" -lt $((seconds * 100)) ]; do
		"build/fuzz/fuzz/$1" -max_total_time=$((seconds - used / 100)) -timeout=20 -verbosity=1 \
			-print_final_stats=1 -artifact_prefix="build/fuzz/$1-" \
			"build/fuzz/corpus/$1" "tests/fuzz/corpus/${1#fuzz_}" >>"$log" 2>&1 || {
			grep -v 'NEW\|REDUCE\|pulse' "$log" | tail -n 40
			return 1
		}
		cpu_hundredths
		used=$((cpu - before))
	done
	covered=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -n 1)
	printf '%-18s %12d executions  %-22s %6d CPU s\n' "$1" \
		"$(stat_of "$log" number_of_executed_units)" "${covered:-cov: none}" "$((used / 100))"
}

for target; do fuzz "$target"; done
