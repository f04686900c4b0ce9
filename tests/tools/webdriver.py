#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""webdriver.py - looks at pages with headless Chromium, as somebody with a phone and with a desktop does

    webdriver.py --shots PREFIX [--size WxH]... < PAGES

A line of PAGES is a JSON object: name, url, has and lacks (lists of texts). For each, in each size, light or
dark by turns (the first: both): the page fits without horizontal scrolling, shows each text of has and none of lacks, asks nothing of
anybody but its own address, writes nothing to the console, and runs no script. PREFIX-NAME-WxH-SCHEME.png is what it
looks like. Chromium is driven by chromedriver's HTTP interface; both end with this program.
"""
import argparse
import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

LIMIT_S = 60  # of each answer
SCHEMES = ("light", "dark")
ELEMENT = "document.documentElement"


class Failed(Exception):
    pass


def expect(true, text):
    if not true:
        raise Failed(text)


class Browser:
    """A chromedriver and its browser; a context manager."""

    def __init__(self, log):
        self.home = tempfile.mkdtemp(prefix="chromium-")
        self.log = open(log, "ab")
        env = dict(os.environ, HOME=self.home, XDG_RUNTIME_DIR=self.home)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=self.log, env=env, text=True)
        self.session = None
        # Not through a proxy that the environment may name.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self):
        try:
            self.base = "http://127.0.0.1:%d" % self.port()
            options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                                "--no-first-run", "--disable-background-networking", "--disable-extensions",
                                "--user-data-dir=" + os.path.join(self.home, "profile")]}
            always = {"browserName": "chrome", "goog:chromeOptions": options,
                      "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                      "unhandledPromptBehavior": "ignore"}
            answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": always}})
            self.session = answer["sessionId"]
            self.of("POST", "url", {"url": "about:blank"})
            self.requests()  # those of the page that it started with, and what that one said
            self.logs("browser")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def port(self):
        for line in self.driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                return int(found.group(1))
        raise Failed("chromedriver does not start")

    def close(self):
        if self.session:
            try:
                self.call("DELETE", "/session/" + self.session)
            except (Failed, OSError):
                pass
        self.driver.terminate()
        try:
            self.driver.wait(10)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait()
        self.driver.stdout.close()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method, path, body=None):
        data = None if method in ("GET", "DELETE") else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self.opener.open(request, timeout=LIMIT_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            value = json.load(e)["value"]
            raise Failed(f"{method} {path}: {value['error']}: {value['message'].splitlines()[0]}") from None

    def of(self, method, path, body=None):
        return self.call(method, f"/session/{self.session}/{path}", body)

    def cdp(self, cmd, **params):
        return self.of("POST", "goog/cdp/execute", {"cmd": cmd, "params": params})

    def run(self, expression):
        return self.of("POST", "execute/sync", {"script": "return " + expression, "args": []})

    def size(self, width, height, mobile):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def scheme(self, name):
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def logs(self, kind):
        return self.of("POST", "se/log", {"type": kind})

    def requests(self):
        """Addresses that were asked for since the last call."""
        found = []
        for entry in self.logs("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def shot(self, path):
        data = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as out:
            out.write(base64.b64decode(data))

    def has_alert(self):
        try:
            self.of("GET", "alert/text")
        except Failed:
            return False
        return True


def same_origin(url, other):
    a, b = urllib.parse.urlsplit(url), urllib.parse.urlsplit(other)
    return (a.scheme, a.netloc) == (b.scheme, b.netloc)


def look(browser, page, width, height, scheme, shot):
    url = page["url"]
    browser.scheme(scheme)
    browser.size(width, height, width < 600)
    browser.of("POST", "url", {"url": url})
    expect(not browser.has_alert(), "a script ran: there is an alert")
    asked = browser.requests()
    expect(url in asked, f"the page itself is not among {asked}")
    for other in asked:
        expect(same_origin(url, other), f"asks for {other}")
    console = [entry for entry in browser.logs("browser") if "status of 40" not in entry["message"]]
    expect(not console, f"on the console: {[entry['message'] for entry in console]}")
    expect(browser.run("document.scripts.length") == 0, "there are scripts")
    expect(browser.run("document.querySelectorAll('[onload],[onerror],img,iframe,object,form').length") == 0,
           "there are elements that came with the texts")
    inner, shown = browser.run("innerWidth"), browser.run(ELEMENT + ".scrollWidth")
    expect(inner == width, f"laid out for {inner} pixels")
    expect(shown <= width, f"{shown} pixels wide in a window of {width}")
    wide = browser.run("[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth)"
                       ".map(e => e.outerHTML.slice(0, 80))")
    expect(not wide, f"sticks out: {wide}")
    text = browser.run("document.body.innerText")
    for part in page.get("has", []):
        expect(part in text, f"'{part}' is not in '{text}'")
    for part in page.get("lacks", []):
        expect(part not in text, f"'{part}' is in '{text}'")
    # The style sheet was let in, and knows both schemes.
    back = browser.run("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", back)[:3])) > 380
    expect(light == (scheme == "light"), f"the background is {back} in {scheme}")
    browser.shot(shot)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shots", required=True)
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("--size", action="append", default=[])
    args = parser.parse_args()
    pages = [json.loads(line) for line in sys.stdin]
    with Browser(args.log) as browser:
        for page, size, scheme in itertools.product(pages, args.size, SCHEMES):
            if page is not pages[0] and (args.size.index(size) + SCHEMES.index(scheme)) % 2:
                continue
            try:
                look(browser, page, *map(int, size.split("x")), scheme, f"{args.shots}-{page['name']}-{size}-{scheme}.png")
            except Failed as e:
                sys.exit(f"page {page['name']}, {size}, {scheme}: {e}")
    print(f"{len(pages)} pages in {len(args.size)} sizes, light or dark")


if __name__ == "__main__":
    main()
