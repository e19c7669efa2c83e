"""Rehearsal of key rotation: secureESP8266 devices on ten old versions, three key changes. Every device checks a signature by
the key in the image that it runs, as the genuine sketch does. All arrive, none is led past an image that brings a key; a
release that would strand some is refused with their names. `make rotation` runs it with 1,000 devices; here 40, unless
PAG_ROTATION_DEVICES says otherwise."""

import json
import os
import pathlib
import subprocess
import time

import pytest

import arduino
import signing

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIM = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve() / "pagurus-sim"
DEVICES = int(os.environ.get("PAG_ROTATION_DEVICES", "40"))
SECONDS = 120 + DEVICES // 2
FILLER = 12000
STRANDED = 7

# version: key that signs it, key inside. Three of them change the key; the first ten are what devices have.
CHAIN = [(f"00.00.01.{letter}", 0, 0) for letter in "abcd"] + [("00.00.02.a", 0, 1)] + \
        [(f"00.00.02.{letter}", 1, 1) for letter in "bc"] + [("00.00.03.a", 1, 2)] + \
        [(f"00.00.03.{letter}", 2, 2) for letter in "bc"] + [("00.00.04.a", 2, 3)] + [("00.00.04.b", 3, 3), ("00.00.05.a", 3, 3)]
OLD = CHAIN[:10]
LOST = "00.00.01.z"  # its key is lost with its owner: seven devices have it, and nothing that they would take can be signed
NEWEST = CHAIN[-1][0]
BRIDGES = {0: "00.00.02.a", 1: "00.00.03.a", 2: "00.00.04.a"}  # epoch: the image that ends it
EPOCH = {version: inside for version, _, inside in CHAIN}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [arduino.Key(folder, f"epoch-{n}") for n in range(5)]


@pytest.fixture(scope="module")
def server(make_server):
    one = make_server("limits.device_messages=0", "limits.device_requests=0").start()
    one.wait_ready()
    return one


class Rehearsal:
    def __init__(self, server, keys, folder):
        self.server, self.keys, self.folder = server, keys, folder
        self.owner = signing.Publisher(server, "measure", "esp8266", ("d1mini",))
        server.rest("PATCH", "/products/measure/dialect", {"dialect": "secureesp8266", "settings": {
            "downloadserver": "localhost", "mqttserver": "localhost"}})
        for key in keys:
            key.register(server, "measure")
        self.images = {v: arduino.image("measure", v, keys[inside], filler=FILLER) for v, _, inside in [*CHAIN, (LOST, 0, 4)]}
        for version, image in self.images.items():
            (folder / f"{version}.bin").write_bytes(image)

    def publish(self, version, signer):
        return self.owner.publish(version, self.keys[signer].signed(self.images[version]))

    def run(self, n, images, seed, *more, seconds):
        """n devices with these versions; those of the report, and how the run ended."""
        claim = self.server.rest("POST", "/enrollment/codes", {"product": "measure", "uses": n, "ttl_s": 3600})["code"]
        report = self.folder / f"report-{seed}.json"
        words = [SIM, "run", "--server", f"https://localhost:{self.server.ports['device']}", "--ca", self.server.data / "ca" / "root.pem",
                 "--product", "measure", "--claim-code", claim, "--personality", f"secureesp8266-i:{n}", "--profile", "quick", "--reading-ms",
                 max(500, 3 * n), "--slot-bytes", 65536, "--fast", "--seed", seed, "--seconds", seconds, "--report-file", report, *more]
        for version in images:
            words += ["--image", self.folder / f"{version}.bin"]
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=seconds + 120, check=False)
        devices = json.loads(report.read_text())["devices"] if report.exists() else []
        assert done.returncode == 0, (done.stderr, [d for d in devices if not d["as_expected"]][:5])
        return devices

    def draft(self, version, signer):
        return self.owner.draft(version, self.keys[signer].signed(self.images[version]))


@pytest.fixture(scope="module")
def rehearsal(server, keys, tmp_path_factory):
    """The first releases are out, and seven devices run the one whose key is lost."""
    one = Rehearsal(server, keys, tmp_path_factory.mktemp("rotation"))
    for version, signer, _ in CHAIN[:4]:
        one.publish(version, signer)
    one.publish(LOST, 0)
    one.cut_off = sorted(d["id"] for d in one.run(STRANDED, [LOST], 2, seconds=6))
    for n, device in enumerate(one.cut_off):
        server.rest("PATCH", f"/devices/{device}", {"name": f"cellar-{n}"})
    return one


@pytest.fixture(scope="module")
def refused(rehearsal):
    """What publishing the first release behind it says; then it is published all the same, and the rest of the chain."""
    server = rehearsal.server
    version, signer, _ = CHAIN[4]
    release = rehearsal.draft(version, signer)["id"]
    reply = server.call("POST", f"/releases/{release}:publish")
    listed = server.rest("GET", f"/releases/{release}/strands?verb=publish")
    assert server.call("POST", f"/releases/{release}:publish", {"strand_anyway": "the seven are on the desk"}).status == 200
    for version, signer, _ in CHAIN[5:]:
        rehearsal.publish(version, signer)
    return reply, listed


@pytest.fixture(scope="module")
def fleet(rehearsal, refused):
    began = time.monotonic()
    devices = rehearsal.run(DEVICES, [v for v, _, _ in OLD], 1, "--until", "confirmed", "--target", NEWEST, seconds=SECONDS)
    print(f"rotation: {len(devices)} devices from {len(OLD)} versions over 3 key changes in {time.monotonic() - began:.0f} s")
    return devices


def test_a_release_that_would_strand_seven_is_refused_with_their_names(rehearsal, refused):
    reply, listed = refused
    assert reply.status == 409 and reply.json["code"] == "release-strands", reply.body
    assert f"{STRANDED} devices" in reply.json["detail"], reply.json["detail"]
    assert {e["pointer"] for e in reply.json["errors"]} == {f"/devices/{d}" for d in rehearsal.cut_off}
    assert {d["name"] for d in listed["items"]} == {f"cellar-{n}" for n in range(STRANDED)}
    assert listed["total"]["value"] == STRANDED


def test_all_arrive_from_each_of_ten_versions(fleet):
    assert len(fleet) == DEVICES and {d["version_before"] for d in fleet} == {v for v, _, _ in OLD}
    assert {(d["version_after"], d["outcome"]) for d in fleet} == {(NEWEST, "confirmed")}


def test_none_is_led_past_an_image_that_brings_a_key(fleet):
    for device in fleet:
        epoch = EPOCH[device["version_before"]]
        for version in device["trail"]:
            signer = next(s for v, s, _ in CHAIN if v == version)
            assert signer == epoch, (device["id"], device["trail"])
            epoch = EPOCH[version]
        assert [v for v in device["trail"] if v in BRIDGES.values()] == [BRIDGES[e] for e in range(EPOCH[device["version_before"]], 3)]


def test_nobody_goes_further_round_than_the_key_changes_ask(fleet):
    for device in fleet:
        assert len(device["trail"]) == 4 - EPOCH[device["version_before"]], device["trail"]


def test_the_server_says_the_same(server, rehearsal, fleet):
    def versions():
        found, cursor = {}, ""
        while True:
            page = server.rest("GET", f"/devices?product=measure&limit=200{cursor}")
            found |= {d["id"]: (d["running"] or {}).get("version") for d in page["items"]}
            if not page.get("next_cursor"):
                return found
            cursor = "&cursor=" + page["next_cursor"]
    want = {d["id"]: NEWEST for d in fleet} | dict.fromkeys(rehearsal.cut_off, LOST)
    server.until(lambda: versions() == want, 30, 1)
