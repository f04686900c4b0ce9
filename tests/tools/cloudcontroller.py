#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cloudcontroller.py - a client of a service broker that behaves as the Cloud Controller does

    cloudcontroller.py URL --config FILE --log FILE --pid PID [--ca FILE] [--seed N] [--rounds N] [--only NAME]   all checks

URL is http:// or https://. FILE is the broker's configuration, which must have what 48_osb.sh writes: the
client takes users, audit log and storage folder from it, and changes it for SIGHUP. A request has 60 seconds, no
redirect is followed, 410 of a DELETE is a success, and what is in doubt is deleted until it is gone.
"""
import argparse
import base64
import copy
import fcntl
import http.client
import json
import os
import random
import re
import signal
import ssl
import sys
import threading
import time
import urllib.parse
import uuid

from voldriver import Failed, expect, in_parallel

LIMIT_S = 60  # the Cloud Controller's default
WAIT_S = 60   # for an operation
ASYNC = {"accepts_incomplete": "true"}
WORDS = {"AsyncRequired", "ConcurrencyError", "RequiresApp", "MaintenanceInfoConflict"}
PASSWORD = "very-s3cret"
CLIENTS = 8
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Answer:
    def __init__(self, status, headers, raw):
        self.status, self.headers, self.raw = status, headers, raw
        self.json = json.loads(raw) if status != 304 else None

    def get(self, key, default=None):
        return self.json.get(key, default)


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Client:
    def __init__(self, args):
        self.url = urllib.parse.urlsplit(args.url)
        self.config = args.config
        self.log, self.pid = args.log, args.pid
        self.rounds = args.rounds
        self.random = random.Random(args.seed)
        self.tls = ssl.create_default_context(cafile=args.ca) if args.ca else None
        settings = self.settings()
        self.user, self.password = settings["users"][0]["name"], settings["users"][0]["password"]
        self.audit, self.root = settings["audit_log"], settings["providers"]["disk"]["root"]

    def settings(self):
        with open(self.config, encoding="utf-8") as f:
            return json.load(f)

    def new_id(self):
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection(self.url.hostname, self.url.port, timeout=LIMIT_S, context=self.tls)
        return http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=LIMIT_S)

    def send(self, connection, method, path, body, query, headers):
        sent = {"X-Broker-API-Version": "2.17", "Authorization": basic(self.user, self.password),
                "X-Api-Info-Location": "api.example.org/v2/info", "X-B3-TraceId": "a" * 16, "X-B3-SpanId": "a" * 16}
        if method in ("PUT", "PATCH"):
            sent["Content-Type"] = "application/json"
        sent.update(headers)
        sent = {k: v for k, v in sent.items() if v is not None}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if query:
            path += "?" + urllib.parse.urlencode(query)
        connection.request(method, path, body, sent)

    def call(self, method, path, body=None, query=None, **headers):
        """headers: _ for -; None leaves one out that is sent otherwise."""
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        connection = self.connect()
        try:
            self.send(connection, method, path, body, query, headers)
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        answer = Answer(response.status, response.headers, raw)
        self.must_hold_always(method, path, answer)
        return answer

    def call_and_lose(self, method, path, body=None, query=None):
        """The request arrives, its answer does not."""
        connection = self.connect()
        try:
            self.send(connection, method, path, body, query, {})
            connection.sock.recv(1)
        finally:
            connection.close()

    def must_hold_always(self, method, path, answer):
        what = f"{method} {path}: {answer.status} {answer.raw[:300]}"
        if answer.status == 304:
            expect(answer.raw == b"", what)
            return
        expect(isinstance(answer.json, dict), f"no object: {what}")
        expect("application/json" in answer.headers["Content-Type"], f"{answer.headers['Content-Type']}: {what}")
        if answer.status >= 400:
            expect(answer.status == 410 or answer.get("description"), f"no description: {what}")
            expect(answer.get("error") in WORDS | {None}, f"unknown word: {what}")
            expect("error" not in answer.json or answer.status == 422, f"a word where none is due: {what}")
            expect(PASSWORD.encode() not in answer.raw, f"a secret: {what}")

    def must(self, status, method, path, body=None, query=None, error=None, says=None, **headers):
        answer = self.call(method, path, body, query, **headers)
        what = f"{method} {path} {query or ''} {body or ''}: {answer.status} {answer.raw[:300]}"
        expect(answer.status == status, f"expected {status}: {what}")
        expect(status == 304 or answer.get("error") == error, f"expected {error}: {what}")
        expect(not says or re.search(says, answer.get("description", "")), f"expected '{says}': {what}")
        return answer

    def wait(self, instance, operation=None):
        """How the operation ended, as the platform finds out: "succeeded", "failed" or "gone"."""
        end = time.monotonic() + WAIT_S
        query = {"operation": operation} if operation else None
        while time.monotonic() < end:
            answer = self.call("GET", last(instance), query=query)
            if answer.status == 410:
                return "gone"
            expect(answer.status == 200, f"last_operation: {answer.status} {answer.raw}")
            if answer.get("state") != "in progress":
                expect(answer.get("state") in ("succeeded", "failed"), f"state {answer.get('state')}")
                return answer.get("state")
            expect(int(answer.headers["Retry-After"]) > 0, "no Retry-After")
            time.sleep(0.05)
        raise Failed(f"the operation of {instance} does not end")

    def make(self, plan, parameters=None, context=None):
        instance = self.new_id()
        answer = self.call("PUT", inst(instance), body_of(plan, parameters, context=context), ASYNC)
        expect(answer.status in (201, 202), f"create: {answer.status} {answer.raw}")
        if answer.status == 202:
            expect(self.wait(instance, answer.get("operation")) == "succeeded", "the creation failed")
        return instance

    def drop(self, plan, instance):
        answer = self.call("DELETE", inst(instance), query=dict(ids(plan), **ASYNC))
        if answer.status == 202:
            expect(self.wait(instance, answer.get("operation")) in ("succeeded", "gone"), "the deletion failed")
        else:
            expect(answer.status in (200, 410), f"delete: {answer.status} {answer.raw}")

    def hold_storage(self):
        """Operations that make something wait as long as this is open: the provider takes the same lock."""
        return Held(self.root)

    def volumes(self):
        return [name for name in os.listdir(self.root) if name.startswith("cf-")]

    def nothing_is_left(self):
        """A creation that was on its way when its deletion ended takes back what it makes a moment later."""
        end = time.monotonic() + 10
        while self.volumes():
            expect(time.monotonic() < end, f"left: {self.volumes()}")
            time.sleep(0.02)

    def log_has(self, text):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read().count(text)


class Held:
    def __init__(self, root):
        self.fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        os.close(self.fd)


PLANS = {"share": "s-nfs", "folder": "s-vol", "folder2": "s-vol", "fixed": "s-vol", "image": "s-vol"}
SHARE = {"share": "nas.example.org/export/a"}
CONTEXT = {"platform": "cloudfoundry", "organization_guid": "o", "space_guid": "sp", "instance_name": "n"}


def inst(instance):
    return f"/v2/service_instances/{instance}"


def last(instance):
    return inst(instance) + "/last_operation"


def bind(instance, binding):
    return f"{inst(instance)}/service_bindings/{binding}"


def ids(plan):
    return {"service_id": PLANS[plan], "plan_id": plan}


def body_of(plan, parameters=None, context=None, **more):
    body = dict(ids(plan), context=context or CONTEXT, organization_guid="o", space_guid="sp", **more)
    if parameters is None and plan == "share":
        parameters = SHARE
    if parameters is not None:
        body["parameters"] = parameters
    return body


def bind_of(plan, app="app-1", parameters=None, **more):
    body = dict(ids(plan), context=CONTEXT, app_guid=app, bind_resource={"app_guid": app}, **more)
    if parameters is not None:
        body["parameters"] = parameters
    return body


# ---- sections 1 to 3: routes, headers, errors --------------------------------

@check
def credentials_are_checked_before_anything_else(c):
    paths = ["/v2/catalog", "/v2/nothing", "/", inst("x"), last("x"), bind("x", "y"), bind("x", "y") + "/last_operation"]
    wrong = [None, "", "Basic", "Basic %%%", "Bearer abc", basic(c.user, "wrong"), basic("nobody", c.password),
             basic(c.user, ""), "Basic " + base64.b64encode(c.user.encode()).decode(), basic(c.user, c.password) + "x"]
    for path in paths:
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            answer = c.must(401, method, path, b"no json" if method in ("PUT", "PATCH") else None,
                            Authorization=c.random.choice(wrong), X_Broker_API_Version=None)
            expect("Basic" in answer.headers["WWW-Authenticate"], "no WWW-Authenticate")
    for header in wrong:
        c.must(401, "GET", "/v2/catalog", Authorization=header)


@check
def any_2_N_is_taken_and_nothing_else(c):
    c.must(400, "GET", "/v2/catalog", X_Broker_API_Version=None, says="2.17")
    for version in ("1.0", "3.0", "2", "2.", "2.x", "x", "", "2.1.7", "-2.17"):
        c.must(412, "GET", "/v2/catalog", X_Broker_API_Version=version, says="2.17")
    for version in ("2.0", "2.13", "2.17", "2.99"):
        c.must(200, "GET", "/v2/catalog", X_Broker_API_Version=version)


@check
def every_route_is_there_with_its_methods(c):
    routes = {"/v2/catalog": {"GET"}, inst("no"): {"PUT", "PATCH", "GET", "DELETE"}, last("no"): {"GET"},
              bind("no", "no"): {"PUT", "GET", "DELETE"}, bind("no", "no") + "/last_operation": {"GET"}}
    for path, methods in routes.items():
        for method in ("GET", "PUT", "PATCH", "DELETE", "POST"):
            status = c.call(method, path, {} if method in ("PUT", "PATCH") else None).status
            expect((status == 405) == (method not in methods), f"{method} {path}: {status}")
    for path in ("/v2", "/v2/catalog/", "/v2/service_instances", "/v2/service_instances/", "/v1/catalog", "/",
                 inst("a") + "/", inst("a") + "/service_bindings", bind("a", "b") + "/x", inst("a%20b"), inst("a" * 300)):
        c.must(404, "GET", path, says="no such route")


@check
def the_request_identity_comes_back(c):
    for status, path, headers in ((200, "/v2/catalog", {}), (404, inst("no"), {}), (404, "/v2/x", {}),
                                  (401, "/v2/catalog", {"Authorization": None}),
                                  (412, "/v2/catalog", {"X_Broker_API_Version": "9"})):
        mine = c.new_id()
        answer = c.must(status, "GET", path, X_Broker_API_Request_Identity=mine, **headers)
        expect(answer.headers["X-Broker-API-Request-Identity"] == mine, f"{path}: not echoed")
        expect(c.must(status, "GET", path, **headers).headers["X-Broker-API-Request-Identity"] is None, "invented")


@check
def who_it_was_for_is_in_the_audit_log(c):
    who = "cloudfoundry " + base64.b64encode(b'{"user_id":"683ea748-3092"}').decode()
    mine, instance = c.new_id(), c.new_id()
    c.must(201, "PUT", inst(instance), body_of("share", dict(SHARE, username="joe", password=PASSWORD)),
           X_Broker_API_Originating_Identity=who, X_Broker_API_Request_Identity=mine)
    for broken in ("", "cloudfoundry", "cloudfoundry !!!", "x " + base64.b64encode(b"[1]").decode(), "a" * 3000):
        c.must(200, "PUT", inst(instance), body_of("share", dict(SHARE, username="joe", password=PASSWORD)),
               X_Broker_API_Originating_Identity=broken)
    with open(c.audit, encoding="utf-8") as f:
        text = f.read()
    lines = [json.loads(line) for line in text.splitlines()]
    mine = [line for line in lines if line.get("request") == mine]
    expect(len(mine) == 1 and mine[0]["instance"] == instance, f"lines {mine}")
    expect("683ea748-3092" in json.dumps(mine[0]) and mine[0]["user"] == c.user, f"line {mine[0]}")
    expect(PASSWORD not in text and SHARE["share"] not in text, "parameters are in the audit log")
    expect(PASSWORD.encode() not in c.must(200, "GET", inst(instance)).raw, "a fetch tells the password")
    c.drop("share", instance)


@check
def bodies_that_are_wrong_change_nothing(c):
    instance = c.new_id()
    good = body_of("folder")
    for raw in (None, b"", b"{", b"[]", b"null", b'"x"', b"{}x", b"\xff", b'{"service_id":1,"service_id":1}', b"[" * 5000):
        c.must(400, "PUT", inst(instance), raw, ASYNC)
        c.must(400, "PUT", bind(instance, "b"), raw)
        c.must(400, "PATCH", inst(instance), raw, ASYNC)
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        c.must(400, "PUT", inst(instance), good, ASYNC, Content_Type=kind, says="application/json")
    for key in ("service_id", "plan_id"):
        for value in (None, 1, "", "unknown", {}, "x" * 3000):
            body = dict(good, **{key: value})
            if value is None:
                del body[key]
            c.must(400, "PUT", inst(instance), body, ASYNC, says=key)
    c.must(400, "PUT", inst(instance), {**good, "service_id": "s-nfs"}, ASYNC)  # a plan of another service
    c.must(400, "PUT", inst(instance), {k: v for k, v in good.items() if k not in ("context", "space_guid")}, ASYNC, says="space_guid")
    for value in (1, "x", [], True):
        c.must(400, "PUT", inst(instance), {**good, "parameters": value}, ASYNC, says="parameters")
        c.must(400, "PUT", inst(instance), {**good, "context": value}, ASYNC, says="context")
    for parameters in ({"size": "1x"}, {"size": -1}, {"size": "900g"}, {"size": []}, {"sise": "1g"}, {"size": None},
                       {"mount": "relative"}, {"mount": "/a/../b"}, {"readonly": False}, {"uid": "1"}, {"pad": "x" * 40000}):
        c.must(400, "PUT", inst(instance), body_of("folder", parameters), ASYNC, says="parameter")
    c.must(413, "PUT", inst(instance), b" " * (2 << 20) + b"{}", ASYNC)
    c.must(404, "GET", inst(instance))
    c.must(410, "DELETE", inst(instance), query=ids("folder"))


# ---- section 4: the catalog ---------------------------------------------------

@check
def the_catalog_is_what_the_platform_wants(c):
    answer = c.must(200, "GET", "/v2/catalog")
    seen, names = set(), set()
    for service in answer.get("services"):
        expect(service["requires"] == ["volume_mount"] and service["bindable"] is True, f"{service}")
        expect(service["instances_retrievable"] is True and service["bindings_retrievable"] is True, "fetch is there, and not told")
        expect(re.fullmatch("[a-z0-9-]+", service["name"]) and service["name"] not in names, service["name"])
        names.add(service["name"])
        plan_names = [plan["name"] for plan in service["plans"]]
        expect(plan_names and len(set(plan_names)) == len(plan_names), f"plans {plan_names}")
        for thing in [service] + service["plans"]:
            expect(thing["id"] not in seen and thing["description"] and "\n" not in thing["description"], f"{thing}")
            seen.add(thing["id"])
        for plan in service["plans"]:
            for part, what in (("service_instance", "create"), ("service_instance", "update"), ("service_binding", "create")):
                schema = plan["schemas"][part][what]["parameters"]
                expect(schema["$schema"] and len(json.dumps(schema)) < 64 << 10 and "$ref" not in json.dumps(schema), f"{schema}")
    expect(seen >= set(PLANS) | set(PLANS.values()), f"ids {seen}")
    etag = answer.headers["ETag"]
    c.must(304, "GET", "/v2/catalog", If_None_Match=etag)
    c.must(200, "GET", "/v2/catalog", If_None_Match='"other"')


@check
def published_schemas_are_those_that_are_enforced(c):
    for service in c.must(200, "GET", "/v2/catalog").get("services"):
        for plan in service["plans"]:
            schema = plan["schemas"]["service_instance"]["create"]["parameters"]
            expect(schema["additionalProperties"] is False, "others are allowed")
            for name in schema.get("required", []):
                c.must(400, "PUT", inst("schema"), body_of(plan["id"], {}), ASYNC, says=name)
            for name, of in schema["properties"].items():
                wrong = [[], {}] + ([1] if of.get("type") == "string" else [])
                for value in wrong:
                    c.must(400, "PUT", inst("schema"), body_of(plan["id"], {**({"share": "a/b"} if plan["id"] == "share" else {}),
                                                                         name: value}), ASYNC, says=name)
    c.must(404, "GET", inst("schema"))


# ---- section 5: instances -----------------------------------------------------

@check
def repeats_of_a_creation_are_the_same_and_others_conflict(c):
    for plan in ("share", "folder", "image"):
        first = {"share": SHARE["share"], "readonly": True} if plan == "share" else {"readonly": True, "mount": "/data"}
        instance = c.make(plan, first)
        turned = json.dumps(body_of(plan, dict(reversed(first.items()))), indent=7).encode()
        c.must(200, "PUT", inst(instance), turned, ASYNC)
        c.must(200, "PUT", inst(instance), body_of(plan, first, context={"platform": "x"}), ASYNC)  # renamed meanwhile
        c.must(409, "PUT", inst(instance), body_of(plan, {k: v for k, v in first.items() if k != "readonly"}), ASYNC)
        c.must(409, "PUT", inst(instance), body_of("fixed" if plan != "share" else "folder", None), ASYNC)
        fetched = c.must(200, "GET", inst(instance))
        expect(fetched.get("parameters") == first and fetched.get("plan_id") == plan, f"{fetched.json}")
        c.must(200, "GET", inst(instance), query=ids(plan))
        c.must(404, "GET", inst(instance), query={"service_id": "other", "plan_id": plan})
        expect(fetched.get("dashboard_url", "").startswith("http"), "no dashboard_url")
        c.drop(plan, instance)


@check
def what_takes_long_is_asynchronous_only(c):
    instance = c.new_id()
    for query in (None, {"accepts_incomplete": "false"}, {"accepts_incomplete": ""}):
        c.must(422, "PUT", inst(instance), body_of("image"), query, error="AsyncRequired")
    c.must(404, "GET", inst(instance))
    instance = c.make("image")
    c.must(422, "PATCH", inst(instance), dict(ids("image"), parameters={"size": "32m"}), error="AsyncRequired")
    c.must(422, "DELETE", inst(instance), query=ids("image"), error="AsyncRequired")
    c.must(200, "GET", inst(instance))
    c.drop("image", instance)
    for plan in ("share", "folder"):  # and what is quick is not
        instance = c.new_id()
        c.must(201, "PUT", inst(instance), body_of(plan))
        c.must(200, "DELETE", inst(instance), query=ids(plan))


@check
def while_it_is_created_the_same_is_running_and_all_else_waits(c):
    instance = c.new_id()
    with c.hold_storage():
        first = c.must(202, "PUT", inst(instance), body_of("image"), ASYNC)
        expect(0 < len(first.get("operation")) <= 10000, "operation")
        again = c.must(202, "PUT", inst(instance), body_of("image"), ASYNC)
        expect(again.get("operation") == first.get("operation"), "another operation")
        c.must(409, "PUT", inst(instance), body_of("image", {"size": "32m"}), ASYNC)
        c.must(404, "GET", inst(instance))
        c.must(422, "PUT", bind(instance, "b"), bind_of("image"), error="ConcurrencyError")
        c.must(422, "PATCH", inst(instance), dict(ids("image"), parameters={"size": "32m"}), ASYNC, error="ConcurrencyError")
        for query in (None, {"operation": first.get("operation")}):
            answer = c.must(200, "GET", last(instance), query=query)
            expect(answer.get("state") == "in progress" and answer.headers["Retry-After"], f"{answer.json}")
        c.must(400, "GET", last(instance), query={"operation": "another"})
        # A deletion stops it; what the creation was asked for tells of the deletion.
        gone = c.must(202, "DELETE", inst(instance), query=dict(ids("image"), **ASYNC))
        expect(gone.get("operation") != first.get("operation"), "the deletion is the creation")
        again = c.must(202, "DELETE", inst(instance), query=dict(ids("image"), **ASYNC))
        expect(again.get("operation") == gone.get("operation"), "another deletion")
        c.must(422, "PUT", inst(instance), body_of("image"), ASYNC, error="ConcurrencyError")
        c.must(422, "PUT", bind(instance, "b"), bind_of("image"), error="ConcurrencyError")
        c.must(404, "GET", inst(instance))
    expect(c.wait(instance, gone.get("operation")) == "succeeded", "the deletion failed")
    c.must(200, "GET", last(instance), query={"operation": first.get("operation")})
    c.must(410, "DELETE", inst(instance), query=dict(ids("image"), **ASYNC))
    c.nothing_is_left()


@check
def who_waits_for_a_creation_is_told_of_its_deletion(c):
    instance = c.new_id()
    held = c.hold_storage()

    def delete():
        end = time.monotonic() + WAIT_S
        while c.call("GET", last(instance)).status != 200:
            expect(time.monotonic() < end, "no creation")
        with held:  # until the deletion has begun, or a second has passed
            gone = threading.Thread(target=lambda: answers.append(c.call("DELETE", inst(instance), query=ids("folder"))))
            gone.start()
            while time.monotonic() < end and "delet" not in json.dumps(c.call("PUT", inst(instance), body_of("folder")).json):
                time.sleep(0.02)
        gone.join()

    answers = []
    made, _ = in_parallel(2, lambda i: delete() if i else c.call("PUT", inst(instance), body_of("folder")))
    expect(made.status == 422 and made.get("error") == "ConcurrencyError", f"{made.status} {made.raw}")
    expect(answers[0].status in (200, 410), f"{answers[0].status} {answers[0].raw}")
    c.must(404, "GET", inst(instance))
    c.nothing_is_left()


@check
def an_update_changes_what_it_names_and_never_makes_smaller(c):
    instance = c.make("folder", {"mount": "/data", "size": "32m"})
    path = inst(instance)
    c.must(200, "PATCH", path, dict(ids("folder"), parameters={"size": "64m"}))
    expect(c.must(200, "GET", path).get("parameters") == {"mount": "/data", "size": "64m"}, "what was absent changed")
    c.must(200, "PATCH", path, {"service_id": "s-vol", "context": {"instance_name": "renamed"}})
    c.must(200, "PATCH", path, {"service_id": "s-vol", "plan_id": "folder2", "previous_values": {"plan_id": "folder"}})
    expect(c.must(200, "GET", path).get("plan_id") == "folder2", "the plan")
    smaller = c.must(422, "PATCH", path, {"service_id": "s-vol", "parameters": {"size": "16m"}}, says="smaller")
    expect(smaller.get("update_repeatable") is False and smaller.get("instance_usable") is True, f"{smaller.json}")
    c.must(422, "PATCH", path, {"service_id": "s-vol", "plan_id": "image"})
    c.must(400, "PATCH", path, {"service_id": "s-vol", "parameters": {"nothing": 1}}, says="nothing")
    c.must(400, "PATCH", path, {"service_id": "s-vol", "plan_id": "unknown"}, says="plan_id")
    c.must(400, "PATCH", path, {"service_id": "s-nfs"})
    c.must(400, "PATCH", path, {"parameters": {}}, says="service_id")
    c.must(404, "PATCH", inst("no"), {"service_id": "s-vol"})
    expect(c.must(200, "GET", path).get("parameters") == {"mount": "/data", "size": "64m"}, "a refusal changed it")
    c.drop("folder2", instance)
    fixed = c.make("fixed")
    c.must(422, "PATCH", inst(fixed), {"service_id": "s-vol", "plan_id": "folder"})
    c.must(400, "PATCH", inst(fixed), {"service_id": "s-vol", "parameters": {"size": "64m"}}, says="size")
    c.drop("fixed", fixed)


@check
def equal_updates_are_one(c):
    for size in ("32m", "48m", "64m"):
        instance = c.make("folder")
        grow = dict(ids("folder"), parameters={"size": size})
        statuses = [a.status for a in in_parallel(CLIENTS, lambda i, p=inst(instance), g=grow: c.call("PATCH", p, g))]
        expect(statuses == [200] * CLIENTS, f"{statuses}")
        c.drop("folder", instance)


@check
def while_it_is_updated_all_else_waits(c):
    instance = c.make("image")
    grow = dict(ids("image"), parameters={"size": "32m"})
    with c.hold_storage():
        first = c.must(202, "PATCH", inst(instance), grow, ASYNC)
        expect(c.must(202, "PATCH", inst(instance), grow, ASYNC).get("operation") == first.get("operation"), "another")
        c.must(422, "PATCH", inst(instance), dict(ids("image"), parameters={"size": "48m"}), ASYNC, error="ConcurrencyError")
        c.must(422, "GET", inst(instance), error="ConcurrencyError")
        c.must(422, "DELETE", inst(instance), query=dict(ids("image"), **ASYNC), error="ConcurrencyError")
    expect(c.wait(instance, first.get("operation")) == "succeeded", "the update failed")
    expect(c.must(200, "GET", inst(instance)).get("parameters") == {"size": "32m"}, "the size")
    c.drop("image", instance)


@check
def maintenance_info_has_to_be_the_catalogs(c):
    for wrong in ("2.0.0", "", 1):
        c.must(422, "PUT", inst("m"), body_of("fixed", maintenance_info={"version": wrong}), error="MaintenanceInfoConflict")
    c.must(422, "PUT", inst("m"), body_of("folder", maintenance_info={"version": "1.0.0"}), error="MaintenanceInfoConflict")
    c.must(201, "PUT", inst("m"), body_of("fixed", maintenance_info={"version": "1.0.0"}))
    expect(c.must(200, "GET", inst("m")).get("maintenance_info") == {"version": "1.0.0"}, "not told")
    c.must(422, "PATCH", inst("m"), dict(ids("fixed"), maintenance_info={"version": "3.0.0"}), error="MaintenanceInfoConflict")
    c.must(200, "PATCH", inst("m"), dict(ids("fixed"), maintenance_info={"version": "1.0.0"}))
    c.drop("fixed", "m")


@check
def a_deletion_wants_its_ids_and_no_bindings(c):
    instance = c.make("folder")
    for query in (None, {"service_id": "s-vol"}, {"plan_id": "folder"}, {"service_id": "", "plan_id": ""}):
        c.must(400, "DELETE", inst(instance), query=query, says="required")
        c.must(400, "DELETE", bind(instance, "b"), query=query, says="required")
    c.must(400, "DELETE", inst(instance), query={"service_id": "s-nfs", "plan_id": "folder"})
    c.must(201, "PUT", bind(instance, "b"), bind_of("folder"))
    c.must(422, "DELETE", inst(instance), query=ids("folder"), says="unbind")
    c.must(200, "DELETE", bind(instance, "b"), query=ids("folder"))
    expect(c.must(200, "DELETE", inst(instance), query=ids("folder")).json == {}, "body")
    expect(c.must(410, "DELETE", inst(instance), query=ids("folder")).json == {}, "body")
    c.must(410, "DELETE", inst("never"), query=ids("folder"))
    c.must(410, "DELETE", inst("never"), query=ids("image"))
    c.must(404, "GET", last("never"))
    expect(c.must(200, "GET", last(instance)).get("state") == "succeeded", "the end is forgotten")
    c.must(201, "PUT", inst(instance), body_of("folder"))  # the id may come again
    c.drop("folder", instance)


# ---- sections 6 and 8: bindings ------------------------------------------------

def mount_of(answer):
    expect(answer.get("credentials") == {}, f"credentials {answer.get('credentials')}")
    (mount,) = answer.get("volume_mounts")
    expect(set(mount) == {"driver", "container_dir", "mode", "device_type", "device"}, f"{mount}")
    expect(mount["device_type"] == "shared" and mount["mode"] in ("r", "rw") and mount["container_dir"][0] == "/", f"{mount}")
    expect(mount["driver"] == "persifs" and isinstance(mount["device"]["volume_id"], str), f"{mount}")
    expect(isinstance(mount["device"]["mount_config"], dict) and len(json.dumps(mount)) < 64 << 10, f"{mount}")
    return mount


@check
def a_binding_tells_the_cell_how_to_mount(c):
    seen = {}
    options = [None, {"readonly": True}, {"uid": 1000, "gid": 1000}, {"uid": "1001", "gid": "1001"}, {"cache": False},
               {"version": "4.1"}, {"username": "joe", "password": PASSWORD}, {"username": "joe", "password": "other"}]
    instance = c.make("share")
    for n, parameters in enumerate(options):
        answer = c.must(201, "PUT", bind(instance, f"b{n}"), bind_of("share", f"app-{n}", parameters))
        mount = mount_of(answer)
        expect((mount["mode"] == "r") == bool(parameters and "readonly" in parameters), f"{mount}")
        expect(mount["container_dir"] == f"/var/vcap/data/{instance}", f"{mount}")
        expect(mount["device"]["mount_config"]["source"] == "nfs://" + SHARE["share"], f"{mount}")
        volume = mount["device"]["volume_id"]
        expect(volume not in seen, f"{parameters} and {seen.get(volume)} have one volume_id")
        seen[volume] = parameters
        again = c.must(200, "PUT", bind(instance, f"b{n}"), bind_of("share", f"app-{n}", parameters))
        expect(again.json == answer.json, "a repeat differs")
        fetched = c.must(200, "GET", bind(instance, f"b{n}"))
        expect(fetched.get("volume_mounts") == answer.get("volume_mounts"), "a fetch differs")
        expect("password" not in fetched.get("parameters", {}), "a fetch tells the password")
        expect(c.must(200, "GET", bind(instance, f"b{n}") + "/last_operation").get("state") == "succeeded", "state")
    # Equal options are one volume on a cell, whichever app has them; where it appears is no matter of the mount.
    other = c.must(201, "PUT", bind(instance, "c"), bind_of("share", "app-9", {"readonly": True, "mount": "/elsewhere"}))
    expect(mount_of(other)["device"]["volume_id"] in seen and mount_of(other)["container_dir"] == "/elsewhere", f"{other.json}")
    for name in [f"b{n}" for n in range(len(options))] + ["c"]:
        expect(c.must(200, "DELETE", bind(instance, name), query=ids("share")).json == {}, "body")
        expect(c.must(410, "DELETE", bind(instance, name), query=ids("share")).json == {}, "body")
        c.must(404, "GET", bind(instance, name))
        c.must(410, "GET", bind(instance, name) + "/last_operation")
    c.drop("share", instance)


@check
def bindings_that_differ_conflict_and_wrong_ones_are_refused(c):
    instance = c.make("share")
    path = bind(instance, "b")
    c.must(422, "PUT", path, dict(ids("share"), context=CONTEXT), error="RequiresApp")
    c.must(422, "PUT", path, dict(ids("share"), bind_resource={"credential_client_id": "x"}), error="RequiresApp")
    c.must(422, "PUT", path, dict(ids("share"), bind_resource={}, app_guid=None), error="RequiresApp")
    c.must(400, "PUT", path, dict(ids("share"), app_guid=7))
    for parameters, word in (({"share": "other/path"}, "share"), ({"source": "x"}, "source"), ({"nfs": 1}, "nfs"), ({"readonly": False}, "readonly"),
                             ({"uid": 0, "gid": 0}, "uid"), ({"uid": 5}, "gid"), ({"username": "x"}, "password"),
                             ({"mount": "x"}, "mount"), ({"version": "2"}, "version")):
        c.must(400, "PUT", path, bind_of("share", parameters=parameters), says=word)
    c.must(404, "PUT", bind("never", "b"), bind_of("share"))
    c.must(400, "PUT", path, bind_of("folder"))  # of another plan
    c.must(404, "GET", path)
    c.must(410, "DELETE", path, query=ids("share"))
    c.must(201, "PUT", path, bind_of("share", "a", {"readonly": True}))
    c.must(409, "PUT", path, bind_of("share", "b", {"readonly": True}))
    c.must(409, "PUT", path, bind_of("share", "a"))
    c.must(400, "DELETE", path, query={"service_id": "s-vol", "plan_id": "folder"})
    # The same binding id of another instance is another binding; a successor takes over.
    other = c.make("share")
    c.must(201, "PUT", bind(other, "b"), bind_of("share", "z"))
    c.must(400, "PUT", bind(other, "c"), bind_of("share", predecessor_binding_id="never"), says="predecessor")
    new = c.must(201, "PUT", bind(instance, "n"), bind_of("share", "a", predecessor_binding_id="b"))
    expect(mount_of(new)["mode"] == "r", "the successor has other parameters")
    c.must(200, "GET", path)
    for i, b in ((instance, "b"), (instance, "n"), (other, "b")):
        c.must(200, "DELETE", bind(i, b), query=ids("share"))
    c.drop("share", instance)
    c.drop("share", other)


@check
def a_disk_is_for_one_app(c):
    instance = c.make("image")
    c.must(201, "PUT", bind(instance, "a"), bind_of("image", "first"))
    c.must(422, "PUT", bind(instance, "b"), bind_of("image", "second"), says="one app")
    c.must(201, "PUT", bind(instance, "c"), bind_of("image", "first", {"readonly": True}))
    for name in ("a", "c", "b"):
        if name == "b":
            c.must(201, "PUT", bind(instance, "b"), bind_of("image", "second"))
        c.must(200, "DELETE", bind(instance, name), query=ids("image"))
    c.drop("image", instance)


# ---- section 9: orphans ---------------------------------------------------------

FINE = {"PUT": {200, 201, 202, 404, 409, 422}, "DELETE": {200, 202, 410, 422}}


def some_request(c, plan, instance):
    binding = c.random.choice("ab")
    return c.random.choice([("PUT", inst(instance), body_of(plan), ASYNC)] * 2 + [
        ("PUT", bind(instance, binding), bind_of(plan, "app"), None),
        ("DELETE", bind(instance, binding), None, ids(plan)),
        ("DELETE", inst(instance), None, dict(ids(plan), **ASYNC))])


def send_some(c, requests):
    for lost, (method, path, body, query) in requests:
        if lost:
            c.call_and_lose(method, path, body, query)
            continue
        answer = c.call(method, path, body, query)
        expect(answer.status in FINE[method], f"{method} {path}: {answer.status} {answer.raw}")
        # 404: nothing to be bound; a deletion never says so
        expect(answer.status != 404 or "service_bindings" in path, f"{method} {path}: 404")


def delete_until_gone(c, plan, instance):
    """In any order, as what is in doubt comes up; again and again, until each was 200 or 410."""
    left = [bind(instance, "a"), bind(instance, "b"), inst(instance)]
    end = time.monotonic() + WAIT_S
    while left:
        expect(time.monotonic() < end, f"still there: {left}")
        c.random.shuffle(left)
        for path in list(left):
            query = ids(plan) if "service_bindings" in path else dict(ids(plan), **ASYNC)
            answer = c.call("DELETE", path, query=query)
            expect(answer.status in FINE["DELETE"], f"DELETE {path}: {answer.status} {answer.raw}")
            if answer.status in (200, 410):
                left.remove(path)
            elif answer.status == 202:
                expect(c.wait(instance, answer.get("operation")) in ("succeeded", "gone"), "the deletion failed")


@check
def orphans_are_deleted_in_any_order(c):
    for number in range(c.rounds):
        plan = c.random.choice(["share", "folder", "image"])
        instance = c.new_id()
        requests = [(c.random.random() < 0.3, some_request(c, plan, instance)) for _ in range(c.random.randint(1, 8))]
        try:
            if number % 3:
                send_some(c, requests)
            else:  # two at a time, as two Cloud Controllers would
                in_parallel(2, lambda i, r=requests: send_some(c, r[i::2]))
            delete_until_gone(c, plan, instance)
            c.must(404, "GET", inst(instance))
            c.must(410, "DELETE", inst(instance), query=dict(ids(plan), **ASYNC))
        except Failed as err:
            raise Failed(f"round {number} with {plan}: {requests}: {err}") from None
    c.nothing_is_left()


@check
def of_those_who_want_the_same_one_makes_it(c):
    instance = c.new_id()
    answers = in_parallel(CLIENTS, lambda i: c.call("PUT", inst(instance), body_of("image"), ASYNC))
    statuses = sorted(answer.status for answer in answers)
    expect(set(statuses) <= {200, 202}, f"{statuses}")
    expect(len({a.get("operation") for a in answers if a.status == 202}) == 1, "several operations")
    c.wait(instance)
    expect(len(c.volumes()) == 1, f"volumes: {c.volumes()}")
    answers = in_parallel(CLIENTS, lambda i: c.call("PUT", bind(instance, "b"), bind_of("image", f"app-{i}")))
    expect(sorted(a.status for a in answers) == [201] + [409] * (CLIENTS - 1), f"{[a.status for a in answers]}")
    c.must(200, "DELETE", bind(instance, "b"), query=ids("image"))
    answers = in_parallel(CLIENTS, lambda i: c.call("DELETE", inst(instance), query=dict(ids("image"), **ASYNC)))
    expect({a.status for a in answers} <= {202, 410}, f"{[a.status for a in answers]}")
    c.wait(instance)
    c.nothing_is_left()


# ---- SIGHUP -----------------------------------------------------------------------

def write_settings(c, text):
    with open(c.config + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.rename(c.config + ".new", c.config)


def reload(c, text, says):
    before = c.log_has(says)
    write_settings(c, text)
    os.kill(c.pid, signal.SIGHUP)
    end = time.monotonic() + 20
    while c.log_has(says) == before:
        expect(time.monotonic() < end, f"the log does not say '{says}'")
        time.sleep(0.02)


def work_until(c, stop, done, i):
    instance, n = f"hup-{i}", 0
    while not stop.is_set() or n == 0:
        c.must(201, "PUT", inst(instance), body_of("share"))
        c.must(201, "PUT", bind(instance, "b"), bind_of("share"))
        c.must(200, "GET", "/v2/catalog")
        c.must(200, "DELETE", bind(instance, "b"), query=ids("share"))
        c.must(200, "DELETE", inst(instance), query=ids("share"))
        n += 5
        done[i] = n


@check
def users_change_by_SIGHUP_while_others_work(c):
    good, stop, done = c.settings(), threading.Event(), [0] * CLIENTS
    original = json.dumps(good)

    def change(_):
        try:
            for n in range(5):
                new = copy.deepcopy(good)
                new["users"].append({"name": "rotated", "password": f"password-{n}"})
                reload(c, json.dumps(new), "the new configuration holds")
                c.must(200, "GET", "/v2/catalog", Authorization=basic("rotated", f"password-{n}"))
                c.must(401, "GET", "/v2/catalog", Authorization=basic("rotated", f"password-{n - 1}"))
            for wrong in ("{", json.dumps({**good, "users": []}), json.dumps({**good, "colour": 1}),
                          json.dumps({**good, "services": []}), ""):
                reload(c, wrong, "the new configuration is not taken")
                c.must(200, "GET", "/v2/catalog", Authorization=basic("rotated", "password-4"))
            reload(c, original, "the new configuration holds")
            c.must(401, "GET", "/v2/catalog", Authorization=basic("rotated", "password-4"))
        finally:
            stop.set()
            write_settings(c, original)

    in_parallel(CLIENTS + 1, lambda i: change(i) if i == CLIENTS else work_until(c, stop, done, i))
    print(f"     {sum(done)} requests of {CLIENTS} clients during 11 reloads, none failed")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--config", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--ca")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only")
    args = parser.parse_args()
    client = Client(args)
    print(f"seed {args.seed}")
    for function in CHECKS:
        words, start = function.__name__.replace("_", " "), time.monotonic()
        if args.only and args.only not in function.__name__:
            continue
        try:
            function(client)
        except (Failed, OSError, ValueError, http.client.HTTPException) as err:
            sys.exit(f"FAIL {words}: {type(err).__name__}: {err}")
        print(f"ok   {words} ({(time.monotonic() - start) * 1000:.0f} ms)", flush=True)


if __name__ == "__main__":
    main()
