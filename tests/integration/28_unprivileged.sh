#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 28_unprivileged.sh - mounts of an ordinary user: inside a user namespace with one id and
# with ranges of newuidmap, a container as its child; on a descriptor that somebody else
# mounted; and by fusermount3. Each with the whole way of some data, and the sandbox that is
# possible there
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/user.sh
. "$lib/user.sh"

# For dir it is his. A server sees other ids for each way, and remembers what it saw of the
# folder: so it is opened to all, through the server.
open_store() {
	case $target in
	dir) chown "$user_id:$user_id" "$store" ;;
	nfs)
		target_mount
		chmod 777 "$mnt"
		target_umount
		;;
	esac
}

# Run as the owner of the mount, in its namespaces.
cat_script() {
	cat <<-'SH'
		set -eu
		fail() { echo "FAILED: $*" >&2; exit 1; }
		sandbox() { "$CTL" stat "$MNT" --json | sed -n "/\"sandbox\": {/,/}/s/^ *\"$1\": \"\(.*\)\",*\$/\1/p"; }
		timeout 30 "$PERSIFS" mount -o cache_size=16m "$URI" "$MNT"
		echo "$TEXT" >"$MNT/$NAME"
		"$CTL" drain "$MNT"
		[ "$(cat "$MNT/$NAME")" = "$TEXT" ] || fail "the file holds $(cat "$MNT/$NAME")"
		mkdir "$MNT/d$NAME"
		mv "$MNT/$NAME" "$MNT/d$NAME/f"
		mv "$MNT/d$NAME/f" "$MNT/$NAME"
		rmdir "$MNT/d$NAME"
		[ "$(sandbox capabilities)" = "$CAPS" ] || fail "capabilities: $(sandbox capabilities)"
		case $(sandbox uid) in $UIDS) ;; *) fail "uid: $(sandbox uid)" ;; esac
		[ "$(sandbox state)" = "$STATE" ] || fail "sandbox $(sandbox state)"
		pid=$("$CTL" stat "$MNT" --json | sed -n 's/^ *"worker_pid": \([0-9]*\).*/\1/p')
		[ "$(sed -n 's/^NoNewPrivs:[[:space:]]*//p' "/proc/$pid/status")" = 1 ] || fail "no_new_privs"
		[ "$CAPS" != none ] || ! grep -q '^Cap[PE]..:.*[1-9a-f]' "/proc/$pid/status" || fail "there are capabilities"
		eval "${MORE:-}"
		timeout 30 "$PERSIFS" umount "$MNT"
	SH
}

run_as_owner() { # COMMAND... the rest by variables
	local text=$RANDOM$RANDOM
	name=f$text # a server may remember those that went behind its back
	cat_script >"$work/owner.sh"
	as_user PERSIFS="$PERSIFS" CTL="$PERSIFS_CTL" MNT="$mnt" URI="$uri" TEXT=$text NAME=$name \
		CAPS="$caps" UIDS="$uids" STATE="$state" MORE="${more:-}" "$@" bash "$work/owner.sh" 2>>"$work/log/owner" ||
		fail "$*: $(tail -n 3 "$work/log/owner")"
	[ -z "$(target_backing)" ] || [ "$(cat "$store/$name")" = "$text" ] || fail "the data is not in the store"
	nothing_is_left
}

one_mapped_id() {
	local caps=none uids='0, the namespace has no other' state=full more=''
	run_as_owner unshare -Urm --
	log "a namespace with one id"
}

# What is in the mount belongs to ids of the namespace; a program in a container, which is a
# namespace below, sees and writes it.
ranges() {
	local caps=none uids='65533' state=full more
	need newuidmap bwrap
	[ "$target" != dir ] || caps="those that acting for callers needs" uids='0, acts for callers'
	# shellcheck disable=SC2016 # the owner's shell's
	more='
		chmod 777 "$MNT"
		setpriv --reuid 2000 --regid 2000 --clear-groups -- sh -c "echo mine >$MNT/of2000"
		[ "$(stat -c %u:%g "$MNT/of2000")" = 2000:2000 ] || fail "it belongs to $(stat -c %u:%g "$MNT/of2000")"
		inside=$(bwrap --ro-bind / / --proc /proc --dev /dev --tmpfs /run --bind "$MNT" /run/data --unshare-pid \
			sh -c "cat /run/data/$NAME && echo from inside >/run/data/inside")
		[ "$inside" = "$TEXT" ] || fail "inside: $inside"
		[ "$(cat "$MNT/inside")" = "from inside" ] || fail "outside: $(cat "$MNT/inside")"
		rm "$MNT/inside"'
	run_as_owner unshare -Um --map-root-user --map-auto --
	if [ "$target" = dir ]; then
		[ "$(stat -c %u "$store/of2000")" = $((first_sub + 1999)) ] || fail "shifted to $(stat -c %u "$store/of2000")"
	fi
	rm -f "$store/of2000"
	log "a namespace with ranges"
}

# A short range has no 65533: the highest id it has.
short_range() {
	local caps=none uids=10 state=full more=''
	[ "$target" != dir ] || return 0
	run_as_owner unshare -Um --map-root-user --map-users="$first_sub,1,10" --map-groups="$first_sub,1,10" --
	fails_with 'option sandbox_uid=11' as_user unshare -Um --map-root-user --map-users="$first_sub,1,10" \
		--map-groups="$first_sub,1,10" -- "$PERSIFS" mount -o sandbox_uid=11 "$uri" "$mnt"
	log "a namespace with a short range"
}

# Opens and mounts as root, then becomes the user without any privilege.
orchestrator() {
	cat >"$work/orchestrate.py" <<-'PY'
		import ctypes, os, sys
		mnt, uid, keep, argv = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
		libc = ctypes.CDLL(None, use_errno=True)
		fd = os.open("/dev/fuse", os.O_RDWR)
		os.dup2(fd, keep, inheritable=True)
		data = "fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other,default_permissions" % (keep, uid, uid)
		if libc.mount(b"orchestrated", mnt.encode(), b"fuse.persifs", 6, data.encode()):
		    sys.exit("mount: " + os.strerror(ctypes.get_errno()))
		os.closerange(3, keep)
		os.execvp(argv[0], argv)
	PY
}

adopt() { # OPTIONS...
	timeout 30 python3 "$work/orchestrate.py" "$mnt" "$user_id" 7 \
		setpriv --reuid "$user_id" --regid "$user_id" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs -- \
		"$PERSIFS" mount "$@" "$uri" /dev/fd/7
}

minor_of() { awk -v m="$mnt" '$5 == m { split($3, n, ":"); print n[2] }' /proc/self/mountinfo; }

adopted_descriptor() {
	local text=$RANDOM super
	name=adopted$text
	orchestrator
	adopt -o cache_size=16m 2>"$work/log/adopt" || {
		grep -q 'option device is wanted' "$work/log/adopt" || fail "adopt: $(cat "$work/log/adopt")"
		log "this kernel does not tell of which mount a descriptor is"
		umount -i -l "$mnt"
		return 0
	}
	as_user "$PERSIFS_CTL" stat "$mnt" >/dev/null || fail "no answer to the user"
	"$PERSIFS_CTL" stat "$mnt" --json >"$work/log/stat" 2>&1 || true # root has another runtime folder as a rule
	as_user sh -c "echo $text >$mnt/$name"
	super=$(as_user "$PERSIFS_CTL" stat "$mnt" --json | sed -n 's/^ *"supervisor_pid": \([0-9]*\).*/\1/p')
	! grep -q '^Cap[PEB]..:.*[1-9a-f]' "/proc/$super/status" || fail "the daemon has capabilities"
	# A drained mount that is not ours stays.
	kill -TERM "$super"
	[ "$(cat "$mnt/$name")" = "$text" ] || fail "the mount went with SIGTERM"
	[ -z "$(target_backing)" ] || wait_until 10 grep -qx "$text" "$store/$name" || fail "SIGTERM did not drain"
	umount -i "$mnt" || fail "umount"
	nothing_is_left
	log "a mount of somebody else"
}

# The number is told where the kernel does not tell it.
adopted_with_device() {
	local dev
	orchestrator
	# Numbers are given in order, the lowest that is free first.
	adopt -o device=nonsense 2>"$work/log/adopt" && fail "device=nonsense works"
	grep -q 'option device=nonsense: want MAJOR:MINOR' "$work/log/adopt" || fail "$(cat "$work/log/adopt")"
	dev=0:$(minor_of)
	umount -i -l "$mnt"
	adopt -o "device=$dev" || fail "adopt with device=$dev"
	if [ "0:$(minor_of)" = "$dev" ]; then
		as_user "$PERSIFS_CTL" ping "$mnt" || fail "no answer at $dev"
	else
		log "another number was given: $dev, 0:$(minor_of)"
	fi
	umount -i "$mnt"
	nothing_is_left
	fails_with 'no descriptor' "$PERSIFS" mount "$uri" /dev/fd/88
	fails_with 'is not /dev/fuse' "$PERSIFS" mount "$uri" /dev/fd/0 </dev/null
}

by_fusermount() {
	local caps=none uids="$user_id, the caller has no other" state=partial more=''
	need fusermount3
	[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-uid root"
	run_as_owner
	# It opens the device as the user.
	chmod 600 "$work/dev/fuse"
	fails_with "fusermount3: failed to open /dev/fuse" as_user "$PERSIFS" mount "$uri" "$mnt"
	chmod 666 "$work/dev/fuse"
	fails_with "/etc/fuse.conf" as_user "$PERSIFS" mount -o allow_other "$uri" "$mnt"
	fails_with "option sandbox=full: mounts" as_user "$PERSIFS" mount -o sandbox=full "$uri" "$mnt"
	nothing_is_left
	echo user_allow_other >>"$work/etc/fuse.conf"
	as_user "$PERSIFS" mount -o allow_other,ro "$uri" "$mnt" || fail "allow_other"
	grep -F " $mnt " /proc/self/mounts | grep ' ro,.*allow_other' >/dev/null || fail "$(grep -F " $mnt " /proc/self/mounts)"
	ls "$mnt" >/dev/null || fail "root may not enter"
	kill -TERM "$(as_user "$PERSIFS_CTL" stat "$mnt" --json | sed -n 's/^ *"supervisor_pid": \([0-9]*\).*/\1/p')"
	wait_until 20 no_persifs_runs || fail "still running after SIGTERM"
	nothing_is_left
	chown 0:0 "$mnt"
	fails_with "fusermount3" as_user "$PERSIFS" mount "$uri" "$mnt"
	nothing_is_left
	log "by fusermount3"
}

scenario() {
	need setpriv unshare python3
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "/etc/passwd and /dev/fuse are not ours to change"
	case $VARIANT in asan | tsan | cov) skip "this build has no sandbox" ;; esac
	open_store # as root, whose runtime folder is another
	# shellcheck disable=SC2119 # arguments that may be left out
	make_user
	chown "$user_id:$user_id" "$mnt"
	if as_user unshare -Urm true 2>/dev/null; then
		one_mapped_id
		ranges
		short_range
	else
		log "left out: users may not make namespaces here"
	fi
	adopted_descriptor
	adopted_with_device
	by_fusermount
}

run_scenario "$@"
