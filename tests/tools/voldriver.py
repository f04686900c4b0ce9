# SPDX-License-Identifier: Apache-2.0
"""voldriver.py - what volman.py and dockerd.py share: calls of the volume driver protocol in the
manner of either client, and checks that name the rule or the row they stand for.

A Driver keeps one connection a thread, as both clients do, and takes a new one when the driver has
closed it. A check is a function with the decorator @check; it gets a Bench, uses names that the Bench
makes, and everything of these names is removed after it.
"""
import http.client
import json
import os
import secrets
import socket
import ssl
import sys
import subprocess
import threading
import time
import urllib.parse

ANSWER_SECONDS = 60     # longest that a call may take
PROMPT_SECONDS = 1.0    # longest for what is answered from memory (R8), on a busy machine
STORED_SECONDS = 30     # longest until unmounted data is in the store
APP = 2000              # uid and gid of apps


class Failed(Exception):
    """A check that does not hold."""


def expect(condition, text):
    if not condition:
        raise Failed(text)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def tls_context(ca=None, cert=None, key=None):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:      # as Docker without CAFile: the driver is not checked
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(cert, key)
    return context


class Driver:
    """A driver at an address (unix://, tcp://, http://, https:// or none of them), called as `headers`
    and `encode` say: encode(body) gives bytes, or an iterable of bytes for a chunked body."""

    def __init__(self, address, tls=None, headers=None, encode=None):
        scheme, sep, rest = address.partition("://")
        self.scheme, self.rest = (scheme, rest) if sep else ("http", address)
        self.tls = tls
        self.headers = headers or {}
        self.encode = encode or (lambda body: b"" if body is None else json.dumps(body).encode())
        self.local = threading.local()

    def connect(self):
        if self.scheme == "unix":
            return UnixConnection(self.rest)
        where = urllib.parse.urlsplit("//" + self.rest)
        if self.scheme == "https":
            return http.client.HTTPSConnection(where.hostname, where.port, timeout=ANSWER_SECONDS, context=self.tls)
        return http.client.HTTPConnection(where.hostname, where.port, timeout=ANSWER_SECONDS)

    def raw(self, path, body=b"", method="POST", headers=None):
        """Status, headers and bytes of the answer."""
        for attempt in (1, 2):
            kept = getattr(self.local, "connection", None)
            connection = kept or self.connect()
            try:
                chunked = not isinstance(body, bytes)
                connection.request(method, path, body=body, headers=dict(self.headers, **(headers or {})),
                                   encode_chunked=chunked)
                answer = connection.getresponse()
                data = answer.read()
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                connection.close()
                self.local.connection = None
                if kept is None or attempt == 2:
                    raise
        if answer.will_close:
            connection.close()
            connection = None
        self.local.connection = connection
        return answer.status, answer.headers, data

    def call(self, route, body=None):
        path = "/" + (route if "." in route else "VolumeDriver." + route)
        status, headers, data = self.raw(path, self.encode(body))
        expect(headers.get_content_type() == "application/json", f"{route}: type {headers.get_content_type()}")
        try:
            answer = json.loads(data)
        except ValueError as err:
            raise Failed(f"{route}: status {status}, no JSON: {data[:200]!r}") from err
        expect(status == 200, f"{route}: status {status}: {answer}")
        return answer

    def ok(self, route, body=None):
        """The answer of a call that has to succeed."""
        answer = self.call(route, body)
        expect(not answer.get("Err"), f"{route} {body}: {answer.get('Err')}")
        return answer

    def err(self, route, body=None):
        """The Err of a call that has to fail."""
        answer = self.call(route, body)
        expect(answer.get("Err"), f"{route} {body} succeeded: {answer}")
        expect(isinstance(answer["Err"], str), f"{route}: Err is no string: {answer}")
        return answer["Err"]


def safe_description(err):
    """What Volman shows the app's developer of an Err; None when it is for the operator only."""
    try:
        parsed = json.loads(err)
    except ValueError:
        return None
    return parsed.get("SafeDescription", "") if isinstance(parsed, dict) else None


def mounts():
    """Mountpoint -> list of options, of the topmost mount."""
    out = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            fields = before.split()
            path = fields[4].encode().decode("unicode_escape")
            out[path] = fields[5].split(",") + after.split()[2].split(",")
    return out


def as_app(*command):
    """Runs a command as uid 2000; its output, or a failed check."""
    done = subprocess.run(command, user=APP, group=APP, extra_groups=[], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    expect(done.returncode == 0, f"{' '.join(command)} as uid {APP}: {done.stdout}")
    return done.stdout


def write(path, text):
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def wait_until(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Bench:
    """What checks work on: a driver, a source it may mount, the folder behind it, writable for all, and
    the mount root."""

    def __init__(self, args, driver):
        self.driver = driver
        self.source = args.source
        self.backing = args.backing
        self.root = args.root
        self.ctl = args.ctl
        self.names = set()

    def name(self, prefix="volume"):
        name = f"{prefix}-{secrets.token_hex(6)}"
        self.names.add(name)
        return name

    def opts(self, **more):
        return dict({"source": self.source}, **more)

    def subfolder(self, name):
        """Makes a folder in the source; its own source."""
        os.makedirs(os.path.join(self.backing, name), exist_ok=True)
        path, mark, arguments = self.source.partition("?")
        return f"{path}/{name}{mark}{arguments}"

    def create(self, name=None, **more):
        name = name or self.name()
        self.names.add(name)
        self.driver.ok("Create", {"Name": name, "Opts": self.opts(**more)})
        return name

    def mount(self, name, **more):
        where = self.driver.ok("Mount", dict({"Name": name}, **more))["Mountpoint"]
        expect(where == os.path.join(self.root, name), f"section 8: {where} is not ROOT/NAME")
        expect(where in mounts(), f"section 7 Mount: {where} is not in the mount table")
        return where

    def unmount(self, name, **more):
        self.driver.ok("Unmount", dict({"Name": name}, **more))

    def count(self, name):
        return self.driver.ok("Get", {"Name": name})["Volume"]["MountCount"]

    def listed(self):
        return {v["Name"]: v for v in self.driver.ok("List")["Volumes"]}

    def is_gone(self, name):
        where = os.path.join(self.root, name)
        return where not in mounts() and not os.path.lexists(where)

    def is_stored(self, name, text):
        """Does the folder behind the source hold this, at once or when the daemon has written it?"""
        path = os.path.join(self.backing, name)
        expect(wait_until(STORED_SECONDS, lambda: os.path.exists(path) and read(path) == text),
               f"R13: {name} is not in the store")

    def stat(self, where, key):
        """A value of persifs-ctl stat."""
        out = subprocess.run([self.ctl, "stat", where, "--json"], stdout=subprocess.PIPE, check=True)
        return json.loads(out.stdout)[key]

    def tidy(self):
        for name in self.names:
            self.driver.ok("Remove", {"Name": name})
            expect(self.is_gone(name), f"{name} is left after Remove")
        expect(not self.names & set(self.listed()), "listed after Remove")
        self.names.clear()


CHECKS = []


def check(rules):
    """Registers a check; `rules` is what it stands for in its line of output."""
    def register(function):
        CHECKS.append((rules, function))
        return function
    return register


def run_checks(bench, only=None):
    """Exit status; a line for each check. The first failure ends the run, since what follows builds on it."""
    for rules, function in CHECKS:
        words = function.__name__.replace("_", " ")
        if only and only not in function.__name__:
            continue
        start = time.monotonic()
        try:
            function(bench)
            bench.tidy()
        except (Failed, OSError, http.client.HTTPException, subprocess.CalledProcessError) as err:
            print(f"FAIL {rules}: {words}: {type(err).__name__}: {err}", file=sys.stderr)
            return 1
        print(f"ok   {rules}: {words} ({(time.monotonic() - start) * 1000:.0f} ms)", flush=True)
    return 0


def add_arguments(parser):
    parser.add_argument("--source", help="what volumes are made of")
    parser.add_argument("--backing", help="the folder behind the source, on this machine")
    parser.add_argument("--root", help="the driver's mount root")
    parser.add_argument("--ctl", default="persifs-ctl", help="the program persifs-ctl")
    parser.add_argument("--only", help="part of the name of the checks to run")


def in_parallel(count, function):
    """function(i) for i below count, at once; their results, or the first failure."""
    results = [None] * count

    def one(i):
        try:
            results[i] = function(i)
        except Exception as err:  # pylint: disable=broad-except # handed to the caller's thread
            results[i] = err

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results
