"""Tasmota's OtaUrl: files side by side, the way over -minimal, safeboot: docs/spec/legacy-http.md 6."""

import pytest

import esp8266
import legacy

FULL = esp8266.arduino("tasmota", "13.4.0", filler=60000, ident=False)
MIN = esp8266.arduino("minimal", "13.4.0", filler=12000, ident=False)
OLD = esp8266.arduino("tasmota", "8.1.0", ident=False)


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0").start()


@pytest.fixture(scope="module")
def shelf(server):
    one = legacy.Shelf(server, "tasmota", plain_http=True)
    one.publish("13.4.0", firmware=(FULL, {"file": "tasmota-DE.bin"}), firmware_gz=(legacy.packed(FULL), {"file": "tasmota-DE.bin.gz"}),
                minimal=(MIN, {"file": "tasmota-minimal.bin"}), minimal_gz=(legacy.packed(MIN), {"file": "tasmota-minimal.bin.gz"}))
    one.mount("/tasmota/release", "files")
    raw = legacy.Shelf(server, "tasraw", plain_http=True)
    raw.publish("13.4.0", firmware=FULL)
    s3 = legacy.Shelf(server, "tas32", "esp32", ("devkit",), plain_http=True)
    s3.publish("13.4.0", firmware=(legacy.esp32(version="13.4.0"), {"file": "tasmota32.bin"}),
               safeboot=(legacy.esp32(version="13.4.0", filler=4000), {"file": "tasmota32-safeboot.bin"}))
    return one


_next = iter(range(1, 10000))


def device(server, version="8.1.0(tasmota)", image=OLD, **other):
    return esp8266.Updater(server, "tasmota", f"dc4f22{next(_next):06x}", image, version=version, **other)


def ask(one, name, base="/tasmota/release/", **other):
    return one.raw(path=base + name, port="legacy", **other)


@pytest.mark.parametrize("name, body", [
    ("tasmota-DE.bin", FULL), ("tasmota-DE.bin.gz", legacy.packed(FULL)), ("tasmota-minimal.bin", MIN),
    ("tasmota-minimal.bin.gz", legacy.packed(MIN)), ("firmware.bin", FULL),
    ("tasmota-minimal.ino.bin", MIN), ("tasmota-minimal.4.0.bin.gz", legacy.packed(MIN)),  # of tasmota.ino.bin, tasmota-13.4.0.bin.gz
])
def test_files_lie_side_by_side(server, shelf, name, body):
    status, _, got, rest = ask(device(server), name)
    assert (status, got, rest) == (200, body, b"")


@pytest.mark.parametrize("name", ["tasmota-DE.bin.gz", "tasmota-minimal.bin", "tasmota-minimal.bin.gz", "tasmota.bin"])
def test_what_is_not_there_is_404(server, shelf, name):
    assert ask(device(server), name, "/files/tasraw/")[0] == 404


def test_the_version_is_what_stands_before_the_bracket(server, shelf):
    one = device(server, "13.4.0(tasmota)")
    assert ask(one, "tasmota-DE.bin")[0] == 304
    assert legacy.state_of(server, one.mac)["running"]["version"] == "13.4.0"


def test_the_way_over_minimal_ends_on_the_full_build(server, shelf):
    one = device(server, free_space=40960, chip_size=1 << 20)
    status, headers, body, _ = ask(one, "tasmota-DE.bin")
    assert status == 200 and dict(headers)["Content-Length"] == str(len(FULL)) and len(FULL) > one.free_space
    status, _, body, _ = ask(one, "tasmota-minimal.bin")
    assert (status, body) == (200, MIN)
    one.image, one.version, one.free_space = MIN, "13.4.0(minimal)", 1 << 19
    status, _, body, _ = ask(one, "tasmota-DE.bin")
    assert (status, body) == (200, FULL)
    server.until(lambda: legacy.state_of(server, one.mac)["action"]["state"] == "installing")
    one.image, one.version = FULL, "13.4.0(tasmota-DE)"
    assert ask(one, "tasmota-DE.bin")[0] == 304
    assert legacy.state_of(server, one.mac)["state"] == "up_to_date"


def test_another_client_does_not_get_what_does_not_fit(server, shelf):
    one = device(server, "1.0", free_space=40960)
    assert ask(one, "tasmota-DE.bin")[0] == 304
    assert "free" in legacy.state_of(server, one.mac)["why"]


def test_a_loop_over_minimal_is_ended_at_max_serves_and_shown(server, shelf):
    most = server.rest("GET", "/products/tasmota")["settings"]["max_serves"]
    one = device(server, free_space=40960)
    times = 0
    while ask(one, "tasmota-minimal.bin")[0] == 200:
        times += 1
        assert times <= most  # as fast as a client can: the writer may not have counted one of them
    assert times == most
    server.until(lambda: ask(one, "tasmota-minimal.bin")[0] != 200 and legacy.state_of(server, one.mac)["state"] == "blocked")
    assert "not offered again" in legacy.state_of(server, one.mac)["why"]


def test_esp32_falls_back_to_safeboot_by_name(server, shelf):
    one = legacy.Esp32Updater(server, "tas32", f"24a161{next(_next):06x}", legacy.esp32(version="12.0"), version="12.0.0(tasmota32)")
    assert one.raw(path="/files/tas32/tasmota32-safeboot.bin", port="legacy")[2] == legacy.esp32(version="13.4.0", filler=4000)
    assert one.raw(path="/files/tas32/tasmota32.bin", port="legacy")[2] == legacy.esp32(version="13.4.0")
    assert one.raw(path="/files/tas32/tasmota32.bin.gz", port="legacy")[0] == 404
