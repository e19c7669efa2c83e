"""Commands that take something away from a device: signed by people, checked by the server, believed by the device alone
(docs/spec/commands.md). What a stolen broker could do with what it has heard is tried here."""

import base64
import contextlib
import hashlib
import os
import sqlite3
import subprocess
import time

import pytest

import cborish
import signing
from test_cli import cli, fake, signed_in  # noqa: F401
from test_native import check_body
from test_posix_device import Posix

RESET, WIPE, RE_ENROLL = 7, 8, 9
CBOR = {"Content-Type": "application/cbor"}
CAN = 1 | 8


def signed(owner, device_id, kind, counter=None, expires=None, key=None, arg=None, **change):
    """The COSE_Sign1 of one command. change: fields of the map by "k<number>", None leaves one out."""
    fields = {1: 1, 2: 7, 3: bytes.fromhex(owner.product_id), 4: device_id, 5: kind,
              6: int(time.time()) if counter is None else counter,
              7: int(time.time()) + 600 if expires is None else expires}
    if arg is not None:
        fields[8] = arg
    fields.update({int(name[1:]): value for name, value in change.items()})
    return (key or owner.key).sign1(cborish.dumps({k: v for k, v in fields.items() if v is not None}))


def post(server, device_id, kind, cose=None, **more):
    body = {"kind": kind, **more}
    if cose is not None:
        body["signed"] = base64.b64encode(cose).decode()
    return server.call("POST", f"/devices/{device_id}/commands", body)


# ---- what the server takes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


@pytest.fixture
def device(server, owner):
    one = server.enroll("meter", "84f3eb" + os.urandom(3).hex())
    assert one.request("POST", "/v1/check", check_body(k13=CAN), CBOR).status in (200, 204)
    return one


def reason(reply):
    assert reply.status == 422, (reply.status, reply.body)
    return reply.json["errors"][0]["detail"]


def test_the_bytes_that_were_signed_are_handed_over_unchanged(server, owner, device):
    cose = signed(owner, device.id, WIPE)
    reply = post(server, device.id, "wipe", cose)
    assert reply.status == 201, reply.body
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(k13=CAN), CBOR).body)
    assert offer[6] == [{1: WIPE, 2: int(reply.json["id"][4:], 16), 3: offer[6][0][3], 5: cose}]
    assert abs(offer[6][0][3] - time.time() - 600) < 60  # its end is the one that was signed
    shown = server.rest("GET", f"/devices/{device.id}")
    assert abs(shown["command_counter"] - time.time()) < 60


def test_an_agent_that_does_not_know_them_gets_its_updates_without_them(server, owner, device):
    assert post(server, device.id, "reset", signed(owner, device.id, RESET)).status == 201
    reply = device.request("POST", "/v1/check", check_body(k13=1), CBOR)
    assert reply.status == 204 or 6 not in cborish.loads(reply.body)
    assert "does not know signed commands" in reason(post(server, device.id, "reset", signed(owner, device.id, RESET,
                                                                                               int(time.time()) + 1)))


def test_each_wrong_field_is_refused_with_its_reason(server, owner, device):
    now, other = int(time.time()), signing.Key()
    assert post(server, device.id, "wipe", signed(owner, device.id, WIPE, now)).status == 201
    cases = {
        "counter not above the last": signed(owner, device.id, WIPE, now),
        "for another device": signed(owner, "84f3ebffffff", WIPE, now + 1),
        "another product": signed(owner, device.id, WIPE, now + 1, k3=bytes(8)),
        "has expired": signed(owner, device.id, WIPE, now + 1, now - 5),
        "later than in 30 days": signed(owner, device.id, WIPE, now + 1, now + 31 * 86400),
        "another kind was signed": signed(owner, device.id, RESET, now + 1),
        "not one of those for commands": signed(owner, device.id, WIPE, now + 1, key=other),
        "has no end": signed(owner, device.id, WIPE, now + 1, 0),
        "counter is 0": signed(owner, device.id, WIPE, 0),
        "not a kind that is signed": signed(owner, device.id, 2, now + 1),
        "argument too long for this kind": signed(owner, device.id, WIPE, now + 1, arg=b"x"),
        "field with this key": signed(owner, device.id, WIPE, now + 1, k2=0),
        "cose:": signed(owner, device.id, WIPE, now + 1)[:-1],
        "base64 of at most 256 bytes": signed(owner, device.id, WIPE, now + 1).ljust(257, b"\0"),
    }
    for want, cose in cases.items():
        assert want in reason(post(server, device.id, "wipe", cose)), want
    assert server.call("GET", f"/devices/{device.id}/commands").json["total"]["value"] == 1


def test_every_flipped_bit_is_refused(server, owner, device):
    cose = signed(owner, device.id, WIPE)
    for bit in range(0, len(cose) * 8, 7):
        bad = bytearray(cose)
        bad[bit // 8] ^= 1 << bit % 8
        reason(post(server, device.id, "wipe", bytes(bad)))


def test_what_must_be_signed_is_refused_unsigned_and_the_other_way_round(server, owner, device):
    for kind in ("reset", "wipe", "re-enroll"):
        assert "must be signed" in reason(post(server, device.id, kind))
    assert "not signed" in reason(post(server, device.id, "reboot", signed(owner, device.id, RESET)))
    assert post(server, device.id, "reboot").status == 201


# ---- a real device -----------------------------------------------------------------------------------------


def fingerprint(pem):
    shown = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", pem], capture_output=True,
                           text=True, check=True).stdout
    return shown.strip().split("=")[1]


class Fleet:
    """One product, its keys in a home of the command line, one device."""

    def __init__(self, server, cli, folder):  # noqa: F811
        self.server, self.cli = server, cli
        root = server.data / "ca" / "root.pem"
        cli("login", f"https://127.0.0.1:{server.ports['console']}", "--token-stdin",
            "--trust-fingerprint", fingerprint(root), stdin=server.token + "\n")
        cli("product", "create", "thermometer", "--chip", "posix", "--hardware", "posix")
        for key in ("root", "release", "stranger"):
            cli("key", "create", key, "--no-passphrase")
        cli("key", "trust", "create", "--product", "thermometer", "--root", "root", "--release", "release")
        trust, = (cli.home / "cfg" / "pagurus" / "trust").glob("*.1.cose")
        self.mac = "84f3eb" + os.urandom(3).hex()
        code = cli.json("enroll", "code", "create", "--product", "thermometer", "--mac", self.mac)["code"]
        self.device = Posix(folder, {"server": "localhost", "port": server.ports["device"], "hardware": "posix",
                                     "product": cli.json("product", "show", "thermometer")["id"].removeprefix("prd_"),
                                     "chip": "posix", "mac": self.mac, "claim": code,
                                     "trust_pin": hashlib.sha256(trust.read_bytes()).hexdigest()}, root.read_text())

    def order(self, word, *more, want=0):
        return self.cli("device", word, self.mac, "--yes", "--confirm", self.mac, *more, want=want)

    def newest(self):
        return self.server.rest("GET", f"/devices/{self.mac}/commands")["items"][0]

    def stolen(self):
        """The newest signed bytes, as who holds the server's database has them."""
        with contextlib.closing(sqlite3.connect(f"file:{self.server.data / 'pagurus.db'}?mode=ro", uri=True)) as db:
            return db.execute("SELECT signed_bytes FROM command WHERE device_id = ? ORDER BY counter DESC",
                              (self.mac,)).fetchone()[0]

    def svc(self, program, *words, **more):
        """The server's own identity at the broker: what whoever holds the broker can do."""
        tls = self.server.data / "tls"
        return subprocess.Popen([program, "-h", "localhost", "-p", str(self.server.ports["mqtt"]), "-i", program,
                                 "--cafile", str(self.server.data / "ca" / "root.pem"), "--cert", str(tls / "svc.pem"),
                                 "--key", str(tls / "svc.key"), *words], stdout=subprocess.PIPE, **more)

    def publish(self, command, who=None):
        payload = cborish.dumps(command)
        topic = ("-t", f"pg/v1/d/{self.mac}/cmd", "-q", "1", "-s")
        if who is None:
            child = self.svc("mosquitto_pub", *topic, stdin=subprocess.PIPE)
        else:
            child = subprocess.Popen(["mosquitto_pub", "-h", "localhost", "-p", str(self.server.ports["mqtt"]), "-i",
                                      who.id, "--cafile", str(self.server.data / "ca" / "root.pem"), "--cert",
                                      who.cert_file, "--key", who.key_file, *topic], stdin=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL)
        child.communicate(payload, timeout=20)


@pytest.fixture
def fleet(server_mqtt, cli, tmp_path):  # noqa: F811
    one = Fleet(server_mqtt, cli, tmp_path)
    one.device.start().until_said("mqtt.up")
    yield one
    one.device.stop()


def test_a_device_obeys_a_signature_once_and_nothing_else(server_mqtt, fleet):
    device, server = fleet.device, server_mqtt
    assert "not a release key" in fleet.order("reset", "--sign", "root", want=4).stderr
    assert "does not let key stranger" in fleet.order("reset", "--sign", "stranger", want=4).stderr
    fleet.order("reset", "--sign", "release")
    device.until_said("thermometer: command 7")
    device.until(lambda: device.log.count("agent.start") == 2)
    server.until(lambda: fleet.newest()["state"] == "done")
    heard = {1: RESET, 3: 0, 5: fleet.stolen()}

    fleet.publish({**heard, 2: 4711})  # what was heard, under another number
    device.until_said("agent.command stale 7")
    fleet.publish({1: WIPE, 2: 4712, 3: 0}, who=server.enroll("thermometer", "84f3eb" + os.urandom(3).hex()))
    fleet.publish({1: WIPE, 2: 4713, 3: 0})
    device.until_said("agent.command unsigned 8")
    fleet.publish({**heard, 1: WIPE, 2: 4714})
    device.until(lambda: "agent.command conflict 8" in device.log or device.log.count("agent.command stale") == 2)
    assert device.log.count("thermometer: command") == 1 and device.log.count("agent.command unsigned") == 1
    assert device.log.count("agent.enrolled") == 1

    serial = server.rest("GET", f"/devices/{fleet.mac}")["certificate"]["serial"]
    fleet.order("re-enroll", "--sign", "release")
    device.until(lambda: device.log.count("agent.enrolled") == 2)
    server.until(lambda: fleet.newest()["state"] == "done")
    assert server.rest("GET", f"/devices/{fleet.mac}")["certificate"]["serial"] != serial
    device.until(lambda: device.log.count("mqtt.up") >= 3)
    fleet.order("wipe", "--sign", "release")
    device.until_said("thermometer: command 8")
    server.until(lambda: fleet.newest()["state"] == "done")
    device.until(lambda: device.log.count("agent.start") >= 4)
    device.until_said("claim: used up, expired or withdrawn")


def test_who_checks_no_signature_is_said_so(signed_in, fake):  # noqa: F811
    fake.devices["pump-0107"] = {"id": "pump-0107", "name": "", "product": "meter", "protocol": "secureesp8266"}
    refused = signed_in("device", "wipe", "pump-0107", "--yes", "--confirm", "pump-0107", want=2).stderr
    assert "checks no signed commands" in refused and "believes its channel" in refused
    assert not [call for call in fake.calls if call[0] == "POST"]
