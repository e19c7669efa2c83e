"""pagurus-sim: what its devices send, accept, refuse and survive, against small servers that play by the facts, and the
words and exit codes of the program."""

import hashlib
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import threading

import pytest

import sim_server

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIM = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve() / "pagurus-sim"

pytestmark = pytest.mark.skipif(not shutil.which("xtensa-lx106-elf-gcc"), reason="gcc-xtensa-lx106 is not installed")

HEADERS = ["Host", "User-Agent", "Connection", "x-ESP8266-Chip-ID", "x-ESP8266-STA-MAC", "x-ESP8266-AP-MAC",
           "x-ESP8266-free-space", "x-ESP8266-sketch-size", "x-ESP8266-sketch-md5", "x-ESP8266-chip-size",
           "x-ESP8266-sdk-version", "x-ESP8266-mode", "x-ESP8266-version", "Content-Length"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for version in ("1.0.0", "2.0.0"):
        subprocess.run(["make", "-s", "-C", ROOT / "examples/esp8266", f"VERSION={version}", f"OUT={folder}"], check=True,
                       timeout=60, stdout=subprocess.DEVNULL)
    return {version: folder / f"meter-{version}.bin" for version in ("1.0.0", "2.0.0")}


class Updates(http.server.BaseHTTPRequestHandler):
    """Serves server.image to whoever runs another sketch; server.spoil may change the reply."""

    def do_GET(self):  # noqa: N802 (name is the library's)
        image = self.server.image
        md5 = hashlib.md5(image).hexdigest()
        self.server.seen.append((self.requestline, [name for name, _ in self.headers.items()], dict(self.headers)))
        if self.headers["x-ESP8266-sketch-md5"] == md5:
            self.send_response(304)
            self.end_headers()
            return
        length, md5, body = self.server.spoil(len(image), md5, image)
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("x-MD5", md5)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # a device that does not want it closes

    def log_message(self, *args):
        pass


@pytest.fixture
def updates(images):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Updates)
    server.image = images["2.0.0"].read_bytes()
    server.seen = []
    server.spoil = lambda length, md5, body: (length, md5, body)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(*words, timeout=60):
    return subprocess.run([SIM, "run", *map(str, words)], check=False, timeout=timeout, capture_output=True, text=True)


def run_legacy(updates, images, tmp_path, *more):
    """Five devices with 1.0.0 that ask this server; the exit code and the report."""
    report = tmp_path / "report.json"
    done = run("--product", "meter", "--image", images["1.0.0"], "--devices", 5, "--legacy", 5, "--legacy-url",
               f"http://127.0.0.1:{updates.server_port}/fw.php?tag=1.0+abc", "--profile", "quick", "--poll", 1, "--fast",
               "--report-file", report, *more)
    return done, json.loads(report.read_text())


def test_devices_update_restart_and_ask_again_with_the_new_md5(updates, images, tmp_path):
    # Without certificates there is no MQTT, so nothing settles: the run ends by its time.
    done, report = run_legacy(updates, images, tmp_path, "--seconds", 6)
    assert done.returncode == 0, done.stderr
    new = hashlib.sha256(updates.image).hexdigest()
    assert [(d["outcome"], d["version_before"], d["version_after"], d["sha256"]) for d in report["devices"]] == [
        ("confirmed", "1.0.0", "2.0.0", new)] * 5
    for line, names, values in updates.seen:
        assert line == "GET /fw.php?tag=1.0+abc HTTP/1.0" and names == HEADERS
        mac = values["x-ESP8266-STA-MAC"]
        assert int(values["x-ESP8266-Chip-ID"]) == int(mac.replace(":", "")[6:], 16)
    assert {values["x-ESP8266-version"] for *_, values in updates.seen} == {"1.0.0", "2.0.0"}
    assert len({values["x-ESP8266-STA-MAC"] for *_, values in updates.seen}) == 5


@pytest.mark.parametrize(("spoil", "code"), [
    (lambda length, md5, body: (length, "0" * 32, body), 7),
    (lambda length, md5, body: (length, md5 + "0", body), -105),
    (lambda length, md5, body: (None, md5, body), -101),
    (lambda length, md5, body: (len(body), hashlib.md5(b"<" * len(body)).hexdigest(), b"<" * len(body)), -106),
    (lambda length, md5, body: (length, md5, body[:1000]), 6),
])
def test_spoiled_replies_leave_the_old_sketch(updates, images, tmp_path, spoil, code):
    updates.spoil = spoil
    done, report = run_legacy(updates, images, tmp_path, "--seconds", 2)
    assert done.returncode == 0, done.stderr
    old = hashlib.sha256(images["1.0.0"].read_bytes()).hexdigest()
    for device in report["devices"]:
        assert (device["outcome"], device["sha256"]) == ("waiting", old)
        assert device["error_text"].endswith(f"({code})")


def test_until_confirmed_that_does_not_come_is_exit_1(updates, images, tmp_path):
    updates.spoil = lambda length, md5, body: (length, "0" * 32, body)
    done, report = run_legacy(updates, images, tmp_path, "--seconds", 2, "--until", "confirmed")
    assert done.returncode == 1 and report["summary"]["settled"] == 0


def test_pipe_gets_json_lines(updates, images, tmp_path):
    done, _ = run_legacy(updates, images, tmp_path, "--seconds", 2)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) >= 2 and lines[-1]["devices"] == 5


@pytest.mark.parametrize("words", [
    ["--devices", "0"], ["--faults", "earthquake=1"], ["--server", "http://x"], ["--nonsense"], ["word"],
    ["--image", "/nonexistent"], ["--profile", "loud"], ["--faults", "loop=1"], ["--faults", "crash=1,,"], [],
])
def test_bad_usage_is_exit_2_and_says_why(words, images):
    done = run("--product", "meter", *([] if "--image" in words else ["--image", images["1.0.0"]]), *words)
    assert done.returncode == 2 and done.stderr.startswith("pagurus-sim: ")


def test_help_names_every_option():
    done = run("--help")
    known = (ROOT / "sim" / "options.c").read_text().split('static const struct option known[]')[1].split("};")[0]
    for name in [line.split('"')[1] for line in known.splitlines() if '"' in line]:
        assert done.returncode == 0 and (f"--{name}" in done.stderr or name == "help")


# ---- native devices: the real agent on the virtual board ----


@pytest.fixture
def fleet(tmp_path):
    if not shutil.which("mosquitto"):
        pytest.skip("mosquitto is not installed")
    server = sim_server.FleetServer(tmp_path)
    yield server
    server.stop()


def run_native(fleet, images, tmp_path, *more):
    report = tmp_path / "report.json"
    done = run("--server", f"https://localhost:{fleet.port}", "--ca", tmp_path / "ca.pem", "--trust-set",
               tmp_path / "trust.cose", "--product", "meter", "--claim-code", "ANY", "--image", images["1.0.0"],
               "--profile", "quick", "--poll", 1, "--report-file", report, *more)
    return done, json.loads(report.read_text())


def by_fault(report):
    found = {}
    for device in report["devices"]:
        found.setdefault(device["fault"], []).append(device)
    return found


def test_every_fault_ends_as_it_must_and_readings_flow_before_and_after(fleet, images, tmp_path):
    fleet.publish("2.0.0", images["2.0.0"].read_bytes())
    done, report = run_native(fleet, images, tmp_path, "--devices", 10, "--threads", 2, "--faults",
                              "power-cut=2,corrupt=1,crash=2,foreign=1,untrusted=1,wrong-chip=1", "--until", "confirmed",
                              "--seconds", 50)
    found = by_fault(report)
    assert done.returncode == 0, json.dumps(report, indent=1)
    assert report["bad_programs"] == 0
    for fault in ("none", "power-cut", "corrupt"):
        for device in found[fault]:
            assert (device["outcome"], device["sha256"]) == ("confirmed", fleet.digest)
            assert device["readings_after"] >= 2
    assert all(device["counts"]["power_cuts"] == 1 for device in found["power-cut"])
    assert all(device["counts"]["corruptions"] == 1 for device in found["corrupt"])
    old = hashlib.sha256(images["1.0.0"].read_bytes()).hexdigest()
    for fault in ("crash", "untrusted", "wrong-chip", "foreign"):
        assert all(device["sha256"] == old for device in found[fault])
    foreign = {device["mac"] for device in found["foreign"]}
    assert not foreign & {name for name, _ in fleet.checks}


def test_devices_without_an_offer_keep_what_they_have(fleet, images, tmp_path):
    done, report = run_native(fleet, images, tmp_path, "--devices", 3, "--seconds", 4)
    assert done.returncode == 0
    assert [(d["outcome"], d["version_after"]) for d in report["devices"]] == [("waiting", "1.0.0")] * 3
    assert all(d["readings_before"] >= 1 for d in report["devices"])
    assert report["summary"]["net"]["resumed"] >= 3  # the second check of each


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_fleet_that_nobody_answers_says_which_device_and_address_and_why_and_fails(fleet, images, tmp_path):
    port = closed_port()
    done = run("--server", f"https://localhost:{port}", "--ca", tmp_path / "ca.pem", "--trust-set", tmp_path / "trust.cose",
               "--product", "meter", "--image", images["1.0.0"], "--claim-code", "A", "--devices", 3, "--profile", "quick",
               "--seconds", 4)
    assert done.returncode == 4 and "none of 3 devices got through" in done.stderr, done.stderr
    assert f"localhost:{port}" in done.stderr and "Connection refused" in done.stderr and "5ccf7f" in done.stderr
    done = run("--product", "meter", "--image", images["1.0.0"], "--devices", 2, "--legacy", 2, "--legacy-url",
               f"http://127.0.0.1:{port}/x", "--profile", "quick", "--poll", 1, "--seconds", 3)
    assert done.returncode == 4 and f"127.0.0.1:{port}" in done.stderr, done.stderr


def test_a_fleet_with_another_authority_says_that_the_certificate_is_the_matter(fleet, images, tmp_path):
    (tmp_path / "ca.pem").write_bytes(sim_server.Authority().certificate.public_bytes(sim_server.PEM))
    done, _ = run_native(fleet, images, tmp_path, "--devices", 2, "--seconds", 4)
    assert done.returncode == 4 and "certificate" in done.stderr and f":{fleet.port}" in done.stderr, done.stderr


def test_a_run_that_is_not_in_time_says_how_far_it_came(fleet, images, tmp_path):
    done, _ = run_native(fleet, images, tmp_path, "--devices", 2, "--seconds", 3, "--until", "confirmed")
    assert done.returncode == 1 and "0 of 2 devices came to what they should" in done.stderr


def test_a_rate_over_the_servers_default_is_said_and_quick_is_not_over_it(fleet, images, tmp_path):
    done, _ = run_native(fleet, images, tmp_path, "--devices", 1, "--seconds", 1)
    assert "limits.device_messages" not in done.stderr
    done, _ = run_native(fleet, images, tmp_path, "--devices", 1, "--seconds", 1, "--reading-ms", 1000)
    assert "1.1 messages a second" in done.stderr and "limits.device_messages" in done.stderr


# ---- the same against the real server, with the commands a person uses ----


class Installation:
    """pagurusd with a product, its keys and release 1.0.0, all of it by the command line."""

    def __init__(self, server, images, folder):
        self.server, self.images, self.folder = server, images, folder
        self.secret = folder / "passphrase"
        self.secret.write_text("a passphrase\n")
        self.secret.chmod(0o600)
        (folder / "token").write_text(server.token + "\n")
        (folder / "token").chmod(0o600)
        self.pagurus("product", "create", "meter", "--chip", "esp8266", "--hardware", "d1mini", "--slot", 520192, "--set",
                     "poll_s=10")
        for name in ("root", "release"):
            self.pagurus("key", "generate", name, "--passphrase-file", self.secret)
        self.pagurus("key", "trust", "create", "--product", "meter", "--root", "root", "--release", "release",
                     "--passphrase-file", self.secret)
        (folder / "trust.cose").write_bytes(server.call("GET", "/products/meter/trust-sets/1").body)
        self.push("1.0.0")

    def pagurus(self, *words):
        env = dict(os.environ, XDG_CONFIG_HOME=str(self.folder / "config"),
                   PAGURUS_SERVER=f"https://localhost:{self.server.ports['console']}",
                   PAGURUS_CA=str(self.server.data / "ca/root.pem"), PAGURUS_TOKEN_FILE=str(self.folder / "token"))
        done = subprocess.run([SIM.parent / "pagurus", *map(str, words), "--json", "--no-input", "--yes"], check=False,
                              timeout=60, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def push(self, version):
        self.pagurus("release", "push", self.images[version], "--product", "meter", "--sign", "release",
                     "--passphrase-file", self.secret)

    def words(self, *more, uses=None):
        """Words for pagurus-sim; uses: of a fresh code."""
        claim = [] if uses is None else ["--claim-code", self.pagurus("enroll", "code", "create", "--product", "meter",
                                                                      "--uses", uses, "--ttl", "1h")["code"]]
        return ["--server", f"https://localhost:{self.server.ports['device']}", "--ca", self.server.data / "ca/root.pem",
                "--trust-set", self.folder / "trust.cose", "--product", "meter", "--image", self.images["1.0.0"],
                "--profile", "quick", "--report-file", self.folder / "report.json", *claim, *more]

    def run(self, *more, uses=None, timeout=120):
        done = run(*self.words(*more, uses=uses), timeout=timeout)
        return done, json.loads((self.folder / "report.json").read_text()) if done.returncode < 2 else None

    def devices(self):
        items, cursor = [], ""
        while True:
            page = self.server.rest("GET", f"/devices?product=meter&limit=100{cursor}")
            items += page["items"]
            if not page["next_cursor"]:
                return {item["id"]: item for item in items}
            cursor = "&cursor=" + page["next_cursor"]


@pytest.fixture
def real(make_server, images, tmp_path):
    if not shutil.which("mosquitto"):
        pytest.skip("mosquitto is not installed")
    server = make_server().start()
    server.wait_ready()
    return Installation(server, images, tmp_path)


def test_two_hundred_devices_come_to_a_release_and_the_server_knows_what_each_flash_holds(real):
    with subprocess.Popen([SIM, "run", *map(str, real.words("--devices", 200, "--threads", 2, "--until", "confirmed",
                                                            "--seconds", 120, uses=200))],
                          stdout=subprocess.DEVNULL) as sim:
        try:
            real.server.until(lambda: len(real.devices()) == 200, 60, 0.5)
            real.push("2.0.0")
            assert sim.wait(120) == 0
        finally:
            sim.terminate()
    report = json.loads((real.folder / "report.json").read_text())
    known = real.devices()
    assert {d["outcome"] for d in report["devices"]} == {"confirmed"} and report["bad_programs"] == 0
    assert {d["id"]: d["sha256"] for d in report["devices"]} == {i: d["running"]["sha256"] for i, d in known.items()}
    assert {(d["state"], d["running"]["version"]) for d in known.values()} == {("up_to_date", "2.0.0")}


def test_a_fleet_with_a_wrong_code_says_that_enrolment_was_refused(real):
    done = run(*real.words("--claim-code", "XXXX-XXXX-XXXX-XXXX", "--devices", 2, "--seconds", 5))
    assert done.returncode == 4 and "in state enrol" in done.stderr and "claim code" in done.stderr, done.stderr


def test_a_fleet_is_stopped_and_started_again_from_its_file(real):
    keep = real.folder / "fleet.dev"
    faults = "untrusted=1,foreign=1,crash=1,ahead=1"
    done, first = real.run("--devices", 8, "--legacy", 2, "--faults", faults, "--devices-file", keep, "--seconds", 5, uses=8)
    assert done.returncode == 0, done.stderr
    assert keep.stat().st_mode & 0o777 == 0o600
    serials = {i: d["certificate"]["serial"] for i, d in real.devices().items()}
    assert len(serials) == 7  # all but the foreign one
    real.push("2.0.0")
    done, second = real.run("--devices-file", keep, "--until", "confirmed", "--seconds", 60)
    assert done.returncode == 0, json.dumps(second, indent=1)
    assert [d["mac"] for d in first["devices"]] == [d["mac"] for d in second["devices"]]
    assert {i: d["certificate"]["serial"] for i, d in real.devices().items()} == serials
    outcomes = {d["fault"]: d["outcome"] for d in second["devices"]}
    assert outcomes == {"none": "confirmed", "untrusted": "refused", "foreign": "denied", "crash": "reverted",
                        "ahead": "waiting"}
    done, third = real.run("--devices-file", keep, "--seconds", 4)
    assert done.returncode == 0
    assert [(d["version_before"], d["version_after"]) for d in third["devices"]] == [
        (d["version_after"], d["version_after"]) for d in second["devices"]]


def test_a_damaged_or_foreign_devices_file_is_refused_and_left_alone(updates, images, tmp_path):
    keep = tmp_path / "fleet.dev"
    done, _ = run_legacy(updates, images, tmp_path, "--devices-file", keep, "--seconds", 1)
    assert done.returncode == 0
    whole = keep.read_bytes()
    for bad in (whole[:-1], whole[:100], b"", b"hello\n", whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]):
        keep.write_bytes(bad)
        done = run("--product", "meter", "--image", images["1.0.0"], "--legacy", 5, "--devices", 5, "--legacy-url",
                   "http://127.0.0.1:1/", "--devices-file", keep)
        assert done.returncode == 2 and "fleet.dev is damaged" in done.stderr
        assert keep.read_bytes() == bad
    keep.write_bytes(whole)
    for words, why in ((["--devices", 6, "--legacy", 5], "holds 5 devices"), (["--faults", "loop=1"], "keep the faults"),
                       (["--slot-bytes", 1048576], "--slot-bytes")):
        done = run("--product", "meter", "--image", images["1.0.0"], "--legacy-url", "http://127.0.0.1:1/",
                   "--devices-file", keep, "--server", "https://localhost:1", "--ca", images["1.0.0"], *words)
        assert done.returncode == 2 and why in done.stderr, done.stderr


def test_a_replayed_manifest_is_refused_by_the_device(fleet, images, tmp_path):
    fleet.publish("2.0.0", images["2.0.0"].read_bytes())
    done, report = run_native(fleet, images, tmp_path, "--devices", 3, "--faults", "ahead=1", "--until", "confirmed",
                              "--seconds", 30)
    assert done.returncode == 0, json.dumps(report, indent=1)
    one = by_fault(report)["ahead"][0]
    assert (one["outcome"], one["version_after"], one["error"]) == ("refused", "1.0.0", "rollback")


def test_httpupdate_device_that_comes_back_old_is_no_longer_served_and_the_server_says_why(real):
    real.push("2.0.0")
    done, report = real.run("--devices", 2, "--legacy", 2, "--faults", "loop=1", "--poll", 1, "--until", "confirmed",
                            "--seconds", 60, uses=2)
    assert done.returncode == 0, json.dumps(report, indent=1)
    found = by_fault(report)
    assert found["none"][0]["outcome"] == "confirmed"
    lost = found["loop"][0]
    assert (lost["outcome"], lost["version_after"], lost["counts"]["resets"]) == ("reverted", "1.0.0", 3)
    known = real.devices()[lost["id"]]
    assert (known["state"], known["running"]["version"]) == ("blocked", "1.0.0")
    assert "2.0.0" in known["why"] and "retry" in known["why"], known["why"]
