# SPDX-License-Identifier: Apache-2.0
"""The file systems that compare.py measures: how each is mounted and ended.

Everything that a Stage starts or mounts is undone when it is left, whatever
happened meanwhile; processes are ended by their own ids only.
"""
import contextlib
import glob
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from rows import Place, run

EXAMPLES = "/usr/share/doc/libfuse3-dev/examples"
RPCBIND = "/run/rpcbind.sock"
START_S = 30            # for a daemon or a server to become usable


def mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        return any(line.split()[4] == path for line in f)


def wait_until(true, what, process=None):
    end = time.monotonic() + START_S
    while not true():
        if process and process.poll() is not None:
            raise RuntimeError("%s ended with status %d" % (what, process.returncode))
        if time.monotonic() > end:
            raise RuntimeError("%s is not ready after %d s" % (what, START_S))
        time.sleep(0.02)


def end_process(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def detach(path):
    """The last resort of cleaning up; normal unmounts are the peers' own."""
    while mounted(path):
        if subprocess.run(["umount", "-i", "-l", path], check=False).returncode:
            break


class Stage(contextlib.ExitStack):
    """A work folder with a tmpfs in it, and the means to add to it."""

    def __init__(self, build):
        super().__init__()
        self.build = os.path.abspath(build)
        self.work = tempfile.mkdtemp(prefix="persifs-bench-")
        self.callback(shutil.rmtree, self.work, ignore_errors=True)
        self.env = dict(os.environ, PERSIFS_RUNTIME_DIR=self.folder("run"))
        self.sources = self.tmpfs("sources")

    def folder(self, name):
        path = os.path.join(self.work, name)
        os.makedirs(path, mode=0o755, exist_ok=True)
        return path

    def tmpfs(self, name):
        path = self.folder(name)
        run(["mount", "-t", "tmpfs", "-o", "size=90%,mode=755", "persifs-bench", path])
        self.callback(detach, path)
        return path

    def start(self, cmd, log, **kw):
        with open(os.path.join(self.work, log), "ab") as out:
            process = subprocess.Popen(cmd, stdout=out, stderr=out, stdin=subprocess.DEVNULL, **kw)
        self.callback(end_process, process)
        return process

    def program(self, name):
        path = os.path.join(self.build, name)
        if not os.access(path, os.X_OK):
            raise RuntimeError("%s is not built" % path)
        return path


class Bare(Place):
    """A folder without any file system of its own."""
    name = "bare folder"

    def __init__(self, folder):
        super().__init__(os.path.join(folder, "w"))


class Mounted(Place):
    def __init__(self, stage, label):
        self.stage = stage
        self.point = stage.folder(label)
        super().__init__(os.path.join(self.point, "w"))
        stage.callback(detach, self.point)

    def ensure(self):
        if not mounted(self.point):
            self.mount()


class Passthrough(Mounted):
    """libfuse's own example, built here from the copy that its package ships."""

    def __init__(self, stage, store, label, remounts, options=""):
        super().__init__(stage, label)
        self.name = "passthrough_ll" + (" " + options if options else "")
        self.options = "allow_other,source=" + store + ("," + options if options else "")
        self.remounts = remounts
        self.binary = self.compile()
        self.process = None

    def compile(self):
        binary = os.path.join(self.stage.work, "passthrough_ll")
        if os.path.exists(binary):
            return binary
        found = glob.glob(EXAMPLES + "/passthrough_*")
        if not found:
            raise RuntimeError("libfuse3-dev's examples are missing in " + EXAMPLES)
        for path in found:
            name = os.path.join(self.stage.work, os.path.basename(path).removesuffix(".gz"))
            with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f, \
                    open(name, "wb") as copy:
                copy.write(f.read())
        flags = run(["pkg-config", "--cflags", "--libs", "fuse3"], stdout=subprocess.PIPE)
        run([os.environ.get("CC", "cc"), "-O2", "-w", "-o", binary, binary + ".c"]
            + flags.decode().split())
        return binary

    def mount(self):
        self.process = self.stage.start([self.binary, "-f", "-o", self.options, self.point],
                                        "passthrough.log")
        wait_until(lambda: mounted(self.point), "passthrough_ll", self.process)

    def umount(self):
        run(["umount", self.point])
        self.process.wait(START_S)
        self.process = None

    def pids(self):
        return [self.process.pid] if self.process else []


class Ours(Mounted):
    def __init__(self, stage, uri, label, remounts, options=""):
        super().__init__(stage, label)
        self.name = "persifs " + uri.split(":")[0] + ":"
        self.uri, self.options, self.remounts = uri, options, remounts
        self.daemon = []
        stage.callback(self.end)

    def mount(self):
        cmd = [self.stage.program("persifs"), "mount"]
        if self.options:
            cmd += ["-o", self.options]
        with open(os.path.join(self.stage.work, "persifs.log"), "ab") as log:
            run(cmd + [self.uri, self.point], env=self.stage.env, stdout=log)
        stat = json.loads(run([self.stage.program("persifs-ctl"), "stat", self.point, "--json"],
                              env=self.stage.env, stdout=subprocess.PIPE))
        self.daemon = [stat["supervisor_pid"], stat["worker_pid"]]

    def umount(self):
        run([self.stage.program("persifs"), "umount", self.point], env=self.stage.env)
        wait_until(lambda: not any(map(self.runs, self.daemon)), "the end of persifs")
        self.daemon = []

    @staticmethod
    def runs(pid):
        try:
            with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
                return f.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def end(self):
        """After a failure: what still runs of it is told to end."""
        for pid in filter(self.runs, self.daemon):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def pids(self):
        return self.daemon


class KernelNfs(Mounted):
    name = "kernel NFS client"
    remounts = True

    def __init__(self, stage, server, label):
        super().__init__(stage, label)
        self.server = server

    def mount(self):
        run(["mount", "-t", "nfs", "-o", "vers=3,proto=tcp,nolock,port=%d,mountport=%d,"
             "mountproto=tcp" % (self.server.nfs_port, self.server.mount_port),
             "127.0.0.1:" + self.server.export, self.point])

    def umount(self):
        run(["umount", self.point])


GANESHA_CONF = """
NFS_CORE_PARAM {{ NFS_Port = {nfs}; MNT_Port = {mnt}; NLM_Port = {nlm}; Rquota_Port = {quota};
    Bind_addr = 127.0.0.1; Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false;
    Enable_UDP = false; mount_path_pseudo = false; }}
NFSV4 {{ Graceless = true; }}
EXPORT {{ Export_Id = 1; Path = "{path}"; Pseudo = "/bench"; Access_Type = RW; Squash = None;
    SecType = sys; Protocols = 3; Transports = TCP; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = WARN; }}
"""


def answers(address):
    """Whether somebody listens at a loopback port or a local socket's path."""
    local = isinstance(address, str)
    with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as s:
        s.settimeout(1)
        return s.connect_ex(address if local else ("127.0.0.1", address)) == 0


def free_ports(n):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


class Ganesha:
    """A user-space NFS server over a folder of this machine, on the loopback only."""

    def __init__(self, stage, export):
        if not shutil.which("ganesha.nfsd"):
            raise RuntimeError("nfs-ganesha is not installed")
        self.export = export
        self.nfs_port, self.mount_port, nlm, quota = free_ports(4)
        if not answers(RPCBIND):
            # ganesha registers through the local socket; no network needs to see rpcbind.
            stage.start(["unshare", "-n", "rpcbind", "-f"], "rpcbind.log")
            wait_until(lambda: answers(RPCBIND), "rpcbind")
        conf = os.path.join(stage.work, "ganesha.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(GANESHA_CONF.format(nfs=self.nfs_port, mnt=self.mount_port, nlm=nlm,
                                        quota=quota, path=export))
        os.makedirs("/var/run/ganesha", exist_ok=True)
        server = stage.start(["ganesha.nfsd", "-F", "-f", conf, "-p", conf + ".pid",
                              "-L", os.path.join(stage.work, "ganesha.log")], "ganesha.out")
        wait_until(lambda: answers(self.nfs_port) and answers(self.mount_port), "nfs-ganesha",
                   server)
        self.uri = "nfs://127.0.0.1%s?nfsport=%d&mountport=%d&version=3" % (
            export, self.nfs_port, self.mount_port)
