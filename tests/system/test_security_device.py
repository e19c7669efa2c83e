"""Attacks by and on devices; D.. are rows of docs/spec/security-tests.md."""

import hashlib
import ipaddress
import os
import random
import sqlite3

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

import attacks
import cborish
import signing
from attacks import CBOR
from test_native import check_body

TRUE = open("/bin/true", "rb").read()


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


@pytest.fixture(scope="module")
def offered(server, owner):
    """(A, B, offer of B, image): both are offered the same release, in actions of their own."""
    image = TRUE + b"offered"
    a, b = server.enroll("meter", "84f3eb0c0001"), server.enroll("meter", "84f3eb0c0002")
    owner.publish("1.0.0", image)
    b_offer = cborish.loads(b.request("POST", "/v1/check", check_body(), CBOR).body)
    a_offer = cborish.loads(a.request("POST", "/v1/check", check_body(), CBOR).body)
    assert a_offer[1] != b_offer[1]
    return a, b, b_offer, image


def report(action, state, manifest, seq, progress=50, running=bytes(32), **other):
    fields = {1: action, 2: state, 3: progress, 6: hashlib.sha256(manifest).digest(), 7: running, 8: seq}
    fields.update({int(k[1:]): v for k, v in other.items()})
    return cborish.dumps(fields)


def action_of(server, device):
    return server.rest("GET", f"/devices/{device.id}")["action"]


# ---- only its own ------------------------------------------------------------------------------------------


def test_d2_another_devices_action_is_like_one_that_does_not_exist(server, offered):
    a, b, offer, image = offered
    before = action_of(server, b)
    for state in range(11):
        stolen = a.request("POST", "/v1/report", report(offer[1], state, offer[2], 1 + state), CBOR)
        unknown = a.request("POST", "/v1/report", report(2 ** 31 - 1, state, offer[2], 20 + state), CBOR)
        assert (stolen.status, stolen.body) == (unknown.status, unknown.body) == (404, b"")
    assert action_of(server, b) == before


def test_d2_a_report_must_quote_the_manifest_that_was_served(server, offered):
    a, b, offer, image = offered
    for manifest in (b"", offer[2][:-1], offer[2] + b"\0"):
        assert b.request("POST", "/v1/report", report(offer[1], 1, manifest, 50), CBOR).status == 409
    assert action_of(server, b)["state"] == "offered"


def test_d2_the_identity_is_never_taken_from_a_header_or_body(server, offered):
    a, b, offer, image = offered
    for name, value in (("x-ESP8266-STA-MAC", "84:F3:EB:0C:00:02"), ("X-Device-Id", b.id), ("Device", b.id)):
        reply = a.request("POST", "/v1/report", report(offer[1], 1, offer[2], 60), {**CBOR, name: value})
        assert reply.status == 404
    reply = a.request("GET", "/update/meter", headers={
        "x-ESP8266-STA-MAC": "84:F3:EB:0C:00:02", "x-ESP8266-mode": "sketch", "User-Agent": "ESP8266-http-Update",
        "x-ESP8266-version": "6.6.6"})
    assert reply.status in (200, 304, 403)
    shown = server.rest("GET", f"/devices/{b.id}")
    assert "6.6.6" not in str(shown) and shown["protocol"] == "native"


def test_d9_the_product_is_that_of_the_certificate(server, offered):
    a, _, _, _ = offered
    other = signing.Publisher(server, "pump", hardware=("pump",))
    other.publish("1.0.0", TRUE + b"pump")
    digest = hashlib.sha256(TRUE + b"pump").hexdigest()
    hardware = a.request("POST", "/v1/check", check_body(k10=b"pump", k11=9), CBOR)
    assert hardware.status in (204, 400, 403, 409) or cborish.loads(hardware.body).get(2) is None
    for path in (f"/v1/blob/{digest}", "/v1/trust/pump/1", f"/v1/trust/{other.product_id}/1", "/update/pump",
                 "/update/pump/firmware.bin"):
        assert a.request("GET", path).status in (403, 404), path
    assert a.request("GET", f"/v1/blob/{digest}", headers={"Range": "bytes=0-0"}).status == 404
    assert a.request("HEAD", f"/v1/blob/{digest}").status == 404


def test_d2_a_draft_and_a_withdrawn_release_are_not_served(server, owner, offered):
    a, _, _, _ = offered
    draft = TRUE + b"draft"
    owner.draft("7.0.0", draft)
    assert a.request("GET", "/v1/blob/" + hashlib.sha256(draft).hexdigest()).status == 404
    gone = TRUE + b"gone"
    device = server.enroll("meter", "84f3eb0c0003")
    release = owner.publish("7.0.1", gone)
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(), CBOR).body)
    path = "/v1/blob/" + hashlib.sha256(gone).hexdigest()
    assert device.request("GET", path).body == gone
    server.rest("POST", f"/releases/{release['id']}:withdraw")
    again = device.request("POST", "/v1/check", check_body(k11=2), CBOR)
    assert again.status == 204 or cborish.loads(again.body).get(2) != offer[2]
    assert a.request("GET", path).status in (404, 410)


def test_d2_an_image_for_other_hardware_of_the_product_is_not_served(server):
    signing.Publisher(server, "lamp", hardware=("lampold1", "lampnew2"))
    owner = signing.Publisher(server, "bulb", hardware=("bulbold1", "bulbnew2"))
    owner.hardware = ("bulbnew2",)
    image = TRUE + b"bulb"
    owner.publish("1.0.0", image)
    old = server.enroll("bulb", "84f3eb0c0010", hardware=b"bulbold1")
    new = server.enroll("bulb", "84f3eb0c0011", hardware=b"bulbnew2")
    path = "/v1/blob/" + hashlib.sha256(image).hexdigest()
    assert cborish.loads(new.request("POST", "/v1/check", check_body(k10=b"bulbnew2"), CBOR).body)[2]
    assert new.request("GET", path).body == image
    assert old.request("POST", "/v1/check", check_body(k10=b"bulbold1"), CBOR).status == 204
    assert old.request("GET", path).status == 404


# ---- reports -----------------------------------------------------------------------------------------------


def test_n6_a_repeated_report_counts_once(server, owner):
    device = server.enroll("meter", "84f3eb0c0020")
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(), CBOR).body)
    failed = report(offer[1], 6, offer[2], 7, k4=-9, k5="flash")
    statuses = attacks.in_parallel([lambda: device.request("POST", "/v1/report", failed, CBOR).status] * 40, 8)
    assert set(statuses) == {204}
    kinds = [e["type"] for e in server.rest("GET", f"/devices/{device.id}/history?limit=1000")["items"]]
    assert kinds.count("action.failed") == kinds.count("action.offered") == 1, kinds
    assert action_of(server, device)["state"] == "failed"
    assert device.request("POST", "/v1/report", report(offer[1], 1, offer[2], 8), CBOR).status in (204, 409)
    assert action_of(server, device)["state"] == "failed"


def test_d5_text_of_a_report_stays_text(server, owner):
    device = server.enroll("meter", "84f3eb0c0021")
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(), CBOR).body)
    texts = ["<script>alert(1)</script>", "\x1b[2J\x1b]0;x\x07", "line\r\nINFO forged.event user=root", "a\u2028b\u202ec",
             "' OR 1=1 --", "%s%n%x", "\u0000".replace("\0", "\x01") + "x", "é" * 100]
    for i, text in enumerate(texts):
        before = server.log.read_text().count("\n")
        reply = device.request("POST", "/v1/report", report(offer[1], 1, offer[2], 10 + i, progress=10 + i, k5=text), CBOR)
        assert reply.status in (204, 400), text
        log = server.log.read_text()
        assert log.count("\n") - before <= 1 and "\nINFO forged" not in log and "\x1b" not in log
        if reply.status == 204:
            shown = action_of(server, device)["text"] or ""
            assert not any(c < " " for c in shown) and (shown == text or min(text) < " "), shown
    assert device.request("POST", "/v1/report", report(offer[1], 1, offer[2], 30, k5="x" * 201), CBOR).status == 400


@pytest.mark.parametrize("path", ["/v1/check", "/v1/report", "/v1/enroll"])
def test_p13_mangled_messages_are_400_and_survived(server, offered, path):
    _, _, offer, _ = offered
    first = {"/v1/check": 0, "/v1/report": 10, "/v1/enroll": 20}[path]  # many devices: each has its own allowance
    crowd = [server.enroll("meter", f"84f3eb0c10{first + i:02x}") for i in range(8)]
    csr, _ = attacks.certificate_request("x")
    whole = {"/v1/check": check_body(k12=bytes(16)), "/v1/report": report(2 ** 31 - 1, 1, offer[2], 3, k5="text"),
             "/v1/enroll": cborish.dumps(attacks.enrol_request("AAAA-BBBB", csr, "84f3eb0c0bad"))}[path]
    seed = int(os.environ.get("PAG_SEED", random.randrange(1 << 30)))
    print("PAG_SEED", seed)
    rng = random.Random(seed)
    messages = [whole[:n] for n in range(0, len(whole), max(1, len(whole) // 60))]
    messages += [b"\xbf" + whole[1:] + b"\xff", b"\x9f" * 4000, b"\xa1" * 4000, b"\xc1" * 4000, b"\x5b" + b"\xff" * 8,
                 b"\xbb" + b"\xff" * 8 + whole, b"\xfb" + bytes(8), whole * 2, b"\xa2" + whole[1:4] * 2]
    for _ in range(150):
        bad = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        messages.append(bytes(bad))
    seen = {crowd[i % 8].request("POST", path, m, CBOR).status for i, m in enumerate(messages)}
    assert seen <= {200, 204, 400, 403, 404, 409, 410} and 400 in seen, seen
    attacks.alive(server)


@pytest.mark.parametrize("path", ["/v1/check", "/v1/report", "/v1/enroll"])
def test_d4_bodies_over_the_limit_are_413(server, offered, path):
    for size in (4097, 65536, 1 << 20):
        assert offered[0].request("POST", path, bytes(size), CBOR).status == 413


# ---- enrolment ---------------------------------------------------------------------------------------------


def claim(server, uses=1, product="meter", **other):
    return server.rest("POST", "/enrollment/codes", {"product": product, "uses": uses, "ttl_s": 600, **other})["code"]


def enrol(server, code, csr, mac, device=None, **other):
    body = cborish.dumps({**attacks.enrol_request(code, csr, mac), **{int(k[1:]): v for k, v in other.items()}})
    return server.device_request("POST", "/v1/enroll", body, CBOR, device)


def test_d10_a_claim_of_n_uses_makes_n_devices_under_200_at_once(server, owner):
    code = claim(server, 7)
    jobs = []
    for i in range(200):
        csr, _ = attacks.certificate_request()
        jobs.append(lambda csr=csr, i=i: enrol(server, code, csr, f"84f3eb0d{i:04x}").status)
    statuses = attacks.in_parallel(jobs, 16)
    assert statuses.count(200) == 7 and set(statuses) == {200, 410}
    assert server.rest("GET", "/devices?q=84f3eb0d&limit=1000")["total"]["value"] == 7


def test_d10_the_same_key_repeated_in_parallel_is_one_use_and_one_certificate(server, owner):
    code = claim(server, 2)
    csr, _ = attacks.certificate_request()
    replies = attacks.in_parallel([lambda: enrol(server, code, csr, "84f3eb0e0001")] * 30, 8)
    assert {r.status for r in replies} == {200}
    assert len({r.body for r in replies}) == 1
    other, _ = attacks.certificate_request()
    assert enrol(server, code, other, "84f3eb0e0002").status == 200
    third, _ = attacks.certificate_request()
    assert enrol(server, code, third, "84f3eb0e0003").status == 410


def leaf_of(reply):
    return x509.load_der_x509_certificate(cborish.loads(reply.body)[2])


HOSTILE = {
    "the name of another device": dict(cn="84f3eb0c0002"),
    "a name that the broker would widen": dict(cn="#"),
    "a name with a slash": dict(cn="84f3eb0f0001/x"),
    "a name with NUL": dict(cn="84f3eb0f0001\0.evil"),
    "two names": dict(cn="a", names=[x509.NameAttribute(NameOID.COMMON_NAME, "84f3eb0c0002")]),
    "the name of the service": dict(cn="svc-pagurusd", names=[x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Pagurus")]),
    "a CA": dict(extensions=[(x509.BasicConstraints(True, 3), True), (x509.KeyUsage(*[True] * 9), True)]),
    "server usage": dict(extensions=[(x509.ExtendedKeyUsage([attacks.SERVER]), False)]),
    "foreign names": dict(extensions=[(x509.SubjectAlternativeName([
        x509.DNSName("*"), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.UniformResourceIdentifier("urn:pagurus:00:84f3eb0c0002")]), False)]),
}


@pytest.mark.parametrize("number, name", enumerate(HOSTILE))
def test_d6_d7_nothing_of_a_request_but_its_key_gets_into_a_certificate(server, owner, number, name):
    mac = f"84f3eb0f01{number:02x}"
    csr, key = attacks.certificate_request(**HOSTILE[name])
    reply = enrol(server, claim(server), csr, mac)
    if reply.status != 200:
        assert reply.status == 400
        return
    leaf = leaf_of(reply)
    assert [a.value for a in leaf.subject] == [mac]
    assert leaf.public_key().public_numbers() == key.public_key().public_numbers()
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not (usage.key_cert_sign or usage.crl_sign or usage.key_encipherment)
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [attacks.CLIENT]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [n.value for n in names] == [f"urn:pagurus:{owner.product_id}:{mac}"]


def weak(key, algorithm=hashes.SHA256()):
    return (x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
            .public_bytes(serialization.Encoding.DER))


def bad_requests():
    good, key = attacks.certificate_request("x")
    other, _ = attacks.certificate_request("y")
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    flipped = bytearray(good)
    flipped[-1] ^= 1
    off_curve = good.replace(point, point[:-1] + bytes([point[-1] ^ 1]))
    assert off_curve != good
    big = attacks.certificate_request("x", extensions=[(x509.SubjectAlternativeName(
        [x509.DNSName("a" * 60 + f"{i}.example") for i in range(130)]), False)])[0]
    assert len(big) > 9000
    return {
        "RSA 1024": weak(rsa.generate_private_key(65537, 1024)), "RSA 2048": weak(rsa.generate_private_key(65537, 2048)),
        "P-224": weak(ec.generate_private_key(ec.SECP224R1())), "P-384": weak(ec.generate_private_key(ec.SECP384R1())),
        "secp256k1": weak(ec.generate_private_key(ec.SECP256K1())), "P-192": weak(ec.generate_private_key(ec.SECP192R1())),
        "Ed25519": weak(ed25519.Ed25519PrivateKey.generate(), None),
        "signature of another key": good[:-66] + other[-66:], "flipped signature": bytes(flipped),
        "point off the curve": off_curve, "point at infinity": good.replace(point, b"\x04" + bytes(64)),
        "names of 10 KiB": big, "not DER": b"\x30\x82\xff\xff" + bytes(100), "empty": b"", "PEM": b"-----BEGIN CERTIFICATE REQUEST-",
        "bytes behind it": good + b"\0", "cut": good[:-9], "a certificate": None,
    }


def test_d8_a_request_that_is_weak_or_broken_gets_no_certificate_and_uses_no_claim(server, owner):
    code = claim(server)
    requests = bad_requests()
    requests["a certificate"] = x509.load_pem_x509_certificate(
        (server.data / "ca" / "device-ca.pem").read_bytes()).public_bytes(serialization.Encoding.DER)
    for name, csr in requests.items():
        assert enrol(server, code, csr, "84f3eb0f0200").status in (400, 413), name
    good, _ = attacks.certificate_request()
    assert enrol(server, code, good, "84f3eb0f0200").status == 200


def test_d8_a_key_that_another_device_has_is_refused(server, owner):
    csr, _ = attacks.certificate_request()
    assert enrol(server, claim(server), csr, "84f3eb0f0300").status == 200
    assert enrol(server, claim(server), csr, "84f3eb0f0301").status in (400, 403, 409)


def test_d8_keys_of_the_server_are_no_device_keys(server, owner):
    for name in ("ca/device-ca.key", "tls/server.key", "tls/svc.key"):
        key = serialization.load_pem_private_key((server.data / name).read_bytes(), None)
        reply = enrol(server, claim(server), attacks.certificate_request(key=key)[0], "84f3eb0f0310")
        if reply.status == 200:  # harmless: name and usage are the device's
            assert [a.value for a in leaf_of(reply).subject] == ["84f3eb0f0310"]


@pytest.mark.parametrize("mac", ["", "84f3eb", "84f3eb0f04000", "84f3eb0f04zz", "84f3eb0f/400", "../../../../x", "84f3eb0f0400\0",
                                 "#", "+", "svc-pagurusd", "84f3eb0f0400\n", "８4f3eb0f0400"])
def test_d6_a_mac_that_is_none_is_refused(server, owner, mac):
    csr, _ = attacks.certificate_request()
    assert enrol(server, claim(server), csr, mac).status == 400


def test_d6_a_claim_bound_to_a_mac_is_for_it_alone(server, owner):
    code = claim(server, mac="84f3eb0f0500")
    csr, _ = attacks.certificate_request("84f3eb0f0500")
    assert enrol(server, code, csr, "84f3eb0f0501").status == 410
    assert enrol(server, code, csr, "84f3eb0f0500").status == 200


def test_d6_a_device_that_enrols_again_is_an_event_an_operator_sees(server, owner):
    device = server.enroll("meter", "84f3eb0f0601")
    assert enrol(server, claim(server, mac=device.id), attacks.certificate_request()[0], device.id).status == 200
    events = [e["data"] for e in server.rest("GET", f"/devices/{device.id}/history")["items"] if e["type"] == "device.enrolled"]
    assert [e["created"] for e in events] == [0, 1] and len({e["serial"] for e in events}) == 2


def test_d6_an_open_claim_does_not_take_over_a_device_that_is_in_service(server, owner):
    victim = server.enroll("meter", "84f3eb0f0600")
    thief, _ = attacks.certificate_request()
    open_claim = claim(server, 100)
    assert enrol(server, open_claim, thief, victim.id).status == 403
    other = server.enroll("meter", "84f3eb0f0602")
    assert enrol(server, open_claim, thief, victim.id, other).status == 403  # another's certificate proves nothing
    assert len(server.rest("GET", f"/certificates?device={victim.id}")["items"]) == 1
    assert enrol(server, claim(server, mac=victim.id), thief, victim.id).status == 200  # the operator named it


def test_d6_a_device_renews_with_its_certificate_or_its_key_and_an_open_claim(server, owner):
    device = server.enroll("meter", "84f3eb0f0603")
    csr, _ = attacks.certificate_request()
    assert enrol(server, claim(server), csr, device.id, device).status == 200
    assert enrol(server, claim(server), csr, device.id).status == 200  # its answer was lost, and the claim with it
    assert enrol(server, claim(server), attacks.certificate_request()[0], device.id).status == 403


def test_d6_a_claim_of_another_product_does_not_move_a_device(server, owner):
    signing.Publisher(server, "valve", hardware=("valve",))
    victim = server.enroll("meter", "84f3eb0f0610")
    csr, _ = attacks.certificate_request()
    assert enrol(server, claim(server, product="valve"), csr, victim.id).status == 403
    assert server.rest("GET", f"/devices/{victim.id}")["product"] == "meter"
    assert victim.request("POST", "/v1/check", check_body(), CBOR).status in (200, 204)


def test_d1_a_revoked_device_does_not_enrol_again(server, owner):
    device = server.enroll("meter", "84f3eb0f0700")
    server.rest("POST", f"/devices/{device.id}:revoke", {"reason": "stolen"})
    csr, _ = attacks.certificate_request()
    code = claim(server)
    for who in (None, device):
        try:
            assert enrol(server, code, csr, device.id, who).status == 403
        except OSError:
            assert who is device  # cut in the handshake
    assert server.rest("GET", f"/devices/{device.id}")["state"] == "revoked"
    good, _ = attacks.certificate_request()
    assert enrol(server, code, good, "84f3eb0f0701").status == 200  # the claim was not used up


def test_d10_claims_that_are_wrong_are_all_refused_alike(server, owner):
    csr, _ = attacks.certificate_request()
    used = claim(server)
    assert enrol(server, used, attacks.certificate_request()[0], "84f3eb0f0800").status == 200
    deleted = server.rest("POST", "/enrollment/codes", {"product": "meter", "uses": 1, "ttl_s": 600})
    assert server.call("DELETE", "/enrollment/codes/" + deleted["id"]).status == 204
    good = claim(server)
    wrong = [used, deleted["code"], good[:-1] + ("A" if good[-1] != "A" else "B"), good[1:] + good[0], "", "A" * 64,
             "' OR 1=1 --", good + "\0", good + "\n", good + "A", good + good]
    for claim_text in wrong:
        reply = enrol(server, claim_text, csr, "84f3eb0f0801")
        assert reply.status in ((400,) if claim_text in ("", good + good) else (410,)) and reply.body == b"", claim_text
    assert enrol(server, good, csr, "84f3eb0f0801").status == 200


def test_d10_an_expired_claim_is_refused(make_server):
    server = make_server("mqtt.mode=off").start()
    signing.Publisher(server, "meter")
    code = claim(server)
    server.stop()
    with sqlite3.connect(server.data / "pagurus.db") as db:  # claims live for a minute at least; this one has aged
        assert db.execute("UPDATE enrollment_code SET expires_ms = 1000").rowcount == 1
    server.start()
    assert enrol(server, code, attacks.certificate_request()[0], "84f3eb0f0900").status == 410
    server.stop()


def test_d10_guessing_claims_is_slowed_down(make_server):
    server = make_server("mqtt.mode=off", "limits.claims_per_minute=10").start()
    signing.Publisher(server, "meter")
    csr, _ = attacks.certificate_request()
    replies = [enrol(server, "ABCD-EFGH", csr, "84f3eb0f0901") for _ in range(25)]
    limited = [r for r in replies if r.status == 429]
    assert len(limited) >= 5 and all(int(r.header("Retry-After")) > 0 for r in limited)
    assert {r.status for r in replies} == {410, 429}
    server.stop()
