"""pagurus-sim as every client that exists already, against a real server: each comes to the new version and the server
knows it, with the limits that the real ones have (docs/operating/simulator.md)."""

import http.client
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

import arduino
import esp8266
import legacy
import signing

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "demo"))
import esp32_image  # noqa: E402

SIM = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve() / "pagurus-sim"
SMALL = 40000
client = pytest.mark.client


def who(name, client_name, version, case="as the simulator is it"):
    return pytest.param(name, marks=client(client_name, version, case), id=name)


PLAIN = [
    who("esp8266-2.3", "ESP8266httpUpdate", "2.3.0"),
    who("esp8266-2.4", "ESP8266httpUpdate", "2.4.2"),
    who("emonesp", "EmonESP", "2020"),
    who("squix@/esp/firmware.php", "squix esp8266-ci-ota", "2016"),
    who("esphome", "ESPHome http_request", "2024.10"),
    who("web-tools", "ESP Web Tools", "10"),
]
TLS = [
    who("esp8266-2.5", "ESP8266httpUpdate", "2.5.2"),
    who("esp8266-2.6", "ESP8266httpUpdate", "2.6.3", "records of 1024 bytes"),
    who("esp8266-2.7", "ESP8266httpUpdate", "2.7.4", "records of 512 bytes"),
    who("esp8266-3.0", "ESP8266httpUpdate", "3.0.2"),
    who("esp8266-3.1", "ESP8266httpUpdate", "3.1.2", "records of 512 bytes"),
]
ESP32 = [
    who("esp32-1.0", "ESP32 HTTPUpdate", "1.0.6"),
    who("esp32-2.0", "ESP32 HTTPUpdate", "2.0.17"),
    who("esp32-3.0", "ESP32 HTTPUpdate", "3.0.7"),
    who("esp-idf-4.4", "esp_https_ota", "4.4"),
    who("esp-idf-5.3", "esp_https_ota", "5.3", "HEAD and ranges"),
    who("esp-idf-5.5", "esp_https_ota", "5.5", "goes on where it broke off"),
    who("native_ota_example", "native_ota_example", "5.3"),
]
ANONYMOUS = ("esphome", "web-tools")  # say nothing about themselves


class Bench:
    """One server, its products, and fleets on them."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.seed = 0
        self.owners = {}

    def owner(self, name, chip="esp8266", hardware="d1mini", **settings):
        self.owners[name] = signing.Publisher(self.server, name, chip, (hardware,), legacy_auth="none", plain_http=True, **settings)
        return self.owners[name]

    def file(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def fleet(self, product, images, people, *more, seconds=60, code=0, plain=None):
        """Runs it; {personality: [device …]} of the report."""
        self.seed += 1
        server, report = self.server, self.folder / f"report-{self.seed}.json"
        claim = server.rest("POST", "/enrollment/codes", {"product": product, "uses": 1000, "ttl_s": 600})["code"]
        words = [SIM, "run", "--server", f"https://localhost:{server.ports['device']}", "--ca", server.data / "ca" / "root.pem", "--product",
                 product, "--claim-code", claim, "--plain-url", f"http://127.0.0.1:{plain or server.ports['legacy']}", "--profile", "quick",
                 "--poll", 1, "--fast", "--until", "confirmed", "--seconds", seconds, "--seed", self.seed, "--report-file", report, *more]
        for path in images:
            words += ["--image", path]
        for one in people:
            words += ["--personality", one]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds + 60, check=False)
        devices = json.loads(report.read_text())["devices"] if report.exists() else []
        assert done.returncode == code, (done.stderr, [(d["personality"], d["outcome"], d["error_text"]) for d in devices if not d["as_expected"]])
        by = {}
        for device in devices:
            by.setdefault(device["personality"], []).append(device)
        return by

    def known(self, device):
        return self.server.rest("GET", f"/devices/{device['id']}")

    def confirmed(self, device, version):
        try:
            self.server.until(lambda: self.known(device)["state"] == "up_to_date", 15)
        except AssertionError:
            raise AssertionError(self.known(device)) from None
        assert self.known(device)["running"]["version"] == version


@pytest.fixture(scope="module")
def bench(make_server, tmp_path_factory):
    server = make_server("legacy.enabled=true", "limits.device_messages=0", "limits.device_requests=0", "mqtt.password=yes",
                         "mqtt.password_port=0", "mqtt.plain=yes", "mqtt.plain_port=0").start()
    server.wait_ready()
    return Bench(server, tmp_path_factory.mktemp("fleet"))


# ---- all of them come to the new version ----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def plug(bench):
    owner = bench.owner("plug")
    bench.server.rest("POST", "/products/plug/mounts", {"path": "/esp/firmware.php", "kind": "tag-squix"})
    owner.publish("2.0.0", esp8266.arduino("plug", "2.0.0", filler=SMALL))
    old = [bench.file("plug-1.0.0.bin", esp8266.arduino("plug", "1.0.0", filler=SMALL))]
    people = [f"{p.values[0]}" for p in PLAIN + TLS]
    return bench.fleet("plug", old, people)


@pytest.fixture(scope="module")
def cam(bench):
    bench.owner("cam", "esp32", "esp32cam").publish("2.0.0", esp32_image.image("cam", "2.0.0"))
    old = [bench.file("cam-1.0.0.bin", esp32_image.image("cam", "1.0.0"))]
    return bench.fleet("cam", old, [p.values[0] for p in ESP32], "--hardware", "esp32cam", "--faults", f"link-loss={len(ESP32)}")


def came(bench, fleet, name):
    (device,) = fleet[name.split("@")[0]]
    assert (device["outcome"], device["trail"], device["version_before"]) == ("confirmed", ["2.0.0"], "1.0.0"), device
    if device["personality"] not in ANONYMOUS:
        bench.confirmed(device, "2.0.0")
    return device


@pytest.mark.parametrize("name", PLAIN)
def test_it_comes_to_the_new_version_without_a_certificate(bench, plug, name):
    came(bench, plug, name)


@pytest.mark.parametrize("name", TLS)
def test_it_comes_to_the_new_version_over_tls_with_its_readings(bench, plug, name):
    device = came(bench, plug, name)
    assert device["readings_after"] >= 2


@pytest.mark.parametrize("name", ESP32)
def test_an_esp32_comes_to_the_new_version_though_its_link_is_lost_once(bench, cam, name):
    assert came(bench, cam, name)["counts"]["link_losses"] == 1


# ---- what goes wrong ------------------------------------------------------------------------------------------------

def test_faults_end_as_they_must(bench):
    bench.owner("bad").publish("2.0.0", esp8266.arduino("bad", "2.0.0", filler=SMALL))
    old = [bench.file("bad-1.0.0.bin", esp8266.arduino("bad", "1.0.0", filler=SMALL))]
    found = bench.fleet("bad", old, ["esp8266-3.1:6"], "--faults", "loop=1,clock=1,full=1,link-loss=1,eboot-cut=1")["esp8266-3.1"]
    ends = {d["fault"]: d["outcome"] for d in found}
    assert ends == {"loop": "reverted", "clock": "confirmed", "full": "waiting", "link-loss": "confirmed", "eboot-cut": "dead",
                    "none": "confirmed"}
    by = {d["fault"]: d for d in found}
    assert by["eboot-cut"]["version_after"] == "" and by["link-loss"]["counts"]["link_losses"] == 1
    assert "this device has 4096 free" in bench.known(by["full"])["why"]


def test_a_clock_at_1970_takes_no_certificate(bench):
    old = [bench.file("clock-1.0.0.bin", esp8266.arduino("clock", "1.0.0", filler=SMALL))]
    bench.owner("clock").publish("2.0.0", esp8266.arduino("clock", "2.0.0", filler=SMALL))
    found = bench.fleet("clock", old, ["esp8266-3.0:2"], "--faults", "clock=1", "--verbose")["esp8266-3.0"]
    assert [d["outcome"] for d in found] == ["confirmed"] * 2
    assert {d["fault"]: d["counts"]["clock_refusals"] > 0 for d in found} == {"clock": True, "none": False}


# ---- detached signatures: row 16 ------------------------------------------------------------------------------------

def detached(bench, name, key, flip):
    owner = bench.owner(name)
    image = esp8266.arduino(name, "2.0.0", filler=SMALL)
    release = owner.draft("2.0.0", image)
    signature = key.detached(image)
    reply = bench.server.call("POST", f"/releases/{release['id']}/images/firmware/signatures", signature,
                              {"Content-Type": "application/octet-stream"})
    assert reply.status == 201, reply.body
    bench.server.rest("POST", f"/releases/{release['id']}:publish")
    old = [bench.file(f"{name}-1.0.0.bin", esp8266.arduino(name, "1.0.0", filler=SMALL))]
    return bench.fleet(name, old, ["detached"], "--verify-key", key.public, *(["--faults", "corrupt-image=1"] if flip else []))["detached"][0]


@pytest.mark.parametrize("flip", [False, True])
def test_a_signature_of_openssl_is_checked_and_one_flipped_bit_is_refused(bench, tmp_path, flip):
    name = "det-flip" if flip else "det"
    key = arduino.Key(tmp_path, "lab", 4096).register(bench.server, name if False else None)
    device = detached(bench, name, key, flip)
    if flip:
        assert device["outcome"] == "refused" and device["version_after"] == "1.0.0" and "signature" in device["error_text"]
    else:
        came(bench, {"detached": [device]}, "detached")


# ---- secureESP8266 --------------------------------------------------------------------------------------------------

@client("secureESP8266", "00.00.08.f", "firmware, flash and reboot in the simulator")
@client("secureESP8266", "00.00.08.i", "firmware, flash and reboot in the simulator")
def test_secureesp8266_obeys_and_checks_the_signature_by_the_key_that_it_runs(bench, tmp_path):
    server, key = bench.server, arduino.Key(tmp_path, "sketch")
    owner = bench.owner("measure")
    server.rest("PATCH", "/products/measure/dialect", {"dialect": "secureesp8266", "settings": {"downloadserver": "localhost",
                                                                                                "mqttserver": "localhost"}})
    key.register(server, "measure")
    images = {v: arduino.image("measure", v, key) for v in ("00.00.08.g", "00.00.08.h")}
    for version, image in images.items():
        owner.publish(version, key.signed(image))
    old = [bench.file("measure-g.bin", images["00.00.08.g"])]
    found = bench.fleet("measure", old, ["secureesp8266-f", "secureesp8266-i"])
    for (device,) in found.values():
        assert device["trail"] == ["00.00.08.h"] and device["outcome"] == "confirmed"
        bench.confirmed(device, "00.00.08.h")


# ---- Tasmota --------------------------------------------------------------------------------------------------------

def users(bench, product, macs):
    lines = []
    for mac in macs:
        made = bench.server.rest("POST", f"/products/{product}/broker-users", {"name": mac})
        lines.append(f"{mac} {made['user']} {made['password']} {made['topic']}")
    return bench.file(f"{product}.users", "\n".join(lines).encode() + b"\n")


@client("Tasmota ESP8266", "13.4", "told over MQTT in the simulator, straight and over -minimal")
def test_tasmota_is_told_and_goes_over_minimal_where_it_must(bench):
    server = bench.server
    shelf = legacy.Shelf(server, "tasmota", plain_http=True)
    url = f"http://127.0.0.1:{server.ports['legacy']}/files/tasmota/tasmota.bin"
    server.rest("PATCH", "/products/tasmota/dialect", {"dialect": "tasmota", "settings": {"otaurl": url}})
    full = esp8266.arduino("tasmota", "13.4.0", filler=60000)
    minimal = esp8266.arduino("tasmota", "13.4.0", filler=8000)
    shelf.publish("13.4.0", firmware=(full, {"file": "tasmota.bin"}), minimal=(minimal, {"file": "tasmota-minimal.bin"}))
    old = [bench.file("tasmota-12.bin", esp8266.arduino("tasmota", "12.0.0", filler=SMALL))]
    found = bench.fleet("tasmota", old, ["tasmota", "tasmota-1m"], "--mqtt-url", f"mqtt://localhost:{server.ports['mqtt_plain']}",
                        "--mqtt-users", users(bench, "tasmota", ["dc4f22000101", "dc4f22000102"]), seconds=90)
    assert found["tasmota"][0]["trail"] == ["13.4.0"] and found["tasmota-1m"][0]["trail"] == ["13.4.0", "13.4.0"]
    for (device,) in found.values():
        bench.confirmed(device, "13.4.0")


def tasmotas(bench, product, otaurl, people, macs, old, *more, **how):
    server = bench.server
    url = f"http://127.0.0.1:{server.ports['legacy']}/files/{product}/{otaurl}"
    server.rest("PATCH", f"/products/{product}/dialect", {"dialect": "tasmota", "settings": {"otaurl": url}})
    return bench.fleet(product, [bench.file(f"{product}-12.bin", old)], people, "--mqtt-url",
                       f"mqtt://localhost:{server.ports['mqtt_plain']}", "--mqtt-users", users(bench, product, macs), *more, **how)


class Between(http.server.ThreadingHTTPServer):
    """Notes what is asked, answers 404 to the first `misses` requests, and hands the others on."""

    def __init__(self, port, misses):
        super().__init__(("127.0.0.1", 0), Handed)
        self.port, self.misses, self.asked = port, misses, []


class Handed(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seen = self.server
        seen.asked.append((self.path.rsplit("/", 1)[1], self.headers.get("x-ESP32-version") or self.headers.get("x-ESP8266-version")))
        if len(seen.asked) <= seen.misses:
            self.send_error(404)
            return
        link = http.client.HTTPConnection("127.0.0.1", seen.port, timeout=20)
        link.request("GET", self.path, headers=dict(self.headers))
        reply = link.getresponse()
        body = reply.read()
        link.close()
        self.send_response(reply.status)
        for name in ("Content-Length", "x-MD5"):
            if reply.headers[name]:
                self.send_header(name, reply.headers[name])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def between(bench):
    made = []

    def make(misses):
        one = Between(bench.server.ports["legacy"], misses)
        made.append((one, threading.Thread(target=one.serve_forever, daemon=True)))
        made[-1][1].start()
        return one
    yield make
    for one, thread in made:
        one.shutdown()
        thread.join()
        one.server_close()


@client("Tasmota ESP8266", "8.1", "its tenth attempt, in the simulator")
def test_tasmota_8_1_asks_ten_times_and_from_the_sixth_for_the_packed_file(bench, between):
    shelf = legacy.Shelf(bench.server, "tas8", plain_http=True)
    full = esp8266.arduino("tas8", "13.4.0", filler=60000)
    shelf.publish("13.4.0", firmware=(full, {"file": "tasmota.bin"}), firmware_gz=(legacy.packed(full), {"file": "tasmota.bin.gz"}))
    way = between(9)
    found = tasmotas(bench, "tas8", "tasmota.bin", ["tasmota-8.1"], ["dc4f22000201"], esp8266.arduino("tas8", "8.1.0", filler=SMALL),
                     seconds=90, plain=way.server_port)
    (device,) = found["tasmota-8.1"]
    assert [name for name, _ in way.asked] == ["tasmota.bin"] * 5 + ["tasmota.bin.gz"] * 5
    assert device["trail"] == ["13.4.0"] and {version for _, version in way.asked} == {"8.1.0(tasmota)"}
    bench.confirmed(device, "13.4.0")


@client("Tasmota ESP32", "13.4", "its way over safeboot, in the simulator")
def test_tasmota32_restarts_into_safeboot_and_asks_from_there(bench, between):
    shelf = legacy.Shelf(bench.server, "tas32s", "esp32", ("devkit",), plain_http=True)
    shelf.publish("13.4.0", firmware=(legacy.esp32(version="13.4.0"), {"file": "tasmota32.bin"}))
    way = between(4)
    found = tasmotas(bench, "tas32s", "tasmota32.bin", ["tasmota32"], ["dc4f22000301"], legacy.esp32(version="12.0.0"), "--hardware",
                     "devkit", seconds=90, plain=way.server_port)
    (device,) = found["tasmota32"]
    assert way.asked == [("tasmota32.bin", "12.0.0(safeboot)")] * 5
    assert device["trail"] == ["13.4.0"] and device["counts"]["resets"] == 2
    bench.confirmed(device, "13.4.0")


# ---- native_ota_example ------------------------------------------------------------------------------------------------

@client("native_ota_example", "5.3", "takes a page that says 404 for an image, in the simulator")
def test_native_ota_example_reads_an_error_page_as_an_image_and_comes_by_one_get(bench, between):
    bench.owner("page", "esp32", "esp32cam").publish("2.0.0", esp32_image.image("page", "2.0.0"))
    old = [bench.file("page-1.0.0.bin", esp32_image.image("page", "1.0.0"))]
    way = between(1)
    found = bench.fleet("page", old, ["native_ota_example"], "--hardware", "esp32cam", "--legacy-url", f"http://127.0.0.1:{way.server_port}")
    (device,) = found["native_ota_example"]
    assert device["counts"]["refusals"] == 1 and device["trail"] == ["2.0.0"]
    assert [name.partition("&")[0] for name, _ in way.asked][:2] == ["firmware.bin?tag=1.0.0"] * 2
    bench.confirmed(device, "2.0.0")


# ---- words ----------------------------------------------------------------------------------------------------------

def test_the_list_names_every_personality_once():
    lines = subprocess.run([SIM, "run", "--list-personalities"], capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    names = [line.split()[0] for line in lines]
    assert len(set(names)) == len(names) and {p.values[0].split("@")[0] for p in PLAIN + TLS + ESP32} < set(names)


@pytest.mark.parametrize(("people", "why"), [
    (["esp8266-2.3"], "plain HTTP"), (["tasmota"], "plain HTTP"), (["esp32-3.0"], "image for its chip"), (["detached"], "--verify-key"),
    (["nobody"], "do not understand"), (["esp8266-3.0:0"], "do not understand"), (["esp8266-3.0@x"], "do not understand"),
])
def test_what_a_personality_needs_is_said(tmp_path, people, why):
    (tmp_path / "old.bin").write_bytes(esp8266.arduino("x", "1.0.0"))
    (tmp_path / "ca.pem").write_bytes(b"-")
    words = [SIM, "run", "--server", "https://localhost:1", "--ca", tmp_path / "ca.pem", "--product", "x", "--image", tmp_path / "old.bin"]
    for one in people:
        words += ["--personality", one]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2 and why in done.stderr, done.stderr
