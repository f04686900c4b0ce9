# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with test.sh and target.sh
# server.sh - a real NFS server: nfs-ganesha on the loopback, ports above 1024
#
#   server_start VFS|MEM PATH [RW|RO]   sets $server_uri, or skips the test
#   server_start_fault [OPTION...]      the same with tests/server, which fails on purpose
#   server_say COMMAND                  tells it what to do; prints its answer
#   server_kill, server_run             ends it without notice; starts it again, unwaited
#   server_stop                         ends what they started, by pid
#
# ganesha registers with rpcbind while it starts; it never asks it again.

server_pid='' rpcbind_pid=''

free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 12000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

server_conf() { # FSAL PATH ACCESS NFSPORT MOUNTPORT
	cat <<-CONF
		NFS_CORE_PARAM {
			NFS_Port = $4; MNT_Port = $5; Bind_addr = 127.0.0.1;
			Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false;
			Protocols = 3;
		}
		NFSv4 { Graceless = true; }
		MEM { Inode_Size = 1048576; }
		EXPORT {
			Export_Id = 1; Path = $2; Pseudo = /export; Access_Type = $3;
			Squash = No_Root_Squash; SecType = sys; Protocols = 3; Transports = TCP;
			MaxRead = 1048576; MaxWrite = 1048576; PrefRead = 1048576; PrefWrite = 1048576;
			FSAL { Name = $1; }
		}
		LOG { Default_Log_Level = EVENT; }
	CONF
}

rpcbind_answers() { [ -S /run/rpcbind.sock ] && rpcinfo -T tcp 127.0.0.1 100000 >/dev/null 2>&1; }

rpcbind_start() {
	! rpcbind_answers || return 0
	rpcbind -f >>"$work/log/rpcbind" 2>&1 &
	rpcbind_pid=$!
	wait_until 10 rpcbind_answers || fail "rpcbind does not answer"
}

server_listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
server_is_up_or_dead() { server_listens "$1" || ! kill -0 "$server_pid" 2>/dev/null; }

# Starts ganesha with the configuration that server_start wrote, and does not wait.
server_run() {
	ganesha.nfsd -F -f "$work/ganesha.conf" -p "$work/ganesha.pid" -L "$work/log/ganesha" \
		</dev/null >>"$work/log/ganesha.out" 2>&1 &
	server_pid=$!
}

# Dead at once, as by a power cut.
server_kill() {
	kill -KILL "$server_pid"
	wait "$server_pid" 2>/dev/null || true
}

server_start() {
	local nfs mountd
	need ganesha.nfsd rpcbind rpcinfo
	rpcbind_start
	nfs=$(free_port) mountd=$(free_port)
	server_conf "$1" "$2" "${3:-RW}" "$nfs" "$mountd" >"$work/ganesha.conf"
	server_run
	wait_until 20 server_is_up_or_dead "$nfs" || fail "ganesha does not listen"
	wait_until 5 server_listens "$mountd" || fail "ganesha did not start: $(tail -n 3 "$work/log/ganesha")"
	server_uri="nfs://127.0.0.1$2?nfsport=$nfs&mountport=$mountd&version=3"
}

server_say() { "$TOOLS/nfsfault" --say "$work/fault.ctl" "$1"; }

server_is_ready() { [ -s "$work/fault.ready" ] || ! kill -0 "$server_pid" 2>/dev/null; }

server_start_fault() {
	local program port
	program=$(tool nfsfault)
	"$program" --port 0 --ctl "$work/fault.ctl" --seed "$SEED" "$@" \
		</dev/null >"$work/fault.ready" 2>>"$work/log/nfsfault" &
	server_pid=$!
	wait_until 10 server_is_ready || fail "nfsfault does not listen"
	read -r _ port _ <"$work/fault.ready" || fail "nfsfault did not start"
	server_uri="nfs://127.0.0.1/export?nfsport=$port&mountport=$port&version=3"
}

end_process() { # PID
	[ -n "$1" ] || return 0
	kill "$1" 2>/dev/null || return 0
	wait_until 10 process_is_gone "$1" || kill -KILL "$1"
	wait "$1" 2>/dev/null || true
}
process_is_gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }

server_stop() {
	end_process "$server_pid"
	end_process "$rpcbind_pid"
	server_pid='' rpcbind_pid=''
}
