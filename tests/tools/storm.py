#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""storm.py - many volumes, each under several names, mounted and unmounted in parallel under I/O

    storm.py ADDRESS --driver-pid PID --program PERSIFS --backing DIR --root DIR --source FORMAT
             [--volumes N] [--names N] [--rounds N] [--growth MIB]

Volume I is the folder DIR/I; FORMAT with {} for I is its source. In each round every name is created, mounted
(some twice), written through, unmounted with a file open (half of them), and what it wrote is read under
another name (R13). One more name of each volume stays mounted, and is written to all the time. After
each round nothing else may be left: no mount, folder, process, nor descriptor or memory of the driver's.
"""
import argparse
import os
import random
import secrets
import sys
import threading
import time

from voldriver import Driver, Failed, as_app, expect, in_parallel, mounts, read, wait_until, write

FD_GROWTH_MAX = 4            # connections of this client are counted apart
SETTLE_SECONDS = 60          # until the last daemon has drained and ended
BLOCK = 96 << 10
KINDS = ({}, {}, {"readonly": True}, {"uid": 1500, "gid": 1500})    # of the names of a volume


class Storm:
    def __init__(self, args):
        self.args = args
        self.driver = Driver(args.address)
        self.stop = threading.Event()
        self.appended = [0] * args.volumes

    def create(self, volume, kind):
        name = f"volume-{volume}_{secrets.token_hex(8)}"
        self.driver.ok("Create", {"Name": name, "Opts": dict(KINDS[kind], source=self.args.source.format(volume))})
        return name

    def mount(self, name):
        where = self.driver.ok("Mount", {"Name": name})["Mountpoint"]
        expect(where in mounts(), f"{name} is not mounted")
        return where

    def unmount(self, name):
        self.driver.ok("Unmount", {"Name": name})

    def folder(self, volume):
        return os.path.join(self.args.backing, str(volume))

    # ---- a name's life in a round

    def use(self, volume, kind):
        """Writes under one name, and returns what has to be read under another: (file, bytes)."""
        name = self.create(volume, kind)
        where = self.mount(name)
        twice = random.random() < 0.3
        if twice:
            expect(self.mount(name) == where, "another mountpoint")
        file, data = f"{name}.data", os.urandom(BLOCK)
        if kind == 2:
            self.refuses_to_write(where)
            self.leave(name, where, twice)
            return None
        if kind == 3:
            as_app("/bin/sh", "-c", f"echo {name} >{where}/{file}")
            self.leave(name, where, twice)
            return file, (name + "\n").encode()
        with open(f"{where}/{file}", "wb", buffering=0) as out:
            out.write(data)
            if random.random() < 0.5:           # lazy: open when it is unmounted, and written to afterwards
                self.leave(name, where, twice)
                out.write(data)
                return file, data + data
        self.leave(name, where, twice)
        return file, data

    @staticmethod
    def refuses_to_write(where):
        try:
            write(f"{where}/x", "x")
        except OSError as err:
            expect(err.strerror == "Read-only file system", f"{where}: {err}")
        else:
            raise Failed(f"{where} is read-only, and written")

    def leave(self, name, where, twice):
        if twice:
            count = self.driver.ok("Get", {"Name": name})["Volume"]["MountCount"]
            expect(count == 2, f"{name}: count {count}, not 2")
            self.unmount(name)
            expect(where in mounts(), f"{name} is unmounted with a count of 1")
        self.unmount(name)
        expect(where not in mounts() and not os.path.exists(where), f"{name} is left")

    def reads_back(self, volume, wanted):
        name = self.create(volume, random.choice((0, 1)))
        where = self.mount(name)
        for file, data in wanted:
            with open(f"{where}/{file}", "rb") as got:
                expect(got.read() == data, f"R13: {file} of volume {volume} is not what was written")
            os.unlink(f"{where}/{file}")
        self.leave(name, where, False)

    def volume_round(self, volume):
        wanted = in_parallel(self.args.names, lambda kind: self.use(volume, kind % len(KINDS)))
        self.reads_back(volume, [w for w in wanted if w])

    # ---- the name that stays

    def keep_writing(self, volume, where):
        with open(f"{where}/log", "ab", buffering=0) as log:
            while not self.stop.is_set():
                log.write(b"%07d\n" % self.appended[volume])
                self.appended[volume] += 1
                time.sleep(0.02)

    def check_log(self, volume):
        lines = read(os.path.join(self.folder(volume), "log")).split()
        expect(lines == ["%07d" % i for i in range(self.appended[volume])],
               f"volume {volume}: {len(lines)} lines of {self.appended[volume]}")

    # ---- leaks

    def descriptors(self):
        folder, count = f"/proc/{self.args.driver_pid}/fd", 0
        for fd in os.listdir(folder):
            try:
                count += not os.readlink(f"{folder}/{fd}").startswith("socket:")
            except FileNotFoundError:
                pass    # closed meanwhile
        return count

    def rss(self):
        with open(f"/proc/{self.args.driver_pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def daemons(self):
        """Pids of supervisors and workers."""
        program = os.stat(self.args.program)
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.path.samestat(os.stat(f"/proc/{pid}/exe"), program):
                    found.append(pid)
            except OSError:
                pass
        return found

    def processes(self):
        return len(self.daemons())

    def daemon_descriptors(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.daemons())

    def mounted(self):
        return sorted(m for m in mounts() if m.startswith(self.args.root + "/"))

    def state(self):
        return self.processes(), self.descriptors(), self.rss(), self.daemon_descriptors()

    def settled(self, names):
        expect(len(self.mounted()) == len(names), f"mounts are left: {set(self.mounted()) - set(names)}")
        expect(len(os.listdir(self.args.root)) == len(names), f"folders are left: {os.listdir(self.args.root)}")
        listed = self.driver.ok("List")["Volumes"]
        expect(sorted(v["Name"] for v in listed) == sorted(names), "List tells other names")
        expect(all(v["MountCount"] == 1 for v in listed), "List tells other counts")

    def run(self):
        args = self.args
        names = [self.create(v, 0) for v in range(args.volumes)]
        where = in_parallel(args.volumes, lambda v: self.mount(names[v]))
        writers = [threading.Thread(target=self.keep_writing, args=(v, where[v])) for v in range(args.volumes)]
        for writer in writers:
            writer.start()
        try:
            self.rounds(names)
        finally:
            self.stop.set()
            for writer in writers:
                writer.join()
        in_parallel(args.volumes, lambda v: self.unmount(names[v]))
        self.settled([])
        expect(wait_until(SETTLE_SECONDS, lambda: self.processes() == 0), f"{self.processes()} processes are left")
        for volume in range(args.volumes):
            self.check_log(volume)

    def rounds(self, names):
        first = None
        for number in range(self.args.rounds):
            start = time.monotonic()
            in_parallel(self.args.volumes, self.volume_round)
            self.settled(names)
            if first is None:
                wait_until(SETTLE_SECONDS, lambda: self.processes() == 2 * self.args.volumes)
                first = self.state()
            # The last daemons end, and the driver's questions to those that stay.
            settled = wait_until(SETTLE_SECONDS, lambda: self.processes() <= first[0] and
                                 self.descriptors() <= first[1] + FD_GROWTH_MAX)
            now = self.state()
            print(f"round {number + 1}: {self.args.volumes * self.args.names} names in {time.monotonic() - start:.1f} s; "
                  f"processes {now[0]}, with {now[3]} descriptors; driver: descriptors {now[1]}, "
                  f"memory {now[2] >> 10} KiB", flush=True)
            expect(settled, f"{now[0]} processes and {now[1]} descriptors, after the first round {first[0]} and {first[1]}")
            expect(now[3] <= first[3] + FD_GROWTH_MAX * self.args.volumes,
                   f"descriptors of daemons: {now[3]}, after the first round {first[3]}")
            expect(now[2] <= first[2] + (self.args.growth << 20), f"memory: {now[2]}, after the first round {first[2]}")


def main():
    parser = argparse.ArgumentParser(description="many volumes mounted and unmounted in parallel")
    parser.add_argument("address")
    for name in ("--program", "--backing", "--root", "--source"):
        parser.add_argument(name, required=True)
    parser.add_argument("--driver-pid", type=int, required=True)
    parser.add_argument("--volumes", type=int, default=50)
    parser.add_argument("--names", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--growth", type=int, default=16, help="MiB the driver may have more than after the first round")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print("seed", args.seed)
    random.seed(args.seed)
    for volume in range(args.volumes):
        os.makedirs(f"{args.backing}/{volume}", exist_ok=True)
        os.chmod(f"{args.backing}/{volume}", 0o777)
    try:
        Storm(args).run()
    except (Failed, OSError) as err:
        print(f"FAIL {type(err).__name__}: {err}", file=sys.stderr)
        os._exit(1)     # threads may hang in what failed
    return 0


sys.exit(main())
