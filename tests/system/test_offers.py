"""Offers, transfers and arrivals are separate facts, and only the proof for a product opens it."""

import base64
import hashlib
import socket
import struct
import time

import pytest

import esp8266
import signing

NEW = esp8266.arduino("plug", "1.0.0", 3 << 20)
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
