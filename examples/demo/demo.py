#!/usr/bin/env python3
"""Shows a signed firmware update reaching a fleet, from an empty folder on.

    demo.py --build build/release                 server in ./var on the default ports; stays up afterwards
    demo.py --build build/release --demo --exit   own folder, free ports, no terminal; exit 0 only when all of it held

What happens: pagurusd init; a product, signing keys and an enrolment code by the pagurus command; version 1.0.0 of a
real ESP8266 image is pushed; 50 simulated devices that were flashed with it enrol and send readings over MQTT;
version 2.0.0 is pushed; every device comes to what it must come to. The counts are read from REST and compared with
what is in each simulated device's flash."""

import argparse
import datetime
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRODUCT, HARDWARE = "meter", "d1mini"
OLD, NEW = "1.0.0", "2.0.0"
DEVICES, LEGACY = 50, 6
FAULTS = {"power-cut": 1, "corrupt": 1, "crash": 1, "foreign": 1, "untrusted": 2, "wrong-chip": 1}
MUST_REFUSE = ("foreign", "untrusted", "wrong-chip")
SLOT_BYTES = 524288
START_S, UPDATE_S = 60, 150


class Failed(Exception):
    """Something did not hold; the text says what."""


def wait(what, check, seconds, every=0.25):
    """The first true value of check()."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain: {what}")
        time.sleep(every)


class Demo:
    """One installation, its daemon, its fleet."""

    def __init__(self, build, data, free_ports):
        self.build, self.data, self.free_ports = build, data, free_ports
        self.work = data / "demo"
        self.daemon = self.fleet = None
        self.ports = {}
        self.token = None
        self.report = self.work / "fleet.json"
        self.table = Table()

    # -- programs --------------------------------------------------------------------------------------------

    def say(self, text):
        self.table.clear()
        print(text, flush=True)

    def pagurusd(self, verb, *words):
        # The whole fleet enrols from this machine's address.
        settings = ["--set", "limits.claims_per_minute=1000"]
        if self.free_ports:
            for name in ("console", "device", "mqtt"):
                settings += ["--set", f"{name}.port=0", "--set", f"{name}.address=127.0.0.1"]
        return [self.build / "pagurusd", verb, "--data", self.data, *settings, *words]

    @staticmethod
    def call(words, env=None, seconds=120):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds, env=env,
                              check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(str(word) for word in words[:4])} … ended with {done.returncode}:\n"
                         f"{done.stdout}{done.stderr}")
        return done.stdout

    def pagurus(self, *words):
        """The command line, as a person would use it; its JSON."""
        env = dict(os.environ, XDG_CONFIG_HOME=str(self.work / "config"), PAGURUS_SERVER=self.url(),
                   PAGURUS_CA=str(self.root), PAGURUS_TOKEN_FILE=str(self.token_file))
        out = self.call([self.build / "pagurus", *words, "--json", "--no-input", "--yes"], env)
        return json.loads(out) if out.strip() else None

    def url(self):
        return f"https://localhost:{self.ports['console']}"

    @property
    def root(self):
        return self.data / "ca" / "root.pem"

    @property
    def token_file(self):
        return self.data / "admin-token"

    # -- REST ------------------------------------------------------------------------------------------------

    def get(self, path, token=True):
        context = ssl.create_default_context(cafile=str(self.root))
        connection = http.client.HTTPSConnection("localhost", self.ports["console"], timeout=20, context=context)
        try:
            headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}"} if token else {}
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def rest(self, path):
        status, body = self.get("/api/v1" + path)
        if status != 200:
            raise Failed(f"GET {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def devices(self):
        """All devices of the product by id."""
        items = self.rest(f"/devices?product={PRODUCT}&limit=1000")["items"]
        return {item["id"]: item for item in items}

    def readings(self, device_id):
        """When the newest reading arrived, or None."""
        data = self.rest(f"/devices/{device_id}/data")["data"]
        times = [item["at"] for item in data if item["topic"].endswith("temp")]
        return max(times, default=None)

    # -- the steps -------------------------------------------------------------------------------------------

    def init(self):
        self.data.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(mode=0o700, exist_ok=True)
        secret = self.work / "passphrase"
        secret.write_text("the demo's own passphrase\n")
        secret.chmod(0o600)
        names = "localhost,127.0.0.1"
        out = self.call(self.pagurusd("init", "--json", "--names", names, "--passphrase-file", secret))
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(json.loads(out)["token"] + "\n")
        self.say(f"  authority and admin token made in {self.data}")

    def start(self):
        ports = self.data / "run" / "ports.json"
        ports.unlink(missing_ok=True)
        log = self.data / "pagurusd.log"
        with open(log, "ab") as out:
            self.daemon = subprocess.Popen([str(word) for word in self.pagurusd("run")], stdout=out, stderr=out,
                                           start_new_session=True)

        def up():
            if self.daemon.poll() is not None:
                raise Failed(f"pagurusd ended with {self.daemon.returncode}:\n{log.read_text()[-3000:]}")
            try:
                self.ports = json.loads(ports.read_text())
                return self.get("/readyz", token=False)[0] == 200
            except (OSError, ValueError, KeyError):
                return False

        wait(f"pagurusd gets ready (see {log})", up, START_S)
        self.say(f"  pagurusd is ready: console {self.url()}, devices on {self.ports['device']}, "
                 f"MQTT on {self.ports['mqtt']}")

    def prepare(self):
        """Product, keys, trust set."""
        self.pagurus("product", "create", PRODUCT, "--chip", "esp8266", "--hardware", HARDWARE, "--slot",
                     SLOT_BYTES - 4096, "--set", "poll_s=10")
        secret = ["--passphrase-file", self.work / "passphrase"]
        self.pagurus("key", "generate", "demo-root", *secret)
        self.pagurus("key", "generate", "demo-release", *secret)
        self.pagurus("key", "trust", "create", "--product", PRODUCT, "--root", "demo-root", "--release", "demo-release",
                     *secret)
        status, trust = self.get(f"/api/v1/products/{PRODUCT}/trust-sets/1")
        if status != 200:
            raise Failed(f"the trust set cannot be read back: {status}")
        (self.work / "trust.cose").write_bytes(trust)
        self.say(f"  product {PRODUCT}, root and release key, trust set 1")

    def build_image(self, version):
        self.call(["make", "-s", "-C", ROOT / "examples" / "esp8266", f"VERSION={version}", f"OUT={self.work}",
                   f"PRODUCT={PRODUCT}", f"HARDWARE={HARDWARE}"])
        return self.work / f"{PRODUCT}-{version}.bin"

    def push(self, version):
        image = self.build_image(version)
        self.pagurus("release", "push", image, "--product", PRODUCT, "--sign", "demo-release", "--passphrase-file",
                     self.work / "passphrase")
        self.say(f"  release {version}: {image.stat().st_size} bytes, signed by demo-release, published")

    def start_fleet(self):
        code = self.pagurus("enroll", "code", "create", "--product", PRODUCT, "--uses", DEVICES, "--ttl", "1h")["code"]
        faults = ",".join(f"{name}={n}" for name, n in FAULTS.items())
        words = [self.build / "pagurus-sim", "run", "--server", f"https://localhost:{self.ports['device']}", "--ca",
                 self.root, "--trust-set", self.work / "trust.cose", "--product", PRODUCT, "--hardware", HARDWARE,
                 "--claim-code", code, "--image", self.work / f"{PRODUCT}-{OLD}.bin", "--slot-bytes", SLOT_BYTES,
                 "--devices", DEVICES, "--legacy", LEGACY, "--faults", faults, "--profile", "quick", "--until",
                 "confirmed", "--seconds", START_S + UPDATE_S, "--report-file", self.report]
        with open(self.work / "fleet.log", "wb") as log:
            self.fleet = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log, start_new_session=True)
        self.say(f"  {DEVICES} devices start, flashed with {OLD}: {DEVICES - LEGACY} native, {LEGACY} ESP8266httpUpdate; "
                 f"faults: {faults}")

    def all_report(self):
        """Every device that may talk is there, runs the old version, and a reading of it has arrived."""
        if self.fleet.poll() is not None:
            raise Failed(f"the fleet ended early:\n{(self.work / 'fleet.log').read_text()[-2000:]}")
        devices = self.devices()
        self.table.show(devices)
        known = [d for d in devices.values() if (d["running"] or {}).get("version") == OLD]
        if len(known) < DEVICES - FAULTS["foreign"]:
            return None
        times = {d["id"]: self.readings(d["id"]) for d in known}
        return times if all(times.values()) else None

    def fleet_done(self):
        self.table.show(self.devices())
        return self.fleet.poll() is not None

    # -- the end ---------------------------------------------------------------------------------------------

    def verdict(self, before):
        """Compares REST with each device's flash; the numbers of the last line."""
        simulated = json.loads(self.report.read_text())["devices"]
        wrong = [f"{d['id']} ({d['kind']}, fault {d['fault']}): {d['outcome']} with {d['version_after']}, "
                 f"{d['readings_before']}+{d['readings_after']} readings, {d['error']} {d['error_text']}"
                 for d in simulated if not d["as_expected"]]
        devices = self.devices()
        confirmed = refused = back = 0
        for one in simulated:
            known = devices.get(one["id"])
            if one["fault"] == "foreign":
                refused += 1
                if known is not None:
                    wrong.append(f"{one['id']}: has a certificate of somebody else and is known to the server")
                continue
            if known is None:
                wrong.append(f"{one['id']}: not known to the server")
                continue
            wrong += self.compare(one, known, before)
            version = known["running"]["version"]
            confirmed += version == NEW and known["state"] == "up_to_date"
            refused += one["fault"] in MUST_REFUSE and version == OLD
            back += known["state"] == "reverted" and version == OLD
        want = (DEVICES - sum(FAULTS[name] for name in MUST_REFUSE) - FAULTS["crash"],
                sum(FAULTS[name] for name in MUST_REFUSE), FAULTS["crash"])
        if (confirmed, refused, back) != want:
            wrong.append(f"confirmed, refused, back are {(confirmed, refused, back)}, wanted {want}")
        if wrong:
            raise Failed("\n".join(wrong))
        return f"demo: {len(simulated)} devices, {confirmed} confirmed, {refused} refused as they must, {back} went back"

    def compare(self, one, known, before):
        """What REST says of a device against its flash and its readings."""
        wrong = []
        if known["running"]["sha256"] != one["sha256"]:
            wrong.append(f"{one['id']}: REST says it runs {known['running']['sha256'][:12]}, flash holds "
                         f"{one['sha256'][:12]}")
        after = self.readings(one["id"])
        if not before.get(one["id"]) or not after or after <= before[one["id"]]:
            wrong.append(f"{one['id']}: no reading after the update")
        if one["fault"] == "crash" and (known["state"] != "reverted" or not known["why"]):
            wrong.append(f"{one['id']}: crashed, but REST says {known['state']}: {known['why']}")
        if one["fault"] in MUST_REFUSE and known["state"] not in ("failed", "blocked"):
            wrong.append(f"{one['id']}: refused, but REST says {known['state']}: {known['why']}")
        return wrong

    def whole(self):
        self.say("pagurus demo")
        self.init()
        self.start()
        self.prepare()
        self.push(OLD)
        self.start_fleet()
        before = wait("every device reports and sends readings", self.all_report, START_S, every=0.5)
        self.say(f"  {len(before)} devices run {OLD}, a reading of each has arrived")
        self.push(NEW)
        began = time.monotonic()
        wait("every device comes to its end", self.fleet_done, UPDATE_S, every=0.5)
        self.say(f"  the fleet came to its end {time.monotonic() - began:.1f} s after the push")
        last = self.verdict(before)
        self.table.clear()
        print(last, flush=True)

    def next_steps(self):
        tool = self.build / "pagurus"
        print(f"""
The server stays up; Ctrl-C ends it. Try next:
  status page   {self.url()}/            (certificate: {self.root})
  admin token   {self.token_file}
  log           {self.data / 'pagurusd.log'}

  {tool} login {self.url()} --ca {self.root} --token-file {self.token_file}
  {tool} status
  {tool} device list
  {tool} device list --state reverted
  {tool} release list --product {PRODUCT}
  {tool} doctor
""", flush=True)

    def stop(self):
        """Ends what this program started, by its process id."""
        for process in (self.fleet, self.daemon):
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Table:
    """Versions and states of the fleet, in place on a terminal; nothing in a pipe."""

    def __init__(self):
        self.tty = sys.stdout.isatty()
        self.lines = 0

    def clear(self):
        if self.tty and self.lines:
            sys.stdout.write(f"\033[{self.lines}A\033[J")
        self.lines = 0

    def show(self, devices):
        if not self.tty:
            return
        count = {}
        for device in devices.values():
            version = (device["running"] or {}).get("version") or "?"
            key = (version, device["state"])
            count[key] = count.get(key, 0) + 1
        self.clear()
        stamp = datetime.datetime.now().strftime("%H:%M:%S")
        rows = [f"  {stamp}  {len(devices)} devices known, {sum(d['online'] for d in devices.values())} online"]
        rows += [f"    {version:<8}{state:<16}{n:>4}  {'#' * n}" for (version, state), n in sorted(count.items())]
        sys.stdout.write("".join(row + "\n" for row in rows))
        sys.stdout.flush()
        self.lines = len(rows)


def arguments():
    parser = argparse.ArgumentParser(prog="run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="folder with the programs")
    parser.add_argument("--data", type=pathlib.Path, help="data folder (default ./var; with --exit an own one)")
    parser.add_argument("--demo", action="store_true", help="own folder and free ports")
    parser.add_argument("--exit", action="store_true", help="end when the update is through")
    parser.add_argument("--keep", action="store_true", help="keep the own folder")
    return parser.parse_args()


def stay(demo):
    demo.next_steps()
    while demo.daemon.poll() is None:
        time.sleep(0.5)
    return 1


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    own = args.demo or args.exit
    if args.data is None:
        args.data = pathlib.Path(tempfile.mkdtemp(prefix="pagurus-demo-")) if own else ROOT / "var"
    else:
        own = False
    demo = Demo(args.build.resolve(), args.data.resolve(), args.demo or args.exit)
    try:
        if (demo.data / "ca" / "root.pem").exists():
            demo.start()
            print("  this folder holds an installation already, so nothing is shown again; remove it for a fresh demo")
        else:
            demo.whole()
        return 0 if args.exit else stay(demo)
    except Failed as why:
        demo.table.clear()
        print(f"demo: failed: {why}", file=sys.stderr)
        print(f"demo: see {demo.data}", file=sys.stderr)
        own = False
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        demo.stop()
        if own and not args.keep:
            shutil.rmtree(demo.data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
