# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# bash completion for persifs and the other programs; the programs themselves tell their options.

_persifs_mounts() {
	awk '$0 ~ / - fuse\.persifs / { print $5 }' /proc/self/mountinfo
}

# Completes the last item of a comma-separated -o list.
_persifs_options() {
	local cur=$1 done='' names
	[[ $cur == *,* ]] && done=${cur%,*},
	names=$(persifs mount --list-options 2>/dev/null) || return
	mapfile -t COMPREPLY < <(compgen -P "$done" -W "$names" -- "${cur##*,}")
	compopt -o nospace
}

_persifs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W 'mount umount --help --version' -- "$cur")
	elif [[ ${COMP_WORDS[1]} == umount ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_persifs_mounts)" -- "$cur")
	elif [[ $prev == -o ]]; then
		_persifs_options "$cur"
	elif [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '-f -o --help --list-options' -- "$cur")
	elif [[ $cur == */* || -z $cur ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'dir:/ nfs:// memory:' -d -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -W 'dir:/ nfs:// memory:' -- "$cur")
	fi
}

_persifs_ctl() {
	local cur=${COMP_WORDS[COMP_CWORD]}
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W 'stat top drain tune ping --help --version' -- "$cur")
	elif ((COMP_CWORD == 2)); then
		mapfile -t COMPREPLY < <(compgen -W "$(_persifs_mounts)" -- "$cur")
	elif [[ ${COMP_WORDS[1]} == tune ]]; then
		_persifs_options "$cur"
	elif [[ ${COMP_WORDS[1]} == stat ]]; then
		mapfile -t COMPREPLY < <(compgen -W '--json' -- "$cur")
	fi
}

_persifs_driver() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} names
	COMPREPLY=()
	case $prev in
	--config | --state)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	--mount-root | --discovery)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		;;
	--listen)
		mapfile -t COMPREPLY < <(compgen -W 'unix:/ tcp:127.0.0.1:' -- "$cur")
		compopt -o nospace
		;;
	--admin) ;;
	*)
		names=$(persifs-driver --help 2>/dev/null | grep '^ *--' | grep -o -e '--[a-z][a-z-]*')
		mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur")
		;;
	esac
}

_persifs_sim() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} names
	COMPREPLY=()
	case $prev in
	--cert | --key | --cert-out | --state | --password-file | --file)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	--root)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		;;
	--listen)
		mapfile -t COMPREPLY < <(compgen -W 'tcp:127.0.0.1:' -- "$cur")
		compopt -o nospace
		;;
	--user | --set) ;;
	*)
		if [ "${COMP_WORDS[1]}" = nvme ]; then
			names=$(persifs-sim nvme --help 2>/dev/null | sed -n 's/^  \(\[no\]\)\{0,1\}\([a-z][a-z0-9-]*\)\(=.*\|  .*\)/--\2/p')
			names="$names --listen --fault --help"
		else
			names=$(persifs-sim --help 2>/dev/null | grep '^ *--' | grep -o -e '--[a-z][a-z-]*')
		fi
		mapfile -t COMPREPLY < <(compgen -W "scaleio onefs nvme $names" -- "$cur")
		;;
	esac
}

_persifs_broker() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} names
	COMPREPLY=()
	case $prev in
	--config | --key-file | make-key)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	--listen)
		mapfile -t COMPREPLY < <(compgen -W 'unix:/ tcp:127.0.0.1:' -- "$cur")
		compopt -o nospace
		;;
	--store)
		mapfile -t COMPREPLY < <(compgen -W 'sqlite:/ postgresql://' -- "$cur")
		compopt -o nospace
		;;
	--admin | --grace) ;;
	*)
		names=$(persifs-broker --help 2>/dev/null | grep '^ *--' | grep -o -e '--[a-z][a-z-]*')
		((COMP_CWORD == 1)) && names="sweep reseal hash-password make-key $names"
		mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur")
		;;
	esac
}

complete -F _persifs persifs
complete -F _persifs_ctl persifs-ctl
complete -F _persifs_driver persifs-driver
complete -F _persifs_broker persifs-broker
complete -F _persifs_sim persifs-sim
