"""A Tasmota that is told over MQTT and fetches over HTTP, as docs/spec/tasmota.md says: emulated with mosquitto's own clients."""

import hashlib
import http.client
import itertools
import json
import re
import threading
import time
import urllib.parse

import pytest

import esp8266
import legacy
from mqtt_tools import Session, wait
from support import lan_devices as lan
from test_cli import Cli

OLD = esp8266.arduino("tasmota", "8.1.0", ident=False)
FULL = esp8266.arduino("tasmota", "13.4.0", filler=60000, ident=False)
MINIMAL = esp8266.arduino("minimal", "13.4.0", filler=12000, ident=False)
NUMBERS = itertools.count(1)
BAD_URLS = ["ftp://x/y", "http://x/%s.bin", "http://x/%08d", "http://x/ y", "http://" + "x" * 200]
BAD_TOPICS = ["%prefix%/", "%topic%/", "%prefix%/%topic%", "x%prefix%/%topic%/", "pg/%prefix%/%topic%/", "$SYS/%prefix%/%topic%/",
              "%prefix%/%topic%/%topic%/", "%prefix%/#/%topic%/", "tasmota/%prefix%/%topic%/"]


class Tasmota:
    """What the firmware does with cmnd/<topic>/…, and how it says so: wording of support_command.ino and support_tasmota.ino."""

    ip = "10.0.0.7"

    def __init__(self, server, product, image=OLD, version="8.1.0(tasmota)", full_topic="%prefix%/%topic%/", free_space=1 << 20,
                 discovery=True, images=None, prefix="x-ESP8266"):
        self.server, self.product, self.image, self.version = server, product, image, version
        self.mac = f"dc4f2200{next(NUMBERS):04x}"
        made = server.rest("POST", f"/products/{product}/broker-users", {"name": self.mac})
        self.account, self.topic, self.device = (made["user"], made["password"]), made["topic"], made["device"]
        self.full_topic, self.free_space, self.discovery, self.prefix = full_topic, free_space, discovery, prefix
        self.images = images or {}  # image bytes -> version it says
        self.url, self.heard, self.fetched, self.power, self.restarts = "", [], [], "OFF", 0
        self.fail, self.pause, self.link = None, 0.2, None
        self.closing = False
        self.worker = threading.Thread(target=self.run, daemon=True)

    def place(self, prefix, leaf):
        return self.full_topic.replace("%prefix%", prefix).replace("%topic%", self.topic) + leaf

    def say(self, prefix, leaf, value, retain=False):
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        self.link.publish(self.place(prefix, leaf), text.encode(), retain)

    # -- a session -----------------------------------------------------------------------------------------

    def start(self):
        wait(self.connect, 10, "the broker knows the user")
        self.worker.start()
        return self

    def connect(self):
        try:
            self.link = Session(self.server.ports["mqtt_plain"], self.account, (self.place("tele", "LWT"), "Offline"))
        except OSError:
            return False
        self.link.subscribe(self.place("cmnd", "#"))
        self.say("tele", "LWT", "Online", True)
        if self.discovery and "minimal" not in self.version:
            mac = self.mac.upper()
            config = {"ip": self.ip, "dn": "Kitchen", "hn": self.topic, "mac": mac, "md": "Sonoff Basic", "sw": self.version.split("(")[0],
                      "t": self.topic, "ft": self.full_topic, "tp": ["cmnd", "stat", "tele"], "ofln": "Offline", "onln": "Online", "ver": 1}
            self.link.publish(f"tasmota/discovery/{mac}/config", json.dumps(config).encode(), True)
            self.link.publish(f"tasmota/discovery/{mac}/sensors", b'{"sn":{"Time":"2026-01-01T00:00:00"},"ver":1}', True)
        return True

    def run(self):
        while not self.closing:
            message = self.link.poll(0.1)
            if message:
                self.obey(message)
            elif not self.link.alive and not self.closing:
                time.sleep(0.1)
                self.connect()

    def obey(self, message):
        topic, payload, retained = message
        assert not retained, message
        word, payload = topic.rsplit("/", 1)[1], payload.decode()
        self.heard.append((word, payload))
        if word == "Status" and payload == "2":
            self.say("stat", "STATUS2", {"StatusFWR": {"Version": self.version, "BuildDateTime": "2026-01-01T00:00:00", "Core": "2_7_4_9",
                                                       "SDK": "2.2.2-dev(38a443e)", "CpuFrequency": 80, "Hardware": "ESP8266EX"}})
        elif word == "OtaUrl":
            self.url = payload
            self.say("stat", "RESULT", {"OtaUrl": payload})
        elif word == "Upgrade" and payload == "1":
            self.say("stat", "RESULT", {"Upgrade": f"Version {self.version.split('(')[0]} from {self.url}"})
            self.upgrade()
        elif word == "Upgrade":
            self.say("stat", "RESULT", {"Upgrade": "1 or >8.1.0 to upgrade"})
        elif word == "Restart":
            self.say("stat", "RESULT", {"Restart": "Restarting"})
            self.restart()
        elif word == "Power":
            self.power = {"OFF": "ON", "ON": "OFF"}[self.power] if payload == "toggle" else payload
            self.say("stat", "RESULT", {"POWER": self.power})

    def restart(self):
        self.restarts += 1
        self.say("tele", "LWT", "Offline", True)
        self.link.disconnect()
        time.sleep(0.5)
        self.connect()

    # -- the update ----------------------------------------------------------------------------------------

    def get(self, url):
        parts = urllib.parse.urlsplit(url)
        link = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        spelled = ":".join(self.mac[i:i + 2] for i in range(0, 12, 2)).upper()
        p = self.prefix
        link.request("GET", parts.path, headers={
            "User-Agent": "ESP8266-http-Update" if p == "x-ESP8266" else "ESP32-http-Update", f"{p}-Chip-ID": str(int(self.mac[6:], 16)),
            f"{p}-STA-MAC": spelled, f"{p}-AP-MAC": spelled, f"{p}-free-space": str(self.free_space),
            f"{p}-sketch-size": str(len(self.image)), f"{p}-sketch-md5": hashlib.md5(self.image).hexdigest(),
            f"{p}-chip-size": str(4 << 20), f"{p}-sdk-version": "2.2.2-dev(38a443e)", f"{p}-mode": "sketch", f"{p}-version": self.version})
        answer = link.getresponse()
        self.fetched.append((parts.path.rsplit("/", 1)[1], answer.status))
        if answer.status != 200:
            link.close()
            return answer.status, b""
        if int(answer.getheader("Content-Length")) > self.free_space:
            link.close()  # -100: it does not read a body that does not fit
            return -100, b""
        body = answer.read()
        link.close()
        return 200, body

    def upgrade(self):
        if self.fail is not None:
            self.say("stat", "UPGRADE", {"Upgrade": self.fail})
            return
        self.link.disconnect(clean=False)  # no memory for both
        status, body = self.get(self.url)
        if status == -100:
            head, _, name = self.url.rpartition("/")
            stem, dot, tail = name.partition(".")
            status, body = self.get(f"{head}/{re.sub('-[^-]*$', '', stem)}-minimal{dot}{tail}")
        self.connect()
        time.sleep(self.pause)  # MQTT comes back before the result is said: it is asked for its version meanwhile
        message = self.link.poll(0.2)
        if message:
            self.obey(message)
        if status != 200:
            self.say("stat", "UPGRADE", {"Upgrade": f"Failed Wrong HTTP code {status}"})
            return
        self.say("stat", "UPGRADE", {"Upgrade": "Successful. Restarting"})
        self.image, self.version = body, self.images.get(body, self.version)
        if body == MINIMAL:
            self.free_space = 1 << 20
        self.restart()
        if body == MINIMAL:  # it fetches the original by itself
            self.upgrade()

    def end(self):
        self.closing = True
        if self.worker.is_alive():
            self.worker.join(10)
        if self.link is not None:
            self.link.disconnect()


@pytest.fixture(scope="module")
def server(make_server):
    one = make_server("legacy.enabled=true", "mqtt.password=yes", "mqtt.password_port=0", "mqtt.plain=yes", "mqtt.plain_port=0",
                      "limits.device_messages=0", "limits.device_requests=0").start()
    one.wait_ready()
    return one


def url_of(server, product, name="tasmota.bin"):
    return f"http://127.0.0.1:{server.ports['legacy']}/files/{product}/{name}"


def new_shelf(server, name, chip="esp8266", hardware=("d1mini",), **settings):
    shelf = legacy.Shelf(server, name, chip, hardware, plain_http=True)
    settings.setdefault("otaurl", url_of(server, name))
    server.rest("PATCH", f"/products/{name}/dialect", {"dialect": "tasmota", "settings": settings})
    return shelf


@pytest.fixture
def fleet():
    made = []
    yield made
    for one in made:
        one.end()


def shown(server, one):
    reply = server.call("GET", f"/devices/{one.device}")
    return reply.json if reply.status == 200 else {"state": "unknown", "online": False, "action": None, "running": None}


def arrives(server, one, version="13.4.0"):
    def check():
        now = shown(server, one)
        return (now["action"] or {}).get("state") == "confirmed" and (now["running"] or {}).get("version") == version
    try:
        server.until(check, 40)
    except AssertionError:
        raise AssertionError((shown(server, one), one.heard, one.fetched, one.version)) from None


@pytest.mark.client("Tasmota ESP8266", "13.4", "told over MQTT, comes in by discovery")
def test_discovery_brings_it_in_and_a_release_updates_it_by_itself(server, fleet):
    shelf = new_shelf(server, "one")
    one = Tasmota(server, "one", version="12.0.0(tasmota)", images={FULL: "13.4.0(tasmota)"})
    fleet.append(one.start())
    server.until(lambda: shown(server, one)["online"], 20)
    server.until(lambda: (shown(server, one)["running"] or {}).get("version") == "12.0.0", 20)
    data = {d["topic"] for d in server.rest("GET", f"/devices/{one.device}/data")["data"]}
    assert {"discovery/config", "discovery/sensors"} <= data
    shelf.publish("13.4.0", firmware=(FULL, {"file": "tasmota.bin"}))
    arrives(server, one)
    assert ("OtaUrl", url_of(server, "one")) in one.heard and ("Upgrade", "1") in one.heard
    assert one.fetched == [("tasmota.bin", 200)] and one.restarts == 1
    assert shown(server, one)["state"] == "up_to_date" and shown(server, one)["id"] == one.mac


@pytest.mark.client("Tasmota ESP8266", "13.4", "way over -minimal, told over MQTT")
def test_the_way_over_minimal_ends_confirmed_on_the_full_build(server, fleet):
    shelf = new_shelf(server, "two")
    shelf.publish("13.4.0", firmware=(FULL, {"file": "tasmota.bin"}), minimal=(MINIMAL, {"file": "tasmota-minimal.bin"}))
    one = Tasmota(server, "two", free_space=40960, images={FULL: "13.4.0(tasmota)", MINIMAL: "13.4.0(minimal)"})
    fleet.append(one.start())
    arrives(server, one)
    assert [n for n, _ in one.fetched] == ["tasmota.bin", "tasmota-minimal.bin", "tasmota.bin"] and one.restarts == 2


@pytest.mark.client("Tasmota ESP8266", "8.1", "told over MQTT, without discovery")
def test_one_without_discovery_comes_in_by_its_will(server, fleet):
    shelf = new_shelf(server, "three")
    one = Tasmota(server, "three", discovery=False, images={FULL: "13.4.0(tasmota)"})
    fleet.append(one.start())
    server.until(lambda: (shown(server, one)["running"] or {}).get("version") == "8.1.0", 20)
    shelf.publish("13.4.0", firmware=(FULL, {"file": "tasmota.bin"}))
    arrives(server, one)


@pytest.mark.client("Tasmota ESP32", "13.4", "told over MQTT")
def test_an_esp32_is_told_the_same_way(server, fleet):
    new, old = legacy.esp32(version="13.4.0"), legacy.esp32(version="12.0")
    shelf = new_shelf(server, "four", "esp32", ("devkit",), otaurl=url_of(server, "four", "tasmota32.bin"))
    shelf.publish("13.4.0", firmware=(new, {"file": "tasmota32.bin"}))
    one = Tasmota(server, "four", image=old, version="12.0.0(tasmota32)", images={new: "13.4.0(tasmota32)"}, prefix="x-ESP32")
    fleet.append(one.start())
    arrives(server, one)
    assert shown(server, one)["protocol"] == "esp32-http-update"


def test_another_full_topic_works(server, fleet):
    shelf = new_shelf(server, "five", fulltopic="house/%topic%/%prefix%/")
    shelf.publish("13.4.0", firmware=(FULL, {"file": "tasmota.bin"}))
    one = Tasmota(server, "five", full_topic="house/%topic%/%prefix%/", images={FULL: "13.4.0(tasmota)"})
    fleet.append(one.start())
    arrives(server, one)


def test_its_own_words_say_why_an_update_failed(server, fleet):
    shelf = new_shelf(server, "six")
    shelf.publish("13.4.0", firmware=(FULL, {"file": "tasmota.bin"}))
    one = Tasmota(server, "six")
    one.fail = "Failed Error: Could Not Activate The Firmware (4)"
    fleet.append(one.start())
    server.until(lambda: (shown(server, one)["action"] or {}).get("state") == "failed", 30)
    assert shown(server, one)["action"]["text"] == one.fail or one.fail in shown(server, one)["why"]


def test_a_restart_that_comes_back_on_the_old_version_is_a_failure(server, fleet):
    shelf = new_shelf(server, "seven")
    shelf.publish("13.4.0", firmware=(FULL, {"file": "tasmota.bin"}))
    one = Tasmota(server, "seven", images={})  # installs nothing
    fleet.append(one.start())
    server.until(lambda: (shown(server, one)["action"] or {}).get("state") == "failed", 30)
    assert "8.1.0" in json.dumps(shown(server, one))


def test_commands_are_words_and_are_given_once(server, fleet):
    new_shelf(server, "eight")
    one = Tasmota(server, "eight")
    fleet.append(one.start())
    server.until(lambda: shown(server, one)["online"], 20)
    made = server.rest("POST", f"/devices/{one.device}/commands", {"kind": "app", "arg": "Power toggle"})

    def state():
        return next(c for c in server.rest("GET", f"/devices/{one.device}/commands")["items"] if c["id"] == made["id"])
    server.until(lambda: state()["state"] == "done", 20)
    assert state()["result"]["text"] == '{"POWER":"ON"}' and one.power == "ON" and one.heard.count(("Power", "toggle")) == 1
    made = server.rest("POST", f"/devices/{one.device}/commands", {"kind": "reboot"})
    server.until(lambda: state()["state"] == "done" and one.restarts == 1, 20)
    made = server.rest("POST", f"/devices/{one.device}/commands", {"kind": "check"})
    server.until(lambda: state()["state"] == "done", 20)
    for body in ({"kind": "identify"}, {"kind": "app"}, {"kind": "reboot", "arg": "x"}, {"kind": "firmware"}):
        assert server.call("POST", f"/devices/{one.device}/commands", body).status == 422


def test_readings_are_kept_and_presence_follows_the_will(server, fleet):
    new_shelf(server, "nine")
    one = Tasmota(server, "nine")
    fleet.append(one.start())
    server.until(lambda: shown(server, one)["online"], 20)
    one.say("tele", "SENSOR", {"Time": "2026-01-01T00:00:00", "AM2301": {"Temperature": 21.5}})
    one.say("tele", "STATE", {"Uptime": "0T00:01:00", "UptimeSec": 60, "Heap": 25, "Wifi": {"RSSI": 70, "Signal": -65}})
    server.until(lambda: any(d["topic"] == "tele/SENSOR" for d in server.rest("GET", f"/devices/{one.device}/data")["data"]))
    server.until(lambda: server.rest("GET", f"/devices/{one.device}/data")["status"])
    one.closing = True
    one.worker.join(10)
    one.link.disconnect(clean=False)
    server.until(lambda: not shown(server, one)["online"])


def test_a_stranger_with_the_same_topic_name_is_nobody(server, fleet):
    """A native device cannot write there, and a message for a topic without a user is dropped."""
    new_shelf(server, "ten")
    one = Tasmota(server, "ten")
    fleet.append(one.start())
    server.until(lambda: shown(server, one)["online"], 20)
    other = Tasmota(server, "ten")
    wait(other.connect)
    fleet.append(other)
    other.link.publish(one.place("stat", "STATUS2"), b'{"StatusFWR":{"Version":"66.0(tasmota)"}}')
    other.link.publish(f"tasmota/discovery/{one.mac.upper()}/config", b'{"sw":"66.0"}', True)
    other.say("tele", "LWT", "Online", True)
    server.until(lambda: shown(server, other)["online"], 20)
    assert "66.0" not in json.dumps(shown(server, one)) + json.dumps(server.rest("GET", f"/devices/{one.device}/data"))


def test_a_retained_answer_is_old_and_says_nothing(server, fleet):
    new_shelf(server, "eleven")
    one = Tasmota(server, "eleven")
    wait(one.connect)
    one.say("stat", "STATUS2", {"StatusFWR": {"Version": "66.0(tasmota)"}}, True)
    one.link.disconnect()
    server.stop()
    server.start()
    server.wait_ready()
    fleet.append(one.start())
    server.until(lambda: (shown(server, one)["running"] or {}).get("version") == "8.1.0", 20)


@pytest.mark.parametrize("settings", [*({"otaurl": u} for u in BAD_URLS), *({"fulltopic": t} for t in BAD_TOPICS), {"other": 1}, {"otaurl": 7}])
def test_settings_that_cannot_work_are_refused_in_words(server, settings):
    if server.call("GET", "/products/settings").status == 404:
        server.product("settings", chip="esp8266", hardware=["d1mini"])
    reply = server.call("PATCH", "/products/settings/dialect", {"dialect": "tasmota", "settings": settings})
    assert reply.status == 422 and f"/settings/{next(iter(settings))}" in reply.body.decode()


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"7", b'{"StatusFWR":7}', b'{"StatusFWR":{"Version":7}}', b'{"StatusFWR":{"Version":""}}',
                                     b'{"StatusFWR":{"Version":"' + b"x" * 3000 + b'"}}', b"{" * 500, b'{"Upgrade":{"a":1}}', b"\xff\xfe"])
def test_hostile_answers_change_nothing(server, fleet, payload):
    if server.call("GET", "/products/twelve").status == 404:
        new_shelf(server, "twelve")
    one = Tasmota(server, "twelve")
    fleet.append(one.start())
    server.until(lambda: (shown(server, one)["running"] or {}).get("version") == "8.1.0", 20)
    one.closing = True
    one.worker.join(10)
    for leaf in ("STATUS2", "UPGRADE", "RESULT"):
        one.link.publish(one.place("stat", leaf), payload)
    one.say("tele", "LWT", "Offline", True)
    server.until(lambda: not shown(server, one)["online"])
    assert shown(server, one)["running"]["version"] in ("8.1.0", "x" * 32)


# ---- configurations of all of them -----------------------------------------------------------------------


def test_all_that_the_server_knows_are_saved_at_the_addresses_they_announced(server, fleet, tmp_path):
    new_shelf(server, "saved")
    new_shelf(server, "others")
    cli = Cli(tmp_path)
    token = tmp_path / "token"
    token.write_text(server.token + "\n")
    token.chmod(0o600)
    cli.env.update(PAGURUS_SERVER=f"https://localhost:{server.ports['console']}", PAGURUS_TOKEN_FILE=str(token),
                   PAGURUS_CA=str(server.data / "ca" / "root.pem"))
    for product, ip in (("saved", "127.0.0.1"), ("saved", "127.0.0.1"), ("saved", "not an address"), ("others", "127.0.0.1")):
        one = Tasmota(server, product)
        one.ip = ip
        fleet.append(one.start())
    for one in fleet:
        server.until(lambda: any(d["topic"] == "discovery/config" for d in data_of(server, one)), 20)
    with lan.Tasmota() as web:
        done = cli("tasmota", "backup", "--all", "--product", "saved", "--port", web.port, "--mdns", "none", "-o", "backups", "--jsonl", want=1)
        rows = {row["device"]: row["result"] for row in map(json.loads, done.stdout.splitlines())}
        assert rows == {fleet[0].device: "ok", fleet[1].device: "ok", fleet[2].device: "it has not said its address"}
        for one in fleet[:2]:
            assert (tmp_path / "backups" / f"{one.device}.dmp").read_bytes() == web.settings
        assert len(list((tmp_path / "backups").iterdir())) == 2
        cli("tasmota", "backup", "--all", "--product", "others", "--port", web.port, "--mdns", "none", "-o", "more")
        assert [f.stem for f in (tmp_path / "more").iterdir()] == [fleet[3].device]


def data_of(server, one):
    reply = server.call("GET", f"/devices/{one.device}/data")
    return reply.json["data"] if reply.status == 200 else []
