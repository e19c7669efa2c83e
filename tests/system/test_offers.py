"""Offers, transfers and arrivals are separate facts, and only the proof for a product opens it."""

import base64
import hashlib
import socket
import struct
import time

import pytest

import esp8266
import signing

NEW = esp8266.arduino("plug", "1.0.0", 900 << 10)
OLD = esp8266.arduino("plug", "0.9.0")
FILES = bytes(range(256)) * 64


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
    return esp8266.Updater(server, "plug", f"5ccf7e{next(_next):06x}", OLD)


def basic(token):
    return [("Authorization", "Basic " + base64.b64encode(b"x:" + token.encode()).decode())]


# ---- proofs ------------------------------------------------------------------------------------------------


def test_a_token_of_one_product_does_not_open_another(server):
    image = esp8266.arduino("keyed", "1.0.0")
    signing.Publisher(server, "keyed", "esp8266", ("d1mini",), legacy_auth="token").publish("1.0.0", image)
    server.product("stranger", "esp8266", ("d1mini",))

    def token(**scope):
        return server.rest("POST", "/tokens", {"name": "t", "role": "viewer", "ttl_s": 3600, **scope})["token"]

    device = esp8266.Updater(server, "keyed", "5ccf7e00bb01", OLD)
    for mode in ("sketch", "spiffs", "version"):
        status, headers, body, _ = device.raw(mode, extra=basic(token(product="stranger")))
        assert status == 404 and body == b"" and "x-version" not in dict(headers)
    assert server.call("GET", f"/devices/{device.mac}").status == 404
    assert device.raw(extra=basic(token(product="keyed")))[2] == image
    assert device.raw(extra=basic(token(product="stranger")))[0] == 404  # now it is known
    assert device.raw(extra=basic(token()))[2] == image


# ---- offers are not transfers ------------------------------------------------------------------------------


def shown(server, plug):
    return server.rest("GET", f"/devices/{plug.mac}")


def wait_for(server, plug, state):
    return server.until(lambda: (lambda d: d if d["action"]["state"] == state else None)(shown(server, plug)))


def head(server, plug, mode="sketch"):
    link = server.tls(None).wrap_socket(socket.create_connection(("127.0.0.1", server.ports["device"]), timeout=20),
                                        server_hostname="localhost")
    lines = [f"HEAD {plug.path} HTTP/1.0"] + [f"{n}: {v}" for n, v in plug.headers(mode)]
    link.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while part := link.recv(4096):
        answer += part
    link.close()
    return answer


def test_head_shows_the_offer_and_records_nothing(server, plug):
    for _ in range(5):
        answer = head(server, plug)
        assert answer.startswith(b"HTTP/1.1 200 ") and f"Content-Length: {len(NEW)}\r\n".encode() in answer
    assert server.call("GET", f"/devices/{plug.mac}").status == 404
    assert plug.raw()[0] == 200
    wait_for(server, plug, "installing")
    before = shown(server, plug)
    assert head(server, plug).startswith(b"HTTP/1.1 200 ")
    assert shown(server, plug)["action"] == before["action"]


@pytest.fixture(scope="module")
def both(server):
    """A product whose release has firmware and a file system."""
    image = esp8266.arduino("lamp", "1.0.0")
    one = signing.Publisher(server, "lamp", "esp8266", ("d1mini",), legacy_auth="none")
    release = one.draft("1.0.0", image, signed=False)
    reply = server.upload(release["id"], FILES, "filesystem")
    assert reply.status == 201, reply.body
    one.sign(release, "1.0.0", image)
    one.sign(release, "1.0.0", FILES, "filesystem")
    server.rest("POST", f"/releases/{release['id']}:publish")
    return image


def test_a_file_system_image_is_served_and_is_no_step_of_the_firmware_action(server, both):
    lamp = esp8266.Updater(server, "lamp", "5ccf7e00cc01", esp8266.arduino("lamp", "0.9.0"))
    status, headers, body, _ = lamp.raw("spiffs")
    assert status == 200 and body == FILES
    assert {n.lower(): v for n, v in headers}["x-md5"] == hashlib.md5(FILES).hexdigest()
    wait_for(server, lamp, "installing")
    assert lamp.raw("spiffs")[0] == 304  # it came back: done
    assert lamp.raw()[2] == both
    wait_for(server, lamp, "installing")


def connect(plug, port="device", receive=4096):
    """The request is sent; nothing is read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    raw.settimeout(20)
    raw.connect(("127.0.0.1", plug.server.ports[port]))
    link = raw if port == "legacy" else plug.server.tls(None).wrap_socket(raw, server_hostname="localhost")
    lines = [f"GET {plug.path} HTTP/1.0"] + [f"{n}: {v}" for n, v in plug.headers()]
    link.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return link


def reset(link):
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


@pytest.mark.parametrize("read", [0, 1, 30000])
def test_a_download_that_breaks_off_is_not_installing_and_no_serve(server, plug, read):
    for _ in range(4):
        link = connect(plug, "legacy")
        assert read == 0 or link.recv(read)
        reset(link)
        time.sleep(0.1)
        assert shown(server, plug)["action"]["state"] in ("offered", "downloading")
    assert plug.raw(port="legacy")[2] == NEW
    wait_for(server, plug, "installing")


def test_a_reader_that_shuts_its_side_early_still_takes_all(server, plug):
    link = connect(plug, "legacy", 1 << 16)
    link.shutdown(socket.SHUT_WR)
    answer = b""
    while part := link.recv(65536):
        answer += part
    link.close()
    assert answer.endswith(NEW)
    wait_for(server, plug, "installing")


def test_what_was_withdrawn_after_the_offer_is_410(server):
    import cborish
    from test_native import CBOR, check_body
    with open("/bin/true", "rb") as f:
        image = f.read() + b"withdrawn"
    owner = signing.Publisher(server, "meter")
    device = server.enroll("meter", "84f3eb7e0001")
    release = owner.publish("1.0.0", image)
    assert cborish.loads(device.request("POST", "/v1/check", check_body(), CBOR).body)[2]
    path = "/v1/blob/" + hashlib.sha256(image).hexdigest()
    part = {"Range": "bytes=100-199"}
    assert device.request("GET", path, headers=part).body == image[100:200]
    server.rest("POST", f"/releases/{release['id']}:withdraw")
    for headers in (None, part):
        reply = device.request("GET", path, headers=headers)
        assert (reply.status, reply.body) == (410, b"")
