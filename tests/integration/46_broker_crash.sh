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

matrix() { # FOLDER CRASHES FAULTS [OPTION...]
	mkdir "$store/$1"
	python3 "$client/broker_crash.py" --broker "$BROKER" --abort-broker "$(tool persifs-broker-abort)" --sim "$SIM" \
		--work "$store/$1" --store "$target" --crashes "$2" --faults "$3" --seed "$SEED" --jobs 6 "${@:4}" ||
		fail "SEED=$SEED repeats the choice of runs"
}

load() {
	mkdir "$store/load"
	python3 "$client/broker_load.py" --broker "$BROKER" --sim "$SIM" --work "$store/load" --store "$target" \
		--instances "$(scaled 200 10000 100)" --samples "$(scaled 100 1000)" --goal-ms "$(scaled 0 10)" ||
		fail "the broker under load"
}

scenario() {
	need python3
	[ -x "$BROKER" ] || skip "no program $BROKER"
	if [ "$target" = postgres ]; then
		compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || skip "PostgreSQL is not installed"
	fi
	export PYTHONDONTWRITEBYTECODE=1
	if [ "$target" = sqlite ]; then
		matrix one "$(scaled 64 -1 24)" "$(scaled 48 -1 12)"
	else
		matrix one "$(scaled 32 -1 16)" "$(scaled 8 200)"
		matrix two "$(scaled 24 -1 12)" "$(scaled 24 -1 12)" --copies
	fi
	load
}

run_scenario "$@"
