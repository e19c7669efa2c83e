"""What must hold beside the straight way: revocation whatever the broker does, time, commands, limits, signals."""

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import time

import pytest
from cryptography import x509

import cborish
import signing
from conftest import BUILD


def crl_of(server):
    reply = server.console_request("GET", "/api/v1/ca/device.crl")
    assert reply.status == 200, (reply.status, reply.body)
    crl = x509.load_pem_x509_crl(reply.body)
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    return number, {format(entry.serial_number, "x") for entry in crl}


def serial_of(device):
    certificate = x509.load_pem_x509_certificate(pathlib.Path(device.cert_file).read_bytes())
    return format(certificate.serial_number, "x")


class Subscriber:
    """mosquitto_sub with a device's certificate: its process lives as long as its session."""

    def __init__(self, server, device):
        self.base = ["-h", "localhost", "-p", str(server.ports["mqtt"]), "--cafile",
                     str(server.data / "ca" / "root.pem"), "--cert", device.cert_file, "--key", device.key_file,
                     "-i", device.id, "-q", "1"]
        self.topic = f"pg/v1/d/{device.id}/"
        self.process = None

    def listen(self, *more):
        self.process = subprocess.Popen(["mosquitto_sub", *self.base, "-t", self.topic + "cmd", "-F", "%x", *more],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        os.set_blocking(self.process.stdout.fileno(), False)
        time.sleep(0.5)
        return self

    def heard(self, wait_s=1.0):
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            line = self.process.stdout.readline()
            if line.endswith("\n"):
                return cborish.loads(bytes.fromhex(line))
            time.sleep(0.01)
        return None

    def publish(self, leaf, payload):
        return subprocess.run(["mosquitto_pub", *self.base, "-t", self.topic + leaf, "-s"], input=payload, timeout=10,
                              check=False, capture_output=True).returncode

    def close(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(5)
            self.process.stdout.close()
            self.process = None


# -- who is kept out ---------------------------------------------------------------------------------------


def test_the_revocation_list_is_there_without_a_broker_and_its_number_rises(server):
    first, none = crl_of(server)
    assert none == set()
    server.product("meter")
    device = server.enroll("meter", "84f3eb020001")
    server.rest("POST", f"/devices/{device.id}:revoke", {"reason": "stolen"})

    def listed():
        number, serials = crl_of(server)
        return number if serial_of(device) in serials else None

    second = server.until(listed, wait_s=5)
    assert second > first
    server.stop()
    server.start()
    third, serials = crl_of(server)
    assert third > second and serials == {serial_of(device)}


def test_the_revocation_list_is_renewed_though_nothing_changes(make_server):
    server = make_server("mqtt.mode=off", "certificates.crl_every=1s").start()
    number = crl_of(server)[0]
    server.until(lambda: crl_of(server)[0] > number, wait_s=5)
    server.stop()


@pytest.fixture(scope="module")
def server_mqtt(make_server):
    one = make_server().start()
    one.wait_ready()
    one.product("meter")
    return one


def broker_of(server):
    return server.rest("GET", "/status")["broker"]


def test_a_live_session_of_a_revoked_device_is_cut_within_five_seconds(server_mqtt):
    server = server_mqtt
    device = server.enroll("meter", "84f3eb020002")
    with socket.create_connection(("localhost", server.ports["mqtt"])) as plain, \
            server.tls(device).wrap_socket(plain, server_hostname="localhost") as session:
        name = device.id.encode()
        session.sendall(bytes([0x10, 12 + len(name)]) + b"\0\4MQTT\4\2\0\x3c" + len(name).to_bytes(2, "big") + name)
        session.settimeout(5)
        assert session.recv(4) == b"\x20\2\0\0"
        server.rest("POST", f"/devices/{device.id}:revoke", {"reason": "stolen"})
        try:
            assert session.recv(100) == b"", "the broker must end the session"
        except (ConnectionResetError, ssl.SSLError):
            pass


def test_a_device_revoked_while_the_broker_is_down_is_refused_when_it_is_back(server_mqtt):
    server = server_mqtt
    device = server.enroll("meter", "84f3eb020003")
    other = server.enroll("meter", "84f3eb020004")
    assert Subscriber(server, device).publish("up/status", b'{"version":"1"}') == 0
    os.kill(broker_of(server)["pid"], signal.SIGKILL)
    server.rest("POST", f"/devices/{device.id}:revoke", {"reason": "stolen"})
    server.until(lambda: broker_of(server)["state"] == "running" and broker_of(server)["connected"], 20)
    assert Subscriber(server, other).publish("up/status", b'{"version":"1"}') == 0
    assert Subscriber(server, device).publish("up/status", b'{"version":"1"}') != 0


def test_a_revoked_device_is_refused_after_a_restart(server_mqtt):
    server = server_mqtt
    device = server.enroll("meter", "84f3eb020005")
    server.rest("POST", f"/devices/{device.id}:revoke", {"reason": "stolen"})
    server.stop(signal.SIGKILL)
    server.start()
    server.wait_ready()
    assert Subscriber(server, device).publish("up/status", b'{"version":"1"}') != 0


# -- time --------------------------------------------------------------------------------------------------


CBOR = {"Content-Type": "application/cbor"}


def check_body(running=bytes(32), version="0", sequence=0):
    return cborish.dumps({1: running, 2: version, 3: sequence, 4: 0, 5: 1, 6: 0, 7: 0, 8: 16 << 20, 9: 255,
                          10: b"posix", 11: 1, 13: 1})


def check(device, *what):
    reply = device.request("POST", "/v1/check", check_body(*what), CBOR)
    assert reply.status in (200, 204), reply.status
    return cborish.loads(reply.body) if reply.status == 200 else {}


def events(server, kind, device):
    found = [e for e in server.rest("GET", "/events?limit=1000")["items"] if e["type"] == kind]
    return [e for e in found if e.get("device") == device.id]


@pytest.fixture(scope="module")
def image():
    return pathlib.Path("/bin/true").read_bytes()


@pytest.fixture(scope="module")
def quick(make_server, image):
    """Updates that say nothing are given up after two seconds."""
    server = make_server("mqtt.mode=off", "device.silence=2s").start()
    signing.Publisher(server, "meter").publish("1.0.0", image)
    return server


def test_an_update_that_goes_silent_is_given_up_and_offered_again(quick):
    device = quick.enroll("meter", "84f3eb030001")
    first = check(device)[1]
    assert check(device)[1] == first, "an open action keeps its number"
    quick.until(lambda: events(quick, "action.cancelled", device), wait_s=8)
    shown = quick.rest("GET", f"/devices/{device.id}")
    assert shown["action"]["state"] == "cancelled" and "silent" in shown["why"]
    second = check(device)[1]
    assert second != first
    report = cborish.dumps({1: second, 2: 1, 3: 50, 8: 1})
    assert device.request("POST", "/v1/report", report, CBOR).status == 204


def test_an_update_that_reports_is_left_alone(quick):
    device = quick.enroll("meter", "84f3eb030002")
    action = check(device)[1]
    for progress in range(10, 50, 10):
        report = cborish.dumps({1: action, 2: 1, 3: progress, 8: progress})
        assert device.request("POST", "/v1/report", report, CBOR).status == 204
        time.sleep(1)
    assert check(device)[1] == action


def test_a_command_that_nobody_took_expires_with_an_event(quick):
    device = quick.enroll("meter", "84f3eb030003")
    made = quick.rest("POST", f"/devices/{device.id}/commands", {"kind": "identify", "ttl_s": 1})
    expired = quick.until(lambda: events(quick, "command.expired", device), wait_s=8)
    assert expired[0]["data"]["kind"] == "identify"
    shown = quick.rest("GET", f"/devices/{device.id}/commands")["items"][0]
    assert shown["id"] == made["id"] and shown["state"] == "expired"
    assert 6 not in check(device)


# -- commands ----------------------------------------------------------------------------------------------


def state_of(server, device):
    return server.rest("GET", f"/devices/{device.id}/commands")["items"][0]["state"]


def online(server, device):
    return server.rest("GET", f"/devices/{device.id}")["online"]


def test_a_command_for_a_device_that_is_away_arrives_when_it_comes_back(server_mqtt):
    server = server_mqtt
    device = server.enroll("meter", "84f3eb040001")
    session = Subscriber(server, device)
    made = server.rest("POST", f"/devices/{device.id}/commands", {"kind": "identify"})
    time.sleep(0.5)
    assert state_of(server, device) == "queued"
    session.publish("will", b"online")
    server.until(lambda: state_of(server, device) == "sent", 5)
    session.publish("up/result", cborish.dumps({1: int(made["id"][4:], 16), 2: 0, 3: "blinked"}))
    server.until(lambda: state_of(server, device) == "done", 5)


def test_a_command_waits_for_the_broker_and_is_sent_only_when_acknowledged(server_mqtt):
    server = server_mqtt
    device = server.enroll("meter", "84f3eb040002")
    assert Subscriber(server, device).publish("up/status", b'{"version":"1"}') == 0
    server.until(lambda: online(server, device))
    os.kill(broker_of(server)["pid"], signal.SIGKILL)
    server.until(lambda: not broker_of(server)["connected"])
    server.rest("POST", f"/devices/{device.id}/commands", {"kind": "identify"})
    assert state_of(server, device) == "queued"
    server.until(lambda: broker_of(server)["connected"], 30)
    assert state_of(server, device) == "queued" and not online(server, device), "who is there is not known"
    assert Subscriber(server, device).publish("will", b"online") == 0  # as an agent does when it has connected anew
    server.until(lambda: state_of(server, device) == "sent", 30)


def test_a_sent_command_without_a_result_is_repeated_at_a_check(server_mqtt):
    server = server_mqtt
    device = server.enroll("meter", "84f3eb040003")
    made = server.rest("POST", f"/devices/{device.id}/commands", {"kind": "identify"})
    number = int(made["id"][4:], 16)
    assert check(device)[6][0][2] == number and state_of(server, device) == "sent"
    assert 6 not in check(device), "not at once: the device may be busy with it"
    again = server.until(lambda: check(device).get(6), wait_s=14, every_s=1)
    assert again[0][2] == number
    report = cborish.dumps({1: 0, 2: 0, 8: 1, 10: {1: number, 2: 0, 3: "blinked"}})
    assert device.request("POST", "/v1/report", report, CBOR).status == 204
    assert state_of(server, device) == "done"
    time.sleep(11)
    assert 6 not in check(device)
    assert len(events(server, "command.sent", device)) == 1


# -- refusals by the HTTP core -----------------------------------------------------------------------------


def problem(reply, status, code):
    assert reply.status == status, (reply.status, reply.body)
    assert reply.header("Content-Type") == "application/problem+json"
    assert reply.json["code"] == code and reply.json["status"] == status and reply.json["help"]


def test_the_core_refuses_in_the_words_of_the_api(server):
    reply = server.call("DELETE", "/status")
    problem(reply, 405, "method-not-allowed")
    assert reply.header("Allow") == "GET, HEAD"
    problem(server.call("PUT", "/products/meter/trust-sets/1", b"x" * 100000, {"Content-Type": "application/cose"}), 413,
            "too-large")
    problem(server.call("PUT", "/releases/rel_0/images/firmware", b"x", {"Authorization": "Bearer pgt_no"}), 401,
            "unauthenticated")
    problem(server.call("GET", "/status", headers={"X-Long": "x" * 20000}), 431, "bad-request")
    assert server.console_request("HEAD", "/api/v1/nothing/at/all").body == b""


def test_devices_still_hear_nothing_but_the_status(server):
    reply = server.device_request("GET", "/v1/check")
    assert reply.status == 405 and reply.body == b"" and reply.header("Allow") == "POST"


# -- limits of one device ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(make_server, image):
    server = make_server("limits.device_requests=1", "limits.device_requests_burst=5", "limits.device_text=300",
                         "legacy.enabled=yes").start()
    server.wait_ready()
    signing.Publisher(server, "meter").publish("1.0.0", image)
    server.product("plug", chip="esp8266", hardware=("d1mini",), legacy_auth="none", plain_http=True)
    return server


def poll(server, mac):
    return server.plain_request("GET", "/update/plug", headers={
        "User-Agent": "ESP8266-http-Update", "x-ESP8266-STA-MAC": mac, "x-ESP8266-free-space": "700000",
        "x-ESP8266-sketch-size": "300000", "x-ESP8266-sketch-md5": "0" * 32, "x-ESP8266-chip-size": "4194304",
        "x-ESP8266-sdk-version": "2.2.2", "x-ESP8266-mode": "sketch", "x-ESP8266-version": "1"}).status


def test_a_device_that_asks_too_often_waits_and_its_neighbour_does_not(strict):
    loud = strict.enroll("meter", "84f3eb050001")
    quiet = strict.enroll("meter", "84f3eb050002")
    replies = [loud.request("POST", "/v1/check", check_body(), CBOR) for _ in range(12)]
    refused = [r for r in replies if r.status == 429]
    assert replies[0].status == 200 and len(refused) >= 5
    assert 1 <= int(refused[0].header("Retry-After")) <= 5 and refused[0].body == b""
    assert quiet.request("POST", "/v1/check", check_body(), CBOR).status == 200
    told = strict.until(lambda: events(strict, "device.limited", loud))
    assert len(told) == 1 and told[0]["data"]["what"] == "requests"
    assert not events(strict, "device.limited", quiet)
    time.sleep(1.2)
    assert loud.request("POST", "/v1/check", check_body(), CBOR).status == 200


def test_an_old_device_that_asks_too_often_hears_that_there_is_nothing(strict):
    assert {poll(strict, "84:F3:EB:05:00:03") for _ in range(12)} == {304}
    device = strict.rest("GET", "/devices/84f3eb050003")
    assert strict.until(lambda: [e for e in strict.rest("GET", "/events?limit=1000")["items"]
                                 if e["type"] == "device.limited" and e["device"] == device["id"]])


def test_a_flood_of_messages_is_dropped_and_the_neighbour_is_heard(strict):
    loud = strict.enroll("meter", "84f3eb050004")
    quiet = strict.enroll("meter", "84f3eb050005")
    flood = "".join(f"{i}\n" for i in range(200)).encode()
    session = Subscriber(strict, loud)
    subprocess.run(["mosquitto_pub", *session.base, "-t", session.topic + "up/data/n", "-l"], input=flood, timeout=10,
                   check=True)
    assert Subscriber(strict, quiet).publish("up/data/n", b"7") == 0

    def datum(device):
        return [d["payload"] for d in strict.rest("GET", f"/devices/{device.id}/data")["data"]]

    strict.until(lambda: datum(quiet))
    told = strict.until(lambda: events(strict, "device.limited", loud))
    assert [e["data"]["what"] for e in told] == ["messages"]
    metrics = strict.console_request("GET", "/metrics", headers={"Authorization": "Bearer " + strict.token})
    dropped = [line for line in metrics.body.decode().splitlines() if line.startswith("pagurus_limited_total ")]
    assert int(dropped[0].split()[1]) >= 150


def test_words_over_the_limit_are_left_out_but_the_report_counts(strict):
    device = strict.enroll("meter", "84f3eb050006")
    action = check(device)[1]
    for seq, progress in ((1, 10), (2, 20)):
        report = cborish.dumps({1: action, 2: 1, 3: progress, 5: "w" * 200, 8: seq})
        assert device.request("POST", "/v1/report", report, CBOR).status == 204
    shown = strict.rest("GET", f"/devices/{device.id}")["action"]
    assert shown["progress"] == 20 and not shown["text"]


# -- overload ----------------------------------------------------------------------------------------------


def test_more_downloads_than_allowed_are_asked_to_come_again(make_server):
    server = make_server("mqtt.mode=off", "limits.transfers=1").start()
    big = pathlib.Path("/bin/bash").read_bytes() * 12
    signing.Publisher(server, "meter").publish("1.0.0", big)
    first, second = server.enroll("meter", "84f3eb060001"), server.enroll("meter", "84f3eb060002")
    digest = cborish.loads(cborish.loads(check(first)[2]).value[2])[11].hex()
    check(second)
    with socket.create_connection(("localhost", server.ports["device"])) as plain, \
            server.tls(first).wrap_socket(plain, server_hostname="localhost") as slow:
        slow.sendall(f"GET /v1/blob/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert slow.recv(15).startswith(b"HTTP/1.1 200")
        reply = second.request("GET", f"/v1/blob/{digest}")
        assert reply.status == 503 and int(reply.header("Retry-After")) >= 1
    server.until(lambda: second.request("GET", f"/v1/blob/{digest}", headers={"Range": "bytes=0-9"}).status == 206, 15)
    server.stop()


def test_a_full_queue_is_304_for_old_devices_and_503_for_native_ones(make_server, image):
    server = make_server("mqtt.mode=off", "legacy.enabled=yes", "store.queue=16").start()
    signing.Publisher(server, "meter").publish("1.0.0", image)
    server.product("plug", chip="esp8266", hardware=("d1mini",), legacy_auth="none", plain_http=True)
    native = server.enroll("meter", "84f3eb060003")
    holder = sqlite3.connect(server.data / "pagurus.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with concurrent.futures.ThreadPoolExecutor(60) as pool:
            asked = [pool.submit(poll, server, f"84f3eb07{i:04x}") for i in range(60)]
            time.sleep(1)
            reply = native.request("POST", "/v1/check", check_body(), CBOR)
            assert reply.status == 503 and int(reply.header("Retry-After")) >= 1
            done = [a.result() for a in asked if a.done()]
            assert len(done) >= 20 and set(done) == {304}
            holder.execute("ROLLBACK")
            assert {a.result(20) for a in asked} == {304}
    finally:
        holder.close()
    assert native.request("POST", "/v1/check", check_body(), CBOR).status == 200
    server.stop()


# -- signals and verbs -------------------------------------------------------------------------------------


def run_verb(server, verb, *more):
    done = subprocess.run([str(BUILD / "pagurusd"), verb, "--data", str(server.data), *more], capture_output=True,
                          text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def test_hup_takes_what_can_change_and_names_what_cannot(make_server):
    server = make_server("mqtt.mode=off")
    ini = server.folder / "pagurusd.ini"
    ini.write_text("[server]\nlog_format = text\n")
    command = server.command
    server.command = lambda verb, *more: command(verb, "--config", str(ini), *more)
    server.start()
    server.product("meter")
    device = server.enroll("meter", "84f3eb080001")
    assert [device.request("POST", "/v1/check", check_body(), CBOR).status for _ in range(6)] == [204] * 6

    def hup(text, awaited):
        ini.write_text(text)
        before = len(server.log.read_text())
        os.kill(server.process.pid, signal.SIGHUP)
        server.until(lambda: awaited in server.log.read_text()[before:])
        return server.log.read_text()[before:]

    said = hup("[server]\nlog_format = json\n[limits]\ndevice_requests = 1\ndevice_requests_burst = 2\n"
               "unproven_devices = 7\n"
               "[store]\nlast_seen = 1s\n[device]\npoll = 90s\n", "reload.done")
    assert "reload.needs_restart section=store key=last_seen" in said
    assert "reload.changed section=limits key=device_requests_burst" in said
    assert "reload.changed section=limits key=unproven_devices" in said
    assert 429 in [device.request("POST", "/v1/check", check_body(), CBOR).status for _ in range(6)]
    assert "reload.config_refused" in hup("[limits]\nnonsense = 1\n", "reload.done")
    assert "needs_restart" in hup("[store]\nlast_seen = 1s\n", "reload.done")
    time.sleep(1.5)
    assert {device.request("POST", "/v1/check", check_body(), CBOR).status for _ in range(6)} == {204}
    server.stop()


def test_the_export_of_the_root_key_is_confirmed_only_when_it_is_gone(make_server):
    server = make_server("mqtt.mode=off").start()
    assert server.rest("GET", "/status")["root_exported"] is False
    code, said = run_verb(server, "confirm-root-export")
    assert code == 5 and "still in the data folder" in said and "--keep" in said
    (server.data / "root-export.pem").rename(server.folder / "safe.pem")
    assert server.rest("GET", "/status")["root_exported"] is False
    assert run_verb(server, "confirm-root-export")[0] == 0
    assert server.rest("GET", "/status")["root_exported"] is True
    assert run_verb(server, "confirm-root-export")[0] == 0
    kept = make_server("mqtt.mode=off")
    assert run_verb(kept, "confirm-root-export", "--keep")[0] == 0 and (kept.data / "root-export.pem").exists()


def test_a_renewed_certificate_has_the_names_and_is_taken_at_hup(make_server):
    server = make_server("mqtt.mode=off").start()
    before = {c["name"]: c for c in server.rest("GET", "/status")["certificates"]}["tls"]
    time.sleep(1.1)  # its end is shown in seconds
    code, said = run_verb(server, "renew-server-cert", "--names", "localhost,ota.example.org")
    assert code == 0 and f"kill -HUP {server.process.pid}" in said
    assert run_verb(server, "renew-server-cert", "--names", "a b")[0] == 2
    os.kill(server.process.pid, signal.SIGHUP)

    def names():
        with socket.create_connection(("localhost", server.ports["console"])) as plain, \
                server.tls().wrap_socket(plain, server_hostname="localhost") as session:
            return {name for _, name in session.getpeercert()["subjectAltName"]}

    server.until(lambda: "ota.example.org" in names())
    server.until(lambda: {c["name"]: c for c in server.rest("GET", "/status")["certificates"]}["tls"] != before)
    server.stop()


def test_setup_token_beside_a_running_daemon_says_what_to_do(server):
    code, said = run_verb(server, "setup-token")
    assert code == 5 and "pagurus api POST /tokens" in said and str(server.process.pid) in said


# -- metrics -----------------------------------------------------------------------------------------------

SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\d+(?:\.\d+)?)')


def read_metrics(text):
    """Families and samples of the text format; fails on anything that is not in it."""
    types, samples = {}, {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in types and kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
        elif not line.startswith("# HELP "):
            found = SAMPLE.fullmatch(line)
            assert found, line
            base = re.sub("_(bucket|sum|count)$", "", found[1])
            assert found[1] in types or types.get(base) == "histogram", line
            labels = tuple(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            assert (found[1], labels) not in samples, line
            samples[(found[1], labels)] = float(found[3])
    return types, samples


def test_metrics_are_well_formed_and_their_histograms_add_up(quick):
    check(quick.enroll("meter", "84f3eb090001"))
    quick.call("GET", "/devices/nobody")
    reply = quick.console_request("GET", "/metrics", headers={"Authorization": "Bearer " + quick.token})
    types, samples = read_metrics(reply.body.decode())
    assert types["pagurus_http_request_duration_seconds"] == "histogram"
    total = sum(value for (name, labels), value in samples.items()
                if name == "pagurus_devices" and ("product", "meter") in labels)
    assert total == quick.rest("GET", "/devices?product=meter")["total"]["value"]
    name = "pagurus_http_request_duration_seconds"
    counts = {labels: value for (n, labels), value in samples.items() if n == name + "_count"}
    assert any(("route", "/v1/check") in labels and ("code", "2xx") in labels for labels in counts)
    assert any(("listener", "console") in labels and ("code", "4xx") in labels for labels in counts)
    for labels, count in counts.items():
        rising = [v for (n, l), v in samples.items() if n == name + "_bucket" and l[:4] == labels]
        assert rising == sorted(rising) and rising[-1] == count > 0
        assert 0 <= samples[(name + "_sum", labels)] < 60 * count
