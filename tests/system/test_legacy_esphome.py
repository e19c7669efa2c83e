"""ESPHome's http_request OTA and update entity, and the page of ESP Web Tools: docs/spec/legacy-http.md 7."""

import hashlib
import json

import pytest

import esp8266
import legacy

LAMP = legacy.esp32(chip_id=5, version="2024.10.1")
NODE = esp8266.arduino("node", "2024.10.1", ident=False)
UA = [("User-Agent", "ESPHome/2024.10.1 (https://esphome.io)"), ("Connection", "keep-alive")]


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0").start()


@pytest.fixture(scope="module")
def shelf(server):
    one = legacy.Shelf(server, "lamp", "esp32-c3", ("lamp-c3",), plain_http=True)
    one.publish("2024.10.1", firmware=(LAMP, {"file": "http-lamp.ota.bin"}), bootloader=(b"\xe9boot" * 100, {"offset": 0}),
                partitions=(b"\xaa\x50" * 100, {"offset": 32768}), boot_app0=(b"\x01" * 8192, {"offset": 57344}))
    node = legacy.Shelf(server, "node", plain_http=True)
    node.publish("2024.10.1", firmware=(NODE, {"file": "node.bin"}), firmware_gz=legacy.packed(NODE))
    return one


@pytest.mark.parametrize("path, image", [("/files/node/node.bin", NODE), ("/files/node/firmware.bin", NODE),
                                         ("/files/node/firmware.bin.gz", legacy.packed(NODE)), ("/files/lamp/firmware.bin", LAMP)])
def test_the_md5_is_of_the_file_beside_it(server, shelf, path, image):
    got = legacy.get(server, path + ".md5", UA)
    assert got.status == 200 and got.body[:32] == hashlib.md5(image).hexdigest().encode()
    assert len(got.body) in (32, 33) and got.header("content-length") == str(len(got.body))
    assert legacy.get(server, path, UA).body == image


def test_head_and_md5_come_in_one_piece(server, shelf):
    for _ in range(20):
        with legacy.connect(server, port="legacy") as link:
            link.sendall(b"GET /files/node/node.bin.md5 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert hashlib.md5(NODE).hexdigest().encode() in link.recv(4096)


def test_there_is_no_md5_of_what_is_not_there(server, shelf):
    for name in ("other.bin.md5", ".md5", "manifest.json.md5", "bin.md5"):
        assert legacy.get(server, "/files/node/" + name, UA).status == 404


def test_there_is_never_a_304_even_for_who_is_known(server, shelf):
    mac = "dc4f22aa0001"
    for _ in range(2):
        assert legacy.get(server, f"/files/node/{mac}/node.bin?tag=2024.10.1", UA).status == 200
        assert legacy.get(server, f"/files/node/{mac}/node.bin.md5", UA).status == 200
        assert legacy.get(server, f"/files/node/{mac}/manifest.json", UA).status == 200


def test_the_manifest_has_all_that_its_readers_need(server, shelf):
    got = legacy.get(server, "/files/lamp/manifest.json", UA)
    assert got.status == 200 and got.header("content-type") == "application/json"
    assert int(got.header("content-length")) < 1024, "it is read whole into a small device"
    manifest = json.loads(got.body)
    assert (manifest["name"], manifest["version"]) == ("lamp", "2024.10.1")
    assert [b["chipFamily"] for b in manifest["builds"]] == ["ESP32-C3"]
    ota = manifest["builds"][0]["ota"]
    assert ota["md5"] == hashlib.md5(LAMP).hexdigest()
    assert "http" not in ota["path"] and not ota["path"].startswith("/")
    assert legacy.get(server, "/files/lamp/" + ota["path"], UA).body == LAMP
    parts = {p["path"]: p["offset"] for p in manifest["builds"][0]["parts"]}
    assert sorted(parts.values()) == [0, 32768, 57344, 65536]
    for path in parts:
        assert "http" not in path and legacy.get(server, "/files/lamp/" + path, UA).status == 200


def test_an_esp8266_is_one_part_at_zero(server, shelf):
    build = json.loads(legacy.get(server, "/files/node/manifest.json", UA, port="legacy").body)["builds"][0]
    assert build["chipFamily"] == "ESP8266" and build["parts"] == [{"path": "firmware.bin", "offset": 0}]


@pytest.mark.parametrize("chip, family", [("esp32", "ESP32"), ("esp32-s2", "ESP32-S2"), ("esp32-s3", "ESP32-S3"),
                                          ("esp32-c6", "ESP32-C6"), ("esp32-h2", "ESP32-H2"), ("esp32-c2", "ESP32-C2")])
def test_every_family_is_spelled_as_its_readers_spell_it(server, chip, family):
    ids = {"esp32": 0, "esp32-s2": 2, "esp32-s3": 9, "esp32-c6": 13, "esp32-h2": 16, "esp32-c2": 12}
    one = legacy.Shelf(server, "fam-" + chip, chip, ("board",))
    one.publish("1.0.0", firmware=legacy.esp32(chip_id=ids[chip]))
    manifest = json.loads(legacy.get(server, f"/files/fam-{chip}/manifest.json").body)
    assert manifest["builds"][0]["chipFamily"] == family


def test_a_product_without_a_release_has_no_manifest(server):
    legacy.Shelf(server, "bare", "esp32", ("board",))
    assert legacy.get(server, "/files/bare/manifest.json").status == 404
