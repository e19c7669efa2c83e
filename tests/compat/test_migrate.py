"""The pages of docs/migrate to the letter: each `sh` block is one script, run in the order of the page by somebody who is signed in."""

import os
import pathlib
import re
import subprocess

import pytest

from bench import BUILD, ROOT, make_server  # noqa: F401

import esp8266
import legacy
from support import lan_devices as lan

FOLDER = ROOT / "docs" / "migrate"
ELSEWHERE = {"secureesp8266.md": "tests/system/test_migrate_secureesp.py"}
client = pytest.mark.client


def blocks(page):
    return re.findall(r"^```sh\n(.*?)^```$", (FOLDER / page).read_text(), re.S | re.M)


class Reader:
    """Who follows a page, in a folder of his own, with a server that no other page has touched."""

    def __init__(self, server, folder):
        self.server, self.folder = server, pathlib.Path(folder)
        token = self.folder / "admin.token"
        token.write_text(server.token + "\n")
        token.chmod(0o600)
        self.env = {"PATH": f"{BUILD}:/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8",
                    "PAGURUS_SERVER": f"https://localhost:{server.ports['console']}", "PAGURUS_TOKEN_FILE": str(token),
                    "PAGURUS_CA": str(server.data / "ca" / "root.pem"), "SERVER": f"localhost:{server.ports['device']}",
                    "PLAIN": f"127.0.0.1:{server.ports['legacy']}",
                    **{n: os.environ[n] for n in ("ASAN_OPTIONS", "UBSAN_OPTIONS") if n in os.environ}}

    def file(self, name, data):
        (self.folder / name).write_bytes(data)

    def follow(self, page, **instead):
        """Runs the whole page; instead: what stands on it to what it is here. Returns what it said."""
        said = ""
        for block in blocks(page):
            for old, new in instead.items():
                block = block.replace(old, new)
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], capture_output=True, text=True, timeout=120, check=False,
                                  cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
            said += done.stdout + done.stderr
        return said

    def device(self, device):
        return self.server.rest("GET", f"/devices/{device}")


@pytest.fixture
def reader(make_server, tmp_path):  # noqa: F811
    server = make_server("legacy.enabled=true", "mqtt.plain=yes", "mqtt.plain_port=0").start()
    server.wait_ready()
    return Reader(server, tmp_path)


def sketch(name, version):
    return esp8266.arduino(name, version, ident=False)


@client("ESP8266httpUpdate", "2.7.4", "moves by the page")
def test_httpupdate(reader):
    for version in ("1.0.0", "1.1.0"):
        reader.file(f"plug-{version}.bin", sketch("plug", version))
    reader.follow("httpupdate.md")
    shown = reader.device("5ccf7f010203")
    assert shown["state"] == "up_to_date" and shown["why"].startswith("1.1.0 runs")


@client("ESP32 HTTPUpdate", "1.0.6", "moves by the page")
def test_esp32_httpupdate(reader):
    for version in ("1.0.0", "1.1.0"):
        reader.file(f"cam-{version}.bin", legacy.esp32(version=version))
    assert "partition" in reader.follow("esp32-httpupdate.md")
    shown = reader.device("24a160010203")
    assert shown["state"] == "up_to_date" and shown["why"].startswith("1.1.0 runs")


@client("EmonESP", "2020", "moves by the page")
@client("squix esp8266-ci-ota", "2016", "moves by the page")
def test_tag_scripts(reader):
    reader.file("emon-2.8.1.bin", sketch("emon", "2.8.1"))
    reader.follow("tag-scripts.md")
    assert reader.device("5ccf7f0a0b0c")["action"]["state"] in ("downloading", "installing")


@client("esp_https_ota", "5.5", "moves by the page")
@client("native_ota_example", "5.3", "moves by the page")
def test_esp_https_ota(reader):
    reader.file("pump-1.1.0.bin", legacy.esp32(version="1.1.0", filler=60000))
    reader.follow("esp-https-ota.md")
    assert reader.device("24a160010203")["product"] == "pump"


@client("ESPHome http_request", "2024.10", "moves by the page")
@client("ESPHome OTA", "v2", "pushed by the page")
def test_esphome(reader):
    image = sketch("node", "2026.3.1")
    reader.file("node.bin", image)
    with lan.Esphome(form="md5", password="blue sky") as device:
        reader.follow("esphome.md", **{"push 192.168.1.40": f"push 127.0.0.1 --mdns none --port {device.port}"})
        assert device.flash == image


@client("ESP Web Tools", "10", "moves by the page")
def test_esp_web_tools(reader):
    parts = {"bootloader.bin": b"\xe9boot" * 100, "partitions.bin": b"\xaa\x50" * 100, "boot_app0.bin": b"\x01" * 8192}
    for name, data in {**parts, "cam-1.1.0.bin": legacy.esp32(version="1.1.0")}.items():
        reader.file(name, data)
    assert "manifest.json" in reader.follow("esp-web-tools.md")


@client("ArduinoOTA ESP8266", "3.1.2", "moves by the page")
@client("ESP8266HTTPUpdateServer", "2.6", "moves by the page")
@client("WLED", "0.14", "moves by the page")
def test_arduino_ota(reader):
    image = sketch("lamp", "1.1.0")
    reader.file("lamp-1.1.0.bin", image)
    with lan.Espota(form="md5", password="blue sky") as hand, lan.Web(kind="new", auth="basic", password="blue sky") as page, \
            lan.Espota(form="md5", password="blue sky") as cellar, lan.Web(kind="wled", becomes="1.1.0") as strip:
        def listens(device, more=""):
            return f"127.0.0.1{more} --mdns none --port {device.port}"
        reader.follow("arduino-ota.md", **{
            "push 192.168.1.40": "push " + listens(hand), "push 192.168.1.41": "push " + listens(page),
            "= 192.168.1.42": f"= 127.0.0.1:{cellar.port}", "= 192.168.1.43": f"= 127.0.0.1:{strip.port}",
            "--once": "--once --mdns none"})
        assert [d.flash for d in (hand, page, cellar, strip)] == [image] * 4
    assert {d["state"] for d in reader.server.rest("GET", "/devices?product=lamp")["items"]} == {"up_to_date"}


@client("Tasmota ESP8266", "13.4", "the commands of the page")
def test_tasmota(reader):
    reader.file("tasmota.bin", sketch("tasmota", "13.4.0"))
    reader.file("tasmota-minimal.bin", esp8266.arduino("minimal", "13.4.0", filler=12000, ident=False))
    with lan.Tasmota() as kitchen:
        assert "lamp.kitchen" in reader.follow("tasmota.md", **{"backup 192.168.1.40": f"backup 127.0.0.1 --mdns none --port {kitchen.port}"})
        assert (reader.folder / "kitchen.dmp").read_bytes() == kitchen.settings
    assert reader.server.rest("GET", "/releases?product=lamp")["items"][0]["version"] == "13.4.0"


def test_every_page_is_run_and_short():
    here = pathlib.Path(__file__).read_text()
    for page in sorted(p.name for p in FOLDER.glob("*.md")):
        if page in ELSEWHERE:
            assert page in (ROOT / ELSEWHERE[page]).read_text()
        elif blocks(page):
            assert f'follow("{page}"' in here, f"nobody runs {page}"
            assert len((FOLDER / page).read_text().splitlines()) <= 80, page
        assert page == "README.md" or f"({page})" in (FOLDER / "README.md").read_text(), f"{page} is not in the list"
