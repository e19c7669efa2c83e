#!/usr/bin/env python3
"""Kills pagurusd at random moments under load and checks that nothing it acknowledged is lost.

    tests/crash/crash_test.py --build build/dev --kills 200 [--seed N]

Load, all at once, each worker on its own connection: release drafts with an image (up to 200 kB), progress reports of
enrolled devices over mutual TLS, commands for devices. After every kill -9 the daemon is started again; it must be ready
in under 2 s, show every draft, image, report and command it ever acknowledged, and hold no blob whose content is not
its name. Ends with `crash-test: N passed, N failed` (one test a kill); prints the seed to run it again.
"""
import argparse
import hashlib
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))
import cborish  # noqa: E402
import conftest  # noqa: E402
import signing  # noqa: E402

PRODUCT = "thermometer"  # what the example firmware says it is
READY_S = 2.0
CBOR = {"Content-Type": "application/cbor"}
DOWNLOADING = 1


class Load:
    """Workers that go on through restarts and remember only what was acknowledged."""

    def __init__(self, server, owner, devices, seed):
        self.server, self.owner, self.devices, self.seed = server, owner, devices, seed
        self.up = threading.Event()
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.images = {}    # release id -> sha256 of the acknowledged image, None before that
        self.published = set()
        self.commands = []  # (device id, command id)
        self.progress = {}  # device id -> highest progress acknowledged
        self.refused = []
        self.threads = [threading.Thread(target=self.loop, args=(step, n), daemon=True)
                        for n, step in enumerate([self.publish, self.publish, self.command] +
                                                 [self.report(d) for d in devices])]

    def loop(self, step, number):
        rng = random.Random(f"{self.seed}/{number}")
        count = 0
        while not self.stop.is_set():
            if not self.up.wait(0.05):
                continue
            count += 1
            try:
                step(rng, f"{number}.{count}")
            except (OSError, EOFError, ConnectionError, TimeoutError):
                time.sleep(0.01)  # the daemon was just killed; not acknowledged, so nothing is claimed
            except Exception as error:  # pylint: disable=broad-except
                if self.up.is_set():
                    with self.lock:
                        self.refused.append(f"{step}: {error!r}")

    def expect(self, reply, statuses, what):
        if reply.status in statuses:
            return True
        with self.lock:
            self.refused.append(f"{what}: {reply.status} {reply.body[:200]}")
        return False

    def publish(self, rng, name):
        version = f"0.{name}"
        draft = self.server.call("POST", "/releases", {"product": "crash-load", "version": version,
                                                        "channel": "stable"})
        if not self.expect(draft, (201,), "draft"):
            return
        release = draft.json["id"]
        with self.lock:
            self.images.setdefault(release, None)
        data = rng.randbytes(rng.randrange(1, 200_000))
        if not self.expect(self.server.upload(release, data, "filesystem"), (201,), "image"):
            return
        with self.lock:
            self.images[release] = hashlib.sha256(data).hexdigest()
        if rng.random() < 0.3:
            self.owner.sign(draft.json, version, data, "filesystem")
            done = self.server.call("POST", f"/releases/{release}:publish")
            if done.status != 422 and self.expect(done, (200,), "publish"):  # 422: a higher version was faster
                with self.lock:
                    self.published.add(release)

    def command(self, rng, _name):
        device = rng.choice(self.devices).id
        reply = self.server.call("POST", f"/devices/{device}/commands", {"kind": "identify", "ttl_s": 86400})
        if reply.status == 409 and b"waiting" in reply.body:  # 64 wait for this device: nothing was acknowledged
            time.sleep(0.05)
        elif self.expect(reply, (201,), "command"):
            with self.lock:
                self.commands.append((device, reply.json["id"]))

    def report(self, device):
        def step(_rng, _name):
            percent = min(self.progress.get(device.id, 0) + 1, 99)
            body = cborish.dumps({1: device.action, 2: DOWNLOADING, 3: percent, 6: device.manifest_digest, 7: bytes(32),
                                  8: percent})
            if self.expect(device.request("POST", "/v1/report", body, CBOR), (200, 204), "report"):
                with self.lock:
                    self.progress[device.id] = percent
            time.sleep(0.005)
        return step


def rest_all(server, path):
    """Every row of a list, page by page."""
    cursor, rows = "", []
    while True:
        page = server.rest("GET", f"{path}{'&' if '?' in path else '?'}limit=1000{cursor}")
        rows += page["items"]
        if not page.get("next_cursor"):
            return rows
        cursor = f"&cursor={page['next_cursor']}"


def lost(server, load, full):
    """What was acknowledged and is not there; with full, the content of every image as well."""
    with load.lock:
        images, commands, published = dict(load.images), list(load.commands), set(load.published)
        progress = dict(load.progress)
    missing = []
    shown = {r["id"]: r for r in rest_all(server, "/releases?product=crash-load")}
    for release, digest in images.items():
        have = shown.get(release)
        if have is None:
            missing.append(f"draft {release}")
        elif digest and digest not in [i["sha256"] for i in have["images"]]:
            missing.append(f"image {digest} of {release}")
        elif release in published and have["state"] != "published":
            missing.append(f"publishing of {release}: shown {have['state']}")
        elif full and digest:
            got = server.call("GET", f"/releases/{release}/images/filesystem")
            if got.status != 200 or hashlib.sha256(got.body).hexdigest() != digest:
                missing.append(f"bytes of {digest}: {got.status}")
    for device in {d for d, _ in commands}:
        have = {c["id"] for c in rest_all(server, f"/devices/{device}/commands")}
        missing += [f"command {c} of {d}" for d, c in commands if d == device and c not in have]
    for device, percent in progress.items():
        action = server.rest("GET", f"/devices/{device}").get("action") or {}
        if action.get("progress", -1) < percent:
            missing.append(f"report {percent} % of {device}: shown {action}")
    return missing


def torn_blobs(data):
    """Files under blobs/ that are visible by digest and hold something else."""
    bad = []
    for path in (data / "blobs").rglob("*"):
        if path.is_file() and len(path.name) == 64 and hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            bad.append(path.name)
    return bad


def enrolled_with_offer(server):
    """Devices with an open action, so that their reports count."""
    image = (conftest.BUILD / "pagurus-posix-device-1.0.0").read_bytes()
    signing.Publisher(server, PRODUCT).publish("1.0.0", image)
    devices = [server.enroll(PRODUCT, f"5ccf7f{n:06x}") for n in range(6)]
    check = cborish.dumps({1: bytes(32), 2: "0.9", 3: 0, 4: 0, 5: 1, 6: 0, 7: 0, 8: 1 << 22, 9: 255, 10: b"posix",
                           11: 1, 13: 1})
    for device in devices:
        reply = device.request("POST", "/v1/check", check, CBOR)
        assert reply.status == 200, (reply.status, reply.body)
        offer = cborish.loads(reply.body)
        device.action, device.manifest_digest = offer[1], hashlib.sha256(offer[2]).digest()
    return devices


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/dev", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("PAG_SEED", time.time_ns() % 1_000_000)))
    args = parser.parse_args()
    conftest.BUILD = args.build.resolve()
    print(f"crash-test: seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    passed = failed = 0
    ready_s = []
    with tempfile.TemporaryDirectory(prefix="pagurus-crash-") as folder:
        server = conftest.Server(folder, "mqtt.mode=off").init().start()
        try:
            devices = enrolled_with_offer(server)
            load = Load(server, signing.Publisher(server, "crash-load"), devices, args.seed)
            for thread in load.threads:
                thread.start()
            load.up.set()
            for kill in range(1, args.kills + 1):
                time.sleep(rng.uniform(0.02, 0.35))
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
                load.up.clear()
                time.sleep(0.02)
                began = time.monotonic()
                server.start()
                ready_s.append(time.monotonic() - began)
                problems = [f"ready after {ready_s[-1]:.2f} s"] if ready_s[-1] >= READY_S else []
                problems += lost(server, load, full=kill == args.kills or kill % 25 == 0) + torn_blobs(server.data)
                with load.lock:
                    problems += load.refused
                    load.refused.clear()
                for problem in problems:
                    print(f"kill {kill}: {problem}", flush=True)
                passed, failed = passed + (not problems), failed + bool(problems)
                load.up.set()
            load.stop.set()
            for thread in load.threads:
                thread.join(10)
            images = sum(1 for digest in load.images.values() if digest)
            print(f"crash-test: {images} images, {len(load.commands)} commands, {sum(load.progress.values())} reports "
                  f"acknowledged; ready in {statistics.median(ready_s):.2f} s (median), {max(ready_s):.2f} s (worst)")
        finally:
            server.stop(signal.SIGKILL)
    print(f"crash-test: {passed} passed, {failed} failed")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
