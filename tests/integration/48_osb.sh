#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 48_osb.sh - a real broker does what the Open Service Broker API says, on SQLite and on PostgreSQL, over TLS:
# each status and error word, repeats, conflicts, orphans in any order, reloads under work, wrong configurations
# shellcheck disable=SC2119,SC2034 # arguments that may be left out; own_targets is read by target.sh
fits="sqlite postgres"
own_targets=yes
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/cell.sh
. "$lib/cell.sh"
# shellcheck source=lib/osb.sh
. "$lib/osb.sh"

configure() { # STORE
	mkdir -p "$work/root"
	"$BROKER" make-key "$work/key"
	cat >"$work/broker.json" <<-J
		{ "listen": ["tcp:127.0.0.1:0"], "key_file": "$work/key", "store": "$1", "audit_log": "$work/audit",
		  "tls": { "cert": "$work/tls/server.pem", "key": "$work/tls/server.key" },
		  "users": [{ "name": "cc", "password": "pass:word" }],
		  "dashboard": { "url": "https://broker.example.org" },
		  "providers": { "disk": { "type": "local", "root": "$work/root" }, "nas": { "type": "existing" } },
		  "services": [
		    { "id": "s-nfs", "name": "nfs", "description": "Shares", "plans": [
		      { "id": "share", "name": "Existing", "description": "A share", "provider": "nas" }] },
		    { "id": "s-vol", "name": "volumes", "description": "Volumes", "tags": ["volume"], "plans": [
		      { "id": "folder", "name": "folder", "description": "A folder", "provider": "disk", "size": "16m",
		        "max_size": "1g", "plan_updateable": true },
		      { "id": "folder2", "name": "folder-2", "description": "Another", "provider": "disk", "size": "16m",
		        "max_size": "2g" },
		      { "id": "fixed", "name": "fixed", "description": "Of one size", "provider": "disk", "size": "16m",
		        "maintenance_info": { "version": "1.0.0", "description": "first" } },
		      { "id": "image", "name": "image", "description": "A disk", "provider": "disk", "kind": "image",
		        "size": "16m", "max_size": "64m" }] }] }
	J
}

scenario() {
	local uri_of_store
	need python3 curl openssl
	[ -x "$BROKER" ] || skip "no program $BROKER"
	uri_of_store=sqlite:$work/broker.db
	if [ "$target" = postgres ]; then
		postgres_start
		uri_of_store=$postgres_uri
	fi
	certificates
	configure "$uri_of_store"
	"$root/tests/tools/osb_config.py" "$BROKER" "$work/broker.json" || fail "what is said of wrong files"
	osb_start
	"$root/tests/tools/cloudcontroller.py" "https://${osb_url#*://}" --ca "$work/tls/ca.pem" --config "$work/broker.json" \
		--log "$work/log/broker" --pid "$osb_pid" --seed "$SEED" --rounds "$(scaled 25 500 10)" ||
		fail "the broker does otherwise"
	"$BROKER" sweep --config "$work/broker.json" || fail "something is left"
	osb_stop
	postgres_stop
}

run_scenario "$@"
