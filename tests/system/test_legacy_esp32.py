"""HTTPUpdate of Arduino-ESP32: docs/spec/httpupdate.md 7."""

import hashlib

import pytest

import legacy

OLD = legacy.esp32(version="0.9.0")
NEW = legacy.esp32(version="1.0.0")
C3 = legacy.esp32(chip_id=5, version="1.0.0")


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0").start()


@pytest.fixture(scope="module")
def shelf(server):
    one = legacy.Shelf(server, "cam", "esp32", ("cam-r1",), plain_http=True)
    one.publish("0.9.0", firmware=OLD)
    one.publish("1.0.0", firmware=NEW)
    return one


_next = iter(range(1, 10000))


@pytest.fixture
def cam(server, shelf):
    return legacy.Esp32Updater(server, "cam", f"24a162{next(_next):06x}", OLD)


def without(device, *names):
    original = device.headers
    device.headers = lambda mode="sketch": [(n, v) for n, v in original(mode) if n.lower() not in {x.lower() for x in names}]
    return device


def test_an_update_and_its_confirmation(server, cam):
    status, headers, body, rest = cam.raw()
    assert (status, body, rest) == (200, NEW, b"")
    assert [v for n, v in headers if n.lower() == "x-md5"] == [hashlib.md5(NEW).hexdigest()]
    shown = server.until(lambda: (lambda d: d if d["action"]["state"] == "installing" else None)(legacy.state_of(server, cam.mac)))
    assert shown["protocol"] == "esp32-http-update" and shown["running"]["sha256"] == hashlib.sha256(OLD).hexdigest()
    cam.image = NEW
    assert cam.raw()[0] == 304
    shown = legacy.state_of(server, cam.mac)
    assert shown["state"] == "up_to_date" and shown["action"]["state"] == "confirmed"


def test_core_1_0_is_known_by_its_sha256_alone(server, cam):
    without(cam, "x-ESP32-sketch-md5").image = NEW
    assert cam.raw()[0] == 304
    cam.image = OLD
    assert cam.raw()[0] == 200 and legacy.state_of(server, cam.mac)["running"]["sha256"] == hashlib.sha256(OLD).hexdigest()


def test_keep_alive_in_http_1_0_is_answered_and_closed(server, cam):
    for version, drop in (("1.0", ()), ("1.1", ()), ("1.0", ("Connection",))):
        status, _, body, rest = cam.raw(http_version=version, drop=drop)
        assert (status, len(body), rest) == (200, len(NEW), b"")


def test_the_free_space_is_of_the_next_slot(server, cam):
    cam.free_space = -(-len(NEW) // 4096) * 4096 - 1
    assert cam.raw()[0] == 304 and "free" in legacy.state_of(server, cam.mac)["why"]
    cam.free_space += 1
    assert cam.raw()[0] == 200


def test_a_packed_image_never_goes_to_an_esp32(server):
    one = legacy.Shelf(server, "zip", "esp32", ("cam-r1",), core="3.0.0")
    one.publish("1.0.0", firmware=OLD)
    one.publish("2.0.0", firmware_gz=legacy.packed(NEW))
    device = legacy.Esp32Updater(server, "zip", f"24a162{next(_next):06x}", OLD)
    assert device.raw()[0] == 304 and "gzip" in legacy.state_of(server, device.mac)["why"]


def test_an_image_of_another_chip_does_not_get_in(server):
    one = legacy.Shelf(server, "chip", "esp32", ("cam-r1",))
    release = one.draft("1.0.0")
    assert one.put(release["id"], "firmware", C3).status == 422


def test_a_file_system_update_never_gets_a_sketch(server, cam):
    assert cam.raw(mode="spiffs")[0] == 404


def test_who_comes_back_on_the_old_image_is_not_offered_it_again(server):
    one = legacy.Shelf(server, "flip", "esp32", ("cam-r1",))
    one.publish("0.9.0", firmware=OLD)
    one.publish("1.0.0", firmware=NEW)
    device = legacy.Esp32Updater(server, "flip", f"24a162{next(_next):06x}", OLD)
    served = 0
    while served < 9 and device.raw()[0] == 200:
        served += 1
        server.until(lambda: legacy.state_of(server, device.mac)["action"]["state"] == "installing")
        device.image = NEW
        assert device.raw()[0] == 304
        device.image = OLD
    assert served == 3
    assert legacy.state_of(server, device.mac)["state"] == "blocked"
    assert device.raw()[0] == 304
