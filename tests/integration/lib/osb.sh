# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # shares variables with test.sh
# osb.sh - a persifs-broker of the run's own, for scenarios that speak to it alone
#
#   osb_start ARGUMENT...    starts it; $osb_url is where it answers, $osb_pid
#   osb_stop                 by SIGTERM, which it obeys at once
# $work/broker.json is its configuration, which the scenario writes.

BROKER=${PERSIFS_BROKER:-$root/build/$VARIANT/persifs-broker}
osb_pid='' osb_url=''

osb_ready_or_dead() { grep -q '^persifs-broker: ready' "$work/log/broker.out" || process_is_gone "$osb_pid"; }

osb_start() {
	[ -x "$BROKER" ] || skip "no program $BROKER"
	: >"$work/log/broker.out" # of an earlier one
	"$BROKER" --config "$work/broker.json" "$@" </dev/null >"$work/log/broker.out" 2>>"$work/log/broker" &
	osb_pid=$!
	wait_until 20 osb_ready_or_dead || fail "the broker neither starts nor ends"
	osb_url=$(sed -n 's/^persifs-broker: ready on tcp:/http:\/\//p' "$work/log/broker.out")
	[ -n "$osb_url" ] || fail "the broker does not start: $(tail -n 2 "$work/log/broker")"
}

osb_stop() {
	kill -TERM "$osb_pid"
	wait_until 20 process_is_gone "$osb_pid" || fail "SIGTERM does not end the broker"
	wait "$osb_pid" || fail "the broker ended with status $?"
	osb_pid=''
}
