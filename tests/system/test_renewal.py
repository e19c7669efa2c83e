"""The next certificate, asked for over the present one: by the agent itself at two thirds of its life, and by others."""

import hashlib
import json
import os
import subprocess

import pytest

import cborish
import est
import signing
from conftest import BUILD, Device
from test_posix_device import Posix

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CBOR = {"Content-Type": "application/cbor"}
LIFE_S = 1812  # a certificate begins an hour before it is made: two thirds are over after 8 s


@pytest.fixture(scope="module")
def short(make_server):
    one = make_server(f"certificates.device_time={LIFE_S}s")
    one.start()
    return one


@pytest.fixture(scope="module")
def owner(short):
    return signing.Publisher(short, "meter")


def request_of(mac, key=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    csr = (x509.CertificateSigningRequestBuilder()
           .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mac)]))
           .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    return key, cborish.dumps({2: csr, 3: mac, 4: 255, 5: b"posix", 6: "0"})


def renewed(server, device, name):
    key, body = request_of(device.id)
    reply = device.request("POST", "/v1/enroll", body, CBOR)
    assert reply.status == 200, (reply.status, reply.body)
    enrolled = cborish.loads(reply.body)
    cert, secret = server.folder / f"{name}.crt", server.folder / f"{name}.key"
    chain = [x509.load_der_x509_certificate(enrolled[n]) for n in (2, 3)]
    cert.write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain))
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption()))
    secret.chmod(0o600)
    assert enrolled[1] == device.id and chain[0].public_key().public_numbers() == key.public_key().public_numbers()
    return Device(server, enrolled[1], str(cert), str(secret))


def test_without_a_claim_the_certificate_shown_is_followed_by_the_next(short, owner):
    old = short.enroll("meter", "84f3eb00aa01")
    new = renewed(short, old, "next-1")
    for device in (old, new):  # both open everything until the new one is used
        assert device.request("GET", "/v1/trust/1").status == 200


def test_nobody_renews_without_a_certificate(short, owner):
    _, body = request_of("84f3eb00aa01")
    assert short.device_request("POST", "/v1/enroll", body, CBOR).status == 401


def test_a_certificate_renews_its_own_device_only(short, owner):
    one = short.enroll("meter", "84f3eb00aa02")
    short.enroll("meter", "84f3eb00aa03")
    _, body = request_of("84f3eb00aa03")
    assert one.request("POST", "/v1/enroll", body, CBOR).status == 400


def test_a_certificate_whose_successor_was_used_renews_nothing(short, owner):
    old = short.enroll("meter", "84f3eb00aa04")
    new = renewed(short, old, "next-4")
    again = renewed(short, old, "again-4")  # the answer was lost: the old one is all that the device has
    short.until(lambda: again.request("GET", "/v1/trust/1").status == 200)
    _, body = request_of(old.id)
    by_old, by_newest = old.request("POST", "/v1/enroll", body, CBOR), None
    # ends of certificates have whole seconds: those made in the same one are told apart by nobody
    ends = [x509.load_pem_x509_certificate(open(d.cert_file, "rb").read()).not_valid_after_utc for d in (old, again)]
    assert by_old.status == (403 if ends[0] < ends[1] else 200)
    by_newest = again.request("POST", "/v1/enroll", request_of(old.id)[1], CBOR)
    assert by_newest.status == 200
    assert new.id == old.id


def test_a_revoked_device_renews_nothing(short, owner):
    one = short.enroll("meter", "84f3eb00aa05")
    short.rest("POST", f"/devices/{one.id}:revoke", {})
    _, body = request_of(one.id)
    try:
        status = one.request("POST", "/v1/enroll", body, CBOR).status
    except OSError:  # the handshake ends with an alert
        status = 403
    assert status in (401, 403)


def test_a_device_renews_by_itself_and_goes_on_with_a_new_key(short, owner, tmp_path):
    code = short.rest("POST", "/enrollment/codes", {"product": owner.name, "uses": 1, "ttl_s": 600})["code"]
    mac = "84f3eb" + os.urandom(3).hex()
    config = {"server": "localhost", "port": short.ports["device"], "product": owner.product_id, "hardware": "posix",
              "chip": "posix", "mac": mac, "claim": code, "poll_s": 1, "mqtt": "off", "fresh_every_s": 1,
              "trust_pin": hashlib.sha256(owner.trust).hexdigest()}
    device = Posix(tmp_path, config, (short.data / "ca" / "root.pem").read_text())
    try:
        device.start().until_said("agent.enrolled")
        device.until_said("agent.renewed", 90)
        mine = short.rest("GET", f"/certificates?device={mac}")["items"]
        assert len(mine) >= 2 and len({one["fingerprint"] for one in mine}) == len(mine)
        before = short.rest("GET", f"/devices/{mac}")["last_seen"]
        device.stop()
        device.start()  # what it finds in its flash opens the server
        device.until(lambda: short.rest("GET", f"/devices/{mac}")["last_seen"] not in (None, before))
        assert device.log.count("agent.enrolled") == 1
    finally:
        device.stop()


# ---- what people see of it ---------------------------------------------------------------------------------------


@pytest.fixture
def pagurus(short, tmp_path):
    token = tmp_path / "token"
    token.write_text(short.token)
    token.chmod(0o600)

    def run(*words, want=0):
        done = subprocess.run([str(BUILD / "pagurus"), *words, "--server", f"https://localhost:{short.ports['console']}",
                               "--ca", str(short.data / "ca" / "root.pem"), "--token-file", str(token), "--no-input"],
                              capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path,
                              env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        assert (done.returncode == 0) == (want == 0), (words, done.stdout, done.stderr)
        return done.stdout

    return run


def test_requests_without_a_code_are_decided_on_the_command_line(short, owner, tmp_path, pagurus):
    short.product("guest")
    short.rest("PUT", "/products/guest/enrollment", {"approval": True})
    words = {}
    for mac, verb in (("84f3eb00ab01", "approve"), ("84f3eb00ab02", "deny")):
        one = est.Client(short, tmp_path, mac).make_key().make_request()
        assert one.ask("simpleenroll", label="guest").status == 202
        listed = json.loads(pagurus("enroll", "request", "list", "--json"))
        row = next(r for r in (listed["items"] if isinstance(listed, dict) else listed) if r["device"] == mac)
        assert row["id"] in pagurus("enroll", "request", "list")
        pagurus("enroll", "request", verb, row["id"])
        words[verb] = one.ask("simpleenroll", label="guest").status
    assert words == {"approve": 200, "deny": 403}
    pagurus("enroll", "request", "approve", "req_00000000", want=1)


def test_status_counts_certificates_that_should_be_renewed(short, owner, pagurus):
    short.enroll("meter", "84f3eb00ab03")
    short.until(lambda: short.rest("GET", "/ca")["device_certificates"]["due"] > 0, 60)
    shown = [line for line in pagurus("status").splitlines() if "ertificates to renew" in line]
    assert shown and int(shown[0].split()[-1]) > 0
