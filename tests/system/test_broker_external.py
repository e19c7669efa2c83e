"""Brokers of one's own: the rights that `pagurus broker acl` prints, on a real mosquitto and a real RabbitMQ, with the daemon as their client."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

import conftest
import cborish
from mqtt_tools import wait

RABBIT = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def acl(kind):
    done = subprocess.run([conftest.BUILD / "pagurus", "broker", "acl", "--for", kind], capture_output=True, text=True, check=True)
    return done.stdout


class Mosquitto:
    says_puback = True

    def __init__(self, folder, server, port):
        tls, ca = server.data / "tls", server.data / "ca"
        (folder / "acl").write_text(acl("mosquitto"))
        (folder / "acl").chmod(0o600)
        (folder / "conf").write_text(f"""user root
allow_anonymous false
acl_file {folder}/acl
listener {port} 127.0.0.1
cafile {ca}/device-anchor.pem
certfile {tls}/server.pem
keyfile {tls}/server.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
""")
        self.log = open(folder / "log", "wb")
        self.child = subprocess.Popen(["/usr/sbin/mosquitto", "-c", folder / "conf"], stdout=self.log, stderr=self.log)

    def allow(self, _name):
        pass

    def end(self):
        self.child.terminate()
        self.child.wait(20)


class Rabbit:
    """As a child on free ports, in a folder of its own."""

    def __init__(self, folder, server, port):
        tls, ca = server.data / "tls", server.data / "ca"
        node, self.epmd = f"pagtest{os.getpid()}@localhost", free_port()
        (folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / "rabbit.conf").write_text(f"""listeners.tcp = none
mqtt.listeners.tcp = none
mqtt.listeners.ssl.1 = 127.0.0.1:{port}
mqtt.allow_anonymous = false
mqtt.ssl_cert_login = true
ssl_cert_login_from = common_name
ssl_options.cacertfile = {ca}/device-anchor.pem
ssl_options.certfile = {tls}/server.pem
ssl_options.keyfile = {tls}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
loopback_users = none
""")
        self.folder = folder
        self.env = {**os.environ, "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"), "RABBITMQ_LOG_BASE": str(folder / "log"), "HOME": str(folder),
                    "RABBITMQ_NODENAME": node, "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"), "RABBITMQ_CONFIG_FILE": str(folder / "rabbit.conf"),
                    "RABBITMQ_DIST_PORT": str(free_port()), "ERL_EPMD_PORT": str(self.epmd), "ERL_EPMD_ADDRESS": "127.0.0.1",
                    "RABBITMQ_PID_FILE": str(folder / "pid"), "RABBITMQ_CTL_DIST_PORT_MIN": str(free_port()), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                    "RABBITMQ_SERVER_START_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"}
        self.env["RABBITMQ_CTL_DIST_PORT_MAX"] = str(int(self.env["RABBITMQ_CTL_DIST_PORT_MIN"]) + 20)
        self.log = open(folder / "out", "wb")
        self.epmd_child = subprocess.Popen(["epmd", "-port", str(self.epmd), "-address", "127.0.0.1"], env=self.env)
        self.child = subprocess.Popen([RABBIT], env=self.env, stdout=self.log, stderr=self.log, start_new_session=True)
        (folder / "rights.sh").write_text(acl("rabbitmq"))
        end = time.monotonic() + 120
        while self.ctl("await_startup").returncode != 0:
            assert self.child.poll() is None and time.monotonic() < end, (folder / "out").read_text()[-3000:]
            time.sleep(1)
        self.allow("svc-pagurusd")

    def ctl(self, *words):
        return subprocess.run(["/usr/lib/rabbitmq/bin/rabbitmqctl", *words], env=self.env, capture_output=True, text=True, timeout=100, check=False)

    def allow(self, name):
        env = {**self.env, "RABBITMQCTL": "/usr/lib/rabbitmq/bin/rabbitmqctl"}
        done = subprocess.run(["sh", self.folder / "rights.sh", name], env=env, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def end(self):
        self.ctl("stop")
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.epmd_child.terminate()
        self.epmd_child.wait(10)


@pytest.fixture(scope="module", params=["mosquitto", "rabbitmq"])
def place(request, make_server):
    assert request.param == "mosquitto" or os.access(RABBIT, os.X_OK), "no rabbitmq-server: tools/deps.sh check"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pag-ext-"))
    port = free_port()
    server = make_server("mqtt.mode=external", "mqtt.host=localhost", f"mqtt.port={port}")
    server.settings.append(f"mqtt.port={port}")
    kind = Mosquitto if request.param == "mosquitto" else Rabbit
    broker = kind(folder, server, port)
    try:
        server.start()
        server.product("meter")
        wait(lambda: "mqtt.connected" in server.log.read_text(), 60, "the daemon's client connects")
        yield server, broker, port
    finally:
        server.stop()
        broker.end()
        shutil.rmtree(folder, ignore_errors=True)


class Client:
    def __init__(self, server, port, device):
        self.server, self.port, self.device = server, port, device

    def arguments(self):
        return ["-h", "localhost", "-p", str(self.port), "-i", self.device.id, "-V", "mqttv311", "--cafile", str(self.server.data / "ca" / "root.pem"),
                "--cert", self.device.cert_file, "--key", self.device.key_file]

    def publish(self, topic, text, *more):
        return subprocess.run(["mosquitto_pub", *self.arguments(), "-t", topic, "-m", text, "-q", "1", *more], capture_output=True, timeout=20, check=False)

    def listen(self, *topics, seconds=6, more=()):
        return subprocess.Popen(["mosquitto_sub", *self.arguments(), *more, "-q", "1", "-W", str(seconds), "-F", "%t %x", *[w for t in topics for w in ("-t", t)]],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


NUMBERS = iter(range(1, 100))


def new_device(place):
    server, broker, port = place
    device = server.enroll("meter", f"84f3eb55{next(NUMBERS):04x}")
    broker.allow(device.id)
    return device, Client(server, port, device)


def test_status_presence_and_commands_go_both_ways(place):
    server = place[0]
    device, client = new_device(place)
    assert client.publish(f"pg/v1/d/{device.id}/up/status", '{"version":"1.0.0","rssi":-50}').returncode == 0
    wait(lambda: (server.rest("GET", f"/devices/{device.id}/data")["status"] or {}).get("rssi") == -50, 20, "its status arrives")
    client.publish(f"pg/v1/d/{device.id}/will", "online")
    wait(lambda: server.rest("GET", f"/devices/{device.id}")["online"], 20, "it is there")
    ear = client.listen(f"pg/v1/d/{device.id}/cmd", seconds=20, more=["-C", "1"])
    made = []
    while ear.poll() is None:  # what is published before it has subscribed is lost, and comes again later
        made.append(server.rest("POST", f"/devices/{device.id}/commands", {"kind": "identify"})["id"])
        time.sleep(0.5)
    said = ear.communicate()[0].splitlines()
    ids = [cborish.loads(bytes.fromhex(line.split(" ")[1]))[2] for line in said]
    assert len(ids) == 1 and f"cmd_{ids[0]:08x}" in made


def test_a_device_writes_and_reads_only_its_own(place):
    server = place[0]
    device, client = new_device(place)
    victim, other = new_device(place)
    other.publish(f"pg/v1/d/{victim.id}/up/status", '{"version":"1.0.0"}')
    other.publish(f"pg/v1/d/{victim.id}/will", "online")
    wait(lambda: server.rest("GET", f"/devices/{victim.id}")["online"], 20, "the victim is there")
    ears = [client.listen(topic, seconds=5) for topic in (f"pg/v1/d/{victim.id}/cmd",)]
    for topic in ("#", "pg/v1/d/+/cmd", "pg/v1/d/+/up/#"):
        ears.append(other_id(client, topic))
    time.sleep(1)
    server.rest("POST", f"/devices/{victim.id}/commands", {"kind": "identify"})
    other.publish(f"pg/v1/d/{victim.id}/up/data/x", "secret")
    client.publish(f"pg/v1/d/{victim.id}/up/status", '{"version":"6.6.6"}')
    client.publish(f"pg/v1/d/{victim.id}/will", "offline")
    client.publish(f"pg/v1/d/{victim.id}/cmd", "evil")
    heard = "".join(ear.communicate()[0] or "" for ear in ears)
    assert victim.id not in heard, heard
    assert server.rest("GET", f"/devices/{victim.id}/data")["status"]["version"] == "1.0.0"
    assert server.rest("GET", f"/devices/{victim.id}")["online"]


def other_id(client, topic):
    """One more session of the same certificate, under another client id where the broker lets it."""
    words = [w if w != client.device.id else client.device.id + "-" + str(abs(hash(topic)) % 1000) for w in client.arguments()]
    return subprocess.Popen(["mosquitto_sub", *words, "-q", "1", "-W", "5", "-F", "%t %x", "-t", topic],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_nobody_comes_in_without_a_certificate(place):
    server, _, port = place
    done = subprocess.run(["mosquitto_pub", "-h", "localhost", "-p", str(port), "--cafile", str(server.data / "ca" / "root.pem"), "-u", "svc-pagurusd",
                           "-P", "x", "-t", "pg/v1/d/x/cmd", "-m", "x", "-q", "1"], capture_output=True, timeout=20, check=False)
    assert done.returncode != 0
