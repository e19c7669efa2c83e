"""Requests byte for byte as clients send them (tests/compat/replays), and what every one of them needs of an answer."""

import hashlib
import json
import pathlib
import re

import pytest

import esp8266
import legacy

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "compat" / "replays"
ROWS = [line.split("\t") for line in (FOLDER / "replays.tsv").read_text().splitlines()[2:]]
NEW = esp8266.arduino("replay", "1.0.0", ident=False)
OLD = esp8266.arduino("replay", "0.9.0", ident=False)
N32 = legacy.esp32(version="1.0.0")
SAFE = legacy.esp32(version="1.0.0", filler=4000)
ESP32 = ("ESP32 HTTPUpdate", "esp_https_ota", "native_ota_example", "Tasmota ESP32", "ESP Web Tools")
BODIES = {"mode version": b"", "version text": b"1.0.0", ".gz": legacy.packed(NEW), "-minimal": legacy.packed(OLD), "safeboot": SAFE,
          ".md5": hashlib.md5(NEW).hexdigest().encode() + b"\n"}


@pytest.fixture(scope="module")
def server(make_server):
    one = make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0").start()
    shelf = legacy.Shelf(one, "replay", plain_http=True, max_serves=100)
    shelf.publish("0.9.0", firmware=(OLD, {"core": "2.7.4"}))
    shelf.publish("1.0.0", firmware=(NEW, {"file": "replay.bin"}), firmware_gz=(legacy.packed(NEW), {"file": "replay.bin.gz"}),
                  minimal_gz=legacy.packed(OLD))
    shelf.mount("/esp/firmware.php", "tag-squix")
    shelf.mount("/EmonESP/ota/firmware.php", "tag-emonesp")
    shelf.mount("/tasmota", "files")
    other = legacy.Shelf(one, "replay32", "esp32", ("board",), plain_http=True, max_serves=100)
    other.publish("1.0.0", firmware=N32, safeboot=SAFE)
    other.mount("/fresh", "files", not_modified=True)
    other.mount("/tasmota32", "files")
    return one


def body_is_right(request, client, case, got):
    """What this client needs of the body, beyond its length."""
    image = N32 if client in ESP32 else NEW
    if got.status == 206:
        first, last = re.search(rb"Range: bytes=(\d+)-(\d*)", request).groups()
        end = min(int(last) + 1 if last else len(image), len(image))
        assert got.header("content-range") == f"bytes {int(first)}-{end - 1}/{len(image)}"
        assert got.body == image[int(first):end]
    elif case.startswith("manifest"):
        build = json.loads(got.body)["builds"][0]
        assert (build["chipFamily"], build["ota"]["md5"]) == ("ESP32" if client in ESP32 else "ESP8266", hashlib.md5(image).hexdigest())
    elif not request.startswith(b"HEAD"):
        assert got.body == BODIES.get(case, image)
    else:
        assert got.header("content-length") == str(len(image))


@pytest.mark.parametrize("name, client, version, case, listener, status", [
    pytest.param(*row, marks=pytest.mark.client(row[1], row[2], row[3]), id=row[0]) for row in ROWS])
def test_replay(server, name, client, version, case, listener, status):
    request = (FOLDER / name).read_bytes()
    got = legacy.send(server, request, port=listener, head=request.startswith(b"HEAD"))
    assert got.status == int(status), (client, version, case)
    names = [n for n, _ in got.headers]
    assert not {"transfer-encoding", "content-encoding", "location"} & set(names)
    assert len(names) == len(set(names)) and got.rest == b""
    if got.status == 200 and not request.startswith(b"HEAD"):
        assert len(got.body) == int(got.header("content-length"))
        md5 = got.header("x-md5")
        assert md5 is None or md5 == hashlib.md5(got.body).hexdigest()
    if got.status in (200, 206):
        body_is_right(request, client, case, got)
    else:
        assert got.body == b""


def test_every_file_is_in_the_list():
    assert sorted(p.name for p in FOLDER.glob("*.http")) == sorted(row[0] for row in ROWS)
