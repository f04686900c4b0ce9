#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 32_docker.sh - Docker's own daemon with the driver as a volume plugin: docker volume create,
# docker run -v, docker cp, several containers, a dockerd that is killed, docker volume rm
# shellcheck disable=SC2016,SC2119 # what a container's shell expands; arguments that may be left out
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/plugin.sh
. "$lib/plugin.sh"
# shellcheck source=lib/container.sh
. "$lib/container.sh"

dockerd_pid=''

docker_answers() { docker version >/dev/null 2>&1; }
docker_is_up_or_dead() { docker_answers || process_is_gone "$dockerd_pid"; }

# No bridge, no rules of a firewall, storage that needs no overlay.
dockerd_start() {
	dockerd --storage-driver vfs --data-root "$work/docker" --exec-root /run/docker-exec --pidfile /run/docker.pid \
		--host "$DOCKER_HOST" --exec-opt native.cgroupdriver=cgroupfs \
		--cgroup-parent "/${work##*.}" --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
		</dev/null >>"$work/log/dockerd" 2>&1 &
	dockerd_pid=$!
	wait_until 30 docker_is_up_or_dead || fail "dockerd does not answer"
	docker_answers || skip "dockerd does not start here: $(grep -E 'level=(error|fatal)|failed' "$work/log/dockerd" | tail -n 1)"
}

docker_prepare() {
	need docker dockerd containerd
	export DOCKER_HOST=unix:///run/docker.sock DOCKER_CONFIG=$work/docker-config
	mkdir -p "$work/docker" "$DOCKER_CONFIG" /run/docker/plugins
	mount -t tmpfs tmpfs "$work/docker"
	container_image "$work/image.tar"
	dockerd_start
	docker import "$work/image.tar" app >/dev/null || fail "docker imports no image"
}

run() { docker run --network none "$@" </dev/null; }
count_of() { driver_call Get "{\"Name\":\"$1\"}" | sed -n 's/.*"MountCount": *\([0-9]*\).*/\1/p'; }
counts() { [ "$(count_of "$1")" = "$2" ] || fail "the count of $1 is $(count_of "$1"), not $2"; }

volume_is_created_and_told() {
	docker volume create -d persifs -o "source=$uri" files >/dev/null || fail "docker volume create"
	docker volume ls | grep 'persifs *files' >/dev/null || fail "docker volume ls"
	docker volume inspect files | grep '"Driver": "persifs"' >/dev/null || fail "docker volume inspect"
	counts files 0
}

# R7: the second container mounts without Create.
containers_one_after_the_other() {
	run --rm -v files:/data app sh -ec 'echo one >/data/one; mkdir -m 777 /data/open' || fail "the first container"
	counts files 0
	run --rm -v files:/data --user 2000:2000 app sh -ec '[ "$(cat /data/one)" = one ]; echo two >/data/open/two' ||
		fail "the second container"
	[ "$(cat "$store/open/two")" = two ] || fail "R13: not in the store"
	fails_as "Read-only file system" run --rm -v files:/data:ro app touch /data/new
	run --rm -v files:/data app grep ' /data ' /proc/self/mounts >"$work/flags"
	grep nosuid "$work/flags" | grep nodev >/dev/null || fail "docker drops nosuid,nodev: $(cat "$work/flags")"
	run --rm --mount "type=volume,volume-driver=persifs,src=second,dst=/data,\"volume-opt=source=$uri\"" app \
		cat /data/one >"$work/one" || fail "--mount with options"
	[ "$(cat "$work/one")" = one ] || fail "a volume made by --mount reads something else"
	docker volume rm second >/dev/null || fail "docker volume rm second"
}

# Section 5: docker cp mounts and unmounts, with the ID of the container that runs.
copies_into_containers() {
	echo copied >"$work/copy"
	run -d --name holder -v files:/data app sleep 3600 >/dev/null || fail "holder"
	counts files 1
	docker cp -q "$work/copy" holder:/data/copy || docker cp "$work/copy" holder:/data/copy || fail "docker cp, running"
	counts files 1
	[ "$(docker exec holder cat /data/copy)" = copied ] || fail "docker cp takes the volume from its container"
	run -d --name reader -v files:/data:ro app sleep 3600 >/dev/null || fail "reader"
	counts files 2
	docker exec holder sh -c 'echo shared >/data/shared'
	[ "$(docker exec reader cat /data/shared)" = shared ] || fail "two containers do not share"
	docker rm -f reader >/dev/null
	docker stop -t 0 holder >/dev/null
	counts files 0
	docker cp "$work/copy" holder:/data/stopped || fail "docker cp, stopped"
	counts files 0
	[ "$(cat "$store/stopped")" = copied ] || fail "docker cp into a stopped container is lost"
	docker rm holder >/dev/null
}

# Its Unmounts are lost; Remove comes with a count above 0.
dockerd_is_killed() {
	run -d --name orphan --stop-signal KILL -v files:/data app sleep 3600 >/dev/null || fail orphan
	counts files 1
	kill -KILL "$dockerd_pid"
	wait "$dockerd_pid" 2>/dev/null || true
	end_process "$(pgrep -P 1 -x containerd | head -n 1)"
	rm -f /run/docker.pid
	dockerd_start
	docker rm -f orphan >/dev/null || fail "docker rm of the orphan"
	log "after dockerd was killed the count is $(count_of files)"
	docker volume rm files >/dev/null || fail "docker volume rm"
	[ -z "$(count_of files)" ] || fail "section 7 Remove: the volume is still known"
}

bad_options_fail_the_container() {
	docker volume create -d persifs -o "source=$uri" -o colour=red bad >/dev/null || fail "R5: refused at Create"
	if run --rm -v bad:/data app true 2>"$work/bad"; then fail "a volume with a bad option mounts"; fi
	grep -q colour "$work/bad" || fail "the option is not named: $(cat "$work/bad")"
	docker ps -aq --filter status=created | xargs -r docker rm >/dev/null
	docker volume rm bad >/dev/null || fail "docker volume rm after a failed Mount"
}

scenario() {
	driver_prepare
	container_prepare rw # dockerd makes groups
	docker_prepare
	driver_start --listen unix:/run/docker/plugins/persifs.sock
	volume_is_created_and_told
	containers_one_after_the_other
	copies_into_containers
	bad_options_fail_the_container
	dockerd_is_killed
	end_process "$dockerd_pid"
	rmdir "/sys/fs/cgroup/${work##*.}"
	driver_stop
	driver_done
}

run_scenario "$@"
