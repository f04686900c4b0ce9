# SPDX-License-Identifier: Apache-2.0
"""osb.py - a service broker, simulated arrays and a PostgreSQL server as processes of a test, and a
client that does what a platform does. For broker_crash.py and broker_load.py."""
import base64
import glob
import hashlib
import http.client
import json
import os
import pwd
import select
import signal
import socket
import subprocess
import threading
import time
import uuid

START_S = 60  # for a process to be ready, on a busy machine
CALL_S = 60  # for an answer
AUTH = "Basic " + base64.b64encode(b"u:p").decode()


class Gone(Exception):
    """A request without an answer."""


class Wrong(Exception):
    """What must not be."""


def need(condition, text):
    if not condition:
        raise Wrong(text)


def volume_name(prefix, owner):
    n = int.from_bytes(hashlib.blake2b(owner.encode(), digest_size=16).digest(), "big") << 2
    return prefix + "".join("0123456789abcdefghjkmnpqrstvwxyz"[n >> (5 * i) & 31] for i in range(25, -1, -1))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=CALL_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Client:
    """Requests to a broker, over one connection. Not for several threads."""

    def __init__(self, path):
        self.path = path
        self.connection = None

    def call(self, method, path, body=None, user=AUTH):
        """(status, object or text); Gone."""
        try:
            if not self.connection:
                self.connection = UnixConnection(self.path)
            self.connection.request(method, path, json.dumps(body) if body is not None else None, {
                "Authorization": user, "X-Broker-API-Version": "2.17", "Content-Type": "application/json"})
            answer = self.connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Gone(str(e)) from e
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Process:
    """A program that says so on its standard output when it is ready."""

    def __init__(self, argv, log, word, env=None):
        self.argv, self.log, self.word = argv, log, word
        self.process = None
        self.line = ""
        with open(log, "ab") as err:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err,
                                            env=dict(os.environ, **(env or {})))

    def is_ready(self):
        """False: it ended before."""
        end = time.monotonic() + START_S
        text = b""
        while b"\n" not in text:
            ready = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]
            need(ready, f"{self.argv[0]} is not ready within {START_S} s")
            some = os.read(self.process.stdout.fileno(), 4096)
            if not some:
                self.process.wait()
                return False
            text += some
        self.line = text.decode()
        need(self.word in self.line, f"{self.argv[0]} says {self.line}")
        return True

    def dies(self, limit):
        try:
            self.process.wait(limit)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill(self, how=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait()
        self.process.stdout.close()


class Sim:
    """A simulated array."""

    def __init__(self, program, kind, folder, settings=()):
        self.folder = folder
        argv = [program, kind, "--listen", "tcp:127.0.0.1:0", "--root", folder]
        for s in settings:
            argv += ["--set", s]
        self.process = Process(argv, folder + ".log", "listening on")
        need(self.process.is_ready(), f"the simulator does not start, see {folder}.log")
        self.url = self.process.line.split()[-1]
        self.host = self.url.split("//")[1]
        self.connection = None

    def call(self, method, path, body=None):
        for last in (False, True):
            try:
                if not self.connection:
                    self.connection = http.client.HTTPConnection(self.host, timeout=CALL_S)
                self.connection.request(method, path, json.dumps(body) if body is not None else None, {
                    "Authorization": "Basic " + base64.b64encode(b"admin:password").decode(),
                    "Content-Type": "application/json"})
                answer = self.connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException):
                self.connection = None
                if last:
                    raise
        need(answer.status < 300, f"{method} {path}: {answer.status} {text[:200]}")
        return json.loads(text) if text else {}

    def calls(self):
        return sum(self.call("GET", "/_sim")["calls"].values())

    def close(self):
        self.process.kill()


class Watch:
    """Another's look at a simulator, from another thread."""

    def __init__(self, sim):
        self.host = sim.host
        self.over = False

    def sees_hit(self, limit):
        """The fault was met; False when nobody waits for that any more."""
        end = time.monotonic() + limit
        connection = http.client.HTTPConnection(self.host, timeout=CALL_S)
        hit = False
        while not hit and not self.over and time.monotonic() < end:
            connection.request("GET", "/_sim")
            hit = any(f["hits"] for f in json.loads(connection.getresponse().read())["faults"])
            time.sleep(0.005)
        connection.close()
        return hit


class Postgres:
    """A server in a folder of its own; stores get a schema each."""

    def __init__(self, folder):
        bins = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        need(bins, "PostgreSQL is not installed")
        self.bin, self.dir = bins[-1], folder
        self.lock = threading.Lock()
        self.n = 0
        os.makedirs(folder, 0o755, exist_ok=True)
        self.who = {}
        if os.geteuid() == 0:
            try:
                pw = pwd.getpwnam("postgres")
            except KeyError:
                pw = pwd.getpwnam("nobody")
            os.chown(folder, pw.pw_uid, pw.pw_gid)
            self.who = {"user": pw.pw_uid, "group": pw.pw_gid, "extra_groups": []}
        log = open(folder + ".log", "ab")
        subprocess.run([self.bin + "/initdb", "-D", folder + "/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-N",
                        "--locale=C.UTF-8", "--no-instructions"], check=True, stdout=log, stderr=log, cwd="/", **self.who)
        # A broker is killed here, never this server.
        self.process = subprocess.Popen(
            [self.bin + "/postgres", "-D", folder + "/data", "-k", folder, "-h", "", "-cfsync=off", "-cfull_page_writes=off",
             "-cmax_connections=1000", "-cshared_buffers=64MB"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            **self.who)
        end = time.monotonic() + START_S
        while subprocess.run([self.bin + "/pg_isready", "-q", "-h", folder, "-U", "postgres"], check=False).returncode:
            need(time.monotonic() < end, f"PostgreSQL does not start, see {folder}.log")
            time.sleep(0.1)

    def sql(self, text):
        subprocess.run([self.bin + "/psql", "-q", "-X", "-h", self.dir, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", text],
                       check=True, stdout=subprocess.DEVNULL)

    def fresh(self):
        """URI of an empty schema."""
        with self.lock:
            self.n += 1
            name = f"t{self.n}"
        self.sql(f"CREATE SCHEMA {name}")
        return f"postgresql:///postgres?host={self.dir}&user=postgres&options=-csearch_path%3D{name}"

    def close(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


def write_config(program, folder, store, providers, services, more=None):
    """A broker's configuration in folder; its file, and its socket."""
    path, socket_path, key = folder + "/broker.json", folder + "/sock", folder + "/key"
    if not os.path.exists(key):
        subprocess.run([program, "make-key", key], check=True)
    config = {"listen": ["unix:" + socket_path], "key_file": key, "store": store, "users": [{"name": "u", "password": "p"}],
              "lease": "1", "operation_timeout": "120", "maximum_polling_duration": "1h", "log_level": "info",
              "providers": providers, "services": services}
    config.update(more or {})
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)
    return path, socket_path


def new_id():
    return str(uuid.uuid4())
