"""What must hold beside the straight way: revocation whatever the broker does, time, commands, limits, signals."""

import json
import os
import pathlib
import signal
import socket
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


def broker_of(server):
    return server.rest("GET", "/status")["broker"]


def test_a_live_session_of_a_revoked_device_is_cut_within_five_seconds(server_mqtt):
    server = server_mqtt
    server.product("meter")
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
