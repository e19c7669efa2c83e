"""?tag= as squix's and EmonESP's scripts are asked: docs/spec/legacy-http.md 3."""

import hashlib

import pytest

import esp8266
import legacy

V11 = esp8266.arduino("emon", "1.1")
V110 = esp8266.arduino("emon", "1.10")
PLUS = esp8266.arduino("plus", "2.0+abc")
CLIENT = [("User-Agent", "ESP8266HTTPClient"), ("Connection", "keep-alive")]


@pytest.fixture(scope="module")
def server(make_server):
    return make_server("mqtt.mode=off", "legacy.enabled=true", "limits.device_requests=0").start()


@pytest.fixture(scope="module")
def shelf(server):
    one = legacy.Shelf(server, "emon", plain_http=True)
    one.publish("1.10", firmware=V110)
    one.mount("/EmonESP/ota/firmware.php", "tag-emonesp")
    one.mount("/esp/firmware.php", "tag-squix")
    plus = legacy.Shelf(server, "plus", plain_http=True)
    plus.publish("2.0+abc", firmware=PLUS)
    plus.mount("/plus.php", "tag-squix")
    return one


_next = iter(range(1, 10000))


def device(server, image=None, product="emon"):
    plug = esp8266.Updater(server, product, f"5ccf7c{next(_next):06x}", image or esp8266.arduino("x", "0.0.1"))
    headers = plug.headers
    plug.headers = lambda mode="sketch": [(n, v) for n, v in headers(mode) if n != "x-ESP8266-sketch-md5"]
    return plug


@pytest.mark.parametrize("path", ["/EmonESP/ota/firmware.php", "/esp/firmware.php"])
@pytest.mark.parametrize("query, status", [
    ("?tag=1.10", 304), ("?tag=1.1", 200), ("?tag=1.100", 200), ("?tag=dev", 200), ("?x=1&tag=1.10", 304),
    ("?x=1&tag=1.1&y=2", 200), ("?&tag=1.10", 304), ("?Tag=1.10", 200), ("?tag=1%2E10", 304), ("??tag=1.10", 304),
    ("", 200), ("?tag=", 200),
])
def test_a_device_gets_the_image_unless_its_tag_is_the_version_byte_for_byte(server, shelf, path, query, status):
    got = device(server).raw(path=path + query, port="legacy")
    assert got[0] == status and got[2] == (V110 if status == 200 else b"") and got[3] == b""
    if status == 200:
        assert dict((n.lower(), v) for n, v in got[1])["x-md5"] == hashlib.md5(V110).hexdigest()


@pytest.mark.parametrize("tag, status", [("2.0+abc", 304), ("2.0%2Babc", 304), ("2.0%2babc", 304), 
                                         ("2.0%20abc", 200), ('2.0"abc', 200), ("2.0/abc", 200), ("%", 200), ("%4", 200)])
def test_a_plus_counts_raw_and_escaped(server, shelf, tag, status):
    assert device(server, product="plus").raw(path="/plus.php?tag=" + tag)[0] == status


def test_a_version_with_a_blank_is_met_by_a_plus(server):
    # a version of ours has no blank in it: what is decoded to one is another version
    one = legacy.Shelf(server, "blank")
    assert server.call("POST", "/releases", {"product": "blank", "version": "2.0 abc"}).status == 422
    one.publish("2.0", firmware=esp8266.arduino("blank", "2.0"))
    assert device(server, product="blank").raw(path="/tag/blank?tag=2.0+abc")[0] == 200


def test_a_person_reads_the_version_where_the_script_said_it(server, shelf):
    got = legacy.get(server, "/EmonESP/ota/firmware.php", CLIENT, port="legacy")
    assert (got.status, got.body, got.header("content-length")) == (200, b"1.10", "4")
    assert got.header("content-type") == "text/plain" and got.rest == b""
    assert legacy.get(server, "/tag/emon", CLIENT).body == b"1.10"


def test_squix_gives_a_person_the_image(server, shelf):
    got = legacy.get(server, "/esp/firmware.php", CLIENT)
    assert (got.status, got.body) == (200, V110)
    assert legacy.get(server, "/esp/firmware.php?tag=1.10", CLIENT).status == 304
    assert legacy.get(server, "/esp/firmware.php?tag=1.1", CLIENT).body == V110


def test_what_is_known_by_its_md5_is_not_served_again_because_it_lies(server, shelf):
    honest = esp8266.Updater(server, "emon", "5ccf7caabb01", V110)
    assert honest.raw(path="/esp/firmware.php?tag=0.1")[0] == 304


def test_a_tag_counts_as_what_runs(server, shelf):
    one = device(server)
    assert one.raw(path="/esp/firmware.php?tag=1.1")[0] == 200
    assert legacy.state_of(server, one.mac)["running"]["version"] == "1.1"
    server.until(lambda: legacy.state_of(server, one.mac)["action"]["state"] == "installing")
    assert one.raw(path="/esp/firmware.php?tag=1.10")[0] == 304
    shown = legacy.state_of(server, one.mac)
    assert shown["state"] == "up_to_date" and shown["action"]["state"] == "confirmed"


def test_a_client_certificate_names_the_device_without_any_header(server, shelf):
    enrolled = server.enroll("emon", "5ccf7caabb02", chip=1, hardware=b"d1mini")
    assert legacy.get(server, "/esp/firmware.php?tag=1.1", CLIENT, device=enrolled).body == V110
    assert legacy.get(server, "/esp/firmware.php?tag=1.10", CLIENT, device=enrolled).status == 304
    assert legacy.get(server, "/EmonESP/ota/firmware.php", CLIENT, device=enrolled).body == b"1.10"


def test_nothing_is_told_to_who_may_not_know(server):
    one = legacy.Shelf(server, "closed", legacy_auth="token", plain_http=True)
    one.publish("1.0", firmware=esp8266.arduino("closed", "1.0"))
    assert legacy.get(server, "/tag/closed", CLIENT).status == 401
    assert legacy.get(server, "/tag/closed?tag=1", CLIENT).status == 401
    assert device(server, product="closed").raw(path="/tag/closed?tag=1")[0] == 401


def test_a_product_without_a_release_has_no_version(server):
    legacy.Shelf(server, "empty")
    assert legacy.get(server, "/tag/empty", CLIENT).status == 404
    assert device(server, product="empty").raw(path="/tag/empty?tag=1")[0] == 304


# ---- spaces as they are ----------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["legacy", "device"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_tag_with_spaces_that_nobody_escaped_is_another_version(server, shelf, port, version):
    status, headers, body, rest = device(server).raw(path="/esp/firmware.php?tag=My build 1", port=port, http_version=version)
    assert (status, body, rest) == (200, V110, b"")
    assert device(server).raw(path="/esp/firmware.php?tag=1.10&x=a b", port=port, http_version=version)[0] == 304


@pytest.mark.parametrize("path", ["/esp/firm ware.php?tag=1", " /esp/firmware.php?tag=1", "/esp/firmware.php?tag=a\tb"])
def test_other_blanks_are_no_request_line(server, shelf, path):
    assert device(server).raw(path=path, port="legacy")[0] == 400


def test_the_console_takes_no_spaces(server, shelf):
    with server.tls().wrap_socket(legacy.connect(server, port="console"), server_hostname="localhost") as link:
        link.sendall(b"GET /api/v1/products?limit=1 0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert link.recv(100).startswith(b"HTTP/1.1 400 ")
