"""ESP8266httpUpdate to the byte: docs/spec/httpupdate.md, and the traps of clients that cannot be changed."""

import base64
import hashlib

import pytest

import esp8266
import signing

OLD = esp8266.arduino("plug", "0.9.0")
NEW = esp8266.arduino("plug", "1.0.0")


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true").start()


@pytest.fixture(scope="module")
def owner(server):
    one = signing.Publisher(server, "plug", "esp8266", ("d1mini",), legacy_auth="none", plain_http=True)
    one.publish("1.0.0", NEW)
    return one


_next = iter(range(1, 10000))


@pytest.fixture
def plug(server, owner):
    return esp8266.Updater(server, "plug", f"5ccf7f{next(_next):06x}", OLD)


def lower(headers):
    return [(n.lower(), v) for n, v in headers]


def test_an_update_has_length_and_one_lower_case_md5(plug):
    status, headers, body, rest = plug.raw(extra=[("Accept-Encoding", "gzip")])
    names = [n for n, _ in lower(headers)]
    assert status == 200 and body == NEW and rest == b""
    assert dict(lower(headers))["content-length"] == str(len(NEW))
    assert [v for n, v in lower(headers) if n == "x-md5"] == [hashlib.md5(NEW).hexdigest()]
    assert "transfer-encoding" not in names and "content-encoding" not in names and "location" not in names


def test_nothing_new_is_304_without_a_body_and_closed(plug):
    plug.image = NEW
    status, headers, body, rest = plug.raw()
    assert (status, body, rest) == (304, b"", b"")
    assert "transfer-encoding" not in [n for n, _ in lower(headers)]


@pytest.mark.parametrize("drop, extra, version", [
    (("Host",), [], "1.0"), ((), [("Content-Length", "0")], "1.0"), (("Connection",), [("Connection", "keep-alive")], "1.0"),
    ((), [], "1.1"), (("Connection",), [], "1.1"),
])
def test_every_kind_of_request_is_answered_and_closed(plug, drop, extra, version):
    drop = drop + (("Content-Length",) if ("Content-Length", "0") in extra else ())
    status, _, body, rest = plug.raw(drop=drop, extra=extra, http_version=version)
    assert (status, len(body), rest) == (200, len(NEW), b"")


@pytest.mark.parametrize("tail", ["/firmware.bin", "/a/b?tag=1.0+abc", '?x="y"', "/fw.php?tag=1.0+abc"])
def test_addresses_as_applications_build_them_are_taken_raw(plug, tail):
    assert plug.raw(path=plug.path + tail)[0] == 200


def test_a_range_is_ignored(plug):
    assert plug.raw(extra=[("Range", "bytes=0-10")], http_version="1.1")[0] == 200


def test_file_system_without_an_image_is_404_and_never_a_sketch(plug):
    assert plug.raw(mode="spiffs")[0] == 404


def test_version_is_answered_in_a_header_alone(plug):
    status, headers, body, _ = plug.raw(mode="version")
    assert status == 200 and dict(lower(headers))["x-version"] == "1.0.0" and body == b""


def test_header_names_count_in_any_case(plug):
    original = plug.headers
    plug.headers = lambda mode="sketch": [(n.lower(), v) for n, v in original(mode)]
    assert plug.raw()[0] == 200


def test_a_chip_id_of_another_mac_is_refused(plug):
    original = plug.headers
    plug.headers = lambda mode="sketch": [(n, "1" if n == "x-ESP8266-Chip-ID" else v) for n, v in original(mode)]
    assert plug.raw()[0] == 403


def test_a_browser_gets_nothing(server, owner):
    assert server.device_request("GET", "/update/plug").status == 403


def test_an_unknown_product_is_404(plug):
    assert plug.raw(path="/update/nothing")[0] == 404


def test_what_does_not_fit_is_not_offered(server, plug):
    need = -(-len(NEW) // 4096) * 4096
    plug.free_space = need - 1
    assert plug.raw()[0] == 304
    plug.free_space = need
    assert plug.raw()[0] == 200
    plug.chip_size = 1 << 20
    assert plug.raw()[0] == 304
    assert server.rest("GET", f"/devices/{plug.mac}")["why"]


def test_a_rewritten_header_is_recognised(plug):
    for mode in range(4):
        for size_freq in (0x40, 0x30, 0x2F):
            plug.image = NEW[:2] + bytes([mode, size_freq]) + NEW[4:]
            assert plug.raw()[0] == 304, (mode, size_freq)


def test_served_is_not_installed(server, plug):
    assert plug.raw()[0] == 200
    shown = server.until(lambda: (lambda d: d if d["action"]["state"] == "installing" else None)(
        server.rest("GET", f"/devices/{plug.mac}")))
    assert shown["state"] != "up_to_date"
    plug.image = NEW
    assert plug.raw()[0] == 304
    shown = server.rest("GET", f"/devices/{plug.mac}")
    assert shown["state"] == "up_to_date" and shown["action"]["state"] == "confirmed"


def test_the_fourth_time_is_refused_and_the_operator_told(server, plug):
    plug.version = "1"
    for _ in range(3):
        assert plug.raw()[0] == 200
        server.until(lambda: server.rest("GET", f"/devices/{plug.mac}")["action"]["state"] == "installing")
    assert [plug.raw()[0] for _ in range(2)] == [304, 304]
    shown = server.rest("GET", f"/devices/{plug.mac}")
    assert shown["state"] == "blocked" and shown["why"]
    assert server.call("POST", f"/devices/{plug.mac}:retry", {}).status == 200
    assert plug.raw()[0] == 200


def test_a_product_that_wants_certificates_gives_401_without_a_body(server, plug):
    one = signing.Publisher(server, "safe", "esp8266", ("d1mini",))
    one.publish("1.0.0", esp8266.arduino("safe", "1.0.0"))
    status, _, body, _ = plug.raw(path="/update/safe")
    assert (status, body) == (401, b"")
    device = server.enroll("safe", "5ccf7f00aa01", chip=1, hardware=b"d1mini")
    status, _, body, _ = esp8266.Updater(server, "safe", device.id, OLD).raw(device=device)
    assert status == 200 and len(body) > 4096
    # the certificate's device counts, whatever the headers say; another product is not there
    assert plug.raw(path="/update/safe", device=device)[0] in (200, 304)
    assert plug.raw(path="/update/plug", device=device)[0] == 404


def test_a_token_by_basic(server):
    one = signing.Publisher(server, "keyed", "esp8266", ("d1mini",), legacy_auth="token")
    one.publish("1.0.0", esp8266.arduino("keyed", "1.0.0"))
    token = server.rest("POST", "/tokens", {"name": "keyed", "role": "viewer", "product": "keyed", "ttl_s": 3600})["token"]
    plug = esp8266.Updater(server, "keyed", "5ccf7f00bb01", OLD)

    def basic(text):
        return [("Authorization", "Basic " + base64.b64encode(text.encode()).decode())]

    assert plug.raw()[0] == 401
    assert plug.raw(extra=basic("x:wrong"))[0] == 401
    assert plug.raw(extra=basic("x:" + token))[0] == 200


def test_the_plain_listener_serves_only_products_that_allow_it(server, plug):
    assert plug.raw(port="legacy")[0] == 200
    assert plug.raw(port="legacy", path="/update/keyed")[0] == 404
    assert server.plain_request("POST", "/v1/check", b"").status == 404
