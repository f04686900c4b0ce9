# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # shares variables with test.sh
# standin.sh - what stands in for the ext4 engine until it is there: the kernel mounts the device, and
# persifs the folder
#
#   stand_in_programs   makes $work/persifs and $work/mkfs, for the driver's keys of these names
#   formats             how often a device got a file system
#   $work/kill_at       before-mkfs, after-mkfs, before-mount or after-mount: the driver is killed there

stand_in_programs() {
	cat >"$work/mkfs" <<-S
		#!/bin/bash
		echo "\$*" >>"$work/formats"
		[ "\$(cat "$work/kill_at" 2>/dev/null)" != before-mkfs ] || kill -KILL \$PPID
		mkfs.ext4 "\$@" || exit
		[ "\$(cat "$work/kill_at" 2>/dev/null)" != after-mkfs ] || kill -KILL \$PPID
	S
	cat >"$work/persifs" <<-S
		#!/bin/bash
		uri=\$4 point=\$5 under=$work/under/\${4//\//_}
		case \$uri in ext4:*) ;; *) exec "$PERSIFS" "\$@" ;; esac
		[ "\$(cat "$work/kill_at" 2>/dev/null)" != before-mount ] || kill -KILL \$PPID
		mkdir -p "\$under"
		mountpoint -q "\$under" || mount -o loop "\${uri#ext4:}" "\$under" || exit 32
		"$PERSIFS" "\$1" "\$2" "\$3" "dir:\$under" "\$point" || { umount "\$under"; exit 32; }
		setsid bash -c 'while grep -qF " \$1 fuse" /proc/self/mounts; do sleep 0.05; done
			while mountpoint -q "\$2" && ! umount "\$2" 2>/dev/null; do sleep 0.05; done' - "\$point" "\$under" </dev/null >/dev/null 2>&1 &
		[ "\$(cat "$work/kill_at" 2>/dev/null)" != after-mount ] || kill -KILL \$PPID
	S
	chmod +x "$work/mkfs" "$work/persifs"
	: >"$work/formats"
}

formats() { wc -l <"$work/formats"; }
