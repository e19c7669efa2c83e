"""Native v1 over HTTPS: enrol, check, fetch, report, and everything that must be refused."""

import hashlib
import os
import threading

import pytest

import cborish
import signing

CBOR = {"Content-Type": "application/cbor"}
IMAGE = b"\x7fELF"  # completed by the fixture from a real program


def check_body(running=bytes(32), version="0", sequence=0, **other):
    fields = {1: running, 2: version, 3: sequence, 4: 0, 5: 1, 6: 0, 7: 0, 8: 16 << 20, 9: 255, 10: b"posix", 11: 1,
              13: 1}
    fields.update({int(k[1:]): v for k, v in other.items()})
    return cborish.dumps(fields)


@pytest.fixture(scope="module")
def image():
    """Any ELF program will do; the posix port installs programs."""
    with open("/bin/true", "rb") as f:
        return f.read()


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


@pytest.fixture(scope="module")
def device(server, owner):
    return server.enroll("meter", "84f3eb000001")


def test_a_device_goes_from_enrolment_to_confirmed(server, owner, device, image):
    assert device.id == "84f3eb000001"
    assert device.request("POST", "/v1/check", check_body(), CBOR).status == 204
    release = owner.publish("1.0.0", image)
    assert release["state"] == "published"

    reply = device.request("POST", "/v1/check", check_body(), CBOR)
    assert reply.status == 200 and reply.header("Content-Type") == "application/cbor"
    offer = cborish.loads(reply.body)
    digest = hashlib.sha256(image).digest()
    assert cborish.loads(cborish.loads(offer[2]).value[2])[11] == digest

    blob = device.request("GET", f"/v1/blob/{digest.hex()}")
    assert blob.status == 200 and blob.body == image
    part = device.request("GET", f"/v1/blob/{digest.hex()}", headers={"Range": "bytes=100-"})
    assert part.status == 206 and part.body == image[100:]
    assert device.request("HEAD", f"/v1/blob/{digest.hex()}").header("Content-Length") == str(len(image))

    manifest_digest = hashlib.sha256(offer[2]).digest()
    for seq, state, running in ((1, 1, bytes(32)), (2, 4, bytes(32)), (3, 5, digest)):
        report = cborish.dumps({1: offer[1], 2: state, 3: 100, 6: manifest_digest, 7: running, 8: seq})
        assert device.request("POST", "/v1/report", report, CBOR).status == 204
    shown = server.rest("GET", f"/devices/{device.id}")
    assert shown["action"]["state"] == "confirmed"
    assert device.request("POST", "/v1/check", check_body(digest, "1.0.0", 1), CBOR).status == 204
    shown = server.rest("GET", f"/devices/{device.id}")
    assert shown["state"] == "up_to_date" and shown["running"]["version"] == "1.0.0"


def test_confirmed_without_running_the_target_is_a_conflict(server, owner, image):
    device = server.enroll("meter", "84f3eb000002")
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(), CBOR).body)
    lie = cborish.dumps({1: offer[1], 2: 5, 3: 100, 6: hashlib.sha256(offer[2]).digest(), 7: bytes(32), 8: 1})
    assert device.request("POST", "/v1/report", lie, CBOR).status == 409
    foreign = cborish.dumps({1: offer[1], 2: 1, 3: 10, 6: bytes(32), 7: bytes(32), 8: 2})
    assert device.request("POST", "/v1/report", foreign, CBOR).status == 409
    unknown = cborish.dumps({1: 1, 2: 1, 3: 10, 6: bytes(32), 7: bytes(32), 8: 2})
    assert device.request("POST", "/v1/report", unknown, CBOR).status == 404


def test_a_check_with_a_nonce_is_always_answered_with_a_token(device, image):
    body = check_body(hashlib.sha256(image).digest(), "1.0.0", 1, k12=os.urandom(16))
    reply = device.request("POST", "/v1/check", body, CBOR)
    assert reply.status == 200
    assert cborish.loads(cborish.loads(reply.body)[4]).number == 18


@pytest.mark.parametrize("method, path", [("POST", "/v1/check"), ("GET", "/v1/blob/" + "00" * 32),
                                          ("POST", "/v1/report"), ("GET", "/v1/trust/1")])
def test_without_a_certificate_the_answer_is_401_without_a_body(server, method, path):
    reply = server.device_request(method, path, b"" if method == "POST" else None)
    assert reply.status == 401 and reply.body == b""


def test_an_image_of_another_product_is_not_found(server, device, owner):
    other = signing.Publisher(server, "lamp", hardware=("lamp",))
    with open("/bin/false", "rb") as f:
        image = f.read()
    other.publish("1.0.0", image)
    digest = hashlib.sha256(image).hexdigest()
    foreign = device.request("GET", f"/v1/blob/{digest}")
    unknown = device.request("GET", "/v1/blob/" + "ab" * 32)
    assert (foreign.status, foreign.body) == (unknown.status, unknown.body) == (404, b"")
    assert device.request("GET", "/v1/trust/lamp/1").status == 404
    assert device.request("GET", "/v1/trust/meter/1").body == owner.trust


def test_a_device_that_went_back_is_shown_on_the_old_image_at_once(server, owner, image):
    device = server.enroll("meter", "84f3eb000005")
    old = hashlib.sha256(image).digest()
    assert device.request("POST", "/v1/check", check_body(old, "1.0.0", 1), CBOR).status == 204
    new_image = image + b"\n"
    release = owner.publish("1.1.0", new_image)
    new = hashlib.sha256(new_image).digest()
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(old, "1.0.0", 1), CBOR).body)
    trial = check_body(new, "1.1.0", 2, k7=1)
    device.request("POST", "/v1/check", trial, CBOR)
    shown = server.rest("GET", f"/devices/{device.id}")
    assert (shown["state"], shown["running"]["version"]) == ("on_trial", "1.1.0")
    report = cborish.dumps({1: offer[1], 2: 7, 3: 100, 6: hashlib.sha256(offer[2]).digest(), 7: old, 8: 3})
    assert device.request("POST", "/v1/report", report, CBOR).status == 204
    shown = server.rest("GET", f"/devices/{device.id}")
    assert (shown["state"], shown["running"]["version"]) == ("reverted", "1.0.0")
    assert shown["running"]["sha256"] == old.hex()
    assert server.call("POST", f"/releases/{release['id']}:withdraw").status == 200


@pytest.mark.parametrize("body", [b"", b"\xa0", b"\xff", check_body()[:-1], check_body() + b"\x00", bytes(4000)])
def test_a_check_that_does_not_parse_is_400(device, body):
    assert device.request("POST", "/v1/check", body, CBOR).status == 400


def test_a_body_over_the_limit_is_413(device):
    assert device.request("POST", "/v1/check", bytes(5000), CBOR).status == 413


def test_a_claim_counts_once(server, owner):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    code = server.rest("POST", "/enrollment/codes", {"product": "meter", "uses": 1})["code"]

    def request(mac):
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        body = {1: code, 2: csr.public_bytes(serialization.Encoding.DER), 3: mac, 4: 255, 5: b"posix", 6: "0"}
        return server.device_request("POST", "/v1/enroll", cborish.dumps(body), CBOR).status

    results = []
    threads = [threading.Thread(target=lambda i=i: results.append(request(f"84f3eb0010{i:02x}"))) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == [200, 410, 410, 410, 410, 410]


def test_revocation_counts_at_once_on_a_kept_connection(server, owner):
    import http.client
    device = server.enroll("meter", "84f3eb000003")
    link = http.client.HTTPSConnection("localhost", server.ports["device"], timeout=20, context=server.tls(device))
    link.request("POST", "/v1/check", check_body(), CBOR)
    assert link.getresponse().read() is not None
    assert server.call("POST", f"/devices/{device.id}:revoke", {"reason": "stolen"}).status == 200
    try:
        link.request("POST", "/v1/check", check_body(), CBOR)
        status = link.getresponse().status
    except (http.client.HTTPException, OSError):
        status = 403
    link.close()
    assert status == 403
    with pytest.raises((OSError, AssertionError)):
        assert device.request("POST", "/v1/check", check_body(), CBOR).status == 200
    assert server.rest("GET", f"/devices/{device.id}")["state"] == "revoked"


def test_a_command_rides_along_and_its_result_comes_with_a_report(server, owner, image):
    device = server.enroll("meter", "84f3eb000004")
    made = server.rest("POST", f"/devices/{device.id}/commands", {"kind": "config", "arg": "rate=5"})
    digest = hashlib.sha256(image).digest()
    offer = cborish.loads(device.request("POST", "/v1/check", check_body(digest, "1.0.0", 1), CBOR).body)
    command = offer[6][0]
    assert (command[1], f"cmd_{command[2]:08x}", command[4]) == (4, made["id"], b"rate=5")
    report = cborish.dumps({1: 0, 2: 0, 8: 1, 10: {1: command[2], 2: 0, 3: "set"}})
    assert device.request("POST", "/v1/report", report, CBOR).status == 204
    shown = server.rest("GET", f"/devices/{device.id}/commands")["items"][0]
    assert shown["state"] == "done" and shown["result"] == {"code": 0, "text": "set"}
    assert device.request("POST", "/v1/check", check_body(digest, "1.0.0", 1), CBOR).status == 204
