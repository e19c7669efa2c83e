"""pagurus relay: a server's releases reach devices that wait to be pushed to. The devices are stand-ins
(support/lan_devices.py), the server and the command line are the real ones."""

import json
import os
import signal
import subprocess
import time

import pytest

import esp8266
from support import lan_devices as lan
from test_cli import PAGURUS, Cli


def image(version, product="lamp"):
    return esp8266.arduino(product=product, version=version, filler=30000)


class Relay:
    """A pagurus relay on a server, with a token of its own, and what it said."""

    def __init__(self, server, cli, folder, product):
        self.server, self.cli, self.folder, self.product = server, cli, folder, product
        self.process = None
        token = server.rest("POST", "/tokens", {"name": "relay-" + product, "role": "operator", "ttl_s": 3600,
                                                "product": product})["token"]
        self.token = folder / "relay.token"
        self.token.write_text(token + "\n")
        self.token.chmod(0o600)

    def words(self, *more, dns="none"):
        return [str(PAGURUS), "relay", "--products", self.product, "--server",
                f"https://localhost:{self.server.ports['console']}", "--ca", str(self.server.data / "ca" / "root.pem"),
                "--token-file", str(self.token), "--mdns", dns, "--jsonl", "--timeout", "3s", "--interval", "1s",
                "--wait", "20s", *map(str, more)]

    def once(self, *more, dns="none", want=0):
        done = subprocess.run(self.words("--once", *more, dns=dns), capture_output=True, text=True, timeout=90,
                              env=self.cli.env, cwd=self.folder, check=False)
        assert done.returncode == want, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    def start(self, *more, dns="none"):
        self.log = open(self.folder / "relay.log", "ab")
        self.process = subprocess.Popen(self.words(*more, dns=dns), stdout=self.log, stderr=self.log, env=self.cli.env,
                                        cwd=self.folder)
        return self

    def said(self):
        return (self.folder / "relay.log").read_text()

    def stop(self, sig=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, sig)
            self.process.wait(30)
        code = self.process.returncode if self.process else None
        self.process = None
        return code


class World:
    """One product on the server, releases signed by its own key, a relay."""

    def __init__(self, server, tmp_path, product, **settings):
        self.server, self.product, self.folder = server, product, tmp_path
        server.product(product, chip="esp8266", hardware=("d1mini",), legacy_auth="token", **settings)
        self.cli = Cli(tmp_path)
        self.cli.env["PAGURUS_SERVER"] = f"https://localhost:{server.ports['console']}"
        self.cli.env["PAGURUS_CA"] = str(server.data / "ca" / "root.pem")
        token = tmp_path / "admin.token"
        token.write_text(server.token + "\n")
        token.chmod(0o600)
        self.cli.env["PAGURUS_TOKEN_FILE"] = str(token)
        self.relay = Relay(server, self.cli, tmp_path, product)

    def release(self, version):
        data = image(version, self.product)
        path = self.folder / f"{version}.bin"
        path.write_bytes(data)
        self.cli("release", "push", path, "--product", self.product, "--sign", "first", "--no-passphrase")
        return data

    def devices(self, text):
        """Writes devices.ini; "@name" is a name of this product's own."""
        text = text.replace("@", self.product + "-")
        path = self.folder / "devices.ini"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def device(self, name):
        return self.server.rest("GET", "/devices/" + name.replace("@", self.product + "-"))

    def until(self, check, wait_s=60):
        return self.server.until(check, wait_s)


COUNT = iter(range(100))


@pytest.fixture()
def world(server, tmp_path):
    one = World(server, tmp_path, f"lamp{next(COUNT)}")
    yield one
    one.relay.stop()


def esphome_record(world, device, **more):
    mac = f"84f3eb00{int(world.product[4:]):04x}"

    def announce():
        return {"service": "_esphomelib._tcp", "name": "kitchen", "host": "kitchen", "port": 6053,
                "txt": {"version": "2025.10.1", "project_name": "acme." + world.product, "platform": "ESP8266", "mac": mac,
                        "project_version": getattr(device, "version_text", "1.0.0"), **more}}
    return announce


class EsphomeDevice(lan.Esphome):
    """Says the version that its image carries."""

    version_text = "1.0.0"
    stays = False       # goes back to the old image

    def take(self, data):
        super().take(data)
        at = data.find(esp8266.MAGIC)
        if not self.stays:
            self.version_text = data[at + 48:at + 80].rstrip(b"\0").decode()


# ---- the way ---------------------------------------------------------------------------------------------


@pytest.mark.client("ESPHome OTA", "2025.10", "updated by the relay to what it announces")
def test_a_release_reaches_an_esphome_device_by_what_it_announces(world):
    data = world.release("2.0.0")
    with EsphomeDevice(form="sha256", password="blue") as device, lan.Responder() as dns:
        dns.services = [esphome_record(world, device)]
        rules = world.devices(f"[device kitchen]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\n"
                              f"product = {world.product}\npassword = blue\n")
        out, _ = world.relay.once("--devices", rules, dns=dns.address)
        assert device.flash == data
        states = [one["state"] for one in out]
        assert states == ["pushing", "confirmed"], out
        listed = world.server.rest("GET", f"/devices?product={world.product}")["items"]
        assert len(listed) == 1
        assert listed[0]["protocol"] == "push-esphome"
        assert listed[0]["state"] == "up_to_date" and listed[0]["running"]["version"] == "2.0.0"
        work = world.server.rest("GET", f"/relay/work?product={world.product}")["items"]
        assert work[0]["address"] == f"127.0.0.1:{device.port}" and work[0]["action"] is None


@pytest.mark.client("ArduinoOTA ESP32", "3.3.1", "updated by the relay, once a release")
def test_espota_device_that_says_no_version_is_updated_once_per_release(world):
    first = world.release("1.0.0")
    with lan.Espota(form="sha256", password="blue") as device:
        rules = world.devices(f"[device @cellar]\naddress = 127.0.0.1:{device.port}\nprotocol = espota\n"
                              f"product = {world.product}\npassword = blue\n")
        world.relay.once("--devices", rules)
        assert device.flash == first and device.boots == 1
        world.relay.once("--devices", rules)
        world.relay.once("--devices", rules)
        assert device.boots == 1                        # what was pushed last still runs, as far as is known
        assert world.device("@cellar")["state"] == "up_to_date"
        second = world.release("1.1.0")
        world.relay.once("--devices", rules)
        assert device.flash == second and device.boots == 2
        shown = world.device("@cellar")
        assert shown["running"]["version"] == "1.1.0" and shown["protocol"] == "push-espota"


@pytest.mark.client("WLED", "0.14", "updated by the relay")
@pytest.mark.client("ESP8266HTTPUpdateServer", "2.6", "updated by the relay")
def test_wled_and_upload_page_in_one_round(world):
    data = world.release("2.0.0")
    with lan.Web(kind="wled", becomes="2.0.0", down_s=1) as strip, lan.Web(kind="new", auth="digest", password="blue") as page:
        rules = world.devices(f"[device @strip]\naddress = 127.0.0.1:{strip.port}\nprotocol = wled\nproduct = {world.product}\n"
                              f"[device @page]\naddress = 127.0.0.1:{page.port}\nprotocol = web\nproduct = {world.product}\n"
                              "password = blue\n")
        world.relay.once("--devices", rules)
        assert strip.flash == data and page.flash == data
        assert world.device("84f3eb0000a1")["running"]["version"] == "2.0.0"    # by the MAC that WLED says
        assert world.device("@page")["state"] == "up_to_date"


def test_device_that_comes_back_on_the_old_version_has_reverted(world):
    world.release("1.0.0")
    with EsphomeDevice() as device, lan.Responder() as dns:
        dns.services = [esphome_record(world, device)]
        rules = world.devices(f"[device kitchen]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\n")
        # its record names the project, the rule only where it listens
        world.relay.once("--devices", rules, dns=dns.address)
        device.stays = True
        world.release("2.0.0")
        out, _ = world.relay.once("--devices", rules, dns=dns.address, want=8)
        assert out[-1]["state"] == "reverted" and "1.0.0" in out[-1]["text"]
        assert world.server.rest("GET", f"/devices?product={world.product}")["items"][0]["state"] == "reverted"


def test_failure_carries_the_protocols_own_code(world):
    world.release("2.0.0")
    with lan.Esphome(error=("size", 0x8A)) as device:
        rules = world.devices(f"[device @hall]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\nproduct = {world.product}\n")
        out, _ = world.relay.once("--devices", rules, want=8)
        assert out[-1]["state"] == "failed"
        shown = world.device("@hall")
        assert shown["action"]["state"] == "failed" and shown["action"]["code"] == 0x8A
        assert "no update partition" in shown["action"]["text"]
        assert device.flash is None


def test_three_failures_block_the_image_and_no_device_is_flashed_for_ever(world):
    world.release("2.0.0")
    with lan.Esphome(error=("ended", 0x84)) as device:
        rules = world.devices(f"[device @hall]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\nproduct = {world.product}\n")
        for want in (8, 8, 8, 0, 0):
            world.relay.once("--devices", rules, want=want)
        assert device.pushes == 3
        assert world.device("@hall")["state"] in ("blocked", "failed")
        assert "not offered again" in world.device("@hall")["why"]


# ---- what must not happen --------------------------------------------------------------------------------


def test_devices_of_nobody_are_left_alone(world):
    world.release("2.0.0")
    with lan.Esphome() as device, lan.Responder() as dns:
        dns.services = [{"service": "_esphomelib._tcp", "name": "foreign", "host": "foreign", "port": 6053,
                         "txt": {"platform": "ESP8266", "mac": "84f3eb0000c1", "project_name": "acme.other"}},
                        {"service": "_http._tcp", "name": "Printer", "host": "printer", "port": device.port, "txt": {}}]
        out, _ = world.relay.once(dns=dns.address)
        assert out == [] and device.pushes == 0 and dns.asked > 0
        assert world.server.rest("GET", f"/devices?product={world.product}")["items"] == []


def test_image_with_a_changed_byte_in_the_cache_is_fetched_again(world):
    data = world.release("2.0.0")
    with lan.Esphome() as device:
        rules = world.devices(f"[device @hall]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\nproduct = {world.product}\n")
        cache = world.folder / "cache"
        cache.mkdir()
        import hashlib
        (cache / hashlib.sha256(data).hexdigest()).write_bytes(data[:-1] + b"?")
        world.relay.once("--devices", rules, "--cache", cache)
        assert device.flash == data


def test_image_that_the_trust_set_known_here_did_not_sign_is_never_pushed(world):
    """The relay knows the product's first trust set; the server has another chain now: nothing is pushed."""
    world.release("1.0.0")
    with lan.Esphome() as device:
        rules = world.devices(f"[device @hall]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\nproduct = {world.product}\n")
        # the copies that this machine keeps belong to somebody else's product
        kept = list((world.folder / "cfg" / "pagurus" / "trust").glob("*.cose"))
        assert kept
        other = World(world.server, _sub(world.folder, "other"), world.product + "x")
        other.release("1.0.0")
        foreign = next((other.folder / "cfg" / "pagurus" / "trust").glob("*.cose"))
        kept[0].write_bytes(foreign.read_bytes())
        out, _ = world.relay.once("--devices", rules, want=0)
        assert device.pushes == 0 and device.flash is None
        assert [one["state"] for one in out] == ["rejected"]


def _sub(folder, name):
    path = folder / name
    path.mkdir()
    return path


def test_product_that_admits_certificates_only_is_not_spoken_for(server, tmp_path):
    one = World(server, tmp_path, f"lamp{next(COUNT)}")
    one.server.rest("PATCH", f"/products/{one.product}", {"settings": {"legacy_auth": "certificate"}})
    one.release("1.0.0")
    with lan.Esphome() as device:
        rules = one.devices(f"[device @hall]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\nproduct = {one.product}\n")
        out, said = one.relay.once("--devices", rules)
        assert out == [] and device.pushes == 0 and "legacy_auth" in said


def test_a_relay_cannot_speak_for_another_product_or_a_native_device(world):
    other = World(world.server, _sub(world.folder, "o"), world.product + "o")
    native = world.server.enroll(world.product, "84f3eb0000d%d" % (next(COUNT) % 10), chip=1, hardware=b"d1mini")
    token = world.relay.token.read_text().strip()
    body = {"product": other.product, "protocol": "push-espota", "address": "10.0.0.1:8266"}
    assert world.server.call("PUT", "/relay/devices/x1", body, token=token).status == 404
    body["product"] = world.product
    reply = world.server.call("PUT", f"/relay/devices/{native.id}", body, token=token)
    assert reply.status == 409
    shown = world.device(native.id)
    assert shown["protocol"] != "push-espota"
    assert world.server.call("GET", f"/relay/devices/{native.id}/image", token=token).status == 404
    assert world.server.call("POST", "/relay/report", {"device": native.id, "action": 1, "state": "confirmed"},
                             token=token).status == 404
    for bad in ({"protocol": "native"}, {"address": "x" * 64}, {"version": "v" * 33}):
        assert world.server.call("PUT", "/relay/devices/x1", {**body, **bad}, token=token).status == 422


# ---- what goes away --------------------------------------------------------------------------------------


def test_device_gone_is_no_failure_of_the_image(world):
    world.release("2.0.0")
    with lan.Espota(deaf=10 ** 6) as device:
        rules = world.devices(f"[device @cellar]\naddress = 127.0.0.1:{device.port}\nprotocol = espota\nproduct = {world.product}\n")
        out, _ = world.relay.once("--devices", rules, want=8)
        assert out[-1]["state"] == "deferred" and "does not answer" in out[-1]["text"]
        shown = world.device("@cellar")
        assert shown["action"]["state"] == "deferred" and shown["state"] == "update_offered"
        device.deaf = 0
        out, _ = world.relay.once("--devices", rules)
        assert out[-1]["state"] == "confirmed"


def test_a_killed_relay_begins_again_where_the_server_says(world):
    data = world.release("2.0.0")
    with lan.Esphome(stall_s=1.5) as device:
        rules = world.devices(f"[device @hall]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\nproduct = {world.product}\n")
        world.relay.start("--devices", rules)
        world.until(lambda: device.pushes == 1)
        world.relay.stop(signal.SIGKILL)
        assert device.flash is None
        device.stall_s = 0
        world.relay.start("--devices", rules)
        world.until(lambda: world.device("@hall")["state"] == "up_to_date")
        assert device.flash == data and device.boots == 1
        assert world.relay.stop() == 130


def test_a_push_ends_and_is_reported_though_the_server_goes_away_meanwhile(make_server, tmp_path):
    server = make_server("mqtt.mode=off", "console.port=0").start()
    one = World(server, tmp_path, "lamp")
    data = one.release("2.0.0")
    port = server.ports["console"]
    with lan.Esphome(stall_s=0.5) as device:
        rules = one.devices(f"[device @hall]\naddress = 127.0.0.1:{device.port}\nprotocol = esphome\nproduct = lamp\n")
        one.relay.start("--devices", rules)
        try:
            one.until(lambda: device.pushes == 1)
            server.stop()
            one.until(lambda: device.flash == data)
            server.settings.append(f"console.port={port}")
            one.until(lambda: "not to be had" in one.relay.said() or "confirmed" in one.relay.said())
            server.start()
            one.until(lambda: one.device("@hall")["state"] == "up_to_date")
            assert device.boots == 1
        finally:
            one.relay.stop()


def test_a_revoked_token_ends_the_relay(world):
    listed = world.server.rest("GET", "/tokens")["items"]
    mine = next(one for one in listed if one["name"] == "relay-" + world.product)
    world.server.rest("DELETE", f"/tokens/{mine['id']}")
    world.relay.once(want=4)


def test_one_push_per_device_and_at_most_so_many_at_once(world):
    world.release("2.0.0")
    devices = [lan.Esphome(stall_s=0.3) for _ in range(5)]
    try:
        rules = world.devices("".join(f"[device @n{i}]\naddress = 127.0.0.1:{d.port}\nprotocol = esphome\n"
                                      f"product = {world.product}\n" for i, d in enumerate(devices)))
        world.relay.start("--devices", rules, "--jobs", 2)
        world.until(lambda: all(d.flash for d in devices), 90)
        world.until(lambda: all(world.device(f"@n{i}")["state"] == "up_to_date" for i in range(5)), 60)
        assert [d.boots for d in devices] == [1] * 5
        running, most = 0, 0
        for line in world.relay.said().splitlines():
            if line.startswith("{"):
                state = json.loads(line)["state"]
                running += 1 if state == "pushing" else -1
                most = max(most, running)
        assert most == 2
    finally:
        for device in devices:
            device.close()


# ---- looking around --------------------------------------------------------------------------------------


def test_find_shows_what_announces_itself_and_survives_garbage(tmp_path):
    cli = Cli(tmp_path)
    with lan.Responder(garbage=b"\x00\x00\x84\x00\xff\xff\xff\xff\xff\xff\xff\xff" + b"\xc0\x0c" * 40) as dns:
        dns.services = [
            {"service": "_arduino._tcp", "name": "esp8266-a1b2c3", "host": "esp8266-a1b2c3", "port": 8266,
             "txt": {"auth_upload": "yes"}},
            {"service": "_wled._tcp", "name": "Shelf \x1b[31m", "host": "wled-shelf", "port": 80, "txt": {"mac": "84f3eb0000a1"}},
            {"service": "_http._tcp", "name": "Shelf web", "host": "wled-shelf", "port": 80},
            {"service": "_esphomelib._tcp", "name": "bk", "host": "bk", "port": 6053, "txt": {"platform": "BK7231N", "version": "2025.9.0"}}]
        found = {one["id"]: one for one in cli.json("relay", "--find", "--mdns", dns.address)["items"]}
        assert set(found) == {"esp8266-a1b2c3", "84f3eb0000a1", "bk"}
        assert found["bk"]["address"] == "127.0.0.1:8892" and found["bk"]["version"] == "2025.9.0"
        assert found["esp8266-a1b2c3"]["wants_password"] is True
        assert "\x1b" not in cli("relay", "--find", "--mdns", dns.address).stdout


def test_rules_say_what_is_wrong_with_them(tmp_path):
    cli = Cli(tmp_path)
    path = tmp_path / "devices.ini"
    for text, says in (("[lamp]\nproduct = x\n", "sections are"), ("[device a]\ncolour = red\n", "keys are"),
                       ("[device a]\nprotocol = ftp\n", "protocol is"), ("[device a*]\naddress = 10.0.0.1\nprotocol = web\n", "without * and ?"),
                       ("[device a]\naddress = 10.0.0.1:99999\n", "1 to 65535"), ("[device a]\naddress = 10.0.0.1\n", "needs a protocol")):
        path.write_text(text)
        done = cli("relay", "--products", "lamp", "--devices", path, want=2)
        assert says in done.stderr, done.stderr
    path.write_text("[device a]\npassword = x\n")
    path.chmod(0o644)
    assert "others can read it" in cli("relay", "--products", "lamp", "--devices", path, want=2).stderr
    assert "--products" in cli("relay", want=2).stderr


NAMESPACE = """
set -e
ip link set lo up multicast on
ip route add 224.0.0.0/4 dev lo
exec {python} - <<'PY'
import socket, struct, subprocess, sys, threading
sys.path.insert(0, {tests!r})
from support import lan_devices as lan
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("224.0.0.251", 5353))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1"))
def answer():
    while True:
        said, peer = sock.recvfrom(2048)
        records = lan.service_records({{"service": "_arduino._tcp", "name": "cellar", "host": "cellar", "port": 8266,
                                       "address": "10.77.0.9"}})
        sock.sendto(said[:2] + struct.pack(">HHHHH", 0x8400, 0, len(records), 0, 0) + b"".join(records), peer)
threading.Thread(target=answer, daemon=True).start()
sys.exit(subprocess.call([{pagurus!r}, "relay", "--find", "--json"]))
PY
"""


def test_the_multicast_group_is_asked_on_every_interface(tmp_path):
    """In a network of its own, with the real group and port."""
    import sys
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("no network namespace to be had")
    script = NAMESPACE.format(python=sys.executable, tests=os.path.dirname(os.path.abspath(__file__)), pagurus=str(PAGURUS))
    done = subprocess.run(["unshare", "-rn", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False,
                          env=Cli(tmp_path).env)
    assert done.returncode == 0, done.stderr
    assert [one["address"] for one in json.loads(done.stdout)["items"]] == ["10.77.0.9:8266"]
