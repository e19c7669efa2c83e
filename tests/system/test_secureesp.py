"""secureESP8266 from outside: docs/spec/secureesp8266.md."""

import hashlib
import http.client
import json
import re
import sqlite3
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import esp8266
import secureesp
import signing

VERSIONS = ["00.00.08.g", "00.00.08.h", "00.00.08.i"]
IMAGE = {v: esp8266.arduino("measure", v, filler=60000) for v in VERSIONS}


def speaks(server, name, **settings):
    return server.rest("PATCH", f"/products/{name}/dialect", {"dialect": "secureesp8266", "settings": settings})


@pytest.fixture(scope="module")
def server(make_server):
    one = make_server("limits.device_messages=1000", "limits.device_messages_burst=5000",
                      "limits.device_requests=1000", "limits.device_requests_burst=5000").start()
    one.wait_ready()
    return one


@pytest.fixture(scope="module")
def owner(server):
    one = signing.Publisher(server, "measure", "esp8266", ("d1mini",))
    speaks(server, "measure", downloadserver="localhost", mqttserver="localhost")
    for version in VERSIONS[:2]:
        one.publish(version, IMAGE[version])
    return one


_next = iter(range(1, 1000))


def code(server, product="measure", **more):
    return server.rest("POST", "/enrollment/codes", {"product": product, "uses": 1, "ttl_s": 600, **more})["code"]


def config(server, path="/secureesp8266/measure"):
    return {"downloadserver": "localhost", "downloadport": server.ports["device"], "downloadpath": path,
            "mqttserver": "localhost", "mqttport": server.ports["mqtt"], "mqtttls": True, "ntpserver": "pool.ntp.org",
            "statusinterval": 60000, "waittimeout": 20000, "retrytimeout": 3000}


@pytest.fixture
def sketch(server, owner):
    made = []

    def make(version=VERSIONS[0], mac=None, path="/secureesp8266/measure", **more):
        mac = mac or f"84f3eb{next(_next):06x}"
        ca = (server.data / "ca" / "root.pem").read_bytes()
        one = secureesp.Sketch(mac, server.folder, ca, config(server, path), version,
                               {image: v for v, image in IMAGE.items()}, **more)
        made.append(one)
        claim = code(server, mac=mac)
        status, key = one.get(f"/{mac}.key?claim={claim}")
        assert status == 200, key
        status, cert = one.get(f"/{mac}.crt?claim={claim}")
        assert status == 200, cert
        one.identity(cert, key)
        return one

    yield make
    for one in made:
        if one.thread:
            one.stop()


def device(server, one):
    return server.rest("GET", f"/devices/{one.mac}")


def commands(server, one):
    return [(c["kind"], c["state"]) for c in reversed(server.rest("GET", f"/devices/{one.mac}/commands")["items"])]


# ---- HTTPS ------------------------------------------------------------------------------------------------------

def test_first_key_and_certificate_come_for_a_claim_and_fit(server, sketch):
    one = sketch()
    key = serialization.load_pem_private_key(one.files[f"/{one.mac}.key.der"], None)
    cert = x509.load_pem_x509_certificate(one.files[f"/{one.mac}.crt.der"])
    assert key.public_key() == cert.public_key()
    assert cert.subject.rfc4514_string() == f"CN={one.mac}"


def test_config_has_every_key_and_is_short(sketch):
    status, body = sketch().get("/config.json")
    assert status == 200 and len(body) < 700
    assert list(json.loads(body)) == ["downloadserver", "downloadport", "downloadpath", "mqttserver", "mqttport",
                                      "mqtttls", "ntpserver", "statusinterval", "waittimeout", "retrytimeout"]


def test_next_image_is_200_and_the_latest_304(sketch):
    one = sketch()
    assert one.get(f"/firmware.bin?curimage={one.BOARD}-00.00.08.g") == (200, IMAGE["00.00.08.h"])
    assert one.get(f"/firmware.bin?curimage={one.BOARD}-00.00.08.h") == (304, b"")


# ---- MQTT -------------------------------------------------------------------------------------------------------

def test_an_update_goes_from_firmware_over_flash_and_reboot_to_confirmed(server, sketch):
    one = sketch().start()
    server.until(lambda: device(server, one)["running"]["version"] == "00.00.08.h", 60)
    assert [x for x in one.log if isinstance(x, str)] == ["firmware", "flash", "reboot"]
    server.until(lambda: device(server, one)["action"]["state"] == "confirmed", 20)
    assert device(server, one)["state"] == "up_to_date"
    server.until(lambda: commands(server, one) == [("firmware", "done"), ("flash", "done"), ("reboot", "done")], 20)
