"""EST with openssl and curl as the device: enrolling, renewing, and every request that must not get through."""

import base64
import concurrent.futures
import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import est

MACS = (f"84f3eb1000{i:02x}" for i in itertools.count())


@pytest.fixture(scope="module")
def owner(server):
    server.product("meter")
    server.product("lamp")
    return server


@pytest.fixture
def device(owner, tmp_path):
    return est.Client(owner, tmp_path, next(MACS)).make_key().make_request()


def claim(server, **more):
    return server.rest("POST", "/enrollment/codes", {"product": "meter", "ttl_s": 600, **more})["code"]


def let_in(device):
    """Whether its certificate opens a device's route; there is no trust set to be had."""
    url = f"https://localhost:{device.server.ports['device']}/v1/trust/1"
    raw = est.run("curl", "-sS", "--http1.1", "-i", "--cacert", str(device.server.data / "ca" / "root.pem"),
                  "--cert", str(device.cert), "--key", str(device.key), url)
    status = est.Answer(raw).status
    assert status in (401, 403, 404)
    return status == 404


# ---- what everybody may know -----------------------------------------------------------------------------


@pytest.mark.client("EST client", "RFC 7030", "cacerts")
@pytest.mark.parametrize("label", [None, "meter"])
def test_cacerts_are_the_root_and_every_authority_below_it(device, label):
    answer = device.ask("cacerts", label=label, post=False)
    names = sorted(est.subject(c) for c in est.certificates(answer))
    assert len(names) == 3 and [n.split(" ")[1] for n in sorted(n.split("CN=")[1] for n in names)] == \
        ["device", "root", "server"]


@pytest.mark.client("EST client", "RFC 7030", "csrattrs")
def test_csrattrs_ask_for_p256(device):
    answer = device.ask("csrattrs", post=False)
    assert answer.status == 200 and answer.headers["content-type"] == "application/csrattrs"
    shown = est.openssl("asn1parse", "-inform", "DER", data=base64.b64decode(answer.body)).decode()
    assert "prime256v1" in shown and "ecdsa-with-SHA256" in shown


def test_a_label_that_is_no_product_is_404(device):
    assert device.ask("cacerts", label="nothing", post=False).status == 404


# ---- enrolling -------------------------------------------------------------------------------------------


@pytest.mark.client("EST client", "RFC 7030", "simpleenroll with a claim")
@pytest.mark.parametrize("label", [None, "meter"])
def test_a_claim_buys_a_certificate_that_is_let_in(device, label):
    device.keep(device.enroll(claim(device.server), label=label))
    assert est.subject(device.cert.read_text()) == f"subject=CN={device.mac}"
    est.openssl("verify", "-CAfile", device.server.data / "ca" / "root.pem", "-untrusted",
                device.server.data / "ca" / "device-ca.pem", "-purpose", "sslclient", device.cert)
    assert let_in(device)


def test_the_device_may_be_named_by_basics_user_and_the_request_by_nothing(device):
    device.make_request("/")
    colons = "-".join(device.mac[i:i + 2] for i in range(0, 12, 2))
    device.keep(device.enroll(claim(device.server), user=colons))
    assert est.subject(device.cert.read_text()) == f"subject=CN={device.mac}"


def test_without_a_claim_the_answer_is_a_challenge_in_words(device):
    answer = device.ask("simpleenroll")
    assert answer.status == 401 and answer.headers["www-authenticate"].startswith('Basic realm="est"')
    assert "claim" in answer.text


def test_a_wrong_a_cut_and_a_used_claim_are_401_and_the_same(device):
    code = claim(device.server)
    device.keep(device.enroll(code))
    other = est.Client(device.server, device.folder, next(MACS)).make_key().make_request()
    answers = [other.enroll(c) for c in ("0000-0000-0000-0000-0000-0000-000", code[:-3], "x", code)]
    assert [a.status for a in answers] == [401] * 4
    assert len({a.text for a in answers}) == 1


def test_the_same_key_and_claim_get_the_same_certificate_again(device):
    code = claim(device.server)
    first, again = device.enroll(code), device.enroll(code)
    assert first.status == again.status == 200 and est.certificates(first) == est.certificates(again)


def test_a_claim_in_many_hands_at_once_counts_once(owner, tmp_path):
    code = claim(owner)
    devices = [est.Client(owner, tmp_path, next(MACS)).make_key().make_request() for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        statuses = sorted(a.status for a in pool.map(lambda d: d.enroll(code), devices))
    assert statuses == [200] + [401] * 5


def test_a_claim_of_another_product_or_mac_is_refused(device):
    assert device.enroll(claim(device.server), label="lamp").status == 403
    assert device.enroll(claim(device.server, mac="84f3eb00ffff")).status == 401
    device.keep(device.enroll(claim(device.server, mac=device.mac)))


# ---- requests that must not get through ------------------------------------------------------------------


@pytest.mark.parametrize("more, word", [
    (["-addext", "basicConstraints=critical,CA:TRUE"], "authority"),
    (["-addext", "keyUsage=keyCertSign"], "authority"),
    (["-addext", "subjectAltName=DNS:localhost"], "alternative name"),
    (["-addext", "subjectAltName=URI:urn:pagurus:0011223344556677:84f3eb00ffff"], "alternative name"),
    (["-addext", "subjectAltName=IP:127.0.0.1"], "alternative name"),
    (["-addext", "extendedKeyUsage=serverAuth"], "use"),
    (["-sha1"], "SHA-2"),
])
def test_a_request_that_asks_for_too_much_is_400_and_costs_no_claim(device, more, word):
    code = claim(device.server)
    device.make_request(None, *more)
    answer = device.enroll(code)
    assert answer.status == 400 and word in answer.text
    device.make_request()
    device.keep(device.enroll(code))


@pytest.mark.parametrize("subject, word", [
    ("/CN=84f3eb00fffe", "another common name"), ("/CN=svc-pagurusd", "another common name"),
    ("/CN=a/CN=b", "several"), ("/CN=#", "no device id"), ("/CN=\\+", "no device id"), ("/CN=a\\/b", "no device id"),
])
def test_a_request_in_anothers_name_is_400(device, subject, word):
    device.make_request(subject)
    answer = device.enroll(claim(device.server), user=device.mac)
    assert answer.status == 400 and word in answer.text


@pytest.mark.parametrize("kind", [
    ("RSA", "-pkeyopt", "rsa_keygen_bits:1024"), ("RSA", "-pkeyopt", "rsa_keygen_bits:3072"),
    ("EC", "-pkeyopt", "ec_paramgen_curve:P-192"), ("EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
    ("EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"), ("ED25519",),
    ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
])
def test_keys_that_are_weak_or_of_another_kind_are_400(device, kind):
    device.make_key(*kind).make_request()
    answer = device.enroll(claim(device.server))
    assert answer.status == 400 and answer.text.strip()


def test_a_product_of_old_sketches_takes_rsa_of_2048_bits_and_of_no_other_size(owner, tmp_path):
    owner.product("sketch", chip="esp8266", hardware=("d1mini",))
    owner.rest("PATCH", "/products/sketch/dialect", {"dialect": "secureesp8266", "settings": {"key": "rsa2048"}})
    device = est.Client(owner, tmp_path, next(MACS))
    code = claim(owner, product="sketch")
    for bits in (1024, 3072):
        device.make_key("RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}").make_request()
        assert device.enroll(code).status == 400
    device.make_key("RSA", "-pkeyopt", "rsa_keygen_bits:2048").make_request(None, "-sha1")
    assert device.enroll(code).status == 400
    device.make_request()
    device.keep(device.enroll(code, label="sketch"))
    assert let_in(device)
    assert b"2048 bit" in est.openssl("x509", "-noout", "-text", "-in", device.cert)


def test_the_key_of_another_device_is_refused(device):
    device.keep(device.enroll(claim(device.server)))
    thief = est.Client(device.server, device.folder, next(MACS))
    thief.key = device.key
    assert thief.make_request().enroll(claim(device.server)).status == 403


def test_a_request_that_another_key_has_signed_is_400(device):
    der = bytearray(base64.b64decode(device.csr.read_bytes()))
    der[-1] ^= 1
    device.csr.write_bytes(base64.b64encode(der))
    answer = device.enroll(claim(device.server))
    assert answer.status == 400 and "signed" in answer.text


def test_a_body_cut_anywhere_is_400_and_an_oversized_one_413(device):
    whole = device.csr.read_bytes()
    code = claim(device.server)
    for n in [*range(0, len(whole) - 1, 37), len(whole) - 3]:
        device.csr.write_bytes(whole[:n])
        assert device.enroll(code).status == 400, n
    device.csr.write_bytes(whole + b"A" * 9000)
    assert device.enroll(code).status == 413
    device.csr.write_bytes(b"A" * 8000)
    assert device.enroll(code).status == 400
    device.csr.write_bytes(whole.replace(b"\n", b"\r\n "))          # white space is no matter (RFC 8951)
    device.keep(device.enroll(code))


def test_another_content_type_is_415(device):
    answer = device.enroll(claim(device.server), mime="application/json")
    assert answer.status == 415


def test_nothing_of_est_is_on_plain_http(make_server, tmp_path):
    server = make_server("mqtt.mode=off", "legacy.enabled=true").start()
    server.product("meter", plain_http=True)
    device = est.Client(server, tmp_path, next(MACS)).make_key().make_request()
    url = f"http://127.0.0.1:{server.ports['legacy']}"
    code = claim(server)
    for operation, post in [("cacerts", False), ("simpleenroll", True), ("simplereenroll", True)]:
        for label in [None, "meter"]:
            answer = device.ask(operation, "-u", f":{code}", label=label, post=post, url=url)
            assert answer.status in (404, 405), (operation, answer.status)
    assert server.rest("GET", "/enrollment/codes")["items"][0]["uses_left"] == 1


# ---- renewing --------------------------------------------------------------------------------------------


@pytest.mark.client("EST client", "RFC 7030", "simplereenroll with a new key")
def test_a_certificate_renews_itself_with_a_new_key_and_both_are_good(device):
    device.keep(device.enroll(claim(device.server)))
    old = device.cert.read_bytes(), device.key.read_bytes()
    device.key, device.cert = device.folder / "next.key", device.folder / "next.pem"
    device.make_key().make_request()
    answer = device.ask("simplereenroll", "--cert", device.folder / "cert.pem", "--key", device.folder / "key.pem")
    device.keep(answer)
    assert let_in(device)
    device.cert.write_bytes(old[0])
    device.key.write_bytes(old[1])
    assert let_in(device)
    serials = device.server.rest("GET", f"/certificates?device={device.mac}")["items"]
    assert len(serials) == 2 and not any(s["revoked_at"] for s in serials)


def test_renewing_with_the_same_key_twice_gives_the_same_certificate(device):
    device.keep(device.enroll(claim(device.server)))
    assert est.certificates(device.reenroll()) == est.certificates(device.reenroll(label="meter"))


def test_renewing_wants_the_certificate_and_the_same_name(device):
    answer = device.ask("simplereenroll")
    assert answer.status == 401 and "certificate" in answer.text
    device.keep(device.enroll(claim(device.server)))
    device.make_request("/CN=84f3eb00fffd")
    assert device.reenroll().status == 400
    device.make_request()
    assert device.reenroll(label="lamp").status == 404


@pytest.mark.client("EST client", "RFC 7030", "revoked")
def test_a_revoked_device_renews_nothing(device):
    device.keep(device.enroll(claim(device.server)))
    assert device.server.call("POST", f"/devices/{device.mac}:revoke", {"reason": "stolen"}).status == 200
    try:
        assert device.reenroll().status in (401, 403)
    except AssertionError as error:                      # refused in the handshake
        assert "curl" in str(error)
    assert device.enroll(claim(device.server)).status in (401, 403)


def test_a_device_that_renews_without_end_is_held_up(device):
    device.keep(device.enroll(claim(device.server)))
    statuses = []
    for i in range(14):
        key = device.folder / f"key{i}.pem"
        est.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        other = est.Client(device.server, device.folder, device.mac)
        other.key = key
        other.make_request()
        other.key, other.cert = device.key, device.cert
        answer = other.reenroll()
        statuses.append(answer.status)
    assert statuses[0] == 200 and statuses[-1] == 429
    assert int(answer.headers["retry-after"]) > 0


# ---- waiting for an operator -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asking(owner):
    owner.product("guest")
    owner.rest("PUT", "/products/guest/enrollment", {"approval": True})
    return owner


@pytest.fixture
def guest(asking, tmp_path):
    return est.Client(asking, tmp_path, next(MACS)).make_key().make_request()


def ask(device):
    return device.ask("simpleenroll", label="guest")


def waiting(device):
    items = device.server.rest("GET", "/enrollment/requests?limit=1000")["items"]
    return [r for r in items if r["device"] == device.mac]


def decide(device, word):
    return device.server.call("POST", f"/enrollment/requests/{waiting(device)[0]['id']}:{word}").status


def test_a_device_without_a_claim_waits_and_is_let_in_when_an_operator_says_so(guest):
    for _ in range(2):
        answer = ask(guest)
        assert answer.status == 202 and int(answer.headers["retry-after"]) > 0
    assert [r["state"] for r in waiting(guest)] == ["waiting"]
    assert decide(guest, "approve") == 204
    first, again = ask(guest), ask(guest)
    guest.keep(first)
    assert est.certificates(again) == est.certificates(first)         # an answer may be lost
    assert let_in(guest)


def test_a_device_that_an_operator_refuses_stays_out(guest):
    assert ask(guest).status == 202
    assert decide(guest, "deny") == 204
    answer = ask(guest)
    assert answer.status == 403 and "operator" in answer.text


def test_what_waits_is_the_key_and_not_the_name(guest):
    assert ask(guest).status == 202 and decide(guest, "approve") == 204
    thief = est.Client(guest.server, guest.folder, guest.mac).make_key().make_request()
    assert ask(thief).status == 202                                    # another key: another look
    guest.keep(ask(guest))
    assert ask(thief).status == 403                                    # in service with another key
    renamed = est.Client(guest.server, guest.folder, next(MACS))
    renamed.key = guest.key
    assert ask(renamed.make_request()).status == 403


def test_without_the_owners_word_or_without_a_label_nobody_waits(guest):
    assert guest.ask("simpleenroll", label="meter").status == 401
    assert guest.ask("simpleenroll").status == 401
    assert waiting(guest) == []
    guest.make_request("/CN=84f3eb00fffc", "-addext", "basicConstraints=CA:TRUE")
    assert ask(guest).status == 400


def test_a_claim_needs_nobodys_word(guest):
    guest.keep(guest.enroll(claim(guest.server, product="guest"), label="guest"))
    assert waiting(guest) == []


def test_requests_of_another_product_are_not_there_for_a_token_of_one(guest):
    assert ask(guest).status == 202
    token = guest.server.rest("POST", "/tokens", {"name": f"op-{guest.mac}", "role": "operator", "product": "meter",
                                                  "ttl_s": 3600})["token"]
    assert guest.server.rest("GET", "/enrollment/requests", token=token)["items"] == []
    there = waiting(guest)[0]["id"]
    assert guest.server.call("POST", f"/enrollment/requests/{there}:approve", token=token).status == 404
    assert ask(guest).status == 202


def test_one_address_does_not_fill_the_list_of_those_who_wait(make_server):
    """250 of a product's 1,000 places are for one address; the next one there is told to come later."""
    server = make_server("mqtt.mode=off", "limits.device_requests=0").start()
    server.product("crowd")
    server.rest("PUT", "/products/crowd/enrollment", {"approval": True})
    statuses = []
    for i in range(252):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"84f3eb77{i:04x}")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        body = base64.b64encode(csr.public_bytes(serialization.Encoding.DER))
        reply = server.device_request("POST", "/.well-known/est/crowd/simpleenroll", body, {"Content-Type": "application/pkcs10"})
        statuses.append(reply.status)
    assert statuses[:250] == [202] * 250
    assert set(statuses[250:]) == {429} and int(reply.header("Retry-After")) > 0
