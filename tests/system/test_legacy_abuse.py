"""Bad input in the wild: how clients and their networks misbehave, and that it stays cheap and is explained."""

import hashlib
import socket
import struct

import pytest

import esp8266
import legacy

OLD = esp8266.arduino("plug", "0.9.0")
NEW = esp8266.arduino("plug", "1.0.0")


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0").start()


@pytest.fixture(scope="module")
def shelf(server):
    one = legacy.Shelf(server, "plug", plain_http=True)
    one.publish("1.0.0", firmware=NEW)
    return one


_next = iter(range(1, 10000))


@pytest.fixture
def plug(server, shelf):
    return esp8266.Updater(server, "plug", f"5ccf7a{next(_next):06x}", OLD)


def with_mac(device, text):
    original = device.headers
    device.headers = lambda mode="sketch": [(n, text if n == "x-ESP8266-STA-MAC" else v) for n, v in original(mode)]
    return device


@pytest.mark.parametrize("text", ["5C:CF:7A:01:0B:0C", "5c-cf-7a-01-0b-0c", "5ccf7a010b0c", "5ccf.7a01.0b0c", "5C:CF:7A:1:B:C"])
def test_one_device_in_five_notations(server, shelf, text):
    one = with_mac(esp8266.Updater(server, "plug", "5ccf7a010b0c", NEW), text)
    assert one.raw()[0] == 304
    assert [d["id"] for d in server.rest("GET", "/devices?product=plug&q=5ccf7a010b0c")["items"]] == ["5ccf7a010b0c"]


@pytest.mark.parametrize("text", ["5C:CF:7A:01:0B", "5C:CF:7A:01:0B:0C:0D", "5C:CF-7A:01:0B:0C", "5G:CF:7A:01:0B:0C", "::::::",
                                  "5ccf7a010b0", "5ccf7.a010b.0c", "5C:CF:7A:01:0B:0CC", ":5C:CF:7A:01:0B:0", "'; DROP TABLE device"])
def test_what_is_no_mac_is_400_and_makes_no_device(server, plug, text):
    before = len(server.rest("GET", "/devices?product=plug&limit=1000")["items"])
    assert with_mac(plug, text).raw()[0] == 400
    assert len(server.rest("GET", "/devices?product=plug&limit=1000")["items"]) == before


def test_doubled_headers_count_once_unless_they_name_two_devices(server, plug):
    mac = ":".join(plug.mac[i:i + 2] for i in range(0, 12, 2))
    assert plug.raw(extra=[("x-ESP8266-STA-MAC", mac), ("x-ESP8266-mode", "spiffs")])[0] == 200
    assert plug.raw(extra=[("x-ESP8266-STA-MAC", "5C:CF:7A:99:99:99")])[0] == 400


@pytest.mark.parametrize("gone", ["x-ESP8266-free-space", "x-ESP8266-sketch-size", "x-ESP8266-sketch-md5", "x-ESP8266-chip-size",
                                  "x-ESP8266-sdk-version", "x-ESP8266-mode", "x-ESP8266-AP-MAC", "x-ESP8266-Chip-ID", "User-Agent"])
def test_a_missing_header_is_lived_with(plug, gone):
    assert plug.raw(drop=(gone,))[0] == 200


def test_without_a_mac_nobody_is_there(plug):
    assert plug.raw(drop=("x-ESP8266-STA-MAC",))[0] == 401


@pytest.mark.parametrize("odd", [str.upper, str.lower, str.title, str.swapcase])
def test_names_of_headers_in_any_case(plug, odd):
    original = plug.headers
    plug.headers = lambda mode="sketch": [(odd(n), v) for n, v in original(mode)]
    assert plug.raw()[0] == 200


@pytest.mark.parametrize("value", ["", "abc", "-1", "99999999999", "1e9", "0x1000", " ", "1" * 60])
def test_numbers_that_are_none_count_as_not_said(plug, value):
    original = plug.headers
    plug.headers = lambda mode="sketch": [(n, value if n in ("x-ESP8266-free-space", "x-ESP8266-chip-size") else v)
                                          for n, v in original(mode)]
    assert plug.raw()[0] == 200


def test_a_lying_version_changes_nothing_where_the_md5_tells(server, plug):
    plug.image, plug.version = NEW, "0.0.1"
    assert plug.raw()[0] == 304
    plug.image, plug.version = OLD, "9.9.9"
    assert plug.raw()[0] == 200


def test_an_endless_loop_is_ended_and_shown(server, plug):
    plug.version = "1"
    for _ in range(3):
        assert plug.raw()[0] == 200
        server.until(lambda: legacy.state_of(server, plug.mac)["action"]["state"] == "installing")
    assert plug.raw()[0] == 304
    shown = legacy.state_of(server, plug.mac)
    assert shown["state"] == "blocked" and "not offered again" in shown["why"]
    assert [plug.raw()[0] for _ in range(50)] == [304] * 50


def test_an_aborted_download_at_every_kilobyte_never_counts(server, plug):
    lines = [f"GET {plug.path} HTTP/1.0", *[f"{n}: {v}" for n, v in plug.headers()]]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    for cut in range(0, len(NEW), 1024):
        with legacy.connect(server, port="legacy") as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.sendall(request)
            left = cut
            while left > 0:
                piece = link.recv(min(left, 1024))
                assert piece
                left -= len(piece)
    assert plug.raw()[0] == 200
    assert legacy.state_of(server, plug.mac)["blocked"] == []


def test_a_chip_id_and_a_mac_of_one_device_are_one(server, shelf):
    one = esp8266.Updater(server, "plug", "5ccf7a5e7f74", OLD)
    assert one.raw()[0] == 200 and dict(one.headers())["x-ESP8266-Chip-ID"] == "6193012"


def test_everybody_is_answered_without_a_redirect(server, plug):
    for port in ("device", "legacy"):
        for path in ("/update/plug", "/update/plug/", "/update//plug", "//update/plug", "/UPDATE/plug", "/files/plug", "/tag/plug/"):
            status, headers, _, _ = plug.raw(path=path, port=port)
            assert status not in (301, 302, 303, 307, 308) and "location" not in [n.lower() for n, _ in headers]


# ---- plain HTTP ----

def test_nothing_secret_leaves_in_the_clear(server, shelf):
    mac = "5ccf7a000001"
    for base in ("/secureesp8266/plug", "/files/plug", "/update/plug", "/tag/plug"):
        for name in (f"{mac}.key", f"{mac}.crt", "ca.crt", "config.json", f"{mac}.key.der", "device.conf"):
            got = legacy.get(server, f"{base}/{name}", port="legacy")
            assert got.status >= 300 or got.body == b"1.0.0", (base, name)  # /tag tells the version, whatever follows
            assert b"PRIVATE" not in got.body and b"CERTIFICATE" not in got.body
    for path in ("/v1/enroll", "/v1/check", "/.well-known/est/cacerts", "/api/v1/products", "/metrics"):
        assert legacy.get(server, path, port="legacy").status == 404


def test_plain_http_has_a_limit_a_device(make_server):
    tight = make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=1", "limits.device_requests_burst=5").start()
    one = legacy.Shelf(tight, "plug", plain_http=True)
    one.publish("1.0.0", firmware=NEW)
    device = esp8266.Updater(tight, "plug", "5ccf7a777777", NEW)
    got = [legacy.get(tight, "/files/plug/firmware.bin", port="legacy").status for _ in range(12)]
    assert got[:5] == [200] * 5 and 304 in got[5:]
    assert device.raw(port="legacy")[0] == 304, "somebody else still comes through"
    assert hashlib.md5(NEW).hexdigest() in str(esp8266.Updater(tight, "plug", "5ccf7a777778", OLD).raw(port="legacy")[1])


def test_two_addresses_in_turn_under_one_mac_are_told_once(server, shelf):
    mac = "5ccf7a222222"
    lines = ["GET /update/plug HTTP/1.0", *[f"{n}: {v}" for n, v in esp8266.Updater(server, "plug", mac, NEW).headers()]]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()

    def twins():
        return [e for e in server.rest("GET", "/events?limit=200")["items"] if e["type"] == "device.twin" and e["device"] == mac]

    def ask(address):
        with socket.create_connection(("127.0.0.1", server.ports["legacy"]), timeout=20, source_address=(address, 0)) as link:
            link.sendall(request)
            while link.recv(4096):
                pass

    ask("127.0.0.2")
    for _ in range(3):
        ask("127.0.0.3")
    assert twins() == [], "a new address alone is nothing"
    for _ in range(6):
        ask("127.0.0.2")
        ask("127.0.0.3")
    found = server.until(twins)
    assert len(found) == 1 and found[0]["data"]["address"] in ("127.0.0.2", "127.0.0.3")


def test_strangers_that_read_nothing_leave_room_for_devices_with_certificates(make_server):
    one = make_server("mqtt.mode=off", "limits.transfers=4").start()
    shelf = legacy.Shelf(one, "big")
    shelf.publish("1.0.0", firmware=esp8266.arduino("big", "1.0.0", filler=900000))
    links = []
    try:
        for n in range(8):
            asks = esp8266.Updater(one, "big", f"5ccf7b00000{n}", esp8266.arduino("big", "0.9.0"))
            head = "".join(f"{k}: {v}\r\n" for k, v in asks.headers())
            links.append(socket.socket())
            links[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            links[-1].settimeout(20)
            links[-1].connect(("127.0.0.1", one.ports["device"]))
            links[-1] = one.tls().wrap_socket(links[-1], server_hostname="localhost")
            links[-1].sendall(f"GET /update/big HTTP/1.0\r\n{head}\r\n".encode())
            links[-1].status = int(links[-1].recv(12).split()[1])
        assert [link.status for link in links] == [200] * 3 + [304] * 5
        mine = one.enroll("big", "5ccf7b0000ff", chip=1, hardware=b"d1mini")
        asks = esp8266.Updater(one, "big", "5ccf7b0000ff", esp8266.arduino("big", "0.9.0"))
        assert mine.request("GET", "/update/big", headers=dict(asks.headers())).status == 200
    finally:
        for link in links:
            link.close()
    one.until(lambda: "pagurus_downloads 0" in one.console_request("GET", "/metrics", headers={"Authorization": "Bearer " + one.token}).body.decode())
