#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 27_sandbox.sh - whoever takes the worker over gets nothing but what its row allows: tried
# from inside, by tests/sandbox/try.c. And what a kernel lacks lowers the sandbox, with words
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

try_all() {
	python3 - "$PERSIFS_RUNTIME_DIR" <<-'PY' >"$work/tries"
		import glob, json, socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.settimeout(30)
		s.connect(glob.glob(sys.argv[1] + "/*.sock")[0])
		s.sendall(b'{"cmd":"try"}\n')
		answer = b""
		while not answer.endswith(b"\n"):
		    part = s.recv(65536)
		    if not part:
		        sys.exit("the worker ended")
		    answer += part
		answer = json.loads(answer)
		for name, outcome in answer["tries"].items():
		    print(name, outcome)
	PY
	[ "$(wc -l <"$work/tries")" -gt 50 ] || fail "only $(wc -l <"$work/tries") tries"
}
outcome() { sed -n "s/^$1 //p" "$work/tries"; }
sandbox() { "$PERSIFS_CTL" stat "$mnt" --json | sed -n "/\"sandbox\": {/,/}/s/^ *\"$1\": \"\(.*\)\",*\$/\1/p"; }
answers() { [ -n "$(sandbox state 2>/dev/null)" ]; }
worker() { tail -n 1 "$work/pids"; }
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(worker)/status"; }

# What the row has, by name.
own() {
	echo make_thread make_pair
	[ "$target" != dir ] || echo as_caller own_groups open_folder make_in_folder
}

everything_else_is_refused() {
	local name what
	target_mount sandbox=full
	echo kept >"$mnt/kept"
	try_all
	while read -r name what; do
		case " $(own | paste -sd' ') " in
		*" $name "*) [ "$what" = "done" ] || fail "$name is the row's own: $what" ;;
		*)
			case $what in
			EPERM | EACCES) ;;
			# The name of nothing that is there.
			ENOENT | ENOTDIR)
				case $name in
				stat_passwd | climb_out | see_parent | open_absolute | climb_proc | change_outside | follow_link) ;;
				*) fail "$name: $what" ;;
				esac
				;;
			*) fail "$name: $what" ;;
			esac
			;;
		esac
	done <"$work/tries"
	log "$(wc -l <"$work/tries") tries, $(grep -c ' done$' "$work/tries") of them the row's own"
}

the_kernel_agrees() {
	[ "$(sandbox state)" = full ] || fail "sandbox $(sandbox state)"
	[ "$(status NoNewPrivs) $(status Seccomp)" = "1 2" ] || fail "no filter"
	[ -z "$(status Groups | tr -d ' ')" ] || fail "groups $(status Groups)"
	[ "$(wc -l <"/proc/$(worker)/mountinfo")" = 1 ] || fail "mounts: $(cat "/proc/$(worker)/mountinfo")"
	if [ "$target" = dir ]; then
		# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETGID, SETUID, MKNOD
		[ "$(status CapEff) $(status CapBnd)" = "00000000080000df 00000000080000df" ] || fail "$(status CapEff) $(status CapBnd)"
	else
		[ "$(status CapPrm) $(status CapBnd)" = "0000000000000000 0000000000000000" ] || fail "$(status CapPrm) $(status CapBnd)"
		[ "$(status Uid | cut -f 1)" = 65533 ] || fail "uid $(status Uid)"
	fi
	[ "$(awk '/core file/ { print $5 $6 }' "/proc/$(worker)/limits")" = 00 ] || fail "core dumps"
	target_umount
}

# Else it would not be seen that the tries are any good.
without_it_they_succeed() {
	local name
	target_mount sandbox=off
	[ "$(sandbox state)" = off ] || fail "sandbox=off is $(sandbox state)"
	try_all
	for name in open_passwd openat_cwd openat2_passwd open_environ write_self stat_passwd climb_proc make_process clone_process \
		clone3_process signal_by_owner signal_of_choice signal_other signal_thread process_by_fd socket_inet socket_inet6 socket_unix socket_netlink clone_mounts \
		open_fs anonymous_file code_page code_later root_again root_again_all root_group dump_again \
		pin_other change_mode change_owner; do
		[ "$target" = dir ] || [ "$name" != climb_proc ] || continue
		[ "$(outcome $name)" = "done" ] || fail "without the sandbox, $name: $(outcome $name)"
	done
	# Nor does who wants it share such a daemon.
	if [ "$target" != memory ]; then
		mkdir -p "$work/second"
		fails_with "option sandbox=full: the volume is mounted already, and its sandbox is off" \
			"$PERSIFS" mount -o sandbox=full "$uri" "$work/second"
	fi
	for name in execute execute_at mount_tmpfs unmount change_root enter_namespace ring_enter ring_register any_ioctl no_filter; do
		[ "$(outcome $name)" != EPERM ] || fail "$name is refused without the sandbox"
	done
	if [ "$target" = dir ]; then
		for name in climb_out see_parent open_absolute follow_link change_outside open_device; do
			[ "$(outcome $name)" = "done" ] || fail "without the sandbox, $name: $(outcome $name)"
		done
	fi
	target_umount
}

# More files than descriptors: they are found again by handles, which the supervisor keeps.
files_are_found_again() {
	local i plain=$uri
	[ "$target" = dir ] || return 0
	uri="dir:$store?fds=16"
	target_mount cache_size=16m
	mkdir "$mnt/many"
	for ((i = 0; i < 300; i++)); do echo "$i" >"$mnt/many/$i"; done
	# The kernel forgets the way from a file to its folder.
	echo 2 >/proc/sys/vm/drop_caches 2>/dev/null || true
	for ((i = 0; i < 300; i++)); do
		[ "$(cat "$mnt/many/$i")" = "$i" ] || fail "file $i holds $(cat "$mnt/many/$i")"
		echo more >>"$mnt/many/$i"
	done
	[ "$(find "/proc/$(worker)/fd" -type l | wc -l)" -lt 150 ] || fail "$(find "/proc/$(worker)/fd" -type l | wc -l) descriptors"
	target_umount
	for ((i = 0; i < 300; i++)); do [ "$(cat "$store/many/$i")" = "$i"$'\nmore' ] || fail "file $i in the store"; done
	rm -r "$store/many"
	uri=$plain
}

option_uid() {
	[ "$target" != dir ] || return 0
	target_mount sandbox_uid=64999
	[ "$(status Uid | cut -f 1)" = 64999 ] || fail "uid $(status Uid)"
	[ "$(sandbox uid)" = 64999 ] || fail "stat tells $(sandbox uid)"
	target_umount
	fails_with 'option sandbox_uid=0' "$PERSIFS" mount -o sandbox_uid=0 "$uri" "$mnt"
	nothing_is_left
}

# under INJECTION OPTIONS: mounts in the foreground, where landlock_create_ruleset() answers otherwise.
mount_under() {
	strace -f -qq -o /dev/null -e trace=landlock_create_ruleset -e "inject=landlock_create_ruleset:$1" \
		"$PERSIFS" mount -f -o "$2" "$uri" "$mnt" </dev/null >"$work/log/lacks" 2>&1 &
	wait_until "$STEP_SECONDS" is_mounted || fail "no mount: $(tail -n 3 "$work/log/lacks")"
	wait_until 20 answers || fail "no answer"
}
umount_it() {
	"$PERSIFS" umount "$mnt" || fail umount
	nothing_is_left
}

# A kernel without Landlock.
what_is_missing_is_told() {
	local said
	mount_under error=ENOSYS sandbox=auto
	[ "$(sandbox state)" = partial ] || fail "sandbox $(sandbox state) without Landlock"
	said=$(sandbox landlock)
	[ "$said" = "no: this kernel has none" ] || fail "stat tells: $said"
	[ "$(grep -c 'sandbox: landlock: this kernel has none' "$work/log/lacks")" = 1 ] || fail "the log tells: $(cat "$work/log/lacks")"
	echo data >"$mnt/data"
	umount_it
	said=$(strace -f -qq -o /dev/null -e trace=landlock_create_ruleset -e inject=landlock_create_ruleset:error=ENOSYS \
		timeout 60 "$PERSIFS" mount -o sandbox=full "$uri" "$mnt" 2>&1) && fail "sandbox=full without Landlock"
	[ "$said" = "persifs: option sandbox=full: landlock: this kernel has none" ] || fail "told: $said"
	wait_until 20 no_persifs_runs || fail "still running"
	nothing_is_left
}

# A kernel whose Landlock refuses what is found again by handle: the second question is about that. Either goes.
handles_or_landlock() {
	local i plain=$uri
	[ "$target" = dir ] || return 0
	uri="dir:$store?fds=16"
	mount_under retval=0:when=2 sandbox=auto
	[ "$(sandbox state) $(sandbox landlock)" = "partial no: this kernel's refuses files that are found again by handle" ] ||
		fail "$(sandbox state), $(sandbox landlock)"
	umount_it
	mount_under retval=0:when=2 sandbox=full
	[ "$(sandbox state)" = full ] || fail "sandbox=full is $(sandbox state)"
	mkdir "$mnt/many"
	for ((i = 0; i < 100; i++)); do echo "$i" >"$mnt/many/$i"; done
	for ((i = 0; i < 100; i++)); do [ "$(cat "$mnt/many/$i")" = "$i" ] || fail "file $i"; done
	rm -r "$mnt/many"
	umount_it
	uri=$plain
}

scenario() {
	need python3
	case $VARIANT in asan | tsan | cov) skip "this build has no sandbox" ;; esac
	PERSIFS=$(tool persifs-try)
	target_save
	everything_else_is_refused
	the_kernel_agrees
	without_it_they_succeed
	files_are_found_again
	option_uid
	command -v strace >/dev/null || return 0
	what_is_missing_is_told
	handles_or_landlock
}

run_scenario "$@"
