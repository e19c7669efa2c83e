"""Packed images only where it is on record that they can be unpacked without harm: docs/spec/legacy-http.md 2."""

import pytest

import esp8266
import legacy

OLD = esp8266.arduino("box", "1.0.0", ident=False)
NEW = esp8266.arduino("box", "2.0.0", ident=False)
GZ = legacy.packed(NEW)
UNPACKED_SECTORS = -(-len(NEW) // 4096) * 4096


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "limits.device_requests=0").start()


_next = iter(range(1, 10000))


def signed(data):
    return data + bytes(range(256)) + (256).to_bytes(4, "little")


def shelf(server, core_of_old=None, setting=None, **images):
    """A product whose devices run OLD, and a release 2.0.0 of the given images."""
    settings = {"core": setting} if setting else {}
    one = legacy.Shelf(server, f"box-{next(_next)}", **settings)
    one.publish("1.0.0", firmware=(OLD, {"core": core_of_old}) if core_of_old else OLD)
    one.publish("2.0.0", **images)
    return one


def plug(server, one, image=OLD, **other):
    return esp8266.Updater(server, one.name, f"5ccf7b{next(_next):06x}", image, **other)


def why(server, device):
    return legacy.state_of(server, device.mac)["why"]


@pytest.mark.parametrize("core, setting, served", [
    (None, None, False), ("2.6.3", None, False), ("2.7.0", None, True), ("3.1.2", None, True), (None, "2.7.4", True),
    (None, "2.6.3", False), ("2.6.3", "3.0.2", False), ("2.7.4", "2.5.2", True),
])
def test_a_packed_image_goes_only_to_what_is_on_record_as_core_2_7(server, core, setting, served):
    one = shelf(server, core, setting, firmware_gz=GZ)
    device = plug(server, one)
    status, _, body, _ = device.raw()
    assert (status, body) == ((200, GZ) if served else (304, b""))
    if not served:
        assert "gzip" in why(server, device)


def test_the_record_is_of_what_runs_and_not_of_who_asks(server):
    one = shelf(server, "3.1.2", "3.1.2", firmware_gz=GZ)
    stranger = plug(server, one, esp8266.arduino("box", "0.1", ident=False))
    assert stranger.raw()[2] == OLD, "an unpacked image from which a packed one can follow"
    old_core = plug(server, one)
    assert old_core.raw(drop=("x-ESP8266-Chip-ID",))[0] == 304, "its headers are of core 2.5 or older"
    assert old_core.raw()[0] == 200


def test_the_raw_image_is_preferred_and_the_packed_one_is_the_way_out(server):
    one = shelf(server, "3.1.2", firmware=NEW, firmware_gz=GZ)
    roomy = plug(server, one)
    assert roomy.raw()[2] == NEW
    tight = plug(server, one, free_space=len(GZ) // 4096 * 4096 + 4096)
    assert tight.free_space < UNPACKED_SECTORS and tight.raw()[2] == GZ


def test_a_device_that_took_the_packed_form_is_confirmed_by_what_was_in_it(server):
    one = shelf(server, "3.1.2", firmware=NEW, firmware_gz=GZ)
    device = plug(server, one, free_space=len(GZ) // 4096 * 4096 + 4096)
    assert device.raw()[2] == GZ
    server.until(lambda: legacy.state_of(server, device.mac)["action"]["state"] == "installing")
    device.image = NEW
    assert device.raw()[0] == 304
    shown = legacy.state_of(server, device.mac)
    assert shown["state"] == "up_to_date" and shown["action"]["state"] == "confirmed"
    since = shown["running"]["since"]
    assert device.raw()[0] == 304 and legacy.state_of(server, device.mac)["running"]["since"] == since


@pytest.mark.parametrize("core, served", [("2.7.4", False), ("3.0.0", True)])
def test_packed_and_signed_bricks_2_7_and_never_goes_there(server, core, served):
    one = shelf(server, core, firmware_gz=signed(GZ))
    device = plug(server, one)
    assert device.raw()[0] == (200 if served else 304)
    if not served:
        assert "boot loader" in why(server, device) and legacy.state_of(server, device.mac)["state"] == "blocked"


def test_another_flash_mode_in_a_packed_image_is_a_boot_loop(server):
    one = shelf(server, "3.1.2", firmware_gz=GZ)
    flashed = OLD[:2] + bytes([3]) + OLD[3:]  # the flasher wrote DOUT where the build said DIO
    device = plug(server, one, flashed)
    assert device.raw()[0] == 304 and "flash mode 2" in why(server, device)
    one.publish("2.0.1", firmware=esp8266.arduino("box", "2.0.1", ident=False))
    assert device.raw()[0] == 200, "an unpacked one is adapted by the device"


@pytest.mark.parametrize("more, served", [(0, True), (-4096, False)])
def test_unpacking_must_not_overrun_what_is_read(server, more, served):
    # room to unpack = free-space + whole sectors of the sketch - whole sectors of what is sent
    one = shelf(server, "3.1.2", firmware_gz=GZ)
    sent = -(-len(GZ) // 4096) * 4096
    device = plug(server, one)
    reported = 8192
    device.free_space = UNPACKED_SECTORS + sent - reported + more
    assert device.free_space >= sent
    original = device.headers
    device.headers = lambda mode="sketch": [(n, str(reported) if n == "x-ESP8266-sketch-size" else v) for n, v in original(mode)]
    assert device.raw()[0] == (200 if served else 304)
    if not served:
        assert "unpacked" in why(server, device)


def test_a_packed_file_that_is_none_is_refused_at_upload(server):
    one = legacy.Shelf(server, f"box-{next(_next)}")
    release = one.draft("1.0.0")
    assert one.put(release["id"], "firmware-gz", GZ[:-9]).status == 422
    assert one.put(release["id"], "firmware-gz", GZ + b"x").status == 422
    assert one.put(release["id"], "firmware", NEW, core="x").status == 422
    assert one.put(release["id"], "firmware", NEW, offset="-1").status == 422
    assert one.put(release["id"], "firmware", NEW, file="../x").status == 422
    shown = one.put(release["id"], "firmware", NEW, core="2.7.4", file="tasmota-DE.bin", offset=0).json
    assert (shown["core"], shown["file"], shown["flash_offset"]) == ("2.7.4", "tasmota-DE.bin", 0)


@pytest.mark.parametrize("core", ["2", "2.7.4.1", "2.7.x", "", "100.1.1", 2.7])
def test_a_core_that_is_no_version_is_refused(server, core):
    reply = server.call("POST", "/products", {"name": "odd", "chip": "esp8266", "hardware": ["d1mini"], "settings": {"core": core}})
    assert reply.status == 422
