#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 46_broker_crash.sh - a broker that is killed at any point of any operation, or whose storage fails any call in any
# way, neither loses a volume nor leaves one, nor a row, on any storage; SCALE=long runs all
# points and faults, ci a sample
fits="sqlite postgres"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

BROKER=${BROKER:-$root/build/$VARIANT/persifs-broker}
SIM=${SIM:-$root/build/$VARIANT/persifs-sim}
client=$root/tests/tools

matrix() { # STORE
	local crashes faults
	crashes=$(scaled 64 -1 24) faults=$(scaled 36 -1 12)
	# The faults are the same whatever the store is.
	[ "$1:$SCALE" != postgres:long ] || faults=200
	[ "$1:$SCALE" != postgres:ci ] || { crashes=40 faults=12; }
	python3 "$client/broker_crash.py" --broker "$BROKER" --abort-broker "$(tool persifs-broker-abort)" --sim "$SIM" \
		--work "$store/matrix" --store "$1" --crashes "$crashes" --faults "$faults" --seed "$SEED" --jobs 6 ||
		fail "SEED=$SEED repeats the choice of runs"
}

load() { # STORE
	python3 "$client/broker_load.py" --broker "$BROKER" --sim "$SIM" --work "$store/load" --store "$1" \
		--instances "$(scaled 200 10000 100)" --samples "$(scaled 100 1000)" ||
		fail "the broker under load"
}

scenario() {
	need python3
	[ -x "$BROKER" ] || skip "no program $BROKER"
	if [ "$target" = postgres ]; then
		compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || skip "PostgreSQL is not installed"
	fi
	export PYTHONDONTWRITEBYTECODE=1
	mkdir "$store/matrix" "$store/load"
	matrix "$target"
	load "$target"
}

run_scenario "$@"
