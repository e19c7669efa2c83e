"""pagurus-sim: what its devices send, accept, refuse and survive, against small servers that play by the facts, and the
words and exit codes of the program."""

import hashlib
import http.server
import json
import os
import pathlib
import shutil
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
               f"http://127.0.0.1:{updates.server_port}/fw.php?tag=1.0+abc", "--profile", "quick", "--poll", 1,
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
    done, report = run_legacy(updates, images, tmp_path, "--seconds", 2, "--until", "confirmed")
    assert done.returncode == 1 and report["summary"]["settled"] == 0


def test_pipe_gets_json_lines(updates, images, tmp_path):
    done, _ = run_legacy(updates, images, tmp_path, "--seconds", 2)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) >= 2 and lines[-1]["devices"] == 5


@pytest.mark.parametrize("words", [
    ["--devices", "0"], ["--faults", "earthquake=1"], ["--server", "http://x"], ["--nonsense"], ["word"],
    ["--image", "/nonexistent"], ["--profile", "loud"], [],
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
