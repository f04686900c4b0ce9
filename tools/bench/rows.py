#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rows of the benchmark: what each one does to a folder, and in which order.

A pass runs the rows top to bottom; later rows use what earlier ones left (the
big file, the small files, the tree, the clone).  A row marked cold begins with
a cold point: sync, remount where the file system survives one, drop_caches.
Before each row that is not a warm repetition memory is primed: touched and
given back, so that a guest whose free pages went back to its host pays for
getting them outside the clock.

Alone, this program measures one folder and prints JSON; compare.py runs it on
pairs.  An error in a row is recorded and the pass goes on.
"""
import argparse
import json
import mmap
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
MADV_POPULATE_WRITE = 23
SMALL_DIRS = 100


@dataclass
class Params:
    """How much each row does.  The defaults are what published figures use."""
    size_mib: int = 2048        # the big file
    runtime: int = 10           # seconds of a time-based fio row
    files: int = 10000          # small files, SMALL_DIRS folders
    tree_files: int = 8000      # at most, in the tree and the repository
    dbench_time: int = 10
    prime_mib: int = 3072       # before rows that fill caches; 512 at most before others
    limit: int = 180            # seconds a row may take
    only: set = field(default_factory=set)
    skip: set = field(default_factory=set)

    def wants(self, name):
        return (not self.only or name in self.only) and name not in self.skip


class Place:
    """A folder to measure.  Subclasses know how to mount it; this one cannot."""
    remounts = False            # may unmount without losing what was written

    def __init__(self, folder):
        self.folder = folder    # rows work in here

    def mount(self):
        pass

    def umount(self):
        pass

    def ensure(self):
        """After a row that failed: mounted again, or an error. Never rows on a bare folder."""

    def pids(self):
        """Processes whose CPU time and memory count as the file system's."""
        return []


# --- small helpers ----------------------------------------------------------

def run(cmd, **kw):
    """Runs to the end; the tail of what it said is in the error."""
    kw.setdefault("stdout", subprocess.DEVNULL)
    r = subprocess.run(cmd, stderr=subprocess.PIPE, check=False, **kw)
    if r.returncode:
        tail = r.stderr.decode(errors="replace").strip()[-250:]
        raise RuntimeError("%s: status %d: %s" % (cmd[0], r.returncode, tail))
    return r.stdout


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def machine_cpu():
    """Seconds that all CPUs together have been busy since boot."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq = map(int, f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def process_cpu(pid):
    with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICKS


def process_peak_kib(pid):
    with open("/proc/%d/status" % pid, encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def prime(mib):
    if not mib:
        return
    m = mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        m.madvise(mmap.MADV_HUGEPAGE)
        m.madvise(MADV_POPULATE_WRITE)
    except OSError:                              # a kernel without it: by hand
        for at in range(0, len(m), mmap.PAGESIZE):
            m[at] = 1
    m.close()


def overdue(_signal, _frame):
    raise TimeoutError("over its time limit")


# --- sources: a tree and a repository, made once ------------------------------

def make_sources(where, max_files):
    """tree.tar and repo/ below where, out of this machine's /usr/include."""
    os.makedirs(where, exist_ok=True)
    tar, repo = os.path.join(where, "tree.tar"), os.path.join(where, "repo")
    if not os.path.exists(tar):
        names = []
        for top, dirs, files in os.walk("/usr/include"):
            dirs.sort()
            paths = [os.path.join(top, f) for f in sorted(files)]
            names += [os.path.relpath(p, "/usr/include") for p in paths
                      if os.path.isfile(p) and not os.path.islink(p)]
        listing = "\0".join(names[:max_files]).encode()
        run(["tar", "-cf", tar + ".new", "-C", "/usr/include", "--null", "-T", "-"], input=listing)
        os.rename(tar + ".new", tar)
    if not os.path.exists(repo):
        fresh = repo + ".new"
        shutil.rmtree(fresh, ignore_errors=True)
        os.makedirs(fresh)
        run(["tar", "-xf", tar, "-C", fresh])
        who = {"GIT_AUTHOR_NAME": "b", "GIT_AUTHOR_EMAIL": "b@b",
               "GIT_COMMITTER_NAME": "b", "GIT_COMMITTER_EMAIL": "b@b"}
        for words in (["init", "-q", "."], ["add", "-A"], ["commit", "-qm", "x"], ["gc", "-q"]):
            run(["git", "-C", fresh] + words, env={**os.environ, **who})
        os.rename(fresh, repo)


# --- the table ----------------------------------------------------------------

@dataclass
class Row:
    name: str
    unit: str
    work: object                # method of Pass: returns a value, or (value, details)
    cold: bool = False
    fills: bool = False         # fills caches with the whole big file
    small: bool = False         # made of small operations
    needs: str = ""             # the row whose leavings it works on

    @property
    def lower_is_better(self):
        return self.unit == "s"


ROWS = []
LEAVINGS = {"seq_write": "big.dat", "small_create": "small", "untar": "tree", "git_clone": "clone"}


def row(name, unit, **kw):
    """Appends the decorated method to the table; may be stacked (top one first)."""
    def put(work):
        # Decorators apply from the innermost outwards, so stacks are put in front
        # of what the same method added before.
        at = len(ROWS)
        while at and ROWS[at - 1].work is work:
            at -= 1
        ROWS.insert(at, Row(name, unit, work, **kw))
        return work
    return put


class Pass:
    """One run of the table over one place."""

    def __init__(self, place, sources, params):
        self.place = place
        self.sources = sources
        self.p = params
        self.results = {}
        self.peak_kib = 0
        self._fio_start = None

    def at(self, *names):
        return os.path.join(self.place.folder, *names)

    # --- around a row ---------------------------------------------------------

    def cold_point(self):
        os.sync()
        if self.place.remounts:
            self.place.umount()
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3\n")
        if self.place.remounts:
            self.place.mount()
            os.stat(self.place.folder)

    def daemon_cpu(self):
        total = 0
        for pid in self.place.pids():
            try:
                total += process_cpu(pid)
                self.peak_kib = max(self.peak_kib, process_peak_kib(pid))
            except (OSError, IndexError):
                pass                             # it ended meanwhile
        return total

    def measure(self, r):
        """Runs a row on the clock and returns its record."""
        self.before(r)
        if r.cold:
            self.cold_point()
        if not r.name.endswith("_warm"):
            prime(self.p.prime_mib if r.fills else min(self.p.prime_mib, 512))
        signal.signal(signal.SIGALRM, overdue)
        signal.alarm(self.p.limit)
        try:
            machine, daemon, start = machine_cpu(), self.daemon_cpu(), time.monotonic()
            got = r.work(self)
            wall = time.monotonic() - start
        finally:
            signal.alarm(0)
        value, details = got if isinstance(got, tuple) else (got, {})
        record = {"value": round(value, 4), "unit": r.unit, "wall_s": round(wall, 3),
                  "cpu_s": round(machine_cpu() - machine, 2)}
        if self.place.pids():
            record["daemon_cpu_s"] = round(self.daemon_cpu() - daemon, 2)
        record.update(details)
        return record

    def run(self, say=lambda text: None):
        os.makedirs(self.place.folder, exist_ok=True)
        for r in ROWS:
            if not self.p.wants(r.name):
                continue
            try:
                self.place.ensure()
                record = self.measure(r)
            except Exception as e:               # pylint: disable=broad-except
                record = {"error": "%s: %s" % (type(e).__name__, str(e)[:300])}
            self.results[r.name] = record
            say("  %-16s %s" % (r.name, json.dumps(record)))
        shutil.rmtree(self.place.folder, ignore_errors=True)
        return self.results

    def before(self, r):
        """What is not on the clock: leavings of a row that was not asked for, warmth
        for the warm random reads, an end to the big file."""
        if r.needs and not self.p.wants(r.needs) and not os.path.exists(self.at(LEAVINGS[r.needs])):
            {row.name: row for row in ROWS}[r.needs].work(self)
        if r.name == "rread_qd1_warm" or (r.name in ("rread_qd16_warm", "mmap_rread_warm")
                                          and not self.p.wants("rread_qd1_warm")):
            self.seq_read()
        if r.name == "small_create":
            remove(self.at("big.dat"))

    # --- one big file ---------------------------------------------------------

    @row("seq_write", "MiB/s", fills=True)
    def seq_write(self):
        """New file, 1 MiB writes, fsync, close: all three on the clock."""
        block, n = os.urandom(MIB), self.p.size_mib
        remove(self.at("big.dat"))
        t0 = time.monotonic()
        fd = os.open(self.at("big.dat"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for _ in range(n):
            if os.write(fd, block) != MIB:
                raise RuntimeError("short write")
        t1 = time.monotonic()
        os.fsync(fd)
        t2 = time.monotonic()
        os.close(fd)
        t3 = time.monotonic()
        return n / (t3 - t0), {"write_only_mib_s": round(n / (t1 - t0), 1),
                               "fsync_s": round(t2 - t1, 3)}

    @row("seq_read_cold", "MiB/s", cold=True, fills=True, needs="seq_write")
    @row("seq_read_warm", "MiB/s", needs="seq_write")
    def seq_read(self):
        """Open, then 1 MiB reads to the end."""
        want, total = self.p.size_mib * MIB, 0
        into = [memoryview(bytearray(MIB))]
        fd = os.open(self.at("big.dat"), os.O_RDONLY)
        try:
            t0 = time.monotonic()
            got = os.readv(fd, into)
            while got:
                total += got
                got = os.readv(fd, into)
            t1 = time.monotonic()
        finally:
            os.close(fd)
        if total != want:
            raise RuntimeError("read %d bytes instead of %d" % (total, want))
        return total / MIB / (t1 - t0)

    @row("mmap_read_cold", "MiB/s", cold=True, fills=True, needs="seq_write")
    def mmap_read(self):
        """Shared mapping of the first half, copied out a MiB at a time."""
        n = max(1, self.p.size_mib // 2)
        into = memoryview(bytearray(MIB))
        with open(self.at("big.dat"), "rb") as f:
            t0 = time.monotonic()
            with mmap.mmap(f.fileno(), n * MIB, mmap.MAP_SHARED, mmap.PROT_READ) as m, \
                    memoryview(m) as view:
                for i in range(n):
                    into[:] = view[i * MIB:(i + 1) * MIB]
                t1 = time.monotonic()
        return n / (t1 - t0)

    def fio_start(self):
        """Seconds that fio itself takes to start and stop."""
        if self._fio_start is None:
            seen = []
            for _ in range(3):
                t0 = time.monotonic()
                run(["fio", "--name=n", "--ioengine=null", "--size=4k", "--rw=read", "--bs=4k",
                     "--thread"])
                seen.append(time.monotonic() - t0)
            self._fio_start = min(seen)
        return self._fio_start

    def fio(self, rw, *extra, jobs=1, engine="psync", once=False):
        """4 KiB random operations on the big file: for runtime seconds, or each block
        at most once over all jobs.  Returns (its statistics, details, wall seconds)."""
        self.fio_start()
        size = self.p.size_mib // jobs if once else self.p.size_mib
        cmd = ["fio", "--name=j", "--filename=" + self.at("big.dat"), "--rw=" + rw, "--bs=4k",
               "--ioengine=" + engine, "--thread", "--numjobs=%d" % jobs, "--group_reporting",
               "--invalidate=0", "--size=%dm" % size, "--runtime=%d" % self.p.runtime,
               "--overwrite=1", "--allow_file_create=0", "--output-format=json",
               "--randseed=%d" % (time.time_ns() & 0xffff)]
        if once:
            cmd += ["--random_generator=lfsr", "--offset_increment=%dm" % size]
        else:
            cmd += ["--norandommap", "--time_based"]
        t0 = time.monotonic()
        out = run(cmd + list(extra), stdout=subprocess.PIPE, timeout=self.p.limit).decode()
        wall = time.monotonic() - t0
        job = json.loads(out[out.index("{"):])["jobs"][0]
        if job.get("error"):
            raise RuntimeError("fio reports error %s" % job["error"])
        side = job["read" if "read" in rw else "write"]
        centile = side.get("clat_ns", {}).get("percentile", {})
        details = {"p50_us": round(centile.get("50.000000", 0) / 1e3, 1),
                   "p99_us": round(centile.get("99.000000", 0) / 1e3, 1),
                   "ios": side["total_ios"]}
        return side, details, wall

    def fio_iops(self, *args, **kw):
        side, details, _ = self.fio(*args, **kw)
        return side["iops"], details

    @row("rread_qd1_cold", "IOPS", cold=True, fills=True, small=True, needs="seq_write")
    def rread_qd1_cold(self):
        return self.fio_iops("randread", once=True)

    @row("rread_qd16_cold", "IOPS", cold=True, fills=True, small=True, needs="seq_write")
    def rread_qd16_cold(self):
        return self.fio_iops("randread", jobs=16, once=True)

    @row("rread_qd1_warm", "IOPS", small=True, needs="seq_write")
    def rread_qd1_warm(self):
        return self.fio_iops("randread")

    @row("rread_qd16_warm", "IOPS", small=True, needs="seq_write")
    def rread_qd16_warm(self):
        return self.fio_iops("randread", jobs=16)

    @row("mmap_rread_warm", "IOPS", needs="seq_write")
    def mmap_rread_warm(self):
        return self.fio_iops("randread", engine="mmap")

    @row("rwrite_buf", "IOPS", fills=True, small=True, needs="seq_write")
    def rwrite_buf(self):
        """Buffered overwrites and one fsync; the rate over both."""
        side, details, wall = self.fio("randwrite")
        fd = os.open(self.at("big.dat"), os.O_RDWR)
        t0 = time.monotonic()
        os.fsync(fd)
        flush = time.monotonic() - t0
        os.close(fd)
        details.update(fsync_s=round(flush, 3), iops_before_fsync=round(side["iops"], 1))
        return side["total_ios"] / max(wall - self.fio_start() + flush, 0.001), details

    def synced_iops(self, flag):
        side, details, _ = self.fio("randwrite", flag)
        centile = side.get("sync", {}).get("lat_ns", {}).get("percentile", {})
        if centile:
            details["sync_p99_us"] = round(centile.get("99.000000", 0) / 1e3, 1)
        return side["iops"], details

    @row("rwrite_fsync", "IOPS", small=True, needs="seq_write")
    def rwrite_fsync(self):
        return self.synced_iops("--fsync=1")

    @row("rwrite_dsync", "IOPS", small=True, needs="seq_write")
    def rwrite_dsync(self):
        return self.synced_iops("--sync=dsync")

    @row("mmap_write", "MiB/s", needs="seq_write")
    def mmap_write(self):
        """A MiB at a time into a shared mapping of the first eighth, then msync."""
        n = max(1, self.p.size_mib // 8)
        block = os.urandom(MIB)
        with open(self.at("big.dat"), "r+b") as f:
            t0 = time.monotonic()
            with mmap.mmap(f.fileno(), n * MIB, mmap.MAP_SHARED) as m:
                for i in range(n):
                    m[i * MIB:(i + 1) * MIB] = block
                m.flush()
                t1 = time.monotonic()
        return n / (t1 - t0)

    # --- many small files -----------------------------------------------------

    def small_paths(self):
        return [self.at("small", "d%02d" % d, "file-%05d" % i)
                for d in range(SMALL_DIRS) for i in range(self.p.files // SMALL_DIRS)]

    def rate(self, operation, paths):
        t0 = time.monotonic()
        for p in paths:
            operation(p)
        return len(paths) / (time.monotonic() - t0)

    @row("small_create", "files/s", small=True)
    def small_create(self):
        """Folders, and in them: create, write 4 KiB, close."""
        block, paths = os.urandom(4096), self.small_paths()

        def create(path):
            fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
            os.write(fd, block)
            os.close(fd)
        shutil.rmtree(self.at("small"), ignore_errors=True)
        t0 = time.monotonic()
        os.mkdir(self.at("small"))
        for d in range(SMALL_DIRS):
            os.mkdir(self.at("small", "d%02d" % d))
        for p in paths:
            create(p)
        return len(paths) / (time.monotonic() - t0)

    @row("small_sync", "s", needs="small_create")
    def small_sync(self):
        return self.seconds(["sync", "-f", self.at("small")])

    @row("lsr_cold", "entries/s", cold=True, needs="small_create")
    @row("lsr_warm", "entries/s", needs="small_create")
    def ls_long(self):
        t0 = time.monotonic()
        seen = run(["ls", "-lR", self.at("small")], stdout=subprocess.PIPE).count(b"file-")
        t1 = time.monotonic()
        if seen != len(self.small_paths()):
            raise RuntimeError("ls saw %d files" % seen)
        return seen / (t1 - t0)

    @row("stat_cold", "ops/s", cold=True, small=True, needs="small_create")
    @row("stat_warm", "ops/s", small=True, needs="small_create")
    def stat_all(self):
        return self.rate(os.stat, self.small_paths())

    @row("sread_cold", "files/s", cold=True, small=True, needs="small_create")
    @row("sread_warm", "files/s", small=True, needs="small_create")
    def small_read(self):
        def read(path):
            fd = os.open(path, os.O_RDONLY)
            got = len(os.read(fd, 8192))
            os.close(fd)
            if got != 4096:
                raise RuntimeError("read %d bytes of %s" % (got, path))
        return self.rate(read, self.small_paths())

    @row("small_rename", "ops/s", small=True, needs="small_create")
    def small_rename(self):
        return self.rate(lambda p: os.rename(p, p + "r"), self.small_paths())

    @row("small_unlink", "files/s", small=True, needs="small_create")
    def small_unlink(self):
        """Everything below small/, folders too; the names are listed off the clock."""
        folders = [e.path for e in sorted(os.scandir(self.at("small")), key=lambda e: e.name)]
        names = [sorted(os.listdir(f)) for f in folders]
        t0 = time.monotonic()
        for folder, inside in zip(folders, names):
            for name in inside:
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)
        os.rmdir(self.at("small"))
        return sum(map(len, names)) / (time.monotonic() - t0)

    # --- programs -------------------------------------------------------------

    def seconds(self, cmd, **kw):
        t0 = time.monotonic()
        run(cmd, **kw)
        return time.monotonic() - t0

    @row("untar", "s")
    def untar(self):
        shutil.rmtree(self.at("tree"), ignore_errors=True)
        os.mkdir(self.at("tree"))
        return self.seconds(["tar", "-xf", os.path.join(self.sources, "tree.tar"),
                             "-C", self.at("tree")])

    @row("tree_read_cold", "s", cold=True, needs="untar")
    def tree_read(self):
        """tar into a pipe: to /dev/null itself tar would not read the files."""
        return self.seconds(["sh", "-c", 'tar -cf - -C "$1" . | cat >/dev/null', "sh",
                             self.at("tree")])

    @row("rm_rf", "s", needs="untar")
    def rm_tree(self):
        return self.seconds(["rm", "-rf", self.at("tree")])

    def git(self, *words):
        return self.seconds(["git", "-c", "safe.directory=*", "-c", "gc.auto=0"] + list(words))

    @row("git_clone", "s")
    def git_clone(self):
        shutil.rmtree(self.at("clone"), ignore_errors=True)
        return self.git("clone", "-q", "--no-hardlinks", os.path.join(self.sources, "repo"),
                        self.at("clone"))

    @row("git_status_cold", "s", cold=True, needs="git_clone")
    @row("git_status_warm", "s", needs="git_clone")
    def git_status(self):
        return self.git("-C", self.at("clone"), "status", "--short")

    @row("git_rm", "s", needs="git_clone")
    def git_rm(self):
        return self.seconds(["rm", "-rf", self.at("clone")])

    def sqlite(self, journal, transactions):
        """One row a transaction, synchronous=FULL; then the file is checked."""
        path = self.at("t-%s.db" % journal)
        for end in ("", "-wal", "-shm", "-journal"):
            remove(path + end)
        db = sqlite3.connect(path, isolation_level=None, timeout=10)
        mode = db.execute("PRAGMA journal_mode=" + journal).fetchone()[0]
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        blob = os.urandom(100)
        t0 = time.monotonic()
        for _ in range(transactions):
            db.execute("BEGIN")
            db.execute("INSERT INTO t(v) VALUES(?)", (blob,))
            db.execute("COMMIT")
        t1 = time.monotonic()
        verdict = (mode.lower(), db.execute("PRAGMA integrity_check").fetchone()[0],
                   db.execute("SELECT count(*) FROM t").fetchone()[0])
        db.close()
        if verdict != (journal, "ok", transactions):
            raise RuntimeError("journal mode, integrity, count: %s %s %s" % verdict)
        return transactions / (t1 - t0)

    @row("sqlite_wal", "tx/s")
    def sqlite_wal(self):
        return self.sqlite("wal", 1000)

    @row("sqlite_del", "tx/s")
    def sqlite_del(self):
        return self.sqlite("delete", 200)

    @row("dbench4", "MB/s")
    def dbench(self):
        os.makedirs(self.at("dbench"), exist_ok=True)
        out = run(["dbench", "-t", str(self.p.dbench_time), "-D", self.at("dbench"), "4"],
                  stdout=subprocess.PIPE, timeout=self.p.limit).decode(errors="replace")
        shutil.rmtree(self.at("dbench"), ignore_errors=True)
        for line in out.splitlines():
            if line.startswith("Throughput"):
                worst = (line.partition("max_latency=")[2].split() or [None])[0]
                return float(line.split()[1]), {"max_latency_ms": worst and float(worst)}
        raise RuntimeError("no throughput in: " + out[-250:])


# --- alone ---------------------------------------------------------------------

def add_arguments(parser, defaults=Params()):
    names = {r.name for r in ROWS}

    def row_set(text):
        chosen = set(text.split(","))
        if chosen - names:
            raise argparse.ArgumentTypeError("no such row: " + ", ".join(sorted(chosen - names)))
        return chosen
    for name in ("size_mib", "runtime", "files", "tree_files", "dbench_time", "prime_mib", "limit"):
        parser.add_argument("--" + name.replace("_", "-"), type=int, metavar="N",
                            default=getattr(defaults, name), help="default %(default)s")
    parser.add_argument("--only", type=row_set, default=set(), metavar="ROW,...")
    parser.add_argument("--skip", type=row_set, default=set(), metavar="ROW,...")


def params_from(args):
    return Params(**{f: getattr(args, f) for f in Params.__dataclass_fields__})


def main():
    parser = argparse.ArgumentParser(description="Measures one folder; prints JSON.")
    parser.add_argument("folder", help="made when missing, emptied at the end")
    parser.add_argument("--sources", help="where the tree and the repository are kept "
                        "(default: beside the folder)")
    add_arguments(parser)
    args = parser.parse_args()
    params = params_from(args)
    sources = args.sources or args.folder.rstrip("/") + ".sources"
    make_sources(sources, params.tree_files)
    one = Pass(Place(args.folder), sources, params)
    json.dump(one.run(lambda text: print(text, file=sys.stderr, flush=True)), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
