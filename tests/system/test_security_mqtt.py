"""Attacks over MQTT; B.., D.. and H.. are rows of docs/spec/security-tests.md. What the broker alone does is in test_broker.py."""

import datetime
import hashlib
import itertools
import json
import ssl
import threading
import time

import pytest

import attacks
import cborish
import signing
from attacks import CBOR
from test_native import check_body

REFUSED = "pagurus_mqtt_refused_total "


@pytest.fixture(scope="module")
def server(server_mqtt):
    return server_mqtt


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


NUMBERS = itertools.count()


@pytest.fixture
def device(server, owner):
    """Another one for each test: each device has its own allowance of messages."""
    return server.enroll("meter", f"84f3eb31{next(NUMBERS):04x}")


@pytest.fixture
def link(server, device):
    with attacks.Mqtt(server, device) as one:
        yield one


def data_of(server, device):
    return server.rest("GET", f"/devices/{device.id}/data")


def settle(server, link, device):
    """Until everything sent before has been taken: messages of one device keep their order."""
    mark = str(time.monotonic_ns())
    link.publish("up/data/mark", mark.encode())
    server.until(lambda: any(d["topic"] == "data/mark" and str(d["payload"]) == mark for d in data_of(server, device)["data"]))


# ---- status ------------------------------------------------------------------------------------------------

BAD = {
    "nothing": b"", "blank": b" ", "a number": b"7", "a text": b'"x"', "a list": b"[]", "null": b"null", "true": b"true",
    "cut": b'{"version":"1', "two values": b"{}{}", "bytes behind": b'{"a":1}\0', "lists 5000 deep": b"[" * 5000,
    "objects 500 deep": b'{"a":' * 500 + b"1" + b"}" * 500, "objects 33 deep": b'{"a":' * 33 + b"1" + b"}" * 33,
    "60 KB": b'{"a":"' + b"x" * 60000 + b'"}', "twice": b'{"a":1,"a":2}', "twice by escape": b'{"a":1,"\\u0061":2}',
    "twice inside": b'{"a":{"b":1,"b":2}}', "lone high surrogate": b'{"a":"\\ud800"}', "lone low surrogate": b'{"a":"\\udc00"}',
    "NUL escape": b'{"a":"\\u0000"}', "NUL in a name": b'{"\\u0000":1}', "invalid UTF-8": b'{"a":"\xff\xfe"}',
    "overlong": b'{"a":"\xc0\xaf"}', "surrogate bytes": b'{"a":"\xed\xa0\x80"}', "NaN": b'{"a":NaN}', "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"rssi":-Infinity}', "1e400": b'{"a":1e400}', "400 digits": b'{"a":' + b"9" * 400 + b"}",
    "over 64 bits": b'{"uptime":18446744073709551616}', "leading zero": b'{"a":01}', "hex": b'{"a":0x10}', "comment": b"{/**/}",
    "byte order mark": b'\xef\xbb\xbf{"a":1}', "UTF-16": '{"a":1}'.encode("utf-16"), "raw control": b'{"a":"\x1b[2J"}',
    "raw line end": b'{"a":"x\ny"}', "CBOR": b"\xa1\x61a\x01", "random": hashlib.sha512(b"x").digest() * 20,
}


@pytest.mark.parametrize("name", list(BAD))
def test_h15_hostile_status_is_counted_once_and_changes_nothing(server, link, device, name):
    link.publish("up/status", b'{"version":"1.0.0","rssi":-50}')
    settle(server, link, device)
    before, shown = attacks.metric(server, REFUSED), server.rest("GET", f"/devices/{device.id}")
    lines = server.log.read_text().count("\n")
    link.publish("up/status", BAD[name])
    settle(server, link, device)
    assert attacks.metric(server, REFUSED) == before + 1
    log = server.log.read_text()
    assert log.count("\n") == lines + 1 and "mqtt.refused" in log.splitlines()[-1] and "\x1b" not in log
    after = server.rest("GET", f"/devices/{device.id}")
    assert data_of(server, device)["status"] == {"version": "1.0.0", "rssi": -50}
    assert (after["state"], after["running"], after["name"]) == (shown["state"], shown["running"], shown["name"])
    attacks.alive(server)


TEXTS = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg/onload=alert(1)>", "\u001b[2J\u001b]0;owned\u0007",
         "x\r\n2026-01-01T00:00:00Z ERROR forged.event user=root", "\u202e\u2066", "'; DROP TABLE device; --", "%s%n", "\u0085\u2028",
         "é" * 300, "\U0001f47e" * 50, "\u0001\u007f"]


@pytest.mark.parametrize("text", TEXTS)
def test_d5_text_of_a_status_is_data_and_nothing_else(server, link, device, text):
    before = server.log.read_text()
    link.publish("up/status", json.dumps({"version": text, "reset_reason": text, "error": text, text[:20]: text}).encode())
    link.publish("up/data/" + "text", text.encode())
    settle(server, link, device)
    added = server.log.read_text()[len(before):]
    assert added.count("\n") <= 3 and "\x1b" not in added
    assert not any(line.startswith("2026-01-01T00:00:00Z ERROR") for line in added.splitlines())
    reply = server.call("GET", f"/devices/{device.id}/data")
    assert reply.header("Content-Type") == "application/json" and reply.header("X-Content-Type-Options") == "nosniff"
    assert b"\x1b" not in reply.body and b"\n2026-01-01" not in reply.body
    status = reply.json["status"]
    assert status.get("error") in (text, None) or any(c < " " for c in text)
    running = server.rest("GET", f"/devices/{device.id}")["running"]
    assert running is None or text not in str(running["version"])  # no version text has such letters
    for path in ("/", "/console.js"):
        assert text[:8].encode() not in server.console_request("GET", path).body or text.startswith("\u0001")


@pytest.mark.parametrize("leaf, payload", [
    ("will", b"maybe"), ("will", b"online\0"), ("will", b"x" * 60000), ("up/report", b""), ("up/report", b"\xa0"),
    ("up/report", b"\xbf\xff"), ("up/report", b"\x9f" * 4000), ("up/report", bytes(5000)), ("up/result", b"\xa2\x01\x05"),
    ("up/result", b"\xa1" * 3000), ("up/result", b"{}"), ("up/nothing", b"x"), ("up/status/x", b"{}"), ("up/", b"x")])
def test_p13_hostile_messages_of_other_kinds_are_counted(server, link, device, leaf, payload):
    before = attacks.metric(server, REFUSED)
    link.publish(leaf, payload)
    settle(server, link, device)
    assert attacks.metric(server, REFUSED) >= before + (0 if leaf in ("up/", "up/status/x") else 1)
    attacks.alive(server)


def test_numbers_at_their_limits_are_shown_or_left_out_never_wrapped(server, link, device):
    for value in (0, -1, 2 ** 31, 2 ** 32, 2 ** 53 + 1, 2 ** 63 - 1, -2 ** 63, 1e308, -1e308, 5e-324, 1.5):
        link.publish("up/status", json.dumps({"version": "1.0.0", "rssi": value, "free_heap": value, "uptime_ms": value,
                                              "loop_max_ms": value, "sequence": value, "slot": value}).encode())
    settle(server, link, device)
    attacks.alive(server)
    text = server.console_request("GET", "/metrics", headers={"Authorization": "Bearer " + server.token}).body.decode()
    assert not [line for line in text.splitlines() if line.endswith((" NaN", " nan", " inf", " -nan"))]


# ---- only its own ------------------------------------------------------------------------------------------


def test_d2_a_report_over_mqtt_does_not_touch_another_devices_action(server, owner, device, link):
    victim = server.enroll("meter", "84f3eb300002")
    owner.publish("1.0.0", open("/bin/true", "rb").read())
    offer = cborish.loads(victim.request("POST", "/v1/check", check_body(), CBOR).body)
    before = server.rest("GET", f"/devices/{victim.id}")["action"]
    for state in (1, 5, 6, 7, 10):
        link.publish("up/report", cborish.dumps({1: offer[1], 2: state, 3: 50, 6: hashlib.sha256(offer[2]).digest(),
                                                 7: bytes(32), 8: state}))
    settle(server, link, device)
    assert server.rest("GET", f"/devices/{victim.id}")["action"] == before
    made = server.rest("POST", f"/devices/{victim.id}/commands", {"kind": "identify"})
    link.publish("up/result", cborish.dumps({1: int(made["id"][4:], 16), 2: 0, 3: "stolen"}))
    settle(server, link, device)
    shown = server.rest("GET", f"/devices/{victim.id}/commands")["items"][0]
    assert shown["state"] in ("queued", "sent") and not shown.get("result")


@pytest.mark.parametrize("topic", ["pg/v1/d/84f3eb300002/up/status", "pg/v1/d/84f3eb300002/will", "pg/v1/d/84f3eb300001/cmd",
                                   "pg/v1/d//up/status", "$SYS/broker/clients", "/status/84f3eb300002", "pg/v1/d/84f3eb300001/../84f3eb300002/up/status"])
def test_b6_b9_topics_of_others_go_nowhere(server, device, link, topic):
    before = data_of(server, device)["status"]
    link.publish(topic, b'{"version":"6.6.6"}')
    settle(server, link, device)
    assert data_of(server, device)["status"] == before
    reply = server.call("GET", "/devices/84f3eb300002")
    assert "6.6.6" not in reply.body.decode()


@pytest.mark.parametrize("topic", [b"pg/v1/d/+/up/status", b"#", b"", b"pg/v1/d/\0/up", b"\xff\xfe", b"x" * 65535, b"\xed\xa0\x80"])
def test_b2_topics_that_are_none_end_that_session_only(server, device, link, topic):
    with attacks.Mqtt(server, server.enroll("meter", "84f3eb3001" + hashlib.md5(topic).hexdigest()[:2])) as own:
        try:
            own.publish(topic, b"x")
        except OSError:
            pass
    settle(server, link, device)
    attacks.alive(server)


def test_b12_a_packet_over_the_limit_ends_that_session_only(server, device, link):
    with attacks.Mqtt(server, server.enroll("meter", "84f3eb300010")) as own:
        with pytest.raises(OSError):
            own.publish("up/data/x", bytes(1 << 20))
    settle(server, link, device)
    assert server.rest("GET", "/status")["broker"]["restarts"] == 0


# ---- who may come ------------------------------------------------------------------------------------------


def test_n3_certificates_that_are_not_of_the_device_ca_are_refused_by_the_broker(server, device):
    day = datetime.timedelta(days=1)
    own = attacks.Authority.of(server, "device-ca")
    made = {
        "foreign": attacks.Authority.foreign().issue(device.id), "of the server CA": attacks.Authority.of(server, "server-ca").issue(device.id),
        "of the operator CA": attacks.Authority.of(server, "operator-ca").issue(device.id),
        "expired": own.issue(device.id, -2 * day, -day), "not yet": own.issue(device.id, day, 2 * day),
        "serverAuth": own.issue(device.id, usage=(attacks.SERVER,)),
    }
    control = attacks.identity(server, device.id, *own.issue(device.id))
    attacks.Mqtt(server, control).link.close()
    for name, pair in made.items():
        who = attacks.identity(server, "mqtt-" + name.replace(" ", "-"), *pair)
        with pytest.raises(OSError):
            attacks.Mqtt(server, who).link.close()
            pytest.fail(name + " got in")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_n4_the_broker_refuses_old_protocols(server, device, version):
    tls = attacks.context(server, device)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version, tls.maximum_version = version, version
    with pytest.raises(ssl.SSLError):
        attacks.connect(server, "mqtt", tls=tls).close()


# ---- floods ------------------------------------------------------------------------------------------------


def test_d4_a_flood_by_one_device_does_not_keep_others_waiting(server, owner, device):
    calm = server.enroll("meter", "84f3eb300020")
    loud = server.enroll("meter", "84f3eb300021")
    stop, sent = threading.Event(), [0]

    def flood():
        with attacks.Mqtt(server, loud) as one:
            while not stop.is_set():
                for _ in range(50):
                    one.publish("up/status", b'{"version":"1.0.0","uptime":%d}' % sent[0], qos=0)
                    one.publish("up/data/n", b"%d" % sent[0], qos=0)
                    sent[0] += 2
                stop.wait(0.05)

    memory = attacks.resident_kb(server.process.pid)
    with attacks.Mqtt(server, calm) as quiet:
        quiet.subscribe("cmd")
        quiet.publish("will", b"online")
        thread = threading.Thread(target=flood)
        thread.start()
        try:
            times, begin = [], time.monotonic()
            while time.monotonic() - begin < 4:
                start = time.monotonic()
                assert calm.request("GET", "/v1/trust/1").status == 200
                times.append(time.monotonic() - start)
            start = time.monotonic()
            made = server.rest("POST", f"/devices/{calm.id}/commands", {"kind": "identify"})
            while True:
                heard = quiet.next_message(5)
                assert heard is not None
                if f"cmd_{cborish.loads(heard).get(2, 0):08x}" == made["id"]:
                    break
            assert time.monotonic() - start < 1
            start = time.monotonic()
            quiet.publish("up/data/calm", b"42")
            server.until(lambda: any(d["topic"] == "data/calm" for d in data_of(server, calm)["data"]), 5)
            assert time.monotonic() - start < 2
        finally:
            stop.set()
            thread.join()
    assert sent[0] > 4000 and sorted(times)[len(times) * 9 // 10] < 0.2, (sent, max(times))
    attacks.alive(server)
    assert attacks.resident_kb(server.process.pid) - memory < 32 << 10


def test_d4_topics_that_never_repeat_do_not_fill_the_store(server, owner):
    loud = server.enroll("meter", "84f3eb300030")
    with attacks.Mqtt(server, loud) as one:
        for i in range(3000):
            one.publish(f"up/data/{i}/{'x' * (i % 200)}", b"%d" % i, qos=0)
        one.publish("up/data/last", b"1")
        server.until(lambda: attacks.metric(server, "pagurus_store_queue ") == 0)
        time.sleep(0.5)
    assert len(data_of(server, loud)["data"]) <= 256
