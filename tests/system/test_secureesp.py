"""secureESP8266 from outside: docs/spec/secureesp8266.md."""

import base64
import concurrent.futures
import http.client
import json
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
from conftest import BUILD

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


def request(one, file):
    """Without the probe session, with what the sketch holds: (status, headers, body)."""
    link = http.client.HTTPSConnection("localhost", int(one.config["downloadport"]), timeout=20, context=one.context())
    try:
        link.request("GET", one.config["downloadpath"] + file)
        reply = link.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
    finally:
        link.close()


def stranger(server, one):
    """The same address without any certificate."""
    other = secureesp.Sketch(one.mac, server.folder / "strangers", one.files["/ca.der"], one.config)
    other.folder.mkdir(exist_ok=True)
    return other


def mosquitto(server, one, program, *words, seconds=10):
    """mosquitto_pub or mosquitto_sub with a sketch's certificate."""
    one.context()
    base = [program, "-h", "localhost", "-p", str(server.ports["mqtt"]), "--cafile", str(one.folder / f"{one.mac}.ca"),
            "--cert", str(one.folder / f"{one.mac}.c"), "--key", str(one.folder / f"{one.mac}.k"), "-i", one.mac]
    return subprocess.run([*base, *words], capture_output=True, text=True, timeout=seconds, check=False)


def events(server, one, kind):
    return [e for e in server.rest("GET", f"/devices/{one.mac}/history?limit=500")["items"] if e["type"] == kind]


def device(server, one):
    return server.rest("GET", f"/devices/{one.mac}")


def commands(server, one):
    return [(c["kind"], c["state"]) for c in reversed(server.rest("GET", f"/devices/{one.mac}/commands")["items"])]


# ---- HTTPS: files ---------------------------------------------------------------------------------------------

@pytest.mark.client("secureESP8266", "00.00.08.i", "first key and certificate by claim")
def test_first_key_and_certificate_come_for_a_claim_and_fit(server, sketch):
    one = sketch()
    key = serialization.load_pem_private_key(one.files[f"/{one.mac}.key.der"], None)
    cert = x509.load_pem_x509_certificate(one.files[f"/{one.mac}.crt.der"])
    assert key.public_key() == cert.public_key()
    assert cert.subject.rfc4514_string() == f"CN={one.mac}"


def test_the_claim_may_be_the_password_of_basic_and_the_certificate_may_come_first(server, sketch):
    one = stranger(server, sketch())
    one.mac = f"84f3ec{next(_next):06x}"
    word = base64.b64encode(f"{one.mac}:{code(server, mac=one.mac)}".encode()).decode()

    def get(file):
        link = http.client.HTTPSConnection("localhost", server.ports["device"], timeout=20, context=one.context())
        link.request("GET", f"/secureesp8266/measure/{one.mac}{file}", headers={"Authorization": f"Basic {word}"})
        reply = link.getresponse()
        return reply.status, reply.read()

    status, cert = get(".crt")
    assert status == 200
    row = sqlite3.connect(server.data / "pagurus.db").execute(
        "SELECT sealed FROM sealed_key WHERE device_id = ?", (one.mac,)).fetchone()
    status, key = get(".key")
    assert status == 200
    secret = serialization.load_pem_private_key(key, None).private_numbers().private_value.to_bytes(32, "big")
    assert len(row[0]) > 100 and secret not in row[0] and b"PRIVATE" not in row[0]
    one.identity(cert, key)
    assert one.get("/config.json")[0] == 200
    assert get(".key")[0] == 410


def test_a_key_is_gone_from_the_server_with_its_first_fetch(server, sketch):
    one = sketch()
    server.rest("POST", f"/devices/{one.mac}/key", {})
    status, _, key = request(one, f"/{one.mac}.key")
    assert status == 200
    rows = sqlite3.connect(server.data / "pagurus.db").execute(
        "SELECT length(sealed) FROM sealed_key WHERE device_id = ?", (one.mac,)).fetchall()
    assert rows == [(0,)]
    status, _, text = request(one, f"/{one.mac}.key")
    assert status == 410 and b"given once" in text
    _, _, cert = request(one, f"/{one.mac}.crt")
    assert x509.load_pem_x509_certificate(cert).public_key() == \
        serialization.load_pem_private_key(key, None).public_key()
    one.identity(cert, key)
    assert request(one, "/config.json")[0] == 200
    assert len(events(server, one, "key.fetched")) == 1


def test_two_fetches_at_once_give_the_key_once(server, sketch):
    one = sketch()
    server.rest("POST", f"/devices/{one.mac}/key", {})
    one.context()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: request(one, f"/{one.mac}.key")[0], range(8)))
    assert sorted(answers) == [200] + [410] * 7


def test_nobody_without_a_claim_gets_a_key_certificate_configuration_or_image(server, sketch):
    one = sketch()
    other = stranger(server, one)
    for file in (f"/{one.mac}.key", f"/{one.mac}.crt", "/config.json",
                 f"/firmware.bin?curimage={one.BOARD}-00.00.08.g"):
        status, _, text = request(other, file)
        assert status == 401 and b"certificate" in text, file


def test_a_device_gets_no_other_devices_files(server, sketch):
    one, victim = sketch(), sketch()
    server.rest("POST", f"/devices/{victim.mac}/key", {})
    for file in (f"/{victim.mac}.key", f"/{victim.mac}.crt"):
        status, _, text = request(one, file)
        assert status == 403 and b"own files only" in text
        assert request(one, f"{file}?claim={code(server)}")[0] == 403
    assert request(victim, f"/{victim.mac}.key")[0] == 200


def test_a_device_of_another_product_gets_nothing_here(server, sketch):
    if not any(p["name"] == "other" for p in server.rest("GET", "/products")["items"]):
        server.product("other", "esp8266", ("d1mini",))
        speaks(server, "other")
    one = sketch()
    one.config["downloadpath"] = "/secureesp8266/other"
    for file in ("/config.json", f"/firmware.bin?curimage={one.BOARD}-00.00.08.g", f"/{one.mac}.crt", "/ca.crt"):
        assert request(one, file)[0] == 403, file


@pytest.mark.parametrize("how", ["wrong", "used", "of another MAC", "of another product", "of a device in service"])
def test_a_claim_that_is_not_for_this_device_is_refused(server, sketch, how):
    one = sketch()
    other = stranger(server, one)
    other.mac = one.mac if how == "of a device in service" else f"84f3ed{next(_next):06x}"
    claim = {"wrong": lambda: "0" * 27, "of a device in service": lambda: code(server),
             "of another MAC": lambda: code(server, mac="84f3ed999999"), "used": lambda: code(server),
             "of another product": lambda: code(server, elsewhere(server))}[how]()
    if how == "used":
        assert request(other, f"/84f3ed{next(_next):06x}.key?claim={claim}")[0] == 200
    status, _, text = request(other, f"/{other.mac}.key?claim={claim}")
    assert status in (403, 410) and len(text) > 20, text


def elsewhere(server):
    if not any(p["name"] == "elsewhere" for p in server.rest("GET", "/products")["items"]):
        server.product("elsewhere", "esp8266", ("d1mini",))
    return "elsewhere"


def test_a_head_request_does_not_use_a_key_up(server, sketch):
    one = sketch()
    server.rest("POST", f"/devices/{one.mac}/key", {})
    link = http.client.HTTPSConnection("localhost", server.ports["device"], timeout=20, context=one.context())
    link.request("HEAD", f"/secureesp8266/measure/{one.mac}.key")
    assert link.getresponse().status == 405
    assert request(one, f"/{one.mac}.key")[0] == 200


def test_a_revoked_device_gets_nothing(server, sketch):
    one = sketch()
    server.rest("POST", f"/devices/{one.mac}:revoke", {"reason": "lost"})
    for file in ("/config.json", f"/{one.mac}.key", "/ca.crt"):
        try:
            assert request(one, file)[0] == 403
        except (ssl.SSLError, OSError):
            pass  # refused in the handshake


def test_ca_is_the_root_that_both_servers_chain_to_and_queries_are_ignored(server, sketch):
    one = sketch()
    status, body = one.get("/ca.crt?curimage=ESP8266_WEMOS_D1MINIPRO-00.00.08.g&x=%zz")
    assert status == 200
    assert x509.load_pem_x509_certificate(body) == x509.load_pem_x509_certificate(
        (server.data / "ca" / "root.pem").read_bytes())
    assert request(stranger(server, one), "/ca.crt")[0] == 200


def test_names_with_der_give_der(server, sketch):
    one = sketch()
    server.rest("POST", f"/devices/{one.mac}/key", {})
    key = serialization.load_der_private_key(request(one, f"/{one.mac}.key.der")[2], None)
    cert = x509.load_der_x509_certificate(request(one, f"/{one.mac}.crt.der")[2])
    assert cert.public_key() == key.public_key()
    assert x509.load_der_x509_certificate(request(one, "/ca.crt.der")[2]).subject


@pytest.mark.parametrize("file", ["/", "/x", "/..%2f..%2fpagurus.db", "/84F3EB000001.key", "/%2e%2e/config.json", "/.key",
                                  "/firmware.bin/", "/download/"])
def test_other_names_are_404(server, sketch, file):
    assert request(sketch(), file)[0] in (403, 404)


def test_nothing_is_served_without_tls(make_server):
    server = make_server("mqtt.mode=off", "legacy.enabled=true").start()
    server.product("measure", "esp8266", ("d1mini",), plain_http=True, legacy_auth="none")
    speaks(server, "measure")
    for file in ("config.json", "ca.crt", "84f3eb000001.key", "84f3eb000001.crt", "firmware.bin?curimage=A-1"):
        assert server.plain_request("GET", f"/secureesp8266/measure/{file}").status == 403
    server.stop()


def test_rsa_keys_and_der_by_setting(server, sketch):
    server.rest("POST", "/products", {"name": "old", "chip": "esp8266", "hardware": ["d1mini"]})
    speaks(server, "old", key="rsa2048", encoding="der")
    one = stranger(server, sketch())
    one.mac, one.config = "84f3ee000001", config(server, "/secureesp8266/old")
    claim = code(server, "old")
    status, _, key = request(one, f"/{one.mac}.key?claim={claim}")
    key = serialization.load_der_private_key(key, None)
    assert status == 200 and isinstance(key, rsa.RSAPrivateKey) and key.key_size == 2048
    _, _, cert = request(one, f"/{one.mac}.crt?claim={claim}")
    assert x509.load_der_x509_certificate(cert).public_key() == key.public_key()
    pem = serialization.Encoding.PEM
    one.identity(x509.load_der_x509_certificate(cert).public_bytes(pem),
                 key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    assert request(one, "/config.json")[0] == 200


# ---- config.json ------------------------------------------------------------------------------------------------

def test_config_has_every_key_and_is_short(sketch):
    status, body = sketch().get("/config.json")
    assert status == 200 and len(body) < 700
    assert list(json.loads(body)) == ["downloadserver", "downloadport", "downloadpath", "mqttserver", "mqttport",
                                      "mqtttls", "ntpserver", "statusinterval", "waittimeout", "retrytimeout"]


def test_config_leads_back_to_where_it_was_asked_for(server, sketch):
    one = sketch()
    said = json.loads(one.get("/config.json")[1])
    assert (said["downloadserver"], said["downloadport"], said["downloadpath"]) == (
        "localhost", server.ports["device"], "/secureesp8266/measure")
    assert (said["mqttserver"], said["mqttport"], said["mqtttls"]) == ("localhost", server.ports["mqtt"], True)


def test_update_and_broker_may_be_different_hosts_and_a_device_has_its_own_word(server, sketch):
    one = sketch()
    changed = server.rest("PATCH", f"/devices/{one.mac}/dialect", {"settings": {
        "mqttserver": "mqtt.example.net", "mqttport": 8884, "statusinterval": 10000,
        "wifi": [{"ssid": "new", "password": "correct horse"}, {"ssid": "old", "password": "battery staple"}]}})
    assert changed["settings"]["wifi"] == [{"ssid": "new"}, {"ssid": "old"}], "passwords are not shown"
    said = json.loads(one.get("/config.json")[1])
    assert (said["downloadserver"], said["mqttserver"], said["mqttport"], said["statusinterval"]) == (
        "localhost", "mqtt.example.net", 8884, 10000)
    assert said["wifi"] == [{"ssid": "new", "password": "correct horse"}, {"ssid": "old", "password": "battery staple"}]
    assert b"correct horse" not in (server.data / "pagurus.db").read_bytes() + (
        server.data / "pagurus.db-wal").read_bytes()
    server.rest("PATCH", f"/devices/{one.mac}/dialect", {"settings": {"wifi": None}})
    assert "wifi" not in json.loads(one.get("/config.json")[1])
    assert server.call("DELETE", f"/devices/{one.mac}/dialect").status == 204
    assert json.loads(one.get("/config.json")[1])["statusinterval"] == 60000


@pytest.mark.client("secureESP8266", "00.00.08.f", "updateserverurl, files below download")
def test_the_old_variant_gets_its_url_and_asks_below_download(server, sketch):
    one = sketch()
    status, _, body = request(one, "/download/config.json")
    assert status == 200 and len(body) < 700
    assert json.loads(body)["updateserverurl"] == f"https://localhost:{server.ports['device']}/secureesp8266/measure/"
    assert request(one, f"/download/firmware.bin?curimage={one.BOARD}-00.00.08.h")[0] == 304


@pytest.mark.parametrize("settings, pointer", [
    ({"downloadport": 0}, "/downloadport"), ({"downloadpath": "x"}, "/downloadpath"), ({"downloadpath": "/x/"}, "/downloadpath"),
    ({"wifi": [{"ssid": "a"}]}, "/wifi"), ({"wifi": [{"ssid": "a", "password": "short"}]}, "/wifi"),
    ({"wifi": [{"ssid": "a", "password": ""}] * 4}, "/wifi"), ({"encoding": "p12"}, "/encoding"), ({"key": "rsa"}, "/key"),
    ({"mqtttls": 1}, "/mqtttls"), ({"nonsense": 1}, "/nonsense"), ({"ntpserver": 'a"b'}, "/ntpserver"),
    ({"statusinterval": 5}, "/statusinterval"), ({"series_rows": 5}, "/series_rows"),
])
def test_settings_that_would_cost_a_device_its_server_are_refused(server, owner, settings, pointer):
    reply = server.call("PATCH", "/products/measure/dialect", {"settings": settings})
    assert reply.status == 422 and pointer in [e["pointer"] for e in reply.json["errors"]], reply.body


def test_a_configuration_that_the_sketch_cannot_read_is_refused(server, owner):
    wifi = [{"ssid": "s" * 32, "password": "p" * 63}] * 3
    settings = {"wifi": wifi, "updateserverurl": "https://" + "u" * 100}
    reply = server.call("PATCH", "/products/measure/dialect", {"settings": settings})
    assert reply.status == 422 and "699" in reply.json["detail"]


def test_another_path_is_answered_by_a_mount(server, sketch):
    server.rest("POST", "/products/measure/mounts", {"path": "/esp/download", "kind": "secureesp8266"})
    one = sketch(path="/esp/download")
    assert json.loads(one.get("/config.json")[1])["downloadpath"] == "/esp/download"
    assert one.get(f"/firmware.bin?curimage={one.BOARD}-00.00.08.h")[0] == 304


# ---- firmware.bin -----------------------------------------------------------------------------------------------

def test_next_image_is_200_and_the_latest_304(sketch):
    one = sketch()
    status, headers, body = request(one, f"/firmware.bin?curimage={one.BOARD}-00.00.08.g")
    assert (status, body) == (200, IMAGE["00.00.08.h"])
    assert headers["content-length"] == str(len(body)) and headers["connection"] == "close"
    assert "transfer-encoding" not in headers and "content-encoding" not in headers
    assert one.get(f"/firmware.bin?curimage={one.BOARD}-00.00.08.h") == (304, b"")


@pytest.mark.parametrize("query, status", [("", 400), ("?curimage=", 400), ("?curimage=A-", 400), ("?x=1", 400),
                                           ("?curimage=ESP8266_WEMOS_D1MINIPRO-" + "9" * 80, 400),
                                           ("?curimage=ESP8266_WEMOS_D1MINIPRO-99.99.99.z", 200)])
def test_a_request_that_does_not_say_what_runs_is_told_so(sketch, query, status):
    answer = request(sketch(), "/firmware.bin" + query)
    assert answer[0] == status and (status != 400 or b"curimage" in answer[2])


def test_another_board_is_told_so(server, sketch):
    one = sketch()
    speaks(server, "measure", board=one.BOARD)
    try:
        status, _, text = request(one, "/firmware.bin?curimage=ESP8266_NODEMCU-00.00.08.g")
        assert status == 409 and one.BOARD.encode() in text
        assert request(one, f"/firmware.bin?curimage={one.BOARD}-00.00.08.h")[0] == 304
    finally:
        speaks(server, "measure", board=None)


# ---- an update over MQTT ----------------------------------------------------------------------------------------

@pytest.mark.client("secureESP8266", "00.00.08.i", "firmware, flash, reboot, confirmed")
def test_an_update_goes_from_firmware_over_flash_and_reboot_to_confirmed(server, sketch):
    one = sketch().start()
    server.until(lambda: device(server, one)["running"]["version"] == "00.00.08.h", 60)
    assert [x for x in one.log if isinstance(x, str)] == ["firmware", "flash", "reboot"]
    server.until(lambda: device(server, one)["action"]["state"] == "confirmed", 20)
    assert device(server, one)["state"] == "up_to_date"
    server.until(lambda: commands(server, one) == [("firmware", "done"), ("flash", "done"), ("reboot", "done")], 20)


@pytest.mark.client("secureESP8266", "00.00.08.i", "told of a release while it is connected")
def test_a_publish_tells_connected_devices_at_once_and_once(server, tmp_path):
    prompt = signing.Publisher(server, "prompt", "esp8266", ("d1mini",))
    speaks(server, "prompt", downloadserver="localhost", mqttserver="localhost")
    images = {v: esp8266.arduino("prompt", v, filler=20000) for v in VERSIONS[:2]}
    prompt.publish(VERSIONS[0], images[VERSIONS[0]])
    mac = f"84f3eb{next(_next):06x}"
    claim = code(server, "prompt", mac=mac)
    one = secureesp.Sketch(mac, tmp_path, (server.data / "ca" / "root.pem").read_bytes(), config(server, "/secureesp8266/prompt"), VERSIONS[0],
                           {image: v for v, image in images.items()}, interval=3600)
    key, cert = (one.get(f"/{mac}.{file}?claim={claim}")[1] for file in ("key", "crt"))
    one.identity(cert, key)
    one.start()
    try:
        server.until(lambda: device(server, one)["state"] == "up_to_date" and device(server, one)["online"], 20)
        prompt.publish(VERSIONS[1], images[VERSIONS[1]])
        server.until(lambda: "firmware" in one.log, 20)  # its next status would come in an hour
        server.until(lambda: (device(server, one)["action"] or {}).get("state") == "downloaded", 20)
        one.interval = 0.2
        server.until(lambda: device(server, one)["running"]["version"] == VERSIONS[1], 60)
        assert [x for x in one.log if isinstance(x, str)] == ["firmware", "flash", "reboot"]
    finally:
        one.stop()


@pytest.mark.client("secureESP8266", "00.00.08.i", "after a 304 nothing is flashed")
def test_after_a_304_nothing_is_flashed(server, sketch):
    one = sketch("00.00.08.h").start()
    server.until(lambda: device(server, one)["online"], 20)
    server.rest("POST", f"/devices/{one.mac}/commands", {"kind": "check"})
    server.until(lambda: commands(server, one) == [("check", "done")], 20)
    server.until(lambda: len(series(server, one, "rssi")) > 10, 20)
    assert one.log == ["firmware", (f"/firmware.bin?curimage={one.BOARD}-00.00.08.h", 304)]


@pytest.mark.client("secureESP8266", "00.00.08.i", "a download that is cut is repeated")
def test_a_download_that_is_cut_is_repeated_and_not_flashed(server, sketch):
    one = sketch()
    one.cut = 20000
    one.start()
    server.until(lambda: device(server, one)["running"]["version"] == "00.00.08.h", 60)
    words = [x for x in one.log if isinstance(x, str)]
    assert words[:2] == ["firmware", "firmware"] and words[2:] == ["flash", "reboot"]


def test_a_refused_image_fails_with_the_devices_words_and_what_to_do(server, sketch):
    one = sketch()
    one.verify = lambda image: "ERROR[12]: Signature verification failed"
    one.start()
    server.until(lambda: device(server, one).get("message"), 60)
    server.until(lambda: (device(server, one)["action"] or {}).get("state") in ("failed", "offered"), 20)
    said = device(server, one)
    assert said["message"] == "ERROR[12]: Signature verification failed"
    assert "not signed with the key" in said["message_help"]
    assert "reboot" not in one.log
    message = events(server, one, "device.message")[-1]
    assert message["data"]["message"] == said["message"]
    failed = events(server, one, "action.failed")[0]
    assert failed["data"]["code"] == 12


def test_a_device_that_comes_back_on_the_old_image_has_failed(server, sketch):
    one = sketch()
    one.images = {}
    one.start()
    server.until(lambda: events(server, one, "action.failed"), 60)
    assert "old image" in str(events(server, one, "action.failed")[0]["data"])


def test_commands_go_out_one_by_one(server, sketch):
    one = sketch("00.00.08.h").start()
    server.until(lambda: device(server, one)["online"], 20)
    server.rest("POST", f"/devices/{one.mac}/key", {})
    for kind in ("config", "key", "cert", "ca", "reboot"):
        server.rest("POST", f"/devices/{one.mac}/commands", {"kind": kind})
    server.until(lambda: [s for _, s in commands(server, one)] == ["done"] * 5, 60)
    assert one.log == ["config", ("/config.json", 200), "key", (f"/{one.mac}.key", 200), "cert",
                       (f"/{one.mac}.crt", 200), "ca", (f"/ca.crt?curimage={one.BOARD}-00.00.08.h", 200), "reboot"]
    assert serialization.load_pem_private_key(one.files[f"/{one.mac}.key"], None).public_key() == \
        x509.load_pem_x509_certificate(one.files[f"/{one.mac}.crt"]).public_key()


def test_a_command_waits_for_a_device_that_is_away(server, sketch):
    one = sketch("00.00.08.h").start()
    server.until(lambda: device(server, one)["online"], 20)
    one.stop(clean=False)
    server.until(lambda: not device(server, one)["online"], 40)
    server.rest("POST", f"/devices/{one.mac}/commands", {"kind": "reboot"})
    assert commands(server, one) == [("reboot", "queued")]
    one.stopping.clear()
    one.start()
    server.until(lambda: commands(server, one) == [("reboot", "done")], 30)


@pytest.mark.parametrize("kind", ["identify", "app"])
def test_what_the_sketch_does_not_know_is_refused(server, sketch, kind):
    one = sketch()
    reply = server.call("POST", f"/devices/{one.mac}/commands", {"kind": kind})
    assert reply.status == 422 and "firmware" in str(reply.json)


def test_other_devices_are_not_sent_its_words(server, owner):
    other = server.enroll(elsewhere(server), f"84f3ef{next(_next):06x}")
    reply = server.call("POST", f"/devices/{other.id}/commands", {"kind": "flash"})
    assert reply.status == 422 and "secureesp8266" in str(reply.json)


@pytest.mark.client("secureESP8266", "00.00.08.i", "both wills")
@pytest.mark.parametrize("topic", ["/will/{}", "/will/{}/will"])
def test_both_wills_mean_offline(server, sketch, topic):
    one = sketch("00.00.08.h").start()
    server.until(lambda: device(server, one)["online"], 20)
    one.stop()
    mosquitto(server, one, "mosquitto_pub", "-t", topic.format(one.mac), "-m", json.dumps({"espname": "measure-x"}))
    server.until(lambda: not device(server, one)["online"], 10)


def test_a_clean_disconnect_for_a_download_is_not_offline(server, sketch):
    one = sketch("00.00.08.h").start()
    server.until(lambda: device(server, one)["online"], 20)
    server.rest("POST", f"/devices/{one.mac}/commands", {"kind": "config"})
    server.until(lambda: commands(server, one) == [("config", "done")], 20)
    assert not events(server, one, "device.offline")


# ---- the next certificate ---------------------------------------------------------------------------------------

class Loads(secureesp.Sketch):
    """A fork that stores what it fetches under the name that it loads."""

    def download(self, file, name):
        super().download(file, name)
        if file.endswith(".crt") and name in self.files:
            self.files[f"{name}.der"] = self.files[name]


@pytest.fixture(scope="module")
def short(make_server):
    # a certificate begins an hour before it is made: two thirds of such a life are over after 4 s
    one = make_server("certificates.device_time=1806s", "limits.device_messages=1000",
                      "limits.device_messages_burst=5000", "limits.device_requests=1000",
                      "limits.device_requests_burst=5000").start()
    one.wait_ready()
    owner = signing.Publisher(one, "measure", "esp8266", ("d1mini",))
    speaks(one, "measure", downloadserver="localhost", mqttserver="localhost")
    owner.publish(VERSIONS[0], IMAGE[VERSIONS[0]])
    return one


def aging(server, kind):
    mac = f"84f3eb{next(_next):06x}"
    one = kind(mac, server.folder, (server.data / "ca" / "root.pem").read_bytes(), config(server), VERSIONS[0])
    claim = code(server, mac=mac)
    key, cert = (one.get(f"/{mac}.{file}?claim={claim}")[1] for file in ("key", "crt"))
    one.identity(cert, key)
    return one.start()


WORDS = ["cert", "reboot", "firmware"]
DONE = [("cert", "done"), ("reboot", "done"), ("check", "done")]


def test_at_two_thirds_the_server_renews_for_the_same_key_and_a_fork_takes_it(short):
    one = aging(short, Loads)
    try:
        first = x509.load_pem_x509_certificate(one.files[f"/{one.mac}.crt.der"])
        short.until(lambda: events(short, one, "certificate.taken"), 60)
        short.until(lambda: commands(short, one) == DONE, 30)
        now = x509.load_pem_x509_certificate(one.files[f"/{one.mac}.crt.der"])
        assert now.public_key() == first.public_key() and now.serial_number != first.serial_number
        assert now.not_valid_after_utc > first.not_valid_after_utc
        assert int(device(short, one)["certificate"]["serial"], 16) == now.serial_number
        renewed, = events(short, one, "certificate.renewed")
        assert int(renewed["data"]["serial"], 16) == now.serial_number and renewed["actor"] == "system"
        # that one is past its two thirds by then, too: once a day is all
        until = now.not_valid_after_utc.timestamp() - 1806 + 5
        short.until(lambda: time.time() > until, 20)
        n = len(series(short, one, "rssi"))
        short.until(lambda: len(series(short, one, "rssi")) > n + 10, 20)
        assert len(events(short, one, "certificate.renewed")) == 1 and commands(short, one) == DONE
        assert [x for x in one.log if isinstance(x, str)] == WORDS
    finally:
        one.stop()


def test_the_original_sketch_does_not_take_it_is_not_booted_again_and_stays_counted(short):
    one = aging(short, secureesp.Sketch)
    try:
        serial = device(short, one)["certificate"]["serial"]
        short.until(lambda: commands(short, one) == DONE, 60)
        assert f"/{one.mac}.crt" in one.files and len(events(short, one, "certificate.renewed")) == 1
        n = len(series(short, one, "rssi"))
        short.until(lambda: len(series(short, one, "rssi")) > n + 10, 20)
        assert [x for x in one.log if isinstance(x, str)] == WORDS
        assert not events(short, one, "certificate.taken")
        assert device(short, one)["certificate"]["serial"] == serial
        assert short.rest("GET", "/ca")["device_certificates"]["due"] >= 1
    finally:
        one.stop()


def test_a_young_certificate_is_left_alone(server, sketch):
    one = sketch("00.00.08.h").start()
    server.until(lambda: len(series(server, one, "rssi")) > 10, 20)
    assert commands(server, one) == [] and not events(server, one, "certificate.renewed")


# ---- series -----------------------------------------------------------------------------------------------------

def series(server, one, field, **more):
    words = "".join(f"&{k}={v}" for k, v in more.items())
    return server.rest("GET", f"/devices/{one.mac}/series?field={field}{words}")["items"]


@pytest.mark.client("secureESP8266", "00.00.08.i", "eleven fields of status over time")
def test_all_eleven_fields_are_kept_over_time(server, sketch):
    one = sketch("00.00.08.h")
    said = {"uptimemillis": 270015, "maxmillis": 74, "mqttmillis": 259618, "espname": "measure-x", "rssi": -65,
            "espimage": "ESP8266_WEMOS_D1MINIPRO-00.00.08.h", "espbuild": "Mar  8 2020 10:19:19",
            "espip": "192.168.1.182", "espfreeheap": 13512, "errormessage": "ERROR[4]: Not Enough Space",
            "espflasherror": "ERROR[4]"}
    mosquitto(server, one, "mosquitto_pub", "-t", f"/status/{one.mac}", "-m", json.dumps(said))
    server.until(lambda: series(server, one, "rssi"))
    for field, value in said.items():
        assert [v["value"] for v in series(server, one, field)] == [value], field
    assert device(server, one)["said"] == {**said, "at": device(server, one)["said"]["at"]}
    mosquitto(server, one, "mosquitto_pub", "-t", f"/status/{one.mac}", "-m", json.dumps({"rssi": -70}))
    server.until(lambda: [v["value"] for v in series(server, one, "rssi")] == [-65, -70])
    assert len(series(server, one, "espimage")) == 1, "a field that was not said has no value"
    first, last = series(server, one, "rssi")
    assert series(server, one, "rssi", limit=1) == [first]
    assert series(server, one, "rssi", to="2001-01-01T00:00:00Z") == []
    assert len(series(server, one, "rssi", **{"from": 1000000000})) == 2


def test_a_counter_that_wraps_goes_on(server, sketch):
    one = sketch("00.00.08.h")
    near = 2**32 - 500
    for value in (near, 700):
        mosquitto(server, one, "mosquitto_pub", "-t", f"/status/{one.mac}", "-m", json.dumps({"uptimemillis": value}))
        time.sleep(0.1)
    values = server.until(lambda: (lambda v: v if len(v) == 2 else None)(
        [v["value"] for v in series(server, one, "uptimemillis")]))
    assert values == [near, 2**32 + 700]


@pytest.mark.parametrize("query", ["", "field=x", "field=rssi&from=yesterday", "field=rssi&limit=0",
                                   "field=rssi&to=2026-13-01T00:00:00Z"])
def test_a_question_for_no_series_is_told_so(server, sketch, query):
    assert server.call("GET", f"/devices/{sketch().mac}/series?{query}").status == 422


@pytest.mark.parametrize("payload", ["", "{", "[]", "1", '{"rssi": "x"}', '{"rssi": 1e400}', '{"uptimemillis": -1}',
                                     '{"espname": "' + "n" * 1500 + '"}', '{"rssi":-1,"rssi":-2}', "\x00" * 100,
                                     '{"espimage": "' + "-" * 200 + '"}', '{"errormessage": "\\u0000\\u001b[31m"}'])
def test_a_hostile_status_is_survived(server, sketch, payload):
    one = sketch("00.00.08.h")
    one.context()
    mosquitto(server, one, "mosquitto_pub", "-t", f"/status/{one.mac}", "-m", payload.replace("\x00", "z"))
    mosquitto(server, one, "mosquitto_pub", "-t", f"/status/{one.mac}", "-m", json.dumps({"rssi": -42}))
    server.until(lambda: [v["value"] for v in series(server, one, "rssi")][-1:] == [-42])


# ---- attacks over MQTT ------------------------------------------------------------------------------------------

def test_nobody_speaks_for_another_device(server, sketch):
    thief, victim = sketch("00.00.08.h"), sketch("00.00.08.h").start()
    server.until(lambda: device(server, victim)["online"], 20)
    n = len(series(server, victim, "espip"))
    for topic, payload in ((f"/status/{victim.mac}", '{"espip": "6.6.6.6"}'), (f"/will/{victim.mac}", "{}"),
                           (f"/will/{victim.mac}/will", "{}"), (f"/command/{victim.mac}/reboot", "x"),
                           (f"/command/{thief.mac}/reboot", "x")):
        mosquitto(server, thief, "mosquitto_pub", "-q", "1", "-t", topic, "-m", payload)
        mosquitto(server, thief, "mosquitto_pub", "-q", "1", "-r", "-t", topic, "-m", payload)
    server.until(lambda: len(series(server, victim, "espip")) > n + 5, 20)
    assert device(server, victim)["online"] and "reboot" not in victim.log
    assert all(v["value"] != "6.6.6.6" for v in series(server, victim, "espip"))
    assert not events(server, victim, "device.offline")


def test_nobody_hears_another_devices_commands(server, sketch):
    thief, victim = sketch("00.00.08.h"), sketch("00.00.08.h").start()
    server.until(lambda: device(server, victim)["online"], 20)
    thief.context()
    base = ["mosquitto_sub", "-h", "localhost", "-p", str(server.ports["mqtt"]), "--cafile",
            str(thief.folder / f"{thief.mac}.ca"), "--cert", str(thief.folder / f"{thief.mac}.c"), "--key",
            str(thief.folder / f"{thief.mac}.k"), "-i", thief.mac, "-v", "-W", "6"]
    for topic in ("#", "/command/#", f"/command/{victim.mac}/#", "/status/#", "$share/g/#"):
        base += ["-t", topic]
    heard = subprocess.Popen(base, stdout=subprocess.PIPE, text=True)
    server.rest("POST", f"/devices/{victim.mac}/commands", {"kind": "config"})
    server.until(lambda: commands(server, victim) == [("config", "done")], 20)
    assert heard.communicate(timeout=20)[0] == ""


def test_a_will_for_another_device_does_not_make_it_go(server, sketch):
    thief, victim = sketch("00.00.08.h"), sketch("00.00.08.h").start()
    server.until(lambda: device(server, victim)["online"], 20)
    try:
        link = secureesp.Mqtt("localhost", server.ports["mqtt"], thief.context(), thief.mac, (f"/will/{victim.mac}", "{}"))
        link.disconnect(clean=False)
    except (ConnectionError, OSError):
        pass
    n = len(series(server, victim, "rssi"))
    server.until(lambda: len(series(server, victim, "rssi")) > n + 5, 20)
    assert not events(server, victim, "device.offline")


def test_another_devices_client_id_does_not_push_it_out(server, sketch):
    thief, victim = sketch("00.00.08.h"), sketch("00.00.08.h").start()
    server.until(lambda: device(server, victim)["online"], 20)
    link = secureesp.Mqtt("localhost", server.ports["mqtt"], thief.context(), victim.mac)
    before = victim.connected
    n = len(series(server, victim, "rssi"))
    server.until(lambda: len(series(server, victim, "rssi")) > n + 5, 20)
    link.disconnect()
    assert victim.connected == before


def test_a_retained_command_is_removed_and_not_carried_out_again(server, sketch):
    one = sketch("00.00.08.h")
    tls = server.data / "tls"
    topic = f"/command/{one.mac}/reboot"
    # As somebody with the server's own certificate has left it there: this pushes the server's session out once.
    subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(server.ports["mqtt"]), "--cafile",
                    str(server.data / "ca" / "root.pem"), "--cert", str(tls / "svc.pem"), "--key", str(tls / "svc.key"),
                    "-i", "svc-pagurusd", "-q", "1", "-r", "-t", topic, "-m", "x"], timeout=10, check=True)
    server.until(lambda: "mqtt.retained_command_removed" in server.log.read_text(), 30)

    def retained():
        out = mosquitto(server, one, "mosquitto_sub", "-t", topic, "-W", "1", "-v")
        return out.stdout

    server.until(lambda: retained() == "", 20)


def test_a_retained_status_proves_nothing(server, sketch):
    one = sketch("00.00.08.h")
    tls = server.data / "tls"
    mosquitto(server, one, "mosquitto_pub", "-r", "-q", "1", "-t", f"/status/{one.mac}", "-m", '{"espip": "1.2.3.4"}')
    server.until(lambda: series(server, one, "espip"))
    subprocess.run(["mosquitto_sub", "-h", "localhost", "-p", str(server.ports["mqtt"]), "--cafile",
                    str(server.data / "ca" / "root.pem"), "--cert", str(tls / "svc.pem"), "--key", str(tls / "svc.key"),
                    "-i", "svc-pagurusd", "-t", "pg/none", "-W", "1"], timeout=10, check=False)
    server.wait_ready(30)
    other = sketch("00.00.08.h").start()
    server.until(lambda: series(server, other, "espip"), 20)
    assert len(series(server, one, "espip")) == 1
    assert device(server, one)["online"] is False


# ---- the command line -------------------------------------------------------------------------------------------

@pytest.fixture
def pagurus(server, tmp_path):
    token = tmp_path / "token"
    token.write_text(server.token)
    token.chmod(0o600)

    def run(*words, want=0):
        done = subprocess.run([str(BUILD / "pagurus"), *words, "--server", f"https://localhost:{server.ports['console']}",
                               "--ca", str(server.data / "ca" / "root.pem"), "--token-file", str(token), "--no-input"],
                              capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path,
                              env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        assert done.returncode == want, (words, done.stdout, done.stderr)
        return done.stdout

    return run


def test_settings_keys_and_series_by_command_line(server, sketch, pagurus, tmp_path):
    one = sketch("00.00.08.h").start()
    server.until(lambda: device(server, one)["online"], 20)
    assert "secureesp8266" in pagurus("product", "dialect", "measure")
    wifi = tmp_path / "wifi.json"
    wifi.write_text('[{"ssid": "new", "password": "correct horse"}]')
    wifi.chmod(0o600)
    pagurus("device", "dialect", one.mac, "statusinterval=30000", f"wifi=@{wifi}")
    assert "correct horse" not in pagurus("device", "dialect", one.mac)
    said = json.loads(one.get("/config.json")[1])
    assert said["statusinterval"] == 30000 and said["wifi"][0]["password"] == "correct horse"
    pagurus("device", "dialect", one.mac, "--off")
    pagurus("device", "key", one.mac)
    pagurus("device", "command", one.mac, "key")
    server.until(lambda: commands(server, one) == [("key", "done")], 20)
    values = json.loads(pagurus("device", "series", one.mac, "--field", "rssi", "--json"))
    assert {v["value"] for v in values["items"]} == {-65}
    one.error = "Updateserver-certificate doesn't match"
    server.until(lambda: "ca.der" in pagurus("device", "show", one.mac), 20)
