#!/usr/bin/env python3
"""Shows a signed firmware update reaching a fleet, from an empty folder on.

    ./run                          server in ./var on the default ports; stays up, and its fleet with it
    ./run                          again in the same folder: the same fleet gets the next version
    ./run --demo                   own folder, free ports
    ./run --demo --exit            without a terminal; exit 0 only when all of it held
    ./run --demo --exit --devices 1000 --threads 2

What happens: pagurusd init; a product, signing keys and an enrolment code by the pagurus command; version 1.0.0 of a
real ESP8266 image is pushed; simulated devices that were flashed with it enrol and send readings over MQTT; version
2.0.0 is pushed; every device comes to what it must come to. The counts are read from REST and compared with what is in
each simulated device's flash. Exit: 0, 1 when something did not hold, 130 after Ctrl-C before the end."""

import argparse
import datetime
import json
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from crowd import DEVICES as CROWD, Crowd
from installation import Failed, Installation, call, end, spawn, wait

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRODUCT, HARDWARE = "meter", "d1mini"
FAULTS = {"power-cut": 1, "corrupt": 1, "crash": 1, "foreign": 1, "untrusted": 2, "wrong-chip": 1}
MUST_REFUSE = ("foreign", "untrusted", "wrong-chip")
SLOT_BYTES = 524288
LEAST_DEVICES = 20
WEEK_S = 604800
SAMPLE = 200  # devices whose readings are asked for in one round


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


class Readings:
    """When readings of each device arrived, as REST tells: asked for again and again, a part of the fleet at a time."""

    def __init__(self, server):
        self.server = server
        self.times = {}
        self.turn = 0

    def newest(self, device_id):
        data = self.server.rest(f"/devices/{device_id}/data")["data"]
        return max((item["at"] for item in data if item["topic"].endswith("temp")), default="")

    def look(self, ids):
        for device_id in ids:
            newest = self.newest(device_id)
            if newest:
                self.times.setdefault(device_id, set()).add(newest)

    def sample(self, ids):
        ids = sorted(ids)
        self.look((ids + ids)[self.turn:self.turn + min(SAMPLE, len(ids))])
        self.turn = (self.turn + SAMPLE) % len(ids) if len(ids) > SAMPLE else 0

    def count(self, device_id, after="", until="~"):
        return sum(after < at <= until for at in self.times.get(device_id, ()))


def settled_at(device, new, pushed_at):
    """Since when a device is what it is. One that refuses does so again at every poll: for it, since the push."""
    if (device["running"] or {}).get("version") != new and device["state"] != "reverted":
        return pushed_at
    return max((device["running"] or {}).get("since") or "", (device["action"] or {}).get("since") or "")


class Demo:
    """One installation and its fleet."""

    def __init__(self, args, data):
        self.server = Installation(args.build.resolve(), data, args.demo or args.exit)
        self.work = self.server.work
        self.devices_n, self.threads = args.devices, args.threads
        self.legacy_n = max(1, args.devices * 6 // 50)
        self.update_s = 150 + args.devices // 10
        self.fleet = None
        self.report = self.work / "fleet.json"
        self.kept = self.work / "fleet.devices"
        self.done = self.work / "done.json"
        self.crowd = Crowd(self.server, ["--passphrase-file", self.server.passphrase])
        self.table = Table()
        self.readings = Readings(self.server)

    def say(self, text):
        self.table.clear()
        print(text, flush=True)

    def devices(self):
        return {item["id"]: item for item in self.server.pages(f"/devices?product={PRODUCT}")}

    # -- the steps -------------------------------------------------------------------------------------------

    def start(self):
        self.server.start()
        ports = self.server.ports
        self.say(f"  pagurusd is ready: console {self.server.url()}, devices on {ports['device']}, MQTT on {ports['mqtt']}")

    def prepare(self):
        """Product, keys, trust set."""
        server = self.server
        server.pagurus("product", "create", PRODUCT, "--chip", "esp8266", "--hardware", HARDWARE, "--slot",
                       SLOT_BYTES - 4096, "--set", "poll_s=10")
        secret = ["--passphrase-file", server.passphrase]
        server.pagurus("key", "generate", "demo-root", *secret)
        server.pagurus("key", "generate", "demo-release", *secret)
        server.pagurus("key", "trust", "create", "--product", PRODUCT, "--root", "demo-root", "--release", "demo-release",
                       *secret)
        status, trust = server.get(f"/api/v1/products/{PRODUCT}/trust-sets/1")
        if status != 200:
            raise Failed(f"the trust set cannot be read back: {status}")
        (self.work / "trust.cose").write_bytes(trust)
        self.say(f"  product {PRODUCT}, root and release key, trust set 1")
        self.crowd.prepare()
        self.say("  products plug, cam, measure, tasmota: firmware that exists already. Plain HTTP is on for three of them: everybody on\n"
                 "  the way could read and replace their images; here that is this machine alone")

    def push(self, version):
        call(["make", "-s", "-C", ROOT / "examples" / "esp8266", f"VERSION={version}", f"OUT={self.work}",
              f"PRODUCT={PRODUCT}", f"HARDWARE={HARDWARE}"])
        image = self.work / f"{PRODUCT}-{version}.bin"
        self.server.pagurus("release", "push", image, "--product", PRODUCT, "--sign", "demo-release", "--passphrase-file",
                            self.server.passphrase)
        self.say(f"  release {version}: {image.stat().st_size} bytes, signed by demo-release, published")
        self.crowd.push(version)

    def start_fleet(self, *more):
        """New devices flashed with 1.0.0, or those of the run before."""
        self.report.unlink(missing_ok=True)
        words = [self.server.build / "pagurus-sim", "run", "--server", f"https://localhost:{self.server.ports['device']}",
                 "--ca", self.server.root, "--trust-set", self.work / "trust.cose", "--product", PRODUCT, "--hardware",
                 HARDWARE, "--image", self.work / f"{PRODUCT}-1.0.0.bin", "--slot-bytes", SLOT_BYTES, "--profile", "quick",
                 "--threads", self.threads, "--devices-file", self.kept, "--report-file", self.report, *more]
        if not self.kept.exists():
            code = self.server.pagurus("enroll", "code", "create", "--product", PRODUCT, "--uses", self.devices_n, "--ttl",
                                       "1h")["code"]
            words += ["--claim-code", code, "--devices", self.devices_n, "--legacy", self.legacy_n, "--faults",
                      ",".join(f"{name}={n}" for name, n in FAULTS.items())]
        self.fleet = spawn(words, self.work / "fleet.log")

    def fleet_ended(self):
        if self.fleet.poll() not in (None, 0, 1):
            raise Failed(f"the fleet ended with {self.fleet.returncode}:\n{(self.work / 'fleet.log').read_text()[-2000:]}")
        return self.fleet.poll() is not None

    def all_report(self, earlier):
        """Every device that may talk is there, and a reading has arrived that is not of an earlier run."""
        if self.fleet_ended():
            raise Failed(f"the fleet ended early:\n{(self.work / 'fleet.log').read_text()[-2000:]}")
        devices = self.devices()
        self.table.show(devices)
        if len([d for d in devices.values() if d["running"]]) < self.devices_n - FAULTS["foreign"]:
            return None
        silent = [i for i in devices if not self.readings.count(i, earlier)]
        self.readings.look(silent[:SAMPLE])
        return devices if all(self.readings.count(i, earlier) for i in devices) else None

    def all_ended(self):
        devices = self.devices()
        self.table.show(devices)
        self.readings.sample(devices)
        return self.fleet_ended() and self.crowd.ended()

    # -- the end ---------------------------------------------------------------------------------------------

    def all_heard(self, new, pushed_at):
        """After its update a reading of every device."""
        devices = self.devices()
        silent = [i for i, d in devices.items() if not self.readings.count(i, settled_at(d, new, pushed_at))]
        self.readings.look(silent)
        return not silent

    def verdict(self, new, pushed_at):
        """Compares REST with each device's flash; the numbers of the last line."""
        simulated = json.loads(self.report.read_text())["devices"]
        wrong = [f"{d['id']} ({d['kind']}, fault {d['fault']}): {d['outcome']} with {d['version_after']}, "
                 f"{d['readings_before']}+{d['readings_after']} readings, {d['error']} {d['error_text']}"
                 for d in simulated if not d["as_expected"]]
        if not wrong:
            wait("a reading of every device after its update", lambda: self.all_heard(new, pushed_at), 20, every=0.5)
        devices = self.devices()
        confirmed = refused = back = before = after = 0
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
            wrong += self.compare(one, known, new, pushed_at)
            version = known["running"]["version"]
            confirmed += version == new and known["state"] == "up_to_date"
            refused += one["fault"] in MUST_REFUSE and version != new
            back += known["state"] == "reverted" and version != new
            before += self.readings.count(one["id"], until=pushed_at)
            after += self.readings.count(one["id"], settled_at(known, new, pushed_at))
        must_refuse = sum(FAULTS[name] for name in MUST_REFUSE)
        want = (self.devices_n - must_refuse - FAULTS["crash"], must_refuse, FAULTS["crash"])
        if (confirmed, refused, back) != want:
            wrong.append(f"confirmed, refused, back are {(confirmed, refused, back)}, wanted {want}")
        more, joined = self.crowd_verdict(new)
        wrong += more
        if wrong:
            raise Failed("\n".join(wrong))
        self.say(f"  readings that REST showed: {before} before the push, {after} after each device's update; none missing")
        return f"demo: {len(simulated) + CROWD} devices, {confirmed + joined} confirmed, {refused} refused as they must, {back} went back"

    def crowd_verdict(self, new):
        """As the crowd has it, when the server has heard of all."""
        found = []

        def settled():
            found[:] = self.crowd.settled(new)
            return not found[0]
        try:
            wait("the server knows what each client runs", settled, 20, every=0.5)
        except Failed:
            pass  # what is wrong is said below
        return found

    def compare(self, one, known, new, pushed_at):
        """What REST says of a device against its flash and its readings."""
        wrong = []
        if known["running"]["sha256"] != one["sha256"]:
            wrong.append(f"{one['id']}: REST says it runs {known['running']['sha256'][:12]}, flash holds "
                         f"{one['sha256'][:12]}")
        if not self.readings.count(one["id"], until=pushed_at):
            wrong.append(f"{one['id']}: no reading before the push")
        if not self.readings.count(one["id"], settled_at(known, new, pushed_at)):
            wrong.append(f"{one['id']}: no reading after the update")
        if one["fault"] == "crash" and (known["state"] != "reverted" or not known["why"]):
            wrong.append(f"{one['id']}: crashed, but REST says {known['state']}: {known['why']}")
        if one["fault"] in MUST_REFUSE and known["state"] not in ("failed", "blocked"):
            wrong.append(f"{one['id']}: refused, but REST says {known['state']}: {known['why']}")
        return wrong

    def update(self, old, new):
        """From devices that just start to the last line."""
        earlier = max((self.readings.newest(i) for i in self.devices()), default="")
        self.start_fleet("--until", "confirmed", "--seconds", 60 + 2 * self.update_s)
        self.crowd.start("--until", "confirmed", "--target", new, "--seconds", 60 + 2 * self.update_s)
        faults = ", ".join(f"{name} {n}" for name, n in FAULTS.items())
        self.say(f"  {self.devices_n} devices start with {old}: {self.devices_n - self.legacy_n} native, {self.legacy_n} "
                 f"ESP8266httpUpdate; faults: {faults}")
        self.say(f"  {CROWD} devices more, one of each client that exists already: pagurus sim --list-personalities")
        known = wait("every device reports and sends readings", lambda: self.all_report(earlier), self.update_s, every=0.5)
        self.say(f"  {len(known)} devices are there, a reading of each has arrived")
        pushed_at = max(max(self.readings.times[i]) for i in known)
        self.push(new)
        began = time.monotonic()
        wait("every device comes to its end", self.all_ended, self.update_s, every=0.5)
        self.say(f"  the fleet came to its end {time.monotonic() - began:.1f} s after the push")
        last = self.verdict(new, pushed_at)
        seconds, mib = self.server.cost()
        self.say(f"  pagurusd took {seconds:.1f} s of processor and {mib:.0f} MiB at most")
        state = {"devices": self.devices_n, "legacy": self.legacy_n, "ports": self.server.ports}
        self.done.write_text(json.dumps(state) + "\n")
        print(last, flush=True)

    def first(self):
        """Into an empty folder."""
        self.server.init()
        self.say(f"  authority and admin token made in {self.server.data}")
        self.start()
        self.prepare()
        self.push("1.0.0")
        self.update("1.0.0", "2.0.0")

    def again(self):
        """The fleet of an earlier run gets a version that nobody has."""
        known = json.loads(self.done.read_text())
        self.devices_n, self.legacy_n = known["devices"], known["legacy"]
        self.server.same_ports = known["ports"]
        self.start()
        self.crowd.restarted()
        if not self.kept.exists():
            self.say(f"  {self.kept} is missing, so there is no fleet to update")
            return
        releases = [r["version"] for r in self.server.pages(f"/releases?product={PRODUCT}")]
        newest = max(int(version.split(".")[0]) for version in releases)
        self.update(f"what they have, at most {newest}.x", f"{newest + 1}.0.0")

    def keep_up(self):
        """The fleet goes on until somebody ends it."""
        if self.kept.exists():
            self.start_fleet("--seconds", WEEK_S)
            self.crowd.start("--seconds", WEEK_S)
        self.next_steps()
        while self.server.daemon.poll() is None:
            time.sleep(0.2)
        raise Failed(f"pagurusd ended with {self.server.daemon.returncode}; see {self.server.log}")

    def next_steps(self):
        server, tool = self.server, self.server.build / "pagurus"
        fleet = "The server and its fleet stay up" if self.fleet else "The server stays up"
        print(f"""
{fleet}; Ctrl-C ends it. Try next, in another terminal:

  export PATH={server.build}:$PATH XDG_CONFIG_HOME={self.work / 'config'}
  pagurus login {server.url()} --ca {server.root} --token-file {server.token_file}
  pagurus status
  pagurus device list
  pagurus device list --state reverted
  pagurus release list --product {PRODUCT}
  pagurus doctor               (asks you to put the exported root key away: do)

  A release of your own, signed by you (passphrase: {server.passphrase}):
  make -s -C {ROOT / 'examples' / 'esp8266'} VERSION=9.0.0 OUT=/tmp PRODUCT={PRODUCT} HARDWARE={HARDWARE}
  pagurus release push /tmp/{PRODUCT}-9.0.0.bin --product {PRODUCT} --sign demo-release

  status page   {server.url()}/   (asks for the token in {server.token_file};
                your browser has to trust {server.root})
  log           {server.log}
  once more     Ctrl-C, then ./run: the same fleet gets the next version
""", flush=True)
        if not tool.exists():
            raise Failed(f"{tool} is missing")

    def stop(self):
        """Ends what this program started, by its process id: the fleet first, which writes its devices down."""
        end(self.fleet)
        self.crowd.stop()
        self.server.stop()


def arguments():
    parser = argparse.ArgumentParser(prog="run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="folder with the programs")
    parser.add_argument("--data", type=pathlib.Path, help="data folder (default ./var; with --demo or --exit an own one)")
    parser.add_argument("--demo", action="store_true", help="own folder and free ports")
    parser.add_argument("--exit", action="store_true", help="end when the update is through; free ports")
    parser.add_argument("--keep", action="store_true", help="keep the own folder")
    parser.add_argument("--devices", type=int, default=50, help="how many devices a new fleet has (50)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the simulator (1)")
    args = parser.parse_args()
    if not LEAST_DEVICES <= args.devices <= 100000:
        parser.error(f"--devices takes {LEAST_DEVICES} to 100000")
    if not 1 <= args.threads <= 64:
        parser.error("--threads takes 1 to 64")
    return args


def make_way(demo):
    """What an interrupted demo left is put aside; it held nothing but the demo's."""
    data = demo.server.data
    if demo.work.exists() and not demo.done.exists():
        aside = data.with_name(f"{data.name}.interrupted-{datetime.datetime.now():%Y%m%d-%H%M%S}")
        data.rename(aside)
        demo.say(f"  an earlier run was interrupted; what it left is now in {aside}, remove it when you like")


def whole(demo, args):
    demo.say("pagurus demo")
    demo.server.check_ports()
    make_way(demo)
    if demo.done.exists():
        demo.again()
    elif demo.server.root.exists():
        demo.start()
        demo.say(f"  {demo.server.data} holds an installation that is not the demo's, so no update is shown")
    else:
        demo.first()
    if not args.exit:
        demo.keep_up()
    return 0


def stop_at_signal(number, _):
    sys.exit(128 + number)


def main():
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_at_signal)
    own = args.data is None and (args.demo or args.exit)
    data = pathlib.Path(tempfile.mkdtemp(prefix="pagurus-demo-")) if own else (args.data or ROOT / "var")
    demo = Demo(args, data.resolve())
    code = 1
    try:
        code = whole(demo, args)
    except (Failed, OSError) as why:
        demo.table.clear()
        print(f"demo: failed: {why}", file=sys.stderr)
        if data.exists():
            print(f"demo: see {data}", file=sys.stderr)
        own = False
    except KeyboardInterrupt:
        # Once it only stays up, Ctrl-C is how it ends.
        code = 0 if demo.done.exists() and not args.exit else 130
        demo.say("\ndemo: stopping")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        demo.stop()
        if own and not args.keep:
            shutil.rmtree(data, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
