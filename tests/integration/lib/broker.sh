# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with test.sh and its scenarios
# broker.sh - the service broker and simulated arrays in a scenario, and a client of both
#
#   broker_prepare                    certificates, key, port; once, before what follows
#   broker_start PROVIDERS SERVICES [KEYS]   JSON of these keys; KEYS are more of the configuration
#   broker_again                      starts it with the configuration that is there
#   broker_stop, broker_kill          by SIGTERM, which it obeys; by SIGKILL
#   osb METHOD PATH [BODY]            below /v2; sets $status, $body (a file) and $retry_after
#   answers STATUS METHOD PATH [BODY] the same, must have this status
#   says PATH.OF.KEYS...              of the last body, a line each
#   word KEY                          the same for one text, without starting python
#   wait_operation ID [OPERATION]     polls until it is over; sets $outcome, and $polls: how many were too early
#   sweep_finds_nothing
#   no_row_is_left                    but tombstones
#
#   sim_start KIND [OPTION...]        with TLS; sets $sim_url, $sim_ca, $sim_pid
#   sim METHOD PATH [BODY]            of the control route, or of whatever wants a password
#   sim_fault MATCH FAULT MS          the next such call
#   sim_stop
#
# Two users take turns, one with a password and one with a hash.

# shellcheck source=cell.sh
. "$lib/cell.sh"

BROKER=${BROKER:-$root/build/$VARIANT/persifs-broker}
SIM=${SIM:-$root/build/$VARIANT/persifs-sim}
broker_pid='' sim_pid='' polls=0

broker_prepare() {
	need curl python3 openssl
	[ -x "$BROKER" ] || skip "no program $BROKER"
	certificates
	broker_port=$(free_port) body=$work/body user=one
	"$BROKER" make-key "$work/broker.key" || fail "make-key"
	hash_of_two=$(echo secret-two | "$BROKER" hash-password) || fail "hash-password"
}

broker_is_up_or_dead() { grep -q 'ready on' "$work/log/broker.out" || ! kill -0 "$broker_pid" 2>/dev/null; }

broker_start() { # PROVIDERS SERVICES [KEYS]
	cat >"$work/broker.json" <<-J
		{ "listen": ["tcp:127.0.0.1:$broker_port"], "store": "sqlite:$work/broker.db", "key_file": "$work/broker.key",
		  "tls": { "cert": "$work/tls/server.pem", "key": "$work/tls/server.key" }, "lease": "1s",
		  "audit_log": "$work/audit.log", "log_level": "debug",
		  "users": [{ "name": "one", "password": "secret-one" }, { "name": "two", "password_hash": "$hash_of_two" }],
		  "providers": { $1 },
		  "services": [ $2 ]${3:+, $3} }
	J
	chmod 600 "$work/broker.json"
	"$BROKER" --config "$work/broker.json" --check-config >/dev/null || fail "the configuration is refused"
	broker_again
}

broker_again() {
	: >"$work/log/broker.out"
	"$BROKER" --config "$work/broker.json" </dev/null >"$work/log/broker.out" 2>>"$work/log/broker" &
	broker_pid=$!
	wait_until 20 broker_is_up_or_dead || fail "the broker neither starts nor ends"
	grep -q 'ready on' "$work/log/broker.out" || fail "the broker does not start: $(tail -n 2 "$work/log/broker")"
}

broker_stop() {
	kill -TERM "$broker_pid"
	wait_until 10 process_is_gone "$broker_pid" || fail "SIGTERM does not end the broker"
	wait "$broker_pid" || fail "the broker ended with status $?"
	broker_pid=''
}

broker_kill() {
	kill -KILL "$broker_pid"
	wait "$broker_pid" 2>/dev/null || true
	broker_pid=''
}

osb() { # METHOD PATH [BODY]
	if [ "$user" = one ]; then user=two; else user=one; fi
	status=$(curl -s --max-time 60 --cacert "$work/tls/ca.pem" -u "$user:secret-$user" -X "$1" -o "$body" -D "$work/head" \
		-w '%{http_code}' -H 'X-Broker-API-Version: 2.17' -H 'Content-Type: application/json' ${3:+-d "$3"} \
		"https://127.0.0.1:$broker_port/v2/$2") || fail "$1 $2: curl ended with $?"
	retry_after=$(sed -n 's/^retry-after: *\([0-9]*\).*/\1/Ip' "$work/head")
}

answers() { # STATUS METHOD PATH [BODY]
	osb "${@:2}"
	[ "$status" = "$1" ] || fail "$2 $3: $status $(cat "$body"), expected $1"
}

says() {
	python3 - "$body" "$@" <<-'PY'
		import json, sys
		for path in sys.argv[2:]:
		    value = json.load(open(sys.argv[1]))
		    for key in path.split("."):
		        value = value[int(key) if key.isdigit() else key]
		    print(value if isinstance(value, str) else json.dumps(value))
	PY
}

word() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$body"; }

# The answer asks for seconds of patience; a test has less.
wait_operation() { # ID [OPERATION]
	local end=$((SECONDS + 60))
	polls=0
	while :; do
		osb GET "service_instances/$1/last_operation${2:+?operation=$2}"
		[ "$status" = 200 ] || fail "last_operation of $1: $status $(cat "$body")"
		outcome=$(word state)
		[ "$outcome" = "in progress" ] || return 0
		[ -n "$retry_after" ] || fail "last_operation does not say when to ask again"
		[ "$SECONDS" -lt "$end" ] || fail "the operation on $1 does not end: $(cat "$body")"
		polls=$((polls + 1))
		sleep 0.1
	done
}

sweep_finds_nothing() {
	local found
	found=$("$BROKER" sweep --config "$work/broker.json" --grace 0) || fail "sweep ended with $?: $found"
	[ "$found" = "nothing found" ] || fail "sweep: $found"
}

no_row_is_left() {
	python3 - "$work/broker.db" <<-'PY' || fail "rows are left in the store"
		import sqlite3, sys
		db = sqlite3.connect(sys.argv[1])
		rows = db.execute("SELECT id, state, handle, params, context FROM instances WHERE state <> 'deleted'"
		                  " OR handle <> '' OR params <> '' OR context <> ''").fetchall()
		rows += db.execute("SELECT instance, id FROM bindings WHERE deleted = 0 OR answer <> '' OR params <> ''").fetchall()
		tombstones = db.execute("SELECT count(*) FROM instances").fetchone()[0]
		print("left:", rows, "tombstones:", tombstones)
		sys.exit(1 if rows or not tombstones else 0)
	PY
}

# ---- arrays -------------------------------------------------------------------

sim_is_up_or_dead() { grep -q 'listening on' "$work/log/sim.out" || ! kill -0 "$sim_pid" 2>/dev/null; }

sim_start() { # KIND [OPTION...]
	[ -x "$SIM" ] || skip "no program $SIM"
	sim_ca=$work/tls/sim.pem
	: >"$work/log/sim.out" # of an earlier one
	"$SIM" "$1" --listen tcp:127.0.0.1:0 --tls --cert-out "$sim_ca" --root "$store/array" --state "$work/sim.state" "${@:2}" \
		</dev/null >"$work/log/sim.out" 2>>"$work/log/sim" &
	sim_pid=$!
	wait_until 30 sim_is_up_or_dead || fail "the simulator neither starts nor ends"
	sim_url=$(sed -n 's/^persifs-sim: listening on //p' "$work/log/sim.out")
	[ -n "$sim_url" ] || fail "the simulator does not start: $(tail -n 2 "$work/log/sim")"
}

sim() { # METHOD PATH [BODY]
	curl -s --max-time 30 --cacert "$sim_ca" -u admin:password -X "$1" -H Content-Type:application/json ${3:+-d "$3"} "$sim_url$2"
}

sim_fault() { # MATCH FAULT MS
	sim POST /_sim/faults "{\"match\":\"$1\",\"fault\":\"$2\",\"times\":1,\"ms\":$3}" >/dev/null
}

sim_stop() {
	end_process "$sim_pid"
	sim_pid=''
}
