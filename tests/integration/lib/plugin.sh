# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # shares variables with test.sh
# plugin.sh - a persifs-driver of the run's own, with folders and ports of its own
#
#   driver_prepare          once a run: the mount root, shared as a cell's is, and certificates
#   driver_start [ARGUMENT...]   starts it, waits until it is ready; $driver_pid
#   driver_tls              TCP is mutual TLS from the next start on; certificates in $work/tls
#   driver_done             what must hold at the end: nothing mounted, known or left
# driver_stop, driver_kill, certificates: cell.sh
#
# It listens at $driver_socket and at 127.0.0.1:$driver_port; $driver_root is its mount root,
# $driver_specs where its discovery files are, $driver_admin its admin address.

# shellcheck source=cell.sh
. "$lib/cell.sh"

driver_prepare() {
	need python3 curl openssl
	[ -x "$DRIVER" ] || skip "no program $DRIVER"
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "the driver's mounts want a namespace of the run's own"
	driver_root=$work/vcap/data/volumes/persifs driver_specs=$work/voldrivers
	driver_socket=$work/run/driver.sock driver_log=$work/log/driver
	mkdir -p "$driver_root" "$driver_specs"
	mount --bind "$driver_root" "$driver_root"
	mount --make-shared "$driver_root"
	driver_port=$(free_port) driver_admin=127.0.0.1:$(free_port)
}

# driver_configure [KEY=JSON...]: the configuration file, for the next start
driver_configure() {
	python3 - "$work/driver.json" "$store" "$(scaled 3 3 20)" "$@" <<-'PY'
		import json, sys
		path, store, seconds = sys.argv[1:4]
		config = {"sources": ["dir:" + store, "nfs://"], "mount_timeout": int(seconds), "budget": "1g"}
		config.update((pair.split("=", 1)[0], json.loads(pair.split("=", 1)[1])) for pair in sys.argv[4:])
		with open(path, "w") as out:
		    json.dump(config, out, indent=1)
	PY
}

driver_tls() {
	local tls=$work/tls
	certificates
	driver_configure "tls={\"cert\":\"$tls/server.pem\",\"key\":\"$tls/server.key\",\"client_ca\":\"$tls/ca.pem\",
		\"discovery_ca\":\"$tls/ca.pem\",\"discovery_cert\":\"$tls/client.pem\",\"discovery_key\":\"$tls/client.key\"}" "$@"
}

driver_says() { grep -q "$1" "$driver_log"; }
driver_is_up_or_dead() { driver_says driver-server.started || process_is_gone "$driver_pid"; }

driver_start() {
	: >"$driver_log"
	[ -e "$work/driver.json" ] || driver_configure
	"$DRIVER" --config "$work/driver.json" --listen "unix:$driver_socket" --listen "tcp:127.0.0.1:$driver_port" \
		--admin "$driver_admin" --mount-root "$driver_root" --discovery "$driver_specs" --state "$work/driver.state" \
		"$@" </dev/null >>"$driver_log" 2>&1 &
	driver_pid=$!
	wait_until 10 driver_is_up_or_dead || fail "the driver is not ready"
	! process_is_gone "$driver_pid" || fail "the driver did not start: $(tail -n 3 "$driver_log")"
}

driver_mounts() { grep -F " $driver_root/" /proc/self/mountinfo || true; }

driver_done() {
	[ -z "$(driver_mounts)" ] || fail "mounts are left: $(driver_mounts)"
	[ -z "$(ls -A "$driver_root")" ] || fail "the mount root is not empty: $(ls -A "$driver_root")"
	wait_until 20 no_persifs_runs || fail "daemons are left: $(ps -o pid,args -p "$(persifs_pids | paste -sd,)")"
	no_sanitizer_reports
}

# driver_call ROUTE [JSON]: the answer, as dockerd would get it; status 1 with an Err
driver_call() { "$root/tests/tools/dockerd.py" "unix://$driver_socket" --call "$@"; }
