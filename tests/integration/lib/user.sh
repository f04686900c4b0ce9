# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with test.sh and its scenarios
# user.sh - an ordinary user in a scenario
#
#   make_user [PROGRAM...]  $user_id, with ranges of ids from $first_sub on, programs that he can
#                           reach in $work/bin, a home, a runtime folder, a /dev/fuse for all
#   as_user COMMAND...      runs it as him

user_id=63000 first_sub=700000

# A user, and a device of his own to look at: what the machine has stays as it is, for all of
# it lies in the run's mount namespace.
make_user() {
	local file
	mkdir "$work/etc" "$work/dev" "$work/bin" "$work/home"
	for file in passwd group subuid subgid fuse.conf; do
		[ -e "/etc/$file" ] || : >"/etc/$file"
		cp "/etc/$file" "$work/etc/$file"
	done
	echo "persifs-test:x:$user_id:$user_id::$work/home:/bin/bash" >>"$work/etc/passwd"
	echo "persifs-test:x:$user_id:" >>"$work/etc/group"
	echo "persifs-test:$first_sub:65536" | tee "$work/etc/subuid" >"$work/etc/subgid"
	echo "# user_allow_other" >"$work/etc/fuse.conf"
	for file in passwd group subuid subgid fuse.conf; do mount --bind "$work/etc/$file" "/etc/$file"; done
	mount -t tmpfs -o mode=755 tmpfs "$work/dev"
	mknod -m 666 "$work/dev/fuse" c 10 229
	mount --bind "$work/dev/fuse" /dev/fuse
	# The tree may lie where he cannot go.
	cp "$PERSIFS" "$PERSIFS_CTL" "$@" "$work/bin"
	PERSIFS=$work/bin/persifs PERSIFS_CTL=$work/bin/persifs-ctl
	mkdir -m 700 "$work/run.user"
	chown "$user_id:$user_id" "$work/home" "$work/run.user"
	export PERSIFS_RUNTIME_DIR=$work/run.user
}

as_user() { setpriv --reuid "$user_id" --regid "$user_id" --clear-groups -- env HOME="$work/home" "$@"; }
