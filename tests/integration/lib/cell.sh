# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with test.sh and those who source it
# cell.sh - what driver.sh and plugin.sh share: the end of a driver, and certificates
#
#   driver_stop, driver_kill   by SIGTERM, which it obeys at once; by SIGKILL
#   certificates               makes $work/tls: NAME.pem and NAME.key of ca, server, client, and of otherca and stranger

DRIVER=${PERSIFS_DRIVER:-$root/build/$VARIANT/persifs-driver}
driver_pid=''

driver_stop() {
	kill -TERM "$driver_pid"
	wait_until 10 process_is_gone "$driver_pid" || fail "SIGTERM does not end the driver"
	wait "$driver_pid" || fail "the driver ended with status $?"
	driver_pid=''
}

driver_kill() {
	kill -KILL "$driver_pid"
	wait "$driver_pid" 2>/dev/null || true
	driver_pid=''
}

new_key() { # NAME
	printf '%s\n' -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/tls/$1.key"
}

signed() { # NAME CA SUBJECT
	local key
	mapfile -t key < <(new_key "$1")
	openssl req "${key[@]}" -subj "/CN=$3" -out "$work/tls/$1.csr" 2>/dev/null || fail "openssl makes no key"
	openssl x509 -req -in "$work/tls/$1.csr" -CA "$work/tls/$2.pem" -CAkey "$work/tls/$2.key" -CAcreateserial \
		-days 2 -extfile <(echo 'subjectAltName=IP:127.0.0.1') -out "$work/tls/$1.pem" 2>/dev/null ||
		fail "openssl signs nothing"
}

certificates() {
	local ca key
	need openssl
	mkdir -p "$work/tls"
	for ca in ca otherca; do
		mapfile -t key < <(new_key "$ca")
		openssl req -x509 "${key[@]}" -subj "/CN=$ca" -days 2 -out "$work/tls/$ca.pem" 2>/dev/null ||
			fail "openssl makes no authority"
	done
	signed server ca localhost
	signed client ca client
	signed stranger otherca client
}
