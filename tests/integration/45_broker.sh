#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 45_broker.sh - from the marketplace to a folder in a container, on the real programs, for each kind of storage: catalog,
# provision, bind, mount, write, read elsewhere, unbind, rebind, grow, delete, and nothing is left; with a broker
# that is killed meanwhile, and a platform that changes its mind
fits="local existing onefs scaleio"
# shellcheck disable=SC2034 # for target.sh
own_targets=yes
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/driver.sh
. "${BASH_SOURCE%/*}/lib/driver.sh"
# shellcheck source=lib/container.sh
. "$lib/container.sh"
# shellcheck source=lib/broker.sh
. "$lib/broker.sh"
# shellcheck source=lib/standin.sh
. "$lib/standin.sh"

SERVICE=5c2f9d0e-0000-4000-8000-000000000001
APP=2000   # who apps run as in their containers
OWNER=3000 # who they are where files are mapped
SAFE=nosuid,nodev

# ---- what a platform does --------------------------------------------------------

about() { echo "\"service_id\":\"$SERVICE\",\"plan_id\":\"$plan\""; } # of bodies
ids() { echo "service_id=$SERVICE&plan_id=$plan"; }                    # of queries

request_instance() { # STATUS ID [PARAMETERS]
	answers "$1" PUT "service_instances/$2?accepts_incomplete=true" "{$(about),\"organization_guid\":\"org\",
		\"space_guid\":\"space\",\"context\":{\"platform\":\"cloudfoundry\",\"instance_name\":\"mine\"},\"parameters\":${3:-{\}}}"
}

succeeds() { # ID: what the last 202 began
	wait_operation "$1" "$(word operation)"
	[ "$outcome" = succeeded ] || fail "the operation on $1: $(cat "$body")"
}

provision() { # ID [PARAMETERS]: 202 and a while where $plan_answers so, else 201
	request_instance "$plan_answers" "$@"
	[ "$plan_answers" = 201 ] || succeeds "$1"
	waited=$polls
	answers 200 GET "service_instances/$1"
	[ "$(word plan_id)" = "$plan" ] || fail "GET: $(cat "$body")"
}

# bind ID BINDING APP [PARAMETERS]: sets $name, $config, $dir and $mode of its volume
bind() {
	answers 201 PUT "service_instances/$1/service_bindings/$2" \
		"{$(about),\"bind_resource\":{\"app_guid\":\"$3\"},\"parameters\":${4:-{\}}}"
	local m=volume_mounts.0 told
	mapfile -t told < <(says credentials $m.driver $m.mode $m.container_dir $m.device.volume_id $m.device.mount_config)
	[ "${told[0]}" = '{}' ] || fail "credentials: $(cat "$body")"
	[ -e "$work/discovery/${told[1]}.json" ] || fail "cells have no driver '${told[1]}'"
	mode=${told[2]} dir=${told[3]} name=${told[4]} config=${told[5]}
}

unbind() { # ID BINDING
	answers 200 DELETE "service_instances/$1/service_bindings/$2?$(ids)"
	answers 410 DELETE "service_instances/$1/service_bindings/$2?$(ids)"
}

deprovision() { # ID
	osb DELETE "service_instances/$1?accepts_incomplete=true&$(ids)"
	case $status in
	202) succeeds "$1" ;;
	200) ;;
	*) fail "DELETE of $1: $status $(cat "$body")" ;;
	esac
	answers 404 GET "service_instances/$1"
	answers 410 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)"
}

# ---- what a cell does ------------------------------------------------------------

mount_it() {
	ok Create "{\"Name\":\"$name\",\"Opts\":$config}"
	mounts_at "$name"
}
unmount_it() { ok Unmount "{\"Name\":\"$name\"}"; }

in_app() { # CONTAINER COMMANDS: with the volume where its bind said
	container crun "$1" --uid $APP --bind "$root_dir/$name:$dir:$(mode_option)$SAFE" -- sh -ec "$2"
}
mode_option() { [ "$mode" = rw ] || echo ro,; }

the_cell_is_clean() {
	[ "$(ask List | field Volumes)" = '[]' ] || fail "R11: not forgotten: $(ask List)"
	! grep -F " $root_dir/" /proc/self/mounts || fail "a mount is left"
	wait_until 20 no_persifs_runs || fail "a daemon is left"
	wait_until 20 nothing_is_held || fail "the cell still holds $(cat "$root_dir/driver-state.json.arrays")"
}
nothing_is_held() { [ ! -e "$root_dir/driver-state.json.arrays" ]; }

nothing_is_left() {
	the_cell_is_clean
	the_storage_is_empty
	sweep_finds_nothing
	no_row_is_left
}

# ---- lives of volumes ----------------------------------------------------------------

the_catalog_has() { # PLAN
	answers 200 GET catalog
	grep -qF "\"id\":\"$1\",\"name\"" "$body" || fail "no plan $1 in $(cat "$body")"
	grep -qF '"requires":["volume_mount"]' "$body" || fail "requires: $(cat "$body")"
}

an_app_writes_and_its_second_instance_reads() { # ID BINDING [BIND-PARAMETERS]
	bind "$1" "$2" app-one "${3:-}"
	[ "$mode" = rw ] || fail "mode $mode"
	mount_it
	in_app writer "echo first >$dir/file; mkdir $dir/sub; [ \$(stat -c %u:%g $dir/file) = $APP:$APP ]" || fail "the app cannot write"
	mount_it # the cell counts: once for each instance
	[ "$(in_app reader "cat $dir/file; echo second >>$dir/file")" = first ] || fail "the second instance does not read it"
}

another_app_reads_only() { # ID BINDING [BIND-PARAMETERS]
	local first=$name
	bind "$1" "$2" app-two "{\"readonly\":true${3:+,$3}}"
	[ "$mode" = r ] || fail "mode $mode of a bind that is read-only"
	[ "$name" != "$first" ] || fail "B9: one volume_id for two sets of options"
	mount_it
	[ "$(in_app reader "cat $dir/file")" = $'first\nsecond' ] || fail "the other app does not read it"
	fails_as "Read-only file system" in_app reader "echo third >>$dir/file"
	fails_as "Read-only file system" touch "$root_dir/$name/x"
	unmount_it
	unbind "$1" "$2"
}

it_grows() { # ID SIZE
	osb PATCH "service_instances/$1?accepts_incomplete=true" "{\"service_id\":\"$SERVICE\",\"parameters\":{\"size\":\"$2\"}}"
	case $status in
	202) succeeds "$1" ;;
	200) ;;
	*) fail "PATCH: $status $(cat "$body")" ;;
	esac
	answers 200 GET "service_instances/$1"
	[ "$(word size)" = "$2" ] || fail "GET after an update: $(cat "$body")"
}

# Files: several apps at a time. after_mount and after_unmount look at the storage.
life_of_files() { # ID GROWS-TO BYTES [PARAMETERS [BIND-PARAMETERS]]
	local params=${4:-} bind_params=${5:-}
	the_catalog_has "$plan"
	provision "$1" "$params"
	an_app_writes_and_its_second_instance_reads "$1" b1 "${bind_params:+{$bind_params\}}"
	after_mount "$1"
	local rw=$name rw_dir=$dir
	another_app_reads_only "$1" b2 "$bind_params"
	name=$rw dir=$rw_dir mode=rw
	unmount_it
	in_app reader "cat $dir/file >/dev/null" || fail "the end of one instance is the end of all"
	unmount_it
	after_unmount "$1"
	answers 422 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)" # it is bound
	unbind "$1" b1
	the_cell_is_clean
	bind "$1" b3 app-one "${bind_params:+{$bind_params\}}"
	[ "$name" = "$rw" ] || fail "the same mount has another volume_id"
	mount_it
	[ "$(in_app reader "cat $dir/file")" = $'first\nsecond' ] || fail "the data is gone after a rebind"
	if [ -n "$2" ]; then
		it_grows "$1" "$2"
		the_storage_has "$1" "$3"
	fi
	unbind "$1" b3
	in_app writer "echo third >>$dir/file; sync" || fail "an unbind takes the volume from a running app"
	unmount_it
	after_unmount "$1"
	deprovision "$1"
	nothing_is_left
	log "plan $plan: the whole life, and nothing left"
}
after_mount() { :; }
after_unmount() { :; }

# Disks: one app at a time.
life_of_a_disk() { # ID GROWS-TO BYTES
	the_catalog_has "$plan"
	provision "$1"
	before_first_mount "$1"
	an_app_writes_and_its_second_instance_reads "$1" d1
	[ "$(formats)" = 1 ] || fail "formatted $(formats) times"
	answers 422 PUT "service_instances/$1/service_bindings/d2" "{$(about),\"bind_resource\":{\"app_guid\":\"app-two\"}}"
	grep -qF 'a disk that one app can use at a time' "$body" || fail "the sentence: $(cat "$body")"
	unmount_it
	unmount_it
	unbind "$1" d1
	wait_until 20 nothing_is_held || fail "the cell still holds $(cat "$root_dir/driver-state.json.arrays")"
	after_unmount "$1"
	bind "$1" d3 app-two # now the other app may
	mount_it
	[ "$(in_app reader "cat $dir/file")" = $'first\nsecond' ] || fail "the data is gone after a rebind"
	it_grows "$1" "$2"
	the_storage_has "$1" "$3"
	unbind "$1" d3
	a_deletion_waits_for_the_last_app "$1"
	[ "$(formats)" = 1 ] || fail "formatted $(formats) times"
	nothing_is_left
	log "plan $plan: the whole life, and nothing left"
}
before_first_mount() { :; }

# Unbound and deleted by the developer, and the app was not restarted yet.
a_deletion_waits_for_the_last_app() { # ID
	local operation
	answers 202 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)"
	operation=$(word operation)
	sleep 1
	answers 200 GET "service_instances/$1/last_operation?operation=$operation"
	[ "$(word state)" = "in progress" ] || fail "deleted under an app: $(cat "$body")"
	in_app writer "echo third >>$dir/file; sync" || fail "an unbind takes the volume from a running app"
	unmount_it
	wait_operation "$1" "$operation"
	[ "$outcome" = succeeded ] || fail "the deletion: $(cat "$body")"
	answers 410 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)"
}

# ---- the death of parts ---------------------------------------------------------------

creation_is_slow() { :; } # the next one

the_broker_dies_after_its_word() { # ID
	creation_is_slow
	request_instance 202 "$1"
	local operation
	operation=$(word operation)
	broker_kill
	broker_again
	wait_operation "$1" "$operation"
	[ "$outcome" = succeeded ] || fail "killed after 202: $(cat "$body")"
	bind "$1" k1 app-one
	unbind "$1" k1
	sweep_finds_nothing
	answers 202 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)"
	operation=$(word operation)
	broker_kill
	broker_again
	wait_operation "$1" "$operation"
	[ "$outcome" = succeeded ] || fail "killed after the 202 of a deletion: $(cat "$body")"
	nothing_is_left
}

# What it does with an instance whose creation it gave up, or of which it got no answer.
the_platform_cleans_up() { # ID
	answers 410 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)" # it came before the creation
	creation_is_slow
	request_instance 202 "$1"
	answers 202 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)"
	succeeds "$1"
	answers 410 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)"
	nothing_is_left
	creation_is_slow
	request_instance 202 "$1"
	broker_kill
	broker_again
	answers 202 DELETE "service_instances/$1?accepts_incomplete=true&$(ids)"
	succeeds "$1"
	nothing_is_left
	log "a broker that is killed and a platform that changes its mind leave nothing"
}

# ---- kinds of storage -------------------------------------------------------------------

plan_of() { # ID PROVIDER KEYS
	echo "{\"id\":\"$1\",\"name\":\"$1\",\"description\":\"plan $1\",\"provider\":\"$2\",$3}"
}
mapped="\"uid\":$OWNER,\"gid\":$OWNER,\"size\":\"64m\",\"max_size\":\"1g\""
service_of() { # PLAN...
	local IFS=,
	echo "{\"id\":\"$SERVICE\",\"name\":\"volumes\",\"description\":\"Volumes\",\"plans\":[$*]}"
}

scenario_local() {
	local folders=$store/volumes
	mounter=$work/persifs
	broker_start "\"disk\":{\"type\":\"local\",\"root\":\"$folders\"}" "$(service_of \
		"$(plan_of folder disk "$mapped")" \
		"$(plan_of image disk '"kind":"image","size":"64m","max_size":"1g"')")"
	driver_start "\"mkfs\":\"$work/mkfs\",\"unmount_wait\":5,\"cell\":{\"nqn\":\"nqn.2014-08.org.example:cell\"},
		\"providers\":{\"disk\":{\"type\":\"local\",\"root\":\"$folders\"}}"
	the_storage_is_empty() { [ -z "$(ls -A "$folders")" ] || fail "left: $(ls -A "$folders")"; }
	the_storage_has() { # ID BYTES
		local volume=${config#*"$folders"/}
		volume=${volume%%\"*}
		if [ "$plan" = image ]; then
			[ "$(stat -c %s "$folders/$volume")" = "$2" ] || fail "the image has $(stat -c %s "$folders/$volume") bytes"
		else
			[ "$(stat -c %u:%g:%a "$folders/$volume")" = $OWNER:$OWNER:770 ] || fail "$(stat "$folders/$volume")"
			[ "$(stat -c %u:%g "$folders/$volume/file")" = $OWNER:$OWNER ] || fail "$(stat "$folders/$volume/file")"
			grep -qF "$2" "$folders"/.*"$volume"* || fail "the new size stands nowhere"
		fi
	}
	plan=folder plan_answers=201
	life_of_files local-1 128m 134217728
	plan=image plan_answers=202
	life_of_a_disk local-2 128m 134217728
	the_broker_dies_after_its_word local-3
	the_platform_cleans_up local-4
}

# Shares of a server that nobody but its owner makes: the instance names one, or a folder below that of the plan.
scenario_existing() {
	server_start VFS "$store"
	mkdir -m 770 "$store/mine" "$store/team" "$store/team/below"
	chown $OWNER:$OWNER "$store/mine" "$store/team/below"
	chmod 755 "$store/team"
	broker_start '"nas":{"type":"existing"}' "$(service_of \
		'{"id":"existing","name":"Existing","description":"A share of yours","provider":"nas"}' \
		"{\"id\":\"team\",\"name\":\"team\",\"description\":\"Of the team\",\"provider\":\"nas\",\"share\":\"127.0.0.1$store/team\"}")"
	driver_start
	the_storage_is_empty() { # it is what it was, and what apps wrote
		[ "$(ls "$store")" = $'mine\nteam' ] || fail "the server holds $(ls "$store")"
	}
	plan=existing plan_answers=201
	request_instance 400 existing-1 "{\"share\":\"127.0.0.1:$store/mine\"}"
	grep -qF 'no colon allowed after server' "$body" || fail "$(cat "$body")"
	life_of_files existing-1 '' '' "{\"share\":\"127.0.0.1$store/mine\"}" "\"uid\":\"$OWNER\",\"gid\":\"$OWNER\""
	[ "$(cat "$store/mine/file")" = $'first\nsecond\nthird' ] || fail "what apps wrote is not on the server"
	[ "$(stat -c %u:%g "$store/mine/file")" = $OWNER:$OWNER ] || fail "$(stat "$store/mine/file")"
	plan=team
	life_of_files existing-2 '' '' "{\"subdirectory\":\"below\",\"uid\":$OWNER,\"gid\":$OWNER}"
	[ -s "$store/team/below/file" ] || fail "what apps wrote is not in the folder"
	plan=existing
	provision existing-3 "{\"share\":\"127.0.0.1$store/mine\"}"
	broker_kill
	broker_again
	answers 200 GET service_instances/existing-3
	answers 200 PUT service_instances/existing-3 "{$(about),\"context\":{},\"parameters\":{\"share\":\"127.0.0.1$store/mine\"}}"
	osb PATCH service_instances/existing-3 "{\"service_id\":\"$SERVICE\",\"parameters\":{\"size\":\"1g\"}}"
	[ "$status" = 400 ] || fail "a size of what is the owner's: $status $(cat "$body")"
	deprovision existing-3
	nothing_is_left
}

exports=/platform/2/protocols/nfs/exports quotas=/platform/1/quota/quotas

scenario_onefs() {
	local keys
	rpcbind_start
	sim_start onefs --set ganesha=yes --set nfs_port=2049 --set "mount_port=$(free_port)"
	keys="\"type\":\"onefs\",\"url\":\"$sim_url\",\"user\":\"admin\",\"password\":\"password\",\"ca_file\":\"$sim_ca\",\"nfs_host\":\"127.0.0.1\""
	local managed="\"cells\":{$keys,\"clients\":\"managed\",\"name_prefix\":\"cm-\"}"
	broker_start "\"isilon\":{$keys,\"networks\":[\"127.0.0.0/8\"]},$managed" "$(service_of \
		"$(plan_of share isilon "$mapped")" \
		"$(plan_of managed cells "$mapped")")"
	driver_start "\"providers\":{$managed}"
	the_storage_is_empty() {
		sim GET "$exports" | grep -q '"total": *0' || fail "exports are left: $(sim GET "$exports")"
		sim GET "$quotas" | grep -q '"quotas": *\[\]' || fail "quotas are left: $(sim GET "$quotas")"
		[ -z "$(find "$store/array/ifs/data/persifs" -mindepth 1 2>/dev/null)" ] || fail "left: $(find "$store/array/ifs")"
	}
	the_storage_has() { # ID BYTES
		sim GET "$quotas" | grep -q "\"hard\": *$2\\b" || fail "the quota is $(sim GET "$quotas")"
	}
	creation_is_slow() { sim_fault "PUT /namespace/" delay 1500; }
	plan=share plan_answers=202
	creation_is_slow
	life_of_files onefs-1 128m 134217728
	[ "$waited" -gt 0 ] || fail "nobody had to wait for a slow array"
	plan=managed
	after_mount() { clients | grep -qF '"127.0.0.1"' || fail "the cell is not in the export: $(clients)"; }
	after_unmount() {
		wait_until 20 nothing_is_held || fail "the export still has the cell"
		[ "$(clients)" = '["localhost"]' ] || fail "the export still has $(clients)"
	}
	clients() { sim GET "$exports" | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["exports"][0]["clients"]))'; }
	life_of_files onefs-2 128m 134217728
	plan=share
	the_broker_dies_after_its_word onefs-3
	the_platform_cleans_up onefs-4
}

guid=2B7E1C90-4D55-4E0B-9A61-0F3C8D1172AA

scenario_scaleio() {
	local keys
	sim_start scaleio --set sdcs=0 --set device_delay_ms=200
	sim POST /_sim/scaleio/sdc "{\"guid\":\"$guid\",\"name\":\"cell-a\",\"ip\":\"10.0.0.1\",\"state\":\"Connected\",\"approved\":true}" |
		grep -q '"id"' || fail "no host"
	keys="\"gold\":{\"type\":\"scaleio\",\"url\":\"$sim_url\",\"user\":\"admin\",\"password\":\"password\",\"ca_file\":\"$sim_ca\"}"
	broker_start "$keys" "$(service_of \
		"$(plan_of small gold '"protection_domain":"pd1","pool":"pool1","size":"8g","max_size":"64g"')")"
	cell="\"providers\":{$keys},\"mkfs\":\"$work/mkfs\",\"unmount_wait\":5,\"cell\":{\"sdc_guid\":\"$guid\"},
		\"device_dir\":\"$store/array/sdc/$guid/dev/disk/by-id\""
	driver_start "$cell"
	the_storage_is_empty() {
		sim GET /_sim/scaleio/array | grep -q '"volumes": *\[\]' || fail "volumes are left: $(sim GET /_sim/scaleio/array)"
		[ -z "$(find "$store/array/volumes" "$store/array/sdc" -name '*.img' -o -name 'emc-vol-*')" ] || fail "left: $(find "$store/array")"
	}
	the_storage_has() { # ID BYTES
		sim GET /_sim/scaleio/array | grep -q "\"kib\": *$(($2 / 1024))\\b" || fail "the array has $(sim GET /_sim/scaleio/array)"
	}
	creation_is_slow() { sim_fault "POST /api/types/Volume/instances" delay 1500; }
	before_first_mount() { the_engine_is_missed_in_plain_words "$1"; }
	plan=small plan_answers=202
	creation_is_slow
	life_of_a_disk scaleio-1 16g 17179869184
	the_broker_dies_after_its_word scaleio-2
	the_platform_cleans_up scaleio-3
	the_curl_example
}

# The device was on the cell, and got its file system; what comes next is not there yet, and Mount says so.
the_engine_is_missed_in_plain_words() { # ID
	bind "$1" d0 app-one
	ok Create "{\"Name\":\"$name\",\"Opts\":$config}"
	errs Mount "{\"Name\":\"$name\"}" 'SafeDescription.*a volume of this kind cannot be mounted by this version'
	grep -q "ext4:$store/array/sdc/$guid/dev/disk/by-id/emc-vol-.* ext4 is not supported yet" "$work/log/driver" || fail "the log does not say why"
	[ "$(formats)" = 1 ] || fail "no device was there to be formatted"
	wait_until 20 nothing_is_held || fail "a mount that failed keeps the volume"
	ok Remove "{\"Name\":\"$name\"}"
	unbind "$1" d0
	driver_stop
	mounter=$work/persifs
	driver_start "$cell"
}

# dist/curl-example.sh, which the README shows, as it stands there.
the_curl_example() {
	PATH=${BROKER%/*}:$PATH TMPDIR=$work timeout 60 sh "$root/dist/curl-example.sh" >"$work/log/curl-example" 2>&1 ||
		fail "the example ended with $?"
	grep -qF '"volume_mounts"' "$work/log/curl-example" || fail "the example binds nothing"
	grep -qF '"succeeded"' "$work/log/curl-example" || fail "the example makes nothing"
}

scenario() {
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "ports and loop devices want namespaces of the run's own"
	[ "$target" != onefs ] || need ganesha.nfsd rpcbind rpcinfo
	[ -e /dev/loop-control ] || skip "no loop devices"
	need mkfs.ext4
	container_prepare ro
	driver_prepare
	broker_prepare
	stand_in_programs
	"scenario_$target"
	no_secret_is_seen
	driver_stop
	broker_stop
	sim_stop
}

no_secret_is_seen() { # R15, B3
	local found
	found=$(grep -rsaE 'secret-(one|two)|admin:password|"password"' "$work/log" "$work/audit.log" "$root_dir" "$work"/broker.db* || true)
	[ -z "$found" ] || fail "a secret is seen: $found"
	grep -q '"status":20' "$work/audit.log" || fail "the audit log has $(tail -n 1 "$work/audit.log")"
}

run_scenario "$@"
