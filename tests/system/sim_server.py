"""A small native v1 server and broker for tests of pagurus-sim, written from the specification only: it enrols whoever
comes, offers one image, and remembers what was reported. Not a model of the real one: it has no rules."""

import datetime
import hashlib
import http.server
import socket
import ssl
import subprocess
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import cborish
import signing

PRODUCT_ID = "0011223344556677"
DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM


class Authority:
    """One CA for everything."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.issue("test authority", self.key.public_key(), None, ca=True)

    def issue(self, name, public, san=None, ca=False):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(subject)
                   .issuer_name(subject if ca else self.certificate.subject).public_key(public)
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(san)]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):  # noqa: N802
        fleet = self.server.fleet
        if self.path == f"/v1/trust/{PRODUCT_ID}/1":
            self.answer(200, fleet.trust)
        elif self.path == "/v1/blob/" + fleet.digest:
            total = len(fleet.image)
            asked = self.headers["Range"]
            first, last = asked[6:].split("-") if asked else (0, "")
            first, last = int(first), min(int(last or total - 1), total - 1)
            self.answer(206 if asked else 200, fleet.image[first:last + 1],
                        [("Content-Range", f"bytes {first}-{last}/{total}")] if asked else [])
        else:
            self.answer(404)

    def do_POST(self):  # noqa: N802
        body = cborish.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/enroll":
            self.answer(200, self.server.fleet.enroll(body))
            return
        certificate = self.connection.getpeercert(True)
        if certificate is None:
            self.answer(401)
            return
        name = x509.load_der_x509_certificate(certificate).subject.rdns[0].rfc4514_string()[3:]
        reply = self.server.fleet.check(name, body) if self.path == "/v1/check" else None
        if self.path == "/v1/report":
            self.server.fleet.reports.append((name, body))
        self.answer(200 if reply else 204, reply or b"")

    def log_message(self, *args):
        pass


class FleetServer:
    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority()
        self.root, self.release = signing.Key(), signing.Key()
        self.trust = signing.trust_set(PRODUCT_ID, [self.root], [self.release])
        self.image, self.digest, self.manifest = b"", "", None
        self.reports, self.checks = [], []
        (folder / "ca.pem").write_bytes(self.authority.certificate.public_bytes(PEM))
        (folder / "trust.cose").write_bytes(self.trust)
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / "server.key").write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8,
                                                              serialization.NoEncryption()))
        (folder / "server.pem").write_bytes(
            self.authority.issue("server", key.public_key(), "localhost").public_bytes(PEM))
        self.start_broker()
        self.start_http()

    def start_broker(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.mqtt_port = probe.getsockname()[1]
        conf = self.folder / "mosquitto.conf"
        conf.write_text(f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\n"
                        f"cafile {self.folder}/ca.pem\ncertfile {self.folder}/server.pem\nkeyfile {self.folder}/server.key\n"
                        "user root\n")
        self.broker = subprocess.Popen(["mosquitto", "-c", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)

    def start_http(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        context.load_verify_locations(self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.fleet = self
        self.http.handle_error = lambda *_: None  # handshakes that fail and power that fails are what is tested
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.http.server_port
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
        self.broker.terminate()
        self.broker.wait(10)

    def enroll(self, body):
        csr = x509.load_der_x509_csr(body[2])
        leaf = self.authority.issue(body[3], csr.public_key())
        return cborish.dumps({1: body[3], 2: leaf.public_bytes(DER), 3: self.authority.certificate.public_bytes(DER),
                              4: bytes.fromhex(PRODUCT_ID), 5: "localhost", 6: self.mqtt_port, 7: 1})

    def publish(self, version, image, sequence=2):
        self.image, self.digest = image, hashlib.sha256(image).hexdigest()
        self.manifest = signing.manifest(self.release, PRODUCT_ID, "esp8266", ["d1mini"], version, sequence, image)

    def check(self, name, body):
        self.checks.append((name, body))
        if self.manifest is None or body[1].hex() == self.digest or body.get(14, b"").hex() == self.digest:
            return cborish.dumps({3: 1, 5: 1})
        return cborish.dumps({1: 1 + hash(name) % 1000000, 2: self.manifest, 3: 1, 5: 1})
