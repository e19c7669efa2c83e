"""MQTT as a device sees it: told within a second, heard only on its own topics, hostile payloads survived."""

import json
import os
import subprocess
import time

import pytest

import cborish
import signing


class Session:
    """mosquitto_sub and mosquitto_pub with a device's certificate."""

    def __init__(self, server, device):
        self.server = server
        self.device = device
        self.base = ["-h", "localhost", "-p", str(server.ports["mqtt"]), "--cafile",
                     str(server.data / "ca" / "root.pem"), "--cert", device.cert_file, "--key", device.key_file,
                     "-i", device.id, "-q", "1"]
        self.process = None

    def listen(self):
        topic = f"pg/v1/d/{self.device.id}/cmd"
        self.process = subprocess.Popen(["mosquitto_sub", *self.base, "-t", topic, "-F", "%r %x"],
                                        stdout=subprocess.PIPE, text=True)
        os.set_blocking(self.process.stdout.fileno(), False)
        time.sleep(0.5)
        return self

    def heard(self, wait_s=1.0):
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            line = self.process.stdout.readline()
            if line.endswith("\n"):
                retained, payload = line.split()
                assert retained == "0"
                return cborish.loads(bytes.fromhex(payload))
            time.sleep(0.01)
        return None

    def close(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(5)
            self.process.stdout.close()

    def publish(self, leaf, payload, *more):

        topic = leaf if leaf.startswith("/") else f"pg/v1/d/{self.device.id}/{leaf}"
        subprocess.run(["mosquitto_pub", *self.base, "-t", topic, "-s", *more], input=payload, timeout=10, check=True)


@pytest.fixture(scope="module")
def owner(server_mqtt):
    return signing.Publisher(server_mqtt, "meter")


@pytest.fixture
def listening(server_mqtt, owner, request):
    device = server_mqtt.enroll("meter", f"84f3eb01{abs(hash(request.node.name)) % 65536:04x}")
    session = Session(server_mqtt, device).listen()
    yield session
    session.close()


def test_a_release_is_heard_within_a_second(server_mqtt, owner, listening):
    with open("/bin/true", "rb") as f:
        owner.publish("1.0.0", f.read())
    command = listening.heard()
    assert command is not None and command[1] == 1 and command[2] == 0


def test_a_command_is_heard_within_a_second_and_its_result_taken(server_mqtt, listening):
    server, device = server_mqtt, listening.device
    listening.close()
    listening.publish("up/status", b'{"version":"1.0.0","uptime":3}')
    server.until(lambda: server.rest("GET", f"/devices/{device.id}")["online"])
    listening.listen()
    made = server.rest("POST", f"/devices/{device.id}/commands", {"kind": "identify"})
    command = listening.heard()
    assert command is not None and command[1] == 3 and f"cmd_{command[2]:08x}" == made["id"]

    def state():
        return server.rest("GET", f"/devices/{device.id}/commands")["items"][0]["state"]

    server.until(lambda: state() == "sent")
    listening.close()
    listening.publish("up/result", cborish.dumps({1: command[2], 2: 0, 3: "blinked"}))
    server.until(lambda: state() == "done")


def test_a_command_waits_for_a_device_that_is_away(server_mqtt, owner):
    server = server_mqtt
    device = server.enroll("meter", "84f3eb010099")
    server.rest("POST", f"/devices/{device.id}/commands", {"kind": "identify"})
    session = Session(server, device).listen()
    assert session.heard(0.5) is None
    session.close()
    session.listen()
    session.close()
    session.publish("will", b"online")
    items = server.until(lambda: [c for c in server.rest("GET", f"/devices/{device.id}/commands")["items"]
                                  if c["state"] == "sent"])
    assert items[0]["kind"] == "identify"


def test_status_and_data_are_kept(server_mqtt, listening):
    server, device = server_mqtt, listening.device
    listening.close()
    listening.publish("up/status", json.dumps({"version": "1.0.0", "rssi": -60, "x": {"y": [1]}}).encode())
    listening.publish("up/data/temp", b"21.5")
    data = server.until(lambda: (lambda d: d if d["data"] and d["status"] else None)(
        server.rest("GET", f"/devices/{device.id}/data")))
    assert data["status"]["x"] == {"y": [1]}
    assert [(d["topic"], d["payload"]) for d in data["data"]] == [("data/temp", 21.5)]


def test_a_device_that_misses_its_freshness_token_is_shown_so(server_mqtt, listening):
    server, device = server_mqtt, listening.device
    listening.close()

    def shown():
        return server.rest("GET", f"/devices/{device.id}")["freshness"]

    listening.publish("up/status", b'{"version":"1.0.0","stale":true}')
    server.until(lambda: shown() == "stale")
    listening.publish("up/status", b'{"version":"1.0.0"}')
    server.until(lambda: shown() == "fresh")
    assert server.rest("GET", f"/devices/{server.enroll('meter', '84f3eb0100bb').id}")["freshness"] is None


@pytest.mark.parametrize("leaf, payload", [
    ("up/status", b"{"), ("up/status", b"[" * 5000), ("up/status", b'{"a":1,"a":2}'), ("up/status", b"\xff\xfe"),
    ("up/status", b'{"a":"' + b"x" * 9000 + b'"}'), ("up/report", b"\xa0"), ("up/report", os.urandom(300)),
    ("up/result", b"\xff"), ("will", b"maybe"), ("up/nothing", b"x"),
])
def test_hostile_messages_are_counted_and_survived(server_mqtt, listening, leaf, payload):
    server = server_mqtt

    def refused():
        text = server.console_request("GET", "/metrics", headers={"Authorization": "Bearer " + server.token}).body
        return [float(line.split()[1]) for line in text.decode().splitlines()
                if line.startswith("pagurus_mqtt_refused_total ")][0]

    before = refused()
    listening.close()
    listening.publish(leaf, payload)
    server.until(lambda: refused() > before)
    assert server.console_request("GET", "/healthz").status == 200


def test_nobody_speaks_for_another(server_mqtt, owner, listening):
    server = server_mqtt
    victim = server.enroll("meter", "84f3eb0100aa")
    listening.close()
    listening.publish(f"/../pg/v1/d/{victim.id}/up/status"[3:], b'{"version":"6.6.6"}')
    time.sleep(0.5)
    assert server.rest("GET", f"/devices/{victim.id}/data")["status"] is None


def test_a_revoked_device_is_cut_off_within_five_seconds(server_mqtt, listening):
    server, device = server_mqtt, listening.device
    assert listening.process.poll() is None
    server.rest("POST", f"/devices/{device.id}:revoke", {"reason": "test"})

    def refused():
        listening_again = Session(server, device)
        try:
            listening_again.publish("up/status", b'{"version":"1"}')
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return True
        return False

    server.until(refused, wait_s=5)


def test_a_dead_broker_comes_back_and_is_visible(server_mqtt):
    server = server_mqtt
    pid = server.rest("GET", "/status")["broker"]["pid"]
    os.kill(pid, 9)
    server.until(lambda: not server.rest("GET", "/status")["broker"]["connected"])
    server.until(lambda: (lambda b: b["connected"] and b["restarts"] >= 1)(server.rest("GET", "/status")["broker"]), 15)
