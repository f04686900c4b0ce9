#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""broker_crash.py - the broker is killed at each of its abort points, and its storage fails at each call

A run: an instance is brought to where the operation begins. In the middle of it the broker is killed at a point ("crash")
or while the simulated array works on a call ("flight"), or the array fails one call in one way ("fault"). It is started
again, and the client goes on as a platform would: it repeats what got no answer ("repeat"), or cleans up behind it
("orphan"), or does nothing ("leave"). When nothing moves any more: sweep finds nothing, the storage holds exactly what
the client was told, with what was written there, and when all is deleted, it holds nothing.

How many points or calls an operation has is counted first, on a run without. A seed repeats the choice of runs."""
import argparse
import collections
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
import urllib.parse

import osb
from osb import Gone, Wrong, need

SERVICE, PLAN = "service-1", "plan-1"
IDS = f"service_id={SERVICE}&plan_id={PLAN}"
SETTLE_S = 120  # until an operation has to be over
FAILURES_MAX = 8
UNDO_S = 10  # until a broker that lost its lease has removed what it made
MIB, GIB = 1 << 20, 1 << 30
SILENT_MS, TIMEOUT_S = 900, "0.6"  # of the fault that is too slow, and of the broker's calls
MARK = b"written by an app"

VARIANTS = {
    "provision": ("repeat", "orphan"),
    "update": ("repeat", "leave"),
    "bind": ("repeat", "orphan"),
    "unbind": ("repeat",),
    "deprovision": ("repeat",),
    "provision+delete": ("repeat",),
}
FAULTS = ("delay", "drop", "lost", "cut", "status", "html", "empty", "garbage", "half", "slow", "error", "forbidden")
# What may end an operation: the array said that it will not, or something that makes no sense.
MAY_FAIL = ("garbage", "half", "error", "forbidden", "cut")
FAULT_KEYS = {"delay": {"ms": SILENT_MS}, "slow": {"ms": SILENT_MS}, "cut": {"bytes": 5}, "error": {"fault": "status", "status": 500},
              "forbidden": {"fault": "status", "status": 403}}


# ---- storage ------------------------------------------------------------------


class Storage:
    """What the broker's provider works on, looked at from the other side. holds(): {name: size}; Wrong when a part
    of a volume is left, or is there twice."""

    settings = ()
    unit, plan = MIB, {}
    sizes = (16, 32)
    sim = None

    def __init__(self, options, folder):
        self.folder = folder

    def name(self, owner):
        return osb.volume_name("cf-", owner)

    def close(self):
        if self.sim:
            self.sim.close()


class Folders(Storage):
    def provider(self):
        return {"type": "local", "root": self.folder}

    def parts(self):
        """{volume: {kinds of files beside it}}"""
        os.makedirs(self.folder, exist_ok=True)
        volumes, beside = set(), collections.defaultdict(set)
        for e in os.listdir(self.folder):
            if e.startswith("."):
                kind, name = e[1:].split("-", 1)
                beside[name].add(kind)
            else:
                volumes.add(e)
        for name, kinds in beside.items():
            need(name in volumes, f"{sorted(kinds)} of {name} are left, and it is not there")
        return volumes, beside

    def holds(self):
        volumes, beside = self.parts()
        for v in volumes:
            need(beside[v] == {"note"}, f"beside folder {v}: {beside[v]}")
        return {v: int(open(f"{self.folder}/.note-{v}", encoding="ascii").read().split()[0]) for v in volumes}

    def path(self, name):
        return f"{self.folder}/{name}/mark"

    def mark(self, name):
        with open(self.path(name), "wb") as f:
            f.write(MARK)

    def has_mark(self, name):
        with open(self.path(name), "rb") as f:
            return f.read(len(MARK)) == MARK


class Images(Folders):
    plan = {"kind": "image"}

    def holds(self):
        volumes, beside = self.parts()
        for v in volumes:
            need(beside[v] == {"note", "fresh"}, f"beside image {v}: {beside[v]}")
        return {v: os.path.getsize(f"{self.folder}/{v}") for v in volumes}

    def path(self, name):
        return f"{self.folder}/{name}"

    def mark(self, name):
        with open(self.path(name), "r+b") as f:
            f.write(MARK)


class OneFS(Folders):
    unit, sizes = GIB, (1, 2)
    plan = {"uid": 2000, "gid": 2000}
    exports, quotas, base = "/platform/2/protocols/nfs/exports", "/platform/1/quota/quotas", "/ifs/data/persifs"

    def __init__(self, options, folder):
        super().__init__(options, folder)
        self.sim = osb.Sim(options.sim, "onefs", folder)

    def provider(self):
        return {"type": "onefs", "url": self.sim.url, "user": "admin", "password": "password", "nfs_host": "nfs.example.com",
                "networks": ["10.30.0.0/16"], "timeout": TIMEOUT_S}

    def path(self, name):
        return f"{self.folder}{self.base}/{name}/mark"

    def holds(self):
        base = self.folder + self.base
        folders = sorted(os.listdir(base)) if os.path.isdir(base) else []
        exports = sorted(p for e in self.sim.call("GET", self.exports)["exports"] for p in e["paths"])
        quotas = {q["path"]: q["thresholds"]["hard"] for q in self.sim.call("GET", self.quotas)["quotas"]}
        paths = [f"{self.base}/{f}" for f in folders]
        need(exports == paths, f"folders {paths}, exports {exports}")
        need(sorted(quotas) == paths, f"folders {paths}, quotas {quotas}")
        return {f: quotas[f"{self.base}/{f}"] for f in folders}


class ScaleIO(Storage):
    unit, sizes = GIB, (8, 16)
    plan = {"protection_domain": "pd1", "pool": "pool1"}

    def __init__(self, options, folder):
        super().__init__(options, folder)
        self.sim = osb.Sim(options.sim, "scaleio", folder)

    def provider(self):
        return {"type": "scaleio", "url": self.sim.url, "user": "admin", "password": "password", "timeout": TIMEOUT_S}

    def name(self, owner):
        return osb.volume_name("cf-n", owner)

    def volumes(self):
        return self.sim.call("GET", "/_sim/scaleio/array")["volumes"]

    def holds(self):
        volumes = self.volumes()
        names = {v["name"]: v["kib"] * 1024 for v in volumes}
        need(len(names) == len(volumes), f"volumes of one name: {volumes}")
        need(not any(v["maps"] for v in volumes), f"a mapping is left: {volumes}")
        images = os.listdir(self.folder + "/volumes") if os.path.isdir(self.folder + "/volumes") else []
        need(len(images) == len(volumes), f"{len(images)} images of {len(volumes)} volumes")
        return names

    def path(self, name):
        return "{}/volumes/{}.img".format(self.folder, next(v["id"] for v in self.volumes() if v["name"] == name))

    def mark(self, name):
        with open(self.path(name), "r+b") as f:
            f.write(MARK)

    has_mark = Folders.has_mark


STORAGES = {"folder": Folders, "image": Images, "onefs": OneFS, "scaleio": ScaleIO}


# ---- the broker, and its platform ---------------------------------------------


class Runner:
    """A broker with a store and storage of its own, for one run after the other."""

    def __init__(self, options, kind, number, copies):
        self.o = options
        self.kind = kind
        self.dir = f"{options.work}/{kind}{number}"
        os.makedirs(self.dir)
        self.arm_file, self.log_file = self.dir + "/arm", self.dir + "/points"
        self.storage = STORAGES[kind](options, self.dir + "/s")
        store = options.postgres.fresh() if options.postgres else f"sqlite:{self.dir}/db"
        plan = {"id": PLAN, "name": "plan", "description": "a plan", "provider": "p", "size": self.size(0),
                "max_size": self.size(1)}
        plan.update(self.storage.plan)
        service = {"id": SERVICE, "name": "service", "description": "a service", "plans": [plan]}
        self.config, self.socket = osb.write_config(options.broker, self.dir, store, {"p": self.storage.provider()},
                                                    [service])
        self.client = osb.Client(self.socket)
        self.process = self.other = None
        self.turn = 0
        self.second = 0  # where the next broker is killed in its turn
        self.kills = 0
        self.start()
        if copies:
            self.other_client = osb.Client(self.dir + "/sock2")
            self.other = osb.Process([options.broker, "--config", self.config, "--listen", "unix:" + self.dir + "/sock2"],
                                     self.dir + "/other.log", "ready")
            need(self.other.is_ready(), f"the second broker does not start, see {self.dir}/other.log")

    def size(self, i):
        return str(self.storage.sizes[i] * self.storage.unit)

    # -- process

    def start(self):
        env = {"PERSIFS_ABORT_ARM": self.arm_file, "PERSIFS_ABORT_LOG": self.log_file}
        if self.second:
            env = {"PERSIFS_ABORT_AT": str(self.second)}
        self.plain = not self.second
        self.second = 0
        self.process = osb.Process([self.o.abort_broker, "--config", self.config], self.dir + "/broker.log",
                                   "ready", env)
        if not self.process.is_ready():
            need(not self.plain, f"the broker does not start, see {self.dir}/broker.log")
            self.kills += 1
            self.start()

    def disarm(self):
        if os.path.exists(self.arm_file):
            os.unlink(self.arm_file)

    def arm(self, n):
        if os.path.exists(self.log_file):
            os.unlink(self.log_file)
        with open(self.arm_file + ".new", "w", encoding="ascii") as f:
            f.write(str(n))
        os.rename(self.arm_file + ".new", self.arm_file)

    def revive(self):
        """After a request without an answer."""
        need(self.process.dies(10), "no answer, and the broker lives")
        need(self.process.process.returncode == -9, f"the broker ended by itself: {self.process.process.returncode}")
        self.process.kill()
        self.client.close()
        self.kills += 1
        self.disarm()
        self.start()

    def close(self):
        for p in (self.process, self.other):
            if p:
                p.kill()
        self.client.close()
        self.storage.close()

    # -- the platform

    def call(self, method, path, body=None):
        """Gone, with a broker that runs again."""
        self.turn += 1
        try:
            if self.other and self.turn % 2:
                status, answer = self.other_client.call(method, path, body)
            else:
                status, answer = self.client.call(method, path, body)
        except Gone:
            self.revive()
            raise
        need(status < 500 or self.faulty, f"{method} {path}: {status} {answer}")
        return status, answer

    def asks(self, method, path, body=None):
        """The answer, however often it has to be asked."""
        while True:
            try:
                return self.call(method, path, body)
            except Gone:
                pass

    def settles(self, token=None):
        """State of the operation when it is over; "gone", "none" without one."""
        end = time.monotonic() + SETTLE_S
        path = f"{self.instance}/last_operation?{IDS}" + (f"&operation={urllib.parse.quote(token)}" if token else "")
        while True:
            status, answer = self.asks("GET", path)
            if status == 410:
                return "gone"
            if status != 200:
                return "none"
            if answer["state"] != "in progress":
                self.why = answer.get("description", "")
                return answer["state"]
            need(time.monotonic() < end, f"still in progress: {answer}")
            time.sleep(0.02)

    def tries(self, once):
        """once() until it is not None: at most a minute."""
        end = time.monotonic() + SETTLE_S
        while True:
            result = once()
            if result is not None:
                return result
            need(time.monotonic() < end, "no end of it")
            time.sleep(0.05)

    @staticmethod
    def is_busy(status, answer):
        return status == 422 and isinstance(answer, dict) and answer.get("error") == "ConcurrencyError"

    def provision(self, variant):
        body = {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "o", "space_guid": "s"}

        def once():
            try:
                status, answer = self.call("PUT", self.instance + "?accepts_incomplete=true", body)
            except Gone:
                return self.remove() if variant == "orphan" else None
            if self.is_busy(status, answer):
                return None
            need(status in (200, 201, 202) or self.faulty, f"provision: {status} {answer}")
            state = self.settles(answer["operation"]) if status == 202 else "succeeded"
            if status > 202 or state != "succeeded":
                need(self.may_fail, f"provision: {state} {answer} {self.why}")
                self.remove()
                return "failed"
            self.there = True
            return "succeeded"

        return self.tries(once)

    def remove(self):
        failures = 0

        def once():
            nonlocal failures
            try:
                status, answer = self.call("DELETE", f"{self.instance}?{IDS}&accepts_incomplete=true")
            except Gone:
                return None
            if self.is_busy(status, answer):
                return None
            need(status in (200, 202, 410) or self.faulty, f"deprovision: {status} {answer}")
            state = self.settles(answer["operation"]) if status == 202 else "gone" if status in (200, 410) else "failed"
            if state in ("succeeded", "gone"):
                self.there = False
                return "removed"
            failures += 1
            need(self.may_fail and failures < 3, f"deprovision: {state} {self.why}")
            return None

        return self.tries(once)

    def update(self, variant):
        body = {"service_id": SERVICE, "plan_id": PLAN, "parameters": {"size": self.size(1)}}
        failures = 0

        def once():
            nonlocal failures
            try:
                status, answer = self.call("PATCH", self.instance + "?accepts_incomplete=true", body)
            except Gone:
                if variant == "repeat":
                    return None
                self.settles()
                self.sizes = {0, 1}
                return "left"
            if self.is_busy(status, answer):
                return None
            need(status in (200, 202) or self.faulty, f"update: {status} {answer}")
            state = self.settles(answer["operation"]) if status == 202 else "succeeded" if status == 200 else "failed"
            if state == "succeeded":
                self.sizes = {1}
                return state
            failures += 1
            need(self.may_fail and failures < 3, f"update: {state} {answer} {self.why}")
            return None

        return self.tries(once)

    def bind(self, variant):
        body = {"service_id": SERVICE, "plan_id": PLAN, "bind_resource": {"app_guid": "app"}, "context": {}}

        def once():
            try:
                status, answer = self.call("PUT", self.binding, body)
            except Gone:
                return self.unbind() if variant == "orphan" else None
            need(status in (200, 201), f"bind: {status} {answer}")
            again = self.asks("PUT", self.binding, body)
            need(again == (200, answer), f"bind: {answer}, its repeat: {again}")
            self.bound = answer
            return "bound"

        return self.tries(once)

    def unbind(self, variant=None):
        del variant

        def once():
            try:
                status, answer = self.call("DELETE", f"{self.binding}?{IDS}")
            except Gone:
                return None
            need(status in (200, 410), f"unbind: {status} {answer}")
            self.bound = None
            return "unbound"

        return self.tries(once)

    def provision_and_delete(self, variant):
        del variant
        body = {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "o", "space_guid": "s"}
        try:
            self.call("PUT", self.instance + "?accepts_incomplete=true", body)
        except Gone:
            pass
        return self.remove()

    # -- one run

    def begin(self, op):
        self.id = osb.new_id()
        self.instance = "/v2/service_instances/" + self.id
        self.binding = self.instance + "/service_bindings/b-" + self.id
        self.there, self.bound, self.sizes, self.marked, self.why = False, None, {0}, False, ""
        self.faulty = self.may_fail = False
        if not self.plain:
            self.process.kill()
            self.client.close()
            self.start()
        if not op.startswith("provision"):
            self.provision("repeat")
            self.mark()
        if op == "unbind":
            self.bind("repeat")

    def mark(self):
        self.storage.mark(self.storage.name(self.id))
        self.marked = True

    def act(self, op, variant):
        {"provision": self.provision, "update": self.update, "bind": self.bind, "unbind": self.unbind,
         "deprovision": lambda v: self.remove(), "provision+delete": self.provision_and_delete}[op](variant)

    def check_empty(self):
        held = self.storage.holds()
        need(not held, f"after all was deleted: {held}")

    def within_undo(self, check):
        """With a second broker, what a broker that lost its lease has made may take a moment to go."""
        end = time.monotonic() + (UNDO_S if self.other else 0)
        while True:
            try:
                check()
                return
            except Wrong:
                if time.monotonic() >= end:
                    raise
            time.sleep(0.2)

    def check(self):
        self.settles()
        need(self.asks("GET", self.instance)[0] == (200 if self.there else 404), "GET of the instance disagrees")
        binding = self.asks("GET", self.binding)
        need(binding[0] == (200 if self.bound else 404), f"GET of the binding: {binding}")
        held = self.storage.holds()
        name = self.storage.name(self.id)
        need(list(held) == ([name] if self.there else []), f"want {name if self.there else 'nothing'}, it holds {held}")
        if self.there:
            wanted = {self.storage.sizes[i] * self.storage.unit for i in self.sizes}
            need(held[name] in wanted, f"its size is {held[name]}, want {wanted}")
            need(not self.marked or self.storage.has_mark(name), "its data is gone")
        sweep = subprocess.run([self.o.broker, "sweep", "--config", self.config, "--grace", "0", "--json"],
                               capture_output=True, text=True, check=False, timeout=osb.START_S)
        need(sweep.returncode == 0 and json.loads(sweep.stdout) == [], f"sweep: {sweep.stdout} {sweep.stderr}")

    def end(self):
        """Was it there as it should be, it can be used, and goes without a trace."""
        if self.there and not self.bound:
            self.bind("repeat")
        if self.bound:
            self.unbind()
        self.remove()
        self.within_undo(self.check_empty)

    def crash(self, op, variant, n, second=0):
        """True: it was killed; with n 0, the names of the points."""
        kills = self.kills
        self.begin(op)
        self.arm(n)
        self.second = second
        self.act(op, variant)
        if self.process.process.poll() is not None:  # after the last answer
            self.revive()
        self.settles()
        self.disarm()
        self.second = 0
        if self.there and not self.marked:
            self.mark()
        names = []
        if os.path.exists(self.log_file):
            with open(self.log_file, encoding="ascii") as f:
                names = f.read().split("\n")[:-1]
        self.within_undo(self.check)
        self.end()
        return names if not n else self.kills - kills

    def fault(self, op, mode, k, fresh):
        """True: the fault was met; with mode None, how many calls there are."""
        self.begin(op)
        if fresh:
            self.storage.sim.call("POST", "/_sim/tokens", {"drop": True})
        before = self.storage.sim.calls()
        self.faulty, self.may_fail = mode is not None, mode in MAY_FAIL
        if mode:
            rule = {"match": "", "fault": mode, "after": k, "times": 1}
            rule.update(FAULT_KEYS.get(mode, {}))
            self.storage.sim.call("POST", "/_sim/faults", rule)
        self.act(op, "repeat")
        self.settles()
        calls = self.storage.sim.calls() - before
        met = mode and self.storage.sim.call("GET", "/_sim")["faults"][0]["hits"] == 1
        self.storage.sim.call("DELETE", "/_sim/faults")
        self.faulty = self.may_fail = False
        if self.there and not self.marked:
            self.mark()
        self.within_undo(self.check)
        self.end()
        return met if mode else calls

    def flight(self, op, mode, k, variant):
        """Killed while call k is on its way: the array carries it out when the broker is dead already, or has done so."""
        kills = self.kills
        self.begin(op)
        rule = {"match": "", "fault": mode, "after": k, "times": 1, "ms": SILENT_MS}
        self.storage.sim.call("POST", "/_sim/faults", rule)
        watch = osb.Watch(self.storage.sim)
        killer = threading.Thread(target=lambda: watch.sees_hit(SETTLE_S) and self.process.process.kill())
        killer.start()
        try:
            self.act(op, variant)
            self.settles()
        finally:
            watch.over = True
            killer.join()
        if self.process.process.poll() is not None:
            self.revive()
            self.settles()
        self.storage.sim.call("DELETE", "/_sim/faults")
        if self.there and not self.marked:
            self.mark()
        self.within_undo(self.check)
        self.end()
        return self.kills - kills


# ---- the matrix ---------------------------------------------------------------


class Matrix:
    def __init__(self, options):
        self.o = options
        self.random = random.Random(options.seed)
        self.lock = threading.Lock()
        self.runners = queue.Queue()
        self.crashes = self.faults = self.kills = 0
        self.failures = []
        self.points = collections.Counter()
        self.numbers = collections.Counter()
        self.last = {}

    def runner(self, kind, copies):
        with self.lock:
            self.numbers[kind] += 1
            n = self.numbers[kind]
        r = Runner(self.o, kind, n, copies)
        self.runners.put(r)
        return r

    def go_on(self, runs, run):
        """All points are wanted, and the one that was the last of the count was not the last."""
        if run[0] == "crash" and self.o.crashes < 0 and len(run) == 5 and run[4] == self.last.get(run[1:4], 0):
            self.last[run[1:4]] += 1
            runs.put(run[:4] + (run[4] + 1,))

    def one(self, mine, run, runs):
        what, kind, op, *rest = run
        text = " ".join(str(x) for x in run)
        try:
            if kind not in mine:
                mine[kind] = self.runner(kind, self.o.copies)
            r = mine[kind]
            if what != "fault":
                kills = r.crash(op, *rest) if what == "crash" else r.flight(op, *rest)
                with self.lock:
                    self.crashes += kills > 0
                    self.kills += kills
                    if kills:
                        self.go_on(runs, run)
            else:
                met = r.fault(op, *rest)
                with self.lock:
                    self.faults += bool(met)
        except Exception as e:  # whatever it is: told, and the others go on
            with self.lock:
                self.failures.append(text)
            where = f"; instance {r.id}, see {r.dir}" if kind in mine else ""
            print(f"FAIL {text}: {type(e).__name__}: {e}{where}", flush=True)
            if kind in mine:
                mine.pop(kind).close()  # as it is, for who looks

    def work(self, runs):
        mine = {}
        while len(self.failures) < FAILURES_MAX:
            try:
                run = runs.get_nowait()
            except queue.Empty:
                break
            self.one(mine, run, runs)
        for r in mine.values():
            r.close()

    def parallel(self, runs):
        q = queue.Queue()
        for run in runs:
            q.put(run)
        threads = [threading.Thread(target=self.work, args=(q,)) for _ in range(min(self.o.jobs, len(runs)))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def plan(self):
        """All runs, after one of each operation without a kill and a fault."""
        def count(kind):
            r = self.runner(kind, False)
            mine = []
            for op in VARIANTS:
                names = r.crash(op, "repeat", 0)
                with self.lock:
                    self.points.update(names)
                for v in VARIANTS[op]:
                    mine += [("crash", kind, op, v, n) for n in range(1, len(names) + 1)]
                    self.last[kind, op, v] = len(names)
                if not r.storage.sim:
                    continue
                for fresh in (False, True):
                    calls = r.fault(op, None, 0, fresh)
                    mine += [("fault", kind, op, mode, k, fresh) for mode in FAULTS for k in range(calls)]
                mine += [("flight", kind, op, mode, k, v) for mode in ("delay", "slow") for k in range(calls) for v in VARIANTS[op]]
            r.close()
            with self.lock:
                runs.extend(mine)

        runs = []
        threads = [threading.Thread(target=self.guard, args=(count, k)) for k in self.o.providers]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return sorted(runs, key=str)

    def guard(self, f, kind):
        try:
            f(kind)
        except Exception as e:
            self.failures.append(kind)
            print(f"FAIL {kind}: {type(e).__name__}: {e}", flush=True)

    def choose(self, runs):
        """All, or a sample with as many of each kind of run; each fourth crash has another after it."""
        self.random.shuffle(runs)
        crashes = [r for r in runs if r[0] == "crash"]
        faults = [r for r in runs if r[0] == "fault"]
        flights = [r for r in runs if r[0] == "flight"]
        if self.o.crashes >= 0:
            crashes = self.spread(crashes, self.o.crashes)
            flights = self.spread(flights, self.o.crashes // 3)
        if self.o.faults >= 0:
            faults = self.spread(faults, self.o.faults)
        doubles = [r + (self.random.randint(1, 14),) for r in crashes[::4]]
        crashes = doubles + [r for i, r in enumerate(crashes) if i % 4] + (
            [r for i, r in enumerate(crashes) if i % 4 == 0] if self.o.crashes < 0 else [])
        runs = crashes + faults + flights
        self.random.shuffle(runs)
        return runs

    @staticmethod
    def spread(runs, n):
        by = collections.defaultdict(list)
        for r in runs:
            by[r[1:4]].append(r)
        chosen = []
        while by and len(chosen) < n:
            for key in list(by):
                chosen.append(by[key].pop())
                if not by[key]:
                    del by[key]
        return chosen[:n]

    def run(self):
        begun = time.monotonic()
        runs = self.plan()
        if self.failures:
            return 1
        total = collections.Counter(r[0] for r in runs)
        if self.o.only:
            runs = [tuple(json.loads(x)) for x in self.o.only]
        else:
            runs = self.choose(runs)
        print(f"{len(self.points)} kinds of points; {total['crash']} crashes, {total['flight']} in the middle of a call, "
              f"and {total['fault']} faults are possible, "
              f"{len(runs)} are run; seed {self.o.seed}; {time.monotonic() - begun:.0f} s", flush=True)
        self.parallel(runs)
        print(f"{self.crashes} crashes ({self.kills} kills), {self.faults} faults, {len(self.failures)} failed, "
              f"{time.monotonic() - begun:.0f} s", flush=True)
        return 1 if self.failures or not (self.crashes or self.faults) else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--broker", required=True)
    p.add_argument("--abort-broker", required=True, help="built with -DPERSIFS_ABORT_POINTS")
    p.add_argument("--sim", required=True)
    p.add_argument("--work", required=True, help="an empty folder")
    p.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    p.add_argument("--providers", default=",".join(STORAGES), type=lambda s: s.split(","))
    p.add_argument("--crashes", type=int, default=-1, help="how many, -1: all")
    p.add_argument("--faults", type=int, default=-1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--copies", action="store_true", help="a second broker runs on the store and answers every second request")
    p.add_argument("--jobs", type=int, default=6)
    p.add_argument("--only", action="append", help='a run, as \'["crash", "onefs", "update", "leave", 3]\'')
    o = p.parse_args()
    o.postgres = osb.Postgres(o.work + "/pg") if o.store == "postgres" else None
    m = Matrix(o)
    try:
        return m.run()
    finally:
        while not m.runners.empty():
            m.runners.get().close()
        if o.postgres:
            o.postgres.close()


if __name__ == "__main__":
    sys.exit(main())
