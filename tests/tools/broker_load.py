#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""broker_load.py - a store with many instances and bindings, made through the API, and how long answers take then;
and many clients that ask for the same thing at the same moment

Measured are catalog, bind, fetch and last_operation, one client at a time, on a store that is full, and a
sweep, which reads all rows in pages. The races: of N equal requests one is carried out, and of N different ones for one
id one wins; nobody gets a 5xx. Exit status 1 when a goal is missed and --goal-ms says what it is."""
import argparse
import collections
import json
import os
import statistics
import subprocess
import sys
import threading
import time

import osb
from osb import need

NFS = {"service_id": "nfs", "plan_id": "existing"}
DISK = {"service_id": "volumes", "plan_id": "folder"}
ARRAY = {"service_id": "arrays", "plan_id": "block"}


def query(ids):
    return f"service_id={ids['service_id']}&plan_id={ids['plan_id']}"


def create_body(ids, more=None):
    body = dict(ids, organization_guid="o", space_guid="s")
    if more:
        body["parameters"] = more
    return body


class Load:
    def __init__(self, options):
        self.o = options
        self.postgres = osb.Postgres(options.work + "/pg") if options.store == "postgres" else None
        self.sim = osb.Sim(options.sim, "scaleio", options.work + "/array") if options.sim else None
        self.broker = None

    def start(self):
        o = self.o
        providers = {"nas": {"type": "existing"}, "disk": {"type": "local", "root": o.work + "/volumes"}}

        def service(ids, provider, more):
            plan = dict({"id": ids["plan_id"], "name": ids["plan_id"], "description": "a plan", "provider": provider}, **more)
            return {"id": ids["service_id"], "name": ids["service_id"], "description": "a service", "plans": [plan]}

        services = [service(NFS, "nas", {}), service(DISK, "disk", {"size": "1m", "max_size": "64m"})]
        if self.sim:
            providers["array"] = {"type": "scaleio", "url": self.sim.url, "user": "admin", "password": "password"}
            services.append(service(ARRAY, "array", {"size": "8g", "max_size": "64g", "protection_domain": "pd1", "pool": "pool1"}))
        store = self.postgres.fresh() if self.postgres else f"sqlite:{o.work}/db"
        self.config, self.socket = osb.write_config(o.broker, o.work, store, providers, services,
                                                    {"log_level": "warn", "lease": "30"})
        self.broker = osb.Process([o.broker, "--config", self.config], o.work + "/broker.log", "ready")
        need(self.broker.is_ready(), f"the broker does not start, see {o.work}/broker.log")

    def stop(self):
        for p in (self.broker, self.sim and self.sim.process):
            if p:
                p.kill()
        if self.postgres:
            self.postgres.close()

    # -- size

    def fill(self):
        """Instances and bindings, by some clients at a time."""
        o, errors = self.o, []
        counter = iter(range(o.instances))
        lock = threading.Lock()

        def work():
            client = osb.Client(self.socket)
            while not errors:
                with lock:
                    i = next(counter, None)
                if i is None:
                    break
                path = f"/v2/service_instances/{self.instance(i)}"
                status, answer = client.call("PUT", path, create_body(NFS, {"share": f"server/export/{i}"}))
                if status != 201:
                    errors.append((path, status, answer))
                for b in range(o.bindings):
                    status, answer = self.bind(client, i, f"{b}")
                    if status != 201:
                        errors.append((path, b, status, answer))
            client.close()

        begun = time.monotonic()
        self.together(work for _ in range(o.clients))
        need(not errors, str(errors[:3]))
        took = time.monotonic() - begun
        print(f"{o.instances} instances and {o.instances * o.bindings} bindings in {took:.1f} s by {o.clients} clients: "
              f"{o.instances * (1 + o.bindings) / took:.0f} changes/s", flush=True)

    @staticmethod
    def instance(i):
        return f"{i:08x}-0000-4000-8000-{i * 2654435761 % (1 << 48):012x}"

    def bind(self, client, i, name):
        return client.call("PUT", f"/v2/service_instances/{self.instance(i)}/service_bindings/{i}-{name}",
                           dict(NFS, bind_resource={"app_guid": f"app-{name}"}, parameters={"uid": "1000", "gid": "1000"}))

    def measure(self):
        client = osb.Client(self.socket)
        n, missed = self.o.samples, []
        step = max(1, self.o.instances // n)
        at = [k * step % self.o.instances for k in range(n)]
        calls = {
            "catalog": (200, lambda i: client.call("GET", "/v2/catalog")),
            "bind": (201, lambda i: self.bind(client, i, f"new{os.urandom(4).hex()}")),
            "fetch": (200, lambda i: client.call("GET", f"/v2/service_instances/{self.instance(i)}")),
            "last_operation": (200, lambda i: client.call("GET", f"/v2/service_instances/{self.instance(i)}/last_operation")),
        }
        for name, (wanted, call) in calls.items():
            took = []
            for i in at:
                begun = time.perf_counter()
                status, answer = call(i)
                took.append((time.perf_counter() - begun) * 1000)
                need(status == wanted, f"{name}: {status} {answer}")
            took.sort()
            median, p99 = statistics.median(took), took[min(len(took) - 1, len(took) * 99 // 100)]
            print(f"{name}: median {median:.2f} ms, p99 {p99:.2f} ms of {n}", flush=True)
            if self.o.goal_ms and name in ("catalog", "bind") and median > self.o.goal_ms:
                missed.append(name)
        client.close()
        return missed

    def sweep(self):
        """All rows, in pages; with one volume that nobody has, and one that is missing."""
        client = osb.Client(self.socket)
        kept = osb.new_id()
        status, answer = client.call("PUT", f"/v2/service_instances/{kept}?accepts_incomplete=true", create_body(DISK))
        need(status == 201, f"{status} {answer}")
        root = self.o.work + "/volumes"
        os.mkdir(f"{root}/{osb.volume_name('cf-', 'nobody')}")
        os.rename(f"{root}/{osb.volume_name('cf-', kept)}", root + "/elsewhere")
        begun = time.monotonic()
        found = subprocess.run([self.o.broker, "sweep", "--config", self.config, "--grace", "0", "--json"],
                               capture_output=True, text=True, check=False, timeout=600)
        took = time.monotonic() - begun
        kinds = sorted(f["kind"] for f in json.loads(found.stdout))
        need(kinds == ["missing", "orphan"], f"sweep: {found.stdout} {found.stderr}")
        print(f"sweep of {self.o.instances} rows: {took:.2f} s", flush=True)
        client.close()

    # -- races

    @staticmethod
    def together(works):
        errors = []

        def guard(work):
            try:
                work()
            except Exception as e:
                errors.append(e)

        threads = [threading.Thread(target=guard, args=(w,)) for w in works]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if errors:
            raise errors[0]

    def race(self, request):
        """request(k) is (method, path, body) of client k; all are sent at one moment. [(status, answer)]"""
        n = self.o.race
        barrier = threading.Barrier(n)
        answers = [None] * n

        def work(k):
            client = osb.Client(self.socket)
            client.call("GET", "/v2/catalog")  # connected
            barrier.wait()
            answers[k] = client.call(*request(k))
            client.close()

        self.together((lambda k=k: work(k)) for k in range(n))
        return answers

    @staticmethod
    def tally(what, answers, allowed, once=None):
        """Only allowed statuses; once: exactly one client got this one."""
        seen = collections.Counter(s for s, _ in answers)
        words = collections.Counter(a.get("error", "") for s, a in answers if s == 422)
        need(set(seen) <= set(allowed), f"{what}: {dict(seen)}, {[a for s, a in answers if s not in allowed][:2]}")
        need(set(words) <= {"ConcurrencyError"}, f"{what}: {dict(words)}")
        need(once is None or seen[once] == 1, f"{what}: {dict(seen)}, want one {once}")
        print(f"race: {what}: " + ", ".join(f"{n} x {s}" for s, n in sorted(seen.items())), flush=True)
        return seen

    def poll(self, path):
        client = osb.Client(self.socket)
        end = time.monotonic() + 60
        while True:
            status, answer = client.call("GET", path + "/last_operation")
            if status != 200 or answer["state"] != "in progress":
                client.close()
                return answer.get("state", status)
            need(time.monotonic() < end, f"{path}: still in progress")
            time.sleep(0.02)

    def race_existing(self):
        path = "/v2/service_instances/" + osb.new_id()
        same, n = create_body(NFS, {"share": "server/a"}), self.o.race
        # Of a share that exists every creation is told as one, the first and its repeats.
        self.tally(f"{n} equal creations", self.race(lambda k: ("PUT", path, same)), {200, 201}, 201)
        other = "/v2/service_instances/" + osb.new_id()
        self.tally(f"{n} different creations of one id",
                   self.race(lambda k: ("PUT", other, create_body(NFS, {"share": f"server/{k}"}))), {201, 409}, 201)
        binding = path + "/service_bindings/b"
        body = dict(NFS, bind_resource={"app_guid": "app"})
        answers = self.race(lambda k: ("PUT", binding, body))
        self.tally(f"{n} equal binds", answers, {200, 201}, 201)
        need(all(a == answers[0][1] for _, a in answers), "answers of equal binds differ")
        self.tally(f"{n} unbinds", self.race(lambda k: ("DELETE", f"{binding}?{query(NFS)}", None)), {200, 410}, 200)
        self.tally(f"{n} deletions", self.race(lambda k: ("DELETE", f"{path}?{query(NFS)}", None)), {200, 410}, 200)
        self.tally(f"{n} creations of {n} ids", self.race(
            lambda k: ("PUT", "/v2/service_instances/" + osb.new_id(), same)), {201})

    def race_made(self, ids, sizes, accepted):
        """Of a plan whose volumes are made."""
        n, tail = self.o.race, "?accepts_incomplete=true"
        path = "/v2/service_instances/" + osb.new_id()
        what = ids["service_id"]
        self.tally(f"{what}: {n} equal creations", self.race(lambda k: ("PUT", path + tail, create_body(ids))), accepted | {200})
        need(self.poll(path) == "succeeded", "creation")
        grow = dict(ids, parameters={"size": sizes[0]})
        self.tally(f"{what}: {n} equal updates", self.race(lambda k: ("PATCH", path + tail, grow)), {200, 202})
        need(self.poll(path) == "succeeded", "update")
        self.tally(f"{what}: {n} updates, and deletions between", self.race(
            lambda k: ("PATCH", path + tail, dict(ids, parameters={"size": sizes[1]})) if k % 2 else
            ("DELETE", f"{path}{tail}&{query(ids)}", None)), {200, 202, 404, 410, 422})
        self.poll(path)
        client = osb.Client(self.socket)
        while client.call("DELETE", f"{path}{tail}&{query(ids)}")[0] != 410:
            self.poll(path)
        paths = ["/v2/service_instances/" + osb.new_id() for _ in range(n)]
        self.tally(f"{what}: {n} creations of {n} ids", self.race(lambda k: ("PUT", paths[k] + tail, create_body(ids))), accepted)
        need(all(self.poll(p) == "succeeded" for p in paths), "creations")
        self.tally(f"{what}: {n} deletions of {n} ids", self.race(
            lambda k: ("DELETE", f"{paths[k]}{tail}&{query(ids)}", None)), {200, 202})
        need(all(self.poll(p) in ("succeeded", 410) for p in paths), "deletions")
        client.close()

    def race_slow(self):
        """On an array that takes its time, one request of different ones wins, and the others are told to come later."""
        n, tail = self.o.race, "?accepts_incomplete=true"
        path = "/v2/service_instances/" + osb.new_id()
        client = osb.Client(self.socket)
        self.sim.call("POST", "/_sim/faults", {"match": "", "fault": "delay", "ms": 500})
        self.tally(f"slow: {n} different creations of one id", self.race(
            lambda k: ("PUT", path + tail, create_body(ARRAY, {"size": f"{8 + k}g"}))), {202, 409}, 202)
        need(self.poll(path) == "succeeded", "creation")
        self.sim.call("DELETE", "/_sim/faults")
        answer = client.call("GET", path)[1]
        size = int(answer["parameters"]["size"][:-1])
        self.sim.call("POST", "/_sim/faults", {"match": "", "fault": "delay", "ms": 500})
        self.tally(f"slow: {n} different updates", self.race(
            lambda k: ("PATCH", path + tail, dict(ARRAY, parameters={"size": str((size + 9 << 30) + k)}))), {202, 422}, 202)
        need(self.poll(path) == "succeeded", "update")
        binding = path + "/service_bindings/"
        answers = self.race(lambda k: ("PUT", binding + f"b{k}", dict(ARRAY, bind_resource={"app_guid": f"app-{k}"})))
        seen = collections.Counter(s for s, _ in answers)
        need(seen == {201: 1, 422: n - 1}, f"a disk for {n} apps: {dict(seen)}")
        print(f"race: slow: a disk for {n} apps: 1 x 201, {n - 1} x 422", flush=True)
        for k in range(n):
            client.call("DELETE", f"{binding}b{k}?{query(ARRAY)}")
        self.tally(f"slow: {n} updates and deletions", self.race(
            lambda k: ("PATCH", path + tail, dict(ARRAY, parameters={"size": "64g"})) if k % 2 else
            ("DELETE", f"{path}{tail}&{query(ARRAY)}", None)), {202, 422})
        self.poll(path)
        self.sim.call("DELETE", "/_sim/faults")
        while client.call("DELETE", f"{path}{tail}&{query(ARRAY)}")[0] != 410:
            self.poll(path)
        client.close()

    def run(self):
        self.start()
        self.race_existing()
        self.race_made(DISK, ("16m", "32m"), {201})
        if self.sim:
            self.race_made(ARRAY, ("16g", "24g"), {202})
            self.race_slow()
        self.fill()
        missed = self.measure()
        self.sweep()
        need(not missed, f"median above {self.o.goal_ms} ms: {missed}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--broker", required=True)
    p.add_argument("--sim", help="the program persifs-sim: races for volumes of a simulated ScaleIO, too")
    p.add_argument("--work", required=True, help="an empty folder")
    p.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    p.add_argument("--instances", type=int, default=10000)
    p.add_argument("--bindings", type=int, default=3, help="of each instance")
    p.add_argument("--clients", type=int, default=4, help="that fill the store")
    p.add_argument("--samples", type=int, default=1000)
    p.add_argument("--race", type=int, default=32, help="clients at one moment")
    p.add_argument("--goal-ms", type=float, default=0)
    load = Load(p.parse_args())
    try:
        load.run()
        return 0
    except osb.Wrong as e:
        print(f"FAIL {e}")
        return 1
    finally:
        load.stop()


if __name__ == "__main__":
    sys.exit(main())
