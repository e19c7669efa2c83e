"""Attacks on the TLS listeners; N.. are rows of docs/spec/security-tests.md."""

import datetime
import hashlib
import http.client
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

import attacks
import signing
import test_posix_device
from test_native import check_body

ROUTES = [("POST", "/v1/check"), ("GET", "/v1/blob/" + "00" * 32), ("POST", "/v1/report"), ("GET", "/v1/trust/1"),
          ("GET", "/v1/trust/meter/1"), ("POST", "/v1/enroll"), ("GET", "/update/meter"), ("GET", "/nothing")]
NEED_CERTIFICATE = ROUTES[:5]
LISTENERS = ["console", "device"]


@pytest.fixture(scope="module")
def owner(server):
    return signing.Publisher(server, "meter")


@pytest.fixture(scope="module")
def victim(server, owner):
    return server.enroll("meter", "84f3eb0a0001")


@pytest.fixture(scope="module")
def forged(server, victim):
    """Certificates that must not pass, by name."""
    device, sister, operator = (attacks.Authority.of(server, n) for n in ("device-ca", "server-ca", "operator-ca"))
    foreign = attacks.Authority.foreign()
    day = datetime.timedelta(days=1)
    urn = x509.UniformResourceIdentifier
    own_key = ec.generate_private_key(ec.SECP256R1())
    made = {
        "foreign CA": foreign.issue(victim.id),
        "server CA, client usage": sister.issue(victim.id),
        "operator CA": operator.issue(victim.id),
        "expired": device.issue(victim.id, -2 * day, -day),
        "not yet valid": device.issue(victim.id, day, 2 * day),
        "serverAuth only": device.issue(victim.id, usage=(attacks.SERVER,)),
        "no usage at all": device.issue(victim.id, usage=()),
        "a CA": device.issue(victim.id, ca=True),
        "the issuing CA itself": (device.certificate, device.key),
        "CN +": device.issue("+"), "CN #": device.issue("#"), "CN with a slash": device.issue(victim.id + "/x"),
        "CN of the service": device.issue("svc-pagurusd/"), "CN in capitals": device.issue(victim.id.upper()),
        "CN with NUL": device.issue(victim.id + "\0x"), "CN with a blank": device.issue(victim.id + " "),
        "two CNs": device.issue([victim.id, "other"]), "two CNs, the victim last": device.issue(["other", victim.id]),
        "no CN": device.issue([], names=[x509.NameAttribute(NameOID.ORGANIZATION_NAME, victim.id)]),
        "CN of 65 characters": device.issue("a" * 65),
        "SAN of another device": device.issue("84f3eb0a00ff", sans=[urn(f"urn:pagurus:00:{victim.id}")]),
        "weak RSA": device.issue(victim.id, key=rsa.generate_private_key(65537, 1024)),
        "larger than 8 KiB": device.issue(victim.id, sans=[urn("urn:x:" + "y" * 9000)]),
        "self-signed": attacks.Authority(device.certificate, own_key).issue(victim.id, key=own_key),
    }
    sound = attacks.identity(server, "sound", *device.issue(victim.id))
    assert sound.request("POST", "/v1/check", check_body(), attacks.CBOR).status == 204  # else all below proves nothing
    return {name: attacks.identity(server, "forged-" + "".join(c if c.isalnum() else "-" for c in name), *pair)
            for name, pair in made.items()}


KINDS = ["foreign CA", "server CA, client usage", "operator CA", "expired", "not yet valid", "serverAuth only",
         "no usage at all", "a CA", "the issuing CA itself", "CN +", "CN #", "CN with a slash", "CN of the service",
         "CN in capitals", "CN with NUL", "CN with a blank", "two CNs", "two CNs, the victim last", "no CN",
         "CN of 65 characters", "SAN of another device", "weak RSA", "larger than 8 KiB", "self-signed"]


@pytest.mark.parametrize("kind", KINDS)
def test_n3_a_certificate_that_is_not_ours_ends_the_handshake_on_every_route(server, forged, kind):
    assert set(forged) == set(KINDS)
    for method, path in ROUTES:
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            reply = forged[kind].request(method, path, b"\xa0" if method == "POST" else None)
            pytest.fail(f"{method} {path} was answered {reply.status} with {kind}")


def test_n3_a_foreign_certificate_with_the_real_chain_appended_is_still_foreign(server, victim):
    device = attacks.Authority.of(server, "device-ca")
    foreign = attacks.Authority.foreign()
    chain = (device.certificate, x509.load_pem_x509_certificate((server.data / "ca" / "root.pem").read_bytes()))
    mixed = attacks.identity(server, "mixed", *foreign.issue(victim.id), chain=chain)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        mixed.request("POST", "/v1/check", check_body(), attacks.CBOR)


def test_n3_a_well_made_certificate_of_a_device_nobody_enrolled_is_refused(server, victim):
    unknown = attacks.identity(server, "unknown", *attacks.Authority.of(server, "device-ca").issue("84f3eb0a0bad"))
    for method, path in NEED_CERTIFICATE:
        reply = unknown.request(method, path, b"\xa0" if method == "POST" else None)
        assert (reply.status in (401, 403), reply.body) == (True, b""), (method, path, reply.status)


def test_n3_no_certificate_is_401_without_a_body_where_one_is_needed(server, owner):
    for method, path in NEED_CERTIFICATE:
        reply = server.device_request(method, path, b"\xa0" if method == "POST" else None)
        assert (reply.status, reply.body) == (401, b""), (method, path)


def test_n3_a_device_certificate_opens_nothing_on_the_console(server, victim):
    with attacks.connect(server, "console", victim) as link:
        link.sendall(b"GET /api/v1/devices HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data, _ = attacks.read_all(link)
    assert data.startswith(b"HTTP/1.1 401 ")


# ---- protocol ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_n4_old_protocols_are_refused(server, listener, version):
    tls = attacks.context(server)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version, tls.maximum_version = version, version
    with pytest.raises(ssl.SSLError):
        attacks.connect(server, listener, tls=tls).close()


@pytest.mark.parametrize("listener", LISTENERS)
def test_n1_n4_of_all_suites_only_ecdhe_with_aead_is_accepted(server, listener):
    listed = subprocess.run(["openssl", "ciphers", "-tls1_2", "ALL:eNULL:@SECLEVEL=0"], capture_output=True, text=True,
                            check=True).stdout.strip().split(":")
    names = [n for n in listed if not n.startswith("TLS_")]
    assert len(names) > 80 and "NULL-SHA" in names and "AES128-GCM-SHA256" in names
    accepted = set()
    for name in names:
        tls = attacks.context(server, highest=ssl.TLSVersion.TLSv1_2)
        try:
            tls.set_ciphers(name + ":@SECLEVEL=0")
            with attacks.connect(server, listener, tls=tls) as link:
                accepted.add(link.cipher()[0])
        except ssl.SSLError:
            pass
    assert accepted, "a good suite must work"
    for name in accepted:
        assert name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name), accepted


@pytest.mark.parametrize("listener", LISTENERS)
def test_n4_a_fall_back_below_what_both_can_is_refused(server, listener):
    out = attacks.s_client(server, listener, "-fallback_scsv", "-no_tls1_3", feed=[b"Q\n"])
    assert "inappropriate fallback" in out


@pytest.mark.parametrize("listener", LISTENERS)
def test_n5_renegotiation_is_refused(server, listener):
    out = attacks.s_client(server, listener, "-tls1_2", feed=[b"R\n", b"GET /healthz HTTP/1.0\r\n\r\n"])
    assert "RENEGOTIATING" in out and "no renegotiation" in out.lower(), out[-1500:]
    assert "HTTP/1.1" not in out
    attacks.alive(server)


def test_n5_a_flood_of_key_updates_is_closed_and_a_few_are_not(server):
    ask = b"GET /healthz HTTP/1.0\r\n\r\n"
    few = attacks.s_client(server, "console", "-tls1_3", feed=[b"K\n"] * 4 + [ask], linger_s=0.3)
    assert few.count("KEYUPDATE") == 4 and "HTTP/1.1 200" in few
    flood = attacks.s_client(server, "console", "-tls1_3", feed=[b"K\n"] * 40 + [ask], linger_s=0.3)
    assert "HTTP/1.1" not in flood, flood[-1000:]
    attacks.alive(server)


@pytest.mark.parametrize("listener", LISTENERS)
def test_n6_early_data_is_never_granted(server, listener, tmp_path):
    session, early = tmp_path / "session", tmp_path / "early"
    early.write_bytes(b"GET /healthz HTTP/1.0\r\n\r\n")
    attacks.s_client(server, listener, "-tls1_3", "-ign_eof", "-sess_out", str(session),
                     feed=[b"GET /healthz HTTP/1.0\r\n\r\n"])
    shown = subprocess.run(["openssl", "sess_id", "-in", str(session), "-noout", "-text"], capture_output=True,
                           text=True, check=True).stdout
    assert "Max Early Data: 0" in shown
    out = attacks.s_client(server, listener, "-tls1_3", "-sess_in", str(session), "-early_data", str(early),
                           feed=[b"Q\n"])
    assert "Early data was accepted" not in out and "HTTP/1.1" not in out


# ---- resumption --------------------------------------------------------------------------------------------


def resumable(server, device, listener="device", version=ssl.TLSVersion.TLSv1_3, tickets=True):
    """(context, session, live link): a session that the server has just given."""
    tls = attacks.context(server, device, ssl.TLSVersion.TLSv1_2, version)
    if not tickets:
        tls.options |= ssl.OP_NO_TICKET
    link = attacks.connect(server, listener, tls=tls)
    ask = check_body()
    link.sendall(b"POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(ask) + ask)
    assert link.recv(4096)
    assert link.session is not None and (link.session.id or link.session.has_ticket)
    return tls, link.session, link


WAYS = [(ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_2, False)]


@pytest.mark.parametrize("version, tickets", WAYS)
def test_n7_a_revoked_device_resumes_nothing_and_its_live_link_is_cut(server, owner, version, tickets):
    mac = f"84f3eb0a1{int(version) % 16:x}{int(tickets):02x}"
    device = server.enroll("meter", mac)
    tls, session, live = resumable(server, device, version=version, tickets=tickets)
    with attacks.connect(server, "device", tls=tls, session=session) as again:
        assert again.session_reused  # so that the refusal below is one of resumption
    begin = time.monotonic()
    server.rest("POST", f"/devices/{device.id}:revoke", {"reason": "stolen"})
    ask = b"GET /v1/trust/1 HTTP/1.1\r\nHost: a\r\n\r\n"
    for tries in range(3):
        try:
            with attacks.connect(server, "device", tls=tls, session=session) as link:
                link.sendall(ask)
                data, closed = attacks.read_all(link, 5)
        except OSError:
            data, closed = b"", True
        assert closed and (data == b"" or data.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 403 "))), data
    assert time.monotonic() - begin < 1
    with live:
        try:
            live.sendall(ask)
        except OSError:
            pass
        data, closed = attacks.read_all(live, 5)
    assert closed and (data == b"" or data.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 403 "))), data


@pytest.mark.parametrize("first, second", [("console", "device"), ("device", "console")])
@pytest.mark.parametrize("version, tickets", WAYS)
def test_n8_a_session_of_one_listener_is_nothing_to_the_other(server, victim, first, second, version, tickets):
    tls, session, link = resumable(server, victim, first, version, tickets)
    link.close()
    with attacks.connect(server, first, tls=tls, session=session) as again:
        assert again.session_reused
    with attacks.connect(server, second, tls=tls, session=session) as other:
        assert not other.session_reused


def test_n7_a_ticket_with_a_flipped_bit_gives_a_full_handshake(server, victim, tmp_path):
    stored = tmp_path / "session.der"
    attacks.s_client(server, "device", "-tls1_2", "-ign_eof", "-sess_out", str(stored),
                     feed=[b"GET /nothing HTTP/1.0\r\n\r\n"])
    der = subprocess.run(["openssl", "sess_id", "-in", str(stored), "-outform", "DER"], capture_output=True,
                         check=True).stdout
    text = subprocess.run(["openssl", "sess_id", "-in", str(stored), "-noout", "-text"], capture_output=True, text=True,
                          check=True).stdout
    rows = [line.split(" - ")[1] for line in text.splitlines() if " - " in line and line.strip()[:4].isalnum()]
    ticket = bytes.fromhex("".join(row[:49].replace("-", " ") for row in rows))
    at = der.find(ticket[:64])
    assert len(ticket) >= 100 and at > 0
    for offset in range(0, len(ticket) - 16, 23):
        bad = bytearray(der)
        bad[at + offset] ^= 1
        pem = subprocess.run(["openssl", "sess_id", "-inform", "DER"], input=bytes(bad), capture_output=True,
                             check=True).stdout
        (tmp_path / "bad").write_bytes(pem)
        out = attacks.s_client(server, "device", "-tls1_2", "-sess_in", str(tmp_path / "bad"), feed=[b"Q\n"])
        assert "New, TLSv1.2" in out and "Reused" not in out
    out = attacks.s_client(server, "device", "-tls1_2", "-sess_in", str(stored), feed=[b"Q\n"])
    assert "Reused, TLSv1.2" in out


# ---- probes and plain text ---------------------------------------------------------------------------------


@pytest.mark.parametrize("listener", LISTENERS)
def test_n1_plain_http_to_a_tls_listener_gets_no_http(server, listener):
    with socket.create_connection(("127.0.0.1", server.ports[listener]), timeout=10) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        data, closed = attacks.read_all(link, 10)
    assert closed and b"HTTP/" not in data and b"ok" not in data


def test_n1_without_a_word_in_the_settings_no_plain_listener_is_open(server):
    assert server.ports["legacy"] == 0
    shown = {(x["name"], x["port"], x["tls"]) for x in server.rest("GET", "/status")["listeners"]}
    assert shown == {(name, server.ports[name], True) for name in LISTENERS}
    assert attacks.listening(server.process.pid) == {("127.0.0.1", server.ports[name]) for name in LISTENERS}


def reset(link):
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


@pytest.mark.parametrize("listener", LISTENERS)
def test_h4_a_hundred_probes_are_followed_by_service(server, victim, listener):
    device = victim if listener == "device" else None
    for i in range(100):
        plain = socket.create_connection(("127.0.0.1", server.ports[listener]), timeout=10)
        if i % 4 == 0:
            reset(plain)
        elif i % 4 == 1:
            plain.sendall(b"\x16\x03\x01\x02\x00\x01" + bytes(i))
            plain.close()
        else:
            link = attacks.context(server, device).wrap_socket(plain, server_hostname="localhost")
            if i % 4 == 2:
                link.close()
            else:
                reset(link)
    if listener == "device":
        assert victim.request("POST", "/v1/check", check_body(), attacks.CBOR).status == 204
    server.until(lambda: attacks.metric(server, f'pagurus_http_connections{{listener="{listener}"}}') <= 1)
    attacks.alive(server)


@pytest.mark.parametrize("listener", LISTENERS)
def test_n15_hostile_records_are_survived(server, listener):
    hello = b"\x16\x03\x01"
    records = [hello + b"\xff\xff" + bytes(0x4000), hello + b"\x00\x00" * 50, b"\x15\x03\x01\x00\x02\x02\x28",
               b"\x18\x03\x02\x00\x03\x01\x40\x00", b"\x80\x2e\x01\x00\x02" + bytes(60), b"\x17\x03\x03\x40\x01" + bytes(0x4001),
               hello + b"\x00\x04\x01\xff\xff\xff" + (hello + b"\x40\x00" + bytes(0x4000)) * 20, bytes(5000), b"\xff" * 5000]
    for record in records:
        with socket.create_connection(("127.0.0.1", server.ports[listener]), timeout=10) as link:
            try:
                link.sendall(record)
                link.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            data, closed = attacks.read_all(link, 10)
        assert closed and b"HTTP/" not in data
    attacks.alive(server)


# ---- the device's side -------------------------------------------------------------------------------------


class Impostor:
    """A TLS server that shows one certificate, and keeps what it is told after the handshake."""

    def __init__(self, cert_file, key_file):
        self.told, self.tries, self.running = b"", 0, True
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(cert_file, key_file)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while self.running:
            try:
                plain, _ = self.listener.accept()
                plain.settimeout(3)
                with self.tls.wrap_socket(plain, server_side=True) as link:
                    self.told += link.recv(4096)
                    link.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except (socket.timeout, TimeoutError):
                continue
            except OSError:
                pass
            self.tries += 1
        self.listener.close()

    def stop(self):
        self.running = False
        self.thread.join()


@pytest.mark.parametrize("kind", ["right", "of another CA", "expired", "for another name", "for clients", "self-signed",
                                  "of the device CA"])
def test_n2_a_device_says_nothing_to_a_server_that_is_not_its_own(server, owner, tmp_path, kind):
    names = [x509.DNSName("localhost")]
    real = attacks.Authority.of(server, "server-ca")
    day = datetime.timedelta(days=1)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = (attacks.SERVER,)
    ca, made = {
        "right": lambda: (real, real.issue("localhost", usage=usage, sans=names)),
        "of another CA": lambda: (real, attacks.Authority.foreign().issue("localhost", usage=usage, sans=names)),
        "expired": lambda: (real, real.issue("localhost", -90 * day, -60 * day, usage=usage, sans=names)),
        "for another name": lambda: (real, real.issue("evil", usage=usage, sans=[x509.DNSName("evil.example")])),
        "for clients": lambda: (real, real.issue("localhost", usage=(attacks.CLIENT,), sans=names)),
        "self-signed": lambda: (real, attacks.Authority(real.certificate, key).issue("localhost", key=key, usage=usage,
                                                                                     sans=names)),
        "of the device CA": lambda: (lambda d: (d, d.issue("localhost", usage=usage, sans=names)))(
            attacks.Authority.of(server, "device-ca")),
    }[kind]()
    who = attacks.identity(server, "impostor", *made, chain=(ca.certificate,))
    impostor = Impostor(who.cert_file, who.key_file)
    config = {"server": "localhost", "port": impostor.port, "product": owner.product_id, "hardware": "posix", "chip": "posix",
              "mac": "84f3eb0a0f01", "claim": "ABCD-EFGH", "trust_pin": hashlib.sha256(owner.trust).hexdigest()}
    device = test_posix_device.Posix(tmp_path, config, (server.data / "ca" / "root.pem").read_text())
    try:
        device.start()
        device.until(lambda: impostor.told if kind == "right" else impostor.tries >= 2, 15)
    finally:
        device.stop()
        impostor.stop()
    assert (impostor.told != b"") == (kind == "right"), (kind, impostor.told)
